"""Who is told of events, over HTTP: how each stands, and what could not be delivered."""

import json
from dataclasses import replace

import pytest
from api.box import NOON, event

from exabgp_bfd.core.model import StoreError
from exabgp_bfd.core.notices import EndpointState, EndpointView, Letter, NoEndpointError

VIEW = EndpointView(
    name="pager",
    address="https://alerts.example.net",
    format="both",
    state=EndpointState.FAILING,
    waiting=3,
    lag=12.3456,
    position=40,
    sent=7,
    failed=2,
    dead=1,
    tries=2,
    last_success=NOON,
    last_failure=NOON + 1_000_000,
    last_error="status 500",
    next_try=NOON + 2_000_000,
)


def letter(number, endpoint="pager", **more):
    body = json.dumps(event(40 + number))
    kept = Letter(endpoint, 40 + number, f"event_fra1_{number}_5", body, 8, "status 400", NOON, number)
    return replace(kept, **more)


@pytest.fixture
def dead(backend):
    backend.dead = [letter(1), letter(2, "chat"), letter(3, again=True)]
    return backend.dead


def test_each_endpoint_is_shown_as_it_stands(client, backend):
    backend.told = [VIEW, replace(VIEW, name="chat", last_success=None, next_try=None, last_error=None)]
    first, second = client.get("/notify").get_json()["endpoints"]
    assert first == {
        "endpoint": "pager",
        "address": "https://alerts.example.net",
        "format": "both",
        "state": "failing",
        "waiting": 3,
        "lag_seconds": 12.346,
        "position": 40,
        "sent": 7,
        "failed": 2,
        "dead": 1,
        "tries": 2,
        "last_success": "2026-11-20T12:00:00.000Z",
        "last_failure": "2026-11-20T12:00:01.000Z",
        "last_error": "status 500",
        "next_try": "2026-11-20T12:00:02.000Z",
    }
    assert (second["last_success"], second["next_try"], second["last_error"]) == (None, None, None)


def test_dead_letters_come_in_pages_newest_first(client, dead):
    page = client.get("/notify/dead?limit=2").get_json()
    assert [one["number"] for one in page["dead"]] == [3, 2]
    rest = client.get(f"/notify/dead?limit=2&cursor={page['next_cursor']}").get_json()
    assert [one["number"] for one in rest["dead"]] == [1]
    assert rest["next_cursor"] is None
    only = client.get("/notify/dead?endpoint=pager").get_json()["dead"]
    assert [one["number"] for one in only] == [3, 1]
    assert only[1] == {
        "number": 1,
        "ts": "2026-11-20T12:00:00.000Z",
        "endpoint": "pager",
        "webhook_id": "event_fra1_1_5",
        "tries": 8,
        "reason": "status 400",
        "resending": False,
        "event": event(41),
    }
    assert only[0]["resending"] is True


def test_one_is_sent_again_in_the_name_of_who_asked(client, admin, backend, dead):
    answer = client.post("/notify/dead/2/resend", headers=admin)
    assert answer.status_code == 202
    assert answer.get_json()["event"] == 101
    assert answer.get_json()["letter"]["endpoint"] == "chat"
    assert backend.resent == [(2, "admin (ephemeral key)")]


def test_one_is_thrown_away(client, admin, backend, dead):
    answer = client.delete("/notify/dead/3", headers=admin)
    assert (answer.status_code, answer.get_json()["event"]) == (200, 102)
    assert backend.discarded == [(3, "admin (ephemeral key)")]


def test_an_endpoint_is_enabled(client, admin, backend):
    backend.told = [VIEW]
    answer = client.post("/notify/endpoints/pager/enable", headers=admin)
    assert (answer.status_code, answer.get_json()) == (200, {"event": 103, "endpoint": "pager"})
    assert backend.enabled == [("pager", "admin (ephemeral key)")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/notify/dead/2/resend"),
        ("DELETE", "/notify/dead/2"),
        ("POST", "/notify/endpoints/pager/enable"),
    ],
)
def test_a_dry_run_changes_nothing_and_is_refused_as_the_real_one(client, admin, problem, backend, dead, method, path):
    backend.told = [VIEW]
    answer = client.open(f"{path}?dry_run=true", method=method, headers=admin)
    assert answer.status_code == 200
    assert answer.get_json()["dry_run"] is True
    assert answer.get_json()["event"] is None
    assert (backend.resent, backend.discarded, backend.enabled) == ([], [], [])
    if method == "POST":
        backend.refusal = NoEndpointError("endpoint", "there is no [[notify]] of the name chat")
        for query in ("?dry_run=true", ""):
            refused = problem(client.open(f"{path}{query}", method=method, headers=admin), 409)
            assert "no [[notify]]" in refused["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/notify/dead/9/resend"),
        ("DELETE", f"/notify/dead/{2**63}"),
        ("POST", "/notify/endpoints/nobody/enable"),
    ],
)
def test_what_there_is_not_is_404_with_the_place(client, admin, problem, backend, dead, method, path):
    backend.told = [VIEW]
    refused = problem(client.open(path, method=method, headers=admin), 404)
    assert refused["errors"][0]["place"] in {"number", "name"}
    assert (backend.resent, backend.discarded, backend.enabled) == ([], [], [])


def test_reading_is_enough_to_look_and_not_to_change(keyed, key, backend, dead):
    backend.told = [VIEW]
    for path in ("/notify", "/notify/dead"):
        assert keyed.get(path).status_code == 401
        assert keyed.get(path, headers=key("read")).status_code == 200
    for path in ("/notify/dead/2/resend", "/notify/endpoints/pager/enable"):
        assert keyed.post(path, headers=key("read")).status_code == 403
        assert keyed.post(path, headers=key("operate")).status_code in {200, 202}
    assert keyed.delete("/notify/dead/2", headers=key("read")).status_code == 403
    assert backend.discarded == []


def test_a_journal_that_cannot_be_read_is_said(client, problem, backend):
    backend.trouble = StoreError("disk on fire")
    assert "disk on fire" in problem(client.get("/notify/dead"), 503)["detail"]
