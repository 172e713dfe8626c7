"""The only door of the core: `handle(input, now) -> effects`, `next_deadline()`, `snapshot()`.

`now` is monotonic seconds and never falls. Effects come in the order in which they must be carried out: withdraws,
announces, looks, then what is to be kept. Equal inputs at equal times give equal effects.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from exabgp_bfd.core.model import (
    Address,
    Advertised,
    Announce,
    Answer,
    Believed,
    Device,
    DeviceView,
    Effect,
    Event,
    Input,
    Look,
    Neighbor,
    Note,
    Observation,
    Outcome,
    Plan,
    Poll,
    Prefix,
    Reading,
    Record,
    Remember,
    Restored,
    Route,
    Selector,
    Service,
    ServiceView,
    Session,
    SessionView,
    Silence,
    Snapshot,
    Source,
    Start,
    State,
    Stop,
    Tick,
    Webhook,
    Withdraw,
)
from exabgp_bfd.core.policy import Case, RouteTrack, ServiceTrack, key, keys, matches
from exabgp_bfd.core.session import Leg, Step, Track, transition

# Enough to explain a decision; a service over thousands of sessions must not make events of megabytes.
SESSIONS_IN_AN_EVENT = 20


FIRST_RETRY = 1.0
LONGEST_RETRY = {True: 300.0, False: 30.0}
"""Seconds until an announce (True) or withdraw that was not taken is said again; doubled from the first up to these."""
COMMANDS_UNANSWERED = 1000
"""How many commands more than there are routes, and as many again, may wait for their answers."""
RETRIES_AT_ONCE = 100
"""So many in one breath; with thousands of routes the others wait a moment, for a withdraw must not wait for them."""


class _Timer(Enum):
    STALE = auto()
    CONFIRM = auto()
    HOLD = auto()
    EMPTY = auto()
    RETRY = auto()


@dataclass(frozen=True, slots=True, eq=False)
class _Retry:
    """A command that was not taken, to be said again unless another has followed it."""

    service: ServiceTrack
    route: RouteTrack
    command: int


@dataclass(slots=True, eq=False)
class _DeviceTrack:
    spec: Device
    tracks: dict[str, Track] = field(default_factory=dict)
    selectors: dict[Address | str, list[ServiceTrack]] = field(default_factory=dict)
    """By what a pattern is found by: asking every selector about every session would stall the first poll."""
    unmatched: dict[tuple[Address | str, str], Leg] = field(default_factory=dict)
    """By pattern and service: the selectors that have matched no session yet."""
    heard: float | None = None
    reachable: bool | None = None
    reason: str = ""
    empty_since: float | None = None
    """Since when it answers that it has no session at all, though it had some."""
    refilling_until: float | None = None
    """Until when a row that is absent says nothing, for the table was empty and fills again."""
    look_causes: dict[str | None, int | None] = field(default_factory=dict)
    """Why each look under way was asked for, by session (None: the whole device)."""

    def view(self) -> DeviceView:
        return DeviceView(self.spec.name, self.heard, self.reachable, self.reason, len(self.tracks))


_Timed = Track | Leg | _DeviceTrack | _Retry


class Engine:
    """Decides; owns what is believed of sessions, services and routes. Not thread-safe: one thread calls it."""

    def __init__(self, plan: Plan, restored: Restored, now: float) -> None:
        self._record_polls = plan.record_polls
        self._last_event = restored.last_event
        self._now = now
        self._devices = {device.name: _DeviceTrack(device) for device in plan.devices}
        self._order = {service.name: place for place, service in enumerate(plan.services)}
        self._services = {service.name: self._service(service, restored) for service in plan.services}
        self._routes: dict[Prefix, tuple[ServiceTrack, RouteTrack]] = {
            route.route.prefix: (service, route) for service in self._services.values() for route in service.routes
        }
        self._timers: list[tuple[float, int, _Timer, _Timed]] = []
        self._timer_count = 0
        self._commands: dict[int, tuple[ServiceTrack, RouteTrack]] = {}
        self._neighbors: dict[str, str] = {}
        self._restored = restored
        self._session_views: dict[str, SessionView] = {}
        self._service_views: dict[str, ServiceView] = {}
        self._dirty_sessions: dict[str, Track] = {}
        self._dirty_services: dict[str, ServiceTrack] = dict(self._services)
        self._due: dict[str, tuple[ServiceTrack, dict[bool, int | None]]] = {}
        self._retries: list[_Retry] = []
        self._withdraws: list[Effect] = []
        self._announces: list[Effect] = []
        self._looks: dict[tuple[str, str | None], Look] = {}
        self._records: list[Effect] = []
        for device in self._devices.values():
            if any(leg.read(State.UNKNOWN) is Reading.DOWN for leg in device.unmatched.values()):
                self._set_timer(now + device.spec.stale_after, _Timer.STALE, device)

    # --- the door -----------------------------------------------------------------------------------------------

    def handle(self, event: Input, now: float) -> list[Effect]:
        """Takes one input at a time `now` and returns what is to be done, in the order in which it must be done."""
        self._now = now = max(now, self._now)
        self._take(event, now)
        self._fire(now)
        for service, causes in self._due.values():
            self._decide(service, causes, now)
        self._due.clear()
        # After the decisions, which may have overtaken what was to be repeated.
        for retry in self._retries[:RETRIES_AT_ONCE]:
            self._say_again(retry, now)
        for retry in self._retries[RETRIES_AT_ONCE:]:
            self._set_timer(now + 0.1, _Timer.RETRY, retry)
        self._retries.clear()
        effects = [*self._withdraws, *self._announces, *self._looks.values(), *self._records]
        self._withdraws.clear()
        self._announces.clear()
        self._looks.clear()
        self._records.clear()
        return effects

    def next_deadline(self) -> float | None:
        """When `Tick` must come at the latest, None: never."""
        return self._timers[0][0] if self._timers else None

    def snapshot(self, now: float) -> Snapshot:
        """Everything as it is, immutable; costs what changed since the last one."""
        for id_, track in self._dirty_sessions.items():
            self._session_views[id_] = self._session_view(track)
        self._dirty_sessions.clear()
        for name, service in self._dirty_services.items():
            self._service_views[name] = service.view()
        self._dirty_services.clear()
        return Snapshot(
            at=now,
            devices=tuple(device.view() for device in self._devices.values()),
            sessions=tuple(self._session_views.values()),
            services=tuple(self._service_views[name] for name in self._services),
            neighbors=dict(self._neighbors),
        )

    # --- inputs -------------------------------------------------------------------------------------------------

    def _take(self, event: Input, now: float) -> None:
        match event:
            case Poll():
                self._poll(event, now)
            case Tick():
                pass
            case Silence():
                self._silence(event)
            case Answer():
                self._answer(event)
            case Advertised():
                self._advertised(event)
            case Neighbor():
                self._neighbor(event)
            case Webhook():
                self._webhook(event, now)
            case Note():
                self._note(event)
            case Start():
                self._start(event, now)
            case Stop():
                self._stop(event, now)

    def _start(self, start: Start, now: float) -> None:
        started = self._event("started", source=Source.SELF, details=start.details)
        for held in self._restored.believed:
            service, route = self._routes.get(held.route.prefix, (None, None))
            if self._restored.expired:
                self._records.append(Remember(held.service, held.route.prefix, None, started))
                continue
            if service is None or route is None:
                self._disown(held, started, now)
                continue
            if held.service != service.spec.name:
                self._records.append(Remember(held.service, held.route.prefix, None, started))
                self._records.append(Remember(service.spec.name, held.route.prefix, held.route, held.event))
            if not self._restored.rib_kept:
                self._announce(service, route, started, now, "announced when we stopped, and ExaBGP started anew since")
            elif held.route != route.route:
                self._leave(held, route.route, started, now)
                self._announce(service, route, started, now, "announced when we stopped, with other attributes")
        self._restored = Restored()

    def _stop(self, stop: Stop, now: float) -> None:
        stopped = self._event("stopped", source=Source.SELF, details={"reason": stop.reason, "withdraw": stop.withdraw})
        for service in self._services.values() if stop.withdraw else ():
            for route in service.routes:
                if route.announced or not route.verified:
                    self._withdraw(service, route, stopped, now, f"we end: {stop.reason}")

    def _disown(self, held: Believed, started: int, now: float) -> None:
        """Takes back a route whose prefix left the configuration while we were away: nobody else ever would."""
        if not self._restored.rib_kept:
            self._records.append(Remember(held.service, held.route.prefix, None, started))
            return
        route = RouteTrack(held.route, announced=True, event=held.event)
        service = ServiceTrack(Service(held.service, (held.route,), ()), [route])
        self._withdraw(service, route, started, now, "its prefix is no longer configured")

    def _leave(self, held: Believed, route: Route, started: int, now: float) -> None:
        """Takes a route back from the neighbours it no longer goes to: no later withdraw would reach them."""
        left = tuple(neighbor for neighbor in held.route.neighbors if neighbor not in route.neighbors)
        if not route.neighbors or (held.route.neighbors and not left):
            return
        # From "all of them" to some: who else there is, we do not know; those who keep it get it back in this breath.
        old = RouteTrack(replace(held.route, neighbors=left), announced=True, event=held.event)
        service = ServiceTrack(Service(held.service, (old.route,), ()), [old])
        self._withdraw(service, old, started, now, "it no longer goes to these neighbours")

    def _poll(self, poll: Poll, now: float) -> None:
        device = self._devices.get(poll.device)
        if device is None:  # it left the inventory while its answer was under way
            return
        device.heard, device.reachable, device.reason = now, True, ""
        if self._doubted(device, poll, now):
            return
        counts = poll.source is not Source.SNMP_LOOK
        refilling = device.refilling_until is not None and now < device.refilling_until
        for observation in poll.observations:
            if refilling and observation.state is State.MISSING:
                continue
            cause = _cause(device, poll, observation.session.id)
            self._observe(device, observation, now, poll, cause, counts=counts)
        if poll.complete and not refilling:
            self._absent(device, poll, now, counts=counts)
        if not counts:
            for observation in poll.observations:
                device.look_causes.pop(observation.session.id, None)
            if poll.complete:
                device.look_causes.clear()

    def _doubted(self, device: _DeviceTrack, poll: Poll, now: float) -> bool:
        """Whether a device's word that all its sessions vanished at once is not yet believed.

        So does an agent speak whose BFD daemon restarts: it answers, and has no rows. It is taken for silence until it
        has said so for `stale_after`.
        """
        if poll.told or any(seen.state is not State.MISSING for seen in poll.observations):
            if device.empty_since is not None:
                # A daemon that restarts gets its sessions back one by one: who is not back yet is not gone.
                device.empty_since = None
                device.refilling_until = now + device.spec.stale_after
                self._set_timer(device.refilling_until, _Timer.EMPTY, device)
            return False
        there = sum(track.state is not State.MISSING for track in device.tracks.values())
        if not poll.complete or not (there or not device.tracks):
            return False
        if device.empty_since is None:
            device.empty_since = now
            self._set_timer(now + device.spec.stale_after, _Timer.EMPTY, device)
            if there or any(leg.service.adopted for leg in device.unmatched.values()):
                reason = "it answers that it has no BFD session at all, and is not believed yet"
                details = {"reason": reason, "sessions": there, "seconds": device.spec.stale_after}
                self._event("guard_held", device=device.spec.name, source=Source.ENGINE, details=details)
        device.reason = "its BFD table is empty"
        return now < device.empty_since + device.spec.stale_after

    def _absent(self, device: _DeviceTrack, poll: Poll, now: float, *, counts: bool) -> None:
        seen = poll.told.union(observation.session.id for observation in poll.observations)
        for id_ in [id_ for id_ in device.tracks if id_ not in seen]:
            gone = Observation(device.tracks[id_].session, State.MISSING)
            self._observe(device, gone, now, poll, _cause(device, poll, id_), counts=counts)
        for leg in device.unmatched.values():
            # What was never there did not vanish: `on_missing = "up"` must not announce for a mistyped selector.
            if leg.read(State.MISSING) is not Reading.UP:
                self._sample(device, leg, State.MISSING, now, _cause(device, poll, None), counts=counts)

    def _silence(self, silence: Silence) -> None:
        device = self._devices.get(silence.device)
        if device is not None:
            device.reachable, device.reason = False, silence.reason
            device.empty_since = None  # what it said before it fell silent, it has not said since

    def _webhook(self, webhook: Webhook, now: float) -> None:
        event = self._event(
            webhook.reason,
            device=webhook.device,
            source=Source.WEBHOOK,
            actor=webhook.actor,
            details=webhook.evidence,
        )
        device = self._devices.get(webhook.device)
        if device is None or webhook.effect == "record":
            return
        reported = self._reported(device, webhook) if webhook.effect == "observe" else ()
        if not reported:
            self._look(device, None, event)
            return
        poll = Poll(device.spec.name, reported, source=Source.WEBHOOK, actor=webhook.actor, cause=event)
        for observation in reported:
            self._observe(device, observation, now, poll, event, counts=True)

    def _reported(self, device: _DeviceTrack, webhook: Webhook) -> tuple[Observation, ...]:
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

    def _answer(self, answer: Answer) -> None:
        service, route = self._commands.pop(answer.command, (None, None))
        if service is None or route is None:
            return
        if route.event == answer.command:
            route.accepted = {Outcome.DONE: True, Outcome.ERROR: False, Outcome.TIMEOUT: None}[answer.outcome]
            # Not taken, or who knows: ExaBGP may hold something else, so the next decision is said in any case.
            route.verified = answer.outcome is Outcome.DONE
            route.refusals = 0 if route.verified else route.refusals + 1
            self._touch(service)
        if answer.outcome is Outcome.DONE:
            return
        details = {"prefix": str(route.route.prefix), "outcome": answer.outcome.value, "text": answer.text}
        self._event(
            "route_refused",
            service=service.spec.name,
            source=Source.EXABGP,
            cause=answer.command,
            details=details,
        )
        # Not for a route that was left to other neighbours: its prefix is spoken for by another track.
        owner = self._routes.get(route.route.prefix, (None, route))[1]
        if route.event == answer.command and owner is route:
            delay = min(LONGEST_RETRY[route.announced], FIRST_RETRY * 2.0 ** min(route.refusals - 1, 10))
            self._set_timer(self._now + delay, _Timer.RETRY, _Retry(service, route, answer.command))

    def _say_again(self, retry: _Retry, now: float) -> None:
        """Repeats the last word on a route that ExaBGP did not take: a dead path must not stay for one lost answer."""
        service, route = retry.service, retry.route
        if route.event != retry.command or route.verified:
            return
        if route.confirmed and route.accepted is None:  # its UPDATE was seen: only the answer was not heard
            route.verified = True
            return
        rule = f"said again, for ExaBGP did not take it ({route.refusals} times)"
        (self._announce if route.announced else self._withdraw)(service, route, retry.command, now, rule)

    def _advertised(self, seen: Advertised) -> None:
        service, route = self._routes.get(seen.prefix, (None, None))
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
        self._event(
            "route_confirmed",
            service=service.spec.name,
            source=Source.EXABGP,
            cause=route.event,
            details=details,
        )

    def _neighbor(self, event: Neighbor) -> None:
        self._neighbors[str(event.neighbor)] = event.state
        if event.state == "down":
            for service in self._services.values():
                for route in service.routes:
                    route.confirmed.discard(event.neighbor)
                self._touch(service)

    def _note(self, note: Note) -> None:
        self._event(
            note.event_type,
            device=note.device,
            source=note.source,
            actor=note.actor,
            cause=note.cause,
            details=note.details,
        )

    # --- sessions -----------------------------------------------------------------------------------------------

    def _observe(
        self, device: _DeviceTrack, seen: Observation, now: float, poll: Poll, cause: int | None, *, counts: bool
    ) -> None:
        track = device.tracks.get(seen.session.id)
        if track is None:
            track = self._meet(device, seen.session, now)
        elif seen.session is not track.session and seen.session != track.session:
            track.session = seen.session
            self._follow(device, track)
            self._dirty_sessions[track.session.id] = track
        track.heard = now
        if not track.watched:
            track.watched = True
            self._set_timer(now + device.spec.stale_after, _Timer.STALE, track)
        if seen.state is not track.state:
            self._change(track, seen, now, poll.source, poll.actor, cause)
        elif self._record_polls:
            self._event(
                "snmp_poll",
                device=device.spec.name,
                session=track.session.id,
                source=poll.source,
                cause=cause,
                details=_session_details(track, seen),
            )
        if track.settled:
            return
        for leg in track.legs:
            self._sample(device, leg, seen.state, now, track.event, counts=counts)
        track.settled = all(leg.settled(seen.state) for leg in track.legs)

    def _meet(self, device: _DeviceTrack, session: Session, now: float) -> Track:
        track = device.tracks[session.id] = Track(session, now, now)
        self._follow(device, track)
        return track

    def _follow(self, device: _DeviceTrack, track: Track) -> None:
        """Gives a session a leg in each service whose selectors mean it."""
        followed = {leg.service.spec.name for leg in track.legs}
        found: dict[str, ServiceTrack] = {}
        for key_ in keys(track.session):
            for service in device.selectors.get(key_, ()):
                found[service.spec.name] = service
                unmatched = device.unmatched.pop((key_, service.spec.name), None)
                if unmatched is not None:
                    service.drop(unmatched)
        # In the plan's order: the keys are a set, and equal inputs must give equal effects.
        for name in sorted(found.keys() - followed, key=self._order.__getitem__):
            leg = Leg(found[name], track, track.session.id)
            track.legs.append(leg)
            found[name].add(leg)
            track.settled = False
        for service in found.values():
            self._touch(service)

    def _change(
        self, track: Track, seen: Observation, now: float, source: Source, actor: str | None, cause: int | None
    ) -> None:
        """Records that a session's state is another now, and if it failed or recovered, that too."""
        details = _session_details(track, seen)
        device, session = track.session.device, track.session.id
        if source is not Source.WEBHOOK:
            cause = self._event(
                "snmp_poll", device=device, session=session, source=source, cause=cause, details=details
            )
        changed = transition(track.path, seen.state)
        if changed is not None:
            cause = self._event(
                changed, device=device, session=session, source=source, actor=actor, cause=cause, details=details
            )
        track.path = {State.UP: True, State.ADMIN_DOWN: track.path, State.UNKNOWN: track.path}.get(seen.state, False)
        track.state, track.diagnostic, track.since, track.event = seen.state, seen.diagnostic, now, cause
        track.changes += 1
        track.settled = False
        self._dirty_sessions[track.session.id] = track
        for leg in track.legs:
            self._touch(leg.service)

    def _sample(
        self, device: _DeviceTrack, leg: Leg, state: State, now: float, cause: int | None, *, counts: bool
    ) -> None:
        before = leg.verdict
        step = leg.sample(state, now, counts=counts)
        if step is Step.DECIDED:
            self._decided(leg, before, cause)
        elif step is Step.CONFIRM:
            self._look(device, leg.track, cause)
            if leg.confirm_until is not None:
                self._set_timer(leg.confirm_until, _Timer.CONFIRM, leg)
        elif step is Step.HOLD and leg.hold_until is not None:
            self._set_timer(leg.hold_until, _Timer.HOLD, leg)
        if leg.good:
            self._touch(leg.service)

    def _decided(self, leg: Leg, before: bool | None, cause: int | None) -> None:  # noqa: FBT001 - a verdict
        service = leg.service
        service.count(before, -1)
        service.count(leg.verdict, 1)
        self._touch(service)
        # Of several verdicts in one breath, a withdraw is explained by one that fell, an announce by one that rose.
        self._due.setdefault(service.spec.name, (service, {}))[1][bool(leg.verdict)] = cause

    def _look(self, device: _DeviceTrack, track: Track | None, cause: int | None) -> None:
        session = None if track is None or track.state is State.MISSING else track.session.id
        device.look_causes[session] = cause
        self._looks.setdefault((device.spec.name, session), Look(device.spec.name, session, cause))

    # --- timers -------------------------------------------------------------------------------------------------

    def _set_timer(self, when: float, kind: _Timer, of: _Timed) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, kind, of))

    def _fire(self, now: float) -> None:
        """Fires what is due; a timer whose reason has gone does nothing."""
        while self._timers and self._timers[0][0] <= now:
            when, _, kind, of = heapq.heappop(self._timers)
            if isinstance(of, Track):
                self._stale(of, now)
                continue
            if isinstance(of, _DeviceTrack):
                if kind is _Timer.STALE:
                    self._never_heard(of, when, now)
                elif of.empty_since is not None or of.refilling_until is not None:
                    self._look(of, None, None)
                continue
            if isinstance(of, _Retry):
                self._retries.append(of)
                continue
            track = of.track
            if kind is _Timer.CONFIRM:
                before = of.verdict
                if of.expire(now) is Step.DECIDED:
                    self._decided(of, before, track.event if track else None)
            elif track is not None and of.hold_until is not None and of.hold_until <= now:
                self._look(self._devices[track.session.device], track, track.event)

    def _stale(self, track: Track, now: float) -> None:
        device = self._devices[track.session.device]
        due = track.heard + device.spec.stale_after
        if now < due:
            self._set_timer(due, _Timer.STALE, track)
            return
        track.watched = False
        if track.state is State.UNKNOWN:
            return
        unheard = {"unheard_seconds": round(now - track.heard, 3), "reason": device.reason}
        seen = Observation(track.session, State.UNKNOWN, track.diagnostic, unheard)
        self._change(track, seen, now, Source.TIMER, None, None)
        for leg in track.legs:
            self._sample(device, leg, State.UNKNOWN, now, track.event, counts=False)

    def _never_heard(self, device: _DeviceTrack, when: float, now: float) -> None:
        """What a selector was to match is unknown too, once its device was silent for `stale_after` since we began."""
        legs = [leg for leg in device.unmatched.values() if leg.read(State.UNKNOWN) is Reading.DOWN]
        due = when if device.heard is None else device.heard + device.spec.stale_after
        if not legs:
            return
        if now < due:
            self._set_timer(due, _Timer.STALE, device)
            return
        details = {"state": State.UNKNOWN.value, "was": None, "reason": device.reason}
        event = self._event("snmp_poll", device=device.spec.name, source=Source.TIMER, details=details)
        for leg in legs:
            self._sample(device, leg, State.UNKNOWN, now, event, counts=False)

    # --- services and routes ------------------------------------------------------------------------------------

    def _service(self, spec: Service, restored: Restored) -> ServiceTrack:
        believed = {} if restored.expired else {entry.route.prefix: entry for entry in restored.believed}
        routes = []
        for route in spec.routes:
            held = believed.get(route.prefix)
            # Where ExaBGP outlived our predecessor, that one may have died between a command and its record.
            track = RouteTrack(route, announced=held is not None, verified=not restored.rib_kept)
            track.event = held.event if held is not None else None
            routes.append(track)
        adopted = any(route.announced or not route.verified for route in routes)
        service = ServiceTrack(spec, routes, adopted=adopted)
        for selector in spec.selectors:
            device, key_ = self._devices[selector.device], key(selector.pattern)
            if (key_, spec.name) in device.unmatched:  # the same sessions, written twice
                continue
            device.selectors.setdefault(key_, []).append(service)
            leg = device.unmatched[key_, spec.name] = Leg(service, None, str(selector))
            service.add(leg)
        return service

    def _decide(self, service: ServiceTrack, causes: dict[bool, int | None], now: float) -> None:
        case = service.judge()
        if case is Case.UNDECIDED:
            return
        good = case is Case.GOOD
        cause = causes[good] if good in causes else causes[not good]
        service.adopted = False
        for route in service.routes:
            if good and not (route.announced and route.verified):
                self._announce(service, route, cause, now, service.rule())
            elif not good and (route.announced or not route.verified):
                self._withdraw(service, route, cause, now, service.rule())

    def _announce(self, service: ServiceTrack, route: RouteTrack, cause: int | None, now: float, rule: str) -> None:
        command = self._said(service, route, cause, now, rule, announced=True)
        self._announces.append(Announce(command, service.spec.name, route.route))

    def _withdraw(self, service: ServiceTrack, route: RouteTrack, cause: int | None, now: float, rule: str) -> None:
        command = self._said(service, route, cause, now, rule, announced=False)
        self._withdraws.append(Withdraw(command, service.spec.name, route.route))

    def _said(
        self, service: ServiceTrack, route: RouteTrack, cause: int | None, now: float, rule: str, *, announced: bool
    ) -> int:
        """Books a command: believed, recorded, remembered. The event's id is the command's number."""
        if service.announced is not announced:
            service.since = now
        if route.announced is not announced:
            route.refusals = 0
        route.announced, route.verified, route.accepted = announced, True, None
        route.confirmed.clear()
        details = {
            "prefix": str(route.route.prefix),
            "next_hop": str(route.route.next_hop),
            "rule": rule,
            "sessions": _states(service),
        }
        kind = "route_announce" if announced else "route_withdraw"
        event = self._event(kind, service=service.spec.name, source=Source.ENGINE, cause=cause, details=details)
        route.event = event
        self._commands[event] = (service, route)
        if len(self._commands) > COMMANDS_UNANSWERED + 2 * len(self._routes):
            del self._commands[next(iter(self._commands))]  # ExaBGP answers none of them, or not these
        kept = route.route if announced else None
        self._records.append(Remember(service.spec.name, route.route.prefix, kept, event))
        self._touch(service)
        return event

    # --- events and views ---------------------------------------------------------------------------------------

    def _event(
        self,
        event_type: str,
        *,
        details: Mapping[str, Any],
        source: Source,
        device: str | None = None,
        session: str | None = None,
        service: str | None = None,
        actor: str | None = None,
        cause: int | None = None,
    ) -> int:
        self._last_event += 1
        event = Event(self._last_event, event_type, device, session, service, source.value, actor, cause, details)
        self._records.append(Record(event))
        return self._last_event

    def _touch(self, service: ServiceTrack) -> None:
        # A route that outlived its service is taken back through a track of the same name that nobody may see.
        if self._services.get(service.spec.name) is service:
            self._dirty_services[service.spec.name] = service

    def _session_view(self, track: Track) -> SessionView:
        services = tuple(dict.fromkeys(leg.service.spec.name for leg in track.legs))
        state = track.state or State.UNKNOWN
        return SessionView(
            track.session, state, track.since, track.heard, track.diagnostic, track.changes, track.event, services
        )


def _cause(device: _DeviceTrack, poll: Poll, session: str | None) -> int | None:
    """Why this was asked: as the answer says, else as the newest look says that is under way for it."""
    if poll.cause is not None or poll.source is not Source.SNMP_LOOK:
        return poll.cause
    causes = (device.look_causes.get(session), device.look_causes.get(None))
    return max((cause for cause in causes if cause is not None), default=None)


def _session_details(track: Track, seen: Observation) -> dict[str, Any]:
    session = seen.session
    details: dict[str, Any] = {
        "state": seen.state.value,
        "was": track.state.value if track.state is not None else None,
        "diagnostic": seen.diagnostic.name.lower() if seen.diagnostic is not None else None,
        "peer": _text(session.peer),
        "interface": session.interface,
        "discriminator": session.discriminator,
    }
    details.update(seen.details or {})
    return details


def _text(address: Address | None) -> str | None:
    return str(address) if address is not None else None


def _states(service: ServiceTrack) -> dict[str, str]:
    shown = service.legs[:SESSIONS_IN_AN_EVENT]
    return {leg.label: (leg.track.state if leg.track else None) or State.UNKNOWN for leg in shown}
