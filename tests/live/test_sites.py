"""Several sites with one MongoDB, each a real process: the last one stays, and orders for all of them."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lab import stays, wait_for
from lab.mongod import Cable, Mongod, needed
from lab.process import ANNOUNCE, WITHDRAW
from lab.sites import Site, member_of_one

from exabgp_bfd.core.model import State

pytestmark = pytest.mark.live

FRESH = 6.0
SELDOM = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Mongod]:
    needed()
    server = Mongod(tmp_path_factory.mktemp("mongod"))
    yield server
    server.stop()


@pytest.fixture
def mongod(server) -> Mongod:
    """One for all tests, which runs, and in which nothing is stored yet."""
    if not server.running:
        server.launch()
    with server.client() as client:
        client.drop_database("exabgp_bfd")
    return server


@pytest.fixture
def replica(tmp_path) -> Iterator[Mongod]:
    needed()
    server = member_of_one(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def found(tmp_path) -> Iterator[Callable[..., Site]]:
    """Founds a site that announces `dns`; in the end all are stopped, and searched for what none may do."""
    sites: list[Site] = []

    def make(name: str, port: int, *, heartbeat: float = 1.0, fresh: float = FRESH, **more: Any) -> Site:
        uri = f"mongodb://127.0.0.1:{port}/exabgp_bfd?timeoutMS=1000&directConnection=true"
        site = Site(tmp_path / name, name, uri, heartbeat=heartbeat, fresh=fresh, **more)
        sites.append(site)
        site.start().process.ready()
        wait_for(lambda: site.lines == [ANNOUNCE], f"announced; {site.process.log()}")
        return site

    yield make
    for site in sites:
        site.stop()
    assert not [fault for site in sites for fault in site.faults()]


@pytest.fixture
def two(mongod, found) -> tuple[Site, Site]:
    """ams and fra, which both announce and have heard of each other."""
    return meet(found("ams", mongod.port), found("fra", mongod.port))


def meet(*sites: Site) -> tuple[Site, ...]:
    names = sorted(site.name for site in sites)
    for site in sites:
        wait_for(lambda site=site: sorted(site.announced_by()) == names, f"met; {site.process.log()}")
    return sites


# --- the last site ----------------------------------------------------------------------------------------------------


def test_the_last_site_stays_and_goes_when_another_is_back(two):
    ams, fra = two
    ams.router.set(State.DOWN)
    wait_for(lambda: ams.lines == [ANNOUNCE, WITHDRAW], "fra is there, so ams goes")
    wait_for(lambda: fra.announced_by() == ["fra"], "which fra hears")
    fra.router.set(State.DOWN)
    (held,) = wait_for(lambda: fra.process.events(event_type="last_site_held"), "fra stays, and says so")
    assert held["details"]["targets"]
    assert fra.process.get("/services/dns")["layer"] == "last_site"
    told = fra.process.get("/services?scope=all")
    assert told["cut_off"] is False
    assert {each["site"]: each["fresh"] for each in told["sites"]} == {"ams": True, "fra": True}
    (dns,) = told["services"]
    assert {each["site"]: (each["state"], each["layer"]) for each in dns["sites"]} == {
        "ams": ("withdrawn", "health"),
        "fra": ("announced", "last_site"),
    }
    assert all(each["since"] for each in dns["sites"])
    stays(lambda: fra.lines == [ANNOUNCE] and ams.lines == [ANNOUNCE, WITHDRAW], "neither moves", 3.0)
    ams.router.set(State.UP)
    wait_for(lambda: ams.lines == [ANNOUNCE, WITHDRAW, ANNOUNCE], "ams is well again")
    wait_for(lambda: fra.lines == [ANNOUNCE, WITHDRAW], "and fra may go")
    (released,) = wait_for(lambda: fra.process.events(event_type="last_site_released"), "which is recorded")
    assert released["details"]["sites"] == ["ams"]


def test_two_that_go_at_once_come_back_and_one_of_them_stays(mongod, two):
    ams, fra = two
    with mongod.stalled():  # so that neither hears that the other goes
        for site in (ams, fra):
            site.router.set(State.DOWN)
        for site in (ams, fra):
            wait_for(lambda site=site: site.lines == [ANNOUNCE, WITHDRAW], "the other seemed to be there")

    def one_stays() -> bool:
        names = [site.name for site in (ams, fra) if site.lines[-1] == ANNOUNCE]
        return len(names) == 1 and ams.announced_by() == fra.announced_by() == names

    wait_for(one_stays, f"nobody is there: they are back, and then one need not be; {ams.process.log()}")
    before = [list(site.lines) for site in (ams, fra)]
    stays(lambda: [site.lines for site in (ams, fra)] == before, "nobody comes and goes", 4.0)
    # Who goes in the end may have been back before it heard of the other, once.
    assert sorted(map(len, before)) in ([2, 3], [3, 4])
    layers = {site.process.get("/services/dns")["layer"] for site in (ams, fra)}
    assert layers == {"last_site", "health"}


def test_a_site_that_is_cut_off_decides_alone(mongod, found):
    with contextlib.closing(Cable(mongod.port)) as cable:
        ams, fra = meet(found("ams", mongod.port), found("fra", cable.port))
        ams.router.set(State.DOWN)
        wait_for(lambda: fra.announced_by() == ["fra"], "ams went")
        cable.stall()
        fra.router.set(State.DOWN)
        wait_for(lambda: fra.count("last_site_held"), "held without a word from MongoDB, which hangs")
        assert fra.process.request("/healthz")[0] == 200
        wait_for(lambda: fra.lines == [ANNOUNCE, WITHDRAW], "then nobody can tell any more, and it goes")
        (released,) = wait_for(lambda: fra.process.events(event_type="last_site_released"), "which is recorded")
        assert released["details"]["cut_off"] is True
        assert fra.process.get("/services?scope=all")["cut_off"] is True
        wait_for(lambda: ams.lines[2:] == [ANNOUNCE], "ams hears nothing of fra, and is the last now")
        fra.router.set(State.UP)
        wait_for(lambda: fra.lines == [ANNOUNCE, WITHDRAW, ANNOUNCE], "cut off or not, it polls and routes")
        cable.mend()
        wait_for(lambda: ams.lines[3:] == [WITHDRAW], "ams hears of it")


def neighbor_is(state: str, number: int) -> bytes:
    """A BGP session's state, as ExaBGP 5 tells it."""
    told = {
        "exabgp": "5.0.0",
        "time": 1795176000.0 + number,
        "host": "h",
        "pid": 1,
        "ppid": 1,
        "counter": number,
        "type": "state",
        "neighbor": {
            "address": {"local": "127.0.0.1", "peer": "127.0.0.2"},
            "asn": {"local": 65001, "peer": 65002},
            "state": state,
        },
    }
    return json.dumps(told).encode() + b"\n"


def test_a_site_whose_bgp_sessions_are_down_is_not_relied_on(two):
    ams, fra = two
    ams.process.write(neighbor_is("up", 1) + neighbor_is("down", 2))
    wait_for(lambda: fra.announced_by() == ["fra"], f"nobody hears the route of ams; {ams.process.log()}")
    assert ams.lines == [ANNOUNCE]  # by its own sessions all is well
    fra.router.set(State.DOWN)
    wait_for(lambda: fra.count("last_site_held"), "so fra is the last")
    ams.process.write(neighbor_is("up", 3))
    wait_for(lambda: fra.lines == [ANNOUNCE, WITHDRAW], "and may go when the BGP session is back")


def test_a_reload_that_asks_to_stay_as_the_last_knows_who_else_is_there(mongod, found):
    # Another service asks for it already, so that the engine was told of the other sites; its session is never up.
    ntp = '[[service]]\nname = "ntp"\nprefixes = ["198.51.100.1/32"]\n'
    ntp += 'sessions = ["edge1/198.51.100.9"]\nkeep_last = true\n'
    ams, fra = found("ams", mongod.port), found("fra", mongod.port, keep_last=False, more=ntp)
    meet(ams, fra)
    fra.router.set(State.DOWN)
    wait_for(lambda: fra.lines == [ANNOUNCE, WITHDRAW], "it goes")
    fra.keep_last()
    wait_for(lambda: fra.process.events(event_type="reloaded"), f"it holds; {fra.process.log()}")
    assert not fra.count("last_site_held")
    assert fra.lines == [ANNOUNCE, WITHDRAW]
    ams.router.set(State.DOWN)
    wait_for(lambda: ams.count("last_site_held"), "and it holds indeed: ams is the last, for fra is gone")


def test_a_restart_of_the_last_site_takes_nothing_back(two):
    ams, fra = two
    ams.router.set(State.DOWN)
    wait_for(lambda: fra.announced_by() == ["fra"], "ams went")
    fra.router.set(State.DOWN)
    wait_for(lambda: fra.count("last_site_held"), "fra stays")
    fra.process.signal(signal.SIGKILL)
    fra.process.wait()
    fra.again().process.ready()
    wait_for(lambda: fra.process.get("/sessions")["sessions"], "its session is known to be down")
    wait_for(lambda: fra.process.get("/services/dns")["layer"] == "last_site", f"it stays; {fra.process.log()}")
    stays(lambda: WITHDRAW not in fra.lines, "and never went", 3.0)


def test_a_site_that_ends_with_its_exabgp_is_missed_at_once(mongod, found):
    ams, fra = meet(*(found(name, mongod.port, heartbeat=SELDOM, fresh=2 * SELDOM) for name in ("ams", "fra")))
    ams.process.close_stdin()
    ams.process.wait()
    wait_for(lambda: fra.announced_by() == ["fra"], "long before it is not fresh any more")


def test_a_mongodb_that_hangs_does_not_keep_a_site_from_its_end(mongod, two):
    ams, _ = two
    with mongod.stalled():
        ams.router.set(State.DOWN)
        wait_for(lambda: ams.lines == [ANNOUNCE, WITHDRAW], "nor from a withdraw")
        assert ams.process.end_as_exabgp_does() == 0  # else ExaBGP had to kill it


# --- orders for all sites ---------------------------------------------------------------------------------------------


def order(site: Site, action: str = "withdraw", **more: object) -> dict[str, Any]:
    status, answer = site.ask(
        "PUT", "/services/dns/override", {"action": action, "reason": "works", "scope": "all", **more}
    )
    assert status == 200, answer
    return answer


@pytest.mark.parametrize("kind", ["mongod", "replica"], ids=["poll", "change streams"])
def test_an_order_for_all_sites_holds_at_each_of_them(kind, request, found):
    server: Mongod = request.getfixturevalue(kind)
    # With change streams nobody asks before the next heartbeat, for which no test waits.
    pace = {"heartbeat": SELDOM, "fresh": 2 * SELDOM} if kind == "replica" else {}
    ams, fra = meet(*(found(name, server.port, **pace) for name in ("ams", "fra")))
    began = time.monotonic()
    answer = order(ams, ttl="1h")
    assert answer["scope"] == "all"
    assert answer["override"]["expires"]
    wait_for(lambda: fra.lines == [ANNOUNCE, WITHDRAW], f"fra takes it; {fra.process.log()}", pause=0.005)
    print(f"{kind}: taken after {time.monotonic() - began:.3f} s")
    assert ams.lines == [ANNOUNCE, WITHDRAW]
    for site in (ams, fra):
        wait_for(lambda site=site: site.count("override_set") == 1, "recorded once")
    events = {site.name: site.process.events(event_type="override_set") for site in (ams, fra)}
    assert [each["id"] for each in events["ams"]] == [answer["event"]]
    for (event,) in events.values():
        assert (event["service"], event["details"]["reason"], event["source"]) == ("dns", "works", "api")
        assert event["actor"] == events["ams"][0]["actor"]
    overrides = [site.process.get("/services/dns")["override"] for site in (ams, fra)]
    assert overrides[0] == overrides[1]
    status, cleared = fra.ask("DELETE", "/services/dns/override", {"scope": "all", "reason": "done"})
    assert (status, cleared["override"]) == (200, None)
    for site in (ams, fra):
        wait_for(lambda site=site: site.lines == [ANNOUNCE, WITHDRAW, ANNOUNCE], f"{site.name} is back")
        wait_for(lambda site=site: site.count("override_cleared") == 1, "once")
        assert site.count("override_set") == 1


def test_a_site_that_was_away_takes_what_still_holds(two):
    ams, fra = two
    fra.process.signal(signal.SIGKILL)
    fra.process.wait()
    order(ams)
    fra.again().process.ready()
    wait_for(lambda: fra.count("override_set") == 1, f"fra takes it; {fra.process.log()}")
    wait_for(lambda: fra.lines[-1:] == [WITHDRAW], "and goes")
    # Nor does another start take it twice, whatever the last one had time to note.
    fra.process.signal(signal.SIGKILL)
    fra.process.wait()
    fra.again().process.ready()
    wait_for(lambda: len(fra.process.get("/services?scope=all")["sites"]) == 2, "it hears")
    stays(lambda: fra.count("override_set") == 1, "only once", 2.0)


def test_a_site_that_was_away_takes_that_an_order_was_taken_back(two):
    ams, fra = two
    order(ams)
    wait_for(lambda: fra.count("override_set") == 1, "fra takes it")
    fra.process.signal(signal.SIGKILL)
    fra.process.wait()
    assert ams.ask("DELETE", "/services/dns/override?scope=all")[0] == 200
    fra.again().process.ready()
    wait_for(lambda: fra.lines[-1:] == [ANNOUNCE], "it is back")
    wait_for(lambda: fra.count("override_cleared") == 1, "by the word of ams")
    assert fra.count("override_set") == 1


def test_what_is_over_when_a_site_comes_back_is_not_taken(two):
    ams, fra = two
    fra.process.signal(signal.SIGKILL)
    fra.process.wait()
    order(ams, ttl=0.5)
    wait_for(lambda: ams.count("override_expired"), "over")
    fra.again().process.ready()
    wait_for(lambda: len(fra.announced_by()) == 2, "fra hears of ams")
    stays(lambda: WITHDRAW not in fra.lines and not fra.count("override_set"), "nothing is left of it", 2.0)


def test_a_site_s_own_word_afterwards_stays_its_own(two):
    ams, fra = two
    order(ams)
    wait_for(lambda: fra.lines == [ANNOUNCE, WITHDRAW], "fra takes it")
    assert fra.ask("DELETE", "/services/dns/override")[0] == 200
    wait_for(lambda: fra.lines == [ANNOUNCE, WITHDRAW, ANNOUNCE], "fra alone is back")
    stays(lambda: len(fra.lines) == 3 and ams.lines == [ANNOUNCE, WITHDRAW], "and it stays so", 2.5)
    order(ams, "freeze")
    wait_for(lambda: fra.count("override_set") == 2, "the next one is another")


def test_without_mongodb_no_order_for_all_is_taken_but_one_s_own_is(mongod, two):
    ams, fra = two
    mongod.kill()
    status, answer = ams.ask("PUT", "/services/dns/override", {"action": "withdraw", "reason": "works", "scope": "all"})
    assert status == 503, answer
    assert "MongoDB" in answer["detail"]
    assert ams.ask("PUT", "/services/dns/override", {"action": "withdraw", "reason": "works"})[0] == 200
    wait_for(lambda: ams.lines == [ANNOUNCE, WITHDRAW], "here at least")
    assert fra.lines == [ANNOUNCE]
    for bad in ({"action": "withdraw", "reason": "x", "scope": "all", "expires": "2001-01-01T00:00:00Z"},):
        assert ams.ask("PUT", "/services/dns/override", bad)[0] == 422
