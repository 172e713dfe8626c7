"""A line that ExaBGP wrote to us, told apart (pure): an answer, a BGP message, the notice of its end, or a broken line.

ExaBGP mixes answers and events in one stream, in the order in which they happen. An event is a JSON object with the
key `exabgp`; `done` and `error` alone end an answer; whatever else comes is the body of the answer under way. A line
that begins like an event and does not parse is quarantined, and never taken for an answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from exabgp_bfd.core.model import Address, Advertised, Neighbor, Outcome, Prefix

_KEY = b'"exabgp"'
_ANSWERS = {b"done": Outcome.DONE, b"error": Outcome.ERROR}
_JSON_ANSWERS = {"done": Outcome.DONE, "error": Outcome.ERROR}
# The families of `announce route`: the same prefix in a VPN is another route.
_FAMILIES = ("ipv4 unicast", "ipv6 unicast")


@dataclass(frozen=True, slots=True)
class Ended:
    """An answer ended: ExaBGP took the oldest command under way, or refused it."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Body:
    """A line of the answer under way."""

    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """A BGP message or state of a neighbour, decoded."""

    kind: str
    """`update`, `state`, `notification`, `open`, ..."""
    document: dict[str, Any]


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
    """Whether a line ends an answer, without decoding it."""
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
    try:
        document = json.loads(stripped)
    except (ValueError, RecursionError) as error:
        if is_event(stripped):
            return Quarantined(f"not JSON: {error}" if isinstance(error, ValueError) else "nested too deeply")
        return Body(stripped.decode("utf-8", "replace"))
    return _document(document, stripped)


def _document(document: Any, line: bytes) -> Line:  # noqa: ANN401 - what JSON may hold
    if not isinstance(document, dict):
        return Body(line.decode("utf-8", "replace"))
    if "exabgp" not in document:
        # The JSON form of an answer, which ExaBGP knows but does not send to its processes; anything else is a body.
        outcome = _JSON_ANSWERS.get(_text(document.get("answer")))
        return Ended(outcome) if outcome is not None else Body(line.decode("utf-8", "replace"))
    kind = document.get("type")
    if not isinstance(kind, str):
        return Quarantined("an event without a type")
    # The one event of which `notification` is a word and no object: the notice that ExaBGP ends.
    if kind == "notification" and document.get("notification") == "shutdown":
        return Shutdown()
    return Message(kind, document)


def advertised(message: Message, direction: str = "send") -> Iterator[Advertised]:
    """The prefixes that an UPDATE sent (or received) by ExaBGP announced or took back; nothing for other messages."""
    neighbor = _object(message.document.get("neighbor"))
    if message.kind != "update" or neighbor.get("direction") != direction:
        return
    peer = _peer(neighbor)
    update = _object(_object(neighbor.get("message")).get("update"))
    if peer is None:
        return
    for families, announced in ((update.get("withdraw"), False), (update.get("announce"), True)):
        for entries in (_object(families).get(family) for family in _FAMILIES):
            # Announced: {next hop: [{"nlri": ...}]}; withdrawn: [{"nlri": ...}]; with exabgp_api_compact bare prefixes.
            lists = entries.values() if isinstance(entries, dict) else (entries,)
            for entry in (entry for some in lists if isinstance(some, list) for entry in some):
                prefix = _prefix(entry if isinstance(entry, str) else _object(entry).get("nlri"))
                if prefix is not None:
                    yield Advertised(peer, prefix, announced)


def neighbor_state(message: Message) -> Neighbor | None:
    """The new state of a BGP session (`connected` is TCP only; `up` is ESTABLISHED), None for any other message."""
    neighbor = _object(message.document.get("neighbor"))
    peer, state = _peer(neighbor), _text(neighbor.get("state"))
    if message.kind != "state" or peer is None or not state:
        return None
    return Neighbor(peer, state, _text(neighbor.get("reason")))


def _object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - what JSON may hold
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:  # noqa: ANN401 - what JSON may hold
    """A string that can be encoded again (JSON may escape half a surrogate pair), empty for anything else."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _peer(neighbor: dict[str, Any]) -> Address | None:
    try:
        return ip_address(_text(_object(neighbor.get("address")).get("peer")))
    except ValueError:
        return None


def _prefix(text: Any) -> Prefix | None:  # noqa: ANN401 - what JSON may hold
    try:
        return ip_network(_text(text))
    except ValueError:
        return None
