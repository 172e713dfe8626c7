"""Soak: a day of polling every second, as fast as it can be done, and what memory and descriptors do meanwhile.

Real poller, real receiver of notifications and real core in a process of their own. Sessions go down and come up all
the time, and the router tells of it. A leak that matters in a month shows as a slope: MB for each 10,000 rounds, by
least squares over the second half, when all that is kept on purpose is there.
"""

from __future__ import annotations

import argparse
import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.asker import Asker, Job, ways
from tests.bench.notifications import Sender
from tests.bench.report import Column, Figures, Result
from tests.bench.snmp_agent import AgentProcess

ABOUT = "memory and descriptors over a day of polling every second, compressed, with notifications"
BAR = "flat for both engines and for v3: no slope that a month would notice, no descriptor more"
DAY = 86_400
ENGINES, VERSIONS = ("gufo", "pysnmp"), ("2c", "3")

ROOT = Path(__file__).resolve().parents[2]
_SESSIONS = 10
_INTERVAL = 0.0002
"""Seconds between two rounds, if one took no time."""
_TICKS = 20
_SHOWN = (0, 4, 9, 14, 19)
"""Ticks in the table: after a twentieth, a quarter, a half, three quarters, and all."""
_CHANGE = 0.1
"""Seconds between two changes."""

COLUMNS = (
    Column("rounds", "rounds"),
    Column("seconds", "of s", ".0f"),
    *(Column(f"rss_{5 * (tick + 1)}", f"RSS {5 * (tick + 1)} %", ".1f") for tick in _SHOWN),
    Column("slope", "MB per 10,000", "+.3f"),
    Column("descriptors_first", "fds first", "d"),
    Column("descriptors_last", "fds last", "d"),
    Column("notifications", "notifications"),
    Column("withdrawn", "withdrawn"),
    Column("silences", "silences"),
    Column("cpu_us_a_round", "CPU us a round", ".0f"),
)


def arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--rounds", type=int, default=DAY, help="polls of the device (%(default)s: a day's)")
    group.add_argument("--soak-engine", action="append", choices=ENGINES, help="only this one (default: both)")
    group.add_argument("--soak-version", action="append", choices=VERSIONS, help="only this one (default: both)")


def measure(options: argparse.Namespace) -> Result:
    rounds = 400 if options.quick else options.rounds
    situations: dict[str, Figures] = {}
    there, refused = ways(options.soak_engine or ENGINES, options.soak_version or VERSIONS)
    for engine, version in there:
        situations[f"{engine}, v{version}"] = _soaked(engine, version, rounds)
    said = (*notes(situations), *refused)
    return Result("soak", ABOUT, BAR, {"rounds": rounds, "sessions": _SESSIONS}, COLUMNS, situations, said)


def _soaked(engine: str, version: str, rounds: int) -> Figures:
    agent = AgentProcess(_SESSIONS, ROOT)
    job = Job(
        "poller",
        agent.port,
        engine,
        version,
        sessions=_SESSIONS,
        interval=_INTERVAL,
        seconds=0.0,
        rounds=rounds,
        ticks=_TICKS,
        traps=True,
    )
    try:
        with Asker(job, ROOT) as asker:
            port = asker.ready()
            with _restless(agent, version, port) as sent:
                asker.begin()
                *ticks, end = asker.lines()
            return {**summary(ticks, end), "sent": sent[0]}
    finally:
        agent.stop()


@contextlib.contextmanager
def _restless(agent: AgentProcess, version: str, port: int) -> Iterator[list[int]]:
    """One session after the other goes down, with a notification, and comes up again; how many were sent."""
    stop = threading.Event()
    sent = [0]

    def change() -> None:
        sender = Sender(version, port, lambda: int(agent.tell()["engine_time"]))
        number = 0
        try:
            while not stop.wait(_CHANGE):
                number = number % _SESSIONS + 1
                agent.set("down", [number])
                sender.send(sender.traps([number]))
                sent[0] += 1
                if stop.wait(_CHANGE):
                    return
                agent.set("up", [number])
        finally:
            sender.close()

    thread = threading.Thread(target=change, name="changes", daemon=True)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join(10)


def summary(ticks: Sequence[Mapping[str, Any]], end: Mapping[str, Any]) -> Figures:
    """The table's row of one process: `ticks` came on the way, `end` are its figures."""
    shown = {f"rss_{5 * (place + 1)}": round(ticks[place]["rss_mb"], 2) for place in _SHOWN if place < len(ticks)}
    later = [(tick["tick"], tick["rss_mb"]) for tick in ticks[len(ticks) // 2 :]]
    return {
        "rounds": end["answered"],
        "seconds": round(end["seconds"], 1),
        **shown,
        "slope": round(slope(later) * 10_000, 4) if len(later) > 1 else None,
        "descriptors_first": ticks[0]["descriptors"] if ticks else None,
        "descriptors_last": end["descriptors"],
        "notifications": end["notifications"],
        "withdrawn": end["withdrawn"],
        "silences": end["silences"],
        "reason": end["reason"],
        "counts": end["refused"],
        "cpu_us_a_round": round(end["cpu"] / end["answered"] * 1e6, 1),
        "ticks": [{key: round(tick[key], 3) for key in ("tick", "rss_mb", "descriptors", "cpu")} for tick in ticks],
    }


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line through these points, by least squares."""
    count = len(points)
    middle = sum(x for x, _ in points) / count
    height = sum(y for _, y in points) / count
    spread = sum((x - middle) ** 2 for x, _ in points)
    return sum((x - middle) * (y - height) for x, y in points) / spread if spread else 0.0


def notes(situations: Mapping[str, Figures]) -> tuple[str, ...]:
    """What a month would make of the slopes."""
    found = [f"{_SESSIONS} sessions; RSS in MB after so much of all rounds; the slope is over the second half."]
    for name, figures in situations.items():
        if figures["slope"] is not None:
            found.append(f"{name}: {figures['slope'] * 30 * DAY / 10_000:+.1f} MB in thirty days at that slope")
        if figures["descriptors_last"] != figures["descriptors_first"]:
            found.append(f"{name}: {figures['descriptors_first']} descriptors became {figures['descriptors_last']}")
        if figures["silences"]:
            found.append(f"{name}: {figures['silences']} silences, the last one: {figures['reason']}")
    return tuple(found)
