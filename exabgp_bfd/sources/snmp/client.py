"""One device's SNMP agent, asked: GET and the walk of a column, over v1 and v2c, by one of two engines.

`PysnmpClient` sends and reads with pysnmp's message codec over a connected UDP socket of its own, one per device. That
is deliberately less than pysnmp's engine: the engine takes a reply from any address, keeps every target for ever, does
not see that a port is closed, and times its requests by the wall clock in steps of 0.1 s. A connected socket gets only
its agent's datagrams; request numbers are random; deadlines are the event loop's.

`GufoClient` reads with gufo_snmp (Rust, some twenty times less work). It looks at no error status: a reply of genErr
or tooBig looks to its caller like rows that are missing, and a walk cut short by one like the end of the table. A row
that is wrongly missing would withdraw a route, so whatever gufo does not give, and the end of every walk, is asked
once more through `PysnmpClient`, which tells the one from the other.

All troubles are `SourceError`, one sentence for the operator, without the community.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

from pyasn1.codec.ber import decoder, encoder  # type: ignore[import-untyped]
from pyasn1.type import univ  # type: ignore[import-untyped]
from pysnmp.proto import api  # type: ignore[import-untyped]

from exabgp_bfd.core.model import ConfigError, Secret, SourceError
from exabgp_bfd.sources.snmp.mibs import Value, arcs

logger = logging.getLogger(__name__)

MAX_ROWS = 20_000
"""No walk of one column goes further: an agent that invents rows for ever must not fill our memory."""
RESOLVE_TIMEOUT = 5.0
"""Seconds for a host's name to become an address."""

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

T = TypeVar("T")
_Foreign = Any
"""An object of a library that carries no type information."""


@dataclass(frozen=True, slots=True)
class Target:
    """A device to ask. Times are seconds; `retries` are sent after the first try."""

    name: str
    host: str
    community: Secret
    """For versions 1 and 2c."""
    port: int = 161
    version: str = "2c"
    """1 or 2c."""
    timeout: float = 1.0
    retries: int = 1
    engine: str = "auto"
    """auto, pysnmp or gufo."""
    profile: str = "auto"
    oid: str | None = None
    values: str | None = None
    interval: float = 1.0
    fast_interval: float | None = None
    """Seconds between two rounds while its sessions are changing (`Poller.pace`); None: the interval."""
    max_varbinds: int = 40
    """Values asked for in one PDU; halved for an agent that answers tooBig."""

    @property
    def at(self) -> str:
        """Host and port as an operator writes them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Client(Protocol):
    """One device's agent. Safe to use from several tasks of one loop at once."""

    engine: str

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """The values of instances; one that the agent does not have is absent. SourceError for every trouble."""
        ...

    async def walk(self, column: str) -> list[tuple[str, Value]]:
        """The instances under a column in the agent's order; SourceError for every trouble, never half a column."""
        ...

    async def close(self) -> None:
        """Gives up what is under way and frees the socket."""
        ...


def connect(target: Target) -> Client:
    """A client for a device, without asking it anything yet; ConfigError when its settings cannot be met."""
    if target.version not in {"1", "2c"}:
        raise ConfigError(f"device {target.name}", f"SNMP version {target.version!r} is unknown: use 1 or 2c")
    if target.engine not in {"auto", "pysnmp", "gufo"}:
        raise ConfigError(f"device {target.name}", f"engine {target.engine!r} is unknown: use auto, pysnmp or gufo")
    if target.engine == "pysnmp" or (target.engine == "auto" and (target.version == "1" or not _gufo_found())):
        return PysnmpClient(target)
    if target.version == "1":
        raise ConfigError(f"device {target.name}", 'engine "gufo" reads version 2c: use engine "pysnmp" for version 1')
    if not _gufo_found():
        raise ConfigError(f"device {target.name}", 'engine "gufo" is not installed: pip install "exabgp-bfd[fast]"')
    return GufoClient(target)


@lru_cache(maxsize=1)
def _gufo_found() -> bool:
    try:
        return find_spec("gufo.snmp") is not None
    except ModuleNotFoundError:
        return False


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
        rows = _Rows(self._target.at, column)
        await self.finish(rows)
        return rows.found

    async def finish(self, rows: _Rows, first: int | None = None) -> None:
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
        if not _numeric(self._target.host):
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
        return _silence(self._target)

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
                family, address = await _resolved(self._target)
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


class _Rows:
    """A column as it is walked: what was found, and whether the agent still goes forward."""

    def __init__(self, at: str, column: str) -> None:
        self.column = column
        self.found: list[tuple[str, Value]] = []
        self.last = column
        self._at = at
        self._base = arcs(column)
        self._reached = self._base

    def take(self, oid: str, value: Value) -> bool:
        """Keeps a row, False when it is beyond the column; SourceError if the agent turns in circles or never ends."""
        place = arcs(oid)
        if place[: len(self._base)] != self._base:
            if place < self._base:
                raise SourceError(f"{self._at} went backwards in a walk of {self.column}, to {oid}")
            return False
        if place <= self._reached:
            raise SourceError(f"{self._at} went backwards in a walk of {self.column}, to {oid}")
        if len(self.found) >= MAX_ROWS:
            raise SourceError(f"{self._at} has more than {MAX_ROWS} rows in {self.column}")
        self._reached = place
        self.last = oid
        self.found.append((oid, value))
        return True


class GufoClient:
    """A device asked with gufo_snmp, one request at a time, and with `PysnmpClient` where gufo cannot tell."""

    engine = "gufo"

    def __init__(self, target: Target) -> None:
        self._target = target
        self._library: _Foreign = importlib.import_module("gufo.snmp")
        self._sessions: _Foreign = importlib.import_module("gufo.snmp.aio")
        self._careful = PysnmpClient(target)
        self._session: _Foreign = None
        self._turn = asyncio.Lock()
        self._usable = True

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """As `Client.get`."""
        found: dict[str, Value] = {}
        rest = list(oids)
        while rest:
            part, rest = rest[: self._careful.room], rest[self._careful.room :]
            told = await self._fast(partial(_get_many, part))
            for oid in part:
                value = told.get(oid) if told else None
                if isinstance(value, int | bytes | str):
                    found[oid] = value
        unsaid = [oid for oid in oids if oid not in found]
        if unsaid:
            found.update(await self._careful.get(unsaid))
        return found

    async def walk(self, column: str) -> list[tuple[str, Value]]:
        """As `Client.walk`."""
        rows = _Rows(self._target.at, column)
        steps: _Foreign = None

        async def step(session: _Foreign) -> tuple[str, object] | None:
            nonlocal steps
            if steps is None:
                steps = session.getbulk(column, self._careful.room)
            told: tuple[str, object] | None = await anext(steps, None)
            return told

        while (told := await self._fast(step)) is not None:
            oid, value = told
            if not isinstance(value, int | bytes | str) or not rows.take(oid, value):
                break
        await self._careful.finish(rows, first=1)
        return rows.found

    async def close(self) -> None:
        """As `Client.close`."""
        self._session = None
        await self._careful.close()

    async def _fast(self, ask: Callable[[_Foreign], Awaitable[T]]) -> T | None:
        """One request through gufo; None when the careful engine has to find out what is wrong."""
        async with self._turn:
            if not self._usable:
                return None
            for _ in range(self._target.retries + 1):
                try:
                    return await ask(await self._connected())
                except TimeoutError as error:
                    if "refused" in str(error.__cause__):
                        return None
                except (self._library.SnmpError, OSError, ValueError, NotImplementedError) as error:
                    logger.debug("%s: gufo_snmp could not tell: %s", self._target.at, error)
                    return None
                except BaseException as error:
                    # Its Rust code panics on some broken replies, which is no Exception to Python (measured, 0.13).
                    if type(error).__module__ != "pyo3_runtime":
                        raise
                    logger.warning("%s sends replies that gufo_snmp cannot bear: pysnmp from here on", self._target.at)
                    self._session, self._usable = None, False
                    return None
            if not _numeric(self._target.host):
                self._session = None  # its name may stand for another address by now
        raise _silence(self._target)

    async def _connected(self) -> _Foreign:
        if self._session is None:
            _, address = await _resolved(self._target)
            self._session = self._sessions.SnmpSession(
                addr=str(address[0]),
                port=self._target.port,
                community=self._target.community.reveal(),
                version=self._library.SnmpVersion.v2c,
                timeout=self._target.timeout,
            )
        return self._session


async def _get_many(oids: list[str], session: _Foreign) -> dict[str, object]:
    values: dict[str, object] = await session.get_many(oids)
    return values


def _silence(target: Target) -> SourceError:
    tries = f"{target.retries + 1} tries" if target.retries else "1 try"
    return SourceError(
        f"no answer from {target.at} in {tries} of {target.timeout:g} s: is the community right, is the agent running?"
    )


def _numeric(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True


async def _resolved(target: Target) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """A device's address; only a name leaves the loop's thread for it, and not for longer than RESOLVE_TIMEOUT."""
    if _numeric(target.host):
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        return found[0][0], found[0][4]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            named = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
    except TimeoutError as error:
        raise SourceError(f"the name {target.host} was not resolved in {RESOLVE_TIMEOUT:g} s") from error
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"the name {target.host} cannot be resolved: {reason}") from error
    return named[0][0], named[0][4]


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
