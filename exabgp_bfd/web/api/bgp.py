"""`GET /bgp/...`: what neighbours and ExaBGP told each other: messages, the routes of now, their history, rates."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, jsonify

from exabgp_bfd.web.backend import Backend, BgpFound, BgpQuestion
from exabgp_bfd.web.gate import needs
from exabgp_bfd.web.queries import (
    BgpFilter,
    ChangeFilter,
    MessageFilter,
    Page,
    RateFilter,
    RouteFilter,
    not_ours,
    parse,
)


def blueprint(backend: Backend) -> Blueprint:
    """The endpoints of the BGP message store."""
    api = Blueprint("bgp", __name__)

    @api.get("/bgp/messages")
    @needs("read")
    def messages() -> Response:
        """Messages, newest first; limit, type, neighbor, direction, prefix, match, since, until, cursor."""
        return _page("messages", parse(MessageFilter), backend.bgp_messages)

    @api.get("/bgp/routes")
    @needs("read")
    def routes() -> Response:
        """Routes now; limit, neighbor, direction (receive), family, prefix, match, stale, cursor."""
        return _page("routes", parse(RouteFilter), backend.bgp_routes)

    @api.get("/bgp/history")
    @needs("read")
    def history() -> Response:
        """Announced and withdrawn, newest first; as messages, and family, kind."""
        return _page("changes", parse(ChangeFilter), backend.bgp_history)

    @api.get("/bgp/rates")
    @needs("read")
    def rates() -> Response:
        """Routes a minute and neighbour, newest first; limit, neighbor, direction, since, until, cursor."""
        return _page("rates", parse(RateFilter), backend.bgp_rates)

    @api.get("/bgp/neighbors")
    @needs("read")
    def neighbors() -> Response:
        """Neighbours with their tables: how many routes, whether something may be missing and why."""
        return jsonify({"neighbors": backend.bgp_neighbors()})

    return api


def _page(name: str, chosen: BgpFilter, ask: Callable[[BgpQuestion], BgpFound]) -> Response:
    try:
        found = ask(chosen.question())
    except ValueError as error:
        raise not_ours() from error
    page = Page(found.items, chosen.size, lambda each: each[0])
    return page.answer(name, lambda each: each[1], store=found.store)
