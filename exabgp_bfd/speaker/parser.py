"""ExaBGP's own parser, asked in a child process: its configuration read, and commands tried, before anything runs.

The library is that of the `exabgp` package this program depends on (5.x), whichever ExaBGP will run in the end.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from exabgp_bfd.core.model import Address, BfdError, ConfigError, Peer
from exabgp_bfd.core.policy import parse_address

DEADLINE = 30.0
"""Seconds that the child may take, and more of them for many commands: one takes about half a millisecond."""
_EACH = 0.01
_CHILD = Path(__file__).with_name("parser_child.py")
_PROCESS = "bfd"
# ExaBGP quotes the line that it does not understand.
_PASSWORD = re.compile(r"(md5-password) [^;]+")


class ParserError(BfdError):
    """ExaBGP's parser could not be asked: nothing is thereby known of what was to be tried."""


@dataclass(frozen=True, slots=True)
class ApiProcess:
    """A `process` of ExaBGP's configuration."""

    name: str
    run: tuple[str, ...]
    """The program as ExaBGP found it, and its arguments."""
    encoder: str
    respawn: bool


@dataclass(frozen=True, slots=True)
class Watched:
    """The routes of one neighbour that carry a watchdog's name."""

    on: int
    """Announced from ExaBGP's start on."""
    off: int
    """Written with `withdraw`: announced when the watchdog is."""


@dataclass(frozen=True, slots=True)
class Configured:
    """A `neighbor` of ExaBGP's configuration."""

    peer: Peer
    """`tells` is left out: it differs from process to process."""
    spelled: str
    """Its address as it is written there: ExaBGP takes a selector for text."""
    processes: frozenset[str]
    """Whose commands it takes, and who is told of it."""
    matched: frozenset[str]
    """`processes-match`: patterns of names whose commands it takes, too, and who are told of nothing."""
    told: Mapping[str, frozenset[str]]
    """Which processes are told of what: `send-update`, `receive-parsed`, `neighbor-changes`."""
    watchdogs: Mapping[str, Watched]

    def takes(self, process: str) -> bool:
        """Whether it takes the commands of a process; as ExaBGP's reactor finds it out."""
        return process in self.processes or any(re.match(pattern, process) for pattern in self.matched)


@dataclass(frozen=True, slots=True)
class Conf:
    """ExaBGP's configuration, as ExaBGP reads it."""

    version: str
    """That of the library."""
    processes: tuple[ApiProcess, ...]
    neighbors: tuple[Configured, ...]
    ranges: tuple[str, ...]
    """Neighbours that are ranges of addresses: who they are is known when they connect."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ExaBGP made of one command."""

    answer: Literal["done", "error", "crash", ""]
    """`crash`: it took the line for another command, or ends of it; empty: it says nothing at all."""
    why: str
    taken: frozenset[Address]
    """The neighbours for which it holds the route now, or no longer."""
    refused: Mapping[Address, str]
    """The neighbours of its configuration that it did not take the route for, and why."""

    @property
    def accepted(self) -> bool:
        """Whether ExaBGP answers `done`."""
        return self.answer == "done"


@dataclass(frozen=True, slots=True)
class Trial:
    """What ExaBGP made of each command, in order."""

    version: str
    verdicts: tuple[Verdict, ...]


def read(file: Path, *, timeout: float = DEADLINE) -> Conf:
    """ExaBGP's configuration read by ExaBGP itself; ConfigError if it refuses it, ParserError if it cannot be asked.

    Like ExaBGP it wants the programs of all processes to be there.
    """
    answer = _ask({"file": str(file), "text": None, "process": "", "commands": []}, timeout)
    if answer["error"]:
        raise _refusal(answer, str(file))
    neighbors, ranges = [], []
    for each in answer["neighbors"]:
        try:
            neighbors.append(_configured(each))
        except ValueError:
            ranges.append(str(each["address"]))
    processes = tuple(
        ApiProcess(each["name"], tuple(each["run"]), each["encoder"], each["respawn"]) for each in answer["processes"]
    )
    return Conf(answer["version"], processes, tuple(neighbors), tuple(ranges))


def try_commands(
    commands: Sequence[bytes],
    where: Path | Sequence[Peer],
    *,
    process: str = _PROCESS,
    timeout: float = DEADLINE,
) -> Trial:
    """Each line, as the pipe would get it, on an ExaBGP with this configuration, or with these neighbours alone.

    `process` is ours in the file. Neighbours without families count as able to carry both. Raises as `read` does.
    """
    file = str(where) if isinstance(where, Path) else None
    question = {
        "file": file,
        "text": None if isinstance(where, Path) else _configuration(where),
        "process": process,
        "commands": [command.decode("ascii").rstrip("\n") for command in commands],
    }
    answer = _ask(question, timeout + _EACH * len(commands))
    if answer["error"]:
        raise _refusal(answer, file)
    return Trial(answer["version"], tuple(map(_verdict, answer.get("verdicts", ()))))


def _refusal(answer: Mapping[str, Any], file: str | None) -> BfdError:
    reason = _PASSWORD.sub(r"\1 ***", " ".join(answer["error"].split()))
    text = f"ExaBGP {answer['version']} refuses it: {reason}"
    return ParserError(text) if file is None else ConfigError(file, text)


def _configuration(peers: Sequence[Peer]) -> str:
    """A configuration with these neighbours; none of it is ever connected to."""
    parts = [f"process {_PROCESS} {{ run {_quoted(sys.executable)}; encoder json; }}"]
    # Two neighbours with one address differ in their own end; ExaBGP takes no two that do not.
    told = {(peer.address, peer.local): peer for peer in peers}
    for peer in told.values():
        families = sorted(peer.families) or ["ipv4 unicast", "ipv6 unicast"]
        local = peer.local or ("192.0.2.1" if peer.address.version == 4 else "2001:db8::1")
        parts.append(
            f"neighbor {peer.address} {{ router-id 192.0.2.1; local-address {local}; local-as 65001; peer-as 65002;"
            f" family {{ {' '.join(f'{family};' for family in families)} }}"
            f" api {{ processes [ {_PROCESS} ]; }} }}"
        )
    return "\n".join(parts)


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\") + '"'


def _configured(told: Mapping[str, Any]) -> Configured:
    """Raises ValueError for a range of addresses."""
    peer = Peer(
        ip_address(told["address"]),
        None if told["local"] is None else ip_address(told["local"]),
        frozenset(told["families"]),
        graceful_restart=told["graceful_restart"],
        resends=told["adj_rib_out"],
    )
    return Configured(
        peer,
        told["address"],
        frozenset(told["processes"]),
        frozenset(told["matched"]),
        {what: frozenset(who) for what, who in told["told"].items()},
        {name: Watched(routes["on"], routes["off"]) for name, routes in told["watchdogs"].items()},
    )


def _verdict(told: Mapping[str, Any]) -> Verdict:
    # A range of addresses is none.
    taken = (parse_address(text) for text in told["taken"])
    refused = ((parse_address(text), why) for text, why in told["refused"].items())
    return Verdict(
        told["answer"],
        told["why"],
        frozenset(address for address in taken if address is not None),
        {address: why for address, why in refused if address is not None},
    )


# --- the child ------------------------------------------------------------------------------------------------------


def _ask(question: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """One question to one child; files, not pipes, carry both documents: neither side can wait for the other."""
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as answered, tempfile.TemporaryFile() as errors:
        asked.write(json.dumps(question).encode())
        asked.seek(0)
        try:
            ended = subprocess.run(  # noqa: S603 (our own interpreter and file)  # nosec B603
                # -P: a file of ours must not stand in for a module of the library.
                [sys.executable, "-P", str(_CHILD), str(answered.fileno())],
                stdin=asked,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(answered.fileno(),),
                env=_environment(),
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ParserError(f"ExaBGP's parser did not come to an end within {timeout:g} s") from None
        except OSError as error:
            raise ParserError(f"ExaBGP's parser could not be started: {error.strerror}") from error
        answered.seek(0)
        errors.seek(0)
        return _answer(answered.read(), errors.read(), ended.returncode)


def _answer(answered: bytes, errors: bytes, status: int) -> dict[str, Any]:
    try:
        answer = json.loads(answered)
    except ValueError:
        last = errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise ParserError(f"ExaBGP's parser ended with status {status}{f': {last}' if last else ''}") from None
    if "missing" in answer:
        raise ParserError(
            f"ExaBGP's parser cannot be loaded ({answer['missing']}): pip install 'exabgp>=5.0.13,<6' into the"
            " environment of this program"
        )
    assert isinstance(answer, dict)  # noqa: S101 (as the child writes it)
    return answer


def _environment() -> dict[str, str]:
    """Ours, without ExaBGP's settings: they would make its library log, profile or wait for a debugger."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("exabgp_", "exabgp."))}
    kept.pop("EXABGP_ENVFILE", None)
    return kept
