"""A device surveyed for its operator: what it is, which BFD sessions it has, and the configuration to paste.

Each context is asked by a client of its own: detection, one walk of the state column, then the other cells by GET, and
only those that a profile names (never the authentication key). What one context cannot tell does not hide the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from exabgp_bfd.core.credentials import Context
from exabgp_bfd.core.model import Session, SourceError, State
from exabgp_bfd.sources.snmp import mibs
from exabgp_bfd.sources.snmp.client import Client, connect
from exabgp_bfd.sources.snmp.detect import Detected, detect
from exabgp_bfd.sources.snmp.mibs import Profile, Value
from exabgp_bfd.sources.snmp.rows import Row, address, identify, observe, text
from exabgp_bfd.sources.snmp.target import Target

Progress = Callable[[str, int], None]
"""Told what is under way, and how many rows it has brought so far."""

CELLS = tuple(dict.fromkeys((*mibs.IDENTITY, *mibs.SAMPLED, *mibs.DESCRIBED)))
"""All cells that are read."""

MEASURE = 2.0
"""Seconds between two readings of an agent's times, of which a duration grows."""

_CELLS_AT_ONCE = 400  # asked for between two words of progress
_TIMES = 16  # that are read twice
_NOTES = 20
_LONGEST_NAME = 100  # as the configuration takes it


@dataclass(frozen=True, slots=True)
class Found:
    """One BFD session of the device."""

    session: Session
    index: str
    state: State
    diagnostic: str | None
    since: float | None
    """Seconds for which it has been up, or down; None: not told."""
    details: Mapping[str, int | str]
    """What else the table says, by the names of its cells; times in microseconds."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a BFD table holds."""

    sessions: tuple[Found, ...]
    missing: tuple[str, ...] = ()
    """The cells for which the agent has no column, though its MIB has one."""
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """What one context of the device tells."""

    context: str
    detected: Detected | None
    """None: it did not answer."""
    profile: Profile | None
    """The table that was read: what was detected, or what the operator named."""
    sessions: tuple[Found, ...] = ()
    missing: tuple[str, ...] = ()
    """The cells for which it has no column."""
    notifications: bool | None = None
    """Whether it sends BFD notifications; None: not told."""
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything about one device."""

    target: Target
    engine: str
    views: tuple[View, ...]

    @property
    def detected(self) -> Detected | None:
        """What the device is, from the first context that answered."""
        return next((view.detected for view in self.views if view.detected is not None), None)

    @property
    def sessions(self) -> tuple[Found, ...]:
        """The sessions of all contexts."""
        return tuple(found for view in self.views for found in view.sessions)

    @property
    def name(self) -> str:
        """A name for the device that a configuration takes."""
        detected = self.detected
        return device_name(detected.name if detected is not None else None, self.target.host)


# --- asking ---------------------------------------------------------------------------------------------------------


async def survey(target: Target, progress: Progress | None = None, *, measure: float = MEASURE) -> Survey:
    """Surveys each context of a device; SourceError where none answers, ConfigError for settings that cannot be met."""
    say = progress or _nobody
    contexts = target.contexts or (Context(target.context),)
    views: list[View] = []
    engine = ""
    troubles: list[SourceError] = []
    for context in contexts:
        client = connect(in_context(target, context))
        engine = client.engine
        try:
            view = await _view(client, target, context.name, views, measure, say)
        except SourceError as error:
            troubles.append(error)
            view = View(context.name, None, None, notes=(str(error),))
        finally:
            await client.close()
        views.append(view)
    if len(troubles) == len(contexts):
        raise troubles[0]
    return Survey(target, engine, tuple(views))


def in_context(target: Target, context: Context) -> Target:
    """The target as a client of one context asks it."""
    return replace(target, context=context.name, contexts=(), community=context.community or target.community)


def _nobody(phase: str, rows: int) -> None:
    """Takes progress where nobody wants to hear of it."""


async def _view(
    client: Client, target: Target, context: str, before: Sequence[View], measure: float, progress: Progress
) -> View:
    progress(f"finding the BFD table{f' of context {context}' if context else ''}", 0)
    detected = await detect(client)
    profile = detected.profile
    if target.profile != "auto":
        profile = mibs.profile_for(target.profile, target.oid, target.values)
    if profile is None:
        return View(context, detected, None, notes=detected.oddities)
    known = [view.detected.name for view in before if view.detected is not None]
    table = await read_table(
        client,
        profile,
        device_name(known[0] if known else detected.name, target.host),
        context=context,
        before=[row for view in before for row in view.rows],
        measure=measure,
        progress=progress,
    )
    notifications = await _notifications(client, profile)
    return View(
        context,
        detected,
        profile,
        sessions=table.sessions,
        missing=table.missing,
        notifications=notifications,
        notes=(*detected.oddities, *table.notes),
        rows=table.rows,
    )


async def read_table(
    client: Client,
    profile: Profile,
    device: str,
    *,
    context: str = "",
    before: Sequence[Row] = (),
    measure: float = 0.0,
    progress: Progress | None = None,
) -> Table:
    """Reads all sessions of a device's table with everything its profile names.

    `before` are the rows of contexts that were read before, whose names are taken. An agent's times of coming up and
    going down may be TimeStamps or durations: with `measure` seconds they are read again after so long, to find out.
    """
    say = progress or _nobody
    where = f" of context {context}" if context else ""
    indexes = await _indexes(client, profile, lambda rows: say(f"reading the sessions{where}", rows))
    columns = await _columns(client, profile) if indexes else {}
    table = await _cells(client, profile, columns, indexes, lambda rows: say(f"reading what they are{where}", rows))
    interfaces = await _interfaces(client, table.values())
    times = await _times(client, profile, table, measure)
    sessions: list[Found] = []
    notes: list[str] = []
    rows = identify(device, profile, table, interfaces, before, context)
    twins = {_twin(row) for row in before}
    repeated = 0
    for row in rows:
        if _twin(row) in twins:
            repeated += 1  # there are agents that show every VRF's sessions in each context: the poller skips them, too
            continue
        if "state" not in table[row.index]:
            continue  # gone since the walk
        try:
            sessions.append(_found(profile, row, table[row.index], times))
        except SourceError as error:
            notes.append(str(error))
    if repeated:
        notes.append(f"{repeated} of its sessions were seen in another context before, and are not repeated")
    missing = tuple(cell for cell in CELLS if profile.column(cell) is not None and cell not in columns)
    return Table(tuple(sessions), missing if indexes else (), tuple(notes[:_NOTES]), rows)


def _twin(row: Row) -> tuple[object, ...]:
    return row.index, row.session.discriminator, row.session.peer


async def _indexes(client: Client, profile: Profile, say: Callable[[int], None]) -> list[str]:
    column = profile.column("state") or ""
    if profile.name == "oid" and await client.get([column]):
        return [""]  # it is an instance, not a column
    return [oid[len(column) + 1 :] for oid, _ in await client.walk(column, say)]


async def _columns(client: Client, profile: Profile) -> dict[str, str]:
    """The columns of which this agent has any instance: what it lacks altogether is not asked for row by row."""
    columns = {cell: column for cell in CELLS if (column := profile.column(cell)) is not None}
    following = await client.next(list(columns.values()))
    return {
        cell: column
        for cell, column in columns.items()
        if (first := following.get(column)) is not None and first[0].startswith(f"{column}.")
    }


async def _cells(
    client: Client, profile: Profile, columns: Mapping[str, str], indexes: Sequence[str], say: Callable[[int], None]
) -> dict[str, dict[str, Value]]:
    """Each row's cells by name, as far as the agent has them."""
    table = {index: dict(profile.index_cells(index)) for index in indexes}
    rows = max(1, _CELLS_AT_ONCE // max(1, len(columns)))
    for start in range(0, len(indexes), rows):
        part = {index: table[index] for index in indexes[start : start + rows]}
        told: dict[str, Value | None] = {}
        for _ in ("the rows", "the tables of another index, whose place the rows tell: that of an interface, of a VRF"):
            await _fill(client, profile, columns, part, told)
        say(start + len(part))
    return table


async def _fill(
    client: Client,
    profile: Profile,
    columns: Iterable[str],
    part: Mapping[str, dict[str, Value]],
    told: dict[str, Value | None],
) -> None:
    """Asks for what has a place by now and was not asked for before; `told` has what the agent said of each place."""
    places: list[tuple[str, dict[str, Value], str]] = []
    for index, cells in part.items():
        for cell in columns:
            place = profile.instance(cell, index, cells) if cell not in cells else None
            if place is not None:
                places.append((place, cells, cell))
    asked = list(dict.fromkeys(place for place, *_ in places if place not in told))
    if asked:
        told.update(dict.fromkeys(asked))
        told.update(await client.get(asked))
    for place, cells, cell in places:
        value = told[place]
        if value is not None:
            cells[cell] = value


async def _interfaces(client: Client, table: Iterable[Mapping[str, Value]]) -> dict[int, str]:
    """Names by ifIndex: ifName, or ifDescr where there is none."""
    names: dict[int, str] = {}
    wanted = {index for cells in table if isinstance(index := cells.get("interface"), int) and index > 0}
    for column in (mibs.IF_NAME, mibs.IF_DESCR):
        places = {f"{column}.{index}": index for index in sorted(wanted - names.keys())}
        for place, value in (await client.get(list(places)) if places else {}).items():
            name = text(value)
            if name is not None:
                names[places[place]] = name
    return names


@dataclass(frozen=True, slots=True)
class _Times:
    """How an agent's times are to be read."""

    up_time: int | None
    """sysUpTime when they were read; None: it has none."""
    durations: bool
    measured: bool
    """Whether they were read twice; else they are what the MIB says."""

    def since(self, value: Value | None) -> float | None:
        """Seconds since what a time is of; 0 is never."""
        if not isinstance(value, int) or value <= 0:
            return None
        if self.durations:
            return value / 100
        if self.up_time is None or (value > self.up_time and not self.measured):
            return None
        # A TimeStamp that lies beyond sysUpTime is from before that came round, after 497 days.
        return ((self.up_time - value) % 2**32) / 100


async def _times(client: Client, profile: Profile, table: Mapping[str, dict[str, Value]], measure: float) -> _Times:
    """Reads a few rows' times and sysUpTime, and once more: TimeStamps (as the MIBs have it) stay, durations grow."""
    places = {
        place: cells[cell]
        for index, cells in table.items()
        for cell in ("last_up", "last_down")
        if isinstance(cells.get(cell), int) and cells[cell] and (place := profile.instance(cell, index, cells))
    }
    some = list(places)[:_TIMES]
    first = await client.get([mibs.SYS_UP_TIME, *some])
    up_time = first.get(mibs.SYS_UP_TIME)
    if not some or measure <= 0 or not isinstance(up_time, int):
        return _Times(up_time if isinstance(up_time, int) else None, durations=False, measured=False)
    await asyncio.sleep(measure)
    later = await client.get([mibs.SYS_UP_TIME, *some])
    grown = [
        now - before
        for place in some
        if isinstance(before := first.get(place), int) and isinstance(now := later.get(place), int)
    ]
    ticks = later.get(mibs.SYS_UP_TIME)
    passed = ticks - up_time if isinstance(ticks, int) else 0
    like_time = sum(passed / 2 <= each <= 2 * passed for each in grown if passed > 0)
    return _Times(up_time, durations=2 * like_time > len(grown), measured=True)


def _found(profile: Profile, row: Row, cells: Mapping[str, Value], times: _Times) -> Found:
    """What a row's cells say; SourceError when its state is no state of this profile."""
    values = {place: cells[cell] for cell, place in row.cells.items() if cell in cells}
    seen = observe(profile, row, values)
    since = None
    if seen.state in {State.UP, State.DOWN}:
        since = times.since(cells.get("last_up" if seen.state is State.UP else "last_down"))
    details: dict[str, int | str] = {}
    for cell in (*mibs.DESCRIBED, "up_count", "down_count"):
        told = _told(profile, cell, cells.get(cell))
        if told is not None:
            details[cell] = told
    diagnostic = seen.diagnostic.name.lower() if seen.diagnostic is not None else None
    return Found(row.session, row.index, seen.state, diagnostic, since, details)


def _told(profile: Profile, cell: str, value: Value | None) -> int | str | None:
    """A cell outward: intervals in microseconds, diagnostics by name, octets as text; None for what tells nothing."""
    if cell in {"last_up", "last_down"}:
        return None  # told as `since`
    if cell in mibs.INTERVALS:
        return profile.microseconds(cell, value) if value is not None else None
    if cell == "last_diagnostic" and isinstance(value, int):
        diagnostic = profile.diagnostics.get(value)
        return diagnostic.name.lower() if diagnostic is not None else value
    if cell == "system_ip":
        found = address(None, value)
        return str(found) if found is not None else None
    return text(value) if isinstance(value, bytes) else value


async def _notifications(client: Client, profile: Profile) -> bool | None:
    """What the switch of the profile's notifications says (TruthValue); not knowing it is no trouble."""
    if profile.notifications is None:
        return None
    try:
        value = (await client.get([profile.notifications])).get(profile.notifications)
    except SourceError:
        return None
    return {1: True, 2: False}.get(value) if isinstance(value, int) else None


def device_name(told: str | None, host: str) -> str:
    """A name that a configuration takes: the first label of sysName, or the host's where it is of no use."""
    for candidate in (told or "", host):
        name = "".join(char if char.isprintable() else "" for char in candidate)
        name = "-".join(name.replace("/", " ").split())[:_LONGEST_NAME]
        label = name.partition(".")[0]
        if label and not label.isdigit():
            return label
        if name.strip("-."):
            return name
    return "device"
