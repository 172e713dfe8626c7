"""What we say to ExaBGP, as lines of its API (pure): its commands and our questions, and nothing else.

Three dialects. 4 and 5 are spoken to with `neighbor A, neighbor B announce ...`, and without a selector for all
neighbours (4.2 knows no `neighbor *`); 6 with `peer A`, `peer [ A , B ]` and `peer *`. An ExaBGP 6 that was asked
`version` first takes us for a process of version 4 and answers in words: then it is spoken to as 5 is. Which of them it
is, and which neighbours it has, is a `Speech`; it is empty until ExaBGP has answered, and then everything is said as 4
and 5 would have it.

Who gets a route: the neighbours it names, or all; of these only those that can carry it (core/reach.py), because a
route that a neighbour cannot carry may cost it its BGP session. If all can, all are addressed as the route says; if
only some, they are listed; if none, the line is refused with the remedy. A withdraw goes to whom the route names,
whatever they can carry; 6 alone is spared names that it does not know.

While the neighbours are not known, `line` still makes the line, as a preview has it, but `Speech.waits` tells that it
must not be written yet: a route for all of them with `next-hop self`, since one of them may be of the other family, and
on 6 a route for chosen neighbours, since a selector that matches none of them would be taken for all. Whoever writes
asks it first, holds the command back, and looks again when the speech changes. A withdraw never waits.

A line is made from typed values only, and is then held against a grammar of characters and words: several inputs end
ExaBGP 5's process (5.0.15: the bare word `json` in any command that shows nothing raises KeyError in its reactor), and
one line feed would be a second command. ExaBGP also looks for the names of its commands anywhere in a line, not only
where a command stands: the community `graceful-shutdown` shuts it down.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Literal

from exabgp_bfd.core import reach
from exabgp_bfd.core.model import Address, Announce, Command, Peer, Route, SpeakerError, Watchdog

# Letters, digits and the punctuation of addresses, communities, lists, selectors and names; no control character, no
# quote.
_LINE = re.compile(r"[0-9A-Za-z_:./,*\[\]-]+(?: [0-9A-Za-z_:./,*\[\]-]+)*")
_FATAL = frozenset(
    {"json", "debug", "crash", "shutdown", "restart", "reset", "operational", "disable-ack", "silence-ack"}
)
_LONGEST = 65536
_TOLD = 5
"""Neighbours that an error names."""
_NAME = re.compile(r"[0-9A-Za-z_-]{1,64}")
# Commands of one word, which ExaBGP obeys at a line's end, the beginnings of two others, and two words that its
# configuration takes for no name.
_NO_NAMES = frozenset({"version", "help", "reload", "teardown", "enable-ack", "flush", "clear", "announce", "withdraw"})
# Each form as ExaBGP reads it, and no free word, which might be the name of a command.
_COMMUNITY = re.compile(r"[0-9]{1,5}:[0-9]{1,5}|0x[0-9A-Fa-f]{1,8}|[0-9]{1,10}")
_LARGE = re.compile(r"[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}")
_EXTENDED = re.compile(r"(?:target|origin):[0-9.]{1,15}:[0-9]{1,10}|0x[0-9A-Fa-f]{16}")
# The names that ExaBGP knows, and one that goes by its number (RFC 8326): of that it knows only the end, as a command.
_NAMES = {name: name for name in ("no-export", "no-advertise", "no-export-subconfed", "no-peer", "nopeer", "blackhole")}
_NAMES["graceful-shutdown"] = "65535:0"

# Every word that a line of ours may hold, beside addresses, prefixes, numbers and communities, and a watchdog's name.
_WORDS = frozenset(
    {
        *("announce", "withdraw", "route", "watchdog", "next-hop", "self", "as-path", "med", "local-preference"),
        *("community", "large-community", "extended-community", *_NAMES.values()),
        *("neighbor", "peer", "*", ",", "[", "]"),
        *("show", "adj-rib", "out", "extensive", "configuration", "summary", "rib", "list", "system", "version"),
    }
)
_VALUE = re.compile(
    r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,2})?"
    r"|(?=[0-9A-Fa-f:.]*:)[0-9A-Fa-f:.]{2,45}(?:/[0-9]{1,3})?"
    rf"|{_COMMUNITY.pattern}|{_LARGE.pattern}|{_EXTENDED.pattern}"
)

Question = Literal["version", "system version", "peers", "peer list", "rib", "summary"]


class Dialect(StrEnum):
    """The form in which an ExaBGP is spoken to, named after the version that brought it."""

    V4 = "4"
    V5 = "5"
    V6 = "6"


@dataclass(frozen=True, slots=True)
class Speech:
    """What is known of the ExaBGP that we speak to."""

    dialect: Dialect | None = None
    """None: not known yet."""
    peers: tuple[Peer, ...] | None = None
    """All its neighbours; None: not known yet."""
    spelled: tuple[tuple[Address, str], ...] = ()
    """How its configuration writes the addresses that it writes otherwise than we would: its selectors compare text."""
    silent: bool = False
    """Whether it was asked for its neighbours in vain: only what could do harm waits for them any longer."""
    _known: frozenset[Address] = field(init=False, repr=False, compare=False)
    _spellings: dict[Address, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    _unfit: dict[tuple[int, bool], dict[Address, str]] = field(init=False, repr=False, compare=False)
    """Who cannot carry what kind of route for all, as far as it was asked: there may be a thousand neighbours."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_unfit", {})
        object.__setattr__(self, "_known", frozenset(peer.address for peer in self.peers or ()))
        spellings: dict[Address, tuple[str, ...]] = {}
        for address, text in self.spelled:
            spellings[address] = (*spellings.get(address, ()), text)
        object.__setattr__(self, "_spellings", spellings)

    def waits(self, command: Command) -> str:
        """What must be known before a command may be written; empty: it may be, now."""
        route = command.route
        if self.peers or not isinstance(command, Announce) or isinstance(route, Watchdog):
            return ""
        if not route.neighbors and route.next_hop == "self" and not (self.silent and self._harmless(route)):
            return (
                "ExaBGP has told of no neighbours yet, and next_hop = self may be of the other family for one of them"
            )
        if route.neighbors and self.dialect is Dialect.V6:
            return "ExaBGP has told of no neighbours yet, and takes a name that it does not know for all of them"
        return ""

    def _harmless(self, route: Route) -> bool:
        """Whether a route with `next-hop self` can be said to neighbours that are not known.

        Most BGP sessions are IPv4's, over which 4.2 would lose its session by an IPv6 route; 5 answers `error` then.
        """
        return route.prefix.version == 4 or self.dialect is Dialect.V5

    def has(self, neighbor: Address) -> bool:
        """Whether ExaBGP is known to have such a neighbour."""
        return neighbor in self._known

    def unfit(self, route: Route) -> dict[Address, str]:
        """Those of all the neighbours that cannot carry a route, whose next hop is of its family, and why."""
        kind = route.prefix.version, route.next_hop == "self"
        if kind not in self._unfit:
            self._unfit[kind] = reach.reasons(replace(route, neighbors=()), self.peers or ())
        return self._unfit[kind]

    def written(self, neighbors: Iterable[Address]) -> list[str]:
        """The neighbours as ExaBGP's configuration writes them."""
        return [text for neighbor in neighbors for text in self._spellings.get(neighbor, (str(neighbor),))]


UNKNOWN: Final = Speech()
"""Nothing is known of ExaBGP."""


def line(command: Command, speech: Speech = UNKNOWN) -> bytes:
    """The line for a command, with its line feed; SpeakerError if it is one that must not be sent, with the remedy."""
    route, announced = command.route, isinstance(command, Announce)
    verb = "announce" if announced else "withdraw"
    if isinstance(route, Watchdog):
        # Without a selector, always: ExaBGP 4 and 5 take the line's third word for the name whatever stands before it,
        # ask every neighbour that has such routes, and answer `done` for a name that nobody carries as well.
        everybody = "peer * " if speech.dialect is Dialect.V6 else ""
        return guarded(f"{everybody}{verb} watchdog {_name(route)}")
    if announced:
        to = _selector(_carriers(route, speech), speech)
        return guarded(f"{to}announce route {route.prefix} next-hop {route.next_hop}{_attributes(route)}")
    # By the prefix alone, which is all that ExaBGP needs: it refuses a withdraw whose `next-hop self` would be of
    # another family than the BGP session, and the route would stay.
    return guarded(f"{_selector(_holders(route, speech), speech)}withdraw route {route.prefix}")


def question(ask: Question, speech: Speech = UNKNOWN, neighbor: Address | None = None) -> bytes:
    """The line that asks ExaBGP something, with its line feed; `neighbor` restricts `rib` to one.

    4 and 5 compare the beginning only: asked for 192.0.2.1 they tell of 192.0.2.10 too.
    """
    six = speech.dialect is Dialect.V6
    match ask:
        case "version" | "system version" | "peer list":
            return guarded(ask)
        case "peers":
            return guarded("peer show" if six else "show neighbor configuration")
        case "summary":
            if six:
                raise SpeakerError("ExaBGP 6 has another `show neighbor summary`, of which nothing is known")
            return guarded("show neighbor summary")
        case "rib":
            words = ["rib show out"] if six else ["show adj-rib out"]
            if neighbor is not None:
                words += speech.written([neighbor])[:1]
            if not six:
                words.append("extensive")
            return guarded(" ".join(words))


def guarded(text: str) -> bytes:
    """The line as bytes if it is one line made of words that we use, none of which harms ExaBGP, else SpeakerError."""
    if len(text) > _LONGEST or not _LINE.fullmatch(text):
        raise SpeakerError("a command for ExaBGP holds a character that is never sent, or is too long")
    # Within a word too: ExaBGP sets brackets and commas apart before it looks, and finds a command at a word's end.
    fatal = min((word for word in _FATAL if word in text.lower()), default=None)
    if fatal is not None:
        raise SpeakerError(f"a command for ExaBGP holds the word {fatal}, which harms it")
    words = text.split(" ")
    if words[-2:-1] == ["watchdog"] and _is_name(words[-1]):
        words.pop()
    for word in words:
        # A comma ends a selector's part where it stands: `neighbor A, neighbor B`.
        if word not in _WORDS and not _VALUE.fullmatch(word.removesuffix(",")):
            raise SpeakerError(f"a command for ExaBGP holds a word that is never sent: {word[:80]}")
    return text.encode("ascii") + b"\n"


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name.lower() not in _NO_NAMES


def _name(watchdog: Watchdog) -> str:
    if not _is_name(watchdog.name):
        raise SpeakerError(f"a watchdog has a name that is never sent: {watchdog.name[:80]!r}")
    return watchdog.name


def _carriers(route: Route, speech: Speech) -> tuple[Address, ...]:
    """The neighbours that an announce is addressed to; empty: all of them."""
    excluded = _excluded(route, speech)
    if not route.neighbors and not excluded:
        return ()
    fit = tuple(address for address in route.neighbors or _addresses(speech) if address not in excluded)
    if not fit:
        raise SpeakerError(f"no neighbour can carry {route.prefix}: {_told(excluded)}")
    return fit


def _excluded(route: Route, speech: Speech) -> dict[Address, str]:
    """The neighbours that must not be sent a route, of those it is meant for, and why."""
    wrong = reach.mismatch(route)
    if wrong:
        raise SpeakerError(f"{route.prefix} can go to no neighbour: {wrong}")
    if speech.peers is None:
        reasons = {address: reach.foreign_self(route, address) for address in route.neighbors}
        return {address: reason for address, reason in reasons.items() if reason}
    if not route.neighbors:
        return speech.unfit(route)
    excluded = reach.reasons(route, speech.peers)
    if speech.dialect is not Dialect.V6:
        # 4 and 5 answer `error` if they know none of the names, and may have neighbours that they do not tell of, by a
        # range of addresses.
        for address in route.neighbors:
            if not speech.has(address):
                excluded[address] = reach.foreign_self(route, address)
    return {address: reason for address, reason in excluded.items() if reason}


def _holders(route: Route, speech: Speech) -> tuple[Address, ...]:
    """The neighbours that a withdraw is addressed to; empty: all of them."""
    if not route.neighbors or speech.dialect is not Dialect.V6 or speech.peers is None:
        return route.neighbors
    known = tuple(address for address in route.neighbors if speech.has(address))
    if not known:
        # 6 would take the route back from every neighbour; those that are named hold nothing, for they are not there.
        names = ", ".join(map(str, route.neighbors))
        raise SpeakerError(f"ExaBGP has none of the neighbours of {route.prefix} ({names}): nothing is withdrawn")
    return known


def _addresses(speech: Speech) -> tuple[Address, ...]:
    return tuple(dict.fromkeys(peer.address for peer in speech.peers or ()))


def _told(excluded: dict[Address, str]) -> str:
    """Each reason once, with the neighbours that it holds for."""
    grouped: dict[str, list[str]] = {}
    for address, reason in excluded.items():
        grouped.setdefault(reason, []).append(str(address))
    return "; ".join(f"{_some(names)}: {why}" for why, names in grouped.items())


def _some(names: list[str]) -> str:
    return ", ".join(names[:_TOLD]) + (f" and {len(names) - _TOLD} more" if len(names) > _TOLD else "")


def _selector(neighbors: Sequence[Address], speech: Speech) -> str:
    """The words before the command, with a space after them; empty neighbours: all."""
    names = speech.written(neighbors)
    if speech.dialect is not Dialect.V6:
        return ", ".join(f"neighbor {name}" for name in names) + " " * bool(names)
    match names:
        case []:
            return "peer * "
        case [name]:
            return f"peer {name} "
    return f"peer [ {' , '.join(names)} ] "


def _attributes(route: Route) -> str:
    parts = []
    if route.as_path:
        parts.append(f"as-path {_list(route.as_path)}")
    if route.med is not None:
        parts.append(f"med {route.med}")
    if route.local_preference is not None:
        parts.append(f"local-preference {route.local_preference}")
    if route.communities:
        communities = tuple(_NAMES.get(community) or _formed(_COMMUNITY, community) for community in route.communities)
        parts.append(f"community {_list(communities)}")
    if route.large_communities:
        large = tuple(_formed(_LARGE, community) for community in route.large_communities)
        parts.append(f"large-community {_list(large)}")
    if route.extended_communities:
        extended = tuple(_formed(_EXTENDED, community) for community in route.extended_communities)
        parts.append(f"extended-community {_list(extended)}")
    return "".join(f" {part}" for part in parts)


def _formed(form: re.Pattern[str], community: str) -> str:
    if not form.fullmatch(community):
        raise SpeakerError(f"a route has a community that ExaBGP does not know: {community[:40]!r}")
    return community


def _list(values: tuple[object, ...]) -> str:
    return f"[ {' '.join(str(value) for value in values)} ]"
