"""Answers from MongoDB, with every site's records; and from the journal where MongoDB does not answer."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from exabgp_bfd.core.model import EventQuery, StoreError
from exabgp_bfd.storage import database
from exabgp_bfd.storage.queries import (
    DAY,
    LINKS,
    PAGE,
    Count,
    Cursor,
    EventsQuery,
    EventStore,
    MessageQuery,
    StoredEvent,
    StoredMessage,
    any_site,
    day_of,
)
from exabgp_bfd.storage.reader import Reader
from exabgp_bfd.storage.tail import EVENT, MESSAGE
from exabgp_bfd.storage.updates import Match, around, inside, key_of

if TYPE_CHECKING:
    from exabgp_bfd.storage.mongo import Shipper
    from exabgp_bfd.storage.mongo_schema import Documents

logger = logging.getLogger(__name__)

T = TypeVar("T")
Record = TypeVar("Record", StoredEvent, StoredMessage)

_NEWEST_FIRST: Final = [("at", -1), ("number", -1), ("site", -1)]
_PATIENCE: Final = 2.0
"""Seconds for one question: whoever asks waits, and the journal can answer too."""


class MongoReader(EventStore):
    """Answers questions from any thread, with the shipper's client. Every method raises StoreError.

    What this site's journal has and MongoDB has not yet is in the answers too: who was told that something is stored
    finds it at once.
    """

    def __init__(self, shipper: Shipper, journal: Reader, site: str, *, seconds: float = _PATIENCE) -> None:
        self._shipper = shipper
        self._journal = journal
        self._site = database.clean(site)
        self._seconds = seconds

    def events(self, query: EventQuery) -> list[StoredEvent]:
        """The newest events of all sites that match, at most `limit`."""
        query = any_site(query)
        beyond, at = self._shipper.position(EVENT)
        fresh = self._fresh(self._journal.newer_events(query, beyond), at, query.cursor)
        with self._asked() as documents:
            from exabgp_bfd.storage.mongo_documents import event  # noqa: PLC0415 - see `Shipper`

            found = self._newest(documents, "events", query, _event_match(query))
            return _merged(fresh, [event(each) for each in found], query.limit)

    def event(self, number: int) -> StoredEvent | None:
        """One event of this site by its id, or None."""
        fresh = self._journal.event(number) if number > self._shipper.position(EVENT)[0] else None
        if fresh is not None:
            return fresh
        with self._asked() as documents:
            return self._event(documents, number)

    def messages(self, query: MessageQuery) -> list[StoredMessage]:
        """The newest BGP messages of all sites that match, at most `limit`."""
        beyond, at = self._shipper.position(MESSAGE)
        fresh = self._fresh(self._journal.newer_messages(query, beyond), at, query.cursor)
        with self._asked() as documents:
            from exabgp_bfd.storage.mongo_documents import message  # noqa: PLC0415 - see `Shipper`

            found = self._newest(documents, "messages", query, _message_match(query))
            return _merged(fresh, [message(each) for each in found], query.limit)

    def counts(self, query: EventQuery | MessageQuery) -> list[Count]:
        """How many match per day and type, the newest day first; without what is not shipped yet."""
        if isinstance(query, MessageQuery):
            name, kind, match = "messages", "$type", _message_match(query)
        else:
            query = any_site(query)
            name, kind, match = "events", "$event_type", _event_match(query)
        rest = {"$mod": [{"$add": [{"$mod": ["$ts_us", DAY]}, DAY]}, DAY]}
        with self._asked() as documents:
            match = self._bounded(documents, query, match)
            found = documents[name].aggregate(
                [
                    {"$match": match},
                    {"$group": {"_id": {"day": {"$subtract": ["$ts_us", rest]}, "type": kind}, "count": {"$sum": 1}}},
                    {"$sort": {"_id.day": -1, "_id.type": 1}},
                    {"$limit": PAGE},
                ]
            )
            return [Count(day_of(each["_id"]["day"]), each["_id"]["type"], each["count"]) for each in found]

    def chain(self, number: int) -> list[StoredEvent]:
        """An event of this site and what caused it, cause by cause."""
        links: list[StoredEvent] = []
        following: int | None = number
        while following is not None and len(links) < LINKS:
            link = self.event(following)
            if link is None:
                break
            links.append(link)
            following = link.event.cause
        return links

    # --- asking ---

    @contextmanager
    def _asked(self) -> Iterator[Documents]:
        documents = self._shipper.documents
        if documents is None:
            raise StoreError("MongoDB does not answer")
        import pymongo  # noqa: PLC0415 - see `Shipper`
        from bson.errors import BSONError  # noqa: PLC0415
        from pymongo.errors import PyMongoError  # noqa: PLC0415

        try:
            with pymongo.timeout(self._seconds):
                yield documents
        except (PyMongoError, BSONError, KeyError, TypeError, ValueError, OverflowError) as error:
            said = self._shipper.address.scrub(f"{type(error).__name__}: {error}")
            raise StoreError(f"MongoDB cannot be read: {said}") from None

    def _event(self, documents: Documents, number: int) -> StoredEvent | None:
        from exabgp_bfd.storage.mongo_documents import event  # noqa: PLC0415 - see `Shipper`

        found = documents["events"].find_one({"site": self._site, "number": number})
        return None if found is None else event(found)

    def _newest(
        self, documents: Documents, name: str, query: EventsQuery | MessageQuery, match: dict[str, Any]
    ) -> Iterable[Mapping[str, Any]]:
        limit = max(0, min(query.limit, PAGE))
        if not limit:
            return []
        match = self._bounded(documents, query, match)
        terms: list[dict[str, Any]] = []
        if query.cursor is not None:
            at, number, site = self._placed(documents, name, query.cursor)
            # Said twice: the first bounds the index, the second is exact.
            terms.append({"at": {"$lte": at}})
            same = [{"number": {"$lt": number}}, {"number": number, "site": {"$lt": site}}]
            terms.append({"$or": [{"at": {"$lt": at}}, {"at": at, "$or": same}]})
        if query.before is not None:
            terms.append({"number": {"$lt": query.before}})
        if terms:
            match = {"$and": [match, *terms]}
        return documents[name].find(match, sort=_NEWEST_FIRST, limit=limit, batch_size=limit + 1)

    def _placed(self, documents: Documents, name: str, cursor: Cursor) -> tuple[int, int, str]:
        """Where a cursor stands here: one that the journal gave out has its record's own time."""
        found = documents[name].find_one({"site": cursor.site, "number": cursor.number}, {"at": 1})
        return int(found["at"]) if found else cursor.at, cursor.number, cursor.site

    def _bounded(
        self, documents: Documents, query: EventsQuery | MessageQuery, match: dict[str, Any]
    ) -> dict[str, Any]:
        """With the times in words of the order too, in which the indexes are: `at` is never before `ts_us`."""
        terms: list[dict[str, Any]] = []
        if query.since is not None:
            terms.append({"at": {"$gte": query.since}, "ts_us": {"$gte": query.since}})
        if query.until is not None:
            skew = documents["sites"].find_one({"skew": {"$gt": 0}}, {"skew": 1}, sort=[("skew", -1)])
            latest = query.until + (int(skew["skew"]) if skew else 0)
            terms.append({"at": {"$lte": latest}, "ts_us": {"$lte": query.until}})
        return {"$and": [match, *terms]} if terms else match

    def _fresh(self, found: list[Record], at: int, cursor: Cursor | None) -> list[Record]:
        """What only the journal has yet, placed as it will be in MongoDB, newest first."""
        placed: list[Record] = []
        for each in reversed(found):
            at = max(at, each.ts)
            placed.append(replace(each, at=at))
        placed.reverse()
        if cursor is None or cursor.site == self._site:
            return placed
        return [each for each in placed if each.cursor < cursor]


def _merged(fresh: list[Record], found: list[Record], limit: int) -> list[Record]:
    """Both lists as one, newest first; what was shipped in between is in both, and once here."""
    merged: list[Record] = []
    most = max(0, min(limit, PAGE))
    for each in heapq.merge(fresh, found, key=lambda record: record.cursor, reverse=True):
        if len(merged) == most:
            break
        if not merged or (merged[-1].id, merged[-1].site) != (each.id, each.site):
            merged.append(each)
    return merged


def _event_match(query: EventsQuery) -> dict[str, Any]:
    return _equal(
        site=query.site,
        device=query.device,
        session=query.session,
        service=query.service,
        event_type=query.event_type,
    )


def _message_match(query: MessageQuery) -> dict[str, Any]:
    match = _equal(site=query.site, type=query.type, neighbor=query.neighbor, direction=query.direction)
    if query.prefix is None:
        return match
    if query.match is Match.LONGER:
        least, most = inside(query.prefix)
        return {**match, "keys": {"$elemMatch": {"$gte": least, "$lte": most}}}
    return {**match, "keys": {"$in": around(query.prefix)} if query.match is Match.COVERING else key_of(query.prefix)}


def _equal(**values: str | None) -> dict[str, Any]:
    return {name: database.clean(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """An answer, and which store gave it: `mongodb` has all sites' records, `journal` this site's."""

    value: T
    store: str


class Stores:
    """MongoDB where it is set and answers, else the journal."""

    def __init__(self, journal: Reader, mongodb: MongoReader | None = None) -> None:
        self.journal = journal
        self.mongodb = mongodb

    def ask(self, question: Callable[[EventStore], T]) -> Answer[T]:
        """Asks one store after the other; raises StoreError when none answers."""
        if self.mongodb is not None:
            try:
                return Answer(question(self.mongodb), "mongodb")
            except StoreError as error:
                logger.debug("the journal answers instead: %s", error)
        return Answer(question(self.journal), "journal")
