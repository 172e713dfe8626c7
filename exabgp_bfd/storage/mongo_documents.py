"""The journal's rows as MongoDB's documents, and back. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from exabgp_bfd.core.model import Event
from exabgp_bfd.storage.queries import StoredEvent, StoredMessage
from exabgp_bfd.storage.tail import EVENT, Row

Document = dict[str, Any]

LARGEST: Final = 15 << 20
"""Octets of the texts of one document; MongoDB takes 16 MiB with everything."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS: Final = -62_135_596_800_000  # The years 1 to 9999, as datetime has them.
_LAST_MS: Final = 253_402_300_799_999
_MILLISECOND: Final = timedelta(milliseconds=1)
_DEEPEST: Final = 32
"""Levels of an event's details kept as an object; MongoDB takes about 100 in all."""
_INT64: Final = 1 << 63


def document(kind: str, row: Row, site: str, journal: str, at: int) -> Document:
    """A row as it is kept in MongoDB; `_id` is the same whenever the same row is sent again."""
    number, ts = row[0], row[1]
    milliseconds = min(max(ts // 1000, _FIRST_MS), _LAST_MS)
    made: Document = {
        "_id": f"{site}/{journal}/{number}",
        "site": site,
        "journal": journal,
        "number": number,
        "ts": _EPOCH + milliseconds * _MILLISECOND,
        "ts_us": ts,
        "at": at,
    }
    if kind == EVENT:
        _, _, made["site"], device, event_type, details, session, service, source, actor, cause = row
        made["device"] = device
        made["event_type"] = event_type
        made["details"] = _details(details)
        made["session"] = session
        made["service"] = service
        made["source"] = source
        made["actor"] = actor
        made["cause"] = cause
    else:
        _, _, made["time"], made["type"], made["neighbor"], made["direction"], made["line"], mended = row
        if mended is not None:
            made["mended"] = mended
    return made


def size(kind: str, row: Row) -> int:
    """About how many octets a row's document has."""
    text = row[5] if kind == EVENT else row[6]
    return 400 + (len(text) if text is not None and text.isascii() else len((text or "").encode()))


def event(found: Mapping[str, Any]) -> StoredEvent:
    """The event that a document holds; raises KeyError, TypeError or ValueError for another's document."""
    details = found["details"]
    return StoredEvent(
        Event(
            id=int(found["number"]),
            event_type=found["event_type"],
            device=found["device"],
            session=found["session"],
            service=found["service"],
            source=found["source"],
            actor=found["actor"],
            cause=None if found["cause"] is None else int(found["cause"]),
            details=json.loads(details) if isinstance(details, str) else details,
        ),
        ts=int(found["ts_us"]),
        site=found["site"],
        at=int(found["at"]),
    )


def message(found: Mapping[str, Any]) -> StoredMessage:
    """The message that a document holds; raises KeyError, TypeError or ValueError for another's document."""
    time = found["time"]
    return StoredMessage(
        int(found["number"]),
        int(found["ts_us"]),
        None if time is None else int(time),
        found["type"],
        found["neighbor"],
        found["direction"],
        found["line"],
        found["site"],
        int(found["at"]),
        found.get("mended"),
    )


def _details(text: str) -> Any:  # noqa: ANN401 - any JSON
    """An event's details as an object, where MongoDB gives back the same; else their JSON as text."""
    details = json.loads(text)
    return details if isinstance(details, dict) and _same_in_bson(details, 0) else text


def _same_in_bson(value: object, depth: int) -> bool:
    if isinstance(value, str):
        return value.isascii() or _encodes(value)
    if isinstance(value, int):
        return -_INT64 <= value < _INT64
    if isinstance(value, dict | list) and depth >= _DEEPEST:
        return False
    if isinstance(value, dict):
        return all(_is_field(key) and _same_in_bson(item, depth + 1) for key, item in value.items())
    return not isinstance(value, list) or all(_same_in_bson(item, depth + 1) for item in value)


def _is_field(name: str) -> bool:
    return "\0" not in name and not name.startswith("$") and (name.isascii() or _encodes(name))


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # Half a surrogate pair, which JSON may escape.
        return False
    return True
