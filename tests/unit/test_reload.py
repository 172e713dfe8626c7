"""Reload: another plan holds from one moment on, all of it, and nothing else than what it changes is said."""

from dataclasses import replace
from ipaddress import ip_network

import pytest
from lab.house import (
    ADMIN_DOWN,
    DOWN,
    MISSING,
    N1,
    N2,
    N3,
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
    paces,
    remembered,
    said,
    service,
)

from exabgp_bfd.core.model import (
    Action,
    Announce,
    Answer,
    Believed,
    Change,
    Clock,
    Damping,
    Device,
    Guard,
    Lift,
    Order,
    Outcome,
    Reading,
    Reload,
    Restored,
    Route,
    Rung,
    Selector,
    Span,
    Watchdog,
    Window,
)
from exabgp_bfd.core.session import RUN_KEPT

V4B = ip_network("192.0.2.54/32")
MED = Change(med=200)
TWO = (Device("edge1", stale_after=1000.0), Device("edge2", stale_after=1000.0))


def live(*services, devices=TWO[:1], **more):
    """A house whose sessions a and b are up on every device."""
    house = House(*(services or (service("dns"),)), devices=devices, **more)
    for device in devices:
        house.poll(device.name, a=UP, b=UP)
    return house


# --- the same again -------------------------------------------------------------------------------------------------

SAME = {
    "announced": service("dns"),
    "with everything": service(
        "dns",
        prefixes=(V4, V6),
        require=2,
        steps=(Rung(1, MED),),
        on_down=Change(med=900),
        damping=Damping(),
        hold_up=5.0,
        rise=2,
    ),
    "all": service("dns", require="all"),
    "a watchdog": service("dns", targets=(Watchdog("dns"),)),
}


@pytest.mark.parametrize("spec", SAME.values(), ids=SAME)
@pytest.mark.parametrize(
    "health", [{"a": UP, "b": UP}, {"a": UP, "b": DOWN}, {"a": DOWN, "b": DOWN}, {"b": ADMIN_DOWN}]
)
def test_the_same_plan_changes_nothing(spec, health):
    house, other = live(spec), live(spec)
    for each in (house, other):
        for _ in range(3):
            each.poll(**health, after=2.0)
    before = house.engine.snapshot(house.now)
    effects = house.reload(spec)
    assert commands(effects) == []
    assert kinds(effects) == ["reloaded"]
    assert looks(effects) == paces(effects) == []
    after = house.engine.snapshot(house.now)
    assert (after.services, after.devices) == (before.services, before.devices)
    assert [replace(view, heard=0.0) for view in after.sessions] == [
        replace(view, heard=0.0) for view in before.sessions
    ]
    for step in range(12):
        states = {"a": UP, "b": [UP, DOWN][step // 6]}
        assert said(house.poll(**states)) == said(other.poll(**states))
    assert house.engine.snapshot(0.0).services[0].legs == other.engine.snapshot(0.0).services[0].legs


def test_a_reload_is_an_event_with_what_came_and_went():
    house = live(service("dns"), service("ntp", prefixes=(V6,)), devices=TWO)
    effects = house.reload(
        service("dns", rise=5), service("web", prefixes=(V4B,)), devices=(TWO[0], Device("edge3")), actor="ann"
    )
    event = events(effects, "reloaded")[0]
    assert event.actor == "ann"
    assert event.details == {
        "services_added": ["web"],
        "services_removed": ["ntp"],
        "services_changed": ["dns"],
        "devices_added": ["edge3"],
        "devices_removed": ["edge2"],
    }
    for each in events(effects, "route_announce", "route_withdraw"):
        assert house.chain(each.id) == [each.event_type, "reloaded"]


def test_what_is_told_of_a_reload_is_in_its_event():
    house = live()
    (event,) = events(house.take(Reload(house.plan, details={"file": "/etc/x.toml"})))
    assert event.details["file"] == "/etc/x.toml"


def test_a_session_that_was_never_decided_speaks_no_more_for_a_service_after_a_reload_than_before():
    spec = service("dns", require=2, steps=(Rung(1, MED),))
    house = House(spec)
    assert said(house.poll(a=UP, b=ADMIN_DOWN)) == ["+v4 med 200"]
    assert said(house.reload(spec)) == []
    assert not house.service().adopted
    assert said(house.poll(a=DOWN, b=ADMIN_DOWN)) == ["-v4"]


def test_a_reload_of_a_reload_is_as_good():
    house = live(service("dns", rise=3))
    for _ in range(2):
        house.poll(a=UP)
    for _ in range(3):
        assert said(house.reload(service("dns", rise=3))) == []
    assert said(house.poll(a=DOWN, b=DOWN)) == ["-v4"]


# --- routes ---------------------------------------------------------------------------------------------------------

ROUTES = {
    "another attribute: announced once": (
        [service("dns")],
        [service("dns", targets=(Route(V4, med=5),))],
        ["+v4 med 5"],
    ),
    "a prefix more": ([service("dns")], [service("dns", prefixes=(V4, V6))], ["+v6"]),
    "a prefix less": ([service("dns", prefixes=(V4, V6))], [service("dns")], ["-v6"]),
    "another prefix": ([service("dns")], [service("dns", prefixes=(V6,))], ["-v4", "+v6"]),
    "a service less": ([service("dns"), service("ntp", prefixes=(V6,))], [service("dns")], ["-v6"]),
    "a service renamed": ([service("dns")], [service("resolver")], []),
    "a service renamed and changed": ([service("dns")], [service("dns2", targets=(Route(V4, med=5),))], ["+v4 med 5"]),
    "a prefix that moves to another service": (
        [service("dns", prefixes=(V4, V6)), service("ntp", prefixes=(V4B,))],
        [service("dns"), service("ntp", prefixes=(V4B, V6))],
        [],
    ),
    "services in another order": (
        [service("dns"), service("ntp", prefixes=(V6,))],
        [service("ntp", prefixes=(V6,)), service("dns")],
        [],
    ),
    "fewer neighbours": (
        [service("dns", targets=(Route(V4, neighbors=(N1, N2, N3)),))],
        [service("dns", targets=(Route(V4, neighbors=(N2,)),))],
        [f"-v4 to {N1} to {N3}", f"+v4 to {N2}"],
    ),
    "more neighbours": (
        [service("dns", targets=(Route(V4, neighbors=(N1,)),))],
        [service("dns", targets=(Route(V4, neighbors=(N1, N2)),))],
        [f"+v4 to {N1} to {N2}"],
    ),
    "from all neighbours to one": (
        [service("dns")],
        [service("dns", targets=(Route(V4, neighbors=(N1,)),))],
        ["-v4", f"+v4 to {N1}"],
    ),
    "a watchdog less": (
        [service("dns", targets=(Watchdog("x"), Route(V4)))],
        [service("dns")],
        ["-watchdog x"],
    ),
    "a watchdog instead": (
        [service("dns")],
        [service("dns", targets=(Watchdog("x"),))],
        ["-v4", "+watchdog x"],
    ),
    "a watchdog that moves": (
        [service("dns", targets=(Watchdog("x"), Route(V4))), service("ntp", prefixes=(V6,))],
        [service("dns"), service("ntp", targets=(Route(V6), Watchdog("x")))],
        [],
    ),
    "one session is not enough any more": ([service("dns")], [service("dns", require=3)], ["-v4"]),
    "nor quite enough: the step": (
        [service("dns")],
        [service("dns", require=3, steps=(Rung(2, MED),))],
        ["+v4 med 200"],
    ),
    "nothing but on_down is left": ([service("dns")], [service("dns", require=3, on_down=MED)], ["+v4 med 200"]),
    "a service that is withdrawn gets other attributes": (
        [service("dns", require=3)],
        [service("dns", targets=(Route(V4, med=5),), require=3)],
        [],
    ),
}


@pytest.mark.parametrize(("before", "after", "expected"), ROUTES.values(), ids=ROUTES)
def test_what_a_reload_says(before, after, expected):
    house = live(*before)
    assert said(house.reload(*after)) == expected
    assert said(house.poll(a=UP, b=UP)) == [], "and no more than that"


@pytest.mark.parametrize(("before", "after", "expected"), ROUTES.values(), ids=ROUTES)
def test_a_preview_says_what_a_reload_would(before, after, expected):
    house = live(*before)
    preview = house.engine.preview(house.next_plan(*after), house.now)
    assert said([*preview.commands]) == expected
    assert {command.command for command in preview.commands} <= {0}
    effects = house.reload(*after)
    assert [replace(command, command=0) for command in commands(effects)] == list(preview.commands)
    details = events(effects, "reloaded")[0].details
    assert (list(preview.added), list(preview.removed), list(preview.changed)) == (
        details["services_added"],
        details["services_removed"],
        details["services_changed"],
    )
    assert (list(preview.devices_added), list(preview.devices_removed)) == ([], [])


def test_a_withdraw_of_what_left_says_why():
    house = live(service("dns", prefixes=(V4, V6)), service("ntp", prefixes=(V4B,)))
    told = events(house.reload(service("dns")), "route_withdraw")
    assert [(event.service, event.details["prefix"], event.details["rule"]) for event in told] == [
        ("dns", str(V6), "it left its service"),
        ("ntp", str(V4B), "its service left the configuration"),
    ]


def test_what_left_is_remembered_no_more():
    house = live(service("dns", prefixes=(V4, V6)))
    assert remembered(house.reload(service("dns"))) == [("dns", str(V6), False)]


@pytest.mark.parametrize(
    ("before", "after", "old", "new"),
    [
        ([service("dns")], [service("resolver")], "dns", "resolver"),
        (
            [service("dns"), service("ntp", prefixes=(V6,))],
            [service("dns", prefixes=(V4B,)), service("ntp", prefixes=(V6, V4))],
            "dns",
            "ntp",
        ),
    ],
)
def test_what_moved_is_remembered_where_it_is_now_and_nowhere_else(before, after, old, new):
    """Or a restart would take up a route that was withdrawn since."""
    house = live(*before)
    kept = remembered(house.reload(*after))
    assert (old, str(V4), False) in kept
    assert (new, str(V4), True) in kept


def test_nothing_is_said_of_a_withdrawn_service_that_leaves():
    house = live(service("dns"), service("ntp", prefixes=(V6,), require=3))
    assert said(house.reload(service("dns"))) == []


def test_a_new_watchdog_is_taken_back_unless_it_has_earned_its_routes():
    """ExaBGP announces them by itself until it is told."""
    house = live()
    assert said(house.reload(service("dns"), service("ntp", targets=(Watchdog("x"),), require=3))) == ["-watchdog x"]


def test_a_prefix_that_comes_back_must_be_announced_again():
    house = live()
    assert said(house.reload(service("ntp", prefixes=(V6,)))) == ["-v4", "+v6"]
    assert said(house.reload(service("dns"))) == ["-v6", "+v4"]


# --- sessions -------------------------------------------------------------------------------------------------------


def test_a_service_that_follows_other_sessions_stays_until_these_were_seen():
    house = live(service("dns", "edge1/a"))
    assert said(house.reload(service("dns", "edge1/c"))) == []
    assert house.service().adopted
    assert said(house.poll(a=UP, b=UP)) == []
    assert said(house.poll(a=UP, b=UP, c=DOWN)) == ["-v4"]


def test_and_is_carried_by_them_when_they_are_up():
    house = live(service("dns", "edge1/a"))
    house.reload(service("dns", "edge1/c"))
    assert said(house.poll(a=DOWN, c=UP)) == []
    assert not house.service().adopted
    assert said(house.poll(a=UP, c=DOWN)) == ["-v4"]


def test_sessions_that_were_seen_are_judged_at_once():
    house = live(service("dns", "edge1/a"), service("ntp", "edge1/*", prefixes=(V6,)))
    for _ in range(2):
        house.poll(a=UP, b=DOWN)
    assert said(house.reload(service("dns", "edge1/b"), service("ntp", "edge1/*", prefixes=(V6,)))) == ["-v4"]
    assert said(house.reload(service("dns", "edge1/a"), service("ntp", "edge1/*", prefixes=(V6,)))) == ["+v4"]


def test_a_session_less_leaves_the_count():
    house = live(service("dns", "edge1/a", "edge1/b", require="all"))
    house.poll(a=UP, b=DOWN)
    assert said(house.reload(service("dns", "edge1/a", require="all"))) == ["+v4"]
    assert [leg.session for leg in house.service().legs] == [id_("a")]
    assert said(house.poll(a=DOWN, b=UP)) == ["-v4"]


def test_a_selector_that_matched_nothing_goes_on_so():
    house = live(service("dns", "edge1/ghost"))
    for _ in range(3):
        house.poll(a=UP)
    assert house.service().legs[0].counts_as == "down"
    house.reload(service("dns", "edge1/ghost", rise=2))
    assert house.service().legs[0].counts_as == "down"
    assert not house.service().adopted


def test_a_device_less_takes_its_sessions_along():
    house = live(service("dns", "edge1/*", "edge2/*", require=3), devices=TWO)
    assert house.announced()
    assert said(house.reload(service("dns", "edge1/*", require=2), devices=TWO[:1])) == []
    assert {leg.session for leg in house.service().legs} == {id_("a"), id_("b")}
    assert [view.name for view in house.engine.snapshot(0.0).devices] == ["edge1"]
    assert {view.session.device for view in house.engine.snapshot(0.0).sessions} == {"edge1"}
    assert house.poll("edge2", a=DOWN) == [], "an answer that was under way"
    assert said(house.wait(5000.0)) == []


def test_a_device_less_and_too_few_sessions_left():
    house = live(service("dns", "edge1/*", "edge2/*", require=3), devices=TWO)
    assert said(house.reload(service("dns", "edge1/*", require=3), devices=TWO[:1])) == ["-v4"]


def test_a_device_that_comes_back_is_a_new_one():
    house = live(devices=TWO)
    house.reload(service("dns"), devices=TWO[:1])
    house.reload(service("dns", "edge1/*", "edge2/*", require=3), devices=TWO)
    (device,) = [view for view in house.engine.snapshot(0.0).devices if view.name == "edge2"]
    assert (device.heard, device.reachable, device.sessions) == (None, None, 0)


def test_a_new_device_is_waited_for():
    house = live()
    assert said(house.reload(service("dns", "edge1/*", "edge2/*", require=3), devices=TWO)) == []
    assert said(house.poll("edge2", a=DOWN)) == ["-v4"]


# --- what is known goes on ------------------------------------------------------------------------------------------


def test_other_rules_keep_verdicts():
    house = live(service("dns", confirm=False))
    assert said(house.reload(service("dns", rise=9, fall=4, hold_up=600.0, on_admin_down=Reading.DOWN))) == []
    assert house.counts_as("a") == "up"


@pytest.mark.parametrize("rise", [3, 4])
def test_other_rules_keep_what_was_counted(rise):
    house = House(service("dns", rise=3))
    house.poll(a=UP)
    house.poll(a=UP)
    house.reload(service("dns", rise=rise))
    out = [said(house.poll(a=UP)) for _ in range(rise - 2)]
    assert out == [[]] * (rise - 3) + [["+v4"]]


def test_bad_samples_stay_counted():
    house = live(service("dns", "edge1/a", fall=3))
    house.poll(a=DOWN)
    house.reload(service("dns", "edge1/a", fall=2))
    assert said(house.poll(a=DOWN)) == ["-v4"]


def test_a_hold_up_goes_on():
    house = House(service("dns", hold_up=8.0))
    house.poll(a=UP)
    house.reload(service("dns", hold_up=8.0, fall=2), after=3.0)
    assert looks(house.wait(4.999)) == []
    assert looks(house.wait(0.001)) == [("edge1", id_("a"))]
    assert said(house.look(a=UP)) == ["+v4"]


def test_a_confirming_look_goes_on():
    house = live(service("dns", "edge1/a", confirm=True, confirm_timeout=1.0))
    house.poll(a=DOWN)
    assert said(house.reload(service("dns", "edge1/a", confirm=True, confirm_timeout=1.0, rise=2), after=0.5)) == []
    assert said(house.wait(0.499)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_what_is_due_when_a_reload_comes_is_said_in_the_order_in_which_it_holds():
    """The reload announces another attribute; a confirming look that nobody answered withdraws in the same breath."""
    house = live(service("dns", "edge1/a", confirm=True, confirm_timeout=1.0))
    house.poll(a=DOWN)
    changed = service("dns", "edge1/a", confirm=True, confirm_timeout=1.0, targets=(Route(V4, med=5),))
    house.reload(changed, after=1.0)
    assert house.rib == {}
    assert not house.announced()


DAMPED = {"damping": Damping(), "rise": 2}


def test_damping_goes_on():
    house, other = live(service("dns", "edge1/a", **DAMPED)), live(service("dns", "edge1/a", **DAMPED))
    for each in (house, other):
        for state in (UP, UP, DOWN, UP, UP, DOWN, UP, UP, DOWN, UP, UP, DOWN, UP, UP):
            each.poll(a=state)
    assert "damped" in house.leg("a").why
    house.reload(service("dns", "edge1/a", fall=2, **DAMPED))
    assert house.explain().sessions == other.explain().sessions
    assert house.leg("a").why == other.leg("a").why
    for each in (house, other):
        each.asked = [each.now for _ in range(200) if looks(each.wait(1.0))]
    assert house.asked == other.asked
    assert len(house.asked) == 1


def test_damping_that_is_taken_out_lets_it_go():
    house = live(service("dns", "edge1/a", **DAMPED))
    for state in (UP, UP, DOWN, UP, UP, DOWN, UP, UP, DOWN, UP, UP, DOWN, UP, UP):
        house.poll(a=state)
    house.reload(service("dns", "edge1/a", rise=2))
    assert "recovering" in house.explain().sessions[0]
    assert said(house.poll(a=UP)) == ["+v4"]


def test_a_step_is_kept_and_a_ladder_that_changed_is_climbed_anew():
    house = live(service("dns", require=3, steps=(Rung(2, MED),)))
    assert said(house.reload(service("dns", require=3, steps=(Rung(2, MED),), rise=2))) == []
    assert said(house.reload(service("dns", require=3, steps=(Rung(2, Change(med=300)),)))) == ["+v4 med 300"]
    assert said(house.reload(service("dns", require=3, steps=(Rung(1, MED),)))) == ["+v4 med 200"]
    assert house.service().health == "step 1"


def test_what_was_earned_stays_earned():
    house = live(service("dns", on_down=MED))
    assert said(house.poll(a=DOWN, b=DOWN)) == ["+v4 med 200"]
    assert said(house.reload(service("dns", on_down=Change(med=300)))) == ["+v4 med 300"]
    assert said(house.reload(service("dns"))) == ["-v4"]
    assert said(house.reload(service("dns", on_down=MED))) == ["+v4 med 200"]


def test_what_was_not_earned_is_not():
    house = House(service("dns"))
    house.poll(a=DOWN)
    assert said(house.reload(service("dns", on_down=MED))) == []


def test_an_adopted_service_stays_adopted():
    restored = Restored(5, (Believed("dns", Route(V4), 1),), rib_kept=True, wall=WALL)
    house = House(service("dns"), restored=restored)
    house.reload(service("dns", rise=5))
    assert house.service().adopted
    assert said(house.poll(a=DOWN)) == ["-v4"]


def test_all_a_session_not_decided_yet_is_not_held_against_the_rest():
    house = live(service("dns", "edge1/*", require="all", rise=2))
    house.poll(a=UP, b=UP)
    house.poll(a=UP, b=UP, c=UP)
    assert said(house.reload(service("dns", "edge1/*", require="all", rise=3))) == []


def test_orders_and_their_drains_go_on():
    house = live(service("dns", "edge1/a"))
    house.order("drain")
    assert said(house.reload(service("dns", "edge1/a", rise=2), after=30.0)) == []
    assert house.service().layer == "override"
    assert said(house.wait(29.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]
    assert said(house.reload(service("dns", "edge1/a"))) == []
    assert said(house.clear()) == ["+v4 gshut"]
    assert said(house.reload(service("dns", "edge1/a", rise=3), after=30.0)) == []
    assert said(house.wait(30.0)) == ["+v4"]


def test_the_override_of_a_service_that_left_is_cleared():
    house = live(service("dns"), service("ntp", prefixes=(V6,)))
    house.order("freeze", ttl=100)
    effects = house.reload(service("ntp", prefixes=(V6,)))
    (event,) = events(effects, "override_cleared")
    assert (event.service, event.source, event.actor) == ("dns", "engine", "ann")
    assert event.details["reason"] == "its service is no longer configured"
    assert house.chain(event.id) == ["override_cleared", "reloaded"]
    assert orders(effects) == [("dns", None)]
    assert events(house.wait(200.0), "override_expired") == []


def test_the_lifting_of_the_limit_goes_on():
    house = live(guard=Guard(max_withdrawn=1))
    house.take(Order(Lift("ann", "all", WALL)))
    house.reload(service("dns"), guard=Guard(max_withdrawn=2))
    assert (house.guard.lift.actor, house.guard.limit) == ("ann", 2)


def test_a_frozen_service_takes_its_new_attributes_when_it_thaws():
    house = live()
    house.order("freeze")
    changed = service("dns", targets=(Route(V4, med=5),))
    assert said(house.reload(changed)) == []
    assert said(house.clear()) == ["+v4 med 5"]


@pytest.mark.parametrize("kept", [True, False])
def test_a_disable_file_holds_as_long_as_the_service_has_one(kept):
    house = live(service("dns", disable_file="/run/dns"))
    house.disable(True)
    effects = house.reload(service("dns", disable_file="/run/dns" if kept else None))
    assert said(effects) == ([] if kept else ["+v4"])
    assert house.service().disabled is kept


def test_a_silence_goes_on():
    house = live(service("dns", on_unknown=Reading.DOWN), devices=(Device("edge1"),))
    house.reload(service("dns", on_unknown=Reading.DOWN, rise=2), after=5.0)
    assert said(house.wait(4.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]
    house.reload(service("dns"))
    assert kinds(house.poll(a=UP, b=UP))[0] == "device_reachable"


def test_a_shorter_patience_holds_at_once():
    house = live(service("dns", on_unknown=Reading.DOWN))
    house.reload(service("dns", on_unknown=Reading.DOWN), devices=(Device("edge1", stale_after=10.0),))
    assert said(house.wait(9.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_a_longer_patience_holds_at_once():
    house = live(service("dns", on_unknown=Reading.DOWN), devices=(Device("edge1"),))
    house.reload(service("dns", on_unknown=Reading.DOWN), devices=TWO[:1])
    assert said(house.wait(999.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


@pytest.mark.parametrize(
    ("state", "setting"), [(ADMIN_DOWN, "on_admin_down"), (MISSING, "on_missing"), (None, "on_unknown")]
)
def test_another_reading_of_a_state_that_lasts_holds_too(state, setting):
    held = service("dns", "edge1/a", **{setting: Reading.HOLD})
    house = live(held, devices=(Device("edge1"),))
    if state is ADMIN_DOWN:
        house.poll(a=ADMIN_DOWN, b=UP)
    elif state is MISSING:
        house.poll(b=UP)
    else:
        house.wait(60.0)
    out = house.reload(replace(held, **{setting: Reading.DOWN}))
    for _ in range(2 if state else 0):
        out += house.poll(**({"a": state} if state is ADMIN_DOWN else {}), b=UP)
    out += house.wait(1.0)
    assert said(out) == ["-v4"]


def test_sessions_are_forgotten_by_the_new_rule():
    house = live(service("dns", "edge1/b"), forget_after=1000.0)
    house.poll(b=UP)
    house.reload(service("dns", "edge1/b"), forget_after=10.0)
    out = []
    for _ in range(12):
        out += house.poll(b=UP)
    assert "session_forgotten" in kinds(out)


def test_record_polls_holds_from_then_on():
    house = live()
    assert kinds(house.poll(a=UP, b=UP)) == []
    house.reload(service("dns"), record_polls=True)
    assert kinds(house.poll(a=UP, b=UP)) == ["snmp_poll", "snmp_poll"]


def test_a_pace_goes_on_and_ends():
    house = live(service("dns", "edge1/c", rise=3))
    assert paces(house.poll(a=UP, b=UP, c=UP)) == [("edge1", True)]
    house.reload(service("dns", "edge1/c", rise=3, fall=2))
    assert paces(house.poll(c=UP, b=UP, a=UP)) == []
    assert paces(house.poll(c=UP, b=UP, a=UP)) == [("edge1", False)]


def test_a_pace_ends_with_the_service_for_which_it_was():
    house = live(service("dns"), service("ntp", "edge1/c", prefixes=(V6,), rise=3))
    assert paces(house.poll(a=UP, b=UP, c=UP)) == [("edge1", True)]
    out = house.reload(service("dns")) + house.poll(a=UP, b=UP, c=UP)
    assert paces(out) == [("edge1", False)]


# --- commands under way ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.TIMEOUT])
def test_what_is_refused_after_a_reload_is_said_again(outcome):
    house = House(service("dns"))
    (announce,) = commands(house.poll(a=UP))
    house.reload(service("dns", rise=2))
    house.take(Answer(announce.command, outcome, "no"), 0.5)
    (again,) = commands(house.wait(1.0))
    assert isinstance(again, Announce)
    house.reload(service("dns", rise=3))
    house.take(Answer(again.command, outcome, "no"), 0.5)
    assert said(house.wait(2.0)) == ["+v4"]


def test_what_is_taken_after_a_reload_is_shown_so():
    house = House(service("dns"))
    (announce,) = commands(house.poll(a=UP))
    house.reload(service("dns", rise=2))
    assert house.service().routes[0].accepted is None
    house.take(Answer(announce.command, Outcome.DONE))
    assert house.service().routes[0].accepted is True


def test_a_refused_announce_of_what_left_is_not_said_again():
    house = live()
    announce = commands(house.all)[-1]
    house.reload(service("ntp", prefixes=(V6,), require=3))
    house.take(Answer(announce.command, Outcome.ERROR, "no"))
    assert said(house.wait(1000.0)) == []


def test_a_refused_withdraw_of_what_left_is_said_again():
    house = live()
    (withdraw,) = commands(house.reload(service("ntp", prefixes=(V6,), require=3)))
    house.take(Answer(withdraw.command, Outcome.ERROR, "no"))
    assert said(house.wait(1.0)) == ["-v4"]


def test_a_refused_withdraw_of_what_left_is_not_said_again_to_who_announces_it_now():
    house = live()
    (withdraw,) = commands(house.reload(service("ntp", prefixes=(V6,), require=3)))
    house.take(Answer(withdraw.command, Outcome.ERROR, "no"))
    assert said(house.reload(service("web"), after=0.5)) == ["+v4"]
    assert said(house.wait(1000.0)) == []


def test_a_retry_under_way_goes_to_who_has_the_prefix_now():
    house = House(service("dns"))
    (announce,) = commands(house.poll(a=UP))
    house.take(Answer(announce.command, Outcome.ERROR, "no"))
    house.reload(service("resolver"))
    effects = house.wait(1.0)
    assert said(effects) == ["+v4"]
    assert commands(effects)[0].service == "resolver"


# --- a new service over sessions that are known ---------------------------------------------------------------------

OLD = service("ntp", prefixes=(V6,))


def with_run(polls, **rules):
    """What is said when a new service comes over a session that was polled up so often, each second, and after that."""
    house = House(OLD, devices=TWO[:1])
    for _ in range(polls):
        house.poll(a=UP)
    at_once = said(house.reload(OLD, service("dns", **rules)))
    later = 0
    while not at_once and not house.announced("dns"):
        later += 1
        house.poll(a=UP)
        assert later < 100
    return later


# rise, hold_up, polls so far -> how many more it takes.
RUNS = [
    (1, 0.0, 1, 0),
    (3, 0.0, 3, 0),
    (3, 0.0, 2, 1),
    (3, 0.0, 1, 2),
    (3, 10.0, 13, 0),
    (3, 10.0, 12, 1),
    (3, 10.0, 3, 10),
    (3, 10.0, 2, 11),
    (1, 10.0, 50, 0),
    (RUN_KEPT, 0.0, RUN_KEPT, 0),
    (RUN_KEPT, 5.0, RUN_KEPT + 5, 0),
    (RUN_KEPT, 5.0, RUN_KEPT + 4, 1),
]


@pytest.mark.parametrize(("rise", "hold_up", "polls", "later"), RUNS)
def test_a_new_service_has_what_its_sessions_did_before_to_go_by(rise, hold_up, polls, later):
    """Neither later nor earlier than if it had followed them from the start."""
    assert with_run(polls, rise=rise, hold_up=hold_up) == later


def test_a_hold_up_that_began_before_the_service_is_looked_at_when_it_ends():
    house = House(OLD)
    house.poll(a=UP)
    house.reload(OLD, service("dns", hold_up=8.0), after=3.0)
    assert looks(house.wait(4.999)) == []
    assert looks(house.wait(0.001)) == [("edge1", id_("a"))]


@pytest.mark.parametrize("breaker", [DOWN, ADMIN_DOWN])
def test_only_an_unbroken_up_counts(breaker):
    house = House(OLD)
    for state in (UP, UP, UP, breaker, UP):
        house.poll(a=state)
    assert said(house.reload(OLD, service("dns", rise=3))) == []
    assert [said(house.poll(a=UP)) for _ in range(2)] == [[], ["+v4"]]


def test_a_flap_that_no_poll_saw_breaks_it_as_well():
    house = House(OLD)
    for ups in (7, 7, 8):
        house.see("a", UP, ups=ups)
    assert said(house.reload(OLD, service("dns", rise=3))) == []
    assert [said(house.see("a", UP, ups=8)) for _ in range(2)] == [[], ["+v4"]]


def test_looks_are_not_polls():
    house = House(OLD)
    house.poll(a=UP)
    house.look(a=UP)
    house.look(a=UP)
    assert said(house.reload(OLD, service("dns", rise=3))) == []


def test_a_session_known_to_be_down_counts_as_down_once_two_polls_saw_it():
    for polls, counts in [(1, "undecided"), (2, "down")]:
        house = House(OLD)
        for _ in range(polls):
            house.poll(a=DOWN)
        house.reload(OLD, service("dns"))
        assert house.counts_as("a") == counts


@pytest.mark.parametrize(("fall", "polls", "counts"), [(4, 3, "undecided"), (4, 4, "down"), (1, 2, "down")])
def test_fall_is_asked_of_the_past_as_well(fall, polls, counts):
    house = House(OLD)
    for _ in range(polls):
        house.poll(a=DOWN)
    house.reload(OLD, service("dns", fall=fall))
    assert house.counts_as("a") == counts


@pytest.mark.parametrize(
    ("reading", "counts"), [(Reading.HOLD, "undecided"), (Reading.DOWN, "down"), (Reading.UP, "up")]
)
def test_of_a_session_that_is_unknown_each_new_service_makes_its_own(reading, counts):
    house = House(OLD)
    house.poll(a=UP)
    house.wait(60.0)
    house.reload(OLD, service("dns", on_unknown=reading))
    assert house.counts_as("a") == counts


def test_a_session_in_admin_down_tells_a_new_service_nothing():
    house = House(OLD)
    for _ in range(5):
        house.poll(a=ADMIN_DOWN)
    house.reload(OLD, service("dns", on_admin_down=Reading.UP))
    assert house.counts_as("a") == "undecided"
    assert said(house.poll(a=ADMIN_DOWN)) == ["+v4"]


# --- windows --------------------------------------------------------------------------------------------------------


def night(action=Action.WITHDRAW, begins=0.0, ends=1000.0, **what):
    what = what or {"services": ("dns",), "action": action}
    return Window("night", Span(WALL + begins, WALL + ends), **what)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((), (night(),), ["-v4"]),
        ((night(),), (), ["+v4"]),
        ((night(),), (night(begins=500.0),), ["+v4"]),
        ((night(),), (night(ends=500.0),), []),
        ((night(Action.FREEZE),), (night(),), ["-v4"]),
        ((), (night(begins=500.0),), []),
        ((), (night(devices=("edge1",), reading=Reading.DOWN),), ["-v4"]),
        ((), (night(devices=("edge1",)),), []),
        ((night(devices=("edge1",)),), (night(devices=("edge1",), reading=Reading.DOWN),), ["-v4"]),
        ((night(devices=("edge1",), reading=Reading.DOWN),), (), []),
    ],
)
def test_other_windows_hold_at_once(before, after, expected):
    house = live()
    house.reload(service("dns"), windows=before)
    plan = house.next_plan(*house.plan.services, windows=after)
    assert said([*house.engine.preview(plan, house.now).commands]) == expected
    assert said(house.reload(service("dns"), windows=after)) == expected
    still_open = [each.name for each in after if each.when.start <= WALL + 1]
    assert list(house.engine.snapshot(0.0).windows) == still_open


def test_a_window_that_came_with_a_reload_closes_on_its_moment():
    house = live()
    house.reload(service("dns"), windows=(night(ends=100.0),))
    assert said(house.wait(98.999)) == []
    assert said(house.wait(0.001)) == ["+v4"]


def test_and_one_that_is_still_to_come_opens():
    house = live()
    house.reload(service("dns"), windows=(night(begins=100.0),))
    assert said(house.wait(98.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_a_window_moved_is_no_longer_looked_for_at_its_old_moment():
    house = live(windows=(night(begins=100.0),))
    house.reload(service("dns"), windows=(night(begins=200.0),))
    assert said(house.wait(198.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_a_drain_window_that_came_with_a_reload_drains_in_full():
    house = live()
    windows = (night(Action.DRAIN, begins=-3600.0),)
    assert said([*house.engine.preview(house.next_plan(service("dns"), windows=windows), house.now).commands]) == [
        "+v4 gshut"
    ]
    assert said(house.reload(service("dns"), windows=windows)) == ["+v4 gshut"]
    assert said(house.wait(59.999)) == []
    assert said(house.wait(0.001)) == ["-v4"]


def test_a_drain_window_taken_out_in_the_middle_brings_it_back_at_once():
    house = live()
    assert said(house.reload(service("dns"), windows=(night(Action.DRAIN),))) == ["+v4 gshut"]
    house.poll(a=UP)
    assert said(house.reload(service("dns"), windows=())) == ["+v4"]


def test_a_new_service_under_an_open_window_obeys_it():
    house = live(OLD, windows=(night(services=("dns", "ntp"), action=Action.FREEZE),))
    assert said(house.reload(OLD, service("dns"))) == []
    assert house.service("dns").windows == ("night",)


def test_a_new_service_over_a_session_under_maintenance():
    over = night(sessions=(Selector("edge1", "a"),), reading=Reading.DOWN)
    house = live(OLD, windows=(over,))
    assert said(house.reload(OLD, service("dns", "edge1/a"))) == []
    assert house.counts_as("a", "dns") == "down"


# --- previews -------------------------------------------------------------------------------------------------------


def test_a_preview_changes_nothing():
    house, other = live(service("dns", rise=2, damping=Damping())), live(service("dns", rise=2, damping=Damping()))
    plan = house.next_plan(
        service("resolver", "edge1/a", prefixes=(V4, V6), rise=1),
        service("dns", "edge1/*", "edge1/ghost", prefixes=(V4B,), require="all"),
        windows=(night(devices=("edge1",), reading=Reading.DOWN),),
    )
    for state in (UP, UP, DOWN, UP, UP, UP):
        before = house.engine.snapshot(house.now)
        house.engine.preview(plan, house.now)
        assert house.engine.snapshot(house.now) == before
        assert house.poll(a=state, b=DOWN) == other.poll(a=state, b=DOWN)
    assert house.reload(*plan.services, windows=plan.windows) == other.reload(*plan.services, windows=plan.windows)


def test_a_preview_has_withdraws_before_announces():
    house = live(service("dns"), service("ntp", prefixes=(V6,)))
    plan = house.next_plan(service("dns", targets=(Route(V4, med=5),)))
    assert said([*house.engine.preview(plan, house.now).commands]) == ["-v6", "+v4 med 5"]


def test_a_preview_names_devices_that_come_and_go():
    house = live(devices=TWO)
    preview = house.engine.preview(house.next_plan(service("dns"), devices=(TWO[0], Device("edge3"))), house.now)
    assert (preview.devices_added, preview.devices_removed) == (("edge3",), ("edge2",))


@pytest.mark.parametrize("action", Action)
def test_a_preview_knows_the_orders(action):
    house = live()
    house.order(action)
    after = (service("dns", targets=(Route(V4, med=5),)),)
    preview = house.engine.preview(house.next_plan(*after), house.now)
    assert [replace(each, command=0) for each in commands(house.reload(*after))] == list(preview.commands)


def test_a_preview_knows_the_limit():
    house = live(service("dns"), service("ntp", prefixes=(V6,)), guard=Guard(max_withdrawn=1))
    after = (service("dns", require=5), service("ntp", prefixes=(V6,), require=5))
    preview = house.engine.preview(house.next_plan(*after), house.now)
    assert said([*preview.commands]) == ["-v4"]
    assert said(house.reload(*after)) == ["-v4"]


def test_a_preview_after_the_clock_was_set():
    house = live()
    house.take(Clock(house.wall + 1.0))
    windows = (night(begins=2.0),)
    preview = house.engine.preview(house.next_plan(service("dns"), windows=windows), house.now)
    assert said([*preview.commands]) == ["-v4"]


def test_windows_that_a_reload_opens_or_closes_say_so():
    house = live()
    assert kinds(house.reload(service("dns"), windows=(night(),)))[:2] == ["reloaded", "window_opened"]
    assert kinds(house.reload(service("dns"), windows=(night(ends=500.0),))) == ["reloaded"]
    effects = house.reload(service("dns"), windows=())
    assert kinds(effects)[:2] == ["reloaded", "window_closed"]
    assert house.chain(events(effects, "window_closed")[0].id) == ["window_closed", "reloaded"]


@pytest.mark.parametrize("change", ["steps", "require"])
def test_another_ladder_leaves_what_was_adopted_until_its_sessions_are_seen(change):
    med = Change(med=200)
    first = service("dns", require=3, steps=(Rung(2, med),))
    second = {
        "steps": service("dns", require=3, steps=(Rung(2, med), Rung(1, Change(med=300)))),
        "require": service("dns", require=4, steps=(Rung(2, med),)),
    }[change]
    restored = Restored(9, (Believed("dns", Route(V4, med=200), 4),), rib_kept=True, wall=WALL)
    house = House(first, restored=restored)
    assert said(house.reload(second)) == []
    assert house.announced()


def test_an_adopted_service_that_too_few_sessions_could_carry_says_so():
    ladder = service("dns", "edge1/a", "edge1/b", require=2, steps=(Rung(1, None),))
    restored = Restored(9, (Believed("dns", Route(V4), 4),), rib_kept=True, wall=WALL)
    house = House(ladder, restored=restored)
    (withdraw,) = events(house.poll(a=DOWN, b=ADMIN_DOWN), "route_withdraw")
    assert "too little" in withdraw.details["rule"]
