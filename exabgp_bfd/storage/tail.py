"""What the journal holds beyond a number, oldest first: what a copy of it has not yet."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exabgp_bfd.core.model import StoreError
from exabgp_bfd.storage import database
from exabgp_bfd.storage.routes import PLACES

EVENT: Final = "event"
MESSAGE: Final = "message"
KINDS: Final = (EVENT, MESSAGE)

Row = tuple[Any, ...]

_BUSY: Final = 0.2
_GREATEST: Final = (1 << 63) - 1

# Each row begins with its number and its time.
_SELECT: Final = {
    EVENT: "SELECT id, ts, site, device, event_type, details, session, service, source, actor, cause FROM event",
    MESSAGE: "SELECT id, ts, time, type, neighbor, direction, line, mended FROM message",
}


@dataclass(slots=True)
class Place:
    """How far a copy has come with a kind, as it stands in the journal's meta under `place_key` and `late_key`."""

    journal: str = ""
    site: str = ""
    """Under which name; another one since does not make them other records."""
    number: int = 0
    at: int = 0
    """The latest time up to here: where the clock went back, what follows is still placed after it (`Cursor.at`)."""
    bound: int = 0
    """Numbers up to here are of the journal before this one; of a late place: the last number of it."""

    def __str__(self) -> str:
        return f"{self.journal}:{self.number}:{self.at}:{self.bound}:{self.site}" if self.journal else ""

    @classmethod
    def parse(cls, text: str | None) -> Place:
        """The place that a text tells of, an empty one where it tells of none."""
        journal, number, at, bound, site = (*(text or "").split(":", 4), "", "", "", "", "")[:5]
        try:
            return cls(journal, site, int(number), int(at), int(bound))
        except ValueError:
            return cls()


Late = tuple[Place, ...]
"""What is copied beside what is new: rows of the journals before, and imported ones; what is first goes first."""

_MOST_LATE: Final = 100


def place_key(kind: str) -> str:
    """Where the journal keeps how far a kind is shipped."""
    return f"shipped_{kind}"


def late_key(kind: str) -> str:
    """Where the journal keeps what else is to be shipped of a kind."""
    return f"shipped_{kind}_late"


def late_text(late: Late) -> str:
    """Late places as they are kept, one a line."""
    return "\n".join(str(place) for place in late)


def parse_late(text: str | None) -> Late:
    """The late places that a text tells of."""
    return tuple(place for place in map(Place.parse, (text or "").split("\n")) if place.journal)


def with_late(late: Late, place: Place) -> Late:
    """The same and another one, which goes last; of two that end alike it is the one that begins first."""
    alike = [each for each in late if (each.journal, each.bound) == (place.journal, place.bound)]
    others = (each for each in late if each not in alike)
    return (*others, min([*alike, place], key=lambda each: each.number))[-_MOST_LATE:]


@dataclass(frozen=True, slots=True)
class Beyond:
    """How many rows there are beyond a number, and the time of the oldest in microseconds."""

    rows: int = 0
    oldest: int | None = None


@dataclass(frozen=True, slots=True)
class Before:
    """What is known of the journal that was damaged or taken away, and which this one goes on from."""

    last: int = 0
    """The greatest number that it gave; up to there, rows in this file are from there."""
    whole: bool = True
    """Whether all that could be read of it is in this file by now."""


def name_of(meta: Mapping[str, str]) -> str:
    """Which journal it is, as records elsewhere name it: a file that came from another machine is no more that one's.

    Raises KeyError for a file that is not ready.
    """
    return meta.get("copy", meta["journal"])[:8]


class Tail:
    """Reads the journal beside its writer, for one thread; every method raises StoreError when it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._identity = ""

    def identity(self) -> str:
        """Which journal it is, from now on: a file that was begun anew is another one, and this is where it is found.

        The other questions are about this one, and raise where another file has taken its place meanwhile.
        """
        with self._opened(anew=True):
            return self._identity

    def rows(self, kind: str, beyond: int, limit: int, up_to: int = _GREATEST) -> list[Row]:
        """The next rows after a number, in order."""
        with self._opened() as connection:
            sql = f"{_SELECT[kind]} WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
            return connection.execute(sql, (beyond, up_to, limit)).fetchall()

    def keys(self, messages: Sequence[Row]) -> dict[int, set[bytes]]:
        """Of which prefixes messages that follow each other tell: number -> keys (`updates.key_of`)."""
        low, high = messages[0][0] << PLACES, (messages[-1][0] + 1) << PLACES
        found: dict[int, set[bytes]] = {}
        with self._opened() as connection:
            sql = f"SELECT id >> {PLACES}, prefix FROM change WHERE id >= ? AND id < ?"  # noqa: S608 - a number  # nosec B608
            for number, key in connection.execute(sql, (low, high)):
                found.setdefault(number, set()).add(key)
        return found

    def before(self, kind: str) -> Before:
        """What there was before this file was begun."""
        with self._opened() as connection:
            keys = "('begun', 'rescue', 'rescued')"
            found = dict(connection.execute(f"SELECT key, value FROM meta WHERE key IN {keys}"))  # noqa: S608 - our own  # nosec B608
        event, message = (*found.get("begun", "").split(), "0", "0")[:2]
        return Before(int(event if kind == EVENT else message), bool(found.get("rescued")) and not found.get("rescue"))

    def beyond(self, kind: str, number: int) -> Beyond:
        """How much there is beyond a number."""
        with self._opened() as connection:
            oldest = connection.execute(f"SELECT ts FROM {kind} WHERE id > ? ORDER BY id LIMIT 1", (number,)).fetchone()  # noqa: S608 - our own names  # nosec B608
            if oldest is None:
                return Beyond()
            part = number >> database.PART
            near = f"SELECT count(*) FROM {kind} WHERE id > ? AND id < ?"  # noqa: S608 - our own names  # nosec B608
            rows = connection.execute(near, (number, (part + 1) << database.PART)).fetchone()[0]
            # The rest by whole parts: numbers may have been left out, and to count millions takes too long.
            far = "SELECT coalesce(sum(rows), 0) FROM span WHERE kind = ? AND part > ?"
            return Beyond(rows + connection.execute(far, (kind, part)).fetchone()[0], oldest[0])

    def close(self) -> None:
        """Gives the file back until somebody asks for the identity again."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    @contextmanager
    def _opened(self, *, anew: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            inode = self._path.stat().st_ino
            if anew and (self._connection is None or inode != self._inode):
                self.close()
                self._connection = self._open(inode)
            if self._connection is None or inode != self._inode:
                raise OSError("another file has its name")  # noqa: TRY301 - as with any other fault of the file
            yield self._connection
        except (sqlite3.Error, OSError, KeyError) as error:
            self.close()
            raise StoreError(f"{self._path}: cannot be read: {error}") from error

    def _open(self, inode: int) -> sqlite3.Connection:
        connection = database.connect(self._path, "ro", _BUSY)
        try:
            keys = "('copy', 'journal', 'last_event')"
            meta = dict(connection.execute(f"SELECT key, value FROM meta WHERE key IN {keys}"))  # noqa: S608 - our own  # nosec B608
            if "last_event" not in meta:
                raise OSError("it is being begun")  # noqa: TRY301 - as with any other file that is not ready
            self._identity = name_of(meta)
        except BaseException:
            connection.close()
            raise
        self._inode = inode
        return connection
