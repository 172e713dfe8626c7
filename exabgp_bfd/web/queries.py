"""What may be asked in a query string: each parameter once, none unknown, pages by an opaque cursor."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from itertools import islice
from typing import Annotated, Any, Generic, Literal, Self, TypeVar
from urllib.parse import quote, urlencode

from flask import Response, jsonify, request
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from exabgp_bfd.core.model import EventQuery, Prefix, State
from exabgp_bfd.web.backend import BgpQuestion
from exabgp_bfd.web.problems import Problem

JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"

MOST = 1000
"""The longest page: rendering one holds the interpreter, and with it a withdraw, for some milliseconds."""

REASON_LENGTH = 500

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")
_LAST_SECOND = 253402300799  # 9999-12-31T23:59:59Z
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+ -][0-9]{2}:[0-9]{2})"
)
_MOMENT = "give RFC 3339 (2026-11-20T12:00:00Z) or seconds since the epoch"


def microseconds(text: object) -> int:
    """Microseconds since the epoch from RFC 3339 or seconds; raises ValueError naming what would be right."""
    if not isinstance(text, str):
        raise ValueError(_MOMENT)  # noqa: TRY004 - pydantic collects ValueError, not TypeError
    if _SECONDS.fullmatch(text):
        seconds = Decimal(text)
        if seconds > _LAST_SECOND:
            raise ValueError(f"this is beyond the year 9999; were it milliseconds? {_MOMENT}")
        return int(seconds * 1_000_000)
    if not _RFC3339.fullmatch(text):
        raise ValueError(_MOMENT)
    # In a query string an unescaped "+" arrives as a space: before the offset it can only have been one.
    if text[-6] == " ":
        text = f"{text[:-6]}+{text[-5:]}"
    try:
        moment = datetime.fromisoformat(text.upper())
        return (moment - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"there is no such moment; {_MOMENT}") from error


def _reason(value: object) -> str:
    """Why an operator orders something, in one line; raises ValueError naming what would be right."""
    if not isinstance(value, str) or not value.strip() or len(value) > REASON_LENGTH or not value.isprintable():
        raise ValueError(f"must be text of 1 to {REASON_LENGTH} printable characters, in one line, that says why")
    return value


# The schemas say a little less than is taken: what they allow is taken for certain.
_REASON_SCHEMA = {
    "type": "string",
    "minLength": 1,
    "maxLength": REASON_LENGTH,
    "pattern": "^[ -~\u00a1-\u00ac\u00ae-\u02ff]*[!-~][ -~\u00a1-\u00ac\u00ae-\u02ff]*$",
    "description": "Why: text in one line.",
    "examples": ["router upgrade, ticket 4711"],
}
_MOMENT_SCHEMA = {
    "type": "string",
    "anyOf": [{"format": "date-time"}, {"pattern": "^[0-9]{1,11}(\\.[0-9]{1,9})?$"}],
    "description": "RFC 3339, or seconds since the epoch.",
    "examples": ["2026-11-20T12:00:00Z"],
}

_ADDRESS = r"(1[0-9]{2}|[1-9]?[0-9])"
_PREFIX_SCHEMA = {
    "type": "string",
    "anyOf": [
        {"format": "ipv4"},
        {"format": "ipv6"},
        {
            "pattern": rf"^({_ADDRESS}\.){{3}}({_ADDRESS}/32|0/24)$|^{_ADDRESS}(\.0){{3}}/8$"
            "|^2001:db8::/(3[2-9]|[4-9][0-9])$"
        },
    ],
    "description": "A prefix, without bits of a host; an address is the prefix of itself alone.",
    "examples": ["192.0.2.0/24", "2001:db8::/32"],
}
_NEIGHBOR_SCHEMA = {
    "type": "string",
    "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}],
    "description": "A neighbour's address.",
    "examples": ["192.0.2.1"],
}

Reason = Annotated[str, PlainValidator(_reason), WithJsonSchema(_REASON_SCHEMA)]
Moment = Annotated[int, BeforeValidator(microseconds), WithJsonSchema(_MOMENT_SCHEMA)]
Scope = Literal["site", "all"]
Where = Annotated[Scope, Field(description="Here, or (`all`) at every site.")]
Name = Annotated[str, Field(min_length=1, max_length=255)]


OfDevice = Annotated[Name | None, Field(description="Of this device alone.")]
OfSession = Annotated[Name | None, Field(description="Of this session alone: `edge1/198.51.100.1`.")]
OfService = Annotated[Name | None, Field(description="Of this service alone.")]
OfType = Annotated[str | None, Field(min_length=1, max_length=64, description="Of this type alone: `bfd_failure`.")]
Limit = Annotated[int, Field(ge=1, description=f"Entries of a page; at most {MOST}, whatever is asked for.")]


def _cursor_schema(longest: int) -> dict[str, Any]:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": longest,
        "description": "The next_cursor of the page before.",
    }


class _Filter(BaseModel):
    """What may stand in a query, and nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Span(_Filter):
    """From when, until when."""

    since: Moment | None = None
    until: Moment | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError("since is after until")
        return self


class _OfEvents(_Filter):
    """What events are about."""

    device: OfDevice = None
    session: OfSession = None
    service: OfService = None
    event_type: OfType = None


class _Page(_Filter):
    """How much of a list, and from where; a longer page than the longest is cut, `next_cursor` goes on."""

    limit: Limit = 200

    @property
    def size(self) -> int:
        """Items on this page, at most."""
        return min(self.limit, MOST)


class CountFilter(_Span, _OfEvents):
    """Which events are counted."""

    site: Annotated[
        Name | None,
        Field(description="Whose: another site's, or `*` for all of them; this site's where nothing is said."),
    ] = None

    def question(self) -> EventQuery:
        """The question to the store."""
        return EventQuery(
            device=self.device,
            session=self.session,
            service=self.service,
            event_type=self.event_type,
            since=self.since,
            until=self.until,
        )


class EventFilter(CountFilter, _Page):
    """Which events."""

    limit: Limit = 50
    cursor: Annotated[
        Annotated[int, Field(ge=1, lt=2**63)] | Annotated[str, Field(max_length=400)] | None,
        Field(union_mode="left_to_right"),
        WithJsonSchema(_cursor_schema(400)),
    ] = None

    @field_validator("cursor", mode="after")
    @classmethod
    def _of_this_list(cls, cursor: int | str | None, info: ValidationInfo) -> int | str | None:
        if isinstance(cursor, str) and info.data.get("site") is None:
            raise ValueError("must be a whole number of at least 1: the next_cursor of the page before")
        return cursor

    def question(self) -> EventQuery:
        """The question to the store: one event more than the page holds, which tells whether there is a next one."""
        before = self.cursor if isinstance(self.cursor, int) else None
        return replace(super().question(), limit=self.size + 1, before=before)


class StreamFilter(_OfEvents):
    """Which events are followed, and from where; neither `since` nor `after`: from now on."""

    since: Moment | None = None
    after: Annotated[
        int | None,
        Field(
            ge=0,
            lt=2**63,
            description="The id of the last event that is known; the header Last-Event-ID goes before it.",
        ),
    ] = None

    def question(self) -> EventQuery:
        """The question to the store."""
        return EventQuery(
            device=self.device,
            session=self.session,
            service=self.service,
            event_type=self.event_type,
            since=self.since,
        )


def _neighbor(value: object) -> str:
    """A neighbour's address as ExaBGP writes it."""
    try:
        return str(ip_address(value)) if isinstance(value, str) else ""
    except ValueError:
        raise ValueError("must be the address of a neighbour") from None


def _prefix(value: object) -> Prefix:
    """A prefix; an address is the prefix of itself alone."""
    try:
        return ip_network(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f"must be a prefix, as 192.0.2.0/24 or 2001:db8::/32: {error}") from None


def _flag(value: object) -> object:
    """As JSON has it, and not one of the ten other ways to say yes."""
    if value not in {"true", "false"}:
        raise ValueError("must be true or false")
    return value


Direction = Annotated[
    Literal["receive", "send"],
    Field(description="`receive`: what neighbours told ExaBGP; `send`: what it told them."),
]
OfPrefix = Annotated[Prefix | None, PlainValidator(_prefix), WithJsonSchema(_PREFIX_SCHEMA)]
Match = Annotated[
    Literal["exact", "longer", "covering"],
    Field(description="The prefix itself, or also those inside it, or also those that hold it."),
]
Family = Annotated[
    str, Field(min_length=1, max_length=255, description="As ExaBGP writes it.", examples=["ipv4 unicast"])
]


class BgpFilter(_Page):
    """Which of what neighbours and ExaBGP told each other."""

    limit: Limit = 50
    neighbor: Annotated[str | None, PlainValidator(_neighbor), WithJsonSchema(_NEIGHBOR_SCHEMA)] = None
    direction: Direction | None = None
    cursor: Annotated[str | None, Field(min_length=1, max_length=12_000), WithJsonSchema(_cursor_schema(12_000))] = None

    def question(self) -> BgpQuestion:
        """The question to the store: one more than the page holds, which tells whether there is a next one."""
        told = self.model_dump(exclude={"limit"})
        return BgpQuestion(limit=self.size + 1, **told)


class _Dated(_Span, BgpFilter):
    """Those that have a time."""


class RateFilter(_Dated):
    """Which rates."""


class MessageFilter(_Dated):
    """Which messages."""

    type: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            description="As ExaBGP says: update, state, notification and others; `gap`: where some were dropped.",
        ),
    ] = None
    prefix: OfPrefix = None
    match: Match = "exact"


class ChangeFilter(_Dated):
    """Which changes of routes."""

    family: Family | None = None
    kind: Annotated[Literal["announce", "withdraw"] | None, Field(description="Of this kind alone.")] = None
    prefix: OfPrefix = None
    match: Match = "exact"


class RouteFilter(BgpFilter):
    """Which routes of now."""

    direction: Direction | None = "receive"
    family: Family | None = None
    prefix: OfPrefix = None
    match: Match = "exact"
    stale: Annotated[
        bool | None,
        BeforeValidator(_flag),
        Field(description="Only those whose session ended since, or (`false`) only others."),
    ] = None


class SessionFilter(_Page):
    """Which sessions."""

    device: OfDevice = None
    state: Annotated[State | None, Field(description="In this state alone.")] = None
    cursor: Annotated[Name | None, Field(description="The id of the last session on the page before.")] = None


class DeviceFilter(_Page):
    """Which devices."""

    origin: Annotated[
        Literal["file", "api"] | None, Field(description="Those of the configuration, or those added over HTTP.")
    ] = None
    cursor: Annotated[Name | None, Field(description="The name of the last device on the page before.")] = None


class DeviceDeed(_Filter):
    """How a device is changed."""

    dry_run: Annotated[bool, Field(description="Only tell what it would change.")] = False
    force: Annotated[bool, Field(description="Also where a route is withdrawn at once by it.")] = False


class HandFilter(_Page):
    """Which of what was said by hand."""

    cursor: Annotated[Name | None, Field(description="The key of the last one on the page before.")] = None


class ServiceFilter(_Page):
    """Which services."""

    scope: Annotated[Scope, Field(description="Those of this site, or (`all`) of every site that is heard of.")] = (
        "site"
    )
    cursor: Annotated[Name | None, Field(description="The name of the last service on the page before.")] = None


class Rehearsing(_Filter):
    """Whether a change is made, or only told of."""

    dry_run: Annotated[bool, BeforeValidator(_flag), Field(description="Only tells what would be done.")] = False


class ReasonFilter(Rehearsing):
    """Why something is taken back."""

    reason: Annotated[Reason | None, Field(description="Why: text in one line.")] = None


class ClearFilter(ReasonFilter):
    """Why an override is taken back, and where."""

    scope: Annotated[Scope | None, Field(description="Here, or (`all`) at every site.")] = None


Filter = TypeVar("Filter", bound=BaseModel)
Item = TypeVar("Item")


def parse(model: type[Filter]) -> Filter:
    """The query string of this request; raises a 422 Problem that names every wrong parameter."""
    given = request.args.to_dict(flat=False)
    twice = [_fault(name, "is given more than once") for name, values in given.items() if len(values) > 1]
    if twice:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "a parameter is given more than once", errors=twice)
    try:
        return model.model_validate({name: values[0] for name, values in given.items()})
    except ValidationError as error:
        faults = [_explained(fault, model) for fault in error.errors(include_url=False, include_input=False)]
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "the query is not understood", errors=faults) from error


def not_ours() -> Problem:
    """A 422 for a cursor that was not given out here."""
    fault = _fault("cursor", "was not given out here; begin without one")
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "the query is not understood", errors=[fault])


def _fault(parameter: str, detail: str) -> dict[str, str]:
    return {"parameter": parameter[:80], "detail": detail}


def _explained(fault: Any, model: type[BaseModel]) -> dict[str, str]:  # noqa: ANN401 - pydantic's own mapping
    parameter = str(fault["loc"][0]) if fault["loc"] else ""
    if fault["type"] == "extra_forbidden":
        return _fault(parameter, f"there is no such parameter; there are {', '.join(model.model_fields)}")
    return _fault(parameter, fault["msg"].removeprefix("Value error, "))


def accepted(*forms: str) -> str:
    """The media type that the client likes best of these, the first where it says nothing; raises a 406 Problem."""
    wanted = request.accept_mimetypes
    best = wanted.best_match(forms) if wanted else forms[0]
    if best is None:
        raise Problem(HTTPStatus.NOT_ACCEPTABLE, f"there is {', '.join(forms[:-1])} and {forms[-1]}: say so in Accept")
    return best


def tag_of(*parts: object) -> str:
    """An entity tag for an answer that is wholly told by these."""
    return hashlib.sha256(repr(parts).encode(errors="backslashreplace")).hexdigest()[:32]


def unchanged(tag: str) -> Response | None:
    """A 304 where the client has the answer of that tag already (RFC 9110 section 13.1.2), else None."""
    if request.if_none_match.contains_weak(tag):
        return tagged(Response(status=HTTPStatus.NOT_MODIFIED), tag)
    return None


def tagged(response: Response, tag: str) -> Response:
    """The answer with its tag: it may be kept by the client alone, and used again only after asking."""
    response.set_etag(tag)
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept"
    return response


class Page(Generic[Item]):
    """One page of a list, and the cursor of the next one, if there is one."""

    def __init__(
        self, found: Sequence[Item], size: int, cursor: Callable[[Item], str], onward: str | None = None
    ) -> None:
        """`found` holds one item more than the page where there is a next page; `onward` is its cursor if known."""
        self.items = found[:size]
        self.next_cursor = cursor(self.items[-1]) if len(found) > size else onward

    @classmethod
    def of(cls, items: Iterable[Item], key: Callable[[Item], str], after: str | None, size: int) -> Page[Item]:
        """The page of `items`, ordered by `key`, that follows the key `after`."""
        chosen = (item for item in sorted(items, key=key) if after is None or key(item) > after)
        return cls(list(islice(chosen, size + 1)), size, key)

    def answer(self, name: str, render: Callable[[Item], dict[str, Any]], **more: object) -> Response:
        """The page as `{name: [...], "next_cursor": ...}`, with the next page's address in a Link header (RFC 8288).

        `more` stands beside the list.
        """
        body = {name: [render(item) for item in self.items], "next_cursor": self.next_cursor, **more}
        return self.linked(jsonify(body))

    def linked(self, response: Response) -> Response:
        """The answer, with the next page's address in a Link header (RFC 8288)."""
        if self.next_cursor is not None:
            response.headers["Link"] = f'<{_address(self.next_cursor)}>; rel="next"'
        return response


def _address(cursor: str) -> str:
    return f"{quote(request.path)}?{urlencode({**request.args.to_dict(), 'cursor': cursor})}"
