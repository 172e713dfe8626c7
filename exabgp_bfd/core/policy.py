"""Which services deserve to be announced, and how: verdicts counted, ladder, orders, drains, and why, in words."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from ipaddress import ip_address

from exabgp_bfd.core.model import (
    Action,
    Address,
    Change,
    LegView,
    Override,
    Selector,
    Service,
    ServiceView,
    Session,
    State,
    Target,
    Window,
)
from exabgp_bfd.core.routes import RouteTrack, altered, without_graceful_shutdown
from exabgp_bfd.core.session import Leg

# Of several windows that are open for a service, the most careful one holds.
_STRENGTH = {Action.ANNOUNCE: 0, Action.FREEZE: 1, Action.DRAIN: 2, Action.WITHDRAW: 3}


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
    """Every key that means this session: `*`, its name, peer address, interface name and discriminator.

    And the peer with what sets it apart, `peer%interface`, `peer%vrf` and `peer%local`, whether it need be or not.
    """
    found = {"*", key(session.name)}
    if session.peer is not None:
        found.add(session.peer)
        found.update(
            key(f"{session.peer}%{end}") for end in (session.interface, session.vrf, session.local) if end is not None
        )
    if session.interface is not None:
        found.add(key(session.interface))
    if session.discriminator is not None:
        found.add(str(session.discriminator))
    return found


def matches(selector: Selector, session: Session) -> bool:
    """Whether a selector means this session."""
    return selector.asks(session.device) and key(selector.pattern) in keys(session)


class Mode(Enum):
    """What is to be done with a service's routes."""

    KEEP = auto()
    OFF = auto()
    ON = auto()


class Layer(Enum):
    """What decided: each beats those below it."""

    OVERRIDE = "override"
    DISABLE_FILE = "disable_file"
    WINDOW = "window"
    GUARD = "guard"
    LAST_SITE = "last_site"
    HEALTH = "health"
    START = "start"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a service's routes shall be, and by which rule."""

    mode: Mode
    layer: Layer
    rule: str
    change: Change | None = None
    graceful_shutdown: bool = False
    only_announced: bool = False
    """Whether what is withdrawn stays so: an adopted service has earned nothing yet in this life."""

    def concerns(self, route: RouteTrack) -> bool:
        """Whether it may change a route at all."""
        return self.mode is not Mode.KEEP and not (self.only_announced and route.said is None)

    def target(self, spec: Target) -> Target:
        """A target as it is to be announced."""
        if self.change is None and not self.graceful_shutdown:
            return spec
        return altered(spec, self.change, graceful_shutdown=self.graceful_shutdown)


@dataclass(frozen=True, slots=True)
class Ordered:
    """What is ordered of a service against its health."""

    action: Action
    layer: Layer
    text: str


@dataclass(slots=True, eq=False)
class ServiceTrack:
    """A service and the count of its verdicts, kept up to date so that deciding costs no rescan."""

    spec: Service
    routes: list[RouteTrack]
    legs: list[Leg] = field(default_factory=list)
    adopted: bool = False
    """True until its sessions have been seen, where routes were announced before they were known to us."""
    since: float | None = None
    up: int = 0
    down: int = 0
    level: int = field(default=-1)
    """What its sessions deserve by the last decision: 0 is all, then each step, then `on_down`."""
    earned: bool = False
    """Whether sessions ever carried it: until then it stays withdrawn, whatever `on_down` says."""
    override: Override | None = None
    disabled: bool = False
    windows: tuple[Window, ...] = ()
    """Those that are open for it, the strongest first."""
    draining_until: float | None = None
    drained: bool = False
    """Whether a drain has come to its end, so that it comes back in the same order."""
    returning_until: float | None = None
    ordered_by: int | None = None
    """The event that last changed what is ordered of it."""
    held: bool = False
    """Whether the guard's limit keeps it announced."""
    held_cause: int | None = None
    """What would have had it withdrawn, had the limit not been."""
    kept: bool = False
    """Whether it was told that it stays announced only as the last."""
    last_site: bool = False
    """Whether it is to stay announced, and no other site announces the same."""
    gone: bool = False
    """True once it left the plan: timers may still know it."""

    def __post_init__(self) -> None:
        if self.level < 0:
            self.level = self.bottom

    # --- counting -----------------------------------------------------------------------------------------------

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
        return any(route.said is not None for route in self.routes)

    @property
    def says_graceful_shutdown(self) -> bool:
        """Whether a route of it is announced as draining, and not because it is configured so."""
        return any(
            route.said is not None
            and without_graceful_shutdown(route.said) != route.said
            and without_graceful_shutdown(route.spec) == route.spec
            for route in self.routes
        )

    # --- the ladder ---------------------------------------------------------------------------------------------

    @property
    def bottom(self) -> int:
        """The level below every step."""
        return len(self.spec.steps) + 1

    def level_with(self, up: int) -> int:
        """What so many sessions deserve."""
        if up >= self.needed:
            return 0
        for place, rung in enumerate(self.spec.steps, 1):
            if up >= rung.up:
                return place
        return self.bottom

    def change_at(self, level: int) -> tuple[bool, Change | None]:
        """Whether a level has it announced, and with what change."""
        if level == 0:
            return True, None
        if level < self.bottom:
            change = self.spec.steps[level - 1].change
            return change is not None, change
        return self.spec.on_down is not None and self.earned, self.spec.on_down

    def level_of(self, route: RouteTrack) -> int:
        """By which level a route was announced as it is."""
        if route.said is None:
            return self.bottom
        said = without_graceful_shutdown(route.said)
        for level in range(self.bottom + 1):
            change = None if level == 0 else self.change_at(level)[1]
            if (level == 0 or change is not None) and without_graceful_shutdown(altered(route.spec, change)) == said:
                return level
        return 0

    def judge(self) -> bool:
        """Takes the verdicts into `level`; False while too little is known to change anything.

        A session never decided may still turn out up. That counts in favour of an adopted service (we were blind
        since our start) and with `all` (a newcomer must not take the service down); where `any` or N sessions carried
        a service in this run, one that was never up carried nothing, and cannot keep it alive. What a selector will
        match on a device not heard yet may be any number of sessions: an adopted service waits for it.
        """
        worst = best = self.level_with(self.up)
        if worst and (self.adopted or self.spec.require == "all"):
            blind = self.spec.require != "all" and self._blind
            best = 0 if blind else self.level_with(self.up + self.undecided)
        if best == worst:
            self.adopted = False
        elif best <= self.level <= worst:
            return False
        self.level = min(max(self.level, best), worst)
        if self.level < self.bottom:
            self.earned = True
        return True

    @property
    def _blind(self) -> bool:
        return any(leg.track is None and leg.verdict is None for leg in self.legs)

    # --- orders, drains and the ruling --------------------------------------------------------------------------

    def ordered(self) -> Ordered | None:
        """What beats health now: an override, else the disable file, else the strongest open window."""
        if self.override is not None:
            order = self.override
            return Ordered(order.action, Layer.OVERRIDE, f"{order.action} by {order.actor}: {order.reason}")
        if self.disabled:
            return Ordered(self.spec.on_disable, Layer.DISABLE_FILE, f"{self.spec.disable_file} exists")
        if self.windows:
            window = self.windows[0]
            text = f"{window.action} by window {window.name}" + (f": {window.reason}" if window.reason else "")
            return Ordered(window.action, Layer.WINDOW, text)
        return None

    def open_windows(self, windows: list[Window]) -> None:
        """Takes the windows that are open for it now."""
        self.windows = tuple(sorted(windows, key=lambda window: -_STRENGTH[window.action]))

    def drain(self, until: float) -> None:
        """A drain begins."""
        self.drained = not self.announced
        self.draining_until = until
        self.returning_until = None

    def end_drain(self) -> None:
        """A drain is over; what it withdrew comes back in the same order, what it did not comes back at once."""
        self.draining_until = None

    def rule_on(self, now: float) -> Ruling:
        """What is to be done with its routes now, the guard's limit aside."""
        order = self.ordered()
        if order is None:
            return self._back(self.health(), now)
        match order.action:
            case Action.FREEZE:
                return Ruling(Mode.KEEP, order.layer, order.text)
            case Action.WITHDRAW:
                return Ruling(Mode.OFF, order.layer, order.text)
            case Action.ANNOUNCE:
                self.drained = False  # announced in full: there is nothing to come back from
                return Ruling(Mode.ON, order.layer, order.text)
            case Action.DRAIN:
                return self._drain(order, now)

    def health(self) -> Ruling:
        """What its sessions deserve, but that the last site stays."""
        alone = self.sessions_alone()
        if alone.mode is not Mode.OFF or not self.stays:
            return alone
        rule = f"no other site announces it, so it stays; its sessions: {alone.rule}"
        if not self.announced:  # what was withdrawn before it was the last comes back as it is configured
            return Ruling(Mode.ON, Layer.LAST_SITE, rule)
        # Only what a drain added is taken off again.
        mode = Mode.ON if self.says_graceful_shutdown else Mode.KEEP
        return Ruling(mode, Layer.LAST_SITE, rule, self._said_change(), only_announced=True)

    def _said_change(self) -> Change | None:
        """The change with which it is announced now."""
        said = next(route for route in self.routes if route.said is not None)
        level = self.level_of(said)
        return None if level == 0 else self.change_at(level)[1]

    @property
    def stays(self) -> bool:
        """Whether its sessions alone cannot have it withdrawn: it was announced rightly, and is the last that is."""
        return self.last_site and (self.earned or (self.adopted and self.announced))

    def sessions_alone(self) -> Ruling:
        """What its sessions alone deserve."""
        if self.adopted:
            if not self.announced:
                return Ruling(Mode.KEEP, Layer.START, f"nothing is known of its sessions yet ({self.rule()})")
            on, change = self.change_at(self.level)
            if on:
                text = f"it was announced when we started, and nothing seen since speaks against it ({self.rule()})"
            else:
                text = f"it was announced when we started, and what can still be up is too little ({self.rule()})"
            return Ruling(Mode.ON if on else Mode.OFF, Layer.START, text, change, only_announced=on)
        on, change = self.change_at(self.level)
        rule = self.rule()
        if not on and self.level == self.bottom and self.spec.on_down is not None:
            rule += ", and no session ever carried it"
        return Ruling(Mode.ON if on else Mode.OFF, Layer.HEALTH, rule, change)

    def _drain(self, order: Ordered, now: float) -> Ruling:
        """Announced with GRACEFUL_SHUTDOWN for a while, if it was announced, and if its path is alive."""
        health = self.health()
        over = self.draining_until is not None and now >= self.draining_until
        if self.drained or over or health.mode is Mode.OFF or not self.announced:
            self.drained = True
            why = "its path is down" if health.mode is Mode.OFF else "drained"
            return Ruling(Mode.OFF, order.layer, f"{order.text} ({why}; {self.rule()})")
        if health.layer is Layer.LAST_SITE:  # it stays as it is, but that it goes is said
            health = replace(health, mode=Mode.ON)
        return replace(health, layer=order.layer, rule=order.text, graceful_shutdown=True)

    def _back(self, health: Ruling, now: float) -> Ruling:
        """Comes back from a drain as orderly as it went: announced with GRACEFUL_SHUTDOWN first."""
        if not self.drained:
            return health
        if health.mode is not Mode.ON or self.spec.drain_time <= 0:
            # What its sessions took down meanwhile comes back as from any failure.
            self.drained = health.mode is Mode.KEEP
            self.returning_until = None
            return health
        if self.returning_until is None:
            self.returning_until = now + self.spec.drain_time
        if now >= self.returning_until:
            self.drained = False
            self.returning_until = None
            return health
        return replace(health, rule=f"back from a drain ({health.rule})", graceful_shutdown=True)

    # --- words --------------------------------------------------------------------------------------------------

    def rule(self) -> str:
        """The rule and its inputs, in words."""
        total = len(self.legs)
        wanted = "all" if self.spec.require == "all" else str(self.needed)
        unknown = f", {self.undecided} undecided" if self.undecided else ""
        step = ""
        if self.spec.steps and 0 < self.level < self.bottom:
            step = f"; step of {self.spec.steps[self.level - 1].up}"
        elif self.spec.on_down is not None and self.level == self.bottom:
            step = "; on_down"
        return f"{self.up} of {total} sessions up{unknown}, {wanted} needed{step}"

    def why(self) -> str:
        """In plain words why the service is, or is not, announced."""
        state = "announced" if self.announced else "withdrawn"
        order = self.ordered()
        if order is not None:
            drained = " (drained)" if order.action is Action.DRAIN and self.drained else ""
            return f"{state}: {order.text}{drained}; its sessions alone: {self.rule()}"
        if self.held or self.is_kept:
            why = "the guard's limit holds it back" if self.held else "no other site announces it"
            return f"{state}: {why}; its sessions alone: {self.rule()}"
        if self.adopted and self.announced:
            return f"{state}: it was when we started, and nothing seen since speaks against it ({self.rule()})"
        if self.returning_until is not None:
            return f"{state}: back from a drain, with GRACEFUL_SHUTDOWN still ({self.rule()})"
        rising = [leg for leg in self.legs if leg.good]
        if not self.announced and rising and self.level:
            return f"{state}: {self.rule()}; {rising[0].label} is recovering (rise, then hold_up)"
        return f"{state}: {self.rule()}"

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
            health=self._health_in_a_word(),
            layer=self._layer().value,
            override=self.override,
            windows=tuple(window.name for window in self.windows),
            disabled=self.disabled,
        )

    def shows(self, view: ServiceView) -> bool:
        """Whether a view of its predecessor under another plan still says what is true."""
        counted = (self.up, self.undecided, self.needed) == (view.up, view.undecided, view.needed)
        ordered = (self.override, self.disabled, self._layer().value) == (view.override, view.disabled, view.layer)
        return (
            counted
            and ordered
            and tuple(window.name for window in self.windows) == view.windows
            and self._health_in_a_word() == view.health
            and view.adopted is (self.adopted and self.announced)
            and view.announced is self.announced
            and {leg.label for leg in self.legs} == {leg.session for leg in view.legs}
        )

    def _layer(self) -> Layer:
        """What decides now."""
        order = self.ordered()
        if order is not None:
            return order.layer
        if self.held:
            return Layer.GUARD
        if self.is_kept:
            return Layer.LAST_SITE
        return Layer.START if self.adopted else Layer.HEALTH

    @property
    def is_kept(self) -> bool:
        """Whether it is announced only because no other site announces it."""
        return self.stays and self.sessions_alone().mode is Mode.OFF

    def _health_in_a_word(self) -> str:
        if self.adopted:
            return "undecided"
        if self.level == 0:
            return "full"
        return f"step {self.level}" if self.level < self.bottom else "down"


def _leg_view(leg: Leg) -> LegView:
    state = leg.track.state if leg.track is not None else None
    counts_as = "undecided" if leg.verdict is None else "up" if leg.verdict else "down"
    return LegView(leg.label, state or State.UNKNOWN, counts_as, leg.why(None))
