"""Which hosts the SNMP proxy may ask: a host's text made into one address, which is in an allowed network.

Only that address is asked afterwards, so that a name cannot stand for one address here and for another one there. A
number that C libraries take for an address (2130706433, 0x7f.1, 127.1) is refused rather than understood.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from exabgp_bfd.core.jobs import JobRefusedError
from exabgp_bfd.core.model import Address, ConfigError, Prefix, SourceError
from exabgp_bfd.sources.snmp.target import numeric

NAMED_WITHIN = 2.0
"""Seconds for a name to become an address."""
PORT = 161

_LONGEST = 300
_LOOKUPS = threading.BoundedSemaphore(4)
"""A resolver that hangs cannot be stopped: so many threads of ours may hang in one."""
_BRACKETED = re.compile(r"\[(?P<host>[^\[\]]*)\](?::(?P<port>[0-9]{1,5}))?")
_PLAIN = re.compile(r"(?P<host>[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*\.?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)

Resolve = Callable[[str], Sequence[Address]]


def permitted(text: str, allow: Sequence[Prefix], resolve: Resolve | None = None) -> tuple[Address, int]:
    """The address and port to ask for a host; raises ConfigError for one that is none, SourceError, JobRefusedError."""
    host, port = _split(text)
    address = _literal(host)
    if address is not None:
        _refuse_nobody(address)
        if not _inside(address, allow):
            raise _refused(str(address), allow)
        return address, port
    if not allow:  # then no name can be right either, and nobody needs to be asked
        raise _refused(host, allow)
    found = [_plain(one) for one in (resolve or _resolved)(host)]
    for address in found:
        if _inside(address, allow) and not _is_nobody(address):
            return address, port
    raise _refused(f"{host} ({', '.join(str(one) for one in found[:4])})", allow)


def _split(text: str) -> tuple[str, int]:
    if len(text) > _LONGEST or not text.isascii() or not text.isprintable():
        raise ConfigError(
            "host", "this is no host; give an address or a name, and a port after a colon if it is not 161"
        )
    if text.count(":") > 1 and not text.startswith("["):
        return text, PORT
    match = _BRACKETED.fullmatch(text) or _PLAIN.fullmatch(text)
    port = int(match["port"]) if match and match["port"] else PORT
    if match is None or not match["host"] or not 1 <= port <= 65535:
        raise ConfigError("host", f"{text!r} is no host; 192.0.2.1, 192.0.2.1:1161 or [2001:db8::1]:1161 would be one")
    if text.startswith("[") and ":" not in match["host"]:
        raise ConfigError("host", f"{text!r} is no host: only an IPv6 address stands in brackets")
    return match["host"], port


def _literal(host: str) -> Address | None:
    """The address that a host is, None for a name."""
    if "%" in host:
        raise ConfigError("host", f"{host!r} has a zone, which means something on one machine only; leave it out")
    try:
        return _plain(ip_address(host))
    except ValueError:
        last = host.removesuffix(".").rsplit(".", 1)[-1]
        if ":" in host or _NUMBER.fullmatch(last) or numeric(host):
            raise ConfigError(
                "host", f"{host!r} is no address; write it in full, as 192.0.2.1 or 2001:db8::1"
            ) from None
    if not _NAME.fullmatch(host):
        raise ConfigError("host", f"{host!r} is no host's name")
    return None


def _plain(address: Address) -> Address:
    """An IPv4 address that is written as an IPv6 one (RFC 4291 section 2.5.5.2) is what it means."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped if mapped is not None else address


def _is_nobody(address: Address) -> bool:
    return address.is_unspecified or address.is_multicast or address == IPv4Address("255.255.255.255")


def _refuse_nobody(address: Address) -> None:
    if _is_nobody(address):
        raise ConfigError("host", f"{address} is no single host's address")


def _inside(address: Address, allow: Sequence[Prefix]) -> bool:
    return any(address in network for network in allow)


def _refused(host: str, allow: Sequence[Prefix]) -> JobRefusedError:
    where = "is in no network of [snmp_proxy] allow" if allow else "is no configured device, and others are not allowed"
    return JobRefusedError(
        f'{host} {where}; name a configured device as {{"device": NAME}}, '
        "or add its network to [snmp_proxy] allow and reload"
    )


def _resolved(name: str) -> list[Address]:
    """A name's addresses; waits NAMED_WITHIN seconds at most, whatever the resolver does."""
    if not _LOOKUPS.acquire(blocking=False):
        raise SourceError(f"the name {name} is not looked up: the name service answers none of the names asked before")
    found: list[Address] = []
    trouble: list[str] = []

    def look() -> None:
        try:
            told = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
            found.extend(ip_address(str(entry[4][0]).partition("%")[0]) for entry in told)
        except (OSError, UnicodeError, ValueError) as error:
            trouble.append(str(getattr(error, "strerror", None) or error))
        finally:
            _LOOKUPS.release()

    thread = threading.Thread(target=look, name="snmp-lookup", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # no thread is to be had: nobody else gives the place back
        _LOOKUPS.release()
        raise SourceError(f"the name {name} is not looked up: {error}") from error
    thread.join(NAMED_WITHIN)
    if thread.is_alive():
        raise SourceError(f"the name {name} was not resolved in {NAMED_WITHIN:g} s")
    if trouble or not found:
        raise SourceError(f"the name {name} cannot be resolved: {trouble[0] if trouble else 'it has no address'}")
    return list(dict.fromkeys(found))
