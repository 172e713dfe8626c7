"""The other ends of the speaker's two pipes: real pipes, a real loop, the real thread; the test plays ExaBGP."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from fcntl import F_GETPIPE_SZ, fcntl
from ipaddress import ip_address, ip_network

from exabgp_bfd.core.model import Announce, Peer, Route, Withdraw
from exabgp_bfd.speaker import dialect
from exabgp_bfd.speaker.dialect import Dialect, Speech
from exabgp_bfd.speaker.pipe import Pipe

PATIENCE = 20.0
"""Seconds until a wait is given up; never what is measured."""

HEAD = '"exabgp": "5.0.0", "time": 1.0, "host" : "vm", "pid" : 1, "ppid" : 1, "counter": 1'
NEIGHBOR = '"address": { "local": "127.0.0.1", "peer": "127.0.0.2" }, "asn": { "local": 1, "peer": 2 }'
PEER = ip_address("127.0.0.2")
UP = f'{{ {HEAD}, "type": "state", "neighbor": {{ {NEIGHBOR} , "state": "up" }} }}\n'.encode()
SHUTDOWN = b'{ "exabgp": "5.0.0", "time": 1.0, "type": "notification", "notification": "shutdown" }\n'
DONE, ERROR = b"done\n", b"error\n"


PEERS = tuple(
    Peer(ip_address(address), ip_address("127.0.0.1"), frozenset({"ipv4 unicast"}))
    for address in ("127.0.0.2", "127.0.0.3")
)
SPEECH = Speech(Dialect.V5, PEERS)


def said(command) -> bytes:
    return dialect.line(command, SPEECH)


def update(direction: str, prefix: str = "203.0.113.1/32") -> bytes:
    message = f'{{ "update": {{ "announce": {{ "ipv4 unicast": {{ "192.0.2.1": [ {{ "nlri": "{prefix}" }} ] }} }} }} }}'
    neighbor = f'{NEIGHBOR} , "direction": "{direction}", "message": {message}'
    return f'{{ {HEAD}, "type": "update", "neighbor": {{ {neighbor} }} }}\n'.encode()


def route(number: int, **attributes) -> Route:
    return Route(ip_network(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/32"), **attributes)


def announce(command: int, number: int | None = None, **attributes) -> Announce:
    return Announce(command, "dns", route(command if number is None else number, **attributes))


def withdraw(command: int, number: int | None = None) -> Withdraw:
    return Withdraw(command, "dns", route(command if number is None else number))


class ExaBGP:
    """The other ends of both pipes, and everything that our side was told."""

    def __init__(self, **settings) -> None:
        self.stdin, self.their_out = os.pipe()
        self.their_in, self.stdout = os.pipe()
        os.set_blocking(self.their_in, False)
        self.delivered = []
        self.stored: list[bytes] = []
        self.ended: list[str] = []
        self.take = len
        self.pipe = Pipe(
            self.stdin,
            self.stdout,
            deliver=self.delivered.append,
            store=self._store,
            ended=self.ended.append,
            **{"ack_timeout": PATIENCE, **settings},
        )
        self.pipe.speech = SPEECH
        self._rest = b""

    def _store(self, lines, received) -> int:
        assert received > 1_600_000_000_000_000, "microseconds since the epoch"
        self.stored += lines
        return self.take(lines)

    def says(self, *lines: bytes) -> None:
        os.write(self.their_out, b"".join(lines))

    def reads(self) -> list[bytes]:
        """The whole lines that are in the pipe now."""
        chunks = [self._rest]
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.their_in, 1 << 20):
                chunks.append(data)
        *lines, self._rest = b"".join(chunks).split(b"\n")
        return [line + b"\n" for line in lines if line]

    async def until(self, what: Callable[[], object], why: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline, f"{why}: {self.pipe.counters}, {self.delivered[-3:]}"
            await asyncio.sleep(0.002)

    async def told(self, count: int) -> list[object]:
        """What was delivered, once it is that many."""
        await self.until(lambda: len(self.delivered) >= count, f"{count} deliveries")
        return self.delivered

    async def reads_lines(self, count: int) -> list[bytes]:
        lines: list[bytes] = []
        await self.until(lambda: lines.extend(self.reads()) or len(lines) >= count, f"{count} lines")
        return lines

    def fill(self) -> int:
        """Sends commands until the pipe takes no more and some wait; the number of the first that waits."""
        capacity = fcntl(self.stdout, F_GETPIPE_SZ)
        for number in range(capacity):
            self.pipe.send(announce(number))
            if self.pipe.counters.written <= number:
                with contextlib.suppress(BlockingIOError):
                    while os.write(self.stdout, b"\n"):  # not even a shorter line than that one goes in now
                        pass
                return number
        raise AssertionError("the pipe never filled")


@contextlib.contextmanager
def closing(exabgp: ExaBGP):
    try:
        yield exabgp
    finally:
        exabgp.pipe.close()
        for descriptor in (exabgp.their_in, exabgp.their_out):
            with contextlib.suppress(OSError):
                os.close(descriptor)


def run(play, **settings) -> ExaBGP:
    """Plays `play(exabgp)` in a loop of its own, with the pipe started before and closed after."""

    async def main() -> ExaBGP:
        with closing(ExaBGP(**settings)) as exabgp:
            exabgp.pipe.start(asyncio.get_running_loop())
            async with asyncio.timeout(60):
                await play(exabgp)
        return exabgp

    return asyncio.run(main())
