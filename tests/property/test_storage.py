"""Storage against plain Python: every question is answered as a filter over a list would, every route comes back."""

import json
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exabgp_bfd.core.model import (
    Action,
    Clock,
    Diagnostic,
    Event,
    EventQuery,
    Lift,
    Notification,
    Observation,
    Order,
    Override,
    Poll,
    Restored,
    Route,
    Session,
    Silence,
    Source,
    Stall,
    Start,
    State,
    Stop,
    Watchdog,
    Webhook,
)
from exabgp_bfd.storage import database
from exabgp_bfd.storage.inputs import InputLog
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.queries import details_text, order_from, order_text, route_from, route_text
from exabgp_bfd.storage.reader import Reader

addresses = st.ip_addresses()
prefixes = st.tuples(addresses, st.integers(0, 32)).map(lambda pair: ip_network(pair, strict=False))
routes = st.builds(
    Route,
    prefix=prefixes,
    next_hop=st.one_of(st.just("self"), addresses),
    neighbors=st.lists(addresses, max_size=3).map(tuple),
    med=st.none() | st.integers(0, 2**32 - 1),
    local_preference=st.none() | st.integers(0, 2**32 - 1),
    communities=st.lists(st.text(max_size=12), max_size=3).map(tuple),
    large_communities=st.lists(st.text(max_size=12), max_size=3).map(tuple),
    extended_communities=st.lists(st.text(max_size=12), max_size=3).map(tuple),
    as_path=st.lists(st.integers(0, 2**32 - 1), max_size=3).map(tuple),
)

plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.binary(),
        addresses,
        st.frozensets(st.text()),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=10,
)

PARTS = 2
"""Four ids a part, so that a few events make many."""

times = st.integers(0, 40)
names = st.sampled_from(["a", "b", "snmp_poll"])
maybe = st.none() | names
events = st.lists(st.tuples(times, st.builds(Event, st.just(0), names, maybe, maybe, maybe)), min_size=1, max_size=30)
queries = st.builds(
    EventQuery,
    limit=st.integers(0, 40),
    device=maybe,
    session=maybe,
    service=maybe,
    event_type=maybe,
    since=st.none() | times,
    until=st.none() | times,
    before=st.none() | st.integers(0, 35),
)


seconds = st.floats(0, 2**33)
lifts = st.builds(Lift, st.text(), st.text(), seconds, st.none() | seconds)
overrides = st.builds(Override, st.text(), st.sampled_from(Action), st.text(), st.text(), seconds, st.none() | seconds)


@settings(deadline=None)
@given(lifts | overrides)
def test_an_order_comes_back_as_it_was(order: Override | Lift) -> None:
    assert order_from(order_text(order)) == order


@settings(deadline=None)
@given(routes | st.builds(Watchdog, st.text()))
def test_a_route_comes_back_as_it_was(route: Route | Watchdog) -> None:
    assert route_from(route_text(route)) == route


@settings(deadline=None)
@given(st.dictionaries(st.text(), plain, max_size=4))
def test_details_are_always_json(details: dict) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    read = json.loads(details_text(details), parse_constant=refuse)
    assert set(read) == set(details)


@pytest.fixture
def small_parts(monkeypatch) -> None:
    monkeypatch.setattr(database, "PART", PARTS)


def matches(query: EventQuery, ts: int, event: Event) -> bool:
    asked = [
        (query.device, event.device),
        (query.session, event.session),
        (query.service, event.service),
        (query.event_type, event.event_type),
    ]
    return (
        all(wanted is None or wanted == found for wanted, found in asked)
        and (query.since is None or ts >= query.since)
        and (query.until is None or ts <= query.until)
        and (query.before is None or event.id < query.before)
    )


@pytest.mark.usefixtures("small_parts")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=events, asked=st.lists(queries, min_size=1, max_size=20))
def test_a_question_is_answered_as_by_a_filter(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[int, Event]], asked: list[EventQuery]
) -> None:
    """Also where the wall clock ran backwards, which a range of times must not be fooled by."""
    path: Path = tmp_path_factory.mktemp("journal") / "journal.db"
    numbered = [
        (ts, Event(number, event.event_type, event.device, event.session, event.service))
        for number, (ts, event) in enumerate(told, 1)
    ]
    journal = Journal(path, "fra1", batch_seconds=0.0)
    journal.open()
    journal.start()
    reader = Reader(path)
    try:
        for ts, event in numbered:
            journal.record(event, ts)
        journal.flushed().result(20)
        for query in asked:
            wanted = [event for ts, event in reversed(numbered) if matches(query, ts, event)][: query.limit]
            assert [stored.event for stored in reader.events(query)] == wanted
    finally:
        reader.close()
        assert journal.stop(20)


# --- the input log ---

sessions = [
    Session("a", "x"),
    Session("a", "z", vrf="red", multihop=False),
    Session("a", "y", ip_address("192.0.2.1"), None, "eth0", 7),
    Session("b", "x"),
]
json_words = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
documents = st.dictionaries(st.text(), json_words, max_size=2)
counts = st.none() | st.integers(0, 2**32)
observations = st.builds(
    Observation,
    st.sampled_from(sessions),
    st.sampled_from(State),
    st.none() | st.sampled_from(Diagnostic),
    st.none() | documents,
    counts,
    counts,
    counts,
)
polls = st.builds(
    Poll,
    st.sampled_from("ab"),
    st.lists(observations, max_size=2).map(tuple),
    st.booleans(),
    st.sampled_from([Source.SNMP_POLL, Source.SNMP_LOOK]),
    st.none() | st.text(),
    st.none() | st.integers(1, 1000),
    st.frozensets(st.sampled_from(["a/x", "a/y"])),
)
others = st.one_of(
    st.builds(Silence, st.sampled_from("ab"), st.text()),
    st.builds(Webhook, st.text(), st.text(), documents, st.sampled_from(["record", "probe", "observe"])),
    st.builds(
        Notification,
        st.text(),
        st.none() | st.sampled_from(State),
        st.lists(st.text(), max_size=2).map(tuple),
        st.booleans(),
        documents,
    ),
    st.builds(Clock, seconds),
    st.builds(Stall, seconds),
    st.builds(Order, lifts | overrides),
    st.builds(Stop, st.text(), st.booleans()),
    st.builds(Start, documents),
)
FLUSH, CRASH = "flush", "crash"
# Few steps that often meet in one microsecond, and a few that no varint of two bytes holds.
gaps = st.sampled_from([0, 1, 63, 64, 999_000, 1_000_000, 1_000_001, 1_002_000, 61_000_000, 10**12])


@st.composite
def stories(draw: st.DrawFn) -> list[tuple[int, object]]:
    """Inputs with the time since the one before, most of them polls that were heard before; flushes and crashes."""
    known = draw(st.lists(polls, min_size=1, max_size=4))
    steps = st.sampled_from(known) | st.sampled_from(known) | st.just(FLUSH) | st.just(CRASH) | polls | others
    return draw(st.lists(st.tuples(gaps, steps), min_size=1, max_size=40))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(story=stories(), wall_steps=st.lists(st.sampled_from([0, 3, 20_000, -(10**9)]), min_size=1, max_size=5))
def test_the_input_log_gives_back_what_was_noted_but_for_unchanged_polls_at_a_crash(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[int, object]], wall_steps: list[int]
) -> None:
    path: Path = tmp_path_factory.mktemp("inputs") / "journal.db"
    journal = Journal(path, "fra1", batch_seconds=0.0)
    journal.open()
    journal.start()
    log = InputLog(journal)
    reader = Reader(path)
    surely: list[tuple[float, int, object]] = []
    unchanged: list[tuple[float, int, object]] = []
    said: dict[object, Poll] = {}
    now, wall = 5_000_000, 1_763_640_000_000_000
    try:
        for number, (gap, step) in enumerate(story):
            now, wall = now + gap, wall + gap + wall_steps[number % len(wall_steps)]
            at = round(now / 1_000_000, 6)
            if step == FLUSH:
                log.flush()
                surely, unchanged = surely + unchanged, []
            elif step == CRASH:
                # The process ended, and with it what was not handed over; another finds the journal as it is.
                journal.flushed().result(20)
                found = [(kept.now, kept.wall, kept.input) for kept in reader.inputs()]
                assert journal.stop(20)
                journal = Journal(path, "fra1", batch_seconds=0.0)
                journal.open()
                journal.start()
                log = InputLog(journal)
                # All that said something new is there, and then as many of the others as there are.
                assert [(at, event) for at, _, event in found[: len(surely)]] == [
                    (at, event) for at, _, event in surely
                ]
                rest = found[len(surely) :]
                assert [(at, event) for at, _, event in rest] == [
                    (at, event) for at, _, event in unchanged[: len(rest)]
                ]
                surely, unchanged, said = found, [], {}
            elif isinstance(step, Poll):
                key = (step.device, step.source, step.observations[0].session.id if step.observations else None)
                log.note(step, at, wall)
                unchanged.append((at, wall, step))
                if said.get(key) != step:
                    surely, unchanged = surely + unchanged, []
                said[key] = step
            else:
                (log.began(step, Restored(), at, wall) if isinstance(step, Start) else log.note(step, at, wall))
                surely, unchanged = [*surely, *unchanged, (at, wall, step)], []
        log.flush()
        journal.flushed().result(20)
        kept = list(reader.inputs())
        wanted = surely + unchanged
        assert [(each.now, each.input) for each in kept] == [(at, event) for at, _, event in wanted]
        assert all(abs(each.wall - wall) < 10_000 for each, (_, wall, _) in zip(kept, wanted, strict=True))
    finally:
        reader.close()
        assert journal.stop(20)
