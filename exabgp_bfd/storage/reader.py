"""Answers from the journal, over read-only connections beside the writer."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from exabgp_bfd.core.model import Event, EventQuery, Source, StoreError
from exabgp_bfd.storage import database
from exabgp_bfd.storage.queries import PAGE, EventStore, MessageQuery, QuarantinedLine, StoredEvent, StoredMessage

T = TypeVar("T")

_BUSY = 1.0
"""Seconds; a reader waits for a lock only while the journal is opened or closed."""
_IDLE = 8
_STEPS = 10_000
"""SQLite's virtual machine looks at the clock once in so many steps."""

_EVENT = "SELECT id, ts, site, device, event_type, details, session, service, source, actor, cause FROM event"
_MESSAGE = "SELECT id, ts, time, type, neighbor, direction, line FROM message"

_COMMON_TYPES = frozenset({"update", "keepalive"})


class Reader(EventStore):
    """Answers questions from any thread; a connection is never used by two at once, and idle ones are kept.

    Every method raises StoreError when the journal cannot be read, or not within `seconds`.
    """

    def __init__(self, path: Path, *, seconds: float = 5.0) -> None:
        self._path = path
        self._seconds = seconds
        self._lock = threading.Lock()
        self._idle: list[tuple[int, sqlite3.Connection]] = []
        self._closed = False

    def events(self, query: EventQuery) -> list[StoredEvent]:
        """The newest events that match, at most `limit`."""
        equal = {
            "session": query.session,
            "service": query.service,
            "device": query.device,
            "event_type": query.event_type,
        }
        where, values = _where("event", equal, query)
        rare = query.event_type is not None and query.event_type != Source.SNMP_POLL
        if rare:  # Said once more in the words of the partial indices, or SQLite would not use them.
            where += f" AND {database.RARE}"
        sql = f"{_EVENT} {_event_index(query, rare=rare)} {where} ORDER BY id DESC LIMIT ?"
        return self._answer(sql, (*values, _limit(query.limit)), _stored_event)

    def event(self, number: int) -> StoredEvent | None:
        """One event by its id, or None."""
        found = self._answer(f"{_EVENT} WHERE id = ?", (number,), _stored_event)
        return found[0] if found else None

    def messages(self, query: MessageQuery) -> list[StoredMessage]:
        """The newest BGP messages that match, at most `limit`; one of type `gap` stands where some were dropped."""
        equal = {"neighbor": query.neighbor, "type": query.type, "direction": query.direction}
        where, values = _where("message", equal, query)
        sql = f"{_MESSAGE} {_message_index(query)} {where} ORDER BY id DESC LIMIT ?"
        return self._answer(sql, (*values, _limit(query.limit)), _stored_message)

    def quarantined(self, limit: int = 50) -> list[QuarantinedLine]:
        """The newest lines from ExaBGP that could not be understood."""
        sql = "SELECT id, ts, reason, line FROM quarantine ORDER BY id DESC LIMIT ?"
        return self._answer(sql, (_limit(limit),), lambda row: QuarantinedLine(*row))

    def close(self) -> None:
        """Closes every idle connection now, and each one in use when its answer is there."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _answer(self, sql: str, values: Sequence[object], make: Callable[[tuple[Any, ...]], T]) -> list[T]:
        try:
            with self._connection() as connection:
                deadline = time.monotonic() + self._seconds
                connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
                return [make(row) for row in connection.execute(sql, values)]
        except (sqlite3.Error, ValueError, OverflowError, OSError) as error:
            raise StoreError(f"{self._path}: cannot be read: {error}") from error

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # A journal that was set aside and begun anew is another file under the same name.
        inode = self._path.stat().st_ino
        connection = self._take(inode)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if not self._closed and len(self._idle) < _IDLE:
                self._idle.append((inode, connection))
                return
        connection.close()

    def _take(self, inode: int) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise StoreError(f"{self._path}: the reader is closed")
            while self._idle:
                known, connection = self._idle.pop()
                if known == inode:
                    return connection
                connection.close()
        return database.connect(self._path, "ro", _BUSY, shared=True)


def _limit(limit: int) -> int:
    return max(0, min(limit, PAGE))


def _event_index(query: EventQuery, *, rare: bool) -> str:
    # Named, because without statistics SQLite may pick the index of a type that half of all events have.
    typed = "_type" if rare else ""
    if query.session is not None:
        return f"INDEXED BY event_session{typed}"
    if query.service is not None:
        return "INDEXED BY event_service"
    if query.device is not None:
        return f"INDEXED BY event_device{typed}"
    return "INDEXED BY event_type" if query.event_type is not None else "NOT INDEXED"


def _message_index(query: MessageQuery) -> str:
    rare = query.type is not None and query.type not in _COMMON_TYPES
    if query.neighbor is not None and not rare:
        return "INDEXED BY message_neighbor"
    return "INDEXED BY message_type" if query.type is not None else "NOT INDEXED"


def _where(kind: str, equal: dict[str, str | None], query: EventQuery | MessageQuery) -> tuple[str, list[object]]:
    terms: list[str] = []
    values: list[object] = []
    for column, value in equal.items():
        if value is not None:
            terms.append(f"{column} = ?")
            values.append(database.clean(value))
    if query.before is not None:
        terms.append("id < ?")
        values.append(query.before)
    # The spans bound the ids to look at. Exact even where the wall clock went backwards, as ts itself is compared too.
    if query.since is not None:
        terms.append("ts >= ? AND id >= (SELECT min(part) << ? FROM span WHERE kind = ? AND last_ts >= ?)")
        values += (query.since, database.PART, kind, query.since)
    if query.until is not None:
        terms.append("ts <= ? AND id < (SELECT (max(part) + 1) << ? FROM span WHERE kind = ? AND first_ts <= ?)")
        values += (query.until, database.PART, kind, query.until)
    return ("WHERE " + " AND ".join(terms) if terms else ""), values


def _stored_event(row: tuple[Any, ...]) -> StoredEvent:
    number, ts, site, device, event_type, details, session, service, source, actor, cause = row
    event = Event(
        id=number,
        event_type=event_type,
        device=device,
        session=session,
        service=service,
        source=source,
        actor=actor,
        cause=cause,
        details=json.loads(details),
    )
    return StoredEvent(event=event, ts=ts, site=site)


def _stored_message(row: tuple[Any, ...]) -> StoredMessage:
    return StoredMessage(*row)
