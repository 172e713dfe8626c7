"""Who may ask: the signature of a webhook, and the Host header that tells our clients from a rebound name.

Reading is open while the program listens on loopback only; roles and keys will stand here, one check a role.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from ipaddress import ip_address

from exabgp_bfd.core.model import Secret

SIGNATURE_HEADER = "X-Hub-Signature-256"

_SCHEME = "sha256="
_HEX_DIGITS = 64
# Lower case only, as GitHub signs: one spelling a digest, so that a changed character is a changed signature.
_HEX = re.compile(r"[0-9a-f]{64}")
_HOST = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^:\[\]]*))(?::[0-9]{1,5})?")


class SignatureError(Exception):
    """A webhook's signature is missing, malformed or wrong; the text says which and never holds the right one."""


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
