"""Who may ask: keys and their roles, the proof that a webhook is its sender's, and the Host header of a rebound name.

Pure: `gate` and the webhook ask these questions of a request. Nothing here imports Flask, which `app` loads late.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets as chance
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, Literal

from exabgp_bfd.core.model import Address, Secret
from exabgp_bfd.core.signing import (
    ID_HEADER,
    SCHEME,
    SIGNATURE_HEADER,
    STANDARD_HEADER,
    STANDARD_PREFIX,
    STANDARD_SCHEME,
    TIME_HEADER,
    WEBHOOK_ID,
    is_standard,
    mac,
    sign,
    sign_standard,
    standard_octets,
)

__all__ = ["sign", "sign_standard"]  # what others find here, though it is made elsewhere

Role = Literal["read", "operate", "admin"]
"""Each role may do what those before it may."""

Network = IPv4Network | IPv6Network

EPHEMERAL: Final = "admin (ephemeral key)"
"""The name of the key that is made at a start without `[[api.key]]`."""

_RANKS: Final[dict[Role, int]] = {"read": 1, "operate": 2, "admin": 3}
_KEY_BYTES: Final = 32

GRAFANA_HEADERS: Final = ("X-Grafana-Alerting-Signature", "X-Grafana-Alert-Signature")
"""The default as Grafana's documentation has it, and as its alerting library has."""

GRAFANA_TIME_HEADER: Final = "X-Grafana-Alerting-Timestamp"
"""What Grafana's contact point must be told to put its time in; it has no name of its own for it."""

TOLERANCE: Final = 300
"""Seconds that the time of a signature and ours may differ."""

_MOST_SIGNATURES: Final = 16
_HEX_DIGITS = 64
# Lower case only, as GitHub signs: one spelling a digest, so that a changed character is a changed signature.
_HEX = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"[0-9]{1,12}")
_HOST = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^:\[\]]*))(?::[0-9]{1,5})?")


class SignatureError(Exception):
    """A webhook's signature is missing, malformed or wrong; the text says which and never holds the right one."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the API, known by its hash only."""

    name: str
    """Who acts with it, as events and logs tell; several keys may share one while one replaces the other."""
    role: Role
    sha256: Secret
    """Lower-case hexadecimal, 64 digits, of the key's octets."""
    networks: tuple[Network, ...] = ()
    """From where it may be used; empty: from wherever the API may be."""

    def may(self, role: Role) -> bool:
        """Whether it opens what needs `role`."""
        return _RANKS[self.role] >= _RANKS[role]


@dataclass(frozen=True, slots=True)
class Sender:
    """Somebody who may report: by which secrets he is known, and what his reports do."""

    name: str
    """Who acts, as events tell; empty for the secrets of no named sender: the address acts."""
    secrets: tuple[Secret, ...]
    """Several while one replaces the other. Those that begin with `whsec_` sign Standard Webhooks, all others sign as
    GitHub and Grafana do."""
    effect: Literal["record", "probe", "observe"] = "probe"
    format: Literal["report", "alertmanager", "grafana"] | None = None
    """What his bodies look like; None: as the request says, and else a report."""
    auth: Literal["signature", "bearer"] = "signature"
    """`bearer` for who cannot sign (Alertmanager): his secret itself travels."""
    repeats: bool = False
    """Whether the same body, signed without a time, is a new report each time it comes."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Whose report it is, and what it is known by."""

    sender: Sender
    id: str | None = None
    """None: nothing tells one sending from another, and each counts."""
    time: int | None = None
    """When it was signed, in seconds since the epoch; None: the signature does not say."""
    secret: Secret | None = field(default=None, repr=False, compare=False)
    """The one that proved it."""


def new_key() -> tuple[str, Key]:
    """An admin key that never was before, and what is to be known of it: `WebSettings.ephemeral`."""
    text = random_key()
    return text, Key(EPHEMERAL, "admin", Secret(key_hash(text)))


def random_key() -> str:
    """A key that never was before: 256 bits of chance, as text for a header."""
    return chance.token_urlsafe(_KEY_BYTES)


def random_secret() -> str:
    """A secret of Standard Webhooks that never was before, of 256 bits."""
    return STANDARD_PREFIX + base64.b64encode(chance.token_bytes(_KEY_BYTES)).decode()


def key_hash(text: str) -> str:
    """What `[[api.key]] sha256` holds of a key."""
    return _digest(text.encode())


def find_key(keys: Iterable[Key], presented: bytes) -> Key | None:
    """The key whose octets were presented, or None; takes as long whichever it is."""
    digest = _digest(presented)
    found = None
    for key in keys:  # all of them, whichever matches: the time taken tells nothing
        if hmac.compare_digest(key.sha256.reveal(), digest):
            found = key
    return found


def _digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


# --- addresses ----------------------------------------------------------------------------------------------------


def address_of(text: str | None) -> Address | None:
    """A peer's address as it is on the wire, an IPv4 one in IPv6 clothes as IPv4; None where it is no address."""
    try:
        parsed = ip_address(text or "")
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def is_loopback(address: str | None) -> bool:
    """Whether a peer's address is one that only this machine has."""
    parsed = address_of(address)
    return parsed is not None and parsed.is_loopback


def is_within(address: str | None, networks: Iterable[Network]) -> bool:
    """Whether a peer's address lies in one of `networks`."""
    parsed = address_of(address)
    return parsed is not None and any(parsed in network for network in networks)


def client_behind(peer: str, forwarded: str, proxies: Iterable[Network]) -> str:
    """Who asks a trusted proxy, by its X-Forwarded-For: the last address that is no trusted proxy itself.

    Only what our own proxies wrote is believed: each adds who asked it at the end, and what stands further to the
    left anybody may have invented. Raises ValueError where what had to be believed is no address.
    """
    trusted = tuple(proxies)
    client = peer
    for hop in reversed(forwarded.split(",")):
        if not is_within(client, trusted):
            break
        address = address_of(hop.strip())
        if address is None:
            raise ValueError("the last entry of X-Forwarded-For is no IP address")
        client = str(address)
    return client


# --- webhooks -----------------------------------------------------------------------------------------------------


def prove(senders: Iterable[Sender], headers: Iterable[tuple[str, str]], body: bytes) -> Proof:
    """Whose report it is, by a request's headers; raises SignatureError unless one of `senders` proves it to be his.

    Whether the time is near enough to ours, and whether the report was taken
    before, is not looked at.
    """
    sent = {name.lower(): value for name, value in headers}
    if any(name in sent for name in (ID_HEADER, TIME_HEADER, STANDARD_HEADER)):
        return _standard(senders, sent, body)
    for name in GRAFANA_HEADERS:
        if name.lower() in sent:
            return _grafana(senders, name, sent, body)
    if SIGNATURE_HEADER.lower() in sent:
        digits = _hexadecimal(SIGNATURE_HEADER, sent[SIGNATURE_HEADER.lower()], SCHEME)
        found, secret = _signer(senders, digits, body)
        return Proof(found, None if found.repeats else f"sha256:{digits}", None, secret)
    scheme, _, token = sent.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return Proof(_bearer(senders, token.strip()))
    raise SignatureError(
        f"{SIGNATURE_HEADER} is missing; send {SCHEME}<hex of HMAC-SHA256 over the raw body>, "
        f"or {ID_HEADER}, {TIME_HEADER} and {STANDARD_HEADER} of Standard Webhooks"
    )


def verify(secrets: Iterable[Secret], body: bytes, header: str | None) -> None:
    """Raises SignatureError unless GitHub's signature header signs `body` with one of `secrets`."""
    prove([Sender("", tuple(secrets))], [(SIGNATURE_HEADER, header)] if header is not None else [], body)


def _standard(senders: Iterable[Sender], sent: Mapping[str, str], body: bytes) -> Proof:
    name, time, signatures = (sent.get(header, "") for header in (ID_HEADER, TIME_HEADER, STANDARD_HEADER))
    for header, value in ((ID_HEADER, name), (TIME_HEADER, time), (STANDARD_HEADER, signatures)):
        if not value:
            raise SignatureError(f"{header} is missing; Standard Webhooks have all three: id, timestamp and signature")
    if not WEBHOOK_ID.fullmatch(name):
        raise SignatureError(f"{ID_HEADER} must be 1 to 255 printable characters of ASCII, none of them a full stop")
    if not _TIME.fullmatch(time):
        raise SignatureError(f"{TIME_HEADER} must be seconds since the epoch, as digits")
    presented = [value for value in signatures.split(" ") if value.startswith(STANDARD_SCHEME)]
    if not presented:
        raise SignatureError(f"{STANDARD_HEADER} has no signature that begins with {STANDARD_SCHEME!r}")
    if len(presented) > _MOST_SIGNATURES:
        raise SignatureError(f"{STANDARD_HEADER} has more than {_MOST_SIGNATURES} signatures")
    signed = b".".join((name.encode(), time.encode(), body))
    found = None
    for sender, secret, key in _keys(senders, standard=True):  # all of them, and each with all that was presented
        right = _digest(STANDARD_SCHEME.encode() + base64.b64encode(mac(key, signed)))
        for value in presented:
            if hmac.compare_digest(right, _digest(_octets(value))):
                found = sender, secret
    if found is None:
        raise SignatureError(_WRONG)
    return Proof(found[0], f"id:{name}", int(time), found[1])


def _grafana(senders: Iterable[Sender], name: str, sent: Mapping[str, str], body: bytes) -> Proof:
    digits = _hexadecimal(name, sent[name.lower()], "")
    time = sent.get(GRAFANA_TIME_HEADER.lower())
    if time is None:
        found, secret = _signer(senders, digits, body)
        return Proof(found, None if found.repeats else f"sha256:{digits}", None, secret)
    if not _TIME.fullmatch(time):
        raise SignatureError(f"{GRAFANA_TIME_HEADER} must be seconds since the epoch, as digits")
    found, secret = _signer(senders, digits, time.encode() + b":" + body)
    return Proof(found, f"sha256:{digits}", int(time), secret)


def _hexadecimal(name: str, header: str, scheme: str) -> str:
    """The digits of a signature that is written in hexadecimal; raises SignatureError."""
    if not header:
        raise SignatureError(f"{name} is missing; send {scheme}<hex of HMAC-SHA256 over the raw body>")
    if not header.startswith(scheme):
        raise SignatureError(f"{name} does not begin with {scheme!r}")
    digits = header.removeprefix(scheme)
    if len(digits) != _HEX_DIGITS:
        raise SignatureError(f"{name} needs {_HEX_DIGITS} hexadecimal digits after {scheme!r}")
    if not _HEX.fullmatch(digits):
        raise SignatureError(f"{name} has a character that is no lower-case hexadecimal digit")
    return digits


def _signer(senders: Iterable[Sender], digits: str, signed: bytes) -> tuple[Sender, Secret]:
    found = None
    for sender, secret, key in _keys(
        senders, standard=False
    ):  # all of them, whichever matches: the time taken tells nothing
        if hmac.compare_digest(mac(key, signed).hex(), digits):
            found = sender, secret
    if found is None:
        raise SignatureError(_WRONG)
    return found


def _bearer(senders: Iterable[Sender], token: str) -> Sender:
    presented = _digest(_octets(token))
    found = None
    for sender in senders:
        for secret in sender.secrets if sender.auth == "bearer" else ():
            # Of digests, which are all as long: the time of a comparison tells how long its two sides are.
            if hmac.compare_digest(_digest(secret.reveal().encode()), presented):
                found = sender
    if found is None:
        raise SignatureError('the bearer is no secret of a sender with auth = "bearer"')
    return found


def _keys(senders: Iterable[Sender], *, standard: bool) -> Iterator[tuple[Sender, Secret, bytes]]:
    for sender in senders:
        for secret in sender.secrets if sender.auth == "signature" else ():
            if is_standard(secret) is standard:
                yield sender, secret, standard_octets(secret) if standard else secret.reveal().encode()


_WRONG: Final = "the signature does not fit the body: another secret, or the body was changed on its way"


def _octets(header: str) -> bytes:
    """A header's value as it was sent: it arrives as Latin-1 (PEP 3333)."""
    return header.encode("latin-1", "backslashreplace")


def host_is_ours(header: str | None, configured: str) -> bool:
    """Whether a Host header is one that a client of ours sends: an address, localhost, or the configured name.

    A page that a browser loaded from a hostile name which was then rebound to our address sends that name.
    """
    if header is None:  # HTTP/1.0; no browser leaves it out
        return True
    match = _HOST.fullmatch(header)
    if match is None:
        return False
    host = (match["bracketed"] if match["bracketed"] is not None else match["plain"]).lower().removesuffix(".")
    if host in {"localhost", configured.lower()}:
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
