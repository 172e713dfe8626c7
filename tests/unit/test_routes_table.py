"""The received-routes table in a journal's file: what is counted, capped, kept apart, mended and told."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from exabgp_bfd.speaker import messages
from exabgp_bfd.storage import journal as journal_module
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.queries import MessageQuery
from exabgp_bfd.storage.reader import Reader
from exabgp_bfd.storage.route_queries import HistoryQuery, RatePlace, RateQuery, RoutePlace, RouteQuery
from exabgp_bfd.storage.routes import BEGUN, FULL, GAP, RESTART, Routes
from exabgp_bfd.storage.updates import Match

SECONDS = 20.0
T0 = 1_763_640_000_000_000
PEER = "192.0.2.9"


def message(kind: str, peer: str = PEER, **more) -> bytes:
    neighbor = {"address": {"local": "192.0.2.1", "peer": peer}, **more}
    return json.dumps({"exabgp": "5.0.0", "time": 1.5, "type": kind, "neighbor": neighbor}).encode()


def announce(*prefixes: str, peer: str = PEER, med: int = 0, family: str = "ipv4 unicast") -> bytes:
    announced = {family: {"192.0.2.7": [{"nlri": prefix} for prefix in prefixes]}}
    update = {"attribute": {"origin": "igp", "med": med}, "announce": announced}
    return message("update", peer, direction="receive", message={"update": update})


def withdraw(*prefixes: str) -> bytes:
    update = {"withdraw": {"ipv4 unicast": [{"nlri": prefix} for prefix in prefixes]}}
    return message("update", direction="receive", message={"update": update})


def state(word: str) -> bytes:
    return message("state", state=word)


END = message("update", direction="receive", message={"eor": {"afi": "ipv4", "safi": "unicast"}})


class Room:
    """A journal and who reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal: Journal | None = None
        self.reader = Reader(path, site="fra1")

    def start(self, speaker: str = "exabgp", **settings) -> None:
        self.stop()
        self.journal = Journal(self.path, "fra1", mend=mend, **settings)
        self.journal.open()
        self.journal.speaker(speaker)
        self.journal.start()

    def say(self, *lines: bytes, ts: int | None = None) -> None:
        ts = time.time_ns() // 1000 if ts is None else ts
        assert self.journal.messages(lines, ts) == len(lines)
        self.journal.flushed().result(SECONDS)

    def stop(self) -> None:
        if self.journal is not None:
            assert self.journal.stop(SECONDS)

    def prefixes(self, **asked) -> list[str]:
        return [route.document()["prefix"] for route in self.reader.routes(RouteQuery(**asked))]

    def table(self, family: str = "ipv4 unicast"):
        (neighbor,) = [one for one in self.reader.neighbors() if one.neighbor == PEER]
        (table,) = [one for one in neighbor.tables if one.family == family]
        return table

    def until(self, what) -> None:
        deadline = time.monotonic() + SECONDS
        while not what():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.01)


def mend(line: bytes):
    parsed = messages.parse(line)
    return parsed.document if isinstance(parsed, messages.Message) else None


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path / "journal.db")
    made.start()
    yield made
    made.reader.close()
    made.stop()


def test_a_route_as_the_api_has_it(room: Room) -> None:
    room.say(state("up"), announce("192.0.2.0/24", med=7), ts=T0)
    (route,) = room.reader.routes(RouteQuery())
    assert route.document() == {
        "site": "fra1",
        "neighbor": PEER,
        "direction": "receive",
        "family": "ipv4 unicast",
        "prefix": "192.0.2.0/24",
        "nlri": None,
        "path_id": None,
        "distinguisher": None,
        "next_hop": "192.0.2.7",
        "attributes": {"origin": "igp", "med": 7},
        "since": "2025-11-20T12:00:00.000000Z",
        "updated": "2025-11-20T12:00:00.000000Z",
        "stale": False,
        "message": 2,
    }
    (change,) = room.reader.history(HistoryQuery(prefix=ip_network("192.0.2.0/24")))
    shared = set(change.document()) & set(route.document())
    assert {name: change.document()[name] for name in shared} == {name: route.document()[name] for name in shared}
    assert (change.document()["kind"], change.document()["ts"]) == ("announce", "2025-11-20T12:00:00.000000Z")


def test_a_reset_makes_stale_and_the_end_of_rib_sweeps(room: Room) -> None:
    room.say(state("up"), announce("10.0.0.0/8", "10.1.0.0/16"), END)
    assert room.table().document()["complete"]
    room.say(state("down"))
    assert room.prefixes(stale=True) == ["10.0.0.0/8", "10.1.0.0/16"]
    room.say(state("up"), announce("10.1.0.0/16"))
    assert (room.prefixes(stale=True), room.prefixes(stale=False)) == (["10.0.0.0/8"], ["10.1.0.0/16"])
    assert room.table().renewing
    room.say(END)
    assert room.prefixes() == ["10.1.0.0/16"]
    room.until(lambda: room.table().routes == 1)  # by and by the row goes too
    assert not room.table().renewing


def test_what_was_not_heard_makes_a_table_incomplete_until_it_is_said_anew(room: Room) -> None:
    room.say(announce("10.0.0.0/8"))
    assert room.table().incomplete == BEGUN
    room.say(END)
    assert room.table().incomplete == BEGUN  # what was said before we listened is still not known
    room.say(state("down"), state("up"), announce("10.0.0.0/8"))
    assert room.table().incomplete == BEGUN
    room.say(END)
    assert room.table().incomplete is None
    with room.journal._gate:
        room.journal._drop(3, T0)
    room.say(announce("10.2.0.0/16"))
    assert room.table().incomplete == GAP
    room.say(state("up"), END)
    assert room.table().incomplete is None


def test_our_restart_keeps_the_table_and_another_exabgp_makes_it_stale(room: Room) -> None:
    room.say(state("up"), announce("10.0.0.0/8"), END)
    room.start()
    room.say(announce("10.1.0.0/16"))
    assert room.prefixes(stale=False) == ["10.0.0.0/8", "10.1.0.0/16"]
    assert room.table().incomplete == RESTART
    room.start("another exabgp")
    room.until(lambda: room.prefixes(stale=True) == ["10.0.0.0/8", "10.1.0.0/16"])
    room.say(state("up"), announce("10.1.0.0/16"), END)
    assert room.prefixes() == ["10.1.0.0/16"]
    assert room.table().incomplete is None


def test_there_is_room_for_so_many_routes_and_what_is_refused_is_counted(room: Room) -> None:
    room.journal._routes = Routes(most=3)
    room.say(state("up"), announce("10.0.0.0/8", "10.1.0.0/16"), END)
    room.say(announce("10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", med=5))
    assert room.prefixes() == ["10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"]
    assert (room.table().incomplete, room.table().refused) == (FULL, 1)
    assert room.journal.route_counters().refused_routes == 1
    assert [route.attributes["med"] for route in room.reader.routes(RouteQuery())] == [0, 5, 5]
    room.say(withdraw("10.0.0.0/8"), announce("10.3.0.0/16"))
    assert room.prefixes() == ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]


def test_retention_takes_the_messages_and_leaves_the_attributes_of_what_holds(room: Room, monkeypatch) -> None:
    monkeypatch.setattr(journal_module, "_PRUNE", 0.01)
    room.say(
        state("up"),
        announce("10.0.0.0/8", "10.1.0.0/16", med=1),
        announce("10.2.0.0/16", med=1),
        withdraw("10.1.0.0/16"),
        ts=T0,
    )
    room.start(keep_messages=3600.0)
    room.until(lambda: not room.reader.messages(MessageQuery()))
    assert [(one.place.key[1:3], one.attributes) for one in room.reader.routes(RouteQuery())] == [
        (b"\x0a\x00", {"origin": "igp", "med": 1}),
        (b"\x0a\x02", {"origin": "igp", "med": 1}),
    ]
    assert room.reader.history(HistoryQuery()) == []
    room.until(lambda: room.reader.rates(RateQuery()) == [])

    def sets() -> int:
        with closing(sqlite3.connect(room.path)) as other:
            return other.execute("SELECT count(*) FROM attributes").fetchone()[0]

    assert sets() == 1
    room.say(announce("10.0.0.0/8", med=2))
    assert [route.attributes["med"] for route in room.reader.routes(RouteQuery())] == [2, 1]
    room.say(withdraw("10.2.0.0/16"))
    room.until(lambda: sets() == 0)


def test_a_line_that_had_to_be_mended_is_kept_as_it_came_and_as_it_is_meant(room: Room) -> None:
    room.say(state("up"), announce("10.0.0.0/8"), state("up"))
    broken = END.replace(b'"message": {"eor"', b'"message": {"update": {"announce": {"ipv4 unicast": {"null": [ "eor"')
    broken = broken.replace(b'"unicast"}}', b'"unicast"} ]}}}}')
    with pytest.raises(ValueError, match="delimiter"):
        json.loads(broken)
    room.say(broken)
    assert room.prefixes() == []
    newest = room.reader.messages(MessageQuery(limit=1))[0]
    assert newest.line.encode() == broken
    assert newest.document()["raw"].encode() == broken
    assert newest.document()["message"]["neighbor"]["message"]["update"]["announce"]["ipv4 unicast"]["null"]
    room.say(b'{ "exabgp": "5.0.0", nonsense')
    assert len(room.reader.quarantined()) == 1


def test_rates_are_counted_a_minute_and_neighbour(room: Room) -> None:
    room.say(announce("10.0.0.0/8", "10.1.0.0/16"), withdraw("10.0.0.0/8"), ts=T0)
    room.say(announce("10.0.0.0/8"), ts=T0 + 59_000_000)
    room.say(announce("10.0.0.0/8"), announce("10.9.0.0/16", peer="192.0.2.8"), ts=T0 + 60_000_000)
    found = [
        (one.document()["minute"][11:16], one.neighbor, one.announced, one.withdrawn)
        for one in room.reader.rates(RateQuery())
    ]
    assert found == [("12:01", PEER, 1, 0), ("12:01", "192.0.2.8", 1, 0), ("12:00", PEER, 3, 1)]
    pages = []
    query = RateQuery(limit=1)
    while page := room.reader.rates(query):
        pages += page
        query = replace(query, after=RatePlace.parse(str(page[-1].place)))
    assert pages == room.reader.rates(RateQuery())
    assert [one.announced for one in room.reader.rates(RateQuery(neighbor=PEER, until=T0))] == [3]


def test_messages_are_found_by_prefix_and_type_and_time(room: Room) -> None:
    room.say(state("up"), announce("10.1.0.0/16", "10.2.0.0/16"), ts=T0)
    room.say(announce("10.0.0.0/8", peer="192.0.2.8"), withdraw("10.1.0.0/16"), ts=T0 + 5)

    def ids(**asked) -> list[int]:
        return [one.id for one in room.reader.messages(MessageQuery(**asked))]

    inner, outer = ip_network("10.1.0.0/16"), ip_network("10.0.0.0/8")
    assert ids(prefix=inner) == [4, 2]
    assert ids(prefix=inner, match=Match.COVERING) == [4, 3, 2]
    assert ids(prefix=outer, match=Match.LONGER) == [4, 3, 2]
    assert ids(prefix=outer, match=Match.LONGER, neighbor=PEER) == [4, 2]
    assert ids(prefix=outer, match=Match.LONGER, until=T0) == [2]
    assert ids(prefix=outer, match=Match.LONGER, since=T0 + 1, limit=1) == [4]
    assert ids(prefix=outer, match=Match.LONGER, before=4) == [3, 2]
    assert ids(prefix=outer, match=Match.LONGER, type="state") == []
    assert ids(prefix=ip_network("::/0"), match=Match.LONGER) == []


def test_whoever_copies_the_changes_gets_each_once_in_order(room: Room) -> None:
    room.say(announce("10.1.0.0/16", "10.2.0.0/16", med=3), withdraw("10.1.0.0/16"), ts=T0)
    found, last = [], 0
    while page := room.reader.changes(last, 1):
        found += page
        last = page[-1].id
    assert [(one.kind, one.document()["prefix"], one.message, dict(one.attributes)) for one in found] == [
        (1, "10.1.0.0/16", 1, {"origin": "igp", "med": 3}),
        (1, "10.2.0.0/16", 1, {"origin": "igp", "med": 3}),
        (0, "10.1.0.0/16", 2, {}),
    ]


@pytest.mark.parametrize("text", ["", "x", "bnVsbA", "WzFd", "W10", "a" * 20_000])
def test_a_cursor_of_elsewhere_is_refused(text) -> None:
    with pytest.raises(ValueError, match="cursor"):
        RoutePlace.parse(text)
    with pytest.raises(ValueError, match="cursor"):
        RatePlace.parse(text)


def test_a_cursor_comes_back_as_it_was() -> None:
    place = RoutePlace(PEER, "receive", "ipv4 unicast", b"\x04\x0a\0\0\0\x08", "0.0.0.1 65000:1")
    assert RoutePlace.parse(str(place)) == place


def test_a_batch_whose_commit_was_not_answered_is_taken_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", "fra1")
    journal.open()
    journal.messages([state("up"), announce("10.0.0.0/8"), state("down"), announce("10.1.0.0/16")], T0)
    batch = journal._gather_lines()
    journal._write_lines(batch)
    journal._write_lines(batch)
    journal._disconnect()
    reader = Reader(tmp_path / "journal.db")
    assert [(rate.announced, rate.withdrawn) for rate in reader.rates(RateQuery())] == [(2, 0)]
    assert [route.stale for route in reader.routes(RouteQuery())] == [True, False]
    assert len(reader.history(HistoryQuery())) == 2
    reader.close()
    journal.stop(0)


HALF = "\ud800"
"""Half of a surrogate pair, which JSON can say and SQLite cannot keep."""


@pytest.mark.parametrize(
    "line",
    [
        announce("10.0.0.0/8", peer=f"192.0.2.1{HALF}"),
        announce("10.0.0.0/8", family=f"ipv4 {HALF}"),
        announce(HALF),
        announce("10.0.0.0/8").replace(b"192.0.2.7", json.dumps(HALF)[1:-1].encode()),
        announce("10.0.0.0/8").replace(b'"nlri"', b'"path-information": "\\ud800", "rd": "\\ud800", "nlri"'),
        state(HALF),
    ],
    ids=["peer", "family", "prefix", "next hop", "path and distinguisher", "state"],
)
def test_no_text_of_a_message_stops_those_that_follow(room: Room, line: bytes) -> None:
    room.say(line)
    room.say(announce("198.51.100.0/24"))
    assert next(message.type for message in room.reader.messages(MessageQuery())) == "update"
    assert len(room.reader.messages(MessageQuery())) == 2
    assert "198.51.100.0/24" in room.prefixes()


def test_what_cannot_be_told_of_routes_leaves_the_messages_and_a_table_that_says_so(room: Room, monkeypatch) -> None:
    room.say(state("up"), announce("198.51.100.0/24"), END)
    assert room.table().incomplete is None
    apply, refused = Routes.apply, []

    def refuses(self, connection, said) -> None:
        if any(told is not None for _, _, told in said.told):
            refused.append(said)
            raise OverflowError
        apply(self, connection, said)

    with monkeypatch.context() as patched:
        patched.setattr(Routes, "apply", refuses)
        room.say(announce("10.0.0.0/8"))
    assert len(refused) == 1
    room.say(announce("203.0.113.0/24"))
    assert len(room.reader.messages(MessageQuery())) == 5
    assert sorted(room.prefixes()) == ["198.51.100.0/24", "203.0.113.0/24"]
    assert room.table().incomplete == GAP
