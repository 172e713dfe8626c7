"""What of this host the engine must be told: that our loop overslept, that the clock was set, that a file is there."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from exabgp_bfd.core.model import Clock, Disabled, Stall

BEAT_SECONDS = 0.25
LONGEST_SLEEP = 2.0
"""Seconds of sleep that are a stall whatever the devices' patience."""
CLOCK_STRAYS = 0.1
"""Seconds by which the wall clock may stray from the monotonic one before the engine is told."""
FILES_SECONDS = 1.0
_READING = 0.01
"""A pair of clock readings that took longer tells of a busy machine, not of a clock."""

Deliver = Callable[[Clock | Stall | Disabled], Any]


class HostWatch:
    """Beats on the loop, and notices when it could not; used on the loop's thread."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._beat_at: float | None = None
        self._patience = LONGEST_SLEEP
        self._offset = 0.0
        self._files: Mapping[str, str] = {}
        self._there: dict[str, bool] = {}
        self._timer: asyncio.TimerHandle | None = None

    def set_rules(self, shortest_stale_after: float, files: Mapping[str, str]) -> None:
        """How soon a sleep of ours could be held against a device, and the services' disable files."""
        self._patience = max(2 * BEAT_SECONDS, min(LONGEST_SLEEP, shortest_stale_after / 2))
        self._there = {service: there for service, there in self._there.items() if service in files}
        self._files = dict(files)

    def start(self, loop: asyncio.AbstractEventLoop, wall: float, now: float) -> None:
        """Begins to beat; the engine has been told that at `now` the wall clock reads `wall`."""
        self._loop = loop
        self._offset = wall - now
        self._beat_at = time.monotonic()
        self._timer = loop.call_later(BEAT_SECONDS, self._beat)

    def stop(self) -> None:
        """Ends the beat."""
        self._beat_at = None
        if self._timer is not None:
            self._timer.cancel()

    def overslept(self, now: float) -> Stall | None:
        """Whether the loop has just slept too long: to be asked, and passed on, before anything else is decided."""
        if self._beat_at is None or now - self._beat_at <= self._patience:
            return None
        slept, self._beat_at = now - self._beat_at, now
        return Stall(slept)

    def _beat(self) -> None:
        now = time.monotonic()
        stall = self.overslept(now)
        if stall is not None:
            self._deliver(stall)
        self._beat_at = now
        self._read_clock()
        self._timer = self._loop.call_later(BEAT_SECONDS, self._beat)

    def _read_clock(self) -> None:
        before = time.monotonic()
        wall = time.time()
        if time.monotonic() - before > _READING or abs(wall - before - self._offset) <= CLOCK_STRAYS:
            return
        self._offset = wall - before
        self._deliver(Clock(wall))

    def present(self, files: Mapping[str, str] | None = None) -> dict[str, bool]:
        """Which disable files are there; may wait for a slow disk, so not on the loop's thread."""
        return {service: os.path.lexists(file) for service, file in (files or self._files).items()}

    def found(self, services: Iterable[str]) -> None:
        """The engine knows already that these services' files are there."""
        self._there.update(dict.fromkeys(services, True))

    def seen(self, there: Mapping[str, bool]) -> None:
        """Takes note of the files that were found, and tells what has changed."""
        for service, present in there.items():
            if service in self._files and self._there.get(service, False) is not present:
                self._there[service] = present
                self._deliver(Disabled(service, present))

    async def watch_files(self) -> None:
        """Looks for the files once a second until cancelled."""
        while True:
            await asyncio.sleep(FILES_SECONDS)
            if self._files:
                self.seen(await asyncio.to_thread(self.present))
