"""What may befall ExaBGP, us and the peers, on ExaBGP 5 and 4: BIRD's and GoBGP's tables are watched all the time.

A fault ends well only when every table is as the BFD sessions have it: `Site.fault` waits for that, and fails after a
deadline. What must never be wrong at all, not for one look, is asserted here. For how long the rest is wrong is
measured by `python -m tests.bench faults`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from lab import wait_for
from lab.exabgp import V4, V5
from lab.faults import faults
from lab.judge import Wrong
from lab.site import Found, Routes, Site, usual

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
NEVER = Wrong()
FAULTS = faults(many=2000, fed=5000)


@pytest.fixture
def new_site(tmp_path, programs, release):
    """Makes the one site of a test."""

    @contextmanager
    def make(*, alone=False, **settings):
        """`alone` leaves GoBGP out."""
        judges = programs._replace(gobgpd="", gobgp="") if alone else programs
        with Site(tmp_path, judges, release, **settings) as site:
            try:
                yield site
            finally:
                print(site.output()[-20000:])

    return make


def suffer(site: Site, name: str) -> Found:
    """Has a fault happen; the tables are right before it and after it."""
    fault = FAULTS[name]
    with site.fault(name, fault.timeout) as found:
        fault.happen(site, found)
    return found


def test_what_befalls_us_takes_no_route_away(new_site):
    with new_site() as site:
        for name in ("nothing", "our keeper is killed", "our worker is stopped", "ExaBGP restarts us"):
            assert suffer(site, name).kept == NEVER, name
        assert suffer(site, "BIRD goes").peers["gobgp"]["kept"] == NEVER


def test_a_reload_of_exabgp_takes_no_route_away_and_new_neighbours_get_theirs(new_site):
    with new_site(**FAULTS["a neighbour is added"].site) as site:
        assert suffer(site, "ExaBGP reloads").kept == NEVER
        assert suffer(site, "a neighbour is added").peers["bird"]["kept"] == NEVER
        assert suffer(site, "a neighbour is changed").peers["gobgp"]["kept"] == NEVER
        assert suffer(site, "a neighbour is removed").peers["bird"]["kept"] == NEVER
        assert not site.exabgp.events(event_type="route_refused")


def test_an_exabgp_that_ends_is_followed_by_one_that_says_everything_again(new_site):
    with new_site(alone=True) as site:
        suffer(site, "ExaBGP is killed")
        suffer(site, "ExaBGP is restarted")


@pytest.mark.parametrize("release", [V4], indirect=True, ids=["exabgp4"])
def test_a_gobgp_that_goes_costs_the_other_nothing_and_gets_what_it_missed(new_site):
    """It waits for some seconds before it takes a session again."""
    with new_site() as site:
        assert suffer(site, "GoBGP goes").peers["bird"]["kept"] == NEVER


def test_what_changed_while_exabgp_did_nothing_is_right_in_the_end(new_site):
    """It does all of it in one breath, and then ExaBGP 4 and 5 send the last word on a route before the first."""
    with new_site(alone=True) as site:
        assert suffer(site, "ExaBGP is stopped").kept == NEVER


def test_without_answers_all_goes_as_with_them(new_site):
    with new_site(alone=True, **FAULTS["answers are off"].site) as site:
        assert suffer(site, "answers are off").kept == NEVER
        assert suffer(site, "killed, answers off").kept == NEVER
        assert not site.exabgp.events(event_type="route_refused")


def test_many_routes_at_once_take_no_other_away(new_site):
    with new_site(alone=True, **FAULTS["a crowd"].site) as site:
        assert suffer(site, "a crowd").kept == NEVER
        assert not site.exabgp.events(event_type="route_refused")


def test_a_feed_takes_no_route_away_and_is_stored_whole(new_site):
    with new_site(alone=True, **FAULTS["a feed"].site) as site:
        assert suffer(site, "a feed").kept == NEVER


SELF = Routes(("203.0.113.9/32",), "198.51.100.9", next_hop='"self"', refused=("2001:db8::9/128",))


def test_a_route_that_a_neighbour_cannot_carry_is_never_said_and_harms_nobody(new_site):
    """Next hop self of the other family: ExaBGP 4 says `done` to it, and its BGP session dies again and again."""
    # Without GoBGP, which takes no next hop of 127.0.0.0/8.
    with new_site(alone=True, routes={**usual(), "own": SELF}) as site:
        with site.fault("its session goes down and comes up") as found:
            for up in (False, True):
                site.set("own", up)
                wait_for(site.right, "the IPv4 route follows")
        assert found.kept == NEVER
        told = wait_for(lambda: _about(site, SELF.refused[0]), "an event says why it is not announced")
        assert any("IPv4" in str(event["details"]) for event in told), told
        # Nor is it said by the next of us, who does not know ExaBGP yet.
        assert suffer(site, "our keeper is killed").kept == NEVER
        suffer(site, "BIRD goes")


def _about(site: Site, prefix: str) -> list[dict]:
    """The events of what did not go well with a prefix."""
    kinds = ("route_refused", "route_unconfirmed")
    return [
        event for kind in kinds for event in site.exabgp.events(event_type=kind) if event["details"]["prefix"] == prefix
    ]


WATCHDOG = Routes(("203.0.113.11/32", "2001:db8::11/128"), "198.51.100.11", watchdog="withdraw")


def test_a_watchdog_stays_as_it_was_said_over_reloads(new_site, release):
    with new_site(routes={**usual(), "dog": WATCHDOG}, **FAULTS["a neighbour is added"].site) as site:
        # 4.2.21 announces what is withdrawn with each reload, and does not take it back for any word: it is warned of.
        for up in (True, False) if release != V4 else (True,):
            site.set("dog", up)
            with site.fault("ExaBGP reloads, with one more route of its own") as found:
                site.add_static(f"203.0.113.{50 + up}/32")
                site.reload()
            assert found.kept == NEVER
            found = suffer(site, "a neighbour is changed" if up else "a neighbour is added")
            assert found.kept.present == 0


def test_a_watchdog_that_a_reload_of_exabgp_announces_against_our_word_is_withdrawn_again(new_site):
    """Without `withdraw` in ExaBGP's configuration a new neighbour, or an old one with new routes, gets its routes."""
    with new_site(alone=True, routes={**usual(), "dog": replace(WATCHDOG, watchdog="")}) as site:
        site.settle("the start")
        site.set("dog", up=False)
        with site.fault("ExaBGP reloads, with one more route of its own"):
            site.add_static("203.0.113.50/32")
            site.reload()
        suffer(site, "a neighbour is changed")


@pytest.mark.parametrize("release", [V5], indirect=True, ids=["exabgp5"])
def test_the_bench_gives_its_figures(programs, release, tmp_path):
    file = tmp_path / "figures.json"
    command = [
        sys.executable,
        "-m",
        "tests.bench",
        "faults",
        "--exabgp",
        "5",
        "--fault",
        "nothing",
        "--json",
        str(file),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads(file.read_text())["measures"]["faults"]
    ((title, figures),) = measured["situations"].items()
    assert title == f"nothing, {release.version()}"
    assert f"\n{title} " in done.stdout
    assert figures["failed"] == ""
    assert figures["kept_missing_ms"] == figures["kept_present_ms"] == 0
    assert figures["turned_missing_ms"] > 0
    assert figures["turned_routes_present"] == figures["peers"]["gobgp"]["turned_routes_present"] == 2
