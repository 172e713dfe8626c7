"""`GET /events`: the filters reach the store as they were meant, and pages follow one another without a gap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exabgp_bfd.core.model import EventQuery
from exabgp_bfd.web.documents import rfc3339
from exabgp_bfd.web.queries import microseconds

NOON = 1795176000 * 1_000_000


def faults(document):
    return [error["parameter"] for error in document["errors"]]


def test_events_come_newest_first_as_the_store_has_them(client, backend, make_event):
    backend.trail = [make_event(1), make_event(2, event_type="route_withdraw", cause=1)]
    response = client.get("/events")
    assert response.status_code == 200
    assert response.get_json() == {"events": [backend.trail[1], backend.trail[0]], "next_cursor": None}
    assert "Link" not in response.headers


def test_no_events_is_an_empty_list(client):
    assert client.get("/events").get_json() == {"events": [], "next_cursor": None}


def test_limit_as_the_users_of_the_predecessor_know_it(client, backend, make_event):
    backend.trail = [make_event(number) for number in range(1, 8)]
    events = client.get("/events?limit=5").get_json()["events"]
    assert [event["id"] for event in events] == [7, 6, 5, 4, 3]


def test_every_filter_reaches_the_store(client, backend):
    client.get(
        "/events?limit=10&device=edge1&session=edge1/198.51.100.1&service=dns&event_type=bfd_failure"
        "&since=2026-11-20T12:00:00Z&until=1795176001.5&cursor=99"
    )
    assert backend.queries == [
        EventQuery(
            limit=11,
            device="edge1",
            session="edge1/198.51.100.1",
            service="dns",
            event_type="bfd_failure",
            since=NOON,
            until=NOON + 1_500_000,
            before=99,
        )
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_the_links_lead_through_every_event_once(client, backend, make_event, size):
    backend.trail = [make_event(number) for number in range(1, 8)]
    seen = []
    address = f"/events?limit={size}&device=edge1"
    while address:
        response = client.get(address)
        body = response.get_json()
        seen += [event["id"] for event in body["events"]]
        assert len(body["events"]) <= size
        link = response.headers.get("Link")
        assert (link is None) == (body["next_cursor"] is None)
        assert link is None or link.endswith('>; rel="next"')
        address = link and link.removeprefix("<").removesuffix('>; rel="next"')
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    assert {query.device for query in backend.queries} == {"edge1"}


def test_the_link_keeps_the_other_filters_escaped(client, backend, make_event):
    backend.trail = [make_event(1), make_event(2)]
    link = client.get("/events?limit=1&device=a%26b").headers["Link"]
    assert link == '</events?limit=1&device=a%26b&cursor=2>; rel="next"'


def test_a_page_longer_than_the_longest_is_cut(client, backend):
    assert client.get("/events?limit=1000000").status_code == 200
    assert backend.queries[0].limit == 1001


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("lmit=5", "lmit"),
        ("cursor=0", "cursor"),
        ("cursor=x", "cursor"),
        (f"cursor={2**63}", "cursor"),
        ("device=", "device"),
        ("event_type=" + "x" * 65, "event_type"),
        ("since=yesterday", "since"),
        ("until=2026-11-20", "until"),
        ("since=2026-13-20T12:00:00Z", "since"),
        ("device=a&device=b", "device"),
    ],
)
def test_a_wrong_parameter_is_named(client, problem, backend, query, parameter):
    document = problem(client.get(f"/events?{query}"), 422)
    assert faults(document) == [parameter]
    assert backend.queries == []


def test_every_wrong_parameter_is_named_and_an_unknown_one_gets_the_list(client, problem):
    document = problem(client.get("/events?limit=0&sinse=1"), 422)
    assert sorted(faults(document)) == ["limit", "sinse"]
    assert any("since" in error["detail"] for error in document["errors"])


def test_since_after_until_is_refused(client, problem):
    document = problem(client.get("/events?since=20&until=10"), 422)
    assert document["errors"][0]["detail"] == "since is after until"


def test_a_store_that_refuses_is_503(client, problem, backend, store_error):
    backend.trouble = store_error
    response = client.get("/events")
    assert "the disk is full" in problem(response, 503)["detail"]
    assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1795176000", NOON),
        ("1795176000.000001", NOON + 1),
        ("1795176000.9999999", NOON + 999_999),
        ("0", 0),
        ("253402300799", 253402300799_000_000),
        ("2026-11-20T12:00:00Z", NOON),
        ("2026-11-20t12:00:00z", NOON),
        ("2026-11-20 12:00:00Z", NOON),
        ("2026-11-20T12:00:00.123456Z", NOON + 123_456),
        ("2026-11-20T12:00:00.123456789Z", NOON + 123_456),
        ("2026-11-20T12:00:00.5Z", NOON + 500_000),
        ("2026-11-20T13:00:00+01:00", NOON),
        ("2026-11-20T13:00:00 01:00", NOON),
        ("2026-11-20T06:30:00-05:30", NOON),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_moments(text, expected):
    assert microseconds(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "-1",
        "1e9",
        "1_000",
        " 5",
        "1795176000000",  # milliseconds
        "2026-11-20T12:00:00",  # whose noon?
        "2026-11-20T12:00Z",
        "20261120T120000Z",
        "2026-02-30T12:00:00Z",
        "2026-11-20T12:00:60Z",
        "2026-11-20T12:00:00Z\n",
        "\N{ARABIC-INDIC DIGIT ONE}",
        None,
    ],
)
def test_no_moments(text):
    with pytest.raises(ValueError, match="seconds since the epoch"):
        microseconds(text)


@given(st.integers(0, 253402300799_999))
def test_a_moment_that_we_wrote_is_read_back(milliseconds):
    assert microseconds(rfc3339(milliseconds * 1000)) == milliseconds * 1000
