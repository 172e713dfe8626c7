"""Overrides and the guard's limit: what reaches the engine, what is answered, and every way of being refused."""

import itertools
from dataclasses import replace

import pytest

from exabgp_bfd.core.model import Action, Clear, ConfigError, Lift, Order, Override, StoreError
from exabgp_bfd.web import orders

NOON = 1795176000.0
"""2026-11-20T12:00:00Z, where the backend's clock stands, in seconds."""
WHO = "admin (ephemeral key)"
DRAIN = {"action": "drain", "reason": "new kernel", "ttl": "2h"}
SENT = Override("dns", Action.DRAIN, WHO, "new kernel", since=NOON, expires=NOON + 7200)
BOTH = [("/services/dns/override", {"action": "freeze"}), ("/guard/lift", {})]


@pytest.fixture
def put(client, admin):
    return lambda path, body: client.put(path, json=body, headers=admin)


@pytest.fixture
def delete(client, admin):
    return lambda path, **more: client.delete(path, headers=admin, **more)


def pointers(document):
    return [error["pointer"] for error in document["errors"]]


def test_an_override_reaches_the_engine_and_is_shown(put, backend):
    response = put("/services/dns/override", DRAIN)
    assert response.status_code == 200
    assert backend.ordered == [Order(SENT)]
    document = {
        "action": "drain",
        "actor": WHO,
        "reason": "new kernel",
        "since": "2026-11-20T12:00:00.000Z",
        "expires": "2026-11-20T14:00:00.000Z",
    }
    body = response.get_json()
    assert (body["event"], body["override"]) == (71, document)
    assert (body["service"]["service"], body["service"]["override"]) == ("dns", document)


@pytest.mark.parametrize("action", list(Action))
def test_each_action_can_be_ordered(put, backend, action):
    assert put("/services/ntp/override", {"action": action.value, "reason": "x"}).status_code == 200
    assert backend.ordered[0].what == Override("ntp", action, WHO, "x", since=NOON)


def test_the_actor_is_the_name_of_the_key(keyed, key, backend):
    keyed.put("/services/dns/override", json=DRAIN, headers=key("operate"))
    keyed.put("/guard/lift", json={"reason": "x"}, headers=key("admin"))
    keyed.delete("/services/dns/override", headers=key("admin"))
    keyed.delete("/guard/lift", headers=key("operate"))
    assert [getattr(what, "what", what).actor for what in backend.ordered] == [
        "a-operate",
        "a-admin",
        "a-admin",
        "a-operate",
    ]


@pytest.mark.parametrize(("path", "more"), BOTH)
@pytest.mark.parametrize(
    ("end", "expires"),
    [
        ({}, None),
        ({"ttl": None}, None),
        ({"expires": None}, None),
        ({"ttl": 0.5}, NOON + 0.5),
        ({"ttl": 90}, NOON + 90),
        ({"ttl": "90"}, NOON + 90),
        ({"ttl": "45s"}, NOON + 45),
        ({"ttl": "1.5 m"}, NOON + 90),
        ({"ttl": "2h"}, NOON + 7200),
        ({"ttl": "3650d"}, NOON + 3650 * 86400),
        ({"expires": "2036-11-17T12:00:00Z"}, NOON + 3650 * 86400),
        ({"expires": "2026-11-20T12:00:00.001Z"}, NOON + 0.001),
        ({"expires": "2026-11-20T15:00:00+02:00"}, NOON + 3600),
        ({"ttl": None, "expires": "2027-01-01T00:00:00Z"}, 1798761600.0),
    ],
    ids=str,
)
def test_how_long_it_holds(put, backend, path, more, end, expires):
    response = put(path, {"reason": "x", **more, **end})
    assert response.status_code == 200, response.data
    assert backend.ordered[0].what.expires == pytest.approx(expires)


@pytest.mark.parametrize(("path", "more"), BOTH)
@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        *(({"ttl": ttl}, "#/ttl") for ttl in (0, -1, "0s", "2w", "soon", "", True, [60], {}, 1e300, 10**400, "-2h")),
        *(({"ttl": ttl}, "#/ttl") for ttl in (3650 * 86400 + 1, "3651d")),
        *(({"expires": f"{year}-12-31T23:59:59.999999Z"}, "#/expires") for year in (2036, 9999)),
        *(({"expires": text}, "#/expires") for text in ("tomorrow", 17, "2026-13-01T00:00:00Z", "2026-11-20T12:00")),
        ({"expires": "2026-11-20T12:00:00Z"}, "#/expires"),  # now
        ({"expires": "2026-11-20T11:59:59.999Z"}, "#/expires"),
        ({"expires": "1970-01-01T00:00:00Z"}, "#/expires"),
        ({"ttl": 60, "expires": "2027-01-01T00:00:00Z"}, "#"),
        *(
            ({"reason": reason}, "#/reason")
            for reason in ("", " ", "x" * 501, "two\nlines", "\x1b[31m", 5, None, ["x"])
        ),
        ({"reason": "\ud800"}, "#/reason"),
        ({"until": "2027-01-01T00:00:00Z"}, "#/until"),
        ({"actor": "somebody else"}, "#/actor"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_wrong_body_is_422_with_its_place(put, problem, backend, path, more, wrong, place):
    document = problem(put(path, {"reason": "x", **more, **wrong}), 422)
    assert pointers(document) == [place]
    assert document["errors"][0]["detail"] in document["detail"]
    assert backend.ordered == []


@pytest.mark.parametrize("action", ["", "clear", "Drain", "WITHDRAW", None, 3, ["drain"]])
def test_an_action_that_there_is_not(put, problem, backend, action):
    document = problem(put("/services/dns/override", {"action": action, "reason": "x"}), 422)
    assert pointers(document) == ["#/action"]
    assert "announce, withdraw, drain or freeze" in document["detail"]
    assert backend.ordered == []


def test_every_fault_is_told_at_once(put, problem):
    assert pointers(problem(put("/services/dns/override", {"ttl": -1, "x/y": 1}), 422)) == [
        "#/ttl",
        "#/reason",
        "#/action",
        "#/x~1y",
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"drain", 400),
        (b'{"reason": "x", "ttl": NaN}', 400),
        (b'{"reason": "x", "reason": "y"}', 400),
        (b"\xff", 400),
        (b"[" * 50_000, 400),
        (b"[]", 422),
        (b"null", 422),
    ],
)
@pytest.mark.parametrize("path", ["/services/dns/override", "/guard/lift"])
def test_a_body_that_is_no_json_object(client, admin, problem, backend, path, body, status):
    problem(client.put(path, data=body, headers=admin), status)
    assert backend.ordered == []


def test_the_longest_reason_is_kept_whole(put, backend):
    reason = "Грунд " * 83 + "ok"
    assert len(reason) == 500
    assert put("/guard/lift", {"reason": reason}).status_code == 200
    assert backend.ordered[0].what.reason == reason


def test_an_unknown_service_is_404(put, delete, problem, backend):
    for response in (put("/services/smtp/override", DRAIN), delete("/services/smtp/override")):
        document = problem(response, 404)
        assert document["detail"] == "there is no service 'smtp'; known: ntp, dns"
        assert [error["place"] for error in document["errors"]] == ["service"]
    assert backend.ordered == []


def test_an_order_that_is_there_already_is_shown_whatever_its_end(client, backend):
    """One that an older version of ours took: no page may fail for it."""
    for end in (NOON * 1e6, 253402300799.9999999, float("inf"), float("-inf"), float("nan"), -1e300, 1e300):
        backend.show("dns", replace(SENT, expires=end))
        backend.show(None, Lift(WHO, "x", NOON, end))
        for path in ("/services", "/services/dns", "/guard", "/health"):
            assert client.get(path).status_code == 200, (path, end)
    assert client.get("/guard").get_json()["lift"]["expires"] == "9999-12-31T23:59:59.999Z"


def test_an_override_is_taken_back_once(put, delete, problem, backend):
    put("/services/dns/override", DRAIN)
    response = delete("/services/dns/override?reason=done")
    body = response.get_json()
    assert (response.status_code, body["event"], body["override"]) == (200, 72, None)
    assert body["service"]["override"] is None
    assert backend.ordered[1] == Clear("dns", WHO, "done")
    assert "no override" in problem(delete("/services/dns/override"), 404)["detail"]
    assert len(backend.ordered) == 2


@pytest.mark.parametrize(
    ("query", "body", "reason"),
    [("", None, ""), ("?reason=a%20b", None, "a b"), ("", {"reason": "done"}, "done"), ("", {}, "")],
)
def test_a_reason_to_clear_may_be_given_in_the_query_or_the_body(delete, backend, query, body, reason):
    for service, order in (("dns", SENT), (None, Lift(WHO, "x", NOON))):
        backend.show(service, order)
        path = "/guard/lift" if service is None else f"/services/{service}/override"
        assert delete(f"{path}{query}", json=body).status_code == 200
        assert backend.ordered[-1] == Clear(service, WHO, reason)


@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ("?reason=", None, 422),
        ("?reason=%1b", None, 422),
        ("?why=x", None, 422),
        ("?reason=a&reason=b", None, 422),
        ("?reason=a", {"reason": "b"}, 422),
        ("", {"reason": ""}, 422),
        ("", {"why": "x"}, 422),
        ("", [], 422),
    ],
)
def test_a_wrong_reason_to_clear_clears_nothing(delete, problem, backend, query, body, status):
    backend.show("dns", SENT)
    backend.show(None, Lift(WHO, "x", NOON))
    for path in ("/services/dns/override", "/guard/lift"):
        document = problem(delete(f"{path}{query}", json=body), status)
        assert document["errors"]
    assert backend.ordered == []


def test_the_guard_tells_what_it_holds(client, backend):
    assert client.get("/guard").get_json() == {
        "held": [],
        "withdrawn": ["dns"],
        "limit": 2,
        "lift": None,
        "blind": False,
        "clock_doubted": False,
    }
    held = replace(
        backend.view.guard, held=("ntp",), limit=None, lift=Lift("noc", "all go", NOON, NOON + 60), blind=True
    )
    backend.view = replace(backend.view, guard=held)
    assert client.get("/guard").get_json() == {
        "held": ["ntp"],
        "withdrawn": ["dns"],
        "limit": None,
        "lift": {
            "actor": "noc",
            "reason": "all go",
            "since": "2026-11-20T12:00:00.000Z",
            "expires": "2026-11-20T12:01:00.000Z",
        },
        "blind": True,
        "clock_doubted": False,
    }


def test_the_limit_is_lifted_and_holds_again(put, delete, problem, backend):
    response = put("/guard/lift", {"reason": "all go", "ttl": "1m"})
    body = response.get_json()
    assert (response.status_code, body["event"]) == (200, 71)
    assert body["lift"] == body["guard"]["lift"]
    assert (body["lift"]["actor"], body["lift"]["expires"]) == (WHO, "2026-11-20T12:01:00.000Z")
    body = delete("/guard/lift?reason=done").get_json()
    assert (body["event"], body["lift"], body["guard"]["lift"]) == (72, None, None)
    assert backend.ordered == [Order(Lift(WHO, "all go", NOON, NOON + 60)), Clear(None, WHO, "done")]
    assert "GET /guard" in problem(delete("/guard/lift"), 404)["detail"]


# --- when it does not work ----------------------------------------------------------------------------------------


def ask(put, delete, backend):
    """Each of the four, where there is something to take back."""
    yield put("/services/dns/override", DRAIN)
    yield put("/guard/lift", {"reason": "x"})
    backend.show("dns", SENT)
    yield delete("/services/dns/override")
    backend.show(None, Lift(WHO, "x", NOON))
    yield delete("/guard/lift")


def test_what_the_engine_refuses_is_422_with_place_and_remedy(put, delete, problem, backend):
    backend.refusal = ConfigError("override", "there is no service dns: it left a moment ago")
    for response in ask(put, delete, backend):
        document = problem(response, 422)
        assert document["errors"] == [{"place": "override", "detail": "there is no service dns: it left a moment ago"}]
        assert "it left a moment ago" in document["detail"]


@pytest.mark.parametrize(
    ("trouble", "says"),
    [(StoreError("the disk is full"), "the disk is full"), (TimeoutError("busy"), "it may hold nevertheless")],
)
def test_an_order_that_is_not_on_disk_is_503_and_says_so(put, delete, problem, backend, trouble, says):
    backend.refusal = trouble
    for response in ask(put, delete, backend):
        assert says in problem(response, 503)["detail"]
        assert int(response.headers["Retry-After"]) > 0


def test_the_answer_waits_for_a_snapshot_in_which_the_order_is_seen(put, backend, monkeypatch):
    old = replace(backend.view, at=99.0)
    stale = itertools.chain([old, old, old], itertools.repeat(None))
    monkeypatch.setattr(backend, "snapshot", lambda: next(stale) or backend.view)
    assert put("/services/dns/override", DRAIN).get_json()["service"]["override"]["action"] == "drain"


def test_an_order_is_answered_also_where_no_snapshot_comes(put, backend, monkeypatch):
    snapshots = iter([backend.view])

    def late():
        try:
            return next(snapshots)
        except StopIteration:
            raise TimeoutError from None

    monkeypatch.setattr(backend, "snapshot", late)
    body = put("/services/dns/override", DRAIN).get_json()
    assert (body["event"], body["service"]) == (71, None)


def test_an_order_is_answered_also_where_only_an_old_snapshot_comes(put, backend, monkeypatch):
    monkeypatch.setattr(orders, "SEEN_WITHIN", 0.0)
    backend.view = replace(backend.view, at=99.0)
    assert put("/guard/lift", {"reason": "x"}).get_json()["event"] == 71


def test_a_service_that_left_meanwhile_is_null(put, backend, monkeypatch):
    order = backend.order

    def then_leave(what, timeout):
        number = order(what, timeout)
        backend.view = replace(backend.view, services=())
        return number

    monkeypatch.setattr(backend, "order", then_leave)
    assert put("/services/dns/override", DRAIN).get_json()["service"] is None
