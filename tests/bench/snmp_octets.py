"""As much of SNMP's octets (BER, RFC 3416 section 3) as is needed to recognise a datagram without any SNMP library."""

from __future__ import annotations

STATE = (1, 3, 6, 1, 2, 1, 222, 1, 2, 1, 11)  # bfdSessState, RFC 7331
DOWN, UP = 2, 4
GET, RESPONSE = 0xA0, 0xA2


def state_octets(index: int, state: int) -> bytes:
    """How a response says that session `index` is in `state`: the end of a varbind, its OID and an INTEGER."""
    arcs = (*STATE, index)
    body = bytes([arcs[0] * 40 + arcs[1]]) + b"".join(_arc(arc) for arc in arcs[2:])
    return bytes([6, len(body)]) + body + bytes([2, 1, state])


def get_request(community: str, number: int, index: int) -> bytes:
    """A whole v2c GET for one session's state."""
    oid = state_octets(index, 0)[:-3]
    varbind = _sequence(0x30, oid + b"\x05\x00")
    pdu = _sequence(GET, _integer(number) + _integer(0) * 2 + _sequence(0x30, varbind))
    name = community.encode()
    return _sequence(0x30, _integer(1) + bytes([4, len(name)]) + name + pdu)


def kind_and_number(datagram: bytes) -> tuple[int, bytes]:
    """A v1 or v2c message's PDU type and the octets of its request-id."""
    place, _ = _opened(datagram, 0)  # the message
    for _ in range(2):  # version, community
        place, length = _opened(datagram, place)
        place += length
    kind = datagram[place]
    place, _ = _opened(datagram, place)
    place, length = _opened(datagram, place)
    # As a number, for an agent may write it with fewer octets than it was asked with.
    return kind, int.from_bytes(datagram[place : place + length], "big", signed=True).to_bytes(8, "big", signed=True)


def _opened(datagram: bytes, place: int) -> tuple[int, int]:
    """Where the contents of the element at `place` begin, and their length."""
    length = datagram[place + 1]
    if length < 0x80:
        return place + 2, length
    octets = length & 0x7F
    return place + 2 + octets, int.from_bytes(datagram[place + 2 : place + 2 + octets], "big")


def _arc(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | (arc & 0x7F))
    return bytes(reversed(octets))


def _integer(value: int) -> bytes:
    octets = value.to_bytes(max(1, (value.bit_length() + 8) // 8), "big", signed=True)
    return bytes([2, len(octets)]) + octets


def _sequence(tag: int, body: bytes) -> bytes:
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body
