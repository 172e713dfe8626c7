"""An index that passes to another session between two walks, without a restart: the look at a failure is not fooled."""

import asyncio

from lab.agent import Agent
from lab.house import House, commands, service
from lab.listening import polling, states, target
from lab.recordings import bfd_std

from exabgp_bfd.core.model import Look, Poll, State

DEVICE = bfd_std()
UP = next(told for told in DEVICE.sessions if told.state is State.UP)
DOWN = next(told for told in DEVICE.sessions if told.state is State.DOWN)


def test_a_living_session_whose_index_is_a_dead_ones_now_stays_announced():
    async def scenario():
        async with Agent(DEVICE.table) as agent:
            edge = target(agent.port, "pysnmp", interval=2.0)  # so that the look, and its walk, end before the next
            async with polling(edge, rediscover=3600.0) as (poller, heard):
                first = await heard.whole()
                name = next(s.session.name for s in first.observations if (s.details or {}).get("index") == UP.index)
                house = House(service("dns", f"edge/{name}", confirm=True), devices=("edge",))
                house.take(first, 1.0)
                assert house.announced()
                start = taken = heard.now
                for before, after in ((UP.index, "9999"), (DOWN.index, UP.index), ("9999", DOWN.index)):
                    agent.table.renumber(before, after, *DEVICE.entries)
                looked = None
                deadline = asyncio.get_running_loop().time() + 20
                while looked is None and asyncio.get_running_loop().time() < deadline:
                    await heard.until(lambda _: True, taken)
                    for message in heard.messages[taken:]:
                        effects = house.take(message, 0.1)
                        for look in (each for each in effects if isinstance(each, Look)):
                            poller.look(look.device, look.session)
                        if isinstance(message, Poll) and message.source == "snmp_look":
                            looked = message
                    taken = heard.now
                assert any(states(message).get(name) is State.DOWN for message in heard.messages[start:])
                return states(looked)[name], house.announced(), commands(house.all)

    state, announced, said = asyncio.run(scenario())
    assert state is State.UP
    assert announced
    assert len(said) == 1
