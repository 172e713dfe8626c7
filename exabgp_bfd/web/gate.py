"""The gate: each endpoint says which role it needs, and before it is asked the request must show a key of that role."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, Literal, TypeVar, get_args

from flask import Flask, g, request

from exabgp_bfd.web import auth
from exabgp_bfd.web.auth import Key, Role
from exabgp_bfd.web.backend import WebSettings
from exabgp_bfd.web.problems import Problem

logger = logging.getLogger(__name__)

Access = Literal["none", "hmac"] | Role
"""What an endpoint asks for: nothing, a signature (which it verifies itself), or a key of a role."""

KEY_HEADER: Final = "X-API-Key"

_ROLES: Final[tuple[Role, ...]] = get_args(Role)
_MARK: Final = "access"
_BEARER: Final = "Bearer"
_HOW: Final = f"send it as {KEY_HEADER}: KEY or Authorization: {_BEARER} KEY"

View = TypeVar("View", bound=Callable[..., Any])


def needs(access: Access) -> Callable[[View], View]:
    """Marks a view with what it asks for; stands between the route's decorator and the function."""

    def mark(view: View) -> View:
        vars(view)[_MARK] = access
        return view

    return mark


def access_of(app: Flask, endpoint: str) -> Access:
    """What an endpoint asks for; raises LookupError where it does not say."""
    access: Access | None = vars(app.view_functions[endpoint]).get(_MARK)
    if access is None:
        raise LookupError(f"the endpoint {endpoint} says no role: mark its view with @needs(...)")
    return access


def install(app: Flask, settings: WebSettings) -> None:
    """Guards every endpoint of `app`; raises LookupError unless each says its role."""
    for rule in app.url_map.iter_rules():
        access_of(app, rule.endpoint)

    @app.before_request
    def refuse_strangers() -> None:
        if request.endpoint is None:  # a path that there is not, or not for this method
            return
        access = access_of(app, request.endpoint)
        if access in _ROLES:
            _admit(settings, access)


def actor() -> str:
    """In whose name this request changes something: the name of its key. Only where a role is needed to change."""
    key: Key = g.key
    return key.name


def _admit(settings: WebSettings, role: Role) -> None:
    # Open reading looks at no key: one that is left over from before a restart must not shut it.
    if role == "read" and not settings.keys and auth.is_loopback(request.remote_addr):
        return
    presented = _presented()
    if presented is None:
        raise _unknown(settings, role, "", _BEARER)
    known = settings.keys if settings.ephemeral is None else (*settings.keys, settings.ephemeral)
    # Header values arrive as Latin-1 (PEP 3333): back to the octets that were sent.
    key = auth.find_key(known, presented.encode("latin-1", "backslashreplace"))
    if key is None:
        raise _unknown(settings, role, "the key is not known here; ", f'{_BEARER} error="invalid_token"')
    if not key.may(role):
        logger.info("%s %r by %s from %s refused", request.method, request.path, key.name, request.remote_addr)
        raise Problem(
            HTTPStatus.FORBIDDEN,
            f"this needs the role {role}, and the key {key.name} has the role {key.role}: "
            f"use a key of the role {_at_least(role)}, or raise the role of {key.name} under [[api.key]]",
        )
    g.key = key


def _presented() -> str | None:
    """The key that the request shows, None: none; raises a 401 Problem where it shows two."""
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    shown = {request.headers.get(KEY_HEADER, "").strip(), token.strip() if scheme.lower() == "bearer" else ""} - {""}
    if len(shown) > 1:
        detail = f"{KEY_HEADER} and Authorization hold two different keys; send one of them"
        raise Problem(HTTPStatus.UNAUTHORIZED, detail, challenge=_BEARER)
    return shown.pop() if shown else None


def _unknown(settings: WebSettings, role: Role, wrong: str, challenge: str) -> Problem:
    logger.info("%s %r from %s refused: no key of ours", request.method, request.path, request.remote_addr)
    if settings.keys:
        remedy = f"{_HOW}; keys stand under [[api.key]] in the configuration"
    elif settings.ephemeral is not None:
        remedy = (
            f"{_HOW}; the admin key of this start is in admin.key beside the journal, "
            "and [[api.key]] in the configuration gives others"
        )
    else:
        remedy = "there is none yet; configure one under [[api.key]]"
    return Problem(
        HTTPStatus.UNAUTHORIZED, f"{wrong}this needs a key of the role {_at_least(role)}: {remedy}", challenge=challenge
    )


def _at_least(role: Role) -> str:
    """A role and those above it, in words."""
    return " or ".join(_ROLES[_ROLES.index(role) :])
