"""The gate: each endpoint says which role it needs, and before it is asked the request must show a key of that role."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

from flask import Flask, current_app, g, request

from exabgp_bfd.web import auth
from exabgp_bfd.web.auth import Key, Role
from exabgp_bfd.web.backend import WebSettings
from exabgp_bfd.web.limits import Limits
from exabgp_bfd.web.problems import Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

Access = Literal["none", "hmac"] | Role
"""What an endpoint asks for: nothing, a signature (which it verifies itself), or a key of a role."""

KEY_HEADER: Final = "X-API-Key"

STANDING: Final = "exabgp_bfd.standing"
"""Where among the extensions of an application its Standing is."""

_MISLED: Final = "exabgp_bfd.misled"
"""Set in a request's environment where our own proxy says something that is no address."""

_WATCHING: Final = frozenset({"/healthz", "/readyz"})

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


@dataclass(slots=True)
class Standing:
    """What holds now of an application's settings, and how often each may ask; a reload replaces both."""

    settings: WebSettings
    limits: Limits


def standing() -> WebSettings:
    """The settings that hold for the request that is answered."""
    held: WebSettings = g.settings
    return held


def pledge() -> Callable[[], bool]:
    """Whether this request would be admitted still, as far as keys and networks go: for an answer that goes on and on.

    Any thread may ask. Where they changed at all it would have to come again, and be looked at like any other.
    """
    held: Standing = current_app.extensions[STANDING]
    granted = held.settings

    def holds() -> bool:
        now = held.settings
        return now is granted or (
            now.keys == granted.keys and now.ephemeral == granted.ephemeral and now.networks == granted.networks
        )

    return holds


def renew(app: Flask, settings: WebSettings) -> None:
    """Lets other keys, senders, networks and rates hold, from the next request on. Any thread."""
    held: Standing = app.extensions[STANDING]
    if settings.rates != held.limits.rates:
        held.limits = Limits(settings.rates)
    held.settings = settings


def install(app: Flask, settings: WebSettings) -> None:
    """Guards every endpoint of `app`; raises LookupError unless each says its role."""
    for rule in app.url_map.iter_rules():
        access_of(app, rule.endpoint)
    held = app.extensions[STANDING] = Standing(settings, Limits(settings.rates))
    app.wsgi_app = _Forwarded(app.wsgi_app, held)  # type: ignore[method-assign]  # as Flask's own documentation does

    @app.before_request
    def refuse_strangers() -> None:
        g.settings, g.limits = held.settings, held.limits
        _refuse_networks(g.settings)
        # A path that there is not, or not for this method; or the question which methods it has, which is no secret.
        if request.endpoint is None or request.method == "OPTIONS":
            _count_request(None)
            return
        access = access_of(app, request.endpoint)
        if access in _ROLES:
            _admit(g.settings, access)
        elif access == "hmac":
            refuse_barred()
            _count_request(None)
        elif request.path in _WATCHING:
            _slow_down(g.limits.watch(request.remote_addr))
        else:
            _count_request(None)


class _Forwarded:
    """Puts who asked in the place of our own proxy that passed it on; whatever anybody else says of it is taken out."""

    def __init__(self, app: WSGIApplication, held: Standing) -> None:
        self._app = app
        self._held = held

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers one request."""
        forwarded = environ.pop("HTTP_X_FORWARDED_FOR", None)
        for name in [name for name in environ if name.startswith(("HTTP_X_FORWARDED", "HTTP_FORWARDED"))]:
            del environ[name]
        if forwarded is not None:
            try:
                environ["REMOTE_ADDR"] = auth.client_behind(
                    environ.get("REMOTE_ADDR", ""), forwarded, self._held.settings.trusted_proxies
                )
            except ValueError as error:
                environ[_MISLED] = str(error)
        return self._app(environ, start_response)


def refuse_barred() -> None:
    """Raises a 429 Problem while too many wrong keys or signatures came from this address."""
    wait = g.limits.barred(request.remote_addr)
    if wait:
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            f"too many wrong keys or signatures came from {request.remote_addr}: none is looked at for {wait} s",
            retry_after=wait,
        )


def count_failure() -> None:
    """Counts a wrong key or signature against the address that sent it."""
    g.limits.failed(request.remote_addr)


def _count_request(key: str | None) -> None:
    _slow_down(g.limits.request(key, request.remote_addr))


def _slow_down(wait: int) -> None:
    if wait:
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            f"more was asked than [api.rates] allows: ask again in {wait} s, less often",
            retry_after=wait,
        )


def _refuse_networks(settings: WebSettings) -> None:
    if (misled := request.environ.get(_MISLED)) is not None:
        raise Problem(HTTPStatus.BAD_REQUEST, f"{misled}: the proxy in front of us has to say who asks")
    if settings.networks and not auth.is_within(request.remote_addr, settings.networks):
        logger.info("%s %r from %s refused: not of our networks", request.method, request.path, request.remote_addr)
        raise Problem(
            HTTPStatus.FORBIDDEN, f"nobody may ask from {request.remote_addr}; [api] networks says from where one may"
        )


def actor() -> str:
    """In whose name this request changes something: the name of its key. Only where a role is needed to change."""
    key: Key = g.key
    return key.name


def _admit(settings: WebSettings, role: Role) -> None:
    # Open reading looks at no key: one that is left over from before a restart must not shut it.
    if role == "read" and not settings.keys and auth.is_loopback(request.remote_addr):
        _count_request(None)
        return
    refuse_barred()
    presented = _presented()
    if presented is None:
        _count_request(None)
        raise _unknown(settings, role, "", _BEARER)
    known = settings.keys if settings.ephemeral is None else (*settings.keys, settings.ephemeral)
    # Header values arrive as Latin-1 (PEP 3333): back to the octets that were sent.
    key = auth.find_key(known, presented.encode("latin-1", "backslashreplace"))
    if key is None:
        count_failure()
        raise _unknown(settings, role, "the key is not known here; ", f'{_BEARER} error="invalid_token"')
    _count_request(key.name)
    if key.networks and not auth.is_within(request.remote_addr, key.networks):
        logger.info("%s %r by %s from %s refused", request.method, request.path, key.name, request.remote_addr)
        raise Problem(
            HTTPStatus.FORBIDDEN,
            f"the key {key.name} may not be used from {request.remote_addr}: its networks under [[api.key]] say where",
        )
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
