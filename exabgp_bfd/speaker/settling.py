"""Which targets ExaBGP may still be busy with (pure): what it finds together, it sends in an order of its own.

Of `announce Z`, `withdraw X`, `announce X`, found in one turn, 4.2.21 and 5.0.15 leave X withdrawn; of `withdraw Z`,
`announce X`, `withdraw X` 5.0.15 leaves X announced: they send by sets of attributes, in the order of the first one's
appearance. So a word on a target waits until the one before it has left ExaBGP.
"""

from __future__ import annotations

import math
from collections import deque

from exabgp_bfd.core.model import Address, Command, Route, Target
from exabgp_bfd.core.routes import SETTLED_AFTER

SETTLES = SETTLED_AFTER
"""Seconds: what the core says again by, and announces wait for."""

_Neighbors = tuple[Address, ...]


class Settling:
    """The last command for each target and its neighbours, until it has settled."""

    def __init__(self) -> None:
        self._last: dict[str, dict[_Neighbors, int]] = {}
        self._due: dict[int, float] = {}
        """By command: when it has settled; infinite while it was not answered."""
        self._place: dict[int, tuple[str, _Neighbors]] = {}
        self._ending: deque[tuple[float, int]] = deque()

    def __len__(self) -> int:
        return len(self._due)

    def wrote(self, command: Command, now: float, due: float = math.inf) -> None:
        """A command was written; `due` where no answer will tell when it was done."""
        self._purge(now)
        key, neighbors = command.route.key, _neighbors(command.route)
        before = self._last.setdefault(key, {}).get(neighbors)
        if before is not None:
            self._due.pop(before, None)
            self._place.pop(before, None)
        self._last[key][neighbors] = command.command
        self._due[command.command] = due
        self._place[command.command] = (key, neighbors)
        if due < math.inf:
            self._ending.append((due, command.command))

    def done(self, command: int, now: float) -> None:
        """A command was answered, or given up."""
        if self._due.get(command) == math.inf:
            self._due[command] = now + SETTLES
            self._ending.append((now + SETTLES, command))
        self._purge(now)

    def until(self, target: Target, now: float) -> float:
        """When every command for a target and its neighbours will have settled; `now`, or before: they have."""
        self._purge(now)
        mine = _neighbors(target)
        return max(
            (
                self._due[number]
                for neighbors, number in self._last.get(target.key, {}).items()
                if not mine or not neighbors or not set(mine).isdisjoint(neighbors)
            ),
            default=now,
        )

    def _purge(self, now: float) -> None:
        while self._ending and self._ending[0][0] <= now:
            _, command = self._ending.popleft()
            place = self._place.pop(command, None)
            if place is None or self._due.pop(command, None) is None:
                continue
            key, neighbors = place
            del self._last[key][neighbors]
            if not self._last[key]:
                del self._last[key]


def _neighbors(target: Target) -> _Neighbors:
    return target.neighbors if isinstance(target, Route) else ()
