"""A device as it is asked: where, as whom, how patiently, and how its name becomes an address."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from exabgp_bfd.core.credentials import Context, User
from exabgp_bfd.core.model import Secret, SourceError

RESOLVE_TIMEOUT = 5.0
"""Seconds for a host's name to become an address."""


@dataclass(frozen=True, slots=True)
class Target:
    """A device to ask. Times are seconds; `retries` are sent after the first try."""

    name: str
    host: str
    community: Secret
    """For versions 1 and 2c."""
    port: int = 161
    version: str = "2c"
    """1, 2c or 3."""
    user: User | None = None
    """For version 3."""
    context: str = ""
    """SNMPv3's contextName in which a client asks."""
    contexts: tuple[Context, ...] = ()
    """The views in which the poller looks for sessions, each by a client of its own; empty: the default one."""
    timeout: float = 1.0
    retries: int = 1
    engine: str = "auto"
    """auto, pysnmp or gufo."""
    profile: str = "auto"
    oid: str | None = None
    values: str | None = None
    interval: float = 1.0
    fast_interval: float | None = None
    """Seconds between two rounds while its sessions are changing (`Poller.pace`); None: the interval."""
    max_varbinds: int = 40
    """Values asked for in one PDU; halved for an agent that answers tooBig."""

    @property
    def at(self) -> str:
        """Host and port as an operator writes them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def silence(target: Target) -> SourceError:
    """The error for a device that answered none of its tries."""
    tries = f"{target.retries + 1} tries" if target.retries else "1 try"
    return SourceError(
        f"no answer from {target.at} in {tries} of {target.timeout:g} s: is the community right, is the agent running?"
    )


def numeric(host: str) -> bool:
    """Whether a host is an address, so that no name service is asked."""
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True


async def resolved(target: Target) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """A device's address; only a name leaves the loop's thread for it, and not for longer than RESOLVE_TIMEOUT."""
    if numeric(target.host):
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        return found[0][0], found[0][4]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            named = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
    except TimeoutError as error:
        raise SourceError(f"the name {target.host} was not resolved in {RESOLVE_TIMEOUT:g} s") from error
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"the name {target.host} cannot be resolved: {reason}") from error
    return named[0][0], named[0][4]
