"""The engine, rule by rule: what goes in, what comes out, in what order, and why."""

from dataclasses import FrozenInstanceError, replace
from ipaddress import ip_address, ip_network

import pytest

from exabgp_bfd.core.engine import Engine
from exabgp_bfd.core.model import (
    Advertised,
    Announce,
    Answer,
    Believed,
    Device,
    Diagnostic,
    Event,
    Look,
    Neighbor,
    Note,
    Observation,
    Outcome,
    Pace,
    Plan,
    Poll,
    Reading,
    Record,
    Remember,
    Restored,
    Route,
    Selector,
    Service,
    Session,
    Silence,
    Source,
    Start,
    State,
    Stop,
    Tick,
    Webhook,
    Withdraw,
)

PEERS = {"a": ip_address("198.51.100.1"), "b": ip_address("198.51.100.2"), "c": ip_address("2001:db8::c")}
V4, V6 = ip_network("192.0.2.53/32"), ip_network("2001:db8::53/128")
N1, N2 = ip_address("203.0.113.1"), ip_address("203.0.113.2")
UP, DOWN, INIT, FAILING = State.UP, State.DOWN, State.INIT, State.FAILING
ADMIN_DOWN, MISSING, UNKNOWN = State.ADMIN_DOWN, State.MISSING, State.UNKNOWN


def session(name, device="edge1"):
    """`a`, `b`, `c` are known peers; anything else is a session without one."""
    if name not in PEERS:
        return Session(device, name)
    number = "abc".index(name)
    return Session(
        device, str(PEERS[name]), peer=PEERS[name], interface=f"ge-0/0/{number}", discriminator=1000 + number
    )


def id_(name, device="edge1"):
    return session(name, device).id


def service(name, *selectors, prefixes=(V4,), **rules):
    """A service that rises with one sample and without hold-up, unless the test is about that."""
    quick = {"rise": 1, "hold_up": 0.0, **rules}
    parts = tuple(Selector(*selector.split("/", 1)) for selector in selectors)
    return Service(name, tuple(Route(prefix) for prefix in prefixes), parts, **quick)


class Bench:
    """An engine with a clock that the test winds; every effect ever given is kept."""

    def __init__(self, *services, devices=("edge1",), restored=None, record_polls=False, start=True):
        parts = tuple(device if isinstance(device, Device) else Device(device) for device in devices)
        self.engine = Engine(Plan(parts, services, record_polls), restored or Restored(), 0.0)
        self.now = 0.0
        self.all = []
        self.started = self.take(Start()) if start else []

    def take(self, event, after=0.0):
        self.now += after
        effects = self.engine.handle(event, self.now)
        self.all += effects
        return effects

    def poll(self, device="edge1", *, after=1.0, complete=True, source=Source.SNMP_POLL, cause=None, **states):
        seen = tuple(Observation(session(name, device), state) for name, state in states.items())
        return self.take(Poll(device, seen, complete, source, cause=cause), after)

    def look(self, device="edge1", **states):
        return self.poll(device, after=0.01, complete=False, source=Source.SNMP_LOOK, **states)

    def tick(self, after):
        return self.take(Tick(), after)

    def service(self, name="dns"):
        return next(view for view in self.engine.snapshot(self.now).services if view.service.name == name)

    def announced(self, name="dns"):
        return self.service(name).announced

    def event(self, number):
        return next(event for event in events(self.all) if event.id == number)

    def chain(self, number):
        """The types of the events that led to one, newest first."""
        kinds = []
        while number is not None:
            event = self.event(number)
            kinds.append(event.event_type)
            number = event.cause
        return kinds


def commands(effects):
    return [effect for effect in effects if isinstance(effect, Announce | Withdraw)]


def said(effects):
    """Commands in words: `+prefix` and `-prefix`."""
    return [f"{'+' if isinstance(command, Announce) else '-'}{command.route.prefix}" for command in commands(effects)]


def looks(effects):
    return [(look.device, look.session) for look in effects if isinstance(look, Look)]


def events(effects, kind=None):
    found: list[Event] = [effect.event for effect in effects if isinstance(effect, Record)]
    return [event for event in found if kind is None or event.event_type == kind]


def remembered(effects):
    return [
        (effect.service, ip_network(effect.key), effect.route is not None)
        for effect in effects
        if isinstance(effect, Remember)
    ]


def believed(name, prefix=V4, event=40, **attributes):
    return Believed(name, Route(prefix, **attributes), event)


def adopted(*held, rib_kept=True, last_event=50, **more):
    return Restored(last_event, held, rib_kept, **more)


# --- which services deserve to be announced -----------------------------------------------------------------------


def test_a_first_start_announces_nothing_until_it_is_earned():
    bench = Bench(service("dns", "edge1/*", rise=3, hold_up=10.0))
    assert commands(bench.started) == []
    for _ in range(3):
        assert commands(bench.poll(a=UP)) == []
    assert commands(bench.tick(9.9)) == []
    assert said(bench.poll(a=UP, after=0.1)) == [f"+{V4}"]


def test_any_needs_one_session():
    bench = Bench(service("dns", "edge1/*", require=1))
    assert said(bench.poll(a=UP, b=DOWN)) == [f"+{V4}"]
    assert said(bench.look(b=DOWN)) == []
    bench.poll(a=DOWN, b=DOWN)
    assert said(bench.look(a=DOWN)) == [f"-{V4}"]


def test_any_stays_while_one_of_two_is_left():
    bench = Bench(service("dns", "edge1/*", require=1, confirm=False))
    bench.poll(a=UP, b=UP)
    assert said(bench.poll(a=DOWN, b=UP)) == []
    assert said(bench.poll(a=DOWN, b=DOWN)) == [f"-{V4}"]
    assert said(bench.poll(a=DOWN, b=UP)) == [f"+{V4}"]


def test_all_needs_every_session():
    bench = Bench(service("dns", "edge1/*", require="all", confirm=False))
    assert said(bench.poll(a=UP, b=DOWN)) == []
    assert said(bench.poll(a=UP, b=UP)) == [f"+{V4}"]
    assert said(bench.poll(a=UP, b=DOWN)) == [f"-{V4}"]


def test_a_number_needs_so_many_sessions():
    bench = Bench(service("dns", "edge1/*", require=2, confirm=False))
    assert said(bench.poll(a=UP, b=DOWN, c=DOWN)) == []
    assert said(bench.poll(a=UP, b=UP, c=DOWN)) == [f"+{V4}"]
    assert said(bench.poll(a=DOWN, b=UP, c=UP)) == []
    assert said(bench.poll(a=DOWN, b=UP, c=DOWN)) == [f"-{V4}"]


def test_a_service_announces_and_withdraws_all_its_prefixes_together():
    bench = Bench(service("dns", "edge1/*", prefixes=(V4, V6), confirm=False))
    assert said(bench.poll(a=UP)) == [f"+{V4}", f"+{V6}"]
    assert said(bench.poll(a=DOWN)) == [f"-{V4}", f"-{V6}"]


def test_only_changes_are_said():
    bench = Bench(service("dns", "edge1/*", confirm=False))
    bench.poll(a=UP)
    assert all(bench.poll(a=UP) == [] for _ in range(5))
    bench.poll(a=DOWN)
    assert all(bench.poll(a=DOWN) == [] for _ in range(5))


def test_several_services_share_a_session_and_each_keeps_its_own_rules():
    other = ip_network("192.0.2.123/32")
    bench = Bench(
        service("dns", "edge1/*", confirm=False),
        service("ntp", "edge1/198.51.100.1", prefixes=(other,), confirm=False, fall=2),
    )
    assert said(bench.poll(a=UP)) == [f"+{V4}", f"+{other}"]
    assert said(bench.poll(a=DOWN)) == [f"-{V4}"]
    assert said(bench.poll(a=DOWN)) == [f"-{other}"]
    (view,) = bench.engine.snapshot(bench.now).sessions
    assert view.services == ("dns", "ntp")


def test_two_devices_carry_one_service():
    bench = Bench(service("dns", "edge1/*", "edge2/*", confirm=False), devices=("edge1", "edge2"))
    assert said(bench.poll("edge1", a=UP)) == [f"+{V4}"]
    assert said(bench.poll("edge2", a=UP)) == []
    assert said(bench.poll("edge1", a=DOWN)) == []
    assert said(bench.poll("edge2", a=DOWN)) == [f"-{V4}"]


def test_services_that_rise_together_are_announced_in_the_order_of_the_plan():
    prefixes = list(ip_network("192.0.2.0/27").subnets(new_prefix=32))
    plan = [service(f"service{number}", "edge1/*", prefixes=(prefix,)) for number, prefix in enumerate(prefixes)]
    assert said(Bench(*plan).poll(a=UP)) == [f"+{prefix}" for prefix in prefixes]


def test_the_same_peer_on_two_devices_is_two_sessions():
    bench = Bench(service("dns", "edge1/198.51.100.1", confirm=False), devices=("edge1", "edge2"))
    bench.poll("edge1", a=UP)
    bench.poll("edge2", a=UP)
    assert said(bench.poll("edge2", a=DOWN)) == []
    assert said(bench.poll("edge1", a=DOWN)) == [f"-{V4}"]


@pytest.mark.parametrize(
    ("pattern", "means"),
    [
        ("*", {"a", "b", "c", "tunnel"}),
        ("198.51.100.1", {"a"}),
        ("2001:db8::c", {"c"}),
        ("2001:0DB8:0:0:0:0:0:C", {"c"}),
        ("ge-0/0/1", {"b"}),
        ("1002", {"c"}),
        ("tunnel", {"tunnel"}),
        ("198.51.100.99", set()),
        ("None", set()),
        ("ge-0/0/", set()),
    ],
)
def test_a_selector_means_sessions_by_peer_interface_discriminator_name_or_star(pattern, means):
    bench = Bench(service("dns", f"edge1/{pattern}"), devices=("edge1", "edge2"))
    bench.poll("edge1", a=UP, b=UP, c=UP, tunnel=UP)
    bench.poll("edge2", a=UP, b=UP, c=UP, tunnel=UP)
    legs = {leg.session for leg in bench.service().legs}
    assert legs == ({id_(name) for name in means} or {f"edge1/{pattern}"})
    assert bench.announced() is bool(means)


def test_a_link_local_peer_is_meant_with_its_interface():
    one = Session("edge1", "fe80::1%xe-0", peer=ip_address("fe80::1"), interface="xe-0")
    two = Session("edge1", "fe80::1%xe-1", peer=ip_address("fe80::1"), interface="xe-1")
    bench = Bench(service("dns", "edge1/fe80::1%xe-0"), service("ntp", "edge1/fe80::1", prefixes=(V6,)))
    bench.take(Poll("edge1", (Observation(one, UP), Observation(two, UP)), complete=True), 1.0)
    assert [leg.session for leg in bench.service("dns").legs] == [one.id]
    assert [leg.session for leg in bench.service("ntp").legs] == [one.id, two.id]


def test_a_session_meant_twice_counts_once():
    bench = Bench(service("dns", "edge1/*", "edge1/198.51.100.1", "edge1/ge-0/0/0", require=2))
    assert said(bench.poll(a=UP)) == []
    assert [leg.session for leg in bench.service().legs] == [id_("a")]


def test_a_selector_written_twice_counts_once():
    bench = Bench(service("dns", "edge1/2001:db8::c", "edge1/2001:DB8:0::C", require="all"))
    assert len(bench.service().legs) == 1
    assert said(bench.poll(c=UP)) == [f"+{V4}"]


def test_a_session_that_comes_to_be_meant_later_is_followed_from_then_on():
    bench = Bench(service("dns", "edge1/xe-9"))
    assert said(bench.poll(a=UP)) == []
    moved = replace(session("a"), interface="xe-9")
    assert said(bench.take(Poll("edge1", (Observation(moved, UP),), complete=True), 1.0)) == [f"+{V4}"]
    assert [leg.session for leg in bench.service().legs] == [id_("a")]


# --- newcomers, and sessions that a device does not have -----------------------------------------------------------


def test_a_configured_session_that_the_device_does_not_have_is_down_once_a_second_complete_poll_missed_it():
    bench = Bench(service("dns", "edge1/198.51.100.9"), restored=adopted(believed("dns")))
    effects = bench.poll(a=UP)
    assert commands(effects) == []
    assert looks(effects) == [("edge1", None)]
    assert said(bench.poll(a=UP)) == [f"-{V4}"]


def test_a_partial_answer_says_nothing_of_what_it_does_not_hold():
    bench = Bench(service("dns", "edge1/198.51.100.1"), restored=adopted(believed("dns")))
    for _ in range(5):
        assert commands(bench.poll(b=UP, complete=False)) == []


@pytest.mark.parametrize("complete", [True, False])
def test_a_selector_that_matches_nothing_is_never_up_whatever_is_made_of_missing(complete):
    bench = Bench(service("dns", "edge1/mistyped", on_missing=Reading.UP))
    for _ in range(5):
        assert commands(bench.poll(a=UP, complete=complete)) == []


def test_a_vanished_row_is_confirmed_by_a_second_complete_poll():
    bench = Bench(service("dns", "edge1/*", confirm=False))
    bench.poll(a=UP, b=UP)
    bench.poll(a=UP, b=DOWN)
    effects = bench.poll(b=DOWN)
    assert commands(effects) == []
    assert looks(effects) == [("edge1", None)]
    assert commands(bench.poll(b=DOWN, complete=False)) == []
    assert said(bench.poll(b=DOWN)) == [f"-{V4}"]


def test_all_sessions_of_a_device_vanishing_at_once_is_taken_for_silence_until_stale_after():
    bench = Bench(service("dns", "edge1/*", confirm=False), devices=(Device("edge1", stale_after=10.0),))
    bench.poll(a=UP, b=UP)
    effects = bench.poll()
    assert commands(effects) == []
    assert [(event.event_type, event.device) for event in events(effects)] == [("guard_held", "edge1")]
    for _ in range(8):
        assert not [effect for effect in bench.poll() if not isinstance(effect, Record)]
    assert bench.announced()
    effects = bench.take(Tick(), 3.0)
    assert looks(effects) == [("edge1", None)]
    assert commands(bench.poll(after=0.01, source=Source.SNMP_LOOK)) == []
    assert said(bench.poll(after=0.01, source=Source.SNMP_LOOK)) == [f"-{V4}"]


def test_silence_between_two_empty_answers_is_no_proof_of_emptiness():
    bench = Bench(service("dns", "edge1/*"), devices=(Device("edge1", stale_after=10.0),))
    bench.poll(a=UP)
    bench.poll()
    bench.take(Silence("edge1", "rebooting"), 1.0)
    bench.take(Tick(), 60.0)
    for _ in range(9):
        assert commands(bench.poll()) == []
    assert commands(bench.poll(a=UP)) == []
    assert bench.announced()


def test_a_table_that_fills_again_row_by_row_withdraws_nothing_until_stale_after():
    bench = Bench(
        service("one", id_("a")),
        service("two", id_("b"), prefixes=(V6,)),
        devices=(Device("edge1", stale_after=10.0),),
    )
    bench.poll(a=UP, b=UP)
    bench.poll()
    for _ in range(9):
        assert commands(bench.poll(a=UP)) == []
    assert commands(bench.poll(a=UP, b=UP)) == []
    bench.poll()
    for _ in range(11):
        effects = bench.poll(a=UP)
        assert commands(effects) == []
    assert looks(effects) == [("edge1", None)]
    assert said(bench.poll(a=UP, after=0.01, source=Source.SNMP_LOOK)) == [f"-{V6}"]


def test_an_empty_table_that_fills_again_changes_nothing():
    bench = Bench(service("dns", "edge1/*"), devices=(Device("edge1", stale_after=10.0),))
    bench.poll(a=UP)
    for _ in range(3):
        for _ in range(9):
            assert commands(bench.poll()) == []
        assert commands(bench.poll(a=UP)) == []
    assert bench.announced()


def test_an_adopted_service_survives_an_empty_table_at_our_start():
    held = Believed("dns", Route(V4), 1)
    bench = Bench(
        service("dns", "edge1/a"),
        devices=(Device("edge1", stale_after=10.0),),
        restored=Restored(5, (held,), rib_kept=True),
    )
    for _ in range(9):
        assert commands(bench.poll()) == []
    bench.take(Tick(), 5.0)
    bench.poll()
    assert said(bench.poll()) == [f"-{V4}"]


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.TIMEOUT])
def test_a_withdraw_that_was_not_taken_is_said_again_while_the_path_stays_down(outcome):
    bench = Bench(service("dns", "edge1/*", confirm=False))
    bench.poll(a=UP)
    command = commands(bench.poll(a=DOWN))[0].command
    pauses = []
    for _ in range(4):
        bench.take(Answer(command, outcome, "no"))
        began = bench.now
        while not (again := commands(bench.take(Tick(), 0.5))):
            assert bench.now - began < 20
        pauses.append(bench.now - began)
        assert [type(each) for each in again] == [Withdraw]
        command = again[0].command
    assert pauses == [1.0, 2.0, 4.0, 8.0]
    bench.take(Answer(command, Outcome.DONE))
    assert not commands(bench.take(Tick(), 1000.0))


def test_a_withdraw_left_to_other_neighbours_is_never_said_again_alone():
    """It would take the route from those who keep it."""
    held = Believed("dns", Route(V4), 1)
    now = Route(V4, neighbors=(N1,))
    spec = replace(service("dns", "edge1/*"), routes=(now,))
    bench = Bench(spec, restored=Restored(5, (held,), rib_kept=True), start=False)
    withdrawn, announced = commands(bench.take(Start()))
    bench.take(Answer(announced.command, Outcome.DONE))
    bench.take(Answer(withdrawn.command, Outcome.TIMEOUT))
    again = commands(bench.take(Tick(), 1.0))
    assert [(type(each), each.route) for each in again] == [(Withdraw, Route(V4)), (Announce, now)]
    for command in again:
        bench.take(Answer(command.command, Outcome.DONE))
    for _ in range(50):
        assert not commands(bench.take(Tick(), 1.0))


def test_neighbours_that_still_have_a_route_lose_it_with_the_others():
    old, now = Route(V4, neighbors=(N1, N2)), Route(V4, neighbors=(N1,))
    spec = replace(service("dns", "edge1/*", confirm=False), routes=(now,))
    restored = Restored(5, (Believed("dns", old, 1),), rib_kept=True)
    bench = Bench(spec, restored=restored, start=False)
    for command in commands(bench.take(Start())):
        bench.take(Answer(command.command, Outcome.ERROR))
    bench.poll(a=UP, after=0.1)
    fell = commands(bench.poll(a=DOWN, after=0.1))
    assert [(type(each), each.route.neighbors) for each in fell] == [(Withdraw, (N2,)), (Withdraw, (N1,))]


def test_refusals_of_an_announce_do_not_slow_its_withdraw():
    bench = Bench(service("dns", "edge1/*", confirm=False))
    command = commands(bench.poll(a=UP))[0].command
    for _ in range(8):
        bench.take(Answer(command, Outcome.ERROR))
        (again,) = commands(bench.take(Tick(), 300.0))
        command = again.command
    bench.poll(a=UP)
    withdrawn = commands(bench.poll(a=DOWN))[0].command
    bench.take(Answer(withdrawn, Outcome.TIMEOUT))
    assert said(bench.take(Tick(), 1.0)) == [f"-{V4}"]


def test_a_withdraw_is_said_again_at_least_every_half_minute():
    bench = Bench(service("dns", "edge1/*", confirm=False))
    bench.poll(a=UP)
    command = commands(bench.poll(a=DOWN))[0].command
    for _ in range(12):
        bench.take(Answer(command, Outcome.ERROR))
        (again,) = commands(bench.take(Tick(), 30.0))
        command = again.command


def test_a_thousand_retries_take_turns():
    services = [
        service(
            f"s{number}", id_("a"), prefixes=(ip_network(f"10.0.{number // 256}.{number % 256}/32"),), confirm=False
        )
        for number in range(1000)
    ]
    bench = Bench(*services)
    for command in commands(bench.poll(a=UP)):
        bench.take(Answer(command.command, Outcome.TIMEOUT))
    repeated = []
    while len(repeated) < 1000:
        now = commands(bench.take(Tick(), 1.0))
        assert 0 < len(now) <= 100
        repeated += now
    assert len({command.route.prefix for command in repeated}) == 1000


def test_an_explicit_refusal_is_not_excused_by_an_older_update():
    bench = Bench(service("dns", "edge1/*"))
    command = commands(bench.poll(a=UP))[0].command
    bench.take(Advertised(N1, V4, announced=True))
    bench.take(Answer(command, Outcome.ERROR))
    assert said(bench.take(Tick(), 1.0)) == [f"+{V4}"]


def test_the_end_withdraws_what_exabgp_may_still_hold():
    bench = Bench(service("dns", "edge1/*", confirm=False))
    bench.poll(a=UP)
    command = commands(bench.poll(a=DOWN))[0].command
    bench.take(Answer(command, Outcome.TIMEOUT))
    assert said(bench.take(Stop("SIGTERM", withdraw=True))) == [f"-{V4}"]


def test_commands_that_nobody_answers_are_forgotten_in_time():
    bench = Bench(service("dns", "edge1/*", confirm=False))
    for _ in range(700):
        bench.poll(a=UP)
        bench.poll(a=DOWN)
    assert len(bench.engine._routes._commands) <= 1002


def test_what_was_seen_on_the_wire_is_not_said_again_for_a_lost_answer():
    bench = Bench(service("dns", "edge1/*"))
    command = commands(bench.poll(a=UP))[0].command
    bench.take(Advertised(N1, V4, announced=True))
    bench.take(Answer(command, Outcome.TIMEOUT))
    assert not commands(bench.take(Tick(), 5.0))


def test_a_refused_announce_is_not_said_again_after_its_withdraw():
    bench = Bench(service("dns", "edge1/*", confirm=False))
    announced = commands(bench.poll(a=UP))[0].command
    bench.take(Answer(announced, Outcome.ERROR))
    withdrawn = commands(bench.poll(a=DOWN, after=0.1))[0].command
    bench.take(Answer(withdrawn, Outcome.DONE))
    assert not commands(bench.take(Tick(), 5.0))


def test_what_was_told_before_its_complete_poll_is_there_and_counts_once():
    bench = Bench(service("dns", "edge1/*", fall=2, confirm=False))
    bench.poll(a=UP, b=ADMIN_DOWN)
    for _ in range(2):
        bench.poll(a=UP, b=ADMIN_DOWN)
    bench.poll(a=DOWN, complete=False, after=0.1)
    rest = (Observation(session("b"), ADMIN_DOWN),)
    assert commands(bench.take(Poll("edge1", rest, complete=True, told=frozenset({id_("a")})))) == []
    assert bench.announced()
    assert said(bench.poll(a=DOWN, b=ADMIN_DOWN)) == [f"-{V4}"]


def test_a_complete_poll_told_in_pieces_is_not_an_empty_table():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    assert not events(bench.take(Poll("edge1", (), complete=True, told=frozenset({id_("a")}))))


def test_a_row_that_comes_back_withdraws_nothing():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    for _ in range(4):
        assert commands(bench.poll()) == []
        assert commands(bench.poll(a=UP)) == []


def test_all_a_newcomer_under_star_does_not_take_the_service_down():
    bench = Bench(service("dns", "edge1/*", require="all", rise=3))
    for _ in range(3):
        bench.poll(a=UP)
    assert bench.announced()
    assert commands(bench.poll(a=UP, b=ADMIN_DOWN)) == []
    assert commands(bench.poll(a=UP, b=UP)) == []
    view = bench.service()
    assert (view.up, view.undecided, view.needed) == (1, 1, 2)
    assert commands(bench.poll(a=UP, b=UP)) == []
    assert commands(bench.poll(a=UP, b=UP)) == []
    assert bench.service().up == 2


def test_all_a_newcomer_not_decided_yet_is_not_held_against_the_rest_when_another_is_decided():
    bench = Bench(service("dns", "edge1/*", require="all"))
    bench.poll(a=UP)
    assert commands(bench.poll(a=UP, b=ADMIN_DOWN, c=UP)) == []
    assert (bench.service().up, bench.service().undecided) == (2, 1)
    assert bench.announced()


def test_all_a_newcomer_seen_down_twice_is_a_session_that_is_down():
    bench = Bench(service("dns", "edge1/*", require="all"))
    bench.poll(a=UP)
    assert commands(bench.poll(a=UP, b=DOWN)) == []
    assert said(bench.look(b=DOWN)) == [f"-{V4}"]


def test_any_a_session_never_seen_does_not_keep_alive_what_another_carried():
    bench = Bench(service("dns", "edge1/*", "edge2/*", confirm=False), devices=("edge1", "edge2"))
    bench.poll("edge1", a=UP)
    assert bench.service().undecided == 1
    assert said(bench.poll("edge1", a=DOWN)) == [f"-{V4}"]


def test_any_a_session_still_rising_does_not_keep_alive_what_another_carried():
    bench = Bench(service("dns", "edge1/*", confirm=False, rise=3))
    for _ in range(3):
        bench.poll(a=UP)
    bench.poll(a=UP, b=UP)
    assert said(bench.poll(a=DOWN, b=UP)) == [f"-{V4}"]
    assert said(bench.poll(a=DOWN, b=UP)) == [f"+{V4}"]


# --- silence --------------------------------------------------------------------------------------------------------


def silence_for(bench, seconds, device="edge1"):
    """A device that does not answer, polled every second; returns what was said meanwhile."""
    out = []
    for _ in range(seconds):
        out += bench.take(Silence(device, "timeout after 1 retry"), 1.0)
        out += bench.tick(0.0)
    return out


def test_a_silent_device_makes_its_sessions_unknown_and_withdraws_nothing():
    bench = Bench(service("dns", "edge1/*"), devices=(Device("edge1", stale_after=10.0),))
    bench.poll(a=UP)
    assert events(silence_for(bench, 9)) == []
    (event,) = events(silence_for(bench, 1))
    assert (event.event_type, event.session, event.source) == ("device_unreachable", None, "timer")
    assert event.details["state"] == "unknown"
    assert event.details["reason"] == "timeout after 1 retry"
    assert commands(silence_for(bench, 120)) == []
    assert bench.announced()
    assert bench.engine.snapshot(bench.now).sessions[0].state is UNKNOWN


def test_a_silent_device_withdraws_where_the_operator_said_so():
    bench = Bench(service("dns", "edge1/*", on_unknown=Reading.DOWN), devices=(Device("edge1", stale_after=10.0),))
    bench.poll(a=UP)
    assert commands(silence_for(bench, 9)) == []
    effects = silence_for(bench, 1)
    assert said(effects) == [f"-{V4}"]
    assert bench.chain(commands(effects)[0].command) == ["route_withdraw", "device_unreachable"]


def test_an_answer_after_silence_makes_no_failure_and_no_recovery():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    silence_for(bench, 20)
    assert [event.event_type for event in events(bench.poll(a=UP))] == ["device_reachable"]
    assert bench.announced()


def test_silence_breaks_rise():
    bench = Bench(service("dns", "edge1/*", rise=3))
    bench.poll(a=UP)
    bench.poll(a=UP)
    silence_for(bench, 20)
    assert commands(bench.poll(a=UP)) == []
    assert commands(bench.poll(a=UP)) == []
    assert said(bench.poll(a=UP)) == [f"+{V4}"]


def test_a_device_never_heard_keeps_what_was_adopted():
    bench = Bench(service("dns", "edge1/*"), restored=adopted(believed("dns")))
    assert commands(silence_for(bench, 120)) == []
    assert bench.announced()


def test_a_device_never_heard_is_unknown_too_where_unknown_is_down():
    dns = service("dns", "edge1/*", on_unknown=Reading.DOWN)
    bench = Bench(dns, devices=(Device("edge1", stale_after=10.0),), restored=adopted(believed("dns")))
    assert bench.engine.next_deadline() == 10.0
    assert commands(silence_for(bench, 9)) == []
    effects = silence_for(bench, 1)
    assert said(effects) == [f"-{V4}"]
    assert bench.chain(commands(effects)[0].command) == ["route_withdraw", "device_unreachable"]
    assert bench.engine.next_deadline() is None


def test_a_device_heard_late_is_not_a_device_never_heard():
    dns = service("dns", "edge1/198.51.100.1", on_unknown=Reading.DOWN, on_missing=Reading.HOLD)
    bench = Bench(dns, devices=(Device("edge1", stale_after=10.0),), restored=adopted(believed("dns")))
    bench.poll(b=UP, after=8.0)
    assert commands(bench.tick(9.9)) == []
    assert said(bench.tick(0.1)) == [f"-{V4}"]


def test_a_session_never_heard_is_never_up_even_where_unknown_is_up():
    bench = Bench(service("dns", "edge1/*", on_unknown=Reading.UP))
    assert commands(silence_for(bench, 60)) == []


def test_next_deadline_is_when_the_oldest_session_goes_stale():
    bench = Bench(service("dns", "edge1/*"), devices=(Device("edge1", stale_after=7.0),))
    assert bench.engine.next_deadline() == 7.0  # were it never heard
    bench.poll(a=UP)  # at 1
    assert events(bench.tick(6.0)) == []
    assert bench.engine.next_deadline() == 8.0
    bench.poll(a=UP, after=0.5)
    assert events(bench.tick(0.5)) == []
    assert bench.engine.next_deadline() == 14.5
    assert events(bench.tick(6.5)) != []
    assert bench.engine.next_deadline() is None
    bench.poll(a=UP)
    assert bench.engine.next_deadline() == bench.now + 7.0


def test_time_that_falls_is_taken_as_time_that_stood():
    bench = Bench(service("dns", "edge1/*", confirm_timeout=0.5))
    bench.poll(a=UP)
    bench.poll(a=DOWN)
    assert bench.engine.handle(Tick(), bench.now - 100.0) == []
    assert said(bench.engine.handle(Tick(), bench.now + 0.5)) == [f"-{V4}"]
    bench.engine.handle(Poll("edge1", (Observation(session("a"), DOWN),), complete=True), bench.now - 100.0)
    # Heard at 2.5, whatever the clock said: the timer of the first poll (at 11) finds it heard of since.
    assert events(bench.tick(9.5)) == []


def test_polling_for_long_does_not_pile_up_timers():
    bench = Bench(service("dns", "edge1/*", confirm=False), service("ntp", "edge1/*", prefixes=(V6,)))
    for _ in range(200):
        bench.poll(a=UP, b=UP, after=0.25)
        bench.poll(a=DOWN, b=UP, after=0.25)
        bench.look(a=UP)
    assert len(bench.engine._timers._heap) < 10


def test_a_session_that_its_own_device_calls_unknown_is_not_unknown_once_more():
    bench = Bench(service("dns", "edge1/*"), devices=(Device("edge1", stale_after=7.0),))
    bench.poll(a=UP)
    assert len(events(bench.poll(a=UNKNOWN))) == 1
    assert events(bench.tick(60.0)) == []


# --- looks ----------------------------------------------------------------------------------------------------------


def test_the_first_bad_sample_asks_for_a_look_and_the_look_decides():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    effects = bench.poll(a=DOWN)
    assert (commands(effects), looks(effects)) == ([], [("edge1", id_("a"))])
    assert said(bench.look(a=DOWN)) == [f"-{V4}"]


def test_a_look_that_is_not_answered_withdraws_at_its_deadline():
    bench = Bench(service("dns", "edge1/*", confirm_timeout=0.5))
    bench.poll(a=UP)
    bench.poll(a=DOWN)
    assert bench.engine.next_deadline() == bench.now + 0.5
    assert commands(bench.tick(0.4)) == []
    effects = bench.take(Silence("edge1", "timeout"), 0.1)
    assert said(effects) == [f"-{V4}"]
    assert bench.chain(commands(effects)[0].command) == ["route_withdraw", "bfd_failure", "snmp_poll"]


def test_an_up_that_comes_with_the_deadline_is_heard_first():
    bench = Bench(service("dns", "edge1/*", confirm_timeout=0.5))
    bench.poll(a=UP)
    bench.poll(a=DOWN)
    assert commands(bench.poll(a=UP, after=0.5, source=Source.SNMP_LOOK)) == []
    assert bench.announced()


def test_services_that_share_a_session_ask_for_one_look():
    bench = Bench(service("dns", "edge1/*"), service("ntp", "edge1/*", prefixes=(V6,)))
    bench.poll(a=UP)
    assert looks(bench.poll(a=DOWN)) == [("edge1", id_("a"))]
    assert said(bench.look(a=DOWN)) == [f"-{V4}", f"-{V6}"]


def test_the_end_of_hold_up_asks_for_a_look():
    bench = Bench(service("dns", "edge1/*", rise=1, hold_up=5.0))
    bench.poll(a=UP)
    assert bench.engine.next_deadline() == bench.now + 5.0
    assert looks(bench.tick(4.9)) == []
    effects = bench.tick(0.1)
    assert (commands(effects), looks(effects)) == ([], [("edge1", id_("a"))])
    assert said(bench.look(a=UP)) == [f"+{V4}"]


def test_the_end_of_a_hold_up_that_was_broken_asks_for_nothing():
    bench = Bench(service("dns", "edge1/*", rise=1, hold_up=5.0))
    bench.poll(a=UP)
    bench.poll(a=DOWN)
    bench.look(a=DOWN)
    assert looks(bench.tick(8.0)) == []


# --- starting again -------------------------------------------------------------------------------------------------


def test_adopted_and_kept_by_exabgp_nothing_is_said_until_decided_and_then_once_even_if_it_equals_belief():
    bench = Bench(service("dns", "edge1/*", rise=2), restored=adopted(believed("dns")))
    assert commands(bench.started) == []
    assert bench.announced()
    assert bench.service().adopted
    assert commands(bench.poll(a=UP)) == []
    assert said(bench.poll(a=UP)) == [f"+{V4}"]
    assert not bench.service().adopted
    assert commands(bench.poll(a=UP)) == []


def test_adopted_and_seen_down_is_withdrawn():
    bench = Bench(service("dns", "edge1/*"), restored=adopted(believed("dns")))
    assert commands(bench.poll(a=DOWN)) == []
    assert said(bench.look(a=DOWN)) == [f"-{V4}"]


def test_adopted_and_lost_by_exabgp_is_announced_again_at_start_and_not_once_more():
    bench = Bench(service("dns", "edge1/*"), restored=adopted(believed("dns"), rib_kept=False))
    assert said(bench.started) == [f"+{V4}"]
    assert bench.chain(commands(bench.started)[0].command) == ["route_announce", "started"]
    assert bench.service().adopted
    assert commands(bench.poll(a=UP)) == []
    assert bench.announced()


def test_expired_is_forgotten_and_must_be_earned():
    bench = Bench(service("dns", "edge1/*", rise=2), restored=adopted(believed("dns"), rib_kept=False, expired=True))
    assert commands(bench.started) == []
    assert remembered(bench.started) == [("dns", V4, False)]
    assert not bench.announced()
    assert commands(bench.poll(a=UP)) == []
    assert said(bench.poll(a=UP)) == [f"+{V4}"]


def test_adopted_waits_for_every_session_that_could_still_carry_it():
    dns = service("dns", "edge1/*", "edge2/*", confirm=False)
    bench = Bench(dns, devices=("edge1", "edge2"), restored=adopted(believed("dns")))
    assert commands(bench.poll("edge1", a=DOWN)) == []
    assert bench.service().adopted
    assert said(bench.poll("edge2", a=DOWN)) == [f"-{V4}"]


def test_adopted_waits_for_a_session_that_is_rising():
    bench = Bench(service("dns", "edge1/*", confirm=False, rise=2), restored=adopted(believed("dns")))
    assert commands(bench.poll(a=DOWN, b=UP)) == []
    assert said(bench.poll(a=DOWN, b=UP)) == [f"+{V4}"]


def test_adopted_waits_for_a_device_not_heard_yet_however_many_sessions_it_may_bring():
    dns = service("dns", "edge1/*", "edge2/*", require=3)
    bench = Bench(dns, devices=("edge1", "edge2"), restored=adopted(believed("dns")))
    assert commands(bench.poll("edge1", a=UP)) == []
    assert said(bench.poll("edge2", a=UP, b=UP)) == [f"+{V4}"]


def test_adopted_all_does_not_wait_for_the_rest_once_one_is_down():
    dns = service("dns", "edge1/*", "edge2/*", require="all", confirm=False)
    bench = Bench(dns, devices=("edge1", "edge2"), restored=adopted(believed("dns")))
    assert said(bench.poll("edge1", a=DOWN)) == [f"-{V4}"]


def test_what_exabgp_may_hold_unknown_to_us_is_not_withdrawn_before_something_speaks_against_it():
    """Our predecessor may have died between a command and its record: the belief is then older than the truth."""
    bench = Bench(service("dns", "edge1/*", require=2), restored=adopted())
    assert not bench.announced()
    assert not bench.service().adopted
    assert commands(bench.poll(a=UP, b=ADMIN_DOWN)) == []
    bench.poll(a=UP, b=DOWN)
    assert said(bench.look(b=DOWN)) == [f"-{V4}"]


def test_adopted_with_other_attributes_is_announced_as_configured_at_start():
    bench = Bench(service("dns", "edge1/*"), restored=adopted(believed("dns", med=50)))
    assert said(bench.started) == [f"+{V4}"]
    assert commands(bench.started)[0].route.med is None
    assert commands(bench.poll(a=UP)) == []


def to_neighbors(*neighbors):
    dns = service("dns", "edge1/*")
    return replace(dns, routes=(Route(V4, neighbors=neighbors),))


@pytest.mark.parametrize(
    ("held", "wanted", "taken_from"),
    [
        ((N1, N2), (N1,), (N2,)),
        ((N1,), (N2,), (N1,)),
        ((), (N1,), ()),
        ((N1,), (N1, N2), None),
        ((N1,), (), None),
    ],
)
def test_a_neighbor_that_left_the_configuration_loses_the_route_at_start(held, wanted, taken_from):
    bench = Bench(to_neighbors(*wanted), restored=adopted(believed("dns", neighbors=held)))
    *withdrawn, announced = commands(bench.started)
    assert [(type(command), command.route.neighbors) for command in withdrawn] == (
        [(Withdraw, taken_from)] if taken_from is not None else []
    )
    assert isinstance(announced, Announce)
    assert announced.route.neighbors == wanted
    assert remembered(bench.started)[-1] == ("dns", V4, True)


def test_a_prefix_that_left_the_configuration_is_withdrawn_at_start():
    bench = Bench(service("dns", "edge1/*"), restored=adopted(believed("old", V6)))
    assert said(bench.started) == [f"-{V6}"]
    (withdraw,) = commands(bench.started)
    assert withdraw.service == "old"
    assert remembered(bench.started) == [("old", V6, False)]
    assert bench.chain(withdraw.command) == ["route_withdraw", "started"]
    bench.take(Answer(withdraw.command, Outcome.DONE))
    assert [view.service.name for view in bench.engine.snapshot(bench.now).services] == ["dns"]


def test_a_prefix_that_left_a_service_still_configured_is_withdrawn_at_start():
    bench = Bench(service("dns", "edge1/*"), restored=adopted(believed("dns"), believed("dns", V6)))
    assert said(bench.started) == [f"-{V6}"]
    assert [route.route.prefix for route in bench.service().routes] == [V4]
    assert bench.announced()


def test_a_prefix_that_left_the_configuration_and_exabgp_is_only_forgotten():
    bench = Bench(service("dns", "edge1/*"), restored=adopted(believed("old", V6), rib_kept=False))
    assert commands(bench.started) == []
    assert remembered(bench.started) == [("old", V6, False)]


@pytest.mark.parametrize("rib_kept", [True, False])
def test_a_prefix_that_moved_to_another_service_stays_announced_and_is_remembered_there(rib_kept):
    bench = Bench(service("dns", "edge1/*"), restored=adopted(believed("old"), rib_kept=rib_kept))
    assert said(bench.started) == ([] if rib_kept else [f"+{V4}"])
    assert bench.announced()
    kept = dict.fromkeys(name for name, _, announced in remembered(bench.started) if announced)
    assert list(kept) == ["dns"]
    assert ("old", V4, False) in remembered(bench.started)


def test_a_prefix_new_in_an_adopted_service_is_announced_with_the_first_good_decision():
    bench = Bench(service("dns", "edge1/*", prefixes=(V4, V6)), restored=adopted(believed("dns"), rib_kept=False))
    assert said(bench.started) == [f"+{V4}"]
    assert said(bench.poll(a=UP)) == [f"+{V6}"]


# --- stopping -------------------------------------------------------------------------------------------------------


def test_stopping_keeps_the_routes_unless_told_to_withdraw():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    effects = bench.take(Stop("SIGTERM"))
    assert commands(effects) == []
    assert [event.event_type for event in events(effects)] == ["stopped"]


def test_stopping_with_withdraw_takes_back_what_is_announced_and_only_that():
    bench = Bench(service("dns", "edge1/198.51.100.1"), service("ntp", "edge1/198.51.100.2", prefixes=(V6,)))
    bench.poll(a=UP, b=DOWN)
    effects = bench.take(Stop("asked by noc", withdraw=True))
    assert said(effects) == [f"-{V4}"]
    assert remembered(effects) == [("dns", V4, False)]
    assert bench.chain(commands(effects)[0].command) == ["route_withdraw", "stopped"]


# --- order and numbers ----------------------------------------------------------------------------------------------


def rank(effect):
    kinds = (Withdraw, Announce, Look, Pace, (Record, Remember))
    return next(place for place, kind in enumerate(kinds) if isinstance(effect, kind))


def test_withdraws_come_before_announces_before_looks_before_records():
    other, third = ip_network("192.0.2.1/32"), ip_network("192.0.2.2/32")
    bench = Bench(
        service("rises", "edge1/198.51.100.2"),
        service("falls", "edge1/198.51.100.1", prefixes=(other,), confirm=False),
        service("asks", "edge1/198.51.100.1", prefixes=(third,)),
    )
    bench.poll(a=UP, b=DOWN)
    bench.look(b=DOWN)
    effects = bench.poll(a=DOWN, b=UP)
    ranks = [rank(effect) for effect in effects]
    assert ranks == sorted(ranks)
    assert set(ranks) == {0, 1, 2, 3, 4}
    assert said(effects) == [f"-{other}", f"+{V4}"]


def test_event_ids_grow_by_one_from_the_last_of_our_predecessor():
    bench = Bench(service("dns", "edge1/*"), restored=Restored(last_event=1000))
    bench.poll(a=UP)
    bench.poll(a=DOWN)
    bench.look(a=DOWN)
    numbers = [event.id for event in events(bench.all)]
    assert numbers == list(range(1001, 1001 + len(numbers)))


def test_a_command_carries_the_number_of_the_event_that_decided_it():
    bench = Bench(service("dns", "edge1/*"))
    (announce,) = commands(bench.poll(a=UP))
    event = bench.event(announce.command)
    assert (event.event_type, event.service, event.source) == ("route_announce", "dns", "engine")
    assert event.details == {
        "prefix": str(V4),
        "next_hop": "self",
        "rule": "1 of 1 sessions up, 1 needed",
        "sessions": {id_("a"): "up"},
        "counts_as": {id_("a"): "up"},
        "layer": "health",
    }


def test_what_is_announced_is_remembered_with_the_event_that_decided_it():
    bench = Bench(service("dns", "edge1/*", confirm=False))
    for effects, route in ((bench.poll(a=UP), Route(V4)), (bench.poll(a=DOWN), None)):
        (command,) = commands(effects)
        assert [effect for effect in effects if isinstance(effect, Remember)] == [
            Remember("dns", str(V4), route, command.command)
        ]


def test_an_event_of_a_service_with_very_many_sessions_names_only_some():
    bench = Bench(service("dns", "edge1/*", require="all", confirm=False))
    many = [session(f"tunnel{number}") for number in range(500)]
    effects = bench.take(Poll("edge1", tuple(Observation(each, UP) for each in many), complete=True))
    (announce,) = commands(effects)
    assert len(bench.event(announce.command).details["sessions"]) < 100


# --- causes ---------------------------------------------------------------------------------------------------------


def test_a_withdraw_leads_back_to_the_poll_that_saw_the_failure():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    bench.poll(a=DOWN)
    (withdraw,) = commands(bench.look(a=DOWN))
    assert bench.chain(withdraw.command) == ["route_withdraw", "bfd_failure", "snmp_poll"]


def test_an_announce_leads_back_to_the_poll_that_saw_the_recovery():
    bench = Bench(service("dns", "edge1/*", confirm=False, rise=2))
    bench.poll(a=UP)
    bench.poll(a=DOWN)
    bench.poll(a=UP)
    (announce,) = commands(bench.poll(a=UP))
    assert bench.chain(announce.command) == ["route_announce", "bfd_recovery", "snmp_poll"]


def test_the_whole_chain_from_a_webhook_to_what_the_neighbor_got():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    bench.take(Webhook("edge1", "link_down", {"port": "ge-0/0/0"}))
    bench.look(a=DOWN)
    (withdraw,) = commands(bench.look(a=DOWN))
    chain = ["route_withdraw", "bfd_failure", "snmp_poll", "link_down"]
    assert bench.chain(withdraw.command) == chain
    (confirmed,) = events(bench.take(Advertised(N1, V4, announced=False)), "route_confirmed")
    assert bench.chain(confirmed.id) == ["route_confirmed", *chain]


def test_a_refused_command_leads_back_to_its_decision():
    bench = Bench(service("dns", "edge1/*"))
    (announce,) = commands(bench.poll(a=UP))
    (refused,) = events(bench.take(Answer(announce.command, Outcome.ERROR, "no such neighbour")))
    assert refused.event_type == "route_refused"
    assert refused.details == {"prefix": str(V4), "outcome": "error", "text": "no such neighbour"}
    assert bench.chain(refused.id) == ["route_refused", "route_announce", "snmp_poll"]


def test_an_announce_that_its_withdraw_overtook_was_refused_by_nobody():
    bench = Bench(service("dns", "edge1/*", confirm=False))
    (announce,) = commands(bench.poll(a=UP))
    (withdraw,) = commands(bench.poll(a=DOWN, after=0.1))
    (overtaken,) = events(bench.take(Answer(announce.command, Outcome.OVERTAKEN, "another word went before it")))
    assert (overtaken.event_type, overtaken.cause) == ("route_overtaken", announce.command)
    assert overtaken.details == {"prefix": str(V4), "by": withdraw.command}
    assert not commands(bench.take(Tick(), 5.0)), "what was overtaken is not said again"


def test_looks_of_two_sessions_under_way_together_keep_their_own_causes():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP, b=UP)
    effects = bench.poll(a=DOWN, b=DOWN)
    causes = {look.session: look.cause for look in effects if isinstance(look, Look)}
    assert causes[id_("a")] != causes[id_("b")]
    for name in ("a", "b"):
        learned = events(bench.look(**{name: UP}), "snmp_poll")
        assert [event.cause for event in learned] == [causes[id_(name)]]


def test_the_answer_of_an_old_look_does_not_explain_a_later_one():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    bench.poll(a=DOWN)
    bench.look(a=UP)
    (told,) = events(bench.take(Webhook("edge1", "link_down", {})))
    (learned,) = events(bench.poll(a=ADMIN_DOWN, source=Source.SNMP_LOOK), "snmp_poll")
    assert learned.cause == told.id
    (next_one,) = events(bench.poll(a=UP, source=Source.SNMP_LOOK), "snmp_poll")
    assert next_one.cause is None


def test_the_answer_of_a_look_for_one_session_ends_its_cause():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    bench.poll(a=DOWN)
    bench.look(a=UP)
    (learned,) = events(bench.look(a=ADMIN_DOWN))
    assert learned.cause is None


def test_the_cause_an_answer_carries_counts_before_the_one_we_remember():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    (asked,) = events(bench.take(Note("override_set", {}, source=Source.API, actor="noc")))
    bench.take(Webhook("edge1", "link_down", {}))
    (learned,) = events(bench.poll(a=ADMIN_DOWN, source=Source.SNMP_LOOK, cause=asked.id))
    assert learned.cause == asked.id


def test_a_withdraw_is_explained_by_what_fell_not_by_what_rose_in_the_same_poll():
    bench = Bench(service("dns", "edge1/*", require=2, confirm=False))
    bench.poll(a=UP, b=UP, c=DOWN)
    (withdraw,) = commands(bench.poll(a=DOWN, b=DOWN, c=UP))
    assert bench.chain(withdraw.command) == ["route_withdraw", "bfd_failure", "snmp_poll"]


def test_an_announce_is_explained_by_what_rose_not_by_what_fell_in_the_same_poll():
    bench = Bench(service("dns", "edge1/*", require=2, confirm=False))
    bench.poll(a=DOWN, b=DOWN, c=UP)
    (announce,) = commands(bench.poll(a=UP, b=UP, c=DOWN))
    assert bench.chain(announce.command) == ["route_announce", "bfd_recovery", "snmp_poll"]


# --- answers and what is seen on the wire ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "accepted"), [(Outcome.DONE, True), (Outcome.ERROR, False), (Outcome.TIMEOUT, None)]
)
def test_an_answer_says_whether_a_command_was_accepted(outcome, accepted):
    bench = Bench(service("dns", "edge1/*"))
    (announce,) = commands(bench.poll(a=UP))
    assert bench.service().routes[0].accepted is None
    effects = bench.take(Answer(announce.command, outcome))
    assert bench.service().routes[0].accepted is accepted
    assert len(events(effects)) == (0 if outcome is Outcome.DONE else 1)
    assert bench.take(Answer(announce.command, outcome)) == []


def test_an_answer_to_an_older_command_says_nothing_of_the_newer():
    bench = Bench(service("dns", "edge1/*", confirm=False))
    (announce,) = commands(bench.poll(a=UP))
    (withdraw,) = commands(bench.poll(a=DOWN))
    assert bench.take(Answer(announce.command, Outcome.DONE)) == []
    assert bench.service().routes[0].accepted is None
    bench.take(Answer(withdraw.command, Outcome.DONE))
    assert bench.service().routes[0].accepted is True


def test_a_refusal_is_recorded_even_when_a_newer_command_overtook_it():
    bench = Bench(service("dns", "edge1/*", confirm=False))
    (announce,) = commands(bench.poll(a=UP))
    bench.poll(a=DOWN)
    (refused,) = events(bench.take(Answer(announce.command, Outcome.ERROR, "no")))
    assert (refused.event_type, refused.cause) == ("route_refused", announce.command)
    assert bench.service().routes[0].accepted is None


def test_an_answer_to_a_command_that_is_not_ours_is_nothing():
    assert Bench(service("dns", "edge1/*")).take(Answer(4711, Outcome.ERROR)) == []


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.TIMEOUT])
def test_a_command_not_taken_is_said_again_with_the_next_decision(outcome):
    bench = Bench(service("dns", "edge1/*", confirm=False))
    (announce,) = commands(bench.poll(a=UP))
    bench.take(Answer(announce.command, outcome))
    assert said(bench.poll(a=UP, b=UP)) == [f"+{V4}"]
    assert said(bench.poll(a=UP, b=DOWN)) == []
    (withdraw,) = commands(bench.poll(a=DOWN, b=DOWN))
    bench.take(Answer(withdraw.command, outcome))
    assert said(bench.poll(a=DOWN, b=DOWN, c=DOWN)) == [f"-{V4}"]


def test_saying_it_again_does_not_make_it_younger():
    bench = Bench(service("dns", "edge1/*"))
    (announce,) = commands(bench.poll(a=UP))
    bench.take(Answer(announce.command, Outcome.TIMEOUT))
    bench.poll(a=UP, b=UP)
    assert bench.service().since == 1.0


def test_what_is_seen_on_the_wire_confirms_a_route_per_neighbor_once():
    bench = Bench(service("dns", "edge1/*"))
    (announce,) = commands(bench.poll(a=UP))
    for neighbor in (N2, N1):
        (event,) = events(bench.take(Advertised(neighbor, V4, announced=True)))
        assert (event.event_type, event.cause) == ("route_confirmed", announce.command)
        assert event.details == {"prefix": str(V4), "neighbor": str(neighbor), "action": "announce"}
        assert bench.take(Advertised(neighbor, V4, announced=True)) == []
    assert bench.service().routes[0].confirmed == (str(N1), str(N2))


def test_a_new_command_must_be_confirmed_anew():
    bench = Bench(service("dns", "edge1/*", confirm=False))
    bench.poll(a=UP)
    bench.take(Advertised(N1, V4, announced=True))
    bench.poll(a=DOWN)
    assert bench.service().routes[0].confirmed == ()
    assert bench.take(Advertised(N1, V4, announced=True)) == []
    assert bench.service().routes[0].confirmed == ()
    (event,) = events(bench.take(Advertised(N1, V4, announced=False)))
    assert event.details["action"] == "withdraw"


def test_an_update_against_what_we_believe_takes_the_confirmation_back():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    bench.take(Advertised(N1, V4, announced=True))
    bench.take(Advertised(N2, V4, announced=True))
    assert commands(bench.take(Advertised(N1, V4, announced=False))) == []
    assert bench.service().routes[0].confirmed == (str(N2),)
    assert len(events(bench.take(Advertised(N1, V4, announced=True)), "route_confirmed")) == 1


def test_an_update_of_a_prefix_that_is_not_ours_is_nothing():
    assert Bench(service("dns", "edge1/*")).take(Advertised(N1, V6, announced=True)) == []


def test_an_adopted_route_is_confirmed_with_the_event_of_our_predecessor():
    bench = Bench(service("dns", "edge1/*"), restored=adopted(believed("dns", event=40)))
    (event,) = events(bench.take(Advertised(N1, V4, announced=True)))
    assert event.cause == 40


def test_a_neighbor_that_goes_down_has_nothing_confirmed_any_more():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    bench.take(Neighbor(N1, "up"))
    bench.take(Advertised(N1, V4, announced=True))
    bench.take(Advertised(N2, V4, announced=True))
    assert commands(bench.take(Neighbor(N1, "down", "peer reset"))) == []
    assert bench.service().routes[0].confirmed == (str(N2),)
    assert bench.engine.snapshot(bench.now).neighbors == {str(N1): "down"}


# --- webhooks -------------------------------------------------------------------------------------------------------


def webhook(effect, **evidence):
    return Webhook("edge1", "link_down", evidence, effect, actor="switch7")


def test_a_webhook_to_record_is_recorded_and_nothing_more():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    (effect,) = bench.take(webhook("record", state="down", port=7))
    assert isinstance(effect, Record)
    event = effect.event
    assert (event.event_type, event.device, event.source, event.actor) == ("link_down", "edge1", "webhook", "switch7")
    assert event.details == {"state": "down", "port": 7}


def test_a_webhook_to_probe_looks_at_the_whole_device():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    look, record = bench.take(webhook("probe", state="down"))
    assert look == Look("edge1", None, record.event.id)
    assert bench.announced()


def test_a_webhook_about_a_device_we_do_not_know_is_recorded():
    (effect,) = Bench(service("dns", "edge1/*")).take(Webhook("core9", "link_down", {}))
    assert effect.event.device == "core9"


@pytest.mark.parametrize("named", [{}, {"session": id_("a")}, {"session": "ge-0/0/0"}, {"peer": "198.51.100.1"}])
def test_a_webhook_to_observe_is_a_sample_like_any_other(named):
    bench = Bench(service("dns", "edge1/198.51.100.1"))
    bench.poll(a=UP)
    effects = bench.take(webhook("observe", state="down", **named))
    assert commands(effects) == []
    assert looks(effects) == [("edge1", id_("a"))]
    (withdraw,) = commands(bench.look(a=DOWN))
    assert bench.chain(withdraw.command) == ["route_withdraw", "bfd_failure", "link_down"]


def test_a_webhook_to_observe_means_only_the_session_it_names():
    bench = Bench(service("dns", "edge1/*", confirm=False))
    bench.poll(a=UP, b=UP)
    bench.take(webhook("observe", state="down", peer="198.51.100.1"))
    assert {view.session.id: view.state for view in bench.engine.snapshot(bench.now).sessions} == {
        id_("a"): DOWN,
        id_("b"): UP,
    }


@pytest.mark.parametrize(
    "evidence",
    [
        {},
        {"state": "melted"},
        {"state": "missing"},
        {"state": "unknown"},
        {"state": None},
        {"state": ["down"]},
        {"state": {"is": "down"}},
        {"state": 2},
        {"state": "down", "session": 5},
        {"state": "down", "peer": ["198.51.100.1"]},
        {"state": "down", "session": None},
        {"state": "down", "peer": "198.51.100.77"},
    ],
)
def test_evidence_that_names_no_state_of_a_known_session_makes_a_probe_of_observe(evidence):
    bench = Bench(service("dns", "edge1/*", confirm=False))
    bench.poll(a=UP)
    effects = bench.take(webhook("observe", **evidence))
    assert (commands(effects), looks(effects)) == ([], [("edge1", None)])
    assert len(events(effects)) == 1
    assert bench.announced()


# --- events ---------------------------------------------------------------------------------------------------------


def test_only_changes_are_events_unless_every_poll_is_to_be_recorded():
    quiet, chatty = Bench(service("dns", "edge1/*")), Bench(service("dns", "edge1/*"), record_polls=True)
    for bench, expected in ((quiet, []), (chatty, ["snmp_poll"])):
        bench.poll(a=UP)
        assert [event.event_type for event in events(bench.poll(a=UP))] == expected


def test_a_change_is_recorded_with_what_was_seen():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    seen = Observation(session("a"), DOWN, Diagnostic.CONTROL_DETECTION_TIME_EXPIRED, {"up_count": 4})
    learned, failure = events(bench.take(Poll("edge1", (seen,), complete=True)))
    assert [learned.event_type, failure.event_type] == ["snmp_poll", "bfd_failure"]
    assert failure.details == {
        "state": "down",
        "was": "up",
        "diagnostic": "control_detection_time_expired",
        "peer": "198.51.100.1",
        "interface": "ge-0/0/0",
        "discriminator": 1000,
        "up_count": 4,
    }
    assert (failure.device, failure.session, failure.source) == ("edge1", id_("a"), "snmp_poll")


def test_admin_down_is_no_failure_and_coming_back_from_it_no_recovery():
    bench = Bench(service("dns", "edge1/*"))
    bench.poll(a=UP)
    for state in (ADMIN_DOWN, UP):
        assert [event.event_type for event in events(bench.poll(a=state))] == ["snmp_poll"]
    assert bench.announced()


def test_a_note_is_recorded_as_it_is():
    bench = Bench(service("dns", "edge1/*"))
    (effect,) = bench.take(Note("store_down", {"error": "disk full"}, device="edge1", actor="noc"))
    event = effect.event
    assert (event.event_type, event.device, event.actor, event.source) == ("store_down", "edge1", "noc", "self")
    assert event.details == {"error": "disk full"}


def test_start_is_the_first_event_and_carries_its_details():
    bench = Bench(service("dns", "edge1/*"), start=False)
    (event,) = events(bench.take(Start({"version": "1.0"})))
    assert (event.event_type, event.details) == ("started", {"version": "1.0"})


def test_an_answer_of_a_device_that_left_the_plan_is_nothing():
    bench = Bench(service("dns", "edge1/*"))
    assert bench.poll("edge9", a=UP) == []
    assert bench.take(Silence("edge9", "timeout")) == []


# --- snapshots ------------------------------------------------------------------------------------------------------


def test_a_snapshot_says_what_is_and_why():
    bench = Bench(service("dns", "edge1/*", "edge2/*", require=1), devices=("edge1", "edge2"))
    bench.poll("edge1", a=UP, b=DOWN)
    bench.look("edge1", b=DOWN)
    bench.take(Silence("edge2", "timeout"))
    shot = bench.engine.snapshot(7.0)
    assert shot.at == 7.0
    assert [(device.name, device.reachable, device.reason, device.sessions) for device in shot.devices] == [
        ("edge1", True, "", 2),
        ("edge2", False, "timeout", 0),
    ]
    assert [(view.session.id, view.state, view.changes, view.services) for view in shot.sessions] == [
        (id_("a"), UP, 1, ("dns",)),
        (id_("b"), DOWN, 1, ("dns",)),
    ]
    (view,) = shot.services
    assert (view.announced, view.adopted, view.up, view.undecided, view.needed) == (True, False, 1, 1, 1)
    assert {leg.session: leg.counts_as for leg in view.legs} == {
        id_("a"): "up",
        id_("b"): "down",
        "edge2/*": "undecided",
    }
    assert view.why == "announced: 1 of 3 sessions up, 1 undecided, 1 needed"
    assert view.since == 1.0


def test_a_snapshot_says_that_a_service_is_recovering_or_only_adopted():
    rising = Bench(service("dns", "edge1/*", rise=3))
    rising.poll(a=UP)
    assert rising.service().why == (
        f"withdrawn: 0 of 1 sessions up, 1 undecided, 1 needed; {id_('a')} is recovering (rise, then hold_up)"
    )
    kept = Bench(service("dns", "edge1/*"), restored=adopted(believed("dns")))
    assert kept.service().why.startswith("announced: it was when we started")


def test_a_snapshot_does_not_change_when_the_engine_goes_on():
    bench = Bench(service("dns", "edge1/*", confirm=False))
    bench.poll(a=UP)
    bench.take(Neighbor(N1, "up"))
    before = bench.engine.snapshot(bench.now)
    kept = repr(before)
    bench.poll(a=DOWN)
    bench.take(Neighbor(N1, "down"))
    bench.take(Advertised(N1, V4, announced=False))
    silence_for(bench, 20)
    after = bench.engine.snapshot(bench.now)
    assert repr(before) == kept
    assert repr(after) != kept
    with pytest.raises(FrozenInstanceError):
        before.services[0].announced = False


def test_a_snapshot_shares_what_did_not_change():
    bench = Bench(service("dns", "edge1/198.51.100.1"), service("ntp", "edge1/198.51.100.2", prefixes=(V6,)))
    bench.poll(a=UP, b=UP)
    before = bench.engine.snapshot(bench.now)
    bench.poll(a=DOWN, b=UP)
    after = bench.engine.snapshot(bench.now)
    assert after.services[1] is before.services[1]
    assert after.services[0] is not before.services[0]


# --- replay ---------------------------------------------------------------------------------------------------------


def test_equal_inputs_at_equal_times_give_equal_effects():
    def run():
        bench = Bench(
            service("dns", "edge1/*", "edge1/ge-0/0/0", confirm=False),
            service("ntp", "edge1/198.51.100.1", "edge1/1001", prefixes=(V6,)),
        )
        bench.poll(a=UP, b=UP, c=UP)
        bench.poll(a=DOWN, b=DOWN)
        bench.look(b=DOWN)
        silence_for(bench, 20)
        return bench.all

    assert run() == run()
