"""`GET /sessions`: every BFD session and its state."""

from __future__ import annotations

from flask import Blueprint, Response

from exabgp_bfd.core.model import SessionView
from exabgp_bfd.web import documents
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.gate import needs
from exabgp_bfd.web.queries import Page, SessionFilter, parse


def blueprint(backend: Backend) -> Blueprint:
    """The sessions' endpoint."""
    api = Blueprint("sessions", __name__)

    @api.get("/sessions")
    @needs("read")
    def sessions() -> Response:
        """BFD sessions by id: state, since when, diagnostic; device, state, limit, cursor."""
        chosen = parse(SessionFilter)
        snapshot = backend.snapshot()
        calendar = documents.Calendar(*backend.clock())
        devices = {device.name: device for device in snapshot.devices}

        def wanted(view: SessionView) -> bool:
            return chosen.device in {None, view.session.device} and chosen.state in {None, view.state}

        page = Page.of(filter(wanted, snapshot.sessions), _id, chosen.cursor, chosen.size)
        return page.answer("sessions", lambda view: documents.session(view, devices.get(view.session.device), calendar))

    return api


def _id(view: SessionView) -> str:
    return view.session.id
