"""Storage against plain Python: every question is answered as a filter over a list would, every route comes back."""

import json
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exabgp_bfd.core.model import Event, EventQuery, Route
from exabgp_bfd.storage import database
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.queries import details_text, route_from, route_text
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


@settings(deadline=None)
@given(routes)
def test_a_route_comes_back_as_it_was(route: Route) -> None:
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
