"""An SNMP agent (v1, v2c, v3) that serves any table, and misbehaves on purpose.

Requests are read with pysnmp's codec and values written with it; only the frame around them is ours, so that it can
be wrong where a test wants it to be (v3's protection is `sources.snmp.usm`, which snmpd judges in other tests). It
lives in the test's own event loop as one or two sockets without tasks. Every fault is an object: given to
`Agent.suffers`, taken away with `Agent.behaves`, and it counts what it saw and did.
"""

from __future__ import annotations

import asyncio
import socket
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Self

from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto import api
from pysnmp.proto.api import v2c

from exabgp_bfd.core.credentials import User
from exabgp_bfd.sources.snmp import usm

Oid = tuple[int, ...]

SYS_OBJECT_ID = "1.3.6.1.2.1.1.2.0"
SYS_UP_TIME = "1.3.6.1.2.1.1.3.0"
_UP_TIME: Oid = (1, 3, 6, 1, 2, 1, 1, 3, 0)

GET, GET_NEXT, RESPONSE, GET_BULK = 0xA0, 0xA1, 0xA2, 0xA5
TOO_BIG, NO_SUCH_NAME, GEN_ERR = 1, 2, 5

NULL = b"\x05\x00"
NO_SUCH_OBJECT = b"\x80\x00"
NO_SUCH_INSTANCE = b"\x81\x00"
END_OF_MIB_VIEW = b"\x82\x00"

_ASN = {
    "2": v2c.Integer32,
    "4": v2c.OctetString,
    "6": v2c.ObjectIdentifier,
    "64": v2c.IpAddress,
    "65": v2c.Counter32,
    "66": v2c.Unsigned32,
    "67": v2c.TimeTicks,
    "70": v2c.Counter64,
}
"""By the tags of snmprec."""


def arcs(oid: str | Oid) -> Oid:
    return oid if isinstance(oid, tuple) else tuple(int(arc) for arc in oid.split("."))


def dotted(oid: Iterable[int]) -> str:
    return ".".join(str(arc) for arc in oid)


def value(tag: str, text: str) -> bytes:
    """A value of a recording as BER; `x` after the tag means that the text is hexadecimal."""
    kind = _ASN[tag.rstrip("x")]
    if tag.endswith("x"):
        return encoder.encode(kind(hexValue=text))
    return encoder.encode(kind(text if tag in {"4", "6", "64"} else int(text)))


def integer(number: int) -> bytes:
    return tlv(0x02, _two_complement(number))


def counter32(number: int) -> bytes:
    return tlv(0x41, _two_complement(number))


def octets(text: bytes) -> bytes:
    return tlv(0x04, text)


def counter64(number: int) -> bytes:
    return tlv(0x46, _two_complement(number))


def tlv(tag: int, content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _two_complement(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


@lru_cache(maxsize=65_536)
def _encoded(oid: Oid) -> bytes:
    return encoder.encode(v2c.ObjectIdentifier(oid))


class Table:
    """What an agent has, by OID, in OID order; values are BER."""

    def __init__(self, cells: Mapping[str, bytes] | None = None) -> None:
        self.cells: dict[Oid, bytes] = {}
        self._order: list[Oid] | None = None
        for oid, said in (cells or {}).items():
            self.put(oid, said)

    def put(self, oid: str | Oid, said: bytes) -> None:
        place = arcs(oid)
        if place not in self.cells:
            self._order = None
        self.cells[place] = said

    def drop(self, oid: str | Oid) -> None:
        del self.cells[arcs(oid)]
        self._order = None

    def under(self, oid: str | Oid) -> list[Oid]:
        root = arcs(oid)
        return sorted(place for place in self.cells if place[: len(root)] == root)

    def rows(self, entry: str, index: str) -> list[Oid]:
        """The cells of one row: entry.column.index."""
        root, tail = arcs(entry), arcs(index)
        return [place for place in self.under(root) if place[len(root) + 1 :] == tail]

    def drop_row(self, index: str, *entries: str) -> None:
        for entry in entries:
            for place in self.rows(entry, index):
                self.drop(place)

    def renumber(self, before: str, after: str, *entries: str) -> None:
        """Moves a row to another index, in each of the tables whose entries are given."""
        for entry in entries:
            for place in self.rows(entry, before):
                said = self.cells[place]
                self.drop(place)
                self.put((*place[: len(arcs(entry)) + 1], *arcs(after)), said)

    def get(self, oid: Oid) -> bytes | None:
        return self.cells.get(oid)

    def after(self, oid: Oid) -> Oid | None:
        if self._order is None:
            self._order = sorted(self.cells)
        place = bisect_right(self._order, oid)
        return self._order[place] if place < len(self._order) else None


@dataclass(frozen=True)
class Request:
    """What was asked."""

    version: int
    community: bytes
    kind: int
    number: int
    oids: tuple[Oid, ...]
    repetitions: int
    non_repeaters: int
    size: int
    sender: tuple[Any, ...]
    unsealed: usm.Unsealed | None = None
    """The message of version 3 that it came in."""


@dataclass(frozen=True)
class Answer:
    """What is said to it, before it is written; a value of None is what the agent does not have."""

    version: int
    community: bytes
    number: int
    varbinds: tuple[tuple[Oid, bytes], ...]
    status: int = 0
    index: int = 0
    kind: int = RESPONSE

    def failing(self, request: Request, status: int, index: int) -> Answer:
        """The same with an error instead of values, as RFC 3416 section 4.2 has it."""
        asked = () if status == TOO_BIG and request.version else tuple((oid, NULL) for oid in request.oids)
        return replace(self, varbinds=asked, status=status, index=index)


@dataclass(frozen=True)
class Reply:
    """A datagram to be sent: when (seconds from now), and from which address (None: the agent's own)."""

    datagram: bytes
    after: float = 0.0
    source: str | None = None


@dataclass
class Fault:
    """Something wrong with the agent: with every n-th of the requests that it is about, so many times at most."""

    about: Callable[[Request], bool] = lambda _: True
    every: int = 1
    times: int | None = None
    seen: int = field(default=0, init=False)
    """Requests that it was about."""
    done: int = field(default=0, init=False)
    """How many of them it did something to."""

    def strikes(self, request: Request) -> bool:
        if not self.about(request):
            return False
        self.seen += 1
        if self.seen % self.every or (self.times is not None and self.done >= self.times):
            return False
        self.done += 1
        return True

    def takes(self, agent: Agent, request: Request) -> bool:
        """Whether the request is answered at all."""
        return True

    def following(self, agent: Agent, oid: Oid, row: int) -> tuple[Oid, bytes] | None:
        """What comes after an OID in a walk, if it is not what the table says; `row` counts the PDU's."""
        return None

    def says(self, agent: Agent, request: Request, answer: Answer) -> Answer:
        return answer

    def sends(self, agent: Agent, request: Request, replies: list[Reply]) -> list[Reply]:
        return replies


@dataclass
class Drops(Fault):
    """Says nothing; all that arrives is counted as read."""

    def takes(self, agent: Agent, request: Request) -> bool:
        return False


@dataclass
class Ignores(Fault):
    """Hears no request, and sends no answer, of more than so many octets: a path whose MTU nobody knows."""

    octets: int = 500

    def takes(self, agent: Agent, request: Request) -> bool:
        return request.size <= self.octets

    def sends(self, agent: Agent, request: Request, replies: list[Reply]) -> list[Reply]:
        return [reply for reply in replies if len(reply.datagram) <= self.octets]


@dataclass
class Delays(Fault):
    seconds: float = 0.05

    def sends(self, agent: Agent, request: Request, replies: list[Reply]) -> list[Reply]:
        return [replace(reply, after=reply.after + self.seconds) for reply in replies]


@dataclass
class Duplicates(Fault):
    copies: int = 3
    apart: float = 0.0
    """Seconds between two copies, so that the later ones meet the next requests."""

    def sends(self, agent: Agent, request: Request, replies: list[Reply]) -> list[Reply]:
        return [
            replace(reply, after=reply.after + copy * self.apart) for reply in replies for copy in range(self.copies)
        ]


@dataclass
class Truncates(Fault):
    """Cuts the end of each answer: so many octets of a hundred are left."""

    percent: int = 50

    def sends(self, agent: Agent, request: Request, replies: list[Reply]) -> list[Reply]:
        return [
            replace(reply, datagram=reply.datagram[: len(reply.datagram) * self.percent // 100]) for reply in replies
        ]


@dataclass
class Babbles(Fault):
    """Sends octets that mean nothing instead of an answer, or before it."""

    octets: bytes = b"\x30\x03\x02\x01"
    instead: bool = True

    def sends(self, agent: Agent, request: Request, replies: list[Reply]) -> list[Reply]:
        return [Reply(self.octets), *([] if self.instead else replies)]


@dataclass
class Elsewhere(Fault):
    """Answers from another address, which had said other things than the right one would have."""

    source: str = "127.0.0.2"
    lie: Callable[[Answer], Answer] = lambda answer: answer

    def says(self, agent: Agent, request: Request, answer: Answer) -> Answer:
        return self.lie(answer)

    def sends(self, agent: Agent, request: Request, replies: list[Reply]) -> list[Reply]:
        return [replace(reply, source=self.source) for reply in replies]


@dataclass
class Reorders(Fault):
    """Holds answers back until so many wait, or nothing came for a moment, and sends the latest first."""

    held: int = 2
    patience: float = 0.03

    def __post_init__(self) -> None:
        self._waiting: list[tuple[tuple[Any, ...], Reply]] = []
        self._flush: asyncio.TimerHandle | None = None

    def sends(self, agent: Agent, request: Request, replies: list[Reply]) -> list[Reply]:
        self._waiting += [(request.sender, reply) for reply in replies]
        if self._flush is not None:
            self._flush.cancel()
        if len(self._waiting) >= self.held:
            self._let_go(agent)
        else:
            self._flush = agent.later(self.patience, self._let_go, agent)
        return []

    def _let_go(self, agent: Agent) -> None:
        waiting, self._waiting = self._waiting, []
        for sender, reply in reversed(waiting):
            agent.send(reply, sender)


@dataclass
class Says(Fault):
    """Changes what is said: any field of the answer."""

    change: Callable[[Request, Answer], Answer] = lambda _, answer: answer

    def says(self, agent: Agent, request: Request, answer: Answer) -> Answer:
        return self.change(request, answer)


def wrong_number(**when: Any) -> Says:
    return Says(change=lambda _, answer: replace(answer, number=answer.number ^ 1), **when)


def wrong_community(**when: Any) -> Says:
    return Says(change=lambda _, answer: replace(answer, community=b"another"), **when)


def wrong_version(**when: Any) -> Says:
    return Says(change=lambda _, answer: replace(answer, version=1 - answer.version), **when)


def no_response(**when: Any) -> Says:
    """Sends its answer as a request."""
    return Says(change=lambda _, answer: replace(answer, kind=GET), **when)


def error(status: int = GEN_ERR, index: int = 1, **when: Any) -> Says:
    return Says(change=lambda request, answer: answer.failing(request, status, index), **when)


def nothing(**when: Any) -> Says:
    """No error, and no values."""
    return Says(change=lambda _, answer: replace(answer, varbinds=()), **when)


def nulls(**when: Any) -> Says:
    """No error, and a null for each value."""
    return Says(
        change=lambda _, answer: replace(answer, varbinds=tuple((oid, NULL) for oid, _ in answer.varbinds)), **when
    )


def mixed(**when: Any) -> Says:
    """The values in another order, each under its own OID."""
    return Says(change=lambda _, answer: replace(answer, varbinds=answer.varbinds[::-1]), **when)


def shifted(**when: Any) -> Says:
    """The OIDs of another request: one arc of each is another."""
    return Says(
        change=lambda _, answer: replace(
            answer, varbinds=tuple(((*oid[:-1], oid[-1] + 100_000), said) for oid, said in answer.varbinds)
        ),
        **when,
    )


def shortened(**when: Any) -> Says:
    """Leaves the last value out."""
    return Says(change=lambda _, answer: replace(answer, varbinds=answer.varbinds[:-1]), **when)


@dataclass
class TooBig(Fault):
    """Takes no more than so many values, or octets of an answer."""

    varbinds: int | None = None
    octets: int | None = None

    def says(self, agent: Agent, request: Request, answer: Answer) -> Answer:
        if answer.status:
            return answer
        if request.kind == GET_BULK:  # RFC 3416 section 4.2.3: as many as there is room for
            said = answer.varbinds[: self.varbinds] if self.varbinds is not None else answer.varbinds
            while self.octets is not None and len(said) > 1 and self._size(answer, said) > self.octets:
                said = said[:-1]
            answer = replace(answer, varbinds=said)
        much = self.varbinds is not None and len(answer.varbinds) > self.varbinds
        long = self.octets is not None and self._size(answer, answer.varbinds) > self.octets
        return answer.failing(request, TOO_BIG, 0) if much or long or not answer.varbinds else answer

    def _size(self, answer: Answer, said: Sequence[tuple[Oid, bytes]]) -> int:
        return len(written(replace(answer, varbinds=tuple(said))))


@dataclass
class Cells(Fault):
    """Says something else of single cells, in a GET or wherever a walk comes to them."""

    said: Mapping[str, bytes] = field(default_factory=dict)

    def says(self, agent: Agent, request: Request, answer: Answer) -> Answer:
        told = {arcs(oid): said for oid, said in self.said.items()}
        return replace(answer, varbinds=tuple((oid, told.get(oid, said)) for oid, said in answer.varbinds))


@dataclass
class EndsEarly(Fault):
    """Says endOfMibView after so many rows of a column, though there are more."""

    column: str = ""
    rows: int = 0

    def following(self, agent: Agent, oid: Oid, row: int) -> tuple[Oid, bytes] | None:
        column = arcs(self.column)
        there = agent.table.under(column)
        if oid[: len(column)] != column or not there:
            return None
        return (oid, END_OF_MIB_VIEW) if sum(place <= oid for place in there) >= self.rows else None


@dataclass
class Turns(Fault):
    """Goes on with a column's beginning, or an OID of somebody else's choice, where the column's end should come."""

    column: str = ""
    to: str | None = None

    def following(self, agent: Agent, oid: Oid, row: int) -> tuple[Oid, bytes] | None:
        there = agent.table.under(self.column)
        if not there or oid != there[-1]:
            return None
        place = arcs(self.to) if self.to is not None else there[0]
        return place, agent.table.get(place) or integer(4)


@dataclass
class StandsStill(Fault):
    """Answers a walk with the OID that it was asked from."""

    column: str = ""

    def following(self, agent: Agent, oid: Oid, row: int) -> tuple[Oid, bytes] | None:
        column = arcs(self.column)
        said = agent.table.get(oid)
        return (oid, said) if said is not None and oid[: len(column)] == column else None


@dataclass
class NeverEnds(Fault):
    """Invents one more row of a column for ever."""

    column: str = ""

    def following(self, agent: Agent, oid: Oid, row: int) -> tuple[Oid, bytes] | None:
        column = arcs(self.column)
        if oid[: len(column)] != column:
            return None
        last = oid[len(column)] if len(oid) > len(column) else 0
        return ((*column, last + 1), integer(4))


def written(answer: Answer) -> bytes:
    """A message (RFC 1901, RFC 1157) as octets."""
    return tlv(0x30, integer(answer.version) + octets(answer.community) + pdu_of(answer))


def pdu_of(answer: Answer) -> bytes:
    varbinds = b"".join(tlv(0x30, _encoded(oid) + said) for oid, said in answer.varbinds)
    body = integer(answer.number) + integer(answer.status) + integer(answer.index) + tlv(0x30, varbinds)
    return tlv(answer.kind, body)


def read(datagram: bytes, sender: tuple[Any, ...]) -> Request:
    """A request as pysnmp's codec reads it; whatever it raises for what is none."""
    version = int(api.decodeMessageVersion(datagram))
    module = api.PROTOCOL_MODULES[version]
    message, _ = decoder.decode(datagram, asn1Spec=module.Message())
    pdu = module.apiMessage.get_pdu(message)
    community = bytes(module.apiMessage.get_community(message))
    return _asked(pdu, version, community, len(datagram), sender)


def _asked(pdu: Any, version: int, community: bytes, size: int, sender: tuple[Any, ...]) -> Request:
    module = api.PROTOCOL_MODULES[min(version, 1)]
    bulk = version and pdu.isSameTypeWith(v2c.GetBulkRequestPDU(), matchConstraints=False)
    kind = GET_BULK if bulk else GET
    if pdu.isSameTypeWith(module.GetNextRequestPDU(), matchConstraints=False):
        kind = GET_NEXT
    return Request(
        version,
        community,
        kind,
        int(module.apiPDU.get_request_id(pdu)),
        tuple(tuple(oid) for oid, _ in (v2c.apiBulkPDU if bulk else module.apiPDU).get_varbinds(pdu)),
        int(v2c.apiBulkPDU.get_max_repetitions(pdu)) if bulk else 1,
        int(v2c.apiBulkPDU.get_non_repeaters(pdu)) if bulk else 0,
        size,
        sender,
    )


class Agent(asyncio.DatagramProtocol):
    """An agent on loopback, in the running loop: `async with Agent(...) as agent`."""

    def __init__(
        self,
        cells: Mapping[str, bytes] | None = None,
        *,
        community: str = "public",
        views: Mapping[str, Mapping[str, bytes]] | None = None,
        users: Iterable[User] = (),
        port: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        """`views` are other tables by the communities, or v3's contexts, that lead to them, as agents show VRFs."""
        self.table = Table(cells)
        self.tables = {community.encode(): self.table, b"": self.table}
        self.users = {user.name: user for user in users}
        self.authority = usm.Authority(b"\x80\x00\x1f\x88\x04agent", 1, 0.0, keys=usm.Keys())
        self.tables |= {name.encode(): Table(seen) for name, seen in (views or {}).items()}
        self.host, self.port = host, port
        self.requests: list[Request] = []
        """All that was understood, answered or not."""
        self.strange = 0
        """Datagrams that were no request of ours."""
        self.answered = 0
        """Datagrams sent."""
        self._faults: list[Fault] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._elsewhere: dict[str, socket.socket] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._up_time = 0
        self._since = 0.0

    # --- its life -----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.host, self.port))
        self.port = self._transport.get_extra_info("sockname")[1]
        if not self._since:
            self.up_time = 8_640_000
            self.authority.started = asyncio.get_running_loop().time() - 86_400.0

    async def stop(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for wire in self._elsewhere.values():
            wire.close()
        self._elsewhere.clear()
        if self._transport is not None:
            self._transport.close()
            self._transport = None
            await asyncio.sleep(0)

    @property
    def asked(self) -> set[str]:
        """Every OID that somebody has asked for."""
        return {dotted(oid) for request in self.requests for oid in request.oids}

    def suffers(self, *faults: Fault) -> None:
        """Has these faults from now on, beside those it has."""
        self._faults += faults

    def behaves(self) -> None:
        """Has no faults any more."""
        self._faults.clear()

    @property
    def up_time(self) -> int:
        """sysUpTime, hundredths of a second; it goes on from what it is set to, and wraps."""
        return (self._up_time + int((asyncio.get_running_loop().time() - self._since) * 100)) % 2**32

    @up_time.setter
    def up_time(self, ticks: int) -> None:
        self._up_time, self._since = ticks, asyncio.get_running_loop().time()

    def restart(self, engine_id: bytes | None = None) -> None:
        """Boots again: sysUpTime and v3's clock begin anew; with another engine id it is another box."""
        self.up_time = 0
        self.authority.boots += 1
        self.authority.started = asyncio.get_running_loop().time()
        if engine_id is not None:
            self.authority.engine_id, self.authority.boots = engine_id, 1

    # --- what it does -------------------------------------------------------------------------------------------

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        try:
            request = self._opened(data, addr) if self.users else read(data, addr)
        except usm.UsmError as trouble:
            report = self.authority.report(trouble, self.users, asyncio.get_running_loop().time())
            if report is not None:
                self.send(Reply(report), addr)
            return
        except Exception:  # noqa: BLE001 - octets that are no request: the test sees them in `strange`
            self.strange += 1
            return
        self.requests.append(request)
        table = self.tables.get(request.community)
        faults = [fault for fault in self._faults if fault.strikes(request)]
        if table is None or not all(fault.takes(self, request) for fault in faults):
            return
        answer = self._answer(request, table, faults)
        for fault in faults:
            answer = fault.says(self, request, answer)
        replies = [Reply(self._sealed(request.unsealed, answer) if request.unsealed is not None else written(answer))]
        for fault in faults:
            replies = fault.sends(self, request, replies)
        for reply in replies:
            self.later(reply.after, self.send, reply, addr)

    def _opened(self, datagram: bytes, sender: tuple[Any, ...]) -> Request:
        now = asyncio.get_running_loop().time()
        told = usm.unseal(datagram, self.users, now, authority=self.authority, keys=self.authority.keys)
        return replace(_asked(told.pdu, 3, told.context.encode(), len(datagram), sender), unsealed=told)

    def _sealed(self, asked: usm.Unsealed, answer: Answer) -> bytes:
        security = self.authority.security(asyncio.get_running_loop().time())
        return usm.seal(
            pdu_of(answer),
            self.users[asked.user],
            security,
            number=asked.number,
            context=asked.context,
            keys=self.authority.keys,
        )

    def later(self, seconds: float, work: Callable[..., None], *arguments: object) -> asyncio.TimerHandle | None:
        """Does something after a while, unless it was stopped by then."""
        if seconds <= 0:
            work(*arguments)
            return None
        timer: asyncio.TimerHandle

        def due() -> None:
            self._timers.discard(timer)
            work(*arguments)

        timer = asyncio.get_running_loop().call_later(seconds, due)
        self._timers.add(timer)
        return timer

    def send(self, reply: Reply, to: tuple[Any, ...]) -> None:
        if self._transport is None:
            return
        self.answered += 1
        if reply.source is None:
            self._transport.sendto(reply.datagram, to)
        else:
            self._from(reply.source).sendto(reply.datagram, to)

    def _from(self, source: str) -> socket.socket:
        if source not in self._elsewhere:
            wire = self._elsewhere[source] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            wire.bind((source, self.port))
        return self._elsewhere[source]

    def _answer(self, request: Request, table: Table, faults: Sequence[Fault]) -> Answer:
        answer = Answer(request.version, request.community, request.number, ())
        if request.kind == GET:
            said = [(oid, self._said(table, oid)) for oid in request.oids]
            absent = [place for place, (_, cell) in enumerate(said, 1) if cell is None]
            if absent and not request.version:
                return answer.failing(request, NO_SUCH_NAME, absent[0])
            return replace(answer, varbinds=tuple((oid, cell or NO_SUCH_INSTANCE) for oid, cell in said))
        found = self._walked(request, table, faults)
        ends = [place for place, (_, cell) in enumerate(found, 1) if cell == END_OF_MIB_VIEW]
        if ends and not request.version:
            return answer.failing(request, NO_SUCH_NAME, ends[0])
        return replace(answer, varbinds=tuple(found))

    def _walked(self, request: Request, table: Table, faults: Sequence[Fault]) -> list[tuple[Oid, bytes]]:
        once = request.oids[: request.non_repeaters] if request.kind == GET_BULK else request.oids
        found = [self._next(table, oid, 0, faults) for oid in once]
        repeated = list(request.oids[len(once) :])
        for row in range(request.repetitions if repeated else 0):
            step = [self._next(table, oid, row, faults) for oid in repeated]
            found += step
            repeated = [oid for oid, _ in step]
            if all(cell == END_OF_MIB_VIEW for _, cell in step):
                break
        return found

    def _next(self, table: Table, oid: Oid, row: int, faults: Sequence[Fault]) -> tuple[Oid, bytes]:
        for fault in faults:
            instead = fault.following(self, oid, row)
            if instead is not None:
                return instead
        place = table.after(oid)
        if place is None:
            return oid, END_OF_MIB_VIEW
        return place, self._said(table, place) or NO_SUCH_INSTANCE

    def _said(self, table: Table, oid: Oid) -> bytes | None:
        said = table.get(oid)
        if oid == _UP_TIME and said is not None:
            return tlv(0x43, _two_complement(self.up_time))
        return said
