"""`GET /events`: the audit trail, newest first."""

from __future__ import annotations

from flask import Blueprint, Response

from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.gate import needs
from exabgp_bfd.web.queries import EventFilter, Page, parse


def blueprint(backend: Backend) -> Blueprint:
    """The audit trail's endpoint."""
    api = Blueprint("events", __name__)

    @api.get("/events")
    @needs("read")
    def events() -> Response:
        """Events, newest first; limit, device, session, service, event_type, since, until, cursor."""
        chosen = parse(EventFilter)
        page = Page(backend.events(chosen.question()), chosen.size, lambda event: str(event["id"]))
        return page.answer("events", lambda event: event)

    return api
