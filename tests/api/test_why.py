"""`GET /services/NAME/why`: the explanation in sentences, and the chain of events that led there."""

from dataclasses import replace

import pytest

from exabgp_bfd.core.model import StoreError
from exabgp_bfd.web.api import trail


@pytest.fixture
def linked(backend, make_event):
    """Events of which each one led to the next, up to the last decision."""

    def build(*numbers):
        backend.trail = [
            make_event(number, cause=cause) for cause, number in zip((None, *numbers), numbers, strict=False)
        ]
        backend.explanation = replace(backend.explanation, event=numbers[-1] if numbers else None)

    return build


def chain(client):
    body = client.get("/services/dns/why").get_json()
    return [event["id"] for event in body["chain"]], body["chain_incomplete"]


def test_the_answer_its_reasons_and_what_led_to_it(client, backend, linked):
    linked(4, 11, 13)
    response = client.get("/services/dns/why")
    assert response.status_code == 200
    assert response.get_json() == {
        "service": "dns",
        "announced": False,
        "answer": "dns is withdrawn, because 1 of 2 sessions is up and 2 are needed",
        "because": ["health decides: no order, no window, no file says otherwise"],
        "sessions": ["edge1/198.51.100.1 is down: control detection time expired", "edge2/2001:db8::1 is up"],
        "routes": ["192.0.2.53/32 was withdrawn, and the withdraw was seen to go to 192.0.2.254"],
        "event": 13,
        "chain": backend.trail,
        "chain_incomplete": None,
    }


def test_a_service_that_never_decided_has_no_chain(client, linked):
    linked()
    assert chain(client) == ([], None)


def test_twenty_events_are_whole_and_the_oldest_of_more_are_left_out(client, linked):
    linked(*range(1, trail.CHAIN + 1))
    assert chain(client) == (list(range(1, trail.CHAIN + 1)), None)
    linked(*range(1, trail.CHAIN + 3))
    seen, incomplete = chain(client)
    assert seen == list(range(3, trail.CHAIN + 3))
    assert f"only the last {trail.CHAIN}" in incomplete
    assert "event 2 " in incomplete


def test_an_event_that_is_not_kept_ends_the_chain_and_is_named(client, backend, linked):
    linked(4, 11, 13)
    del backend.trail[1]
    seen, incomplete = chain(client)
    assert seen == [13]
    assert incomplete.startswith("event 11 is not kept")


@pytest.mark.parametrize("cause", [13, 14, 99])
def test_a_cause_that_is_no_older_leads_in_no_circle(client, backend, linked, cause):
    linked(13)
    backend.trail[0]["cause"] = cause
    assert chain(client) == ([13], None)


def test_the_explanation_comes_also_without_the_journal(client, backend, linked):
    linked(4, 11)
    backend.trouble = StoreError("the disk is gone")
    body = client.get("/services/dns/why").get_json()
    assert body["answer"]
    assert body["chain"] == []
    assert body["chain_incomplete"] == "event 11 cannot be read: the disk is gone"


def test_a_slow_journal_does_not_hold_the_answer(client, linked, monkeypatch):
    monkeypatch.setattr(trail, "CHAINED_WITHIN", -1.0)
    linked(4, 11)
    seen, incomplete = chain(client)
    assert seen == []
    assert "slow" in incomplete


def test_an_unknown_service_is_404(client, problem):
    assert "'smtp'; known: ntp, dns" in problem(client.get("/services/smtp/why"), 404)["detail"]


def test_of_many_services_ten_are_named(client, backend, problem):
    view = backend.view.services[0]
    many = tuple(replace(view, service=replace(view.service, name=f"s{number}")) for number in range(12))
    backend.view = replace(backend.view, services=many)
    detail = problem(client.get("/services/smtp/why"), 404)["detail"]
    assert detail.endswith("known: s0, s1, s2, s3, s4, s5, s6, s7, s8, s9 and 2 more")
    backend.view = replace(backend.view, services=())
    assert "there is none" in problem(client.get("/services/smtp/why"), 404)["detail"]
