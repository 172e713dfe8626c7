"""The poller against simulated routers: what it delivers, when a session is gone, and what it makes of silence."""

import asyncio
import logging
from ipaddress import IPv6Address

import pytest
from lab.listening import Heard, complete, polling
from pysnmp.proto.api import v2c
from pysnmp.smi import error as smi_error

from exabgp_bfd.core.model import (
    ConfigError,
    Diagnostic,
    Poll,
    Secret,
    Silence,
    Source,
    SourceError,
    State,
)
from exabgp_bfd.simulator import Router
from exabgp_bfd.sources.snmp.poller import Poller
from exabgp_bfd.sources.snmp.target import Target

SESSION = (1, 3, 6, 1, 2, 1, 222, 1, 2, 1)
DEADLINE = 30.0


def states(message: Poll | Silence) -> dict[str, State]:
    return {seen.session.id: seen.state for seen in message.observations} if isinstance(message, Poll) else {}


def silent(message: Poll | Silence) -> bool:
    return isinstance(message, Silence)


def target(router: Router, name: str = "edge1", **changes) -> Target:
    settings = {"interval": 0.1, "timeout": 1.0, **changes}
    return Target(name, router.host, Secret("public"), port=router.port, **settings)


@pytest.fixture(params=["pysnmp", "gufo"])
def engine(request) -> str:
    if request.param == "gufo":
        pytest.importorskip("gufo.snmp")
    return request.param


def test_first_contact_tells_all_there_is_and_then_each_change(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1", interface="ge-0/0/0", local="192.0.2.2", discriminator=41)
            router.add("2001:db8::1", State.DOWN, interface="ge-0/0/1")
            router.add("fe80::1%3", State.ADMIN_DOWN, interface=None)
            async with polling(target(router, engine=engine)) as (poller, heard):
                first = heard.messages[await heard.until(lambda _: True)]
                assert complete(first)
                assert first.source is Source.SNMP_POLL
                assert states(first) == {
                    "edge1/192.0.2.1": State.UP,
                    "edge1/2001:db8::1": State.DOWN,
                    "edge1/fe80::1%3": State.ADMIN_DOWN,
                }
                one, two, three = first.observations
                assert (one.session.interface, one.session.discriminator) == ("ge-0/0/0", 41)
                assert str(one.session.local) == "192.0.2.2"
                assert one.details == {"index": "1", "up_count": 1}
                assert two.diagnostic is Diagnostic.CONTROL_DETECTION_TIME_EXPIRED
                assert three.session.peer == IPv6Address("fe80::1%3")
                assert poller.status == {"edge1": "3 sessions in BFD-STD-MIB"}
                assert poller.engines == {"edge1": engine}

                start = heard.now
                router.set_state("192.0.2.1", State.DOWN, Diagnostic.PATH_DOWN)
                down = await heard.state("edge1/192.0.2.1", State.DOWN, start)
                assert down.diagnostic is Diagnostic.PATH_DOWN
                start = heard.now
                router.set_state("192.0.2.1", State.UP)
                up = await heard.state("edge1/192.0.2.1", State.UP, start)
                assert up.details["up_count"] == 2
                assert not any(complete(message) for message in heard.messages[1:])
                assert poller.counters.answered >= 3
                assert poller.counters.walks == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("version", ["1", "2c"])
def test_each_round_is_one_poll_with_every_session_once(version):
    async def scenario():
        async with Router() as router:
            for number in range(1, 31):
                router.add(f"10.0.0.{number}")
            async with polling(target(router, version=version, max_varbinds=20, engine="pysnmp")) as (_, heard):
                await heard.until(lambda _: len(heard.messages) > 3)
                return [states(message) for message in heard.messages]

    everyone = {f"edge1/10.0.0.{number}": State.UP for number in range(1, 31)}
    for round_ in asyncio.run(scenario()):
        assert round_ == everyone


def test_a_change_does_not_wait_for_the_rest_of_a_large_table(engine):
    async def scenario():
        async with Router() as router:
            for number in range(1, 31):
                router.add(f"10.0.0.{number}")
            async with polling(target(router, max_varbinds=10, engine=engine)) as (_, heard):
                start = await heard.until(complete) + 1
                router.set_state("10.0.0.1", State.DOWN)
                place = await heard.until(lambda message: states(message).get("edge1/10.0.0.1") is State.DOWN, start)
                alone = states(heard.messages[place])
                rest = states(heard.messages[await heard.until(lambda _: True, place + 1)])
                return alone, rest

    alone, rest = asyncio.run(scenario())
    assert alone == {"edge1/10.0.0.1": State.DOWN}
    assert len(rest) == 29
    assert "edge1/10.0.0.1" not in rest


def test_a_session_that_is_gone_is_missing_once_a_walk_has_confirmed_it_and_then_in_each_round(engine):
    gone, both = {"edge1/192.0.2.1": State.MISSING, "edge1/192.0.2.2": State.UP}, ["edge1/192.0.2.1", "edge1/192.0.2.2"]

    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            router.add("192.0.2.2")
            async with polling(target(router, engine=engine)) as (poller, heard):
                start = await heard.until(complete) + 1
                router.remove("192.0.2.1")
                await heard.state("edge1/192.0.2.1", State.MISSING, start)
                place = await heard.until(lambda message: State.MISSING in states(message).values(), start)
                assert complete(heard.messages[place])
                assert states(heard.messages[place]) == gone
                # Once a second walk has missed it as well, every round tells it, and no further walk is made for it.
                place = await heard.until(complete, place + 1)
                await heard.until(lambda _: heard.now > place + 5)
                for message in heard.messages[place:]:
                    assert states(message) == gone
                assert not any(complete(message) for message in heard.messages[place + 1 :])
                assert poller.counters.walks == 3
                router.add("192.0.2.1", State.INIT)
                poller.look("edge1", None)
                await heard.state("edge1/192.0.2.1", State.INIT, place)
                place = heard.now
                await heard.until(lambda _: heard.now > place + 3)
                for message in heard.messages[place:]:
                    assert sorted(states(message)) == both
                    assert State.MISSING not in states(message).values()

    asyncio.run(scenario())


def test_what_only_one_walk_has_missed_is_told_with_that_walk_alone(engine):
    """A second telling stands for a second look: none is made up while the walks fail."""

    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            router.add("192.0.2.2")
            async with polling(target(router, engine=engine)) as (poller, heard):
                await heard.until(complete)
                walk, walks = poller._devices["edge1"].client.walk, []

                async def only_one(column: str) -> object:
                    walks.append(column)
                    if len(walks) == 1:
                        return await walk(column)
                    raise SourceError("one walk is enough")

                poller._devices["edge1"].client.walk = only_one
                router.remove("192.0.2.1")
                await heard.state("edge1/192.0.2.1", State.MISSING)
                place = await heard.until(silent)
                await heard.until(lambda _: heard.now > place + 5)
                assert len(walks) == 2  # a walk that fails is not made again at each turn
                return [message for message in heard.messages if State.MISSING in states(message).values()]

    (told,) = asyncio.run(scenario())
    assert told.complete


def test_a_session_that_is_gone_is_told_so_often_and_no_more(engine, monkeypatch):
    monkeypatch.setattr("exabgp_bfd.sources.snmp.device.GONE_ROUNDS", 7)

    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            router.add("192.0.2.2")
            async with polling(target(router, engine=engine, interval=0.02)) as (_, heard):
                await heard.until(complete)
                router.remove("192.0.2.1")
                await heard.state("edge1/192.0.2.1", State.MISSING)
                await heard.until(
                    lambda _: all(states(seen) == {"edge1/192.0.2.2": State.UP} for seen in heard.messages[-9:])
                )
                return [message for message in heard.messages if State.MISSING in states(message).values()]

    assert 2 <= len(asyncio.run(scenario())) <= 7


def test_a_session_that_is_gone_can_be_forgotten(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            router.add("192.0.2.2")
            async with polling(target(router, engine=engine, interval=0.02)) as (poller, heard):
                await heard.until(complete)
                router.remove("192.0.2.1")
                await heard.until(
                    lambda message: not complete(message) and State.MISSING in states(message).values(), heard.now
                )
                poller.forget("edge1", "edge1/192.0.2.1")
                poller.forget("edge1", "edge1/192.0.2.2")  # it is there: nothing to forget
                poller.forget("edge7", "edge7/192.0.2.1")
                place = heard.now
                await heard.until(lambda _: heard.now > place + 3)
                assert all(states(message) == {"edge1/192.0.2.2": State.UP} for message in heard.messages[place:])

    asyncio.run(scenario())


def test_that_the_whole_table_is_empty_is_told_by_walks_alone(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            router.add("192.0.2.2")
            async with polling(target(router, engine=engine)) as (_, heard):
                start = await heard.until(complete) + 1
                router.remove("192.0.2.1")
                router.remove("192.0.2.2")
                place = await heard.until(lambda message: State.MISSING in states(message).values(), start)
                await heard.until(lambda _: heard.now > place + 5)
                assert all(complete(message) for message in heard.messages[place:])
                router.add("192.0.2.2")
                place = await heard.until(lambda message: State.UP in states(message).values(), heard.now)
                assert states(heard.messages[place]) == {
                    "edge1/192.0.2.1": State.MISSING,
                    "edge1/192.0.2.2": State.UP,
                }

    asyncio.run(scenario())


def test_missing_is_never_all_that_a_round_tells_when_the_rest_cannot_be_read(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            router.add("192.0.2.2")
            async with polling(target(router, engine=engine)) as (poller, heard):
                await heard.until(complete)
                router.remove("192.0.2.1")
                place = await heard.until(
                    lambda message: not complete(message) and State.MISSING in states(message).values(), heard.now
                )
                router.table.put((*SESSION, 11, 2), v2c.Integer32(9))
                await heard.until(lambda message: states(message) == {}, place)
                start = heard.now
                await heard.until(lambda _: heard.now > start + 3)
                assert all(states(message) == {} for message in heard.messages[start:])
                assert poller.counters.garbage_rows > 3

    asyncio.run(scenario())


def test_a_flap_between_two_polls_is_seen_by_its_count(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            router.add("192.0.2.2", State.DOWN)
            async with polling(target(router, engine=engine)) as (_, heard):
                first = heard.messages[await heard.until(complete)]
                assert [(seen.ups, seen.downs, seen.last_up) for seen in first.observations] == [
                    (1, None, None),
                    (0, None, None),
                ]
                router.flap("192.0.2.1", 3)
                place = await heard.until(
                    lambda message: isinstance(message, Poll) and 4 in [seen.ups for seen in message.observations]
                )
                assert states(heard.messages[place])["edge1/192.0.2.1"] is State.UP
                assert {state for seen in heard.messages for state in states(seen).values()} == {State.UP, State.DOWN}
                assert all(states(seen).get("edge1/192.0.2.1") is not State.DOWN for seen in heard.messages)

    asyncio.run(scenario())


def test_a_flap_does_not_wait_for_the_rest_of_a_large_table(engine):
    async def scenario():
        async with Router() as router:
            for number in range(1, 31):
                router.add(f"10.0.0.{number}")
            async with polling(target(router, max_varbinds=10, engine=engine)) as (_, heard):
                start = await heard.until(complete) + 1
                router.flap("10.0.0.1")
                place = await heard.until(
                    lambda message: isinstance(message, Poll) and 2 in [seen.ups for seen in message.observations],
                    start,
                )
                return states(heard.messages[place])

    assert asyncio.run(scenario()) == {"edge1/10.0.0.1": State.UP}


def test_a_device_is_asked_faster_at_once(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            slow = target(router, engine=engine, interval=3600.0, fast_interval=0.05)
            async with polling(slow) as (poller, heard):
                await heard.until(complete)
                assert poller.counters.quick == 0
                poller.pace("edge1", quick=True)
                poller.pace("edge7", quick=True)
                await heard.until(lambda _: heard.now > 5)
                router.set_state("192.0.2.1", State.DOWN)
                await heard.state("edge1/192.0.2.1", State.DOWN)
                assert poller.counters.quick >= 5

    asyncio.run(scenario())


def test_a_down_beside_a_row_that_is_gone_does_not_wait_for_the_walk(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            router.add("192.0.2.2")
            async with polling(target(router, engine=engine, timeout=0.3, retries=0)) as (poller, heard):
                await heard.until(complete)
                walk = poller._devices["edge1"].client.walk

                async def fails(column: str) -> None:
                    raise SourceError("no walk today")

                poller._devices["edge1"].client.walk = fails
                start = heard.now
                router.set_state("192.0.2.1", State.DOWN)
                router.remove("192.0.2.2")
                await heard.state("edge1/192.0.2.1", State.DOWN, start)
                assert not any(State.MISSING in states(message).values() for message in heard.messages)
                poller._devices["edge1"].client.walk = walk
                await heard.state("edge1/192.0.2.2", State.MISSING, start)

    asyncio.run(scenario())


def test_a_session_recreated_under_another_index_was_never_away(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1", index=5)
            router.add("192.0.2.2", index=6)
            async with polling(target(router, engine=engine)) as (_, heard):
                await heard.until(complete)
                start = heard.now
                router.remove("192.0.2.1")
                router.add("192.0.2.1", index=9)
                place = await heard.until(complete, start)
                await heard.until(lambda _: True, place + 1)
                return heard.messages

    for message in asyncio.run(scenario()):
        assert set(states(message).values()) <= {State.UP}


def test_two_sessions_with_one_peer_are_told_apart_by_their_interface(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1", interface="ge-0/0/0")
            router.add("192.0.2.1", State.DOWN, interface="ge-0/0/1")
            router.add(None, interface="tunnel7")
            async with polling(target(router, engine=engine)) as (poller, heard):
                place = await heard.until(complete)
                router.set_state("192.0.2.1", State.INIT, interface="ge-0/0/0")
                await heard.state("edge1/192.0.2.1%ge-0/0/0", State.INIT, place)
                poller.look("edge1", "edge1/192.0.2.1%ge-0/0/1")
                await heard.until(lambda message: isinstance(message, Poll) and message.source is Source.SNMP_LOOK)
                return states(heard.messages[place])

    assert asyncio.run(scenario()) == {
        "edge1/192.0.2.1%ge-0/0/0": State.UP,
        "edge1/192.0.2.1%ge-0/0/1": State.DOWN,
        "edge1/tunnel7": State.UP,
    }


def test_an_interface_without_ifname_is_named_by_ifdescr(engine):
    async def scenario():
        async with Router() as router:
            router.add(None, interface="eth0")
            router.table.put((1, 3, 6, 1, 2, 1, 31, 1, 1, 1, 1, 1), v2c.OctetString(b""))
            async with polling(target(router, engine=engine)) as (_, heard):
                return states(heard.messages[await heard.until(complete)])

    assert asyncio.run(scenario()) == {"edge1/interface eth0": State.UP}


def test_silence_is_told_and_is_no_state(engine, caplog):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            async with polling(target(router, engine=engine, timeout=0.2, retries=0)) as (poller, heard):
                start = await heard.until(complete) + 1
                router.silent = True
                place = await heard.until(silent, start)
                await heard.until(silent, place + 1)
                told = heard.messages[place]
                assert told.device == "edge1"
                assert told.reason == poller.status["edge1"]
                assert told.reason.startswith(f"no answer from 127.0.0.1:{router.port} in 1 try of 0.2 s")
                assert all(set(states(message).values()) <= {State.UP} for message in heard.messages)
                router.silent = False
                await heard.state("edge1/192.0.2.1", State.UP, heard.now)
                assert poller.counters.silent >= 2
                assert poller.status["edge1"] == "1 session in BFD-STD-MIB"

    with caplog.at_level(logging.INFO, logger="exabgp_bfd"):
        asyncio.run(scenario())
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1  # told once, not at every turn


def test_a_device_silent_from_the_start_is_found_when_it_wakes(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            router.silent = True
            async with polling(target(router, engine=engine, timeout=0.1, retries=0)) as (_, heard):
                place = await heard.until(silent)
                router.silent = False
                assert complete(heard.messages[await heard.until(lambda message: not silent(message), place)])

    asyncio.run(scenario())


def test_one_silent_device_holds_up_no_other():
    async def scenario():
        async with Router() as quick, Router() as dead:
            quick.add("192.0.2.1")
            dead.silent = True
            slow = target(dead, "dead", timeout=DEADLINE, retries=0)
            async with polling(slow, target(quick, "quick")) as (poller, heard):
                await heard.until(lambda _: len(heard.messages) > 5)
                assert {message.device for message in heard.messages} == {"quick"}
                assert poller.status["dead"] == "not asked yet"

    asyncio.run(scenario())


def test_a_look_asks_for_one_session_at_once(engine):
    async def scenario():
        async with Router() as router:
            for number in range(1, 21):
                router.add(f"10.0.0.{number}")
            async with polling(target(router, engine=engine, interval=3600.0)) as (poller, heard):
                await heard.until(complete)
                router.set_state("10.0.0.7", State.DOWN)
                before = router.requests
                poller.look("edge1", "edge1/10.0.0.7")
                place = await heard.until(lambda _: True, 1)
                assert router.requests == before + 1
                look = heard.messages[place]
                assert (look.source, look.complete) == (Source.SNMP_LOOK, False)
                assert states(look) == {"edge1/10.0.0.7": State.DOWN}
                assert look.observations[0].diagnostic is Diagnostic.CONTROL_DETECTION_TIME_EXPIRED

    asyncio.run(scenario())


def test_looks_that_come_together_share_their_pdus(engine):
    async def scenario():
        async with Router() as router:
            for number in range(1, 21):
                router.add(f"10.0.0.{number}")
            async with polling(target(router, engine=engine, interval=3600.0, max_varbinds=31)) as (poller, heard):
                await heard.until(complete)
                before = router.requests
                for number in range(1, 21):
                    poller.look("edge1", f"edge1/10.0.0.{number}")
                    poller.look("edge1", f"edge1/10.0.0.{number}")
                place = await heard.until(lambda _: True, 1)
                assert len(states(heard.messages[place])) == 20
                assert router.requests == before + 3  # 80 values, with whose each row is, 30 to a PDU beside sysUpTime
                assert poller.counters.looks == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("session", [None, "edge1/192.0.2.77"])
def test_a_look_at_the_whole_device_or_at_a_stranger_walks(engine, session):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            async with polling(target(router, engine=engine, interval=3600.0)) as (poller, heard):
                await heard.until(complete)
                router.add("192.0.2.77", State.INIT)
                poller.look("edge1", session)
                look = heard.messages[await heard.until(lambda _: True, 1)]
                assert (look.source, look.complete) == (Source.SNMP_LOOK, True)
                assert states(look) == {"edge1/192.0.2.1": State.UP, "edge1/192.0.2.77": State.INIT}

    asyncio.run(scenario())


def test_a_look_at_a_session_that_is_gone_walks_before_it_says_so(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            router.add("192.0.2.2")
            async with polling(target(router, engine=engine, interval=3600.0)) as (poller, heard):
                await heard.until(complete)
                router.remove("192.0.2.1")
                poller.look("edge1", "edge1/192.0.2.1")
                place = await heard.until(lambda message: "edge1/192.0.2.1" in states(message), 1)
                look = heard.messages[place]
                assert (look.source, look.complete) == (Source.SNMP_LOOK, True)
                assert states(look) == {"edge1/192.0.2.1": State.MISSING, "edge1/192.0.2.2": State.UP}

    asyncio.run(scenario())


def test_a_look_at_a_silent_device_is_silence():
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            async with polling(target(router, interval=3600.0, timeout=0.2)) as (poller, heard):
                await heard.until(complete)
                router.silent = True
                poller.look("edge1", "edge1/192.0.2.1")
                assert silent(heard.messages[await heard.until(lambda _: True, 1)])
                poller.look("no such device", None)

    asyncio.run(scenario())


def test_a_restart_is_noticed_before_indexes_are_taken_for_what_they_were(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1", index=1)
            router.add("192.0.2.2", State.DOWN, index=2)
            async with polling(target(router, engine=engine)) as (poller, heard):
                await heard.until(complete)
                start = heard.now
                router.remove("192.0.2.1")
                router.remove("192.0.2.2")
                router.add("192.0.2.2", State.DOWN, index=1)
                router.add("192.0.2.1", index=2)
                router.reboot()
                place = await heard.until(complete, start)
                await heard.until(lambda _: True, place + 1)
                assert poller.counters.walks == 2
                return heard.messages

    for message in asyncio.run(scenario()):
        assert states(message) == {"edge1/192.0.2.1": State.UP, "edge1/192.0.2.2": State.DOWN}


def test_new_sessions_are_found_by_themselves(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            async with polling(target(router, engine=engine), rediscover=0.3) as (_, heard):
                start = await heard.until(complete) + 1
                router.add("192.0.2.2", State.INIT)
                place = await heard.until(lambda message: "edge1/192.0.2.2" in states(message), start)
                assert complete(heard.messages[place])
                assert len(states(heard.messages[place])) == 2

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("profile", "status"),
    [
        ("bfd-std", "it answers, but has no session in BFD-STD-MIB"),
        ("auto", "it answers, but no BFD table that we know has a row"),
    ],
)
def test_an_agent_without_sessions_answers_all_the_same(engine, profile, status):
    async def scenario():
        async with Router() as router, polling(target(router, engine=engine, profile=profile)) as (poller, heard):
            first = heard.messages[await heard.until(lambda _: True)]
            assert first == Poll("edge1", (), complete=True)
            later = heard.messages[await heard.until(lambda _: True, 1)]
            assert later == Poll("edge1", (), complete=True)
            assert poller.status == {"edge1": status}

    asyncio.run(scenario())


def test_a_row_that_cannot_be_read_is_counted_and_never_a_state_nor_missing(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            router.add("192.0.2.2")
            async with polling(target(router, engine=engine), rediscover=0.2) as (poller, heard):
                await heard.until(complete)
                start = heard.now
                router.table.put((*SESSION, 11, 1), v2c.Integer32(9))
                place = await heard.until(lambda message: "edge1/192.0.2.1" not in states(message), start)
                await heard.until(lambda _: poller.counters.garbage_rows > 3 and poller.counters.walks > 2, place)
                for message in heard.messages[place:]:
                    assert states(message) == {"edge1/192.0.2.2": State.UP}
                    assert not message.complete  # or the unreadable session would count as vanished
                assert poller.status["edge1"] == (
                    "2 sessions in BFD-STD-MIB; 1 not readable: edge1/192.0.2.1: "
                    "1.3.6.1.2.1.222.1.2.1.11.1 is 9, none of the states 1, 2, 3, 4, 5"
                )
                router.table.put((*SESSION, 11, 1), v2c.Integer32(4))
                await heard.state("edge1/192.0.2.1", State.UP, heard.now)
                assert complete(heard.messages[await heard.until(complete, place)])

    asyncio.run(scenario())


@pytest.mark.parametrize("column", [13, 18, 19, 4])
def test_a_column_that_an_agent_lacks_is_no_harm(engine, column):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1", State.DOWN)
            router.add("192.0.2.2")
            for index in (1, 2):
                router.table.drop((*SESSION, column, index))
            async with polling(target(router, engine=engine)) as (_, heard):
                await heard.until(lambda _: len(heard.messages) > 1)
                before = router.requests
                await heard.until(lambda _: True, heard.now)
                assert router.requests <= before + 2  # what is not there is not asked for again at each turn
                return [states(message) for message in heard.messages]

    for seen in asyncio.run(scenario()):
        assert seen == {"edge1/192.0.2.1": State.DOWN, "edge1/192.0.2.2": State.UP}


def test_an_agent_that_answers_errors_is_silence(engine):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            async with polling(target(router, engine=engine, retries=0)) as (_, heard):
                await heard.until(complete)
                start = heard.now

                def broken(*_, **__):
                    raise smi_error.GenError

                router.table.read_variables = broken
                place = await heard.until(silent, start)
                assert "answered genErr" in heard.messages[place].reason
                assert all(State.MISSING not in states(message).values() for message in heard.messages)

    asyncio.run(scenario())


# --- the one-OID mode -------------------------------------------------------------------------------------------------


def test_one_oid_that_is_an_instance(engine):
    oid = "1.3.6.1.2.1.222.1.2.1.10.1"

    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            one = target(router, engine=engine, profile="oid", oid=f".{oid}", values="oper")
            async with polling(one) as (poller, heard):
                first = heard.messages[await heard.until(lambda _: True)]
                assert complete(first)
                assert states(first) == {f"edge1/{oid}": State.UP}
                router.set_state("192.0.2.1", State.ADMIN_DOWN)
                await heard.state(f"edge1/{oid}", State.ADMIN_DOWN)
                router.set_state("192.0.2.1", State.DOWN)
                await heard.state(f"edge1/{oid}", State.DOWN)
                poller.look("edge1", f"edge1/{oid}")
                await heard.until(lambda message: isinstance(message, Poll) and message.source is Source.SNMP_LOOK)
                start = heard.now
                router.remove("192.0.2.1")
                await heard.state(f"edge1/{oid}", State.MISSING, start)
                assert poller.status["edge1"].startswith("it answers, but has no session in 1.3.6.1.2.1.222")

    asyncio.run(scenario())


@pytest.mark.parametrize(("column", "values"), [(10, "oper"), (11, "state")])
def test_one_oid_that_is_a_column(engine, column, values):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1", index=3)
            router.add("192.0.2.2", State.DOWN, index=8)
            oid = ".".join(str(arc) for arc in (*SESSION, column))
            async with polling(target(router, engine=engine, profile="oid", oid=oid, values=values)) as (_, heard):
                first = heard.messages[await heard.until(lambda _: True)]
                assert complete(first)
                assert states(first) == {"edge1/3": State.UP, "edge1/8": State.DOWN}
                router.set_state("192.0.2.2", State.UP)
                await heard.state("edge1/8", State.UP)

    asyncio.run(scenario())


# --- many devices, and a live inventory -------------------------------------------------------------------------------


def test_many_devices_at_once():
    async def scenario():
        routers = [Router() for _ in range(12)]
        for router in routers:
            await router.start()
            for number in range(1, 6):
                router.add(f"10.0.0.{number}")
        try:
            targets = [target(router, f"edge{place}", interval=0.5) for place, router in enumerate(routers)]
            async with polling(*targets) as (poller, heard):
                async with asyncio.timeout(DEADLINE):
                    while len({message.device for message in heard.messages if complete(message)}) < len(routers):
                        await heard.until(lambda _: True, heard.now)
                start = heard.now
                routers[7].set_state("10.0.0.3", State.DOWN)
                await heard.state("edge7/10.0.0.3", State.DOWN, start)
                for message in heard.messages:
                    down = {session for session, state in states(message).items() if state is not State.UP}
                    assert down <= {"edge7/10.0.0.3"}
                    assert not silent(message)
                assert poller.counters.answered >= len(routers)
        finally:
            for router in routers:
                await router.stop()

    asyncio.run(scenario())


def test_devices_come_and_go_while_it_runs():
    async def scenario():
        async with Router() as one, Router() as two:
            one.add("192.0.2.1")
            two.add("192.0.2.2")
            async with polling(target(one, "one")) as (poller, heard):
                await heard.until(complete)
                await poller.set_targets([target(one, "one"), target(two, "two")])
                assert poller.counters.walks == 1  # the first goes on undisturbed
                await heard.until(lambda message: message.device == "two")
                with pytest.raises(ValueError, match="polled already"):
                    poller.add(target(two, "two"))
                await poller.remove("one")
                await poller.remove("never was")
                start = heard.now
                await heard.until(lambda _: heard.now > start + 3)
                assert {message.device for message in heard.messages[start:]} == {"two"}
                assert set(poller.status) == {"two"}
                await poller.set_targets([target(one, "two")])
                await heard.state("two/192.0.2.1", State.UP, heard.now)

    asyncio.run(scenario())


def test_a_slow_turn_skips_what_it_missed_and_keeps_its_clock():
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            async with polling(target(router, timeout=0.35, retries=0)) as (poller, heard):
                await heard.until(complete)
                router.silent = True
                await heard.until(silent)
                router.silent = False
                await heard.until(lambda message: not silent(message), heard.now)
                return poller.counters.skipped

    assert asyncio.run(scenario()) >= 2


def test_a_receiver_that_fails_stops_nothing(caplog):
    async def scenario():
        async with Router() as router:
            router.add("192.0.2.1")
            enough = asyncio.Event()
            calls = []

            def fail(message):
                calls.append(message)
                if len(calls) > 2:
                    enough.set()
                raise RuntimeError("receiver")

            poller = Poller([target(router)], fail)
            task = asyncio.create_task(poller.run())
            async with asyncio.timeout(DEADLINE):
                await enough.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert all(isinstance(message, Poll) for message in calls)

    asyncio.run(scenario())
    assert "could not be taken in" in caplog.text


def test_cancelling_it_leaves_nothing_behind():
    async def scenario():
        async with Router() as router:
            router.silent = True
            heard = Heard()
            poller = Poller([target(router, timeout=60.0)], heard)
            task = asyncio.create_task(poller.run())
            while not router.requests:  # noqa: ASYNC110 - the router counts, and signals nobody
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not [left for left in asyncio.all_tasks() if left.get_name().startswith("edge1")]
            assert heard.messages == []
            poller.look("edge1", None)  # nothing runs, nothing is asked

    asyncio.run(scenario())


def test_settings_that_cannot_be_met_are_told_before_anything_runs():
    wrong = Target("edge1", "192.0.2.1", Secret("public"), profile="oid")
    with pytest.raises(ConfigError, match="needs an oid"):
        Poller([wrong], print)
