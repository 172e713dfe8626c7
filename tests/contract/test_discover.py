"""`exabgp-bfd discover` against agents of every kind: what it finds, what it prints, and that it can be pasted."""

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Self

import click
import pytest
from click.testing import CliRunner, Result
from lab.agent import GET, GET_BULK, Agent, Request, Table, arcs, integer, octets, value
from lab.recordings import all_recordings, bfd_std, cisco, h3c, huawei

from exabgp_bfd import discover as command
from exabgp_bfd.config import Overrides, load
from exabgp_bfd.core.credentials import Context, User
from exabgp_bfd.core.model import BfdError, ConfigError, Secret, Session, SourceError, State
from exabgp_bfd.sources.snmp import findings
from exabgp_bfd.sources.snmp.detect import Detected
from exabgp_bfd.sources.snmp.mibs import BFD_STD, PROFILES
from exabgp_bfd.sources.snmp.survey import Found, Survey, View, device_name, survey
from exabgp_bfd.sources.snmp.target import Target

COMMUNITY = "not to be shown"
PATIENCE = 60
COLUMNS = "1.3.6.1.2.1.222.1."
RECORDINGS = {recording.name: recording for recording in all_recordings()}


def need_gufo() -> None:
    if os.environ.get("EXABGP_BFD_REQUIRE_ALL") == "1":
        import_module("gufo.snmp")
    pytest.importorskip("gufo.snmp", reason="gufo_snmp is missing: pip install exabgp-bfd[fast]")


@pytest.fixture(params=["pysnmp 2c", "gufo 2c", "pysnmp 1"])
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    engine, version = request.param.split()
    if engine == "gufo":
        need_gufo()
    return engine, version


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent whose times are not measured is read as its MIB says: no test but those of that need to wait for it."""
    monkeypatch.setattr("exabgp_bfd.sources.snmp.survey.MEASURE", 0.0)


class AgentThread:
    """An agent on a loop and a thread of its own: the command has its own loop, as in a shell."""

    def __init__(self, cells: Mapping[str, bytes], **settings: object) -> None:
        self.agent = Agent(cells, community=COMMUNITY, **settings)
        self.port = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="agent", daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.agent.start())
        self.port = self.agent.port
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self.agent.stop())
        self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)


def status(result: Result) -> int:
    """As cli.main turns errors into exit statuses; without the command line's own `sys.exit`."""
    if isinstance(result.exception, ConfigError):
        return 2
    if isinstance(result.exception, BfdError):
        return 1
    return result.exit_code if result.exception is not None else result.return_value or 0


def discovered(cells: Mapping[str, bytes], *arguments: str, **settings: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the command, asked about an agent with these cells."""
    with AgentThread(cells, **settings) as there:
        result = CliRunner().invoke(
            command.discover_command,
            [f"127.0.0.1:{there.port}", *arguments],
            env={"SNMP_COMMUNITY": COMMUNITY, "EXABGP_BFD_CONFIG": "", "SNMP_AUTH_KEY": None, "SNMP_PRIV_KEY": None},
            standalone_mode=False,
        )
    assert COMMUNITY not in result.stdout + result.stderr
    if result.exception is not None and not isinstance(result.exception, BfdError | click.ClickException):
        raise result.exception
    return status(result), result.stdout, result.stderr


def surveyed(cells: Mapping[str, bytes], kind: tuple[str, str] = ("pysnmp", "2c"), **changes: object) -> Survey:
    engine, version = kind
    views = changes.pop("views", None)
    measure = changes.pop("measure", 0)

    async def scenario() -> Survey:
        async with Agent(cells, community=COMMUNITY, views=views) as agent:
            target = Target(
                *("anything", "127.0.0.1", Secret(COMMUNITY), agent.port),
                **{"version": version, "engine": engine, "timeout": 2.0, **changes},
            )
            async with asyncio.timeout(PATIENCE):
                return await survey(target, measure=measure)

    return asyncio.run(scenario())


def configured(text: str, folder: Path, **environ: str):
    """What our own configuration makes of pasted lines."""
    file = folder / "exabgp-bfd.toml"
    file.write_text(text)
    return load(
        file, Overrides(), {"SNMP_COMMUNITY": "c", "SNMP_AUTH_KEY": "12345678", "SNMP_PRIV_KEY": "12345678"} | environ
    )


def pasted(stdout: str) -> str:
    """The configuration in the command's output."""
    return stdout[stdout.index("\n[[device]]\n") :]


# --- what is found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_device_is_surveyed(name, tmp_path):
    recording = RECORDINGS[name]
    found = surveyed(recording.table)
    (view,) = found.views
    assert view.profile is not None
    assert view.profile.entry == recording.entry
    told = {each.index: each for each in found.sessions}
    assert sorted(told) == sorted(each.index for each in recording.sessions)
    for each in recording.sessions:
        mine = told[each.index]
        assert (mine.session.peer, mine.state, mine.session.interface) == (each.peer, each.state, each.interface)
        assert mine.diagnostic == (None if each.diagnostic is None else each.diagnostic.name.lower())
        assert (mine.session.vrf, mine.session.discriminator) == (each.vrf, each.discriminator)
        assert mine.details.get("up_count") == each.ups
        assert mine.details.get("down_count") == each.downs
    settings = configured("\n".join(findings.configuration(found)), tmp_path)
    (service,) = settings.plan.services
    up = {each.session.id for each in found.sessions if each.state is State.UP}
    assert {str(selector) for selector in service.selectors} == up
    assert json.loads(json.dumps(findings.document(found)))["contexts"][0]["profile"] == view.profile.name


def test_both_engines_and_version_1_find_the_same(kind):
    recording = bfd_std()
    found, usual = surveyed(recording.table, kind), surveyed(recording.table)
    assert (found.engine, found.target.version) == kind
    assert [replace(each, since=None) for each in found.sessions] == [
        replace(each, since=None) for each in usual.sessions
    ]
    assert found.sessions[0].details["min_tx"] == 300_000
    assert found.sessions[0].details["multiplier"] == 3


def test_intervals_are_told_in_one_unit():
    assert {each.details["negotiated_tx"] for each in surveyed(huawei().table).sessions} == {300_000}
    assert {each.details["min_tx"] for each in surveyed(h3c().table).sessions if each.session.interface} == {300_000}


AUTHENTICATION = (1, 3, 6, 1, 2, 1, 222, 1, 2, 1, 35)


def brought(table: Table, request: Request) -> Iterator[tuple[int, ...]]:
    """Every instance that the answer to a request has."""
    for oid in request.oids:
        place: tuple[int, ...] | None = oid
        for _ in range(max(1, request.repetitions) if request.kind == GET_BULK else 1):
            place = table.after(place) if place is not None and request.kind != GET else place
            if place is not None:
                yield place


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_the_authentication_key_never_crosses_the_network(rows, kind):
    """Not asked for by name, and neither brought along by a GETBULK that runs on beyond the column it is about."""
    recording = bfd_std()
    kept = {told.index for told in recording.sessions[:rows]}
    cells = {
        oid: cell
        for oid, cell in recording.table.items()
        if not oid.startswith("1.3.6.1.2.1.222.") or oid.rpartition(".")[2] in kept
    }
    for index in kept:
        for column in range(2, 38):
            cells.setdefault(f"1.3.6.1.2.1.222.1.2.1.{column}.{index}", integer(1))
        cells[f"1.3.6.1.2.1.222.1.2.1.35.{index}"] = octets(b"the key")

    async def scenario() -> tuple[Survey, list[tuple[int, ...]]]:
        async with Agent(cells, community=COMMUNITY) as agent:
            engine, version = kind
            target = Target(
                *("anything", "127.0.0.1", Secret(COMMUNITY), agent.port), version=version, engine=engine, timeout=2.0
            )
            found = await survey(target, measure=0)
            return found, [place for request in agent.requests for place in brought(agent.table, request)]

    found, crossed = asyncio.run(scenario())
    assert len(found.sessions) == rows
    assert arcs(f"{recording.state}.{recording.sessions[0].index}") in crossed
    assert not [oid for oid in crossed if oid[:-1] == AUTHENTICATION]


def test_columns_that_are_missing_are_told():
    gone = "1.3.6.1.2.1.222.1.2.1.5."  # bfdSessRemoteDiscr
    cells = {oid: value for oid, value in bfd_std().table.items() if not oid.startswith(gone)}
    (view,) = surveyed(cells).views
    (whole,) = surveyed(bfd_std().table).views
    assert set(view.missing) - set(whole.missing) == {"remote_discriminator"}
    assert any("remote discriminator" in note for note in findings.notes(view))
    assert not any("remote discriminator" in note for note in findings.notes(whole))


def test_times_are_read_as_the_agent_means_them():
    """TimeStamps stay while durations grow: which it is shows when they are read again."""
    recording = bfd_std()
    up = next(told for told in recording.sessions if told.state is State.UP)

    async def scenario(grows: bool) -> float | None:
        async with Agent(recording.table, community=COMMUNITY) as agent:
            agent.up_time = 100_000

            async def grow() -> None:
                while True:
                    for told in recording.sessions:
                        column = (
                            f"1.3.6.1.2.1.222.1.3.1.9.{told.index}"  # bfdSessUpTime; 10 is bfdSessPerfLastSessDownTime
                        )
                        agent.table.put(column, value("67", str(agent.up_time - 70_000 if grows else 70_000)))
                        agent.table.put(column.replace("3.1.9.", "3.1.10."), value("67", "0"))
                    await asyncio.sleep(0.01)

            growing = asyncio.create_task(grow())
            await asyncio.sleep(0)
            target = Target("anything", "127.0.0.1", Secret(COMMUNITY), agent.port, timeout=2.0)
            found = await survey(target, measure=1.0)
            growing.cancel()
            return next(each.since for each in found.sessions if each.index == up.index)

    stamp, duration = asyncio.run(scenario(False)), asyncio.run(scenario(True))
    assert stamp is not None
    assert duration is not None
    assert 300 <= stamp < 300 + PATIENCE
    assert 300 <= duration < 300 + PATIENCE


@pytest.mark.parametrize(("value", "told"), [(1, True), (2, False), (7, None)])
def test_whether_notifications_are_on(value, told):
    (view,) = surveyed({**bfd_std().table, "1.3.6.1.2.1.222.1.1.3.0": integer(value)}).views
    assert view.notifications is told
    assert any("notifications" in note for note in findings.notes(view)) is (told is not None)


def test_two_tables_with_sessions():
    found = surveyed(cisco().with_cells(bfd_std()).table)
    (view,) = found.views
    assert view.profile == BFD_STD
    assert any("CISCO-IETF-BFD-MIB (cisco)" in note for note in findings.notes(view))
    forced = surveyed(cisco().with_cells(bfd_std()).table, profile="cisco")
    assert forced.views[0].profile == PROFILES["cisco"]
    assert any("BFD-STD-MIB (bfd-std)" in note for note in findings.notes(forced.views[0]))
    assert 'profile = "cisco"' in "\n".join(findings.configuration(forced))


def test_a_row_that_cannot_be_read_is_a_note():
    recording = bfd_std()
    cells = {**recording.table, f"{recording.state}.{recording.sessions[1].index}": integer(77)}
    found = surveyed(cells)
    assert len(found.sessions) == len(recording.sessions) - 1
    assert any("77" in note for note in findings.notes(found.views[0]))


def test_the_column_that_an_operator_names():
    cells = {f"1.3.6.1.4.1.32473.1.2.{index}": integer(4) for index in (1, 2)}
    found = surveyed(cells, profile="oid", oid="1.3.6.1.4.1.32473.1.2", values="state")
    assert [each.state for each in found.sessions] == [State.UP, State.UP]


# --- contexts --------------------------------------------------------------------------------------------------------


def test_each_context_is_surveyed(kind, tmp_path):
    default, red = bfd_std(), RECORDINGS["cisco nx-os"]
    contexts = (Context(""), Context("red", Secret("red one")), Context("none", Secret("nobody knows it")))
    found = surveyed(default.table, kind, views={"red one": red.table}, contexts=contexts, timeout=0.5, retries=0)
    assert [(view.context, view.detected is not None) for view in found.views] == [
        ("", True),
        ("red", True),
        ("none", False),
    ]
    assert "no answer" in found.views[2].notes[0]
    names = [each.session.name for each in found.sessions]
    assert len(names) == len(set(names)) == len(default.sessions) + len(red.sessions)
    assert {each.session.vrf for each in found.views[1].sessions} == {"red"}
    assert {each.session.device for each in found.sessions} == {found.name}
    told = "\n".join(findings.lines(found)) + json.dumps(findings.document(found))
    assert "red one" not in told
    assert "nobody knows it" not in told
    environ = {"SNMP_COMMUNITY_RED": "r", "SNMP_COMMUNITY_NONE": "n"}
    (device,) = configured("\n".join(findings.configuration(found)), tmp_path, **environ).targets
    assert [(context.name, context.community) for context in device.contexts] == [
        ("", None),
        ("red", Secret("r")),
        ("none", Secret("n")),
    ]


def test_a_session_that_every_context_shows_is_told_once():
    contexts = (Context(""), Context("red", Secret("red one")))
    table, last = bfd_std().table, bfd_std().sessions[-1].index
    added = {
        f"{oid[: -len(last)]}77": cell
        for oid, cell in table.items()
        if oid.startswith(COLUMNS) and oid.endswith(f".{last}")
    }
    more = {**table, **added}
    found = surveyed(table, views={"red one": more}, contexts=contexts)
    assert [each.index for each in found.views[1].sessions] == ["77"]
    assert any(note.startswith("8 of its sessions") for note in findings.notes(found.views[1]))


def test_no_context_answers():
    contexts = (Context("red", Secret("red")), Context("blue", Secret("blue")))
    with pytest.raises(SourceError, match="no answer"):
        surveyed(bfd_std().table, contexts=contexts, timeout=0.1, retries=0)


# --- what is printed -------------------------------------------------------------------------------------------------


def test_the_command_prints_what_there_is(tmp_path):
    cells = {**bfd_std().table, "1.3.6.1.2.1.1.5.0": octets(b"edge1.example.net")}
    code, out, err = discovered(cells)
    assert (code, err) == (0, "")
    first, *rest = out.splitlines()
    assert first.startswith("edge1 at 127.0.0.1:")
    assert "8 BFD sessions in BFD-STD-MIB (profile bfd-std), 4 of them up" in rest
    header = next(line for line in rest if line.startswith("SESSION"))
    table = rest[rest.index(header) + 1 :][:8]
    for title in ("STATE", "INTERFACE", "LOCAL ID", "TX/RX", "MULT", "UPS"):
        place = header.index(title)
        # Aligned: each row has something there, and a blank before it.
        assert all(row[place] != " " and row[place - 1] == " " for row in table), title
    assert "\x1b" not in out
    settings = configured(pasted(out), tmp_path, SNMP_COMMUNITY=COMMUNITY)
    (device,) = settings.targets
    assert (device.name, device.host, device.version) == ("edge1", "127.0.0.1", "2c")
    assert device.community == Secret(COMMUNITY)
    assert str(settings.plan.services[0].routes[0].prefix) == "192.0.2.53/32"


def test_colours_are_for_terminals():
    found = surveyed(bfd_std().table)
    plain, coloured = "\n".join(findings.lines(found)), "\n".join(findings.lines(found, colour=True))
    assert "\x1b[32mup" in coloured
    assert "\x1b" not in plain
    assert coloured.replace("\x1b[0m", "").count("\x1b") == len(found.sessions)


def test_as_json(tmp_path):
    code, out, err = discovered(cisco().table, "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    (context,) = document["contexts"]
    assert (context["profile"], context["mib"]) == ("cisco", "CISCO-IETF-BFD-MIB")
    assert {session["state"] for session in context["sessions"]} == {"up", "down", "init", "admin_down"}
    assert configured(document["configuration"], tmp_path).targets[0].port > 161


@pytest.mark.parametrize("form", ["env", "file"])
def test_a_secret_by_name_is_pasted_by_name(form, tmp_path, monkeypatch):
    secret = tmp_path / "community"
    secret.write_text(f"{COMMUNITY}\n")
    monkeypatch.setenv("OF_EDGE1", COMMUNITY)
    written = "env:OF_EDGE1" if form == "env" else f"file:{secret}"
    code, out, _ = discovered(bfd_std().table, "--community", written)
    assert code == 0
    assert tomllib.loads(pasted(out))["device"][0]["community"] == written


def test_nothing_that_a_device_says_steers_a_terminal(tmp_path):
    evil = b'\x1b[2J"""\n[[device]]\nname = "x"\r\x9b31m'
    cells = {
        **bfd_std().table,
        "1.3.6.1.2.1.1.5.0": octets(evil),
        "1.3.6.1.2.1.1.1.0": octets(evil),
        "1.3.6.1.2.1.31.1.1.1.1.10": octets(evil),
    }
    _, out, _ = discovered(cells)
    assert all(char.isprintable() or char == "\n" for char in out)
    settings = configured(pasted(out), tmp_path)
    assert len(settings.targets) == 1


# --- nothing found ---------------------------------------------------------------------------------------------------


def system(description: str = "a box", object_id: str = "1.3.6.1.4.1.32473") -> dict[str, bytes]:
    recording = bfd_std()
    kept = {oid: value for oid, value in recording.table.items() if oid.startswith("1.3.6.1.2.1.1.")}
    return {
        **kept,
        "1.3.6.1.2.1.1.1.0": octets(description.encode()),
        "1.3.6.1.2.1.1.2.0": value("6", object_id),
    }


def test_a_device_without_a_table(tmp_path):
    code, out, _ = discovered(system())
    assert code == 1
    assert "no BFD table with a session in it" in out
    for word in ("view", "--context NAME=COMMUNITY"):
        assert word in out
    assert tomllib.loads(pasted(out))["device"][0]["host"] == "127.0.0.1"


def test_a_table_that_is_empty():
    code, out, _ = discovered({**system(), "1.3.6.1.4.1.9.10.137.1.1.1.0": integer(1)})
    assert code == 1
    assert "there, but empty: CISCO-IETF-BFD-MIB (cisco)" in out
    assert "is BFD configured" in out


@pytest.mark.parametrize(
    ("description", "object_id", "hint"),
    [
        ("Arista Networks EOS version 4.18.0F", "1.3.6.1.4.1.30065.1.3011.7160", "Arista EOS"),
        ("Linux edge1 6.1.0", "1.3.6.1.4.1.8072.3.2.10", "FRR"),
        ("RouterOS CCR2004", "1.3.6.1.4.1.14988.1", "MikroTik"),
        ("", "1.3.6.1.4.1.12356.101.1.1", "Fortinet"),
        ("my FortiGate behind a proxy", "1.3.6.1.4.1.32473", "FortiGate"),
    ],
)
def test_platforms_of_which_no_table_is_known(description, object_id, hint):
    code, out, _ = discovered(system(description, object_id))
    assert code == 1
    assert f"{hint}" in out[out.index("What to try") :]
    assert "no BFD session table is known" in out


@pytest.mark.parametrize("object_id", ["1.3.6.1.4.1.300650.1", "1.3.6.1.4.1.32473"])
def test_other_platforms_are_not_suspected(object_id):
    _, out, _ = discovered(system("a box", object_id))
    assert "no BFD session table is known" not in out


def test_a_platform_without_a_known_table_may_have_one_all_the_same():
    cells = {**bfd_std().table, **system("Arista", "1.3.6.1.4.1.30065.1")}
    code, out, _ = discovered(cells)
    assert code == 0
    assert "known" not in out


@pytest.mark.parametrize("as_json", [False, True])
def test_a_device_that_does_not_answer(as_json):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{mute.getsockname()[1]}"
        result = CliRunner().invoke(
            command.discover_command,
            [host, "--timeout", "0.1", "--retries", "0", *(["--json"] if as_json else [])],
            env={"SNMP_COMMUNITY": COMMUNITY},
            standalone_mode=False,
        )
    assert status(result) == 1
    assert f"no answer from {host}" in result.stderr
    assert "is the community right?" in result.stderr
    assert COMMUNITY not in result.output
    assert (json.loads(result.stdout)["error"] if as_json else result.stdout) == (
        result.stderr.splitlines()[0].partition(": ")[2] if as_json else ""
    )


def test_remedies_are_for_the_trouble_there_is():
    target = Target("x", "192.0.2.1", Secret(COMMUNITY), 1161)
    assert findings.remedies(target, "the name edge1 cannot be resolved: unknown") == []
    assert findings.remedies(target, "192.0.2.1:1161 refused: nothing listens on that UDP port") == [
        "is its SNMP agent running, and on UDP port 1161? write HOST:PORT for another"
    ]
    told = findings.remedies(replace(target, version="3", context="red"), "no answer from 192.0.2.1:1161 in 2 tries")
    assert [any(word in each for each in told) for word in ("--user", "--context", "UDP port 1161")] == [True] * 3
    assert not any("--community" in each for each in told)


# --- usage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ([], "HOST"),
        (["no host"], "HOST"),
        (["192.0.2.1:0"], "port"),
        (["192.0.2.1", "--community", "env:NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE"),
        (["192.0.2.1", "--community", "file:/nowhere/at/all"], "/nowhere/at/all"),
        (["192.0.2.1", "--snmp-version", "4"], "4"),
        (["192.0.2.1", "--snmp-version", "3"], "--user"),
        (["192.0.2.1", "--snmp-version", "2c", "--user", "me"], "--user"),
        (["192.0.2.1", "--user", "me", "--auth-protocol", "sha256"], "--auth-key"),
        (["192.0.2.1", "--user", "me", "--auth-key", "12345678"], "--auth-protocol"),
        (["192.0.2.1", "--user", "me", "--priv-protocol", "aes128", "--priv-key", "12345678"], "--auth-protocol"),
        (["192.0.2.1", "--context", "red"], "red=COMMUNITY"),
        (["192.0.2.1", "--user", "me", "--context", "red=nobody knows it"], "--context"),
        (["192.0.2.1", "--profile", "nobody's"], "profile"),
        (["192.0.2.1", "--timeout", "0"], "--timeout"),
        (["192.0.2.1", "--engine", "gufo", "--snmp-version", "1"], "gufo"),
    ],
)
def test_bad_usage(arguments, wrong):
    environ = {"SNMP_COMMUNITY": None, "SNMP_AUTH_KEY": None, "SNMP_PRIV_KEY": None, "NOT_SET_ANYWHERE": None}
    result = CliRunner().invoke(command.discover_command, arguments, env=environ, standalone_mode=False)
    assert isinstance(result.exception, click.UsageError | ConfigError)
    said = (
        result.exception.format_message() if isinstance(result.exception, click.UsageError) else str(result.exception)
    )
    assert wrong in said
    assert "nobody knows it" not in said
    assert "12345678" not in said
    assert result.stdout == ""


@pytest.fixture
def asked(monkeypatch) -> list[Target]:
    """The targets that a command would survey, without asking anything."""
    targets: list[Target] = []

    async def refuse(target: Target, _: object, **__: object) -> Survey:
        targets.append(target)
        raise SourceError("not here")

    monkeypatch.setattr("exabgp_bfd.sources.snmp.survey.survey", refuse)
    return targets


def test_keys_come_from_variables_too(asked):
    environ = {"SNMP_AUTH_KEY": "authenticated", "SNMP_PRIV_KEY": "encrypted one", "SNMP_COMMUNITY": "ignored"}
    flags = ["--user", "me", "--auth-protocol", "SHA256", "--priv-protocol", "aes128"]
    CliRunner().invoke(
        command.discover_command,
        ["[2001:db8::1]:1161", *flags, "--context", "", "--context", "red"],
        env=environ,
        standalone_mode=False,
    )
    (target,) = asked
    assert (target.host, target.port, target.version) == ("2001:db8::1", 1161, "3")
    assert target.user == User("me", "sha256", Secret("authenticated"), "aes128", Secret("encrypted one"))
    assert target.contexts == (Context(""), Context("red"))


def test_a_variable_without_its_protocol_is_not_meant(asked):
    environ = {"SNMP_AUTH_KEY": "authenticated", "SNMP_PRIV_KEY": "encrypted one"}
    CliRunner().invoke(command.discover_command, ["192.0.2.1", "--user", "me"], env=environ, standalone_mode=False)
    (target,) = asked
    assert target.user == User("me")


def test_what_it_asks_by_default(asked):
    environ = {"SNMP_COMMUNITY": None, "DEVICE_HOST": "198.51.100.9", "EXABGP_BFD_CONFIG": "/nowhere"}
    CliRunner().invoke(command.discover_command, ["edge1"], env=environ, standalone_mode=False)
    (target,) = asked
    assert (target.host, target.port, target.version, target.community) == ("edge1", 161, "2c", Secret("public"))


def test_the_lines_to_paste_for_version_3(tmp_path):
    user = User("bfd", "sha256", Secret("authenticated"), "aes128", Secret("encrypted one"))
    target = Target(
        *("x", "192.0.2.1", Secret("")), version="3", user=user, contexts=(Context(""), Context("red")), engine="pysnmp"
    )
    found = Survey(target, "pysnmp", (View("", Detected(None, None, None, BFD_STD, name="edge1"), BFD_STD),))
    text = "\n".join(findings.configuration(found, {"auth_key": "file:/etc/keys/auth"}))
    assert "authenticated" not in text
    assert "encrypted one" not in text
    keys = tmp_path / "auth"
    keys.write_text("authenticated")
    (device,) = configured(text.replace("/etc/keys/auth", str(keys)), tmp_path, SNMP_PRIV_KEY="encrypted one").targets
    assert (device.name, device.host, device.version, device.engine) == ("edge1", "192.0.2.1", "3", "pysnmp")
    assert [context.name for context in device.contexts] == ["", "red"]
    told = device.user
    assert told is not None
    assert User(told.name, told.auth_protocol, told.auth_key, told.priv_protocol, told.priv_key) == user


# --- progress, and the end -------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_one_line_on_a_terminal():
    out, clock = Terminal(), Hand()
    progress = command.Progress(out, clock)
    progress("finding the BFD table", 0)
    progress("reading the sessions", 10)  # too soon after the last
    clock.now += 1
    progress("reading the sessions", 2000)
    assert out.getvalue() == "\rfinding the BFD table\x1b[K\rreading the sessions, 2000 so far\x1b[K"
    progress.clear()
    progress.clear()
    assert out.getvalue().endswith("so far\x1b[K\r\x1b[K")


def test_progress_is_a_line_now_and_then_in_a_log():
    out, clock = io.StringIO(), Hand()
    progress = command.Progress(out, clock)
    for _ in range(10):
        progress("reading the sessions", 1)
        clock.now += 1
    progress.clear()
    assert out.getvalue() == "exabgp-bfd: discover: reading the sessions, 1 so far\n" * 2


def test_progress_of_a_survey():
    heard: list[tuple[str, int]] = []

    async def scenario() -> None:
        async with Agent(bfd_std().table, community=COMMUNITY) as agent:
            target = Target("anything", "127.0.0.1", Secret(COMMUNITY), agent.port, timeout=2.0)
            await survey(target, lambda phase, rows: heard.append((phase, rows)), measure=0)

    asyncio.run(scenario())
    assert heard[0] == ("finding the BFD table", 0)
    assert ("reading what they are", 8) in heard


@contextmanager
def as_a_program(*arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, ended by its id."""
    process = subprocess.Popen(
        # Whoever runs the tests in the background has SIGINT ignored, and all children with it.
        ["env", "--default-signal=INT", sys.executable, "-m", "exabgp_bfd", "discover", *arguments],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_ends_it_cleanly():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        mute.settimeout(PATIENCE)
        host = f"127.0.0.1:{mute.getsockname()[1]}"
        with as_a_program(host, "--timeout", "60", SNMP_COMMUNITY=COMMUNITY) as process:
            mute.recv(65536)  # now it waits for an answer
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (130, "", "exabgp-bfd: discover: interrupted\n")


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "host", "name"),
    [
        ("edge1.example.net", "192.0.2.1", "edge1"),
        ("edge 1/rack 2", "192.0.2.1", "edge-1-rack-2"),
        ("192.0.2.7", "192.0.2.1", "192.0.2.7"),
        (None, "edge1.example.net", "edge1"),
        ("", "2001:db8::1", "2001:db8::1"),
        ("\x1b/ ", "192.0.2.1", "192.0.2.1"),
        (".", ".", "device"),
        ("x" * 300, "192.0.2.1", "x" * 100),
        ("Kanten-Rüter", "192.0.2.1", "Kanten-Rüter"),
    ],
)
def test_names_of_devices(told, host, name, tmp_path):
    assert device_name(told, host) == name
    found = Survey(
        Target("x", "192.0.2.1", Secret("")), "pysnmp", (View("", Detected(None, None, None, None, name=told), None),)
    )
    if told:
        assert configured("\n".join(findings.configuration(found)), tmp_path).targets[0].name == found.name


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m"), (3601, "1h"), (90061, "1d 1h"), (86400 * 400, "400d"), (7325, "2h 2m")],
)
def test_spans(seconds, text):
    assert findings.span(seconds) == text


def test_many_sessions_are_not_all_listed(tmp_path):
    sessions = tuple(
        Found(Session("edge1", f"10.0.{n // 256}.{n % 256}"), str(n), State.UP, None, None, {}) for n in range(1000)
    )
    view = View("", Detected(None, None, None, BFD_STD, name="edge1"), BFD_STD, sessions)
    found = Survey(Target("x", "192.0.2.1", Secret("")), "pysnmp", (view,))
    settings = configured("\n".join(findings.configuration(found)), tmp_path)
    assert [str(each) for each in settings.plan.services[0].selectors] == ["edge1/*"]
    assert sum(line.startswith("10.0.") for line in findings.lines(found)) == 1000


def test_columns_of_which_nothing_is_known_are_left_out():
    sessions = (Found(Session("edge1", "10.0.0.1"), "1", State.DOWN, None, None, {}),)
    found = Survey(
        Target("x", "h", Secret("")), "pysnmp", (View("", Detected(None, None, None, BFD_STD), BFD_STD, sessions),)
    )
    assert "SESSION   STATE" in list(findings.lines(found))
    assert "10.0.0.1  down" in list(findings.lines(found))
