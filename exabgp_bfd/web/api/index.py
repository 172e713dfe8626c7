"""`GET /`: which paths there are."""

from __future__ import annotations

import re

from flask import Blueprint, Response, current_app, jsonify

from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.gate import access_of, needs

_VARIABLE = re.compile(r"<(?:\w+:)?(\w+)>")


def blueprint(backend: Backend) -> Blueprint:
    """The list of paths, from the routes themselves and what their functions say of them."""
    api = Blueprint("index", __name__)

    @api.get("/")
    @needs("read")
    def index() -> Response:
        """This list."""
        paths = []
        for rule in sorted(current_app.url_map.iter_rules(), key=lambda rule: (rule.rule, rule.endpoint)):
            methods = sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
            text = current_app.view_functions[rule.endpoint].__doc__ or ""
            paths.append(
                {
                    "path": _VARIABLE.sub(r"{\1}", rule.rule),
                    "methods": methods,
                    "role": access_of(current_app, rule.endpoint),
                    "what": text.strip(),
                }
            )
        return jsonify({"name": "exabgp-bfd", "version": backend.version, "site": backend.site, "paths": paths})

    return api
