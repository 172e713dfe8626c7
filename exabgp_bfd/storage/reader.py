"""Answers from the journal, over read-only connections beside the writer."""

from __future__ import annotations

import heapq
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, TypeVar

from exabgp_bfd.core.model import Event, EventQuery, Poll, Source, StoreError
from exabgp_bfd.core.notices import Alert
from exabgp_bfd.storage import database
from exabgp_bfd.storage.letters import LetterReader, alert_of
from exabgp_bfd.storage.queries import (
    LINKS,
    PAGE,
    Count,
    EventsQuery,
    EventStore,
    MessageQuery,
    QuarantinedLine,
    StoredEvent,
    StoredMessage,
    any_site,
    day_of,
)
from exabgp_bfd.storage.recording import POLLS, Kept, chunk_times, lost, poll_from, single_from
from exabgp_bfd.storage.route_queries import HistoryQuery
from exabgp_bfd.storage.route_reader import RouteReader, Values, matches
from exabgp_bfd.storage.routes import PLACES

logger = logging.getLogger(__name__)

T = TypeVar("T")
Query = TypeVar("Query", EventsQuery, MessageQuery)

_BUSY = 1.0
"""Seconds; a reader waits for a lock only while the journal is opened or closed."""
_IDLE = 8
_STEPS = 10_000
"""SQLite's virtual machine looks at the clock once in so many steps."""

_ROUTE_EVENTS = ("route_announce", "route_withdraw")
_EVENTS_AT_ONCE = 1_000
_INPUTS_AT_ONCE = 16
"""Rows; each may have a hundred kilobytes."""
_GREATEST = (1 << 63) - 1
_LEAST = -(1 << 63)
_SHAPES = 10_000
"""Contents of polls held at once while the input log is read; a chunk's are held in any case."""
_VARIABLES = 500

_EVENT = "SELECT id, ts, site, device, event_type, details, session, service, source, actor, cause FROM event"
_MESSAGE = "SELECT id, ts, time, type, neighbor, direction, line, mended FROM message"

_CHAIN = """
    WITH RECURSIVE link(place, number) AS (
        SELECT 1, ? UNION ALL
        SELECT place + 1, event.cause FROM link JOIN event ON event.id = link.number
        WHERE event.cause IS NOT NULL AND place < ?)
    SELECT id, ts, site, device, event_type, details, session, service, source, actor, cause
    FROM link JOIN event ON event.id = link.number ORDER BY link.place"""

_SENT = "send"
_COMMON_TYPES = frozenset({"update", "keepalive"})


class Reader(RouteReader, LetterReader, EventStore):
    """Answers questions from any thread; a connection is never used by two at once, and idle ones are kept.

    Every method raises StoreError when the journal cannot be read, or not within `seconds`.
    """

    def __init__(self, path: Path, *, seconds: float = 5.0, site: str = "") -> None:
        """`site` is whose journal it is, as questions name it."""
        self._path = path
        self._site = database.clean(site)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._idle: list[tuple[int, sqlite3.Connection]] = []
        self._closed = False

    def events(self, query: EventQuery) -> list[StoredEvent]:
        """The newest events that match, at most `limit`."""
        query = any_site(query)
        if self._elsewhere(query.site):
            return []
        where, values = self._event_where(query)
        rare = query.event_type is not None and query.event_type != Source.SNMP_POLL
        if rare:  # Said once more in the words of the partial indices, or SQLite would not use them.
            where += f" AND {database.RARE}"
        sql = f"{_EVENT} {_event_index(query, rare=rare)} {where} ORDER BY id DESC LIMIT ?"
        return self._answer(sql, (*values, _limit(query.limit)), _stored_event)

    def following(self, query: EventQuery, after: int) -> list[StoredEvent]:
        """The oldest events above the id `after` that match, at most `limit`: for whoever follows the trail."""
        equal = {
            "session": query.session,
            "service": query.service,
            "device": query.device,
            "event_type": query.event_type,
        }
        where, values = _where("event", equal, query)
        where = f"{where} AND id > ?" if where else "WHERE id > ?"
        rare = query.event_type is not None and query.event_type != Source.SNMP_POLL
        if rare:  # As in `events`.
            where += f" AND {database.RARE}"
        sql = f"{_EVENT} {_event_index(query, rare=rare)} {where} ORDER BY id LIMIT ?"
        return self._answer(sql, (*values, after, _limit(query.limit)), _stored_event)

    def event(self, number: int) -> StoredEvent | None:
        """One event by its id, or None."""
        found = self._answer(f"{_EVENT} WHERE id = ?", (number,), _stored_event)
        return found[0] if found else None

    def alerts(self, after: int, limit: int, *, polls: bool) -> list[Alert]:
        """The events above the id `after`, oldest first, at most `limit`; with `polls` those of each poll too."""
        rare = "" if polls else f"AND {database.RARE}"
        sql = f"{_EVENT} NOT INDEXED WHERE id > ? {rare} ORDER BY id LIMIT ?"
        return [alert_of(each) for each in self._answer(sql, (after, _limit(limit)), _stored_event)]

    def messages(self, query: MessageQuery) -> list[StoredMessage]:
        """The newest BGP messages that match, at most `limit`; one of type `gap` stands where some were dropped."""
        if self._elsewhere(query.site):
            return []
        if query.prefix is not None:
            return list(islice(self._about(query), _limit(query.limit)))
        where, values = self._message_where(query)
        if query.direction == _SENT:  # Once more as with events.
            where += f" AND {database.SENT}"
        sql = f"{_MESSAGE} {_message_index(query)} {where} ORDER BY id DESC LIMIT ?"
        return self._answer(sql, (*values, _limit(query.limit)), self._stored_message)

    def _about(self, query: MessageQuery) -> Iterator[StoredMessage]:
        """The messages that tell of a prefix, newest first."""
        before = query.before
        if query.cursor is not None and not self._elsewhere(query.cursor.site):
            before = min(query.cursor.number, query.cursor.number if before is None else before)
        changes = HistoryQuery(
            prefix=query.prefix,
            match=query.match,
            neighbor=query.neighbor,
            direction=query.direction,
            since=query.since,
            until=query.until,
            before=None if before is None else before << PLACES,
            limit=query.limit,
        )
        where, values = self._message_where(query)
        where = f"{where} AND" if where else "WHERE"
        for numbers in self.messages_about(changes):
            marks = ", ".join("?" * len(numbers))
            sql = f"{_MESSAGE} {where} id IN ({marks}) ORDER BY id DESC"
            yield from self._answer(sql, (*values, *numbers), self._stored_message)

    def newer_events(self, query: EventsQuery, number: int) -> list[StoredEvent]:
        """The newest events that match and have a greater id; whose cursor names another site is not left out."""
        if self._elsewhere(query.site):
            return []
        where, values = self._event_where(_own_cursor(query, self._elsewhere))
        sql = f"{_EVENT} {where} {'AND' if where else 'WHERE'} id > ? ORDER BY id DESC LIMIT ?"
        return self._answer(sql, (*values, number, _limit(query.limit)), _stored_event)

    def newer_messages(self, query: MessageQuery, number: int) -> list[StoredMessage]:
        """As with events."""
        if self._elsewhere(query.site):
            return []
        if query.prefix is not None:
            about = self._about(_own_cursor(query, self._elsewhere))
            return list(islice(takewhile(lambda each: each.id > number, about), _limit(query.limit)))
        where, values = self._message_where(_own_cursor(query, self._elsewhere))
        sql = f"{_MESSAGE} {where} {'AND' if where else 'WHERE'} id > ? ORDER BY id DESC LIMIT ?"
        return self._answer(sql, (*values, number, _limit(query.limit)), self._stored_message)

    def counts(self, query: EventQuery | MessageQuery) -> list[Count]:
        """How many match per day and type, the newest day first."""
        if isinstance(query, MessageQuery):
            site, table, kind = query.site, "message", "type"
            where, values = self._message_where(replace(query, before=None, cursor=None))
            also, keys = matches("prefix", query.prefix, query.match)
            if also:
                about = f"id IN (SELECT id >> {PLACES} FROM change WHERE TRUE{also})"  # noqa: S608 - our own names  # nosec B608
                where, values = f"{where} AND {about}" if where else f"WHERE {about}", [*values, *keys]
        else:
            query = any_site(query)
            site, table, kind = query.site, "event", "event_type"
            where, values = self._event_where(replace(query, before=None, cursor=None))
        if self._elsewhere(site):
            return []
        if self._is_tallied(query):
            sql, named = _tallied(table, query)
            return self._answer(sql, named, _count)
        sql = (
            f"SELECT {database.DAY_OF}, {kind}, count(*) FROM {table} {where}"  # noqa: S608 - our own names  # nosec B608
            f" GROUP BY 1, 2 ORDER BY 1 DESC, 2 LIMIT {PAGE}"
        )
        return self._answer(sql, values, _count)

    def _is_tallied(self, query: EventsQuery | MessageQuery) -> bool:
        """Whether nothing but types and times matters."""
        if isinstance(query, MessageQuery):
            return query.neighbor is None and query.direction is None and query.prefix is None
        of_something = (query.session, query.service, query.device, None if self._site else query.site)
        return all(each is None for each in of_something)

    def chain(self, number: int) -> list[StoredEvent]:
        """An event and what caused it, cause by cause."""
        return self._answer(_CHAIN, (number, LINKS), _stored_event)

    def _elsewhere(self, site: str | None) -> bool:
        return site is not None and bool(self._site) and database.clean(site) != self._site

    def _event_where(self, query: EventsQuery) -> tuple[str, list[object]]:
        equal = {
            "session": query.session,
            "service": query.service,
            "device": query.device,
            "event_type": query.event_type,
            "site": None if self._site else query.site,
        }
        return _where("event", equal, query, self._before(query))

    def _message_where(self, query: MessageQuery) -> tuple[str, list[object]]:
        equal = {"neighbor": query.neighbor, "type": query.type, "direction": query.direction}
        return _where("message", equal, query, self._before(query))

    def _stored_message(self, row: tuple[Any, ...]) -> StoredMessage:
        number, ts, time_, kind, neighbor, direction, line, mended = row
        return StoredMessage(number, ts, time_, kind, neighbor, direction, line, self._site, mended=mended)

    def _before(self, query: EventsQuery | MessageQuery) -> tuple[str, tuple[object, ...]]:
        """What follows the cursor; after another site's record that is a matter of time, in one's own of numbers."""
        cursor = query.cursor
        if cursor is None:
            return "", ()
        if not self._elsewhere(cursor.site):
            return "id < ?", (cursor.number,)
        return "(ts, id) < (?, ?)", (cursor.at, cursor.number)

    def quarantined(self, limit: int = 50) -> list[QuarantinedLine]:
        """The newest lines from ExaBGP that could not be understood."""
        sql = "SELECT id, ts, reason, line FROM quarantine ORDER BY id DESC LIMIT ?"
        return self._answer(sql, (_limit(limit),), lambda row: QuarantinedLine(*row))

    def route_events(self, since: int | None, until: int | None) -> Iterator[StoredEvent]:
        """The announces and withdraws of a time (microseconds since the epoch), oldest first, a little at a time."""
        each = [self._events_of(event_type, since, until) for event_type in _ROUTE_EVENTS]
        return heapq.merge(*each, key=lambda stored: stored.id)

    def _events_of(self, event_type: str, since: int | None, until: int | None) -> Iterator[StoredEvent]:
        where, values = _where("event", {"event_type": event_type}, EventQuery(since=since, until=until))
        sql = f"{_EVENT} INDEXED BY event_type {where} AND id > ? ORDER BY id LIMIT {_EVENTS_AT_ONCE}"
        last = 0
        while found := self._answer(sql, (*values, last), _stored_event):
            yield from found
            last = found[-1].id

    def inputs(self, since: int | None = None, until: int | None = None) -> Iterator[Kept]:
        """What came into the engine, in order, read a little at a time; times are microseconds since the epoch.

        It begins at the latest Start at or before `since`, or with the first row that is kept. Where something was
        lost or cannot be read, a Note of type `inputs_lost` stands in its place.
        """
        starts = "SELECT max(id) FROM input WHERE kind = 'start' AND ts <= ?"
        begin = None if since is None else self._answer(starts, (since,), _number)[0]
        last = None if until is None else self._last_input(until)
        if until is not None and last is None:
            return
        shapes: dict[int, Poll | None] = {}
        sql = "SELECT id, ts, now, kind, body FROM input WHERE id >= ? AND id <= ? ORDER BY id LIMIT ?"
        place = begin or 0
        while rows := self._answer(sql, (place, last or _GREATEST, _INPUTS_AT_ONCE), tuple):
            for row in rows:
                for kept in self._unfold(row, shapes):
                    if until is not None and row[0] == last and kept.wall > until:
                        return
                    yield kept
            place = rows[-1][0] + 1

    def _last_input(self, until: int) -> int | None:
        # The last by number, not all by time: where the clock was wrong for a moment, nothing is left out in between.
        sql = (
            "SELECT id FROM input WHERE ts <= ? AND id < (SELECT (max(part) + 1) << ? FROM span"
            " WHERE kind = 'input' AND first_ts <= ?) ORDER BY id DESC LIMIT 1"
        )
        found = self._answer(sql, (until, database.PART, until), _number)
        return found[0] if found else None

    def _unfold(self, row: tuple[Any, ...], shapes: dict[int, Poll | None]) -> Iterator[Kept]:
        number, ts, now, kind, body = row
        try:
            if kind != POLLS:
                event, restored = single_from(kind, body)
                yield Kept(ts, now / 1_000_000, event, restored)
                return
            times = chunk_times(body, now)
        except ValueError as error:
            logger.error("the journal %s: input %d is left out: %s", self._path, number, error)
            yield Kept(ts, now / 1_000_000, lost({"row": number, "reason": str(error)}))
            return
        if len(shapes) > _SHAPES:
            shapes.clear()
        self._fetch_shapes({shape for _, shape in times} - shapes.keys(), shapes)
        for time_, shape in times:
            poll = shapes[shape]
            event = lost({"row": number, "shape": shape}) if poll is None else poll
            yield Kept(ts + time_ - now, time_ / 1_000_000, event)

    def _fetch_shapes(self, wanted: set[int], shapes: dict[int, Poll | None]) -> None:
        numbers = sorted(wanted)
        for start in range(0, len(numbers), _VARIABLES):
            some = numbers[start : start + _VARIABLES]
            marks = ", ".join("?" * len(some))
            found = dict(self._answer(f"SELECT id, body FROM shape WHERE id IN ({marks})", some, tuple))  # noqa: S608 - marks  # nosec B608
            for number in some:
                shapes[number] = self._shape(number, found.get(number))

    def _shape(self, number: int, body: bytes | None) -> Poll | None:
        try:
            if body is not None:
                return poll_from(body)
            reason = "it is not there"
        except ValueError as error:
            reason = str(error)
        logger.error("the journal %s: the polls of shape %d are left out: %s", self._path, number, reason)
        return None

    def close(self) -> None:
        """Closes every idle connection now, and each one in use when its answer is there."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _answer(self, sql: str, values: Values, make: Callable[[tuple[Any, ...]], T]) -> list[T]:
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


def _own_cursor(query: Query, elsewhere: Callable[[str], bool]) -> Query:
    """The question without another site's place, which whoever has that site's records compares."""
    return query if query.cursor is None or not elsewhere(query.cursor.site) else replace(query, cursor=None)


def _tallied(table: str, query: EventsQuery | MessageQuery) -> tuple[str, dict[str, object]]:
    """Counts from the tallies of whole parts, and from the rows of those that a time cuts in two.

    A part whose tallies are not of all its rows is one of an older layout: its rows are counted too.
    """
    of_type = query.type if isinstance(query, MessageQuery) else query.event_type
    kind = database.TYPES[table]
    values: dict[str, object] = {
        "kind": table,
        "type": None if of_type is None else database.clean(of_type),
        "since": _LEAST if query.since is None else query.since,
        "until": _GREATEST if query.until is None else query.until,
    }
    sql = f"""
        WITH whole AS MATERIALIZED (
            SELECT part FROM span WHERE kind = :kind AND first_ts >= :since AND last_ts <= :until AND rows =
                (SELECT sum(tally.rows) FROM tally WHERE tally.kind = span.kind AND tally.part = span.part)),
        cut AS MATERIALIZED (
            SELECT part FROM span WHERE kind = :kind AND last_ts >= :since AND first_ts <= :until
                AND part NOT IN (SELECT part FROM whole))
        SELECT day, type, sum(rows) FROM (
            SELECT day, type, rows FROM whole CROSS JOIN tally ON tally.kind = :kind AND tally.part = whole.part
            UNION ALL
            SELECT {database.DAY_OF}, {kind}, 1 FROM cut CROSS JOIN {table}
                ON {table}.id >= cut.part << {database.PART} AND {table}.id < (cut.part + 1) << {database.PART}
            WHERE ts >= :since AND ts <= :until)
        WHERE :type IS NULL OR type = :type
        GROUP BY 1, 2 ORDER BY 1 DESC, 2 LIMIT {PAGE}"""  # noqa: S608 - our own names  # nosec B608
    return sql, values


def _count(row: tuple[Any, ...]) -> Count:
    return Count(day_of(row[0]), row[1], row[2])


def _number(row: tuple[Any, ...]) -> int | None:
    return None if row[0] is None else int(row[0])


def _limit(limit: int) -> int:
    return max(0, min(limit, PAGE))


def _event_index(query: EventQuery, *, rare: bool) -> str:
    # Named, because without statistics SQLite may pick the index of a type that half of all events have.
    typed = "_type" if rare else ""
    if query.session is not None:
        return f"INDEXED BY event_session{typed}"
    if query.service is not None:
        if query.device is not None:
            return "INDEXED BY event_service_device"
        return "INDEXED BY event_service" if query.event_type is None else "INDEXED BY event_service_type"
    if query.device is not None:
        return f"INDEXED BY event_device{typed}"
    return "INDEXED BY event_type" if query.event_type is not None else "NOT INDEXED"


def _message_index(query: MessageQuery) -> str:
    rare = query.type is not None and query.type not in _COMMON_TYPES
    if query.direction == _SENT and not rare:
        return "INDEXED BY message_sent"
    if query.neighbor is not None and not rare:
        return "INDEXED BY message_neighbor"
    return "INDEXED BY message_type" if query.type is not None else "NOT INDEXED"


def _where(
    kind: str,
    equal: dict[str, str | None],
    query: EventQuery | MessageQuery,
    after: tuple[str, tuple[object, ...]] = ("", ()),
) -> tuple[str, list[object]]:
    terms = [after[0]] if after[0] else []
    values = list(after[1])
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
