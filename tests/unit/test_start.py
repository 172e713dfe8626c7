"""A start: how often there was one, when it is held up, and who is told meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from exabgp.reactor.api.processes import Processes
from lab import free_port

from exabgp_bfd import app as application
from exabgp_bfd.app import App
from exabgp_bfd.config import (
    DEFAULT_JOURNAL,
    LOST,
    Glimpse,
    Listen,
    Overrides,
    Settings,
    glimpse,
    load,
    with_devices,
)
from exabgp_bfd.core.engine import Engine
from exabgp_bfd.core.model import (
    Believed,
    ConfigError,
    Effect,
    Event,
    Note,
    Remember,
    Route,
    Secret,
    Start,
    Tick,
    Withdraw,
)
from exabgp_bfd.core.written import KeepDevice
from exabgp_bfd.starts import BUCKET, Count, Kept, StartFile, count
from exabgp_bfd.storage.database import readable_devices
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.waiting import CLIENTS, WaitingRoom

NOBODY = Overrides()
BEGIN = 1_800_000_000 // BUCKET * BUCKET
"""A bucket of ExaBGP's begins."""


# --- counting ---------------------------------------------------------------------------------------------------------


def test_the_fourth_start_in_a_bucket_waits_for_its_end():
    starts = [BEGIN + 1.5, BEGIN + 20.0, BEGIN + 30.0]
    assert count(starts, BEGIN + 30.0) == Count(3, 28.5, None)
    assert count([*starts, BEGIN + 40.0], BEGIN + 40.0) == Count(4, 38.5, BEGIN + 64)
    assert count([*starts, BEGIN + 40.0, BEGIN + 63.5], BEGIN + 63.5) == Count(5, 62.0, BEGIN + 64)


def test_starts_of_another_bucket_do_not_count_however_near():
    """ExaBGP counts by the clock's own stretches of 64 s, and not by the last 64 s."""
    before = [BEGIN - 0.3, BEGIN - 0.2, BEGIN - 0.1, BEGIN - 0.01]
    assert count([*before, BEGIN + 0.0], BEGIN + 0.0) == Count(1, 0.0, None)
    assert count(before, BEGIN - 0.01).free_at == BEGIN


def test_a_bucket_is_exabgps_own():
    """respawn_timemask in exabgp/reactor/api/processes.py: of int(time.time()) the low six bits are cut off."""
    for moment in (0, 63, 64, BEGIN - 1, BEGIN, BEGIN + 63, BEGIN + 64):
        same = moment & Processes.respawn_timemask == (moment + 1) & Processes.respawn_timemask
        assert same == (moment // BUCKET == (moment + 1) // BUCKET)


def test_starts_are_remembered_by_the_exabgp_that_made_them(tmp_path):
    file = StartFile(tmp_path / "journal.db")
    for number in (1, 2, 3):
        assert StartFile(tmp_path / "journal.db").note(BEGIN + number, "one") == Count(number, number - 1.0, None)
    assert file.note(BEGIN + 3.5, "another").number == 1
    assert file.note(BEGIN + 4.0, "one") == Count(4, 3.0, BEGIN + BUCKET)
    assert [moment for moment, _ in file.read().starts] == [BEGIN + at for at in (1, 2, 3, 3.5, 4)]
    assert stat.S_IMODE((tmp_path / "starts.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["starts.json"]


def test_a_clock_that_was_set_back_holds_up_nobody(tmp_path):
    file = StartFile(tmp_path / "journal.db")
    for number in range(6):
        file.note(BEGIN + 10.0 + number, "one")
    assert file.note(BEGIN + 1.0, "one") == Count(1, 0.0, None)


def test_only_so_many_are_kept(tmp_path):
    file = StartFile(tmp_path / "journal.db")
    for number in range(100):
        file.note(BEGIN + number, "one")
        file.note_listen(f"/etc/{number}.toml", "127.0.0.1:8080")
    assert len(file.read().starts) == 16
    assert list(file.read().listens) == [f"/etc/{number}.toml" for number in range(84, 100)]


def test_devices_that_were_added_are_remembered_by_name_and_journal(tmp_path):
    file, other = StartFile(tmp_path / "journal.db"), StartFile(tmp_path / "other.db")
    file.note(BEGIN + 1.0, "one")
    file.note_added({"edge9", "edge8"})
    other.note_added(["b\u00f6hmen"])
    file.note_listen("/etc/x.toml", "127.0.0.1:1")
    assert file.note(BEGIN + 2.0, "one").number == 2
    assert (file.added(), other.added()) == (("edge8", "edge9"), ("b\u00f6hmen",))
    file.note_added(())
    assert (file.added(), list(file.read().added), len(file.read().starts)) == ((), ["other.db"], 2)


def test_as_many_devices_as_there_may_be_are_read_again(tmp_path):
    names = [str(number).zfill(100).replace("0", "\u20ac") for number in range(10_001)]
    names.sort()
    for journal in ("a.db", "b.db", "c.db", "d.db"):
        StartFile(tmp_path / journal).note_added(names)
    assert list(StartFile(tmp_path / "d.db").read().added) == ["b.db", "c.db", "d.db"]
    assert StartFile(tmp_path / "d.db").added() == tuple(names[:10_000])


def test_a_file_of_an_older_version_is_read(tmp_path):
    (tmp_path / "starts.json").write_text('{"starts": [[7.0, "one"]], "listens": {"x": "y"}}')
    assert StartFile(tmp_path / "journal.db").read() == Kept(((7.0, "one"),), {"x": "y"})


# --- a journal that knew devices of the configuration -----------------------------------------------------------------

NAMED = """[storage]
path = "journal.db"
[[device]]
name = "edge1"
host = "192.0.2.1"
[[service]]
name = "dns"
prefixes = ["192.0.2.53/32"]
sessions = ["edge9/198.51.100.1"]
"""
EDGE9 = KeepDevice("edge9", Secret('{"name": "edge9", "host": "192.0.2.9", "community": "of its own"}'))


@pytest.fixture
def start(tmp_path):
    """One attempt to start from a configuration that names a device which was added; what is known then."""
    (tmp_path / "x.toml").write_text(NAMED)
    path = tmp_path / "journal.db"
    journal = Journal(path, "fra1")
    journal.open()
    journal.start()
    route = Route(ip_network("192.0.2.53/32"))
    rows = [Event(n, "x", details={"text": "y" * 200}) for n in range(1, 2000)]
    journal.together([*rows, EDGE9, Remember("dns", route.key, route, 1)], 1_763_640_000_000_000)
    journal.flushed().result(20)
    assert journal.stop(20)

    def prepare() -> tuple[Settings, list[str], list[Effect]]:
        async def act() -> tuple[Settings, list[str], list[Effect]]:
            app = App(lambda file, stored: load(file or tmp_path / "x.toml", NOBODY, {}, stored), 0, 1, patient=False)
            parts = app._prepare()
            app.settings = parts.settings
            # What a journal that outlived it would tell: ExaBGP has the route.
            believed = replace(parts.restored, believed=(Believed("dns", route, 1),), rib_kept=True, expired=False)
            engine = Engine(parts.settings.plan, believed, parts.made)
            try:
                effects = engine.handle(Start({}), parts.made)
                effects += engine.handle(Tick(), parts.made + 100_000)
                app._note_added()
                return parts.settings, [note.event_type for note in app._untold], effects
            finally:
                parts.journal.stop(20)
                await parts.routers.close()
                if app._log is not None:
                    app._log.stop()

        return asyncio.run(act())

    return prepare


def withdrawn(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, Withdraw)]


def test_a_journal_that_is_gone_leaves_a_device_that_the_file_names_unknown(start, tmp_path):
    assert [each.name for each in start()[0].targets] == ["edge1", "edge9"]
    assert "of its own" not in (tmp_path / "starts.json").read_text()
    for path in tmp_path.glob("journal.db*"):
        path.unlink()
    for _ in range(2):  # and the next start as well
        settings, _, effects = start()
        assert ([each.name for each in settings.targets], settings.lost) == (["edge1"], ("edge9",))
        assert [each.name for each in settings.plan.devices] == ["edge1", "edge9"]
        assert [(each.place, each.text[:22]) for each in settings.unreadable] == [
            ("device edge9", "was added over HTTP, a")
        ]
        assert withdrawn(effects) == []


def test_a_damaged_journal_is_mended_before_a_device_that_the_file_names_is_missed(start, tmp_path, caplog):
    path = tmp_path / "journal.db"
    with path.open("r+b") as file:
        file.write(bytes(100))
    for _ in range(2):  # nobody has noted any names
        with pytest.raises(ConfigError, match="no device edge9"):
            start()
    assert caplog.text.count("set aside as") == 1
    assert readable_devices(path) == {}, "it is a journal again"


def test_what_was_mended_before_anybody_could_be_told_is_told_later(start, tmp_path, monkeypatch):
    readable = iter([None])
    monkeypatch.setattr(application, "readable_devices", lambda path: next(readable, readable_devices(path)))
    monkeypatch.setattr(Journal, "notes", lambda _: [Note("store_damaged", {})])
    settings, untold, _ = start()
    assert ([each.name for each in settings.targets], settings.lost) == (["edge1", "edge9"], ())
    assert untold == ["store_damaged"]


def test_a_journal_that_nobody_may_look_at_is_none_without_devices(tmp_path, monkeypatch):
    def refuse(_: Path) -> bool:
        raise PermissionError

    assert readable_devices(tmp_path / "none.db") == {}
    monkeypatch.setattr(Path, "exists", refuse)
    assert readable_devices(tmp_path / "none.db") is None


def test_a_damaged_journal_whose_devices_were_noted_stops_nobody(start, tmp_path):
    start()
    with (tmp_path / "journal.db").open("r+b") as file:
        file.write(bytes(100))
    settings, _, effects = start()
    assert settings.lost == ("edge9",)
    assert withdrawn(effects) == []


def test_a_reload_goes_on_refusing_what_the_journal_has_no_more(tmp_path):
    (tmp_path / "x.toml").write_text(NAMED)
    with pytest.raises(ConfigError, match="no device edge9"):
        load(tmp_path / "x.toml", NOBODY, {}, lambda _: {})
    added = load(tmp_path / "x.toml", NOBODY, {}, lambda _: {"edge9": LOST})
    again = with_devices(added, (*added.targets, replace(added.targets[0], name="edge9")))
    assert ([each.name for each in again.plan.devices], again.lost) == (["edge1", "edge9"], ())
    assert with_devices(added, added.targets).plan == added.plan


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "7", '{"starts": 1, "listens": {}}', '{"starts": [[1]], "listens": {}}', "[" * 9999]
)
def test_a_damaged_file_is_no_file(tmp_path, text):
    (tmp_path / "starts.json").write_text(text)
    file = StartFile(tmp_path / "journal.db")
    assert file.read() == Kept()
    assert file.note(BEGIN + 1.0, "one").number == 1
    assert file.note(BEGIN + 2.0, "one").number == 2


def test_where_nothing_can_be_written_each_start_is_the_first(tmp_path, caplog):
    (tmp_path / "no folder").write_text("")
    file = StartFile(tmp_path / "no folder" / "journal.db")
    for _ in range(5):
        assert file.note(BEGIN + 1.0, "one") == Count(1, 0.0, None)
    assert "starts are not counted over restarts" in caplog.text


def test_a_link_is_not_followed(tmp_path):
    target = tmp_path / "somebody's"
    target.write_text("theirs")
    (tmp_path / "starts.json").symlink_to(target)
    StartFile(tmp_path / "journal.db").note(BEGIN + 1.0, "one")
    assert target.read_text() == "theirs"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "starts.json").unlink()
    (tmp_path / "pipe").rename(tmp_path / "starts.json")
    assert StartFile(tmp_path / "journal.db").read() == Kept(), "and a pipe is not waited for"


# --- what settings that are wrong still tell --------------------------------------------------------------------------

WRONG = "[[service]]\nname = 7\n"


@pytest.mark.parametrize(
    ("text", "api"),
    [
        (WRONG, Listen("127.0.0.1", 8080)),
        (f'[api]\nlisten = "127.0.0.1:1234"\n{WRONG}', Listen("127.0.0.1", 1234)),
        (f'[api]\nlisten = "[::1]:1234"\nunknown = 1\n{WRONG}', Listen("::1", 1234)),
        (f'[api]\nlisten = "off"\n{WRONG}', None),
    ],
)
def test_the_api_is_where_a_file_with_other_faults_says(tmp_path, text, api):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        load(file, NOBODY, {})
    assert glimpse(file, NOBODY, {}) == Glimpse(str(file), api, told=True, journal=DEFAULT_JOURNAL)


@pytest.mark.parametrize(
    "text",
    [
        '[api]\nlisten = "nowhere"\n',
        "[api]\nlisten = 8080\n",
        "api = 1\n",
        '[api]\nlisten = "127.0.0.1:1234"\nthis is not TOML\n',
        "\udcff".encode("utf-8", "surrogateescape"),
        None,
    ],
)
def test_an_address_that_is_not_certain_is_not_told(tmp_path, text):
    file = tmp_path / "wrong.toml"
    if isinstance(text, bytes):
        file.write_bytes(text)
    elif text is not None:
        file.write_text(text)
    found = glimpse(file, NOBODY, {})
    assert (found.api, found.told) == (None, False)


def test_flags_and_variables_beat_the_file(tmp_path):
    file = tmp_path / "wrong.toml"
    file.write_text("not TOML")
    flags = Overrides(listen="127.0.0.1:99", db="/data/j.db")
    assert glimpse(file, flags, {}) == Glimpse(
        str(file), Listen("127.0.0.1", 99), told=True, journal=Path("/data/j.db")
    )
    variables = {"EXABGP_BFD_LISTEN": "127.0.0.1:98", "EXABGP_BFD_CONFIG": str(file)}
    assert glimpse(None, NOBODY, variables) == Glimpse(str(file), Listen("127.0.0.1", 98), told=True, journal=None)
    file.write_text('[api]\nlisten = "127.0.0.1:1"\n[storage]\npath = "own.db"\n')
    assert glimpse(file, NOBODY, variables) == Glimpse(
        str(file), Listen("127.0.0.1", 98), told=True, journal=tmp_path / "own.db"
    )
    assert not glimpse(file, Overrides(listen="nowhere"), {}).told


def test_one_device_without_a_file_has_the_usual_places():
    device = Overrides(device_name="edge1", device_host="192.0.2.1")
    assert glimpse(None, device, {}) == Glimpse("", Listen("127.0.0.1", 8080), told=True, journal=DEFAULT_JOURNAL)
    # Somebody forgot --config: where the API would be is in a file that nobody has named.
    assert glimpse(None, NOBODY, {}) == Glimpse()


# --- who asks meanwhile -----------------------------------------------------------------------------------------------


async def ask(port: int, text: str, host: str = "127.0.0.1") -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(text.encode())
    head, _, body = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


def get(path: str, method: str = "GET") -> str:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("path", ["/readyz", "/health", "/", "/events?limit=1", "/no/such", "nonsense"])
def test_everything_is_a_problem_with_its_reason(path):
    async def act() -> None:
        room, port = WaitingRoom(), free_port()
        room.say("exabgp-bfd cannot start yet: x.toml: is not TOML", 2.0)
        await room.be_at(Listen("127.0.0.1", port))
        for method in ("GET", "POST", "BREW"):
            status, headers, body = await ask(port, get(path, method))
            assert status == 503
            assert headers["Content-Type"] == "application/problem+json"
            assert headers["Retry-After"] == "2"
            assert headers["Content-Length"] == str(len(body))
            assert headers["Cache-Control"] == "no-store"
            assert json.loads(body) == {
                "type": "about:blank",
                "title": "Service Unavailable",
                "status": 503,
                "detail": "exabgp-bfd cannot start yet: x.toml: is not TOML",
                "instance": path.partition("?")[0],
            }
        await room.close()

    asyncio.run(act())


def test_healthz_says_that_we_live():
    async def act() -> None:
        room, port = WaitingRoom(), free_port(host="::1")
        room.say("held", 2.0)
        await room.be_at(Listen("::1", port))
        status, headers, body = await ask(port, get("/healthz"), "::1")
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert json.loads(body) == {"status": "waiting", "detail": "held"}
        status, headers, body = await ask(port, get("/healthz", "HEAD"), "::1")
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) > 0
        await room.close()

    asyncio.run(act())


def test_whoever_asks_from_elsewhere_gets_no_reason():
    room = WaitingRoom()
    room.say("/etc/exabgp/bfd.toml: is wrong", 2.0)
    for path in ("/healthz", "/readyz"):
        assert b"bfd.toml" in room._answer(get(path).encode(), local=True)
        assert b"bfd.toml" not in room._answer(get(path).encode(), local=False)


def test_it_moves_and_leaves_the_port_at_once_to_whoever_follows():
    async def act() -> None:
        room, first, second = WaitingRoom(), free_port(), free_port()
        await room.be_at(Listen("127.0.0.1", first))
        await room.be_at(Listen("127.0.0.1", first))
        assert (await ask(first, get("/healthz")))[0] == 200
        await room.be_at(Listen("127.0.0.1", second))
        assert (await ask(second, get("/healthz")))[0] == 200
        with pytest.raises(ConnectionRefusedError):
            await ask(first, get("/healthz"))
        # A client that is still there holds nothing up.
        dawdler = await asyncio.open_connection("127.0.0.1", second)
        await asyncio.sleep(0.05)
        await asyncio.wait_for(room.close(), 2)
        assert not room.open
        with socket.create_server(("127.0.0.1", second)):
            pass
        dawdler[1].close()
        await room.be_at(None)
        await room.be_at(Listen("127.0.0.1", 0))
        assert not room.open, "a port that the system chooses is told to nobody"

    asyncio.run(act())


def test_a_port_in_use_is_left_to_its_owner():
    async def act() -> None:
        room = WaitingRoom()
        with socket.create_server(("127.0.0.1", 0)) as owner:
            await room.be_at(Listen("127.0.0.1", owner.getsockname()[1]))
            assert not room.open
            port = owner.getsockname()[1]
        await room.be_at(Listen("127.0.0.1", port))
        assert room.open
        await room.close()

    asyncio.run(act())


def test_too_many_and_too_long_are_dropped():
    async def act() -> None:
        room, port = WaitingRoom(), free_port()
        await room.be_at(Listen("127.0.0.1", port))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()
        crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CLIENTS)]
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 30) == b"", "one too many"
        writer.close()
        for _, writer in crowd:
            writer.close()
        await room.close()

    asyncio.run(act())
