"""Routes: what was said of each, what ExaBGP took, what was seen on the wire, and what must be said again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from exabgp_bfd.core.model import (
    Address,
    Advertised,
    Announce,
    Answer,
    Change,
    Outcome,
    Prefix,
    Remember,
    Route,
    RouteView,
    Source,
    State,
    Target,
    Watchdog,
    Withdraw,
)
from exabgp_bfd.core.timers import Timer, Timers

if TYPE_CHECKING:
    from exabgp_bfd.core.outbox import Outbox
    from exabgp_bfd.core.policy import ServiceTrack

GRACEFUL_SHUTDOWN = "65535:0"
"""RFC 8326: the neighbour prefers any other path."""

# Enough to explain a decision; a service over thousands of sessions must not make events of megabytes.
SESSIONS_IN_AN_EVENT = 20
FIRST_RETRY = 1.0
LONGEST_RETRY = {True: 300.0, False: 30.0}
"""Seconds until an announce (True) or withdraw that was not taken is said again; doubled from the first up to these."""
COMMANDS_UNANSWERED = 1000
"""How many commands more than there are routes, and as many again, may wait for their answers."""
RETRIES_AT_ONCE = 100
"""So many in one breath; with thousands of routes the others wait a moment, for a withdraw must not wait for them."""
RETRY_BREATH = 0.1


def altered(target: Target, change: Change | None, *, graceful_shutdown: bool = False) -> Target:
    """A target as a step of its service's ladder has it, and while it drains or comes back (RFC 8326)."""
    if isinstance(target, Watchdog):
        return target
    if change is not None:
        given = {name: value for name in change.__slots__ if (value := getattr(change, name)) is not None}
        target = replace(target, **given)
    if graceful_shutdown and GRACEFUL_SHUTDOWN not in target.communities:
        target = replace(target, communities=(*target.communities, GRACEFUL_SHUTDOWN))
    return target


def without_graceful_shutdown(target: Target) -> Target:
    """A target as it is when it neither drains nor comes back."""
    if isinstance(target, Watchdog) or GRACEFUL_SHUTDOWN not in target.communities:
        return target
    return replace(target, communities=tuple(each for each in target.communities if each != GRACEFUL_SHUTDOWN))


def left_behind(said: Target, target: Target) -> Route | None:
    """What must be withdrawn where a route goes to fewer neighbours than before: no later withdraw would reach them."""
    if isinstance(said, Watchdog) or isinstance(target, Watchdog) or not target.neighbors:
        return None
    left = tuple(neighbor for neighbor in said.neighbors if neighbor not in target.neighbors)
    if said.neighbors and not left:
        return None
    # From "all of them" to some: who else there is, we do not know; those who keep it get it back in this breath.
    return replace(said, neighbors=left)


@dataclass(slots=True, eq=False)
class RouteTrack:
    """One target of a service: what we said of it, and what came of that."""

    spec: Target
    """As it is configured."""
    said: Target | None = None
    """As it was announced last; None: it is withdrawn."""
    verified: bool = True
    """False while ExaBGP may hold something else than we believe: the next decision is then said in any case."""
    accepted: bool | None = None
    refusals: int = 0
    """How often in a row ExaBGP refused the last word, or did not answer it."""
    confirmed: set[Address] = field(default_factory=set)
    event: int | None = None
    gone: bool = False
    """True once it has no place in the plan: it is only waited for that ExaBGP takes its withdraw."""
    stray: bool = False
    """True where it stands for neighbours to whom another track's prefix no longer goes."""
    heir: tuple[ServiceTrack, RouteTrack] | None = None
    """Who goes on in its place since another plan came: commands under way may still name this one."""

    @property
    def announced(self) -> bool:
        """Whether it is believed announced."""
        return self.said is not None

    def view(self) -> RouteView:
        """An immutable copy."""
        confirmed = tuple(sorted(str(neighbor) for neighbor in self.confirmed))
        return RouteView(self.said or self.spec, self.announced, self.accepted, confirmed, self.event)


@dataclass(frozen=True, slots=True, eq=False)
class Retry:
    """A command that was not taken, to be said again unless another has followed it."""

    service: ServiceTrack
    route: RouteTrack
    command: int


class RouteBook:
    """Says commands and keeps what became of them."""

    def __init__(self, outbox: Outbox, timers: Timers, touch: Callable[[ServiceTrack], None]) -> None:
        self._outbox = outbox
        self._timers = timers
        self._touch = touch
        self._commands: dict[int, tuple[ServiceTrack, RouteTrack]] = {}
        self._retries: list[Retry] = []
        self._owners: dict[str, tuple[ServiceTrack, RouteTrack]] = {}
        self._owed: dict[str, tuple[ServiceTrack, RouteTrack]] = {}
        """Withdraws of targets that nobody has any more, until ExaBGP takes them."""
        self._strays: dict[str, RouteTrack] = {}
        """Withdraws from neighbours that a target no longer goes to, until ExaBGP takes them."""
        self.by_prefix: dict[Prefix, tuple[ServiceTrack, RouteTrack]] = {}
        """Whose each prefix is."""

    def own(self, services: Iterable[ServiceTrack]) -> None:
        """Takes note of whose each target is from now on; a withdraw still owed goes over to who has it again."""
        self._owners = {route.spec.key: (service, route) for service in services for route in service.routes}
        self.by_prefix = {
            route.spec.prefix: (service, route)
            for service, route in self._owners.values()
            if isinstance(route.spec, Route)
        }
        for key in self._owed.keys() & self._owners.keys():
            _, orphan = self._owed.pop(key)
            service, route = self._owners[key]
            orphan.heir = (service, route)
            if route.said is None:
                route.verified, route.accepted = orphan.verified, orphan.accepted
                route.refusals, route.event = orphan.refusals, orphan.event

    def owe(self, service: ServiceTrack, route: RouteTrack) -> None:
        """A target leaves the plan: what was said of it last may still have to be said again."""
        if route.event in self._commands or not route.verified:
            self._owed[route.spec.key] = (service, route)

    # --- saying -------------------------------------------------------------------------------------------------

    def announce(
        self,
        service: ServiceTrack,
        route: RouteTrack,
        target: Target,
        cause: int | None,
        now: float,
        rule: str,
        layer: str = "",
    ) -> None:
        """Announces a target; first takes it back from neighbours to which it no longer goes.

        `layer` says what decided, for the event.
        """
        self._reach(target)
        left = left_behind(route.said, target) if route.said is not None else None
        if left is not None:
            self._strays[left.key] = stray = RouteTrack(self._with_owed(left), gone=True, stray=True)
            self._take_back(service, stray, cause, now, "it no longer goes to these neighbours", layer)
        command = self._said(service, route, target, cause, now, rule, layer)
        self._outbox.command(Announce(command, service.spec.name, target))

    def _reach(self, target: Target) -> None:
        """Nothing is owed any more to neighbours that a target goes to again."""
        stray = self._strays.get(target.key)
        if stray is None or not isinstance(target, Route) or not isinstance(stray.spec, Route):
            return
        if not target.neighbors:
            del self._strays[target.key]
        elif stray.spec.neighbors:
            left = tuple(neighbor for neighbor in stray.spec.neighbors if neighbor not in target.neighbors)
            if left:
                stray.spec = replace(stray.spec, neighbors=left)
            else:
                del self._strays[target.key]

    def _with_owed(self, left: Route) -> Route:
        """Together with those to whom a withdraw is owed already."""
        before = self._strays.get(left.key)
        if before is None or before.accepted or not isinstance(before.spec, Route) or not left.neighbors:
            return left
        if not before.spec.neighbors:
            return before.spec
        return replace(left, neighbors=tuple(dict.fromkeys((*before.spec.neighbors, *left.neighbors))))

    def withdraw(
        self,
        service: ServiceTrack,
        route: RouteTrack,
        cause: int | None,
        now: float,
        rule: str,
        layer: str = "",
    ) -> None:
        """Withdraws a target as it was announced last, or as it is configured; also where that is still owed."""
        stray = self._strays.get(route.spec.key)
        if stray is not None and stray is not route and not stray.verified:
            self._take_back(service, stray, cause, now, rule, layer)
        self._take_back(service, route, cause, now, rule, layer)

    def _take_back(
        self, service: ServiceTrack, route: RouteTrack, cause: int | None, now: float, rule: str, layer: str
    ) -> None:
        target = route.said or route.spec
        command = self._said(service, route, None, cause, now, rule, layer)
        if route.gone and not route.stray and not self._spoken_for(route.spec):
            self._owed[route.spec.key] = (service, route)
        for overtaken in self._outbox.command(Withdraw(command, service.spec.name, target)):
            self._commands.pop(overtaken, None)

    def _said(
        self,
        service: ServiceTrack,
        route: RouteTrack,
        target: Target | None,
        cause: int | None,
        now: float,
        rule: str,
        layer: str,
    ) -> int:
        """Books a command: believed, recorded, remembered. The event's id is the command's number."""
        told = target or route.said or route.spec
        if not route.gone and service.announced is not (target is not None):
            service.since = now
        if route.announced is not (target is not None):
            route.refusals = 0
        route.said, route.verified, route.accepted = target, True, None
        route.confirmed.clear()
        details = {**_target_details(told), "rule": rule, "layer": layer, **_inputs(service)}
        kind = "route_announce" if target is not None else "route_withdraw"
        event = self._outbox.event(kind, service=service.spec.name, source=Source.ENGINE, cause=cause, details=details)
        route.event = event
        self._commands[event] = (service, route)
        if len(self._commands) > COMMANDS_UNANSWERED + 2 * len(self.by_prefix):
            del self._commands[next(iter(self._commands))]  # ExaBGP answers none of them, or not these
        if not route.gone or not self._spoken_for(route.spec):
            self._outbox.remember(Remember(service.spec.name, told.key, target, event))
        self._touch(service)
        return event

    def _spoken_for(self, target: Target) -> bool:
        """Whether a target has an owner, whose own track says what is believed of it."""
        return target.key in self._owners

    # --- hearing ------------------------------------------------------------------------------------------------

    def answered(self, answer: Answer, now: float) -> None:
        """ExaBGP took a command, refused it, or did not answer."""
        service, route = self._commands.pop(answer.command, (None, None))
        if service is None or route is None:
            return
        service, route = _present(service, route)
        if route.event == answer.command:
            route.accepted = {Outcome.DONE: True, Outcome.ERROR: False, Outcome.TIMEOUT: None}[answer.outcome]
            # Not taken, or who knows: ExaBGP may hold something else, so the next decision is said in any case.
            route.verified = answer.outcome is Outcome.DONE
            route.refusals = 0 if route.verified else route.refusals + 1
            self._touch(service)
            if route.verified and route.gone:
                self._owed.pop(route.spec.key, None)
                if self._strays.get(route.spec.key) is route:
                    del self._strays[route.spec.key]
        if answer.outcome is Outcome.DONE:
            return
        details = {**_name(route.spec), "outcome": answer.outcome.value, "text": answer.text}
        self._outbox.event(
            "route_refused", service=service.spec.name, source=Source.EXABGP, cause=answer.command, details=details
        )
        if route.event == answer.command and not self._overtaken(route):
            delay = min(LONGEST_RETRY[route.announced], FIRST_RETRY * 2.0 ** min(route.refusals - 1, 10))
            self._timers.set(now + delay, Timer.RETRY, Retry(service, route, answer.command))

    def advertised(self, seen: Advertised) -> None:
        """An UPDATE went to a neighbour."""
        service, route = self.by_prefix.get(seen.prefix, (None, None))
        if service is None or route is None:
            return
        if route.announced is not seen.announced:  # an older command's UPDATE, or somebody else's hand
            route.confirmed.discard(seen.neighbor)
            self._touch(service)
            return
        if seen.neighbor in route.confirmed:
            return
        route.confirmed.add(seen.neighbor)
        self._touch(service)
        if route.event is None:
            return
        details = {
            "prefix": str(seen.prefix),
            "neighbor": str(seen.neighbor),
            "action": "announce" if seen.announced else "withdraw",
        }
        self._outbox.event(
            "route_confirmed",
            service=service.spec.name,
            source=Source.EXABGP,
            cause=route.event,
            details=details,
        )

    # --- saying again -------------------------------------------------------------------------------------------

    def due(self, retry: Retry) -> None:
        """A command is to be said again, after the decisions of this breath, which may overtake it."""
        self._retries.append(retry)

    def say_again(self, now: float) -> None:
        """Says what is due again, so many at once."""
        for retry in self._retries[:RETRIES_AT_ONCE]:
            self._repeat(retry, now)
        for retry in self._retries[RETRIES_AT_ONCE:]:
            self._timers.set(now + RETRY_BREATH, Timer.RETRY, retry)
        self._retries.clear()

    def _repeat(self, retry: Retry, now: float) -> None:
        """Repeats the last word on a route that ExaBGP did not take: a dead path must not stay for one lost answer."""
        service, route = _present(retry.service, retry.route)
        if route.event != retry.command or route.verified or self._overtaken(route):
            return
        if route.confirmed and route.accepted is None:  # its UPDATE was seen: only the answer was not heard
            route.verified = True
            return
        rule = f"said again, for ExaBGP did not take it ({route.refusals} times)"
        if route.said is not None:
            self.announce(service, route, route.said, retry.command, now, rule)
            return
        self._take_back(service, route, retry.command, now, rule, "")
        if route.stray and not _neighbors(route.spec):
            # It went to all of them: those who keep the route get it back in the same breath.
            owner, place = self._owners.get(route.spec.key, (service, route))
            if place.said is not None:
                self.announce(owner, place, place.said, retry.command, now, rule)

    def _overtaken(self, route: RouteTrack) -> bool:
        """Whether another track speaks for what this one said."""
        if route.stray:
            return self._strays.get(route.spec.key) is not route
        return route.gone and self._spoken_for(route.spec)


def _present(service: ServiceTrack, route: RouteTrack) -> tuple[ServiceTrack, RouteTrack]:
    """Who goes on for them after reloads."""
    while route.heir is not None:
        service, route = route.heir
    return service, route


def _neighbors(target: Target) -> tuple[Address, ...]:
    return target.neighbors if isinstance(target, Route) else ()


def _name(target: Target) -> dict[str, str]:
    return {"prefix": str(target.prefix)} if isinstance(target, Route) else {"watchdog": target.name}


def _target_details(target: Target) -> dict[str, Any]:
    if isinstance(target, Watchdog):
        return {"watchdog": target.name}
    details: dict[str, Any] = {"prefix": str(target.prefix), "next_hop": str(target.next_hop)}
    for name in ("med", "local_preference"):
        if getattr(target, name) is not None:
            details[name] = getattr(target, name)
    for name in ("communities", "large_communities", "extended_communities", "as_path"):
        if getattr(target, name):
            details[name] = list(getattr(target, name))
    return details


def _inputs(service: ServiceTrack) -> dict[str, Any]:
    """What a decision was made from: the state of each session, and what it counted as."""
    shown = service.legs[:SESSIONS_IN_AN_EVENT]
    states = {leg.label: ((leg.track.state if leg.track else None) or State.UNKNOWN).value for leg in shown}
    words = {True: "up", False: "down", None: "undecided"}
    return {"sessions": states, "counts_as": {leg.label: words[leg.verdict] for leg in shown}}
