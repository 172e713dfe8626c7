"""A router that is not there: answers SNMP v1 and v2c for BFD-STD-MIB, sysUpTime and interface names, over real UDP.

For `exabgp-bfd demo` and for tests. The agent is pysnmp's own command responder, so what our client reads here was not
written by our client's author; only the table behind it is ours. It knows no column of the authentication group.
"""

from __future__ import annotations

import asyncio
import socket
import time
from bisect import bisect_right
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import Any, Self

from pysnmp.carrier.asyncio.dgram import udp, udp6  # type: ignore[import-untyped]
from pysnmp.entity import config  # type: ignore[import-untyped]
from pysnmp.entity.engine import SnmpEngine  # type: ignore[import-untyped]
from pysnmp.entity.rfc3413 import cmdrsp, context  # type: ignore[import-untyped]
from pysnmp.proto.api import v2c  # type: ignore[import-untyped]
from pysnmp.smi import error as smi_error  # type: ignore[import-untyped]
from pysnmp.smi.instrum import AbstractMibInstrumController  # type: ignore[import-untyped]

from exabgp_bfd.core.model import Address, Diagnostic, State

_Oid = tuple[int, ...]
_Foreign = Any
"""An object of pysnmp, which carries no type information."""

_SYSTEM: _Oid = (1, 3, 6, 1, 2, 1, 1)
_UP_TIME: _Oid = (*_SYSTEM, 3, 0)
_IF_DESCR: _Oid = (1, 3, 6, 1, 2, 1, 2, 2, 1, 2)
_IF_NAME: _Oid = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1, 1)
_SESSION: _Oid = (1, 3, 6, 1, 2, 1, 222, 1, 2, 1)  # bfdSessEntry, RFC 7331
_PERFORMANCE: _Oid = (1, 3, 6, 1, 2, 1, 222, 1, 3, 1)  # bfdSessPerfEntry

_STATE = {State.ADMIN_DOWN: 1, State.DOWN: 2, State.INIT: 3, State.UP: 4, State.FAILING: 5}
_OPER = {State.UP: 1, State.ADMIN_DOWN: 3}  # all else is down(2)
_USUAL = {
    State.DOWN: Diagnostic.CONTROL_DETECTION_TIME_EXPIRED,
    State.ADMIN_DOWN: Diagnostic.ADMINISTRATIVELY_DOWN,
}


@dataclass(slots=True)
class _Session:
    index: int
    peer: Address | None
    local: Address | None
    interface: str | None
    discriminator: int
    state: State
    diagnostic: Diagnostic
    up_count: int


class Router:
    """A simulated router with any number of BFD sessions; start it in a running loop, and change it at any time."""

    def __init__(
        self, community: str = "public", *, host: str = "127.0.0.1", port: int = 0, max_varbinds: int | None = None
    ) -> None:
        """`port` 0 takes a free one; more than `max_varbinds` values in one GET are answered tooBig."""
        self.host = host
        self.port = port
        self.silent = False
        """Whether it takes requests and answers none, as an overloaded agent or one behind a filter does."""
        self.requests = 0
        """How many datagrams came in."""
        self.table = _Table(max_varbinds)
        """What it answers; `table.put` and `table.drop` change single instances, for tests of odd agents."""
        self._community = community
        self._sessions: dict[int, _Session] = {}
        self._interfaces: dict[str, int] = {}
        self._engine: _Foreign = None
        self._ear: _Foreign = None
        self.table.put((*_SYSTEM, 1, 0), v2c.OctetString("simulated router of exabgp-bfd"))
        self.table.put((*_SYSTEM, 5, 0), v2c.OctetString("simulator"))

    async def start(self) -> None:
        """Opens the UDP port, known as `port` from then on; OSError when it is taken."""
        six = ":" in self.host
        wire = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            wire.settimeout(0)
            wire.bind((self.host, self.port))
        except OSError:
            wire.close()
            raise
        self.port = wire.getsockname()[1]
        engine = self._engine = SnmpEngine()
        self._ear = (_Ear6 if six else _Ear)(self)
        config.add_transport(engine, (udp6 if six else udp).DOMAIN_NAME, self._ear.open_server_mode(sock=wire))
        config.add_v1_system(engine, "reader", self._community)
        for model in (1, 2):  # v1, v2c
            config.add_vacm_user(engine, model, "reader", "noAuthNoPriv", (1, 3, 6))
        view = context.SnmpContext(engine)
        view.unregister_context_name(b"")
        view.register_context_name(b"", self.table)
        for responder in (cmdrsp.GetCommandResponder, cmdrsp.NextCommandResponder, cmdrsp.BulkCommandResponder):
            responder(engine, view)
        await self._ear.opened.wait()

    async def stop(self) -> None:
        """Closes the port; `start` opens it again, under the same number."""
        if self._engine is None:
            return
        ear, engine = self._ear, self._engine
        self._ear = self._engine = None
        engine.close_dispatcher()
        await ear.closed.wait()
        await asyncio.sleep(0)  # for the engine's timer task to end

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def add(
        self,
        peer: str | None,
        state: State = State.UP,
        *,
        interface: str | None = "eth0",
        local: str | None = None,
        discriminator: int | None = None,
        index: int | None = None,
    ) -> int:
        """Adds a session and gives its index (bfdSessIndex)."""
        number = index if index is not None else max(self._sessions, default=0) + 1
        session = self._sessions[number] = _Session(
            number,
            ip_address(peer) if peer is not None else None,
            ip_address(local) if local is not None else None,
            interface,
            discriminator if discriminator is not None else 1000 + number,
            state,
            _USUAL.get(state, Diagnostic.NONE),
            int(state is State.UP),
        )
        if interface is not None and interface not in self._interfaces:
            place = self._interfaces[interface] = len(self._interfaces) + 1
            self.table.put((*_IF_NAME, place), v2c.OctetString(interface))
            self.table.put((*_IF_DESCR, place), v2c.OctetString(f"interface {interface}"))
        self._describe(session)
        return number

    def set_state(
        self, peer: str, state: State, diagnostic: Diagnostic | None = None, *, interface: str | None = None
    ) -> None:
        """Changes the session with a peer (on one interface); KeyError when there is none."""
        for session in self._find(peer, interface):
            session.up_count += int(state is State.UP and session.state is not State.UP)
            session.state = state
            session.diagnostic = diagnostic if diagnostic is not None else _USUAL.get(state, Diagnostic.NONE)
            self._sample(session)

    def flap(self, peer: str, times: int = 1, *, interface: str | None = None) -> None:
        """Has the session with a peer go down and come up again, quicker than anybody polls; KeyError without one."""
        for _ in range(times):
            self.set_state(peer, State.DOWN, interface=interface)
            self.set_state(peer, State.UP, interface=interface)

    def remove(self, peer: str, *, interface: str | None = None) -> None:
        """Takes the session with a peer out of the table; KeyError when there is none."""
        for session in self._find(peer, interface):
            del self._sessions[session.index]
            self.table.drop_rows(session.index)

    def reboot(self) -> None:
        """Starts sysUpTime again."""
        self.table.booted = time.monotonic()

    def _find(self, peer: str, interface: str | None) -> list[_Session]:
        address = ip_address(peer)
        found = [
            session
            for session in self._sessions.values()
            if session.peer == address and interface in (None, session.interface)
        ]
        if not found:
            raise KeyError(peer)
        return found

    def _describe(self, session: _Session) -> None:
        peer_type, peer = _inet(session.peer)
        local_type, local = _inet(session.local)
        interface = self._interfaces[session.interface] if session.interface is not None else 0
        columns = {
            2: v2c.Unsigned32(1),  # bfdSessVersionNumber
            3: v2c.Integer32(1),  # bfdSessType singleHop
            4: v2c.Unsigned32(session.discriminator),
            5: v2c.Unsigned32(session.discriminator + 1),
            6: v2c.Unsigned32(3784),
            9: v2c.Integer32(1),  # bfdSessAdminStatus enabled
            18: v2c.Integer32(interface),
            19: local_type,
            20: local,
            21: peer_type,
            22: peer,
            25: v2c.Unsigned32(300_000),  # microseconds
            26: v2c.Unsigned32(300_000),
            27: v2c.Unsigned32(0),
            28: v2c.Unsigned32(3),
            29: v2c.Unsigned32(300_000),
            30: v2c.Unsigned32(0),
            31: v2c.Unsigned32(3),
        }
        for column, value in columns.items():
            self.table.put((*_SESSION, column, session.index), value)
        self._sample(session)

    def _sample(self, session: _Session) -> None:
        self.table.put((*_SESSION, 10, session.index), v2c.Integer32(_OPER.get(session.state, 2)))
        self.table.put((*_SESSION, 11, session.index), v2c.Integer32(_STATE[session.state]))
        self.table.put((*_SESSION, 13, session.index), v2c.Integer32(int(session.diagnostic)))
        self.table.put((*_PERFORMANCE, 12, session.index), v2c.Counter32(session.up_count))


class _Table(AbstractMibInstrumController):  # type: ignore[misc]
    """The instances a router has, in OID order, as pysnmp's responders ask for them."""

    def __init__(self, max_varbinds: int | None) -> None:
        self.booted = time.monotonic() - 86_400.0
        self._max_varbinds = max_varbinds
        self._values: dict[_Oid, _Foreign] = {_UP_TIME: None}
        self._order: list[_Oid] | None = None

    def put(self, oid: _Oid, value: _Foreign) -> None:
        """Sets one instance to a pysnmp value."""
        if oid not in self._values:
            self._order = None
        self._values[oid] = value

    def drop(self, oid: _Oid) -> None:
        """Takes one instance out."""
        del self._values[oid]
        self._order = None

    def drop_rows(self, index: int) -> None:
        """Takes a session's whole row out of both tables."""
        for oid in [oid for oid in self._values if oid[:-2] in {_SESSION, _PERFORMANCE} and oid[-1] == index]:
            self.drop(oid)

    def read_variables(self, *varBinds: _Foreign, **_: object) -> list[_Foreign]:  # noqa: N803 - as pysnmp calls it
        """GET."""
        if self._max_varbinds is not None and len(varBinds) > self._max_varbinds:
            raise smi_error.TooBigError
        return [(oid, self._value(tuple(oid))) for oid, _ in varBinds]

    def read_next_variables(self, *varBinds: _Foreign, **_: object) -> list[_Foreign]:  # noqa: N803 - as pysnmp calls it
        """GETNEXT, and each repetition of GETBULK."""
        if self._order is None:
            self._order = sorted(self._values)
        found = []
        for oid, _value in varBinds:
            place = bisect_right(self._order, tuple(oid))
            if place == len(self._order):
                found.append((oid, v2c.EndOfMibView("")))
            else:
                following = self._order[place]
                found.append((v2c.ObjectIdentifier(following), self._value(following)))
        return found

    def _value(self, oid: _Oid) -> _Foreign:
        if oid == _UP_TIME:
            return v2c.TimeTicks(int((time.monotonic() - self.booted) * 100) % 2**32)
        return self._values.get(oid, v2c.NoSuchInstance(""))


class _Listening:
    """What both address families add to pysnmp's transport: silence, and events for the socket's opening and end."""

    def __init__(self, router: Router) -> None:
        super().__init__()
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self._router = router

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        super().connection_made(transport)  # type: ignore[misc]
        self.opened.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # type: ignore[misc]
        self.closed.set()

    def datagram_received(self, datagram: bytes, transportAddress: _Foreign) -> None:  # noqa: N803 - as pysnmp names it
        self._router.requests += 1
        if not self._router.silent:
            super().datagram_received(datagram, transportAddress)  # type: ignore[misc]


class _Ear(_Listening, udp.UdpTransport):  # type: ignore[misc]
    """IPv4."""


class _Ear6(_Listening, udp6.Udp6Transport):  # type: ignore[misc]
    """IPv6."""


def _inet(address: Address | None) -> tuple[_Foreign, _Foreign]:
    """InetAddressType and InetAddress (RFC 4001)."""
    if address is None:
        return v2c.Integer32(0), v2c.OctetString(b"")
    if isinstance(address, IPv4Address):
        return v2c.Integer32(1), v2c.OctetString(address.packed)
    if address.scope_id is not None:
        return v2c.Integer32(4), v2c.OctetString(address.packed + int(address.scope_id).to_bytes(4, "big"))
    return v2c.Integer32(2), v2c.OctetString(address.packed)
