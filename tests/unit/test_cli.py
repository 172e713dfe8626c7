"""The command line: exit statuses, one line for what is wrong, what each command prints and asks of the program."""

import contextlib
import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from api.box import KEYS, PREVIEW, event, keys
from lab.commands import SERVICE, runner, served

from exabgp_bfd import __version__, config, remote
from exabgp_bfd.config import VARIABLES
from exabgp_bfd.core.model import Action, Clear, ConfigError, Lift, Order, Override, Preview, Secret, StoreError
from exabgp_bfd.web.auth import verify

REFERENCE = Path(__file__).resolve().parents[2] / "conf" / "exabgp-bfd.toml"
BODY = b'{"device": "edge1"}\n'


@pytest.fixture
def exabgp_bfd(monkeypatch, capsysbinary):
    """Runs a command in this process: exit status, and the lines of stdout and stderr."""
    return runner(monkeypatch, capsysbinary)


def exabgp_bfd_apart(*words, **variables: str) -> tuple[int, list[str], list[str]]:
    """The same in a process of its own, for what takes over stdin and stdout."""
    environment = {name: value for name, value in os.environ.items() if name not in set(VARIABLES.values())}
    ended = subprocess.run(
        [sys.executable, "-m", "exabgp_bfd", *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**environment, **variables},
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout.decode().splitlines(), ended.stderr.decode().splitlines()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "exabgp-bfd.toml"
    path.write_text(SERVICE)
    return path


def test_version(exabgp_bfd):
    assert exabgp_bfd("--version") == (0, [f"exabgp-bfd, version {__version__}"], [])


def test_help_names_every_variable(exabgp_bfd):
    status, out, _ = exabgp_bfd("run", "--help")
    assert status == 0
    for flag, variable in VARIABLES.items():
        assert any(flag in line for line in out)
        assert any(variable in line for line in out)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["--nope"], "No such option '--nope'."),
        (["check"], "Missing argument 'FILE'."),
        (["check", "a", "b"], "unexpected extra argument (b)"),
        (["sign", "--secret", "x", "/no/such/body"], "No such file or directory"),
        (["sign"], "Missing option '--secret'"),
        (["run", "--nope"], "No such option '--nope'"),
        (["run", "one"], "unexpected extra argument (one)"),
        (["run"], "nothing to do yet"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_bad_usage_is_one_line_and_status_2(exabgp_bfd, words, wrong):
    status, out, err = (exabgp_bfd_apart if words[0] == "run" else exabgp_bfd)(*words)
    assert (status, out) == (2, [])
    assert len(err) == 1, err
    assert err[0].startswith("exabgp-bfd")
    assert wrong in err[0]


def test_without_a_command_the_help_is_shown(exabgp_bfd):
    status, _, err = exabgp_bfd()
    assert status == 2
    assert err[0].startswith("Usage: ")


# --- check --------------------------------------------------------------------------------------------------------


def test_check_prints_the_plan_with_the_exact_commands(exabgp_bfd, file):
    status, out, err = exabgp_bfd("check", file)
    assert (status, err) == (0, [])
    attributes = "as-path [ 65000 65000 ] med 50 community [ 65000:53 65535:0 ]"
    assert [line.strip() for line in out if line.lstrip().startswith(("announce:", "withdraw:"))] == [
        f"announce: neighbor 192.0.2.254 announce route 203.0.113.53/32 next-hop 192.0.2.10 {attributes}",
        "withdraw: neighbor 192.0.2.254 withdraw route 203.0.113.53/32",
        f"announce: neighbor 192.0.2.254 announce route 2001:db8::53/128 next-hop 2001:db8::10 {attributes}",
        "withdraw: neighbor 192.0.2.254 withdraw route 2001:db8::53/128",
    ]
    assert any(line.startswith("device edge1: 192.0.2.1 port 161") for line in out)
    assert any(line.startswith("service dns: 1 of [edge1/198.51.100.1] up") for line in out)


def test_check_takes_the_reference(exabgp_bfd):
    status, out, err = exabgp_bfd("check", REFERENCE)
    assert (status, err) == (0, [])
    assert "  announce: announce route 192.0.2.53/32 next-hop 192.0.2.10" in out


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("[[device]]", "[[device", "is not TOML"),
        ("med =", "medd =", "service[0].medd: unknown key, did you mean `med`?"),
        ("edge1/", "edge7/", "there is no device edge7"),
        ("203.0.113.53/32", "203.0.113.53/24", "has host bits set"),
        ("192.0.2.254", "192.0.2.256", "service[0].neighbors[0]: must be an IPv4 or IPv6 address"),
    ],
)
def test_check_tells_what_is_wrong_with_a_file(exabgp_bfd, file, old, new, wrong):
    file.write_text(SERVICE.replace(old, new, 1))
    status, out, err = exabgp_bfd("check", file)
    assert (status, out, len(err)) == (2, [], 1), err
    assert err[0].startswith(f"exabgp-bfd: {file}: ")
    assert wrong in err[0]


def test_check_tells_everything_that_is_wrong_a_line_each(exabgp_bfd, file):
    file.write_text(SERVICE.replace("med = 50", "med = -1").replace('name = "edge1"', 'name = "edge 1"'))
    status, out, err = exabgp_bfd("check", file)
    assert (status, out) == (2, [])
    assert len(err) == 2
    assert "service[0].med" in "".join(err)
    assert "device[0].name" in "".join(err)


@pytest.mark.parametrize("what", ["missing", "a folder", "not UTF-8"])
def test_check_tells_that_there_is_no_file_to_read(exabgp_bfd, file, what):
    if what == "not UTF-8":
        file.write_bytes(b"\xff")
    path = {"missing": file.with_name("missing.toml"), "a folder": file.parent, "not UTF-8": file}[what]
    status, out, err = exabgp_bfd("check", path)
    assert (status, out, len(err)) == (2, [], 1), err
    assert err[0].startswith(f"exabgp-bfd: {path}: ")


def test_check_refuses_an_snmp_engine_that_run_could_not_load(file, tmp_path):
    (tmp_path / "gufo").mkdir()
    (tmp_path / "gufo" / "__init__.py").touch()  # an empty package in front of the real one
    file.write_text(SERVICE.replace('name = "edge1"', 'name = "edge1"\nengine = "gufo"'))
    status, out, err = exabgp_bfd_apart("check", file, PYTHONPATH=str(tmp_path))
    assert status == 2
    assert err == ['exabgp-bfd: device edge1: engine "gufo" is not installed: pip install "exabgp-bfd[fast]"']
    assert not any("announce" in line for line in out)


def test_check_shows_no_secret(exabgp_bfd, file):
    file.write_text(f'[webhook]\nsecrets = ["one-secret"]\n[snmp]\ncommunity = "other-secret"\n{SERVICE}')
    status, out, err = exabgp_bfd("check", file)
    assert status == 0
    assert "-secret" not in "".join([*out, *err])


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://u:s3cr-3t@",
        "mongodb://u:s3cr/3t@h/db",
        "mongodb://u:s3cr-3t@h/db?tls=perhaps",
        "mongodb://h:99999/",
    ],
)
def test_check_refuses_a_uri_that_the_driver_does_not_understand(exabgp_bfd, file, uri):
    file.write_text(f'[storage]\nmongodb = "{uri}"\n{SERVICE}')
    status, out, err = exabgp_bfd("check", file)
    assert (status, len(err)) == (2, 1), err
    assert err[0].startswith("exabgp-bfd: storage.mongodb: ")
    assert "is not understood" in err[0]
    assert not [part for part in ("s3cr", "3t@") if part in "".join([*out, *err])]


def test_check_shows_where_the_copy_goes_without_its_secret(exabgp_bfd, file):
    file.write_text(f'[storage]\nmongodb = "mongodb://u:secret@db1,db2/x?replicaSet=rs0"\n{SERVICE}')
    status, out, err = exabgp_bfd("check", file)
    assert (status, err) == (0, [])
    assert "copy of the journal: mongodb://***@db1,db2/x?replicaSet=rs0" in out


# --- sign ---------------------------------------------------------------------------------------------------------


def expected(secret: str, body: bytes = BODY) -> list[str]:
    return [f"X-Hub-Signature-256: sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"]


def test_sign_signs_a_file_and_stdin(exabgp_bfd, tmp_path):
    body = tmp_path / "body.json"
    body.write_bytes(BODY)
    assert exabgp_bfd("sign", "--secret", "key", body) == (0, expected("key"), [])
    assert exabgp_bfd("sign", "--secret", "key", "-", stdin=BODY) == (0, expected("key"), [])
    assert exabgp_bfd("sign", "--secret", "key", stdin=BODY) == (0, expected("key"), [])
    assert exabgp_bfd("sign", stdin=BODY, WEBHOOK_HMAC_SECRET="key") == (0, expected("key"), [])


def test_what_sign_prints_is_what_the_api_takes(exabgp_bfd):
    body = bytes(range(256))  # the raw octets, whatever they are
    _, out, _ = exabgp_bfd("sign", "--secret", "clé", stdin=body)
    name, _, value = out[0].partition(": ")
    assert name == "X-Hub-Signature-256"
    verify([Secret("clé")], body, value)


def test_sign_takes_the_secret_from_where_run_takes_it(exabgp_bfd, tmp_path):
    """`--webhook-secret env:NAME` and WEBHOOK_HMAC_SECRET=file:PATH name a secret there, so they must here."""
    secret = tmp_path / "secret"
    secret.write_text("key\n")
    assert exabgp_bfd("sign", "--secret", "env:HOOK", stdin=BODY, HOOK="key") == (0, expected("key"), [])
    assert exabgp_bfd("sign", stdin=BODY, WEBHOOK_HMAC_SECRET=f"file:{secret}") == (0, expected("key"), [])
    # Nothing else that would set up `run` matters here.
    other = {"EXABGP_BFD_CONFIG": "/no/such/file", "POLL_INTERVAL": "often", "DEVICE_HOST": "::::"}
    assert exabgp_bfd("sign", "--secret", "key", stdin=BODY, **other) == (0, expected("key"), [])


@pytest.mark.parametrize("secret", ["", "env:NOT_SET_ANYWHERE", "file:/no/such/file"])
def test_sign_refuses_a_secret_that_no_api_takes(exabgp_bfd, secret):
    status, out, err = exabgp_bfd("sign", "--secret", secret, stdin=BODY)
    assert (status, out, len(err)) == (2, [], 1), err
    assert "secret" in err[0]


# --- the running program ------------------------------------------------------------------------------------------

NOON = 1795176000.0
"""Where the clock of the program in the box stands, in seconds since the epoch."""
WHO = "admin (ephemeral key)"


@pytest.fixture
def running(tmp_path):
    with served(tmp_path) as program:
        yield program


@pytest.fixture
def keyed(tmp_path):
    """One that has a key of each role."""
    with served(tmp_path, keys=keys(), ephemeral=None) as program:
        yield program


def test_why_tells_the_answer_the_reasons_and_then_the_chain(exabgp_bfd, running):
    running.box.trail = [
        event(4, session="edge1/198.51.100.1", details={"state": "down", "diagnostic": 1}),
        event(13, cause=4, event_type="route_withdraw", service="dns", source="engine", details={}),
    ]
    status, out, err = exabgp_bfd("why", "dns", "--config", running.config)
    assert (status, err) == (0, [])
    assert out == [
        "dns is withdrawn, because 1 of 2 sessions is up and 2 are needed",
        "because:",
        "  health decides: no order, no window, no file says otherwise",
        "sessions:",
        "  edge1/198.51.100.1 is down: control detection time expired",
        "  edge2/2001:db8::1 is up",
        "routes:",
        "  192.0.2.53/32 was withdrawn, and the withdraw was seen to go to 192.0.2.254",
        "how it came to this:",
        "  2026-11-20T12:00:00.123456Z #4 bfd_failure edge1/198.51.100.1 by snmp_poll diagnostic=1, state=down",
        "  2026-11-20T12:00:00.123456Z #13 route_withdraw dns by engine",
    ]


def test_why_says_where_the_chain_is_not_whole(exabgp_bfd, running):
    _, out, _ = exabgp_bfd("why", "dns", "--url", running.url)
    assert out[-2:] == ["how it came to this:", "  (event 13 is not kept any more, or not yet)"]


def test_why_steers_no_terminal(exabgp_bfd, running):
    running.box.trail = [event(13, event_type="note", details={"text": "\x1b]0;owned\x07\r\n"})]
    _, out, _ = exabgp_bfd("why", "dns", "--url", running.url)
    assert all(line.isprintable() for line in out)
    assert "\\x1b]0;owned" in out[-1]


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["why", "dns"], "explanation"),
        (["override", "dns", "freeze", "--reason", "x"], "override"),
        (["override", "--guard", "lift", "--reason", "x"], "lift"),
        (["reload", "--dry-run"], "commands"),
        (["reload"], "event"),
    ],
    ids=str,
)
def test_json_is_the_document_as_it_came(exabgp_bfd, running, words, path):
    status, out, err = exabgp_bfd(*words, "--json", "--config", running.config)
    assert (status, err) == (0, [])
    document = json.loads("\n".join(out))
    assert document["chain"] == [] if path == "explanation" else path in document


# overrides


@pytest.mark.parametrize("action", list(Action))
def test_override_orders(exabgp_bfd, running, action):
    words = ["override", "dns", action.value, "--reason", "new kernel", "--ttl", "2h", "-c", running.config]
    status, out, err = exabgp_bfd(*words)
    assert (status, err) == (0, [])
    assert running.box.ordered == [Order(Override("dns", action, WHO, "new kernel", NOON, NOON + 7200))]
    assert out == [
        f"dns: {action.value} until 2026-11-20T14:00:00.000Z (event 71)",
        "dns is withdrawn: 1 of 2 sessions is up, 2 are needed",
    ]


def test_override_says_once_how_the_service_is(exabgp_bfd, running):
    dns = replace(running.box.view.services[1], why="withdrawn: an operator said so")
    running.box.view = replace(running.box.view, services=(dns,))
    out = exabgp_bfd("override", "dns", "withdraw", "--reason", "x", "-c", running.config)[1]
    assert out[1] == "dns is withdrawn: an operator said so"


def test_override_without_an_end_and_its_clearing(exabgp_bfd, running):
    def override(*words):
        return exabgp_bfd("override", *words, "-c", running.config)

    assert override("dns", "drain", "--reason", "x")[1][0] == "dns: drain until it is cleared (event 71)"
    assert override("dns", "clear", "--reason", "a & b=ü?")[1][0] == "dns: the override is cleared (event 72)"
    assert running.box.ordered[1] == Clear("dns", WHO, "a & b=ü?")
    status, out, err = override("dns", "clear")
    assert (status, out) == (1, [])
    assert "has no override" in err[0]


def test_the_guard_is_lifted_and_holds_again(exabgp_bfd, running):
    def guard(*words):
        return exabgp_bfd("override", "--guard", *words, "-c", running.config)

    running.box.view = replace(running.box.view, guard=replace(running.box.view.guard, held=("dns", "ntp")))
    status, out, _ = guard("lift", "--reason", "all go", "--ttl", "90")
    assert (status, out) == (
        0,
        ["the guard's limit is lifted until 2026-11-20T12:01:30.000Z (event 71)", "held: dns, ntp"],
    )
    assert guard("clear")[1][0] == "the guard's limit holds again (event 72)"
    assert running.box.ordered == [Order(Lift(WHO, "all go", NOON, NOON + 90)), Clear(None, WHO, "")]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["override"], "say SERVICE and one of announce, withdraw, drain, freeze, clear"),
        (["override", "dns"], "say SERVICE and one of"),
        (["override", "dns", "drian", "--reason", "x"], "there is no 'drian'"),
        (["override", "dns", "lift", "--reason", "x"], "there is no 'lift'"),
        (["override", "dns", "drain", "now", "--reason", "x"], "say SERVICE and one of"),
        (["override", "dns", "drain"], "Missing option '--reason'"),
        (["override", "dns", "drain", "--reason", ""], "Missing option '--reason'"),
        (["override", "dns", "clear", "--ttl", "2h"], "--ttl goes with what is ordered"),
        (["override", "--guard", "lift"], "Missing option '--reason'"),
        (["override", "--guard", "drain", "--reason", "x"], "there is no 'drain': say --guard and one of lift, clear"),
        (["override", "--guard", "dns", "lift", "--reason", "x"], "say --guard and one of lift, clear"),
        (["why"], "Missing argument 'SERVICE'"),
        (["replay"], "Missing option '--config'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_asks_nothing(exabgp_bfd, running, words, wrong):
    status, out, err = exabgp_bfd(*words, EXABGP_BFD_URL=running.url, EXABGP_BFD_KEY=running.key)
    assert (status, out, len(err)) == (2, [], 1), err
    assert wrong in err[0]
    assert running.box.ordered == []


def test_what_the_program_finds_wrong_is_status_2_with_its_place(exabgp_bfd, running):
    words = ["override", "dns", "drain", "--reason", "x" * 501, "--ttl", "soon", "-c", running.config]
    status, out, err = exabgp_bfd(*words)
    assert (status, out, len(err)) == (2, [], 2)
    about_reason, about_ttl = sorted(err)
    assert about_reason.startswith("exabgp-bfd: reason: must be text of 1 to 500")
    assert about_ttl.startswith("exabgp-bfd: ttl: must be a number of seconds above 0")


# check --against-running, reload


PREVIEWED = [
    "would withdraw 192.0.2.53/32 (service dns)",
    "would announce 192.0.2.54/32 next_hop=self med=50 communities=65000:53,no-export (service dns)",
    "would announce watchdog ntp (service ntp)",
    "new services: ntp",
    "changed services: dns",
    "new devices: edge3",
]


@pytest.fixture
def new_file(running):
    """A file that could replace that of the running program, as far as this process can read it."""
    path = running.config.with_name("new.toml")
    path.write_text(f'[api]\nlisten = "127.0.0.1:{running.port}"\n[storage]\npath = "journal.db"\n{SERVICE}')
    return path


def test_check_against_the_running_program(exabgp_bfd, running, new_file, monkeypatch):
    monkeypatch.chdir(new_file.parent)
    plan = exabgp_bfd("check", "new.toml")[1]
    status, out, err = exabgp_bfd("check", "new.toml", "--against-running")
    assert (status, err) == (0, [])
    assert out == [*plan, "", "against the running program:", *PREVIEWED]
    assert running.box.previewed == [new_file]
    assert running.box.reloads == []


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Preview((), (), (), (), (), ()), ["nothing would change"]),
        (replace(PREVIEW, commands=()), ["no route would change at once", *PREVIEWED[3:]]),
        (
            Preview((), (), ("old",), (), (), ("r1", "r2")),
            ["no route would change at once", "services that go: old", "devices that go: r1, r2"],
        ),
    ],
)
def test_what_would_change_where_no_command_is_said(exabgp_bfd, running, plan, says):
    running.box.plan = plan
    assert exabgp_bfd("reload", "--dry-run", "-c", running.config) == (0, says, [])


def test_check_of_a_bad_file_asks_nobody(exabgp_bfd, running, new_file):
    new_file.write_text(new_file.read_text().replace("med = 50", "med = -1"))
    status, out, err = exabgp_bfd("check", new_file, "--against-running")
    assert (status, out, len(err)) == (2, [], 1)
    assert running.box.previewed == []


def test_check_against_a_program_that_does_not_run(exabgp_bfd, file):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        status, out, err = exabgp_bfd("check", file, "--against-running", "--url", url)
    assert status == 1
    assert any("service dns" in line for line in out)  # the plan itself is printed
    assert err == [
        f"exabgp-bfd: nothing listens at {url}: is exabgp-bfd running (ExaBGP starts it), and is that where its [api] "
        "listens? --config FILE or --url says where"
    ]


def test_reload(exabgp_bfd, running):
    assert exabgp_bfd("reload", "-c", running.config) == (0, ["reloaded (event 91)"], [])
    assert running.box.reloads == [WHO]
    assert exabgp_bfd("reload", "--dry-run", "-c", running.config) == (0, PREVIEWED, [])
    assert (running.box.reloads, running.box.previewed) == ([WHO], [None])


@pytest.mark.parametrize("words", [["reload"], ["reload", "--dry-run"]], ids=str)
def test_reload_of_a_bad_file_tells_every_place(exabgp_bfd, running, words):
    places = [ConfigError("/etc/x.toml: service[0].require", "too many"), ConfigError("/etc/x.toml", "is odd")]
    running.box.refusal = config.SettingsError(places)
    assert exabgp_bfd(*words, "-c", running.config) == (
        2,
        [],
        ["exabgp-bfd: /etc/x.toml: service[0].require: too many", "exabgp-bfd: /etc/x.toml: is odd"],
    )


# where it is, and the key


def key_refused(answer) -> str:
    status, out, err = answer
    assert (status, out, len(err)) == (1, [], 1), err
    return err[0]


def test_the_key_is_a_value_a_variable_or_a_file(exabgp_bfd, keyed, tmp_path):
    (tmp_path / "key").write_text(f"{KEYS['admin']}\n")
    for given in (KEYS["admin"], "env:MY_KEY", f"file:{tmp_path / 'key'}"):
        assert exabgp_bfd("reload", "--url", keyed.url, "--key", given, MY_KEY=KEYS["admin"])[0] == 0
        assert exabgp_bfd("reload", EXABGP_BFD_URL=keyed.url, EXABGP_BFD_KEY=given, MY_KEY=KEYS["admin"])[0] == 0
    assert keyed.box.reloads == ["a-admin"] * 6
    # A flag beats a variable.
    words = ["reload", "--url", keyed.url, "--key", KEYS["admin"]]
    assert exabgp_bfd(*words, EXABGP_BFD_URL="http://127.0.0.1:1", EXABGP_BFD_KEY="wrong")[0] == 0


def test_the_configuration_may_come_from_its_variable(exabgp_bfd, running):
    assert exabgp_bfd("reload", EXABGP_BFD_CONFIG=str(running.config))[0] == 0
    # As of `run`, the variables of address and journal beat the file.
    words = {"EXABGP_BFD_LISTEN": f"127.0.0.1:{running.port}", "EXABGP_BFD_DB": str(running.config.with_name("j.db"))}
    elsewhere = running.config.with_name("elsewhere.toml")
    elsewhere.write_text('[api]\nlisten = "127.0.0.1:1"\n[storage]\npath = "/nowhere/j.db"\n')
    assert exabgp_bfd("reload", "-c", elsewhere, **words)[0] == 0


def test_no_key_or_a_wrong_one_tells_the_role_and_the_remedy(exabgp_bfd, keyed):
    said = key_refused(exabgp_bfd("why", "dns", "--url", keyed.url))
    assert "no key was given" in said
    assert "a key of the role read or operate or admin" in said
    assert "--key or EXABGP_BFD_KEY" in said
    said = key_refused(exabgp_bfd("reload", "--url", keyed.url, "--key", "guess-4711"))
    assert "the key was not taken" in said
    assert "guess-4711" not in said
    words = ["override", "dns", "drain", "--reason", "x", "--url", keyed.url, "--key", KEYS["read"]]
    said = key_refused(exabgp_bfd(*words))
    assert "this needs the role operate, and the key a-read has the role read" in said
    assert KEYS["read"] not in said


def test_an_admin_key_that_cannot_be_read_is_told_where_it_matters(exabgp_bfd, running):
    running.key_file.unlink()
    assert exabgp_bfd("why", "dns", "-c", running.config)[0] == 0  # reading needs none
    said = key_refused(exabgp_bfd("reload", "-c", running.config))
    assert f"{running.key_file}: the key's file cannot be read (No such file or directory)" in said
    assert "as root" in said


def test_with_keys_in_the_file_the_admin_key_is_not_even_looked_at(exabgp_bfd, keyed):
    keyed.config.write_text(f'{keyed.config.read_text()}\n[[api.key]]\nname = "noc"\nrole = "read"\nsha256 = "00"\n')
    assert "[[api.key]]" in key_refused(exabgp_bfd("reload", "-c", keyed.config))
    assert exabgp_bfd("reload", "-c", keyed.config, "--key", KEYS["admin"])[0] == 0


def test_the_admin_key_goes_to_no_other_machine(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('[storage]\npath = "j.db"\n[api]\nlisten = "192.0.2.9:8080"\n')
    (tmp_path / "admin.key").write_text("the-admin-key")
    for url in ("http://127.0.0.1:80", "http://localhost:80", "http://[::1]:80"):
        assert remote.find(url, None, path, {}).key == Secret("the-admin-key")
    for url in ("http://192.0.2.7", "http://127.0.0.1.example:80", "http://10.0.0.1@192.0.2.1", None):
        with contextlib.suppress(ConfigError):
            assert remote.find(url, None, path, {}).key is None


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("[::1]:8081", "http://[::1]:8081"),
        ("0.0.0.0:8081", "http://127.0.0.1:8081"),
        ("[::]:8081", "http://[::1]:8081"),
        ("192.0.2.1:8081", "http://192.0.2.1:8081"),
        (None, "http://127.0.0.1:8080"),
    ],
)
def test_where_a_configuration_says_that_it_listens(tmp_path, listen, url):
    path = tmp_path / "c.toml"
    path.write_text("" if listen is None else f'[api]\nlisten = "{listen}"\n')
    assert remote.find(None, None, path, {}).url == url
    assert remote.find(None, None, None, {}).url == "http://127.0.0.1:8080"


def test_the_defaults_are_those_of_the_configuration():
    settings = config.load(None, config.Overrides(device_name="r", device_host="192.0.2.1"), {})
    assert (str(settings.api), str(settings.storage.path)) == (remote.DEFAULT_LISTEN, remote.DEFAULT_JOURNAL)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (None, "cannot be read: No such file"),
        ("[api", "is not TOML"),
        ('api = "off"', "api: must be a table"),
        ('[api]\nlisten = "off"', "api.listen: the API is off"),
        ('[api]\nlisten = "127.0.0.1:0"', "the log says which; give it by --url"),
        ('[api]\nlisten = "8080"', "must be an address and a port"),
        ("[api]\nlisten = 8080", "must be an address and a port"),
        ("[storage]\npath = 5", "storage.path: must be text"),
    ],
)
def test_a_configuration_that_does_not_say_where(exabgp_bfd, tmp_path, text, wrong):
    path = tmp_path / "c.toml"
    if text is not None:
        path.write_text(text)
    status, out, err = exabgp_bfd("why", "dns", "-c", path)
    assert (status, out, len(err)) == (2, [], 1), err
    assert err[0].startswith(f"exabgp-bfd: {path}")
    assert wrong in err[0]


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080",
        "ftp://127.0.0.1",
        "http://",
        "http://127.0.0.1:0",
        "http://127.0.0.1:99999",
        "http://[::1",
        "http://127.0.0.1/?x=y",
        "http://127.0.0.1/#x",
        "http://user:hunter2@127.0.0.1:8080",
        "user:hunter2@127.0.0.1:8080",
        "http://127.0.0.1:8080/?key=hunter2",
        "http://127.0.0.1:8080/#hunter2",
        "http://bücher.example",
        "http://127.0.0.1/a b",
    ],
)
def test_an_address_that_is_none(exabgp_bfd, url):
    status, out, err = exabgp_bfd("why", "dns", "--url", url)
    assert (status, out, len(err)) == (2, [], 1), err
    assert err[0].startswith("exabgp-bfd: --url: ")
    assert "hunter2" not in err[0]


@pytest.mark.parametrize(
    "key", ["two words", "tail\n", "schlüssel", "env:hunter2", "env:", "file:/no/such/hunter2", "file:hunter2", "file:"]
)
def test_a_key_that_can_be_none_is_refused_and_not_shown(exabgp_bfd, key):
    status, out, err = exabgp_bfd("reload", "--url", "http://127.0.0.1:1", "--key", key)
    assert (status, out, len(err)) == (2, [], 1), err
    assert err[0].startswith("exabgp-bfd: --key")
    assert not any(word in err[0] for word in ("two words", "tail", "schlüssel", "hunter2"))


def test_no_proxy_of_the_environment_is_asked(exabgp_bfd, running):
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:1")
    assert exabgp_bfd("why", "dns", "--url", running.url, **proxies)[0] == 0


def test_the_program_in_trouble(exabgp_bfd, running):
    running.box.refusal = StoreError("the disk is full")
    said = key_refused(exabgp_bfd("override", "dns", "drain", "--reason", "x", "-c", running.config))
    assert "the journal refused: the disk is full" in said


def test_an_unknown_service_is_bad_usage_and_names_those_that_there_are(exabgp_bfd, running):
    for words in (
        ["why", "a/b c%"],
        ["override", "a/b c%", "freeze", "--reason", "x"],
        ["override", "a/b c%", "clear"],
    ):
        said = "exabgp-bfd: service: there is no service 'a%2Fb c%'; known: ntp, dns"
        assert exabgp_bfd(*words, "-c", running.config) == (2, [], [said])


def test_an_override_that_there_is_not_is_a_failure(exabgp_bfd, running):
    assert "has no override" in key_refused(exabgp_bfd("override", "dns", "clear", "-c", running.config))


@contextlib.contextmanager
def answering(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of something that listens, reads one request and talks as it likes."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                connection.recv(65536)
                talk(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n", "answers no HTTP"),
        (b"", "answers no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "answers 200 and no JSON object"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "answers 200 and no JSON object"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>", "answers 502 and no JSON object"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n", "answers 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "--json shows it"),
        (b"HTTP/1.1 422 No\r\nContent-Length: 2\r\n\r\n{}", "422"),
        (b'HTTP/1.1 500 No\r\nContent-Length: 18\r\n\r\n{"title": "Sorry"}', "500 Sorry"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_something_else_that_answers(exabgp_bfd, answer, says):
    with answering(lambda connection: connection.sendall(answer)) as url:
        status, out, err = exabgp_bfd("why", "dns", "--url", url, "--key", "the-key-itself")
    assert status in {1, 2}
    assert (out, len(err)) == ([], 1)
    assert says in err[0]
    assert "the-key-itself" not in err[0]


@pytest.mark.parametrize(
    "trickle", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n"]
)
def test_who_does_not_answer_or_trickles_is_given_up(trickle):
    def talk(connection: socket.socket) -> None:
        connection.sendall(trickle)
        deadline = time.monotonic() + 20
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline and trickle:
                connection.sendall(b"x")
                time.sleep(0.02)
            connection.recv(1)

    with answering(talk) as url:
        there = remote.Remote(remote.Whereabouts(url), timeout=0.3)
        with pytest.raises(remote.BfdError, match=r"did not answer within 0\.3 s"):
            there.why("dns")


def test_nobody_shows_the_key(exabgp_bfd, running):
    there = remote.find(None, None, running.config, {})
    assert there.key == Secret(running.key)
    assert running.key not in repr(there)
    for words in (["reload"], ["why", "dns"], ["reload", "--json"], ["override", "x", "freeze", "--reason", "x"]):
        _, out, err = exabgp_bfd(*words, "-c", running.config)
        assert running.key not in "".join([*out, *err])


@pytest.mark.parametrize("status", [200, 401, 422, 503])
def test_a_key_that_is_sent_back_is_not_shown(exabgp_bfd, status):
    key = "a-key-that-nobody-may-see"

    def reflect(sock: socket.socket) -> None:
        sent = f"Authorization: Bearer {key}"
        document = json.dumps({"detail": sent, "errors": [{"place": "a", "detail": sent}], "because": sent}).encode()
        sock.sendall(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%b" % (status, len(document), document))

    with answering(reflect) as url:
        _, out, err = exabgp_bfd("why", "dns", "--json", "--url", url, "--key", key)
    assert "***" in "".join([*out, *err])
    assert key not in "".join([*out, *err])


# --- replay -------------------------------------------------------------------------------------------------------


@pytest.fixture
def rehearsed(monkeypatch):
    """What the rehearsal was asked for; its answers are plain."""
    asked = []

    def run(plan, path, since, until):
        asked.append((plan, path, since, until))
        return "report"

    room = types.ModuleType("exabgp_bfd.replay")
    room.run, room.lines, room.document = run, lambda report: [f"a {report}"], lambda report: {"a": report}
    monkeypatch.setitem(sys.modules, "exabgp_bfd.replay", room)
    monkeypatch.setattr("exabgp_bfd.replay", room, raising=False)
    return asked


def test_replay_runs_the_journal_of_the_new_configuration(exabgp_bfd, rehearsed, file):
    assert exabgp_bfd("replay", "--config", file) == (0, ["a report"], [])
    settings = config.load(file, config.Overrides(), {})
    assert rehearsed == [(settings.plan, settings.storage.path, None, None)]
    status, out, _ = exabgp_bfd("replay", "--config", file, "--db", "/tmp/j.db", "--json")
    assert (status, json.loads("".join(out))) == (0, {"a": "report"})
    assert rehearsed[1][1] == Path("/tmp/j.db")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("90m", 5400), ("2h", 7200), ("7d", 604800), ("1.5 h", 5400), ("999999999d", None)],
)
def test_replay_since_so_long_ago(exabgp_bfd, rehearsed, file, text, seconds):
    before = time.time_ns() // 1000
    assert exabgp_bfd("replay", "--config", file, "--since", text)[0] == 0
    after = time.time_ns() // 1000
    since = rehearsed[0][2]
    if seconds is None:
        assert since == 0
    else:
        assert before <= since + seconds * 1_000_000 <= after


def test_replay_between_two_moments(exabgp_bfd, rehearsed, file):
    times = ["--since", "2025-11-20T12:00:00Z", "--until", "2025-11-20T13:00:00.5+01:00"]
    assert exabgp_bfd("replay", "--config", file, *times)[0] == 0
    noon = (int(NOON) - 365 * 86400) * 1_000_000
    assert rehearsed[0][2:] == (noon, noon + 500_000)


@pytest.mark.parametrize(
    ("times", "wrong"),
    [
        (["--since", "yesterday"], "--since: 'yesterday' is no moment"),
        (["--until", "2026-11-20T12:00:00"], "--until: '2026-11-20T12:00:00' is no moment"),
        (["--since", "2w"], "is no moment"),
        (["--since", "1h", "--until", "2h"], "--since is after --until"),
        (["--since", "2999-01-01T00:00:00Z"], "--since is in the future"),
        (["--since", "2999-01-01T00:00:00Z", "--until", "2999-01-02T00:00:00Z"], "--since is in the future"),
    ],
)
def test_replay_refuses_a_moment_that_is_none(exabgp_bfd, rehearsed, file, times, wrong):
    status, out, err = exabgp_bfd("replay", "--config", file, *times)
    assert (status, out, len(err)) == (2, [], 1)
    assert wrong in err[0]
    assert rehearsed == []


def test_replay_of_a_bad_file(exabgp_bfd, rehearsed, file):
    file.write_text(SERVICE.replace("med = 50", "med = -1"))
    status, _, err = exabgp_bfd("replay", "--config", file)
    assert (status, len(err)) == (2, 1)
    assert rehearsed == []
