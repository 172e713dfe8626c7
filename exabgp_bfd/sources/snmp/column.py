"""A column as it is walked, by either engine: what was found, and whether the agent still goes forward."""

from __future__ import annotations

from exabgp_bfd.core.model import SourceError
from exabgp_bfd.sources.snmp.mibs import Value, arcs

MAX_ROWS = 20_000
"""No walk of one column goes further: an agent that invents rows for ever must not fill our memory."""


class Column:
    """What a walk has found, and where it goes on."""

    def __init__(self, at: str, column: str) -> None:
        self.column = column
        self.found: list[tuple[str, Value]] = []
        self.last = column
        self._at = at
        self._base = arcs(column)
        self._reached = self._base

    def take(self, oid: str, value: Value) -> bool:
        """Keeps a row, False when it is beyond the column; SourceError if the agent turns in circles or never ends."""
        place = arcs(oid)
        if place[: len(self._base)] != self._base:
            if place < self._base:
                raise SourceError(f"{self._at} went backwards in a walk of {self.column}, to {oid}")
            return False
        if place <= self._reached:
            raise SourceError(f"{self._at} went backwards in a walk of {self.column}, to {oid}")
        if len(self.found) >= MAX_ROWS:
            raise SourceError(f"{self._at} has more than {MAX_ROWS} rows in {self.column}")
        self._reached = place
        self.last = oid
        self.found.append((oid, value))
        return True
