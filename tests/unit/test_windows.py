"""Maintenance windows: when each is open, and what it makes of devices, sessions and services meanwhile."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from lab.house import (
    ADMIN_DOWN,
    DOWN,
    GSHUT,
    UP,
    V4,
    V6,
    WALL,
    House,
    events,
    id_,
    kinds,
    looks,
    said,
    service,
    session,
)

from exabgp_bfd.core.model import (
    Action,
    Believed,
    Damping,
    Device,
    Observation,
    Poll,
    Reading,
    Restored,
    Route,
    Selector,
    Span,
    Watchdog,
    Weekly,
    Window,
)
from exabgp_bfd.core.windows import next_edge, open_since, open_until

BERLIN = ZoneInfo("Europe/Berlin")
EVER = float("inf")
MONDAY, TUESDAY, SATURDAY, SUNDAY = 0, 1, 5, 6


def utc(text):
    """`2026-03-29 01:30` as seconds since the epoch."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def shown(moment):
    if moment is None or abs(moment) == EVER:
        return moment
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")


def weekly(days, at, hours, zone=UTC):
    hour, minute = map(int, at.split(":"))
    return Window("w", Weekly(frozenset(days), hour, minute, hours * 3600.0, zone))


# --- spans ----------------------------------------------------------------------------------------------------------

# start, end, now -> open until, open since, next edge.
SPANS = [
    (100.0, 200.0, 99.0, None, None, 100.0),
    (100.0, 200.0, 100.0, 200.0, 100.0, 200.0),
    (100.0, 200.0, 199.999, 200.0, 100.0, 200.0),
    (100.0, 200.0, 200.0, None, None, None),
    (100.0, 200.0, 300.0, None, None, None),
    (None, 200.0, 0.0, 200.0, -EVER, 200.0),
    (None, 200.0, 200.0, None, None, None),
    (100.0, None, 99.0, None, None, 100.0),
    (100.0, None, 100.0, EVER, 100.0, None),
    (None, None, 0.0, EVER, -EVER, None),
]


@pytest.mark.parametrize(("start", "end", "now", "until", "since", "edge"), SPANS)
def test_a_span_is_open_from_its_start_and_closed_from_its_end_on(start, end, now, until, since, edge):
    window = Window("w", Span(start, end))
    assert (open_until(window, now), open_since(window, now), next_edge(window, now)) == (until, since, edge)


# --- every week -----------------------------------------------------------------------------------------------------

# 2026-11-16 is a Monday. Days, start, hours, zone; now -> open until, open since, next edge; all in UTC.
WEEKLY = {
    "before": (weekly([MONDAY], "02:00", 2), "2026-11-16 01:59", None, None, "2026-11-16 02:00"),
    "at its start": (weekly([MONDAY], "02:00", 2), "2026-11-16 02:00", "2026-11-16 04:00", "2026-11-16 02:00", None),
    "inside": (weekly([MONDAY], "02:00", 2), "2026-11-16 03:59", "2026-11-16 04:00", "2026-11-16 02:00", None),
    "at its end": (weekly([MONDAY], "02:00", 2), "2026-11-16 04:00", None, None, "2026-11-23 02:00"),
    "the day before": (weekly([MONDAY], "02:00", 2), "2026-11-15 03:00", None, None, "2026-11-16 02:00"),
    "the minutes count": (weekly([MONDAY], "02:30", 1), "2026-11-16 02:29", None, None, "2026-11-16 02:30"),
    "the nearest of several days": (
        weekly([MONDAY, SATURDAY], "02:00", 2),
        "2026-11-17 00:00",
        None,
        None,
        "2026-11-21 02:00",
    ),
    "over midnight, before": (
        weekly([SUNDAY], "23:00", 3),
        "2026-11-22 23:30",
        "2026-11-23 02:00",
        "2026-11-22 23:00",
        None,
    ),
    "over midnight, after": (
        weekly([SUNDAY], "23:00", 3),
        "2026-11-23 01:59",
        "2026-11-23 02:00",
        "2026-11-22 23:00",
        None,
    ),
    "over midnight, the next day is not its day": (
        weekly([SUNDAY], "23:00", 3),
        "2026-11-23 23:30",
        None,
        None,
        "2026-11-29 23:00",
    ),
    "a whole week": (
        weekly([TUESDAY], "12:00", 168),
        "2026-11-23 11:00",
        "2026-11-24 12:00",
        "2026-11-17 12:00",
        None,
    ),
    "a whole week begins anew where it ends": (
        weekly([TUESDAY], "12:00", 168),
        "2026-11-24 12:00",
        "2026-12-01 12:00",
        "2026-11-17 12:00",
        "2026-12-01 12:00",
    ),
    "where one reaches into the next, the later end holds": (
        weekly([MONDAY, TUESDAY], "00:00", 30),
        "2026-11-17 03:00",
        "2026-11-18 06:00",
        "2026-11-16 00:00",
        None,
    ),
    "and the earlier where the next has not begun": (
        weekly([MONDAY, TUESDAY], "00:00", 30),
        "2026-11-16 23:00",
        "2026-11-17 06:00",
        "2026-11-16 00:00",
        None,
    ),
    "two that do not touch are two": (
        weekly([MONDAY, TUESDAY], "00:00", 23),
        "2026-11-17 03:00",
        "2026-11-17 23:00",
        "2026-11-17 00:00",
        None,
    ),
    "in the time of its zone": (
        weekly([MONDAY], "02:00", 2, BERLIN),
        "2026-11-16 01:30",
        "2026-11-16 03:00",
        "2026-11-16 01:00",
        None,
    ),
    "the day is its zone's: Sunday night in UTC is Monday there": (
        weekly([MONDAY], "00:00", 1, BERLIN),
        "2026-11-15 23:30",
        "2026-11-16 00:00",
        "2026-11-15 23:00",
        None,
    ),
    "summer time": (weekly([MONDAY], "02:00", 2, BERLIN), "2026-07-13 00:30", "2026-07-13 02:00", None, None),
    "an hour that summer time skips is taken at the next": (
        weekly([SUNDAY], "02:30", 1, BERLIN),
        "2026-03-29 01:45",
        "2026-03-29 02:30",
        "2026-03-29 01:30",
        None,
    ),
    "it was not open before that hour": (weekly([SUNDAY], "02:30", 1, BERLIN), "2026-03-29 01:29", None, None, None),
    "an hour that winter time repeats is taken once, the first": (
        weekly([SUNDAY], "02:30", 1, BERLIN),
        "2026-10-25 00:45",
        "2026-10-25 01:30",
        "2026-10-25 00:30",
        None,
    ),
    "not the second": (weekly([SUNDAY], "02:30", 1, BERLIN), "2026-10-25 01:30", None, None, "2026-11-01 01:30"),
    "it lasts as long as it says over the change, not until that hour": (
        weekly([SATURDAY], "22:00", 8, BERLIN),
        "2026-03-29 03:59",
        "2026-03-29 05:00",
        "2026-03-28 21:00",
        None,
    ),
    "from before the change to after it is a week less an hour": (
        weekly([SUNDAY], "04:00", 1, BERLIN),
        "2026-03-22 04:00",
        None,
        None,
        "2026-03-29 02:00",
    ),
    "far east": (
        weekly([MONDAY], "06:00", 1, ZoneInfo("Pacific/Kiritimati")),
        "2026-11-15 16:30",
        "2026-11-15 17:00",
        "2026-11-15 16:00",
        None,
    ),
}


@pytest.mark.parametrize(("window", "now", "until", "since", "edge"), WEEKLY.values(), ids=WEEKLY)
def test_a_weekly_window(window, now, until, since, edge):
    moment = utc(now)
    assert shown(open_until(window, moment)) == until
    if until is None or since is not None:
        assert shown(open_since(window, moment)) == since
    following = next_edge(window, moment)
    assert following > moment
    if until is not None:
        assert shown(following) == until
    elif edge is not None:
        assert shown(following) == edge


def test_every_edge_of_a_year_opens_or_closes():
    window = weekly([MONDAY, SUNDAY], "22:30", 4, BERLIN)
    moment, opened = utc("2026-01-01 00:00"), 0
    while moment < utc("2027-01-01 00:00"):
        before = open_until(window, moment - 0.001) is not None
        after = open_until(window, moment) is not None
        if after and not before:
            opened += 1
        moment = next_edge(window, moment)
        assert (open_until(window, moment) is not None) is not (open_until(window, moment - 0.001) is not None)
    assert opened == 2 * 52


# --- services -------------------------------------------------------------------------------------------------------


def window(name="night", begins=100.0, ends=200.0, **what):
    """From `begins` to `ends` by the house's clock."""
    start = None if begins is None else WALL + begins
    return Window(name, Span(start, None if ends is None else WALL + ends), **what)


def over_dns(action="withdraw", **more):
    return window(services=("dns",), action=Action(action), **more)


def live(*windows, spec=None, **more):
    house = House(spec or service("dns"), windows=windows, devices=(Device("edge1", stale_after=1000.0),), **more)
    house.poll(a=UP)
    return house


# While its session is up, or down: what is said when the window opens, and when it closes.
SERVICES = [
    ("withdraw", UP, "-v4", "+v4"),
    ("withdraw", DOWN, "", ""),
    ("announce", UP, "", ""),
    ("announce", DOWN, "+v4", "-v4"),
    ("freeze", UP, "", ""),
    ("freeze", DOWN, "", ""),
    ("drain", UP, "+v4 gshut; -v4", "+v4 gshut"),
    ("drain", DOWN, "", ""),
]


@pytest.mark.parametrize(("action", "health", "opening", "closing"), SERVICES)
def test_a_window_orders_a_service_on_its_moment_and_until_its_moment(action, health, opening, closing):
    house = live(over_dns(action))
    house.poll(a=health)
    assert house.wait(97.999) == []
    opened = house.wait(0.001)
    assert kinds(opened)[0] == "window_opened"
    assert house.engine.snapshot(house.now).windows == ("night",)
    assert (house.service().windows, house.service().layer) == (("night",), "window")
    opened += house.wait(99.999)
    assert "; ".join(said(opened)) == opening
    closed = house.wait(0.001)
    assert kinds(closed)[0] == "window_closed"
    assert "; ".join(said(closed)) == closing
    assert (house.service().windows, house.service().layer) == ((), "health")
    assert house.engine.snapshot(house.now).windows == ()


def test_a_window_is_an_event_and_the_cause_of_what_follows():
    house = live(over_dns(reason="new line card"))
    effects = house.wait(99.0)
    (event,) = events(effects, "window_opened")
    assert (event.source, event.device, event.service) == ("timer", None, None)
    assert event.details == {
        "window": "night",
        "reason": "new line card",
        "action": "withdraw",
        "services": ["dns"],
    }
    (withdraw,) = events(effects, "route_withdraw")
    assert withdraw.details["rule"] == "withdraw by window night: new line card"
    assert house.chain(withdraw.id) == ["route_withdraw", "window_opened"]
    assert house.service().why.startswith("withdrawn: withdraw by window night: new line card; its sessions alone:")
    effects = house.wait(100.0)
    assert house.chain(events(effects, "route_announce")[0].id) == ["route_announce", "window_closed"]


def test_a_window_over_sessions_says_of_which():
    over = window(devices=("edge1",), sessions=(Selector("edge1", "a"),), reading=Reading.DOWN, reason="cable")
    (event,) = events(live(over).wait(99.0), "window_opened")
    assert event.details == {
        "window": "night",
        "reason": "cable",
        "action": "down",
        "devices": ["edge1"],
        "sessions": ["edge1/a"],
    }


def test_a_window_is_for_its_services_only():
    house = House(service("dns"), service("ntp", prefixes=(V6,)), windows=(over_dns(),))
    house.poll(a=UP)
    assert said(house.wait(99.0)) == ["-v4"]
    assert house.service("ntp").windows == ()


STRENGTH = ["announce", "freeze", "drain", "withdraw"]


@pytest.mark.parametrize("strong", STRENGTH)
@pytest.mark.parametrize("weak", STRENGTH)
@pytest.mark.parametrize("first", ["strong", "weak"])
def test_of_several_open_windows_the_most_careful_holds(strong, weak, first):
    if STRENGTH.index(strong) <= STRENGTH.index(weak):
        strong, weak = weak, strong
    windows = [over_dns(strong, name="strong"), over_dns(weak, name="weak")]
    house = live(*(windows if first == "strong" else windows[::-1]))
    house.wait(99.0)
    if strong != weak:
        assert house.service().windows == ("strong", "weak")
    assert house.service().why.split(": ")[1].startswith(f"{strong} by window")


def test_a_window_within_a_window():
    house = live(over_dns("freeze", name="long", begins=100.0, ends=400.0), over_dns(begins=200.0, ends=300.0))
    assert said(house.wait(198.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]
    house.poll(a=UP)
    assert said(house.wait(99.0)) == [], "frozen as it is"
    assert said(house.wait(100.0)) == ["+v4"]


def test_one_closes_as_another_opens():
    house = live(over_dns(name="one"), over_dns(name="two", begins=200.0, ends=300.0))
    house.wait(99.0)
    effects = house.wait(100.0)
    assert said(effects) == []
    assert kinds(effects) == ["window_closed", "window_opened"]
    assert house.service().windows == ("two",)


@pytest.mark.parametrize(
    ("begins", "ends", "open_"), [(None, None, True), (None, 1.0, True), (-5.0, None, True), (-5.0, 0.0, False)]
)
def test_a_window_that_is_open_when_we_begin(begins, ends, open_):
    house = House(service("dns"), windows=(over_dns(begins=begins, ends=ends),))
    assert house.engine.snapshot(0.0).windows == (("night",) if open_ else ())
    assert said(house.poll(a=UP, after=0.5)) == ([] if open_ else ["+v4"])


def test_a_weekly_window_opens_and_closes_every_week():
    """The house begins on Friday 15 January 2027, 08:00 UTC."""
    house = live(Window("night", Weekly(frozenset({4}), 9, 0, 3600.0, UTC), services=("dns",), action=Action.WITHDRAW))
    hour = 3600.0
    assert said(house.wait(hour - 1.001)) == []
    assert said(house.wait(0.001)) == ["-v4"]
    house.poll(a=UP)
    assert said(house.wait(hour - 1.001)) == []
    house.poll(a=UP, after=0.0)
    assert said(house.wait(0.001)) == ["+v4"]
    out = house.wait(7 * 24 * hour - hour - 0.001)
    assert "window_opened" not in kinds(out)
    assert "window_opened" in kinds(house.wait(0.001))


@pytest.mark.parametrize("rib_kept", [True, False])
@pytest.mark.parametrize(
    ("action", "held", "then"),
    [
        ("withdraw", Route(V4), None),
        ("announce", Route(V4, med=5), Route(V4)),
        ("announce", None, Route(V4)),
        ("freeze", Route(V4, med=5), Route(V4, med=5)),
        ("freeze", None, None),
        ("drain", Route(V4, communities=(GSHUT,)), Route(V4, communities=(GSHUT,))),
        ("drain", None, None),
    ],
)
def test_a_window_that_is_open_at_a_restart_holds_from_the_first_word_on(action, held, then, rib_kept):
    believed = () if held is None else (Believed("dns", held, 4),)
    restored = Restored(9, believed, rib_kept=rib_kept, wall=WALL)
    house = House(service("dns"), windows=(over_dns(action, begins=-10.0),), restored=restored)
    assert house.rib == ({} if then is None else {str(V4): then})
    assert len(said(house.started)) <= 1, "nothing is said that is taken back in the same breath"


def test_a_drain_by_a_window_goes_on_over_a_restart():
    held = Believed("dns", Route(V4, communities=(GSHUT,)), 4)
    restored = Restored(9, (held,), rib_kept=True, wall=WALL)
    house = House(service("dns"), windows=(over_dns("drain", begins=-40.0),), restored=restored)
    assert said(house.wait(19.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


@pytest.mark.parametrize("begins", [-3600.0, None])
def test_what_no_drain_has_touched_yet_is_drained_in_full_when_its_window_is_found_open(begins):
    """It opened while we were away: the neighbours have not been told yet."""
    restored = Restored(9, (Believed("dns", Route(V4), 4),), rib_kept=True, wall=WALL)
    house = House(service("dns"), windows=(over_dns("drain", begins=begins),), restored=restored)
    assert house.rib == {str(V4): Route(V4, communities=(GSHUT,))}
    assert said(house.wait(59.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_a_watchdog_obeys_a_window():
    house = live(over_dns(), spec=service("dns", targets=(Watchdog("dns"),)))
    assert said(house.wait(99.0)) == ["-watchdog dns"]
    assert said(house.wait(100.0)) == ["+watchdog dns"]


# --- devices and sessions -------------------------------------------------------------------------------------------

OVER = {
    "a device": {"devices": ("edge1",)},
    "a session": {"sessions": (Selector("edge1", "a"),)},
    "all sessions of a device": {"sessions": (Selector("edge1", "*"),)},
}


@pytest.mark.parametrize("over", OVER.values(), ids=OVER)
def test_maintenance_of_a_path_keeps_what_it_counted_as(over):
    house = live(window(**over))
    house.wait(99.0)
    for _ in range(5):
        assert said(house.poll(a=DOWN)) == []
    assert house.leg("a").why == "maintenance window night: hold"
    assert said(house.wait(95.0)) == [], "closing decides nothing"
    assert said(house.poll(a=DOWN)) == ["-v4"], "what is seen afterwards does"


@pytest.mark.parametrize("over", OVER.values(), ids=OVER)
def test_maintenance_can_count_a_path_as_down(over):
    house = live(window(reading=Reading.DOWN, **over))
    effects = house.wait(99.0)
    assert said(effects) == ["-v4"]
    assert house.chain(events(effects, "route_withdraw")[0].id) == ["route_withdraw", "window_opened"]
    assert said(house.poll(a=UP)) == []
    assert said(house.wait(99.0)) == []
    assert said(house.poll(a=UP)) == ["+v4"]


@pytest.mark.parametrize("reading", [Reading.HOLD, Reading.DOWN])
@pytest.mark.parametrize("seen", [UP, ADMIN_DOWN, DOWN])
def test_while_it_is_down_nothing_comes_up(reading, seen):
    house = House(service("dns", on_admin_down=Reading.UP), windows=(window(devices=("edge1",), reading=reading),))
    house.poll(a=DOWN)
    house.wait(99.0)
    assert said(house.poll(a=seen)) == []


def test_a_window_over_another_path_changes_nothing():
    house = House(
        service("dns", "edge1/*"),
        service("ntp", "edge2/*", prefixes=(V6,)),
        devices=("edge1", "edge2"),
        windows=(window(devices=("edge2",), reading=Reading.DOWN), window("b", sessions=(Selector("edge1", "b"),))),
    )
    house.poll("edge1", a=UP)
    house.poll("edge2", a=UP)
    assert said(house.wait(98.0)) == ["-v6"]
    assert said(house.poll("edge1", a=DOWN)) == ["-v4"]


def test_of_several_windows_over_a_session_down_comes_before_hold():
    for windows in [("down", "hold"), ("hold", "down")]:
        house = live(*(window(name, devices=("edge1",), reading=Reading(name)) for name in windows))
        assert said(house.wait(99.0)) == ["-v4"]


def test_down_that_gives_way_to_hold_stays_down():
    house = live(
        window("down", devices=("edge1",), reading=Reading.DOWN, ends=150.0),
        window("hold", devices=("edge1",)),
    )
    assert said(house.wait(99.0)) == ["-v4"]
    assert said(house.wait(50.0)) == []
    assert house.leg("a").why == "maintenance window hold: hold"
    assert said(house.poll(a=UP)) == []


def test_a_session_that_is_new_under_a_window_counts_as_nothing_or_down():
    for reading, counts in [(Reading.HOLD, "undecided"), (Reading.DOWN, "down")]:
        house = live(window(devices=("edge1",), reading=reading))
        house.wait(99.0)
        house.poll(a=UP, b=UP)
        assert house.counts_as("b") == counts


def test_what_was_being_counted_begins_anew():
    house = House(service("dns", rise=3, hold_up=5.0), windows=(window(devices=("edge1",)),))
    for after in (95.0, 1.0, 1.0):
        house.poll(a=UP, after=after)
    house.wait(3.0)
    for _ in range(9):
        house.poll(a=UP, after=10.0)
    house.wait(10.0)
    assert looks(house.all) == [], "the hold_up of before is broken"
    out = [said(house.poll(a=UP)) for _ in range(7)]
    assert out == [[]] * 7
    assert said(house.poll(a=UP)) == ["+v4"]


def test_a_confirming_look_that_is_under_way_when_a_window_opens_decides_nothing():
    house = live(window(devices=("edge1",)), spec=service("dns", confirm=True, confirm_timeout=5.0))
    assert looks(house.poll(a=DOWN, after=97.0)) == [("edge1", id_("a"))]
    assert said(house.wait(50.0)) == []
    assert house.announced()


def test_maintenance_breaks_sessions_and_that_is_no_flap():
    damping = Damping(cutoff=1500.0, reuse=900.0)
    house = live(window(devices=("edge1",)), spec=service("dns", damping=damping))
    house.wait(99.0)
    for _ in range(5):
        house.poll(a=DOWN)
        house.take(Poll("edge1", (Observation(session("a"), UP, ups=house.now.__trunc__()),)), 1.0)
    assert events(house.all, "bfd_damped") == []
    house.wait(100.0)
    house.poll(a=DOWN)
    assert said(house.poll(a=UP)) == ["+v4"]


def test_a_device_that_is_silent_when_its_window_closes_is_unknown():
    house = House(service("dns", on_unknown=Reading.DOWN), windows=(window(devices=("edge1",)),))
    house.poll(a=UP)
    for _ in range(9):
        house.poll(a=UP, after=10.0)
    assert said(house.wait(108.999)) == [], "silent, but under maintenance"
    effects = house.wait(0.001)
    assert said(effects) == ["-v4"]
    assert house.chain(events(effects, "route_withdraw")[0].id) == ["route_withdraw", "window_closed"]


def test_a_device_that_is_silent_when_its_window_closes_is_held_where_unknown_is():
    house = House(service("dns"), windows=(window(devices=("edge1",)),))
    house.poll(a=UP)
    assert said(house.wait(300.0)) == []


def test_a_closing_window_withdraws_nothing_while_every_device_is_silent():
    house = House(
        service("dns", "edge1/*", on_unknown=Reading.DOWN),
        service("ntp", "edge2/*", prefixes=(V6,), on_unknown=Reading.DOWN),
        devices=("edge1", "edge2"),
        windows=(window(devices=("edge1",)),),
    )
    for _ in range(95):
        house.poll("edge1", a=UP, after=0.5)
        house.poll("edge2", a=UP, after=0.5)
    assert said(house.wait(50.0)) == []
    assert house.guard.blind
    assert said(house.wait(100.0)) == [], "the window has closed, and we are still blind"


def test_a_window_within_which_a_path_died_and_came_back_leaves_no_trace():
    one, two = live(window(devices=("edge1",))), live(window(devices=("edge1",)))
    for house, state in ((one, DOWN), (two, UP)):
        house.wait(99.0)
        house.poll(a=state)
        house.poll(a=UP)
        house.wait(200.0)
    assert one.counts_as("a") == two.counts_as("a") == "up"
    assert said(one.poll(a=UP)) == said(two.poll(a=UP)) == []
