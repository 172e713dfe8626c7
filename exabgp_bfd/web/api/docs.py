"""`GET /openapi.json`, the API's description for programs, and `GET /docs`, the same for people: no script, no frame,
nothing from elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, Final

from flask import Blueprint, Flask, Response, current_app

from exabgp_bfd.web import openapi
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.gate import needs
from exabgp_bfd.web.queries import JSON, tag_of, tagged, unchanged

STYLE: Final = """\
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem;overflow-wrap:anywhere}
h1,h2,h3{line-height:1.2}
h2{margin-top:2.5rem}
article{border-top:1px solid #8886;padding:.5rem 0}
h3 code{font-size:1rem}
code,pre{font-family:ui-monospace,monospace;font-size:.9em}
pre{background:#8882;padding:.6rem;white-space:pre-wrap}
dl{margin:.3rem 0 .8rem}
dt{font-weight:600;margin-top:.3rem}
dd{margin:0 0 0 1rem}
.method{display:inline-block;min-width:4.5em;font-weight:700}
.role{border:1px solid #8888;border-radius:.3rem;padding:0 .4rem;font-size:.85rem;white-space:nowrap}
nav ul{list-style:none;padding:0}
summary{cursor:pointer}
"""
_STYLE_HASH: Final = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

Schema = dict[str, Any]
_ROLES: Final = {"none": "open to everybody", "hmac": "signed"}


def blueprint(backend: Backend) -> Blueprint:
    """The description's endpoints."""
    api = Blueprint("docs", __name__)
    described = _Once(lambda app: openapi.describe(app, backend.version))

    @api.get("/openapi.json")
    @needs("read")
    def description() -> Response:
        """The API's description, for programs (OpenAPI 3.1)."""
        return _kept(described.texts(current_app)[0], JSON)

    @api.get("/docs")
    @needs("read")
    def docs() -> Response:
        """The API's description, for people."""
        response = _kept(described.texts(current_app)[1], "text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return api


class _Once:
    """The description in both forms, made when somebody asks for the first time."""

    def __init__(self, make: Callable[[Flask], Schema]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._texts: tuple[bytes, bytes] | None = None

    def texts(self, app: Flask) -> tuple[bytes, bytes]:
        """As JSON, and as HTML."""
        with self._lock:
            if self._texts is None:
                document = self._make(app)
                self._texts = (json.dumps(document, indent=1).encode() + b"\n", page(document).encode())
            return self._texts


def _kept(text: bytes, content_type: str) -> Response:
    tag = tag_of(text)
    response = unchanged(tag)
    if response is None:
        response = tagged(Response(text, content_type=content_type), tag)
    del response.headers["Vary"]
    return response


def page(document: Schema) -> str:
    """A description as one HTML page."""
    info = document["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    paragraphs = "".join(f"<p>{_prose(text)}</p>" for text in info["description"].strip().split("\n\n"))
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n"
        f"<p>{escape(info['summary'])}. For programs: "
        '<a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>\n'
        f'{paragraphs}\n</header>\n<nav aria-label="Paths">\n<h2>Paths</h2>\n<ul>\n'
        + "".join(_entry(*one) for one in operations)
        + "</ul>\n</nav>\n<main>\n<h2>Each of them</h2>\n"
        + "".join(_article(*one) for one in operations)
        + "<h2>Schemas</h2>\n"
        + "".join(_definition(name, schema) for name, schema in sorted(document["components"]["schemas"].items()))
        + "</main>\n</body>\n</html>\n"
    )


def _entry(path: str, method: str, operation: Schema) -> str:
    return (
        f'<li><span class="method">{method.upper()}</span> <a href="#{operation["operationId"]}">'
        f"<code>{escape(path)}</code></a> {_role(operation)}</li>\n"
    )


def _role(operation: Schema) -> str:
    role = operation["x-role"]
    return f'<span class="role">{escape(_ROLES.get(role, f"role {role}"))}</span>'


def _article(path: str, method: str, operation: Schema) -> str:
    return (
        f'<article id="{operation["operationId"]}">\n'
        f"<h3>{method.upper()} <code>{escape(path)}</code> {_role(operation)}</h3>\n"
        f"<p>{_prose(operation['summary'])}</p>\n"
        + "".join(_parameters(operation["parameters"]))
        + "".join(_body(operation.get("requestBody")))
        + "<h4>Answers</h4>\n<dl>\n"
        + "".join(f"<dt>{status}</dt>{''.join(_answer(answer))}\n" for status, answer in operation["responses"].items())
        + "</dl>\n</article>\n"
    )


def _parameters(parameters: list[Schema]) -> Iterator[str]:
    if not parameters:
        return
    yield "<h4>Parameters</h4>\n<dl>\n"
    for one in parameters:
        place = {"query": "", "path": ", of the path", "header": ", a header"}[one["in"]]
        yield f"<dt><code>{escape(one['name'])}</code>{place}</dt>"
        yield f"<dd>{_prose(one.get('description', ''))} {_shape(one['schema'])}</dd>\n"
    yield "</dl>\n"


def _body(body: Schema | None) -> Iterator[str]:
    if body is None:
        return
    yield f"<h4>Body{'' if body['required'] else ' (may be left out)'}</h4>\n"
    for media, content in body["content"].items():
        yield f"<p><code>{escape(media)}</code>: {_shape(content['schema'])}</p>\n"
        for name, example in content.get("examples", {}).items():
            yield f"<p>{escape(name)}:</p>\n<pre>{escape(json.dumps(example['value'], indent=2))}</pre>\n"


def _answer(answer: Schema) -> Iterator[str]:
    yield f"<dd>{_prose(answer['description'])}"
    for media, content in answer.get("content", {}).items():
        yield f" <code>{escape(media)}</code> {_shape(content['schema'])}"
    if "headers" in answer:
        yield f" Headers: {', '.join(f'<code>{escape(name)}</code>' for name in answer['headers'])}."
    yield "</dd>"


def _definition(name: str, schema: Schema) -> str:
    return (
        f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code> '
        f"{_prose(schema.get('description', ''))}</summary>\n"
        + "<dl>\n"
        + "".join(
            f"<dt><code>{escape(key)}</code>{'' if key in schema.get('required', ()) else ' (may be missing)'}</dt>"
            f"<dd>{_prose(one.get('description', ''))} {_shape(one)}</dd>\n"
            for key, one in schema.get("properties", {}).items()
        )
        + f"</dl>\n{'' if 'properties' in schema else _shape(schema)}</details>\n"
    )


def _shape(schema: Schema) -> str:
    """What a value may be, in a few words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(
            _shape({**{k: v for k, v in schema.items() if k == "type"}, **one}) for one in schema["anyOf"]
        )
    if "enum" in schema:
        return "one of " + ", ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_shape(schema['items'])}"
    named = escape(" or ".join(kind) if isinstance(kind, list) else kind)
    limits = ", ".join(
        f"{text} {escape(str(schema[key]))}"
        for key, text in (
            *(("format", "format"), ("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to")),
            *(("exclusiveMaximum", "below"), ("minLength", "length from"), ("maxLength", "length to")),
            ("default", "without it"),
        )
        if key in schema and schema[key] is not None
    )
    return f"{named} ({limits})" if limits else named


def _prose(text: str) -> str:
    """Text with `code` in it."""
    pieces = text.split("`")
    return "".join(f"<code>{escape(one)}</code>" if place % 2 else escape(one) for place, one in enumerate(pieces))
