"""Polling: what a value costs that is read, beside what others take for it, and how that grows.

Who asks is a process of its own, and so is who answers, each pinned to a core where there are two; CPU is user and
system time by the kernel's count, which others on the machine disturb less than they do the clock. How busy the agent
was is told beside each figure: were it near 100 %, the figure would be the agent's.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests.bench.asker import Asker, Job, ways
from tests.bench.machine import usage, waited
from tests.bench.report import Column, Figures, Result, percentile
from tests.bench.snmp_agent import COMMUNITY, PER_PDU, AgentProcess, address
from tests.bench.speaker import Speaker
from tests.lab import free_port

ABOUT = "CPU for each value read, 40 a PDU, and how it grows; a thousand devices every second"
BAR = (
    "<= 5 us a value in the SNMP engine, <= 12 us with decoding and deciding, v3 authPriv <= 2x;"
    " 1,000 devices x 10 sessions every second under half a core, no poll late by more than 100 ms"
)
ENGINES, VERSIONS = ("gufo", "pysnmp"), ("2c", "3")
LIMITS = {"engine alone": 5.0, "decided": 12.0}
V3_LIMIT = 2.0
CORE_LIMIT = 0.5

_CROWDED = 0.05
"""From so much of the time without a core on, what is late says little of the program."""

Ways = Sequence[tuple[str, str]]
"""Engines and versions."""

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 120.0
_WALKED = 1000
_MANY = 10
"""Sessions of each of many devices."""

TOML = """
[site]
name = "bench"
[storage]
path = "{journal}"
[api]
listen = "127.0.0.1:{api}"
[api.rates]
requests = 0
failures = 0
[log]
level = "warning"
[snmp]
version = "2c"
community = "{community}"
interval = 1.0
timeout = 5.0
stale_after = 60.0
"""
DEVICE = """
[[device]]
name = "edge{number}"
host = "{host}"
port = {port}
profile = "bfd-std"
[[service]]
name = "s{number}"
prefixes = ["{prefix}"]
next_hop = "self"
sessions = ["edge{number}/*"]
"""
COLUMNS = (
    Column("us_a_value", "us a value", ".2f"),
    Column("spread", "min..max"),
    Column("of_get_cmd", "of get_cmd", ".4f"),
    Column("of_bulkwalk", "of bulkwalk", ".3f"),
    Column("of_2c", "v3 / v2c", ".2f"),
    Column("values_a_second", "values/s", ".0f"),
    Column("core", "core", ".3f"),
    Column("waited", "none free", ".3f"),
    Column("late", "late"),
    Column("rounds", "of rounds"),
    Column("worst_late_ms", "worst ms", ".1f"),
    Column("rss_mb", "RSS MB", ".1f"),
    Column("agent_load", "agent's load", ".2f"),
)


def arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--poll-engine", action="append", choices=ENGINES, help="only this one (default: both)")
    group.add_argument("--poll-version", action="append", choices=VERSIONS, help="only this one (default: both)")
    group.add_argument("--poll-seconds", type=float, default=2.0, help="of each sample (%(default)s)")
    group.add_argument("--poll-repeats", type=int, default=3, help="samples, taken in turn (%(default)s)")
    group.add_argument("--poll-part", action="append", choices=tuple(PARTS), help="only this one (default: all)")
    group.add_argument("--poll-growth", default="10,100,1000,10000", help="sessions on one device (%(default)s)")
    group.add_argument("--poll-devices", type=int, default=1000, help="devices every second (%(default)s)")
    group.add_argument("--poll-window", type=float, default=20.0, help="seconds that those are watched (%(default)s)")


def measure(options: argparse.Namespace) -> Result:
    if options.quick:
        options.poll_seconds, options.poll_repeats, options.poll_window = 0.2, 1, 1.5
        options.poll_growth, options.poll_devices = "10", 20
    there, refused = ways(options.poll_engine or ENGINES, options.poll_version or VERSIONS)
    situations: dict[str, Figures] = {}
    for part in options.poll_part or PARTS:
        # One way grows as another does: enough to see that it works.
        situations.update(PARTS[part](options, there[:1] if options.quick and part != "values" else there))
    return Result(
        "polling",
        ABOUT,
        BAR,
        {
            "values_a_pdu": PER_PDU,
            "seconds": options.poll_seconds,
            "repeats": options.poll_repeats,
            "devices": options.poll_devices,
            "engines": [f"{engine}, v{version}" for engine, version in there],
            "v3": "authPriv, SHA-256 and AES-128",
        },
        COLUMNS,
        situations,
        (*notes(situations), *refused),
    )


# --- the cost of a value ----------------------------------------------------------------------------------------


def values(options: argparse.Namespace, there: Ways) -> dict[str, Figures]:
    """Ours and the others in turn, so that a busy minute of the machine meets all of them."""
    samples: dict[str, list[Figures]] = {}
    jobs = dict(_jobs(options.poll_seconds, there))
    with _agent(_WALKED) as agent:
        for _ in range(options.poll_repeats):
            for name, job in jobs.items():
                samples.setdefault(name, []).append(_asked(agent, job))
    situations = {name: summary(each) for name, each in samples.items()}
    compare(situations)
    return situations


def _jobs(seconds: float, there: Ways) -> Iterator[tuple[str, dict[str, Any]]]:
    for version in dict.fromkeys(version for _, version in there):
        for engine in (engine for engine, its in there if its == version):
            ours = {"engine": engine, "version": version, "seconds": seconds}
            yield f"{engine}, engine alone, v{version}", {"what": "client", **ours}
            deciding = {"what": "poller", "sessions": _WALKED, "rounds": 1, **ours}
            yield f"{engine}, decided, v{version}", deciding
        others = {"engine": "-", "version": version, "seconds": seconds}
        yield f"pysnmp's get_cmd, v{version}", {"what": "hlapi", **others}
        if shutil.which("snmpbulkwalk"):
            yield f"snmpbulkwalk, v{version}", {"what": "snmpbulkwalk", **others}
            yield f"snmpget in a loop, v{version}", {"what": "snmpget loop", **others}


def _asked(agent: AgentProcess, job: Mapping[str, Any], interval: float | None = None) -> Figures:
    """One sample: what the asker used and what the agent counted."""
    with Asker(Job(port=agent.port, **job), ROOT) as asker:
        asker.ready()
        agent.mark()
        asker.begin()
        figures = asker.figures()
        told = agent.tell(interval or 1.0)
    assert told["unreadable"] == 0, f"the agent could not read {told['unreadable']} requests"
    count = figures.get("values") or told["values"]
    assert count, f"{job} read nothing"
    return {
        "us_a_value": figures.get("cpu_all", figures["cpu"]) / count * 1e6,
        "values_a_second": count / figures["seconds"],
        "core": figures["cpu"] / figures["seconds"],
        "waited": figures.get("waited"),
        "rss_mb": figures.get("rss_mb"),
        "agent_load": told["load"],
        "silences": figures.get("silences", 0),
        "settled_seconds": figures.get("settled"),
        "rounds_answered": figures.get("answered"),
        "skipped": figures.get("skipped"),
        **({key: told[key] for key in ("rounds", "late", "missed", "worst_late_ms")} if interval else {}),
    }


def summary(samples: Sequence[Figures]) -> Figures:
    """The median of several samples, and how far they lay apart."""
    figures = {
        key: percentile([sample[key] for sample in samples], 50)
        for key in samples[0]
        if all(isinstance(sample[key], int | float) for sample in samples)
    }
    costs = [sample["us_a_value"] for sample in samples]
    return {
        **{key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()},
        "samples": [round(cost, 3) for cost in costs],
        "spread": f"{min(costs):.3g}..{max(costs):.3g}",
    }


def compare(situations: Mapping[str, Figures]) -> None:
    """Gives each its ratio to the others of its version, and to itself in version 2c."""
    for name, figures in situations.items():
        who, _, version = name.rpartition(", v")
        for key, other in (("of_get_cmd", "pysnmp's get_cmd"), ("of_bulkwalk", "snmpbulkwalk")):
            beside = situations.get(f"{other}, v{version}")
            if beside is not None:
                figures[key] = round(figures["us_a_value"] / beside["us_a_value"], 5)
        before = situations.get(f"{who}, v2c")
        if version == "3" and before is not None:
            figures["of_2c"] = round(figures["us_a_value"] / before["us_a_value"], 3)


# --- how it grows -----------------------------------------------------------------------------------------------


def growth(options: argparse.Namespace, there: Ways) -> dict[str, Figures]:
    """One device with more and more sessions."""
    situations: dict[str, Figures] = {}
    counts = [int(count) for count in options.poll_growth.split(",")]
    for count in counts:
        with _agent(count) as agent:
            for engine, version in there:
                job = {"what": "poller", "engine": engine, "version": version, "sessions": count, "rounds": 2}
                found = _asked(agent, {**job, "seconds": options.poll_seconds})
                situations[f"{count} sessions, {engine}, v{version}"] = summary([found])
    return situations


# --- many devices -----------------------------------------------------------------------------------------------


def devices(options: argparse.Namespace, there: Ways) -> dict[str, Figures]:
    """A thousand devices every second, and the whole program with them."""
    situations: dict[str, Figures] = {}
    with _agent(_MANY) as agent:
        count = options.poll_devices
        for engine, version in there:
            job = {"what": "poller", "engine": engine, "version": version, "sessions": _MANY, "devices": count}
            found = _asked(agent, {**job, "interval": 1.0, "seconds": options.poll_window}, 1.0)
            situations[f"{count} devices, {engine}, v{version}"] = summary([found])
        situations[f"{count} devices, whole program"] = _program(options, agent)
    return situations


def _program(options: argparse.Namespace, agent: AgentProcess) -> Figures:
    """The same with the real process, everything else that it does included."""
    count = options.poll_devices
    with tempfile.TemporaryDirectory(prefix="exabgp-bfd-bench-") as name:
        folder = Path(name)
        toml = folder / "exabgp-bfd.toml"
        head = {"journal": folder / "journal.db", "api": free_port(), "community": COMMUNITY}
        blocks = [
            DEVICE.format(number=n, host=address(n), port=agent.port, prefix=_prefix(n)) for n in range(1, count + 1)
        ]
        toml.write_text(TOML.format(**head) + "".join(blocks))
        command = [sys.executable, "-m", "exabgp_bfd", "run", "--config", str(toml)]
        begun = time.monotonic()
        process = Speaker(command, folder / "exabgp-bfd.log", ROOT, answers=True)
        try:
            process.expect("announce", [_prefix(n) for n in range(1, count + 1)], _PATIENCE)
            settled = time.monotonic() - begun
            time.sleep(min(3.0, options.poll_window))  # the journal has the start
            agent.mark()
            began, waiting = usage(process.pid), waited(process.pid)
            time.sleep(options.poll_window)
            ended, told, waiting = usage(process.pid), agent.tell(1.0), waited(process.pid) - waiting
            process.check()
        finally:
            process.stop()
    used = ended.cpu - began.cpu
    return {
        "us_a_value": round(used / told["values"] * 1e6, 4),
        "values_a_second": round(told["values"] / told["seconds"]),
        "core": round(used / (ended.at - began.at), 4),
        "waited": round(waiting / (ended.at - began.at), 4),
        "rss_mb": round(ended.rss, 1),
        "agent_load": round(told["load"], 4),
        "settled_seconds": round(settled, 2),
        **{key: told[key] for key in ("rounds", "late", "missed", "worst_late_ms")},
    }


def _prefix(number: int) -> str:
    return f"{ip_address('198.18.0.0') + number}/32"


@contextlib.contextmanager
def _agent(sessions: int) -> Iterator[AgentProcess]:
    agent = AgentProcess(sessions, ROOT)
    try:
        yield agent
    finally:
        agent.stop()


PARTS = {"values": values, "growth": growth, "devices": devices}


# --- what comes out ---------------------------------------------------------------------------------------------


def notes(situations: Mapping[str, Figures]) -> Iterable[str]:
    """What the bars say of it."""
    found = [
        "core: user and system time over the clock's; none free: the time in which it was ready to run and others had"
        " the cores; late: rounds that began more than 100 ms after their turn."
    ]
    for name, figures in situations.items():
        who, _, version = name.rpartition(", v")
        limit = next((limit for what, limit in LIMITS.items() if who.endswith(f", {what}")), None)
        if limit is not None and version == "2c":
            found.append(_held(f"{name}: {figures['us_a_value']:.2f} us", figures["us_a_value"], limit, "us"))
        elif limit is not None and "of_2c" in figures:
            found.append(_held(f"{name}: {figures['of_2c']:.2f} x v2c", figures["of_2c"], V3_LIMIT, "x"))
    for name, figures in situations.items():
        if "worst_late_ms" in figures:
            found.append(_held(f"{name}: {figures['core']:.3f} core", figures["core"], CORE_LIMIT, "core"))
            found.append(_held(f"{name}: {figures['late']} late by more than 100 ms", figures["late"], 0, ""))
            if figures["waited"] > _CROWDED:
                found.append(f"{name}: no core was free for {figures['waited']:.0%} of the time: late for that as well")
        if figures["agent_load"] > 0.8:
            found.append(f"{name}: the agent was busy for {figures['agent_load']:.0%} of the time: no figure of ours")
        if figures.get("silences"):
            found.append(f"{name}: {figures['silences']} times no answer")
    return tuple(found)


def _held(what: str, value: float, limit: float, unit: str) -> str:
    return f"{what}, bar {limit:g} {unit}".rstrip() + f": {'met' if value <= limit else 'missed'}"
