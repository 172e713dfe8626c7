"""What a peer's table held over time, held against what it should have held: what was wrong, and for how long."""

from __future__ import annotations

import itertools
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass

PAUSE = 0.02
"""Seconds between two looks at a table."""


class Ledger:
    """For each prefix when it came and when it went, by the monotonic clock; one thread writes, any may read."""

    def __init__(self) -> None:
        self._changes: dict[str, list[tuple[float, bool]]] = {}
        self.looks = 0
        """How often the table was looked at, or told of a change."""

    def put(self, prefix: str, held: bool, at: float) -> None:
        changes = self._changes.setdefault(prefix, [])
        if held != (changes[-1][1] if changes else False):
            changes.append((at, held))

    def replace(self, held: set[str], at: float) -> None:
        """The whole table as it was seen."""
        for prefix in self.held() ^ held:
            self.put(prefix, prefix in held, at)
        self.looks += 1

    def held(self) -> set[str]:
        """What is held by the last word."""
        return {prefix for prefix, changes in list(self._changes.items()) if changes and changes[-1][1]}

    def switches(self, prefix: str, begin: float, end: float) -> list[tuple[float, bool]]:
        """What held at `begin`, and each change until `end`."""
        changes = list(self._changes.get(prefix, ()))
        place = bisect_right(changes, begin, key=lambda change: change[0])
        before = changes[place - 1][1] if place else False
        return [(begin, before), *(change for change in changes[place:] if change[0] < end)]


@dataclass(frozen=True, slots=True)
class Wrong:
    """For how long without a break the worst of some routes was wrong, in seconds, and how many were at all."""

    missing: float = 0.0
    present: float = 0.0
    routes_missing: int = 0
    routes_present: int = 0

    def worse(self, other: Wrong) -> Wrong:
        """The worse of two peers."""
        return Wrong(
            max(self.missing, other.missing),
            max(self.present, other.present),
            max(self.routes_missing, other.routes_missing),
            max(self.routes_present, other.routes_present),
        )


Span = tuple[float, float]


def judged(
    truth: Ledger, seen: Ledger, prefixes: Iterable[str], begin: float, end: float, excused: Iterable[Span] = ()
) -> Wrong:
    """What was wrong between two moments; `excused` are the times in which the peer had no session by its own doing."""
    wrong = Wrong()
    for prefix in prefixes:
        should, holds = truth.switches(prefix, begin, end), seen.switches(prefix, begin, end)
        missing = present = 0.0
        longest = {"missing": 0.0, "present": 0.0}
        moments = sorted({at for at, _ in (*should, *holds)} | {end} | _edges(excused, begin, end))
        for at, until in itertools.pairwise(moments):
            wanted, held = _at(should, at), _at(holds, at)
            if any(since <= at < to for since, to in excused):
                wanted = held
            missing = missing + until - at if wanted and not held else 0.0
            present = present + until - at if held and not wanted else 0.0
            longest["missing"] = max(longest["missing"], missing)
            longest["present"] = max(longest["present"], present)
        wrong = Wrong(
            max(wrong.missing, longest["missing"]),
            max(wrong.present, longest["present"]),
            wrong.routes_missing + (longest["missing"] > 0),
            wrong.routes_present + (longest["present"] > 0),
        )
    return wrong


def _edges(spans: Iterable[Span], begin: float, end: float) -> set[float]:
    return {edge for span in spans for edge in span if begin < edge < end}


def _at(switches: list[tuple[float, bool]], at: float) -> bool:
    return switches[bisect_right(switches, at, key=lambda change: change[0]) - 1][1]


class Sampler:
    """Looks at a table again and again on a thread of its own, `PAUSE` apart, or less often where a look takes long."""

    def __init__(self, look: Callable[[], set[str]], name: str) -> None:
        self.ledger = Ledger()
        self.slowest = 0.0
        """Seconds from one look to the next at the worst: what was shorter may not have been seen."""
        self.fault: Exception | None = None
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sampler of {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(10)
        if self.fault is not None:
            raise self.fault

    def _run(self) -> None:
        before = time.monotonic()
        try:
            while not self._over.is_set():
                begun = time.monotonic()
                table = self._look()
                now = time.monotonic()
                self.ledger.replace(table, now)
                self.slowest = max(self.slowest, now - before)
                before = now
                # A big table takes its daemon's time: no more than a fifth of it.
                self._over.wait(max(PAUSE, 4 * (now - begun)))
        except Exception as fault:  # noqa: BLE001 - told to whoever stops us
            self.fault = fault
