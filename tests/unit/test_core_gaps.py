"""What mutation of the core showed to be untold: each test fails with a mutant that every other test let live."""

from dataclasses import replace
from datetime import UTC
from ipaddress import ip_network

import pytest
from lab.house import (
    ADMIN_DOWN,
    DOWN,
    GSHUT,
    INIT,
    MISSING,
    N1,
    N2,
    N3,
    UNKNOWN,
    UP,
    V4,
    V6,
    WALL,
    House,
    commands,
    events,
    id_,
    kinds,
    looks,
    orders,
    override,
    paces,
    remembered,
    said,
    service,
    session,
)

from exabgp_bfd.core.engine import CLOCK_JUMP, CLOCK_SETTLES, Engine
from exabgp_bfd.core.model import (
    Action,
    Advertised,
    Answer,
    Believed,
    Change,
    Damping,
    Device,
    Guard,
    Lift,
    Observation,
    Order,
    Outcome,
    Plan,
    Poll,
    Reading,
    Reload,
    Restored,
    Route,
    Rung,
    Selector,
    Session,
    Silence,
    Span,
    Stall,
    Start,
    Tick,
    Watchdog,
    Webhook,
    Weekly,
    Window,
)
from exabgp_bfd.core.policy import ServiceTrack
from exabgp_bfd.core.routes import LONGEST_RETRY, RETRIES_AT_ONCE, RETRY_BREATH

V4B = ip_network("192.0.2.54/32")
MED = Change(med=200)
PLAIN = Route(V4)
ON_UNKNOWN = {"on_unknown": Reading.DOWN}
TWO = ("edge1", "edge2")


def live(*services, **plan):
    """A house whose sessions a and b are up."""
    house = House(*(services or (service("dns"),)), **plan)
    house.poll(a=UP, b=UP)
    return house


def again(*held, spec=None, start=True, others=(), rib_kept=True, wall=WALL, expired=False, **more):
    """A start after which these routes were announced by our predecessor for `dns`."""
    believed = tuple(each if isinstance(each, Believed) else Believed("dns", each, 4) for each in held)
    known = {name: more.pop(name) for name in ("overrides", "disabled", "lift") if name in more}
    restored = Restored(9, believed, rib_kept=rib_kept, wall=wall, expired=expired, **known)
    return House(spec or service("dns"), *others, restored=restored, start=start, **more)


def refused(house, effects, outcome=Outcome.ERROR):
    """ExaBGP does not take a command; the effects of that."""
    (command,) = commands(effects)
    return house.take(Answer(command.command, outcome, "no"))


def night(action=Action.WITHDRAW, begins=0.0, ends=1000.0, name="night", **what):
    what = what or {"services": ("dns",)}
    return Window(name, Span(WALL + begins, WALL + ends), action=action, **what)


def both_silent(*services, at=0.0):
    """Both devices answered once, at 1, and no more; each has a session a."""
    house = House(*services, devices=TWO)
    house.poll("edge1", a=UP)
    house.poll("edge2", a=UP, after=at)
    return house


PAIR = (
    service("dns", "edge1/a", **ON_UNKNOWN),
    service("ntp", "edge2/a", prefixes=(V6,), **ON_UNKNOWN),
)


# --- a start --------------------------------------------------------------------------------------------------------


def test_the_wall_clock_is_counted_from_the_moment_of_our_start():
    plan = Plan((Device("edge1"),), (service("dns"),), windows=(night(begins=60.0),))
    engine = Engine(plan, Restored(wall=WALL), 1000.0)
    engine.handle(Start(), 1000.0)
    assert engine.next_deadline() == 1010.0, "when the device is silent"
    engine.handle(Tick(), 1059.0)
    assert engine.snapshot(1059.0).windows == ()
    engine.handle(Tick(), 1060.0)
    assert engine.snapshot(1060.0).windows == ("night",)


def test_a_device_that_one_of_its_followers_fears_is_watched_from_the_start():
    house = again(
        Believed("dns", PLAIN, 4),
        Believed("ntp", Route(V6), 5),
        others=(service("ntp", "edge1/b", prefixes=(V6,), **ON_UNKNOWN),),
        spec=service("dns", "edge1/a"),
    )
    assert said(house.wait(9.999)) == []
    assert said(house.wait(0.001)) == ["-v6"]


def test_what_is_due_first_is_the_next_deadline_whichever_clock_it_is_by():
    house = live()
    house.order("withdraw", ttl=600)
    assert house.engine.next_deadline() == 10.0, "when a device that never answered would be told of"
    house.order("withdraw", ttl=5)
    assert house.engine.next_deadline() == 6.0


def test_what_is_too_old_is_forgotten_even_where_another_service_has_it_now():
    house = again(Believed("web", PLAIN, 4), rib_kept=False, expired=True)
    assert remembered(house.started) == [("web", str(V4), False)]
    assert said(house.started) == []


def test_other_attributes_are_said_once_where_exabgp_started_anew():
    assert said(again(Route(V4, med=5), rib_kept=False).started) == ["+v4"]


def test_a_watchdog_is_ordered_off_where_exabgp_started_anew():
    spec = service("dns", targets=(Watchdog("dns"),))
    overrides = (override("withdraw"),)
    assert said(again(spec=spec, rib_kept=False, overrides=overrides).started) == ["-watchdog dns"]


def test_a_step_without_the_configured_graceful_shutdown_stays_so_over_a_restart():
    spec = service(
        "dns",
        targets=(Route(V4, communities=(GSHUT,)),),
        require=2,
        steps=(Rung(1, Change(communities=("65000:1",))),),
    )
    house = again(Route(V4, communities=("65000:1",)), spec=spec)
    assert said(house.started) == []
    draining = again(Route(V4, communities=("65000:1", GSHUT)), spec=spec)
    assert said(draining.started) == []


def test_the_view_of_a_service_that_lost_a_prefix_while_we_were_away_is_its_own():
    house = again(PLAIN, Route(V6))
    assert said(house.started) == ["-v6"]
    assert [route.route.key for route in house.service().routes] == [str(V4)]
    assert house.service().service == service("dns")


def test_a_service_of_which_one_route_was_announced_goes_on_as_it_was():
    spec = service("dns", prefixes=(V6, V4))
    house = again(PLAIN, spec=spec, overrides=(override("freeze", expires=WALL + 5),))
    assert house.announced()
    assert said(house.wait(6.0)) == ["+v4"], "whatever ExaBGP holds of it, and what was withdrawn stays so"
    assert said(house.poll(a=UP)) == ["+v6"]


def test_nothing_is_said_of_what_was_withdrawn_before_its_sessions_are_seen():
    house = again(overrides=(override("freeze", expires=WALL + 5),))
    assert said(house.wait(6.0)) == []
    assert (house.service().health, house.service().layer) == ("undecided", "start")


def test_an_adopted_service_whose_only_device_shows_too_few_sessions_is_withdrawn_at_once():
    house = again(PLAIN, spec=service("dns", require=2, rise=3))
    effects = house.poll(a=UP)
    assert said(effects) == ["-v4"]
    assert house.chain(events(effects, "route_withdraw")[0].id) == ["route_withdraw", "snmp_poll"]


@pytest.mark.parametrize("spec_gshut", [False, True])
def test_a_drain_goes_on_over_a_restart_where_one_route_says_that_it_drains(spec_gshut):
    communities = (GSHUT,) if spec_gshut else ()
    spec = service("dns", targets=(Route(V4, communities=communities), Route(V6)))
    house = again(
        Route(V4, communities=(GSHUT,)), spec=spec, overrides=(override("drain", since=WALL - 100.0),), start=False
    )
    effects = house.take(Start())
    # One that is configured so tells nothing of a drain: it begins now.
    assert said(effects) == (["+v4 gshut"] if spec_gshut else ["-v4", "-v6"])


def test_of_two_open_windows_the_drain_began_with_the_one_that_drains():
    windows = (
        night(Action.FREEZE, begins=-10.0, name="freeze"),
        night(Action.DRAIN, begins=-100.0, name="drain"),
    )
    house = again(Route(V4, communities=(GSHUT,)), windows=windows)
    assert said(house.started) == ["-v4"]


# --- blindness ------------------------------------------------------------------------------------------------------


def test_a_session_seen_again_after_blindness_can_be_held_back_again():
    house = both_silent(*PAIR)
    house.wait(30.0)
    assert house.guard.blind
    for _ in range(3):
        house.poll("edge1", a=UP)
        house.poll("edge2", a=UP, after=0.0)
    house.wait(30.0)
    assert house.guard.blind
    out = []
    for _ in range(20):
        out += house.poll("edge2", a=UP)
    assert said(out) == ["-v4"]


def test_a_session_that_was_blind_and_then_alone_is_watched_again_once_it_is_seen():
    house = both_silent(*PAIR)
    house.wait(30.0)
    for expected in (["-v4"], ["+v4"], ["-v4"]):
        out = house.poll("edge1", a=UP, after=0.0) if expected == ["+v4"] else []
        for _ in range(20):
            out += house.poll("edge2", a=UP)
            if expected == ["+v4"]:
                out += house.poll("edge1", a=UP, after=0.0)
        assert said(out) == expected


def test_blindness_holds_back_where_only_one_of_a_sessions_services_would_withdraw():
    house = both_silent(*PAIR, service("web", "edge1/a", "edge2/a", prefixes=(V4B,)))
    assert said(house.wait(60.0)) == []
    assert house.guard.blind


def test_where_everything_is_down_already_nothing_is_held_back():
    house = both_silent(*PAIR)
    house.poll("edge1", a=DOWN)
    house.poll("edge2", a=DOWN, after=0.0)
    assert events(house.wait(60.0), "guard_held") == []
    assert not house.guard.blind


def test_an_up_from_before_our_blindness_is_not_one_run_with_that_after_it():
    rising = service("web", "edge1/a", prefixes=(V4B,), rise=2, hold_up=5.0, **ON_UNKNOWN)
    house = both_silent(*PAIR, rising)
    assert paces(house.all) == [("edge1", True)]
    house.poll("edge2", a=UP, after=0.5)
    house.poll("edge1", a=UP, after=0.5)
    effects = house.wait(30.0)
    assert house.guard.blind
    assert paces(effects) == [("edge1", False)], "asking more often would not make us see"
    assert said(house.poll("edge1", a=UP)) == []
    assert house.counts_as("a", "web") == "undecided"


def test_what_was_up_before_it_was_unknown_begins_its_run_anew():
    old = service("ntp", prefixes=(V6,))
    house = House(old)
    for _ in range(3):
        house.poll(a=UP)
    house.wait(20.0)
    house.poll(a=UP)
    assert said(house.reload(old, service("dns", rise=3))) == []
    assert [said(house.poll(a=UP)) for _ in range(2)] == [[], ["+v4"]]


def test_a_device_that_answers_and_no_longer_tells_of_a_session_is_not_our_blindness():
    house = House(*PAIR, devices=TWO)
    out = []
    for second in range(15):
        names = {"a": UP, "b": UP} if second == 0 else {"b": UP}
        out += house.poll("edge1", complete=False, **names)
        out += house.poll("edge2", a=UP, after=0.01)
    assert said(out) == ["+v4", "+v6", "-v4"]
    assert events(out, "guard_held") == []


NEVER = ("edge1", "edge2", "edge3")


def test_a_device_that_never_answered_does_not_take_away_the_company_of_others():
    house = House(service("dns", "edge1/*", "edge2/*", **ON_UNKNOWN), devices=NEVER)
    house.poll("edge1", a=UP)
    house.poll("edge2", a=UP, after=0.01)
    assert said(house.wait(60.0)) == []
    assert house.guard.blind


def test_a_device_that_answers_opens_our_eyes_wherever_it_stands_in_the_plan():
    house = again(PLAIN, spec=service("dns", "edge1/*", **ON_UNKNOWN), devices=NEVER)
    out = []
    for _ in range(15):
        out += house.poll("edge3", a=UP)
    assert said(out) == ["-v4"]


def test_company_is_kept_with_one_that_fell_silent_a_whole_patience_before():
    house = House(*PAIR, devices=TWO)
    house.poll("edge2", a=UP, after=10.0)
    assert said(house.poll("edge1", a=UP, after=10.0)) == ["+v4", "-v6"][::-1], "edge1 answers, edge2 is silent alone"
    assert said(house.wait(30.0)) == []
    assert house.guard.blind


# --- devices and their sessions -------------------------------------------------------------------------------------


def test_a_row_said_to_be_missing_while_the_table_fills_again_is_not_gone():
    house = live(service("dns", "edge1/a"), service("ntp", "edge1/b", prefixes=(V6,)))
    house.poll()
    assert said(house.poll(a=MISSING, b=UP, complete=False)) == []
    assert said(house.poll(a=MISSING, b=DOWN, complete=False)) == ["-v6"], "what follows it is heard"
    assert house.counts_as("a") == "up"


def test_when_the_table_has_had_time_to_fill_the_device_is_asked_at_once():
    house = live()
    house.poll()
    house.poll(a=UP, after=2.0)
    house.wait(8.0)
    assert looks(house.wait(1.999)) == []
    assert looks(house.wait(0.001)) == [("edge1", None)]


def test_a_device_that_fell_silent_with_an_empty_table_is_not_asked_about_it():
    house = live()
    house.poll()
    house.take(Silence("edge1", "timeout"), 1.0)
    assert looks(house.wait(30.0)) == []


def test_a_device_that_left_with_an_empty_table_is_not_asked_about_it():
    house = live(service("dns"), devices=TWO)
    house.poll()
    house.reload(service("dns", "edge2/*"), devices=("edge2",))
    assert looks(house.wait(30.0)) == []


def test_an_empty_table_after_a_long_silence_is_doubted():
    house = live()
    house.wait(30.0)
    assert said(house.poll()) == []
    assert house.engine.snapshot(house.now).devices[0].reason == "its BFD table is empty"
    assert said(house.poll(after=9.999)) == []
    assert said(house.poll(after=0.001)) == [], "on its moment it is believed, and looked at again"
    assert said(house.poll(after=0.001)) == ["-v4"]


def test_a_table_believed_to_be_empty_is_not_doubted_again_after_a_lost_answer():
    house = live(service("dns", fall=3))
    for _ in range(12):
        assert said(house.poll()) == []
    house.take(Silence("edge1", "timeout"))
    assert said(house.poll()) == ["-v4"], "the third that missed them"


def test_a_first_answer_without_a_session_is_told_of_where_a_service_waits_for_one():
    house = again(PLAIN, others=(service("ntp", prefixes=(V6,)),))
    (event,) = events(house.poll(), "guard_held")
    assert event.details["sessions"] == 0


def test_an_answer_takes_away_the_reason_of_a_silence():
    house = live()
    house.take(Silence("edge1", "timeout"))
    assert house.engine.snapshot(house.now).devices[0].reason == "timeout"
    house.poll(a=UP, b=UP)
    assert house.engine.snapshot(house.now).devices[0].reason == ""


def observe(house, state, name="a"):
    return house.take(Webhook("edge1", "bfd", {"state": state, "session": id_(name)}, "observe"), 1.0)


def test_reports_from_outside_count_as_samples():
    house = live(service("dns", "edge1/a", fall=2, rise=2))
    house.poll(a=UP, b=UP)
    assert [said(observe(house, "down")) for _ in range(2)] == [[], ["-v4"]]
    assert [said(observe(house, "up")) for _ in range(2)] == [[], ["+v4"]]


@pytest.mark.parametrize("state", ["down", "init"])
def test_a_report_of_a_session_that_is_not_up(state):
    assert said(observe(live(service("dns", "edge1/a")), state)) == ["-v4"]


def test_a_state_that_decides_nothing_is_shown_all_the_same():
    house = live(service("dns", "edge1/a", "edge1/ghost"))
    house.poll(a=ADMIN_DOWN, b=UP)
    assert [(leg.session, leg.state, leg.counts_as) for leg in house.service().legs] == [
        ("edge1/ghost", UNKNOWN, "down"),
        ("edge1/a", ADMIN_DOWN, "up"),
    ]
    house.poll(a=UP, b=UP)
    assert house.leg("a").state is UP


def test_how_many_bad_samples_there_were_is_shown_as_they_come():
    house = live(service("dns", "edge1/a", fall=3))
    for count in (1, 2):
        house.poll(a=DOWN, b=UP)
        assert f"{count} of 3 bad samples" in house.leg("a").why


def named(name, interface=None, state=UP):
    return Observation(Session("edge1", name, interface=interface), state)


def test_a_session_of_which_more_is_known_is_followed_and_shown_by_who_means_it_now():
    house = House(service("dns", "edge1/ge-0", rise=2, hold_up=5.0), service("ntp", "edge1/x", prefixes=(V6,)))
    for _ in range(2):
        house.take(Poll("edge1", (named("x"),)), 1.0)
    assert house.service().legs[0].session == "edge1/ge-0"
    house.take(Poll("edge1", (named("x", "ge-0"),)), 1.0)
    assert [leg.session for leg in house.service().legs] == ["edge1/x"]
    (view,) = house.engine.snapshot(house.now).sessions
    assert (view.session.interface, view.services) == ("ge-0", ("ntp", "dns"))
    assert looks(house.wait(3.999)) == []
    assert looks(house.wait(0.001)) == [("edge1", "edge1/x")], "hold-up began with the second poll"


def test_who_follows_a_settled_session_only_now_gets_its_samples():
    house = House(service("ntp", "edge1/x", prefixes=(V6,)), service("dns", "edge1/ge-0", rise=3))
    house.take(Poll("edge1", (named("x"),)), 1.0)
    out = [said(house.take(Poll("edge1", (named("x", "ge-0"),)), 1.0)) for _ in range(3)]
    assert out == [[], ["+v4"], []]


def test_a_device_is_asked_often_while_any_of_a_sessions_services_waits_for_it():
    damping = Damping(penalty=1000.0, cutoff=900.0, reuse=500.0, half_life=600.0)
    house = House(
        service("ntp", prefixes=(V6,), hold_up=60.0),
        service("dns", damping=damping),
    )
    for state in (UP, DOWN, UP):
        house.poll(a=state)
    assert house.leg("a").why.endswith("damped for its flaps: penalty")
    assert paces(house.all) == [("edge1", True), ("edge1", False), ("edge1", True)]


def test_what_comes_long_after_a_silence_is_told_as_ever():
    house = live(service("dns", "edge1/a"))
    house.wait(30.0)
    assert kinds(house.poll(a=UP, b=UP)) == ["device_reachable"], "they are as they were"
    assert "snmp_poll" in kinds(house.poll(a=DOWN, b=UP))
    (event,) = events(house.poll(a=UP, b=UP), "bfd_recovery")
    assert house.chain(event.id) == ["bfd_recovery", "snmp_poll"]


def test_the_answer_to_a_poll_is_not_laid_to_a_look():
    house = live(service("dns", "edge1/a", confirm=True))
    assert looks(house.poll(a=DOWN, b=UP)) == [("edge1", id_("a"))]
    (event,) = events(house.poll(a=UP, b=UP, after=0.1), "snmp_poll")
    assert event.cause is None


def test_the_newest_look_explains_what_it_found():
    house = live(service("dns", "edge1/a", confirm=True))
    house.poll(a=DOWN, b=UP)
    (probe,) = events(house.take(Webhook("edge1", "bfd", {}), 0.1), "bfd")
    (event,) = events(house.look(a=INIT, after=0.1), "snmp_poll")
    assert event.cause == probe.id


def test_the_time_of_silence_is_told():
    house = live(service("dns", "edge1/a", "edge1/b"))
    out = []
    for _ in range(12):
        out += house.poll(b=UP, complete=False)
    (event,) = [each for each in events(out, "snmp_poll") if each.session == id_("a")]
    assert event.details["unheard_seconds"] == 10.0


# --- what is counted between polls ----------------------------------------------------------------------------------


def test_a_session_first_seen_down_has_not_flapped():
    house = House(service("dns"))
    assert "bfd_flap" not in kinds(house.see("a", DOWN, last_up=123, ups=4, downs=5))


def test_a_flap_between_two_downs_is_seen():
    house = live()
    house.see("a", DOWN, downs=5)
    (event,) = events(house.see("a", DOWN, downs=6), "bfd_flap")
    assert event.details["flaps"] == 1


def test_a_down_that_was_seen_hides_no_later_one():
    house = live()
    for state, downs in ((UP, 5), (DOWN, 6), (UP, 6)):
        assert "bfd_flap" not in kinds(house.see("a", state, downs=downs))
    (event,) = events(house.see("a", UP, downs=7), "bfd_flap")
    assert event.details["flaps"] == 1


def test_a_counter_that_tells_of_less_than_was_seen_tells_of_no_flap():
    house = House(service("dns"))
    house.see("a", UP, ups=5)
    for state in (DOWN, UP, DOWN, UP):
        house.see("a", state)
    assert "bfd_flap" not in kinds(house.see("a", UP, ups=6))


# --- legs -----------------------------------------------------------------------------------------------------------


def test_not_knowing_breaks_a_rise_even_where_it_counts_as_down():
    house = live(service("dns", "edge1/a", rise=2, **ON_UNKNOWN))
    for state in (DOWN, UP):
        house.poll(a=state)
    house.wait(20.0)
    assert [said(house.poll(a=UP)) for _ in range(2)] == [[], ["+v4"]]


def test_a_confirmed_failure_confirms_no_later_one():
    house = live(service("dns", "edge1/a", confirm=True, on_unknown=Reading.UP))
    house.poll(a=DOWN, b=UP)
    assert said(house.look(a=DOWN)) == ["-v4"]
    out = []
    for _ in range(12):
        out += house.poll(b=UP, complete=False)
    assert said(out) == ["+v4"], "unknown counts as up"
    effects = house.poll(a=DOWN, b=UP)
    assert (said(effects), looks(effects)) == ([], [("edge1", id_("a"))])


def test_the_end_of_a_hold_up_is_looked_for_after_a_damping_that_a_stall_broke():
    damping = Damping(penalty=1000.0, cutoff=900.0, reuse=500.0, half_life=10.0)
    house = House(service("dns", hold_up=5.0, damping=damping))
    for state, after in ((UP, 1.0), (UP, 5.0), (DOWN, 1.0), (UP, 1.0), (UP, 5.0)):
        house.poll(a=state, after=after)
    assert "damped" in house.leg("a").why
    house.take(Stall(3.0), 3.5)
    assert house.leg("a").why.startswith("seen up, and not yet again since")
    assert looks(house.poll(a=UP, after=0.5)) == []
    assert looks(house.wait(4.999)) == []
    assert looks(house.wait(0.001)) == [("edge1", id_("a"))]


def test_a_short_hold_up_is_looked_for_when_it_ends():
    house = House(service("dns", hold_up=0.5))
    house.poll(a=UP)
    assert looks(house.wait(0.499)) == []
    assert looks(house.wait(0.001)) == [("edge1", id_("a"))]


def test_a_session_less_between_two_hold_ups_is_not_looked_at():
    house = live(service("dns", "edge1/a", hold_up=5.0), devices=TWO)
    house.reload(service("dns", "edge2/a", hold_up=5.0), devices=("edge2",))
    assert looks(house.wait(30.0)) == []


# --- forgetting -----------------------------------------------------------------------------------------------------


def vanished(*services, forget_after=100.0, **more):
    """A house whose session a vanished at 2."""
    house = live(*(services or (service("dns", "edge1/b"),)), forget_after=forget_after, **more)
    house.poll(b=UP)
    return house


def polled(house, seconds, **states):
    out = []
    for _ in range(seconds):
        out += house.poll(**(states or {"b": UP}))
    return out


@pytest.mark.parametrize("stalled_at", [111.0, 115.0])
def test_a_row_is_not_forgotten_while_its_device_is_silent(stalled_at):
    house = vanished()
    assert kinds(polled(house, 99)) == []
    house.now = stalled_at  # our own loop slept: all that was due meanwhile comes at once
    effects = house.take(Stall(10.0))
    assert "session_forgotten" not in kinds(effects)
    assert "session_forgotten" not in kinds(polled(house, 9))
    assert "session_forgotten" in kinds(polled(house, 2))


@pytest.mark.parametrize("back_first", [True, False])
def test_a_session_that_came_back_is_not_forgotten_by_a_shorter_rule(back_first):
    house = vanished()
    if back_first:
        polled(house, 5, a=UP, b=UP)
    house.reload(service("dns", "edge1/b"), forget_after=10.0)
    assert "session_forgotten" not in kinds(polled(house, 200, a=UP, b=UP))


def test_a_vanished_session_of_a_device_that_left_is_gone_with_it():
    house = vanished(devices=TWO)
    house.reload(service("dns", "edge2/*"), devices=("edge2",))
    out = polled(house, 5) + house.wait(200.0)
    assert "session_forgotten" not in kinds(out)


def test_a_forgotten_session_is_never_heard_of_again():
    house = vanished(forget_after=10.0)
    assert "session_forgotten" in kinds(polled(house, 10))
    assert polled(house, 30) == []
    assert [view.session.name for view in house.engine.snapshot(house.now).sessions] == ["b"]


def handled(house, event, after=1.0):
    """One input without a look at the views."""
    house.now += after
    return house.engine.handle(event, house.now)


def seen_by(**states):
    return Poll("edge1", tuple(Observation(session(name), state) for name, state in states.items()), complete=True)


def test_a_session_that_nobody_has_looked_at_before_it_was_forgotten_is_not_shown():
    house = House(service("dns", "edge1/b"), forget_after=3.0)
    for states in ({"a": UP, "b": UP}, *({"b": UP},) * 5):
        handled(house, seen_by(**states))
    assert [view.session.name for view in house.engine.snapshot(house.now).sessions] == ["b"]


def test_a_session_that_nobody_has_looked_at_before_its_device_left_is_not_shown():
    house = House(service("dns", "edge1/b"), devices=TWO)
    handled(house, seen_by(a=UP, b=UP))
    handled(house, Reload(house.next_plan(service("dns", "edge2/b"), devices=("edge2",))))
    assert house.engine.snapshot(house.now).sessions == ()


@pytest.mark.parametrize("shown", [False, True])
def test_a_reload_shows_who_follows_a_session_now(shown):
    house = House(service("dns", "edge1/b"))
    handled(house, seen_by(a=UP, b=UP))
    if shown:
        house.engine.snapshot(house.now)
    handled(house, Reload(house.next_plan(service("dns", "edge1/b"), service("ntp", "edge1/*", prefixes=(V6,)))))
    views = house.engine.snapshot(house.now).sessions
    assert {view.session.name: view.services for view in views} == {"a": ("ntp",), "b": ("dns", "ntp")}


def test_the_last_session_that_a_selector_means_is_down_once_it_is_forgotten():
    house = vanished(service("dns", "edge1/*"), service("ntp", "edge1/a", "edge1/A", prefixes=(V6,)), forget_after=10.0)
    polled(house, 12)
    assert [leg.session for leg in house.service().legs] == ["edge1/b"], "another is still meant"
    polled(house, 30, c=UP)
    house = vanished(service("dns", "edge1/*"), forget_after=10.0)
    out = []
    for _ in range(40):
        out += house.poll()
    assert [(leg.session, leg.counts_as) for leg in house.service().legs] == [("edge1/*", "down")]


def test_of_sessions_of_an_interface_those_left_are_what_its_selector_means():
    house = House(service("dns", "edge1/ge-0"), forget_after=10.0)
    every = (named("x", "ge-0"), named("y", "ge-0"), named("z"))
    house.take(Poll("edge1", every, complete=True), 1.0)
    for _ in range(15):
        house.take(Poll("edge1", every[1:], complete=True), 1.0)
    assert [leg.session for leg in house.service().legs] == ["edge1/y"]


def test_a_selector_written_twice_is_down_once():
    spec = service("dns", "edge1/a", "edge1/a", "edge2/b")
    house = House(spec, devices=TWO, forget_after=10.0)
    house.poll("edge1", a=UP, c=UP)
    house.poll("edge2", b=UP)
    assert [leg.session for leg in house.service().legs] == [id_("a"), id_("b", "edge2")]
    for _ in range(15):
        house.poll("edge1", c=UP)
        house.poll("edge2", b=UP, after=0.0)
    assert sorted(leg.session for leg in house.service().legs) == ["edge1/a", "edge2/b"]


# --- the guard ------------------------------------------------------------------------------------------------------


def pair(**rules):
    """Two services with a session each, a and b."""
    return service("dns", "edge1/a", **rules), service("ntp", "edge1/b", prefixes=(V6,), **rules)


def test_what_is_held_goes_on_its_moment_without_another_word():
    house = live(*pair(), guard=Guard(max_withdrawn=1, within=60.0))
    assert said(house.poll(a=DOWN, b=DOWN)) == ["-v4"]
    assert house.engine.next_deadline() > house.now
    house.wait(100.0)
    assert (house.announced("ntp"), house.service("ntp").since) == (False, 62.0)


def test_those_that_count_are_shown_with_the_longest_withdrawn_first():
    house = live(*pair(), guard=Guard(max_withdrawn=5, within=60.0))
    for states in ({"a": DOWN, "b": UP}, {"a": DOWN, "b": DOWN}, {"a": UP, "b": DOWN}, {"a": DOWN, "b": DOWN}):
        house.poll(**states)
    assert house.guard.withdrawn == ("ntp", "dns")


def test_a_lift_without_end_stays():
    house = live(*pair(), guard=Guard(max_withdrawn=1))
    house.take(Order(Lift("ann", "works", house.wall)))
    house.order("withdraw", "dns", ttl=5)
    assert said(house.wait(5.0)) == ["+v4"]
    assert house.guard.lift is not None


def test_an_end_within_the_second_is_kept():
    house = live(service("dns"))
    house.order("withdraw", ttl=0.25)
    assert said(house.wait(0.249)) == []
    assert said(house.wait(0.001)) == ["+v4"]


@pytest.mark.parametrize(("jump", "ends"), [(CLOCK_JUMP, True), (2.5, False), (-2.5, False)])
def test_from_two_seconds_on_a_clock_has_jumped(jump, ends):
    house = live()
    house.order("withdraw", ttl=60 + jump)
    house.clock(jump)
    assert house.guard.clock_doubted is not ends


def test_a_clock_that_jumped_is_believed_after_a_minute():
    house = live()
    house.order("withdraw", ttl=600)
    house.clock(1000.0)
    assert CLOCK_SETTLES == 60.0
    assert said(house.wait(59.999)) == []
    assert said(house.wait(0.001)) == ["+v4"]


# --- windows --------------------------------------------------------------------------------------------------------


def test_a_window_that_opens_beside_an_open_one_is_told():
    house = live(service("dns"), windows=(night(Action.FREEZE, name="old"), night(begins=5.0, name="new")))
    (event,) = events(house.wait(10.0), "window_opened")
    assert event.details["window"] == "new"


SESSIONS = (Selector("edge1", "a"), Selector("edge2", "b"))


def test_a_window_over_several_sessions_is_over_each_and_over_no_other():
    over = night(sessions=SESSIONS)
    house = House(service("dns", "edge1/*", "edge2/*", require=4), devices=TWO, windows=(over,))
    for device in TWO:
        house.poll(device, a=UP, b=UP)
    shown = {leg.session: leg.why.startswith("maintenance") for leg in house.service().legs}
    assert shown == {"edge1/a": True, "edge1/b": False, "edge2/a": False, "edge2/b": True}


def test_a_weekly_window_is_open_from_its_very_start():
    friday = Window("friday", Weekly(frozenset({4}), 8, 0, 3600.0, UTC), services=("dns",), action=Action.WITHDRAW)
    house = live(service("dns"), windows=(friday,))
    assert house.engine.snapshot(house.now).windows == ("friday",)
    assert said(house.wait(3598.9)) == []
    assert said(house.wait(0.1)) == ["+v4"]


# --- drains ---------------------------------------------------------------------------------------------------------


def test_a_second_way_back_from_a_drain_is_as_orderly():
    house = live(service("dns", drain_time=10.0))
    for ordered in (["+v4 gshut"], []):
        assert said(house.order("drain")) == ordered
        assert said(house.wait(10.0)) == ["-v4"]
        assert said(house.clear()) == ["+v4 gshut"]
        house.wait(5.0)
    assert said(house.wait(4.999)) == []
    assert said(house.wait(0.001)) == ["+v4"]


def test_what_died_on_its_way_back_from_a_drain_is_not_on_its_way_any_more():
    house = live(service("dns", drain_time=10.0))
    house.order("drain")
    house.wait(10.0)
    house.clear()
    house.poll(a=DOWN, b=DOWN)
    house.poll(a=UP, b=UP)
    assert "drain" not in house.service().why
    assert not any("coming back" in each for each in house.explain().because)


def test_a_file_drain_begun_before_a_reload_ends_in_its_time():
    spec = service("dns", disable_file="/run/off", on_disable=Action.DRAIN)
    house = live(spec)
    assert said(house.disable(present=True)) == ["+v4 gshut"]
    house.wait(30.0)
    assert said(house.take(Reload(house.next_plan(spec), disabled=("dns",)))) == []
    assert said(house.wait(29.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_a_drain_that_a_reload_ended_leaves_the_next_its_whole_time():
    house = live(service("dns", disable_file="/run/off", on_disable=Action.DRAIN))
    house.disable(present=True)
    assert said(house.reload(service("dns"))) == ["+v4"]
    house.wait(61.0)
    assert said(house.order("drain")) == ["+v4 gshut"]
    assert said(house.wait(59.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_a_drain_is_laid_to_its_order_whatever_was_reloaded_meanwhile():
    house = live()
    house.order("drain")
    house.reload(service("dns"))
    (withdraw,) = events(house.wait(60.0), "route_withdraw")
    assert house.chain(withdraw.id) == ["route_withdraw", "override_set"]


# --- routes ---------------------------------------------------------------------------------------------------------


def test_an_order_whose_command_is_refused_is_said_again_only_in_its_time():
    house = live()
    refused(house, house.order("withdraw"))
    assert said(house.poll(a=UP, b=UP, after=0.5)) == []
    assert said(house.wait(0.499)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_each_announce_waits_anew_for_its_answer():
    house = live(service("dns", require=2, steps=(Rung(1, MED),)))
    (announce,) = commands(house.all)
    house.take(Answer(announce.command, Outcome.DONE))
    assert house.service().routes[0].accepted is True
    effects = house.poll(a=UP, b=DOWN)
    assert house.service().routes[0].accepted is None
    refused(house, effects)
    assert said(house.wait(0.999)) == []
    assert said(house.wait(0.001)) == ["+v4 med 200"], "the first refusal since ExaBGP took one"


def test_a_first_withdraw_that_is_refused_is_said_again_after_a_second():
    house = again()
    refused(house, house.poll(a=DOWN))
    assert said(house.wait(0.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


@pytest.mark.parametrize("announced", [True, False])
def test_the_time_between_two_tries_grows_up_to_its_limit(announced):
    house = live()
    effects = house.all[:] if announced else house.poll(a=DOWN, b=DOWN)
    for _ in range(12):
        refused(house, effects)
        begun = house.now
        while not commands(effects := house.wait(1.0)):
            house.poll(**dict.fromkeys("ab", UP if announced else DOWN), after=0.0)
    assert house.now - begun == LONGEST_RETRY[announced] == (300.0 if announced else 30.0)


def test_an_older_word_is_not_said_again_over_a_newer_one():
    house = House(service("dns"))
    refused(house, house.poll(a=UP))
    refused(house, house.poll(a=DOWN, after=0.5))
    assert said(house.wait(0.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_a_command_whose_update_was_seen_needs_no_answer():
    house = House(service("dns"))
    refused(house, house.poll(a=UP), Outcome.TIMEOUT)
    house.take(Advertised(N1, V4, announced=True))
    assert said(house.wait(2.0)) == []
    assert said(house.order("announce")) == []


def test_retries_that_wait_for_their_turn_wait_a_moment():
    spec = service("dns", targets=tuple(Watchdog(f"w{number}") for number in range(RETRIES_AT_ONCE + 5)))
    house = House(spec)
    for command in commands(house.poll(a=UP)):
        house.take(Answer(command.command, Outcome.ERROR, "no"))
    assert len(commands(house.wait(1.0))) == RETRIES_AT_ONCE
    assert house.engine.next_deadline() == house.now + RETRY_BREATH == 2.1
    assert len(commands(house.wait(RETRY_BREATH))) == 5


def test_an_update_that_nobody_asked_for_is_no_confirmation():
    house = House(service("dns"))
    assert kinds(house.take(Advertised(N1, V4, announced=False))) == []
    house.poll(a=UP)
    house.take(Advertised(N1, V4, announced=True))
    assert house.service().routes[0].confirmed == (str(N1),)
    house.take(Advertised(N1, V4, announced=False))
    assert house.service().routes[0].confirmed == ()


def test_a_frozen_route_is_withdrawn_from_where_it_was_announced():
    house = live(service("dns", targets=(Route(V4, neighbors=(N1,)),)))
    house.order("freeze")
    assert said(house.reload(service("dns", targets=(Route(V4, neighbors=(N2,)),)))) == []
    assert said(house.order("withdraw")) == [f"-v4 to {N1}"]


def test_a_decision_tells_of_what_was_never_seen_as_unknown():
    house = House(service("dns"))
    (event,) = events(house.order("announce"), "route_announce")
    assert event.details["sessions"] == {"edge1/*": "unknown"}


def test_what_was_ordered_to_be_announced_has_not_to_earn_it_first():
    house = House(service("dns"))
    assert any("earn" in each for each in house.explain().because)
    house.order("announce")
    assert not any("earn" in each for each in house.explain().because)


# --- reloads --------------------------------------------------------------------------------------------------------


def test_a_reload_leaves_an_order_alone():
    house = live()
    house.order("withdraw")
    effects = house.reload(service("dns", rise=2))
    assert (kinds(effects), orders(effects)) == (["reloaded"], [])
    assert house.service().override is not None


@pytest.mark.parametrize("how", ["again", "a window", "a reading"])
def test_a_reload_says_no_withdraw_again_that_was_refused_a_moment_ago(how):
    house = live(service("dns", require=2))
    effects = house.poll(a=UP, b=DOWN)
    if how == "a reading":
        house.wait(20.0)
    refused(house, effects)
    spec = service("dns", require=2, on_unknown=Reading.DOWN if how == "a reading" else Reading.HOLD)
    windows = (night(),) if how == "a window" else ()
    assert said(house.reload(spec, windows=windows)) == []


def test_a_reload_says_no_announce_again_that_was_refused_a_moment_ago():
    house = House(service("dns"))
    refused(house, house.poll(a=UP))
    assert said(house.reload(service("dns"))) == []


def test_refusals_before_a_reload_count_after_it():
    house = House(service("dns"))
    refused(house, house.poll(a=UP))
    refused(house, house.wait(1.0))
    house.reload(service("dns"))
    (again_,) = commands(house.wait(2.0))
    house.reload(service("dns"))
    house.take(Answer(again_.command, Outcome.ERROR, "no"))
    assert said(house.wait(3.999)) == []
    assert said(house.wait(0.001)) == ["+v4"]


def test_a_reload_keeps_what_became_of_a_route():
    house = House(service("dns"))
    (announce,) = commands(house.poll(a=UP))
    house.take(Answer(announce.command, Outcome.DONE))
    house.take(Advertised(N1, V4, announced=True))
    before = house.service().routes
    house.reload(service("dns", rise=2))
    assert house.service().routes == before
    assert (before[0].accepted, before[0].confirmed) == (True, (str(N1),))


def test_a_reload_keeps_why_a_device_is_silent():
    house = live()
    house.take(Silence("edge1", "timeout"))
    house.reload(service("dns", rise=2))
    assert house.engine.snapshot(house.now).devices[0].reason == "timeout"


def test_a_reload_does_not_doubt_an_empty_table_anew():
    house = live()
    house.poll()
    for _ in range(9):
        assert said(house.poll()) == []
        house.reload(service("dns"))
    assert [said(house.poll()) for _ in range(2)] == [[], ["-v4"]], "believed, and looked at again"


def test_a_reload_does_not_hurry_a_table_that_fills_again():
    house = live(*pair())
    house.poll()
    house.poll(a=UP)
    house.reload(*pair())
    assert said(house.poll(a=UP)) == []
    assert house.announced("ntp")


def test_a_look_under_way_is_laid_to_its_cause_after_a_reload():
    house = live(service("dns", "edge1/a", confirm=True))
    house.poll(a=DOWN, b=UP)
    house.reload(service("dns", "edge1/a", confirm=True))
    (event,) = events(house.look(a=INIT), "snmp_poll")
    assert house.chain(event.id)[1] == "bfd_failure"


def test_a_new_device_before_the_others_takes_nothing_from_them():
    house = live()
    after = house.reload(service("dns"), devices=("edge0", "edge1"))
    assert said(after) == []
    assert house.counts_as("a") == "up"
    assert [view.session.id for view in house.engine.snapshot(house.now).sessions] == [id_("a"), id_("b")]


def test_what_may_be_announced_and_left_the_plan_is_taken_back():
    house = again(others=(service("ntp", prefixes=(V6,)),))
    plan = house.next_plan(service("ntp", prefixes=(V6,)))
    assert said([*house.engine.preview(plan, house.now).commands]) == ["-v4"]
    assert said(house.reload(*plan.services)) == ["-v4"]


def test_the_view_of_a_service_that_a_reload_took_a_prefix_from_is_its_own():
    house = live(service("dns", prefixes=(V4, V6)))
    house.reload(service("dns"))
    assert [route.route.key for route in house.service().routes] == [str(V4)]
    assert house.service().service == service("dns")


def test_the_same_services_are_not_told_as_changed():
    house = live()
    preview = house.engine.preview(house.next_plan(service("dns")), house.now)
    assert preview.changed == ()
    (event,) = events(house.reload(service("dns")), "reloaded")
    assert event.details["services_changed"] == []


def test_what_is_suppressed_stays_so_over_a_reload():
    damping = Damping(penalty=1000.0, cutoff=1500.0, reuse=500.0, half_life=10.0)
    spec = service("dns", damping=damping)
    house = live(spec)
    for state in (DOWN, UP, DOWN):
        house.poll(a=state, b=state)
    house.wait(5.0)  # below the cutoff again, and above what lets it go
    house.reload(spec)
    assert said(house.poll(a=UP, b=UP)) == []


def test_a_service_that_earned_its_route_once_has_its_on_down_after_a_reload_that_adds_a_selector():
    house = live(service("dns", "edge1/a", on_down=MED))
    house.order("withdraw")
    house.reload(service("dns", "edge1/a", "edge1/ghost", on_down=MED))
    house.poll(a=DOWN, b=UP)
    assert said(house.clear()) == ["+v4 med 200"]


def test_what_is_held_is_held_over_a_reload_without_another_word_and_for_the_same_cause():
    house = live(*pair(), guard=Guard(max_withdrawn=1, within=60.0))
    house.poll(a=DOWN, b=DOWN)
    assert kinds(house.reload(*pair())) == ["reloaded"]
    (withdraw,) = events(house.wait(60.0), "route_withdraw")
    assert house.chain(withdraw.id)[1] == "bfd_failure"


@pytest.mark.parametrize("spec", [service("dns"), service("dns", require=2, steps=(Rung(1, MED),))])
def test_an_adopted_route_keeps_its_step_over_a_reload_until_its_sessions_are_seen(spec):
    held = Route(V4, med=200) if spec.steps else PLAIN
    house = again(held, spec=spec)
    assert said(house.reload(spec)) == []
    assert said(house.poll(a=UP)) == ([said_as(held)] if spec.steps else ["+v4"])


def said_as(route):
    return "+v4" + (f" med {route.med}" if route.med else "")


def test_an_adopted_route_that_was_full_stays_so_over_a_reload_with_another_ladder():
    house = again(PLAIN, spec=service("dns", require=2))
    assert said(house.reload(service("dns", require=2, steps=(Rung(1, MED),)))) == []
    assert house.announced()


def test_a_selector_that_matched_nothing_is_still_decided_after_a_reload():
    house = live(service("dns", "edge1/a", "edge1/ghost", require="all"))
    house.poll(a=UP)
    assert (house.service().up, house.service().undecided) == (1, 0)
    house.reload(service("dns", "edge1/a", "edge1/ghost", require="all", rise=2))
    assert (house.service().up, house.service().undecided) == (1, 0)


def test_a_session_missing_for_long_tells_a_service_nothing_that_holds_on_to_it():
    old = service("ntp", "edge1/b", prefixes=(V6,))
    house = live(old)
    polled(house, 5)
    house.reload(old, service("dns", "edge1/a", on_missing=Reading.HOLD))
    assert house.counts_as("a") == "undecided"


# --- previews: each says what the reload says then ------------------------------------------------------------------


def returning():
    house = live(service("dns", drain_time=60.0))
    house.order("drain")
    house.wait(60.0)
    house.clear()
    return house


def unknown():
    house = live(service("web", prefixes=(V4B,)))
    house.wait(30.0)
    return house


def counted():
    """One service was withdrawn a moment ago, and counts."""
    house = live(*pair(), guard=Guard(max_withdrawn=1))
    house.poll(a=DOWN, b=UP)
    return house


def lifted():
    house = live(*pair(), guard=Guard(max_withdrawn=1))
    house.take(Order(Lift("ann", "works", house.wall)))
    return house


MORE = {"require": 5}
PREVIEWS = {
    "a step that leaves": (
        lambda: live(service("dns", require=3, steps=(Rung(2, MED),))),
        ((service("ntp", prefixes=(V6,), require=5),), {}),
        ["-v4"],
    ),
    "a new watchdog": (
        lambda: live(service("ntp", prefixes=(V6,))),
        ((service("dns", targets=(Watchdog("dns"),), require=5),), {}),
        ["-v6", "-watchdog dns"],
    ),
    "a window that drains": (live, ((service("dns"),), {"windows": (night(Action.DRAIN),)}), ["+v4 gshut"]),
    "a window that drains what comes back from a drain": (
        returning,
        ((service("dns", drain_time=60.0),), {"windows": (night(Action.DRAIN, begins=61.0),)}),
        [],
    ),
    "unknown that counts as up": (
        unknown,
        ((service("web", prefixes=(V4B,)), service("dns", on_unknown=Reading.UP)), {}),
        ["+v4"],
    ),
    "unknown that counts as down": (
        unknown,
        ((service("web", prefixes=(V4B,)), service("dns", **ON_UNKNOWN)), {}),
        [],
    ),
    "changes are no withdraws": (
        lambda: live(*pair(), guard=Guard(max_withdrawn=1)),
        ((replace(pair()[0], routes=(Route(V4, med=5),)), replace(pair()[1], routes=(Route(V6, med=5),))), {}),
        ["+v4 med 5", "+v6 med 5"],
    ),
    "orders pass the limit": (
        lambda: live(*pair(), guard=Guard(max_withdrawn=1)),
        (pair(), {"windows": (night(services=("dns", "ntp")),)}),
        ["-v4", "-v6"],
    ),
    "what is withdrawn does not count": (
        lambda: House(service("web", "edge1/ghost", prefixes=(V4B,)), service("dns"), guard=Guard(max_withdrawn=1)),
        ((service("web", "edge1/ghost", prefixes=(V4B,)), service("dns", **MORE)), {}),
        ["-v4"],
    ),
    "what is held hinders nobody": (
        lambda: live(*pair(), service("web", prefixes=(V4B,)), guard=Guard(max_withdrawn=1)),
        ((*pair(**MORE), service("web", targets=(Route(V4B, med=5),))), {}),
        ["-v4", f"+{V4B} med 5"],
    ),
    "what went a moment ago counts": (counted, (pair(**MORE), {}), []),
    "the limit is lifted": (lifted, (pair(**MORE), {}), ["-v4", "-v6"]),
}


@pytest.mark.parametrize(("house", "after", "expected"), PREVIEWS.values(), ids=PREVIEWS)
def test_a_preview_says_what_the_reload_says(house, after, expected):
    house = house()
    if not house.all or not commands(house.all):
        house.poll(a=UP, b=UP)
    services, plan = after
    due = house.engine.next_deadline()
    preview = house.engine.preview(house.next_plan(*services, **plan), house.now)
    assert said([*preview.commands]) == expected
    assert house.engine.next_deadline() == due
    assert [replace(each, command=0) for each in commands(house.reload(*services, **plan))] == list(preview.commands)


# --- withdraws that ExaBGP did not take, of neighbours and targets that left ----------------------------------------


def to(*neighbors, **rules):
    return service("dns", targets=(Route(V4, neighbors=neighbors),), **rules)


def narrowed(before, after, outcome=Outcome.ERROR):
    """A route goes to fewer neighbours than it did, and ExaBGP does not take the withdraw from the others."""
    house = live(to(*before))
    for command in commands(house.all):
        house.take(Answer(command.command, Outcome.DONE))
    withdraw, announce = commands(house.reload(to(*after)))
    house.take(Answer(announce.command, Outcome.DONE))
    house.take(Answer(withdraw.command, outcome, "no"))
    return house


TO_ONE, TO_TWO, TO_THREE = f" to {N1}", f" to {N2}", f" to {N3}"

# What it went to, then (a withdraw that is refused), and what it goes to at last -> what is said at once, and later.
NARROWED = {
    "nowhere else": ((N1, N2), (N1,), (N1,), [], [f"-v4{TO_TWO}"]),
    "where it is owed": ((N1, N2), (N1,), (N1, N2), [f"+v4{TO_ONE}{TO_TWO}"], []),
    "to some where it is owed": ((N1, N2, N3), (N1,), (N1, N2), [f"+v4{TO_ONE}{TO_TWO}"], [f"-v4{TO_THREE}"]),
    "everywhere": ((N1, N2), (N1,), (), ["+v4"], []),
    "to fewer still": ((N1, N2, N3), (N1, N3), (N1,), [f"-v4{TO_TWO}{TO_THREE}", f"+v4{TO_ONE}"], []),
    "from everywhere to one, and to another": ((), (N1,), (N2,), ["-v4", f"+v4{TO_TWO}"], []),
}


@pytest.mark.parametrize(("before", "refused_at", "at_last", "at_once", "later"), NARROWED.values(), ids=NARROWED)
def test_a_withdraw_from_neighbours_is_owed_until_it_is_taken_or_they_have_the_route_again(
    before, refused_at, at_last, at_once, later
):
    house = narrowed(before, refused_at)
    assert said(house.reload(to(*at_last))) == at_once
    assert house.service().since == 1.0, "it was announced all the time"
    # Past the house's own ExaBGP, which knows of no neighbours.
    assert said(handled(house, Tick(), 1.0)) == later


def test_a_withdraw_from_neighbours_that_was_taken_is_owed_no_more():
    house = narrowed((N1, N2, N3), (N1, N3), Outcome.DONE)
    assert said(house.reload(to(N1))) == [f"-v4{TO_THREE}", f"+v4{TO_ONE}"]


def test_with_a_route_goes_what_is_still_owed_of_it():
    house = narrowed((N1, N2), (N1,))
    assert said(house.poll(a=DOWN, b=DOWN, after=0.5)) == [f"-v4{TO_TWO}", f"-v4{TO_ONE}"]


NTP = service("ntp", prefixes=(V6,), require=5)


@pytest.mark.parametrize("how", ["it fell before it left", "it left while announced"])
def test_a_withdraw_under_way_is_still_owed_where_its_target_left_and_came_back(how):
    house = live(service("dns"), NTP)
    for command in commands(house.all):
        house.take(Answer(command.command, Outcome.DONE))
    effects = house.poll(a=DOWN, b=DOWN) if how.startswith("it fell") else []
    effects += house.reload(NTP)
    effects += house.poll(a=DOWN, b=DOWN)
    (withdraw,) = commands(effects)
    assert said(house.reload(service("dns"), NTP)) == []
    for delay in (1.0, 2.0):
        house.take(Answer(withdraw.command, Outcome.TIMEOUT))
        assert said(house.wait(delay - 0.001)) == []
        (withdraw,) = commands(house.wait(0.001))
        assert said([withdraw]) == ["-v4"]


def test_a_withdraw_that_was_refused_is_counted_on_where_its_target_left_and_came_back():
    house = live(service("dns"), NTP)
    effects = house.reload(NTP)
    house.poll(a=DOWN, b=DOWN, after=0.25)
    refused(house, effects)
    house.poll(a=DOWN, b=DOWN, after=0.25)
    house.reload(service("dns"), NTP)
    refused(house, house.wait(0.75))
    assert said(house.wait(1.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_of_a_target_that_was_taken_back_nothing_is_left_when_it_comes_back():
    house = live(service("dns"), NTP)
    (withdraw,) = commands(house.reload(NTP))
    house.take(Answer(withdraw.command, Outcome.DONE))
    house.done(house.poll(a=DOWN, b=DOWN))
    house.reload(service("dns"), NTP)
    (route,) = house.service().routes
    assert (route.event, route.accepted) == (None, None)


# --- faults, and what else came later -------------------------------------------------------------------------------


def test_a_fault_with_an_order_for_one_service_leaves_the_others_alone(monkeypatch):
    house = live(*pair())
    original = ServiceTrack.rule_on

    def rule_on(self, now):
        if self.spec.name == "dns":
            raise ZeroDivisionError("ours")
        return original(self, now)

    monkeypatch.setattr(ServiceTrack, "rule_on", rule_on)
    effects = house.order("withdraw") + house.order("withdraw", "ntp")
    assert said(effects) == ["-v6"]
    (event,) = events(effects, "decision_failed")
    assert event.service == "dns"


def test_an_announce_that_a_forgotten_session_allowed_is_laid_to_that():
    house = live(service("dns", "edge1/*", require="all"), forget_after=10.0)
    out = polled(house, 15)
    assert said(out) == ["-v4", "+v4"]
    announce = events(out, "route_announce")[-1]
    assert house.chain(announce.id)[1] == "session_forgotten"


def test_devices_that_never_answered_and_whom_nobody_fears_are_told_of_and_not_held():
    out = House(service("dns", "edge1/*", "edge2/*"), devices=TWO).wait(60.0)
    assert kinds(out) == ["device_unreachable", "device_unreachable"]


@pytest.mark.parametrize("other", [(), ("edge1/other",)])
def test_what_a_reload_begins_to_follow_on_a_silent_device_is_unknown_in_its_time(other):
    house = House(service("dns", "edge1/a", **ON_UNKNOWN), service("ntp", "edge1/b", prefixes=(V6,)), devices=TWO)
    house.poll("edge1", a=UP, b=UP)
    after = (service("dns", "edge1/ghost", **ON_UNKNOWN), service("ntp", "edge1/b", *other, prefixes=(V6,)))
    out = house.reload(*after)
    for _ in range(15):
        out += house.poll("edge2", a=UP)
    assert said(out) == ["-v4"]


@pytest.mark.parametrize("selector", ["edge1/*", "edge1/a"])
def test_of_another_box_nothing_is_known_whatever_is_ordered(selector):
    box = Device("edge1", identity="192.0.2.1")
    house = live(service("dns", selector), devices=(box,))
    house.order("withdraw")
    assert said(house.reload(service("dns", selector), devices=(replace(box, identity="192.0.2.9"),))) == []
    assert (house.service().up, house.service().undecided) == (0, 1)


@pytest.mark.parametrize("selector", ["edge1/*", "edge1/a"])
def test_of_another_box_nothing_is_known_and_that_is_shown(selector):
    box = Device("edge1", identity="192.0.2.1")
    house = live(service("dns", selector), devices=(box,))
    assert said(house.reload(service("dns", selector), devices=(replace(box, identity="192.0.2.9"),))) == []
    view = house.service()
    assert (view.up, view.undecided, view.adopted, view.health, view.layer) == (0, 1, True, "undecided", "start")
    assert [leg.state for leg in view.legs] == [UNKNOWN]


def test_a_session_of_all_that_is_undecided_makes_no_service_adopted_over_a_reload():
    spec = service("dns", "edge1/*", require="all", rise=2)
    house = live(spec)
    house.poll(a=UP, b=UP)
    house.poll(a=UP, b=UP, c=UP)
    house.reload(spec)
    assert (house.service().adopted, house.service().health) == (False, "full")


def test_a_window_over_one_session_is_not_over_what_was_never_seen():
    over = night(sessions=(Selector("edge1", "a"),), reading=Reading.DOWN)
    house = House(service("dns", "edge1/ghost"), windows=(over,))
    assert [leg.why for leg in house.service().legs] == ["nothing is known of it yet"]


def test_an_adopted_service_stays_so_where_a_new_one_comes_before_it():
    house = again(PLAIN)
    assert said(house.reload(NTP, service("dns"))) == []
    assert house.service().adopted


DAMPED = {"damping": Damping(penalty=1000.0, cutoff=1500.0, reuse=500.0, half_life=20.0, ceiling=4000.0)}


def flapping(*services):
    house = House(service("ntp", "edge1/a", prefixes=(V6,)), service("dns", "edge1/a", **DAMPED), *services)
    for state in (UP, DOWN, UP, DOWN, UP):
        house.poll(a=state, after=30.0 if state is UP and not house.all[1:] else 1.0)
    return house


def test_a_new_service_over_a_flapping_session_is_damped_as_the_most_damped_that_is_there():
    house = flapping()
    assert not house.announced()
    house.reload(*house.plan.services, service("web", "edge1/a", prefixes=(V4B,), **DAMPED))
    out = []
    for _ in range(200):
        out += house.poll(a=UP)
        if said(out):
            break
    assert said(out) == ["+v4", f"+{V4B}"], "both in one breath"


def test_a_session_that_was_forgotten_and_comes_back_is_a_new_one():
    house = vanished(service("dns", "edge1/*", require=2), forget_after=10.0)
    polled(house, 15)
    assert said(house.poll(a=UP, b=UP)) == ["+v4"]
    assert [leg.session for leg in house.service().legs] == ["edge1/b", "edge1/a"]
    assert house.service().up == 2


def test_a_reload_does_not_hurry_those_who_have_their_time_to_answer():
    house = both_silent(*PAIR)
    house.wait(30.0)
    house.poll("edge1", a=UP)
    assert said(house.reload(*PAIR)) == []
    assert said(polled_of(house, "edge1", 9)) == []
    assert said(polled_of(house, "edge1", 2)) == ["-v6"]


def polled_of(house, device, seconds):
    out = []
    for _ in range(seconds):
        out += house.poll(device, a=UP)
    return out


def test_what_nobody_has_looked_at_before_a_reload_is_shown_after_it():
    house = House(service("dns", "edge1/a"))
    handled(house, seen_by(a=UP))
    house.engine.snapshot(house.now)
    handled(house, seen_by(a=ADMIN_DOWN))
    handled(house, Reload(house.next_plan(service("dns", "edge1/a"))))
    (view,) = house.engine.snapshot(house.now).services
    assert [leg.state for leg in view.legs] == [ADMIN_DOWN]


def test_a_preview_of_an_adopted_service_has_nothing_of_what_it_had_withdrawn():
    spec = service("dns", prefixes=(V6, V4))
    house = again(PLAIN, spec=spec)
    assert house.engine.preview(house.next_plan(spec), house.now).commands == ()
    assert said(house.reload(spec)) == []


@pytest.mark.parametrize("readings", [(Reading.HOLD, Reading.DOWN), (Reading.DOWN, Reading.HOLD)])
def test_of_windows_over_what_was_never_seen_the_one_that_says_down_holds(readings):
    windows = tuple(night(devices=("edge1",), reading=reading, name=reading.value) for reading in readings)
    house = House(service("dns", "edge1/ghost"), windows=windows)
    assert house.counts_as("ghost") == "down"


def test_an_adopted_service_that_is_renamed_stays_until_its_sessions_are_seen():
    house = again(PLAIN)
    assert said(house.reload(service("resolver"))) == []
    assert house.service("resolver").adopted


def test_a_reload_keeps_since_when():
    house = live()
    assert said(house.reload(service("dns", rise=2), after=5.0)) == []
    assert house.service().since == 1.0


# --- what the mutants of a second round showed ----------------------------------------------------------------------


def test_at_the_very_reuse_threshold_a_flap_finds_the_session_still_suppressed():
    damping = Damping(penalty=1000.0, cutoff=1900.0, reuse=500.0, half_life=10.0)
    house = live(service("dns", damping=damping))
    for state in (DOWN, UP, DOWN):
        house.poll(a=state, b=state, after=0.0)
    assert len(events(house.all, "bfd_damped")) == 2, "both sessions, at 2000"
    house.poll(a=UP, b=UP, after=19.0)
    house.poll(a=DOWN, b=DOWN, after=1.0)  # a quarter is left of it now, 500, and 1000 come on top
    assert said(house.poll(a=UP, b=UP, after=0.0)) == []
    assert said(house.poll(a=UP, b=UP, after=15.0)) == []
    assert said(house.poll(a=UP, b=UP, after=1.0)) == ["+v4"]


def test_a_look_that_a_good_sample_answered_confirms_no_later_failure():
    spec = service("dns", "edge1/a", fall=2, confirm=True)
    house = live(spec)
    house.poll(a=DOWN, b=UP)
    house.look(a=DOWN)
    house.poll(a=UP, b=UP)
    house.reload(replace(spec, fall=1))
    effects = house.poll(a=DOWN, b=UP)
    assert (said(effects), looks(effects)) == ([], [("edge1", id_("a"))])


def test_a_session_that_comes_under_a_window_that_says_down_is_decided_and_laid_to_its_sample():
    over = night(sessions=(Selector("edge1", "b"),), reading=Reading.DOWN)
    house = House(service("dns", require="all"), windows=(over,))
    assert said(house.poll(a=UP)) == ["+v4"]
    effects = house.poll(a=UP, b=UP)
    assert said(effects) == ["-v4"]
    assert events(effects, "route_withdraw")[0].cause == events(effects, "snmp_poll")[0].id


def test_a_new_service_that_damps_nothing_takes_no_suppression_from_another():
    house = flapping()
    assert said(house.reload(*house.plan.services, service("web", "edge1/a", prefixes=(V4B,)))) == [f"+{V4B}"]


@pytest.mark.parametrize("more", [(), ("edge1/other",)])
def test_what_a_late_reload_begins_to_follow_on_a_silent_device_is_unknown_in_its_time(more):
    others = [service("ntp", "edge1/b", prefixes=(V6,))]
    house = House(service("dns", "edge1/a", **ON_UNKNOWN), *others, devices=TWO)
    for _ in range(25):
        house.poll("edge1", a=UP, b=UP)
        house.poll("edge2", a=UP, after=0.0)
    if more:
        others.append(service("web", *more, prefixes=(V4B,)))
    out = house.reload(service("dns", "edge1/ghost", **ON_UNKNOWN), *others)
    out += polled_of(house, "edge2", 15)
    assert said(out) == ["-v4"]


def test_a_prefix_taken_back_at_the_start_and_given_away_later_is_not_taken_back_again():
    house = again(PLAIN, Route(V6))
    (withdraw,) = [each for each in commands(house.started) if each.route.key == str(V6)]
    house.poll(a=UP)
    assert said(house.reload(service("dns"), service("ntp", prefixes=(V6,)))) == ["+v6"]
    house.take(Answer(withdraw.command, Outcome.ERROR, "no"))
    assert said(house.wait(5.0)) == []


def test_one_service_that_waits_is_enough_to_be_told_of_a_first_answer_without_a_session():
    house = again(PLAIN, others=(service("ntp", prefixes=(V6,)),), rib_kept=False)
    assert [view.adopted for view in house.engine.snapshot(house.now).services] == [True, False]
    assert kinds(house.poll()) == ["guard_held"]


def test_a_withdraw_is_laid_to_the_first_session_that_showed_there_are_too_few():
    house = again(PLAIN, spec=service("dns", require=3, fall=3))
    effects = house.poll(a=DOWN, b=UP)
    assert said(effects) == ["-v4"]
    assert house.chain(events(effects, "route_withdraw")[0].id) == ["route_withdraw", "snmp_poll"]
    (cause,) = [each for each in events(effects) if each.id == events(effects, "route_withdraw")[0].cause]
    assert cause.session == id_("a")


def test_who_follows_an_undecided_session_now_is_shown_with_it():
    house = House(service("dns", "edge1/ge-0"))
    house.take(Poll("edge1", (named("x", state=ADMIN_DOWN),)), 1.0)
    assert [leg.session for leg in house.service().legs] == ["edge1/ge-0"]
    house.take(Poll("edge1", (named("x", "ge-0", ADMIN_DOWN),)), 1.0)
    assert [leg.session for leg in house.service().legs] == ["edge1/x"]


def test_a_look_ahead_sets_no_timer():
    house = live(service("dns", drain_time=3.0))
    polled(house, 12, a=UP, b=UP)
    due = house.engine.next_deadline()
    preview = house.engine.preview(house.next_plan(service("dns", drain_time=3.0), windows=(night(Action.DRAIN),)), 0.0)
    assert said([*preview.commands]) == ["+v4 gshut"]
    assert due > house.now + 3.0
    assert house.engine.next_deadline() == due


@pytest.mark.parametrize("drain_time", [0.0, 5.0])
def test_a_reload_says_the_withdraw_that_ended_a_drain_not_again_at_once(drain_time):
    spec = service("dns", drain_time=drain_time)
    house = live(spec)
    effects = house.order("drain") + house.wait(drain_time)
    assert said(effects)[-1] == "-v4"
    house.take(Answer(commands(effects)[-1].command, Outcome.ERROR, "no"))
    assert said(house.reload(spec)) == []
    assert said(house.wait(1.0)) == ["-v4"]


def test_what_the_limit_held_and_lets_go_in_a_breath_of_many_is_laid_to_what_fell():
    house = live(
        service("dns", "edge1/a"),
        service("ntp", "edge1/b", "edge1/c", "edge1/d", require=3, prefixes=(V6,)),
        guard=Guard(max_withdrawn=1, within=60.0),
    )
    house.poll(a=UP, b=UP, c=UP, d=UP)
    assert said(house.poll(a=DOWN, b=DOWN, c=DOWN, d=UP)) == ["-v4"]
    polled(house, 59, a=DOWN, b=DOWN, c=DOWN, d=UP)
    effects = house.poll(a=DOWN, b=DOWN, c=UP, d=DOWN)
    assert said(effects) == ["-v6"]
    (withdraw,) = events(effects, "route_withdraw")
    (failure,) = events(effects, "bfd_failure")
    assert withdraw.cause == failure.id


def test_an_announce_said_again_in_a_breath_of_many_is_laid_to_what_rose():
    house = House(service("dns", "edge1/a", "edge1/b"))
    refused(house, house.poll(a=UP, b=DOWN))
    effects = house.poll(b=UP, a=DOWN, after=0.5)
    assert said(effects) == ["+v4"]
    (announce,) = events(effects, "route_announce")
    assert announce.cause == events(effects, "bfd_recovery")[0].id


FALLEN = service("dns", require=2)


def fallen_and_back(outcome=None):
    """A service that fell for good before it left the plan, and came back to it."""
    house = live(FALLEN, NTP)
    for command in commands(house.all):
        house.take(Answer(command.command, Outcome.DONE))
    (withdraw,) = commands(house.poll(a=DOWN, b=DOWN))
    if outcome is not None:
        house.take(Answer(withdraw.command, outcome, "no"))
    house.poll(a=DOWN, b=DOWN)
    house.reload(NTP)
    return house, house.reload(FALLEN, NTP)


def test_of_a_target_that_fell_and_left_nothing_is_left_when_it_comes_back():
    house, effects = fallen_and_back(Outcome.DONE)
    assert said(effects) == []
    view = house.service()
    assert (view.since, view.routes[0].event, view.routes[0].accepted) == (None, None, None)


def test_what_exabgp_refused_is_shown_as_refused_where_its_target_left_and_came_back():
    house = live(FALLEN, NTP)
    (withdraw,) = commands(house.reload(NTP))
    house.poll(a=DOWN, b=DOWN, after=0.1)
    house.take(Answer(withdraw.command, Outcome.ERROR, "no"))
    house.poll(a=DOWN, b=DOWN, after=0.1)
    assert said(house.reload(FALLEN, NTP)) == []
    assert house.service().routes[0].accepted is False


def seen_once(*services, **more):
    """Adopted services whose sessions were seen up once, which decides nothing."""
    believed = tuple(Believed(each.name, each.routes[0], 4) for each in services)
    house = House(*services, restored=Restored(9, believed, rib_kept=True, wall=WALL), **more)
    assert said(house.poll(a=UP, b=UP)) == []
    return house


ENDS = {"steps": (Rung(1, None),), "require": 2}
"""A ladder whose last step withdraws."""


def test_an_adopted_service_that_could_reach_no_step_but_one_that_withdraws_is_withdrawn():
    house = again(PLAIN, spec=service("dns", "edge1/a", rise=3, **ENDS))
    assert said(house.started) == []
    assert said(house.poll(a=UP)) == ["-v4"]


def test_a_look_ahead_knows_that_the_limit_holds_adopted_services_too():
    house = seen_once(*pair(rise=3), guard=Guard(max_withdrawn=1))
    after = pair(rise=3, **ENDS)
    preview = house.engine.preview(house.next_plan(*after), house.now)
    assert said([*preview.commands]) == ["-v4"]
    assert said(house.reload(*after)) == ["-v4"]


def test_a_look_ahead_at_an_adopted_service_passes_over_what_it_has_to_earn_only():
    spec = service("dns", prefixes=(V6, V4))
    house = again(PLAIN, spec=spec)
    after = replace(spec, routes=(Route(V6), Route(V4, med=5)))
    preview = house.engine.preview(house.next_plan(after), house.now)
    assert said([*preview.commands]) == ["+v4 med 5"]
    assert said(house.reload(after)) == ["+v4 med 5"]


def test_what_is_full_is_full_though_a_step_differs_only_by_graceful_shutdown():
    spec = service("dns", require=2, steps=(Rung(1, Change(communities=(GSHUT,))),))
    assert said(again(PLAIN, spec=spec).started) == []


def test_a_session_of_a_silent_device_that_is_seen_after_a_reload_is_laid_to_its_answer():
    spec = service("dns", "edge1/b", on_unknown=Reading.DOWN)
    house = live(spec, devices=TWO)
    out = polled_of(house, "edge2", 15)
    assert said(out) == ["-v4"]
    (answers,) = events(house.poll(a=UP, complete=False), "device_reachable")
    house.reload(spec)
    effects = house.poll(b=UP)
    assert said(effects) == ["+v4"]
    assert events(effects, "route_announce")[0].cause == answers.id


def test_a_reload_does_not_shorten_the_time_in_which_a_table_fills_again():
    house = live(*pair())
    house.poll()
    house.poll(a=UP)
    house.reload(*pair())
    assert [said(house.poll(a=UP)) for _ in range(5)] == [[]] * 5
    assert house.announced("ntp")


def test_a_forgotten_session_is_not_unknown_when_its_device_falls_silent():
    house = vanished(forget_after=10.0)
    assert "session_forgotten" in kinds(polled(house, 10))
    (event,) = events(house.wait(60.0), "device_unreachable")
    assert event.details["sessions"] == [id_("b")]
    assert [view.session.name for view in house.engine.snapshot(house.now).sessions] == ["b"]


def test_a_service_whose_only_session_is_forgotten_stays_down():
    house = live(service("dns", "edge1/a"), service("ntp", "edge1/b", prefixes=(V6,)), forget_after=10.0)
    out = polled(house, 5)
    assert said(out) == ["-v4"]
    assert said(polled(house, 20)) == []
    assert "session_forgotten" in kinds(house.all)
    assert (house.counts_as("a"), house.service().undecided) == ("down", 0)


def test_a_service_that_earned_its_route_has_its_on_down_after_a_reload_to_another_selector():
    house = live(service("dns", "edge1/a", on_down=MED))
    house.order("withdraw")
    house.reload(service("dns", "edge1/ghost", on_down=MED))
    polled(house, 3, a=UP, b=UP)
    assert house.counts_as("ghost") == "down"
    assert said(house.clear()) == ["+v4 med 200"]


def test_a_service_of_which_one_route_may_be_announced_waits_for_its_new_sessions():
    spec = service("dns", "edge1/a", prefixes=(V4, V6))
    house = live(spec)
    first, second = commands(house.order("withdraw"))
    house.take(Answer(first.command, Outcome.ERROR, "no"))
    house.take(Answer(second.command, Outcome.DONE))
    house.reload(replace(spec, selectors=(Selector("edge1", "ghost"),)))
    assert house.service().health == "undecided"


def test_what_is_drained_stays_so_whatever_route_moves_to_it():
    house = live(*pair(), devices=("edge1",))
    house.order("drain")
    assert said(house.poll(a=DOWN, b=UP)) == ["-v4"], "its path is down"
    assert said(house.poll(a=UP, b=UP)) == []
    assert said(house.reload(service("dns", "edge1/a", prefixes=(V4, V6)))) == ["-v6"]


def test_a_draining_service_announces_no_route_that_it_did_not_have():
    house = live(service("dns"), NTP)
    assert said(house.order("drain")) == ["+v4 gshut"]
    after = (service("dns", prefixes=(V4B,)), service("web", prefixes=(V4,)))
    assert said(house.reload(*after)) == ["+v4"]


def test_a_withdraw_from_neighbours_that_is_under_way_is_not_said_twice():
    house = live(to(N1, N2))
    assert said(house.reload(to(N1))) == [f"-v4{TO_TWO}", f"+v4{TO_ONE}"]
    assert said(house.poll(a=DOWN, b=DOWN)) == [f"-v4{TO_ONE}"]


def test_a_route_that_goes_to_fewer_neighbours_is_announced_since_it_was():
    house = live(to(N1, N2))
    assert said(house.reload(to(N1), after=5.0)) == [f"-v4{TO_TWO}", f"+v4{TO_ONE}"]
    assert house.service().since == 1.0


def test_on_another_ladder_a_service_stands_where_its_sessions_have_it():
    ladder = (Rung(1, MED),)
    house = live(service("dns", require="all", rise=2, steps=ladder))
    house.poll(a=UP, b=UP)
    effects = house.poll(a=UP, b=DOWN, c=UP)
    assert said(effects) == ["+v4 med 200"]
    more = (Rung(2, Change(med=300)), Rung(1, Change(med=400)))
    assert said(house.reload(service("dns", require="all", rise=2, steps=more))) == ["+v4 med 400"]
