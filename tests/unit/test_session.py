"""What one service makes of one session: the specification of rise, fall, hold-up and confirmation, as tables.

A line of a table is `time kind state -> step [verdict]`.
Kinds: `poll` (a sample in its turn), `look` (one asked for out of turn), `clock` (no sample: the deadline of a
confirming look is tried).
Steps: `nothing`, `confirm` (look again at once), `hold` (hold-up begins), `decided up` and `decided down`.
"""

import copy
import itertools
from dataclasses import replace
from ipaddress import ip_network

import pytest
from lab.house import WALL, House, events, service

from exabgp_bfd.core.model import Device, Diagnostic, Reading, Route, Service, Silence, Span, State, Window
from exabgp_bfd.core.policy import ServiceTrack
from exabgp_bfd.core.session import PATH, Leg, Step, transition

VERDICTS = {"up": True, "down": False, "undecided": None}
DEFAULTS = Service("dns", (Route(ip_network("192.0.2.53/32")),), ())
FAST_UP = {"rise": 1, "hold_up": 0.0}


def leg_of(rules: dict, verdict: str) -> Leg:
    return Leg(ServiceTrack(replace(DEFAULTS, **rules), []), None, "edge1/198.51.100.1", VERDICTS[verdict])


def step(leg: Leg, time: float, kind: str, state: str) -> Step:
    if kind == "clock":
        return leg.expire(time)
    return leg.sample(State(state), time, counts=kind == "poll")


def play(leg: Leg, table: str) -> None:
    """Plays a table and holds every line's step and verdict against the leg."""
    for line in filter(None, map(str.strip, table.splitlines())):
        asked, _, expected = line.partition("->")
        time, kind, *state = asked.split()
        name, *verdict = expected.split()
        before = leg.verdict
        got = step(leg, float(time), kind, state[0] if state else "")
        assert got is Step[name.upper()], f"{line!r}: the step was {got}"
        wanted = VERDICTS[verdict[0]] if verdict else before
        assert leg.verdict is wanted, f"{line!r}: the verdict was {leg.verdict}"


DOWN_IS_FAST = {
    "the first bad sample is looked at again, and a bad look decides": (
        {},
        """
        0.0  poll down -> confirm
        0.02 look down -> decided down
        """,
    ),
    "a look that says up forgives": (
        {},
        """
        0.0  poll down -> confirm
        0.02 look up   -> nothing
        0.5  clock     -> nothing
        1.0  poll down -> confirm
        """,
    ),
    "a look without an answer lets the bad sample stand after confirm_timeout, not before": (
        {"confirm_timeout": 0.5},
        """
        0.0   poll down -> confirm
        0.499 clock     -> nothing
        0.5   clock     -> decided down
        0.6   clock     -> nothing
        """,
    ),
    "the next poll confirms as well as a look does": (
        {},
        """
        0.0 poll down -> confirm
        0.3 poll down -> decided down
        """,
    ),
    "any two bad states confirm each other": (
        {},
        """
        0.0  poll failing -> confirm
        0.02 look init    -> decided down
        """,
    ),
    "only up refutes a bad sample: a look that reads as hold does not": (
        {},
        """
        0.0  poll down       -> confirm
        0.02 look admin_down -> nothing
        0.5  clock           -> decided down
        """,
    ),
    "without confirm the first bad sample decides": (
        {"confirm": False},
        """
        0.0 poll down -> decided down
        1.0 poll down -> nothing
        """,
    ),
    "fall counts bad samples in a row, without confirm": (
        {"confirm": False, "fall": 3},
        """
        0.0 poll down -> nothing
        1.0 poll down -> nothing
        2.0 poll up   -> nothing
        3.0 poll down -> nothing
        4.0 poll init -> nothing
        5.0 poll down -> decided down
        """,
    ),
    "fall above one: the look is none of the samples, and no deadline stands in for one": (
        {"fall": 3},
        """
        0.0  poll down -> confirm
        0.02 look down -> nothing
        9.0  clock     -> nothing
        10.0 poll down -> nothing
        10.1 look down -> nothing
        11.0 poll down -> decided down
        """,
    ),
    "fall of two, its look unanswered: nothing is decided until a second bad sample": (
        {"fall": 2},
        """
        0.0 poll down -> confirm
        9.0 clock     -> nothing
        9.5 poll down -> decided down
        """,
    ),
    "silence between two bad samples neither adds nor forgives": (
        {"fall": 2},
        """
        0.0  poll down    -> confirm
        10.0 poll unknown -> nothing
        20.0 poll down    -> decided down
        """,
    ),
}


@pytest.mark.parametrize(("rules", "table"), DOWN_IS_FAST.values(), ids=DOWN_IS_FAST)
@pytest.mark.parametrize("before", ["up", "undecided"])
def test_down_is_fast(rules, table, before):
    play(leg_of(rules, before), table)


MISSING_IS_LOOKED_AT_TWICE = {
    "with confirm": (
        {"confirm": True},
        """
        0.0  poll missing -> confirm
        0.02 look missing -> decided down
        """,
    ),
    "without confirm just so": (
        {"confirm": False},
        """
        0.0  poll missing -> confirm
        0.02 look missing -> decided down
        """,
    ),
    "time alone never stands in for the second look": (
        {"confirm": True},
        """
        0.0  poll missing -> confirm
        60.0 clock        -> nothing
        61.0 poll missing -> decided down
        """,
    ),
    "a row that came back was not gone": (
        {"confirm": False},
        """
        0.0  poll missing -> confirm
        0.02 look up      -> nothing
        1.0  poll missing -> confirm
        """,
    ),
    "fall holds for it too": (
        {"confirm": False, "fall": 3},
        """
        0.0  poll missing -> confirm
        0.02 look missing -> nothing
        1.0  poll missing -> nothing
        2.0  poll missing -> decided down
        """,
    ),
    "a bad state seen before confirms it": (
        {"confirm": True},
        """
        0.0  poll down    -> confirm
        0.02 look missing -> decided down
        """,
    ),
}


@pytest.mark.parametrize(("rules", "table"), MISSING_IS_LOOKED_AT_TWICE.values(), ids=MISSING_IS_LOOKED_AT_TWICE)
@pytest.mark.parametrize("before", ["up", "undecided"])
def test_a_vanished_row_needs_a_second_look_whatever_confirm_says(rules, table, before):
    play(leg_of(rules, before), table)


UP_IS_CAREFUL = {
    "rise polls, then hold_up, then a sample": (
        {"rise": 3, "hold_up": 10.0},
        """
        0.0  poll up -> nothing
        1.0  poll up -> nothing
        2.0  poll up -> hold
        11.9 poll up -> nothing
        12.0 poll up -> decided up
        13.0 poll up -> nothing
        """,
    ),
    "the clock never decides up: a sample at the end of hold_up, or after it, does": (
        {"rise": 1, "hold_up": 10.0},
        """
        0.0  poll up -> hold
        10.0 clock   -> nothing
        50.0 clock   -> nothing
        51.0 poll up -> decided up
        """,
    ),
    "the sample that ends hold_up may be a look": (
        {"rise": 1, "hold_up": 10.0},
        """
        0.0  poll up -> hold
        9.99 look up -> nothing
        10.0 look up -> decided up
        """,
    ),
    "looks do not count towards rise": (
        {"rise": 2, "hold_up": 0.0},
        """
        0.0 look up -> nothing
        0.1 look up -> nothing
        0.2 poll up -> nothing
        0.3 look up -> nothing
        0.4 poll up -> decided up
        """,
    ),
    "without hold_up the last of rise decides": (
        {"rise": 2, "hold_up": 0.0},
        """
        0.0 poll up -> nothing
        1.0 poll up -> decided up
        """,
    ),
    "hold_up begins when rise is met, not with the first up": (
        {"rise": 2, "hold_up": 5.0},
        """
        0.0 poll up -> nothing
        4.0 poll up -> hold
        5.0 poll up -> nothing
        9.0 poll up -> decided up
        """,
    ),
}


@pytest.mark.parametrize(("rules", "table"), UP_IS_CAREFUL.values(), ids=UP_IS_CAREFUL)
@pytest.mark.parametrize("before", ["down", "undecided"])
def test_up_is_careful(rules, table, before):
    play(leg_of(rules, before), table)


@pytest.mark.parametrize("breaker", [state for state in State if state is not State.UP])
def test_a_sample_that_is_not_up_breaks_rise_and_hold_up(breaker):
    table = f"""
        0.0  poll up -> nothing
        1.0  poll {breaker} -> nothing
        2.0  poll up -> nothing
        3.0  poll up -> hold
        7.0  look {breaker} -> nothing
        8.0  poll up -> nothing
        9.0  poll up -> hold
        18.9 poll up -> nothing
        19.0 poll up -> decided up
    """
    play(leg_of({"rise": 2, "hold_up": 10.0}, "down"), table)


@pytest.mark.parametrize("state", ["down", "init", "failing"])
def test_what_is_not_up_is_down(state):
    play(leg_of({"confirm": False}, "up"), f"0.0 poll {state} -> decided down")
    assert PATH[State(state)] is False


# What a state of doubtful meaning does, by how the service reads it: (state, setting), reading, verdict before, table.
READINGS = [
    ("admin_down", "on_admin_down", Reading.HOLD, "up", "0 poll admin_down -> nothing"),
    ("admin_down", "on_admin_down", Reading.HOLD, "down", "0 poll admin_down -> nothing"),
    ("admin_down", "on_admin_down", Reading.HOLD, "undecided", "0 poll admin_down -> nothing"),
    ("admin_down", "on_admin_down", Reading.DOWN, "up", "0 poll admin_down -> decided down"),
    ("admin_down", "on_admin_down", Reading.UP, "down", "0 poll admin_down -> decided up"),
    ("unknown", "on_unknown", Reading.HOLD, "up", "0 poll unknown -> nothing"),
    ("unknown", "on_unknown", Reading.HOLD, "down", "0 poll unknown -> nothing"),
    ("unknown", "on_unknown", Reading.HOLD, "undecided", "0 poll unknown -> nothing"),
    ("unknown", "on_unknown", Reading.DOWN, "up", "0 poll unknown -> decided down"),
    ("unknown", "on_unknown", Reading.DOWN, "down", "0 poll unknown -> nothing"),
    ("unknown", "on_unknown", Reading.DOWN, "undecided", "0 poll unknown -> decided down"),
    ("unknown", "on_unknown", Reading.UP, "down", "0 poll unknown -> decided up"),
    ("unknown", "on_unknown", Reading.UP, "up", "0 poll unknown -> nothing"),
    ("missing", "on_missing", Reading.HOLD, "up", "0 poll missing -> nothing \n 1 poll missing -> nothing"),
    ("missing", "on_missing", Reading.UP, "up", "0 poll missing -> nothing \n 1 poll missing -> nothing"),
    ("missing", "on_missing", Reading.DOWN, "up", "0 poll missing -> confirm \n 1 poll missing -> decided down"),
]


@pytest.mark.parametrize(("state", "setting", "reading", "before", "table"), READINGS)
def test_each_service_reads_doubtful_states_its_own_way(state, setting, reading, before, table):
    leg = leg_of({setting: reading, "confirm": False, **FAST_UP}, before)
    assert leg.read(State(state)) is reading
    play(leg, table)


def test_defaults_read_only_a_vanished_row_as_down():
    leg = leg_of({}, "undecided")
    assert {state: leg.read(state) for state in (State.ADMIN_DOWN, State.MISSING, State.UNKNOWN)} == {
        State.ADMIN_DOWN: Reading.HOLD,
        State.MISSING: Reading.DOWN,
        State.UNKNOWN: Reading.HOLD,
    }


def test_admin_down_read_as_down_is_confirmed_like_any_bad_sample():
    play(
        leg_of({"on_admin_down": Reading.DOWN}, "up"),
        """
        0.0  poll admin_down -> confirm
        0.02 look admin_down -> decided down
        """,
    )


def test_admin_down_read_as_up_earns_it_as_up_does():
    play(
        leg_of({"on_admin_down": Reading.UP, "rise": 2, "hold_up": 5.0}, "down"),
        """
        0.0 poll admin_down -> nothing
        1.0 poll up         -> hold
        6.0 poll admin_down -> decided up
        """,
    )


def test_unknown_read_as_down_is_not_counted_for_no_other_sample_will_come():
    play(leg_of({"on_unknown": Reading.DOWN, "fall": 5}, "up"), "0 poll unknown -> decided down")


SEEN = [
    ("up", State.DOWN, "bfd_failure"),
    ("up", State.INIT, "bfd_failure"),
    ("up", State.FAILING, "bfd_failure"),
    ("up", State.MISSING, "bfd_failure"),
    ("down", State.UP, "bfd_recovery"),
    ("up", State.UP, None),
    ("down", State.DOWN, None),
    ("up", State.ADMIN_DOWN, None),
    ("up", State.UNKNOWN, None),
    ("down", State.UNKNOWN, None),
    ("undecided", State.UP, None),
    ("undecided", State.DOWN, None),
]


@pytest.mark.parametrize(("was", "state", "event"), SEEN)
def test_a_transition_is_named_only_where_the_path_was_known_and_changed(was, state, event):
    assert transition(VERDICTS[was], state) == event


def fields_of(leg: Leg) -> tuple:
    return leg.verdict, leg.good, leg.bad, leg.hold_until, leg.confirm_until


@pytest.mark.parametrize("reading", Reading)
@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize("before", VERDICTS)
def test_settled_means_that_the_same_state_again_changes_nothing(reading, confirm, before):
    """The engine skips the samples of a settled session: a wrong True here would lose a decision."""
    rules = {"rise": 2, "hold_up": 3.0, "confirm": confirm, "on_admin_down": reading, "on_missing": reading}
    states = [State.UP, State.DOWN, State.ADMIN_DOWN, State.MISSING]
    settled = 0
    for walk in itertools.product(states, repeat=4):
        leg = leg_of(rules, before)
        for time, state in enumerate(walk):
            leg.sample(state, float(time), counts=True)
        if not leg.settled(walk[-1]):
            continue
        settled += 1
        again = copy.copy(leg)
        for time in (4.0, 5.0, 60.0):
            assert again.sample(walk[-1], time, counts=True) is Step.NOTHING
        assert fields_of(again) == fields_of(leg), walk
    assert settled > 0


# --- maintenance windows --------------------------------------------------------------------------------------------

NIGHT = {reading: Window("night", Span(None, None), reading=reading) for reading in (Reading.HOLD, Reading.DOWN)}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("before", VERDICTS)
@pytest.mark.parametrize("reading", NIGHT)
def test_under_maintenance_no_state_says_anything_but_what_the_window_says(state, before, reading):
    leg = leg_of({**FAST_UP, "confirm": False, "on_admin_down": Reading.UP, "on_unknown": Reading.UP}, before)
    expected = False if reading is Reading.DOWN else VERDICTS[before]
    leg.maintain(NIGHT[reading])
    assert leg.verdict is expected
    for time in range(4):
        assert leg.sample(state, float(time), counts=True) is Step.NOTHING
        assert leg.verdict is expected
        assert leg.settled(state)


@pytest.mark.parametrize("reading", NIGHT)
def test_a_new_session_under_maintenance_is_what_the_window_says_with_its_first_sample(reading):
    leg = leg_of({"fall": 5}, "undecided")
    leg.window = NIGHT[reading]
    assert leg.sample(State.UP, 0.0, counts=False) is (Step.DECIDED if reading is Reading.DOWN else Step.NOTHING)
    assert leg.verdict is (False if reading is Reading.DOWN else None)


@pytest.mark.parametrize("reading", [*NIGHT, None])
def test_what_was_counted_before_maintenance_is_forgotten(reading):
    leg = leg_of({"rise": 3, "fall": 1, "confirm_timeout": 0.5}, "up")
    leg.sample(State.DOWN, 0.0, counts=True)
    leg.maintain(NIGHT.get(reading, NIGHT[Reading.HOLD]))
    if reading is None:
        leg.maintain(None)
    assert (leg.good, leg.bad, leg.confirmed, leg.hold_until, leg.confirm_until) == (0, 0, False, None, None)
    assert leg.expire(10.0) is Step.NOTHING


@pytest.mark.parametrize(
    ("before", "step_"), [("up", Step.DECIDED), ("undecided", Step.DECIDED), ("down", Step.NOTHING)]
)
def test_a_window_that_says_down_decides_when_it_opens(before, step_):
    assert leg_of({}, before).maintain(NIGHT[Reading.DOWN]) is step_


def test_after_maintenance_up_is_earned_as_ever():
    leg = leg_of({"rise": 2, "hold_up": 5.0}, "up")
    leg.maintain(NIGHT[Reading.DOWN])
    assert leg.maintain(None) is Step.NOTHING
    play(
        leg,
        """
        0.0 poll up -> nothing
        1.0 poll up -> hold
        6.0 poll up -> decided up
        """,
    )


# --- what is said by the engine of states and diagnostics -----------------------------------------------------------


@pytest.mark.parametrize("diagnostic", Diagnostic)
def test_why_a_session_left_up_is_told_by_its_rfc_5880_name(diagnostic):
    house = House(service("dns"))
    house.see("a", State.UP)
    effects = house.see("a", State.DOWN, diagnostic=diagnostic)
    for kind in ("snmp_poll", "bfd_failure"):
        (event,) = events(effects, kind)
        assert event.details["diagnostic"] == diagnostic.name.lower()
    assert house.engine.snapshot(0.0).sessions[0].diagnostic is diagnostic


DIAGNOSTICS = {
    0: "none",
    1: "control_detection_time_expired",
    2: "echo_function_failed",
    3: "neighbor_signaled_session_down",
    4: "forwarding_plane_reset",
    5: "path_down",
    6: "concatenated_path_down",
    7: "administratively_down",
    8: "reverse_concatenated_path_down",
    9: "misconnectivity_defect",
}


def test_the_diagnostics_are_those_of_rfc_5880_section_4_1_and_the_registry():
    assert {code.value: code.name.lower() for code in Diagnostic} == DIAGNOSTICS


# A session's states one after the other, and the event that the last of them makes beside snmp_poll.
TOLD = {
    "it fails": ("up down", "bfd_failure"),
    "it recovers": ("up down up", "bfd_recovery"),
    "another way of being down is no failure": ("up down init", None),
    "admin_down is no failure": ("up admin_down", None),
    "and coming back from it no recovery": ("up admin_down up", None),
    "down after admin_down is, for it was up": ("up admin_down down", "bfd_failure"),
    "a row that vanishes is": ("up missing", "bfd_failure"),
    "a row that comes back is a recovery": ("up missing up", "bfd_recovery"),
    "the first word is neither": ("up", None),
    "nor is it when it is down": ("down", None),
    "the first up after it is a recovery": ("down up", "bfd_recovery"),
    "what was in admin_down from the start": ("admin_down down", None),
}


@pytest.mark.parametrize(("states", "expected"), TOLD.values(), ids=TOLD)
def test_what_is_told_of_a_change(states, expected):
    house = House(service("dns", "edge1/*"))
    for state in states.split():
        shown = {} if state == "missing" else {"a": State(state)}
        effects = house.poll(**shown, z=State.UP)
    told = [event.event_type for event in events(effects) if event.session == "edge1/a"]
    assert told == ["snmp_poll", *([expected] if expected else [])]


# --- a device that cannot be reached ---------------------------------------------------------------------------------


def reached(*states):
    """Two devices; edge1 has sessions a, b, ... in these states."""
    house = House(service("dns", "edge1/*", "edge2/*"), devices=("edge1", "edge2"))
    house.poll("edge2", z=State.UP)
    house.poll("edge1", after=0.0, **dict(zip("abcdef", states, strict=False)))
    return house


def test_a_device_unreachable_is_one_event_that_explains_all_its_sessions():
    house = reached(State.UP, State.DOWN, State.ADMIN_DOWN)
    for _ in range(9):
        house.poll("edge2", z=State.UP)
    house.take(Silence("edge1", "timeout after 1 retry"))
    (event,) = events(house.poll("edge2", z=State.UP))
    assert (event.event_type, event.device, event.session, event.source) == (
        "device_unreachable",
        "edge1",
        None,
        "timer",
    )
    assert event.details == {
        "reason": "timeout after 1 retry",
        "unheard_seconds": 10.0,
        "state": "unknown",
        "count": 3,
        "sessions": ["edge1/a", "edge1/b", "edge1/c"],
    }
    views = [view for view in house.engine.snapshot(house.now).sessions if view.session.device == "edge1"]
    assert [(view.state, view.event) for view in views] == [(State.UNKNOWN, event.id)] * 3
    assert events(house.wait(300.0), "device_unreachable") == [
        event for event in events(house.all, "device_unreachable") if event.device == "edge2"
    ]


def test_sessions_that_come_back_as_they_were_make_no_events_and_the_others_do():
    house = reached(State.UP, State.DOWN, State.UP)
    house.wait(60.0)
    effects = house.poll("edge1", a=State.UP, b=State.DOWN, c=State.DOWN)
    back = events(effects, "device_reachable")[0]
    assert (back.device, back.source) == ("edge1", "snmp_poll")
    assert back.details == {"silent_seconds": 61.0, "sessions": 3}
    assert house.chain(back.id) == ["device_reachable", "device_unreachable"]
    assert [(event.event_type, event.session) for event in events(effects) if event.session] == [
        ("snmp_poll", "edge1/c"),
        ("bfd_failure", "edge1/c"),
    ]
    views = {view.session.name: view for view in house.engine.snapshot(house.now).sessions}
    assert (views["a"].state, views["a"].event) == (State.UP, back.id)
    assert (views["b"].state, views["b"].event) == (State.DOWN, back.id)


def test_a_device_that_falls_silent_again_is_told_again():
    house = reached(State.UP)
    house.wait(60.0)
    house.poll("edge1", a=State.UP)
    told = [event.device for event in events(house.wait(60.0), "device_unreachable")]
    assert told == ["edge1"]


def test_a_session_that_its_device_no_longer_mentions_is_unknown_by_itself():
    house = reached(State.UP, State.UP)
    out = []
    for _ in range(12):
        out += house.poll("edge1", complete=False, a=State.UP)
    assert [event.event_type for event in events(out) if event.device == "edge1"] == ["snmp_poll"]
    assert house.counts_as("b") == "up"


@pytest.mark.parametrize(("heard_at", "alone"), [(0.001, True), (0.0, False)])
def test_a_device_counts_as_silent_from_the_moment_on_which_its_patience_ends(heard_at, alone):
    """Session b was told with the first answer only; the device itself was heard a little later, or was not."""
    house = reached(State.UP, State.UP)
    if heard_at:
        house.poll("edge1", after=heard_at, complete=False, a=State.UP)
    kinds = [event.event_type for event in events(house.wait(10.0 - heard_at)) if event.device == "edge1"]
    assert kinds == (["snmp_poll"] if alone else ["device_unreachable"])


# --- a session that is forgotten ------------------------------------------------------------------------------------


def counted(house):
    view = house.service()
    return view.up, view.undecided, len(view.legs)


def test_a_session_that_is_forgotten_leaves_the_count_and_only_it():
    before, after = (1, 0, 2), (1, 0, 1)
    house = House(service("dns", "edge1/*"), forget_after=20.0)
    house.poll(a=State.UP, z=State.UP)
    for _ in range(20):
        out = house.poll(z=State.UP)
    assert (counted(house), events(out, "session_forgotten")) == (before, [])
    (event,) = events(house.poll(z=State.UP), "session_forgotten")
    assert (event.session, event.details) == ("edge1/a", {"missing_seconds": 20.0})
    assert counted(house) == after
    assert [view.session.name for view in house.engine.snapshot(house.now).sessions] == ["z"]
    assert house.poll(z=State.DOWN) != []
    assert not house.announced()


@pytest.mark.parametrize("reading", [Reading.HOLD, Reading.UP])
def test_what_somebody_was_told_to_hold_on_to_is_not_forgotten(reading):
    house = House(
        service("dns", "edge1/a", on_missing=reading), service("ntp", "edge1/*", prefixes=()), forget_after=20
    )
    house.poll(a=State.UP, z=State.UP)
    out = []
    for _ in range(60):
        out += house.poll(z=State.UP)
    assert events(out, "session_forgotten") == []
    assert house.announced()


def test_a_session_under_maintenance_is_forgotten_only_after_it():
    window = Window("night", Span(None, WALL + 100.0), devices=("edge1",))
    house = House(service("dns", "edge1/a"), windows=(window,), forget_after=20.0)
    house.poll(a=State.UP, z=State.UP)
    out = []
    for _ in range(90):
        out += house.poll(z=State.UP)
    assert events(out, "session_forgotten") == []
    for _ in range(2000):
        out += house.poll(z=State.UP)
    assert len(events(out, "session_forgotten")) == 1


def test_a_row_that_is_gone_stays_missing_while_its_device_answers():
    house = House(service("dns", "edge1/*", on_unknown=Reading.UP), devices=(Device("edge1", stale_after=10.0),))
    house.poll(a=State.UP, z=State.UP)
    house.poll(z=State.UP)
    for _ in range(60):
        house.poll(complete=False, z=State.UP)
    assert {view.session.name: view.state for view in house.engine.snapshot(house.now).sessions} == {
        "a": State.MISSING,
        "z": State.UP,
    }
    house.wait(10.0)
    assert {view.state for view in house.engine.snapshot(house.now).sessions} == {State.UNKNOWN}


def test_a_session_that_comes_back_in_time_is_not_forgotten():
    house = House(service("dns", "edge1/*"), forget_after=20.0)
    house.poll(a=State.UP, z=State.UP)
    house.poll(z=State.UP)
    house.poll(a=State.UP, z=State.UP)
    out = []
    for _ in range(20):
        out += house.poll(z=State.UP)
    assert events(out, "session_forgotten") == []
    assert len(events(house.poll(z=State.UP), "session_forgotten")) == 1


def test_a_session_of_a_silent_device_is_not_forgotten_before_the_device_said_so_for_long_enough():
    house = House(service("dns", "edge1/*"), forget_after=20.0)
    house.poll(a=State.UP, z=State.UP)
    house.poll(z=State.UP)
    assert events(house.wait(50.0), "session_forgotten") == []
    out = []
    for _ in range(20):
        out += house.poll(z=State.UP)
    assert events(out, "session_forgotten") == []
    assert len(events(house.poll(z=State.UP), "session_forgotten")) == 1
