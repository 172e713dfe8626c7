"""What is measured of polling, each in a process of its own, pinned to one core: who asks, and what it used for it.

`python -m tests.bench.asker JSON`: says `ready` once it is warm, begins with the next line of its stdin, tells its
memory now and then if it is to, and ends with its figures as one line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import cProfile
import gc
import json
import os
import pstats
import re
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Self

from exabgp_bfd.core.credentials import User
from exabgp_bfd.core.engine import Engine
from exabgp_bfd.core.model import (
    ConfigError,
    Device,
    Forget,
    Input,
    Look,
    Notification,
    Pace,
    Plan,
    Poll,
    Restored,
    Route,
    Secret,
    Selector,
    Service,
    Silence,
    Start,
    Withdraw,
)
from exabgp_bfd.sources.snmp.client import connect
from exabgp_bfd.sources.snmp.notifications import Hint
from exabgp_bfd.sources.snmp.poller import Poller
from exabgp_bfd.sources.snmp.target import Target
from exabgp_bfd.sources.snmp.traps import Sender, Traps, TrapSettings
from tests.bench import snmp_usm
from tests.bench.machine import waited
from tests.bench.snmp_agent import CLIENT_CPU, COMMUNITY, PER_PDU, address, peer, pin

STATE = "1.3.6.1.2.1.222.1.2.1.11"
_WARM = 20
_PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Job:
    """What one process is to do."""

    what: str
    """One of `PROGRAMS`."""
    port: int
    engine: str = "gufo"
    version: str = "2c"
    devices: int = 1
    sessions: int = PER_PDU
    """On each device."""
    interval: float = 0.001
    """Seconds between two rounds; what cannot be kept is skipped, so a tiny one means one after the other."""
    seconds: float = 2.0
    rounds: int = 0
    """No end before so many rounds."""
    ticks: int = 0
    """So many lines on memory on the way."""
    profile: str = ""
    """A file for cProfile's table."""
    decide: bool = True
    traps: bool = False
    """Whether notifications are received too."""


@dataclass(slots=True)
class _Counted:
    polls: int = 0
    silences: int = 0
    notifications: int = 0
    withdrawn: int = 0
    last: str = ""
    devices: set[str] = field(default_factory=set)


class Asker:
    """The program below, started and spoken to."""

    def __init__(self, job: Job, root: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.asker", json.dumps(asdict(job))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=root,
        )
        self.pid = self._process.pid
        self._name = f"{job.what}, {job.engine}, version {job.version}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate(timeout=10)

    def ready(self) -> int:
        """Returns when it is warm: the port on which it takes notifications, or 0."""
        word, port = self._line().split()
        assert word == "ready", f"{self._name} said {word!r}"
        return int(port)

    def begin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")

    def lines(self) -> Iterator[dict[str, Any]]:
        """Its ticks and then its figures, as they come."""
        while True:
            told: dict[str, Any] = json.loads(self._line())
            yield told
            if "tick" not in told:
                return

    def figures(self) -> dict[str, Any]:
        """What it used, once it has ended."""
        return list(self.lines())[-1]

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            _, errors = self._process.communicate(timeout=10)
            raise AssertionError(f"{self._name} ended with status {self._process.returncode}\n{errors[-3000:]}")
        return line


def ways(engines: Sequence[str], versions: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Which engine there is for which version, and why there is not another."""
    there, refused = [], []
    for version in versions:
        if version == "3" and not snmp_usm.usable():
            refused.append("no version 3: its agent here wants the package cryptography")
            continue
        for engine in engines:
            try:
                connect(target(Job("client", 161, engine, version), 1))
            except ConfigError as error:
                refused.append(f"not {engine} in version {version}: {error}")
            else:
                there.append((engine, version))
    return there, refused


# --- in the process ---------------------------------------------------------------------------------------------


def target(job: Job, device: int) -> Target:
    """A device as we are to ask it."""
    user = None
    if job.version == "3":
        secrets = Secret(snmp_usm.AUTH_KEY), Secret(snmp_usm.PRIV_KEY)
        user = User(snmp_usm.USER, "sha256", secrets[0], "aes128", secrets[1])
    return Target(
        f"edge{device}",
        address(device),
        Secret(COMMUNITY),
        job.port,
        version=job.version,
        user=user,
        timeout=5.0,
        engine=job.engine,
        profile="bfd-std",
        interval=job.interval,
        max_varbinds=PER_PDU,
    )


def cpu() -> float:
    """Seconds of user and system time of this process and its children so far."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def memory() -> float:
    """MB resident now."""
    found = re.search(r"^VmRSS:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1


async def _begun(port: int = 0, settle: float = 0.0) -> None:
    """Says that all is warm, and waits for the word; `settle` seconds make up for what the collection held up."""
    gc.collect()
    gc.freeze()  # as in the program, whose long-lived objects are frozen
    await asyncio.sleep(settle)
    print("ready", port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


class _Window:
    """What was used between its beginning and its end."""

    def __init__(self, job: Job) -> None:
        self._profile = cProfile.Profile() if job.profile else None
        self._file = job.profile
        self._cpu = self._at = self._waited = 0.0

    def __enter__(self) -> Self:
        self._cpu, self._at, self._waited = cpu(), time.monotonic(), waited()
        if self._profile is not None:
            self._profile.enable()
        return self

    def __exit__(self, *_: object) -> None:
        if self._profile is not None:
            self._profile.disable()
            with Path(self._file).open("w") as file:
                pstats.Stats(self._profile, stream=file).strip_dirs().sort_stats("tottime").print_stats(45)
        self.cpu, self.seconds = cpu() - self._cpu, time.monotonic() - self._at
        self.waited = (waited() - self._waited) / self.seconds

    def cpu_since(self) -> float:
        """What was used from its beginning until now."""
        return cpu() - self._cpu

    def left(self, seconds: float) -> bool:
        return time.monotonic() - self._at < seconds


Ask = Callable[[], Awaitable[int]]


async def _repeated(job: Job, ask: Ask) -> dict[str, Any]:
    for _ in range(_WARM):
        await ask()
    await _begun()
    values = requests = 0
    with _Window(job) as window:
        while window.left(job.seconds):
            values += await ask()
            requests += 1
    return {
        "values": values,
        "requests": requests,
        "cpu": window.cpu,
        "seconds": window.seconds,
        "waited": window.waited,
        "rss_mb": memory(),
    }


async def client(job: Job) -> dict[str, Any]:
    """Our SNMP engine alone: one PDU after the other."""
    made = connect(target(job, 1))
    assert made.engine == job.engine, f"asked with {made.engine}, not {job.engine}"
    oids = [f"{STATE}.{number}" for number in range(1, job.sessions + 1)]

    async def ask() -> int:
        return len(await made.get(oids))

    try:
        assert await ask() == len(oids), "the agent did not give every value"
        return await _repeated(job, ask)
    finally:
        await made.close()


async def hlapi(job: Job) -> dict[str, Any]:
    """pysnmp as its documentation shows it."""
    from pysnmp.hlapi.v3arch import asyncio as library  # type: ignore[import-untyped]  # noqa: PLC0415

    engine = library.SnmpEngine()
    if job.version == "3":
        who = library.UsmUserData(
            snmp_usm.USER,
            snmp_usm.AUTH_KEY,
            snmp_usm.PRIV_KEY,
            authProtocol=library.USM_AUTH_HMAC192_SHA256,
            privProtocol=library.USM_PRIV_CFB128_AES,
        )
    else:
        who = library.CommunityData(COMMUNITY, mpModel=1)
    where = await library.UdpTransportTarget.create((address(1), job.port), timeout=5, retries=1)
    oids = [f"{STATE}.{number}" for number in range(1, job.sessions + 1)]

    async def ask() -> int:
        error, status, _, values = await library.get_cmd(
            engine,
            who,
            where,
            library.ContextData(),
            *(library.ObjectType(library.ObjectIdentity(oid)) for oid in oids),
        )
        assert not error, f"pysnmp: {error}"
        assert not status, f"pysnmp: {status}"
        return len(values)

    try:
        return await _repeated(job, ask)
    finally:
        engine.close_dispatcher()


def _credentials(job: Job) -> list[str]:
    """As Net-SNMP's programs want them."""
    if job.version == "2c":
        return ["-v2c", "-c", COMMUNITY]
    keys = ["-a", "SHA-256", "-A", snmp_usm.AUTH_KEY, "-x", "AES", "-X", snmp_usm.PRIV_KEY]
    return ["-v3", "-l", "authPriv", "-u", snmp_usm.USER, *keys]


async def snmpbulkwalk(job: Job) -> dict[str, Any]:
    """Net-SNMP's program, once for the whole column, so many rows to a PDU as we ask for."""
    command = ["snmpbulkwalk", *_credentials(job), f"-Cr{PER_PDU}", f"{address(1)}:{job.port}", STATE]
    return await _programs(job, command)


async def snmpget_loop(job: Job) -> dict[str, Any]:
    """A loop in a shell, one `snmpget` a value."""
    get = shlex.join(["snmpget", *_credentials(job), f"{address(1)}:{job.port}", f"{STATE}."])
    numbers = " ".join(map(str, range(1, job.sessions + 1)))
    return await _programs(job, ["sh", "-c", f'for number in {numbers}; do {get}"$number" || exit 1; done'])


async def _programs(job: Job, command: list[str]) -> dict[str, Any]:
    await _begun()
    return _run(job, command)


def _run(job: Job, command: list[str]) -> dict[str, Any]:
    """What a program and those that it starts use, by what the kernel says at their end."""
    values = requests = 0
    used = 0.0
    with _Window(job) as window:
        while window.left(job.seconds):
            process = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert process.stdout is not None
            values += process.stdout.read().count(b"\n")
            process.stdout.close()
            _, status, spent = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == 0, f"{command[0]} ended with {process.returncode}"
            used += spent.ru_utime + spent.ru_stime
            requests += 1
    return {"values": values, "requests": requests, "cpu": used, "seconds": window.seconds}


class _Watch:
    """The real poller, the real receiver of notifications if wanted, and the core that decides on what they say."""

    def __init__(self, job: Job) -> None:
        self.counted = _Counted()
        self.poller = Poller([target(job, number) for number in range(1, job.devices + 1)], self._said)
        self.traps: Traps | None = None
        if job.traps:
            self.traps = Traps(TrapSettings((("127.0.0.1", 0),)), self._notified, self.poller.security)
        self._job = job
        self._engine = _core(job)
        self._loop = asyncio.get_running_loop()

    @property
    def port(self) -> int:
        return self.traps.bound[0][1] if self.traps is not None else 0

    async def start(self) -> None:
        if self._engine is not None:
            self._handle(Start())
        if self.traps is not None:
            await self.traps.start()
            devices = [target(self._job, number) for number in range(1, self._job.devices + 1)]
            self.traps.set_senders(Sender(each.name, (each.host,), (each.community,), each.user) for each in devices)

    async def close(self) -> None:
        await self.poller.close()
        if self.traps is not None:
            await self.traps.close()

    def _said(self, message: Poll | Silence) -> None:
        self.counted.polls += 1
        if isinstance(message, Silence):
            self.counted.silences += 1
            self.counted.last = message.reason
        elif message.complete:
            self.counted.devices.add(message.device)
        self._handle(message)

    def _notified(self, device: str, hint: Hint, sure: bool) -> None:
        self.counted.notifications += 1
        sessions = self.poller.sessions_at(device, hint) or ()
        if hint.said is not None:
            self._handle(Notification(device, hint.said, sessions, sure))

    def _handle(self, message: Input) -> None:
        if self._engine is None:
            return
        for effect in self._engine.handle(message, self._loop.time()):
            match effect:
                case Look():
                    self.poller.look(effect.device, effect.session)
                case Pace():
                    self.poller.pace(effect.device, effect.quick)
                case Forget():
                    self.poller.forget(effect.device, effect.session)
                case Withdraw():
                    self.counted.withdrawn += 1


async def poller(job: Job) -> dict[str, Any]:
    """All of it, from the sockets to the decision."""
    watch = _Watch(job)
    await watch.start()
    running = asyncio.create_task(watch.poller.run())
    try:
        begun = time.monotonic()
        while len(watch.counted.devices) < job.devices:
            assert time.monotonic() - begun < _PATIENCE, f"not all devices answered: {watch.counted.last}"
            assert not running.done(), f"the poller ended: {running}"
            await asyncio.sleep(0.02)
        settled = time.monotonic() - begun
        await _begun(watch.port, min(2 * job.interval, 2.0))
        return {"settled": settled, **await _polled(job, watch)}
    finally:
        await watch.close()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _polled(job: Job, watch: _Watch) -> dict[str, Any]:
    asked = watch.poller
    before = asdict(asked.counters)
    polls, silences = watch.counted.polls, watch.counted.silences
    end = before["answered"] + job.rounds
    step = max(1, job.rounds // max(1, job.ticks))
    due = before["answered"] + step
    with _Window(job) as window:
        while window.left(job.seconds) or asked.counters.answered < end:
            await asyncio.sleep(0.02)
            if job.ticks and asked.counters.answered >= due:
                due += step
                _tick(asked.counters.answered - before["answered"])
    counters = {name: count - before[name] for name, count in asdict(asked.counters).items()}
    used, held, opened = window.cpu, memory(), descriptors()
    told = {
        "polls": watch.counted.polls - polls,
        "silences": watch.counted.silences - silences,
        "reason": watch.counted.last,
        "notifications": watch.counted.notifications,
        "withdrawn": watch.counted.withdrawn,
        "refused": {} if watch.traps is None else {str(key): count for key, count in watch.traps.counters.items()},
    }
    await watch.close()
    return {
        "cpu": used,
        "cpu_all": window.cpu_since(),  # with what was under way at the end: for what the agent has counted
        "seconds": window.seconds,
        "waited": window.waited,
        "rss_mb": held,
        "descriptors": opened,
        **told,
        **counters,
    }


def _tick(rounds: int) -> None:
    told = {"tick": rounds, "at": time.monotonic(), "cpu": cpu(), "rss_mb": memory(), "descriptors": descriptors()}
    print(json.dumps(told), flush=True)


def _core(job: Job) -> Engine | None:
    if not job.decide:
        return None
    numbers = range(1, job.sessions + 1)
    devices = [f"edge{device}" for device in range(1, job.devices + 1)]
    services = tuple(
        Service(
            f"{device}-{number}",
            (Route(ip_network((0xC612_0000 + place * job.sessions + number, 32))),),
            (Selector(device, peer(number)),),
            rise=1,
            hold_up=0.0,
            confirm=False,
        )
        for place, device in enumerate(devices)
        for number in numbers
    )
    return Engine(Plan(tuple(Device(name) for name in devices), services), Restored(), time.monotonic())


PROGRAMS: dict[str, Callable[[Job], Awaitable[dict[str, Any]]]] = {
    "client": client,
    "hlapi": hlapi,
    "poller": poller,
    "snmpbulkwalk": snmpbulkwalk,
    "snmpget loop": snmpget_loop,
}


async def _main(job: Job) -> None:
    print(json.dumps(await PROGRAMS[job.what](job)), flush=True)


def main(arguments: Sequence[str]) -> None:
    pin(CLIENT_CPU)
    asyncio.run(_main(Job(**json.loads(arguments[0]))))


if __name__ == "__main__":
    main(sys.argv[1:])
