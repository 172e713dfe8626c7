"""As much of SNMP's octets (BER, RFC 3416 section 3) as is needed to recognise a datagram without any SNMP library."""

from __future__ import annotations

from collections.abc import Sequence

STATE = (1, 3, 6, 1, 2, 1, 222, 1, 2, 1, 11)  # bfdSessState, RFC 7331
DOWN, UP = 2, 4
GET, GET_NEXT, RESPONSE, GET_BULK, INFORM, TRAP, REPORT = 0xA0, 0xA1, 0xA2, 0xA5, 0xA6, 0xA7, 0xA8


def oid_octets(arcs: Sequence[int]) -> bytes:
    """An OBJECT IDENTIFIER, tag and length included."""
    return element(0x06, bytes([arcs[0] * 40 + arcs[1]]) + b"".join(_arc(arc) for arc in arcs[2:]))


def oid_arcs(octets: bytes) -> tuple[int, ...]:
    """The numbers of an OBJECT IDENTIFIER's contents."""
    arcs = list(divmod(octets[0], 40)) if octets else []
    arc = 0
    for octet in octets[1:]:
        arc = arc << 7 | octet & 0x7F
        if octet < 0x80:
            arcs.append(arc)
            arc = 0
    return tuple(arcs)


def state_octets(index: int, state: int) -> bytes:
    """How a response says that session `index` is in `state`: the end of a varbind, its OID and an INTEGER."""
    return oid_octets((*STATE, index)) + bytes([2, 1, state])


def get_request(community: str, number: int, index: int) -> bytes:
    """A whole v2c GET for one session's state."""
    oid = state_octets(index, 0)[:-3]
    varbind = element(0x30, oid + b"\x05\x00")
    pdu = element(GET, integer(number) + integer(0) * 2 + element(0x30, varbind))
    name = community.encode()
    return element(0x30, integer(1) + bytes([4, len(name)]) + name + pdu)


def kind_and_number(datagram: bytes) -> tuple[int, bytes]:
    """A v1 or v2c message's PDU type and the octets of its request-id."""
    place, _ = opened(datagram, 0)  # the message
    for _ in range(2):  # version, community
        place, length = opened(datagram, place)
        place += length
    kind = datagram[place]
    place, _ = opened(datagram, place)
    place, length = opened(datagram, place)
    # As a number, for an agent may write it with fewer octets than it was asked with.
    return kind, int.from_bytes(datagram[place : place + length], "big", signed=True).to_bytes(8, "big", signed=True)


def opened(datagram: bytes, place: int) -> tuple[int, int]:
    """Where the contents of the element at `place` begin, and their length."""
    length = datagram[place + 1]
    if length < 0x80:
        return place + 2, length
    octets = length & 0x7F
    return place + 2 + octets, int.from_bytes(datagram[place + 2 : place + 2 + octets], "big")


def number_of(octets: bytes) -> int:
    """The value of an INTEGER's contents."""
    return int.from_bytes(octets, "big", signed=True)


def _arc(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | (arc & 0x7F))
    return bytes(reversed(octets))


def integer(value: int, tag: int = 0x02) -> bytes:
    """A number in as few octets as it needs: an INTEGER, or a Counter32, Gauge32 or TimeTicks by its tag."""
    octets = value.to_bytes(max(1, (value.bit_length() + 8) // 8), "big", signed=True)
    return bytes([tag, len(octets)]) + octets


def element(tag: int, body: bytes) -> bytes:
    """A tag, a length and what it is the length of."""
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body
