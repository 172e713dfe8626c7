"""Real programs that the live tests share."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from lab.exabgp import V4, V5, Release
from lab.process import Process, RouterThread
from lab.site import Programs

from exabgp_bfd.core.model import State

BFD_SESSION = "1.3.6.1.2.1.222.1.2.1"
BFD_PERFORMANCE = "1.3.6.1.2.1.222.1.3.1"
SNMP_STATES = {State.ADMIN_DOWN: 1, State.DOWN: 2, State.INIT: 3, State.UP: 4, State.FAILING: 5}
SNMP_OPER = {State.UP: 1, State.ADMIN_DOWN: 3}


class Snmpd:
    """net-snmp's agent on loopback, with a BFD table (RFC 7331) that can be changed while it runs."""

    def __init__(self, program: str, folder: Path) -> None:
        self.host = "127.0.0.1"
        self.port = free_udp_port()
        self.community = "live-community"
        self.user, self.auth_key, self.priv_key = "bfd", "live auth key", "live priv key"
        self.engine_id = "0x80001f88046c697665"
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._rows: dict[int, dict[str, tuple[str, int | str]]] = {}
        self._table = folder / "bfd.json"
        self._log = folder / "snmpd.log"
        script = Path(__file__).with_name("pass_persist_bfd.py")
        (folder / "snmpd.conf").write_text(
            f"rocommunity {self.community} 127.0.0.1\n"
            f"exactEngineID {self.engine_id}\n"
            f'createUser {self.user} SHA-256 "{self.auth_key}" AES "{self.priv_key}"\n'
            f"rouser {self.user} priv\n"
            f"pass_persist .1.3.6.1.2.1.222 {sys.executable} -S -E {script} {self._table}\n"
        )
        self._write()

    def add(
        self,
        index: int,
        peer: str,
        state: State | str = State.UP,
        *,
        interface: int = 1,
        local: str = "127.0.0.1",
        discriminator: int | None = None,
    ) -> None:
        """Adds a session; interface 1 is `lo`, which snmpd names itself."""
        row: dict[str, tuple[str, int | str]] = {
            f"{BFD_SESSION}.2.{index}": ("gauge", 1),
            f"{BFD_SESSION}.3.{index}": ("integer", 1),
            f"{BFD_SESSION}.4.{index}": ("gauge", 1000 + index if discriminator is None else discriminator),
            f"{BFD_SESSION}.18.{index}": ("integer", interface),
            f"{BFD_SESSION}.28.{index}": ("gauge", 3),
            f"{BFD_PERFORMANCE}.12.{index}": ("counter", 0),
        }
        for column, address in ((19, ip_address(local)), (21, ip_address(peer))):
            row[f"{BFD_SESSION}.{column}.{index}"] = ("integer", 1 if address.version == 4 else 2)
            row[f"{BFD_SESSION}.{column + 1}.{index}"] = ("octet", address.packed.hex(" "))
        self._rows[index] = row
        self.set_state(index, state)

    def peer(self, index: int) -> str:
        """The address of a session's peer, as sessions are named by it."""
        return str(ip_address(bytes.fromhex(str(self._rows[index][f"{BFD_SESSION}.22.{index}"][1]))))

    def set_state(self, index: int, state: State | str, diagnostic: int | None = None) -> None:
        """Changes a session's state; the next request sees it. KeyError if there is no such session."""
        state = State(state)
        row = self._rows[index]
        ups = f"{BFD_PERFORMANCE}.12.{index}"
        was = row.get(f"{BFD_SESSION}.11.{index}", ("integer", 0))[1]
        if state is State.UP and was != SNMP_STATES[State.UP]:
            row[ups] = ("counter", int(row[ups][1]) + 1)
        row[f"{BFD_SESSION}.10.{index}"] = ("integer", SNMP_OPER.get(state, 2))
        row[f"{BFD_SESSION}.11.{index}"] = ("integer", SNMP_STATES[state])
        usual = 0 if state is State.UP else 1
        row[f"{BFD_SESSION}.13.{index}"] = ("integer", usual if diagnostic is None else diagnostic)
        self._write()

    def remove(self, index: int) -> None:
        """Takes a session out of the table."""
        del self._rows[index]
        self._write()

    def start(self) -> None:
        """Starts the agent and returns when it listens."""
        self._log.write_bytes(b"")
        self._process = subprocess.Popen(
            [
                *(self._program, "-f", "-r", "-C", "-c", str(self._folder / "snmpd.conf")),
                *("-Lf", str(self._log), "-p", str(self._folder / "snmpd.pid"), f"udp:{self.host}:{self.port}"),
            ],
            env={**os.environ, "SNMP_PERSISTENT_DIR": str(self._folder / "persistent"), "MIBS": ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while b"NET-SNMP version" not in self._log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"snmpd did not start: {self._log.read_text(errors='replace')}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends the agent; the port is closed when this returns, and stays ours for the next start."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _write(self) -> None:
        values = {oid: cell for row in self._rows.values() for oid, cell in row.items()}
        fresh = self._table.with_suffix(".new")
        fresh.write_text(json.dumps(values))
        fresh.replace(self._table)


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def snmpd(need, tmp_path: Path) -> Iterator[Snmpd]:
    """A running snmpd with two sessions: 1 with 192.0.2.1 (up) and 2 with 2001:db8::1 (up)."""
    folder = tmp_path / "snmpd"
    folder.mkdir()
    agent = Snmpd(need("snmpd", "snmpd"), folder)
    agent.add(1, "192.0.2.1")
    agent.add(2, "2001:db8::1")
    agent.start()
    yield agent
    agent.stop()


@pytest.fixture
def router():
    thread = RouterThread().start()
    yield thread
    thread.stop()


@pytest.fixture
def launch(tmp_path, router):
    """Starts a process; in the end all of them are stopped, and searched for what none may do."""
    processes: list[Process] = []

    def start(*flags: str, **settings) -> Process:
        process = Process(tmp_path, *flags, name=f"process{len(processes)}", **settings)
        processes.append(process)
        return process.start()

    yield start
    for process in processes:
        if process.running:
            process.look()
    for process in reversed(processes):
        process.stop()
    assert not [fault for process in processes for fault in process.faults()]


@pytest.fixture(params=[V5, V4], ids=["exabgp5", "exabgp4"])
def release(request, need) -> Release:
    """An ExaBGP of each kind in use: 5 from pip, 4 from Debian's package."""
    need(request.param.command[0], "exabgp")
    return request.param


@pytest.fixture
def programs(need) -> Programs:
    """BIRD and GoBGP, two judges."""
    bird = Programs(need("bird", "bird2"), need("birdc", "bird2"))
    return bird._replace(gobgpd=need("gobgpd", "gobgpd"), gobgp=need("gobgp", "gobgpd"))
