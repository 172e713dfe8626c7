"""What an SNMP job reads of a device, as rows that JSON can carry: named instances, subtrees, and the tables of a poll.

Our `Client` gives three kinds of values: numbers of any type, octets, and dotted text (OBJECT IDENTIFIER or IpAddress).
So `type` is what can be told of a value honestly: `integer`, `text` or `hex` (octets that are printable UTF-8, or not),
`dotted`, and `missing` for an instance that the agent does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from ipaddress import IPv4Address
from typing import Any, Final

from exabgp_bfd.core.credentials import Context
from exabgp_bfd.core.jobs import MOST_ROWS
from exabgp_bfd.core.model import Address, SourceError
from exabgp_bfd.sources.snmp.client import Client
from exabgp_bfd.sources.snmp.detect import detect
from exabgp_bfd.sources.snmp.mibs import IF_DESCR, IF_NAME, INTERVALS, PROFILES, Profile, Value, profile_for
from exabgp_bfd.sources.snmp.rows import Row, address
from exabgp_bfd.sources.snmp.survey import Found, Table, in_context, read_table
from exabgp_bfd.sources.snmp.target import Target

Heard = Callable[[str, int], None]
"""Takes how far a reading is: of what, and how many rows so far."""
Rows = list[dict[str, Any]]

Ask = Callable[[Target], AbstractAsyncContextManager[Client]]
"""Gives a client of a target for a while."""

WITHHELD: Final = tuple({f"{profile.withheld}." for profile in PROFILES.values() if profile.withheld})
"""Where BFD's authentication keys are (bfdSessAuthenticationKey of RFC 7331 and its like): told to nobody."""

SYSTEM: Final[Mapping[str, str]] = {
    "sysDescr": "1.3.6.1.2.1.1.1.0",
    "sysObjectID": "1.3.6.1.2.1.1.2.0",
    "sysUpTime": "1.3.6.1.2.1.1.3.0",
    "sysContact": "1.3.6.1.2.1.1.4.0",
    "sysName": "1.3.6.1.2.1.1.5.0",
    "sysLocation": "1.3.6.1.2.1.1.6.0",
}

_IF: Final = "1.3.6.1.2.1.2.2.1"
_IFX: Final = "1.3.6.1.2.1.31.1.1.1"
_IF_COLUMNS: Final[Mapping[str, str]] = {
    "description": f"{_IF}.2",
    "name": f"{_IFX}.1",
    "alias": f"{_IFX}.18",
    "type": f"{_IF}.3",
    "mtu": f"{_IF}.4",
    "speed": f"{_IF}.5",
    "high_speed": f"{_IFX}.15",
    "mac": f"{_IF}.6",
    "admin_status": f"{_IF}.7",
    "oper_status": f"{_IF}.8",
    "last_change": f"{_IF}.9",
    "in_octets": f"{_IF}.10",
    "hc_in_octets": f"{_IFX}.6",
    "in_unicast": f"{_IF}.11",
    "hc_in_unicast": f"{_IFX}.7",
    "in_discards": f"{_IF}.13",
    "in_errors": f"{_IF}.14",
    "out_octets": f"{_IF}.16",
    "hc_out_octets": f"{_IFX}.10",
    "out_unicast": f"{_IF}.17",
    "hc_out_unicast": f"{_IFX}.11",
    "out_discards": f"{_IF}.19",
    "out_errors": f"{_IF}.20",
}
_ADMIN: Final = {1: "up", 2: "down", 3: "testing"}
_OPER: Final = {**_ADMIN, 4: "unknown", 5: "dormant", 6: "not_present", 7: "lower_layer_down"}
_MOST_INTERFACES: Final = 20_000
_GAUGE_FULL: Final = 2**32 - 1

_ALWAYS_TOLD: Final = ("remote_discriminator", *INTERVALS, "multiplier", "up_count", "down_count")
"""The cells that a session's row has, also where the device does not tell them."""

_PHYSICAL: Final = "1.3.6.1.2.1.4.35.1"
"""ipNetToPhysicalEntry (RFC 4293)."""
_MEDIA: Final = "1.3.6.1.2.1.4.22.1"
"""ipNetToMediaEntry (RFC 4293, deprecated)."""
_ARP_TYPE: Final = {1: "other", 2: "invalid", 3: "dynamic", 4: "static", 5: "local"}
_ARP_STATE: Final = {
    1: "reachable",
    2: "stale",
    3: "delay",
    4: "probe",
    5: "invalid",
    6: "unknown",
    7: "incomplete",
}


# --- values -------------------------------------------------------------------------------------------------------


def valued(oid: str, value: Value | None) -> dict[str, Any]:
    """An instance as `{"oid", "type", "value"}`; a number is a JSON integer, however large."""
    if oid.startswith(WITHHELD):
        return {"oid": oid, "type": "withheld", "value": None}
    match value:
        case None:
            return {"oid": oid, "type": "missing", "value": None}
        case int():
            return {"oid": oid, "type": "integer", "value": value}
        case str():
            return {"oid": oid, "type": "dotted", "value": value}
    shown = printable(value)
    if shown is not None:
        return {"oid": oid, "type": "text", "value": shown}
    return {"oid": oid, "type": "hex", "value": f"0x{value.hex()}"}


def printable(octets: bytes) -> str | None:
    """Octets as text where they are printable UTF-8 (with tabs and line ends), None where they are not."""
    try:
        shown = octets.decode()
    except UnicodeDecodeError:
        return None
    return shown if all(char.isprintable() or char in "\t\r\n" for char in shown) else None


def mac(octets: Value | None) -> str | None:
    """A physical address as `00:1C:73:AA:BB:CC`; None for none, as loopbacks have."""
    return octets.hex(":").upper() if isinstance(octets, bytes) and octets else None


def _told(value: Value | None) -> int | str | None:
    """A value for people: text stays text, other octets are hexadecimal."""
    if not isinstance(value, bytes):
        return value
    shown = printable(value.rstrip(b"\0"))  # agents written in C send the end of a string along
    return shown if shown is not None else f"0x{value.hex()}"


def _number(value: Value | None) -> int | None:
    return value if isinstance(value, int) else None


def _named(value: Value | None, names: Mapping[int, str]) -> str | int | None:
    """An enumeration's word, or its number where this is none of its words."""
    number = _number(value)
    return None if number is None else names.get(number, number)


# --- what a job reads ---------------------------------------------------------------------------------------------


async def instances(client: Client, oids: Sequence[str]) -> Rows:
    """Named instances, in the order asked for."""
    asked = [oid for oid in oids if not oid.startswith(WITHHELD)]
    told = await client.get(asked) if asked else {}
    return [valued(oid, told.get(oid)) for oid in oids]


async def subtree(client: Client, oid: str, most: int, heard: Heard) -> tuple[list[tuple[str, Value]], bool]:
    """What lies under an OID, at most so many rows, and whether there is more."""
    rows = await client.walk(oid, lambda count: heard("rows", count), limit=most + 1)
    return rows[:most], len(rows) > most


async def system(client: Client) -> dict[str, Any]:
    """The system group (RFC 3418), as far as the agent has it; sysUpTime in hundredths of a second."""
    told = await client.get(list(SYSTEM.values()))
    return {name: _told(told[oid]) for name, oid in SYSTEM.items() if oid in told}


async def interfaces(client: Client, heard: Heard) -> tuple[Rows, bool]:
    """ifTable and ifXTable (RFC 2863) as one row for each interface, and whether there are more."""
    table: dict[int, dict[str, Value]] = {}
    truncated = False
    for cell, column in _IF_COLUMNS.items():
        found = await client.walk(column, limit=_MOST_INTERFACES + 1)
        truncated = truncated or len(found) > _MOST_INTERFACES
        for oid, value in found[:_MOST_INTERFACES]:
            index = oid[len(column) + 1 :]
            if index.isdigit():
                table.setdefault(int(index), {})[cell] = value
        heard("interfaces_walked", len(table))
    return [_interface(index, cells) for index, cells in sorted(table.items())], truncated


def _interface(index: int, cells: Mapping[str, Value]) -> dict[str, Any]:
    wide = isinstance(cells.get("hc_in_octets"), int)

    def count(cell: str) -> int | None:
        return _number(cells.get(f"hc_{cell}", cells.get(cell)))

    return {
        "index": index,
        "name": _told(cells.get("name")),
        "alias": _told(cells.get("alias")),
        "description": _told(cells.get("description")),
        "type": _number(cells.get("type")),
        "mtu": _number(cells.get("mtu")),
        "speed": _speed(_number(cells.get("speed")), _number(cells.get("high_speed"))),
        "mac": mac(cells.get("mac")),
        "admin_status": _named(cells.get("admin_status"), _ADMIN),
        "oper_status": _named(cells.get("oper_status"), _OPER),
        "last_change": _number(cells.get("last_change")),
        "counter_bits": 64 if wide else 32,
        "in_octets": count("in_octets"),
        "in_unicast": count("in_unicast"),
        "in_discards": count("in_discards"),
        "in_errors": count("in_errors"),
        "out_octets": count("out_octets"),
        "out_unicast": count("out_unicast"),
        "out_discards": count("out_discards"),
        "out_errors": count("out_errors"),
    }


def _speed(speed: int | None, high_speed: int | None) -> int | None:
    """Bits per second: ifSpeed, or ifHighSpeed (in millions) where that is full or says nothing."""
    if high_speed and speed in {None, 0, _GAUGE_FULL}:
        return high_speed * 1_000_000
    return speed


async def arp(client: Client, heard: Heard) -> tuple[Rows, bool]:
    """Which MAC address each neighbour has: ipNetToPhysicalTable, or ipNetToMediaTable where that is empty."""
    rows, truncated = await _arp_table(client, _PHYSICAL, {"mac": 4, "type": 6, "state": 7}, heard)
    if not rows:
        rows, truncated = await _arp_table(client, _MEDIA, {"mac": 2, "type": 4}, heard)
    names = await interface_names(client, {row["interface_index"] for row in rows})
    for row in rows:
        row["interface"] = names.get(row["interface_index"])
    return rows, truncated


async def _arp_table(client: Client, entry: str, columns: Mapping[str, int], heard: Heard) -> tuple[Rows, bool]:
    table: dict[str, dict[str, Value]] = {}
    truncated = False
    for cell, number in columns.items():
        column = f"{entry}.{number}"
        if cell != "mac" and not table:
            break

        def progress(count: int) -> None:
            heard("arp_walked", max(count, len(table)))

        found = await client.walk(column, progress, limit=MOST_ROWS + 1)
        truncated = truncated or len(found) > MOST_ROWS
        for oid, value in found[:MOST_ROWS]:
            index = oid[len(column) + 1 :]
            if cell == "mac" or index in table:
                table.setdefault(index, {})[cell] = value
        heard("arp_walked", len(table))
    rows = []
    for index, cells in table.items():
        place = _physical(index) if entry == _PHYSICAL else _media(index)
        if place is None:
            continue
        if_index, ip = place
        rows.append(
            {
                "ip": str(ip),
                "mac": mac(cells.get("mac")),
                "interface_index": if_index,
                "interface": None,
                "type": _named(cells.get("type"), _ARP_TYPE),
                "state": _named(cells.get("state"), _ARP_STATE),
            }
        )
    return rows, truncated


def _physical(index: str) -> tuple[int, Address] | None:
    """`ifIndex.type.length.octets...`."""
    numbers = [int(part) for part in index.split(".")]
    if len(numbers) < 4 or len(numbers) != 3 + numbers[2] or any(number > 255 for number in numbers[3:]):
        return None
    ip = address(numbers[1], bytes(numbers[3:]))
    return None if ip is None else (numbers[0], ip)


def _media(index: str) -> tuple[int, Address] | None:
    """`ifIndex.a.b.c.d`."""
    numbers = [int(part) for part in index.split(".")]
    if len(numbers) != 5 or any(number > 255 for number in numbers[1:]):
        return None
    return numbers[0], IPv4Address(bytes(numbers[1:]))


async def bfd(target: Target, ask: Ask, heard: Heard) -> tuple[Rows, Rows]:
    """The BFD tables of a device, one for each context, and the sessions in them; times in microseconds.

    A context that cannot be read does not hide the others; SourceError where none can be.
    """
    tables: Rows = []
    sessions: Rows = []
    before: list[Row] = []
    troubles: list[SourceError] = []
    contexts = target.contexts or (Context(target.context),)
    for context in contexts:
        table: Table | None = None
        try:
            async with ask(in_context(target, context)) as client:
                profile, notes = await _profile(client, target)
                if profile is not None:
                    table = await read_table(
                        client,
                        profile,
                        target.name,
                        context=context.name,
                        before=before,
                        progress=partial(_further, heard, len(sessions)),
                    )
        except SourceError as error:
            troubles.append(error)
            profile, notes = None, (str(error),)
        if profile is not None and table is not None:
            before += table.rows
            notes += table.notes
            sessions += [_session(profile, found) for found in table.sessions]
        tables.append(
            {
                "context": context.name,
                "profile": None if profile is None else profile.name,
                "title": None if profile is None else profile.title,
                "sessions": 0 if table is None else len(table.sessions),
                "notes": list(notes),
            }
        )
    if len(troubles) == len(contexts):
        raise troubles[0]
    heard("bfd_walked", len(sessions))
    return tables, sessions


def _further(heard: Heard, before: int, _: str, count: int) -> None:
    """How many sessions there are with those of the contexts before; a count never falls."""
    heard("bfd_walked", before + count)


async def _profile(client: Client, target: Target) -> tuple[Profile | None, tuple[str, ...]]:
    """The table to read, as it is configured or found, and what was odd on the way."""
    if target.profile != "auto":
        return profile_for(target.profile, target.oid, target.values), ()
    detected = await detect(client)
    return detected.profile, detected.oddities


def _session(profile: Profile, found: Found) -> dict[str, Any]:
    session = found.session
    return {
        "session": session.name,
        "peer": None if session.peer is None else str(session.peer),
        "local": None if session.local is None else str(session.local),
        "interface": session.interface,
        "vrf": session.vrf,
        "multihop": session.multihop,
        "state": found.state.value,
        "diagnostic": found.diagnostic,
        "discriminator": session.discriminator,
        "index": found.index,
        "profile": profile.name,
        **dict.fromkeys(_ALWAYS_TOLD),
        **found.details,
    }


async def interface_names(client: Client, indexes: Iterable[int]) -> dict[int, str]:
    """Names by ifIndex: ifName, or ifDescr where there is none."""
    names: dict[int, str] = {}
    wanted = {index for index in indexes if index > 0}
    for column in (IF_NAME, IF_DESCR):
        places = {f"{column}.{index}": index for index in sorted(wanted - names.keys())}
        for place, value in (await client.get(list(places)) if places else {}).items():
            name = _told(value)
            if isinstance(name, str) and name:
                names[places[place]] = name
    return names
