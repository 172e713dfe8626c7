"""As much of SNMPv3's user-based security (RFC 3414, RFC 7860, RFC 3826) as an agent and a sender of traps need here.

One user, SHA-256 and AES-128. Written for the bench alone, so that what is measured is not measured against itself.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.bench.snmp_octets import element, integer, number_of, opened

USER = "bench"
AUTH_KEY, PRIV_KEY = "bench auth key", "bench priv key"
_DIGEST = 24  # octets of usmHMAC192SHA256AuthProtocol
_SALTS = itertools.count(int.from_bytes(os.urandom(7), "big"))


def usable() -> bool:
    """Whether there is an AES to be had."""
    try:
        _library()
    except ImportError:
        return False
    return True


@cache
def _library() -> tuple[Any, Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where CFB moved is no business of a measure
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms  # noqa: PLC0415 - not everywhere

        try:
            from cryptography.hazmat.decrepit.ciphers.modes import CFB  # noqa: PLC0415
        except ImportError:
            from cryptography.hazmat.primitives.ciphers.modes import CFB  # noqa: PLC0415
    return Cipher, algorithms.AES, CFB


@cache
def _stretched(phrase: str) -> bytes:
    """RFC 3414 A.2.2: a megabyte of the pass phrase, hashed."""
    octets = phrase.encode()
    return hashlib.sha256((octets * (1_048_576 // len(octets) + 1))[:1_048_576]).digest()


@cache
def _localized(phrase: str, engine_id: bytes) -> bytes:
    key = _stretched(phrase)
    return hashlib.sha256(key + engine_id + key).digest()


@dataclass(frozen=True, slots=True)
class Message:
    """What a v3 message's outer parts say."""

    number: int
    """msgID."""
    flags: int
    engine_id: bytes
    boots: int
    time: int
    privacy: bytes
    """The salt."""
    place: int
    """Where msgData begins."""


def read(datagram: bytes) -> Message:
    """The outer parts of a message of version 3; nothing is verified."""
    place, _ = opened(datagram, 0)
    header, length = opened(datagram, place + 3)  # after msgVersion
    after_header = header + length
    at, size = opened(datagram, header)
    number = number_of(datagram[at : at + size])
    at, size = opened(datagram, at + size)  # msgMaxSize
    at, size = opened(datagram, at + size)
    flags = datagram[at]
    octets, length = opened(datagram, after_header)
    data = octets + length
    at, _ = opened(datagram, octets)  # UsmSecurityParameters
    fields = []
    for _ in range(6):
        at, size = opened(datagram, at)
        fields.append(datagram[at : at + size])
        at += size
    engine_id, boots, seconds, _user, _digest, privacy = fields
    return Message(number, flags, engine_id, number_of(boots), number_of(seconds), privacy, data)


def opened_scoped(datagram: bytes, message: Message) -> bytes:
    """The scopedPDU of a message, deciphered where it was ciphered."""
    if not message.flags & 2:
        _, length = opened(datagram, message.place)
        start, _ = opened(datagram, message.place)
        return datagram[message.place : start + length]
    start, length = opened(datagram, message.place)
    return _cipher(message.engine_id, message.boots, message.time, message.privacy, datagram[start : start + length])


def sealed(
    number: int,
    clock: tuple[bytes, int, int],
    scoped: bytes,
    *,
    private: bool = True,
    reportable: bool = False,
) -> bytes:
    """A whole authenticated message around a scopedPDU; `clock` is the authoritative engine's id, boots and time."""
    salt = (next(_SALTS) % 2**64).to_bytes(8, "big") if private else b""
    data = element(0x04, _cipher(*clock, salt, scoped, back=False)) if private else scoped
    first, (head, tail) = _parts(number, 1 | private << 1 | reportable << 2, clock, USER.encode(), salt)
    body = b"\x02\x01\x03" + first
    # The digest is of the message with zeros where it will be.
    parameters = element(0x04, element(0x30, head + element(0x04, bytes(_DIGEST)) + tail))
    whole = element(0x30, body + parameters + data)
    digest = hmac.digest(_localized(AUTH_KEY, clock[0]), whole, "sha256")[:_DIGEST]
    place = len(whole) - len(data) - len(tail) - _DIGEST
    return whole[:place] + digest + whole[place + _DIGEST :]


def plain(number: int, clock: tuple[bytes, int, int], scoped: bytes, *, reportable: bool = False) -> bytes:
    """A whole message without protection, as discovery is made of."""
    first, (head, tail) = _parts(number, reportable << 2, clock, b"", b"")
    parameters = element(0x04, element(0x30, head + element(0x04, b"") + tail))
    return element(0x30, b"\x02\x01\x03" + first + parameters + scoped)


def _parts(
    number: int, flags: int, clock: tuple[bytes, int, int], user: bytes, salt: bytes
) -> tuple[bytes, tuple[bytes, bytes]]:
    engine_id, boots, seconds = clock
    header = element(0x30, integer(number) + integer(65_507) + element(0x04, bytes([flags])) + integer(3))
    head = element(0x04, engine_id) + integer(boots) + integer(seconds) + element(0x04, user)
    return header, (head, element(0x04, salt))


def _cipher(engine_id: bytes, boots: int, seconds: int, salt: bytes, octets: bytes, *, back: bool = True) -> bytes:
    cipher, aes, cfb = _library()
    vector = boots.to_bytes(4, "big") + seconds.to_bytes(4, "big") + salt
    made = cipher(aes(_localized(PRIV_KEY, engine_id)[:16]), cfb(vector))
    turned: bytes = (made.decryptor() if back else made.encryptor()).update(octets)
    return turned
