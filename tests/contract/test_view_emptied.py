"""One of several views that says at once that all its sessions are gone is not believed at once."""

import asyncio

from lab.agent import Agent, integer
from lab.house import House, looks, service
from lab.listening import polling, states, target
from lab.recordings import bfd_std

from exabgp_bfd.core.model import Secret, State
from exabgp_bfd.sources.snmp import view
from exabgp_bfd.sources.snmp.target import Context

DEVICE = bfd_std()
CONTEXTS = (Context(""), Context("red", Secret("public@red")))


async def emptied(until) -> tuple[list, str]:
    """What is told of a device from the first poll on, whose view `red` is emptied after it; and a session there."""
    async with Agent(DEVICE.table, views={"public@red": DEVICE.table}) as agent:
        red = agent.tables[b"public@red"]
        for place in red.under(f"{DEVICE.entry}.4"):
            red.put(place, integer(700_000 + place[-1]))
        async with polling(target(agent.port, "pysnmp", contexts=CONTEXTS)) as (poller, heard):
            first = await heard.whole()
            name = next(s.session.name for s in first.observations if s.session.vrf == "red" and s.state is State.UP)
            for place in red.under("1.3.6.1.2.1.222"):
                red.drop(place)
            start = heard.now
            await until(poller, heard, start)
            return [first, *heard.messages[start:]], name


def test_its_sessions_stay_announced_while_it_is_doubted():
    async def until(poller, heard, start):
        await heard.until(lambda _: heard.now > start + 5, start)
        poller.look("edge", None)
        place = heard.now
        await heard.until(lambda _: heard.now > place + 5, place)

    said, name = asyncio.run(emptied(until))
    assert all(State.MISSING not in states(message).values() for message in said)
    house = House(service("dns", f"edge/{name}", confirm=True), devices=("edge",))
    for message in said:
        house.take(message, 0.1)
    assert house.announced()
    assert looks(house.all) == []


def test_it_is_believed_when_it_goes_on_saying_so(monkeypatch):
    monkeypatch.setattr(view, "_EMPTY_DOUBTED", 0.3)

    async def until(_, heard, start):
        await heard.until(lambda said: State.MISSING in states(said).values(), start)

    said, name = asyncio.run(emptied(until))
    assert states(said[-1])[name] is State.MISSING
