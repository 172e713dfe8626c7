"""Both stores filled with the same records, quickly: events and BGP messages that a large site has after months.

Events go straight into the journal's own tables, the indexes come after them; messages through the journal's writer,
which makes the tables of routes, their history and the rates. MongoDB gets the documents that the shipper would make.
What comes n-th is always the same, so that both stores have equal records and a question has equal answers.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pymongo.collection import Collection

from exabgp_bfd.storage import database
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.mongo_documents import document
from exabgp_bfd.storage.tail import MESSAGE, Tail

SITE = "bench"
DAY = 86_400_000_000
BEGIN = 1_760_000_000_000_000
"""Microseconds since the epoch of the first record."""
DEVICES, SESSIONS, SERVICES, NEIGHBORS = 100, 1000, 200, 4
QUIET, BUSY = "quiet", "busy"
"""A device with a handful of events, the oldest; and one with half of all that are about devices."""
CHAIN = 100
"""The last events each have the one before for their cause, beyond the longest chain that is followed."""
RARE_EVERY = 50_000
PREFIXES = 250_000
_AT_ONCE = 20_000
_DOCUMENTS = 2_000
_MIX = 2_654_435_761

_TYPES = (
    *(("snmp_poll", 600), ("bfd_failure", 80), ("bfd_recovery", 80), ("route_withdraw", 75), ("route_announce", 75)),
    *(("route_confirmed", 75), ("switch_failure", 10), ("override_set", 5)),
)
_KINDS = [kind for kind, weight in _TYPES for _ in range(weight)]
_ABOUT_SERVICES = frozenset({"route_withdraw", "route_announce", "route_confirmed", "override_set"})
RARE = "guard_held"

_LINE = (
    '{{ "exabgp": "5.0.0", "time": {time:.6f}, "host" : "bench", "pid" : 4711, "ppid" : 1, "counter": {counter}, '
    '"type": "update", "neighbor": {{ "address": {{ "local": "127.0.0.1", "peer": "{peer}" }}, '
    '"asn": {{ "local": 65001, "peer": 65002 }} , "router-id": "192.0.2.1", "direction": "receive", '
    '"message": {{ "update": {{ {said} }} }} }} }}'
)
_ANNOUNCE = (
    '"attribute": {{ "origin": "igp", "as-path": {{ "0": {{ "element": "as-sequence", "value": '
    '[ 65002, 64512, {origin} ] }} }}, "confederation-path": [], "med": 50, "community": '
    '[ [ 65002, 100 ] ] }}, "announce": {{ "ipv4 unicast": '
    '{{ "192.0.2.2": [ {{ "nlri": "{prefix}" }} ] }} }}'
)
_WITHDRAW = '"withdraw": {{ "ipv4 unicast": [ {{ "nlri": "{prefix}" }} ] }}'


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many records there are, and over how long."""

    events: int
    messages: int
    days: float = 90.0

    def time_of(self, number: int, count: int) -> int:
        """When the n-th of so many came."""
        return BEGIN + int(number * self.days * DAY / count)


def event(number: int, sizes: Sizes) -> tuple[Any, ...]:
    """The n-th event as the journal's table has it."""
    mixed = number * _MIX & 0xFFFFFFFF
    kind = _KINDS[(mixed >> 9) % 1000]
    device = session = service = None
    cause = None if kind == "snmp_poll" else max(1, number - 1 - (mixed & 3))
    if number % RARE_EVERY == 7:
        kind = RARE
    elif kind in _ABOUT_SERVICES:
        service = f"service{mixed % SERVICES}"
    else:
        place = mixed % (2 * SESSIONS)
        name = BUSY if place >= SESSIONS else f"edge{place % DEVICES}"
        if number <= 10:
            name = QUIET
        device, session = name, f"{name}/198.51.{place % SESSIONS >> 8}.{place % SESSIONS & 255}"
    if number > sizes.events - CHAIN:
        cause = number - 1
    details = f'{{"state":"up","was":"down","interval":0.3,"n":{number},"reason":"control detection time expired"}}'
    ts = sizes.time_of(number, sizes.events)
    return (number, ts, SITE, device, kind, details, session, service, "snmp_poll", None, cause)


def peer(number: int) -> str:
    return f"192.0.2.{10 + number % NEIGHBORS}"


def prefix(number: int) -> str:
    """The prefix that the n-th message is about."""
    return f"{ip_address('20.0.0.0') + (number % PREFIXES) * 256}/24"


def line(number: int, sizes: Sizes) -> bytes:
    """The n-th message as ExaBGP writes it: each sixth takes back what the same neighbour said."""
    ts = sizes.time_of(number, sizes.messages)
    head = {"time": ts / 1e6, "counter": number, "peer": peer(number // PREFIXES)}
    if number % PREFIXES == 1:  # the next neighbour's session begins
        state = (
            _LINE.replace('"type": "update"', '"type": "state"').partition(', "direction"')[0] + ', "state": "up" }} }}'
        )
        return state.format(**head).encode()
    shape = _WITHDRAW if number % 6 == 5 else _ANNOUNCE
    said = shape.format(prefix=prefix(number), origin=64513 + number % 900)
    return _LINE.format(said=said, **head).encode()


@dataclass(frozen=True, slots=True)
class Filled:
    """What it took."""

    seconds: float
    count: int
    octets: int


# --- the journal ------------------------------------------------------------------------------------------------


def fill_messages(path: Path, sizes: Sizes) -> Filled:
    """All messages through the journal's writer."""
    began = time.monotonic()
    journal = Journal(path, SITE)
    journal.open()
    journal.start()
    try:
        taken = 0
        for first in range(1, sizes.messages + 1, 500):
            some = range(first, min(first + 500, sizes.messages + 1))
            taken += journal.messages([line(number, sizes) for number in some], sizes.time_of(first, sizes.messages))
            if first % _AT_ONCE == 1:
                journal.flushed().result(300)
        journal.flushed().result(300)
    finally:
        assert journal.stop(300)
    assert taken == sizes.messages, f"{sizes.messages - taken} messages were dropped"
    return Filled(time.monotonic() - began, sizes.messages, path.stat().st_size)


def fill_events(path: Path, sizes: Sizes) -> Filled:
    """All events straight into the table, and then its indexes."""
    began = time.monotonic()
    before = path.stat().st_size
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -200000")
        chosen = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'event' AND sql IS NOT NULL"
        indexes = connection.execute(chosen).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        connection.execute("BEGIN")
        rows = (event(number, sizes) for number in range(1, sizes.events + 1))
        connection.executemany(f"INSERT INTO event VALUES ({', '.join('?' * 11)})", rows)
        connection.execute("COMMIT")
        for _, sql in indexes:
            connection.execute(sql)
        connection.execute("BEGIN")
        for part in range((sizes.events >> database.PART) + 1):
            database.recount(connection, "event", part)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Filled(time.monotonic() - began, sizes.events, path.stat().st_size - before)


# --- MongoDB ----------------------------------------------------------------------------------------------------


def fill_collection(collection: Collection[Any], path: Path, kind: str, count: int) -> float:
    """The first so many rows of the journal as the shipper makes them; seconds. Indexes come after them."""
    began = time.monotonic()
    tail = Tail(path)
    journal = tail.identity()[:8]
    try:
        for rows in _rows(tail, kind, count):
            keys = tail.keys(rows) if kind == MESSAGE else {}
            made = [document(kind, row, SITE, journal, row[1]) for row in rows]
            for row, each in zip(rows, made, strict=True):
                if told := keys.get(row[0]):
                    each["keys"] = list(told)
            collection.insert_many(made, ordered=False)
    finally:
        tail.close()
    return time.monotonic() - began


def _rows(tail: Tail, kind: str, count: int) -> Iterator[list[tuple[Any, ...]]]:
    last = 0
    while last < count:
        rows = tail.rows(kind, last, min(_DOCUMENTS, count - last))
        if not rows:
            return
        yield rows
        last = rows[-1][0]


def ways(connection: sqlite3.Connection, sql: str, values: Any) -> Iterator[str]:
    """By which indexes SQLite finds the rows, and what it goes through or sorts."""
    for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values):
        index = re.search(r"(?:SCAN|SEARCH) (\w+) USING (?:COVERING )?INDEX (\w+)", row[3])
        keyed = re.search(r"SEARCH (\w+) USING (?:INTEGER )?PRIMARY KEY", row[3])
        through = re.search(r"SCAN (\w+)$", row[3])
        if index is not None:
            yield index[2] + (" (all of it)" if row[3].startswith("SCAN") else "")
        elif keyed is not None:
            yield f"{keyed[1]} by key"
        elif through is not None and through[1] not in {"link", "whole", "cut"}:
            yield f"{through[1]} from the newest"
        elif "TEMP B-TREE" in row[3]:
            yield f"sorted for {row[3].rpartition(' FOR ')[2]}"
