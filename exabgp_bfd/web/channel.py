"""waitress' workers, errors and connections, bent to our rules: our names, problem documents, no endless requests."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, ThreadedTaskDispatcher

from exabgp_bfd.web import problems

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
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):
    """One connection, which remembers when the request that is arriving began."""

    error_task_class = ProblemTask
    begun: float | None = None

    def received(self, data: bytes) -> bool:
        """Takes what arrived."""
        taken = super().received(data)
        if self.request is None:
            self.begun = None
        elif self.begun is None:
            self.begun = time.monotonic()
        return taken

    def handle_close(self) -> None:
        """Ends the connection, without the reset that a close with unread bytes is: it would void the answer."""
        if self.socket is not None:
            with contextlib.suppress(OSError):  # nothing more to read, or nobody there
                for _ in range(_ROUNDS_UNREAD):
                    if not self.socket.recv(65536):
                        break
        super().handle_close()
