"""A journal and its copy in a real MongoDB: what is put in, and whether the copy is whole."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pymongo

from exabgp_bfd.core.model import Event, Secret
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.mongo import Shipper
from exabgp_bfd.storage.mongo_client import close
from exabgp_bfd.storage.mongo_reader import MongoReader, Stores
from exabgp_bfd.storage.queries import EventsQuery, MessageQuery
from exabgp_bfd.storage.reader import Reader

from . import PATIENCE, wait_for


def now() -> int:
    return time.time_ns() // 1000


def update(
    peer: str = "127.0.0.2", *prefixes: str, kind: str = "update", direction: str = "receive", **more: Any
) -> bytes:
    """A line as ExaBGP writes it, which announces prefixes or none."""
    neighbor: dict[str, Any] = {"address": {"local": "127.0.0.1", "peer": peer}, "direction": direction}
    for family in ("ipv4 unicast", "ipv6 unicast"):
        nlri = [{"nlri": prefix} for prefix in prefixes if (":" in prefix) == ("ipv6" in family)]
        if nlri:
            said = neighbor.setdefault("message", {"update": {"attribute": {"origin": "igp"}, "announce": {}}})
            said["update"]["announce"][family] = {"192.0.2.1": nlri}
    return json.dumps({"exabgp": "5.0.0", "time": 1763640000.5, "type": kind, "neighbor": neighbor, **more}).encode()


class Copying:
    """One site: its journal, its shipper (running unless asked otherwise) and both readers."""

    def __init__(
        self, folder: Path, uri: str, *, site: str = "fra1", running: bool = True, name: str = "", **settings: Any
    ) -> None:
        self.path = folder / f"{name or site}.db"
        self.site = site
        self.told: list[tuple[str, Mapping[str, Any]]] = []
        self.journal = Journal(self.path, site, max_events=settings.pop("journal_events", None))
        restored = self.journal.open()
        self.journal.start()
        self.last = restored.last_event
        self.lines = 0
        self.shipper = Shipper(
            self.journal,
            self.path,
            site,
            Secret(uri),
            told=lambda kind, what: self.told.append((kind, what)),
            **settings,
        )
        self.reader = Reader(self.path, site=site)
        self.mongo = MongoReader(self.shipper, self.reader, site, seconds=10.0)
        self.stores = Stores(self.reader, self.mongo)
        self._running = running
        if running:
            self.shipper.start()

    def record(self, count: int = 1, **more: Any) -> None:
        """Puts events with the next numbers, and as many messages."""
        for _ in range(count):
            self.last += 1
            self.journal.record(Event(self.last, **{"event_type": "bfd_failure", "device": "edge1", **more}), now())
        self.lines += self.journal.messages([update()] * count, now())

    def flush(self) -> None:
        self.journal.flushed().result(PATIENCE)

    def ship(self) -> None:
        """Ships what there is now, for a shipper that has no thread."""
        self.flush()
        assert self.shipper._turn() == 0.0, self.shipper.counters()

    def heard(self, kind: str) -> list[Mapping[str, Any]]:
        return [details for said, details in list(self.told) if said == kind]

    def is_shipped(self) -> bool:
        counters = self.shipper.counters()
        kept = self.reader.events(EventsQuery(limit=1)), self.reader.messages(MessageQuery(limit=1))
        ends = [found[0].id if found else 0 for found in kept]
        return bool(counters.up) and [self.shipper.position(kind)[0] for kind in ("event", "message")] == ends

    def shipped(self, timeout: float = 3 * PATIENCE) -> Copying:
        """Waits until everything that was put is acknowledged."""
        self.flush()
        wait_for(self.is_shipped, f"shipped; {self.shipper.counters()}", timeout=timeout)
        return self

    def whole(self, client: pymongo.MongoClient, events: int | None = None) -> None:
        """Asserts that MongoDB has each record of the journal, and each once."""
        found = client.exabgp_bfd
        for name, numbers in (
            ("events", range(1, (self.last if events is None else events) + 1)),
            ("messages", range(1, self.reader.messages(MessageQuery(limit=1))[0].id + 1)),
        ):
            there = sorted(each["number"] for each in found[name].find({"site": self.site}, {"number": 1}))
            assert there == list(numbers), (name, len(there), len(numbers), sorted(set(numbers) - set(there))[:10])

    def account(self, client: pymongo.MongoClient) -> dict[str, int]:
        """How many records of the journal there are in MongoDB, how many are missing, and how many are there twice."""
        told = {"missing": 0, "twice": 0}
        newest = {"events": self.last, "messages": self.reader.messages(MessageQuery(limit=1))[0].id}
        for name, last in newest.items():
            numbers = [each["number"] for each in client.exabgp_bfd[name].find({"site": self.site}, {"number": 1})]
            there = set(numbers)
            told[name] = len(there)
            told["missing"] += len(set(range(1, last + 1)) - there)
            told["twice"] += len(numbers) - len(there)
        return told

    def close(self) -> None:
        if self._running:
            self.shipper.stop(PATIENCE)
        elif self.shipper._database is not None:
            close(self.shipper._database)
        self.shipper._tail.close()
        self.reader.close()
        self.journal.stop(5.0)
