"""What a hostile reading of the core found: each of these once took a route down, or left one up, that should not."""

from dataclasses import replace

import pytest
from lab.house import DOWN, N1, N2, UP, V4, WALL, House, commands, events, kinds, override, said, service, session

from exabgp_bfd.core.model import (
    Action,
    Answer,
    Believed,
    Change,
    Damping,
    Device,
    Forget,
    Guard,
    Observation,
    Outcome,
    Peer,
    Poll,
    Reading,
    Reload,
    Restored,
    Route,
    Rung,
    Selector,
    Span,
    Stop,
    Tick,
    Watchdog,
    Window,
)
from exabgp_bfd.core.policy import ServiceTrack


def live(*services, **plan):
    house = House(*services, **plan)
    house.poll(a=UP, b=UP)
    return house


# --- the end --------------------------------------------------------------------------------------------------------


def test_nothing_is_announced_after_the_last_word():
    house = live(service("dns", drain_time=10.0))
    house.order("drain")
    house.wait(10.0)
    assert said(house.clear()) == ["+v4 gshut"]
    (withdraw,) = commands(house.take(Stop("SIGTERM", withdraw=True)))
    assert said(house.take(Answer(withdraw.command, Outcome.DONE), 30.0)) == []
    assert said(house.take(Tick(), 30.0)) == []


def test_the_last_word_is_the_last_even_where_an_order_ends_with_it():
    house = live(service("dns"))
    house.order("withdraw", ttl=10)
    house.now += 10
    assert said(house.engine.handle(Stop("SIGTERM", withdraw=True), house.now)) == []


def test_a_drain_under_way_leaves_no_watchdog_to_a_new_exabgp():
    """It says a watchdog's routes by itself until it is told, and the drain may last long."""
    believed = (Believed("dns", Route(V4), 4),)
    restored = Restored(9, believed, wall=WALL, overrides=(override("drain"),))
    house = House(service("dns", targets=(Route(V4), Watchdog("x")), drain_time=10.0), restored=restored)
    assert said(house.started) == ["-watchdog x", "+v4 gshut"]
    assert said(house.wait(10.0)) == ["-v4"]


# --- withdraws that ExaBGP did not take ----------------------------------------------------------------------------


@pytest.mark.parametrize("target", [Route(V4), Watchdog("dns")])
def test_an_old_withdraw_is_not_said_over_a_service_that_came_back(target):
    spec, other = service("dns", targets=(target,)), service("ntp", "edge1/b", targets=(Watchdog("x"),))
    house = live(spec, other)
    (gone,) = commands(house.reload(other))
    house.take(Answer(gone.command, Outcome.TIMEOUT))
    assert said(house.reload(spec, other)) == [said([gone])[0].replace("-", "+")]
    house.poll(a=UP, b=UP)
    for _ in range(60):
        assert said(house.poll(a=UP, b=UP)) == []


def test_a_withdraw_that_was_not_taken_is_said_again_after_the_prefix_came_back():
    spec, other = service("dns", "edge1/a"), service("ntp", "edge1/b", targets=(Watchdog("x"),))
    house = live(spec, other)
    (gone,) = commands(house.reload(other))
    house.take(Answer(gone.command, Outcome.TIMEOUT))
    house.poll(b=UP, a=DOWN, after=0.1)
    house.poll(b=UP, a=DOWN, after=0.1)
    house.reload(spec, other)
    assert "-v4" in said(house.wait(5.0))


# --- windows, ladders and reloads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("over", [{"devices": ("edge1",)}, {"sessions": (Selector("edge1", "a"),)}])
def test_maintenance_covers_what_was_not_seen_yet(over):
    window = Window("night", Span(None, WALL + 1000.0), **over)
    restored = Restored(9, (Believed("dns", Route(V4), 4),), rib_kept=True, wall=WALL)
    house = House(service("dns", "edge1/a"), windows=(window,), restored=restored)
    for _ in range(10):
        assert said(house.poll(b=UP)) == []
    assert house.announced()


def test_a_device_that_never_answers_keeps_no_service_alive_that_others_carried():
    step = (Rung(1, Change(med=200)),)
    house = live(service("dns", "edge1/a", "edge1/b", require=2, steps=step))
    house.poll(a=UP, b=DOWN)
    assert said(house.poll(a=UP, b=DOWN)) == [] or house.announced()
    devices = (Device("edge1"), Device("edge9"))
    house.reload(service("dns", "edge1/a", "edge1/b", "edge9/*", require=2, steps=step), devices=devices)
    house.poll(a=DOWN, b=DOWN)
    house.poll(a=DOWN, b=DOWN)
    assert not house.announced()


def test_a_device_that_never_answers_is_told_of():
    house = House(service("dns", "edge1/*"), devices=(Device("edge1"), Device("edge2")))
    house.poll(a=UP)
    (event,) = events(house.wait(60.0), "device_unreachable")[:1]
    assert event.device in ("edge1", "edge2")


def test_another_box_under_the_same_name_starts_from_nothing_and_takes_nothing_down():
    box = Device("edge1", identity="192.0.2.1")
    house = live(service("dns", rise=3), devices=(box,))
    for _ in range(3):
        house.poll(a=UP, b=UP)
    assert house.announced()
    assert said(house.reload(service("dns", rise=3), devices=(replace(box, identity="192.0.2.9"),))) == []
    for _ in range(5):
        assert said(house.poll(c=UP)) == []
    assert [view.session.name for view in house.engine.snapshot(house.now).sessions] == ["c"]


def test_a_new_name_does_not_free_a_flapping_session():
    damping = Damping(penalty=1000.0, cutoff=1500.0, reuse=500.0, half_life=100.0, ceiling=4000.0)
    house = live(service("dns", "edge1/a", damping=damping))
    for _ in range(3):
        house.poll(a=DOWN)
        house.poll(a=DOWN)
        house.poll(a=UP)
    assert not house.announced()
    assert said(house.reload(service("resolver", "edge1/a", damping=damping))) == []
    assert said(house.poll(a=UP)) == []


def test_disable_files_come_with_a_reload():
    spec = service("resolver", disable_file="/run/off")
    house = live(service("dns"))
    house.plan = house.next_plan(spec)
    assert house.engine.preview(house.plan, house.now, ("resolver",)).commands != ()
    effects = house.take(Reload(house.plan, disabled=("resolver",)))
    assert said(effects) == ["-v4"]
    assert house.service("resolver").disabled


def test_the_limit_remembers_what_went_before_a_restart():
    restored = Restored(9, (Believed("dns", Route(V4), 4),), rib_kept=True, wall=WALL, withdrawn=(("ntp", WALL - 5),))
    house = House(service("dns"), restored=restored, guard=Guard(max_withdrawn=1, within=60.0))
    house.poll(a=UP)
    house.poll(a=DOWN)
    assert said(house.poll(a=DOWN)) == []
    assert house.guard.held == ("dns",)
    assert "-v4" in said(house.wait(60.0))


# --- what was shown before a reload --------------------------------------------------------------------------------


def test_a_window_that_a_reload_closes_is_no_longer_shown():
    window = Window("night", Span(None, None), services=("dns",), action=Action.ANNOUNCE)
    house = live(service("dns"), windows=(window,))
    house.reload(service("dns"), windows=())
    view = house.service()
    assert (view.windows, view.layer) == ((), "health")
    assert "night" not in view.why


def test_a_disable_file_that_a_reload_finds_is_shown():
    house = House(service("dns", disable_file="/run/off"))
    house.take(Reload(house.plan, disabled=("dns",)))
    assert (house.service().disabled, house.service().layer) == (True, "disable_file")


def test_another_box_is_not_shown_with_the_sessions_of_the_one_before():
    house = House(service("dns", rise=3), devices=(Device("edge1", identity="192.0.2.1"),))
    house.poll(a=UP)
    house.reload(service("dns", rise=3), devices=(Device("edge1", identity="192.0.2.2"),))
    assert [leg.session for leg in house.service().legs] == ["edge1/*"]


def test_neighbours_that_did_not_get_a_route_are_told_of_after_a_reload_too():
    house = House(service("dns"))
    house.peers(Peer(N1, tells=True))
    house.done(house.poll(a=UP))
    house.wait(10.0)
    before = house.service().routes
    assert [name for name, _ in before[0].unseen] == [str(N1)]
    house.reload(service("dns", rise=2))
    assert house.service().routes == before
    house.holds(N1, Route(V4))
    assert house.service().routes[0].unseen == ()


def test_what_exabgp_held_before_a_reload_it_holds_after_it():
    house = House(service("dns"))
    house.peers(Peer(N1, tells=True))
    house.done(house.poll(a=UP))
    house.holds(N1, Route(V4))
    house.reload(service("dns", rise=2))
    assert events(house.wait(10.0), "route_unconfirmed") == []


def test_what_a_repair_did_not_help_is_not_repaired_again_for_a_reload():
    house = House(service("dns"))
    house.peers(Peer(N1))
    house.done(house.poll(a=UP))
    house.done(house.holds(N1, Route(V4, med=7)))
    assert said(house.holds(N1, Route(V4, med=7))) == []
    house.reload(service("dns", rise=2))
    assert said(house.holds(N1, Route(V4, med=7))) == []


@pytest.mark.parametrize("state", [UP, DOWN])
def test_what_exabgp_holds_for_a_neighbour_to_whom_it_does_not_go_is_taken_back_there(state):
    route = Route(V4, neighbors=(N1,))
    house = House(service("dns", targets=(route,)))
    house.peers(Peer(N1), Peer(N2))
    house.done(house.poll(a=UP))
    house.done(house.poll(a=state))
    house.holds(N2)
    assert said(house.holds(N2, route)) == [f"-v4 to {N2}"]


def test_what_we_took_back_ourselves_is_not_adopted():
    house = House(service("dns"))
    house.peers(Peer(N1))
    house.done(house.order("announce"))
    house.done(house.clear())
    effects = house.holds(N1, Route(V4))
    assert (said(effects), events(effects, "route_adopted")) == (["-v4"], [])


# --- flaps before a service followed -------------------------------------------------------------------------------

DAMPED = Damping(penalty=1000.0, cutoff=1000.0, reuse=500.0, half_life=8.0, ceiling=2500.0)


@pytest.mark.parametrize("before", [None, replace(DAMPED, half_life=2.0)])
def test_a_new_service_judges_old_flaps_by_its_own_rules(before):
    """As if it had followed the session from the start, whatever others made of the flaps."""
    other = service("ntp", "edge1/a", damping=before, targets=(Watchdog("x"),))
    house = House(other)
    for state in (UP, UP, DOWN, UP, UP, UP):
        house.poll(a=state)
    assert house.announced("ntp")
    assert said(house.reload(other, service("dns", "edge1/a", damping=DAMPED))) == []
    assert said(house.poll(a=UP)) == []
    assert "damped" in house.leg("a").why
    assert said(house.poll(a=UP, after=6.0)) == ["+v4"]


def test_what_maintenance_broke_is_no_flap_for_a_new_service_either():
    window = Window("night", Span(None, WALL + 4.5), devices=("edge1",))
    other = service("ntp", "edge1/a", targets=(Watchdog("x"),))
    house = House(other, windows=(window,))
    for state in (UP, UP, DOWN, UP, UP):
        house.poll(a=state)
    assert said(house.reload(other, service("dns", "edge1/a", damping=DAMPED))) == ["+v4"]


# --- faults ---------------------------------------------------------------------------------------------------------


def test_a_fault_with_one_service_leaves_the_others_alone(monkeypatch):
    house = live(service("bad", targets=(Watchdog("x"),), confirm=False), service("dns", confirm=False))
    original = ServiceTrack.judge

    def judge(self):
        if self.spec.name == "bad":
            raise ZeroDivisionError("ours")
        return original(self)

    monkeypatch.setattr(ServiceTrack, "judge", judge)
    seen = tuple(Observation(session(name), DOWN) for name in "ab")
    effects = house.take(Poll("edge1", seen, complete=True), 1.0)
    assert said(effects) == ["-v4"]
    (event,) = events(effects, "decision_failed")
    assert (event.service, event.details) == ("bad", {"error": "ZeroDivisionError: ours"})


def test_a_forgotten_session_is_no_longer_told():
    house = live(service("dns", "edge1/b", on_missing=Reading.DOWN), forget_after=20.0)
    out = []
    for _ in range(60):
        out += house.poll(b=UP)
    assert [each for each in out if isinstance(each, Forget)] == [Forget("edge1", "edge1/a")]
    assert kinds(out).count("session_forgotten") == 1
