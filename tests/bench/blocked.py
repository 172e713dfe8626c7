"""For how long a process waits in writing to a pipe: looked at once in a millisecond, until our own stdin ends.

As a program: `python -m tests.bench.blocked PID`. It tells, as JSON, how often it looked and found the process waiting,
the longest time of that, and for how long it did not look at all (others had the cores).
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_PAUSE = 1  # milliseconds
_WAITS = b"pipe_write"  # The kernel's function: pipe_write, or anon_pipe_write since 6.15.


class Watch:
    """The program below."""

    def __init__(self, pid: int, root: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.blocked", str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
        )

    def stop(self) -> dict[str, Any]:
        """What it saw."""
        told, _ = self._process.communicate(timeout=30)
        found: dict[str, Any] = json.loads(told)
        return found


def watch(pid: int) -> dict[str, Any]:
    poll = select.poll()
    poll.register(0, select.POLLIN)
    looks = waiting = 0
    longest = blind = 0
    since = None
    before = time.perf_counter_ns()
    # Opened once: a seek reads it anew.
    channel = os.open(f"/proc/{pid}/wchan", os.O_RDONLY)
    while not poll.poll(_PAUSE):
        waits = _WAITS in os.pread(channel, 64, 0)
        at = time.perf_counter_ns()
        looks += 1
        waiting += waits
        blind = max(blind, at - before)
        # From the look before the first that found it waiting: rather too long than too short.
        since = (before if since is None else since) if waits else None
        longest = max(longest, 0 if since is None else at - since)
        before = at
    os.close(channel)
    return {
        "looks": looks,
        "found_blocked": waiting,
        "blocked_longest_ms": round(longest / 1e6, 2),
        "not_looked_ms": round(blind / 1e6, 2),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(watch(int(sys.argv[1]))))
