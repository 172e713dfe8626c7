"""A naive judge of the engine: every sample kept, every rule as a sentence, no code shared with the core.

A verdict is a set: what a service may make of a session, most often one of True (up), False (down) or None (never
decided). Where the rules leave it open, or we were not there to see, the set is larger, and so is what is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise, product

from exabgp_bfd.core.model import Action, Reading, Route, Selector, Service, Session, Span, State, Watchdog, Window

GRACEFUL_SHUTDOWN = "65535:0"
WEEK = 7 * 86400.0
MONDAY = 4 * 86400.0
"""The first Monday since the epoch."""
BAD = {State.DOWN, State.INIT, State.FAILING, State.MISSING}
STRENGTH = [Action.WITHDRAW, Action.DRAIN, Action.FREEZE, Action.ANNOUNCE]


@dataclass
class Sample:
    """What one answer said of a session, and how often it flapped unseen since the one before."""

    time: float
    state: State
    counts: bool
    hidden: int = 0
    failed: bool = False
    maintained: bool = False
    """Whether a window was open for the session: what breaks then is no flap."""
    stalled: bool = False
    """Whether our loop slept after it."""


@dataclass
class History:
    """All that was ever seen of one session."""

    session: Session
    samples: list[Sample] = field(default_factory=list)
    heard: float = 0.0
    since: float = 0.0
    path: bool | None = None
    counters: tuple[int | None, int | None, int | None] = (None, None, None)
    told: list[State] = field(default_factory=list)
    """What answers told of it since they told its counters."""
    held: bool = False
    """Unknown while every device was silent."""

    @property
    def state(self):
        return self.samples[-1].state

    def hidden_flaps(self, seen):
        """By the MIB's counters: coming up and going down, less what was seen of it since they were last told."""
        self.told.append(seen.state)
        pairs = list(pairwise(self.told))
        seen_ups = sum(after is State.UP and before is not State.UP for before, after in pairs)
        seen_downs = sum(before is State.UP and after is not State.UP for before, after in pairs)
        ups, downs, last_up = self.counters
        hidden = 0
        if ups is not None and seen.ups is not None:
            hidden = max(hidden, seen.ups - ups - seen_ups)
        if downs is not None and seen.downs is not None:
            hidden = max(hidden, seen.downs - downs - seen_downs)
        if last_up is not None and seen.last_up not in (None, last_up):
            hidden = max(hidden, 1 - seen_ups)
        new = (seen.ups, seen.downs, seen.last_up)
        if new != (None, None, None):
            self.counters, self.told = new, [seen.state]
        return min(hidden, 100)

    def add(self, seen, now, *, counts):
        hidden = self.hidden_flaps(seen)
        failed = self.path is True and seen.state in BAD
        if seen.state is State.UP:
            self.path = True
        elif seen.state in BAD:
            self.path = False
        if not self.samples or self.samples[-1].state is not seen.state:
            self.since = now
        self.samples.append(Sample(now, seen.state, counts, hidden, failed))
        self.heard = now
        self.held = False
        return self.samples[-1]


class Verdict:
    """What one service may make of one session, or of a selector that matches nothing."""

    def __init__(self, rules: Service, possible=(None,)):
        self.rules = rules
        self.possible = set(possible)
        self.window: Reading | None = None
        self.forgive()
        self.penalty, self.penalized, self.suppressed = 0.0, 0.0, False
        self.loose = False
        """Whether it began in the middle of a run of Up, which it may have counted otherwise than we do."""

    def forgive(self):
        self.ups: list[float] = []
        self.bad: list[Sample] = []
        self.rest_until = None
        self.confirm_until = None

    def decide(self, verdict):
        self.possible = {verdict}
        self.loose = False
        self.forgive()

    def reading(self, state):
        if self.window is not None:
            return self.window
        special = {
            State.ADMIN_DOWN: self.rules.on_admin_down,
            State.MISSING: self.rules.on_missing,
            State.UNKNOWN: self.rules.on_unknown,
        }
        return special.get(state, Reading.UP if state is State.UP else Reading.DOWN)

    # --- what happens to it -------------------------------------------------------------------------------------

    def sample(self, seen: Sample):
        if self.window is None and not seen.maintained:
            self.flap(seen.failed + seen.hidden, seen.time)
        if seen.hidden:
            self.break_run()
        reading = self.reading(seen.state)
        if reading is Reading.HOLD:
            self.break_run()
        elif self.window is not None:
            self.decide(verdict=False)
        elif reading is Reading.UP:
            self.good(seen)
        else:
            self.was_bad(seen)

    def break_run(self):
        self.ups, self.rest_until = [], None

    def good(self, seen: Sample):
        """`rise` polls and `hold_up` seconds of unbroken Up, and a penalty below `reuse`."""
        self.bad, self.confirm_until = [], None
        if self.possible == {True}:
            return
        if seen.counts:
            self.ups.append(seen.time)
        if self.loose:
            self.possible.add(True)
        if len(self.ups) < self.rules.rise:
            return
        if self.rest_until is None:
            self.rest_until = seen.time + self.rules.hold_up
        if seen.time < self.rest_until:
            return
        damped = self.damped(seen.time)
        if damped is None:
            self.possible.add(True)
        elif not damped:
            self.decide(verdict=True)

    def was_bad(self, seen: Sample):
        """`fall` samples of those that came by themselves (the first counts, whoever asked), and seen twice."""
        self.break_run()
        if self.possible == {False}:
            return
        self.bad.append(seen)
        counted = sum(each.counts or place == 0 for place, each in enumerate(self.bad))
        twice = self.rules.confirm or seen.state is State.MISSING
        if counted >= self.rules.fall and (not twice or len(self.bad) >= 2):
            self.decide(verdict=False)
        elif len(self.bad) == 1 and twice and self.rules.fall == 1 and seen.state is not State.MISSING:
            self.confirm_until = seen.time + self.rules.confirm_timeout

    def unheard(self, *, blind):
        """Nothing was heard for `stale_after`; `blind` says whether it is our own eyes (None: who knows)."""
        reading = self.reading(State.UNKNOWN)
        if reading is Reading.HOLD:
            self.break_run()
        elif reading is Reading.UP:
            self.decide(verdict=True)
        elif blind is False:
            self.decide(verdict=False)
        else:
            self.forgive()
            if blind is None:
                self.possible.add(False)

    def stalled(self, now):
        self.break_run()
        if self.confirm_until is not None:
            self.confirm_until = now + self.rules.confirm_timeout

    def open_window(self, reading: Reading | None, state):
        was, self.window = self.window, reading
        if reading is Reading.HOLD:
            self.forgive()
        elif reading is Reading.DOWN:
            self.decide(verdict=False)
        elif was is not None and state is State.UNKNOWN:
            self.unheard(blind=None if self.rules.on_unknown is Reading.DOWN else False)
            if self.rules.on_unknown is Reading.DOWN:
                self.possible.add(False)

    def time(self, now):
        if self.confirm_until is not None and now >= self.confirm_until:
            self.decide(verdict=False)

    # --- damping ------------------------------------------------------------------------------------------------

    def decayed(self, now):
        damping = self.rules.damping
        return self.penalty * 2.0 ** (-(now - self.penalized) / damping.half_life)

    def flap(self, times, now):
        damping = self.rules.damping
        if damping is None or not times:
            return
        self.damped(now)
        self.penalty = min(damping.ceiling, self.decayed(now) + times * damping.penalty)
        self.penalized = now
        if self.penalty >= damping.cutoff:
            self.suppressed = True

    def damped(self, now):
        """Whether the penalty reached `cutoff` and is not below `reuse` since; None: nobody can tell in floats."""
        damping = self.rules.damping
        if damping is None:
            self.suppressed = False
        elif self.suppressed:
            left = self.decayed(now) / damping.reuse
            if abs(left - 1.0) < 1e-9:
                return None
            self.suppressed = left > 1.0
        return self.suppressed


# --- the wall clock -----------------------------------------------------------------------------------------------


def is_open(window: Window, wall: float):
    """Whether a window (a Weekly in UTC) is open."""
    when = window.when
    if isinstance(when, Span):
        return (when.start is None or when.start <= wall) and (when.end is None or wall < when.end)
    return opened(window, wall) is not None


def opened(window: Window, wall: float):
    """When an open window opened, minus infinity where it always was."""
    when = window.when
    if isinstance(when, Span):
        return float("-inf") if when.start is None else when.start
    ages = []
    for day in when.days:
        age = (wall - MONDAY - day * 86400.0 - when.hour * 3600.0 - when.minute * 60.0) % WEEK
        if age < when.duration:
            ages.append(age)
    return wall - max(ages) if ages else None


# --- services -----------------------------------------------------------------------------------------------------


def matches(selector: Selector, session: Session):
    return selector.device == session.device and selector.pattern in {"*", session.name, session.interface}


def changed(target, change, *, graceful=False):
    """A target with what a Change gives in place of its own."""
    if isinstance(target, Watchdog):
        return target
    fields = {}
    for name in ("med", "local_preference", "communities", "large_communities", "extended_communities", "as_path"):
        given = getattr(change, name) if change is not None else None
        fields[name] = getattr(target, name) if given is None else given
    if graceful and GRACEFUL_SHUTDOWN not in fields["communities"]:
        fields["communities"] = (*fields["communities"], GRACEFUL_SHUTDOWN)
    return replace(target, **fields)


class Follower:
    """A service, its verdicts, and what was ordered of it."""

    def __init__(self, rules: Service):
        self.rules = rules
        self.verdicts: dict[str, Verdict] = {}
        self.unmatched: dict[Selector, Verdict] = {}
        self.levels = {self.bottom}
        self.earned = {False}
        self.override = None
        self.disabled = False
        self.windows: list[Window] = []
        self.drain_until = None
        self.drained = False
        self.return_until = None

    @property
    def bottom(self):
        return len(self.rules.steps) + 1

    def level_with(self, up):
        needed = max(1, self.total) if self.rules.require == "all" else self.rules.require
        if up >= needed:
            return 0
        return next((place for place, rung in enumerate(self.rules.steps, 1) if up >= rung.up), self.bottom)

    @property
    def total(self):
        return len(self.verdicts) + len(self.unmatched)

    def possible(self):
        return [
            *(each.possible for each in self.verdicts.values()),
            *(each.possible for each in self.unmatched.values()),
        ]

    def judge(self, *, adopted):
        """The levels that its sessions may deserve now, given those that they did."""
        levels = set(self.levels) if adopted else set()
        for choice in product(*self.possible()):
            up, undecided = choice.count(True), choice.count(None)
            worst = best = self.level_with(up)
            if self.rules.require == "all" or adopted:
                best = self.level_with(up + undecided)
            if adopted and any(None in each.possible for each in self.unmatched.values()):
                best = 0
            levels |= {min(max(level, best), worst) for level in self.levels}
        self.levels = levels
        if all(level < self.bottom for level in levels):
            self.earned = {True}
        elif any(level < self.bottom for level in levels):
            self.earned |= {True}

    def decided(self):
        """Whether every verdict is known, so that nothing is adopted any more."""
        return all(None not in each for each in self.possible())

    def health(self):
        """The ways in which its sessions may have it: None (withdrawn) or (Change or None,)."""
        ways = []
        for level in self.levels:
            if level == 0:
                ways.append((None,))
            elif level < self.bottom:
                change = self.rules.steps[level - 1].change
                ways.append(None if change is None else (change,))
            else:
                for earned in self.earned:
                    on_down = self.rules.on_down
                    ways.append((on_down,) if on_down is not None and earned else None)
        return ways

    def order(self):
        """What beats its health, and since when (of a clock that outlives us)."""
        if self.override is not None:
            return self.override.action, self.override.since
        if self.disabled:
            return self.rules.on_disable, None
        if self.windows:
            strongest = min(self.windows, key=lambda each: STRENGTH.index(each.action))
            return strongest.action, strongest
        return None, None

    def as_announced(self, way, *, graceful=False):
        """The routes as one way has them."""
        if way is None:
            return {route.key: None for route in self.rules.routes}
        return {route.key: changed(route, way[0], graceful=graceful) for route in self.rules.routes}

    def as_configured(self):
        return {route.key: route for route in self.rules.routes}


def goes_to(target, neighbors):
    """To which of these neighbours a target goes."""
    if isinstance(target, Route) and target.neighbors:
        return [each for each in neighbors if each in target.neighbors]
    return list(neighbors)
