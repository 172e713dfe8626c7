"""A program in a box: what the web room asks for, answered from plain values that each test sets."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from exabgp_bfd.core.model import (
    DeviceView,
    Diagnostic,
    EventQuery,
    LegView,
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
    StoreError,
    Webhook,
)
from exabgp_bfd.web.auth import sign
from exabgp_bfd.web.backend import WebSettings
from exabgp_bfd.web.server import create_app

NOON = 1795176000 * 1_000_000
"""2026-11-20T12:00:00Z."""

DOWN = SessionView(
    session=Session("edge1", "198.51.100.1", peer=ip_address("198.51.100.1"), interface="ge-0/0/1", discriminator=7),
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
        LegView("edge1/198.51.100.1", State.DOWN, "down"),
        LegView("edge2/2001:db8::1", State.UP, "up"),
    ),
    routes=(
        RouteView(
            Route(ip_network("192.0.2.53/32"), neighbors=(ip_address("192.0.2.254"),), med=50),
            announced=False,
            accepted=True,
            confirmed=("192.0.2.254",),
            event=12,
        ),
    ),
    why="1 of 2 sessions is up, 2 are needed",
)
NTP = ServiceView(
    service=Service("ntp", routes=(Route(ip_network("2001:db8::7b/128")),), selectors=(Selector("edge2", "*"),)),
    announced=True,
    since=None,
    adopted=True,
    up=0,
    undecided=1,
    needed=1,
    legs=(),
    routes=(RouteView(Route(ip_network("2001:db8::7b/128")), True, None, (), None),),
    why="kept from before the restart",
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
    trouble: Exception | None = None
    """Raised by the store, for reading and for writing."""
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

    def webhook(self, webhook: Webhook, timeout: float) -> int:
        self.entered.release()
        if self.held is not None and not self.held.wait(min(timeout, 30)):
            raise TimeoutError
        if self.trouble:
            raise self.trouble
        self.webhooks.append(webhook)
        return 40 + len(self.webhooks)

    def count_webhook(self, outcome: str) -> None:
        self.counted.append(outcome)

    def devices(self) -> frozenset[str]:
        return frozenset(device.name for device in self.view.devices)

    def metrics(self) -> bytes:
        return b"exabgp_bfd_loop_lag_seconds 0.0\n"

    def journal_healthy(self) -> bool:
        return self.healthy


@pytest.fixture
def backend() -> Box:
    return Box()


@pytest.fixture
def settings() -> WebSettings:
    return WebSettings("127.0.0.1", 8080, webhook_secrets=(Secret("old secret"), Secret("new secret")))


@pytest.fixture
def counted(backend: Box) -> list[str]:
    return backend.counted


@pytest.fixture
def app(backend: Box, settings: WebSettings) -> Flask:
    return create_app(backend, settings)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def build(backend: Box, settings: WebSettings) -> Callable[..., FlaskClient]:
    """A client of an application with other settings."""

    def make(**changes: Any) -> FlaskClient:
        return create_app(backend, replace(settings, **changes)).test_client()

    return make


@pytest.fixture
def signed() -> Callable[..., dict[str, str]]:
    """The headers that a sender with a secret adds to a body."""

    def headers(body: bytes, secret: str = "new secret") -> dict[str, str]:
        return {"X-Hub-Signature-256": sign(Secret(secret), body), "Content-Type": "application/json"}

    return headers


@pytest.fixture
def make_event() -> Callable[..., dict[str, Any]]:
    return event


@pytest.fixture
def problem() -> Callable[..., dict[str, Any]]:
    """Checks that an answer is a whole problem document of a status, and gives it."""

    def check(response: Any, status: int) -> dict[str, Any]:
        assert response.status_code == status, response.get_data(as_text=True)
        assert response.content_type == "application/problem+json"
        document = response.get_json(force=True)
        assert document["status"] == status
        assert document["type"] == "about:blank"
        assert document["title"]
        assert document["detail"]
        assert document["instance"].startswith("/")
        return document

    return check


@pytest.fixture
def store_error() -> StoreError:
    return StoreError("the disk is full")
