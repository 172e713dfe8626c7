"""Each vendor's table, served whole by an agent and read by the real poller: what a device is, and how it is doing."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from lab import recordings
from lab.agent import Agent, counter32, integer
from lab.listening import complete, found, misunderstood, observations, polling, states, target

from exabgp_bfd.core.credentials import Context
from exabgp_bfd.core.model import Secret, State
from exabgp_bfd.sources.snmp import mibs
from exabgp_bfd.sources.snmp.client import connect
from exabgp_bfd.sources.snmp.survey import read_table

RECORDINGS = {recording.name: recording for recording in recordings.all_recordings()}
BY_ENTRY = {profile.entry: profile for profile in mibs.PROFILES.values()}
NUMBERED = [name for name, one in RECORDINGS.items() if one.sessions[0].index.isdigit()]
COUNTED = [name for name, one in RECORDINGS.items() if one.counters]
INTERVALS = {"min_tx", "min_rx", "negotiated_tx", "negotiated_rx"}


@pytest.fixture(params=["pysnmp", "gufo"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "gufo":
        pytest.importorskip("gufo.snmp")
    return request.param


def test_there_is_a_recording_for_every_profile():
    assert {profile.entry for profile in mibs.PROFILES.values()} == {one.entry for one in RECORDINGS.values()}


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_device_is_found_out_and_its_sessions_are_what_they_are(name, engine):
    recording = RECORDINGS[name]

    async def scenario():
        async with Agent(recording.table) as agent, polling(target(agent.port, engine)) as (poller, heard):
            first = await heard.whole()
            profile = poller.profile_of("edge")
            assert profile is not None
            assert (profile.entry, profile.column("state")) == (recording.entry, recording.state)
            return misunderstood(recording, first.observations), agent.asked

    wrong, asked = asyncio.run(scenario())
    assert wrong == []
    keys = {oid for oid, (_, text) in recording.cells.items() if "key that nobody may read" in text}
    assert not keys & asked


@pytest.mark.parametrize("name", RECORDINGS)
def test_each_number_of_a_state_is_that_state(name):
    recording = RECORDINGS[name]
    place = f"{recording.state}.{recording.sessions[0].index}"

    async def scenario():
        async with Agent(recording.table) as agent, polling(target(agent.port, "auto", interval=0.02)) as (_, heard):
            await heard.whole()
            for state in (State.INIT, State.ADMIN_DOWN, State.DOWN, State.UP):
                start = heard.now
                agent.table.put(place, integer(recording.states[state]))
                seen = await heard.observed(lambda one: one.details["index"] == recording.sessions[0].index, start)
                while seen.state is not state:  # what was asked for before the change
                    start += 1
                    seen = await heard.observed(lambda one: one.details["index"] == recording.sessions[0].index, start)
            return [
                seen.state
                for message in heard.messages
                for seen in observations(message)
                if seen.details["index"] == recording.sessions[0].index
            ]

    told = asyncio.run(scenario())
    assert list(dict.fromkeys(told)) == [State.UP, State.INIT, State.ADMIN_DOWN, State.DOWN]
    assert told[-1] is State.UP


@pytest.mark.parametrize("name", COUNTED)
def test_a_flap_between_two_polls_is_in_the_counters(name):
    recording = RECORDINGS[name]
    told = recording.sessions[0]

    async def scenario():
        async with Agent(recording.table) as agent, polling(target(agent.port, "auto", interval=0.02)) as (_, heard):
            first = found(told, (await heard.whole()).observations)
            for what, column in recording.counters.items():
                agent.table.put(f"{column}.{told.index}", counter32(getattr(told, what) + 5))
            wanted = {what: getattr(told, what) + 5 for what in recording.counters}
            seen = await heard.observed(
                lambda one: (
                    one.details["index"] == told.index
                    and all(getattr(one, what) == count for what, count in wanted.items())
                )
            )
            return first, seen

    first, seen = asyncio.run(scenario())
    assert first.state is seen.state is State.UP
    assert {what: getattr(first, what) for what in recording.counters} == {
        what: getattr(told, what) for what in recording.counters
    }


@pytest.mark.parametrize("name", NUMBERED)
def test_rows_that_a_reboot_numbers_anew_keep_their_names(name):
    recording = RECORDINGS[name]
    anew = {told.index: str(9_000 - place) for place, told in enumerate(recording.sessions)}

    async def scenario():
        async with Agent(recording.table) as agent, polling(target(agent.port, "auto")) as (poller, heard):
            first = await heard.whole()
            start = heard.now
            for before, after in anew.items():
                agent.table.renumber(before, after, *recording.entries)
            agent.up_time = 500
            place = await heard.until(
                lambda said: (
                    complete(said) and {seen.details["index"] for seen in said.observations} == {*anew.values()}
                ),
                start,
            )
            missing = {one for said in heard.messages for one, state in states(said).items() if state is State.MISSING}
            return first.observations, heard.messages[place].observations, missing, poller.counters.restarts

    first, second, missing, restarts = asyncio.run(scenario())
    assert missing == set()
    assert restarts >= 1
    names = {anew[seen.details["index"]]: seen.session.name for seen in first}
    assert {seen.details["index"]: seen.session.name for seen in second} == names


def test_every_device_answers_version_1_the_same():
    async def scenario():
        async with AsyncExitStack() as stack:
            agents = {name: await stack.enter_async_context(Agent(one.table)) for name, one in RECORDINGS.items()}
            targets = [
                target(agent.port, "pysnmp", name, version="1", interval=5.0, timeout=10.0)
                for name, agent in agents.items()
            ]
            _, heard = await stack.enter_async_context(polling(*targets))
            return {
                name: misunderstood(one, (await heard.whole(device=name)).observations)
                for name, one in RECORDINGS.items()
            }

    assert asyncio.run(scenario()) == {name: [] for name in RECORDINGS}


def test_intervals_are_told_in_microseconds():
    async def scenario():
        told = {}
        for name, recording in RECORDINGS.items():
            async with Agent(recording.table) as agent:
                client = connect(target(agent.port, "auto"))
                try:
                    table = await read_table(client, BY_ENTRY[recording.entry], "edge")
                finally:
                    await client.close()
                told[name] = {each.index: each.details for each in table.sessions}
        return told

    for name, details in asyncio.run(scenario()).items():
        for session in RECORDINGS[name].sessions:
            said = {value for cell, value in details[session.index].items() if cell in INTERVALS}
            assert said == ({session.interval} if session.interval is not None else set()), (name, session.index)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (recordings.bfd_std, recordings.cisco),
        (recordings.huawei, lambda: recordings.h3c("1.3.6.1.4.1.2011.10.2.72")),
        (recordings.nokia, recordings.nokia_old),
        (recordings.cisco, recordings.sdwan),
    ],
)
def test_of_two_tables_with_rows_the_one_that_says_more_is_read(first, second, engine):
    async def scenario():
        both = first().with_cells(second())
        async with Agent(both.table) as agent, polling(target(agent.port, engine)) as (_, heard):
            return misunderstood(both, (await heard.whole()).observations)

    assert asyncio.run(scenario()) == []


def test_a_table_without_rows_does_not_hide_one_with_rows(engine):
    standard, cisco = recordings.bfd_std(), recordings.cisco()

    async def scenario():
        empty = {"1.3.6.1.2.1.222.1.1.1.0": integer(1), "1.3.6.1.2.1.222.1.1.3.0": integer(2)}
        async with Agent({**cisco.table, **empty}) as agent, polling(target(agent.port, engine)) as (poller, heard):
            one = misunderstood(cisco, (await heard.whole()).observations)
            start = heard.now
            for oid, said in standard.table.items():  # another box behind the same address
                agent.table.put(oid, said)
            for told in cisco.sessions:
                agent.table.drop_row(told.index, *cisco.entries)
            agent.up_time = 100
            await heard.until(
                lambda said: complete(said) and not misunderstood(standard, observations(said)), start, patience=10.0
            )
            return one, poller.profile_of("edge").entry

    assert asyncio.run(scenario()) == ([], standard.entry)


def test_vrfs_behind_communities_are_views_of_their_own(engine):
    blue, red = recordings.cisco(), recordings.cisco()

    async def scenario():
        views = {"public@red": red.table}
        contexts = (Context(""), Context("red", Secret("public@red")))
        # The same peers in both, but other discriminators: agents that show every VRF everywhere repeat them.
        views["public@red"] |= {
            f"{red.entry}.3.{told.index}": integer(told.discriminator + 5_000) for told in red.sessions
        }
        async with (
            Agent(blue.table, views=views) as agent,
            polling(target(agent.port, engine, contexts=contexts)) as (_, heard),
        ):
            whole = await heard.whole()
            start = heard.now
            agent.tables[b"public@red"].put(f"{red.state}.{red.sessions[0].index}", integer(2))
            down = await heard.observed(
                lambda one: one.state is State.DOWN and one.session.peer == red.sessions[0].peer, start
            )
            return whole.observations, down

    seen, down = asyncio.run(scenario())
    assert len({one.session.name for one in seen}) == len(seen) == 2 * len(blue.sessions)
    assert sum(one.session.vrf == "red" for one in seen) == len(red.sessions)
    assert all("%red" in one.session.name for one in seen if one.session.vrf == "red")
    assert down.session.vrf == "red"
    assert misunderstood(blue, tuple(one for one in seen if one.session.vrf is None)) == []


def test_a_clock_that_wraps_is_no_restart(engine):
    recording = recordings.bfd_std()

    async def scenario():
        async with Agent(recording.table) as agent:
            agent.up_time = 2**32 - 50
            async with polling(target(agent.port, engine, interval=0.05)) as (poller, heard):
                await heard.whole()
                while agent.up_time > 2**31:  # noqa: ASYNC110 - nobody is told of it
                    await asyncio.sleep(0.05)
                start = heard.now
                await heard.until(lambda _: heard.now > start + 5)
                return poller.counters.restarts, [states(said) for said in heard.messages[start:]]

    restarts, rounds = asyncio.run(scenario())
    assert restarts == 0
    assert all(State.MISSING not in said.values() for said in rounds)
    assert all(len(said) == len(recording.sessions) for said in rounds)
