"""Plays ExaBGP: starts a process with pipes, notes when each of its lines comes, and answers `done`."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_BODIES = {
    b"version": b"exabgp 5.0.15\n",
    b"show neighbor configuration": (
        b"neighbor 192.0.2.254 {\n  local-address 192.0.2.1;\n  adj-rib-out true;\n"
        b"  family {\n    ipv4 unicast;\n    ipv6 unicast;\n  }\n}\n"
    ),
}
"""What ExaBGP says before its `done`, by the question."""
_COMMAND = re.compile(rb"\b(announce|withdraw) route (\S+)")


@dataclass(frozen=True, slots=True)
class Said:
    """A command, and when its line was read (perf_counter_ns)."""

    at: int
    action: str
    prefix: str


class Speaker:
    """A process that steers routes on its stdout, as ExaBGP has it."""

    def __init__(self, command: list[str], log: Path, root: Path, *, answers: bool) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=root,
                env={name: value for name, value in os.environ.items() if not name.lower().startswith("exabgp")},
            )
        self.pid = self._process.pid
        self.lines = 0
        self._said: list[Said] = []
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._read, name="stdout", daemon=True)]
        if answers:
            # Not on the reader's thread: writing waits when a feed has filled the pipe, and stamps would be late.
            self._threads.append(threading.Thread(target=self._answer, name="answers", daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def stdin(self) -> IO[bytes]:
        """Where ExaBGP's messages go; whole lines of up to 4096 bytes (PIPE_BUF) do not mix with the answers."""
        assert self._process.stdin is not None
        return self._process.stdin

    def forget(self) -> None:
        """Begins a new list of commands."""
        self._said = []

    def expect(self, action: str, prefixes: Iterable[str], timeout: float) -> dict[str, Said]:
        """Waits until each prefix was announced or withdrawn since `forget`; the first command for each."""
        wanted = set(prefixes)
        deadline = time.monotonic() + timeout
        while True:
            found: dict[str, Said] = {}
            for said in list(self._said):
                if said.action == action and said.prefix in wanted:
                    found.setdefault(said.prefix, said)
            if len(found) == len(wanted):
                return found
            self.check()
            assert time.monotonic() < deadline, (
                f"{len(wanted) - len(found)} of {len(wanted)} prefixes not said to {action} within {timeout:g} s,"
                f" {', '.join(sorted(wanted - found.keys())[:5])} among them\n{self.tail()}"
            )
            time.sleep(0.02)

    def check(self) -> None:
        """AssertionError when the process has ended."""
        status = self._process.poll()
        assert status is None, f"{self._process.args} ended with status {status}\n{self.tail()}"

    def tail(self) -> str:
        """The end of what it logged."""
        return self._log.read_text("utf-8", "replace")[-2000:]

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._answers.put(b"")
        for thread in self._threads:
            thread.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.stdin.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        rest = b""
        while data := os.read(descriptor, 1 << 16):
            at = time.perf_counter_ns()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                command = _COMMAND.search(line)
                if command:
                    self._said.append(Said(at, command[1].decode(), command[2].decode()))
                self._answers.put(_BODIES.get(line, b"") + b"done\n")
            self.lines += len(lines)

    def _answer(self) -> None:
        while answer := self._answers.get():
            try:
                os.write(self.stdin.fileno(), answer)
            except OSError:
                return
