"""SNMPv3's message and its user-based security model (RFC 3412, 3414, 3826, 7860): messages sealed and opened.

Keys and ciphers are pysnmp's and cryptography's. pysnmp's engine is not used: for 300 s it does not see that an engine
was swapped, it has one key for a user's name whatever the device, and it does not compare digests in constant time.
Everything here is pure: octets in, octets out, and the caller brings the time. Whatever a datagram holds, nothing but
`UsmError` comes out of it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property, lru_cache
from itertools import count
from typing import Any, Final, NamedTuple

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from pyasn1.codec.ber import decoder  # type: ignore[import-untyped]
from pyasn1.type import univ  # type: ignore[import-untyped]
from pysnmp.proto import rfc1905  # type: ignore[import-untyped]

# The package comes before its modules: pysnmp's own imports go in a circle otherwise (measured, 7.1.30).
from pysnmp.proto.secmod import rfc3414  # type: ignore[import-untyped]  # noqa: F401
from pysnmp.proto.secmod.eso.priv import aes192, aes256, des3  # type: ignore[import-untyped]
from pysnmp.proto.secmod.rfc3414.auth import hmacmd5, hmacsha  # type: ignore[import-untyped]
from pysnmp.proto.secmod.rfc3414.priv import des  # type: ignore[import-untyped]
from pysnmp.proto.secmod.rfc3826.priv import aes  # type: ignore[import-untyped]
from pysnmp.proto.secmod.rfc7860.auth.hmacsha2 import HmacSha2  # type: ignore[import-untyped]

from exabgp_bfd.core.credentials import AUTH_PROTOCOLS, PRIV_PROTOCOLS, User
from exabgp_bfd.core.model import Secret, SourceError
from exabgp_bfd.sources.snmp.octets import (
    INTEGER,
    OCTETS,
    SEQUENCE,
    count_at,
    element,
    number_octets,
    oid_octets,
    place_of,
    sized,
    unsigned,
)

_Foreign = Any
"""An object of a library that carries no type information."""

TIME_WINDOW: Final = 150
"""Seconds by which a message's time may differ from its engine's (RFC 3414 section 2.2.3)."""

MAX_BOOTS: Final = 2**31 - 1
"""An engine that has counted so far takes no authenticated message any more (RFC 3414 section 2.2.3)."""

MAX_SIZE: Final = 65_507
"""Octets of a message that we take: the largest UDP datagram over IPv4."""

_VERSION_3: Final = 3
_USM: Final = 3
_REPORTABLE: Final = 4
_REPORT: Final = 0xA8
_PDUS: Final = frozenset({0xA0, 0xA1, 0xA2, 0xA3, 0xA5, 0xA6, 0xA7, 0xA8})
"""The kinds of a PDU (RFC 3416 section 3)."""


_CONFIRMED: Final = frozenset({0xA0, 0xA1, 0xA3, 0xA5, 0xA6})
"""Those that are answered."""


class Level(IntEnum):
    """How a message is protected: its bits in msgFlags (RFC 3412 section 6.4)."""

    NO_AUTH = 0
    AUTH = 1
    PRIV = 3

    @property
    def title(self) -> str:
        """The level as RFC 3411 calls it."""
        return {0: "noAuthNoPriv", 1: "authNoPriv", 3: "authPriv"}[self]


class Fault(StrEnum):
    """What is wrong with a message, and with which counter an engine says so."""

    MALFORMED = "malformed"
    UNSUPPORTED_LEVEL = "unsupported_level"
    """A protection that the user has no key for."""
    TOO_WEAK = "too_weak"
    """Less protection than the user is set up with: somebody in the middle could have taken it off."""
    NOT_IN_TIME = "not_in_time"
    UNKNOWN_USER = "unknown_user"
    UNKNOWN_ENGINE = "unknown_engine"
    WRONG_DIGEST = "wrong_digest"
    UNDECRYPTABLE = "undecryptable"
    UNKNOWN_CONTEXT = "unknown_context"
    """Only told by others, in a report (RFC 3413 section 3.2)."""


REPORTS: Final[Mapping[str, Fault]] = {
    "1.3.6.1.6.3.15.1.1.1.0": Fault.UNSUPPORTED_LEVEL,
    "1.3.6.1.6.3.15.1.1.2.0": Fault.NOT_IN_TIME,
    "1.3.6.1.6.3.15.1.1.3.0": Fault.UNKNOWN_USER,
    "1.3.6.1.6.3.15.1.1.4.0": Fault.UNKNOWN_ENGINE,
    "1.3.6.1.6.3.15.1.1.5.0": Fault.WRONG_DIGEST,
    "1.3.6.1.6.3.15.1.1.6.0": Fault.UNDECRYPTABLE,
    "1.3.6.1.6.3.12.1.4.0": Fault.UNKNOWN_CONTEXT,
    "1.3.6.1.6.3.12.1.5.0": Fault.UNKNOWN_CONTEXT,
}
"""The counters that a report names: usmStats (RFC 3414 section 5) and those of contexts (RFC 3413 section 4)."""

_COUNTERS: Final[Mapping[Fault, str]] = {
    fault: oid for oid, fault in REPORTS.items() if fault is not Fault.UNKNOWN_CONTEXT
}


class UsmError(SourceError):
    """A message that cannot be believed: `kind` says why, `header` what it said of itself, if that could be read."""

    def __init__(self, kind: Fault, text: str, header: Header | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.header = header


class _Digest(NamedTuple):
    name: str
    """In hashlib."""
    size: int
    """Octets that are sent of it."""
    service: tuple[int, ...]
    """As pysnmp's key localization wants it named."""


_AUTH: Final[Mapping[str, _Digest]] = {
    "md5": _Digest("md5", 12, hmacmd5.HmacMd5.SERVICE_ID),
    "sha1": _Digest("sha1", 12, hmacsha.HmacSha.SERVICE_ID),
    "sha224": _Digest("sha224", 16, HmacSha2.SHA224_SERVICE_ID),
    "sha256": _Digest("sha256", 24, HmacSha2.SHA256_SERVICE_ID),
    "sha384": _Digest("sha384", 32, HmacSha2.SAH384_SERVICE_ID),
    "sha512": _Digest("sha512", 48, HmacSha2.SHA512_SERVICE_ID),
}


class _Salts:
    """64 bits that no two messages share (RFC 3826 section 3.1.1.1): counted up from a random number."""

    def __init__(self) -> None:
        self._next = count(secrets.randbits(64))

    def __call__(self) -> bytes:
        return (next(self._next) & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")


_salt = _Salts()

_PRIV: Final[Mapping[str, _Foreign]] = {
    "des": des.Des(),
    "3des": des3.Des3(),
    "aes128": aes.Aes(),
    "aes192": aes192.AesBlumenthal192(),
    "aes256": aes256.AesBlumenthal256(),
    "aes192-cisco": aes192.Aes192(),  # the plain names are Reeder's stretching in pysnmp
    "aes256-cisco": aes256.Aes256(),
}

MIN_PASS_PHRASE: Final = 8
"""Octets (RFC 3414 section 11.2); net-snmp and Cisco refuse less."""


def unfit(user: User) -> str | None:
    """Why a user's settings cannot be met, in a sentence for the operator; None when they can."""
    wrong: str | None = None
    if not 1 <= len(user.name.encode()) <= 32:
        wrong = f"the name of SNMPv3 user {user.name!r} has not 1 to 32 octets"
    for what, protocol, key, known in (
        ("auth", user.auth_protocol, user.auth_key, AUTH_PROTOCOLS),
        ("priv", user.priv_protocol, user.priv_key, PRIV_PROTOCOLS),
    ):
        if protocol is not None and protocol not in known:
            wrong = f"{what}_protocol {protocol!r} of SNMPv3 user {user.name!r} is unknown: use {', '.join(known)}"
        elif (protocol is None) != (key is None):
            wrong = f"SNMPv3 user {user.name!r} needs both {what}_protocol and {what}_key, or neither"
        elif key is not None and len(key.reveal().encode()) < MIN_PASS_PHRASE:
            wrong = f"{what}_key of SNMPv3 user {user.name!r} is shorter than {MIN_PASS_PHRASE} octets"
    if wrong is None and user.priv_protocol is not None:
        if user.auth_protocol is None:
            wrong = f"SNMPv3 user {user.name!r} has privacy without authentication: set auth_protocol and auth_key"
        elif des.PysnmpCryptoError or des3.PysnmpCryptoError:  # pysnmp does not say so before it is asked to encrypt
            wrong = f"privacy of SNMPv3 user {user.name!r} needs a newer cryptography: pip install -U cryptography"
    return wrong


def level_of(user: User) -> Level:
    """The protection that a user is set up with: never less is sent or believed."""
    if user.auth_protocol is None:
        return Level.NO_AUTH
    return Level.AUTH if user.priv_protocol is None else Level.PRIV


# --- keys -------------------------------------------------------------------------------------------------------------


class Keys:
    """The keys of users, at engines, that were worked out; bounded, and gone with this object.

    A key at an engine is worked out from octets of a datagram, so a forger can fill this: what he pushes out costs some
    microseconds to have again. The cipher's keys are worked out only for messages whose digest was right.
    """

    def __init__(self, users: int = 1024, engines: int = 4096) -> None:
        self.master = lru_cache(maxsize=users)(_master_key)
        """(hash, pass phrase) -> key that is not yet any engine's (RFC 3414 A.2); some 1 ms of work."""
        self.auth = lru_cache(maxsize=engines)(self._auth)
        """(user, engine id) -> keyed digest; to be copied, which saves half of each digest's work."""
        self.priv = lru_cache(maxsize=engines)(self._priv)
        """(user, engine id) -> the cipher's key; some ms of work where it is stretched as Cisco does."""

    def signed(self, user: User, engine_id: bytes, message: bytes) -> bytes:
        """The digest of a message in which the digest's own place is zeros (RFC 3414 section 6.3.1)."""
        assert user.auth_protocol is not None  # noqa: S101 - the caller has looked at the level
        keyed = self.auth(user, engine_id).copy()
        keyed.update(message)
        return keyed.digest()[: _AUTH[user.auth_protocol].size]

    def forget(self) -> None:
        """Drops all of them."""
        for cache in (self.master, self.auth, self.priv):
            cache.cache_clear()

    def _auth(self, user: User, engine_id: bytes) -> hmac.HMAC:
        assert user.auth_protocol is not None  # noqa: S101 - the caller has looked at the level
        assert user.auth_key is not None  # noqa: S101
        name = _AUTH[user.auth_protocol].name
        master = self.master(name, user.auth_key)
        key = hashlib.new(name, master + engine_id + master, usedforsecurity=False).digest()
        return hmac.new(key, digestmod=name)

    def _priv(self, user: User, engine_id: bytes) -> _Foreign:
        assert user.auth_protocol is not None  # noqa: S101 - the caller has looked at the level
        assert user.priv_protocol is not None  # noqa: S101
        assert user.priv_key is not None  # noqa: S101
        digest = _AUTH[user.auth_protocol]
        master = univ.OctetString(self.master(digest.name, user.priv_key))
        return _PRIV[user.priv_protocol].localize_key(digest.service, master, univ.OctetString(engine_id))


def _master_key(digest: str, pass_phrase: Secret) -> bytes:
    phrase = pass_phrase.reveal().encode()
    stretched = phrase * (1_048_576 // len(phrase) + 1)
    return hashlib.new(digest, stretched[:1_048_576], usedforsecurity=False).digest()


SHARED: Final = Keys()
"""Of the devices and senders of the configuration; who must not leave keys behind brings his own `Keys`."""


# --- engines ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Security:
    """What an engine has said of itself in an authenticated message."""

    engine_id: bytes
    boots: int
    time: int
    """Seconds since its last boot."""
    received_at: float
    """The loop's time when it said so."""

    def at(self, now: float) -> Security:
        """The engine's clock as it must be by now."""
        passed = max(0, int(now - self.received_at))
        return Security(self.engine_id, self.boots, min(self.time + passed, MAX_BOOTS), now)


class Clocks:
    """The clocks of engines that are authoritative for what they send: traps are judged by them (RFC 3414 3.2.7 b)."""

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._known: OrderedDict[bytes, Security] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, engine_id: bytes) -> Security | None:
        """What is known of an engine."""
        return self._known.get(engine_id)

    def learn(self, told: Security) -> None:
        """Takes the clock of an engine from an answer to a question of ours: that cannot be a recording."""
        self._known[told.engine_id] = told
        self._known.move_to_end(told.engine_id)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)

    def check(self, told: Security) -> bool:
        """Whether an authenticated message is fresh; its clock is remembered when it is ahead of what was known."""
        known = self._known.get(told.engine_id)
        if known is None or told.boots > known.boots or (told.boots == known.boots and told.time > known.time):
            self.learn(told)
        if told.boots == MAX_BOOTS or known is None:
            return told.boots != MAX_BOOTS
        return told.boots > known.boots or (
            told.boots == known.boots and told.time >= known.at(told.received_at).time - TIME_WINDOW
        )


@dataclass(slots=True)
class Authority:
    """Ourselves as the engine that is authoritative for informs sent to us; times are the loop's, in seconds."""

    engine_id: bytes
    boots: int
    """One more at each start, kept by the caller; so an inform recorded before a restart is not taken again."""
    started: float
    counters: dict[Fault, int] = field(default_factory=dict)
    """Of what was reported."""
    keys: Keys = SHARED

    def security(self, now: float) -> Security:
        """Our own clock."""
        return Security(self.engine_id, self.boots, min(max(0, int(now - self.started)), MAX_BOOTS), now)

    def in_time(self, boots: int, time: int, now: float) -> bool:
        """RFC 3414 section 3.2.7 a."""
        ours = self.security(now)
        return boots == ours.boots != MAX_BOOTS and abs(time - ours.time) <= TIME_WINDOW

    def report(self, error: UsmError, users: Mapping[str, User], now: float) -> bytes | None:
        """The report by which a sender learns our engine id, our time, or what is wrong; None if none is due."""
        header = error.header
        counter = _COUNTERS.get(Fault.UNSUPPORTED_LEVEL if error.kind is Fault.TOO_WEAK else error.kind)
        if header is None or counter is None or not header.reportable:
            return None
        self.counters[error.kind] = counted = self.counters.get(error.kind, 0) + 1
        value = b"\x41" + sized(unsigned(counted & 0xFFFFFFFF))
        varbind = element(SEQUENCE, oid_octets(counter) + value)
        body = number_octets(header.request_id) + number_octets(0) + number_octets(0) + element(SEQUENCE, varbind)
        # That a message is out of time is told with a digest, or nobody may set his clock by it (RFC 3414 3.2.7 a).
        user = users.get(header.user) if error.kind is Fault.NOT_IN_TIME else None
        return seal(
            element(_REPORT, body),
            user or User(header.user if error.kind is not Fault.UNKNOWN_ENGINE else ""),
            self.security(now),
            number=header.number,
            level=Level.NO_AUTH if user is None else Level.AUTH,
            keys=self.keys,
        )


def engine_id_of(text: str) -> bytes:
    """An engine id that stays the same for a host, made of text that is its own (RFC 3411, SnmpEngineID)."""
    enterprise = (0x80000000 | 20408).to_bytes(4, "big")  # as pysnmp's engine, whose messages these are
    octets = text.encode()
    if 1 <= len(octets) <= 27:
        return enterprise + b"\x04" + octets
    return enterprise + b"\x05" + hashlib.sha256(octets).digest()[:16]


# --- messages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Header:
    """What a message says of itself outside of its encryption; nothing of it is proved."""

    number: int
    """msgID."""
    flags: int
    engine_id: bytes
    boots: int
    time: int
    user: str
    digest: tuple[int, int]
    """Where the digest is in the datagram."""
    salt: bytes
    data: tuple[int, int]
    """Where the scoped PDU is: its contents when encrypted, the whole element when plain."""
    request_id: int = 0
    """Of a plain PDU; 0 if that cannot be read."""

    @property
    def level(self) -> Level:
        """The protection that it claims."""
        return Level(self.flags & 3)

    @property
    def reportable(self) -> bool:
        """Whether the sender wants to hear of troubles."""
        return bool(self.flags & _REPORTABLE)


@dataclass(frozen=True)
class Unsealed:
    """A message that was what its level promises."""

    engine_id: bytes
    """Of the authoritative engine."""
    boots: int
    time: int
    user: str
    level: Level
    context_engine: bytes
    context: str
    number: int
    """msgID."""
    reportable: bool
    octets: bytes = field(repr=False)
    """The PDU as it came, BER."""

    @property
    def kind(self) -> int:
        """The PDU's tag: 0xA2 response, 0xA6 inform, 0xA7 trap, 0xA8 report."""
        return self.octets[0]

    @cached_property
    def pdu(self) -> _Foreign:
        """The PDU as pysnmp's `api.PROTOCOL_MODULES[SNMP_VERSION_2C].apiPDU` reads it; UsmError if it is none."""
        return decoded(self.octets)


def decoded(octets: bytes) -> _Foreign:
    """A PDU of versions 2c and 3 from its octets; UsmError(malformed)."""
    try:
        choice, rest = decoder.decode(octets, asn1Spec=rfc1905.PDUs())
        pdu = choice.getComponent()
        whole = not rest and pdu.isValue is not False
    except Exception as error:  # whatever a foreign decoder makes of foreign octets, they are garbage
        raise UsmError(Fault.MALFORMED, "a PDU that cannot be read") from error
    if not whole:
        raise UsmError(Fault.MALFORMED, "a PDU with something behind it")
    return pdu


def seal(
    pdu: bytes,
    user: User,
    engine: Security,
    *,
    number: int,
    context: str = "",
    context_engine: bytes | None = None,
    level: Level | None = None,
    keys: Keys = SHARED,
) -> bytes:
    """A message of a user, protected as he is set up (or as `level`); `engine` is the authoritative one's clock now.

    What asks for something wants to hear what is wrong with it, so the reportable flag goes by the kind of PDU.
    """
    level = level_of(user) if level is None else level
    scoped = element(
        SEQUENCE,
        element(OCTETS, engine.engine_id if context_engine is None else context_engine)
        + element(OCTETS, context.encode())
        + pdu,
    )
    salt = b""
    if level is Level.PRIV:
        assert user.priv_protocol is not None  # noqa: S101 - that is what the level says
        encrypted, salt = _encrypted(user.priv_protocol, keys.priv(user, engine.engine_id), engine, scoped)
        scoped = element(OCTETS, encrypted)
    size = 0 if level is Level.NO_AUTH or user.auth_protocol is None else _AUTH[user.auth_protocol].size
    flags = level | (_REPORTABLE if pdu[0] in _CONFIRMED else 0)
    globals_ = number_octets(number) + number_octets(MAX_SIZE) + element(OCTETS, bytes([flags])) + number_octets(_USM)
    before = (
        element(OCTETS, engine.engine_id)
        + number_octets(engine.boots)
        + number_octets(engine.time)
        + element(OCTETS, user.name.encode())
    )
    after = element(OCTETS, salt)
    security = element(SEQUENCE, before + element(OCTETS, bytes(size)) + after)
    tail = element(OCTETS, security) + scoped
    message = element(SEQUENCE, number_octets(_VERSION_3) + element(SEQUENCE, globals_) + tail)
    if not size:
        return message
    end = len(message) - len(scoped) - len(after)
    return message[: end - size] + keys.signed(user, engine.engine_id, message) + message[end:]


def header_of(datagram: bytes) -> Header:
    """What a version 3 message says of itself, nothing of it proved; UsmError(malformed)."""
    try:
        return _header(datagram)
    except (IndexError, ValueError) as error:
        raise UsmError(Fault.MALFORMED, "no message of SNMP version 3 with user-based security") from error


def verified(datagram: bytes, header: Header, user: User, keys: Keys = SHARED) -> None:
    """Proves a message to be the user's at its engine: UsmError(unsupported_level, too_weak or wrong_digest)."""
    level, wanted = header.level, level_of(user)
    if level > wanted:
        raise UsmError(Fault.UNSUPPORTED_LEVEL, f"user {user.name!r} has no keys for {level.title}", header)
    if level < wanted:
        raise UsmError(Fault.TOO_WEAK, f"a message of user {user.name!r} with {level.title} only", header)
    if level is not Level.NO_AUTH:
        proved(datagram, header, user, keys)


def unseal(
    datagram: bytes,
    users: Mapping[str, User],
    now: float,
    *,
    clocks: Clocks | None = None,
    authority: Authority | None = None,
    keys: Keys = SHARED,
) -> Unsealed:
    """A message opened: its user known, its digest right, its time right, its PDU readable. UsmError otherwise.

    `clocks` judges the time of senders that are authoritative themselves (traps); without it their time is not judged,
    as in answers to random numbers of ours. `authority` is us as the engine to which informs are sent: what wants a
    report then must be for us.
    """
    header = header_of(datagram)
    ours = authority is not None and header.engine_id == authority.engine_id
    if not header.engine_id or (authority is not None and header.reportable and not ours):
        raise UsmError(Fault.UNKNOWN_ENGINE, "a message for another engine", header)
    user = users.get(header.user)
    if user is None:
        raise UsmError(Fault.UNKNOWN_USER, f"a message of user {header.user!r}, who is unknown", header)
    verified(datagram, header, user, keys)
    if header.level is not Level.NO_AUTH:
        told = Security(header.engine_id, header.boots, header.time, now)
        if ours and authority is not None:
            fresh = authority.in_time(header.boots, header.time, now)
        else:
            fresh = clocks is None or clocks.check(told)
        if not fresh:
            raise UsmError(Fault.NOT_IN_TIME, f"a message of user {user.name!r} that is not of this time", header)
    return opened(datagram, header, user, keys)


def opened(datagram: bytes, header: Header, user: User, keys: Keys = SHARED) -> Unsealed:
    """The inside of a message whose digest has been looked at, decrypted if need be; UsmError."""
    start, end = header.data
    scoped, kind = datagram[start:end], Fault.MALFORMED
    if header.level is Level.PRIV:
        scoped, kind = _decrypted(scoped, header, user, keys), Fault.UNDECRYPTABLE
    try:
        start, end = place_of(scoped, 0, len(scoped), SEQUENCE)
        engine = place_of(scoped, start, end, OCTETS)
        name = place_of(scoped, engine[1], end, OCTETS)
        pdu = place_of(scoped, name[1], end, scoped[name[1]])
        context: str | None = scoped[slice(*name)].decode()
        if scoped[name[1]] not in _PDUS or pdu[1] != end:
            context = None
    except (IndexError, ValueError):
        context = None
    if context is None:  # a wrong key decrypts to noise
        raise UsmError(kind, f"a message of user {user.name!r} without a readable PDU", header)
    return Unsealed(
        header.engine_id,
        header.boots,
        header.time,
        header.user,
        header.level,
        scoped[slice(*engine)],
        context,
        header.number,
        header.reportable,
        scoped[name[1] : end],
    )


def answer(asked: Unsealed, pdu: bytes, users: Mapping[str, User], authority: Authority, now: float) -> bytes:
    """The message that carries the response to an inform: as protected as the inform was."""
    return seal(
        pdu,
        users[asked.user],
        authority.security(now),
        number=asked.number,
        context=asked.context,
        context_engine=asked.context_engine,
        level=asked.level,
        keys=authority.keys,
    )


def proved(datagram: bytes, header: Header, user: User, keys: Keys = SHARED) -> None:
    """Looks at the digest that a message claims to have: UsmError(wrong_digest). It may be weaker than the user is."""
    if header.level is Level.NO_AUTH:
        return
    if user.auth_protocol is None:
        raise UsmError(Fault.UNSUPPORTED_LEVEL, f"user {user.name!r} has no keys for {header.level.title}", header)
    start, end = header.digest
    if end - start == _AUTH[user.auth_protocol].size:
        blank = datagram[:start] + bytes(end - start) + datagram[end:]
        if hmac.compare_digest(keys.signed(user, header.engine_id, blank), datagram[start:end]):
            return
    raise UsmError(Fault.WRONG_DIGEST, f"a message of user {user.name!r} with a wrong digest", header)


def _decrypted(octets: bytes, header: Header, user: User, keys: Keys) -> bytes:
    if user.priv_protocol is None:
        raise UsmError(Fault.UNSUPPORTED_LEVEL, f"user {user.name!r} has no key for {header.level.title}", header)
    key = keys.priv(user, header.engine_id)
    try:
        if user.priv_protocol.startswith("aes"):
            cipher = Cipher(AES(key.asOctets()), CFB(_vector(header.boots, header.time, header.salt))).decryptor()
            return cipher.update(octets) + cipher.finalize()
        place = (header.boots, header.time, univ.OctetString(header.salt))
        plain: bytes = _PRIV[user.priv_protocol].decrypt_data(key, place, univ.OctetString(octets))
    except Exception as error:  # pysnmp and cryptography raise what they like for salts and lengths that are wrong
        raise UsmError(
            Fault.UNDECRYPTABLE, f"a message of user {user.name!r} that cannot be decrypted", header
        ) from error
    return plain


def _encrypted(protocol: str, key: _Foreign, engine: Security, octets: bytes) -> tuple[bytes, bytes]:
    """The octets encrypted, and the salt that goes with them.

    pysnmp's AES makes its vector octet by octet, four times the work of the cipher itself; its DES is seldom asked for.
    """
    if protocol.startswith("aes"):
        salt = _salt()
        cipher = Cipher(AES(key.asOctets()), CFB(_vector(engine.boots, engine.time, salt))).encryptor()
        return cipher.update(octets) + cipher.finalize(), salt
    encrypted, salted = _PRIV[protocol].encrypt_data(key, (engine.boots, engine.time, None), octets)
    return encrypted.asOctets(), salted.asOctets()


def _vector(boots: int, time: int, salt: bytes) -> bytes:
    """RFC 3826 section 3.1.2.1; the cipher refuses the wrong length that it has with a salt that is none."""
    return boots.to_bytes(4, "big") + time.to_bytes(4, "big") + salt


# --- the header -------------------------------------------------------------------------------------------------------


def _header(datagram: bytes) -> Header:
    start, end = place_of(datagram, 0, len(datagram), SEQUENCE)
    if end != len(datagram):
        raise ValueError
    version, start = count_at(datagram, start, end)
    place, rest = place_of(datagram, start, end, SEQUENCE)
    number, place = count_at(datagram, place, rest)
    _, place = count_at(datagram, place, rest)  # msgMaxSize: our answers are small
    flags = place_of(datagram, place, rest, OCTETS)
    model, place = count_at(datagram, flags[1], rest)
    if version != _VERSION_3 or model != _USM or place != rest or flags[1] - flags[0] != 1:
        raise ValueError
    outer = place_of(datagram, rest, end, OCTETS)
    place, rest = place_of(datagram, outer[0], outer[1], SEQUENCE)
    engine = place_of(datagram, place, rest, OCTETS)
    boots, place = count_at(datagram, engine[1], rest)
    time, place = count_at(datagram, place, rest)
    user = place_of(datagram, place, rest, OCTETS)
    digest = place_of(datagram, user[1], rest, OCTETS)
    salt = place_of(datagram, digest[1], rest, OCTETS)
    bits = datagram[flags[0]]
    encrypted = bits & 3 == Level.PRIV
    data = place_of(datagram, outer[1], end, OCTETS if encrypted else SEQUENCE)
    if rest != outer[1] or salt[1] != rest or data[1] != end or bits & 3 == 2:
        raise ValueError
    if engine[1] - engine[0] > 32 or user[1] - user[0] > 32:
        raise ValueError
    return Header(
        number,
        bits,
        datagram[slice(*engine)],
        boots,
        time,
        datagram[slice(*user)].decode(),
        digest,
        datagram[slice(*salt)],
        data if encrypted else (outer[1], end),
        0 if encrypted else _request_id(datagram, *data),
    )


def _request_id(datagram: bytes, place: int, end: int) -> int:
    """The request-id of a plain scoped PDU; 0 if there is none to be read."""
    try:
        for _ in range(2):
            place = place_of(datagram, place, end, OCTETS)[1]
        place, end = place_of(datagram, place, end, datagram[place])
        start, end = place_of(datagram, place, end, INTEGER)
    except (IndexError, ValueError):
        return 0
    return int.from_bytes(datagram[start:end], "big", signed=True) if end - start <= 4 else 0
