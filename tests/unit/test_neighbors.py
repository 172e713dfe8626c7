"""What ExaBGP has, says and sends: neighbours known, UPDATEs seen or not, the adj-rib-out compared and repaired."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import pairwise

import pytest
from lab.house import (
    DOWN,
    N1,
    N2,
    N3,
    UP,
    V4,
    V6,
    WALL,
    House,
    asks,
    commands,
    events,
    kinds,
    said,
    service,
)

from exabgp_bfd.core.model import (
    Action,
    Advertised,
    Answer,
    Believed,
    Negotiated,
    Neighbor,
    Outcome,
    Peer,
    Peers,
    Restored,
    Route,
    Watchdog,
)
from exabgp_bfd.core.neighbors import IS_DOWN, NOT_SEEN
from exabgp_bfd.core.reach import NO_SUCH_NEIGHBOR
from exabgp_bfd.core.reconcile import Claim, alike, compare
from exabgp_bfd.core.routes import SEEN_WITHIN

BOTH = frozenset({"ipv4 unicast", "ipv6 unicast"})
LOCAL = ip_address("203.0.113.254")
PLAIN = Route(V4)
DOG = Watchdog("dns")


def peer(address=N1, **more) -> Peer:
    return Peer(address, **{"local": LOCAL, "families": BOTH, "tells": True, **more})


def announced(*peers: Peer, prefixes=(V4,), house=None, **plan) -> House:
    """A house whose service is announced, and taken, to neighbours that have said nothing yet."""
    house = house or House(service("dns", prefixes=prefixes), **plan)
    if peers:
        house.peers(*peers)
        for each in peers:
            house.holds(each.address)
    house.done(house.poll(s1=UP))
    return house


# --- which neighbours there are --------------------------------------------------------------------------------------


def test_once_the_neighbours_are_known_exabgp_is_asked_what_it_holds():
    house = House(service("dns"))
    effects = house.peers(peer(N1), peer(N2))
    assert asks(effects) == [("rib", None)]
    (told,) = events(effects, "exabgp_neighbors")
    assert told.details["neighbors"] == [str(N1), str(N2)]
    assert told.details["version"] == "exabgp 5.0.15"
    view = house.engine.snapshot(house.now)
    assert view.peers == (peer(N1), peer(N2))
    assert view.exabgp == "exabgp 5.0.15"


def test_the_same_neighbours_again_are_no_news():
    house = announced(peer())
    assert kinds(house.peers(peer())) == []


def test_a_neighbour_that_came_gets_what_is_announced():
    house = announced(peer(N1))
    effects = house.peers(peer(N1), peer(N2))
    assert asks(effects) == [("rib", N2)], "it may have it, if it was there before"
    (told,) = events(effects, "exabgp_neighbors")
    assert told.details["came"] == [str(N2)]
    assert said(house.holds(N2)) == ["+v4"]


def test_of_a_neighbour_that_went_nothing_is_kept():
    house = announced(peer(N1), peer(N2))
    house.take(Neighbor(N2, "up"))
    (told,) = events(house.peers(peer(N1)), "exabgp_neighbors")
    assert told.details["went"] == [str(N2)]
    assert str(N2) not in house.engine.snapshot(house.now).neighbors
    assert said(house.holds(N2)) == [], "an answer that was under way"


def test_a_session_that_comes_up_or_goes_down_is_an_event_and_one_that_connects_is_none():
    house = announced(peer())
    assert kinds(house.take(Neighbor(N1, "connected"))) == []
    (up,) = events(house.take(Neighbor(N1, "up")))
    assert (up.event_type, up.details["neighbor"]) == ("neighbor_up", str(N1))
    assert kinds(house.take(Neighbor(N1, "up"))) == [], "no news"
    (down,) = events(house.take(Neighbor(N1, "down", "hold timer")))
    assert (down.event_type, down.details["reason"]) == ("neighbor_down", "hold timer")


def test_exabgp_is_asked_for_its_neighbours_when_one_comes_up_but_not_all_the_time():
    house = announced(peer())
    assert asks(house.take(Neighbor(N1, "up"))) == [("peers", None)]
    house.take(Neighbor(N1, "down"))
    assert ("peers", None) not in asks(house.take(Neighbor(N1, "up"), 1.0))
    house.take(Neighbor(N1, "down"))
    assert ("peers", None) not in asks(house.take(Neighbor(N1, "up"), 1.0))
    assert asks(house.wait(10.0)).count(("peers", None)) == 1


@pytest.mark.parametrize("told", ["configured", "negotiated"])
def test_graceful_restart_is_warned_of_once_a_neighbour(told):
    house = House(service("dns"))
    if told == "configured":
        effects = house.peers(peer(N1, graceful_restart=True))
    else:
        house.peers(peer(N1))
        effects = house.take(Negotiated(N1, BOTH, graceful_restart=True))
    (warned,) = events(effects, "neighbor_graceful_restart")
    assert warned.details["neighbor"] == str(N1)
    assert events(house.take(Negotiated(N1, BOTH, graceful_restart=True)), "neighbor_graceful_restart") == []
    assert events(house.peers(peer(N1, graceful_restart=True)), "neighbor_graceful_restart") == []


def test_a_session_without_graceful_restart_is_not_warned_of():
    house = announced(peer())
    assert kinds(house.take(Negotiated(N1, BOTH, graceful_restart=False))) == []
    assert kinds(house.take(Negotiated(N1, BOTH))) == []


@pytest.mark.parametrize(("dialect", "warned"), [("4", 1), ("5", 0)])
def test_watchdogs_of_exabgp_4_are_warned_of(dialect, warned):
    house = House(service("dns", targets=(DOG,)), service("ntp", prefixes=(V6,)))
    effects = house.take(Peers((peer(),), "4.2.21", dialect))
    assert [each.details["services"] for each in events(effects, "exabgp_warning")] == [["dns"]] * warned


# --- UPDATEs seen, and not -------------------------------------------------------------------------------------------


def test_a_command_whose_update_is_seen_is_confirmed_and_nothing_follows():
    house = announced(peer())
    assert kinds(house.sent(PLAIN, N1)) == ["route_confirmed"]
    assert kinds(house.wait(SEEN_WITHIN + 1)) == []
    (route,) = house.service().routes
    assert (route.confirmed, route.unseen) == ((str(N1),), ())


def test_a_command_whose_update_is_not_seen_in_time_is_told_and_exabgp_is_asked():
    house = announced(peer(N1), peer(N2))
    house.sent(PLAIN, N1)
    effects = house.wait(SEEN_WITHIN + 1)
    (told,) = events(effects, "route_unconfirmed")
    assert told.details["neighbors"] == {str(N2): NOT_SEEN}
    assert told.details["action"] == "announce"
    assert house.chain(told.id)[1] == "route_announce"
    assert asks(effects) == [("rib", N2)]
    assert house.service().routes[0].unseen == ((str(N2), NOT_SEEN),)
    assert f"not seen going to {N2}" in house.explain().routes[0]
    assert kinds(house.holds(N2, PLAIN)) == [], "it has it: ExaBGP sent nothing new, for nothing was"
    assert house.service().routes[0].unseen == ()


def test_a_session_that_is_down_explains_that_nothing_was_sent():
    house = announced(peer(N1), peer(N2))
    house.take(Neighbor(N2, "down"))
    house.sent(PLAIN, N1)
    effects = house.wait(SEEN_WITHIN + 1)
    (told,) = events(effects, "route_unconfirmed")
    assert told.details["neighbors"] == {str(N2): IS_DOWN}
    assert asks(effects) == [], "nothing is suspicious of that"


def test_a_family_that_was_not_negotiated_explains_that_nothing_was_sent():
    house = House(service("dns"))
    house.peers(peer(N1))
    house.take(Negotiated(N1, frozenset({"ipv6 unicast"})))
    house.done(house.poll(s1=UP))
    (told,) = events(house.wait(SEEN_WITHIN + 1), "route_unconfirmed")
    assert "ipv4 unicast" in told.details["neighbors"][str(N1)]


def test_a_family_that_is_not_configured_explains_it_too():
    house = announced(peer(N1, families=frozenset({"ipv6 unicast"})))
    (told,) = events(house.wait(SEEN_WITHIN + 1), "route_unconfirmed")
    assert "ipv4 unicast" in told.details["neighbors"][str(N1)]


def test_a_neighbour_that_exabgp_does_not_have_explains_it():
    house = House(service("dns", targets=(Route(V4, neighbors=(N1, N3)),)))
    house.peers(peer(N1))
    house.holds(N1)
    house.done(house.poll(s1=UP))
    house.sent(PLAIN, N1)
    (told,) = events(house.wait(SEEN_WITHIN + 1), "route_unconfirmed")
    assert told.details["neighbors"] == {str(N3): NO_SUCH_NEIGHBOR}


def test_a_neighbour_that_may_come_from_a_range_is_not_unknown():
    house = House(service("dns", targets=(Route(V4, neighbors=(N3,)),)))
    house.peers(peer(N1), ranges=(ip_network("203.0.113.0/24"),))
    (announce,) = commands(house.poll(s1=UP))
    (refused,) = events(house.take(Answer(announce.command, Outcome.ERROR)), "route_refused")
    assert "reasons" not in refused.details
    assert said(house.wait(1.1)) == [f"+v4 to {N3}"], "it may be there by now"


def test_where_exabgp_shows_no_updates_none_is_missed():
    house = announced(peer(N1, tells=False))
    assert kinds(house.wait(SEEN_WITHIN + 1)) == []


def test_before_the_neighbours_are_known_none_is_missed():
    house = announced()
    assert kinds(house.wait(SEEN_WITHIN + 1)) == []


def test_a_command_that_waits_for_its_answer_is_not_yet_missed():
    house = House(service("dns"))
    house.peers(peer())
    house.holds(N1)
    effects = house.poll(s1=UP)
    assert events(house.wait(SEEN_WITHIN + 1), "route_unconfirmed") == []
    house.done(effects)
    assert len(events(house.wait(SEEN_WITHIN + 1), "route_unconfirmed")) == 1


def test_where_exabgp_answers_nothing_a_missed_update_is_missed_all_the_same():
    house = House(service("dns"))
    house.peers(peer(), answers=False)
    house.poll(s1=UP)
    assert "route_unconfirmed" in kinds(house.wait(SEEN_WITHIN + 1))


def test_a_withdraw_whose_update_is_not_seen_is_told_but_not_to_whom_nothing_stands():
    house = announced(peer(N1), peer(N2))
    house.sent(PLAIN, N1, N2)
    house.take(Neighbor(N2, "down"))
    house.done(house.poll(s1=DOWN))
    effects = house.wait(SEEN_WITHIN + 1)
    (told,) = events(effects, "route_unconfirmed")
    assert (told.details["action"], told.details["neighbors"]) == ("withdraw", {str(N1): NOT_SEEN})
    assert asks(effects) == [("rib", N1)]


def test_the_last_word_only_is_missed():
    house = announced(peer())
    house.done(house.poll(s1=DOWN))
    house.sent(PLAIN, N1, announced=False)
    assert kinds(house.wait(SEEN_WITHIN + 1)) == []


def test_an_update_that_comes_late_is_taken_off_the_list():
    house = announced(peer())
    house.wait(SEEN_WITHIN + 1)
    house.sent(PLAIN, N1)
    assert house.service().routes[0].unseen == ()


# --- ExaBGP's own order ----------------------------------------------------------------------------------------------


def test_a_withdraw_soon_after_its_announce_is_said_again_once_both_have_left_exabgp():
    house = House(service("dns"))
    house.poll(s1=UP)
    withdrawn = house.poll(s1=DOWN, after=0.2)
    assert said(withdrawn) == ["-v4"], "it does not wait"
    assert said(house.wait(30.0)) == [], "not before it was answered: ExaBGP may do nothing at all"
    house.done(withdrawn)
    effects = house.wait(1.1)
    assert said(effects) == ["-v4"]
    assert events(effects, "route_withdraw")[0].details["layer"] == "repair"
    house.done(effects)
    assert said(house.wait(30.0)) == []


def test_a_withdraw_of_what_has_long_left_exabgp_is_said_once():
    house = announced(peer())
    house.sent(PLAIN, N1)
    house.wait(2.0)
    house.done(house.poll(s1=DOWN))
    house.sent(PLAIN, N1, announced=False)
    assert said(house.wait(30.0)) == []


def test_an_announce_again_within_the_moment_makes_the_second_withdraw_needless():
    house = House(service("dns"))
    house.poll(s1=UP)
    withdrawn = house.poll(s1=DOWN, after=0.2)
    house.done(withdrawn)
    house.poll(s1=UP, after=0.2)
    assert said(house.wait(5.0)) == []


def test_a_withdraw_whose_update_is_not_seen_is_said_again_once():
    house = announced(peer())
    house.sent(PLAIN, N1)
    house.wait(2.0)
    house.done(house.poll(s1=DOWN))
    effects = house.wait(SEEN_WITHIN + 0.1)
    assert said(effects) == ["-v4"]
    house.done(effects)
    assert said(house.wait(60.0)) == []


def test_what_was_withdrawn_just_before_a_session_came_up_is_withdrawn_again():
    house = announced(peer())
    house.sent(PLAIN, N1)
    house.wait(2.0)
    house.take(Neighbor(N1, "down"))
    house.done(house.poll(s1=DOWN))
    house.take(Neighbor(N1, "up"))
    effects = house.wait(SEEN_WITHIN + 0.1)
    assert "-v4" in said(effects)


def test_a_neighbour_that_was_not_named_is_asked_for_at_once():
    house = announced(peer())
    house.take(Neighbor(N1, "up"))
    assert ("peers", None) in asks(house.take(Neighbor(N2, "up"), 1.1))
    assert ("peers", None) not in asks(house.take(Neighbor(N3, "up"), 0.1))
    assert asks(house.wait(1.1)).count(("peers", None)) == 1, "or a second later"
    assert asks(house.wait(30.0)).count(("peers", None)) == 0


def test_a_route_that_goes_to_fewer_neighbours_is_withdrawn_from_those_who_lose_it_alone():
    house = announced(peer(N1), peer(N2))
    effects = house.reload(service("dns", targets=(Route(V4, neighbors=(N1,)),)))
    assert said(effects) == [f"-v4 to {N2}", f"+v4 to {N1}"]


# --- sessions that come and go ---------------------------------------------------------------------------------------


def test_a_peer_flap_adds_nothing_for_exabgp_says_everything_again():
    house = announced(peer())
    house.sent(PLAIN, N1)
    house.take(Neighbor(N1, "down"))
    assert house.service().routes[0].confirmed == ()
    assert said(house.take(Neighbor(N1, "up"))) == []
    house.sent(PLAIN, N1)
    effects = house.wait(SEEN_WITHIN + 1)
    assert said(effects) == []
    assert ("rib", N1) not in asks(effects)


def test_a_session_that_came_up_and_was_not_sent_everything_is_looked_into():
    house = announced(peer())
    house.sent(PLAIN, N1)
    house.take(Neighbor(N1, "down"))
    house.take(Neighbor(N1, "up"))
    assert asks(house.wait(SEEN_WITHIN + 1)) == [("rib", N1)]
    assert said(house.holds(N1)) == ["+v4"]


def test_where_exabgp_keeps_nothing_a_session_that_came_up_is_told_again():
    other = ip_network("192.0.2.99/32")
    house = announced(peer(N1, resends=False), peer(N2), prefixes=(V4, other))
    house.take(Neighbor(N1, "down"))
    assert said(house.take(Neighbor(N1, "up"))) == ["+v4", f"+{other}"]
    assert said(house.take(Neighbor(N2, "up"))) == []
    assert said(house.holds(N1)) == [], "and what it holds tells nothing"


def test_where_exabgp_keeps_nothing_what_is_withdrawn_or_not_for_it_is_not_told_again():
    house = House(
        service("dns", targets=(Route(V4, neighbors=(N2,)),)),
        service("ntp", "edge1/s2", prefixes=(V6,)),
    )
    house.peers(peer(N1, resends=False), peer(N2))
    house.done(house.poll(s1=UP, s2=DOWN))
    assert said(house.take(Neighbor(N1, "up"))) == []


# --- reconcile -------------------------------------------------------------------------------------------------------


def test_what_exabgp_holds_as_it_was_said_needs_nothing():
    house = announced(peer())
    assert kinds(house.holds(N1, PLAIN)) == []
    assert kinds(house.holds(N1, replace(PLAIN, next_hop=LOCAL))) == [], "that is what `self` stands for"


def test_a_route_that_exabgp_lost_is_announced_again_and_told():
    house = announced(peer(N1), peer(N2), prefixes=(V4, V6))
    effects = house.holds(N1, Route(V6))
    assert said(effects) == ["+v4"]
    told, again = events(effects)
    assert told.event_type == "reconciled"
    assert told.details["missing"] == [str(V4)]
    assert told.details["counts"] == {"missing": 1, "differing": 0, "extra": 0}
    assert (again.cause, again.details["layer"]) == (told.id, "repair")


def test_a_route_that_exabgp_holds_otherwise_is_announced_again():
    house = announced(peer())
    effects = house.holds(N1, replace(PLAIN, med=7))
    assert said(effects) == ["+v4"]
    assert events(effects, "reconciled")[0].details["differing"] == [str(V4)]


def test_a_route_that_exabgp_holds_though_it_was_withdrawn_is_withdrawn_again():
    house = announced(peer())
    house.done(house.poll(s1=DOWN))
    effects = house.holds(N1, PLAIN)
    assert said(effects) == ["-v4"]
    assert events(effects, "reconciled")[0].details["extra"] == [str(V4)]


def test_a_route_held_for_a_neighbour_to_whom_it_does_not_go_is_withdrawn_from_that_one():
    house = House(service("dns", targets=(Route(V4, neighbors=(N1,)),)))
    house.peers(peer(N1), peer(N2))
    house.holds(N2)
    house.done(house.poll(s1=UP))
    assert said(house.holds(N2, PLAIN)) == [f"-v4 to {N2}"]
    assert said(house.holds(N1, PLAIN)) == []


def test_what_is_none_of_ours_is_counted_and_left_alone():
    house = announced(peer())
    foreign = Route(ip_network("198.51.100.0/24"))
    assert kinds(house.holds(N1, PLAIN, foreign)) == []
    effects = house.holds(N1, foreign)
    assert said(effects) == ["+v4"]
    assert events(effects, "reconciled")[0].details["foreign"] == 1


def test_what_was_under_way_when_exabgp_was_asked_is_not_judged():
    house = announced(peer())
    (withdraw,) = commands(house.poll(s1=DOWN))
    assert kinds(house.holds(N1, PLAIN)) == [], "not answered yet"
    house.take(Answer(withdraw.command, Outcome.DONE))
    assert kinds(house.holds(N1, PLAIN, asked_after=withdraw.command - 1)) == [], "asked before it was said"
    assert said(house.holds(N1, PLAIN, asked_after=withdraw.command)) == ["-v4"]


def test_an_answer_without_its_end_says_what_is_there_and_not_what_is_missing():
    house = announced(peer(), prefixes=(V4, V6))
    assert kinds(house.holds(N1, Route(V6), complete=False)) == []
    assert said(house.holds(N1, replace(PLAIN, med=7), complete=False)) == ["+v4"]


def test_a_repair_that_does_not_help_is_not_made_again():
    house = announced(peer())
    otherwise = replace(PLAIN, local_preference=100)
    assert said(house.holds(N1, otherwise)) == ["+v4"]
    house.take(Answer(events(house.all, "route_announce")[-1].id, Outcome.DONE))
    effects = house.holds(N1, otherwise)
    assert said(effects) == []
    assert kinds(effects) == ["reconciled"], "but it is told"
    house.done(house.poll(s1=DOWN))
    assert said(house.holds(N1, otherwise)) == ["-v4"], "another word is another matter"


def test_a_family_that_a_neighbour_does_not_carry_is_not_missing_there():
    house = announced(peer(N1, families=frozenset({"ipv4 unicast"})), prefixes=(V4, V6))
    assert kinds(house.holds(N1, PLAIN)) == []


def test_exabgp_is_asked_now_and_then():
    house = announced(peer(), reconcile=60.0)
    assert [house.now for _ in range(3) if ("rib", None) in asks(house.wait(60.0))] != []
    assert asks(house.wait(60.0)).count(("rib", None)) == 1


def test_exabgp_is_not_asked_where_that_is_switched_off():
    house = announced(peer(), reconcile=0.0)
    house.sent(PLAIN, N1)
    assert asks(house.wait(3600.0)) == []
    house.reload(*house.plan.services, reconcile=60.0)
    assert asks(house.wait(61.0)) == [("rib", None)]


def test_thousands_of_lost_routes_are_said_again_a_few_at_a_time():
    prefixes = tuple(ip_network(f"10.{number // 256}.{number % 256}.0/24") for number in range(250))
    house = announced(peer(), prefixes=prefixes)
    assert len(commands(house.holds(N1))) == 100
    assert len(commands(house.wait(0.11))) == 100
    assert len(commands(house.wait(0.11))) == 50


# --- refused ---------------------------------------------------------------------------------------------------------


def test_a_refusal_tells_which_neighbours_could_not_have_taken_it():
    house = House(service("dns", targets=(Route(V6),)))
    house.peers(peer(N1), peer(ip_address("2001:db8::1"), local=ip_address("2001:db8::254")))
    (announce,) = commands(house.poll(s1=UP))
    (refused,) = events(house.take(Answer(announce.command, Outcome.ERROR)), "route_refused")
    assert list(refused.details["reasons"]) == [str(N1)]


def test_what_no_neighbour_can_carry_is_not_said_again_until_the_neighbours_are_others():
    house = House(service("dns", targets=(Route(V6),)))
    house.peers(peer(N1))
    house.holds(N1)
    (announce,) = commands(house.poll(s1=UP))
    house.take(Answer(announce.command, Outcome.ERROR, "no"))
    assert said(house.wait(600.0)) == []
    assert said(house.peers(peer(N1), peer(ip_address("2001:db8::1")))) == ["+v6"]


def test_what_was_refused_is_said_again_at_once_when_the_neighbours_are_known():
    house = House(service("dns"))
    (announce,) = commands(house.poll(s1=UP))
    house.take(Answer(announce.command, Outcome.ERROR, "its neighbours are not known yet"))
    assert said(house.peers(peer())) == ["+v4"]


# --- start -----------------------------------------------------------------------------------------------------------


def test_a_route_of_a_predecessor_that_nobody_remembers_is_adopted():
    house = House(service("dns"))
    house.peers(peer())
    house.rib[PLAIN.key] = PLAIN
    effects = house.holds(N1, PLAIN)
    assert (said(effects), kinds(effects)) == ([], ["route_adopted"])
    assert house.announced()
    assert house.service().adopted
    assert said(house.poll(s1=DOWN)) == ["-v4"], "and goes when its path is dead"


def test_an_adopted_route_that_its_sessions_carry_stays():
    house = House(service("dns", rise=3))
    house.peers(peer())
    house.rib[PLAIN.key] = PLAIN
    house.holds(N1, PLAIN)
    effects = [each for _ in range(4) for each in house.poll(s1=UP)]
    assert set(said(effects)) <= {"+v4"}
    assert house.announced()


def test_a_route_with_other_attributes_is_adopted_as_it_is():
    house = House(service("dns"))
    house.peers(peer())
    held = replace(PLAIN, med=7)
    house.rib[PLAIN.key] = held
    house.holds(N1, held)
    assert house.service().routes[0].route == held
    assert said(house.poll(s1=UP)) == ["+v4"]


@pytest.mark.parametrize("known", ["ordered", "seen", "later"])
def test_a_route_is_not_adopted_where_it_is_known_that_it_should_not_be(known):
    house = House(service("dns"))
    house.peers(peer())
    if known == "ordered":
        house.order(Action.WITHDRAW)
    elif known == "seen":
        house.poll(s1=DOWN)
    else:
        house.holds(N1)
    effects = house.holds(N1, PLAIN)
    assert said(effects) == ["-v4"]
    assert events(effects, "route_adopted") == []


def test_what_a_predecessor_announced_is_checked_against_what_exabgp_holds():
    restored = Restored(9, (Believed("dns", PLAIN, 3),), rib_kept=True, wall=WALL)
    house = House(service("dns"), restored=restored)
    house.peers(peer())
    assert kinds(house.holds(N1, PLAIN)) == []
    assert said(house.poll(s1=UP)) == [], "it is known now that ExaBGP has it"


def test_what_a_predecessor_announced_and_exabgp_lost_is_announced_again():
    restored = Restored(9, (Believed("dns", PLAIN, 3),), rib_kept=True, wall=WALL)
    house = House(service("dns"), restored=restored)
    house.peers(peer())
    assert said(house.holds(N1)) == ["+v4"]


# --- watchdogs -------------------------------------------------------------------------------------------------------


FOREIGN = Route(ip_network("198.51.100.0/24"))


def watched(state, *, house=None) -> House:
    """A house with a watchdog, whose last word is a while ago."""
    house = house or House(service("dns", targets=(DOG,)))
    house.done(house.started)
    house.done(house.poll(s1=state))
    house.wait(20.0)
    return house


def test_a_watchdog_is_said_again_when_routes_that_are_not_ours_change():
    house = watched(DOWN)
    assert said(house.all) == ["-watchdog dns"]
    effects = house.sent(FOREIGN, N1) + house.wait(2.0)
    assert said(effects) == ["-watchdog dns"], "ExaBGP announces a watchdog's routes by itself when it is reloaded"


def test_routes_of_strangers_have_it_said_again_less_and_less_often_but_never_in_vain():
    house = watched(DOWN)
    times = [house.now for _ in range(100) if said(house.sent(FOREIGN, N1, after=1.0))]
    assert 3 <= len(times) <= 6
    pauses = [later - before for before, later in pairwise(times)]
    assert pauses == sorted(pauses)
    house.wait(2 * 300.0)
    assert said(house.sent(FOREIGN, N1) + house.wait(2.0)) == ["-watchdog dns"]


def test_a_watchdog_is_said_again_at_once_when_its_own_routes_change():
    house = watched(DOWN)
    house.done(house.poll(s1=UP))
    house.sent(FOREIGN, N1, after=0.1)
    house.wait(20.0)
    house.done(house.poll(s1=DOWN))
    house.sent(FOREIGN, N1, announced=False, after=0.1)
    house.wait(20.0)
    for _ in range(5):
        assert said(house.sent(FOREIGN, N1, after=2.0) + house.wait(1.5)) == ["-watchdog dns"], "each time"


def test_what_follows_a_watchdogs_own_word_does_not_have_it_said_again():
    house = watched(DOWN)
    house.done(house.poll(s1=UP))
    assert said(house.sent(FOREIGN, N1, after=0.1) + house.wait(5.0)) == []
    house.done(house.poll(s1=DOWN))
    assert said(house.sent(FOREIGN, N1, announced=False, after=0.1) + house.wait(5.0)) == []


def test_one_watchdogs_routes_are_not_anothers():
    house = House(service("dns", "edge1/s1", targets=(DOG,)), service("ntp", "edge1/s2", targets=(Watchdog("ntp"),)))
    house.done(house.started)
    house.done(house.poll(s1=DOWN, s2=UP))
    house.sent(FOREIGN, N1, after=0.1)
    house.wait(20.0)
    assert said(house.sent(FOREIGN, N1, announced=False) + house.wait(2.0)) == ["+watchdog ntp"]
    house.wait(20.0)
    assert said(house.sent(FOREIGN, N1) + house.wait(2.0)) == [], "it is back as it should be"


def test_a_watchdog_that_is_as_it_should_be_is_not_said_again():
    house = watched(UP)
    assert said(house.sent(FOREIGN, N1) + house.wait(2.0)) == []
    assert said(house.sent(FOREIGN, N1, announced=False) + house.wait(2.0)) == ["+watchdog dns"]


# --- comparing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "held",
    [
        Route(V4, med=1),
        Route(V4, local_preference=1),
        Route(V4, next_hop=N1),
        Route(V4, as_path=(65001,)),
        Route(V4, communities=("65000:1",)),
        Route(V4, large_communities=("1:2:3",)),
    ],
)
def test_each_attribute_is_compared(held):
    assert not alike(PLAIN, held, peer())
    assert not alike(held, PLAIN, peer())
    assert alike(held, held, peer())


@pytest.mark.parametrize(
    ("said_as", "held_as"),
    [
        ("no-export", "65535:65281"),
        ("65535:0", "graceful-shutdown"),
        ("4294967041", "no-export"),
        ("0xFFFFFF01", "no-export"),
        ("nopeer", "no-peer"),
        ("65000:1", "4259840001"),
    ],
)
def test_a_community_is_the_same_in_any_spelling(said_as, held_as):
    assert alike(Route(V4, communities=(said_as,)), Route(V4, communities=(held_as,)), peer())


def test_communities_have_no_order():
    one, other = ("65000:1", "65000:2"), ("65000:2", "65000:1")
    assert alike(Route(V4, communities=one), Route(V4, communities=other), peer())


def test_next_hop_self_is_known_only_with_our_address():
    assert alike(PLAIN, Route(V4, next_hop=LOCAL), peer())
    assert not alike(PLAIN, Route(V4, next_hop=N3), peer())
    assert alike(PLAIN, Route(V4, next_hop=N3), peer(local=None)), "it may be"


def test_other_neighbours_routes_are_not_looked_at():
    house = announced(peer(N1), peer(N2))
    found = compare(peer(N1), (), {V4: Claim(PLAIN, announced=True)}, {V4}, complete=True)
    assert found.missing == [V4]
    assert house.announced()


def test_an_advertised_prefix_of_nobody_is_no_event_without_watchdogs():
    house = announced(peer())
    assert kinds(house.take(Advertised(N1, ip_network("198.51.100.0/24"), True)) + house.wait(2.0)) == []
