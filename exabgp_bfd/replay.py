"""Rehearsal: the inputs that were kept, run through another plan; what it would have done beside what was done.

Every command of the rehearsal is taken as accepted at once. A reload that was done then is not done again: the new plan
holds throughout. No I/O but what the reader does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from exabgp_bfd.core.engine import Engine
from exabgp_bfd.core.model import (
    BY_HAND,
    Announce,
    Answer,
    Believed,
    ByHand,
    Clear,
    Command,
    Disabled,
    Effect,
    Event,
    Input,
    Lift,
    Note,
    Order,
    Outcome,
    Override,
    Plan,
    Record,
    Reload,
    Remember,
    RememberOrder,
    Restored,
    Stall,
    Start,
    Target,
    Tick,
    Watchdog,
    Withdraw,
)
from exabgp_bfd.core.routes import REPAIR
from exabgp_bfd.storage.queries import rfc3339
from exabgp_bfd.storage.reader import Reader
from exabgp_bfd.storage.recording import Kept

TOLERANCE = 2.0
"""Seconds by which a change that was made and one that would have been may differ and still be the same."""

ANNOUNCED, WITHDRAWN = "+", "-"

_ATTRIBUTES = (
    "next_hop",
    "neighbors",
    "med",
    "local_preference",
    "communities",
    "large_communities",
    "extended_communities",
    "as_path",
)
_DIRECTIONS = {"route_announce": ANNOUNCED, "route_withdraw": WITHDRAWN}
_SAID_AGAIN = "said again"
"""How the rule of a command begins that only repeats one that ExaBGP did not take."""
_STANDING_STILL = 1_000
"""How often the engine may ask for the same moment again before its time goes on without it."""

_MARKS = 1_000
"""How many different marks of a kind that may come with every input are kept, each the first time."""

_Place = tuple[str, str]
"""A service and a target's key."""


@dataclass(frozen=True, slots=True)
class RouteChange:
    """One announce or withdraw; `wall` is microseconds since the epoch."""

    wall: int
    direction: str
    """`+` announced, `-` withdrawn."""
    target: str
    """A prefix, or `watchdog NAME`."""
    service: str
    attributes: Mapping[str, Any]
    """What it was announced with, as far as it is known and set."""
    rule: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A change that was made beside the one that would have been; None where there is none."""

    made: RouteChange | None
    would: RouteChange | None

    @property
    def wall(self) -> int:
        """When the earlier of them was, microseconds since the epoch."""
        return min(change.wall for change in (self.made, self.would) if change is not None)

    @property
    def same(self) -> bool:
        """Whether both are there, and with the same attributes as far as both tell them."""
        if self.made is None or self.would is None:
            return False
        if self.made.direction == WITHDRAWN:
            return True
        known = self.made.attributes.keys() & self.would.attributes.keys()
        return all(self.made.attributes[name] == self.would.attributes[name] for name in known)


@dataclass(frozen=True, slots=True)
class Total:
    """A service's figures over the period; it counts as announced while any of its targets is."""

    service: str
    made: int
    would: int
    made_seconds: float
    would_seconds: float


@dataclass(frozen=True, slots=True)
class Mark:
    """Something about the period that a reader of the report should know."""

    wall: int
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a rehearsal; times are microseconds since the epoch, None where no input was kept."""

    since: int | None
    until: int | None
    inputs: int
    pairs: tuple[Pair, ...]
    totals: tuple[Total, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """From `wall` on a target counts as announced or not; without a place: none does but `these`."""

    wall: int
    place: _Place | None
    announced: bool = False
    these: frozenset[_Place] = frozenset()


class _Rehearsal:
    """One engine after the other, as processes began, under the new plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._engine: Engine | None = None
        self._now = 0.0
        self._wall = 0
        """The wall clock at `_now`."""
        self._settling = False
        """True while the engine began in the middle of a run: it may say what was said before, and nothing changes."""
        self._last_event = 0
        self._believed: dict[_Place, tuple[Target, int]] = {}
        self._overrides: dict[str, Override] = {}
        self._lift: Lift | None = None
        self._by_hand: dict[str, ByHand] = {}
        self._services = frozenset(service.name for service in plan.services)
        self.changes: list[RouteChange] = []
        self.steps: list[_Step] = []
        self._marked: set[str] = set()
        self.marks: list[Mark] = []
        self.middle: Mark | None = None
        """Said when there was no start to begin with."""

    def adopt(self, kept: Kept, places: Mapping[_Place, int]) -> None:
        """Begins before the first input of a log that begins in the middle of a run, with what was announced then."""
        held = [
            Believed(service.name, target, places[service.name, target.key])
            for service in self._plan.services
            for target in service.routes
            if (service.name, target.key) in places
        ]
        last = max(places.values(), default=0)
        self._settling = True
        wall = kept.wall / 1_000_000
        self._begin(Start(), Restored(last_event=last, believed=tuple(held), rib_kept=True, wall=wall), kept)
        self.middle = Mark(kept.wall, "the log begins in the middle of a run: what was announced then is adopted")

    def take(self, kept: Kept) -> None:
        """One input, after whatever fell due before it."""
        event = kept.input
        if isinstance(event, Start):
            self._start(event, kept)
            return
        if isinstance(event, Note):
            self._mark(kept.wall, f"inputs were lost or cannot be read: {dict(event.details)}")
            # What was lost must not look as if nothing had been heard.
            event = Stall(max(0.0, kept.now - self._now)) if "inputs" in event.details else Tick()
        self._advance(kept, kept.now - event.seconds if isinstance(event, Stall) else kept.now)
        if isinstance(event, Reload):
            by = event.actor or "nobody named"
            what = "the configuration was reloaded" if event.device is None else f"{event.event_type} {event.device}"
            self.marks.append(Mark(kept.wall, f"{what} then (by {by}); here one plan holds"))
        elif self._is_for_nobody(event):
            self._mark(kept.wall, f"left out, as the plan has no such service: {event}")
        else:
            self._give(event)

    def _mark(self, wall: int, text: str) -> None:
        if text not in self._marked and len(self._marked) < _MARKS:
            self._marked.add(text)
            self.marks.append(Mark(wall, text))

    def _is_for_nobody(self, event: Input) -> bool:
        match event:
            case Order(Override(service=name)) | Disabled(service=name) | Clear(service=str(name)):
                return name not in self._services
            case _:
                return False

    def _start(self, start: Start, kept: Kept) -> None:
        restored = kept.restored or Restored()
        if self._engine is not None:
            restored = Restored(
                last_event=self._last_event,
                believed=tuple(
                    Believed(service, target, event)
                    for (service, _), (target, event) in sorted(self._believed.items(), key=lambda held: held[0])
                ),
                rib_kept=restored.rib_kept,
                expired=restored.expired,
                wall=restored.wall,
                overrides=tuple(order for _, order in sorted(self._overrides.items())),
                lift=self._lift,
                by_hand=tuple(order for _, order in sorted(self._by_hand.items())),
                disabled=restored.disabled,
                withdrawn=restored.withdrawn,
            )
        self._settling = False
        self._begin(start, restored, kept)

    def _begin(self, start: Start, restored: Restored, kept: Kept) -> None:
        self._last_event = max(self._last_event, restored.last_event)
        self._believed = {(held.service, held.route.key): (held.route, held.event) for held in restored.believed}
        self._overrides = {order.service: order for order in restored.overrides}
        self._lift = restored.lift
        self._by_hand = {f"{BY_HAND} {order.target.key}": order for order in restored.by_hand}
        places = frozenset() if restored.expired else frozenset(self._believed)
        self.steps.append(_Step(kept.wall, None, these=places))
        self._engine = Engine(self._plan, restored, kept.now)
        self._now, self._wall = kept.now, kept.wall
        self._give(start)

    # --- time ---

    def _advance(self, kept: Kept, until: float) -> None:
        """Lets the engine's deadlines before `until` come, each at its time; then it is the time of the next input.

        What is due with the input comes after it; what fell due while our own loop stalled, after we told of that.
        """
        engine = self._engine
        still = 0
        while engine is not None and (due := engine.next_deadline()) is not None and due < until:
            still = still + 1 if due <= self._now else 0
            if still > _STANDING_STILL:
                break
            if due > self._now:
                self._wall += round((due - self._now) * 1_000_000)
                self._now = due
            self._give(Tick())
        self._now, self._wall = max(self._now, kept.now), kept.wall

    # --- effects ---

    def _give(self, event: Input) -> None:
        if self._engine is None:
            return
        waiting = self._carry(self._engine.handle(event, self._now))
        while waiting:
            answered = [self._engine.handle(Answer(number, Outcome.DONE), self._now) for number in waiting]
            waiting = self._carry(list(chain.from_iterable(answered)))

    def _carry(self, effects: Sequence[Effect]) -> list[int]:
        """Books what the engine wants; the numbers of its commands."""
        commands: list[int] = []
        nothing_new: set[int] = set()
        for effect in effects:  # The commands come first, so what is believed is still what was before.
            match effect:
                case Announce() | Withdraw():
                    commands.append(effect.command)
                    if self._settling and _says_nothing_new(effect, self._believed):
                        nothing_new.add(effect.command)
                case Record(event):
                    self._last_event = max(self._last_event, event.id)
                    change = _change_by(event, self._wall) if event.id not in nothing_new else None
                    if change is not None:
                        self.changes.append(change)
                case Remember():
                    self._remember(effect)
                case RememberOrder(service, order):
                    self._order(service, order)
                case _:
                    pass
        return commands

    def _remember(self, effect: Remember) -> None:
        place = (effect.service, effect.key)
        if effect.route is None:
            self._believed.pop(place, None)
        else:
            self._believed[place] = (effect.route, effect.event)
        self.steps.append(_Step(self._wall, place, effect.route is not None))

    def _order(self, service: str | None, order: Override | Lift | ByHand | None) -> None:
        if service is None:
            self._lift = order if isinstance(order, Lift) else None
        elif isinstance(order, Override):
            self._overrides[service] = order
        elif isinstance(order, ByHand):
            self._by_hand[service] = order
        else:
            self._overrides.pop(service, None)
            self._by_hand.pop(service, None)


def _says_nothing_new(command: Command, believed: Mapping[_Place, tuple[Target, int]]) -> bool:
    held = believed.get((command.service, command.route.key))
    if isinstance(command, Withdraw):
        return held is None
    return held is not None and held[0] == command.route


# --- what events tell of routes, those of the journal and those of the rehearsal alike ---------------------------


def _change_by(event: Event, wall: int) -> RouteChange | None:
    """The change that an event records, None when it is about something else or only repeats one."""
    direction = _DIRECTIONS.get(event.event_type)
    rule = str(event.details.get("rule", ""))
    if direction is None or rule.startswith(_SAID_AGAIN) or event.details.get("layer") == REPAIR:
        return None
    told = event.details if direction == ANNOUNCED else {}
    attributes = {name: told[name] for name in _ATTRIBUTES if told.get(name) not in (None, [], (), "")}
    return RouteChange(wall, direction, _target(event.details), event.service or "", attributes, rule)


def _target(details: Mapping[str, Any]) -> str:
    """The key of the target that a route event is about."""
    prefix = details.get("prefix")
    return prefix if isinstance(prefix, str) else Watchdog(str(details.get("watchdog", ""))).key


def _announced_before(reader: Reader, wall: int) -> dict[_Place, int]:
    """What the route events say was announced just before a time, and by which event."""
    places: dict[_Place, int] = {}
    for stored in reader.route_events(None, wall - 1):
        place = (stored.event.service or "", _target(stored.event.details))
        places.pop(place, None)
        if _DIRECTIONS[stored.event.event_type] == ANNOUNCED:
            places[place] = stored.id
    return places


# --- the whole ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Period:
    """What is known of the period while the inputs are read."""

    begin: int | None = None
    end: int = 0
    inputs: int = 0
    steps: list[_Step] = field(default_factory=list)
    """What was believed announced when processes began, and what was there before."""


def replay(plan: Plan, reader: Reader, since: int | None, until: int | None, *, tolerance: float = TOLERANCE) -> Report:
    """Runs what was kept through another plan; times are microseconds since the epoch, `tolerance` seconds.

    The rehearsal begins at the latest start at or before `since` (or where the log begins), so that it knows the
    sessions' history; only what is later than `since` is reported. Raises StoreError when the journal cannot be read.
    """
    rehearsal = _Rehearsal(plan)
    period = _rehearse(rehearsal, reader, since, until)
    if period.begin is None:
        return Report(since, until, 0, (), (), ())
    end = period.end if until is None else min(until, period.end)
    made = [
        change
        for stored in reader.route_events(period.begin, end)
        if (change := _change_by(stored.event, stored.ts)) is not None
    ]
    begin = period.begin if since is None else max(since, period.begin)
    pairs = _pairs(_later(made, begin, tolerance), _later(rehearsal.changes, begin, tolerance), tolerance)
    pairs = [pair for pair in pairs if max(change.wall for change in _sides(pair)) >= begin]
    steps = period.steps + [_Step(change.wall, (change.service, change.target), _is_up(change)) for change in made]
    totals = _totals(pairs, _announced_seconds(steps, begin, end), _announced_seconds(rehearsal.steps, begin, end))
    marks = [rehearsal.middle] if rehearsal.middle is not None else []
    marks += [mark for mark in rehearsal.marks if mark.wall >= begin]
    return Report(begin, end, period.inputs, tuple(pairs), totals, tuple(marks))


def run(plan: Plan, journal: Path, since: int | None, until: int | None) -> Report:
    """The same, from a journal that may be in use by a running program; raises StoreError."""
    reader = Reader(journal)
    try:
        return replay(plan, reader, since, until)
    finally:
        reader.close()


def _rehearse(rehearsal: _Rehearsal, reader: Reader, since: int | None, until: int | None) -> _Period:
    period = _Period()
    for kept in reader.inputs(since, until):
        start = isinstance(kept.input, Start)
        if period.begin is None:
            period.begin = kept.wall
            if not start:
                places = _announced_before(reader, kept.wall)
                period.steps.append(_Step(kept.wall, None, these=frozenset(places)))
                rehearsal.adopt(kept, places)
        if start and kept.restored is not None:
            held = () if kept.restored.expired else kept.restored.believed
            these = frozenset((each.service, each.route.key) for each in held)
            period.steps.append(_Step(kept.wall, None, these=these))
        rehearsal.take(kept)
        period.inputs += 1
        period.end = max(period.end, kept.wall)
    return period


def _later(changes: Iterable[RouteChange], begin: int, tolerance: float) -> list[RouteChange]:
    """The changes that are reported, and those just before that may be the other half of one."""
    first = begin - round(tolerance * 1_000_000)
    return [change for change in changes if change.wall >= first]


def _is_up(change: RouteChange) -> bool:
    return change.direction == ANNOUNCED


def _sides(pair: Pair) -> list[RouteChange]:
    return [change for change in (pair.made, pair.would) if change is not None]


def _pairs(made: Iterable[RouteChange], would: Iterable[RouteChange], tolerance: float) -> list[Pair]:
    """Matches changes of the same target and direction that are no further apart than `tolerance` seconds."""
    sides: dict[tuple[str, str], tuple[list[RouteChange], list[RouteChange]]] = {}
    for side, changes in enumerate((made, would)):
        for change in changes:
            sides.setdefault((change.target, change.direction), ([], []))[side].append(change)
    found = [pair for ours, theirs in sides.values() for pair in _match(ours, theirs, round(tolerance * 1_000_000))]
    return sorted(found, key=lambda pair: pair.wall)


def _match(made: list[RouteChange], would: list[RouteChange], tolerance: int) -> Iterator[Pair]:
    ours = sorted(made, key=lambda change: change.wall, reverse=True)
    theirs = sorted(would, key=lambda change: change.wall, reverse=True)
    while ours or theirs:
        if not theirs or (ours and ours[-1].wall < theirs[-1].wall - tolerance):
            yield Pair(ours.pop(), None)
        elif not ours or theirs[-1].wall < ours[-1].wall - tolerance:
            yield Pair(None, theirs.pop())
        else:
            yield Pair(ours.pop(), theirs.pop())


def _announced_seconds(steps: Iterable[_Step], begin: int, end: int) -> dict[str, float]:
    """For how long each service had any target announced between two times."""
    seconds: dict[str, float] = {}
    announced: dict[str, set[str]] = {}
    at = begin
    # Sorted by time only: of equal times the first said comes first.
    for step in chain(sorted(steps, key=lambda step: step.wall), (_Step(end, ("", "")),)):
        moment = min(max(step.wall, begin), end)
        for service, keys in announced.items():
            if keys:
                seconds[service] = seconds.get(service, 0.0) + (moment - at) / 1_000_000
        at = moment
        if step.place is None:
            announced = {}
            for service, key in step.these:
                announced.setdefault(service, set()).add(key)
            continue
        service, key = step.place
        keys = announced.setdefault(service, set())
        (keys.add if step.announced else keys.discard)(key)
    return seconds


def _totals(pairs: Iterable[Pair], made: Mapping[str, float], would: Mapping[str, float]) -> tuple[Total, ...]:
    counts: dict[str, list[int]] = {}
    for pair in pairs:
        for side, change in enumerate((pair.made, pair.would)):
            if change is not None:
                counts.setdefault(change.service, [0, 0])[side] += 1
    names = sorted(counts.keys() | made.keys() | would.keys())
    return tuple(
        Total(
            service=name,
            made=counts[name][0] if name in counts else 0,
            would=counts[name][1] if name in counts else 0,
            made_seconds=round(made.get(name, 0.0), 6),
            would_seconds=round(would.get(name, 0.0), 6),
        )
        for name in names
    )


# --- told -------------------------------------------------------------------------------------------------------


def lines(report: Report) -> Iterator[str]:
    """The report as a table: what was made, what would have been, and then the figures of each service."""
    if report.since is None or report.until is None or not report.inputs:
        yield "no input is kept of that time"
        return
    yield f"{report.inputs} inputs, from {rfc3339(report.since)} to {rfc3339(report.until)}"
    for mark in report.marks:
        yield f"note: {rfc3339(mark.wall)} {mark.text}"
    yield ""
    if report.pairs:
        yield from _table(("time", "made", "would", "target", "service", "with", "rule"), map(_row, report.pairs))
    else:
        yield "no route change was made, and none would have been"
    yield ""
    header = ("service", "changes made", "would be", "seconds announced", "would be")
    rows = [
        (each.service, str(each.made), str(each.would), f"{each.made_seconds:.3f}", f"{each.would_seconds:.3f}")
        for each in report.totals
    ]
    yield from _table(header, rows)


def _row(pair: Pair) -> tuple[str, ...]:
    first = pair.made or pair.would
    assert first is not None  # noqa: S101 - a pair has a side
    made = pair.made.direction if pair.made else ""
    would = pair.would.direction if pair.would else ""
    if pair.made is not None and pair.would is not None:
        would += f" {(pair.would.wall - pair.made.wall) / 1_000_000:+.3f}s"
    attributes = [_words(change.attributes) for change in _sides(pair)]
    rules = [change.rule for change in _sides(pair)]
    if pair.same:  # What one side tells more is the journal's being brief, no difference.
        attributes = attributes[-1:]
    said = [" | ".join(dict.fromkeys(text for text in texts if text)) for texts in (attributes, rules)]
    return (rfc3339(first.wall), made, would, first.target, first.service, *said)


def _words(attributes: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name.replace('_', '-')} {' '.join(map(str, value)) if isinstance(value, list | tuple) else value}"
        for name, value in attributes.items()
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    everything = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    for row in everything:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def document(report: Report) -> dict[str, Any]:
    """The report in the words of JSON; times as RFC 3339."""
    return {
        "since": _time(report.since),
        "until": _time(report.until),
        "inputs": report.inputs,
        "notes": [{"ts": rfc3339(mark.wall), "text": mark.text} for mark in report.marks],
        "changes": [
            {"made": _change(pair.made), "would": _change(pair.would), "same": pair.same} for pair in report.pairs
        ],
        "services": [
            {
                "service": each.service,
                "made": each.made,
                "would": each.would,
                "made_seconds": each.made_seconds,
                "would_seconds": each.would_seconds,
            }
            for each in report.totals
        ],
    }


def _time(wall: int | None) -> str | None:
    return None if wall is None else rfc3339(wall)


def _change(change: RouteChange | None) -> dict[str, Any] | None:
    if change is None:
        return None
    return {
        "ts": rfc3339(change.wall),
        "direction": change.direction,
        "target": change.target,
        "service": change.service,
        "attributes": dict(change.attributes),
        "rule": change.rule,
    }
