"""Every device asked in its own time, and what it says handed on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from exabgp_bfd.core.model import Poll, Silence
from exabgp_bfd.sources.snmp.device import REDISCOVER, Counters, Deliver, Device
from exabgp_bfd.sources.snmp.lanes import MAX_IN_FLIGHT, Lanes
from exabgp_bfd.sources.snmp.mibs import Profile
from exabgp_bfd.sources.snmp.notifications import Hint
from exabgp_bfd.sources.snmp.target import Target
from exabgp_bfd.sources.snmp.usm import Security

logger = logging.getLogger(__name__)

_SPACING = 0.005  # seconds between the first polls of two devices, less where there are more than fit an interval


class Poller:
    """Polls any number of devices at once on one event loop and calls `deliver` there with what each says."""

    def __init__(
        self,
        targets: Sequence[Target],
        deliver: Deliver,
        *,
        rediscover: float = REDISCOVER,
        max_in_flight: int = MAX_IN_FLIGHT,
        max_silent: int | None = None,
    ) -> None:
        """Raises ConfigError for a target whose settings cannot be met; asks nothing before `run`.

        At most `max_in_flight` requests are under way at once to devices that answer, and besides `max_silent` (None:
        half as many) to those that do not.
        """
        self.counters = Counters()
        self.lanes = Lanes(max_in_flight, max_silent)
        """What is in flight, who waits, and how often somebody had to."""
        self._deliver = deliver
        self._rediscover = rediscover
        self._devices: dict[str, Device] = {}
        self._running = False
        self._stopped = asyncio.Event()
        for target in targets:
            self._devices[target.name] = self._device(target)

    @property
    def status(self) -> Mapping[str, str]:
        """One line per device: what it answers, or why it does not."""
        return {name: device.status for name, device in self._devices.items()}

    @property
    def engines(self) -> Mapping[str, str]:
        """The SNMP engine by which each device is asked."""
        return {name: device.client.engine for name, device in self._devices.items()}

    def status_of(self, device: str) -> str | None:
        """One line of what a device answers, or why it does not; None for no such device."""
        found = self._devices.get(device)
        return None if found is None else found.status

    def engine_of(self, device: str) -> str | None:
        """The SNMP engine by which a device is asked; None for no such device."""
        found = self._devices.get(device)
        return None if found is None else found.client.engine

    def uptime_of(self, device: str) -> float | None:
        """Seconds since a device's agent began, as it last said; None where it never did."""
        found = self._devices.get(device)
        return None if found is None else found.uptime

    async def run(self) -> None:
        """Polls until it is cancelled or closed; then no request is under way any more."""
        self._running = True
        self._stopped.clear()
        self._start(list(self._devices.values()))
        try:
            await self._stopped.wait()
        finally:
            await self.close()

    def look(self, device: str, session: str | None = None) -> None:
        """Asks a device at once, out of turn: one session by its id, or (None) all there are; on the loop's thread.

        Looks that come together share their PDUs; one that comes while its like is under way is asked after it. An
        unknown device is no error: it may just have been removed.
        """
        found = self._devices.get(device)
        if found is not None and self._running:
            found.look(session)

    def pace(self, device: str, quick: bool) -> None:  # noqa: FBT001 - as `Pace` of the core says it
        """Has a device's rounds come every `fast_interval` from now on, or by its interval again.

        Takes hold at once: a round that would come later comes at most `fast_interval` after the last one began. A
        silent device is not asked faster. An unknown device is no error: it may just have been removed.
        """
        found = self._devices.get(device)
        if found is not None:
            found.pace(quick=quick)

    def sessions_at(self, device: str, hint: Hint) -> tuple[str, ...] | None:
        """The ids of the known sessions that a notification means; () when it means none, None for no such device."""
        found = self._devices.get(device)
        return None if found is None else found.sessions_at(hint)

    def profile_of(self, device: str) -> Profile | None:
        """The BFD table that a device was found to have; None while that is not known."""
        found = self._devices.get(device)
        return None if found is None else found.profile

    def security(self, device: str) -> Security | None:
        """The SNMPv3 engine that a device was last authenticated as; None for other versions, or when it never was."""
        found = self._devices.get(device)
        return None if found is None else found.client.security

    def forget(self, device: str, session: str) -> None:
        """Tells no longer that a session is gone, by its id; it is told again when it is found and goes again."""
        found = self._devices.get(device)
        if found is not None:
            found.forget(session)

    def add(self, target: Target) -> None:
        """Polls one more device, at once if the poller runs; ConfigError if its settings cannot be met."""
        if target.name in self._devices:
            raise ValueError(f"device {target.name} is polled already")
        device = self._devices[target.name] = self._device(target)
        if self._running:
            self._start([device])

    async def remove(self, name: str) -> None:
        """Forgets a device; nothing of it is delivered from here on."""
        device = self._devices.pop(name, None)
        if device is not None:
            await device.stop()

    async def set_targets(self, targets: Iterable[Target]) -> None:
        """Makes these the devices; one whose settings are the same goes on undisturbed, and all keep their pace."""
        wanted = {target.name: target for target in targets}
        quick = {name for name, device in self._devices.items() if device.quick}
        before = dict(self._devices)
        for name, device in list(self._devices.items()):
            if wanted.get(name) != device.target:
                await self.remove(name)
        added = [self._device(target, before.get(name)) for name, target in wanted.items() if name not in self._devices]
        self._devices.update((device.target.name, device) for device in added)
        if self._running:
            self._start(added)
        for device in added:
            device.pace(quick=device.target.name in quick)

    async def close(self) -> None:
        """Stops every device and frees the sockets; `run` returns."""
        self._running = False
        self._stopped.set()
        await asyncio.gather(*(device.stop() for device in self._devices.values()))

    def _device(self, target: Target, before: Device | None = None) -> Device:
        return Device(target, self._hand_over, self.counters, self._rediscover, self.lanes, before)

    def _start(self, devices: Sequence[Device]) -> None:
        """Has these begin one after the other, so that their rounds stay spread over the interval."""
        shortest = min((device.target.interval for device in devices), default=1.0)
        spacing = min(_SPACING, shortest / max(1, len(devices)))
        for place, device in enumerate(devices):
            device.start(place * spacing)

    def _hand_over(self, message: Poll | Silence) -> None:
        try:
            self._deliver(message)
        except Exception:
            logger.exception("%s: what it said could not be taken in", message.device)
