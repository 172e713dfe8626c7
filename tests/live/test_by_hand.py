"""POST /command and /shutdown under the real ExaBGP: BIRD sees what is said by hand come, stay and go."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request

import pytest
from lab import wait_for
from lab.bird import Bird
from lab.exabgp import V5, ExaBGP, kill
from lab.process import COMMUNITY, PEER

pytestmark = pytest.mark.live

OWNED, MINE, OTHER = "198.51.100.53/32", "203.0.113.7/32", "2001:db8::7/128"
SAID = f"announce route {MINE} next-hop 192.0.2.10 med 50 community [ 65000:1 no-export ] large-community 65000:1:2"
TOML = """
[snmp]
community = "{community}"
interval = 0.2
[[device]]
name = "edge1"
host = "127.0.0.1"
port = {port}
[[service]]
name = "dns"
prefixes = ["{owned}"]
next_hop = "192.0.2.10"
sessions = ["edge1/{peer}"]
rise = 1
hold_up = 0.0
"""


class Site(ExaBGP):
    """An ExaBGP with our process, and what an operator says to that."""

    def ask(self, method: str, path: str, body: dict[str, object] | None = None) -> tuple[int, dict]:
        key = self.journal.with_name("admin.key").read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api_port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"X-API-Key": key, "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def say(self, command: str, **more: object) -> tuple[int, dict]:
        return self.ask("POST", "/command", {"command": command, **more})


@pytest.fixture
def bird(need, tmp_path):
    peer = Bird(need("bird", "bird2"), need("birdc", "bird2"), tmp_path)
    peer.start()
    yield peer
    peer.stop()


@pytest.fixture
def site(router, bird, release, tmp_path):
    toml = TOML.format(community=COMMUNITY, port=router.router.port, owned=OWNED, peer=PEER)
    speaker = Site(tmp_path, [bird.neighbor], toml, release=release)
    speaker.start()
    try:
        wait_for(lambda: bird.routes() == {OWNED}, "the service's route at BIRD")
        wait_for(
            lambda: (speaker.get("/health") or {"exabgp": {}})["exabgp"].get("neighbors"), "who its neighbours are"
        )
        yield speaker
    finally:
        speaker.stop()
        print(speaker.output())
    print(bird.output())


def test_a_route_is_announced_and_withdrawn_by_hand(site, bird):
    status, told = site.say(SAID, dry_run=True)
    assert (status, told["refused"]) == (200, None)
    assert MINE not in bird.routes()

    status, said = site.say(SAID, reason="a test")
    assert (status, said["answer"], said["confirmed"], said["missing"]) == (200, "done", ["127.0.0.1"], {})
    assert said["lines"] == told["lines"][told["dialect"]]
    held = wait_for(lambda: MINE in bird.routes() and bird.route(MINE), "at BIRD")
    for attribute in ("bgp_med: 50", "(65000,1)", "(65000, 1, 2)", "bgp_next_hop: 192.0.2.10"):
        assert attribute.replace("bgp_", "BGP.") in held or attribute in held
    [stands] = site.get("/command")["commands"]
    assert (stands["key"], stands["reason"], stands["announced"]) == (MINE, "a test", True)
    [event] = site.events(event_type="command")
    assert (event["id"], event["service"], event["details"]["prefix"]) == (said["event"], "by hand", MINE)

    assert site.say(f"withdraw route {OWNED}")[0] == 409
    assert site.say(f"announce route {MINE} next-hop self\nshutdown")[0] == 422
    assert site.say("shutdown")[0] == 422
    assert bird.routes() == {OWNED, MINE}

    status, said = site.say(f"withdraw route {MINE}")
    assert (status, said["answer"], said["confirmed"]) == (200, "done", ["127.0.0.1"])
    wait_for(lambda: bird.routes() == {OWNED}, "gone from BIRD")
    assert not site.get("/command")["commands"][0]["announced"]

    status, heard = site.say("show neighbor summary")
    assert (status, heard["answer"], heard["complete"]) == (200, "done", True)
    assert any("127.0.0.1" in line for line in heard["text"])
    # One question a second, whatever it is.
    heard = wait_for(lambda: (answer := site.say("version"))[0] == 200 and answer[1], "the version")
    assert any("exabgp" in line.lower() for line in heard["text"])


@pytest.mark.parametrize("release", [V5], indirect=True, ids=["exabgp5"])
def test_what_is_said_by_hand_outlives_us_and_exabgp(site, bird):
    for prefix, hop in ((MINE, "192.0.2.10"), (OTHER, "2001:db8::1")):
        assert site.say(f"announce route {prefix} next-hop {hop}")[1]["answer"] == "done"
    wait_for(lambda: bird.routes() == {OWNED, MINE, OTHER}, "all at BIRD")

    # An end that was asked for: ExaBGP starts us again, and the routes stay meanwhile.
    status, told = site.ask("POST", "/shutdown?dry_run=true")
    assert (status, sorted(told["stays"]), told["commands"]) == (200, sorted([OWNED, MINE, OTHER]), [])
    first = site.child()
    status, ending = site.ask("POST", "/shutdown", {"reason": "a test"})
    assert (status, ending["status"], "starts this program again" in ending["then"]) == (202, "stopping", True)
    wait_for(lambda: site.child() not in (None, first), "ExaBGP has started us again")
    stopped = wait_for(lambda: site.events(event_type="stopped"), "we are back")[0]
    assert f"(event {ending['event']})" in stopped["details"]["reason"]
    assert "a test" in stopped["details"]["reason"]
    assert bird.routes() == {OWNED, MINE, OTHER}
    stand = wait_for(lambda: site.get("/command"), "the API is up")
    assert {each["key"] for each in stand["commands"]} == {MINE, OTHER}
    assert site.say(f"withdraw route {OTHER}")[1]["answer"] == "done"
    wait_for(lambda: bird.routes() == {OWNED, MINE}, "one is withdrawn by our successor")

    # ExaBGP dies with all that it held.
    kill(site.pid, signal.SIGKILL)
    site.stop()
    wait_for(lambda: not bird.routes(), "gone with ExaBGP")
    site.start()
    wait_for(lambda: bird.routes() == {OWNED, MINE}, "what stands is announced again")
