"""One device: its rounds, its discoveries and its looks, each a task of its own, over one client a view.

A device is first discovered: its state column is walked, each row's identity is read, and rows become sessions. From
then on a round of GETs every `interval` reads each known row's sampled cells together with sysUpTime, so many values to
a PDU. Discovery is repeated beside the rounds every `rediscover` seconds, and at once when a row is gone or the device
restarted (rows may then be numbered anew); the round after it is delivered as `complete`. While a device's sessions are
changing its rounds may come faster (`pace`); then they return to the interval's own clock.

Most devices have one view. Where there are several (VRFs), a session is asked for in the view that it was found in. A
view that fails is left out of the rounds and tried beside them, so it delays no other; until it answers again, nothing
is told of its sessions, and no poll is complete.

An unanswered device is `Silence`, never a state. A row that is gone is MISSING only once a walk has not found its
session under another index either. That is told with the walk; a second walk follows soon, and from then on each round
tells it, until a walk finds the session again or it was told often enough. A row whose state is no state of its MIB is
skipped and counted. Of two samples that cross on the network the one asked for later stands.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from exabgp_bfd.core.model import ConfigError, Observation, Poll, Silence, Source, SourceError, State
from exabgp_bfd.sources.snmp.client import Client
from exabgp_bfd.sources.snmp.column import MAX_ROWS
from exabgp_bfd.sources.snmp.lanes import Lanes, Rate
from exabgp_bfd.sources.snmp.mibs import Profile
from exabgp_bfd.sources.snmp.notifications import Hint
from exabgp_bfd.sources.snmp.rows import Row, identify, observe
from exabgp_bfd.sources.snmp.target import Target
from exabgp_bfd.sources.snmp.view import Found, Known, Piece, RestartedError, View

logger = logging.getLogger(__name__)

REDISCOVER = 30.0
"""Seconds between two walks of a device that answers."""
LATE = 0.1
"""Seconds after its turn from which a poll counts as late."""

GONE_ROUNDS = 100
"""Rounds in which a session that is gone is told as MISSING, unless it is found again or forgotten before."""
MAX_HINTED = 512
"""Sessions that one hint may mean; where it means more, the whole device is asked."""

_LONGEST_PAUSE = 10.0  # seconds between two polls of a device that stays silent
_CANCEL_AGAIN = 0.05  # seconds
_SURE_WALKS = 2  # walks that must have missed a session before rounds without a walk tell that it is gone
_SAME_TURN = 1e-6  # of an interval: what lies so near to a turn of the clock is that turn, but for rounding

_NOBODY: dict[str, int] = {}

Deliver = Callable[[Poll | Silence], None]
Work = Callable[..., Coroutine[Any, Any, None]]
T = TypeVar("T")


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
    """Discoveries, of one view each."""
    garbage_rows: int = 0
    """Rows whose state could not be read."""
    restarts: int = 0
    """Devices that were seen to have begun anew."""
    held_looks: int = 0
    """Looks that had to wait, for too many were asked for."""


class _Gone:
    """A session that a walk did not find any more, and how often that was seen and told."""

    __slots__ = ("rounds", "told", "view", "walks")

    def __init__(self, view: View, row: Row) -> None:
        self.view = view
        self.told = Observation(row.session, State.MISSING, details={"index": row.index} if row.index else {})
        self.walks = 0
        self.rounds = 0


@dataclass(slots=True)
class _Round:
    """What one round has heard so far."""

    generation: int
    """Of what was known when it began."""
    many: bool
    """Whether it takes several PDUs, so that news are not kept until its end."""
    last: bool
    source: Source
    seen: list[Observation] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    garbage: list[str] = field(default_factory=list)


class Device:
    """One device, on one client a view."""

    def __init__(
        self,
        target: Target,
        deliver: Deliver,
        counters: Counters,
        rediscover: float,
        lanes: Lanes,
        before: Device | None = None,
    ) -> None:
        """Asks nothing yet; ConfigError for settings that cannot be met.

        `before` is the device of this name as it was before its settings changed: names stay with their sessions.
        """
        if target.fast_interval is not None and target.fast_interval <= 0:
            raise ConfigError(f"device {target.name}", f"fast_interval {target.fast_interval:g} is not above 0")
        self.target = target
        names = [context.name for context in target.contexts] or [target.context]
        past = {view.name: view for view in before.views} if before is not None else {}
        self.views: tuple[View, ...] = tuple(
            View(target, context, lanes, past.get(name))
            for name, context in zip(names, target.contexts or (None,), strict=True)
        )
        self.status = "not asked yet"
        self._deliver = deliver
        self._counters = counters
        self._rediscover = rediscover
        self._known: dict[str, Known] = {}  # by the session's id
        self._gone: dict[str, _Gone] = {}  # by the session's id: those that a walk did not find any more
        self._places: dict[tuple[str, object], list[Known]] | None = None  # the same by index and names, when needed
        self._generation = 0  # how often what is known was renewed
        self._unannounced = False  # a walk has ended and no complete poll has told of it
        self._described = False  # whether the status is that of a usual answer, and still holds
        self._failures = 0
        self.quick = False
        self._gap = min(target.interval, target.fast_interval or target.interval)  # seconds between two quick turns
        self._due = self._turned = self._clock = 0.0  # the next turn, the last one, and any one by the interval's clock
        self._waiter: asyncio.Future[None] | None = None  # of who waits for the next turn
        self._walking = asyncio.Lock()
        self._wanted: set[str] = set()
        self._whole = False
        self._row_looks = Rate(burst=20, every=0.01)
        self._whole_looks = Rate(burst=3, every=1.0)
        self._hinted = Rate(burst=4 * MAX_HINTED, every=0.002)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    @property
    def client(self) -> Client:
        """Of its first view."""
        return self.views[0].client

    @client.setter
    def client(self, client: Client) -> None:
        self.views[0].client = client

    @property
    def profile(self) -> Profile | None:
        """The table that it has, in the first view where one was found."""
        return next((view.profile for view in self.views if view.profile is not None), None)

    @property
    def uptime(self) -> float | None:
        """Seconds since its agent began, as it said last; None where it never did."""
        ticks = next((view.up_time.ticks for view in self.views if view.up_time.ticks is not None), None)
        return None if ticks is None else ticks / 100

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
        for view in self.views:
            await view.client.close()

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
        _wake(self._waiter)

    def forget(self, session: str) -> None:
        """Tells no longer that a session is gone."""
        self._gone.pop(session, None)

    def look(self, session: str | None) -> None:
        """Asks for one session, or for all, at once; what is asked for too often waits a little, and is joined."""
        if session is not None and session in self._known:
            self._wanted.add(session)
            self._task("look", self._look_at_rows)
        else:
            self._whole = True
            self._task("whole look", self._look_at_all)

    def sessions_at(self, hint: Hint) -> tuple[str, ...]:
        """The sessions that a notification means, by their ids, of those that are known; none where it means too many.

        Anybody who knows a community may send them: what one costs must not grow with the number of sessions.
        """
        if self._places is None:
            self._places = {}
            for one in self._known.values():
                for place in (("index", one.row.index), *_names(one.row)):
                    self._places.setdefault(place, []).append(one)
        indexes = tuple(islice(hint.indexes(), MAX_HINTED + 1))
        if len(indexes) > MAX_HINTED:
            return ()
        there = [one for index in indexes for one in self._places.get(("index", index), ())]
        found = [one.id for one in there if _has_table(one.view, hint) and not one.view.stale]
        if not found and not _nameless(hint):
            named = (one for place in _said(hint) for one in self._places.get(place, ()))
            found = list(dict.fromkeys(one.id for one in named if _means(hint, one.row)))
        if len(found) > MAX_HINTED or (len(found) > 1 and self._too_many(len(found))):
            return ()
        return tuple(found)

    def _too_many(self, sessions: int) -> bool:
        """Whether hints at several sessions have come for so many that the whole device had better be asked."""
        now = time.monotonic()
        return any(self._hinted.take(now) > 0 for _ in range(sessions))

    def _task(self, name: str, work: Work, *arguments: object) -> bool:
        """Starts one of the device's tasks unless it is under way; it will see what is wanted by then."""
        running = self._tasks.get(name)
        if self._stopping or (running is not None and not running.done()):
            return False
        self._tasks[name] = asyncio.create_task(work(*arguments), name=f"{self.target.name} {name}")
        return True

    # --- when ---------------------------------------------------------------------------------------------------

    async def _rounds(self, after: float) -> None:
        """One round at each turn of a fixed clock: no drift, and turns missed by a slow device are not made up for."""
        loop = asyncio.get_running_loop()
        interval = self.target.interval
        self._due = self._clock = loop.time() + after
        self._turned = self._due - interval
        while True:
            await self._turn_comes(loop)
            if loop.time() - self._due > LATE:
                self._counters.late += 1
            self._counters.quick += self._due - self._turned < interval * (1 - _SAME_TURN)
            self._turned = self._due
            self._took(answered=await self._guarded(self._turn, Source.SNMP_POLL))
            now = loop.time()
            if self._failures > 1:
                self._due = self._clock = max(self._due, now) + self._pause(self._failures)
                continue
            step = self._gap if self._hurried else interval
            if now > self._turned + step:
                self._counters.skipped += math.ceil((now - self._turned) / step) - 1
            self._due = self._following(now)

    async def _turn_comes(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._due > loop.time():
            waiter = self._waiter = loop.create_future()
            timer = loop.call_at(self._due, _wake, waiter)
            try:
                await waiter
            finally:
                timer.cancel()

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
            now = asyncio.get_running_loop().time()
            for view in self.views:
                view.due = min(view.due, now)
        self._counters.answered += 1

    def _pause(self, failures: int) -> float:
        """Seconds until a silent one's next turn: longer and longer, but no longer than it takes to be given up.

        Not the same for all, so that those that fell silent together are not all asked again together.
        """
        interval = self.target.interval
        longest = max(interval, min(4 * interval, _LONGEST_PAUSE))
        spread: float = random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing  # nosec B311
        return min(interval * 2.0 ** min(failures - 1, 2), longest) * spread

    async def _turn(self, source: Source) -> None:
        now = asyncio.get_running_loop().time()
        due = [view for view in self.views if now >= view.due]
        if due:
            await self._due_views(due, now)
        await self._round_or_anew(source, complete=self._unannounced)

    async def _due_views(self, due: Sequence[View], now: float) -> None:
        """Has what there is found out where that is due: before the round where nothing is known, or else beside it."""
        asked = self._asked()
        new = [view for view in due if view in asked and (view.is_empty or not view.discovered)]
        if new:
            # A device without sessions costs a walk of an empty column now and then, and one that returns is seen then.
            await self._discover(Source.SNMP_POLL, new)
        # Beside the rounds, for it takes many PDUs; the round after it tells of it. A failure waits its time too.
        old = [view for view in due if view in asked and view not in new]
        if old and self._task("discovery", self._rediscovery, old):
            for view in old:
                view.due = now + self._rediscover
        failing = [view for view in due if view not in asked]
        if failing and self._task("failing views", self._rediscovery, failing):
            for view in failing:
                view.due = now + self._pause(view.failures)

    def _asked(self) -> Sequence[View]:
        """The views that a round asks: those that answered when they were last asked, or all when none did."""
        if len(self.views) == 1:
            return self.views
        return [view for view in self.views if not view.failures] or self.views

    async def _rediscovery(self, views: Sequence[View]) -> None:
        await self._guarded(self._discover, Source.SNMP_POLL, views)

    async def _look_at_rows(self) -> None:
        while self._wanted:
            await self._held_back(self._row_looks)
            wanted, self._wanted = self._wanted, set()
            self._counters.looks += 1
            await self._guarded(self._look, Source.SNMP_LOOK, wanted)

    async def _look_at_all(self) -> None:
        while self._whole:
            await self._held_back(self._whole_looks)
            self._whole = False
            self._counters.looks += 1
            await self._guarded(self._anew, Source.SNMP_LOOK)

    async def _held_back(self, rate: Rate) -> None:
        """Waits where too many looks were asked for: whoever forges notifications must not have us flood a device."""
        wait = rate.take(asyncio.get_running_loop().time())
        if wait > 0:
            self._counters.held_looks += 1
            await asyncio.sleep(wait)

    async def _look(self, source: Source, wanted: set[str]) -> None:
        known = [self._known[session] for session in wanted if session in self._known]
        try:
            gone = await self._round(source, known) if known else []
        except SourceError:
            if len(self.views) > 1 and any(not view.failures for view in self.views):
                return  # its view does not answer, and the device is not silent for that
            raise
        if gone or len(known) < len(wanted):
            await self._anew(source)

    async def _anew(self, source: Source) -> None:
        """Finds out what there is, and tells all of it."""
        await self._discover(source, self._asked())
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
        self._described = False
        self._deliver(Silence(self.target.name, reason))
        if self.status != reason:
            logger.warning("%s: %s", self.target.name, reason)
        self.status = reason

    # --- the views ----------------------------------------------------------------------------------------------

    async def _each(
        self, views: Sequence[View], work: Callable[[View], Awaitable[T]], *, counts: bool = True
    ) -> list[tuple[View, T]]:
        """Does a piece of work in several views at once; what came of it in those that answered.

        A view that fails while another one is well is noted, if this `counts`; SourceError when none is.
        """
        if len(self.views) == 1:
            (view,) = views
            try:
                done = await work(view)
            except SourceError as error:
                view.failed(str(error))
                raise
            view.answered()
            return [(view, done)]
        tried = await asyncio.gather(*(work(view) for view in views), return_exceptions=True)
        answers: list[tuple[View, T]] = []
        trouble: SourceError | None = None
        for view, outcome in zip(views, tried, strict=True):
            if isinstance(outcome, SourceError):
                trouble = trouble or outcome
                if counts:
                    self._view_failed(view, str(outcome))
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                answers.append((view, outcome))
                if view.failures:
                    self._view_answered(view)
        if trouble is not None and not answers and (not counts or all(view.failures for view in self.views)):
            raise trouble
        return answers

    def _view_failed(self, view: View, reason: str) -> None:
        if view.trouble != reason:
            logger.warning("%s, context %r: %s", self.target.name, view.name, reason)
        self._described = False
        view.failed(reason)
        view.due = asyncio.get_running_loop().time() + (self._pause(view.failures) if view.failures > 1 else 0.0)

    def _view_answered(self, view: View) -> None:
        """A view that had failed answers: what it has may be something else now."""
        self._described = False
        view.answered()
        view.trouble = ""
        view.due = min(view.due, asyncio.get_running_loop().time())

    # --- what there is ------------------------------------------------------------------------------------------

    async def _discover(self, _: Source, views: Sequence[View]) -> None:
        """Reads which sessions there are in these views; the next full round tells of them."""
        async with self._walking:
            self._counters.walks += len(views)
            found = await self._each(views, View.find)
            for view, there in found:
                self._install(view, there)

    def _install(self, view: View, found: Found) -> None:
        rows = self._rows(view, found)
        before = {session: one for session, one in self._known.items() if one.view is view}
        there: dict[str, Known] = {}
        for row in rows:
            one = before.get(row.session.id)
            if one is None or one.row.index != row.index or one.row.cells != row.cells:
                one = Known(view, row)
            else:
                one.become(row)
            there[one.id] = one
        self._known = {session: one for session, one in self._known.items() if one.view is not view} | there
        self._places = None
        view.up_times.keep(there.keys())
        for session, one in before.items():
            if session not in there:
                self._gone.setdefault(session, _Gone(view, one.row))
        for session in there:
            self._gone.pop(session, None)
        while len(self._gone) > MAX_ROWS:
            del self._gone[next(iter(self._gone))]
        doubtful = False
        for gone in self._gone.values():
            if gone.view is view:
                gone.walks += 1
                doubtful = doubtful or gone.walks < _SURE_WALKS
        first = not view.discovered
        # Spread, or all that were found together when we started would be walked together for ever.
        spread: float = random.uniform(0.5, 1.0) if first else random.uniform(0.9, 1.1)  # noqa: S311  # nosec B311
        pause = 0.0 if doubtful else self._rediscover * spread
        view.took(rows, asyncio.get_running_loop().time(), pause, empty=not found.table)
        self._generation += 1
        self._described = False
        self._unannounced = True

    def _rows(self, view: View, found: Found) -> tuple[Row, ...]:
        """Which sessions a view's rows are, but for those that another view has too.

        For there are agents that show every VRF's sessions in each context.
        """
        if view.profile is None:
            return ()
        others = [one.row for one in self._known.values() if one.view is not view]
        before = (*view.rows, *others)
        rows = identify(self.target.name, view.profile, found.table, found.interfaces, before, view.name)
        twins = {_twin(row) for row in others}
        return tuple(row for row in rows if row.session.discriminator is None or _twin(row) not in twins)

    # --- how it is doing ----------------------------------------------------------------------------------------

    async def _round_or_anew(self, source: Source, *, complete: bool) -> None:
        """A round over all that is known; if that no longer holds, it is found out and told once more."""
        gone = await self._round(source, None, complete=complete)
        if gone:
            await self._discover(source, gone)
            await self._round(source, None, complete=True, last=True)

    async def _round(
        self, source: Source, some: Sequence[Known] | None, *, complete: bool = False, last: bool = False
    ) -> list[View]:
        """Reads these rows, or (None) all of them, so many to a PDU, and delivers what they say; views with a row gone.

        What changed since the last round is delivered with its PDU, before the next one is asked for, and counts as
        `told`. When a row is gone, what has not changed is left to the round that follows, unless this is the `last`.
        """
        if some is None:
            views = self._asked()
            work = {view: view.pieces(None, self._known) for view in views}
        else:
            views = list(dict.fromkeys(one.view for one in some))
            work = {view: view.pieces([one for one in some if one.view is view], self._known) for view in views}
        many = len(views) > 1 or len(work[views[0]]) > 1
        heard = _Round(self._generation, many, last, source)

        async def read(view: View) -> bool:
            return await self._read_all(view, work[view], heard)

        answers = await self._each(views, read, counts=some is None)
        gone = [view for view, lost in answers if lost]
        self._tell(heard, whole_round=some is None, complete=complete, gone=bool(gone))
        self._answered(heard.garbage)
        return gone

    def _tell(self, heard: _Round, *, whole_round: bool, complete: bool, gone: bool) -> None:
        complete = complete and heard.generation == self._generation  # else this may not be all there is
        self._leave_out_what_is_old(heard)
        if complete and not gone:
            self._announce(heard)
        elif heard.last or not gone:
            # Not where nothing else was heard: that a whole table is empty is told by walks alone.
            missing = self._missing() if whole_round and (heard.seen or heard.told) else []
            self._deliver(Poll(self.target.name, (*heard.seen, *missing), source=heard.source))

    def _leave_out_what_is_old(self, heard: _Round) -> None:
        """What was read early in a long round may be another by its end: a look has told it, and the look stands."""
        fresh = []
        for seen in heard.seen:
            one = self._known.get(seen.session.id)
            if one is not None and one.last is seen:
                fresh.append(seen)
            elif one is not None:
                heard.told.add(seen.session.id)
        heard.seen = fresh

    async def _read_all(self, view: View, pieces: Sequence[Piece], heard: _Round) -> bool:
        """A view's part of a round; True if a row is gone there, or all of them may be others now."""
        gone = False
        for piece in pieces:
            try:
                news, rest, lost = await self._read(view, piece, heard.garbage)
            except RestartedError:
                self._counters.restarts += 1
                if heard.last:
                    raise
                for other in self.views:
                    if other.up_time.ticks is None:  # it cannot tell by itself
                        other.doubt()
                return True
            gone = gone or lost
            if news and (gone or heard.many):
                self._deliver(Poll(self.target.name, tuple(news), source=heard.source))
                heard.told.update(seen.session.id for seen in news)
            else:
                heard.seen += news
            heard.seen += rest
        return gone

    async def _read(
        self, view: View, piece: Piece, garbage: list[str]
    ) -> tuple[list[Observation], list[Observation], bool]:
        """One PDU: what has changed, what has not, and whether a row is gone; what cannot be read goes to `garbage`."""
        asked = asyncio.get_running_loop().time()
        values = await view.get(piece.oids)
        view.note_clock(values, asked)
        news: list[Observation] = []
        rest: list[Observation] = []
        gone = False
        known, profile, value = self._known, view.profile, values.get
        for one in piece.rows:
            if known.get(one.id) is not one or profile is None:
                continue  # discovered anew meanwhile: this row is another session's now, or nobody's
            raw = tuple(map(value, one.places))
            if raw[0] is None or any(value(place) != said for place, said in piece.who.get(one.id, _NOBODY).items()):
                gone = True
                continue
            before = one.last
            if before is not None and ((raw == one.raw and not one.timed) or asked < one.asked):
                # What says the same is the same; of two answers that crossed the one asked for later stands.
                one.asked = max(one.asked, asked)
                rest.append(before)
                continue
            try:
                seen = observe(profile, one.row, values, view.up_times)
            except SourceError as error:
                garbage.append(str(error))
                continue
            one.asked, one.last, one.raw = asked, seen, raw
            same = before is None or (before.state, before.ups) == (seen.state, seen.ups)
            (rest if same else news).append(seen)
        return news, rest, gone

    def _announce(self, heard: _Round) -> None:
        """Delivers everything there is, and what there is no longer; not `complete` where something was not read."""
        whole = not heard.garbage and all(view.discovered and not view.failures for view in self.views)
        missing = self._missing(sure=not whole) if whole or heard.seen or heard.told else []
        self._unannounced = not whole
        told = frozenset(heard.told)
        self._deliver(Poll(self.target.name, (*heard.seen, *missing), complete=whole, source=heard.source, told=told))

    def _missing(self, *, sure: bool = True) -> list[Observation]:
        """The sessions that are gone; if `sure`, only those that more than one walk has missed.

        For that is what a second telling stands for, and between walks nobody looks whether a session has come back.
        Nothing is told of a view that does not answer.
        """
        if not self._gone:
            return []
        for session, gone in list(self._gone.items()):
            gone.rounds += 1
            if gone.rounds > GONE_ROUNDS:
                del self._gone[session]
        return [
            gone.told
            for gone in self._gone.values()
            if not gone.view.failures and (gone.walks >= _SURE_WALKS or not sure)
        ]

    # --- what an operator reads -----------------------------------------------------------------------------------

    def _answered(self, garbage: Sequence[str]) -> None:
        if self._described and not garbage:
            return
        self._counters.garbage_rows += len(garbage)
        status = self._description()
        if garbage:
            status += f"; {len(garbage)} not readable: {garbage[0]}"
        if status != self.status:
            logger.info("%s: %s", self.target.name, status)
        self.status = status
        self._described = not garbage

    def _description(self) -> str:
        """How many sessions there are in which table, and which views do not answer."""
        well = [view for view in self.views if not view.failures]
        counts = Counter(view.profile.title for view in well if view.profile is not None for _ in view.rows)
        if counts:
            (title, count), *others = counts.most_common()
            status = f"{count} {'session' if count == 1 else 'sessions'} in {title}"
            status += "".join(f", {more} in {other}" for other, more in others)
        elif (profile := self.views[0].profile) is not None and self.views[0].fixed:
            status = f"it answers, but has no session in {profile.title}"
        else:
            status = "it answers, but no BFD table that we know has a row"
            empty = list(dict.fromkeys(each.title for view in well for each in view.empty))
            if empty:
                status += f" ({', '.join(empty)} {'is' if len(empty) == 1 else 'are'} there but empty)"
        for view in self.views:
            if view.failures:
                status += f"; context {view.name or 'default'}: {view.trouble}"
        return status


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _twin(row: Row) -> tuple[object, ...]:
    """What no two sessions of a device share in any view: its discriminators are unique (RFC 5880 section 6.3)."""
    session = row.session
    return row.index, session.discriminator, session.peer, session.local


def _has_table(view: View, hint: Hint) -> bool:
    return view.profile is not None and view.profile.name == hint.profile


def _nameless(hint: Hint) -> bool:
    named = (hint.peer, hint.discriminator, hint.interface, hint.if_index)
    return all(name is None for name in named)


def _said(hint: Hint) -> Sequence[tuple[str, object]]:
    """What a notification names its session by, besides an index."""
    return (
        ("peer", hint.peer),
        ("local", hint.local),
        ("discriminator", hint.discriminator),
        ("interface", hint.interface),
        ("if_index", hint.if_index),
    )


def _names(row: Row) -> Sequence[tuple[str, object]]:
    """What a row has of that."""
    session = row.session
    has = (session.peer, session.local, session.discriminator, session.interface, row.if_index)
    names = ("peer", "local", "discriminator", "interface", "if_index")
    return [(name, value) for name, value in zip(names, has, strict=True) if value is not None]


def _means(hint: Hint, row: Row) -> bool:
    """Whether a row is what a notification names, in all that it names and the row has."""
    has = dict(_names(row))
    known = [(said, has[name]) for name, said in _said(hint) if said is not None and name in has]
    return bool(known) and all(said == told for said, told in known)
