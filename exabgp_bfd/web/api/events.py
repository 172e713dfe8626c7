"""`GET /events`: the audit trail, newest first; as JSON, as a line of JSON each, or as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any, Final

from flask import Blueprint, Response

from exabgp_bfd.web.backend import ANY_SITE, Backend
from exabgp_bfd.web.gate import needs
from exabgp_bfd.web.queries import (
    CSV,
    JSON,
    NDJSON,
    EventFilter,
    Page,
    accepted,
    not_ours,
    parse,
    tag_of,
    tagged,
    unchanged,
)

Document = dict[str, Any]
Placed = tuple[str, Document]
"""An event, and the place in the list that it ends."""

COLUMNS: Final = (
    *("id", "ts", "device", "event_type", "details", "site", "session", "service", "source", "actor", "cause"),
)
"""Of the CSV, in this order, also where a store knows more of an event."""

_AT_ONCE = 100
"""Events rendered in one piece: the decisions have the interpreter in between."""

# What a spreadsheet takes for a formula, also where it is written wide.
_FORMULA = frozenset("=+-@|%\uff1d\uff0b\uff0d\uff20")


def blueprint(backend: Backend) -> Blueprint:
    """The audit trail's endpoint."""
    api = Blueprint("events", __name__)

    @api.get("/events")
    @needs("read")
    def events() -> Response:
        """Events, newest first; limit, device, session, service, event_type, since, until, site, cursor."""
        chosen = parse(EventFilter)
        form = accepted(JSON, NDJSON, CSV)
        found, store = _found(backend, chosen)
        page = Page(found, chosen.size, lambda each: each[0])
        # What was written of an event never changes, so that its place, its time and its site stand for all of it.
        tag = tag_of(form, store, page.next_cursor, *((place, one["ts"], one["site"]) for place, one in page.items))
        return unchanged(tag) or tagged(_rendered(page, form, store), tag)

    return api


def _found(backend: Backend, chosen: EventFilter) -> tuple[Sequence[Placed], str | None]:
    """The events that are asked for, and who told of them where a site is named; raises a 422 Problem."""
    question = chosen.question()
    if chosen.site is None:
        return [(str(event["id"]), event) for event in backend.events(question)], None
    site = None if chosen.site == ANY_SITE else chosen.site
    try:
        found = backend.events_of(question, site, chosen.cursor if isinstance(chosen.cursor, str) else None)
    except ValueError as error:
        raise not_ours() from error
    return found.events, found.store


def _rendered(page: Page[Placed], form: str, store: str | None) -> Response:
    if form == JSON:
        more = {} if store is None else {"store": store}
        return page.answer("events", lambda each: each[1], **more)
    events = [event for _, event in page.items]
    if form == NDJSON:
        return page.linked(Response(_lines(events), content_type=NDJSON))
    response = Response(_rows(events), content_type=f"{CSV}; charset=utf-8; header=present")
    response.headers["Content-Disposition"] = 'attachment; filename="events.csv"'
    return page.linked(response)


def _pieces(events: Sequence[Document]) -> Iterator[Sequence[Document]]:
    for start in range(0, len(events), _AT_ONCE):
        yield events[start : start + _AT_ONCE]


def _lines(events: Sequence[Document]) -> Iterator[bytes]:
    for piece in _pieces(events):
        yield "".join(f"{json.dumps(event)}\n" for event in piece).encode()


def _rows(events: Sequence[Document]) -> Iterator[bytes]:
    """CSV (RFC 4180): a line of names, then a line an event, its details as JSON."""
    yield (",".join(COLUMNS) + "\r\n").encode()
    for piece in _pieces(events):
        text = StringIO()
        csv.writer(text).writerows([_cell(event.get(name)) for name in COLUMNS] for event in piece)
        yield text.getvalue().encode()


def _cell(value: object) -> str:
    """A value as text that no spreadsheet takes for a formula: an apostrophe stands before what it would."""
    match value:
        case None:
            return ""
        case str():
            begins = value.lstrip()[:1] in _FORMULA
            return f"'{value}" if begins or value[:1] in {"\t", "\r", "\n"} else value
        case _:
            return json.dumps(value)
