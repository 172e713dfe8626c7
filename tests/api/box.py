"""The program in a box: what the web room asks for, answered from plain values that each test sets."""

import threading
from dataclasses import dataclass, field, replace
from hashlib import sha256
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from exabgp_bfd.core.jobs import JobRequest, JobStatus, JobView
from exabgp_bfd.core.model import (
    Announce,
    Clear,
    DeviceView,
    Diagnostic,
    EventQuery,
    Explanation,
    GuardView,
    LegView,
    Order,
    Override,
    Peer,
    Preview,
    Route,
    RouteView,
    Secret,
    Selector,
    Service,
    ServiceView,
    Session,
    SessionView,
    Snapshot,
    State,
    Watchdog,
    Webhook,
    Withdraw,
)
from exabgp_bfd.web.auth import Key, Role
from exabgp_bfd.web.backend import BgpFound, BgpQuestion, EventsFound, SiteStands

NOON = 1795176000 * 1_000_000
"""2026-11-20T12:00:00Z."""

DOWN = SessionView(
    session=Session(
        "edge1", "198.51.100.1", peer=ip_address("198.51.100.1"), interface="ge-0/0/1", discriminator=7, vrf="red"
    ),
    state=State.DOWN,
    since=90.5,
    heard=90.5,
    diagnostic=Diagnostic.CONTROL_DETECTION_TIME_EXPIRED,
    changes=3,
    event=11,
    services=("dns",),
)
UP = SessionView(
    session=Session("edge2", "2001:db8::1", peer=ip_address("2001:db8::1")),
    state=State.UP,
    since=10.0,
    heard=10.0,
    diagnostic=None,
    changes=1,
    event=4,
    services=("dns", "ntp"),
)
DNS = ServiceView(
    service=Service(
        "dns",
        routes=(Route(ip_network("192.0.2.53/32"), neighbors=(ip_address("192.0.2.254"),), med=50),),
        selectors=(Selector("edge1", "198.51.100.1"), Selector("edge2", "*")),
        require="all",
    ),
    announced=False,
    since=90.5,
    adopted=False,
    up=1,
    undecided=0,
    needed=2,
    legs=(
        LegView("edge1/198.51.100.1", State.DOWN, "down", "1 bad sample, confirmed"),
        LegView("edge2/2001:db8::1", State.UP, "up", "3 good samples and 10 s"),
    ),
    routes=(
        RouteView(
            Route(ip_network("192.0.2.53/32"), neighbors=(ip_address("192.0.2.254"),), med=50),
            announced=False,
            accepted=True,
            confirmed=("192.0.2.254",),
            event=12,
            unseen=(("192.0.2.253", "no UPDATE for it was seen"),),
        ),
    ),
    why="1 of 2 sessions is up, 2 are needed",
    health="down",
    layer="health",
    override=None,
    windows=(),
    disabled=False,
)
NTP = ServiceView(
    service=Service(
        "ntp",
        routes=(Route(ip_network("2001:db8::7b/128")), Watchdog("ntp")),
        selectors=(Selector("edge2", "*"),),
    ),
    announced=True,
    since=None,
    adopted=True,
    up=0,
    undecided=1,
    needed=1,
    legs=(),
    routes=(
        RouteView(Route(ip_network("2001:db8::7b/128")), True, None, (), None),
        RouteView(Watchdog("ntp"), True, True, (), 9),
    ),
    why="kept from before the restart",
    health="undecided",
    layer="start",
    override=None,
    windows=("upgrade",),
    disabled=True,
)
SNAPSHOT = Snapshot(
    at=100.0,
    devices=(
        DeviceView("edge1", heard=99.0, reachable=True, reason="", sessions=1),
        DeviceView("edge2", heard=None, reachable=False, reason="timed out", sessions=1),
    ),
    sessions=(UP, DOWN),
    services=(NTP, DNS),
    neighbors={"192.0.2.254": "up"},
    guard=GuardView(held=(), withdrawn=("dns",), limit=2, lift=None, blind=False, clock_doubted=False),
    windows=("upgrade",),
    peers=(Peer(ip_address("192.0.2.254"), families=frozenset({"ipv4 unicast"}), tells=True),),
    exabgp="exabgp 5.0.15",
)
EXPLANATION = Explanation(
    service="dns",
    announced=False,
    answer="dns is withdrawn, because 1 of 2 sessions is up and 2 are needed",
    because=("health decides: no order, no window, no file says otherwise",),
    sessions=("edge1/198.51.100.1 is down: control detection time expired", "edge2/2001:db8::1 is up"),
    routes=("192.0.2.53/32 was withdrawn, and the withdraw was seen to go to 192.0.2.254",),
    event=13,
)
PREVIEW = Preview(
    commands=(
        Withdraw(0, "dns", Route(ip_network("192.0.2.53/32"))),
        Announce(0, "dns", Route(ip_network("192.0.2.54/32"), med=50, communities=("65000:53", "no-export"))),
        Announce(0, "ntp", Watchdog("ntp")),
    ),
    added=("ntp",),
    removed=(),
    changed=("dns",),
    devices_added=("edge3",),
    devices_removed=(),
)


def event(number: int, **more: Any) -> dict[str, Any]:
    """An event document as a store gives it."""
    return {
        "id": number,
        "ts": "2026-11-20T12:00:00.123456Z",
        "device": "edge1",
        "event_type": "bfd_failure",
        "details": {},
        "site": "fra1",
        "session": None,
        "service": None,
        "source": "snmp_poll",
        "actor": None,
        "cause": None,
        **more,
    }


@dataclass
class Box:
    """The backend of these tests."""

    site: str = "fra1"
    version: str = "1.2.3"
    view: Snapshot = SNAPSHOT
    missing: list[str] = field(default_factory=list)
    answers: bool = True
    healthy: bool = True
    trail: list[dict[str, Any]] = field(default_factory=list)
    queries: list[EventQuery] = field(default_factory=list)
    webhooks: list[Webhook] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)
    """How each webhook ended, in order."""
    bgp: list[int] = field(default_factory=list)
    """What is in each of the BGP lists."""
    bgp_asked: list[tuple[str, BgpQuestion]] = field(default_factory=list)
    trouble: Exception | None = None
    """Raised by the store, for reading and for writing."""
    refusal: Exception | None = None
    """Raised for what would change something, or asks what would."""
    ordered: list[Order | Clear] = field(default_factory=list)
    ordered_of_all: list[Order | Clear] = field(default_factory=list)
    all_event: int | None = 61
    sites_asked: list[str | None] = field(default_factory=list)
    elsewhere: tuple[bool, list[SiteStands]] | None = None
    explanation: Explanation = EXPLANATION
    plan: Preview = PREVIEW
    previewed: list[Path | None] = field(default_factory=list)
    reloads: list[str] = field(default_factory=list)
    """Who asked for each."""
    jobs: list[JobRequest] = field(default_factory=list)
    """What the SNMP proxy was asked."""
    held: threading.Event | None = None
    """A webhook waits for it, as for a slow disk."""
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released whenever a webhook reaches the store."""

    def snapshot(self) -> Snapshot:
        return self.view

    def ready(self) -> list[str]:
        return self.missing

    def alive(self, timeout: float) -> bool:
        assert timeout > 0
        return self.answers

    def clock(self) -> tuple[float, int]:
        return 100.0, NOON

    def started(self) -> int:
        return NOON - 90_000_000

    def events(self, query: EventQuery) -> list[dict[str, Any]]:
        if self.trouble:
            raise self.trouble
        self.queries.append(query)
        found = [one for one in self.trail if query.before is None or one["id"] < query.before]
        return sorted(found, key=lambda one: -one["id"])[: query.limit]

    def bgp_answer(self, what: str, asked: BgpQuestion) -> BgpFound:
        if self.trouble:
            raise self.trouble
        self.bgp_asked.append((what, asked))
        after = 0 if asked.cursor is None else int(asked.cursor.removeprefix("after "))
        return BgpFound([(f"after {n}", {"n": n}) for n in self.bgp if n > after][: asked.limit], "journal")

    def bgp_messages(self, asked: BgpQuestion) -> BgpFound:
        return self.bgp_answer("messages", asked)

    def bgp_routes(self, asked: BgpQuestion) -> BgpFound:
        return self.bgp_answer("routes", asked)

    def bgp_history(self, asked: BgpQuestion) -> BgpFound:
        return self.bgp_answer("history", asked)

    def bgp_rates(self, asked: BgpQuestion) -> BgpFound:
        return self.bgp_answer("rates", asked)

    def bgp_neighbors(self) -> list[dict[str, Any]]:
        if self.trouble:
            raise self.trouble
        return [{"n": n} for n in self.bgp]

    def webhook(self, webhook: Webhook, timeout: float) -> int:
        self.entered.release()
        if self.held is not None and not self.held.wait(min(timeout, 30)):
            raise TimeoutError
        if self.trouble:
            raise self.trouble
        self.webhooks.append(webhook)
        return 40 + len(self.webhooks)

    def event(self, number: int) -> dict[str, Any] | None:
        if self.trouble:
            raise self.trouble
        return next((one for one in self.trail if one["id"] == number), None)

    def events_of(self, query: EventQuery, site: str | None, cursor: str | None) -> EventsFound:
        if self.trouble:
            raise self.trouble
        after = None if cursor is None else int(cursor.removeprefix("at "))
        self.sites_asked.append(site)
        mine = [one for one in self.trail if site is None or one["site"] == site]
        found = [one for one in mine if after is None or one["id"] < after]
        found.sort(key=lambda one: -one["id"])
        return EventsFound([(f"at {one['id']}", one) for one in found[: query.limit]], "mongodb")

    def order_all(self, what: Order | Clear, timeout: float) -> int | None:
        assert timeout > 0
        if self.refusal:
            raise self.refusal
        self.ordered_of_all.append(what)
        return self.all_event

    def everywhere(self, timeout: float) -> tuple[bool, list[SiteStands]] | None:
        assert timeout > 0
        return self.elsewhere

    def order(self, what: Order | Clear, timeout: float) -> int:
        assert timeout > 0
        if self.refusal:
            raise self.refusal
        self.ordered.append(what)
        if isinstance(what, Clear):
            self.show(what.service, None)
        else:
            self.show(what.what.service if isinstance(what.what, Override) else None, what.what)
        return 70 + len(self.ordered)

    def show(self, service: str | None, order: Any) -> None:
        """Lets the views show an order; of a service, or (None) of the guard."""
        if service is None:
            self.view = replace(self.view, guard=replace(self.view.guard, lift=order))
            return
        shown = [replace(one, override=order) if one.service.name == service else one for one in self.view.services]
        self.view = replace(self.view, services=tuple(shown))

    def explain(self, service: str) -> Explanation | None:
        return self.explanation if service == self.explanation.service else None

    def preview(self, file: Path | None, timeout: float) -> tuple[Path | None, Preview]:
        assert timeout > 0
        if self.refusal:
            raise self.refusal
        self.previewed.append(file)
        return file or Path("/etc/exabgp-bfd/exabgp-bfd.toml"), self.plan

    def reload(self, actor: str, timeout: float) -> int:
        assert timeout > 0
        if self.refusal:
            raise self.refusal
        self.reloads.append(actor)
        return 90 + len(self.reloads)

    def snmp_submit(self, request: JobRequest, actor: str) -> JobView:
        self.jobs.append(request)
        return JobView(len(self.jobs), "a-ticket", request.kind, "edge1", actor, JobStatus.QUEUED, NOON)

    def snmp_status(self, ticket: str) -> JobView | None:
        return None

    def snmp_jobs(self, limit: int, before: int | None) -> tuple[JobView, ...]:
        return ()

    def snmp_cancel(self, ticket: str, actor: str) -> JobView | None:
        return None

    def count_webhook(self, outcome: str) -> None:
        self.counted.append(outcome)

    def devices(self) -> frozenset[str]:
        return frozenset(device.name for device in self.view.devices)

    def metrics(self) -> bytes:
        return b"exabgp_bfd_loop_lag_seconds 0.0\n"

    def lifecycle(self) -> dict[str, Any]:
        return {"starts": 1, "held": 0.0, "crashes": 0}

    def journal_healthy(self) -> bool:
        return self.healthy


KEYS: dict[Role, str] = {"read": "key-that-reads", "operate": "key-that-operates", "admin": "key-that-administers"}


def keys() -> tuple[Key, ...]:
    """A key of each role, which is named after it."""
    return tuple(Key(f"a-{role}", role, Secret(sha256(text.encode()).hexdigest())) for role, text in KEYS.items())
