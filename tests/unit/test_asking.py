"""The commands that ask the running program: what they print, what they ask, and their exit statuses."""

import contextlib
import http.server
import io
import json
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from urllib.parse import quote

import pytest
from api.box import KEYS, NOON, PREVIEW, event, keys
from api.test_notify import VIEW, letter
from lab.commands import runner, served

from exabgp_bfd import __version__, asking
from exabgp_bfd.core.model import Action, Clear, Order, Outcome, Override, StoreError
from exabgp_bfd.web.limits import Rates

UNLIMITED = {"rates": Rates(requests=0, failures=0)}
EVIL = "\x1b]0;owned\x07\r\n\u202e\x9b31m\x7f"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    with served(tmp_path_factory.mktemp("program"), **UNLIMITED) as program:
        yield program


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    """One that has a key of each role."""
    with served(tmp_path_factory.mktemp("keyed"), keys=keys(), ephemeral=None, **UNLIMITED) as program:
        yield program


@pytest.fixture
def running(program):
    program.box.__init__()
    return program


@pytest.fixture
def exabgp_bfd(monkeypatch, capsysbinary):
    return runner(monkeypatch, capsysbinary)


@pytest.fixture
def nobody():
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextlib.contextmanager
def stranger():
    """The address of a program that has an empty object for everything."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(20)


def failed(answer, status=1) -> str:
    """The one line of a command that failed."""
    assert (answer[0], answer[1], len(answer[2])) == (status, [], 1), answer
    return answer[2][0]


# --- status -------------------------------------------------------------------------------------------------------


def test_status_is_a_table_of_services_sessions_and_routes(exabgp_bfd, running):
    assert exabgp_bfd("status", "-c", running.config) == (
        0,
        [
            "fra1: degraded; exabgp-bfd 1.2.3 for 1m 30s; exabgp 5.0.15",
            "1 of 2 services announced, 1 of 2 sessions up, 1 of 2 devices reachable",
            "! device edge2: timed out",
            "",
            "SERVICE  STATE      SINCE  UP/NEED  DECIDED BY  WHY",
            "dns      withdrawn     9s      1/2  health      1 of 2 sessions is up, 2 are needed",
            "ntp      announced             0/1  start       kept from before the restart",
            "",
            "SESSION             STATE   SINCE  INTERFACE  CHANGES  SERVICES  REMARK",
            "edge1/198.51.100.1  down       9s  ge-0/0/1         3  dns       control detection time expired",
            "edge2/2001:db8::1   up     1m 30s                   1  dns, ntp  device: timed out",
            "",
            "ROUTE             SERVICE  STATE      NEXT HOP  ATTRIBUTES  SEEN BY      REMARK",
            "192.0.2.53/32     dns      withdrawn  self      med=50      192.0.2.254  "
            "192.0.2.253: no UPDATE for it was seen",
            "2001:db8::7b/128  ntp      announced  self",
            "watchdog ntp      ntp      announced",
        ],
        [],
    )


def test_status_of_a_service_and_of_a_device(exabgp_bfd, running):
    _, out, _ = exabgp_bfd("status", "--service", "ntp", "-c", running.config)
    assert not any("edge1" in line or "192.0.2.53" in line for line in out)
    assert any(line.startswith("edge2/2001:db8::1") for line in out)
    _, out, _ = exabgp_bfd("status", "--device", "edge1", "-c", running.config)
    assert not any("edge2" in line or "2001:db8::7b" in line for line in out)
    assert any(line.startswith("192.0.2.53/32") for line in out)


def test_status_of_what_there_is_not_names_what_there_is(exabgp_bfd, running):
    said = failed(exabgp_bfd("status", "--service", "smtp", "-c", running.config), 2)
    assert said == "exabgp-bfd: service: there is no service 'smtp'; known: ntp, dns"


def test_status_in_json(exabgp_bfd, running):
    status, out, _ = exabgp_bfd("status", "--json", "-c", running.config)
    document = json.loads("\n".join(out))
    assert (status, document["site"], len(document["services"]), len(document["sessions"])) == (0, "fra1", 2, 2)


def test_status_reads_every_page(exabgp_bfd, running):
    dns = running.box.view.services[1]
    many = tuple(replace(dns, service=replace(dns.service, name=f"s{number:04}")) for number in range(1003))
    running.box.view = replace(running.box.view, services=many)
    _, out, _ = exabgp_bfd("status", "--json", "-c", running.config)
    assert [one["service"] for one in json.loads("\n".join(out))["services"]] == [one.service.name for one in many]


@pytest.mark.parametrize("words", [["--check"], ["--json"], []])
def test_watching_needs_a_terminal(exabgp_bfd, running, words):
    assert "--watch is for a terminal" in failed(exabgp_bfd("status", "--watch", *words, "-c", running.config), 2)


def well(running):
    """Lets the program be well."""
    view = running.box.view
    ntp, dns = view.services
    running.box.view = replace(
        view,
        services=(
            replace(ntp, disabled=False, health="full", layer="health"),
            replace(dns, announced=True, health="full", routes=()),
        ),
        sessions=tuple(replace(one, state=view.sessions[0].state) for one in view.sessions),
        devices=tuple(replace(one, reachable=True, reason="") for one in view.devices),
    )


def checked(exabgp_bfd, *words):
    status, out, err = exabgp_bfd("status", "--check", *words)
    assert (len(out), err) == (1, [])
    assert out[0].startswith(f"EXABGP-BFD {('OK', 'WARNING', 'CRITICAL', 'UNKNOWN')[status]} - "), (status, out)
    return status, out[0]


def test_a_check_is_one_line_and_its_exit_status(exabgp_bfd, running):
    where = ["-c", running.config]
    status, line = checked(exabgp_bfd, *where)
    assert status == 2
    assert "service dns is withdrawn: 1 of 2 sessions is up, 2 are needed" in line
    assert checked(exabgp_bfd, "--service", "ntp", *where)[0] == 1
    well(running)
    assert checked(exabgp_bfd, *where)[0] == 0
    exabgp_bfd("override", "dns", "freeze", "--reason", "ticket | 4711", *where)
    status, line = checked(exabgp_bfd, *where)
    assert (status, line.count("|")) == (1, 1)
    assert "service dns: freeze by admin (ephemeral key) until it is cleared: ticket / 4711" in line
    status, out, _ = exabgp_bfd("status", "--check", "--json", *where)
    assert (status, json.loads("\n".join(out))["status"]) == (1, "WARNING")


def test_a_check_of_what_does_not_answer_is_critical(exabgp_bfd, running, nobody):
    status, line = checked(exabgp_bfd, "--url", nobody)
    assert status == 2
    assert "nothing listens" in line
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        status, line = checked(exabgp_bfd, "--url", url, "--timeout", "0.2")
    assert status == 2
    assert "did not answer within 0.2 s" in line


def test_a_check_that_cannot_be_made_is_unknown(exabgp_bfd, keyed, tmp_path):
    assert "no key was given" in checked(exabgp_bfd, "--url", keyed.url)[1]
    for words in (
        ["--url", keyed.url],
        ["--url", keyed.url, "--key", "wrong"],
        ["--url", keyed.url, "--key", "env:NOT_SET"],
        ["--url", keyed.url, "--key", KEYS["read"], "--service", "smtp"],
        ["--url", "not an address"],
        ["-c", tmp_path / "missing.toml"],
        ["--nope"],
        ["--timeout", "soon"],
        ["--url", "http://nowhere.invalid"],
    ):
        assert checked(exabgp_bfd, *words)[0] == 3, words
    assert checked(exabgp_bfd, "--url", keyed.url, "--key", KEYS["read"])[0] == 2


# --- events -------------------------------------------------------------------------------------------------------


def test_events_come_as_in_a_log(exabgp_bfd, running):
    running.box.trail = [
        event(4, session="edge1/198.51.100.1", details={"state": "down"}),
        event(13, event_type="override_set", service="dns", source="api", actor="noc", details={"note": EVIL}),
    ]
    status, out, err = exabgp_bfd("events", "-c", running.config)
    assert (status, err) == (0, [])
    assert out == [
        "2026-11-20T12:00:00.123456Z #4      bfd_failure      edge1/198.51.100.1   by snmp_poll state=down",
        "2026-11-20T12:00:00.123456Z #13     override_set     dns                  by noc "
        r"note=\x1b]0;owned\x07\r\n\u202e\x9b31m\x7f",
    ]
    status, out, _ = exabgp_bfd("events", "--json", "-c", running.config)
    assert [json.loads(line) for line in out] == running.box.trail  # a line each
    assert all(line.isprintable() for line in out)


def test_the_newest_of_many_pages(exabgp_bfd, running):
    running.box.trail = [event(number) for number in range(1, 2100)]
    _, out, _ = exabgp_bfd("events", "--json", "--limit", "2005", "-c", running.config)
    assert [json.loads(line)["id"] for line in out] == list(range(95, 2100))
    assert len(exabgp_bfd("events", "-c", running.config)[1]) == 50


def test_the_filters_of_events(exabgp_bfd, running):
    words = ["--device", "edge1", "--session", "edge1/x y", "--service", "d&ns", "--type", "bfd_failure"]
    times = ["--since", "2026-11-20T12:00:00.5Z", "--until", "2026-11-20T14:00:00+01:00"]
    assert exabgp_bfd("events", *words, *times, "-c", running.config) == (0, [], [])
    (asked,) = running.box.queries
    assert (asked.device, asked.session, asked.service, asked.event_type) == (
        "edge1",
        "edge1/x y",
        "d&ns",
        "bfd_failure",
    )
    assert (asked.since, asked.until) == (NOON + 500_000, NOON + 3_600_000_000)
    exabgp_bfd("events", "--since", "2h", "-c", running.config)
    assert running.box.queries[1].since is not None


def test_events_of_another_site_say_which(exabgp_bfd, running):
    running.box.trail = [event(4, site="ams2", session="s")]
    _, out, _ = exabgp_bfd("events", "--site", "*", "-c", running.config)
    assert out[0].split() == ["2026-11-20T12:00:00.123456Z", "ams2", "#4", "bfd_failure", "s", "by", "snmp_poll"]
    assert running.box.sites_asked == [None]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["--since", "yesterday"], "--since: 'yesterday' is no moment"),
        (["--since", "1h", "--until", "2h"], "--since is after --until"),
        (["--limit", "0"], "--limit"),
        (["--limit", "100001"], "--limit"),
        (["--follow", "--until", "1h"], "--follow goes with neither --until nor --site"),
        (["--follow", "--site", "*"], "--follow goes with neither --until nor --site"),
    ],
    ids=str,
)
def test_events_that_cannot_be_asked_for(exabgp_bfd, running, words, wrong):
    assert wrong in failed(exabgp_bfd("events", *words, "-c", running.config), 2)
    assert running.box.queries == []


def test_the_journal_in_trouble_is_one_line(exabgp_bfd, running):
    running.box.trouble = StoreError(f"the disk is full{EVIL}")
    said = failed(exabgp_bfd("events", "-c", running.config))
    assert "the disk is full" in said
    assert said.isprintable()


# --- why, override ------------------------------------------------------------------------------------------------


def test_why_of_an_event_is_its_chain(exabgp_bfd, running):
    running.box.trail = [event(4), event(13, cause=4, event_type="route_withdraw", service="dns")]
    assert exabgp_bfd("why", "--event", "13", "-c", running.config)[1] == [
        "2026-11-20T12:00:00.123456Z #4 bfd_failure edge1 by snmp_poll",
        "2026-11-20T12:00:00.123456Z #13 route_withdraw dns by snmp_poll",
    ]
    assert "there is no event 7" in failed(exabgp_bfd("why", "--event", "7", "-c", running.config))
    assert "not both" in failed(exabgp_bfd("why", "dns", "--event", "7", "-c", running.config), 2)


def test_an_override_at_every_site(exabgp_bfd, running):
    where = ["--all-sites", "-c", running.config]
    out = exabgp_bfd("override", "dns", "drain", "--reason", "x", *where)[1]
    assert out[0] == "dns: drain at every site until it is cleared (event 61)"
    assert (
        exabgp_bfd("override", "dns", "clear", *where)[1][0] == "dns: the override is cleared at every site (event 61)"
    )
    ordered, cleared = running.box.ordered_of_all
    assert isinstance(ordered, Order)
    assert isinstance(ordered.what, Override)
    assert ordered.what.action is Action.DRAIN
    assert isinstance(cleared, Clear)
    assert running.box.ordered == []
    said = failed(exabgp_bfd("override", "--guard", "lift", "--reason", "x", *where), 2)
    assert "--all-sites goes with a service" in said


@pytest.mark.parametrize(
    "words",
    [
        ["dns", "drain", "--reason", "x"],
        ["dns", "withdraw", "--reason", "x", "--all-sites"],
        ["dns", "clear"],
        ["--guard", "lift", "--reason", "x"],
        ["--guard", "clear"],
    ],
    ids=" ".join,
)
def test_a_rehearsal_orders_nothing(exabgp_bfd, running, words):
    status, out, err = exabgp_bfd("override", *words, "--dry-run", "-c", running.config)
    assert (running.box.ordered, running.box.ordered_of_all) == ([], [])
    if "clear" in words and status:  # there is nothing to clear, which is said
        assert "no override" in err[0] or "not lifted" in err[0]
    else:
        assert (status, out[0]) == (0, "would withdraw 192.0.2.53/32 (service dns)")
        assert len(running.box.rehearsals) == 1


# --- devices, by hand, alerts -------------------------------------------------------------------------------------


def test_the_devices_and_how_each_is(exabgp_bfd, running):
    status, out, err = exabgp_bfd("devices", "list", "-c", running.config)
    assert (status, err) == (0, [])
    assert out == [
        "DEVICE  HOST         STATE        HEARD  UP/SESSIONS  FROM  SERVICES  REMARK",
        "edge1   192.0.2.1    reachable       1s          0/1  file  dns",
        "edge2   2001:db8::2  unreachable                 1/1  file  dns       timed out",
        "edge7   192.0.2.7    not asked                   0/0  api   dns",
    ]
    _, out, _ = exabgp_bfd("devices", "list", "--json", "-c", running.config)
    assert [one["name"] for one in json.loads("\n".join(out))["devices"]] == ["edge1", "edge2", "edge7"]
    _, out, _ = exabgp_bfd("devices", "show", "edge1", "-c", running.config)
    assert out[0] == "edge1: reachable"
    assert "  from: the configuration" in out
    assert "  community: ***" in out
    said = failed(exabgp_bfd("devices", "show", "nope", "-c", running.config), 2)
    assert "there is no device 'nope'; there are edge1, edge2" in said
    said = failed(exabgp_bfd("status", "--device", "nope", "-c", running.config), 2)
    assert "there is no device 'nope'" in said


def test_devices_are_added_changed_and_removed(exabgp_bfd, running, tmp_path):
    (tmp_path / "secret").write_text("hunter2\n")
    where = ["-c", running.config]
    words = ["devices", "add", "edge9", "192.0.2.9", "--port", "1161", "--community", f"file:{tmp_path / 'secret'}"]
    assert exabgp_bfd(*words, "--set", "interval=0.5", *where) == (0, ["device edge9 is added (event 81)"], [])
    assert exabgp_bfd("devices", "change", "edge7", "--set", "interval=0.5", *where)[1] == [
        "device edge7 is changed (event 82)"
    ]
    assert exabgp_bfd("devices", "remove", "edge7", *where)[1] == ["device edge7 is removed (event 83)"]
    changed = running.box.devices_changed
    assert [(kind, name) for kind, name, _, _ in changed] == [
        ("device_added", "edge9"),
        ("device_changed", "edge7"),
        ("device_removed", "edge7"),
    ]
    assert "hunter2" not in str(changed)
    said = failed(exabgp_bfd("devices", "change", "edge1", "--port", "1161", *where), 2)
    assert "is one of the configuration: change it there" in said
    assert "change it there" in failed(exabgp_bfd("devices", "remove", "edge1", *where))
    assert len(changed) == 3


DEVICES = [["add", "edge9", "192.0.2.9"], ["change", "edge7", "--port", "1"], ["remove", "edge7"]]


@pytest.mark.parametrize("words", DEVICES, ids=" ".join)
def test_routes_are_not_withdrawn_by_the_way(exabgp_bfd, running, words):
    running.box.consequence = PREVIEW
    more = ["--community", "public"] if words[0] == "add" else []
    said = failed(exabgp_bfd("devices", *words, *more, "-c", running.config))
    assert "192.0.2.53/32" in said
    assert "force" in said
    status, out, _ = exabgp_bfd("devices", *words, *more, "--force", "-c", running.config)
    assert (status, out[1]) == (0, "withdrawn 192.0.2.53/32 (service dns)")


@pytest.mark.parametrize("words", DEVICES, ids=" ".join)
def test_a_change_of_a_device_is_rehearsed(exabgp_bfd, running, words):
    more = ["--community", "public"] if words[0] == "add" else []
    status, out, _ = exabgp_bfd("devices", *words, *more, "--dry-run", "-c", running.config)
    assert (status, running.box.devices_changed) == (0, [])
    assert out[-1].startswith(("would ", "no route would change"))


def test_the_keys_of_a_device_have_their_types(exabgp_bfd, running):
    words = ["version=3", "user=1234", "auth_key=12345678", "auth_protocol=sha256", "interval=0.5", 'contexts=["red"]']
    flags = [part for word in words for part in ("--set", word)]
    said = exabgp_bfd("devices", "add", "edge9", "192.0.2.9", *flags, "-c", running.config)
    assert said[0] == 0, said


def test_a_command_by_hand_and_what_stands(exabgp_bfd, running):
    where = ["-c", running.config]
    assert exabgp_bfd("command", *where)[1] == ["nothing was announced by hand"]
    words = ["command", "announce", "route", "192.0.2.9/32", "next-hop", "self"]
    status, out, _ = exabgp_bfd(*words, "--reason", "ticket 4711", "--ttl", "2h", *where)
    assert (status, out[1]) == (0, "ExaBGP did it (event 101)")
    assert exabgp_bfd("command", *where)[1] == [
        "announced 192.0.2.9/32 next_hop=self by admin (ephemeral key) until 2026-11-20T14:00:00.000Z: ticket 4711"
    ]
    running.box.outcome = Outcome.ERROR
    status, out, _ = exabgp_bfd(*words, *where)
    assert (status, out[1]) == (1, "ExaBGP refused it (event 102)")
    assert len(running.box.by_hand) == 2
    assert exabgp_bfd(*words, "--dry-run", *where)[0] == 0
    assert "'frobnicate' is no command" in failed(exabgp_bfd("command", "frobnicate", *where), 2)
    assert len(running.box.by_hand) == 2


def test_the_end_is_rehearsed_and_then_ordered(exabgp_bfd, running):
    assert "would stay announced: watchdog ntp" in exabgp_bfd("shutdown", "--dry-run", "-c", running.config)[1]
    assert running.box.ended == []
    out = exabgp_bfd("shutdown", "--reason", "moved", "-c", running.config)[1]
    assert out[0] == "it stops (event 98); on_exit: keep"
    assert running.box.ended == [("admin (ephemeral key)", "moved")]


def test_alerts_that_could_not_be_delivered(exabgp_bfd, running):
    where = ["-c", running.config]
    assert exabgp_bfd("notify", "list", *where)[1] == ["nobody is told: there is no [[notify]]"]
    assert exabgp_bfd("notify", "dead", *where)[1] == ["everything was delivered"]
    running.box.told = [VIEW]
    running.box.dead = [letter(1), letter(2), letter(3)]
    _, out, _ = exabgp_bfd("notify", "list", *where)
    assert out[0].startswith("ENDPOINT  ADDRESS")
    assert out[1].startswith("pager ")
    _, out, _ = exabgp_bfd("notify", "dead", *where)
    assert [line.split()[0] for line in out] == ["NUMBER", "3", "2", "1"]
    _, out, _ = exabgp_bfd("notify", "resend", "3", "1", *where)
    assert [line.partition(" (event")[0] for line in out] == ["letter 3 is sent again", "letter 1 is sent again"]
    assert [number for number, _ in running.box.resent] == [3, 1]
    assert exabgp_bfd("notify", "discard", "2", "--dry-run", *where)[1] == ["would be done: letter 2 is thrown away"]
    assert running.box.discarded == []
    assert "there is no dead letter 9" in failed(exabgp_bfd("notify", "resend", "9", *where), 2)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["devices", "add", "edge3"], "Missing argument 'HOST'"),
        (["devices", "add", "edge3", "192.0.2.3", "--set", "hunter2"], "--set needs KEY=VALUE"),
        (["devices", "add", "edge3", "192.0.2.3", "--set", "interval=soon"], "--set interval: not a value of TOML"),
        (["devices", "add", "edge3", "192.0.2.3", "--set", "port=1", "--set", "port=2"], "--set port is given twice"),
        (["devices", "add", "edge3", "192.0.2.3", "--community", "env:hunter2"], "--community: the variable"),
        (
            ["devices", "add", "edge3", "192.0.2.3", "--set", "auth_key=file:/no/hunter2"],
            "--set auth_key: the secret's",
        ),
        (["devices", "change", "edge1"], "say what is to change"),
        (["command", "--reason", "x"], "Missing argument 'COMMAND'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_changed_asks_nothing_and_shows_no_secret(exabgp_bfd, words, wrong, nobody):
    said = failed(exabgp_bfd(*words, "--url", nobody), 2)
    assert wrong in said
    assert "hunter2" not in said


# --- the terminal -------------------------------------------------------------------------------------------------


class Terminal(io.TextIOWrapper):
    def __init__(self, terminal=True, encoding="utf-8"):
        super().__init__(io.BytesIO(), encoding=encoding)
        self._terminal = terminal

    def isatty(self):
        return self._terminal


@pytest.mark.parametrize(
    ("terminal", "variables", "colour"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_colours_are_for_terminals_that_have_them(monkeypatch, terminal, variables, colour):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "77")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Terminal(terminal))
    here = asking.screen()
    assert (here.colour, here.width) == (colour, 77 if terminal else None)
    assert asking.screen(wide=True).width is None


def test_what_the_terminal_cannot_write_is_no_end(monkeypatch, running, exabgp_bfd):
    dns = replace(running.box.view.services[1], why="Zürich 東京")
    running.box.view = replace(running.box.view, services=(dns,))
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(
        [sys.executable, "-m", "exabgp_bfd", "status", "--url", running.url],
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert rb"Z\xfcrich \u6771\u4eac" in ended.stdout


def test_whoever_stops_reading_ends_it_quietly(running):
    running.box.trail = [event(number, details={"x": "y" * 900}) for number in range(1, 300)]
    line = f"{sys.executable} -m exabgp_bfd events --limit 300 --json --url {quote(running.url, safe=':/')}"
    ended = subprocess.run(
        ["bash", "-c", f"{line} | head -1; echo ${{PIPESTATUS[0]}}"], capture_output=True, timeout=60, check=False
    )
    first, status = ended.stdout.decode().splitlines()
    assert json.loads(first)["id"] == 1
    assert (status, ended.stderr) == (str(asking.UNREAD), b"")


# --- what answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["status"], ["events", "-f"], ["devices", "list"], ["why", "dns"], ["command"]], ids=str
)
def test_who_does_not_run_is_told_in_a_line(exabgp_bfd, nobody, words):
    assert f"nothing listens at {nobody}: is exabgp-bfd running" in failed(exabgp_bfd(*words, "--url", nobody))


@pytest.mark.parametrize(
    "words", [["status"], ["events"], ["events", "-f"], ["devices", "list"], ["notify", "list"]], ids=str
)
def test_an_answer_that_is_none_of_ours_is_told_in_a_line(exabgp_bfd, words):
    with stranger() as url:
        said = failed(exabgp_bfd(*words, "--url", url))
    assert "answers" in said
    assert "understand" in said


def test_a_check_of_another_program_is_unknown(exabgp_bfd):
    with stranger() as url:
        assert checked(exabgp_bfd, "--url", url)[0] == 3


def test_a_program_without_a_path_is_another_version(exabgp_bfd, running):
    said = failed(exabgp_bfd("status", "--url", f"{running.url}/elsewhere"))
    assert f"another version of exabgp-bfd (this is {__version__})" in said
