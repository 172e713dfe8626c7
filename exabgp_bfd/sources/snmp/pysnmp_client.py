"""One device's SNMP agent, asked with pysnmp's message codec over a connected UDP socket of its own.

That is deliberately less than pysnmp's engine: the engine takes a reply from any address, keeps every target for ever,
does not see that a port is closed, and times its requests by the wall clock in steps of 0.1 s. A connected socket gets
only its agent's datagrams; request numbers are random; deadlines are the event loop's.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from pyasn1.codec.ber import decoder, encoder  # type: ignore[import-untyped]
from pyasn1.type import univ  # type: ignore[import-untyped]
from pysnmp.proto import api  # type: ignore[import-untyped]

from exabgp_bfd.core.model import SourceError
from exabgp_bfd.sources.snmp.column import Column
from exabgp_bfd.sources.snmp.mibs import Value, arcs
from exabgp_bfd.sources.snmp.target import Target, numeric, resolved, silence

logger = logging.getLogger(__name__)

_TOO_BIG, _NO_SUCH_NAME = 1, 2
_STATUS = {
    1: "tooBig",
    2: "noSuchName",
    3: "badValue",
    4: "readOnly",
    5: "genErr",
    6: "noAccess",
    16: "authorizationError",
}

_Foreign = Any
"""An object of a library that carries no type information."""


class PysnmpClient:
    """A device asked with pysnmp's codec; any number of requests may be under way at once."""

    engine = "pysnmp"

    def __init__(self, target: Target) -> None:
        self._target = target
        self._api = api.PROTOCOL_MODULES[api.SNMP_VERSION_1 if target.version == "1" else api.SNMP_VERSION_2C]
        self._version = 0 if target.version == "1" else 1  # as in the message, RFC 1901
        self._spec = self._api.Message()
        self._waiting: dict[int, asyncio.Future[_Answer]] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._opening = asyncio.Lock()
        self._unreadable = 0
        self.room = max(1, target.max_varbinds)
        """How many values this agent takes in one PDU, as far as it is known."""

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """As `Client.get`."""
        found: dict[str, Value] = {}
        rest = list(oids)
        while rest:
            part, rest = rest[: self.room], rest[self.room :]
            answer = await self._ask(self._get(), part)
            if answer.status == _TOO_BIG:
                rest = self._halved(part) + rest
            elif answer.status == _NO_SUCH_NAME and self._version == 0:
                # v1 refuses the whole PDU for one missing row, and names it by its position.
                rest = self._without(part, answer.index) + rest
            else:
                self._fail_on(answer, part)
                found.update(self._present(answer, part))
        return found

    async def walk(self, column: str) -> list[tuple[str, Value]]:
        """As `Client.walk`."""
        rows = Column(self._target.at, column)
        await self.finish(rows)
        return rows.found

    async def finish(self, rows: Column, first: int | None = None) -> None:
        """Walks on from where `rows` ends to the column's end; `first` is the number of rows the first PDU asks for."""
        count = min(first or self.room, self.room)
        while True:
            answer = await self._ask(self._get_next(count), [rows.last])
            if answer.status == _TOO_BIG and count > 1:
                self._halved([rows.last] * count)
                count = self.room
                continue
            if answer.status == _NO_SUCH_NAME and self._version == 0:
                return
            self._fail_on(answer, [rows.last])
            if not answer.values:
                raise SourceError(f"{self._target.at} answered a walk of {rows.column} with nothing at all")
            for oid, value in answer.values:
                if isinstance(value, _Absent):
                    if value is _Absent.END:
                        return
                    raise SourceError(f"{self._target.at} answered {value.name} in a walk, at {oid}")
                if not rows.take(oid, value):
                    return
            count = self.room

    async def close(self) -> None:
        """As `Client.close`."""
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(SourceError(f"the poller of {self._target.at} was stopped"))
        self._drop()
        await asyncio.sleep(0)  # the loop closes the socket in its next turn

    # --- one request ------------------------------------------------------------------------------------------------

    async def _ask(self, pdu: _Foreign, oids: Sequence[str]) -> _Answer:
        """Sends a request until it is answered or its tries are spent; every try carries the same number."""
        number = self._number()
        payload = self._encoded(pdu, number, oids)
        trouble: OSError | None = None
        self._unreadable = 0
        try:
            for _ in range(self._target.retries + 1):
                waiter: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
                self._waiting[number] = waiter
                (await self._socket()).sendto(payload)
                await asyncio.wait((waiter,), timeout=self._target.timeout)
                if not waiter.done():
                    waiter.cancel()
                    continue
                try:
                    return waiter.result()
                except OSError as error:
                    trouble = error
        finally:
            abandoned = self._waiting.pop(number, None)
            if abandoned is not None and abandoned.done() and not abandoned.cancelled():
                abandoned.exception()  # cancelled while a refusal came in: nobody else will ask for it
        if not numeric(self._target.host):
            self._drop()  # its name may stand for another address by now
        raise self._no_answer(trouble)

    def _no_answer(self, trouble: OSError | None) -> SourceError:
        if isinstance(trouble, ConnectionRefusedError):
            return SourceError(f"{self._target.at} refused: nothing listens on that UDP port")
        if trouble is not None:
            return SourceError(f"{self._target.at} cannot be reached: {trouble.strerror or trouble}")
        if self._unreadable:
            return SourceError(
                f"{self._target.at} answered with {self._unreadable} octets that are no SNMP response "
                f"of version {self._target.version}: is that port an SNMP agent?"
            )
        return silence(self._target)

    def _number(self) -> int:
        while True:
            number = secrets.randbits(31)
            if number and number not in self._waiting:
                return number

    def _get(self) -> _Foreign:
        pdu = self._api.GetRequestPDU()
        self._api.apiPDU.set_defaults(pdu)
        return pdu

    def _get_next(self, count: int) -> _Foreign:
        """GETBULK for `count` rows, or v1's GETNEXT for one."""
        if self._version == 0:
            pdu = self._api.GetNextRequestPDU()
            self._api.apiPDU.set_defaults(pdu)
            return pdu
        pdu = self._api.GetBulkRequestPDU()
        self._api.apiBulkPDU.set_defaults(pdu)
        self._api.apiBulkPDU.set_max_repetitions(pdu, count)
        return pdu

    def _encoded(self, pdu: _Foreign, number: int, oids: Iterable[str]) -> bytes:
        self._api.apiPDU.set_request_id(pdu, number)
        self._api.apiPDU.set_varbinds(pdu, [(_encodable(oid), self._api.null) for oid in oids])
        message = self._api.Message()
        self._api.apiMessage.set_defaults(message)
        self._api.apiMessage.set_community(message, self._target.community.reveal().encode())
        self._api.apiMessage.set_pdu(message, pdu)
        payload: bytes = encoder.encode(message)
        return payload

    # --- the socket ---------------------------------------------------------------------------------------------

    async def _socket(self) -> asyncio.DatagramTransport:
        async with self._opening:
            if self._transport is None or self._transport.is_closing():
                family, address = await resolved(self._target)
                wire = socket.socket(family, socket.SOCK_DGRAM)
                try:
                    wire.settimeout(0)
                    wire.connect(address)
                    loop = asyncio.get_running_loop()
                    self._transport, _ = await loop.create_datagram_endpoint(lambda: _Ear(self), sock=wire)
                except OSError as error:
                    wire.close()
                    raise SourceError(f"{self._target.at} cannot be reached: {error.strerror or error}") from error
            return self._transport

    def _drop(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def received(self, datagram: bytes) -> None:
        """Takes a datagram of the agent: an answer goes to who waits for it, anything else is only remembered."""
        try:
            number, answer = self._decoded(datagram)
        except Exception as error:  # noqa: BLE001 - whatever a foreign decoder makes of foreign octets, they are garbage
            self._unreadable = len(datagram) or 1
            logger.debug("%s: %d octets are no SNMP response: %s", self._target.at, len(datagram), type(error).__name__)
            return
        waiter = self._waiting.get(number)
        if waiter is not None and not waiter.done():
            waiter.set_result(answer)

    def failed(self, error: OSError) -> None:
        """The network refused a datagram (ICMP port or host unreachable): nobody needs to wait for its deadline."""
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(error)

    def _decoded(self, datagram: bytes) -> tuple[int, _Answer]:
        message, _ = decoder.decode(datagram, asn1Spec=self._spec)
        if int(self._api.apiMessage.get_version(message)) != self._version:
            raise SourceError("another version")
        pdu = self._api.apiMessage.get_pdu(message)
        if not pdu.isSameTypeWith(self._api.GetResponsePDU(), matchConstraints=False):
            raise SourceError("no response")
        values = [(str(oid), _plain(value)) for oid, value in self._api.apiPDU.get_varbinds(pdu)]
        status = int(self._api.apiPDU.get_error_status(pdu))
        return int(self._api.apiPDU.get_request_id(pdu)), _Answer(status, int(pdu.getComponentByPosition(2)), values)

    # --- what an answer means -----------------------------------------------------------------------------------

    def _halved(self, part: list[str]) -> list[str]:
        if len(part) == 1:
            raise SourceError(f"{self._target.at} answered tooBig for a single value, {part[0]}")
        self.room = max(1, min(self.room, len(part)) // 2)
        return part

    def _without(self, part: list[str], index: int) -> list[str]:
        if not 1 <= index <= len(part):
            raise SourceError(f"{self._target.at} answered noSuchName for value {index} of {len(part)}")
        return part[: index - 1] + part[index:]

    def _fail_on(self, answer: _Answer, oids: Sequence[str]) -> None:
        if answer.status:
            name = _STATUS.get(answer.status, f"error {answer.status}")
            oid = oids[answer.index - 1] if 1 <= answer.index <= len(oids) else oids[0]
            raise SourceError(f"{self._target.at} answered {name} for {oid}")

    def _present(self, answer: _Answer, asked: Sequence[str]) -> dict[str, Value]:
        told = dict(answer.values)
        found: dict[str, Value] = {}
        for oid in asked:
            value = told.get(oid, _Absent.UNSAID)
            if not isinstance(value, _Absent):
                found[oid] = value
            elif value is not _Absent.ROW:  # not saying anything of a row does not mean that it is gone
                raise SourceError(f"{self._target.at} answered a request for {oid} without a value for it")
        return found


class _Ear(asyncio.DatagramProtocol):
    """Hands what arrives on a client's socket to it."""

    def __init__(self, client: PysnmpClient) -> None:
        self._client = client

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:  # noqa: ARG002 - connected socket
        self._client.received(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._client.failed(exc)


class _Absent(Enum):
    ROW = auto()
    """noSuchObject or noSuchInstance."""
    END = auto()
    """endOfMibView."""
    NULL = auto()
    UNSAID = auto()


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    index: int
    values: list[tuple[str, Value | _Absent]]


@lru_cache(maxsize=65_536)
def _encodable(oid: str) -> _Foreign:
    """An OID as the codec wants it; a poller asks the same ones again and again."""
    return univ.ObjectIdentifier(arcs(oid))


_IP_ADDRESS = api.PROTOCOL_MODULES[api.SNMP_VERSION_2C].IpAddress.tagSet


def _plain(value: _Foreign) -> Value | _Absent:
    """A decoded value without its ASN.1 clothes."""
    v2c = api.PROTOCOL_MODULES[api.SNMP_VERSION_2C]
    if isinstance(value, univ.Null):  # a kind of OctetString to pyasn1, so it comes first
        if isinstance(value, v2c.NoSuchObject | v2c.NoSuchInstance):
            return _Absent.ROW
        return _Absent.END if isinstance(value, v2c.EndOfMibView) else _Absent.NULL
    if isinstance(value, univ.Integer):
        return int(value)
    if isinstance(value, univ.ObjectIdentifier):
        return str(value)
    octets: bytes = value.asOctets()
    return ".".join(str(octet) for octet in octets) if value.tagSet == _IP_ADDRESS else octets
