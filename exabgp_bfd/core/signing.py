"""How a webhook is signed, going out and coming in: as GitHub signs, and by Standard Webhooks. Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from typing import Final

from exabgp_bfd.core.model import Secret

SIGNATURE_HEADER: Final = "X-Hub-Signature-256"
ID_HEADER: Final = "webhook-id"
TIME_HEADER: Final = "webhook-timestamp"
STANDARD_HEADER: Final = "webhook-signature"

SCHEME: Final = "sha256="
"""What GitHub's signature begins with; lower-case hexadecimal follows."""

STANDARD_SCHEME: Final = "v1,"
"""What a signature of Standard Webhooks begins with; base64 follows."""

STANDARD_PREFIX: Final = "whsec_"
"""What a secret of Standard Webhooks begins with; base64 of its octets follows."""

STANDARD_BYTES: Final = (24, 64)
"""How few and how many octets such a secret has."""

# What is signed is "id.time.body": an id with a full stop could be cut in two places.
WEBHOOK_ID: Final = re.compile(r"[!-+/-~-]{1,255}")


def sign(secret: Secret, body: bytes) -> str:
    """The value of GitHub's signature header: HMAC-SHA256 (RFC 2104) over the raw body."""
    return SCHEME + mac(secret.reveal().encode(), body).hex()


def sign_standard(secret: Secret, name: str, time: int, body: bytes) -> str:
    """The value of Standard Webhooks' signature header over a report's id, its time (seconds) and its raw body.

    Raises ValueError for a secret of another scheme and for an id that could be read in two ways.
    """
    if not WEBHOOK_ID.fullmatch(name):
        raise ValueError("a webhook's id is 1 to 255 printable characters of ASCII, none of them a full stop")
    digest = mac(standard_octets(secret), b".".join((name.encode(), str(time).encode(), body)))
    return STANDARD_SCHEME + base64.b64encode(digest).decode()


def is_standard(secret: Secret) -> bool:
    """Whether a secret signs Standard Webhooks."""
    return secret.reveal().startswith(STANDARD_PREFIX)


def standard_octets(secret: Secret) -> bytes:
    """The octets of a secret of Standard Webhooks; raises ValueError, whose text holds nothing of it."""
    text = secret.reveal()
    try:
        octets = base64.b64decode(text.removeprefix(STANDARD_PREFIX).encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        octets = b""
    least, most = STANDARD_BYTES
    if not text.startswith(STANDARD_PREFIX) or not least <= len(octets) <= most:
        raise ValueError(
            f"a secret of Standard Webhooks is {STANDARD_PREFIX} and the base64 of {least} to {most} octets"
        ) from None
    return octets


def mac(key: bytes, signed: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104)."""
    return hmac.digest(key, signed, "sha256")
