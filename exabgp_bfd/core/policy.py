"""Which services deserve to be announced: counting verdicts, and saying in words why."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from ipaddress import ip_address

from exabgp_bfd.core.model import Address, LegView, Route, RouteView, Selector, Service, ServiceView, Session, State
from exabgp_bfd.core.session import Leg


class Case(Enum):
    """What the sessions say of a service."""

    GOOD = auto()
    BAD = auto()
    UNDECIDED = auto()
    """Too little is known: what was decided last stands."""


def parse_address(text: str) -> Address | None:
    """An address, or None for any other text."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def key(text: str) -> Address | str:
    """What a selector's pattern is found by: the address it spells, in whatever spelling, else the text itself."""
    return parse_address(text) or text


def keys(session: Session) -> set[Address | str]:
    """Every key that means this session: `*`, its name, peer address, interface name and discriminator."""
    found = {"*", key(session.name)}
    if session.peer is not None:
        found.add(session.peer)
    if session.interface is not None:
        found.add(key(session.interface))
    if session.discriminator is not None:
        found.add(str(session.discriminator))
    return found


def matches(selector: Selector, session: Session) -> bool:
    """Whether a selector means this session."""
    return selector.device == session.device and key(selector.pattern) in keys(session)


@dataclass(slots=True, eq=False)
class RouteTrack:
    """One prefix of a service: what we said of it, and what came of that."""

    route: Route
    announced: bool = False
    verified: bool = True
    """False while ExaBGP may hold something else than we believe: the next decision is then said in any case."""
    accepted: bool | None = None
    refusals: int = 0
    """How often in a row ExaBGP refused the last word, or did not answer it."""
    confirmed: set[Address] = field(default_factory=set)
    event: int | None = None

    def view(self) -> RouteView:
        """An immutable copy."""
        confirmed = tuple(sorted(str(neighbor) for neighbor in self.confirmed))
        return RouteView(self.route, self.announced, self.accepted, confirmed, self.event)


@dataclass(slots=True, eq=False)
class ServiceTrack:
    """A service and the count of its verdicts, kept up to date so that deciding costs no rescan."""

    spec: Service
    routes: list[RouteTrack]
    legs: list[Leg] = field(default_factory=list)
    adopted: bool = False
    """True until the first decision after a start that found routes of ours in ExaBGP, or may have."""
    since: float | None = None
    up: int = 0
    down: int = 0

    def add(self, leg: Leg) -> None:
        """Takes a leg into the count."""
        self.legs.append(leg)
        self.count(leg.verdict, 1)

    def drop(self, leg: Leg) -> None:
        """Takes a leg out of the count."""
        self.legs.remove(leg)
        self.count(leg.verdict, -1)

    def count(self, verdict: bool | None, by: int) -> None:  # noqa: FBT001 - a verdict is what is counted
        """Adds `by` to the count of a verdict."""
        if verdict:
            self.up += by
        elif verdict is False:
            self.down += by

    @property
    def undecided(self) -> int:
        """How many sessions nothing decisive is known of."""
        return len(self.legs) - self.up - self.down

    @property
    def needed(self) -> int:
        """How many sessions must count as up."""
        return max(1, len(self.legs)) if self.spec.require == "all" else self.spec.require

    @property
    def announced(self) -> bool:
        """Whether any of its routes is believed announced."""
        return any(route.announced for route in self.routes)

    def judge(self) -> Case:
        """What the verdicts say now.

        A session never decided may still turn out up. That counts in favour of an adopted service (we were blind
        since our start) and with `all` (a newcomer must not take the service down); where `any` or N sessions carried
        a service in this run, one that was never up carried nothing, and cannot keep it alive. What a selector will
        match on a device not heard yet may be any number of sessions: an adopted service waits for it.
        """
        if self.up >= self.needed:
            return Case.GOOD
        if self.adopted and self.spec.require != "all" and self._blind:
            return Case.UNDECIDED
        hope = self.undecided if self.adopted or self.spec.require == "all" else 0
        return Case.BAD if self.up + hope < self.needed else Case.UNDECIDED

    @property
    def _blind(self) -> bool:
        return any(leg.track is None and leg.verdict is None for leg in self.legs)

    def rule(self) -> str:
        """The rule and its inputs, in words."""
        total = len(self.legs)
        wanted = "all" if self.spec.require == "all" else str(self.needed)
        unknown = f", {self.undecided} undecided" if self.undecided else ""
        return f"{self.up} of {total} sessions up{unknown}, {wanted} needed"

    def why(self) -> str:
        """In plain words why the service is, or is not, announced."""
        if self.announced:
            if self.adopted:
                return f"announced: it was when we started, and nothing seen since speaks against it ({self.rule()})"
            return f"announced: {self.rule()}"
        rising = [leg for leg in self.legs if leg.good]
        if rising and self.judge() is not Case.GOOD:
            return f"withdrawn: {self.rule()}; {rising[0].label} is recovering (rise, then hold_up)"
        return f"withdrawn: {self.rule()}"

    def view(self) -> ServiceView:
        """An immutable copy."""
        return ServiceView(
            service=self.spec,
            announced=self.announced,
            since=self.since,
            adopted=self.adopted and self.announced,
            up=self.up,
            undecided=self.undecided,
            needed=self.needed,
            legs=tuple(_leg_view(leg) for leg in self.legs),
            routes=tuple(route.view() for route in self.routes),
            why=self.why(),
        )


def _leg_view(leg: Leg) -> LegView:
    state = leg.track.state if leg.track is not None else None
    counts_as = "undecided" if leg.verdict is None else "up" if leg.verdict else "down"
    return LegView(leg.label, state or State.UNKNOWN, counts_as)
