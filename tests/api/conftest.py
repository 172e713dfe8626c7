"""What the tests of the API ask for: the application around a program in a box."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from api.box import KEYS, Box, event, keys
from api.conform import watched
from flask import Flask
from flask.testing import FlaskClient

from exabgp_bfd.core.model import Secret, StoreError
from exabgp_bfd.web.auth import Key, Role, new_key, sign
from exabgp_bfd.web.backend import WebSettings
from exabgp_bfd.web.limits import Rates
from exabgp_bfd.web.server import create_app


@pytest.fixture
def backend() -> Box:
    return Box()


@pytest.fixture(scope="session")
def ephemeral() -> tuple[str, Key]:
    """The admin key of a start without keys, and what is known of it."""
    return new_key()


@pytest.fixture
def settings(ephemeral: tuple[str, Key]) -> WebSettings:
    secrets = (Secret("old secret"), Secret("new secret"))
    unlimited = Rates(requests=0, failures=0)  # tests ask more often than anybody may, and guess keys
    return WebSettings("127.0.0.1", 8080, webhook_secrets=secrets, ephemeral=ephemeral[1], rates=unlimited)


@pytest.fixture
def admin(ephemeral: tuple[str, Key]) -> dict[str, str]:
    """The header that may do everything where no key is configured."""
    return {"X-API-Key": ephemeral[0]}


@pytest.fixture
def keyed(build: Callable[..., FlaskClient]) -> FlaskClient:
    """A client of an application with a key of each role, which is named after it."""
    return build(keys=keys(), ephemeral=None)


@pytest.fixture
def key() -> Callable[[Role], dict[str, str]]:
    """The header that shows the key of a role."""
    return lambda role: {"X-API-Key": KEYS[role]}


@pytest.fixture
def counted(backend: Box) -> list[str]:
    return backend.counted


@pytest.fixture
def app(backend: Box, settings: WebSettings) -> Iterator[Flask]:
    app = create_app(backend, settings)
    with watched(app):
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def build(backend: Box, settings: WebSettings) -> Iterator[Callable[..., FlaskClient]]:
    """A client of an application with other settings."""
    with ExitStack() as stack:

        def make(**changes: Any) -> FlaskClient:
            app = create_app(backend, replace(settings, **changes))
            stack.enter_context(watched(app))
            return app.test_client()

        yield make


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
