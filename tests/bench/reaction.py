"""Reaction: from the response that says a session is down, to the withdraw's line.

The real process, with this bench as its ExaBGP and a relay before its router. A response is stamped just before the
relay sends it on, a line just after it was read. Which response told of a Down is read from its octets, not guessed
from the time: so a Down that waited for later answers shows as what it cost.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import re
import sqlite3
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from tests.bench.load import Helper
from tests.bench.machine import usage
from tests.bench.relay import Passed, Relay
from tests.bench.report import Column, Figures, Result, milliseconds
from tests.bench.router import COMMUNITY, RouterProcess, peer
from tests.bench.snmp_octets import DOWN, STATE, state_octets
from tests.bench.speaker import Said, Speaker
from tests.lab import free_port, wait_for

ABOUT = "sample's datagram in -> withdraw line out"
BAR = "p50 < 0.3 ms, p99 < 2 ms idle; p99 < 20 ms while a full feed is stored and four clients read the API"
LIMITS = {"idle": {"p50_ms": 0.3, "p99_ms": 2.0}, "load": {"p99_ms": 20.0}}

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds to wait for what must come; never what is measured."""
CLIENTS = 4
_APART = 20
"""Sessions between two that go down together, so that each is in a PDU of its own."""
_TOGETHER = 50
_OTHERS = 300
"""Samples of the scripts at the most: they ask for one session, so each sample takes a round of its own."""
_FEW = 0.02
"""Seconds between the requests of the scripts."""

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
level = "info"
[[device]]
name = "r1"
host = "127.0.0.1"
port = {snmp}
community = "{community}"
profile = "bfd-std"
engine = "{engine}"
interval = {interval}
timeout = 5.0
stale_after = 60.0
"""
SERVICE = """
[[service]]
name = "s{number}"
prefixes = ["{prefix}"]
next_hop = "self"
sessions = ["r1/{peer}"]
rise = 1
hold_up = 0.0
confirm = false
"""
COLUMNS = (
    Column("samples", "samples"),
    Column("p50_ms", "p50 ms", ".3f"),
    Column("p99_ms", "p99 ms", ".3f"),
    Column("max_ms", "max ms", ".3f"),
    Column("waited", "waited"),
    Column("p99_direct_ms", "p99 of the others", ".3f"),
    Column("cpu_seconds", "CPU s", ".2f"),
    Column("seconds", "of s", ".1f"),
    Column("rss_mb", "RSS MB", ".1f"),
)


def arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--interval", type=float, default=1.0, help="seconds between two polls (%(default)s)")
    group.add_argument("--engine", default="auto", choices=("auto", "gufo", "pysnmp"), help="SNMP engine (%(default)s)")
    group.add_argument("--feed", type=int, default=5000, help="UPDATEs a second under load (%(default)s)")
    group.add_argument("--no-load", action="store_true", help="leave out the situation under load")
    group.add_argument("--no-peers", action="store_true", help="leave out the plain script and the floor")
    group.add_argument("--keep", type=Path, metavar="FOLDER", help="keep configuration, log and journal there")


def measure(options: argparse.Namespace) -> Result:
    situations: dict[str, Figures] = {}
    with contextlib.ExitStack() as stack:
        folder = work_folder(options.keep, stack)
        router = RouterProcess(options.sessions, ROOT)
        stack.callback(router.stop)
        relay = Relay(router.port)
        stack.callback(relay.stop)
        engine = _ours(options, folder, router, relay, situations)
        if not options.no_peers:
            count = min(options.samples, _OTHERS)
            for name, command in _scripts(relay.port).items():
                situations[name] = _script(command, folder / f"{name}.log", router, relay, count)
    return Result(
        "reaction",
        ABOUT,
        BAR,
        {
            "sessions": options.sessions,
            "services": options.sessions,
            "samples": options.samples,
            "interval": options.interval,
            "engine": engine,
            "feed": options.feed,
            "clients": CLIENTS,
        },
        COLUMNS,
        situations,
        _notes(situations, engine),
    )


# --- ours -------------------------------------------------------------------------------------------------------


def _ours(
    options: argparse.Namespace, folder: Path, router: RouterProcess, relay: Relay, situations: dict[str, Figures]
) -> str:
    """Measures our process idle and under load; the SNMP engine it used."""
    api, journal = free_port(), folder / "journal.db"
    toml = folder / "exabgp-bfd.toml"
    numbers = range(1, options.sessions + 1)
    text = TOML.format(
        journal=journal,
        api=api,
        snmp=relay.port,
        community=COMMUNITY,
        engine=options.engine,
        interval=options.interval,
    )
    toml.write_text(text + "".join(SERVICE.format(number=n, prefix=prefix_of(n), peer=peer(n)) for n in numbers))
    command = [sys.executable, "-m", "exabgp_bfd", "run", "--config", str(toml)]
    process = Speaker(command, folder / "exabgp-bfd.log", ROOT, answers=True)
    try:
        process.expect("announce", map(prefix_of, numbers), PATIENCE + options.sessions / 20)
        wait_for(lambda: page(api, "/readyz"), "the API is ready", PATIENCE)
        wait_for(lambda: metric(api, "store_queue_records") == 0, "the journal has the start", PATIENCE)
        batches = list(spread(options.sessions))
        situations["idle"] = _sampled(process, router, relay, batches, options.samples)
        if not options.no_load:
            with _load(process, api, journal, options.feed) as load:
                figures = _sampled(process, router, relay, batches, options.samples)
            situations["load"] = {**figures, **load}
    finally:
        process.stop()
    return "gufo" if _uses_gufo(options.engine) else "pysnmp"


def _uses_gufo(engine: str) -> bool:
    from exabgp_bfd.core.model import Secret  # noqa: PLC0415 - only here
    from exabgp_bfd.sources.snmp.client import connect  # noqa: PLC0415
    from exabgp_bfd.sources.snmp.target import Target  # noqa: PLC0415

    return connect(Target("r1", "127.0.0.1", Secret(COMMUNITY), engine=engine)).engine == "gufo"


@contextlib.contextmanager
def _load(process: Speaker, api: int, journal: Path, rate: int) -> Iterator[Figures]:
    """The feed and the clients, while the block runs; what they did is there after it."""
    figures: Figures = {}
    before = {name: metric(api, name) for name in ("messages_dropped_total", "store_dropped_total")}
    helpers = [Helper(ROOT, "read", str(api)) for _ in range(CLIENTS)]
    feeder = Helper(ROOT, "feed", str(rate), stdout=process.stdin)
    try:
        time.sleep(min(2.0, 20 / rate + 1.0))  # for all of them to be at it
        yield figures
    finally:
        fed = feeder.stop()
        read = [helper.stop() for helper in helpers]
    wait_for(lambda: metric(api, "store_queue_records") == 0, "the journal took what was fed", PATIENCE)
    statuses: dict[str, int] = {}
    for status, count in (pair for each in read for pair in each["statuses"].items()):
        statuses[status] = statuses.get(status, 0) + count
    figures["lines_fed"] = fed["lines"]
    figures["lines_a_second"] = round(fed["lines"] / fed["seconds"])
    figures["messages_stored"] = _stored(journal, fed["lines"])
    figures["messages_dropped"] = metric(api, "messages_dropped_total") - before["messages_dropped_total"]
    figures["store_dropped"] = metric(api, "store_dropped_total") - before["store_dropped_total"]
    figures["requests_answered"] = statuses
    figures["requests_a_second"] = round(sum(statuses.values()) / fed["seconds"], 1)
    figures["slowest_request_ms"] = max(each["slowest_ms"] for each in read)


def _stored(journal: Path, fed: int) -> int:
    """How many messages are in the journal, once they are as many as were fed, or do not get more."""
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5)) as connection:
        before, count = -1, 0
        while before < count < fed:
            before = count
            (count,) = connection.execute("SELECT count(*) FROM message WHERE direction = 'receive'").fetchone()
            time.sleep(1.0 if count < fed else 0.0)
    return int(count)


def page(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def metric(port: int, name: str) -> float | None:
    found = re.search(rf"^exabgp_bfd_{name} (\S+)$", page(port, "/metrics"), re.MULTILINE)
    return float(found[1]) if found else None


# --- the scripts ------------------------------------------------------------------------------------------------


def _scripts(port: int) -> dict[str, list[str]]:
    oid = ".".join(str(arc) for arc in (*STATE, 1))
    arguments = [str(port), COMMUNITY]
    return {
        "plain script": [
            *(sys.executable, str(Path(__file__).with_name("plain_script.py"))),
            *(*arguments, oid, prefix_of(1), str(_FEW)),
        ],
        "floor": [
            *(sys.executable, "-m", "tests.bench.least_script"),
            *(*arguments, "1", prefix_of(1), str(_FEW)),
        ],
    }


def _script(command: list[str], log: Path, router: RouterProcess, relay: Relay, samples: int) -> Figures:
    process = Speaker(command, log, ROOT, answers=False)
    try:
        process.expect("announce", [prefix_of(1)], PATIENCE)
        return _sampled(process, router, relay, [[1]], samples)
    finally:
        process.stop()


# --- samples ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reaction:
    took: int
    """Nanoseconds."""
    waited: bool
    """Whether more was asked and answered before the line came."""


def _sampled(
    process: Speaker, router: RouterProcess, relay: Relay, batches: Sequence[Sequence[int]], count: int
) -> Figures:
    """Takes sessions down and up again, batch after batch, until there are enough reactions."""
    reactions: list[Reaction] = []
    began = usage(process.pid)
    for batch in itertools.cycle(batches):
        chosen = batch[: count - len(reactions)]
        prefixes = {prefix_of(number): number for number in chosen}
        relay.forget()
        process.forget()
        router.set("down", chosen)
        said = process.expect("withdraw", prefixes, PATIENCE)
        passed = relay.passed()
        reactions += [reaction_of(passed, said[prefix], number) for prefix, number in prefixes.items()]
        process.forget()
        router.set("up", chosen)
        process.expect("announce", prefixes, PATIENCE)
        if len(reactions) >= count:
            break
    ended = usage(process.pid)
    seconds = ended.at - began.at
    direct = [reaction.took for reaction in reactions if not reaction.waited]
    return {
        **milliseconds([reaction.took for reaction in reactions]),
        "waited": len(reactions) - len(direct),
        "p99_direct_ms": milliseconds(direct)["p99_ms"] if direct else None,
        "cpu_seconds": round(ended.cpu - began.cpu, 2),
        "seconds": round(seconds, 2),
        "cpu_percent": round(100 * (ended.cpu - began.cpu) / seconds, 1),
        "rss_mb": round(ended.rss, 1),
        "peak_rss_mb": round(ended.peak_rss, 1),
    }


def reaction_of(passed: Sequence[Passed], said: Said, number: int) -> Reaction:
    """What it took from the first response that told of this Down."""
    down = state_octets(number, DOWN)
    before = [one for one in passed if one.at < said.at]
    place = next((place for place, one in enumerate(before) if down in one.datagram), None)
    assert place is not None, f"{said.prefix} was withdrawn, and no response had said that session {number} is down"
    return Reaction(said.at - before[place].at, waited=place < len(before) - 1)


def spread(sessions: int) -> Iterator[list[int]]:
    """Every session once, those of one batch far apart."""
    apart = max(_APART, -(-sessions // _TOGETHER))
    for first in range(1, min(apart, sessions) + 1):
        yield list(range(first, sessions + 1, apart))


def prefix_of(number: int) -> str:
    return f"{ip_address('198.18.0.0') + number}/32"


# --- what comes out ---------------------------------------------------------------------------------------------


def work_folder(keep: Path | None, stack: contextlib.ExitStack) -> Path:
    if keep is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exabgp-bfd-bench-")))
    keep.mkdir(parents=True, exist_ok=True)
    return keep.resolve()


def _notes(situations: dict[str, Figures], engine: str) -> Iterable[str]:
    notes = [
        f"SNMP engine {engine}. The plain script and the floor ask one value a datagram, ours up to 40.",
        '"waited": the line came only after later answers had been asked for and received.',
    ]
    for situation, limits in LIMITS.items():
        figures = situations.get(situation)
        for key, limit in limits.items() if figures else ():
            found = figures[key]
            said = "met" if found < limit else "missed"
            notes.append(f"{situation}: {key.removesuffix('_ms')} {found:.3f} ms, bar {limit:g} ms: {said}")
            figures[f"{key.removesuffix('_ms')}_bar_ms"] = limit
    plain, idle = situations.get("plain script"), situations["idle"]
    if plain:
        for key in ("p50", "p99"):
            idle[f"{key}_of_plain_script"] = round(idle[f"{key}_ms"] / plain[f"{key}_ms"], 4)
        notes.append(
            f"idle / plain script: p50 {idle['p50_of_plain_script']:.3f}, p99 {idle['p99_of_plain_script']:.3f}"
        )
    load = situations.get("load")
    if load:
        notes.append(
            f"under load: {load['lines_fed']} lines fed ({load['lines_a_second']} a second),"
            f" {load['messages_stored']} stored, {load['messages_dropped']:g} dropped (0 is wanted);"
            f" {json.dumps(load['requests_answered'])} answers ({load['requests_a_second']} a second,"
            f" the slowest {load['slowest_request_ms']} ms)"
        )
    return tuple(notes)
