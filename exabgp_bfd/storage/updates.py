"""What ExaBGP's JSON tells of routes: each message as the changes it makes, and what ends or renews a table. Pure.

The shapes of ExaBGP 4.2, 5 and 6 are told apart by looking at them. What is no prefix (flow specification, EVPN, ...)
is kept by its text, so that nothing a neighbour sends is lost for being unusual. A full feed comes through here on the
writer's thread: hence tuples, a cache for prefixes, and no object for what most messages have only one of.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum, StrEnum
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from exabgp_bfd.core.model import Prefix

LONGEST: Final = 4096
"""Characters of an NLRI that is no prefix, of a next hop, a path id or a route distinguisher."""
NAMES: Final = 64
"""Characters of a neighbour's address and of a family's name; longer ones are no such thing."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_DIRECTIONS: Final = {"receive": "receive", "send": "send", "in": "receive", "out": "send"}
_V4, _V6, _TEXT, _DIGEST = b"\x04", b"\x06", b"\xfe", b"\xff"
_SHORT: Final = 64
"""Bytes of a text that stands in a key as it is; a longer one stands there by its digest."""

# What comes with an NLRI that is no prefix, and does not tell it from another: the same route with another label (RFC
# 7432 section 7, RFC 8365) or another next hop replaces the first, and a withdraw need not repeat them.
_NOT_THE_KEY: Final = frozenset({"next-hop", "string", "raw", "label", "labels"})
_EVPN_NOT_THE_KEY: Final = {2: frozenset({"esi"}), 5: frozenset({"esi", "gateway"})}


class Kind(IntEnum):
    """What became of a route."""

    WITHDRAW = 0
    ANNOUNCE = 1


class Sign(StrEnum):
    """What ends or renews a neighbour's table."""

    UP = "up"
    """The session is established: what the neighbour does not say again is stale."""
    DOWN = "down"
    """The session ended: all it said is stale."""
    BEGIN = "begin"
    """The neighbour says a family again, from the beginning (RFC 7313)."""
    END = "end"
    """It has said all it has of a family (RFC 4724, 7313): what is still stale is gone."""


class Match(StrEnum):
    """Which prefixes are meant by one."""

    EXACT = "exact"
    LONGER = "longer"
    """Itself, and those inside it."""
    COVERING = "covering"
    """Itself, and those that hold it."""


class Change(NamedTuple):
    """One route announced or withdrawn; a new word on the same place (family, key, more) replaces the old one."""

    kind: Kind
    family: str
    """`ipv4 unicast`, as ExaBGP writes it."""
    key: bytes
    """Of the prefix, see `key_of`; or of whatever stands for one in this family."""
    more: str
    """The path id (RFC 7911) and, after a blank, the route distinguisher (RFC 4364); mostly empty."""
    nlri: str | None
    """The text of what is no prefix; None where the key tells it."""
    next_hop: str | None


class Mark(NamedTuple):
    """A sign, for one family or (None) for all."""

    sign: Sign
    family: str | None


class Told(NamedTuple):
    """What one message tells of a neighbour's routes; the marks hold after the changes."""

    neighbor: str
    direction: str
    """`receive`: what it told ExaBGP; `send`: what ExaBGP told it; empty: both are meant."""
    changes: list[Change]
    marks: tuple[Mark, ...]


def told(document: Mapping[str, Any]) -> Told | None:
    """What a message tells of routes; None for one that tells nothing of them. Never raises, whatever it holds."""
    neighbor = document.get("neighbor")
    if not isinstance(neighbor, dict):
        return None
    address = neighbor.get("address")
    peer = address.get("peer") if isinstance(address, dict) else None
    if not isinstance(peer, str) or not 0 < len(peer) <= NAMES:
        return None
    kind = document.get("type")
    if kind == "update":
        direction = _direction(neighbor.get("direction"))
        message = neighbor.get("message")
        if not direction or not isinstance(message, dict):
            return None
        changes: list[Change] = []
        marks = _update(message, changes)
        return Told(peer, direction, changes, marks) if changes or marks else None
    if kind == "state":
        sign = _STATES.get(neighbor["state"]) if isinstance(neighbor.get("state"), str) else None
        return Told(peer, "", [], (Mark(sign, None),)) if sign is not None else None
    return _refresh(peer, neighbor) if kind == "refresh" else None


_STATES: Final = {"up": Sign.UP, "down": Sign.DOWN}
_SUBTYPES: Final = {"begin": Sign.BEGIN, "end": Sign.END}


def _direction(said: object) -> str:
    return _DIRECTIONS.get(said, "") if isinstance(said, str) else ""


def _refresh(peer: str, neighbor: Mapping[str, Any]) -> Told | None:
    direction = _direction(neighbor.get("direction"))
    refresh = neighbor.get("route-refresh")
    family = _family(refresh)
    subtype = _object(refresh).get("subtype")
    sign = _SUBTYPES.get(subtype) if isinstance(subtype, str) else None
    if not direction or family is None or sign is None:
        return None
    return Told(peer, direction, [], (Mark(sign, family),))


def _update(message: Mapping[str, Any], changes: list[Change]) -> tuple[Mark, ...]:
    """Appends the changes, the withdrawn first, as RFC 4271 section 4.3 has them in a message; gives the marks."""
    marks: tuple[Mark, ...] = ()
    if "eor" in message and (ended := _family(message["eor"])) is not None:
        marks = (Mark(Sign.END, ended),)
    update = message.get("update")
    if not isinstance(update, dict):
        return marks
    for family, entries in _object(update.get("withdraw")).items():
        if len(family) <= NAMES:
            _routes(Kind.WITHDRAW, family, None, entries, changes)
    for family, hops in _object(update.get("announce")).items():
        if len(family) > NAMES:
            continue
        if not isinstance(hops, dict):
            _routes(Kind.ANNOUNCE, family, None, hops, changes)
            continue
        for hop, entries in hops.items():
            # 6 in development tells the end of RIB as an entry, under the next hop "null".
            if hop == "null":
                marks += tuple(_ends(entries))
                _routes(Kind.ANNOUNCE, family, None, entries, changes)
            else:
                _routes(Kind.ANNOUNCE, family, hop[:LONGEST], entries, changes)
    return marks


def _routes(kind: Kind, family: str, hop: str | None, entries: object, changes: list[Change]) -> None:
    for entry in entries if isinstance(entries, list) else (entries,):
        if isinstance(entry, dict):
            nlri = entry.get("nlri")
            if not isinstance(nlri, str):
                if "eor" not in entry and entry:
                    changes.append(_unusual(kind, family, hop, entry))
                continue
            more = _more(entry) if len(entry) > 1 else ""
        elif isinstance(entry, str):  # exabgp_api_compact
            nlri, more = entry, ""
        else:
            continue
        key, text = spot(nlri)
        changes.append(Change(kind, family, key, more, text, hop))


def _more(entry: Mapping[str, Any]) -> str:
    path, distinguisher = entry.get("path-information"), entry.get("rd")
    path_id = path.replace(" ", "")[:LONGEST] if isinstance(path, str) else ""
    return f"{path_id} {distinguisher[:LONGEST]}" if isinstance(distinguisher, str) else path_id


def _unusual(kind: Kind, family: str, hop: str | None, entry: Mapping[str, Any]) -> Change:
    code = entry.get("code")
    left_out = _NOT_THE_KEY | _EVPN_NOT_THE_KEY.get(code if isinstance(code, int) else 0, frozenset())
    chosen = {name: value for name, value in entry.items() if name not in left_out}
    # One that ExaBGP cannot take apart has its octets alone.
    if entry.get("parsed") is False or not chosen:
        chosen = dict(entry)
    text = json.dumps(chosen, sort_keys=True, separators=(",", ":"))
    if hop is None and isinstance(entry.get("next-hop"), str):
        hop = entry["next-hop"][:LONGEST]
    return Change(kind, family, _key_of_text(text), "", text[:LONGEST], hop)


def _ends(entries: object) -> Iterator[Mark]:
    for entry in entries if isinstance(entries, list) else (entries,):
        if isinstance(entry, dict) and (family := _family(entry.get("eor"))) is not None:
            yield Mark(Sign.END, family)


def _family(said: object) -> str | None:
    told = _object(said)
    afi, safi = told.get("afi"), told.get("safi")
    if isinstance(afi, str) and isinstance(safi, str) and len(afi) + len(safi) < NAMES:
        return f"{afi} {safi}"
    return None


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else _NOTHING


def attributes_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The attributes that an UPDATE's routes came with, as ExaBGP names them; empty for any other message."""
    message = _object(_object(document.get("neighbor")).get("message"))
    return _object(_object(message.get("update")).get("attribute"))


# --- keys: a prefix as octets, which sort as prefixes do ---


@lru_cache(maxsize=16384)
def spot(text: str) -> tuple[bytes, str | None]:
    """The key of an NLRI's text, and the text itself where it is no prefix."""
    address, slash, digits = text.partition("/")
    version, family, bits = (_V6, socket.AF_INET6, 128) if ":" in address else (_V4, socket.AF_INET, 32)
    try:
        packed = socket.inet_pton(family, address)
    except (OSError, ValueError):
        return _key_of_text(text), text[:LONGEST]
    if not slash:
        length = bits
    elif digits.isascii() and digits.isdigit() and len(digits) <= 3 and int(digits) <= bits:
        length = int(digits)
    else:
        return _key_of_text(text), text[:LONGEST]
    free = bits - length
    if free:
        first = int.from_bytes(packed, "big")
        packed = (first >> free << free).to_bytes(bits // 8, "big")
    return version + packed + bytes((length,)), None


def _key_of_text(text: str) -> bytes:
    octets = text.encode("utf-8", "backslashreplace")
    return _TEXT + octets if len(octets) <= _SHORT else _DIGEST + blake2b(octets, digest_size=32).digest()


def key_of(prefix: Prefix) -> bytes:
    """A prefix's key: 4 or 6, its first address, its length; so what holds others comes before them."""
    return bytes((prefix.version,)) + prefix.network_address.packed + bytes((prefix.prefixlen,))


def spell(key: bytes) -> str | None:
    """The prefix of a key, as ExaBGP writes it; None for the key of anything else."""
    try:
        if key[:1] == _V4:
            return f"{socket.inet_ntop(socket.AF_INET, key[1:-1])}/{key[-1]}"
        if key[:1] == _V6:
            return f"{socket.inet_ntop(socket.AF_INET6, key[1:-1])}/{key[-1]}"
    except ValueError:
        return None
    return None


def inside(prefix: Prefix) -> tuple[bytes, bytes]:
    """The least and the greatest key of the prefixes in this one, itself among them."""
    last = bytes((prefix.version,)) + prefix.broadcast_address.packed + bytes((prefix.max_prefixlen,))
    return key_of(prefix), last


def around(prefix: Prefix) -> list[bytes]:
    """The keys of the prefixes that hold this one, the shortest first, itself last."""
    return [key_of(prefix.supernet(new_prefix=length)) for length in range(prefix.prefixlen + 1)]


def split(more: str) -> tuple[str, str]:
    """The path id and the route distinguisher of what tells routes to one prefix apart; empty without."""
    path_id, _, distinguisher = more.partition(" ")
    return path_id, distinguisher


# --- lines ---


class Plain(NamedTuple):
    """An UPDATE of the shape that a full feed has, read without building what its JSON describes."""

    time: float
    """ExaBGP's, seconds since the epoch."""
    told: Told


# Everything but the attributes is spelled out, and these are read as JSON of their own: so what matches is JSON, has no
# key twice, and says what it would say if it were decoded whole. Any other shape is.
_HEAD = re.compile(
    r'\{ "exabgp": "[0-9.]{1,20}", "time": ([0-9]{1,12}(?:\.[0-9]{1,12})?), "host" : "[^"\\\x00-\x1f]{0,255}", '
    r'"pid" : [0-9]{1,10}, "ppid" : [0-9]{1,10}, "counter": [0-9]{1,19}, "type": "update", "neighbor": \{ '
    r'"address": \{ "local": "[0-9a-f.:]{2,45}", "peer": "([0-9a-f.:]{2,45})" \}, '
    r'"asn": \{ "local": [0-9]{1,10}, "peer": [0-9]{1,10} \}(?:, "router-id": "[0-9.]{7,15}")? , '
    r'"direction": "(receive|send)", "message": \{ "update": \{ '
)
_ENTRIES = r'\[ (\{ "nlri": "[0-9a-f.:/]{2,43}" \}(?:, \{ "nlri": "[0-9a-f.:/]{2,43}" \})*+) \]'
_FAMILY = '"([a-z0-9 -]{3,40})"'
_ANNOUNCED = re.compile(
    rf'"attribute": (\{{.*\}}), "announce": \{{ {_FAMILY}: \{{ "([0-9a-f.:]{{2,45}})": {_ENTRIES} \}} \}}'
    r" \} \} \} \}"
)
_WITHDRAWN = re.compile(rf'"withdraw": \{{ {_FAMILY}: {_ENTRIES} \}} \}} \}} \}} \}}')
_NLRI = re.compile('"nlri": "([^"]+)"')
_LONGEST_PLAIN: Final = 2048
_ATTRIBUTES = json.JSONDecoder()


def plain(text: str) -> Plain | None:
    """What a line tells if it is an UPDATE of the usual shape; None for any other, which is to be decoded."""
    if len(text) > _LONGEST_PLAIN:
        return None
    head = _HEAD.match(text)
    if head is None:
        return None
    found = _ANNOUNCED.fullmatch(text, head.end())
    if found is not None:
        attributes, family, hop, entries = found.groups()
        if not _is_object(attributes):
            return None
        kind = Kind.ANNOUNCE
    else:
        found = _WITHDRAWN.fullmatch(text, head.end())
        if found is None:
            return None
        family, entries = found.groups()
        kind, hop = Kind.WITHDRAW, None
    changes = []
    for nlri in _NLRI.findall(entries):
        key, unusual = spot(nlri)
        changes.append(Change(kind, family, key, "", unusual, hop))
    time, peer, direction = head.groups()
    return Plain(float(time), Told(peer, direction, changes, ()))


@lru_cache(maxsize=2048)
def _is_object(text: str) -> bool:
    try:
        return _ATTRIBUTES.raw_decode(text)[1] == len(text)
    except (ValueError, RecursionError):
        return False


def careful(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object, unless it is one of the outer two and has a key twice; for JSON's `object_pairs_hook`.

    ExaBGP before 5.0.13, and 6, write some texts of a peer without escaping their quotes: so a peer could have us keep
    what it likes under another's name, by ending the text and beginning the message anew.
    """
    listed = list(pairs)
    found = dict(listed)
    if len(found) != len(listed) and ("exabgp" in found or "address" in found):
        raise ValueError("a key stands twice, as a peer may have had it written")
    return found


def doubtful(text: str) -> bool:
    """Whether a line may have a key of the outer two objects twice: then it is to be read with `careful`."""
    return text.count('"type"') > 1 or text.count('"neighbor"') > 1 or text.count('"message"') > 1
