"""Our side of the alerts that go out: couriers read our journal, tell the engine, and are called by it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from exabgp_bfd import __version__
from exabgp_bfd.core.model import Event, Input, Note, Source, StoreError
from exabgp_bfd.core.notices import Alert, Endpoint, EndpointView, Kept, Letter, NoEndpointError
from exabgp_bfd.notify.notifier import Notifier
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.letters import alert_of
from exabgp_bfd.storage.reader import Reader

logger = logging.getLogger(__name__)

T = TypeVar("T")


class _Call(Protocol):
    def __call__(self, what: Callable[[], T], timeout: float) -> T:
        """Runs something on the loop's thread for another thread."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What the mailroom may ask of the program."""

    handle: Callable[[Input], int | None]
    """Moves an input through the engine, on the loop's thread."""
    call: _Call
    on_disk: Callable[[int | None, float], int]
    """Waits for an event until a monotonic time."""


class Mailroom:
    """Who is told of events, and what could not be delivered."""

    def __init__(self, path: Path, site: str, journal: Journal, doors: Doors, newest: int) -> None:
        """`newest` is the last event that there was before us; made on the loop's thread."""
        self._journal = journal
        self._doors = doors
        self._newest = newest
        self._loop = asyncio.get_running_loop()
        self._trail = JournalTrail(Reader(path, site=site), journal)
        self._notifier = Notifier(self._trail, journal.alerts_kept, self._tell, f"exabgp-bfd/{__version__}")

    # --- the loop's thread --------------------------------------------------------------------------------------

    def renew(self, endpoints: Sequence[Endpoint]) -> None:
        """Lets these endpoints hold; one that is new is told of what happens from now on."""
        self._notifier.renew(endpoints, self._newest)

    def called(self, events: Sequence[Event]) -> None:
        """There are events, which will be on the disk in a moment."""
        if events:
            self._newest = max(self._newest, *(event.id for event in events))
            self._notifier.called(events)

    # --- any thread ---------------------------------------------------------------------------------------------

    def _tell(self, note: Note) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody is left to be told
            self._loop.call_soon_threadsafe(self._doors.handle, note)

    def views(self) -> tuple[EndpointView, ...]:
        """How each endpoint stands."""
        return self._notifier.views()

    def totals(self) -> Mapping[str, float]:
        """What became of all tries, by outcome."""
        return self._notifier.totals()

    def letters(self, limit: int, endpoint: str | None, before: int | None) -> list[Letter]:
        """Dead letters, newest first; raises StoreError."""
        return self._trail.reader.letters(limit, endpoint, before)

    def letter(self, number: int) -> Letter | None:
        """One of them; raises StoreError."""
        return self._trail.reader.letter(number)

    def may_send(self, endpoint: str) -> None:
        """Raises NoEndpointError unless something can be sent to an endpoint now."""
        self._notifier.may_send(endpoint)

    def may_enable(self, endpoint: str) -> None:
        """Raises NoEndpointError unless an endpoint is disabled."""
        if not self._notifier.needs(endpoint).disabled:
            raise NoEndpointError("endpoint", f"{endpoint} is not disabled")

    # --- any thread but the loop's: each raises StoreError, and TimeoutError after `timeout` seconds --------------

    def resend(self, letter: Letter, actor: str, timeout: float) -> int:
        """Has a dead letter sent again; the event's id, on disk. Raises NoEndpointError."""
        self.may_send(letter.endpoint)
        number = self._ordered(
            "notify_resend", _about(letter), actor, timeout, lambda: self._journal.send_again(letter.number)
        )
        self._notifier.needs(letter.endpoint).call_again()
        return number

    def discard(self, letter: Letter, actor: str, timeout: float) -> int:
        """Throws a dead letter away; the event's id, on disk."""
        return self._ordered(
            "notify_discarded", _about(letter), actor, timeout, lambda: self._journal.discard(letter.number)
        )

    def enable(self, endpoint: str, actor: str, timeout: float) -> int:
        """Lets an endpoint that said to be gone be told again; the event's id, on disk. Raises NoEndpointError."""
        self.may_enable(endpoint)
        number = self._ordered("notify_enabled", {"endpoint": endpoint}, actor, timeout, lambda: None)
        self._notifier.needs(endpoint).enable()
        return number

    def _ordered(
        self, event_type: str, details: Mapping[str, object], actor: str, timeout: float, act: Callable[[], None]
    ) -> int:
        deadline = time.monotonic() + timeout

        def record() -> int | None:
            number = self._doors.handle(Note(event_type, details, Source.API, actor))
            if number is None:
                raise StoreError("we are starting, stopping or in trouble: the log tells")
            act()
            return number

        number = self._doors.call(record, timeout)
        return self._doors.on_disk(number, deadline)

    def stop(self, timeout: float) -> None:
        """Ends all couriers; what they have not delivered they deliver after the next start. Not on the loop."""
        if not self._notifier.stop(timeout):
            logger.info("an alert is under way still: it may come twice")
        self._trail.reader.close()


class JournalTrail:
    """The journal as couriers see it."""

    def __init__(self, reader: Reader, journal: Journal) -> None:
        self.reader = reader
        self._journal = journal

    def alerts(self, after: int, limit: int, *, polls: bool) -> Sequence[Alert]:
        """Events behind a number."""
        return self.reader.alerts(after, limit, polls=polls)

    def alert(self, number: int) -> Alert | None:
        """One event."""
        stored = self.reader.event(number)
        return None if stored is None else alert_of(stored)

    def again(self, endpoint: str, after: int) -> Sequence[Letter]:
        """The next dead letter to be sent again."""
        return self.reader.letters_again(endpoint, after, 1)

    def keep(self, kept: Kept) -> None:
        """How far a courier has come."""
        self._journal.keep_alerts(kept)


def _about(letter: Letter) -> dict[str, object]:
    return {"endpoint": letter.endpoint, "letter": letter.number, "event": letter.event}
