"""What may stand in a request's body: one JSON object, each key once, none unknown, every fault with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Final, NoReturn, Self, TypeVar

from flask import request
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

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
from exabgp_bfd.core.spoken import ALLOWED
from exabgp_bfd.core.spoken import LONGEST as SPOKEN
from exabgp_bfd.web.problems import Problem, pointed, pointer_token
from exabgp_bfd.web.queries import Reason, Scope, Where, microseconds

LONGEST_DAYS: Final = 3650
LONGEST: Final = LONGEST_DAYS * 86400
"""Seconds; whatever lasts longer lasts until it is cleared."""

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([smhd]?)")

_OID: Final = re.compile(r"\.?[012](?:\.[0-9]{1,10}){1,127}")
_LARGEST_ARC: Final = 2**32 - 1  # RFC 2578 section 3.5
_LONGEST_NAME: Final = 255
COMMANDS: Final = ("announce route 203.0.113.7/32 next-hop self", "withdraw route 203.0.113.7/32")
"""As they are meant."""
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


def _spoken(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"must be text: one command, such as {COMMANDS[0]!r}")


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


# --- what they are in JSON Schema: a little less than is taken, so that what it allows is taken for certain --------


def _text(description: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - of JSON Schema
    return {"type": "string", "description": description, **more}


def _perhaps(schema: dict[str, Any]) -> WithJsonSchema:
    """That, or null."""
    about: dict[str, Any] = {key: schema[key] for key in ("description", "examples", "writeOnly") if key in schema}
    itself = {key: value for key, value in schema.items() if key not in about}
    return WithJsonSchema({"anyOf": [itself, {"type": "null"}], **about})


def _number(description: str, least: int, most: int) -> WithJsonSchema:
    return _perhaps({"type": "integer", "minimum": least, "maximum": most, "description": description})


def _list(description: str, items: dict[str, Any], most: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most, "description": description}


_COMMAND_SCHEMA: Final = _text(
    "One command: " + "; ".join(ALLOWED), minLength=1, maxLength=SPOKEN, examples=list(COMMANDS)
)
_ACTION_SCHEMA: Final = _text("What is done, whatever its health says.", enum=list(Action))
_LASTING_SCHEMA: Final = {
    "type": ["number", "string"],
    "exclusiveMinimum": 0,
    "maximum": LONGEST,
    "pattern": "^([1-9][0-9]{0,7} ?s?|[1-9][0-9]{0,5} ?m|[1-9][0-9]{0,3} ?h|[1-9][0-9]{0,2} ?d)$",
    "description": "How long: seconds, or 45s, 90m, 2h, 1d. Neither ttl nor expires: until it is cleared.",
    "examples": ["2h", 7200],
}
_MOMENT_SCHEMA: Final = _text(
    "Until when, to come: RFC 3339, or seconds since the epoch.", format="date-time", examples=["2030-01-01T00:00:00Z"]
)
_PATH_SCHEMA: Final = _text("A file on the machine of this program.", pattern="^/[ -~]*$")
_OID_SCHEMA: Final = _text(
    "An OID.", pattern="^\\.?(1\\.[0-9]|2\\.[0-9]{1,3})(\\.[0-9]{1,9}){1,40}$", examples=["1.3.6.1.2.1.1.5.0"]
)
_NAMED_SCHEMA: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": _LONGEST_NAME,
    "pattern": "^[!-~]([ -~]*[!-~])?$",
}
_DEVICE_SCHEMA: Final = {**_NAMED_SCHEMA, "description": "A device that is configured, asked as that says."}
_HOST_SCHEMA: Final = {**_NAMED_SCHEMA, "description": "Or a host, asked with the credentials that are given here."}
_FOR_3_SCHEMA: Final = {**_NAMED_SCHEMA, "description": "Of version 3."}
_HIDDEN_SCHEMA: Final = _text(
    "A secret; it is never shown again.", minLength=1, maxLength=_LONGEST_NAME, writeOnly=True
)
_PATIENCE_SCHEMA: Final = {"type": "number", "minimum": 0.1, "maximum": _LONGEST_TRY, "description": "Seconds."}


# --- bodies -------------------------------------------------------------------------------------------------------


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


DryRun = Annotated[StrictBool, Field(description="Only tells what would be done.")]


class _Lasting(_Body):
    """For how long; neither `ttl` nor `expires`: until it is cleared."""

    ttl: Annotated[float | None, PlainValidator(_lasting), _perhaps(_LASTING_SCHEMA)] = None
    expires: Annotated[int | None, PlainValidator(_moment), _perhaps(_MOMENT_SCHEMA)] = None
    """Microseconds since the epoch."""

    @model_validator(mode="after")
    def _one_end(self) -> Self:
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


class Lifting(_Lasting):
    """Why, and for how long; neither `ttl` nor `expires`: until it is cleared."""

    reason: Reason
    dry_run: DryRun = False


class Overriding(Lifting):
    """What is ordered of a service, here or (`all`) at every site."""

    action: Annotated[Action, PlainValidator(_action), WithJsonSchema(_ACTION_SCHEMA)]
    scope: Where = "site"


class Clearing(_Body):
    """Why something is taken back, if anybody says."""

    reason: Annotated[Reason | None, Field(description="Why: text in one line.")] = None
    dry_run: DryRun = False


class Commanding(_Lasting):
    """One command of ExaBGP's, and what is kept with it."""

    command: Annotated[str, PlainValidator(_spoken), WithJsonSchema(_COMMAND_SCHEMA)]
    reason: Annotated[Reason | None, Field(description="Why: text in one line.")] = None
    dry_run: DryRun = False


class Stopping(_Body):
    """Why the program shall end."""

    reason: Annotated[Reason | None, Field(description="Why: text in one line.")] = None
    dry_run: DryRun = False


class ClearingOverride(Clearing):
    """Where it is taken back too: here, or (`all`) at every site."""

    scope: Annotated[Scope | None, Field(description="Here, or (`all`) at every site.")] = None


FILE_IS_REHEARSED: Final = "file goes with dry_run only: what holds is read from the file that was given at the start"


class Reloading(_Body):
    """Whether another configuration shall hold, or only what would change if it did."""

    dry_run: Annotated[StrictBool, Field(description="Only tells what would change.")] = False
    file: Annotated[str | None, PlainValidator(_path), _perhaps(_PATH_SCHEMA)] = None


Hidden = Annotated[Secret | None, PlainValidator(_secret), _perhaps(_HIDDEN_SCHEMA)]
_FOR_3: Final = ("user", "auth_protocol", "auth_key", "priv_protocol", "priv_key", "context")


class _Asking(_Body):
    """Whom the SNMP proxy asks: a configured device by its name, or a host with the credentials for it."""

    device: Annotated[str | None, PlainValidator(_named), _perhaps(_DEVICE_SCHEMA)] = None
    host: Annotated[str | None, PlainValidator(_named), _perhaps(_HOST_SCHEMA)] = None
    version: Annotated[str | None, PlainValidator(_version), WithJsonSchema(_text("SNMP.", enum=["1", "2c", "3"]))] = (
        None
    )
    community: Hidden = None
    user: Annotated[str | None, PlainValidator(_named), _perhaps(_FOR_3_SCHEMA)] = None
    auth_protocol: Annotated[
        str | None, PlainValidator(_one_of(AUTH_PROTOCOLS)), _perhaps(_text("Of version 3.", enum=list(AUTH_PROTOCOLS)))
    ] = None
    auth_key: Hidden = None
    priv_protocol: Annotated[
        str | None, PlainValidator(_one_of(PRIV_PROTOCOLS)), _perhaps(_text("Of version 3.", enum=list(PRIV_PROTOCOLS)))
    ] = None
    priv_key: Hidden = None
    context: Annotated[str | None, PlainValidator(_named), _perhaps(_FOR_3_SCHEMA)] = None
    timeout: Annotated[float | None, PlainValidator(_patience), _perhaps(_PATIENCE_SCHEMA)] = None
    retries: Annotated[
        int | None, PlainValidator(_bounded(0, _MOST_TRIES)), _number("After the first try.", 0, _MOST_TRIES)
    ] = None

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

    oids: Annotated[
        tuple[str, ...], PlainValidator(_oids), WithJsonSchema(_list("What is got.", _OID_SCHEMA, MOST_OIDS))
    ]

    def order(self) -> JobRequest:
        """What the proxy is asked."""
        return self._order(JobKind.GET, oids=self.oids)


class Walking(_Asking):
    """Which subtree to walk, and how far."""

    oid: Annotated[str, PlainValidator(_oid), WithJsonSchema(_OID_SCHEMA)]
    max_rows: Annotated[int | None, PlainValidator(_bounded(1, MOST_ROWS)), _number("Where to stop.", 1, MOST_ROWS)] = (
        None
    )

    def order(self) -> JobRequest:
        """What the proxy is asked."""
        return self._order(JobKind.WALK, oids=(self.oid,), max_rows=self.max_rows or USUAL_ROWS)


class Polling(_Asking):
    """What to read of a device."""

    what: Annotated[
        tuple[JobPart, ...],
        PlainValidator(_parts),
        WithJsonSchema(
            _list("All of it, where nothing is said.", _text("What is read.", enum=list(JobPart)), len(JobPart))
        ),
    ] = tuple(JobPart)

    def order(self) -> JobRequest:
        """What the proxy is asked."""
        return self._order(JobKind.POLL, parts=self.what)


# --- devices: what is right of each is the configuration's to say, in its own words; here is only what there is ------


def _quantity(description: str, kind: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - of JSON Schema
    return {"type": kind, "description": description, **more}


_SENT: Final = _text(
    "A secret itself, not env: or file:; it is never shown again. *** is the one that is kept.",
    minLength=1,
    maxLength=_LONGEST_NAME,
    writeOnly=True,
)
_WORD_SCHEMA: Final[dict[str, Any]] = {"type": "string", "maxLength": 32}
_DEVICE_NAME_SCHEMA: Final = _text("Its name.", minLength=1, maxLength=100, pattern="^[^/ ]+$", examples=["edge9"])
_DEVICE_HOST_SCHEMA: Final = _text(
    "Its name in the DNS, or its address.", minLength=1, maxLength=255, examples=["192.0.2.9"]
)


class DevicePutting(_Body):
    """A device, by the keys of a [[device]] table of the configuration; what it leaves out, [snmp] says."""

    model_config = ConfigDict(json_schema_extra={"required": ["host"]})

    name: Annotated[Any, _perhaps(_DEVICE_NAME_SCHEMA)] = None
    host: Annotated[Any, WithJsonSchema(_DEVICE_HOST_SCHEMA)] = None
    port: Annotated[Any, _perhaps(_quantity("Its UDP port.", "integer", minimum=1, maximum=65535))] = None
    profile: Annotated[
        Any, _perhaps(_text("Its BFD table; auto: found by asking.", minLength=1, examples=["auto", "bfd-std"]))
    ] = None
    oid: Annotated[
        Any, _perhaps(_text("The column of profile oid.", minLength=5, examples=["1.3.6.1.2.1.222.1.2.1.11"]))
    ] = None
    values: Annotated[Any, _perhaps(_text("What that column's values are.", enum=["oper", "state"]))] = None
    version: Annotated[Any, _perhaps(_text("SNMP's.", enum=["1", "2c", "3"]))] = None
    community: Annotated[Any, _perhaps(_SENT)] = None
    interval: Annotated[
        Any, _perhaps(_quantity("Seconds between two polls.", "number", minimum=0.05, maximum=3600))
    ] = None
    fast_interval: Annotated[
        Any, _perhaps(_quantity("The same while something changes.", "number", minimum=0.05, maximum=3600))
    ] = None
    timeout: Annotated[Any, _perhaps(_quantity("Seconds for an answer.", "number", minimum=0.05, maximum=60))] = None
    retries: Annotated[Any, _perhaps(_quantity("How often it is asked again.", "integer", minimum=0, maximum=10))] = (
        None
    )
    stale_after: Annotated[
        Any,
        _perhaps(
            _quantity(
                "Seconds of silence after which its sessions are unknown.", "number", exclusiveMinimum=0, maximum=86400
            )
        ),
    ] = None
    engine: Annotated[Any, _perhaps(_text("What speaks SNMP.", enum=["auto", "pysnmp", "gufo"]))] = None
    user: Annotated[Any, _perhaps(_text("Of version 3.", minLength=1, maxLength=32))] = None
    auth_protocol: Annotated[Any, _perhaps(_text("Of version 3.", enum=list(AUTH_PROTOCOLS)))] = None
    auth_key: Annotated[Any, _perhaps(_SENT)] = None
    priv_protocol: Annotated[Any, _perhaps(_text("Of version 3.", enum=list(PRIV_PROTOCOLS)))] = None
    priv_key: Annotated[Any, _perhaps(_SENT)] = None
    contexts: Annotated[
        Any, _perhaps({"type": "array", "items": _WORD_SCHEMA, "maxItems": 256, "description": "Its views."})
    ] = None
    context_communities: Annotated[
        Any,
        _perhaps(
            {
                "type": "object",
                "additionalProperties": _SENT,
                "description": "The community of each of its views, for versions 1 and 2c.",
            }
        ),
    ] = None
    max_varbinds: Annotated[
        Any, _perhaps(_quantity("Values asked for in one PDU.", "integer", minimum=1, maximum=500))
    ] = None
    trap_from: Annotated[
        Any,
        _perhaps(
            {
                "type": "array",
                "items": {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
                "description": "From where it sends notifications, beside its host.",
            }
        ),
    ] = None
    trust: Annotated[
        Any, _perhaps({"type": "boolean", "description": "Whether its authenticated notifications count at once."})
    ] = None

    def written(self) -> dict[str, Any]:
        """What was sent."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


class DeviceAdding(DevicePutting):
    """A device with its name."""

    model_config = ConfigDict(json_schema_extra={"required": ["name", "host"]})

    name: Annotated[Any, WithJsonSchema(_DEVICE_NAME_SCHEMA)] = None


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
