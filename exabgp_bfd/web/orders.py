"""An operator's word on its way to the engine, and what is to be seen of it afterwards."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
    with _told_why("the journal refused: {}; the order may hold, but only until the next start"):
        return backend.order(what, ORDERED_WITHIN)


def post_all(backend: Backend, what: Order | Clear) -> int | None:
    """Orders something of all sites; the event's id here, None: nothing changes here. Raises a 422 or 503 Problem."""
    with _told_why("{}; the order may hold nevertheless, at every site or only here: look before again"):
        return backend.order_all(what, ORDERED_WITHIN)


@contextmanager
def _told_why(refused: str) -> Iterator[None]:
    """Turns what an order may meet with into a Problem; `refused` says what it means that a store refused."""
    try:
        yield
    except ConfigError as error:
        raise misconfigured(error) from error
    except StoreError as error:
        logger.warning("an order: %s", refused.format(error))
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, refused.format(error), retry_after=STORE_RETRY) from error
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
