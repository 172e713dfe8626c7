"""`GET /`: which paths there are; whoever rather has HTML is sent to where people read of them."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, current_app, jsonify, request

from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.gate import access_of, needs
from exabgp_bfd.web.openapi import operations

_HTML = "text/html"


def blueprint(backend: Backend) -> Blueprint:
    """The list of paths, from the routes themselves and what their functions say of them."""
    api = Blueprint("index", __name__)

    @api.get("/")
    @needs("read")
    def index() -> Response:
        """This list; a browser is sent to /docs."""
        forms = ("application/json", _HTML)
        if request.accept_mimetypes and request.accept_mimetypes.best_match(forms) == _HTML:
            response = Response(status=HTTPStatus.SEE_OTHER, headers={"Location": "/docs"})
        else:
            response = jsonify(
                {"name": "exabgp-bfd", "version": backend.version, "site": backend.site, "paths": _paths()}
            )
        response.headers["Vary"] = "Accept"
        return response

    return api


def _paths() -> list[dict[str, object]]:
    listed: dict[tuple[str, str], list[str]] = {}
    for path, method, endpoint in operations(current_app):
        listed.setdefault((path, endpoint), []).append(method)
    return [
        {
            "path": path,
            "methods": methods,
            "role": access_of(current_app, endpoint),
            "what": (current_app.view_functions[endpoint].__doc__ or "").strip(),
        }
        for (path, endpoint), methods in listed.items()
    ]
