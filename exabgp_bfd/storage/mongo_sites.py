"""What the sites tell each other through MongoDB: what each announces, and what is ordered of all of them.

Collection `sites`, a document a site (`_id` its name; the shipper keeps other fields there): `stands`, what it does
with each of its services; `word`, another text whenever that changed; `told`, when it said so last, by MongoDB's clock;
and `beat`, another number each time. Collection `orders`, a document a service (`_id` its name): the last order for all
sites, `action` null where it was taken back; `token`, another text for each order, and `number`, how many there were.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from exabgp_bfd.core.model import Action, Override, Secret, StoreError
from exabgp_bfd.storage import database
from exabgp_bfd.storage.mongo_address import Address
from exabgp_bfd.storage.mongo_client import close, connect

if TYPE_CHECKING:
    from pymongo.errors import PyMongoError

    from exabgp_bfd.storage.mongo_schema import Documents

logger = logging.getLogger(__name__)

POLL: Final = 1.0
"""Seconds between two looks where MongoDB does not tell of changes by itself."""
_FIRST_RETRY, _LAST_RETRY = 0.5, 2.0
_TURN: Final = 5.0
"""Seconds for all that one turn asks of MongoDB; a URI may say less."""
_GATHER: Final = 0.02
"""Seconds for what changes together to be looked at together."""
_AWAIT_MS: Final = 1_000
"""How long MongoDB holds one question for changes."""
_STREAM_RETRY: Final = 2.0
_NO_STREAM_RETRY: Final = 60.0
"""How often a MongoDB that has no change streams is asked again: it may be made a replica set."""
_REPEAT: Final = 60.0
_KEEP_TAKEN_BACK_DAYS: Final = 30
"""How long a site may be away and still hear that an order was taken back."""
_SITES: Final = 500
"""Sites that are read, those heard of last."""
_ORDERS: Final = 10_000

# Codes of MongoDB's errors.
_FORBIDDEN: Final = 13
_NO_STREAMS: Final = frozenset({13, 40573, 40324, 115, 303})
"""Not permitted, not a replica set, no such stage, not supported by the storage engine or the server."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a site does with one of its services."""

    service: str
    announced: bool
    layer: str
    """What decided it (`ServiceView.layer`)."""
    since: int | None
    """By that site's clock, microseconds since the epoch."""
    targets: tuple[str, ...]
    """The keys of what it announces and ExaBGP took."""


@dataclass(frozen=True, slots=True)
class SiteSeen:
    """A site's document at one moment."""

    name: str
    beat: int
    age: float
    """Seconds since it said so, by MongoDB's clock; below 0 where that went back."""
    stands: tuple[Standing, ...]
    heartbeat: float = 0.0
    """How often it says so at the latest, seconds, by its own word; 0 where it does not tell."""


@dataclass(frozen=True, slots=True)
class OrderSeen:
    """The last order for all sites of a service."""

    service: str
    token: str
    override: Override | None
    """None: it was taken back."""
    actor: str
    reason: str
    site: str
    """Where it was given."""
    number: int = 0
    """How many there were for the service with this one."""


@dataclass(frozen=True, slots=True)
class Look:
    """Everything at one moment, this site included."""

    asked: float
    """When MongoDB was asked for it, monotonic: it is not older."""
    sites: tuple[SiteSeen, ...]
    orders: tuple[OrderSeen, ...]


class MongoSites:
    """Keeps up the talk with the other sites, on two threads of its own; every method is for any thread.

    `heard` is called on one of these threads with each look, once a second or as soon as something changed.
    """

    def __init__(self, site: str, uri: Secret, heard: Callable[[Look], None], *, heartbeat: float) -> None:
        """Raises StoreError for what is no URI."""
        self.address = Address(uri)
        self._site = database.clean(site)
        self._heard = heard
        self._heartbeat = heartbeat
        self._making = threading.Lock()
        self._documents: Documents | None = None
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._threads: list[threading.Thread] = []
        self._saying = threading.Lock()
        self._stands: tuple[Standing, ...] | None = None
        """None: nothing is to be said yet."""
        self._said: tuple[Standing, ...] | None = None
        """None: nothing, or it is not certain."""
        self._word = ""
        """With which that was said."""
        self._posted = False
        self._beat_at = 0.0
        self._streaming = False
        self._known: dict[str, tuple[str, tuple[Standing, ...]]] = {}
        """By site: its last word, and what that was."""
        self._complaints: dict[str, float] = {}
        self._failing_since: float | None = None
        self.up: bool | None = None
        """Whether MongoDB answered the last look; None: it was not asked yet."""

    def start(self) -> None:
        """Begins; MongoDB need not be there."""
        for name, work in (("sites", self._run), ("sites' changes", self._watch)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def tell(self, stands: tuple[Standing, ...]) -> None:
        """What this site does from now on; said at once where it is something else."""
        self._stands = stands
        if stands != self._said:
            self._wake.set()

    def look(self) -> None:
        """Looks again soon, as where something was not taken that may be now."""
        self._wake.set()

    def stop(self, timeout: float) -> bool:
        """Says what is not said yet, and ends; False where MongoDB still owes an answer after `timeout` seconds."""
        self._stopping.set()
        self._wake.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads[:1]:  # the other one may wait for changes, and is of no use to anybody now
            thread.join(max(0.0, deadline - time.monotonic()))
        ended = not any(thread.is_alive() for thread in self._threads[:1])
        if ended and self._documents is not None:
            close(self._documents)
        return ended

    def order(self, order: OrderSeen, timeout: float) -> OrderSeen:
        """Keeps an order for all sites, on the disks of most of MongoDB, and gives it with its number.

        Raises StoreError: nothing was ordered, or (where MongoDB did not answer in time) perhaps.
        """
        override = order.override
        document: dict[str, Any] = {
            "token": order.token,
            "action": None if override is None else override.action.value,
            "actor": order.actor,
            "reason": order.reason,
            "site": order.site,
            "since": None if override is None else round(override.since * 1e6),
            "expires": None if override is None or override.expires is None else round(override.expires * 1e6),
        }
        change = {"$set": document, "$inc": {"number": 1}, "$currentDate": {"ordered": True}}
        with self._asked(timeout) as documents:
            kept = documents["orders"].find_one_and_update(
                {"_id": order.service}, change, projection={"number": 1}, upsert=True, return_document=True
            )
        self._posted = True
        self._wake.set()
        return replace(order, number=int(kept["number"]) if kept else 0)

    # --- our threads --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        retry = _FIRST_RETRY
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self._turn()
            except StoreError as error:
                self._failed(str(error))
                self._stopping.wait(retry * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come at once  # nosec B311
                retry = min(2 * retry, _LAST_RETRY)
                continue
            except Exception as error:  # noqa: BLE001 - whatever happens, it goes on
                # Without the traceback: what stands in the error may be secret, and is only scrubbed here.
                self._failed(self.address.scrub(f"{type(error).__name__}: {error}"))
                self._stopping.wait(_LAST_RETRY)
                continue
            retry = _FIRST_RETRY
            self._succeeded()
            if self._wake.wait(max(0.01, self._pause())):
                self._stopping.wait(_GATHER)
        self._say_last()

    def _pause(self) -> float:
        until_beat = self._beat_at - time.monotonic()
        return until_beat if self._streaming else min(until_beat, POLL)

    def _turn(self) -> None:
        with self._asked(_TURN) as documents:
            self._say(documents)
            asked = time.monotonic()
            look = Look(asked, self._sites(documents), self._orders(documents))
            if self._posted:
                self._posted = False
                self._sweep(documents)
        self._heard(look)

    def _say_last(self) -> None:
        """What was not said yet, as the withdraws of an end: others need not wait until we are not fresh any more."""
        if self._stands != self._said and self.up:
            try:
                with self._asked(1.0) as documents:
                    self._say(documents)
            except StoreError as error:
                logger.debug("the other sites were not told of the end: %s", error)

    def _say(self, documents: Documents) -> None:
        """Says what this site does, where that is due or something else than before."""
        from pymongo.errors import OperationFailure  # noqa: PLC0415 - see `connect`

        stands = self._stands
        now = time.monotonic()
        if stands is None:
            self._beat_at = now + self._heartbeat
            return
        if stands == self._said and now < self._beat_at:
            return
        told: dict[str, Any] = {"heartbeat": self._heartbeat}
        change = {"$set": told, "$inc": {"beat": 1}, "$currentDate": {"told": True}}
        word = self._word
        try:
            # Emptied under our hands, or back from an older copy: then all of it is to be said again.
            heard = stands == self._said and documents["sites"].update_one({"_id": self._site, "word": word}, change)
            if not heard or not heard.matched_count:
                word = uuid.uuid4().hex
                told |= {"word": word, "stands": [_written(each) for each in stands]}
                documents["sites"].update_one({"_id": self._site}, change, upsert=True)
        except OperationFailure as error:
            if error.code != _FORBIDDEN:
                raise
            self._complain("say", "MongoDB: the other sites do not hear of us: %s", self.address.scrub(error))
        self._said, self._word = stands, word
        self._beat_at = now + self._heartbeat

    def _sites(self, documents: Documents) -> tuple[SiteSeen, ...]:
        """All sites; what each does is only read where it has said something else since."""
        found = list(
            documents["sites"].aggregate(
                [
                    {"$match": {"told": {"$type": "date"}}},
                    {"$sort": {"told": -1}},
                    {"$limit": _SITES},
                    {"$project": {"word": 1, "beat": 1, "heartbeat": 1, "age": {"$subtract": ["$$NOW", "$told"]}}},
                ]
            )
        )
        heads = {str(each["_id"]): each for each in found}
        news = [each["_id"] for name, each in heads.items() if self._known.get(name, ("",))[0] != each.get("word")]
        if news:
            for document in documents["sites"].find({"_id": {"$in": news}}, {"word": 1, "stands": 1}):
                self._known[str(document["_id"])] = (str(document.get("word")), self._stands_in(document))
        self._known = {name: known for name, known in self._known.items() if name in heads}
        return tuple(
            SiteSeen(
                name,
                _number(each.get("beat")),
                each["age"] / 1000,
                self._known[name][1],
                _seconds(each.get("heartbeat")),
            )
            for name, each in heads.items()
            if name in self._known
        )

    def _stands_in(self, document: Mapping[str, Any]) -> tuple[Standing, ...]:
        written: Any = document.get("stands")
        stands = []
        for each in written if isinstance(written, list) else [written]:
            try:
                stands.append(_standing(each))
            except (KeyError, TypeError, ValueError, OverflowError):
                self._complain("read", "MongoDB: what site %s says of itself is not understood", document["_id"])
        return tuple(stands)

    def _orders(self, documents: Documents) -> tuple[OrderSeen, ...]:
        from pymongo.read_concern import ReadConcern  # noqa: PLC0415 - see `connect`

        # What a primary that lost its others took, may be undone: it is not carried out before most have it.
        orders = documents.get_collection("orders", read_concern=ReadConcern("majority"))
        found = []
        for document in orders.find({}, limit=_ORDERS):
            try:
                found.append(_order(document))
            except (KeyError, TypeError, ValueError, OverflowError):
                self._complain("order", "MongoDB: the order for %s is not understood", document["_id"])
        return tuple(found)

    def _sweep(self, documents: Documents) -> None:
        """Forgets what was taken back so long ago that every site knows: names come and go."""
        from pymongo.errors import PyMongoError  # noqa: PLC0415 - see `connect`

        long_ago = {"$subtract": ["$$NOW", _KEEP_TAKEN_BACK_DAYS * 86_400_000]}
        over = {"action": None, "ordered": {"$type": "date"}, "$expr": {"$lt": ["$ordered", long_ago]}}
        try:
            documents["orders"].delete_many(over)
        except PyMongoError as error:
            logger.debug("MongoDB: old orders were not removed: %s", self.address.scrub(error))

    # --- changes ---

    def _watch(self) -> None:
        """Wakes the other thread whenever something changed in MongoDB, where that tells so by itself."""
        while not self._stopping.is_set():
            try:
                pause = self._stream()
            except Exception as error:  # noqa: BLE001 - without it, we look every second
                logger.debug("MongoDB does not tell of changes: %s", self.address.scrub(error))
                pause = _STREAM_RETRY
            finally:
                self._streaming = False
            self._stopping.wait(pause)

    def _stream(self) -> float:
        """Follows the changes until they end; the seconds until it is worth another try."""
        from pymongo.errors import OperationFailure, PyMongoError  # noqa: PLC0415 - see `connect`

        ours = {"ns.coll": "sites", "documentKey._id": {"$ne": self._site}}
        news = {"$or": [{"operationType": {"$ne": "update"}}, {"updateDescription.updatedFields.word": {"$exists": 1}}]}
        stages: list[dict[str, Any]] = [
            {"$match": {"$or": [{"ns.coll": "orders"}, {**ours, **news}]}},
            {"$project": {"_id": 1}},
        ]
        try:
            with self._connected().watch(stages, max_await_time_ms=_AWAIT_MS) as stream:
                while not self._stopping.is_set() and stream.alive:
                    change = stream.try_next()
                    if change is not None or not self._streaming:
                        self._streaming = True  # what happened before it began, is looked at too
                        self._wake.set()
        except OperationFailure as error:
            if error.code in _NO_STREAMS and not error.timeout:
                return _NO_STREAM_RETRY
            logger.debug("MongoDB does not tell of changes: %s", self.address.scrub(error))
        except PyMongoError as error:
            logger.debug("MongoDB does not tell of changes: %s", self.address.scrub(error))
        return _STREAM_RETRY

    # --- asking ---

    def _connected(self) -> Documents:
        from pymongo import ReadPreference  # noqa: PLC0415 - see `connect`

        with self._making:
            if self._documents is None:
                # Whatever the URI says of reading: a copy may be behind, and tell what is over.
                self._documents = connect(self.address).with_options(read_preference=ReadPreference.PRIMARY)
            return self._documents

    @contextmanager
    def _asked(self, seconds: float) -> Iterator[Documents]:
        """The database, for as long; raises StoreError for whatever goes wrong there."""
        documents = self._connected()
        import pymongo  # noqa: PLC0415 - see `connect`
        from bson.errors import BSONError  # noqa: PLC0415
        from pymongo.errors import PyMongoError  # noqa: PLC0415

        try:
            with pymongo.timeout(max(0.05, min(seconds, self.address.deadline_ms / 1000))):
                yield documents
        except (PyMongoError, BSONError) as error:
            raise StoreError(self._described(error)) from None

    def _described(self, error: PyMongoError | Exception) -> str:
        return self.address.scrub(f"{type(error).__name__}: {error}")

    # --- how it goes ---

    def _failed(self, reason: str) -> None:
        self.up = False
        self._said = None  # whether it was kept, and will be, nobody knows
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            logger.warning("MongoDB %s: no word of the other sites: %s", self.address, reason)

    def _succeeded(self) -> None:
        self.up = True
        if self._failing_since is not None:
            seconds, self._failing_since = time.monotonic() - self._failing_since, None
            logger.warning("MongoDB %s tells of the other sites again after %.1f s", self.address, seconds)

    def _complain(self, about: str, text: str, *values: object) -> None:
        now = time.monotonic()
        if now - self._complaints.get(about, float("-inf")) >= _REPEAT:
            self._complaints[about] = now
            logger.error(text, *values)


def _written(standing: Standing) -> dict[str, Any]:
    return {
        "service": standing.service,
        "announced": standing.announced,
        "layer": standing.layer,
        "since": standing.since,
        "targets": list(standing.targets),
    }


def _number(value: object) -> int:
    """A heartbeat's number; what is none stays the same, as that of a site that is gone."""
    return int(value) if isinstance(value, int | float) and value == value // 1 else 0


def _seconds(value: object) -> float:
    """A site's own heartbeat; what is none is not told."""
    return float(value) if isinstance(value, int | float) and 0 < value < float("inf") else 0.0


def _standing(document: Mapping[str, Any]) -> Standing:
    since = document["since"]
    return Standing(
        str(document["service"]),
        bool(document["announced"]),
        str(document["layer"]),
        None if since is None else int(since),
        tuple(str(target) for target in document["targets"]),
    )


def _order(document: Mapping[str, Any]) -> OrderSeen:
    service, actor, reason = str(document["_id"]), str(document["actor"]), str(document["reason"])
    override, number = None, int(document["number"])
    if document["action"] is not None:
        expires = document["expires"]
        override = Override(
            service,
            Action(document["action"]),
            actor,
            reason,
            since=int(document["since"]) / 1e6,
            expires=None if expires is None else int(expires) / 1e6,
        )
    return OrderSeen(service, str(document["token"]), override, actor, reason, str(document["site"]), number)
