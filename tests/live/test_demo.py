"""`exabgp-bfd demo`: what a newcomer runs first, with real ExaBGPs; nothing stays behind, however it ends."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from lab import PATIENCE, free_port, wait_for

pytestmark = pytest.mark.live

PROGRAM = str(Path(sys.executable).parent / "exabgp-bfd")


@pytest.fixture
def demo(tmp_path):
    """Starts a demo whose temporary folder is ours; whatever is left in it, or lives, afterwards is a fault."""
    running = []
    stack = contextlib.ExitStack()

    def start(*arguments):
        out = stack.enter_context((tmp_path / "out").open("wb"))
        process = subprocess.Popen(
            [PROGRAM, "demo", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        )
        running.append(process)
        return process

    with stack:
        yield start
    for process in running:
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE)
    assert not list(tmp_path.glob("exabgp-bfd-demo-*"))
    wait_for(lambda: not _relatives(tmp_path), "nothing of it lives on")


def _relatives(folder):
    """The processes whose command line names a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in line:
                found.append((entry.name, line))
    return found


def test_once_shows_a_failure_and_a_recovery(demo, tmp_path):
    assert demo("--once").wait(2 * PATIENCE) == 0
    out = (tmp_path / "out").read_text()
    told = [line.split()[2:5] for line in out.splitlines() if " s  " in line]
    assert ["-", "peer", "lost"] in told
    assert out.index("- peer") < out.rindex("+ peer")
    assert re.search(r"failure +-> route gone at the peer: +\d+ ms", out)
    assert re.search(r"recovery -> route back at the peer: +\d+ ms", out)


def test_a_sigterm_in_the_middle_leaves_nothing(demo, tmp_path):
    process = demo("--once")
    wait_for(lambda: "are started" in (tmp_path / "out").read_text(), "the speakers are started")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 1


def test_an_address_in_use_is_said_before_anything_is_started(demo, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert demo("--once", "--listen", f"127.0.0.1:{taken.getsockname()[1]}").wait(PATIENCE) == 1
    out = (tmp_path / "out").read_text()
    assert len(out.splitlines()) == 1
    assert "in use" in out


def test_break_silence_and_mend_by_curl(demo, tmp_path):
    api = free_port()
    process = demo("--listen", f"127.0.0.1:{api}")

    def out():
        return (tmp_path / "out").read_text()

    def post(name):
        url = re.search(rf"http://127\.0\.0\.1:\d+/{name}", out())[0]
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10) as answer:
            assert answer.status == 202

    wait_for(lambda: "the end:" in out(), "the keys are told")
    post("silence")
    wait_for(lambda: "knows nothing of the session" in out(), "unknown", timeout=2 * PATIENCE)
    assert "? peer       holds 2001:db8:53::53/128 and 203.0.113.53/32" in out()
    post("silence")
    post("fail")
    wait_for(lambda: "- peer       lost" in out(), "withdrawn")
    post("mend")
    wait_for(lambda: out().rindex("+ peer") > out().index("- peer"), "announced again")
    with urllib.request.urlopen(f"http://127.0.0.1:{api}/services/anycast", timeout=10) as answer:
        assert json.load(answer)["state"] == "announced"
    post("quit")
    assert process.wait(PATIENCE) == 0
