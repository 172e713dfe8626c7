"""What ExaBGP answers to our questions (pure): its version, its neighbours, and the routes it holds for them.

Each answer is read by its shape: 4 and 5 answer in words, as an ExaBGP 6 does that takes us for a process of version 4;
6 answers in JSON. Nothing here raises; what cannot be read is left out and counted. No line is kept: the settings of a
neighbour, as ExaBGP shows them, hold its password.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Literal

from exabgp_bfd.core.model import Address, Held, Peer, Prefix, Route
from exabgp_bfd.core.policy import parse_address
from exabgp_bfd.speaker.dialect import Dialect
from exabgp_bfd.speaker.messages import as_object

_VERSION = re.compile(r"exabgp ([0-9A-Za-z.+_-]{1,64})")
_UNICAST = frozenset({"ipv4 unicast", "ipv6 unicast"})
_OPENING = {"[": "]", "(": ")"}


# --- version ----------------------------------------------------------------------------------------------------


def version(lines: Iterable[str]) -> tuple[Dialect, str] | None:
    """The dialect to speak, and ExaBGP's own word for its version; None if the answer tells none.

    `exabgp 6.0.0` in words is an answer to a process of version 4: it wants to be spoken to as 5 does.
    """
    for line in lines:
        found = _VERSION.fullmatch(line.strip())
        if found is not None:
            return (Dialect.V4 if found[1].startswith("4.") else Dialect.V5), found[1]
        told = as_object(_json(line))
        if told.get("application") == "exabgp":
            found = _VERSION.fullmatch(f"exabgp {told.get('version')}")
            return Dialect.V6, found[1] if found is not None else ""
    return None


# --- neighbours -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Neighbors:
    """ExaBGP's neighbours, as its configuration has them."""

    peers: tuple[Peer, ...] = ()
    """In its order, one for each address."""
    spelled: tuple[tuple[Address, str], ...] = ()
    """How it writes the addresses that it writes otherwise than we would (`Speech.spelled`)."""
    ranges: tuple[Prefix, ...] = ()
    """Neighbours that it takes by a range of addresses; who of them is there, it does not tell."""
    processes: frozenset[str] = frozenset()
    """The processes that are named."""
    unread: int = 0
    """Neighbours, or lines between them, that could not be read."""


@dataclass(slots=True)
class _Block:
    """A neighbour's settings as they are read."""

    name: str
    local: str = ""
    families: set[str] = field(default_factory=set)
    graceful: bool = False
    resends: bool = True
    hearings: list[_Hearing] = field(default_factory=list)


@dataclass(slots=True)
class _Hearing:
    """What one `api` section shows to the processes it names."""

    processes: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)

    @property
    def tells(self) -> bool:
        return "update" in self.sent and not self.sent.isdisjoint({"parsed", "consolidate"})


def peers(lines: Iterable[str], process: str | None = None) -> Neighbors:
    """ExaBGP's neighbours, from `show neighbor configuration` (4, 5), `peer show` or `peer list` (6).

    With `process`, our name in ExaBGP's configuration, only neighbours that list us, or that list nobody by name.
    Without it a neighbour is taken to show its UPDATEs to us if it shows them to each process that it lists.
    """
    blocks: list[_Block] = []
    found = _Found(process)
    reader = _Settings()
    for line in lines:
        text = line.strip()
        if text.startswith("["):
            found.unread += _from_json(text, blocks)
        elif not reader.take(text, blocks):
            found.unread += 1
    for block in blocks:
        found.add(block)
    return found.result()


class _Settings:
    """Reads `show neighbor configuration`, line by line: sections in braces, settings with a semicolon."""

    def __init__(self) -> None:
        self._path: list[str] = []

    def take(self, text: str, blocks: list[_Block]) -> bool:
        """Whether the line is part of a neighbour's settings."""
        # A description or a password may end like a section's head, but stands in quotes.
        if text.endswith("{") and '"' not in text:
            self._begin(text[:-1].strip(), blocks)
        elif text == "}":
            del self._path[-1:]
        elif text and not self._path:
            return False
        elif text.endswith(";") and blocks:
            self._set(text[:-1].strip(), blocks[-1])
        return True

    def _begin(self, head: str, blocks: list[_Block]) -> None:
        keyword, _, name = head.partition(" ")
        if keyword == "neighbor":
            # Each begins anew, also where the end of the one before was lost.
            self._path = []
            blocks.append(_Block(name.strip()))
        elif keyword == "api" and blocks:
            blocks[-1].hearings.append(_Hearing())
        self._path.append(keyword)

    def _set(self, setting: str, block: _Block) -> None:
        name, _, value = setting.partition(" ")
        match self._path[1:]:
            case [] if name == "local-address":
                block.local = value
            case [] if name == "adj-rib-out":
                block.resends = value == "true"
            case ["family"]:
                block.families.add(setting)
            case ["capability"] if name == "graceful-restart":
                block.graceful = value not in ("disable", "false", "0")
            case ["api"] if name == "processes" and block.hearings:
                block.hearings[-1].processes.update(value.strip("[] ").split())
            case ["api", "send"] if block.hearings:
                block.hearings[-1].sent.add(setting)


def _from_json(text: str, blocks: list[_Block]) -> int:
    """Adds the neighbours of a JSON list; how many could not be read."""
    entries = _json(text)
    if not isinstance(entries, list):
        return 1
    unread = 0
    for entry in map(as_object, entries):
        peer, local = as_object(entry.get("peer")), as_object(entry.get("local"))
        # A neighbour that runs is told at length, one that does not by four settings, `peer list` says the least.
        name = peer.get("address", entry.get("peer-address"))
        if not isinstance(name, str):
            unread += 1
            continue
        ours = local.get("address", entry.get("local-address"))
        families = {family for family, has in as_object(local.get("families")).items() if has}
        graceful = bool(as_object(local.get("capabilities")).get("graceful-restart"))
        blocks.append(_Block(name, ours if isinstance(ours, str) else "", families, graceful))
    return unread


class _Found:
    """Makes peers of blocks: one for each address, of neighbours that are ours."""

    def __init__(self, process: str | None) -> None:
        self.unread = 0
        self._process = process
        self._peers: dict[Address, Peer] = {}
        self._names: dict[Address, list[str]] = {}
        self._ranges: list[Prefix] = []
        self._processes: set[str] = set()

    def add(self, block: _Block) -> None:
        """Takes a neighbour."""
        self._processes.update(*(hearing.processes for hearing in block.hearings))
        hearings = [each for each in block.hearings if self._process is None or self._process in each.processes]
        if block.hearings and not hearings:
            return
        address = _address(block.name)
        if address is None:
            prefix = _prefix(block.name)
            if prefix is None:
                self.unread += 1
            else:
                self._ranges.append(prefix)
            return
        tells = bool(hearings) and all(each.tells for each in hearings)
        if self._process is not None:
            # Several sections may name us, and each adds to what we are shown.
            tells = _Hearing(sent=set().union(*(each.sent for each in hearings))).tells
        peer = Peer(address, _address(block.local), frozenset(block.families), block.graceful, block.resends, tells)
        self._peers[address] = self._both(self._peers[address], peer) if address in self._peers else peer
        names = self._names.setdefault(address, [])
        if block.name not in names:
            names.append(block.name)

    def _both(self, one: Peer, other: Peer) -> Peer:
        """Two BGP sessions with one address, from two of ours: what is said to the address, is said to both."""
        return Peer(
            one.address,
            one.local if one.local == other.local else None,
            one.families | other.families if one.families and other.families else frozenset(),
            one.graceful_restart or other.graceful_restart,
            one.resends and other.resends,
            one.tells and other.tells,
        )

    def result(self) -> Neighbors:
        """All that was taken."""
        otherwise = ((address, names) for address, names in self._names.items() if names != [str(address)])
        return Neighbors(
            tuple(self._peers.values()),
            tuple((address, name) for address, names in otherwise for name in names),
            tuple(self._ranges),
            frozenset(self._processes),
            self.unread,
        )


# --- routes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Routes:
    """The routes that ExaBGP holds for its neighbours."""

    held: tuple[Held, ...] = ()
    other: int = 0
    """Routes of other families than ours, which are IPv4 and IPv6 unicast."""
    unread: int = 0
    """Lines that could not be read."""
    attributes: bool = True
    """Whether more than the prefix was told: 6 tells no next hop and no attribute in JSON."""


def rib(lines: Iterable[str]) -> Routes:
    """The routes that ExaBGP holds, from `show adj-rib out extensive` (4, 5) or `rib show out` (6).

    Some 50 microseconds for each line: 20,000 of them at once would hold up the loop for a second.
    """
    held: list[Held] = []
    other = unread = 0
    attributes = True
    for line in lines:
        text = line.strip()
        if not text:
            continue
        told = list(_told_in_json(text) if text.startswith("{") else _told_in_words(text))
        attributes = attributes and not text.startswith("{")
        unread += not told
        for one in told:
            if isinstance(one, Held):
                held.append(one)
            elif one == "other":
                other += 1
            else:
                unread += 1
    return Routes(tuple(held), other, unread, attributes)


_Told = Held | Literal["other", "unread"]


def _told_in_json(text: str) -> Iterator[_Told]:
    """6: {"192.0.2.1": {"routes": [{"family": "ipv4 unicast", "prefix": "10.0.0.0/24"}]}}, one or more in a line."""
    for name, about in as_object(_json(text)).items():
        neighbor, routes = _address(name), as_object(about).get("routes")
        if neighbor is None or not isinstance(routes, list):
            yield "unread"
            continue
        for route in map(as_object, routes):
            prefix = _prefix(route.get("prefix"))
            if route.get("family") not in _UNICAST:
                yield "other"
            elif prefix is None:
                yield "unread"
            else:
                yield Held(neighbor, Route(prefix))


def _told_in_words(text: str) -> Iterator[_Told]:
    """4 and 5: neighbor A local-ip B ... family-allowed in-open ipv4 unicast 192.0.2.1/32 next-hop C med 20 ..."""
    words = iter(text.split())
    name = next(words, "")
    neighbor = _address(next(words, "") if name == "neighbor" else name)
    if neighbor is None:
        return
    afi = next(words, "")
    while afi in ("local-ip", "local-as", "peer-as", "router-id", "family-allowed"):
        next(words, "")
        afi = next(words, "")
    if f"{afi} {next(words, '')}" not in _UNICAST:
        yield "other"
        return
    prefix = _prefix(next(words, ""))
    route = _route(prefix, words) if prefix is not None else None
    yield Held(neighbor, route) if route is not None else "unread"


def _route(prefix: Prefix, words: Iterator[str]) -> Route | None:
    """The route of a prefix and its attributes, None if one of them cannot be read."""
    told: dict[str, list[str]] = {}
    for word in words:
        if word == "atomic-aggregate":
            continue
        told[word] = list(_values(words))
    hops = told.get("next-hop", ["self"])
    next_hop: Address | Literal["self"] | None = "self" if hops == ["self"] else _address(" ".join(hops))
    if next_hop is None:
        return None
    try:
        return Route(
            prefix,
            next_hop,
            med=_number(told.get("med")),
            local_preference=_number(told.get("local-preference")),
            communities=tuple(told.get("community", ())),
            large_communities=tuple(told.get("large-community", ())),
            extended_communities=tuple(told.get("extended-community", ())),
            as_path=tuple(int(number) for number in told.get("as-path", ())),
        )
    except ValueError:
        return None


def _values(words: Iterator[str]) -> Iterator[str]:
    """An attribute's value, or its values in brackets."""
    first = next(words, "")
    closing = _OPENING.get(first)
    if closing is None:
        yield first
        return
    for word in words:
        if word == closing:
            return
        yield word


def _number(values: list[str] | None) -> int | None:
    return int(values[0]) if values else None


# --- what a text is ---------------------------------------------------------------------------------------------


def _json(text: str) -> Any:  # noqa: ANN401 - what JSON may hold
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _address(text: Any) -> Address | None:  # noqa: ANN401 - what JSON may hold
    address = parse_address(text) if isinstance(text, str) else None
    # With a zone it is none that a selector of ours could name.
    return None if getattr(address, "scope_id", None) else address


def _prefix(text: Any) -> Prefix | None:  # noqa: ANN401 - what JSON may hold
    try:
        return ip_network(text) if isinstance(text, str) and "%" not in text else None
    except ValueError:
        return None
