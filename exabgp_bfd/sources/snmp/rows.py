"""The rows of a device's BFD table made into sessions and observations. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from exabgp_bfd.core.model import Address, Observation, Session, SourceError
from exabgp_bfd.sources.snmp.mibs import SAMPLED, Profile, Value

_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a device's table: the session it is, and where its samples are read."""

    index: str
    session: Session
    if_index: int | None
    cells: Mapping[str, str]
    """The OIDs of the sampled cells that this row has; `state` is always among them."""


_Identity = tuple[Address | int | None, ...]

Cells = Mapping[str, Value]
"""The values of one row by the names of its columns."""


@dataclass(frozen=True, slots=True)
class _Draft:
    index: str
    peer: Address | None
    local: Address | None
    if_index: int | None
    interface: str | None
    discriminator: int | None
    cells: Mapping[str, str]

    @property
    def identity(self) -> _Identity:
        return _identity(self.peer, self.local, self.if_index, self.discriminator)

    def names(self) -> list[str]:
        """The names this row may take, the best first; the last is its own alone."""
        tail = [] if self.discriminator is None else [f"@{self.discriminator}"]
        tail.append(f"#{self.index}")
        if self.peer is not None:
            local = [] if self.local is None else [f"%{self.local}"]
            link = [] if self.interface is None else [f"%{self.interface}"]
            return [f"{self.peer}{end}" for end in ["", *link, *local, *tail]]
        if self.interface is not None:
            return [f"{self.interface}{end}" for end in ["", *tail]]
        return [end[1:] for end in tail] + [f"#{self.index}"]


def _identity(
    peer: Address | None, local: Address | None, if_index: int | None, discriminator: int | None
) -> _Identity:
    """What makes a row the same session as before, whatever its index: agents number recreated sessions anew."""
    if peer is None and if_index is None:
        return (discriminator,)
    return (peer, local, if_index)


def identify(
    device: str,
    profile: Profile,
    table: Mapping[str, Cells],
    interfaces: Mapping[int, str],
    before: Sequence[Row] = (),
) -> tuple[Row, ...]:
    """Which sessions a device's rows are: `table` holds each row's cells by index, `interfaces` names by ifIndex.

    A session is named by its peer; where two rows share one, `peer%interface`, `peer%local`, `peer@discriminator` or
    `peer#index`, the first that tells them apart. A session that was there `before` keeps its name, for a second
    session with its peer, or a new index, does not make it another one.
    """
    if profile.name == "oid":
        state = profile.column("state") or ""
        return tuple(
            Row(index, Session(device, index or state), None, {"state": profile.instance("state", index) or state})
            for index in table
        )
    drafts = [_draft(profile, index, cells, interfaces) for index, cells in table.items()]
    names = _named(drafts, before)
    return tuple(
        Row(
            draft.index,
            Session(device, names[draft.index], draft.peer, draft.local, draft.interface, draft.discriminator),
            draft.if_index,
            draft.cells,
        )
        for draft in drafts
    )


def observe(profile: Profile, row: Row, values: Mapping[str, Value]) -> Observation:
    """What a row's cells (by OID) say of its session; SourceError when its state is no state of this profile."""
    raw = values[row.cells["state"]]
    state = profile.states.get(raw) if isinstance(raw, int) else None
    if state is None:
        known = ", ".join(str(number) for number in profile.states)
        raise SourceError(f"{row.session.id}: {row.cells['state']} is {_shown(raw)}, none of the states {known}")
    details: dict[str, Any] = {"index": row.index} if row.index else {}
    diagnostic = None
    number = values.get(row.cells.get("diagnostic", ""))
    if isinstance(number, int):
        diagnostic = profile.diagnostics.get(number)
        if diagnostic is None:
            details["diagnostic_number"] = number
    up_count = values.get(row.cells.get("up_count", ""))
    ups = up_count if isinstance(up_count, int) else None
    if ups is not None:
        details["up_count"] = ups
    # No `downs`: RFC 7331 counts none. No `last_up`: bfdSessUpTime should be a TimeStamp, but agents of its draft fill
    # it with a duration, and one that is kept in a cache for some seconds grows so seldom that nothing tells it apart.
    return Observation(row.session, state, diagnostic, details, ups=ups)


def address(kind: Value | None, raw: Value | None) -> Address | None:
    """An InetAddress with its InetAddressType (RFC 4001), or an IpAddress; None where it names no address.

    The value's length decides and the type must not contradict it; unspecified addresses name nobody.
    """
    if isinstance(raw, str):
        raw = _dotted(raw)
    if not isinstance(raw, bytes):
        return None
    found: Address
    match kind, len(raw):
        case (1 | 0 | None, 4) | (3, 8):
            found = IPv4Address(raw[:4])
        case (2 | 0 | None, 16):
            found = IPv6Address(raw)
        case (4, 20):
            found = _scoped(IPv6Address(raw[:16]), int.from_bytes(raw[16:], "big"))
        case _:
            return None
    return None if found.is_unspecified else found


def text(raw: Value | None) -> str | None:
    """A DisplayString as one short printable line, or None if nothing of it is left."""
    if not isinstance(raw, bytes):
        return None
    shown = "".join(char for char in raw.decode("utf-8", "replace") if char.isprintable())
    return shown.strip()[:_LONGEST_NAME] or None


def _dotted(raw: str) -> bytes | None:
    try:
        return IPv4Address(raw).packed
    except ValueError:
        return None


def _scoped(plain: IPv6Address, scope: int) -> IPv6Address:
    return IPv6Address(f"{plain}%{scope}") if scope else plain


def _shown(raw: Value) -> str:
    return str(raw) if isinstance(raw, int) else repr(raw)[:_LONGEST_NAME]


def _draft(profile: Profile, index: str, cells: Cells, interfaces: Mapping[int, str]) -> _Draft:
    if_index = cells.get("interface")
    if not isinstance(if_index, int) or if_index <= 0:  # 0: not bound to an interface
        if_index = None
    discriminator = cells.get("discriminator")
    places: dict[str, str] = {}
    for name in SAMPLED:
        place = profile.instance(name, index)
        if place is not None and (name == "state" or name in cells):
            places[name] = place
    return _Draft(
        index,
        address(cells.get("peer_type"), cells.get("peer")),
        address(cells.get("local_type"), cells.get("local")),
        if_index,
        interfaces.get(if_index) if if_index is not None else None,
        discriminator if isinstance(discriminator, int) else None,
        places,
    )


def _named(drafts: Sequence[_Draft], before: Sequence[Row]) -> dict[str, str]:
    names = _kept(drafts, before)
    taken = set(names.values())
    claims = Counter(name for draft in drafts for name in set(draft.names()))
    for draft in drafts:
        if draft.index in names:
            continue
        own = f"#{draft.index}"
        free = (name for name in draft.names() if name not in taken and (claims[name] == 1 or name.endswith(own)))
        names[draft.index] = next(free, own)
        taken.add(names[draft.index])
    return names


def _kept(drafts: Sequence[_Draft], before: Sequence[Row]) -> dict[str, str]:
    """The names that rows keep: under their old index, or inherited from a row of the same identity that is gone."""
    known = {row.index: row for row in before}
    names: dict[str, str] = {}
    for draft in drafts:
        row = known.get(draft.index)
        if row is not None and _identity_of(row) == draft.identity:
            names[draft.index] = row.session.name
    heirless = {
        _identity_of(row): row.session.name
        for row in before
        if row.index not in names and not row.session.name.endswith(f"#{row.index}")
    }
    for draft in drafts:
        if draft.index not in names and draft.identity in heirless:
            names[draft.index] = heirless.pop(draft.identity)
    return names


def _identity_of(row: Row) -> _Identity:
    session = row.session
    return _identity(session.peer, session.local, row.if_index, session.discriminator)
