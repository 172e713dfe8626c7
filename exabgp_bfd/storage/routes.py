"""The received-routes table and the history of prefixes, in the journal's file: the writer's side.

Whatever is here runs on the journal's writer inside the transaction that stores the messages, so that the table is
always that of the last message kept. A route tells the generation of its table in which it was last said: a reset only
raises that number, and everything older is stale; an end-of-RIB raises the number below which routes are gone, and the
rows of those are removed in small steps. So neither ever takes longer for a large table.

What a route came with is not copied: it stands in the message. Only when retention removes the message, the attributes
of the routes that still hold are moved to a table where each set is kept once.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

from exabgp_bfd.storage import updates
from exabgp_bfd.storage.updates import Mark, Sign, Told

logger = logging.getLogger(__name__)

PLACES: Final = 20
"""A change's id is its message's, shifted by so many bits, and its place among the changes of that message."""

MOST_ROUTES: Final = 2_000_000
"""Routes in all tables; beyond, new ones are refused and counted, and their table says that it is not complete."""
MOST_TABLES: Final = 20_000

RENEW: Final = 360 * 1_000_000
"""Microseconds after the session came up in which a neighbour that sends no end-of-RIB is to say its routes again."""
GONE: Final = 86_400 * 1_000_000
"""Microseconds for which the routes of a neighbour that stays down are kept as stale."""

_SWEPT_A_STEP: Final = 5_000
_FREED_A_STEP: Final = 500

GAP, RESTART, BEGUN, FULL = "messages were dropped", "restarted meanwhile", "the session's begin was not seen", "full"
"""Why a table is not complete."""

SPEAKER: Final = "speaker"
"""The meta key of the ExaBGP that the tables are from."""

_INSERT_CHANGE = "INSERT INTO change (id, rib, kind, prefix, more) VALUES (?, ?, ?, ?, ?)"
_INSERT_ROUTE = (
    "INSERT INTO route (rib, prefix, more, generation, since, ts, message, next_hop, nlri)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (rib, prefix, more) DO NOTHING"
)
# A route that was stale begins anew: while it was, nobody vouched for it.
_UPDATE_ROUTE = (
    "UPDATE route SET since = CASE WHEN generation = ?4 THEN since ELSE ?5 END, generation = ?4, ts = ?6, message = ?7,"
    " next_hop = ?8, nlri = ?9, attributes = NULL WHERE rib = ?1 AND prefix = ?2 AND more = ?3"
)
_DELETE_ROUTE = "DELETE FROM route WHERE rib = ? AND prefix = ? AND more = ?"
COLUMNS = (
    "id, neighbor, direction, family, generation, swept, cleaned, routes, refused, incomplete, renewed, reset_ts,"
    " up_ts, end_ts, ts"
)
_PUT_RIB = f"INSERT OR REPLACE INTO rib ({COLUMNS}) VALUES ({', '.join('?' * 15)})"  # noqa: S608 - our own names
_ADD_RATE = (
    "INSERT INTO rate (minute, neighbor, direction, announced, withdrawn) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (minute, neighbor, direction) DO UPDATE SET announced = announced + excluded.announced,"
    " withdrawn = withdrawn + excluded.withdrawn"
)

_Key = tuple[bytes, str]


@dataclass(slots=True)
class Rib:
    """A neighbour's table of one family and direction; family and direction empty: the neighbour itself.

    Times are microseconds since the epoch.
    """

    id: int
    neighbor: str
    direction: str
    family: str
    generation: int = 0
    swept: int = 0
    """Routes of an older generation are gone."""
    cleaned: int = 0
    """Up to which generation the rows of those that are gone were removed."""
    routes: int = 0
    refused: int = 0
    incomplete: str | None = None
    """Why something may be missing; None: nothing is."""
    renewed: int = 0
    """Whether the session began anew since: at the end-of-RIB the table is complete again."""
    reset_ts: int | None = None
    up_ts: int | None = None
    """When the session came up; None while it is down."""
    end_ts: int | None = None
    """When the end-of-RIB came, of this session."""
    ts: int = 0
    """When something last changed."""

    def row(self) -> tuple[object, ...]:
        """As table `rib` has it."""
        return (
            *(self.id, self.neighbor, self.direction, self.family, self.generation, self.swept, self.cleaned),
            *(self.routes, self.refused, self.incomplete, self.renewed, self.reset_ts, self.up_ts, self.end_ts),
            self.ts,
        )

    def reset(self, ts: int, *, up: bool) -> None:
        """The session ended or began: all routes are stale."""
        self.generation += 1
        self.reset_ts = ts
        self.up_ts = ts if up else None
        self.end_ts = None
        self.renewed = 1
        self.ts = ts

    def end(self, ts: int) -> None:
        """What is stale is gone."""
        self.swept = self.generation
        self.end_ts = self.ts = ts
        self.whole()

    def whole(self) -> None:
        """The neighbour has said all it has, if it began at the beginning."""
        if self.renewed:
            self.incomplete, self.renewed = None, 0

    def missed(self, why: str) -> None:
        """Something was not heard: what holds is not known until the neighbour says all of it again."""
        self.incomplete, self.renewed = why, 0

    def due(self) -> int | None:
        """When what is stale is gone though no end-of-RIB came; None: nothing is stale."""
        if self.swept >= self.generation:
            return None
        return self.up_ts + RENEW if self.up_ts is not None else (self.reset_ts or self.ts) + GONE


_Ribs = dict[tuple[str, str, str], Rib]


@dataclass(slots=True)
class Said:
    """What the messages of one transaction tell, in order."""

    told: list[tuple[int, int, Told | None]] = field(default_factory=list)
    """A message's id, when it was read (microseconds), and what it tells; None: here messages were dropped."""
    size: int = 0
    """How many changes there are."""

    def add(self, number: int, ts: int, told: Told | None) -> None:
        """Takes what a message tells, or (None) that some were dropped."""
        self.told.append((number, ts, told))
        if told is not None:
            self.size += len(told.changes)


@dataclass(frozen=True, slots=True)
class RouteCounters:
    """The tables' numbers at one moment."""

    tables: int = 0
    routes: int = 0
    refused_routes: int = 0
    """Announcements of routes for which there was no room."""
    refused_tables: int = 0


@dataclass(slots=True)
class _Pending:
    """What a transaction does to one table: `taken` goes first."""

    put: dict[_Key, tuple[Any, ...]] = field(default_factory=dict)
    taken: dict[_Key, None] = field(default_factory=dict)


class Routes:
    """The tables of all neighbours; its owner is the journal's writer. What it knows is that of the file.

    Whoever rolls a transaction back in which it took part calls `forget`: then it reads what the file has.
    """

    def __init__(self, *, most: int = MOST_ROUTES) -> None:
        self._most = most
        self._ribs: _Ribs | None = None
        self._by_neighbor: dict[str, list[Rib]] = {}
        self._last = 0
        self._changed: dict[int, Rib] = {}
        self._sweeping: dict[int, tuple[int, _Key]] = {}
        """Table -> the generation below which its rows are removed, and where the next step begins."""
        self._freed = 0
        self._refused_tables = 0
        self.begun = False
        """Whether it was told which ExaBGP it hears now."""

    def forget(self) -> None:
        """What is known is that of the file, and is read again."""
        self._ribs = None
        self._changed.clear()
        self._sweeping.clear()

    def counters(self) -> RouteCounters:
        """The numbers; from any thread, of about now."""
        ribs = list((self._ribs or {}).values())
        return RouteCounters(
            tables=sum(1 for rib in ribs if rib.family),
            routes=sum(rib.routes for rib in ribs),
            refused_routes=sum(rib.refused for rib in ribs),
            refused_tables=self._refused_tables,
        )

    # --- in the transactions of the writer ----------------------------------------------------------------------

    def begin(self, connection: sqlite3.Connection, speaker: str | None, now: int) -> None:
        """Says which ExaBGP is heard from now on; None: the same as before.

        Another one knows no session of the old one: everything is stale. Of the same one something may have been missed
        while nobody listened, and it says nothing again.
        """
        ribs = self._loaded(connection)
        found = connection.execute("SELECT value FROM meta WHERE key = ?", (SPEAKER,)).fetchone()
        other = speaker is not None and found is not None and found[0] != speaker
        for rib in ribs.values():
            if other:
                rib.reset(now, up=False)
            else:
                rib.missed(RESTART)
            self._changed[rib.id] = rib
        if speaker is not None:
            connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (SPEAKER, speaker))
        self._save(connection)
        self.begun = True

    def apply(self, connection: sqlite3.Connection, said: Said) -> None:
        """Takes what the messages of a transaction tell, each once."""
        ribs = self._loaded(connection)
        pending: dict[int, tuple[Rib, _Pending]] = {}
        changes: list[tuple[int, int, int, bytes, str]] = []
        rates: dict[tuple[int, str, str], list[int]] = {}
        for number, ts, told in said.told:
            if told is None:
                self._missed(ribs)
                continue
            if told.changes:
                self._take(ribs, number, ts, told, pending, changes)
                rate = rates.setdefault((ts // 60_000_000, told.neighbor, told.direction), [0, 0])
                announced = sum(change[0] for change in told.changes)
                rate[0] += announced
                rate[1] += len(told.changes) - announced
            for mark in told.marks:
                self._mark(ribs, ts, told, mark)
        connection.executemany(_INSERT_CHANGE, changes)
        room = self._most - sum(rib.routes for rib in ribs.values())
        for rib, what in pending.values():
            room -= self._write(connection, rib, what, room)
        connection.executemany(_ADD_RATE, [(*which, *counts) for which, counts in rates.items()])
        self._save(connection)

    def _take(
        self,
        ribs: _Ribs,
        number: int,
        ts: int,
        told: Told,
        pending: dict[int, tuple[Rib, _Pending]],
        changes: list[tuple[int, int, int, bytes, str]],
    ) -> None:
        neighbor, direction = told.neighbor, told.direction
        place = (number << PLACES) - 1
        family = None
        for change in told.changes:
            place += 1
            kind, its_family, prefix, more, nlri, next_hop = change
            if its_family != family:
                family = its_family
                rib = ribs.get((neighbor, direction, family)) or self._new(ribs, neighbor, direction, family)
                if rib is not None:
                    if rib.up_ts is None:  # Its session's beginning was missed, and perhaps more.
                        rib.up_ts = ts
                        rib.incomplete = rib.incomplete or BEGUN
                    rib.ts = ts
                    self._changed[rib.id] = rib
                    found = pending.get(rib.id)
                    if found is None:
                        found = pending[rib.id] = (rib, _Pending())
                    put, taken = found[1].put, found[1].taken
            if rib is None:
                continue
            changes.append((place, rib.id, kind, prefix, more))
            key = (prefix, more)
            if kind:
                generation = rib.generation
                before = put.get(key)
                since = before[4] if before is not None and before[3] == generation else ts
                put[key] = (rib.id, prefix, more, generation, since, ts, number, next_hop, nlri)
            else:
                put.pop(key, None)
                taken[key] = None

    def _mark(self, ribs: _Ribs, ts: int, told: Told, mark: Mark) -> None:
        if mark.family is None:
            if (told.neighbor, "", "") not in ribs:
                self._new(ribs, told.neighbor, "", "")
            for rib in self._by_neighbor.get(told.neighbor, ()):
                rib.reset(ts, up=mark.sign is Sign.UP)
                if not rib.family:
                    rib.whole()
                self._changed[rib.id] = rib
            return
        which = (told.neighbor, told.direction, mark.family)
        chosen = ribs.get(which) or self._new(ribs, *which)
        if chosen is None:
            return
        if mark.sign is Sign.END:
            chosen.end(ts)
        else:
            chosen.reset(ts, up=True)
        self._changed[chosen.id] = chosen

    def _missed(self, ribs: _Ribs) -> None:
        for rib in ribs.values():
            rib.missed(GAP)
            self._changed[rib.id] = rib

    def _new(self, ribs: _Ribs, neighbor: str, direction: str, family: str) -> Rib | None:
        if len(ribs) >= MOST_TABLES:
            self._refused_tables += 1
            return None
        itself = ribs.get((neighbor, "", ""))
        self._last += 1
        rib = Rib(self._last, neighbor, direction, family)
        if itself is not None and itself.up_ts is not None:
            rib.reset_ts, rib.up_ts, rib.incomplete = itself.reset_ts, itself.up_ts, itself.incomplete
        self._add(ribs, rib)
        self._changed[rib.id] = rib
        return rib

    def _add(self, ribs: _Ribs, rib: Rib) -> None:
        ribs[rib.neighbor, rib.direction, rib.family] = rib
        self._by_neighbor.setdefault(rib.neighbor, []).append(rib)

    def _write(self, connection: sqlite3.Connection, rib: Rib, what: _Pending, room: int) -> int:
        """Writes what a table's routes have become, at most `room` new ones; gives by how many there are more."""
        before = rib.routes
        if what.taken:
            keys = [(rib.id, *key) for key in sorted(what.taken)]
            rib.routes -= _many(connection, _DELETE_ROUTE, keys)
            room += before - rib.routes
        if what.put:
            rows = sorted(what.put.values())  # neighbours in the table are so on one page
            added = _many(connection, _INSERT_ROUTE, rows) if room >= len(rows) else 0
            if room < len(rows):  # One by one, as some may be there already, and need none.
                for row in rows:
                    added += _many(connection, _INSERT_ROUTE, [row]) if added < room else 0
            rib.routes += added
            if added < len(rows):
                known = _many(connection, _UPDATE_ROUTE, rows)
                if known < len(rows):
                    rib.refused += len(rows) - known
                    rib.missed(FULL)
        return rib.routes - before

    def _save(self, connection: sqlite3.Connection) -> None:
        connection.executemany(_PUT_RIB, [rib.row() for rib in self._changed.values()])
        self._changed.clear()

    def _loaded(self, connection: sqlite3.Connection) -> _Ribs:
        if self._ribs is None:
            ribs: _Ribs = {}
            self._by_neighbor = {}
            self._last = 0
            for row in connection.execute(f"SELECT {COLUMNS} FROM rib ORDER BY id"):  # noqa: S608 - our own names  # nosec B608
                rib = Rib(*row)
                self._add(ribs, rib)
                self._last = rib.id
            self._ribs = ribs
        return self._ribs

    # --- between the transactions ---

    def wants(self, now: int) -> bool:
        """Whether there is something for `tend` to do at a time (microseconds since the epoch)."""
        ribs = (self._ribs or {}).values()
        return any(rib.cleaned < rib.swept or ((due := rib.due()) is not None and now >= due) for rib in ribs)

    def tend(self, connection: sqlite3.Connection, now: int) -> None:
        """One small step of removing what is gone, in a transaction; and what is stale for too long is gone now."""
        step = False
        for rib in self._loaded(connection).values():
            due = rib.due()
            if due is not None and now >= due:
                rib.swept, rib.ts = rib.generation, now
                if rib.up_ts is not None:
                    rib.whole()
                self._changed[rib.id] = rib
            if rib.cleaned < rib.swept and not step:
                step = self._sweep(connection, rib)
                self._changed[rib.id] = rib
        self._save(connection)

    def _sweep(self, connection: sqlite3.Connection, rib: Rib) -> bool:
        """Looks at the next rows of a table; False where it has none."""
        if not rib.routes:
            rib.cleaned = rib.swept
            return False
        below, start = self._sweeping.get(rib.id, (rib.swept, (b"", "")))
        where = "rib = ? AND (prefix, more) > (?, ?)"
        end = connection.execute(
            f"SELECT prefix, more FROM route WHERE {where} ORDER BY prefix, more LIMIT 1 OFFSET ?",  # noqa: S608 - our own words  # nosec B608
            (rib.id, *start, _SWEPT_A_STEP - 1),
        ).fetchone()
        values: tuple[object, ...] = (rib.id, *start, below)
        if end is None:
            self._sweeping.pop(rib.id, None)
            rib.cleaned = below
        else:
            self._sweeping[rib.id] = (below, (end[0], end[1]))
            where, values = f"{where} AND (prefix, more) <= (?, ?)", (rib.id, *start, *end, below)
        rib.routes -= connection.execute(f"DELETE FROM route WHERE {where} AND generation < ?", values).rowcount  # noqa: S608  # nosec B608
        return True

    def let_go(self, connection: sqlite3.Connection, numbers: Sequence[int]) -> Sequence[int]:
        """Prepares for the removal of messages, oldest first, in the transaction that removes them.

        Their changes are removed, and what the routes that still hold came with is kept apart. Gives how many of the
        messages may go in this step.
        """
        if not numbers:
            return numbers
        bounds = (numbers[0] << PLACES, (numbers[-1] + 1) << PLACES)
        beyond = connection.execute(
            "SELECT id FROM change WHERE id >= ? AND id < ? ORDER BY id LIMIT 1 OFFSET ?", (*bounds, _SWEPT_A_STEP)
        ).fetchone()
        if beyond is not None:
            numbers = [number for number in numbers if number < beyond[0] >> PLACES] or numbers[:1]
        for first, last in _runs(numbers):
            bounds = (first << PLACES, (last + 1) << PLACES)
            self._keep_attributes(connection, bounds)
            connection.execute("DELETE FROM change WHERE id >= ? AND id < ?", bounds)
        return numbers

    def _keep_attributes(self, connection: sqlite3.Connection, bounds: tuple[int, int]) -> None:
        held: dict[int, list[tuple[int, bytes, str]]] = {}
        for rib, prefix, more, message in connection.execute(
            "SELECT route.rib, route.prefix, route.more, route.message FROM change CROSS JOIN route"
            " ON route.rib = change.rib AND route.prefix = change.prefix AND route.more = change.more"
            " AND route.message = change.id >> ? WHERE change.id >= ? AND change.id < ?",
            (PLACES, *bounds),
        ):
            held.setdefault(message, []).append((rib, prefix, more))
        for message, places in held.items():
            found = connection.execute("SELECT line, mended FROM message WHERE id = ?", (message,)).fetchone()
            if found is None:
                continue
            text = attributes_text(found[0], found[1])
            digest = blake2b(text.encode(), digest_size=16).digest()
            connection.execute(
                "INSERT INTO attributes (hash, text) VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, text)
            )
            number = connection.execute("SELECT id FROM attributes WHERE hash = ?", (digest,)).fetchone()[0]
            connection.executemany(
                "UPDATE route SET attributes = ? WHERE rib = ? AND prefix = ? AND more = ?",
                [(number, *place) for place in places],
            )

    @staticmethod
    def forget_rates(connection: sqlite3.Connection, before: int) -> None:
        """Removes some of the rates of before a time (microseconds since the epoch)."""
        connection.execute(
            "DELETE FROM rate WHERE (minute, neighbor, direction) IN"
            " (SELECT minute, neighbor, direction FROM rate WHERE minute < ? ORDER BY minute LIMIT ?)",
            (before // 60_000_000, _SWEPT_A_STEP),
        )

    def free(self, connection: sqlite3.Connection) -> None:
        """One small step of removing attributes that no route has any more, in a transaction."""
        some = connection.execute(
            "SELECT id FROM attributes WHERE id > ? ORDER BY id LIMIT ?", (self._freed, _FREED_A_STEP)
        ).fetchall()
        if not some:
            self._freed = 0
            return
        connection.execute(
            "DELETE FROM attributes WHERE id > ? AND id <= ?"
            " AND NOT EXISTS (SELECT 1 FROM route WHERE route.attributes = attributes.id)",
            (self._freed, some[-1][0]),
        )
        self._freed = some[-1][0]


def attributes_text(line: str, mended: str | None) -> str:
    """What the routes of a message came with, as JSON that is the same for the same attributes."""
    return json.dumps(updates.attributes_of(document_of(line, mended)), sort_keys=True, separators=(",", ":"))


def document_of(line: str, mended: str | None) -> dict[str, Any]:
    """A message's JSON, empty where it is none."""
    try:
        # ExaBGP 4.2 leaves raw control characters in strings, hence not strict.
        document = json.loads(mended or line, strict=False)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _many(connection: sqlite3.Connection, sql: str, rows: Sequence[Sequence[object]]) -> int:
    """Runs a statement for each row; how many rows of the file it changed."""
    before = connection.total_changes
    connection.executemany(sql, rows)
    return connection.total_changes - before


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as runs of consecutive ones: the first and the last of each."""
    first = last = numbers[0]
    for number in numbers[1:]:
        if number != last + 1:
            yield first, last
            first = number
        last = number
    yield first, last
