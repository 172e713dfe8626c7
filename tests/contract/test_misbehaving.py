"""Agents that misbehave on purpose, asked by both engines: never a wrong state, never a session gone for an error.

What comes of a fault is either what the device truly says or one sentence for the operator, within the deadlines, with
nothing left behind; and once the agent behaves, everything is read again.
"""

import asyncio
import gc
import os
import re
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest
from lab.agent import (
    GEN_ERR,
    GET,
    NO_SUCH_INSTANCE,
    NO_SUCH_OBJECT,
    NULL,
    TOO_BIG,
    Agent,
    Answer,
    Babbles,
    Cells,
    Delays,
    Drops,
    Duplicates,
    Elsewhere,
    EndsEarly,
    Fault,
    Ignores,
    NeverEnds,
    Reorders,
    Says,
    StandsStill,
    TooBig,
    Truncates,
    Turns,
    counter64,
    error,
    integer,
    mixed,
    no_response,
    nothing,
    nulls,
    octets,
    shifted,
    shortened,
    wrong_community,
    wrong_number,
    wrong_version,
)
from lab.listening import COMMUNITY, complete, observations, polling, states, target
from lab.recordings import bfd_std

from exabgp_bfd.core.credentials import User
from exabgp_bfd.core.model import Observation, Poll, Secret, Silence, SourceError, State
from exabgp_bfd.sources.snmp import column
from exabgp_bfd.sources.snmp.client import connect

T = TypeVar("T")

DEVICE = bfd_std()
STATE = DEVICE.state
PEER = f"{DEVICE.entry}.22"
INDEXES = [told.index for told in DEVICE.sessions]
TRUTH = {f"{STATE}.{told.index}": DEVICE.states[told.state] for told in DEVICE.sessions}
USER = User("noc", "sha256", Secret("a pass phrase"), "aes128", Secret("another one"))
NAMES = {told.index: told.state for told in DEVICE.sessions}
LONG = 9_000
"""Octets that a careful agent would not send in one string."""


def gets(request) -> bool:
    return request.kind == GET


def lie(answer: Answer) -> Answer:
    """What a spoofer would say: all of it down."""
    return replace(answer, varbinds=tuple((oid, integer(2)) for oid, _ in answer.varbinds))


@dataclass(frozen=True)
class Case:
    """A fault; what GETs and walks come to under it (the values, or errors of which this is true), and for whom."""

    fault: Callable[[], Fault]
    get: str | None = None
    """None: the true values, however long it takes; "either": or an error; "anything": a lie that nobody can see; else
    a pattern of what the error says."""
    walk: str | None = None


CASES = {
    "drops every second": Case(lambda: Drops(every=2)),
    "drops all": Case(Drops, "no answer", "no answer"),
    "drops all walks": Case(lambda: Drops(about=lambda request: not gets(request)), None, "no answer"),
    "slow": Case(lambda: Delays(seconds=0.05)),
    "too slow": Case(lambda: Delays(seconds=2.6), "either", "either"),
    "every second too slow": Case(lambda: Delays(seconds=1.0, every=2)),
    "in another order": Case(Reorders),
    "each answer thrice": Case(Duplicates),
    "each answer again, later": Case(lambda: Duplicates(copies=2, apart=0.02)),
    "cut to half": Case(Truncates, "no SNMP response", "no SNMP response"),
    "cut by an octet or two": Case(lambda: Truncates(percent=99), "no SNMP response", "no SNMP response"),
    "cut to nothing": Case(lambda: Truncates(percent=0), "no SNMP response|no answer", "no SNMP response|no answer"),
    "every second cut": Case(lambda: Truncates(every=2), "either", "either"),
    "from elsewhere": Case(lambda: Elsewhere(lie=lie), "no answer", "no answer"),
    "another number": Case(wrong_number, "no answer", "no answer"),
    "another community": Case(wrong_community, "either", "either"),
    "another version": Case(wrong_version, "no SNMP response|no answer", "no SNMP response|no answer"),
    "no response": Case(no_response, "no SNMP response|no answer", "no SNMP response|no answer"),
    "babble": Case(Babbles, "no SNMP response", "no SNMP response"),
    "babble before each answer": Case(lambda: Babbles(instead=False)),
    "a message that is no message": Case(
        lambda: Babbles(octets=b"\x30\x0c\x02\x01\x01\x04\x06public\xa2\x00"), "no", "no"
    ),
    "genErr": Case(error, "answered genErr", "answered genErr"),
    "genErr to every second": Case(lambda: error(every=2), "either", "either"),
    "genErr to GET": Case(lambda: error(about=gets), "answered genErr", None),
    "genErr with an index out of range": Case(lambda: error(GEN_ERR, 4_000), "answered genErr", "answered genErr"),
    "authorizationError": Case(lambda: error(16, 0), "answered authorizationError", "answered authorizationError"),
    "an error that is none": Case(lambda: error(99, 0), "answered error 99", "answered error 99"),
    "noSuchName in version 2c": Case(lambda: error(2, 1), "answered noSuchName", "answered noSuchName"),
    "tooBig for ever": Case(lambda: error(TOO_BIG, 0), "tooBig for a single value", "answered tooBig|tooBig for"),
    "tooBig above 3 values": Case(lambda: TooBig(varbinds=3)),
    "tooBig above 200 octets": Case(lambda: TooBig(octets=200)),
    "tooBig above 60 octets": Case(lambda: TooBig(octets=60), "either", "either"),
    "nothing at all": Case(nothing, "without a value", "nothing at all"),
    "nulls": Case(nulls, "without a value", "answered NULL"),
    "the OIDs of others": Case(shifted, "without a value", "anything"),
    "the last value left out": Case(shortened, "without a value", "either"),
    "values in another order": Case(mixed, None, "either"),
    "more than was asked for": Case(
        lambda: Says(change=lambda _, answer: replace(answer, varbinds=(*answer.varbinds, ((2, 5), integer(1)))))
    ),
    "each value twice": Case(
        lambda: Says(change=lambda _, answer: replace(answer, varbinds=answer.varbinds * 2)), None, "either"
    ),
    "a walk that turns": Case(lambda: Turns(column=STATE), None, "went backwards"),
    "a walk that turns to elsewhere": Case(lambda: Turns(column=STATE, to="1.3.6.1.2.1.1.1.0"), None, "went backwards"),
    "a walk that stands still": Case(lambda: StandsStill(column=STATE), None, "went backwards"),
    "a walk that never ends": Case(lambda: NeverEnds(column=STATE), None, "more than 300 rows"),
}


@pytest.fixture(params=["pysnmp", "gufo"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "gufo":
        pytest.importorskip("gufo.snmp")
    return request.param


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column, "MAX_ROWS", 300)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a path for each would cost more


async def nothing_left(before: tuple[int, int]) -> None:
    """Waits until there are no more tasks and descriptors than before."""
    async with asyncio.timeout(10):
        while (len(asyncio.all_tasks()), descriptors()) > before:
            gc.collect()
            await asyncio.sleep(0.02)
    assert (len(asyncio.all_tasks()), descriptors()) <= before


async def one_after_another(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Begins them so, for they share a processor and have deadlines; most of their time they wait."""

    async def begun(place: int, one: Coroutine[Any, Any, T]) -> T:
        await asyncio.sleep(place * 0.03)
        return await one

    return await asyncio.gather(*(begun(place, one) for place, one in enumerate(work)))


# --- one client ---------------------------------------------------------------------------------------------------


async def asked(work) -> object:
    """What a question came to: its answer, or the error that it ended in; anything else escapes."""
    try:
        async with asyncio.timeout(20):
            return await work
    except SourceError as trouble:
        text = str(trouble)
        assert "\n" not in text
        assert COMMUNITY not in text
        assert text.startswith("no answer from 127.0.0.1:") or "127.0.0.1:" in text.split(maxsplit=1)[0], text
        return trouble


def misread(wanted: str | None, told: object, truth: object) -> str | None:
    if told == truth:
        return None if wanted in {None, "either"} else f"answered though {wanted!r} was due"
    if not isinstance(told, SourceError):
        return None if wanted == "anything" else f"answered {told!r}"
    if wanted is None:
        return f"failed: {told}"
    return None if wanted in {"either", "anything"} or re.search(wanted, str(told)) else f"said {told}"


async def one_client(case: Case, engine: str, version: str) -> list[str]:
    """What is wrong with what a client makes of a fault."""
    user = USER if version == "3" else None
    async with Agent(DEVICE.table, users=() if user is None else (user,)) as agent:
        client = connect(target(agent.port, engine, version=version, user=user, timeout=0.8, retries=2))
        try:
            fault = case.fault()
            agent.suffers(fault)
            wrong = []
            for _ in range(2):
                many = [asked(client.get([*TRUTH])), asked(client.get([f"{STATE}.{INDEXES[0]}"]))]
                first, second = await asyncio.gather(*many)
                walked = await asked(client.walk(STATE))
                wrong += [
                    f"GET {trouble}"
                    for told, truth in ((first, TRUTH), (second, {f"{STATE}.{INDEXES[0]}": 4}))
                    if (trouble := misread(case.get, told, truth)) is not None
                ]
                trouble = misread(case.walk, walked, list(TRUTH.items()))
                wrong += [] if trouble is None else [f"walk {trouble}"]
            if not fault.done:
                wrong.append("nothing was done to anybody")
            agent.behaves()
            await asyncio.sleep(0.1)  # what was delayed may still come, and must not be taken for the next answer
            if await asked(client.get([*TRUTH])) != TRUTH:
                wrong.append("did not recover")
            if await asked(client.walk(STATE)) != [*TRUTH.items()]:
                wrong.append("does not walk any more")
        finally:
            await client.close()
    return wrong


def test_a_client_tells_the_truth_or_says_what_is_wrong(engine):
    async def scenario():
        before = (len(asyncio.all_tasks()), descriptors())
        found = await one_after_another(one_client(case, engine, "2c") for case in CASES.values())
        await nothing_left(before)
        return {name: wrong for name, wrong in zip(CASES, found, strict=True) if wrong}

    assert asyncio.run(scenario()) == {}


VERSION_1 = [
    *("drops all", "in another order", "each answer again, later", "cut to half"),
    *("from elsewhere", "another number", "another version", "genErr", "nothing at all", "a walk that turns"),
    *("a walk that stands still", "tooBig above 3 values"),
]


def test_version_1_as_well():
    async def scenario():
        before = (len(asyncio.all_tasks()), descriptors())
        found = await one_after_another(one_client(CASES[name], "pysnmp", "1") for name in VERSION_1)
        await nothing_left(before)
        return {name: wrong for name, wrong in zip(VERSION_1, found, strict=True) if wrong}

    assert asyncio.run(scenario()) == {}


VERSION_3 = {
    name: case
    for name, case in CASES.items()
    if name not in {"another community", "another version", "babble", "a message that is no message"}
}
# What no response of its own user says, is not one: it is refused before anybody looks at its kind or number.
VERSION_3 |= {
    name: Case(CASES[name].fault, "no answer|no SNMP response", "no answer|no SNMP response")
    for name in ("another number", "no response", "cut to half", "cut by an octet or two", "cut to nothing")
}


def test_version_3_as_well():
    async def scenario():
        before = (len(asyncio.all_tasks()), descriptors())
        found = await one_after_another(one_client(case, "auto", "3") for case in VERSION_3.values())
        await nothing_left(before)
        return {name: wrong for name, wrong in zip(VERSION_3, found, strict=True) if wrong}

    assert asyncio.run(scenario()) == {}


def test_version_3_of_an_agent_that_restarts_and_of_another_box_at_its_address():
    async def scenario():
        async with (
            Agent(DEVICE.table, users=(USER,)) as agent,
            polling(target(agent.port, "auto", version="3", user=USER, interval=0.1, timeout=0.6)) as (poller, heard),
        ):
            await heard.whole()
            proofs = []
            for engine_id in (None, b"\x80\x00\x1f\x88\x04other box"):
                start = heard.now
                agent.restart(engine_id)
                await heard.until(lambda said: len(observations(said)) == len(NAMES), start)
                await heard.until(lambda said: len(observations(said)) == len(NAMES), heard.now)
                silences = sum(isinstance(said, Silence) for said in heard.messages[start:])
                proofs.append((silences <= 2, poller.security("edge").engine_id == agent.authority.engine_id))
            return proofs, [trouble for said in heard.messages for trouble in wrongly(said, NAMES)]

    assert asyncio.run(scenario()) == ([(True, True)] * 2, [])


@pytest.mark.parametrize("absent", [NO_SUCH_INSTANCE, NO_SUCH_OBJECT], ids=["noSuchInstance", "noSuchObject"])
def test_a_single_cell_that_is_not_there_is_absent_and_no_other(engine, absent):
    cell, others = f"{STATE}.{INDEXES[1]}", {oid: said for oid, said in TRUTH.items() if not oid.endswith(INDEXES[1])}

    async def scenario():
        async with Agent(DEVICE.table) as agent:
            client = connect(target(agent.port, engine))
            try:
                agent.suffers(Cells(said={cell: absent}))
                return await asked(client.get([*TRUTH])), await asked(client.walk(STATE))
            finally:
                await client.close()

    got, walked = asyncio.run(scenario())
    assert got == others
    assert isinstance(walked, SourceError) or walked == [*others.items()]


ODD = {
    "a Counter64 that is full": (counter64(2**64 - 1), 2**64 - 1),
    "a Counter64 of the 32nd bit": (counter64(2**32), 2**32),
    "a Counter64 of the 64th bit": (counter64(2**63), 2**63),
    "an INTEGER below zero": (integer(-1), -1),
    "the least INTEGER": (integer(-(2**31)), -(2**31)),
    "the greatest INTEGER": (integer(2**31 - 1), 2**31 - 1),
    "a Gauge32 that is full": (b"\x42\x05\x00\xff\xff\xff\xff", 2**32 - 1),
    "a Counter32 that is full": (b"\x41\x05\x00\xff\xff\xff\xff", 2**32 - 1),
    "TimeTicks that are full": (b"\x43\x05\x00\xff\xff\xff\xff", 2**32 - 1),
    "an empty string": (octets(b""), b""),
    "a long string": (octets(b"\xff" * LONG), b"\xff" * LONG),
    "a string of zeros": (octets(bytes(300)), bytes(300)),
    "an IpAddress": (b"\x40\x04\xcb\x00\x71\x01", "203.0.113.1"),
    "an OID": (b"\x06\x03\x2b\x06\x01", "1.3.6.1"),
}


def test_values_at_their_edges(engine):
    places = {f"1.3.6.1.4.1.99999.1.{number}.0": name for number, name in enumerate(ODD, 1)}

    async def scenario():
        async with Agent({oid: ODD[name][0] for oid, name in places.items()}) as agent:
            client = connect(target(agent.port, engine))
            try:
                got = {name: await client.get([oid]) for oid, name in places.items()}
                return got, await client.walk("1.3.6.1.4.1.99999.1")
            finally:
                await client.close()

    got, walked = asyncio.run(scenario())
    assert got == {name: {oid: ODD[name][1]} for oid, name in places.items()}
    assert walked == [(oid, ODD[name][1]) for oid, name in places.items()]


# Written so that BER allows them, though no such type does: whatever is made of them, nothing may break.
IMPOSSIBLE = {
    "a negative Counter32": b"\x41\x01\xff",
    "a Counter64 below zero": b"\x46\x08" + b"\xff" * 8,
    "a Gauge32 of 9 octets": b"\x42\x09\x01" + bytes(8),
    "an INTEGER of no octet": b"\x02\x00",
    "an INTEGER of 20 octets": b"\x02\x14\x01" + bytes(19),
    "an IpAddress of 3 octets": b"\x40\x03\x01\x02\x03",
    "an OID of no octet": b"\x06\x00",
    "an OID that breaks off": b"\x06\x02\x2b\x86",
    "a SEQUENCE": b"\x30\x03\x02\x01\x04",
    "a BOOLEAN": b"\x01\x01\xff",
    "an Opaque": b"\x44\x03\x9f\x78\x00",
    "a constructed string": b"\x24\x06\x04\x01a\x04\x01b",
    "a NULL": NULL,
}


def test_values_that_cannot_be_are_errors_or_odd_but_never_a_state(engine):
    place = f"{STATE}.{INDEXES[0]}"

    async def one(said: bytes) -> object:
        async with Agent({**DEVICE.table, place: said}) as agent:
            client = connect(target(agent.port, engine, timeout=0.3, retries=0))
            try:
                got, walked = await asked(client.get([place])), await asked(client.walk(STATE))
                agent.table.put(place, integer(4))
                again = await asked(client.get([place]))
            finally:
                await client.close()
            return got, walked, again

    async def scenario():
        return dict(zip(IMPOSSIBLE, await asyncio.gather(*map(one, IMPOSSIBLE.values())), strict=True))

    for name, (got, walked, again) in asyncio.run(scenario()).items():
        value = None if isinstance(got, SourceError) else got.get(place)
        assert value not in DEVICE.states.values(), name
        assert isinstance(got, SourceError) or value is not None, f"{name} made a row missing"
        # gufo_snmp leaves a row that is NULL out of a walk; the poller asks for it before it is gone (`POLLED` below).
        left_out = int(engine == "gufo" and name == "a NULL")
        assert isinstance(walked, SourceError) or len(walked) == len(TRUTH) - left_out, name
        assert again == {place: 4}, name


@pytest.mark.parametrize("arc", [2**32, 2**40, 2**70])
def test_an_oid_beyond_32_bits_is_an_error_or_left(engine, arc):
    """RFC 2578 section 3.5 has no such number, and nobody can ask for it."""

    async def scenario():
        async with Agent({**DEVICE.table, f"{STATE}.{arc}": integer(4)}) as agent:
            client = connect(target(agent.port, engine, timeout=0.3, retries=0))
            try:
                return await asked(client.walk(STATE)), await asked(client.next([f"{STATE}.{INDEXES[-1]}"]))
            finally:
                await client.close()

    walked, following = asyncio.run(scenario())
    assert isinstance(walked, SourceError) or walked == [*TRUTH.items()]
    assert isinstance(following, SourceError | dict)


def test_a_path_that_swallows_large_datagrams_is_an_error_or_overcome(engine):
    async def scenario():
        async with Agent(DEVICE.table) as agent:
            client = connect(target(agent.port, engine, timeout=0.2, retries=1))
            try:
                swallows = Ignores(octets=150)
                agent.suffers(swallows)
                small = await asked(client.get([f"{STATE}.{INDEXES[0]}"]))
                large = [await asked(client.get([*TRUTH])) for _ in range(6)]
                agent.behaves()
                return small, large, await asked(client.get([*TRUTH]))
            finally:
                await client.close()

    small, large, after = asyncio.run(scenario())
    assert small == {f"{STATE}.{INDEXES[0]}": 4}
    assert all(told == TRUTH or (isinstance(told, SourceError) and "no answer" in str(told)) for told in large)
    assert after == TRUTH


# --- the poller ---------------------------------------------------------------------------------------------------


def wrongly(message: Poll | Silence, truth: dict[str, State]) -> list[str]:
    """What a message says that is not so."""
    if isinstance(message, Silence):
        return [] if message.reason and "\n" not in message.reason else [f"the silence {message.reason!r}"]
    return [
        f"{seen.session.name} {seen.state}"
        for seen in message.observations
        if truth.get((seen.details or {}).get("index", "")) is not seen.state
    ]


async def one_poller(fault: Fault, engine: str) -> list[str]:
    """What is wrong with what a poller tells of a device whose agent has a fault for a while."""
    async with Agent(DEVICE.table) as agent:
        edge = target(agent.port, engine, interval=0.25, timeout=0.8, retries=1)
        async with polling(edge, rediscover=0.5) as (_, heard):
            await heard.whole()
            agent.suffers(fault)
            place, walks = heard.now, len(agent.requests)
            # So long that both rounds and walks have met the fault, however the device is asked meanwhile.
            while fault.done < 4 or heard.now < place + 3 or not _walked(agent, walks):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            agent.behaves()
            wrong = [trouble for said in heard.messages for trouble in wrongly(said, NAMES)]
            # While it misbehaved, one session went down, and the device must be believed again.
            agent.table.put(f"{STATE}.{INDEXES[0]}", integer(2))
            after = {**NAMES, INDEXES[0]: State.DOWN}
            start = heard.now
            try:
                await heard.until(lambda said: not wrongly(said, after) and len(observations(said)) == 8, start)
            except TimeoutError:
                wrong.append(f"did not recover: {heard.messages[-1]}")
            # A row that the agent made up, in a walk under way as it came to its senses, is honestly gone.
            wrong += [
                f"{seen.session.name} gone"
                for said in heard.messages[start:]
                for seen in observations(said)
                if seen.state is State.MISSING and _index(seen) in NAMES
            ]
            return wrong


def _walked(agent: Agent, start: int) -> bool:
    """Whether somebody has tried to walk, or has given up asking."""
    return any(request.kind != GET for request in agent.requests[start:])


POLLED = {
    name: case.fault
    for name, case in CASES.items()
    if name not in {"in another order", "each answer thrice", "slow", "another community"} and "second" not in name
}
POLLED |= {
    "drops every second": lambda: Drops(every=2),
    "every second cut": lambda: Truncates(every=2),
    "every second too slow": lambda: Delays(seconds=1.0, every=2),
    "genErr to every second": lambda: error(every=2),
    "a state that is text": lambda: Cells(said={f"{STATE}.{INDEXES[0]}": octets(b"up")}),
    "a state below zero": lambda: Cells(said={f"{STATE}.{INDEXES[0]}": integer(-4)}),
    "a state that is none": lambda: Cells(said={f"{STATE}.{INDEXES[0]}": integer(9)}),
    "an up-count that is full": lambda: Cells(said={f"1.3.6.1.2.1.222.1.3.1.12.{INDEXES[0]}": counter64(2**64 - 1)}),
    "an up-count that is text": lambda: Cells(said={f"1.3.6.1.2.1.222.1.3.1.12.{INDEXES[0]}": octets(b"3")}),
    "no up-count all at once": lambda: Cells(said={f"1.3.6.1.2.1.222.1.3.1.12.{INDEXES[0]}": NO_SUCH_INSTANCE}),
    "a sysUpTime that is text": lambda: Cells(said={"1.3.6.1.2.1.1.3.0": octets(b"long")}),
    "no sysUpTime": lambda: Cells(said={"1.3.6.1.2.1.1.3.0": NO_SUCH_OBJECT}),
    "a row that walks leave out": lambda: Cells(
        said={f"{STATE}.{INDEXES[0]}": NO_SUCH_INSTANCE}, about=lambda request: not gets(request)
    ),
    "a row that is NULL in walks": lambda: Cells(
        said={f"{STATE}.{INDEXES[0]}": NULL}, about=lambda request: not gets(request)
    ),
    "a name of an interface that is a book": lambda: Cells(said={"1.3.6.1.2.1.31.1.1.1.1.10": octets(b"x" * LONG)}),
    "a walk that ends early": lambda: EndsEarly(column=STATE, rows=2),
    "a walk that ends at once": lambda: EndsEarly(column=STATE, rows=0),
    "large datagrams swallowed": lambda: Ignores(octets=200),
}


def test_a_poller_tells_nothing_wrong_and_recovers(engine):
    async def scenario():
        before = (len(asyncio.all_tasks()), descriptors())
        async with asyncio.timeout(120):
            found = await one_after_another(one_poller(fault(), engine) for fault in POLLED.values())
        await nothing_left(before)
        return {name: sorted(set(wrong)) for name, wrong in zip(POLLED, found, strict=True) if wrong}

    assert asyncio.run(scenario()) == {}


def test_a_row_that_is_honestly_gone_is_told_after_a_walk_and_comes_back(engine):
    async def scenario():
        async with (
            Agent(DEVICE.table) as agent,
            polling(target(agent.port, engine, interval=0.05)) as (_, heard),
        ):
            name = next(seen.session.name for seen in (await heard.whole()).observations if _index(seen) == INDEXES[0])
            kept = {oid: said for oid, said in agent.table.cells.items() if str(oid[-1]) == INDEXES[0]}
            start, walks = heard.now, len(agent.requests)
            agent.table.drop_row(INDEXES[0], *DEVICE.entries)
            await heard.until(lambda said: states(said).get(name) is State.MISSING, start)
            walked = _walked(agent, walks)
            for oid, said in kept.items():
                agent.table.put(oid, said)
            start = heard.now
            await heard.until(lambda said: states(said).get(name) is State.UP, start)
            return walked

    assert asyncio.run(scenario())


def test_rows_that_come_and_go_between_polls(engine):
    """One goes and another one comes under its index; one comes and goes again before anybody looked."""
    cells = {oid: said for oid, said in DEVICE.table.items() if oid.endswith(f".{INDEXES[0]}")}

    async def scenario():
        async with (
            Agent(DEVICE.table) as agent,
            polling(target(agent.port, engine, interval=0.05), rediscover=0.1) as (_, heard),
        ):
            await heard.whole()
            start = heard.now
            agent.table.put(f"{PEER}.{INDEXES[0]}", octets(bytes((192, 0, 2, 77))))
            agent.table.put(f"{STATE}.{INDEXES[0]}", integer(2))
            new = await heard.observed(lambda seen: str(seen.session.peer) == "192.0.2.77", start)
            gone = await heard.observed(
                lambda seen: str(seen.session.peer) == "192.0.2.1" and seen.state is State.MISSING, start
            )
            for oid, said in cells.items():
                agent.table.put(f"{oid.rpartition('.')[0]}.999", said)
            agent.table.drop_row("999", *DEVICE.entries)
            place = heard.now
            await heard.until(complete, place)
            return new, gone, [states(said) for said in heard.messages[place:]]

    new, gone, rest = asyncio.run(scenario())
    assert new.state is State.DOWN
    assert gone.session.name == "192.0.2.1"
    assert all(said.get("192.0.2.1") in {None, State.MISSING} for said in rest)


def _index(seen: Observation) -> object:
    return (seen.details or {}).get("index")


def test_the_agents_answers_are_those_of_its_table(engine):
    """The agent itself is right while it has no fault, or all of this would prove nothing."""

    async def scenario():
        async with Agent(DEVICE.table) as agent:
            client = connect(target(agent.port, engine))
            try:
                return await client.get([*TRUTH]), await client.walk(STATE), agent.strange
            finally:
                await client.close()

    assert asyncio.run(scenario()) == (TRUTH, [*TRUTH.items()], 0)
