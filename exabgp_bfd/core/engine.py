"""The only door of the core: `handle(input, now) -> effects`, `next_deadline()`, `snapshot()`.

`now` is monotonic seconds and never falls. Effects come in the order in which they must be carried out: withdraws,
announces, looks, paces, then what is to be kept. Equal inputs at equal times give equal effects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from exabgp_bfd.core.by_hand import HandBook
from exabgp_bfd.core.guard import Limit, Sight
from exabgp_bfd.core.inventory import DeviceTrack, Inventory
from exabgp_bfd.core.model import (
    BY_HAND,
    Action,
    Address,
    Advertised,
    Announce,
    Answer,
    Believed,
    ByHand,
    Clear,
    Clock,
    Command,
    ConfigError,
    Disabled,
    Effect,
    Explanation,
    Input,
    Lift,
    Negotiated,
    Neighbor,
    Note,
    Notification,
    Observation,
    Order,
    Override,
    Peer,
    Peers,
    Plan,
    Poll,
    Prefix,
    Preview,
    Reading,
    Reload,
    Remember,
    RememberOrder,
    Restored,
    Rib,
    Route,
    Selector,
    Service,
    ServiceView,
    Session,
    SessionView,
    Silence,
    Sites,
    Snapshot,
    Source,
    Stall,
    Start,
    State,
    Stop,
    Tick,
    Watchdog,
    Webhook,
    Window,
    Withdraw,
)
from exabgp_bfd.core.neighbors import DOWN, UP, Neighborhood
from exabgp_bfd.core.outbox import Outbox
from exabgp_bfd.core.policy import Layer, Mode, Ruling, ServiceTrack, matches
from exabgp_bfd.core.reconcile import Findings, alike
from exabgp_bfd.core.routes import GRACEFUL_SHUTDOWN, NAMES_IN_AN_EVENT, RouteBook, RouteTrack, altered
from exabgp_bfd.core.session import PATH, Leg, Step, Track, transition
from exabgp_bfd.core.timers import Timer, Timers
from exabgp_bfd.core.windows import next_edge, open_since, open_until

LOOKS_FOR_ANY = 2
"""How often in a row a selector that asks every device finds nothing at one, until that one counts for nothing."""
CLOCK_JUMP = 2.0
"""Seconds by which the wall clock may be set without anybody minding."""
CLOCK_SETTLES = 60.0
"""Seconds after which a clock that jumped is believed, if it has not jumped again."""
OLD_DIALECT = "4"
PEERS_AGAIN = 10.0
"""Seconds between two questions which neighbours ExaBGP has."""
NEW_AGAIN = 1.0
"""The same where one came up that it had not named."""

_Causes = dict[bool, int | None]
"""What led to a decision, by whether it speaks for the service."""


class Engine:
    """Decides; owns what is believed of sessions, services and routes. Not thread-safe: one thread calls it."""

    def __init__(self, plan: Plan, restored: Restored, now: float) -> None:
        self._now = now
        self._offset = restored.wall - now
        self._clock_doubted_until: float | None = None
        self._wall_at: float | None = None
        """When something begins or ends next by the wall clock."""
        self._restored = restored
        self._timers = Timers()
        self._outbox = Outbox(restored.last_event)
        self._neighborhood = Neighborhood()
        self._routes = RouteBook(self._outbox, self._timers, self._touch, self._neighborhood)
        self._by_hand = HandBook(self._outbox, self._timers, self._routes, self._neighborhood)
        self._peers_again = float("-inf")
        """When ExaBGP may be asked again which neighbours it has."""
        self._new_again = float("-inf")
        self._peers_due = float("inf")
        """When it will be, where a moment is set."""
        self._reconciling = False
        """Whether a moment is set at which ExaBGP is asked what it holds."""
        self._looked_through: set[Address] = set()
        """The neighbours for which ExaBGP has told what it holds: what it has of ours from before is known by then."""
        self._due: dict[str, tuple[ServiceTrack, _Causes]] = {}
        self._forced: dict[str, tuple[ServiceTrack, int | None]] = {}
        self._held: list[str] = []
        self._ended = False
        self._dirty_sessions: dict[str, Track] = {}
        self._dirty_services: dict[str, ServiceTrack] = {}
        self._session_views: dict[str, SessionView] = {}
        self._service_views: dict[str, ServiceView] = {}
        self._open: dict[str, Window] = {}
        self._sight = Sight()
        self._sites: Mapping[str, tuple[str, ...]] | None = None
        """What the other sites announce; None: nobody can tell."""
        self._limit = Limit(plan.guard)
        self._limit.lift = restored.lift
        for name, when in restored.withdrawn:
            self._limit.remember(name, when - self._offset)
        self._inventory = Inventory(plan)
        self._inventory.adopt(restored)
        self._by_hand.adopt(restored, self._inventory)
        for override in restored.overrides:
            if (service := self._inventory.services.get(override.service)) is not None:
                service.override = override
        _disable(self._inventory, restored.disabled)
        self._settle_in(now)

    def _settle_in(self, now: float) -> None:
        """What an inventory that begins to hold needs: whose each prefix is, timers, views."""
        inventory = self._inventory
        self._routes.own([*inventory.services.values(), self._by_hand.service])
        self._dirty_services = dict(inventory.services)
        for service in inventory.services.values():
            service.last_site = self._is_last(service)
        for device in inventory.devices.values():
            if device.heard is None or any(
                leg.read(State.UNKNOWN) is Reading.DOWN for leg in device.unmatched.values()
            ):
                # What is asked soon enough is not put off: a reload may follow another.
                latest = now + device.spec.stale_after
                if device.unheard_at is None or not now <= device.unheard_at <= latest:
                    self._watch_unheard(device, latest)

    # --- the door -----------------------------------------------------------------------------------------------

    def handle(self, event: Input, now: float) -> list[Effect]:
        """Takes one input at a time `now` and returns what is to be done, in the order in which it must be done."""
        self._now = now = max(now, self._now)
        if self._ended or isinstance(event, Stop):
            # The last word is said: what comes now is booked, and changes nothing.
            self._take(event, now)
            return self._outbox.take()
        if self._wall_at is not None and self._wall_at <= now:
            self._review(now, None)  # what is observed from now on is observed after it
        self._take(event, now)
        self._fire(now)
        if self._due or self._forced:
            self._decide_all(now)
        if self._held:
            self._tell_held(now)
        # After the decisions, which may have overtaken what was to be repeated.
        self._routes.say_again(now)
        return self._outbox.take()

    def _decide_all(self, now: float) -> None:
        """Each service that something happened to; a fault of ours with one of them leaves the others alone."""
        due, self._due = self._due, {}
        for name, (service, causes) in due.items():
            try:
                self._decide(service, causes, now)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others' withdraws must leave
                self._failed(name, error)
        forced, self._forced = self._forced, {}
        for name, (service, cause) in forced.items():
            try:
                self._apply(service, {True: cause, False: cause}, now, service.level)
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(name, error)

    def _failed(self, service: str, error: Exception) -> None:
        details = {"error": f"{type(error).__name__}: {error}"}
        self._outbox.event("decision_failed", service=service, source=Source.ENGINE, details=details)

    def next_deadline(self) -> float | None:
        """When `Tick` must come at the latest, None: never."""
        moments = [moment for moment in (self._timers.next(), self._wall_at) if moment is not None]
        return min(moments, default=None)

    def objection(self, order: Order | Clear, now: float) -> ConfigError | None:
        """Why an order cannot be taken, None: it can."""
        if isinstance(order, Order):
            what = order.what
            if what.expires is not None and what.expires <= self._wall(now):
                return ConfigError("expires", "lies in the past: give a time to come, or a ttl in seconds")
            if isinstance(what, ByHand):
                return self._by_hand.objection(what, self._inventory)
        return self._objects(order, _service_of(order))

    def _objects(self, order: Order | Clear, name: str | None) -> ConfigError | None:
        """The same of an order about a service, or (None) the guard."""
        if name is None:
            if isinstance(order, Clear) and self._limit.lift is None:
                return ConfigError("guard", "its limit is not lifted")
            return None
        service = self._inventory.services.get(name)
        if service is None:
            known = ", ".join(list(self._inventory.services)[:10])
            return ConfigError("service", f"there is no service {name!r}; known: {known}")
        if isinstance(order, Clear) and service.override is None:
            return ConfigError("service", f"{name} has no override")
        return None

    # --- inputs -------------------------------------------------------------------------------------------------

    def _take(self, event: Input, now: float) -> None:  # noqa: C901, PLR0912 - a line for each kind of input
        match event:
            case Poll():
                self._poll(event, now)
            case Tick():
                pass
            case Silence():
                self._silence(event)
            case Answer():
                self._routes.answered(event, now)
            case Advertised():
                self._routes.advertised(event, now)
            case Neighbor():
                self._by_hand.touch()
                self._neighbor(event, now)
            case Negotiated():
                self._by_hand.touch()
                self._negotiated(event)
            case Peers():
                self._by_hand.touch()
                self._peers(event, now)
            case Rib():
                self._rib(event, now)
            case Webhook():
                self._webhook(event, now)
            case Notification():
                self._notified(event, now)
            case Sites():
                self._elsewhere(event)
            case Clock():
                self._clock(event, now)
            case Stall():
                self._stalled(event, now)
            case Order() | Clear():
                self._order(event, now)
            case Disabled():
                self._disable(event, now)
            case Reload():
                self._reload(event, now)
            case Note():
                self._note(event)
            case Start():
                self._start(event, now)
            case Stop():
                self._stop(event, now)

    def _start(self, start: Start, now: float) -> None:
        restored, self._restored = self._restored, Restored()
        started = self._outbox.event("started", source=Source.SELF, details=start.details)
        # First what is ordered, for it decides whether what was announced may be said again.
        for override in restored.overrides:
            if override.service not in self._inventory.services:
                self._forget_override(override, started, "its service is no longer configured")
        for service in self._inventory.services.values():
            if service.ordered() is not None:
                self._ordered(service, started, now)
        self._review(now, started)
        for held in restored.believed:
            if held.service != BY_HAND or not self._by_hand.has(held.route.key):
                self._take_up(held, restored, started, now)
        self._by_hand.begin(restored, self._inventory, started, now)
        if not restored.rib_kept:
            for service in self._inventory.services.values():
                self._say_first(service, started, now)

    def _take_up(self, held: Believed, restored: Restored, started: int, now: float) -> None:
        """What a predecessor of ours said once: it holds, or is taken back, or no longer counts."""
        owner = self._inventory.owner(held.route.key)
        if restored.expired:
            self._outbox.remember(Remember(held.service, held.route.key, None, started))
            return
        if owner is None:
            self._disown(held, started, now, rib_kept=restored.rib_kept)
            return
        service, route = owner
        if held.service != service.spec.name:
            self._outbox.remember(Remember(held.service, held.route.key, None, started))
            self._outbox.remember(Remember(service.spec.name, held.route.key, held.route, held.event))
        target = self._as_before(service, route)
        if restored.rib_kept and service.ordered() is None and held.route != target:
            rule = "announced when we stopped, with other attributes"
            self._routes.announce(service, route, target, started, now, rule)

    def _say_first(self, service: ServiceTrack, started: int, now: float) -> None:
        """ExaBGP started anew, and has nothing but what its own configuration says."""
        order = service.ordered()
        for route in service.routes:
            # What is drained says nothing of a watchdog that was withdrawn until the drain is over: too late for it.
            drained = order is not None and order.action is Action.DRAIN and isinstance(route.spec, Watchdog)
            if order is not None and order.action is not Action.FREEZE and not (drained and route.said is None):
                # The order is carried out in this breath, whatever is believed.
                route.verified = route.said is None and isinstance(route.spec, Route)
            elif route.said is not None:
                rule = "announced when we stopped, and ExaBGP started anew since"
                self._routes.announce(service, route, self._as_before(service, route), started, now, rule)
            elif isinstance(route.spec, Watchdog):
                rule = "ExaBGP announces a watchdog's routes by itself until it is told"
                self._routes.withdraw(service, route, started, now, rule)

    def _as_before(self, service: ServiceTrack, route: RouteTrack) -> Route | Watchdog:
        """A route as it was announced before we stopped, by the configuration that holds now."""
        if route.said is None or service.ordered() is not None:
            return route.said or route.spec
        drained = isinstance(route.said, Route) and GRACEFUL_SHUTDOWN in route.said.communities
        configured = isinstance(route.spec, Route) and GRACEFUL_SHUTDOWN in route.spec.communities
        on, change = service.change_at(service.level_of(route))
        return altered(route.spec, change if on else None, graceful_shutdown=drained and configured)

    def _disown(self, held: Believed, started: int, now: float, *, rib_kept: bool) -> None:
        """Takes back a route whose prefix left the configuration while we were away: nobody else ever would."""
        if not rib_kept:
            self._outbox.remember(Remember(held.service, held.route.key, None, started))
            return
        route = RouteTrack(held.route, said=held.route, event=held.event, gone=True)
        service = ServiceTrack(Service(held.service, (held.route,), ()), [route], gone=True)
        self._routes.withdraw(service, route, started, now, "its prefix is no longer configured")

    def _stop(self, stop: Stop, now: float) -> None:
        self._ended = True
        details = {"reason": stop.reason, "withdraw": stop.withdraw}
        stopped = self._outbox.event("stopped", source=Source.SELF, details=details)
        for service in self._inventory.services.values() if stop.withdraw else ():
            for route in service.routes:
                if route.said is not None or not route.verified:
                    self._routes.withdraw(service, route, stopped, now, f"we end: {stop.reason}")
        if stop.withdraw:
            self._by_hand.withdraw_all(stopped, now, f"we end: {stop.reason}")

    def _note(self, note: Note) -> None:
        self._outbox.event(
            note.event_type,
            device=note.device,
            source=note.source,
            actor=note.actor,
            cause=note.cause,
            details=note.details,
        )

    # --- ExaBGP and its neighbours ------------------------------------------------------------------------------

    def _neighbor(self, told: Neighbor, now: float) -> None:
        if not self._neighborhood.became(told.neighbor, told.state):
            return
        if told.state == DOWN:
            self._routes.lost(told.neighbor)
        if told.state not in (UP, DOWN):
            return
        details = {"neighbor": str(told.neighbor), "reason": told.reason}
        event = self._outbox.event(f"neighbor_{told.state}", source=Source.EXABGP, details=details)
        if told.state == UP:
            self._routes.arrived(told.neighbor, event, now)
            # With other capabilities than before, or a neighbour that is new, and lacks what is announced.
            self._ask_peers(event, now, new=not self._neighborhood.is_known(told.neighbor))

    def _ask_peers(self, cause: int | None, now: float, *, new: bool = False) -> None:
        due = min(self._new_again, self._peers_again) if new else self._peers_again
        if now >= due:
            self._new_again, self._peers_again, self._peers_due = now + NEW_AGAIN, now + PEERS_AGAIN, float("inf")
            self._outbox.ask("peers", None, cause)
        elif due < self._peers_due:
            self._peers_due = due
            self._timers.set(due, Timer.PEERS, cause)

    def _negotiated(self, told: Negotiated) -> None:
        self._neighborhood.agreed(told)
        if told.graceful_restart:
            self._warn_of_graceful_restart(told.neighbor)

    def _warn_of_graceful_restart(self, neighbor: Address) -> None:
        """Once for each neighbour: it keeps our routes while ExaBGP is dead, whatever becomes of their paths."""
        if neighbor in self._neighborhood.restarting:
            return
        self._neighborhood.restarting.add(neighbor)
        details = {
            "neighbor": str(neighbor),
            "reason": "graceful restart (RFC 4724): this neighbour keeps our routes for a while when ExaBGP dies",
        }
        self._outbox.event("neighbor_graceful_restart", source=Source.EXABGP, details=details)

    def _peers(self, told: Peers, now: float) -> None:
        """ExaBGP says which neighbours it has: what it holds for those that came is asked for."""
        first = self._neighborhood.peers is None
        changed = first or self._neighborhood.peers != {peer.address: peer for peer in told.peers}
        came, went = self._neighborhood.learn(told)
        if changed:
            details = {
                "version": told.version,
                "dialect": told.dialect,
                "answers": told.answers,
                "neighbors": [str(peer.address) for peer in told.peers][:NAMES_IN_AN_EVENT],
                "came": [str(address) for address in came][:NAMES_IN_AN_EVENT] if not first else [],
                "went": [str(address) for address in went][:NAMES_IN_AN_EVENT],
            }
            event = self._outbox.event("exabgp_neighbors", source=Source.EXABGP, details=details)
            self._routes.retry_refused(now)
            for address in [None] if first else came:
                self._outbox.ask("rib", address, event)
            if told.dialect == OLD_DIALECT:
                self._warn_of_watchdogs(event)
        for peer in told.peers:
            if peer.graceful_restart:
                self._warn_of_graceful_restart(peer.address)
        self._set_reconcile_timer(now)

    def _warn_of_watchdogs(self, cause: int) -> None:
        dogs = [name for name, each in self._inventory.services.items() if any(map(_is_watchdog, each.routes))]
        if dogs:
            reason = "ExaBGP 4.2 announces a watchdog's routes with each reload, and then no longer takes them back"
            details = {"reason": f"{reason}: restart it instead, or use ExaBGP 5", "services": dogs[:NAMES_IN_AN_EVENT]}
            self._outbox.event("exabgp_warning", source=Source.EXABGP, cause=cause, details=details)

    def _set_reconcile_timer(self, now: float) -> None:
        every = self._inventory.plan.reconcile
        if every > 0 and not self._reconciling and self._neighborhood.peers is not None:
            self._reconciling = True
            self._timers.set(now + every, Timer.RECONCILE, None)

    def _reconcile_again(self, now: float) -> None:
        self._reconciling = False
        if self._inventory.plan.reconcile > 0:
            self._outbox.ask("rib")
        self._set_reconcile_timer(now)

    def _rib(self, rib: Rib, now: float) -> None:
        """ExaBGP says which routes it holds: what differs from what was said is told of, and repaired."""
        peers = self._neighborhood.peers or {}
        for address in (rib.neighbor,) if rib.neighbor is not None else tuple(peers):
            peer = peers.get(address)
            if peer is None or not peer.resends:
                continue  # it is gone, or ExaBGP keeps nothing for it, and so cannot tell
            found, repair = self._routes.reconcile(rib, peer, now)
            first = rib.complete and address not in self._looked_through
            adopted = [prefix for prefix in found.extra if first and self._adopts(found, prefix, peer, now)]
            for prefix in adopted:
                del found.extra[prefix]
            if rib.complete:
                self._looked_through.add(address)
            if not found.clean:
                repair(self._outbox.event("reconciled", source=Source.EXABGP, details=_findings_details(found)))

    def _adopts(self, found: Findings, prefix: Prefix, peer: Peer, now: float) -> bool:
        """Whether a route that nobody remembers is taken for a predecessor's of ours.

        So it is when nothing is known of its service yet: our journal may have been lost, but not ExaBGP's routes.
        """
        service, route = self._routes.by_prefix[prefix]
        undecided = not service.up and not service.down and service.ordered() is None
        if not undecided or not isinstance(route.spec, Route):
            return False
        if route.said is not None or route.event is not None:  # we know what we said of it
            return False
        held = found.extra[prefix]
        route.said = route.spec if alike(route.spec, held, peer) else replace(held, neighbors=route.spec.neighbors)
        route.verified = False
        self._inventory.adopts(service)
        details = {"prefix": str(prefix), "neighbor": str(peer.address)}
        route.event = self._outbox.event(
            "route_adopted", service=service.spec.name, source=Source.EXABGP, details=details
        )
        self._outbox.remember(Remember(service.spec.name, route.spec.key, route.said, route.event))
        service.since = now
        self._touch(service)
        return True

    # --- devices ------------------------------------------------------------------------------------------------

    def _poll(self, poll: Poll, now: float) -> None:
        device = self._inventory.devices.get(poll.device)
        if device is None:  # it left the inventory while its answer was under way
            return
        if self._sight.blind:
            self._sees_again(now, device, "a device answers again")
        if device.unheard_event is not None:
            self._answers_again(device, now)
        device.heard, device.reachable, device.reason = now, True, ""
        if self._doubted(device, poll, now):
            return
        counts = poll.source is not Source.SNMP_LOOK
        refilling = device.refilling_until is not None and now < device.refilling_until
        for observation in poll.observations:
            if refilling and observation.state is State.MISSING:
                continue
            cause = _cause(device, poll, observation.session.id)
            sure = not counts and bool(device.suspects) and self._suspected(device, observation.session.id, now)
            self._observe(device, observation, now, poll, cause, counts=counts, sure=sure)
        if poll.complete and not refilling:
            self._absent(device, poll, now, counts=counts)
        if not counts:
            for observation in poll.observations:
                device.look_causes.pop(observation.session.id, None)
            if poll.complete:
                device.look_causes.clear()
                device.suspects.clear()

    def _suspected(self, device: DeviceTrack, session: str, now: float) -> bool:
        """Whether the device has said of itself that this session went down, and this is the look at it."""
        said = device.suspects.pop(session, None)
        return said is not None and now - said <= device.spec.stale_after

    def _doubted(self, device: DeviceTrack, poll: Poll, now: float) -> bool:
        """Whether a device's word that all its sessions vanished at once is not yet believed.

        So does an agent speak whose BFD daemon restarts: it answers, and has no rows. It is taken for silence until it
        has said so for `stale_after`.
        """
        if poll.told or any(seen.state is not State.MISSING for seen in poll.observations):
            if device.empty_since is not None:
                # A daemon that restarts gets its sessions back one by one: who is not back yet is not gone.
                device.empty_since = None
                device.refilling_until = now + device.spec.stale_after
                self._timers.set(device.refilling_until, Timer.EMPTY, device.spec.name)
            return False
        there = sum(track.state is not State.MISSING for track in device.tracks.values())
        if not poll.complete or not (there or not device.tracks):
            return False
        if device.empty_since is None:
            device.empty_since = now
            self._timers.set(now + device.spec.stale_after, Timer.EMPTY, device.spec.name)
            if there or any(leg.service.adopted for leg in device.unmatched.values()):
                reason = "it answers that it has no BFD session at all, and is not believed yet"
                details = {"reason": reason, "sessions": there, "seconds": device.spec.stale_after}
                self._outbox.event("guard_held", device=device.spec.name, source=Source.ENGINE, details=details)
        device.reason = "its BFD table is empty"
        return now < device.empty_since + device.spec.stale_after

    def _absent(self, device: DeviceTrack, poll: Poll, now: float, *, counts: bool) -> None:
        seen = poll.told.union(observation.session.id for observation in poll.observations)
        for id_ in [id_ for id_ in device.tracks if id_ not in seen]:
            gone = Observation(device.tracks[id_].session, State.MISSING)
            self._observe(device, gone, now, poll, _cause(device, poll, id_), counts=counts)
        for place, leg in list(device.unmatched.items()):
            if place in device.wild:
                self._found_nothing(device, place, _cause(device, poll, None))
            # What was never there did not vanish: `on_missing = "up"` must not announce for a mistyped selector.
            elif leg.read(State.MISSING) is not Reading.UP:
                self._sample(device, leg, State.MISSING, now, _cause(device, poll, None), counts=counts)

    def _found_nothing(self, device: DeviceTrack, place: tuple[Address | str, str], cause: int | None) -> None:
        """What asks every device has nothing at this one, and is not waited for once that was seen twice."""
        leg = device.unmatched[place]
        service = leg.service
        if service.adopted and service.announced and leg.read(State.MISSING) is not Reading.DOWN:
            return  # the device may have had it before: that it is gone is to change nothing
        leg.bad += 1
        if leg.bad >= LOOKS_FOR_ANY:
            self._inventory.pass_over(device, place)
            self._due.setdefault(service.spec.name, (service, {}))[1].setdefault(False, cause)
            self._touch(service)

    def _silence(self, silence: Silence) -> None:
        device = self._inventory.devices.get(silence.device)
        if device is not None:
            device.reachable, device.reason = False, silence.reason
            device.empty_since = None  # what it said before it fell silent, it has not said since

    def _answers_again(self, device: DeviceTrack, now: float) -> None:
        """A device that was silent answers: its sessions are what they are, and one event says why they changed."""
        silent = round(now - device.heard, 3) if device.heard is not None else None
        details = {"silent_seconds": silent, "sessions": len(device.tracks)}
        device.back_event = self._outbox.event(
            "device_reachable",
            device=device.spec.name,
            source=Source.SNMP_POLL,
            cause=device.unheard_event,
            details=details,
        )
        device.unheard_event = None

    def _webhook(self, webhook: Webhook, now: float) -> None:
        event = self._outbox.event(
            webhook.reason,
            device=webhook.device,
            source=Source.WEBHOOK,
            actor=webhook.actor,
            details=webhook.evidence,
        )
        device = self._inventory.devices.get(webhook.device)
        if device is None or webhook.effect == "record":
            return
        reported = self._reported(device, webhook) if webhook.effect == "observe" else ()
        if not reported:
            self._look(device, None, event)
            return
        poll = Poll(device.spec.name, reported, source=Source.WEBHOOK, actor=webhook.actor, cause=event)
        for observation in reported:
            self._observe(device, observation, now, poll, event, counts=True)

    def _notified(self, told: Notification, now: float) -> None:
        """The device speaks of itself: each session it names is looked at, and what it says is confirmed thereby."""
        device = self._inventory.devices.get(told.device)
        if device is None:
            return
        tracks = [device.tracks[session] for session in told.sessions if session in device.tracks]
        details = {"said": None if told.said is None else told.said.value, **told.details}
        if len(tracks) > 1:
            details["sessions"] = [track.session.id for track in tracks[:NAMES_IN_AN_EVENT]]
            details["count"] = len(tracks)
        event = self._outbox.event(
            "snmp_trap",
            device=told.device,
            session=tracks[0].session.id if len(tracks) == 1 else None,
            source=Source.SNMP_TRAP,
            details=details,
        )
        bad = told.said is not None and PATH[told.said] is False
        for track in tracks:
            if told.said is not None and bad and told.sure:
                poll = Poll(told.device, (), source=Source.SNMP_TRAP, cause=event)
                self._observe(device, Observation(track.session, told.said), now, poll, event, counts=True, sure=True)
            elif bad:
                device.suspects[track.session.id] = now
            self._look(device, track, event)
        if not tracks:
            self._look(device, None, event)

    def _reported(self, device: DeviceTrack, webhook: Webhook) -> tuple[Observation, ...]:
        """The observations a webhook's evidence amounts to: `{"state": ..., "session" or "peer": ...}`, else none."""
        state = webhook.evidence.get("state")
        pattern = webhook.evidence.get("session", webhook.evidence.get("peer", "*"))
        # The evidence is any JSON: a list or an object as state must not reach the set, it cannot be hashed.
        if not isinstance(state, str) or not isinstance(pattern, str):
            return ()
        if state not in {State.UP, State.DOWN, State.INIT, State.ADMIN_DOWN}:
            return ()
        selector = Selector(device.spec.name, pattern.removeprefix(f"{device.spec.name}/"))
        return tuple(
            Observation(track.session, State(state))
            for track in device.tracks.values()
            if matches(selector, track.session)
        )

    # --- sessions -----------------------------------------------------------------------------------------------

    def _observe(
        self,
        device: DeviceTrack,
        seen: Observation,
        now: float,
        poll: Poll,
        cause: int | None,
        *,
        counts: bool,
        sure: bool = False,
    ) -> None:
        track = device.tracks.get(seen.session.id)
        is_new = track is None
        if track is None:
            track = self._inventory.meet(device, seen.session, now)
            self._touch_all(track)
        elif seen.session is not track.session and seen.session != track.session:
            self._identify(device, track, seen.session)
        track.heard = now
        if not track.watched or track.held:  # who is held back waits for us to see again, and for no moment
            track.watched, track.held = True, False
            self._timers.set(now + device.spec.stale_after, Timer.STALE, track)
        if track.unchanged(seen) and not self._inventory.plan.record_polls:
            return
        flaps = track.count(seen, now, counts=counts)
        self._note_state(track, seen, now, poll, cause)
        if flaps:
            self._flapped(track, seen, flaps, now, poll)
        if is_new:
            for leg in track.legs:
                if leg.service.adopted:  # what it waited for is no longer any number of sessions
                    self._due.setdefault(leg.service.spec.name, (leg.service, {}))[1].setdefault(False, track.event)
        if track.settled:
            return
        for leg in track.legs:
            self._sample(device, leg, seen.state, now, track.event, counts=counts, sure=sure)
        self._settle(device, track, seen.state)

    def _note_state(self, track: Track, seen: Observation, now: float, poll: Poll, cause: int | None) -> None:
        """Records what was seen, if it is another state than before or everything is to be recorded."""
        if seen.state is not track.state:
            self._change(track, seen, now, poll.source, poll.actor, cause)
        elif self._inventory.plan.record_polls:
            self._outbox.event(
                "snmp_poll",
                device=track.session.device,
                session=track.session.id,
                source=poll.source,
                cause=cause,
                details=_session_details(track, seen),
            )

    def _identify(self, device: DeviceTrack, track: Track, session: Session) -> None:
        """More is known of who a session is: other services may mean it, and have what it did before to go by."""
        track.session = session
        had = len(track.legs)
        for service in self._inventory.follow(device, track):
            self._touch(service)
        for leg in track.legs[had:]:
            if leg.verdict is not None:
                self._judged_anew(leg, track.event)
            self._watch(leg)
        self._dirty_sessions[track.session.id] = track

    def _settle(self, device: DeviceTrack, track: Track, state: State) -> None:
        """Notes whether more samples of the same state could change anything, and asks more often while they could."""
        track.settled = True
        changing = False
        for leg in track.legs:
            if not leg.settled(state):
                track.settled = False
                # What is only damped may last an hour: the usual pace will do.
                changing = changing or leg.damped_until is None
        self._set_changing(device, track, changing=changing)

    def _set_changing(self, device: DeviceTrack, track: Track, *, changing: bool) -> None:
        if changing is track.changing:
            return
        track.changing = changing
        device.changing += 1 if changing else -1
        if device.changing == (1 if changing else 0):
            self._outbox.pace(device.spec.name, quick=changing)

    def _change(
        self, track: Track, seen: Observation, now: float, source: Source, actor: str | None, cause: int | None
    ) -> None:
        """Records that a session's state is another now, and if it failed or recovered, that too."""
        details = _session_details(track, seen)
        name, session = track.session.device, track.session.id
        if track.silenced and seen.state is track.before:
            # It is as it was before its device fell silent: that one answers again says it all.
            cause = self._inventory.devices[name].back_event
        elif source is not Source.WEBHOOK:
            cause = self._outbox.event(
                "snmp_poll", device=name, session=session, source=source, cause=cause, details=details
            )
        changed = transition(track.path, seen.state)
        if changed is not None:
            cause = self._outbox.event(
                changed, device=name, session=session, source=source, actor=actor, cause=cause, details=details
            )
        self._became(track, seen, now, cause)
        if changed == "bfd_failure":
            self._penalize(track, 1, now, cause)

    def _became(self, track: Track, seen: Observation, now: float, event: int | None) -> None:
        if seen.state is State.UNKNOWN:
            track.before = track.state
        track.path = {State.UP: True, State.ADMIN_DOWN: track.path, State.UNKNOWN: track.path}.get(seen.state, False)
        track.state, track.diagnostic, track.since, track.event = seen.state, seen.diagnostic, now, event
        track.changes += 1
        track.settled = track.silenced = False
        self._dirty_sessions[track.session.id] = track
        if seen.state is State.MISSING:
            self._watch_forgetting(track, now + self._inventory.plan.forget_after)
        self._touch_all(track)

    def _flapped(self, track: Track, seen: Observation, flaps: int, now: float, poll: Poll) -> None:
        """The MIB's counters tell of flaps that no poll has seen: an Up in between was not unbroken."""
        details = {**_session_details(track, seen), "flaps": flaps, "ups": seen.ups, "downs": seen.downs}
        event = self._outbox.event(
            "bfd_flap",
            device=track.session.device,
            session=track.session.id,
            source=poll.source,
            cause=track.event,
            details=details,
        )
        for leg in track.legs:
            if leg.good:
                leg.pause()
        track.settled = False
        self._penalize(track, flaps, now, event)

    def _penalize(self, track: Track, flaps: int, now: float, cause: int | None) -> None:
        # Maintenance breaks sessions: that tells nothing of them.
        if self._inventory.devices[track.session.device].window_over(track.session) is None:
            track.flapped(flaps, now)
        for leg in track.legs:
            if leg.window is not None or not leg.flap(flaps, now):
                continue
            damping = leg.service.spec.damping
            if damping is not None:
                details = {
                    "penalty": round(leg.penalty, 1),
                    "cutoff": damping.cutoff,
                    "reuse": damping.reuse,
                    "reuse_in_seconds": round(leg.reuse_at(damping) - now, 1),
                }
                self._outbox.event(
                    "bfd_damped",
                    device=track.session.device,
                    session=track.session.id,
                    service=leg.service.spec.name,
                    source=Source.ENGINE,
                    cause=cause,
                    details=details,
                )
            self._touch(leg.service)

    def _sample(
        self,
        device: DeviceTrack,
        leg: Leg,
        state: State,
        now: float,
        cause: int | None,
        *,
        counts: bool,
        sure: bool = False,
    ) -> None:
        before = leg.verdict
        step = leg.sample(state, now, counts=counts, sure=sure)
        if step is Step.DECIDED:
            self._decided(leg, before, cause)
        elif step is Step.CONFIRM:
            self._look(device, leg.track, cause)
        if step in (Step.CONFIRM, Step.HOLD, Step.DAMPED):
            self._watch(leg)
        if leg.good or leg.bad:
            self._touch(leg.service)

    def _watch(self, leg: Leg) -> None:
        """The moments at which a leg waits for something else than a sample."""
        if leg.confirm_until is not None:
            self._timers.set(leg.confirm_until, Timer.CONFIRM, leg)
        rests = leg.damped_until if leg.damped_until is not None else leg.hold_until
        if rests is not None:
            self._timers.set(rests, Timer.REST, leg)

    def _decided(self, leg: Leg, before: bool | None, cause: int | None) -> None:  # noqa: FBT001 - a verdict
        service = leg.service
        service.count(before, -1)
        service.count(leg.verdict, 1)
        self._judged_anew(leg, cause)

    def _judged_anew(self, leg: Leg, cause: int | None) -> None:
        service = leg.service
        self._touch(service)
        # Of several verdicts in one breath, a withdraw is explained by one that fell, an announce by one that rose.
        self._due.setdefault(service.spec.name, (service, {}))[1][bool(leg.verdict)] = cause

    def _look(self, device: DeviceTrack, track: Track | None, cause: int | None) -> None:
        session = None if track is None or track.state is State.MISSING else track.session.id
        device.look_causes[session] = cause
        self._outbox.look(device.spec.name, session, cause)

    # --- timers -------------------------------------------------------------------------------------------------

    def _fire(self, now: float) -> None:  # noqa: C901, PLR0912 - a line for each kind of timer
        """Fires what is due; a timer whose reason has gone does nothing."""
        for when, kind, of in self._timers.due(now):
            match kind:
                case Timer.STALE:
                    if isinstance(of, Track):
                        self._stale(of, now)
                    elif (device := self._inventory.devices.get(of)) is not None and device.unheard_at == when:
                        self._never_heard(device, when, now)
                case Timer.CONFIRM:
                    self._unconfirmed(of, now)
                case Timer.REST:
                    self._rested(of, now)
                case Timer.EMPTY:
                    device = self._inventory.devices.get(of)
                    if device is not None and (device.empty_since is not None or device.refilling_until is not None):
                        self._look(device, None, None)
                case Timer.FORGET:
                    self._forget(of, now)
                case Timer.RETRY:
                    self._routes.due(of)
                case Timer.UNCONFIRMED:
                    self._routes.unconfirmed(of, now)
                case Timer.ARRIVED:
                    self._routes.settled(of[0], of[1], now)
                case Timer.PEERS:
                    if self._peers_due <= now:
                        self._peers_again = now
                        self._ask_peers(of, now)
                case Timer.RECONCILE:
                    self._reconcile_again(now)
                case Timer.WATCHDOG:
                    self._routes.watchdog(of[0], now, known=of[1])
                case Timer.BY_HAND:
                    self._by_hand.forget(of, now)
                case Timer.SERVICE:
                    service = self._inventory.services.get(of)
                    if service is not None:
                        cause = service.held_cause if service.held else service.ordered_by
                        self._forced.setdefault(of, (service, cause))

    def _unconfirmed(self, leg: Leg, now: float) -> None:
        before = leg.verdict
        if not leg.gone and leg.expire(now) is Step.DECIDED:
            self._decided(leg, before, leg.track.event if leg.track else None)

    def _rested(self, leg: Leg, now: float) -> None:
        """Hold-up or suppression ends: Up now must be seen, so it is looked at at once."""
        if leg.gone or leg.track is None:
            return
        until = leg.damped_until if leg.damped_until is not None else leg.hold_until
        if until is not None and until <= now:
            self._look(self._inventory.devices[leg.track.session.device], leg.track, leg.track.event)

    def _watch_forgetting(self, track: Track, when: float) -> None:
        if track.forget_at is None or when < track.forget_at:
            track.forget_at = when
            self._timers.set(when, Timer.FORGET, track)

    def _forget(self, track: Track, now: float) -> None:
        """A row that vanished long ago does not come back: the session is no more."""
        if track.gone or track.forget_at is None or track.forget_at > now:
            return
        track.forget_at = None
        if track.state is not State.MISSING:
            return
        device = self._inventory.devices[track.session.device]
        due = track.since + self._inventory.plan.forget_after
        unheard = device.heard is None or now >= device.heard + device.spec.stale_after
        if now < due or unheard or any(leg.read(State.MISSING) is not Reading.DOWN for leg in track.legs):
            # Not yet; or nobody can say that it is still gone; or somebody was told to hold on to it.
            self._watch_forgetting(track, due if now < due else now + device.spec.stale_after)
            return
        event = self._outbox.event(
            "session_forgotten",
            device=device.spec.name,
            session=track.session.id,
            source=Source.TIMER,
            cause=track.event,
            details={"missing_seconds": round(now - track.since, 3)},
        )
        self._set_changing(device, track, changing=False)
        self._outbox.forget(device.spec.name, track.session.id)
        for leg, service in zip(track.legs, self._inventory.forget(device, track), strict=True):
            self._touch(service)
            self._due.setdefault(service.spec.name, (service, {}))[1][bool(leg.verdict)] = event
        self._dirty_sessions.pop(track.session.id, None)
        self._session_views.pop(track.session.id, None)

    def _stale(self, track: Track, now: float) -> None:
        if track.gone:
            return
        device = self._inventory.devices[track.session.device]
        # A row that is gone is not heard of again: that it is gone its device says each time it answers.
        heard = track.heard if track.state is not State.MISSING else max(track.heard, device.heard or track.heard)
        due = max(heard, self._sight.since(now)) + device.spec.stale_after
        if now < due:
            self._timers.set(due, Timer.STALE, track)
            return
        if track.state is State.UNKNOWN:
            if track.held and not self._sight.blind:
                self._unheard(device, track, now, track.event)
            track.watched = track.held
            return
        track.watched = False
        unheard = {"unheard_seconds": round(now - track.heard, 3), "reason": device.reason}
        seen = Observation(track.session, State.UNKNOWN, track.diagnostic, unheard)
        if device.heard is not None and now < max(device.heard, self._sight.since(now)) + device.spec.stale_after:
            self._change(track, seen, now, Source.TIMER, None, None)
        else:
            self._became(track, seen, now, self._unreachable(device, now))
            track.silenced = True
        self._unheard(device, track, now, track.event)

    def _unheard(self, device: DeviceTrack, track: Track, now: float, cause: int | None) -> None:
        """Each service makes of an unknown session what its rule says, unless we see nothing at all."""
        falls = any(leg.read(State.UNKNOWN) is Reading.DOWN and leg.verdict is not False for leg in track.legs)
        blind = falls and self._sees_nothing(device, now)
        if blind and not track.held:
            self._sight.held.append(track)
        track.held = blind
        for leg in track.legs:
            if not (blind and leg.read(State.UNKNOWN) is Reading.DOWN):
                self._sample(device, leg, State.UNKNOWN, now, cause, counts=False)
            else:
                leg.pause()
        if blind:
            track.watched = True
        track.run.clear()
        if blind:
            track.settled = False
            self._set_changing(device, track, changing=False)  # asking more often would not make us see
        else:
            self._settle(device, track, State.UNKNOWN)

    def _unreachable(self, device: DeviceTrack, now: float) -> int:
        """The one event that explains all the sessions of a device that fell silent."""
        if device.unheard_event is None:
            names = sorted(device.tracks)
            details = {
                "reason": device.reason,
                "unheard_seconds": round(now - device.heard, 3) if device.heard is not None else None,
                "state": State.UNKNOWN.value,
                "count": len(names),
                "sessions": names[:NAMES_IN_AN_EVENT],
            }
            device.unheard_event = self._outbox.event(
                "device_unreachable", device=device.spec.name, source=Source.TIMER, details=details
            )
        return device.unheard_event

    def _never_heard(self, device: DeviceTrack, when: float, now: float) -> None:
        """What a selector was to match is unknown too, once its device was silent for `stale_after` since we began."""
        due = when if device.heard is None else device.heard + device.spec.stale_after
        due = max(due, self._sight.since(now) + device.spec.stale_after)
        waited_for = device.heard is None and now >= due and self._pass_over_unheard(device, now)
        legs = [leg for leg in device.unmatched.values() if leg.read(State.UNKNOWN) is Reading.DOWN]
        if device.heard is not None and not legs:
            return
        if now < due:
            self._watch_unheard(device, due)
            return
        blind = bool(legs) and self._sees_nothing(device, now)
        if blind or waited_for:
            self._watch_unheard(device, now + device.spec.stale_after)
        if blind:
            return
        event = self._unreachable(device, now)
        for leg in legs:
            self._sample(device, leg, State.UNKNOWN, now, event, counts=False)

    def _watch_unheard(self, device: DeviceTrack, when: float) -> None:
        """A moment at which it is asked whether a device was silent for too long; only the last one set counts."""
        device.unheard_at = when
        self._timers.set(when, Timer.STALE, device.spec.name)

    def _pass_over_unheard(self, device: DeviceTrack, now: float) -> bool:
        """Nobody waits for ever for a device that never answered, where `all` sessions of all devices are needed.

        While no other device has such a session, or we are blind, it is still waited for: whether that is so.
        """
        waited_for = False
        for place in [each for each in device.unmatched if each in device.wild]:
            service = device.unmatched[place].service
            if service.spec.require != "all":
                continue  # there it is waited for only as long as nothing else carries it
            if self._sight.blind or all(leg.track is None for leg in service.legs):
                waited_for = True
                continue
            event = self._unreachable(device, now)
            self._inventory.pass_over(device, place)
            self._due.setdefault(service.spec.name, (service, {}))[1].setdefault(True, event)
            self._touch(service)
        return waited_for

    # --- guard --------------------------------------------------------------------------------------------------

    def _stalled(self, stall: Stall, now: float) -> None:
        """Our own loop slept: nothing that fell due meanwhile was watched, so nothing of it is held against anybody."""
        self._sight.slept(now)
        details = {"reason": "our own loop stalled", "seconds": round(stall.seconds, 3)}
        self._outbox.event("guard_held", source=Source.ENGINE, details=details)
        for device in self._inventory.devices.values():
            device.empty_since = None  # what it said before we slept, it has not said since
            for track in device.tracks.values():
                track.run.clear()
                for leg in track.legs:
                    if leg.confirm_until is not None:
                        leg.confirm_until = now + leg.service.spec.confirm_timeout
                        self._watch(leg)
                    if leg.good:
                        leg.pause()
                        self._touch(leg.service)

    def _sees_nothing(self, device: DeviceTrack, now: float) -> bool:
        """Whether every device fell silent at once: then it is our own eyes that are shut."""
        if self._sight.blind:
            return True
        if not self._sight.lost(device, self._inventory.devices.values(), now):
            return False
        self._sight.blind = True
        details = {
            "reason": "every device fell silent at once",
            "devices": list(self._inventory.devices)[:NAMES_IN_AN_EVENT],
            "seconds": round(now - device.heard, 3) if device.heard is not None else None,
        }
        self._outbox.event("guard_held", source=Source.ENGINE, details=details)
        return True

    def _sees_again(self, now: float, device: DeviceTrack | None, reason: str) -> None:
        """One device answers, or nobody is left to compare it with: all have their time to answer, from now on."""
        name = device.spec.name if device is not None else None
        self._outbox.event("guard_released", device=name, source=Source.ENGINE, details={"reason": reason})
        for track in self._sight.sees(now):
            if not track.gone and track.state is State.UNKNOWN:
                track.watched = True
                self._timers.set(now, Timer.STALE, track)

    def _held_back(self, service: ServiceTrack, now: float, cause: int | None) -> bool:
        """Whether the limit of withdrawn services keeps one announced."""
        if not service.announced:
            return False
        again = self._limit.refuses(service.spec.name, len(self._inventory.services), now)
        if again is None:
            return False
        self._timers.set(again, Timer.SERVICE, service.spec.name)
        if not service.held:
            service.held, service.held_cause = True, cause
            self._held.append(service.spec.name)
        self._touch(service)
        return True

    # --- the other sites ----------------------------------------------------------------------------------------

    def _elsewhere(self, sites: Sites) -> None:
        """The other sites announce something else: who may not be the last is asked anew."""
        self._sites = sites.announced
        for name, service in self._inventory.services.items():
            last = self._is_last(service)
            if last is not service.last_site:
                service.last_site = last
                self._touch(service)
                self._forced.setdefault(name, (service, None))

    def _is_last(self, service: ServiceTrack) -> bool:
        """Whether a service wants to stay where no other site has all that it announces."""
        if not service.spec.keep_last or self._sites is None:
            return False
        return not all(self._sites.get(target.key) for target in service.spec.routes)

    def _tell_kept(self, service: ServiceTrack, ruling: Ruling, cause: int | None) -> int | None:
        """An alarm when a service begins to stay only as the last one, and a word when it does so no more."""
        kept = ruling.layer is Layer.LAST_SITE
        if kept is service.kept:
            return None
        service.kept = kept
        self._touch(service)
        others = sorted({site for target in service.spec.routes for site in (self._sites or {}).get(target.key, ())})
        details = {
            "reason": ruling.rule,
            "targets": [target.key for target in service.spec.routes][:NAMES_IN_AN_EVENT],
            "sites": others[:NAMES_IN_AN_EVENT],
            "cut_off": self._sites is None,
        }
        return self._outbox.event(
            "last_site_held" if kept else "last_site_released",
            service=service.spec.name,
            source=Source.ENGINE,
            cause=cause,
            details=details,
        )

    def _tell_held(self, now: float) -> None:
        details = {
            "reason": "more services would be withdrawn than the limit allows",
            "limit": self._limit.number(len(self._inventory.services)),
            "within_seconds": self._inventory.plan.guard.within,
            "count": len(self._held),
            "services": self._held[:NAMES_IN_AN_EVENT],
            "withdrawn": self._limit.recent(now)[:NAMES_IN_AN_EVENT],
        }
        service = self._held[0] if len(self._held) == 1 else None
        self._outbox.event("guard_held", service=service, source=Source.ENGINE, details=details)
        self._held.clear()

    # --- the wall clock -----------------------------------------------------------------------------------------

    def _wall(self, now: float) -> float:
        # To the microsecond: a moment turned into ours and back must not fall short of itself.
        return round(now + self._offset, 6)

    def _clock(self, clock: Clock, now: float) -> None:
        jump = clock.wall - now - self._offset
        self._offset += jump
        if abs(jump) > CLOCK_JUMP:
            self._clock_doubted_until = now + CLOCK_SETTLES
            details = {
                "reason": "the wall clock jumped: nothing begins or ends by it until it has been steady for a while",
                "jump_seconds": round(jump, 3),
                "seconds": CLOCK_SETTLES,
            }
            self._outbox.event("guard_held", source=Source.ENGINE, details=details)
        self._review(now, None)

    def _review(self, now: float, cause: int | None) -> None:
        """What begins or ends by the wall clock: overrides, the lifting of the limit, windows."""
        if self._clock_doubted_until is not None:
            if now < self._clock_doubted_until:
                self._wall_at = self._clock_doubted_until
                return
            self._clock_doubted_until = None
        wall = self._wall(now)
        for service in self._inventory.services.values():
            override = service.override
            if override is not None and override.expires is not None and override.expires <= wall:
                self._expire(service, override, now)
        lift = self._limit.lift
        if lift is not None and lift.expires is not None and lift.expires <= wall:
            self._set_lift(None)
            details = {"reason": lift.reason, "guard": "lift"}
            self._outbox.event("override_expired", source=Source.TIMER, actor=lift.actor, details=details)
        self._by_hand.expire(wall, now)
        self._review_windows(now, wall, cause)
        self._set_wall_timer(now, wall)

    def _expire(self, service: ServiceTrack, override: Override, now: float) -> None:
        details = {"action": override.action.value, "reason": override.reason}
        event = self._outbox.event(
            "override_expired",
            service=service.spec.name,
            source=Source.TIMER,
            actor=override.actor,
            details=details,
        )
        self._set_override(service, None, event, now)

    def _windows_of(self, plan: Plan, wall: float) -> dict[str, Window]:
        """The windows of a plan that are open; while the clock is doubted those that were open, and no others."""
        if self._clock_doubted_until is not None:
            return {each.name: each for each in plan.windows if each.name in self._open}
        return {each.name: each for each in plan.windows if open_until(each, wall) is not None}

    def _review_windows(self, now: float, wall: float, cause: int | None) -> None:
        now_open = self._windows_of(self._inventory.plan, wall)
        if now_open == self._open:
            return
        self._maintain(now, self._tell_windows(now_open, cause))

    def _tell_windows(self, now_open: dict[str, Window], cause: int | None) -> int | None:
        """From now on these windows are open; the last event that says so, else `cause`."""
        was, self._open = self._open, now_open
        last = cause
        for name in [*was, *(name for name in now_open if name not in was)]:
            if (name in was) is (name in now_open):
                continue
            window = now_open.get(name) or was[name]
            kind = "window_opened" if name in now_open else "window_closed"
            last = self._outbox.event(kind, source=Source.TIMER, cause=cause, details=_window_details(window))
        return last

    def _maintain(self, now: float, cause: int | None) -> None:
        """Lets the open windows hold over sessions and services."""
        before = {name: service.windows for name, service in self._inventory.services.items()}
        for leg, verdict in self._inventory.maintain(self._open.values()):
            self._touch(leg.service)
            if leg.verdict is not verdict:
                self._judged_anew(leg, cause)
            track = leg.track
            if track is not None:
                track.settled = False
                if track.state is State.UNKNOWN and leg.window is None:
                    # No sample will come: what it counts as is to be said now.
                    self._unheard(self._inventory.devices[track.session.device], track, now, cause)
        for name, service in self._inventory.services.items():
            if service.windows != before[name]:
                self._ordered(service, cause, now)
            if service.windows or before[name]:
                self._touch(service)

    def _set_wall_timer(self, now: float, wall: float) -> None:
        if self._clock_doubted_until is not None:
            self._wall_at = self._clock_doubted_until
            return
        edges = [next_edge(window, wall) for window in self._inventory.plan.windows]
        edges += [
            service.override.expires for service in self._inventory.services.values() if service.override is not None
        ]
        edges.append(self._limit.lift.expires if self._limit.lift is not None else None)
        edges += self._by_hand.expires()
        following = min((edge for edge in edges if edge is not None), default=None)
        self._wall_at = None if following is None else max(now + 0.001, following - self._offset)

    # --- orders -------------------------------------------------------------------------------------------------

    def _order(self, order: Order | Clear, now: float) -> None:
        objection = self.objection(order, now)
        what = order.what if isinstance(order, Order) else None
        name = _service_of(order)
        actor = what.actor if what is not None else order.actor if isinstance(order, Clear) else None
        if objection is not None:
            details: dict[str, Any] = {"reason": str(objection)}
            self._outbox.event("order_refused", service=name, source=Source.API, actor=actor, details=details)
            return
        if isinstance(what, ByHand):
            self._by_hand.take(what, now)
            self._set_wall_timer(now, self._wall(now))
            return
        service = self._inventory.services.get(name) if name is not None else None
        if what is None:
            before = service.override if service is not None else self._limit.lift
            details = {"reason": order.reason if isinstance(order, Clear) else "", "was": _order_details(before)}
        else:
            details = _order_details(what)
        kind = "override_cleared" if what is None else "override_set"
        event = self._outbox.event(kind, service=name, source=Source.API, actor=actor, details=details)
        if service is not None:
            self._set_override(service, what if isinstance(what, Override) else None, event, now)
        else:
            self._set_lift(what if isinstance(what, Lift) else None)
            self._try_held(event)
        self._set_wall_timer(now, self._wall(now))

    def _set_override(self, service: ServiceTrack, override: Override | None, event: int, now: float) -> None:
        service.override = override
        self._outbox.remember(RememberOrder(service.spec.name, override))
        self._ordered(service, event, now)

    def _forget_override(self, override: Override, cause: int, why: str) -> None:
        details = {"reason": why, "was": _order_details(override)}
        self._outbox.event(
            "override_cleared",
            service=override.service,
            source=Source.ENGINE,
            actor=override.actor,
            cause=cause,
            details=details,
        )
        self._outbox.remember(RememberOrder(override.service, None))

    def _set_lift(self, lift: Lift | None) -> None:
        self._limit.lift = lift
        self._outbox.remember(RememberOrder(None, lift))

    def _try_held(self, cause: int | None) -> None:
        for name, service in self._inventory.services.items():
            if service.held:
                self._forced[name] = (service, cause)

    def _disable(self, disabled: Disabled, now: float) -> None:
        service = self._inventory.services.get(disabled.service)
        if service is None or service.disabled is disabled.present or service.spec.disable_file is None:
            return
        service.disabled = disabled.present
        kind = "service_disabled" if disabled.present else "service_enabled"
        details = {"file": service.spec.disable_file, "action": service.spec.on_disable.value}
        event = self._outbox.event(kind, service=disabled.service, source=Source.SELF, details=details)
        self._ordered(service, event, now)

    def _ordered(self, service: ServiceTrack, event: int | None, now: float) -> None:
        """Something else is ordered of a service, or nothing any more."""
        service.ordered_by = event
        self._sync(service, now)
        self._forced[service.spec.name] = (service, event)
        self._touch(service)

    def _sync(self, service: ServiceTrack, now: float, *, timed: bool = True) -> None:
        """Begins or ends a drain, as what is ordered of a service has it now."""
        order = service.ordered()
        if order is None or order.action is not Action.DRAIN:
            service.end_drain()
            return
        if service.draining_until is None:
            # A route that says so has drained since it was ordered, in another life of ours; else it begins now.
            since = self._ordered_since(service, order.layer) if service.says_graceful_shutdown else None
            begun = now if since is None else min(now, since - self._offset)
            service.drain(max(now, begun + service.spec.drain_time))
        if timed and service.draining_until is not None and service.draining_until > now:
            self._timers.set(service.draining_until, Timer.SERVICE, service.spec.name)

    def _ordered_since(self, service: ServiceTrack, layer: Layer) -> float | None:
        if layer is Layer.OVERRIDE and service.override is not None:
            return service.override.since
        if layer is Layer.WINDOW:
            return open_since(service.windows[0], self._wall(self._now))
        return None

    # --- services and routes ------------------------------------------------------------------------------------

    def _decide(self, service: ServiceTrack, causes: _Causes, now: float) -> None:
        was = service.level
        if service.judge():
            self._forced.pop(service.spec.name, None)
            self._apply(service, causes, now, was)

    def _apply(self, service: ServiceTrack, causes: _Causes, now: float, was: int, *, anew: bool = True) -> None:
        """Says what is not yet said; `anew` also what ExaBGP may not have taken."""
        if service.gone:
            return
        ruling = service.rule_on(now)
        if service.returning_until is not None and service.returning_until > now:
            self._timers.set(service.returning_until, Timer.SERVICE, service.spec.name)
        off = ruling.mode is Mode.OFF
        speaks_for = not off and service.level <= was
        cause = causes[speaks_for] if speaks_for in causes else causes.get(not speaks_for)
        cause = self._tell_kept(service, ruling, cause) or cause
        if off and ruling.layer in (Layer.HEALTH, Layer.START) and self._held_back(service, now, cause):
            return
        if service.held:
            service.held = False
            self._touch(service)
        if ruling.mode is Mode.KEEP:
            return
        for route in service.routes:
            if not ruling.concerns(route):
                continue
            if off:
                if route.said is not None or (anew and not route.verified):
                    self._routes.withdraw(service, route, cause, now, ruling.rule, ruling.layer.value)
                continue
            target = ruling.target(route.spec)
            if route.said != target or (anew and not route.verified):
                self._routes.announce(service, route, target, cause, now, ruling.rule, ruling.layer.value)

    # --- another plan -------------------------------------------------------------------------------------------

    def _reload(self, reload: Reload, now: float) -> None:
        before = self._inventory
        after = self._inventory = Inventory(reload.plan, before)
        _disable(after, reload.disabled)
        added, removed = _apart(before.services, after.services)
        devices_added, devices_removed = _apart(before.devices, after.devices)
        details = {
            **reload.details,
            "services_added": added,
            "services_removed": removed,
            "services_changed": list(after.changed(before)),
            "devices_added": devices_added,
            "devices_removed": devices_removed,
        }
        event = self._outbox.event(
            reload.event_type,
            device=reload.device,
            source=Source.API,
            actor=reload.actor,
            # Of one device its name tells all of that.
            details=details if reload.device is None else reload.details,
        )
        self._limit.guard = reload.plan.guard
        orphans, moved, newcomers = list(after.orphans), list(after.moved), list(after.newcomers)
        for service, route in after.left:
            self._routes.owe(service, route)
        after.take_over()
        self._by_hand.hand_over(after, event)
        told = self._dirty_services
        self._settle_in(now)
        self._renew_views(before)
        self._dirty_services.update({name: after.services[name] for name in told if name in after.services})
        for service in before.services.values():
            if service.override is not None and service.spec.name not in after.services:
                self._forget_override(service.override, event, "its service is no longer configured")
        wall = self._wall(now)
        if self._sight.blind and len(after.devices) < 2:
            self._sees_again(now, None, "there is one device only, whose silence tells nothing of our own eyes")
        self._tell_windows(self._windows_of(reload.plan, wall), event)
        self._maintain(now, event)
        for service, route in orphans:
            rule = "its service left the configuration" if service.spec.name in removed else "it left its service"
            self._routes.withdraw(service, route, event, now, rule)
        for was, service, route in moved:
            self._outbox.remember(Remember(was, route.spec.key, None, event))
            self._outbox.remember(Remember(service.spec.name, route.spec.key, route.said, event))
        self._watch_anew(before, event, now)
        self._due.clear()
        self._forced.clear()
        for service in after.services.values():
            service.ordered_by = event if service.windows else service.ordered_by
            self._sync(service, now)
            level = service.level
            service.judge()
            self._apply(service, {True: event, False: event}, now, level, anew=False)
        for service, route in newcomers:
            if route.said is None:  # ExaBGP announces a watchdog's routes by itself until it is told
                self._routes.withdraw(service, route, event, now, service.rule())
        self._set_wall_timer(now, wall)
        self._set_reconcile_timer(now)

    def _watch_anew(self, before: Inventory, event: int, now: float) -> None:
        """What legs, sessions and devices wait for by other rules than before."""
        for name, device in self._inventory.devices.items():
            other = name in before.devices and before.devices[name].spec != device.spec
            for track in device.tracks.values():
                for leg in track.legs:
                    self._watch(leg)
                if other:
                    self._timers.set(now, Timer.STALE, track)
                if track.state is State.MISSING:
                    self._watch_forgetting(track, track.since + self._inventory.plan.forget_after)
                if track.state is State.UNKNOWN and not track.held:  # who is held back has its own time
                    self._unheard(device, track, now, event)

    def _renew_views(self, before: Inventory) -> None:
        for name, shown in list(self._service_views.items()):
            service = self._inventory.services.get(name)
            if service is None or service.spec != shown.service:
                del self._service_views[name]
            elif service.shows(shown):
                self._dirty_services.pop(name, None)
        for device in before.devices.values():
            for id_, track in device.tracks.items():
                if track.gone:
                    self._session_views.pop(id_, None)
                    self._dirty_sessions.pop(id_, None)
                elif (view := self._session_views.get(id_)) is not None and view.services != _services_of(track):
                    self._dirty_sessions[id_] = track

    def preview(self, plan: Plan, now: float, disabled: tuple[str, ...] = ()) -> Preview:
        """What another plan would change at once, if it held from now on; changes nothing."""
        return self._tried(plan, now, disabled, None, len(plan.services))

    def rehearse(self, order: Order | Clear, now: float) -> tuple[Command, ...]:
        """What an order that can be taken would have ExaBGP told at once, each numbered 0; changes nothing."""
        if isinstance(order, Order) and isinstance(order.what, ByHand):
            return self._by_hand.commands(order.what)
        name, services, plan = _service_of(order), self._inventory.services, self._inventory.plan
        # Only who may be concerned: to build all of a large plan takes as long as a withdraw must never wait.
        held = {each for each, service in services.items() if service.held}
        concerned = held if name is None else {name}
        specs = tuple(spec for spec in plan.services if spec.name in concerned)
        follows = {selector.device for spec in specs for selector in spec.selectors}
        devices = tuple(each for each in plan.devices if "*" in follows or each.name in follows)
        disabled = tuple(each for each in concerned if each in services and services[each].disabled)
        part = replace(plan, services=specs, devices=devices)
        tried = self._tried(part, now, disabled, order, len(services)).commands
        return tuple(command for command in tried if command.service in concerned)

    def rehearse_end(self) -> tuple[Command, ...]:
        """What would be withdrawn if we ended and took everything back, each numbered 0."""
        services = self._inventory.services.values()
        ours: list[Command] = [
            Withdraw(0, service.spec.name, route.said or route.spec)
            for service in services
            for route in service.routes
            if route.said is not None or not route.verified
        ]
        return (*ours, *(Withdraw(0, BY_HAND, target) for target in self._by_hand.announced()))

    def _tried(
        self, plan: Plan, now: float, disabled: tuple[str, ...], order: Order | Clear | None, services: int
    ) -> Preview:
        """`services` is how many there are for the guard's limit: the plan may be a part of it."""
        before, after = self._inventory, Inventory(plan, self._inventory)
        _disable(after, disabled)
        self._by_hand.lend(after)
        wall = self._wall(now)
        after.maintain(self._windows_of(plan, wall).values())
        withdraws: list[Command] = [
            Withdraw(0, service.spec.name, route.said or route.spec) for service, route in after.orphans
        ]
        announces: list[Command] = []
        limit = self._limit.trial(plan.guard)
        if order is not None:
            _suppose(order, after, limit)
        for name, service in after.services.items():
            service.last_site = self._is_last(service)
            self._sync(service, now, timed=False)
            service.judge()
            ruling = service.rule_on(now)
            falls = ruling.mode is Mode.OFF and ruling.layer in (Layer.HEALTH, Layer.START) and service.announced
            if falls and limit.refuses(name, services, now) is not None:
                continue
            for route in service.routes:
                if not ruling.concerns(route):
                    continue
                target = ruling.target(route.spec)
                if ruling.mode is Mode.OFF and route.said is not None:
                    withdraws.append(Withdraw(0, name, route.said))
                elif ruling.mode is Mode.ON and route.said != target:
                    left = self._routes.left_behind(route.said, target)
                    if left is not None:
                        withdraws.append(Withdraw(0, name, left))
                    announces.append(Announce(0, name, target))
        said = {(each.service, each.route.key) for each in announces}
        withdraws += [
            Withdraw(0, service.spec.name, route.spec)
            for service, route in after.newcomers
            if route.said is None and (service.spec.name, route.spec.key) not in said
        ]
        added, removed = _apart(before.services, after.services)
        devices_added, devices_removed = _apart(before.devices, after.devices)
        return Preview(
            (*withdraws, *announces),
            tuple(added),
            tuple(removed),
            after.changed(before),
            tuple(devices_added),
            tuple(devices_removed),
        )

    # --- views --------------------------------------------------------------------------------------------------

    def snapshot(self, now: float) -> Snapshot:
        """Everything as it is, immutable; costs what changed since the last one."""
        for id_, track in self._dirty_sessions.items():
            self._session_views[id_] = _session_view(track)
        self._dirty_sessions.clear()
        for name, service in self._dirty_services.items():
            self._service_views[name] = service.view()
        self._dirty_services.clear()
        inventory = self._inventory
        return Snapshot(
            at=now,
            devices=tuple(device.view() for device in inventory.devices.values()),
            sessions=tuple(self._session_views.values()),
            services=tuple(self._service_views[name] for name in inventory.services),
            neighbors=dict(self._neighborhood.states),
            guard=self._limit.view(
                inventory.services.values(),
                now,
                blind=self._sight.blind,
                clock_doubted=self._clock_doubted_until is not None,
            ),
            windows=tuple(self._open),
            peers=tuple(self._neighborhood.peers.values()) if self._neighborhood.peers is not None else None,
            exabgp=self._neighborhood.version,
            by_hand=self._by_hand.view(),
        )

    def explain(self, service: str, now: float) -> Explanation | None:
        """Why a service is, or is not, announced now; None: there is no such service."""
        track = self._inventory.services.get(service)
        return explain(track, now) if track is not None else None

    def _touch(self, service: ServiceTrack) -> None:
        if service is self._by_hand.service:
            self._by_hand.touch()
        # A route that outlived its service is taken back through a track of the same name that nobody may see.
        if not service.gone:
            self._dirty_services[service.spec.name] = service

    def _touch_all(self, track: Track) -> None:
        for leg in track.legs:
            self._touch(leg.service)


def explain(service: ServiceTrack, now: float) -> Explanation:
    """A service's announcement in plain words."""
    ruling = service.rule_on(now)
    layer = Layer.GUARD if service.held and ruling.mode is Mode.OFF else ruling.layer
    because = [f"decided by {layer.value}: {ruling.rule}"]
    order = service.ordered()
    if order is not None:
        health = service.health()
        word = {Mode.ON: "announced", Mode.OFF: "withdrawn", Mode.KEEP: "left as it is"}[health.mode]
        because.append(f"its sessions alone would have it {word}: {health.rule}")
    if service.draining_until is not None and not service.drained:
        because.append(f"draining: withdrawn in {max(0.0, service.draining_until - now):.0f} s")
    if service.returning_until is not None:
        because.append(f"coming back: without GRACEFUL_SHUTDOWN in {max(0.0, service.returning_until - now):.0f} s")
    if service.kept:
        because.append("no other site announces it, and keep_last is set: order `withdraw` to take it down")
    if service.held:
        because.append("the guard's limit holds the withdraw back: lift it, or order `withdraw`")
    if not service.earned and not service.announced:
        because.append("it was never announced by us: it has to earn its route first")
    words = {True: "up", False: "down", None: "undecided"}
    event = max((route.event for route in service.routes if route.event is not None), default=None)
    return Explanation(
        service=service.spec.name,
        announced=service.announced,
        answer=f"{service.spec.name} is {service.why()}",
        because=tuple(because),
        sessions=tuple(f"{leg.label} counts as {words[leg.verdict]}: {leg.why(now)}" for leg in service.legs),
        routes=tuple(_route_words(route) for route in service.routes),
        event=event,
    )


def _route_words(route: RouteTrack) -> str:
    state = "announced" if route.said is not None else "withdrawn"
    taken = {True: "ExaBGP took it", False: "ExaBGP refused it", None: "ExaBGP has not answered yet"}[route.accepted]
    if route.event is None:
        taken = "nothing was ever said of it"
    seen = ", ".join(sorted(str(neighbor) for neighbor in route.confirmed))
    unseen = "".join(f"; not seen going to {neighbor}: {why}" for neighbor, why in route.unseen.items())
    return f"{route.spec.key} is {state}; {taken}" + (f"; seen going to {seen}" if seen else "") + unseen


def _service_of(order: Order | Clear) -> str | None:
    """The service that an order is about, as its event names it; None: the guard."""
    if isinstance(order, Clear):
        return order.service
    if isinstance(order.what, ByHand):
        return BY_HAND
    return order.what.service if isinstance(order.what, Override) else None


def _services_of(track: Track) -> tuple[str, ...]:
    return tuple(dict.fromkeys(leg.service.spec.name for leg in track.legs))


def _session_view(track: Track) -> SessionView:
    return SessionView(
        track.session,
        track.state or State.UNKNOWN,
        track.since,
        track.heard,
        track.diagnostic,
        track.changes,
        track.event,
        _services_of(track),
    )


def _disable(inventory: Inventory, services: tuple[str, ...]) -> None:
    """The disable files of these services are there."""
    for name in services:
        if (service := inventory.services.get(name)) is not None:
            service.disabled = service.spec.disable_file is not None


def _suppose(order: Order | Clear, inventory: Inventory, limit: Limit) -> None:
    """Lets an order hold where it is only tried."""
    what = order.what if isinstance(order, Order) else None
    service = inventory.services.get(_service_of(order) or "")
    if service is not None:
        service.override = what if isinstance(what, Override) else None
    else:
        limit.lift = what if isinstance(what, Lift) else None


def _is_watchdog(route: RouteTrack) -> bool:
    return isinstance(route.spec, Watchdog)


def _apart(before: dict[str, Any], after: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The names that came, and those that went."""
    return [name for name in after if name not in before], [name for name in before if name not in after]


def _cause(device: DeviceTrack, poll: Poll, session: str | None) -> int | None:
    """Why this was asked: as the answer says, else as the newest look says that is under way for it."""
    if poll.cause is not None or poll.source is not Source.SNMP_LOOK:
        return poll.cause
    causes = (device.look_causes.get(session), device.look_causes.get(None))
    return max((cause for cause in causes if cause is not None), default=None)


def _session_details(track: Track, seen: Observation) -> dict[str, Any]:
    session: Session = seen.session
    details: dict[str, Any] = {
        "state": seen.state.value,
        "was": track.state.value if track.state is not None else None,
        "diagnostic": seen.diagnostic.name.lower() if seen.diagnostic is not None else None,
        "peer": str(session.peer) if session.peer is not None else None,
        "interface": session.interface,
        "discriminator": session.discriminator,
    }
    details.update(seen.details or {})
    return details


def _findings_details(found: Findings) -> dict[str, Any]:
    lists = {"missing": found.missing, "differing": found.differing, "extra": list(found.extra)}
    shown = {name: [str(prefix) for prefix in prefixes[:NAMES_IN_AN_EVENT]] for name, prefixes in lists.items()}
    counts = {name: len(prefixes) for name, prefixes in lists.items()}
    return {"neighbor": str(found.neighbor), **shown, "counts": counts, "foreign": found.foreign}


def _window_details(window: Window) -> dict[str, Any]:
    about: dict[str, Any] = {"window": window.name, "reason": window.reason}
    if window.services:
        return {**about, "action": window.action.value, "services": list(window.services[:NAMES_IN_AN_EVENT])}
    sessions = [str(selector) for selector in window.sessions[:NAMES_IN_AN_EVENT]]
    return {**about, "action": window.reading.value, "devices": list(window.devices), "sessions": sessions}


def _order_details(order: Override | Lift | None) -> dict[str, Any]:
    if order is None:
        return {}
    action = order.action.value if isinstance(order, Override) else "lift"
    return {"action": action, "reason": order.reason, "since": order.since, "expires": order.expires}
