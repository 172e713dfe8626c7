"""One view of a device (its default one, or a VRF's): which table it has there, its rows, and their values.

A view asks by a client of its own. With profile `auto` its table is found by probing, and found again where that may
have changed: after a restart, under another sysObjectID, and while there is no row. Requests wait for a place in the
lanes that all devices share.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from exabgp_bfd.core.credentials import Context
from exabgp_bfd.core.model import Observation, SourceError
from exabgp_bfd.sources.snmp import mibs
from exabgp_bfd.sources.snmp.client import Client, connect
from exabgp_bfd.sources.snmp.detect import SYS_OBJECT_ID, detect
from exabgp_bfd.sources.snmp.lanes import Lanes, Ticket
from exabgp_bfd.sources.snmp.mibs import Profile, Value
from exabgp_bfd.sources.snmp.pysnmp_client import CellError
from exabgp_bfd.sources.snmp.rows import Cells, Row, UpTimes, gathered, places, text, who
from exabgp_bfd.sources.snmp.target import Target
from exabgp_bfd.sources.snmp.uptime import UpTime

_OBJECT_ID = f"{SYS_OBJECT_ID}.0"
_SPARED = frozenset(mibs.SAMPLED) - {"state"}
_QUICK_CHECKS = 10  # walks of an empty table that come as often as rounds, before they become rarer
_EMPTY_PAUSE = 5.0  # seconds at most between two of them where there have been rows, or ought to be
_EMPTY_DOUBTED = 10.0  # seconds for which one view of several is not believed that all its sessions vanished at once
_NOTHING_PAUSE = 30.0  # seconds at most where no table that we know has ever had one


class RestartedError(SourceError):
    """The device restarted: what its rows are must be found out again before their states mean anything."""


class Known:
    """A row that is polled, and what was last heard of it."""

    __slots__ = ("asked", "id", "last", "places", "raw", "row", "timed", "view")

    def __init__(self, view: View, row: Row) -> None:
        self.view = view
        self.id = row.session.id
        self.asked = -math.inf
        self.last: Observation | None = None
        self.raw: tuple[Value | None, ...] | None = None
        """The values that made `last`, in the order of `places`."""
        self.become(row)

    def become(self, row: Row) -> None:
        """The same session as a newer walk has it."""
        if self.last is not None and self.last.session != row.session:
            self.last = replace(self.last, session=row.session)
        self.row = row
        self.timed = row.timed
        state = row.cells["state"]
        self.places = (state, *(place for place in row.cells.values() if place != state))


class Piece:
    """Rows that are asked for in one PDU, and what is asked."""

    __slots__ = ("oids", "rows", "who")

    def __init__(self, rows: Sequence[Known], who: Mapping[str, Mapping[str, int]] | None = None) -> None:
        self.rows = rows
        self.who = who or {}
        """By the sessions' ids: where a row says whose it is, and what it said there."""
        self.oids = [mibs.SYS_UP_TIME, *(place for one in rows for place in one.places)]
        self.oids += (place for one in rows for place in self.who.get(one.id, ()))


@dataclass(frozen=True, slots=True)
class Found:
    """What a walk has found."""

    table: Mapping[str, Cells]
    """Each row's cells by name, by its index."""
    interfaces: Mapping[int, str]
    """Names by ifIndex."""


class View:
    """One of a device's views."""

    def __init__(self, target: Target, context: Context | None, lanes: Lanes, before: View | None = None) -> None:
        """Asks nothing yet; ConfigError when the settings cannot be met.

        `before` is the view of this name before the device's settings changed.
        """
        if context is not None:
            community = context.community if context.community is not None else target.community
            target = replace(target, context=context.name, community=community, contexts=())
        self.target = target
        self.name = target.context
        self.client: Client = connect(target)
        self.profile: Profile | None = None
        """The table it has; None: not found yet, or none has a row."""
        self.fixed = target.profile != "auto"
        """Whether the settings name the table."""
        if self.fixed:
            self.profile = mibs.profile_for(target.profile, target.oid, target.values)
        self.empty: tuple[Profile, ...] = ()
        """MIBs that it has, but without a row."""
        self.rows: tuple[Row, ...] = () if before is None else before.rows
        self.discovered = False
        self.is_empty = False
        """Whether its table had no row when it was walked last."""
        self.due = -math.inf
        """When what there is should be found out again, in the loop's time."""
        self.failures = 0
        """How often it has not answered since it last did."""
        self.trouble = ""
        """Why it did not, last."""
        self.up_time = UpTime()
        self.up_times: UpTimes = UpTimes() if before is None else before.up_times
        """Since when its sessions are up."""
        self.detections = 0
        self.silent = False
        """Whether its requests are to wait among those to silent devices."""
        self._lanes = lanes
        self._object_id: Value | None = None
        self._doubted = False  # the table that it had may be another one now
        self.stale = False
        """Whether its device restarted since its rows were found: until they are found again they name nobody."""
        self._checks = 0  # how often in a row it was found empty
        self._several = context is not None
        self._emptied: float | None = None  # since when it says that it has no row any more
        self._pieces: list[Piece] | None = None

    # --- requests -------------------------------------------------------------------------------------------------

    async def _enter(self) -> Ticket:
        silent = self.silent
        ticket = self._lanes.enter(asyncio.get_running_loop().time(), silent=silent)
        return ticket if ticket is not None else await self._lanes.wait(silent=silent)

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """As `Client.get`, in a place of its lane."""
        ticket = await self._enter()
        try:
            return await self.client.get(oids)
        finally:
            self._lanes.leave(ticket)

    async def next(self, oids: Sequence[str]) -> dict[str, tuple[str, Value] | None]:
        """As `Client.next`, in a place of its lane."""
        ticket = await self._enter()
        try:
            return await self.client.next(oids)
        finally:
            self._lanes.leave(ticket)

    async def walk(self, column: str) -> list[tuple[str, Value]]:
        """As `Client.walk`, in a place of its lane."""
        ticket = await self._enter()
        try:
            return await self.client.walk(column)
        finally:
            self._lanes.leave(ticket)

    # --- what there is --------------------------------------------------------------------------------------------

    async def find(self) -> Found:
        """Reads which sessions it has; SourceError when that cannot be told, or is not to be believed yet.

        The core does not believe a device that says it has no session any more, until it has said so for a while; of
        a device with several views it sees only that some are gone.
        """
        found = await self._found()
        now = asyncio.get_running_loop().time()
        if found.table or not self.rows or not self._several:
            self._emptied = None
        elif self._emptied is None or now < self._emptied + _EMPTY_DOUBTED:
            self._emptied = now if self._emptied is None else self._emptied
            raise SourceError(f"{self.target.at} answers that it has no BFD session at all, and is not believed yet")
        return found

    async def _found(self) -> Found:
        indexes: list[str] = []
        table: Mapping[str, Cells] = {}
        before = self.profile
        for _ in range(2):
            fresh = not self.fixed and (self.profile is None or self._doubted or self.is_empty)
            if fresh and not await self._detect(before):
                return Found({}, {})
            indexes = await self._indexes()
            indexes += await self._left_out(indexes)
            table, object_id = await self._identities(indexes)
            if fresh or self.fixed:
                self._object_id = object_id
                break
            if indexes and object_id == self._object_id:
                break
            self._doubted = True  # another table, or another box: once more, from the beginning
            if indexes:
                before = None
                self.up_times.restarted()
        return Found(table, await self._interfaces(table.values()))

    def took(self, rows: tuple[Row, ...], now: float, pause: float, *, empty: bool) -> None:
        """These are its rows from now on; the next walk is `pause` away, or less regular while its table is empty."""
        self.rows = rows
        self.is_empty = empty
        self.discovered = True
        self.stale = False
        self._pieces = None
        if not empty:
            self._checks = 0
            self.due = now + pause
            return
        self._checks += 1
        most = _NOTHING_PAUSE if self.profile is None else _EMPTY_PAUSE
        self.due = now + (0.0 if self._checks <= _QUICK_CHECKS else self._rarer(most))

    def _rarer(self, most: float) -> float:
        spread: float = random.uniform(0.8, 1.0)  # noqa: S311 - spreads load, guards nothing  # nosec B311
        return min(most, self.target.interval * 2.0 ** min(self._checks - _QUICK_CHECKS, 16)) * spread

    async def _detect(self, before: Profile | None) -> bool:
        """Finds the table by probing, `before` if that still has rows; False when none that we know has a row."""
        if self.silent or not self.discovered:
            await self.get([mibs.SYS_UP_TIME])  # whether it is alive: who is dead need not be asked for so much
        self.detections += 1
        found = await detect(self, before)
        if self.rows and self.profile in found.unread:
            # An error is no answer, and least of all the answer that a table has no rows any more.
            raise SourceError(next(iter(found.oddities), f"{self.target.at} does not say what its BFD table holds"))
        self._doubted = False
        self.empty = found.empty
        if found.profile is not None:
            self.profile = found.profile
        return found.profile is not None

    async def _indexes(self) -> list[str]:
        column = self._column()
        if self.target.profile == "oid" and await self.get([column]):
            return [""]  # it is an instance, not a column
        return [oid[len(column) + 1 :] for oid, _ in await self.walk(column)]

    async def _left_out(self, walked: Sequence[str]) -> list[str]:
        """The indexes of rows that a walk lacks though they still answer.

        A walk that ended too early, as while an agent makes its table anew, must not make living sessions gone.
        """
        there, column = set(walked), f"{self._column()}."
        places = {
            place: row.index
            for row in self.rows
            if row.index not in there and (place := row.cells["state"]).startswith(column)
        }
        told = await self.get(list(places)) if places else {}
        return [index for place, index in places.items() if place in told]

    def _column(self) -> str:
        return (self.profile.column("state") if self.profile is not None else None) or ""

    async def _identities(self, indexes: Sequence[str]) -> tuple[Mapping[str, Cells], Value | None]:
        """Each row's cells by name, as far as it has them (lacking some is normal), and sysObjectID."""
        profile = self.profile
        if profile is None or not indexes:
            return {}, None
        if profile.name == "oid":
            return {index: {} for index in indexes}, None
        wanted = places(profile, indexes)
        told = await self._told(wanted)
        object_id = told.pop(_OBJECT_ID, None)
        return gathered(profile, indexes, wanted, told), object_id

    async def _told(self, wanted: dict[str, list[tuple[str, str]]]) -> dict[str, Value]:
        """What is said at these places, but for columns that nobody needs and the agent answers with an error.

        One such column must not hide all sessions. What tells who they are is needed: without it they had other names.
        """
        while True:
            try:
                return await self.get([*wanted] if self.fixed else [*wanted, _OBJECT_ID])
            except CellError as error:
                broken = next((cell for _, cell in wanted.get(error.oid, ())), "")
                if broken not in _SPARED:
                    raise
                for place in [place for place, of in wanted.items() if any(cell == broken for _, cell in of)]:
                    del wanted[place]

    async def _interfaces(self, table: Iterable[Cells]) -> dict[int, str]:
        """Names by ifIndex: ifName, or ifDescr where there is none."""
        names: dict[int, str] = {}
        wanted = {index for cells in table if isinstance(index := cells.get("interface"), int) and index > 0}
        for column in (mibs.IF_NAME, mibs.IF_DESCR):
            places = {f"{column}.{index}": index for index in sorted(wanted - names.keys())}
            for place, value in (await self.get(list(places)) if places else {}).items():
                name = text(value)
                if name is not None:
                    names[places[place]] = name
        return names

    # --- how it is doing ------------------------------------------------------------------------------------------

    def pieces(self, known: Iterable[Known] | None, all_known: Mapping[str, Known]) -> list[Piece]:
        """Rows by PDU, with room for sysUpTime; None: all there are. One empty piece when there are none.

        For silence must be noticed there too. Single rows are asked whose they are as well: an agent may have given
        their index to another session since the last walk, and the look at a failure must not believe that one.
        """
        if known is not None:
            rows = list(known)
            profile = self.profile
            return self._packed(rows, {} if profile is None else {one.id: who(profile, one.row) for one in rows})
        if self._pieces is None:
            self._pieces = self._packed(one for one in all_known.values() if one.view is self)
        return self._pieces

    def _packed(self, known: Iterable[Known], asked: Mapping[str, Mapping[str, int]] | None = None) -> list[Piece]:
        asked = asked or {}
        room = max(1, self.target.max_varbinds - 1)
        pieces: list[Piece] = []
        rows: list[Known] = []
        used = 0
        for one in known:
            size = len(one.places) + len(asked.get(one.id, ()))
            if rows and used + size > room:
                pieces.append(Piece(rows, asked))
                rows, used = [], 0
            rows.append(one)
            used += size
        pieces.append(Piece(rows, asked))
        return pieces

    def note_clock(self, values: Mapping[str, Value], asked: float) -> None:
        """Takes sysUpTime (absent in some views); RestartedError when no index can be trusted any more."""
        ticks = values.get(mibs.SYS_UP_TIME)
        if isinstance(ticks, int) and self.up_time.restarted(ticks, asked):
            self.doubt()
        if self.stale:
            raise RestartedError(f"{self.target.at} restarted while it was read")

    def doubt(self) -> None:
        """Its device restarted: rows may be numbered anew, in another table."""
        self._doubted = self.stale = True

    def answered(self) -> None:
        """It answered."""
        self.failures = 0
        self.silent = False

    def failed(self, reason: str) -> None:
        """It did not answer, or not usably."""
        self.failures += 1
        self.trouble = reason
        self.silent = True
