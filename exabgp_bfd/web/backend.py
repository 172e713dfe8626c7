"""What the web room asks of the rest of the program, and the settings it is built with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from exabgp_bfd.core.jobs import JobRequest, JobView
from exabgp_bfd.core.mark import Mark, Taken
from exabgp_bfd.core.model import (
    ByHand,
    Clear,
    ConfigError,
    EventQuery,
    Explanation,
    Order,
    Prefix,
    Preview,
    Secret,
    Snapshot,
    Webhook,
)
from exabgp_bfd.core.notices import EndpointView, Letter
from exabgp_bfd.core.signing import is_standard, standard_octets
from exabgp_bfd.core.spoken import Question
from exabgp_bfd.core.told import Commanded, Ending, Heard, Rehearsed
from exabgp_bfd.core.written import DeviceChange, DeviceChanged, DeviceShown
from exabgp_bfd.web.auth import Key, Network, Sender
from exabgp_bfd.web.limits import Rates
from exabgp_bfd.web.tls import TlsFiles

_HASH = re.compile(r"[0-9a-f]{64}")


ANY_SITE = "*"
"""The site that stands for all of them."""


@dataclass(frozen=True, slots=True)
class CountsFound:
    """How many events there were, and which store answered."""

    counts: list[dict[str, Any]]
    """`day` (UTC), `event_type` and `count`, the newest day first."""
    store: str


@dataclass(frozen=True, slots=True)
class EventsFound:
    """Events of any site, newest first; each with the place in the list that it ends."""

    events: list[tuple[str, dict[str, Any]]]
    store: str
    """Who answered: `mongodb` knows all sites' events, `journal` only this site's."""


@dataclass(frozen=True, slots=True)
class Stand:
    """What a site does with one of its services."""

    service: str
    announced: bool
    layer: str
    since: int | None
    """By that site's clock, microseconds since the epoch."""
    targets: tuple[str, ...]
    """What it announces and its ExaBGP took: prefixes, and `watchdog NAME`."""


@dataclass(frozen=True, slots=True)
class SiteStands:
    """What a site said last."""

    site: str
    age: float
    """Seconds since it was heard of."""
    fresh: bool
    """Whether it counts."""
    stands: tuple[Stand, ...]


@dataclass(frozen=True, slots=True)
class BgpQuestion:
    """A question to the BGP message store; what an endpoint does not know stays as it is."""

    limit: int
    neighbor: str | None = None
    direction: str | None = None
    type: str | None = None
    family: str | None = None
    kind: str | None = None
    """`announce` or `withdraw`."""
    prefix: Prefix | None = None
    match: Literal["exact", "longer", "covering"] = "exact"
    stale: bool | None = None
    since: int | None = None
    """Microseconds since the epoch, as `until`."""
    until: int | None = None
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class BgpFound:
    """Documents, each with the place in the list that it ends, and who answered."""

    items: list[tuple[str, dict[str, Any]]]
    store: str


class Backend(Protocol):
    """The program as the web sees it; every method may be called on any thread and is bounded in time."""

    @property
    def site(self) -> str:
        """The site's name."""

    @property
    def version(self) -> str:
        """The program's version."""

    def snapshot(self) -> Snapshot:
        """Everything at one moment; immutable. Raises TimeoutError when the main loop gives none in time."""

    def ready(self) -> list[str]:
        """What is still missing, one sentence each; empty: ready."""

    def alive(self, timeout: float) -> bool:
        """Whether the main loop answered within `timeout` seconds."""

    def clock(self) -> tuple[float, int]:
        """One moment twice: the engine's monotonic seconds, and microseconds since the epoch."""

    def started(self) -> int:
        """When the program started, in microseconds since the epoch."""

    def lifecycle(self) -> dict[str, Any]:
        """How often the program was started, held up and replaced: `starts`, `held`, `crashes` and more."""

    def events(self, query: EventQuery) -> list[dict[str, Any]]:
        """Event documents, newest first, at most `query.limit` of them; raises StoreError."""

    def follow(self, query: EventQuery, after: int) -> list[dict[str, Any]]:
        """Event documents, oldest first, of ids above `after`, at most `query.limit`; raises StoreError."""

    def events_of(self, query: EventQuery, site: str | None, cursor: str | None) -> EventsFound:
        """Event documents of a site (None: of all), what follows `cursor`.

        Raises ValueError for a cursor that was not given out here, StoreError.
        """

    def event_counts(self, query: EventQuery, site: str | None, *, of_all: bool) -> CountsFound:
        """How many events match per day and type, of a site (None: of this one, or `of_all`); raises StoreError."""

    def event(self, number: int) -> dict[str, Any] | None:
        """One event document, None where it is not kept (any more); raises StoreError."""

    def order(self, what: Order | Clear, timeout: float) -> int:
        """Hands an operator's word to the engine and waits until it is on disk; gives the event's id.

        Raises ConfigError (place and remedy) when it is refused, StoreError when the journal refused, TimeoutError
        when `timeout` seconds passed: it may still hold.
        """

    def order_all(self, what: Order | Clear, timeout: float) -> int | None:
        """Orders something of all sites; the event's id here, which is on disk, None where nothing changes here.

        Raises ConfigError, StoreError (MongoDB refused too), TimeoutError as `order` does.
        """

    def everywhere(self, timeout: float) -> tuple[bool, list[SiteStands]] | None:
        """Whether we are cut off from the other sites, and what each does; None: there are none to hear of.

        May raise TimeoutError.
        """

    def rehearse(self, what: Order | Clear, timeout: float) -> Rehearsed:
        """What an order would have ExaBGP told, and whether it would be taken; changes nothing. Raises TimeoutError."""

    def command(self, what: ByHand, timeout: float) -> Commanded:
        """Has a command said that an operator gave himself, and waits until that is on disk.

        Raises ConfigError when it is refused (OwnedError where a service has the target), SpeakerError where ExaBGP is
        gone, StoreError, TimeoutError: it may have been said.
        """

    def ask_exabgp(self, question: Question, actor: str, reason: str, timeout: float) -> Heard:
        """Asks ExaBGP something for an operator. Raises SpeakerError, StoreError, TimeoutError."""

    def end(self, actor: str, reason: str, timeout: float) -> Ending:
        """Has the program end in order, a moment from now; the event is on disk. Raises StoreError, TimeoutError."""

    def rehearse_end(self, timeout: float) -> tuple[Ending, Rehearsed]:
        """How it would end now, and what ExaBGP would be told; changes nothing. Raises TimeoutError."""

    def explain(self, service: str) -> Explanation | None:
        """Why a service is, or is not, announced; None: there is no such service. May raise TimeoutError."""

    def preview(self, file: Path | None, timeout: float) -> tuple[Path | None, Preview]:
        """What a file (None: our own, as it is now) would change, and the file that was read.

        Raises ConfigError (with all of them in `errors`) for a bad file, TimeoutError.
        """

    def reload(self, actor: str, timeout: float) -> int:
        """Reads our own file again, from when on it holds; gives the event's id, on disk.

        Raises ConfigError (with all of them in `errors`) for a bad file, which changes nothing; StoreError,
        TimeoutError.
        """

    def reports(self, webhooks: Sequence[Webhook], mark: Mark | None, timeout: float) -> Taken:
        """Hands what one report says to the main loop and waits until it is on disk; gives the events' ids.

        With `mark` a report that was taken before is not taken again, even after a restart. Raises ReplayedError,
        StaleError and UnderWayError (core/mark.py) for that; StoreError when the journal refused, TimeoutError when
        `timeout` seconds passed: it may still be kept.
        """

    def count_webhook(self, outcome: str) -> None:
        """Counts a webhook by how it was answered: a value of `metrics.WebhookOutcome`."""

    def devices(self) -> frozenset[str]:
        """The names of the devices there are."""

    def inventory(self, origin: Literal["file", "api"] | None) -> Sequence[str]:
        """The names of the devices of the file, of those added over HTTP, or (None) of both."""

    def shown_devices(self, names: Sequence[str]) -> Sequence[DeviceShown]:
        """The devices of these names that there are, in this order; may raise TimeoutError."""

    def change_device(self, change: DeviceChange, timeout: float) -> DeviceChanged:
        """Adds, changes or removes a device of the inventory and waits until its event is on disk.

        Raises ConfigError (with all of them in `errors`, placed `device NAME.KEY`) for what is no device,
        NoSuchDeviceError, ConflictError for what does not go with the rest; StoreError, TimeoutError: it may hold.
        """

    def snmp_submit(self, request: JobRequest, actor: str) -> JobView:
        """Takes a job of the SNMP proxy.

        Raises JobRefusedError for a target that is not allowed, JobsFullError, ConfigError for one that there is not,
        SourceError for a name that nobody knows.
        """

    def snmp_status(self, ticket: str) -> JobView | None:
        """How a job stands, with its data; None: there is no such ticket (any more)."""

    def snmp_jobs(self, limit: int, before: int | None) -> tuple[JobView, ...]:
        """Jobs, the newest first, those numbered below `before`; without their data."""

    def snmp_cancel(self, ticket: str, actor: str) -> JobView | None:
        """Gives a job up and waits a moment for its end; None: no such ticket. Raises JobEndedError."""

    def bgp_messages(self, asked: BgpQuestion) -> BgpFound:
        """BGP messages, newest first. Raises, as those below, ValueError for a cursor of elsewhere, StoreError."""

    def bgp_routes(self, asked: BgpQuestion) -> BgpFound:
        """The routes that neighbours say now, in the order of neighbour, family and prefix."""

    def bgp_history(self, asked: BgpQuestion) -> BgpFound:
        """What was announced and withdrawn, newest first."""

    def bgp_rates(self, asked: BgpQuestion) -> BgpFound:
        """Routes a minute and neighbour, newest first."""

    def bgp_neighbors(self) -> list[dict[str, Any]]:
        """The neighbours and their tables; raises StoreError."""

    def endpoints(self) -> Sequence[EndpointView]:
        """Who is told of events. Raises TimeoutError."""

    def dead_letters(self, limit: int, endpoint: str | None, before: int | None) -> Sequence[Letter]:
        """The alerts that could not be delivered, newest first, those numbered below `before`; raises StoreError."""

    def dead_letter(self, number: int) -> Letter | None:
        """One of them, None where it is not kept (any more); raises StoreError."""

    def resend(self, letter: Letter, actor: str, timeout: float, *, dry_run: bool) -> int | None:
        """Has an alert sent once more; the event's id, on disk. A dry run only looks whether it could be.

        Raises NoEndpointError, StoreError and TimeoutError, as `enable_endpoint` does.
        """

    def discard(self, letter: Letter, actor: str, timeout: float) -> int:
        """Throws an alert away; the event's id, on disk. Raises StoreError, TimeoutError."""

    def enable_endpoint(self, name: str, actor: str, timeout: float, *, dry_run: bool) -> int | None:
        """Lets an endpoint be told again that said to be gone; the event's id, on disk."""

    def metrics(self) -> bytes:
        """All metrics in Prometheus' text format, version 0.0.4."""

    def journal_healthy(self) -> bool:
        """Whether the journal takes records."""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """How the web room listens and whom it believes; sizes in bytes."""

    host: str
    port: int
    webhook_secrets: tuple[Secret, ...] = ()
    """Of no named sender; several while one replaces the other."""
    webhook_effect: Literal["record", "probe", "observe"] = "probe"
    webhook_repeats: bool | None = None
    """Whether the same body, signed without a time, is a new report each time; None: unless it is observed."""
    webhook_senders: tuple[Sender, ...] = ()
    """Those with names. Without any secret webhooks are refused."""
    keys: tuple[Key, ...] = ()
    """None: reading is open on loopback, and only the ephemeral key may change something."""
    ephemeral: Key | None = None
    """The admin key of a start without keys."""
    networks: tuple[Network, ...] = ()
    """From where one may ask; empty: from anywhere."""
    trusted_proxies: tuple[Network, ...] = ()
    """Whose X-Forwarded-For is believed."""
    rates: Rates = field(default_factory=Rates)
    tls: TlsFiles | None = None
    """None: no TLS."""
    threads: int = 16
    max_body: int = 65536
    max_header: int = 16384

    def __post_init__(self) -> None:
        # An empty key verifies what anybody can sign: most likely a variable that is set, but to nothing.
        if not all(secret.reveal() for secret in self.webhook_secrets):
            raise ConfigError("[webhook] secrets", "a secret is empty; give it at least 24 random characters")
        for sender in self.senders:
            for secret in sender.secrets:
                if not secret.reveal():
                    raise ConfigError("[[webhook.sender]] secrets", f"a secret of {sender.name} is empty")
                if is_standard(secret):
                    try:
                        standard_octets(secret)
                    except ValueError as error:
                        raise ConfigError("[webhook] secrets", str(error)) from None
        for key in (*self.keys, *([self.ephemeral] if self.ephemeral else [])):
            if not _HASH.fullmatch(key.sha256.reveal()):  # it would never match, or break the comparison
                raise ConfigError("[[api.key]] sha256", f"that of {key.name} is no SHA-256: 64 hexadecimal digits")
        if self.threads < 1:
            raise ConfigError("[api]", f"{self.threads} threads are too few; at least 1")

    @property
    def senders(self) -> tuple[Sender, ...]:
        """All who may report."""
        if not self.webhook_secrets:
            return self.webhook_senders
        repeats = self.webhook_effect != "observe" if self.webhook_repeats is None else self.webhook_repeats
        nameless = Sender("", self.webhook_secrets, self.webhook_effect, repeats=repeats)
        return (nameless, *self.webhook_senders)
