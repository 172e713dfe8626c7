"""Answers about routes from the journal: the tables of now, the history of a prefix, rates."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from exabgp_bfd.core.model import Prefix
from exabgp_bfd.storage import database, updates
from exabgp_bfd.storage.queries import PAGE
from exabgp_bfd.storage.route_queries import (
    HistoryQuery,
    RateQuery,
    RouteQuery,
    RouteStore,
    StoredChange,
    StoredNeighbor,
    StoredRate,
    StoredRoute,
    StoredTable,
)
from exabgp_bfd.storage.routes import COLUMNS, PLACES, Rib, document_of
from exabgp_bfd.storage.updates import Kind, Match

T = TypeVar("T")
Values = Sequence[object] | Mapping[str, object]
"""Of a statement's parameters, by place or by name."""

_GREATEST = (1 << 63) - 1
_AT_ONCE = 500
"""Rows looked at, and values in one statement."""
_FEW = 50
"""Rows looked at, at the least, where some of them may not be what is asked for."""
_MANY = 5_000
"""Changes under a prefix that are still sorted; beyond, all are gone through from the newest."""

_ROUTE = (
    "SELECT route.prefix, route.more, route.nlri, route.next_hop, route.attributes, route.since, route.ts,"
    " route.generation < rib.generation, route.message"
    " FROM rib CROSS JOIN route ON route.rib = rib.id WHERE rib.id = ? AND route.generation >= rib.swept"
)
_CHANGE = "SELECT id, rib, kind, prefix, more FROM change"


class _Found(NamedTuple):
    """A row of table `change`."""

    id: int
    rib: int
    kind: int
    key: bytes
    more: str


@dataclass(frozen=True, slots=True)
class _Message:
    """What is needed of a message to tell what its routes came with."""

    ts: int
    changes: Sequence[updates.Change]
    attributes: Mapping[str, Any]


class RouteReader(RouteStore):
    """The part of the reader that answers about routes; whoever inherits it brings the connections."""

    _site: str

    @abstractmethod
    def _answer(self, sql: str, values: Values, make: Callable[[tuple[Any, ...]], T]) -> list[T]:
        """The rows of a statement; raises StoreError."""

    # --- the tables of now --------------------------------------------------------------------------------------

    def routes(self, query: RouteQuery) -> list[StoredRoute]:
        """The routes of now that match, at most `limit`, in the order of their places."""
        limit = max(0, min(query.limit, PAGE))
        after = query.after
        found: list[tuple[Rib, tuple[Any, ...]]] = []
        for rib in self._tables(query.neighbor, query.direction, query.family):
            which = (rib.neighbor, rib.direction, rib.family)
            if len(found) >= limit:
                break
            if after is not None and which < (after.neighbor, after.direction, after.family):
                continue
            if query.stale and rib.swept >= rib.generation:  # Nothing is; it need not be looked for in a million.
                continue
            sql, values = _ROUTE, list[object]((rib.id,))
            if after is not None and which == (after.neighbor, after.direction, after.family):
                sql += " AND (route.prefix, route.more) > (?, ?)"
                values += [after.key, database.clean(after.more)]
            where, keys = matches("route.prefix", query.prefix, query.match)
            if query.stale is not None:
                where += f" AND route.generation {'<' if query.stale else '>='} rib.generation"
            sql += f"{where} ORDER BY route.prefix, route.more LIMIT ?"
            rows = self._answer(sql, (*values, *keys, limit - len(found)), tuple)
            found += [(rib, row) for row in rows]
        return self._complete_routes(found)

    def _complete_routes(self, found: Sequence[tuple[Rib, tuple[Any, ...]]]) -> list[StoredRoute]:
        messages = self._messages_of((row[8] for _, row in found if row[4] is None), _attributes)
        # Where a message was removed in this moment, its attributes are kept apart by now.
        moved = [(rib, row) for rib, row in found if row[4] is None and row[8] not in messages]
        sets = {(rib.id, row[0], row[1]): row[4] for rib, row in found if row[4] is not None}
        for rib, row in moved:
            sql = "SELECT attributes FROM route WHERE rib = ? AND prefix = ? AND more = ?"
            place = (rib.id, row[0], row[1])
            for (number,) in self._answer(sql, place, tuple):
                sets[place] = number
        texts = self._texts_of(number for number in sets.values() if number is not None)
        routes = []
        for rib, row in found:
            key, more, nlri, next_hop, _, since, ts, stale, message = row
            number = sets.get((rib.id, key, more))
            attributes = texts.get(number) if number is not None else None
            if attributes is None and message in messages:
                attributes = messages[message]
            routes.append(
                StoredRoute(
                    *(rib.neighbor, rib.direction, rib.family, key, more, nlri, next_hop, attributes, since, ts),
                    stale=bool(stale),
                    message=message,
                    site=self._site,
                )
            )
        return routes

    def _texts_of(self, numbers: Iterable[int]) -> dict[int, Mapping[str, Any]]:
        texts: dict[int, Mapping[str, Any]] = {}
        for some in _parts(sorted(set(numbers))):
            sql = f"SELECT id, text FROM attributes WHERE id IN ({_marks(some)})"  # noqa: S608 - marks  # nosec B608
            texts.update(self._answer(sql, some, lambda row: (row[0], json.loads(row[1]))))
        return texts

    def neighbors(self) -> list[StoredNeighbor]:
        """All neighbours that ExaBGP told of, by address, with their tables."""
        grouped: dict[str, list[Rib]] = {}
        for rib in self._tables(None, None, None, themselves=True):
            grouped.setdefault(rib.neighbor, []).append(rib)
        told = []
        for neighbor, ribs in grouped.items():
            itself = next((rib for rib in ribs if not rib.family), None)
            told.append(
                StoredNeighbor(
                    neighbor,
                    up=None if itself is None or itself.incomplete is not None else itself.up_ts is not None,
                    since=None if itself is None else itself.reset_ts,
                    tables=tuple(_table(rib) for rib in ribs if rib.family),
                    site=self._site,
                )
            )
        return told

    def _tables(
        self, neighbor: str | None, direction: str | None, family: str | None, *, themselves: bool = False
    ) -> list[Rib]:
        terms, values = ["1" if themselves else "family <> ''"], []
        for column, value in (("neighbor", neighbor), ("direction", direction), ("family", family)):
            if value is not None:
                terms.append(f"{column} = ?")
                values.append(database.clean(value))
        # In the order of the octets, as Python and MongoDB compare text.
        order = "neighbor, direction, family"
        sql = f"SELECT {COLUMNS} FROM rib WHERE {' AND '.join(terms)} ORDER BY {order}"  # noqa: S608 - our own names  # nosec B608
        return self._answer(sql, values, lambda row: Rib(*row))

    # --- history ------------------------------------------------------------------------------------------------

    def history(self, query: HistoryQuery) -> list[StoredChange]:
        """The newest changes that match, at most `limit`."""
        tables = self._chosen(query)
        below = query.before if query.before is not None else _GREATEST
        size = max(1, min(query.limit, _AT_ONCE))
        found = self._completed(self._changes_below(query, tables, below, size), tables)
        matching = (
            change
            for change in found
            if (query.since is None or change.ts >= query.since) and (query.until is None or change.ts <= query.until)
        )
        return list(islice(matching, max(0, min(query.limit, PAGE))))

    def changes(self, after: int, limit: int) -> list[StoredChange]:
        """The changes with a greater id, oldest first: for whoever copies them."""
        tables = {rib.id: rib for rib in self._tables(None, None, None)}
        sql = f"{_CHANGE} WHERE id > ? ORDER BY id LIMIT ?"
        rows = self._answer(sql, (after, max(0, min(limit, PAGE))), lambda row: _Found(*row))
        return list(self._completed([rows], tables))

    def messages_about(self, query: HistoryQuery) -> Iterator[list[int]]:
        """The ids of the messages that tell of a prefix, newest first, some at a time."""
        last = None
        below = query.before if query.before is not None else _GREATEST
        size = max(_FEW, min(query.limit, _AT_ONCE))
        for rows in self._changes_below(query, self._chosen(query), below, size):
            numbers = []
            for row in rows:
                if row.id >> PLACES != last:
                    last = row.id >> PLACES
                    numbers.append(last)
            yield numbers

    def _chosen(self, query: HistoryQuery) -> dict[int, Rib]:
        return {rib.id: rib for rib in self._tables(query.neighbor, query.direction, query.family)}

    def _changes_below(
        self, query: HistoryQuery, tables: Mapping[int, Rib], below: int, size: int
    ) -> Iterator[list[_Found]]:
        """Rows that match but for their exact time, newest first, `size` at a time."""
        chosen = query.neighbor is not None or query.direction is not None or query.family is not None
        if chosen and not tables:
            return
        where, values = "", list[object]()
        if chosen and len(tables) <= _AT_ONCE:
            where, values = f" AND rib IN ({_marks(tables)})", list(tables)
        if query.kind is not None:
            where, values = f"{where} AND kind = ?", [*values, int(query.kind)]
        above, below = self._within(query.since, query.until, below)
        look = self._way(query.prefix, query.match, size)
        while above < below:
            rows = look(f"id >= ? AND id < ?{where}", (above, below, *values))
            if not rows:
                return
            yield [row for row in rows if row.rib in tables]
            below = rows[-1].id

    def _way(self, prefix: Prefix | None, match: Match, size: int) -> Callable[[str, tuple[object, ...]], list[_Found]]:
        """How the newest changes of a prefix are found, given what else must hold."""

        def by_id(where: str, values: tuple[object, ...]) -> list[_Found]:
            sql = f"{_CHANGE} NOT INDEXED WHERE {where} {also} ORDER BY id DESC LIMIT {size}"
            return self._answer(sql, (*values, *keys), lambda row: _Found(*row))

        def by_prefix(where: str, values: tuple[object, ...]) -> list[_Found]:
            sql = f"{_CHANGE} INDEXED BY change_prefix WHERE {where} {also} ORDER BY id DESC LIMIT {size}"
            return self._answer(sql, (*values, *keys), lambda row: _Found(*row))

        def by_each(where: str, values: tuple[object, ...]) -> list[_Found]:
            # One by one each is read from its newest on; together they would all have to be sorted.
            sql = f"{_CHANGE} INDEXED BY change_prefix WHERE {where} AND prefix = ? ORDER BY id DESC LIMIT {size}"
            rows = [row for key in there for row in self._answer(sql, (*values, key), lambda row: _Found(*row))]
            return sorted(rows, reverse=True)[:size]

        also, keys = matches("prefix", prefix, match)
        if prefix is None:
            return by_id
        if match is Match.COVERING:
            exists = "SELECT 1 FROM change INDEXED BY change_prefix WHERE prefix = ? LIMIT 1"
            there = [key for key in keys if self._answer(exists, (key,), tuple)]
            return by_each
        if match is Match.LONGER:
            counted = "SELECT count(*) FROM (SELECT 1 FROM change INDEXED BY change_prefix"
            many = self._answer(f"{counted} WHERE 1 {also} LIMIT {_MANY})", keys, tuple)[0][0]
            return by_id if many >= _MANY else by_prefix
        return by_prefix

    def _within(self, since: int | None, until: int | None, below: int) -> tuple[int, int]:
        """The ids of changes between two times, as far as the spans of the messages tell."""
        above = 0
        if since is not None:
            sql = "SELECT min(part) FROM span WHERE kind = 'message' AND last_ts >= ?"
            part = self._answer(sql, (since,), tuple)[0][0]
            above = _GREATEST if part is None else part << database.PART << PLACES
        if until is not None:
            sql = "SELECT max(part) FROM span WHERE kind = 'message' AND first_ts <= ?"
            part = self._answer(sql, (until,), tuple)[0][0]
            below = 0 if part is None else min(below, (part + 1) << database.PART << PLACES)
        return above, below

    def _completed(self, parts: Iterable[list[_Found]], tables: Mapping[int, Rib]) -> Iterator[StoredChange]:
        """With what the messages say of them; those whose message was removed in this moment are left out."""
        messages: dict[int, _Message] = {}
        for rows in parts:
            wanted = {row.id >> PLACES for row in rows}
            kept = {number: messages[number] for number in wanted & messages.keys()}
            messages = kept | self._messages_of(wanted - kept.keys(), _message)
            for row in rows:
                message, rib = messages.get(row.id >> PLACES), tables.get(row.rib)
                place = row.id & ((1 << PLACES) - 1)
                if message is None or rib is None:
                    continue
                change = message.changes[place] if place < len(message.changes) else None
                announced = row.kind == Kind.ANNOUNCE
                yield StoredChange(
                    *(row.id, message.ts, Kind(row.kind), rib.neighbor, rib.direction, rib.family, row.key, row.more),
                    nlri=change.nlri if change is not None else None,
                    next_hop=change.next_hop if change is not None else None,
                    attributes=message.attributes if announced else {},
                    message=row.id >> PLACES,
                    site=self._site,
                )

    def _messages_of(self, numbers: Iterable[int], make: Callable[[int, str, str | None], T]) -> dict[int, T]:
        messages: dict[int, T] = {}
        for some in _parts(sorted(set(numbers))):
            sql = f"SELECT id, ts, line, mended FROM message WHERE id IN ({_marks(some)})"  # noqa: S608 - marks  # nosec B608
            messages.update(self._answer(sql, some, lambda row: (row[0], make(row[1], row[2], row[3]))))
        return messages

    # --- rates --------------------------------------------------------------------------------------------------

    def rates(self, query: RateQuery) -> list[StoredRate]:
        """The newest rates that match, at most `limit`."""
        terms, values = ["1"], list[object]()
        for column, sign, value in (
            ("neighbor", "=", query.neighbor),
            ("direction", "=", query.direction),
            ("minute", ">=", None if query.since is None else query.since // 60_000_000),
            ("minute", "<=", None if query.until is None else query.until // 60_000_000),
        ):
            if value is not None:
                terms.append(f"{column} {sign} ?")
                values.append(database.clean(value) if isinstance(value, str) else value)
        if query.after is not None:
            terms.append("(minute, neighbor, direction) < (?, ?, ?)")
            values += [query.after.minute, database.clean(query.after.neighbor), query.after.direction]
        sql = (
            f"SELECT minute, neighbor, direction, announced, withdrawn FROM rate WHERE {' AND '.join(terms)}"  # noqa: S608  # nosec B608
            " ORDER BY minute DESC, neighbor DESC, direction DESC LIMIT ?"
        )
        limit = max(0, min(query.limit, PAGE))
        rows = self._answer(sql, (*values, limit), tuple)
        return [replace(StoredRate(*row), site=self._site) for row in rows]


def _message(ts: int, line: str, mended: str | None) -> _Message:
    document = document_of(line, mended)
    told = updates.told(document)
    return _Message(ts, told.changes if told is not None else (), updates.attributes_of(document))


def _attributes(_: int, line: str, mended: str | None) -> Mapping[str, Any]:
    return updates.attributes_of(document_of(line, mended))


def _table(rib: Rib) -> StoredTable:
    return StoredTable(
        *(rib.family, rib.direction, rib.routes, rib.incomplete, rib.reset_ts, rib.end_ts),
        renewing=rib.swept < rib.generation and rib.routes > 0,
        refused=rib.refused,
        updated=rib.ts,
    )


def matches(column: str, prefix: Prefix | None, match: Match) -> tuple[str, list[bytes]]:
    """The words of a condition on a key, and their values."""
    if prefix is None:
        return "", []
    if match is Match.EXACT:
        return f" AND {column} = ?", [updates.key_of(prefix)]
    if match is Match.LONGER:
        return f" AND {column} BETWEEN ? AND ?", list(updates.inside(prefix))
    keys = updates.around(prefix)
    return f" AND {column} IN ({_marks(keys)})", keys


def _marks(values: Iterable[object]) -> str:
    return ", ".join("?" for _ in values)


def _parts(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), _AT_ONCE):
        yield numbers[start : start + _AT_ONCE]
