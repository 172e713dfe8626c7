"""The guard: our own blindness is no outage, a clock that jumps is not believed, and not everything goes at once."""

from ipaddress import ip_network

import pytest
from lab.house import (
    DOWN,
    UNKNOWN,
    UP,
    V4,
    V6,
    WALL,
    House,
    events,
    kinds,
    looks,
    orders,
    paces,
    said,
    service,
)

from exabgp_bfd.core.engine import CLOCK_JUMP, CLOCK_SETTLES, NAMES_IN_AN_EVENT
from exabgp_bfd.core.guard import Limit
from exabgp_bfd.core.model import (
    Action,
    Believed,
    Change,
    Clear,
    Clock,
    Device,
    Guard,
    Lift,
    Order,
    Reading,
    Restored,
    Route,
    Silence,
    Span,
    Stall,
    Webhook,
    Window,
)

ON_UNKNOWN = {"on_unknown": Reading.DOWN}


def held_events(effects):
    return events(effects, "guard_held")


# --- our own loop stalled -------------------------------------------------------------------------------------------


def test_a_stall_is_an_event():
    house = House(service("dns"))
    (event,) = events(house.take(Stall(12.3456), 12.3456), "guard_held")
    assert (event.event_type, event.source, event.device) == ("guard_held", "engine", None)
    assert event.details == {"reason": "our own loop stalled", "seconds": 12.346}


@pytest.mark.parametrize(("stall", "withdrawn_at"), [(0.0, 11.0), (5.0, 16.0), (30.0, 41.0)])
def test_a_silence_that_we_slept_through_is_held_against_nobody(stall, withdrawn_at):
    """Heard at 1, and unknown is down after ten seconds: counted from our waking."""
    house = House(service("dns", **ON_UNKNOWN))
    house.poll(a=UP)
    if stall:
        house.now += stall  # nobody called the engine meanwhile
        assert said(house._handle(Stall(stall))) == []
    assert said(house.wait(9.999)) == []
    effects = house.wait(0.001)
    assert (said(effects), house.now) == (["-v4"], withdrawn_at)


def test_a_device_never_heard_has_its_time_from_our_waking_too():
    restored = Restored(5, (Believed("dns", Route(V4), 1),), rib_kept=True, wall=WALL)
    house = House(service("dns", **ON_UNKNOWN), restored=restored)
    house.now += 30.0
    assert said(house._handle(Stall(30.0))) == []
    assert said(house.wait(9.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_a_confirming_look_has_its_time_from_our_waking():
    house = House(service("dns", confirm=True, confirm_timeout=0.5))
    house.poll(a=UP)
    assert looks(house.poll(a=DOWN)) != []
    house.now += 30.0
    assert said(house._handle(Stall(30.0))) == []
    assert said(house.wait(0.499)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_a_look_that_was_answered_during_the_stall_still_saves_the_route():
    house = House(service("dns", confirm=True, confirm_timeout=0.5))
    house.poll(a=UP)
    house.poll(a=DOWN)
    house.now += 30.0
    house._handle(Stall(30.0))
    assert said(house.look(a=UP)) == []
    assert said(house.wait(5.0)) == []


def test_an_up_that_nobody_watched_was_not_unbroken():
    house = House(service("dns", rise=3))
    house.poll(a=UP)
    house.poll(a=UP)
    house.take(Stall(5.0), 5.0)
    assert [said(house.poll(a=UP)) for _ in range(3)] == [[], [], ["+v4"]]


def test_nor_was_a_hold_up():
    house = House(service("dns", hold_up=8.0))
    house.poll(a=UP)
    house.take(Stall(5.0), 5.0)
    house.poll(a=UP)
    assert looks(house.wait(7.999)) == []
    assert looks(house.wait(0.001)) != []


def test_bad_samples_of_before_stay_counted():
    house = House(service("dns", fall=2))
    house.poll(a=UP)
    house.poll(a=DOWN)
    house.take(Stall(5.0), 5.0)
    assert said(house.poll(a=DOWN)) == ["-v4"]


def test_what_is_up_or_down_already_stays_so():
    house = House(service("dns", rise=3))
    for _ in range(3):
        house.poll(a=UP)
    house.take(Stall(5.0), 5.0)
    assert house.announced()
    assert said(house.poll(a=UP)) == []


def test_a_service_that_comes_after_a_stall_is_not_told_of_the_run_before():
    house = House(service("ntp", prefixes=(V6,)))
    for _ in range(3):
        house.poll(a=UP)
    house.take(Stall(5.0), 5.0)
    assert said(house.reload(service("ntp", prefixes=(V6,)), service("dns", rise=3))) == []
    assert [said(house.poll(a=UP)) for _ in range(3)] == [[], [], ["+v4"]]


def test_an_empty_table_that_nobody_watched_is_doubted_anew():
    house = House(service("dns"))
    house.poll(a=UP)
    house.poll()
    house.now += 30.0
    house._handle(Stall(30.0))
    assert looks(house.poll()) == [], "what it said before we slept, it has not said since"
    assert said(house.poll()) == []
    assert house.announced()


# --- the wall clock -------------------------------------------------------------------------------------------------


def ordered(ttl):
    house = House(service("dns"), devices=(Device("edge1", stale_after=100000.0),))
    house.poll(a=UP)
    house.order("withdraw", ttl=ttl)
    return house


@pytest.mark.parametrize("jump", [0.0, 1.0, CLOCK_JUMP, -CLOCK_JUMP])
def test_a_clock_that_is_set_a_little_is_followed_at_once(jump):
    house = ordered(10.0)
    assert kinds(house.clock(jump)) == []
    assert not house.guard.clock_doubted
    assert said(house.wait(10.0 - jump - 0.001)) == []
    assert said(house.wait(0.001)) == ["+v4"]


def test_a_clock_set_a_little_past_an_end_ends_it_at_once():
    house = ordered(1.5)
    assert said(house.clock(1.5)) == ["+v4"]


@pytest.mark.parametrize("jump", [CLOCK_JUMP + 0.001, -CLOCK_JUMP - 0.001, 3600.0, -86400.0])
def test_a_clock_that_jumps_is_doubted_and_says_so(jump):
    house = ordered(1000.0)
    (event,) = events(house.clock(jump))
    assert (event.event_type, event.source) == ("guard_held", "engine")
    assert (event.details["jump_seconds"], event.details["seconds"]) == (round(jump, 3), CLOCK_SETTLES)
    assert house.guard.clock_doubted
    house.wait(CLOCK_SETTLES - 0.001)
    assert house.guard.clock_doubted
    house.wait(0.001)
    assert not house.guard.clock_doubted


def test_a_jump_over_an_end_is_taken_when_the_clock_has_been_steady():
    house = ordered(1000.0)
    assert said(house.clock(5000.0)) == []
    assert said(house.wait(CLOCK_SETTLES - 0.001)) == []
    assert said(house.wait(0.001)) == ["+v4"]


def test_nothing_ends_while_the_clock_is_doubted():
    house = ordered(30.0)
    house.clock(-5.0)
    assert said(house.wait(CLOCK_SETTLES - 0.001)) == [], "35 s have passed by any clock"
    assert said(house.wait(0.001)) == ["+v4"]


def test_a_clock_that_jumps_back_again_ends_nothing():
    house = ordered(1000.0)
    house.clock(5000.0)
    house.clock(-5000.0, after=10.0)
    assert said(house.wait(500.0)) == []
    assert not house.guard.clock_doubted


def test_each_jump_is_doubted_for_its_own_time():
    house = ordered(1000.0)
    house.clock(5000.0)
    house.clock(100.0, after=50.0)
    assert said(house.wait(CLOCK_SETTLES - 0.001)) == []
    assert said(house.wait(0.001)) == ["+v4"]


def test_a_small_correction_does_not_end_the_doubt():
    house = ordered(1000.0)
    house.clock(5000.0)
    house.clock(0.5, after=10.0)
    assert house.guard.clock_doubted
    assert said(house.wait(CLOCK_SETTLES - 10.001)) == []
    assert said(house.wait(0.001)) == ["+v4"]


def test_a_clock_that_says_what_it_should_is_no_jump():
    house = ordered(1000.0)
    for _ in range(3):
        house.wait(100.0)
        assert house.take(Clock(house.wall)) == []


def night(action=Action.WITHDRAW):
    return Window("night", Span(WALL + 1000, WALL + 2000), services=("dns",), action=action)


def windowed():
    house = House(service("dns"), windows=(night(),), devices=(Device("edge1", stale_after=100000.0),))
    house.poll(a=UP)
    return house


def test_windows_neither_open_nor_close_by_a_clock_that_is_doubted():
    house = windowed()
    assert said(house.clock(1500.0)) == []
    assert said(house.wait(CLOCK_SETTLES - 0.001)) == []
    assert said(house.wait(0.001)) == ["-v4"]
    assert said(house.clock(1000.0)) == []
    assert said(house.wait(CLOCK_SETTLES)) == ["+v4"]


def test_a_reload_while_the_clock_is_doubted_opens_and_closes_nothing_either():
    house = windowed()
    house.clock(1500.0)
    assert house.engine.preview(house.plan, house.now).commands == ()
    assert said(house.reload(service("dns"))) == []
    assert said(house.wait(CLOCK_SETTLES)) == ["-v4"]


# --- every device silent at once ------------------------------------------------------------------------------------


def blind_house(*silent, stale=None, services=None, devices=("edge1", "edge2"), **more):
    """Every device is polled each second until 20, those named `silent` until the second they are named with."""
    parts = tuple(Device(name, stale_after=(stale or {}).get(name, 10.0)) for name in devices)
    house = House(*(services or (service("dns", *(f"{name}/*" for name in devices), **ON_UNKNOWN),)), devices=parts)
    until = dict(silent)
    for second in range(1, 21):
        for place, name in enumerate(devices):
            if second <= until.get(name, 20):
                house.poll(name, a=UP, after=second + 0.01 * place - house.now)
    return house


def test_devices_that_fall_silent_together_withdraw_nothing_and_that_is_said_once():
    house = blind_house()
    effects = house.wait(3600.0)
    assert said(effects) == []
    (event,) = held_events(effects)
    assert (event.source, event.device) == ("engine", None)
    assert event.details == {
        "reason": "every device fell silent at once",
        "devices": ["edge1", "edge2"],
        "seconds": 10.0,
    }
    assert house.guard.blind
    assert house.announced()


def test_a_device_that_falls_silent_alone_is_withdrawn():
    house = House(
        service("dns", "edge1/*", **ON_UNKNOWN),
        service("ntp", "edge2/*", prefixes=(V6,), **ON_UNKNOWN),
        devices=("edge1", "edge2"),
    )
    house.poll("edge1", a=UP)
    house.poll("edge2", a=UP)
    out = []
    for _ in range(15):
        out += house.poll("edge2", a=UP)
    assert said(out) == ["-v4"]
    assert held_events(out) == []


def test_a_single_device_is_not_held():
    house = blind_house(devices=("edge1",))
    assert said(house.wait(10.0)) == ["-v4"]
    assert not house.guard.blind


def test_nothing_is_held_where_unknown_withdraws_nothing_anyway():
    house = blind_house(services=(service("dns", "edge1/*", "edge2/*"),))
    assert held_events(house.wait(3600.0)) == []
    assert not house.guard.blind


def test_a_device_long_dead_neither_counts_nor_hinders():
    together = blind_house(("edge3", 1), devices=("edge1", "edge2", "edge3"))
    assert said(together.wait(100.0)) == []
    assert together.guard.blind
    alone = blind_house(("edge3", 1), devices=("edge1", "edge3"))
    assert said(alone.wait(100.0)) == ["-v4"], "of two the other was dead before"
    assert not alone.guard.blind


# With ten seconds each: when edge2 was heard last, while edge1 was heard last at 20.
COMPANY = [(9.0, False), (10.01, True), (15.0, True), (20.0, True), (25.0, True), (25.01, False), (29.0, False)]


@pytest.mark.parametrize(("heard", "blind"), COMPANY)
def test_another_is_company_if_it_fell_silent_at_about_the_same_time(heard, blind):
    house = House(
        service("dns", "edge1/*", **ON_UNKNOWN),
        service("ntp", "edge2/*", prefixes=(V6,)),
        devices=("edge1", "edge2"),
    )
    for moment, name in sorted([(8.0, "edge1"), (20.0, "edge1"), (8.0, "edge2"), (heard, "edge2")]):
        house.poll(name, a=UP, after=moment - house.now)
    house.wait(30.0 - house.now)
    assert house.guard.blind is blind
    assert house.announced() is blind


def test_the_patience_for_another_is_the_longer_of_both():
    house = House(
        service("dns", "edge1/*", **ON_UNKNOWN),
        service("ntp", "edge2/*", prefixes=(V6,)),
        devices=("edge1", Device("edge2", stale_after=100.0)),
    )
    house.poll("edge2", a=UP)
    house.poll("edge1", a=UP, after=60.0)
    assert said(house.wait(10.0)) == []
    assert house.guard.blind


def test_when_one_answers_the_others_have_their_time_to_answer_too():
    house = blind_house(
        services=(
            service("dns", "edge1/*", **ON_UNKNOWN),
            service("ntp", "edge2/*", prefixes=(V6,), **ON_UNKNOWN),
        )
    )
    house.wait(100.0)
    effects = house.poll("edge1", a=UP)
    (event,) = events(effects, "guard_released")
    assert (event.device, event.source) == ("edge1", "engine")
    assert not house.guard.blind
    out = []
    for _ in range(9):
        out += house.poll("edge1", a=UP)
    assert said(out) == []
    assert said(house.wait(0.999)) == []
    effects = house.wait(0.001)
    assert said(effects) == ["-v6"]
    assert house.chain(events(effects, "route_withdraw")[0].id)[1] == "device_unreachable"


def test_when_all_answer_in_time_nothing_happens():
    house = blind_house()
    house.wait(100.0)
    house.poll("edge1", a=UP)
    house.poll("edge2", a=UP, after=9.0)
    out = []
    for _ in range(30):
        out += house.poll("edge1", a=UP) + house.poll("edge2", a=UP, after=0.0)
    assert said(out) == []


def test_one_that_answers_and_falls_silent_again_is_one_device():
    house = blind_house()
    house.wait(100.0)
    house.poll("edge1", a=UP)
    assert said(house.wait(9.999)) == []
    assert said(house.wait(0.002)) == ["-v4"]
    assert not house.guard.blind


def test_blindness_after_blindness_is_told_again():
    house = blind_house()
    house.wait(50.0)
    house.poll("edge1", a=UP)
    house.poll("edge2", a=UP, after=0.01)
    effects = house.wait(50.0)
    assert said(effects) == []
    assert len(held_events(effects)) == 1


def test_what_is_down_when_we_see_again_is_withdrawn_as_ever():
    house = blind_house()
    house.wait(100.0)
    assert said(house.poll("edge1", a=DOWN)) == []
    assert said(house.poll("edge2", a=DOWN)) == ["-v4"]


def test_a_device_that_is_silent_for_our_blindness_is_not_asked_more_often():
    assert paces(blind_house().wait(100.0)) == []


def test_devices_that_never_answered_since_our_start_are_blindness_too():
    restored = Restored(5, (Believed("dns", Route(V4), 1),), rib_kept=True, wall=WALL)
    house = House(service("dns", "edge1/*", "edge2/*", **ON_UNKNOWN), devices=("edge1", "edge2"), restored=restored)
    effects = house.take(Silence("edge1", "timeout"), 1.0) + house.wait(600.0)
    assert said(effects) == []
    assert len(held_events(effects)) == 1
    effects = house.poll("edge2", b=DOWN)
    assert said(effects) == []
    out = []
    for _ in range(12):
        out += house.poll("edge2", b=DOWN)
    assert said(out) == ["-v4"], "one answers and its session is down, the other does not"


def test_a_device_that_was_heard_says_that_our_eyes_are_open_for_one_that_never_was():
    restored = Restored(5, (Believed("dns", Route(V4), 1),), rib_kept=True, wall=WALL)
    house = House(service("dns", "edge1/*", **ON_UNKNOWN), devices=("edge1", "edge2"), restored=restored)
    out = []
    for _ in range(12):
        out += house.poll("edge2", a=UP)
    assert said(out) == ["-v4"]


def test_blindness_holds_back_only_what_would_withdraw_for_it():
    house = House(
        service("dns", "edge1/*", "edge2/*", **ON_UNKNOWN),
        service("ntp", "edge1/*", prefixes=(V6,), rise=100, on_unknown=Reading.UP),
        devices=("edge1", "edge2"),
    )
    house.poll("edge1", a=UP)
    house.poll("edge2", a=UP, after=0.0)
    assert said(house.wait(60.0)) == ["+v6"]
    assert (house.guard.blind, house.announced("dns")) == (True, True)


# --- a table that was empty and fills again ---------------------------------------------------------------------------


def test_a_session_that_is_seen_down_while_the_table_fills_again_is_down():
    house = House(service("dns", "edge1/a"), service("ntp", "edge1/b", prefixes=(V6,)))
    house.poll(a=UP, b=UP)
    house.poll()
    assert said(house.poll(a=DOWN)) == ["-v4"]
    assert said(house.poll(a=UP)) == ["+v4"]
    assert house.announced("ntp"), "who is not back yet is not gone"


# --- not everything at once -----------------------------------------------------------------------------------------


def many(count=5, guard=None, **rules):
    """Services s0, s1, ... each with one session of its own, a, b, ..."""
    specs = [service(f"s{number}", f"edge1/{'abcdefghij'[number]}", prefixes=(nth(number),)) for number in range(count)]
    house = House(*specs, guard=guard, devices=(Device("edge1", stale_after=1000.0),), **rules)
    house.states = dict.fromkeys("abcdefghij"[:count], UP)
    house.poll(**house.states)
    return house


def nth(number):
    return ip_network(f"192.0.2.{number}/32")


def fell(house, names, after=1.0):
    """These sessions fall; the services that are withdrawn."""
    house.states.update(dict.fromkeys(names, DOWN))
    return gone(house.poll(after=after, **house.states))


def rose(house, names, after=1.0):
    house.states.update(dict.fromkeys(names, UP))
    return [text for text in said(house.poll(after=after, **house.states)) if text.startswith("+")]


def gone(effects):
    return [f"s{text[1:].split('.')[3].split('/')[0]}" for text in said(effects) if text.startswith("-")]


def test_so_many_and_no_more():
    house = many(guard=Guard(max_withdrawn=2, within=60.0))
    effects = house.poll(a=DOWN, b=DOWN, c=DOWN, d=DOWN, e=UP)
    assert gone(effects) == ["s0", "s1"]
    (event,) = held_events(effects)
    assert (event.service, event.source) == (None, "engine")
    assert event.details == {
        "reason": "more services would be withdrawn than the limit allows",
        "limit": 2,
        "within_seconds": 60.0,
        "count": 2,
        "services": ["s2", "s3"],
        "withdrawn": ["s0", "s1"],
    }
    assert house.guard.held == ("s2", "s3")
    assert (house.guard.withdrawn, house.guard.limit) == (("s0", "s1"), 2)
    view = house.service("s2")
    assert (view.layer, view.announced, view.health) == ("guard", True, "down")
    assert view.why == "announced: the guard's limit holds it back; its sessions alone: 0 of 1 sessions up, 1 needed"


def test_a_single_one_that_is_held_is_named():
    house = many(guard=Guard(max_withdrawn=1))
    (event,) = held_events(house.poll(a=DOWN, b=DOWN, c=UP, d=UP, e=UP))
    assert event.service == "s1"


def test_that_it_is_held_is_told_once():
    house = many(guard=Guard(max_withdrawn=1))
    fell(house, "ab")
    assert held_events(house.poll(**house.states)) == []
    assert held_events(house.poll(**house.states)) == []


def test_without_a_limit_any_number_may_go():
    house = many()
    assert fell(house, "abcde") == ["s0", "s1", "s2", "s3", "s4"]
    assert (house.guard.limit, house.guard.held, house.guard.withdrawn) == (None, (), ())


SHARES = [
    (0.3, 10, 3),
    (0.1, 10, 1),
    (0.29, 10, 2),
    (0.99, 10, 9),
    (0.05, 10, 1),
    (0.5, 5, 2),
    (0.5, 1, 1),
    (1.0, 4, 4),
]


@pytest.mark.parametrize(("share", "services", "limit"), SHARES)
def test_a_share_is_of_all_services_rounded_down_and_one_may_always_go(share, services, limit):
    assert Limit(Guard(max_share=share)).number(services) == limit


def test_of_a_number_and_a_share_the_smaller_holds():
    assert Limit(Guard(max_withdrawn=2, max_share=0.5)).number(10) == 2
    assert Limit(Guard(max_withdrawn=8, max_share=0.5)).number(10) == 5
    assert Limit(Guard()).number(10) is None


def test_a_share_counts_through_the_engine():
    house = many(5, Guard(max_share=0.4))
    assert fell(house, "abcde") == ["s0", "s1"]


def test_what_is_held_goes_when_the_window_has_moved_on():
    house = many(guard=Guard(max_withdrawn=2, within=60.0))
    fell(house, "a")
    fell(house, "bcd", after=20.0)
    assert house.guard.held == ("s2", "s3")
    assert gone(house.wait(39.999)) == []
    effects = house.wait(0.001)
    assert gone(effects) == ["s2"]
    assert gone(house.wait(19.999)) == []
    assert gone(house.wait(0.001)) == ["s3"]
    assert house.guard.held == ()
    (withdraw,) = events(effects, "route_withdraw")
    assert house.chain(withdraw.id)[-1] == "snmp_poll", "held or not: it goes for what was seen"


def test_what_recovers_while_it_is_held_was_never_gone():
    house = many(guard=Guard(max_withdrawn=1, within=60.0))
    fell(house, "ab")
    assert rose(house, "b") == []
    assert house.guard.held == ()
    assert house.service("s1").layer == "health"
    assert gone(house.wait(100.0)) == []


def test_a_service_that_was_withdrawn_counts_until_the_window_has_passed():
    house = many(guard=Guard(max_withdrawn=1, within=60.0))
    assert fell(house, "a") == ["s0"]
    assert fell(house, "b", after=59.999) == []
    assert gone(house.wait(0.001)) == ["s1"]


def test_one_that_falls_again_within_the_window_counts_once_and_from_then_on():
    house = many(guard=Guard(max_withdrawn=2, within=60.0))
    fell(house, "a")
    rose(house, "a")
    assert fell(house, "a", after=20.0) == ["s0"]
    assert house.guard.withdrawn == ("s0",)
    assert fell(house, "b") == ["s1"]
    rose(house, "ab")
    assert fell(house, "b", after=30.0) == ["s1"]
    assert house.guard.withdrawn == ("s0", "s1")
    assert fell(house, "c") == []
    assert gone(house.wait(26.998)) == []
    assert gone(house.wait(0.003)) == ["s2"]


def test_one_that_counts_already_may_go_even_at_the_limit():
    house = many(guard=Guard(max_withdrawn=1, within=60.0))
    fell(house, "a")
    rose(house, "a")
    assert fell(house, "a") == ["s0"]


def test_what_is_not_announced_does_not_count():
    house = many(guard=Guard(max_withdrawn=1, within=60.0))
    house.order("withdraw", "s0")
    house.order("withdraw", "s1")
    assert fell(house, "abc") == ["s2"]


def test_a_worse_step_is_no_withdraw():
    specs = [service(f"s{n}", "edge1/a", prefixes=(nth(n),), on_down=Change(med=9)) for n in range(3)]
    house = House(*specs, guard=Guard(max_withdrawn=1))
    house.poll(a=UP)
    assert len(said(house.poll(a=DOWN))) == 3
    assert house.guard.held == ()


def test_adopted_services_are_held_as_well():
    held = tuple(Believed(f"s{n}", Route(nth(n)), n + 1) for n in range(3))
    specs = [service(f"s{n}", "edge1/a", prefixes=(nth(n),)) for n in range(3)]
    house = House(*specs, guard=Guard(max_withdrawn=1), restored=Restored(9, held, rib_kept=True, wall=WALL))
    assert gone(house.poll(a=DOWN)) == ["s0"]
    assert house.guard.held == ("s1", "s2")


def test_lifting_the_limit_lets_them_go_at_once():
    house = many(guard=Guard(max_withdrawn=1))
    fell(house, "abc")
    lift = Lift("ann", "it is real", house.wall)
    effects = house.take(Order(lift))
    assert gone(effects) == ["s1", "s2"]
    (event,) = events(effects, "override_set")
    assert (event.service, event.actor) == (None, "ann")
    assert event.details == {"action": "lift", "reason": "it is real", "since": house.wall, "expires": None}
    assert house.chain(events(effects, "route_withdraw")[0].id) == ["route_withdraw", "override_set"]
    assert orders(effects) == [(None, lift)]
    assert (house.guard.lift, house.guard.held) == (lift, ())
    assert fell(house, "de") == ["s3", "s4"]


def test_a_lift_that_is_cleared_holds_again():
    house = many(guard=Guard(max_withdrawn=1))
    house.take(Order(Lift("ann", "it is real", house.wall)))
    fell(house, "ab")
    effects = house.take(Clear(None, "bob", "over"))
    assert orders(effects) == [(None, None)]
    (event,) = events(effects, "override_cleared")
    assert (event.actor, event.details["reason"], event.details["was"]["action"]) == ("bob", "over", "lift")
    assert fell(house, "c") == [], "those that went meanwhile count"


def test_a_lift_ends_by_itself():
    house = many(guard=Guard(max_withdrawn=1, within=1000.0))
    house.take(Order(Lift("ann", "it is real", house.wall, house.wall + 30)))
    fell(house, "ab")
    assert fell(house, "c", after=28.999) == ["s2"]
    effects = house.wait(0.001)
    assert orders(effects) == [(None, None)]
    assert fell(house, "d") == []
    assert house.guard.lift is None


def test_an_event_names_only_some():
    count = NAMES_IN_AN_EVENT + 5
    specs = [service(f"s{n}", "edge1/a", prefixes=(nth(n),)) for n in range(count)]
    house = House(*specs, guard=Guard(max_withdrawn=1))
    house.poll(a=UP)
    (event,) = held_events(house.poll(a=DOWN))
    assert event.details["count"] == count - 1
    assert len(event.details["services"]) == NAMES_IN_AN_EVENT


def test_a_reload_that_lifts_the_limit_lets_them_go():
    house = many(2, Guard(max_withdrawn=1))
    fell(house, "ab")
    assert house.guard.held == ("s1",)
    assert gone(house.reload(*house.plan.services)) == []
    assert house.guard.held == ("s1",)
    assert gone(house.reload(*house.plan.services, guard=Guard())) == ["s1"]
    assert house.guard.held == ()


def test_what_is_held_when_a_reload_comes_still_goes_in_its_time():
    house = many(2, Guard(max_withdrawn=1, within=60.0))
    fell(house, "ab")
    house.reload(*house.plan.services, after=10.0)
    assert gone(house.wait(49.999)) == []
    assert gone(house.wait(0.001)) == ["s1"]


def test_a_service_that_leaves_the_file_passes_the_limit():
    house = many(3, Guard(max_withdrawn=1))
    fell(house, "a")
    assert gone(house.reload(house.plan.services[0])) == ["s1", "s2"]


def test_a_reload_that_leaves_one_device_ends_blindness_for_its_silence_may_be_its_own():
    rules = {"on_unknown": Reading.DOWN}
    house = House(service("dns", "edge1/s1", **rules), devices=("edge1", "edge2"))
    house.poll("edge1", s1=UP)
    house.poll("edge2", s2=UP)
    house.wait(12.0)
    assert house.engine.snapshot(house.now).guard.blind
    assert house.rib, "every device fell silent at once"
    effects = house.reload(service("dns", "edge1/s1", **rules), devices=("edge1",))
    assert [event.device for event in events(effects, "guard_released")] == [None]
    assert house.rib, "it has its time to answer, from now on"
    house.wait(9.0)
    assert house.rib
    house.wait(2.0)
    assert not house.rib, "which is what on_unknown = down asks for"


def test_a_session_of_which_a_webhook_tells_while_we_are_blind_becomes_unknown_again():
    house = House(service("dns", "edge1/s1", on_unknown=Reading.DOWN), devices=("edge1", "edge2"))
    house.poll("edge1", s1=UP)
    house.poll("edge2", s2=UP)
    house.wait(12.0)
    assert house.engine.snapshot(house.now).guard.blind
    house.take(Webhook("edge1", "it is up", {"state": "up"}, effect="observe"))
    states = lambda: {each.session.id: each.state for each in house.engine.snapshot(house.now).sessions}  # noqa: E731
    assert states()["edge1/s1"] is UP
    house.wait(11.0)
    assert states()["edge1/s1"] is UNKNOWN
