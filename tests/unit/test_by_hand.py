"""What operators say themselves: announced until it is taken back, whoever restarts, and never a service's."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from exabgp_bfd.core.engine import Engine
from exabgp_bfd.core.model import (
    BY_HAND,
    Action,
    Advertised,
    Announce,
    Answer,
    Believed,
    ByHand,
    Clear,
    ConfigError,
    Device,
    Guard,
    Held,
    Lift,
    Neighbor,
    Observation,
    Order,
    Outcome,
    Override,
    OwnedError,
    Peer,
    Peers,
    Plan,
    Poll,
    Record,
    Reload,
    Remember,
    RememberOrder,
    Restored,
    Rib,
    Route,
    Selector,
    Service,
    Session,
    Start,
    State,
    Stop,
    Tick,
    Watchdog,
    Withdraw,
)
from exabgp_bfd.core.neighbors import IS_DOWN, NOT_SEEN
from exabgp_bfd.storage.queries import order_from, order_text
from exabgp_bfd.storage.recording import Single, single_from, single_row

WALL = 1_795_176_000.0
MINE, THEIRS = Route(ip_network("203.0.113.7/32")), Route(ip_network("198.51.100.53/32"))
A, B = ip_address("192.0.2.1"), ip_address("192.0.2.2")
PEERS = Peers((Peer(A, tells=True), Peer(B, tells=True)), "5.0.15", "5")
DNS = Service("dns", (THEIRS,), (Selector("edge1", "*"),), rise=1, hold_up=0.0, confirm=False)
PLAN = Plan((Device("edge1"),), (DNS,))
SESSION = Session("edge1", "198.51.100.1")


def by_hand(target=MINE, *, announce=True, expires=None, actor="noc", reason="a test"):
    return ByHand(target, announce, actor, reason, WALL, expires)


class Desk:
    """An engine, and all that it said."""

    def __init__(self, plan=PLAN, **restored):
        self.engine = Engine(plan, Restored(wall=WALL, **restored), 0.0)
        self.now = 0.0
        self.kept = []
        self.commands = self.give(Start())

    def give(self, event, after=0.0):
        self.now += after
        effects = self.engine.handle(event, self.now)
        self.kept += [each for each in effects if not isinstance(each, Announce | Withdraw)]
        return [each for each in effects if isinstance(each, Announce | Withdraw)]

    def order(self, what, after=0.0):
        return self.give(Order(what), after)

    def taken(self, commands, outcome=Outcome.DONE, text=""):
        for command in commands:
            self.give(Answer(command.command, outcome, text))
        return commands

    def sees(self, state):
        return self.give(Poll("edge1", (Observation(SESSION, state),), complete=True))

    def passes(self, seconds):
        """Each deadline until then, at its time."""
        said = []
        until = self.now + seconds
        while (due := self.engine.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            said += self.give(Tick())
        self.now = until
        return said

    def events(self, kind):
        return [each.event for each in self.kept if isinstance(each, Record) and each.event.event_type == kind]

    def orders(self):
        return [(each.service, each.order) for each in self.kept if isinstance(each, RememberOrder)]

    def views(self):
        return {view.order.target.key: view for view in self.engine.snapshot(self.now).by_hand}


def test_an_announce_is_said_recorded_and_kept():
    desk = Desk()
    desk.give(PEERS)
    order = by_hand()
    [said] = desk.order(order)
    assert (type(said), said.service, said.route) == (Announce, BY_HAND, MINE)
    [recorded] = desk.events("command")
    assert (recorded.actor, recorded.service, recorded.details["prefix"]) == ("noc", BY_HAND, "203.0.113.7/32")
    assert (recorded.details["action"], recorded.details["reason"]) == ("announce", "a test")
    [announced] = desk.events("route_announce")
    assert (announced.id, announced.cause) == (said.command, recorded.id)
    assert desk.orders() == [("by hand 203.0.113.7/32", order)]
    assert Remember(BY_HAND, "203.0.113.7/32", MINE, said.command) in desk.kept


def test_what_became_of_it_is_shown():
    desk = Desk()
    desk.give(PEERS)
    desk.give(Neighbor(B, "down"))
    said = desk.order(by_hand())
    assert desk.views()["203.0.113.7/32"].outcome is None
    assert dict(desk.views()["203.0.113.7/32"].missing) == {"192.0.2.1": NOT_SEEN, "192.0.2.2": IS_DOWN}
    desk.taken(said)
    desk.give(Advertised(A, MINE.prefix, announced=True))
    view = desk.views()["203.0.113.7/32"]
    assert (view.outcome, view.route.confirmed, dict(view.missing)) == (
        Outcome.DONE,
        ("192.0.2.1",),
        {"192.0.2.2": IS_DOWN},
    )
    [confirmed] = desk.events("route_confirmed")
    assert (confirmed.service, confirmed.cause) == (BY_HAND, said[0].command)


def test_what_exabgp_refuses_is_told_and_said_again():
    desk = Desk()
    desk.taken(desk.order(by_hand()), Outcome.ERROR, "why")
    view = desk.views()["203.0.113.7/32"]
    assert (view.outcome, view.text, view.route.accepted) == (Outcome.ERROR, "why", False)
    [again] = desk.passes(2.0)
    assert (type(again), again.route) == (Announce, MINE)
    desk.taken([again])
    assert desk.views()["203.0.113.7/32"].outcome is Outcome.DONE


@pytest.mark.parametrize("announce", [True, False])
@pytest.mark.parametrize("target", [THEIRS, Watchdog("ntp"), replace(THEIRS, neighbors=(A,))], ids=str)
def test_what_a_service_has_is_refused(announce, target):
    ntp = replace(DNS, name="ntp", routes=(Watchdog("ntp"),))
    desk = Desk(replace(PLAN, services=(DNS, ntp)))
    before = len(desk.kept)
    order = by_hand(target, announce=announce)
    objection = desk.engine.objection(Order(order), 0.0)
    assert isinstance(objection, OwnedError)
    assert f"/override with action {'announce' if announce else 'withdraw'}" in str(objection)
    assert desk.order(order) == []
    assert [each.event.event_type for each in desk.kept[before:]] == ["order_refused"]
    assert desk.views() == {}


def test_a_withdraw_ends_it_and_is_forgotten_when_it_was_taken():
    desk = Desk()
    desk.give(PEERS)
    desk.taken(desk.order(by_hand()))
    [gone] = desk.order(by_hand(announce=False), 10.0)
    assert (type(gone), gone.route) == (Withdraw, MINE)
    assert desk.orders()[-1] == ("by hand 203.0.113.7/32", by_hand(announce=False)), "kept until ExaBGP has taken it"
    assert not desk.views()["203.0.113.7/32"].route.announced
    desk.give(Advertised(A, MINE.prefix, announced=False))
    desk.give(Advertised(B, MINE.prefix, announced=False))
    assert desk.views()["203.0.113.7/32"].route.confirmed == ("192.0.2.1", "192.0.2.2")
    desk.passes(500.0)
    assert desk.views(), "ExaBGP has not taken it: it is looked after"
    desk.taken([gone])
    desk.passes(500.0)
    assert desk.views() == {}
    assert desk.orders()[-1] == ("by hand 203.0.113.7/32", None)
    assert desk.give(Rib((Held(A, MINE),), A, 10**6)) == [], "somebody else's now"


def test_what_nobody_announced_can_be_withdrawn():
    desk = Desk()
    target = Route(MINE.prefix, neighbors=(A,))
    [gone] = desk.order(by_hand(target, announce=False))
    assert (type(gone), gone.route.neighbors) == (Withdraw, (A,))
    assert not desk.views()[MINE.key].route.announced


def test_it_goes_where_the_last_order_says():
    desk = Desk()
    desk.give(PEERS)
    desk.taken(desk.order(by_hand()))
    fewer = replace(MINE, neighbors=(A,), med=7)
    commands = desk.order(by_hand(fewer), 10.0)
    assert [(type(each), each.route.neighbors) for each in commands] == [(Withdraw, (B,)), (Announce, (A,))]
    to_another = by_hand(replace(MINE, neighbors=(B,)), announce=False)
    assert "announced by hand to 192.0.2.1" in str(desk.engine.objection(Order(to_another), desk.now))
    for order in (by_hand(announce=False), by_hand(replace(MINE, neighbors=(A, B)), announce=False)):
        assert desk.engine.objection(Order(order), desk.now) is None
    [gone] = desk.order(by_hand(announce=False))
    assert (type(gone), gone.route.neighbors) == (Withdraw, ())


def test_part_of_what_goes_to_all_is_not_withdrawn():
    desk = Desk()
    desk.order(by_hand())
    part = by_hand(replace(MINE, neighbors=(A,)), announce=False)
    assert "announced by hand to all neighbours" in str(desk.engine.objection(Order(part), 0.0))
    assert desk.order(part) == []


def test_there_are_not_more_than_enough():
    desk = Desk()
    for number in range(1000):
        desk.taken(desk.order(by_hand(Route(ip_network(f"10.0.{number // 250}.{number % 250}/32")))))
    one_more = by_hand(Route(ip_network("10.9.9.9/32")))
    assert isinstance(desk.engine.objection(Order(one_more), desk.now), ConfigError)
    anew = by_hand(Route(ip_network("10.0.0.1/32"), med=5))
    assert desk.engine.objection(Order(anew), desk.now) is None
    for number in range(1500):
        prefix = ip_network(f"10.1.{number // 250}.{number % 250}/32")
        assert len(desk.order(by_hand(Route(prefix), announce=False))) == 1
    assert len(desk.views()) <= 2000


def test_it_ends_by_itself():
    desk = Desk()
    desk.taken(desk.order(by_hand(expires=WALL + 60)))
    assert desk.passes(59.0) == []
    [gone] = desk.passes(2.0)
    assert (type(gone), gone.route) == (Withdraw, MINE)
    [expired] = desk.events("command_expired")
    assert (expired.actor, desk.events("route_withdraw")[0].cause) == ("noc", expired.id)
    assert desk.orders()[-1][1] == by_hand(announce=False, expires=WALL + 60)
    desk.taken([gone])
    desk.passes(100.0)
    assert desk.orders()[-1] == ("by hand 203.0.113.7/32", None)
    late = by_hand(expires=WALL + 1)
    assert "lies in the past" in str(desk.engine.objection(Order(late), desk.now))


def restarted(*orders, **more):
    believed = tuple(Believed(BY_HAND, each.target, 5) for each in orders)
    return Desk(**{"by_hand": orders, "believed": believed, "last_event": 9, **more})


def test_over_our_restart_it_stays_and_is_said_again_for_it_may_have_been_refused():
    desk = restarted(by_hand(), rib_kept=True)
    assert [(type(each), each.route) for each in desk.commands] == [(Announce, MINE)]
    assert desk.views()["203.0.113.7/32"].route.announced
    desk.taken(desk.commands)
    desk.passes(5.0)
    assert [type(each) for each in desk.order(by_hand(announce=False))] == [Withdraw]


@pytest.mark.parametrize("more", [{}, {"expired": True}, {"believed": ()}, {"believed": (), "rib_kept": True}], ids=str)
def test_where_it_is_lost_it_is_announced_again(more):
    desk = restarted(by_hand(), **more)
    assert [(type(each), each.route) for each in desk.commands] == [(Announce, MINE)]


def test_what_ended_while_we_were_away_is_withdrawn_not_announced():
    desk = restarted(by_hand(expires=WALL - 1), rib_kept=True)
    assert [(type(each), each.route) for each in desk.commands] == [(Withdraw, MINE)]
    assert desk.orders() == [("by hand 203.0.113.7/32", by_hand(announce=False, expires=WALL - 1))]


def test_a_withdraw_that_was_not_taken_is_said_by_our_next_life_and_then_forgotten():
    desk = restarted(by_hand(announce=False), believed=(), rib_kept=True)
    assert [(type(each), each.route) for each in desk.commands] == [(Withdraw, MINE)]
    desk.taken(desk.commands)
    desk.passes(100.0)
    assert desk.views() == {}
    assert desk.orders()[-1] == ("by hand 203.0.113.7/32", None)


def test_a_withdraw_that_a_former_exabgp_did_not_take_is_over():
    desk = restarted(by_hand(announce=False), believed=())
    assert (desk.commands, desk.views(), desk.orders()) == ([], {}, [("by hand 203.0.113.7/32", None)])


def test_what_a_service_has_now_is_not_withdrawn_by_hand_at_our_start():
    desk = restarted(by_hand(THEIRS, announce=False), believed=(Believed("dns", THEIRS, 5),), rib_kept=True)
    assert (desk.commands, desk.orders()) == ([], [("by hand 198.51.100.53/32", None)])
    assert desk.events("command_ended") == []


def test_our_end_withdraws_it_and_the_next_start_announces_it():
    desk = Desk()
    desk.taken(desk.order(by_hand()))
    assert desk.engine.rehearse_end() == (Withdraw(0, BY_HAND, MINE),)
    [gone] = desk.give(Stop("SIGTERM", withdraw=True))
    assert (type(gone), gone.route) == (Withdraw, MINE)
    assert desk.orders()[-1][1] is not None, "the order stays"
    assert Desk().give(Stop("SIGTERM")) == []


def test_without_its_order_a_route_is_taken_back():
    desk = Desk(believed=(Believed(BY_HAND, MINE, 5),), rib_kept=True)
    assert [(type(each), each.route) for each in desk.commands] == [(Withdraw, MINE)]


def test_a_service_that_has_it_at_our_start_takes_it_over():
    desk = restarted(by_hand(THEIRS), rib_kept=True)
    assert desk.commands == []
    assert desk.views() == {}
    assert desk.orders() == [("by hand 198.51.100.53/32", None)]
    [ended] = desk.events("command_ended")
    assert ended.details["to"] == "dns"
    assert Remember("dns", THEIRS.key, THEIRS, 5) in desk.kept
    assert desk.engine.snapshot(0.0).services[0].announced


def test_a_service_that_comes_to_have_it_takes_it_over_and_judges():
    desk = Desk(replace(PLAN, services=()))
    desk.taken(desk.order(by_hand(THEIRS)))
    assert desk.give(Reload(PLAN), 10.0) == []
    assert desk.views() == {}
    [ended] = desk.events("command_ended")
    assert ended.cause == desk.events("reloaded")[0].id
    assert desk.engine.snapshot(desk.now).services[0].announced
    assert desk.sees(State.UP) == []
    assert [type(each) for each in desk.sees(State.DOWN)] == [Withdraw]


@pytest.mark.parametrize("state", [State.UP, State.DOWN])
@pytest.mark.parametrize("said", [(), (MINE,), (replace(MINE, med=5),), (MINE, Watchdog("ntp"))])
def test_a_trial_of_another_plan_knows_what_was_said_by_hand(state, said):
    desk = Desk()
    desk.give(PEERS)
    desk.taken(desk.sees(state))
    for each in said:
        desk.taken(desk.order(by_hand(each), 10.0))
    new = replace(DNS, name="new", routes=(MINE, Watchdog("ntp")))
    plan = replace(PLAN, services=(DNS, new))
    told = desk.engine.preview(plan, desk.now).commands
    assert set(desk.views()) == {each.key for each in said}, "a trial changes nothing"
    assert [replace(each, command=0) for each in desk.give(Reload(plan))] == list(told)


def test_what_it_lost_is_said_again():
    desk = Desk()
    desk.give(PEERS)
    desk.taken(desk.order(by_hand()))
    desk.passes(10.0)
    [again] = desk.give(Rib((), A, 10**6)) + desk.passes(1.0)
    assert (type(again), again.route) == (Announce, MINE)


def test_a_watchdog_is_said_too():
    desk = Desk()
    [on] = desk.order(by_hand(Watchdog("ntp")))
    assert on == Announce(on.command, BY_HAND, Watchdog("ntp"))
    [off] = desk.order(by_hand(Watchdog("ntp"), announce=False))
    assert off == Withdraw(off.command, BY_HAND, Watchdog("ntp"))


@pytest.mark.parametrize(
    "what", [by_hand(), by_hand(replace(MINE, neighbors=(A,), communities=("65000:1",))), by_hand(Watchdog("ntp"))]
)
@pytest.mark.parametrize("announce", [True, False])
def test_what_is_kept_comes_back_the_same(what, announce):
    order = replace(what, announce=announce, expires=None if announce else WALL)
    assert order_from(order_text(order)) == order
    assert single_from(*single_row(Single(1, 1, Order(order)))) == (Order(order), None)
    restored = Restored(by_hand=(order,))
    assert single_from(*single_row(Single(1, 1, Start(), restored))) == (Start(), restored)


# --- to whom it goes ------------------------------------------------------------------------------------------------

NOBODY = ip_address("10.9.9.9")


def to(*neighbors, **more):
    return replace(MINE, neighbors=neighbors, **more)


def gone(commands):
    """What was withdrawn, and from whom."""
    return [(each.route.key, each.route.neighbors) for each in commands if isinstance(each, Withdraw)]


@pytest.mark.parametrize("order", [by_hand(to(A), announce=False), by_hand(to(A)), by_hand(to(NOBODY), announce=False)])
def test_what_another_neighbour_has_from_somebody_else_stays(order):
    desk = Desk()
    desk.give(PEERS)
    outcome = Outcome.ERROR if NOBODY in order.target.neighbors else Outcome.DONE
    desk.taken(desk.order(order), outcome)
    for _ in range(20):
        desk.taken(desk.passes(1.0), outcome)
    theirs = Held(B, replace(MINE, next_hop=ip_address("10.0.0.1")))
    ours = (Held(A, MINE),) if order.announce else ()
    assert desk.give(Rib((*ours, theirs), None, 10**6), 1.0) + desk.passes(3.0) == []
    assert desk.events("reconciled") == []


def test_a_withdraw_that_is_owed_to_all_is_not_forgotten_for_one_to_fewer():
    left = Desk(replace(PLAN, services=(replace(DNS, routes=(MINE,)),)))
    left.give(PEERS)
    left.taken(left.sees(State.UP))
    left.taken(left.give(Reload(replace(PLAN, services=())), 10.0), Outcome.ERROR)
    own = Desk()
    own.give(PEERS)
    own.taken(own.order(by_hand()))
    own.taken(own.order(by_hand(announce=False), 10.0), Outcome.ERROR)
    for desk in (left, own):
        order = by_hand(to(A), announce=False)
        assert gone(desk.engine.rehearse(Order(order), desk.now)) == [(MINE.key, ())]
        said = desk.taken(desk.order(order), Outcome.ERROR)
        assert gone(said) == [(MINE.key, ())]
        assert gone(desk.passes(5.0)) == [(MINE.key, ())]
        assert desk.orders()[-1][1].target.neighbors == (), "it is owed in our next life, too"


@pytest.mark.parametrize("by_service", [True, False])
def test_nor_for_an_announce_to_fewer(by_service):
    desk = Desk(replace(PLAN, services=(replace(DNS, routes=(MINE,)),) if by_service else ()))
    desk.give(PEERS)
    desk.taken(desk.sees(State.UP) if by_service else desk.order(by_hand()))
    withdraw = Reload(replace(PLAN, services=())) if by_service else Order(by_hand(announce=False))
    desk.taken(desk.give(withdraw, 10.0), Outcome.ERROR)
    order = by_hand(to(A, med=7))
    told = desk.engine.rehearse(Order(order), desk.now)
    said = desk.order(order)
    assert [(type(each), each.route.neighbors) for each in told] == [(Withdraw, (B,)), (Announce, (A,))]
    assert [replace(each, command=0) for each in said] == list(told)
    desk.taken(said[:1], Outcome.ERROR)
    desk.taken(said[1:])
    assert gone(desk.passes(2.0)) == [(MINE.key, (B,))]


def test_what_is_owed_to_some_is_withdrawn_from_them_and_from_others():
    desk = Desk()
    desk.give(PEERS)
    desk.taken(desk.order(by_hand(to(A), announce=False)), Outcome.ERROR)
    assert gone(desk.taken(desk.order(by_hand(to(B), announce=False)))) == [(MINE.key, (B, A))]
    assert gone(desk.order(by_hand(to(B), announce=False))) == [(MINE.key, (B,))], "nothing is owed any more"


def fewer(outcome, after=10.0):
    """What went to all goes to one only, and what ExaBGP answered to the withdraw from the other."""
    desk = Desk()
    desk.give(PEERS)
    desk.taken(desk.order(by_hand()))
    stray, said = desk.order(by_hand(to(A)), after)
    desk.taken([stray], outcome)
    desk.taken([said])
    return desk


def believed(desk):
    return next(each for each in reversed(desk.kept) if isinstance(each, Remember))


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.ERROR])
def test_what_those_have_to_whom_it_no_longer_goes_is_not_forgotten_at_our_restart(outcome):
    desk = fewer(outcome)
    order, kept = desk.orders()[-1][1], believed(desk)
    assert order == by_hand(to(A))
    held = Believed(BY_HAND, kept.route, kept.event)
    again = Desk(by_hand=(order,), believed=(held,), rib_kept=True, last_event=99)
    assert gone(again.commands) == ([] if outcome is Outcome.DONE else [(MINE.key, (B,))])
    assert [each.route for each in again.commands if isinstance(each, Announce)] == [to(A)]


@pytest.mark.parametrize("expires", [True, False])
def test_nor_where_it_is_withdrawn_from_the_others(expires):
    desk = fewer(Outcome.ERROR)
    if expires:
        desk.taken(desk.order(by_hand(to(A), expires=WALL + desk.now + 0.5)))
        assert (MINE.key, (A, B)) in gone(desk.passes(0.6))
    else:
        assert (MINE.key, (A, B)) in gone(desk.order(by_hand(to(A), announce=False)))
    assert desk.orders()[-1][1].target.neighbors == (A, B)


def test_a_withdraw_from_whom_exabgp_does_not_have_is_said_once_and_forgotten():
    desk = Desk()
    desk.give(PEERS)
    for _ in range(3):
        [refused] = desk.order(by_hand(to(NOBODY), announce=False), 1.0)
        desk.taken([refused], Outcome.ERROR)
    assert desk.passes(55.0) == []
    assert desk.views()
    assert desk.passes(10.0) == []
    assert desk.views() == {}
    assert desk.orders()[-1] == ("by hand 203.0.113.7/32", None)


def test_it_is_said_again_once_exabgp_has_that_neighbour():
    desk = Desk()
    desk.give(PEERS)
    desk.taken(desk.order(by_hand(to(NOBODY), announce=False)), Outcome.ERROR)
    peers = (*PEERS.peers, Peer(NOBODY, tells=True))
    assert gone(desk.give(replace(PEERS, peers=peers), 5.0) + desk.passes(1.0)) == [(MINE.key, (NOBODY,))]


def test_one_moment_is_set_for_forgetting_however_often_it_is_withdrawn():
    desk = Desk()
    for _ in range(20):
        desk.taken(desk.order(by_hand(announce=False)))
    desk.passes(30.0)
    moments = 0
    while (due := desk.engine.next_deadline()) is not None:
        desk.passes(due - desk.now)
        moments += 1
    assert (moments, desk.views()) == (1, {})


# --- what an order would do -----------------------------------------------------------------------------------------


def ready(**more):
    """Two services that are up, with a guard that lets one go."""
    two = replace(DNS, name="ntp", routes=(Route(ip_network("198.51.100.54/32")),))
    desk = Desk(replace(PLAN, services=(DNS, two), **more))
    desk.taken(desk.sees(State.UP))
    desk.passes(2.0)
    return desk


ORDERS = [
    *(Order(Override("dns", action, "noc", "a test", WALL)) for action in Action),
    Order(by_hand()),
    Order(by_hand(announce=False)),
    Order(by_hand(replace(MINE, neighbors=(B,)))),
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order.what).__name__)
@pytest.mark.parametrize("state", [State.UP, State.DOWN])
def test_a_rehearsal_tells_what_would_be_said_and_changes_nothing(order, state):
    desk = ready()
    desk.give(PEERS)
    desk.taken(desk.order(by_hand(med_of(3))))
    desk.taken(desk.sees(state))
    desk.passes(2.0)
    before = desk.engine.snapshot(desk.now)
    told = desk.engine.rehearse(order, desk.now)
    assert desk.engine.rehearse(order, desk.now) == told
    assert desk.engine.snapshot(desk.now) == before
    assert [(type(each), each.service, each.route) for each in desk.give(order)] == [
        (type(each), each.service, each.route) for each in told
    ]
    if isinstance(order.what, ByHand):
        assert told


def med_of(med):
    return replace(MINE, med=med)


def test_a_rehearsal_of_clearing_and_of_lifting():
    desk = ready(guard=Guard(max_withdrawn=1))
    [gone] = desk.order(Override("dns", Action.WITHDRAW, "noc", "a test", WALL))
    assert gone.service == "dns"
    told = desk.engine.rehearse(Clear("dns", "noc"), desk.now)
    assert [(type(each), each.service) for each in told] == [(Announce, "dns")]
    desk.taken(desk.give(Clear("dns", "noc")))
    desk.passes(2.0)
    went = desk.sees(State.DOWN)
    assert len(went) == 1, "the limit holds the other"
    lift = Order(Lift("noc", "a test", WALL))
    told = desk.engine.rehearse(lift, desk.now)
    assert [(type(each), each.route) for each in told] == [(type(each), each.route) for each in desk.give(lift)]
    assert len(told) == 1
