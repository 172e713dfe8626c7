"""As much of BER (ITU-T X.690, within RFC 3417 section 8) as takes an SNMP message apart and puts one together.

It is read strictly: definite lengths, and nothing behind what is there. pyasn1 with pysnmp's types reads the same
(tests/unit/test_octets.py holds one against the other), but needs some fifty times as long, does not say where in a
datagram a thing was, and what it needs is too dear to be remembered for ten thousand sessions.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from exabgp_bfd.core.model import ConfigError
from exabgp_bfd.sources.snmp.mibs import Value, arcs

INTEGER: Final = 0x02
OCTETS: Final = 0x04
NULL: Final = 0x05
OID: Final = 0x06
SEQUENCE: Final = 0x30
MAX_COUNT: Final = 2**31 - 1

_NUMBERS: Final = {
    INTEGER: (-(2**31), 2**31 - 1),
    0x41: (0, 2**32 - 1),  # Counter32
    0x42: (0, 2**32 - 1),  # Gauge32
    0x43: (0, 2**32 - 1),  # TimeTicks
    0x46: (0, 2**64 - 1),  # Counter64
}
"""The kinds of numbers and their limits, RFC 2578 section 7.1."""


class Absent(Enum):
    """What an agent says in a value's place."""

    ROW = auto()
    """noSuchObject or noSuchInstance."""
    END = auto()
    """endOfMibView."""
    NULL = auto()
    UNSAID = auto()


_IP_ADDRESS: Final = 0x40
_OPAQUE: Final = 0x44
_ABSENT: Final = {NULL: Absent.NULL, 0x80: Absent.ROW, 0x81: Absent.ROW, 0x82: Absent.END}


def place_of(octets: bytes, place: int, end: int, tag: int) -> tuple[int, int]:
    """Where the contents of the element at `place` are; ValueError or IndexError if it is not a `tag` before `end`."""
    if place >= end or octets[place] != tag:
        raise ValueError
    length, start = octets[place + 1], place + 2
    if length >= 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4:  # 0: an indefinite length, which RFC 3417 section 8 forbids
            raise ValueError
        length = int.from_bytes(octets[start : start + count], "big")
        start += count
    if start + length > end:
        raise ValueError
    return start, start + length


def number_at(octets: bytes, place: int, end: int) -> tuple[int, int]:
    """An INTEGER of 32 bits, and where what follows begins; ValueError or IndexError if there is none."""
    start, stop = place_of(octets, place, end, INTEGER)
    value = int.from_bytes(octets[start:stop], "big", signed=True)
    if not 1 <= stop - start <= 5 or not -MAX_COUNT - 1 <= value <= MAX_COUNT:
        raise ValueError
    return value, stop


def count_at(octets: bytes, place: int, end: int) -> tuple[int, int]:
    """As `number_at`, from 0."""
    value, stop = number_at(octets, place, end)
    if value < 0:
        raise ValueError
    return value, stop


def element(tag: int, contents: bytes) -> bytes:
    """A tag, a length and what they hold."""
    return bytes([tag]) + sized(contents)


def sized(contents: bytes) -> bytes:
    """A length and what it is the length of."""
    length = len(contents)
    if length < 0x80:
        return bytes([length]) + contents
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets + contents


def unsigned(value: int) -> bytes:
    """The contents of a number from 0."""
    return value.to_bytes(value.bit_length() // 8 + 1, "big")


def number_octets(value: int) -> bytes:
    """An INTEGER of 32 bits."""
    return element(INTEGER, unsigned(value) if value >= 0 else value.to_bytes(4, "big", signed=True))


def oid_octets(oid: str) -> bytes:
    """An OID as an element; ConfigError if it is none."""
    first, second, *rest = arcs(oid)
    if first > 2 or (first < 2 and second > 39):
        raise ConfigError("", f"{oid!r} is not an OID: it begins with 0.0 to 0.39, 1.0 to 1.39 or 2")
    octets = bytearray()
    for arc in (first * 40 + second, *rest):
        if arc < 0x80:
            octets.append(arc)
        else:
            for shift in range((arc.bit_length() - 1) // 7 * 7, 0, -7):
                octets.append(0x80 | (arc >> shift & 0x7F))
            octets.append(arc & 0x7F)
    return element(OID, bytes(octets))


@lru_cache(maxsize=2048)
def _asked(oids: tuple[str, ...]) -> bytes:
    return element(SEQUENCE, b"".join([element(SEQUENCE, oid_octets(oid) + b"\x05\x00") for oid in oids]))


def request(tag: int, number: int, first: int, second: int, oids: Iterable[str]) -> bytes:
    """A PDU (RFC 3416 section 3) that asks for OIDs; `first` and `second` are 0, or GETBULK's two numbers."""
    return element(tag, number_octets(number) + number_octets(first) + number_octets(second) + _asked(tuple(oids)))


def told(octets: bytes, place: int, end: int, tag: int) -> tuple[int, int, int, list[tuple[str, Value | Absent]]]:
    """A PDU's request-id, error status, error index and values; ValueError or IndexError if it is none of that tag."""
    place, stop = place_of(octets, place, end, tag)
    number, place = number_at(octets, place, stop)
    status, place = number_at(octets, place, stop)
    index, place = number_at(octets, place, stop)
    place, last = place_of(octets, place, stop, SEQUENCE)
    if stop != end or last != stop:
        raise ValueError
    values: list[tuple[str, Value | Absent]] = []
    while place < last:
        length = octets[place + 1]
        if length < 0x80:  # nearly always; `place_of` costs twice as much
            after = place + 2 + length
            if after > last:
                raise ValueError
            # The first is sysUpTime in a poll, another one each time: kept, it would push out what does come again.
            values.append((_short_varbind if values else _varbind)(octets[place:after]))
        else:
            _, after = place_of(octets, place, last, SEQUENCE)
            values.append(_varbind(octets[place:after]))
        place = after
    return number, status, index, values


def _varbind(octets: bytes) -> tuple[str, Value | Absent]:
    start, end = place_of(octets, 0, len(octets), SEQUENCE)
    _, middle = place_of(octets, start, end, OID)
    _, after = place_of(octets, middle, end, octets[middle])
    if after != end:
        raise ValueError
    return _oid(octets[start:middle]), plain(octets[middle:end])


_short_varbind = lru_cache(maxsize=8192)(_varbind)
"""Most rows say what they said before."""


def _oid(octets: bytes) -> str:
    """An OID's text from its element; ValueError if it is none that SNMP has (RFC 2578 section 3.5)."""
    start, end = place_of(octets, 0, len(octets), OID)
    found = []
    arc = 0
    for octet in octets[start:end]:
        if octet == 0x80 and not arc:  # a zero in front
            raise ValueError
        arc = arc << 7 | octet & 0x7F
        if octet < 0x80:
            found.append(arc)
            arc = 0
    if end != len(octets) or not found or octets[-1] >= 0x80 or len(found) > 127:
        raise ValueError
    first = min(found[0] // 40, 2)
    found[0] -= first * 40
    if max(found) > 2**32 - 1:
        raise ValueError
    return f"{first}.{'.'.join(map(str, found))}"


def plain(octets: bytes) -> Value | Absent:
    """A value from its element; ValueError or IndexError if it is none that SNMP has (RFC 3416 section 3)."""
    kind = octets[0]
    start, end = place_of(octets, 0, len(octets), kind)
    if end != len(octets):
        raise ValueError
    if kind in _NUMBERS:
        number = int.from_bytes(octets[start:end], "big", signed=True)
        least, most = _NUMBERS[kind]
        if not least <= number <= most or not 1 <= end - start <= 9:
            raise ValueError
        return number
    if kind in {OCTETS, _OPAQUE}:
        return octets[start:]
    if kind == OID:
        return _oid(octets)
    if kind == _IP_ADDRESS and end - start == 4:
        return ".".join(map(str, octets[start:]))
    if kind in _ABSENT and start == end:
        return _ABSENT[kind]
    raise ValueError
