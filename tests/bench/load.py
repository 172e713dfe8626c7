"""What else goes on meanwhile: a full feed of UPDATEs on stdin, and clients that read the API without pause.

As programs, each until its own stdin ends: `python -m tests.bench.load feed LINES_A_SECOND` writes messages to its
stdout, `python -m tests.bench.load read PORT [PATH ...]` asks the API; both tell on stderr, as JSON, what they did.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO, Any

from tests.bench.report import milliseconds

PATHS = ("/sessions?limit=200", "/services", "/events", "/metrics")
_SLOT = 0.001  # seconds between two bursts of the feed: ExaBGP writes line by line as the UPDATEs come in


class Helper:
    """One of the programs below."""

    def __init__(self, root: Path, *arguments: str, stdout: IO[bytes] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.load", *arguments],
            stdin=subprocess.PIPE,
            stdout=stdout if stdout is not None else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=root,
        )

    def stop(self) -> dict[str, Any]:
        """Ends it, and gives what it told."""
        try:
            _, told = self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, told = self._process.communicate(timeout=5)
        assert self._process.returncode == 0, f"{self._process.args} failed: {told.decode('utf-8', 'replace')}"
        answer: dict[str, Any] = json.loads(told)
        return answer


def _over(wait: float = 0.0) -> bool:
    """Whether our stdin has ended."""
    return bool(select.select([sys.stdin], [], [], wait)[0])


def feed(rate: int) -> dict[str, Any]:
    """Writes one received UPDATE a line and a write, as ExaBGP does, `rate` a second or as fast as they are taken."""
    # Shape and spacing of ExaBGP 5's JSON (research/exabgp.md 5.6): one received UPDATE of one prefix.
    head = (
        '{{ "exabgp": "5.0.0", "time": {time:.6f}, "host" : "bench", "pid" : 4711, "ppid" : 1, "counter": {counter}, '
        '"type": "update", "neighbor": {{ "address": {{ "local": "127.0.0.1", "peer": "127.0.0.2" }}, '
        '"asn": {{ "local": 65001, "peer": 65002 }} , "router-id": "192.0.2.1", "direction": "receive", '
        '"message": {{ "update": {{ "attribute": {{ "origin": "igp", "as-path": {{ "0": {{ "element": "as-sequence", '
        '"value": [ 65002, 64512, {origin} ] }} }}, "confederation-path": [], "med": 50, '
        '"community": [ [ 65002, 100 ] ] }}, "announce": {{ "ipv4 unicast": {{ "192.0.2.2": '
        '[ {{ "nlri": "{prefix}" }} ] }} }} }} }} }} }}\n'
    )
    burst = max(1, round(rate * _SLOT))
    began = due = time.monotonic()
    lines = 0
    while not _over(max(0.0, due - time.monotonic())):
        due = max(due + burst / rate, time.monotonic() - 0.1)  # what was not taken in time is not made up for
        for lines in range(lines + 1, lines + burst + 1):  # noqa: B020 - it counts on
            place = lines % (1 << 22)
            line = head.format(
                time=time.time(),
                counter=lines,
                origin=64513 + lines % 900,
                prefix=f"{20 + (place >> 16)}.{place >> 8 & 255}.{place & 255}.0/24",
            ).encode()
            while line:
                line = line[os.write(1, line) :]
    return {"lines": lines, "seconds": round(time.monotonic() - began, 3)}


def read(port: int, *paths: str) -> dict[str, Any]:
    """Asks for one page after the other over one connection, and counts the answers by status.

    A request that no whole answer came to is `lost`: the connection ended, or nothing came for a minute.
    """
    statuses: Counter[str] = Counter()
    took: list[int] = []
    lost = octets = 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.monotonic()
    for path in itertools.cycle(paths or PATHS):
        if _over():
            break
        asked = time.perf_counter_ns()
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            octets += len(answer.read())
        except (OSError, http.client.HTTPException):
            lost += 1
            connection.close()
            continue
        statuses[str(answer.status)] += 1
        took.append(time.perf_counter_ns() - asked)
    connection.close()
    times = milliseconds(took or [0])
    return {
        "statuses": dict(statuses),
        "octets": octets,
        "seconds": round(time.monotonic() - began, 3),
        "slowest_ms": round(times["max_ms"], 1),
        "p50_ms": times["p50_ms"],
        "p99_ms": times["p99_ms"],
        "lost": lost,
    }


if __name__ == "__main__":
    sys.stderr.write(
        json.dumps(feed(int(sys.argv[2])) if sys.argv[1] == "feed" else read(int(sys.argv[2]), *sys.argv[3:]))
    )
