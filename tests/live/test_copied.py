"""The whole process beside a real mongod, and what ExaBGP said before there was a journal."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import wait_for
from lab.mongod import Mongod, needed
from lab.process import ANNOUNCE, WITHDRAW, Process, RouterThread, toml
from lab.sites import Site

from exabgp_bfd.core.model import State

pytestmark = pytest.mark.live


@pytest.fixture
def mongod(tmp_path) -> Iterator[Mongod]:
    needed()
    server = Mongod(tmp_path).launch()
    yield server
    server.stop()


@pytest.fixture
def site(tmp_path, mongod) -> Iterator[Site]:
    uri = f"mongodb://127.0.0.1:{mongod.port}/exabgp_bfd?timeoutMS=1000&directConnection=true"
    made = Site(tmp_path / "ams", "ams", uri, heartbeat=1.0, fresh=6.0)
    made.start().process.ready()
    yield made
    made.stop()
    assert not made.faults()


def neighbor_state(number: int) -> bytes:
    """A neighbour comes up, as ExaBGP 5 says it."""
    told = {
        "exabgp": "5.0.0",
        "time": 1795176000.0 + number,
        "host": "h",
        "pid": 1,
        "ppid": 1,
        "counter": number,
        "type": "state",
        "neighbor": {
            "address": {"local": "127.0.0.1", "peer": f"127.0.0.{number}"},
            "asn": {"local": 65001, "peer": 65002},
            "state": "up",
        },
    }
    return json.dumps(told).encode() + b"\n"


def everywhere(site: Site) -> tuple[list[int], str]:
    """The numbers of the site's events as the one store of all sites has them, and which store answered."""
    answer = site.process.get("/events?site=ams&limit=1000") or {"events": [], "store": ""}
    return [event["id"] for event in answer["events"]], answer["store"]


def test_the_copy_through_a_failure_of_mongodb_and_our_own_end(site, mongod):
    wait_for(lambda: site.lines == [ANNOUNCE], "announced")
    wait_for(lambda: site.process.metric("exabgp_bfd_mongodb_up") == 1.0, "the metrics say that MongoDB answers")
    mongod.stop()
    wait_for(lambda: site.process.events(event_type="store_down"), "its end is told")
    site.router.set(State.DOWN)
    wait_for(lambda: site.lines == [ANNOUNCE, WITHDRAW] or site.count("last_site_held"), "we go on deciding")
    assert wait_for(lambda: everywhere(site)[1] == "journal", "the journal answers instead")
    assert site.process.metric("exabgp_bfd_mongodb_up") == 0.0
    wait_for(lambda: site.process.metric("exabgp_bfd_mongodb_behind_records"), "it is behind, and the metrics tell")
    mongod.launch()
    (back,) = wait_for(lambda: site.process.events(event_type="store_up"), "it is back")
    assert back["details"]["store"] == "mongodb"

    def whole() -> bool:
        there, store = everywhere(site)
        return store == "mongodb" and there == [
            event["id"] for event in site.process.get("/events?limit=1000")["events"]
        ]

    wait_for(whole, "both stores tell the same")
    site.process.signal(signal.SIGTERM)
    site.process.wait()
    with mongod.client() as client:
        found = list(client["exabgp_bfd"]["events"].find({}, {"number": 1, "event_type": 1}))
    numbers = sorted(each["number"] for each in found)
    assert numbers == list(range(1, len(numbers) + 1)), "each once, and none is missing"


def test_a_mongodb_that_stalls_holds_nothing_up_not_even_our_end(site, mongod):
    wait_for(lambda: site.lines == [ANNOUNCE], "announced")
    wait_for(lambda: everywhere(site)[1] == "mongodb", "the copy is there")
    with mongod.stalled():
        site.router.set(State.DOWN)
        wait_for(lambda: site.count("bfd_failure"), "it is seen and recorded")
        assert site.process.request("/health")[0] == 200
        assert site.process.end_as_exabgp_does() == 0, "ExaBGP had to kill us"


def test_what_exabgp_says_before_there_is_a_journal_is_kept(tmp_path: Path):
    router = RouterThread().start()
    process = Process(tmp_path, toml="")
    process.toml.write_text("nonsense = 1\n")
    process.start()
    try:
        wait_for(lambda: "cannot start yet" in process.log(), "it waits for the remedy")
        for number in (2, 3):
            process.write(neighbor_state(number))
        time.sleep(0.2)
        assert process.running
        process.write_toml(toml(router.port))
        process.ready()
        process.write(neighbor_state(4))

        def peers() -> list[Any]:
            answer = process.get("/bgp/messages?type=state")
            return [message["neighbor"] for message in answer["messages"]] if answer else []

        wait_for(lambda: peers() == ["127.0.0.4", "127.0.0.3", "127.0.0.2"], f"all of them, in order: {peers()}")
    finally:
        process.stop()
        router.stop()
    assert not list(process.faults())
