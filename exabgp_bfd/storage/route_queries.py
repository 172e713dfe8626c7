"""What may be asked of received routes, their history and their rates, and what the answers look like. Pure."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from exabgp_bfd.core.model import Prefix
from exabgp_bfd.storage.queries import rfc3339
from exabgp_bfd.storage.updates import Kind, Match, spell, split

_LONGEST = 12_000
"""Characters of a cursor."""
_NO_CURSOR = "not a cursor that was given out here"


@dataclass(frozen=True, slots=True, order=True)
class RoutePlace:
    """Where a route stands in the list of all: they are in the order of these fields."""

    neighbor: str
    direction: str
    family: str
    key: bytes
    more: str

    def __str__(self) -> str:
        told = [self.neighbor, self.direction, self.family, self.key.hex(), self.more]
        return urlsafe_b64encode(json.dumps(told, separators=(",", ":")).encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> RoutePlace:
        """The place that a text names; raises ValueError."""
        try:
            told = json.loads(urlsafe_b64decode(text[:_LONGEST] + "=" * (-len(text) % 4)))
            neighbor, direction, family, key, more = told
            place = cls(neighbor, direction, family, bytes.fromhex(key), more)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(_NO_CURSOR) from error
        if str(place) != text or not all(isinstance(word, str) for word in (neighbor, direction, family, more)):
            raise ValueError(_NO_CURSOR)
        return place


@dataclass(frozen=True, slots=True)
class RouteQuery:
    """A question to the tables of now, in the order of RoutePlace."""

    limit: int = 50
    neighbor: str | None = None
    """Its address, as ExaBGP writes it."""
    direction: str | None = "receive"
    """`receive`: what neighbours told ExaBGP; `send`: what it told them."""
    family: str | None = None
    """`ipv4 unicast`, as ExaBGP writes it."""
    prefix: Prefix | None = None
    match: Match = Match.EXACT
    stale: bool | None = None
    after: RoutePlace | None = None
    """Only what follows: where the last page ended."""


@dataclass(frozen=True, slots=True)
class StoredRoute:
    """A route as its neighbour last said it; times are microseconds since the epoch."""

    neighbor: str
    direction: str
    family: str
    key: bytes
    more: str
    nlri: str | None
    next_hop: str | None
    attributes: Mapping[str, Any] | None
    """As ExaBGP names them; None where they are not kept any more."""
    since: int
    """Since when it is there without a break."""
    ts: int
    """When it was last said."""
    stale: bool
    """Its session ended since, and it was not said again yet."""
    message: int
    """The id of the message that said it, which retention may have removed."""
    site: str = ""

    @property
    def place(self) -> RoutePlace:
        """Where it stands in the list of all."""
        return RoutePlace(self.neighbor, self.direction, self.family, self.key, self.more)

    def document(self) -> dict[str, Any]:
        """The route as the API has it."""
        path_id, distinguisher = split(self.more)
        return {
            "site": self.site,
            "neighbor": self.neighbor,
            "direction": self.direction,
            "family": self.family,
            "prefix": spell(self.key),
            "nlri": self.nlri,
            "path_id": path_id or None,
            "distinguisher": distinguisher or None,
            "next_hop": self.next_hop,
            "attributes": None if self.attributes is None else dict(self.attributes),
            "since": rfc3339(self.since),
            "updated": rfc3339(self.ts),
            "stale": self.stale,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """A question to the changes of routes, newest first; times are microseconds since the epoch, of our reading."""

    limit: int = 50
    prefix: Prefix | None = None
    match: Match = Match.EXACT
    neighbor: str | None = None
    direction: str | None = None
    family: str | None = None
    kind: Kind | None = None
    since: int | None = None
    until: int | None = None
    before: int | None = None
    """Only changes with a smaller id: where the last page ended."""


@dataclass(frozen=True, slots=True)
class StoredChange:
    """A route that was announced or withdrawn; `ts` is microseconds since the epoch."""

    id: int
    ts: int
    kind: Kind
    neighbor: str
    direction: str
    family: str
    key: bytes
    more: str
    nlri: str | None
    next_hop: str | None
    attributes: Mapping[str, Any]
    """As ExaBGP names them; of a withdraw empty."""
    message: int
    site: str = ""

    def document(self) -> dict[str, Any]:
        """The change as the API has it."""
        path_id, distinguisher = split(self.more)
        return {
            "id": self.id,
            "ts": rfc3339(self.ts),
            "site": self.site,
            "kind": self.kind.name.lower(),
            "neighbor": self.neighbor,
            "direction": self.direction,
            "family": self.family,
            "prefix": spell(self.key),
            "nlri": self.nlri,
            "path_id": path_id or None,
            "distinguisher": distinguisher or None,
            "next_hop": self.next_hop,
            "attributes": dict(self.attributes),
            "message": self.message,
        }


@dataclass(frozen=True, slots=True, order=True)
class RatePlace:
    """Where a rate stands in the list of all, which is in the opposite order of these fields."""

    minute: int
    """Since the epoch."""
    neighbor: str
    direction: str

    def __str__(self) -> str:
        return f"{self.minute}.{self.direction}.{self.neighbor}"

    @classmethod
    def parse(cls, text: str) -> RatePlace:
        """The place that a text names; raises ValueError."""
        minute, _, rest = text.partition(".")
        direction, _, neighbor = rest.partition(".")
        if not (minute.isascii() and minute.isdecimal() and len(minute) <= 12) or direction not in ("receive", "send"):
            raise ValueError(_NO_CURSOR)
        return cls(int(minute), neighbor, direction)


@dataclass(frozen=True, slots=True)
class RateQuery:
    """A question to the rates, newest first; times are microseconds since the epoch."""

    limit: int = 50
    neighbor: str | None = None
    direction: str | None = None
    since: int | None = None
    until: int | None = None
    after: RatePlace | None = None
    """Only what follows: where the last page ended."""


@dataclass(frozen=True, slots=True)
class StoredRate:
    """How many routes a neighbour was told, or told, in a minute."""

    minute: int
    neighbor: str
    direction: str
    announced: int
    withdrawn: int
    site: str = ""

    @property
    def place(self) -> RatePlace:
        """Where it stands in the list of all."""
        return RatePlace(self.minute, self.neighbor, self.direction)

    def document(self) -> dict[str, Any]:
        """The rate as the API has it."""
        return {
            "minute": rfc3339(self.minute * 60_000_000),
            "site": self.site,
            "neighbor": self.neighbor,
            "direction": self.direction,
            "announced": self.announced,
            "withdrawn": self.withdrawn,
        }


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A neighbour's table of one family and direction; times are microseconds since the epoch."""

    family: str
    direction: str
    routes: int
    """With those that are gone and not yet removed from the file."""
    incomplete: str | None
    """Why something may be missing, None: nothing is."""
    reset: int | None
    """When its session last began or ended."""
    end_of_rib: int | None
    """When all was said, in this session."""
    renewing: bool
    """Whether routes may be stale."""
    refused: int
    updated: int

    def document(self) -> dict[str, Any]:
        """The table as the API has it."""
        return {
            "family": self.family,
            "direction": self.direction,
            "routes": self.routes,
            "complete": self.incomplete is None,
            "incomplete": self.incomplete,
            "reset": None if self.reset is None else rfc3339(self.reset),
            "end_of_rib": None if self.end_of_rib is None else rfc3339(self.end_of_rib),
            "renewing": self.renewing,
            "refused": self.refused,
            "updated": rfc3339(self.updated),
        }


@dataclass(frozen=True, slots=True)
class StoredNeighbor:
    """A neighbour that ExaBGP told of, and its tables."""

    neighbor: str
    up: bool | None
    """Whether its session is established; None: no state of it was heard."""
    since: int | None
    tables: tuple[StoredTable, ...]
    site: str = ""

    def document(self) -> dict[str, Any]:
        """The neighbour as the API has it."""
        return {
            "neighbor": self.neighbor,
            "site": self.site,
            "state": None if self.up is None else "up" if self.up else "down",
            "since": None if self.since is None else rfc3339(self.since),
            "tables": [table.document() for table in self.tables],
        }


class RouteStore(Protocol):
    """What the web asks of a store about routes; each raises StoreError when it cannot answer."""

    def routes(self, query: RouteQuery) -> list[StoredRoute]:
        """The routes of now that match."""
        ...

    def history(self, query: HistoryQuery) -> list[StoredChange]:
        """The newest changes that match."""
        ...

    def rates(self, query: RateQuery) -> list[StoredRate]:
        """The newest rates that match."""
        ...

    def neighbors(self) -> list[StoredNeighbor]:
        """All neighbours, by address."""
        ...
