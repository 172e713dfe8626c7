"""An agent that answers genErr for one column that nobody needs tells of its sessions all the same."""

import asyncio

from lab.agent import GEN_ERR, GET, Agent, Answer, Request, Says, arcs
from lab.listening import polling, states, target
from lab.recordings import bfd_std

from exabgp_bfd.core.model import Silence

DEVICE = bfd_std()
UP_COUNT = arcs("1.3.6.1.2.1.222.1.3.1.12")


def _broken(request: Request, answer: Answer) -> Answer:
    places = [place for place, oid in enumerate(request.oids, 1) if oid[: len(UP_COUNT)] == UP_COUNT]
    return answer.failing(request, GEN_ERR, places[0]) if places and request.kind == GET else answer


def test_one_broken_column_hides_no_session():
    async def scenario():
        async with Agent(DEVICE.table) as agent:
            agent.suffers(Says(change=_broken))
            async with polling(target(agent.port, "pysnmp")) as (_, heard):
                place = await heard.until(lambda said: not isinstance(said, Silence), patience=10.0)
                return states(heard.messages[place])

    assert sorted(asyncio.run(scenario()).values()) == sorted(told.state for told in DEVICE.sessions)
