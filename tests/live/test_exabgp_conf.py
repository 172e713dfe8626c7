"""What `exabgp-conf` prints, in the hands of ExaBGP 5 and 4: they take it, start us from it, and the routes arrive."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from lab import Program, free_port, stays, wait_for
from lab.bird import Bird
from lab.exabgp import BIN, V4, V5, environment

pytestmark = pytest.mark.live

PREFIX4, PREFIX6, WATCHED = "198.51.100.53/32", "2001:db8::53/128", "198.51.100.54/32"
TOML = """
[storage]
path = "{folder}/journal.db"
[api]
listen = "127.0.0.1:{api}"
[snmp]
community = "{community}"
interval = 0.2
timeout = 0.5
[[device]]
name = "edge1"
host = "{host}"
port = {port}
[[service]]
name = "dns"
prefixes = ["198.51.100.53/32", "2001:db8::53/128"]
next_hop = ["192.0.2.10", "2001:db8::10"]
neighbors = ["127.0.0.1"]
sessions = ["edge1/{peer}"]
rise = 1
hold_up = 0.0
[[service]]
name = "ntp"
watchdog = "ntp"
sessions = ["edge1/{peer}"]
rise = 1
hold_up = 0.0
"""
SESSION = (*("--local-address", "127.0.0.1"), *("--local-as", "65001"), *("--peer-as", "65002"))
VALIDATE = {"5": (V5.command[0], "validate"), "4": (*V4.command, "--test")}


@pytest.fixture(params=[V5, V4], ids=["ExaBGP 5", "ExaBGP 4"])
def release(request, need):
    if request.param is V4:
        need(V4.command[0], "exabgp")
    return request.param


@pytest.fixture
def bird(need, tmp_path):
    peer = Bird(need("bird", "bird2"), need("birdc", "bird2"), tmp_path)
    peer.start()
    yield peer
    peer.stop()


def ours(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "exabgp-bfd", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def toml(snmpd, tmp_path):
    path = tmp_path / "exabgp bfd.toml"  # a name that has to be quoted
    path.write_text(
        TOML.format(
            folder=tmp_path,
            api=free_port(),
            community=snmpd.community,
            host=snmpd.host,
            port=snmpd.port,
            peer=snmpd.peer(1),
        )
    )
    return path


@pytest.fixture
def conf(release, toml, bird, tmp_path):
    """The printed text, with the watchdog's route where the text says that it belongs."""
    printed = ours(
        *("exabgp-conf", "--config", toml, "--exabgp-version", release.name, "--port", str(bird.port), *SESSION),
    )
    assert (printed.returncode, printed.stderr) == (0, "")
    text = printed.stdout
    example = "# static { route PREFIX next-hop ADDRESS watchdog ntp withdraw; }"
    assert example in text
    route = example.removeprefix("# ").replace("PREFIX", WATCHED).replace("ADDRESS", "192.0.2.10")
    path = tmp_path / "exabgp.conf"
    path.write_text(text.replace(example, route))
    return path


@pytest.fixture
def running(release, conf, tmp_path):
    program = Program([*release.command, str(conf)], tmp_path / "exabgp.log", environment())
    program.start()
    yield program
    program.stop()
    print(program.output())


def test_exabgp_validates_the_text(release, conf):
    done = subprocess.run(
        [*VALIDATE[release.name], str(conf)],
        env=environment(PATH="/usr/bin:/bin"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    conf.write_text(conf.read_text().replace("neighbor-changes;", "neighbor-changed;", 1))
    done = subprocess.run(
        [*VALIDATE[release.name], str(conf)],
        env=environment(PATH="/usr/bin:/bin"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, "it would take anything"


def test_exabgp_runs_us_from_the_text_and_the_routes_follow_the_session(running, bird, snmpd):
    everything = {PREFIX4, PREFIX6, WATCHED}
    wait_for(lambda: bird.routes() == everything, "all three routes at BIRD")
    assert "192.0.2.10" in bird.route(PREFIX4)
    assert "2001:db8::10" in bird.route(PREFIX6)
    snmpd.set_state(1, "down")
    wait_for(lambda: not bird.routes(), "withdrawn after Down")
    stays(lambda: not bird.routes() and running.running, "nothing comes back by itself", 1.0)


def test_check_agrees_with_the_running_exabgp(release, toml, conf):
    told = ours("check", toml, "--exabgp-conf", conf)
    assert (told.returncode, told.stderr) == (0, "")
    lines = told.stdout.splitlines()
    assert not [line for line in lines if line.startswith("warning")]
    for line in (f"dns {PREFIX4}: to 127.0.0.1", f"dns {PREFIX6}: to 127.0.0.1"):
        assert f"  {line}" in lines
    assert "  ntp watchdog ntp: to 127.0.0.1 (1 routes)" in lines
