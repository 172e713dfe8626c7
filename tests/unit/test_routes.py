"""Routes: what a step or a drain makes of one, what must be taken back from whom, and whose a command is."""

from dataclasses import replace
from ipaddress import ip_network

import pytest
from lab.house import DOWN, GSHUT, N1, N2, N3, UP, V4, V6, WALL, House, commands, events, remembered, said, service

from exabgp_bfd.core.model import (
    Advertised,
    Announce,
    Answer,
    Believed,
    Change,
    Neighbor,
    Outcome,
    Record,
    Restored,
    Route,
    Rung,
    Service,
    Watchdog,
    Withdraw,
)
from exabgp_bfd.core.neighbors import Neighborhood
from exabgp_bfd.core.outbox import Outbox
from exabgp_bfd.core.policy import ServiceTrack
from exabgp_bfd.core.routes import (
    COMMANDS_UNANSWERED,
    GRACEFUL_SHUTDOWN,
    RouteBook,
    RouteTrack,
    altered,
    left_behind,
    without_graceful_shutdown,
)
from exabgp_bfd.core.timers import Timers

INPUTS = {"rule", "layer", "sessions", "counts_as"}
PLAIN = Route(V4)
TAGGED = Route(V4, communities=("65000:1",))
DOG = Watchdog("dns")


def test_the_community_is_that_of_rfc_8326():
    assert GRACEFUL_SHUTDOWN == GSHUT == "65535:0"


# --- altered --------------------------------------------------------------------------------------------------------

ALTERED = {
    "nothing": (PLAIN, None, False, PLAIN),
    "a change": (PLAIN, Change(med=5), False, Route(V4, med=5)),
    "a change to none of them": (TAGGED, Change(communities=()), False, PLAIN),
    "a change of nothing": (TAGGED, Change(), False, TAGGED),
    "zero is a value": (Route(V4, med=5), Change(med=0), False, Route(V4, med=0)),
    "draining": (PLAIN, None, True, Route(V4, communities=(GSHUT,))),
    "draining keeps the others, in front": (TAGGED, None, True, Route(V4, communities=("65000:1", GSHUT))),
    "draining on a step": (
        TAGGED,
        Change(med=5, communities=("65000:2",)),
        True,
        Route(V4, med=5, communities=("65000:2", GSHUT)),
    ),
    "draining what says so already": (
        Route(V4, communities=(GSHUT, "65000:1")),
        None,
        True,
        Route(V4, communities=(GSHUT, "65000:1")),
    ),
    "a watchdog has nothing to alter": (DOG, Change(med=5), True, DOG),
}


@pytest.mark.parametrize(("target", "change", "draining", "expected"), ALTERED.values(), ids=ALTERED)
def test_altered(target, change, draining, expected):
    assert altered(target, change, graceful_shutdown=draining) == expected


@pytest.mark.parametrize("name", Change.__slots__)
def test_every_part_of_a_change_is_taken(name):
    value = 7 if name in ("med", "local_preference") else ((65000,) if name == "as_path" else ("65000:7",))
    assert altered(PLAIN, Change(**{name: value})) == replace(PLAIN, **{name: value})


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (PLAIN, PLAIN),
        (TAGGED, TAGGED),
        (Route(V4, communities=(GSHUT,)), PLAIN),
        (Route(V4, communities=(GSHUT, "65000:1")), TAGGED),
        (Route(V4, communities=("65000:1", GSHUT)), TAGGED),
        (DOG, DOG),
    ],
)
def test_without_graceful_shutdown(target, expected):
    assert without_graceful_shutdown(target) == expected


# --- left behind ----------------------------------------------------------------------------------------------------

# Announced to, to be announced to (none: to all) -> from whom it must be taken back first; None: from nobody.
LEFT = [
    ((), (), None),
    ((N1,), (), None),
    ((N1,), (N1,), None),
    ((N1,), (N1, N2), None),
    ((N1, N2), (N1,), (N2,)),
    ((N1, N2, N3), (N2,), (N1, N3)),
    ((N1,), (N2,), (N1,)),
    ((N1, N2), (N2, N1), None),
    ((), (N1,), ()),
]


@pytest.mark.parametrize(("said_to", "goes_to", "left"), LEFT)
def test_who_is_left_behind(said_to, goes_to, left):
    expected = None if left is None else Route(V4, med=1, neighbors=left)
    assert left_behind(Route(V4, med=1, neighbors=said_to), Route(V4, med=2, neighbors=goes_to)) == expected


@pytest.mark.parametrize(("said_as", "target"), [(DOG, DOG), (DOG, Route(V4, neighbors=(N1,))), (PLAIN, DOG)])
def test_watchdogs_leave_nobody_behind(said_as, target):
    assert left_behind(said_as, target) is None


def test_those_left_behind_are_told_before_the_others_hear_anew_and_what_is_remembered_is_the_route():
    house = House(service("dns", targets=(Route(V4, neighbors=(N1, N2)),)))
    house.poll(a=UP)
    effects = house.reload(service("dns", targets=(Route(V4, neighbors=(N1,)),)))
    assert said(effects) == [f"-v4 to {N2}", f"+v4 to {N1}"]
    assert remembered(effects) == [("dns", str(V4), True)]
    (event,) = events(effects, "route_withdraw")
    assert event.details["rule"] == "it no longer goes to these neighbours"


# --- which step a route shows ---------------------------------------------------------------------------------------


def track(said_as, *steps, on_down=None, spec=PLAIN):
    route = RouteTrack(spec, said=said_as)
    return ServiceTrack(Service("dns", (spec,), (), steps=steps, on_down=on_down), [route]), route


@pytest.mark.parametrize(
    ("said_as", "level"),
    [
        (None, 3),
        (PLAIN, 0),
        (Route(V4, med=1), 1),
        (Route(V4, med=2), 2),
        (Route(V4, med=9), 3),
        (Route(V4, communities=(GSHUT,)), 0),
        (Route(V4, med=2, communities=(GSHUT,)), 2),
        (Route(V4, med=77), 0),
    ],
)
def test_the_step_of_a_route_is_read_from_its_attributes(said_as, level):
    service_track, route = track(said_as, Rung(2, Change(med=1)), Rung(1, Change(med=2)), on_down=Change(med=9))
    assert service_track.level_of(route) == level


# --- whose a command is ---------------------------------------------------------------------------------------------


def test_a_watchdog_that_was_refused_is_said_again():
    house = House(service("dns", targets=(DOG,)))
    (announce,) = commands(house.poll(a=UP))
    (refused,) = events(house.take(Answer(announce.command, Outcome.ERROR, "no")))
    assert (refused.event_type, refused.details) == (
        "route_refused",
        {"watchdog": "dns", "outcome": "error", "text": "no"},
    )
    assert said(house.wait(0.999)) == []
    assert said(house.wait(0.001)) == ["+watchdog dns"]


def test_a_watchdog_that_left_and_was_refused_is_said_again():
    house = House(service("dns", targets=(DOG,)))
    house.poll(a=UP)
    (withdraw,) = commands(house.reload(service("ntp", prefixes=(V6,), require=3)))
    house.take(Answer(withdraw.command, Outcome.TIMEOUT))
    assert said(house.wait(1.0)) == ["-watchdog dns"]


def test_an_update_confirms_no_watchdog():
    house = House(service("dns", targets=(DOG, PLAIN)))
    house.poll(a=UP)
    (event,) = events(house.take(Advertised(N1, V4, announced=True)))
    assert (event.event_type, event.details["prefix"]) == ("route_confirmed", str(V4))
    watchdog, route = house.service().routes
    assert (watchdog.confirmed, route.confirmed) == ((), (str(N1),))


@pytest.mark.parametrize("draining", [False, True])
def test_the_event_of_a_route_has_every_attribute(draining):
    full = Route(
        V4,
        next_hop=N1,
        med=0,
        local_preference=200,
        communities=("65000:1",),
        large_communities=("65000:1:2",),
        extended_communities=("target:65000:1",),
        as_path=(65000,),
    )
    house = House(service("dns", targets=(full,)))
    effects = house.poll(a=UP)
    if draining:
        effects = house.order("drain")
    (event,) = events(effects, "route_announce")
    assert {name: value for name, value in event.details.items() if name not in INPUTS} == {
        "prefix": str(V4),
        "next_hop": str(N1),
        "med": 0,
        "local_preference": 200,
        "communities": ["65000:1", *([GSHUT] if draining else [])],
        "large_communities": ["65000:1:2"],
        "extended_communities": ["target:65000:1"],
        "as_path": [65000],
    }


def test_a_plain_route_has_no_attributes_in_its_event():
    house = House(service("dns"))
    (event,) = events(house.poll(a=UP), "route_announce")
    assert set(event.details) == {"prefix", "next_hop", *INPUTS}


def test_a_step_asks_for_its_own_confirmation():
    house = House(service("dns", on_down=Change(med=5)))
    house.poll(a=UP)
    house.take(Advertised(N1, V4, announced=True))
    house.poll(a=DOWN)
    assert house.service().routes[0].confirmed == ()
    assert house.service().routes[0].route == Route(V4, med=5)


def test_a_neighbor_that_goes_down_is_shown_to_have_nothing():
    house = House(service("dns"))
    house.poll(a=UP)
    house.take(Advertised(N1, V4, announced=True))
    assert house.service().routes[0].confirmed == (str(N1),)
    house.take(Neighbor(N1, "down"))
    assert house.service().routes[0].confirmed == ()


def test_a_withdrawn_route_is_shown_as_it_is_configured():
    house = House(service("dns", on_down=None))
    house.poll(a=UP)
    house.poll(a=DOWN)
    (view,) = house.service().routes
    assert (view.route, view.announced) == (PLAIN, False)


def test_a_withdraw_names_the_route_as_it_was_announced():
    house = House(service("dns", targets=(Route(V4, neighbors=(N1,)),), require=2))
    house.order("announce")
    (withdraw,) = commands(house.order("withdraw"))
    assert withdraw.route == Route(V4, neighbors=(N1,))


def test_more_commands_than_anybody_answers_are_forgotten_the_oldest_first():
    house = House(service("dns"))
    numbers = []
    for _ in range(COMMANDS_UNANSWERED // 2 + 10):
        numbers += [command.command for command in commands(house.order("announce") + house.order("withdraw"))]
    kept = COMMANDS_UNANSWERED + 2  # two for each route there is
    for number in numbers[:-kept]:
        assert events(house.take(Answer(number, Outcome.ERROR))) == []
    for number in numbers[-kept:]:
        assert len(events(house.take(Answer(number, Outcome.ERROR)), "route_refused")) == 1


def test_a_believed_route_that_is_another_service_s_now_is_its_own_at_once():
    other = ip_network("192.0.2.99/32")
    held = (Believed("dns", PLAIN, 3), Believed("dns", Route(other), 4))
    house = House(
        service("ntp", prefixes=(V4,)),
        service("dns", prefixes=(other,)),
        restored=Restored(9, held, rib_kept=True, wall=WALL),
    )
    assert said(house.started) == []
    assert remembered(house.started) == [("dns", str(V4), False), ("ntp", str(V4), True)]


@pytest.mark.parametrize("rib_kept", [True, False])
def test_a_believed_watchdog_that_left_the_configuration(rib_kept):
    restored = Restored(9, (Believed("dns", DOG, 3),), rib_kept=rib_kept, wall=WALL)
    house = House(service("ntp", prefixes=(V6,)), restored=restored)
    assert said(house.started) == (["-watchdog dns"] if rib_kept else [])
    assert remembered(house.started) == [("dns", DOG.key, False)]


def test_an_announce_that_a_withdraw_of_the_same_breath_overtakes_never_leaves_and_says_so():
    outbox, timers = Outbox(0), Timers()
    book = RouteBook(outbox, timers, lambda _: None, Neighborhood())
    service = ServiceTrack(Service("dns", (Route(V4),), ()), [RouteTrack(Route(V4))])
    book.own([service])
    book.announce(service, service.routes[0], Route(V4), None, 0.0, "up")
    book.withdraw(service, service.routes[0], None, 0.0, "down")
    effects = outbox.take()
    assert [type(effect).__name__ for effect in effects if isinstance(effect, Announce | Withdraw)] == ["Withdraw"]
    told = [effect.event.details.get("overtaken") for effect in effects if isinstance(effect, Record)]
    assert told == [True, None]
    book.answered(Answer(1, Outcome.ERROR), 1.0)
    assert outbox.take() == [], "nobody was asked"
