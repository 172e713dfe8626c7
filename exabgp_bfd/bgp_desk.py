"""What the web room may ask about BGP messages and routes: the app's side of the `bgp_...` of `web/backend.py`."""

from __future__ import annotations

from typing import Any

from exabgp_bfd.storage.queries import MessageQuery
from exabgp_bfd.storage.reader import Reader
from exabgp_bfd.storage.route_queries import HistoryQuery, RatePlace, RateQuery, RoutePlace, RouteQuery
from exabgp_bfd.storage.updates import Kind, Match
from exabgp_bfd.web.backend import BgpFound, BgpQuestion

_STORE = "journal"


class BgpDesk:
    """Answers from the journal; every method may be called on any thread and is bounded in time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def bgp_messages(self, asked: BgpQuestion) -> BgpFound:
        """Messages, newest first."""
        query = MessageQuery(
            limit=asked.limit,
            type=asked.type,
            neighbor=asked.neighbor,
            direction=asked.direction,
            since=asked.since,
            until=asked.until,
            before=_number(asked.cursor),
            prefix=asked.prefix,
            match=Match(asked.match),
        )
        found = self._reader.messages(query)
        return BgpFound([(str(message.id), message.document()) for message in found], _STORE)

    def bgp_routes(self, asked: BgpQuestion) -> BgpFound:
        """Routes of now."""
        query = RouteQuery(
            limit=asked.limit,
            neighbor=asked.neighbor,
            direction=asked.direction,
            family=asked.family,
            prefix=asked.prefix,
            match=Match(asked.match),
            stale=asked.stale,
            after=None if asked.cursor is None else RoutePlace.parse(asked.cursor),
        )
        return BgpFound([(str(route.place), route.document()) for route in self._reader.routes(query)], _STORE)

    def bgp_history(self, asked: BgpQuestion) -> BgpFound:
        """Changes, newest first."""
        query = HistoryQuery(
            limit=asked.limit,
            prefix=asked.prefix,
            match=Match(asked.match),
            neighbor=asked.neighbor,
            direction=asked.direction,
            family=asked.family,
            kind=None if asked.kind is None else Kind[asked.kind.upper()],
            since=asked.since,
            until=asked.until,
            before=_number(asked.cursor),
        )
        return BgpFound([(str(change.id), change.document()) for change in self._reader.history(query)], _STORE)

    def bgp_rates(self, asked: BgpQuestion) -> BgpFound:
        """Rates, newest first."""
        query = RateQuery(
            limit=asked.limit,
            neighbor=asked.neighbor,
            direction=asked.direction,
            since=asked.since,
            until=asked.until,
            after=None if asked.cursor is None else RatePlace.parse(asked.cursor),
        )
        return BgpFound([(str(rate.place), rate.document()) for rate in self._reader.rates(query)], _STORE)

    def bgp_neighbors(self) -> list[dict[str, Any]]:
        """Neighbours and their tables."""
        return [neighbor.document() for neighbor in self._reader.neighbors()]


def _number(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and 0 < int(cursor[:20]) < 1 << 63 and len(cursor) < 20):
        raise ValueError(cursor[:80])
    return int(cursor)
