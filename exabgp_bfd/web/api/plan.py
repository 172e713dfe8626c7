"""`POST /reload`: another configuration holds from now on, or what would change if it did."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Response, jsonify

from exabgp_bfd.core.model import ConfigError
from exabgp_bfd.web import bodies, documents, rehearsal
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.gate import actor, needs
from exabgp_bfd.web.problems import STORE_RETRY, Problem, misconfigured, pointed

RELOADED_WITHIN: Final = 20.0
"""Seconds for reading and checking a file, deciding by it, and reaching the disk."""


def blueprint(backend: Backend) -> Blueprint:
    """The plan's endpoint."""
    api = Blueprint("plan", __name__)

    @api.post("/reload")
    @needs("admin")
    def reload() -> Response:
        """Reads the configuration again; {dry_run: true, file} only tells what it would announce and withdraw."""
        dry_run = rehearsal.asked()
        body = bodies.read(bodies.Reloading, optional=True)
        dry_run = dry_run or body.dry_run
        if body.file is not None and not dry_run:
            bodies.refuse([pointed("", bodies.FILE_IS_REHEARSED)])
        return jsonify(_rehearsed(backend, body.file) if dry_run else _reloaded(backend))

    return api


def _reloaded(backend: Backend) -> dict[str, Any]:
    try:
        return {"event": backend.reload(actor(), RELOADED_WITHIN)}
    except ConfigError as error:
        raise misconfigured(error) from error
    except TimeoutError as error:
        detail = f"it was not done within {RELOADED_WITHIN:g} seconds; it may still happen: GET /events tells"
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=STORE_RETRY) from error


def _rehearsed(backend: Backend, file: str | None) -> dict[str, Any]:
    try:
        read, preview = backend.preview(None if file is None else Path(file), RELOADED_WITHIN)
    except ConfigError as error:
        raise misconfigured(error) from error
    return {"file": None if read is None else str(read), "dry_run": True, **documents.preview(preview)}
