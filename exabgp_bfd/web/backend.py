"""What the web room asks of the rest of the program, and the settings it is built with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from exabgp_bfd.core.model import ConfigError, EventQuery, Secret, Snapshot, Webhook


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

    def events(self, query: EventQuery) -> list[dict[str, Any]]:
        """Event documents, newest first, at most `query.limit` of them; raises StoreError."""

    def webhook(self, webhook: Webhook, timeout: float) -> int:
        """Hands a report to the main loop and waits until it is on disk; gives the event's id.

        Raises StoreError when the journal refused, TimeoutError when `timeout` seconds passed: it may still be kept.
        """

    def count_webhook(self, outcome: str) -> None:
        """Counts a webhook by how it was answered: accepted, unsigned, invalid or unavailable."""

    def devices(self) -> frozenset[str]:
        """The names of the devices there are."""

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
    threads: int = 16
    max_body: int = 65536
    max_header: int = 16384

    def __post_init__(self) -> None:
        # An empty key verifies what anybody can sign: most likely a variable that is set, but to nothing.
        if not all(secret.reveal() for secret in self.webhook_secrets):
            raise ConfigError("[webhook] secrets", "a secret is empty; give it at least 24 random characters")
        if self.threads < 1:
            raise ConfigError("[api]", f"{self.threads} threads are too few; at least 1")
