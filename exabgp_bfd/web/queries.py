"""What may be asked in a query string: each parameter once, none unknown, pages by an opaque cursor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from itertools import islice
from typing import Annotated, Any, Generic, Literal, TypeVar
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
    field_validator,
    model_validator,
)

from exabgp_bfd.core.model import EventQuery, Prefix, State
from exabgp_bfd.web.backend import BgpQuestion
from exabgp_bfd.web.problems import Problem

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


Reason = Annotated[str, PlainValidator(_reason)]
Moment = Annotated[int, BeforeValidator(microseconds)]
Scope = Literal["site", "all"]
Name = Annotated[str, Field(min_length=1, max_length=255)]


class _Page(BaseModel):
    """How much of a list, and from where; a longer page than the longest is cut, `next_cursor` goes on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1)] = 200

    @property
    def size(self) -> int:
        """Items on this page, at most."""
        return min(self.limit, MOST)


class EventFilter(_Page):
    """Which events."""

    limit: Annotated[int, Field(ge=1)] = 50
    device: Name | None = None
    session: Name | None = None
    service: Name | None = None
    event_type: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    since: Moment | None = None
    until: Moment | None = None
    site: Name | None = None
    """Whose: another site's, or `*` for all of them; this site's where nothing is said."""
    cursor: Annotated[int, Field(ge=1, lt=2**63)] | Annotated[str, Field(max_length=400)] | None = Field(
        default=None, union_mode="left_to_right"
    )
    """Where the page before ended: an event's id, or what was given out where a site was named."""

    @field_validator("cursor", mode="after")
    @classmethod
    def _of_this_list(cls, cursor: int | str | None, info: ValidationInfo) -> int | str | None:
        if isinstance(cursor, str) and info.data.get("site") is None:
            raise ValueError("must be a whole number of at least 1: the next_cursor of the page before")
        return cursor

    @model_validator(mode="after")
    def _in_order(self) -> EventFilter:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError("since is after until")
        return self

    def question(self) -> EventQuery:
        """The question to the store: one event more than the page holds, which tells whether there is a next one."""
        return EventQuery(
            limit=self.size + 1,
            device=self.device,
            session=self.session,
            service=self.service,
            event_type=self.event_type,
            since=self.since,
            until=self.until,
            before=self.cursor if isinstance(self.cursor, int) else None,
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


Direction = Literal["receive", "send"]


class BgpFilter(_Page):
    """Which of what neighbours and ExaBGP told each other."""

    limit: Annotated[int, Field(ge=1)] = 50
    neighbor: Annotated[str, BeforeValidator(_neighbor)] | None = None
    direction: Direction | None = None
    """`receive`: what neighbours told ExaBGP; `send`: what it told them."""
    cursor: Annotated[str, Field(min_length=1, max_length=12_000)] | None = None

    def question(self) -> BgpQuestion:
        """The question to the store: one more than the page holds, which tells whether there is a next one."""
        told = self.model_dump(exclude={"limit"})
        return BgpQuestion(limit=self.size + 1, **told)


class _Dated(BgpFilter):
    since: Moment | None = None
    until: Moment | None = None

    @model_validator(mode="after")
    def _in_order(self) -> _Dated:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError("since is after until")
        return self


class RateFilter(_Dated):
    """Which rates."""


class MessageFilter(_Dated):
    """Which messages."""

    type: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """As ExaBGP says; `gap` stands where some were dropped."""
    prefix: Annotated[Prefix, PlainValidator(_prefix)] | None = None
    match: Literal["exact", "longer", "covering"] = "exact"


class ChangeFilter(_Dated):
    """Which changes of routes."""

    family: Name | None = None
    kind: Literal["announce", "withdraw"] | None = None
    prefix: Annotated[Prefix, PlainValidator(_prefix)] | None = None
    match: Literal["exact", "longer", "covering"] = "exact"


class RouteFilter(BgpFilter):
    """Which routes of now."""

    direction: Direction | None = "receive"
    family: Name | None = None
    prefix: Annotated[Prefix, PlainValidator(_prefix)] | None = None
    match: Literal["exact", "longer", "covering"] = "exact"
    stale: bool | None = None


class SessionFilter(_Page):
    """Which sessions."""

    device: Name | None = None
    state: State | None = None
    cursor: Name | None = None
    """The id of the last session on the page before."""


class ServiceFilter(_Page):
    """Which services."""

    scope: Scope = "site"
    """Those of this site, or (`all`) of every site that is heard of."""
    cursor: Name | None = None
    """The name of the last service on the page before."""


class ReasonFilter(BaseModel):
    """Why something is taken back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Reason | None = None


class ClearFilter(ReasonFilter):
    """Why an override is taken back, and where."""

    scope: Scope | None = None


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


def _fault(parameter: str, detail: str) -> dict[str, str]:
    return {"parameter": parameter[:80], "detail": detail}


def _explained(fault: Any, model: type[BaseModel]) -> dict[str, str]:  # noqa: ANN401 - pydantic's own mapping
    parameter = str(fault["loc"][0]) if fault["loc"] else ""
    if fault["type"] == "extra_forbidden":
        return _fault(parameter, f"there is no such parameter; there are {', '.join(model.model_fields)}")
    return _fault(parameter, fault["msg"].removeprefix("Value error, "))


class Page(Generic[Item]):
    """One page of a list, and the cursor of the next one, if there is one."""

    def __init__(self, found: Sequence[Item], size: int, cursor: Callable[[Item], str]) -> None:
        """`found` holds one item more than the page where there is a next page."""
        self.items = found[:size]
        self.next_cursor = cursor(self.items[-1]) if len(found) > size else None

    @classmethod
    def of(cls, items: Iterable[Item], key: Callable[[Item], str], after: str | None, size: int) -> Page[Item]:
        """The page of `items`, ordered by `key`, that follows the key `after`."""
        chosen = (item for item in sorted(items, key=key) if after is None or key(item) > after)
        return cls(list(islice(chosen, size + 1)), size, key)

    def answer(self, name: str, render: Callable[[Item], dict[str, Any]], **more: object) -> Response:
        """The page as `{name: [...], "next_cursor": ...}`, with the next page's address in a Link header (RFC 8288).

        `more` stands beside the list.
        """
        response = jsonify({name: [render(item) for item in self.items], "next_cursor": self.next_cursor, **more})
        if self.next_cursor is not None:
            response.headers["Link"] = f'<{_address(self.next_cursor)}>; rel="next"'
        return response


def _address(cursor: str) -> str:
    return f"{quote(request.path)}?{urlencode({**request.args.to_dict(), 'cursor': cursor})}"
