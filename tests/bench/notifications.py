"""Notifications: from a bfdSessDown on its way, to the withdraw's line, with the GET that confirms it.

The real process, with this bench as its ExaBGP, a fast agent as its router, and a sender at the router's address. It
polls so seldom that what is withdrawn within the time was withdrawn for a notification; how many of those it took in is
read from its journal. Beside it, pysnmp's own receiver gets the same burst, and need do nothing about it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import select
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests.bench import snmp_usm
from tests.bench.machine import usage
from tests.bench.reaction import prefix_of
from tests.bench.report import Column, Figures, Result, milliseconds
from tests.bench.snmp_agent import BOOTS, COMMUNITY, AgentProcess, address, engine_id, peer
from tests.bench.snmp_octets import (
    GET,
    INFORM,
    STATE,
    TRAP,
    element,
    integer,
    oid_octets,
    opened,
)
from tests.bench.speaker import Said, Speaker
from tests.lab import free_port, wait_for

ABOUT = "notification sent -> withdraw line out, with the confirming GET; a burst of bfdSessDown"
BAR = "p99 < 20 ms with the confirming GET; a burst of 500 loses none and the last withdraw is out in < 1 s"
LIMITS = {"p99_ms": 20.0, "last_ms": 1000.0, "lost": 0}
VERSIONS = ("2c", "3")

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
_ROUTER = address(1)
INTERVAL = 15.0
"""Seconds between two polls: so long that they withdraw next to nothing meanwhile."""
PAUSES = {"single": 0.08, "single, without a pause": 0.0}
"""Seconds between two single ones at the least; as fast as each is acted upon, they are some 40 a second."""
_ACKED = 5.0
"""Seconds in which an inform is answered, or lost."""
_SETTLED = 0.5
"""Seconds without another one, after which pysnmp's receiver has had its burst."""
_DIAGNOSTIC = (*STATE[:-1], 13)
_UP_TIME, _TRAP_OID = (1, 3, 6, 1, 2, 1, 1, 3, 0), (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)
_SESSION_DOWN = (1, 3, 6, 1, 2, 1, 222, 0, 2)

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
[traps]
listen = "127.0.0.1:{traps}"
[snmp]
{access}
engine = "{engine}"
interval = {interval}
timeout = 2.0
stale_after = 120.0
[[device]]
name = "r1"
host = "{host}"
port = {snmp}
profile = "bfd-std"
trust = {trust}
"""
ACCESS = {
    "2c": f'version = "2c"\ncommunity = "{COMMUNITY}"',
    "3": (
        f'version = "3"\nuser = "{snmp_usm.USER}"\nauth_protocol = "sha256"\nauth_key = "{snmp_usm.AUTH_KEY}"\n'
        f'priv_protocol = "aes128"\npriv_key = "{snmp_usm.PRIV_KEY}"'
    ),
}
SERVICE = """
[[service]]
name = "s{number}"
prefixes = ["{prefix}"]
next_hop = "self"
sessions = ["r1/{peer}"]
rise = 1
hold_up = 0.0
"""
COLUMNS = (
    Column("samples", "sent"),
    Column("p50_ms", "p50 ms", ".3f"),
    Column("p99_ms", "p99 ms", ".3f"),
    Column("max_ms", "max ms", ".3f"),
    Column("received", "received"),
    Column("lost", "lost"),
    Column("acknowledged", "answered"),
    Column("first_ms", "first line ms", ".1f"),
    Column("last_ms", "last line ms", ".1f"),
    Column("cpu_ms", "CPU ms", ".0f"),
    Column("rss_mb", "RSS MB", ".1f"),
)


def arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--traps", type=int, default=300, help="single ones (%(default)s)")
    group.add_argument("--burst", type=int, default=500, help="at once (%(default)s)")
    group.add_argument(
        "--trap-interval", type=float, default=INTERVAL, help="seconds between two polls meanwhile (%(default)s)"
    )
    group.add_argument("--trap-version", action="append", choices=VERSIONS, help="only this one (default: both)")


def measure(options: argparse.Namespace) -> Result:
    if options.quick:
        options.traps, options.burst, options.trap_interval = 20, 50, 3.0
    situations: dict[str, Figures] = {}
    for version in options.trap_version or VERSIONS:
        if version == "3" and not snmp_usm.usable():
            continue
        for trust in (False, True) if version == "3" else (False,):
            found = _ours(options, version, trust=trust)
            kind = f"v{version}, trusted" if trust else f"v{version}"
            situations.update({f"{name}, {kind}": figures for name, figures in found.items()})
        situations[f"pysnmp only receives a burst, v{version}"] = _receiver(version, options.burst)
    return Result(
        "notifications",
        ABOUT,
        BAR,
        {"traps": options.traps, "burst": options.burst, "engine": options.engine, "interval": options.trap_interval},
        COLUMNS,
        situations,
        notes(situations),
    )


# --- what is sent -----------------------------------------------------------------------------------------------


def down_pdu(kind: int, number: int, session: int) -> bytes:
    """A bfdSessDown (RFC 7331) for one session: the instance of both its objects is the session's index."""
    diagnostic = element(0x30, oid_octets((*_DIAGNOSTIC, session)) + integer(1))
    return element(
        kind,
        integer(number)
        + integer(0) * 2
        + element(
            0x30,
            element(0x30, oid_octets(_UP_TIME) + integer(8_640_000, 0x43))
            + element(0x30, oid_octets(_TRAP_OID) + oid_octets(_SESSION_DOWN))
            + diagnostic * 2,
        ),
    )


class Sender:
    """The router, as far as it speaks unasked: one socket, at its address."""

    def __init__(self, version: str, port: int, engine_time: Callable[[], int]) -> None:
        self._version = version
        self._numbers = itertools.count(1000)
        self._engine_time = engine_time
        self._wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._wire.bind((_ROUTER, 0))
        self._wire.connect(("127.0.0.1", port))

    def close(self) -> None:
        self._wire.close()

    def traps(self, sessions: Iterable[int]) -> list[bytes]:
        """A trap's octets for each session."""
        local = engine_id(ip_address(_ROUTER).packed)
        return [self._sealed(TRAP, session, (local, BOOTS, self._engine_time())) for session in sessions]

    def informs(self, sessions: Iterable[int]) -> list[bytes]:
        """An inform's octets for each session; of version 3, for the engine that the receiver is."""
        clock = self._receiver() if self._version == "3" else (b"", 0, 0)
        return [self._sealed(INFORM, session, clock) for session in sessions]

    def send(self, datagrams: Iterable[bytes]) -> int:
        """Sends them one after the other; when the first one went (perf_counter_ns)."""
        began = time.perf_counter_ns()
        for datagram in datagrams:
            self._wire.send(datagram)
        return began

    def answers(self, count: int) -> int:
        """How many were answered, once all were or no more come."""
        deadline = time.monotonic() + _ACKED
        got = 0
        while got < count and select.select([self._wire], [], [], max(0.0, deadline - time.monotonic()))[0]:
            self._wire.recv(65_535)
            got += 1
        return got

    def _sealed(self, kind: int, session: int, clock: tuple[bytes, int, int]) -> bytes:
        number = next(self._numbers)
        pdu = down_pdu(kind, number, session)
        if self._version == "2c":
            return element(0x30, integer(1) + element(0x04, COMMUNITY.encode()) + pdu)
        scoped = element(0x30, element(0x04, clock[0]) + element(0x04, b"") + pdu)
        return snmp_usm.sealed(number, clock, scoped, reportable=kind == INFORM)

    def _receiver(self) -> tuple[bytes, int, int]:
        """The receiver's engine, asked for as RFC 3414 section 4 has it: its id, and then its boots and time."""
        nobody = (b"", 0, 0)
        empty = element(GET, integer(next(self._numbers)) + integer(0) * 2 + element(0x30, b""))
        scoped = element(0x30, element(0x04, b"") * 2 + empty)
        found = self._asked(snmp_usm.plain(next(self._numbers), nobody, scoped, reportable=True))
        stranger = (found.engine_id, 0, 0)
        scoped = element(0x30, element(0x04, found.engine_id) + element(0x04, b"") + empty)
        known = self._asked(snmp_usm.sealed(next(self._numbers), stranger, scoped, reportable=True))
        return known.engine_id, known.boots, known.time

    def _asked(self, datagram: bytes) -> snmp_usm.Message:
        self._wire.send(datagram)
        assert select.select([self._wire], [], [], _ACKED)[0], "the receiver did not tell its engine id and time"
        answer = self._wire.recv(65_535)
        place, _ = opened(answer, 0)
        assert answer[place + 2] == 3, "the receiver did not answer in version 3"
        return snmp_usm.read(answer)


# --- ours -------------------------------------------------------------------------------------------------------


def _ours(options: argparse.Namespace, version: str, *, trust: bool) -> dict[str, Figures]:
    sessions = max(options.traps, options.burst)
    situations: dict[str, Figures] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exabgp-bfd-bench-")))
        agent = AgentProcess(sessions, ROOT)
        stack.callback(agent.stop)
        traps, journal = free_port(socket.SOCK_DGRAM), folder / "journal.db"
        process = _process(folder, options, version, agent, (traps, journal), sessions, trust=trust)
        stack.callback(process.stop)
        prefixes = list(map(prefix_of, range(1, sessions + 1)))
        process.expect("announce", prefixes, PATIENCE + sessions / 20)
        sender = Sender(version, traps, lambda: int(agent.tell()["engine_time"]))
        stack.callback(sender.close)
        for name, pause in PAUSES.items():
            situations[name] = _single(process, agent, sender, options.traps, pause)
            _restored(process, agent, options.traps)
        situations["burst"] = _burst(process, agent, sender, journal, options.burst, informs=False)
        if not trust:
            _restored(process, agent, options.burst)
            situations["burst of informs"] = _burst(process, agent, sender, journal, options.burst, informs=True)
    return situations


def _process(
    folder: Path,
    options: argparse.Namespace,
    version: str,
    agent: AgentProcess,
    places: tuple[int, Path],
    sessions: int,
    *,
    trust: bool,
) -> Speaker:
    traps, journal = places
    toml = folder / "exabgp-bfd.toml"
    text = TOML.format(
        journal=journal,
        api=free_port(),
        traps=traps,
        access=ACCESS[version],
        engine=options.engine,
        interval=options.trap_interval,
        host=_ROUTER,
        snmp=agent.port,
        trust=str(trust).lower(),
    )
    numbers = range(1, sessions + 1)
    toml.write_text(text + "".join(SERVICE.format(number=n, prefix=prefix_of(n), peer=peer(n)) for n in numbers))
    command = [sys.executable, "-m", "exabgp_bfd", "run", "--config", str(toml)]
    return Speaker(command, folder / "exabgp-bfd.log", ROOT, answers=True)


def _single(process: Speaker, agent: AgentProcess, sender: Sender, count: int, pause: float) -> Figures:
    """One session after the other."""
    took: list[int] = []
    began = usage(process.pid)
    for number in range(1, count + 1):
        process.forget()
        agent.set("down", [number])
        (datagram,) = sender.traps([number])
        at = sender.send([datagram])
        said = process.expect("withdraw", [prefix_of(number)], PATIENCE)
        took.append(said[prefix_of(number)].at - at)
        time.sleep(pause)
    ended = usage(process.pid)
    return {
        **milliseconds(took),
        "cpu_ms": round((ended.cpu - began.cpu) * 1e3, 1),
        "rss_mb": round(ended.rss, 1),
    }


def _restored(process: Speaker, agent: AgentProcess, count: int) -> None:
    """Has all sessions be up again, which only polls tell: an Up counts when it was seen in its turn."""
    process.forget()
    agent.set("up", range(1, count + 1))
    process.expect("announce", map(prefix_of, range(1, count + 1)), PATIENCE)
    time.sleep(1.0)


def _burst(
    process: Speaker, agent: AgentProcess, sender: Sender, journal: Path, count: int, *, informs: bool
) -> Figures:
    """All at once."""
    numbers = range(1, count + 1)
    datagrams = (sender.informs if informs else sender.traps)(numbers)
    before = _taken(journal)
    process.forget()
    agent.set("down", numbers)
    began = usage(process.pid)
    at = sender.send(datagrams)
    acknowledged = sender.answers(count) if informs else None
    said = process.expect("withdraw", map(prefix_of, numbers), PATIENCE)
    ended = usage(process.pid)
    with contextlib.suppress(AssertionError):
        wait_for(lambda: _taken(journal) - before >= count, "the journal has them all", 5.0)
    return burst_figures(at, said, count, _taken(journal) - before) | {
        "acknowledged": acknowledged,
        "cpu_ms": round((ended.cpu - began.cpu) * 1e3, 1),
        "rss_mb": round(ended.rss, 1),
    }


def burst_figures(at: int, said: Mapping[str, Said], sent: int, received: int) -> Figures:
    """What a burst came to: `at` is when its first datagram went, `said` are the lines by prefix."""
    lines = sorted(each.at - at for each in said.values())
    return {
        "samples": sent,
        "received": received,
        "lost": sent - received,
        "first_ms": round(lines[0] / 1e6, 2),
        "last_ms": round(lines[-1] / 1e6, 2),
    }


def _taken(journal: Path) -> int:
    """How many notifications the journal has."""
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM event WHERE event_type = 'snmp_trap'").fetchone()
    return int(count)


# --- pysnmp's receiver ------------------------------------------------------------------------------------------


def _receiver(version: str, count: int) -> Figures:
    """pysnmp's NotificationReceiver, and the same burst."""
    local = engine_id(ip_address(_ROUTER).packed)
    with _started([sys.executable, "-m", "tests.bench.trap_receiver", version, local.hex()]) as ask:
        sender = Sender(version, int(ask("")), lambda: 100)
        try:
            datagrams = sender.traps(range(1, count + 1))
            before = json.loads(ask("tell"))
            at = sender.send(datagrams)
            told = _calm(lambda: json.loads(ask("tell")))
        finally:
            sender.close()
    return {
        "samples": count,
        "received": told["received"],
        "lost": count - told["received"],
        "last_ms": round((told["last"] - at) / 1e6, 2) if told["received"] else None,
        "cpu_ms": round((told["cpu"] - before["cpu"]) * 1e3, 1),
    }


def _calm(ask: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """What it tells once nothing more came for a while."""
    told = ask()
    since = time.monotonic()
    while time.monotonic() - since < _SETTLED:
        time.sleep(0.05)
        now = ask()
        if now["received"] != told["received"]:
            told, since = now, time.monotonic()
    return told


@contextlib.contextmanager
def _started(command: Sequence[str]) -> Iterator[Callable[[str], str]]:
    """A program that answers each line with one; the empty line is not sent, but waits for what it says first."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask(line: str) -> str:
        if line:
            stdin.write(f"{line}\n")
        answer = stdout.readline().strip()
        assert answer, f"{command[2]} ended"
        return answer

    try:
        yield ask
    finally:
        stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
        stdout.close()


# --- what comes out ---------------------------------------------------------------------------------------------


def notes(situations: Mapping[str, Figures]) -> tuple[str, ...]:
    """What the bars say of it."""
    found = []
    for name, figures in situations.items():
        if name.startswith("pysnmp"):
            continue
        for key, limit in LIMITS.items():
            value = figures.get(key)
            if value is None or (key == "p99_ms" and not name.startswith("single")):
                continue
            said = "met" if (value <= limit if key == "lost" else value < limit) else "missed"
            found.append(f"{name}: {key.removesuffix('_ms')} {value:g}, bar {limit:g}: {said}")
        if figures.get("acknowledged") is not None and figures["acknowledged"] < figures["samples"]:
            found.append(f"{name}: {figures['samples'] - figures['acknowledged']} informs were not answered")
    return tuple(found)
