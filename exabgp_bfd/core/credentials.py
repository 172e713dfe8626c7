"""As whom an SNMP agent is asked, and in which of its views: words that rooms share. Frozen, and free of I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from exabgp_bfd.core.model import Secret

AuthProtocol = Literal["md5", "sha1", "sha224", "sha256", "sha384", "sha512"]
"""RFC 3414, and from sha224 on RFC 7860."""
PrivProtocol = Literal["des", "3des", "aes128", "aes192", "aes256", "aes192-cisco", "aes256-cisco"]
"""des is of RFC 3414, aes128 of RFC 3826; 3des, aes192 and aes256 are of drafts (Reeder, Blumenthal); Cisco's stretch
short keys in another way."""

AUTH_PROTOCOLS: Final[tuple[AuthProtocol, ...]] = get_args(AuthProtocol)
PRIV_PROTOCOLS: Final[tuple[PrivProtocol, ...]] = get_args(PrivProtocol)


@dataclass(frozen=True, slots=True)
class User:
    """A user of SNMPv3's user-based security model (RFC 3414); without a protocol that protection is not used."""

    name: str
    auth_protocol: str | None = None
    """One of AUTH_PROTOCOLS."""
    auth_key: Secret | None = None
    """A pass phrase, at least 8 octets."""
    priv_protocol: str | None = None
    """One of PRIV_PROTOCOLS."""
    priv_key: Secret | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """One of an agent's views of itself, usually a VRF; the empty name is the default."""

    name: str
    """SNMPv3's contextName, and the VRF of the sessions seen in it."""
    community: Secret | None = None
    """What maps to the context in versions 1 and 2c; None: the device's own."""
