"""The metrics as Prometheus reads them."""

import subprocess
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exabgp_bfd.core.model import (
    DeviceView,
    GuardView,
    Outcome,
    Route,
    RouteView,
    Service,
    ServiceView,
    Session,
    SessionView,
    Snapshot,
    State,
)
from exabgp_bfd.core.notices import EndpointState, EndpointView
from exabgp_bfd.metrics import Metrics, PollOutcome, Tallies, WebhookOutcome
from exabgp_bfd.storage.mongo import Shipped

NOON = 1795176000


def session(name: str, state: State, changes: int = 0) -> SessionView:
    return SessionView(Session("edge1", name), state, 0.0, 0.0, None, changes, None, ())


def service(name: str, announced: bool, *routes: RouteView, layer: str = "health") -> ServiceView:
    rule = Service(name, tuple(route.route for route in routes), ())
    return ServiceView(rule, announced, None, False, 0, 0, 1, (), routes, "", "full", layer, None, (), False)


def route(prefix: str, announced: bool, **more) -> RouteView:
    return RouteView(Route(ip_network(prefix), **more), announced, None, (), None)


SNAPSHOT = Snapshot(
    at=100.0,
    devices=(
        DeviceView("edge1", heard=97.5, reachable=True, reason="", sessions=2),
        DeviceView("edge2", heard=None, reachable=None, reason="", sessions=0),
        DeviceView("edge3", heard=50.0, reachable=False, reason="timed out", sessions=0),
    ),
    sessions=(session("10.0.0.1", State.UP, 5), session("10.0.0.2", State.UNKNOWN), session('a"b\\c', State.DOWN, 1)),
    services=(
        service("dns", True, route("192.0.2.53/32", True), route("2001:db8::53/128", False)),
        service("ntp", False, layer="window"),
    ),
    neighbors={},
    guard=GuardView(("ntp",), ("dns",), 1, None, blind=True, clock_doubted=False),
    windows=(),
)


class World:
    """What the metrics are asked about, changeable between two scrapes."""

    def __init__(self):
        self.snapshot = SNAPSHOT
        self.counts = {name: index + 1 for index, name in enumerate(Tallies.__dataclass_fields__)}
        for name in ("polling", "notifications", "jobs", "jobs_now"):
            self.counts[name] = {f"{name} one": 7.0, f"{name} two": 8.0}
        self.counts["notify"] = ((), {"sent": 3.0, "failed": 2.0, "dead": 1.0})
        self.counts["mongodb"] = Shipped(True, {"event": 5, "message": 6}, 1, 2, 30, 4.5, 3, "no answer")
        self.tallies = Tallies(**{name: (lambda name=name: self.counts[name]) for name in self.counts})
        self.metrics = Metrics("1.2.3", lambda: self.snapshot, lambda: (100.0, NOON * 1_000_000), self.tallies)

    def scrape(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """Each sample by its name and its labels' values."""
        text = self.metrics.render().decode()
        return {
            (sample.name.removeprefix("exabgp_bfd_"), tuple(value for _, value in sorted(sample.labels.items()))): (
                sample.value
            )
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture
def world():
    return World()


def test_every_name_has_our_prefix_and_no_creation_time(world):
    lines = [line for line in world.metrics.render().decode().splitlines() if not line.startswith("#")]
    assert all(line.startswith("exabgp_bfd_") for line in lines)
    assert not [line for line in lines if "_created" in line]


def test_each_family_is_explained_once(world):
    text = world.metrics.render().decode()
    named = [line.split()[2] for line in text.splitlines() if line.startswith("# HELP")]
    assert len(named) == len(set(named))
    assert set(named) == {
        f"exabgp_bfd_{name}"
        for name in (
            "build_info",
            "session_up",
            "session_changes_total",
            "device_reachable",
            "last_poll_success_timestamp_seconds",
            "polls_total",
            "service_announced",
            "service_ordered",
            "guard_held_services",
            "guard_blind",
            *("mongodb_up", "mongodb_shipped_total", "mongodb_duplicates_total", "mongodb_set_aside_total"),
            *("mongodb_errors_total", "mongodb_behind_records", "mongodb_behind_seconds"),
            *("bgp_routes", "bgp_routes_refused_total"),
            "route_announced",
            "route_refused",
            "route_commands_total",
            "reaction_seconds",
            "exabgp_answers_total",
            "messages_read_total",
            "messages_dropped_total",
            "messages_quarantined_total",
            "store_queue_records",
            "store_dropped_total",
            "store_errors_total",
            "crashes_total",
            "starts",
            "start_held_seconds",
            "polling_total",
            "notifications_total",
            "snmp_jobs_total",
            "snmp_jobs_now",
            "stream_followers",
            "stream_dropped_total",
            *("notify_alerts_total", "notify_up", "notify_queue_alerts", "notify_lag_seconds"),
            "webhooks_total",
            "loop_lag_seconds",
        )
    }


def test_promtool_has_nothing_to_complain_of(world, need):
    """Of all that there is, also where a process has not all of it; tests/live/test_metrics.py asks of a process."""
    world.metrics.count_poll("edge1", PollOutcome.OK)
    command = [need("promtool", "prometheus"), "check", "metrics"]
    checked = subprocess.run(command, input=world.metrics.render(), capture_output=True, timeout=60, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_version(world):
    assert world.scrape()["build_info", ("1.2.3",)] == 1


def test_sessions_are_one_only_while_up(world):
    samples = world.scrape()
    assert samples["session_up", ("edge1", "edge1/10.0.0.1")] == 1
    assert samples["session_up", ("edge1", "edge1/10.0.0.2")] == 0
    assert samples["session_up", ("edge1", 'edge1/a"b\\c')] == 0
    assert samples["session_changes_total", ("edge1", "edge1/10.0.0.1")] == 5


def test_devices_and_when_they_last_answered(world):
    samples = world.scrape()
    assert [samples["device_reachable", (name,)] for name in ("edge1", "edge2", "edge3")] == [1, 0, 0]
    when = "last_poll_success_timestamp_seconds"
    assert [samples[when, (name,)] for name in ("edge1", "edge2", "edge3")] == [NOON - 2.5, 0, NOON - 50]


def test_services_and_their_routes(world):
    samples = world.scrape()
    assert samples["service_announced", ("dns",)] == 1
    assert samples["service_announced", ("ntp",)] == 0
    assert samples["service_ordered", ("dns",)] == 0
    assert samples["service_ordered", ("ntp",)] == 1
    assert samples["guard_held_services", ()] == 1
    assert samples["guard_blind", ()] == 1
    assert samples["route_announced", ("192.0.2.53/32", "dns")] == 1
    assert samples["route_announced", ("2001:db8::53/128", "dns")] == 0


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_a_prefix_written_twice_is_one_series(world, order):
    twice = [
        route("192.0.2.53/32", announced, neighbors=(ip_address(f"192.0.2.{number}"),))
        for number, announced in enumerate(order, 1)
    ]
    world.snapshot = replace(SNAPSHOT, services=(service("dns", True, *twice),))
    text = world.metrics.render().decode()
    assert text.count('exabgp_bfd_route_announced{prefix="192.0.2.53/32",service="dns"} 1.0') == 1
    assert text.count("exabgp_bfd_route_announced{") == 1


def test_a_scrape_shows_the_snapshot_of_its_moment(world):
    world.scrape()
    world.snapshot = replace(SNAPSHOT, sessions=(session("10.0.0.1", State.DOWN, 6),))
    samples = world.scrape()
    assert samples["session_up", ("edge1", "edge1/10.0.0.1")] == 0
    assert ("session_up", ("edge1", "edge1/10.0.0.2")) not in samples


def test_the_other_rooms_totals_are_asked_at_each_scrape(world):
    names = {
        "messages_read": "messages_read_total",
        "messages_dropped": "messages_dropped_total",
        "messages_quarantined": "messages_quarantined_total",
        "store_queue": "store_queue_records",
        "store_dropped": "store_dropped_total",
        "store_errors": "store_errors_total",
        "bgp_routes": "bgp_routes",
        "bgp_routes_refused": "bgp_routes_refused_total",
        "crashes": "crashes_total",
        "starts": "starts",
        "held": "start_held_seconds",
        "followers": "stream_followers",
        "followers_dropped": "stream_dropped_total",
    }
    single = {name: world.counts[name] for name in names}
    assert {name: world.scrape()[series, ()] for name, series in names.items()} == single
    world.counts.update({name: count + 100 for name, count in single.items()})
    assert {name: world.scrape()[series, ()] for name, series in names.items()} == {
        name: count + 100 for name, count in single.items()
    }


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("polling", "polling_total"),
        ("notifications", "notifications_total"),
        ("jobs", "snmp_jobs_total"),
        ("jobs_now", "snmp_jobs_now"),
    ],
)
def test_what_other_rooms_count_by_kind_is_labelled(world, name, series):
    world.counts[name] = {f"{name} one": 1.0, f"{name} two": 2.0}
    samples = world.scrape()
    assert (samples[series, (f"{name} one",)], samples[series, (f"{name} two",)]) == (1.0, 2.0)


def test_endpoints_of_alerts_are_up_only_while_they_take_them(world):
    view = EndpointView("noc", "https://h", "both", EndpointState.OK, 5, 1.5, 40, 3, 2, 1, 0, None, None, None, None)
    states = {"noc": EndpointState.OK, "pager": EndpointState.FAILING, "chat": EndpointState.DISABLED}
    views = [replace(view, name=name, state=state) for name, state in states.items()]
    world.counts["notify"] = (views, {"sent": 3.0, "failed": 2.0, "dead": 1.0})
    samples = world.scrape()
    assert [samples["notify_up", (name,)] for name in states] == [1, 0, 0]
    assert (samples["notify_queue_alerts", ("noc",)], samples["notify_lag_seconds", ("noc",)]) == (5, 1.5)
    assert [samples["notify_alerts_total", (name,)] for name in ("sent", "failed", "dead")] == [3, 2, 1]


def test_the_copy_in_mongodb_is_told_of_where_there_is_one(world):
    series = {name: value for (name, _), value in world.scrape().items() if name.startswith("mongodb_")}
    assert series == {
        "mongodb_up": 1.0,
        "mongodb_shipped_total": 6.0,
        "mongodb_duplicates_total": 1.0,
        "mongodb_set_aside_total": 2.0,
        "mongodb_errors_total": 3.0,
        "mongodb_behind_records": 30.0,
        "mongodb_behind_seconds": 4.5,
    }
    world.tallies = replace(world.tallies, mongodb=None)
    world.metrics = Metrics("1.2.3", lambda: world.snapshot, lambda: (100.0, NOON * 1_000_000), world.tallies)
    assert not [name for name, _ in world.scrape() if name.startswith("mongodb_")]


def test_bounded_counters_start_at_zero_so_that_their_first_rise_is_seen(world):
    samples = world.scrape()
    for action in ("announce", "withdraw"):
        assert samples["route_commands_total", (action,)] == 0
    for outcome in Outcome:
        assert samples["exabgp_answers_total", (outcome.value,)] == 0
    for webhook in WebhookOutcome:
        assert samples["webhooks_total", (webhook.value,)] == 0


def test_each_count_goes_where_it_belongs(world):
    metrics = world.metrics
    metrics.count_command("withdraw")
    metrics.count_command("withdraw")
    metrics.count_command("announce")
    metrics.count_answer(Outcome.ERROR)
    metrics.count_poll("edge1", PollOutcome.OK)
    metrics.count_poll("edge1", PollOutcome.TIMEOUT)
    metrics.count_poll("edge1", PollOutcome.TIMEOUT)
    metrics.count_webhook("unsigned")
    metrics.observe_loop_lag(0.25)
    samples = world.scrape()
    assert samples["route_commands_total", ("withdraw",)] == 2
    assert samples["route_commands_total", ("announce",)] == 1
    assert samples["exabgp_answers_total", ("error",)] == 1
    assert samples["exabgp_answers_total", ("done",)] == 0
    assert samples["polls_total", ("edge1", "ok")] == 1
    assert samples["polls_total", ("edge1", "timeout")] == 2
    assert samples["webhooks_total", ("unsigned",)] == 1
    assert samples["loop_lag_seconds", ()] == 0.25


def test_a_webhook_outcome_that_nobody_knows_makes_no_new_series(world):
    with pytest.raises(KeyError):
        world.metrics.count_webhook("anything a client sent")


def test_reactions_fall_into_buckets_from_50_microseconds_to_a_second(world):
    for seconds in (40e-6, 150e-6, 0.0015, 3.0):
        world.metrics.observe_reaction(seconds)
    samples = world.scrape()
    assert samples["reaction_seconds_count", ()] == 4
    assert samples["reaction_seconds_sum", ()] == pytest.approx(3.00169)
    buckets = {
        float(labels[0]): value for (name, labels), value in samples.items() if name == "reaction_seconds_bucket"
    }
    assert min(buckets) == 50e-6
    assert sorted(buckets)[-2:] == [1.0, float("inf")]
    assert buckets[50e-6] == 1
    assert buckets[2e-4] == 2
    assert buckets[2e-3] == 3
    assert buckets[1.0] == 3
    assert buckets[float("inf")] == 4


def test_two_sets_of_metrics_do_not_meet():
    first, second = World(), World()
    first.metrics.count_command("announce")
    assert second.scrape()["route_commands_total", ("announce",)] == 0
