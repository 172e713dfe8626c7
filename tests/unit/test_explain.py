"""`why SERVICE`: what decided, in plain words, each layer, each session and each route with what it waits for."""

import pytest
from lab.house import (
    ADMIN_DOWN,
    DOWN,
    INIT,
    N1,
    UP,
    V4,
    V6,
    WALL,
    House,
    events,
    looks,
    service,
)

from exabgp_bfd.core.model import (
    Action,
    Advertised,
    Answer,
    Believed,
    Change,
    Device,
    Guard,
    Outcome,
    Reading,
    Restored,
    Route,
    Rung,
    Span,
    Watchdog,
    Window,
)

PATIENT = (Device("edge1", stale_after=1000.0),)


def live(*services, states=None, **more):
    house = House(*(services or (service("dns"),)), devices=more.pop("devices", PATIENT), **more)
    house.poll(**(states or {"a": UP}))
    return house


def night(action):
    return Window("night", Span(WALL + 10, WALL + 1000), services=("dns",), action=Action(action), reason="cable")


def ordered(action, **rules):
    house = live(service("dns", **rules))
    house.order(action, ttl=600)
    return house


def drained():
    house = ordered("drain")
    house.poll(a=UP, after=60.0)
    return house


def returning():
    house = drained()
    house.clear()
    house.wait(20.0)
    return house


def disabled():
    house = live(service("dns", disable_file="/run/dns.down"))
    house.disable(True)
    return house


def in_a_window(action):
    house = live(windows=(night(action),))
    house.wait(10.0)
    return house


def fallen(**rules):
    house = live(service("dns", **rules))
    house.poll(a=DOWN)
    return house


def adopted():
    return House(service("dns"), restored=Restored(9, (Believed("dns", Route(V4), 4),), rib_kept=True, wall=WALL))


def unsure():
    return House(service("dns"), restored=Restored(9, (), rib_kept=True, wall=WALL))


def held_back():
    house = live(
        service("ntp", "edge1/a", prefixes=(V6,)),
        service("dns", "edge1/b"),
        guard=Guard(max_withdrawn=1),
        states={"a": UP, "b": UP},
    )
    house.poll(a=DOWN, b=DOWN)
    return house


def on_a_step():
    house = live(service("dns", require=2, steps=(Rung(1, Change(med=200)),)), states={"a": UP, "b": UP})
    house.poll(a=UP, b=DOWN)
    return house


ALONE = "its sessions alone would have it announced: 1 of 1 sessions up, 1 needed"
# The house; whether it is announced; the layer that decides; the answer; what led there.
LAYERS = {
    "health, up": (
        live,
        True,
        "health",
        "dns is announced: 1 of 1 sessions up, 1 needed",
        ["decided by health: 1 of 1 sessions up, 1 needed"],
    ),
    "health, down": (
        fallen,
        False,
        "health",
        "dns is withdrawn: 0 of 1 sessions up, 1 needed",
        ["decided by health: 0 of 1 sessions up, 1 needed"],
    ),
    "never earned": (
        lambda: House(service("dns")),
        False,
        "health",
        "dns is withdrawn: 0 of 1 sessions up, 1 undecided, 1 needed",
        [
            "decided by health: 0 of 1 sessions up, 1 undecided, 1 needed",
            "it was never announced by us: it has to earn its route first",
        ],
    ),
    "a step": (
        on_a_step,
        True,
        "health",
        "dns is announced: 1 of 2 sessions up, 2 needed; step of 1",
        ["decided by health: 1 of 2 sessions up, 2 needed; step of 1"],
    ),
    "on_down": (
        lambda: fallen(on_down=Change(med=9)),
        True,
        "health",
        "dns is announced: 0 of 1 sessions up, 1 needed; on_down",
        ["decided by health: 0 of 1 sessions up, 1 needed; on_down"],
    ),
    "all": (
        lambda: live(service("dns", require="all"), states={"a": UP, "b": UP}),
        True,
        "health",
        "dns is announced: 2 of 2 sessions up, all needed",
        ["decided by health: 2 of 2 sessions up, all needed"],
    ),
    "an override": (
        lambda: ordered("withdraw"),
        False,
        "override",
        "dns is withdrawn: withdraw by ann: works; its sessions alone: 1 of 1 sessions up, 1 needed",
        ["decided by override: withdraw by ann: works", ALONE],
    ),
    "an override, against a failure": (
        lambda: (house := fallen(), house.order("announce"))[0],
        True,
        "override",
        "dns is announced: announce by ann: works; its sessions alone: 0 of 1 sessions up, 1 needed",
        [
            "decided by override: announce by ann: works",
            "its sessions alone would have it withdrawn: 0 of 1 sessions up, 1 needed",
        ],
    ),
    "frozen": (
        lambda: ordered("freeze"),
        True,
        "override",
        "dns is announced: freeze by ann: works; its sessions alone: 1 of 1 sessions up, 1 needed",
        ["decided by override: freeze by ann: works", ALONE],
    ),
    "draining": (
        lambda: ordered("drain"),
        True,
        "override",
        "dns is announced: drain by ann: works; its sessions alone: 1 of 1 sessions up, 1 needed",
        ["decided by override: drain by ann: works", ALONE, "draining: withdrawn in 60 s"],
    ),
    "drained": (
        drained,
        False,
        "override",
        "dns is withdrawn: drain by ann: works (drained); its sessions alone: 1 of 1 sessions up, 1 needed",
        ["decided by override: drain by ann: works (drained; 1 of 1 sessions up, 1 needed)", ALONE],
    ),
    "coming back": (
        returning,
        True,
        "health",
        "dns is announced: back from a drain, with GRACEFUL_SHUTDOWN still (1 of 1 sessions up, 1 needed)",
        [
            "decided by health: back from a drain (1 of 1 sessions up, 1 needed)",
            "coming back: without GRACEFUL_SHUTDOWN in 40 s",
        ],
    ),
    "a disable file": (
        disabled,
        False,
        "disable_file",
        "dns is withdrawn: /run/dns.down exists; its sessions alone: 1 of 1 sessions up, 1 needed",
        ["decided by disable_file: /run/dns.down exists", ALONE],
    ),
    "a window": (
        lambda: in_a_window("withdraw"),
        False,
        "window",
        "dns is withdrawn: withdraw by window night: cable; its sessions alone: 1 of 1 sessions up, 1 needed",
        ["decided by window: withdraw by window night: cable", ALONE],
    ),
    "the guard": (
        held_back,
        True,
        "guard",
        "dns is announced: the guard's limit holds it back; its sessions alone: 0 of 1 sessions up, 1 needed",
        [
            "decided by guard: 0 of 1 sessions up, 1 needed",
            "the guard's limit holds the withdraw back: lift it, or order `withdraw`",
        ],
    ),
    "adopted": (
        adopted,
        True,
        "start",
        "dns is announced: it was when we started, and nothing seen since speaks against it "
        "(0 of 1 sessions up, 1 undecided, 1 needed)",
        [
            "decided by start: it was announced when we started, and nothing seen since speaks against it "
            "(0 of 1 sessions up, 1 undecided, 1 needed)"
        ],
    ),
    "not known at our start": (
        unsure,
        False,
        "start",
        "dns is withdrawn: 0 of 1 sessions up, 1 undecided, 1 needed",
        [
            "decided by start: nothing is known of its sessions yet (0 of 1 sessions up, 1 undecided, 1 needed)",
            "it was never announced by us: it has to earn its route first",
        ],
    ),
}


@pytest.mark.parametrize(("build", "announced", "layer", "answer", "because"), LAYERS.values(), ids=LAYERS)
def test_each_layer_in_words(build, announced, layer, answer, because):
    house = build()
    told = house.explain()
    assert (told.service, told.announced, told.answer) == ("dns", announced, answer)
    assert list(told.because) == because
    assert house.service().layer == layer
    assert told.answer == f"dns is {house.service().why}"


@pytest.mark.parametrize("build", [case[0] for case in LAYERS.values()], ids=LAYERS)
def test_asking_why_changes_nothing(build):
    house, other = build(), build()
    for _ in range(15):
        told = house.explain()
        assert house.explain() == told
        assert house.wait(10.0) == other.wait(10.0)
        assert house.engine.snapshot(house.now) == other.engine.snapshot(other.now)
        house.engine.explain("dns", house.now + 10.0)
    assert house.poll(a=UP, b=UP) == other.poll(a=UP, b=UP)


def test_a_service_that_is_not_has_no_explanation():
    assert live().explain("web") is None


def test_the_event_of_an_explanation_is_that_of_its_last_decision():
    house = live(service("dns", prefixes=(V4, V6)))
    first, second = events(house.all, "route_announce")
    assert house.explain().event == second.id
    assert house.explain().event > first.id
    assert live(service("dns", require=3)).explain().event is None


@pytest.mark.parametrize(("after", "left"), [(0.0, "60 s"), (0.4, "60 s"), (30.0, "30 s"), (59.9, "0 s")])
def test_a_drain_says_how_long_still(after, left):
    house = ordered("drain")
    house.wait(after)
    assert house.explain().because[-1] == f"draining: withdrawn in {left}"


# --- sessions -------------------------------------------------------------------------------------------------------


def why(house, **more):
    return list(house.explain(**more).sessions)


def test_of_a_session_that_is_what_it_was_seen_as():
    assert why(live()) == ["edge1/a counts as up: seen up"]
    assert why(fallen()) == ["edge1/a counts as down: seen down"]
    house = live()
    house.poll(a=INIT)
    assert why(house) == ["edge1/a counts as down: seen init"]


def test_of_a_selector_that_matches_nothing():
    house = House(service("dns", "edge1/ghost"))
    assert why(house) == ["edge1/ghost counts as undecided: nothing is known of it yet"]
    house.poll(a=UP)
    assert why(house) == [
        "edge1/ghost counts as undecided: missing, not yet counted: 1 of 1 bad samples, being looked at again"
    ]
    house.poll(a=UP)
    assert why(house) == ["edge1/ghost counts as down: no session matches this selector"]


def test_of_a_session_that_rises():
    house = House(service("dns", rise=3, hold_up=10.0), devices=PATIENT)
    told = []
    for after in (1.0, 1.0, 1.0, 2.5):
        house.poll(a=UP, after=after)
        told += why(house)
    prefix = "edge1/a counts as undecided: recovering: "
    assert told == [
        prefix + "1 of 3 good samples",
        prefix + "2 of 3 good samples",
        prefix + "3 of 3 good samples, hold_up of 10 s, 10.0 s left",
        prefix + "3 of 3 good samples, hold_up of 10 s, 7.5 s left",
    ]
    assert house.leg("a").why == "recovering: 3 of 3 good samples, hold_up of 10 s"
    house.wait(100.0)
    assert why(house) == [prefix + "3 of 3 good samples, hold_up of 10 s, 0.0 s left"]
    assert "edge1/a is recovering (rise, then hold_up)" in house.explain().answer


def test_of_a_session_that_is_looked_at_again():
    house = live(service("dns", confirm=True))
    assert looks(house.poll(a=DOWN)) != []
    assert why(house) == ["edge1/a counts as up: down, not yet counted: 1 of 1 bad samples, being looked at again"]


def test_of_a_session_that_falls():
    house = live(service("dns", fall=3, confirm=True))
    house.poll(a=DOWN)
    house.look(a=DOWN)
    assert why(house) == ["edge1/a counts as up: down, not yet counted: 1 of 3 bad samples"]
    house.poll(a=INIT)
    assert why(house) == ["edge1/a counts as up: init, not yet counted: 2 of 3 bad samples"]


@pytest.mark.parametrize(
    ("first", "words"), [(UP, "up: admin_down says nothing of the path (hold): up, as before"),
                         (DOWN, "down: admin_down says nothing of the path (hold): down, as before"),
                         (None, "undecided: admin_down says nothing of the path (hold): undecided, as before")]
)  # fmt: skip
def test_of_a_state_that_says_nothing(first, words):
    house = House(service("dns"))
    if first:
        house.poll(a=first)
    house.poll(a=ADMIN_DOWN)
    assert why(house) == [f"edge1/a counts as {words}"]


@pytest.mark.parametrize(("reading", "counts"), [(Reading.DOWN, "down"), (Reading.UP, "up")])
@pytest.mark.parametrize("state", ["admin_down", "missing", "unknown"])
def test_of_a_state_that_a_rule_reads(state, reading, counts):
    house = House(service("dns", "edge1/a", **{f"on_{state}": reading}))
    house.poll(a=DOWN if reading is Reading.UP else UP, b=UP)
    for _ in range(2):
        if state == "unknown":
            house.wait(10.0)
        else:
            house.poll(**({"a": ADMIN_DOWN} if state == "admin_down" else {}), b=UP)
    assert why(house) == [f"edge1/a counts as {counts}: on_{state} = {reading}"]


@pytest.mark.parametrize("reading", [Reading.HOLD, Reading.DOWN])
def test_of_a_session_under_maintenance(reading):
    window = Window("night", Span(WALL + 10, WALL + 1000), devices=("edge1",), reading=reading)
    house = live(windows=(window,))
    house.wait(10.0)
    counts = {"hold": "up", "down": "down"}[reading]
    assert why(house) == [f"edge1/a counts as {counts}: maintenance window night: {reading}"]
    assert house.leg("a").why == f"maintenance window night: {reading}"


def test_of_a_session_that_is_up_and_whose_maintenance_is_over():
    window = Window("night", Span(WALL + 10, WALL + 20), devices=("edge1",), reading=Reading.DOWN)
    house = live(windows=(window,))
    house.poll(a=UP, after=9.5)
    house.wait(11.0)
    (line,) = why(house)
    assert line.startswith("edge1/a counts as down: ")
    assert line != "edge1/a counts as down: seen up", "that explains nothing"


# --- routes ---------------------------------------------------------------------------------------------------------


def test_of_a_route():
    house = House(service("dns", prefixes=(V4, V6)))
    silent = ["192.0.2.53/32 is withdrawn; nothing was ever said of it"]
    assert list(house.explain().routes)[:1] == silent
    house.poll(a=UP)
    first, second = events(house.all, "route_announce")
    assert house.explain().routes[0] == "192.0.2.53/32 is announced; ExaBGP has not answered yet"
    house.take(Answer(first.id, Outcome.DONE))
    house.take(Answer(second.id, Outcome.ERROR, "no"))
    house.take(Advertised(N1, V4, announced=True))
    assert list(house.explain().routes) == [
        f"192.0.2.53/32 is announced; ExaBGP took it; seen going to {N1}",
        "2001:db8::53/128 is announced; ExaBGP refused it",
    ]


def test_of_a_watchdog():
    house = House(service("dns", targets=(Watchdog("dns"),)))
    assert list(house.explain().routes) == ["watchdog dns is withdrawn; ExaBGP has not answered yet"]
