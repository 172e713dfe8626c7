"""Orders: an operator's word, a disable file, and which of them beats what. Drains, and the way back from them."""

import pytest
from lab.house import (
    DOWN,
    GSHUT,
    UP,
    V4,
    V6,
    WALL,
    House,
    events,
    kinds,
    orders,
    override,
    said,
    service,
)

from exabgp_bfd.core.model import (
    Action,
    Believed,
    Change,
    Clear,
    Disabled,
    Guard,
    Lift,
    Order,
    Restored,
    Route,
    Rung,
    Span,
    Watchdog,
    Window,
)

MED = Change(med=200)
PLAIN = Route(V4)


def live(*services, **more):
    """A house whose service is announced, at 1."""
    house = House(*(services or (service("dns"),)), **more)
    house.poll(a=UP)
    return house


def again(*overrides, held=PLAIN, rib_kept=True, spec=None, wall=WALL, start=True, **more):
    """A start after which these overrides still hold."""
    believed = (Believed("dns", held, 4),) if held is not None else ()
    restored = Restored(9, believed, rib_kept=rib_kept, wall=wall, overrides=overrides)
    return House(spec or service("dns"), restored=restored, start=start, **more)


# --- what each action does ------------------------------------------------------------------------------------------

# For a service whose session is up, then down; ordered; then the session changes; then the order is cleared.
ACTIONS = [
    ("announce", "up", "", "", "-v4"),
    ("announce", "down", "+v4", "", ""),
    ("withdraw", "up", "-v4", "", ""),
    ("withdraw", "down", "", "", "+v4"),
    ("freeze", "up", "", "", "-v4"),
    ("freeze", "down", "", "", "+v4"),
    ("drain", "up", "+v4 gshut", "-v4", ""),
    ("drain", "down", "", "", "+v4 gshut"),
]


@pytest.mark.parametrize(("action", "health", "ordered", "changed", "cleared"), ACTIONS)
def test_an_order_beats_health_and_health_comes_back_with_its_end(action, health, ordered, changed, cleared):
    house = live()
    if health == "down":
        house.poll(a=DOWN)
    steps = [house.order(action), house.poll(a=DOWN if health == "up" else UP), house.clear()]
    assert [said(effects) for effects in steps] == [[text] if text else [] for text in (ordered, changed, cleared)]


@pytest.mark.parametrize("action", Action)
def test_an_order_that_agrees_with_what_is_says_nothing(action):
    up, down = live(), House(service("dns"))
    assert said(up.order(action)) == {"withdraw": ["-v4"], "drain": ["+v4 gshut"]}.get(action, [])
    assert said(down.order(action)) == {"announce": ["+v4"]}.get(action, [])


def test_announce_is_as_configured_whatever_the_step():
    house = live(service("dns", require=2, steps=(Rung(1, MED),)))
    assert house.rib == {str(V4): Route(V4, med=200)}
    assert said(house.order("announce")) == ["+v4"]
    assert said(house.clear()) == ["+v4 med 200"]


def test_freeze_keeps_the_step():
    house = live(service("dns", require=2, steps=(Rung(1, MED),)))
    house.order("freeze")
    assert said(house.poll(a=UP, b=UP)) == []
    assert said(house.clear()) == ["+v4"]


def test_announce_needs_no_session_ever_seen():
    house = House(service("dns"))
    assert said(house.order("announce")) == ["+v4"]
    assert said(house.clear()) == ["-v4"]


def test_every_prefix_and_watchdog_obeys():
    house = live(service("dns", targets=(Route(V4), Route(V6), Watchdog("dns"))))
    assert said(house.order("withdraw")) == ["-v4", "-v6", "-watchdog dns"]
    assert said(house.clear()) == ["+v4", "+v6", "+watchdog dns"]


def test_an_order_is_for_its_service_only():
    house = live(service("dns"), service("ntp", prefixes=(V6,)))
    assert said(house.order("withdraw", "ntp")) == ["-v6"]
    assert house.service("dns").override is None


# --- who, why, how long ---------------------------------------------------------------------------------------------


def test_an_order_is_an_event_with_its_actor_reason_and_end_and_the_cause_of_what_follows():
    house = live()
    effects = house.order("withdraw", ttl=600, actor="ann", reason="new line card")
    (event,) = events(effects, "override_set")
    assert (event.service, event.source, event.actor, event.cause) == ("dns", "api", "ann", None)
    assert event.details == {
        "action": "withdraw",
        "reason": "new line card",
        "since": WALL + 1,
        "expires": WALL + 601,
    }
    (withdraw,) = events(effects, "route_withdraw")
    assert house.chain(withdraw.id) == ["route_withdraw", "override_set"]
    assert withdraw.details["rule"] == "withdraw by ann: new line card"


def test_a_view_shows_the_order_and_what_health_alone_would_have():
    house = live()
    house.order("withdraw", ttl=600, reason="new line card")
    view = house.service()
    assert (view.layer, view.announced, view.health) == ("override", False, "full")
    assert view.override == override("withdraw", since=WALL + 1, expires=WALL + 601, reason="new line card")
    assert view.why == "withdrawn: withdraw by ann: new line card; its sessions alone: 1 of 1 sessions up, 1 needed"
    house.clear()
    view = house.service()
    assert (view.layer, view.override) == ("health", None)


def test_a_second_order_takes_the_place_of_the_first():
    house = live()
    house.order("withdraw", ttl=60)
    effects = house.order("freeze")
    assert kinds(effects) == ["override_set"]
    assert orders(effects) == [("dns", override("freeze", since=WALL + 1))]
    assert said(house.wait(100.0)) == [], "the end of the first is no longer looked for"
    assert house.service().override.action is Action.FREEZE


def test_clearing_says_who_and_why_and_what_was():
    house = live()
    house.order("withdraw", ttl=600)
    effects = house.clear(actor="bob", reason="done early")
    (event,) = events(effects, "override_cleared")
    assert (event.service, event.source, event.actor) == ("dns", "api", "bob")
    was = {"action": "withdraw", "reason": "works", "since": WALL + 1, "expires": WALL + 601}
    assert event.details == {"reason": "done early", "was": was}
    assert orders(effects) == [("dns", None)]
    assert house.chain(events(effects, "route_announce")[0].id) == ["route_announce", "override_cleared"]
    assert said(house.wait(1000.0)) == []
    assert events(house.all, "override_expired") == []


def test_an_order_is_remembered_and_forgotten():
    house = live()
    assert orders(house.order("withdraw", ttl=5)) == [("dns", override("withdraw", since=WALL + 1, expires=WALL + 6))]
    assert orders(house.wait(4.999)) == []
    assert orders(house.wait(0.001)) == [("dns", None)]


def test_an_order_ends_by_the_wall_clock_on_its_moment():
    house = live()
    house.order("withdraw", ttl=5)
    house.poll(a=UP, after=4.0)
    assert house.wait(0.999) == []
    effects = house.wait(0.001)
    assert said(effects) == ["+v4"]
    (event,) = events(effects, "override_expired")
    assert (event.service, event.source, event.actor) == ("dns", "timer", "ann")
    assert event.details == {"action": "withdraw", "reason": "works"}
    assert house.chain(events(effects, "route_announce")[0].id) == ["route_announce", "override_expired"]
    assert (house.service().override, house.service().layer) == (None, "health")


def test_an_order_without_an_end_stays():
    house = live()
    house.order("withdraw")
    assert said(house.wait(10_000_000.0)) == []
    assert house.service().override is not None


def test_an_expired_order_leaves_no_trace():
    one, two = live(), live()
    one.order("announce", ttl=5)
    one.wait(5.0)
    two.wait(5.0)
    assert one.engine.snapshot(6.0).services == two.engine.snapshot(6.0).services


# --- orders that cannot be taken ------------------------------------------------------------------------------------

REFUSED = {
    "a service that is not": (
        Order(override("freeze", "web")),
        "service",
        "there is no service 'web'; known: dns, ntp",
    ),
    "an end that is now": (Order(override("freeze", expires=WALL + 1)), "expires", "lies in the past"),
    "an end that was": (Order(override("freeze", expires=WALL)), "expires", "lies in the past"),
    "a lift that is over": (Order(Lift("ann", "all", WALL, WALL + 1)), "expires", "lies in the past"),
    "nothing to clear": (Clear("dns", "bob"), "service", "dns has no override"),
    "nothing to clear of a service that is not": (Clear("web", "bob"), "service", "there is no service 'web'"),
    "no lift to clear": (Clear(None, "bob"), "guard", "its limit is not lifted"),
}


@pytest.mark.parametrize(("order", "place", "text"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_ordered_is_refused_with_its_remedy_and_changes_nothing(order, place, text):
    house = live(service("dns"), service("ntp", prefixes=(V6,)))
    objection = house.engine.objection(order, house.now)
    assert objection.place == place
    assert objection.text.startswith(text)
    effects = house.take(order)
    (event,) = events(effects)
    assert (event.event_type, event.source) == ("order_refused", "api")
    assert event.details == {"reason": str(objection)}
    assert event.actor == ("ann" if isinstance(order, Order) else "bob")
    assert event.service == getattr(getattr(order, "what", order), "service", None)
    assert len(effects) == 1
    assert (house.service().override, house.guard.lift) == (None, None)


@pytest.mark.parametrize(
    "order",
    [
        Order(override("freeze")),
        Order(override("freeze", expires=WALL + 1.001)),
        Order(Lift("ann", "all", WALL)),
        Order(Lift("ann", "all", WALL, WALL + 1.001)),
    ],
)
def test_what_can_be_ordered_meets_no_objection(order):
    house = live()
    assert house.engine.objection(order, house.now) is None
    assert kinds(house.take(order)) == ["override_set"]


def test_what_is_there_can_be_cleared():
    house = live()
    house.order("freeze")
    house.take(Order(Lift("ann", "all", WALL)))
    assert house.engine.objection(Clear("dns", "bob"), house.now) is None
    assert house.engine.objection(Clear(None, "bob"), house.now) is None


# --- over a restart -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "held", "at_start"),
    [
        ("withdraw", Route(V4), ["-v4"]),
        ("withdraw", None, ["-v4"]),
        ("announce", Route(V4), ["+v4"]),
        ("announce", None, ["+v4"]),
        ("freeze", Route(V4, med=200), []),
        ("freeze", None, []),
    ],
)
def test_an_order_holds_over_a_restart_and_is_said_where_exabgp_may_hold_something_else(action, held, at_start):
    house = again(override(action), held=held)
    assert said(house.started) == at_start
    assert said(house.poll(a=DOWN)) == []
    assert said(house.poll(a=UP)) == []
    assert house.service().layer == "override"


@pytest.mark.parametrize(
    ("action", "held", "then"),
    [
        ("withdraw", Route(V4), set()),
        ("withdraw", None, set()),
        ("announce", Route(V4), {Route(V4)}),
        ("announce", None, {Route(V4)}),
        ("freeze", Route(V4, med=200), {Route(V4, med=200)}),
        ("freeze", None, set()),
    ],
)
def test_an_order_holds_over_a_restart_of_exabgp_too(action, held, then):
    house = again(override(action), held=held, rib_kept=False)
    assert set(house.rib.values()) == then
    assert said(house.poll(a=DOWN)) == []
    assert said(house.poll(a=UP)) == []


def test_an_order_that_expired_while_we_were_away_no_longer_holds():
    house = again(override("withdraw", expires=WALL - 1), held=None, rib_kept=False)
    assert kinds(house.started) == ["started", "override_expired"]
    assert orders(house.started) == [("dns", None)]
    assert said(house.poll(a=UP)) == ["+v4"]


def test_an_order_expires_after_a_restart_by_the_wall_clock():
    house = again(override("withdraw", expires=WALL + 5), held=None, rib_kept=False)
    house.poll(a=UP)
    assert said(house.wait(3.999)) == []
    assert said(house.wait(0.001)) == ["+v4"]


def test_an_order_for_a_service_that_left_the_configuration_while_we_were_away_is_forgotten():
    house = again(override("withdraw", "web", expires=WALL + 5))
    (event,) = events(house.started, "override_cleared")
    assert (event.service, event.actor) == ("web", "ann")
    assert event.details["reason"] == "its service is no longer configured"
    assert orders(house.started) == [("web", None)]
    assert said(house.poll(a=DOWN)) == ["-v4"]


def test_the_lifting_of_the_limit_holds_over_a_restart():
    restored = Restored(9, wall=WALL, lift=Lift("ann", "all", WALL - 5, WALL + 5))
    house = House(service("dns"), restored=restored)
    assert house.guard.lift == restored.lift
    house.wait(4.999)
    assert house.guard.lift is not None
    effects = house.wait(0.001)
    assert house.guard.lift is None
    assert orders(effects) == [(None, None)]
    (event,) = events(effects, "override_expired")
    assert (event.service, event.actor, event.details) == (None, "ann", {"reason": "all", "guard": "lift"})


# --- drains ---------------------------------------------------------------------------------------------------------


def drained(house):
    house.order("drain")
    house.poll(a=UP, after=60.0)
    assert not house.announced()
    return house


def test_a_drain_announces_with_graceful_shutdown_for_drain_time_and_then_withdraws():
    house = live(service("dns", drain_time=30.0))
    effects = house.order("drain")
    assert said(effects) == ["+v4 gshut"]
    assert house.chain(events(effects, "route_announce")[0].id) == ["route_announce", "override_set"]
    assert said(house.wait(29.999)) == []
    effects = house.wait(0.001)
    assert said(effects) == ["-v4"]
    assert house.chain(events(effects, "route_withdraw")[0].id)[-1] == "override_set"
    assert said(house.poll(a=UP)) == []


def test_coming_back_from_a_drain_is_as_orderly():
    house = drained(live())
    effects = house.clear()
    assert said(effects) == ["+v4 gshut"]
    assert "back from a drain" in house.service().why
    assert said(house.wait(59.999)) == []
    effects = house.wait(0.001)
    assert said(effects) == ["+v4"]
    assert house.chain(events(effects, "route_announce")[0].id)[-1] == "override_cleared"
    assert house.service().why == "announced: 1 of 1 sessions up, 1 needed"


def test_a_drain_cleared_in_the_middle_comes_back_at_once():
    house = live()
    house.order("drain")
    house.poll(a=UP, after=30.0)
    assert said(house.clear()) == ["+v4"]
    assert said(house.wait(100.0)) == []


def test_a_path_that_dies_during_a_drain_is_withdrawn_at_once_and_stays_so():
    house = live()
    house.order("drain")
    effects = house.poll(a=DOWN)
    assert said(effects) == ["-v4"]
    (event,) = events(effects, "route_withdraw")
    assert "its path is down" in event.details["rule"]
    assert house.chain(event.id) == ["route_withdraw", "bfd_failure", "snmp_poll"]
    assert said(house.poll(a=UP)) == [], "it is still to be drained"
    assert said(house.wait(100.0)) == []


def test_a_drain_without_time_is_a_withdraw():
    house = live(service("dns", drain_time=0.0))
    assert said(house.order("drain")) == ["-v4"]
    assert said(house.clear()) == ["+v4"]


def test_a_short_drain_takes_its_time_both_ways():
    house = live(service("dns", drain_time=0.5))
    assert said(house.order("drain")) == ["+v4 gshut"]
    assert said(house.wait(0.5)) == ["-v4"]
    assert said(house.clear()) == ["+v4 gshut"]
    assert said(house.wait(0.499)) == []
    assert said(house.wait(0.001)) == ["+v4"]


def test_a_drain_of_what_is_withdrawn_announces_nothing():
    house = House(service("dns"))
    assert said(house.order("drain")) == []
    assert said(house.poll(a=UP)) == []
    assert said(house.wait(100.0)) == []


def test_what_recovered_during_a_drain_comes_back_orderly():
    house = live()
    house.poll(a=DOWN)
    house.order("drain")
    house.poll(a=UP)
    assert said(house.clear()) == ["+v4 gshut"]


def test_what_is_down_when_its_drain_is_cleared_comes_back_as_from_any_failure():
    house = drained(live())
    house.poll(a=DOWN)
    assert said(house.clear()) == []
    assert said(house.poll(a=UP)) == ["+v4"]


def test_a_path_that_dies_on_the_way_back_is_withdrawn_and_comes_back_as_from_any_failure():
    house = drained(live())
    house.clear()
    assert said(house.poll(a=DOWN)) == ["-v4"]
    assert said(house.poll(a=UP)) == ["+v4"]
    assert said(house.wait(100.0)) == []


def test_a_drain_on_the_way_back_takes_its_whole_time():
    house = drained(live())
    house.clear()
    house.poll(a=UP, after=50.0)
    assert said(house.order("drain")) == []
    assert said(house.wait(59.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_a_drain_ordered_again_goes_on():
    house = live()
    house.order("drain")
    house.order("drain", after=30.0, reason="still")
    assert said(house.wait(29.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_what_was_ordered_to_be_announced_after_a_drain_is_back_when_that_ends():
    house = drained(live())
    assert said(house.order("announce")) == ["+v4"]
    assert said(house.clear()) == [], "announced in full already: there is nothing to come back from"
    assert said(house.wait(100.0)) == []


def test_a_drain_turned_into_a_withdraw_is_withdrawn_at_once():
    house = live()
    house.order("drain")
    assert said(house.order("withdraw")) == ["-v4"]


def test_a_freeze_in_mid_drain_keeps_it_as_it_is():
    house = live()
    house.order("drain")
    assert said(house.order("freeze")) == []
    assert said(house.wait(100.0)) == []
    house.poll(a=UP)
    assert said(house.clear()) == ["+v4"]


def test_a_drain_keeps_the_step_of_the_ladder():
    house = House(service("dns", targets=(Route(V4, communities=("65000:1",)),), require=2, steps=(Rung(1, MED),)))
    house.poll(a=UP, b=UP)
    assert said(house.order("drain")) == ["+v4 65000:1 gshut"]
    assert said(house.poll(a=UP, b=DOWN)) == ["+v4 med 200 65000:1 gshut"]
    assert said(house.poll(a=DOWN, b=DOWN)) == ["-v4"]


def test_a_watchdog_drains_without_a_word_until_it_is_withdrawn():
    house = live(service("dns", targets=(Watchdog("dns"),), drain_time=30.0))
    assert said(house.order("drain")) == []
    assert said(house.wait(30.0)) == ["-watchdog dns"]


def test_a_route_configured_with_graceful_shutdown_drains_as_it_is():
    house = live(service("dns", targets=(Route(V4, communities=(GSHUT,)),)))
    assert said(house.order("drain")) == []
    assert said(house.wait(60.0)) == ["-v4"]


DRAINING = Route(V4, communities=(GSHUT,))


@pytest.mark.parametrize("rib_kept", [True, False])
def test_a_restart_in_mid_drain_goes_on_with_it(rib_kept):
    house = again(override("drain", since=WALL - 40), held=DRAINING, rib_kept=rib_kept)
    assert house.rib == {str(V4): DRAINING}
    assert said(house.wait(19.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


@pytest.mark.parametrize("rib_kept", [True, False])
def test_a_drain_that_came_to_its_end_while_we_were_away_is_over(rib_kept):
    house = again(override("drain", since=WALL - 60), held=DRAINING, rib_kept=rib_kept)
    assert house.rib == {}
    assert said(house.poll(a=UP)) == []


@pytest.mark.parametrize("rib_kept", [True, False])
def test_a_drain_that_was_over_when_we_stopped_stays_so(rib_kept):
    house = again(override("drain", since=WALL - 1000), held=None, rib_kept=rib_kept)
    assert house.rib == {}
    assert said(house.poll(a=UP)) == []
    assert said(house.clear()) == ["+v4 gshut"]


def test_a_restart_in_mid_drain_with_a_path_that_died_meanwhile():
    house = again(override("drain", since=WALL - 10), held=DRAINING)
    assert said(house.poll(a=DOWN)) == ["-v4"]


def test_an_order_in_the_future_begins_its_drain_now():
    """The wall clock was set back after the order."""
    house = again(override("drain", since=WALL + 1000), held=Route(V4))
    assert house.rib == {str(V4): DRAINING}
    assert said(house.wait(59.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_a_restart_after_a_drain_that_was_cleared_shows_no_graceful_shutdown():
    house = again(held=DRAINING)
    assert house.rib == {str(V4): Route(V4)}
    house = again(held=DRAINING, rib_kept=False)
    assert house.rib == {str(V4): Route(V4)}


# --- the disable file -----------------------------------------------------------------------------------------------

FILE = {"disable_file": "/run/dns.down"}


def test_while_its_file_is_there_a_service_is_withdrawn():
    house = live(service("dns", **FILE))
    effects = house.disable(True)
    assert said(effects) == ["-v4"]
    (event,) = events(effects, "service_disabled")
    assert (event.service, event.source) == ("dns", "self")
    assert event.details == {"file": "/run/dns.down", "action": "withdraw"}
    assert house.chain(events(effects, "route_withdraw")[0].id) == ["route_withdraw", "service_disabled"]
    view = house.service()
    assert (view.layer, view.disabled) == ("disable_file", True)
    assert view.why.startswith("withdrawn: /run/dns.down exists; its sessions alone:")
    assert said(house.poll(a=UP)) == []
    effects = house.disable(False)
    assert said(effects) == ["+v4"]
    assert kinds(effects)[0] == "service_enabled"
    assert (house.service().layer, house.service().disabled) == ("health", False)


def test_a_file_can_drain():
    house = live(service("dns", on_disable=Action.DRAIN, drain_time=30.0, **FILE))
    house.poll(a=UP, after=100.0)
    assert said(house.disable(True)) == ["+v4 gshut"]
    assert said(house.wait(29.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]
    house.poll(a=UP)
    assert said(house.disable(False)) == ["+v4 gshut"]
    assert said(house.wait(30.0)) == ["+v4"]


@pytest.mark.parametrize("present", [True, False])
def test_a_file_told_twice_is_told_once(present):
    house = live(service("dns", **FILE))
    house.disable(True)
    house.disable(present)
    assert house.disable(present) == []


@pytest.mark.parametrize("name", ["dns", "web"])
def test_a_file_that_nobody_asked_for_is_nothing(name):
    house = live()
    assert house.take(Disabled(name, present=True)) == []
    assert house.announced()


@pytest.mark.parametrize("rib_kept", [True, False])
def test_a_file_that_is_there_at_our_start_holds_from_the_first_word_on(rib_kept):
    restored = Restored(9, (Believed("dns", Route(V4), 4),), rib_kept=rib_kept, wall=WALL, disabled=("dns", "web"))
    house = House(service("dns", **FILE), restored=restored)
    assert house.rib == {}
    assert house.service().layer == "disable_file"
    assert said(house.disable(False)) == []
    assert said(house.poll(a=UP)) == ["+v4"]


def test_a_file_of_a_service_that_asks_for_none_holds_nothing_at_our_start():
    house = House(service("dns"), restored=Restored(9, wall=WALL, disabled=("dns",)))
    assert said(house.poll(a=UP)) == ["+v4"]


# --- which beats which ----------------------------------------------------------------------------------------------

OPEN = {
    action: Window(f"night {action}", Span(WALL, None), services=("dns",), action=Action(action)) for action in Action
}
# The override, the file, the windows, health: then what decides, and whether it is announced.
LAYERS = [
    (None, None, (), UP, "health", True),
    (None, None, (), DOWN, "health", False),
    (None, None, ("announce",), DOWN, "window", True),
    (None, None, ("withdraw",), UP, "window", False),
    (None, "withdraw", ("announce",), UP, "disable_file", False),
    ("announce", "withdraw", ("withdraw",), DOWN, "override", True),
    ("announce", "withdraw", (), UP, "override", True),
    ("withdraw", None, ("announce",), UP, "override", False),
    (None, None, ("announce", "withdraw"), UP, "window", False),
    (None, None, ("withdraw", "announce"), UP, "window", False),
    (None, None, ("freeze", "withdraw", "announce"), UP, "window", False),
]


@pytest.mark.parametrize(("ordered", "file", "windows", "health", "layer", "announced"), LAYERS)
def test_override_before_file_before_windows_before_health(ordered, file, windows, health, layer, announced):
    house = House(service("dns", **FILE), windows=tuple(OPEN[each] for each in windows))
    house.poll(a=health)
    if file:
        house.disable(True)
    if ordered:
        house.order(ordered)
    assert (house.service().layer, house.announced()) == (layer, announced)


def test_layers_fall_away_one_by_one():
    house = live(service("dns", **FILE), windows=(OPEN["announce"],))
    house.disable(True)
    house.order("announce")
    house.poll(a=DOWN)
    seen = [house.service().layer]
    assert said(house.clear()) == ["-v4"]
    seen.append(house.service().layer)
    assert said(house.disable(False)) == ["+v4"]
    seen.append(house.service().layer)
    assert said(house.reload(service("dns", **FILE), windows=())) == ["-v4"]
    seen.append(house.service().layer)
    assert seen == ["override", "disable_file", "window", "health"]


def test_an_order_passes_the_guard():
    house = House(
        service("dns", "edge1/a"),
        service("ntp", "edge1/b", prefixes=(V6,)),
        guard=Guard(max_withdrawn=1),
    )
    house.poll(a=UP, b=UP)
    assert said(house.poll(a=DOWN, b=DOWN)) == ["-v4"]
    assert house.service("ntp").layer == "guard"
    effects = house.order("withdraw", "ntp")
    assert said(effects) == ["-v6"]
    assert house.chain(events(effects, "route_withdraw")[0].id) == ["route_withdraw", "override_set"]
    assert house.service("ntp").layer == "override"
    assert house.guard.held == ()
