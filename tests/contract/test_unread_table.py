"""A table that cannot be read while it is looked for again is no table without rows."""

import asyncio
from dataclasses import replace

import pytest
from lab.agent import GEN_ERR, GET, Agent, Answer, Request, Says, integer, octets
from lab.listening import polling, states, target
from lab.recordings import bfd_std

from exabgp_bfd.core.model import Silence, State

DEVICE = bfd_std()


def _errors(request: Request, answer: Answer) -> Answer:
    """As a master agent answers whose subagent hangs."""
    return answer.failing(request, GEN_ERR, 1)


def _no_number(_: Request, answer: Answer) -> Answer:
    state = tuple(int(arc) for arc in DEVICE.state.split("."))
    said = tuple((oid, octets(b"?") if oid[: len(state)] == state else value) for oid, value in answer.varbinds)
    return replace(answer, varbinds=said)


@pytest.mark.parametrize("change", [_errors, _no_number])
def test_errors_after_a_restart_are_silence_and_no_empty_table(change):
    async def scenario():
        async with Agent(DEVICE.table) as agent, polling(target(agent.port, "pysnmp", retries=0)) as (_, heard):
            there = states(await heard.whole())
            start = heard.now
            agent.suffers(Says(about=lambda request: request.kind != GET, change=change))
            agent.restart()
            await heard.until(lambda said: isinstance(said, Silence), start)
            agent.behaves()
            agent.table.put(f"{DEVICE.state}.{DEVICE.sessions[0].index}", integer(3))
            place = await heard.until(lambda said: State.INIT in states(said).values(), heard.now)
            return there, heard.messages[start : place + 1]

    there, said = asyncio.run(scenario())
    assert there
    assert all(State.MISSING not in states(message).values() for message in said)
