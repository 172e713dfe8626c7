"""The commands that ask the running program, against one real process: its API, its keys, its restart."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time

import pytest
from lab import wait_for
from lab.commands import runner
from lab.process import ANNOUNCE, PREFIX, PROGRAM, Process, RouterThread, clean_environment, toml

from exabgp_bfd.core.model import State

pytestmark = pytest.mark.live

STYLE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def router():
    thread = RouterThread().start()
    yield thread
    thread.stop()


@pytest.fixture(scope="module")
def process(tmp_path_factory, router):
    process = Process(tmp_path_factory.mktemp("asked"), toml=toml(router.port)).start()
    wait_for(lambda: process.lines == [ANNOUNCE], "announced")
    process.ready()
    yield process
    process.stop()
    assert not list(process.faults())


@pytest.fixture
def ask(process, monkeypatch, capsysbinary):
    """Asks the process in a command: exit status, the lines of stdout and stderr."""
    run = runner(monkeypatch, capsysbinary)

    def ask(*words, url=False):
        where = ["--url", f"http://127.0.0.1:{process.api_port}"] if url else ["--config", str(process.toml)]
        return run(*words, *where)

    return ask


@pytest.fixture
def announced(process, router, ask):
    """The process, with its service announced and nothing ordered."""
    yield process
    router.set(State.UP)
    ask("override", "dns", "clear")
    wait_for(lambda: process.get("/services")["services"][0]["state"] == "announced", "announced again")


class Following:
    """`events --follow`, read as it prints."""

    def __init__(self, process, *words):
        self.lines = []
        # A shell that runs us in the background has its children ignore what Ctrl-C sends.
        command = ["env", "--default-signal=INT", PROGRAM, "events", "--follow", *words, "--config", str(process.toml)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        for line in self._process.stdout:
            self.lines.append(line.decode())

    def end(self):
        """Ctrl-C: the exit status, and what stood on stderr."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(30)
        with self._process.stdout, self._process.stderr:
            return self._process.returncode, self._process.stderr.read().decode()


def test_a_failure_from_the_first_look_to_the_reason(ask, announced, router):
    status, out, err = ask("status", "--check")
    assert (status, err) == (0, [])
    assert out[0].startswith("EXABGP-BFD OK - ")
    router.set(State.DOWN)
    wait_for(lambda: announced.get("/services")["services"][0]["state"] == "withdrawn", "withdrawn")
    status, out, _ = ask("status", "--check")
    assert status == 2
    assert "service dns is withdrawn" in out[0]
    status, out, err = ask("status", "--device", "edge1")
    assert (status, err) == (0, [])
    assert any(line.split()[:2] == ["dns", "withdrawn"] for line in out)
    assert any(line.startswith(f"{PREFIX} ") for line in out)

    def explained():  # once the journal has it
        status, out, _ = ask("why", "dns")
        assert status == 0
        assert "dns is withdrawn" in out[0]
        return re.search(r"#(\d+) route_withdraw", "\n".join(out))

    number = wait_for(explained, "the chain is told")
    status, chain, _ = ask("why", "--event", number[1], url=True)
    assert (status, chain[-1].split()[1]) == (0, f"#{number[1]}")
    assert any("bfd_failure" in line for line in chain)
    _, out, _ = ask("events", "--type", "bfd_failure", "--json", "--limit", "1")
    assert json.loads(out[0])["session"] == "edge1/198.51.100.1"


def test_orders_need_the_key_and_are_warned_of(ask, announced):
    words = ["override", "dns", "freeze", "--reason", "ticket 4711"]
    status, out, err = ask(*words, url=True)
    assert (status, out, len(err)) == (1, [], 1)
    assert "no key was given" in err[0]
    assert ask(*words, "--dry-run")[0] == 0
    assert ask("status", "--check")[0] == 0
    assert ask(*words)[0] == 0
    status, out, _ = ask("status", "--check", url=True)
    assert status == 1
    assert "freeze by admin (ephemeral key) until it is cleared: ticket 4711" in out[0]


def test_devices_come_and_go_while_it_runs(ask, announced, router):
    community = announced.toml.with_name("community")
    community.write_text("another-community\n")
    words = ["devices", "add", "edge2", "127.0.0.1", "--port", str(router.port), "--community", f"file:{community}"]
    status, out, err = ask(*words, "--set", "interval=0.2", "--set", "timeout=0.2")
    assert (status, err) == (0, [])
    assert out[0].startswith("device edge2 is added (event ")
    _, out, _ = ask("devices", "list", "--json")
    assert [(one["name"], one["origin"]) for one in json.loads("\n".join(out))["devices"]] == [
        ("edge1", "file"),
        ("edge2", "api"),
    ]
    status, out, _ = ask("devices", "remove", "edge2")
    assert (status, len(out)) == (0, 1)
    assert len(ask("devices", "list")[1]) == 2


def test_following_goes_on_through_a_restart(ask, announced):
    following = Following(announced, "--json", "--limit", "1")
    try:
        wait_for(lambda: following.lines, "the newest event")
        first = json.loads(following.lines[0])["id"]
        announced.stop()
        announced.start()
        announced.ready()
        assert ask("override", "dns", "freeze", "--reason", "after the restart")[0] == 0
        wait_for(lambda: any("after the restart" in line for line in following.lines), "the order after the restart")
    finally:
        status, err = following.end()
    told = [json.loads(line) for line in following.lines]
    kept = [one["id"] for one in reversed(announced.events()) if one["id"] >= first]
    numbers = [one["id"] for one in told]
    assert numbers == kept[: len(numbers)]  # each once, none left out
    assert {"stopped", "started", "override_set"} <= {one["event_type"] for one in told}
    assert status == 130
    assert all(line.startswith("exabgp-bfd: events: ") for line in err.splitlines()), err


def test_a_terminal_gets_colours_and_lines_that_fit(process):
    main, other = pty.openpty()
    command = [PROGRAM, "status", "--config", str(process.toml)]
    child = subprocess.Popen(
        command, stdout=other, stderr=other, env=clean_environment(TERM="xterm", COLUMNS="50", NO_COLOR="")
    )
    os.close(other)
    told = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and select.select([main], [], [], 1.0)[0] is not None:
        try:
            part = os.read(main, 65536) if select.select([main], [], [], 0.1)[0] else b""
        except OSError:  # the other end was closed
            break
        told += part
    os.close(main)
    assert child.wait(60) == 0
    lines = told.decode().replace("\r\n", "\n").splitlines()
    assert any(STYLE.search(line) for line in lines)
    assert max(len(STYLE.sub("", line)) for line in lines) <= 50
    assert all(STYLE.sub("", line).isprintable() for line in lines)
