"""Holds every answer of every test against the API's description: its status, its media type, and all of its JSON."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import jsonschema_rs
from api.box import Box
from flask import Flask, Response, request

from exabgp_bfd.web.backend import WebSettings
from exabgp_bfd.web.openapi import _VARIABLE, describe
from exabgp_bfd.web.server import create_app

BEFORE = frozenset({400, 405, 413, 431, 500})
"""What may be answered before a route is asked, or never: the description tells of it in words."""


@cache
def description() -> dict[str, Any]:
    """The description, in which whatever is not described is not allowed."""
    return closed(describe(create_app(Box(), WebSettings("127.0.0.1", 0)), "1"))


def closed(value: Any) -> Any:
    if isinstance(value, dict):
        more = {"additionalProperties": False} if "properties" in value and value.get("type") == "object" else {}
        return {key: closed(one) for key, one in value.items()} | more
    return [closed(one) for one in value] if isinstance(value, list) else value


@cache
def validator(schema: str) -> Any:
    return jsonschema_rs.Draft202012Validator({**json.loads(schema), "components": description()["components"]})


def faults(path: str, method: str, response: Response) -> Iterator[str]:
    operation = description()["paths"].get(path, {}).get("get" if method == "HEAD" else method.lower())
    if operation is None or response.status_code in BEFORE - {int(status) for status in operation["responses"]}:
        return
    answer = operation["responses"].get(str(response.status_code))
    if answer is None:
        yield f"the status {response.status_code} is not described"
        return
    for name in {"Retry-After", "WWW-Authenticate", "Location", "ETag", "Link"} & {
        name for name, _ in response.headers
    }:
        if name not in answer.get("headers", {}):
            yield f"the header {name} is not described"
    content = answer.get("content", {})
    if not content:
        if response.data:
            yield "a body is not described"
        return
    if response.mimetype not in content:
        yield f"the type {response.mimetype} is not described"
    elif response.mimetype.endswith("json") and method != "HEAD" and not response.mimetype.endswith("x-ndjson"):
        schema = json.dumps(content[response.mimetype]["schema"], sort_keys=True)
        for error in validator(schema).iter_errors(json.loads(response.data)):
            yield f"{'/'.join(map(str, error.instance_path))}: {error.message}"


@contextmanager
def watched(app: Flask) -> Iterator[None]:
    """Fails at the end where an answer was not as described."""
    found: list[str] = []

    @app.after_request
    def look(response: Response) -> Response:
        if request.url_rule is not None and request.method != "OPTIONS":
            path = _VARIABLE.sub(r"{\g<name>}", request.url_rule.rule)
            found.extend(f"{request.method} {path}: {one}" for one in faults(path, request.method, response))
        return response

    yield
    assert found == []
