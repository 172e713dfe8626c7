"""Export to NDJSON and back: the same records, whatever they hold, and nothing taken that is none."""

import gzip
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exabgp_bfd import archiving
from exabgp_bfd.archiving import export_command, import_command, moment
from exabgp_bfd.core.model import BfdError, ConfigError, Event, StoreError
from exabgp_bfd.storage import archive, database
from exabgp_bfd.storage.archive import Kind, Wanted, examine, export, take
from exabgp_bfd.storage.journal import Journal

ALL = Wanted()
T0 = 1_763_640_000_123_456
MESSAGE = (
    b'{ "exabgp": "5.0.0", "time": 1763640000.5, "type": "update", "neighbor": {"address": {"peer": "127.0.0.2"}} }'
)

ROUTE_LINE = (
    b'{ "exabgp": "5.0.0", "time": 1763640000.5, "type": "update", "neighbor": { "address": { "local": "127.0.0.1", '
    b'"peer": "127.0.0.2" }, "direction": "receive", "message": { "update": { "announce": { "ipv4 unicast": { '
    b'"192.0.2.1": [ { "nlri": "10.0.0.0/8" } ] } } } } } }'
)


def made(path: Path, *, events: int = 3, messages: int = 2, site: str = "fra1", first: int = 1) -> Path:
    """A journal that a program wrote and left."""
    journal = Journal(path, site)
    journal.open()
    for number in range(first, first + events):
        journal.record(
            Event(number, "bfd_failure", "edge1", details={"n": number}, cause=number - 1 or None), T0 + number
        )
    for number in range(messages):
        journal.messages([MESSAGE], T0 + number)
    journal.start()
    assert journal.stop(20)
    return path


def exported(path: Path, wanted: Wanted = ALL) -> list[bytes]:
    lines: list[bytes] = []
    export(path, wanted, lines.append)
    return lines


def documents(lines: list[bytes]) -> list[dict]:
    return [json.loads(line) for line in lines]


def rows(path: Path, table: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {', '.join(archive._TABLES[table])} FROM {table} ORDER BY id").fetchall()


def spans(path: Path) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT * FROM span WHERE kind IN ('event', 'message') ORDER BY kind, part"
        ).fetchall()


def complaints() -> tuple[list[tuple[int, str]], Callable[[int, str], None]]:
    told: list[tuple[int, str]] = []
    return told, lambda number, why: told.append((number, why))


def silent(number: int, why: str) -> None:
    raise AssertionError((number, why))


# --- there and back ---


def test_the_first_line_tells_of_the_journal_and_the_last_how_much_came(tmp_path: Path) -> None:
    path = made(tmp_path / "journal.db")
    header, *records, end = documents(exported(path))
    with closing(sqlite3.connect(path)) as connection:
        identity = connection.execute("SELECT value FROM meta WHERE key = 'journal'").fetchone()[0]
        layout = connection.execute("PRAGMA user_version").fetchone()[0]
    assert {
        key: header[key] for key in ("kind", "format", "site", "journal", "layout", "last_event", "last_message")
    } == {
        "kind": "journal",
        "format": 1,
        "site": "fra1",
        "journal": identity,
        "layout": layout,
        "last_event": 3,
        "last_message": 2,
    }
    assert [record["kind"] for record in records] == ["event"] * 3 + ["message"] * 2
    assert end == {"kind": "end", "events": 3, "messages": 2}


def test_an_event_is_written_in_the_words_of_the_contract(tmp_path: Path) -> None:
    _, event, *_ = documents(exported(made(tmp_path / "journal.db")))
    assert event == {
        "kind": "event",
        "id": 1,
        "ts": "2025-11-20T12:00:00.123457Z",
        "ts_us": T0 + 1,
        "site": "fra1",
        "device": "edge1",
        "event_type": "bfd_failure",
        "details": {"n": 1},
        "cause": None,
        **dict.fromkeys(("session", "service", "source", "actor")),
    }


names = st.text(st.characters(exclude_categories=["Cs"]))
maybe = st.none() | names
number = st.integers(-(2**63) + 1, 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
details = st.dictionaries(st.text(), json_values, max_size=3).map(lambda it: json.dumps(it, separators=(",", ":")))
odd_details = st.sampled_from(["{}", '{"a": 1}', '{"a":1e999}', "not JSON", "[]", '{"a":1,"a":2}', "[" * 5000]) | names
columns = st.tuples(number, names, maybe, names, details | odd_details, maybe, maybe, maybe, maybe, st.none() | number)
events = st.dictionaries(st.integers(1, 2**62) | st.integers(1, 20_000), columns, max_size=8)
lines_ = st.tuples(number, st.none() | number, names, maybe, maybe, names, maybe)
messages = st.dictionaries(st.integers(1, 2**43 - 2**32) | st.integers(1, 20_000), lines_, max_size=5)


def filled(path: Path, told: dict[str, dict[int, tuple]]) -> Path:
    database.create(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        database.prepare(connection, path)
        for table, kept in told.items():
            marks = ", ".join("?" * len(archive._TABLES[table]))
            sql = f"INSERT INTO {table} ({', '.join(archive._TABLES[table])}) VALUES ({marks})"
            connection.executemany(sql, [(key, *row) for key, row in kept.items()])
            for part in {key >> database.PART for key in kept}:
                database.recount(connection, table, part)
    return path


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=st.fixed_dictionaries({"event": events, "message": messages}), twice=st.booleans())
def test_whatever_a_journal_holds_comes_back(tmp_path_factory: pytest.TempPathFactory, told: dict, twice: bool) -> None:
    folder = tmp_path_factory.mktemp("archive")
    path = filled(folder / "journal.db", told)
    lines = exported(path)
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    taken = take(lines, folder / "new.db", silent)
    assert (taken.added, taken.whole) == ({"event": len(told["event"]), "message": len(told["message"])}, True)
    if twice:
        again = take(lines, folder / "new.db", silent)
        assert (sum(again.added.values()), again.duplicates) == (0, len(told["event"]) + len(told["message"]))
    for table in ("event", "message"):
        assert rows(folder / "new.db", table) == rows(path, table)
    assert spans(folder / "new.db") == spans(path)
    # The header apart, which has its own time and identity, the export of the copy is the export.
    assert exported(folder / "new.db")[1:] == lines[1:]


def test_an_imported_journal_is_one_that_a_program_goes_on_with(tmp_path: Path) -> None:
    take(exported(made(tmp_path / "journal.db", first=41)), tmp_path / "new.db", silent)
    journal = Journal(tmp_path / "new.db", "ams1", max_events=4)
    assert journal.open().last_event == 43
    journal.start()
    journal.record(Event(44, "x"), T0)
    journal.messages([MESSAGE], T0)
    journal.flushed().result(20)
    assert journal.stop(20)
    assert [(row[0], row[2]) for row in rows(tmp_path / "new.db", "event")] == [
        *((each, "fra1") for each in (41, 42, 43)),
        (44, "ams1"),
    ]
    assert [row[0] for row in rows(tmp_path / "new.db", "message")] == [1, 2, 3]


def test_a_copy_has_an_identity_of_its_own(tmp_path: Path) -> None:
    lines = exported(made(tmp_path / "journal.db"))
    take(lines, tmp_path / "new.db", silent)
    assert documents(exported(tmp_path / "new.db"))[0]["journal"] != documents(lines)[0]["journal"]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Wanted(Kind.EVENTS), [("event", each) for each in range(1, 31)]),
        (Wanted(Kind.MESSAGES), [("message", each) for each in range(1, 6)]),
        (Wanted(Kind.EVENTS, since=T0 + 28), [("event", each) for each in (28, 29, 30)]),
        (Wanted(Kind.EVENTS, until=T0 + 2), [("event", 1), ("event", 2)]),
        (Wanted(Kind.ALL, since=T0 + 2, until=T0 + 3), [("event", 2), ("event", 3), ("message", 3), ("message", 4)]),
        (Wanted(since=T0 + 99), []),
    ],
)
def test_only_what_is_wanted(tmp_path: Path, monkeypatch, wanted: Wanted, ids: list[tuple[str, int]]) -> None:
    monkeypatch.setattr(database, "PART", 2)
    monkeypatch.setattr(archive, "_AT_ONCE", 3)
    lines = documents(exported(made(tmp_path / "journal.db", events=30, messages=5), wanted))
    assert [(line["kind"], line["id"]) for line in lines[1:-1]] == ids


def test_an_export_lets_the_program_write_and_does_not_grow_with_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(archive, "_AT_ONCE", 10)
    path = made(tmp_path / "journal.db", events=500)
    journal = Journal(path, "fra1")
    journal.open()
    journal.start()
    seen: list[dict] = []

    def write(line: bytes) -> None:
        seen.append(json.loads(line))
        if len(seen) % 50 == 0:
            journal.record(Event(1000 + len(seen), "late"), T0)
            journal.flushed().result(20)

    export(path, Wanted(Kind.EVENTS), write)
    assert journal.counters().write_errors == 0
    assert [line["id"] for line in seen[1:-1]] == list(range(1, 501))
    # No question of the export holds an old state: the log of writes can be taken up whole in the midst of one.
    with closing(archive._open(path)) as connection, closing(sqlite3.connect(path)) as other:
        found = archive._rows(connection, "event", 500, Wanted())
        next(found)
        journal.record(Event(2000, "late"), T0)
        journal.flushed().result(20)
        busy, log, done = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert (busy, log, done) == (0, 0, 0)
        assert len(list(found)) == 499
    assert journal.stop(20)


def test_a_journal_of_the_first_layout_can_be_exported(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "journal.db"
    with monkeypatch.context() as patch:
        patch.setattr(database, "_VERSIONS", database._VERSIONS[:1])
        database.create(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            database.prepare(other, path)
            other.execute(
                "INSERT INTO event VALUES (7, ?, 'fra1', NULL, 'x', '{}', NULL, NULL, NULL, NULL, NULL)", (T0,)
            )
            other.execute("INSERT INTO message VALUES (3, ?, NULL, 'update', NULL, NULL, '{}')", (T0,))
            other.execute("INSERT INTO span VALUES ('event', 0, 1, ?, ?), ('message', 0, 1, ?, ?)", (T0,) * 4)
    lines = exported(path)
    assert documents(lines)[0]["layout"] == 1
    assert take(lines, tmp_path / "new.db", silent).added == {"event": 1, "message": 1}


# --- what is no journal, and what is no export ---


def test_what_is_no_journal_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, but long enough to be looked at" * 100)
    with closing(sqlite3.connect(tmp_path / "theirs")) as other, other:
        other.execute("CREATE TABLE theirs (x)")
    for name in ("missing", "text", "theirs"):
        with pytest.raises(StoreError, match=name):
            exported(tmp_path / name)
    assert not (tmp_path / "missing").exists()


def test_a_journal_that_is_in_use_takes_no_import(tmp_path: Path) -> None:
    lines = exported(made(tmp_path / "journal.db"))
    journal = Journal(tmp_path / "new.db", "fra1")
    journal.open()
    try:
        with pytest.raises(StoreError, match="in use"):
            take(lines, tmp_path / "new.db", silent)
    finally:
        journal.stop()


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "empty"),
        ([b"\n"], "empty"),
        ([b"not JSON\n"], "no export"),
        ([b'{"kind": "event", "id": 1}\n'], "no export"),
        ([b'{"kind": "journal"}\n'], "no export"),
        ([b'{"kind": "journal", "format": 99, "version": "9.9"}\n'], "newer exabgp-bfd .9.9."),
    ],
)
def test_what_is_no_export_is_refused_whole(tmp_path: Path, lines: list[bytes], why: str) -> None:
    with pytest.raises(StoreError, match=why):
        take(lines, tmp_path / "new.db", silent)


GOOD = {"kind": "event", "id": 9, "ts": "2026-11-20T12:00:00.5+01:00", "event_type": "x", "details": {}}


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\xff",
        b"[]",
        b"[" * 100_000,
        b'{"kind": "event", "id": 1, "ts_us": 1, "event_type": "x", "details": {"a": NaN}}',
        *(
            json.dumps({**GOOD, **wrong}).encode()
            for wrong in (
                *({"kind": wrong} for wrong in ("meta", None, 7, [])),
                *({"id": wrong} for wrong in (0, -1, 2**63, "9", None, True, 1.0)),
                *(
                    {"ts": wrong}
                    for wrong in ("yesterday", None, 7, "2026-11-20", "2026-13-20T12:00:00Z", "2026-11-20T12:00:00")
                ),
                *({"ts_us": wrong} for wrong in (2**63, "1", 1.5)),
                *({"event_type": wrong} for wrong in (None, 7)),
                *({"details": wrong} for wrong in (None, [], "{}")),
                *({"cause": wrong} for wrong in ("1", 1.5, 2**70)),
                *({"device": 7}, {"site": 7}, {"details_text": 7}),
                {"kind": "message", "type": "update", "line": None},
                {"kind": "message", "type": "update", "line": "{}", "time": "then"},
            )
        ),
    ],
)
def test_a_line_that_is_no_record_is_named_and_left_out(tmp_path: Path, line: bytes) -> None:
    told, complain = complaints()
    header = b'{"kind": "journal", "format": 1, "site": "fra1"}'
    good = json.dumps(GOOD).encode()
    taken = take([header, line, good], tmp_path / "new.db", complain)
    assert ([number for number, _ in told], taken.bad, taken.added["event"]) == ([2], 1, 1)
    assert rows(tmp_path / "new.db", "event")[0][:5] == (9, 1_795_172_400_500_000, "fra1", None, "x")


def test_a_line_without_end_is_left_out_and_not_held(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(archive, "LONGEST", 1000)
    told, complain = complaints()
    file = tmp_path / "long.ndjson"
    file.write_bytes(
        b'{"kind":"journal","format":1,"site":"x"}\n' + b'{"' + b"x" * 5000 + b"\n" + json.dumps(GOOD).encode() + b"\n"
    )
    with archiving._input(file) as lines:
        taken = take(lines, tmp_path / "new.db", complain)
    assert (taken.added["event"], [number for number, _ in told]) == (1, [2])


def test_an_id_that_something_else_has_is_named_and_what_is_there_stays(tmp_path: Path) -> None:
    other = made(tmp_path / "other.db", site="ams1", events=4)
    lines = exported(made(tmp_path / "journal.db", events=5, messages=0), Wanted(Kind.EVENTS))
    before = rows(other, "event")
    told, complain = complaints()
    assert examine(lines, other, lambda *_: None).conflicts == 4
    taken = take(lines, other, complain)
    assert (taken.added["event"], taken.conflicts, taken.duplicates) == (1, 4, 0)
    assert [number for number, _ in told] == [2, 3, 4, 5]
    assert rows(other, "event")[:4] == before


def test_an_id_twice_in_one_export_is_a_conflict(tmp_path: Path) -> None:
    told, complain = complaints()
    other = json.dumps({**GOOD, "event_type": "y"}).encode()
    good = json.dumps(GOOD).encode()
    taken = take([b'{"kind":"journal","format":1,"site":"x"}', good, other, good], tmp_path / "new.db", complain)
    assert (taken.added["event"], taken.conflicts, taken.duplicates) == (1, 1, 1)
    assert [number for number, _ in told] == [3]
    assert rows(tmp_path / "new.db", "event")[0][4] == "x"


@pytest.mark.parametrize("kept", [-1, -2, 3])
def test_an_export_that_ends_too_early_is_seen(tmp_path: Path, kept: int) -> None:
    lines = exported(made(tmp_path / "journal.db"))
    assert take(lines, tmp_path / "whole.db", silent).whole
    assert not take(lines[:kept], tmp_path / "new.db", silent).whole
    assert not take([*lines[:2], *lines[3:]], tmp_path / "hole.db", silent).whole


# --- the commands ---


@pytest.fixture
def run(monkeypatch) -> Callable[..., SimpleNamespace]:
    """Runs a command: its status, or the error it ends with, and what it printed."""

    def call(command: click.Command, *words: object, stdin: bytes = b"") -> SimpleNamespace:
        result = CliRunner().invoke(command, [str(word) for word in words], input=stdin, standalone_mode=False)
        error = result.exception
        if error is not None and not isinstance(error, BfdError | click.ClickException):
            raise error
        return SimpleNamespace(status=result.return_value, error=error, out=result.stdout_bytes, err=result.stderr)

    for name in ("EXABGP_BFD_CONFIG", "EXABGP_BFD_DB", "DB"):
        monkeypatch.delenv(name, raising=False)
    return call


@pytest.mark.parametrize("name", ["all.ndjson", "all.ndjson.gz"])
def test_out_to_a_file_and_in_again(tmp_path: Path, run, name: str) -> None:
    path = made(tmp_path / "journal.db")
    done = run(export_command, "--db", path, "-o", tmp_path / name)
    assert (done.status, done.out) == (0, b"")
    assert "3 events, 2 messages" in done.err
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o640
    assert not (tmp_path / f"{name}.part").exists()
    packed = (tmp_path / name).read_bytes()
    assert (gzip.decompress(packed) if name.endswith("gz") else packed).startswith(b'{"kind":"journal"')
    done = run(import_command, tmp_path / name, "--db", tmp_path / "new.db", "--strict")
    assert (done.status, done.error) == (0, None)
    assert "3 events, 2 messages" in done.err
    assert rows(tmp_path / "new.db", "event") == rows(path, "event")
    assert "5 were there already" in run(import_command, tmp_path / name, "--db", tmp_path / "new.db").err


def test_out_to_stdout_and_in_from_stdin(tmp_path: Path, run) -> None:
    path = made(tmp_path / "journal.db")
    config = tmp_path / "config.toml"
    config.write_text(f'[storage]\npath = "{path}"\n')
    done = run(
        export_command, "--config", config, "--kind", "events", "--since", "2000-01-01T00:00:00Z", "--until", "0s"
    )
    assert [json.loads(line)["kind"] for line in done.out.splitlines()] == ["journal", *["event"] * 3, "end"]
    assert run(import_command, "-", "--db", tmp_path / "new.db", stdin=done.out).status == 0
    assert rows(tmp_path / "new.db", "event") == rows(path, "event")
    assert isinstance(run(import_command, "-", "--db", tmp_path / "x", "--strict").error, click.UsageError)


def test_a_fault_in_a_file_is_told_and_with_strict_nothing_is_taken(tmp_path: Path, run) -> None:
    lines = exported(made(tmp_path / "journal.db"))
    file = tmp_path / "some.ndjson"
    file.write_bytes(b"".join([*lines[:2], b"oh\x1b no\n", *lines[2:]]))
    done = run(import_command, file, "--db", tmp_path / "new.db", "--strict")
    assert isinstance(done.error, StoreError)
    assert not (tmp_path / "new.db").exists()
    assert f"{file} line 3: is no JSON" in done.err
    done = run(import_command, file, "--db", tmp_path / "new.db")
    assert "1 lines are no records" in str(done.error)
    assert [row[0] for row in rows(tmp_path / "new.db", "event")] == [1, 2, 3]
    file.write_bytes(b"".join(lines[:3]))
    assert "ends too early" in str(run(import_command, file, "--db", tmp_path / "new2.db").error)
    (tmp_path / "torn.gz").write_bytes(gzip.compress(b"".join(lines))[:-20])
    assert isinstance(run(import_command, tmp_path / "torn.gz", "--db", tmp_path / "new3.db").error, StoreError)


def test_many_faults_are_counted_rather_than_named(tmp_path: Path, run) -> None:
    file = tmp_path / "many.ndjson"
    file.write_bytes(exported(made(tmp_path / "journal.db"))[0] + b"no\n" * 1000)
    done = run(import_command, file, "--db", tmp_path / "new.db")
    assert "and 980 lines more" in done.err
    assert done.err.count("\n") < 30


def test_bad_usage_is_told(tmp_path: Path, run) -> None:
    path = made(tmp_path / "journal.db")
    for words in (("--since", "noon"), ("--since", "2026-01-01T00:00:00"), ("--since", "1h", "--until", "2h")):
        assert isinstance(run(export_command, "--db", path, *words).error, click.UsageError)
    assert isinstance(run(export_command).error, ConfigError)
    assert isinstance(run(export_command, "--config", tmp_path / "missing").error, ConfigError)
    assert isinstance(run(export_command, "--db", tmp_path / "missing").error, StoreError)
    assert isinstance(run(export_command, "--db", path, "-o", tmp_path / "no" / "where").error, StoreError)
    assert isinstance(run(import_command, tmp_path / "missing", "--db", tmp_path / "new.db").error, StoreError)
    assert not (tmp_path / "new.db").exists()


def test_a_failed_export_leaves_the_file_of_before(tmp_path: Path, run) -> None:
    out = tmp_path / "out.ndjson"
    out.write_text("of before")
    assert isinstance(run(export_command, "--db", tmp_path / "missing", "-o", out).error, StoreError)
    assert out.read_text() == "of before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.ndjson"]


def test_moments(monkeypatch) -> None:
    assert moment("--since", None) is None
    assert moment("--since", "2026-11-20T12:00:00Z") == 1_795_176_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: 10**16)
    assert moment("--since", "1.5h") == 10**13 - 5_400_000_000


# --- a journal that is copied elsewhere ---


def meta(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT key, value FROM meta"))


def put(path: Path, **values: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())


def test_what_is_imported_behind_what_is_shipped_is_to_be_shipped(tmp_path: Path) -> None:
    old = exported(made(tmp_path / "old.db", events=30, messages=0, first=10))
    path = made(tmp_path / "journal.db", events=5, messages=3, first=101)
    name = meta(path)["journal"][:8]
    put(path, shipped_event=f"{name}:105:7:0:fra1", shipped_message=f"{name}:3:7:0:fra1")
    assert take(old, path, silent).added["event"] == 30
    told = meta(path)
    assert told["shipped_event"] == f"{name}:105:7:0:fra1"
    assert told["shipped_event_late"] == f"{name}:9:0:39:fra1"
    assert "shipped_message_late" not in told


def test_what_is_imported_beyond_what_is_shipped_follows_by_itself(tmp_path: Path) -> None:
    later = exported(made(tmp_path / "later.db", events=30, messages=0, first=200))
    path = made(tmp_path / "journal.db", events=5, messages=3, first=101)
    put(path, shipped_event=f"{meta(path)['journal'][:8]}:105:7:0:fra1")
    assert take(later, path, silent).added["event"] == 30
    assert "shipped_event_late" not in meta(path)


def test_a_message_whose_number_leaves_no_room_is_refused(tmp_path: Path) -> None:
    lines = exported(made(tmp_path / "journal.db", events=0, messages=2))
    record = json.loads(lines[1])
    last = (1 << 43) - (1 << 32)
    lines[1:3] = [json.dumps({**record, "id": number}).encode() + b"\n" for number in (last + 1, last)]
    told, complain = complaints()
    assert take(lines, tmp_path / "new.db", complain).added["message"] == 1
    assert told == [(2, f"id: {last + 1} is none: at most {last} is")]
    journal = Journal(tmp_path / "new.db", "fra1")
    journal.open()
    journal.messages([ROUTE_LINE], T0)
    journal.start()
    assert journal.stop(20)
    assert [row[0] for row in rows(tmp_path / "new.db", "message")] == [last, last + 1]
