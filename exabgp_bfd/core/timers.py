"""What is due when: one heap of moments, each with a kind and what it is about."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any


class Timer(Enum):
    """Why something is to happen at a moment; one whose reason has gone by then does nothing."""

    STALE = auto()
    """A session, or a device's selectors, may be unknown now."""
    CONFIRM = auto()
    """A confirming look was not answered."""
    REST = auto()
    """Hold-up, or a damped session's suppression, ends."""
    EMPTY = auto()
    """A device whose table was empty may be believed now."""
    FORGET = auto()
    """A session whose row vanished may be forgotten."""
    RETRY = auto()
    """A command that was not taken is said again."""
    UNCONFIRMED = auto()
    """A command's UPDATE should have been seen by now."""
    ARRIVED = auto()
    """A neighbour that came up should have been sent everything by now."""
    PEERS = auto()
    """ExaBGP may be asked again which neighbours it has."""
    RECONCILE = auto()
    """It is time to ask which routes ExaBGP holds."""
    WATCHDOG = auto()
    """ExaBGP may have been reloaded, and have said its watchdogs' routes by itself."""
    BY_HAND = auto()
    """What was taken back by hand may be forgotten."""
    SERVICE = auto()
    """A drain, an orderly return or the guard's hold of a service may end."""


class Timers:
    """A heap whose equal moments keep the order in which they were set."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer, Any]] = []
        self._count = 0

    def set(self, when: float, kind: Timer, of: Any) -> None:  # noqa: ANN401 - what it is about is known by its kind
        """Notes a moment; nothing is ever taken back."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, kind, of))

    def next(self) -> float | None:
        """The earliest moment."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[tuple[float, Timer, Any]]:
        """Takes out what is due, also what is set meanwhile; not to be left halfway."""
        while self._heap and self._heap[0][0] <= now:
            when, _, kind, of = heapq.heappop(self._heap)
            yield when, kind, of
