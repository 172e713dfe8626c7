"""Events and BGP messages of a journal as NDJSON, one object a line, and back: ids, times and sites stay as they are.

The first line tells of what journal it is, the last how much came. Reading goes on beside a running program, a little
at a time, so that its log of writes can be taken up meanwhile; nothing is held in memory but a few rows.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

from exabgp_bfd import __version__
from exabgp_bfd.core.model import StoreError
from exabgp_bfd.storage import database
from exabgp_bfd.storage.queries import rfc3339
from exabgp_bfd.storage.routes import PLACES
from exabgp_bfd.storage.tail import Place, late_key, late_text, name_of, parse_late, place_key, with_late

logger = logging.getLogger(__name__)

FORMAT = 1
LONGEST = 32 << 20
"""Bytes of a line; ExaBGP's own are a few kilobytes."""

_AT_ONCE = 500
"""Rows read or written at once."""
_BUSY = 2.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GREATEST = (1 << 63) - 1
_LAST_ID = 1 << 62
_LAST_MESSAGE = (1 << (63 - PLACES)) - (1 << 32)
"""What a message tells of routes has its number, shifted, and those after it must have room, too."""
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?(Z|[+-]\d\d:\d\d)")
_TABLES = {
    "event": ("id", "ts", "site", "device", "event_type", "details", "session", "service", "source", "actor", "cause"),
    "message": ("id", "ts", "time", "type", "neighbor", "direction", "line", "mended"),
}


class Kind(StrEnum):
    """What is exported."""

    EVENTS = "events"
    MESSAGES = "messages"
    ALL = "all"

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that have it."""
        return {Kind.EVENTS: ("event",), Kind.MESSAGES: ("message",), Kind.ALL: ("event", "message")}[self]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records are exported; times in microseconds since the epoch, both inclusive."""

    kind: Kind = Kind.ALL
    since: int | None = None
    until: int | None = None


class BadLineError(ValueError):
    """A line of an export that cannot be taken."""


@dataclass(slots=True)
class Taken:
    """What became of an export's lines."""

    added: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_TABLES, 0))
    duplicates: int = 0
    """Records that were there already."""
    conflicts: int = 0
    """Records whose id something else has; what was there stays."""
    bad: int = 0
    """Lines that are no record."""
    whole: bool = False
    """Whether the last line came, and told of as many records as there were."""


# --- out ------------------------------------------------------------------------------------------------------------


def export(path: Path, wanted: Wanted, write: Callable[[bytes], object]) -> dict[str, int]:
    """Hands every line to `write`, each kind oldest first; how many records of each. Raises StoreError.

    What is written to the journal meanwhile is left out; what retention removes meanwhile may be missing.
    """
    try:
        with closing(_open(path)) as connection:
            header = _header(connection, path, wanted)
            write(_line(header))
            counts: dict[str, int] = {}
            for table in wanted.kind.tables:
                counts[f"{table}s"] = 0
                for row in _rows(connection, table, header[f"last_{table}"], wanted):
                    write(_line(_DOCUMENTS[table](row)))
                    counts[f"{table}s"] += 1
            write(_line({"kind": "end", **counts}))
            return counts
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise StoreError(f"{path}: there is no journal")
    connection = database.connect(path, "ro", _BUSY)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        # On a read-only medium SQLite cannot make the index of the log; where there is no log, none is needed.
        log = path.with_name(path.name + "-wal")
        refused = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)
        if error.sqlite_errorcode & 0xFF not in refused or (log.exists() and log.stat().st_size):
            raise
        return database.connect(path, "immutable", _BUSY)
    except BaseException:
        connection.close()
        raise
    return connection


def _header(connection: sqlite3.Connection, path: Path, wanted: Wanted) -> dict[str, Any]:
    layout = database.layout(connection, path)
    meta = dict(connection.execute("SELECT key, value FROM meta WHERE key = 'journal'"))
    site = connection.execute("SELECT site FROM event ORDER BY id DESC LIMIT 1").fetchone()
    last = {
        f"last_{table}": connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0]  # noqa: S608 - our names  # nosec B608
        for table in _TABLES
    }
    return {
        "kind": "journal",
        "format": FORMAT,
        "version": __version__,
        "site": None if site is None else site[0],
        "journal": meta.get("journal"),
        "layout": layout,
        "made": rfc3339(time.time_ns() // 1000),
        "records": wanted.kind.value,
        "since": None if wanted.since is None else rfc3339(wanted.since),
        "until": None if wanted.until is None else rfc3339(wanted.until),
        **last,
    }


def _rows(connection: sqlite3.Connection, table: str, last: int, wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    """By the parts that may hold such times, in short questions: none keeps the writer's log from being taken up."""
    since = -_GREATEST if wanted.since is None else wanted.since
    until = _GREATEST if wanted.until is None else wanted.until
    parts = connection.execute(
        "SELECT part FROM span WHERE kind = ? AND last_ts >= ? AND first_ts <= ? ORDER BY part", (table, since, until)
    ).fetchall()
    sql = (
        f"SELECT {_columns(connection, table)} FROM {table} NOT INDEXED"  # noqa: S608 - our names  # nosec B608
        " WHERE id > ? AND id < ? AND ts >= ? AND ts <= ? ORDER BY id LIMIT ?"
    )
    for (part,) in parts:
        after, end = (part << database.PART) - 1, min((part + 1) << database.PART, last + 1)
        while rows := connection.execute(sql, (after, end, since, until, _AT_ONCE)).fetchall():
            yield from rows
            after = rows[-1][0]


def _columns(connection: sqlite3.Connection, table: str) -> str:
    """What is read: a column that a journal of an earlier layout has not is empty."""
    there = database.columns(connection, table)
    return ", ".join(column if column in there else f"NULL AS {column}" for column in _TABLES[table])


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


def _event(row: tuple[Any, ...]) -> dict[str, Any]:
    told = dict(zip(_TABLES["event"], row, strict=True))
    text = told["details"]
    try:
        details = json.loads(text)
        exact = isinstance(details, dict) and _compact(details) == text
    except (ValueError, RecursionError):
        details, exact = None, False
    return {
        "kind": "event",
        **told,
        "ts": _rfc3339(told["ts"]),
        "details": details if exact else None,
        "ts_us": told["ts"],
        # Only where the text is other than we would write it, so that it comes back as it was.
        **({} if exact else {"details_text": text}),
    }


def _message(row: tuple[Any, ...]) -> dict[str, Any]:
    told = dict(zip(_TABLES["message"], row, strict=True))
    times = {"ts": _rfc3339(told["ts"]), "time": None if told["time"] is None else _rfc3339(told["time"])}
    mended = told.pop("mended")
    document = {"kind": "message", **told, **times, "ts_us": told["ts"], "time_us": told["time"]}
    return document if mended is None else {**document, "mended": mended}


_DOCUMENTS: Mapping[str, Callable[[tuple[Any, ...]], dict[str, Any]]] = {"event": _event, "message": _message}


def _rfc3339(microseconds: int) -> str | None:
    try:
        return rfc3339(microseconds)
    except OverflowError:
        return None


def _compact(details: object) -> str:
    return json.dumps(details, separators=(",", ":"), allow_nan=False)


# --- in -------------------------------------------------------------------------------------------------------------


def take(lines: Iterable[bytes], path: Path, complain: Callable[[int, str], None]) -> Taken:
    """Puts an export's records into a journal, a new one or one that nobody writes; raises StoreError.

    `complain` is told of each line that is left out: its number and why.
    """
    with _writing(path) as connection:
        writer = _Writer(connection, complain)
        for number, record in _records(lines, writer.taken, complain):
            writer.put(number, *record)
        writer.finish()
        return writer.taken


def examine(lines: Iterable[bytes], path: Path, complain: Callable[[int, str], None]) -> Taken:
    """The same without writing: what `take` would leave out; `added` is what would be added or is a duplicate."""
    taken = Taken()
    known = _open(path) if path.is_file() and path.stat().st_size else None
    try:
        if known is not None:
            database.layout(known, path)
        for number, (table, row) in _records(lines, taken, complain):
            taken.added[table] += 1
            there = None if known is None else _there(known, table, [row[0]]).get(row[0])
            if there is not None and there != row:
                taken.conflicts += 1
                complain(number, f"{table} {row[0]} is another one there")
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error
    finally:
        if known is not None:
            known.close()
    return taken


Record = tuple[str, tuple[Any, ...]]


@contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        hold = database.Hold(path)
        try:
            database.create(path)
            with closing(database.connect(path, "rw", _BUSY)) as connection:
                database.prepare(connection, path)
                database.check(connection)
                yield connection
        finally:
            hold.release()
    except (sqlite3.Error, OSError, database.Damaged) as error:
        raise StoreError(f"{path}: cannot be written: {error}") from error


class _Writer:
    """Collects records and writes them in transactions."""

    def __init__(self, connection: sqlite3.Connection, complain: Callable[[int, str], None]) -> None:
        self.taken = Taken()
        self._connection = connection
        self._complain = complain
        self._waiting: dict[str, dict[int, tuple[int, tuple[Any, ...]]]] = {table: {} for table in _TABLES}
        self._ends: dict[str, tuple[int, int]] = {}
        """Per table the least and the greatest id that was added."""

    def put(self, number: int, table: str, row: tuple[Any, ...]) -> None:
        """Takes a record that stood on line `number`."""
        waiting = self._waiting[table]
        if row[0] in waiting or len(waiting) >= _AT_ONCE:
            self._write(table)
        waiting[row[0]] = (number, row)

    def finish(self) -> None:
        """Writes what waits, and makes sure of everything."""
        for table in _TABLES:
            self._write(table)
        contents = database.load(self._connection)
        with database.transaction(self._connection, durable=True):
            last = {"last_event": str(contents.last_event), "last_message": str(contents.last_message)}
            database.put_meta(self._connection, last | self._to_ship(contents.meta))

    def _to_ship(self, meta: Mapping[str, str]) -> dict[str, str]:
        """What a copy elsewhere is behind with now, where it had come beyond ids that were added."""
        told = {}
        begun = (*meta.get("begun", "").split(), "0", "0")[:2]
        for table, before in zip(_TABLES, map(int, begun), strict=True):
            place = Place.parse(meta.get(place_key(table)))
            first, last = self._ends.get(table, (1, 0))
            end = min(last, max(place.number, before))
            if not place.journal or first > end:
                continue
            # By this journal's name, and only what is not there by another's: an export comes from such a one.
            late = with_late(parse_late(meta.get(late_key(table))), Place(name_of(meta), place.site, first - 1, 0, end))
            told[late_key(table)] = late_text(late)
        return told

    def _write(self, table: str) -> None:
        waiting = self._waiting[table]
        there = _there(self._connection, table, list(waiting))
        fresh = [row for number, (_, row) in waiting.items() if number not in there]
        for identity, found in there.items():
            line, row = waiting[identity]
            if row == found:
                self.taken.duplicates += 1
            else:
                self.taken.conflicts += 1
                self._complain(line, f"{table} {identity} is another one there, which stays")
        waiting.clear()
        if not fresh:
            return
        columns = _TABLES[table]
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - our names  # nosec B608
        with database.transaction(self._connection, durable=False):
            self._connection.executemany(sql, fresh)
            for part in {row[0] >> database.PART for row in fresh}:
                database.recount(self._connection, table, part)
        self.taken.added[table] += len(fresh)
        numbers = [row[0] for row in fresh]
        first, last = self._ends.get(table, (numbers[0], numbers[0]))
        self._ends[table] = (min(first, *numbers), max(last, *numbers))


def _there(connection: sqlite3.Connection, table: str, numbers: list[int]) -> dict[int, tuple[Any, ...]]:
    """The rows that have these ids already; at most `_AT_ONCE` are asked for."""
    marks = ", ".join("?" * len(numbers))
    sql = f"SELECT {_columns(connection, table)} FROM {table} WHERE id IN ({marks})"  # noqa: S608 - our names  # nosec B608
    return {row[0]: row for row in connection.execute(sql, numbers)}


def _records(
    lines: Iterable[bytes], taken: Taken, complain: Callable[[int, str], None]
) -> Iterator[tuple[int, Record]]:
    """Each record with the number of its line; raises StoreError when it is no export of ours at all."""
    site: str | None = None
    seen = dict.fromkeys((f"{table}s" for table in _TABLES), 0)
    first = True
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            document = _document(line)
            kind = document.get("kind")
            if first:
                _is_ours(document)
                site = _optional(document, "site")
                first = False
                continue
            if kind == "end":
                taken.whole = all(document.get(each, 0) == count for each, count in seen.items())
                continue
            table, row = _made(document, site, seen)
        except BadLineError as error:
            if first:
                raise StoreError(f"line {number}: {error}: this is no export of exabgp-bfd") from None
            taken.bad += 1
            complain(number, str(error))
            continue
        yield number, (table, row)
    if first:
        raise StoreError("it is empty: this is no export of exabgp-bfd")


def _made(document: Mapping[str, Any], site: str | None, seen: dict[str, int]) -> Record:
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in _ROWS:
        raise BadLineError(f"is of no kind that this version knows: {kind!r}"[:200])
    seen[f"{kind}s"] += 1
    return kind, _ROWS[kind](document, site)


def _document(line: bytes) -> dict[str, Any]:
    if len(line) > LONGEST:
        raise BadLineError(f"is longer than {LONGEST} bytes")
    try:
        document = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadLineError(f"is no JSON: {error}"[:200]) from None
    if not isinstance(document, dict):
        raise BadLineError("is no JSON object")
    return document


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _is_ours(document: Mapping[str, Any]) -> None:
    if document.get("kind") != "journal" or not isinstance(document.get("format"), int):
        raise BadLineError("does not say of which journal it is")
    if document["format"] > FORMAT:
        raise StoreError(f"was written by a newer exabgp-bfd ({document.get('version')}): install that version")


def _event_row(document: Mapping[str, Any], site: str | None) -> tuple[Any, ...]:
    text = _optional(document, "details_text")
    if text is None:
        details = document.get("details")
        if not isinstance(details, dict):
            raise BadLineError("details: is no object")
        try:
            text = _compact(details)
        except (ValueError, RecursionError) as error:
            raise BadLineError(f"details: {error}") from None
    cause = document.get("cause")
    return (
        _number(document),
        _moment(document, "ts"),
        _text({"site": site, **document}, "site"),
        _optional(document, "device"),
        _text(document, "event_type"),
        text,
        *(_optional(document, key) for key in ("session", "service", "source", "actor")),
        None if cause is None else _whole(cause, "cause"),
    )


def _message_row(document: Mapping[str, Any], _site: str | None) -> tuple[Any, ...]:
    told = document.get("time_us") is not None or document.get("time") is not None
    return (
        _number(document, _LAST_MESSAGE),
        _moment(document, "ts"),
        _moment(document, "time") if told else None,
        _text(document, "type"),
        _optional(document, "neighbor"),
        _optional(document, "direction"),
        _text(document, "line"),
        _optional(document, "mended"),
    )


_ROWS: Mapping[str, Callable[[Mapping[str, Any], str | None], tuple[Any, ...]]] = {
    "event": _event_row,
    "message": _message_row,
}


def _number(document: Mapping[str, Any], last: int = _LAST_ID) -> int:
    number = _whole(document.get("id"), "id")
    if not 0 < number <= last:
        raise BadLineError(f"id: {number} is none: at most {last} is")
    return number


def _whole(value: object, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _GREATEST:
        raise BadLineError(f"{key}: is no number of 64 bits")
    return value


def _moment(document: Mapping[str, Any], key: str) -> int:
    """Microseconds since the epoch: as such where they are given, else from RFC 3339."""
    exact = document.get(f"{key}_us")
    if exact is not None:
        return _whole(exact, f"{key}_us")
    text = document.get(key)
    if isinstance(text, str) and _TIME.fullmatch(text):
        with suppress(ValueError, OverflowError):
            return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
    raise BadLineError(f"{key}: is no time of RFC 3339")


def _text(document: Mapping[str, Any], key: str) -> str:
    found = _optional(document, key)
    if found is None:
        raise BadLineError(f"{key}: is missing")
    return found


def _optional(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise BadLineError(f"{key}: is no text")
    return None if value is None else database.clean(value)
