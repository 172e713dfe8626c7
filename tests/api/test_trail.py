"""`GET /events/NUMBER` and `GET /events/counts`: an event with all that led to it, and how many there were."""

from exabgp_bfd.core.model import EventQuery

NOON = 1795176000 * 1_000_000


def test_an_event_comes_with_what_led_to_it_the_oldest_first(client, backend, make_event):
    backend.trail = [
        make_event(1, event_type="snmp_poll"),
        make_event(2, event_type="bfd_failure", cause=1),
        make_event(3),
        make_event(4, event_type="route_withdraw", cause=2),
    ]
    told = client.get("/events/4").get_json()
    assert told == {"event": backend.trail[3], "chain": backend.trail[:2], "chain_incomplete": None}
    assert client.get("/events/1").get_json() == {"event": backend.trail[0], "chain": [], "chain_incomplete": None}


def test_a_cause_that_is_not_kept_any_more_is_told(client, backend, make_event):
    backend.trail = [make_event(9, cause=5)]
    told = client.get("/events/9").get_json()
    assert told["chain"] == []
    assert "event 5 is not kept any more" in told["chain_incomplete"]


def test_an_event_that_there_is_not(client, problem, backend, make_event):
    backend.trail = [make_event(1)]
    for number in (2, 0, 1 << 63, 10**40):
        assert str(number) in problem(client.get(f"/events/{number}"), 404)["detail"]


def test_events_are_counted_per_day_and_type(client, backend, make_event):
    backend.trail = [make_event(1), make_event(2), make_event(3, event_type="route_withdraw")]
    told = client.get("/events/counts?device=edge1&since=2026-11-20T12:00:00Z").get_json()
    assert told["store"] == "journal"
    assert {each["event_type"]: each["count"] for each in told["counts"]} == {
        make_event(1)["event_type"]: 2,
        "route_withdraw": 1,
    }
    assert backend.queries == [EventQuery(device="edge1", since=NOON)]


def test_the_site_whose_events_are_counted_reaches_the_store(client):
    asked = {site: client.get(f"/events/counts?site={site}").get_json()["store"] for site in ("fra1", "ams1", "*")}
    assert asked == {"fra1": "journal", "ams1": "mongodb", "*": "mongodb"}


def test_what_cannot_be_counted_by_is_named(client, problem, backend):
    for query in ("limit=5", "cursor=7", "since=yesterday", "since=2&until=1"):
        problem(client.get(f"/events/counts?{query}"), 422)
    assert backend.queries == []


def test_a_store_that_refuses_is_503(client, problem, backend, store_error):
    backend.trouble = store_error
    for path in ("/events/1", "/events/counts"):
        problem(client.get(path), 503)


def test_both_need_a_key_where_there_are_keys(keyed, problem):
    for path in ("/events/1", "/events/counts"):
        problem(keyed.get(path), 401)
