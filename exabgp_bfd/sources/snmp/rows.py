"""The rows of a device's BFD tables made into sessions and observations. Pure.

A session is what lasts: its peer, over which interface (by name, for a reboot may number them anew) or from which
address, in which VRF, of which kind. Its row's index is only where it is found: agents number sessions anew when they
are made again. A name, once given, stays with its session.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from exabgp_bfd.core.model import Address, Observation, Session, SourceError, State
from exabgp_bfd.sources.snmp.mibs import IDENTITY, PLAIN_INDEX, SAMPLED, SYS_UP_TIME, Profile, Value

_LONGEST_NAME = 64

DISCOVERED = (*IDENTITY, *(cell for cell in SAMPLED if cell != "state"))
"""The cells read when it is found out what rows there are; `state` is what is walked."""
_MARKS = ("link_type", "rx_info", "protocol", "local_port", "peer_port")  # parts of an index that tell sessions apart

Cells = Mapping[str, Value]
"""The values of one row by the names of its cells."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a device's table: the session it is, and where its samples are read."""

    index: str
    session: Session
    if_index: int | None
    cells: Mapping[str, str]
    """The OIDs of the sampled cells that this row has; `state` is always among them."""
    context: str = ""
    """The agent's view in which it is."""
    marks: tuple[Value | None, ...] = ()
    """What else tells it from other sessions between the same two addresses (Nokia, SD-WAN)."""
    said: int | None = None
    """Of all that this was made of, the hash: with ten thousand sessions the whole of it would take 3 MB."""

    @property
    def timed(self) -> bool:
        """Whether flaps between samples are told by the time it is up alone: then time passing is news too."""
        return "last_up" in self.cells


# --- what to ask for ----------------------------------------------------------------------------------------------


def places(
    profile: Profile, indexes: Iterable[str], cells: Sequence[str] = DISCOVERED
) -> dict[str, list[tuple[str, str]]]:
    """The OIDs of these rows' cells, and which (index, cell) each is of: rows may share one, as the name of a VRF."""
    found: dict[str, list[tuple[str, str]]] = {}
    for index in indexes:
        for cell in cells:
            place = profile.instance(cell, index)
            if place is not None:
                found.setdefault(place, []).append((index, cell))
    return found


def gathered(
    profile: Profile,
    indexes: Iterable[str],
    asked: Mapping[str, Sequence[tuple[str, str]]],
    told: Mapping[str, Value],
) -> dict[str, dict[str, Value]]:
    """Each row's cells by name, from what was told of the places `asked`, and from its index, which stands above."""
    table: dict[str, dict[str, Value]] = {index: {} for index in indexes}
    for place, value in told.items():
        for index, cell in asked.get(place, ()):
            table[index][cell] = value
    for index, cells in table.items():
        cells.update(profile.index_cells(index))
    return table


def who(profile: Profile, row: Row) -> dict[str, int]:
    """Where a row says whose it is, and what it said there when it was found; nothing where it does not say.

    No two sessions of a system have the same discriminator (RFC 5880 section 6.3).
    """
    number, place = row.session.discriminator, profile.instance("discriminator", row.index)
    return {} if number is None or place is None else {place: number}


# --- which sessions there are -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Draft:
    index: str
    context: str
    peer: Address | None
    local: Address | None
    if_index: int | None
    interface: str | None
    vrf: str | None
    multihop: bool | None
    discriminator: int | None
    marks: tuple[Value | None, ...]

    @classmethod
    def of(cls, row: Row) -> _Draft:
        one = row.session
        return cls(
            row.index,
            row.context,
            one.peer,
            one.local,
            row.if_index,
            one.interface,
            one.vrf,
            one.multihop,
            one.discriminator,
            row.marks,
        )

    @property
    def key(self) -> tuple[object, ...] | None:
        """What lasts of a session, whatever its row's index; None where nothing does."""
        if self.peer is None and self.link is None:
            return None if self.discriminator is None else (self.vrf, self.discriminator)
        return (self.peer, self.local, self.link, self.vrf, self.multihop, self.marks)

    @property
    def link(self) -> str | int | None:
        return self.interface if self.interface is not None else self.if_index

    @property
    def own(self) -> str:
        """A name that no other row can have."""
        return f"#{self.index}%{self.context}" if self.context else f"#{self.index}"

    def stays(self, other: _Draft) -> bool:
        """Whether what is under the index of `other` now is still it: nothing that both tell may differ."""
        if self.peer is None and self.link is None and self.discriminator != other.discriminator:
            return False
        return self.returns(other)

    def renamed(self, other: _Draft) -> bool:
        """Whether it is `other`, under the same index, over an interface that has another name now."""
        return self.if_index is not None and self.if_index == other.if_index and self.alike(other)

    def returns(self, other: _Draft) -> bool:
        """Whether it may be `other` under another index: only what a session learns while it comes up may be new."""
        return self.link == other.link and self.alike(other)

    def alike(self, other: _Draft) -> bool:
        """The same but for the link."""
        return (
            (self.peer, self.vrf, self.marks) == (other.peer, other.vrf, other.marks)
            and _agree(self.local, other.local)
            and _agree(self.multihop, other.multihop)
        )

    def names(self) -> list[str]:
        """The names this row may take, the best first; the last is its own alone."""
        tail = [] if self.discriminator is None else [f"@{self.discriminator}"]
        tail.append(self.own)
        link = "" if self.interface is None else f"%{self.interface}"
        vrf = "" if self.vrf is None else f"%{self.vrf}"
        if self.peer is None:
            if link:
                return [f"{self.interface}{end}" for end in dict.fromkeys(["", vrf, *tail])]
            return [end[1:] for end in tail] + [self.own]
        local = "" if self.local is None else f"%{self.local}"
        kind = "%multihop" if self.multihop else ""
        marks = "%" + ":".join(str(mark) for mark in self.marks if mark is not None) if any(self.marks) else ""
        ends = [link, vrf, local, kind, link + vrf, vrf + local, link + local, vrf + kind, vrf + local + kind]
        return [f"{self.peer}{end}" for end in dict.fromkeys(["", *ends, marks, vrf + local + marks, *tail])]


def identify(
    device: str,
    profile: Profile,
    table: Mapping[str, Cells],
    interfaces: Mapping[int, str],
    before: Sequence[Row] = (),
    context: str = "",
) -> tuple[Row, ...]:
    """Which sessions a device's rows are: `table` holds each row's cells by index, `interfaces` names by ifIndex.

    A session is named by its peer; where two rows share one, `peer%interface`, `peer%vrf`, `peer%local`,
    `peer%multihop`, two of these, `peer@discriminator` or `peer#index`, the first that tells them apart. A session that
    was there `before` keeps its name, for a second session with its peer, or a new index, does not make it another one.

    With several contexts, `before` has the rows of all of them: this one's as they were, for their names stay with
    their sessions; the others' as they are, for their names are taken.
    """
    if profile.name == "oid":
        return tuple(_bare(device, profile, index, context) for index in table)
    old = {row.index: row for row in before if row.context == context}
    rows: dict[str, Row] = {}
    drafts: list[tuple[_Draft, Mapping[str, str], int]] = []
    for index, cells in table.items():
        if profile.index != PLAIN_INDEX:
            # What the index says stands above a column, which may be another one in older texts.
            cells = {**cells, **profile.index_cells(index)}  # noqa: PLW2901 - the same cells, all of them
        said = _said(profile, device, cells, interfaces)
        known = old.get(index)
        if known is not None and known.said == said:
            rows[index] = known
        else:
            drafts.append((_draft(profile, index, context, cells, interfaces), _sampled(profile, index, cells), said))
    if not drafts:
        return tuple(rows.values())
    others = [row for row in before if row.context != context]
    gone = [row for row in old.values() if row.index not in rows]
    names = _named([draft for draft, _, _ in drafts], [*rows.values(), *others], gone)
    for draft, sampled, said in drafts:
        session = Session(
            device,
            names[draft.index],
            draft.peer,
            draft.local,
            draft.interface,
            draft.discriminator,
            draft.vrf,
            draft.multihop,
        )
        rows[draft.index] = Row(draft.index, session, draft.if_index, sampled, context, draft.marks, said)
    return tuple(rows[index] for index in table)


def _bare(device: str, profile: Profile, index: str, context: str) -> Row:
    """A row of the one-OID mode, of which nothing but its state is known."""
    state = profile.instance("state", index) or profile.entry
    name = index or state
    session = Session(device, f"{name}%{context}" if context else name, vrf=context or None)
    return Row(index, session, None, {"state": state}, context)


def _said(profile: Profile, device: str, cells: Cells, interfaces: Mapping[int, str]) -> int:
    """The hash of all that a row is made of besides its index: where it is the same as before, so is the row."""
    if_index = cells.get("interface")
    name = interfaces.get(if_index) if isinstance(if_index, int) else None
    has = cells.keys()
    made_of = (
        *map(cells.get, IDENTITY),
        name,
        device,
        profile.name,
        "diagnostic" in has,
        _counts(cells.get("up_count")),
        "down_count" in has,
        "last_up" in has,
    )
    return hash(made_of)


def _counts(up_count: Value | None) -> bool | None:
    """Whether an up-count counts; None: there is none."""
    return None if up_count is None else isinstance(up_count, int) and up_count > 0


def _sampled(profile: Profile, index: str, cells: Cells) -> Mapping[str, str]:
    """Where a row's samples are. The time it is up is left out where its ups or downs are counted: that is surer."""
    counted = "down_count" in cells or _counts(cells.get("up_count"))
    found: dict[str, str] = {}
    for name in SAMPLED:
        if name == "state" or (name in cells and not (name == "last_up" and counted)):
            place = profile.instance(name, index)
            if place is not None:
                found[name] = place
    return found


def _draft(profile: Profile, index: str, context: str, cells: Cells, interfaces: Mapping[int, str]) -> _Draft:
    kind = cells.get("peer_type")
    peer = (
        address(kind, cells.get("peer")) or address(kind, cells.get("peer_inet")) or address(None, cells.get("peer6"))
    )
    local = address(cells.get("local_type"), cells.get("local")) or address(None, cells.get("local6"))
    if_index = _positive(cells.get("interface"))  # 0: not bound to an interface
    interface = interfaces.get(if_index) if if_index is not None else None
    if interface is None:
        interface = text(cells.get("interface_name"))
    if if_index is None and interface is None:
        if_index = _positive(cells.get("router_interface"))
    if interface is not None:
        peer, local = _plain(peer), _plain(local)  # the zone would say the same, by a number that may change
    discriminator = cells.get("discriminator")
    hops = cells.get("type")
    return _Draft(
        index,
        context,
        peer,
        local,
        if_index,
        interface,
        _vrf(profile, cells) or context or None,
        profile.multihop.get(hops) if isinstance(hops, int) else None,
        discriminator if isinstance(discriminator, int) else None,
        tuple(map(cells.get, _MARKS)),
    )


def _positive(raw: Value | None) -> int | None:
    return raw if isinstance(raw, int) and raw > 0 else None


def _vrf(profile: Profile, cells: Cells) -> str | None:
    """The VRF's name, or its number; None for the default one."""
    name, number = cells.get("vrf"), cells.get("vrf_id")
    if name in profile.default_vrf or number in profile.default_vrf:
        return None
    return text(name) or (str(number) if isinstance(number, int) else None)


def _plain(one: Address | None) -> Address | None:
    return IPv6Address(int(one)) if isinstance(one, IPv6Address) and one.scope_id is not None else one


def _agree(one: object, other: object) -> bool:
    return one is None or other is None or one == other


def _named(drafts: Sequence[_Draft], there: Sequence[Row], gone: Sequence[Row]) -> dict[str, str]:
    """Names for the drafts, beside the rows that are `there`, after those that are `gone` from where they were."""
    names = _kept(drafts, gone)
    taken = {row.session.name for row in there} | set(names.values())
    sharing = Counter(draft.peer for draft in drafts)
    sharing.update(row.session.peer for row in there if row.session.peer in sharing)
    rivals: list[_Draft] = []
    for draft in drafts:
        alone = draft.peer is not None and sharing[draft.peer] == 1
        if alone and draft.index not in names and (name := str(draft.peer)) not in taken:
            names[draft.index] = name
            taken.add(name)
        elif not alone:
            rivals.append(draft)
    rivals += (_Draft.of(row) for row in there if sharing[row.session.peer] > 1)
    claims = Counter(name for rival in rivals for name in set(rival.names()))
    for draft in drafts:
        if draft.index in names:
            continue
        own = draft.own
        free = (name for name in draft.names() if name not in taken and (claims[name] <= 1 or name.endswith(own)))
        names[draft.index] = next(free, own)
        taken.add(names[draft.index])
    return names


def _kept(drafts: Sequence[_Draft], gone: Sequence[Row]) -> dict[str, str]:
    """The names that drafts keep: under their old index, or inherited from the one row that they must be.

    Where two could be meant, none inherits: better a new name than another session's.
    """
    names: dict[str, str] = {}
    left = {row.index: (_Draft.of(row), row.session.name) for row in gone}
    _stay(drafts, left, _Draft.stays, names)
    # Before an interface may have another name: after a reboot its number may be another one's.
    _inherit(drafts, left, _whole, names)
    _stay(drafts, left, _Draft.renamed, names)
    _inherit(drafts, left, _loose, names)
    return names


def _stay(
    drafts: Sequence[_Draft],
    left: dict[str, tuple[_Draft, str]],
    still: Callable[[_Draft, _Draft], bool],
    names: dict[str, str],
) -> None:
    """Gives the names of those that are `still` under their index."""
    for draft in drafts:
        found = left.get(draft.index)
        if found is not None and draft.index not in names and still(draft, found[0]):
            names[draft.index] = found[1]
            del left[draft.index]


def _whole(draft: _Draft) -> tuple[object, ...] | None:
    return draft.key


def _loose(draft: _Draft) -> tuple[object, ...] | None:
    """What a session has from the beginning, before it has come up and learnt the rest."""
    return None if draft.peer is None else (draft.peer, draft.vrf, draft.marks, draft.link)


def _inherit(
    drafts: Sequence[_Draft],
    left: dict[str, tuple[_Draft, str]],
    alike: Callable[[_Draft], tuple[object, ...] | None],
    names: dict[str, str],
) -> None:
    """Gives names of those that are gone to those that are `alike`, where there is one of each."""
    new = [draft for draft in drafts if draft.index not in names]
    if not new or not left:
        return
    heirs: defaultdict[tuple[object, ...] | None, list[_Draft]] = defaultdict(list)
    for draft in new:
        heirs[alike(draft)].append(draft)
    past: defaultdict[tuple[object, ...] | None, list[_Draft]] = defaultdict(list)
    for was, _ in left.values():
        past[alike(was)].append(was)
    for key, ones in heirs.items():
        were = past.get(key, [])
        if key is None or not were:
            continue
        pairs = [(ones[0], were[0])] if len(ones) == len(were) == 1 else _told_apart(ones, were)
        for draft, was in pairs:
            name = left[was.index][1]
            # A name that tells an index belongs to the row there.
            if not name.endswith(was.own) and (alike is _whole or draft.returns(was)):
                names[draft.index] = name
                del left[was.index]


def _told_apart(ones: Sequence[_Draft], were: Sequence[_Draft]) -> list[tuple[_Draft, _Draft]]:
    """Those of several alike that have the same discriminator, alone."""
    new = Counter(one.discriminator for one in ones)
    old = Counter(was.discriminator for was in were)
    by_number = {was.discriminator: was for was in were}
    return [
        (one, by_number[one.discriminator])
        for one in ones
        if one.discriminator is not None and new[one.discriminator] == old[one.discriminator] == 1
    ]


# --- how they are doing -------------------------------------------------------------------------------------------


def observe(profile: Profile, row: Row, values: Mapping[str, Value], up_times: UpTimes | None = None) -> Observation:
    """What a row's cells (by OID) say of its session; SourceError when its state is no state of this profile.

    With `up_times` also when it last came up, where nothing counts that and sysUpTime is among the values.
    """
    cells = row.cells
    raw = values[cells["state"]]
    state = profile.states.get(raw) if isinstance(raw, int) else None
    if state is None:
        known = ", ".join(str(number) for number in profile.states)
        raise SourceError(f"{row.session.id}: {cells['state']} is {_shown(raw)}, none of the states {known}")
    details: dict[str, Any] = {"index": row.index} if row.index else {}
    diagnostic = None
    number = values.get(cells.get("diagnostic", ""))
    if isinstance(number, int):
        diagnostic = profile.diagnostics.get(number)
        if diagnostic is None:
            details["diagnostic_number"] = number
    ups = downs = last_up = None
    count = values.get(cells.get("up_count", ""))
    if isinstance(count, int):
        ups = details["up_count"] = count
    count = values.get(cells.get("down_count", ""))
    if isinstance(count, int):
        downs = details["down_count"] = count
    if up_times is not None and "last_up" in cells:
        last_up = _last_up(up_times, row, state, values)
    return Observation(row.session, state, diagnostic, details, ups, downs, last_up)


def _last_up(up_times: UpTimes, row: Row, state: State, values: Mapping[str, Value]) -> int | None:
    value, ticks = values.get(row.cells["last_up"]), values.get(SYS_UP_TIME)
    if state is State.UP and isinstance(value, int) and isinstance(ticks, int):
        return up_times.read(row.session.id, value, ticks)
    if state is not State.UP:
        up_times.away(row.session.id)
    return None


class Measure(Enum):
    """What an agent means by the time a session is up."""

    STAMP = "TimeStamp"
    """sysUpTime when it came up (RFC 2579, as the MIBs say)."""
    DURATION = "duration"
    """How long it has been up (as NX-OS tells)."""


_ROUND = 2**32
"""TimeTicks begin again here, after 497 days."""
_JITTER = 200  # ticks of 10 ms by which a value may be wrong without having changed
_CACHED = 3000  # ticks for which an agent may go on telling an old value
_STILL = 9000  # ticks for which a value must stay to be a TimeStamp: longer than any cache keeps a growing one
_RUN = 6000  # ticks for which a value must have grown like sysUpTime to be a duration
_SLIP = 13  # of 2**-13 of the time between two samples sysUpTime and the agent's other clock may differ
_AWAY = 6000  # ticks that may lie between two samples for a fall of sysUpTime to be its coming round
_MOST = 65_536


class _Mark:
    """What is known of the time one session is up."""

    __slots__ = ("at", "base", "first", "fresh", "since", "told", "value")

    def __init__(self) -> None:
        self.told: int | None = None
        """What was told outward last: changed by another coming up alone."""
        self.fresh = True
        """Whether nothing of it is known yet since it was seen to be up."""
        self.base = 0
        """The TimeStamp, or sysUpTime when it came up, as it should be found again."""
        self.value = self.first = 0
        """The value of the last sample, and the one since which it has stood still, or grown."""
        self.at = self.since = 0
        """When these were: sysUpTime, going on beyond 2**32."""


class UpTimes:
    """Flaps between samples, by the time since which each session of a device is up. Pure; one for each agent's view.

    MIBs say that it is a TimeStamp, but there are agents that tell a duration: which it is shows only with time. A
    TimeStamp stands still while sysUpTime grows; a duration grows with it, and cannot be a TimeStamp when it lies
    outside of the time since the last sample. Until that is known, and whenever what comes fits neither, nothing is
    told. No flap is told that was none: not for values that an agent keeps in a cache (up to 30 s), or rounds (to 2 s);
    not when TimeTicks come round, or the agent begins anew. In return some are missed: those of a session that had been
    up for no longer than it is up again, and those within 30 s after it was seen coming up.
    """

    def __init__(self) -> None:
        self.measure: Measure | None = None
        """What the agent's values are; None: not known yet."""
        self._marks: dict[str, _Mark] = {}
        self._ticks: int | None = None
        self._now = 0

    def read(self, session: str, value: int, ticks: int) -> int | None:
        """Takes a sample of a session that is up, and sysUpTime with it; a number that only another coming up changes.

        None while that is not sure. The number is of ticks, and its difference means nothing.
        """
        now = self._clock(ticks)
        mark = self._marks.get(session)
        if mark is None:
            mark = self._marks[session] = _Mark()
            while len(self._marks) > _MOST:
                del self._marks[next(iter(self._marks))]
        if value == 0 and self.measure is not Measure.DURATION:
            mark.fresh = True  # a TimeStamp of 0 is none
            return None
        if mark.fresh:
            mark.fresh = False
            self._begin(mark, value, now)
            return None
        elapsed = now - mark.at
        if elapsed < 0:
            return None  # an older answer that came later
        if self.measure is None:
            self._learn(mark, value, now, elapsed)
        elif now - mark.since <= _CACHED + 2 * _JITTER:
            # It came up lately, and its time may be older than its state.
            if abs(_signed(value - mark.value)) > _JITTER:
                mark.base = self._base(value, now)
        elif self.measure is Measure.STAMP:
            self._stamped(mark, value, now, elapsed)
        else:
            self._lasted(mark, value, now, elapsed)
        mark.value, mark.at = value, now
        return self._told(mark)

    def away(self, session: str) -> None:
        """A session was seen that is not up: its coming up again will be no secret."""
        mark = self._marks.get(session)
        if mark is not None:
            mark.fresh = True

    def keep(self, sessions: Collection[str]) -> None:
        """Forgets all sessions but these."""
        for session in self._marks.keys() - set(sessions):
            del self._marks[session]

    def restarted(self) -> None:
        """The agent began anew, or is another one: what it told before compares with nothing."""
        self.measure = None
        for mark in self._marks.values():
            mark.fresh = True

    def _clock(self, ticks: int) -> int:
        """sysUpTime, going on when it comes round; when it falls otherwise, the agent began anew."""
        before = self._ticks
        if before is None:
            self._ticks = self._now = ticks
            return ticks
        behind = (before - ticks) % _ROUND
        if 0 < behind <= _JITTER:
            return self._now - behind  # two answers crossed on the network
        ahead = (ticks - before) % _ROUND
        if ticks < before and ahead > _AWAY:
            self.restarted()
            self._now = ticks
        else:
            self._now += ahead
        self._ticks = ticks
        return self._now

    def _begin(self, mark: _Mark, value: int, now: int) -> None:
        mark.value = mark.first = value
        mark.at = mark.since = now
        mark.base = self._base(value, now)

    def _base(self, value: int, now: int) -> int:
        return (now - value) % _ROUND if self.measure is Measure.DURATION else value

    def _told(self, mark: _Mark) -> int | None:
        if self.measure is None or mark.at - mark.since <= _CACHED + 2 * _JITTER:
            return None
        if mark.told is None:
            mark.told = mark.base
        return mark.told

    def _learn(self, mark: _Mark, value: int, now: int, elapsed: int) -> None:
        grown = _signed(value - mark.first)
        run = now - mark.since
        if abs(grown) <= _JITTER:
            if run >= _STILL:
                self._learnt(Measure.STAMP)
        elif abs(grown - run) > _CACHED + _JITTER:
            mark.first, mark.since = value, now
        elif run >= _RUN and not _came_up_since(value, now, elapsed) and abs(_signed(value - mark.value)) > 0:
            self._learnt(Measure.DURATION)

    def _learnt(self, measure: Measure) -> None:
        self.measure = measure
        for mark in self._marks.values():
            # Each as if it had just come up: what flapped meanwhile may show only now.
            mark.base, mark.since = self._base(mark.value, mark.at), mark.at

    def _stamped(self, mark: _Mark, value: int, now: int, elapsed: int) -> None:
        off = _signed(value - mark.base)
        if abs(off) <= _JITTER:
            slip = elapsed >> _SLIP
            mark.base = (mark.base + max(-slip, min(slip, off))) % _ROUND
        elif _came_up_since(value, now, elapsed):
            self._flapped(mark, value)
        else:
            self.restarted()

    def _lasted(self, mark: _Mark, value: int, now: int, elapsed: int) -> None:
        came = (now - value) % _ROUND
        later = _signed(came - mark.base)
        most = _CACHED + 2 * _JITTER
        if later < -most:
            self.restarted()  # it grew faster than time
        elif later > most or _signed(value - mark.value) < -_JITTER:
            if value <= elapsed + _CACHED + _JITTER:
                self._flapped(mark, came)
            else:
                self.restarted()
        elif later < 0:
            mark.base = came
        else:
            mark.base = (mark.base + min(later, elapsed >> _SLIP)) % _ROUND

    def _flapped(self, mark: _Mark, base: int) -> None:
        mark.base = base
        if mark.told is not None:
            mark.told = base if base != mark.told else (base + 1) % _ROUND


def _came_up_since(stamp: int, now: int, elapsed: int) -> bool:
    """Whether a TimeStamp lies in the time since the last sample, or in what a cache may have hidden before that."""
    return -_JITTER <= _signed(now - stamp) <= elapsed + _CACHED + _JITTER


def _signed(difference: int) -> int:
    """A difference of two TimeTicks, of which either may have come round."""
    return (difference + _ROUND // 2) % _ROUND - _ROUND // 2


# --- what values say ----------------------------------------------------------------------------------------------


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
