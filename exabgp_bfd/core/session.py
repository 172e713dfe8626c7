"""One BFD session: what it was last seen as, and what each service makes of it (fall, rise, hold-up, confirmation).

The rule of this file: everything that turns samples of a session into a verdict lives here. A verdict is True (counts
as up), False (counts as down) or None (never decided). Down is fast, Up is careful, and not knowing changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from exabgp_bfd.core.model import Diagnostic, Reading, Service, Session, State

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
    hold_until: float | None = None
    confirm_until: float | None = None

    def read(self, state: State) -> Reading:
        """What the service's rules make of a state."""
        rules = self.service.spec
        if state is State.ADMIN_DOWN:
            return rules.on_admin_down
        if state is State.MISSING:
            return rules.on_missing
        if state is State.UNKNOWN:
            return rules.on_unknown
        return Reading.UP if state is State.UP else Reading.DOWN

    def sample(self, state: State, now: float, *, counts: bool) -> Step:
        """Takes one sample; `counts` says whether it may count towards `rise` (a look out of turn does not)."""
        reading = self.read(state)
        if state is State.UNKNOWN:
            return self._unheard(reading)
        if reading is Reading.HOLD:
            self._break_rise()
            return Step.NOTHING
        if reading is Reading.UP:
            return self._good(now, self.service.spec, counts=counts)
        return self._bad(state, now, self.service.spec)

    def expire(self, now: float) -> Step:
        """A confirming look was not answered in time: the bad sample stands, for it was seen."""
        if self.confirm_until is None or now < self.confirm_until:
            return Step.NOTHING
        return self._decide(verdict=False)

    def settled(self, state: State) -> bool:
        """True when another sample of the same state could change nothing."""
        reading = self.read(state)
        if reading is Reading.HOLD:
            return self.good == 0
        return self.verdict is (reading is Reading.UP)

    def _unheard(self, reading: Reading) -> Step:
        # Staleness has its own time (`stale_after`), and no further sample will come: counting would never end.
        self._break_rise()
        if reading is Reading.HOLD or self.verdict is (reading is Reading.UP):
            return Step.NOTHING
        return self._decide(verdict=reading is Reading.UP)

    def _good(self, now: float, rules: Service, *, counts: bool) -> Step:
        self.bad = 0
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
        # Decided by a sample, never by the clock alone: Up at the end of hold-up must have been seen.
        return self._decide(verdict=True) if now >= self.hold_until else Step.NOTHING

    def _bad(self, state: State, now: float, rules: Service) -> Step:
        self._break_rise()
        if self.verdict is False:
            return Step.NOTHING
        self.bad += 1
        # A vanished row is no failure until a second look has missed it too, whatever `confirm` says.
        confirm = rules.confirm or state is State.MISSING
        if self.bad >= max(rules.fall, 2 if confirm else 1):
            return self._decide(verdict=False)
        if not confirm or self.bad > 1:
            return Step.NOTHING
        if rules.fall == 1 and state is not State.MISSING:
            self.confirm_until = now + rules.confirm_timeout
        return Step.CONFIRM

    def _break_rise(self) -> None:
        self.good = 0
        self.hold_until = None

    def _decide(self, *, verdict: bool) -> Step:
        self.verdict = verdict
        self.good = self.bad = 0
        self.hold_until = self.confirm_until = None
        return Step.DECIDED


@dataclass(slots=True, eq=False)
class Track:
    """What is known of one session now."""

    session: Session
    since: float
    heard: float
    state: State | None = None
    path: bool | None = None
    """What was last known of the path, kept through admin_down and unknown."""
    diagnostic: Diagnostic | None = None
    changes: int = 0
    event: int | None = None
    """The event of the present state."""
    legs: list[Leg] = field(default_factory=list)
    settled: bool = False
    watched: bool = False
    """Whether a staleness timer is under way."""
