"""What may stand in a request's body: one JSON object, each key once, none unknown, every fault with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Final, NoReturn, Self, TypeVar

from flask import request
from pydantic import BaseModel, ConfigDict, PlainValidator, StrictBool, ValidationError, model_validator

from exabgp_bfd.core.credentials import AUTH_PROTOCOLS, PRIV_PROTOCOLS, User
from exabgp_bfd.core.jobs import (
    MOST_OIDS,
    MOST_ROWS,
    USUAL_ROWS,
    Credentials,
    JobKind,
    JobPart,
    JobRequest,
)
from exabgp_bfd.core.model import Action, Secret
from exabgp_bfd.web.problems import Problem, pointed, pointer_token
from exabgp_bfd.web.queries import Reason, Scope, microseconds

LONGEST_DAYS: Final = 3650
LONGEST: Final = LONGEST_DAYS * 86400
"""Seconds; whatever lasts longer lasts until it is cleared."""

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([smhd]?)")

_OID: Final = re.compile(r"\.?[012](?:\.[0-9]{1,10}){1,127}")
_LARGEST_ARC: Final = 2**32 - 1  # RFC 2578 section 3.5
_LONGEST_NAME: Final = 255
_SHORTEST_KEY: Final = 8  # RFC 3414 section 11.2
_LONGEST_TRY: Final = 30.0
_MOST_TRIES: Final = 10

Model = TypeVar("Model", bound=BaseModel)


# --- values: each raises ValueError with what would be right, for pydantic collects nothing else ------------------


def _action(value: object) -> Action:
    if isinstance(value, str) and value in set(Action):
        return Action(value)
    raise ValueError("must be announce, withdraw, drain or freeze")


def seconds(value: object) -> float:
    """A duration: a number of seconds, or `2h`, `90m`, `45s`, `1d`; raises ValueError naming what would be right."""
    match value:
        case bool():
            pass
        case int() | float() if 0 < value <= LONGEST:
            return float(value)
        case str() if match := _DURATION.fullmatch(value):
            duration = float(match[1]) * _UNITS[match[2]]
            if 0 < duration <= LONGEST:
                return duration
    raise ValueError(
        'must be a number of seconds above 0, or such as "2h", "90m" or "1d", '
        f"at most {LONGEST_DAYS} days; null: until cleared"
    )


def _lasting(value: object) -> float | None:
    return None if value is None else seconds(value)


def _moment(value: object) -> int | None:
    return None if value is None else microseconds(value)


def _path(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
        raise ValueError("must be the absolute path of a file on the machine of this program")
    return value


def _oid(value: object) -> str:
    if isinstance(value, str) and len(value) <= 1024 and _OID.fullmatch(value):
        arcs = [int(arc) for arc in value.removeprefix(".").split(".")]
        if max(arcs) <= _LARGEST_ARC and (arcs[0] == 2 or arcs[1] < 40):
            return ".".join(str(arc) for arc in arcs)
    raise ValueError("must be an OID: 2 to 128 numbers joined by dots, as 1.3.6.1.2.1.1.5.0")


def _oids(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_OIDS:
        raise ValueError(f"must be a list of 1 to {MOST_OIDS} OIDs")
    return tuple(dict.fromkeys(_oid(one) for one in value))


def _parts(value: object) -> tuple[JobPart, ...]:
    if isinstance(value, list) and value and all(isinstance(one, str) and one in set(JobPart) for one in value):
        return tuple(part for part in JobPart if part in value)
    raise ValueError(f"must be a list of {', '.join(JobPart)}, at least one of them")


def _secret(value: object) -> Secret | None:
    """What must never be shown again: no text here names it."""
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_NAME or not _is_text(value):
        raise ValueError(f"must be text of 1 to {_LONGEST_NAME} characters")
    return Secret(value)


def _is_text(value: str) -> bool:
    return not any(0xD800 <= ord(char) <= 0xDFFF for char in value)  # lone surrogates, which UTF-8 has no octets for


def _version(value: object) -> str:
    if isinstance(value, str) and value in {"1", "2c", "3"}:
        return value
    raise ValueError('must be "1", "2c" or "3"')


def _one_of(names: tuple[str, ...]) -> Callable[[object], str | None]:
    def chosen(value: object) -> str | None:
        if value is None or (isinstance(value, str) and value in names):
            return value
        raise ValueError(f"must be one of {', '.join(names)}")

    return chosen


def _named(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_NAME or not value.isprintable():
        raise ValueError(f"must be text of 1 to {_LONGEST_NAME} printable characters")
    return value


def _patience(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0.1 <= value <= _LONGEST_TRY:
        raise ValueError(f"must be a number of seconds from 0.1 to {_LONGEST_TRY:g}")
    return float(value)


def _bounded(least: int, most: int) -> Callable[[object], int | None]:
    def number(value: object) -> int | None:
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return value

    return number


# --- bodies -------------------------------------------------------------------------------------------------------


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Lifting(_Body):
    """Why, and for how long; neither `ttl` nor `expires`: until it is cleared."""

    reason: Reason
    ttl: Annotated[float | None, PlainValidator(_lasting)] = None
    expires: Annotated[int | None, PlainValidator(_moment)] = None
    """Microseconds since the epoch."""

    @model_validator(mode="after")
    def _one_end(self) -> Lifting:
        if self.ttl is not None and self.expires is not None:
            raise ValueError("give ttl or expires, not both")
        return self

    def end(self, now: int) -> float | None:
        """When it ends, in seconds since the epoch; `now` is in microseconds.

        Raises a 422 Problem for the past, and for more than `LONGEST` to come.
        """
        if self.ttl is not None:
            return now / 1e6 + self.ttl
        if self.expires is None:
            return None
        if self.expires <= now:
            refuse([pointed("/expires", "is in the past; give a moment to come, or ttl")])
        if self.expires > now + LONGEST * 1_000_000:
            refuse([pointed("/expires", f"is more than {LONGEST_DAYS} days to come; leave it out: until cleared")])
        return self.expires / 1e6


class Overriding(Lifting):
    """What is ordered of a service, here or (`all`) at every site."""

    action: Annotated[Action, PlainValidator(_action)]
    scope: Scope = "site"


class Clearing(_Body):
    """Why something is taken back, if anybody says."""

    reason: Reason | None = None


class ClearingOverride(Clearing):
    """Where it is taken back too: here, or (`all`) at every site."""

    scope: Scope | None = None


class Reloading(_Body):
    """Whether another configuration shall hold, or only what would change if it did."""

    dry_run: StrictBool = False
    file: Annotated[str | None, PlainValidator(_path)] = None

    @model_validator(mode="after")
    def _only_rehearsed(self) -> Reloading:
        if self.file is not None and not self.dry_run:
            raise ValueError(
                "file goes with dry_run only: what holds is read from the file that was given at the start"
            )
        return self


Text = Annotated[str | None, PlainValidator(_named)]
Hidden = Annotated[Secret | None, PlainValidator(_secret)]
_FOR_3: Final = ("user", "auth_protocol", "auth_key", "priv_protocol", "priv_key", "context")


class _Asking(_Body):
    """Whom the SNMP proxy asks: a configured device by its name, or a host with the credentials for it."""

    device: Text = None
    host: Text = None
    version: Annotated[str | None, PlainValidator(_version)] = None
    community: Hidden = None
    user: Text = None
    auth_protocol: Annotated[str | None, PlainValidator(_one_of(AUTH_PROTOCOLS))] = None
    auth_key: Hidden = None
    priv_protocol: Annotated[str | None, PlainValidator(_one_of(PRIV_PROTOCOLS))] = None
    priv_key: Hidden = None
    context: Text = None
    timeout: Annotated[float | None, PlainValidator(_patience)] = None
    retries: Annotated[int | None, PlainValidator(_bounded(0, _MOST_TRIES))] = None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if (self.device is None) == (self.host is None):
            raise ValueError("give a device that is configured, or a host; one of them")
        if self.device is not None:
            own = [name for name in ("version", "community", *_FOR_3) if getattr(self, name) is not None]
            if own:
                raise ValueError(
                    f"a device is asked with its own credentials: leave out {', '.join(own)}, or give a host"
                )
        elif self.version == "3":
            self._usable_user()
        else:
            others = [name for name in _FOR_3 if getattr(self, name) is not None]
            if others:
                raise ValueError(f'{", ".join(others)} go with version "3"')
            if self.community is None:
                raise ValueError('community is missing; with version "3" it would be user')
        return self

    def _usable_user(self) -> None:
        """A user as RFC 3414 allows one: privacy needs authentication, a key needs its protocol."""
        if self.community is not None:
            raise ValueError('a community goes with version "1" or "2c"; version "3" has user')
        if self.user is None:
            raise ValueError('user is missing, which version "3" asks with')
        for what in ("auth", "priv"):
            protocol, key = getattr(self, f"{what}_protocol"), getattr(self, f"{what}_key")
            if (protocol is None) != (key is None):
                raise ValueError(f"give {what}_protocol and {what}_key, or neither")
            if key is not None and len(key.reveal()) < _SHORTEST_KEY:
                raise ValueError(f"{what}_key is too short: at least {_SHORTEST_KEY} characters (RFC 3414)")
        if self.priv_key is not None and self.auth_key is None:
            raise ValueError("priv_key needs auth_protocol and auth_key too (RFC 3414)")

    def _user(self, name: str) -> User:
        return User(name, self.auth_protocol, self.auth_key, self.priv_protocol, self.priv_key)

    def _order(self, kind: JobKind, **more: Any) -> JobRequest:  # noqa: ANN401 - fields of the request
        credentials = None
        if self.host is not None:
            credentials = Credentials(
                version=self.version or "2c",
                community=self.community,
                user=None if self.user is None else self._user(self.user),
                context=self.context or "",
            )
        return JobRequest(kind, self.device, self.host, credentials, self.timeout, self.retries, **more)


class Getting(_Asking):
    """Which instances to get."""

    oids: Annotated[tuple[str, ...], PlainValidator(_oids)]

    def order(self) -> JobRequest:
        """What the proxy is asked."""
        return self._order(JobKind.GET, oids=self.oids)


class Walking(_Asking):
    """Which subtree to walk, and how far."""

    oid: Annotated[str, PlainValidator(_oid)]
    max_rows: Annotated[int | None, PlainValidator(_bounded(1, MOST_ROWS))] = None

    def order(self) -> JobRequest:
        """What the proxy is asked."""
        return self._order(JobKind.WALK, oids=(self.oid,), max_rows=self.max_rows or USUAL_ROWS)


class Polling(_Asking):
    """What to read of a device."""

    what: Annotated[tuple[JobPart, ...], PlainValidator(_parts)] = tuple(JobPart)

    def order(self) -> JobRequest:
        """What the proxy is asked."""
        return self._order(JobKind.POLL, parts=self.what)


def read(model: type[Model], *, optional: bool = False) -> Model:
    """The body of this request; raises a 400 Problem where it is no JSON, a 422 that names every fault."""
    body = request.get_data(cache=False)
    keys = ", ".join(model.model_fields)
    return shaped(model, {} if optional and not body else decoded(body, f"{{{keys}}}"), f"there are {keys}")


def decoded(body: bytes, example: str) -> dict[str, Any]:
    """The JSON object in a body; raises a 400 Problem where there is no JSON, a 422 where it is no object."""
    try:
        # Decoded here: json.loads would also guess at UTF-16 and UTF-32 (RFC 8259 section 8.1 wants UTF-8).
        value = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body is nested too deeply") from error
    except ValueError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {_short(error)}") from error
    if not isinstance(value, dict):
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"the body is no JSON object; send {example}",
            errors=[pointed("", "must be an object")],
        )
    return value


def shaped(model: type[Model], value: dict[str, Any], unknown: str) -> Model:
    """The object as a model; raises a 422 Problem that names every fault, `unknown` for a key that there is not."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        refuse([_explained(fault, unknown) for fault in error.errors(include_url=False, include_input=False)])


def refuse(faults: list[dict[str, str]]) -> NoReturn:
    """Raises a 422 Problem that names the faults."""
    raise Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "the body is not valid: " + "; ".join(f"{fault['pointer']} {fault['detail']}" for fault in faults[:5]),
        errors=faults[:50],
    )


def _explained(fault: Any, unknown: str) -> dict[str, str]:  # noqa: ANN401 - pydantic's own mapping
    pointer = "/" + pointer_token(str(fault["loc"][0])[:80]) if fault["loc"] else ""
    texts = {
        "missing": "is missing",
        "extra_forbidden": f"there is no such key; {unknown}",
        "dict_type": "must be an object",
        "string_type": "must be a string",
        "bool_type": "must be true or false",
        "literal_error": f"must be {fault.get('ctx', {}).get('expected')}",
    }
    return pointed(pointer, texts.get(fault["type"], fault["msg"].removeprefix("Value error, ")))


def _short(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return str(error)[:200]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):  # one of the two would be lost unseen
        raise ValueError("an object has a key twice")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
