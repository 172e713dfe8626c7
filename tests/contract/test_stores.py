"""Both stores answer alike: what is asked of the journal and of MongoDB, on a real mongod, has the same answers."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab.copying import Copying, update
from lab.mongod import Mongod, needed
from pymongo.errors import WriteError

from exabgp_bfd.core.model import Event, StoreError
from exabgp_bfd.storage.queries import LINKS, Count, Cursor, EventsQuery, EventStore, MessageQuery
from exabgp_bfd.storage.updates import Match

pytestmark = pytest.mark.live

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
T0 = 1_763_640_000_123_456
DAY = 86_400_000_000

names = st.sampled_from(["a", "b", "snmp_poll"])
maybe = st.none() | names
# The clock may step back, and over days.
times = st.integers(0, 30).map(lambda step: T0 + step * DAY // 7)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
events = st.lists(
    st.tuples(
        times,
        st.builds(
            dict,
            event_type=names,
            device=maybe,
            session=maybe,
            service=maybe,
            source=maybe,
            actor=maybe,
            cause=st.none() | st.integers(1, 25),
            details=st.dictionaries(st.text() | st.sampled_from(["$set", "a.b", "\0", "\ud800"]), plain, max_size=3),
        ),
    ),
    max_size=25,
)
prefixes = st.sampled_from(
    ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "0.0.0.0/0", "2001:db8::/32", "2001:db8::1/128", "::/0"]
)
lines = st.lists(
    st.tuples(
        times,
        st.builds(
            lambda peer, told, kind, direction: update(peer, *told, kind=kind, direction=direction),
            names,
            st.lists(prefixes, max_size=3),
            st.sampled_from(["update", "update", "a"]),
            st.sampled_from(["send", "receive"]),
        ),
    ),
    max_size=25,
)
questions = st.lists(
    st.builds(
        EventsQuery,
        limit=st.integers(0, 30),
        device=maybe,
        session=maybe,
        service=maybe,
        event_type=maybe,
        since=st.none() | times,
        until=st.none() | times,
        before=st.none() | st.integers(0, 30),
        site=st.sampled_from([None, None, "fra1", "ams1"]),
    )
    | st.builds(
        MessageQuery,
        limit=st.integers(0, 30),
        type=st.sampled_from([None, "update", "a"]),
        neighbor=maybe,
        direction=st.sampled_from([None, "send", "receive", "else"]),
        prefix=st.none() | prefixes.map(ip_network),
        match=st.sampled_from(Match),
        since=st.none() | times,
        until=st.none() | times,
        before=st.none() | st.integers(0, 30),
        site=st.sampled_from([None, None, "fra1", "ams1"]),
    ),
    min_size=1,
    max_size=12,
)


@pytest.fixture(scope="module")
def mongod(tmp_path_factory) -> Iterator[Mongod]:
    needed()
    server = Mongod(tmp_path_factory.mktemp("mongod"))
    try:
        yield server.launch()
    finally:
        server.stop()


@contextlib.contextmanager
def emptied(mongod: Mongod, folder: Path, *sites: str) -> Iterator[list[Copying]]:
    """Sites that copy into a MongoDB without records; what is put is shipped when the test says so."""
    with mongod.client() as client:
        for name in ("events", "messages", "sites"):
            client.exabgp_bfd[name].delete_many({})
    with contextlib.ExitStack() as stack:
        made = []
        for site in sites or ("fra1",):
            made.append(Copying(folder, mongod.uri, site=site, running=False))
            stack.callback(made[-1].close)
        yield made


@pytest.fixture
def copying(mongod, tmp_path) -> Iterator[Copying]:
    with emptied(mongod, tmp_path) as (one,):
        one.ship()
        yield one


def put(site: Copying, some: list[tuple[int, dict]], received: list[tuple[int, bytes]] = ()) -> None:
    for ts, fields in some:
        site.last += 1
        site.journal.record(Event(site.last, **fields), ts)
    for ts, line in received:
        site.journal.messages([line], ts)


def ask(store: EventStore, query: EventsQuery | MessageQuery) -> list:
    return store.messages(query) if isinstance(query, MessageQuery) else store.events(query)


@settings(
    max_examples=400 if NIGHTLY else 20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(some=events, received=lines, late=events, asked=questions)
def test_the_same_question_has_the_same_answer(mongod, some, received, late, asked) -> None:
    with TemporaryDirectory() as folder, emptied(mongod, Path(folder)) as (site,):
        put(site, some, received)
        site.ship()
        for query in asked:
            assert site.mongo.counts(query) == site.reader.counts(query)
        # What is in the journal only is in the answers as well.
        put(site, late)
        site.flush()
        for query in asked:
            expected = ask(site.reader, query)
            found = ask(site.mongo, query)
            assert found == expected
            assert [each.document() for each in found] == [each.document() for each in expected]
        for number in range(1, site.last + 2):
            assert site.mongo.event(number) == site.reader.event(number)
            assert site.mongo.chain(number) == site.reader.chain(number)


@settings(
    max_examples=250 if NIGHTLY else 12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), some=events, received=lines, asked=questions.map(lambda all_: all_[0]), size=st.integers(1, 7))
def test_pages_hold_everything_once_while_more_is_written(mongod, data, some, received, asked, size) -> None:
    asked = replace(asked, limit=10_000, before=None)
    with TemporaryDirectory() as folder, emptied(mongod, Path(folder)) as (site,):
        put(site, some, received)
        site.ship()
        everything = ask(site.reader, asked)
        pages: list = []
        cursor: Cursor | None = None
        while True:
            # A cursor of one store is as good in the other.
            store = data.draw(st.sampled_from([site.reader, site.mongo]))
            page = ask(store, replace(asked, limit=size, cursor=cursor))
            pages += page
            if len(page) < size:
                break
            cursor = Cursor.parse(str(page[-1].cursor))
            put(site, data.draw(events.filter(bool)), data.draw(lines))
            if data.draw(st.booleans()):
                site.ship()
            else:
                site.flush()
        assert pages == everything


@pytest.fixture(params=["journal", "mongodb"])
def store(request, copying) -> EventStore:
    return copying.reader if request.param == "journal" else copying.mongo


def test_a_chain_leads_from_an_event_to_what_began_it(copying, store) -> None:
    put(copying, [(T0 + n, {"event_type": f"step{n}", "cause": n - 1 or None}) for n in range(1, 5)])
    put(copying, [(T0, {"event_type": "alone"}), (T0, {"event_type": "orphan", "cause": 99})])
    copying.ship()
    assert [each.event.event_type for each in store.chain(4)] == ["step4", "step3", "step2", "step1"]
    assert [each.event.event_type for each in store.chain(5)] == ["alone"]
    assert [each.event.event_type for each in store.chain(6)] == ["orphan"]
    assert store.chain(7) == []


def test_a_chain_that_bites_its_tail_ends(copying, store) -> None:
    put(copying, [(T0, {"event_type": "egg", "cause": 2}), (T0, {"event_type": "hen", "cause": 1})])
    copying.ship()
    assert [each.id for each in store.chain(1)] == [1, 2] * (LINKS // 2)


def test_counts_are_by_day_and_type(copying, store) -> None:
    noon = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * 1_000_000
    midnight = noon + DAY // 2
    put(
        copying,
        [
            *((noon, {"event_type": "bfd_failure", "device": "edge1"}),) * 3,
            (noon, {"event_type": "bfd_recovery", "device": "edge2"}),
            (midnight - 1, {"event_type": "bfd_failure", "device": "edge1"}),
            (midnight, {"event_type": "bfd_failure", "device": "edge1"}),
        ],
        [(noon, update(kind="update")), (midnight, update(kind="open"))],
    )
    copying.ship()
    assert store.counts(EventsQuery(limit=1)) == [
        Count("2026-11-21", "bfd_failure", 1),
        Count("2026-11-20", "bfd_failure", 4),
        Count("2026-11-20", "bfd_recovery", 1),
    ]
    assert store.counts(EventsQuery(device="edge2")) == [Count("2026-11-20", "bfd_recovery", 1)]
    assert store.counts(EventsQuery(since=midnight)) == [Count("2026-11-21", "bfd_failure", 1)]
    assert store.counts(MessageQuery()) == [Count("2026-11-21", "open", 1), Count("2026-11-20", "update", 1)]
    assert store.counts(MessageQuery(type="open")) == [Count("2026-11-21", "open", 1)]


def test_odd_details_come_back_as_they_were(copying, store) -> None:
    deep: dict = {}
    for _ in range(60):
        deep = {"deeper": deep}
    odd = [
        {"$set": 1, "a.b": {"$gt": ""}},
        {"nul\0": "\0"},
        {"half": "\ud800"},
        {"huge": 2**70, "least": -(2**63), "most": 2**63 - 1},
        deep,
        {"": [{}, [], None, True, 1.5, -0.0, "ü"]},
        {"long": "x" * 100_000},
    ]
    put(copying, [(T0, {"event_type": "odd", "details": details}) for details in odd])
    copying.ship()
    assert [dict(each.event.details) for each in store.events(EventsQuery())] == odd[::-1]
    assert copying.shipper.counters().set_aside == 0


def test_each_event_is_one_document_of_the_contract(copying, mongod) -> None:
    fields = {"event_type": "bfd_failure", "device": "edge1", "session": "edge1/1", "details": {"why": "down"}}
    put(copying, [(T0, {**fields, "source": "snmp_poll", "cause": None})], [(T0 + 5, update("192.0.2.1"))])
    copying.ship()
    with mongod.client() as client:
        event, message = client.exabgp_bfd.events.find_one(), client.exabgp_bfd.messages.find_one()
    journal = event["journal"]
    assert event == {
        "_id": f"fra1/{journal}/1",
        "site": "fra1",
        "journal": journal,
        "number": 1,
        "ts": datetime.fromtimestamp(T0 // 1000 / 1000, UTC),
        "ts_us": T0,
        "at": T0,
        **fields,
        "source": "snmp_poll",
        "service": None,
        "actor": None,
        "cause": None,
    }
    assert len(journal) == 8
    assert message["_id"] == f"fra1/{journal}/1"
    assert (message["type"], message["neighbor"], message["direction"]) == ("update", "192.0.2.1", "receive")
    assert json.loads(message["line"]) == json.loads(update("192.0.2.1"))


def test_every_question_of_the_contract_has_an_index(copying, mongod) -> None:
    with mongod.client() as client:
        for name, filters in (
            ("events", [{}, *({key: "x"} for key in ("site", "device", "session", "service", "event_type"))]),
            ("messages", [{}, *({key: "x"} for key in ("site", "type", "neighbor")), {"keys": b"x"}]),
        ):
            for equal in filters:
                found = client.exabgp_bfd[name].find(equal, sort=[("at", -1), ("number", -1), ("site", -1)])
                plan = json.dumps(found.explain()["queryPlanner"]["winningPlan"], default=str)
                assert "IXSCAN" in plan, (name, equal)
                # An index in the order of the answer: nothing is sorted, so the newest 50 cost 50.
                assert '"SORT"' not in plan, (name, equal)


def test_another_programs_document_is_refused(copying, mongod) -> None:
    with mongod.client() as client, pytest.raises(WriteError, match="failed validation"):
        client.exabgp_bfd.events.insert_one({"_id": "x", "event_type": "bfd_failure"})


def test_sites_are_told_apart_and_put_together_by_time(mongod, tmp_path) -> None:
    with emptied(mongod, tmp_path, "fra1", "ams1") as (fra, ams):
        for step in range(6):
            put(
                ams if step % 2 else fra,
                [(T0 + step, {"event_type": f"step{step}"})],
                [(T0 + step, update(f"peer{step}"))],
            )
        fra.ship()
        ams.ship()
        put(fra, [(T0 + 6, {"event_type": "step6"})])
        fra.flush()
        everything = fra.mongo.events(EventsQuery())
        assert [each.event.event_type for each in everything] == [f"step{step}" for step in range(6, -1, -1)]
        assert {each.site for each in everything} == {"fra1", "ams1"}
        assert [each.event.event_type for each in fra.mongo.events(EventsQuery(site="ams1"))] == [
            "step5",
            "step3",
            "step1",
        ]
        assert [each.neighbor for each in fra.mongo.messages(MessageQuery(site="ams1", limit=2))] == ["peer5", "peer3"]
        # The ids are each site's own: the same number is another event elsewhere.
        assert fra.mongo.event(1).event.event_type == "step0"
        assert ams.mongo.event(1).event.event_type == "step1"
        pages, cursor = [], None
        while page := fra.mongo.events(EventsQuery(limit=2, cursor=cursor)):
            pages += page
            cursor = page[-1].cursor
        assert pages == everything


def test_a_page_begun_in_mongodb_goes_on_in_the_journal(mongod, tmp_path) -> None:
    with emptied(mongod, tmp_path, "fra1", "ams1") as (fra, ams):
        for step in range(6):
            put(ams if step % 2 else fra, [(T0 + step, {"event_type": f"step{step}"})])
        fra.ship()
        ams.ship()
        newest = fra.mongo.events(EventsQuery(limit=1))[0]
        assert newest.site == "ams1"
        rest = fra.reader.events(EventsQuery(cursor=newest.cursor))
        assert [each.event.event_type for each in rest] == ["step4", "step2", "step0"]


@pytest.mark.parametrize(
    ("match", "numbers"), [(Match.EXACT, [3]), (Match.LONGER, [6, 4, 3]), (Match.COVERING, [3, 2, 1])]
)
def test_messages_are_found_by_prefix(copying, store, match, numbers) -> None:
    told = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24"]
    put(copying, [], [(T0, update("192.0.2.1", prefix)) for prefix in told])
    # One that tells of what lies on both sides tells of nothing in between.
    put(
        copying,
        [],
        [
            (T0, update("192.0.2.1", "10.1.255.0/24", "2001:db8::/32")),
            (T0, update("192.0.2.1", "9.0.0.0/8", "11.0.0.0/8")),
        ],
    )
    copying.ship()
    asked = MessageQuery(prefix=ip_network("10.1.0.0/16"), match=match)
    assert [each.id for each in store.messages(asked)] == numbers


def test_where_mongodb_does_not_answer_the_journal_does(copying) -> None:
    put(copying, [(T0, {"event_type": "bfd_failure"})])
    copying.ship()
    asked = copying.stores.ask(lambda store: store.events(EventsQuery()))
    assert (len(asked.value), asked.store) == (1, "mongodb")
    copying.shipper._failed("so it is said")
    with pytest.raises(StoreError):
        copying.mongo.events(EventsQuery())
    again = copying.stores.ask(lambda store: store.events(EventsQuery()))
    assert (again.value, again.store) == (asked.value, "journal")


@pytest.mark.parametrize("text", ["", "1", "1.2", "x.2.fra1", "1.x.fra1", "01.2.fra1", "1.2.fra1" * 9, "٣.2.fra1"])
def test_a_cursor_that_was_never_given_out_is_refused(text) -> None:
    if text == "1.2.fra1" * 9:  # a site may be called anything
        assert str(Cursor.parse(text)) == text
        return
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(text)


@given(st.builds(Cursor, st.integers(-(2**60), 2**60), st.integers(0, 2**60), st.text()))
def test_a_cursor_comes_back_as_it_was(cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor
