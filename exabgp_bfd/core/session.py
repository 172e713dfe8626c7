"""One BFD session: what it was last seen as, and what each service makes of it (fall, rise, hold-up, damping).

The rule of this file: everything that turns samples of a session into a verdict lives here. A verdict is True (counts
as up), False (counts as down) or None (never decided). Down is fast, Up is careful, and not knowing changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from exabgp_bfd.core.model import Damping, Diagnostic, Observation, Reading, Service, Session, State, Window

if TYPE_CHECKING:
    from exabgp_bfd.core.policy import ServiceTrack

# What a state says of the path by itself; None: nothing (RFC 5882 section 3: AdminDown is no path failure).
PATH: dict[State, bool | None] = {
    State.UP: True,
    State.DOWN: False,
    State.INIT: False,
    State.FAILING: False,
    State.MISSING: False,
    State.ADMIN_DOWN: None,
    State.UNKNOWN: None,
}

RUN_KEPT = 16
"""Of how many polls of an unbroken Up the times are kept, for services that begin to follow the session later."""
FLAPS_KEPT = 32
"""Of how many flaps the times are kept, likewise: so many penalties are above any ceiling that makes sense."""
FLAPS_A_SAMPLE = 100
"""More flaps between two polls than these tell of a counter that is not one."""


def transition(was: bool | None, state: State) -> str | None:  # noqa: FBT001 - a verdict is what is asked about
    """The event that a new state deserves beyond "a state was learned", given what was last known of the path."""
    path = PATH[state]
    if path is None or was is None or path is was:
        return None
    return "bfd_recovery" if path else "bfd_failure"


class Step(Enum):
    """What one sample asks of the engine."""

    NOTHING = auto()
    DECIDED = auto()
    """The verdict changed."""
    CONFIRM = auto()
    """Look again at once."""
    HOLD = auto()
    """Hold-up began: look again when it ends."""
    DAMPED = auto()
    """It would be up again but for its flaps: look again when the penalty has decayed."""


@dataclass(slots=True, eq=False)
class Leg:
    """One service's view of one session, or of a selector that has matched none yet (`track` is None)."""

    service: ServiceTrack
    track: Track | None
    label: str
    """The session's id, or the selector that matched nothing."""
    verdict: bool | None = None
    good: int = 0
    bad: int = 0
    confirmed: bool = False
    """Whether a look has seen the bad sample again."""
    hold_until: float | None = None
    confirm_until: float | None = None
    penalty: float = 0.0
    penalized: float = 0.0
    """When the penalty was what it says: it decays since."""
    suppressed: bool = False
    damped_until: float | None = None
    """When the penalty lets it be up again; None unless nothing else keeps it down."""
    window: Window | None = None
    """The maintenance window that is open for the session."""
    gone: bool = False
    """True once another leg took its place: timers may still know this one."""

    def read(self, state: State) -> Reading:
        """What the service's rules, or a maintenance window over the session, make of a state."""
        if self.window is not None:
            return self.window.reading
        rules = self.service.spec
        if state is State.ADMIN_DOWN:
            return rules.on_admin_down
        if state is State.MISSING:
            return rules.on_missing
        if state is State.UNKNOWN:
            return rules.on_unknown
        return Reading.UP if state is State.UP else Reading.DOWN

    def sample(self, state: State, now: float, *, counts: bool, sure: bool = False) -> Step:
        """Takes one sample; `counts` says whether it may count towards `rise` and `fall` (a look may not).

        A bad sample that is `sure` needs no confirming look: its device has said the same of itself.
        """
        reading = self.read(state)
        if reading is Reading.HOLD:
            # Bad samples stay counted through what says nothing.
            self._break_rise()
            return Step.NOTHING
        if state is State.UNKNOWN or self.window is not None:
            # Neither is a sample: no further one will come, and counting would never end.
            return self.order(verdict=reading is Reading.UP)
        if reading is Reading.UP:
            return self._good(now, self.service.spec, counts=counts)
        return self._bad(state, now, self.service.spec, counts=counts, sure=sure)

    def expire(self, now: float) -> Step:
        """A confirming look was not answered in time: the bad sample stands, for it was seen."""
        if self.confirm_until is None or now < self.confirm_until:
            return Step.NOTHING
        return self._decide(verdict=False)

    def order(self, *, verdict: bool) -> Step:
        """Decides without a sample: unheard for too long, or a window that says so."""
        self.pause()
        return Step.NOTHING if self.verdict is verdict else self._decide(verdict=verdict)

    def maintain(self, window: Window | None) -> Step:
        """Another window is open for the session now, or none: what maintenance breaks is no failure."""
        self.window = window
        if window is None:
            return Step.NOTHING
        if window.reading is Reading.HOLD:
            self.pause()
            return Step.NOTHING
        return self.order(verdict=False)

    def pause(self) -> None:
        """Nothing is known any more of what was being counted: it begins anew."""
        self.good = self.bad = 0
        self.confirmed = False
        self.hold_until = self.confirm_until = self.damped_until = None

    def settled(self, state: State) -> bool:
        """True when another sample of the same state could change nothing."""
        reading = self.read(state)
        if reading is Reading.HOLD:
            return self.good == 0
        return self.verdict is (reading is Reading.UP)

    def flap(self, count: int, now: float) -> bool:
        """Adds the penalty of so many flaps; True when the session is suppressed from now on."""
        damping = self.service.spec.damping
        if damping is None:
            return False
        decayed = self.penalty_at(now)
        if decayed < damping.reuse:
            self.suppressed = False
        self.penalty = min(damping.ceiling, decayed + count * damping.penalty)
        self.penalized = now
        if self.suppressed or self.penalty < damping.cutoff:
            return False
        self.suppressed = True
        return True

    def penalty_at(self, now: float) -> float:
        """The penalty, decayed (RFC 2439 section 4.8.1)."""
        damping = self.service.spec.damping
        if damping is None or not self.penalty:
            return 0.0
        decayed: float = self.penalty * 2.0 ** (-(now - self.penalized) / damping.half_life)
        return decayed

    def reuse_at(self, damping: Damping) -> float:
        """When the penalty falls below the reuse threshold."""
        return self.penalized + damping.half_life * max(0.0, math.log2(self.penalty / damping.reuse))

    def _damped(self, now: float) -> bool:
        damping = self.service.spec.damping
        if not self.suppressed:
            return False
        if damping is None or now >= self.reuse_at(damping):
            self.suppressed = False
            return False
        self.damped_until = self.reuse_at(damping)
        return True

    def _good(self, now: float, rules: Service, *, counts: bool) -> Step:
        self.bad = 0
        self.confirmed = False
        self.confirm_until = None
        if self.verdict:
            return Step.NOTHING
        if counts:
            self.good += 1
        if self.good < rules.rise:
            return Step.NOTHING
        if self.hold_until is None:
            self.hold_until = now + rules.hold_up
            if rules.hold_up > 0:
                return Step.HOLD
        if now < self.hold_until:
            return Step.NOTHING
        told = self.damped_until
        if self._damped(now):
            return Step.NOTHING if self.damped_until == told else Step.DAMPED
        # Decided by a sample, never by the clock alone: Up at the end of hold-up must have been seen.
        return self._decide(verdict=True)

    def _bad(self, state: State, now: float, rules: Service, *, counts: bool, sure: bool) -> Step:
        self._break_rise()
        if self.verdict is False:
            return Step.NOTHING
        first = self.bad == 0
        # A look confirms; only what comes by itself is counted, or `fall = 2` would be `fall = 1`.
        if counts or first:
            self.bad += 1
        else:
            self.confirmed = True
        # A vanished row is no failure until a second look has missed it too, whatever `confirm` says.
        confirm = state is State.MISSING or (rules.confirm and not sure)
        if self.bad >= rules.fall and (not confirm or self.confirmed or self.bad > 1):
            return self._decide(verdict=False)
        if not confirm or not first:
            return Step.NOTHING
        if rules.fall == 1 and state is not State.MISSING:
            self.confirm_until = now + rules.confirm_timeout
        return Step.CONFIRM

    def _break_rise(self) -> None:
        self.good = 0
        self.hold_until = self.damped_until = None

    def _decide(self, *, verdict: bool) -> Step:
        self.verdict = verdict
        self.pause()
        return Step.DECIDED

    def take_after(self, other: Leg) -> None:
        """Goes on where the leg of the same service and session was before another plan came."""
        self.verdict, self.good, self.bad = other.verdict, other.good, other.bad
        self.confirmed, self.hold_until, self.confirm_until = other.confirmed, other.hold_until, other.confirm_until
        self.penalty, self.penalized, self.suppressed = other.penalty, other.penalized, other.suppressed
        self.damped_until, self.window = other.damped_until, other.window

    def learn(self) -> None:
        """Takes from the session's own history what this service would have made of it, had it followed it before."""
        track, rules = self.track, self.service.spec
        if track is None or track.state is None:
            return
        # A service of another name does not make a flapping session a steady one.
        for when, count in track.flaps:
            self.flap(count, when)
        reading = self.read(track.state)
        if self.window is not None or track.state is State.UNKNOWN:
            self.verdict = {Reading.HOLD: None, Reading.UP: True, Reading.DOWN: False}[reading]
        elif reading is Reading.UP and track.state is State.UP:
            self.good = min(len(track.run), rules.rise)
            if self.good >= rules.rise:
                self.hold_until = track.run[rules.rise - 1] + rules.hold_up
                if track.heard >= self.hold_until and not self.suppressed:
                    self._decide(verdict=True)
        elif reading is Reading.DOWN and track.bad >= max(rules.fall, 2):
            self.verdict = False

    def why(self, now: float | None) -> str:  # noqa: PLR0911 - the first rule that fits
        """The rule that made the verdict, or keeps it from changing; with `now`, how long still."""
        state = self.track.state if self.track is not None else None
        if self.window is not None:
            return f"maintenance window {self.window.name}: {self.window.reading.value}"
        if self.bad:
            return f"{state or 'missing'}, not yet counted: {self.bad} of {self.service.spec.fall} bad samples" + (
                "" if self.confirmed or self.bad > 1 else ", being looked at again"
            )
        if self.good:
            return self._why_not_up(now)
        if state is None:
            return "no session matches this selector" if self.verdict is False else "nothing is known of it yet"
        if self.read(state) is Reading.HOLD:
            last = {True: "up", False: "down", None: "undecided"}[self.verdict]
            return f"{state.value} says nothing of the path (hold): {last}, as before"
        if state in (State.ADMIN_DOWN, State.MISSING, State.UNKNOWN):
            return f"on_{state.value} = {self.read(state).value}"
        if state is State.UP and not self.verdict:
            return f"seen up, and not yet again since: 0 of {self.service.spec.rise} good samples"
        return f"seen {state.value}"

    def _why_not_up(self, now: float | None) -> str:
        rules = self.service.spec
        text = f"recovering: {min(self.good, rules.rise)} of {rules.rise} good samples"
        if self.damped_until is not None:
            left = "" if now is None else f" {self.penalty_at(now):.0f}, used again in {self.damped_until - now:.0f} s"
            return f"{text}, but damped for its flaps: penalty{left}"
        if self.hold_until is not None:
            left = "" if now is None else f", {max(0.0, self.hold_until - now):.1f} s left"
            return f"{text}, hold_up of {rules.hold_up:g} s{left}"
        return text


@dataclass(slots=True, eq=False)
class Track:
    """What is known of one session now."""

    session: Session
    since: float
    heard: float
    state: State | None = None
    path: bool | None = None
    """What was last known of the path, kept through admin_down and unknown."""
    before: State | None = None
    """The state before it was unknown."""
    silenced: bool = False
    """Whether it is unknown because its whole device is silent."""
    diagnostic: Diagnostic | None = None
    changes: int = 0
    event: int | None = None
    """The event of the present state."""
    legs: list[Leg] = field(default_factory=list)
    settled: bool = False
    watched: bool = False
    """Whether a staleness timer is under way."""
    changing: bool = False
    """Whether one of its legs counts towards another verdict, so that its device is asked more often."""
    held: bool = False
    """Whether it is unknown only because we see nothing at all, so that this counts for nothing yet."""
    run: list[float] = field(default_factory=list)
    """The times of the first polls of the present unbroken Up."""
    bad: int = 0
    """Polls in a row that saw it bad."""
    flaps: list[tuple[float, int]] = field(default_factory=list)
    """When it last flapped, and how often, outside maintenance."""
    ups: int | None = None
    downs: int | None = None
    last_up: int | None = None
    seen_ups: int = 0
    """How often it was seen coming up since `ups` or `last_up` were told."""
    seen_downs: int = 0
    """How often it was seen going down since `downs` was told."""
    forget_at: float | None = None
    """When a timer asks whether it may be forgotten."""
    gone: bool = False
    """True once it was forgotten: timers may still know it."""
    seen: Observation | None = None
    """What was observed last."""

    def unchanged(self, seen: Observation) -> bool:
        """Whether this is the very thing that was observed last, and can change nothing, however often it comes."""
        return (
            seen is self.seen
            and self.settled
            and seen.state is State.UP
            and self.state is State.UP
            and len(self.run) == RUN_KEPT
        )

    def count(self, seen: Observation, now: float, *, counts: bool) -> int:
        """Keeps the run and the MIB's counters; how many flaps there were that no poll saw."""
        self.seen = seen
        hidden = self._hidden_flaps(seen)
        if seen.state is State.UP:
            if hidden:
                self.run.clear()
            if counts and len(self.run) < RUN_KEPT:
                self.run.append(now)
            self.bad = 0
            return hidden
        if self.run:
            self.run.clear()
        self.bad = self.bad + counts if PATH[seen.state] is False else 0
        return hidden

    def flapped(self, count: int, now: float) -> None:
        """Keeps its flaps for services that begin to follow it later."""
        if len(self.flaps) >= FLAPS_KEPT:
            del self.flaps[0]
        self.flaps.append((now, count))

    def _hidden_flaps(self, seen: Observation) -> int:
        """How often it went down and came up unseen, by the MIB's counters since they were last told."""
        # What was seen is no secret: a session that came up came up once, one that went down went down once.
        last = self.before if self.state is State.UNKNOWN else self.state
        self.seen_ups += seen.state is State.UP and last is not State.UP
        self.seen_downs += seen.state is not State.UP and last is State.UP
        hidden = 0
        ups = _more(self.ups, seen.ups)
        if seen.last_up is not None:
            if self.last_up is not None and seen.last_up != self.last_up:
                ups = max(ups, 1)
            self.last_up = seen.last_up
        if ups:
            hidden = ups - self.seen_ups
        if downs := _more(self.downs, seen.downs):
            hidden = max(hidden, downs - self.seen_downs)
        if seen.ups is not None or seen.last_up is not None:
            self.ups, self.seen_ups = seen.ups if seen.ups is not None else self.ups, 0
        if seen.downs is not None:
            self.downs, self.seen_downs = seen.downs, 0
        return min(max(0, hidden), FLAPS_A_SAMPLE)


def _more(before: int | None, after: int | None) -> int:
    """By how much a counter has grown; one that fell began anew, and tells nothing."""
    return 0 if before is None or after is None else max(0, after - before)
