"""BFD tables as data. Pure.

A vendor's table is one `Profile`: where its columns are and what its numbers mean. The same number means different
states in different MIBs (1 is adminDown in RFC 7331 and down in a raw RFC 5880 field), so nothing here guesses: a
number that a profile does not know is garbage, never a state. Column 35 of BFD-STD-MIB (the authentication key) is in
no profile, and so is never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from exabgp_bfd.core.model import ConfigError, Diagnostic, State

Value = int | bytes | str
"""What SNMP carries: a number of any kind, an OCTET STRING, or an OBJECT IDENTIFIER or IpAddress in dotted text."""

SYS_UP_TIME = "1.3.6.1.2.1.1.3.0"
IF_NAME = "1.3.6.1.2.1.31.1.1.1.1"
IF_DESCR = "1.3.6.1.2.1.2.2.1.2"

IDENTITY = ("discriminator", "peer_type", "peer", "local_type", "local", "interface")
"""The columns that say which session a row is."""
SAMPLED = ("state", "diagnostic", "up_count")
"""The columns that say how it is doing."""

_MAX_ARC = 2**32 - 1  # RFC 2578 section 3.5

STATE_RFC7331: Mapping[int, State] = {
    1: State.ADMIN_DOWN,
    2: State.DOWN,
    3: State.INIT,
    4: State.UP,
    5: State.FAILING,
}
"""bfdSessState (IANAbfdSessStateTC)."""

STATE_OPER: Mapping[int, State] = {1: State.UP, 2: State.DOWN, 3: State.ADMIN_DOWN}
"""bfdSessOperStatus (IANAbfdSessOperStatusTC)."""

VALUES: Mapping[str, Mapping[int, State]] = {"oper": STATE_OPER, "state": STATE_RFC7331}
"""The enumerations that the one-OID mode knows by name."""

DIAGNOSTIC_RFC5880: Mapping[int, Diagnostic] = {int(diagnostic): diagnostic for diagnostic in Diagnostic}
"""bfdSessDiag (IANAbfdDiagTC), numbered from 0 as on the wire; older drafts count from 1."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A BFD session table: its conceptual row, the numbers of its columns (None: it has none), and what values mean."""

    name: str
    title: str
    """How an operator reads of it in a status line."""
    entry: str
    state: int
    states: Mapping[int, State]
    diagnostic: int | None = None
    diagnostics: Mapping[int, Diagnostic] = field(default_factory=lambda: DIAGNOSTIC_RFC5880)
    discriminator: int | None = None
    peer_type: int | None = None
    """InetAddressType of `peer`."""
    peer: int | None = None
    local_type: int | None = None
    local: int | None = None
    interface: int | None = None
    """ifIndex."""
    perf_entry: str | None = None
    up_count: int | None = None
    """In `perf_entry`: how often the session came up."""

    def column(self, cell: str) -> str | None:
        """The OID of a column named as the fields above, or None where this table has none."""
        number: int | None = getattr(self, cell)
        entry = self.perf_entry if cell == "up_count" else self.entry
        return None if number is None or entry is None else f"{entry}.{number}"

    def instance(self, cell: str, index: str) -> str | None:
        """The OID of one cell; the empty index is the instance itself, as the one-OID mode may name it."""
        column = self.column(cell)
        return f"{column}.{index}" if column is not None and index else column


BFD_STD = Profile(
    name="bfd-std",
    title="BFD-STD-MIB",
    entry="1.3.6.1.2.1.222.1.2.1",
    state=11,
    states=STATE_RFC7331,
    diagnostic=13,
    discriminator=4,
    peer_type=21,
    peer=22,
    local_type=19,
    local=20,
    interface=18,
    perf_entry="1.3.6.1.2.1.222.1.3.1",
    up_count=12,
)
"""RFC 7331."""

PROFILES: Mapping[str, Profile] = {BFD_STD.name: BFD_STD}


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
    return Profile(name="oid", title=f"{entry}.{numbers[-1]}", entry=entry, state=numbers[-1], states=states)


def profile_for(profile: str, oid: str | None = None, values: str | None = None) -> Profile:
    """The profile that a device's settings name; ConfigError says what is wrong with them."""
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
