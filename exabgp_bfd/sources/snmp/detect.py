"""Which BFD table a device has: found by asking for the first row of each, never by the vendor's name.

One round of GETNEXT over the state columns of all profiles, in a PDU or two. A table is there when the agent's next
instance lies inside its state column and is a number; a number that is no state of that table speaks against it, and
another table is preferred. Where no table has a row, a second round over the MIBs' roots tells which are there, empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from exabgp_bfd.core.model import ConfigError, SourceError
from exabgp_bfd.sources.snmp.mibs import PROFILES, SYS_UP_TIME, Profile, Value, arcs
from exabgp_bfd.sources.snmp.rows import text

SYS_DESCR = "1.3.6.1.2.1.1.1"
SYS_OBJECT_ID = "1.3.6.1.2.1.1.2"
SYS_NAME = "1.3.6.1.2.1.1.5"
_UP_TIME = SYS_UP_TIME.removesuffix(".0")
_SYSTEM = (SYS_DESCR, SYS_OBJECT_ID, _UP_TIME, SYS_NAME)

_PATIENCE = 10.0  # seconds that an agent may spend on objects that it chokes on
_ODDITIES = 20

_Next = tuple[str, Value] | None


class Agent(Protocol):
    """What detection needs of a `Client`."""

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """As `Client.get`."""
        ...

    async def next(self, oids: Sequence[str]) -> dict[str, _Next]:
        """As `Client.next`."""
        ...


@dataclass(frozen=True, slots=True)
class Detected:
    """What a device is, and where its BFD sessions are."""

    object_id: str | None
    """sysObjectID."""
    description: str | None
    """sysDescr, in one line."""
    up_time: int | None
    """sysUpTime, hundredths of a second."""
    profile: Profile | None
    """The table to read; None: no table has a row."""
    others: tuple[Profile, ...] = ()
    """Further tables that have rows, the preferred first."""
    empty: tuple[Profile, ...] = ()
    """MIBs of which the agent has something, but no row; only looked for where no table has one."""
    name: str | None = None
    """sysName."""
    oddities: tuple[str, ...] = ()
    """What the agent answered that it should not have, each in a sentence."""
    unread: tuple[Profile, ...] = ()
    """Tables of which it is not known whether they have rows: what was asked of them failed."""


async def detect(client: Agent, before: Profile | None = None) -> Detected:
    """Finds a device's BFD table; the one from `before` is kept while it has rows. SourceError: no usable answer."""
    oddities: list[str] = []
    candidates = list(PROFILES.values())
    if before is not None and before not in candidates and before.column("state") is not None:
        candidates.insert(0, before)
    columns = {profile.name: column for profile in candidates if (column := profile.column("state")) is not None}
    told = await _ask(client, [*_SYSTEM, *dict.fromkeys(columns.values())], oddities)
    sound: list[Profile] = []
    doubtful: list[Profile] = []
    unread: list[Profile] = []
    for profile in candidates:
        first = _within(told, columns.get(profile.name))
        if first is None:
            if columns.get(profile.name) not in told:
                unread.append(profile)
            continue
        oid, value = first
        if not isinstance(value, int):
            unread.append(profile)
            oddities.append(f"{oid} of {profile.title} is no number, so that table is not read")
        elif value in profile.states:
            sound.append(profile)
        else:
            oddities.append(f"{oid} is {value}, which is no state of {profile.title}")
            doubtful.append(profile)
    found = sound + doubtful
    if before in found:
        found.sort(key=lambda profile: profile != before)
    empty = () if found else await _empty(client, candidates, oddities)
    object_id = _system(told, SYS_OBJECT_ID)
    up_time = _system(told, _UP_TIME)
    return Detected(
        object_id=object_id if isinstance(object_id, str) else None,
        description=one_line(_system(told, SYS_DESCR)),
        up_time=up_time if isinstance(up_time, int) else None,
        profile=found[0] if found else None,
        others=tuple(found[1:]),
        empty=empty,
        name=text(_system(told, SYS_NAME)),
        oddities=tuple(dict.fromkeys(oddities))[:_ODDITIES],
        unread=tuple(unread),
    )


def one_line(raw: Value | None, longest: int = 200) -> str | None:
    """A DisplayString with its line ends made blanks, None if nothing printable is left."""
    if not isinstance(raw, bytes):
        return None
    shown = "".join(char if char.isprintable() else " " for char in raw.decode("utf-8", "replace"))
    return " ".join(shown.split())[:longest].rstrip() or None


async def _empty(client: Agent, candidates: Sequence[Profile], oddities: list[str]) -> tuple[Profile, ...]:
    """The profiles of whose MIB the agent has anything at all."""
    try:
        told = await _ask(client, list(dict.fromkeys(profile.base for profile in candidates)), oddities)
    except SourceError as error:  # what was found out before is worth more than this
        oddities.append(str(error))
        return ()
    return tuple(profile for profile in candidates if _within(told, profile.base) is not None)


async def _ask(client: Agent, oids: Sequence[str], oddities: list[str]) -> dict[str, _Next]:
    """One GETNEXT for each OID, and None at the end of the view; without those that were not usably answered."""
    try:
        told = await client.next(oids)
    except SourceError as error:
        # One object that an agent chokes on (genErr, or no answer at all) must not hide the others from an agent that
        # lives; from a dead one the first error is the better text.
        try:
            await client.get([SYS_UP_TIME])
        except SourceError:
            raise error from None
        told = await _one_by_one(client, oids, error, oddities)
    forward: dict[str, _Next] = {}
    for oid, following in told.items():
        if following is not None and not _after(following[0], oid):
            oddities.append(f"the agent goes backwards: after {oid} it answers {following[0]}")
            continue
        forward[oid] = following
    return forward


def _after(oid: str, other: str) -> bool:
    try:
        return arcs(oid) > arcs(other)
    except ConfigError:  # it is no OID at all
        return False


async def _one_by_one(
    client: Agent, oids: Sequence[str], trouble: SourceError, oddities: list[str]
) -> dict[str, _Next]:
    """What an agent answers when it is asked for one object at a time; one that costs too much time is given up."""
    loop = asyncio.get_running_loop()
    told: dict[str, _Next] = {}
    spent = 0.0
    for oid in oids:
        began = loop.time()
        try:
            told.update(await client.next([oid]))
        except SourceError as error:
            oddities.append(str(error))
            spent += loop.time() - began
            if spent > _PATIENCE:
                raise trouble from None
    return told


def _within(told: Mapping[str, _Next], column: str | None) -> _Next:
    """What follows a column's OID, if it lies inside."""
    following = told.get(column) if column is not None else None
    if following is None or column is None or not following[0].startswith(f"{column}."):
        return None
    return following


def _system(told: Mapping[str, _Next], column: str) -> Value | None:
    """A scalar of the system group: its only instance is .0."""
    following = told.get(column)
    return following[1] if following is not None and following[0] == f"{column}.0" else None
