"""Who is told of events: `GET /notify`, and under `/notify/dead` what could not be delivered.

Endpoints themselves, and where their URLs lead, are the configuration's alone: nothing over HTTP names a URL.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Annotated, Any, Final

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, ConfigDict, Field

from exabgp_bfd.core.notices import EndpointView, Letter, NoEndpointError
from exabgp_bfd.web import documents, rehearsal
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.gate import actor, needs
from exabgp_bfd.web.problems import Problem
from exabgp_bfd.web.queries import MOST, Page, parse

ORDERED_WITHIN: Final = 5.0
"""Seconds that an order has to reach the disk."""


class DeadFilter(BaseModel):
    """Which of the alerts that could not be delivered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, description="How many at most; a page has at most 1000.")] = 200
    endpoint: Annotated[
        str | None, Field(min_length=1, max_length=255, description="Only those of this [[notify]].")
    ] = None
    cursor: Annotated[int | None, Field(ge=1, lt=2**63, description="The next_cursor of the page before.")] = None

    @property
    def size(self) -> int:
        """Letters on this page, at most."""
        return min(self.limit, MOST)


def blueprint(backend: Backend) -> Blueprint:
    """The endpoints about endpoints."""
    api = Blueprint("notify", __name__)

    @api.get("/notify")
    @needs("read")
    def endpoints() -> Response:
        """Who is told of events, how many alerts wait for each, and when it last took one."""
        return jsonify({"endpoints": [_endpoint(view) for view in backend.endpoints()]})

    @api.post("/notify/endpoints/<name>/enable")
    @needs("operate")
    def enable(name: str) -> Response:
        """Lets an endpoint be told again that answered 410 (Gone)."""
        dry_run = rehearsal.asked()
        if name not in {view.name for view in backend.endpoints()}:
            detail = f"there is no [[notify]] of the name {name[:100]!r}; GET /notify lists them"
            raise Problem(HTTPStatus.NOT_FOUND, detail, errors=[{"place": "name", "detail": detail}])
        try:
            event = backend.enable_endpoint(name, actor(), ORDERED_WITHIN, dry_run=dry_run)
        except NoEndpointError as error:
            raise _conflict(error) from error
        return _done(event, {"endpoint": name}, dry_run=dry_run)

    @api.get("/notify/dead")
    @needs("read")
    def dead() -> Response:
        """The alerts that could not be delivered, newest first; limit, endpoint, cursor."""
        chosen = parse(DeadFilter)
        found = backend.dead_letters(chosen.size + 1, chosen.endpoint, chosen.cursor)
        return Page(found, chosen.size, lambda letter: str(letter.number)).answer("dead", _letter)

    @api.post("/notify/dead/<int:number>/resend")
    @needs("operate")
    def resend(number: int) -> Response:
        """Sends an alert once more that could not be delivered; it stays here until it is."""
        dry_run, letter = rehearsal.asked(), _found(backend, number)
        try:
            event = backend.resend(letter, actor(), ORDERED_WITHIN, dry_run=dry_run)
        except NoEndpointError as error:
            raise _conflict(error) from error
        answer = _done(event, {"letter": _letter(letter)}, dry_run=dry_run)
        answer.status_code = HTTPStatus.OK if dry_run else HTTPStatus.ACCEPTED
        return answer

    @api.delete("/notify/dead/<int:number>")
    @needs("operate")
    def discard(number: int) -> Response:
        """Throws an alert away that could not be delivered."""
        dry_run, letter = rehearsal.asked(), _found(backend, number)
        event = None if dry_run else backend.discard(letter, actor(), ORDERED_WITHIN)
        return _done(event, {"letter": _letter(letter)}, dry_run=dry_run)

    return api


def _done(event: int | None, more: dict[str, Any], *, dry_run: bool) -> Response:
    return jsonify({"event": event, **more, **({"dry_run": True} if dry_run else {})})


def _conflict(error: NoEndpointError) -> Problem:
    return Problem(HTTPStatus.CONFLICT, error.text, errors=[{"place": error.place, "detail": error.text}])


def _found(backend: Backend, number: int) -> Letter:
    letter = backend.dead_letter(number) if number < 2**63 else None
    if letter is None:
        detail = f"there is no dead letter {number}, or not any more; GET /notify/dead lists them"
        raise Problem(HTTPStatus.NOT_FOUND, detail, errors=[{"place": "number", "detail": detail}])
    return letter


def _endpoint(view: EndpointView) -> dict[str, Any]:
    return {
        "endpoint": view.name,
        "address": view.address,
        "format": view.format,
        "state": view.state.value,
        "waiting": view.waiting,
        "lag_seconds": round(view.lag, 3),
        "position": view.position,
        "sent": view.sent,
        "failed": view.failed,
        "dead": view.dead,
        "tries": view.tries,
        "last_success": _moment(view.last_success),
        "last_failure": _moment(view.last_failure),
        "last_error": view.last_error,
        "next_try": _moment(view.next_try),
    }


def _letter(letter: Letter) -> dict[str, Any]:
    return {
        "number": letter.number,
        "ts": documents.rfc3339(letter.ts),
        "endpoint": letter.endpoint,
        "webhook_id": letter.name,
        "tries": letter.tries,
        "reason": letter.reason,
        "resending": letter.again,
        "event": json.loads(letter.body),
    }


def _moment(micro: int | None) -> str | None:
    return None if micro is None else documents.rfc3339(micro)
