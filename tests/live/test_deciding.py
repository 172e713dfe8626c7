"""What decides besides the sessions, in the running process: orders, files, windows, reloads, the guard; and the words.

The test plays ExaBGP on the pipes; the command line is the real one, in processes of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lab import stays, wait_for
from lab.keeping import worker_of
from lab.process import (
    ANNOUNCE,
    NEXT_HOP,
    PEER,
    PREFIX,
    PROGRAM,
    SERVICE,
    WITHDRAW,
    Process,
    RouterThread,
    clean_environment,
    toml,
)

from exabgp_bfd.core.model import State

pytestmark = pytest.mark.live

GRACEFUL = f"{ANNOUNCE} community [ 65535:0 ]"
OTHER = "203.0.113.54/32"


def cli(process: Process, *words: str, status: int = 0) -> str:
    """What a command of ours prints, run against the process that the file of `process` describes."""
    done = subprocess.run(
        [PROGRAM, *words], capture_output=True, text=True, timeout=60, check=False, env=clean_environment()
    )
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def ours(process: Process, *words: str, status: int = 0) -> str:
    return cli(process, *words, "--config", str(process.toml), status=status)


@pytest.fixture
def begun(launch, router):
    """Starts a process and waits for its first announce."""

    def start(more: str = "", service: str = SERVICE, *, announce: str = ANNOUNCE, **settings) -> Process:
        process = launch(toml=toml(router.port, more, service=service, **settings)).ready()
        wait_for(lambda: process.lines == [announce], f"announced; {process.log()}")
        return process

    return start


def service_with(**keys: object) -> str:
    return SERVICE + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


# --- orders ---------------------------------------------------------------------------------------------------------


def test_an_override_is_set_beats_health_and_is_cleared(begun, router):
    process = begun()
    ours(process, "override", "dns", "withdraw", "--reason", "new kernel")
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "withdrawn by order")
    told = process.get("/services/dns")
    assert (told["layer"], told["override"]["reason"], told["health"]) == ("override", "new kernel", "full")
    why = ours(process, "why", "dns")
    assert "new kernel" in why
    assert "override_set" in why
    ours(process, "override", "dns", "clear")
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW, ANNOUNCE], "health decides again")
    # The page is a moment behind the line; its chain ends with who ordered it.
    assert wait_for(lambda: process.events(event_type="override_cleared"), "recorded")[0]["service"] == "dns"


def test_an_override_expires_by_itself(begun):
    process = begun()
    ours(process, "override", "dns", "withdraw", "--reason", "short", "--ttl", "1s")
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW, ANNOUNCE], "withdrawn, and back")
    assert wait_for(lambda: process.events(event_type="override_expired"), "recorded")
    assert process.get("/services/dns")["override"] is None


def test_an_override_outlives_us(begun, launch, router):
    process = begun()
    ours(process, "override", "dns", "withdraw", "--reason", "stays", "--ttl", "1h")
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "withdrawn")
    process.signal(signal.SIGKILL)
    process.wait()
    second = launch(toml=toml(router.port)).ready()
    wait_for(lambda: second.get("/sessions")["sessions"], "the session is known")
    stays(lambda: ANNOUNCE not in second.lines, "kept withdrawn", 1.5)
    assert second.get("/services/dns")["override"]["reason"] == "stays"
    ours(second, "override", "dns", "clear")
    wait_for(lambda: second.lines[-1:] == [ANNOUNCE], "back")


def test_announce_and_freeze_hold_against_a_dead_path(begun, router):
    process = begun()
    ours(process, "override", "dns", "freeze", "--reason", "leave it")
    router.set(State.DOWN)
    wait_for(lambda: process.get("/services/dns")["health"] == "down", "seen down")
    stays(lambda: process.lines == [ANNOUNCE], "frozen", 0.5)
    ours(process, "override", "dns", "announce", "--reason", "whatever happens")
    stays(lambda: process.lines == [ANNOUNCE], "it is announced already", 0.5)
    ours(process, "override", "dns", "clear")
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "the path is dead")


def test_a_drain_goes_gracefully_and_comes_back_so(begun):
    process = begun(service=service_with(drain_time=1.0))
    ours(process, "override", "dns", "drain", "--reason", "maintenance")
    wait_for(lambda: process.lines == [ANNOUNCE, GRACEFUL, WITHDRAW], "drained")
    ours(process, "override", "dns", "clear")
    wait_for(lambda: process.lines[3:] == [GRACEFUL, ANNOUNCE], "back in the same order")


def test_a_draining_route_whose_path_dies_is_withdrawn_at_once(begun, router):
    process = begun(service=service_with(drain_time=600.0))
    ours(process, "override", "dns", "drain", "--reason", "maintenance")
    wait_for(lambda: process.lines == [ANNOUNCE, GRACEFUL], "draining")
    router.set(State.DOWN)
    wait_for(lambda: process.lines == [ANNOUNCE, GRACEFUL, WITHDRAW], "withdrawn")


def test_orders_that_make_no_sense_are_refused_with_the_remedy(begun):
    process = begun()
    for words in (
        ["override", "nobody", "withdraw", "--reason", "x"],
        ["override", "nobody", "clear"],
        ["why", "nobody"],
    ):
        assert "there is no service 'nobody'; known: dns" in ours(process, *words, status=2)
    assert "dns" in ours(process, "override", "dns", "clear", status=1)
    assert "future" in ours(process, "replay", "--since", "2999-01-01T00:00:00Z", status=2)
    assert ours(process, "override", "dns", "explode", "--reason", "x", status=2)
    assert process.lines == [ANNOUNCE]


# --- files and windows ----------------------------------------------------------------------------------------------


def test_a_disable_file_withdraws_while_it_is_there(begun, tmp_path):
    file = tmp_path / "dns.disabled"
    process = begun(service=service_with(disable_file=str(file)))
    file.touch()
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "withdrawn")
    assert process.get("/services/dns")["disabled"] is True
    file.unlink()
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW, ANNOUNCE], "back")


def test_a_disable_file_that_is_there_at_the_start_counts_from_the_start(launch, router, tmp_path):
    file = tmp_path / "dns.disabled"
    file.touch()
    process = launch(toml=toml(router.port, service=service_with(disable_file=str(file)))).ready()
    wait_for(lambda: process.get("/services/dns")["health"] == "full", "healthy")
    stays(lambda: not process.lines, "and yet not announced", 0.5)


def test_a_reload_looks_for_the_files_before_it_says_anything(begun, router, tmp_path):
    process = begun()
    file = tmp_path / "disabled"
    file.touch()
    renamed = service_with(disable_file=str(file)).replace('"dns"', '"dns2"')
    newcomer = renamed.replace('"dns2"', '"ntp"').replace(PREFIX, OTHER)
    process.write_toml(toml(router.port, service=renamed + newcomer))
    preview = cli(process, "check", str(process.toml), "--against-running").partition("against the running program")[2]
    assert f"would withdraw {PREFIX}" in preview
    assert "would announce" not in preview
    process.signal(signal.SIGHUP)
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "withdrawn")
    stays(lambda: process.lines == [ANNOUNCE, WITHDRAW], "and nothing else is said", 2.5)
    # Neither told as news: the reload knew.
    assert not process.events(event_type="service_disabled")
    file.unlink()
    back = {ANNOUNCE, f"announce route {OTHER} next-hop {NEXT_HOP}"}
    wait_for(lambda: set(process.lines[2:]) == back, "both without their file")
    file.touch()
    wait_for(lambda: len(process.lines) == 6, "the watch goes on with the new names")


def test_a_file_that_went_while_a_reload_renamed_its_service(begun, router, tmp_path):
    file = tmp_path / "disabled"
    disabled = service_with(disable_file=str(file))
    process = begun(service=disabled)
    file.touch()
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "withdrawn")
    process.write_toml(toml(router.port, service=disabled.replace('"dns"', '"dns2"')))
    file.unlink()
    process.signal(signal.SIGHUP)
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW, ANNOUNCE], "back")
    stays(lambda: process.lines == [ANNOUNCE, WITHDRAW, ANNOUNCE], "for good", 1.5)


def test_a_window_opens_and_closes_by_the_clock(begun, router):
    opens = datetime.now(UTC) + timedelta(seconds=1.5)
    window = f"""
[[window]]
name = "upgrade"
start = {opens.isoformat(timespec="milliseconds")}
services = ["dns"]
action = "withdraw"
"""
    # Its end is told only once it is open: nothing here may depend on how long a busy machine takes to start us.
    process = begun()
    process.write_toml(toml(router.port, window))
    process.signal(signal.SIGHUP)
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "withdrawn when it opened")
    ends = datetime.now(UTC) + timedelta(seconds=1.5)
    process.write_toml(toml(router.port, f"{window}end = {ends.isoformat(timespec='milliseconds')}\n"))
    process.signal(signal.SIGHUP)
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW, ANNOUNCE], "announced when it closed")
    wait_for(lambda: process.events(event_type="window_closed"), "recorded")
    kinds = [event["event_type"] for event in process.events() if event["event_type"].startswith("window")]
    assert kinds == ["window_closed", "window_opened"]
    assert "upgrade" in process.decisions("route_withdraw")[0]["details"]["rule"]


def test_maintenance_of_a_device_holds_what_was_decided(begun, router):
    begins = datetime.now(UTC) - timedelta(hours=1)
    window = f"""
[[window]]
name = "edge1-upgrade"
start = {begins.isoformat(timespec="seconds")}
devices = ["edge1"]
"""
    process = begun()
    process.write_toml(toml(router.port, window))
    process.signal(signal.SIGHUP)
    wait_for(lambda: process.get("/health")["windows"] == ["edge1-upgrade"], "the window is open")
    router.set(State.DOWN)
    wait_for(lambda: process.get("/sessions")["sessions"][0]["state"] == "down", "seen down")
    stays(lambda: process.lines == [ANNOUNCE], "held", 0.5)
    process.write_toml(toml(router.port))
    process.signal(signal.SIGHUP)
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "decided when the window is gone")


# --- another configuration --------------------------------------------------------------------------------------------


def test_sighup_with_the_same_file_does_nothing(begun):
    process = begun()
    process.signal(signal.SIGHUP)
    wait_for(lambda: process.events(event_type="reloaded"), "reloaded")
    stays(lambda: process.lines == [ANNOUNCE], "nothing said", 0.5)


def test_sighup_takes_the_whole_file_and_keeps_what_is_known(begun, router):
    process = begun()
    more = f'[[service]]\nname = "ntp"\nprefixes = ["{OTHER}"]\nsessions = ["edge1/{PEER}"]\nrise = 1\nhold_up = 0.0\n'
    process.write_toml(toml(router.port, more, service=service_with(med=50)))
    against = cli(process, "check", str(process.toml), "--against-running")
    process.signal(signal.SIGHUP)
    said = [f"{ANNOUNCE} med 50", f"announce route {OTHER} next-hop self"]
    # The change of a route that was announced a moment ago waits until that one has left ExaBGP.
    wait_for(lambda: sorted(process.lines) == sorted([ANNOUNCE, *said]), "the change, and the new service")
    assert PREFIX in against
    assert OTHER in against
    assert "ntp" in against
    process.write_toml(toml(router.port, more, service=""))
    process.signal(signal.SIGHUP)
    wait_for(lambda: process.lines[3:] == [WITHDRAW], "a service that left is withdrawn")
    assert [service["service"] for service in process.get("/services")["services"]] == ["ntp"]


def test_a_file_with_an_error_changes_nothing(begun, router):
    process = begun()
    process.write_toml(toml(router.port, service=service_with(raise_=3)))
    process.signal(signal.SIGHUP)
    (refused,) = wait_for(lambda: process.events(event_type="reload_refused"), "refused")
    assert "raise_" in refused["details"]["errors"][0]
    assert "raise_" in process.log()
    assert "raise_" in cli(process, "check", str(process.toml), "--against-running", status=2)
    stays(lambda: process.lines == [ANNOUNCE], "nothing said", 0.5)
    router.set(State.DOWN)
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "it lives on by the old one")


def test_a_device_may_come_and_go_and_move(begun, router):
    process = begun()
    second = RouterThread().start()
    try:
        device = f'[[device]]\nname = "edge2"\nhost = "127.0.0.1"\nport = {second.port}\n'
        both = service_with(require="all").replace(f'["edge1/{PEER}"]', f'["edge1/{PEER}", "edge2/{PEER}"]')
        process.write_toml(toml(router.port, device, service=both))
        process.signal(signal.SIGHUP)
        wait_for(lambda: process.get("/services/dns")["up"] == 2, "both are followed")
        assert process.lines == [ANNOUNCE]  # a newcomer does not take it down
        second.set(State.DOWN)
        wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "all are needed")
        process.write_toml(toml(router.port))
        process.signal(signal.SIGHUP)
        wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW, ANNOUNCE], "edge1 alone again")
        assert [device["name"] for device in process.get("/health")["devices"].get("list", [{"name": "edge1"}])] == [
            "edge1"
        ]
    finally:
        second.stop()


def test_new_keys_close_the_door_of_the_old_ones(begun, router):
    process = begun()
    old = (process.journal.with_name("admin.key")).read_text().strip()
    assert process.journal.with_name("admin.key").stat().st_mode & 0o777 == 0o600
    digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # of "test"
    process.write_toml(
        toml(router.port, f'[[api.key]]\nname = "noc"\nrole = "operate"\nsha256 = "{digest}"\n'),
    )
    process.signal(signal.SIGHUP)
    wait_for(lambda: process.request("/services")[0] == 401, "closed to those without a key")
    assert process.request("/services", headers={"X-API-Key": "test"})[0] == 200
    assert process.request("/services", headers={"X-API-Key": old})[0] == 401
    wait_for(lambda: not process.journal.with_name("admin.key").exists(), "it opens nothing, and is gone")
    assert process.lines == [ANNOUNCE]


def test_a_log_file_that_cannot_be_written_refuses_the_whole_reload(begun, router):
    process = begun()
    more = '[log]\nfile = "/nonexistent/a.log"\n[[device]]\nname = "edge2"\nhost = "127.0.0.1"\n'
    process.write_toml(toml(router.port, more, service=service_with(med=50)))
    process.signal(signal.SIGHUP)
    (refused,) = wait_for(lambda: process.events(event_type="reload_refused"), "refused")
    assert "cannot write /nonexistent/a.log" in refused["details"]["errors"][0]
    assert "cannot write /nonexistent/a.log" in ours(process, "reload", status=2)
    assert not process.events(event_type="reloaded")
    assert process.get("/health")["devices"]["total"] == 1
    router.set(State.DOWN)
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "it lives on by the old file")
    wait_for(lambda: "route_withdraw" in process.log(), "and so does its log")


def test_a_reload_moves_the_log_to_another_file(begun, router, tmp_path):
    process = begun(f'[log]\nfile = "{tmp_path / "old.log"}"\n')
    for level, file in (("info", "new.log"), ("debug", "new.log")):
        log = f'[log]\nfile = "{tmp_path / file}"\nlevel = "{level}"\n'
        process.write_toml(toml(router.port, log))
        ours(process, "reload")
        wait_for((tmp_path / file).exists, "begun")
    router.set(State.DOWN)
    wait_for(lambda: "route_withdraw" in (tmp_path / "new.log").read_text(), "in the new file")
    wait_for(lambda: "route_withdraw" in process.log(), "and on stderr")
    assert "route_announce" in (tmp_path / "old.log").read_text()
    assert "route_withdraw" not in (tmp_path / "old.log").read_text()


def test_what_only_a_restart_can_change_stays_as_it_was_started(begun, router, tmp_path):
    process = begun()
    key = {"X-API-Key": process.journal.with_name("admin.key").read_text().strip()}
    site = process.get("/health")["site"]
    rest = toml(router.port).replace("secrets = [", 'secrets = ["another", ')
    head = (
        f'[site]\nname = "elsewhere"\n[storage]\npath = "{tmp_path / "new" / "other.db"}"\n'
        f'[api]\nlisten = "127.0.0.1:{process.api_port}"\n'
    )
    process.write_toml(head + rest, head=False)
    assert process.request("/reload", b"{}", key)[0] == 200
    assert process.request("/reload", b"{}", key)[0] == 200, "the key of this run is as it was"
    assert process.log().count("the API listens on") == 1, "nothing that is served must begin anew"
    wait_for(lambda: len(process.events(event_type="reloaded")) == 2, "of the journal in use")
    reloads = process.events(event_type="reloaded")
    assert [event["details"]["needs_restart"] for event in reloads] == [["site", "storage"]] * 2
    assert {event["site"] for event in reloads} == {site} == {process.get("/health")["site"]}
    assert process.journal.with_name("admin.key").exists()
    assert not (tmp_path / "new").exists()
    process.write_toml(toml(router.port))
    assert process.request("/reload", b"{}", key)[0] == 200
    wait_for(lambda: len(process.events(event_type="reloaded")) == 3, "recorded")
    assert process.events(event_type="reloaded")[0]["details"]["needs_restart"] == []


def _is_off(process, seconds):
    """Whether nothing answers for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.request("/healthz")[0] != 0:
            return False
        time.sleep(0.1)
    return True


def test_reloads_in_a_row_leave_one_web_that_ends_when_it_is_told_to(begun, router):
    process = begun()
    # Requests that dawdle, so that a web takes a while to end.
    idle = [socket.create_connection(("127.0.0.1", process.api_port)) for _ in range(6)]
    for each in idle:
        each.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
    for number in range(1, 6):
        text = toml(router.port, service=service_with(med=number))
        process.write_toml(text.replace("secrets = [", f'secrets = ["another{number}", '))
        process.signal(signal.SIGHUP)
        time.sleep(0.15)
    wait_for(lambda: process.lines[-1] == f"{ANNOUNCE} med 5", "the newest file holds")
    wait_for(lambda: process.get("/healthz"), "the API answers")
    for each in idle:
        each.close()
    process.toml.write_text(process.toml.read_text().replace(f"127.0.0.1:{process.api_port}", "off"))
    process.signal(signal.SIGHUP)
    # Not at once for good: the web of the reload before may still be on its way.
    wait_for(lambda: _is_off(process, 1.5), "the API is off")
    stays(lambda: process.request("/healthz")[0] == 0, "and nobody is left who serves it", 3.0)
    assert "is in use by another program" not in process.log(), "no two at once"


# --- the guard --------------------------------------------------------------------------------------------------------


def test_a_loop_that_slept_holds_nothing_against_anybody(begun, router):
    process = begun(service=service_with(on_unknown="down"))
    worker = worker_of(process.process.pid)
    os.kill(worker, signal.SIGSTOP)
    time.sleep(3.0)  # three times stale_after: had we been awake, the session would be unknown, and down
    os.kill(worker, signal.SIGCONT)
    (held,) = wait_for(lambda: process.events(event_type="guard_held"), "said")
    assert "stalled" in held["details"]["reason"]
    stays(lambda: process.lines == [ANNOUNCE], "nothing withdrawn", 1.0)
    router.silent(True)
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "a real silence still counts, as the operator said")


def test_all_devices_silent_at_once_are_our_own_blindness(begun, router):
    second = RouterThread().start()
    try:
        device = f'[[device]]\nname = "edge2"\nhost = "127.0.0.1"\nport = {second.port}\n'
        process = begun(device, service=service_with(on_unknown="down"))
        wait_for(lambda: len(process.get("/sessions")["sessions"]) == 2, "both are known")
        router.silent(True)
        second.silent(True)
        wait_for(lambda: process.get("/health")["guard"]["blind"], "blind")
        stays(lambda: process.lines == [ANNOUNCE], "nothing withdrawn", 1.5)
        second.silent(False)
        wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "the other is up, and this one is silent alone")
    finally:
        second.stop()


def test_no_more_services_than_allowed_are_withdrawn_unless_the_limit_is_lifted(launch, router):
    services = "".join(
        f'[[service]]\nname = "s{number}"\nprefixes = ["203.0.113.{number}/32"]\nsessions = ["edge1/{PEER}"]\n'
        "rise = 1\nhold_up = 0.0\n"
        for number in range(4)
    )
    guard = '[guard]\nmax_withdrawn = "50%"\nwithin = "1h"\n'
    process = launch(toml=toml(router.port, guard, service=services)).ready()
    wait_for(lambda: len(process.lines) == 4, "announced")
    router.set(State.DOWN)
    wait_for(lambda: len(process.lines) == 6, "two may go")
    stays(lambda: len(process.lines) == 6, "and no more", 1.0)
    assert len(process.get("/guard")["held"]) == 2
    ours(process, "override", "--guard", "lift", "--reason", "it is really down", "--ttl", "1h")
    wait_for(lambda: len(process.lines) == 8, "all of them")


def test_the_limit_counts_what_went_before_a_restart(launch, router):
    services = "".join(
        f'[[service]]\nname = "s{number}"\nprefixes = ["203.0.113.{number}/32"]\nsessions = ["edge1/{PEER}"]\n'
        "rise = 1\nhold_up = 0.0\n"
        for number in range(4)
    )
    text = toml(router.port, '[guard]\nmax_withdrawn = 1\nwithin = "1h"\n', service=services)
    first = launch(toml=text).ready()
    wait_for(lambda: len(first.lines) == 4, "announced")
    router.set(State.DOWN)
    wait_for(lambda: len(first.lines) == 5, "one may go")
    wait_for(lambda: len(first.decisions("route_withdraw")) == 1, "recorded")
    first.signal(signal.SIGKILL)
    first.wait()
    second = launch(toml=text).ready()
    guard = wait_for(lambda: (answer := second.get("/guard")) and len(answer["held"]) == 3 and answer, "held as before")
    assert len(guard["withdrawn"]) == 1
    stays(
        lambda: not [each for each in second.lines if "withdraw" in each and each != first.lines[4]], "no more go", 1.5
    )


# --- the ladder, damping and the words -----------------------------------------------------------------------------


def test_the_ladder_is_climbed_down_and_up(launch, router):
    second = RouterThread().start()
    try:
        device = f'[[device]]\nname = "edge2"\nhost = "127.0.0.1"\nport = {second.port}\n'
        ladder = (
            SERVICE.replace(f'["edge1/{PEER}"]', f'["edge1/{PEER}", "edge2/{PEER}"]')
            + 'require = "all"\n[[service.step]]\nup = 1\nmed = 200\n'
        )
        process = launch(toml=toml(router.port, device, service=ladder)).ready()
        wait_for(lambda: process.lines[-1:] == [ANNOUNCE], "both up")
        first = len(process.lines)
        second.set(State.DOWN)
        wait_for(lambda: process.lines[first:] == [f"{ANNOUNCE} med 200"], "one of two")
        router.set(State.DOWN)
        wait_for(lambda: process.lines[first + 1 :] == [WITHDRAW], "none")
        second.set(State.UP)
        wait_for(lambda: process.lines[first + 2 :] == [f"{ANNOUNCE} med 200"], "one again")
        assert process.get("/services/dns")["health"] == "step 1"
    finally:
        second.stop()


def test_a_flapping_session_is_damped_and_still_falls_at_once(begun, router):
    damping = {"penalty": 1000, "cutoff": 1500, "reuse": 900, "half_life": 3.0, "ceiling": 4000}
    inline = "damping = { " + ", ".join(f"{key} = {value}" for key, value in damping.items()) + " }\n"
    process = begun(service=SERVICE + inline)
    for _ in range(2):
        router.set(State.DOWN)
        wait_for(lambda: process.lines[-1] == WITHDRAW, "down at once")
        router.set(State.UP)
        wait_for(
            lambda: process.lines[-1] == ANNOUNCE or process.events(event_type="bfd_damped"), "back, or known as damped"
        )
    assert process.lines[-1] == WITHDRAW
    assert wait_for(lambda: process.events(event_type="bfd_damped"), "said")
    wait_for(lambda: process.lines[-1] == ANNOUNCE, "used again when the penalty has decayed")


def test_why_tells_the_chain_and_replay_the_same_again(begun, router, tmp_path):
    process = begun()
    router.set(State.DOWN)
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "withdrawn")
    told = json.loads(ours(process, "why", "dns", "--json"))
    assert told["announced"] is False
    # On a busy machine the hasty withdraw was said again meanwhile.
    kinds = [event["event_type"] for event in told["chain"] if event["details"].get("layer") != "repair"]
    assert kinds[-2:] == ["bfd_failure", "route_withdraw"]
    router.set(State.UP)
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW, ANNOUNCE], "back")
    process.close_stdin()
    process.wait()
    same = json.loads(ours(process, "replay", "--json"))
    changes = same["changes"]
    assert [(change["made"] is None, change["would"] is None) for change in changes] == [(False, False)] * 3
    slower = Path(tmp_path / "slower.toml")
    slower.write_text(process.toml.read_text().replace("hold_up = 0.0", "hold_up = 600.0"))
    other = json.loads(cli(process, "replay", "--config", str(slower), "--json"))["changes"]
    # In that life it would never have been announced at all.
    assert [change["would"] for change in other] == [None] * 3
    assert NEXT_HOP in process.lines[0]
