"""What ExaBGP's configuration must say for us: the `process` and `neighbor` sections that fit ours.

What is not known is left out, as a comment that says FILL IN: ExaBGP then refuses the file, and runs no wrong one.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal

from exabgp_bfd.core.model import Address, ConfigError, Plan, Route, Watchdog
from exabgp_bfd.core.reach import family, foreign_self

Version = Literal["4", "5", "6"]
FILL_IN = "FILL IN"
PROCESS = "bfd"
USUAL_FILE = Path("/etc/exabgp-bfd/exabgp-bfd.toml")
"""Where our configuration is said to be while nobody told."""
BOTH = ("ipv4 unicast", "ipv6 unicast")
_NAME = "exabgp-bfd"
_PLAIN = re.compile(r"[0-9A-Za-z_./:=@%+-]+")
_INDENT = "    "


@dataclass(frozen=True, slots=True)
class Session:
    """A BGP session that ExaBGP shall have, as far as it was told; None: not told."""

    neighbor: Address | None = None
    local: Address | None = None
    local_as: int | None = None
    peer_as: int | None = None
    router_id: IPv4Address | None = None
    port: int | None = None
    """The neighbour's TCP port; None: 179."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the sections are made from."""

    run: tuple[str, ...]
    """Our program, by its absolute path, with its arguments."""
    plan: Plan | None = None
    """None: there is no configuration of ours yet."""
    sessions: tuple[Session, ...] = ()
    version: Version = "5"


def program() -> tuple[str, ...]:
    """This program, as ExaBGP can start it: by an absolute path, since ExaBGP changes to / before."""
    beside = Path(sys.executable).parent / _NAME
    for found in (sys.argv[0], str(beside), shutil.which(_NAME)):
        if found and Path(found).name == _NAME and Path(found).is_file():
            return (str(Path(found).absolute()),)
    return (str(Path(sys.executable).absolute()), "-m", "exabgp_bfd")


def sessions(
    plan: Plan | None,
    *,
    neighbors: Sequence[Address] = (),
    locals_: Sequence[Address] = (),
    local_as: int | None = None,
    peer_as: Sequence[int] = (),
    router_id: IPv4Address | None = None,
    port: int | None = None,
) -> tuple[Session, ...]:
    """One session for each neighbour that is given or that a service names; one of nobody if there is none.

    `locals_` holds one address at most of each family, which is that of the neighbour. `peer_as` is one for all, or one
    for each neighbour, given ones first. Raises ConfigError.
    """
    if len({address.version for address in locals_}) < len(locals_):
        raise ConfigError("--local-address", "one IPv4 and one IPv6 address at the most")
    ours = {address.version: address for address in locals_}
    named = [] if plan is None else [address for route in _routes(plan) for address in route.neighbors]
    # Each of them once; a BGP neighbour of ExaBGP has one section.
    everyone: list[Address | None] = list(dict.fromkeys([*neighbors, *named])) or [None]
    if len(peer_as) > 1 and len(peer_as) != len(everyone):
        raise ConfigError("--peer-as", f"give one for all, or one for each of the {len(everyone)} neighbours")
    numbers: Sequence[int | None] = peer_as if len(peer_as) == len(everyone) else [*peer_as, None][:1] * len(everyone)
    own = ours.get(4)
    identifier = router_id or (own if isinstance(own, IPv4Address) else None)
    return tuple(
        Session(
            neighbor,
            ours.get(neighbor.version) if neighbor is not None else next(iter(locals_), None),
            local_as,
            number,
            identifier,
            port,
        )
        for neighbor, number in zip(everyone, numbers, strict=True)
    )


def lines(wanted: Wanted) -> Iterator[str]:
    """The text, line by line, for ExaBGP's own configuration."""
    yield f"# For ExaBGP {wanted.version}, by `exabgp-bfd exabgp-conf`. Docs: docs/exabgp.md"
    if wanted.version == "6":
        yield "# ExaBGP 6 is not released: this is what its development version read when this was written."
    yield from _process(wanted)
    for session in wanted.sessions:
        yield ""
        section = list(_neighbor(wanted, session))
        # Without an address there is no section: it stays a comment as a whole.
        yield from section if session.neighbor is not None else (f"# {line}".rstrip() for line in section)


def gaps(text: Sequence[str]) -> int:
    """How many things are left to be filled in."""
    return sum(FILL_IN in line for line in text)


# --- the process --------------------------------------------------------------------------------------------------


def _process(wanted: Wanted) -> Iterator[str]:
    yield f"process {PROCESS} {{"
    if wanted.plan is None:
        yield f"{_INDENT}# {FILL_IN}: where our configuration is (exabgp-conf --config FILE writes it here)."
    yield f"{_INDENT}run {' '.join(map(_word, wanted.run))};"
    yield f"{_INDENT}encoder json;"
    yield f"{_INDENT}# Routes stay while we are away, and we take them up again. Without it they stay for ever."
    yield f"{_INDENT}respawn true;"
    yield "}"


def _word(text: str) -> str:
    """A word of a `run` line, quoted where ExaBGP would take it apart; ConfigError if there is no way to write it."""
    if _PLAIN.fullmatch(text):
        return text
    # No quotes at all: within one kind of them the other ends the word.
    if not text or {"'", '"'} & set(text) or not text.isprintable() or not text.isascii():
        raise ConfigError("", f"ExaBGP's configuration cannot hold the word {text!r}: give a path of other characters")
    return '"' + text.replace("\\", "\\\\") + '"'


# --- a neighbour --------------------------------------------------------------------------------------------------


def _neighbor(wanted: Wanted, session: Session) -> Iterator[str]:
    yield f"neighbor {session.neighbor or f'ADDRESS {FILL_IN}: the router that takes the routes (--neighbor)'} {{"
    for line in _own(session):
        yield _INDENT + line
    yield f"{_INDENT}# No graceful-restart: the router would keep our routes as stale when ExaBGP is gone."
    yield f"{_INDENT}family {{"
    for name in _families(wanted.plan, session):
        yield f"{_INDENT * 2}{name};"
    yield f"{_INDENT}}}"
    yield f"{_INDENT}api {{"
    for line in (
        f"processes [ {PROCESS} ];",
        "neighbor-changes;",
        "negotiated;",
        "send {",
        f"{_INDENT}parsed;",
        f"{_INDENT}update;",
        "}",
        "receive {",
        f"{_INDENT}parsed;",
        f"{_INDENT}update;",
        f"{_INDENT}notification;",
        "}",
    ):
        yield _INDENT * 2 + line
    yield f"{_INDENT}}}"
    if wanted.plan is not None:
        yield from _remarks(wanted.plan, session)
    yield "}"


def _own(session: Session) -> Iterator[str]:
    """What a session is made of; a comment for what is not known."""
    for name, value, what in (
        ("router-id", session.router_id, "this host's BGP identifier, an IPv4 address (--router-id)"),
        ("local-address", session.local, "this host's end of the session (--local-address)"),
        ("local-as", session.local_as, "our AS number (--local-as)"),
        ("peer-as", session.peer_as, "the neighbour's AS number (--peer-as)"),
    ):
        yield f"{name} {value};" if value is not None else f"# {name} ...;  {FILL_IN}: {what}"
    if session.port is not None:
        yield f"connect {session.port};"


def _families(plan: Plan | None, session: Session) -> tuple[str, ...]:
    """Those of the prefixes that the neighbour shall get; both where that cannot be known."""
    if plan is None or any(isinstance(target, Watchdog) for service in plan.services for target in service.routes):
        return BOTH
    families = {family(route) for route in _routes(plan) if _goes_to(route, session)}
    return tuple(name for name in BOTH if name in families) or BOTH


def _remarks(plan: Plan, session: Session) -> Iterator[str]:
    if session.neighbor is not None:
        unfit: dict[str, list[str]] = {}
        for route in _routes(plan):
            if _goes_to(route, session) and (why := foreign_self(route, session.neighbor)):
                unfit.setdefault(why, []).append(route.key)
        for why, keys in unfit.items():
            yield f"{_INDENT}# Not to this neighbour: {', '.join(keys)}:"
            yield f"{_INDENT}# {why}."
    names = [target.name for service in plan.services for target in service.routes if isinstance(target, Watchdog)]
    if names:
        yield f"{_INDENT}# Services switch these watchdogs: {', '.join(names)}. Their routes stand here, and `withdraw`"
        yield f"{_INDENT}# keeps them back until we say so:"
        yield f"{_INDENT}# static {{ route PREFIX next-hop ADDRESS watchdog {names[0]} withdraw; }}"


def _routes(plan: Plan) -> Iterator[Route]:
    for service in plan.services:
        yield from (target for target in service.routes if isinstance(target, Route))


def _goes_to(route: Route, session: Session) -> bool:
    return not route.neighbors or session.neighbor in route.neighbors
