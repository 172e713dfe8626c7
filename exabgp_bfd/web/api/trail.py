"""An event with all that led to it, and how many events there were: of one day, of one kind."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, jsonify

from exabgp_bfd.core.model import StoreError
from exabgp_bfd.web.backend import ANY_SITE, Backend
from exabgp_bfd.web.gate import needs
from exabgp_bfd.web.problems import Problem
from exabgp_bfd.web.queries import CountFilter, parse

logger = logging.getLogger(__name__)

CHAIN: Final = 20
"""Events that a chain of causes has at most."""
CHAINED_WITHIN: Final = 5.0
"""Seconds for reading them."""


def blueprint(backend: Backend) -> Blueprint:
    """The audit trail's other questions."""
    api = Blueprint("trail", __name__)

    @api.get("/events/<int:number>")
    @needs("read")
    def event(number: int) -> Response:
        """One event of this site, and what led to it, the oldest first."""
        found = backend.event(number) if number < 1 << 63 else None
        if found is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"there is no event {number}, or it is not kept any more")
        chain, incomplete = chain_of(backend, found["cause"])
        return jsonify({"event": found, "chain": chain, "chain_incomplete": incomplete})

    @api.get("/events/counts")
    @needs("read")
    def counts() -> Response:
        """How many events there were per day (UTC) and type, the newest day first; filters as of GET /events."""
        chosen = parse(CountFilter)
        site = None if chosen.site == ANY_SITE else chosen.site
        found = backend.event_counts(chosen.question(), site, of_all=chosen.site == ANY_SITE)
        return jsonify({"counts": found.counts, "store": found.store})

    return api


def chain_of(backend: Backend, number: int | None) -> tuple[list[dict[str, Any]], str | None]:
    """An event and what led to it, oldest first, and why that is not all of it (None: it is)."""
    chain: list[dict[str, Any]] = []
    deadline = time.monotonic() + CHAINED_WITHIN
    incomplete = None
    while number is not None and incomplete is None:
        if len(chain) >= CHAIN:
            incomplete = f"only the last {CHAIN} are shown; event {number} came before"
        elif time.monotonic() > deadline:
            incomplete = f"the journal is slow; event {number} came before"
        else:
            # The explanation needs no journal, so that it is given also where that has trouble.
            try:
                event = backend.event(number)
            except StoreError as error:
                logger.warning("event %d cannot be read: %s", number, error)
                incomplete = f"event {number} cannot be read: {error}"
                continue
            if event is None:
                incomplete = f"event {number} is not kept any more, or not yet"
                continue
            chain.insert(0, event)
            cause: int | None = event["cause"]
            # A cause is older than what it led to; anything else would lead in a circle.
            number = cause if cause is None or cause < number else None
    return chain, incomplete
