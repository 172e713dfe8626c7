"""One site: ExaBGP with our process, a simulated router, and BGP peers whose tables are watched all the time.

What the peers should hold follows from the BFD sessions alone, from the moment at which one of them changes: so what is
found wrong holds our own reaction, the poll's wait included, and whatever a fault adds to it.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple, Self

from exabgp_bfd.core.model import State

from . import PATIENCE, wait_for
from .bird import Bird
from .exabgp import V5, ExaBGP, Neighbor, Release, alive, kill
from .gobgp import GoBgp
from .judge import Ledger, Span, Wrong, judged
from .keeping import worker_of
from .process import COMMUNITY, PEER, RouterThread

SETTINGS = """
[snmp]
community = "{community}"
interval = 0.1
timeout = 0.3
retries = 1
stale_after = 5.0
[[device]]
name = "edge1"
host = "127.0.0.1"
port = {port}
{speaker}
"""
SERVICE = """
[[service]]
name = "{name}"
prefixes = [{prefixes}]
next_hop = {next_hop}
"""
WATCHDOG = """
[[service]]
name = "{name}"
watchdog = "{name}"
"""
RULES = """
sessions = ["edge1/{session}"]
rise = 1
hold_up = 0.0
confirm = false
{lease}
"""
CALM = 0.3
"""Seconds for which every table must be right before it counts as right."""

Peer = Bird | GoBgp


class Programs(NamedTuple):
    """Where the peers' programs are; without GoBGP, BIRD is the only peer."""

    bird: str
    birdc: str
    gobgpd: str = ""
    gobgp: str = ""


@dataclass(slots=True)
class Routes:
    """Routes that follow one BFD session, up or down at the start, and go to every neighbour."""

    prefixes: tuple[str, ...]
    session: str
    up: bool = True
    next_hop: str = '["192.0.2.10", "2001:db8::10"]'
    lease: bool = False
    """Whether they are under the dead-man lease."""
    refused: tuple[str, ...] = ()
    """Prefixes of the service that no neighbour can carry: they are never there."""
    bulk: bool = False
    """Judged apart: many of them take their time."""
    watchdog: str | None = None
    """They are ExaBGP's own routes, with a watchdog and this after it: `withdraw`, or nothing."""


def usual() -> dict[str, Routes]:
    """One service whose session stays up, and two that take turns."""
    return {
        "kept": Routes(("203.0.113.1/32", "2001:db8::1/128"), PEER),
        "first": Routes(("203.0.113.2/32", "2001:db8::2/128"), "198.51.100.2"),
        "second": Routes(("203.0.113.3/32", "2001:db8::3/128"), "198.51.100.3", up=False),
    }


def crowd(count: int, session: str = "198.51.100.4", *, each: int = 100) -> dict[str, Routes]:
    """So many prefixes, in services of `each`, that all follow one session."""
    first = int(ip_address("10.0.0.0"))
    return {
        f"crowd{begin}": Routes(
            tuple(f"{ip_address(first + n)}/32" for n in range(begin, min(begin + each, count))),
            session,
            next_hop='"192.0.2.10"',
            bulk=True,
        )
        for begin in range(0, count, each)
    }


@dataclass(slots=True)
class Found:
    """What a fault did: the worst of all peers, and each of them."""

    kept: Wrong = field(default_factory=Wrong)
    """Routes whose session stayed up."""
    turned: Wrong = field(default_factory=Wrong)
    """Routes whose session went down or came up meanwhile: wrong from that moment until the peer followed."""
    bulk: Wrong = field(default_factory=Wrong)
    peers: dict[str, dict[str, Wrong]] = field(default_factory=dict)
    seconds: float = 0.0
    blind: float = 0.0
    """Seconds between two looks at a table at the worst."""
    remarks: list[str] = field(default_factory=list)


class Site:
    """Everything that a test of faults needs; started and stopped with `with`."""

    def __init__(
        self,
        folder: Path,
        programs: Programs,
        release: Release = V5,
        *,
        routes: Mapping[str, Routes] | None = None,
        away: Sequence[str] = (),
        feed: int = 0,
        speaker: str = "",
        **env: str,
    ) -> None:
        """`away` names peers that ExaBGP does not have at the start; `feed` adds a neighbour with so many routes."""
        self.routes = dict(usual() if routes is None else routes)
        self.router = RouterThread()
        self.bird = Bird(programs.bird, programs.birdc, folder)
        self.gobgp = GoBgp(programs.gobgpd, programs.gobgp, folder) if programs.gobgpd else None
        self.feeder = (
            Bird(programs.bird, programs.birdc, folder, name="feeder", address="127.0.0.3", asn=65004, feed=feed)
            if feed
            else None
        )
        self.truth = Ledger()
        self.tables: dict[str, Ledger] = {}
        self.excused: dict[str, list[Span]] = {}
        self._folder, self._release, self._speaker = folder, release, speaker
        # ExaBGP tells of its reloads at INFO, and of every route as well.
        crowded = any(routes.bulk for routes in self.routes.values())
        self._env = {"exabgp_log_level": "WARNING" if crowded else "INFO", **env}
        self._members = [peer.name for peer in self.peers if peer.name not in away]
        self._changed: dict[str, Neighbor] = {}
        self._turned: set[str] = set()
        self._always: set[str] = set()
        self._stack = contextlib.ExitStack()
        self.exabgp: ExaBGP

    # --- life ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.router.start()
            stack.callback(self.router.stop)
            known = {PEER}
            for routes in self.routes.values():
                if routes.session not in known:
                    self.router.do(lambda session=routes.session: self.router.router.add(session))
                    known.add(routes.session)
                self._set(routes, routes.up)
            for peer in (*self.peers, *self._feeders):
                stack.callback(peer.stop)
                peer.start()
            for peer in self.peers:
                self.tables[peer.name] = peer.watch()
                self.excused[peer.name] = [] if peer.name in self._members else [(0.0, float("inf"))]
            self.exabgp = ExaBGP(self._folder, self._neighbors(), self._toml(), release=self._release, **self._env)
            stack.callback(self._stop_exabgp)
            self.exabgp.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _stop_exabgp(self) -> None:
        child = self.exabgp.child()
        if child is not None and alive(child):
            kill(child, signal.SIGCONT)  # whatever was done to it: it must be able to end
        self.exabgp.stop()
        if child is not None:
            deadline = time.monotonic() + 5
            while alive(child) and time.monotonic() < deadline:
                time.sleep(0.02)
            if alive(child):
                kill(child, signal.SIGKILL)

    def output(self) -> str:
        """What everybody wrote, for whoever looks for the reason."""
        programs = (self.exabgp, *self.peers, *self._feeders)
        return "\n".join(f"--- {program.log.name}\n{program.output()}" for program in programs)

    # --- who is there -------------------------------------------------------------------------------------------

    @property
    def peers(self) -> tuple[Peer, ...]:
        return (self.bird,) if self.gobgp is None else (self.bird, self.gobgp)

    @property
    def _feeders(self) -> tuple[Bird, ...]:
        return () if self.feeder is None else (self.feeder,)

    def members(self) -> list[Peer]:
        """The peers that ExaBGP has as neighbours."""
        return [peer for peer in self.peers if peer.name in self._members]

    def _neighbors(self) -> list[Neighbor]:
        there = (*self.members(), *self._feeders)
        return [self._changed.get(peer.name, peer.neighbor)._replace(more=self._static()) for peer in there]

    def _static(self) -> str:
        """ExaBGP's own routes, which it says to each of its neighbours."""
        lines = "".join(
            f"    route {prefix} next-hop {'2001:db8::10' if ':' in prefix else '192.0.2.10'} "
            f"watchdog {name} {routes.watchdog};\n"
            for name, routes in self.routes.items()
            if routes.watchdog is not None
            for prefix in routes.prefixes
        )
        lines += "".join(f"    route {prefix} next-hop 192.0.2.10;\n" for prefix in sorted(self._always))
        return f"static {{\n{lines}  }}" if lines else ""

    def _toml(self) -> str:
        text = SETTINGS.format(community=COMMUNITY, port=self.router.port, speaker=self._speaker)
        for name, routes in self.routes.items():
            prefixes = ", ".join(f'"{prefix}"' for prefix in (*routes.prefixes, *routes.refused))
            if routes.watchdog is None:
                text += SERVICE.format(name=name, prefixes=prefixes, next_hop=routes.next_hop)
            else:
                text += WATCHDOG.format(name=name)
            text += RULES.format(session=routes.session, lease="lease = true" if routes.lease else "")
        return text

    def reconfigure(
        self, *, members: Sequence[str] | None = None, changed: Mapping[str, Neighbor] | None = None
    ) -> None:
        """Writes ExaBGP's configuration with other neighbours, or with neighbours that are other than they were."""
        if members is not None:
            self._members = list(members)
        self._changed.update(changed or {})
        self.exabgp.configure(self._neighbors())

    def add_static(self, prefix: str) -> None:
        """A route of ExaBGP's own, which it says to all from its next reload on."""
        self._always.add(prefix)
        self.truth.put(prefix, held=True, at=time.monotonic())
        self.exabgp.configure(self._neighbors())

    # --- what should be ---------------------------------------------------------------------------------------------

    def _set(self, routes: Routes, up: bool) -> None:
        routes.up = up
        self.router.do(lambda: self.router.router.set_state(routes.session, State.UP if up else State.DOWN))
        now = time.monotonic()
        for prefix in routes.prefixes:
            self.truth.put(prefix, up, now)

    def set(self, name: str, up: bool) -> None:
        """A BFD session goes down or comes up, and with it whatever follows it."""
        session = self.routes[name].session
        for key, routes in self.routes.items():
            if routes.session == session and routes.up is not up:
                self._set(routes, up)
                self._turned.add(key)

    def turn(self) -> None:
        """Of `first` and `second` the one that is up goes down, and the other comes up."""
        was = self.routes["first"].up
        self.set("first", not was)
        self.set("second", was)

    def should(self) -> set[str]:
        """What every peer should hold."""
        return self._always | {p for routes in self.routes.values() if routes.up for p in routes.prefixes}

    # --- what is ----------------------------------------------------------------------------------------------------

    def right(self, *but: Peer) -> bool:
        """Whether the table of every peer but some, as seen last, is as it should be."""
        should = self.should()
        return all(self.tables[peer.name].held() == should for peer in self.members() if peer not in but)

    def settle(self, why: str, timeout: float = PATIENCE, *, calm: float = CALM) -> None:
        """Waits until every table is right, and stays so for a moment; the peers are asked, too."""
        since: float | None = None
        deadline = time.monotonic() + timeout
        while since is None or time.monotonic() < since + calm:
            since = (since or time.monotonic()) if self.right() else None
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        assert since is not None, f"{why}: after {timeout:g} s {self.difference()}"
        for peer in self.members():
            assert peer.routes() == self.should(), f"{why}: {peer.name} is wrong after all"

    def difference(self) -> str:
        """What is wrong with each peer's table, in words."""
        should = self.should()
        return "; ".join(
            f"{peer.name} lacks {_some(should - held)}, holds too much: {_some(held - should)}"
            for peer in self.members()
            for held in [self.tables[peer.name].held()]
        )

    @contextlib.contextmanager
    def excuse(self, peer: Peer) -> Iterator[None]:
        """What a peer does not hold while this lasts is of its own doing, or nobody's."""
        begun = time.monotonic()
        spans = self.excused[peer.name]
        spans.append((begun, float("inf")))
        place = len(spans) - 1
        try:
            yield
        finally:
            spans[place] = (begun, time.monotonic())

    def excuse_from_now(self, peer: Peer) -> None:
        """A peer is no neighbour any more, whatever it holds."""
        self.excused[peer.name].append((time.monotonic(), float("inf")))

    def excuse_until_now(self, peer: Peer) -> None:
        """A peer that was no neighbour is one."""
        (since, _) = self.excused[peer.name].pop()
        self.excused[peer.name].append((since, time.monotonic()))

    @contextlib.contextmanager
    def fault(self, why: str, timeout: float = PATIENCE) -> Iterator[Found]:
        """From right tables to right tables: what was wrong between is in what this gives, once it is over."""
        self.settle(f"before {why}", timeout, calm=0.05)
        found = Found()
        self._turned = set()
        begun = time.monotonic()
        try:
            yield found
            self.settle(why, timeout)
        finally:
            self._judge(found, begun, time.monotonic())

    def _judge(self, found: Found, begun: float, ended: float) -> None:
        bulk = {name for name, routes in self.routes.items() if routes.bulk}
        groups = {"kept": set(self.routes) - self._turned, "turned": self._turned - bulk, "bulk": self._turned & bulk}
        for peer in self.peers:
            told: dict[str, Wrong] = {}
            for group, names in groups.items():
                prefixes = [prefix for name in names for prefix in self.routes[name].prefixes]
                told[group] = judged(
                    self.truth, self.tables[peer.name], prefixes, begun, ended, self.excused[peer.name]
                )
                setattr(found, group, getattr(found, group).worse(told[group]))
            found.peers[peer.name] = told
        found.seconds = ended - begun
        found.blind = max(peer.blind for peer in self.peers)

    # --- ExaBGP and our processes -----------------------------------------------------------------------------------

    def reload(self, number: signal.Signals = signal.SIGUSR1) -> None:
        """Has ExaBGP read its configuration again, and returns when it has."""
        before = self._reloads()
        self.exabgp.signal(number)
        wait_for(lambda: self._reloads() > before, f"ExaBGP reloads; {self.exabgp.output()[-2000:]}")

    def _reloads(self) -> int:
        return self.exabgp.output().count("loaded new configuration successfully")

    def child(self) -> int:
        """The number of our process that ExaBGP started, once there is one."""
        return wait_for(self.exabgp.child, f"our process; {self.exabgp.output()[-2000:]}")

    def worker(self) -> int:
        """The number of our process that does the work."""
        return worker_of(self.child())

    def ready(self) -> None:
        wait_for(lambda: self.exabgp.get("/readyz"), f"our process is ready; {self.exabgp.output()[-2000:]}")


def _some(prefixes: set[str]) -> str:
    ordered = sorted(prefixes)
    return f"{', '.join(ordered[:4])}{f' and {len(ordered) - 4} more' if len(ordered) > 4 else ''}" or "nothing"
