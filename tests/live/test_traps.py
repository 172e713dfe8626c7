"""The receiver of notifications against net-snmp's senders: another implementation of every message."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from exabgp_bfd.core.credentials import User
from exabgp_bfd.core.model import Secret, State
from exabgp_bfd.sources.snmp.notifications import Hint
from exabgp_bfd.sources.snmp.traps import RECEIVE_BUFFER, Count, Sender, Traps, TrapSettings
from exabgp_bfd.sources.snmp.usm import Security

pytestmark = pytest.mark.live

COMMUNITY = "live-community"
BFD = "1.3.6.1.2.1.222"
VARBINDS = [f"{BFD}.1.2.1.13.7", "i", "1", f"{BFD}.1.2.1.13.9", "i", "1"]
DOWN = Hint("bfd-std", State.DOWN, "7", "9")
ENGINE = "0x80001f88046564676531"
PHRASES = ("a long pass phrase", "another pass phrase")

ALGORITHMS = {
    "noAuthNoPriv": (None, None),
    "MD5": ("md5", None),
    "MD5 DES": ("md5", "des"),
    "SHA AES": ("sha1", "aes128"),
    "SHA-224 AES": ("sha224", "aes128"),
    "SHA-256 AES": ("sha256", "aes128"),
    "SHA-384 AES": ("sha384", "aes128"),
    "SHA-512 AES": ("sha512", "aes128"),
}


def user(algorithms: str) -> User:
    auth, priv = ALGORITHMS[algorithms]
    keys = [Secret(phrase) for phrase in PHRASES]
    return User("operator", auth, keys[0] if auth else None, priv, keys[1] if priv else None)


def as_user(algorithms: str, *more: str) -> list[str]:
    auth, _, priv = algorithms.partition(" ")
    if algorithms == "noAuthNoPriv":
        return ["-v", "3", "-u", "operator", "-l", "noAuthNoPriv", *more]
    level = ["-l", "authPriv", "-x", priv, "-X", PHRASES[1]] if priv else ["-l", "authNoPriv"]
    return ["-v", "3", "-u", "operator", "-a", auth, "-A", PHRASES[0], *level, *more]


class Box:
    """A receiver and what it has heard."""

    def __init__(self, traps: Traps, heard: list[tuple[str, Hint, bool]]) -> None:
        self.traps = traps
        self.heard = heard

    @property
    def at(self) -> str:
        host, port = self.traps.bound[0]
        return f"udp6:[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def received(self, number: int) -> dict[str, int]:
        async with asyncio.timeout(60):
            while self.traps.counters[Count.RECEIVED] < number:  # noqa: ASYNC110 - a counter tells nobody
                await asyncio.sleep(0.01)
        return {count.value: times for count, times in self.traps.counters.items() if times and count != "received"}


@asynccontextmanager
async def hearing(*senders: Sender, listen="127.0.0.1", security=lambda _: None, **settings) -> AsyncIterator[Box]:
    heard: list[tuple[str, Hint, bool]] = []
    traps = Traps(TrapSettings(((listen, 0),), **settings), lambda *what: heard.append(what), security)
    traps.set_senders(senders or (Sender("edge1", ("127.0.0.1", "::1"), (Secret(COMMUNITY),)),))
    await traps.start()
    try:
        yield Box(traps, heard)
    finally:
        await traps.close()


@pytest.fixture
def send(need, tmp_path):
    """`await send("snmptrap", *arguments)` runs one of net-snmp's senders and gives its exit code and what it said."""
    environment = {**os.environ, "MIBS": "", "SNMPCONFPATH": str(tmp_path), "SNMP_PERSISTENT_DIR": str(tmp_path)}

    async def run(program: str, *arguments: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            need(program, "snmp"), *arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        lines = [line for line in said.decode().splitlines() if not line.startswith("Created directory")]
        return process.returncode or 0, "\n".join(lines)

    return run


@pytest.mark.parametrize("listen", ["127.0.0.1", "::1"])
def test_traps_without_users(send, listen):
    async def scenario():
        async with hearing(listen=listen) as box:
            second = ["-v", "2c", "-c", COMMUNITY, box.at, "", f"{BFD}.0.2", *VARBINDS]
            assert await send("snmptrap", *second) == (0, "")
            first = ["-v", "1", "-c", COMMUNITY, box.at, BFD, "198.51.100.1", "6", "2", "", *VARBINDS]
            assert await send("snmptrap", *first) == (0, "")
            other = ["-v", "1", "-c", COMMUNITY, box.at, "1.3.6.1.4.1.9", "198.51.100.1", "2", "0", ""]
            assert await send("snmptrap", *other) == (0, "")
            assert await box.received(3) == {"accepted": 2, "not_bfd": 1}
            assert box.heard == [("edge1", DOWN, False)] * 2

    asyncio.run(scenario())


@pytest.mark.parametrize("listen", ["127.0.0.1", "::1"])
def test_an_inform_is_acknowledged(send, listen):
    async def scenario():
        async with hearing(listen=listen) as box:
            inform = ["-v", "2c", "-c", COMMUNITY, "-r", "0", "-t", "20", box.at, "", f"{BFD}.0.2", *VARBINDS]
            assert await send("snmpinform", *inform) == (0, "")
            assert await box.received(1) == {"accepted": 1}
            assert box.heard == [("edge1", DOWN, False)]

    asyncio.run(scenario())


def test_nobody_else_is_heard_or_answered(send):
    async def scenario():
        async with hearing(Sender("edge1", ("127.0.0.9",), (Secret(COMMUNITY),))) as box:
            again = ["-r", "1", "-t", "0.2"]
            inform = ["-v", "2c", "-c", COMMUNITY, *again, box.at, "", f"{BFD}.0.2", *VARBINDS]
            assert (await send("snmpinform", *inform))[0] != 0
            assert await box.received(2) == {"unknown_sender": 2}
            box.traps.set_senders([Sender("edge1", ("127.0.0.1",), (Secret("another"),))])
            assert (await send("snmpinform", *inform))[0] != 0
            assert await box.received(4) == {"unknown_sender": 2, "bad_community": 2}
            assert box.heard == []

    asyncio.run(scenario())


@pytest.mark.parametrize("algorithms", ALGORITHMS)
def test_a_trap_of_version_3(send, algorithms):
    async def scenario():
        async with hearing(Sender("edge1", ("127.0.0.1",), (), user(algorithms))) as box:
            trap = as_user(algorithms, "-e", ENGINE, "-n", "red", box.at, "", f"{BFD}.0.2", *VARBINDS)
            code, said = await send("snmptrap", *trap)
            assert (code, said) == (0, "")
            assert await box.received(1) == {"accepted": 1}
            red = Hint("bfd-std", State.DOWN, "7", "9", details={"context": "red"})
            assert box.heard == [("edge1", red, False)]

    asyncio.run(scenario())


@pytest.mark.parametrize("algorithms", ALGORITHMS)
@pytest.mark.parametrize("listen", ["127.0.0.1", "::1"])
def test_an_inform_of_version_3_is_acknowledged(send, algorithms, listen):
    async def scenario():
        async with hearing(listen=listen, users=(user(algorithms),)) as box:
            inform = as_user(algorithms, "-r", "2", "-t", "20", box.at, "", f"{BFD}.0.2", *VARBINDS)
            code, said = await send("snmpinform", *inform)
            assert (code, said) == (0, "")
            assert box.traps.counters[Count.ACCEPTED] == 1
            assert box.heard == [("edge1", DOWN, False)]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (as_user("SHA-256 AES", "-u", "nobody"), "bad_user"),
        (as_user("SHA-256 AES", "-A", "a wrong pass phrase"), "wrong_digest"),
        (as_user("SHA-256 AES", "-X", "a wrong pass phrase"), "undecryptable"),
        (as_user("SHA-256 AES", "-l", "authNoPriv"), "bad_level"),
        (as_user("noAuthNoPriv"), "bad_level"),
    ],
)
def test_what_is_not_believed(send, arguments, count):
    async def scenario():
        async with hearing(users=(user("SHA-256 AES"),)) as box:
            await send("snmptrap", *arguments, "-e", ENGINE, box.at, "", f"{BFD}.0.2", *VARBINDS)
            assert await box.received(1) == {count: 1}
            assert box.heard == []

    asyncio.run(scenario())


def test_what_our_own_polls_have_authenticated_is_sure_and_a_recording_is_not(send):
    async def scenario():
        loop = asyncio.get_running_loop()
        known = Security(bytes.fromhex(ENGINE[2:]), 5, 1000, loop.time())
        operator = Sender("edge1", ("127.0.0.1",), (), user("SHA-256 AES"), trust=True)
        async with hearing(operator, security=lambda _: known) as box:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
                wire.bind(("127.0.0.1", 0))
                wire.setblocking(False)
                at = f"127.0.0.1:{wire.getsockname()[1]}"

                async def recorded(boots: int, time: int) -> bytes:
                    clock = ("-e", ENGINE, "-Z", f"{boots},{time}")
                    trap = as_user("SHA-256 AES", *clock, at, "", f"{BFD}.0.2", *VARBINDS)
                    assert await send("snmptrap", *trap) == (0, "")
                    return await asyncio.wait_for(loop.sock_recv(wire, 65_535), 60)

                now = await recorded(5, 1001)
                for datagram in (now, now, await recorded(5, 1), await recorded(4, 1001)):
                    wire.sendto(datagram, box.traps.bound[0])
                assert await box.received(4) == {"accepted": 1, "replayed": 1, "not_in_time": 2}
                assert box.heard == [("edge1", DOWN, True)]

    asyncio.run(scenario())


BURST = """
import socket, sys
from exabgp_bfd.sources.snmp.octets import element, number_octets, oid_octets
port = int(sys.argv[1])
wires = []
for last in range(10, 18):
    wires.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    wires[-1].bind((f"127.0.0.{last}", 0))
datagrams = []
for index in range(500):
    diagnostic = element(0x30, oid_octets(f"1.3.6.1.2.1.222.1.2.1.13.{index}") + number_octets(1))
    trap = element(0x30, oid_octets("1.3.6.1.6.3.1.1.4.1.0") + oid_octets("1.3.6.1.2.1.222.0.2"))
    up_time = element(0x30, oid_octets("1.3.6.1.2.1.1.3.0") + element(0x43, b"\\x05"))
    pdu = element(0xA7, number_octets(index) + number_octets(0) * 2 + element(0x30, up_time + trap + diagnostic * 2))
    datagrams.append(element(0x30, number_octets(1) + element(4, b"live-community") + pdu))
for datagram in datagrams:
    for wire in wires:
        wire.sendto(datagram, ("127.0.0.1", port))
"""


def test_a_burst_of_4000():
    """500 sessions of 8 devices at once, as fast as a process sends them."""

    async def scenario():
        edges = [Sender(f"edge{last}", (f"127.0.0.{last}",), (Secret(COMMUNITY),)) for last in range(10, 18)]
        async with hearing(*edges) as box:
            port = str(box.traps.bound[0][1])
            sender = await asyncio.create_subprocess_exec(sys.executable, "-c", BURST, port)
            assert await sender.wait() == 0
            async with asyncio.timeout(60):
                while (  # noqa: ASYNC110 - counters tell nobody
                    box.traps.counters[Count.RECEIVED] + box.traps.counters[Count.KERNEL_DROPPED] < 4000
                ):
                    await asyncio.sleep(0.01)
            return box.traps.granted, dict(box.traps.counters), box.heard

    granted, counted, heard = asyncio.run(scenario())
    assert counted[Count.RECEIVED] + counted[Count.KERNEL_DROPPED] == 4000
    assert counted[Count.ACCEPTED] == counted[Count.RECEIVED] == len(heard)
    if granted < RECEIVE_BUFFER:
        pytest.skip(f"the kernel granted {granted} octets of {RECEIVE_BUFFER}: whether none is lost cannot be told")
    assert counted[Count.KERNEL_DROPPED] == 0
    for last in range(10, 18):
        assert [hint.low for device, hint, _ in heard if device == f"edge{last}"] == [
            str(number) for number in range(500)
        ]
