"""Errors as problem documents (RFC 9457): the only shape in which the web room says no."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from exabgp_bfd.core.model import ConfigError, StoreError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""On every answer, also those that the HTTP server gives before the application is asked."""

STORE_RETRY = 5
"""Seconds after which it is worth asking a store again that refused."""


class Problem(Exception):  # noqa: N818 - RFC 9457's own word
    """A request that is refused; `errors` names each fault by a JSON pointer or a query parameter."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        retry_after: int | None = None,
        challenge: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after = retry_after
        """Seconds."""
        self.challenge = challenge
        """What a 401 asks for, in the words of WWW-Authenticate (RFC 9110 section 11.6.1)."""


def pointed(pointer: str, detail: str) -> dict[str, str]:
    """A fault in the body, at a JSON pointer (RFC 6901)."""
    return {"pointer": f"#{pointer}", "detail": detail}


def pointer_token(key: str) -> str:
    """One step of a JSON pointer, escaped."""
    return key.replace("~", "~0").replace("/", "~1")


def misconfigured(error: ConfigError) -> Problem:
    """A 422 with the place and the text of each fault of a configuration, or of an order that cannot be."""
    faults: Sequence[ConfigError] = getattr(error, "errors", (error,))
    errors = [{"place": fault.place, "detail": fault.text} for fault in faults]
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{error}{more}", errors=errors)


def document(
    status: HTTPStatus, detail: str, instance: str | None = None, errors: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """A problem document of the type `about:blank`: its title is the status' own phrase (RFC 9457 section 4.2.1)."""
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
    }
    if instance is not None:
        problem["instance"] = quote(instance)
    if errors:
        problem["errors"] = [dict(error) for error in errors]
    return problem


def install(app: Flask) -> None:
    """Answers every error of `app` with a problem document and every request with the security headers."""
    app.register_error_handler(Problem, _refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(StoreError, _store_refused)
    app.register_error_handler(TimeoutError, _too_slow)
    app.register_error_handler(Exception, _unexpected)
    app.after_request(_secured)


def _answer(problem: Problem) -> Response:
    body = json.dumps(document(problem.status, problem.detail, request.path, problem.errors))
    response = Response(body, problem.status.value, content_type=MEDIA_TYPE)
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    if problem.challenge is not None:
        response.headers["WWW-Authenticate"] = problem.challenge
    return response


def _refused(problem: Problem) -> Response:
    return _answer(problem)


def _http_error(error: HTTPException) -> Response:
    status = HTTPStatus(error.code or 500)
    response = _answer(Problem(status, _http_detail(status, error)))
    for name, value in error.get_headers():
        if name.lower() != "content-type":  # Allow of a 405 above all
            response.headers[name] = value
    return response


def _http_detail(status: HTTPStatus, error: HTTPException) -> str:
    if status is HTTPStatus.NOT_FOUND:
        return "there is nothing at this path; GET / lists what there is"
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{request.method} is not possible here; the Allow header says what is"
    if status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return f"the body is larger than {request.max_content_length} bytes"
    return error.description or status.phrase


def _store_refused(error: StoreError) -> Response:
    logger.warning("%s %r: the store refused: %s", request.method, request.path, error)
    return _answer(Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"the store refused: {error}", retry_after=STORE_RETRY))


def _too_slow(error: TimeoutError) -> Response:
    logger.warning("%s %r: %s", request.method, request.path, error)
    return _answer(
        Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the program was too busy to answer in time", retry_after=STORE_RETRY)
    )


def _unexpected(error: Exception) -> Response:
    # The text of an exception that nobody foresaw may hold anything: it goes to the log, never to the client.
    logger.error("%s %r failed", request.method, request.path, exc_info=error)
    return _answer(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "something unforeseen went wrong; the log has it"))


def _secured(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)  # a page may say its own, where it is known to be harmless
    return response
