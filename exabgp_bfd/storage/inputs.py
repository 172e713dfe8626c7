"""The input log: everything that came into the engine and could decide something, kept so that it can be replayed.

Not kept are ticks (they follow from the times), answers, updates seen and notes: another configuration would get
others. What is kept is a prefix of what was noted, without holes; at a crash, polls that said nothing new since the
last `flush` are missing at its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from exabgp_bfd.core.model import (
    Clear,
    Clock,
    Disabled,
    Input,
    Notification,
    Observation,
    Order,
    Poll,
    Reload,
    Restored,
    Silence,
    Sites,
    Stall,
    Start,
    Stop,
    Webhook,
)
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.recording import SHAPE_SECONDS, Chunk, Recorded, Run, Shape, Single, add_time, lost

_MICRO = 1_000_000

CHUNK_SECONDS = 60
"""Polls that say nothing new wait at most so long for their row, if nobody calls `flush` before."""
CHUNK_POLLS = 65_536
DRIFT = 10_000
"""Microseconds that the wall clock may stray from the monotonic one within a chunk, which keeps it only once."""

RECENT = 4
"""How many contents are known again per device, source and first session: a flapping session has two."""
OBSERVATIONS = 200_000
"""How many observations are held to compare with before contents that are no longer heard are forgotten."""

# Tuples are compared far faster than dataclasses compare themselves, and no text is made of an unchanged poll.
_FIELDS = attrgetter(*(each.name for each in fields(Observation)))

_Key = tuple[str, str, str | None]


@dataclass(slots=True, eq=False)
class _Known:
    """A poll's content that has a number, and the run of it in the present chunk."""

    id: int
    poll: Poll
    seen: tuple[tuple[Any, ...], ...]
    """The poll's observations, field by field."""
    said: int
    """When the journal was last told of it, microseconds of the wall clock."""
    generation: int
    run: Run
    chunk: int


class InputLog:
    """Used on one thread, the main loop's; never waits. What the journal refuses is counted, and marked in the log."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[_Key, list[_Known]] = {}
        self._observations = 0
        self._limit = OBSERVATIONS
        self._lost = 0
        self._refusals = 0
        """Each may have taken shapes along, so they are all told again."""

        self._chunk = 0
        self._runs: list[Run] = []
        self._shapes: list[Shape] = []
        self._polls = 0
        self._newest = 0
        self._first = (0, 0)
        """Monotonic and wall time at which the chunk began, microseconds."""

    def began(self, start: Start, restored: Restored, now: float, wall: int) -> None:
        """Keeps that a run begins, and with what; `now` is monotonic seconds, `wall` microseconds since the epoch."""
        self._keep(Single(wall, round(now * _MICRO), start, restored))

    def note(self, event: Input, now: float, wall: int) -> None:
        """Keeps an input that the engine is given at `now` (monotonic seconds, whole microseconds), `wall` as above."""
        if isinstance(event, Poll):
            self._poll(event, round(now * _MICRO), wall)
        elif isinstance(
            event, Silence | Webhook | Notification | Sites | Order | Clear | Disabled | Reload | Clock | Stall | Stop
        ):
            self._keep(Single(wall, round(now * _MICRO), event))

    def flush(self) -> None:
        """Hands over what was collected: to be called about every 30 s, after an input that led to a command, and last.

        For what leads to a command may say nothing new: the poll at the end of hold-up.
        """
        if self._runs:
            runs = tuple(self._runs)
            size = 3 * self._polls + 100 * len(runs) + sum(_size(shape.poll) for shape in self._shapes)
            ts, now = self._first[1], self._first[0]
            self._hand(self._shapes, Chunk(ts, now, runs), size, self._polls)
            self._runs.clear()
            self._shapes.clear()
            self._polls = 0
            self._chunk += 1

    # --- inputs of their own ---

    def _keep(self, single: Single) -> None:
        self.flush()
        self._hand((), single, _weight(single.input), 1)

    def _hand(self, shapes: Iterable[Shape], row: Chunk | Single, size: int, inputs: int) -> None:
        hole = (Single(row.ts, row.now, lost({"inputs": self._lost})),) if self._lost else ()
        if self._journal.keep_inputs((*shapes, *hole, row), size):
            self._lost = 0
        else:
            self._lost += inputs
            self._refusals += 1

    # --- polls ---

    def _poll(self, poll: Poll, now: int, wall: int) -> None:
        observations = poll.observations
        key = (poll.device, poll.source, observations[0].session.id if observations else None)
        seen = tuple(map(_FIELDS, observations))
        recent = self._known.get(key)
        if recent is not None and recent[0].seen == seen and _same(recent[0].poll, poll):
            self._collect(recent[0], now, wall)
            return
        self.flush()
        self._collect(self._find(key, poll, seen), now, wall)
        self.flush()

    def _collect(self, known: _Known, now: int, wall: int) -> None:
        if self._runs:
            first, began = self._first
            if (
                now <= self._newest  # The order within a chunk is that of the times.
                or now - first > CHUNK_SECONDS * _MICRO
                or self._polls >= CHUNK_POLLS
                or not -DRIFT < wall - began - (now - first) < DRIFT
            ):
                self.flush()
        if not self._runs:
            self._first = (now, wall)
        self._newest = now
        self._polls += 1
        if known.chunk == self._chunk:
            add_time(known.run, now)
            return
        generation = self._journal.generation + self._refusals
        if known.generation != generation or abs(wall - known.said) > SHAPE_SECONDS * _MICRO:
            known.generation, known.said = generation, wall
            self._shapes.append(Shape(known.id, wall, known.poll))
        known.run, known.chunk = Run(known.id, now, now), self._chunk
        self._runs.append(known.run)

    def _find(self, key: _Key, poll: Poll, seen: tuple[tuple[Any, ...], ...]) -> _Known:
        """The number of a content that is not the last one of its key: known again, or new."""
        recent = self._known.setdefault(key, [])
        for place, known in enumerate(recent):
            if known.seen == seen and _same(known.poll, poll):
                recent.insert(0, recent.pop(place))
                return known
        known = _Known(self._journal.new_shape(), poll, seen, 0, -1, Run(0, 0, 0), -1)
        recent.insert(0, known)
        self._observations += 1 + len(poll.observations)
        if len(recent) > RECENT:
            self._observations -= 1 + len(recent.pop().poll.observations)
        if self._observations > self._limit:
            self._forget(key)
        return known

    def _forget(self, key: _Key) -> None:
        """Forgets what was not heard for a while; what then stays is what the devices say now."""
        since = self._newest - 2 * CHUNK_SECONDS * _MICRO
        self._known = {
            each: recent[:1] for each, recent in self._known.items() if recent[0].run.last >= since or each == key
        }
        self._observations = sum(1 + len(recent[0].poll.observations) for recent in self._known.values())
        self._limit = max(OBSERVATIONS, 2 * self._observations)


def _same(one: Poll, other: Poll) -> bool:
    """Whether two polls with the same key and observations are the same."""
    return (
        one.complete is other.complete
        and one.cause == other.cause
        and one.actor == other.actor
        and one.told == other.told
    )


def _size(poll: Poll) -> int:
    """About how many bytes a poll holds while it waits for the disk."""
    return 500 * (1 + len(poll.observations)) + 100 * len(poll.told)


def _weight(event: Recorded) -> int:
    """About how many bytes another input holds: a webhook's evidence is at most a request's body."""
    return 65_536 if isinstance(event, Webhook) else 2_000
