"""The SNMP proxy: tickets for what somebody wants to know of a device, worked off on a thread and a loop of their own.

A heavy walk must not sit on the main loop, so that jobs run on a loop on another thread, which begins with the first
job. A few run at once, a bounded number waits, each has a deadline, and each may be cancelled at any moment: its socket
is closed before its ticket says so. Results are rendered to JSON once, row by row, on that thread: asking for a ticket
then costs next to nothing, and what all of them take in memory is known to the octet. They are kept for a time; when
they are too many the oldest go first.

Credentials that came with a request live in its `JobRequest` and its `Target`, and both are let go when the job ends.
No text that leaves here is made of anything that could hold them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
import traceback
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial
from itertools import islice
from typing import Any, Final

from exabgp_bfd.core.jobs import (
    Credentials,
    JobEndedError,
    JobKind,
    JobPart,
    JobRefusedError,
    JobRequest,
    JobsFullError,
    JobStatus,
    JobView,
    no_data,
)
from exabgp_bfd.core.model import BfdError, ConfigError, Prefix, Secret, SourceError
from exabgp_bfd.sources.snmp import readings
from exabgp_bfd.sources.snmp.client import Client, connect
from exabgp_bfd.sources.snmp.permitted import Resolve, permitted
from exabgp_bfd.sources.snmp.target import Target
from exabgp_bfd.sources.snmp.usm import Keys

logger = logging.getLogger(__name__)

CANCELLED_WITHIN: Final = 1.0
"""Seconds that whoever cancels a running job waits for its end."""
CLOSED_WITHIN: Final = 1.0
"""Seconds for everything under way to be given up at the end."""

_STOPS = "the program stops"
_CANCEL_AGAIN = 0.05  # seconds
_SOCKET_WITHIN = 1.0  # seconds for a client to close
_OVERHEAD = 1024  # octets that a ticket without a result takes, roughly
_LONGEST_ERROR = 500
_ROWS_AT_ONCE = 64  # rendered before a rest
_REST = 0.001  # seconds
_PHASES: Final[Mapping[JobPart, str]] = {
    JobPart.SYSTEM: "system_info",
    JobPart.INTERFACES: "interfaces",
    JobPart.ARP: "arp",
    JobPart.BFD: "bfd",
}
"""The names of the parts in `timing`, as users of such proxies know them."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What the SNMP proxy may do and keep. Times are seconds, sizes octets."""

    allow: tuple[Prefix, ...] = ()
    """Networks whose hosts may be asked although they are no configured devices."""
    concurrency: int = 6
    keep: float = 3600.0
    """How long results are kept."""
    queue: int = 100
    """How many jobs may wait."""
    timeout: float = 600.0
    """How long one job may take, from its beginning."""
    max_bytes: int = 64 * 2**20
    """For all results together; the oldest are dropped first."""
    max_result: int = 16 * 2**20
    """For one result; rows beyond it are left out, and it says `truncated`."""

    def __post_init__(self) -> None:
        for name in ("concurrency", "queue", "keep", "timeout", "max_bytes", "max_result"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"[snmp_proxy] {name}", f"{getattr(self, name)} is too little: it must be above 0")


@dataclass(frozen=True, slots=True)
class JobCounters:
    """What became of all jobs, for the metrics; the last three may fall, all others only grow."""

    submitted: int = 0
    refused: int = 0
    """For their target."""
    turned_away: int = 0
    """Because too many waited."""
    complete: int = 0
    failed: int = 0
    cancelled: int = 0
    dropped: int = 0
    """Results that made room for others before their time."""
    queued: int = 0
    running: int = 0
    kept_bytes: int = 0


class _GivenUp(Enum):
    CANCELLED = auto()
    LATE = auto()
    STOPPED = auto()


@dataclass(slots=True, eq=False)
class _Job:
    """A job as it is worked off; `view` is replaced under the lock only."""

    view: JobView
    request: JobRequest | None
    target: Target | None
    task: asyncio.Task[None] | None = None
    began: float = 0.0
    ended_at: float = 0.0
    late: asyncio.TimerHandle | None = None
    given_up: _GivenUp | None = None
    """Why it shall end before it is done."""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def size(self) -> int:
        return len(self.view.data) + _OVERHEAD


class Jobs:
    """The proxy's tickets. Every method may be called on any thread and is bounded in time."""

    def __init__(
        self,
        settings: JobSettings,
        targets: Iterable[Target] = (),
        *,
        resolve: Resolve | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._targets = {target.name: target for target in targets}
        self._resolve = resolve
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[str, _Job] = {}
        self._queue: deque[_Job] = deque()
        self._running: set[_Job] = set()
        self._ended: deque[_Job] = deque()
        """Whose results are kept, in the order in which they ended."""
        self._counters = JobCounters()
        self._kept = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._quit: asyncio.Event | None = None
        self._closing = False

    # --- from any thread --------------------------------------------------------------------------------------------

    @property
    def counters(self) -> JobCounters:
        """What became of all jobs so far."""
        with self._lock:
            return replace(self._counters, queued=len(self._queue), running=len(self._running), kept_bytes=self._kept)

    def set_devices(self, targets: Iterable[Target]) -> None:
        """From now on these are the configured devices; jobs under way go on as they are."""
        known = {target.name: target for target in targets}
        with self._lock:
            self._targets = known

    def set_settings(self, settings: JobSettings) -> None:
        """From now on these hold, also for results that are kept already."""
        with self._lock:
            self._settings = settings
            self._make_room()
        self._wake()

    def submit(self, request: JobRequest, actor: str) -> JobView:
        """Takes a job; raises JobRefusedError, JobsFullError, ConfigError, or SourceError for a name nobody knows."""
        with self._lock:
            self._refuse_when_full()
            settings, known = self._settings, self._targets
        try:
            target = _target(request, known, settings, self._resolve)
        except JobRefusedError:
            logger.warning("SNMP %s of %s by %s refused: not allowed", request.kind, _asked(request), actor)
            self._count("refused")
            raise
        with self._lock:
            self._refuse_when_full()
            self._start()
            number = self._counters.submitted + 1
            view = JobView(
                number=number,
                ticket=str(uuid.uuid4()),
                kind=request.kind,
                target=target.name,
                actor=actor,
                status=JobStatus.QUEUED,
                created=time.time_ns() // 1000,
                progress="queued",
            )
            job = _Job(view, request, target)
            self._jobs[view.ticket] = job
            self._queue.append(job)
            self._counters = replace(self._counters, submitted=number)
            self._forget_expired()
        self._wake()
        logger.info("SNMP %s of %s, asked for by %s, is job %d", request.kind, target.name, actor, number)
        return view

    def status(self, ticket: str) -> JobView | None:
        """How a job stands, with its data; None: there is no such ticket, or not any more."""
        with self._lock:
            self._forget_expired()
            job = self._jobs.get(ticket)
            return None if job is None else self._seen(job)

    def jobs(self, limit: int, before: int | None = None) -> tuple[JobView, ...]:
        """The jobs that are known, the newest first, those with a number below `before`; without their data."""
        with self._lock:
            self._forget_expired()
            older = (job for job in reversed(self._jobs.values()) if before is None or job.view.number < before)
            return tuple(replace(self._seen(job), data=b"") for job in islice(older, limit))

    def cancel(self, ticket: str, actor: str) -> JobView | None:
        """Gives a job up, and waits a moment for its end; None: no such ticket. Raises JobEndedError."""
        with self._lock:
            self._forget_expired()
            job = self._jobs.get(ticket)
            if job is None:
                return None
            status = job.view.status
            if status.ended and status is not JobStatus.CANCELLED:
                raise JobEndedError(f"the job is {status} already: there is nothing to cancel")
            if not status.ended:
                if job in self._queue:
                    self._queue.remove(job)
                    self._end(job, JobStatus.CANCELLED)
                elif self._loop is not None and not self._closing:
                    self._loop.call_soon_threadsafe(self._give_up, job, _GivenUp.CANCELLED)
        if not status.ended:
            logger.info("job %d is cancelled by %s", job.view.number, actor)
        job.ended.wait(CANCELLED_WITHIN)
        with self._lock:
            return self._seen(job)

    def close(self, timeout: float = CLOSED_WITHIN) -> bool:
        """Gives up everything under way and ends the thread; True when nothing is left behind."""
        with self._lock:
            self._closing = True
            while self._queue:
                self._end(self._queue.popleft(), JobStatus.CANCELLED, _STOPS)
            thread, loop, leave = self._thread, self._loop, self._quit
            if thread is None or loop is None or leave is None:
                return True
            with contextlib.suppress(RuntimeError):  # it ended by itself
                loop.call_soon_threadsafe(leave.set)
        thread.join(timeout)
        if thread.is_alive():
            logger.warning("the SNMP jobs did not end within %g s", timeout)
        return not thread.is_alive()

    # --- under the lock ---------------------------------------------------------------------------------------------

    def _refuse_when_full(self) -> None:
        if self._closing:
            raise JobsFullError(_STOPS)
        if len(self._queue) >= self._settings.queue:
            self._counters = replace(self._counters, turned_away=self._counters.turned_away + 1)
            raise JobsFullError(
                f"{len(self._queue)} SNMP jobs wait already; ask again when some are done, "
                "or cancel those that nobody needs: GET /jobs lists them"
            )

    def _start(self) -> None:
        if self._thread is not None:
            return
        self._loop = asyncio.new_event_loop()
        self._quit = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(self._loop, self._quit), name="snmp-jobs", daemon=True)
        self._thread.start()

    def _seen(self, job: _Job) -> JobView:
        if job.view.status is not JobStatus.RUNNING:
            return job.view
        return replace(job.view, elapsed=round(self._clock() - job.began, 3))

    def _end(self, job: _Job, status: JobStatus, error: str | None = None, **more: Any) -> None:  # noqa: ANN401
        """The last word on a job; its credentials are let go of."""
        elapsed = round(self._clock() - job.began, 3) if job.view.started is not None else 0.0
        last = {
            JobStatus.COMPLETE: "complete",
            JobStatus.CANCELLED: "cancelled",
        }.get(status, job.view.progress)
        job.view = replace(
            job.view,
            status=status,
            error=None if error is None else error[:_LONGEST_ERROR],
            elapsed=elapsed,
            finished=time.time_ns() // 1000,
            progress=last,
            progress_percent=100.0 if status is JobStatus.COMPLETE else job.view.progress_percent,
            timing={**job.view.timing, "total": elapsed} if job.view.started is not None else {},
            **more,
        )
        job.request = job.target = job.task = None
        job.ended_at = self._clock()
        self._ended.append(job)
        self._kept += job.size
        self._counters = replace(self._counters, **{status: getattr(self._counters, status) + 1})
        self._make_room()
        job.ended.set()

    def _make_room(self) -> None:
        """Drops results until the rest fits, those that ended first before the others."""
        while self._kept > self._settings.max_bytes and self._ended:
            self._forget_oldest()
            self._counters = replace(self._counters, dropped=self._counters.dropped + 1)

    def _forget_expired(self) -> None:
        now = self._clock()
        while self._ended and self._ended[0].ended_at + self._settings.keep <= now:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        job = self._ended.popleft()
        del self._jobs[job.view.ticket]
        self._kept -= job.size

    # --- on the loop's thread -----------------------------------------------------------------------------------------

    def _count(self, name: str) -> None:
        with self._lock:
            self._counters = replace(self._counters, **{name: getattr(self._counters, name) + 1})

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # closed meanwhile: `close` has ended what waited
                loop.call_soon_threadsafe(self._pump)

    def _run(self, loop: asyncio.AbstractEventLoop, leave: asyncio.Event) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._until(leave))
        except Exception:
            logger.exception("the loop of the SNMP jobs failed")
        finally:
            # No wait for the threads of name lookups: they cannot be stopped.
            loop.close()

    async def _until(self, leave: asyncio.Event) -> None:
        """Works until the end, and then gives up what is under way."""
        tidy = asyncio.create_task(self._tidy())
        self._pump()
        await leave.wait()
        tidy.cancel()
        with self._lock:
            running = tuple(self._running)
        tasks = [job.task for job in running if job.task is not None]
        for job in running:
            self._give_up(job, _GivenUp.STOPPED)
        if tasks:
            await asyncio.wait(tasks, timeout=_SOCKET_WITHIN)
        await asyncio.sleep(0)  # the loop closes sockets in its next turn

    async def _tidy(self) -> None:
        """Forgets what has been kept long enough, also when nobody asks."""
        while True:
            await asyncio.sleep(min(60.0, self._settings.keep))
            with self._lock:
                self._forget_expired()

    def _pump(self) -> None:
        """Begins jobs while there is room for them."""
        loop = asyncio.get_running_loop()
        longest = self._settings.timeout
        with self._lock:
            while self._queue and len(self._running) < self._settings.concurrency and not self._closing:
                job = self._queue.popleft()
                job.began = self._clock()
                job.view = replace(
                    job.view,
                    status=JobStatus.RUNNING,
                    started=time.time_ns() // 1000,
                    progress=f"asking {job.view.target}",
                )
                self._running.add(job)
                job.task = loop.create_task(self._work(job), name=f"job {job.view.number}")
                job.task.add_done_callback(partial(self._settle, job))
                job.late = loop.call_later(longest, self._give_up, job, _GivenUp.LATE)

    def _give_up(self, job: _Job, why: _GivenUp) -> None:
        """Has a job end; once more after a moment, for one cancellation can be lost in a library's own waiting."""
        job.given_up = job.given_up or why
        if job.task is not None and not job.task.done():
            job.task.cancel()
            asyncio.get_running_loop().call_later(_CANCEL_AGAIN, self._give_up, job, why)

    def _settle(self, job: _Job, task: asyncio.Task[None]) -> None:
        """Makes room for the next job; a task that was cancelled before its first step has ended nothing itself."""
        if not task.cancelled() and (trouble := task.exception()) is not None:
            logger.error("job %d failed at its end: %s", job.view.number, type(trouble).__name__)
        if job.late is not None:
            job.late.cancel()
        with self._lock:
            self._running.discard(job)
            if not job.view.status.ended:
                self._end(job, JobStatus.CANCELLED if task.cancelled() else JobStatus.FAILED)
        self._pump()

    async def _work(self, job: _Job) -> None:
        """One job from its beginning to its end, whatever happens."""
        result = _Result(self._settings.max_result, job.view.kind)
        longest = self._settings.timeout
        status, error = JobStatus.FAILED, None
        try:
            error = await self._read(job, result)
            status = JobStatus.COMPLETE if error is None else JobStatus.FAILED
        except asyncio.CancelledError:
            match job.given_up:
                case _GivenUp.LATE:
                    error = f"not done within {longest:g} s"
                case _GivenUp.STOPPED:
                    status, error = JobStatus.CANCELLED, _STOPS
                case _:
                    status = JobStatus.CANCELLED
        except BfdError as trouble:
            error = str(trouble)
        except Exception as trouble:  # noqa: BLE001 - the text of an exception that nobody foresaw may hold anything
            error = f"something unforeseen went wrong ({type(trouble).__name__}); the log has it"
            frames = "".join(traceback.format_tb(trouble.__traceback__))
            logger.error("job %d failed: %s\n%s", job.view.number, type(trouble).__name__, frames)
        data = result.document()
        with self._lock:
            self._running.discard(job)
            self._end(job, status, error, data=data, truncated=result.truncated)
        level = logging.WARNING if status is JobStatus.FAILED else logging.INFO
        logger.log(level, "job %d (%s of %s): %s", job.view.number, job.view.kind, job.view.target, error or status)

    async def _read(self, job: _Job, result: _Result) -> str | None:
        """Reads what was asked for; the text of what could not be read, None: it is all there."""
        request, target = job.request, job.target
        assert request is not None  # noqa: S101 - held until the job ends
        assert target is not None  # noqa: S101
        tell = partial(self._tell, job)
        keys = Keys(users=4, engines=16)  # of its own, for those of a request are nobody else's
        ask = partial(_asking, keys=keys)
        match request.kind:
            case JobKind.GET:
                async with self._phase(job, "get", 0.0), ask(target) as client:
                    await result.rows("snmp_data", await readings.instances(client, request.oids))
                    tell("values", len(request.oids))
            case JobKind.WALK:
                async with self._phase(job, "walk", None), ask(target) as client:
                    found, more = await readings.subtree(client, request.oids[0], request.max_rows, tell)
                    result.truncated = more
                    await result.rows("snmp_data", (readings.valued(oid, value) for oid, value in found))
            case JobKind.POLL:
                return await self._poll(job, target, ask, result)
        return None

    async def _poll(self, job: _Job, target: Target, ask: readings.Ask, result: _Result) -> str | None:
        """The parts one after the other; one that cannot be read does not hide the others, unless nothing answers."""
        assert job.request is not None  # noqa: S101 - held until the job ends
        wanted = [part for part in JobPart if part in job.request.parts]
        troubles: list[str] = []
        tell = partial(self._tell, job)
        async with ask(target) as client:
            for done, part in enumerate(wanted):
                try:
                    async with self._phase(job, _PHASES[part], 100.0 * done / len(wanted)):
                        if part is JobPart.BFD:
                            tables, sessions = await readings.bfd(target, ask, tell)
                            result.fields("bfd_tables", tables)
                            await result.rows("bfd_sessions", sessions)
                        else:
                            await _part(part, client, result, tell)
                except SourceError as error:
                    troubles.append(f"{part}: {error}")
                    if not result.answered:
                        break
        return "; ".join(troubles) or None

    @contextlib.asynccontextmanager
    async def _phase(self, job: _Job, name: str, percent: float | None) -> AsyncIterator[None]:
        """Names what is under way, and notes how long it took."""
        began = self._clock()
        with self._lock:
            job.view = replace(job.view, progress=f"{name}: begun", progress_percent=percent)
        try:
            yield
        finally:
            with self._lock:
                timing = {**job.view.timing, name: round(self._clock() - began, 3)}
                job.view = replace(job.view, timing=timing)

    def _tell(self, job: _Job, what: str, count: int) -> None:
        """Notes how far a job is."""
        name = what.removesuffix("_walked")
        unit = "values" if what in {"values", "system_oids"} else "rows"
        text = f"{count} rows" if name == "rows" else f"{name}: {count} {unit}"
        with self._lock:
            detail = {**job.view.progress_detail, what: count}
            job.view = replace(job.view, progress=text, progress_detail=detail)


@contextlib.asynccontextmanager
async def _asking(target: Target, keys: Keys) -> AsyncIterator[Client]:
    """A client of its own for a job, whose socket is closed before anybody hears of the job's end."""
    client = connect(target, keys)
    try:
        yield client
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SOCKET_WITHIN):
                await client.close()


async def _part(part: JobPart, client: Client, result: _Result, tell: readings.Heard) -> None:
    """One part of a poll."""
    match part:
        case JobPart.SYSTEM:
            found = await readings.system(client)
            result.fields("snmp_data", found)
            tell("system_oids", len(found))
        case JobPart.INTERFACES:
            rows, more = await readings.interfaces(client, tell)
            await result.rows("interfaces", rows)
            result.truncated = result.truncated or more
        case JobPart.ARP:
            rows, more = await readings.arp(client, tell)
            await result.rows("arp_table", rows)
            result.truncated = result.truncated or more


class _Result:
    """A job's data, rendered part by part."""

    def __init__(self, room: int, kind: JobKind) -> None:
        self.truncated = False
        self.answered = False
        """Whether anything was read at all."""
        self._room = room
        self._parts: dict[str, bytes] = {name: json.dumps(value).encode() for name, value in no_data(kind).items()}

    def fields(self, name: str, values: object) -> None:
        """Takes an object."""
        self.answered = True
        self._parts[name] = json.dumps(values).encode()

    async def rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Takes a list, as much of it as there is room for.

        With rests on the way, for the interpreter is shared with the loop that decides: while 100,000 rows are rendered
        in one go, nine of ten of its waits are 7 ms late, and with the rests 1 ms (measured).
        """
        self.answered = True
        pieces: list[bytes] = []
        for number, row in enumerate(rows):
            piece = json.dumps(row).encode()
            self._room -= len(piece) + 1
            if self._room < 0:
                self.truncated = True
                break
            pieces.append(piece)
            if number % _ROWS_AT_ONCE == _ROWS_AT_ONCE - 1:
                await asyncio.sleep(_REST)
        self._parts[name] = b"[" + b",".join(pieces) + b"]"

    def document(self) -> bytes:
        """All of it as one JSON object."""
        return b"{" + b",".join(json.dumps(name).encode() + b":" + part for name, part in self._parts.items()) + b"}"


def _asked(request: JobRequest) -> str:
    """Whom somebody wanted to ask, fit for a log."""
    return f"device {request.device}" if request.device is not None else repr(request.host)


def _target(request: JobRequest, known: Mapping[str, Target], settings: JobSettings, resolve: Resolve | None) -> Target:
    """Who is to be asked, as whom; raises ConfigError, JobRefusedError, SourceError."""
    if request.device is not None:
        device = known.get(request.device)
        if device is None:
            raise ConfigError("device", f"there is no device {request.device[:80]!r}")
        return replace(
            device,
            timeout=request.timeout if request.timeout is not None else device.timeout,
            retries=request.retries if request.retries is not None else device.retries,
        )
    if request.host is None or request.credentials is None:
        raise ConfigError("host", "give a device, or a host and the credentials to ask it with")
    address, port = permitted(request.host, settings.allow, resolve)
    return replace(
        _with(request.credentials, Target(name="", host=str(address), port=port, community=Secret(""))),
        timeout=request.timeout if request.timeout is not None else 1.0,
        retries=request.retries if request.retries is not None else 1,
    )


def _with(credentials: Credentials, target: Target) -> Target:
    """A target asked as somebody; it is named by its address."""
    return replace(
        target,
        name=target.at,
        version=credentials.version,
        community=credentials.community or Secret(""),
        user=credentials.user,
        context=credentials.context,
    )
