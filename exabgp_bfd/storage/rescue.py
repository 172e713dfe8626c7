"""What a damaged or removed journal still holds, read on a thread of its own, so that a bad disk stalls nobody.

Events and BGP messages are read, the newest first, and handed to the journal's writer a little at a time; where the
file cannot be read, what lies beside is.
"""

from __future__ import annotations

import json
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exabgp_bfd.storage import database

logger = logging.getLogger(__name__)

COLUMNS = {
    "event": "id, ts, site, device, event_type, details, session, service, source, actor, cause",
    "message": "id, ts, time, type, neighbor, direction, line, mended",
}
"""What is rescued, in this order."""
_LATER = "mended"
"""A column that earlier layouts have not."""

_ROWS = 200
"""Rows of one batch."""
_WAITING = 2
"""Batches read ahead."""
_SECONDS = 2.0
"""How long one question to a broken file may take."""
_SINGLE = 64
"""So many ids are tried one by one behind a fault, before the steps grow."""
_FAULTS = 20_000
"""So many faults, and a table is given up."""
_STEPS = 1_000

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one table, good ones only."""

    kind: str
    rows: list[Row]


@dataclass(slots=True)
class Tally:
    """What was found of a table."""

    rows: int = 0
    bad: int = 0
    """Rows that were read and make no sense."""
    faults: int = 0
    """Places that could not be read."""


class Rescue:
    """Reads on its thread until all is read or `stop` is called; `take` gives a batch or None and never waits.

    `limits` are the greatest ids per kind, `oldest` the earliest times (microseconds) that are worth keeping.
    """

    def __init__(
        self,
        source: Path | sqlite3.Connection,
        limits: Mapping[str, int],
        oldest: Mapping[str, int] | None = None,
    ) -> None:
        """`source`: a file, or a connection (to a file without a name any more), which is closed at the end."""
        self._source = source
        self.limits = dict(limits)
        self._oldest = dict(oldest or {})
        self._batches: queue.Queue[Batch] = queue.Queue(_WAITING)
        self._stopping = threading.Event()
        self._begun = False
        self._later = _LATER
        self.identity: str | None = None
        """Of the journal that is read, once it is known."""
        self.tallies = {kind: Tally() for kind in COLUMNS}
        self._thread = threading.Thread(target=self._run, name="rescue", daemon=True)

    def begin(self) -> None:
        """Begins to read, once."""
        if not self._begun:
            self._begun = True
            self._thread.start()

    def take(self) -> Batch | None:
        """The next rows, None when there are none for now."""
        with suppress(queue.Empty):
            return self._batches.get_nowait()
        return None

    @property
    def done(self) -> bool:
        """Whether everything was read and taken."""
        return self._begun and not self._thread.is_alive() and self._batches.empty()

    @property
    def fleeting(self) -> bool:
        """Whether the file has no name any more, and is gone with us."""
        return isinstance(self._source, sqlite3.Connection)

    def stop(self) -> None:
        """Ends it; what was not taken is left."""
        self._stopping.set()

    # --- the thread ---

    def _run(self) -> None:
        try:
            if isinstance(self._source, sqlite3.Connection):
                with closing(self._source) as connection:
                    self._read(connection)
                return
            # First with its log; then without it, for the log may be what is broken. A row that comes twice is one.
            for mode in ("immutable",) if database.foreign_log(self._source) else ("ro", "immutable"):
                before = sum(tally.rows for tally in self.tallies.values())
                faults = self._faults()
                with suppress(sqlite3.Error), closing(database.connect(self._source, mode, 0.1, shared=True)) as found:
                    self._read(found)
                read = sum(tally.rows for tally in self.tallies.values()) - before
                if self._stopping.is_set() or (read and self._faults() == faults):
                    return
        except Exception:
            logger.exception("the rescue of %s ended early", self._source)

    def _faults(self) -> int:
        return sum(tally.faults for tally in self.tallies.values())

    def _read(self, connection: sqlite3.Connection) -> None:
        connection.text_factory = _text
        database.read_torn(connection)
        with suppress(sqlite3.Error):
            found = connection.execute("SELECT value FROM meta WHERE key = 'journal'").fetchone()
            self.identity = None if found is None else str(found[0])
        with suppress(sqlite3.Error):
            self._later = _LATER if _LATER in database.columns(connection, "message") else f"NULL AS {_LATER}"
        for kind in COLUMNS:
            for rows in self._table(connection, kind):
                good = [row for row in rows if _GOOD[kind](row)]
                self.tallies[kind].bad += len(rows) - len(good)
                good = [row for row in good if row[1] >= self._oldest.get(kind, row[1])]
                self.tallies[kind].rows += len(good)
                if good and not self._hand(Batch(kind, good)):
                    return

    def _hand(self, batch: Batch) -> bool:
        while not self._stopping.is_set():
            with suppress(queue.Full):
                self._batches.put(batch, timeout=0.2)
                return True
        return False

    def _table(self, connection: sqlite3.Connection, kind: str) -> Iterator[list[Row]]:
        tally = self.tallies[kind]
        for low, high in self._parts(connection, kind):
            below, step, tried = min(high, self.limits.get(kind, 0) + 1), 1, 0
            while below > low and tally.faults < _FAULTS and not self._stopping.is_set():
                rows, whole = self._some(connection, kind, low, below)
                if rows:
                    step, tried, below = 1, 0, rows[-1][0]
                    yield rows
                if whole:
                    if len(rows) < _ROWS:
                        break
                    continue
                tally.faults += 1
                tried += 1
                step = step if tried < _SINGLE else 2 * step
                below -= step

    def _parts(self, connection: sqlite3.Connection, kind: str) -> list[tuple[int, int]]:
        """Ranges of ids to look into, the newest first; bounded in number by what the file says of itself."""
        size = 1 << database.PART
        try:
            parts = connection.execute("SELECT part FROM span WHERE kind = ? ORDER BY part DESC", (kind,)).fetchall()
            return [(part * size, (part + 1) * size) for (part,) in parts if isinstance(part, int)]
        except sqlite3.Error:
            self.tallies[kind].faults += 1
        try:
            first, last = connection.execute(f"SELECT min(id), max(id) FROM {kind}").fetchone()  # noqa: S608 - our names  # nosec B608
        except sqlite3.Error:
            self.tallies[kind].faults += 1
            return []
        return [] if last is None else [(first, last + 1)]

    def _some(self, connection: sqlite3.Connection, kind: str, low: int, below: int) -> tuple[list[Row], bool]:
        """Rows below an id, the greatest first, and whether all that were asked for could be read."""
        columns = COLUMNS[kind].replace(_LATER, self._later)
        sql = f"SELECT {columns} FROM {kind} NOT INDEXED WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT {_ROWS}"  # noqa: S608  # nosec B608
        rows: list[Row] = []
        deadline = time.monotonic() + _SECONDS
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        try:
            for row in connection.execute(sql, (low, below)):
                if row[0] >= below:  # Pages that lead in a circle.
                    return rows, False
                rows.append(row)
                below = row[0]
        except (sqlite3.Error, OverflowError):
            return rows, False
        return rows, True


def _text(raw: bytes) -> str | bytes:
    """Text as text, and what is none as it is: it will be seen to be wrong."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


def _is_time(value: object) -> bool:
    return isinstance(value, int) and abs(value) < 1 << 62


def _words(*values: object) -> bool:
    return all(value is None or isinstance(value, str) for value in values)


def _good_event(row: Row) -> bool:
    number, ts, site, device, event_type, details, session, service, source, actor, cause = row
    if not (isinstance(number, int) and number > 0 and _is_time(ts) and isinstance(site, str)):
        return False
    if not (isinstance(event_type, str) and isinstance(details, str) and (cause is None or isinstance(cause, int))):
        return False
    try:
        return isinstance(json.loads(details), dict) and _words(device, session, service, source, actor)
    except (ValueError, RecursionError):
        return False


def _good_message(row: Row) -> bool:
    number, ts, said, kind, neighbor, direction, line, mended = row
    return (
        isinstance(number, int)
        and number > 0
        and _is_time(ts)
        and (said is None or _is_time(said))
        and isinstance(kind, str)
        and isinstance(line, str)
        and _words(neighbor, direction, mended)
    )


_GOOD: Mapping[str, Callable[[Row], bool]] = {"event": _good_event, "message": _good_message}
