"""Devices that are added, changed and removed over HTTP while the process runs, and what becomes of routes then."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from typing import Any

import pytest
from lab import wait_for
from lab.process import ANNOUNCE, NEXT_HOP, PEER, SERVICE, WITHDRAW, Process, RouterThread, toml

from exabgp_bfd.core.model import State

pytestmark = pytest.mark.live

OWN = "c0mmunity-of-its-own"
OTHER = "198.51.100.2"
ELSE = "203.0.113.54/32"
ANYWHERE = f"""
[[service]]
name = "ntp"
prefixes = ["{ELSE}"]
next_hop = "{NEXT_HOP}"
sessions = ["*/{OTHER}"]
rise = 1
hold_up = 0.0
"""
"""A service that follows a session of whatever device has it."""
NTP = f"announce route {ELSE} next-hop {NEXT_HOP}"
NO_NTP = f"withdraw route {ELSE}"


@pytest.fixture
def second():
    thread = RouterThread(OWN).start()
    thread.do(lambda: thread.router.add(OTHER))
    yield thread
    thread.stop()


def ask(process: Process, method: str, path: str, body: object = None, status: int = 200) -> Any:
    """What an admin is answered; the status must be this one."""
    key = process.journal.with_name("admin.key").read_text().strip()
    data = None if body is None else json.dumps(body).encode()
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    address = f"http://127.0.0.1:{process.api_port}{path}"
    request = urllib.request.Request(address, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            found, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            found, text = error.code, error.read().decode()
    assert found == status, (method, path, text)
    assert OWN not in text
    return json.loads(text)


def told(process: Process, event_type: str) -> list[dict[str, Any]]:
    return process.events(event_type=event_type)


def test_a_device_is_added_drives_a_route_outlives_us_and_is_removed(launch, router, second):
    process = launch(toml=toml(router.port, ANYWHERE)).ready()
    wait_for(lambda: process.lines == [ANNOUNCE], f"dns announced; {process.log()}")
    body = {"name": "edge9", "host": "127.0.0.1", "port": second.port, "community": OWN}

    tried = ask(process, "POST", "/devices?dry_run=true", body)
    assert (tried["event"], tried["device"], tried["dry_run"]) == (None, None, True)
    assert second.requests == 0
    added = ask(process, "POST", "/devices", body, 201)
    wait_for(lambda: process.lines == [ANNOUNCE, NTP], f"its session counts; {process.log()}")
    (event,) = told(process, "device_added")
    assert (event["id"], event["device"], event["actor"]) == (added["event"], "edge9", "admin (ephemeral key)")
    assert event["details"]["written"]["community"] == "***"
    shown = ask(process, "GET", "/devices/edge9")
    assert (shown["origin"], shown["reachable"], shown["sessions_up"]) == ("api", True, 2)
    assert (shown["services"], shown["community"], shown["profile_found"]) == (["ntp"], "***", "bfd-std")
    assert [(each["name"], each["origin"]) for each in ask(process, "GET", "/devices")["devices"]] == [
        ("edge1", "file"),
        ("edge9", "api"),
    ]
    assert not process.journal.stat().st_mode & 0o077

    ask(process, "POST", "/devices", body, 409)
    process.signal(signal.SIGHUP)  # the file says nothing of it, and it stays
    wait_for(lambda: told(process, "reloaded"), "reloaded")
    assert ask(process, "GET", "/devices/edge9")["origin"] == "api"
    ask(process, "PUT", "/devices/edge9", {**body, "community": "***", "interval": 0.2})
    (changed,) = told(process, "device_changed")
    assert changed["details"]["changed"] == ["interval"]

    process.signal(signal.SIGKILL)  # what was answered is on disk
    process.wait()
    process = launch(toml=toml(router.port, ANYWHERE)).ready()
    wait_for(lambda: sorted(process.lines) == [ANNOUNCE, NTP], f"both again; {process.log()}")
    again = ask(process, "GET", "/devices/edge9")
    assert (again["origin"], again["interval"], again["reachable"]) == ("api", 0.2, True)
    second.do(lambda: second.router.set_state(OTHER, State.DOWN))
    wait_for(lambda: process.lines[2:] == [NO_NTP], "it is heard")
    second.do(lambda: second.router.set_state(OTHER, State.UP))
    wait_for(lambda: process.lines[2:] == [NO_NTP, NTP], "and again")

    problem = ask(process, "DELETE", "/devices/edge9", status=409)
    assert problem["errors"] == [{"place": "service ntp", "detail": f"would withdraw {ELSE}"}]
    assert ask(process, "DELETE", "/devices/edge9?dry_run=true")["commands"][0]["action"] == "withdraw"
    assert process.lines[4:] == []
    ask(process, "PUT", "/services/ntp/override", {"action": "freeze", "reason": "the device goes"})
    ask(process, "DELETE", "/devices/edge9")
    ask(process, "GET", "/devices/edge9", status=404)
    (removed,) = told(process, "device_removed")
    assert removed["device"] == "edge9"
    asked = second.requests
    wait_for(lambda: process.metric('exabgp_bfd_polls_total{device="edge1",outcome="ok"}') > 0, "edge1 goes on")
    assert (process.lines[4:], second.requests - asked <= 1) == ([], True)
    wait_for(lambda: process.metric('exabgp_bfd_polls_total{device="edge9",outcome="ok"}') is None, "no series is left")
    assert not told(process, "bfd_failure") or {each["device"] for each in told(process, "bfd_failure")} == {"edge9"}
    assert OWN not in process.log()


def test_the_file_s_devices_are_its_own_and_go_before_others(launch, router, second):
    process = launch(toml=toml(router.port, ANYWHERE)).ready()
    for method, body in (("PUT", {"host": "127.0.0.1"}), ("DELETE", None)):
        assert "reload" in ask(process, method, "/devices/edge1", body, 409)["detail"]
    ask(process, "POST", "/devices", {"name": "edge9", "host": "127.0.0.1", "port": second.port, "community": OWN}, 201)
    wait_for(lambda: NTP in process.lines, f"its session counts; {process.log()}")
    named = SERVICE.replace(f'["edge1/{PEER}"]', f'["edge1/{PEER}", "edge9/{PEER}"]')
    process.write_toml(toml(router.port, ANYWHERE, service=named))
    process.signal(signal.SIGHUP)
    wait_for(lambda: process.get("/services/dns")["up"] == 2, f"the file may name it; {process.log()}")
    refused = ask(process, "DELETE", "/devices/edge9", status=409)
    assert refused["errors"] == [{"place": "service dns", "detail": f"follows edge9/{PEER}"}]
    device = f'[[device]]\nname = "edge9"\nhost = "127.0.0.1"\nport = {second.port}\ncommunity = "{OWN}"\n'
    process.write_toml(toml(router.port, ANYWHERE + device, service=named))
    process.signal(signal.SIGHUP)
    wait_for(lambda: told(process, "device_superseded"), "told")
    assert ask(process, "GET", "/devices/edge9")["origin"] == "file"
    process.write_toml(toml(router.port, ANYWHERE))
    process.signal(signal.SIGHUP)
    wait_for(lambda: process.get("/devices/edge9") is None, "gone with the file")
    assert WITHDRAW not in process.lines

    ask(process, "POST", "/devices", {"name": "edge9", "host": "127.0.0.1", "port": second.port, "community": OWN}, 201)
    process.stop()
    process = launch(toml=toml(router.port, ANYWHERE + device)).ready()
    assert ask(process, "GET", "/devices/edge9")["origin"] == "file"
    assert len(told(process, "device_superseded")) == 2
    assert WITHDRAW not in process.lines


def test_a_journal_that_is_lost_stops_nobody_whose_configuration_names_what_it_knew(launch, router, second):
    body = {"name": "edge9", "host": "127.0.0.1", "port": second.port, "community": OWN}
    named = ANYWHERE.replace(f"*/{OTHER}", f"edge9/{OTHER}")
    process = launch(toml=toml(router.port)).ready()
    ask(process, "POST", "/devices", body, 201)
    process.write_toml(toml(router.port, named))
    process.signal(signal.SIGHUP)
    wait_for(lambda: NTP in process.lines, f"the file names it; {process.log()}")
    process.stop()
    for each in process.journal.parent.glob(f"{process.journal.name}*"):
        each.unlink()

    process = launch(toml=toml(router.port, named))
    wait_for(lambda: ANNOUNCE in process.lines, f"everything else goes on; {process.log()}")
    (left_out,) = wait_for(lambda: told(process, "device_left_out"), "told")
    assert left_out["details"]["place"] == "device edge9"
    ask(process, "GET", "/devices/edge9", status=404)
    ask(process, "POST", "/reload", status=422)
    assert "edge9 was not asked yet" in str(ask(process, "GET", "/readyz", status=503))
    ask(process, "POST", "/devices", body, 201)
    wait_for(lambda: NTP in process.lines, f"it is asked again; {process.log()}")
    process.ready()
    ask(process, "POST", "/reload")
    assert not [line for line in process.lines if line.startswith("withdraw")]
