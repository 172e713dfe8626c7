"""When we were started, kept over restarts: too many starts in a short time end ExaBGP, and all routes with it.

ExaBGP 4.2 and 5 count the starts of a process in buckets of 64 seconds, aligned with the clock, and end themselves at
the sixth (4.2 counts the first one, 5.0.15 does not). What it has started it has counted: nobody can prevent that. So
whoever finds itself the fourth in a bucket does nothing before that bucket is over, least of all what may have been the
end of those before it; should it be killed all the same while it waits, there is one more.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

BUCKET = 64
"""Seconds; ExaBGP's `respawn_timemask`."""
HELD_FROM = 4
"""Which start in a bucket is held up; ExaBGP takes five."""
_KEPT = 16
_LARGEST = 16 << 20
_MOST_NAMES = 10_000
_MOST_JOURNALS = 3
"""Beside each other in one folder; even names of a hundred characters for all of them are read again."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the file holds."""

    starts: tuple[tuple[float, str], ...] = ()
    """When, in seconds since the epoch, and under which ExaBGP; the newest last."""
    listens: dict[str, str] = field(default_factory=dict)
    """By the configuration's file: where the API listened when that could last be read."""
    added: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By the journal's name: the devices that were added over HTTP, to miss them where it has them no more."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many starts there were, this one included."""

    number: int = 1
    """Within the present bucket."""
    within: float = 0.0
    """Seconds since the first of them."""
    free_at: float | None = None
    """Until when, in seconds since the epoch, nothing may be done; None: at once."""


def count(starts: Sequence[float], wall: float) -> Count:
    """What the starts so far, the one at `wall` included, mean for that one."""
    bucket = int(wall) // BUCKET
    same = [start for start in starts if int(start) // BUCKET == bucket]
    held = len(same) >= HELD_FROM
    return Count(max(1, len(same)), wall - min(same, default=wall), float((bucket + 1) * BUCKET) if held else None)


class StartFile:
    """The file beside the journal; never raises, and does without where it cannot be read or written."""

    def __init__(self, journal: Path) -> None:
        self._file = journal.with_name("starts.json")
        self._journal = journal.name

    def read(self) -> Kept:
        """What it holds; nothing where it is missing or damaged."""
        try:
            number = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(number, "rb") as stream:
                return _kept(json.loads(stream.read(_LARGEST)))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return Kept()

    def note(self, wall: float, exabgp: str) -> Count:
        """Adds a start of now; what it and those before mean for it."""
        kept = self.read()
        # A clock that was set back leaves starts of the future, of which nothing is known.
        starts = (*(start for start in kept.starts if start[0] <= wall), (wall, exabgp))[-_KEPT:]
        self._write(replace(kept, starts=starts))
        return count([moment for moment, under in starts if under == exabgp], wall)

    def note_listen(self, config: str, listen: str) -> None:
        """Remembers where the API of a configuration listens."""
        kept = self.read()
        if kept.listens.get(config) != listen:
            newest = dict([*kept.listens.items(), (config, listen)][-_KEPT:])
            self._write(replace(kept, listens=newest))

    def added(self) -> tuple[str, ...]:
        """The devices that were added over HTTP, as they were noted last for this journal."""
        return self.read().added.get(self._journal, ())

    def note_added(self, names: Iterable[str]) -> None:
        """Remembers which devices were added over HTTP: their names, and nothing else of them."""
        kept, told = self.read(), tuple(sorted(names)[:_MOST_NAMES])
        if kept.added.get(self._journal, ()) != told:
            others = [(journal, those) for journal, those in kept.added.items() if journal != self._journal]
            newest = [*others, (self._journal, told)] if told else others
            self._write(replace(kept, added=dict(newest[-_MOST_JOURNALS:])))

    def _write(self, kept: Kept) -> None:
        fresh = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        try:
            with suppress(FileNotFoundError):
                fresh.unlink()
            # Made anew and never followed, as the directory may be others' as well.
            number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(number, "w", encoding="utf-8", errors="replace") as stream:
                document = {"starts": kept.starts, "listens": kept.listens, "added": kept.added}
                json.dump(document, stream, ensure_ascii=False)
            fresh.replace(self._file)
        except OSError as error:
            logger.warning(
                "%s cannot be written (%s): starts are not counted over restarts", self._file, error.strerror or error
            )
            with suppress(OSError):
                fresh.unlink()


def _kept(document: Any) -> Kept:  # noqa: ANN401 - whatever JSON held
    starts = tuple((float(moment), str(exabgp)) for moment, exabgp in document["starts"])
    listens = {str(file): str(listen) for file, listen in document["listens"].items()}
    added = {str(journal): tuple(map(str, names)) for journal, names in document.get("added", {}).items()}
    return Kept(starts, listens, added)
