"""The process that ExaBGP starts: it holds ExaBGP's pipes, and starts the one that works, anew if that one dies.

ExaBGP starts a process that died again at once, and ends itself (all routes gone) at the sixth start within 64 seconds.
So what may die is not what ExaBGP started. This process decides nothing and reads no settings: it knows the standard
library alone, so that neither a broken package nor a fault of ours can end it. While the worker lives, the worker reads
and writes ExaBGP's pipes itself, and this process only looks at it now and then. When the worker is gone,

- stdin is read and thrown away, for ExaBGP freezes in front of a full pipe;
- a line that the worker left half written is ended, and what ExaBGP still answers to the worker is waited for, so that
  the next worker takes no answer of its predecessor's for its own;
- the routes are left alone: the next worker takes them up from the journal.

It is the other end of the dead-man lease as well: a worker puts the withdraws of routes that may not be left alone on a
board in shared memory, and renews them while its main loop runs. Where nothing was renewed for so long, the worker,
stopped or stuck, is killed, and its withdraws are written. There are never two that write.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import select
import signal
import stat
import struct
import sys
import termios
import time
import zlib
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import ClassVar, NoReturn

BOARD_BYTES = 16 << 20
"""Of shared memory, of which only what is written is ever taken from the system."""
LOOKS = 1.0
"""Seconds between two looks at a worker."""
END_WITHIN = 3.0
"""Seconds that a worker has to end when it was told to; ExaBGP 5 kills us after two, ExaBGP 4 waits for ever."""
DEAD_WITHIN = 1.0
"""Seconds that a killed worker has to be gone; what hangs in the kernel longer will never run again either."""
STUCK_AFTER = 3.0
"""Seconds without a read of the worker while ExaBGP's pipe is half full: a full one freezes ExaBGP."""
ORPHANED_AFTER = 5.0
"""The same when ExaBGP has closed it."""
CRASH_WINDOW = 60.0
AT_ONCE = 3
"""So many deaths within the window are followed by another start at once, further ones after a pause."""
LONGEST_PAUSE = 10.0
FORKS_AGAIN = 2.0
QUIET = 2.0
"""Seconds of silence after which ExaBGP counts as having answered everything, where it does not say so itself."""
ANSWERS_WITHIN = 20.0
READ_SIZE = 1 << 18
LONGEST_LINE = 1 << 24

_TAKEOVER = b"# exabgp-bfd: another process takes over\n"
"""A comment to every ExaBGP; at the end of a half written command it makes that one unreadable, which is refused."""
_QUESTION = b"help\n"
"""Of all that we ever ask, only this is answered like this, on ExaBGP 4 and 5."""
_ANSWER = b"available API commands"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_ENDS = frozenset({signal.SIGTERM, signal.SIGINT})
_SET_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG, prctl(2)."""
_OFF = frozenset({"false", "0", "off", "no", "disable", "disabled"})


@dataclass(frozen=True, slots=True)
class Lapse:
    """Routes that were withdrawn because nobody had renewed their lease."""

    number: int
    seconds: float
    """For how long nothing was renewed."""
    targets: tuple[tuple[str, str], ...]
    """Service and the target's key."""
    lines: int


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Under which a worker was started."""

    board: Board
    keeper: int
    """The process that ExaBGP started."""
    exabgp: int
    """The process that started that."""
    crashes: int = 0
    """How many workers died before."""
    recent: int = 0
    """How many of them within the last minute."""
    last_end: str = ""
    """How the last one died."""
    lapse: Lapse | None = None

    here: ClassVar[list[Circumstances]] = []


def circumstances() -> Circumstances | None:
    """Those of this process; None where nobody keeps it."""
    return Circumstances.here[0] if Circumstances.here else None


def keep() -> None:
    """Under ExaBGP, on Linux, returns in a worker only, whose keeper this process stays to the end; else at once.

    To be called before anything else: what runs before it is not guarded, and there must be no thread yet.
    """
    if Circumstances.here or not sys.platform.startswith("linux"):
        return
    if all(stat.S_ISFIFO(os.fstat(descriptor).st_mode) for descriptor in (0, 1)):
        Keeper(0, 1, answers=answers_are_on(os.environ)).run()


def answers_are_on(environ: Mapping[str, str]) -> bool:
    """Whether ExaBGP answers commands, by the variables that it was started with."""
    return environ.get("exabgp_api_ack", environ.get("exabgp.api.ack", "true")).strip().lower() not in _OFF


class Board:
    """What a worker wants done if it should stop renewing it, in memory shared with its keeper.

    Two slots, of which one counts: a worker that dies while it writes leaves the other one whole.
    """

    _RENEWED = struct.Struct("<Q")
    _TAKEN = struct.Struct("<Q")
    _SLOT = struct.Struct("<dII")  # the lease's seconds, and the length and check sum of what follows
    _TAKEN_AT, _ACTIVE_AT, _SLOTS_AT = 8, 16, 64

    def __init__(self, size: int = BOARD_BYTES) -> None:
        self._memory = mmap.mmap(-1, size)
        self._room = (size - self._SLOTS_AT) // 2

    # --- the worker's side ---

    def renew(self) -> None:
        """The main loop runs."""
        self._RENEWED.pack_into(self._memory, 0, (self.renewals + 1) & (2**64 - 1))

    def put(self, seconds: float, lines: bytes) -> None:
        """Replaces what is to be done: each line SERVICE, tab, KEY, tab and the command. ValueError: too much."""
        if len(lines) > self._room - self._SLOT.size:
            raise ValueError(f"{len(lines)} bytes are too many")
        slot = 2 if self._memory[self._ACTIVE_AT] == 1 else 1
        at = self._SLOTS_AT + (slot - 1) * self._room
        self._memory[at + self._SLOT.size : at + self._SLOT.size + len(lines)] = lines
        self._SLOT.pack_into(self._memory, at, seconds, len(lines), zlib.crc32(lines))
        self._memory[self._ACTIVE_AT] = slot

    def take(self, number: int) -> None:
        """A lapse is known to the worker, and on its disk."""
        self._TAKEN.pack_into(self._memory, self._TAKEN_AT, number)

    # --- the keeper's side ---

    @property
    def renewals(self) -> int:
        """How often it was renewed; of interest is only whether it changes."""
        return int(self._RENEWED.unpack_from(self._memory, 0)[0])

    @property
    def taken(self) -> int:
        """The last lapse that a worker knows."""
        return int(self._TAKEN.unpack_from(self._memory, self._TAKEN_AT)[0])

    @property
    def term(self) -> float | None:
        """How long it holds without being renewed, in seconds; None where nothing is to be done then."""
        slot = self._memory[self._ACTIVE_AT]
        if not slot:
            return None
        seconds, length, _ = self._SLOT.unpack_from(self._memory, self._SLOTS_AT + (slot - 1) * self._room)
        return float(seconds) if length else None

    def lines(self) -> bytes:
        """What is to be done, as `put` took it; empty where it is damaged."""
        slot = self._memory[self._ACTIVE_AT]
        if not slot:
            return b""
        at = self._SLOTS_AT + (slot - 1) * self._room
        _, length, checksum = self._SLOT.unpack_from(self._memory, at)
        lines = self._memory[at + self._SLOT.size : at + self._SLOT.size + length]
        return lines if zlib.crc32(lines) == checksum else b""

    def clear(self) -> None:
        """It is done."""
        self._memory[self._ACTIVE_AT] = 0


class Keeper:
    """Keeps one worker after the other, on one thread, and never raises but to end."""

    def __init__(self, stdin: int, stdout: int, *, answers: bool) -> None:
        """`answers`: whether ExaBGP answers commands."""
        self._stdin, self._stdout = stdin, stdout
        self._answers = answers
        self._board = Board()
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl
        self._heard: deque[signal.Signals] = deque()
        self._wake, self._waker = os.pipe()
        for descriptor in (self._wake, self._waker):
            os.set_blocking(descriptor, False)
        self._worker = 0
        """Its process id; 0 while there is none."""
        self._ending: float | None = None
        """Until when the worker has to end, once we were told to."""
        self._crashes = 0
        self._deaths: deque[float] = deque(maxlen=64)
        self._last_end = ""
        self._renewals = 0
        self._renewed = time.monotonic()
        self._lapses = 0
        self._lapse: Lapse | None = None
        self._reads: object = None
        self._read_at = time.monotonic()
        self._rest = b""

    def run(self) -> None:
        """Returns in each worker; in the keeper itself never."""
        for number in _SIGNALS:
            signal.signal(number, self._hear)
        signal.signal(signal.SIGCHLD, _woken)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        while True:
            if self._fork():
                return
            status = self._attend()
            if self._ending is not None or status == 0:
                self._leave(status)
            self._count_death(status)
            self._succeed()

    # --- one worker ---------------------------------------------------------------------------------------------

    def _fork(self) -> bool:
        """Starts a worker; True in that."""
        self._take_note_of_lapse()
        now = time.monotonic()
        here = Circumstances(
            board=self._board,
            keeper=os.getpid(),
            exabgp=os.getppid(),
            crashes=self._crashes,
            recent=self._recent(now),
            last_end=self._last_end,
            lapse=self._lapse,
        )
        # A signal between the two would be heard by handlers that the worker has inherited, and be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._worker = self._forked()
        if self._worker == 0:
            self._become_worker(here)
            return True
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._reads, self._read_at = None, time.monotonic()
        return False

    def _forked(self) -> int:
        """The worker's process id, 0 in itself; a machine that has no room for one now is waited for."""
        while True:
            try:
                return os.fork()
            except OSError as error:
                _say("ERROR", f"no worker can be started: {error.strerror} (trying again)")
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
                until = time.monotonic() + FORKS_AGAIN
                while (remaining := until - time.monotonic()) > 0:
                    self._turn(remaining)
                signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

    def _become_worker(self, here: Circumstances) -> None:
        # Whoever kills us means all of us: and a worker without a keeper would hold up ExaBGP's next start of it.
        self._prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != here.keeper:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for descriptor in (self._wake, self._waker):
            os.close(descriptor)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGHUP, signal.SIGUSR1):
            # Until the main loop takes them: by themselves they would kill.
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        Circumstances.here.append(here)

    def _attend(self) -> int:
        """Waits for the worker's end, and hastens it where it must be; how it ended, a signal as a negative number."""
        looked = time.monotonic()
        while True:
            self._sleep(self._tick())
            while self._heard:
                self._pass_on(self._heard.popleft())
            status = self._reap()
            if status is not None:
                return status
            now = time.monotonic()
            if self._ending is not None and now >= self._ending:
                _say("ERROR", f"the worker (process {self._worker}) did not end within {END_WITHIN:g} s: killed")
                return self._kill()
            if self._lease_is_over(now):
                _say("ERROR", f"the main loop has not run for {now - self._renewed:.1f} s: the worker is killed")
                return self._kill()
            if now - looked >= LOOKS:
                looked = now
                if self._reads_no_more(now):
                    return self._kill()

    def _tick(self) -> float:
        term = self._board.term
        longest = LOOKS if term is None else max(0.05, min(LOOKS, term / 8))
        return min(longest, 0.1) if self._ending is not None else longest

    def _sleep(self, seconds: float) -> None:
        """Sleeps until something happened, at most so long; a sleep of the whole machine is no fault of the worker."""
        began = time.monotonic()
        waiter = select.poll()
        waiter.register(self._wake, select.POLLIN)
        waiter.poll(max(1, round(seconds * 1000)))
        self._drain_wake()
        self._overslept(time.monotonic() - began - seconds)

    def _overslept(self, seconds: float) -> None:
        if seconds > 0.1:
            self._renewed += seconds
            self._read_at += seconds

    def _drain_wake(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._wake, 4096):
                pass

    def _hear(self, number: int, _: FrameType | None) -> None:
        self._heard.append(signal.Signals(number))

    def _pass_on(self, number: signal.Signals) -> None:
        if number in _ENDS and self._ending is None:
            self._ending = time.monotonic() + END_WITHIN
        with suppress(ProcessLookupError):
            os.kill(self._worker, number)

    def _reap(self) -> int | None:
        """How the worker ended, None while it lives."""
        with suppress(ChildProcessError):
            process, status = os.waitpid(self._worker, os.WNOHANG)
            return os.waitstatus_to_exitcode(status) if process else None
        return 1

    def _kill(self) -> int:
        """Ends the worker at once, also one that is stopped, and waits until it is gone, but for what hangs."""
        with suppress(ProcessLookupError):
            os.kill(self._worker, signal.SIGKILL)
        until = time.monotonic() + DEAD_WITHIN
        while self._reap() is None and time.monotonic() < until:
            time.sleep(0.01)
        return -signal.SIGKILL

    def _reads_no_more(self, now: float) -> bool:
        """Whether ExaBGP is about to freeze in front of a worker that does not read, or has gone without its notice."""
        reads = _reads_of(self._worker)
        if reads is None or reads != self._reads:
            self._reads, self._read_at = reads, now
            return False
        waiter = select.poll()
        waiter.register(self._stdin, 0)  # nothing but its end
        if waiter.poll(0):
            if now - self._read_at < ORPHANED_AFTER:
                return False
            _say("ERROR", "ExaBGP is gone, and the worker does not notice: killed")
            self._ending = now
            return True
        queued = struct.unpack("i", fcntl.ioctl(self._stdin, termios.FIONREAD, bytes(4)))[0]
        if queued * 2 < fcntl.fcntl(self._stdin, fcntl.F_GETPIPE_SZ):
            self._read_at = now
            return False
        if now - self._read_at < STUCK_AFTER:
            return False
        _say("ERROR", f"the worker has read nothing for {now - self._read_at:.0f} s, and ExaBGP's pipe fills: killed")
        return True

    # --- between two workers ------------------------------------------------------------------------------------

    def _count_death(self, status: int) -> None:
        now = time.monotonic()
        self._deaths.append(now)
        self._crashes += 1
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        self._last_end = f"process {self._worker} ended by {how}"
        self._worker = 0
        recent = self._recent(now)
        pause = self._pause(recent)
        after = f" in {pause:g} s" if pause else ""
        _say("ERROR", f"{self._last_end}, {recent} in the last minute: another takes over{after}, the routes stay")

    def _recent(self, now: float) -> int:
        return sum(1 for death in self._deaths if now - death <= CRASH_WINDOW)

    def _pause(self, recent: int) -> float:
        return 0.0 if recent <= AT_ONCE else min(LONGEST_PAUSE, 2.0 ** (recent - AT_ONCE - 1))

    def _succeed(self) -> None:
        """Makes ready for the next worker: pauses, while what has to be withdrawn is; then ExaBGP has answered all."""
        until = time.monotonic() + self._pause(self._recent(time.monotonic()))
        self._write(_TAKEOVER)
        while True:
            now = time.monotonic()
            if self._lease_is_over(now):
                self._write(self._withdraws(now))
            remaining = until - now
            if remaining <= 0:
                break
            self._turn(min(remaining, self._tick()))
        self._settle()

    def _lease_is_over(self, now: float) -> bool:
        renewals = self._board.renewals
        if renewals != self._renewals:
            self._renewals, self._renewed = renewals, now
        term = self._board.term
        return term is not None and now - self._renewed >= term

    def _withdraws(self, now: float) -> bytes:
        """The withdraws of all routes whose lease is over, which are none afterwards."""
        lines = self._board.lines()
        self._board.clear()
        targets: list[tuple[str, str]] = []
        commands: list[bytes] = []
        for line in lines.splitlines(keepends=True):
            service, key, command = line.split(b"\t", 2)
            targets.append((service.decode("utf-8", "replace"), key.decode("utf-8", "replace")))
            commands.append(command)
        if commands:
            self._take_note_of_lapse()
            self._lapses += 1
            before = self._lapse.targets if self._lapse is not None else ()
            together = tuple(dict.fromkeys((*before, *targets)))
            self._lapse = Lapse(self._lapses, now - self._renewed, together, len(commands))
            services = sorted({service for service, _ in targets})
            shown = ", ".join(services[:10]) + (", ..." if len(services) > 10 else "")
            _say("WARNING", f"the lease is over: {len(commands)} routes are withdrawn, of {shown}")
        return b"".join(commands)

    def _take_note_of_lapse(self) -> None:
        """Forgets a lapse that a worker has on its disk."""
        if self._lapse is not None and self._board.taken == self._lapse.number:
            self._lapse = None

    def _settle(self) -> None:
        """Waits until ExaBGP has answered all that was ever asked, as far as that can be told."""
        if not self._answers:
            self._turn(QUIET / 10)
            return
        self._write(_QUESTION)
        asked = quiet = now = time.monotonic()
        seen = False
        while now - asked < ANSWERS_WITHIN and now - quiet < QUIET:
            for line in self._turn(0.1):
                quiet = time.monotonic()
                seen = seen or line.startswith(_ANSWER)
                if seen and line == b"done":
                    self._end_of_line()
                    return
            now = time.monotonic()
        _say("WARNING", "ExaBGP was not heard to answer everything: an answer may be taken for another's")
        self._end_of_line()

    def _end_of_line(self) -> None:
        """Reads to the end of a line that has come in part: the worker shall begin with a whole one."""
        for _ in range(10):
            if not self._rest:
                break
            self._turn(0.05)
        self._rest = b""

    def _write(self, data: bytes) -> None:
        """Writes all of it, however long ExaBGP takes for that: it is read meanwhile, and its end is ours."""
        warned = time.monotonic()
        while data:
            try:
                data = data[os.write(self._stdout, data) :]
            except BlockingIOError:
                self._turn(1.0, room=True)
                if time.monotonic() - warned > ANSWERS_WITHIN:
                    warned = time.monotonic()
                    _say("WARNING", "ExaBGP does not read what it is told")
            except OSError:
                self._leave(0)

    def _turn(self, seconds: float, *, room: bool = False) -> list[bytes]:
        """Reads what ExaBGP says for at most so long, until it says something, or (`room`) can be told something.

        The lines that are no events. Ends us where ExaBGP ends, or says so.
        """
        began = time.monotonic()
        waiter = select.poll()
        waiter.register(self._wake, select.POLLIN)
        waiter.register(self._stdin, select.POLLIN)
        if room:
            waiter.register(self._stdout, select.POLLOUT)
        ready = {descriptor for descriptor, _ in waiter.poll(max(1, round(seconds * 1000)))}
        self._overslept(time.monotonic() - began - seconds)
        self._drain_wake()
        while self._heard:
            if self._heard.popleft() in _ENDS:
                self._leave(0)
        if self._stdin not in ready:
            return []
        data = os.read(self._stdin, READ_SIZE)
        if not data:
            self._leave(0)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            self._rest = b""
        return [line for line in lines if line and not line.startswith(b"{")]

    def _leave(self, status: int) -> NoReturn:
        sys.exit(status if status >= 0 else 128 - status)


def _woken(_: int, __: FrameType | None) -> None:
    """Takes a signal, so that a wait ends."""


def _reads_of(process: int) -> object:
    """Something that changes whenever a process has read; None where that cannot be told."""
    try:
        return Path(f"/proc/{process}/io").read_bytes().split(b"\n", 1)[0]
    except OSError:
        pass
    try:
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[11:13]  # time it computed
    except OSError:
        return None


def _say(level: str, text: str) -> None:
    """One line on stderr, as the log writes it; dropped where nobody reads."""
    now = time.time()
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
    with suppress(OSError):
        waiter = select.poll()
        waiter.register(2, select.POLLOUT)
        if waiter.poll(0):
            os.write(2, f"{moment} {level} exabgp_bfd.keeper {text}\n".encode("ascii", "backslashreplace"))
