"""A column as it is walked, by either engine: what was found, and whether the agent still goes forward."""

from __future__ import annotations

from exabgp_bfd.core.model import SourceError
from exabgp_bfd.sources.snmp.mibs import Value, arcs

MAX_ROWS = 20_000
"""No walk of one column goes further: an agent that invents rows for ever must not fill our memory."""

FIRST = 20
"""Rows that the first PDU of a walk asks for: in a table with one row 40 would run on from the column of the state to
that of the authentication key."""

MAX_OCTETS = 32 * 2**20
"""Nor are the texts of one walk longer than this."""


class Column:
    """What a walk has found, and where it goes on. With a `limit` it ends there, as if the column did."""

    def __init__(self, at: str, column: str, limit: int | None = None) -> None:
        self.column = column
        self.found: list[tuple[str, Value]] = []
        self.last = column
        self._at = at
        self._base = arcs(column)
        self._reached = self._base
        self._limit = limit
        self._octets = 0

    def take(self, oid: str, value: Value) -> bool:
        """Keeps a row, False when it is beyond the column; SourceError if the agent turns in circles or never ends."""
        place = arcs(oid)
        if place[: len(self._base)] != self._base:
            if place < self._base:
                raise SourceError(f"{self._at} went backwards in a walk of {self.column}, to {oid}")
            return False
        if place <= self._reached:
            raise SourceError(f"{self._at} went backwards in a walk of {self.column}, to {oid}")
        if self.full:
            return False
        if self._limit is None and len(self.found) >= MAX_ROWS:
            raise SourceError(f"{self._at} has more than {MAX_ROWS} rows in {self.column}")
        self._octets += len(oid) + (0 if isinstance(value, int) else len(value))
        if self._octets > MAX_OCTETS:
            raise SourceError(f"{self._at} has more than {MAX_OCTETS} octets of values in {self.column}")
        self._reached = place
        self.last = oid
        self.found.append((oid, value))
        return True

    def end(self, beyond: list[str]) -> None:
        """What the agent said in the same PDU after the column's end: SourceError if that lies in the column again."""
        for oid in beyond:
            if arcs(oid)[: len(self._base)] == self._base:
                raise SourceError(f"{self._at} went backwards in a walk of {self.column}, to {oid}")

    @property
    def full(self) -> bool:
        """Whether as many rows as were wanted are there."""
        return self._limit is not None and len(self.found) >= self._limit
