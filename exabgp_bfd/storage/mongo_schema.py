"""What lies in MongoDB: collections, their validation, indexes and retention, made where they are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from pymongo import ASCENDING, DESCENDING
from pymongo.database import Database
from pymongo.errors import OperationFailure

Document = dict[str, Any]
Documents = Database[Document]

EVENTS: Final = "events"
MESSAGES: Final = "messages"
SITES: Final = "sites"

_ORDER: Final = [("at", DESCENDING), ("number", DESCENDING), ("site", DESCENDING)]
"""Newest first (`queries.Cursor`)."""

_EVENT_KEYS: Final = (
    (),
    ("site",),
    ("device",),
    ("device", "event_type"),
    ("session",),
    ("session", "event_type"),
    ("service",),
    ("service", "event_type"),
    ("event_type",),
)
_MESSAGE_KEYS: Final = ((), ("site",), ("type",), ("neighbor",), ("neighbor", "type"), ("keys",))
_PARTIAL: Final[dict[str, dict[tuple[str, ...], Document]]] = {
    # Nearly empty: hardly any event is about both.
    EVENTS: {("service", "device"): {"service": {"$gt": ""}, "device": {"$gt": ""}}},
    MESSAGES: {("direction",): {"direction": "send"}},
}
"""Indexes on few documents, and on which."""
_KEYS: Final = {EVENTS: _EVENT_KEYS, MESSAGES: _MESSAGE_KEYS}

_FOREVER: Final = 2**31 - 1
"""Seconds; the longest that MongoDB takes for expireAfterSeconds: 68 years."""

# Codes of MongoDB's errors.
_NAMESPACE_EXISTS: Final = 48
_INDEX_OPTIONS_CONFLICT: Final = 85

_NUMBER: Final = {"bsonType": ["int", "long"]}
_TEXT: Final = {"bsonType": "string"}
_TEXT_OR_NULL: Final = {"bsonType": ["string", "null"]}
_RECORD: Final = {
    "_id": _TEXT,
    "site": _TEXT,
    "journal": _TEXT,
    "number": _NUMBER,
    "ts": {"bsonType": "date"},
    "ts_us": _NUMBER,
    "at": _NUMBER,
}
_PROPERTIES: Final[dict[str, Document]] = {
    EVENTS: {
        **_RECORD,
        "event_type": _TEXT,
        "details": {"bsonType": ["object", "string"]},
        "device": _TEXT_OR_NULL,
        "session": _TEXT_OR_NULL,
        "service": _TEXT_OR_NULL,
        "source": _TEXT_OR_NULL,
        "actor": _TEXT_OR_NULL,
        "cause": {"bsonType": ["int", "long", "null"]},
    },
    MESSAGES: {
        **_RECORD,
        "type": _TEXT,
        "line": _TEXT,
        "time": {"bsonType": ["int", "long", "null"]},
        "neighbor": _TEXT_OR_NULL,
        "direction": _TEXT_OR_NULL,
        "mended": _TEXT,
        "keys": {"bsonType": "array", "items": {"bsonType": "binData"}},
    },
}
_REQUIRED: Final = {
    EVENTS: [*_RECORD, "event_type", "details"],
    MESSAGES: [*_RECORD, "type", "line"],
}


def prepare(database: Documents, keep: dict[str, float | None]) -> list[str]:
    """Makes what is missing; `keep` is each collection's age in seconds, None for ever.

    What the user has no right to is left out and returned, a sentence each. Other errors of pymongo pass through.
    """
    complaints: list[str] = []
    for name in (EVENTS, MESSAGES):
        for what, step in _steps(database, name, keep.get(name)):
            try:
                step()
            except OperationFailure as error:
                if passes(error):
                    raise
                complaints.append(f"{name}: {what}: {error}")
    return complaints


def passes(error: OperationFailure) -> bool:
    """Whether it is about the moment (no primary, shutting down, out of time) and not about what was asked."""
    return error.timeout or error.has_error_label("RetryableWriteError")


def _steps(database: Documents, name: str, keep: float | None) -> Iterator[tuple[str, Callable[[], object]]]:
    schema = {"$jsonSchema": {"bsonType": "object", "required": _REQUIRED[name], "properties": _PROPERTIES[name]}}
    yield "collection and validation", partial(_collection, database, name, schema)
    collection = database[name]
    keys: tuple[str, ...]
    for keys in _KEYS[name]:
        index = [*((key, ASCENDING) for key in keys), *(part for part in _ORDER if part[0] not in keys)]
        label = "_".join((*keys, "newest"))
        yield f"index {label}", partial(collection.create_index, index, name=label)
    for keys, few in _PARTIAL[name].items():
        index = [*((key, ASCENDING) for key in keys), *_ORDER]
        label = "_".join((*keys, "newest"))
        step = partial(collection.create_index, index, name=label, partialFilterExpression=few)
        yield f"index {label}", step
    # One record by its number: for an event by its id, and for what is removed by count.
    yield "index number", partial(collection.create_index, [("site", ASCENDING), ("number", ASCENDING)], name="number")
    yield "retention", partial(_expire, database, name, keep)


def _collection(database: Documents, name: str, schema: Document) -> None:
    rules = {"validator": schema, "validationLevel": "moderate", "validationAction": "error"}
    try:
        database.command({"create": name, **rules})
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:
            raise
        for found in database.list_collections(filter={"name": name}):
            if found.get("options", {}).get("validator") != schema:
                database.command({"collMod": name, **rules})


def _expire(database: Documents, name: str, keep: float | None) -> None:
    seconds = _FOREVER if keep is None else min(_FOREVER, max(1, int(keep)))
    try:
        database[name].create_index([("ts", ASCENDING)], name="age", expireAfterSeconds=seconds)
    except OperationFailure as error:
        if error.code != _INDEX_OPTIONS_CONFLICT:
            raise
        database.command({"collMod": name, "index": {"name": "age", "expireAfterSeconds": seconds}})
