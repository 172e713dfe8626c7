"""How a request is wrapped for an agent and its answer unwrapped: a community (RFC 1901), or SNMPv3 (RFC 3414)."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from exabgp_bfd.core.credentials import User
from exabgp_bfd.sources.snmp import usm
from exabgp_bfd.sources.snmp.mibs import Value
from exabgp_bfd.sources.snmp.octets import (
    OCTETS,
    SEQUENCE,
    Absent,
    count_at,
    element,
    number_octets,
    place_of,
    request,
    told,
)
from exabgp_bfd.sources.snmp.target import Target
from exabgp_bfd.sources.snmp.usm import Fault, Keys, Level, Security, UsmError

GET: Final = 0xA0
GET_NEXT: Final = 0xA1
RESPONSE: Final = 0xA2
GET_BULK: Final = 0xA5
REPORT: Final = 0xA8

_NOBODY: Final = User("")
_UNHEARD: Final = Security(b"", 0, 0, 0.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: RFC 3416's error status and index, and its values."""

    status: int
    index: int
    values: list[tuple[str, Value | Absent]]


@dataclass(frozen=True, slots=True)
class Report:
    """What an SNMPv3 engine says instead of an answer."""

    fault: Fault
    proved: bool
    """Whether it was authenticated; if not, anybody between us and the agent may have written it."""
    engine: Security
    """The clock that it shows."""


class Plain:
    """Versions 1 and 2c: a community in clear."""

    def __init__(self, target: Target) -> None:
        version = number_octets(0 if target.version == "1" else 1)
        self._head = version + element(OCTETS, target.community.reveal().encode())

    def wrap(self, number: int, pdu: bytes, now: float) -> bytes:  # noqa: ARG002 - communities know no time
        """A request as it is sent."""
        return element(SEQUENCE, self._head + pdu)

    def unwrap(
        self,
        datagram: bytes,
        now: float,  # noqa: ARG002 - communities know no time
        awaited: Container[int] | None = None,  # noqa: ARG002 - and nothing is learnt from what nobody waits for
    ) -> tuple[int, Answer]:
        """The number of an answer, and the answer; ValueError or IndexError for anything else."""
        start, end = place_of(datagram, 0, len(datagram), SEQUENCE)
        _, version_end = count_at(datagram, start, end)
        if end != len(datagram) or datagram[start:version_end] != self._head[: version_end - start]:
            raise ValueError
        _, start = place_of(datagram, version_end, end, OCTETS)
        number, status, index, values = told(datagram, start, end, RESPONSE)
        return number, Answer(status, index, values)


class Protected:
    """Version 3: a user at an engine, whose id and clock are learned from it.

    An answer is believed with the user's full protection only. A report without it is handed on as what it is: it can
    make us ask again in other words, and tells no value.
    """

    def __init__(self, target: Target, user: User, keys: Keys) -> None:
        self.user = user
        self.keys = keys
        self.engine: Security | None = None
        """As it is addressed: possibly on the word of an unproved report."""
        self.security: Security | None = None
        """As authenticated; without authentication there is nothing that proves it."""
        self.disbelieved = 0
        """Datagrams that were not what they claimed."""
        self._context = target.context
        self._level = usm.level_of(user)
        self._users = {user.name: user}

    def wrap(self, number: int, pdu: bytes, now: float) -> bytes:
        """A request as it is sent; the engine must be known."""
        assert self.engine is not None  # noqa: S101 - who asks has looked for it first
        return usm.seal(pdu, self.user, self.engine.at(now), number=number, context=self._context, keys=self.keys)

    def discovery(self, number: int) -> bytes:
        """A request to nobody in particular: its report names the engine (RFC 3414 section 4)."""
        return usm.seal(request(GET, number, 0, 0, ()), _NOBODY, _UNHEARD, number=number)

    def unwrap(self, datagram: bytes, now: float, awaited: Container[int] | None = None) -> tuple[int, Answer | Report]:
        """The number of an answer or report, and that; ValueError, IndexError or UsmError for anything else.

        One whose number is not `awaited` (None: any is) may be a recording, by which no clock must be set back.
        """
        header = usm.header_of(datagram)
        if awaited is not None and header.number not in awaited:
            raise UsmError(Fault.NOT_IN_TIME, "an answer that nobody waits for", header)
        if header.level is Level.NO_AUTH < self._level:
            return header.number, self._unproved(datagram, header, now)
        if header.user != self.user.name:
            return header.number, self._unproved(datagram, header, now)
        usm.proved(datagram, header, self.user, self.keys)
        inside = usm.opened(datagram, header, self.user, self.keys)
        shown = Security(header.engine_id, header.boots, header.time, now)
        if inside.kind == REPORT:
            report = Report(_fault(inside.octets), header.level is not Level.NO_AUTH, shown)
            if report.proved:
                self.engine = self.security = shown
            return header.number, report
        if header.level is not self._level:
            raise UsmError(Fault.TOO_WEAK, "an answer without the user's protection", header)
        if self.engine is None or header.engine_id != self.engine.engine_id:
            raise UsmError(Fault.UNKNOWN_ENGINE, "an answer of another engine", header)
        number, status, index, values = told(inside.octets, 0, len(inside.octets), RESPONSE)
        if number != header.number:
            raise ValueError
        self.engine = shown
        if self._level is not Level.NO_AUTH:
            self.security = shown
        return number, Answer(status, index, values)

    def _unproved(self, datagram: bytes, header: usm.Header, now: float) -> Report:
        if header.level is not Level.NO_AUTH:
            raise UsmError(Fault.UNKNOWN_USER, "an answer to another user", header)
        inside = usm.opened(datagram, header, _NOBODY, self.keys)
        if inside.kind != REPORT:
            raise UsmError(Fault.TOO_WEAK, "an answer without the user's protection", header)
        shown = Security(header.engine_id, header.boots, header.time, now)
        return Report(_fault(inside.octets), proved=False, engine=shown)


def _fault(octets: bytes) -> Fault:
    _, _, _, values = told(octets, 0, len(octets), REPORT)
    fault = usm.REPORTS.get(values[0][0]) if values else None
    if fault is None:
        raise UsmError(Fault.MALFORMED, "a report of nothing that we know")
    return fault
