"""`GET /events`: the audit trail, newest first."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response

from exabgp_bfd.web.backend import ANY_SITE, Backend
from exabgp_bfd.web.gate import needs
from exabgp_bfd.web.problems import Problem
from exabgp_bfd.web.queries import EventFilter, Page, parse


def blueprint(backend: Backend) -> Blueprint:
    """The audit trail's endpoint."""
    api = Blueprint("events", __name__)

    @api.get("/events")
    @needs("read")
    def events() -> Response:
        """Events, newest first; limit, device, session, service, event_type, since, until, site, cursor."""
        chosen = parse(EventFilter)
        if chosen.site is not None:
            return _of_site(backend, chosen, None if chosen.site == ANY_SITE else chosen.site)
        page = Page(backend.events(chosen.question()), chosen.size, lambda event: str(event["id"]))
        return page.answer("events", lambda event: event)

    return api


def _of_site(backend: Backend, chosen: EventFilter, site: str | None) -> Response:
    """Events of a site, None: of all of them."""
    try:
        found = backend.events_of(chosen.question(), site, chosen.cursor if isinstance(chosen.cursor, str) else None)
    except ValueError as error:
        fault = {"parameter": "cursor", "detail": "was not given out here; begin without one"}
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "the query is not understood", errors=[fault]) from error
    page = Page(found.events, chosen.size, lambda each: each[0])
    return page.answer("events", lambda each: each[1], store=found.store)
