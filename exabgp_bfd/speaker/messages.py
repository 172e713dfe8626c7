"""A line that ExaBGP wrote to us, told apart (pure): an answer, a BGP message, the notice of its end, or a broken line.

ExaBGP mixes answers and events in one stream, in the order in which they happen. An event is a JSON object with the
key `exabgp`; `done` and `error` alone end an answer; whatever else comes is the body of the answer under way. A line
that begins like an event and does not parse is repaired where it is one of the broken lines that ExaBGP is known to
write, and else quarantined; it is never taken for an answer.

The shape of a message is read, not its version: ExaBGP 6 may say that it is "4.0.1" and write as 5 does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Literal

from exabgp_bfd.core.model import Address, Advertised, Negotiated, Neighbor, Outcome, Prefix
from exabgp_bfd.core.policy import parse_address

_KEY = b'"exabgp"'
_ANSWERS = {b"done": Outcome.DONE, b"error": Outcome.ERROR}
_JSON_ANSWERS = {"done": Outcome.DONE, "error": Outcome.ERROR}
# The families of `announce route`: the same prefix in a VPN is another route.
_FAMILIES = ("ipv4 unicast", "ipv6 unicast")
# What an OPEN without the multiprotocol capability is for (RFC 4760 section 8).
_PLAIN_FAMILY = frozenset({"ipv4 unicast"})
_CONTROL = re.compile("[\x00-\x1f\x7f]+")
_MOST_NEIGHBORS = 10_000

_REPAIRS: tuple[tuple[str, re.Pattern[bytes], bytes], ...] = (
    # 4.2: "route-refresh": { "afi": ""ipv4"", "safi": ""unicast"", ... }
    ("quotes doubled", re.compile(rb'(": )""([0-9a-z -]+)""'), rb'\1"\2"'),
    # 6 in development: "ipv4 unicast": { "null": [ "eor": { "afi" : "ipv4", "safi" : "unicast" } ] }
    ("end of RIB in a list", re.compile(rb'\[ *("eor" *: *\{[^{}\[\]]*\}) *\]'), rb"[ { \1 } ]"),
    # 6 in development: "families": [ ipv4 unicast ,ipv6 unicast ]
    ("families without quotes", re.compile(rb'("(?:families|nexthop)" *: *)\[ *([0-9a-z][0-9a-z ,-]*?) *\]'), b""),
)
Direction = Literal["send", "receive"]
_DIRECTIONS: dict[str, Direction] = {"send": "send", "out": "send", "receive": "receive", "in": "receive"}


@dataclass(frozen=True, slots=True)
class Ended:
    """An answer ended: ExaBGP took the oldest command under way, or refused it."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Body:
    """A line of the answer under way. It may hold secrets: ExaBGP shows passwords among a neighbour's settings."""

    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """A BGP message or state of a neighbour, decoded."""

    kind: str
    """`update`, `state`, `notification`, `open`, ..."""
    document: dict[str, Any]
    repaired: str = ""
    """What had to be set right before it could be read; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """ExaBGP is ending; its BGP sessions are closed already."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A line that no one can read, and why."""

    reason: str


Line = Ended | Body | Message | Shutdown | Quarantined


def is_event(line: bytes) -> bool:
    """Whether a line begins as ExaBGP's events do, without decoding it."""
    return line[:1] == b"{" and _KEY in line[:16]


def ends_answer(line: bytes) -> bool:
    """Whether a line ends an answer; nothing is decoded for it but the JSON form of one."""
    if line[:1] == b"{":
        return b'"answer"' in line[:16] and isinstance(parse(line), Ended)
    return line.strip() in _ANSWERS


def only_stored(line: bytes) -> bool:
    """Whether a line is an UPDATE received from a neighbour, which nobody but the store needs: a full feed of them
    must cost the decisions nothing, so it is not decoded for this.
    """
    return is_event(line) and b'"type": "update"' in line and b'"direction": "receive"' in line


def parse(line: bytes) -> Line:
    """Tells what a line is; never raises, whatever it holds."""
    stripped = line.strip()
    if stripped in _ANSWERS:
        return Ended(_ANSWERS[stripped])
    if not stripped.startswith(b"{"):
        return Body(stripped.decode("utf-8", "replace"))
    repaired = ""
    try:
        document = json.loads(stripped, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        if not is_event(stripped):
            return Body(stripped.decode("utf-8", "replace"))
        if isinstance(error, RecursionError):
            return Quarantined("nested too deeply")
        document, repaired = _repair(stripped)
        if document is None:
            return Quarantined(f"not JSON: {error}")
    return _document(document, stripped, repaired)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, unless it is one of the outer two and has a key twice.

    ExaBGP before 5.0.13, and 6, write some texts of a peer without escaping their quotes: so a peer could have us read
    what it likes, by ending the text and beginning the message anew.
    """
    found = dict(pairs)
    if len(found) != len(pairs) and ("exabgp" in found or "address" in found):
        raise ValueError("a key stands twice, as a peer may have had it written")
    return found


def _repair(line: bytes) -> tuple[Any, str]:
    """What a broken event says, and what was wrong with it; None if it is none of those that are known."""
    done = []
    for name, pattern, replacement in _REPAIRS:
        line, count = pattern.subn(replacement or _quoted, line)
        if count:
            done.append(name)
    if any(octet < 0x20 for octet in line):
        # 4.2: the length octet of a shutdown text (RFC 9003) stands in the reason of a `down` as it is.
        done.append("control characters")
    try:
        return json.loads(line, strict=False, object_pairs_hook=_once), ", ".join(done)
    except (ValueError, RecursionError):
        return None, ""


def _quoted(found: re.Match[bytes]) -> bytes:
    names = b", ".join(b'"%s"' % name.strip() for name in found[2].split(b","))
    return b"%s[ %s ]" % (found[1], names)


def _document(document: Any, line: bytes, repaired: str) -> Line:  # noqa: ANN401 - what JSON may hold
    if not isinstance(document, dict):
        return Body(line.decode("utf-8", "replace"))
    if "exabgp" not in document:
        # The JSON form of an answer, which ExaBGP knows but does not send to its processes; anything else is a body.
        outcome = _JSON_ANSWERS.get(_text(document.get("answer")))
        return Ended(outcome) if outcome is not None else Body(line.decode("utf-8", "replace"))
    kind = document.get("type")
    if not isinstance(kind, str):
        return Quarantined("an event without a type")
    # The one event of which `notification` is a word and no object, and which is about no neighbour: the notice that
    # ExaBGP ends.
    if kind == "notification" and document.get("notification") == "shutdown" and "neighbor" not in document:
        return Shutdown()
    return Message(kind, document, repaired)


def advertised(message: Message, direction: Direction = "send") -> Iterator[Advertised]:
    """The prefixes that an UPDATE sent (or received) by ExaBGP announced or took back; nothing for other messages."""
    neighbor = as_object(message.document.get("neighbor"))
    if message.kind != "update" or _direction(neighbor) != direction:
        return
    peer = _peer(neighbor)
    update = as_object(as_object(neighbor.get("message")).get("update"))
    if peer is None:
        return
    for families, announced in ((update.get("withdraw"), False), (update.get("announce"), True)):
        for entries in (as_object(families).get(family) for family in _FAMILIES):
            # Announced: {next hop: [{"nlri": ...}]}; withdrawn: [{"nlri": ...}]; with exabgp_api_compact bare prefixes.
            lists = entries.values() if isinstance(entries, dict) else (entries,)
            for entry in (entry for some in lists if isinstance(some, list) for entry in some):
                prefix = _prefix(entry if isinstance(entry, str) else as_object(entry).get("nlri"))
                if prefix is not None:
                    yield Advertised(peer, prefix, announced)


def neighbor_state(message: Message) -> Neighbor | None:
    """The new state of a BGP session (`connected` is TCP only; `up` is ESTABLISHED), None for any other message."""
    if message.kind != "state":
        return None
    neighbor = as_object(message.document.get("neighbor"))
    peer, state = _peer(neighbor), _text(neighbor.get("state"))
    if peer is None or not state:
        return None
    return Neighbor(peer, state, _CONTROL.sub(" ", _text(neighbor.get("reason"))).strip())


def negotiated(message: Message) -> Negotiated | None:
    """What a BGP session can carry, from a `negotiated` message; None for any other. Of graceful restart it tells
    nothing: that, and the families where ExaBGP sends no such message, are for `Handshakes`.
    """
    if message.kind != "negotiated":
        return None
    neighbor = as_object(message.document.get("neighbor"))
    peer, families = _peer(neighbor), as_object(neighbor.get("negotiated")).get("families")
    if peer is None or not isinstance(families, list):
        return None
    return Negotiated(peer, frozenset(_text(family) for family in families) - {""})


@dataclass(frozen=True, slots=True)
class Offer:
    """What one side of a BGP session said in its OPEN."""

    neighbor: Address
    direction: Direction
    """`send` is ExaBGP's own."""
    families: frozenset[str]
    graceful_restart: bool


def offer(message: Message) -> Offer | None:
    """What an `open` message says; None for any other."""
    if message.kind != "open":
        return None
    neighbor = as_object(message.document.get("neighbor"))
    peer, direction = _peer(neighbor), _direction(neighbor)
    capabilities = as_object(neighbor.get("open")).get("capabilities")
    if peer is None or direction is None or not isinstance(capabilities, dict):
        return None
    # A sent OPEN has names for keys, a received one has numbers; each capability has its name inside.
    multiprotocol = _capability(capabilities, "1", "multiprotocol").get("families")
    families = _PLAIN_FAMILY
    if isinstance(multiprotocol, list):
        families = frozenset(_text(family).replace("/", " ") for family in multiprotocol) - {""}
    graceful = bool(_capability(capabilities, "64", "graceful-restart"))
    return Offer(peer, direction, families, graceful)


class Handshakes:
    """Puts the two OPENs of each BGP session together, where ExaBGP shows them to us."""

    def __init__(self) -> None:
        self._offers: dict[Address, dict[Direction, Offer]] = {}

    def take(self, message: Message) -> Negotiated | None:
        """What a session can carry, as soon as both its OPENs were told; None for anything else.

        Graceful restart is what both sides offered (RFC 4724 section 3): then the neighbour keeps our routes when
        ExaBGP dies.
        """
        if message.kind == "state":
            neighbor = neighbor_state(message)
            if neighbor is not None and neighbor.state != "up":
                self._offers.pop(neighbor.neighbor, None)
            return None
        told = offer(message)
        if told is None or (told.neighbor not in self._offers and len(self._offers) >= _MOST_NEIGHBORS):
            return None
        offers = self._offers.setdefault(told.neighbor, {})
        offers[told.direction] = told
        if len(offers) < 2:
            return None
        del self._offers[told.neighbor]
        ours, theirs = offers["send"], offers["receive"]
        return Negotiated(
            told.neighbor, ours.families & theirs.families, ours.graceful_restart and theirs.graceful_restart
        )


def _capability(capabilities: dict[str, Any], number: str, name: str) -> dict[str, Any]:
    return as_object(capabilities.get(name, capabilities.get(number)))


def _direction(neighbor: dict[str, Any]) -> Direction | None:
    return _DIRECTIONS.get(_text(neighbor.get("direction")))


def as_object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - what JSON may hold
    """An object of JSON, empty for anything else."""
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:  # noqa: ANN401 - what JSON may hold
    """A string that can be encoded again (JSON may escape half a surrogate pair), empty for anything else."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _peer(neighbor: dict[str, Any]) -> Address | None:
    return parse_address(_text(as_object(neighbor.get("address")).get("peer")))


def _prefix(text: Any) -> Prefix | None:  # noqa: ANN401 - what JSON may hold
    try:
        return ip_network(_text(text))
    except ValueError:
        return None
