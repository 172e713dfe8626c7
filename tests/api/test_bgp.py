"""`GET /bgp/...`: the filters reach the store as they were meant, and pages follow one another without a gap."""

from ipaddress import ip_network

import pytest
from api.box import NUMBERED, bgp_document

from exabgp_bfd.web.backend import BgpQuestion

NOON = 1795176000 * 1_000_000
LISTS = {"messages": "messages", "routes": "routes", "history": "changes", "rates": "rates"}


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("size", [1, 3, 7, 8])
def test_the_links_lead_through_everything_once(client, backend, path, size):
    backend.bgp = list(range(1, 8))
    seen = []
    address = f"/bgp/{path}?limit={size}&neighbor=192.0.2.1"
    while address:
        response = client.get(address)
        body = response.get_json()
        assert body["store"] == "journal"
        assert len(body[LISTS[path]]) <= size
        seen += [one[NUMBERED[path]] for one in body[LISTS[path]]]
        link = response.headers.get("Link")
        assert (link is None) == (body["next_cursor"] is None)
        address = link and link.removeprefix("<").removesuffix('>; rel="next"')
    assert seen == backend.bgp
    assert {(what, asked.neighbor) for what, asked in backend.bgp_asked} == {(path, "192.0.2.1")}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("messages", BgpQuestion(51)),
        ("routes", BgpQuestion(51, direction="receive")),
        (
            "messages?limit=10&type=update&neighbor=2001:DB8:0::1&direction=send&prefix=2001:db8::/32&match=covering"
            "&since=2026-11-20T12:00:00Z&until=1795176001.5&cursor=after+9",
            BgpQuestion(
                11,
                neighbor="2001:db8::1",
                direction="send",
                type="update",
                prefix=ip_network("2001:db8::/32"),
                match="covering",
                since=NOON,
                until=NOON + 1_500_000,
                cursor="after 9",
            ),
        ),
        (
            "routes?neighbor=192.0.2.1&direction=send&family=ipv4+unicast&prefix=192.0.2.1&match=longer&stale=true",
            BgpQuestion(
                51,
                neighbor="192.0.2.1",
                direction="send",
                family="ipv4 unicast",
                prefix=ip_network("192.0.2.1/32"),
                match="longer",
                stale=True,
            ),
        ),
        (
            "history?prefix=0.0.0.0/0&kind=withdraw&family=ipv4+unicast&since=1",
            BgpQuestion(51, family="ipv4 unicast", kind="withdraw", prefix=ip_network("0.0.0.0/0"), since=1_000_000),
        ),
        ("rates?neighbor=192.0.2.1&direction=receive", BgpQuestion(51, neighbor="192.0.2.1", direction="receive")),
    ],
)
def test_every_filter_reaches_the_store(client, backend, address, expected):
    assert client.get(f"/bgp/{address}").status_code == 200
    assert [asked for _, asked in backend.bgp_asked] == [expected]


@pytest.mark.parametrize(
    ("address", "parameter"),
    [
        ("messages?prefix=192.0.2.1/24", "prefix"),
        ("messages?prefix=", "prefix"),
        ("messages?prefix=all", "prefix"),
        ("messages?match=inside", "match"),
        ("messages?direction=in", "direction"),
        ("messages?neighbor=router1", "neighbor"),
        ("messages?neighbor=", "neighbor"),
        ("messages?since=yesterday", "since"),
        ("messages?family=ipv4", "family"),
        ("routes?since=1", "since"),
        ("routes?stale=perhaps", "stale"),
        ("routes?family=", "family"),
        ("history?kind=changed", "kind"),
        ("rates?prefix=192.0.2.0/24", "prefix"),
        ("rates?limit=0", "limit"),
        ("rates?cursor=", "cursor"),
        ("messages?cursor=nonsense", "cursor"),
    ],
)
def test_a_wrong_parameter_is_named(client, problem, address, parameter):
    document = problem(client.get(f"/bgp/{address}"), 422)
    assert [error["parameter"] for error in document["errors"]] == [parameter]


def test_since_after_until_is_refused(client, problem):
    assert "since is after until" in str(problem(client.get("/bgp/messages?since=20&until=10"), 422)["errors"])


def test_neighbors(client, backend):
    backend.bgp = [1, 2]
    neighbors = client.get("/bgp/neighbors").get_json()["neighbors"]
    assert neighbors == [bgp_document("neighbors", 1), bgp_document("neighbors", 2)]
    assert [one["neighbor"] for one in neighbors] == ["192.0.2.1", "192.0.2.2"]


@pytest.mark.parametrize("path", [*LISTS, "neighbors"])
def test_a_store_that_refuses_is_503(client, problem, backend, store_error, path):
    backend.trouble = store_error
    assert "the disk is full" in problem(client.get(f"/bgp/{path}"), 503)["detail"]


@pytest.mark.parametrize("path", [*LISTS, "neighbors"])
def test_reading_needs_a_key_where_there_are_keys(keyed, key, path):
    assert keyed.get(f"/bgp/{path}").status_code == 401
    assert keyed.get(f"/bgp/{path}", headers=key("read")).status_code == 200
