"""What may stand in a request's body: one JSON object, each key once, none unknown, every fault with its place."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Annotated, Any, Final, NoReturn, TypeVar

from flask import request
from pydantic import BaseModel, ConfigDict, PlainValidator, StrictBool, ValidationError, model_validator

from exabgp_bfd.core.model import Action
from exabgp_bfd.web.problems import Problem, pointed, pointer_token
from exabgp_bfd.web.queries import Reason, microseconds

LONGEST_DAYS: Final = 3650
LONGEST: Final = LONGEST_DAYS * 86400
"""Seconds; whatever lasts longer lasts until it is cleared."""

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([smhd]?)")

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
    """What is ordered of a service."""

    action: Annotated[Action, PlainValidator(_action)]


class Clearing(_Body):
    """Why something is taken back, if anybody says."""

    reason: Reason | None = None


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
