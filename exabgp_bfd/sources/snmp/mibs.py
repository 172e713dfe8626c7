"""BFD tables as data. Pure.

A vendor's table is one `Profile`: where its cells are and what its numbers mean. The same number means different states
in different MIBs (1 is adminDown in RFC 7331 and down in a raw RFC 5880 field), so nothing here guesses: a number that
a profile does not know is garbage, never a state. There are four families: the RFC, its draft 14 (the same without
bfdSessOperStatus, so that every later column has another number), its first drafts, and the vendors' own tables. The
column of the authentication key is in no profile, and so is never read.

Cells
-----
IDENTITY   peer, local      addresses: IpAddress, or InetAddress of the InetAddressType peer_type, local_type
           peer6, local6    the same in a column of their own for IPv6
           peer_inet        the same where `peer` has only room for IPv4
           interface        ifIndex, 0 for none
           interface_name   where the table itself names it
           vrf, vrf_id      the VRF's name, its number
           type             the kind of session, see `Profile.multihop`
           discriminator    the local one
SAMPLED    state, diagnostic, up_count, down_count, last_up (see `rows.UpTimes`)
DESCRIBED  what else there is to tell; intervals in the table's own unit until `Profile.microseconds`
An index may hold any of them, and beside them session (the row's own number), link_type, rx_info, router_interface,
protocol, local_port and peer_port.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from exabgp_bfd.core.model import ConfigError, Diagnostic, State

Value = int | bytes | str
"""What SNMP carries: a number of any kind, an OCTET STRING, or an OBJECT IDENTIFIER or IpAddress in dotted text."""

SYS_UP_TIME = "1.3.6.1.2.1.1.3.0"
IF_NAME = "1.3.6.1.2.1.31.1.1.1.1"
IF_DESCR = "1.3.6.1.2.1.2.2.1.2"

IDENTITY = (
    "discriminator",
    "peer_type",
    "peer",
    "peer6",
    "peer_inet",
    "local_type",
    "local",
    "local6",
    "interface",
    "interface_name",
    "vrf",
    "vrf_id",
    "type",
)
"""The cells that say which session a row is."""
SAMPLED = ("state", "diagnostic", "up_count", "down_count", "last_up")
"""The cells that say how it is doing."""
INTERVALS = ("min_tx", "min_rx", "min_echo_rx", "negotiated_tx", "negotiated_rx", "negotiated_echo", "detect_time")
"""The cells that are times between packets, in the unit `Profile.interval`."""
DESCRIBED = (
    "name",
    "remote_discriminator",
    *INTERVALS,
    "multiplier",
    "negotiated_multiplier",
    "last_up",
    "last_down",
    "last_diagnostic",
    "last_down_text",
    "last_up_text",
    "transitions",
    "system_ip",
)
"""The cells worth showing beside the others."""

PLAIN_INDEX = (("session",),)
"""One number, which says nothing."""

_MAX_ARC = 2**32 - 1  # RFC 2578 section 3.5
_OCTETS = frozenset({"peer", "local"})  # length-prefixed octets in an index; everything else there is one number
_NOTHING: Mapping[str, Value] = MappingProxyType({})

STATE_RFC7331: Mapping[int, State] = {
    1: State.ADMIN_DOWN,
    2: State.DOWN,
    3: State.INIT,
    4: State.UP,
    5: State.FAILING,
}
"""bfdSessState (IANAbfdSessStateTC), as in the drafts before it."""

STATE_NO_FAILING: Mapping[int, State] = {number: state for number, state in STATE_RFC7331.items() if number != 5}
"""The same where the MIB has no failing(5), which is of BFD version 0 alone."""

STATE_RFC5880: Mapping[int, State] = {0: State.ADMIN_DOWN, 1: State.DOWN, 2: State.INIT, 3: State.UP}
"""The field of the packet itself (RFC 5880 section 4.1): other meanings of the same numbers."""

STATE_SDWAN: Mapping[int, State] = {**STATE_RFC5880, 4: State.DOWN, 5: State.DOWN}
"""BfdmgrStateEnum of SD-WAN, with invalid(4) and inactive(5): neither carries packets."""

STATE_OPER: Mapping[int, State] = {1: State.UP, 2: State.DOWN, 3: State.ADMIN_DOWN}
"""bfdSessOperStatus (IANAbfdSessOperStatusTC)."""

VALUES: Mapping[str, Mapping[int, State]] = {"oper": STATE_OPER, "state": STATE_RFC7331}
"""The enumerations that the one-OID mode knows by name."""

DIAGNOSTIC_RFC5880: Mapping[int, Diagnostic] = {int(diagnostic): diagnostic for diagnostic in Diagnostic}
"""bfdSessDiag (IANAbfdDiagTC), numbered from 0 as on the wire."""

DIAGNOSTIC_FROM_1: Mapping[int, Diagnostic] = {number + 1: Diagnostic(number) for number in range(9)}
"""The first drafts' TC, noDiagnostic(1) to reverseConcatenatedPathDown(9)."""

DIAGNOSTIC_HUAWEI: Mapping[int, Diagnostic] = {
    **{number: Diagnostic(number) for number in range(9)},
    9: Diagnostic.NEIGHBOR_SIGNALED_SESSION_DOWN,
}
"""hwBfdSessDiag, where 9 is an AdminDown received and no misconnectivity."""

DIAGNOSTIC_ZTE_AN: Mapping[int, Diagnostic] = {
    **{number: Diagnostic(number) for number in range(1, 9)},
    99: Diagnostic.NONE,
}
"""ZxAnBfdStdDiag, where noDiagnostic is 99."""

DIAGNOSTIC_ELTEX: Mapping[int, Diagnostic] = {
    **{number: Diagnostic(number) for number in range(9)},
    16: Diagnostic.MISCONNECTIVITY_DEFECT,
}
"""EltIpBfdDiag; its noContact(255) is no diagnostic of RFC 5880."""

HOPS_RFC7331: Mapping[int, bool] = {1: False, 2: True, 3: True, 4: True}
"""bfdSessType (IANAbfdSessTypeTC): singleHop, and three kinds of multiHop."""

HOPS_TWO: Mapping[int, bool] = {1: False, 2: True}
"""singleHop(1), multiHop(2)."""

HOPS_HUAWEI: Mapping[int, bool] = {1: False, 2: True, 3: True, 4: False}
"""hwBfdSessBindType: with an interface (interfaceIp, ifAndSourceIp), or by addresses alone (peerIp, sourceIp)."""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells that share a conceptual row: its OID, and the number of each cell's column."""

    entry: str
    columns: Mapping[str, int]
    key: tuple[str, ...] = ()
    """The cells that index it; empty: it is indexed as the table of the sessions is."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The BFD session table of a MIB and those that belong to it, and what their values mean."""

    name: str
    title: str
    """How an operator reads of it in a status line."""
    base: str
    """What the MIB has of its own in the tree of OIDs: who answers nothing below it does not have the MIB."""
    tables: tuple[Table, ...]
    """The sessions' own first."""
    states: Mapping[int, State]
    diagnostics: Mapping[int, Diagnostic] = field(default_factory=lambda: DIAGNOSTIC_RFC5880)
    index: tuple[tuple[str, ...], ...] = PLAIN_INDEX
    """The forms an index may have, by what each part of it is; addresses are preceded by their length."""
    interval: int = 1
    """Microseconds in one unit of its intervals."""
    multihop: Mapping[int, bool] = field(default_factory=lambda: MappingProxyType({}))
    """What `type` says."""
    default_vrf: frozenset[Value] = frozenset()
    """How the VRF that is none is named, or numbered."""
    notifications: str | None = None
    """The scalar that switches its notifications on (TruthValue)."""
    withheld: str | None = None
    """The column of the authentication key, which nobody may be told."""
    _places: Mapping[str, Table] = field(init=False, repr=False, compare=False)
    _columns: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        places = {cell: table for table in reversed(self.tables) for cell in table.columns}
        columns = {cell: f"{table.entry}.{table.columns[cell]}" for cell, table in places.items()}
        object.__setattr__(self, "_places", places)
        object.__setattr__(self, "_columns", columns)

    @property
    def entry(self) -> str:
        """The OID of the sessions' conceptual row."""
        return self.tables[0].entry

    def column(self, cell: str) -> str | None:
        """The OID of a cell's column, or None where the MIB has none."""
        return self._columns.get(cell)

    def instance(self, cell: str, index: str, known: Mapping[str, Value] = _NOTHING) -> str | None:
        """The OID of a cell in the row of a session; the empty index is the instance itself.

        A table that is indexed by something else needs to know it: from the session's index, or from `known` cells.
        """
        column = self._columns.get(cell)
        if column is None or not index:
            return column
        key = self._places[cell].key
        if not key:
            return f"{column}.{index}"
        suffix = _suffix(key, {**known, **self.index_cells(index)})
        return None if suffix is None else f"{column}.{suffix}"

    def index_cells(self, index: str) -> Mapping[str, Value]:
        """What an index itself says; nothing where it has none of the forms it should have."""
        try:
            numbers = [int(part) for part in index.split(".")]
        except ValueError:
            return _NOTHING
        for form in self.index:
            cells = _parsed(form, numbers)
            if cells is not None:
                return cells
        return _NOTHING

    def microseconds(self, cell: str, value: Value) -> int | None:
        """An interval as it is told outward; None where it is no number."""
        return value * self.interval if cell in INTERVALS and isinstance(value, int) else None


def _parsed(form: tuple[str, ...], numbers: list[int]) -> dict[str, Value] | None:
    """The parts of an index of this form (RFC 2578 section 7.7), or None if it has another one."""
    cells: dict[str, Value] = {}
    at = 0
    for part in form:
        if at >= len(numbers):
            return None
        if part not in _OCTETS:
            cells[part] = numbers[at]
            at += 1
            continue
        begin, at = at + 1, at + 1 + numbers[at]
        if at > len(numbers) or any(number > 255 for number in numbers[begin:at]):
            return None
        cells[part] = bytes(numbers[begin:at])
    return cells if at == len(numbers) else None


def _suffix(key: tuple[str, ...], cells: Mapping[str, Value]) -> str | None:
    """The index that these cells make, or None where one of them is not known."""
    parts: list[str] = []
    for name in key:
        value = cells.get(name)
        if isinstance(value, bytes) and name in _OCTETS:
            parts += [str(len(value)), *map(str, value)]
        elif isinstance(value, int) and name not in _OCTETS and 0 <= value <= _MAX_ARC:
            parts.append(str(value))
        else:
            return None
    return ".".join(parts)


# --- the RFC, and draft 14 of it ----------------------------------------------------------------------------------

_RFC7331 = {
    "type": 3,
    "discriminator": 4,
    "remote_discriminator": 5,
    "state": 11,
    "diagnostic": 13,
    "interface": 18,
    "local_type": 19,
    "local": 20,
    "peer_type": 21,
    "peer": 22,
    "min_tx": 25,
    "min_rx": 26,
    "min_echo_rx": 27,
    "multiplier": 28,
    "negotiated_tx": 29,
    "negotiated_echo": 30,
    "negotiated_multiplier": 31,
}
_PERF = {"last_up": 9, "last_down": 10, "last_diagnostic": 11, "up_count": 12}

_DRAFT_14 = {
    cell: number - (number > 10)  # bfdSessOperStatus, which became column 10
    for cell, number in _RFC7331.items()
}


BFD_STD = Profile(
    name="bfd-std",
    title="BFD-STD-MIB",
    base="1.3.6.1.2.1.222",
    tables=(Table("1.3.6.1.2.1.222.1.2.1", _RFC7331), Table("1.3.6.1.2.1.222.1.3.1", _PERF)),
    states=STATE_RFC7331,
    multihop=HOPS_RFC7331,
    notifications="1.3.6.1.2.1.222.1.1.3.0",
    withheld="1.3.6.1.2.1.222.1.2.1.35",
)
"""RFC 7331; Extreme SLX-OS, ArubaOS-Switch."""


def _draft_14(name: str, title: str, base: str) -> Profile:
    return Profile(
        name=name,
        title=title,
        base=base,
        tables=(Table(f"{base}.1.2.1", _DRAFT_14), Table(f"{base}.1.3.1", _PERF)),
        states=STATE_RFC7331,
        multihop=HOPS_RFC7331,
        notifications=f"{base}.1.1.2.0",
        withheld=f"{base}.1.2.1.34",
    )


EXTREME = _draft_14("extreme", "EXTREME-IETF-BFD-MIB", "1.3.6.1.4.1.1916.1.43.2")
"""ExtremeXOS 15.5 and later."""
FS = _draft_14("fs", "FS-BFD-MIB", "1.3.6.1.4.1.52642.1.1.10.2.48")
QTECH = _draft_14("qtech", "QTECH-BFD-MIB", "1.3.6.1.4.1.27514.1.1.10.2.48")
RAISECOM = _draft_14("raisecom", "RAISECOM-BFD-MIB", "1.3.6.1.4.1.8886.1.35")

ALAXALA = Profile(
    name="alaxala",
    title="AX-BFD-MIB",
    base="1.3.6.1.4.1.21839.2.4.1.201",
    tables=(
        Table(
            "1.3.6.1.4.1.21839.2.4.1.201.1.2.1",
            # Draft 14 with axBfdSessApplicationId put in as column 18.
            {cell: number + (number > 17) for cell, number in _DRAFT_14.items()},
        ),
        Table("1.3.6.1.4.1.21839.2.4.1.201.1.3.1", _PERF),
    ),
    states=STATE_RFC7331,
    multihop=HOPS_RFC7331,
    notifications="1.3.6.1.4.1.21839.2.4.1.201.1.1.2.0",
    withheld="1.3.6.1.4.1.21839.2.4.1.201.1.2.1.35",
)

ZTE_AN = Profile(
    name="zte-an",
    title="ZTE-AN-BFD-STD-MIB",
    base="1.3.6.1.4.1.3902.1015.16",
    tables=(
        Table(
            "1.3.6.1.4.1.3902.1015.16.1.2.1",
            {
                "type": 3,
                "discriminator": 5,
                "remote_discriminator": 6,
                "state": 11,
                "diagnostic": 13,
                "interface": 18,
                "peer_type": 19,
                "peer": 20,
                "min_tx": 23,
                "min_rx": 24,
                "min_echo_rx": 25,
                "multiplier": 26,
                "negotiated_tx": 27,
                "negotiated_echo": 28,
                "negotiated_multiplier": 29,
                "local_type": 34,
                "local": 35,
            },
        ),
        Table("1.3.6.1.4.1.3902.1015.16.1.3.1", _PERF),
    ),
    states=STATE_RFC7331,
    diagnostics=DIAGNOSTIC_ZTE_AN,
    multihop=HOPS_RFC7331,
    notifications="1.3.6.1.4.1.3902.1015.16.1.1.2.0",
    withheld="1.3.6.1.4.1.3902.1015.16.1.2.1.33",
)
"""ZTE's access line: a draft of its own numbering."""


def _aricent(name: str, title: str, base: str) -> Profile:
    return Profile(
        name=name,
        title=title,
        base=base,
        tables=(Table(f"{base}.2.1.1", _DRAFT_14), Table(f"{base}.2.2.1", _PERF)),
        states=STATE_RFC7331,
        index=(("vrf_id", "session"),),
        multihop=HOPS_RFC7331,
        default_vrf=frozenset({0}),
        withheld=f"{base}.2.1.1.34",
    )


ARICENT = _aricent("aricent", "ARICENT-BFD-STD-MI-MIB", "1.3.6.1.4.1.29601.2.54")
"""The software of many white-box switches: draft 14, each row in a context (0: the default one)."""
SUPERMICRO = _aricent("supermicro", "SUPERMICRO-BFD-STD-MI-MIB", "1.3.6.1.4.1.10876.101.2.54")

# --- the first drafts (2005 to 2008) ------------------------------------------------------------------------------

_FIRST_DRAFTS = {
    "discriminator": 3,
    "remote_discriminator": 4,
    "state": 6,
    "diagnostic": 8,
    "peer_type": 13,
    "peer": 14,
    "min_tx": 15,
    "min_rx": 16,
    "min_echo_rx": 17,
    "multiplier": 18,
}
_FIRST_PERF = {"last_up": 3, "last_down": 4, "last_diagnostic": 5, "up_count": 6}

CISCO = Profile(
    name="cisco",
    title="CISCO-IETF-BFD-MIB",
    base="1.3.6.1.4.1.9.10.137",
    tables=(
        Table("1.3.6.1.4.1.9.10.137.1.2.1", {**_FIRST_DRAFTS, "type": 24, "interface": 25}),
        Table("1.3.6.1.4.1.9.10.137.1.3.1", _FIRST_PERF),
    ),
    states=STATE_RFC7331,
    multihop=HOPS_TWO,
    notifications="1.3.6.1.4.1.9.10.137.1.1.4.0",
)
"""IOS, IOS XE, IOS XR, NX-OS; the diagnostic from 0 since its revision of 2010-02-18."""

JUNIPER = Profile(
    name="juniper",
    title="Junos BFD MIB",
    base="1.3.6.1.4.1.2636.5.3.1",
    tables=(
        # Column 8 (diagnostic) is accessible-for-notify: agents that read the MIB strictly do not have it.
        Table("1.3.6.1.4.1.2636.5.3.1.1.2.1", _FIRST_DRAFTS),
        Table("1.3.6.1.4.1.2636.5.3.1.1.3.1", _FIRST_PERF),
        # JUNIPER-BFD-MIB: the only way to a session's interface.
        Table("1.3.6.1.4.1.2636.3.45.1.1.1.1", {"negotiated_tx": 2, "detect_time": 4, "interface_name": 5}),
    ),
    states=STATE_NO_FAILING,
    diagnostics=DIAGNOSTIC_FROM_1,
    notifications="1.3.6.1.4.1.2636.5.3.1.1.1.4.0",
)
"""BFD-EXPERIMENT-MIB and JUNIPER-BFD-MIB."""

FOUNDRY = Profile(
    name="foundry",
    title="FOUNDRY-BFD-STD-MIB",
    base="1.3.6.1.4.1.1991.3.3.1",
    tables=(
        Table("1.3.6.1.4.1.1991.3.3.1.1.2.1", _FIRST_DRAFTS),
        Table("1.3.6.1.4.1.1991.3.3.1.1.3.1", _FIRST_PERF),
    ),
    states=STATE_NO_FAILING,
    diagnostics=DIAGNOSTIC_FROM_1,
)
"""Brocade NetIron."""

# --- the vendors' own ---------------------------------------------------------------------------------------------

ZTE = Profile(
    name="zte",
    title="ZTE-BFD-MIB",
    base="1.3.6.1.4.1.3902.3.322",
    tables=(
        Table(
            "1.3.6.1.4.1.3902.3.322.1.2.1",
            {
                "discriminator": 4,
                "remote_discriminator": 5,
                "state": 7,
                "diagnostic": 9,
                "local_type": 14,  # one InetAddressType for both
                "local": 15,
                "peer_type": 14,
                "peer": 16,
                "min_tx": 23,
                "min_rx": 24,
                "min_echo_rx": 25,
                "multiplier": 26,
                "type": 31,
                "interface": 32,
            },
        ),
        Table("1.3.6.1.4.1.3902.3.322.1.3.1", {"last_up": 4, "last_diagnostic": 5}),
    ),
    states=STATE_RFC7331,
    diagnostics=DIAGNOSTIC_FROM_1,
    multihop=HOPS_TWO,
    notifications="1.3.6.1.4.1.3902.3.322.1.1.3.0",
)
"""ZXR10 routers."""

HUAWEI = Profile(
    name="huawei",
    title="HUAWEI-BFD-MIB",
    base="1.3.6.1.4.1.2011.5.25.38",
    tables=(
        Table(
            "1.3.6.1.4.1.2011.5.25.38.2.3.1",
            {
                "name": 4,
                "peer": 5,
                "interface": 6,
                "interface_name": 7,
                "discriminator": 8,
                "remote_discriminator": 9,
                "multiplier": 11,
                "negotiated_rx": 13,
                "negotiated_tx": 14,
                "state": 17,
                "diagnostic": 18,
                "local": 19,
                "vrf": 21,
                "type": 26,
                "peer6": 36,
                "local6": 37,
                "peer_type": 55,
                "peer_inet": 56,
            },
        ),
        Table("1.3.6.1.4.1.2011.5.25.38.2.4.1", {"last_down_text": 10, "down_count": 11, "last_up_text": 13}),
    ),
    states=STATE_RFC5880,
    diagnostics=DIAGNOSTIC_HUAWEI,
    interval=1000,
    multihop=HOPS_HUAWEI,
    default_vrf=frozenset({b"_public_"}),
)
"""VRP."""


def _comware(name: str, title: str, base: str) -> Profile:
    return Profile(
        name=name,
        title=title,
        base=base,
        tables=(
            Table(
                f"{base}.1.3.1",
                {
                    "interface": 2,  # in the older form of the index this is the session's number, and the index tells
                    "discriminator": 4,
                    "remote_discriminator": 5,
                    "local_type": 8,  # one InetAddressType for both
                    "local": 9,
                    "peer_type": 8,
                    "peer": 10,
                    "diagnostic": 11,
                    "state": 12,
                },
            ),
            Table(f"{base}.1.4.1", {"down_count": 3}),
            Table(f"{base}.1.5.1", {"last_up": 2, "last_down": 3}),
            Table(f"{base}.1.2.1", {"min_tx": 2, "min_rx": 3, "multiplier": 4}, key=("interface",)),
        ),
        states=STATE_RFC5880,
        diagnostics=DIAGNOSTIC_FROM_1,
        # Two numbers up to the revision of 2014-01-17, one since 2014-12-13.
        index=(("session",), ("interface", "session")),
        interval=1000,  # the MIB says microseconds, a Comware 7 says 400 for its default of 400 ms
    )


H3C = _comware("h3c", "HH3C-BFD-STD-MIB", "1.3.6.1.4.1.25506.2.72")
"""Comware of H3C and HPE."""
HPN_ICF = _comware("hpn-icf", "HPN-ICF-BFD-STD-MIB", "1.3.6.1.4.1.11.2.14.11.15.2.72")
H3C_OLD = _comware("h3c-old", "H3C-BFD-STD-MIB", "1.3.6.1.4.1.2011.10.2.72")
COMWARE_3COM = _comware("3com", "3Com's H3C-BFD-STD-MIB", "1.3.6.1.4.1.43.45.1.10.2.72")

_NOKIA = "1.3.6.1.4.1.6527.3.1.2.3"


def _nokia(name: str, title: str, entry: str, index: tuple[str, ...], columns: Mapping[str, int]) -> Profile:
    return Profile(
        name=name,
        title=title,
        base=entry.rpartition(".")[0],  # the rest of TIMETRA-VRTR-MIB is on every SR OS
        tables=(
            Table(entry, columns),
            Table(f"{_NOKIA}.1.1", {"vrf": 4}, key=("vrf_id",)),  # vRtrName
            Table(f"{_NOKIA}.4.1", {"interface_name": 4}, key=("vrf_id", "router_interface")),  # vRtrIfName
        ),
        states=STATE_RFC5880,
        index=(index,),
        interval=1000,
        default_vrf=frozenset({1, b"Base"}),
    )


_NOKIA_ADDRESSES = ("vrf_id", "router_interface", "local_type", "local", "peer_type", "peer")

NOKIA = _nokia(
    "nokia",
    "TIMETRA-VRTR-MIB",
    f"{_NOKIA}.92.1",
    ("link_type", "rx_info", *_NOKIA_ADDRESSES),
    {
        "state": 8,
        "last_down": 12,
        "last_up": 13,
        "up_count": 14,
        "down_count": 15,
        "discriminator": 16,
        "remote_discriminator": 17,
        "negotiated_tx": 19,
        "negotiated_rx": 20,
    },
)
"""SR OS: vRtrIfBfdSessExtTable, where the addresses are in the index alone."""

NOKIA_OLD = _nokia(
    "nokia-old",
    "TIMETRA-VRTR-MIB (obsolete table)",
    f"{_NOKIA}.34.1",
    _NOKIA_ADDRESSES,
    {
        "state": 6,
        "last_down": 10,
        "last_up": 11,
        "up_count": 12,
        "down_count": 13,
        "discriminator": 14,
        "remote_discriminator": 15,
        "negotiated_tx": 17,
        "negotiated_rx": 18,
    },
)
"""SR OS: vRtrIfBfdSessionTable."""

_OMNISWITCH = "1.3.6.1.4.1.6486.801.1.2.1.45.1"
_OMNISWITCH_6 = "1.3.6.1.4.1.6486.800.1.2.1.45.1"

OMNISWITCH = Profile(
    name="omniswitch",
    title="ALCATEL-IND1-BFD-MIB (AOS 7, 8)",
    base=_OMNISWITCH,
    tables=(
        Table(
            f"{_OMNISWITCH}.1.3.1",
            {
                "peer_type": 2,
                "peer": 3,
                "remote_discriminator": 5,
                "state": 7,
                "diagnostic": 8,
                "interface": 12,
                "negotiated_tx": 13,
                "negotiated_rx": 14,
            },
        ),
        Table(f"{_OMNISWITCH}.1.4.1", {"last_up": 5, "last_down": 6, "last_diagnostic": 7, "up_count": 8}),
    ),
    states=STATE_NO_FAILING,
    index=(("discriminator",),),
    interval=1000,
)

OMNISWITCH_6 = Profile(
    name="omniswitch6",
    title="ALCATEL-IND1-BFD-MIB (AOS 6)",
    base=_OMNISWITCH_6,
    tables=(
        Table(
            f"{_OMNISWITCH_6}.1.4.1",
            {
                "peer_type": 2,
                "peer": 3,
                "remote_discriminator": 4,
                "state": 6,
                "diagnostic": 8,
                "interface": 12,
                "negotiated_tx": 13,
                "negotiated_rx": 14,
            },
        ),
        Table(f"{_OMNISWITCH_6}.1.5.1", {"last_up": 4, "last_down": 5, "last_diagnostic": 6, "up_count": 7}),
    ),
    states=STATE_RFC7331,
    diagnostics=DIAGNOSTIC_FROM_1,
    index=(("discriminator",),),
    interval=1000,
)

ELTEX = Profile(
    name="eltex",
    title="ELTEX-MES-IP-BFD-MIB",
    base="1.3.6.1.4.1.35265.1.23.6",
    tables=(
        Table("1.3.6.1.4.1.35265.1.23.6.4.1", {"state": 7, "diagnostic": 8}),
        Table(
            "1.3.6.1.4.1.35265.1.23.6.3.1",
            {"min_tx": 7, "min_rx": 8, "multiplier": 9},
            key=("interface", "peer_type", "peer", "local_type", "local"),
        ),
    ),
    states=STATE_NO_FAILING,
    diagnostics=DIAGNOSTIC_ELTEX,
    index=(("interface", "peer_type", "peer", "local_type", "local", "remote_discriminator"),),
    interval=1000,
)
"""Eltex MES."""


def _sdwan(name: str, title: str, base: str, entry: str) -> Profile:
    return Profile(
        name=name,
        title=title,
        base=base,
        tables=(
            Table(
                entry,
                {
                    "system_ip": 6,
                    "state": 10,
                    "multiplier": 11,
                    "negotiated_tx": 12,
                    "last_up_text": 13,
                    "transitions": 14,
                },
            ),
        ),
        states=STATE_SDWAN,
        index=(("local", "peer", "protocol", "local_port", "peer_port"),),
        interval=1000,
    )


CISCO_SDWAN = _sdwan("cisco-sdwan", "CISCO-SDWAN-BFD-MIB", "1.3.6.1.4.1.9.9.1002", "1.3.6.1.4.1.9.9.1002.1.1.1.1")
"""IOS XE SD-WAN: BFD in tunnels, which is another thing than that of routing."""
VIPTELA = _sdwan("viptela", "VIPTELA-BFD", "1.3.6.1.4.1.41916.6.1", "1.3.6.1.4.1.41916.6.1.1.1")

PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        # Where several tables of a device have rows, the one that says more: those with VRFs, those with both addresses
        # and the interface, those without. Tunnels last: who has routing sessions means those.
        *(NOKIA, HUAWEI),
        *(BFD_STD, EXTREME, ARICENT, SUPERMICRO, FS, QTECH, RAISECOM, ALAXALA, ZTE_AN),
        *(ZTE, H3C, HPN_ICF, H3C_OLD, COMWARE_3COM, NOKIA_OLD, ELTEX),
        *(CISCO, OMNISWITCH, OMNISWITCH_6, JUNIPER, FOUNDRY),
        *(CISCO_SDWAN, VIPTELA),
    )
}
"""All of them, the preferred first."""


def arcs(oid: str) -> tuple[int, ...]:
    """The numbers of an OID; ConfigError if it is not one."""
    parts = oid.removeprefix(".").split(".")
    if len(parts) < 2 or not all(part.isascii() and part.isdigit() and int(part) <= _MAX_ARC for part in parts):
        raise ConfigError("", f"{oid!r} is not an OID: numbers joined by dots, as 1.3.6.1.2.1.222.1.2.1.11")
    return tuple(int(part) for part in parts)


def one_oid(oid: str, values: str | None = None) -> Profile:
    """The profile of the one-OID mode: an instance or a column, read with one of the enumerations in `VALUES`."""
    numbers = arcs(oid)
    states = VALUES.get(values or "oper")
    if states is None:
        raise ConfigError("", f"values {values!r} is unknown: use one of {', '.join(VALUES)}")
    entry = ".".join(str(number) for number in numbers[:-1])
    return Profile(
        name="oid",
        title=f"{entry}.{numbers[-1]}",
        base=entry,
        tables=(Table(entry, {"state": numbers[-1]}),),
        states=states,
    )


def profile_for(profile: str, oid: str | None = None, values: str | None = None) -> Profile:
    """The profile that a device's settings name; ConfigError says what is wrong with them.

    `auto` is any: the standard one, until the device was asked which it has.
    """
    if profile == "oid":
        if not oid:
            raise ConfigError("", 'profile "oid" needs an oid')
        return one_oid(oid, values)
    if profile == "auto":
        return BFD_STD
    found = PROFILES.get(profile)
    if found is None:
        raise ConfigError("", f"profile {profile!r} is unknown: use one of auto, {', '.join(PROFILES)}, oid")
    return found
