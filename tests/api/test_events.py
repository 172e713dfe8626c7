"""`GET /events`: the filters reach the store as they were meant, and pages follow one another without a gap."""

import csv
import io
import json

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


def test_pages_are_stable_while_events_are_written(client, backend, make_event):
    backend.trail = [make_event(number) for number in range(1, 21)]
    seen, address, written = [], "/events?limit=3", 20
    while address:
        response = client.get(address)
        seen += [event["id"] for event in response.get_json()["events"]]
        link = response.headers.get("Link")
        address = link and link.removeprefix("<").removesuffix('>; rel="next"')
        backend.trail += [make_event(written + 1), make_event(written + 2)]
        written += 2
    assert seen == list(range(20, 0, -1))


def lines(response):
    assert response.content_type == "application/x-ndjson"
    return [json.loads(line) for line in response.get_data(as_text=True).splitlines()]


def rows(response):
    assert response.content_type == "text/csv; charset=utf-8; header=present"
    text = response.get_data(as_text=True)
    assert text.endswith("\r\n")
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("count", [0, 1, 100, 101, 250])
def test_lines_and_rows_hold_what_the_json_holds(client, backend, make_event, count):
    backend.trail = [make_event(number, details={"n": number}) for number in range(1, count + 1)]
    events = client.get("/events?limit=1000").get_json()["events"]
    assert len(events) == count
    assert lines(client.get("/events?limit=1000", headers={"Accept": "application/x-ndjson"})) == events
    head, *table = rows(client.get("/events?limit=1000", headers={"Accept": "text/csv"}))
    assert head == list(make_event(1))
    assert [dict(zip(head, row, strict=True)) for row in table] == [
        {
            name: "" if value is None else value if isinstance(value, str) else json.dumps(value)
            for name, value in event.items()
        }
        for event in events
    ]


@pytest.mark.parametrize("form", ["application/x-ndjson", "text/csv"])
def test_every_form_has_pages(client, backend, make_event, form):
    backend.trail = [make_event(1), make_event(2)]
    response = client.get("/events?limit=1", headers={"Accept": form})
    assert response.headers["Link"] == '</events?limit=1&cursor=2>; rel="next"'


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/*", "text/csv"),
        ("text/csv", "text/csv"),
        ("text/html, */*;q=0.8", "application/json"),
        ("text/csv;q=0.5, application/x-ndjson;q=0.9", "application/x-ndjson"),
        ("application/json;q=0, text/csv", "text/csv"),
    ],
)
def test_the_form_is_the_one_that_is_liked_best(client, accept, form):
    response = client.get("/events", headers={"Accept": accept} if accept else {})
    assert response.mimetype == form
    assert "Accept" in response.headers["Vary"]


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "application/json;q=0", "nonsense", "text/csv;q=0"])
def test_what_there_is_not_is_406(client, problem, backend, accept):
    document = problem(client.get("/events", headers={"Accept": accept}), 406)
    assert "text/csv" in document["detail"]
    assert backend.queries == []


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        " =cmd|' /C calc'!A0",
        "\N{FULLWIDTH EQUALS SIGN}1",
        "|x",
        "%0A",
        "\n1",
        "\N{NO-BREAK SPACE}=1",
    ],
)
def test_a_cell_is_never_a_formula(client, backend, make_event, text):
    backend.trail = [make_event(1, device=text, details={text: text})]
    _, row = rows(client.get("/events", headers={"Accept": "text/csv"}))
    assert row[2] == f"'{text}"
    assert row[4] == json.dumps({text: text})
    assert not any(cell[:1] in {"=", "+", "-", "@", "\t", "\r"} for cell in row)


@pytest.mark.parametrize(
    "text", ["edge1", "a=b", "edge-1", "1.5", "", "  ", 'say "x", y', "two\r\nlines", "\N{SNOWMAN}"]
)
def test_other_cells_are_as_they_were(client, backend, make_event, text):
    backend.trail = [make_event(1, device=text)]
    assert rows(client.get("/events", headers={"Accept": "text/csv"}))[1][2] == text


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "text/csv"])
def test_what_did_not_change_is_not_sent_again(client, backend, make_event, accept):
    backend.trail = [make_event(number) for number in range(1, 6)]
    headers = {"Accept": accept}
    first = client.get("/events?limit=3", headers=headers)
    headers["If-None-Match"] = first.headers["ETag"]
    second = client.get("/events?limit=3", headers=headers)
    assert (second.status_code, second.data) == (304, b"")
    assert second.headers["ETag"] == first.headers["ETag"]
    assert second.headers["Cache-Control"] == first.headers["Cache-Control"] == "private, no-cache"
    assert client.head("/events?limit=3", headers=headers).status_code == 304
    for more in ({"If-None-Match": "*"}, {"If-None-Match": f'"x", W/{first.headers["ETag"]}'}):
        assert client.get("/events?limit=3", headers=headers | more).status_code == 304
    backend.trail.append(make_event(6))
    third = client.get("/events?limit=3", headers=headers)
    assert third.status_code == 200
    assert third.headers["ETag"] != first.headers["ETag"]


def test_forms_and_pages_have_tags_of_their_own(client, backend, make_event):
    backend.trail = [make_event(number) for number in range(1, 6)]
    answers = [
        client.get("/events?limit=3"),
        client.get("/events?limit=3", headers={"Accept": "text/csv"}),
        client.get("/events?limit=3", headers={"Accept": "application/x-ndjson"}),
        client.get("/events?limit=4"),
        client.get("/events?limit=3&cursor=3"),
    ]
    assert len({answer.headers["ETag"] for answer in answers}) == len(answers)


def test_a_tag_opens_nothing_without_a_key(keyed, key, backend, make_event):
    backend.trail = [make_event(1)]
    tag = keyed.get("/events", headers=key("read")).headers["ETag"]
    assert keyed.get("/events", headers={"If-None-Match": tag}).status_code == 401


def test_head_is_get_without_its_body(client, backend, make_event):
    backend.trail = [make_event(1)]
    for accept in ("application/json", "text/csv"):
        get, head = (ask("/events", headers={"Accept": accept}) for ask in (client.get, client.head))
        assert (head.status_code, head.data) == (200, b"")
        assert head.content_type == get.content_type
        assert head.headers["ETag"] == get.headers["ETag"]


def test_options_tells_the_methods_and_opens_nothing_to_other_sites(keyed):
    response = keyed.options("/events", headers={"Origin": "https://evil.example"})
    assert response.status_code == 200
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    preflight = keyed.options(
        "/services/dns/override",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"},
    )
    assert {"PUT", "DELETE"} <= set(preflight.headers["Allow"].split(", "))
    for answer in (response, preflight, keyed.get("/events", headers={"Origin": "https://evil.example"})):
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


def test_what_is_not_said_otherwise_is_never_stored(client, backend, make_event):
    for path in ("/services", "/sessions", "/health", "/guard", "/metrics", "/nothing"):
        assert client.get(path).headers["Cache-Control"] == "no-store"
