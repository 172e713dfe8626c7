"""An engine in a house of its own: a clock that the test winds, and an ExaBGP that takes every command in its order.

After each input what that ExaBGP would hold is compared with what the engine believes it holds: a withdraw that leaves
before the announce it should take back would be found by any test. Deadlines fire on their moment, as in the real loop.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from exabgp_bfd.core.engine import Engine
from exabgp_bfd.core.model import (
    Action,
    Advertised,
    Announce,
    Answer,
    Ask,
    Clear,
    Clock,
    Command,
    Device,
    Disabled,
    Effect,
    Event,
    Guard,
    Held,
    Look,
    Observation,
    Order,
    Outcome,
    Override,
    Pace,
    Peer,
    Peers,
    Plan,
    Poll,
    Record,
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
    Source,
    Start,
    State,
    Target,
    Tick,
    Window,
    Withdraw,
)

UP, DOWN, INIT, FAILING = State.UP, State.DOWN, State.INIT, State.FAILING
ADMIN_DOWN, MISSING, UNKNOWN = State.ADMIN_DOWN, State.MISSING, State.UNKNOWN
V4, V6 = ip_network("192.0.2.53/32"), ip_network("2001:db8::53/128")
N1, N2, N3 = ip_address("203.0.113.1"), ip_address("203.0.113.2"), ip_address("203.0.113.3")
GSHUT = "65535:0"
WALL = 1_800_000_000.0
"""What the wall clock reads when the engine begins, at 0: 15 January 2027, 08:00 UTC, a Friday."""


def session(name: str, device: str = "edge1") -> Session:
    return Session(device, name)


def id_(name: str, device: str = "edge1") -> str:
    return session(name, device).id


def service(name: str, *selectors: str, prefixes=(V4,), targets: tuple[Target, ...] = (), **rules) -> Service:
    """A service that follows each sample at once, unless the test is about that."""
    quick = {"rise": 1, "hold_up": 0.0, "confirm": False, **rules}
    parts = tuple(Selector(*selector.split("/", 1)) for selector in selectors or ("edge1/*",))
    return Service(name, targets or tuple(Route(prefix) for prefix in prefixes), parts, **quick)


def override(action: Action | str, name: str = "dns", *, since=WALL, expires=None, actor="ann", reason="works"):
    return Override(name, Action(action), actor, reason, since, expires)


class House:
    """An engine, its clock, and the ExaBGP that believes it."""

    def __init__(
        self,
        *services: Service,
        devices: tuple[Device | str, ...] = ("edge1",),
        restored: Restored | None = None,
        windows: tuple[Window, ...] = (),
        guard: Guard | None = None,
        start: bool = True,
        **plan,
    ) -> None:
        self.plan = Plan(as_devices(devices), services, windows=windows, guard=guard or Guard(), **plan)
        self.restored = restored or Restored(wall=WALL)
        self.engine = Engine(self.plan, self.restored, 0.0)
        self.now = 0.0
        self.all: list[Effect] = []
        kept = self.restored.believed if self.restored.rib_kept else ()
        self.rib: dict[str, Target] = {held.route.key: held.route for held in kept}
        self.started = self.take(Start()) if start else []

    # --- time and inputs ----------------------------------------------------------------------------------------

    @property
    def wall(self) -> float:
        return WALL + self.now

    def take(self, event, after: float = 0.0) -> list[Effect]:
        """Winds the clock, and hands one input to the engine; what was due on the way comes first."""
        effects = self._reach(self.now + after)
        effects += self._handle(event)
        return effects

    def wait(self, seconds: float) -> list[Effect]:
        return self.take(Tick(), seconds)

    def _reach(self, until: float) -> list[Effect]:
        effects: list[Effect] = []
        while (due := self.engine.next_deadline()) is not None and self.now < due < until:
            self.now = due
            effects += self._handle(Tick())
        self.now = round(until, 6)
        return effects

    def _handle(self, event) -> list[Effect]:
        effects = self.engine.handle(event, self.now)
        self.all += effects
        for command in commands(effects):
            if isinstance(command, Announce):
                self.rib[command.route.key] = command.route
            elif not self._of_others(command.route):
                self.rib.pop(command.route.key, None)
        if not isinstance(event, Answer):
            self._agrees()
        return effects

    def _of_others(self, route: Target) -> bool:
        """Whether a withdraw is for neighbours to whom the route does not go."""
        held = self.rib.get(route.key)
        if not isinstance(route, Route) or not isinstance(held, Route) or not held.neighbors:
            return False
        return bool(route.neighbors) and set(held.neighbors).isdisjoint(route.neighbors)

    def _agrees(self) -> None:
        for view in self.engine.snapshot(self.now).services:
            for route in view.routes:
                held = self.rib.get(route.route.key)
                if self.restored.rib_kept and route.event is None:
                    continue  # what ExaBGP held before us, nobody has said yet
                believed = route.route if route.announced else None
                assert held == believed, f"ExaBGP holds {held}, the engine believes {believed}"

    def poll(self, device="edge1", *, after=1.0, complete=True, source=Source.SNMP_POLL, cause=None, **states):
        seen = tuple(Observation(session(name, device), state) for name, state in states.items())
        return self.take(Poll(device, seen, complete, source, cause=cause), after)

    def look(self, device="edge1", *, after=0.0, **states):
        return self.poll(device, after=after, complete=False, source=Source.SNMP_LOOK, **states)

    def see(self, name: str, state: State, *, after=1.0, device="edge1", source=Source.SNMP_POLL, **seen):
        """One session as a sample told it, with its counters."""
        observation = Observation(session(name, device), state, **seen)
        return self.take(Poll(device, (observation,), source=source), after)

    def order(self, action: Action | str, name: str = "dns", *, ttl=None, after=0.0, **more):
        effects = self._reach(self.now + after)
        expires = None if ttl is None else self.wall + ttl
        return effects + self.take(Order(override(action, name, since=self.wall, expires=expires, **more)))

    def clear(self, name: str | None = "dns", *, after=0.0, actor="bob", reason="done"):
        return self.take(Clear(name, actor, reason), after)

    def disable(self, present: bool, name: str = "dns", *, after=0.0):
        return self.take(Disabled(name, present), after)

    def clock(self, jump: float, *, after=0.0):
        """The wall clock is set by so many seconds against what the engine was told last."""
        effects = self._reach(self.now + after)
        self.jumped = getattr(self, "jumped", 0.0) + jump
        return effects + self.take(Clock(self.wall + self.jumped))

    def reload(self, *services: Service, after=0.0, actor=None, **plan):
        self.plan = self.next_plan(*services, **plan)
        return self.take(Reload(self.plan, actor), after)

    def next_plan(self, *services: Service, devices=None, **plan) -> Plan:
        """The present plan with other services, and whatever else is named."""
        settings = {
            name: getattr(self.plan, name) for name in ("windows", "guard", "record_polls", "forget_after", "reconcile")
        }
        settings.update(plan)
        return Plan(self.plan.devices if devices is None else as_devices(devices), services, **settings)

    def done(self, effects):
        """ExaBGP takes each command."""
        return [each for command in commands(effects) for each in self.take(Answer(command.command, Outcome.DONE))]

    def peers(self, *peers: Peer, after=0.0, **more):
        """ExaBGP says which neighbours it has."""
        return self.take(Peers(peers, "exabgp 5.0.15", "5", **more), after)

    def holds(self, neighbor, *routes: Route, after=0.0, complete=True, asked_after=10**9):
        """ExaBGP says what it holds for a neighbour, asked after everything that was said."""
        return self.take(Rib(tuple(Held(neighbor, route) for route in routes), neighbor, asked_after, complete), after)

    def sent(self, route: Route, *neighbors, announced=True, after=0.0):
        """UPDATEs for a route are seen."""
        effects = self._reach(self.now + after)
        return effects + [each for to in neighbors for each in self.take(Advertised(to, route.prefix, announced))]

    def refuse(self, effects, outcome=Outcome.ERROR):
        for command in commands(effects):
            self.take(Answer(command.command, outcome, "no"))

    # --- questions ----------------------------------------------------------------------------------------------

    def service(self, name: str = "dns") -> ServiceView:
        return next(view for view in self.engine.snapshot(self.now).services if view.service.name == name)

    def announced(self, name: str = "dns") -> bool:
        return self.service(name).announced

    def leg(self, name: str, service: str = "dns", device: str = "edge1"):
        return next(leg for leg in self.service(service).legs if leg.session == id_(name, device))

    def counts_as(self, name: str, service: str = "dns", device: str = "edge1") -> str:
        return self.leg(name, service, device).counts_as

    @property
    def guard(self):
        return self.engine.snapshot(self.now).guard

    def explain(self, name: str = "dns"):
        return self.engine.explain(name, self.now)

    def chain(self, number: int | None) -> list[str]:
        """The types of the events that led to one, newest first."""
        kinds, known = [], {event.id: event for event in events(self.all)}
        while number is not None:
            kinds.append(known[number].event_type)
            number = known[number].cause
        return kinds


def as_devices(devices) -> tuple[Device, ...]:
    return tuple(device if isinstance(device, Device) else Device(device) for device in devices)


def commands(effects) -> list[Command]:
    return [effect for effect in effects if isinstance(effect, Announce | Withdraw)]


def said(effects) -> list[str]:
    """Commands in words: `+192.0.2.53/32 med 200`, `-watchdog dns`, a prefix as `v4` and `v6`."""
    return [words(command) for command in commands(effects)]


def words(command: Command) -> str:
    route = command.route
    name = {str(V4): "v4", str(V6): "v6"}.get(route.key, route.key)
    text = f"{'+' if isinstance(command, Announce) else '-'}{name}"
    if not isinstance(route, Route) or isinstance(command, Withdraw):
        neighbors = getattr(route, "neighbors", ())
        return text + "".join(f" to {neighbor}" for neighbor in neighbors)
    for word, value in (("med", route.med), ("local", route.local_preference)):
        text += f" {word} {value}" if value is not None else ""
    for community in (*route.communities, *route.large_communities, *route.extended_communities):
        text += " gshut" if community == GSHUT else f" {community}"
    text += "".join(f" as {number}" for number in route.as_path)
    return text + "".join(f" to {neighbor}" for neighbor in route.neighbors)


def events(effects, *kinds: str) -> list[Event]:
    found: list[Event] = [effect.event for effect in effects if isinstance(effect, Record)]
    return [event for event in found if not kinds or event.event_type in kinds]


def kinds(effects) -> list[str]:
    return [event.event_type for event in events(effects)]


def looks(effects) -> list[tuple[str, str | None]]:
    return [(look.device, look.session) for look in effects if isinstance(look, Look)]


def asks(effects) -> list[tuple[str, object]]:
    """What ExaBGP is asked."""
    return [(ask.what, ask.neighbor) for ask in effects if isinstance(ask, Ask)]


def paces(effects) -> list[tuple[str, bool]]:
    return [(pace.device, pace.quick) for pace in effects if isinstance(pace, Pace)]


def remembered(effects) -> list[tuple[str, str, bool]]:
    found = [effect for effect in effects if isinstance(effect, Remember)]
    return [(effect.service, effect.key, effect.route is not None) for effect in found]


def orders(effects) -> list[tuple[str | None, object]]:
    return [(effect.service, effect.order) for effect in effects if isinstance(effect, RememberOrder)]
