"""What each answer looks like: the schemas of the API's description, in Python's words. `documents` makes the answers.

Nothing is checked against them in service; tests hold every answer of every test against the description.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-20T12:00:00Z"]})]


Store = Literal["journal", "mongodb"]
"""The journal knows this site's records, MongoDB those of every site."""


class Fault(TypedDict):
    """One thing that was wrong, and where."""

    detail: str
    pointer: NotRequired[Annotated[str, Field(description="A JSON pointer into the body (RFC 6901), behind #.")]]
    parameter: NotRequired[Annotated[str, Field(description="A parameter of the query, or a header.")]]
    place: NotRequired[Annotated[str, Field(description="A place in the configuration, or what was named.")]]


class Problem(TypedDict):
    """Why the answer is no (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Field(description="What was wrong, and what would be right.")]
    instance: NotRequired[str]
    errors: NotRequired[list[Fault]]


class Event(TypedDict):
    """One entry of the audit trail."""

    id: int
    ts: Moment
    device: str | None
    event_type: str
    details: dict[str, Any]
    site: str
    session: str | None
    service: str | None
    source: str | None
    actor: Annotated[str | None, Field(description="Whose key, or which sender.")]
    cause: Annotated[int | None, Field(description="The id of the event that led to this one.")]


class Events(TypedDict):
    """A page of events, newest first."""

    events: list[Event]
    next_cursor: str | None
    store: NotRequired[Annotated[Store, Field(description="Who answered, where a site was named.")]]


class EventWithChain(TypedDict):
    """An event and what led to it."""

    event: Event
    chain: Annotated[list[Event], Field(description="What led to it, the oldest first.")]
    chain_incomplete: Annotated[str | None, Field(description="Why that is not all of it; null: it is.")]


class EventCount(TypedDict):
    """How many events of a type there were on a day."""

    day: Annotated[str, Field(description="Of UTC, as 2026-11-21.")]
    event_type: str
    count: int


class EventCounts(TypedDict):
    """How many events there were, the newest day first."""

    counts: list[EventCount]
    store: Store


class Block(TypedDict):
    """One block of a stream of events: an event, or without `data` how far was looked."""

    id: NotRequired[Annotated[str, Field(description="For Last-Event-ID, when coming back.")]]
    event: NotRequired[Annotated[Literal["gap", "message"], Field(description="message, where it is not said.")]]
    data: NotRequired[Annotated[str, Field(description="An event as in GET /events; of a gap where and why.")]]
    retry: NotRequired[Annotated[int | str, Field(description="Milliseconds.")]]


class Diagnostic(TypedDict):
    """Why the router says that the session left Up (RFC 5880 section 4.1)."""

    code: int
    name: str


class Session(TypedDict):
    """A BFD session."""

    session: str
    device: str
    name: str
    peer: str | None
    local: str | None
    interface: str | None
    discriminator: int | None
    vrf: str | None
    multihop: bool | None
    state: str
    since: Moment | None
    heard: Moment | None
    device_heard: Moment | None
    device_reachable: bool | None
    device_reason: str | None
    diagnostic: Diagnostic | None
    changes: int
    event: int | None
    services: list[str]


class Sessions(TypedDict):
    """A page of sessions, by id."""

    sessions: list[Session]
    next_cursor: str | None


class DeviceTable(TypedDict):
    """How a device is asked, by the keys of its table as they hold; *** stands for a secret."""

    name: str
    host: str
    port: int
    version: Literal["1", "2c", "3"]
    community: Literal["***"] | None
    interval: float
    timeout: float
    retries: int
    stale_after: float
    fast_interval: float
    engine: str
    profile: str
    oid: str | None
    values: str | None
    user: str | None
    auth_protocol: str | None
    auth_key: Literal["***"] | None
    priv_protocol: str | None
    priv_key: Literal["***"] | None
    contexts: list[str]
    context_communities: dict[str, Literal["***"]]
    max_varbinds: int
    trap_from: list[str]
    trust: bool


class Device(DeviceTable):
    """A device, how it is asked, and what is seen of it."""

    origin: Annotated[Literal["file", "api"], Field(description="api: it was added over HTTP.")]
    written: Annotated[dict[str, Any] | None, Field(description="What was sent, for PUT; null for one of the file.")]
    reachable: Annotated[bool | None, Field(description="null: it was not asked yet.")]
    reason: str | None
    heard: Annotated[Moment | None, Field(description="When it answered last.")]
    sessions: int
    sessions_up: int
    status: Annotated[str | None, Field(description="What it answers, or why it does not, in a line.")]
    profile_found: str | None
    engine_used: str | None
    uptime: Annotated[float | None, Field(description="Seconds since its agent began, as it said last.")]
    services: Annotated[list[str], Field(description="Those whose sessions mean it, or any device.")]


class Devices(TypedDict):
    """A page of devices, by name."""

    devices: list[Device]
    next_cursor: str | None


class Leg(TypedDict):
    """What a session counts as for a service."""

    session: str
    state: str
    counts_as: str
    why: str


class Order(TypedDict):
    """Who ordered something, why, and until when (null: until it is cleared)."""

    actor: str
    reason: str
    since: Moment | None
    expires: Moment | None


class Override(Order):
    """What an operator ordered of a service."""

    action: Literal["announce", "withdraw", "drain", "freeze"]


class Attributes(TypedDict):
    """What is announced with a prefix; those of a watchdog are in ExaBGP's own configuration."""

    watchdog: NotRequired[str]
    prefix: NotRequired[str]
    next_hop: NotRequired[str]
    neighbors: NotRequired[list[str]]
    med: NotRequired[int | None]
    local_preference: NotRequired[int | None]
    communities: NotRequired[list[str]]
    large_communities: NotRequired[list[str]]
    extended_communities: NotRequired[list[str]]
    as_path: NotRequired[list[int]]


class Route(Attributes):
    """A route of a service, or a watchdog of ExaBGP's, and what became of it."""

    announced: bool
    accepted: Annotated[bool | None, Field(description="Whether ExaBGP took the command; null: it has not said.")]
    confirmed: list[str]
    unseen: Annotated[dict[str, str], Field(description="Neighbours that it was not seen to go to, and why.")]
    event: int | None


class Rule(TypedDict):
    """What a service's configuration asks for."""

    selectors: list[str]
    require: str | int
    rise: int
    fall: int
    hold_up: float
    confirm: bool
    confirm_timeout: float | None
    on_admin_down: str
    on_missing: str
    on_unknown: str
    steps: list[dict[str, Any]]
    on_down: Annotated[str | dict[str, Any], Field(description="withdraw, or the attributes that are other then.")]
    damping: dict[str, float] | None
    drain_time: float
    disable_file: str | None
    on_disable: str
    keep_last: Annotated[bool, Field(description="Whether the last site that announces it keeps it.")]


class Service(TypedDict):
    """A service: what is announced of it, since when and why."""

    service: str
    state: Literal["announced", "withdrawn"]
    since: Moment | None
    why: str
    layer: Annotated[str, Field(description="What decided: override, window, guard, health and others.")]
    health: str
    adopted: bool
    override: Override | None
    windows: list[str]
    disabled: bool
    up: int
    undecided: int
    needed: int
    sessions: list[Leg]
    routes: list[Route]
    rule: Rule


class Services(TypedDict):
    """A page of services, by name."""

    services: list[Service]
    next_cursor: str | None


class SiteHeard(TypedDict):
    """A site, and when it was heard of last."""

    site: str
    fresh: Annotated[bool, Field(description="Whether what it said counts still.")]
    heard_seconds_ago: float


class SiteStand(TypedDict):
    """What a site does with a service."""

    site: str
    fresh: bool
    state: Literal["announced", "withdrawn"]
    since: Annotated[Moment | None, Field(description="By that site's own clock.")]
    layer: str
    routes: Annotated[list[str], Field(description="What it announces: prefixes, and `watchdog NAME`.")]


class ServiceEverywhere(TypedDict):
    """A service, and what each site does with it."""

    service: str
    announced_by: Annotated[list[str], Field(description="The fresh sites that announce it.")]
    sites: list[SiteStand]


class ServicesEverywhere(TypedDict):
    """A page of the services of all sites (`scope=all`), by name."""

    services: list[ServiceEverywhere]
    next_cursor: str | None
    cut_off: Annotated[bool, Field(description="Whether we hear nothing of the others at this moment.")]
    sites: list[SiteHeard]


class Why(TypedDict):
    """Why a service is, or is not, announced, and the events that led to it."""

    service: str
    announced: bool
    answer: str
    because: list[str]
    sessions: list[str]
    routes: list[str]
    event: int | None
    chain: list[Event]
    chain_incomplete: str | None


class Overridden(TypedDict):
    """What was ordered, the event that tells of it, and the service as it is now (null: it cannot be told now)."""

    event: Annotated[int | None, Field(description="null: taken back everywhere, and there was none here.")]
    override: Override | None
    service: Service | None
    scope: Literal["site", "all"]


class Guard(TypedDict):
    """What the guard holds back."""

    held: list[str]
    withdrawn: list[str]
    limit: int | None
    lift: Order | None
    blind: bool
    clock_doubted: bool


class Lifted(TypedDict):
    """The lift that was ordered, the event that tells of it, and the guard as it is now (null: it cannot be told)."""

    event: int
    lift: Order | None
    guard: Guard | None


class PlannedCommand(Attributes):
    """A command that ExaBGP would get."""

    action: Literal["announce", "withdraw"]
    service: str


class Rehearsed(TypedDict):
    """What would be done, and is not."""

    dry_run: Literal[True]
    commands: Annotated[list[PlannedCommand], Field(description="What ExaBGP would be told at once.")]
    lines: Annotated[
        dict[str, list[str]], Field(description="Those commands as they are written, by ExaBGP's dialect.")
    ]
    dialect: Annotated[str | None, Field(description="How ExaBGP is spoken to; null: it has not said what it is.")]
    refused: Annotated[str | None, Field(description="Why it would be refused; null: it would not.")]
    scope: NotRequired[Literal["site", "all"]]
    later: NotRequired[Annotated[str | None, Field(description="What would follow by itself.")]]


class Endpoint(TypedDict):
    """Somebody who is told of events."""

    endpoint: str
    address: Annotated[str, Field(description="Scheme, host and port: what follows them may be a secret.")]
    format: Literal["standard", "github", "both"]
    state: Annotated[
        Literal["ok", "failing", "disabled"], Field(description="disabled: it answered 410, and is told nothing more.")
    ]
    waiting: int
    lag_seconds: Annotated[float, Field(description="For how long the oldest alert has waited.")]
    position: Annotated[int, Field(description="The id of the last event that is done with.")]
    sent: Annotated[int, Field(description="Since we started, as the next two.")]
    failed: Annotated[int, Field(description="Tries without success.")]
    dead: Annotated[int, Field(description="Alerts that were given up.")]
    tries: Annotated[int, Field(description="Of the alert that is at its turn.")]
    last_success: Moment | None
    last_failure: Moment | None
    last_error: str | None
    next_try: Moment | None


class Endpoints(TypedDict):
    """Who is told of events."""

    endpoints: list[Endpoint]


class DeadLetter(TypedDict):
    """An alert that could not be delivered."""

    number: int
    ts: Moment
    endpoint: str
    webhook_id: str
    tries: int
    reason: str
    resending: Annotated[bool, Field(description="Whether it is about to be sent once more.")]
    event: dict[str, Any]


class DeadLetters(TypedDict):
    """A page of alerts that could not be delivered, newest first."""

    dead: list[DeadLetter]
    next_cursor: str | None


class LetterOrdered(TypedDict):
    """The event that tells of it (null: a dry run), and the alert as it was."""

    event: int | None
    letter: DeadLetter
    dry_run: NotRequired[Literal[True]]


class EndpointEnabled(TypedDict):
    """The event that tells of it (null: a dry run)."""

    event: int | None
    endpoint: str
    dry_run: NotRequired[Literal[True]]


class HandRoute(Route, Order):
    """What an operator announced by hand, or took back a moment ago."""

    key: Annotated[str, Field(description="The prefix, or `watchdog NAME`.")]
    answer: Annotated[Literal["done", "error", "none"] | None, Field(description="ExaBGP's; null: not yet.")]
    text: Annotated[str, Field(description="What ExaBGP said beside that.")]
    missing: Annotated[dict[str, str], Field(description="Neighbours that it was not seen to go to yet, and why.")]


class HandRoutes(TypedDict):
    """A page of what stands of what operators said by hand, by its key."""

    commands: list[HandRoute]
    next_cursor: str | None


class Commanded(TypedDict):
    """What came of a command."""

    event: int
    lines: Annotated[list[str], Field(description="What ExaBGP was told.")]
    answer: Annotated[Literal["done", "error", "none"], Field(description="none: there was none in time.")]
    text: Annotated[list[str], Field(description="What ExaBGP said beside that, or the answer to a question.")]
    complete: NotRequired[Annotated[bool, Field(description="Whether that is all of the answer to a question.")]]
    confirmed: NotRequired[
        Annotated[list[str], Field(description="The neighbours to which its UPDATE was seen to go.")]
    ]
    missing: NotRequired[Annotated[dict[str, str], Field(description="Those to which it was not, and why.")]]
    route: NotRequired[HandRoute | None]


class Stopping(TypedDict):
    """How the program ends."""

    event: int
    status: Literal["stopping"]
    on_exit: Literal["keep", "withdraw"]
    stays: Annotated[list[str], Field(description="What stays announced.")]
    then: Annotated[str, Field(description="Whether somebody starts it again.")]


class StopRehearsed(Rehearsed):
    """How the program would end."""

    on_exit: Literal["keep", "withdraw"]
    stays: Annotated[list[str], Field(description="What would stay announced.")]
    then: Annotated[str, Field(description="Whether somebody would start it again.")]


class Reloaded(TypedDict):
    """The event that tells of the reload, or, of a dry run, what it would change."""

    event: NotRequired[int]
    file: NotRequired[str | None]
    dry_run: NotRequired[Literal[True]]
    commands: NotRequired[list[PlannedCommand]]
    added: NotRequired[list[str]]
    removed: NotRequired[list[str]]
    changed: NotRequired[list[str]]
    devices_added: NotRequired[list[str]]
    devices_removed: NotRequired[list[str]]


class DeviceChanged(TypedDict):
    """What became of a device, or, of a dry run, would; the device as it is now (null: it is no more, or not yet)."""

    event: Annotated[int | None, Field(description="null: it was so already, or only tried.")]
    device: Device | None
    commands: Annotated[list[PlannedCommand], Field(description="What ExaBGP is told at once.")]
    dry_run: NotRequired[Literal[True]]


Direction = Literal["receive", "send"]


class BgpMessage(TypedDict):
    """A BGP message as ExaBGP told of it, or (type `gap`) how many were dropped."""

    id: int
    ts: Annotated[Moment, Field(description="When we read it.")]
    site: str
    time: Annotated[Moment | None, Field(description="When ExaBGP says that it was.")]
    type: str
    neighbor: str | None
    direction: Annotated[str | None, Field(description="receive, or send; null: of neither.")]
    message: Annotated[Any, Field(description="ExaBGP's own JSON."), WithJsonSchema({"type": "object"})]
    raw: NotRequired[Annotated[str, Field(description="The line as it came, where its JSON had to be mended.")]]


class BgpMessages(TypedDict):
    """A page of BGP messages, newest first."""

    messages: list[BgpMessage]
    next_cursor: str | None
    store: Store


class _Told(TypedDict):
    site: str
    neighbor: str
    direction: Direction
    family: str
    prefix: Annotated[str | None, Field(description="null: of a family without prefixes, see nlri.")]
    nlri: str | None
    path_id: str | None
    distinguisher: str | None
    next_hop: str | None
    message: Annotated[int, Field(description="The id of the message that said it.")]


class BgpRoute(_Told):
    """A route as its neighbour said it last."""

    attributes: Annotated[dict[str, Any] | None, Field(description="As ExaBGP names them; null: not kept any more.")]
    since: Annotated[Moment, Field(description="Since when it is there without a break.")]
    updated: Annotated[Moment, Field(description="When it was said last.")]
    stale: Annotated[bool, Field(description="Its session ended since, and it was not said again yet.")]


class BgpRoutes(TypedDict):
    """A page of the routes of now."""

    routes: list[BgpRoute]
    next_cursor: str | None
    store: Store


class BgpChange(_Told):
    """A route that was announced or withdrawn."""

    id: int
    ts: Moment
    kind: Literal["announce", "withdraw"]
    attributes: dict[str, Any]


class BgpChanges(TypedDict):
    """A page of changes of routes, newest first."""

    changes: list[BgpChange]
    next_cursor: str | None
    store: Store


class BgpRate(TypedDict):
    """How many routes were announced and withdrawn in a minute."""

    minute: Moment
    site: str
    neighbor: str
    direction: Direction
    announced: int
    withdrawn: int


class BgpRates(TypedDict):
    """A page of rates, newest first."""

    rates: list[BgpRate]
    next_cursor: str | None
    store: Store


class BgpTable(TypedDict):
    """The routes of a neighbour in one family and direction."""

    family: str
    direction: Direction
    routes: int
    complete: bool
    incomplete: Annotated[str | None, Field(description="Why something may be missing.")]
    reset: Annotated[Moment | None, Field(description="When its session last began or ended.")]
    end_of_rib: Annotated[Moment | None, Field(description="When all was said, in this session.")]
    renewing: Annotated[bool, Field(description="Whether routes may be stale.")]
    refused: Annotated[int, Field(description="Routes that there was no room for.")]
    updated: Moment


class BgpNeighbor(TypedDict):
    """A neighbour that ExaBGP told of, and its tables."""

    neighbor: str
    site: str
    state: Annotated[Literal["up", "down"] | None, Field(description="null: no state of it was heard.")]
    since: Moment | None
    tables: list[BgpTable]


class BgpNeighbors(TypedDict):
    """All neighbours, by address."""

    neighbors: list[BgpNeighbor]


class Accepted(TypedDict):
    """A report that is on disk."""

    id: Annotated[int, Field(description="The event's id, or the first one's.")]
    status: Literal["accepted"]
    ids: NotRequired[Annotated[list[int], Field(description="All of them, where one body told of several devices.")]]
    ignored: NotRequired[Annotated[list[dict[str, str]], Field(description="What was left out, and why.")]]


class Job(TypedDict):
    """How a job of the SNMP proxy stands. Durations are in seconds."""

    ticket: str
    status: Literal["queued", "running", "complete", "failed", "cancelled"]
    progress: str
    progress_detail: dict[str, int]
    progress_percent: float | None
    elapsed_seconds: float
    timing: dict[str, float]
    number: int
    kind: Literal["get", "walk", "poll"]
    target: str
    actor: str
    error: str | None
    truncated: bool
    created: Moment
    started: Moment | None
    finished: Moment | None


class JobWithData(Job):
    """A job and what it has read."""

    data: dict[str, Any]


class Jobs(TypedDict):
    """A page of jobs, newest first."""

    jobs: list[Job]
    next_cursor: str | None


class Health(TypedDict):
    """How the program is, in numbers."""

    status: Literal["ok", "starting", "degraded"]
    version: str
    site: str
    started: Moment
    uptime: float
    devices: dict[str, Any]
    sessions: dict[str, int]
    services: dict[str, int]
    routes: dict[str, int]
    neighbors: dict[str, str]
    exabgp: dict[str, Any]
    guard: dict[str, Any]
    windows: list[str]
    lifecycle: dict[str, Any]
    journal: Literal["ok", "failing"]
    missing: list[str]


class Well(TypedDict):
    """Yes."""

    status: Literal["ok", "ready"]


class Path(TypedDict):
    """A path, and what it is for."""

    path: str
    methods: list[str]
    role: str
    what: str


class Index(TypedDict):
    """Which paths there are."""

    name: str
    version: str
    site: str
    paths: list[Path]
