"""Flap damping and flaps between two polls: what a session that comes and goes is worth, and when it is used again.

Damping follows RFC 2439: each flap adds a penalty that falls to its half every `half_life`; from `cutoff` on the
session is suppressed, until the penalty is below `reuse`. It delays Up. It never delays Down.
"""

import math

import pytest
from lab.house import (
    ADMIN_DOWN,
    DOWN,
    INIT,
    MISSING,
    UNKNOWN,
    UP,
    House,
    events,
    id_,
    kinds,
    looks,
    paces,
    said,
    service,
    session,
)

from exabgp_bfd.core.model import (
    Damping,
    Device,
    Observation,
    Poll,
    Reading,
    Route,
    Service,
    Source,
    Stall,
    State,
    Webhook,
)
from exabgp_bfd.core.policy import ServiceTrack
from exabgp_bfd.core.session import FLAPS_A_SAMPLE, RUN_KEPT, Leg, Step, Track

PATIENT = (Device("edge1", stale_after=1000.0),)
RULES = Damping(penalty=1000.0, cutoff=3000.0, reuse=1500.0, half_life=60.0, ceiling=12000.0)


def leg_of(damping=RULES, **rules):
    spec = Service("dns", (Route("192.0.2.53/32"),), (), rise=1, hold_up=0.0, confirm=False, damping=damping, **rules)
    return Leg(ServiceTrack(spec, []), None, "edge1/a", verdict=False)


# --- the penalty ----------------------------------------------------------------------------------------------------

PENALTIES = [
    ("one failure", [(0, 1)], 0, 1000),
    ("it adds up", [(0, 1), (0, 1)], 0, 2000),
    ("several at once", [(0, 3)], 0, 3000),
    ("half after half_life", [(0, 1)], 60, 500),
    ("a quarter after two", [(0, 1)], 120, 250),
    ("decay in between", [(0, 1), (60, 1)], 60, 1500),
    ("each from its own time", [(0, 1), (60, 1)], 120, 750),
    ("never above the ceiling", [(0, 13)], 0, 12000),
    ("the ceiling is reached", [(0, 12)], 0, 12000),
    ("the ceiling holds for the sum", [(0, 11), (0, 5)], 0, 12000),
    ("none, none", [], 100, 0),
]


@pytest.mark.parametrize(
    ("flaps", "at", "penalty"), [line[1:] for line in PENALTIES], ids=[each[0] for each in PENALTIES]
)
def test_penalty(flaps, at, penalty):
    leg = leg_of()
    for when, count in flaps:
        leg.flap(count, float(when))
    assert leg.penalty_at(float(at)) == pytest.approx(penalty)


SUPPRESSIONS = [
    ("below cutoff: not", [(0, 2)], [False], False),
    ("from cutoff on: it is", [(0, 3)], [True], True),
    ("told once", [(0, 3), (0, 1)], [True, False], True),
    ("what decayed does not count", [(0, 1), (60, 1), (120, 1)], [False, False, False], False),
    ("a penalty that has fallen to reuse or above leaves it suppressed", [(0, 3), (59, 1)], [True, False], True),
    ("once below reuse it is free, and must reach cutoff anew", [(0, 3), (61, 1)], [True, False], False),
    ("free, and over cutoff in the same breath: told again", [(0, 3), (120, 3)], [True, True], True),
]


@pytest.mark.parametrize(
    ("flaps", "told", "suppressed"), [line[1:] for line in SUPPRESSIONS], ids=[each[0] for each in SUPPRESSIONS]
)
def test_suppression(flaps, told, suppressed):
    leg = leg_of()
    assert [leg.flap(count, float(when)) for when, count in flaps] == told
    assert leg.suppressed is suppressed


def test_without_damping_nothing_is_counted():
    leg = leg_of(None)
    assert leg.flap(50, 0.0) is False
    assert (leg.penalty_at(0.0), leg.suppressed) == (0.0, False)


@pytest.mark.parametrize(("count", "seconds"), [(3, 60.0), (6, 120.0), (12, 180.0), (50, 180.0)])
def test_it_is_used_again_when_the_penalty_has_fallen_to_reuse(count, seconds):
    leg = leg_of()
    leg.flap(count, 100.0)
    assert leg.reuse_at(RULES) == pytest.approx(100.0 + seconds)
    assert leg.penalty_at(leg.reuse_at(RULES)) == pytest.approx(RULES.reuse)


def test_reuse_may_be_less_than_a_half_life_away():
    damping = Damping(penalty=1500.0, cutoff=1500.0, reuse=1000.0, half_life=60.0, ceiling=2000.0)
    leg = leg_of(damping)
    assert leg.flap(1, 0.0) is True
    assert leg.reuse_at(damping) == pytest.approx(60.0 * math.log2(1.5))


def test_no_suppression_lasts_longer_than_the_ceiling_allows():
    leg = leg_of()
    leg.flap(1000, 0.0)
    assert leg.reuse_at(RULES) == pytest.approx(RULES.half_life * math.log2(RULES.ceiling / RULES.reuse))


def test_a_leg_that_is_damped_waits_for_reuse_and_then_for_a_sample():
    leg = leg_of()
    leg.flap(3, 0.0)
    assert leg.sample(State.UP, 1.0, counts=True) is Step.DAMPED
    assert leg.damped_until == 60.0
    assert leg.sample(State.UP, 2.0, counts=True) is Step.NOTHING
    assert leg.sample(State.UP, 59.999, counts=True) is Step.NOTHING
    assert leg.verdict is False
    assert leg.sample(State.UP, 60.0, counts=False) is Step.DECIDED
    assert (leg.verdict, leg.suppressed) == (True, False)


def test_damping_comes_after_rise_and_hold_up():
    leg = leg_of()
    leg.service.spec = Service("dns", (), (), rise=2, hold_up=5.0, damping=RULES)
    leg.flap(3, 0.0)
    steps = [leg.sample(State.UP, float(time), counts=True) for time in (1, 2, 6, 7, 8, 60)]
    assert steps == [Step.NOTHING, Step.HOLD, Step.NOTHING, Step.DAMPED, Step.NOTHING, Step.DECIDED]


def test_a_suppression_that_is_over_by_then_delays_nothing():
    leg = leg_of()
    leg.flap(3, 0.0)
    assert leg.sample(State.UP, 60.0, counts=True) is Step.DECIDED


def test_rules_that_damp_no_more_let_it_go_at_once():
    leg = leg_of()
    leg.flap(3, 0.0)
    leg.service.spec = Service("dns", (), (), rise=1, hold_up=0.0)
    assert leg.sample(State.UP, 1.0, counts=True) is Step.DECIDED


# --- through the engine ---------------------------------------------------------------------------------------------


def flapping(house, times):
    """Down and up again, so many times, each in one second."""
    out = []
    for _ in range(times):
        out += house.poll(a=DOWN, after=0.5)
        out += house.poll(a=UP, after=0.5)
    return out


def test_a_session_that_flaps_is_withdrawn_each_time_at_once_and_comes_back_when_it_is_used_again():
    house = House(service("dns", damping=RULES), devices=PATIENT)
    house.poll(a=UP)
    assert said(flapping(house, 3)) == ["-v4", "+v4"] * 3, "2,977 and not yet 3,000"
    assert said(house.poll(a=DOWN, after=0.5)) == ["-v4"], "Down is never delayed"
    assert said(house.poll(a=UP, after=0.5)) == [], "suppressed now"
    penalty = 1000 * sum(2 ** (-age / 60) for age in (0, 1, 2, 3))
    reuse_at = house.now - 0.5 + 60 * math.log2(penalty / 1500)
    out = []
    while house.now < reuse_at - 1:
        out += house.poll(a=UP)
    assert out == []
    out = house.wait(reuse_at - house.now + 0.001)
    assert (said(out), looks(out)) == ([], [("edge1", id_("a"))]), "the clock decides nothing: it is looked at"
    assert said(house.look(a=UP)) == ["+v4"]


def test_damped_down_stays_immediate_while_suppressed():
    """A service carried by an override, or by another session, must still see the damped one fall."""
    house = House(service("dns", "edge1/*", damping=RULES))
    house.poll(a=UP, b=UP)
    assert [said(house.poll(a=state, b=UP)) for state in (DOWN, UP) * 4] == [[]] * 8
    assert house.counts_as("a") == "down"
    assert said(house.poll(a=UP, b=DOWN)) == ["-v4"]
    assert said(house.poll(a=UP, b=UP)) == ["+v4"]


def test_that_a_session_is_damped_is_told_once_with_its_figures():
    house = House(service("dns", damping=RULES), service("ntp", "edge1/a", prefixes=()))
    house.poll(a=UP)
    (event,) = events(flapping(house, 6), "bfd_damped")
    assert (event.device, event.session, event.service, event.source) == ("edge1", id_("a"), "dns", "engine")
    penalty = 1000 * sum(2 ** (-age / 60) for age in (0, 1, 2, 3))
    assert event.details == {
        "penalty": round(penalty, 1),
        "cutoff": 3000.0,
        "reuse": 1500.0,
        "reuse_in_seconds": round(60 * math.log2(penalty / 1500), 1),
    }
    assert house.chain(event.id) == ["bfd_damped", "bfd_failure", "snmp_poll"]


def test_a_damped_session_says_so():
    house = House(service("dns", damping=RULES), devices=PATIENT)
    house.poll(a=UP)
    flapping(house, 4)
    assert "damped for its flaps" in house.leg("a").why
    (line,) = house.explain().sessions
    assert line == (
        "edge1/a counts as down: recovering: 1 of 1 good samples, "
        "but damped for its flaps: penalty 3909, used again in 83 s"
    )
    house.look(a=UP, after=60.0)
    (line,) = house.explain().sessions
    assert line.endswith("damped for its flaps: penalty 1954, used again in 23 s")


def test_each_service_damps_by_its_own_rules():
    eager = Damping(penalty=1000.0, cutoff=1000.0, reuse=500.0, half_life=10.0, ceiling=2000.0)
    house = House(service("dns", damping=RULES), service("ntp", damping=eager, prefixes=()))
    house.poll(a=UP)
    flapping(house, 1)
    assert (house.counts_as("a", "dns"), house.counts_as("a", "ntp")) == ("up", "down")


def test_only_what_leaves_up_is_a_flap():
    house = House(service("dns", damping=RULES, on_admin_down=Reading.DOWN))
    house.poll(a=UP)
    for state in (DOWN, INIT, DOWN, INIT, DOWN, INIT, ADMIN_DOWN, DOWN):
        house.poll(a=state)
    assert said(house.poll(a=UP)) == ["+v4"]


def test_admin_down_is_no_flap():
    house = House(service("dns", damping=RULES))
    house.poll(a=UP)
    for _ in range(5):
        house.poll(a=ADMIN_DOWN)
        house.poll(a=UP)
    assert events(house.all, "bfd_damped") == []
    house.poll(a=DOWN)
    assert said(house.poll(a=UP)) == ["+v4"]


def test_a_vanished_row_is_a_flap():
    house = House(service("dns", "edge1/*", damping=RULES))
    house.poll(a=UP, b=UP)
    for _ in range(4):
        house.poll(b=UP)
        house.poll(b=UP)
        house.poll(a=UP, b=UP)
    assert [event.session for event in events(house.all, "bfd_damped")] == [id_("a")]


def test_what_a_webhook_reports_is_a_flap():
    house = House(service("dns", damping=RULES))
    house.poll(a=UP)
    for state in ("down", "up") * 4:
        house.take(Webhook("edge1", "report", {"state": state}, effect="observe"), 1.0)
    assert len(events(house.all, "bfd_damped")) == 1


def test_a_flap_while_it_waits_to_be_used_again_makes_it_wait_longer():
    house = House(service("dns", damping=RULES), devices=PATIENT)
    house.poll(a=UP)
    flapping(house, 4)
    first = house.engine.next_deadline()
    flapping(house, 1)
    out = house.wait(first - house.now + 0.001)
    assert looks(out) == []
    assert house.look(a=UP) == []
    house.wait(120.0)
    assert said(house.poll(a=UP)) == ["+v4"]


def test_a_restored_path_that_is_broken_before_reuse_asks_for_no_look():
    house = House(service("dns", damping=RULES))
    house.poll(a=UP)
    flapping(house, 4)
    house.poll(a=DOWN)
    assert looks(house.wait(5.0)) == []


# --- how often a device is asked ------------------------------------------------------------------------------------


def test_a_device_is_asked_more_often_from_the_first_of_its_sessions_that_changes_to_the_last():
    house = House(service("dns", rise=3, fall=3))
    assert paces(house.poll(a=UP, b=UP)) == [("edge1", True)], "both begin to rise"
    assert paces(house.poll(a=UP, b=UP)) == []
    assert paces(house.poll(a=UP, b=DOWN)) == [], "a has risen; b begins to fall"
    assert paces(house.poll(a=DOWN, b=DOWN)) == [], "and so does a"
    assert paces(house.poll(a=UP, b=DOWN)) == [("edge1", False)], "a is what it was, b has fallen"
    assert paces(house.poll(a=UP, b=DOWN)) == []
    assert paces(house.poll(a=UP, b=UP)) == [("edge1", True)]
    assert paces(house.poll(a=UP, b=DOWN)) == [("edge1", False)]


def test_hold_up_is_change_and_ends_with_it():
    house = House(service("dns", hold_up=3.0))
    assert paces(house.poll(a=UP)) == [("edge1", True)]
    assert paces(house.wait(3.0)) == []
    assert paces(house.look(a=UP)) == [("edge1", False)]


def test_each_device_has_its_own_pace():
    house = House(service("dns", "edge1/*", "edge2/*", rise=2), devices=("edge1", "edge2"))
    assert paces(house.poll("edge1", a=UP)) == [("edge1", True)]
    assert paces(house.poll("edge2", a=UP)) == [("edge2", True)]
    assert paces(house.poll("edge1", a=UP)) == [("edge1", False)]


def test_a_session_that_is_only_damped_is_asked_at_the_usual_pace():
    house = House(service("dns", damping=RULES, hold_up=1.0))
    house.poll(a=UP)
    house.poll(a=UP)
    flapping(house, 6)
    assert paces(house.poll(a=UP, after=0.9)) == []
    assert paces(house.poll(a=UP, after=0.1)) == [("edge1", False)], "hold_up is over, and it is only damped now"
    assert paces(house.poll(a=DOWN)) == []
    assert paces(house.poll(a=UP)) == [("edge1", True)]


def test_a_session_that_nobody_follows_changes_no_pace():
    house = House(service("dns", "edge1/a", rise=3))
    assert paces(house.poll(b=UP, complete=False)) == []


def test_a_silent_device_is_asked_at_the_usual_pace():
    house = House(service("dns", rise=3), devices=(Device("edge1", stale_after=10.0),))
    assert paces(house.poll(a=UP)) == [("edge1", True)]
    assert paces(house.wait(10.0)) == [("edge1", False)]


def test_a_session_that_is_forgotten_is_no_longer_waited_for():
    house = House(service("dns", "edge1/*", fall=100), devices=(Device("edge1", stale_after=10.0),), forget_after=20.0)
    house.poll(a=UP, b=UP)
    assert paces(house.poll(b=UP)) == [("edge1", True)]
    out = []
    for _ in range(20):
        out += house.poll(b=UP)
    assert paces(out) == [("edge1", False)]
    assert "session_forgotten" in kinds(out)


def test_the_last_word_on_a_pace_within_one_input_is_the_only_one():
    house = House(service("dns", rise=2))
    house.poll(a=UP)
    one, two = Observation(session("a"), UP), Observation(session("b"), UP)
    assert paces(house.take(Poll("edge1", (one, two)), 1.0)) == [("edge1", True)]


# --- flaps that no poll has seen ------------------------------------------------------------------------------------

# What is seen, one sample after the other: state, and its counters; then the flaps that were hidden before the last.
HIDDEN = {
    "the first sample has nothing to be compared with": ("up ups=7", 0),
    "no counters, no flaps": ("up; up; down; up", 0),
    "nothing moved": ("up ups=7; up ups=7", 0),
    "up and up again with one more up: one flap": ("up ups=7; up ups=8", 1),
    "three more": ("up ups=7; up ups=10", 3),
    "downs tell it as well": ("up downs=3; up downs=5", 2),
    "ups and downs of the same flap are one": ("up ups=7 downs=7; up ups=8 downs=8", 1),
    "the greater of both": ("up ups=7 downs=7; up ups=8 downs=9", 2),
    "a down that is seen is no secret": ("up ups=7 downs=6; down ups=7 downs=7", 0),
    "an up that is seen is no secret": ("down ups=6 downs=6; up ups=7 downs=6", 0),
    "down and down again with one more up": ("down ups=6; down ups=7", 1),
    "up, a flap, and down": ("up ups=6 downs=5; down ups=7 downs=7", 1),
    "down, a flap, and up": ("down ups=6 downs=6; up ups=8 downs=7", 1),
    "a counter that falls began anew": ("up ups=7; up ups=2", 0),
    "and counts from there": ("up ups=7; up ups=2; up ups=3", 1),
    "a sample without the counter leaves it": ("up ups=7; up; up ups=8", 1),
    "init is down as well": ("up ups=7 downs=6; init ups=7 downs=7", 0),
    "admin_down comes and goes in sight": ("up ups=7 downs=6; admin_down ups=7 downs=7; up ups=8 downs=7", 0),
    "from admin_down to down in sight": ("up ups=7 downs=6; admin_down ups=7 downs=7; down ups=7 downs=7", 0),
    "a flap while it was admin_down": ("admin_down ups=7 downs=7; admin_down ups=8 downs=8", 1),
    "a flap while nothing was heard": ("up ups=7; unknown; up ups=8", 1),
    "it fell while nothing was heard, in sight": ("up ups=7 downs=6; unknown; down ups=7 downs=7", 0),
    "another last_up is another coming up": ("up last_up=100; up last_up=200", 1),
    "the same last_up is none": ("up last_up=100; up last_up=100", 0),
    "an earlier last_up too: the clock it is told by began anew": ("up last_up=200; up last_up=100", 1),
    "a last_up that came with an up in sight": ("down last_up=100; up last_up=200", 0),
    "a last_up first told": ("up; up last_up=100", 0),
    "last_up counts one, whatever ups say less": ("up ups=7 last_up=1; up ups=7 last_up=2", 1),
    "and nothing where ups tell more": ("up ups=7 last_up=1; up ups=9 last_up=2", 2),
    "down and down again, but it was up in between": ("down last_up=100; down last_up=200", 1),
    "up, and down after another up": ("up last_up=100; down last_up=200", 1),
    "a down seen without counters is no secret when the counters come": ("up ups=7 downs=6; down; up ups=8 downs=7", 0),
    "an up seen without counters neither": ("down ups=6; up; up ups=7", 0),
    "a row that vanished and came back went down and up in sight": ("up ups=7 downs=6; missing; up ups=8 downs=7", 0),
    "what is no counter is not believed": (f"up ups=7; up ups={8 + 10 * FLAPS_A_SAMPLE}", FLAPS_A_SAMPLE),
    "so many are": (f"up ups=7; up ups={7 + FLAPS_A_SAMPLE}", FLAPS_A_SAMPLE),
}


def seen(text):
    state, *counters = text.split()
    return State(state), {name: int(value) for name, value in (each.split("=") for each in counters)}


@pytest.mark.parametrize(("samples", "flaps"), HIDDEN.values(), ids=HIDDEN)
def test_flaps_between_two_polls(samples, flaps):
    house = House(service("dns", fall=3))
    told = []
    for text in samples.split(";"):
        state, counters = seen(text)
        if state is UNKNOWN:
            told = events(house.wait(11.0), "bfd_flap")
        else:
            told = events(house.see("a", state, **counters), "bfd_flap")
    assert [event.details["flaps"] for event in told] == ([flaps] if flaps else [])


def test_a_flap_has_its_event():
    house = House(service("dns"))
    house.see("a", UP, ups=7, downs=6)
    (event,) = events(house.see("a", UP, ups=9, downs=8))
    assert (event.event_type, event.device, event.session, event.source) == ("bfd_flap", "edge1", id_("a"), "snmp_poll")
    assert {name: event.details[name] for name in ("state", "flaps", "ups", "downs")} == {
        "state": "up",
        "flaps": 2,
        "ups": 9,
        "downs": 8,
    }
    assert house.chain(event.id) == ["bfd_flap", "snmp_poll"]


def test_a_flap_that_is_over_withdraws_nothing_by_itself():
    house = House(service("dns", damping=RULES))
    assert said(house.see("a", UP, ups=7)) == ["+v4"]
    assert said(house.see("a", UP, ups=50)) == []
    assert house.announced()


def test_hidden_flaps_are_damped_like_those_in_sight():
    house = House(service("dns", damping=RULES))
    house.see("a", UP, ups=7)
    (event,) = events(house.see("a", UP, ups=10), "bfd_damped")
    assert event.details["penalty"] == 3000.0
    assert house.chain(event.id) == ["bfd_damped", "bfd_flap", "snmp_poll"]
    house.see("a", DOWN, ups=10)
    assert said(house.see("a", UP, ups=11)) == [], "3,000 and one more in sight"


def test_a_flap_breaks_rise():
    house = House(service("dns", rise=3))
    house.see("a", UP, ups=7)
    house.see("a", UP, ups=7)
    assert said(house.see("a", UP, ups=8)) == [], "the first of three"
    assert said(house.see("a", UP, ups=8)) == []
    assert said(house.see("a", UP, ups=8)) == ["+v4"]


def test_a_flap_breaks_hold_up():
    house = House(service("dns", hold_up=10.0), devices=PATIENT)
    house.see("a", UP, ups=7)
    house.see("a", UP, ups=8, after=9.0)
    assert looks(house.wait(1.0)) == []
    assert looks(house.wait(9.0)) == [("edge1", id_("a"))]
    assert said(house.see("a", UP, ups=8, after=0.0)) == ["+v4"]


def test_a_flap_seen_by_the_look_at_the_end_of_hold_up_breaks_it():
    house = House(service("dns", hold_up=10.0), devices=PATIENT)
    house.see("a", UP, ups=7)
    house.wait(10.0)
    assert said(house.see("a", UP, ups=8, after=0.0, source=Source.SNMP_LOOK)) == []
    house.see("a", UP, ups=8)
    assert said(house.see("a", UP, ups=8, after=10.0)) == ["+v4"]


def test_the_counters_are_kept_through_silence_and_stall():
    house = House(service("dns"))
    house.see("a", UP, ups=7)
    house.take(Stall(30.0), 30.0)
    assert [event.details["flaps"] for event in events(house.see("a", UP, ups=8), "bfd_flap")] == [1]


def test_a_vanished_row_leaves_the_counters():
    house = House(service("dns", "edge1/*"))
    house.see("a", UP, ups=7)
    house.poll(b=UP)
    assert house.engine.snapshot(house.now).sessions[0].state is MISSING
    assert events(house.see("a", UP, ups=8), "bfd_flap") == []


# --- the session's own history, for services that follow it later ---------------------------------------------------


def test_the_run_is_of_polls_of_an_unbroken_up():
    track = Track(session("a"), 0.0, 0.0)
    samples = [(UP, True), (UP, False), (UP, True)]
    for time, (state, counts) in enumerate(samples):
        track.count(Observation(track.session, state), float(time), counts=counts)
    assert track.run == [0.0, 2.0]
    track.count(Observation(track.session, ADMIN_DOWN), 3.0, counts=True)
    assert (track.run, track.bad) == ([], 0)


def test_of_a_long_run_only_the_beginning_is_kept():
    track = Track(session("a"), 0.0, 0.0)
    for time in range(3 * RUN_KEPT):
        track.count(Observation(track.session, UP), float(time), counts=True)
    assert track.run == [float(time) for time in range(RUN_KEPT)]


@pytest.mark.parametrize(
    ("states", "bad"),
    [
        ([DOWN, INIT, MISSING], 3),
        ([DOWN, UP], 0),
        ([DOWN, ADMIN_DOWN], 0),
        ([DOWN, UP, DOWN], 1),
    ],
)
def test_bad_polls_in_a_row(states, bad):
    track = Track(session("a"), 0.0, 0.0)
    for time, state in enumerate(states):
        track.count(Observation(track.session, state), float(time), counts=True)
    assert track.bad == bad
