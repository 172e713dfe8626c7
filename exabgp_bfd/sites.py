"""The other sites, as the app sees them: what we tell them, what we hear of them, and what is ordered of all of us.

Two sites' clocks are never compared. That a site was heard of is told by its heartbeat's number, which changed between
two of our looks, on our own monotonic clock; how long ago it was when we first saw it, MongoDB tells by its own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from exabgp_bfd.core.model import (
    Address,
    Clear,
    ConfigError,
    Order,
    Override,
    Peer,
    Plan,
    Route,
    Secret,
    ServiceView,
    Sites,
    Snapshot,
    StoreError,
    Target,
)
from exabgp_bfd.core.neighbors import UP
from exabgp_bfd.core.reach import unfit
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.mongo_sites import Look, MongoSites, OrderSeen, SiteSeen, Standing

logger = logging.getLogger(__name__)

HELD: Final = "last_site"
"""The layer of what a site announces only because nobody else does."""
TURN: Final = 0.5
"""Seconds between two looks at who is still fresh."""
LATE: Final = 1.0
"""Seconds by which we must be late to know that it was we who slept."""
SETTLE: Final = 0.02
"""Seconds for what changes together to be told together."""
REST: Final = 20
"""How many times as long as telling took we rest from it, so that it never takes more than a twentieth of the loop."""
LONGEST_REST: Final = 1.0
A_TURN: Final = 20
"""Orders for all sites that are taken before the loop turns to something else."""
MISSED: Final = 3
"""Heartbeats that a site may miss whose heartbeat is too long for our own `fresh`."""
LONGEST_COUNTED: Final = 900.0
"""Seconds that a site counts at most, where `fresh` says no more, whatever it says of its heartbeat."""
TAKEN: Final = "orders_taken"
"""Where the journal keeps which orders for all sites were taken here."""


# --- what was heard, by our own clock: pure ---------------------------------------------------------------------------


@dataclass(slots=True)
class _Site:
    seen: SiteSeen
    at: float
    """When it was there for certain, monotonic."""


class Hearsay:
    """What was heard of the sites. All times are our own monotonic seconds."""

    def __init__(self, site: str, fresh: float, now: float) -> None:
        """`fresh` is how long a site counts after its last word, and how long we count as not cut off."""
        self._site = site
        self._fresh = fresh
        # From the start on as if we had heard just now that nobody else announces anything: what was announced before
        # stays until we know better, and not only once a first word has come.
        self._looked = now
        self._sites: dict[str, _Site] = {}
        self.orders: tuple[OrderSeen, ...] = ()

    def take(self, look: Look) -> None:
        """What MongoDB holds, and when it was asked."""
        sites = {}
        for seen in look.sites:
            known = self._sites.get(seen.name)
            at = look.asked - max(0.0, seen.age)
            if known is not None:
                # Where MongoDB's own clock jumped, as another member's does: its number says it all the same.
                at = known.at if seen.beat == known.seen.beat else max(at, known.at, min(self._looked, look.asked))
            sites[seen.name] = _Site(seen, at)
        self._sites = sites
        self._looked = max(self._looked, look.asked)  # it may have been on its way while we slept
        self.orders = look.orders

    def slept(self, seconds: float) -> None:
        """We did not run for so long, and heard nobody: that says nothing of anybody."""
        self._looked += seconds
        for site in self._sites.values():
            site.at += seconds

    def cut_off(self, now: float) -> bool:
        """Whether MongoDB has not answered for so long that what was heard is worth nothing."""
        return now - self._looked > self._fresh

    def announced(self, now: float, wanted: Collection[str], held: Collection[str] = ()) -> Sites:
        """Which other sites announce what, as far as it is `wanted`; only those heard of lately count.

        `held` is what we announce ourselves only because nobody else does. Two that do so must not both go because of
        the other, and come back, and go: of them the one whose name comes first stays. Who is gone, stays gone.
        """
        if self.cut_off(now):
            return Sites(None)
        announced: dict[str, tuple[str, ...]] = {}
        for name, site in sorted(self._sites.items()):
            if name == self._site or not self.is_fresh(site.seen, site.at, now):
                continue
            for stand in site.seen.stands:
                weak = stand.layer == HELD and name > self._site
                for target in stand.targets:
                    if target in wanted and not (weak and target in held):
                        announced[target] = (*announced.get(target, ()), name)
        return Sites(announced)

    def is_fresh(self, seen: SiteSeen, at: float, now: float) -> bool:
        """Whether a site that was heard of at that moment counts."""
        counted = self._fresh
        if counted < 2 * seen.heartbeat:  # configured apart from us: it would come and go with each heartbeat
            counted = max(counted, min(MISSED * seen.heartbeat, LONGEST_COUNTED))
        return now - at <= counted

    def others(self) -> list[tuple[SiteSeen, float]]:
        """Each other site, and when it was heard of, by name."""
        return [(site.seen, site.at) for name, site in sorted(self._sites.items()) if name != self._site]


def standings(snapshot: Snapshot, calendar: Callable[[float], int]) -> tuple[Standing, ...]:
    """What a site does with its services, for the other sites; `calendar` gives a moment's microseconds of the day.

    A route counts once it was said, unless ExaBGP refused it or no BGP session is up that carries it.
    """
    peers = {str(peer.address): peer for peer in snapshot.peers or ()}
    all_up = all(state == UP for state in snapshot.neighbors.values())
    stands = []
    for view in snapshot.services:
        said = [route.route for route in view.routes if route.announced and route.accepted is not False]
        targets = tuple(target.key for target in said if all_up or _goes_out(target, snapshot.neighbors, peers))
        since = None if view.since is None else calendar(view.since)
        stands.append(Standing(view.service.name, bool(targets), view.layer, since, targets))
    return tuple(stands)


def _goes_out(target: Target, states: Mapping[str, str], peers: Mapping[str, Peer]) -> bool:
    """Whether a BGP session is up to a neighbour that a target is meant for; one that nothing was told of may be."""
    named: tuple[Address, ...] = target.neighbors if isinstance(target, Route) else ()
    meant = [str(address) for address in named] or list(dict.fromkeys((*peers, *states)))
    if isinstance(target, Route):
        # IPv4 and IPv6 often have a session each: the one that is up carries nothing for the other.
        meant = [name for name in meant if name not in peers or not unfit(target, peers[name])]
    return not meant or any(states.get(name, UP) == UP for name in meant)


def _to_keep(plan: Plan) -> frozenset[str]:
    """What the services of a plan announce that must not go while they are the last."""
    return frozenset(target.key for service in plan.services if service.keep_last for target in service.routes)


# --- what was ordered of all sites: pure ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Taken:
    """The last order for all sites that was taken for a service."""

    token: str
    since: float | None
    """That of the override it was; None: one was taken back."""
    number: int = 0
    """Of several orders for a service the last has the greatest; 0: from before our start."""
    event: int | None = None


def carried_out(seen: OrderSeen, taken: Taken | None, now: Override | None, wall: float) -> Order | Clear | None:
    """What is to be done at a site for an order that it has not taken yet, None: nothing.

    `now` is the override that holds there, `wall` seconds since the epoch. What holds already, as after a crash between
    the order and the note that it was taken, is not done twice. One that is over leaves what holds, unless that is what
    it replaced at the other sites.
    """
    if seen.override is None:
        return None if now is None else Clear(seen.service, seen.actor, seen.reason)
    if seen.override == now:
        return None
    if seen.override.expires is not None and seen.override.expires <= wall:
        if now is not None and taken is not None and taken.since == now.since:
            return Clear(seen.service, seen.actor, "it was replaced by an order for all sites that is over")
        return None
    return Order(seen.override)


def exact(override: Override) -> Override:
    """An override with its times to the microsecond, as they are kept: so that it is known again."""
    expires = None if override.expires is None else round(override.expires * 1e6) / 1e6
    return replace(override, since=round(override.since * 1e6) / 1e6, expires=expires)


def read_taken(text: str | None) -> dict[str, Taken]:
    """The orders that were taken, by service, from what the journal keeps; nothing where that is not understood."""
    try:
        return {
            str(service): Taken(str(token), None if since is None else float(since))
            for service, (token, since) in json.loads(text or "{}").items()
        }
    except (ValueError, TypeError, AttributeError):
        logger.error("which orders for all sites were taken here is not known any more: they are taken again")
        return {}


def write_taken(taken: Mapping[str, Taken]) -> str:
    """The same for the journal."""
    return json.dumps({service: [each.token, each.since] for service, each in taken.items()})


@dataclass(frozen=True, slots=True)
class SiteNow:
    """What a site said last."""

    site: str
    age: float
    """Seconds since it was heard of; 0 for ourselves."""
    fresh: bool
    stands: tuple[Standing, ...]


# --- on the loop ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Talk:
    """With whom we talk, as who, and how often; seconds."""

    site: str
    mongodb: Secret
    heartbeat: float
    fresh: float


@dataclass(frozen=True, slots=True)
class Doors:
    """What the other sites' side asks of the app, on its loop's thread."""

    sites: Callable[[Sites], object]
    """Hands what other sites announce to the engine."""
    order: Callable[[Order | Clear], int | None]
    """Hands an order to the engine; its event's id. Raises ConfigError where it is refused."""
    snapshot: Callable[[], Snapshot]
    plan: Callable[[], Plan]


class OtherSites:
    """Tells the other sites what we do, the engine what they do, and carries out what is ordered of all of us.

    Everything happens on the loop's thread but for what says otherwise; MongoDB is spoken to on threads of its own.
    """

    def __init__(self, talk: Talk, journal: Journal, doors: Doors) -> None:
        """Raises StoreError for what is no URI of MongoDB."""
        self.site = talk.site
        self._link = MongoSites(talk.site, talk.mongodb, self.heard, heartbeat=talk.heartbeat)
        self._journal = journal
        self._doors = doors
        self._hearsay = Hearsay(talk.site, talk.fresh, time.monotonic())
        self._taken = read_taken(journal.meta(TAKEN))
        self._stands: tuple[Standing, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._turning: asyncio.TimerHandle | None = None
        self._taking: asyncio.Handle | None = None
        self._due = 0.0
        """When the next turn is due, 0: none is yet."""
        self._rests_until = 0.0
        self._told: Sites | None = None
        self._plan: Plan | None = None
        self._services: frozenset[str] = frozenset()
        self._wanted: frozenset[str] = frozenset()
        """What those of our services announce that must not go while they are the last."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins, after the engine's own start."""
        self._loop = loop
        self._tell_engine()
        self._tell_others()
        self._link.start()
        self._turn_at(time.monotonic() + TURN)

    async def stop(self, seconds: float, *, gone: bool) -> None:
        """Ends the talk; `gone`: what we announced goes with us, and the others should not wait to find that out."""
        if gone:
            self._link.tell(())
        else:
            self._tell_others()
        for timer in (self._turning, self._settling, self._taking):
            if timer is not None:
                timer.cancel()
        self._loop = None
        if not await asyncio.to_thread(self._link.stop, seconds):
            logger.warning("MongoDB did not take what we told the other sites last")

    def touched(self) -> None:
        """Something happened to our routes, so that the others are told, in a moment and all together."""
        if self._settling is None and self._loop is not None:
            rest = self._rests_until - time.monotonic()
            self._settling = self._loop.call_later(max(SETTLE, min(rest, LONGEST_REST)), self._settled)

    def expect(self, plan: Plan) -> None:
        """Another plan may hold soon: the engine is told now of what that will ask of other sites."""
        self._learn_plan()
        self._wanted = _to_keep(self._doors.plan()) | _to_keep(plan)
        self._tell_engine()

    def reloaded(self) -> None:
        """Another plan holds."""
        self._tell_engine()
        self._take_orders()  # there may be one for a service that we had not yet
        self.touched()

    def heard(self, look: Look) -> None:
        """A look was taken. Any thread."""
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._take_look, look)
            except RuntimeError:
                """We are stopping, and the loop has ended."""

    # --- telling ---

    def _settled(self) -> None:
        self._settling = None
        began = time.monotonic()
        self._tell_others()
        self._tell_engine()
        ended = time.monotonic()
        self._rests_until = ended + REST * (ended - began)

    def _tell_others(self) -> None:
        offset = time.time() - time.monotonic()
        # To the millisecond: the same moment told twice must be the same, or it would be news each time.
        stands = standings(self._doors.snapshot(), lambda at: round((at + offset) * 1e3) * 1000)
        self._stands = _steady(stands, self._stands)
        self._link.tell(self._stands)

    # --- hearing ---

    def _take_look(self, look: Look) -> None:
        self._allow_for_sleep()
        self._hearsay.take(look)
        self._tell_engine()
        self._take_orders()

    def _turn_at(self, due: float) -> None:
        self._due = due
        if self._loop is not None:
            self._turning = self._loop.call_at(due, self._turn)

    def _turn(self) -> None:
        self._tell_engine()
        self._turn_at(time.monotonic() + TURN)

    def _allow_for_sleep(self) -> None:
        """Whatever runs first after we were stopped, must not take our own sleep for silence of the others."""
        now = time.monotonic()
        if self._due and now - self._due > LATE:
            self._hearsay.slept(now - self._due)
            self._due = now

    def _learn_plan(self) -> None:
        plan = self._doors.plan()
        if plan is not self._plan:
            self._plan = plan
            self._services = frozenset(service.name for service in plan.services)
            self._wanted = _to_keep(plan)

    def _tell_engine(self) -> None:
        self._allow_for_sleep()
        self._learn_plan()
        if not self._wanted and self._told is None:
            return
        services = self._doors.snapshot().services  # as they are now: what they were a moment ago, decides wrongly
        held = {route.route.key for view in services if view.layer == HELD for route in view.routes if route.announced}
        sites = self._hearsay.announced(time.monotonic(), self._wanted, held)
        if sites != self._told:
            self._told = sites
            self._doors.sites(sites)

    # --- orders ---

    def _take_orders(self) -> None:
        """Takes what is new for services of ours, so many at once, and the rest in later turns of the loop."""
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
        orders = self._hearsay.orders
        if self._taken and orders:
            there = {seen.service for seen in orders}
            self._taken = {service: taken for service, taken in self._taken.items() if service in there}
        self._learn_plan()
        # One for another site's service is passed over: it may still become ours.
        new = [seen for seen in orders if seen.service in self._services and not self._is_taken(seen)]
        if not new:
            return
        views = {view.service.name: view for view in self._doors.snapshot().services}
        for seen in new[:A_TURN]:
            try:
                self._take_order(seen, views.get(seen.service))
            except ConfigError as error:
                self._note(seen, None)
                logger.warning("an order for all sites is not carried out here: %s", error)
        self._keep_taken()
        if len(new) > A_TURN and self._loop is not None:
            self._taking = self._loop.call_soon(self._take_orders)

    def _is_taken(self, seen: OrderSeen) -> bool:
        taken = self._taken.get(seen.service)
        return taken is not None and taken.token == seen.token

    def _take_order(self, seen: OrderSeen, view: ServiceView | None) -> int | None:
        """Carries out an order for all sites that is new; its event's id, if it led to one."""
        if view is None:
            return None  # another site's service
        todo = carried_out(seen, self._taken.get(seen.service), view.override, time.time())
        event = None if todo is None else self._doors.order(todo)
        if todo is not None:
            logger.info("an order for all sites, given at %s, was carried out for %s", seen.site, seen.service)
        self._note(seen, event)
        return event

    def _note(self, seen: OrderSeen, event: int | None) -> None:
        since = None if seen.override is None else seen.override.since
        self._taken[seen.service] = Taken(seen.token, since, seen.number, event)

    def _keep_taken(self) -> None:
        self._journal.put_meta(TAKEN, write_taken(self._taken))

    def post(self, what: Order | Clear, timeout: float) -> OrderSeen:
        """Keeps an order for all sites in MongoDB, from where each takes it; not on the loop's thread.

        Raises StoreError where MongoDB did not take it, or not in time.
        """
        override = exact(what.what) if isinstance(what, Order) and isinstance(what.what, Override) else None
        if override is not None:
            service, actor, reason = override.service, override.actor, override.reason
        elif isinstance(what, Clear) and what.service is not None:
            service, actor, reason = what.service, what.actor, what.reason
        else:
            raise ConfigError("scope", "only a service's override can be ordered of all sites")
        try:
            return self._link.order(OrderSeen(service, uuid.uuid4().hex, override, actor, reason, self.site), timeout)
        except StoreError as error:
            raise StoreError(f"MongoDB, which tells the other sites, did not take it: {error}") from None

    def take_own(self, seen: OrderSeen) -> int | None:
        """Carries out here what was just posted; its event's id, None where nothing was to be done here."""
        taken = self._taken.get(seen.service)
        if taken is not None and taken.number > seen.number:
            self._link.look()  # one that came later was quicker; or MongoDB counts anew, and the next look tells
            return None
        if taken is not None and taken.token == seen.token:
            return taken.event  # once, whoever of the web and MongoDB came first
        views = self._doors.snapshot().services
        event = self._take_order(seen, next((each for each in views if each.service.name == seen.service), None))
        self._keep_taken()
        return event

    # --- for the web ---

    def everywhere(self) -> tuple[bool, list[SiteNow]]:
        """Whether we are cut off, and what each site does, ourselves first."""
        now = time.monotonic()
        self._allow_for_sleep()
        cut_off = self._hearsay.cut_off(now)
        self._tell_others()
        others = [
            SiteNow(seen.name, now - at, not cut_off and self._hearsay.is_fresh(seen, at, now), seen.stands)
            for seen, at in self._hearsay.others()
        ]
        return cut_off, [SiteNow(self.site, 0.0, fresh=True, stands=self._stands), *others]


def _steady(stands: tuple[Standing, ...], before: tuple[Standing, ...]) -> tuple[Standing, ...]:
    """With the same moments as before where only our reckoning of the time of day moved a little: that is no news."""
    known = {each.service: each for each in before}
    return tuple(_steadied(each, known.get(each.service)) for each in stands)


def _steadied(stand: Standing, before: Standing | None) -> Standing:
    if before is None or before.since is None or stand.since is None or abs(stand.since - before.since) > LATE * 1e6:
        return stand
    return replace(stand, since=before.since)
