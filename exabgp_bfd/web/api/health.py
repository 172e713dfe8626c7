"""How we are: `/health` for people, `/healthz` and `/readyz` for machines, `/metrics` for Prometheus."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, jsonify

from exabgp_bfd.web import documents
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.gate import needs
from exabgp_bfd.web.problems import Problem

ALIVE_WITHIN = 2.0
"""Seconds the main loop has to answer."""

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def blueprint(backend: Backend) -> Blueprint:
    """The health endpoints."""
    api = Blueprint("health", __name__)

    @api.get("/health")
    @needs("none")
    def health() -> Response:
        """How the program is, in numbers; always 200, `status` says ok, starting or degraded."""
        return jsonify(_health(backend))

    @api.get("/healthz")
    @needs("none")
    def healthz() -> Response:
        """200 while the main loop answers, else 503."""
        if not backend.alive(ALIVE_WITHIN):
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"the main loop did not answer within {ALIVE_WITHIN:g} seconds, or a part ended by a fault: "
                "GET /readyz and the log tell",
            )
        return jsonify({"status": "ok"})

    @api.get("/readyz")
    @needs("none")
    def readyz() -> Response:
        """200 once every device was asked and the pipe to ExaBGP is open, else 503 with what is missing."""
        missing = backend.ready()
        if missing:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"not ready: {'; '.join(missing[:10])}",
                errors=[{"detail": text} for text in missing],
                retry_after=1,
            )
        return jsonify({"status": "ready"})

    @api.get("/metrics")
    @needs("none")
    def metrics() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(backend.metrics(), content_type=_METRICS_TYPE)

    return api


def _health(backend: Backend) -> dict[str, Any]:
    snapshot = backend.snapshot()
    missing = backend.ready()
    journal = backend.journal_healthy()
    _, wall = backend.clock()
    started = backend.started()
    counts = documents.counts(snapshot)
    reachable = counts["devices"]["reachable"] == counts["devices"]["total"]
    guard = snapshot.guard
    well = journal and reachable and not (counts["routes"]["refused"] or guard.held or guard.blind)
    return {
        "status": "starting" if missing else "ok" if well else "degraded",
        "version": backend.version,
        "site": backend.site,
        "started": documents.rfc3339(started),
        "uptime": max(0.0, round((wall - started) / 1e6, 3)),
        **counts,
        "neighbors": dict(snapshot.neighbors),
        "exabgp": documents.exabgp(snapshot),
        "guard": {"held": list(guard.held), "blind": guard.blind, "clock_doubted": guard.clock_doubted},
        "windows": list(snapshot.windows),
        "lifecycle": backend.lifecycle(),
        "journal": "ok" if journal else "failing",
        "missing": missing,
    }
