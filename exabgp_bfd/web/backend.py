"""What the web room asks of the rest of the program, and the settings it is built with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from exabgp_bfd.core.jobs import JobRequest, JobView
from exabgp_bfd.core.model import (
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
from exabgp_bfd.web.auth import Key

_HASH = re.compile(r"[0-9a-f]{64}")


ANY_SITE = "*"
"""The site that stands for all of them."""


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

    def events_of(self, query: EventQuery, site: str | None, cursor: str | None) -> EventsFound:
        """Event documents of a site (None: of all), what follows `cursor`.

        Raises ValueError for a cursor that was not given out here, StoreError.
        """

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

    def webhook(self, webhook: Webhook, timeout: float) -> int:
        """Hands a report to the main loop and waits until it is on disk; gives the event's id.

        Raises StoreError when the journal refused, TimeoutError when `timeout` seconds passed: it may still be kept.
        """

    def count_webhook(self, outcome: str) -> None:
        """Counts a webhook by how it was answered: accepted, unsigned, invalid or unavailable."""

    def devices(self) -> frozenset[str]:
        """The names of the devices there are."""

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
    """Several while one replaces the other; none: webhooks are refused."""
    webhook_effect: Literal["record", "probe", "observe"] = "probe"
    keys: tuple[Key, ...] = ()
    """None: reading is open on loopback, and only the ephemeral key may change something."""
    ephemeral: Key | None = None
    """The admin key of a start without keys."""
    threads: int = 16
    max_body: int = 65536
    max_header: int = 16384

    def __post_init__(self) -> None:
        # An empty key verifies what anybody can sign: most likely a variable that is set, but to nothing.
        if not all(secret.reveal() for secret in self.webhook_secrets):
            raise ConfigError("[webhook] secrets", "a secret is empty; give it at least 24 random characters")
        for key in (*self.keys, *([self.ephemeral] if self.ephemeral else [])):
            if not _HASH.fullmatch(key.sha256.reveal()):  # it would never match, or break the comparison
                raise ConfigError("[[api.key]] sha256", f"that of {key.name} is no SHA-256: 64 hexadecimal digits")
        if self.threads < 1:
            raise ConfigError("[api]", f"{self.threads} threads are too few; at least 1")
