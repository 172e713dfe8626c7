"""`POST /shutdown`: the program ends in order, as when it is told to by a signal."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, jsonify

from exabgp_bfd.core.model import StoreError
from exabgp_bfd.core.told import Ending
from exabgp_bfd.web import bodies, rehearsal
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.gate import actor, needs
from exabgp_bfd.web.problems import STORE_RETRY, Problem

ENDED_WITHIN: Final = 5.0
"""Seconds that the event has to reach the disk."""
_AGAIN: Final = (
    "ExaBGP starts this program again at once, unless its process section says `respawn false`: take that section out "
    "and reload ExaBGP, or stop ExaBGP, to stop for good"
)
_ENDS: Final = "nobody starts this program again"


def blueprint(backend: Backend) -> Blueprint:
    """The end's endpoint."""
    api = Blueprint("shutdown", __name__)

    @api.post("/shutdown")
    @needs("admin")
    def shutdown() -> tuple[Response, int]:
        """Ends the program in order, by the rule [speaker] on_exit: {reason, dry_run}; answered before the end."""
        dry_run = rehearsal.asked()
        body = bodies.read(bodies.Stopping, optional=True)
        if dry_run or body.dry_run:
            ending, rehearsed = backend.rehearse_end(ENDED_WITHIN)
            return jsonify({**rehearsal.document(rehearsed), **_told(ending)}), HTTPStatus.OK
        try:
            ending = backend.end(actor(), body.reason or "", ENDED_WITHIN)
        except StoreError as error:
            detail = f"the journal refused: {error}; nothing ends"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=STORE_RETRY) from error
        answer = {"event": ending.event, "status": "stopping", **_told(ending)}
        return jsonify(answer), HTTPStatus.ACCEPTED

    return api


def _told(ending: Ending) -> dict[str, Any]:
    return {
        "on_exit": ending.on_exit,
        "stays": [target.key for target in ending.stays],
        "then": _AGAIN if ending.again else _ENDS,
    }
