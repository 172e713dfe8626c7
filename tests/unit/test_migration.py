"""A journal of each earlier layout, made with the statements of then, opens and keeps all it has."""

import json
import sqlite3
import zlib
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path

import pytest

from exabgp_bfd.core.model import Action, Clock, Event, EventQuery, Override, Route
from exabgp_bfd.storage import database
from exabgp_bfd.storage.archive import Wanted, export, take
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.queries import MessageQuery, order_text, route_text
from exabgp_bfd.storage.reader import Reader

T0 = 1_763_640_000_123_456
ROUTE = Route(prefix=ip_network("192.0.2.53/32"), med=50)
DRAIN = Override("dns", Action.DRAIN, "noc", "work on it", 1763640000.25, 1763643600.5)

# As they were, for good: what is written here is never brought up to date.
FIRST = """
CREATE TABLE event (
    id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, site TEXT NOT NULL, device TEXT, event_type TEXT NOT NULL,
    details TEXT NOT NULL, session TEXT, service TEXT, source TEXT, actor TEXT, cause INTEGER);
CREATE INDEX event_device ON event (device) WHERE device IS NOT NULL;
CREATE INDEX event_device_type ON event (device, event_type) WHERE device IS NOT NULL AND event_type <> 'snmp_poll';
CREATE INDEX event_session ON event (session) WHERE session IS NOT NULL;
CREATE INDEX event_session_type ON event (session, event_type) WHERE session IS NOT NULL AND event_type <> 'snmp_poll';
CREATE INDEX event_service ON event (service) WHERE service IS NOT NULL;
CREATE INDEX event_type ON event (event_type);
CREATE TABLE message (
    id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, time INTEGER, type TEXT NOT NULL, neighbor TEXT,
    direction TEXT, line TEXT NOT NULL);
CREATE INDEX message_type ON message (type);
CREATE INDEX message_neighbor ON message (neighbor) WHERE neighbor IS NOT NULL;
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, reason TEXT NOT NULL, line BLOB NOT NULL);
CREATE TABLE remembered (
    service TEXT NOT NULL, prefix TEXT NOT NULL, route TEXT, event INTEGER NOT NULL,
    PRIMARY KEY (service, prefix)) WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE span (
    kind TEXT NOT NULL, part INTEGER NOT NULL, rows INTEGER NOT NULL, first_ts INTEGER NOT NULL,
    last_ts INTEGER NOT NULL, PRIMARY KEY (kind, part)) WITHOUT ROWID;
"""
SECOND = """
CREATE TABLE ordered (subject TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE input (
    id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, now INTEGER NOT NULL, kind TEXT NOT NULL,
    body BLOB NOT NULL);
CREATE INDEX input_start ON input (ts) WHERE kind = 'start';
CREATE TABLE shape (id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX shape_ts ON shape (ts);
"""
LAYOUTS = [FIRST, SECOND]
LINE = '{ "exabgp": "5.0.0", "time": 1763640000.5, "type": "state", "neighbor": {"address": {"peer": "127.0.0.2"}} }'


def old(path: Path, layout: int) -> None:
    """A journal of then, with a row of every kind, in its log still as a kill leaves it."""
    database.create(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    for statements in LAYOUTS[:layout]:
        connection.executescript(statements)
    connection.execute("PRAGMA application_id = 1161971268")
    connection.execute(f"PRAGMA user_version = {layout}")
    details = json.dumps({"n": 1})
    connection.execute("BEGIN")  # one wait for the disk, not one for each row
    for number in range(1, 6_001):
        event = (number, T0 + number, "fra1", "edge1", "x", details, None, "dns", "self", None, None)
        connection.execute(f"INSERT INTO event VALUES ({', '.join('?' * 11)})", event)
    connection.executemany(
        "INSERT INTO span VALUES (?, ?, ?, ?, ?)",
        [("event", 0, 4095, T0 + 1, T0 + 4095), ("event", 1, 1905, T0 + 4096, T0 + 6000), ("message", 0, 1, T0, T0)],
    )
    connection.execute("INSERT INTO message VALUES (3, ?, ?, 'state', '127.0.0.2', NULL, ?)", (T0, T0, LINE))
    connection.execute("INSERT INTO quarantine VALUES (2, ?, 'why', X'00FF')", (T0,))
    connection.execute("INSERT INTO remembered VALUES ('dns', ?, ?, 6001)", (ROUTE.key, route_text(ROUTE)))
    meta = {"journal": "abcdef0123456789", "inventory": "edge1", "last_event": "6001", "last_message": "9"}
    connection.executemany("INSERT INTO meta VALUES (?, ?)", list(meta.items()))
    if layout >= 2:
        connection.execute("INSERT INTO ordered VALUES ('service dns', ?)", (order_text(DRAIN),))
        body = json.dumps({"wall": 7.5}).encode()
        connection.execute("INSERT INTO input VALUES (4, ?, 1000000, 'clock', ?)", (T0, body))
        connection.execute("INSERT INTO span VALUES ('input', 0, 1, ?, ?)", (T0, T0))
        connection.execute("INSERT INTO shape VALUES (5, ?, ?)", (T0, zlib.compress(b"[]")))
    connection.execute("COMMIT")
    connection.close()


def schema(path: Path) -> set[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT type, name, tbl_name FROM sqlite_schema").fetchall()
        columns = {
            ("column", name, *row[1:])
            for kind, name, _ in names
            if kind == "table"
            for row in connection.execute(f"PRAGMA table_info({name})")
        }
        return {*names, *columns, ("version", connection.execute("PRAGMA user_version").fetchone()[0])}


@pytest.mark.parametrize("layout", range(1, len(LAYOUTS) + 1))
def test_a_journal_of_an_earlier_layout_is_brought_up_to_date_and_keeps_all(tmp_path: Path, layout: int) -> None:
    path = tmp_path / "journal.db"
    old(path, layout)
    journal = Journal(path, "fra1")
    restored = journal.open()
    assert journal.set_aside is None
    assert (restored.last_event, [held.route for held in restored.believed]) == (6001, [ROUTE])
    assert restored.overrides == ((DRAIN,) if layout >= 2 else ())
    assert (journal.meta("journal"), journal.meta("inventory")) == ("abcdef0123456789", "edge1")
    assert not journal.notes()
    journal.start()
    journal.record(Event(6002, "x", "edge1"), T0 + 6002)
    journal.messages([LINE.encode()], T0 + 1)
    journal.quarantine(b"\xff", "why", T0 + 1)
    journal.flushed().result(20)
    reader = Reader(path)
    try:
        assert len(reader.events(EventQuery(limit=10_000))) == 6001
        assert [each.id for each in reader.events(EventQuery(device="edge1", since=T0 + 5_999))] == [6002, 6000, 5999]
        assert [(each.id, each.line) for each in reader.messages(MessageQuery())] == [(10, LINE), (3, LINE)]
        assert [each.line for each in reader.quarantined()] == [b"\xff", b"\x00\xff"]
        inputs = [kept.input for kept in reader.inputs()]
        assert inputs == ([Clock(7.5)] if layout >= 2 else [])
    finally:
        reader.close()
    assert journal.new_shape() == (6 if layout >= 2 else 1)
    assert journal.stop(20)
    fresh = Journal(tmp_path / "fresh.db", "fra1")
    fresh.open()
    fresh.stop()
    assert schema(path) == schema(tmp_path / "fresh.db")


def test_the_statements_of_then_are_those_that_are_built_upon(tmp_path: Path) -> None:
    assert len(database._VERSIONS) > len(LAYOUTS)
    for layout in range(1, len(LAYOUTS) + 1):
        with closing(sqlite3.connect(":memory:")) as one, closing(sqlite3.connect(":memory:")) as two:
            for statements in LAYOUTS[:layout]:
                one.executescript(statements)
            for statement in [each for version in database._VERSIONS[:layout] for each in version]:
                two.execute(statement)
            texts = [
                {
                    " ".join(row[0].split())
                    for row in each.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
                }
                for each in (one, two)
            ]
            assert texts[0] == texts[1]


@pytest.mark.parametrize("layout", range(1, len(LAYOUTS) + 1))
def test_a_migration_that_is_cut_short_is_taken_up_again(tmp_path: Path, layout: int, monkeypatch) -> None:
    """Each layout is one transaction: a statement that fails leaves the layout of before, whole."""
    path = tmp_path / "journal.db"
    old(path, layout)
    before = schema(path)
    broken = (*database._VERSIONS[layout], "CREATE TABLE event (x)")
    with monkeypatch.context() as patch:
        patch.setattr(database, "_VERSIONS", (*database._VERSIONS[:layout], broken))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection, pytest.raises(sqlite3.Error):
            database.prepare(connection, path)
    assert schema(path) == before
    journal = Journal(path, "fra1")
    assert journal.open().last_event == 6001
    journal.stop()


@pytest.mark.parametrize("layout", range(1, len(LAYOUTS) + 1))
def test_a_damaged_journal_of_an_earlier_layout_is_carried_over(tmp_path: Path, layout: int) -> None:
    path = tmp_path / "journal.db"
    old(path, layout)
    with path.open("r+b") as file:  # a page within the events, whatever else
        file.seek(40 * 4096)
        file.write(bytes(4096))
    journal = Journal(path, "fra1")
    restored = journal.open()
    assert journal.set_aside is not None
    assert restored.last_event >= 6001
    journal.start()
    while not any(note.event_type == "store_rescued" for note in journal.notes()):
        journal.flushed().result(20)
    assert journal.stop(20)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM event").fetchone()[0] > 5_000
        assert connection.execute("SELECT id, line FROM message").fetchall() == [(3, LINE)]


def test_an_export_of_an_earlier_layout_is_one_of_this(tmp_path: Path) -> None:
    old(tmp_path / "journal.db", 1)
    lines: list[bytes] = []
    assert export(tmp_path / "journal.db", Wanted(), lines.append) == {"events": 6000, "messages": 1}
    assert take(lines, tmp_path / "new.db", lambda *_: None).whole
