"""A trusted notification acts before anybody has looked only where it names one session and no other."""

import asyncio

import pytest

from exabgp_bfd.config import Overrides, load
from exabgp_bfd.core.model import Notification, Poll, State
from exabgp_bfd.routers import Routers
from exabgp_bfd.simulator import Router
from exabgp_bfd.sources.snmp.notifications import Hint


@pytest.mark.parametrize(
    ("hint", "sessions", "sure"),
    [
        (Hint("bfd-std", State.DOWN, "1", "1"), 1, True),
        (Hint("bfd-std", State.DOWN, "1", "3"), 3, False),
        (Hint("other", State.DOWN, interface="eth0"), 3, False),
    ],
)
def test_one_that_is_named_alone_is_sure_and_several_are_looked_at(hint, sessions, sure):
    async def scenario():
        heard = []
        met = asyncio.Event()

        def deliver(message):
            heard.append(message)
            if isinstance(message, Poll):
                met.set()

        async with Router() as router:
            for place in range(1, 4):
                router.add(f"192.0.2.{place}", index=place)
            at = Overrides(device_name="edge1", device_host=f"{router.host}:{router.port}", snmp_community="public")
            both = Routers(load(None, at, {}), deliver)
            running = asyncio.create_task(both.run())
            try:
                async with asyncio.timeout(30):
                    await met.wait()
                both._notified("edge1", hint, True)
            finally:
                await both.close()
                await asyncio.wait([running])
        return next(message for message in heard if isinstance(message, Notification))

    told = asyncio.run(scenario())
    assert (len(told.sessions), told.sure) == (sessions, sure)
