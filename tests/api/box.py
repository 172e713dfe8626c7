"""The program in a box: what the web room asks for, answered from plain values that each test sets."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from ipaddress import ip_address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from exabgp_bfd import config, roster
from exabgp_bfd.config import Settings
from exabgp_bfd.core.jobs import JobRequest, JobStatus, JobView
from exabgp_bfd.core.mark import Mark, Taken
from exabgp_bfd.core.model import (
    Announce,
    ByHand,
    ByHandView,
    Clear,
    DeviceView,
    Diagnostic,
    EventQuery,
    Explanation,
    GuardView,
    LegView,
    Order,
    Outcome,
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
from exabgp_bfd.core.notices import EndpointView, Letter
from exabgp_bfd.core.spoken import Question
from exabgp_bfd.core.told import Commanded, Ending, Heard, Rehearsed
from exabgp_bfd.core.written import DeviceChange, DeviceChanged, DeviceShown
from exabgp_bfd.storage.queries import StoredMessage
from exabgp_bfd.storage.route_queries import StoredChange, StoredNeighbor, StoredRate, StoredRoute, StoredTable
from exabgp_bfd.storage.seen import Seen
from exabgp_bfd.storage.updates import Kind, key_of
from exabgp_bfd.web.auth import Key, Role
from exabgp_bfd.web.backend import BgpFound, BgpQuestion, CountsFound, EventsFound, SiteStands

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


ENDING = Ending(None, "keep", (Route(ip_network("192.0.2.53/32")), Watchdog("ntp")), again=True)


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


NUMBERED = {"messages": "id", "routes": "message", "history": "id", "rates": "announced", "neighbors": "neighbor"}
"""Where the number stands that a document of each BGP list was made with; as an address, of neighbours."""


def bgp_document(what: str, n: int) -> dict[str, Any]:
    """A document as the journal's reader makes it: odd ones with everything, even ones with as little as there is."""
    odd, of = n % 2 == 1, ("192.0.2.1", "receive", "ipv4 unicast", key_of(ip_network(f"10.0.{n}.0/24")))
    made: dict[str, Callable[[], Any]] = {
        "messages": lambda: StoredMessage(
            *(n, NOON, NOON if odd else None, "update" if odd else "gap", "192.0.2.1" if odd else None),
            *("receive" if odd else None, '{"type": "update"}', "fra1"),
            mended='{"type": "mended"}' if odd else None,
        ),
        "routes": lambda: StoredRoute(
            *(*of, "0.0.0.1 65000:1" if odd else "", "nlri" if odd else None, "192.0.2.2" if odd else None),
            *({"med": 1} if odd else None, NOON, NOON, odd, n, "fra1"),
        ),
        "history": lambda: StoredChange(
            *(n, NOON, Kind(n % 2), *of[:3], b"\xfeflow" if odd else of[3], "0.0.0.1" if odd else "", None, None),
            *({"med": 1} if odd else {}, n, "fra1"),
        ),
        "rates": lambda: StoredRate(29_000_000, "192.0.2.1", "receive", n, 0, "fra1"),
        "neighbors": lambda: StoredNeighbor(
            *(f"192.0.2.{n}", True if odd else None, NOON if odd else None),
            (StoredTable("ipv4 unicast", "receive", 1, "lost" if odd else None, NOON, None, odd, 0, NOON),) * odd,
            "fra1",
        ),
    }
    document: dict[str, Any] = made[what]().document()
    return document


WRITTEN = {"name": "edge7", "host": "192.0.2.7", "community": "c-of-its-own", "interval": 5}
FILE = """
[[device]]
name = "edge1"
host = "192.0.2.1"
[[device]]
name = "edge2"
host = "2001:db8::2"
version = "3"
user = "bfd"
auth_protocol = "sha256"
auth_key = "an auth key"
[[service]]
name = "dns"
prefixes = ["192.0.2.53/32"]
sessions = ["edge1/198.51.100.1", "*/*"]
"""


def inventory() -> Settings:
    """Two devices of a file, and one that was added over HTTP."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "exabgp-bfd.toml"
        file.write_text(FILE)
        settings = config.load(file, config.Overrides(), {}, lambda _: {"edge7": WRITTEN})
    return replace(settings, file=Path("/etc/exabgp-bfd/exabgp-bfd.toml"))


INVENTORY = inventory()


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
    kept: dict[str, str] = field(default_factory=dict)
    """What the journal would keep of the webhooks that were taken."""
    seen: Seen = field(default_factory=lambda: Seen(lambda _: None, slots=2000))
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
    store: str = "mongodb"
    """Who answers where a site is named."""
    elsewhere: tuple[bool, list[SiteStands]] | None = None
    rehearsals: list[Order | Clear] = field(default_factory=list)
    by_hand: list[ByHand] = field(default_factory=list)
    asked: list[tuple[Question, str, str]] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)
    outcome: Outcome | None = Outcome.DONE
    """How ExaBGP takes what is said by hand, with the text, and where it was not seen to go."""
    text: str = ""
    missing_at: tuple[tuple[str, str], ...] = ()
    holding: Settings = INVENTORY
    """Which devices there are."""
    written: dict[str, Mapping[str, Any]] = field(default_factory=lambda: {"edge7": WRITTEN})
    """Of those that were added over HTTP."""
    consequence: Preview = roster.NOTHING
    """Of what is done to a device."""
    devices_changed: list[tuple[str, str, str, Mapping[str, Any]]] = field(default_factory=list)
    explanation: Explanation = EXPLANATION
    plan: Preview = PREVIEW
    previewed: list[Path | None] = field(default_factory=list)
    reloads: list[str] = field(default_factory=list)
    """Who asked for each."""
    told: list[EndpointView] = field(default_factory=list)
    dead: list[Letter] = field(default_factory=list)
    resent: list[tuple[int, str]] = field(default_factory=list)
    discarded: list[tuple[int, str]] = field(default_factory=list)
    enabled: list[tuple[str, str]] = field(default_factory=list)
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
        found = [(f"after {n}", bgp_document(what, n)) for n in self.bgp if n > after]
        return BgpFound(found[: asked.limit], "journal")

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
        return [bgp_document("neighbors", n) for n in self.bgp]

    def event_counts(self, query: EventQuery, site: str | None, *, of_all: bool) -> CountsFound:
        if self.trouble:
            raise self.trouble
        self.queries.append(query)
        about = Counter((one["ts"][:10], one["event_type"]) for one in self.trail)
        whose = "*" if of_all else site or "fra1"
        counts = [{"day": day, "event_type": kind, "count": count} for (day, kind), count in sorted(about.items())]
        return CountsFound(counts, "journal" if whose == "fra1" else "mongodb")

    def follow(self, query: EventQuery, after: int) -> list[dict[str, Any]]:
        if self.trouble:
            raise self.trouble
        found = [one for one in self.trail if one["id"] > after and query.device in {None, one["device"]}]
        return sorted(found, key=lambda one: one["id"])[: query.limit]

    def reports(self, webhooks: Sequence[Webhook], mark: Mark | None, timeout: float) -> Taken:
        known = self.seen.claim(mark, time.time()) if mark is not None else None
        if known is not None:
            return Taken(known, again=True)
        try:
            return self.take(webhooks, mark, timeout)
        finally:
            if mark is not None:
                self.seen.release(mark)

    def take(self, webhooks: Sequence[Webhook], mark: Mark | None, timeout: float) -> Taken:
        self.entered.release()
        if self.held is not None and not self.held.wait(min(timeout, 30)):
            raise TimeoutError
        if self.trouble:
            raise self.trouble
        self.webhooks.extend(webhooks)
        events = range(41 + len(self.webhooks) - len(webhooks), 41 + len(self.webhooks))
        if mark is not None:
            self.kept.update(self.seen.settle(mark, events))
        return Taken(tuple(events))

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
        return EventsFound([(f"at {one['id']}", one) for one in found[: query.limit]], self.store)

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

    def rehearse(self, what: Order | Clear, timeout: float) -> Rehearsed:
        assert timeout > 0
        self.rehearsals.append(what)
        if self.refusal:
            return Rehearsed(dialect="5", refused=str(self.refusal))
        return Rehearsed(self.plan.commands, {"5": ("withdraw route 192.0.2.53/32",)}, "5")

    def command(self, what: ByHand, timeout: float) -> Commanded:
        assert timeout > 0
        if self.refusal:
            raise self.refusal
        self.by_hand.append(what)
        number = 100 + len(self.by_hand)
        kept = [each for each in self.view.by_hand if each.order.target.key != what.target.key]
        route = RouteView(what.target, what.announce, self.outcome is Outcome.DONE, ("192.0.2.254",), number + 1)
        view = ByHandView(what, route, self.outcome, self.text, self.missing_at, answers=True)
        self.view = replace(self.view, by_hand=(*kept, view))
        return Commanded(number, ("as it is written",))

    def ask_exabgp(self, question: Question, actor: str, reason: str, timeout: float) -> Heard:
        assert timeout > 0
        if self.refusal:
            raise self.refusal
        self.asked.append((question, actor, reason))
        return Heard(99, question.value, self.outcome or Outcome.TIMEOUT, ("exabgp 5.0.15",), complete=True)

    def end(self, actor: str, reason: str, timeout: float) -> Ending:
        assert timeout > 0
        if self.refusal:
            raise self.refusal
        self.ended.append((actor, reason))
        return replace(ENDING, event=98)

    def rehearse_end(self, timeout: float) -> tuple[Ending, Rehearsed]:
        assert timeout > 0
        return ENDING, Rehearsed(dialect="5")

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

    def inventory(self, origin: str | None) -> list[str]:
        return [each.name for each in self.holding.targets if origin in {None, each.origin}]

    def shown_devices(self, names: Sequence[str]) -> list[DeviceShown]:
        return roster.shown(self.holding, names, self.written)

    def change_device(self, change: DeviceChange, timeout: float) -> DeviceChanged:
        assert timeout > 0
        if self.refusal:
            raise self.refusal
        intended = roster.intend(self.holding, self.written, change)
        if intended is None:
            return DeviceChanged(change.name or "", None, created=False, preview=roster.NOTHING)
        if change.dry_run:
            return DeviceChanged(intended.name, None, intended.created, self.plan)
        if not change.force:
            roster.refuse_withdraws(intended.name, self.consequence, roster.NOTHING)
        self.holding = intended.settings
        self.written = {name: text for name, text in self.written.items() if name != intended.name}
        if intended.written is not None:
            self.written[intended.name] = intended.written
        self.devices_changed.append((intended.event_type, intended.name, change.actor, intended.details))
        return DeviceChanged(intended.name, 80 + len(self.devices_changed), intended.created, self.consequence)

    def endpoints(self) -> list[EndpointView]:
        return self.told

    def dead_letters(self, limit: int, endpoint: str | None, before: int | None) -> list[Letter]:
        if self.trouble:
            raise self.trouble
        found = [one for one in self.dead if endpoint in {None, one.endpoint}]
        found = [one for one in found if before is None or one.number < before]
        return sorted(found, key=lambda one: -one.number)[:limit]

    def dead_letter(self, number: int) -> Letter | None:
        return next((one for one in self.dead if one.number == number), None)

    def resend(self, letter: Letter, actor: str, timeout: float, *, dry_run: bool) -> int | None:
        assert timeout > 0
        if self.refusal:
            raise self.refusal
        if dry_run:
            return None
        self.resent.append((letter.number, actor))
        return 101

    def discard(self, letter: Letter, actor: str, timeout: float) -> int:
        assert timeout > 0
        if self.refusal:
            raise self.refusal
        self.discarded.append((letter.number, actor))
        return 102

    def enable_endpoint(self, name: str, actor: str, timeout: float, *, dry_run: bool) -> int | None:
        assert timeout > 0
        if self.refusal:
            raise self.refusal
        if dry_run:
            return None
        self.enabled.append((name, actor))
        return 103

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
