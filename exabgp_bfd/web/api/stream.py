"""`GET /stream`: events as they happen, as server-sent events, resumable without a hole."""

from __future__ import annotations

import re
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from flask import Blueprint, Response, request

from exabgp_bfd.core.model import EventQuery
from exabgp_bfd.web import stream
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.channel import HAND_OVER
from exabgp_bfd.web.gate import needs, pledge
from exabgp_bfd.web.problems import Problem
from exabgp_bfd.web.queries import StreamFilter, parse
from exabgp_bfd.web.stream import Streams

LAST: Final = "Last-Event-ID"
FULL_RETRY: Final = 10
"""Seconds after which it is worth asking again where every place is taken."""

_GREATEST = 2**63
_NUMBER = re.compile(r"[0-9]{1,19}")


def blueprint(backend: Backend, streams: Streams) -> Blueprint:
    """The stream's endpoint."""
    api = Blueprint("stream", __name__)

    @api.get("/stream")
    @needs("read")
    def follow() -> Response:
        """Events as they happen (server-sent events); device, session, service, event_type, since, after."""
        chosen = parse(StreamFilter)
        query = chosen.question()
        after = _last()
        place, first = _begun(backend, query, chosen.after if after is None else after)
        response = Response(content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        if request.method == "HEAD":
            return response
        hand_over = request.environ.get(HAND_OVER)
        if hand_over is None:  # another server than ours: what there is by now, and then the client comes again
            portion = backend.follow(replace(query, limit=stream.AT_ONCE), place)
            response.set_data(first + b"".join(map(stream.message, portion)))
            return response
        seat = streams.reserve(query, place, first, pledge())
        if seat is None:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{stream.MOST} follow the events already, and there are no more places; GET /events has them too",
                retry_after=FULL_RETRY,
            )
        hand_over(seat)
        return response

    return api


def _last() -> int | None:
    """The last event that the client has, as it says when it comes back."""
    text = request.headers.get(LAST, "").strip()
    if not text:
        return None
    # Looked at before it is read: Python refuses to read thousands of digits.
    if not (_NUMBER.fullmatch(text) and int(text) < _GREATEST):
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{LAST} must be the id of an event; leave it out to begin with the next event",
            errors=[{"parameter": LAST, "detail": "must be the id of an event"}],
        )
    return int(text)


def _begun(backend: Backend, query: EventQuery, after: int | None) -> tuple[int, bytes]:
    """Where the stream begins, and its first bytes: they tell of what may be missing."""
    newest = stream.newest(backend)
    if after is None:
        # A moment to begin with means everything since then.
        place = newest if query.since is None else 0
        return place, stream.greeting(place)
    if after > newest:
        return newest, stream.greeting(newest) + stream.gap(after, newest, "the journal was begun anew")
    first = stream.greeting(after)
    if after > 0 and backend.event(after) is None:
        first += stream.gap(after, after, f"event {after} is not kept any more, nor perhaps what followed it")
    return after, first
