"""What the web room may ask of the program: the app's side of `web/backend.py`."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from exabgp_bfd import __version__
from exabgp_bfd.bgp_desk import BgpDesk
from exabgp_bfd.core.model import EventQuery, StoreError
from exabgp_bfd.storage.mongo_reader import MongoReader, Stores
from exabgp_bfd.storage.queries import Cursor, EventsQuery
from exabgp_bfd.storage.reader import Reader
from exabgp_bfd.web.backend import EventsFound, SiteStands, Stand

if TYPE_CHECKING:
    from exabgp_bfd.app import App


class WebDesk(BgpDesk):
    """What the web room may ask of us; every method may be called on any thread and is bounded in time."""

    version = __version__

    def __init__(self, app: App, reader: Reader, mongodb: MongoReader | None = None) -> None:
        self._app = app
        super().__init__(reader)
        self._stores = Stores(reader, mongodb)
        self.site = app.settings.site
        self.snapshot = app.snapshot
        self.started = app.started
        self.lifecycle = app.lifecycle
        self.metrics = app.render_metrics
        self.webhook = app.accept
        self.count_webhook = app.count_webhook
        self.journal_healthy = app.journal_healthy
        self.order = app.order
        self.order_all = app.order_all
        self.explain = app.explain
        self.preview = app.preview
        self.reload = app.reload
        self.snmp_submit = app.routers.jobs.submit
        self.snmp_status = app.routers.jobs.status
        self.snmp_jobs = app.routers.jobs.jobs
        self.snmp_cancel = app.routers.jobs.cancel

    def clock(self) -> tuple[float, int]:
        """One moment twice: the engine's monotonic seconds, and microseconds since the epoch."""
        return time.monotonic(), time.time_ns() // 1000

    def ready(self) -> list[str]:
        """What is still missing, a sentence each."""
        missing = [
            f"device {device.name} was not asked yet"
            for device in self._app.snapshot().devices
            if device.reachable is None
        ]
        if not self._app.pipe.open:
            missing.append("ExaBGP's pipe is closed")
        return missing + [f"{_fault(part)} by a fault: see the log, and restart" for part in self._app.faults]

    def alive(self, timeout: float) -> bool:
        """Whether every part of ours lives, and the main loop answers within `timeout` seconds."""
        try:
            self._app.call(lambda: None, timeout)
        except TimeoutError:
            return False
        return not self._app.faults

    def events(self, query: EventQuery) -> list[dict[str, Any]]:
        """Event documents, newest first."""
        return [stored.document() for stored in self._reader.events(query)]

    def events_of(self, query: EventQuery, site: str | None, cursor: str | None) -> EventsFound:
        """Event documents of a site, or of all, newest first; raises ValueError for what is no cursor."""
        asked = {each.name: getattr(query, each.name) for each in fields(EventQuery)}
        question = EventsQuery(**asked, site=site, cursor=None if cursor is None else Cursor.parse(cursor))
        answer = self._stores.ask(lambda store: store.events(question))
        if answer.store == "journal" and site not in (None, self.site):
            raise StoreError(f"only MongoDB knows the events of {site}, and it is not set or does not answer")
        return EventsFound([(str(stored.cursor), stored.document()) for stored in answer.value], answer.store)

    def everywhere(self, timeout: float) -> tuple[bool, list[SiteStands]] | None:
        """What each site does; None without MongoDB."""
        found = self._app.everywhere(timeout)
        if found is None:
            return None
        cut_off, sites = found
        return cut_off, [
            SiteStands(
                each.site,
                each.age,
                each.fresh,
                tuple(
                    Stand(stand.service, stand.announced, stand.layer, stand.since, stand.targets)
                    for stand in each.stands
                ),
            )
            for each in sites
        ]

    def event(self, number: int) -> dict[str, Any] | None:
        """One event document, None where it is not kept (any more)."""
        stored = self._reader.event(number)
        return stored.document() if stored is not None else None

    def devices(self) -> frozenset[str]:
        """The devices there are."""
        return frozenset(device.name for device in self._app.settings.targets)


def _fault(part: str) -> str:
    return "the engine did not take an input" if part == "engine" else f"{part} ended"
