"""What of this host the engine must be told: that our loop overslept, that the clock was set, that a file is there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import PurePath
from typing import Any

from exabgp_bfd.core.model import Clock, Disabled, Stall

logger = logging.getLogger(__name__)

BEAT_SECONDS = 0.25
LONGEST_SLEEP = 2.0
"""Seconds of sleep that are a stall whatever the devices' patience."""
CLOCK_STRAYS = 0.1
"""Seconds by which the wall clock may stray from the monotonic one before the engine is told."""
FILES_SECONDS = 1.0
LOOKED_WITHIN = 5.0
"""Seconds for which somebody may wait for a look at all files."""
ROUND_WITHIN = 60.0
"""Seconds after which a round of looking for files, for which nobody waits, begins anew."""
HANGS_AFTER = 0.5
"""Seconds without a word about one file after which its directory is given up until the word comes."""
HUNG_AT_MOST = 8
"""Threads that may wait for disks that hang; beyond, nothing is looked for until one comes back."""
_HANGS = "the disk does not answer"
_READING = 0.01
"""A pair of clock readings that took longer tells of a busy machine, not of a clock."""

Deliver = Callable[[Clock | Stall | Disabled], Any]


class FileLooks:
    """Looks whether files are there, in threads of its own that a hanging disk may keep. May be used on any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, bool] = {}
        """The last word about each file."""
        self._hung: dict[str, _Look] = {}
        """By directory: who waits for it. What else is in it would hang as well."""
        self._troubles: dict[str, str] = {}
        """By directory: why there is no word about a file in it, as far as it was said."""

    def keep(self, files: Collection[str]) -> None:
        """Forgets the last word about all other files."""
        with self._lock:
            self._last = {file: there for file, there in self._last.items() if file in files}

    def look(self, files: Collection[str], within: float = LOOKED_WITHIN) -> dict[str, bool]:
        """Which files are there, by the last word about each; those of which nothing was ever learned are left out.

        Takes at most `within` seconds and a little. A file is gone only where the system says so: a disk in trouble
        leaves the last word as it is, which is logged once.
        """
        until = time.monotonic() + within
        left = deque(dict.fromkeys(files))
        troubles: dict[str, str] = {}
        while left and self._may_look(left, troubles):
            look = _Look(left)
            look.start()
            at = look.at
            while look.is_alive():
                remaining = until - time.monotonic()
                look.join(max(0.0, min(HANGS_AFTER, remaining)))
                if remaining <= 0 or look.at is at:
                    break
                at = look.at
            left = self._take(look, troubles)
            if time.monotonic() >= until:
                troubles.update({_directory(file): "there was no time left for it" for file in left})
                break
        with self._lock:
            found = {file: self._last[file] for file in files if file in self._last}
        self._say(files, troubles, found)
        return found

    def _may_look(self, left: deque[str], troubles: dict[str, str]) -> bool:
        """Leaves out what would hang; whether another thread may begin."""
        with self._lock:
            hung = {directory for directory, look in self._hung.items() if look.is_alive()}
            self._hung = {directory: look for directory, look in self._hung.items() if directory in hung}
        if len(hung) >= HUNG_AT_MOST:
            hung.update(map(_directory, left))
        stays = [file for file in left if _directory(file) not in hung]
        troubles.update({_directory(file): _HANGS for file in left if _directory(file) in hung})
        left.clear()
        left.extend(stays)
        return bool(left)

    def _take(self, look: _Look, troubles: dict[str, str]) -> deque[str]:
        """Books what a look found; what it did not get to."""
        with self._lock:
            found, at, rest = look.leave()
            for file, there in found:
                if isinstance(there, bool):
                    self._last[file] = there
                else:
                    troubles[_directory(file)] = there
            if at is not None:
                self._hung[_directory(at)] = look
                troubles[_directory(at)] = _HANGS
        return rest

    def _say(self, files: Iterable[str], troubles: Mapping[str, str], found: Mapping[str, bool]) -> None:
        """Logs what has changed about directories in trouble."""
        with self._lock:
            before = self._troubles
            looked = {_directory(file) for file in files}
            self._troubles = {each: why for each, why in before.items() if each not in looked} | dict(troubles)
        for directory, why in troubles.items():
            if before.get(directory) != why:
                mine = [file for file in files if _directory(file) == directory]
                counts = ", ".join(
                    f"{file} {'counts as there' if found.get(file, False) else 'counts as not there'}"
                    for file in mine[:5]
                )
                more = f", and {len(mine) - 5} more" if len(mine) > 5 else ""
                logger.warning("disable files in %s cannot be looked for (%s): %s%s", directory, why, counts, more)
        for directory in looked & before.keys() - troubles.keys():
            logger.info("disable files in %s can be looked for again", directory)


class _Look(threading.Thread):
    """Looks for one file after the other, until nobody waits for it any more."""

    def __init__(self, files: deque[str]) -> None:
        # A daemon: nobody may have to wait for a disk that hangs, not even the end of the program.
        super().__init__(name="disable files", daemon=True)
        self._gate = threading.Lock()
        self._left = deque(files)
        self._found: list[tuple[str, bool | str]] = []
        self._alone = False
        self.at: tuple[str] | None = None
        """The file that is looked for; another object at each step."""

    def run(self) -> None:
        while True:
            with self._gate:
                if self._alone or not self._left:
                    self.at = None
                    return
                file = self._left.popleft()
                self.at = (file,)
            there = _is_there(file)
            with self._gate:
                if not self._alone:
                    self._found.append((file, there))

    def leave(self) -> tuple[list[tuple[str, bool | str]], str | None, deque[str]]:
        """What was found, the file that hangs (None: none does), and what is left; it finds nothing from here on."""
        with self._gate:
            self._alone = True
            at = self.at[0] if self.at is not None else None
            if at is not None and any(file == at for file, _ in self._found[-1:]):
                at = None  # it has just come back
            return self._found, at, self._left


async def _in_a_thread(what: Callable[[], dict[str, bool]]) -> dict[str, bool]:
    """Does something in a thread for which the end of the program does not wait, as it does for those of asyncio."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[dict[str, bool]] = loop.create_future()

    def finish(act: Callable[[], None]) -> None:
        if not done.done():
            act()

    def work() -> None:
        try:
            answer = what()
        except Exception as error:  # noqa: BLE001 - it belongs to who waits
            act = partial(done.set_exception, error)
        else:
            act = partial(done.set_result, answer)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, act)

    threading.Thread(target=work, name="disable files", daemon=True).start()
    return await done


def _is_there(file: str) -> bool | str:
    """Whether a file is there, or why that cannot be told."""
    try:
        os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # ValueError: a path that can be none
        return getattr(error, "strerror", None) or str(error)
    return True


def _directory(file: str) -> str:
    return str(PurePath(file).parent)


class HostWatch:
    """Beats on the loop, and notices when it could not; used on the loop's thread, but for `present`."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._beat_at: float | None = None
        self._patience = LONGEST_SLEEP
        self._offset = 0.0
        self._files: Mapping[str, str] = {}
        self._told: dict[str, bool] = {}
        """What the engine knows of each service's file."""
        self._looks = FileLooks()
        self._timer: asyncio.TimerHandle | None = None
        self._complained = False

    def set_rules(self, shortest_stale_after: float, files: Mapping[str, str]) -> None:
        """How soon a sleep of ours could be held against a device, and the services' disable files."""
        self._patience = max(2 * BEAT_SECONDS, min(LONGEST_SLEEP, shortest_stale_after / 2))
        self._told = {service: there for service, there in self._told.items() if service in files}
        self._files = dict(files)
        self._looks.keep(frozenset(files.values()))

    # --- the beat -----------------------------------------------------------------------------------------------

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
        # Before anything is delivered: whatever becomes of that, the loop has not slept since.
        self._beat_at = now
        try:
            if stall is not None:
                self._deliver(stall)
            self._read_clock()
        except Exception:
            if not self._complained:
                logger.exception("what the clocks say could not be passed on")
            self._complained = True
        else:
            self._complained = False
        finally:
            if self._beat_at is not None:
                self._timer = self._loop.call_later(BEAT_SECONDS, self._beat)

    def _read_clock(self) -> None:
        before = time.monotonic()
        wall = time.time()
        if time.monotonic() - before > _READING or abs(wall - before - self._offset) <= CLOCK_STRAYS:
            return
        self._deliver(Clock(wall))
        self._offset = wall - before

    # --- disable files ------------------------------------------------------------------------------------------

    def present(self, files: Mapping[str, str], within: float = LOOKED_WITHIN) -> dict[str, bool]:
        """For which services their file is there, by the last word about it. Any thread; bounded, but may take long.

        Where nothing was ever learned of a file, it is what the engine was told of its service; at first, not there.
        """
        there = self._looks.look(frozenset(files.values()), within)
        return {service: there.get(file, self._told.get(service, False)) for service, file in files.items()}

    def found(self, services: Iterable[str]) -> None:
        """The engine knows already that these services' files are there."""
        self._told.update(dict.fromkeys(services, True))

    def seen(self, there: Mapping[str, bool]) -> None:
        """Takes note of the files that were found, and tells what has changed."""
        for service, present in there.items():
            if service in self._files and self._told.get(service, False) is not present:
                self._told[service] = present
                self._deliver(Disabled(service, present))

    async def watch_files(self) -> None:
        """Looks for the files once a second until cancelled."""
        while True:
            await asyncio.sleep(FILES_SECONDS)
            if not self._files:
                continue
            files = self._files
            there = await _in_a_thread(partial(self.present, files, ROUND_WITHIN))
            if files is self._files:  # else a reload has looked for itself meanwhile
                self.seen(there)
