"""Agents on a thread and a loop of their own, for tests of what asks them from elsewhere; and one that never ends."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto import api

from exabgp_bfd.simulator import Router

PATIENCE = 20
"""Seconds that a test waits for what must happen."""
V2C = api.PROTOCOL_MODULES[api.SNMP_VERSION_2C]


def wait_until(condition: Callable[[], Any]) -> Any:
    """What a condition gives once it holds."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return found


def sockets_to(port: int) -> int:
    """How many UDP sockets of this machine are connected to a port of 127.0.0.1."""
    peer = f"0100007F:{port:04X}"
    return sum(line.split()[2] == peer for line in Path("/proc/net/udp").read_text().splitlines()[1:])


class Endless(asyncio.DatagramProtocol):
    """An agent whose every column goes on for ever: each request is answered, after a while, with further rows."""

    def __init__(self, pause: float = 0.02) -> None:
        self.pause = pause
        self.asked = 0
        self.port = 0
        self.value = V2C.OctetString("x")

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked += 1
        asyncio.get_running_loop().call_later(self.pause, self._answer, data, addr)

    def _answer(self, data: bytes, addr: Any) -> None:
        message, _ = decoder.decode(data, asn1Spec=V2C.Message())
        pdu = V2C.apiMessage.get_pdu(message)
        (oid, _), *_ = V2C.apiPDU.get_varbinds(pdu)
        count = int(pdu[2]) if pdu.isSameTypeWith(V2C.GetBulkRequestPDU(), matchConstraints=False) else 1
        arcs = tuple(oid)
        column, last = (arcs[:10], arcs[10] if len(arcs) > 10 else 0)
        answer = V2C.apiMessage.get_response(message)
        rows = [((*column, last + step), self.value) for step in range(1, count + 1)]
        V2C.apiPDU.set_varbinds(V2C.apiMessage.get_pdu(answer), rows)
        self.transport.sendto(encoder.encode(answer), addr)


class Stage:
    """Runs agents apart from the test's own thread; `close` ends all of them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stage", daemon=True)
        self._thread.start()
        self._ends: list[Callable[[], Coroutine[Any, Any, None]]] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Does something on the agents' loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def router(self, community: str, **settings: Any) -> Router:
        """A simulated router that answers."""
        router = Router(community, **settings)
        self.run(router.start())
        self._ends.append(router.stop)
        return router

    def endless(self, pause: float = 0.02) -> Endless:
        """An agent that never comes to an end."""
        agent = Endless(pause)

        async def start() -> None:
            await asyncio.get_running_loop().create_datagram_endpoint(lambda: agent, local_addr=("127.0.0.1", 0))

        async def stop() -> None:
            agent.transport.close()
            await asyncio.sleep(0)

        self.run(start())
        self._ends.append(stop)
        return agent

    def close(self) -> None:
        for end in reversed(self._ends):
            self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()
