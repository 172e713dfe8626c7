"""POST /command, POST /shutdown and dry_run: what reaches the program, what is answered, what is refused."""

import threading
from ipaddress import ip_address, ip_network

import pytest

from exabgp_bfd.core.model import (
    Action,
    ByHand,
    Clear,
    ConfigError,
    Lift,
    Order,
    Outcome,
    Override,
    OwnedError,
    Route,
    SpeakerError,
    StoreError,
    Watchdog,
)
from exabgp_bfd.core.neighbors import IS_DOWN, NOT_SEEN
from exabgp_bfd.core.spoken import Question
from exabgp_bfd.web.api import command as commands

NOON = 1795176000.0
"""Where the backend's clock stands."""
WHO = "admin (ephemeral key)"
SAID = "announce route 203.0.113.7/32 next-hop self"
ROUTE = Route(ip_network("203.0.113.7/32"))


@pytest.fixture
def say(client, admin):
    return lambda command, path="/command", **more: client.post(path, json={"command": command, **more}, headers=admin)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Nobody waits for an ExaBGP that is not there."""
    monkeypatch.setattr(commands, "SEEN_WITHIN", 0.05)
    monkeypatch.setattr(commands, "ANSWERED_WITHIN", 0.05)


def test_a_command_reaches_the_program_as_a_value(say, backend):
    response = say("neighbor 192.0.2.1 announce route 203.0.113.7/32 next-hop self med 5", reason="a test", ttl="2h")
    assert response.status_code == 200, response.data
    route = Route(ROUTE.prefix, neighbors=(ip_address("192.0.2.1"),), med=5)
    assert backend.by_hand == [ByHand(route, True, WHO, "a test", NOON, NOON + 7200)]
    said = response.get_json()
    assert (said["event"], said["lines"], said["answer"]) == (101, ["as it is written"], "done")
    assert (said["confirmed"], said["missing"]) == (["192.0.2.254"], {})
    assert (said["route"]["key"], said["route"]["announced"]) == ("203.0.113.7/32", True)
    assert said["route"]["expires"] == "2026-11-20T14:00:00.000Z"


def test_a_withdraw_and_watchdogs(say, backend):
    for text in ("withdraw route 203.0.113.7/32", "announce watchdog ntp", "withdraw watchdog ntp"):
        assert say(text).status_code == 200
    assert [(each.announce, each.target) for each in backend.by_hand] == [
        (False, ROUTE),
        (True, Watchdog("ntp")),
        (False, Watchdog("ntp")),
    ]


@pytest.mark.parametrize(
    ("outcome", "missing", "answer"),
    [
        (Outcome.ERROR, {"192.0.2.1": NOT_SEEN}, "error"),
        (Outcome.TIMEOUT, {"192.0.2.1": NOT_SEEN}, "none"),
        (None, {}, "none"),
        (Outcome.DONE, {"192.0.2.1": NOT_SEEN}, "done"),
        (Outcome.DONE, {"192.0.2.1": IS_DOWN}, "done"),
    ],
)
def test_what_exabgp_makes_of_it_is_told(say, backend, outcome, missing, answer):
    backend.outcome, backend.text, backend.missing_at = outcome, "because", tuple(missing.items())
    said = say(SAID).get_json()
    assert (said["answer"], said["missing"], said["text"]) == (answer, missing, ["because"])


def test_what_stands_is_listed_for_who_may_read(say, client, keyed, key):
    assert client.get("/command").get_json() == {"commands": [], "next_cursor": None}
    say(SAID, reason="a test")
    [stands] = keyed.get("/command", headers=key("read")).get_json()["commands"]
    assert (stands["key"], stands["actor"], stands["reason"], stands["answer"]) == (
        "203.0.113.7/32",
        WHO,
        "a test",
        "done",
    )


def test_what_stands_comes_in_pages(say, client):
    for last in (3, 1, 2):
        say(f"announce route 203.0.113.{last}/32 next-hop self")
    first = client.get("/command?limit=2").get_json()
    assert [each["key"] for each in first["commands"]] == ["203.0.113.1/32", "203.0.113.2/32"]
    rest = client.get("/command", query_string={"cursor": first["next_cursor"]}).get_json()
    assert ([each["key"] for each in rest["commands"]], rest["next_cursor"]) == (["203.0.113.3/32"], None)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("shutdown", 1),
        ("", 1),
        (f"{SAID}\nshutdown", 44),
        (f"{SAID}\r\nshutdown", 44),
        (f"{SAID}\0", 44),
        (f"{SAID} \u2028", 45),
        ("\ud800", 1),
        (f"{SAID}; shutdown", 44),
        ("announce route 203.0.113.7/33 next-hop self", 16),
        ("x" * 5000, 4097),
    ],
    ids=lambda value: ascii(value)[:40],
)
@pytest.mark.parametrize("more", [{}, {"dry_run": True}], ids=str)
def test_anything_else_is_422_with_its_column(say, problem, backend, text, column, more):
    document = problem(say(text, **more), 422)
    assert [(error["pointer"], error["place"]) for error in document["errors"]] == [("#/command", f"column {column}")]
    assert (backend.by_hand, backend.asked, backend.rehearsals) == ([], [], [])


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "#/command"),
        ({"command": 5}, "#/command"),
        ({"command": [SAID]}, "#/command"),
        ({"command": SAID, "reason": ""}, "#/reason"),
        ({"command": SAID, "reason": "a\nb"}, "#/reason"),
        ({"command": SAID, "ttl": 0}, "#/ttl"),
        ({"command": SAID, "ttl": 5, "expires": "2027-01-01T00:00:00Z"}, "#"),
        ({"command": "withdraw route 203.0.113.7/32", "ttl": 5}, "#/ttl"),
        ({"command": "version", "expires": "2027-01-01T00:00:00Z"}, "#/expires"),
        ({"command": SAID, "dry_run": "yes"}, "#/dry_run"),
        ({"command": SAID, "commands": [SAID]}, "#/commands"),
    ],
    ids=str,
)
def test_a_wrong_body_is_422_with_its_place(client, admin, problem, backend, body, place):
    document = problem(client.post("/command", json=body, headers=admin), 422)
    assert [error["pointer"] for error in document["errors"]] == [place]
    assert backend.by_hand == []


@pytest.mark.parametrize(
    ("refusal", "status", "said"),
    [
        (OwnedError("command", "it belongs to the service dns"), 409, "belongs to the service dns"),
        (ConfigError("command", "no neighbour can carry it"), 422, "no neighbour can carry it"),
        (SpeakerError("ExaBGP's pipe is closed"), 503, "pipe is closed"),
        (StoreError("the disk is full"), 503, "the disk is full"),
        (TimeoutError("busy"), 503, "may have been said"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_program_refuses(say, problem, backend, refusal, status, said):
    backend.refusal = refusal
    response = say(SAID)
    assert said in problem(response, status)["detail"]
    assert ("Retry-After" in response.headers) == (status == 503)
    assert problem(say("version"), 503 if status == 503 else status)


def test_questions_are_asked_one_a_second(say, problem, backend):
    said = say("show neighbor summary", reason="a test").get_json()
    assert (said["event"], said["lines"], said["answer"]) == (99, ["show neighbor summary"], "done")
    assert (said["text"], said["complete"]) == (["exabgp 5.0.15"], True)
    assert backend.asked == [(Question.NEIGHBORS, WHO, "a test")]
    response = say("version")
    assert "once in 1 s" in problem(response, 503)["detail"]
    assert response.headers["Retry-After"] == "1"
    assert say(SAID).status_code == 200, "commands do not wait for that"
    assert len(backend.asked) == 1


def test_one_command_waits_for_exabgp_at_a_time(app, admin, problem, backend, monkeypatch):
    begun, goes_on = threading.Event(), threading.Event()
    said = type(backend).command

    def slow(self, what, timeout):
        begun.set()
        assert goes_on.wait(30)
        return said(self, what, timeout)

    monkeypatch.setattr(type(backend), "command", slow)
    answers = []

    def first():
        answers.append(app.test_client().post("/command", json={"command": SAID}, headers=admin))

    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert begun.wait(30)
        client = app.test_client()
        second = client.post("/command", json={"command": SAID}, headers=admin)
        assert "another command" in problem(second, 503)["detail"]
        body = {"action": "freeze", "reason": "a test"}
        assert client.put("/services/dns/override", json=body, headers=admin).status_code == 200
    finally:
        goes_on.set()
        thread.join(30)
    assert [answer.status_code for answer in answers] == [200]


# --- what would be done ---------------------------------------------------------------------------------------------

REHEARSED = [
    ("POST", "/command", {"command": SAID}, Order(ByHand(ROUTE, True, WHO, "", NOON))),
    (
        "PUT",
        "/services/dns/override",
        {"action": "withdraw", "reason": "x"},
        Order(Override("dns", Action.WITHDRAW, WHO, "x", NOON)),
    ),
    ("PUT", "/guard/lift", {"reason": "x", "ttl": 5}, Order(Lift(WHO, "x", NOON, NOON + 5))),
    ("DELETE", "/services/dns/override", {"reason": "x"}, Clear("dns", WHO, "x")),
    ("DELETE", "/guard/lift", {}, Clear(None, WHO, "")),
]


@pytest.mark.parametrize(("method", "path", "body", "what"), REHEARSED, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("where", ["query", "body"])
def test_a_dry_run_tells_and_does_nothing(client, admin, backend, method, path, body, what, where):
    if method == "DELETE":
        backend.show("dns", Override("dns", Action.FREEZE, WHO, "x", NOON))
        backend.show(None, Lift(WHO, "x", NOON))
    asked, body = (f"{path}?dry_run=true", body) if where == "query" else (path, {**body, "dry_run": True})
    response = client.open(asked, method=method, json=body, headers=admin)
    assert response.status_code == 200, response.data
    told = response.get_json()
    assert (told["dry_run"], told["dialect"], told["refused"]) == (True, "5", None)
    assert told["lines"] == {"5": ["withdraw route 192.0.2.53/32"]}
    assert (told["commands"][0]["action"], told["commands"][0]["prefix"]) == ("withdraw", "192.0.2.53/32")
    assert backend.rehearsals == [what]
    assert (backend.ordered, backend.by_hand, backend.reloads) == ([], [], [])


@pytest.mark.parametrize(("method", "path", "body", "what"), REHEARSED[:3], ids=lambda value: str(value)[:30])
def test_a_dry_run_tells_that_it_would_be_refused(client, admin, backend, method, path, body, what):
    backend.refusal = OwnedError("command", "it belongs to the service dns")
    told = client.open(f"{path}?dry_run=true", method=method, json=body, headers=admin).get_json()
    assert (told["refused"], told["commands"]) == ("command: it belongs to the service dns", [])
    assert backend.rehearsals == [what]


@pytest.mark.parametrize(("method", "path", "body", "what"), REHEARSED, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("query", ["dry_run=1", "dry_run=", "dry_run=true&dry_run=false", "dryrun=true"])
def test_a_dry_run_that_is_not_understood_does_nothing(
    client, admin, problem, backend, method, path, body, what, query
):
    problem(client.open(f"{path}?{query}", method=method, json=body, headers=admin), 422)
    assert (backend.ordered, backend.by_hand, backend.rehearsals) == ([], [], []), what


def test_a_drain_tells_what_follows(client, admin):
    body = {"action": "drain", "reason": "x", "dry_run": True}
    for service, later in (("ntp", "withdrawn after 60 s"), ("dns", None)):
        told = client.put(f"/services/{service}/override", json=body, headers=admin).get_json()
        assert (told["later"], told["scope"]) == (later, "site")


def test_a_reload_is_rehearsed_by_the_query_too(client, admin, backend):
    told = client.post("/reload?dry_run=true", headers=admin).get_json()
    assert (told["dry_run"], told["added"], backend.reloads) == (True, ["ntp"], [])
    rehearsed = client.post("/reload?dry_run=true", json={"file": "/etc/next.toml"}, headers=admin)
    assert rehearsed.get_json()["file"] == "/etc/next.toml"


# --- the end --------------------------------------------------------------------------------------------------------


def test_an_end_is_answered_before_it(client, admin, backend):
    response = client.post("/shutdown", json={"reason": "new version"}, headers=admin)
    assert response.status_code == 202
    said = response.get_json()
    assert (said["event"], said["status"], said["on_exit"]) == (98, "stopping", "keep")
    assert said["stays"] == ["192.0.2.53/32", "watchdog ntp"]
    assert "respawn false" in said["then"]
    assert backend.ended == [(WHO, "new version")]


def test_an_end_needs_no_body(client, admin, backend):
    assert client.post("/shutdown", headers=admin).status_code == 202
    assert backend.ended == [(WHO, "")]


@pytest.mark.parametrize(("query", "body"), [("?dry_run=true", None), ("", {"dry_run": True})])
def test_an_end_is_rehearsed(client, admin, backend, query, body):
    response = (
        client.post(f"/shutdown{query}", json=body, headers=admin)
        if body
        else client.post(f"/shutdown{query}", headers=admin)
    )
    told = response.get_json()
    assert (response.status_code, told["dry_run"], told["commands"], told["on_exit"]) == (200, True, [], "keep")
    assert backend.ended == []


@pytest.mark.parametrize("refusal", [StoreError("the disk is full"), TimeoutError("we are stopping already")])
def test_an_end_that_is_not_on_disk_does_not_happen(client, admin, problem, backend, refusal):
    backend.refusal = refusal
    problem(client.post("/shutdown", headers=admin), 503)
    assert backend.ended == []


@pytest.mark.parametrize("path", ["/command", "/shutdown"])
@pytest.mark.parametrize("role", ["read", "operate"])
def test_both_are_for_administrators(keyed, key, problem, backend, path, role):
    problem(keyed.post(path, json={"command": SAID}, headers=key(role)), 403)
    assert (backend.by_hand, backend.ended) == ([], [])
