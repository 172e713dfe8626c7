"""When rounds come: a device's clock, its faster one, and the way back, in a loop whose time is made up.

The agent is made up too, for a real one would need real time: when it is asked is all that is looked at here.
"""

import asyncio
import random

import pytest
from lab.clock import in_no_time

from exabgp_bfd.core.model import ConfigError, Secret, SourceError
from exabgp_bfd.sources.snmp.poller import Poller
from exabgp_bfd.sources.snmp.target import Target

OID = "1.3.6.1.4.1.5.2.1"


class _Agent:
    """A session that is up; an answer takes `takes` seconds, or never comes."""

    engine = "made up"

    def __init__(self):
        self.takes = 0.0
        self.silent = False

    async def get(self, oids):
        await asyncio.sleep(self.takes)
        if self.silent:
            raise SourceError("no answer")
        return dict.fromkeys(oids, 1)

    async def close(self):
        pass


class Play:
    """A poller in made up time, with the times of its messages."""

    def __init__(self, poller, agent):
        self.poller = poller
        self.agent = agent
        self.times = []

    async def until(self, time):
        """Lets the time come, and gives when rounds ended since the last call."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(time - loop.time())
        times, self.times[:] = list(self.times), []
        return [round(seen, 6) for seen in times]

    def pace(self, *, quick):
        self.poller.pace("edge1", quick)


def played(scenario, interval=1.0, fast_interval=0.25):
    """Plays `scenario(play)`; gives the poller's counters."""

    async def play():
        loop = asyncio.get_running_loop()
        agent = _Agent()
        target = Target(
            "edge1",
            "192.0.2.1",
            Secret("public"),
            profile="oid",
            oid=OID,
            interval=interval,
            fast_interval=fast_interval,
        )
        poller = Poller([target], lambda _: playing.times.append(loop.time()), rediscover=1e9)
        poller._devices["edge1"].client = agent
        playing = Play(poller, agent)
        task = asyncio.create_task(poller.run())
        try:
            await scenario(playing)
        finally:
            await poller.close()
            await task
        return poller.counters

    return in_no_time(play())


def test_a_quick_device_is_asked_every_fast_interval_and_then_by_its_own_clock_again():
    async def scenario(play):
        assert await play.until(2.1) == [0, 1, 2]
        play.pace(quick=True)
        assert await play.until(3.1) == [2.25, 2.5, 2.75, 3]
        play.pace(quick=True)  # already so
        assert await play.until(3.4) == [3.25]
        play.pace(quick=False)
        assert await play.until(6.5) == [4, 5, 6]

    counters = played(scenario)
    assert (counters.quick, counters.skipped, counters.late) == (6, 0, 0)


def test_what_is_longer_ago_than_the_fast_interval_is_done_at_once():
    async def scenario(play):
        assert await play.until(0.9) == [0]
        play.pace(quick=True)
        assert await play.until(1.3) == [0.9, 1.15]

    played(scenario)


def test_the_way_back_is_no_burst():
    async def scenario(play):
        await play.until(0.9)
        play.pace(quick=True)
        assert await play.until(1.95) == [0.9, 1.15, 1.4, 1.65, 1.9]
        play.pace(quick=False)
        assert await play.until(4.5) == [3, 4]  # not at 2, which is too near

    played(scenario)


def test_to_and_fro_within_a_turn_asks_no_more_than_every_fast_interval():
    async def scenario(play):
        for step in range(1, 100):
            play.pace(quick=bool(step % 2))
            await asyncio.sleep(0.01)
        times = await play.until(1.2)
        assert times == [0, 0.25, 0.5, 0.75, 1]

    played(scenario)


def test_a_change_while_a_round_is_under_way_holds_from_its_end():
    async def scenario(play):
        play.agent.takes = 0.1
        await play.until(1.05)
        play.pace(quick=True)
        assert await play.until(1.65) == [1.1, 1.35, 1.6]
        await play.until(1.8)
        play.pace(quick=False)
        assert await play.until(3.5) == [1.85, 2.1, 3.1]

    played(scenario)


def test_rounds_that_take_longer_than_the_fast_interval_never_overlap():
    async def scenario(play):
        play.agent.takes = 0.3
        await play.until(1.9)
        play.pace(quick=True)
        assert await play.until(4.0) == [2.2, 2.7, 3.2, 3.7]

    assert played(scenario).skipped >= 3


@pytest.mark.parametrize("fast_interval", [None, 1.0, 5.0])
def test_no_fast_interval_or_a_slow_one_makes_no_difference(fast_interval):
    async def scenario(play):
        await play.until(1.5)
        play.pace(quick=True)
        assert await play.until(3.5) == [2, 3]
        play.pace(quick=False)
        assert await play.until(5.5) == [4, 5]

    assert played(scenario, fast_interval=fast_interval).quick == 0


def test_neither_clock_drifts():
    async def scenario(play):
        assert await play.until(300.05) == [round(turn * 0.3, 6) for turn in range(1001)]
        play.pace(quick=True)
        times = await play.until(400.01)
        assert times == [round(300.0 + turn * 0.07, 6) for turn in range(1, len(times) + 1)]
        play.pace(quick=False)
        assert await play.until(500.05) == [round(400.2 + turn * 0.3, 6) for turn in range(333)]

    assert played(scenario, interval=0.3, fast_interval=0.07).skipped == 0


def test_a_silent_device_is_left_alone_as_ever():
    def silence(*, quick):
        seen = []

        async def scenario(play):
            await play.until(1.5)
            play.agent.silent = True
            await play.until(2.1)  # the first failure
            if quick:
                play.pace(quick=True)
            seen.extend(await play.until(60.0))
            play.agent.silent = False
            await play.until(75.0)
            seen.append("quick" if len(await play.until(80.0)) > 10 else "slow")

        random.seed(7)
        played(scenario)
        return seen

    *alone, slow = silence(quick=False)
    *hurried, fast = silence(quick=True)
    assert hurried == alone
    assert len(alone) > 10
    assert (slow, fast) == ("slow", "quick")


def test_a_device_with_new_settings_keeps_its_pace():
    async def scenario(play):
        await play.until(0.1)
        play.pace(quick=True)
        old = play.poller._devices["edge1"].target
        new = Target(old.name, old.host, old.community, profile="oid", oid=OID, interval=10.0, fast_interval=0.5)
        await play.poller.set_targets([new])
        play.poller._devices["edge1"].client = play.agent
        assert await play.until(2.3) == [0.1, 0.6, 1.1, 1.6, 2.1]
        await play.poller.set_targets([old])  # and one that comes back after it was removed does not
        await play.poller.set_targets([])
        await play.poller.set_targets([new])
        play.poller._devices["edge1"].client = play.agent
        await play.until(2.5)
        assert await play.until(9.0) == []

    played(scenario)


def test_pace_before_it_runs_is_kept():
    heard = []
    poller = Poller([Target("edge1", "192.0.2.1", Secret("public"), fast_interval=0.5)], heard.append)
    poller.pace("edge1", quick=True)
    poller.pace("edge2", quick=True)
    assert poller._devices["edge1"].quick
    assert heard == []


@pytest.mark.parametrize("fast_interval", [0.0, -1.0])
def test_a_fast_interval_that_cannot_be_is_told(fast_interval):
    with pytest.raises(ConfigError, match=r"device edge1: fast_interval .* is not above 0"):
        Poller([Target("edge1", "192.0.2.1", Secret("public"), fast_interval=fast_interval)], print)
