"""What the web room may ask of the program: the app's side of `web/backend.py`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

from exabgp_bfd import __version__
from exabgp_bfd.bgp_desk import BgpDesk
from exabgp_bfd.core.model import EventQuery, StoreError
from exabgp_bfd.core.notices import EndpointView, Letter
from exabgp_bfd.storage.mongo_reader import MongoReader, Stores
from exabgp_bfd.storage.queries import Cursor, EventsQuery
from exabgp_bfd.storage.reader import Reader
from exabgp_bfd.web.backend import CountsFound, EventsFound, SiteStands, Stand

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
        self.reports = app.accept
        self.count_webhook = app.count_webhook
        self.journal_healthy = app.journal_healthy
        self.order = app.order
        self.order_all = app.order_all
        self.explain = app.explain
        self.rehearse = app.rehearse
        self.command = app.command
        self.ask_exabgp = app.ask_exabgp
        self.end = app.end
        self.rehearse_end = app.rehearse_end
        self.preview = app.preview
        self.reload = app.reload
        self.change_device = app.change_device
        self.shown_devices = app.shown_devices
        self.snmp_submit = app.routers.jobs.submit
        self.snmp_status = app.routers.jobs.status
        self.snmp_jobs = app.routers.jobs.jobs
        self.snmp_cancel = app.routers.jobs.cancel

    def endpoints(self) -> Sequence[EndpointView]:
        """Who is told of events."""
        return self._app.mail.views()

    def dead_letters(self, limit: int, endpoint: str | None, before: int | None) -> Sequence[Letter]:
        """The alerts that could not be delivered, newest first."""
        return self._app.mail.letters(limit, endpoint, before)

    def dead_letter(self, number: int) -> Letter | None:
        """One of them."""
        return self._app.mail.letter(number)

    def resend(self, letter: Letter, actor: str, timeout: float, *, dry_run: bool) -> int | None:
        """Has an alert sent once more; the event's id."""
        if dry_run:
            self._app.mail.may_send(letter.endpoint)
            return None
        return self._app.mail.resend(letter, actor, timeout)

    def discard(self, letter: Letter, actor: str, timeout: float) -> int:
        """Throws an alert away; the event's id."""
        return self._app.mail.discard(letter, actor, timeout)

    def enable_endpoint(self, name: str, actor: str, timeout: float, *, dry_run: bool) -> int | None:
        """Lets an endpoint be told again; the event's id."""
        if dry_run:
            self._app.mail.may_enable(name)
            return None
        return self._app.mail.enable(name, actor, timeout)

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

    def follow(self, query: EventQuery, after: int) -> list[dict[str, Any]]:
        """Event documents, oldest first, of ids above `after`."""
        return [stored.document() for stored in self._reader.following(query, after)]

    def events_of(self, query: EventQuery, site: str | None, cursor: str | None) -> EventsFound:
        """Event documents of a site, or of all, newest first; raises ValueError for what is no cursor."""
        asked = {each.name: getattr(query, each.name) for each in fields(EventQuery)}
        question = EventsQuery(**asked, site=site, cursor=None if cursor is None else Cursor.parse(cursor))
        answer = self._stores.ask(lambda store: store.events(question))
        if answer.store == "journal" and site not in (None, self.site):
            raise StoreError(f"only MongoDB knows the events of {site}, and it is not set or does not answer")
        return EventsFound([(str(stored.cursor), stored.document()) for stored in answer.value], answer.store)

    def event_counts(self, query: EventQuery, site: str | None, *, of_all: bool) -> CountsFound:
        """How many events match per day and type."""
        asked = {each.name: getattr(query, each.name) for each in fields(EventQuery)}
        whose = None if of_all else site or self.site
        answer = self._stores.ask(lambda store: store.counts(EventsQuery(**asked, site=whose)))
        if answer.store == "journal" and whose not in (None, self.site):
            raise StoreError(f"only MongoDB knows the events of {whose}, and it is not set or does not answer")
        return CountsFound(
            [{"day": each.day, "event_type": each.type, "count": each.count} for each in answer.value], answer.store
        )

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

    def inventory(self, origin: Literal["file", "api"] | None) -> Sequence[str]:
        """The names of the devices of the file, of those added over HTTP, or (None) of both."""
        return [each.name for each in self._app.settings.targets if origin in {None, each.origin}]

    def devices(self) -> frozenset[str]:
        """The devices there are."""
        return frozenset(device.name for device in self._app.settings.targets)


def _fault(part: str) -> str:
    return "the engine did not take an input" if part == "engine" else f"{part} ended"
