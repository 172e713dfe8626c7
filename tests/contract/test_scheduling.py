"""Many devices at once, devices with several views, and what keeps one from costing another anything."""

import asyncio
import gc
import os
import random
import time
from collections import Counter
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from lab import recordings
from lab.agent import (
    GET,
    GET_NEXT,
    SYS_OBJECT_ID,
    Agent,
    Delays,
    Drops,
    EndsEarly,
    Request,
    integer,
    octets,
    tlv,
    value,
)
from lab.clock import in_no_time
from lab.listening import Message, complete, polling, states

from exabgp_bfd.core.credentials import Context
from exabgp_bfd.core.model import Poll, Secret, Silence, SourceError, State
from exabgp_bfd.sources.snmp.lanes import PATIENCE, Lanes, Rate
from exabgp_bfd.sources.snmp.notifications import Hint
from exabgp_bfd.sources.snmp.poller import Poller
from exabgp_bfd.sources.snmp.target import Target
from exabgp_bfd.sources.snmp.uptime import UpTime
from exabgp_bfd.sources.snmp.view import View

DEADLINE = 30.0
ENTRY = "1.3.6.1.2.1.222.1.2.1"
PERFORMANCE = "1.3.6.1.2.1.222.1.3.1"
UP_TIME = "1.3.6.1.2.1.1.3.0"
STATES = {State.ADMIN_DOWN: 1, State.DOWN: 2, State.INIT: 3, State.UP: 4}
OID = "1.3.6.1.4.1.5.2.1"


# --- real agents --------------------------------------------------------------------------------------------------


def session(index: int, peer: str, state: State = State.UP, discriminator: int | None = None) -> dict[str, bytes]:
    """A row of BFD-STD-MIB."""
    cells = {
        4: tlv(0x42, (discriminator or 1000 + index).to_bytes(2, "big")),
        11: integer(STATES[state]),
        13: integer(0),
        18: integer(0),
        19: integer(0),
        20: octets(b""),
        21: integer(1),
        22: octets(ip_address(peer).packed),
    }
    row = {f"{ENTRY}.{column}.{index}": said for column, said in cells.items()}
    return row | {f"{PERFORMANCE}.12.{index}": tlv(0x41, b"\x01")}


def box(*rows: dict[str, bytes], object_id: str = "1.3.6.1.4.1.9999.1") -> dict[str, bytes]:
    """An agent's whole table."""
    cells = {UP_TIME: tlv(0x43, b"\x01"), SYS_OBJECT_ID: value("6", object_id)}
    for row in rows:
        cells |= row
    return cells


def target(agent: Agent, engine: str, **changes: object) -> Target:
    settings = {"interval": 0.05, "timeout": 1.0, "retries": 0, **changes}
    return Target("edge1", agent.host, Secret("public"), port=agent.port, engine=engine, **settings)


@pytest.fixture(params=["pysnmp", "gufo"])
def engine(request) -> str:
    if request.param == "gufo":
        pytest.importorskip("gufo.snmp")
    return request.param


RED = (Context(""), Context("red", Secret("public@red")))


def from_red(request: Request) -> bool:
    return request.community == b"public@red"


# --- views ----------------------------------------------------------------------------------------------------------


def test_the_sessions_of_a_device_are_those_of_all_its_views_each_asked_in_its_own(engine):
    async def scenario():
        vrf = box(session(1, "192.0.2.1", State.DOWN, discriminator=2001), session(7, "198.51.100.1"))
        async with (
            Agent(box(session(1, "192.0.2.1"), session(2, "192.0.2.2")), views={"public@red": vrf}) as agent,
            polling(target(agent, engine, contexts=RED)) as (poller, heard),
        ):
            first = heard.messages[await heard.until(lambda _: True)]
            assert complete(first)
            assert [(seen.session.peer, seen.session.vrf, seen.state) for seen in first.observations] == [
                (ip_address("192.0.2.1"), None, State.UP),
                (ip_address("192.0.2.2"), None, State.UP),
                (ip_address("192.0.2.1"), "red", State.DOWN),
                (ip_address("198.51.100.1"), "red", State.UP),
            ]
            assert len(states(first)) == 4  # no two are of one name
            assert poller.status["edge1"] == "4 sessions in BFD-STD-MIB"
            red = next(seen.session for seen in first.observations if seen.session.vrf and seen.state is State.DOWN)
            agent.requests.clear()
            agent.tables[b"public@red"].put(f"{ENTRY}.11.1", integer(4))
            await heard.until(lambda said: states(said).get(red.name) is State.UP)
            assert all(states(said).get("192.0.2.1", State.UP) is State.UP for said in heard.messages)
            poller.look("edge1", red.id)
            place = await heard.until(lambda said: isinstance(said, Poll) and said.source == "snmp_look")
            assert set(states(heard.messages[place])) == {red.name}

    asyncio.run(scenario())


def test_a_view_that_fails_leaves_the_others_polled_and_its_sessions_unsaid(engine):
    async def scenario():
        vrf = box(session(7, "198.51.100.1"))
        async with Agent(box(session(1, "192.0.2.1")), views={"public@red": vrf}) as agent:
            settings = target(agent, engine, contexts=RED, timeout=0.1)
            async with polling(settings, rediscover=0.3) as (poller, heard):
                first = heard.messages[await heard.until(complete)]
                (red,) = [name for name in states(first) if name.startswith("198.51.100.1")]
                agent.suffers(Drops(about=from_red))
                agent.table.put(f"{ENTRY}.11.1", integer(2))
                await heard.until(lambda _: "context red" in poller.status["edge1"], heard.now)
                agent.requests.clear()
                said = await heard.rounds(20)
                assert [states(one) for one in said if states(one) != {"192.0.2.1": State.DOWN}] == []
                assert not any(complete(one) for one in said)
                assert poller.status["edge1"].startswith("1 session in BFD-STD-MIB; context red: no answer from ")
                # It is tried again, but not at each turn; the other one is asked as ever.
                asked = Counter(from_red(request) for request in agent.requests)
                assert 1 <= asked[True] <= asked[False] / 2
                agent.behaves()
                place = await heard.until(complete, heard.now)
                assert states(heard.messages[place]) == {"192.0.2.1": State.DOWN, red: State.UP}
                assert poller.status["edge1"] == "2 sessions in BFD-STD-MIB"
                assert not any(isinstance(one, Silence) for one in heard.messages)
                assert all(State.MISSING not in states(one).values() for one in heard.messages)

    asyncio.run(scenario())


def test_a_device_is_silent_when_none_of_its_views_answers(engine):
    async def scenario():
        vrf = box(session(7, "198.51.100.1"))
        async with (
            Agent(box(session(1, "192.0.2.1")), views={"public@red": vrf}) as agent,
            polling(target(agent, engine, contexts=RED, timeout=0.1)) as (poller, heard),
        ):
            await heard.until(complete)
            agent.suffers(Drops())
            place = await heard.until(lambda said: isinstance(said, Silence))
            await heard.until(lambda said: isinstance(said, Silence), place + 1)
            assert all(isinstance(said, Silence) for said in heard.messages[place:])
            assert poller.status["edge1"].startswith("no answer from ")
            agent.behaves()
            place = await heard.until(complete, heard.now)
            assert len(states(heard.messages[place])) == 2

    asyncio.run(scenario())


def test_a_view_that_never_answered_keeps_polls_from_being_complete(engine):
    async def scenario():
        async with (
            Agent(box(session(1, "192.0.2.1"))) as agent,  # knows no other community
            polling(target(agent, engine, contexts=RED, timeout=0.1)) as (poller, heard),
        ):
            said = await heard.rounds(10)
            assert all(states(one) == {"192.0.2.1": State.UP} for one in said)
            assert not any(complete(one) for one in said)
            assert "context red: no answer" in poller.status["edge1"]

    asyncio.run(scenario())


def test_a_look_at_a_session_of_a_view_that_fails_is_no_silence_of_the_device(engine):
    async def scenario():
        vrf = box(session(7, "198.51.100.1"))
        async with (
            Agent(box(session(1, "192.0.2.1")), views={"public@red": vrf}) as agent,
            polling(target(agent, engine, contexts=RED, timeout=0.1)) as (poller, heard),
        ):
            first = heard.messages[await heard.until(complete)]
            red = next(seen.session.id for seen in first.observations if seen.session.vrf == "red")
            agent.suffers(Drops(about=from_red))
            await heard.until(lambda said: len(states(said)) == 1, 1)
            looks = poller.counters.looks
            poller.look("edge1", red)
            await heard.until(lambda _: poller.counters.looks > looks)
            said = await heard.rounds(10)
            assert not any(isinstance(one, Silence) for one in said)

    asyncio.run(scenario())


def test_a_session_that_every_context_shows_is_one_session(engine):
    async def scenario():
        cells = box(session(1, "192.0.2.1"), session(2, "192.0.2.2"))
        async with (
            Agent(cells, views={"public@red": cells}) as agent,
            polling(target(agent, engine, contexts=RED)) as (poller, heard),
        ):
            said = await heard.rounds(5)
            assert all(set(states(one)) == {"192.0.2.1", "192.0.2.2"} for one in said)
            assert poller.status["edge1"] == "2 sessions in BFD-STD-MIB"

    asyncio.run(scenario())


def test_rows_renumbered_in_one_view_are_found_again_there_and_were_never_away(engine):
    async def scenario():
        vrf = box(session(7, "198.51.100.1"), session(8, "198.51.100.2", State.DOWN))
        async with (
            Agent(box(session(7, "192.0.2.7")), views={"public@red": vrf}) as agent,
            polling(target(agent, engine, contexts=RED)) as (poller, heard),
        ):
            first = heard.messages[await heard.until(complete)]
            red = agent.tables[b"public@red"]
            for before, after in (("7", "70"), ("8", "7")):  # its new owner takes an index that was another's
                red.renumber(before, after, ENTRY, PERFORMANCE)
            agent.up_time = 100
            place = await heard.until(complete, 1)
            assert states(heard.messages[place]) == states(first)
            assert all(states(one).items() <= states(first).items() for one in heard.messages)
            assert poller.counters.restarts >= 1

    asyncio.run(scenario())


def test_a_session_that_is_gone_from_one_view_is_missing_and_those_of_a_failing_view_are_not(engine):
    async def scenario():
        vrf = box(session(7, "198.51.100.1"), session(8, "198.51.100.2"))
        async with (
            Agent(box(session(1, "192.0.2.1"), session(2, "192.0.2.2")), views={"public@red": vrf}) as agent,
            polling(target(agent, engine, contexts=RED, timeout=0.1)) as (_, heard),
        ):
            first = heard.messages[await heard.until(complete)]
            (gone,) = [name for name in states(first) if name.startswith("198.51.100.2")]
            agent.tables[b"public@red"].drop_row("8", ENTRY, PERFORMANCE)
            place = await heard.until(lambda said: states(said).get(gone) is State.MISSING)
            await heard.until(lambda said: states(said).get(gone) is State.MISSING and not complete(said), place)
            agent.suffers(Drops(about=from_red))
            agent.table.drop_row("2", ENTRY, PERFORMANCE)
            await heard.until(lambda said: states(said).get("192.0.2.2") is State.MISSING, heard.now)
            for one in await heard.rounds(10):
                # Nobody looks any more whether the first one has come back, so nobody says that it has not.
                assert states(one) == {"192.0.2.1": State.UP, "192.0.2.2": State.MISSING}

    asyncio.run(scenario())


# --- which table ----------------------------------------------------------------------------------------------------


def test_a_device_is_read_by_the_table_that_it_has(engine):
    async def scenario():
        async with (
            Agent(recordings.juniper().table) as agent,
            polling(target(agent, engine)) as (poller, heard),
        ):
            assert poller.profile_of("edge1") is None
            first = heard.messages[await heard.until(complete)]
            assert len(states(first)) == len(recordings.juniper().sessions)
            assert poller.profile_of("edge1").name == "juniper"
            assert poller.profile_of("edge9") is None
            assert poller.status["edge1"].startswith(f"{len(states(first))} sessions in ")
            agent.requests.clear()
            await heard.rounds(5)
            assert all(request.kind == GET for request in agent.requests)  # it is not probed at each turn

    asyncio.run(scenario())


def test_another_box_behind_the_address_is_read_by_its_own_table(engine):
    async def scenario():
        async with (
            Agent(recordings.juniper().table) as agent,
            polling(target(agent, engine), rediscover=0.2) as (poller, heard),
        ):
            await heard.until(complete)
            for oid in list(agent.table.cells):
                agent.table.drop(oid)
            for oid, said in box(session(1, "192.0.2.1"), object_id="1.3.6.1.4.1.9999.2").items():
                agent.table.put(oid, said)
            await heard.until(lambda said: states(said).get("192.0.2.1") is State.UP, 1)
            assert poller.profile_of("edge1").name == "bfd-std"

    asyncio.run(scenario())


def test_another_object_id_has_the_table_found_again_though_the_old_one_still_has_rows(engine):
    async def scenario():
        both = recordings.juniper().with_cells(recordings.bfd_std()).table
        async with (
            Agent(recordings.juniper().table) as agent,
            polling(target(agent, engine), rediscover=0.2) as (poller, heard),
        ):
            await heard.until(complete)
            for oid, said in both.items():
                agent.table.put(oid, said)
            walks = poller.counters.walks
            await heard.until(lambda _: poller.counters.walks > walks + 2)
            assert poller.profile_of("edge1").name == "juniper"  # the same box keeps its table
            agent.table.put(SYS_OBJECT_ID, value("6", "1.3.6.1.4.1.9999.3"))
            await heard.until(lambda _: poller.profile_of("edge1").name == "bfd-std")

    asyncio.run(scenario())


def test_a_table_that_the_settings_name_is_never_looked_for(engine):
    async def scenario():
        async with (
            Agent(recordings.juniper().table) as agent,
            polling(target(agent, engine, profile="bfd-std"), rediscover=0.1) as (poller, heard),
        ):
            await heard.rounds(15)
            assert poller.profile_of("edge1").name == "bfd-std"
            assert poller.status["edge1"] == "it answers, but has no session in BFD-STD-MIB"
            probes = [request for request in agent.requests if request.kind == GET_NEXT and len(request.oids) > 1]
            assert probes == []

    asyncio.run(scenario())


def test_a_device_whose_table_is_there_but_empty_says_so_and_is_read_when_it_fills(engine):
    async def scenario():
        cells = box({"1.3.6.1.2.1.222.1.1.1.0": integer(1)})
        async with Agent(cells) as agent, polling(target(agent, engine)) as (poller, heard):
            await heard.rounds(3)
            assert poller.status["edge1"] == (
                "it answers, but no BFD table that we know has a row (BFD-STD-MIB is there but empty)"
            )
            assert all(states(one) == {} for one in heard.messages)
            for oid, said in session(1, "192.0.2.1").items():
                agent.table.put(oid, said)
            place = await heard.until(lambda said: states(said) == {"192.0.2.1": State.UP})
            assert complete(heard.messages[place])

    asyncio.run(scenario())


def test_a_row_that_a_walk_leaves_out_is_not_gone_while_it_answers(engine):
    async def scenario():
        async with (
            Agent(box(session(1, "192.0.2.1"), session(2, "192.0.2.2"))) as agent,
            polling(target(agent, engine), rediscover=0.1) as (poller, heard),
        ):
            await heard.until(complete)
            agent.suffers(EndsEarly(column=f"{ENTRY}.11", rows=1))
            walks = poller.counters.walks
            await heard.until(lambda _: poller.counters.walks > walks + 2)
            await heard.rounds(3)
            assert all(State.MISSING not in states(one).values() for one in heard.messages)
            assert poller.status["edge1"] == "2 sessions in BFD-STD-MIB"

    asyncio.run(scenario())


# --- restarts -------------------------------------------------------------------------------------------------------


def test_up_time_that_comes_round_is_no_restart(engine):
    async def scenario():
        async with Agent(box(session(1, "192.0.2.1"))) as agent:
            agent.up_time = 2**32 - 30  # 0.3 s before 497 days
            async with polling(target(agent, engine)) as (poller, heard):
                await heard.until(complete)
                while agent.up_time > 2**31 or agent.up_time < 20:
                    await heard.rounds(1)
                await heard.rounds(3)
                assert (poller.counters.walks, poller.counters.restarts) == (1, 0)
                agent.up_time = 500_000
                await heard.rounds(2)
                agent.up_time = 5
                await heard.until(lambda _: poller.counters.restarts == 1)
                await heard.rounds(2)
                assert poller.counters.walks == 2

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("before", "ticks", "seconds", "restarted"),
    [
        (1000, 1100, 1.0, False),
        (1000, 1000, 1.0, False),  # kept in a cache
        (1000, 950, 0.0, False),  # two answers crossed
        (1000, 50, 1.0, True),
        (2**32 - 50, 50, 1.0, False),  # 497 days are over
        (2**32 - 50, 50, 1000.0, True),  # they would have been over long ago
        (2**32 - 50, 100_000, 1000.0, False),  # away for a while, and they were over meanwhile
        (2**31, 50, 1.0, True),
        (2**32 - 500_000, 50, 1.0, True),  # near the top is not at the top
        (6_000, 20_000, 300.0, True),  # up for one minute, away for five, and up for three
        (6_000, 36_000, 300.0, False),
        (6_000, 35_000, 300.0, False),  # its clock is a bit slow
        (8_640_000, 8_640_000, 60.0, True),  # it stood still for a minute
    ],
)
def test_what_up_time_tells(before, ticks, seconds, restarted):
    clock = UpTime()
    assert clock.restarted(before, 100.0) is False
    assert clock.restarted(ticks, 100.0 + seconds) is restarted


def test_an_older_up_time_that_comes_later_tells_nothing():
    clock = UpTime()
    clock.restarted(5000, 100.0)
    assert clock.restarted(10, 99.0) is False
    assert clock.restarted(5100, 101.0) is False


# --- hints and looks ------------------------------------------------------------------------------------------------


def test_the_sessions_that_a_notification_means(engine):
    async def scenario():
        rows = [session(number, f"10.0.0.{number}") for number in range(1, 11)]
        vrf = box(session(30, "10.9.0.30"))
        async with (
            Agent(box(*rows), views={"public@red": vrf}) as agent,
            polling(target(agent, engine, contexts=RED)) as (poller, heard),
        ):
            hint = Hint("bfd-std", State.DOWN, low="3", high="5")
            assert poller.sessions_at("edge1", hint) == ()  # nothing is known yet
            await heard.until(complete)

            def at(hint: Hint) -> list[str]:
                return [found.removeprefix("edge1/") for found in poller.sessions_at("edge1", hint)]

            assert at(hint) == ["10.0.0.3", "10.0.0.4", "10.0.0.5"]
            assert at(replace(hint, high="3")) == ["10.0.0.3"]
            assert at(replace(hint, low="1", high="4000000000")) == []  # too wide: the whole device is asked
            assert at(replace(hint, low="77", high="77")) == []
            assert at(replace(hint, profile="cisco")) == []  # another table's index
            assert at(Hint("huawei", State.DOWN, peer=ip_address("10.0.0.8"))) == ["10.0.0.8"]
            assert at(Hint("huawei", State.DOWN, discriminator=1002)) == ["10.0.0.2"]
            # Who was numbered anew is found by its name.
            assert at(replace(hint, low="77", high="77", peer=ip_address("10.0.0.1"))) == ["10.0.0.1"]
            assert at(Hint("huawei", State.DOWN, discriminator=1002, peer=ip_address("10.0.0.1"))) == []
            assert at(Hint("huawei", State.DOWN)) == []
            assert at(Hint("huawei", State.DOWN, interface="ge-0/0/0")) == []
            assert poller.sessions_at("edge9", hint) is None
            assert poller.security("edge1") is None
            assert poller.security("edge9") is None

    asyncio.run(scenario())


def test_looks_at_five_hundred_sessions_share_their_pdus(engine):
    async def scenario():
        rows = [session(number, str(ip_address("10.0.0.0") + number)) for number in range(1, 501)]
        async with (
            Agent(box(*rows)) as agent,
            polling(target(agent, engine, interval=3600.0)) as (poller, heard),
        ):
            await heard.until(complete)
            agent.requests.clear()
            for found in poller.sessions_at("edge1", Hint("bfd-std", State.DOWN, low="1", high="500")):
                poller.look("edge1", found)
            told = {}
            while len(told) < 500:
                for one in await heard.rounds(1):
                    told |= states(one)
            assert poller.counters.looks == 1
            assert len(agent.requests) <= 60  # 2,000 values

    asyncio.run(scenario())


def test_a_flood_of_hints_is_met_by_few_requests(engine):
    async def scenario():
        async with (
            Agent(box(session(1, "192.0.2.1"))) as agent,
            polling(target(agent, engine, interval=3600.0)) as (poller, heard),
        ):
            await heard.until(complete)
            agent.requests.clear()
            ends = time.monotonic() + 1.0
            while time.monotonic() < ends:
                for _ in range(50):
                    poller.look("edge1", "edge1/a stranger")
                    poller.look("edge1", "edge1/192.0.2.1")
                await asyncio.sleep(0.001)
            assert poller.counters.walks <= 1 + 5
            assert 2 <= len(agent.requests) <= 6 * 8 + 150
            assert poller.counters.held_looks > 0

    asyncio.run(scenario())


# --- made up time: many devices -------------------------------------------------------------------------------------


class MadeUp:
    """A client of a device that is there or not; it answers after `takes` seconds, in made up time."""

    engine = "made up"
    room = 40

    def __init__(self, target: Target, dead: set[str], asked: list[tuple[float, str]]) -> None:
        self._target = target
        self._dead = dead
        self._asked = asked
        self.takes = 0.001

    async def get(self, oids):
        self._asked.append((asyncio.get_running_loop().time(), self._target.name))
        if self._target.name in self._dead:
            await asyncio.sleep(self._target.timeout * (self._target.retries + 1))
            raise SourceError("no answer")
        await asyncio.sleep(self.takes)
        return dict.fromkeys(oids, 1)

    async def next(self, oids):
        self._asked.append((asyncio.get_running_loop().time(), self._target.name))
        await asyncio.sleep(self.takes)
        return dict.fromkeys(oids)

    async def walk(self, column):
        self._asked.append((asyncio.get_running_loop().time(), self._target.name))
        await asyncio.sleep(self.takes)
        return []

    async def close(self):
        pass


class Fleet:
    """Made up devices, polled in made up time."""

    def __init__(self, living: int, dead: int, **settings: object) -> None:
        self.dead = {f"dead{number}" for number in range(dead)}
        self.asked: list[tuple[float, str]] = []
        names = [f"living{number}" for number in range(living)] + sorted(self.dead)
        random.Random(5).shuffle(names)
        self.polls: list[tuple[float, str]] = []
        self.poller = Poller([self.target(name) for name in names], self.deliver, **settings)
        self.put_clients()

    def target(self, name: str, **changes: object) -> Target:
        settings = {"profile": "oid", "oid": OID, **changes}
        return Target(name, "192.0.2.1", Secret("public"), **settings)

    def put_clients(self) -> None:
        for device in self.poller._devices.values():
            if not isinstance(device.client, MadeUp):
                device.client = MadeUp(device.target, self.dead, self.asked)

    def deliver(self, message: Message) -> None:
        if isinstance(message, Poll):
            self.polls.append((asyncio.get_running_loop().time(), message.device))

    def until(self, seconds: float) -> None:
        async def play() -> None:
            task = asyncio.create_task(self.poller.run())
            most = (0, 0)
            try:
                for _ in range(round(seconds / 0.1)):
                    await asyncio.sleep(0.1)
                    now = self.poller.lanes.in_flight
                    most = (max(most[0], now[0]), max(most[1], now[1]))
            finally:
                self.most = most
                await self.poller.close()
                await task

        in_no_time(play())


def test_a_thousand_dead_devices_cost_the_living_nothing():
    fleet = Fleet(living=50, dead=1000, max_in_flight=64, max_silent=100)
    fleet.until(30.0)
    rounds = Counter(name for when, name in fleet.polls if when >= 3.0)
    assert set(rounds) == {f"living{number}" for number in range(50)}
    assert min(rounds.values()) >= 26  # one a second
    late = [when for when, name in fleet.polls if when >= 3.0]
    assert len(late) == sum(rounds.values())
    # From the beginning none of them waited for a timeout, which is 2 s here.
    firsts = {}
    for when, name in fleet.polls:
        firsts.setdefault(name, when)
    assert max(firsts.values()) < 1.0 + 1050 / 64 * PATIENCE
    assert fleet.most[1] >= 90  # the dead are asked as often as their lane allows
    assert fleet.poller.lanes.counters.silent_waits > 0


def test_the_dead_do_not_try_again_in_step(monkeypatch):
    monkeypatch.setattr("exabgp_bfd.sources.snmp.poller._SPACING", 0.0)  # as after our process was stopped for a while
    fleet = Fleet(living=0, dead=1000, max_in_flight=2000, max_silent=2000)
    fleet.until(60.0)
    late = Counter(int(when * 10) for when, _ in fleet.asked if 40.0 <= when < 60.0)
    mean = sum(late.values()) / 200
    assert mean > 10
    assert max(late.values()) < 3 * mean  # tenths of a second
    assert sum(1 for tenth in range(400, 600) if late[tenth] > 0) > 190


def test_what_is_in_flight_is_bounded_and_whoever_waits_is_served():
    fleet = Fleet(living=300, dead=0, max_in_flight=5)
    for device in fleet.poller._devices.values():
        device.client.takes = 0.01
    fleet.until(10.0)
    assert 1 <= fleet.most[0] <= 5
    assert fleet.poller.lanes.most == 5
    assert fleet.poller.lanes.counters.waits > 0
    rounds = Counter(name for _, name in fleet.polls)
    assert len(rounds) == 300
    assert min(rounds.values()) >= 8


def test_an_empty_device_costs_little():
    fleet = Fleet(living=0, dead=0)
    fleet.poller.add(fleet.target("empty", profile="auto", oid=None))
    fleet.put_clients()
    fleet.until(600.0)
    first = sum(1 for when, _ in fleet.asked if when < 8.0)
    later = [when for when, _ in fleet.asked if when >= 300.0]
    assert first >= 24  # at the beginning it is probed at each turn
    assert 300 <= len(later) <= 300 + 2 * 15  # one GET a turn, and two PDUs every half a minute
    assert len(fleet.polls) >= 590


def test_devices_that_are_added_together_are_not_asked_together():
    fleet = Fleet(living=10, dead=0)

    async def play() -> None:
        task = asyncio.create_task(fleet.poller.run())
        await asyncio.sleep(5.0)
        await fleet.poller.set_targets([fleet.target(f"living{number}") for number in range(500)])
        fleet.put_clients()
        await asyncio.sleep(5.0)
        await fleet.poller.close()
        await task

    in_no_time(play())
    tenths = Counter(int(when * 10) for when, _ in fleet.polls if when >= 8.0)
    assert max(tenths.values()) < 100


def test_walks_are_spread(monkeypatch):
    """Or all devices that were found together when we started would be walked together for ever."""
    fleet = Fleet(living=300, dead=0)

    async def play() -> list[float]:
        walks: list[float] = []
        real = View.find

        async def find(view: View) -> object:
            walks.append(asyncio.get_running_loop().time())
            return await real(view)

        monkeypatch.setattr(View, "find", find)
        task = asyncio.create_task(fleet.poller.run())
        await asyncio.sleep(65.0)
        await fleet.poller.close()
        await task
        return walks

    seconds = Counter(int(when) for when in in_no_time(play()))
    assert sum(seconds[second] for second in range(2)) >= 300
    again = [seconds[second] for second in range(2, 65)]
    assert sum(again) >= 300
    assert max(again) < 60


def test_a_request_that_is_long_under_way_keeps_nobody_waiting():
    async def play() -> None:
        lanes = Lanes(2, 1)
        loop = asyncio.get_running_loop()
        slow = [lanes.enter(loop.time(), silent=False) for _ in range(2)]
        assert lanes.enter(loop.time(), silent=False) is None
        begun = loop.time()
        third = await lanes.wait(silent=False)
        assert loop.time() - begun == pytest.approx(PATIENCE)
        assert lanes.in_flight == (1, 2)  # more than the silent may have: no further one is let in there
        assert lanes.enter(loop.time(), silent=True) is None
        waits = asyncio.create_task(lanes.wait(silent=True))
        await asyncio.sleep(0)
        lanes.leave(slow[0])
        await asyncio.sleep(0)
        assert not waits.done()
        lanes.leave(slow[1])
        lanes.leave(await waits)
        lanes.leave(third)
        assert (lanes.in_flight, lanes.waiting) == ((0, 0), (0, 0))
        assert (lanes.counters.waits, lanes.counters.silent_waits) == (1, 1)

    in_no_time(play())


def test_a_wait_that_is_given_up_leaves_no_place_taken():
    async def play() -> None:
        lanes = Lanes(1)
        loop = asyncio.get_running_loop()
        first = lanes.enter(loop.time(), silent=False)
        waits = [asyncio.create_task(lanes.wait(silent=False)) for _ in range(3)]
        await asyncio.sleep(0)
        waits[1].cancel()
        lanes.leave(first)  # the first of them is let in
        waits[0].cancel()  # and given up in the same breath
        third = await waits[2]
        assert [one.cancelled() for one in waits] == [True, True, False]
        assert lanes.in_flight == (1, 0)
        lanes.leave(third)
        assert lanes.in_flight == (0, 0)

    in_no_time(play())


@pytest.mark.parametrize(("living", "silent"), [(0, 1), (1, 0)])
def test_a_bound_that_lets_nobody_in_is_refused(living, silent):
    with pytest.raises(ValueError, match="at least one"):
        Lanes(living, silent)


def test_a_rate_lets_so_many_go_at_once_and_then_one_after_the_other():
    rate = Rate(burst=3, every=1.0)
    assert [rate.take(10.0) for _ in range(5)] == [0.0, 0.0, 0.0, 1.0, 2.0]
    assert rate.take(100.0) == 0.0


# --- a day, compressed ----------------------------------------------------------------------------------------------


def resident() -> int:
    """Kilobytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def quiet() -> int:
    """Waits for a moment without a request under way, where there is but a task a device; the descriptors then."""
    async with asyncio.timeout(DEADLINE):
        while len(asyncio.all_tasks()) > 4:  # noqa: ASYNC110 - this one, the poller's, and one for each of two devices
            await asyncio.sleep(0.001)
    return descriptors()


def test_a_day_leaves_nothing_behind(engine):
    """Rounds without end, agents that die and come back, sessions and devices that come and go.

    EXABGP_BFD_SOAK gives the seconds (2 as a rule); 86,400 rounds take some 10 minutes.
    """
    seconds = float(os.environ.get("EXABGP_BFD_SOAK", "2"))

    async def scenario() -> None:
        rounds = 0

        def deliver(message: Message) -> None:
            nonlocal rounds
            rounds += 1

        def settings(agent: Agent, name: str) -> Target:
            return replace(target(agent, engine, interval=0.01, timeout=0.05, contexts=RED), name=name)

        cells, vrf = box(session(1, "192.0.2.1"), session(2, "192.0.2.2")), box(session(7, "198.51.100.1"))
        async with (
            Agent(cells, views={"public@red": vrf}) as one,
            Agent(cells, views={"public@red": vrf}) as two,
        ):
            poller = Poller([settings(one, "one"), settings(two, "two")], deliver, rediscover=0.1)
            task = asyncio.create_task(poller.run())

            async def a_while() -> None:
                """Everything that may happen, once."""
                for agent in (one, two):
                    agent.requests.clear()
                two.suffers(Drops())
                one.suffers(Drops(about=from_red))
                one.table.drop_row("2", ENTRY, PERFORMANCE)
                await asyncio.sleep(0.12)
                for agent in (one, two):
                    agent.behaves()
                for oid, said in session(2, "192.0.2.2", State.DOWN).items():
                    one.table.put(oid, said)
                two.up_time = 10
                poller.look("one", None)
                poller.look("two", "two/192.0.2.1")
                await poller.set_targets([settings(one, "one"), settings(two, "two"), settings(two, "three")])
                await asyncio.sleep(0.1)
                await poller.set_targets([settings(one, "one"), settings(two, "two")])

            for _ in range(4):
                await a_while()
            gc.collect()
            open_, memory, began = await quiet(), resident(), rounds
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                await a_while()
            gc.collect()
            assert rounds > began + 20 * seconds
            assert poller.lanes.waiting == (0, 0)
            assert await quiet() <= open_
            assert resident() <= memory + 4096
            await poller.close()
            await task
            assert poller.lanes.in_flight == (0, 0)
            assert len(asyncio.all_tasks()) == 1

    before = descriptors()
    asyncio.run(scenario())
    assert descriptors() <= before


def test_what_a_look_told_meanwhile_is_not_untold_by_the_end_of_a_round(engine):
    """A round of several PDUs holds back what has not changed until its end: by then it may be history."""

    async def scenario():
        cells = box(session(1, "192.0.2.1"), session(2, "192.0.2.2"))
        async with Agent(cells) as agent:
            slow = Delays(seconds=0.5, about=lambda request: f"{ENTRY}.11.2" in map(dotted, request.oids))
            wanted = target(agent, engine, max_varbinds=4, interval=0.2, timeout=5.0)
            async with polling(wanted) as (poller, heard):
                await heard.until(complete)
                agent.suffers(slow)
                start = slow.seen
                async with asyncio.timeout(DEADLINE):
                    while slow.seen == start:  # noqa: ASYNC110 - the first row was read, the second one is awaited
                        await asyncio.sleep(0.01)
                agent.table.put(f"{ENTRY}.11.1", integer(STATES[State.DOWN]))
                poller.look("edge1", "edge1/192.0.2.1")
                down = await heard.until(lambda message: states(message).get("192.0.2.1") is State.DOWN, heard.now)
                agent.behaves()
                await heard.until(lambda message: "192.0.2.2" in states(message), down)
                await heard.rounds(2)
                return [
                    states(message)["192.0.2.1"] for message in heard.messages[down:] if "192.0.2.1" in states(message)
                ]

    told = asyncio.run(scenario())
    assert set(told) == {State.DOWN}


def dotted(oid: tuple[int, ...]) -> str:
    return ".".join(map(str, oid))
