"""After a restart a row's index names nobody until a walk has succeeded, in every view and for whoever asks."""

import asyncio

from lab.agent import SYS_UP_TIME, Agent, Drops
from lab.listening import polling, states, target
from lab.recordings import bfd_std

from exabgp_bfd.core.model import Poll, Secret, Silence, Source, State
from exabgp_bfd.sources.snmp.target import Context

DEVICE = bfd_std()
UP = next(told for told in DEVICE.sessions if told.state is State.UP)
DOWN = next(told for told in DEVICE.sessions if told.state is State.DOWN)


def swap(table) -> None:
    """The living one and the dead one have each other's index from now on."""
    for before, after in ((UP.index, "9999"), (DOWN.index, UP.index), ("9999", DOWN.index)):
        table.renumber(before, after, *DEVICE.entries)


def name_of(poll: Poll) -> str:
    return next(seen.session.name for seen in poll.observations if (seen.details or {}).get("index") == UP.index)


def test_a_walk_that_is_lost_after_a_restart_makes_no_dead_session_of_a_living_one():
    async def scenario():
        async with Agent(DEVICE.table) as agent:
            edge = target(agent.port, "pysnmp", timeout=0.2, retries=0, profile="bfd-std")
            async with polling(edge) as (_, heard):
                name = name_of(await heard.whole())
                start = heard.now
                swap(agent.table)
                agent.suffers(Drops(about=lambda request: request.kind == 0xA5))
                agent.restart()
                first = await heard.until(lambda said: isinstance(said, Silence), start)
                await heard.until(lambda _: True, first + 1)
                agent.behaves()
                await heard.whole(heard.now)
                return name, heard.messages[start:]

    name, said = asyncio.run(scenario())
    assert {states(message)[name] for message in said if name in states(message)} == {State.UP}


def test_a_restart_is_one_of_all_views_also_of_those_without_sysuptime():
    async def scenario():
        red = dict(DEVICE.table)
        del red[SYS_UP_TIME]
        contexts = (Context(""), Context("red", Secret("public@red")))
        async with (
            Agent({SYS_UP_TIME: DEVICE.table[SYS_UP_TIME]}, views={"public@red": red}) as agent,
            polling(target(agent.port, "pysnmp", contexts=contexts), rediscover=3600.0) as (poller, heard),
        ):
            name = name_of(await heard.whole())
            start = heard.now
            swap(agent.tables[b"public@red"])
            agent.restart()
            # As the engine does when it hears of a failure: it looks again before it believes it.
            await heard.until(lambda said: states(said).get(name) is not None, start)
            poller.look("edge", f"edge/{name}")
            place = await heard.until(lambda said: isinstance(said, Poll) and said.source is Source.SNMP_LOOK, start)
            return states(heard.messages[place])[name]

    assert asyncio.run(scenario()) is State.UP
