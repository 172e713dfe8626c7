"""What the API tells of other sites, and orders for all of them: what reaches the program, and every refusal."""

import csv
import io
import json

import pytest
from api.box import NOON

from exabgp_bfd.core.model import Action, Clear, ConfigError, Order, StoreError
from exabgp_bfd.web.backend import SiteStands, Stand

DRAIN = {"action": "drain", "reason": "new kernel", "scope": "all"}
OVERRIDE = "/services/dns/override"


@pytest.fixture
def put(client, admin):
    return lambda body: client.put(OVERRIDE, json=body, headers=admin)


@pytest.fixture
def delete(client, admin):
    return lambda query="", **more: client.delete(f"{OVERRIDE}{query}", headers=admin, **more)


# --- services ---------------------------------------------------------------------------------------------------------


def test_services_of_all_sites_tell_who_announces_what_and_since_when(client, backend):
    dns, gone = Stand("dns", True, "last_site", NOON, ("192.0.2.53/32",)), Stand("dns", False, "health", None, ())
    backend.elsewhere = (
        False,
        [
            SiteStands("fra1", 0.0, True, (gone, Stand("ntp", False, "health", NOON, ()))),
            SiteStands("ams1", 1.23456, True, (dns,)),
            SiteStands("old1", 3600.0, False, (dns,)),
        ],
    )
    answer = client.get("/services?scope=all").get_json()
    assert answer["cut_off"] is False
    assert answer["sites"][1] == {"site": "ams1", "fresh": True, "heard_seconds_ago": 1.235}
    first, second = answer["services"]
    assert (first["service"], first["announced_by"]) == ("dns", ["ams1"])
    assert [each["site"] for each in first["sites"]] == ["fra1", "ams1", "old1"]
    assert first["sites"][1] == {
        "site": "ams1",
        "fresh": True,
        "state": "announced",
        "since": "2026-11-20T12:00:00.000Z",
        "layer": "last_site",
        "routes": ["192.0.2.53/32"],
    }
    assert (first["sites"][0]["state"], first["sites"][0]["since"]) == ("withdrawn", None)
    assert (second["service"], second["announced_by"]) == ("ntp", [])
    page = client.get("/services?scope=all&limit=1").get_json()
    assert [each["service"] for each in page["services"]] == ["dns"]
    following = client.get(f"/services?scope=all&cursor={page['next_cursor']}").get_json()
    assert [each["service"] for each in following["services"]] == ["ntp"]


def test_who_is_cut_off_says_so(client, backend):
    backend.elsewhere = (True, [SiteStands("fra1", 0.0, True, ())])
    assert client.get("/services?scope=all").get_json()["cut_off"] is True


def test_without_mongodb_there_are_no_other_sites(client, problem):
    (error,) = problem(client.get("/services?scope=all"), 422)["errors"]
    assert error["parameter"] == "scope"
    assert "[storage] mongodb" in error["detail"]
    (error,) = problem(client.get("/services?scope=everywhere"), 422)["errors"]
    assert error["parameter"] == "scope"
    assert [each["service"] for each in client.get("/services?scope=site").get_json()["services"]] == ["dns", "ntp"]


# --- events -----------------------------------------------------------------------------------------------------------


def test_events_of_another_site_and_of_all_of_them(client, backend, make_event):
    backend.trail = [make_event(number, site=site) for number, site in enumerate(["fra1", "ams1", "fra1"], 1)]
    answer = client.get("/events?site=ams1").get_json()
    assert ([each["id"] for each in answer["events"]], answer["store"]) == ([2], "mongodb")
    page = client.get("/events?site=*&limit=2").get_json()
    assert [each["id"] for each in page["events"]] == [3, 2]
    response = client.get("/events", query_string={"site": "*", "limit": 2, "cursor": page["next_cursor"]})
    assert [each["id"] for each in response.get_json()["events"]] == [1]
    assert backend.sites_asked == ["ams1", None, None]
    # Without a site, this one's: by its ids, as ever.
    assert [each["id"] for each in client.get("/events?cursor=3").get_json()["events"]] == [2, 1]
    assert len(backend.sites_asked) == 3


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "text/csv"])
def test_events_of_other_sites_have_every_form_and_tag_of_our_own(client, backend, make_event, accept):
    backend.trail = [make_event(number, site=site) for number, site in enumerate(["fra1", "ams1", "fra1"], 1)]

    def get(query, **headers):
        return client.get(f"/events?{query}", headers={"Accept": accept, **headers})

    answer = get("site=*&limit=2")
    assert answer.status_code == 200
    assert answer.mimetype == accept
    assert answer.headers["Link"] == '</events?site=%2A&limit=2&cursor=at+2>; rel="next"'
    if accept == "application/json":
        found = [(each["id"], each["site"]) for each in answer.get_json()["events"]]
    elif accept == "text/csv":
        found = [(int(each["id"]), each["site"]) for each in csv.DictReader(io.StringIO(answer.text))]
    else:
        found = [(each["id"], each["site"]) for each in map(json.loads, answer.text.splitlines())]
    assert found == [(3, "fra1"), (2, "ams1")]
    tag = answer.headers["ETag"]
    again = get("site=*&limit=2", **{"If-None-Match": tag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    # Another list, another store, another event of the same number: another tag.
    assert get("site=fra1&limit=2", **{"If-None-Match": tag}).status_code == 200
    backend.trail[1] = make_event(2, site="ams1", ts="2026-11-20T12:00:01.000000Z")
    assert get("site=*&limit=2", **{"If-None-Match": tag}).status_code == 200


def test_a_tag_stands_for_the_store_that_answered_too(client, backend, make_event):
    backend.trail = [make_event(1)]
    tag = client.get("/events?site=fra1").headers["ETag"]
    backend.store = "journal"
    answer = client.get("/events?site=fra1", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.get_json()["store"]) == (200, "journal")


def test_a_cursor_of_another_list_is_refused(client, problem):
    for query in ("site=*&cursor=nonsense", "cursor=at+3"):
        (error,) = problem(client.get(f"/events?{query}"), 422)["errors"]
        assert error["parameter"] == "cursor"


def test_a_store_that_knows_nothing_of_other_sites_says_so(client, backend, problem, store_error):
    backend.trouble = store_error
    problem(client.get("/events?site=ams1"), 503)


# --- orders for all sites ---------------------------------------------------------------------------------------------


def test_an_order_for_all_sites_goes_to_all_and_not_here_alone(put, backend):
    answer = put(DRAIN)
    assert answer.status_code == 200
    ((order,), here) = backend.ordered_of_all, backend.ordered
    assert isinstance(order, Order)
    assert (order.what.service, order.what.action) == ("dns", Action.DRAIN)
    assert here == []
    assert (answer.get_json()["event"], answer.get_json()["scope"]) == (61, "all")
    assert put({**DRAIN, "scope": "site"}).get_json()["scope"] == "site"
    assert (len(backend.ordered_of_all), len(backend.ordered)) == (1, 1)


@pytest.mark.parametrize(
    ("query", "more"), [("?scope=all&reason=done", {}), ("", {"json": {"scope": "all", "reason": "done"}})]
)
def test_an_order_is_taken_back_everywhere_also_where_there_is_none_here(delete, backend, query, more):
    backend.all_event = None
    answer = delete(query, **more)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    ((clear,), document) = backend.ordered_of_all, answer.get_json()
    assert isinstance(clear, Clear)
    assert (clear.service, clear.reason) == ("dns", "done")
    assert (document["event"], document["scope"]) == (None, "all")
    assert backend.ordered == []


def test_what_is_wrong_with_an_order_for_all_sites_is_said(put, delete, backend, problem):
    (error,) = problem(put({**DRAIN, "scope": "world"}), 422)["errors"]
    assert (error["pointer"], "'site' or 'all'" in error["detail"]) == ("#/scope", True)
    (error,) = problem(delete("?scope=all", json={"scope": "all"}), 422)["errors"]
    assert error["parameter"] == "scope"
    problem(delete("?scope=world"), 422)
    problem(delete(), 404)  # here there is nothing to be taken back
    backend.refusal = ConfigError("scope", "MongoDB is not set")
    problem(put(DRAIN), 422)
    backend.refusal = StoreError("MongoDB did not take it")
    assert "MongoDB did not take it" in problem(put(DRAIN), 503)["detail"]
    backend.refusal = TimeoutError()
    problem(delete("?scope=all"), 503)
    assert backend.ordered_of_all == []


def test_all_sites_need_the_same_key_as_one(client, keyed, key, problem):
    problem(client.put(OVERRIDE, json=DRAIN), 401)
    problem(keyed.put(OVERRIDE, json=DRAIN, headers=key("read")), 403)
    assert keyed.put(OVERRIDE, json=DRAIN, headers=key("operate")).status_code == 200
