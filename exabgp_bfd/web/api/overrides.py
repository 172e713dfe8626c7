"""`PUT` and `DELETE /services/NAME/override`: an operator's word on a service, which beats its health."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, jsonify

from exabgp_bfd.core.model import Action, Clear, Order, Override, ServiceView
from exabgp_bfd.web import bodies, documents, orders, rehearsal
from exabgp_bfd.web.api.services import find_service
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.gate import actor, needs
from exabgp_bfd.web.problems import Problem
from exabgp_bfd.web.queries import ClearFilter, ReasonFilter, parse


def blueprint(backend: Backend) -> Blueprint:
    """The overrides' endpoints."""
    api = Blueprint("overrides", __name__)

    @api.put("/services/<name>/override")
    @needs("operate")
    def override(name: str) -> Response:
        """Overrides a service's health: {action: announce|withdraw|drain|freeze, reason, ttl or expires, scope}.

        `dry_run` tells what this site would announce and withdraw at once.
        """
        dry_run = rehearsal.asked()
        body = bodies.read(bodies.Overriding)
        view = find_service(backend.snapshot(), name)
        _, now = backend.clock()
        what = Override(name, body.action, actor(), body.reason, since=now / 1e6, expires=body.end(now))
        if dry_run or body.dry_run:
            return jsonify(rehearsal.of(backend, Order(what), scope=body.scope, later=_later(view, body.action)))
        event = orders.post_all(backend, Order(what)) if body.scope == "all" else orders.post(backend, Order(what))
        answer = {"event": event, "override": documents.override(what), "service": _service(backend, name)}
        return jsonify({**answer, "scope": body.scope})

    @api.delete("/services/<name>/override")
    @needs("operate")
    def clear(name: str) -> Response:
        """Takes a service's override back, here or (scope) at every site; reason and scope in the query or the body."""
        asked, told = parse(ClearFilter), bodies.read(bodies.ClearingOverride, optional=True)
        what = Clear(name, actor(), _once("reason", asked.reason, told.reason) or "")
        scope = _once("scope", asked.scope, told.scope) or "site"
        view = find_service(backend.snapshot(), name)
        if (asked.dry_run or told.dry_run) and (scope == "all" or view.override is not None):
            return jsonify(rehearsal.of(backend, what, scope=scope, later=None))
        if scope == "all":
            event = orders.post_all(backend, what)
        elif view.override is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"the service {name} has no override that could be taken back")
        else:
            event = orders.post(backend, what)
        return jsonify({"event": event, "override": None, "service": _service(backend, name), "scope": scope})

    return api


def clearing() -> tuple[str, bool]:
    """Why something is taken back (empty: nobody says), from the query or the body, and whether only to rehearse it."""
    asked, told = parse(ReasonFilter), bodies.read(bodies.Clearing, optional=True)
    return _once("reason", asked.reason, told.reason) or "", asked.dry_run or told.dry_run


def _later(view: ServiceView, action: Action) -> str | None:
    """What would follow by itself."""
    if action is not Action.DRAIN or not view.announced:
        return None
    return f"withdrawn after {view.service.drain_time:g} s"


def _once(name: str, asked: str | None, told: str | None) -> str | None:
    """What the query or the body says, and not both."""
    if asked is not None and told is not None:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"the {name} stands in the query and in the body; give it once",
            errors=[{"parameter": name, "detail": "stands in the body too"}],
        )
    return asked or told


def _service(backend: Backend, name: str) -> dict[str, Any] | None:
    """The service as it is now, None where it is not to be had (any more)."""
    snapshot = orders.seen(backend)
    if snapshot is None:
        return None
    calendar = documents.Calendar(*backend.clock())
    return next((documents.service(view, calendar) for view in snapshot.services if view.service.name == name), None)
