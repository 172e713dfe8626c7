"""The journal with real files, real threads and real processes: what it promises when things go wrong."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import fields, replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from exabgp_bfd.core.model import (
    Action,
    Event,
    EventQuery,
    Lift,
    Override,
    Remember,
    RememberOrder,
    Restored,
    Route,
    Secret,
    Source,
    StoreError,
    Watchdog,
)
from exabgp_bfd.storage import database
from exabgp_bfd.storage import journal as journal_module
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.queries import (
    DAY,
    MessageQuery,
    StoredEvent,
    day_of,
    order_from,
    order_text,
    route_from,
    route_text,
)
from exabgp_bfd.storage.reader import Reader
from exabgp_bfd.storage.tail import Before, Tail

SECONDS = 20.0
T0 = 1_763_640_000_123_456

ROUTE = Route(
    prefix=ip_network("192.0.2.53/32"),
    next_hop=ip_address("198.51.100.7"),
    neighbors=(ip_address("127.0.0.2"), ip_address("2001:db8::2")),
    med=50,
    local_preference=0,
    communities=("65000:1", "no-export"),
    large_communities=("65000:1:2",),
    extended_communities=("target:65000:1",),
    as_path=(65000, 65000),
)
ROUTE6 = Route(prefix=ip_network("2001:db8::53/128"))
WATCHDOG = Watchdog("dns")
DRAIN = Override("dns", Action.DRAIN, "noc", "work on it", 1763640000.25, 1763643600.5)
FREEZE = Override("ntp", Action.FREEZE, "noc", "", 1763640000.0)
LIFT = Lift("noc", "a real outage", 1763640000.0, 1763643600.0)


def now() -> int:
    return time.time_ns() // 1000


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def event(number: int, event_type: str = "bfd_failure", **more) -> Event:
    return Event(id=number, event_type=event_type, **more)


def update(peer: str = "127.0.0.2", *, kind: str = "update", direction: str = "send", **more) -> bytes:
    neighbor = {"address": {"local": "127.0.0.1", "peer": peer}, "direction": direction}
    return json.dumps({"exabgp": "5.0.0", "time": 1763640000.5, "type": kind, "neighbor": neighbor, **more}).encode()


class Room:
    """Journals and readers on one file, each closed when the test ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journals: list[Journal] = []
        self.readers: list[Reader] = []

    def journal(self, **settings) -> tuple[Journal, Restored]:
        made = Journal(self.path, "fra1", **settings)
        restored = made.open()
        self.journals.append(made)
        return made, restored

    def running(self, **settings) -> Journal:
        made, _ = self.journal(**settings)
        made.start()
        return made

    def reader(self) -> Reader:
        reader = Reader(self.path)
        self.readers.append(reader)
        return reader

    def ids(self, query: EventQuery | None = None) -> list[int]:
        return [stored.id for stored in self.reader().events(query or EventQuery(limit=10_000))]

    def close(self) -> None:
        for reader in self.readers:
            reader.close()
        for made in self.journals:
            made.stop(0.5)


@pytest.fixture
def room(tmp_path: Path, monkeypatch) -> Iterator[Room]:
    # No timer of the writer's comes to the rescue: what wakes it is what was put.
    monkeypatch.setattr(journal_module, "_ALIVE", 3600.0)
    monkeypatch.setattr(journal_module, "_PRUNE", 3600.0)
    made = Room(tmp_path / "state" / "journal.db")
    yield made
    made.close()


def flush(journal: Journal, **how) -> None:
    journal.flushed(**how).result(SECONDS)


# --- what is kept and how it comes back ---


def test_an_event_comes_back_as_the_document_of_the_contract(room: Room) -> None:
    journal = room.running()
    journal.record(
        event(
            12,
            device="edge1",
            session="edge1/198.51.100.1",
            source=Source.SNMP_POLL,
            cause=11,
            details={"was": "up", "peer": ip_address("198.51.100.1"), "key": Secret("hidden"), "rate": float("nan")},
        ),
        T0,
    )
    flush(journal)
    stored = room.reader().event(12)
    assert stored is not None
    assert stored.document() == {
        "id": 12,
        "ts": "2025-11-20T12:00:00.123456Z",
        "device": "edge1",
        "event_type": "bfd_failure",
        "details": {"was": "up", "peer": "198.51.100.1", "key": "'***'", "rate": None},
        "site": "fra1",
        "session": "edge1/198.51.100.1",
        "service": None,
        "source": "snmp_poll",
        "actor": None,
        "cause": 11,
    }
    assert list(stored.document())[:5] == ["id", "ts", "device", "event_type", "details"]
    assert datetime.fromisoformat(stored.document()["ts"]) == datetime(2025, 11, 20, 12, 0, 0, 123456, UTC)
    assert room.reader().event(13) is None


def test_a_whole_second_has_its_six_decimals_too() -> None:
    assert StoredEvent(event(1), 1_763_640_000_000_000, "x").document()["ts"] == "2025-11-20T12:00:00.000000Z"


def test_ids_and_decisions_are_known_after_reopening(room: Room) -> None:
    journal, restored = room.journal()
    assert restored == Restored(0, (), rib_kept=False)
    journal.start()
    journal.record(event(1), T0)
    journal.remember(Remember("dns", ROUTE.key, None, 1))
    journal.record(event(2, "route_announce"), T0)
    journal.remember(Remember("dns", ROUTE.key, ROUTE, 2))
    journal.remember(Remember("dns", ROUTE6.key, ROUTE6, 3))
    journal.remember(Remember("ntp", ROUTE.key, ROUTE, 4))
    journal.remember(Remember("ntp", ROUTE.key, None, 5))
    journal.put_meta("generation", "7")
    assert journal.meta("generation") == "7"
    assert journal.stop()

    again, restored = room.journal()
    assert restored.last_event == 5  # the decision's event was promised an id, though its record never came
    assert [(b.service, b.route, b.event) for b in restored.believed] == [("dns", ROUTE, 2), ("dns", ROUTE6, 3)]
    assert not restored.rib_kept
    assert again.meta("generation") == "7"
    assert int(again.meta("alive") or 0) > T0
    assert again.meta("missing") is None


def test_a_route_is_written_with_every_field_it_has() -> None:
    assert set(json.loads(route_text(ROUTE))) == {field.name for field in fields(Route)}
    assert route_from(route_text(ROUTE)) == ROUTE
    with pytest.raises(ValueError, match="not a route"):
        route_from('{"prefix": 1}')


def test_a_watchdog_is_remembered_as_a_route_is(room: Room) -> None:
    assert route_from(route_text(WATCHDOG)) == WATCHDOG
    with pytest.raises(ValueError, match="not a route"):
        route_from('{"watchdog": 7}')
    journal = room.running()
    journal.together([Remember("dns", WATCHDOG.key, WATCHDOG, 1), Remember("dns", ROUTE.key, ROUTE, 2)], T0)
    journal.remember(Remember("ntp", WATCHDOG.key, WATCHDOG, 3))
    journal.remember(Remember("ntp", WATCHDOG.key, None, 4))
    assert journal.stop()
    _, restored = room.journal()
    assert [(b.service, b.route, b.event) for b in restored.believed] == [("dns", ROUTE, 2), ("dns", WATCHDOG, 1)]


@pytest.mark.parametrize("order", [DRAIN, FREEZE, LIFT])
def test_an_order_comes_back_as_it_was(order: Override | Lift) -> None:
    assert order_from(order_text(order)) == order


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"actor": 1, "reason": "", "since": 0, "expires": null}', order_text(DRAIN)[:-1]]
)
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an order"):
        order_from(text)


def test_orders_are_known_after_reopening_until_they_are_taken_back(room: Room) -> None:
    journal = room.running()
    journal.together([event(1), RememberOrder("dns", FREEZE), RememberOrder(None, LIFT)], T0)
    journal.together([RememberOrder("dns", DRAIN), RememberOrder("ntp", FREEZE), Remember("dns", "k", None, 2)], T0)
    journal.remember(RememberOrder("guard", replace(DRAIN, service="guard")))
    assert journal.stop()
    again, restored = room.journal()
    assert restored.overrides == (DRAIN, replace(DRAIN, service="guard"), FREEZE)
    assert restored.lift == LIFT
    again.start()
    again.together([RememberOrder("dns", None), RememberOrder(None, None)], T0)
    again.remember(RememberOrder("guard", None))
    assert again.stop()
    third, restored = room.journal()
    assert (restored.overrides, restored.lift) == ((FREEZE,), None)
    assert third.stop()
    with closing(sqlite3.connect(room.path)) as other:
        assert other.execute("SELECT count(*) FROM ordered").fetchone() == (1,)


def test_an_order_that_cannot_be_read_is_forgotten_aloud(room: Room, caplog) -> None:
    journal = room.running()
    journal.together([RememberOrder("dns", DRAIN), RememberOrder("ntp", FREEZE), RememberOrder(None, LIFT)], T0)
    assert journal.stop()
    with closing(sqlite3.connect(room.path)) as other, other:
        other.execute("UPDATE ordered SET text = '{}' WHERE subject = 'guard'")
        other.execute("UPDATE ordered SET text = ? WHERE subject = 'service dns'", (order_text(FREEZE),))
    _, restored = room.journal()
    assert (restored.overrides, restored.lift) == ((FREEZE,), None)
    assert caplog.text.count("is forgotten") == 2


def test_a_damaged_journal_of_the_layout_before_tells_what_it_can(room: Room, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(database, "_VERSIONS", database._VERSIONS[:1])
        room.path.parent.mkdir()
        database.create(room.path)
        with closing(sqlite3.connect(room.path, isolation_level=None)) as other:
            database.prepare(other, room.path)
            other.execute("INSERT INTO remembered VALUES ('dns', ?, ?, 7)", (ROUTE.key, route_text(ROUTE)))
    contents = database.salvage(room.path)
    assert (contents.last_event, contents.ordered) == (7, {})
    assert contents.remembered == {("dns", ROUTE.key): (route_text(ROUTE), 7)}


def test_the_greatest_id_survives_the_deletion_of_every_event(room: Room) -> None:
    journal = room.running()
    journal.record(event(41), T0)
    journal.messages([update()], T0)
    assert journal.stop()
    with closing(sqlite3.connect(room.path)) as other, other:
        other.execute("DELETE FROM event")
        other.execute("DELETE FROM message")
    again, restored = room.journal()
    assert restored.last_event == 41
    again.start()
    again.messages([update()], T0)
    flush(again)
    assert [message.id for message in room.reader().messages(MessageQuery())] == [2]


def test_on_another_machine_a_journal_goes_on_under_a_new_name_and_with_other_ids(room: Room, monkeypatch) -> None:
    machine = room.path.parent.with_name("machine-id")
    monkeypatch.setattr(journal_module, "_MACHINE", machine)

    def opened() -> tuple[int, str, Before]:
        journal, restored = room.journal()
        journal.start()
        assert journal.stop()  # It ends as it should: that it came from elsewhere is enough.
        tail = Tail(room.path)
        name, before = tail.identity(), tail.before("event")
        tail.close()
        return restored.last_event, name, before

    journal = room.running()
    journal.record(event(41), T0)
    journal.messages([update()], T0)
    assert journal.stop()
    last, first, before = opened()
    assert (last, before.last) == (41, 0)
    machine.write_text("1" * 32 + "\n")
    assert opened() == (41, first, before)  # Where it was is not known until now.
    assert opened() == (41, first, before)
    machine.write_text("uninitialized\n")
    assert opened() == (41, first, before)
    machine.write_text("2" * 32 + "\n")
    last, second, before = opened()
    assert last == 41 + database.SKIP
    assert second != first
    assert before == Before(41, whole=True)
    assert opened() == (last, second, before)
    machine.write_text("1" * 32 + "\n")
    assert opened()[1] not in (first, second)
    again = room.running()
    again.messages([update()], T0)
    flush(again)
    assert [message.id for message in room.reader().messages(MessageQuery())] == [2 + 2 * database.SKIP, 1]


def test_a_file_that_is_removed_while_it_is_opened_takes_nothing_along(room: Room, monkeypatch) -> None:
    prepare, removed = database.prepare, []

    def slowly(connection, path) -> None:
        prepare(connection, path)
        if threading.current_thread().name == "journal" and not removed:
            removed.append(path)
            path.unlink()

    monkeypatch.setattr(database, "prepare", slowly)
    journal = room.running()
    journal.record(event(1), T0)
    flush(journal)
    assert removed == [room.path]
    assert [stored.id for stored in room.reader().events(EventQuery())] == [1]


def test_a_file_begun_anew_on_another_machine_has_a_name_of_its_own(room: Room, monkeypatch) -> None:
    machine = room.path.parent.with_name("machine-id")
    monkeypatch.setattr(journal_module, "_MACHINE", machine)
    machine.write_text("1" * 32 + "\n")
    journal = room.running()
    journal.record(event(1), T0)
    assert journal.stop()
    machine.write_text("2" * 32 + "\n")
    journal = room.running()
    tail = Tail(room.path)
    names = [tail.identity()]
    room.path.unlink()
    journal.record(event(2), T0)
    flush(journal)
    names.append(tail.identity())
    tail.close()
    assert names[0] != names[1] == (journal.meta("journal") or "")[:8]


def test_the_journals_own_keys_are_not_for_others(room: Room) -> None:
    journal, _ = room.journal()
    with pytest.raises(ValueError, match="own"):
        journal.put_meta("last_event", "0")


def test_an_event_whose_details_no_json_can_hold_is_kept_all_the_same(room: Room) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    endless: dict = {}
    endless["me"] = endless
    journal = room.running()
    journal.record(event(1, details={"odd": Odd()}), T0)
    journal.record(event(2, details=endless), T0)
    journal.record(event(3, details={(1, 2): {3, 1}, "b": b"\x01\xff"}), T0)
    journal.record(event(4, device="half \ud800 a pair"), T0)
    flush(journal)
    reader = room.reader()
    assert room.ids() == [4, 3, 2, 1]
    assert reader.event(1).event.details == {"unreadable": "RuntimeError"}
    assert reader.event(3).event.details == {"(1, 2)": [1, 3], "b": "01ff"}
    assert [stored.id for stored in reader.events(EventQuery(device="half \ud800 a pair"))] == [4]


def test_an_id_that_comes_twice_is_kept_once(room: Room) -> None:
    journal = room.running()
    journal.record(event(1, device="first"), T0)
    journal.record(event(1, device="second"), T0)
    journal.record(event(2), T0)
    flush(journal)
    assert room.ids() == [2, 1]
    assert room.reader().event(1).event.device == "first"
    assert journal.counters().duplicates == 1
    assert journal.counters().committed_events == 2


# --- asking ---


@pytest.fixture
def filled(room: Room) -> Room:
    journal = room.running()
    for number in range(1, 31):
        journal.record(
            event(
                number,
                "bfd_failure" if number % 2 else "bfd_recovery",
                device=f"edge{number % 3}",
                session=f"edge{number % 3}/192.0.2.{number % 6}",
                service="dns" if number % 5 == 0 else None,
            ),
            T0 + number,
        )
    flush(journal)
    return room


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (EventQuery(), list(range(30, 0, -1))),
        (EventQuery(limit=3), [30, 29, 28]),
        (EventQuery(limit=0), []),
        (EventQuery(limit=-1), []),
        (EventQuery(limit=3, before=10), [9, 8, 7]),
        (EventQuery(device="edge0", limit=3), [30, 27, 24]),
        (EventQuery(device="edge0", event_type="bfd_failure", limit=3), [27, 21, 15]),
        (EventQuery(session="edge1/192.0.2.4"), [28, 22, 16, 10, 4]),
        (EventQuery(session="edge1/192.0.2.4", event_type="bfd_failure"), []),
        (EventQuery(session="edge1/192.0.2.4", device="edge1", event_type="bfd_recovery", before=16), [10, 4]),
        (EventQuery(service="dns"), [30, 25, 20, 15, 10, 5]),
        (EventQuery(service="dns", event_type="bfd_failure", device="edge1"), [25]),
        (EventQuery(event_type="bfd_recovery", limit=2), [30, 28]),
        (EventQuery(since=T0 + 28), [30, 29, 28]),
        (EventQuery(until=T0 + 2), [2, 1]),
        (EventQuery(since=T0 + 5, until=T0 + 7), [7, 6, 5]),
        (EventQuery(since=T0 + 31), []),
        (EventQuery(until=T0), []),
        (EventQuery(device="nobody"), []),
    ],
)
def test_a_question_is_answered_newest_first(filled: Room, query: EventQuery, wanted: list[int]) -> None:
    assert filled.ids(query) == wanted


def test_pages_follow_one_another_without_gap_or_repeat(filled: Room) -> None:
    seen: list[int] = []
    page = filled.ids(EventQuery(limit=7))
    while page:
        seen += page
        page = filled.ids(EventQuery(limit=7, before=page[-1]))
    assert seen == list(range(30, 0, -1))


def test_every_question_by_one_column_is_an_index_lookup_without_sorting(room: Room, monkeypatch) -> None:
    asked: list[tuple[str, tuple]] = []
    answer = Reader._answer
    monkeypatch.setattr(
        Reader,
        "_answer",
        lambda self, sql, values, make: asked.append((sql, values)) or answer(self, sql, values, make),
    )
    room.running()
    reader = room.reader()
    for query in (
        EventQuery(device="x"),
        EventQuery(session="x"),
        EventQuery(service="x"),
        EventQuery(event_type="x"),
        EventQuery(device="x", event_type="y", since=1, until=2, before=9),
        EventQuery(session="x", event_type="y"),
        EventQuery(session="x", event_type="snmp_poll"),
        EventQuery(device="x", event_type="snmp_poll"),
        EventQuery(service="x", event_type="y"),
        EventQuery(event_type="snmp_poll"),
    ):
        reader.events(query)
    reader.messages(MessageQuery(neighbor="x"))
    reader.messages(MessageQuery(type="state", neighbor="x"))
    with closing(sqlite3.connect(room.path)) as other:
        for sql, values in asked:
            plan = " / ".join(row[3] for row in other.execute("EXPLAIN QUERY PLAN " + sql, values))
            assert "USING INDEX" in plan, plan
            assert "TEMP B-TREE" not in plan, plan
    assert len(asked) == 12


def test_messages_are_found_by_their_columns(room: Room) -> None:
    journal = room.running()
    shutdown = b'{"exabgp": "5.0.0", "time": 1763640000.5, "type": "notification", "notification": "shutdown"}\n'
    raw_control = update(kind="state").replace(b'"5.0.0"', b'"4.0.1\x17"')
    lines = [
        update("127.0.0.2"),
        update("127.0.0.3", direction="receive"),
        raw_control,
        update("127.0.0.2", kind="keepalive"),
        shutdown,
    ]
    for place, line in enumerate(lines):
        assert journal.messages([line], T0 + place) == 1
    flush(journal)
    reader = room.reader()

    def ids(**how) -> list[int]:
        return [message.id for message in reader.messages(MessageQuery(**how))]

    assert ids() == [5, 4, 3, 2, 1]
    assert ids(limit=2, before=4) == [3, 2]
    assert ids(type="update") == [2, 1]
    assert ids(type="state", neighbor="127.0.0.2") == [3]
    assert ids(type="update", neighbor="127.0.0.3") == [2]
    assert ids(neighbor="127.0.0.2") == [4, 3, 1]
    assert ids(direction="receive") == [2]
    assert ids(since=T0 + 3) == [5, 4]
    assert ids(until=T0) == [1]
    newest, *_, oldest = reader.messages(MessageQuery())
    assert oldest.line.encode() == lines[0]
    assert oldest.document() == {
        "id": 1,
        "site": "",
        "ts": "2025-11-20T12:00:00.123456Z",
        "time": "2025-11-20T12:00:00.500000Z",
        "type": "update",
        "neighbor": "127.0.0.2",
        "direction": "send",
        "message": json.loads(lines[0]),
    }
    assert (newest.neighbor, newest.direction) == (None, None)
    assert reader.messages(MessageQuery(type="state"))[0].document()["message"]["exabgp"] == "4.0.1\x17"


def test_what_cannot_be_understood_is_quarantined_as_it_came(room: Room, monkeypatch) -> None:
    monkeypatch.setattr(database, "KEEP_QUARANTINED", 8)
    journal = room.running()
    bad = [
        b'{"type": "refresh", "afi": ""ipv4""}',
        b"\xff\xfe",
        b'["no", "object"]',
        b'{"x": NaN}',
        b"[" * 100_000,
        b'{"type": "update", "time": 1e999, "neighbor": {"address": 5, "direction": ["x"]}}',
        b'{"type": "\\ud800", "neighbor": 7}',
    ]
    assert journal.messages(bad, T0) == len(bad)
    journal.quarantine(b"y" * 200_000, "too long", T0)
    flush(journal)
    reader = room.reader()
    kept = reader.quarantined()
    assert [line.line for line in reversed(kept)] == [*bad[:4], bad[4][: 1 << 16], b"y" * (1 << 16)]
    assert kept[0].reason == "too long"
    assert "not a message" in kept[-1].reason
    assert [(m.type, m.time, m.neighbor) for m in reader.messages(MessageQuery())] == [
        ("\\ud800", None, None),
        ("update", None, None),
    ]
    for number in range(20):
        journal.quarantine(str(number).encode(), "again", T0)
    flush(journal)
    assert [line.line for line in reader.quarantined()] == [str(number).encode() for number in range(19, 11, -1)]
    assert journal.counters().quarantined == 26


def test_a_question_that_lasts_too_long_is_given_up(room: Room) -> None:
    journal = room.running()
    for number in range(1, 20_001):
        journal.record(event(number), T0)
    flush(journal)
    reader = Reader(room.path, seconds=-1.0)
    room.readers.append(reader)
    with pytest.raises(StoreError, match="interrupted"):
        reader.events(EventQuery(limit=10_000))


def test_a_closed_reader_and_a_missing_journal_say_so(room: Room) -> None:
    reader = room.reader()
    with pytest.raises(StoreError, match=r"journal\.db"):
        reader.events(EventQuery())
    room.running()
    assert reader.events(EventQuery()) == []
    reader.close()
    with pytest.raises(StoreError, match="closed"):
        reader.events(EventQuery())


def test_a_stopped_journal_can_be_read_and_not_written_by_the_reader(room: Room) -> None:
    journal = room.running()
    journal.record(event(1), T0)
    assert journal.stop()
    reader = room.reader()
    assert [stored.id for stored in reader.events(EventQuery())] == [1]
    _, connection = reader._idle[0]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM event")


def test_readers_read_while_the_writer_writes(room: Room) -> None:
    journal = room.running()
    reader = room.reader()
    faults: list[object] = []
    over = threading.Event()
    pages = threading.Semaphore(0)

    def read() -> None:
        try:
            while not over.is_set():
                page = [stored.id for stored in reader.events(EventQuery(limit=20))]
                if page != list(range(page[0], page[0] - len(page), -1)) if page else False:
                    faults.append(page)
                pages.release()
        except Exception as error:  # noqa: BLE001 - told by the test
            faults.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    number = 0
    for _ in range(30):
        for _ in range(50):
            number += 1
            journal.record(event(number), T0)
        flush(journal)
        assert pages.acquire(timeout=SECONDS)
        assert reader.event(number) is not None  # what was flushed is seen at once
    over.set()
    for thread in threads:
        thread.join(SECONDS)
    assert faults == []
    assert len(reader._idle) <= 4


# --- threads ---


def test_putting_never_touches_the_database_from_the_callers_thread(room: Room, monkeypatch) -> None:
    users: set[str] = set()

    class Watched(sqlite3.Connection):
        def execute(self, *args):
            users.add(threading.current_thread().name)
            return super().execute(*args)

        def executemany(self, *args):
            users.add(threading.current_thread().name)
            return super().executemany(*args)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: connect(*args, factory=Watched, **more))
    journal, _ = room.journal()
    assert users == {threading.current_thread().name}  # opening is allowed to
    users.clear()
    journal.start()
    journal.record(event(1), T0)
    journal.remember(Remember("dns", ROUTE.key, ROUTE, 1))
    journal.together([event(2), Remember("dns", ROUTE.key, None, 2)], T0)
    journal.put_meta("key", "value")
    journal.messages([update()], T0)
    journal.quarantine(b"x", "why", T0)
    flush(journal)
    assert journal.healthy
    assert journal.stop()
    assert users == {"journal"}
    assert not journal.healthy


def test_only_a_promise_waits_for_the_disk_to_be_safe_from_a_power_cut(room: Room, monkeypatch) -> None:
    said: list[str] = []

    class Watched(sqlite3.Connection):
        def execute(self, sql, *args):
            if "synchronous" in sql or sql == "COMMIT":
                said.append(sql)
            return super().execute(sql, *args)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: connect(*args, factory=Watched, **more))
    journal = room.running()
    flush(journal)  # the first sign of life is behind us
    said.clear()
    journal.record(event(1), T0)
    until(lambda: journal.counters().committed_events == 1)
    assert said == ["PRAGMA synchronous = NORMAL", "COMMIT"]
    said.clear()
    flush(journal)  # nothing new: yet what was written before must now be safe
    assert said == ["PRAGMA synchronous = FULL", "COMMIT"]
    assert room.ids() == [1]


def test_what_is_put_together_is_one_transaction(room: Room, monkeypatch) -> None:
    monkeypatch.setattr(journal_module, "_EVENTS_A_BATCH", 1)
    journal, _ = room.journal()
    sizes: list[tuple[int, int]] = []
    write = Journal._write_puts

    def watch(self, batch) -> None:
        sizes.append((len(batch.events), len(batch.remembered)))
        write(self, batch)

    monkeypatch.setattr(Journal, "_write_puts", watch)
    journal.record(event(1), T0)
    journal.together([event(2), Remember("dns", ROUTE.key, None, 2), event(3)], T0)
    journal.together([], T0)
    journal.record(event(4), T0)
    journal.start()
    flush(journal)
    assert sizes[:3] == [(1, 0), (2, 1), (1, 0)]


def test_a_cancelled_promise_harms_nobody(room: Room) -> None:
    journal, _ = room.journal()
    journal.record(event(1), T0)
    assert journal.flushed().cancel()
    journal.start()
    flush(journal)
    assert room.ids() == [1]


def test_a_promise_that_does_not_wait_for_messages(room: Room) -> None:
    journal, _ = room.journal()
    written = threading.Event()
    write = journal._write_lines
    journal._write_lines = lambda batch: (written.wait(SECONDS), write(batch))[1]
    journal.messages([update()], T0)
    journal.record(event(1), T0)
    everything, events = journal.flushed(), journal.flushed(messages=False)
    journal.start()
    events.result(SECONDS)
    assert not everything.done()
    written.set()
    everything.result(SECONDS)
    assert len(room.reader().messages(MessageQuery())) == 1


# --- stopping ---


def test_stopping_writes_what_waits(room: Room) -> None:
    journal = room.running(batch_seconds=30.0)
    for number in range(1, 12_001):
        journal.record(event(number), T0)
    assert journal.messages([update()] * 5_000, T0) == 5_000
    promise = journal.flushed()
    assert journal.stop(SECONDS)
    promise.result(0)
    assert journal.stop()  # twice is harmless
    _, restored = room.journal()
    assert restored.last_event == 12_000
    with closing(sqlite3.connect(room.path)) as other:
        assert other.execute("SELECT count(*), sum(id) FROM event").fetchone() == (12_000, 12_000 * 12_001 // 2)
        assert other.execute("SELECT count(*), max(id) FROM message").fetchone() == (5_000, 5_000)


def test_after_stopping_nothing_is_promised(room: Room) -> None:
    journal = room.running()
    assert journal.stop()
    journal.record(event(1), T0)
    assert journal.messages([update()], T0) == 0
    with pytest.raises(StoreError):
        flush(journal)
    with pytest.raises(StoreError):
        flush(journal)
    assert journal.counters().overflowed_events >= 1
    with pytest.raises(StoreError):
        journal.start()


def test_stopping_before_starting_admits_what_was_not_written(room: Room) -> None:
    journal, _ = room.journal()
    journal.record(event(1), T0)
    assert not journal.stop()


def test_stopping_on_a_disk_that_refuses_ends_and_admits_it(room: Room) -> None:
    journal = room.running()
    with closing(sqlite3.connect(room.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        journal.record(event(1), T0)
        promise = journal.flushed()
        until(lambda: journal.counters().write_errors > 0)
        assert not journal.stop(0.3)
        with pytest.raises(StoreError, match="stopped"):
            promise.result(SECONDS)
        other.execute("ROLLBACK")


# --- opening ---


def test_two_never_share_one_journal(room: Room) -> None:
    journal = room.running()
    with pytest.raises(StoreError, match=rf"journal\.db: in use by another exabgp-bfd \(process {os.getpid()}\)"):
        Journal(room.path, "fra1").open()
    script = f"""
        from pathlib import Path
        from exabgp_bfd.core.model import StoreError
        from exabgp_bfd.storage.journal import Journal
        try:
            Journal(Path({str(room.path)!r}), "fra1").open()
        except StoreError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "in use by another exabgp-bfd" in done.stdout
    assert journal.stop()
    room.journal()


def test_a_journal_that_failed_to_open_can_be_tried_again(room: Room) -> None:
    first = room.running()
    second = Journal(room.path, "fra1")
    with pytest.raises(StoreError):
        second.open()
    with pytest.raises(StoreError):
        second.start()
    assert first.stop()
    assert second.open().last_event == 0
    with pytest.raises(StoreError, match="opened before"):
        second.open()
    second.stop()


@pytest.mark.parametrize("where", ["below a file", "a directory", "/proc"])
def test_a_place_that_cannot_be_written_is_named_with_a_remedy(tmp_path: Path, where: str) -> None:
    # Permissions do not stop root, under whom these tests may run; these places stop everybody.
    path = {
        "below a file": tmp_path / "file" / "journal.db",
        "a directory": tmp_path / "directory",
        "/proc": Path("/proc/exabgp-bfd/journal.db"),
    }[where]
    (tmp_path / "file").write_text("x")
    (tmp_path / "directory").mkdir()
    with pytest.raises(StoreError, match=r"cannot be written .*writable for the user.*\[storage\] path") as caught:
        Journal(path, "fra1").open()
    assert str(path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_read_only_file_is_named_with_a_remedy() -> None:
    with TemporaryDirectory() as name:  # pytest's own directories are closed to other users
        refuse_another_user(Room(Path(name) / "state" / "journal.db"))


def refuse_another_user(room: Room) -> None:
    journal = room.running()
    assert journal.stop()
    for part in (room.path.parent, room.path.parent.parent):
        part.chmod(0o755)
    room.path.chmod(0o444)
    room.path.with_name("journal.db.lock").chmod(0o666)
    # A child gives up root; only what is imported already is used, as it may not read our files then.
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            os.setgid(65534)
            os.setuid(65534)
            Journal(room.path, "fra1").open()
            os._exit(1)
        except StoreError as error:
            os._exit(0 if "writable for the user" in str(error) else 2)
        except BaseException:  # noqa: BLE001 - a child never returns into pytest
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_locked_journal_is_not_opened(room: Room) -> None:
    journal = room.running()
    assert journal.stop()
    with closing(sqlite3.connect(room.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="another program has it locked"):
            Journal(room.path, "fra1").open()


def test_files_are_closed_to_others(room: Room) -> None:
    before = os.umask(0)
    try:
        journal = room.running()
        journal.record(event(1), T0)
        flush(journal)
    finally:
        os.umask(before)
    assert room.path.parent.stat().st_mode & 0o777 == 0o750
    found = {path.name: path.stat().st_mode & 0o777 for path in room.path.parent.iterdir()}
    assert found == dict.fromkeys(("journal.db", "journal.db-wal", "journal.db-shm", "journal.db.lock"), 0o640)


@pytest.mark.parametrize("length", [10, 20_000])
def test_a_file_that_is_no_database_is_set_aside(room: Room, length: int, caplog) -> None:
    room.path.parent.mkdir()
    room.path.write_bytes(b"no database at all! "[:length] * (length // 20 or 1))
    content = room.path.read_bytes()
    journal, restored = room.journal()
    assert journal.set_aside is not None
    assert journal.set_aside.name.startswith("journal.db.damaged-")
    assert journal.set_aside.read_bytes() == content
    assert str(journal.set_aside) in caplog.text
    assert restored.believed == ()
    assert restored.last_event > 10**12  # nobody knows which ids were used: none of them comes again
    journal.start()
    journal.record(event(restored.last_event + 1), T0)
    flush(journal)
    assert room.ids() == [restored.last_event + 1]


def test_what_a_damaged_journal_still_tells_is_carried_over(room: Room) -> None:
    journal = room.running()
    for number in range(1, 3_001):
        journal.record(event(number, device="edge1", details={"text": "x" * 50}), T0)
    journal.together([Remember("dns", ROUTE.key, ROUTE, 7), RememberOrder("dns", DRAIN), RememberOrder(None, LIFT)], T0)
    journal.put_meta("inventory", "edge1")
    assert journal.stop()
    with closing(sqlite3.connect(room.path)) as other:
        root = other.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'event'").fetchone()[0]
        size = other.execute("PRAGMA page_size").fetchone()[0]
    with room.path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xaa" * size)
    again, restored = room.journal()
    assert again.set_aside is not None
    assert restored.last_event == 3_000
    assert [believed.route for believed in restored.believed] == [ROUTE]
    assert (restored.overrides, restored.lift) == ((DRAIN,), LIFT)
    assert again.meta("inventory") == "edge1"
    assert again.stop()
    third, restored = room.journal()
    assert (restored.overrides, restored.lift) == ((DRAIN,), LIFT)
    assert third.set_aside is None
    assert restored.last_event == 3_000


def test_damage_that_only_a_check_finds_is_found_at_opening(room: Room) -> None:
    journal = room.running()
    for number in range(1, 3_001):
        journal.record(event(number, details={"text": f"marker {number}."}), T0)
    assert journal.stop()
    content = bytearray(room.path.read_bytes())
    with closing(sqlite3.connect(room.path)) as other:
        size = other.execute("PRAGMA page_size").fetchone()[0]
    page = (
        content.index(b"marker 1500.") // size * size
    )  # a leaf in the middle, which opening has no other reason to read
    content[page : page + 64] = b"\xaa" * 64
    room.path.write_bytes(content)
    again, restored = room.journal()
    assert again.set_aside is not None
    assert again.set_aside.read_bytes() == content
    assert restored.last_event == 3_000


def test_the_database_of_another_program_is_left_alone(room: Room) -> None:
    room.path.parent.mkdir()
    with closing(sqlite3.connect(room.path)) as other, other:
        other.execute("CREATE TABLE theirs (x)")
    content = room.path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        Journal(room.path, "fra1").open()
    assert room.path.read_bytes() == content


def test_a_newer_layout_is_left_alone(room: Room) -> None:
    journal = room.running()
    assert journal.stop()
    with closing(sqlite3.connect(room.path)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer exabgp-bfd"):
        Journal(room.path, "fra1").open()


# --- the disk refuses ---


def test_a_disk_that_refuses_for_a_while_loses_nothing(room: Room) -> None:
    journal = room.running(batch_seconds=0.01)
    flush(journal)
    promises: list[Future[None]] = []
    with closing(sqlite3.connect(room.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for number in range(1, 501):
            journal.record(event(number), T0)
            if number % 100 == 0:
                journal.messages([update()] * 10, T0)
                promises.append(journal.flushed())
                until(lambda: journal.counters().write_errors > 0)
        assert not journal.healthy
        assert "locked" in (journal.counters().last_error or "")
        assert journal.counters().queued_events >= 500
        assert not any(promise.done() for promise in promises)
        other.execute("ROLLBACK")
    for promise in promises:
        promise.result(SECONDS)
    assert room.ids() == list(range(500, 0, -1))
    assert len(room.reader().messages(MessageQuery(limit=100))) == 50
    until(lambda: journal.healthy)
    assert journal.counters().queued_events == 0
    assert journal.counters().dropped_messages == 0


def test_a_file_that_may_not_grow_for_a_while_loses_nothing(tmp_path: Path) -> None:
    """The same on a real limit of the file's size (RLIMIT_FSIZE), as on a full disk; in a process of its own."""
    script = f"""
        import resource, time
        from pathlib import Path
        from exabgp_bfd.core.model import Event, EventQuery
        from exabgp_bfd.storage.journal import Journal
        from exabgp_bfd.storage.reader import Reader
        path = Path({str(tmp_path / "journal.db")!r})
        journal = Journal(path, "fra1")
        journal.open()
        journal.start()
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        for number in range(1, 2001):
            journal.record(Event(id=number, event_type="x", details={{"text": "y" * 200}}), number)
        promise = journal.flushed()
        deadline = time.monotonic() + 20
        while journal.counters().write_errors < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not promise.done() and not journal.healthy, journal.counters()
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        promise.result(20)
        reader = Reader(path)
        assert [stored.id for stored in reader.events(EventQuery(limit=5000))] == list(range(2000, 0, -1))
        reader.close()
        assert journal.stop(20)
        print("kept")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.stdout.split() == ["kept"], done.stderr


def test_a_full_queue_drops_only_messages_and_leaves_a_gap(room: Room) -> None:
    journal, _ = room.journal(max_messages=10)
    assert journal.messages([update()] * 8, T0) == 8
    assert journal.messages([update()] * 8, T0 + 1) == 2
    assert journal.messages([update()] * 9, T0 + 2) == 0
    for number in range(1, 51):
        journal.record(event(number), T0)
    journal.start()
    flush(journal)
    assert journal.messages([update()], T0 + 3) == 1
    flush(journal)
    after, gap, *before = room.reader().messages(MessageQuery())
    assert after.type == "update"
    assert len(before) == 10
    assert {message.type for message in before} == {"update"}
    assert gap.document()["message"] == {
        "type": "gap",
        "dropped": 15,
        "first": "2025-11-20T12:00:00.123457Z",
        "last": "2025-11-20T12:00:00.123458Z",
    }
    assert journal.counters().dropped_messages == 15
    assert journal.counters().queued_messages == 0
    assert room.ids() == list(range(50, 0, -1))


def test_the_queue_of_messages_is_bounded_in_bytes_too(room: Room) -> None:
    journal, _ = room.journal(max_message_bytes=1000)
    assert journal.messages([b'{"type": "' + b"x" * 400 + b'"}'] * 4, T0) == 2
    journal.start()
    flush(journal)
    assert journal.messages([b"{}"], T0) == 1
    assert journal._line_bytes in (0, 2)


def test_a_gap_stands_where_the_messages_were_dropped(room: Room) -> None:
    journal, _ = room.journal(max_messages=1)
    journal.messages([update("127.0.0.2"), update("127.0.0.9")], T0)
    journal._lines.clear()  # room again before the writer came: the gap goes in front of the next
    journal.messages([update("127.0.0.3")], T0)
    journal.start()
    flush(journal, messages=False)
    until(lambda: journal.counters().committed_messages == 2)
    assert [message.type for message in room.reader().messages(MessageQuery())] == ["update", "gap"]


def test_too_many_events_are_refused_aloud(room: Room, monkeypatch) -> None:
    monkeypatch.setattr(journal_module, "MAX_PUTS", 10)
    journal, _ = room.journal()
    for number in range(1, 15):
        journal.record(event(number), T0)
    assert journal.counters().overflowed_events == 4
    with pytest.raises(StoreError, match="refused"):
        flush(journal)
    journal.start()
    until(lambda: journal.counters().queued_events == 0)
    flush(journal)
    assert room.ids() == list(range(10, 0, -1))


def test_a_removed_file_is_begun_anew_with_all_that_is_known(room: Room) -> None:
    journal = room.running()
    reader = room.reader()
    journal.together([event(1), Remember("dns", ROUTE.key, ROUTE, 1), RememberOrder("dns", DRAIN)], T0)
    journal.together([RememberOrder("ntp", FREEZE), RememberOrder("ntp", None)], T0)
    journal.put_meta("inventory", "edge1")
    flush(journal)
    assert [stored.id for stored in reader.events(EventQuery())] == [1]
    room.path.unlink()
    journal.record(event(2), T0)
    flush(journal)
    assert next(stored.id for stored in reader.events(EventQuery())) == 2  # event 1 may be rescued by now, or not yet
    assert journal.stop()
    again, restored = room.journal()
    assert restored.last_event == 2
    assert [believed.route for believed in restored.believed] == [ROUTE]
    assert restored.overrides == (DRAIN,)
    assert again.meta("inventory") == "edge1"


def test_a_file_that_breaks_under_our_hands_is_set_aside(room: Room) -> None:
    journal = room.running()
    for number in range(1, 3_001):
        journal.record(event(number, details={"text": "x" * 50}), T0)
    journal.remember(Remember("dns", ROUTE.key, ROUTE, 1))
    flush(journal)
    with closing(sqlite3.connect(room.path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = room.path.stat().st_size
    with room.path.open("r+b") as file:
        file.write(b"\xaa" * size)
    with closing(sqlite3.connect(room.path.with_name("journal.db"))) as other, pytest.raises(sqlite3.DatabaseError):
        other.execute("SELECT count(*) FROM event").fetchone()
    number = 3_000
    deadline = time.monotonic() + SECONDS
    while journal.set_aside is None and time.monotonic() < deadline:
        number += 1
        journal.record(event(number, device=f"edge{number}", details={"text": "x" * 5_000}), T0)
        flush(journal)
    assert journal.set_aside is not None
    last = number + 1
    journal.record(event(last), T0)
    flush(journal)
    assert journal.healthy
    assert journal.stop()
    _, restored = room.journal()
    assert restored.last_event == last
    assert [believed.route for believed in restored.believed] == [ROUTE]


def test_a_fault_in_the_writer_does_not_end_it(room: Room, monkeypatch) -> None:
    monkeypatch.setattr(journal_module, "_LAST_RETRY", 0.05)
    journal, _ = room.journal()
    write = journal._write_puts
    faults = [RuntimeError("a fault of ours"), MemoryError()]

    def fail(batch) -> None:
        if faults:
            raise faults.pop()
        write(batch)

    journal._write_puts = fail
    journal.record(event(1), T0)
    journal.start()
    flush(journal)
    assert room.ids() == [1]
    assert journal.healthy
    assert journal.counters().write_errors == 2


def test_a_commit_whose_answer_was_lost_is_not_written_twice(room: Room, monkeypatch) -> None:
    journal, _ = room.journal(max_events=1_000)
    lost = {"_write_puts", "_write_lines"}

    def answer_lost(name: str) -> None:
        write = getattr(journal, name)

        def once(batch) -> None:
            write(batch)
            if name in lost:
                lost.discard(name)
                raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(journal, name, once)

    answer_lost("_write_puts")
    answer_lost("_write_lines")
    journal.record(event(1), T0)
    journal.messages([update(), update()], T0)
    journal.start()
    flush(journal)
    assert room.ids() == [1]
    assert len(room.reader().messages(MessageQuery())) == 2
    assert journal.counters().duplicates == 3
    assert journal._known.events == 1
    with closing(sqlite3.connect(room.path)) as other:
        assert other.execute("SELECT kind, rows FROM span ORDER BY kind").fetchall() == [("event", 1), ("message", 2)]


# --- retention ---


def test_old_events_and_messages_go_and_their_ids_do_not_come_again(room: Room, monkeypatch) -> None:
    monkeypatch.setattr(database, "PART", 4)
    monkeypatch.setattr(journal_module, "_PRUNED_A_STEP", 7)
    journal, _ = room.journal(keep_events=3600.0, keep_messages=60.0)
    hour = 3_600_000_000
    journal.record(event(1), now() + 1000 * hour)  # the clock was wrong for a moment: it must not hold up the others
    for number in range(2, 41):
        journal.record(event(number), now() - 2 * hour)
    for number in range(41, 51):
        journal.record(event(number), now())
    journal.messages([update()] * 30, now() - hour)
    journal.messages([update()] * 5, now())
    journal.start()
    until(lambda: journal.counters().pruned_events == 39 and journal.counters().pruned_messages == 30)
    assert room.ids() == [*range(50, 40, -1), 1]
    assert [message.id for message in room.reader().messages(MessageQuery())] == [35, 34, 33, 32, 31]
    assert journal.stop()
    with closing(sqlite3.connect(room.path)) as other:
        assert dict(other.execute("SELECT kind, sum(rows) FROM span GROUP BY kind")) == {"event": 11, "message": 5}


def test_at_most_so_many_events_are_kept(room: Room, monkeypatch) -> None:
    monkeypatch.setattr(database, "PART", 4)
    monkeypatch.setattr(journal_module, "_PRUNED_A_STEP", 30)
    journal = room.running(max_events=100)
    for number in range(1, 401):
        journal.record(event(number), T0)
        if number % 50 == 0:
            flush(journal)
    until(lambda: journal.counters().pruned_events == 300)
    assert room.ids() == list(range(400, 300, -1))
    assert journal.stop()
    again, restored = room.journal(max_events=0)
    assert restored.last_event == 400
    again.start()
    until(lambda: again.counters().pruned_events == 100)
    assert room.ids() == []
    assert again.stop()
    _, restored = room.journal()
    assert restored.last_event == 400


def test_an_idle_journal_marks_that_it_lives(room: Room, monkeypatch) -> None:
    monkeypatch.setattr(journal_module, "_ALIVE", 0.05)
    journal = room.running()
    seen: set[str] = set()

    def marked() -> bool:
        with closing(sqlite3.connect(room.path)) as other:
            seen.update(row[0] for row in other.execute("SELECT value FROM meta WHERE key = 'alive'"))
        return len(seen) > 2

    until(marked)
    assert journal.healthy


# --- killed ---

WRITER = """
    import sys
    from ipaddress import ip_network
    from pathlib import Path
    from exabgp_bfd.core.model import Event, Remember, Route
    from exabgp_bfd.storage.journal import Journal

    journal = Journal(Path(sys.argv[1]), "fra1", batch_seconds=0.002)
    number = journal.open().last_event
    journal.start()
    prefix = ip_network("192.0.2.53/32")
    while True:
        for _ in range(7):
            number += 1
            route = Route(prefix, med=number)
            journal.together(
                (Event(id=number, event_type="x", details={"n": number}), Remember("dns", route.key, route, number)),
                number,
            )
        journal.messages([b'{"type": "update", "n": %d}' % number], number)
        journal.flushed().result(20)
        print(number, flush=True)
"""


def test_a_killed_process_has_kept_whatever_it_acknowledged(room: Room) -> None:
    random = Random()
    acknowledged = 0
    for _ in range(10):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(room.path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        try:
            for _ in range(random.randint(1, 40)):
                acknowledged = int(child.stdout.readline())
            time.sleep(random.random() / 200)
        finally:
            os.kill(child.pid, signal.SIGKILL)
            rest = child.stdout.read().split("\n")
            child.wait(SECONDS)
            child.stdout.close()
        # What it had printed before the kill was acknowledged too; the last line may be cut.
        acknowledged = max([acknowledged, *(int(line) for line in rest[:-1])])

        journal, restored = room.journal()
        assert journal.set_aside is None
        assert restored.last_event >= acknowledged
        with closing(sqlite3.connect(room.path)) as other:
            rows = other.execute("SELECT id, details FROM event ORDER BY id").fetchall()
            messages = {row[0] for row in other.execute("SELECT json_extract(line, '$.n') FROM message")}
        assert [row[0] for row in rows] == list(range(1, restored.last_event + 1))
        assert all(json.loads(details) == {"n": number} for number, details in rows)
        assert messages >= {acknowledged}
        # The decision is the one of the last event that was kept: they were put together.
        (believed,) = restored.believed
        assert (believed.event, believed.route.med) == (restored.last_event, restored.last_event)
        assert journal.stop()


def counted(room: Room, query: EventQuery | MessageQuery) -> dict[tuple[str, str], int]:
    """How many there are by day and type, counted from the rows themselves."""
    reader = room.reader()
    wanted = replace(query, limit=10_000)
    found: list[tuple[int, str]]
    if isinstance(wanted, MessageQuery):
        found = [(each.ts, each.type) for each in reader.messages(wanted)]
    else:
        found = [(each.ts, each.event.event_type) for each in reader.events(wanted)]
    return dict(Counter((day_of(ts), kind) for ts, kind in found))


QUERIES = [
    EventQuery(),
    EventQuery(event_type="bfd_failure"),
    EventQuery(event_type="none"),
    EventQuery(since=T0 + 5 * DAY // 2),
    EventQuery(since=T0 + DAY, until=T0 + 3 * DAY),
    EventQuery(until=T0 - 1),
    MessageQuery(),
    MessageQuery(type="update", since=T0 + DAY // 2, until=T0 + 2 * DAY),
]


def test_what_is_counted_over_everything_is_what_the_rows_say(room: Room) -> None:
    journal = room.running(max_events=4_500)
    for number in range(1, 5_001):
        # Over days, with a clock that is set back once, and over several parts of the table.
        ts = T0 + number * DAY // 1_000 - (DAY if 2_500 < number < 3_000 else 0)
        journal.record(replace(event(number), event_type="bfd_failure" if number % 3 else "snmp_poll"), ts)
    for number in range(2_000):
        journal.messages([update(kind="update" if number % 2 else "state")], T0 + number * DAY // 600)
        if number % 500 == 0:
            flush(journal)
    flush(journal)
    until(lambda: len(room.reader().events(EventQuery(limit=10_000))) == 4_500)
    for query in QUERIES:
        told = {(each.day, each.type): each.count for each in room.reader().counts(query)}
        assert told == counted(room, query), query
    assert room.reader().counts(EventQuery())
    assert journal.stop()
    # What an older layout left has no tallies: its rows are counted, and those that came since too.
    with closing(sqlite3.connect(room.path)) as connection, connection:
        connection.execute("DELETE FROM tally WHERE part <> 1")
    again = room.running()
    again.record(event(5_001), T0)
    flush(again)
    for query in QUERIES:
        told = {(each.day, each.type): each.count for each in room.reader().counts(query)}
        assert told == counted(room, query), query


def test_what_is_counted_over_everything_is_not_read(room: Room) -> None:
    journal = room.running()
    journal.record(event(1), T0)
    flush(journal)
    with closing(sqlite3.connect(room.path)) as connection, connection:
        connection.execute("UPDATE tally SET type = 'told'")
    assert [each.type for each in room.reader().counts(EventQuery())] == ["told"]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        (EventQuery(service="dns", event_type="a"), [5, 1]),
        (EventQuery(service="dns", device="edge1"), [3]),
        (EventQuery(service="dns", device="edge1", event_type="a"), []),
        (EventQuery(service="dns"), [5, 3, 2, 1]),
    ],
)
def test_questions_by_service_and_more(room: Room, query: EventQuery, numbers: list[int]) -> None:
    journal = room.running()
    for number, (kind, device, service) in enumerate(
        [("a", None, "dns"), ("b", None, "dns"), ("b", "edge1", "dns"), ("a", "edge1", None), ("a", None, "dns")], 1
    ):
        journal.record(Event(number, kind, device, service=service), T0)
    flush(journal)
    assert [each.id for each in room.reader().events(query)] == numbers


def test_what_was_sent_is_found_among_what_was_received(room: Room) -> None:
    journal = room.running()
    told = [("127.0.0.2", "receive"), ("127.0.0.2", "send"), ("127.0.0.3", "receive"), ("127.0.0.3", "send")]
    journal.messages([update(peer, direction=direction) for peer, direction in told], T0)
    flush(journal)
    assert [each.id for each in room.reader().messages(MessageQuery(direction="send"))] == [4, 2]
    assert [each.id for each in room.reader().messages(MessageQuery(direction="send", neighbor="127.0.0.2"))] == [2]
    assert [each.id for each in room.reader().messages(MessageQuery(direction="send", type="update"))] == [4, 2]
