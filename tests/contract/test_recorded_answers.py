"""An answer that was recorded and comes again teaches nothing: least of all which time it is for traps to be fresh."""

import asyncio
from dataclasses import dataclass, field

from lab.agent import Agent, Fault, Reply
from lab.listening import target

from exabgp_bfd.core.model import Secret
from exabgp_bfd.sources.snmp.client import connect
from exabgp_bfd.sources.snmp.target import User

USER = User("noc", "sha256", Secret("a pass phrase"), "aes128", Secret("another one"))
UP_TIME = "1.3.6.1.2.1.1.3.0"


@dataclass
class Replays(Fault):
    """Sends the first of its answers once more, before each later one."""

    first: list[Reply] = field(default_factory=list)

    def sends(self, agent: Agent, request, replies: list[Reply]) -> list[Reply]:
        before = list(self.first)
        self.first = self.first or list(replies)
        return before + replies


def test_a_clock_is_never_set_back_by_a_recording():
    async def scenario():
        async with Agent({UP_TIME: b"\x43\x01\x00"}, users=[USER]) as agent:
            client = connect(target(agent.port, "pysnmp", version="3", user=USER))
            try:
                await client.get([UP_TIME])
                recorder = Replays()
                agent.suffers(recorder)
                await client.get([UP_TIME])
                yesterday = client.security
                agent.authority.started -= 100.0  # a hundred seconds pass
                await client.get([UP_TIME])
                today = client.security
                agent.send(recorder.first[0], agent.requests[-1].sender)  # nobody has asked for anything
                await asyncio.sleep(0.2)
                return yesterday, today, client.security
            finally:
                await client.close()

    yesterday, today, told = asyncio.run(scenario())
    assert today.time >= yesterday.time + 100
    assert told == today
