"""The words of the core: what is observed, what is decided, what is recorded. Frozen, and free of I/O.

Errors
------
BfdError                 everything of ours that an operator may read
  ConfigError            a setting is wrong: carries the place and the remedy
    OwnedError           what is ordered belongs to a service
  SourceError            a device could not be asked, or answered nonsense
  SpeakerError           ExaBGP's pipe is gone, or a command may not be sent
  StoreError             the journal or the database refused
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Literal

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network


class BfdError(Exception):
    """Any error of ours whose text is meant for an operator."""


class ConfigError(BfdError):
    """A setting is wrong; `place` names the file and key path, `text` what was wrong and what would be right."""

    def __init__(self, place: str, text: str) -> None:
        super().__init__(f"{place}: {text}" if place else text)
        self.place = place
        self.text = text


class OwnedError(ConfigError):
    """What is ordered belongs to somebody else, who is named with the way that is right."""


class SourceError(BfdError):
    """A device gave no usable answer; nothing is thereby known of its sessions."""


class SpeakerError(BfdError):
    """ExaBGP's pipe is closed, or a command is one that we never send."""


class StoreError(BfdError):
    """A store could not be opened, written or read."""


class Secret:
    """A value that never shows itself: its repr and str are stars, only `reveal` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself; the caller keeps it out of logs, errors and reprs."""
        return self._value

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class State(StrEnum):
    """A session's state: RFC 5880 section 4.1 and bfdSessState (RFC 7331), and two that only an observer knows."""

    UP = "up"
    DOWN = "down"
    INIT = "init"
    FAILING = "failing"
    """BFD version 0 only."""
    ADMIN_DOWN = "admin_down"
    MISSING = "missing"
    """The row vanished from an agent that answers."""
    UNKNOWN = "unknown"
    """Nothing was heard for `stale_after` seconds."""


class Diagnostic(IntEnum):
    """Why a session last left Up (RFC 5880 section 4.1; 9 from the IANA registry)."""

    NONE = 0
    CONTROL_DETECTION_TIME_EXPIRED = 1
    ECHO_FUNCTION_FAILED = 2
    NEIGHBOR_SIGNALED_SESSION_DOWN = 3
    FORWARDING_PLANE_RESET = 4
    PATH_DOWN = 5
    CONCATENATED_PATH_DOWN = 6
    ADMINISTRATIVELY_DOWN = 7
    REVERSE_CONCATENATED_PATH_DOWN = 8
    MISCONNECTIVITY_DEFECT = 9


class Source(StrEnum):
    """Where an observation or an event came from."""

    SNMP_POLL = "snmp_poll"
    SNMP_LOOK = "snmp_look"
    """A look asked for out of turn: a confirmation, a webhook's probe."""
    SNMP_TRAP = "snmp_trap"
    WEBHOOK = "webhook"
    EXABGP = "exabgp"
    ENGINE = "engine"
    TIMER = "timer"
    SELF = "self"
    API = "api"


class Reading(StrEnum):
    """What a service makes of a session state that is neither plainly up nor plainly down."""

    DOWN = "down"
    HOLD = "hold"
    """Keep the last verdict."""
    UP = "up"


class Action(StrEnum):
    """What an operator orders of a service, against its health."""

    ANNOUNCE = "announce"
    WITHDRAW = "withdraw"
    DRAIN = "drain"
    """Announce with GRACEFUL_SHUTDOWN (RFC 8326) for `drain_time`, then withdraw."""
    FREEZE = "freeze"
    """Leave everything as it is."""


@dataclass(frozen=True, slots=True)
class Session:
    """One BFD session on one device, named by what lasts (its peer), not by its index."""

    device: str
    name: str
    """The peer's address; where two share it `peer%interface`, `peer%vrf` and the like; without one the interface,
    discriminator or index."""
    peer: Address | None = None
    local: Address | None = None
    interface: str | None = None
    discriminator: int | None = None
    """The local discriminator, bfdSessDiscriminator."""
    vrf: str | None = None
    """The VRF, or the SNMP context, that it was seen in; None: the default one."""
    multihop: bool | None = None
    """Whether it is of RFC 5883; None where the table does not tell."""
    id: str = field(init=False)
    """`device/name`, as selectors, events and the API write it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", f"{self.device}/{self.name}")


@dataclass(frozen=True, slots=True)
class Selector:
    """Which sessions a service follows: `device/what`, as written in the configuration."""

    device: str
    """`*`: every device there is."""
    pattern: str
    """A peer address, an interface name, a discriminator, a session's name, or `*`."""

    def asks(self, device: str) -> bool:
        """Whether it looks for its sessions at this device."""
        return self.device in {device, "*"}

    def __str__(self) -> str:
        return f"{self.device}/{self.pattern}"


@dataclass(frozen=True, slots=True)
class Route:
    """A prefix and what it is announced with (RFC 4271 section 5; RFC 1997, 4360, 8092)."""

    prefix: Prefix
    next_hop: Address | Literal["self"] = "self"
    neighbors: tuple[Address, ...] = ()
    """The BGP neighbours it goes to; empty: all of them."""
    med: int | None = None
    local_preference: int | None = None
    communities: tuple[str, ...] = ()
    """`65000:1`, or a well-known name (`no-export`)."""
    large_communities: tuple[str, ...] = ()
    """`65000:1:2`."""
    extended_communities: tuple[str, ...] = ()
    """`target:65000:1`, `origin:65000:1`, or `0x` and 16 hexadecimal digits."""
    as_path: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """What a service may announce once only: the prefix as text."""
        return str(self.prefix)


@dataclass(frozen=True, slots=True)
class Watchdog:
    """The routes of ExaBGP's own configuration that carry `watchdog NAME`: said on and off together."""

    name: str
    """Letters, digits, `-` and `_`."""

    @property
    def key(self) -> str:
        """What a service may announce once only: no prefix reads like this."""
        return f"watchdog {self.name}"


Target = Route | Watchdog
"""What a service announces and withdraws."""

BY_HAND = "by hand"
"""Stands where a service's name would, for what an operator said himself: no service's name holds a blank."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is other about a service's routes while it is not well; None keeps the service's own."""

    med: int | None = None
    local_preference: int | None = None
    communities: tuple[str, ...] | None = None
    large_communities: tuple[str, ...] | None = None
    extended_communities: tuple[str, ...] | None = None
    as_path: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of a service's ladder: what holds from `up` sessions on, while they are too few for `require`."""

    up: int
    """At least 1, and less than the next better step has."""
    change: Change | None
    """None: withdraw."""


@dataclass(frozen=True, slots=True)
class Damping:
    """Flap damping (RFC 2439 section 4.2): delays Up, never Down."""

    penalty: float = 1000.0
    """Added at each flap."""
    cutoff: float = 3000.0
    """The session is suppressed from this penalty on."""
    reuse: float = 1500.0
    """It is used again below this penalty."""
    half_life: float = 60.0
    """Seconds in which the penalty falls to its half."""
    ceiling: float = 12000.0
    """The penalty never grows beyond; so no suppression lasts longer than half_life * log2(ceiling / reuse)."""


@dataclass(frozen=True, slots=True)
class Device:
    """What the core needs to know of a router."""

    name: str
    stale_after: float = 10.0
    """Seconds without an answer after which its sessions are unknown."""
    identity: str = ""
    """Where and how it is asked: under another one it is another box, of whose sessions nothing is known."""


@dataclass(frozen=True, slots=True)
class Service:
    """What is announced while enough sessions are up, and the rules of deciding (DESIGN section 3)."""

    name: str
    routes: tuple[Target, ...]
    selectors: tuple[Selector, ...]
    require: int | Literal["all"] = 1
    """How many sessions must be up; `any` is 1."""
    rise: int = 3
    fall: int = 1
    hold_up: float = 10.0
    """Seconds of unbroken Up, after `rise` samples, before a session counts as up again."""
    confirm: bool = True
    """Whether the first bad sample is looked at again, at once, before it counts."""
    confirm_timeout: float = 0.5
    """Seconds after which an unanswered confirming look lets the bad sample count (only with fall = 1)."""
    on_admin_down: Reading = Reading.HOLD
    on_missing: Reading = Reading.DOWN
    on_unknown: Reading = Reading.HOLD
    steps: tuple[Rung, ...] = ()
    """Between "enough sessions" and `on_down`, the better step first."""
    on_down: Change | None = None
    """How it stays announced when even the last step has too few sessions; None: it is withdrawn."""
    damping: Damping | None = None
    drain_time: float = 60.0
    """Seconds that a draining route stays announced with GRACEFUL_SHUTDOWN, and a drained one when it comes back."""
    disable_file: str | None = None
    """While this file exists, the service is withdrawn or drained."""
    on_disable: Literal[Action.WITHDRAW, Action.DRAIN] = Action.WITHDRAW
    keep_last: bool = False
    """Whether it stays announced for its health's sake as long as no other site announces the same."""


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of time, in seconds since the epoch; None: without beginning, or without end."""

    start: float | None
    end: float | None


@dataclass(frozen=True, slots=True)
class Weekly:
    """A stretch of time that comes each week, in the time of a zone."""

    days: frozenset[int]
    """Monday is 0."""
    hour: int
    minute: int
    duration: float
    """Seconds, at most a week; it may end on another day."""
    zone: tzinfo


@dataclass(frozen=True, slots=True)
class Window:
    """Maintenance that is known beforehand, of devices, sessions or services."""

    name: str
    when: Span | Weekly
    devices: tuple[str, ...] = ()
    sessions: tuple[Selector, ...] = ()
    reading: Literal[Reading.HOLD, Reading.DOWN] = Reading.HOLD
    """What the sessions count as meanwhile, whatever is seen of them: as before, or down."""
    services: tuple[str, ...] = ()
    action: Action = Action.FREEZE
    """What is ordered of the services meanwhile."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Guard:
    """How many services may be withdrawn for their health within a window (seconds); both None: any number."""

    max_withdrawn: int | None = None
    max_share: float | None = None
    """A share of all services, 0 to 1; at least one service may always go."""
    within: float = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything the engine decides by: devices, services, windows and what is recorded."""

    devices: tuple[Device, ...] = ()
    services: tuple[Service, ...] = ()
    record_polls: bool = False
    """Whether every observation becomes an event, or only changes."""
    windows: tuple[Window, ...] = ()
    guard: Guard = Guard()
    forget_after: float = 86400.0
    """Seconds after which a session whose row vanished is forgotten."""
    reconcile: float = 300.0
    """Seconds between two questions which routes ExaBGP holds; 0: only at the start and on suspicion."""


# --- inputs: what happens to the engine -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Observation:
    """One session's state, as one sample told it."""

    session: Session
    state: State
    diagnostic: Diagnostic | None = None
    details: Mapping[str, Any] | None = None
    """More that the sample told (interval, counters), kept in the event when the state changes."""
    ups: int | None = None
    """How often the session came up since it was made: bfdSessPerfSessUpCount, RFC 7331."""
    downs: int | None = None
    """How often it went down, where the MIB counts that."""
    last_up: int | None = None
    """When it last came up, in any measure that only another coming up changes."""


@dataclass(frozen=True, slots=True)
class Poll:
    """A device's answer; `complete` says that every session it has is among the observations, or was `told`."""

    device: str
    observations: tuple[Observation, ...]
    complete: bool = False
    source: Source = Source.SNMP_POLL
    actor: str | None = None
    cause: int | None = None
    told: frozenset[str] = frozenset()
    """The ids of sessions that the same round has delivered already, because they had changed."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A device tells of its sessions that they went down or came up (an SNMP trap or inform): a hint, not the truth.

    The sessions, or where it names none that is known all of the device's, are looked at at once.
    """

    device: str
    said: State | None = None
    """None: something happened to them."""
    sessions: tuple[str, ...] = ()
    """Their ids."""
    sure: bool = False
    """Whether it is authenticated, fresh and of a trusted device: a Down then counts before it was looked at."""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sites:
    """What the other sites announce now, by what a service may announce once only (a prefix as text).

    Only sites heard of lately count. None: nobody can tell, for we are cut off from them.
    """

    announced: Mapping[str, tuple[str, ...]] | None


@dataclass(frozen=True, slots=True)
class Silence:
    """A device gave no usable answer: nothing is known from it, and `reason` says what was tried."""

    device: str
    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; due timers fire."""


class Outcome(StrEnum):
    """How ExaBGP took a command."""

    DONE = "done"
    ERROR = "error"
    TIMEOUT = "timeout"
    OVERTAKEN = "overtaken"
    """It was never written: another word on the same target went before it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """ExaBGP's answer to one command: accepted, refused, or none in time. `done` is not yet advertised."""

    command: int
    outcome: Outcome
    text: str = ""


@dataclass(frozen=True, slots=True)
class Advertised:
    """An UPDATE that ExaBGP sent to a neighbour: the proof that a command reached the wire."""

    neighbor: Address
    prefix: Prefix
    announced: bool


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A BGP session of ExaBGP changed state (up, down, connected)."""

    neighbor: Address
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What a BGP session that came up can carry: the families both sides have (RFC 4760)."""

    neighbor: Address
    families: frozenset[str]
    """As ExaBGP writes them: `ipv4 unicast`."""
    graceful_restart: bool | None = None
    """Whether both sides offered it (RFC 4724); None: not told."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A BGP neighbour as ExaBGP's configuration has it."""

    address: Address
    local: Address | None = None
    """Our end of its session; what `next-hop self` stands for."""
    families: frozenset[str] = frozenset()
    """As ExaBGP writes them: `ipv4 unicast`."""
    graceful_restart: bool = False
    """Whether ExaBGP offers it (RFC 4724)."""
    resends: bool = True
    """Whether ExaBGP says everything again when the session comes back (`adj-rib-out`)."""
    tells: bool = False
    """Whether the UPDATEs that go to it are shown to us (`send { parsed; update; }`)."""


@dataclass(frozen=True, slots=True)
class Peers:
    """ExaBGP answered which neighbours it has, all of them."""

    peers: tuple[Peer, ...]
    version: str = ""
    """ExaBGP's own word for its version."""
    dialect: str = ""
    """`4`, `5` or `6`: the form in which it is spoken to."""
    answers: bool = True
    """Whether it answers commands (`exabgp.api.ack`)."""
    ranges: tuple[Prefix, ...] = ()
    """Where any neighbour may come from; who of them is there, is not told."""


@dataclass(frozen=True, slots=True)
class Held:
    """A route that ExaBGP holds for a neighbour in its adj-rib-out."""

    neighbor: Address
    route: Route


@dataclass(frozen=True, slots=True)
class Rib:
    """ExaBGP answered which routes it holds for its neighbours, or for one of them."""

    held: tuple[Held, ...]
    neighbor: Address | None = None
    """None: for all of them."""
    asked_after: int = 0
    """The number of the last command that was written before the question: what came later, the answer may not tell."""
    complete: bool = True
    """Whether the answer came to its end: else what is not among it may be held all the same."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A verified report from outside about a device; `effect` is record, probe or observe (DESIGN section 4)."""

    device: str
    reason: str
    evidence: Mapping[str, Any]
    effect: Literal["record", "probe", "observe"] = "probe"
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something of ours that is worth an event (started, stopped, store_down, message_quarantined)."""

    event_type: str
    details: Mapping[str, Any]
    source: Source = Source.SELF
    actor: str | None = None
    device: str | None = None
    cause: int | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """The first input: we begin, with what should be told of it (version, user, addresses)."""

    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stop:
    """The last input: we end; `withdraw` takes back what is announced, as an operator's `on_exit` may ask."""

    reason: str
    withdraw: bool = False


@dataclass(frozen=True, slots=True)
class Clock:
    """What the wall clock reads now, in seconds since the epoch; sent when it no longer runs as it did."""

    wall: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Our own loop did not run for so many seconds: until now we saw nothing, and that says nothing of anybody."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Override:
    """An operator's word on a service, which beats its health; times are seconds since the epoch."""

    service: str
    action: Action
    actor: str
    reason: str
    since: float
    expires: float | None = None
    """None: until it is cleared."""


@dataclass(frozen=True, slots=True)
class Lift:
    """An operator's word that the guard's limit does not hold."""

    actor: str
    reason: str
    since: float
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class ByHand:
    """An operator's own word on a target that no service has: announced until it is taken back, or its time is over."""

    target: Target
    announce: bool
    """False: it is taken back; of a route only the prefix and the neighbours count then."""
    actor: str
    reason: str
    since: float
    expires: float | None = None
    """None: until it is taken back."""


@dataclass(frozen=True, slots=True)
class Order:
    """An operator sets an override, lifts the limit, or speaks himself; what went before is replaced."""

    what: Override | Lift | ByHand


@dataclass(frozen=True, slots=True)
class Clear:
    """An operator takes back the override of a service, or (None) the lifting of the limit."""

    service: str | None
    actor: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Disabled:
    """Whether a service's `disable_file` is there."""

    service: str
    present: bool


@dataclass(frozen=True, slots=True)
class Reload:
    """From now on another plan holds, all of it at once."""

    plan: Plan
    actor: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    disabled: tuple[str, ...] = ()
    """The services whose `disable_file` is there."""
    event_type: str = "reloaded"
    """`device_added`, `device_changed` or `device_removed` where nothing but one device is another."""
    device: str | None = None
    """Which one that is."""


Input = (
    Start
    | Peers
    | Negotiated
    | Rib
    | Stop
    | Poll
    | Silence
    | Tick
    | Answer
    | Advertised
    | Neighbor
    | Webhook
    | Notification
    | Sites
    | Note
    | Clock
    | Stall
    | Order
    | Clear
    | Disabled
    | Reload
)


# --- effects: what the engine wants done, in this order ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take a route back; `command` numbers the command, and is the id of the event that records the decision."""

    command: int
    service: str
    route: Target


@dataclass(frozen=True, slots=True)
class Announce:
    """Announce a route; `command` numbers the command, and is the id of the event that records the decision."""

    command: int
    service: str
    route: Target


@dataclass(frozen=True, slots=True)
class Pace:
    """Ask a device more often while its sessions are changing, or as usual again."""

    device: str
    quick: bool


@dataclass(frozen=True, slots=True)
class Look:
    """Ask a device again at once: one session (None: the whole device), to confirm or because somebody said so."""

    device: str
    session: str | None = None
    """A session's id."""
    cause: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask ExaBGP: which neighbours it has (`peers`), or which routes it holds (`rib`), for one neighbour or all."""

    what: Literal["peers", "rib"]
    neighbor: Address | None = None
    cause: int | None = None


@dataclass(frozen=True, slots=True)
class Forget:
    """A session is no more: it need not be told as missing any longer."""

    device: str
    session: str
    """Its id."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the audit trail; the time and the site are stamped on it where it is stored."""

    id: int
    event_type: str
    device: str | None = None
    session: str | None = None
    service: str | None = None
    source: str | None = None
    actor: str | None = None
    cause: int | None = None
    """The id of the event that led to this one."""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """Keep an event."""

    event: Event


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep what is now believed announced for one of a service's targets, for our next start (None: nothing is)."""

    service: str
    key: str
    """The target's."""
    route: Target | None
    event: int


@dataclass(frozen=True, slots=True)
class RememberOrder:
    """Keep what an operator ordered of a service (None: of the guard), for our next start; None: nothing any more.

    What he said by hand is kept as `by hand` with the target's key behind it.
    """

    service: str | None
    order: Override | Lift | ByHand | None


Command = Withdraw | Announce
Effect = Withdraw | Announce | Look | Ask | Pace | Forget | Record | Remember | RememberOrder


@dataclass(frozen=True, slots=True)
class Believed:
    """A target that was announced when our predecessor stopped."""

    service: str
    route: Target
    event: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restart knows: the last event's id, the routes believed announced, and whether ExaBGP still has them."""

    last_event: int = 0
    believed: tuple[Believed, ...] = ()
    rib_kept: bool = False
    """True when the same ExaBGP that held our predecessor's routes started us again: its RIB still has them."""
    expired: bool = False
    """True when our predecessor's last sign of life is too old, and its ExaBGP gone: nothing is taken up from it."""
    wall: float = 0.0
    """What the wall clock reads at the start, in seconds since the epoch."""
    overrides: tuple[Override, ...] = ()
    lift: Lift | None = None
    by_hand: tuple[ByHand, ...] = ()
    """What operators announced themselves, and did not take back."""
    disabled: tuple[str, ...] = ()
    """The services whose `disable_file` is there."""
    withdrawn: tuple[tuple[str, float], ...] = ()
    """Services that were withdrawn for their health, and when (seconds since the epoch): the limit counts them."""


# --- views: what others may read, immutable and shared by reference ---------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session as others see it; times are the engine's monotonic seconds."""

    session: Session
    state: State
    since: float
    heard: float
    """When it was last heard of, as of the last change; the device's view has the newest."""
    diagnostic: Diagnostic | None
    changes: int
    event: int | None
    """The event that recorded the present state."""
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouteView:
    """One of a service's targets: what was said, what was accepted, what was seen on the wire."""

    route: Target
    """As it was announced last, or else as it is configured."""
    announced: bool
    accepted: bool | None
    """None: no answer yet."""
    confirmed: tuple[str, ...]
    """The neighbours to which the last command was seen to go."""
    event: int | None
    unseen: tuple[tuple[str, str], ...] = ()
    """The neighbours that should have it and were not seen to get it, and why."""


@dataclass(frozen=True, slots=True)
class ByHandView:
    """What an operator said himself, and what became of it."""

    order: ByHand
    route: RouteView
    """Its event leads to that of the order."""
    outcome: Outcome | None
    """ExaBGP's answer to the last command; None: it has not answered yet."""
    text: str
    """What it said beside that."""
    missing: tuple[tuple[str, str], ...]
    """The neighbours to which the last command was not seen to go yet, and why."""
    answers: bool
    """Whether ExaBGP answers commands at all."""


@dataclass(frozen=True, slots=True)
class LegView:
    """What one service makes of one session."""

    session: str
    state: State
    counts_as: str
    """`up`, `down`, or `undecided` while nothing is known that could decide."""
    why: str
    """The rule that made it so, or that keeps it from changing."""


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service as others see it, with the rule that decided and its inputs."""

    service: Service
    announced: bool
    since: float | None
    adopted: bool
    """True while it is announced only because it was when we started."""
    up: int
    undecided: int
    needed: int
    legs: tuple[LegView, ...]
    routes: tuple[RouteView, ...]
    why: str
    health: str
    """What the sessions alone would have: `full`, `step N`, `down`, or `undecided`."""
    layer: str
    """What decides now: `health`, `override`, `disable_file`, `window`, `guard`, `last_site` or `start`."""
    override: Override | None
    windows: tuple[str, ...]
    """The names of the windows that are open for it."""
    disabled: bool


@dataclass(frozen=True, slots=True)
class GuardView:
    """What the guard holds back, and why."""

    held: tuple[str, ...]
    """The services that would be withdrawn but for the limit."""
    withdrawn: tuple[str, ...]
    """Those that count against the limit now."""
    limit: int | None
    lift: Lift | None
    blind: bool
    """Whether every device fell silent at once."""
    clock_doubted: bool
    """Whether the wall clock jumped a moment ago, so that nothing begins or ends by it yet."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a service is, or is not, announced: the answer in a sentence, then what led there, each in a sentence."""

    service: str
    announced: bool
    answer: str
    because: tuple[str, ...]
    sessions: tuple[str, ...]
    routes: tuple[str, ...]
    event: int | None
    """The event of the last decision, whose chain of causes tells how it came to it."""


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device as others see it."""

    name: str
    heard: float | None
    """When it last answered, None: never."""
    reachable: bool | None
    """None until it was asked once."""
    reason: str
    sessions: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What another plan would change at once, if it held from now on; what is left out stays as it is."""

    commands: tuple[Command, ...]
    """In their order, each numbered 0."""
    added: tuple[str, ...]
    """Services that are new."""
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    devices_added: tuple[str, ...]
    devices_removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment, for the web and the metrics."""

    at: float
    devices: tuple[DeviceView, ...]
    sessions: tuple[SessionView, ...]
    services: tuple[ServiceView, ...]
    neighbors: Mapping[str, str]
    """The BGP sessions whose state was told: up, down or connected."""
    guard: GuardView
    windows: tuple[str, ...]
    """The names of the windows that are open."""
    peers: tuple[Peer, ...] | None = None
    """ExaBGP's neighbours, None: it has not said which."""
    exabgp: str = ""
    """ExaBGP's own word for its version."""
    by_hand: tuple[ByHandView, ...] = ()
    """What operators said themselves: what is announced, and for a moment what was withdrawn."""


# --- questions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventQuery:
    """A question to the audit trail, newest first; times are microseconds since the epoch."""

    limit: int = 50
    device: str | None = None
    session: str | None = None
    service: str | None = None
    event_type: str | None = None
    since: int | None = None
    until: int | None = None
    before: int | None = None
    """Only events with a smaller id: where the last page ended."""
