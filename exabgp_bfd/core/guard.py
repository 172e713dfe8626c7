"""The guard: being blind is no outage, and no mistake of ours may take everything down at once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exabgp_bfd.core.model import Guard, GuardView, Lift
from exabgp_bfd.core.session import Track

if TYPE_CHECKING:
    from exabgp_bfd.core.inventory import DeviceTrack
    from exabgp_bfd.core.policy import ServiceTrack


@dataclass(slots=True)
class Sight:
    """Whether we see anything at all, and since when."""

    blind: bool = False
    """Whether every device fell silent at once, and none has answered since."""
    held: list[Track] = field(default_factory=list)
    """Sessions that are unknown for no other reason."""
    _since: float = float("-inf")

    def since(self, now: float) -> float:
        """Since when a silence may be held against a device."""
        return min(self._since, now)

    def slept(self, now: float) -> None:
        """We saw nothing until now."""
        self._since = now

    def sees(self, now: float) -> list[Track]:
        """We see again; the sessions that were held back."""
        self.blind = False
        self._since = now
        held, self.held = self.held, []
        return held

    def lost(self, device: DeviceTrack, devices: Iterable[DeviceTrack], now: float) -> bool:
        """Whether a device's silence is ours: another fell silent when it did, and none was heard since.

        Heard since means well into its silence: those asked at other moments were heard a little later than it.
        """
        begun = device.heard if device.heard is not None else self._since
        patience = device.spec.stale_after
        if now < begun + patience:
            return False
        company = False
        for other in devices:
            if other is device:
                continue
            if other.heard is None:
                company = company or device.heard is None
                continue
            if other.heard > begun + patience / 2:
                return False
            if other.heard >= begun - max(patience, other.spec.stale_after):
                company = True
        return company


class Limit:
    """How many services may be withdrawn for their health within a window."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.lift: Lift | None = None
        self._withdrawn: dict[str, float] = {}

    def remember(self, service: str, when: float) -> None:
        """A service was withdrawn before we started."""
        self._withdrawn[service] = when

    def trial(self, guard: Guard) -> Limit:
        """One that may be asked without being changed."""
        limit = Limit(guard)
        limit.lift, limit._withdrawn = self.lift, dict(self._withdrawn)
        return limit

    def number(self, services: int) -> int | None:
        """The limit as a number of services; None: there is none."""
        limits = []
        if self.guard.max_withdrawn is not None:
            limits.append(self.guard.max_withdrawn)
        if self.guard.max_share is not None:
            # 0.3 of 10 is 3, whatever binary fractions make of it.
            limits.append(max(1, math.floor(self.guard.max_share * services + 1e-9)))
        return min(limits, default=None)

    def recent(self, now: float) -> list[str]:
        """The services that count against the limit, the longest withdrawn first."""
        return [name for name, when in self._withdrawn.items() if now < when + self.guard.within]

    def refuses(self, service: str, services: int, now: float) -> float | None:
        """When to ask again where one more would be too many; else None, and it counts from now on."""
        limit = self.number(services)
        if limit is None:
            return None
        recent = self.recent(now)
        if self.lift is None and service not in recent and len(recent) >= limit:
            # By the clock of the first that stops counting, so that as many may go.
            return sorted(self._withdrawn[name] for name in recent)[len(recent) - limit] + self.guard.within
        self._withdrawn.pop(service, None)
        self._withdrawn[service] = now
        for name in [name for name in self._withdrawn if name not in recent and name != service]:
            del self._withdrawn[name]
        return None

    def view(self, services: Iterable[ServiceTrack], now: float, *, blind: bool, clock_doubted: bool) -> GuardView:
        """An immutable copy."""
        every = list(services)
        return GuardView(
            held=tuple(service.spec.name for service in every if service.held),
            withdrawn=tuple(self.recent(now)),
            limit=self.number(len(every)),
            lift=self.lift,
            blind=blind,
            clock_doubted=clock_doubted,
        )
