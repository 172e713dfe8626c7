"""Which signed reports were taken already: kept over restarts, so that none is ever taken twice.

Each is one value among the journal's own (`Journal.together`), written in the transaction of the event that the report
became: after a crash both are known or neither. There is room for `SLOTS` of them; the room of the oldest is used
again, but never while the oldest could still be sent with a time that would be believed.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from exabgp_bfd.core.mark import Mark, ReplayedError, StaleError, UnderWayError

logger = logging.getLogger(__name__)

SLOTS: Final = 16_384
"""How many reports are remembered."""

TOLERANCE: Final = 300
"""Seconds that a report's time and ours may differ (Standard Webhooks)."""

_MOST_PLACES: Final = 4_096
_UNDER_WAY: Final = 1_000
"""How many may be claimed and not yet settled: more threads than that nobody has."""


@dataclass(frozen=True, slots=True)
class _Kept:
    mark: Mark
    events: tuple[int, ...]
    slot: int


class Seen:
    """The reports that were taken. May be asked on any thread; nothing here waits."""

    def __init__(self, read: Callable[[str], str | None], slots: int = SLOTS) -> None:
        """`read` gives what an earlier run kept under a key (`Journal.meta`)."""
        self._slots = slots
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], _Kept] = {}
        """In the order in which they were taken."""
        self._newest: dict[tuple[str, str], int] = {}
        """Sender and place -> when what was taken last about it was signed; see `_places`."""
        self._most = _MOST_PLACES
        """Beyond how many of them those are forgotten that decide nothing any more."""
        self._under_way: set[tuple[str, str]] = set()
        found = []
        for slot in range(slots):
            text = read(_key(slot))
            if text is not None and (kept := _parsed(text, slot)) is not None:
                found.append(kept)
        for kept in sorted(found, key=lambda kept: kept.events):
            self._keep(kept)
        used = {kept.slot for kept in found}
        self._free = [slot for slot in range(slots - 1, -1, -1) if slot not in used]

    def claim(self, mark: Mark, now: float) -> tuple[int, ...] | None:
        """Takes a report for the caller, who settles or forgets it; or gives the events it became before.

        `now` is in seconds since the epoch. Raises ReplayedError, StaleError, UnderWayError.
        """
        name = (mark.sender, mark.id)
        with self._lock:
            kept = next((self._kept[each, mark.id] for each in mark.senders if (each, mark.id) in self._kept), None)
            if kept is not None:
                return _repeated(kept, mark, now)
            if not mark.fresh:
                raise StaleError(f"it was signed at {mark.time}, and it is {now:.0f}: more than {TOLERANCE} s apart")
            if name in self._under_way:
                raise UnderWayError("the same report is being taken just now")
            self._check_order(mark, now)
            if len(self._under_way) >= _UNDER_WAY or not self._room(now):
                raise UnderWayError("too many reports were sent in the last minutes to tell another from a replay")
            self._under_way.add(name)
            return None

    def settle(self, mark: Mark, events: Sequence[int]) -> dict[str, str]:
        """Remembers a report that was claimed; what is to be kept of it beside its events."""
        with self._lock:
            self._under_way.discard((mark.sender, mark.id))
            if not self._free:
                oldest = next(iter(self._kept))
                self._free.append(self._kept.pop(oldest).slot)
            kept = _Kept(mark, tuple(events), self._free.pop())
            self._keep(kept)
        return {_key(kept.slot): _text(kept)}

    def forget(self, mark: Mark) -> None:
        """Gives back what was claimed, or settled but not kept: the report may be sent again."""
        with self._lock:
            self._under_way.discard((mark.sender, mark.id))
            kept = self._kept.pop((mark.sender, mark.id), None)
            if kept is not None:
                self._free.append(kept.slot)

    def release(self, mark: Mark) -> None:
        """Gives back what was claimed unless it was settled meanwhile."""
        with self._lock:
            self._under_way.discard((mark.sender, mark.id))

    def _keep(self, kept: _Kept) -> None:
        mark = kept.mark
        self._kept[mark.sender, mark.id] = kept
        for about in mark.order:
            for place in _touched(about):
                named = (mark.sender, place)
                self._newest[named] = max(mark.time, self._newest.get(named, mark.time))

    def _check_order(self, mark: Mark, now: float) -> None:
        """Raises ReplayedError where something later was taken about anything that it is about."""
        if len(self._newest) > self._most:  # what is older than that would not be believed anyway
            self._newest = {named: time for named, time in self._newest.items() if time + TOLERANCE >= now}
            self._most = max(_MOST_PLACES, 2 * len(self._newest))
        for about in mark.order:
            for place in _decisive(about):
                if any(mark.time < self._newest.get((sender, place), mark.time) for sender in mark.senders):
                    what = about.removesuffix("/*")
                    raise ReplayedError(f"a report about {what} that was signed later was taken already")

    def _room(self, now: float) -> bool:
        """Whether another fits without one being forgotten that could still be sent again and believed."""
        if len(self._free) > len(self._under_way):
            return True
        if len(self._kept) + len(self._free) <= len(self._under_way):
            return False
        oldest = next(iter(self._kept.values()))
        return oldest.mark.time + TOLERANCE < now


def _touched(about: str) -> tuple[str, str]:
    """What a report about one session, or about all of a device, is remembered as: itself, and any of the device."""
    return about, f"{about.partition('/')[0]}/"


def _decisive(about: str) -> tuple[str, ...]:
    """What must not have been told later: of one session that and all together, of all together any."""
    device = about.partition("/")[0]
    return (f"{device}/",) if about == f"{device}/*" else (about, f"{device}/*")


def _repeated(kept: _Kept, mark: Mark, now: float) -> tuple[int, ...]:
    told = f"was taken already, as event {kept.events[0]}"
    if kept.mark.body != mark.body:
        raise ReplayedError(f"the report {told}, with another body: give each report an id of its own")
    # Where the signature tells no time, what counts is when it came first: an honest sender repeats itself soon.
    if not mark.fresh or (not mark.timed and now - kept.mark.time > TOLERANCE):
        raise ReplayedError(f"the report {told}, and the time to repeat it is over")
    return kept.events


def _key(slot: int) -> str:
    return f"webhook.{slot:05d}"


def _text(kept: _Kept) -> str:
    mark = kept.mark
    return json.dumps([mark.sender, mark.id, mark.body, mark.time, mark.order, kept.events])


def _parsed(text: str, slot: int) -> _Kept | None:
    try:
        sender, name, body, time, order, events = json.loads(text)
        if order is None or isinstance(order, str):  # an older version of ours knew the order of devices only
            order = [] if order is None else [f"{order}/*"]
        return _Kept(Mark(sender, name, body, int(time), order=tuple(order)), tuple(map(int, events)), slot)
    except (ValueError, TypeError) as error:
        logger.error("what the journal keeps of a webhook (%s) cannot be read, and is forgotten: %s", _key(slot), error)
        return None
