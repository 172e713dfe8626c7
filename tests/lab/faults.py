"""What may happen to ExaBGP, to us and to a peer, done on purpose; what comes of it the site's tables tell.

Each is done while BFD sessions change, so that not only what is lost shows, but also what is missed meanwhile.
"""

from __future__ import annotations

import re
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from . import PATIENCE, wait_for
from .exabgp import alive, kill
from .keeping import worker_of
from .site import Found, Peer, Site, crowd, usual

STOPPED = 1.0
"""Seconds for which a process of ours is stopped."""
TURNS = 2
"""How often sessions change while ExaBGP is stopped: in the end all is as it was."""
LEASE = 2.0
"""Seconds of the dead-man lease."""
SLOW = 180.0
"""Seconds to wait for many routes, in ExaBGP's own time."""


@dataclass(frozen=True, slots=True)
class Fault:
    about: str
    happen: Callable[[Site, Found], None]
    site: Mapping[str, Any] = field(default_factory=dict)
    """How the site is made for it."""
    timeout: float = PATIENCE
    """Seconds after which a peer's table must be right again."""


# --- us -----------------------------------------------------------------------------------------------------------


def nothing(site: Site, found: Found) -> None:
    site.turn()


def our_keeper_is_killed(site: Site, found: Found) -> None:
    child = site.child()
    kill(child, signal.SIGKILL)
    site.turn()
    _another(site, child)


def our_worker_is_killed(site: Site, found: Found) -> None:
    keeper = site.child()
    worker = worker_of(keeper)
    kill(worker, signal.SIGKILL)
    site.turn()
    worker_of(keeper, other_than=worker)


def our_worker_is_stopped(site: Site, found: Found) -> None:
    _stop(site, found, site.worker())


def our_keeper_is_stopped(site: Site, found: Found) -> None:
    _stop(site, found, site.child())


def our_worker_never_goes_on(site: Site, found: Found) -> None:
    """The keeper ends it, takes back what is under the lease, and starts another."""
    keeper = site.child()
    worker = worker_of(keeper)
    kill(worker, signal.SIGSTOP)
    site.turn()
    worker_of(keeper, other_than=worker)
    found.remarks.append(f"lease {LEASE:g} s")


# --- ExaBGP -------------------------------------------------------------------------------------------------------


def exabgp_is_killed(site: Site, found: Found) -> None:
    _restart(site, found, signal.SIGKILL)


def exabgp_is_restarted(site: Site, found: Found) -> None:
    _restart(site, found, signal.SIGTERM)


def exabgp_is_stopped(site: Site, found: Found) -> None:
    """Sessions go down and come up meanwhile: what is said of it, ExaBGP finds all at once, and does in one breath.

    What it does in one breath, ExaBGP 4 and 5 send grouped by attributes, not in the order in which it was said.
    """
    site.exabgp.signal(signal.SIGSTOP)
    for _ in range(TURNS):
        site.turn()
        time.sleep(STOPPED / TURNS)
    site.exabgp.signal(signal.SIGCONT)
    found.remarks.append(f"stopped for {STOPPED:g} s, {TURNS} turns")


def exabgp_reloads_the_same(site: Site, found: Found) -> None:
    child = site.child()
    site.reload()
    site.turn()
    assert site.exabgp.child() == child, "a reload that changes nothing leaves us alone"


def exabgp_restarts_us(site: Site, found: Found) -> None:
    child = site.child()
    site.reload(signal.SIGUSR2)
    site.turn()
    _another(site, child)


def a_neighbour_is_added(site: Site, found: Found) -> None:
    added = _another_peer(site)
    site.reconfigure(members=[peer.name for peer in site.peers])
    site.reload()
    site.turn()
    _comes_up(added)
    site.excuse_until_now(added)


def a_neighbour_is_removed(site: Site, found: Found) -> None:
    removed = _another_peer(site)
    site.excuse_from_now(removed)
    site.reconfigure(members=[peer.name for peer in site.peers if peer is not removed])
    site.reload()
    site.turn()
    wait_for(lambda: not removed.routes(), "nothing is held of who is no neighbour")


def a_neighbour_is_changed(site: Site, found: Found) -> None:
    """ExaBGP ends its BGP session and begins another."""
    changed = site.bird
    site.reconfigure(changed={changed.name: changed.neighbor._replace(hold_time=31)})
    with site.excuse(changed):
        site.reload()
        site.turn()
        # The hold time is what both agreed on: the new session has the new one.
        wait_for(lambda: re.search(r"Hold timer: .*/31\b", changed.ask("show", "protocols", "all")), "its new session")


# --- peers --------------------------------------------------------------------------------------------------------


def bird_goes_and_comes(site: Site, found: Found) -> None:
    _goes_and_comes(site, site.bird, found)


def gobgp_goes_and_comes(site: Site, found: Found) -> None:
    assert site.gobgp is not None
    _goes_and_comes(site, site.gobgp, found)


# --- much at once -------------------------------------------------------------------------------------------------


def a_crowd_falls_and_recovers(site: Site, found: Found) -> None:
    """All of it goes; while it is announced again, another session goes down."""
    name = next(name for name, routes in site.routes.items() if routes.bulk)
    count = sum(len(routes.prefixes) for routes in site.routes.values() if routes.bulk)
    begun = time.monotonic()
    site.set(name, up=False)
    wait_for(site.right, "all of it is withdrawn", SLOW)
    gone = time.monotonic()
    site.set(name, up=True)
    wait_for(lambda: len(site.tables[site.bird.name].held()) > count // 10, "some of it is announced", SLOW)
    site.turn()
    wait_for(site.right, "all of it is announced", SLOW)
    back = time.monotonic()
    found.remarks.append(f"{count} gone in {gone - begun:.1f} s, back in {back - gone:.1f} s")


def a_feed_comes(site: Site, found: Found) -> None:
    """A neighbour says all it has, each route in an UPDATE of its own, while routes of ours come and go."""
    assert site.feeder is not None
    before, begun, turns = _heard(site), time.monotonic(), 0
    site.feeder.feed(on=True)
    while (heard := _heard(site) - before) < site.feeder.count:
        assert time.monotonic() < begun + SLOW, f"{heard} of {site.feeder.count} UPDATEs are in the journal"
        site.turn()
        turns += 1
        wait_for(site.right, f"our routes follow while {heard} UPDATEs came")
        time.sleep(0.3)
    found.remarks.append(f"{site.feeder.count} UPDATEs in {time.monotonic() - begun:.1f} s, {turns} turns meanwhile")


# --- how ----------------------------------------------------------------------------------------------------------


def _restart(site: Site, found: Found, number: signal.Signals) -> None:
    """As a service manager does: at once."""
    child = site.child()
    site.exabgp.signal(number)
    site.exabgp.wait()
    site.turn()
    site.exabgp.start()
    wait_for(lambda: not alive(child), "our process has gone with its ExaBGP")
    for peer in site.members():
        _comes_up(peer)


def _stop(site: Site, found: Found, process: int) -> None:
    kill(process, signal.SIGSTOP)
    site.turn()
    time.sleep(STOPPED)
    kill(process, signal.SIGCONT)
    found.remarks.append(f"stopped for {STOPPED:g} s")


def _another(site: Site, child: int) -> None:
    wait_for(lambda: site.exabgp.child() not in (None, child), f"a process after {child}")


def _another_peer(site: Site) -> Peer:
    peer = site.peers[1]
    assert peer is not site.bird
    return peer


def _goes_and_comes(site: Site, peer: Peer, found: Found) -> None:
    with site.excuse(peer):
        peer.disable()
        wait_for(lambda: not peer.established(), f"{peer.name} ends its session")
        site.turn()
        wait_for(lambda: site.right(peer), "the others follow meanwhile")
        peer.enable()
        _comes_up(peer)


def _comes_up(peer: Peer) -> None:
    wait_for(peer.established, f"a BGP session with {peer.name}", 2 * PATIENCE)


def _heard(site: Site) -> int:
    """How many BGP messages of neighbours are in our journal."""
    with closing(sqlite3.connect(f"file:{site.exabgp.journal}?mode=ro", uri=True, timeout=5)) as journal:
        (count,) = journal.execute("SELECT count(*) FROM message WHERE direction = 'receive'").fetchone()
    return int(count)


# --- all of them --------------------------------------------------------------------------------------------------


def faults(*, many: int = 2000, fed: int = 5000) -> dict[str, Fault]:
    """Every fault by its name; so many prefixes fall at once, and so many UPDATEs are fed."""
    lone, mute = {"away": ["gobgp"]}, {"exabgp_api_ack": "false"}
    leased = {
        "routes": {name: replace(routes, lease=name != "kept") for name, routes in usual().items()},
        "speaker": f"[speaker]\nlease = {LEASE}\n",
    }
    return {
        "nothing": Fault("sessions change, and all goes well", nothing),
        "our keeper is killed": Fault("SIGKILL to the process that ExaBGP started", our_keeper_is_killed),
        "our worker is killed": Fault("SIGKILL to the process that works", our_worker_is_killed),
        "our keeper is stopped": Fault("SIGSTOP to the first, then SIGCONT", our_keeper_is_stopped),
        "our worker is stopped": Fault("SIGSTOP to the second, then SIGCONT", our_worker_is_stopped),
        "our lease lapses": Fault("SIGSTOP to the second, for ever", our_worker_never_goes_on, leased),
        "ExaBGP is killed": Fault("SIGKILL to ExaBGP, started again at once", exabgp_is_killed),
        "ExaBGP is restarted": Fault("SIGTERM to ExaBGP, started again at once", exabgp_is_restarted),
        "ExaBGP is stopped": Fault("SIGSTOP to ExaBGP, then SIGCONT", exabgp_is_stopped),
        "ExaBGP reloads": Fault("SIGUSR1, with the same configuration", exabgp_reloads_the_same),
        "a neighbour is added": Fault("SIGUSR1, with one more", a_neighbour_is_added, lone),
        "a neighbour is removed": Fault("SIGUSR1, with one less", a_neighbour_is_removed),
        "a neighbour is changed": Fault("SIGUSR1, with another hold time", a_neighbour_is_changed),
        "ExaBGP restarts us": Fault("SIGUSR2", exabgp_restarts_us),
        "BIRD goes": Fault("its BGP session is disabled and enabled", bird_goes_and_comes),
        "GoBGP goes": Fault("its BGP session is disabled and enabled", gobgp_goes_and_comes),
        "answers are off": Fault("exabgp_api_ack=false", nothing, mute),
        "killed, answers off": Fault("SIGKILL to our keeper meanwhile", our_keeper_is_killed, mute),
        "a crowd": Fault(
            f"{many} prefixes fall and recover", a_crowd_falls_and_recovers, {"routes": usual() | crowd(many)}, SLOW
        ),
        "a feed": Fault(f"{fed} UPDATEs from a neighbour", a_feed_comes, {"feed": fed}, SLOW),
    }
