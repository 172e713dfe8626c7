"""Notifications as octets: the message of SNMPv1 and v2c, and the PDU of all versions, read as far as we need. Pure.

Values are read by hand here, not by pyasn1 as everywhere else, because anybody may send them: pyasn1 takes some 500 us
for a notification and more than a second for a datagram that is made for it, and what it makes of new values cannot be
remembered. This takes some 15 us, and bounds what it reads. The tests hold the two against each other. Octets that are
no notification raise `MalformedError`, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from exabgp_bfd.sources.snmp.mibs import Value
from exabgp_bfd.sources.snmp.notifications import translated
from exabgp_bfd.sources.snmp.octets import INTEGER, NULL, OCTETS, OID, SEQUENCE, number_at, place_of

MAX_VARBINDS = 256
MAX_ARCS = 128  # RFC 2578 section 3.5

_UP_TIME = "1.3.6.1.2.1.1.3.0"
_TRAP_OID = "1.3.6.1.6.3.1.1.4.1.0"

_IP_ADDRESS, _TIME_TICKS, _OPAQUE = 0x40, 0x43, 0x44
_UNSIGNED = frozenset({0x41, 0x42, _TIME_TICKS, 0x46, 0x47})  # Counter32, Gauge32, Counter64, UInteger32
_ABSENT = frozenset({NULL, 0x80, 0x81, 0x82})
_RESPONSE, _V1_TRAP, _INFORM, _TRAP = 0xA2, 0xA4, 0xA6, 0xA7
_LONGEST_NUMBER = 9


class MalformedError(ValueError):
    """Octets that are no notification."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands before the PDU."""

    version: int
    """As in the message: 0 is SNMPv1, 1 is v2c, 3 is v3."""
    community: bytes
    """Empty for v3."""
    pdu: slice
    """Where in the datagram the PDU is; nothing for v3."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification, whatever its version, in the words of v2 (RFC 3584 section 3.1)."""

    trap_oid: str
    varbinds: tuple[tuple[str, Value], ...]
    """Without sysUpTime.0 and snmpTrapOID.0; what has no value has an empty one."""
    inform: bool = False
    """Whether the sender waits for an answer."""
    number: int = 0
    """request-id."""
    up_time: int | None = None
    """sysUpTime, in hundredths of a second."""


def enveloped(datagram: bytes) -> Envelope:
    """The version and the community of a message; MalformedError."""
    try:
        start, end = place_of(datagram, 0, len(datagram), SEQUENCE)
        version, start = number_at(datagram, start, end)
        if version == 3:
            return Envelope(3, b"", slice(0, 0))
        if version not in {0, 1}:
            raise MalformedError
        name = place_of(datagram, start, end, OCTETS)
        return Envelope(version, datagram[slice(*name)], slice(name[1], end))
    except (IndexError, ValueError) as error:
        raise MalformedError from error


def noticed(pdu: bytes, version: int) -> Notice:
    """The notification in a PDU of that version of SNMP; MalformedError, also for a PDU of another kind."""
    try:
        kind = pdu[0]
        start, end = place_of(pdu, 0, len(pdu), kind)
        if kind == _V1_TRAP and version == 0:
            return _first(pdu, start, end)
        if kind in {_TRAP, _INFORM} and version != 0:
            return _second(pdu, start, end, inform=kind == _INFORM)
    except (IndexError, ValueError) as error:
        raise MalformedError from error
    raise MalformedError


def response(pdu: bytes) -> bytes:
    """The PDU that answers an inform: a response with the same request-id and values (RFC 3416 section 4.2.7)."""
    return bytes([_RESPONSE]) + pdu[1:]


def _first(pdu: bytes, start: int, end: int) -> Notice:
    """SNMPv1's Trap-PDU (RFC 1157 section 4.1.6)."""
    place = place_of(pdu, start, end, OID)
    enterprise = _oid(pdu[slice(*place)])
    place = place_of(pdu, place[1], end, _IP_ADDRESS)  # agent-addr: the sender's own is believed, not this
    generic, start = number_at(pdu, place[1], end)
    specific, start = number_at(pdu, start, end)
    place = place_of(pdu, start, end, _TIME_TICKS)
    up_time = int.from_bytes(pdu[slice(*place)], "big")
    if generic < 0 or specific < 0:
        raise MalformedError
    return Notice(translated(enterprise, generic, specific), tuple(_varbinds(pdu, place[1], end)), up_time=up_time)


def _second(pdu: bytes, start: int, end: int, *, inform: bool) -> Notice:
    """SNMPv2-Trap-PDU and InformRequest-PDU (RFC 3416 section 4.2)."""
    number, start = number_at(pdu, start, end)
    _, start = number_at(pdu, start, end)
    _, start = number_at(pdu, start, end)
    rest: list[tuple[str, Value]] = []
    trap_oid: Value = b""
    up_time: Value = b""
    for oid, value in _varbinds(pdu, start, end):
        if oid == _TRAP_OID:
            trap_oid = value
        elif oid == _UP_TIME:
            up_time = value
        else:
            rest.append((oid, value))
    if not isinstance(trap_oid, str):
        raise MalformedError
    return Notice(trap_oid, tuple(rest), inform, number, up_time if isinstance(up_time, int) else None)


def _varbinds(pdu: bytes, start: int, end: int) -> list[tuple[str, Value]]:
    found: list[tuple[str, Value]] = []
    start, end = place_of(pdu, start, end, SEQUENCE)
    while start < end:
        inside, after = place_of(pdu, start, end, SEQUENCE)
        name = place_of(pdu, inside, after, OID)
        if len(found) == MAX_VARBINDS:
            raise MalformedError
        found.append((_oid(pdu[slice(*name)]), _value(pdu, name[1], after)))
        start = after
    return found


def _value(pdu: bytes, start: int, end: int) -> Value:
    tag = pdu[start]
    first, last = place_of(pdu, start, end, tag)
    octets = pdu[first:last]
    if tag == INTEGER or tag in _UNSIGNED:
        if not 1 <= len(octets) <= _LONGEST_NUMBER:
            raise MalformedError
        # Some agents leave out the zero before an unsigned number whose first bit is set.
        return int.from_bytes(octets, "big", signed=tag == INTEGER)
    if tag == OID:
        return _oid(octets)
    if tag == _IP_ADDRESS and len(octets) == 4:
        return ".".join(str(octet) for octet in octets)
    if tag in {OCTETS, _OPAQUE, _IP_ADDRESS}:
        return octets
    if tag in _ABSENT:
        return b""
    raise MalformedError


@lru_cache(maxsize=4096)
def _oid(octets: bytes) -> str:
    """The contents of an OBJECT IDENTIFIER as numbers joined by dots; the same few come again and again."""
    arcs: list[int] = []
    arc, fresh = 0, True
    for octet in octets:
        if fresh and octet == 0x80:  # a leading zero
            raise MalformedError
        arc, fresh = arc << 7 | octet & 0x7F, octet < 0x80
        if arc > 0xFFFFFFFF + 80 or len(arcs) == MAX_ARCS:
            raise MalformedError
        if fresh:
            arcs.append(arc)
            arc = 0
    if not fresh or not arcs:
        raise MalformedError
    root = min(arcs[0] // 40, 2)  # X.690 section 8.19.4
    return ".".join(str(arc) for arc in (root, arcs[0] - 40 * root, *arcs[1:]))
