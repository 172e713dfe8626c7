"""The journal: the one write path, fed without ever waiting and written by one thread that owns the only connection.

Two lanes lead to the disk. Events, decisions, orders and meta values go first, in the order in which they were put, and
are never dropped; BGP messages follow, and are dropped, counted and marked with a gap when the disk does not keep up.
The input log's rows travel with the events, within a bound of their own.
"""

from __future__ import annotations

import errno
import json
import logging
import sqlite3
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, NoReturn, TypeVar

from exabgp_bfd.core.model import (
    BY_HAND,
    Believed,
    ByHand,
    Event,
    Lift,
    Note,
    Override,
    Remember,
    RememberOrder,
    Restored,
    StoreError,
)
from exabgp_bfd.core.notices import Kept, Letter
from exabgp_bfd.core.written import KeepDevice
from exabgp_bfd.storage import database, letters, updates
from exabgp_bfd.storage.queries import DAY, GAP, details_text, order_from, order_text, rfc3339, route_from, route_text
from exabgp_bfd.storage.recording import POLLS, SHAPE_SECONDS, Chunk, Shape, Single, chunk_body, poll_body, single_row
from exabgp_bfd.storage.rescue import COLUMNS, Batch, Rescue
from exabgp_bfd.storage.routes import SPEAKER, RouteCounters, Routes, Said
from exabgp_bfd.storage.updates import Told

logger = logging.getLogger(__name__)

MAX_PUTS = 1_000_000
"""How many events, decisions and meta values may wait for a disk that refuses, before new ones are refused too."""

MAX_INPUT_BYTES = 64 << 20
"""About how many bytes of the input log may wait for a disk that refuses."""

_EVENTS_A_BATCH = 5_000
_LINES_A_BATCH = 2_000
_BYTES_AT_ONCE = 1 << 18
_CHANGES_A_BATCH = 5_000
"""A line may tell of a thousand routes; an event that must be on disk now waits for at most so many."""
_PRUNED_A_STEP = 1_000
_PRUNED_INPUTS_A_STEP = 50
"""Fewer, as a row of polls may have a hundred kilobytes."""
_LEAST_A_STEP = 25
_GREATEST = (1 << 63) - 1
_STEP_SECONDS = 0.02
"""About how long a step of pruning may take: the rows are counted accordingly."""
_LONGEST_LINE = 1 << 16
"""Bytes kept of a quarantined line."""

_BUSY = 0.2
"""Seconds one attempt waits for another program's lock; the attempts go on."""
_FIRST_RETRY, _LAST_RETRY = 0.05, 1.0
_ALIVE = 5.0
"""Seconds between marks that we live, when nothing else is written; promised are at most 10."""
_PRUNE = 30.0
_BREATH = 0.02
"""Seconds between two steps of pruning, so that a long one never keeps a core to itself."""
_REPEAT = 60.0
"""Seconds between log lines while the disk refuses."""

_NOTES = 100
"""How many notes wait at most for somebody to ask."""
_LEAP = 86_400.0
"""Seconds; when the wall clock leaps so far ahead, it may be wrong, and it is not by its word at once that ages end."""
_PATIENCE = 3_600.0
"""Seconds that a leap must stand before anything is removed for its age."""

NOTIFY = "notify:"
"""Before an endpoint's name: the key of what its courier has come to."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MACHINE = Path("/etc/machine-id")

_OWN_META = frozenset(
    {"alive", "begun", "boot", "closed", "copy", "journal", "last_event", "last_message", "machine", "rescue"}
    | {"rescued", SPEAKER}
)

_INSERT_EVENT = (
    "INSERT INTO event (id, ts, site, device, event_type, details, session, service, source, actor, cause)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
)
_INSERT_MESSAGE = (
    "INSERT INTO message (id, ts, time, type, neighbor, direction, line, mended) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO NOTHING"
)
_INSERT_INPUT = "INSERT INTO input (id, ts, now, kind, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
_INSERT_SHAPE = (
    "INSERT INTO shape (id, ts, body) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET ts = max(ts, excluded.ts)"
)
_INSERT_QUARANTINED = "INSERT INTO quarantine (id, ts, reason, line) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
_RESCUED = {
    kind: f"INSERT INTO {kind} ({columns}) VALUES ({', '.join('?' * (columns.count(',') + 1))}) ON CONFLICT DO NOTHING"  # noqa: S608 - our own names  # nosec B608
    for kind, columns in COLUMNS.items()
}
_WIDEN_SPAN = (
    "INSERT INTO span (kind, part, rows, first_ts, last_ts) VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, part)"
    " DO UPDATE SET rows = rows + excluded.rows, first_ts = min(first_ts, excluded.first_ts),"
    " last_ts = max(last_ts, excluded.last_ts)"
)
_ADD_TALLY = (
    "INSERT INTO tally (kind, part, day, type, rows) VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, part, day, type)"
    " DO UPDATE SET rows = rows + excluded.rows"
)
_TYPE_AT = {"event": 4, "message": 3}
"""The place of the type in a row."""


@dataclass(frozen=True, slots=True)
class Stamped:
    """An event and when it happened: microseconds since the epoch, UTC."""

    event: Event
    ts: int


@dataclass(frozen=True, slots=True)
class Counters:
    """The journal's numbers at one moment."""

    queued_events: int
    """Events, decisions, orders, meta values and pieces of the input log that wait."""
    queued_messages: int
    committed_events: int
    committed_messages: int
    quarantined: int
    dropped_messages: int
    overflowed_events: int
    """Events refused because a million were waiting: the only way to lose one."""
    duplicates: int
    """Rows whose id was there already, kept once; a commit whose answer was lost makes some."""
    pruned_events: int
    pruned_messages: int
    write_errors: int
    last_error: str | None
    committed_inputs: int = 0
    """Rows of the input log; one may stand for thousands of polls."""
    pruned_inputs: int = 0
    refused_inputs: int = 0
    """Pieces of the input log refused because too much was waiting."""


@dataclass(frozen=True, slots=True)
class _Inputs:
    rows: tuple[Shape | Chunk | Single, ...]
    size: int


@dataclass(frozen=True, slots=True)
class _Meta:
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class _Letters:
    put: tuple[Letter, ...] = ()
    drop: tuple[int, ...] = ()
    mark: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Promise:
    future: Future[None]
    lines: int
    """How many lines must have left the queue too."""


@dataclass(slots=True)
class _Gap:
    dropped: int
    first: int
    last: int


@dataclass(slots=True)
class _Line:
    raw: bytes
    received: int
    reason: str | None = None
    """Why it is quarantined, None for a message."""


_Put = Stamped | Remember | RememberOrder | KeepDevice | _Inputs | _Meta | _Letters | _Promise


@dataclass(slots=True)
class _Puts:
    """One transaction's worth of events, decisions, orders, inputs and meta values, as rows."""

    size: int = 0
    events: list[tuple[Any, ...]] = field(default_factory=list)
    remembered: dict[tuple[str, str], tuple[str | None, int]] = field(default_factory=dict)
    ordered: dict[str, str | None] = field(default_factory=dict)
    devices: dict[str, str | None] = field(default_factory=dict, repr=False)
    inputs: list[tuple[Any, ...]] = field(default_factory=list)
    shapes: list[tuple[Any, ...]] = field(default_factory=list)
    input_bytes: int = 0
    meta: dict[str, str] = field(default_factory=dict)
    letters: list[_Letters] = field(default_factory=list)
    promises: list[_Promise] = field(default_factory=list)


@dataclass(slots=True)
class _Lines:
    """One transaction's worth of lines from ExaBGP, as rows; `size` counts the lines, not the gaps among them."""

    size: int = 0
    messages: list[tuple[Any, ...]] = field(default_factory=list)
    quarantined: list[tuple[Any, ...]] = field(default_factory=list)
    said: Said = field(default_factory=Said)
    """What the messages tell of routes."""


Mend = Callable[[bytes], Mapping[str, Any] | None]
"""Reads a line of ExaBGP that is no JSON, as far as it is one that is known to come broken; None: it is not."""
B = TypeVar("B")


@dataclass(slots=True)
class _Lane(Generic[B]):
    """The batch that the disk refused, kept until it takes it."""

    held: B | None = None
    retry: float = _FIRST_RETRY
    retry_at: float = 0.0


class Journal:
    """The default store. Putting never waits, from any thread; `open` and `stop` may take a second.

    `keep_events`, `keep_messages` and `keep_inputs` are ages in seconds, `max_events` a count; None keeps everything.
    """

    def __init__(  # noqa: PLR0913, PLR0915 - one bound or age each, by name
        self,
        path: Path,
        site: str,
        *,
        max_messages: int = 100_000,
        max_message_bytes: int = 32 << 20,
        batch_seconds: float = 0.05,
        keep_events: float | None = None,
        keep_messages: float | None = None,
        keep_inputs: float | None = None,
        max_events: int | None = None,
        mend: Mend | None = None,
    ) -> None:
        self._path = path
        self._site = database.clean(site)
        self._max_messages = max_messages
        self._max_message_bytes = max_message_bytes
        self._batch_seconds = batch_seconds
        self._keep = {"event": keep_events, "message": keep_messages, "input": keep_inputs}
        self._max_events = max_events
        self._mend = mend
        self._speaker: str | None = None
        self.set_aside: Path | None = None
        """Where a damaged journal was moved, the last time that one was found."""
        self.spare: dict[str, Callable[[], int]] = {}
        """Per kind (event, message) the greatest id that may go for the sake of the count; asked on the writer's
        thread. Age goes before: what it takes beyond that is told by a note (store_gap)."""
        self._notes: deque[Note] = deque(maxlen=_NOTES)
        self.generation = 0
        """How often a new file was begun under our hands: what was only in the old one must be put again."""
        self.committed = threading.Event()
        """Set whenever events or messages have reached the file; who waits for them clears it."""

        # Shared: appended by the caller's threads, emptied by the writer.
        self._puts: deque[_Put | tuple[_Put, ...]] = deque()
        self._gate = threading.Lock()  # Guards what follows, and is never held across I/O.
        self._lines: deque[_Line | _Gap] = deque()
        self._line_bytes = 0
        self._gap: _Gap | None = None
        self._taken = 0
        self._dropped = 0

        self._inputs_put = self._inputs_done = 0
        """Bytes of the input log; each has one thread that writes it: the one that puts, and the writer."""
        self._refused_inputs = 0
        self._overflowed = 0
        self._broken_promise = False
        self._something = threading.Event()
        self._urgent = threading.Event()
        self._stopping = threading.Event()
        self._stop_at = float("inf")
        self._ended = False

        # The writer's own.
        self._hold: database.Hold | None = None
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._known = database.Contents()
        self._event_lane: _Lane[_Puts] = _Lane()
        self._line_lane: _Lane[_Lines] = _Lane()
        self._lines_done = 0
        self._last_message = 0
        """The greatest number that is on the disk; those that are given already may wait for it."""
        self._routes = Routes()
        self._routes_at = 0.0
        self._awaiting: list[_Promise] = []
        self._alive_at = 0.0
        self._prune_at = 0.0
        self._file: _File | None = None
        """The file that is written, to see when another has its name."""
        self._log_file: _File | None = None
        self._rescues: deque[Rescue] = deque()
        self._rescued_rows: Batch | None = None
        self._rescued = dict.fromkeys(COLUMNS, 0)
        self._rescue_at = 0.0
        self._gaps: dict[str, list[int]] = {}
        """Per kind how many rows went unshipped, the first and the last."""
        self._gaps_at = 0.0
        self._wall, self._monotonic = time.time(), time.monotonic()
        self._ages_from = 0.0
        self._failing_since: float | None = None
        self._complained_at = 0.0
        self._committed = {"event": 0, "message": 0, "input": 0}
        self._step: dict[str, int] = {}
        """Per kind how many rows are removed in a step."""
        self._pruned = {"event": 0, "message": 0, "input": 0}
        self._quarantined = 0
        self._duplicates = 0
        self._write_errors = 0
        self._last_error: str | None = None

    # --- opening ------------------------------------------------------------------------------------------------

    def open(self) -> Restored:
        """Takes the journal for this process, makes or migrates its tables and tells what is known from before.

        A damaged file is set aside (`set_aside`) and a new one begun with what could be read from it. Raises
        StoreError, with the path and the remedy, when the journal cannot be written or another process has it.
        """
        if self._hold is not None or self._ended:
            raise StoreError(f"{self._path}: was opened before; make a new Journal")
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._hold = database.Hold(self._path)
            database.create(self._path)
            self._known = self._load()
            self._take_up(self._hold.before)
        except StoreError:
            self._release()
            raise
        except (OSError, sqlite3.Error) as error:
            self._release()
            self._cannot(error)
        orders = tuple(self._ordered())
        return Restored(
            last_event=self._known.last_event,
            believed=tuple(self._believed()),
            overrides=tuple(order for order in orders if isinstance(order, Override)),
            lift=next((order for order in orders if isinstance(order, Lift)), None),
            by_hand=tuple(order for order in orders if isinstance(order, ByHand)),
        )

    def _cannot(self, error: Exception) -> NoReturn:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            remedy = "another program has it locked: close that program"
        elif code == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
            remedy = "make room on its disk"
        else:
            remedy = "make the file and its directory writable for the user that ExaBGP runs us as"
        raise StoreError(
            f"{self._path}: the journal cannot be written ({reason}); {remedy}, or give [storage] path another place"
        ) from error

    def _load(self) -> database.Contents:
        try:
            if database.bodiless(self._path):
                raise database.Damaged("it is empty, and its log is not")  # noqa: TRY301 - one way for all damage
            if database.foreign_log(self._path):
                raise database.Damaged("the log beside it is another journal's")  # noqa: TRY301
            with closing(database.connect(self._path, "rw", _BUSY)) as connection:
                database.prepare(connection, self._path)
                database.check(connection)
                contents = database.load(connection)
                with database.transaction(
                    connection, durable=False
                ):  # Whether it can be written is known only by writing.
                    database.put_meta(connection, {"last_event": str(contents.last_event)})
                return contents
        except (sqlite3.Error, database.Damaged) as error:
            if not database.is_damage(error):
                raise
            aside = self._move_away(str(error), "damaged")
        contents = database.salvage(aside)
        contents.meta["rescue"] = _rescue_text(aside, contents)
        contents.meta["journal"] = self._begin(contents)
        return contents

    def _take_up(self, mark: database.Mark) -> None:
        """Lets ids grow on from whatever is known to have been given, and goes on with a rescue that was under way."""
        known = self._known
        self._file = _file(self._path)
        if mark.last_event > known.last_event or mark.last_message > known.last_message:
            if self.set_aside is None:
                logger.error(
                    "the journal %s ends with event %d and message %d, and had come to %d and %d: "
                    "its log was taken away, or another file has its name",
                    *(self._path, known.last_event, known.last_message, mark.last_event, mark.last_message),
                )
                details = {"events_known": known.last_event, "events_given": mark.last_event}
                self._note("store_missing", path=str(self._path), **details)
            known.last_event = max(known.last_event, mark.last_event)
            known.last_message = max(known.last_message, mark.last_message)
        boot = _boot()
        own = self._settled()
        if own.get("copy") or (known.meta.get("boot", boot) != boot and known.meta.get("closed") != "1"):
            # A power cut takes what was not synchronised, and others may have seen it: those ids are not given again.
            # Nor are those that a copy of the file gives elsewhere.
            known.last_event += database.SKIP
            known.last_message += database.SKIP
        with suppress(ValueError):
            self._wall = int(known.meta.get("alive", "")) / 1_000_000
        self._monotonic = time.monotonic()
        known.meta |= {"boot": boot, "closed": "0", **own}
        self._last_message = known.last_message
        with closing(database.connect(self._path, "rw", _BUSY)) as connection:
            last = {"last_event": str(known.last_event), "last_message": str(known.last_message)}
            with database.transaction(connection, durable=True):
                database.put_meta(connection, {"boot": boot, "closed": "0", **last, **own})
        told = _rescue_from(known.meta.get("rescue"))
        if told is not None:
            self._rescues.append(Rescue(told[0], told[1], self._oldest()))
        elif "begun" in known.meta and (known.meta.get("rescue") or "rescued" not in known.meta):
            logger.error("the journal %s: what it goes on from is gone, and was not all carried over", self._path)
            self._nothing_to_rescue()

    def _settled(self) -> dict[str, str]:
        """On which machine it is from now on; where it comes from another, which may go on with it, under a new name.

        Rows up to here keep the name that they have in copies elsewhere. Nothing where the machine is not known.
        """
        known, here = self._known, _machine()
        if not here:
            return {}
        if known.meta.get("machine", here) == here:
            return {"machine": here}
        logger.warning("the journal %s comes from another machine: it goes on under a new name", self._path)
        own = {"machine": here, "copy": uuid.uuid4().hex, "begun": f"{known.last_event} {known.last_message}"}
        return own if known.meta.get("rescue") else {**own, "rescued": _rescued_text(known)}

    def _nothing_to_rescue(self) -> None:
        """Says in the file that no more comes from the one before it, which others may wait for."""
        self._known.meta |= (told := {"rescue": "", "rescued": _rescued_text(self._known)})
        opened = closing(database.connect(self._path, "rw", _BUSY))
        with opened as connection, database.transaction(connection, durable=True):
            database.put_meta(connection, told)

    def _move_away(self, reason: str, why: str) -> Path:
        aside = self.set_aside = database.set_aside(self._path, why)
        logger.error("the journal %s is %s (%s): set aside as %s, and a new one begun", self._path, why, reason, aside)
        self._note(f"store_{why}", path=str(self._path), set_aside=str(aside), reason=reason)
        return aside

    def _begin(self, contents: database.Contents) -> str:
        """Makes a new file with what is known; returns which journal it is."""
        database.create(self._path)
        if contents.devices:
            database.close_to_others(self._path)
        with closing(database.connect(self._path, "rw", _BUSY)) as connection:
            database.prepare(connection, self._path)
            database.fill(connection, contents)
            return database.load(connection).meta["journal"]

    def _oldest(self) -> dict[str, int]:
        """Per kind the time (microseconds) before which retention would remove it at once."""
        return {kind: int(_now()) - int(age * 1_000_000) for kind, age in self._keep.items() if age is not None}

    def _note(self, event_type: str, **details: object) -> None:
        self._notes.append(Note(event_type, {"store": "journal", **details}))

    def notes(self) -> list[Note]:
        """What befell the journal since the last call and is worth an event; any one thread."""
        told = []
        while self._notes:
            told.append(self._notes.popleft())
        return told

    def _believed(self) -> Iterator[Believed]:
        for (service, key), (route, event) in sorted(self._known.remembered.items()):
            if route is None:
                continue
            try:
                yield Believed(service=service, route=route_from(route), event=event)
            except ValueError as error:
                logger.error("the journal %s: %s of %s is forgotten: %s", self._path, key, service, error)

    def _ordered(self) -> Iterator[Override | Lift | ByHand]:
        for subject, text in sorted(self._known.ordered.items()):
            if text is None:
                continue
            try:
                yield _order_about(subject, text)
            except ValueError as error:
                logger.error("the journal %s: the order about %s is forgotten: %s", self._path, subject, error)

    def devices(self) -> dict[str, str]:
        """What was written of the devices that were added over HTTP, by name; between `open` and `start`."""
        return dict(self._known.devices)

    def speaker(self, identity: str) -> None:
        """Names the ExaBGP that is heard from now on, before `start`: what another one told of routes is stale then.

        Without it the routes are taken to be those of the ExaBGP that was heard before.
        """
        self._speaker = self._known.meta[SPEAKER] = database.clean(identity)

    def start(self) -> None:
        """Starts the writer; raises StoreError unless `open` succeeded."""
        if self._hold is None or self._thread is not None:
            raise StoreError(f"{self._path}: is not open, or its writer runs already")
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 1.0) -> bool:
        """Writes what waits and gives the journal back; False when something could not be written within `timeout`.

        A disk that refuses may make it last half a second more than `timeout` (seconds).
        """
        self._stop_at = time.monotonic() + timeout
        self._stopping.set()
        self._something.set()
        self._urgent.set()
        if self._thread is not None:
            # The writer ends by itself at its deadline; what it may overstay is one wait for a lock.
            self._thread.join(timeout + 2 * _BUSY)
            if self._thread.is_alive():
                return False
        self._release()
        return not self._waiting()

    def _release(self) -> None:
        self._ended = self._stopping.is_set()
        if self._hold is not None:
            self._hold.release()
            self._hold = None

    # --- putting: any thread, no waiting ------------------------------------------------------------------------

    def record(self, event: Event, ts: int) -> None:
        """Keeps an event that happened at `ts` (microseconds since the epoch)."""
        self._put(Stamped(event, ts))

    def remember(self, remembered: Remember | RememberOrder) -> None:
        """Keeps the last decision on a target, or an operator's order, after everything that was put before."""
        self._put(remembered)

    def together(
        self,
        effects: Iterable[Event | Remember | RememberOrder | KeepDevice],
        ts: int,
        meta: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Keeps events, decisions, orders, devices, values in one transaction: after a crash all are known, or none."""
        puts: tuple[_Put, ...] = tuple(Stamped(each, ts) if isinstance(each, Event) else each for each in effects)
        self._known.meta.update(meta)
        puts += tuple(_Meta(key, value) for key, value in meta.items())
        if puts:
            self._put(puts)

    def keep_inputs(self, rows: tuple[Shape | Chunk | Single, ...], size: int) -> bool:
        """Keeps rows of the input log, about `size` bytes, all or none; False when too much waits. For one thread."""
        waiting = self._inputs_put - self._inputs_done
        if waiting + size > MAX_INPUT_BYTES or len(self._puts) >= MAX_PUTS or self._ended:
            self._refused_inputs += 1
            return False
        self._inputs_put += size
        self._puts.append(_Inputs(rows, size))
        if not self._something.is_set():
            self._something.set()
        return True

    def new_shape(self) -> int:
        """A number that no poll's content in the input log has yet; for the thread that keeps the inputs."""
        self._known.last_shape += 1
        return self._known.last_shape

    def put_meta(self, key: str, value: str) -> None:
        """Keeps a value under a key, for later starts; raises ValueError for the journal's own keys."""
        if key in _OWN_META:
            raise ValueError(f"{key} is the journal's own")
        self._known.meta[key] = value
        self._put(_Meta(key, value))

    def keep_alerts(self, kept: Kept) -> None:
        """Keeps how far a courier of alerts has come, with what it gave up or delivered after all, in one step."""
        key, value = f"{NOTIFY}{kept.endpoint}", letters.kept_text(kept)
        self._known.meta[key] = value
        put: tuple[_Put, ...] = (_Meta(key, value),)
        if kept.buried or kept.delivered:
            put += (_Letters(kept.buried, kept.delivered),)
        self._put(put)

    def alerts_kept(self, endpoint: str) -> tuple[int, str | None] | None:
        """How far a courier has come, and the fingerprint of an endpoint that is gone; None: nothing is known."""
        return letters.kept_from(self.meta(f"{NOTIFY}{endpoint}"))

    def send_again(self, letter: int) -> None:
        """Notes that a dead letter shall be sent again."""
        self._put(_Letters(mark=(letter,)))

    def discard(self, letter: int) -> None:
        """Removes a dead letter."""
        self._put(_Letters(drop=(letter,)))

    def meta(self, key: str) -> str | None:
        """The value last put, or as found at opening; `alive` is when our predecessor last wrote (microseconds)."""
        return self._known.meta.get(key)

    def flushed(self, *, messages: bool = True) -> Future[None]:
        """A future that is done once everything put before is on the disk, safe from a power cut; wakes the writer.

        With `messages=False` it does not wait for BGP messages: what an answer to somebody waits for. It fails with
        StoreError when an event was refused before it, or when the journal stops first.
        """
        future: Future[None] = Future()
        if self._broken_promise:
            self._broken_promise = False
            future.set_exception(
                StoreError(f"{self._path}: an event was refused, as too many are waiting for the disk")
            )
            return future
        with self._gate:
            lines = self._taken if messages else 0
        if not self._put(_Promise(future, lines)):
            future.set_exception(StoreError(f"{self._path}: takes nothing more"))
            return future
        self._urgent.set()
        if self._ended:  # It stopped between the two lines above, or had before.
            self._break_promises()
        return future

    def _put(self, put: _Put | tuple[_Put, ...]) -> bool:
        if len(self._puts) >= MAX_PUTS or self._ended:
            self._overflowed += len(put) if isinstance(put, tuple) else 1
            self._broken_promise = True
            return False
        self._puts.append(put)
        if not self._something.is_set():
            self._something.set()
        return True

    def messages(self, lines: Sequence[bytes], received: int) -> int:
        """Keeps lines of JSON as read from ExaBGP; returns how many were taken, the rest is dropped and counted."""
        return self._take([_Line(line, received) for line in lines])

    def missed(self, count: int, first: int, last: int) -> None:
        """Counts lines that nobody could keep, received from `first` to `last`: a gap stands where they were."""
        with self._gate:
            self._drop(count, first)
            if self._gap is not None:
                self._gap.last = max(self._gap.last, last)

    def quarantine(self, line: bytes, reason: str, received: int) -> None:
        """Keeps a line that could not be understood, and why; like a message it may be dropped."""
        self._take([_Line(line[:_LONGEST_LINE], received, reason)])

    def _take(self, lines: list[_Line]) -> int:
        taken = 0
        with self._gate:
            for line in lines:
                full = (
                    len(self._lines) >= self._max_messages
                    or self._line_bytes + len(line.raw) > self._max_message_bytes
                    or self._ended
                )
                if full:
                    break
                if self._gap is not None:
                    self._lines.append(self._gap)
                    self._gap = None
                self._lines.append(line)
                self._line_bytes += len(line.raw)
                taken += 1
            self._taken += taken
            if taken < len(lines):
                self._drop(len(lines) - taken, lines[taken].received)
        if not self._something.is_set():
            self._something.set()
        return taken

    def _drop(self, count: int, received: int) -> None:
        self._dropped += count
        if self._gap is None:
            self._gap = _Gap(0, received, received)
        self._gap.dropped += count
        self._gap.last = received

    # --- telling ------------------------------------------------------------------------------------------------

    @property
    def healthy(self) -> bool:
        """Whether the writer runs and the disk took what it was last given."""
        return self._thread is not None and self._thread.is_alive() and self._failing_since is None

    def counters(self) -> Counters:
        """The numbers now, from any thread."""
        events, lines = self._event_lane.held, self._line_lane.held
        return Counters(
            queued_events=len(self._puts) + (events.size if events else 0),
            queued_messages=len(self._lines) + (lines.size if lines else 0),
            committed_events=self._committed["event"],
            committed_messages=self._committed["message"],
            quarantined=self._quarantined,
            dropped_messages=self._dropped,
            overflowed_events=self._overflowed,
            duplicates=self._duplicates,
            pruned_events=self._pruned["event"],
            pruned_messages=self._pruned["message"],
            write_errors=self._write_errors,
            last_error=self._last_error,
            committed_inputs=self._committed["input"],
            pruned_inputs=self._pruned["input"],
            refused_inputs=self._refused_inputs,
        )

    def route_counters(self) -> RouteCounters:
        """The numbers of the neighbours' tables now, from any thread."""
        return self._routes.counters()

    def _waiting(self) -> bool:
        return bool(
            self._puts or self._lines or self._gap or self._event_lane.held or self._line_lane.held or self._awaiting
        )

    # --- the writer's thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._finished():
                self._pause()
                self._urgent.clear()
                self._something.clear()
                try:
                    self._turn()
                except Exception as error:  # noqa: BLE001 - whatever happens, the writer goes on with what waits
                    self._fault(error)
        finally:
            self._leave()

    def _finished(self) -> bool:
        return self._stopping.is_set() and (not self._waiting() or time.monotonic() >= self._stop_at)

    def _pause(self) -> None:
        if self._event_lane.held is not None:
            due = self._event_lane.retry_at
        elif self._line_lane.held is not None:
            due = self._line_lane.retry_at
        else:
            due = 0.0 if self._stopping.is_set() else min(self._alive_at, self._prune_at, self._routes_at)
            if self._rescues:
                due = min(due, self._rescue_at)
        if self._stopping.is_set():  # No more batching; only a disk that refuses is given its pause.
            time.sleep(max(0.0, min(due, self._stop_at) - time.monotonic()))
            return
        if self._something.wait(max(0.0, due - time.monotonic())):
            self._urgent.wait(self._batch_seconds)

    def _turn(self) -> None:
        now = time.monotonic()
        self._store_events(now)
        if self._event_lane.held is None:  # What the disk can take is for events first.
            self._store_lines(now)
        if self._event_lane.held is None and self._line_lane.held is None:
            self._tend(now)
            self._tend_routes(now)

    def _store_events(self, now: float) -> None:
        lane = self._event_lane
        if lane.held is None:
            lane.held = self._gather_puts()
        elif now < lane.retry_at and not self._stopping.is_set():
            return
        batch = lane.held
        if batch is None:
            return
        try:
            self._write_puts(batch)
        except (sqlite3.Error, StoreError, OSError) as error:
            self._refused(lane, error)
            return
        lane.held = None
        self._accepted(lane)
        for promise in batch.promises:
            if promise.lines <= self._lines_done:
                _keep(promise)
            else:
                self._awaiting.append(promise)

    def _store_lines(self, now: float) -> None:
        lane = self._line_lane
        if lane.held is None:
            lane.held = self._gather_lines()
        elif now < lane.retry_at and not self._stopping.is_set():
            return
        batch = lane.held
        if batch is None:
            return
        try:
            self._write_lines(batch)
        except (sqlite3.Error, StoreError, OSError) as error:
            self._refused(lane, error)
            return
        except (UnicodeError, OverflowError, ValueError, TypeError) as error:
            # What they tell of routes cannot be kept. They can, and no line may stand in the way of all that follow.
            logger.exception("the journal %s: what messages tell of routes is left out", self._path)
            if batch.said.told:
                number, ts, _ = batch.said.told[0]
                batch.said = Said([(number, ts, None)])
            self._refused(lane, error)
            return
        lane.held = None
        self._lines_done += batch.size
        self._accepted(lane)
        for promise in self._awaiting:
            if promise.lines <= self._lines_done:
                _keep(promise)
        self._awaiting = [promise for promise in self._awaiting if promise.lines > self._lines_done]

    # --- batches: from what was put to rows ---

    def _gather_puts(self) -> _Puts | None:
        batch = _Puts()
        while self._puts and batch.size < _EVENTS_A_BATCH:
            put = self._puts.popleft()
            for one in put if isinstance(put, tuple) else (put,):
                batch.size += 1
                self._add(batch, one)
        if self._puts:
            self._go_on()
        return batch if batch.size else None

    def _add(self, batch: _Puts, put: _Put) -> None:
        match put:
            case Stamped():
                batch.events.append(self._event_row(put))
            case Remember():
                route = None if put.route is None else database.clean(route_text(put.route))
                batch.remembered[database.clean(put.service), database.clean(put.key)] = (route, put.event)
            case RememberOrder():
                text = None if put.order is None else database.clean(order_text(put.order))
                batch.ordered[database.clean(database.subject(put.service))] = text
            case KeepDevice():
                batch.devices[database.clean(put.name)] = None if put.text is None else put.text.reveal()
            case _Inputs():
                self._add_inputs(batch, put)
            case _Meta():
                batch.meta[database.clean(put.key)] = database.clean(put.value)
            case _Letters():
                batch.letters.append(put)
            case _Promise():
                batch.promises.append(put)

    def _add_inputs(self, batch: _Puts, put: _Inputs) -> None:
        batch.input_bytes += put.size
        for row in put.rows:
            try:
                if isinstance(row, Shape):
                    batch.shapes.append((row.id, row.ts, poll_body(row.poll)))
                    continue
                kind, body = (POLLS, chunk_body(row)) if isinstance(row, Chunk) else single_row(row)
            except Exception:
                logger.exception("the journal %s: an input cannot be kept", self._path)
                continue
            # Numbered once, when it leaves the queue, as messages are.
            self._known.last_input += 1
            batch.inputs.append((self._known.last_input, row.ts, row.now, kind, body))

    def _event_row(self, stamped: Stamped) -> tuple[Any, ...]:
        event = stamped.event
        return (
            event.id,
            stamped.ts,
            self._site,
            _text(event.device),
            _text(event.event_type),
            _details(event),
            _text(event.session),
            _text(event.service),
            _text(event.source),
            _text(event.actor),
            event.cause,
        )

    def _gather_lines(self) -> _Lines | None:
        batch = _Lines()
        seen = 0
        while seen < _LINES_A_BATCH and batch.said.size < _CHANGES_A_BATCH:
            found = self._next_lines(_LINES_A_BATCH - seen)
            if not found:
                break
            seen += len(found)
            for line in found:
                if isinstance(line, _Gap):
                    self._add_gap(batch, line)
                else:
                    batch.size += 1
                    self._add_line(batch, line)
        if self._lines:
            self._go_on()
        return batch if seen else None

    def _next_lines(self, most: int) -> list[_Line | _Gap]:
        """The next lines in the queue, as many as are small together: what they tell is known only when decoded."""
        found: list[_Line | _Gap] = []
        size = 0
        with self._gate:
            while self._lines and len(found) < most and size < _BYTES_AT_ONCE:
                line = self._lines.popleft()
                found.append(line)
                if isinstance(line, _Line):
                    size += len(line.raw)
            self._line_bytes -= size
            if not self._lines and self._gap is not None and len(found) < most:
                found.append(self._gap)
                self._gap = None
        return found

    def _go_on(self) -> None:
        self._something.set()
        self._urgent.set()

    def _add_line(self, batch: _Lines, line: _Line) -> None:
        reason = line.reason
        if reason is None:
            try:
                row, told = _message_row(line, self._mend)
            except (ValueError, RecursionError) as error:
                reason = f"not a message: {error}"
            else:
                number = self._add_message(batch, row)
                if told is not None:
                    batch.said.add(number, line.received, told)
                return
        self._known.last_quarantined += 1
        raw = line.raw[:_LONGEST_LINE]
        batch.quarantined.append((self._known.last_quarantined, line.received, database.clean(reason), raw))

    def _add_gap(self, batch: _Lines, gap: _Gap) -> None:
        number = self._add_message(batch, _gap_row(gap))
        batch.said.add(number, gap.last, None)

    def _add_message(self, batch: _Lines, row: tuple[Any, ...]) -> int:
        # Numbered once, when it leaves the queue: a batch that is written again has the same ids.
        self._known.last_message += 1
        batch.messages.append((self._known.last_message, *row))
        return self._known.last_message

    # --- transactions ---

    def _write_puts(self, batch: _Puts) -> None:
        connection = self._connected()
        last = max((row[0] for row in batch.events), default=0)
        last = max(self._known.last_event, last, *(event for _, event in batch.remembered.values()))
        if batch.devices:
            database.close_to_others(self._path)
        with database.transaction(connection, durable=bool(batch.promises)):
            added = self._insert(connection, "event", _INSERT_EVENT, batch.events)
            database.put_remembered(connection, batch.remembered)
            database.put_ordered(connection, batch.ordered)
            for told in batch.letters:
                letters.put_letters(connection, told.put, database.clean)
                letters.drop_letters(connection, told.drop)
                letters.mark_letters(connection, told.mark)
            database.put_devices(connection, batch.devices)
            connection.executemany(_INSERT_SHAPE, batch.shapes)
            inputs = self._insert(connection, "input", _INSERT_INPUT, batch.inputs)
            database.put_meta(connection, batch.meta | {"last_event": str(last), "alive": _now()})
        self._known.last_event = last
        self._mark()
        self._known.events = (
            database.kept_events(connection) if added < len(batch.events) else self._known.events + added
        )
        self._known.remembered.update(batch.remembered)
        self._known.ordered.update(batch.ordered)
        for name, text in batch.devices.items():
            self._known.devices.pop(name, None)
            if text is not None:
                self._known.devices[name] = text
        self._inputs_done += batch.input_bytes
        self._written("input", inputs)
        self._written("event", added)

    def _write_lines(self, batch: _Lines) -> None:
        connection = self._connected()
        self._begin_routes(connection)
        with self._routes_in(connection, durable=bool(self._awaiting)):
            added = self._insert(connection, "message", _INSERT_MESSAGE, batch.messages)
            if added and batch.said.told:  # Where the messages were there already, what they tell is too.
                self._routes.apply(connection, batch.said)
            if batch.quarantined:
                connection.executemany(_INSERT_QUARANTINED, batch.quarantined)
                oldest = batch.quarantined[-1][0] - database.KEEP_QUARANTINED
                connection.execute("DELETE FROM quarantine WHERE id <= ?", (oldest,))
            database.put_meta(connection, {"last_message": str(self._known.last_message), "alive": _now()})
        self._last_message = max(self._last_message, *(row[0] for row in batch.messages), 0)
        self._mark()
        self._quarantined += len(batch.quarantined)
        self._written("message", added)

    @contextmanager
    def _routes_in(self, connection: sqlite3.Connection, *, durable: bool) -> Iterator[None]:
        """A transaction in which the neighbours' tables may change."""
        try:
            with database.transaction(connection, durable=durable):
                yield
        except BaseException:
            self._routes.forget()
            raise

    def _begin_routes(self, connection: sqlite3.Connection) -> None:
        if not self._routes.begun:
            with self._routes_in(connection, durable=False):
                self._routes.begin(connection, self._speaker, int(_now()))

    def _insert(self, connection: sqlite3.Connection, kind: str, sql: str, rows: list[tuple[Any, ...]]) -> int:
        before = connection.total_changes
        connection.executemany(sql, rows)
        added = connection.total_changes - before
        spans: dict[int, list[int]] = {}
        tallies: Counter[tuple[int, int, str]] = Counter()
        type_at = _TYPE_AT.get(kind)
        for row in rows:
            ts = row[1]
            if type_at is not None:
                tallies[row[0] >> database.PART, ts // DAY * DAY, row[type_at]] += 1
            span = spans.setdefault(row[0] >> database.PART, [0, ts, ts])
            span[0] += 1
            span[1] = min(span[1], ts)
            span[2] = max(span[2], ts)
        if added == len(rows):
            connection.executemany(_WIDEN_SPAN, [(kind, part, *span) for part, span in spans.items()])
            connection.executemany(_ADD_TALLY, [(kind, *place, count) for place, count in tallies.items()])
            return added
        # A commit of which we were told that it failed had succeeded: the first writing counts.
        logger.warning("the journal %s: %d of %d were there already", self._path, len(rows) - added, len(rows))
        self._duplicates += len(rows) - added
        for part in spans:
            database.recount(connection, kind, part)
        return added

    def _mark(self) -> None:
        if self._hold is not None:
            known = self._known
            self._hold.note(database.Mark(known.last_event, self._last_message, known.meta.get("journal", "")))

    def _written(self, kind: str, count: int) -> None:
        self._committed[kind] += count
        if count and kind != "input":
            self.committed.set()
        self._alive_at = time.monotonic() + _ALIVE

    # --- the disk refuses ---

    def _refused(self, lane: _Lane[Any], error: Exception) -> None:
        now = time.monotonic()
        lane.retry_at = now + lane.retry
        lane.retry = min(2 * lane.retry, _LAST_RETRY)
        self._failed(error)

    def _failed(self, error: Exception) -> None:
        now = time.monotonic()
        self._note_error(error)
        if self._failing_since is None:
            self._failing_since = now
            self._complained_at = now - _REPEAT
        if now - self._complained_at >= _REPEAT:
            self._complained_at = now
            logger.error("the journal %s refuses: %s; %d wait", self._path, error, self.counters().queued_events)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        # What is open still where the file has no name any more is all there is of it.
        if code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL) and not self._moved():
            self._disconnect()
        if database.is_damage(error):
            self._begin_anew(str(error))

    def _fault(self, error: Exception) -> None:
        if self._failing_since is None:
            logger.error("the journal %s: fault in the writer", self._path, exc_info=error)
        self._event_lane.retry_at = self._line_lane.retry_at = time.monotonic() + _LAST_RETRY
        self._alive_at = self._prune_at = self._event_lane.retry_at
        self._failed(error)
        self._disconnect()

    def _note_error(self, error: Exception) -> None:
        self._write_errors += 1
        self._last_error = f"{type(error).__name__}: {error}"

    def _accepted(self, lane: _Lane[Any]) -> None:
        lane.retry = _FIRST_RETRY
        if lane.retry_at > 0.0:  # What came in the meantime has rung already, and was not heard.
            lane.retry_at = 0.0
            self._go_on()
        if self._failing_since is not None and self._event_lane.held is None and self._line_lane.held is None:
            seconds = time.monotonic() - self._failing_since
            self._failing_since = None
            logger.warning("the journal %s is written again after %.1f s", self._path, seconds)

    def _begin_anew(self, reason: str) -> None:
        """Replaces a file that broke, or was taken away, under our hands; what we know goes on in the new one."""
        known = self._known
        try:
            source = self._put_away(reason)
            fresh = database.Contents(
                last_event=known.last_event,
                last_message=known.last_message,
                meta=dict(known.meta),
                remembered=dict(known.remembered),
                ordered=dict(known.ordered),
                devices=dict(known.devices),
            )
            if isinstance(source, Path):
                known.meta["rescue"] = fresh.meta["rescue"] = _rescue_text(source, fresh)
            known.meta["journal"] = self._begin(fresh)
            known.meta.pop("copy", None)
            self._file = _file(self._path)
            self.generation += 1
            known.events = 0
            if source is not None:
                limits = {"event": known.last_event, "message": known.last_message}
                self._rescues.append(Rescue(source, limits, self._oldest()))
            elif not self._rescues:
                self._nothing_to_rescue()
        except (sqlite3.Error, StoreError, OSError) as error:
            self._note_error(error)

    def _put_away(self, reason: str) -> Path | sqlite3.Connection | None:
        """Makes the name free for a new file; what of the old one is still to be read."""
        there = _file(self._path)
        moved = there != self._file
        source: Path | sqlite3.Connection | None = None
        if moved:  # Its name is gone, but as long as it is open it is there.
            source, self._connection = self._connection, None
        else:
            self._disconnect()
        if there is None:
            logger.error("the journal %s was removed: a new one is begun", self._path)
            self._note("store_replaced", path=str(self._path), reason="removed")
            database.drop_companions(self._path)
        elif moved:
            log = _file(self._path.with_name(self._path.name + "-wal"))
            if log is not None and log == self._log_file:
                database.drop_companions(self._path)
            self._move_away("it is not the file that we write", "replaced")
        else:
            source = self._move_away(reason, "damaged")
        return source

    def _moved(self) -> bool:
        """Whether the file that we write has lost its name."""
        try:
            return self._file is not None and _file(self._path) != self._file
        except OSError:
            return False

    def _keep_hold(self) -> None:
        """Takes the right to the journal again where its file was removed; raises StoreError when another has it."""
        if self._hold is not None and self._hold.lost():
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            hold = database.Hold(self._path)
            self._hold.release()
            self._hold = hold

    def _connected(self) -> sqlite3.Connection:
        self._keep_hold()
        # SQLite goes on writing into a file that was removed, where nobody would ever find it.
        if self._moved():
            self._begin_anew("removed")
        if self._connection is None:
            self._routes.forget()
            before = _file(self._path)
            # Another thread may read in it to its end, should the file lose its name.
            connection = database.connect(self._path, "rw", _BUSY, shared=True)
            try:
                database.prepare(connection, self._path)
                connection.execute("PRAGMA cache_size = -8192")
                connection.execute("PRAGMA journal_size_limit = 67108864")
                if before is None or _file(self._path) != before:
                    # It would be written to its end, where nobody would ever find it.
                    raise OSError("another file has its name since it was opened")  # noqa: TRY301 - as any other fault
                self._file = before
                self._log_file = _file(self._path.with_name(self._path.name + "-wal"))
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    # --- between batches ---

    def _tend(self, now: float) -> None:
        """Marks that we live and removes a little of what is too old or too much."""
        try:
            if now >= self._alive_at:
                self._alive_at = now + _ALIVE
                connection = self._connected()
                with database.transaction(connection, durable=False):
                    database.put_meta(connection, {"alive": _now()})
                self._recovered()
            if now >= self._prune_at or self._too_many() > 0:
                more = self._prune()
                self._prune_at = now + (_BREATH if more else _PRUNE)
                if not more:  # All of it at once.
                    self._tell_gaps(now)
            if self._rescues and now >= self._rescue_at:
                self._rescue_at = now + _BREATH
                self._take_rescued()
        except (sqlite3.Error, StoreError, OSError) as error:
            self._alive_at = self._prune_at = self._rescue_at = now + _LAST_RETRY
            self._failed(error)

    def _take_rescued(self) -> None:
        """Keeps some rows of a file that was set aside or removed."""
        rescue = self._rescues[0]
        rescue.begin()
        done = rescue.done  # Before `take`: what comes after it is seen the next time.
        batch = self._rescued_rows = self._rescued_rows or rescue.take()
        if batch is None:
            if done:
                self._rescue_ended(rescue)
            return
        rows = batch.rows
        if batch.kind == "event" and self._max_events is not None and "event" not in self.spare:
            rows = rows[: max(0, -self._too_many())]
        connection = self._connected()
        with database.transaction(connection, durable=False):
            before = connection.total_changes
            connection.executemany(_RESCUED[batch.kind], rows)
            added = connection.total_changes - before
            for part in {row[0] >> database.PART for row in rows}:
                database.recount(connection, batch.kind, part)
        self._rescued_rows = None
        self._rescued[batch.kind] += added
        if batch.kind == "event":
            self._known.events += added

    def _rescue_ended(self, rescue: Rescue) -> None:
        told = {f"{kind}s": count for kind, count in self._rescued.items()}
        before = {"journal": rescue.identity, **rescue.limits}
        if len(self._rescues) == 1:  # Only then is all there, which others may wait for.
            ended = {"rescue": "", "rescued": json.dumps({**before, **told})}
            with database.transaction(self._connected(), durable=True) as _:
                database.put_meta(self._connected(), ended)
            self._known.meta |= ended
        self._rescues.popleft()
        self._rescued = dict.fromkeys(COLUMNS, 0)
        unreadable = sum(tally.bad + tally.faults for tally in rescue.tallies.values())
        logger.warning("the journal %s: %s carried over, %d places not readable", self._path, told, unreadable)
        self._note("store_rescued", path=str(self._path), unreadable=unreadable, **told)

    def _tend_routes(self, now: float) -> None:
        """Removes a little of the routes that are gone, and of the attributes that none has any more."""
        wall = int(_now())
        try:
            if now < self._routes_at and not self._routes.wants(wall):
                return
            connection = self._connected()
            self._begin_routes(connection)
            free = now >= self._routes_at
            with self._routes_in(connection, durable=False):
                self._routes.tend(connection, wall)
                if free:
                    self._routes.free(connection)
                    oldest = self._keep["message"]
                    if oldest is not None and now >= self._ages_from:
                        self._routes.forget_rates(connection, wall - int(oldest * 1_000_000))
            self._routes_at = now + (_BREATH if self._routes.wants(wall) else _PRUNE)
        except (sqlite3.Error, StoreError, OSError) as error:
            self._routes_at = now + _LAST_RETRY
            self._failed(error)

    def _recovered(self) -> None:
        if self._failing_since is not None:
            self._accepted(self._event_lane)

    def _too_many(self) -> int:
        return 0 if self._max_events is None else self._known.events - self._max_events

    def _prune(self) -> bool:
        """One step of retention; True when there is more to do."""
        connection = self._connected()
        more = False
        excess = self._too_many()
        if excess > 0:
            spared = self.spare["event"]() if "event" in self.spare else None
            part = connection.execute("SELECT min(part) FROM span WHERE kind = 'event'").fetchone()[0]
            done = 0
            if part is not None:
                done = self._remove(connection, "event", part, excess, up_to=spared)
            more = self._too_many() > 0 and (done > 0 or spared is None)
        ages = self._keep if self._ages_count() else {}
        for kind, age in ages.items():
            if age is None:
                continue
            before = int(_now()) - int(age * 1_000_000)
            found = _oldest_part(connection, kind, before)
            if found is not None:
                part, up_to = found
                more = self._remove(connection, kind, part, _GREATEST, before=before, up_to=up_to) > 0 or more
            elif kind == "input":  # Only after every row that may refer to them.
                more = self._prune_shapes(connection, before - 2 * SHAPE_SECONDS * 1_000_000) or more
        return more

    def _ages_count(self) -> bool:
        """Whether the clock may be believed when it says that something is too old: not soon after a leap ahead."""
        wall, monotonic = time.time(), time.monotonic()
        leap = (wall - self._wall) - (monotonic - self._monotonic)
        self._wall, self._monotonic = wall, monotonic
        if leap > _LEAP:
            self._ages_from = monotonic + _PATIENCE
            logger.warning(
                "the clock is %.0f s ahead of where the journal %s knew it: nothing is removed for its age for %.0f s",
                *(leap, self._path, _PATIENCE),
            )
        return monotonic >= self._ages_from

    def _tell_gaps(self, now: float) -> None:
        """Says, once a minute at most, what was removed for its age before it was shipped."""
        if not self._gaps or now < self._gaps_at:
            return
        self._gaps_at = now + _REPEAT
        for kind, (count, first, last) in self._gaps.items():
            logger.error(
                "the journal %s: %d of kind %s (%d to %d) were too old and are removed, though not shipped",
                *(self._path, count, kind, first, last),
            )
            self._note("store_gap", kind=kind, count=count, first=first, last=last)
        self._gaps.clear()

    def _prune_shapes(self, connection: sqlite3.Connection, before: int) -> bool:
        """Removes contents of polls that no row can refer to any more: those in use say so, and outlive their rows."""
        old = connection.execute("SELECT id FROM shape WHERE ts < ? LIMIT ?", (before, _PRUNED_A_STEP)).fetchall()
        if old:
            with database.transaction(connection, durable=False):
                connection.executemany("DELETE FROM shape WHERE id = ?", old)
        return len(old) == _PRUNED_A_STEP

    def _remove(
        self,
        connection: sqlite3.Connection,
        kind: str,
        part: int,
        count: int,
        *,
        before: int | None = None,
        up_to: int | None = None,
    ) -> int:
        """Removes at most `count` rows of a part, in a step that is short: those before a time, up to an id, or any."""
        most = _PRUNED_INPUTS_A_STEP if kind == "input" else _PRUNED_A_STEP
        step = min(self._step.get(kind, _LEAST_A_STEP), most)
        count = min(count, step)
        began = time.monotonic()
        low, high = part << database.PART, (part + 1) << database.PART
        if up_to is not None:
            high = min(high, up_to + 1)
        old, values = ("", (low, high)) if before is None else ("AND ts < ?", (low, high, before))
        chosen = f"SELECT id FROM {kind} WHERE id >= ? AND id < ? {old} ORDER BY id LIMIT ?"  # noqa: S608 - our own names  # nosec B608
        shipped = self.spare[kind]() if before is not None and kind in self.spare else None
        with database.transaction(connection, durable=False):
            if kind == "message":
                numbers = [row[0] for row in connection.execute(chosen, (*values, count))]
                count = len(self._routes.let_go(connection, numbers))
            gap = (0, 0, 0)
            if shipped is not None:
                beyond = f"SELECT count(*), min(id), max(id) FROM ({chosen}) WHERE id > ?"  # noqa: S608  # nosec B608
                gap = connection.execute(beyond, (*values, count, shipped)).fetchone()
            done = connection.execute(f"DELETE FROM {kind} WHERE id IN ({chosen})", (*values, count)).rowcount  # noqa: S608  # nosec B608
            database.recount(connection, kind, part)
        # A disk that is slow for a moment makes it small, and it grows again.
        lasted = time.monotonic() - began
        self._step[kind] = max(_LEAST_A_STEP, step // 2) if lasted > _STEP_SECONDS else min(most, step + step // 4)
        self._pruned[kind] += done
        if kind == "event":
            self._known.events -= done
        if gap[0]:
            known = self._gaps.setdefault(kind, [0, gap[1], gap[2]])
            self._gaps[kind] = [known[0] + gap[0], min(known[1], gap[1]), max(known[2], gap[2])]
        return int(done)

    # --- leaving ---

    def _leave(self) -> None:
        lost = self.counters()
        if self._waiting():
            logger.error(
                "the journal %s stops with %d events and %d messages unwritten: %s",
                self._path,
                lost.queued_events,
                lost.queued_messages,
                self._last_error,
            )
        self._ended = True
        self._break_promises()
        self._end_rescues()
        if self._connection is not None and time.monotonic() < self._stop_at:
            with suppress(sqlite3.Error):
                with database.transaction(self._connection, durable=True):
                    database.put_meta(self._connection, {"closed": "1"})
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._disconnect()

    def _end_rescues(self) -> None:
        """A file without a name is gone when we are: what time is left is for it."""
        with suppress(sqlite3.Error, StoreError, OSError):
            while self._rescues and self._rescues[0].fleeting and time.monotonic() < self._stop_at:
                self._take_rescued()
                if self._rescued_rows is None:
                    time.sleep(0.001)
        for rescue in self._rescues:
            if rescue.fleeting:
                logger.error("the journal %s: not all of a removed file could be carried over", self._path)
            rescue.stop()

    def _break_promises(self) -> None:
        held = self._event_lane.held
        promises = [*self._awaiting, *(held.promises if held else ())]
        with suppress(RuntimeError):  # Others may still be putting; whoever promises now sees to it himself.
            promises += [put for put in self._puts if isinstance(put, _Promise)]
        for promise in promises:
            with suppress(Exception):
                promise.future.set_exception(StoreError(f"{self._path}: stopped before it was written"))


_File = tuple[int, int]


def _file(path: Path) -> _File | None:
    """Which file has the name now, None for none; raises OSError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _boot() -> str:
    """Which start of this machine it is; empty where that cannot be known."""
    try:
        return _BOOT.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _machine() -> str:
    """Which machine it is; empty where that cannot be known."""
    try:
        found = _MACHINE.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return found if len(found) == 32 and found.strip("0") else ""


def _rescued_text(contents: database.Contents) -> str:
    """How a rescue ended of which nothing else is known."""
    return json.dumps({"journal": None, "event": contents.last_event, "message": contents.last_message})


def _rescue_text(path: Path, contents: database.Contents) -> str:
    return json.dumps({"path": str(path), "event": contents.last_event, "message": contents.last_message})


def _rescue_from(text: str | None) -> tuple[Path, dict[str, int]] | None:
    """The file that was being rescued, if it is there, and the greatest ids to look for."""
    try:
        told = json.loads(text or "{}")
        path, limits = Path(told["path"]), {kind: int(told[kind]) for kind in COLUMNS}
    except (ValueError, KeyError, TypeError):
        return None
    return (path, limits) if path.exists() else None


def _oldest_part(connection: sqlite3.Connection, kind: str, before: int) -> tuple[int, int] | None:
    """The first part with rows of before a time, and up to which id they may go; None when none may.

    What came after a row that is young enough is not older than that, whatever the clock said for a moment: a clock set
    back must not make what happens then go at once. Nor does one set ahead hold up the rows behind it.
    """
    found = connection.execute(
        "SELECT part FROM span WHERE kind = ? AND first_ts < ? ORDER BY part LIMIT 1", (kind, before)
    ).fetchone()
    if found is None:
        return None
    now, part = int(_now()), int(found[0])
    young = connection.execute(
        "SELECT 1 FROM span WHERE kind = ? AND part < ? AND last_ts >= ? AND last_ts <= ? LIMIT 1",
        (kind, part, before, now),
    ).fetchone()
    if young is not None:
        return None
    low, high = part << database.PART, (part + 1) << database.PART
    first = connection.execute(
        f"SELECT min(id) FROM {kind} WHERE id >= ? AND id < ? AND ts >= ? AND ts <= ?",  # noqa: S608 - our own names  # nosec B608
        (low, high, before, now),
    ).fetchone()[0]
    return part, (high if first is None else first) - 1


def _order_about(subject: str, text: str) -> Override | Lift | ByHand:
    order = order_from(text)
    about = f"{BY_HAND} {order.target.key}" if isinstance(order, ByHand) else None
    if subject != database.subject(order.service if isinstance(order, Override) else about):
        raise ValueError(f"not about it: {text}")
    return order


def _keep(promise: _Promise) -> None:
    if promise.future.set_running_or_notify_cancel():
        promise.future.set_result(None)


def _now() -> str:
    return str(time.time_ns() // 1_000)


def _details(event: Event) -> str:
    try:
        return details_text(event.details)
    except Exception as error:  # An event is never lost for its details.
        logger.exception("the details of event %d cannot be kept", event.id)
        return json.dumps({"unreadable": type(error).__name__})


def _text(value: str | None) -> str | None:
    return None if value is None else database.clean(str(value))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# ExaBGP 4.2 leaves raw control characters in the strings of its JSON (a shutdown's text), hence not strict.
_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse_constant)
_CAREFUL = json.JSONDecoder(strict=False, parse_constant=_refuse_constant, object_pairs_hook=updates.careful)

_DIRECTIONS = {"in": "receive", "out": "send"}
"""As 6 in development says them."""


def _message_row(line: _Line, mend: Mend | None = None) -> tuple[tuple[Any, ...], Told | None]:
    """The columns of a message, without its id, and what it tells of routes; ValueError when nobody can read it."""
    text = line.raw.decode("utf-8").strip()
    plain = updates.plain(text)
    if plain is not None:
        told = plain.told
        return (line.received, _time(plain.time), "update", told.neighbor, told.direction, text, None), told
    mended = None
    document: Any
    try:
        document = (_CAREFUL if updates.doubtful(text) else _DECODER).decode(text)
    except ValueError:
        document = mend(line.raw) if mend is not None else None
        if document is None:
            raise
        mended = database.clean(json.dumps(document, separators=(",", ":")))
    if not isinstance(document, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - said of the text, not of an argument
    if "\\u" in text or mended is not None:  # SQLite takes no half of a surrogate pair, wherever it would be put
        document = _cleaned(document)
    neighbor = document.get("neighbor")
    peer = direction = None
    if isinstance(neighbor, dict):
        address = neighbor.get("address")
        peer = _word(address.get("peer")) if isinstance(address, dict) else None
        direction = _word(neighbor.get("direction"))
        direction = _DIRECTIONS.get(direction, direction) if direction is not None else None
    row = (line.received, _time(document.get("time")), _word(document.get("type")) or "", peer, direction, text, mended)
    return row, updates.told(document)


def _cleaned(value: Any) -> Any:  # noqa: ANN401 - whatever JSON may hold
    """The same with texts that SQLite can keep."""
    match value:
        case str():
            return database.clean(value)
        case dict():
            return {database.clean(str(key)): _cleaned(each) for key, each in value.items()}
        case list():
            return [_cleaned(each) for each in value]
    return value


def _word(value: object) -> str | None:
    return database.clean(value) if isinstance(value, str) and len(value) <= 64 else None


def _time(value: object) -> int | None:
    """ExaBGP's seconds as microseconds, or None when they make no sense as a time."""
    if isinstance(value, int | float) and 0 <= value < 253_402_300_800:  # The year 10000.
        return round(value * 1_000_000)
    return None


def _gap_row(gap: _Gap) -> tuple[Any, ...]:
    told = {"type": GAP, "dropped": gap.dropped, "first": rfc3339(gap.first), "last": rfc3339(gap.last)}
    return gap.last, None, GAP, None, None, json.dumps(told), None
