"""The journal's file: its tables, who may open it, how it is checked, and what is done with a damaged one."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import stat
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from exabgp_bfd.core.model import StoreError
from exabgp_bfd.storage import letters
from exabgp_bfd.storage.queries import DAY

logger = logging.getLogger(__name__)

APPLICATION = 0x45424644
"""SQLite's application_id of a journal ("EBFD"), so that another program's database is never taken for ours."""

PART = 12
"""Rows are counted and dated by parts of 2**12 ids (table `span`): a time range is found without an index on ts."""

SKIP = 1 << 20
"""Ids left out where the last ones of before may have been given to somebody and were not on the disk."""

COMPANIONS = ("-wal", "-shm")

_HELD = 120
"""Bytes of NAME.lock."""

KEEP_QUARANTINED = 10_000
"""How many lines that could not be understood are kept."""

CHECK_SECONDS = 0.5
"""How long the check at opening may take; a large journal is checked in part rather than delaying the first poll."""

# An index on (x) is in truth on (x, id), as id is the rowid: read backwards it gives the newest first without sorting.
# The partial ones leave out the rows that no question by that column can mean; and the recorded polls, which may be
# nearly all of a device's or session's events, are left out where a type is asked for: each index costs 10 us a row.
RARE = "event_type <> 'snmp_poll'"
SENT = "direction = 'send'"

TYPES = {"event": "event_type", "message": "type"}
"""The kinds of rows that are tallied, and their columns."""

# Rounded down also before 1970, as a clock may tell; "/" alone rounds towards zero.
DAY_OF = f"(ts - ((ts % {DAY}) + {DAY}) % {DAY})"

_VERSIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE event (
            id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, site TEXT NOT NULL, device TEXT, event_type TEXT NOT NULL,
            details TEXT NOT NULL, session TEXT, service TEXT, source TEXT, actor TEXT, cause INTEGER)""",
        "CREATE INDEX event_device ON event (device) WHERE device IS NOT NULL",
        f"CREATE INDEX event_device_type ON event (device, event_type) WHERE device IS NOT NULL AND {RARE}",
        "CREATE INDEX event_session ON event (session) WHERE session IS NOT NULL",
        f"CREATE INDEX event_session_type ON event (session, event_type) WHERE session IS NOT NULL AND {RARE}",
        "CREATE INDEX event_service ON event (service) WHERE service IS NOT NULL",
        "CREATE INDEX event_type ON event (event_type)",
        """CREATE TABLE message (
            id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, time INTEGER, type TEXT NOT NULL, neighbor TEXT,
            direction TEXT, line TEXT NOT NULL)""",
        "CREATE INDEX message_type ON message (type)",
        "CREATE INDEX message_neighbor ON message (neighbor) WHERE neighbor IS NOT NULL",
        """CREATE TABLE quarantine (
            id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, reason TEXT NOT NULL, line BLOB NOT NULL)""",
        """CREATE TABLE remembered (
            service TEXT NOT NULL, prefix TEXT NOT NULL, route TEXT, event INTEGER NOT NULL,
            PRIMARY KEY (service, prefix)) WITHOUT ROWID""",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE span (
            kind TEXT NOT NULL, part INTEGER NOT NULL, rows INTEGER NOT NULL, first_ts INTEGER NOT NULL,
            last_ts INTEGER NOT NULL, PRIMARY KEY (kind, part)) WITHOUT ROWID""",
    ),
    (
        "CREATE TABLE ordered (subject TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
        # What came into the engine (storage/recording.py): `now` is monotonic, `ts` the wall clock, in microseconds.
        """CREATE TABLE input (
            id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, now INTEGER NOT NULL, kind TEXT NOT NULL,
            body BLOB NOT NULL)""",
        "CREATE INDEX input_start ON input (ts) WHERE kind = 'start'",
        # The content of polls, each once; `ts` is when it was last said to be in use, at least once in SHAPE_SECONDS.
        "CREATE TABLE shape (id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, body BLOB NOT NULL)",
        "CREATE INDEX shape_ts ON shape (ts)",
    ),
    (
        # What the messages tell of routes (storage/routes.py). A line that had to be repaired is also kept as JSON.
        "ALTER TABLE message ADD COLUMN mended TEXT",
        """CREATE TABLE rib (
            id INTEGER PRIMARY KEY, neighbor TEXT NOT NULL, direction TEXT NOT NULL, family TEXT NOT NULL,
            generation INTEGER NOT NULL, swept INTEGER NOT NULL, cleaned INTEGER NOT NULL, routes INTEGER NOT NULL,
            refused INTEGER NOT NULL, incomplete TEXT, renewed INTEGER NOT NULL, reset_ts INTEGER, up_ts INTEGER,
            end_ts INTEGER, ts INTEGER NOT NULL, UNIQUE (neighbor, direction, family))""",
        # `prefix` is updates.key_of: octets that sort as prefixes do. `message` said it; once that is removed,
        # `attributes` has what it came with.
        """CREATE TABLE route (
            rib INTEGER NOT NULL, prefix BLOB NOT NULL, more TEXT NOT NULL, generation INTEGER NOT NULL,
            since INTEGER NOT NULL, ts INTEGER NOT NULL, message INTEGER NOT NULL, next_hop TEXT, nlri TEXT,
            attributes INTEGER, PRIMARY KEY (rib, prefix, more)) WITHOUT ROWID""",
        "CREATE INDEX route_attributes ON route (attributes) WHERE attributes IS NOT NULL",
        "CREATE TABLE attributes (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, text TEXT NOT NULL)",
        # `id` is the message's, shifted by routes.PLACES, and the place in it; `kind` is updates.Kind.
        """CREATE TABLE change (
            id INTEGER PRIMARY KEY, rib INTEGER NOT NULL, kind INTEGER NOT NULL, prefix BLOB NOT NULL,
            more TEXT NOT NULL)""",
        "CREATE INDEX change_prefix ON change (prefix)",
        # How many rows of a type a part has of each day (of UTC, in microseconds), for what is counted over everything.
        """CREATE TABLE tally (
            kind TEXT NOT NULL, part INTEGER NOT NULL, day INTEGER NOT NULL, type TEXT NOT NULL, rows INTEGER NOT NULL,
            PRIMARY KEY (kind, part, day, type)) WITHOUT ROWID""",
        # A site may have one service, which a third of its events are about.
        "CREATE INDEX event_service_type ON event (service, event_type) WHERE service IS NOT NULL",
        # Nearly empty: hardly any event is about both.
        """CREATE INDEX event_service_device ON event (service, device)
            WHERE service IS NOT NULL AND device IS NOT NULL""",
        f"CREATE INDEX message_sent ON message (direction) WHERE {SENT}",
        # Updates a minute (since the epoch).
        """CREATE TABLE rate (
            minute INTEGER NOT NULL, neighbor TEXT NOT NULL, direction TEXT NOT NULL, announced INTEGER NOT NULL,
            withdrawn INTEGER NOT NULL, PRIMARY KEY (minute, neighbor, direction)) WITHOUT ROWID""",
        # Devices that were added over HTTP, as they were written, secrets and all (core/written.py).
        "CREATE TABLE device (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
        *letters.TABLE,
    ),
)

GUARD = "guard"
"""The subject of an order (table `ordered`) that is about no service."""


class Damaged(Exception):  # noqa: N818 - a finding about a file, caught in this room
    """The file is no database, or a broken one."""


@dataclass(slots=True)
class Contents:
    """What a start must know of the journal, and what is carried over when a damaged one is replaced."""

    last_event: int = 0
    last_message: int = 0
    last_quarantined: int = 0
    events: int = 0
    """How many events are kept."""
    meta: dict[str, str] = field(default_factory=dict)
    remembered: dict[tuple[str, str], tuple[str | None, int]] = field(default_factory=dict)
    """Service and target's key -> the route's text (None: withdrawn) and the event that decided."""
    ordered: dict[str, str | None] = field(default_factory=dict)
    """Subject -> the order's text (None: nothing is ordered any more)."""
    devices: dict[str, str] = field(default_factory=dict, repr=False)
    """Those that were added over HTTP -> the text of what was written, which holds secrets."""
    last_input: int = 0
    last_shape: int = 0


class JournalInUseError(StoreError):
    """Another process has the journal."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a journal had come, as NAME.lock tells: what the file itself does not know then was lost."""

    last_event: int = 0
    last_message: int = 0
    journal: str = ""
    """Its identity."""


class Hold:
    """The exclusive right to a journal, held with a lock on NAME.lock until it is released or the process ends.

    The file also has the mark of who held it before, which tells when a journal, or its log, was taken away meanwhile.
    """

    def __init__(self, path: Path) -> None:
        """Takes the right, or raises StoreError when another process has it; OSError when the file cannot be made."""
        self._name = path.with_name(path.name + ".lock")
        self._fd = os.open(self._name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            # flock rather than lockf: it also keeps two journals of one process apart.
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._lines()[0] or "unknown"
            self.release()
            raise JournalInUseError(
                f"{path}: in use by another exabgp-bfd (process {holder}); "
                "stop it, or give this one its own [storage] path"
            ) from None
        except OSError:
            self.release()
            raise
        self.before = _mark(self._lines()[1])
        """What the holder before us noted last."""
        try:
            # Of one length always: on a full disk it can still be written.
            self._write(self.before)
        except OSError:
            self.release()
            raise

    def note(self, mark: Mark) -> None:
        """Says how far the journal has come. Not synchronised: it outlives our end, and a power cut in part only."""
        with suppress(OSError):
            self._write(mark)

    def lost(self) -> bool:
        """Whether another file has the name by now, or none: somebody else could take the journal."""
        try:
            there, ours = self._name.stat(), os.fstat(self._fd)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def _lines(self) -> list[str]:
        """The process, and the mark."""
        return [line.strip() for line in [*os.pread(self._fd, 200, 0).decode("ascii", "replace").split("\n"), "", ""]]

    def _write(self, mark: Mark) -> None:
        text = f"{os.getpid()}\n{mark.last_event} {mark.last_message} {mark.journal}\n"
        os.pwrite(self._fd, text.encode("ascii", "replace").ljust(_HELD), 0)

    def release(self) -> None:
        """Gives the right back; the file stays, as removing it would let two others lock different files."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _mark(text: str) -> Mark:
    event, message, journal = (*text.split(" ", 2), "", "", "")[:3]
    if not (event.isdecimal() and message.isdecimal() and len(event) < 19 and len(message) < 19):
        return Mark()
    return Mark(int(event), int(message), journal.strip())


def connect(path: Path, mode: str, busy: float, *, shared: bool = False) -> sqlite3.Connection:
    """A connection that waits at most `busy` seconds for a lock; transactions are explicit.

    `mode` is ro, rw, or immutable: to read a file that nobody writes, as it is and without its log.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{'immutable=1' if mode == 'immutable' else f'mode={mode}'}",
        uri=True,
        timeout=busy,
        isolation_level=None,
        check_same_thread=not shared,
    )


@contextmanager
def transaction(connection: sqlite3.Connection, *, durable: bool) -> Iterator[None]:
    """Everything inside is kept or nothing; `durable` commits outlive a power cut, the others a kill of the process."""
    connection.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def create(path: Path) -> None:
    """Makes an empty file and its directory where they are missing, closed to others (0640, 0750); raises OSError."""
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    # Only a new file is opened here: closing any descriptor of a database drops SQLite's locks on it in this process.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Makes or migrates the tables; raises StoreError when the database is another program's or a newer version's."""
    version = layout(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    for number, statements in enumerate(_VERSIONS[version:], version + 1):
        with transaction(connection, durable=True):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {number}")
            put_meta(connection, {"journal": uuid.uuid4().hex} if number == 1 else {})


def layout(connection: sqlite3.Connection, path: Path) -> int:
    """The number of a journal's layout, 0 for an empty file; raises StoreError for another program's or a newer one."""
    application = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    if application != APPLICATION:
        if application or version or connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise StoreError(f"{path}: is the database of another program; give [storage] path another name")
        version = 0
    if version > len(_VERSIONS):
        raise StoreError(
            f"{path}: was written by a newer exabgp-bfd (layout {version}, this one knows {len(_VERSIONS)}); "
            "install that version again, or give [storage] path another name"
        )
    return version


def columns(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    """The columns of a table, none where it is missing."""
    return frozenset(row[1] for row in connection.execute(f"PRAGMA table_info({table})"))


def bodiless(path: Path) -> bool:
    """Whether the file is empty and its log is not: SQLite would throw the log away and begin from nothing."""
    with suppress(OSError):
        return path.stat().st_size == 0 and path.with_name(path.name + "-wal").stat().st_size > 0
    return False


def read_torn(connection: sqlite3.Connection) -> None:
    """Lets the connection read a file that is shorter than it says, as far as it goes."""
    connection.execute("PRAGMA writable_schema = ON")


def foreign_log(path: Path) -> bool:
    """Whether the log beside the file is another journal's, which SQLite would mix into it without a word."""
    return len({identity(path, mode) for mode in ("ro", "immutable")} - {None}) > 1


def identity(path: Path, mode: str) -> str | None:
    """Which journal a file is, None where that cannot be read; `mode` as in `connect`."""
    with suppress(sqlite3.Error, OSError), closing(connect(path, mode, 0.1)) as connection:
        if _pragma(connection, "application_id") == APPLICATION:
            found = connection.execute("SELECT value FROM meta WHERE key = 'journal'").fetchone()
            return None if found is None else str(found[0])
    return None


def check(connection: sqlite3.Connection, seconds: float = CHECK_SECONDS) -> None:
    """Raises Damaged when the file's structure is broken, as far as `seconds` suffice to look."""
    over = threading.Event()

    def interrupt() -> None:
        over.set()
        connection.interrupt()

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        timer.cancel()
        timer.join(seconds)
    # Where the time ran out, older SQLite reports what it could not visit as faults: they prove nothing.
    if found[0] != "ok" and not over.is_set():
        raise Damaged(str(found[0]))


def load(connection: sqlite3.Connection) -> Contents:
    """What the journal knows; raises sqlite3.Error."""
    contents = Contents(
        last_message=_newest(connection, "message"),
        last_quarantined=_newest(connection, "quarantine"),
        events=kept_events(connection),
        last_input=_newest(connection, "input"),
        last_shape=_newest(connection, "shape"),
    )
    _load_kept(connection, contents)
    _load_ordered(connection, contents)
    _load_devices(connection, contents)
    contents.last_event = max(contents.last_event, _newest(connection, "event"))
    return contents


def _load_kept(connection: sqlite3.Connection, contents: Contents) -> None:
    contents.meta.update(connection.execute("SELECT key, value FROM meta"))
    for service, prefix, route, event in connection.execute("SELECT service, prefix, route, event FROM remembered"):
        contents.remembered[service, prefix] = (route, event)
        contents.last_event = max(contents.last_event, event)
    # The greatest ids ever are kept apart from the rows, which retention removes.
    contents.last_event = max(contents.last_event, int(contents.meta.pop("last_event", 0)))
    contents.last_message = max(contents.last_message, int(contents.meta.pop("last_message", 0)))


def _load_ordered(connection: sqlite3.Connection, contents: Contents) -> None:
    contents.ordered.update(connection.execute("SELECT subject, text FROM ordered"))


def _load_devices(connection: sqlite3.Connection, contents: Contents) -> None:
    contents.devices.update(connection.execute("SELECT name, text FROM device"))


def kept_events(connection: sqlite3.Connection) -> int:
    """How many events are kept."""
    return int(connection.execute("SELECT coalesce(sum(rows), 0) FROM span WHERE kind = 'event'").fetchone()[0])


def _newest(connection: sqlite3.Connection, table: str) -> int:
    newest = connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0]  # noqa: S608 - our own names  # nosec B608
    return int(newest)


def salvage(path: Path) -> Contents:
    """What can still be read from a damaged journal; ids then grow on in any case, from the clock if need be."""
    contents = Contents()
    read = False
    # Without its log where it cannot be read with it: the log may be what is broken, or that of another file.
    for mode in ("immutable",) if foreign_log(path) else ("ro", "immutable"):
        if read:
            break
        contents = Contents()
        with suppress(sqlite3.Error, ValueError, OSError), closing(connect(path, mode, 0.1)) as connection:
            read_torn(connection)
            if _pragma(connection, "application_id") == APPLICATION:
                _load_kept(connection, contents)
                read = contents.last_event > 0
                with suppress(sqlite3.Error):
                    contents.last_event = max(contents.last_event, _newest(connection, "event"))
                with suppress(sqlite3.Error):  # An older layout has no such table.
                    _load_ordered(connection, contents)
                with suppress(sqlite3.Error):
                    _load_devices(connection, contents)
    if not read:
        # No event id of the lost journal is known. One event a millisecond since 1970 cannot have been: ids grow.
        contents.last_event = contents.last_message = time.time_ns() // 1_000_000
    return contents


def fill(connection: sqlite3.Connection, contents: Contents) -> None:
    """Puts what was carried over into a new journal."""
    with transaction(connection, durable=True):
        # The file's own identity stays, and how the other one ended, or was rescued, is not how this one will be.
        left = {"journal", "copy", "closed", "rescued"}
        put_meta(connection, {key: value for key, value in contents.meta.items() if key not in left})
        put_meta(connection, {"last_event": str(contents.last_event), "last_message": str(contents.last_message)})
        # Rows up to here are from the journal before, whenever they come: a copy elsewhere has them by that one's name.
        put_meta(connection, {"begun": f"{contents.last_event} {contents.last_message}"})
        put_remembered(connection, contents.remembered)
        put_ordered(connection, contents.ordered)
        put_devices(connection, dict(contents.devices))


def put_meta(connection: sqlite3.Connection, values: dict[str, str]) -> None:
    """Inserts or replaces."""
    connection.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", list(values.items()))


def put_remembered(connection: sqlite3.Connection, decisions: dict[tuple[str, str], tuple[str | None, int]]) -> None:
    """Inserts or replaces the last decision per service and target."""
    connection.executemany(
        "INSERT OR REPLACE INTO remembered (service, prefix, route, event) VALUES (?, ?, ?, ?)",
        [(*key, *value) for key, value in decisions.items()],
    )


def recount(connection: sqlite3.Connection, kind: str, part: int) -> None:
    """Counts and dates the rows of a part again, where they came or went other than by the end."""
    low, high = part << PART, (part + 1) << PART
    rows, first, last = connection.execute(
        f"SELECT count(*), min(ts), max(ts) FROM {kind} WHERE id >= ? AND id < ?",  # noqa: S608 - our own names  # nosec B608
        (low, high),
    ).fetchone()
    if rows:
        connection.execute("INSERT OR REPLACE INTO span VALUES (?, ?, ?, ?, ?)", (kind, part, rows, first, last))
    else:
        connection.execute("DELETE FROM span WHERE kind = ? AND part = ?", (kind, part))
    if kind in TYPES:
        connection.execute("DELETE FROM tally WHERE kind = ? AND part = ?", (kind, part))
        connection.execute(
            f"INSERT INTO tally SELECT ?, ?, {DAY_OF}, {TYPES[kind]}, count(*) FROM {kind}"  # noqa: S608 - our own names  # nosec B608
            " WHERE id >= ? AND id < ? GROUP BY 3, 4",
            (kind, part, low, high),
        )


def subject(service: str | None) -> str:
    """What an order is about, as table `ordered` names it: a service, or the guard."""
    return GUARD if service is None else f"service {service}"


def put_ordered(connection: sqlite3.Connection, orders: dict[str, str | None]) -> None:
    """Inserts, replaces or (None) removes what is ordered of each subject."""
    kept = [(name, text) for name, text in orders.items() if text is not None]
    connection.executemany("INSERT OR REPLACE INTO ordered (subject, text) VALUES (?, ?)", kept)
    gone = [(name,) for name, text in orders.items() if text is None]
    connection.executemany("DELETE FROM ordered WHERE subject = ?", gone)


def put_devices(connection: sqlite3.Connection, devices: Mapping[str, str | None]) -> None:
    """Inserts, replaces or (None) removes what was written of each device."""
    kept = [(name, text) for name, text in devices.items() if text is not None]
    connection.executemany("INSERT OR REPLACE INTO device (name, text) VALUES (?, ?)", kept)
    connection.executemany("DELETE FROM device WHERE name = ?", [(n,) for n, text in devices.items() if text is None])


def close_to_others(path: Path) -> None:
    """Lets nobody but the owner read the file from now on (0600), for it is about to hold secrets; raises OSError."""
    for each in (path, *(path.with_name(path.name + companion) for companion in COMPANIONS)):
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(each.stat().st_mode)
            if mode & ~0o600:
                each.chmod(mode & 0o600)


def stored_devices(path: Path) -> dict[str, str]:
    """The devices that were added over HTTP, by name, of a journal that may be in use; none where it cannot be read."""
    return readable_devices(path) or {}


def readable_devices(path: Path) -> dict[str, str] | None:
    """The same, but None where there is a file of which that cannot be read."""
    with suppress(sqlite3.Error, OSError), closing(connect(path, "ro", 0.5)) as connection:
        if _pragma(connection, "application_id") == APPLICATION:
            contents = Contents()
            _load_devices(connection, contents)
            return contents.devices
    try:
        return None if path.exists() else {}
    except OSError:  # we may not even look
        return None


def set_aside(path: Path, why: str = "damaged") -> Path:
    """Renames the file and its companions to NAME.WHY-TIME, where it can still be looked at."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.{why}-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.{why}-{stamp}-{number}")
    path.rename(aside)
    # SQLite finds the companions by the name of the file, so they keep belonging to it.
    for companion in COMPANIONS:
        with suppress(FileNotFoundError):
            path.with_name(path.name + companion).rename(aside.with_name(aside.name + companion))
    return aside


def drop_companions(path: Path) -> None:
    """Removes the log and its index where they belong to a file that is not there any more."""
    for companion in COMPANIONS:
        path.with_name(path.name + companion).unlink(missing_ok=True)


def is_damage(error: BaseException) -> bool:
    """Whether the error says that the file itself is broken, rather than that the disk refuses for now."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0)
        return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, Damaged)


def clean(text: str) -> str:
    """The text as SQLite can keep it: halves of surrogate pairs, which UTF-8 cannot carry, are written as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
