"""A plausible device for every BFD table that is known, written by us from the MIBs, and what should be read of it.

Where columns are and what numbers mean is written down here from the MIBs' texts a second time, on purpose: a mistake
in `sources/snmp/mibs.py` must not repeat itself in what tests it. Nothing is copied from a device's walk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from exabgp_bfd.core.model import Address, Diagnostic, State
from lab.agent import value

PORTS = {10: "ge-0/0/10", 11: "ge-0/0/11", 12: "ge-0/0/12"}
INTERVAL = 300_000
"""Microseconds: what every session of every device sends at."""

IF_DESCR, IF_NAME = "1.3.6.1.2.1.2.2.1.2", "1.3.6.1.2.1.31.1.1.1.1"

RFC = {State.ADMIN_DOWN: 1, State.DOWN: 2, State.INIT: 3, State.UP: 4}
WIRE = {State.ADMIN_DOWN: 0, State.DOWN: 1, State.INIT: 2, State.UP: 3}
"""The field of RFC 5880."""

DIAGNOSTICS = {
    State.UP: Diagnostic.NONE,
    State.DOWN: Diagnostic.CONTROL_DETECTION_TIME_EXPIRED,
    State.INIT: Diagnostic.NEIGHBOR_SIGNALED_SESSION_DOWN,
    State.ADMIN_DOWN: Diagnostic.ADMINISTRATIVELY_DOWN,
}


@dataclass(frozen=True)
class Told:
    """A session as it is, and as it should be understood: None for what this table does not tell."""

    number: int
    peer: Address | None
    local: Address | None
    port: int | None
    state: State
    ups: int | None = 1
    downs: int | None = 0
    multihop: bool | None = False
    vrf: str | None = None
    diagnostic: Diagnostic | None = None
    discriminator: int | None = None
    interval: int | None = INTERVAL
    index: str = ""
    interface: str | None = None

    @property
    def key(self) -> tuple[Address | None, str | None]:
        """What tells the sessions of one device apart."""
        return self.peer, self.interface


@dataclass(frozen=True)
class Recording:
    """A device: its cells as (tag, text) of snmprec by OID, and its sessions."""

    name: str
    entry: str
    """The conceptual row of the table that its sessions are in."""
    cells: Mapping[str, tuple[str, str]]
    sessions: tuple[Told, ...]
    state: str
    """The OID of the state column."""
    states: Mapping[State, int]
    counters: Mapping[str, str] = field(default_factory=dict)
    """The columns `ups` and `downs`, where there are such."""
    entries: tuple[str, ...] = ()
    """All entries that share the session's index."""

    @property
    def snmprec(self) -> str:
        lines = sorted(self.cells.items(), key=lambda cell: [int(arc) for arc in cell[0].split(".")])
        return "".join(f"{oid}|{tag}|{text}\n" for oid, (tag, text) in lines)

    @property
    def table(self) -> dict[str, bytes]:
        """As `lab.agent.Agent` serves it."""
        return {oid: value(tag, text) for oid, (tag, text) in self.cells.items()}

    def with_cells(self, other: Recording) -> Recording:
        """The same device with another's table beside its own."""
        return replace(self, name=f"{self.name} and {other.name}", cells={**other.cells, **self.cells})


def _session(number: int, peer: str, local: str, port: int | None, state: State, **more: object) -> Told:
    return Told(
        number,
        ip_address(peer),
        ip_address(local),
        port,
        state,
        diagnostic=DIAGNOSTICS[state],
        discriminator=41_000 + number,
        interface=PORTS.get(port or 0),
        **more,  # type: ignore[arg-type]
    )


FLEET = (
    _session(1, "192.0.2.1", "192.0.2.2", 10, State.UP, ups=3, downs=2),
    _session(2, "192.0.2.5", "192.0.2.6", 10, State.DOWN, ups=1, downs=1),  # the second on its port
    _session(3, "2001:db8::1", "2001:db8::2", 11, State.UP),
    _session(4, "198.51.100.1", "198.51.100.2", 11, State.INIT, ups=7, downs=7),
    _session(5, "198.51.100.9", "198.51.100.10", 12, State.ADMIN_DOWN, ups=0),
    _session(6, "203.0.113.7", "203.0.113.1", None, State.UP, multihop=True),
    _session(7, "10.0.0.1", "10.0.0.2", 10, State.UP, ups=2, downs=1),  # one peer on two ports
    _session(8, "10.0.0.1", "10.0.0.2", 12, State.DOWN, ups=2, downs=2),
)


class _Device:
    """A device as it is written."""

    def __init__(self, vendor: str, title: str, *, names: str = IF_NAME) -> None:
        self.cells: dict[str, tuple[str, str]] = {
            "1.3.6.1.2.1.1.1.0": ("4", f"{title}, written for the tests of exabgp-bfd"),
            "1.3.6.1.2.1.1.2.0": ("6", f"1.3.6.1.4.1.{vendor}"),
            "1.3.6.1.2.1.1.3.0": ("67", "123456789"),
            "1.3.6.1.2.1.1.5.0": ("4", "edge"),
        }
        for port, name in PORTS.items():
            self.cells[f"{names}.{port}"] = ("4", name)
            self.cells[f"1.3.6.1.2.1.2.2.1.8.{port}"] = ("2", "1")  # ifOperStatus: neighbours of what is read
        self.cells["1.3.6.1.2.1.131.1.1.0"] = ("2", "1")
        self.cells["1.3.6.1.6.3.1.1.6.1.0"] = ("2", "1")  # snmpSetSerialNo: beyond every table

    def put(self, entry: str, column: int | None, index: str, tag: str, text: object) -> None:
        if column is not None:
            self.cells[f"{entry}.{column}.{index}"] = (tag, str(text))

    def inet(self, entry: str, kind: int | None, column: int | None, index: str, address: Address) -> None:
        """InetAddressType and InetAddress."""
        self.put(entry, kind, index, "2", 1 if address.version == 4 else 2)
        self.put(entry, column, index, "4x", address.packed.hex())


@dataclass(frozen=True)
class _Layout:
    """A table of a family: the numbers of its columns."""

    entry: str
    local_discr: int | None
    remote_discr: int | None
    state: int
    diag: int | None
    dst_type: int
    dst: int
    src_type: int | None = None
    src: int | None = None
    if_index: int | None = None
    type: int | None = None
    admin: int | None = None
    min_tx: int | None = None
    min_rx: int | None = None
    detect_mult: int | None = None
    neg_interval: int | None = None
    version: int | None = None
    auth_key: int | None = None
    states: Mapping[State, int] = field(default_factory=lambda: RFC)
    first_diag: int = 0
    """The number of noDiagnostic."""
    microseconds: int = 1
    """In one unit of its intervals."""
    perf: str | None = None
    ups: int | None = None
    downs: int | None = None
    up_time: int | None = None
    last_down: int | None = None
    diag_hidden: bool = False
    """Not accessible, so in no walk."""


# Family A, drafts 01 to 04 of the BFD MIB: Cisco, Juniper, Foundry.
_DRAFT_02 = {
    "local_discr": 3,
    "remote_discr": 4,
    "state": 6,
    "diag": 8,
    "dst_type": 13,
    "dst": 14,
    "min_tx": 15,
    "min_rx": 16,
    "detect_mult": 18,
}
_DRAFT_02_PERF = {"up_time": 3, "last_down": 4, "ups": 6}
# Family B, draft 14: EXOS, Aricent and those who took it from them.
_DRAFT_14 = {
    "version": 2,
    "type": 3,
    "local_discr": 4,
    "remote_discr": 5,
    "admin": 9,
    "state": 10,
    "diag": 12,
    "if_index": 17,
    "src_type": 18,
    "src": 19,
    "dst_type": 20,
    "dst": 21,
    "min_tx": 24,
    "min_rx": 25,
    "detect_mult": 27,
    "neg_interval": 28,
}
_PERF_7331 = {"up_time": 9, "last_down": 10, "ups": 12}

BFD_STD = _Layout(
    "1.3.6.1.2.1.222.1.2.1",
    version=2,
    type=3,
    local_discr=4,
    remote_discr=5,
    admin=9,
    state=11,
    diag=13,
    if_index=18,
    src_type=19,
    src=20,
    dst_type=21,
    dst=22,
    min_tx=25,
    min_rx=26,
    detect_mult=28,
    neg_interval=29,
    auth_key=35,
    perf="1.3.6.1.2.1.222.1.3.1",
    **_PERF_7331,
)
CISCO = _Layout(
    "1.3.6.1.4.1.9.10.137.1.2.1",
    **_DRAFT_02,
    version=23,
    type=24,
    if_index=25,
    perf="1.3.6.1.4.1.9.10.137.1.3.1",
    **_DRAFT_02_PERF,
)
JUNIPER = _Layout(
    "1.3.6.1.4.1.2636.5.3.1.1.2.1",
    **_DRAFT_02,
    first_diag=1,
    diag_hidden=True,
    perf="1.3.6.1.4.1.2636.5.3.1.1.3.1",
    **_DRAFT_02_PERF,
)
FOUNDRY = _Layout(
    "1.3.6.1.4.1.1991.3.3.1.1.2.1",
    **_DRAFT_02,
    first_diag=1,
    perf="1.3.6.1.4.1.1991.3.3.1.1.3.1",
    **_DRAFT_02_PERF,
)
EXOS = _Layout("1.3.6.1.4.1.1916.1.43.2.1.2.1", **_DRAFT_14, perf="1.3.6.1.4.1.1916.1.43.2.1.3.1", **_PERF_7331)
FS = _Layout(
    "1.3.6.1.4.1.52642.1.1.10.2.48.1.2.1", **_DRAFT_14, perf="1.3.6.1.4.1.52642.1.1.10.2.48.1.3.1", **_PERF_7331
)
ARICENT = _Layout("1.3.6.1.4.1.29601.2.54.2.1.1", **_DRAFT_14)
SUPERMICRO = _Layout("1.3.6.1.4.1.10876.101.2.54.2.1.1", **_DRAFT_14)
ZTE = _Layout(
    "1.3.6.1.4.1.3902.3.322.1.2.1",
    local_discr=4,
    remote_discr=5,
    state=7,
    diag=9,
    first_diag=1,
    dst_type=14,
    dst=16,
    src=15,
    min_tx=23,
    min_rx=24,
    detect_mult=26,
    version=30,
    type=31,
    if_index=32,
)
# Those who took draft 14 with a column of their own in it, or in another order.
ALAXALA = _Layout(
    "1.3.6.1.4.1.21839.2.4.1.201.1.2.1",
    **{
        **_DRAFT_14,
        "src_type": 19,
        "src": 20,
        "dst_type": 21,
        "dst": 22,
        "min_tx": 25,
        "min_rx": 26,
        "detect_mult": 28,
        "neg_interval": 29,
    },
    perf="1.3.6.1.4.1.21839.2.4.1.201.1.3.1",
    **_PERF_7331,
)
ZTE_AN = _Layout(
    "1.3.6.1.4.1.3902.1015.16.1.2.1",
    type=3,
    local_discr=5,
    remote_discr=6,
    state=11,
    diag=13,
    diag_hidden=True,
    if_index=18,
    dst_type=19,
    dst=20,
    min_tx=23,
    min_rx=24,
    detect_mult=26,
    neg_interval=27,
    auth_key=33,
    src_type=34,
    src=35,
    perf="1.3.6.1.4.1.3902.1015.16.1.3.1",
    **_PERF_7331,
)
QTECH = _Layout(
    "1.3.6.1.4.1.27514.1.1.10.2.48.1.2.1", **_DRAFT_14, perf="1.3.6.1.4.1.27514.1.1.10.2.48.1.3.1", **_PERF_7331
)
RAISECOM = _Layout("1.3.6.1.4.1.8886.1.35.1.2.1", **_DRAFT_14, perf="1.3.6.1.4.1.8886.1.35.1.3.1", **_PERF_7331)
AOS6 = _Layout(
    "1.3.6.1.4.1.6486.800.1.2.1.45.1.1.4.1",
    local_discr=None,  # the index
    remote_discr=4,
    state=6,
    diag=8,
    first_diag=1,
    dst_type=2,
    dst=3,
    if_index=12,
    neg_interval=13,
    microseconds=1000,
    perf="1.3.6.1.4.1.6486.800.1.2.1.45.1.1.5.1",
    up_time=4,
    last_down=5,
    ups=7,
)
AOS7 = _Layout(
    "1.3.6.1.4.1.6486.801.1.2.1.45.1.1.3.1",
    local_discr=None,
    remote_discr=5,
    state=7,
    diag=8,
    dst_type=2,
    dst=3,
    if_index=12,
    neg_interval=13,
    microseconds=1000,
    perf="1.3.6.1.4.1.6486.801.1.2.1.45.1.1.4.1",
    up_time=5,
    last_down=6,
    ups=8,
)


def _h3c(base: str) -> _Layout:
    return _Layout(
        f"{base}.1.3.1",
        local_discr=4,
        remote_discr=5,
        state=12,
        states=WIRE,
        diag=11,
        first_diag=1,
        dst_type=8,
        dst=10,
        src=9,
        microseconds=1000,
        perf=f"{base}.1.4.1",
        downs=3,
    )


def _draft(name: str, vendor: str, layout: _Layout, title: str, **more: object) -> Recording:
    """A device whose table is one of the drafts', or near them."""
    names, index_of = str(more.get("names", IF_NAME)), more.get("index_of")
    device = _Device(vendor, title, names=names)
    entry = layout.entry
    sessions = []
    for told in FLEET:
        index = index_of(told) if callable(index_of) else str(100 + told.number)
        said = _row(device, layout, told, index)
        sessions.append(said)
    counters = {}
    if layout.perf is not None:
        pairs = (("ups", layout.ups), ("downs", layout.downs))
        counters = {what: f"{layout.perf}.{column}" for what, column in pairs if column is not None}
    entries = (entry,) if layout.perf is None else (entry, layout.perf)
    return Recording(
        name, entry, device.cells, tuple(sessions), f"{entry}.{layout.state}", layout.states, counters, entries
    )


def _row(device: _Device, layout: _Layout, told: Told, index: str) -> Told:
    """Writes a session down; gives what of it can be read."""
    entry, state = layout.entry, told.state
    device.put(entry, layout.version, index, "66", 1)
    device.put(entry, layout.type, index, "2", 2 if told.multihop else 1)
    device.put(entry, layout.local_discr, index, "66", told.discriminator)
    if state is State.UP:  # one that was never heard of is not told
        device.put(entry, layout.remote_discr, index, "66", 9000 + told.number)
    device.put(entry, layout.admin, index, "2", 1)
    device.put(entry, layout.state, index, "2", layout.states[state])
    if layout.diag is not None and not layout.diag_hidden:
        device.put(entry, layout.diag, index, "2", int(told.diagnostic or 0) + layout.first_diag)
    device.put(entry, layout.if_index, index, "2", told.port or 0)
    assert told.peer is not None
    assert told.local is not None
    device.inet(entry, layout.dst_type, layout.dst, index, told.peer)
    device.inet(entry, layout.src_type, layout.src, index, told.local)
    for column in (layout.min_tx, layout.min_rx, layout.neg_interval):
        device.put(entry, column, index, "66", INTERVAL // layout.microseconds)
    device.put(entry, layout.detect_mult, index, "66", 3)
    device.put(entry, layout.auth_key, index, "4", "a key that nobody may read")
    if layout.perf is not None:
        device.put(layout.perf, layout.ups, index, "65", told.ups)
        device.put(layout.perf, layout.downs, index, "65", told.downs)
        device.put(layout.perf, layout.up_time, index, "67", 123_000_000 if told.ups else 0)
        device.put(layout.perf, layout.last_down, index, "67", 122_000_000)
    has_port = layout.if_index is not None
    timed = (layout.min_tx, layout.neg_interval) != (None, None)
    return replace(
        told,
        index=index,
        local=told.local if layout.src is not None else None,
        port=told.port if has_port else None,
        interface=told.interface if has_port else None,
        multihop=told.multihop if layout.type is not None else None,
        diagnostic=told.diagnostic if layout.diag is not None and not layout.diag_hidden else None,
        discriminator=told.discriminator if layout.local_discr is not None else int(index.rsplit(".", maxsplit=1)[-1]),
        ups=told.ups if layout.ups is not None else None,
        downs=told.downs if layout.downs is not None else None,
        interval=INTERVAL if timed else None,
    )


def _own(recording: Recording, cells: Mapping[str, tuple[str, str] | None], **each: object) -> Recording:
    """A recording with some cells other (None: without them), and what that changes of each session."""
    made = {oid: said for oid, said in {**recording.cells, **cells}.items() if said is not None}
    sessions = tuple(replace(told, **each) for told in recording.sessions)  # type: ignore[arg-type]
    return replace(recording, cells=made, sessions=sessions)


def bfd_std() -> Recording:
    """RFC 7331: an Extreme SLX, an ArubaOS switch."""
    return _draft("bfd-std", "1588.3.3.1.1000", BFD_STD, "SLX-OS")


def cisco() -> Recording:
    """IOS-XR: diagnostics from 0 since 2010-02-18, no local address."""
    return _draft("cisco", "9.1.2658", CISCO, "Cisco IOS XR Software")


def nxos() -> Recording:
    """NX-OS: never a diagnostic, names in ifDescr alone, the index is the discriminator."""
    made = _draft(
        "cisco nx-os",
        "9.12.3.1.3.1084",
        CISCO,
        "Cisco NX-OS",
        names=IF_DESCR,
        index_of=lambda told: str(41_000 + told.number),
    )
    gone = {f"{CISCO.entry}.{CISCO.diag}.{told.index}": None for told in made.sessions}
    return _own(made, gone, diagnostic=None)


def juniper() -> Recording:
    """Junos: names of interfaces in JUNIPER-BFD-MIB, no diagnostic in the table, the index is the discriminator."""
    made = _draft("juniper", "2636.1.1.1.2.25", JUNIPER, "Junos", index_of=lambda told: str(41_000 + told.number))
    names = {
        f"1.3.6.1.4.1.2636.3.45.1.1.1.1.5.{41_000 + told.number}": ("4", told.interface)
        for told in FLEET
        if told.interface is not None
    }
    sessions = tuple(replace(said, interface=told.interface) for said, told in zip(made.sessions, FLEET, strict=True))
    entries = (*made.entries, "1.3.6.1.4.1.2636.3.45.1.1.1.1")
    return replace(_own(made, names), sessions=sessions, entries=entries)


def foundry() -> Recording:
    """NetIron: neither a local address nor an interface, diagnostics from 1."""
    return _draft("foundry", "1991.1.3.44.2", FOUNDRY, "NetIron CES")


def exos() -> Recording:
    return _draft("exos", "1916.2.141", EXOS, "ExtremeXOS")


def fs() -> Recording:
    return _draft("fs", "52642.1.1.10.1.115", FS, "FS S5860")


def aricent(layout: _Layout = ARICENT, name: str = "aricent", vendor: str = "29601.2.1") -> Recording:
    """Aricent ISS: the index begins with the context, 0 being the default one."""
    made = _draft(
        name, vendor, layout, "Aricent ISS", index_of=lambda told: f"{int(told.number == 7)}.{100 + told.number}"
    )
    sessions = tuple(replace(told, vrf="1" if told.number == 7 else None) for told in made.sessions)
    return replace(made, sessions=sessions)


def alaxala() -> Recording:
    return _draft("alaxala", "21839.1.2.20", ALAXALA, "AX3660S")


def zte_an() -> Recording:
    """ZTE's access line: the diagnostic is accessible-for-notify."""
    return _draft("zte-an", "3902.1015.320.1.1.8", ZTE_AN, "C320")


def qtech() -> Recording:
    return _draft("qtech", "27514.1.1.1.310", QTECH, "QSW-6900")


def raisecom() -> Recording:
    return _draft("raisecom", "8886.6.272", RAISECOM, "ROAP")


def eltex() -> Recording:
    """MES: all but the state is in the index, intervals in a table of their own in milliseconds."""
    entry, timers = "1.3.6.1.4.1.35265.1.23.6.4.1", "1.3.6.1.4.1.35265.1.23.6.3.1"
    device = _Device("35265.1.222", "MES5324")
    sessions = []
    for told in FLEET:
        assert told.peer is not None
        assert told.local is not None
        key = f"{told.port or 0}.{_in_index(told.peer)}.{_in_index(told.local)}"
        index = f"{key}.{9000 + told.number}"
        device.put(entry, 7, index, "2", RFC[told.state])
        device.put(entry, 8, index, "2", int(told.diagnostic or 0))
        device.put(timers, 7, key, "66", INTERVAL // 1000)
        device.put(timers, 8, key, "66", INTERVAL // 1000)
        device.put(timers, 9, key, "66", 3)
        sessions.append(replace(told, index=index, discriminator=None, multihop=None, ups=None, downs=None))
    return Recording("eltex", entry, device.cells, tuple(sessions), f"{entry}.7", RFC, {}, (entry,))


def supermicro() -> Recording:
    return aricent(SUPERMICRO, "supermicro", "10876.101.1.24")


def zte() -> Recording:
    return _draft("zte", "3902.3.100.6002.2", ZTE, "ZXR10")


def aos6() -> Recording:
    """OmniSwitch AOS 6: the index is the local discriminator, diagnostics from 1, intervals in milliseconds."""
    return _draft("omniswitch 6", "6486.800.1.1.2.1.11.1.1", AOS6, "AOS 6")


def aos7() -> Recording:
    return _draft("omniswitch 7", "6486.801.1.1.2.1.10.1.1", AOS7, "AOS 7")


def h3c(base: str = "1.3.6.1.4.1.25506.2.72", name: str = "h3c", *, old_index: bool = False) -> Recording:
    """Comware: its timers are its interfaces', its counters' rows are there for sessions that came up once.

    The index is {index} since 2014-12-13 and was {ifIndex, index} before; the column of the other thing changed too.
    """
    layout = _h3c(base)
    made = _draft(
        name,
        "25506.1.921",
        layout,
        "H3C Comware Platform Software",
        index_of=lambda told: f"{told.port or 0}.{100 + told.number}" if old_index else str(100 + told.number),
    )
    cells: dict[str, tuple[str, str] | None] = {}
    for port in PORTS:
        cells[f"{base}.1.2.1.2.{port}"] = cells[f"{base}.1.2.1.3.{port}"] = ("66", str(INTERVAL // 1000))
        cells[f"{base}.1.2.1.4.{port}"] = ("66", "5")
    sessions = []
    for told, said in zip(FLEET, made.sessions, strict=True):
        # The second column: the interface, or in the older form the session's own number.
        second = 100 + told.number if old_index else told.port or 0
        cells[f"{layout.entry}.2.{said.index}"] = ("2", str(second))
        cells[f"{layout.entry}.3.{said.index}"] = ("4x", "80")
        if not told.ups:
            cells[f"{base}.1.4.1.3.{said.index}"] = None
        sessions.append(
            replace(
                said,
                port=told.port,
                interface=told.interface,
                downs=told.downs if told.ups else None,
                interval=INTERVAL if told.port else None,
            )
        )
    return replace(_own(made, cells), sessions=tuple(sessions))


def huawei() -> Recording:
    """VRP: addresses by their version in other columns, the interface's name and the VRF in the row, milliseconds."""
    entry, perf = "1.3.6.1.4.1.2011.5.25.38.2.3.1", "1.3.6.1.4.1.2011.5.25.38.2.4.1"
    device = _Device("2011.2.239.19", "Huawei Versatile Routing Platform")
    sessions = []
    for told in FLEET:
        index = str(told.discriminator)
        assert told.peer is not None
        assert told.local is not None
        device.put(entry, 4, index, "4", f"bfd{told.number}")
        if isinstance(told.peer, IPv4Address):
            device.put(entry, 5, index, "64", told.peer)
            device.put(entry, 19, index, "64", told.local)
        else:
            device.put(entry, 5, index, "64", "0.0.0.0")
            device.put(entry, 19, index, "64", "0.0.0.0")
            device.put(entry, 36, index, "4x", told.peer.packed.hex())
            device.put(entry, 37, index, "4x", told.local.packed.hex())
        device.put(entry, 6, index, "2", told.port or 0)
        device.put(entry, 7, index, "4", told.interface or "")
        device.put(entry, 8, index, "66", told.discriminator)
        device.put(entry, 9, index, "66", 9000 + told.number)
        device.put(entry, 11, index, "2", 3)
        device.put(entry, 13, index, "2", INTERVAL // 1000)
        device.put(entry, 14, index, "2", INTERVAL // 1000)
        device.put(entry, 17, index, "2", WIRE[told.state])
        device.put(entry, 18, index, "2", int(told.diagnostic or 0))
        vrf = "red" if told.number == 7 else None
        device.put(entry, 21, index, "4", vrf or "_public_")
        device.put(entry, 22, index, "2", 2)
        device.put(entry, 26, index, "2", 2 if told.multihop else 1)  # peerIp, interfaceIp
        device.put(perf, 10, index, "4", "2026-11-20 10:00:00")
        device.put(perf, 11, index, "65", told.downs)
        sessions.append(replace(told, index=index, ups=None, vrf=vrf))
    return Recording(
        "huawei",
        entry,
        device.cells,
        tuple(sessions),
        f"{entry}.17",
        WIRE,
        {"downs": f"{perf}.11"},
        (entry, perf),
    )


def _in_index(address: Address) -> str:
    """InetAddressType and InetAddress as parts of an index: the second with its length."""
    packed = address.packed
    return f"{1 if address.version == 4 else 2}.{len(packed)}." + ".".join(str(octet) for octet in packed)


def nokia() -> Recording:
    """SR OS: addresses and virtual router are in the index alone; no number of a diagnostic, but BITS."""
    entry = "1.3.6.1.4.1.6527.3.1.2.3.92.1"
    device = _Device("6527.1.3.4", "TiMOS-C-22.10.R1")
    sessions = []
    for told in FLEET:
        assert told.peer is not None
        assert told.local is not None
        router = 5 if told.number == 7 else 1
        link = told.port or 0
        index = f"1.0.{router}.{link}.{_in_index(told.local)}.{_in_index(told.peer)}"
        _nokia_row(device, entry, (7, 8, 9, 12, 13, 14, 15, 16, 17, 19, 20), told, index)
        sessions.append(_nokia_names(device, told, index, router))
    counters = {"ups": f"{entry}.14", "downs": f"{entry}.15"}
    return Recording("nokia", entry, device.cells, tuple(sessions), f"{entry}.8", WIRE, counters, (entry,))


def _nokia_row(device: _Device, entry: str, columns: tuple[int, ...], told: Told, index: str) -> None:
    oper, state, flags, last_down, last_up, ups, downs, local, remote, tx, rx = columns
    device.put(entry, oper, index, "2", 2 if told.state is State.UP else 3)
    device.put(entry, state, index, "2", WIRE[told.state])
    device.put(entry, flags, index, "4x", "0000" if told.state is State.UP else "4000")  # noHeartBeat(1)
    device.put(entry, last_down, index, "67", 122_000_000)
    device.put(entry, last_up, index, "67", 123_000_000 if told.ups else 0)
    device.put(entry, ups, index, "65", told.ups)
    device.put(entry, downs, index, "65", told.downs)
    device.put(entry, local, index, "66", told.discriminator)
    device.put(entry, remote, index, "66", 9000 + told.number)
    device.put(entry, tx, index, "66", INTERVAL // 1000)
    device.put(entry, rx, index, "66", INTERVAL // 1000)


def _nokia_names(device: _Device, told: Told, index: str, router: int) -> Told:
    """vRtrName and vRtrIfName: the number of a router's interface is no ifIndex."""
    device.put("1.3.6.1.4.1.6527.3.1.2.3.1.1", 4, str(router), "4", "red" if router != 1 else "Base")
    if told.port:
        device.put("1.3.6.1.4.1.6527.3.1.2.3.4.1", 4, f"{router}.{told.port}", "4", f"to-{told.interface}")
    interface = f"to-{told.interface}" if told.port else None
    vrf = "red" if router != 1 else None
    return replace(told, index=index, diagnostic=None, multihop=None, port=None, interface=interface, vrf=vrf)


def nokia_old() -> Recording:
    """SR OS before the extended table."""
    entry = "1.3.6.1.4.1.6527.3.1.2.3.34.1"
    device = _Device("6527.1.3.4", "TiMOS-C-5.0.R1")
    sessions = []
    for told in FLEET:
        assert told.peer is not None
        assert told.local is not None
        index = f"1.{told.port or 0}.{_in_index(told.local)}.{_in_index(told.peer)}"
        _nokia_row(device, entry, (5, 6, 7, 10, 11, 12, 13, 14, 15, 17, 18), told, index)
        sessions.append(_nokia_names(device, told, index, 1))
    counters = {"ups": f"{entry}.12", "downs": f"{entry}.13"}
    return Recording("nokia old", entry, device.cells, tuple(sessions), f"{entry}.6", WIRE, counters, (entry,))


def sdwan(entry: str = "1.3.6.1.4.1.9.9.1002.1.1.1.1", name: str = "sdwan", vendor: str = "9.1.2818") -> Recording:
    """Tunnels of an SD-WAN: addresses, protocol and ports in the index, IPv4 alone, transitions as the only count."""
    device = _Device(vendor, "SD-WAN")
    sessions = []
    for told in FLEET:
        if isinstance(told.peer, IPv6Address):
            continue
        local = str(told.local) if told.number != 8 else "10.0.0.3"  # neither port nor discriminator tells them apart
        index = f"4.{local}.4.{told.peer}.2.12346.{12346 + told.number}"  # OCTET STRING (SIZE (4 | 16))
        device.put(entry, 6, index, "64", f"10.255.0.{told.number}")
        device.put(entry, 10, index, "2", WIRE[told.state])
        device.put(entry, 11, index, "66", 7)
        device.put(entry, 12, index, "66", INTERVAL // 1000)
        device.put(entry, 13, index, "4", "0:04:53:21")
        device.put(entry, 14, index, "65", (told.ups or 0) + (told.downs or 0))
        sessions.append(
            replace(
                told,
                index=index,
                local=ip_address(local),
                diagnostic=None,
                discriminator=None,
                port=None,
                interface=None,
                multihop=None,
                ups=None,
                downs=None,
            )
        )
    return Recording(name, entry, device.cells, tuple(sessions), f"{entry}.10", WIRE, {}, (entry,))


def all_recordings() -> tuple[Recording, ...]:
    return (
        bfd_std(),
        cisco(),
        nxos(),
        juniper(),
        foundry(),
        exos(),
        alaxala(),
        zte_an(),
        qtech(),
        raisecom(),
        eltex(),
        fs(),
        aricent(),
        supermicro(),
        zte(),
        aos6(),
        aos7(),
        h3c(),
        h3c(name="h3c before 2014-12", old_index=True),
        h3c("1.3.6.1.4.1.11.2.14.11.15.2.72", "hpn-icf", old_index=True),
        h3c("1.3.6.1.4.1.2011.10.2.72", "h3c under huawei", old_index=True),
        h3c("1.3.6.1.4.1.43.45.1.10.2.72", "3com", old_index=True),
        huawei(),
        nokia(),
        nokia_old(),
        sdwan(),
        sdwan("1.3.6.1.4.1.41916.6.1.1.1", "viptela", "41916.3.1.1"),
    )
