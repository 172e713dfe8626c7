"""What operators say themselves, on targets that no service has (pure).

What was announced by hand stands until it is taken back by hand or its time is over, like an override: it is said again
where ExaBGP did not take it or has lost it, and after a restart of ExaBGP or of ours. What was taken back is looked
after until ExaBGP has taken that, and then forgotten. A service that comes to have the target takes it over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from exabgp_bfd.core.inventory import Inventory
from exabgp_bfd.core.model import (
    BY_HAND,
    Announce,
    ByHand,
    ByHandView,
    Command,
    ConfigError,
    OwnedError,
    Remember,
    RememberOrder,
    Restored,
    Route,
    RouteView,
    Service,
    Source,
    Target,
    Withdraw,
)
from exabgp_bfd.core.neighbors import NOT_SEEN, Neighborhood
from exabgp_bfd.core.outbox import Outbox
from exabgp_bfd.core.policy import ServiceTrack
from exabgp_bfd.core.routes import RouteBook, RouteTrack, target_details, together
from exabgp_bfd.core.timers import Timer, Timers

MOST = 1000
"""Targets that may be announced by hand."""
FORGOTTEN_AFTER = 60.0
"""Seconds after which what was taken back is forgotten, once ExaBGP has taken that."""
LAYER = "command"
"""What decided, for the events."""


@dataclass(slots=True, eq=False)
class _Entry:
    """A target that an operator spoke about, and his last word."""

    order: ByHand
    route: RouteTrack
    timed: bool = False
    """Whether a moment is set at which it may be forgotten."""


class HandBook:
    """Keeps what was said by hand, and says it."""

    def __init__(self, outbox: Outbox, timers: Timers, routes: RouteBook, neighborhood: Neighborhood) -> None:
        self._outbox = outbox
        self._timers = timers
        self._routes = routes
        self._neighborhood = neighborhood
        # No service that anybody could see, follow or order about: it only stands in commands and events.
        self.service = ServiceTrack(Service(BY_HAND, (), ()), [], gone=True)
        self._entries: dict[str, _Entry] = {}
        self._shown: tuple[ByHandView, ...] | None = ()

    def touch(self) -> None:
        """Something changed that others may see."""
        self._shown = None

    # --- orders -------------------------------------------------------------------------------------------------

    def objection(self, order: ByHand, inventory: Inventory) -> ConfigError | None:
        """Why an order cannot be taken, None: it can."""
        key = order.target.key
        owner = inventory.owner(key)
        if owner is not None:
            name = owner[0].spec.name
            action = "announce" if order.announce else "withdraw"
            text = f"{key} belongs to the service {name}: PUT /services/{name}/override with action {action} instead"
            return OwnedError("command", text)
        entry = self._entries.get(key)
        if order.announce:
            announced = sum(each.order.announce for each in self._entries.values())
            if announced >= MOST and (entry is None or not entry.order.announce):
                return ConfigError("command", f"{MOST} routes are announced by hand already: withdraw some first")
        elif entry is not None and isinstance(entry.route.said, Route) and isinstance(order.target, Route):
            kept, named = set(entry.route.said.neighbors), set(order.target.neighbors)
            if named and not (kept and kept <= named):
                to = ", ".join(map(str, entry.route.said.neighbors)) or "all neighbours"
                text = f"{key} is announced by hand to {to}: withdraw it there, or announce it to those who keep it"
                return ConfigError("command", text)
        return None

    def commands(self, order: ByHand) -> tuple[Command, ...]:
        """What an order would have ExaBGP told, each numbered 0; changes nothing."""
        if not order.announce:
            return (Withdraw(0, BY_HAND, self._with_owed(order).target),)
        left = self._routes.left_behind(self._reached(order.target.key), order.target)
        announce = Announce(0, BY_HAND, order.target)
        return (announce,) if left is None else (Withdraw(0, BY_HAND, left), announce)

    def _reached(self, key: str) -> Target | None:
        """As what a target may still stand in ExaBGP: as it is announced, or as it was told to withdraw it."""
        entry = self._entries.get(key)
        return entry.route.said if entry is not None and entry.route.said is not None else self._routes.owed(key)

    def _with_owed(self, order: ByHand) -> ByHand:
        """A withdraw together with one that ExaBGP has not taken yet, for nobody else would say that again."""
        target, key = order.target, order.target.key
        return replace(order, target=together(together(target, self._routes.owed(key)), self._routes.strayed(key)))

    def take(self, order: ByHand, now: float) -> None:
        """Carries out an order that nothing speaks against."""
        key = order.target.key
        details = {
            "action": "announce" if order.announce else "withdraw",
            **target_details(order.target),
            "neighbors": [str(each) for each in order.target.neighbors] if isinstance(order.target, Route) else [],
            "reason": order.reason,
            "expires": order.expires,
        }
        event = self._outbox.event("command", service=BY_HAND, source=Source.API, actor=order.actor, details=details)
        reached = self._reached(key)
        if not order.announce:
            order = self._with_owed(order)
        entry = self._entries.get(key)
        if entry is None:
            self._make_room()
            entry = self._add(order, RouteTrack(order.target))
            self._routes.own_too(self.service, entry.route)
        entry.order, entry.route.spec = order, order.target
        if order.announce:
            self._outbox.remember(RememberOrder(_subject(key), order))
            if entry.route.said is None:
                self._routes.leave(self.service, reached, order.target, event, now, LAYER)
            self._routes.announce(self.service, entry.route, order.target, event, now, _rule(order), LAYER)
        else:
            self._end(entry, event, now, _rule(order))

    def _end(self, entry: _Entry, event: int, now: float, rule: str) -> None:
        """Takes a target back; from here on it is only waited for that ExaBGP has taken that, also by our next life."""
        self._outbox.remember(RememberOrder(_subject(entry.route.spec.key), replace(entry.order, announce=False)))
        if entry.route.said is not None:
            entry.route.said = entry.route.spec  # to whom it goes now covers those to whom it went
        self._routes.withdraw(self.service, entry.route, event, now, rule, LAYER)
        self._await(entry, now + FORGOTTEN_AFTER)

    def _await(self, entry: _Entry, when: float) -> None:
        """Sets the moment at which it may be forgotten, if none is set."""
        if not entry.timed:
            entry.timed = True
            self._timers.set(when, Timer.BY_HAND, entry)

    # --- keeping ------------------------------------------------------------------------------------------------

    def _add(self, order: ByHand, route: RouteTrack) -> _Entry:
        entry = self._entries[order.target.key] = _Entry(order, route)
        self.service.routes.append(route)
        self.touch()
        return entry

    def _drop(self, entry: _Entry) -> None:
        if not entry.order.announce:  # no later life of ours has to say it again
            self._outbox.remember(RememberOrder(_subject(entry.order.target.key), None))
        del self._entries[entry.order.target.key]
        self.service.routes.remove(entry.route)
        entry.route.gone = True
        self._routes.disown(entry.route)
        self.touch()

    def _make_room(self) -> None:
        """What was taken back makes place for what comes: there may be any number of withdraws."""
        gone = [each for each in self._entries.values() if each.route.said is None]
        for entry in gone[: max(0, len(gone) - MOST + 1)]:
            self._drop(entry)

    def forget(self, entry: _Entry, now: float) -> None:
        """Forgets what was taken back, if nothing was said of it since and ExaBGP has taken that."""
        entry.timed = False
        if self._entries.get(entry.order.target.key) is not entry or entry.route.said is not None:
            return
        route = entry.route
        if now < route.since + FORGOTTEN_AFTER:
            self._await(entry, route.since + FORGOTTEN_AFTER)
            return
        if self._routes.is_under_way(route) and not self._routes.is_hopeless(route):
            self._await(entry, now + FORGOTTEN_AFTER)
            return
        self._drop(entry)

    def expire(self, wall: float, now: float) -> None:
        """Takes back what was announced until now only."""
        for entry in list(self._entries.values()):
            order = entry.order
            if order.announce and order.expires is not None and order.expires <= wall:
                details = {**target_details(order.target), "reason": order.reason}
                event = self._outbox.event(
                    "command_expired", service=BY_HAND, source=Source.TIMER, actor=order.actor, details=details
                )
                entry.order = self._with_owed(replace(order, announce=False))
                entry.route.spec = entry.order.target
                self._end(entry, event, now, f"its time is over ({_rule(order)})")

    def expires(self) -> Iterator[float]:
        """When something that was announced by hand ends."""
        for entry in self._entries.values():
            if entry.order.announce and entry.order.expires is not None:
                yield entry.order.expires

    # --- our own start and end, and another plan ----------------------------------------------------------------

    def adopt(self, restored: Restored, inventory: Inventory) -> None:
        """Takes over what a predecessor of ours was told, where no service has it."""
        believed = {held.route.key: held for held in restored.believed if held.service == BY_HAND}
        for order in restored.by_hand:
            if inventory.owner(order.target.key) is not None:
                continue
            route = self._add(order, RouteTrack(order.target)).route
            held = believed.get(order.target.key)
            if held is not None and restored.rib_kept:
                route.said, route.event = held.route, held.event

    def has(self, key: str) -> bool:
        """Whether an operator spoke about a target."""
        return key in self._entries

    def begin(self, restored: Restored, inventory: Inventory, started: int, now: float) -> None:
        """Says everything again: ExaBGP may have lost it, or not have taken it when our predecessor died.

        What it has already it does not send anew.
        """
        for order in restored.by_hand:
            if inventory.owner(order.target.key) is not None:
                self._leave(order, inventory, started)
        for entry in list(self._entries.values()):
            order = entry.order
            if order.announce:
                rule = f"{_rule(order)}, before we started"
                self._routes.announce(self.service, entry.route, order.target, started, now, rule, LAYER)
            elif (entry.route.event or 0) > started:
                continue  # its time ended in this breath
            elif restored.rib_kept:
                self._end(entry, started, now, f"{_rule(order)}, before we started")
            else:  # that ExaBGP is no more, and what the new one says by itself it was not told to withdraw
                self._drop(entry)

    def hand_over(self, inventory: Inventory, event: int) -> None:
        """What services of another plan have, is theirs from now on, and stays until they have judged."""
        for entry, service, place in self.lend(inventory):
            entry.route.heir = (service, place)
            if place.said is not None:
                self._outbox.remember(Remember(BY_HAND, place.spec.key, None, event))
                self._outbox.remember(Remember(service.spec.name, place.spec.key, place.said, event))
            self._drop(entry)
            if entry.order.announce:
                self._leave(entry.order, inventory, event)

    def lend(self, inventory: Inventory) -> list[tuple[_Entry, ServiceTrack, RouteTrack]]:
        """Has the services of a plan begin with what was said by hand of their targets; which, whose, and where."""
        found: list[tuple[_Entry, ServiceTrack, RouteTrack]] = []
        if not self._entries:
            return found
        for service in inventory.services.values():
            for place in service.routes:
                entry = self._entries.get(place.spec.key)
                if entry is None:
                    continue
                found.append((entry, service, place))
                was = entry.route
                place.said, place.verified, place.accepted = was.said, was.verified, was.accepted
                place.refusals, place.confirmed, place.event = was.refusals, set(was.confirmed), was.event
                place.since, place.hasty, place.held = was.since, was.hasty, set(was.held)
        for _, service, place in found:
            if place.said is not None and service.since is None:  # who has been judged already decides by that
                inventory.adopts(service)
        return found

    def _leave(self, order: ByHand, inventory: Inventory, cause: int) -> None:
        """A service has a target now that was announced by hand, or whose withdraw ExaBGP may not have taken."""
        key = order.target.key
        if not order.announce:
            self._outbox.remember(RememberOrder(_subject(key), None))
            return
        owner = inventory.owner(key)
        name = owner[0].spec.name if owner is not None else ""
        details = {**target_details(order.target), "reason": f"it belongs to the service {name} now", "to": name}
        self._outbox.event(
            "command_ended", service=BY_HAND, source=Source.ENGINE, actor=order.actor, cause=cause, details=details
        )
        self._outbox.remember(RememberOrder(_subject(key), None))

    def withdraw_all(self, cause: int, now: float, rule: str) -> None:
        """Withdraws what is announced, as our end may ask; the orders stay, for the next start."""
        for entry in self._entries.values():
            if entry.route.said is not None or not entry.route.verified:
                self._routes.withdraw(self.service, entry.route, cause, now, rule, LAYER)

    def announced(self) -> tuple[Target, ...]:
        """What is announced by hand, or may be."""
        entries = self._entries.values()
        return tuple(
            each.route.said or each.route.spec for each in entries if each.route.said or not each.route.verified
        )

    # --- views --------------------------------------------------------------------------------------------------

    def view(self) -> tuple[ByHandView, ...]:
        """What was said by hand, as others see it."""
        if self._shown is None:
            self._shown = tuple(self._view(entry) for _, entry in sorted(self._entries.items(), key=lambda one: one[0]))
        return self._shown

    def _view(self, entry: _Entry) -> ByHandView:
        route, around = entry.route, self._neighborhood
        target = route.said or route.spec
        missing: dict[str, str] = {}
        if isinstance(target, Route) and around.peers is not None:
            found = around.missing(target, route.confirmed | route.held)
            # Where nothing is sent, nothing can be left.
            missing = {str(each): why for each, why in found.items() if route.said is not None or why == NOT_SEEN}
        shown: RouteView = route.view()
        return ByHandView(entry.order, shown, route.outcome, route.text, tuple(sorted(missing.items())), around.answers)


def _rule(order: ByHand) -> str:
    verb = "announced" if order.announce else "withdrawn"
    why = f": {order.reason}" if order.reason else ""
    return f"{verb} by hand, by {order.actor}{why}"


def _subject(key: str) -> str:
    return f"{BY_HAND} {key}"
