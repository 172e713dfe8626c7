"""ExaBGP and BIRD: what BIRD announces is in the received-routes table, through its resets and our own end."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import wait_for
from lab.bird import FEED_BEGINS, Bird
from lab.exabgp import V5, ExaBGP, Release

pytestmark = pytest.mark.live

ROUTES = 300
PEER = "127.0.0.3"

# One session and one service that nobody decides on: ExaBGP's messages are what is looked at.
TOML = """
[[device]]
name = "edge1"
host = "127.0.0.1"
port = 9
community = "none"
[[service]]
name = "dns"
prefixes = ["192.0.2.53/32"]
sessions = ["edge1/*"]
"""


class Store:
    """The API's lists about BGP."""

    def __init__(self, exabgp: ExaBGP) -> None:
        self._exabgp = exabgp

    def all(self, what: str, name: str, query: str) -> list[dict]:
        found: list[dict] = []
        cursor = ""
        while True:
            answer = self._exabgp.get(f"/bgp/{what}?limit=1000&{query}{cursor}")
            if answer is None:
                return []
            found += answer[name]
            if answer["next_cursor"] is None:
                return found
            cursor = f"&cursor={answer['next_cursor']}"

    def routes(self, query: str = "") -> list[dict]:
        return self.all("routes", "routes", f"neighbor={PEER}&{query}")

    def table(self) -> dict:
        answer = self._exabgp.get("/bgp/neighbors") or {"neighbors": []}
        for neighbor in answer["neighbors"]:
            for table in neighbor["tables"]:
                if (neighbor["neighbor"], table["family"], table["direction"]) == (PEER, "ipv4 unicast", "receive"):
                    return {**table, "state": neighbor["state"]}
        return {}


@pytest.fixture
def feeder(need, tmp_path: Path) -> Iterator[Bird]:
    program = Bird(
        need("bird", "bird2"), need("birdc", "bird2"), tmp_path, name="feeder", address=PEER, asn=65004, feed=ROUTES
    )
    program.start()
    yield program
    program.stop()


@pytest.fixture(params=[V5], ids=["exabgp5"])
def exabgp(request, need, tmp_path: Path, feeder: Bird) -> Iterator[ExaBGP]:
    release: Release = request.param
    need(release.command[0], "exabgp")
    program = ExaBGP(tmp_path, [feeder.neighbor], TOML, release=release)
    program.start()
    yield program
    program.stop()


def prefixes(routes: list[dict]) -> set[str]:
    return {route["prefix"] for route in routes}


def test_what_bird_announces_is_in_the_table_through_resets_and_our_end(exabgp: ExaBGP, feeder: Bird) -> None:
    store = Store(exabgp)
    expected = {f"10.128.{n >> 8}.{n & 255}/32" for n in range(ROUTES)}
    assert FEED_BEGINS == 10 << 24 | 128 << 16
    wait_for(lambda: exabgp.get("/health") is not None, "we do not answer")
    feeder.disable()  # so that we see a session from its beginning
    feeder.enable()
    wait_for(lambda: store.table().get("state") == "up" and store.table()["end_of_rib"], "the end of RIB was not seen")
    feeder.feed(True)
    wait_for(lambda: prefixes(store.routes("stale=false")) == expected, "the feed is not in the table")
    assert store.table()["complete"]
    route = store.routes("prefix=10.128.0.7/32")[0]
    assert (route["next_hop"], route["attributes"]["origin"]) == (PEER, "igp")
    assert len(store.routes("prefix=10.128.1.0/24&match=longer")) == ROUTES - 256
    assert prefixes(store.routes("prefix=10.128.0.7/32&match=covering")) == {"10.128.0.7/32"}
    assert (
        sum(rate["announced"] for rate in store.all("rates", "rates", f"neighbor={PEER}&direction=receive")) == ROUTES
    )

    # A reset: all is stale until BIRD has said it again.
    feeder.disable()
    wait_for(lambda: store.table().get("state") == "down", "the reset was not seen")
    assert prefixes(store.routes("stale=true")) == expected
    feeder.enable()
    wait_for(lambda: prefixes(store.routes("stale=false")) == expected, "the routes were not renewed")
    wait_for(lambda: store.table()["end_of_rib"] and not store.table()["renewing"], "there is no end of RIB")

    # Our own end: ExaBGP says nothing again to who comes after, and the table is there.
    child = exabgp.child()
    assert child is not None
    os.kill(child, signal.SIGKILL)
    wait_for(lambda: exabgp.child() not in (None, child), "nobody came after us")
    wait_for(lambda: prefixes(store.routes("stale=false")) == expected, "the table did not outlive us")
    wait_for(lambda: not store.table()["complete"], "nobody says that something may have been missed")

    # What is taken back goes, and its history tells so.
    feeder.feed(False)
    wait_for(lambda: not store.routes(), "what was taken back is still there")
    history = store.all("history", "changes", "prefix=10.128.0.7/32")
    assert [change["kind"] for change in history][:1] == ["withdraw"]
    assert {change["kind"] for change in history} == {"withdraw", "announce"}
    said = store.all("messages", "messages", "prefix=10.128.0.7/32&type=update")
    assert all(re.search(r'"10\.128\.0\.7/32"', str(message["message"]).replace("'", '"')) for message in said)
    assert len(said) == len({change["message"] for change in history})
