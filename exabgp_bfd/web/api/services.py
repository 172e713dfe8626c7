"""`GET /services` and `GET /services/NAME`: what is announced, since when and why."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, jsonify

from exabgp_bfd.core.model import ServiceView
from exabgp_bfd.web import documents
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.problems import Problem
from exabgp_bfd.web.queries import Page, ServiceFilter, parse


def blueprint(backend: Backend) -> Blueprint:
    """The services' endpoints."""
    api = Blueprint("services", __name__)

    @api.get("/services")
    def services() -> Response:
        """Services by name: state, since when, why, what is announced, what was confirmed; limit, cursor."""
        chosen = parse(ServiceFilter)
        snapshot = backend.snapshot()
        calendar = documents.Calendar(*backend.clock())
        page = Page.of(snapshot.services, _name, chosen.cursor, chosen.size)
        return page.answer("services", lambda view: documents.service(view, calendar))

    @api.get("/services/<name>")
    def service(name: str) -> Response:
        """One service."""
        for view in backend.snapshot().services:
            if view.service.name == name:
                return jsonify(documents.service(view, documents.Calendar(*backend.clock())))
        raise Problem(HTTPStatus.NOT_FOUND, f"there is no service {name[:80]!r}; GET /services lists them")

    return api


def _name(view: ServiceView) -> str:
    return view.service.name
