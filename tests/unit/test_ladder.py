"""Ladders: how a service stays announced while it is not well, step by step, and with which attributes."""

from dataclasses import replace

import pytest
from lab.house import (
    ADMIN_DOWN,
    DOWN,
    N1,
    N2,
    UP,
    V4,
    V6,
    WALL,
    House,
    events,
    said,
    service,
)

from exabgp_bfd.core.model import Believed, Change, Restored, Route, Rung, Start, Watchdog

MED = Change(med=200)
FARTHER = Change(as_path=(65000, 65000))


def sessions(up, of=3):
    """The first `up` of so many sessions are up, the others down."""
    return {name: UP if place < up else DOWN for place, name in enumerate("abcdef"[:of])}


# The rules of a ladder, and then what is said when so many of its sessions are up, one poll after the other.
LADDERS = {
    "three of three as it is, two with a MED, one not at all": (
        {"require": 3, "steps": (Rung(2, MED), Rung(1, None))},
        "3: +v4; 2: +v4 med 200; 1: -v4; 0: ; 1: ; 2: +v4 med 200; 3: +v4",
    ),
    "each step has its own change, and only a change of step says something": (
        {"require": 4, "steps": (Rung(3, MED), Rung(1, FARTHER))},
        "4: +v4; 3: +v4 med 200; 2: +v4 as 65000 as 65000; 1: ; 0: -v4; 2: +v4 as 65000 as 65000; 3: +v4 med 200",
    ),
    "below the last step on_down holds": (
        {"require": 3, "steps": (Rung(2, MED),), "on_down": FARTHER},
        "3: +v4; 1: +v4 as 65000 as 65000; 0: ; 2: +v4 med 200; 0: +v4 as 65000 as 65000; 3: +v4",
    ),
    "on_down without steps: worse, and never withdrawn": (
        {"require": 1, "on_down": MED},
        "1: +v4; 0: +v4 med 200; 2: +v4; 0: +v4 med 200",
    ),
    "what never had a session up is not announced, whatever on_down says": (
        {"require": 1, "on_down": MED},
        "0: ; 0: ; 1: +v4; 0: +v4 med 200",
    ),
    "a step is earned too: after it on_down holds": (
        {"require": 3, "steps": (Rung(1, MED),), "on_down": FARTHER},
        "0: ; 1: +v4 med 200; 0: +v4 as 65000 as 65000",
    ),
    "a step without an announcement lies above on_down": (
        {"require": 3, "steps": (Rung(1, None),), "on_down": MED},
        "3: +v4; 2: -v4; 0: +v4 med 200",
    ),
    "more than enough is enough": (
        {"require": 2, "steps": (Rung(1, MED),)},
        "3: +v4; 2: ; 1: +v4 med 200; 3: +v4",
    ),
    "all has a ladder as well": (
        {"require": "all", "steps": (Rung(2, MED),)},
        "3: +v4; 2: +v4 med 200; 1: -v4; 3: +v4",
    ),
}


@pytest.mark.parametrize(("rules", "table"), LADDERS.values(), ids=LADDERS)
def test_a_ladder(rules, table):
    house = House(service("dns", **rules))
    size = 4 if rules["require"] == 4 else 3
    for line in table.split(";"):
        up, _, expected = line.strip().partition(":")
        wanted = [expected.strip()] if expected.strip() else []
        assert said(house.poll(**sessions(int(up), size))) == wanted, line


@pytest.mark.parametrize(
    ("up", "health", "why"),
    [
        (3, "full", "announced: 3 of 3 sessions up, 3 needed"),
        (2, "step 1", "announced: 2 of 3 sessions up, 3 needed; step of 2"),
        (1, "step 2", "announced: 1 of 3 sessions up, 3 needed; step of 1"),
        (0, "down", "announced: 0 of 3 sessions up, 3 needed; on_down"),
    ],
)
def test_a_view_names_the_step(up, health, why):
    house = House(service("dns", require=3, steps=(Rung(2, MED), Rung(1, FARTHER)), on_down=MED))
    house.poll(**sessions(3))
    house.poll(**sessions(up))
    assert (house.service().health, house.service().why) == (health, why)
    house.poll(**sessions(3))
    assert house.service().health == "full"


def test_a_service_without_a_ladder_speaks_of_none():
    house = House(service("dns"))
    house.poll(a=DOWN)
    assert (house.service().health, house.service().why) == ("down", "withdrawn: 0 of 1 sessions up, 1 needed")


def test_what_never_carried_it_is_said():
    house = House(service("dns", on_down=MED))
    house.poll(a=DOWN)
    assert not house.announced()
    assert any("has to earn its route" in line for line in house.explain().because)
    assert any("no session ever carried it" in line for line in house.explain().because)


def test_a_step_is_a_decision_with_its_rule_and_its_cause():
    house = House(service("dns", require=2, steps=(Rung(1, MED),)))
    house.poll(a=UP, b=UP)
    (step,) = events(house.poll(a=UP, b=DOWN), "route_announce")
    assert step.details["med"] == 200
    assert step.details["rule"] == "1 of 2 sessions up, 2 needed; step of 1"
    assert step.details["counts_as"] == {"edge1/a": "up", "edge1/b": "down"}
    assert house.chain(step.id) == ["route_announce", "bfd_failure", "snmp_poll"]
    (back,) = events(house.poll(a=UP, b=UP), "route_announce")
    assert house.chain(back.id) == ["route_announce", "bfd_recovery", "snmp_poll"]


def test_a_step_down_is_explained_by_what_fell_and_a_step_up_by_what_rose():
    house = House(service("dns", require=3, steps=(Rung(2, MED), Rung(1, FARTHER))))
    house.poll(a=UP, b=UP, c=DOWN)
    worse = events(house.poll(a=DOWN, b=DOWN, c=UP), "route_announce")[0]
    assert house.chain(worse.id)[1] == "bfd_failure"
    better = events(house.poll(a=UP, b=UP, c=DOWN), "route_announce")[0]
    assert house.chain(better.id)[1] == "bfd_recovery"


def test_the_time_since_when_it_is_announced_is_not_that_of_its_step():
    house = House(service("dns", require=2, steps=(Rung(1, MED),)))
    house.poll(a=UP, b=UP)
    house.poll(a=UP, b=DOWN)
    assert house.service().since == 1.0
    house.poll(a=DOWN, b=DOWN)
    assert house.service().since == 3.0


# --- attributes -----------------------------------------------------------------------------------------------------

FULL = Route(
    V4,
    med=10,
    local_preference=100,
    communities=("65000:1",),
    large_communities=("65000:1:2",),
    extended_communities=("target:65000:1",),
    as_path=(65001,),
    neighbors=(N1,),
)


@pytest.mark.parametrize(
    "change",
    [
        {"med": 200},
        {"med": 0},
        {"local_preference": 0},
        {"communities": ("65000:9",)},
        {"communities": ()},
        {"large_communities": ("65000:9:9",)},
        {"extended_communities": ()},
        {"as_path": (65001, 65001, 65001)},
        {"as_path": ()},
        {"med": 7, "communities": ("65000:7",)},
        {},
    ],
)
def test_a_change_replaces_what_it_names_and_keeps_the_rest(change):
    house = House(service("dns", targets=(FULL,), on_down=Change(**change)))
    house.poll(a=UP)
    house.poll(a=DOWN)
    assert house.rib == {FULL.key: replace(FULL, **change)}


def test_each_of_several_prefixes_takes_the_step():
    house = House(service("dns", prefixes=(V4, V6), require=2, steps=(Rung(1, MED),)))
    assert said(house.poll(a=UP, b=UP)) == ["+v4", "+v6"]
    assert said(house.poll(a=UP, b=DOWN)) == ["+v4 med 200", "+v6 med 200"]
    assert said(house.poll(a=DOWN, b=DOWN)) == ["-v4", "-v6"]


def test_a_change_that_changes_nothing_says_nothing():
    house = House(service("dns", targets=(Route(V4, med=200),), require=2, steps=(Rung(1, MED),)))
    house.poll(a=UP, b=UP)
    assert said(house.poll(a=UP, b=DOWN)) == []
    assert house.service().health == "step 1"


# --- watchdogs ------------------------------------------------------------------------------------------------------

DOG = Watchdog("dns")


def test_a_watchdog_is_announced_and_withdrawn_by_its_name():
    house = House(service("dns", targets=(DOG,)))
    assert said(house.started) == ["-watchdog dns"], "ExaBGP announces it by itself until it is told"
    assert said(house.poll(a=UP)) == ["+watchdog dns"]
    assert said(house.poll(a=DOWN)) == ["-watchdog dns"]
    assert events(house.all, "route_withdraw")[-1].details["watchdog"] == "dns"


def test_a_watchdog_has_no_attributes_to_step_with():
    house = House(service("dns", targets=(DOG,), require=2, steps=(Rung(1, MED),)))
    assert said(house.poll(a=UP, b=UP)) == ["+watchdog dns"]
    assert said(house.poll(a=UP, b=DOWN)) == []
    assert said(house.poll(a=DOWN, b=DOWN)) == ["-watchdog dns"]


def test_a_watchdog_beside_a_prefix():
    house = House(service("dns", targets=(DOG, Route(V4)), require=2, steps=(Rung(1, MED),)))
    assert said(house.poll(a=UP, b=UP)) == ["+watchdog dns", "+v4"]
    assert said(house.poll(a=UP, b=DOWN)) == ["+v4 med 200"]


@pytest.mark.parametrize(
    ("rib_kept", "believed", "at_start", "then"),
    [
        (False, False, ["-watchdog dns"], []),
        (False, True, ["+watchdog dns"], ["-watchdog dns"]),
        (True, True, [], ["-watchdog dns"]),
        (True, False, [], ["-watchdog dns"]),
    ],
)
def test_a_watchdog_at_our_start_and_when_its_sessions_are_down(rib_kept, believed, at_start, then):
    held = (Believed("dns", DOG, 4),) if believed else ()
    house = House(service("dns", targets=(DOG,)), restored=Restored(5, held, rib_kept=rib_kept, wall=WALL))
    assert said(house.started) == at_start
    assert said(house.poll(a=DOWN)) == then


# --- starting again on a step ---------------------------------------------------------------------------------------

STEPPED = service("dns", require=3, steps=(Rung(2, MED), Rung(1, FARTHER)), on_down=Change(med=900))
HELD = {
    "full": Route(V4),
    "step 1": Route(V4, med=200),
    "step 2": Route(V4, as_path=(65000, 65000)),
    "down": Route(V4, med=900),
}


def again(held, spec=STEPPED, *, rib_kept=True):
    restored = Restored(9, (Believed("dns", held, 4),), rib_kept=rib_kept, wall=WALL)
    return House(spec, restored=restored, start=False)


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
def test_a_restart_goes_on_at_the_step_where_we_stopped(held):
    house = again(held)
    assert said(house.take(Start())) == []
    assert house.rib == {held.key: held}
    house = again(held, rib_kept=False)
    house.take(Start())
    assert house.rib == {held.key: held}


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
@pytest.mark.parametrize("up", range(4))
def test_whatever_the_step_was_what_is_seen_decides(held, up):
    house = again(held)
    house.take(Start())
    house.poll(**sessions(up))
    assert house.rib == {str(V4): list(HELD.values())[3 - up]}
    assert not house.service().adopted


def test_a_step_that_is_changed_while_we_are_away_is_announced_as_it_is_now():
    house = again(Route(V4, med=100), service("dns", require=2, steps=(Rung(1, Change(med=300)),)))
    assert said(house.take(Start())) == ["+v4"], "what no step has any more was announced in full"


def test_an_adopted_service_is_judged_by_the_sessions_that_may_still_be_up():
    house = again(Route(V4), service("dns", "edge1/a", "edge1/b", require=2, steps=(Rung(1, MED),)))
    house.take(Start())
    assert said(house.poll(a=DOWN, complete=False)) == [], "a selector not matched yet may mean any number of sessions"
    assert said(house.poll(a=DOWN, b=ADMIN_DOWN)) == ["+v4 med 200"], "of two one is down: the step at best"
    assert house.service().adopted
    assert said(house.poll(a=DOWN, b=DOWN)) == ["-v4"]


def test_an_adopted_step_does_not_climb_before_the_sessions_are_seen():
    house = again(Route(V4, med=200), service("dns", "edge1/a", "edge1/b", require=2, steps=(Rung(1, MED),)))
    house.take(Start())
    assert said(house.poll(a=UP, complete=False)) == []
    assert said(house.poll(a=UP, b=UP)) == ["+v4"]


def test_all_a_newcomer_not_decided_yet_leaves_the_step_as_it_is():
    house = House(service("dns", require="all", rise=2, steps=(Rung(1, MED),)))
    house.poll(a=UP, b=UP)
    assert said(house.poll(a=UP, b=UP)) == ["+v4"]
    assert said(house.poll(a=UP, b=UP, c=UP)) == []
    assert said(house.poll(a=UP, b=UP, c=UP)) == []
    assert said(house.poll(a=UP, b=DOWN, c=UP)) == ["+v4 med 200"]
    assert said(house.poll(a=UP, b=DOWN, c=UP, d=UP)) == []


def test_neighbors_are_kept_on_every_step():
    house = House(service("dns", targets=(Route(V4, neighbors=(N1, N2)),), on_down=MED))
    house.poll(a=UP)
    assert said(house.poll(a=DOWN)) == [f"+v4 med 200 to {N1} to {N2}"]
