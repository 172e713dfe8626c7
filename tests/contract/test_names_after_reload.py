"""A device's settings change: its sessions keep their names, and with them their services' verdicts."""

import asyncio

from lab.house import DOWN, House, commands, service
from lab.listening import COMMUNITY, polling, states, target

from exabgp_bfd.core.model import Poll, State
from exabgp_bfd.simulator import Router

FIRST, SECOND = "192.0.2.1", "192.0.2.1%ge-0/0/1"


async def reloaded() -> list[Poll]:
    """What is told of two sessions with one peer, of which the second came later, before and after a reload."""
    async with Router(COMMUNITY) as router:
        router.add("192.0.2.1", interface="ge-0/0/0")
        async with polling(target(router.port, "pysnmp"), rediscover=0.2) as (poller, heard):
            await heard.whole()
            router.add("192.0.2.1", State.DOWN, interface="ge-0/0/1")
            await heard.until(lambda said: SECOND in states(said))
            start = heard.now
            await poller.set_targets([target(router.port, "pysnmp", interval=0.2)])
            await heard.whole(start)
            return [said for said in heard.messages if isinstance(said, Poll)]


def test_names_stay_with_their_sessions():
    said = asyncio.run(reloaded())
    assert states(said[-1]) == {FIRST: State.UP, SECOND: State.DOWN}


def test_a_living_session_is_not_withdrawn():
    house = House(service("dns", "edge/192.0.2.1%ge-0/0/0", rise=3, hold_up=10.0), devices=("edge",))
    said = asyncio.run(reloaded())
    for _ in range(20):
        house.take(said[0], 1.0)
    for poll in said[1:]:
        house.take(poll, 1.0)
    house.take(said[-1], 0.1)
    assert house.announced()
    assert DOWN not in {seen.state for poll in said for seen in poll.observations if seen.session.name == FIRST}
    assert len(commands(house.all)) == 1
