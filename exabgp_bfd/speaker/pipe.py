"""Owns the two pipes between ExaBGP and us: commands leave in order, answers are matched, reading waits for nothing.

ExaBGP 4 and 5 write to us with a blocking write: a process that does not read freezes the daemon, and its BGP sessions
die. So one thread does nothing but read; it hands lines on to bounded queues and drops, counted, what does not fit.
Everything else here belongs to the loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exabgp_bfd.core.model import (
    Address,
    Advertised,
    Answer,
    Command,
    Neighbor,
    Outcome,
    Route,
    SpeakerError,
    Target,
    Withdraw,
)
from exabgp_bfd.speaker import dialect, messages

logger = logging.getLogger(__name__)

READ_SIZE = 1 << 18
LONGEST_LINE = 1 << 24
CONTROL_LINES = 100_000
"""Answers and events that the loop has not taken yet; beyond, all but answers are dropped and counted."""
CONTROL_SLICE = 500
"""Lines that the loop takes in one turn: a flood of events must not hold up a withdraw."""
LATE_ANSWER = 60.0
"""Seconds after its deadline during which a command's answer may still come; ExaBGP stalls, but skips no answer."""

EXPIRED_SLICE = 100
_Key = tuple[str, tuple[Address, ...]]
"""What a command is about: the target's key, and the neighbours that it goes to."""

Deliver = Callable[[Answer | Advertised | Neighbor], object]
Store = Callable[[Sequence[bytes], int], int]


def _key(target: Target) -> _Key:
    return target.key, target.neighbors if isinstance(target, Route) else ()


def take_over_stdio() -> tuple[int, int]:
    """Moves ExaBGP's two pipes to private descriptors and returns them (in, out).

    Afterwards descriptor 1 is stderr and 0 is empty, so that a stray print of any library can never become a command.
    """
    stdin, stdout = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return stdin, stdout


def driven_by_pipes() -> bool:
    """Whether stdin and stdout are both pipes, as an API process of ExaBGP has them; not so at a terminal."""
    return all(stat.S_ISFIFO(os.fstat(descriptor).st_mode) for descriptor in (0, 1))


@dataclass(slots=True)
class Counters:
    """What the metrics tell of the pipe."""

    read: int = 0
    stored: int = 0
    dropped: int = 0
    quarantined: int = 0
    unmatched: int = 0
    """Answers to no command of ours."""
    written: int = 0
    expired: int = 0
    """Commands that were not answered in time."""


@dataclass(slots=True)
class _Pending:
    command: int
    deadline: float
    expired: bool = False


class Pipe:
    """ExaBGP as seen from its process: `send` a command, be told of answers, of what was advertised, and of the end."""

    def __init__(
        self,
        stdin: int,
        stdout: int,
        *,
        deliver: Deliver,
        store: Store,
        ended: Callable[[str], None],
        ack_timeout: float = 5.0,
        answers: bool = True,
    ) -> None:
        """`answers` is False where ExaBGP was told to send none (exabgp_api_ack); `ended` gets the reason, once."""
        self.counters = Counters()
        self.last_quarantined = ""
        self._stdin = stdin
        self._stdout = stdout
        self._deliver = deliver
        self._store = store
        self._ended = ended
        self.ack_timeout = ack_timeout
        """Seconds; takes effect with the next command."""
        self._answers = answers
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop_read, self._stop_write = os.pipe()
        self._control: deque[bytes] = deque()
        self._given_up: deque[_Pending] = deque()
        """Commands without an answer, of which the engine is yet to be told."""
        self._scheduled = threading.Event()
        self._pending: deque[_Pending] = deque()
        self._detail = ""
        self._timer: asyncio.TimerHandle | None = None
        self._rest = b""
        self._withdraws: dict[_Key, tuple[Command, bytes]] = {}
        self._announces: dict[_Key, tuple[Command, bytes]] = {}
        self._over = self._closed = False
        self._piped = stat.S_ISFIFO(os.fstat(stdin).st_mode) or stat.S_ISSOCK(os.fstat(stdin).st_mode)

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts reading; must come before anything that may take time."""
        self._loop = loop
        if stat.S_ISFIFO(os.fstat(self._stdout).st_mode):
            # A pipe of our own only: on a terminal the setting would reach stderr and every other program on it.
            os.set_blocking(self._stdout, False)
        self._thread = threading.Thread(target=self._read, name="stdin", daemon=True)
        self._thread.start()

    @property
    def open(self) -> bool:
        """Whether ExaBGP is still there to be written to."""
        return self._loop is not None and not self._over

    @property
    def waiting(self) -> int:
        """Commands not written yet, or written and not answered yet."""
        unanswered = sum(1 for pending in self._pending if not pending.expired)
        return self._unwritten + unanswered

    @property
    def _unwritten(self) -> int:
        return len(self._withdraws) + len(self._announces) + bool(self._rest)

    async def written(self, timeout: float) -> bool:  # noqa: ASYNC109 - a bound on the wait, kept here
        """Waits until every command left us, `timeout` seconds at most; False if ExaBGP did not take them all."""
        deadline = time.monotonic() + timeout
        while self._unwritten and self.open and time.monotonic() < deadline:  # noqa: ASYNC110 - bounded, only at the end
            await asyncio.sleep(0.01)
        return not self._unwritten

    async def drained(self, timeout: float) -> bool:  # noqa: ASYNC109 - a bound on the wait, kept here
        """Waits until every command was written and answered, `timeout` seconds at most; False if it was not."""
        deadline, expired = time.monotonic() + timeout, self.counters.expired
        while self.waiting and self.open and time.monotonic() < deadline:  # noqa: ASYNC110 - bounded, and only at the end
            await asyncio.sleep(0.01)
        return not self.waiting and self.counters.expired == expired

    def close(self) -> None:
        """Stops reading and forgets what was not written; the descriptors are closed. A second call does nothing."""
        if self._closed:
            return
        self._over = self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_writer(self._stdout)
        os.write(self._stop_write, b"x")
        if self._thread is not None:
            self._thread.join(1.0)
        for descriptor in (self._stop_read, self._stop_write, self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    # --- out ----------------------------------------------------------------------------------------------------

    def send(self, command: Command) -> None:
        """Writes a command now; what ExaBGP cannot take yet waits, withdraws first, each target in its order.

        Raises SpeakerError for a command that must never be sent, and where ExaBGP is gone.
        """
        line = dialect.line(command)
        if self._over:
            raise SpeakerError("ExaBGP's pipe is closed")
        if self._rest or self._withdraws or self._announces:
            self._queue(command, line)
        else:
            self._write(command, line)

    def _queue(self, command: Command, line: bytes) -> None:
        key = _key(command.route)
        # What waits for the same target and neighbours is overtaken by events: only the last word is worth sending.
        for queue in (self._withdraws, self._announces):
            overtaken = queue.pop(key, None)
            if overtaken is not None:
                self._later(Answer(overtaken[0].command, Outcome.TIMEOUT, "overtaken before it could be written"))
        (self._withdraws if isinstance(command, Withdraw) else self._announces)[key] = (command, line)

    def _write(self, command: Command, line: bytes) -> None:
        try:
            sent = os.write(self._stdout, line)
        except BlockingIOError:
            self._queue(command, line)
            self._wait_for_room()
            return
        except OSError as error:
            self._end(f"ExaBGP's pipe is closed: {error.strerror}")
            raise SpeakerError("ExaBGP's pipe is closed") from error
        self._wrote(command)
        if sent < len(line):
            self._rest = line[sent:]
            self._wait_for_room()

    def _wrote(self, command: Command) -> None:
        self.counters.written += 1
        if self._answers:
            now = time.monotonic()
            while self._pending and self._pending[0].expired and self._pending[0].deadline + LATE_ANSWER <= now:
                self._pending.popleft()
            self._pending.append(_Pending(command.command, now + self.ack_timeout))
            if self._timer is None:
                self._arm()

    def _wait_for_room(self) -> None:
        if self._loop is not None:
            self._loop.add_writer(self._stdout, self._write_more)

    def _write_more(self) -> None:
        """ExaBGP has read: writes what waited, the rest of a begun line first, then withdraws, then announces."""
        try:
            if self._rest:
                self._rest = self._rest[os.write(self._stdout, self._rest) :]
            while not self._rest and (self._withdraws or self._announces):
                queue = self._withdraws or self._announces
                key, (command, line) = next(iter(queue.items()))
                sent = os.write(self._stdout, line)
                del queue[key]
                self._rest = line[sent:]
                self._wrote(command)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(f"ExaBGP's pipe is closed: {error.strerror}")
            return
        if not self._rest and self._loop is not None:
            self._loop.remove_writer(self._stdout)

    def _end(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        if self._loop is not None:
            self._loop.remove_writer(self._stdout)
        self._ended(reason)

    # --- answers ------------------------------------------------------------------------------------------------

    def _answer(self, outcome: Outcome) -> None:
        text, self._detail = self._detail, ""
        if not self._pending:
            self.counters.unmatched += 1
            return
        pending = self._pending.popleft()
        if not pending.expired:
            self._deliver(Answer(pending.command, outcome, text))
        self._arm()

    def _arm(self) -> None:
        """One timer, for the oldest command that has not been answered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = next((pending for pending in self._pending if not pending.expired), None)
        if waiting is not None and self._loop is not None:
            delay = max(0.0, waiting.deadline - time.monotonic())
            self._timer = self._loop.call_later(delay, self._expire)

    def _expire(self) -> None:
        now = time.monotonic()
        expired = [pending for pending in self._pending if not pending.expired and pending.deadline <= now]
        for pending in expired:
            # It keeps its place: its answer may still come, and must not be taken for the next command's.
            pending.expired = True
        self.counters.expired += len(expired)
        self._arm()
        under_way = bool(self._given_up)
        self._given_up.extend(expired)
        if not under_way:
            self._give_up()

    def _give_up(self) -> None:
        """Tells of commands without an answer, so many in a turn of the loop: there may be thousands of them."""
        for _ in range(min(len(self._given_up), EXPIRED_SLICE)):
            pending = self._given_up.popleft()
            self._deliver(Answer(pending.command, Outcome.TIMEOUT, f"no answer in {self.ack_timeout:g} s"))
        if self._given_up and self._loop is not None:
            self._loop.call_soon(self._give_up)

    def _later(self, answer: Answer) -> None:
        if self._loop is not None:
            self._loop.call_soon(self._deliver, answer)

    # --- in: on the loop's thread -------------------------------------------------------------------------------

    def _take_control(self) -> None:
        self._scheduled.clear()
        try:
            for _ in range(min(len(self._control), CONTROL_SLICE)):
                self._take(self._control.popleft())
        finally:
            # The loop has other work in between; and what one line made fail must not keep the next ones waiting.
            self._wake()

    def _take(self, line: bytes) -> None:
        parsed = messages.parse(line)
        match parsed:
            case messages.Ended():
                self._answer(parsed.outcome)
            case messages.Body() if self._pending or not self._answers:
                self._detail = f"{self._detail} {parsed.text}".strip()[-500:]
            case messages.Body():
                self._set_aside(line, "neither an event nor part of an answer, for nothing was asked")
            case messages.Shutdown():
                self._end("ExaBGP is shutting down")
            case messages.Quarantined():
                self._set_aside(line, parsed.reason)
            case messages.Message():
                for seen in messages.advertised(parsed):
                    self._deliver(seen)
                state = messages.neighbor_state(parsed)
                if state is not None:
                    self._deliver(state)

    def _set_aside(self, line: bytes, reason: str) -> None:
        self.counters.quarantined += 1
        self.last_quarantined = f"{reason}: {line[:200]!r}"

    # --- in: on the reader's thread -----------------------------------------------------------------------------

    def _read(self) -> None:
        """Reads until the end; waits for nothing but stdin, and never raises."""
        waiter = select.poll()
        waiter.register(self._stdin, select.POLLIN)
        waiter.register(self._stop_read, select.POLLIN)
        rest, skipping = b"", False
        # To the end, also when no more may be written: ExaBGP would block on whatever it still has to tell us.
        while True:
            ready = {descriptor for descriptor, _ in waiter.poll()}
            if self._stop_read in ready:
                return
            try:
                data = os.read(self._stdin, READ_SIZE)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                # At a terminal or under a service manager stdin may well be empty; only a pipe's end tells something.
                if self._piped:
                    self._call(self._end, "stdin was closed: ExaBGP is gone")
                return
            lines = (rest + data).split(b"\n")
            rest = lines.pop()
            if skipping and lines:
                skipping = False
                del lines[0]
            if len(rest) > LONGEST_LINE:
                self.counters.dropped += not skipping
                rest, skipping = b"", True
            self._sort([line for line in lines if line])

    def _sort(self, lines: list[bytes]) -> None:
        received = time.time_ns() // 1000
        self.counters.read += len(lines)
        events = [line for line in lines if messages.is_event(line)]
        if events:
            taken = self._stored(events, received)
            self.counters.stored += taken
            self.counters.dropped += len(events) - taken
        for line in lines:
            if messages.only_stored(line):
                continue
            if len(self._control) >= CONTROL_LINES and not messages.ends_answer(line):
                self.counters.dropped += 1
                continue
            self._control.append(line)
        self._wake()

    def _stored(self, events: list[bytes], received: int) -> int:
        try:
            return self._store(events, received)
        except Exception:  # whatever the store has: this thread must go on reading, or ExaBGP freezes
            logger.exception("the store refused %d messages of ExaBGP", len(events))
            return 0

    def _wake(self) -> None:
        """Has the loop take what waits; from either thread."""
        if self._control and not self._scheduled.is_set():
            self._scheduled.set()
            self._call(self._take_control)

    def _call(self, callback: Callable[..., None], *arguments: str) -> None:
        if self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are ending anyway
            self._loop.call_soon_threadsafe(callback, *arguments)
