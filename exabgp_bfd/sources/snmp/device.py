"""One device: its rounds, its discoveries and its looks, each a task of its own on one client.

A device is first discovered: its state column is walked, each row's identity is read, and rows become sessions. From
then on a round of GETs every `interval` reads each known row's state, diagnostic and up-count together with sysUpTime,
so many values to a PDU. Discovery is repeated beside the rounds every `rediscover` seconds, and at once when a row is
gone or sysUpTime fell (rows may then be numbered anew); the round after it is delivered as `complete`. While a device's
sessions are changing its rounds may come faster (`pace`); then they return to the interval's own clock.

An unanswered device is `Silence`, never a state. A row that is gone is MISSING only once a walk has not found its
session under another index either. That is told with the walk; a second walk follows soon, and from then on each round
tells it, until a walk finds the session again or it was told often enough. A row whose state is no state of its MIB is
skipped and counted. Of two samples that cross on the network the one asked for later stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from exabgp_bfd.core.model import ConfigError, Observation, Poll, Silence, Source, SourceError, State
from exabgp_bfd.sources.snmp import mibs
from exabgp_bfd.sources.snmp.client import Client, connect
from exabgp_bfd.sources.snmp.column import MAX_ROWS
from exabgp_bfd.sources.snmp.mibs import Profile, Value
from exabgp_bfd.sources.snmp.rows import Cells, Row, identify, observe, text
from exabgp_bfd.sources.snmp.target import Target

logger = logging.getLogger(__name__)

REDISCOVER = 30.0
"""Seconds between two walks of a device that answers."""
LATE = 0.1
"""Seconds after its turn from which a poll counts as late."""

GONE_ROUNDS = 100
"""Rounds in which a session that is gone is told as MISSING, unless it is found again or forgotten before."""

_LONGEST_PAUSE = 10.0  # seconds between two polls of a device that stays silent
_CANCEL_AGAIN = 0.05  # seconds
_SURE_WALKS = 2  # walks that must have missed a session before rounds without a walk tell that it is gone
_SAME_TURN = 1e-6  # of an interval: what lies so near to a turn of the clock is that turn, but for rounding
_REBOOT_TICKS = 100  # hundredths of a second that sysUpTime must fall by: two answers may cross on the network

Deliver = Callable[[Poll | Silence], None]
Work = Callable[..., Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Counters:
    """What the poller did, for the metrics; all of them only grow."""

    answered: int = 0
    """Rounds that a device answered."""
    silent: int = 0
    """Rounds that a device did not answer, or not usably."""
    late: int = 0
    """Rounds that began more than `LATE` after their turn."""
    skipped: int = 0
    """Turns that passed while the round before was still under way."""
    quick: int = 0
    """Rounds that came faster than the interval, because the device's sessions were changing."""
    looks: int = 0
    """Requests out of turn, after those that could share one were joined."""
    walks: int = 0
    """Discoveries."""
    garbage_rows: int = 0
    """Rows whose state could not be read."""


class _Known:
    """A row that is polled, and what was last heard of it."""

    __slots__ = ("asked", "last", "row")

    def __init__(self, row: Row) -> None:
        self.row = row
        self.asked = -math.inf
        self.last: Observation | None = None


class _Gone:
    """A session that a walk did not find any more, and how often that was seen and told."""

    __slots__ = ("rounds", "told", "walks")

    def __init__(self, row: Row) -> None:
        self.told = Observation(row.session, State.MISSING, details={"index": row.index} if row.index else {})
        self.walks = 0
        self.rounds = 0


class _RestartedError(SourceError):
    """The device restarted: what its rows are must be found out again before their states mean anything."""


class Device:
    """One device on one client."""

    def __init__(self, target: Target, deliver: Deliver, counters: Counters, rediscover: float) -> None:
        if target.fast_interval is not None and target.fast_interval <= 0:
            raise ConfigError(f"device {target.name}", f"fast_interval {target.fast_interval:g} is not above 0")
        self.target = target
        self.profile: Profile = mibs.profile_for(target.profile, target.oid, target.values)
        self.client: Client = connect(target)
        self.status = "not asked yet"
        self._deliver = deliver
        self._counters = counters
        self._rediscover = rediscover
        self._table: tuple[Row, ...] = ()
        self._known: dict[str, _Known] = {}  # by the session's id
        self._gone: dict[str, _Gone] = {}  # by the session's id: those that a walk did not find any more
        self._rediscover_at: float | None = None  # None: never discovered yet
        self._unannounced = False  # a walk has ended and no complete poll has told of it
        self._up_time: tuple[float, int] | None = None
        self._failures = 0
        self.quick = False
        self._gap = min(target.interval, target.fast_interval or target.interval)  # seconds between two quick turns
        self._due = self._turned = self._clock = 0.0  # the next turn, the last one, and any one by the interval's clock
        self._moved = asyncio.Event()  # the next turn may be another now
        self._walking = asyncio.Lock()
        self._wanted: set[str] = set()
        self._whole = False
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    def start(self, after: float) -> None:
        """Begins the rounds, the first one `after` so many seconds."""
        self._stopping = False
        self._task("rounds", self._rounds, after)

    async def stop(self) -> None:
        """Ends everything under way."""
        self._stopping = True
        while tasks := [task for task in self._tasks.values() if not task.done()]:
            for task in tasks:
                task.cancel()
            # Not for once: up to Python 3.11 a `wait_for`, as in gufo_snmp, may swallow a cancellation.
            await asyncio.wait(tasks, timeout=_CANCEL_AGAIN)
        self._tasks.clear()
        await self.client.close()

    def pace(self, *, quick: bool) -> None:
        """Asks faster, or by the interval's clock again; the turn that is waited for moves."""
        if quick is self.quick:
            return
        self.quick = quick
        running = self._tasks.get("rounds")
        # While a round is under way `_due` is its own turn, and the next one is reckoned at its end.
        if running is None or running.done() or self._failures or self._due == self._turned:
            return
        now = asyncio.get_running_loop().time()
        if self._due <= now:
            return
        self._due = min(self._due, max(now, self._turned + self._gap)) if quick else self._following(now)
        self._moved.set()

    def forget(self, session: str) -> None:
        """Tells no longer that a session is gone."""
        self._gone.pop(session, None)

    def look(self, session: str | None) -> None:
        """Asks for one session, or for all, at once."""
        if session is not None and session in self._known:
            self._wanted.add(session)
            self._task("look", self._look_at_rows)
        else:
            self._whole = True
            self._task("whole look", self._look_at_all)

    def _task(self, name: str, work: Work, *arguments: object) -> None:
        """Starts one of the device's tasks unless it is under way; it will see what is wanted by then."""
        running = self._tasks.get(name)
        if not self._stopping and (running is None or running.done()):
            self._tasks[name] = asyncio.create_task(work(*arguments), name=f"{self.target.name} {name}")

    # --- when ---------------------------------------------------------------------------------------------------

    async def _rounds(self, after: float) -> None:
        """One round at each turn of a fixed clock: no drift, and turns missed by a slow device are not made up for."""
        loop = asyncio.get_running_loop()
        interval = self.target.interval
        self._due = self._clock = loop.time() + after
        self._turned = self._due - interval
        while True:
            await self._turn_comes()
            if loop.time() - self._due > LATE:
                self._counters.late += 1
            self._counters.quick += self._due - self._turned < interval * (1 - _SAME_TURN)
            self._turned = self._due
            self._took(answered=await self._guarded(self._turn, Source.SNMP_POLL))
            now = loop.time()
            if self._failures > 1:
                self._due = self._clock = max(self._due, now) + self._pause()
                continue
            step = self._gap if self._hurried else interval
            self._counters.skipped += max(0, math.ceil((now - self._turned) / step) - 1)
            self._due = self._following(now)

    async def _turn_comes(self) -> None:
        while self._due > asyncio.get_running_loop().time():
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._due):
                    await self._moved.wait()

    @property
    def _hurried(self) -> bool:
        """Whether its rounds come faster: a device that does not answer is not asked more often for it."""
        return self.quick and not self._failures

    def _following(self, now: float) -> float:
        """The turn after the last one: so many steps after it, or the next one of the interval's own clock."""
        if self._hurried:
            return self._turned + max(1, math.ceil((now - self._turned) / self._gap)) * self._gap
        interval, earliest = self.target.interval, max(self._turned + self._gap, now)
        return self._clock + math.ceil((earliest - self._clock) / interval - _SAME_TURN) * interval

    def _took(self, *, answered: bool) -> None:
        """Counts a turn; after a silence anything may have changed, so what there is is found out anew soon."""
        if not answered:
            self._failures += 1
            self._counters.silent += 1
            return
        if self._failures:
            self._failures = 0
            self._rediscover_at = asyncio.get_running_loop().time()
        self._counters.answered += 1

    def _pause(self) -> float:
        """Seconds until a silent device's next turn: longer and longer, but no longer than it takes to be given up."""
        interval = self.target.interval
        longest = max(interval, min(4 * interval, _LONGEST_PAUSE))
        spread: float = random.uniform(0.9, 1.1)  # noqa: S311 - spreads load, guards nothing
        return min(interval * 2.0 ** min(self._failures - 1, 2), longest) * spread

    async def _turn(self, source: Source) -> None:
        now = asyncio.get_running_loop().time()
        if self._rediscover_at is None or not self._known:
            # A device without sessions costs one walk of an empty column a round, and one that comes back is seen then.
            await self._discover()
        elif now >= self._rediscover_at:
            # Beside the rounds, for it takes many PDUs; the round after it tells of it. A failure waits its time too.
            self._rediscover_at = now + self._rediscover
            self._task("discovery", self._rediscovery)
        await self._round_or_anew(source, complete=self._unannounced)

    async def _rediscovery(self) -> None:
        await self._guarded(self._discover, Source.SNMP_POLL)

    async def _look_at_rows(self) -> None:
        while self._wanted:
            wanted, self._wanted = self._wanted, set()
            self._counters.looks += 1
            await self._guarded(self._look, Source.SNMP_LOOK, wanted)

    async def _look_at_all(self) -> None:
        while self._whole:
            self._whole = False
            self._counters.looks += 1
            await self._guarded(self._anew, Source.SNMP_LOOK)

    async def _look(self, source: Source, wanted: set[str]) -> None:
        known = [self._known[session] for session in wanted if session in self._known]
        gone = len(known) < len(wanted)
        if known:
            try:
                gone = await self._round(source, known) or gone
            except _RestartedError:
                gone = True
        if gone:
            await self._anew(source)

    async def _anew(self, source: Source) -> None:
        """Finds out what there is, and tells all of it."""
        await self._discover()
        await self._round_or_anew(source, complete=True)

    async def _guarded(self, work: Work, source: Source, *arguments: object) -> bool:
        """Does one piece of work; every way it can fail is a silence of this device alone, and False."""
        try:
            await work(source, *arguments)
        except SourceError as error:
            self._silent(str(error))
        except Exception as error:
            logger.exception("%s: polling failed", self.target.name)
            self._silent(f"polling failed: {type(error).__name__}")
        else:
            return True
        return False

    def _silent(self, reason: str) -> None:
        self._deliver(Silence(self.target.name, reason))
        if self.status != reason:
            logger.warning("%s: %s", self.target.name, reason)
        self.status = reason

    # --- what there is ------------------------------------------------------------------------------------------

    async def _discover(self, _: Source = Source.SNMP_POLL) -> None:
        """Reads which sessions the device has; the next full round tells of them."""
        async with self._walking:
            self._counters.walks += 1
            indexes = await self._indexes()
            table = await self._identities(indexes)
            interfaces = await self._interfaces(table.values())
            self._install(identify(self.target.name, self.profile, table, interfaces, self._table))

    async def _indexes(self) -> list[str]:
        column = self.profile.column("state") or ""
        if self.profile.name == "oid" and await self.client.get([column]):
            return [""]  # it is an instance, not a column
        return [oid[len(column) + 1 :] for oid, _ in await self.client.walk(column)]

    async def _identities(self, indexes: Sequence[str]) -> dict[str, Cells]:
        """Each row's cells by name, as far as it has them; columns that a device lacks are normal."""
        places = {
            place: (index, name)
            for index in indexes
            for name in (*mibs.IDENTITY, "diagnostic", "up_count")
            if (place := self.profile.instance(name, index)) is not None
        }
        table: dict[str, dict[str, Value]] = {index: {} for index in indexes}
        for place, value in (await self.client.get(list(places)) if places else {}).items():
            index, name = places[place]
            table[index][name] = value
        return dict(table)

    async def _interfaces(self, table: Iterable[Cells]) -> dict[int, str]:
        """Names by ifIndex: ifName, or ifDescr where there is none."""
        names: dict[int, str] = {}
        wanted = {index for cells in table if isinstance(index := cells.get("interface"), int) and index > 0}
        for column in (mibs.IF_NAME, mibs.IF_DESCR):
            places = {f"{column}.{index}": index for index in sorted(wanted - names.keys())}
            for place, value in (await self.client.get(list(places)) if places else {}).items():
                name = text(value)
                if name is not None:
                    names[places[place]] = name
        return names

    def _install(self, table: tuple[Row, ...]) -> None:
        before, self._known = self._known, {}
        for row in table:
            known = before.get(row.session.id)
            if known is None or known.row.index != row.index:
                known = _Known(row)
            if known.last is not None and known.row.session != row.session:
                known.last = replace(known.last, session=row.session)
            known.row = row
            self._known[row.session.id] = known
        for session, known in before.items():
            self._gone.setdefault(session, _Gone(known.row))
        for session in self._known:
            self._gone.pop(session, None)
        while len(self._gone) > MAX_ROWS:
            del self._gone[next(iter(self._gone))]
        for gone in self._gone.values():
            gone.walks += 1
        self._table = table
        doubtful = any(gone.walks < _SURE_WALKS for gone in self._gone.values())
        self._rediscover_at = asyncio.get_running_loop().time() + (0.0 if doubtful else self._rediscover)
        self._unannounced = True

    # --- how it is doing ----------------------------------------------------------------------------------------

    async def _round_or_anew(self, source: Source, *, complete: bool) -> None:
        """A round over all that is known; if that no longer holds, it is found out and told once more."""
        try:
            gone = await self._round(source, None, complete=complete)
        except _RestartedError:
            gone = True
        if gone:
            await self._discover()
            await self._round(source, None, complete=True, last=True)

    async def _round(
        self, source: Source, some: Sequence[_Known] | None, *, complete: bool = False, last: bool = False
    ) -> bool:
        """Reads these rows, or (None) all of them, so many to a PDU, and delivers what they say; True if a row is gone.

        What changed since the last round is delivered with its PDU, before the next one is asked for, and counts as
        `told`. When a row is gone, what has not changed is left to the round that follows, unless this is the `last`.
        """
        table = self._table
        known = list(self._known.values()) if some is None else some
        told: set[str] = set()
        heard: list[Observation] = []
        garbage: list[str] = []
        gone = False
        for part in self._pieces(known):
            news, rest, lost = await self._read(part, garbage)
            gone = gone or lost
            if news and (gone or len(known) > len(part)):
                self._deliver(Poll(self.target.name, tuple(news), source=source))
                told.update(seen.session.id for seen in news)
            else:
                heard += news
            heard += rest
        if table is not self._table:  # discovered anew meanwhile: this may not be all there is
            complete = False
            heard = [seen for seen in heard if seen.session.id in self._known]
        if complete and not gone:
            self._announce(source, heard, frozenset(told), whole=not garbage)
        elif last or not gone:
            # Not where nothing else was heard: that a whole table is empty is told by walks alone.
            missing = self._missing() if some is None and (heard or told) else []
            self._deliver(Poll(self.target.name, (*heard, *missing), source=source))
        self._answered(garbage)
        return gone

    async def _read(
        self, part: Sequence[_Known], garbage: list[str]
    ) -> tuple[list[Observation], list[Observation], bool]:
        """One PDU: what has changed, what has not, and whether a row is gone; what cannot be read goes to `garbage`."""
        asked = asyncio.get_running_loop().time()
        places = [place for one in part for place in one.row.cells.values()]
        values = await self.client.get([mibs.SYS_UP_TIME, *places])
        self._note_clock(values, asked)
        news: list[Observation] = []
        rest: list[Observation] = []
        gone = False
        for one in part:
            if self._known.get(one.row.session.id) is not one:
                continue  # discovered anew meanwhile: this row is another session's now, or nobody's
            if one.row.cells["state"] not in values:
                gone = True
                continue
            before = one.last
            try:
                seen = self._sample(one, values, asked)
            except SourceError as error:
                garbage.append(str(error))
                continue
            same = before is None or (before.state, before.ups) == (seen.state, seen.ups)
            (rest if same else news).append(seen)
        return news, rest, gone

    def _pieces(self, known: Sequence[_Known]) -> list[Sequence[_Known]]:
        """Rows by PDU, with room for sysUpTime; one empty piece when there are none, for silence must be noticed."""
        cells = max((len(one.row.cells) for one in known), default=1)
        size = max(1, (self.target.max_varbinds - 1) // cells)
        return [known[start : start + size] for start in range(0, len(known), size)] or [()]

    def _sample(self, one: _Known, values: Mapping[str, Value], asked: float) -> Observation:
        """What a row says, or what was heard of it meanwhile if that was asked for later."""
        seen = observe(self.profile, one.row, values)
        if one.last is not None and asked < one.asked:
            return one.last
        one.asked, one.last = asked, seen
        return seen

    def _announce(
        self, source: Source, observations: Sequence[Observation], told: frozenset[str], *, whole: bool
    ) -> None:
        """Delivers everything there is, and what there is no longer; not `complete` where a row could not be read."""
        missing = self._missing(sure=not whole)
        self._unannounced = not whole
        self._deliver(Poll(self.target.name, (*observations, *missing), complete=whole, source=source, told=told))

    def _missing(self, *, sure: bool = True) -> list[Observation]:
        """The sessions that are gone; if `sure`, only those that more than one walk has missed.

        For that is what a second telling stands for, and between walks nobody looks whether a session has come back.
        """
        for session, gone in list(self._gone.items()):
            gone.rounds += 1
            if gone.rounds > GONE_ROUNDS:
                del self._gone[session]
        return [gone.told for gone in self._gone.values() if gone.walks >= _SURE_WALKS or not sure]

    def _note_clock(self, values: Mapping[str, Value], asked: float) -> None:
        """Notes sysUpTime (absent in some views); a fall means a restart, after which no index can be trusted."""
        ticks = values.get(mibs.SYS_UP_TIME)
        if not isinstance(ticks, int) or (self._up_time is not None and asked < self._up_time[0]):
            return
        before, self._up_time = self._up_time, (asked, ticks)
        if before is not None and ticks + _REBOOT_TICKS < before[1]:
            raise _RestartedError(f"{self.target.at} restarted while it was read")

    def _answered(self, garbage: Sequence[str]) -> None:
        self._counters.garbage_rows += len(garbage)
        count = len(self._known)
        if count:
            status = f"{count} {'session' if count == 1 else 'sessions'} in {self.profile.title}"
        else:
            status = f"it answers, but has no session in {self.profile.title}"
        if garbage:
            status += f"; {len(garbage)} not readable: {garbage[0]}"
        if status != self.status:
            logger.info("%s: %s", self.target.name, status)
        self.status = status
