"""The journal: the one write path, fed without ever waiting and written by one thread that owns the only connection.

Two lanes lead to the disk. Events, decisions, orders and meta values go first, in the order in which they were put, and
are never dropped; BGP messages follow, and are dropped, counted and marked with a gap when the disk does not keep up.
The input log's rows travel with the events, within a bound of their own.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from exabgp_bfd.core.model import Believed, Event, Lift, Override, Remember, RememberOrder, Restored, StoreError
from exabgp_bfd.storage import database
from exabgp_bfd.storage.queries import GAP, details_text, order_from, order_text, rfc3339, route_from, route_text
from exabgp_bfd.storage.recording import POLLS, SHAPE_SECONDS, Chunk, Shape, Single, chunk_body, poll_body, single_row

logger = logging.getLogger(__name__)

MAX_PUTS = 1_000_000
"""How many events, decisions and meta values may wait for a disk that refuses, before new ones are refused too."""

MAX_INPUT_BYTES = 64 << 20
"""About how many bytes of the input log may wait for a disk that refuses."""

_EVENTS_A_BATCH = 5_000
_LINES_A_BATCH = 2_000
_PRUNED_A_STEP = 1_000
_PRUNED_INPUTS_A_STEP = 50
"""Fewer, as a row of polls may have a hundred kilobytes."""
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

_OWN_META = frozenset({"alive", "journal", "last_event", "last_message"})

_INSERT_EVENT = (
    "INSERT INTO event (id, ts, site, device, event_type, details, session, service, source, actor, cause)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
)
_INSERT_MESSAGE = (
    "INSERT INTO message (id, ts, time, type, neighbor, direction, line) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO NOTHING"
)
_INSERT_INPUT = "INSERT INTO input (id, ts, now, kind, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
_INSERT_SHAPE = (
    "INSERT INTO shape (id, ts, body) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET ts = max(ts, excluded.ts)"
)
_INSERT_QUARANTINED = "INSERT INTO quarantine (id, ts, reason, line) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
_WIDEN_SPAN = (
    "INSERT INTO span (kind, part, rows, first_ts, last_ts) VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, part)"
    " DO UPDATE SET rows = rows + excluded.rows, first_ts = min(first_ts, excluded.first_ts),"
    " last_ts = max(last_ts, excluded.last_ts)"
)


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


_Put = Stamped | Remember | RememberOrder | _Inputs | _Meta | _Promise


@dataclass(slots=True)
class _Puts:
    """One transaction's worth of events, decisions, orders, inputs and meta values, as rows."""

    size: int = 0
    events: list[tuple[Any, ...]] = field(default_factory=list)
    remembered: dict[tuple[str, str], tuple[str | None, int]] = field(default_factory=dict)
    ordered: dict[str, str | None] = field(default_factory=dict)
    inputs: list[tuple[Any, ...]] = field(default_factory=list)
    shapes: list[tuple[Any, ...]] = field(default_factory=list)
    input_bytes: int = 0
    meta: dict[str, str] = field(default_factory=dict)
    promises: list[_Promise] = field(default_factory=list)


@dataclass(slots=True)
class _Lines:
    """One transaction's worth of lines from ExaBGP, as rows; `size` counts the lines, not the gaps among them."""

    size: int = 0
    messages: list[tuple[Any, ...]] = field(default_factory=list)
    quarantined: list[tuple[Any, ...]] = field(default_factory=list)


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

    def __init__(  # noqa: PLR0913 - one bound or age each, by name
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
    ) -> None:
        self._path = path
        self._site = database.clean(site)
        self._max_messages = max_messages
        self._max_message_bytes = max_message_bytes
        self._batch_seconds = batch_seconds
        self._keep = {"event": keep_events, "message": keep_messages, "input": keep_inputs}
        self._max_events = max_events
        self.set_aside: Path | None = None
        """Where a damaged journal was moved, the last time that one was found."""
        self.generation = 0
        """How often a new file was begun under our hands: what was only in the old one must be put again."""

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
        self._awaiting: list[_Promise] = []
        self._alive_at = 0.0
        self._prune_at = 0.0
        self._failing_since: float | None = None
        self._complained_at = 0.0
        self._committed = {"event": 0, "message": 0, "input": 0}
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
        )

    def _cannot(self, error: Exception) -> NoReturn:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            remedy = "another program has it locked: close that program"
        elif code == sqlite3.SQLITE_FULL:
            remedy = "make room on its disk"
        else:
            remedy = "make the file and its directory writable for the user that ExaBGP runs us as"
        raise StoreError(
            f"{self._path}: the journal cannot be written ({reason}); {remedy}, or give [storage] path another place"
        ) from error

    def _load(self) -> database.Contents:
        try:
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
            aside = self._move_away(str(error))
        self._begin(database.salvage(aside))
        with closing(database.connect(self._path, "rw", _BUSY)) as connection:
            return database.load(connection)

    def _move_away(self, reason: str) -> Path:
        aside = self.set_aside = database.set_aside(self._path)
        logger.error("the journal %s is damaged (%s): set aside as %s, and a new one begun", self._path, reason, aside)
        return aside

    def _begin(self, contents: database.Contents) -> None:
        database.create(self._path)
        with closing(database.connect(self._path, "rw", _BUSY)) as connection:
            database.prepare(connection, self._path)
            database.fill(connection, contents)

    def _believed(self) -> Iterator[Believed]:
        for (service, key), (route, event) in sorted(self._known.remembered.items()):
            if route is None:
                continue
            try:
                yield Believed(service=service, route=route_from(route), event=event)
            except ValueError as error:
                logger.error("the journal %s: %s of %s is forgotten: %s", self._path, key, service, error)

    def _ordered(self) -> Iterator[Override | Lift]:
        for subject, text in sorted(self._known.ordered.items()):
            if text is None:
                continue
            try:
                yield _order_about(subject, text)
            except ValueError as error:
                logger.error("the journal %s: the order about %s is forgotten: %s", self._path, subject, error)

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

    def together(self, effects: Iterable[Event | Remember | RememberOrder], ts: int) -> None:
        """Keeps events, decisions and orders in one transaction: after a crash all of them are known, or none."""
        puts = tuple(Stamped(effect, ts) if isinstance(effect, Event) else effect for effect in effects)
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
            due = 0.0 if self._stopping.is_set() else min(self._alive_at, self._prune_at)
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
            case _Inputs():
                self._add_inputs(batch, put)
            case _Meta():
                batch.meta[database.clean(put.key)] = database.clean(put.value)
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
        found: list[_Line | _Gap] = []
        with self._gate:
            while self._lines and len(found) < _LINES_A_BATCH:
                line = self._lines.popleft()
                found.append(line)
                if isinstance(line, _Line):
                    self._line_bytes -= len(line.raw)
            if not self._lines and self._gap is not None:
                found.append(self._gap)
                self._gap = None
            more = bool(self._lines)
        if more:
            self._go_on()
        if not found:
            return None
        batch = _Lines(size=sum(isinstance(line, _Line) for line in found))
        for line in found:
            if isinstance(line, _Gap):
                self._add_message(batch, _gap_row(line))
            else:
                self._add_line(batch, line)
        return batch

    def _go_on(self) -> None:
        self._something.set()
        self._urgent.set()

    def _add_line(self, batch: _Lines, line: _Line) -> None:
        reason = line.reason
        if reason is None:
            try:
                self._add_message(batch, _message_row(line))
            except (ValueError, RecursionError) as error:
                reason = f"not a message: {error}"
            else:
                return
        self._known.last_quarantined += 1
        raw = line.raw[:_LONGEST_LINE]
        batch.quarantined.append((self._known.last_quarantined, line.received, database.clean(reason), raw))

    def _add_message(self, batch: _Lines, row: tuple[Any, ...]) -> None:
        # Numbered once, when it leaves the queue: a batch that is written again has the same ids.
        self._known.last_message += 1
        batch.messages.append((self._known.last_message, *row))

    # --- transactions ---

    def _write_puts(self, batch: _Puts) -> None:
        connection = self._connected()
        last = max((row[0] for row in batch.events), default=0)
        last = max(self._known.last_event, last, *(event for _, event in batch.remembered.values()))
        with database.transaction(connection, durable=bool(batch.promises)):
            added = self._insert(connection, "event", _INSERT_EVENT, batch.events)
            database.put_remembered(connection, batch.remembered)
            database.put_ordered(connection, batch.ordered)
            connection.executemany(_INSERT_SHAPE, batch.shapes)
            inputs = self._insert(connection, "input", _INSERT_INPUT, batch.inputs)
            database.put_meta(connection, batch.meta | {"last_event": str(last), "alive": _now()})
        self._known.last_event = last
        self._known.events = (
            database.kept_events(connection) if added < len(batch.events) else self._known.events + added
        )
        self._known.remembered.update(batch.remembered)
        self._known.ordered.update(batch.ordered)
        self._inputs_done += batch.input_bytes
        self._written("input", inputs)
        self._written("event", added)

    def _write_lines(self, batch: _Lines) -> None:
        connection = self._connected()
        with database.transaction(connection, durable=bool(self._awaiting)):
            added = self._insert(connection, "message", _INSERT_MESSAGE, batch.messages)
            if batch.quarantined:
                connection.executemany(_INSERT_QUARANTINED, batch.quarantined)
                oldest = batch.quarantined[-1][0] - database.KEEP_QUARANTINED
                connection.execute("DELETE FROM quarantine WHERE id <= ?", (oldest,))
            database.put_meta(connection, {"last_message": str(self._known.last_message), "alive": _now()})
        self._quarantined += len(batch.quarantined)
        self._written("message", added)

    def _insert(self, connection: sqlite3.Connection, kind: str, sql: str, rows: list[tuple[Any, ...]]) -> int:
        before = connection.total_changes
        connection.executemany(sql, rows)
        added = connection.total_changes - before
        spans: dict[int, list[int]] = {}
        for row in rows:
            ts = row[1]
            span = spans.setdefault(row[0] >> database.PART, [0, ts, ts])
            span[0] += 1
            span[1] = min(span[1], ts)
            span[2] = max(span[2], ts)
        if added == len(rows):
            connection.executemany(_WIDEN_SPAN, [(kind, part, *span) for part, span in spans.items()])
            return added
        # A commit of which we were told that it failed had succeeded: the first writing counts.
        logger.warning("the journal %s: %d of %d were there already", self._path, len(rows) - added, len(rows))
        self._duplicates += len(rows) - added
        for part in spans:
            _recount(connection, kind, part)
        return added

    def _written(self, kind: str, count: int) -> None:
        self._committed[kind] += count
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
        if code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL):
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
        self._disconnect()
        known = self._known
        try:
            if not self._gone():
                self._move_away(reason)
            else:
                logger.error("the journal %s was removed: a new one is begun", self._path)
                for companion in ("-wal", "-shm"):  # They belong to the file that is gone.
                    self._path.with_name(self._path.name + companion).unlink(missing_ok=True)
            self._begin(
                database.Contents(
                    last_event=known.last_event,
                    last_message=known.last_message,
                    meta=dict(known.meta),
                    remembered=dict(known.remembered),
                    ordered=dict(known.ordered),
                )
            )
            self.generation += 1
            known.events = 0
        except (sqlite3.Error, StoreError, OSError) as error:
            self._note_error(error)

    def _gone(self) -> bool:
        try:
            self._path.stat()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return False

    def _connected(self) -> sqlite3.Connection:
        # SQLite goes on writing into a file that was removed, where nobody would ever find it.
        if self._gone():
            self._begin_anew("removed")
        if self._connection is None:
            connection = database.connect(self._path, "rw", _BUSY)
            try:
                database.prepare(connection, self._path)
                connection.execute("PRAGMA cache_size = -8192")
                connection.execute("PRAGMA journal_size_limit = 67108864")
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
        except (sqlite3.Error, StoreError, OSError) as error:
            self._alive_at = self._prune_at = now + _LAST_RETRY
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
            part = connection.execute("SELECT min(part) FROM span WHERE kind = 'event'").fetchone()[0]
            if part is not None:
                self._remove(connection, "event", part, min(excess, _PRUNED_A_STEP), before=None)
            more = self._too_many() > 0
        for kind, age in self._keep.items():
            if age is None:
                continue
            before = int(_now()) - int(age * 1_000_000)
            found = connection.execute(
                "SELECT part FROM span WHERE kind = ? AND first_ts < ? ORDER BY part LIMIT 1", (kind, before)
            ).fetchone()
            if found is not None:
                step = _PRUNED_INPUTS_A_STEP if kind == "input" else _PRUNED_A_STEP
                self._remove(connection, kind, found[0], step, before=before)
                more = True
            elif kind == "input":  # Only after every row that may refer to them.
                more = self._prune_shapes(connection, before - 2 * SHAPE_SECONDS * 1_000_000) or more
        return more

    def _prune_shapes(self, connection: sqlite3.Connection, before: int) -> bool:
        """Removes contents of polls that no row can refer to any more: those in use say so, and outlive their rows."""
        old = connection.execute("SELECT id FROM shape WHERE ts < ? LIMIT ?", (before, _PRUNED_A_STEP)).fetchall()
        if old:
            with database.transaction(connection, durable=False):
                connection.executemany("DELETE FROM shape WHERE id = ?", old)
        return len(old) == _PRUNED_A_STEP

    def _remove(self, connection: sqlite3.Connection, kind: str, part: int, count: int, *, before: int | None) -> None:
        low, high = part << database.PART, (part + 1) << database.PART
        old, values = ("", (low, high)) if before is None else ("AND ts < ?", (low, high, before))
        chosen = f"SELECT id FROM {kind} WHERE id >= ? AND id < ? {old} ORDER BY id LIMIT ?"  # noqa: S608 - our own names
        with database.transaction(connection, durable=False):
            done = connection.execute(f"DELETE FROM {kind} WHERE id IN ({chosen})", (*values, count)).rowcount  # noqa: S608
            _recount(connection, kind, part)
        self._pruned[kind] += done
        if kind == "event":
            self._known.events -= done

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
        if self._connection is not None and time.monotonic() < self._stop_at:
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._disconnect()

    def _break_promises(self) -> None:
        held = self._event_lane.held
        promises = [*self._awaiting, *(held.promises if held else ())]
        with suppress(RuntimeError):  # Others may still be putting; whoever promises now sees to it himself.
            promises += [put for put in self._puts if isinstance(put, _Promise)]
        for promise in promises:
            with suppress(Exception):
                promise.future.set_exception(StoreError(f"{self._path}: stopped before it was written"))


def _order_about(subject: str, text: str) -> Override | Lift:
    order = order_from(text)
    if subject != database.subject(order.service if isinstance(order, Override) else None):
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


def _recount(connection: sqlite3.Connection, kind: str, part: int) -> None:
    low, high = part << database.PART, (part + 1) << database.PART
    rows, first, last = connection.execute(
        f"SELECT count(*), min(ts), max(ts) FROM {kind} WHERE id >= ? AND id < ?",  # noqa: S608 - our own names
        (low, high),
    ).fetchone()
    if rows:
        connection.execute("INSERT OR REPLACE INTO span VALUES (?, ?, ?, ?, ?)", (kind, part, rows, first, last))
    else:
        connection.execute("DELETE FROM span WHERE kind = ? AND part = ?", (kind, part))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# ExaBGP 4.2 leaves raw control characters in the strings of its JSON (a shutdown's text), hence not strict.
_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse_constant)


def _message_row(line: _Line) -> tuple[Any, ...]:
    """The columns of a message, without its id; raises ValueError when the line is no JSON object."""
    text = line.raw.decode("utf-8").strip()
    told = _DECODER.decode(text)
    if not isinstance(told, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - said of the text, not of an argument
    neighbor = told.get("neighbor")
    peer = direction = None
    if isinstance(neighbor, dict):
        address = neighbor.get("address")
        peer = address.get("peer") if isinstance(address, dict) else None
        direction = neighbor.get("direction")
    return line.received, _time(told.get("time")), _word(told.get("type")) or "", _word(peer), _word(direction), text


def _word(value: object) -> str | None:
    return database.clean(value) if isinstance(value, str) and len(value) <= 64 else None


def _time(value: object) -> int | None:
    """ExaBGP's seconds as microseconds, or None when they make no sense as a time."""
    if isinstance(value, int | float) and 0 <= value < 253_402_300_800:  # The year 10000.
        return round(value * 1_000_000)
    return None


def _gap_row(gap: _Gap) -> tuple[Any, ...]:
    told = {"type": GAP, "dropped": gap.dropped, "first": rfc3339(gap.first), "last": rfc3339(gap.last)}
    return gap.last, None, GAP, None, None, json.dumps(told)
