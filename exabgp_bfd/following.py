"""Following the running program's events: its stream, and coming back to it, without a hole, however often it ends."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from exabgp_bfd.core.model import BfdError
from exabgp_bfd.remote import AbsentError, DeniedError, NotNowError, RefusedError, Remote

SOONEST: Final = 1.0
LATEST: Final = 5.0
"""Seconds between two tries to come back: after the first one, and at the most."""

LONGEST_WAIT: Final = 10.0
"""Seconds, also where it asks for more patience."""

_LONGEST_BLOCK: Final = 4 * 1024 * 1024
_GREATEST: Final = 2**63


@dataclass(frozen=True, slots=True)
class Block:
    """One block of an event stream; without data it only says how far was looked, or that the connection lives."""

    data: str | None = None
    event: str = "message"
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Happened:
    """An event, as `GET /events` has it."""

    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Note:
    """Something about the following itself, for whoever watches; empty: it lives, and nothing happened."""

    text: str = ""


class Blocks:
    """Takes a stream apart (HTML, section 9.2), in whatever portions it comes."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []
        self._size = 0

    def feed(self, portion: bytes) -> Iterator[Block]:
        """The blocks that are whole by now; raises BfdError for one that is longer than any event can be."""
        *lines, self._rest = (self._rest + portion).split(b"\n")
        for line in lines:
            if line := line.removesuffix(b"\r"):
                self._lines.append(line)
                self._size += len(line)
            elif self._lines:
                yield _block(self._lines)
                self._lines, self._size = [], 0
        if self._size + len(self._rest) > _LONGEST_BLOCK:
            raise BfdError("what follows the events is no stream of ours: a block of it never ends")


def _block(lines: list[bytes]) -> Block:
    data: list[str] = []
    event, place = "message", None
    for line in lines:
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                data.append(value)
            case "event":
                event = value
            case "id" if value.isascii() and value.isdecimal() and len(value) < 20 and int(value) < _GREATEST:
                place = int(value)
    return Block("\n".join(data) if data else None, event, place)


def follow(
    reach: Callable[[], Remote],
    wanted: Mapping[str, str],
    after: int | None,
    sleep: Callable[[float], None] = time.sleep,
    *,
    answered: bool = False,
) -> Iterator[Happened | Note]:
    """Events as they happen, from behind the event `after` (None: from now on); never ends by itself.

    Where the connection ends, it is made anew and goes on behind the last event, also with a program that was started
    anew. Raises BfdError where it cannot be made at first (but for a program that has `answered` just before and is
    gone now), and where the program refuses what is asked.
    """
    follower = _Follower(reach, wanted, after)
    tries = 0
    while True:
        wait = 0.0
        try:
            yield from follower.once()
        except (RefusedError, DeniedError):
            raise
        except BfdError as error:
            follower.begun = follower.begun or (answered and isinstance(error, AbsentError))
            if not follower.begun:
                raise
            if not follower.lost:
                follower.lost = True
                where = "" if follower.place is None else f", to go on behind event {follower.place}"
                yield Note(f"{error}; asking again until it answers{where}")
            if isinstance(error, NotNowError):
                wait = min(error.retry_after, LONGEST_WAIT)
        tries = 0 if follower.heard else tries + 1
        yield Note()
        sleep(max(wait, min(SOONEST * 2**tries, LATEST)))


class _Follower:
    """Where we are in the stream."""

    def __init__(self, reach: Callable[[], Remote], wanted: Mapping[str, str], after: int | None) -> None:
        self._reach = reach
        self._wanted = wanted
        self.place = after
        self.begun = False
        """Whether a stream of it was ever opened."""
        self.heard = False
        """Whether the last connection brought anything."""
        self.lost = False
        """Whether it was said that the program does not answer."""

    def once(self) -> Iterator[Happened | Note]:
        """One connection, to its end."""
        self.heard = False
        blocks = Blocks()
        with contextlib.closing(self._reach().stream(self._wanted, self.place)) as portions:
            for portion in portions:
                for block in blocks.feed(portion):
                    yield from self._take(block)

    def _take(self, block: Block) -> Iterator[Happened | Note]:
        self.begun = self.heard = True
        if self.lost:
            self.lost = False
            yield Note("it answers again")
        if block.data is None:
            yield Note()
        elif block.event == "gap":
            yield Note(_gap(block.data))
        else:
            yield Happened(_document(block.data))
        if block.id is not None:
            self.place = block.id


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise BfdError("the stream brings what is no event: is it another program's?")
    return document


def _gap(text: str) -> str:
    gap = _document(text)
    return f"events may be missing behind event {gap.get('after')}: {gap.get('why')}"
