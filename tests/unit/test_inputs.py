"""The input log on real journals: what came into the engine comes back as it was, in order, and in few bytes."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from random import Random

import pytest

from exabgp_bfd.core.model import (
    Action,
    Advertised,
    Answer,
    Believed,
    Clear,
    Clock,
    Diagnostic,
    Disabled,
    Lift,
    Neighbor,
    Note,
    Notification,
    Observation,
    Order,
    Outcome,
    Override,
    Plan,
    Poll,
    Reload,
    Restored,
    Route,
    Session,
    Silence,
    Sites,
    Source,
    Stall,
    Start,
    State,
    Stop,
    Tick,
    Watchdog,
    Webhook,
)
from exabgp_bfd.storage import inputs as inputs_module
from exabgp_bfd.storage import journal as journal_module
from exabgp_bfd.storage import recording
from exabgp_bfd.storage.inputs import InputLog
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.reader import Reader
from exabgp_bfd.storage.recording import LOST, Kept, Run, add_time, chunk_body, chunk_times

SECONDS = 20.0
WALL = 1_763_640_000_000_000
SESSION = Session("edge1", "192.0.2.1", ip_address("192.0.2.1"), ip_address("2001:db8::1"), "eth0", 7)
OTHER = Session("edge1", "fe80::1%eth1", ip_address("fe80::1%eth1"))
UP = Poll("edge1", (Observation(SESSION, State.UP, Diagnostic.NONE, {"index": "1.7"}, 3, 2, 12345),), complete=True)
DOWN = replace(UP, observations=(Observation(SESSION, State.DOWN, Diagnostic.PATH_DOWN, {}, downs=3),))
LOOK = Poll("edge1", (Observation(OTHER, State.INIT),), False, Source.SNMP_LOOK, "noc", 17, frozenset({"a", "b"}))
OVERRIDE = Override("dns", Action.DRAIN, "noc", "work", 1763640000.25, 1763643600.5)
LIFT = Lift("noc", "a real outage", 1763640001.0)
RESTORED = Restored(
    41,
    (Believed("dns", Route(ip_network("192.0.2.0/24"), med=5), 7), Believed("web", Watchdog("w"), 8)),
    rib_kept=True,
    expired=True,
    wall=1763640000.125,
    overrides=(OVERRIDE,),
    lift=LIFT,
    disabled=("dns",),
    withdrawn=(("ntp", 1795176000.5),),
)

ALL = [
    Start({"version": "1", "pid": 7}),
    UP,
    DOWN,
    LOOK,
    Poll("edge2", ()),
    Silence("edge1", "no answer in 1 s"),
    Webhook("edge1", "fiber cut", {"state": "down", "list": [1, 2.5, None, {"a": "\ud800"}]}, "observe", "hook"),
    Notification("edge1", State.DOWN, ("edge1/a", "edge1/b"), sure=True, details={"oid": "1.3"}),
    Notification("edge1"),
    Clock(1763640123.5),
    Sites(None),
    Sites({"198.51.100.0/24": ("ams1", "fra2"), "192.0.2.53/32": ()}),
    Stall(3.25),
    Order(OVERRIDE),
    Order(LIFT),
    Clear("dns", "noc", "done"),
    Clear(None, "noc"),
    Disabled("dns", present=True),
    Reload(Plan(), "SIGHUP", {"file": "x.toml"}),
    Reload(Plan(), "noc", {"written": {"host": "192.0.2.9"}}, event_type="device_added", device="edge9"),
    Stop("SIGTERM", withdraw=True),
]


def micro(now: float) -> int:
    return round(now * 1_000_000)


class Room:
    """A journal with its input log, and a reader."""

    def __init__(self, path: Path, **settings) -> None:
        self.path = path
        self.journal = Journal(path, "fra1", batch_seconds=0.001, **settings)
        self.journal.open()
        self.journal.start()
        self.log = InputLog(self.journal)
        self.reader = Reader(path)

    def note(self, *events, begin: float = 100.0, step: float = 0.5) -> list[tuple[float, object]]:
        told = []
        for number, event in enumerate(events):
            now = round(begin + number * step, 6)
            if isinstance(event, Start):
                self.log.began(event, RESTORED, now, WALL + micro(now))
            else:
                self.log.note(event, now, WALL + micro(now))
            told.append((now, event))
        return told

    def flush(self) -> None:
        self.log.flush()
        self.journal.flushed().result(SECONDS)

    def kept(self, since: int | None = None, until: int | None = None) -> list[Kept]:
        return list(self.reader.inputs(since, until))

    def inputs(self, since: int | None = None, until: int | None = None) -> list[tuple[float, object]]:
        return [(kept.now, kept.input) for kept in self.kept(since, until)]

    def ask(self, sql: str) -> list[tuple]:
        with closing(sqlite3.connect(self.path)) as other:
            return other.execute(sql).fetchall()

    def write(self, sql: str) -> None:
        with closing(sqlite3.connect(self.path)) as other, other:
            other.execute(sql)

    def close(self) -> None:
        self.reader.close()
        self.journal.stop(0.5)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path / "journal.db")
    yield made
    made.close()


def test_every_input_comes_back_as_it_was_and_a_start_with_what_it_began_with(room: Room) -> None:
    told = room.note(*ALL)
    room.flush()
    assert room.inputs() == told
    first, *rest = room.kept()
    assert first.restored == RESTORED
    assert all(kept.restored is None for kept in rest)
    assert [kept.wall for kept in room.kept()] == [WALL + micro(now) for now, _ in told]


def test_what_decides_nothing_by_itself_is_not_kept(room: Room) -> None:
    prefix = ip_network("192.0.2.0/24")
    neighbor = ip_address("192.0.2.9")
    room.note(
        Tick(),
        Answer(1, Outcome.DONE),
        Advertised(neighbor, prefix, announced=True),
        Neighbor(neighbor, "up"),
        Note("x", {}),
    )
    room.flush()
    assert room.inputs() == []


def test_a_plan_is_not_kept_with_a_reload(room: Room) -> None:
    service_plan = Plan(record_polls=True)
    room.note(Reload(service_plan, "SIGHUP", {"services": 3}))
    room.flush()
    assert room.inputs() == [(100.0, Reload(Plan(), "SIGHUP", {"services": 3}))]


def test_equal_polls_of_many_devices_are_times_in_one_row_and_no_text_is_made_of_them(room: Room, monkeypatch) -> None:
    made: list[Poll] = []
    body = recording.poll_body
    monkeypatch.setattr(journal_module, "poll_body", lambda poll: made.append(poll) or body(poll))
    devices = [
        replace(UP, device=f"edge{number}", observations=(Observation(Session(f"edge{number}", "x"), State.UP),))
        for number in range(20)
    ]
    told = room.note(*devices, begin=100.0, step=0.01)
    for turn in range(1, 31):
        told += room.note(*devices, begin=100.0 + turn, step=0.01)
    room.flush()
    assert room.inputs() == told
    assert made == devices
    assert room.ask("SELECT count(*) FROM shape") == [(20,)]
    assert room.ask("SELECT count(*) FROM input") == [(21,)]
    assert room.journal.counters().committed_inputs == 21


def test_a_poll_of_a_thousand_devices_costs_less_than_three_bytes(room: Room) -> None:
    random = Random(7)
    devices = [Poll(f"edge{number}", (Observation(Session(f"edge{number}", "x"), State.UP),)) for number in range(200)]
    phases = [random.random() for _ in devices]
    taken: set[int] = set()
    told = []
    for turn in range(61):
        for poll, phase in zip(devices, phases, strict=True):
            now = micro(100 + phase + turn + abs(random.gauss(0.02, 0.002)))
            while now in taken:
                now += 1
            taken.add(now)
            told.append((now, poll))
    told.sort(key=lambda each: each[0])
    since = 0
    for now, poll in told:
        room.log.note(poll, now / 1_000_000, WALL + now)
        if now - since > 30_000_000:
            room.log.flush()
            since = now
    room.flush()
    # The first poll of a device says something new, and has a row of its own.
    ((size,),) = room.ask("SELECT sum(length(body)) FROM input WHERE length(body) > 100")
    assert size / (len(told) - 2 * len(devices)) < 3.0
    assert [(micro(kept.now), kept.input) for kept in room.kept()] == told


def test_a_session_that_flaps_between_two_states_has_two_shapes(room: Room) -> None:
    told = room.note(*[UP, DOWN] * 20)
    room.flush()
    assert room.inputs() == told
    assert room.ask("SELECT count(*) FROM shape") == [(2,)]


def test_a_look_between_polls_does_not_make_them_new(room: Room) -> None:
    told = room.note(UP, UP, replace(LOOK, cause=1), UP, UP, replace(LOOK, cause=2), UP, UP)
    room.journal.flushed().result(SECONDS)
    assert room.inputs() == told[:6]  # the last two say nothing new, and wait
    room.flush()
    assert room.inputs() == told
    assert room.ask("SELECT count(*) FROM shape") == [(3,)]


@pytest.mark.parametrize("event", [event for event in ALL if event is not UP])
def test_what_says_something_new_takes_along_all_that_was_before_it(room: Room, event) -> None:
    told = room.note(UP, UP, UP, event, UP)
    room.journal.flushed().result(SECONDS)
    assert room.inputs()[:4] == told[:4]


def test_inputs_at_the_same_moment_keep_their_order(room: Room) -> None:
    two = Poll("edge2", (Observation(Session("edge2", "x"), State.UP),))
    told = room.note(UP, two, begin=100.0, step=0.0) + room.note(two, UP, two, two, UP, begin=101.0, step=0.0)
    told += room.note(UP, two, begin=90.0)  # and a clock that ran backwards does not mix them up either
    room.flush()
    assert room.inputs() == told


def test_a_row_never_waits_longer_than_a_minute_for_a_flush(room: Room) -> None:
    told = room.note(*[UP] * 63, step=1.0)
    room.journal.flushed().result(SECONDS)
    assert room.inputs() == told[:-1]


def test_a_wall_clock_that_is_set_is_followed(room: Room) -> None:
    day = 86_400_000_000
    for number, offset in enumerate((0, 0, 0, day, day, -day, 3, 9_000)):
        room.log.note(UP, 100.0 + number, WALL + number * 1_000_000 + offset)
    room.flush()
    walls = [kept.wall - WALL - number * 1_000_000 for number, kept in enumerate(room.kept())]
    assert walls[:6] == [0, 0, 0, day, day, -day]
    assert all(abs(wall - wanted) < inputs_module.DRIFT for wall, wanted in zip(walls[6:], (3, 9_000), strict=True))


def test_reading_begins_at_the_start_before_and_ends_in_time(room: Room) -> None:
    one = room.note(Start(), UP, UP, DOWN, DOWN, Stop("x"), begin=100.0)
    two = room.note(Start(), UP, UP, UP, begin=5.0)  # the machine was started anew
    room.flush()
    # Its wall clock went on all the same.
    room.write(f"UPDATE input SET ts = ts + {200_000_000} WHERE id > (SELECT max(id) FROM input WHERE kind = 'stop')")
    assert room.inputs() == one + two
    start = WALL + micro(205.0)
    assert room.inputs(since=start) == two
    assert room.inputs(since=start - 1) == one + two
    assert room.inputs(since=WALL) == one + two  # before all that is kept
    assert room.inputs(until=WALL + micro(101.0)) == one[:3]
    assert room.inputs(until=WALL + micro(100.6)) == one[:2]
    assert room.inputs(until=start - 1) == one
    assert room.inputs(since=start, until=WALL + micro(206.2)) == two[:3]
    assert room.inputs(until=WALL) == []
    assert room.inputs(until=WALL + micro(10_000.0)) == one + two


def test_many_rows_are_read_a_few_at_a_time(room: Room, monkeypatch) -> None:
    told = room.note(*[UP, DOWN, Silence("edge1", "x")] * 30)
    room.flush()
    asked: list[str] = []
    answer = Reader._answer
    monkeypatch.setattr(
        Reader, "_answer", lambda self, sql, values, make: asked.append(sql) or answer(self, sql, values, make)
    )
    found = room.reader.inputs(None, None)
    assert next(found).input == UP
    assert len(asked) == 2
    assert [(kept.now, kept.input) for kept in found] == told[1:]
    assert len(asked) > 6


def test_a_journal_goes_on_with_other_numbers_after_a_restart(tmp_path: Path) -> None:
    told = []
    for turn in range(3):
        room = Room(tmp_path / "journal.db")
        try:
            told += room.note(Start(), UP, replace(UP, actor=f"other {turn}"), UP, begin=100.0 * turn)
            room.flush()
            assert room.inputs() == told
        finally:
            room.close()


def test_old_inputs_go_and_the_shapes_that_only_they_had(room: Room, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(journal_module, "_PRUNED_INPUTS_A_STEP", 3)
    old = Room(tmp_path / "other.db", keep_inputs=3600.0)
    try:
        now = time.time_ns() // 1000
        for number in range(10):
            old.log.note(DOWN, 100.0 + number, now - 30_000_000_000 + number * 120_000_000)
        old.log.note(UP, 200.0, now - 30_000_000_000)
        old.log.note(LOOK, 29_000.0, now - 5_000_000)
        old.log.note(UP, 29_001.0, now - 3_000_000)  # was known long before, and is told of again
        old.log.note(UP, 29_002.0, now - 2_000_000)
        old.flush()
        deadline = time.monotonic() + SECONDS
        while old.ask("SELECT count(*) FROM shape") != [(2,)] and time.monotonic() < deadline:
            old.journal._prune_at = 0.0
            old.flush()
            time.sleep(0.01)
        assert old.ask("SELECT count(*) FROM shape") == [(2,)]
        assert old.inputs() == [(29_000.0, LOOK), (29_001.0, UP), (29_002.0, UP)]
        assert old.journal.counters().pruned_inputs >= 4
        assert old.ask("SELECT sum(rows) FROM span WHERE kind = 'input'") == old.ask("SELECT count(*) FROM input")
    finally:
        old.close()


def test_what_the_journal_refuses_is_counted_and_marked_and_harms_no_event(tmp_path: Path, monkeypatch) -> None:
    journal = Journal(tmp_path / "journal.db", "fra1")
    journal.open()  # nobody writes yet
    log = InputLog(journal)
    monkeypatch.setattr(journal_module, "MAX_INPUT_BYTES", 8_000)
    told = [(100.0 + number, Silence("edge1", str(number))) for number in range(6)]
    for now, event in told:
        log.note(event, now, WALL)
    log.note(UP, 110.0, WALL)
    assert journal.counters().refused_inputs == 3
    assert journal.counters().overflowed_events == 0
    journal.start()
    journal.flushed().result(SECONDS)
    log.note(UP, 111.0, WALL + 1)
    log.note(UP, 112.0, WALL + 2)
    log.flush()
    journal.flushed().result(SECONDS)
    with closing(Reader(tmp_path / "journal.db")) as reader:
        found = [(kept.now, kept.input) for kept in reader.inputs()]
    assert found == [*told[:4], (111.0, Note(LOST, {"inputs": 3})), (111.0, UP), (112.0, UP)]
    assert journal.stop()
    assert journal.keep_inputs((), 0) is False


def test_a_file_begun_anew_has_all_shapes_that_are_used_in_it(room: Room) -> None:
    room.note(UP, UP, UP)
    room.flush()
    room.path.unlink()
    room.note(Silence("edge2", "x"), begin=200.0)
    room.flush()
    assert room.journal.generation == 1
    told = room.note(UP, UP, begin=300.0)
    room.flush()
    assert room.inputs() == [(200.0, Silence("edge2", "x")), *told]


def test_what_cannot_be_read_is_told_in_its_place(room: Room, caplog) -> None:
    room.note(UP, Silence("edge1", "x"), Stall(1.0), Clock(5.0), DOWN, UP, UP, UP)
    room.flush()
    room.write("UPDATE input SET body = x'00' WHERE kind = 'silence'")
    room.write("UPDATE input SET body = '{}' WHERE kind = 'stall'")
    room.write("UPDATE input SET kind = 'strange' WHERE kind = 'clock'")
    room.write("DELETE FROM shape WHERE id = 2")
    room.write("UPDATE input SET body = substr(body, 1, length(body) - 1) WHERE id = (SELECT max(id) FROM input)")
    found = room.inputs()
    assert [now for now, _ in found] == [100.0, 100.5, 101.0, 101.5, 102.0, 102.5, 103.0]
    assert [type(event) for _, event in found] == [Poll, Note, Note, Note, Note, Poll, Note]
    assert {event.event_type for _, event in found if isinstance(event, Note)} == {LOST}
    assert "left out" in caplog.text


def test_odd_values_are_kept_as_far_as_json_can(room: Room, caplog) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    room.note(Webhook("edge1", "x", {"odd": Odd(), "address": ip_address("192.0.2.1")}), Silence("edge1", "after"))
    room.flush()
    (_, webhook), (_, silence) = room.inputs()
    assert (webhook.device, webhook.evidence["odd"]) == ("edge1", "Odd")
    assert silence == Silence("edge1", "after")
    assert "as it came" in caplog.text


def test_contents_that_are_heard_no_longer_are_forgotten(room: Room, monkeypatch) -> None:
    monkeypatch.setattr(inputs_module, "OBSERVATIONS", 20)
    log = InputLog(room.journal)
    for number in range(500):
        now = 100.0 + 30 * number
        poll = Poll(f"edge{number}", (Observation(Session(f"edge{number}", "x"), State.UP),))
        log.note(poll, now, WALL + micro(now))
        log.note(UP, now + 1, WALL + micro(now + 1))
        assert len(log._known) <= 25
    log.flush()
    room.flush()
    assert len(room.inputs()) == 1000
    # What is heard all the time keeps its number.
    assert room.ask("SELECT count(*) FROM shape") == [(501,)]


def test_a_device_cannot_fill_the_memory_with_ever_new_contents(room: Room) -> None:
    for number in range(200):
        room.note(replace(UP, cause=number), begin=100.0 + number)
    assert sum(map(len, room.log._known.values())) == inputs_module.RECENT
    room.flush()
    assert [event.cause for _, event in room.inputs()] == list(range(200))


@pytest.mark.parametrize("times", [[5], [5, 6], [5, 10**15, 10**15 + 1], [0, 127, 254, 380, 10_000, 10_001]])
def test_times_come_back_from_their_deviations(times: list[int]) -> None:
    run = Run(300, times[0], times[0])
    for each in times[1:]:
        add_time(run, each)
    body = chunk_body(recording.Chunk(0, 0, [run]))
    assert chunk_times(body, 0) == [(each, 300) for each in times]
    with pytest.raises(ValueError, match="too soon"):
        chunk_times(body + b"\x80", 0)
