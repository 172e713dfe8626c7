"""A journal that is torn, taken away or put back under our hands: we go on, and what can be read is carried over."""

import json
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path

import pytest

from exabgp_bfd.core.model import Event, Note, Remember, Restored, Route, StoreError
from exabgp_bfd.storage import database, rescue
from exabgp_bfd.storage import journal as journal_module
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.tail import Before, Tail

SECONDS = 30.0
T0 = 1_763_640_000_123_456
ROUTE = Route(prefix=ip_network("192.0.2.53/32"), med=50)
MANY = 3_000
HOUR = 3_600_000_000


def now() -> int:
    return time.time_ns() // 1000


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


class Room:
    """A journal at a time on one path, and what it told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wal = path.with_name(path.name + "-wal")
        self.told: list[Note] = []
        self.journals: list[Journal] = []

    def open(self, **settings) -> tuple[Journal, Restored]:
        made = Journal(self.path, "fra1", batch_seconds=0.001, **settings)
        restored = made.open()
        self.journals.append(made)
        return made, restored

    def running(self, **settings) -> Journal:
        made, _ = self.open(**settings)
        made.start()
        return made

    def heard(self, journal: Journal, event_type: str) -> list[Note]:
        self.told += journal.notes()
        return [note for note in self.told if note.event_type == event_type]

    def rows(self, sql: str = "SELECT id, details FROM event ORDER BY id") -> list[tuple]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(sql).fetchall()

    def ids(self) -> list[int]:
        return [row[0] for row in self.rows()]

    def close(self) -> None:
        for made in self.journals:
            made.stop(0.5)


@pytest.fixture
def room(tmp_path: Path, monkeypatch) -> Iterator[Room]:
    monkeypatch.setattr(journal_module, "_ALIVE", 3600.0)
    monkeypatch.setattr(journal_module, "_PRUNE", 3600.0)
    monkeypatch.setattr(journal_module, "_BREATH", 0.001)
    made = Room(tmp_path / "state" / "journal.db")
    yield made
    made.close()


def event(number: int, **more) -> Event:
    return Event(id=number, event_type="bfd_failure", details={"n": number, "text": "x" * 50}, **more)


def flush(journal: Journal) -> None:
    journal.flushed().result(SECONDS)


def fill(room: Room, journal: Journal, first: int = 1, count: int = MANY, *, ts: int = T0) -> None:
    for number in range(first, first + count):
        journal.record(event(number), ts)
        if number % 500 == 0:
            flush(journal)
    journal.messages([b'{"type": "update", "n": 1}'] * 20, ts)
    journal.together([Remember("dns", ROUTE.key, ROUTE, first)], ts)
    flush(journal)


def killed(room: Room, tmp_path: Path, **settings) -> Room:
    """The files as a SIGKILL leaves them: the log is there, and not yet all in the file."""
    journal = room.running(**settings)
    fill(room, journal)
    with closing(sqlite3.connect(room.path)) as other:
        other.execute("PRAGMA wal_checkpoint")
    fill(room, journal, MANY + 1, 100)
    left = Room(tmp_path / "left" / "journal.db")
    left.path.parent.mkdir()
    for companion in ("", "-wal", ".lock"):
        shutil.copy(room.path.with_name(room.path.name + companion), left.path.parent)
    room.journals.append(journal)
    return left


def truncated(left: Room) -> None:
    os.truncate(left.path, left.path.stat().st_size // 2)
    left.wal.unlink()


def emptied(left: Room) -> None:
    os.truncate(left.path, 0)


def zeroed(left: Room) -> None:
    left.wal.unlink()
    with left.path.open("r+b") as file:
        # Behind the first page of each table and index.
        for page in random.sample(range(60, left.path.stat().st_size // 4096), 5):
            file.seek(page * 4096)
            file.write(bytes(4096))


def headless(left: Room) -> None:
    with left.path.open("r+b") as file:
        file.write(random.randbytes(4096))
    left.wal.unlink()


def without_root(left: Room) -> None:
    (root,) = left.rows("SELECT rootpage FROM sqlite_schema WHERE name = 'event'")[0]
    left.wal.unlink(missing_ok=True)
    with left.path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xaa" * 4096)


def other_log(left: Room) -> None:
    """The log of another journal, which SQLite itself would take."""
    folder = left.path.parent / "other"
    journal = Journal(folder / "journal.db", "ams1")
    journal.open()
    journal.start()
    for number in range(7_000, 7_300):
        journal.record(Event(number, "foreign", details={"n": -number}), T0)
    flush(journal)
    shutil.copy(folder / "journal.db-wal", left.wal)
    assert journal.stop()


@pytest.mark.parametrize(
    ("tear", "known", "rescued"),
    [
        (truncated, True, 500),
        (emptied, False, 0),
        (zeroed, True, MANY // 2),
        (headless, False, 0),
        (without_root, True, 0),
        (other_log, True, MANY),
    ],
)
def test_a_torn_journal_is_set_aside_and_what_can_be_read_is_carried_over(
    room: Room, tmp_path: Path, tear: Callable[[Room], None], known: bool, rescued: int
) -> None:
    left = killed(room, tmp_path)
    tear(left)
    content = left.path.read_bytes()
    journal, restored = left.open()
    try:
        assert journal.set_aside is not None
        assert journal.set_aside.read_bytes() == content
        # No id is given again, whatever the file has forgotten.
        assert restored.last_event >= MANY + 100
        if known and rescued:
            assert [held.route for held in restored.believed] == [ROUTE]
        journal.start()
        last = restored.last_event + 1
        journal.record(event(last), T0)
        flush(journal)
        assert last in left.ids()
        until(lambda: bool(left.heard(journal, "store_rescued")))
        (damaged,), (saved,) = left.heard(journal, "store_damaged"), left.heard(journal, "store_rescued")
        assert damaged.details["set_aside"] == str(journal.set_aside)
        found = left.rows()
        assert len(found) - 1 == saved.details["events"] >= rescued
        assert all(json.loads(details)["n"] == number for number, details in found)
        assert dict(left.rows("SELECT kind, sum(rows) FROM span GROUP BY kind"))["event"] == len(found)
        assert journal._known.events == len(found)
        assert journal.stop(SECONDS)
    finally:
        left.close()
    again, restored = left.open()
    assert (restored.last_event, again.set_aside) == (last, None)
    assert not again._rescues
    left.close()


def test_a_log_that_was_taken_away_is_told_and_its_ids_do_not_come_again(room: Room, tmp_path: Path) -> None:
    left = killed(room, tmp_path)
    left.wal.unlink()
    journal, restored = left.open()
    assert (journal.set_aside, restored.last_event) == (None, MANY + 100)
    (missing,) = left.heard(journal, "store_missing")
    assert (missing.details["events_known"], missing.details["events_given"]) == (MANY, MANY + 100)
    assert left.ids() == list(range(1, MANY + 1))
    left.close()
    journal, restored = left.open()
    assert (restored.last_event, left.heard(journal, "store_missing")) == (MANY + 100, [missing])
    left.close()


def test_a_journal_that_was_removed_while_we_were_away_is_told_of(room: Room) -> None:
    journal = room.running()
    journal.record(event(41), T0)
    assert journal.stop()
    room.path.unlink()
    journal, restored = room.open()
    assert restored.last_event == 41
    assert [note.details["events_given"] for note in room.heard(journal, "store_missing")] == [41]


@pytest.mark.parametrize("text", ["", "7\n", "7\nx y z\n", "7\n-1 5 a\n", f"7\n{9**30} 1 a\n", "\xff\n1 2\n"])
def test_a_mark_that_makes_no_sense_is_none(room: Room, text: str) -> None:
    room.path.parent.mkdir()
    room.path.with_name("journal.db.lock").write_text(text, "latin-1")
    hold = database.Hold(room.path)
    assert hold.before.last_event in (0, 1)
    hold.release()


def test_after_a_power_cut_ids_are_left_out_and_after_a_kill_or_an_end_not(
    room: Room, tmp_path: Path, monkeypatch
) -> None:
    left = killed(room, tmp_path)
    monkeypatch.setattr(journal_module, "_BOOT", tmp_path / "boot")
    (tmp_path / "boot").write_text("another\n")
    journal, restored = left.open()
    assert restored.last_event == MANY + 100 + database.SKIP
    journal.start()
    assert journal.stop(SECONDS)
    (tmp_path / "boot").write_text("a third\n")
    _, restored = left.open()
    assert restored.last_event == MANY + 100 + database.SKIP
    left.close()
    (tmp_path / "boot").unlink()  # Where nobody can know, nothing is left out.
    assert journal_module._boot() == ""


def test_a_rescue_goes_on_after_a_restart(room: Room, tmp_path: Path, monkeypatch) -> None:
    left = killed(room, tmp_path)
    zeroed(left)
    journal, _ = left.open()
    aside = journal.set_aside
    assert journal.stop()  # before anything was carried over
    with closing(sqlite3.connect(left.path)) as other:
        assert other.execute("SELECT count(*) FROM event").fetchone() == (0,)
    again = left.running()
    until(lambda: bool(left.heard(again, "store_rescued")))
    assert len(left.ids()) > MANY // 2
    assert again.stop(SECONDS)
    third, _ = left.open()
    assert not third._rescues
    assert aside is not None
    left.close()


def test_no_more_is_carried_over_than_retention_would_leave(room: Room, tmp_path: Path) -> None:
    left = killed(room, tmp_path)
    other_log(left)
    journal = left.running(max_events=100, keep_messages=3600.0)  # the messages are of long ago
    until(lambda: bool(left.heard(journal, "store_rescued")))
    assert left.ids() == list(range(MANY - 99, MANY + 1))
    assert left.rows("SELECT count(*) FROM message") == [(0,)]
    left.close()


def test_rows_that_make_no_sense_are_not_carried_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path, "fra1")
    journal.open()
    journal.start()
    for number in range(1, 9):
        journal.record(Event(number, "x"), T0)
    journal.messages([b'{"type": "update"}'] * 3, T0)
    assert journal.stop(SECONDS)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE event SET ts = 'then' WHERE id = 1")
        other.execute("UPDATE event SET details = '[]' WHERE id = 2")
        other.execute("UPDATE event SET details = '{' WHERE id = 3")
        other.execute("UPDATE event SET event_type = CAST(X'FF' AS TEXT) WHERE id = 4")
        other.execute("UPDATE event SET cause = 'x' WHERE id = 5")
        other.execute("UPDATE event SET device = 7.5 WHERE id = 6")
        other.execute("UPDATE message SET line = X'00' WHERE id = 1")
    reading = rescue.Rescue(path, {"event": 7, "message": 99})
    reading.begin()
    found: list[rescue.Batch] = []
    until(lambda: bool((batch := reading.take()) and found.append(batch)) or reading.done)
    while (batch := reading.take()) is not None:
        found.append(batch)
    taken = {(batch.kind, row[0]) for batch in found for row in batch.rows}
    # 6: a number in a column of text is text to SQLite; 8 is beyond what the journal had given.
    assert taken == {("event", 7), ("event", 6), ("message", 3), ("message", 2)}
    assert (reading.tallies["event"].bad, reading.tallies["message"].bad) == (5, 1)


# --- under our hands ---


def removed(room: Room) -> None:
    room.path.unlink()


def removed_with_all(room: Room) -> None:
    for path in room.path.parent.iterdir():
        path.unlink()


def removed_with_folder(room: Room) -> None:
    shutil.rmtree(room.path.parent)


def old_copy(room: Room) -> None:
    """A backup of long ago is moved to the name, as an operator does who does not know that we run."""
    with closing(sqlite3.connect(room.path)) as other, closing(sqlite3.connect(room.path.with_name("copy"))) as copy:
        other.backup(copy)
        copy.execute("DELETE FROM event WHERE id > 1000")
        copy.commit()
    room.path.with_name("copy").replace(room.path)


def text_file(room: Room) -> None:
    room.path.with_name("copy").write_text("something else")
    room.path.with_name("copy").replace(room.path)


@pytest.mark.parametrize("take_away", [removed, removed_with_all, removed_with_folder, old_copy, text_file])
def test_a_journal_taken_away_under_our_hands_is_begun_anew_and_nothing_is_lost(
    room: Room, take_away: Callable[[Room], None]
) -> None:
    journal = room.running()
    fill(room, journal)
    identity = journal.meta("journal")
    take_away(room)
    journal.record(event(MANY + 1), T0)
    flush(journal)
    assert MANY + 1 in room.ids()
    until(lambda: bool(room.heard(journal, "store_rescued")))
    assert room.ids() == list(range(1, MANY + 2))
    assert room.rows("SELECT count(*) FROM message") == [(20,)]
    assert room.heard(journal, "store_replaced")
    assert journal.generation == 1
    assert (journal.meta("journal"),) in room.rows("SELECT value FROM meta WHERE key = 'journal'")
    assert json.loads(journal.meta("rescued") or "")["journal"] == identity != journal.meta("journal")
    assert journal.set_aside is None or journal.set_aside.name.startswith("journal.db.replaced-")
    # It is ours still, whatever became of the lock's file.
    with pytest.raises(StoreError, match="in use"):
        Journal(room.path, "x").open()
    assert journal.stop(SECONDS)
    _, restored = room.open()
    assert (restored.last_event, [held.route for held in restored.believed]) == (MANY + 1, [ROUTE])


def test_what_was_removed_is_carried_over_before_we_end(room: Room, monkeypatch) -> None:
    journal = room.running()
    fill(room, journal)
    monkeypatch.setattr(journal_module, "_BREATH", 3600.0)
    room.path.unlink()
    journal.record(event(MANY + 1), T0)
    flush(journal)
    assert journal.stop(SECONDS)
    assert room.ids() == list(range(1, MANY + 2))


def test_a_lock_that_was_removed_and_taken_by_another_stops_us_from_writing_until_it_is_free(room: Room) -> None:
    journal = room.running()
    fill(room, journal, count=10)
    room.path.with_name("journal.db.lock").unlink()
    other = Journal(room.path, "fra1")
    other.open()
    journal.record(event(11), T0)
    promise = journal.flushed()
    until(lambda: journal.counters().write_errors > 0)
    assert "in use by another" in (journal.counters().last_error or "")
    assert not promise.done()
    other.stop()
    promise.result(SECONDS)
    assert room.ids() == list(range(1, 12))
    assert journal.generation == 0


# --- retention ---


def test_what_is_not_shipped_yet_is_spared_by_the_count(room: Room) -> None:
    shipped = [0]
    journal, _ = room.open(max_events=100)
    journal.spare["event"] = lambda: shipped[0]
    journal.start()
    fill(room, journal, count=500)
    flush(journal)
    assert len(room.ids()) == 500
    shipped[0] = 250
    journal.record(event(501), T0)
    until(lambda: journal.counters().pruned_events == 250)
    flush(journal)
    assert room.ids() == list(range(251, 502))
    shipped[0] = 501
    journal.record(event(502), T0)
    until(lambda: journal.counters().pruned_events == 402)
    assert room.ids() == list(range(403, 503))
    assert not room.heard(journal, "store_gap")


def test_age_goes_before_and_the_gap_is_told(room: Room, caplog) -> None:
    journal, _ = room.open(keep_events=3600.0)
    journal.spare["event"] = lambda: 200
    fill_ts = now() - 2 * HOUR
    for number in range(1, 301):
        journal.record(event(number), fill_ts)
    journal.record(event(301), now())
    journal.start()
    until(lambda: bool(room.heard(journal, "store_gap")))
    (gap,) = room.heard(journal, "store_gap")
    assert gap.details == {"store": "journal", "kind": "event", "count": 100, "first": 201, "last": 300}
    assert "though not shipped" in caplog.text
    assert room.ids() == [301]


def test_when_the_clock_leaps_ahead_ages_do_not_count_for_a_while(room: Room, monkeypatch) -> None:
    monkeypatch.setattr(journal_module, "_PRUNE", 0.01)
    journal = room.running(keep_events=3600.0)
    fill(room, journal, count=50, ts=now())
    real, day = time.time, 86_400.0
    real_ns = time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + 30 * day)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(30 * day * 1e9))
    journal.record(event(51), now())
    flush(journal)
    until(lambda: journal._ages_from > 0.0)
    journal.record(event(52), now())
    flush(journal)
    assert len(room.ids()) == 52
    monkeypatch.setattr(time, "time", real)
    monkeypatch.setattr(time, "time_ns", real_ns)
    journal.record(event(53), now() - 2 * HOUR)
    journal._ages_from = 0.0  # as if the hour were over
    until(lambda: 53 not in room.ids())
    assert room.ids() == list(range(1, 53))


def test_what_happens_while_the_clock_is_back_is_kept_as_long_as_what_was_before(room: Room, monkeypatch) -> None:
    monkeypatch.setattr(database, "PART", 3)
    monkeypatch.setattr(journal_module, "_PRUNE", 0.01)
    journal, _ = room.open(keep_events=3600.0)
    for number in range(1, 11):
        journal.record(event(number), now() - 2 * HOUR)
    for number in range(11, 21):
        journal.record(event(number), now())
    for number in range(21, 41):
        journal.record(event(number), now() - 9_000 * HOUR)
    journal.start()
    until(lambda: journal.counters().pruned_events >= 10)
    flush(journal)
    steps: list[int] = []
    prune = journal._prune
    monkeypatch.setattr(journal, "_prune", lambda: bool(steps.append(1)) or prune())
    until(lambda: len(steps) > 3)  # and it does not try again and again without a pause
    assert room.ids() == list(range(11, 41))


# --- who waits for a rescue ---


def left_by_a_kill(room: Room, folder: Path) -> Room:
    left = Room(folder / "left" / "journal.db")
    left.path.parent.mkdir()
    for companion in ("", "-wal", ".lock"):
        shutil.copy(room.path.with_name(room.path.name + companion), left.path.parent)
    return left


def before(path: Path) -> Before:
    tail = Tail(path)
    try:
        tail.identity()
        return tail.before("event")
    finally:
        tail.close()


def test_a_rescue_from_an_open_file_that_a_kill_ended_is_waited_for_no_more(room: Room, tmp_path, monkeypatch) -> None:
    journal = room.running()
    fill(room, journal)
    monkeypatch.setattr(journal_module, "_BREATH", 3600.0)
    room.path.unlink()
    journal.record(event(MANY + 1), T0)
    flush(journal)
    assert not before(room.path).whole
    left = left_by_a_kill(room, tmp_path)
    left.open()
    try:
        assert before(left.path) == Before(MANY, whole=True)
    finally:
        left.close()


def test_a_rescue_from_a_file_that_an_operator_removed_is_waited_for_no_more(room: Room, tmp_path) -> None:
    left = killed(room, tmp_path)
    truncated(left)
    journal, _ = left.open()
    assert journal.set_aside is not None
    assert not before(left.path).whole
    left.close()
    journal.set_aside.unlink()
    left.open()
    try:
        assert before(left.path).whole
    finally:
        left.close()


def test_nothing_is_waited_for_where_nothing_can_be_rescued(room: Room, monkeypatch) -> None:
    journal = room.running()
    fill(room, journal, count=10)
    connected = journal._connected

    def closed_before() -> sqlite3.Connection:
        if journal._moved():
            journal._disconnect()
        return connected()

    monkeypatch.setattr(journal, "_connected", closed_before)
    room.path.unlink()
    journal.record(event(11), T0)
    flush(journal)
    assert room.ids() == [11]
    assert before(room.path) == Before(10, whole=True)


def test_of_two_rescues_the_first_does_not_say_that_all_is_there(room: Room, monkeypatch) -> None:
    journal = room.running()
    fill(room, journal, count=10)
    monkeypatch.setattr(journal_module, "_BREATH", 3600.0)
    for number in (11, 12):
        journal._rescue_at = time.monotonic() + 3600.0
        room.path.unlink()
        journal.record(event(number), T0)
        flush(journal)
    assert len(journal._rescues) == 2
    said: list[bool] = []
    ended = journal._rescue_ended
    monkeypatch.setattr(journal, "_rescue_ended", lambda one: said.append(before(room.path).whole) or ended(one))
    monkeypatch.setattr(journal_module, "_BREATH", 0.001)
    journal._rescue_at = 0.0
    journal._alive_at = 0.0
    journal.record(event(13), T0)
    until(lambda: not journal._rescues)
    assert said == [False, False]
    assert before(room.path).whole
    assert room.ids() == list(range(1, 14))


def test_what_is_rescued_and_not_shipped_is_not_cut_to_the_count(room: Room) -> None:
    journal, _ = room.open(max_events=100)
    journal.spare["event"] = lambda: 0
    journal.start()
    fill(room, journal, count=500)
    room.path.unlink()
    journal.record(event(501), T0)
    flush(journal)
    until(lambda: bool(room.heard(journal, "store_rescued")))
    assert room.ids() == list(range(1, 502))
