"""Alerts that could not be delivered (table `dead_letter`), and the events that alerts are made of."""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from exabgp_bfd.core.notices import Alert, Kept, Letter
from exabgp_bfd.storage.queries import PAGE, StoredEvent

KEEP: Final = 1_000
"""How many dead letters are kept for each endpoint; the oldest go."""

T = TypeVar("T")

TABLE: Final = (
    # `name` is the webhook-id. A number is given once, whatever is deleted.
    """CREATE TABLE dead_letter (
        id INTEGER PRIMARY KEY AUTOINCREMENT, ts INTEGER NOT NULL, endpoint TEXT NOT NULL, event INTEGER NOT NULL,
        name TEXT NOT NULL, body TEXT NOT NULL, tries INTEGER NOT NULL, reason TEXT NOT NULL, again INTEGER NOT NULL,
        UNIQUE (endpoint, name))""",
)

_PUT = (
    "INSERT INTO dead_letter (ts, endpoint, event, name, body, tries, reason, again) VALUES (?, ?, ?, ?, ?, ?, ?, 0)"
    " ON CONFLICT (endpoint, name) DO UPDATE SET"
    " ts = excluded.ts, tries = excluded.tries, reason = excluded.reason, again = 0"
)
_TRIM = (
    "DELETE FROM dead_letter WHERE endpoint = ? AND id <="
    " (SELECT id FROM dead_letter WHERE endpoint = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"
)
_LETTER = "SELECT endpoint, event, name, body, tries, reason, ts, id, again FROM dead_letter"
_GREATEST: Final = (1 << 63) - 1


def put_letters(connection: sqlite3.Connection, letters: Sequence[Letter], clean: Callable[[str], str]) -> None:
    """Inserts letters, or renews what is known of them; the oldest of each endpoint go where there are too many."""
    connection.executemany(
        _PUT,
        [
            (each.ts, clean(each.endpoint), each.event, each.name, clean(each.body), each.tries, clean(each.reason))
            for each in letters
        ],
    )
    for endpoint in {clean(each.endpoint) for each in letters}:
        connection.execute(_TRIM, (endpoint, endpoint, KEEP))


def drop_letters(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Removes letters."""
    connection.executemany("DELETE FROM dead_letter WHERE id = ?", [(number,) for number in numbers])


def mark_letters(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Notes that letters shall be sent again."""
    connection.executemany("UPDATE dead_letter SET again = 1 WHERE id = ?", [(number,) for number in numbers])


class LetterReader:
    """The part of the reader that answers about alerts; whoever inherits it brings the connections."""

    @abstractmethod
    def _answer(self, sql: str, values: Sequence[object], make: Callable[[tuple[Any, ...]], T]) -> list[T]:
        """The rows of a statement; raises StoreError."""

    def letters(self, limit: int, endpoint: str | None = None, before: int | None = None) -> list[Letter]:
        """Dead letters, newest first."""
        where, values = "id < ?", list[object]([_GREATEST if before is None else before])
        if endpoint is not None:
            where += " AND endpoint = ?"
            values.append(endpoint)
        sql = f"{_LETTER} WHERE {where} ORDER BY id DESC LIMIT ?"
        return self._answer(sql, (*values, max(0, min(limit, PAGE))), _letter)

    def letter(self, number: int) -> Letter | None:
        """One dead letter, None where it is not there (any more)."""
        found = self._answer(f"{_LETTER} WHERE id = ?", (number,), _letter)
        return found[0] if found else None

    def letters_again(self, endpoint: str, after: int, limit: int) -> list[Letter]:
        """The dead letters of an endpoint behind a number that shall be sent again, oldest first."""
        sql = f"{_LETTER} WHERE endpoint = ? AND id > ? AND again = 1 ORDER BY id LIMIT ?"
        return self._answer(sql, (endpoint, after, limit), _letter)


def alert_of(stored: StoredEvent) -> Alert:
    """An event as it is sent."""
    return Alert(stored.id, stored.ts, stored.site, stored.event.event_type, stored.document())


def kept_text(kept: Kept) -> str:
    """How far a courier has come, as it is kept."""
    return f"{kept.position} {kept.gone or ''}".strip()


def kept_from(text: str | None) -> tuple[int, str | None] | None:
    """How far a courier had come, and the fingerprint of an endpoint that is gone; None: nothing is known."""
    position, _, gone = (text or "").partition(" ")
    return (int(position), gone or None) if position.isascii() and position.isdigit() and len(position) < 19 else None


def _letter(row: tuple[Any, ...]) -> Letter:
    endpoint, event, name, body, tries, reason, ts, number, again = row
    return Letter(endpoint, event, name, body, tries, reason, ts, number, bool(again))
