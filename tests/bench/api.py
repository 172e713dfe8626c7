"""The API under load: four clients at full speed while sessions flap, beside one bare route of Flask under waitress.

What counts is not how many pages a second there are, but that a withdraw does not wait for them, that each request has
its answer, and that nothing grows.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.load import PATHS, Helper
from tests.bench.machine import usage, waited
from tests.bench.reaction import PATIENCE, ROOT, SERVICE, TOML, page, prefix_of, reaction_of, spread, work_folder
from tests.bench.relay import Relay
from tests.bench.report import Column, Figures, Result, milliseconds
from tests.bench.router import COMMUNITY, RouterProcess, peer
from tests.bench.speaker import Speaker
from tests.lab import free_port, wait_for

ABOUT = "four clients at full speed while sessions flap"
BAR = "reaction p99 < 20 ms, no answer lost, memory flat; requests a second and p99 beside a bare route in the same run"
LIMIT = 20.0
"""Milliseconds, of the reaction's p99."""
CLIENTS = 4
SMALL = "/guard"
"""The bare route has the same name, and an answer of the same size."""
FLAT = 10.0
"""Megabytes by which memory may differ between two halves of a run that is long enough to tell."""

COLUMNS = (
    Column("requests_a_second", "requests/s", ".0f"),
    Column("request_p50_ms", "p50 ms", ".2f"),
    Column("request_p99_ms", "p99 ms", ".2f"),
    Column("slowest_ms", "max ms", ".1f"),
    Column("lost", "lost"),
    Column("refused", "5xx"),
    Column("samples", "reactions"),
    Column("p50_ms", "p50 ms", ".3f"),
    Column("p99_ms", "p99 ms", ".3f"),
    Column("max_ms", "max ms", ".3f"),
    Column("cpu_percent", "CPU %", ".0f"),
    Column("waited_percent", "no core %", ".0f"),
    Column("rss_mb", "RSS MB", ".1f"),
    Column("grown_mb", "grown MB", "+.1f"),
)


def arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--seconds", type=float, default=60.0, help="of load in each situation (%(default)s)")


def measure(options: argparse.Namespace) -> Result:
    seconds = min(options.seconds, 5.0) if options.quick else options.seconds
    sessions = min(options.sessions, 100) if options.quick else options.sessions
    situations: dict[str, Figures] = {}
    with contextlib.ExitStack() as stack:
        folder = work_folder(None, stack)
        short = max(2.0, seconds / 6)
        situations["bare route"] = _bare(short)
        router = RouterProcess(sessions, ROOT)
        stack.callback(router.stop)
        relay = Relay(router.port)
        stack.callback(relay.stop)
        process, port = _ours(folder, sessions, relay)
        stack.callback(process.stop)
        load = _Load(process, port, router, relay, list(spread(sessions)))
        situations["ours, same route"] = load.run(short, (SMALL,), flapping=False)
        situations["ours, idle"] = load.run(short, (), flapping=True)
        situations["ours, all pages"] = load.run(seconds, PATHS, flapping=True)
    return Result(
        "api",
        ABOUT,
        BAR,
        {"sessions": sessions, "services": sessions, "clients": CLIENTS, "seconds": seconds, "paths": list(PATHS)},
        COLUMNS,
        situations,
        _notes(situations),
    )


def _ours(folder: Path, sessions: int, relay: Relay) -> tuple[Speaker, int]:
    port, toml = free_port(), folder / "exabgp-bfd.toml"
    numbers = range(1, sessions + 1)
    head = TOML.format(
        journal=folder / "journal.db", api=port, snmp=relay.port, community=COMMUNITY, engine="auto", interval=1.0
    )
    services = "".join(SERVICE.format(number=n, prefix=prefix_of(n), peer=peer(n)) for n in numbers)
    toml.write_text(head + services)
    command = [sys.executable, "-m", "exabgp_bfd", "run", "--config", str(toml)]
    process = Speaker(command, folder / "exabgp-bfd.log", ROOT, answers=True)
    try:
        process.expect("announce", map(prefix_of, numbers), PATIENCE + sessions / 20)
        wait_for(lambda: page(port, "/readyz"), "the API is ready", PATIENCE)
    except BaseException:
        process.stop()
        raise
    return process, port


class _Load:
    """Our process, with clients that ask and sessions that flap."""

    def __init__(
        self, process: Speaker, port: int, router: RouterProcess, relay: Relay, batches: list[list[int]]
    ) -> None:
        self._process, self._port, self._router, self._relay = process, port, router, relay
        self._batches = itertools.cycle(batches)

    def run(self, seconds: float, paths: tuple[str, ...], *, flapping: bool) -> Figures:
        """Both for some seconds; what was measured of each."""
        taken: list[int] = []
        with _watched(self._process.pid) as memory, _asked(self._port, paths) as figures:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                if flapping:
                    taken += self._flap(next(self._batches))
                else:
                    time.sleep(0.2)
        return {**figures, **(milliseconds(taken) if taken else {}), **memory}

    def _flap(self, batch: list[int]) -> list[int]:
        """Sessions down and up again; the reactions in nanoseconds."""
        prefixes = {prefix_of(number): number for number in batch}
        self._relay.forget()
        self._process.forget()
        self._router.set("down", batch)
        said = self._process.expect("withdraw", prefixes, PATIENCE)
        passed = self._relay.passed()
        taken = [reaction_of(passed, said[prefix], number).took for prefix, number in prefixes.items()]
        self._process.forget()
        self._router.set("up", batch)
        self._process.expect("announce", prefixes, PATIENCE)
        return taken


def _bare(seconds: float) -> Figures:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bare"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with _watched(process.pid) as memory, _asked(port, (SMALL,)) as figures:
            time.sleep(seconds)
    finally:
        process.communicate(timeout=10)
    return {**figures, **memory}


@contextlib.contextmanager
def _asked(port: int, paths: tuple[str, ...]) -> Iterator[Figures]:
    """Four clients while the block runs; what they got is there after it."""
    figures: Figures = {}
    began = time.monotonic()
    helpers = [Helper(ROOT, "read", str(port), *paths) for _ in range(CLIENTS if paths else 0)]
    try:
        yield figures
    finally:
        told = [helper.stop() for helper in helpers]
    if not told:
        return
    statuses: dict[str, int] = {}
    for status, count in (pair for each in told for pair in each["statuses"].items()):
        statuses[status] = statuses.get(status, 0) + count
    figures |= {
        "requests_a_second": round(sum(sum(each["statuses"].values()) / each["seconds"] for each in told), 1),
        # Of the four clients the one that was served worst.
        "request_p50_ms": max(each["p50_ms"] for each in told),
        "request_p99_ms": max(each["p99_ms"] for each in told),
        "slowest_ms": max(each["slowest_ms"] for each in told),
        "lost": sum(each["lost"] for each in told),
        "refused": sum(count for status, count in statuses.items() if status >= "500"),
        "answers": statuses,
        "seconds": round(time.monotonic() - began, 1),
    }


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[Figures]:
    """CPU and memory while the block runs: the last quarter's most, and how far that is above the second quarter's."""
    figures: Figures = {}
    over, seen, began, without = threading.Event(), [usage(pid)], usage(pid), _waited(pid)

    def look() -> None:
        while not over.wait(0.25):
            seen.append(usage(pid))

    watcher = threading.Thread(target=look, name="memory", daemon=True)
    watcher.start()
    try:
        yield figures
    finally:
        over.set()
        watcher.join()
    ended = usage(pid)
    quarter = max(1, len(seen) // 4)
    second, last = seen[quarter : 2 * quarter] or seen, seen[-quarter:]
    figures |= {
        "cpu_percent": round(100 * (ended.cpu - began.cpu) / (ended.at - began.at), 1),
        "waited_percent": round(100 * (_waited(pid) - without) / (ended.at - began.at), 1),
        "rss_mb": round(max(one.rss for one in last), 1),
        "grown_mb": round(max(one.rss for one in last) - max(one.rss for one in second), 2),
    }


def _waited(pid: int) -> float:
    """Seconds in which the thread that decides, of our keeper's worker, was ready to run and others had all cores."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return waited(children[0] if children else pid)


def _notes(situations: dict[str, Figures]) -> tuple[str, ...]:
    bare, same, load = (situations[name] for name in ("bare route", "ours, same route", "ours, all pages"))
    same["of_bare_rate"] = round(same["requests_a_second"] / bare["requests_a_second"], 3)
    same["of_bare_p99"] = round(same["request_p99_ms"] / bare["request_p99_ms"], 3)
    met = "met" if load["p99_ms"] < LIMIT else "missed"
    lost = sum(one.get("lost", 0) for one in situations.values())
    flat = "flat" if load["grown_mb"] < FLAT else "NOT flat"
    return (
        f"same route / bare route: requests a second {same['of_bare_rate']:.3f}, p99 {same['of_bare_p99']:.3f}",
        f"reaction while all pages are asked for: p99 {load['p99_ms']:.3f} ms, bar {LIMIT:g} ms: {met}",
        f"answers lost: {lost} (0 is wanted); memory {flat}: {load['grown_mb']:+.1f} MB since the second quarter",
        f'"no core": the thread that decides was ready and others had all cores; {load["waited_percent"]:.0f} %'
        " while all pages were asked for (of four clients and us on this machine some; much of it is others' load)",
        f"answers by status while sessions flap: {load['answers']}",
    )
