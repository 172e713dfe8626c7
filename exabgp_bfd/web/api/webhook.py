"""`POST /webhook/failure`: a signed report from outside that a device has trouble."""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from exabgp_bfd.core.mark import Mark, ReplayedError, StaleError, Taken, UnderWayError
from exabgp_bfd.core.model import Secret, StoreError, Webhook
from exabgp_bfd.core.policy import key
from exabgp_bfd.web import alerts, bodies, gate
from exabgp_bfd.web.auth import TOLERANCE, Proof, SignatureError, prove
from exabgp_bfd.web.backend import Backend, WebSettings
from exabgp_bfd.web.gate import needs
from exabgp_bfd.web.problems import STORE_RETRY, Problem, pointed, pointer_token

logger = logging.getLogger(__name__)

STORED_WITHIN = 5.0
"""Seconds that a report has to reach the disk."""

_REASON = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_OURS = frozenset(
    {
        *("route_announce", "route_withdraw", "route_confirmed", "route_refused", "route_unconfirmed"),
        *("route_overtaken", "route_adopted", "reconciled", "snmp_poll", "snmp_trap", "guard_held", "guard_released"),
        *("override_set", "override_expired", "override_cleared", "order_refused", "session_forgotten"),
        *("window_opened", "window_closed", "last_site_held", "last_site_released", "site_conflict"),
        *("device_added", "device_changed", "device_removed", "device_superseded", "device_left_out"),
        *("command", "command_expired", "command_ended", "shutdown", "started", "stopped", "reloaded"),
        *("reload_refused", "lease_expired", "message_quarantined", "exabgp_neighbors", "exabgp_warning"),
        *("store_down", "store_up", "store_damaged", "store_replaced", "store_missing", "store_rescued", "store_gap"),
        *("notify_dead", "notify_late", "notify_disabled", "notify_recovered", "notify_enabled", "notify_resend"),
        "notify_discarded",
    }
)
"""Event types that only we write. A webhook may send `bfd_failure` and the like: an event's source tells them apart."""

_ALERTS: dict[str | None, alerts.Alerts] = {"alertmanager": "alertmanager", "grafana": "grafana"}
_FORMATS = frozenset({"report", "alertmanager", "grafana"})

_TOLD_APART = 8
"""Hexadecimal digits."""
_LONGEST_SESSION = 300
_DEEPEST = 32
_INT64 = 2**63
"""The largest integer that every store of ours takes (SQLite, BSON)."""


class Report(BaseModel):
    """The body of a webhook."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: StrictStr = Field(min_length=1, max_length=255, description="The device's name.")
    reason: StrictStr = Field(description="The event's type: 1 to 64 of a-z A-Z 0-9 _ . : -, none of our own.")
    evidence: dict[str, Any] = Field(description="The event's details; `session` and `state` may be observed.")


@dataclass(frozen=True, slots=True)
class _Received:
    """What was proved and understood."""

    webhooks: tuple[Webhook, ...]
    mark: Mark | None
    ignored: tuple[dict[str, str], ...] = ()


def blueprint(backend: Backend, settings: WebSettings) -> Blueprint:
    """The webhook's endpoint."""
    api = Blueprint("webhook", __name__)
    # Each report waits for the disk on a thread: half of them stay free for /healthz while the journal is slow.
    waiting = threading.BoundedSemaphore(max(1, settings.threads // 2))

    @api.post("/webhook/failure")
    @needs("hmac")
    def failure() -> tuple[Response, int]:
        """A report about a device, signed; 202 once it is on disk."""
        with _counted(backend.count_webhook) as ended:
            received = _received(backend)
            taken = _stored(backend, received, waiting)
            if taken.again:
                ended.append("repeated")
        answer: dict[str, Any] = {"id": taken.events[0], "status": "accepted"}
        if len(received.webhooks) > 1:
            answer["ids"] = list(taken.events)
        if received.ignored:
            answer["ignored"] = list(received.ignored)
        return jsonify(answer), 202

    return api


@contextmanager
def _counted(count: Callable[[str], None]) -> Iterator[list[str]]:
    """Counts one webhook by how it ends; what is given may name another end than `accepted`."""
    ended = ["accepted"]
    try:
        yield ended
    except Exception as error:
        count(_outcome(error))
        raise
    count(ended[-1])


def _outcome(error: Exception) -> str:
    status = error.status if isinstance(error, Problem) else getattr(error, "code", None)
    if status == HTTPStatus.UNAUTHORIZED:
        return "unsigned"
    if status == HTTPStatus.CONFLICT:
        return "replayed"
    if status is not None and status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return "invalid"
    return "unavailable"


def _received(backend: Backend) -> _Received:
    """The verified and valid report; nothing in the body is looked at before its signature holds."""
    proof, body = _proved()
    sender = proof.sender
    reading = _told(backend, _format(sender.format), body)
    webhooks = tuple(
        Webhook(
            device=each.device,
            reason=each.reason,
            evidence=each.evidence,
            effect=sender.effect,
            actor=sender.name or request.remote_addr,
        )
        for each in reading.told
    )
    return _Received(webhooks, _mark(proof, body, webhooks), reading.ignored)


def _proved() -> tuple[Proof, bytes]:
    senders = gate.standing().senders
    if not senders:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            'no webhook secret is configured; set [webhook] secrets = ["env:WEBHOOK_HMAC_SECRET"], '
            "[[webhook.sender]], or --webhook-secret, and start again",
        )
    body = request.get_data(cache=False)
    try:
        return prove(senders, request.headers, body), body
    except SignatureError as error:
        gate.count_failure()
        logger.info("webhook from %s refused: %s", request.remote_addr, error)
        raise Problem(HTTPStatus.UNAUTHORIZED, str(error)) from error


def _format(configured: str | None) -> str | None:
    """What the body looks like: as the sender's settings say, or the query."""
    asked = request.args.getlist("format")
    if len(asked) > 1 or not {*asked} <= _FORMATS:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"format must be one of {', '.join(sorted(_FORMATS))}",
            errors=[{"parameter": "format", "detail": "there is no such format"}],
        )
    if asked and configured is not None and asked[0] != configured:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"this sender's format is {configured}, by its settings",
            errors=[{"parameter": "format", "detail": f"leave it out, or say {configured}"}],
        )
    return configured or (asked[0] if asked else None)


def _told(backend: Backend, kind: str | None, body: bytes) -> alerts.Reading:
    """What the body says, and what of it was left out; raises a 400 or 422 Problem."""
    devices = backend.devices()
    if kind in _ALERTS:
        value = bodies.decoded(body, f"a webhook of {kind}")
        _refuse_unstorable(value)
        reading = alerts.read(_ALERTS[kind], value, devices, _OURS)
        if isinstance(reading, list):
            bodies.refuse(reading)
        return reading
    report = _shaped(bodies.decoded(body, "{device, reason, evidence}"))
    faults = [*_faults_of_reason(report.reason)]
    if report.device not in devices:
        faults.append(pointed("/device", f"there is no device {report.device[:80]!r}"))
    if faults:
        bodies.refuse(faults)
    return alerts.Reading((alerts.Told(report.device, report.reason, report.evidence),))


def _mark(proof: Proof, body: bytes, webhooks: tuple[Webhook, ...]) -> Mark | None:
    if proof.id is None or proof.secret is None:
        return None
    now = time.time()
    signer = _known_by(proof.secret)
    others = (_known_by(secret) for secret in proof.sender.secrets)
    return Mark(
        sender=signer,
        id=_digest(proof.id.encode("utf-8", "surrogateescape")),
        body=_digest(body),
        time=int(now) if proof.time is None else proof.time,
        fresh=proof.time is None or abs(now - proof.time) <= TOLERANCE,
        timed=proof.time is not None,
        order=_order(webhooks) if proof.time is not None and proof.sender.effect == "observe" else (),
        also=(*(other for other in others if other != signer), proof.sender.name),
    )


def _known_by(secret: Secret) -> str:
    """What a secret's reports are remembered by: enough to tell some senders apart, too little to try guesses at it."""
    return hmac.new(secret.reveal().encode(), b"exabgp-bfd: whose report", "sha256").hexdigest()[:_TOLD_APART]


def _order(webhooks: tuple[Webhook, ...]) -> tuple[str, ...]:
    """What they are about, as the engine will read them: sessions, `*` for all of a device's."""
    about: dict[str, None] = {}
    for each in webhooks:
        pattern = each.evidence.get("session", each.evidence.get("peer", "*"))
        if not isinstance(pattern, str) or len(pattern) > _LONGEST_SESSION:
            pattern = "*"  # which no session is called
        about[f"{each.device}/{key(pattern.removeprefix(f'{each.device}/'))}"] = None
    return tuple(about)


def _digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()[:32]


def _stored(backend: Backend, received: _Received, waiting: threading.BoundedSemaphore) -> Taken:
    if not waiting.acquire(blocking=False):
        raise _unavailable("too many reports wait for the disk")
    about = ", ".join(dict.fromkeys(webhook.device for webhook in received.webhooks))[:200]
    try:
        return backend.reports(received.webhooks, received.mark, STORED_WITHIN)
    except ReplayedError as error:
        logger.warning("webhook about %s from %s refused: %s", about, request.remote_addr, error)
        raise Problem(HTTPStatus.CONFLICT, str(error)) from error
    except StaleError as error:
        gate.count_failure()
        logger.info("webhook about %s from %s refused: %s", about, request.remote_addr, error)
        raise Problem(HTTPStatus.UNAUTHORIZED, f"the signature holds, but {error}") from error
    except UnderWayError as error:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), retry_after=1) from error
    except StoreError as error:
        logger.warning("webhook about %s: the journal refused: %s", about, error)
        raise _unavailable(f"the journal refused: {error}") from error
    except TimeoutError as error:
        logger.warning("webhook about %s: not on disk within %g seconds", about, STORED_WITHIN)
        again = (
            "sending it again may record it twice" if received.mark is None else "send it again, it is recorded once"
        )
        raise _unavailable(
            f"it was not on disk within {STORED_WITHIN:g} seconds; it may still get there, so {again}"
        ) from error
    finally:
        waiting.release()


def _unavailable(detail: str) -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=STORE_RETRY)


def _refuse_unstorable(value: dict[str, Any]) -> None:
    faults = list(_unstorable(value, "", 0))
    if faults:
        bodies.refuse(faults)


def _shaped(value: dict[str, Any]) -> Report:
    _refuse_unstorable(value)
    return bodies.shaped(Report, value, "what else is known belongs into evidence")


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
