"""`GET /services`, `GET /services/NAME` and `GET /services/NAME/why`: what is announced, since when and why."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from flask import Blueprint, Response, jsonify

from exabgp_bfd.core.model import ServiceView, Snapshot
from exabgp_bfd.web import documents
from exabgp_bfd.web.api.trail import chain_of
from exabgp_bfd.web.backend import Backend, SiteStands, Stand
from exabgp_bfd.web.gate import needs
from exabgp_bfd.web.problems import Problem
from exabgp_bfd.web.queries import Page, ServiceFilter, parse

SHOWN: Final = 10
"""How many services are named to who asks for one that there is not."""
EVERYWHERE_WITHIN: Final = 2.0
"""Seconds for the main loop to tell of the other sites."""


def blueprint(backend: Backend) -> Blueprint:
    """The services' endpoints."""
    api = Blueprint("services", __name__)

    @api.get("/services")
    @needs("read")
    def services() -> Response:
        """Services by name: state, since when, why, what is announced, what was confirmed; limit, cursor, scope."""
        chosen = parse(ServiceFilter)
        if chosen.scope == "all":
            return _everywhere(backend, chosen)
        snapshot = backend.snapshot()
        calendar = documents.Calendar(*backend.clock())
        page = Page.of(snapshot.services, _name, chosen.cursor, chosen.size)
        return page.answer("services", lambda view: documents.service(view, calendar))

    @api.get("/services/<name>")
    @needs("read")
    def service(name: str) -> Response:
        """One service."""
        view = find_service(backend.snapshot(), name)
        return jsonify(documents.service(view, documents.Calendar(*backend.clock())))

    @api.get("/services/<name>/why")
    @needs("read")
    def why(name: str) -> Response:
        """Why a service is, or is not, announced now, and the events that led to it, oldest first."""
        explanation = backend.explain(name)
        if explanation is None:
            raise _unknown(name, backend.snapshot())
        chain, incomplete = chain_of(backend, explanation.event)
        return jsonify({**documents.explanation(explanation), "chain": chain, "chain_incomplete": incomplete})

    return api


def _everywhere(backend: Backend, chosen: ServiceFilter) -> Response:
    """The services of all sites that are heard of: which announces each now, and since when by its own clock."""
    found = backend.everywhere(EVERYWHERE_WITHIN)
    if found is None:
        fault = {"parameter": "scope", "detail": "needs [storage] mongodb, through which the sites hear of each other"}
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "this site knows of no other", errors=[fault])
    cut_off, sites = found
    services: dict[str, list[tuple[SiteStands, Stand]]] = {}
    for site in sites:
        for stand in site.stands:
            services.setdefault(stand.service, []).append((site, stand))
    page = Page.of(services.items(), lambda each: each[0], chosen.cursor, chosen.size)
    heard = [{"site": each.site, "fresh": each.fresh, "heard_seconds_ago": round(each.age, 3)} for each in sites]
    return page.answer("services", lambda each: documents.everywhere(*each), cut_off=cut_off, sites=heard)


def find_service(snapshot: Snapshot, name: str) -> ServiceView:
    """The service of that name; raises a 404 Problem."""
    for view in snapshot.services:
        if view.service.name == name:
            return view
    raise _unknown(name, snapshot)


def _unknown(name: str, snapshot: Snapshot) -> Problem:
    names = [view.service.name for view in snapshot.services]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    known = f"known: {', '.join(names[:SHOWN])}{more}" if names else "there is none"
    detail = f"there is no service {name[:80]!r}; {known}"
    return Problem(HTTPStatus.NOT_FOUND, detail, errors=[{"place": "service", "detail": detail}])


def _name(view: ServiceView) -> str:
    return view.service.name
