"""`GET /guard`, `PUT` and `DELETE /guard/lift`: what is held back from being withdrawn, and how to let it go."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, jsonify

from exabgp_bfd.core.model import Clear, Lift, Order
from exabgp_bfd.web import bodies, documents, orders, rehearsal
from exabgp_bfd.web.api.overrides import clearing
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.gate import actor, needs
from exabgp_bfd.web.problems import Problem


def blueprint(backend: Backend) -> Blueprint:
    """The guard's endpoints."""
    api = Blueprint("guard", __name__)

    @api.get("/guard")
    @needs("read")
    def guard() -> Response:
        """What the guard holds back: held and withdrawn services, the limit, who lifted it, blind, clock_doubted."""
        return jsonify(documents.guard(backend.snapshot().guard))

    @api.put("/guard/lift")
    @needs("operate")
    def lift() -> Response:
        """Lifts the limit on services withdrawn at once: {reason, ttl or expires}."""
        dry_run = rehearsal.asked()
        body = bodies.read(bodies.Lifting)
        _, now = backend.clock()
        what = Lift(actor(), body.reason, since=now / 1e6, expires=body.end(now))
        if dry_run or body.dry_run:
            return jsonify(rehearsal.of(backend, Order(what)))
        event = orders.post(backend, Order(what))
        return jsonify({"event": event, "lift": documents.lift(what), "guard": _guard(backend)})

    @api.delete("/guard/lift")
    @needs("operate")
    def clear() -> Response:
        """Lets the limit hold again; reason, in the query or the body."""
        reason, dry_run = clearing()
        if backend.snapshot().guard.lift is None:
            raise Problem(HTTPStatus.NOT_FOUND, "the limit is not lifted; GET /guard tells how it stands")
        what = Clear(None, actor(), reason)
        if dry_run:
            return jsonify(rehearsal.of(backend, what))
        event = orders.post(backend, what)
        return jsonify({"event": event, "lift": None, "guard": _guard(backend)})

    return api


def _guard(backend: Backend) -> dict[str, Any] | None:
    snapshot = orders.seen(backend)
    return None if snapshot is None else documents.guard(snapshot.guard)
