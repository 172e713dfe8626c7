"""`POST /webhook/failure`: a signed report from outside that a device has trouble."""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from exabgp_bfd.core.model import StoreError, Webhook
from exabgp_bfd.web import bodies
from exabgp_bfd.web.auth import SIGNATURE_HEADER, SignatureError, verify
from exabgp_bfd.web.backend import Backend, WebSettings
from exabgp_bfd.web.gate import needs
from exabgp_bfd.web.problems import STORE_RETRY, Problem, pointed, pointer_token

logger = logging.getLogger(__name__)

STORED_WITHIN = 5.0
"""Seconds that a report has to reach the disk."""

_REASON = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_OURS = frozenset(
    {
        *("route_announce", "route_withdraw", "route_confirmed", "route_refused", "snmp_poll", "guard_held"),
        *("override_set", "override_expired", "override_cleared", "order_refused", "guard_released"),
        *("window_opened", "window_closed", "session_forgotten", "device_added", "device_removed"),
        *("started", "stopped", "reloaded", "store_down", "store_up", "message_quarantined"),
    }
)
"""Event types that only we write. A webhook may send `bfd_failure` and the like: an event's source tells them apart."""

_DEEPEST = 32
_INT64 = 2**63
"""The largest integer that every store of ours takes (SQLite, BSON)."""


class _Report(BaseModel):
    """The body of a webhook."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: StrictStr = Field(min_length=1, max_length=255)
    reason: StrictStr
    evidence: dict[str, Any]


def blueprint(backend: Backend, settings: WebSettings) -> Blueprint:
    """The webhook's endpoint."""
    api = Blueprint("webhook", __name__)
    # Each report waits for the disk on a thread: half of them stay free for /healthz while the journal is slow.
    waiting = threading.BoundedSemaphore(max(1, settings.threads // 2))

    @api.post("/webhook/failure")
    @needs("hmac")
    def failure() -> tuple[Response, int]:
        """A report about a device, signed in X-Hub-Signature-256; 202 once it is on disk."""
        with _counted(backend.count_webhook):
            report = _received(backend, settings)
            webhook = Webhook(
                device=report.device,
                reason=report.reason,
                evidence=report.evidence,
                effect=settings.webhook_effect,
                actor=request.remote_addr,
            )
            event = _stored(backend, webhook, waiting)
        return jsonify({"id": event, "status": "accepted"}), 202

    return api


@contextmanager
def _counted(count: Callable[[str], None]) -> Iterator[None]:
    """Counts one webhook by how it ends."""
    try:
        yield
    except Exception as error:
        count(_outcome(error))
        raise
    count("accepted")


def _outcome(error: Exception) -> str:
    status = error.status if isinstance(error, Problem) else getattr(error, "code", None)
    if status == HTTPStatus.UNAUTHORIZED:
        return "unsigned"
    if status is not None and status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return "invalid"
    return "unavailable"


def _received(backend: Backend, settings: WebSettings) -> _Report:
    """The verified and valid report; nothing in the body is looked at before its signature holds."""
    if not settings.webhook_secrets:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            'no webhook secret is configured; set [webhook] secrets = ["env:WEBHOOK_HMAC_SECRET"], '
            "or --webhook-secret, and start again",
        )
    body = request.get_data(cache=False)
    try:
        verify(settings.webhook_secrets, body, request.headers.get(SIGNATURE_HEADER))
    except SignatureError as error:
        logger.info("webhook from %s refused: %s", request.remote_addr, error)
        raise Problem(HTTPStatus.UNAUTHORIZED, str(error)) from error
    report = _shaped(bodies.decoded(body, "{device, reason, evidence}"))
    faults = [*_faults_of_reason(report.reason)]
    if report.device not in backend.devices():
        faults.append(pointed("/device", f"there is no device {report.device[:80]!r}"))
    if faults:
        bodies.refuse(faults)
    return report


def _stored(backend: Backend, webhook: Webhook, waiting: threading.BoundedSemaphore) -> int:
    if not waiting.acquire(blocking=False):
        raise _unavailable("too many reports wait for the disk")
    try:
        return backend.webhook(webhook, STORED_WITHIN)
    except StoreError as error:
        logger.warning("webhook about %s: the journal refused: %s", webhook.device, error)
        raise _unavailable(f"the journal refused: {error}") from error
    except TimeoutError as error:
        logger.warning("webhook about %s: not on disk within %g seconds", webhook.device, STORED_WITHIN)
        raise _unavailable(
            f"it was not on disk within {STORED_WITHIN:g} seconds; "
            "it may still get there, so sending it again may record it twice"
        ) from error
    finally:
        waiting.release()


def _unavailable(detail: str) -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=STORE_RETRY)


def _shaped(value: dict[str, Any]) -> _Report:
    faults = list(_unstorable(value, "", 0))
    if faults:
        bodies.refuse(faults)
    return bodies.shaped(_Report, value, "what else is known belongs into evidence")


def _faults_of_reason(reason: str) -> Iterator[dict[str, str]]:
    if not _REASON.fullmatch(reason):
        yield pointed("/reason", "must be 1 to 64 of the characters a-z, 0-9, _ . : -")
        return
    if reason.lower() in _OURS:
        yield pointed("/reason", f"{reason} is an event type that only this program writes; choose another")


def _unstorable(value: object, pointer: str, depth: int) -> Iterator[dict[str, str]]:
    """What JSON allows but a store of ours, or the JSON we answer with, does not."""
    match value:
        case _ if depth > _DEEPEST:
            yield pointed(pointer, f"is nested more than {_DEEPEST} deep")
        case dict():
            for key, item in value.items():
                step = f"{pointer}/{pointer_token(key[:80])}"
                if "\0" in key or not _is_unicode(key):
                    yield pointed(pointer, "has a key with a zero or a lone surrogate")
                else:
                    yield from _unstorable(item, step, depth + 1)
        case list():
            for index, item in enumerate(value):
                yield from _unstorable(item, f"{pointer}/{index}", depth + 1)
        case str() if not _is_unicode(value):
            yield pointed(pointer, "has a lone surrogate, which is no Unicode text")
        case int() if not -_INT64 <= value < _INT64:
            yield pointed(pointer, "is an integer of more than 64 bits; send it as a string")
        case float() if not math.isfinite(value):
            yield pointed(pointer, "is a number too large to keep; send it as a string")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
