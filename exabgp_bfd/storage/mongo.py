"""The shipper: copies the journal to MongoDB, in order and exactly once, on a thread that may wait as long as it must.

It reads the journal's file beside its writer, and keeps in the journal how far it has come. What was sent twice, after
a crash or an answer that got lost, is there once: `_id` is the record's site, journal and number.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exabgp_bfd.core.model import Secret, StoreError
from exabgp_bfd.storage import database
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.mongo_address import Address
from exabgp_bfd.storage.mongo_client import close, connect
from exabgp_bfd.storage.tail import (
    EVENT,
    KINDS,
    MESSAGE,
    Beyond,
    Place,
    Row,
    Tail,
    late_key,
    late_text,
    parse_late,
    place_key,
    with_late,
)

if TYPE_CHECKING:
    from pymongo.errors import PyMongoError

    from exabgp_bfd.storage.mongo_schema import Documents

logger = logging.getLogger(__name__)

COLLECTIONS: Final = {EVENT: "events", MESSAGE: "messages"}

BATCH: Final = 1_000
_LEAST_BATCH: Final = 50
_BATCH_OCTETS: Final = 8 << 20
_LINGER: Final = 0.1
"""Seconds for the journal to commit more, so that batches are worth their way; shipped is promised within one."""
_LOOK: Final = 1.0
_FIRST_RETRY, _LAST_RETRY = 0.5, 10.0
_PLACE: Final = 1.0
"""Seconds between two notes in the journal of how far we are, each of which is a transaction there."""
_BEAT: Final = 5.0
_ALARM: Final = 15.0
"""Seconds for which another journal under our site's name counts as there."""
_REPEAT: Final = 60.0
_LIMIT: Final = 30.0
"""Seconds between two looks at whether a site has more events than it may."""
_REMOVED_A_STEP: Final = 1_000
_TRIES: Final = 3
"""After so many, a document that alone is refused, for a reason we do not know, is set aside."""

# Codes of MongoDB's errors.
_FORBIDDEN: Final = 13
_DUPLICATE: Final = 11000
_OF_THE_DOCUMENT: Final = frozenset({2, 9, 14, 15, 22, 52, 55, 56, 57, 121, 10334, 17280, 17419, 17420})
"""Bad values, names, depth or size, and failed validation: the same document will be refused again."""
_OF_THE_STORE: Final = frozenset(
    {6, 7, 11, 13, 18, 24, 46, 50, 63, 64, 70, 79, 89, 91, 100, 112, 117, 133, 134, 146, 150, 175, 189, 202, 237, 246}
    | {249, 262, 290, 314, 317, 365, 384, 8000, 9001, 10058, 10107, 11600, 11601, 11602, 12501, 13388, 13435, 13436}
    | {14031}
)
"""Rights, locks, time, space, elections, hosts that do not answer and shards on the move: none is about a document."""

Told = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Shipped:
    """The shipper's numbers at one moment."""

    up: bool | None
    """Whether MongoDB took what it was last given; None: it was not asked yet."""
    shipped: Mapping[str, int]
    """Records per kind that MongoDB has acknowledged since the start."""
    duplicates: int
    """Records that were there already: sent again, and kept once."""
    set_aside: int
    """Records that MongoDB refuses; they stay in the journal only."""
    behind_rows: int
    behind_seconds: float
    """The age of the oldest record that is not shipped."""
    errors: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class _Anchor:
    """A record of ours that was at MongoDB: its `_id`, number and time."""

    identity: str = ""
    number: int = 0
    at: int = 0


class _Refused(Exception):  # noqa: N818 - a turn that ends early, caught in this room
    """MongoDB refuses; the reason is fit to be shown."""


@dataclass(slots=True)
class _Tally:
    shipped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    duplicates: int = 0
    set_aside: int = 0
    errors: int = 0
    last_error: str | None = None


class Shipper:
    """Keeps a copy of the journal in MongoDB; what has no underscore is for any thread.

    `told` hears, on the shipper's thread: `store_down` and `store_up` (`{"store": "mongodb", ...}`), and
    `site_conflict` where another process ships under our site's name.
    """

    def __init__(  # noqa: PLR0913 - one setting each, by name
        self,
        journal: Journal,
        path: Path,
        site: str,
        uri: Secret,
        *,
        told: Told = lambda kind, details: None,  # noqa: ARG005 - nobody listens
        keep_events: float | None = None,
        keep_messages: float | None = None,
        max_events: int | None = None,
        version: str = "",
    ) -> None:
        """`journal` is open, `path` its file; ages in seconds, None: for ever. Raises StoreError for what is no URI."""
        self.address = Address(uri)
        self._journal = journal
        self._tail = Tail(path)
        self._site = database.clean(site)
        self._told = told
        self._keep = {"events": keep_events, "messages": keep_messages}
        self._max_events = max_events
        self._version = version
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

        # The shipper's own; others only read them.
        self._database: Documents | None = None
        self._prepared = False
        self._places = {kind: Place.parse(journal.meta(place_key(kind))) for kind in KINDS}
        self._late = {kind: parse_late(journal.meta(late_key(kind))) for kind in KINDS}
        """What the journals before this one had not shipped, and is rescued from them, keeps the names it has there.
        Under this one's name stand here what nobody knows to be shipped, and what was imported."""
        self._noted = {key(kind): journal.meta(key(kind)) or "" for kind in KINDS for key in (late_key, place_key)}
        self._beyond = {kind: Beyond() for kind in KINDS}
        self._tally = _Tally()
        self._up: bool | None = None
        self._failing_since: float | None = None
        self._retry = _FIRST_RETRY
        self._batch = BATCH
        self._most = dict.fromkeys(KINDS, BATCH)
        """How many at most, while MongoDB refuses all of a batch for a reason we do not know."""
        self._tries = dict.fromkeys(KINDS, 0)
        self._noted_at = 0.0
        self._beat_at = 0.0
        self._limit_at = 0.0
        self._said: dict[str, float] = {}
        self._skew = 0
        self._ours: list[str] = []
        """Every journal of this process: one that was begun anew is no other process."""
        self._run_id = uuid.uuid4().hex
        self._said_so = False
        self._anchors = {kind: _Anchor() for kind in KINDS}
        self._aside = dict.fromkeys(KINDS, 0)
        """The last number that was set aside."""
        self._again_at = 0.0

    # --- any thread ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to ship; MongoDB need not be there. What is not shipped, retention by count spares from now on."""
        for kind in KINDS:
            self._journal.spare[kind] = lambda kind=kind: self._spared(kind)  # type: ignore[misc]
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)
        self._thread.start()

    def _spared(self, kind: str) -> int:
        """The last number before which everything is shipped; for the journal's thread, too."""
        return min(place.number for place in (*self._late[kind], self._places[kind]))

    def stop(self, timeout: float = 0.5) -> bool:
        """Ends it, to be done before the journal stops; False where an answer is still waited for after `timeout`.

        Nothing is lost then: what was not acknowledged is sent again at the next start.
        """
        self._stopping.set()
        self._journal.committed.set()
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    @property
    def documents(self) -> Documents | None:
        """The database, for who reads there; None where it does not answer."""
        return self._database if self._up else None

    def position(self, kind: str) -> tuple[int, int]:
        """The number of the last record shipped, and its place in time (`Cursor.at`)."""
        place = self._places[kind]
        return place.number, place.at

    def counters(self) -> Shipped:
        """The numbers now."""
        tally = self._tally
        beyond = list(self._beyond.values())
        oldest = min((each.oldest for each in beyond if each.oldest is not None), default=None)
        return Shipped(
            up=self._up,
            shipped=dict(tally.shipped),
            duplicates=tally.duplicates,
            set_aside=tally.set_aside,
            behind_rows=sum(each.rows for each in beyond),
            behind_seconds=0.0 if oldest is None else max(0.0, time.time() - oldest / 1_000_000),
            errors=tally.errors,
            last_error=tally.last_error,
        )

    # --- the shipper's thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._journal.committed.clear()
                pause = self._turn()
                if pause:
                    self._stopping.wait(pause)
                elif self._journal.committed.wait(_LOOK):
                    self._stopping.wait(_LINGER)
        finally:
            self._note(time.monotonic(), last=True)
            self._tail.close()
            if self._database is not None:
                close(self._database)

    def _turn(self) -> float:
        """Ships what there is; gives the seconds to wait before the next attempt, 0 when all went well."""
        try:
            self._ship_all()
        except _Refused as refused:
            self._failed(str(refused))
        except StoreError as error:
            # Our own journal: the disk's trouble is told by its writer, and the copy waits.
            self._complain("journal", "the copy to MongoDB waits: %s", error)
            return _LOOK
        except Exception as error:  # noqa: BLE001 - whatever happens, it goes on
            # Without the traceback: what stands in the error may be secret, and is only scrubbed here.
            self._failed(self.address.scrub(f"{type(error).__name__}: {error}"))
        else:
            self._succeeded()
            return 0.0
        wait = self._retry * random.uniform(0.5, 1.0)  # noqa: S311 - so that many sites do not come at once  # nosec B311
        self._retry = min(2 * self._retry, _LAST_RETRY)
        return wait

    def _ship_all(self) -> None:
        identity = self._tail.identity()
        self._look(identity)
        documents = self._connected()
        self._at_work(lambda: self._begin(documents, identity))
        while not self._stopping.is_set():
            if time.monotonic() >= self._beat_at:
                self._at_work(lambda: self._look_back(documents, identity))
            more = [kind for kind in KINDS if self._ship(documents, kind, self._places[kind])]
            more += [kind for kind in KINDS if self._late[kind] and self._ship_late(documents, kind, identity)]
            now = time.monotonic()
            self._note(now, last=not more)
            for kind in KINDS:
                if now >= self._beat_at or not self._anchors[kind].identity:
                    self._look_there_again(kind, identity)
            if now >= self._beat_at:
                self._beat_at = now + _BEAT
                self._at_work(lambda: self._beat(documents, identity), "what this site says of itself")
            if self._max_events is not None and now >= self._limit_at:
                self._limit_at = now + _LIMIT
                self._at_work(lambda: self._remove_excess(documents), "max_events")
            self._succeeded()
            if not more:
                return

    def _look(self, identity: str) -> None:
        """Finds out how far behind we are, which is worth knowing where MongoDB is down."""
        for kind in KINDS:
            place = self._places[kind]
            if place.journal != identity:
                self._places[kind] = place = self._begun_anew(kind, place, identity)
            self._beyond[kind] = self._tail.beyond(kind, place.number)
        if identity not in self._ours:
            self._ours.append(identity)

    def _begun_anew(self, kind: str, was: Place, identity: str) -> Place:
        """Where to begin in another file, which goes on with the numbers of the one before."""
        if not was.journal:
            return Place(identity, self._site)
        last = self._tail.before(kind).last
        if last > was.number:
            self._late[kind] = with_late(self._late[kind], replace(was, bound=last))
        return Place(identity, self._site, last, was.at, last)

    def _connected(self) -> Documents:
        if self._database is None:
            try:
                self._database = connect(self.address)
            except StoreError as error:
                raise _Refused(str(error)) from None
        return self._database

    def _at_work(self, what: Callable[[], None], spared: str = "") -> None:
        """Does something at MongoDB; what is `spared` may be lacking where it is not permitted."""
        from pymongo.errors import OperationFailure, PyMongoError  # noqa: PLC0415 - see `mongo_client`

        try:
            what()
        except PyMongoError as error:
            if spared and isinstance(error, OperationFailure) and error.code not in _OF_THE_STORE - {_FORBIDDEN}:
                self._complain(spared, "MongoDB goes without %s: %s", spared, self.address.scrub(error))
                return
            raise self._refusal(error) from None

    def _refusal(self, error: PyMongoError) -> _Refused:
        if error.timeout and self._batch > _LEAST_BATCH:
            self._batch = max(_LEAST_BATCH, self._batch // 4)
        return _Refused(self.address.scrub(f"{type(error).__name__}: {error}"))

    def _begin(self, documents: Documents, identity: str) -> None:
        """Once whenever MongoDB is there (again): makes what is missing there, and looks where the copy ends."""
        from exabgp_bfd.storage import mongo_schema  # noqa: PLC0415 - see `mongo_client`

        if self._prepared:
            return
        for complaint in mongo_schema.prepare(documents, self._keep):
            self._complain("schema", "MongoDB lacks something of ours: %s", self.address.scrub(complaint))
        for kind in KINDS:
            place = self._places[kind]
            collection = documents[COLLECTIONS[kind]]
            if not place.number and (last_before := self._tail.before(kind).last):
                # How far we were went down with the journal before this one; MongoDB knows it as well.
                theirs = {"site": self._site, "number": {"$lte": last_before}, "journal": {"$ne": identity}}
                known = collection.find_one(theirs, {"journal": 1, "number": 1, "at": 1}, sort=[("number", -1)])
                if known:
                    was = Place(known["journal"], self._site, int(known["number"]), int(known["at"]))
                    self._places[kind] = place = self._begun_anew(kind, was, identity)
                else:
                    # Nothing was shipped yet, and what is rescued comes the newest first: all of it once it is there.
                    self._send_again(kind, identity, last_before)
                    self._places[kind] = place = Place(identity, self._site, last_before, 0, last_before)
            if place.number <= place.bound or collection.find_one(
                {"_id": f"{place.site}/{identity}/{place.number}"}, {"_id": 1}
            ):
                continue
            # Restored from an older copy, or emptied: the journal may still have what is missing there.
            mine = {"site": {"$in": [self._site, place.site]}, "journal": identity}
            last = collection.find_one(mine, {"number": 1, "at": 1}, sort=[("number", -1)])
            place.number = max(place.bound, min(place.number, int(last["number"])) if last else 0)
            place.at = int(last["at"]) if last else 0
            if not last:
                self._send_again(kind, identity, place.bound)
            logger.warning("MongoDB ends at our %s %d: what follows is sent again", kind, place.number)
        self._anchors = {kind: _Anchor() for kind in KINDS}
        self._prepared = True

    def _look_back(self, documents: Documents, identity: str) -> None:
        """Looks whether what was last seen at MongoDB still is: it may be emptied or restored without being down.

        It is the last record of the look before: who ships on puts the newest beside what is missing.
        """
        for kind in KINDS:
            anchor = self._anchors[kind]
            if anchor.identity and not self._is_there(documents, kind, anchor) and time.monotonic() >= self._again_at:
                self._again_at = time.monotonic() + _REPEAT
                logger.warning("MongoDB lacks our %s %d: what the journal has is sent again", kind, anchor.number)
                self._prepared = False
                ends = {each: self._places[each].number for each in KINDS}
                self._begin(documents, identity)
                for each, end in ends.items():
                    self._send_again(each, identity, end)
                return

    def _look_there_again(self, kind: str, identity: str) -> None:
        place = self._places[kind]
        if max(place.bound, self._aside[kind]) < place.number:
            self._anchors[kind] = _Anchor(f"{place.site}/{identity}/{place.number}", place.number, place.at)

    def _send_again(self, kind: str, identity: str, up_to: int) -> None:
        """Of the records up to a number, whichever journal they are of, those that are not there will be sent."""
        if up_to:
            self._late[kind] = with_late(self._late[kind], Place(identity, self._places[kind].site, 0, 0, up_to))

    def _is_there(self, documents: Documents, kind: str, anchor: _Anchor) -> bool:
        """Whether it is there, or not for a good reason: retention."""
        collection = documents[COLLECTIONS[kind]]
        if collection.find_one({"_id": anchor.identity}, {"_id": 1}):
            return True
        age = self._keep[COLLECTIONS[kind]]
        if age is not None and anchor.at / 1_000_000 < time.time() - age:
            return True
        most = self._max_events if kind == EVENT else None
        return most is not None and collection.count_documents({"site": self._site}, limit=max(1, most)) >= most

    # --- one batch ---

    def _ship_late(self, documents: Documents, kind: str, identity: str) -> bool:
        """Ships what was rescued from the journal before, once it is all there; True when there may be more."""
        before = self._tail.before(kind)
        if before.last and not before.whole:
            return False
        place, *others = self._late[kind]
        if self._ship(documents, kind, place, late=True, doubtful=place.journal == identity):
            return True
        self._late[kind] = tuple(others)
        return bool(others)

    def _ship(
        self, documents: Documents, kind: str, place: Place, *, late: bool = False, doubtful: bool = False
    ) -> bool:
        """Ships a batch of a kind, of what is `doubtful` what is not there by any name; True: there may be more."""
        from exabgp_bfd.storage.mongo_documents import LARGEST, document, size  # noqa: PLC0415 - see `mongo_client`

        limit = min(self._batch, self._most[kind])
        rows = self._tail.rows(kind, place.number, limit, *((place.bound,) if late else ()))
        keys = self._tail.keys(rows) if kind == MESSAGE and rows else {}
        there = self._there(documents, kind, place, rows) if doubtful and rows else frozenset()
        if not rows:
            if not late:
                self._beyond[kind] = Beyond()
            return False
        at, octets, taken = place.at, 0, 0
        made: list[dict[str, Any]] = []
        skew = self._skew
        for row in rows:
            told = keys.get(row[0], ())
            length = size(kind, row) + 20 * len(told)
            if made and octets + length > _BATCH_OCTETS:
                break
            octets += length
            taken += 1
            at = max(at, row[1])
            if row[:2] in there:
                continue
            skew = max(skew, at - row[1])
            if length > LARGEST:
                self._set_aside(kind, row[0], f"{length} octets are too many for MongoDB")
                continue
            made.append(document(kind, row, self._site, place.journal, at))
            if told:
                made[-1]["keys"] = list(told)
        if skew > self._skew:
            # Before the first record that stands later than its time: who looks for a time must know how far to look.
            self._at_work(lambda: self._note_skew(documents, skew), "its clock's errors")
            self._skew = skew
        inserted = self._insert(documents, kind, made) if made else 0
        self._batch = min(BATCH, 2 * self._batch)
        self._most[kind] = min(BATCH, 2 * self._most[kind])
        self._tally.shipped[kind] += inserted
        place.number, place.at = rows[taken - 1][0], at
        if not late:
            place.site = self._site
        more = taken < len(rows) or len(rows) == limit
        if not late:
            self._beyond[kind] = self._tail.beyond(kind, place.number) if more else Beyond()
        return more

    def _there(self, documents: Documents, kind: str, place: Place, rows: list[Row]) -> frozenset[tuple[Any, ...]]:
        """Number and time of those of some records that MongoDB has already, by whichever journal's name."""
        sites = {self._site, place.site} | ({row[2] for row in rows} if kind == EVENT else set())
        asked = {"site": {"$in": sorted(sites)}, "number": {"$gte": rows[0][0], "$lte": rows[-1][0]}}
        found: list[Mapping[str, Any]] = []
        self._at_work(lambda: found.extend(documents[COLLECTIONS[kind]].find(asked, {"number": 1, "ts_us": 1})))
        return frozenset((each["number"], each["ts_us"]) for each in found)

    def _insert(self, documents: Documents, kind: str, made: list[dict[str, Any]]) -> int:
        """Inserts them, each once; gives how many were new. Raises _Refused when it has to be done again."""
        from pymongo.errors import BulkWriteError, PyMongoError  # noqa: PLC0415 - see `mongo_client`

        try:
            documents[COLLECTIONS[kind]].insert_many(made, ordered=False)
        except BulkWriteError as error:
            return self._judge(kind, made, error.details or {})
        except PyMongoError as error:
            if _is_of_the_document(error):
                return self._insert(documents, kind, sound) if (sound := self._sound(kind, made)) else 0
            raise self._refusal(error) from None
        except (OverflowError, UnicodeError, RecursionError, TypeError, ValueError):
            return self._insert(documents, kind, sound) if (sound := self._sound(kind, made)) else 0
        self._tries[kind] = 0
        return len(made)

    def _judge(self, kind: str, made: list[dict[str, Any]], details: Mapping[str, Any]) -> int:
        errors = details.get("writeErrors", [])
        concerns = details.get("writeConcernErrors", [])
        refused = [error for error in errors if error.get("code") != _DUPLICATE]
        known = [error for error in refused if error.get("code") in _OF_THE_DOCUMENT]
        if concerns or len(known) < len(refused):
            self._tries[kind] += 1
            first = (concerns or [error for error in refused if error not in known])[0]
            store = concerns or any(error.get("code") in _OF_THE_STORE for error in refused)
            # What befalls all of several is rather the store's; a document is judged when it is refused alone.
            several = not store and len(refused) == len(made) > 1
            if several:
                self._most[kind], self._tries[kind] = max(1, len(made) // 4), 0
            if store or several or self._tries[kind] < _TRIES:
                raise _Refused(self.address.scrub(f"code {first.get('code')}: {first.get('errmsg')}"))
        self._tries[kind] = 0
        for error in refused:
            number = made[error["index"]]["number"]
            self._set_aside(kind, number, f"code {error.get('code')}: {error.get('errmsg')}")
        self._tally.duplicates += len(errors) - len(refused)
        return len(made) - len(errors)

    def _sound(self, kind: str, made: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those that can be written at all; the others are set aside. At least one is, or it would go on for ever."""
        import bson  # noqa: PLC0415 - see `mongo_client`

        sound = []
        for each in made:
            try:
                if len(bson.encode(each)) > 16 << 20:
                    raise ValueError("too large for MongoDB")  # noqa: TRY301 - as the driver says it
            except Exception as error:  # noqa: BLE001 - whatever the driver finds
                self._set_aside(kind, each["number"], f"{type(error).__name__}: {error}")
            else:
                sound.append(each)
        if len(sound) == len(made):
            raise _Refused("the driver refuses a batch of which each record can be written")
        return sound

    def _set_aside(self, kind: str, number: int, reason: str) -> None:
        self._tally.set_aside += 1
        self._aside[kind] = max(number, self._aside[kind])
        self._complain("aside", "%s %d stays in the journal only: %s", kind, number, self.address.scrub(reason))

    # --- beside the records ---

    def _note(self, now: float, *, last: bool) -> None:
        """Notes in the journal how far we are; a note that a crash takes along costs only sending again."""
        if now - self._noted_at < _PLACE and not last:
            return
        self._noted_at = now
        # The late ones first: what a place has left behind must be known before it is.
        texts = {late_key(kind): late_text(late) for kind, late in self._late.items()}
        for key, text in (texts | {place_key(kind): str(place) for kind, place in self._places.items()}).items():
            if text != self._noted[key]:
                self._noted[key] = text
                self._journal.put_meta(key, text)

    def _note_skew(self, documents: Documents, skew: int) -> None:
        documents["sites"].update_one({"_id": self._site}, {"$max": {"skew": skew}}, upsert=True)

    def _beat(self, documents: Documents, identity: str) -> None:
        """Says that this site is there, and finds out whether another process says so under the same name.

        It has another journal, or a copy of ours: then it says so between two times that we do. What stands there
        before the first time may be our own, of before a restart.
        """
        foreign: dict[str, Any] = {"$not": [{"$in": [{"$ifNull": ["$journal", identity]}, self._ours]}]}
        if self._said_so:
            foreign = {"$or": [foreign, {"$ne": [{"$ifNull": ["$run", self._run_id]}, self._run_id]}]}
        another = {
            "$and": [
                foreign,
                {"$gt": ["$heard", {"$subtract": ["$$NOW", int(_ALARM * 1000)]}]},
            ]
        }
        said = {
            "name": self._site,
            "journal": identity,
            "host": socket.gethostname(),
            "run": self._run_id,
            "process": os.getpid(),
            "version": self._version,
        }
        renewed: dict[str, Any] = {key: {"$literal": value} for key, value in said.items()}
        beside = {"$cond": [another, {"host": "$host", "process": "$process"}, None]}
        found = documents["sites"].find_one_and_update(
            {"_id": self._site},
            [{"$set": {"beside": beside}}, {"$set": {**renewed, "heard": "$$NOW"}}],
            upsert=True,
            return_document=True,
        )
        self._said_so = True
        if found and found.get("beside") and self._due("conflict"):
            other = found["beside"]
            logger.error("another process ships as site %s: %s", self._site, other)
            self._tell("site_conflict", {"store": "mongodb", "site": self._site, **other})

    def _remove_excess(self, documents: Documents) -> None:
        """Removes this site's oldest events above `max_events`, a little at a time."""
        events = documents[COLLECTIONS[EVENT]]
        excess = events.count_documents({"site": self._site}, hint="number") - (self._max_events or 0)
        while excess > 0 and not self._stopping.is_set():
            step = min(excess, _REMOVED_A_STEP)
            last = events.find_one({"site": self._site}, {"number": 1}, sort=[("number", 1)], skip=step - 1)
            if last is None:
                return
            events.delete_many({"site": self._site, "number": {"$lte": last["number"]}})
            excess -= step

    # --- how it goes ---

    def _failed(self, reason: str) -> None:
        self._tally.errors += 1
        self._tally.last_error = reason
        self._prepared = False
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            logger.error("MongoDB %s refuses, the journal keeps what it lacks: %s", self.address, reason)
        else:
            self._complain("down", "MongoDB %s still refuses: %s", self.address, reason)
        if self._up is not False:
            self._up = False
            self._said["down"] = time.monotonic()
            self._tell("store_down", {"store": "mongodb", "error": reason, "behind": self.counters().behind_rows})

    def _succeeded(self) -> None:
        self._retry = _FIRST_RETRY
        if self._failing_since is not None:
            seconds = round(time.monotonic() - self._failing_since, 1)
            self._failing_since = None
            logger.warning("MongoDB %s answers again after %.1f s", self.address, seconds)
            self._tell("store_up", {"store": "mongodb", "seconds": seconds, "behind": self.counters().behind_rows})
        self._up = True

    def _tell(self, kind: str, details: Mapping[str, Any]) -> None:
        try:
            self._told(kind, details)
        except Exception:
            logger.exception("nobody could be told: %s", kind)

    def _complain(self, about: str, text: str, *values: object) -> None:
        if self._due(about):
            logger.error(text, *values)

    def _due(self, about: str) -> bool:
        now = time.monotonic()
        if now - self._said.get(about, -_REPEAT) < _REPEAT:
            return False
        self._said[about] = now
        return True


def _is_of_the_document(error: PyMongoError) -> bool:
    from bson.errors import InvalidDocument  # noqa: PLC0415 - see `Shipper._connected`
    from pymongo.errors import DocumentTooLarge  # noqa: PLC0415

    return isinstance(error, DocumentTooLarge | InvalidDocument)
