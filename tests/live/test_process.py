"""`exabgp-bfd run` as ExaBGP runs it, between two pipes; the test plays ExaBGP, and a simulated router answers.

After every test each process is searched for what none may ever do (`Process.faults`): anything but commands on stdout,
a secret in the log or the API, a traceback.
"""

from __future__ import annotations

import getpass
import itertools
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from lab import free_port, stays, wait_for
from lab.keeping import worker_of
from lab.process import (
    ANNOUNCE,
    COMMUNITY,
    PEER,
    PREFIX,
    PROGRAM,
    SERVICE,
    SHUTDOWN,
    WEBHOOK_SECRET,
    WITHDRAW,
    Inside,
    Process,
    clean_environment,
    silence,
    to_commands,
    toml,
)

from exabgp_bfd import __version__, config
from exabgp_bfd.app import DECIDES_AT_MOST, RETRY_SECONDS, App
from exabgp_bfd.core.model import (
    Action,
    Clear,
    ConfigError,
    Effect,
    Input,
    Lift,
    Observation,
    Order,
    Override,
    Poll,
    Session,
    State,
    StoreError,
    Tick,
    Webhook,
)
from exabgp_bfd.core.written import Deed, DeviceChange
from exabgp_bfd.desk import WebDesk
from exabgp_bfd.starts import StartFile
from exabgp_bfd.storage import database
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.queries import StoredEvent
from exabgp_bfd.storage.reader import Reader
from exabgp_bfd.web.server import WebServer

pytestmark = pytest.mark.live

SESSION = f"edge1/{PEER}"
WAITING = "cannot start yet"
TWO_TRIES = 2 * RETRY_SECONDS + 0.5


@pytest.fixture
def announced(launch, router):
    """A process whose route is announced."""
    process = launch(toml=toml(router.port))
    wait_for(lambda: process.lines == [ANNOUNCE], "announced")
    return process.ready()


def occurrences(text: str, part: str) -> int:
    return sum(part in line for line in text.splitlines())


def answer_of(process: Process, command: int, outcome: str) -> bool:
    return any(
        event["cause"] == command and event["details"]["outcome"] == outcome
        for event in process.events(event_type="route_refused")
    )


# --- setting it up ------------------------------------------------------------------------------------------------


def test_flags_alone_make_a_setup_of_one_device(launch, router, tmp_path):
    port = free_port()
    process = launch(
        *("--device-name", "edge1", "--device-host", f"127.0.0.1:{router.port}", "--snmp-community", COMMUNITY),
        *("--webhook-secret", WEBHOOK_SECRET, "--poll-interval", "0.2", "--prefix", PREFIX),
        *("--listen", f"127.0.0.1:{port}", "--db", str(tmp_path / "own.db")),
    )
    process.api_port = port
    wait_for(lambda: process.get("/sessions"), "the API")
    (started,) = process.events(event_type="started")
    assert started["details"] | {"configuration": None, "pid": None} == {
        "version": __version__,
        "pid": None,
        "user": getpass.getuser(),
        "local_address": "127.0.0.1",
        "listen": f"127.0.0.1:{port}",
        "devices": ["edge1"],
        "services": ["edge1"],
        "lifecycle": {
            "starts": 1,
            "held": 0.0,
            "crashes": 0,
            "crashes_lately": 0,
            "last_crash": None,
            "lease": None,
            "keeper": process.process.pid,
        },
        "configuration": None,
    }
    assert started["details"]["pid"] == worker_of(process.process.pid)
    assert started["source"] == "self"
    assert started["details"]["configuration"]["devices"][0]["community"] == "***"
    assert (tmp_path / "own.db").exists()
    # The defaults: three good samples and ten seconds.
    wait_for(lambda: process.lines == [f"announce route {PREFIX} next-hop self"], "announced")
    router.set(State.DOWN)
    wait_for(lambda: process.lines[1:] == [WITHDRAW], "withdrawn")


def test_variables_alone_make_a_setup_of_one_device(launch, router, tmp_path):
    secret = tmp_path / "community"
    secret.write_text(f"{COMMUNITY}\n")
    port = free_port()
    process = launch(
        env={
            "DEVICE_NAME": "edge9",
            "DEVICE_HOST": f"127.0.0.1:{router.port}",
            "SNMP_COMMUNITY": f"file:{secret}",
            "POLL_INTERVAL": "0.2",
            "EXABGP_BFD_LISTEN": f"127.0.0.1:{port}",
            "EXABGP_BFD_DB": str(tmp_path / "own.db"),
            "EXABGP_BFD_PREFIX": f"{PREFIX}, 2001:db8::53/128",
        }
    )
    process.api_port = port
    wait_for(lambda: (process.get("/sessions") or {}).get("sessions"), "a session")
    assert process.get("/sessions")["sessions"][0]["state"] == "up"
    routes = process.get("/services/edge9")["routes"]
    assert [route["prefix"] for route in routes] == [PREFIX, "2001:db8::53/128"]
    assert process.request("/webhook/failure", b"{}")[0] == 503, "without a secret the webhook is closed"


def test_a_variable_alone_names_the_file(launch, router, tmp_path):
    process = Process(tmp_path, toml=toml(router.port))
    named = launch(env={"EXABGP_BFD_CONFIG": str(process.toml)})
    wait_for(lambda: named.lines == [ANNOUNCE], "announced")


def test_flags_beat_variables_which_beat_the_file(launch, router, tmp_path):
    process = launch(
        *("--poll-interval", "0.3"),
        toml=toml(router.port, '[log]\nlevel = "error"', interval=7.0),
        env={"POLL_INTERVAL": "0.5", "EXABGP_BFD_LOG_LEVEL": "info", "EXABGP_BFD_DB": str(tmp_path / "variable.db")},
    )
    process.ready()
    told = process.events(event_type="started")[0]["details"]["configuration"]
    assert told["devices"][0]["interval"] == 0.3
    assert told["devices"][0]["timeout"] == 0.3  # the file's, which nothing beats
    assert told["log"]["level"] == "info"
    assert (tmp_path / "variable.db").exists()
    assert not process.journal.exists()
    assert " INFO " in process.log()


def test_the_log_file_rotates(launch, router, tmp_path):
    log = f'[log]\nlevel = "debug"\nfile = "{tmp_path / "exabgp-bfd.log"}"\nmax_bytes = 4096\nbackups = 2\n'
    text = toml(router.port, log).replace("[snmp]", "[snmp]\nrecord_polls = true")
    process = launch(toml=text)
    old = [tmp_path / f"exabgp-bfd.log.{number}" for number in (1, 2)]
    wait_for(lambda: all(file.exists() for file in old), "two old files")
    rotated = old[1].read_text()
    wait_for(lambda: old[1].read_text() != rotated, "the oldest gave way")
    files = sorted(tmp_path.glob("exabgp-bfd.log*"))
    assert files == [process.log_file, *old]
    first = old[1].read_text().splitlines()[0]
    wait_for(lambda: first in process.log(), "the same lines on stderr")


# --- a bad start --------------------------------------------------------------------------------------------------

BAD = {
    "not TOML": ("[[device", "is not TOML"),
    "an unknown key": (toml(1).replace("hold_up", "hold_upp"), "service[0].hold_upp: unknown key"),
    "an unknown device": (toml(1).replace("edge1/", "edge7/"), "there is no device edge7"),
    "a bad prefix": (toml(1).replace(PREFIX, "203.0.113.53/24"), "has host bits set"),
}


@pytest.mark.parametrize("case", BAD)
def test_at_a_terminal_a_bad_file_is_one_line_and_status_2(case, tmp_path):
    text, wrong = BAD[case]
    file = tmp_path / "bad.toml"
    file.write_text(text)
    # stdin is no pipe: nobody but ExaBGP gives two.
    ended = subprocess.run(
        [PROGRAM, "run", "--config", file],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=clean_environment(),
        timeout=30,
        check=False,
    )
    lines = ended.stderr.decode().splitlines()
    assert (ended.returncode, ended.stdout, len(lines)) == (2, b"", 1), lines
    assert lines[0].startswith(f"exabgp-bfd: {file}: ")
    assert wrong in lines[0]


def test_at_a_terminal_a_journal_that_cannot_be_written_is_one_line_and_status_1(tmp_path):
    (tmp_path / "file").touch()
    ended = subprocess.run(
        [PROGRAM, "run", "--device-name", "a", "--device-host", "127.0.0.1", "--db", tmp_path / "file" / "j.db"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=clean_environment(),
        timeout=30,
        check=False,
    )
    lines = ended.stderr.decode().splitlines()
    assert (ended.returncode, ended.stdout, len(lines)) == (1, b"", 1), lines
    assert "the journal cannot be written" in lines[0]


def test_under_exabgp_a_bad_file_is_said_once_and_waited_out(launch, router):
    process = launch(toml=BAD["not TOML"][0])
    for said, (text, wrong) in enumerate(BAD.values(), 1):
        process.write_toml(text)
        wait_for(lambda wrong=wrong: wrong in process.log(), f"{wrong!r} on stderr")
        assert occurrences(process.log(), WAITING) == said
    assert all(re.match(r"\d{4}-\d\d-\d\dT\S+Z ERROR exabgp_bfd", line) for line in process.log().splitlines())
    assert process.write_within(b'{ "exabgp": "5.0.0", "type": "state" }\n' * 26_000)  # 1 MB
    stays(lambda: process.running and occurrences(process.log(), WAITING) == len(BAD), "said once", TWO_TRIES)
    assert not process.lines
    process.write_toml(toml(router.port))
    wait_for(lambda: process.lines == [ANNOUNCE], "started by itself")
    counted = [process.ready().metric(f"exabgp_bfd_messages_{what}_total") for what in ("read", "dropped")]
    assert counted == [26_000, 0], "each message counted once, and kept until there was a journal"


def test_under_exabgp_one_line_says_how_much_is_wrong(launch):
    process = launch(toml=toml(1).replace("hold_up", "hold_upp").replace("rise", "risse"))
    wait_for(lambda: WAITING in process.log(), "said")
    assert "service[0].risse: unknown key" in process.log()
    assert "and 1 more: `exabgp-bfd check` tells all of it" in process.log()
    assert len(process.log().splitlines()) == 1


def test_under_exabgp_even_a_fault_of_ours_is_waited_out(tmp_path, router):
    attempts: list[int] = []

    def load(_: Path | None = None) -> config.Settings:
        attempts.append(1)
        if len(attempts) == 1:
            raise RuntimeError("what nobody thought of")
        return settings(tmp_path, router.port)

    inside = Inside(load)
    assert inside.play(lambda _: wait_for(lambda: inside.lines == [ANNOUNCE], "started by itself") and None) == 0
    assert len(attempts) == 2


def test_under_exabgp_a_wrong_flag_holds(launch):
    process = launch("--no-such-flag")
    wait_for(lambda: "No such option '--no-such-flag'" in process.log(), "said")
    assert process.write_within(b"x" * 99 + b"\n" * 10_000)
    stays(lambda: process.running, "it stays", 1.0)
    process.close_stdin()
    assert process.wait() == 0
    assert not process.lines


@pytest.mark.parametrize("end", ["SIGTERM", "the line that ExaBGP ends", "an end of file"])
def test_what_waits_for_its_remedy_ends_when_it_is_told_to(launch, end):
    process = launch(toml="[[device")
    wait_for(lambda: WAITING in process.log(), "waiting")
    if end == "SIGTERM":
        process.signal(signal.SIGTERM)
    elif end == "an end of file":
        process.close_stdin()
    else:
        process.write(SHUTDOWN)
    assert process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_what_waits_for_its_remedy_outlives_a_signal(launch, router, number):
    process = launch(toml="[[device")
    wait_for(lambda: WAITING in process.log(), "waiting")
    process.signal(number)
    process.write_toml(toml(router.port))
    wait_for(lambda: process.lines == [ANNOUNCE], "started by itself")


def test_a_log_file_that_cannot_be_written_is_waited_out(launch, router, tmp_path):
    process = launch(toml=toml(router.port, f'[log]\nfile = "{tmp_path / "missing" / "a.log"}"'))
    wait_for(lambda: "cannot write" in process.log(), "said")
    # The remedy is in the file, not on the disk.
    process.write_toml(toml(router.port, f'[log]\nfile = "{process.log_file}"'))
    wait_for(lambda: process.lines == [ANNOUNCE], "started by itself")
    wait_for(lambda: "route_announce" in process.log_file.read_text(), "a line in the log file")
    assert occurrences(process.log(), WAITING) == 1
    assert f'"sessions": {{"{SESSION}": "up"}}' in process.log_file.read_text()
    assert '"configuration"' not in process.log_file.read_text()


def test_a_log_begun_before_the_start_failed_follows_its_corrected_settings(launch, router, tmp_path):
    (tmp_path / "file").touch()
    head = (
        f'[storage]\npath = "{tmp_path / "file" / "j.db"}"\n[log]\nlevel = "error"\nfile = "{tmp_path / "old.log"}"\n'
    )
    process = Process(tmp_path, toml="", name="unused")
    process.write_toml(head + toml(router.port), head=False)
    process = launch("--config", str(process.toml))
    wait_for(lambda: "the journal cannot be written" in process.log(), "said")
    wait_for(lambda: WAITING in (tmp_path / "old.log").read_text(), "in the log as well")
    process.write_toml(toml(router.port, f'[log]\nlevel = "info"\nfile = "{process.log_file}"'))
    wait_for(lambda: process.lines == [ANNOUNCE], "started by itself")
    wait_for(lambda: "route_announce" in process.log_file.read_text(), "in the new file")
    assert "route_announce" not in (tmp_path / "old.log").read_text()


def test_a_journal_below_a_file_is_waited_out(launch, router, tmp_path):
    blocking = tmp_path / "folder"
    blocking.touch()
    process = launch("--db", str(blocking / "journal.db"), toml=toml(router.port))
    wait_for(lambda: "the journal cannot be written" in process.log(), "said")
    stays(lambda: process.running and occurrences(process.log(), WAITING) == 1, "said once", TWO_TRIES)
    blocking.unlink()
    wait_for(lambda: process.lines == [ANNOUNCE], "started by itself")
    assert (blocking / "journal.db").exists()


def test_a_journal_below_a_file_is_remedied_in_the_configuration(launch, router, tmp_path):
    (tmp_path / "file").touch()
    process = Process(tmp_path, toml="", name="unused")
    process.write_toml(f'[storage]\npath = "{tmp_path / "file" / "j.db"}"\n' + toml(router.port), head=False)
    process = launch("--config", str(process.toml))
    wait_for(lambda: "the journal cannot be written" in process.log(), "said")
    process.write_toml(toml(router.port))
    wait_for(lambda: process.lines == [ANNOUNCE], "started by itself")


def test_an_snmp_engine_that_is_not_installed_is_waited_out(launch, router, tmp_path):
    # An empty package in front of the real one.
    (tmp_path / "gufo").mkdir()
    (tmp_path / "gufo" / "__init__.py").touch()
    wrong = toml(router.port).replace("[snmp]", '[snmp]\nengine = "gufo"')
    process = launch(toml=wrong, env={"PYTHONPATH": str(tmp_path)})
    wait_for(lambda: "is not installed" in process.log(), "said")
    stays(lambda: process.running and occurrences(process.log(), WAITING) == 1, "said once", TWO_TRIES)
    process.write_toml(toml(router.port))
    wait_for(lambda: process.lines == [ANNOUNCE], "started by itself")


def test_a_journal_of_another_instance_is_waited_for(launch, router, announced):
    second = launch("--listen", "off", toml=toml(router.port))
    wait_for(
        lambda: f"in use by another exabgp-bfd (process {worker_of(announced.process.pid)})" in second.log(), "said"
    )
    stays(lambda: not second.lines and occurrences(second.log(), WAITING) == 1, "it only waits", TWO_TRIES)
    assert announced.running
    announced.close_stdin()
    announced.wait()
    wait_for(lambda: second.lines == [ANNOUNCE], "it goes on")


def test_a_port_in_use_holds_up_the_api_and_nothing_else(launch, router):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        process = launch("--listen", f"127.0.0.1:{port}", toml=toml(router.port))
        wait_for(lambda: f"127.0.0.1:{port} is in use" in process.log(), "said")
        wait_for(lambda: process.lines == [ANNOUNCE], "announced without an API")
        router.set(State.DOWN)
        wait_for(lambda: process.lines[1:] == [WITHDRAW], "withdrawn without an API")
        stays(lambda: occurrences(process.log(), "the API is not served yet") == 1, "said once", TWO_TRIES)
    process.api_port = port
    wait_for(lambda: process.get("/healthz"), "the API comes up by itself")
    wait_for(lambda: occurrences(process.log(), "the API listens on") == 1, "said, a moment after it answers")


# --- routers that are not as they should be -----------------------------------------------------------------------


def test_a_wrong_community_is_not_knowing(launch, router):
    wrong = "an0ther-c0mmunity"
    process = launch(toml=toml(router.port).replace(COMMUNITY, wrong))
    process.ready()
    wait_for(lambda: process.get("/health")["status"] == "degraded", "degraded")
    devices = process.get("/health")["devices"]
    assert (devices["total"], devices["reachable"]) == (1, 0)
    assert "is the community right" in devices["troubled"]["edge1"]
    assert not process.get("/sessions")["sessions"]
    (leg,) = process.get("/services/dns")["sessions"]
    assert leg.pop("why")
    assert leg == {"session": SESSION, "state": "unknown", "counts_as": "undecided"}
    assert process.metric('exabgp_bfd_device_reachable{device="edge1"}') == 0
    stays(lambda: not process.lines, "nothing is said", 2.0)  # twice `stale_after`
    assert "is the community right" in process.log()
    process.look()
    assert wrong not in process.log() + process._shown


def test_the_api_tells_why_a_device_is_silent(launch, router):
    process = launch(toml=toml(router.port).replace(COMMUNITY, "an0ther-c0mmunity")).ready()
    assert "is the community right" in json.dumps(process.get("/health")) + json.dumps(process.get("/sessions"))


def test_an_agent_that_answers_garbage_is_not_knowing(announced, router):
    port = router.port
    router.stop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", port))
        agent.settimeout(0.1)
        ending = threading.Event()

        def chatter() -> None:
            while not ending.is_set():
                try:
                    _, sender = agent.recvfrom(65536)
                except TimeoutError:
                    continue
                for answer in (b"\x30\x82\xff\xff" + os.urandom(100), b"\x00", b"HTTP/1.1 400 Bad Request\r\n"):
                    agent.sendto(answer, sender)

        thread = threading.Thread(target=chatter)
        thread.start()
        try:
            wait_for(lambda: announced.get("/sessions")["sessions"][0]["state"] == "unknown", "unknown")
            wait_for(lambda: "are no SNMP response" in announced.log(), "the log says why")
            stays(lambda: announced.lines == [ANNOUNCE], "the route stays", 1.0)
        finally:
            ending.set()
            thread.join()
    assert announced.get("/services/dns")["state"] == "announced"


# --- what comes from ExaBGP ---------------------------------------------------------------------------------------


def test_lines_that_nobody_can_read_harm_nothing(announced, router):
    announced.write(b'{ "exabgp": "5.0.0", "type": "upd\n')
    noted = wait_for(lambda: announced.events(event_type="message_quarantined"), "an event")
    assert noted[0]["details"]["count"] == 1
    assert "not JSON" in noted[0]["details"]["last"]
    announced.write(b'{ "exabgp": \xff\xfe\x00 }\n{ "exabgp": "5.0.0", "type": 7 }\n')
    wait_for(lambda: announced.metric("exabgp_bfd_messages_quarantined_total") == 3, "counted")
    announced.write(b"no JSON at all\n[1, 2]\n" + os.urandom(65536) + b"\n\0\n")
    router.set(State.DOWN)
    wait_for(lambda: announced.lines[1:] == [WITHDRAW], "it still works")
    wait_for(lambda: announced.get("/services/dns")["routes"][0]["accepted"], "and its answers are matched")


def test_an_error_is_recorded_as_a_refusal(launch, router):
    process = launch(toml=toml(router.port))
    process.answers = to_commands(lambda _: b"error: could not parse the route\nerror\n")
    # The oldest of each: after a while it is said again.
    refused = wait_for(lambda: process.events(event_type="route_refused"), "refused")[-1]
    assert refused["details"] == {"prefix": PREFIX, "outcome": "error", "text": "error: could not parse the route"}
    announce = process.events(event_type="route_announce")[-1]
    assert refused["cause"] == announce["id"]
    assert refused["source"] == "exabgp"
    assert process.get("/services/dns")["routes"][0]["accepted"] is False
    assert process.metric('exabgp_bfd_exabgp_answers_total{answer="error"}') >= 1


def test_without_an_answer_the_next_ones_are_still_matched(launch, router):
    process = launch(toml=toml(router.port, "[speaker]\nack_timeout = 0.3"))
    process.answers = to_commands(silence)
    # Seen in the log, which is quicker than the API: it is said again after a while.
    wait_for(lambda: "route_refused" in process.log(), "refused")
    # Now the late answer to the announce, and then the one to the withdraw: a refusal.
    process.answers = to_commands(lambda _: b"done\nerror\n")
    router.set(State.DOWN)
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "withdrawn")
    withdraw = wait_for(lambda: process.decisions("route_withdraw"), "recorded")[-1]
    wait_for(lambda: answer_of(process, withdraw["id"], "error"), "the refusal of the withdraw")
    (announce,) = process.events(event_type="route_announce")
    assert answer_of(process, announce["id"], "timeout")
    assert {event["details"]["outcome"] for event in process.events(event_type="route_refused")} == {"timeout", "error"}


# --- webhooks -----------------------------------------------------------------------------------------------------

REPORT = b'{"device": "edge1", "reason": "link_failure", "evidence": {"port": "xe-0/0/1"}}'


def signed(body: bytes, secret: str = WEBHOOK_SECRET) -> dict[str, str]:
    """The header as `exabgp-bfd sign` prints it."""
    ended = subprocess.run(
        [PROGRAM, "sign", "-"],
        input=body,
        capture_output=True,
        env=clean_environment(WEBHOOK_HMAC_SECRET=secret),
        timeout=30,
        check=True,
    )
    name, _, value = ended.stdout.decode().strip().partition(": ")
    return {name: value, "Content-Type": "application/json"}


def test_a_signed_webhook_is_on_disk_and_the_device_asked_at_once(launch, router):
    process = launch(toml=toml(router.port, interval=600.0))
    wait_for(lambda: process.lines == [ANNOUNCE], "announced")
    before = wait_for(lambda: router.requests, "asked once")
    stays(lambda: router.requests == before, "asked no more", 0.5)
    router.set(State.DOWN)
    status, body = process.request("/webhook/failure", REPORT, signed(REPORT))
    assert status == 202
    number = json.loads(body)["id"]
    (event,) = process.events(event_type="link_failure")
    assert event["id"] == number
    assert event["device"] == "edge1"
    assert event["source"] == "webhook"
    assert event["details"] == {"port": "xe-0/0/1"}
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "asked out of turn, and withdrawn")
    process.signal(signal.SIGKILL)
    process.wait()
    with sqlite3.connect(process.journal) as journal:
        rows = journal.execute("SELECT event_type FROM event WHERE id = ?", (number,)).fetchall()
    journal.close()
    assert rows == [("link_failure",)]


def test_a_webhook_without_its_signature_changes_nothing(launch, router):
    process = launch(toml=toml(router.port, interval=600.0)).ready()
    right = signed(REPORT)["X-Hub-Signature-256"]
    wrong = {
        "missing": None,
        "empty": "",
        "without a scheme": right.removeprefix("sha256="),
        "of another scheme": right.replace("sha256", "sha1"),
        "too short": right[:-1],
        "too long": f"{right}0",
        "no hexadecimal": f"{right[:-1]}g",
        "of another secret": signed(REPORT, "another")["X-Hub-Signature-256"],
        "of another body": signed(REPORT + b" ")["X-Hub-Signature-256"],
    }
    before = wait_for(lambda: router.requests, "asked once")
    for case, value in wrong.items():
        headers = {} if value is None else {"X-Hub-Signature-256": value}
        status, body = process.request("/webhook/failure", REPORT, headers)
        assert status == 401, case
        assert right not in body.decode()
    assert router.requests == before
    assert not process.events(event_type="link_failure")
    assert process.metric('exabgp_bfd_webhooks_total{outcome="unsigned"}') == len(wrong)


def test_a_webhook_does_not_wait_for_bgp_messages(tmp_path, router, monkeypatch):
    """Events have their own way to the disk: messages that it does not take are no reason to refuse a report."""

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Journal, "_write_lines", refuse)
    inside = Inside(lambda: settings(tmp_path, router.port))
    numbers: list[int] = []

    def report(app: App) -> None:
        wait_for(lambda: inside.lines, "announced")
        inside.write(b'{ "exabgp": "5.0.0", "type": "state" }\n')
        wait_for(lambda: app._journal is not None and app._journal.counters().queued_messages, "a message waits")
        numbers.extend(app.accept([Webhook("edge1", "link_failure", {})], None, 5.0).events)

    assert inside.play(report) == 0
    assert numbers


# --- its end ------------------------------------------------------------------------------------------------------


def last_event(process: Process) -> tuple[str, dict]:
    """The newest event on the disk, once the process is gone."""
    journal = sqlite3.connect(process.journal)
    kind, details = journal.execute("SELECT event_type, details FROM event ORDER BY id DESC LIMIT 1").fetchone()
    journal.close()
    return kind, json.loads(details)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_time_and_keeps_the_routes(announced, number):
    if number is signal.SIGINT:
        announced.signal(number)
        assert announced.wait() == 0
    else:
        assert announced.end_as_exabgp_does() == 0
    assert announced.lines == [ANNOUNCE]
    assert last_event(announced) == ("stopped", {"reason": number.name, "withdraw": False})
    assert f"stopped: {number.name}" in announced.log()


def test_on_exit_withdraws_when_an_operator_asked_for_it(launch, router):
    process = launch(toml=toml(router.port, '[speaker]\non_exit = "withdraw"'))
    wait_for(lambda: process.lines == [ANNOUNCE], "announced")
    assert process.end_as_exabgp_does() == 0
    assert process.lines == [ANNOUNCE, WITHDRAW]
    journal = sqlite3.connect(process.journal)
    rows = journal.execute("SELECT route FROM remembered").fetchall()
    journal.close()
    assert rows == [(None,)]


def test_a_second_sigterm_does_not_take_the_withdraw_away(tmp_path, router):
    inside = Inside(lambda: settings(tmp_path, router.port, '[speaker]\non_exit = "withdraw"'))

    def twice(app: App) -> None:
        wait_for(lambda: inside.lines == [ANNOUNCE], "announced")
        # Both in one turn of the loop, as `kill` twice in a row may well arrive.
        app.call(lambda: [app._signalled(signal.SIGTERM) for _ in range(2)], 5.0)
        wait_for(lambda: inside.lines == [ANNOUNCE, WITHDRAW], "withdrawn")

    assert inside.play(twice) == 0


def test_nothing_is_announced_after_the_last_word(tmp_path, router):
    inside = Inside(lambda: settings(tmp_path, router.port, '[speaker]\non_exit = "withdraw"', confirm=False))
    session = Session("edge1", PEER)

    def flap(app: App) -> None:
        for state in (State.DOWN, State.UP):
            app.handle(Poll("edge1", (Observation(session, state),)))

    def end(app: App) -> None:
        wait_for(lambda: inside.lines == [ANNOUNCE], "announced")
        inside.answers = silence  # so that it waits
        app.call(lambda: app._signalled(signal.SIGTERM), 5.0)
        wait_for(lambda: inside.lines == [ANNOUNCE, WITHDRAW], "withdrawn")
        app.call(lambda: flap(app), 5.0)
        with pytest.raises(StoreError):
            app.accept([Webhook("edge1", "link_failure", {})], None, 5.0)

    assert inside.play(end) == 0
    assert inside.lines == [ANNOUNCE, WITHDRAW]


def test_a_request_that_waits_does_not_hold_up_the_end(announced):
    """ExaBGP kills two seconds after its SIGTERM: a report that waits for a locked journal may not take them all."""
    journal = sqlite3.connect(announced.journal, isolation_level=None)
    headers = signed(REPORT)
    journal.execute("BEGIN IMMEDIATE")
    try:
        client = threading.Thread(target=announced.request, args=("/webhook/failure", REPORT, headers))
        client.start()
        wait_for(lambda: announced.metric("exabgp_bfd_store_errors_total"), "the journal refuses")
        assert announced.end_as_exabgp_does() == 0
        client.join()
    finally:
        journal.execute("ROLLBACK")
        journal.close()


def test_the_end_of_exabgp_ends_it_without_a_withdraw(launch, router):
    process = launch(toml=toml(router.port, '[speaker]\non_exit = "withdraw"'))
    wait_for(lambda: process.lines == [ANNOUNCE], "announced")
    process.write(SHUTDOWN)
    assert process.wait() == 0
    assert process.lines == [ANNOUNCE]
    assert last_event(process) == ("stopped", {"reason": "ExaBGP is shutting down", "withdraw": False})


def test_an_end_of_file_ends_it_without_a_withdraw(launch, router):
    process = launch(toml=toml(router.port, '[speaker]\non_exit = "withdraw"'))
    wait_for(lambda: process.lines == [ANNOUNCE], "announced")
    process.close_stdin()
    assert process.wait() == 0
    assert process.lines == [ANNOUNCE]
    assert last_event(process) == ("stopped", {"reason": "stdin was closed: ExaBGP is gone", "withdraw": False})


def test_a_withdraw_that_exabgp_has_not_taken_yet_leaves_before_we_end(tmp_path, router):
    """Routes are kept at the end, but what was withdrawn before must not stay announced for want of a moment."""
    inside = Inside(lambda: settings(tmp_path, router.port, confirm=False))
    held = threading.Event()

    def end(app: App) -> None:
        wait_for(lambda: inside.lines == [ANNOUNCE], "announced")

        def full_then_free() -> None:
            write = app.pipe._write_more
            app.pipe._rest = b"# a line that was begun\n"
            app.handle(Poll("edge1", (Observation(Session("edge1", PEER), State.DOWN),)))
            app.loop.call_later(0.2, write)
            held.set()

        app.call(full_then_free, 5.0)
        app.call(lambda: app._signalled(signal.SIGTERM), 5.0)
        wait_for(lambda: inside.lines[-1] == WITHDRAW, "withdrawn before the end")

    assert inside.play(end) == 0
    assert held.is_set()


def test_answers_are_counted_by_what_they_were(announced):
    wait_for(lambda: announced.metric('exabgp_bfd_exabgp_answers_total{answer="done"}') == 1, "counted")


def test_sigusr1_asks_every_device_now(launch, router):
    process = launch(toml=toml(router.port, interval=600.0))
    wait_for(lambda: process.lines == [ANNOUNCE], "announced")
    router.set(State.DOWN)
    stays(lambda: process.lines == [ANNOUNCE], "not asked before its turn", 0.5)
    process.signal(signal.SIGUSR1)
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "asked at once")


# --- its next life ------------------------------------------------------------------------------------------------


def test_killed_and_started_by_the_same_exabgp_it_says_nothing_until_it_knows(launch, announced, router):
    announced.signal(signal.SIGKILL)
    announced.wait()
    router.silent(True)
    second = launch(toml=toml(router.port)).ready()
    assert second.get("/services/dns")["adopted"] is True
    stays(lambda: not second.lines, "adopted silently", 2.0)
    assert second.get("/services/dns")["state"] == "announced"
    router.silent(False)
    wait_for(lambda: not second.get("/services/dns")["adopted"], "decided")
    # Its predecessor may have died between a command and its record, so the decision is said; ExaBGP knows it already.
    assert second.lines == [ANNOUNCE]
    started = second.events(event_type="started")
    assert len(started) == 2
    assert not second.events(event_type="route_withdraw")


def test_started_by_another_exabgp_it_announces_again_at_once(launch, announced, router):
    announced.signal(signal.SIGKILL)
    announced.wait()
    router.silent(True)
    second = launch(toml=toml(router.port), foster=True)
    wait_for(lambda: second.lines == [ANNOUNCE], "announced again, though nothing is known")
    second.ready()
    assert "ExaBGP started anew" in second.events(event_type="route_announce")[0]["details"]["rule"]
    # Of a predecessor that is long dead nothing is taken up.
    second.close_stdin()
    second.wait()
    third = launch(toml=toml(router.port, "[speaker]\nadopt_within = 0.0"), foster=True)
    third.ready()
    stays(lambda: not third.lines, "nothing is taken up", 1.0)


# --- the inside ---------------------------------------------------------------------------------------------------


def settings(folder: Path, port: int, more: str = "", *, confirm: bool = True) -> config.Settings:
    file = folder / "inside.toml"
    head = f'[storage]\npath = "{folder / "inside.db"}"\n[api]\nlisten = "127.0.0.1:0"\n'
    service = SERVICE + f"confirm = {str(confirm).lower()}\n"
    file.write_text(head + toml(port, more, service=service))
    return config.load(file, config.Overrides(), {})


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_each_resource_has_one_owner(tmp_path, router, monkeypatch):
    before = threads()
    writers: set[str] = set()
    connections: set[tuple[str, str]] = set()
    write, connect = os.write, database.connect
    inside = Inside(lambda: settings(tmp_path, router.port))

    def writing(descriptor: int, data: bytes) -> int:
        if data.startswith((b"announce ", b"withdraw ")):
            writers.add(threading.current_thread().name)
        return write(descriptor, data)

    def connecting(path: Path, mode: str, *rest: object, **more: object) -> sqlite3.Connection:
        connections.add((mode, threading.current_thread().name))
        return connect(path, mode, *rest, **more)

    def look(app: App) -> None:
        wait_for(lambda: inside.lines == [ANNOUNCE], "announced")
        router.set(State.DOWN)
        wait_for(lambda: inside.lines == [ANNOUNCE, WITHDRAW], "withdrawn")
        wait_for(lambda: "web" in threads(), "the web")
        app.accept([Webhook("edge1", "link_failure", {})], None, 5.0)
        ours = {name.rstrip("0123456789_-") for name in threads() - before}
        # `asyncio` builds the web, `(_monitor)` is the log's, the last two are this test's.
        assert {name for name in ours if "_monitor" not in name} <= {
            *("stdin", "journal", "web", "asyncio", "played ExaBGP", "test"),
        }
        assert {"stdin", "journal", "web"} <= ours
        assert sum("_monitor" in name for name in threads() - before) == 1
        # The main thread opens the journal, before the writer has it.
        assert {thread for mode, thread in connections if mode != "ro"} == {"MainThread", "journal"}
        connections.clear()
        app.accept([Webhook("edge1", "link_failure", {})], None, 5.0)
        assert not {thread for mode, thread in connections if mode != "ro"} - {"journal"}

    monkeypatch.setattr(os, "write", writing)
    monkeypatch.setattr(database, "connect", connecting)
    assert inside.play(look) == 0
    assert writers == {"MainThread"}
    assert threads() == before


def test_a_start_and_its_end_leave_nothing_behind(tmp_path, router):
    def live(after: str) -> tuple[set[str], set[str]]:
        """Threads and descriptors there are after a life of the process."""
        inside = Inside(lambda: settings(tmp_path, router.port))

        def look(app: App) -> None:
            if after == "a while":
                wait_for(lambda: inside.lines, "announced")
                wait_for(lambda: app.pipe.open and "web" in threads(), "the web")

        assert inside.play(look) == 0
        return threads(), {link.name for link in Path("/proc/self/fd").iterdir()}

    first = live("a while")  # what libraries keep for ever
    assert live("a while") == first
    assert live("no time at all") == first
    assert live("a while") == first


def journalled(folder: Path, number: int) -> StoredEvent:
    reader = Reader(folder / "inside.db")
    try:
        event = reader.event(number)
    finally:
        reader.close()
    assert event is not None
    return event


def test_an_order_gets_the_id_of_its_own_event(tmp_path, router, monkeypatch):
    """And not of what fell due in the same breath."""
    inside = Inside(lambda: settings(tmp_path, router.port))

    def order(app: App) -> None:
        wait_for(lambda: inside.lines == [ANNOUNCE], "announced")
        monkeypatch.setattr(app._watch, "overslept", lambda _: None)  # a stall is told in a breath of its own
        now = time.time()
        short = Override("dns", Action.FREEZE, "noc", "short", now, now + 0.4)
        assert journalled(tmp_path, app.order(Order(short), 5.0)).event.event_type == "override_set"
        app.loop.call_soon_threadsafe(time.sleep, 0.6)  # the next one comes when this one has just expired
        number = app.order(Order(Override("dns", Action.DRAIN, "noc", "next", time.time())), 5.0)
        own = journalled(tmp_path, number).event
        assert (own.event_type, own.service, own.details["action"]) == ("override_set", "dns", "drain")
        assert journalled(tmp_path, number - 1).event.event_type == "override_expired"
        cleared = journalled(tmp_path, app.order(Clear("dns", "noc", "done"), 5.0)).event
        assert (cleared.event_type, cleared.details["was"]["reason"]) == ("override_cleared", "next")
        lifted = journalled(tmp_path, app.order(Order(Lift("noc", "all go", time.time())), 5.0)).event
        assert (lifted.event_type, lifted.service) == ("override_set", None)

    assert inside.play(order) == 0


def test_an_order_that_the_engine_refuses_after_all_is_refused(tmp_path, router, monkeypatch):
    inside = Inside(lambda: settings(tmp_path, router.port))

    def order(app: App) -> None:
        wait_for(lambda: inside.lines == [ANNOUNCE], "announced")
        said = iter([None, ConfigError("service", "it left a moment ago")])
        monkeypatch.setattr(app._engine, "objection", lambda *_: next(said))
        with pytest.raises(ConfigError, match="it left a moment ago"):
            app.order(Order(Override("dns", Action.WITHDRAW, "noc", "x", time.time())), 5.0)

    assert inside.play(order) == 0
    assert inside.lines == [ANNOUNCE]


def test_an_input_that_the_engine_does_not_take_ends_nothing(tmp_path, router, monkeypatch, caplog):
    inside = Inside(lambda: settings(tmp_path, router.port, confirm=False))

    def fail(app: App) -> None:
        wait_for(lambda: inside.lines == [ANNOUNCE], "announced")
        assert app._engine is not None
        desk = WebDesk(app, Reader(tmp_path / "inside.db"))
        assert desk.alive(5.0)
        handle, fault = app._engine.handle, LookupError("a fault of ours")

        def broken(event: Input, now: float) -> list[Effect]:
            if isinstance(event, Webhook):
                raise fault
            return handle(event, now)

        monkeypatch.setattr(app._engine, "handle", broken)
        for _ in range(3):
            with pytest.raises(StoreError):
                app.accept([Webhook("edge1", "link_failure", {})], None, 5.0)
        assert app.faults == ["engine"]
        assert not desk.alive(5.0)
        assert "the engine did not take an input by a fault" in " ".join(desk.ready())
        told = [record for record in caplog.records if "did not take a Webhook" in record.getMessage()]
        assert len(told) == 1, "not each time"
        assert told[0].exc_info
        router.set(State.DOWN)
        wait_for(lambda: inside.lines == [ANNOUNCE, WITHDRAW], "it still decides")
        router.set(State.UP)
        wait_for(lambda: inside.lines == [ANNOUNCE, WITHDRAW, ANNOUNCE], "and its timers still come")

    assert inside.play(fail) == 0


def test_a_timer_that_fails_comes_again_and_does_not_keep_the_loop_busy(tmp_path, router, monkeypatch):
    inside = Inside(lambda: settings(tmp_path, router.port))
    ticks: list[float] = []

    def fail(app: App) -> None:
        wait_for(lambda: inside.lines == [ANNOUNCE], "announced")
        assert app._engine is not None
        handle, fault = app._engine.handle, LookupError("a fault of ours")

        def broken(event: Input, now: float) -> list[Effect]:
            if isinstance(event, Tick):
                ticks.append(now)
                raise fault
            return handle(event, now)

        monkeypatch.setattr(app._engine, "handle", broken)
        monkeypatch.setattr(app._engine, "next_deadline", lambda: 0.0)
        wait_for(lambda: len(ticks) >= 3, "it comes again")
        # Between two that fail nothing else fails, so each waits a second for the next.
        assert len(ticks) < 20
        monkeypatch.undo()

    assert inside.play(fail) == 0


def test_of_two_reloads_the_file_that_was_read_last_holds(tmp_path, router):
    read: list[int] = []
    entered, free = threading.Event(), threading.Event()

    def load() -> config.Settings:
        number = len(read)
        read.append(number)
        text = settings(tmp_path, router.port)
        if number == 1:
            entered.set()
            free.wait(10)
        service = text.plan.services[0]
        routes = tuple(replace(route, med=number) for route in service.routes)
        return replace(text, plan=replace(text.plan, services=(replace(service, routes=routes),)))

    inside = Inside(load)

    def reload(app: App) -> None:
        wait_for(lambda: inside.lines == [f"{ANNOUNCE} med 0"], "announced")
        older = threading.Thread(target=app.reload, args=("older", 30.0))
        older.start()
        assert entered.wait(30)
        with pytest.raises(TimeoutError, match="another reload is under way"):
            app.reload("impatient", 0.1)
        newer = threading.Thread(target=app.reload, args=("newer", 30.0))
        newer.start()
        # Signals wait as well, and as many as come say no more than one.
        app.call(lambda: [app._hung_up() for _ in range(50)], 5.0)
        time.sleep(0.3)
        assert read == [0, 1], "the others wait"
        free.set()
        older.join(30)
        newer.join(30)
        wait_for(lambda: len(read) == 4, "each read once")
        wait_for(lambda: inside.lines[-1] == f"{ANNOUNCE} med 3", "the last one holds")
        stays(lambda: len(read) == 4, "one reload for all signals", 0.5)
        # Those between may have been overtaken: one word for a route waits until the one before has left ExaBGP.
        assert inside.lines[0] == f"{ANNOUNCE} med 0"
        app.call(app._hung_up, 5.0)
        wait_for(lambda: inside.lines[-1] == f"{ANNOUNCE} med 4", "a later signal counts again")

    assert inside.play(reload) == 0


def test_changes_of_devices_leave_the_loop_to_decisions(tmp_path, router, monkeypatch):
    """However fast they are asked for, and however long each holds up the loop."""
    inside = Inside(lambda: settings(tmp_path, router.port))
    held: list[tuple[float, float]] = []

    def added(app: App, name: str) -> None:
        app.change_device(DeviceChange(Deed.ADD, None, "noc", {"name": name, "host": "127.0.0.1"}), 20.0)

    def change(app: App) -> None:
        wait_for(lambda: inside.lines == [ANNOUNCE], "announced")
        take = app._changed

        def slowly(*what: object) -> object:
            began = time.monotonic()
            time.sleep(0.1)
            done = take(*what)
            held.append((began, time.monotonic()))
            return done

        monkeypatch.setattr(app, "_changed", slowly)
        for number in range(3):
            added(app, f"edge{number + 2}")
        for (began, ended), (next_began, _) in itertools.pairwise(held):
            assert next_began - ended >= 9 * (ended - began) * 0.99
        with pytest.raises(TimeoutError, match="so soon"):
            app.change_device(DeviceChange(Deed.ADD, None, "noc", {"name": "x", "host": "127.0.0.1"}), 0.2)
        assert app._decides_until - time.monotonic() < DECIDES_AT_MOST

        def too_late() -> None:
            with pytest.raises(TimeoutError, match="stopping"):
                added(app, "edge8")
            refused.set()

        waiting, refused = threading.Thread(target=too_late), threading.Event()
        app._decides_until = time.monotonic() + 19.0
        waiting.start()
        wait_for(app._reloading.locked, "it waits")
        with pytest.raises(TimeoutError, match="is under way"):
            added(app, "edge9")
        app.call(lambda: app._end("the test is over"), 5.0)
        waiting.join(10)
        assert refused.is_set(), "an end waits for nobody"

    assert inside.play(change) == 0
    assert StartFile(tmp_path / "inside.db").added() == ("edge2", "edge3", "edge4")


def test_a_reload_that_came_too_late_takes_nothing(tmp_path, router):
    """Whoever asked was told that it did not happen in time; it may not happen behind their back."""
    inside = Inside(lambda: settings(tmp_path, router.port))

    def reload(app: App) -> None:
        wait_for(lambda: inside.lines == [ANNOUNCE], "announced")
        before = app.settings
        app.loop.call_soon_threadsafe(time.sleep, 1.0)
        with pytest.raises(TimeoutError):
            app.reload("impatient", 0.3)
        app.call(lambda: None, 5.0)
        assert app.settings is before
        app.reload("patient", 5.0)
        assert app.settings is not before

    assert inside.play(reload) == 0


def test_webs_that_are_asked_to_begin_anew_never_overlap(tmp_path, router, monkeypatch):
    inside = Inside(lambda: settings(tmp_path, router.port))
    alive: list[int] = []
    most: list[int] = []
    start, stop = WebServer.start, WebServer.stop

    def starting(server: WebServer) -> None:
        start(server)
        alive.append(1)
        most.append(len(alive))

    def stopping(server: WebServer, timeout: float = 1.5) -> bool:
        time.sleep(0.3)  # as with a request under way
        ended = stop(server, timeout)
        alive.pop()
        return ended

    monkeypatch.setattr(WebServer, "start", starting)
    monkeypatch.setattr(WebServer, "stop", stopping)

    def anew(app: App) -> None:
        app._web_is_outdated = True
        app._errand(app._serve_anew())

    def again(app: App) -> None:
        wait_for(lambda: alive, "the web")
        for _ in range(8):
            app.call(lambda: anew(app), 5.0)
            time.sleep(0.1)
        wait_for(lambda: not app._errands and alive, "the last one serves")

    assert inside.play(again) == 0
    assert set(most) == {1}
    assert 2 <= len(most) < 8, "some that came together made do with one"
    assert not alive


def test_an_end_while_the_web_begins_leaves_no_web_behind(tmp_path, router, monkeypatch):
    before = threads()
    inside = Inside(lambda: settings(tmp_path, router.port))
    begun = threading.Event()
    start = WebServer.start

    def starting(server: WebServer) -> None:
        start(server)
        begun.set()
        assert inside.app is not None
        wait_for(inside.app._stopping.is_set, "told to end")

    monkeypatch.setattr(WebServer, "start", starting)
    assert inside.play(lambda _: wait_for(begun.is_set, "listening") and None) == 0
    assert threads() == before
