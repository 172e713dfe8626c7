"""The log: one line a record, on stderr and if asked in a rotating file, and never in the way of who logs.

Whoever logs only puts a finished line into a bounded queue; one thread writes it out. A stderr that nobody reads
(ExaBGP's own, a full pipe) loses its lines, and a disk that cannot keep up fills the queue, whose overflow is dropped;
both are counted and said afterwards. Nothing is ever written to stdout, where a line would be a command to ExaBGP.
"""

from __future__ import annotations

import atexit
import copy
import logging
import os
import re
import select
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Final

from exabgp_bfd.core.model import ConfigError

QUEUE_LINES: Final = 10_000
_PACKAGE: Final = __name__.partition(".")[0]
_STDERR: Final = 2
_STOP_TIMEOUT: Final = 1.0
_WRITE_TIMEOUT: Final = 0.5
_CHUNK: Final = 4096

# Control characters (C0, DEL, C1), line and paragraph separators, marks that reorder text on a terminal, and halves of
# surrogate pairs, which cannot be encoded: each could forge a line or hide a part of one.
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape(text: str) -> str:
    """The text on one line: characters that could break or forge a line become `\\n`, `\\x1b` and so on."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def missing_lines(count: int, why: str) -> str:
    """A line of the log that says how many others are missing."""
    text = f"{count} lines of the log were dropped: {why}"
    return LineFormatter().format(logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)) + "\n"


class LineFormatter(logging.Formatter):
    """`2026-11-20T12:00:00.123Z INFO exabgp_bfd.app message`; a traceback follows, its lines joined with ` | `."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, whatever is in it."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = f"{moment} {record.levelname} {escape(record.name)} {escape(self.text(record))}"
        if record.exc_info and record.exc_info[0] is not None:
            line += self.folded(self.formatException(record.exc_info))
        if record.stack_info:
            line += self.folded(record.stack_info)
        return line

    def text(self, record: logging.LogRecord) -> str:
        """The message with its arguments; a call whose arguments do not fit still gives a line."""
        try:
            return record.getMessage()
        except Exception as error:  # noqa: BLE001 an argument's __str__ may raise anything, and must not stop a caller
            return f"{record.msg!s} (its arguments do not fit: {type(error).__name__})"

    def folded(self, text: str) -> str:
        """Several lines as the end of one."""
        return "".join(f" | {escape(line.strip())}" for line in text.splitlines() if line.strip())


class BoundedQueueHandler(QueueHandler):
    """Puts finished lines into a queue and never waits: what does not fit is dropped and counted."""

    queue: Queue[logging.LogRecord]

    def __init__(self, lines: Queue[logging.LogRecord]) -> None:
        super().__init__(lines)
        self.dropped = 0
        """Written under this handler's lock only, which every `handle` holds."""
        self.setFormatter(LineFormatter())

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """A record whose message is the whole line, made here while its arguments are as they were."""
        line = copy.copy(record)
        line.msg = line.message = self.format(record)
        line.args = line.exc_info = line.exc_text = line.stack_info = None
        return line

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queues the line if there is room."""
        try:
            self.queue.put_nowait(record)
        except Full:
            self.dropped += 1


class DescriptorHandler(logging.Handler):
    """Writes lines straight to a file descriptor, and gives up a line rather than wait for its reader.

    Without Python's buffer and without a lock: should a write block after all when the process ends, neither
    `logging.shutdown` nor the interpreter's last flush waits for it.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.failed = 0
        self._said = 0
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._cut = False

    def createLock(self) -> None:  # noqa: N802 logging's name
        """No lock: only the listener's thread calls this handler."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line, and before it how many are missing; one that cannot be written is counted."""
        try:
            # After one line was waited for in vain, the next ones are not, until the reader is back.
            if not self._poll.poll(0 if self.failed > self._said else _WRITE_TIMEOUT * 1000):
                self.failed += 1
                return
            if self._cut:
                self._write(b"\n")
                self._cut = False
            if self.failed > self._said:
                notice = missing_lines(self.failed - self._said, "nobody read stderr")
                self._write(notice.encode())
                self._said = self.failed
            self._write(f"{record.getMessage()}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            self.failed += 1

    def _write(self, line: bytes) -> None:
        """Writes all of it in pieces that a pipe ready for writing takes without blocking; OSError if it cannot."""
        rest = line
        try:
            while rest:
                if not self._poll.poll(_WRITE_TIMEOUT * 1000):
                    raise BlockingIOError
                rest = rest[os.write(self.descriptor, rest[:_CHUNK]) :]
        except OSError:
            # Half a line is out: the next one begins with a line feed.
            self._cut = self._cut or len(rest) < len(line)
            raise


class CountingFileHandler(RotatingFileHandler):
    """A rotating file whose errors (a full disk, a directory that went away) are counted, not printed."""

    failed = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 logging's signature
        """Counts the line that was lost."""
        self.failed += 1

    def reopen(self) -> None:
        """Goes on in the file that has the name now, for another that writes to it may just have rotated it."""
        with suppress(OSError):
            old = self.setStream(self._open())
            if old is not None:
                old.close()

    def close(self) -> None:
        """Closes the file; what a full disk did not take by now is lost, and was counted line by line."""
        with suppress(OSError):
            super().close()


class LineListener(QueueListener):
    """Writes the queue out in a thread of its own, and says how many lines are missing once there is room again."""

    def __init__(self, source: BoundedQueueHandler, *handlers: logging.Handler) -> None:
        super().__init__(source.queue, *handlers)
        self.source = source
        self.said = 0

    def handle(self, record: logging.LogRecord) -> None:
        """Hands one line to every handler, and before it what was dropped."""
        dropped = self.source.dropped
        if dropped > self.said:
            lost = missing_lines(dropped - self.said, "they came faster than they could be written").rstrip()
            self.said = dropped
            super().handle(logging.LogRecord(__name__, logging.WARNING, "", 0, lost, None, None))
        super().handle(record)

    def enqueue_sentinel(self) -> None:
        """Asks the thread to end after what is queued; when the queue is full one line gives way."""
        while True:
            try:
                super().enqueue_sentinel()
            except Full:
                with suppress(Empty):
                    self.source.queue.get_nowait()
                    self.source.dropped += 1
            else:
                return

    def stop(self) -> None:
        """Waits for the queue to be written, at most a second: the thread is a daemon and may stay blocked."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self.enqueue_sentinel()
            thread.join(_STOP_TIMEOUT)


class Logs:
    """The running log, from `setup`."""

    def __init__(
        self,
        handler: BoundedQueueHandler,
        listener: LineListener,
        file: CountingFileHandler | None,
        levels: Mapping[logging.Logger, int],
    ) -> None:
        self._handler = handler
        self._listener = listener
        self._file = file
        self._stopped = False
        self._levels = levels
        # However the process ends, its last lines are written, and no thread of ours runs into the interpreter's end.
        atexit.register(self.stop)

    @property
    def dropped(self) -> int:
        """Lines that found no room in the queue, or could not be written, since the start."""
        return self._handler.dropped + sum(getattr(handler, "failed", 0) for handler in self._listener.handlers)

    def stop(self) -> None:
        """Writes out what is queued, at most a second long, and lets go of the loggers and the file."""
        if self._stopped:
            return
        self._stopped = True
        atexit.unregister(self.stop)
        logging.getLogger().removeHandler(self._handler)
        for logger, level in self._levels.items():
            logger.setLevel(level)
        logging.captureWarnings(capture=False)
        self._listener.stop()
        self._handler.close()
        if self._file is not None:
            self._file.close()


def setup(
    level: str,
    file: Path | None,
    max_bytes: int,
    backups: int,
    descriptor: int = _STDERR,
    *,
    instead_of: Logs | None = None,
) -> Logs:
    """Sends every logger's lines to stderr and, if given, to a file of `max_bytes` with `backups` old ones.

    Our own loggers speak from `level` (debug, info, warning, error) on, those of libraries from warning on, because
    theirs may show what passes through them. Raises ConfigError when the file cannot be written; nothing is then set,
    and a log that this one is to replace goes on.
    """
    rotating = None if file is None else open_file(file, max_bytes, backups)
    if instead_of is not None:
        instead_of.stop()
        if rotating is not None:
            rotating.reopen()
    handler = BoundedQueueHandler(Queue(QUEUE_LINES))
    handlers: list[logging.Handler] = [DescriptorHandler(descriptor)]
    if rotating is not None:
        handlers.append(rotating)
    listener = LineListener(handler, *handlers)
    root, ours, threshold = (
        logging.getLogger(),
        logging.getLogger(_PACKAGE),
        logging.getLevelNamesMapping()[level.upper()],
    )
    before = {root: root.level, ours: ours.level}
    root.setLevel(max(threshold, logging.WARNING))
    ours.setLevel(threshold)
    root.addHandler(handler)
    logging.captureWarnings(capture=True)
    listener.start()
    return Logs(handler, listener, rotating, before)


def open_file(file: Path, max_bytes: int, backups: int) -> CountingFileHandler:
    """The rotating file; raises ConfigError, with the remedy, when it cannot be written."""
    try:
        return CountingFileHandler(
            file, maxBytes=max_bytes, backupCount=backups, encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        why = error.strerror or type(error).__name__
    remedy = "give a file that the user ExaBGP runs us as may write, in a directory that exists, or leave it out"
    raise ConfigError("log.file", f"cannot write {file} ({why}): {remedy}")
