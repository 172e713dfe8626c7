"""Routes: what was said of each, what ExaBGP took, what was seen on the wire, and what must be said again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from exabgp_bfd.core.model import (
    BY_HAND,
    Address,
    Advertised,
    Announce,
    Answer,
    Change,
    Outcome,
    Peer,
    Prefix,
    Remember,
    Rib,
    Route,
    RouteView,
    Source,
    State,
    Target,
    Watchdog,
    Withdraw,
)
from exabgp_bfd.core.neighbors import NOT_SEEN, Neighborhood
from exabgp_bfd.core.reach import NO_SUCH_NEIGHBOR
from exabgp_bfd.core.reconcile import Claim, Findings, compare
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
SEEN_WITHIN = 5.0
"""Seconds within which a command's UPDATE should be seen."""
NAMES_IN_AN_EVENT = 20
SETTLED_AFTER = 1.0
"""Seconds after its answer within which a command's UPDATE has left ExaBGP."""
HASTY = "ExaBGP may have turned its order with the word before"
REPAIR = "repair"
"""The layer of commands that decide nothing new: ExaBGP is to hold what was said before."""
WATCHDOG_PAUSE = 1.0
"""Seconds after which watchdogs are said again, and within which what they have follows their word."""
WATCHDOG_ROUTES = 10_000
"""How many routes are known as some watchdog's, at most."""
WATCHDOGS_AGAIN = 5.0
WATCHDOGS_SELDOM = 300.0
"""Seconds between two such times, at first and in the end."""


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


def left_behind(said: Target, target: Target, everybody: Iterable[Address] = ()) -> Route | None:
    """What must be withdrawn where a route goes to fewer neighbours than before: no later withdraw would reach them.

    `everybody` are ExaBGP's neighbours, as far as they are known.
    """
    if isinstance(said, Watchdog) or isinstance(target, Watchdog) or not target.neighbors:
        return None
    known = said.neighbors or tuple(everybody)
    left = tuple(neighbor for neighbor in known if neighbor not in target.neighbors)
    if known and not left:
        return None
    # From "all of them" to some, and who else there is, we do not know: those who keep it get it back in this breath.
    return replace(said, neighbors=left)


def together(target: Target, other: Target | None) -> Target:
    """A target to the neighbours of both."""
    if not isinstance(target, Route) or not isinstance(other, Route):
        return target
    both = (*target.neighbors, *other.neighbors) if target.neighbors and other.neighbors else ()
    return replace(target, neighbors=tuple(dict.fromkeys(both)))


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
    outcome: Outcome | None = None
    """ExaBGP's answer to the last word; None: there is none yet."""
    text: str = ""
    """What it said beside that."""
    refusals: int = 0
    """How often in a row ExaBGP refused the last word, or did not answer it."""
    confirmed: set[Address] = field(default_factory=set)
    """The neighbours to which the last word was seen to go."""
    held: set[Address] = field(default_factory=set)
    """The neighbours for which ExaBGP said that it has the route as the last word has it."""
    unseen: dict[Address, str] = field(default_factory=dict)
    """The neighbours that were not seen to get the last word in time, and why."""
    repaired: int | None = None
    """The command that repaired what ExaBGP held otherwise: where that did not help, another will not."""
    event: int | None = None
    since: float = 0.0
    """When the last word was said."""
    hasty: bool = False
    """Whether it was said before the word that went before had left ExaBGP, which may turn their order."""
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
        unseen = tuple(sorted((str(neighbor), why) for neighbor, why in self.unseen.items()))
        return RouteView(self.said or self.spec, self.announced, self.accepted, confirmed, self.event, unseen)


@dataclass(frozen=True, slots=True, eq=False)
class Retry:
    """A command that is to be said again unless another has followed it."""

    service: ServiceTrack
    route: RouteTrack
    command: int | None
    rule: str = ""
    """Why, where it is not for ExaBGP's answer."""
    cause: int | None = None


class RouteBook:
    """Says commands and keeps what became of them."""

    def __init__(
        self, outbox: Outbox, timers: Timers, touch: Callable[[ServiceTrack], None], neighborhood: Neighborhood
    ) -> None:
        self._outbox = outbox
        self._timers = timers
        self._touch = touch
        self._neighborhood = neighborhood
        self._commands: dict[int, tuple[ServiceTrack, RouteTrack]] = {}
        self._retries: list[Retry] = []
        self._owners: dict[str, tuple[ServiceTrack, RouteTrack]] = {}
        self._owed: dict[str, tuple[ServiceTrack, RouteTrack]] = {}
        """Withdraws of targets that nobody has any more, until ExaBGP takes them."""
        self._strays: dict[str, RouteTrack] = {}
        """Withdraws from neighbours that a target no longer goes to, until ExaBGP takes them."""
        self.by_prefix: dict[Prefix, tuple[ServiceTrack, RouteTrack]] = {}
        """Whose each prefix is."""
        self._dogs: dict[str, tuple[ServiceTrack, RouteTrack]] = {}
        """The watchdogs among what is owned."""
        self._dogs_routes: dict[Prefix, str] = {}
        """Whose each route is that followed a watchdog's word."""
        self._dogs_due: set[str] = set()
        """The watchdogs that will be said again."""
        self._strangers_again = float("-inf")
        """When routes of which nobody knows whose they are may have a watchdog said again."""
        self._strangers_pause = WATCHDOGS_AGAIN

    def own(self, services: Iterable[ServiceTrack]) -> None:
        """Takes note of whose each target is from now on; a withdraw still owed goes over to who has it again."""
        self._owners = {route.spec.key: (service, route) for service in services for route in service.routes}
        self.by_prefix = {
            route.spec.prefix: (service, route)
            for service, route in self._owners.values()
            if isinstance(route.spec, Route)
        }
        self._dogs = {key: owner for key, owner in self._owners.items() if isinstance(owner[1].spec, Watchdog)}
        for key in self._owed.keys() & self._owners.keys():
            self._goes_over(key)

    def own_too(self, service: ServiceTrack, route: RouteTrack) -> None:
        """Takes note of one more target, that nobody else has."""
        key, owner = route.spec.key, (service, route)
        self._owners[key] = owner
        if isinstance(route.spec, Route):
            self.by_prefix[route.spec.prefix] = owner
        else:
            self._dogs[key] = owner
        if key in self._owed:
            self._goes_over(key)

    def disown(self, route: RouteTrack) -> None:
        """A target is nobody's any more."""
        key = route.spec.key
        if self._owners.get(key, (None, None))[1] is not route:
            return
        del self._owners[key]
        if isinstance(route.spec, Route):
            del self.by_prefix[route.spec.prefix]
        else:
            del self._dogs[key]

    def _goes_over(self, key: str) -> None:
        """A withdraw that is owed goes over to who has the target again."""
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
        self.leave(service, route.said, target, cause, now, layer)
        command = self._said(service, route, target, cause, now, rule, layer)
        self._outbox.command(Announce(command, service.spec.name, target))

    def leave(
        self,
        service: ServiceTrack,
        said: Target | None,
        target: Target,
        cause: int | None,
        now: float,
        layer: str,
    ) -> None:
        """Takes a target back from those whom it reached as `said`, and no longer reaches as `target`."""
        self._reach(target)
        left = self.left_behind(said, target)
        if left is not None:
            self._strays[left.key] = stray = RouteTrack(self._with_owed(left), gone=True, stray=True)
            self._take_back(service, stray, cause, now, "it no longer goes to these neighbours", layer)

    def left_behind(self, said: Target | None, target: Target) -> Route | None:
        """What must be withdrawn before a target that went out as `said` is announced otherwise."""
        around = self._neighborhood
        everybody = tuple(around.peers or ()) if not around.ranges else ()
        return left_behind(said, target, everybody) if said is not None else None

    def owed(self, key: str) -> Target | None:
        """What ExaBGP was told to withdraw and has not taken yet, as it was told; None: nothing."""
        _, route = self._owed.get(key) or self._owners.get(key) or (None, None)
        if route is None or route.said is not None or route.event is None:
            return None
        return route.spec if self.is_under_way(route) and not self.is_hopeless(route) else None

    def strayed(self, key: str) -> Target | None:
        """What neighbours to whom a target no longer goes have not been told yet, as `owed`."""
        stray = self._strays.get(key)
        return stray.spec if stray is not None and self.is_under_way(stray) and not self.is_hopeless(stray) else None

    def _kept(self, service: ServiceTrack, target: Target | None) -> Target | None:
        """A target as our next life is to know it: what is said by hand, as it still stands in ExaBGP.

        Nobody else knows to whom that once went; what services have is looked after for all neighbours.
        """
        strayed = self.strayed(target.key) if target is not None and service.spec.name == BY_HAND else None
        return target if target is None or strayed is None else together(target, strayed)

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
        # ExaBGP sends what it finds together in an order of its own (speaker/settling.py): a withdraw does not wait for
        # that, as an announce does, but is said again.
        unsettled = route.event in self._commands or now < route.since + SETTLED_AFTER
        taken = route.event is not None and route.accepted is not False
        route.hasty = target is None and route.said is not None and taken and unsettled
        if not route.gone and service.announced is not (target is not None):
            service.since = now
        if route.announced is not (target is not None):
            route.refusals = 0
        if target != route.said:  # else ExaBGP says nothing new, and what was seen holds
            route.confirmed.clear()
            route.held.clear()
        route.said, route.verified, route.accepted, route.since = target, True, None, now
        route.outcome, route.text = None, ""
        route.unseen.clear()
        details = {**target_details(told), "rule": rule, "layer": layer, **_inputs(service)}
        kind = "route_announce" if target is not None else "route_withdraw"
        event = self._outbox.event(kind, service=service.spec.name, source=Source.ENGINE, cause=cause, details=details)
        route.event = event
        self._commands[event] = (service, route)
        if route.hasty and not self._neighborhood.answers:
            self._say_anew(service, route, HASTY, event, now + SETTLED_AFTER)
        if self._neighborhood.peers is not None and isinstance(told, Route):
            self._timers.set(now + SEEN_WITHIN, Timer.UNCONFIRMED, Retry(service, route, event))
        if len(self._commands) > COMMANDS_UNANSWERED + 2 * len(self.by_prefix):
            del self._commands[next(iter(self._commands))]  # ExaBGP answers none of them, or not these
        if not route.gone or not self._spoken_for(route.spec):
            self._outbox.remember(Remember(service.spec.name, told.key, self._kept(service, target), event))
        self._touch(service)
        return event

    def _spoken_for(self, target: Target) -> bool:
        """Whether a target has an owner, whose own track says what is believed of it."""
        return target.key in self._owners

    def is_under_way(self, route: RouteTrack) -> bool:
        """Whether the last word on a route has no answer yet, or has to be said again."""
        return route.event in self._commands or not route.verified

    # --- hearing ------------------------------------------------------------------------------------------------

    def answered(self, answer: Answer, now: float) -> None:
        """ExaBGP took a command, refused it, or did not answer."""
        service, route = self._commands.pop(answer.command, (None, None))
        if service is None or route is None:
            return
        service, route = _present(service, route)
        if route.event == answer.command:
            route.accepted = {Outcome.DONE: True, Outcome.ERROR: False}.get(answer.outcome)
            route.outcome, route.text = answer.outcome, answer.text
            # Not taken, or who knows: ExaBGP may hold something else, so the next decision is said in any case.
            route.verified = answer.outcome is Outcome.DONE
            route.refusals = 0 if route.verified else route.refusals + 1
            if route.verified and route.hasty:
                self._say_anew(service, route, HASTY, answer.command, now + SETTLED_AFTER)
            self._touch(service)
            if route.verified and route.gone:
                self._owed.pop(route.spec.key, None)
                if self._strays.get(route.spec.key) is route:
                    del self._strays[route.spec.key]
                    self._remember_anew(route.spec.key)
        if answer.outcome is Outcome.DONE:
            return
        if answer.outcome is Outcome.OVERTAKEN:  # nobody refused anything
            self._outbox.event(
                "route_overtaken",
                service=service.spec.name,
                source=Source.ENGINE,
                cause=answer.command,
                details={**_name(route.spec), "by": route.event},
            )
            return
        details = {
            **_name(route.spec),
            "outcome": answer.outcome.value,
            "text": answer.text,
            **self._why_refused(route),
        }
        self._outbox.event(
            "route_refused", service=service.spec.name, source=Source.EXABGP, cause=answer.command, details=details
        )
        if route.event == answer.command and not self._overtaken(route) and not self.is_hopeless(route):
            delay = min(LONGEST_RETRY[route.announced], FIRST_RETRY * 2.0 ** min(route.refusals - 1, 10))
            self._timers.set(now + delay, Timer.RETRY, Retry(service, route, answer.command))

    def _remember_anew(self, key: str) -> None:
        """What is said by hand stands nowhere else any more."""
        service, route = self._owners.get(key, (None, None))
        if service is not None and route is not None and service.spec.name == BY_HAND and route.event is not None:
            self._outbox.remember(Remember(BY_HAND, key, route.said, route.event))

    def _why_refused(self, route: RouteTrack) -> dict[str, Any]:
        """What is known of the neighbours that a route cannot go to."""
        if not isinstance(route.said, Route):
            return {}
        known = (
            (each, self._neighborhood.why_not(route.said, each)) for each in self._neighborhood.targets(route.said)
        )
        reasons = {str(neighbor): why for neighbor, why in known if why}
        return {"reasons": reasons} if reasons else {}

    def is_hopeless(self, route: RouteTrack) -> bool:
        """Whether to say a route again is of no use until ExaBGP's neighbours are others, or the plan is.

        A withdraw is that only where ExaBGP has refused it and has none of its neighbours: it needs no next hop.
        """
        around, target = self._neighborhood, route.said or route.spec
        if not isinstance(target, Route):
            return False
        if route.said is not None:
            return around.hopeless(target)
        if route.outcome is not Outcome.ERROR or not around.peers or not target.neighbors:
            return False
        return all(around.why_not(target, each) == NO_SUCH_NEIGHBOR for each in target.neighbors)

    def advertised(self, seen: Advertised, now: float) -> None:
        """An UPDATE went to a neighbour."""
        service, route = self.by_prefix.get(seen.prefix, (None, None))
        if service is None or route is None:
            self._watchdogs_may_differ(seen, now)
            return
        if route.announced is not seen.announced:  # an older command's UPDATE, or somebody else's hand
            route.confirmed.discard(seen.neighbor)
            self._touch(service)
            return
        if seen.neighbor in route.confirmed:
            return
        route.confirmed.add(seen.neighbor)
        route.unseen.pop(seen.neighbor, None)
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

    # --- neighbours ---------------------------------------------------------------------------------------------

    def unconfirmed(self, due: Retry, now: float) -> None:
        """A command's UPDATE should have been seen by now: tells where it was not, and why."""
        service, route = _present(due.service, due.route)
        target = route.said or route.spec
        if route.event != due.command or not isinstance(target, Route) or (route.gone and not route.stray):
            return
        if route.event in self._commands and self._neighborhood.answers:
            # ExaBGP is busy, and has not come to it: its deadline is the answer's.
            self._timers.set(now + SEEN_WITHIN, Timer.UNCONFIRMED, due)
            return
        missing = self._neighborhood.missing(target, route.confirmed | route.held)
        if route.said is None:  # where nothing is sent, nothing can be left
            missing = {neighbor: why for neighbor, why in missing.items() if why == NOT_SEEN}
        if not missing:
            return
        route.unseen = missing
        self._touch(service)
        details = {
            **_name(target),
            "action": "announce" if route.said is not None else "withdraw",
            "neighbors": {str(neighbor): why for neighbor, why in list(missing.items())[:NAMES_IN_AN_EVENT]},
        }
        event = self._outbox.event(
            "route_unconfirmed", service=service.spec.name, source=Source.TIMER, cause=route.event, details=details
        )
        if route.said is None:  # ExaBGP sends each withdraw that it is told, but loses some around a session's start
            self._say_anew(service, route, "its UPDATE was not seen", event, now)
        for neighbor, why in missing.items():
            if why == NOT_SEEN:
                self._outbox.ask("rib", neighbor, event)

    def lost(self, neighbor: Address) -> None:
        """A BGP session went down: nothing that was said stands there any more."""
        for service, route in self.by_prefix.values():
            if neighbor in route.confirmed:
                route.confirmed.discard(neighbor)
                self._touch(service)

    def arrived(self, neighbor: Address, event: int, now: float) -> None:
        """A BGP session came up: ExaBGP sends it everything by itself, unless it is told to keep nothing."""
        peer = (self._neighborhood.peers or {}).get(neighbor)
        if peer is None or peer.resends:
            self._timers.set(now + SEEN_WITHIN, Timer.ARRIVED, (neighbor, event))
            return
        for service, route in self.by_prefix.values():
            if self._goes_to(route, neighbor):
                rule = f"{neighbor} came up, and ExaBGP keeps nothing for it (adj-rib-out)"
                self._say_anew(service, route, rule, event, now)

    def settled(self, neighbor: Address, event: int, now: float) -> None:
        """A BGP session that came up should have been sent everything by now."""
        if not self._neighborhood.tells(neighbor) or self._neighborhood.states.get(str(neighbor)) != "up":
            return
        for service, route in self.by_prefix.values():
            # ExaBGP 5 leaves out withdraws that it was told just before the session came up.
            lately = route.event is not None and now < route.since + 2 * SEEN_WITHIN
            if route.said is None and lately and neighbor not in route.confirmed:
                self._say_anew(service, route, f"{neighbor} came up when it was said", event, now)
        if any(
            self._goes_to(route, neighbor) and neighbor not in route.confirmed for _, route in self.by_prefix.values()
        ):
            self._outbox.ask("rib", neighbor, event)

    def _goes_to(self, route: RouteTrack, neighbor: Address) -> bool:
        said, around = route.said, self._neighborhood
        if not isinstance(said, Route) or (said.neighbors and neighbor not in said.neighbors):
            return False
        return not (around.why_not(said, neighbor) or around.waits(said, neighbor))

    def retry_refused(self, now: float) -> None:
        """ExaBGP's neighbours are known now, or are others: what was refused may be taken."""
        for service, route in (*self._owners.values(), *self._owed.values()):
            if not route.verified and route.refusals and route.event not in self._commands:
                self._timers.set(now, Timer.RETRY, Retry(service, route, route.event))

    def reconcile(self, rib: Rib, peer: Peer, now: float) -> tuple[Findings, Callable[[int], None]]:
        """Holds what ExaBGP has for a neighbour against what is believed, and notes what agrees.

        With the findings comes what repairs them, given the event that tells of them.
        """
        claims: dict[Prefix, Claim] = {}
        for prefix, (service, route) in self.by_prefix.items():
            if route.event is not None and (route.event > rib.asked_after or route.event in self._commands):
                continue  # it was under way, and the answer may tell of before or after
            named = _neighbors(route.said or route.spec) if service.spec.name == BY_HAND else ()
            if named and peer.address not in named:
                continue  # what was said by hand to others says nothing of what this one has from somebody else
            claim = self._claim(route, peer)
            if claim is not None:
                claims[prefix] = claim
        found = compare(peer, rib.held, claims, self.by_prefix, complete=rib.complete)
        for prefix in found.agreed:
            service, route = self.by_prefix[prefix]
            route.held.add(peer.address)
            if route.unseen.pop(peer.address, None) is not None:
                self._touch(service)
            if not route.verified and not route.refusals and self._held_by_all(route):
                route.verified = True
        return found, lambda event: self._repair(found, peer, event, now)

    def _claim(self, route: RouteTrack, peer: Peer) -> Claim | None:
        """How a route is believed to stand for a neighbour; None where that cannot be told."""
        if isinstance(route.said, Route):
            if route.said.neighbors and peer.address not in route.said.neighbors:
                return Claim(route.said, announced=False)
            return None if self._neighborhood.why_not(route.said, peer.address) else Claim(route.said, announced=True)
        return Claim(route.spec, announced=False) if isinstance(route.spec, Route) else None

    def _held_by_all(self, route: RouteTrack) -> bool:
        target = route.said or route.spec
        if not isinstance(target, Route):
            return False
        wanted = [each for each in self._neighborhood.targets(target) if not self._neighborhood.why_not(target, each)]
        return bool(wanted) and route.held.issuperset(wanted)

    def _repair(self, found: Findings, peer: Peer, event: int, now: float) -> None:
        """Says again what ExaBGP does not hold as it was said."""
        name = peer.address
        for prefix in found.extra:
            service, route = self.by_prefix[prefix]
            target = route.said or route.spec
            if not isinstance(target, Route):
                continue
            if route.said is None and (not target.neighbors or name in target.neighbors):
                self._say_anew(service, route, f"ExaBGP holds it for {name}, though it is withdrawn", event, now)
            else:  # a withdraw of the route itself would not reach this neighbour
                left = self._with_owed(replace(target, neighbors=(name,)))
                self._strays[left.key] = stray = RouteTrack(left, gone=True, stray=True)
                self._take_back(service, stray, event, now, f"ExaBGP holds it for {name}, to whom it does not go", "")
        for prefixes, why in ((found.missing, "does not hold it"), (found.differing, "holds it otherwise")):
            for prefix in prefixes:
                service, route = self.by_prefix[prefix]
                self._say_anew(service, route, f"ExaBGP {why} for {name}", event, now)

    def _say_anew(self, service: ServiceTrack, route: RouteTrack, rule: str, cause: int, now: float) -> None:
        """Has the last word on a route said again, soon: there may be thousands of them."""
        if route.repaired is not None and route.repaired == route.event:
            return
        self._timers.set(now, Timer.RETRY, Retry(service, route, route.event, rule, cause))

    def _watchdogs_may_differ(self, seen: Advertised, now: float) -> None:
        """Somebody else's route changed: perhaps ExaBGP was reloaded, and said its watchdogs' routes by itself.

        Which routes a watchdog has, only shows: they follow its word.
        """
        knows = self._dogs_routes.get(seen.prefix)
        for key, (_, route) in self._dogs.items():
            if route.event is None:
                continue
            if route.announced is seen.announced:
                if now < route.since + WATCHDOG_PAUSE and len(self._dogs_routes) < WATCHDOG_ROUTES:
                    self._dogs_routes.setdefault(seen.prefix, key)
            elif key not in self._dogs_due and knows in (None, key):
                # A reload takes its time, and so does our last word.
                due = max(now, route.since) + WATCHDOG_PAUSE
                if knows is None:
                    due = max(due, self._strangers_again)
                self._dogs_due.add(key)
                self._timers.set(due, Timer.WATCHDOG, (key, knows is not None))

    def watchdog(self, key: str, now: float, *, known: bool) -> None:
        """Says a watchdog's last word again, for routes changed that are its own (`known`), or perhaps are."""
        self._dogs_due.discard(key)
        if not known:
            # Where others change their routes all the time, that tells nothing: less and less often then.
            calm = now >= self._strangers_again + 2 * self._strangers_pause
            self._strangers_pause = WATCHDOGS_AGAIN if calm else min(2 * self._strangers_pause, WATCHDOGS_SELDOM)
            self._strangers_again = now + self._strangers_pause
        service, route = self._dogs.get(key, (None, None))
        if service is not None and route is not None and route.event is not None:
            rule = "routes that are not ours changed: ExaBGP may have been reloaded"
            self._timers.set(now, Timer.RETRY, Retry(service, route, route.event, rule, route.event))

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
        if route.event != retry.command or self._overtaken(route):
            return
        if retry.rule:
            self._repeat_for(retry, service, route, now)
            return
        if route.verified:
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

    def _repeat_for(self, retry: Retry, service: ServiceTrack, route: RouteTrack, now: float) -> None:
        """Says the last word again for another reason than ExaBGP's answer."""
        if route.said is not None:
            self.announce(service, route, route.said, retry.cause, now, retry.rule, REPAIR)
        else:
            self._take_back(service, route, retry.cause, now, retry.rule, REPAIR)
        route.repaired = route.event

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


def target_details(target: Target) -> dict[str, Any]:
    """A target in an event."""
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
