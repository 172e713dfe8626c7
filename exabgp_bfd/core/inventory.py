"""What there is: devices, sessions and services, which session speaks for which service, and how a new plan changes it.

An inventory is built from a plan. Built over an older one it takes over what is known: the sessions of devices that
stay, and for each service that stays the legs of the sessions that it still follows. Building changes nothing of the
older one, so that it also serves to look at what a plan would do; `take_over` makes the change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from exabgp_bfd.core.model import (
    Address,
    Device,
    DeviceView,
    Plan,
    Restored,
    Selector,
    Service,
    Session,
    Watchdog,
    Window,
)
from exabgp_bfd.core.policy import ServiceTrack, key, keys, matches
from exabgp_bfd.core.routes import RouteTrack
from exabgp_bfd.core.session import Leg, Track


@dataclass(slots=True, eq=False)
class DeviceTrack:
    """A device, its sessions, and who follows them."""

    spec: Device
    tracks: dict[str, Track] = field(default_factory=dict)
    selectors: dict[Address | str, list[ServiceTrack]] = field(default_factory=dict)
    """By what a pattern is found by: asking every selector about every session would stall the first poll."""
    unmatched: dict[tuple[Address | str, str], Leg] = field(default_factory=dict)
    """By pattern and service: the selectors that have matched no session yet."""
    wild: set[tuple[Address | str, str]] = field(default_factory=set)
    """Those of them that ask every device: nobody is missed where one of these finds nothing."""
    looked: set[tuple[Address | str, str]] = field(default_factory=set)
    """Those of `wild` that have found nothing at it, and are waited for no longer."""
    lost: set[tuple[Address | str, str]] = field(default_factory=set)
    """What once found something that was forgotten since: that is missed, whoever asked for it."""
    heard: float | None = None
    reachable: bool | None = None
    reason: str = ""
    unheard_at: float | None = None
    """When it is asked next whether it was silent for too long."""
    unheard_event: int | None = None
    """The event that says it is silent, which explains all its sessions."""
    back_event: int | None = None
    """The event that says it answers again."""
    empty_since: float | None = None
    """Since when it answers that it has no session at all, though it had some."""
    refilling_until: float | None = None
    """Until when a row that is absent says nothing, for the table was empty and fills again."""
    look_causes: dict[str | None, int | None] = field(default_factory=dict)
    """Why each look under way was asked for, by session (None: the whole device)."""
    suspects: dict[str, float] = field(default_factory=dict)
    """The sessions that it said of itself went down, and that were not looked at since, with when it said so."""
    changing: int = 0
    """How many of its sessions are changing, so that it is asked more often."""
    windows: list[Window] = field(default_factory=list)
    """Those that are open for it or for some of its sessions."""

    def view(self) -> DeviceView:
        """An immutable copy."""
        return DeviceView(self.spec.name, self.heard, self.reachable, self.reason, len(self.tracks))

    def window_over(self, session: Session) -> Window | None:
        """The open window that holds for a session; one that says `down` before one that says `hold`."""
        found: Window | None = None
        for window in self.windows:
            meant = self.spec.name in window.devices or any(matches(each, session) for each in window.sessions)
            if meant and (found is None or window.reading.value < found.reading.value):
                found = window
        return found

    def window_over_unmatched(self, selector: str) -> Window | None:
        """The same for a selector that has matched nothing yet."""
        over = {selector, f"{self.spec.name}/*"}
        found: Window | None = None
        for window in self.windows:
            meant = self.spec.name in window.devices or not over.isdisjoint(map(str, window.sessions))
            if meant and (found is None or window.reading.value < found.reading.value):
                found = window
        return found


class Inventory:
    """Devices, services and whose session is whose, as one plan has them."""

    def __init__(self, plan: Plan, before: Inventory | None = None) -> None:
        self.plan = plan
        self.devices = {device.name: DeviceTrack(device) for device in plan.devices}
        self.order = {service.name: place for place, service in enumerate(plan.services)}
        self.services: dict[str, ServiceTrack] = {}
        self.legs: dict[Track, list[Leg]] = {}
        """The legs of the sessions taken over; the sessions themselves still have their older ones."""
        self.orphans: list[tuple[ServiceTrack, RouteTrack]] = []
        """Targets that may be announced, and that no service has any more."""
        self.left: list[tuple[ServiceTrack, RouteTrack]] = []
        """Every target that no service has any more."""
        self.moved: list[tuple[str, ServiceTrack, RouteTrack]] = []
        """Targets that another service has than before, which is named."""
        self.newcomers: list[tuple[ServiceTrack, RouteTrack]] = []
        """Watchdogs that nobody had before."""
        self._heirs: list[tuple[RouteTrack, ServiceTrack, RouteTrack]] = []
        self._before = before
        for service in plan.services:
            self.services[service.name] = self._service(service)
        if before is not None:
            self._keep_sessions(before)
            self._keep_routes(before)

    # --- building -----------------------------------------------------------------------------------------------

    def _service(self, spec: Service) -> ServiceTrack:
        service = ServiceTrack(spec, [RouteTrack(target) for target in spec.routes])
        # A device that is named goes before all of them: where both mean the same, it is asked for by its name.
        for selector in sorted(spec.selectors, key=lambda each: each.device == "*"):
            wild = selector.device == "*"
            for device in self.devices.values() if wild else (self.devices[selector.device],):
                self._look_for(service, device, selector, wild=wild)
        return service

    @staticmethod
    def _look_for(service: ServiceTrack, device: DeviceTrack, selector: Selector, *, wild: bool) -> None:
        """Has a service follow what a selector means at a device; it is undecided until that was seen."""
        place = key(selector.pattern), service.spec.name
        if place in device.unmatched:  # the same sessions, written twice
            return
        device.selectors.setdefault(place[0], []).append(service)
        leg = device.unmatched[place] = Leg(service, None, f"{device.spec.name}/{selector.pattern}")
        if wild:
            device.wild.add(place)
        service.add(leg)

    def adopt(self, restored: Restored) -> None:
        """Takes over what a predecessor of ours had announced."""
        believed = {} if restored.expired else {entry.route.key: entry for entry in restored.believed}
        for service in self.services.values():
            for route in service.routes:
                held = believed.get(route.spec.key)
                # Where ExaBGP outlived our predecessor, that one may have died between a command and its record.
                route.verified = not restored.rib_kept
                if held is not None:
                    route.said, route.event = held.route, held.event
            _begin_adopted(service)

    def adopts(self, service: ServiceTrack) -> None:
        """A route of a service turned out to be announced already, by a predecessor that nobody remembers."""
        _begin_adopted(service)

    def _keep_sessions(self, before: Inventory) -> None:
        for name, device in self.devices.items():
            old = before.devices.get(name)
            if old is None or old.spec.identity != device.spec.identity:
                continue
            device.heard, device.reachable, device.reason = old.heard, old.reachable, old.reason
            device.unheard_event, device.back_event = old.unheard_event, old.back_event
            device.unheard_at = old.unheard_at
            device.empty_since, device.refilling_until = old.empty_since, old.refilling_until
            device.look_causes, device.suspects = dict(old.look_causes), dict(old.suspects)
            device.changing = old.changing
            for id_, track in old.tracks.items():
                device.tracks[id_] = track
                self.legs[track] = []
                self._follow(device, track, self.legs[track])
            for place, leg in list(device.unmatched.items()):
                kept = old.unmatched.get(place)
                if kept is not None:
                    _swap_verdict(leg, kept)
                    if place in old.lost:
                        self._miss(device, place)
                elif place in device.wild and place in old.looked:
                    self.pass_over(device, place)

    def _keep_routes(self, before: Inventory) -> None:
        """Every target that may be announced finds its place in the new plan, or is an orphan."""
        now_at = {route.spec.key: (service, route) for service in self.services.values() for route in service.routes}
        for old in before.services.values():
            service = self.services.get(old.spec.name)
            if service is not None:
                _go_on(service, old)
            for route in old.routes:
                owner, place = now_at.get(route.spec.key, (None, None))
                if owner is None or place is None:
                    self.left.append((old, route))
                    if route.said is not None or not route.verified:
                        self.orphans.append((old, route))
                    continue
                place.said, place.verified, place.accepted = route.said, route.verified, route.accepted
                place.refusals, place.confirmed, place.event = route.refusals, set(route.confirmed), route.event
                place.since, place.hasty = route.since, route.hasty
                place.held, place.unseen, place.repaired = set(route.held), dict(route.unseen), route.repaired
                self._heirs.append((route, owner, place))
                if owner.spec.name != old.spec.name:
                    self.moved.append((old.spec.name, owner, place))
        known = {route.spec.key for old in before.services.values() for route in old.routes}
        self.newcomers = [
            owned for key_, owned in now_at.items() if key_ not in known and isinstance(owned[1].spec, Watchdog)
        ]
        for name, service in self.services.items():
            was = before.services.get(name)
            if was is None:
                _begin_adopted(service)
                continue
            service.adopted = was.adopted
            service.level = _same_level(service, was)
            if _follows_others(service, was) and service.level_with(service.up) > service.level:
                # What it follows now was never judged by it: its routes, if any, stay until that has been seen.
                _begin_adopted(service)

    def _follow(self, device: DeviceTrack, track: Track, legs: list[Leg]) -> list[ServiceTrack]:
        """Gives a session a leg in each service whose selectors mean it; those services."""
        followed = {leg.service.spec.name for leg in legs}
        found: dict[str, ServiceTrack] = {}
        for key_ in keys(track.session):
            for service in device.selectors.get(key_, ()):
                found[service.spec.name] = service
                unmatched = device.unmatched.pop((key_, service.spec.name), None)
                if unmatched is not None:
                    unmatched.gone = True
                    service.drop(unmatched)
        # In the plan's order: the keys are a set, and equal inputs must give equal effects.
        for name in sorted(found.keys() - followed, key=self.order.__getitem__):
            leg = Leg(found[name], track, track.session.id, window=device.window_over(track.session))
            self._remember_leg(leg, track)
            legs.append(leg)
            found[name].add(leg)
        return list(found.values())

    def _remember_leg(self, leg: Leg, track: Track) -> None:
        """What the same service made of the session before, or what this one would have made of it."""
        old = next((each for each in track.legs if each.service.spec.name == leg.service.spec.name), None)
        if old is not None and old is not leg and self.legs.get(track) is not None:
            leg.take_after(old)
        else:
            leg.learn()

    def owner(self, key_: str) -> tuple[ServiceTrack, RouteTrack] | None:
        """Whose a target is."""
        for service in self.services.values():
            for route in service.routes:
                if route.spec.key == key_:
                    return service, route
        return None

    # --- the sessions as they come and go -----------------------------------------------------------------------

    def meet(self, device: DeviceTrack, session: Session, now: float) -> Track:
        """A session that was never seen."""
        track = device.tracks[session.id] = Track(session, now, now)
        self.follow(device, track)
        return track

    def follow(self, device: DeviceTrack, track: Track) -> list[ServiceTrack]:
        """Whoever means a session follows it from now on; those services."""
        before = len(track.legs)
        services = self._follow(device, track, track.legs)
        if len(track.legs) > before:
            track.settled = False
        return services

    def forget(self, device: DeviceTrack, track: Track) -> list[ServiceTrack]:
        """A session is no more; a selector that means nothing now counts as down, for what it meant is gone."""
        track.gone = True
        del device.tracks[track.session.id]
        for leg in track.legs:
            leg.gone = True
            leg.service.drop(leg)
            for selector in leg.service.spec.selectors:
                if matches(selector, track.session):
                    self._unmatch(device, leg.service, Selector(device.spec.name, selector.pattern))
        return [leg.service for leg in track.legs]

    def pass_over(self, device: DeviceTrack, place: tuple[Address | str, str]) -> ServiceTrack:
        """A selector that asks every device found nothing at this one: it counts for nothing there; whose it is."""
        leg = device.unmatched.pop(place)
        leg.gone = True
        leg.service.drop(leg)
        device.looked.add(place)
        return leg.service

    def _unmatch(self, device: DeviceTrack, service: ServiceTrack, selector: Selector) -> None:
        place = (key(selector.pattern), service.spec.name)
        if place in device.unmatched or any(matches(selector, track.session) for track in device.tracks.values()):
            return
        leg = device.unmatched[place] = Leg(service, None, str(selector), verdict=False)
        self._miss(device, place)
        leg.window = device.window_over_unmatched(leg.label)
        service.add(leg)

    @staticmethod
    def _miss(device: DeviceTrack, place: tuple[Address | str, str]) -> None:
        """The device had what is asked for and lost it: also who asks every device misses it."""
        device.lost.add(place)
        device.wild.discard(place)

    # --- maintenance --------------------------------------------------------------------------------------------

    def maintain(self, windows: Iterable[Window]) -> list[tuple[Leg, bool | None]]:
        """These windows are open now, and no others; the legs that they change, and the verdict of each before."""
        self._open(windows)
        changed: list[tuple[Leg, bool | None]] = []
        for device in self.devices.values():
            for track in device.tracks.values():
                window = device.window_over(track.session) if device.windows else None
                for leg in self.legs.get(track, track.legs):
                    self._put_under(leg, window, changed)
            for leg in device.unmatched.values():
                self._put_under(leg, device.window_over_unmatched(leg.label), changed)
        return changed

    @staticmethod
    def _put_under(leg: Leg, window: Window | None, changed: list[tuple[Leg, bool | None]]) -> None:
        if leg.window == window:
            leg.window = window
            return
        before = leg.verdict
        leg.maintain(window)
        leg.service.count(before, -1)
        leg.service.count(leg.verdict, 1)
        changed.append((leg, before))

    def _open(self, windows: Iterable[Window]) -> None:
        by_service: dict[str, list[Window]] = {}
        for device in self.devices.values():
            device.windows = []
        for window in windows:
            for name in window.services:
                by_service.setdefault(name, []).append(window)
            for name in {*window.devices, *(selector.device for selector in window.sessions)} & self.devices.keys():
                self.devices[name].windows.append(window)
        for name, service in self.services.items():
            service.open_windows(by_service.get(name, []))

    # --- taking over --------------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """From now on this inventory is the one that holds, and the older one is no more."""
        before, self._before = self._before, None
        if before is None:
            return
        for service in before.services.values():
            service.gone = True
            for leg in service.legs:
                leg.gone = True
        for _, route in self.left:
            route.gone = True
        for route, owner, place in self._heirs:
            route.heir = (owner, place)
        self._heirs.clear()
        for old in before.devices.values():
            for track in old.tracks.values():
                track.gone = track not in self.legs
        for track, legs in self.legs.items():
            track.legs = legs
            track.settled = False
        self.legs = {}

    def changed(self, before: Inventory) -> tuple[str, ...]:
        """Services of both that are not the same in both."""
        return tuple(
            name
            for name, service in self.services.items()
            if name in before.services and before.services[name].spec != service.spec
        )


def _begin_adopted(service: ServiceTrack) -> None:
    """Routes that were announced before their service could judge: they stay until its sessions have been seen."""
    service.earned = service.earned or service.announced
    service.adopted = service.announced or any(not route.verified for route in service.routes)
    service.level = min((service.level_of(route) for route in service.routes), default=service.bottom)


def _go_on(service: ServiceTrack, was: ServiceTrack) -> None:
    """What is known of a service goes on under another plan."""
    service.since, service.earned = was.since, was.earned
    service.override, service.disabled = was.override, was.disabled and service.spec.disable_file is not None
    service.draining_until, service.drained, service.returning_until = (
        was.draining_until,
        was.drained,
        was.returning_until,
    )
    service.held, service.held_cause, service.ordered_by = was.held, was.held_cause, was.ordered_by
    service.kept = was.kept


def _same_level(service: ServiceTrack, was: ServiceTrack) -> int:
    """What it deserved before, on the ladder that it has now."""
    if was.level in (0, was.bottom):
        return 0 if was.level == 0 else service.bottom
    if was.spec.steps == service.spec.steps and was.spec.require == service.spec.require:
        return was.level
    if was.adopted:  # none of its sessions has been seen yet: its routes tell
        return min((service.level_of(route) for route in service.routes), default=service.bottom)
    return service.level_with(service.up)


def _follows_others(service: ServiceTrack, was: ServiceTrack) -> bool:
    """Whether it has legs that it had not."""
    had = {leg.label: leg.verdict for leg in was.legs}
    return any(leg.verdict is None and (leg.label not in had or had[leg.label] is not None) for leg in service.legs)


def _swap_verdict(leg: Leg, kept: Leg) -> None:
    """A selector that matched nothing goes on so."""
    leg.service.count(leg.verdict, -1)
    leg.take_after(kept)
    leg.service.count(leg.verdict, 1)
