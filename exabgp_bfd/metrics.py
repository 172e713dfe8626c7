"""What Prometheus reads: counters and a histogram that the hot path touches, and the rest made at scrape time.

Everything that the snapshot already says is built from it when somebody scrapes, so that a change of state costs
nothing here. Labels are bounded by the configuration (devices, services, prefixes), by the sessions seen, and by enums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exabgp_bfd.core.model import DeviceView, GuardView, Outcome, ServiceView, SessionView, Snapshot, State
from exabgp_bfd.core.notices import EndpointState, EndpointView

_PREFIX = "exabgp_bfd"

_ORDERS = frozenset({"override", "disable_file", "window"})
_REACTION_BUCKETS = (50e-6, 1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds; the bars of DESIGN section 7 (0.3 ms, 2 ms, 20 ms) are edges, so that a query can count against them."""


class PollOutcome(StrEnum):
    """How one poll of a device ended."""

    OK = "ok"
    TIMEOUT = "timeout"
    ERROR = "error"


class WebhookOutcome(StrEnum):
    """How one webhook was answered."""

    ACCEPTED = "accepted"
    UNSIGNED = "unsigned"
    """Its signature was missing, malformed or wrong."""
    INVALID = "invalid"
    """Its body was too large, not JSON, or not what is asked for."""
    UNAVAILABLE = "unavailable"
    """No secret is configured, or it could not be put on disk in time."""
    REPEATED = "repeated"
    """It was taken before, and answered as then."""
    REPLAYED = "replayed"
    """It was taken before, and is refused."""


class Copy(Protocol):
    """How the copy of the journal in MongoDB stands."""

    @property
    def up(self) -> bool | None:
        """Whether it took what it was last given; None: it was not asked yet."""

    @property
    def shipped(self) -> Mapping[str, int]:
        """Records that it acknowledged, by kind."""

    @property
    def duplicates(self) -> int:
        """Records that were there already."""

    @property
    def set_aside(self) -> int:
        """Records that it refuses."""

    @property
    def errors(self) -> int:
        """Attempts that failed."""

    @property
    def behind_rows(self) -> int:
        """Records that it lacks."""

    @property
    def behind_seconds(self) -> float:
        """The age of the oldest of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallies:
    """Totals and depths that other rooms keep; each is called at scrape time on a web thread and must not block."""

    messages_read: Callable[[], float]
    messages_dropped: Callable[[], float]
    messages_quarantined: Callable[[], float]
    store_queue: Callable[[], float]
    """Records that wait for the journal now."""
    store_dropped: Callable[[], float]
    store_errors: Callable[[], float]
    bgp_routes: Callable[[], float]
    """Routes in the tables of what neighbours say, and of what they are told."""
    bgp_routes_refused: Callable[[], float]
    mongodb: Callable[[], Copy] | None
    """None: no copy is kept there."""
    crashes: Callable[[], float]
    """Processes of ours that died and were replaced since ExaBGP started us."""
    starts: Callable[[], float]
    """How often ExaBGP has started us in the 64 s in which it did so last."""
    held: Callable[[], float]
    """Seconds for which that start was held up."""
    polling: Callable[[], Mapping[str, float]]
    """What the poller counts, by name."""
    notifications: Callable[[], Mapping[str, float]]
    """What became of the SNMP notifications received, by outcome."""
    jobs: Callable[[], Mapping[str, float]]
    """What became of the SNMP proxy's jobs, by outcome."""
    jobs_now: Callable[[], Mapping[str, float]]
    """The SNMP proxy's jobs at this moment, by state."""
    notify: Callable[[], tuple[Sequence[EndpointView], Mapping[str, float]]]
    """Who is told of events, and what became of all tries, by outcome."""
    followers: Callable[[], float]
    """Who follows the events over HTTP now."""
    followers_dropped: Callable[[], float]
    """Those that were let go because they did not read."""


class Metrics:
    """The program's metrics in a registry of their own; `render` may be called on any thread."""

    def __init__(
        self,
        version: str,
        snapshot: Callable[[], Snapshot],
        clock: Callable[[], tuple[float, int]],
        tallies: Tallies,
    ) -> None:
        # The creation time of a series doubles the output, and Prometheus' text format has no place for it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        build = Gauge("build_info", "The running version.", ["version"], namespace=_PREFIX, registry=self._registry)
        build.labels(version).set(1)
        self._polls = self._counter("polls", "Polls of a device, by how they ended.", ["device", "outcome"])
        commands = self._counter("route_commands", "Commands written to ExaBGP.", ["action"])
        self._announced = commands.labels("announce")
        self._withdrawn = commands.labels("withdraw")
        answers = self._counter("exabgp_answers", "ExaBGP's answers to our commands.", ["answer"])
        self._answers = {outcome: answers.labels(outcome.value) for outcome in Outcome}
        webhooks = self._counter("webhooks", "Webhooks received, by how they were answered.", ["outcome"])
        self._webhooks = {outcome.value: webhooks.labels(outcome.value) for outcome in WebhookOutcome}
        self._reaction = Histogram(
            "reaction_seconds",
            "From the arrival of the sample to the written line.",
            namespace=_PREFIX,
            buckets=_REACTION_BUCKETS,
            registry=self._registry,
        )
        self._lag = Gauge(
            "loop_lag_seconds", "How late the main loop last woke.", namespace=_PREFIX, registry=self._registry
        )
        self._registry.register(_SnapshotCollector(snapshot, clock))
        self._registry.register(_TallyCollector(tallies))

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(name, text, labels, namespace=_PREFIX, registry=self._registry)

    def observe_reaction(self, seconds: float) -> None:
        """Counts one reaction; called after the line was written."""
        self._reaction.observe(seconds)

    def observe_loop_lag(self, seconds: float) -> None:
        """Notes how late the main loop woke this time."""
        self._lag.set(seconds)

    def count_command(self, action: Literal["announce", "withdraw"]) -> None:
        """Counts one command written to ExaBGP."""
        (self._withdrawn if action == "withdraw" else self._announced).inc()

    def count_answer(self, outcome: Outcome) -> None:
        """Counts one answer of ExaBGP, or its absence."""
        self._answers[outcome].inc()

    def count_poll(self, device: str, outcome: PollOutcome) -> None:
        """Counts one poll of a configured device."""
        self._polls.labels(device, outcome.value).inc()

    def forget_device(self, device: str) -> None:
        """Tells of a device no longer: an inventory that comes and goes would leave a series for each that ever was."""
        for outcome in PollOutcome:
            with suppress(KeyError):
                self._polls.remove(device, outcome.value)

    def count_webhook(self, outcome: str) -> None:
        """Counts one webhook; `outcome` is a value of `WebhookOutcome`, any other raises KeyError. Any thread."""
        self._webhooks[outcome].inc()

    def render(self) -> bytes:
        """Everything in Prometheus' text format, version 0.0.4."""
        return generate_latest(self._registry)


class _SnapshotCollector(Collector):
    """Turns the newest snapshot into gauges and counters whenever somebody scrapes."""

    def __init__(self, snapshot: Callable[[], Snapshot], clock: Callable[[], tuple[float, int]]) -> None:
        self._snapshot = snapshot
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Nothing: without it the registry would collect once at registration, before there is a snapshot."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """One family after the other, all from the same snapshot."""
        snapshot = self._snapshot()
        yield from _session_families(snapshot.sessions)
        yield from _device_families(snapshot.devices, self._clock())
        yield from _service_families(snapshot.services)
        yield from _guard_families(snapshot.guard)


def _session_families(sessions: tuple[SessionView, ...]) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        f"{_PREFIX}_session_up",
        "1 while a BFD session is up, 0 in every other state, also while nothing is known of it.",
        labels=["device", "session"],
    )
    changes = CounterMetricFamily(
        f"{_PREFIX}_session_changes", "Changes of a BFD session's state.", labels=["device", "session"]
    )
    for view in sessions:
        labels = [view.session.device, view.session.id]
        up.add_metric(labels, 1.0 if view.state is State.UP else 0.0)
        changes.add_metric(labels, view.changes)
    yield up
    yield changes


def _device_families(devices: tuple[DeviceView, ...], clock: tuple[float, int]) -> Iterator[Metric]:
    monotonic, wall = clock
    reachable = GaugeMetricFamily(
        f"{_PREFIX}_device_reachable", "1 while a device answers, 0 while not or not yet.", labels=["device"]
    )
    success = GaugeMetricFamily(
        f"{_PREFIX}_last_poll_success_timestamp_seconds",
        "When a device last answered, in seconds since the epoch; 0: never.",
        labels=["device"],
    )
    for view in devices:
        reachable.add_metric([view.name], 1.0 if view.reachable else 0.0)
        # 0 and not an absent series: `time() - x > 60` then also finds the device that never answered.
        success.add_metric([view.name], 0.0 if view.heard is None else wall / 1e6 - (monotonic - view.heard))
    yield reachable
    yield success


def _service_families(services: tuple[ServiceView, ...]) -> Iterator[Metric]:
    service_announced = GaugeMetricFamily(
        f"{_PREFIX}_service_announced", "1 while a service deserves its routes.", labels=["service"]
    )
    route_announced = GaugeMetricFamily(
        f"{_PREFIX}_route_announced", "1 while we have a prefix announced.", labels=["service", "prefix"]
    )
    refused = GaugeMetricFamily(
        f"{_PREFIX}_route_refused",
        "1 while ExaBGP refuses the last command for a prefix.",
        labels=["service", "prefix"],
    )
    ordered = GaugeMetricFamily(
        f"{_PREFIX}_service_ordered",
        "1 while an override, a disable file or a window decides about a service, and not its health.",
        labels=["service"],
    )
    for view in services:
        name = view.service.name
        ordered.add_metric([name], 1.0 if view.layer in _ORDERS else 0.0)
        service_announced.add_metric([name], 1.0 if view.announced else 0.0)
        # The same prefix may be written twice (another next hop, other neighbours): one series, 1 if any is announced.
        prefixes: dict[str, bool] = {}
        for route in view.routes:
            prefix = route.route.key
            prefixes[prefix] = prefixes.get(prefix, False) or route.announced
        for prefix, announced in prefixes.items():
            route_announced.add_metric([name, prefix], 1.0 if announced else 0.0)
            rejected = any(route.accepted is False for route in view.routes if route.route.key == prefix)
            refused.add_metric([name, prefix], 1.0 if rejected else 0.0)
    yield service_announced
    yield ordered
    yield route_announced
    yield refused


def _guard_families(guard: GuardView) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        f"{_PREFIX}_guard_held_services",
        "Services that the guard's limit keeps announced, though their sessions are down.",
        value=len(guard.held),
    )
    yield GaugeMetricFamily(
        f"{_PREFIX}_guard_blind", "1 while every device is silent at once.", value=1.0 if guard.blind else 0.0
    )


class _TallyCollector(Collector):
    """Asks the other rooms for the totals that they keep themselves."""

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies

    def describe(self) -> Iterable[Metric]:
        """Nothing, for the same reason as above."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """One family a tally."""
        tallies = self._tallies
        yield _total("messages_read", "Lines read from ExaBGP.", tallies.messages_read)
        yield _total("messages_dropped", "BGP messages dropped for want of room.", tallies.messages_dropped)
        yield _total("messages_quarantined", "Lines that could not be understood.", tallies.messages_quarantined)
        yield GaugeMetricFamily(
            f"{_PREFIX}_store_queue_records", "Records that wait for the journal.", value=tallies.store_queue()
        )
        yield _total("store_dropped", "Records dropped before they were stored.", tallies.store_dropped)
        yield _total("store_errors", "Refusals of the journal.", tallies.store_errors)
        routes = "Routes in the tables of what neighbours say and are told."
        yield GaugeMetricFamily(f"{_PREFIX}_bgp_routes", routes, value=tallies.bgp_routes())
        yield _total(
            "bgp_routes_refused", "Announcements for which the tables had no room.", tallies.bgp_routes_refused
        )
        if tallies.mongodb is not None:
            yield from _copy_families(tallies.mongodb())
        yield _total("crashes", "Processes of ours that died and were replaced.", tallies.crashes)
        yield GaugeMetricFamily(
            f"{_PREFIX}_starts",
            "Starts by ExaBGP in the 64 s of our own.",
            value=tallies.starts(),
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}_start_held_seconds", "For how long our start was held up, after too many.", value=tallies.held()
        )
        yield _totals("polling", "What the SNMP poller did.", "what", tallies.polling)
        yield _totals("notifications", "SNMP notifications, by what became of them.", "outcome", tallies.notifications)
        yield _totals("snmp_jobs", "Jobs of the SNMP proxy, by what became of them.", "outcome", tallies.jobs)
        now = GaugeMetricFamily(f"{_PREFIX}_snmp_jobs_now", "Jobs of the SNMP proxy now, by state.", labels=["state"])
        for state, value in tallies.jobs_now().items():
            now.add_metric([state], value)
        yield now
        yield from _notify_families(*tallies.notify())
        yield GaugeMetricFamily(
            f"{_PREFIX}_stream_followers", "Who follows the events over HTTP now.", value=tallies.followers()
        )
        yield _total("stream_dropped", "Followers that were let go: they did not read.", tallies.followers_dropped)


def _notify_families(views: Sequence[EndpointView], totals: Mapping[str, float]) -> Iterator[Metric]:
    alerts = CounterMetricFamily(
        f"{_PREFIX}_notify_alerts", "Alerts sent, tries that failed, and alerts given up (dead).", labels=["outcome"]
    )
    for outcome, count in totals.items():
        alerts.add_metric([outcome], count)
    up = GaugeMetricFamily(
        f"{_PREFIX}_notify_up",
        "1 while an endpoint takes its alerts, 0 while it does not or is disabled.",
        labels=["endpoint"],
    )
    waiting = GaugeMetricFamily(f"{_PREFIX}_notify_queue_alerts", "Alerts that wait.", labels=["endpoint"])
    lag = GaugeMetricFamily(
        f"{_PREFIX}_notify_lag_seconds", "For how long the oldest alert has waited.", labels=["endpoint"]
    )
    for view in views:
        up.add_metric([view.name], 1.0 if view.state is EndpointState.OK else 0.0)
        waiting.add_metric([view.name], view.waiting)
        lag.add_metric([view.name], view.lag)
    yield alerts
    yield up
    yield waiting
    yield lag


def _copy_families(copy: Copy) -> Iterator[Metric]:
    def gauge(name: str, text: str, value: float) -> Metric:
        return GaugeMetricFamily(f"{_PREFIX}_mongodb_{name}", text, value=value)

    yield gauge("up", "1 while MongoDB takes what it is given, 0 while not or not yet.", 1.0 if copy.up else 0.0)
    yield _totals("mongodb_shipped", "Records that MongoDB has acknowledged.", "kind", lambda: copy.shipped)
    yield _total("mongodb_duplicates", "Records that were there already.", lambda: copy.duplicates)
    yield _total("mongodb_set_aside", "Records that MongoDB refuses.", lambda: copy.set_aside)
    yield _total("mongodb_errors", "Attempts that MongoDB failed.", lambda: copy.errors)
    yield gauge("behind_records", "Records that MongoDB lacks.", copy.behind_rows)
    yield gauge("behind_seconds", "The age of the oldest record that MongoDB lacks.", copy.behind_seconds)


def _totals(name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]) -> Metric:
    family = CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=[label])
    for value, count in read().items():
        family.add_metric([value], count)
    return family


def _total(name: str, text: str, read: Callable[[], float]) -> Metric:
    return CounterMetricFamily(f"{_PREFIX}_{name}", text, value=read())
