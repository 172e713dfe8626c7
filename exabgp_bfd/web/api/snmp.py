"""The SNMP proxy: `POST /snmp/get`, `/snmp/walk` and `/snmp/poll` give a ticket, `GET /status/TICKET` its result.

Tickets are read with the role operate as well: what a device says of itself is for those who run it.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Annotated, Any, Final

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, ConfigDict, Field

from exabgp_bfd.core.jobs import JobEndedError, JobRefusedError, JobRequest, JobsFullError, JobView, no_data
from exabgp_bfd.core.model import ConfigError, SourceError
from exabgp_bfd.web import bodies, documents
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.gate import actor, needs
from exabgp_bfd.web.problems import Problem, misconfigured, pointed
from exabgp_bfd.web.queries import MOST, Limit, Page, parse

FULL_RETRY: Final = 5
"""Seconds after which it is worth asking again where too many jobs wait."""

_LONGEST_TICKET = 64


class JobFilter(BaseModel):
    """Which jobs: a page of them, and from where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Limit = 200
    cursor: Annotated[int | None, Field(ge=1, lt=2**63, description="The next_cursor of the page before.")] = None

    @property
    def size(self) -> int:
        """Jobs on this page, at most."""
        return min(self.limit, MOST)


def blueprint(backend: Backend) -> Blueprint:
    """The SNMP proxy's endpoints."""
    api = Blueprint("snmp", __name__)

    @api.post("/snmp/get")
    @needs("operate")
    def get() -> Response:
        """A ticket for the values of instances: {device, or host and credentials; oids}."""
        return _submitted(backend, bodies.read(bodies.Getting).order())

    @api.post("/snmp/walk")
    @needs("operate")
    def walk() -> Response:
        """A ticket for a subtree: {device, or host and credentials; oid, max_rows}."""
        return _submitted(backend, bodies.read(bodies.Walking).order())

    @api.post("/snmp/poll")
    @needs("operate")
    def poll() -> Response:
        """A ticket for what a device is: {device, or host and credentials; what: [system, interfaces, arp, bfd]}."""
        return _submitted(backend, bodies.read(bodies.Polling).order())

    @api.get("/status/<ticket>")
    @needs("operate")
    def status(ticket: str) -> Response:
        """How a job of the SNMP proxy stands, and its data."""
        view = backend.snmp_status(ticket) if len(ticket) <= _LONGEST_TICKET else None
        if view is None:
            raise _unknown(ticket)
        return _answer(view)

    @api.get("/jobs")
    @needs("operate")
    def jobs() -> Response:
        """The jobs of the SNMP proxy, newest first, without their data; limit, cursor."""
        chosen = parse(JobFilter)
        found = backend.snmp_jobs(chosen.size + 1, chosen.cursor)
        return Page(found, chosen.size, lambda view: str(view.number)).answer("jobs", _document)

    @api.delete("/jobs/<ticket>")
    @needs("operate")
    def cancel(ticket: str) -> Response:
        """Cancels a job of the SNMP proxy, also in the middle of a walk."""
        try:
            view = backend.snmp_cancel(ticket, actor()) if len(ticket) <= _LONGEST_TICKET else None
        except JobEndedError as error:
            raise Problem(HTTPStatus.CONFLICT, str(error)) from error
        if view is None:
            raise _unknown(ticket)
        return _answer(view, HTTPStatus.OK if view.status.ended else HTTPStatus.ACCEPTED)

    return api


def _submitted(backend: Backend, request: JobRequest) -> Response:
    """Hands a job over; raises a 403, 422 or 503 Problem."""
    try:
        view = backend.snmp_submit(request, actor())
    except JobRefusedError as error:
        raise Problem(HTTPStatus.FORBIDDEN, str(error), errors=[pointed("/host", str(error))]) from error
    except JobsFullError as error:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), retry_after=FULL_RETRY) from error
    except ConfigError as error:
        raise misconfigured(error) from error
    except SourceError as error:
        detail = str(error)
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=[pointed("/host", detail)]) from error
    response = jsonify(_document(view))
    response.status_code = HTTPStatus.ACCEPTED
    response.headers["Location"] = f"/status/{view.ticket}"
    return response


def _answer(view: JobView, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """A job with its data, which was rendered when it ended: a large result takes no time here."""
    head = json.dumps(_document(view)).encode()
    body = head[:-1] + b', "data": ' + (view.data or json.dumps(no_data(view.kind)).encode()) + b"}\n"
    return Response(body, status.value, content_type="application/json")


def _document(view: JobView) -> dict[str, Any]:
    return {
        "ticket": view.ticket,
        "status": view.status.value,
        "progress": view.progress,
        "progress_detail": dict(view.progress_detail),
        "progress_percent": view.progress_percent,
        "elapsed_seconds": view.elapsed,
        "timing": dict(view.timing),
        "number": view.number,
        "kind": view.kind.value,
        "target": view.target,
        "actor": view.actor,
        "error": view.error,
        "truncated": view.truncated,
        "created": documents.rfc3339(view.created),
        "started": None if view.started is None else documents.rfc3339(view.started),
        "finished": None if view.finished is None else documents.rfc3339(view.finished),
    }


def _unknown(ticket: str) -> Problem:
    detail = f"there is no ticket {ticket[:_LONGEST_TICKET]!r}, or not any more; GET /jobs lists those that are kept"
    return Problem(HTTPStatus.NOT_FOUND, detail)
