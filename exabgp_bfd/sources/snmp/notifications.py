"""What a notification (trap or inform) says of which BFD sessions, as a hint where to look. Pure.

A hint, not the truth. The standard's own notifications carry two objects whose *instances* are the first and the last
row concerned, and whose values the text wants to be the new state although the object is a diagnostic (RFC 7331
section 5): vendors send either, so those values are not read at all. The state is what the notification's own OID says,
up or down, and where it says only that something changed it is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from exabgp_bfd.core.model import Address, State
from exabgp_bfd.sources.snmp import mibs
from exabgp_bfd.sources.snmp.mibs import Profile, Value

MAX_RANGE = 4096
"""A range of indexes wider than this names nobody: no device has that many sessions in a row, but a forger has."""

_STANDARD_TRAPS = "1.3.6.1.6.3.1.1.5"
_ENTERPRISE_SPECIFIC = 6
_LONGEST_TEXT = 64


@dataclass(frozen=True, slots=True)
class Hint:
    """What a notification says: which rows or which session, and whether they came up or went down."""

    profile: str
    """The name of the profile (`mibs.PROFILES`) whose table the indexes are of, or of a set of traps without one."""
    said: State | None = None
    """UP or DOWN (which may be adminDown); None: something happened to them, ask what."""
    low: str | None = None
    """The index of the first row concerned, as the table has it."""
    high: str | None = None
    """The index of the last one; some agents put the higher one first."""
    peer: Address | None = None
    local: Address | None = None
    discriminator: int | None = None
    """The local one."""
    interface: str | None = None
    """Its name."""
    if_index: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else it told, for the journal: `name`, `vrf`, `diagnostic_number`, a `range` that is too wide."""

    @property
    def somewhere(self) -> bool:
        """Whether it names no session at all, so that the whole device is to be asked."""
        named = (self.low, self.peer, self.discriminator, self.interface, self.if_index)
        return all(name is None for name in named)

    def covers(self, index: str) -> bool:
        """Whether a row's index lies in the range, ends included; other sessions may do so too, so ask."""
        if self.low is None or self.high is None:
            return False
        ends = sorted((_key(self.low), _key(self.high)))
        return ends[0] <= _key(index) <= ends[1]

    def indexes(self) -> Iterator[str]:
        """The indexes from the first to the last, at most MAX_RANGE; other sessions' rows may be among them, so ask."""
        if self.low is None or self.high is None:
            return
        first, last = sorted((_key(self.low), _key(self.high)))
        table = "".join(f"{arc}." for arc in first[:-1])
        for number in range(first[-1], min(last[-1], first[-1] + MAX_RANGE) + 1):
            yield f"{table}{number}"


Varbinds = Sequence[tuple[str, Value]]
"""The values that came with a notification, without sysUpTime.0 and snmpTrapOID.0, in their order."""


def notified(trap_oid: str, varbinds: Varbinds) -> Hint | None:
    """What a notification says of BFD sessions; None when it is about something else."""
    known = _KNOWN.get(trap_oid)
    return None if known is None else known.layout.read(known.said, varbinds)


def translated(enterprise: str, generic: int, specific: int) -> str:
    """The snmpTrapOID of an SNMPv1 trap (RFC 3584 section 3.1)."""
    if generic == _ENTERPRISE_SPECIFIC:
        return f"{enterprise}.0.{specific}"
    return f"{_STANDARD_TRAPS}.{generic + 1}"


# --- values -----------------------------------------------------------------------------------------------------------


def _address(value: Value) -> Address | None:
    """An address as octets, as an IpAddress in dots, or as text; the unspecified one names nobody."""
    if isinstance(value, bytes) and len(value) in {4, 16}:
        return _named(IPv4Address(value) if len(value) == 4 else IPv6Address(value))
    return _address_text(value)


def _address_text(value: Value) -> Address | None:
    """An address as a DisplayString only: 16 characters of text are not 16 octets of an address."""
    shown = value if isinstance(value, str) else _text(value)
    try:
        return None if shown is None else _named(ip_address(shown))
    except ValueError:
        return None


def _named(found: Address) -> Address | None:
    return None if found.is_unspecified else found


def _text(value: Value) -> str | None:
    """A name as one short printable line; agents write a dash for none."""
    if not isinstance(value, bytes):
        return None
    shown = "".join(char for char in value.decode("utf-8", "replace") if char.isprintable()).strip()
    return None if shown in {"", "-"} else shown[:_LONGEST_TEXT]


def _positive(value: Value) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _number(value: Value) -> int | None:
    return value if isinstance(value, int) else None


@dataclass(frozen=True, slots=True)
class _Told:
    """What a value tells: the field of a hint, or a detail, and how it is read; None where it does not tell."""

    what: str
    read: Callable[[Value], Any]


_DETAILS = {"name", "vrf", "diagnostic_number"}


# --- how a set of notifications names its sessions --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a set of notifications says which sessions it means."""

    profile: str
    entries: Mapping[str, Mapping[int, _Told]] = field(default_factory=dict)
    """Conceptual rows whose columns' instances are indexes, and the columns of which the value is read as well."""
    scalars: Mapping[str, _Told] = field(default_factory=dict)
    """Objects outside of the rows, whatever instance they carry."""
    index_column: str | None = None
    """A column that carries the index as its value, so that no instance is looked at."""
    ranged: bool = False
    """The first and the second row named are the ends of a range; else the first is all."""

    def read(self, said: State | None, varbinds: Varbinds) -> Hint:
        """What these values say."""
        indexes: list[str] = []
        known: dict[str, Any] = {}
        for oid, value in varbinds:
            index, told = self._place(oid)
            if self.index_column is not None:
                index = str(value) if isinstance(value, int) and oid.startswith(f"{self.index_column}.") else ""
            if index:
                indexes.append(index)
            if told is not None and told.what not in known:
                seen = told.read(value)
                if seen is not None:
                    known[told.what] = seen
        details = {what: known.pop(what) for what in sorted(_DETAILS & known.keys())}
        low, high = _ends(indexes if self.ranged else indexes[:1])
        if indexes and low is None:
            details["range"] = f"{indexes[0]}-{indexes[1]}"[: 2 * _LONGEST_TEXT]
        return Hint(self.profile, said, low, high, details=details, **known)

    def _place(self, oid: str) -> tuple[str, _Told | None]:
        """The row's index that an object carries, empty where it has none, and what its value tells."""
        for entry, columns in self.entries.items():
            if oid.startswith(f"{entry}."):
                column, _, index = oid[len(entry) + 1 :].partition(".")
                return index, columns.get(int(column))
        for scalar, told in self.scalars.items():
            if oid == scalar or oid.startswith(f"{scalar}."):
                return "", told
        return "", None


@dataclass(frozen=True, slots=True)
class _Notification:
    layout: _Layout
    said: State | None


def _ends(indexes: list[str]) -> tuple[str | None, str | None]:
    """The first and the last row named; nobody where the range between them is too wide to be believed."""
    if not indexes:
        return None, None
    low, high = indexes[0], indexes[min(1, len(indexes) - 1)]
    first, last = _key(low), _key(high)
    if first[:-1] != last[:-1] or abs(first[-1] - last[-1]) >= MAX_RANGE:
        return None, None
    return low, high


def _key(index: str) -> tuple[int, ...]:
    return tuple(int(arc) for arc in index.split("."))


# --- the sets ---------------------------------------------------------------------------------------------------------

_UP, _DOWN = State.UP, State.DOWN

_Set = tuple[_Layout, Mapping[str, State | None]]

_CELLS: Mapping[str, _Told] = {
    "peer": _Told("peer", _address),
    "peer6": _Told("peer", _address),
    "local": _Told("local", _address),
    "local6": _Told("local", _address),
    "discriminator": _Told("discriminator", _positive),
    "interface": _Told("if_index", _positive),
    "interface_name": _Told("interface", _text),
    "diagnostic": _Told("diagnostic_number", _number),
    "name": _Told("name", _text),
    "vrf": _Told("vrf", _text),
}
"""The cells of `mibs` that tell of a session."""

_PEER_TEXT, _LOCAL_TEXT = _Told("peer", _address_text), _Told("local", _address_text)
_INTERFACE = _CELLS["interface_name"]


def _columns(profile: Profile, *cells: str) -> Mapping[int, _Told]:
    """The columns of these cells in the sessions' own table."""
    return {profile.tables[0].columns[cell]: _CELLS[cell] for cell in cells}


def _pair(base: str, layout: _Layout) -> _Set:
    """bfdSessUp and bfdSessDown as RFC 7331 and all its drafts number them."""
    return layout, {f"{base}.0.1": _UP, f"{base}.0.2": _DOWN}


def _ranged(
    profile: Profile, columns: Mapping[int, _Told] | None = None, scalars: Mapping[str, _Told] | None = None
) -> _Set:
    """A MIB of the standard's family: the two objects' instances are the first and the last row."""
    layout = _Layout(profile.name, {profile.entry: columns or {}}, scalars or {}, ranged=True)
    return _pair(profile.base, layout)


def _comware(profile: Profile) -> _Set:
    """The instance is the row's index in both its forms, and the addresses come as text."""
    base = profile.base
    texts = {
        f"{base}.3.1": _CELLS["name"],
        f"{base}.3.2": _CELLS["vrf"],
        f"{base}.3.3": _LOCAL_TEXT,
        f"{base}.3.4": _PEER_TEXT,
    }
    layout = _Layout(profile.name, {profile.entry: {}}, texts)
    # StateChange says which state in a value, and a value is not believed.
    return layout, {f"{base}.0.1": None, f"{base}.0.3": _UP, f"{base}.0.4": _DOWN}


_SLX = "1.3.6.1.4.1.1916.1.55"
_NOKIA_TRAPS = "1.3.6.1.4.1.6527.3.1.3.3.0"
_VIPTELA = "1.3.6.1.4.1.41916.100"
_PAN_TRAPS = "1.3.6.1.4.1.25461.2.1.3.2.0"

_SETS: tuple[_Set, ...] = (
    *(_ranged(profile) for profile in (mibs.BFD_STD, mibs.CISCO, mibs.FOUNDRY, mibs.ARICENT, mibs.SUPERMICRO)),
    *(_ranged(profile) for profile in (mibs.QTECH, mibs.RAISECOM, mibs.ALAXALA, mibs.ZTE_AN)),
    # EXOS's text has bfdSessDiag for the lower end and bfdSessOperMode for the higher one.
    _ranged(mibs.EXTREME),
    # fsBfdSessInterface, fsBfdSessIfName
    _ranged(mibs.FS, {**_columns(mibs.FS, "interface"), 37: _INTERFACE}),
    # jnxBfdSessIfName
    _ranged(mibs.JUNIPER, scalars={"1.3.6.1.4.1.2636.3.45.1.2.1": _INTERFACE}),
    # SLX-OS's own, one a session, name it by the standard's objects; the diagnostic is one there.
    _pair(
        _SLX,
        _Layout(
            mibs.BFD_STD.name,
            {mibs.BFD_STD.entry: _columns(mibs.BFD_STD, "diagnostic", "interface", "local", "peer")},
            {mibs.IF_NAME: _INTERFACE},
        ),
    ),
    # zxr10BfdSessIndex, twice: the value is the index.
    _pair(mibs.ZTE.base, _Layout(mibs.ZTE.name, index_column=f"{mibs.ZTE.entry}.1", ranged=True)),
    (
        _Layout(
            mibs.HUAWEI.name,
            {
                mibs.HUAWEI.entry: {
                    # Both addresses come, and the one that the session has not is 0.0.0.0 or ::.
                    **_columns(mibs.HUAWEI, "peer", "peer6", "local", "local6", "discriminator", "name", "vrf"),
                    **_columns(mibs.HUAWEI, "interface", "interface_name", "diagnostic"),
                    56: _CELLS["peer"],  # hwBfdSessPeerInetAddr
                }
            },
        ),
        {
            f"{mibs.HUAWEI.base}.3.1": _DOWN,  # hwBfdSessDown
            f"{mibs.HUAWEI.base}.3.2": _UP,
            f"{mibs.HUAWEI.base}.3.8": _DOWN,  # hwBfdSessFaultDown, hwBfdSessResume: newer VRP8
            f"{mibs.HUAWEI.base}.3.9": _UP,
            f"{mibs.HUAWEI.base}.3.13": _DOWN,  # hwBfdIPv6SessDown
            f"{mibs.HUAWEI.base}.3.14": _UP,
            # hwBfdSessUpTrap, hwBfdv6SingleHop…, hwBfdv6MultiHop…, hwBfdPWSess…: here up is the odd one
            **{f"{mibs.HUAWEI.base}.6.2.0.{number}": _UP if number % 2 else _DOWN for number in range(1, 9)},
        },
    ),
    *(_comware(profile) for profile in (mibs.H3C, mibs.HPN_ICF, mibs.H3C_OLD, mibs.COMWARE_3COM)),
    (
        # The instance of the discriminator is the row's whole index. What is deleted may be gone for good, or not.
        _Layout(mibs.NOKIA.name, {mibs.NOKIA.entry: _columns(mibs.NOKIA, "discriminator")}),
        {f"{_NOKIA_TRAPS}.61": _DOWN, f"{_NOKIA_TRAPS}.62": _UP, f"{_NOKIA_TRAPS}.63": None},
    ),
    (
        _Layout(mibs.NOKIA_OLD.name, {mibs.NOKIA_OLD.entry: _columns(mibs.NOKIA_OLD, "discriminator")}),
        {f"{_NOKIA_TRAPS}.17": _DOWN, f"{_NOKIA_TRAPS}.28": _UP, f"{_NOKIA_TRAPS}.33": None},
    ),
    (
        # vRtrIfBfdSessNg…: sessions of a table that no profile has, so the whole device is asked.
        _Layout(mibs.NOKIA.name),
        {f"{_NOKIA_TRAPS}.69": _DOWN, f"{_NOKIA_TRAPS}.70": _UP, f"{_NOKIA_TRAPS}.71": None},
    ),
    (
        # ciscoSdwanBfdStateChange with ciscoSdwanBfdSourceIp and DestinationIp; the state is a value.
        _Layout(
            mibs.CISCO_SDWAN.name,
            scalars={f"{mibs.CISCO_SDWAN.base}.2.3": _CELLS["local"], f"{mibs.CISCO_SDWAN.base}.2.4": _CELLS["peer"]},
        ),
        {f"{mibs.CISCO_SDWAN.base}.0.1": None},
    ),
    (
        # viptelaBfdBfdStateChange with viptelaBfdSrcIp and DstIp
        _Layout(mibs.VIPTELA.name, scalars={f"{_VIPTELA}.1.4": _CELLS["local"], f"{_VIPTELA}.1.5": _CELLS["peer"]}),
        {f"{_VIPTELA}.2.4": None},
    ),
    # panBFD…Trap: what they concern is in a text, and there is no table to ask.
    (_Layout("pan-traps"), {f"{_PAN_TRAPS}.{number}": None for number in range(3500, 3505)}),
)


def _spellings(oid: str) -> tuple[str, str]:
    """An OID as it is in v2, and as an SNMPv1 agent's enterprise and number are put together.

    RFC 3584 always puts a zero between them: one too many where the enterprise already ends in it, and one that is
    nowhere in the MIB where it was written for SNMPv1.
    """
    enterprise, _, number = oid.rpartition(".")
    return oid, f"{enterprise}.0.{number}"


_KNOWN: Mapping[str, _Notification] = {
    spelling: _Notification(layout, said)
    for layout, set_ in _SETS
    for oid, said in set_.items()
    for spelling in _spellings(oid)
}
