"""The input log's rows: what came into the engine, as text and bytes and back. Pure.

Most inputs are polls that say what the last one said. Such a poll is only a time: a `Chunk` holds the times of many
devices for up to a minute, each `Run` as deviations from its own pace, and the contents are kept once, as a `Shape`.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from exabgp_bfd.core.model import (
    Address,
    Believed,
    ByHand,
    Clear,
    Clock,
    Diagnostic,
    Disabled,
    Input,
    Lift,
    Note,
    Notification,
    Observation,
    Order,
    Override,
    Plan,
    Poll,
    Reload,
    Restored,
    Session,
    Silence,
    Sites,
    Source,
    Stall,
    Start,
    State,
    Stop,
    Webhook,
)
from exabgp_bfd.storage.queries import details_text, order_document, order_of, route_document, route_of

logger = logging.getLogger(__name__)

POLLS = "polls"
START = "start"
LOST = "inputs_lost"
"""The event type of the Note that is read where inputs were lost or cannot be read."""

SHAPE_SECONDS = 3600
"""A shape in use says so at least so often, so that one that has not for twice as long after `keep_inputs` may go."""

_COMPRESS_FROM = 256
"""Bytes; a compressed text begins with zlib's 0x78, one that is not with a bracket."""

Recorded = (
    Start | Stop | Silence | Webhook | Notification | Sites | Clock | Stall | Order | Clear | Disabled | Reload | Note
)
"""What is kept as a row of its own; of notes only those that say that inputs were lost."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An input as it came: `now` in monotonic seconds, `wall` in microseconds since the epoch.

    Of a poll that said nothing new `wall` may be 10 ms off, `now` never is. A Reload has no plan, it only stands for
    itself. `restored` is what a Start began with.
    """

    wall: int
    now: float
    input: Input
    restored: Restored | None = None


@dataclass(slots=True, eq=False)
class Run:
    """The times of a device's equal polls, in microseconds; `deviations` has a zigzag varint for all but the first."""

    shape: int
    first: int
    last: int
    pace: int = 0
    """The interval that is expected next."""
    count: int = 1
    deviations: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Runs that overlap in time, by their beginnings; no two polls of a chunk have the same time."""

    ts: int
    now: int
    runs: Sequence[Run]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a poll says, numbered; `ts` is when it was in use."""

    id: int
    ts: int
    poll: Poll


@dataclass(frozen=True, slots=True)
class Single:
    """An input that is kept as a row of its own."""

    ts: int
    now: int
    input: Recorded
    restored: Restored | None = None


# --- times ------------------------------------------------------------------------------------------------------


def put_varint(into: bytearray, value: int) -> None:
    """Appends a number that is not negative, seven bits a byte, the lowest first."""
    while value > 0x7F:
        into.append(value & 0x7F | 0x80)
        value >>= 7
    into.append(value)


def take_varint(body: bytes, place: int) -> tuple[int, int]:
    """The number at a place and the place behind it; raises IndexError where the body ends too soon."""
    value = shift = 0
    while True:
        byte = body[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def add_time(run: Run, time: int) -> None:
    """Appends a later time (microseconds) to a run."""
    interval = time - run.last
    deviation = interval - run.pace
    told = deviation << 1 if deviation >= 0 else (-deviation << 1) - 1
    if told < 0x80:
        run.deviations.append(told)
    elif told < 0x4000:
        run.deviations += bytes((told & 0x7F | 0x80, told >> 7))
    else:
        put_varint(run.deviations, told)
    # Smoothed, for the jitter of one answer makes two intervals wrong; the first interval is the best guess there is.
    run.pace = run.pace + (deviation >> 2) if run.count > 1 else interval
    run.last = time
    run.count += 1


def chunk_body(chunk: Chunk) -> bytes:
    """A chunk as bytes: of each run its shape, its beginning after the one before it, its length and its deviations."""
    body = bytearray()
    before = chunk.now
    for run in chunk.runs:
        put_varint(body, run.shape)
        put_varint(body, run.first - before)
        put_varint(body, run.count)
        body += run.deviations
        before = run.first
    return bytes(body)


def chunk_times(body: bytes, now: int) -> list[tuple[int, int]]:
    """Time and shape of each poll of a chunk that began at `now`, in order; raises ValueError when it is broken."""
    found: list[tuple[int, int]] = []
    place, first = 0, now
    try:
        while place < len(body):
            shape, place = take_varint(body, place)
            later, place = take_varint(body, place)
            count, place = take_varint(body, place)
            time = first = first + later
            found.append((time, shape))
            pace = 0
            for number in range(1, count):
                told, place = take_varint(body, place)
                deviation = -((told + 1) >> 1) if told & 1 else told >> 1
                interval = pace + deviation
                time += interval
                pace = pace + (deviation >> 2) if number > 1 else interval
                found.append((time, shape))
    except IndexError as error:
        raise ValueError("a chunk of polls ends too soon") from error
    found.sort()
    return found


# --- texts ------------------------------------------------------------------------------------------------------


def packed(document: object) -> bytes:
    """A document as JSON, compressed where that helps; what no JSON can hold is replaced rather than raised about."""
    try:
        text = details_text({"": document})[4:-1].encode("ascii")
    except Exception:  # As with events: nothing is lost for somebody's odd value.
        logger.exception("an input cannot be kept as it came")
        text = json.dumps(document, default=lambda value: type(value).__name__).encode("ascii")
    return zlib.compress(text, 1) if len(text) >= _COMPRESS_FROM else text


def unpacked(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    """The document that was packed; raises ValueError."""
    try:
        return json.loads(zlib.decompress(body) if body[:1] == b"\x78" else body)
    except zlib.error as error:
        raise ValueError(f"not an input: {error}") from error


def poll_body(poll: Poll) -> bytes:
    """What a poll says, without its time."""
    seen = [_observation(each) for each in poll.observations]
    told = sorted(poll.told)
    return packed([poll.device, poll.source.value, poll.complete, poll.actor, poll.cause, told, seen])


def poll_from(body: bytes) -> Poll:
    """The poll that `poll_body` wrote; raises ValueError."""
    try:
        device, source, complete, actor, cause, told, seen = unpacked(body)
        observations = tuple(_observed(each) for each in seen)
        return Poll(device, observations, complete, Source(source), actor, cause, frozenset(told))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"not a poll: {error!r}") from error


def _observation(seen: Observation) -> list[Any]:
    session = seen.session
    row = [
        session.device,
        session.name,
        seen.state.value,
        _text(session.peer),
        _text(session.local),
        session.interface,
        session.discriminator,
        None if seen.diagnostic is None else int(seen.diagnostic),
        seen.details,
        seen.ups,
        seen.downs,
        seen.last_up,
        session.vrf,
        session.multihop,
    ]
    while row[-1] is None:
        row.pop()
    return row


def _observed(row: list[Any]) -> Observation:
    row = row + [None] * (14 - len(row))
    device, name, state, peer, local, interface, discriminator, diagnostic, details, ups, downs, last_up = row[:12]
    session = Session(device, name, _address(peer), _address(local), interface, discriminator, *row[12:])
    known = None if diagnostic is None else Diagnostic(diagnostic)
    return Observation(session, State(state), known, details, ups, downs, last_up)


def _text(address: Address | None) -> str | None:
    return None if address is None else str(address)


def _address(text: str | None) -> Address | None:
    return None if text is None else ip_address(text)


def single_row(single: Single) -> tuple[str, bytes]:
    """Kind and body of an input that has a row of its own."""
    event = single.input
    document: dict[str, Any]
    match event:
        case Start(details):
            kind, document = START, {"details": details, **_restored(single.restored or Restored())}
        case Stop(reason, withdraw):
            kind, document = "stop", {"reason": reason, "withdraw": withdraw}
        case Silence(device, reason):
            kind, document = "silence", {"device": device, "reason": reason}
        case Webhook() | Notification() | Sites():
            kind, document = _report(event)
        case Clock(wall):
            kind, document = "clock", {"wall": wall}
        case Stall(seconds):
            kind, document = "stall", {"seconds": seconds}
        case Order(what):
            kind, document = "order", order_document(what)
        case Clear(service, actor, reason):
            kind, document = "clear", {"service": service, "actor": actor, "reason": reason}
        case Disabled(service, present):
            kind, document = "disabled", {"service": service, "present": present}
        case Reload():
            kind, document = "reload", _reload(event)
        case Note():
            kind, document = LOST, {"details": event.details}
    return kind, packed(document)


def _reload(event: Reload) -> dict[str, Any]:
    what = {} if event.device is None else {"event_type": event.event_type, "device": event.device}
    return {"actor": event.actor, "details": event.details, **what}


def _report(event: Webhook | Notification | Sites) -> tuple[str, dict[str, Any]]:
    """What somebody told of sessions, or of other sites."""
    match event:
        case Sites(announced):
            # In order of the targets, whatever the order in which they were heard.
            heard = None if announced is None else {key: list(announced[key]) for key in sorted(announced)}
            return "sites", {"announced": heard}
        case Webhook(device, reason, evidence, effect, actor):
            return "webhook", {
                "device": device,
                "reason": reason,
                "evidence": evidence,
                "effect": effect,
                "actor": actor,
            }
        case Notification(device, said, sessions, sure, details):
            return "notification", {
                "device": device,
                "said": said,
                "sessions": list(sessions),
                "sure": sure,
                "details": details,
            }


def single_from(kind: str, body: bytes) -> tuple[Input, Restored | None]:
    """The input that `single_row` wrote, and of a Start what it began with; raises ValueError."""
    try:
        told = unpacked(body)
        restored = _restored_from(told) if kind == START else None
        return _MAKERS[kind](told), restored
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"not an input ({kind}): {error!r}") from error


_MAKERS: dict[str, Callable[[dict[str, Any]], Input]] = {
    START: lambda told: Start(told["details"]),
    "stop": lambda told: Stop(told["reason"], told["withdraw"]),
    "silence": lambda told: Silence(told["device"], told["reason"]),
    "webhook": lambda told: Webhook(told["device"], told["reason"], told["evidence"], told["effect"], told["actor"]),
    "notification": lambda told: Notification(
        told["device"], told["said"] and State(told["said"]), tuple(told["sessions"]), told["sure"], told["details"]
    ),
    "sites": lambda told: Sites(_announced(told["announced"])),
    "clock": lambda told: Clock(float(told["wall"])),
    "stall": lambda told: Stall(float(told["seconds"])),
    "order": lambda told: Order(order_of(told)),
    "clear": lambda told: Clear(told["service"], told["actor"], told["reason"]),
    "disabled": lambda told: Disabled(told["service"], told["present"]),
    "reload": lambda told: Reload(
        Plan(),
        told["actor"],
        told["details"],
        event_type=told.get("event_type", "reloaded"),
        device=told.get("device"),
    ),
    LOST: lambda told: Note(LOST, told["details"]),
}


def _announced(told: dict[str, list[str]] | None) -> dict[str, tuple[str, ...]] | None:
    return None if told is None else {key: tuple(sites) for key, sites in told.items()}


def lost(details: Mapping[str, Any]) -> Note:
    """What is read where inputs were lost; `details` says how many, or why."""
    return Note(LOST, details)


def _restored(restored: Restored) -> dict[str, Any]:
    return {
        "last_event": restored.last_event,
        "believed": [[held.service, route_document(held.route), held.event] for held in restored.believed],
        "rib_kept": restored.rib_kept,
        "expired": restored.expired,
        "wall": restored.wall,
        "overrides": [order_document(order) for order in restored.overrides],
        "lift": None if restored.lift is None else order_document(restored.lift),
        "by_hand": [order_document(order) for order in restored.by_hand],
        "disabled": list(restored.disabled),
        "withdrawn": [[service, when] for service, when in restored.withdrawn],
    }


def _restored_from(told: dict[str, Any]) -> Restored:
    lift = None if told["lift"] is None else order_of(told["lift"])
    orders = [order_of(each) for each in (*told["overrides"], *told.get("by_hand", ()))]
    return Restored(
        last_event=told["last_event"],
        believed=tuple(Believed(service, route_of(route), event) for service, route, event in told["believed"]),
        rib_kept=told["rib_kept"],
        expired=told["expired"],
        wall=float(told["wall"]),
        disabled=tuple(told.get("disabled", ())),
        withdrawn=tuple((service, float(when)) for service, when in told.get("withdrawn", ())),
        overrides=tuple(order for order in orders if isinstance(order, Override)),
        lift=lift if isinstance(lift, Lift) else None,
        by_hand=tuple(order for order in orders if isinstance(order, ByHand)),
    )
