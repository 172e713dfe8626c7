"""How many requests may be under way at once, for all devices together, and how often something may be asked. No I/O.

Whoever is silent waits in a lane of its own, so that a thousand dead devices take nothing from those that live. A
request that is under way for long while others wait is counted among the silent from then on, before its device is
known to be one: the living never wait for a timeout.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

MAX_IN_FLIGHT = 512
"""Requests under way at once to devices that answer."""
PATIENCE = 0.1
"""Seconds after which a request no longer takes the place of another one that waits."""
_SILENT_SHARE = 2  # a silent device gets one place where the living have so many


class Ticket:
    """A request's place in a lane."""

    __slots__ = ("lane", "since")

    def __init__(self, lane: Lane, since: float) -> None:
        self.lane = lane
        self.since = since


class Lane:
    """Places of one kind, and who waits for one."""

    __slots__ = ("busy", "limit", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.busy: dict[Ticket, None] = {}  # the oldest first
        self.waiting: deque[asyncio.Future[Ticket]] = deque()


@dataclass(slots=True)
class LaneCounters:
    """Who had to wait; both only grow."""

    waits: int = 0
    """Requests to devices that answer."""
    silent_waits: int = 0
    """Requests to silent devices."""


class Lanes:
    """The bound on what is in flight: `enter` and, when that gives None, `wait`; whoever entered must `leave`."""

    def __init__(self, max_in_flight: int = MAX_IN_FLIGHT, max_silent: int | None = None) -> None:
        """`max_silent` is half of `max_in_flight` unless told; ValueError below 1."""
        silent = max(1, max_in_flight // _SILENT_SHARE) if max_silent is None else max_silent
        if max_in_flight < 1 or silent < 1:
            raise ValueError("at least one request must be allowed in flight")
        self.counters = LaneCounters()
        self.most = 0
        """The most requests that were under way at once to devices that answer."""
        self._living = Lane(max_in_flight)
        self._silent = Lane(silent)
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> tuple[int, int]:
        """Requests under way: to devices that answer, and to silent ones."""
        return len(self._living.busy), len(self._silent.busy)

    @property
    def waiting(self) -> tuple[int, int]:
        """Requests that wait for a place: to devices that answer, and to silent ones."""
        return len(self._living.waiting), len(self._silent.waiting)

    def enter(self, now: float, *, silent: bool) -> Ticket | None:
        """A place at once, or None when there is none free."""
        lane = self._silent if silent else self._living
        if lane.waiting or len(lane.busy) >= lane.limit:
            return None
        return self._seat(lane, now)

    async def wait(self, *, silent: bool) -> Ticket:
        """A place in one's turn; none waits longer for the living than PATIENCE for each full lane before it."""
        lane = self._silent if silent else self._living
        if silent:
            self.counters.silent_waits += 1
        else:
            self.counters.waits += 1
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Ticket] = loop.create_future()
        lane.waiting.append(turn)
        if not silent and self._sweep is None:
            self._sweep_at(loop)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(turn.result())  # given and cancelled in the same breath
            elif turn in lane.waiting:  # else it was passed over already
                lane.waiting.remove(turn)
            raise

    def leave(self, ticket: Ticket) -> None:
        """Gives a place up to whoever waits longest."""
        lane = ticket.lane
        del lane.busy[ticket]
        if lane.waiting:
            self._admit(lane)

    def _seat(self, lane: Lane, now: float) -> Ticket:
        ticket = Ticket(lane, now)
        lane.busy[ticket] = None
        if lane is self._living and len(lane.busy) > self.most:
            self.most = len(lane.busy)
        return ticket

    def _admit(self, lane: Lane) -> None:
        while lane.waiting and len(lane.busy) < lane.limit:
            turn = lane.waiting.popleft()
            if not turn.done():
                turn.set_result(self._seat(lane, turn.get_loop().time()))

    def _sweep_at(self, loop: asyncio.AbstractEventLoop) -> None:
        oldest = next(iter(self._living.busy), None)
        since = oldest.since if oldest is not None else loop.time()
        self._sweep = loop.call_at(since + PATIENCE, self._sweep_out, loop)

    def _sweep_out(self, loop: asyncio.AbstractEventLoop) -> None:
        """Counts the slow among the silent, even where those have no place left: it only keeps new ones waiting."""
        self._sweep = None
        if self._living.waiting:
            now = loop.time()
            for ticket in list(self._living.busy):
                if ticket.since + PATIENCE > now:
                    break
                del self._living.busy[ticket]
                ticket.lane = self._silent
                self._silent.busy[ticket] = None
            self._admit(self._living)
        if self._living.waiting:
            self._sweep_at(loop)


class Rate:
    """So many at once, and from then on one every so many seconds."""

    __slots__ = ("_burst", "_every", "_full_at")

    def __init__(self, burst: int, every: float) -> None:
        self._burst = (burst - 1) * every
        self._every = every
        self._full_at = 0.0  # when nothing of it is used up any more

    def take(self, now: float) -> float:
        """Takes one and gives how many seconds it has to wait."""
        begins = max(now, self._full_at - self._burst)
        self._full_at = max(now, self._full_at) + self._every
        return begins - now
