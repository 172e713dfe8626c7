"""An operator's word on its way to the engine, and what is to be seen of it afterwards."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import Final

from exabgp_bfd.core.model import Clear, ConfigError, Order, Snapshot, StoreError
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.problems import STORE_RETRY, Problem, misconfigured

logger = logging.getLogger(__name__)

ORDERED_WITHIN: Final = 5.0
"""Seconds that an order has to reach the disk."""
SEEN_WITHIN: Final = 1.0
"""Seconds that the answer waits for a snapshot in which the order is to be seen."""


def post(backend: Backend, what: Order | Clear) -> int:
    """Hands an order to the engine; the event's id, which is on disk. Raises a 422 or 503 Problem."""
    try:
        return backend.order(what, ORDERED_WITHIN)
    except ConfigError as error:
        raise misconfigured(error) from error
    except StoreError as error:
        logger.warning("an order: the journal refused: %s", error)
        detail = f"the journal refused: {error}; the order may hold, but only until the next start"
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=STORE_RETRY) from error
    except TimeoutError as error:
        logger.warning("an order: not on disk within %g seconds", ORDERED_WITHIN)
        detail = f"it was not on disk within {ORDERED_WITHIN:g} seconds; it may hold nevertheless: look before again"
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=STORE_RETRY) from error


def seen(backend: Backend) -> Snapshot | None:
    """A snapshot that was taken after now; the newest one, or None, where the program is too busy for it."""
    moment, _ = backend.clock()
    deadline = time.monotonic() + SEEN_WITHIN
    try:
        # Snapshots may be a moment old: one from before the order would show that it did nothing.
        while (snapshot := backend.snapshot()).at < moment and time.monotonic() < deadline:
            time.sleep(0.01)
    except TimeoutError:
        return None
    return snapshot
