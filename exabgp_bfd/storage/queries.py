"""One query model and one JSON form for every store: what may be asked, and what the answers look like. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from math import isfinite
from typing import Any, Protocol, TypeVar

from exabgp_bfd.core.model import Action, ByHand, Event, EventQuery, Lift, Override, Prefix, Route, Target, Watchdog
from exabgp_bfd.storage.updates import Match

GAP = "gap"
"""The type of the message that stands where BGP messages were dropped; its body says how many, and when."""

PAGE = 10_000
"""The most entries that one question is answered with, whatever its limit."""

LINKS = 64
"""The longest chain of causes that is followed."""

DAY = 86_400_000_000
"""Microseconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DEPTH = 32
T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in a list that is ordered newest first; what is written later never moves it.

    Within a site the order is that of the numbers, which is the order in which things happened whatever the clock did.
    Between sites it is that of `at`: the time in microseconds, but never less than that of an earlier number.
    """

    at: int
    number: int
    site: str

    def __str__(self) -> str:
        return f"{self.at}.{self.number}.{self.site}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The place that a text names; raises ValueError."""
        at, number, site = (*text.split(".", 2), "", "")[:3]
        found = cls(_digits(at), _digits(number), site)
        if str(found) != text:
            raise ValueError("not a cursor that was given out here")
        return found


def _digits(text: str) -> int:
    """A whole number that a store can hold."""
    if text.isascii() and text.removeprefix("-").isdecimal() and len(text) <= 20 and abs(int(text)) < 1 << 63:
        return int(text)
    raise ValueError("not a cursor that was given out here")


@dataclass(frozen=True, slots=True)
class EventsQuery(EventQuery):
    """A question to the events of any site."""

    site: str | None = None
    cursor: Cursor | None = None
    """Only what follows: where the last page ended."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many of a type there were on a day of UTC."""

    day: str
    """As 2026-11-21."""
    type: str
    count: int


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with what was stamped on it where it was stored; `ts` is microseconds since the epoch."""

    event: Event
    ts: int
    site: str
    at: int | None = field(default=None, compare=False)
    """Where it stands among the events of all sites (`Cursor.at`), None where only this site's are known."""

    @property
    def id(self) -> int:
        """The event's id, which grows over restarts."""
        return self.event.id

    @property
    def cursor(self) -> Cursor:
        """The place of this event in the list: where a page that ends with it ends."""
        return Cursor(self.ts if self.at is None else self.at, self.event.id, self.site)

    def document(self) -> dict[str, Any]:
        """The event as the API, the stream and MongoDB have it (DESIGN section 4, "Events")."""
        event = self.event
        return {
            "id": event.id,
            "ts": rfc3339(self.ts),
            "device": event.device,
            "event_type": event.event_type,
            "details": dict(event.details),
            "site": self.site,
            "session": event.session,
            "service": event.service,
            "source": event.source,
            "actor": event.actor,
            "cause": event.cause,
        }


@dataclass(frozen=True, slots=True)
class MessageQuery:
    """A question to the BGP messages, newest first; times are microseconds since the epoch, of our reading them."""

    limit: int = 50
    type: str | None = None
    """ExaBGP's: update, state, open, notification, ...; or `gap`, where messages were dropped."""
    neighbor: str | None = None
    """The peer's address, as ExaBGP writes it."""
    direction: str | None = None
    """`send` or `receive`."""
    since: int | None = None
    until: int | None = None
    before: int | None = None
    """Only messages with a smaller id, which means something within one site."""
    site: str | None = None
    cursor: Cursor | None = None
    """Only what follows: where the last page ended."""
    prefix: Prefix | None = None
    """Only UPDATEs that announce or withdraw it."""
    match: Match = Match.EXACT


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A BGP message as ExaBGP wrote it; `ts` is when it was read, `time` when ExaBGP says it was, in microseconds."""

    id: int
    ts: int
    time: int | None
    type: str
    neighbor: str | None
    direction: str | None
    line: str
    site: str = ""
    at: int | None = field(default=None, compare=False)
    """As with events."""
    mended: str | None = None
    """Where `line` is no JSON but one of the broken lines that ExaBGP is known to write: what it says, as JSON."""

    @property
    def cursor(self) -> Cursor:
        """The place of this message in the list: where a page that ends with it ends."""
        return Cursor(self.ts if self.at is None else self.at, self.id, self.site)

    def document(self) -> dict[str, Any]:
        """The message as the API has it; `message` is ExaBGP's own JSON."""
        return {
            "id": self.id,
            "ts": rfc3339(self.ts),
            "site": self.site,
            "time": None if self.time is None else rfc3339(self.time),
            "type": self.type,
            "neighbor": self.neighbor,
            "direction": self.direction,
            # ExaBGP 4.2 leaves raw control characters in strings, hence not strict.
            "message": json.loads(self.line if self.mended is None else self.mended, strict=False),
            **({} if self.mended is None else {"raw": self.line}),
        }


@dataclass(frozen=True, slots=True)
class QuarantinedLine:
    """A line from ExaBGP that could not be understood, as it came, cut where it was very long."""

    id: int
    ts: int
    reason: str
    line: bytes


class EventStore(Protocol):
    """What the web asks of a store, whichever it is; each raises StoreError when it cannot answer."""

    def events(self, query: EventQuery) -> list[StoredEvent]:
        """The newest events that match."""
        ...

    def event(self, number: int) -> StoredEvent | None:
        """One event by its id."""
        ...

    def messages(self, query: MessageQuery) -> list[StoredMessage]:
        """The newest BGP messages that match."""
        ...

    def counts(self, query: EventQuery | MessageQuery) -> list[Count]:
        """How many match per day and type, the newest day first; limit and place do not matter."""
        ...

    def chain(self, number: int) -> list[StoredEvent]:
        """An event, what caused it, what caused that, and so on, at most `LINKS`; empty: there is no such event."""
        ...


def any_site(query: EventQuery) -> EventsQuery:
    """The question with all that may be asked of events."""
    if isinstance(query, EventsQuery):
        return query
    return EventsQuery(**{each.name: getattr(query, each.name) for each in fields(query)})


def day_of(microseconds: int) -> str:
    """The day of UTC that a time lies in, as 2026-11-21."""
    return (_EPOCH + timedelta(microseconds=microseconds)).date().isoformat()


def rfc3339(microseconds: int) -> str:
    """A time in microseconds since the epoch as RFC 3339 with six decimals, UTC."""
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def details_text(details: Mapping[str, Any]) -> str:
    """An event's details as JSON, whatever they hold: what JSON has no word for is written as text or null."""
    try:
        return json.dumps(details, default=_word, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return json.dumps(_plain(details, 0), separators=(",", ":"))


def _word(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return str(value)


def _plain(value: object, depth: int) -> object:
    if depth > _DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else _plain(_word(value), depth + 1)


def route_text(route: Target) -> str:
    """A route or watchdog as JSON, from which `route_from` makes the same again."""
    return json.dumps(route_document(route), separators=(",", ":"))


def route_document(route: Target) -> dict[str, Any]:
    """A route or watchdog in the words of JSON."""
    if isinstance(route, Watchdog):
        return {"watchdog": route.name}
    return {
        "prefix": str(route.prefix),
        "next_hop": str(route.next_hop),
        "neighbors": [str(neighbor) for neighbor in route.neighbors],
        "med": route.med,
        "local_preference": route.local_preference,
        "communities": list(route.communities),
        "large_communities": list(route.large_communities),
        "extended_communities": list(route.extended_communities),
        "as_path": list(route.as_path),
    }


def route_from(text: str) -> Target:
    """The route or watchdog that `route_text` wrote; raises ValueError when the text is none."""
    try:
        return route_of(json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a route: {error!r}") from error


def route_of(told: Mapping[str, Any]) -> Target:
    """What `route_document` told; raises KeyError, TypeError or ValueError when it is no route."""
    if "watchdog" in told:
        return Watchdog(_is_text(told["watchdog"]))
    return Route(
        prefix=ip_network(_is_text(told["prefix"])),
        next_hop="self" if told["next_hop"] == "self" else ip_address(told["next_hop"]),
        neighbors=_tuple(told["neighbors"], ip_address),
        med=told["med"],
        local_preference=told["local_preference"],
        communities=_tuple(told["communities"], str),
        large_communities=_tuple(told["large_communities"], str),
        extended_communities=_tuple(told["extended_communities"], str),
        as_path=_tuple(told["as_path"], int),
    )


def order_text(order: Override | Lift | ByHand) -> str:
    """What an operator ordered as JSON, from which `order_from` makes the same again."""
    return json.dumps(order_document(order), separators=(",", ":"))


def order_document(order: Override | Lift | ByHand) -> dict[str, Any]:
    """What an operator ordered, in the words of JSON; times are seconds since the epoch."""
    said = {"actor": order.actor, "reason": order.reason, "since": order.since, "expires": order.expires}
    if isinstance(order, Lift):
        return said
    if isinstance(order, ByHand):
        return {"by_hand": route_document(order.target), "announce": order.announce, **said}
    return {"service": order.service, "action": order.action.value, **said}


def order_from(text: str) -> Override | Lift | ByHand:
    """The order that `order_text` wrote; raises ValueError when the text is none."""
    try:
        return order_of(json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not an order: {error!r}") from error


def order_of(told: Mapping[str, Any]) -> Override | Lift | ByHand:
    """What `order_document` told; raises KeyError, TypeError or ValueError when it is no order."""
    actor, reason, since = _is_text(told["actor"]), _is_text(told["reason"]), float(told["since"])
    expires = None if told["expires"] is None else float(told["expires"])
    if "by_hand" in told:
        return ByHand(route_of(told["by_hand"]), bool(told["announce"]), actor, reason, since, expires)
    if "service" not in told:
        return Lift(actor, reason, since, expires)
    return Override(_is_text(told["service"]), Action(told["action"]), actor, reason, since, expires)


def _is_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _tuple(values: list[Any], make: Callable[[Any], T]) -> tuple[T, ...]:
    return tuple(make(value) for value in values)
