"""Commands and questions that were written and not answered yet (pure): whose an answer is, and who waited too long.

ExaBGP answers in order, `done` or `error` for each, so an answer belongs to the oldest that has none. Two things break
that: an answer may never come (ExaBGP 4 has none for a command that failed inside it; a restart forgets what it had
not done), and ExaBGP answers `version` the moment it reads it. The body of a question's answer sets both right: the
next `done` is that question's, and what was asked before it, and is answered in turn, will have no answer any more.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from exabgp_bfd.core.model import Outcome

LONGEST_BODY = 100_000
LARGEST_BODY = 1 << 24
"""Lines, and characters, of an answer's body that are kept."""
LONGEST_QUESTION = 120.0
"""Seconds after which a question is given up even while its answer is still coming."""
FORGOTTEN = 10_000
"""Commands without an answer that are kept for a late one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a question."""

    outcome: Outcome
    lines: tuple[str, ...] = field(default=(), repr=False)
    """They may hold secrets: ExaBGP shows the passwords of its neighbours."""
    complete: bool = True
    """Whether its end came, and none of its lines was left out."""
    after: int = 0
    """The number of the last command that was sent before it was asked."""


@dataclass(slots=True, eq=False)
class Question:
    """A question, from when it is asked until its reply is told, once."""

    line: bytes
    told: Callable[[Reply], object]
    timeout: float
    in_turn: bool
    asked: float
    """When it came to wait for its turn, monotonic."""
    after: int = 0
    missed: int = 0
    """The count of lines that were not taken, when it was written."""
    answers: int = 0
    """The count of answers when it was written."""
    lines: list[str] = field(default_factory=list)
    size: int = 0
    whole: bool = True

    def keep(self, text: str) -> None:
        """Takes a line of the body, up to the bounds."""
        if len(self.lines) >= LONGEST_BODY or self.size + len(text) > LARGEST_BODY:
            self.whole = False
            return
        self.lines.append(text)
        self.size += len(text)

    def reply(self, outcome: Outcome, *, ended: bool) -> Reply:
        """What came of it; `ended` says that the answer's end came, and nothing was missed."""
        return Reply(outcome, tuple(self.lines), ended and self.whole, self.after)


@dataclass(slots=True, eq=False)
class Entry:
    """One line that was written."""

    command: int
    """0 for a question."""
    announces: bool
    written: float
    timeout: float
    question: Question | None = None
    given_up: float | None = None
    """When it was; it keeps its place, for its answer may still come, and must not be taken for the next one's."""
    body: bool = False
    """Whether a line of its answer's body came."""


class Ledger:
    """What was written and has no answer, in the order in which it was written."""

    def __init__(self) -> None:
        self.announces = 0
        """Announces among them, given up or not."""
        self.live = 0
        """Commands among them that are not given up."""
        self.question: Entry | None = None
        """The last question, until it is answered or forgotten."""
        self._entries: deque[Entry] = deque()
        self._progress = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def late(self) -> int:
        """Commands among them that are given up."""
        return sum(entry.given_up is not None and entry.question is None for entry in self._entries)

    def add(self, entry: Entry, forgotten: float = -math.inf) -> None:
        """A line was written; those that were given up before `forgotten` leave."""
        if self._entries and self._entries[0].given_up is not None:
            self.forget(forgotten)
        self._entries.append(entry)
        self.announces += entry.announces
        if entry.question is not None:
            self.question = entry
        elif entry.given_up is None:
            self.live += 1
        if len(self._entries) > FORGOTTEN and self._entries[0].given_up is not None:
            self._remove_first()

    def is_next(self, entry: Entry) -> bool:
        """Whether the next answer in order is this one's."""
        return bool(self._entries) and self._entries[0] is entry

    def body_came(self, now: float) -> list[Entry]:
        """A line of the question's body came; those before it that will have no answer now, and were not given up."""
        self._progress = now
        asked = self.question
        if asked is None or asked.question is None:
            return []
        asked.body = True
        lost = []
        while asked.question.in_turn and self._entries and self._entries[0] is not asked:
            if self._entries[0].given_up is None:
                lost.append(self._entries[0])
            self._remove_first()
        return lost

    def answered(self, now: float) -> Entry | None:
        """An answer ended: whose it is, which leaves; None if it is nobody's."""
        asked = self.question
        if asked is not None and asked.body:
            self._remove(asked)
            self._progress = now
            return asked
        if not self._entries:
            return None
        self._progress = now
        return self._remove_first()

    def expire(self, now: float) -> list[Entry]:
        """Gives up those that waited too long since they were written, or since ExaBGP last answered anything."""
        expired = [entry for entry in self._entries if entry.given_up is None and self._due(entry) <= now]
        for entry in expired:
            self.give_up(entry, now)
        return expired

    def give_up(self, entry: Entry, now: float) -> None:
        """Waits for an answer no longer, but keeps its place."""
        entry.given_up = now
        self.live -= entry.question is None

    def give_up_all(self, now: float) -> None:
        """No answer is waited for any longer."""
        for entry in self._entries:
            if entry.given_up is None:
                self.give_up(entry, now)

    def discard(self, entry: Entry) -> None:
        """Waits for an answer no longer, nor for a late one."""
        if entry in self._entries:
            self._remove(entry)

    def forget(self, before: float) -> None:
        """Drops what was given up before that moment: its answer will not come any more."""
        while self._entries:
            given_up = self._entries[0].given_up
            if given_up is None or given_up > before:
                return
            self._remove_first()

    def due(self, late: float) -> float:
        """When to look again: somebody waits too long then, or the oldest is to be forgotten (`late` seconds after)."""
        due = min((self._due(entry) for entry in self._entries if entry.given_up is None), default=math.inf)
        given_up = self._entries[0].given_up if self._entries else None
        return due if given_up is None else min(due, given_up + late)

    def _due(self, entry: Entry) -> float:
        due = max(entry.written, self._progress) + entry.timeout
        return due if entry.question is None else min(due, entry.written + LONGEST_QUESTION)

    def _remove_first(self) -> Entry:
        entry = self._entries.popleft()
        self._left(entry)
        return entry

    def _remove(self, entry: Entry) -> None:
        self._entries.remove(entry)
        self._left(entry)

    def _left(self, entry: Entry) -> None:
        self.announces -= entry.announces
        if entry.question is None:
            self.live -= entry.given_up is None
        elif self.question is entry:
            self.question = None
