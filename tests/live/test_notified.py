"""A router's own traps and informs, from Debian's programs through the whole process to the withdraw."""

from __future__ import annotations

import socket
import subprocess
import time

import pytest
from lab import free_port, stays, wait_for
from lab.process import ANNOUNCE, PEER, PREFIX, WITHDRAW, toml

from exabgp_bfd.core.model import State

pytestmark = pytest.mark.live

SESSION = f"edge1/{PEER}"
COMMUNITY = "tr4p-community-nobody-may-see"
DOWN, UP = "1.3.6.1.2.1.222.0.2", "1.3.6.1.2.1.222.0.1"
DIAGNOSTIC = "1.3.6.1.2.1.222.1.2.1.13"
LONG = 30.0
"""Seconds between two polls: what happens sooner was not found by polling."""


@pytest.fixture
def notify(need):
    """Sends a notification of session 1 to a port."""
    programs = {name: need(name, "snmp") for name in ("snmptrap", "snmpinform")}

    def send(port: int, *how: str, what: str = DOWN, program: str = "snmptrap") -> None:
        said = ["", what, f"{DIAGNOSTIC}.1", "u", "1", f"{DIAGNOSTIC}.1", "u", "1"]
        command = [programs[program], "-m", "", *how, f"udp:127.0.0.1:{port}", *said]
        subprocess.run(command, check=True, capture_output=True, timeout=30)

    return send


@pytest.fixture
def port():
    return free_port()


def hearing(port: int, more: str = "") -> str:
    return f'[traps]\nlisten = "127.0.0.1:{port}"\ncommunities = ["{COMMUNITY}"]\n{more}'


@pytest.fixture
def watched(launch, router, port):
    """A process that polls seldom, and whose route is announced."""
    process = launch(toml=toml(router.port, hearing(port), interval=LONG))
    wait_for(lambda: process.lines == [ANNOUNCE], f"announced; {process.log()}")
    wait_for(lambda: "notifications on" in process.log(), "the port is open")
    return process


def outcome(process, name: str) -> float:
    return process.metric(f'exabgp_bfd_notifications_total{{outcome="{name}"}}') or 0.0


@pytest.mark.parametrize(
    ("version", "program"), [("1", "snmptrap"), ("2c", "snmptrap"), ("2c", "snmpinform")], ids=["v1", "v2c", "inform"]
)
def test_a_notification_is_looked_at_and_the_route_withdrawn(watched, router, notify, port, version, program):
    router.set(State.DOWN)
    if version == "1":
        said = ["1.3.6.1.2.1.222", "127.0.0.1", "6", "2", "", f"{DIAGNOSTIC}.1", "u", "1", f"{DIAGNOSTIC}.1", "u", "1"]
        subprocess.run(
            ["snmptrap", "-m", "", "-v1", "-c", COMMUNITY, f"udp:127.0.0.1:{port}", *said], check=True, timeout=30
        )
    else:
        notify(port, "-v2c", "-c", COMMUNITY, program=program)
    wait_for(lambda: watched.lines == [ANNOUNCE, WITHDRAW], f"withdrawn; {watched.log()}")
    (event,) = wait_for(lambda: watched.decisions("route_withdraw"), "stored")
    events = {each["id"]: each for each in watched.events()}
    chain = []
    while event is not None:
        chain.append((event["event_type"], event["source"]))
        event = events.get(event["cause"])
    assert [kind for kind, _ in chain] == ["route_withdraw", "bfd_failure", "snmp_poll", "snmp_trap"]
    assert dict(chain)["snmp_poll"] == "snmp_look"
    (told,) = watched.events(event_type="snmp_trap")
    assert (told["session"], told["details"]["said"], told["details"]["profile"]) == (SESSION, "down", "bfd-std")


def test_a_notification_that_is_not_true_withdraws_nothing(watched, router, notify, port):
    before = router.requests
    notify(port, "-v2c", "-c", COMMUNITY)
    wait_for(lambda: router.requests > before, "looked at")
    wait_for(lambda: watched.events(event_type="snmp_trap"), "recorded")
    stays(lambda: watched.lines == [ANNOUNCE], "announced", 1)


def test_a_notification_that_it_came_up_is_looked_at(launch, router, notify, port):
    router.set(State.DOWN)
    process = launch(toml=toml(router.port, hearing(port), interval=LONG)).ready()
    wait_for(lambda: "notifications on" in process.log(), "the port is open")
    router.set(State.UP)
    notify(port, "-v2c", "-c", COMMUNITY, what=UP)
    wait_for(lambda: process.events(event_type="bfd_recovery"), f"seen; {process.log()}")


@pytest.mark.parametrize("how", [("-v2c", "-c", "another"), ("-v3", "-u", "nobody", "-l", "noAuthNoPriv")])
def test_who_is_not_believed_is_counted(watched, router, notify, port, how):
    router.set(State.DOWN)
    before = router.requests
    notify(port, *how)
    name = "bad_community" if how[0] == "-v2c" else "bad_user"
    wait_for(lambda: outcome(watched, name) == 1, "counted")
    stays(lambda: watched.lines == [ANNOUNCE], "announced", 1)
    assert router.requests == before
    assert not watched.events(event_type="snmp_trap")
    assert COMMUNITY not in watched.log()


def test_a_reload_begins_and_ends_to_listen(launch, router, notify, port):
    process = launch(toml=toml(router.port, interval=LONG))
    wait_for(lambda: process.lines == [ANNOUNCE], "announced")
    process.write_toml(toml(router.port, hearing(port), interval=LONG))
    process.signal(1)
    wait_for(lambda: f"127.0.0.1:{port}" in process.log(), "the port is open")
    router.set(State.DOWN)
    notify(port, "-v2c", "-c", COMMUNITY)
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "withdrawn")
    process.write_toml(toml(router.port, interval=LONG))
    process.signal(1)
    wait_for(lambda: not listens(port), "closed again")


def listens(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def test_a_port_in_use_is_waited_out(launch, router, notify, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
        process = launch(toml=toml(router.port, hearing(port)))
        wait_for(lambda: process.lines == [ANNOUNCE], "announced all the same")
        wait_for(lambda: "no notification is heard yet" in process.log(), "said")
    wait_for(lambda: "notifications on" in process.log(), "heard in the end", 20)


def test_a_trusted_one_counts_before_the_look(launch, snmpd, notify, port, need):
    """The agent goes on saying up: only who is believed withdraws."""
    keys = f'user = "{snmpd.user}"\nauth_protocol = "sha256"\nauth_key = "{snmpd.auth_key}"\n'
    keys += f'priv_protocol = "aes128"\npriv_key = "{snmpd.priv_key}"\n'
    peer = snmpd.peer(1)
    device = f'[[device]]\nname = "box"\nhost = "127.0.0.1"\nport = {snmpd.port}\nversion = 3\n{keys}trust = true\n'
    service = f'[[service]]\nname = "dns"\nprefixes = ["{PREFIX}"]\nsessions = ["box/{peer}"]\nrise = 1\nhold_up = 0\n'
    file = f"[snmp]\ninterval = 8\nstale_after = 30\n{hearing(port)}\n{device}\n{service}"
    process = launch(toml=file)
    wait_for(lambda: len(process.lines) == 1, f"announced; {process.log()}")
    wait_for(lambda: "notifications on" in process.log(), "the port is open")
    who = ("-u", snmpd.user, "-a", "SHA-256", "-A", snmpd.auth_key, "-x", "AES", "-X", snmpd.priv_key, "-l", "authPriv")
    asked = [need("snmpget", "snmp"), "-m", "", "-v3", *who, "-Oqv", f"udp:127.0.0.1:{snmpd.port}"]
    engine = "1.3.6.1.6.3.10.2.1"
    told = subprocess.run([*asked, f"{engine}.2.0", f"{engine}.3.0"], check=True, capture_output=True, timeout=30)
    boots, seconds = told.stdout.decode().split()[:2]

    def send(key: str, time_: int) -> None:
        how = ("-v3", "-e", snmpd.engine_id, "-Z", f"{boots},{time_}", "-u", snmpd.user, "-l", "authPriv")
        notify(port, *how, "-a", "SHA-256", "-A", key, "-x", "AES", "-X", snmpd.priv_key)

    send("another auth key", int(seconds))
    wait_for(lambda: outcome(process, "wrong_digest") == 1, "refused")
    send(snmpd.auth_key, max(0, int(seconds) - 1000) if int(seconds) > 1000 else int(seconds) + 1000)
    time.sleep(0.5)
    assert len(process.lines) == 1
    send(snmpd.auth_key, int(seconds))
    wait_for(lambda: len(process.lines) > 1 and process.lines[1].startswith("withdraw"), f"trusted; {process.log()}")
    (withdrawn,) = wait_for(lambda: process.decisions("route_withdraw"), "stored")
    assert withdrawn["cause"] is not None
    # The look that follows sees it up, and it comes back as from any failure.
    wait_for(lambda: process.lines[-1].startswith("announce"), "back", 30)
