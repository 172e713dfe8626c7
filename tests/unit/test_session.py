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

from exabgp_bfd.core.model import Reading, Route, Service, State
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
