"""The SNMP room against net-snmp's own agent: another implementation of everything below our tables."""

import asyncio

import pytest

from exabgp_bfd.core.model import Diagnostic, Poll, Secret, Silence, Source, SourceError, State
from exabgp_bfd.sources.snmp.client import connect
from exabgp_bfd.sources.snmp.poller import Poller
from exabgp_bfd.sources.snmp.target import Target

pytestmark = pytest.mark.live

STATE = "1.3.6.1.2.1.222.1.2.1.11"
UP_TIME = "1.3.6.1.2.1.1.3.0"
PEER = "edge1/192.0.2.1"


@pytest.fixture(params=["pysnmp 2c", "gufo 2c", "pysnmp 1"])
def kind(request) -> dict[str, str]:
    engine, version = request.param.split()
    if engine == "gufo":
        pytest.importorskip("gufo.snmp")
    return {"engine": engine, "version": version}


def target(snmpd, kind, **changes) -> Target:
    settings = {"community": Secret(snmpd.community), "interval": 0.1, "timeout": 2.0, **kind, **changes}
    return Target("edge1", snmpd.host, port=snmpd.port, **settings)


def test_get_and_walk(snmpd, kind):
    for index in range(10, 60):
        snmpd.add(index, f"10.0.0.{index}", State.DOWN)

    async def scenario():
        client = connect(target(snmpd, kind))
        try:
            up_time = await client.get([UP_TIME, f"{STATE}.1", f"{STATE}.99"])
            return up_time, await client.walk(STATE), await client.walk("1.3.6.1.2.1.222.1.9")
        finally:
            await client.close()

    values, walked, nothing = asyncio.run(scenario())
    assert isinstance(values.pop(UP_TIME), int)
    assert values == {f"{STATE}.1": 4}
    assert walked == [(f"{STATE}.{index}", 4 if index < 10 else 2) for index in (1, 2, *range(10, 60))]
    assert nothing == []


def test_wrong_community(snmpd, kind):
    async def scenario():
        client = connect(target(snmpd, kind, community=Secret("a wrong one"), timeout=0.3))
        try:
            await client.get([UP_TIME])
        finally:
            await client.close()

    with pytest.raises(SourceError, match=r"no answer from .* in 2 tries") as caught:
        asyncio.run(scenario())
    assert "a wrong one" not in str(caught.value)


class Heard:
    def __init__(self) -> None:
        self.messages: list[Poll | Silence] = []
        self.more = asyncio.Event()

    def __call__(self, message: Poll | Silence) -> None:
        self.messages.append(message)
        self.more.set()

    async def until(self, wanted) -> Poll | Silence:
        """The first message from now on of which `wanted` is true."""
        seen = len(self.messages)
        async with asyncio.timeout(60):
            while True:
                for message in self.messages[seen:]:
                    if wanted(message):
                        return message
                seen = len(self.messages)
                self.more.clear()
                await self.more.wait()

    async def state(self, session: str, state: State):
        def wanted(message):
            return isinstance(message, Poll) and any(
                seen.session.id == session and seen.state is state for seen in message.observations
            )

        message = await self.until(wanted)
        return next(seen for seen in message.observations if seen.session.id == session)


def test_a_failure_and_a_recovery(snmpd, kind):
    async def scenario():
        heard = Heard()
        poller = Poller([target(snmpd, kind, timeout=0.5)], heard)
        task = asyncio.create_task(poller.run())
        try:
            first = await heard.until(lambda _: True)
            assert first.complete
            assert {seen.session.id: seen.state for seen in first.observations} == {
                PEER: State.UP,
                "edge1/2001:db8::1": State.UP,
            }
            one = first.observations[0]
            assert (one.session.interface, one.session.discriminator) == ("lo", 1001)
            assert one.details == {"index": "1", "up_count": 1}

            snmpd.set_state(1, State.DOWN, diagnostic=3)
            down = await heard.state(PEER, State.DOWN)
            assert down.diagnostic is Diagnostic.NEIGHBOR_SIGNALED_SESSION_DOWN
            snmpd.set_state(1, State.UP)
            assert (await heard.state(PEER, State.UP)).details["up_count"] == 2

            poller.look("edge1", PEER)
            await heard.until(lambda message: isinstance(message, Poll) and message.source is Source.SNMP_LOOK)

            snmpd.remove(1)
            await heard.state(PEER, State.MISSING)

            snmpd.stop()
            silence = await heard.until(lambda message: isinstance(message, Silence))
            assert f"{snmpd.host}:{snmpd.port}" in silence.reason
            snmpd.add(1, "192.0.2.1", State.INIT)
            snmpd.start()
            await heard.state(PEER, State.INIT)
        finally:
            await poller.close()
            await task

    asyncio.run(scenario())


def test_one_oid(snmpd, kind):
    oid = "1.3.6.1.2.1.222.1.2.1.10"

    async def scenario():
        heard = Heard()
        poller = Poller([target(snmpd, kind, profile="oid", oid=oid, values="oper")], heard)
        task = asyncio.create_task(poller.run())
        try:
            await heard.state("edge1/1", State.UP)
            snmpd.set_state(1, State.ADMIN_DOWN)
            await heard.state("edge1/1", State.ADMIN_DOWN)
        finally:
            await poller.close()
            await task

    asyncio.run(scenario())
