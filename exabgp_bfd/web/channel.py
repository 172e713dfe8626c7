"""waitress' workers, errors and connections, bent to our rules: our names, problem documents, no endless requests."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from exabgp_bfd.web import problems
from exabgp_bfd.web.strict import Parser

HAND_OVER: Final = "exabgp_bfd.hand_over"
"""The key in a request's environment of what a view calls with a Taker, whose answer has no end."""

_ROUNDS_UNREAD = 8
"""Reads of 64 KiB that discard what a refused client had already sent."""


def is_busy(channel: HTTPChannel) -> bool:
    """Whether a request on this connection is being answered, or its answer still leaves."""
    return bool(channel.requests or channel.total_outbufs_len)


class Workers(ThreadedTaskDispatcher):
    """waitress' workers under our name."""

    def start_new_thread(self, target: Callable[[int], object], thread_no: int) -> None:
        """Starts one worker."""
        threading.Thread(target=target, name=f"web-{thread_no}", args=(thread_no,), daemon=True).start()

    def end(self, timeout: float) -> None:
        """Lets idle workers go, cancels what has not begun, and waits for the busy ones, `timeout` seconds at most."""
        deadline = time.monotonic() + timeout
        self.set_thread_count(0)
        with self.lock:
            while self.queue:
                self.queue.popleft().cancel()  # type: ignore[attr-defined]  # a channel, not a Task as the stub says
            while self.threads and (remaining := deadline - time.monotonic()) > 0:
                self.thread_exit_cv.wait(remaining)


class Connection(Protocol):
    """What a taker gets: a socket, or one with TLS."""

    def send(self, data: bytes, /) -> int:
        """Raises BlockingIOError when it would wait."""

    def recv(self, size: int, /) -> bytes:
        """Raises BlockingIOError when it would wait."""

    def fileno(self) -> int:
        """Whose readiness may be waited for."""

    def close(self) -> None:
        """Ends it."""


class Taker(Protocol):
    """Who goes on with a connection once the head of its answer was sent."""

    def take(self, connection: Connection) -> None:
        """The connection is yours: write to it, and close it."""

    def refuse(self) -> None:
        """There is none any more, or the answer became another one."""


class Task(WSGITask):
    """One request. Its answer may be handed over: then only the head is written here, and no worker waits for more."""

    taker: Taker | None = None

    @property
    def has_body(self) -> bool:
        """Whether anything but the head is written here."""
        return bool(super().has_body) and not self._handed_over()

    def get_environment(self) -> dict[str, Any]:
        """What the application is asked with."""
        environ: dict[str, Any] = super().get_environment()
        environ[HAND_OVER] = self._hand_over
        return environ

    def service(self) -> None:
        """Answers; the connection is taken when the head has left, see `Channel.handle_close`."""
        try:
            super().service()
        finally:
            taker = self.taker
            if taker is not None:
                channel: Any = self.channel
                with channel.outbuf_lock:  # it may be closed at this very moment, and would never give the taker back
                    taken = self._handed_over() and self.wrote_header and channel.connected
                    if taken:
                        channel.taker = taker
                if not taken:
                    taker.refuse()

    def _hand_over(self, taker: Taker) -> None:
        self.taker = taker

    def _handed_over(self) -> bool:
        return self.taker is not None and self.status.startswith("200 ")


class ProblemTask(ErrorTask):
    """An error that waitress finds itself (a malformed or oversized request), as a problem document."""

    def execute(self) -> None:
        """Writes the document and ends the connection."""
        error: Any = self.request.error  # type: ignore[attr-defined]  # an HTTPRequestParser, not an Error
        status = HTTPStatus(error.code)
        path = getattr(self.request, "path", None)
        body = json.dumps(problems.document(status, error.body, path)).encode()
        self.status = f"{status.value} {status.phrase}"
        headers: Mapping[str, str] = {"Content-Type": problems.MEDIA_TYPE, **problems.SECURITY_HEADERS}
        self.response_headers = list(headers.items())
        self.request.headers["CONNECTION"] = "close"  # type: ignore[attr-defined]  # or HTTP/1.0 would be told otherwise
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):
    """One connection, which remembers when the request that is arriving began."""

    task_class = Task
    error_task_class = ProblemTask
    parser_class = Parser
    begun: float | None = None
    idle: float
    """Since when nothing that was whole has arrived (monotonic)."""
    taker: Taker | None = None

    def __init__(self, *which: Any, **named: Any) -> None:  # noqa: ANN401 - as waitress'
        self.idle = time.monotonic()
        super().__init__(*which, **named)

    def received(self, data: bytes) -> bool:
        """Takes what arrived."""
        taken = super().received(data)
        if self.request is None:
            self.begun = None
            self.idle = time.monotonic()
        elif self.begun is None:
            self.begun = time.monotonic()
        return taken

    def handle_close(self) -> None:
        """Ends the connection, without the reset that a close with unread bytes is: it would void the answer.

        One that was handed over is not ended, but given away.
        """
        with self.outbuf_lock:
            taker, self.taker = self.taker, None
            whole = self.connected and not self.total_outbufs_len
            self.connected = False
        if taker is not None:
            if whole and self.socket is not None:
                # waitress forgets it, and closes nothing.
                connection, self.socket = self.socket, None
                self.del_channel()
                taker.take(connection)
            else:
                taker.refuse()
        if self.socket is not None:
            with contextlib.suppress(OSError):  # nothing more to read, or nobody there
                for _ in range(_ROUNDS_UNREAD):
                    if not self.socket.recv(65536):
                        break
        super().handle_close()
