"""Real programs for live tests: each is started on loopback, on free ports, and stopped by its own id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 90.0
"""Seconds a live test waits for something that takes a moment; never what is measured."""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def wait_for(what: Callable[[], T], why: str, timeout: float = PATIENCE, pause: float = 0.05) -> T:
    """Asks until the answer is true, and gives it; AssertionError with `why` and the last answer after `timeout`."""
    deadline = time.monotonic() + timeout
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{why}: still {answer!r} after {timeout:g} s"
        time.sleep(pause)


def stays(what: Callable[[], bool], why: str, seconds: float, pause: float = 0.05) -> None:
    """Asserts that something stays true for a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert what(), why
        time.sleep(pause)


class Program:
    """One program under test, with its output in a file."""

    def __init__(
        self, command: list[str], log: Path, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.command = command
        self.log = log
        self._env = {**os.environ, **(env or {})}
        self._cwd = cwd
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self._env, cwd=self._cwd
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        assert self.process is not None
        return self.process.wait(timeout)

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)

    def output(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""
