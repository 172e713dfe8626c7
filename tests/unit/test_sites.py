"""The other sites, without a MongoDB between: who counts, what is told, and which orders for all are to be done."""

import asyncio
import itertools
import random
import time
from dataclasses import replace
from ipaddress import ip_network
from types import SimpleNamespace

import pytest
from lab.house import DOWN, N1, N2, N3, UP, V4, V6, House, kinds, override, said, service

from exabgp_bfd.core.model import (
    Clear,
    Neighbor,
    Order,
    Override,
    Peer,
    Peers,
    Reload,
    Route,
    RouteView,
    Secret,
    Sites,
    Watchdog,
)
from exabgp_bfd.sites import (
    A_TURN,
    HELD,
    TAKEN,
    Doors,
    Hearsay,
    OtherSites,
    Taken,
    Talk,
    _steady,
    carried_out,
    exact,
    read_taken,
    standings,
    write_taken,
)
from exabgp_bfd.storage.mongo_sites import Look, OrderSeen, SiteSeen, Standing

FRESH = 20.0
A, B = str(V4), str(V6)
ALL = {A, B}


def stand(*targets: str, layer: str = "health", name: str = "dns") -> Standing:
    return Standing(name, bool(targets), layer, 1_000_000, targets)


def seen(name: str, *stands: Standing, beat: int = 1, age: float = 0.0, heartbeat: float = 5.0) -> SiteSeen:
    return SiteSeen(name, beat, age, stands or (stand(A),), heartbeat)


def hearsay(*sites: SiteSeen, at: float = 100.0, name: str = "fra") -> Hearsay:
    heard = Hearsay(name, FRESH, at)
    if sites:
        heard.take(Look(at, sites, ()))
    return heard


# --- who counts -------------------------------------------------------------------------------------------------------


def test_what_other_sites_announce_is_told_by_target_with_their_names():
    heard = hearsay(seen("nyc", stand(A, B)), seen("ams", stand(A), stand(name="ntp")), seen("fra", stand(B)))
    assert heard.announced(100.0, ALL) == Sites({A: ("ams", "nyc"), B: ("nyc",)})
    assert heard.announced(100.0, {B}) == Sites({B: ("nyc",)})


def test_before_the_first_word_nobody_is_known_to_announce_anything_and_only_later_are_we_cut_off():
    heard = hearsay(at=50.0)
    assert heard.announced(50.0 + FRESH, ALL) == Sites({})
    assert heard.announced(50.1 + FRESH, ALL) == Sites(None)
    heard.take(Look(90.0, (seen("ams"),), ()))
    assert heard.announced(90.0, ALL) == Sites({A: ("ams",)})


def test_a_site_that_is_silent_counts_no_more_while_we_still_hear_others():
    heard = hearsay(seen("ams"), seen("nyc"))
    for at in range(101, 131):
        heard.take(Look(float(at), (seen("ams", age=at - 100.0), seen("nyc", beat=at)), ()))
    assert heard.announced(130.0, ALL) == Sites({A: ("nyc",)})


@pytest.mark.parametrize(
    ("heartbeat", "counted"),
    [(0.0, FRESH), (FRESH / 2, FRESH), (60.0, 180.0), (300.0, 900.0), (1e9, 900.0)],
    ids=str,
)
def test_a_site_whose_heartbeat_is_too_long_for_our_fresh_counts_for_some_of_them(heartbeat, counted):
    heard = hearsay(seen("ams", heartbeat=heartbeat))
    for at in range(105, 1005, 5):
        heard.take(Look(float(at), (seen("ams", heartbeat=heartbeat, age=at - 100.0), seen("nyc", beat=at)), ()))
        assert heard.announced(float(at), ALL).announced == {A: ("ams", "nyc") if at - 100.0 <= counted else ("nyc",)}


def test_at_first_sight_mongodb_says_how_long_ago_it_was():
    heard = hearsay(seen("ams", age=FRESH + 1), seen("nyc", age=FRESH - 1))
    assert heard.announced(100.0, ALL) == Sites({A: ("nyc",)})


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_jump_of_mongodbs_clock_neither_ends_nor_revives_a_site(jump):
    heard = hearsay(seen("ams", beat=1), seen("nyc", beat=1, age=19.0))
    # ams goes on beating, nyc is dead; by the clock now all of it was an hour ago, or will be in one.
    for turn in range(1, 5):
        heard.take(Look(100.0 + turn, (seen("ams", beat=1 + turn, age=jump), seen("nyc", beat=1, age=jump)), ()))
    assert heard.announced(104.0, ALL) == Sites({A: ("ams",)})


def test_a_site_that_went_from_the_list_counts_no_more():
    heard = hearsay(seen("ams"))
    heard.take(Look(101.0, (), ()))
    assert heard.announced(101.0, ALL) == Sites({})


def test_that_we_slept_says_nothing_of_anybody():
    heard = hearsay(seen("ams"))
    heard.slept(3600.0)
    assert heard.announced(3700.0, ALL) == Sites({A: ("ams",)})
    # A look that was on its way meanwhile changes nothing.
    heard.take(Look(100.5, (seen("ams", beat=2),), ()))
    assert heard.announced(3700.0, ALL) == Sites({A: ("ams",)})
    assert heard.announced(3700.0 + FRESH + 1, ALL) == Sites(None)


def test_of_sites_that_only_stay_as_the_last_the_first_by_name_stays_and_who_is_gone_stays_gone():
    held = stand(A, layer=HELD)
    after, before = hearsay(seen("nyc", held), name="fra"), hearsay(seen("ams", held), name="fra")
    for hold in ({A}, ()):
        assert before.announced(100.0, ALL, hold) == Sites({A: ("ams",)})
    assert after.announced(100.0, ALL, {A}) == Sites({})
    assert after.announced(100.0, ALL, {B}) == Sites({A: ("nyc",)})
    # One that is well counts for all.
    assert hearsay(seen("nyc", stand(A)), name="fra").announced(100.0, ALL, {A}) == Sites({A: ("nyc",)})


# --- sites that hear of each other ------------------------------------------------------------------------------------


class Town:
    """Engines of several sites, and what each heard of the others last."""

    def __init__(self, *names: str) -> None:
        self.houses = {name: House(service("dns", "edge1/*", keep_last=True)) for name in names}
        self.heard = {name: Hearsay(name, FRESH, 0.0) for name in names}
        self.beats = 0
        for name in names:
            self.hear(name)

    def hear(self, name: str) -> bool:
        """One site looks; whether it led to a command."""
        self.beats += 1
        sites = tuple(
            SiteSeen(other, self.beats, 0.0, standings(house.engine.snapshot(house.now), lambda at: 0))
            for other, house in self.houses.items()
        )
        house, heard = self.houses[name], self.heard[name]
        heard.take(Look(house.now, sites, ()))
        before = house.announced()
        views = house.engine.snapshot(house.now).services
        held = {route.route.key for view in views if view.layer == HELD for route in view.routes if route.announced}
        house.take(heard.announced(house.now, ALL, held))
        return house.announced() is not before

    def settle(self, chance: random.Random) -> int:
        """Sites look in any order until that changes nothing any more; how often a route came or went."""
        changes = 0
        for _ in range(20):
            names = chance.sample(list(self.houses), len(self.houses))
            changed = sum([self.hear(name) for name in names])
            changes += changed
            if not changed:
                return changes
        raise AssertionError("it goes on for ever")

    def announcing(self) -> list[str]:
        return sorted(name for name, house in self.houses.items() if house.announced())


@pytest.mark.parametrize("seed", range(20))
def test_sites_that_all_go_at_once_settle_with_one_that_stays(seed):
    chance = random.Random(seed)
    town = Town("nyc", "ams", "fra")
    for house in town.houses.values():
        house.poll(a=UP)
    town.settle(chance)
    assert town.announcing() == ["ams", "fra", "nyc"]
    for house in town.houses.values():
        house.poll(a=DOWN)
    assert town.announcing() == []
    town.settle(chance)
    # Whoever came first by name, or alone.
    assert len(town.announcing()) == 1
    town.houses["nyc"].poll(a=UP)
    town.settle(chance)
    assert town.announcing() == ["nyc"]
    town.houses["nyc"].poll(a=DOWN)
    assert town.settle(chance) == 0
    assert town.announcing() == ["nyc"]


def test_one_after_the_other_the_last_stays_all_the_time():
    town = Town("ams", "fra")
    chance = random.Random(1)
    for house in town.houses.values():
        house.poll(a=UP)
    town.settle(chance)
    town.houses["ams"].poll(a=DOWN)
    town.settle(chance)
    assert town.announcing() == ["fra"]
    town.houses["fra"].poll(a=DOWN)
    assert town.settle(chance) == 0
    assert town.announcing() == ["fra"]


# --- what is told -----------------------------------------------------------------------------------------------------


def test_what_exabgp_refused_or_was_not_told_is_not_announced():
    house = House(service("dns", "edge1/*", prefixes=(V4, V6)))
    house.poll(a=UP)
    snapshot = house.engine.snapshot(house.now)
    (view,) = snapshot.services
    taken, refused = RouteView(Route(V4), True, True, (), 1), RouteView(Route(V6), True, False, (), 1)
    unsaid = RouteView(Route(ip_network("192.0.2.54/32")), False, True, (), 1)
    unanswered = RouteView(Route(ip_network("192.0.2.55/32")), True, None, (), 1)
    view = replace(view, routes=(taken, refused, unsaid, unanswered), since=2.5)
    (told,) = standings(replace(snapshot, services=(view,)), lambda at: int(at * 2))
    assert told == Standing("dns", True, "health", 5, (A, "192.0.2.55/32"))
    (told,) = standings(replace(snapshot, services=(replace(view, routes=(refused,)),)), lambda at: 0)
    assert (told.announced, told.targets) == (False, ())


def goes_out(house: House) -> tuple[str, ...]:
    (told,) = standings(house.engine.snapshot(house.now), lambda at: 0)
    assert told.announced is bool(told.targets)
    return told.targets


def test_what_no_bgp_session_carries_is_not_announced():
    house = House(service("dns", "edge1/*"))
    house.poll(a=UP)
    assert goes_out(house) == (A,)  # nothing was told of any
    house.take(Neighbor(N1, "up"))
    # That is an event, by which the app knows that there is news.
    assert kinds(house.take(Neighbor(N1, "down"))) == ["neighbor_down"]
    assert goes_out(house) == ()
    house.take(Neighbor(N1, "connected"))
    assert goes_out(house) == ()
    house.take(Neighbor(N2, "up"))
    assert goes_out(house) == (A,)
    house.take(Neighbor(N2, "down"))
    house.take(Neighbor(N1, "up"))
    assert goes_out(house) == (A,)


def test_a_bgp_session_that_nothing_was_told_of_may_be_up():
    house = House(service("dns", "edge1/*"))
    house.poll(a=UP)
    house.take(Peers((Peer(N1), Peer(N2)), "5.0.15", "5"))
    house.take(Neighbor(N1, "down"))
    assert goes_out(house) == (A,)
    house.take(Neighbor(N2, "down"))
    assert goes_out(house) == ()


def test_only_the_neighbours_that_a_route_is_meant_for_and_that_can_carry_it_count():
    targets = (Route(V4, neighbors=(N1, N2)), Route(V6), Watchdog("dns"))
    house = House(service("dns", "edge1/*", targets=targets))
    house.poll(a=UP)
    house.take(Peers((Peer(N1), Peer(N2), Peer(N3)), "5.0.15", "5"))
    for neighbor in (N1, N2):
        house.take(Neighbor(neighbor, "down"))
    house.take(Neighbor(N3, "up"))
    # An IPv6 route with `next-hop self` goes to no IPv4 neighbour at all: that is told elsewhere, and not by these.
    assert goes_out(house) == (B, "watchdog dns")
    four, six = ("ipv4 unicast",), ("ipv6 unicast",)
    peers = (Peer(N1, families=frozenset(four)), Peer(N2, families=frozenset(four)), Peer(N3, families=frozenset(six)))
    house = House(service("dns", "edge1/*", prefixes=(V4,)))
    house.poll(a=UP)
    house.take(Peers(peers, "5.0.15", "5"))
    for neighbor in (N1, N2):
        house.take(Neighbor(neighbor, "down"))
    house.take(Neighbor(N3, "up"))
    assert goes_out(house) == ()


def test_a_clock_that_moves_a_little_makes_no_news():
    before = (stand(A),)
    moved = replace(stand(A), since=1_000_500)
    assert _steady((moved,), before) == before
    other = replace(stand(), since=1_000_500)
    assert _steady((other,), before) == (replace(other, since=1_000_000),)
    later = replace(stand(A), since=9_000_000)
    assert _steady((later, stand(B, name="ntp")), before) == (later, stand(B, name="ntp"))


# --- orders for all sites ---------------------------------------------------------------------------------------------

WALL = 1_800_000_000.0
SET = override("withdraw", since=WALL - 10)


def order(what=SET, token="t1", **more) -> OrderSeen:
    return OrderSeen("dns", token, what, "ann", "works", "ams", **more)


def test_an_order_is_carried_out_and_replaces_what_was_ordered_here():
    assert carried_out(order(), None, None, WALL) == Order(SET)
    assert carried_out(order(), Taken("t0", 1.0), override("drain"), WALL) == Order(SET)


def test_what_holds_already_is_not_ordered_twice():
    assert carried_out(order(), None, SET, WALL) is None


def test_an_order_taken_back_clears_what_is_here_and_nothing_where_nothing_is():
    assert carried_out(order(None), None, SET, WALL) == Clear("dns", "ann", "works")
    assert carried_out(order(None), None, None, WALL) is None


def test_an_order_that_is_over_is_not_carried_out_but_ends_what_it_replaced():
    over = replace(SET, expires=WALL)
    assert carried_out(order(over), None, None, WALL) is None
    assert carried_out(order(replace(SET, expires=WALL + 1)), None, None, WALL) is not None
    former = override("drain", since=WALL - 100)
    cleared = carried_out(order(over), Taken("t0", WALL - 100), former, WALL)
    assert isinstance(cleared, Clear)
    # What was ordered here alone stays.
    assert carried_out(order(over), Taken("t0", WALL - 200), former, WALL) is None
    assert carried_out(order(over), None, former, WALL) is None


def test_times_survive_being_kept_as_microseconds():
    rough = replace(SET, since=1795176000.1234567, expires=1795176000.1234567 + 0.3)
    kept = exact(rough)
    assert round(kept.since * 1e6) / 1e6 == kept.since
    assert exact(kept) == kept
    assert exact(SET).expires is None


def test_what_was_taken_outlives_us_and_nonsense_is_nothing(caplog):
    taken = {"dns": Taken("t1", 12.5), "ntp": Taken("t2", None)}
    assert read_taken(write_taken(taken)) == taken
    assert read_taken(None) == {}
    assert not caplog.records
    for nonsense in ("x", "[]", '{"dns": 1}', '{"dns": ["a"]}', "null"):
        assert read_taken(nonsense) == {}
    assert caplog.records


# --- on the loop ------------------------------------------------------------------------------------------------------


class Here:
    """What talks with the other sites, and the engine of its house; a test says what MongoDB tells."""

    def __init__(self, *services, fresh: float = FRESH, taken: str | None = None) -> None:
        self.house = House(*services)
        self.kept: list[tuple[str, str]] = []
        self.orders: list[Order | Clear] = []
        self.said: list[str] = []
        self.looks_at_all = 0
        self._taken = taken
        doors = Doors(self.hand, self.order, self.snapshot, lambda: self.house.plan)
        self.others = OtherSites(Talk("fra", Secret("mongodb://127.0.0.1:9"), 5.0, fresh), self, doors)  # type: ignore[arg-type]

    # What the journal is asked for.
    def meta(self, name: str) -> str | None:
        assert name == TAKEN
        return self._taken

    def put_meta(self, name: str, value: str) -> None:
        self.kept.append((name, value))

    def hand(self, sites: Sites) -> None:
        self.said += said(self.house.take(sites))

    def order(self, what: Order | Clear) -> int:
        self.orders.append(what)
        self.house.take(what)
        return len(self.orders)

    def snapshot(self):
        self.looks_at_all += 1
        return self.house.engine.snapshot(self.house.now)

    def hear(self, *sites: SiteSeen, orders: tuple[OrderSeen, ...] = ()) -> None:
        self.others._take_look(Look(time.monotonic(), sites, orders))


@pytest.mark.parametrize("first", ["news of ours", "a look", "the next turn", "a question"])
def test_after_a_stall_of_ours_whatever_runs_first_takes_nothing_back(first, monkeypatch):
    slept = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + slept, time=time.time)
    monkeypatch.setattr("exabgp_bfd.sites.time", clock)
    here = Here(service("dns", "edge1/*", keep_last=True))

    async def stall() -> None:
        nonlocal slept
        here.others._loop = asyncio.get_running_loop()
        here.hear()
        here.house.poll(a=UP)
        here.house.poll(a=DOWN)
        assert here.house.announced()
        here.others._turn_at(time.monotonic())
        under_way = Look(time.monotonic(), (), ())
        slept = FRESH + 5
        match first:
            case "news of ours":
                here.others._settled()
            case "a look":
                here.others._take_look(under_way)
            case "the next turn":
                here.others._turn()
            case "a question":
                assert here.others.everywhere()[0] is False
        await here.others.stop(0.1, gone=False)

    asyncio.run(stall())
    assert here.said == []
    assert here.house.announced()


def test_what_is_heard_after_a_stall_of_ours_is_not_taken_for_younger_than_it_is(monkeypatch):
    slept = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + slept, time=time.time)
    monkeypatch.setattr("exabgp_bfd.sites.time", clock)
    here = Here(service("dns", "edge1/*", keep_last=True))
    here.others._turn_at(clock.monotonic())
    slept = FRESH + 5
    here.others._take_look(Look(clock.monotonic(), (seen("ams"),), ()))
    assert here.others._hearsay.announced(clock.monotonic() + FRESH - 1, ALL) == Sites({A: ("ams",)})
    assert here.others._hearsay.announced(clock.monotonic() + FRESH + 1, ALL) == Sites(None)


def test_the_engine_hears_of_other_sites_before_another_plan_asks_for_them():
    here = Here(service("dns", "edge1/*"), service("ntp", "edge1/*", prefixes=(V6,), keep_last=True))
    here.house.poll(a=UP)
    here.hear(seen("ams", stand(A, B)))
    here.house.poll(a=DOWN)
    plan = here.house.next_plan(service("dns", "edge1/*", keep_last=True), *here.house.plan.services[1:])
    assert here.house.engine.preview(plan, here.house.now).commands != ()
    here.others.expect(plan)
    assert here.house.engine.preview(plan, here.house.now).commands == ()
    here.house.plan = plan
    assert said(here.house.take(Reload(plan))) == []
    here.others.reloaded()
    assert here.said == []
    # And what nobody asks for any more is not told any more.
    plan = here.house.next_plan(service("dns", "edge1/*", keep_last=True))
    here.others.expect(plan)
    here.house.plan = plan
    here.house.take(Reload(plan))
    here.others.reloaded()
    assert here.others._told == Sites({A: ("ams",)})


def many(count: int, token: str = "t") -> tuple[OrderSeen, ...]:
    what = [Override(f"s{i}", override("freeze").action, "ann", "works", WALL - 1, None) for i in range(count)]
    return tuple(OrderSeen(each.service, f"{token}{each.service}", each, "ann", "works", "ams", 1) for each in what)


def houses_of(count: int, **rules):
    return [service(f"s{i}", "edge1/*", prefixes=(ip_network(f"10.0.{i}.0/24"),), **rules) for i in range(count)]


def test_many_orders_are_taken_few_at_a_time_and_each_once():
    here = Here(*houses_of(3 * A_TURN + 1))
    between: list[int] = []

    async def take() -> None:
        here.others._loop = asyncio.get_running_loop()
        here.hear(orders=many(3 * A_TURN + 1))
        here.hear(orders=many(3 * A_TURN + 1))  # another look meanwhile begins no second round
        for _ in range(6):
            between.append(len(here.orders))
            await asyncio.sleep(0)
        await here.others.stop(0.1, gone=False)

    asyncio.run(take())
    assert between[0] == 2 * A_TURN
    assert all(after - before <= A_TURN for before, after in itertools.pairwise(between))
    assert [order.what.service for order in here.orders] == [f"s{i}" for i in range(3 * A_TURN + 1)]
    # What was taken is kept once for all that were taken together.
    assert len(here.kept) == 4
    assert len(read_taken(here.kept[-1][1])) == 3 * A_TURN + 1


def test_orders_that_are_taken_or_for_other_sites_services_cost_no_look_at_everything():
    here = Here(*houses_of(2))
    here.hear(orders=many(2))
    assert len(here.orders) == 2
    looks, kept = here.looks_at_all, len(here.kept)
    for _ in range(3):
        here.hear(orders=many(50))
    assert (here.looks_at_all, len(here.kept), len(here.orders)) == (looks, kept, 2)


def test_a_service_that_appears_by_reload_gets_the_order_that_was_there_before():
    here = Here(*houses_of(1))
    here.hear(orders=many(2))
    here.hear(orders=many(2))
    assert len(here.orders) == 1
    here.house.reload(*houses_of(2))
    here.others.reloaded()
    assert [order.what.service for order in here.orders] == ["s0", "s1"]


def test_an_order_of_our_own_is_taken_once_whoever_comes_first():
    here = Here(*houses_of(1))
    (order,) = many(1)
    assert here.others.take_own(order) == 1
    here.hear(orders=(order,))
    assert here.others.take_own(order) == 1
    assert len(here.orders) == 1
    assert read_taken(here.kept[-1][1]).keys() == {"s0"}


def test_telling_rests_as_long_as_it_takes_much_time():
    here = Here(*houses_of(1))
    plain = here.snapshot

    def slow():
        time.sleep(0.03)
        return plain()

    here.others._doors = replace(here.others._doors, snapshot=slow)

    async def tell() -> tuple[float, float]:
        loop = here.others._loop = asyncio.get_running_loop()
        waits = []
        for _ in range(2):
            here.others.touched()
            settling = here.others._settling
            assert settling is not None
            waits.append(settling.when() - loop.time())
            settling.cancel()
            here.others._settled()
        await here.others.stop(0.1, gone=False)
        return waits[0], waits[1]

    first, second = asyncio.run(tell())
    assert first < 0.1 < second
