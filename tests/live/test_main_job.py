"""The main job: ExaBGP 5 or 4 starts our process, net-snmp's agent is the router, BIRD's table is the judge."""

from __future__ import annotations

import signal
import time
from contextlib import suppress

import pytest
from lab import stays, wait_for
from lab.bird import Bird
from lab.exabgp import V5, ExaBGP, alive, kill
from lab.keeping import worker_of

pytestmark = pytest.mark.live

V4, V6 = "198.51.100.53/32", "2001:db8::53/128"
BOTH = {V4, V6}

TOML = """
[snmp]
community = "{community}"
interval = 0.2
timeout = 0.5
retries = 1
stale_after = 2.0
[[device]]
name = "edge1"
host = "{host}"
port = {port}
[[service]]
name = "dns"
prefixes = ["198.51.100.53/32", "2001:db8::53/128"]
next_hop = ["192.0.2.10", "2001:db8::10"]
sessions = ["edge1/{peer}"]
rise = 2
hold_up = 0.5
"""


@pytest.fixture
def bird(need, tmp_path):
    peer = Bird(need("bird", "bird2"), need("birdc", "bird2"), tmp_path)
    peer.start()
    yield peer
    peer.stop()


@pytest.fixture
def site(snmpd, bird, release, tmp_path):
    toml = TOML.format(community=snmpd.community, host=snmpd.host, port=snmpd.port, peer=snmpd.peer(1))
    speaker = ExaBGP(tmp_path, [bird.neighbor], toml, release=release)
    speaker.start()
    yield speaker
    speaker.stop()
    print(speaker.output())
    print(bird.output())


@pytest.fixture
def announced(site, bird):
    """The site, with its routes at the peer."""
    wait_for(lambda: bird.routes() == BOTH, "both routes at BIRD")
    return site


def test_down_withdraws_and_recovery_announces_both_families(announced, bird, snmpd):
    snmpd.set_state(1, "down")
    wait_for(lambda: not bird.routes(), "withdrawn after Down")
    snmpd.set_state(1, "up")
    wait_for(lambda: bird.routes() == BOTH, "announced after recovery")
    assert "192.0.2.10" in bird.route(V4)
    assert "2001:db8::10" in bird.route(V6)
    chain = [wait_for(lambda: _announced_again(announced), "the UPDATE of the recovery was seen")]
    while chain[-1]["cause"] is not None:
        chain.append(announced.get(f"/events?limit=1&cursor={chain[-1]['cause'] + 1}")["events"][0])
    assert [event["event_type"] for event in chain] == [
        "route_confirmed",
        "route_announce",
        "bfd_recovery",
        "snmp_poll",
    ]


@pytest.mark.parametrize("release", [V5], indirect=True, ids=["exabgp5"])
def test_an_agent_that_stops_changes_nothing(announced, bird, snmpd):
    snmpd.stop()
    wait_for(lambda: announced.get("/sessions")["sessions"][0]["state"] == "unknown", "the session is unknown to us")
    stays(lambda: bird.routes() == BOTH, "routes kept while nothing is known", 2.0)
    snmpd.start()
    wait_for(lambda: announced.get("/sessions")["sessions"][0]["state"] == "up", "the session is up again")
    assert bird.routes() == BOTH
    assert not announced.events(event_type="route_withdraw")


def test_a_killed_process_is_respawned_and_the_peer_sees_nothing(announced, bird):
    table = bird.watch()
    wait_for(table.held, "the table is looked at all the time")
    begun = time.monotonic()
    first = wait_for(announced.child, "our process")
    kill(first, signal.SIGKILL)
    wait_for(lambda: announced.child() not in (None, first), "the respawned process")
    wait_for(lambda: announced.get("/readyz"), "ready again")
    wait_for(lambda: not announced.get("/services/dns")["adopted"], "decided anew")
    started = announced.events(event_type="started")
    assert len(started) == 2
    assert started[0]["id"] > started[1]["id"]
    assert not announced.events(event_type="route_withdraw")
    assert bird.routes() == BOTH
    for prefix in BOTH:
        assert table.switches(prefix, begun, time.monotonic()) == [(begun, True)], "it never was away"


def test_a_route_that_died_while_we_were_dead_is_withdrawn_by_the_next(announced, bird, snmpd):
    first = wait_for(announced.child, "our process")
    worker = worker_of(first)
    for each in (first, worker):
        kill(each, signal.SIGSTOP)
    snmpd.set_state(1, "down")
    for each in (first, worker):
        with suppress(ProcessLookupError):  # the worker does not outlive the one that ExaBGP started
            kill(each, signal.SIGKILL)
    wait_for(lambda: not bird.routes(), "withdrawn by the respawned process")


def test_sigterm_to_exabgp_ends_everything_in_its_time(announced, bird):
    child = wait_for(announced.child, "our process")
    announced.signal(signal.SIGTERM)
    announced.wait(10)
    # ExaBGP kills after 2 s; ours must have gone by itself before, and have said why.
    wait_for(lambda: not alive(child), "our process is gone", timeout=2)
    assert "stopped: ExaBGP is shutting down" in announced.output()


def test_a_restarted_exabgp_gets_its_routes_again(announced, bird):
    announced.stop()
    wait_for(lambda: not bird.routes(), "gone with ExaBGP")
    announced.start()
    wait_for(lambda: bird.routes() == BOTH, "announced again")
    started = wait_for(lambda: announced.events(event_type="started"), "the API is up")[0]
    again = [event for event in announced.events(event_type="route_announce") if event["cause"] == started["id"]]
    assert {event["details"]["prefix"] for event in again} == BOTH
    assert "ExaBGP started anew" in again[0]["details"]["rule"]


@pytest.mark.parametrize("release", [V5], indirect=True, ids=["exabgp5"])
def test_vanished_row_is_withdrawn_only_after_a_second_look(announced, bird, snmpd):
    snmpd.remove(1)
    wait_for(lambda: not bird.routes(), "withdrawn")
    failures = wait_for(lambda: announced.events(event_type="bfd_failure"), "the failure is on disk")
    assert [event["details"]["state"] for event in failures] == ["missing"]


def _announced_again(site):
    """The newest confirmed announce, once a withdraw has been confirmed before it."""
    confirmed = site.events(event_type="route_confirmed")
    if "withdraw" not in [event["details"]["action"] for event in confirmed]:
        return None
    return confirmed[0] if confirmed[0]["details"]["action"] == "announce" else None
