"""Who may ask: keys and their roles, the signature of a webhook, and the Host header that tells a rebound name.

Pure: `gate` asks these questions of a request. Nothing here imports Flask, which `app` loads late.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets as chance
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final, Literal

from exabgp_bfd.core.model import Secret

Role = Literal["read", "operate", "admin"]
"""Each role may do what those before it may."""

EPHEMERAL: Final = "admin (ephemeral key)"
"""The name of the key that is made at a start without `[[api.key]]`."""

_RANKS: Final[dict[Role, int]] = {"read": 1, "operate": 2, "admin": 3}
_KEY_BYTES: Final = 32

SIGNATURE_HEADER = "X-Hub-Signature-256"

_SCHEME = "sha256="
_HEX_DIGITS = 64
# Lower case only, as GitHub signs: one spelling a digest, so that a changed character is a changed signature.
_HEX = re.compile(r"[0-9a-f]{64}")
_HOST = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^:\[\]]*))(?::[0-9]{1,5})?")


class SignatureError(Exception):
    """A webhook's signature is missing, malformed or wrong; the text says which and never holds the right one."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the API, known by its hash only."""

    name: str
    """Who acts with it, as events and logs tell."""
    role: Role
    sha256: Secret
    """Lower-case hexadecimal, 64 digits, of the key's octets."""

    def may(self, role: Role) -> bool:
        """Whether it opens what needs `role`."""
        return _RANKS[self.role] >= _RANKS[role]


def new_key() -> tuple[str, Key]:
    """An admin key that never was before, and what is to be known of it: `WebSettings.ephemeral`."""
    text = chance.token_urlsafe(_KEY_BYTES)
    return text, Key(EPHEMERAL, "admin", Secret(_digest(text.encode())))


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


def is_loopback(address: str | None) -> bool:
    """Whether a peer's address is one that only this machine has."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback


def sign(secret: Secret, body: bytes) -> str:
    """The value of the signature header: HMAC-SHA256 (RFC 2104) over the raw body."""
    return _SCHEME + hmac.digest(secret.reveal().encode(), body, "sha256").hex()


def verify(secrets: Iterable[Secret], body: bytes, header: str | None) -> None:
    """Raises SignatureError unless `header` signs `body` with one of `secrets`."""
    if not header:
        raise SignatureError(f"{SIGNATURE_HEADER} is missing; send {_SCHEME}<hex of HMAC-SHA256 over the raw body>")
    if not header.startswith(_SCHEME):
        raise SignatureError(f"{SIGNATURE_HEADER} does not begin with {_SCHEME!r}")
    digits = header.removeprefix(_SCHEME)
    if len(digits) != _HEX_DIGITS:
        raise SignatureError(f"{SIGNATURE_HEADER} needs {_HEX_DIGITS} hexadecimal digits after {_SCHEME!r}")
    if not _HEX.fullmatch(digits):
        raise SignatureError(f"{SIGNATURE_HEADER} has a character that is no lower-case hexadecimal digit")
    matched = False
    for secret in secrets:  # all of them, whichever matches: the time taken tells nothing
        matched |= hmac.compare_digest(sign(secret, body), header)
    if not matched:
        raise SignatureError("the signature does not fit the body: another secret, or the body was changed on its way")


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
