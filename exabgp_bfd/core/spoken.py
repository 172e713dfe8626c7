"""One command of ExaBGP's API, as operators write it, taken into a value of ours (pure); nothing of the text goes on.

What is written to ExaBGP is made anew from the value (speaker/dialect.py). So this reads no more than what that can
say: routes and watchdogs, announced and withdrawn, with the attributes that services have, and two questions whose
answers are short. All else is refused, with the column where it stands, why, and what would be allowed: ExaBGP obeys
any process that tells it to shut down, and ends at several inputs that it should only refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Any, Final, Literal, NoReturn, TypeVar

from exabgp_bfd.core.model import Address, BfdError, Prefix, Route, Target, Watchdog
from exabgp_bfd.core.reach import mismatch

LONGEST: Final = 4096
"""Characters."""

ALLOWED: Final = (
    "[neighbor ADDRESS[, neighbor ADDRESS]] announce route PREFIX next-hop self|ADDRESS [med N] [local-preference N] "
    "[as-path [ ASN ... ]] [community [ A:B ... ]] [large-community [ A:B:C ... ]] "
    "[extended-community [ target:A:B ... ]]",
    "[neighbor ADDRESS[, neighbor ADDRESS]] withdraw route PREFIX",
    "announce watchdog NAME",
    "withdraw watchdog NAME",
    "version",
    "show neighbor summary",
)
"""What may be said."""

_CHARACTERS: Final = re.compile(r"[0-9A-Za-z_:./,*\[\] -]")
_TOKEN: Final = re.compile(r"[\[\],]|[0-9A-Za-z_:./*-]+")
_NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_MOST: Final = 0xFFFFFFFF
_NAMED: Final = {
    **{name: name for name in ("no-export", "no-advertise", "no-export-subconfed", "no-peer", "blackhole")},
    # Names of IANA's registry that ExaBGP's parser refuses.
    "graceful-shutdown": "65535:0",
    "accept-own": "65535:1",
    "llgr-stale": "65535:6",
    "no-llgr": "65535:7",
}
_SELECTORS: Final = frozenset({"local-ip", "local-as", "peer-as", "router-id", "family-allowed"})
_NEVER: Final = {
    "shutdown": "it would end ExaBGP and every BGP session; POST /shutdown ends this program in order",
    "restart": "it would restart ExaBGP, and every BGP session with it",
    "reload": "after one failed reload ExaBGP refuses every later one; POST /reload reads the configuration of "
    "this program, SIGUSR1 that of ExaBGP",
    "reset": "it would throw away what ExaBGP has yet to do, routes of services too",
    "crash": "it would end ExaBGP",
    "teardown": "it would end a BGP session, with the routes of all services",
    "clear": "it would take away the routes of services; withdraw what is meant",
    "flush": "it would send every route again, those of services too",
    "enable-ack": "this program has to hear ExaBGP's answers",
    "disable-ack": "this program has to hear ExaBGP's answers",
    "silence-ack": "this program has to hear ExaBGP's answers",
    "group": "one command at a time; GET /openapi.json tells of POST /command",
    "debug": "ExaBGP never answers it",
}
_SHOWN: Final = {
    "adj-rib": "ExaBGP does nothing else while it answers, 0.35 ms a route; GET /services and GET /command tell what "
    "was confirmed, and `reconciled` events what ExaBGP holds otherwise",
    "configuration": "it would show passwords; GET /health tells of the neighbours",
    "extensive": "it is long; GET /health tells of the neighbours",
}

T = TypeVar("T")


class SpokenError(BfdError):
    """A command is not one that is sent; `column` counts from 1."""

    def __init__(self, column: int, text: str) -> None:
        super().__init__(f"column {column}: {text}")
        self.column = column
        self.text = text


class Question(StrEnum):
    """What ExaBGP may be asked."""

    VERSION = "version"
    NEIGHBORS = "show neighbor summary"


@dataclass(frozen=True, slots=True)
class Said:
    """A target is to be announced, or taken back."""

    announce: bool
    target: Target


def read(text: str) -> Said | Question:
    """What a command means; raises SpokenError, with the column, for whatever is not one of `ALLOWED`."""
    if len(text) > LONGEST:
        raise SpokenError(LONGEST + 1, f"a command has at most {LONGEST} characters, and this one {len(text)}")
    for place, character in enumerate(text):
        if not _CHARACTERS.match(character):
            raise SpokenError(place + 1, f"the character {character!a} is never sent: one command, in one line")
    words = _Words(text)
    said = _command(words)
    words.end()
    return said


class _Words:
    """The words of a command, each with its column, as they are taken."""

    def __init__(self, text: str) -> None:
        self._words = [(found.group(), found.start() + 1) for found in _TOKEN.finditer(text)]
        self._place = 0
        self._after = len(text) + 1

    @property
    def column(self) -> int:
        """Where the next word begins."""
        return self._words[self._place][1] if self._place < len(self._words) else self._after

    @property
    def next(self) -> str:
        """The next word, which stays; empty: there is none."""
        return self._words[self._place][0] if self._place < len(self._words) else ""

    def take(self) -> str:
        """The next word."""
        word = self.next
        self._place += 1
        return word

    def took(self, *words: str) -> bool:
        """Takes the next words if they are these."""
        following = [word for word, _ in self._words[self._place : self._place + len(words)]]
        if following != list(words):
            return False
        self._place += len(words)
        return True

    def refuse(self, why: str) -> NoReturn:
        """The next word is wrong."""
        word = repr(self.next) if self.next else "the end of the command"
        raise SpokenError(self.column, f"{word} {why}")

    def value(self, read: Callable[[str], T]) -> T:
        """The next word as a value; `read` raises ValueError with what is wrong with it."""
        try:
            found = read(self.next)
        except ValueError as error:
            self.refuse(str(error))
        self._place += 1
        return found

    def end(self) -> None:
        """There must be no more."""
        if self.next:
            self.refuse(f"is too much: one command at a time, and nothing behind it; {_allowed()}")


def _command(words: _Words) -> Said | Question:
    for question in Question:
        if words.took(*question.value.split()):
            return question
    neighbors = _neighbors(words)
    verb = words.next
    if verb not in ("announce", "withdraw"):
        if verb == "show":
            _refuse_to_show(words)
        why = _NEVER.get(verb)
        words.refuse(f"is never sent: {why}" if why else f"is no command that is sent; {_allowed()}")
    words.take()
    if words.next == "watchdog" and neighbors:
        words.refuse("goes to all neighbours: leave the selector out")
    if words.took("watchdog"):
        return Said(verb == "announce", Watchdog(words.value(_name)))
    if not words.took("route"):
        words.refuse(f"is not what may be {'announced' if verb == 'announce' else 'withdrawn'}: a route, or a watchdog")
    return _route(words, neighbors, announce=verb == "announce")


def _refuse_to_show(words: _Words) -> NoReturn:
    words.take()
    while words.next and words.next not in _SHOWN:
        words.take()
    why = _SHOWN.get(words.next, "")
    words.refuse(f"is not asked for: {why}" if why else "is not asked for; `show neighbor summary` is")


def _allowed() -> str:
    return "allowed: announce or withdraw route or watchdog, version, show neighbor summary"


def _neighbors(words: _Words) -> tuple[Address, ...]:
    """The neighbours before the command, as ExaBGP 4 and 5 have them, or 6; empty: all of them."""
    found: list[Address] = []
    selector = words.next
    if selector not in ("neighbor", "peer"):
        return ()
    words.take()
    if words.took("*"):
        return ()
    if selector == "peer" and words.next == "[":
        found += _list(words, _address)
    else:
        found.append(words.value(_address))
        while words.took(","):
            if not words.took(selector):
                words.refuse(f"stands where `{selector} ADDRESS` must")
            found.append(words.value(_address))
    if words.next in _SELECTORS:
        words.refuse("is not looked at: neighbours are chosen by their addresses")
    return tuple(dict.fromkeys(found))


def _route(words: _Words, neighbors: tuple[Address, ...], *, announce: bool) -> Said:
    prefix = words.value(_prefix)
    given: dict[str, Any] = {}
    where: dict[str, int] = {}
    while words.next:
        name, column = words.next, words.column
        if name not in _ATTRIBUTES:
            why = "; services have none either" if name == "path-information" else ""
            words.refuse(f"is no attribute that is sent{why}; there are {', '.join(_ATTRIBUTES)}")
        field, take = _ATTRIBUTES[name]
        if field in given:
            words.refuse("stands there twice")
        words.take()
        where[field] = column
        given[field] = take(words)
    if not announce:
        # ExaBGP needs no more: it refuses a withdraw whose next hop does not fit, and the route would stay.
        return Said(announce=False, target=Route(prefix, neighbors=neighbors))
    if "next_hop" not in given:
        raise SpokenError(words.column, "next-hop is missing: next-hop self, or an address")
    route = Route(prefix, neighbors=neighbors, **given)
    wrong = mismatch(route)
    if wrong:
        raise SpokenError(where["next_hop"], wrong)
    return Said(announce=True, target=route)


# --- values: each raises ValueError, which ends the sentence that the word begins ---------------------------------


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError("is no address") from None


def _prefix(text: str) -> Prefix:
    bare, slash, length = text.partition("/")
    address = _address(bare)
    if not slash:
        raise ValueError(f"has no length: {address}/{address.max_prefixlen}?")
    if not re.fullmatch(r"[0-9]{1,3}", length) or int(length) > address.max_prefixlen:
        raise ValueError(f"has no length from 0 to {address.max_prefixlen}")
    network: Prefix = ip_network((address, int(length)), strict=False)
    if network.network_address != address:
        raise ValueError(f"has host bits set: {network} or {address}/{address.max_prefixlen}?")
    return network


def _next_hop(text: str) -> Address | Literal["self"]:
    if text == "self":
        return "self"
    address = _address(text)
    if address.is_multicast or address.is_unspecified:
        raise ValueError("cannot be a next hop")
    return address


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > _MOST:
        raise ValueError(f"is no number from 0 to {_MOST}")
    return int(text)


def _asn(text: str) -> int:
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= _MOST:
        raise ValueError(f"is no AS number: 1 to {_MOST}")
    return int(text)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("is no watchdog's name: 1 to 64 letters, digits, - and _")
    return text


def _parts(text: str, number: int, most: int) -> list[int] | None:
    """Numbers between colons, None where it is anything else."""
    parts = text.split(":")
    if len(parts) != number or not all(_NUMBER.fullmatch(part) and int(part) <= most for part in parts):
        return None
    return [int(part) for part in parts]


def _community(text: str) -> str:
    if text in _NAMED:
        return _NAMED[text]
    parts = _parts(text, 2, 0xFFFF)
    if parts is None:
        raise ValueError(f"is no community: 65000:1, both at most 65535, or one of {', '.join(_NAMED)}")
    return f"{parts[0]}:{parts[1]}"


def _large_community(text: str) -> str:
    parts = _parts(text, 3, _MOST)
    if parts is None:
        raise ValueError("is no large community: three numbers of 32 bits, as 65000:1:2 (RFC 8092)")
    return ":".join(map(str, parts))


def _extended_community(text: str) -> str:
    if re.fullmatch(r"0x[0-9a-fA-F]{16}", text):
        return text.lower()
    found = re.fullmatch(r"(target|origin):([0-9]{1,10}|[0-9]{1,3}(?:\.[0-9]{1,3}){3}):([0-9]{1,10})", text)
    if found is None:
        raise ValueError("is no extended community: target:65000:1, origin:65000:1 or 0x and 16 digits (RFC 4360)")
    kind, administrator, number = found[1], found[2], int(found[3])
    if "." in administrator:
        administrator, wide = str(_address(administrator)), True
    else:
        wide = int(administrator) > 0xFFFF
        administrator = str(_number(administrator))
    if number > (0xFFFF if wide else _MOST):  # six octets are shared by both (RFC 4360 section 3.1, RFC 5668)
        raise ValueError("has too large a last number: 65535 after an address or a 32-bit AS number, else 32 bits")
    return f"{kind}:{administrator}:{number}"


def _list(words: _Words, read: Callable[[str], T], *, repeats: bool = False) -> tuple[T, ...]:
    """One value, or several in brackets; commas between them are passed over as ExaBGP does."""
    if not words.took("["):
        return (words.value(read),)
    found: list[T] = []
    while not words.took("]"):
        column = words.column
        value = words.value(read)
        if value in found and not repeats:
            raise SpokenError(column, f"{value} stands there twice")
        found.append(value)
        words.took(",")
    if not found:
        raise SpokenError(words.column, "the list before is empty: leave it out")
    return tuple(found)


_ATTRIBUTES: Final[dict[str, tuple[str, Callable[[_Words], Any]]]] = {
    "next-hop": ("next_hop", lambda words: words.value(_next_hop)),
    "med": ("med", lambda words: words.value(_number)),
    "local-preference": ("local_preference", lambda words: words.value(_number)),
    "as-path": ("as_path", lambda words: _list(words, _asn, repeats=True)),
    "community": ("communities", lambda words: _list(words, _community)),
    "large-community": ("large_communities", lambda words: _list(words, _large_community)),
    "extended-community": ("extended_communities", lambda words: _list(words, _extended_community)),
}
