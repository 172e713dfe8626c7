"""Keys and roles: every endpoint says its role, and no request gets past it with less."""

import re
import threading
from dataclasses import replace
from hashlib import sha256
from ipaddress import ip_network

import pytest
from api.box import keys
from flask import Flask, request

from exabgp_bfd.core.model import ConfigError, Secret
from exabgp_bfd.web import auth, gate
from exabgp_bfd.web.auth import Key, find_key, is_loopback, new_key
from exabgp_bfd.web.backend import WebSettings
from exabgp_bfd.web.limits import Rates

ROLES = ("read", "operate", "admin")
OPEN = ("/health", "/healthz", "/readyz", "/metrics")
BODIES = {
    "/services/<name>/override": {"action": "freeze", "reason": "test"},
    "/guard/lift": {"reason": "test"},
    "/devices": {"name": "edge9", "host": "192.0.2.9"},
    "/devices/<name>": {"host": "192.0.2.7"},
    "/command": {"command": "withdraw route 203.0.113.7/32"},
    "/snmp/get": {"device": "edge1", "oids": ["1.3.6.1.2.1.1.5.0"]},
    "/snmp/walk": {"device": "edge1", "oid": "1.3.6.1.2.1.1"},
    "/snmp/poll": {"device": "edge1"},
}


def requests(app):
    """Every endpoint as (role, method, path, body)."""
    found = []
    for rule in app.url_map.iter_rules():
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
            body = BODIES.get(rule.rule) if method in {"PUT", "POST"} else None
            found.append((gate.access_of(app, rule.endpoint), method, _address(rule.rule), body))
    return found


def _address(rule):
    return rule.replace("<name>", "edge7" if rule.startswith("/devices") else "dns").replace("<int:number>", "7")


def key_of(text, role="admin", name="noc"):
    return Key(name, role, Secret(sha256(text.encode()).hexdigest()))


def test_every_rule_says_its_role(app):
    roles = {rule.rule: gate.access_of(app, rule.endpoint) for rule in app.url_map.iter_rules()}
    assert set(roles.values()) == {"none", "hmac", *ROLES}
    assert {path for path, role in roles.items() if role == "none"} == set(OPEN)
    assert {path for path, role in roles.items() if role == "hmac"} == {"/webhook/failure"}
    changing = [
        gate.access_of(app, rule.endpoint)
        for rule in app.url_map.iter_rules()
        if rule.methods - {"GET", "HEAD", "OPTIONS"} and rule.rule != "/webhook/failure"
    ]
    assert set(changing) == {"operate", "admin"}  # nothing is changed with a key that only reads


def test_an_application_with_a_rule_that_says_none_is_not_made(settings):
    app = Flask("forgetful", static_folder=None)
    app.add_url_rule("/secret", view_func=lambda: "told")
    with pytest.raises(LookupError, match="says no role"):
        gate.install(app, settings)


@pytest.mark.parametrize("held", [None, "unknown", *ROLES])
def test_no_endpoint_is_reached_with_less_than_its_role(keyed, key, problem, backend, held):
    headers = {"X-API-Key": "of somebody else"} if held == "unknown" else key(held) if held else {}
    for role, method, path, body in requests(keyed.application):
        if role == "hmac":
            continue
        backend.show("dns", None)
        response = keyed.open(path, method=method, json=body, headers=headers)
        if role == "none" or (held in ROLES and ROLES.index(held) >= ROLES.index(role)):
            # 404: no override to clear, no such ticket
            assert response.status_code in {200, 201, 202, 404}, (method, path, response.data)
            continue
        refusal = problem(response, 403 if held in ROLES else 401)
        assert f"role {role}" in refusal["detail"], (method, path)
        if held in ROLES:
            assert f"a-{held}" in refusal["detail"]
            assert f"has the role {held}" in refusal["detail"]
            assert "WWW-Authenticate" not in response.headers
        else:
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert "[[api.key]]" in refusal["detail"]


@pytest.mark.parametrize("held", [None, "read", "operate"])
def test_what_was_refused_changed_nothing(keyed, key, backend, held):
    headers = key(held) if held else {}
    keyed.post("/reload", headers=headers)
    if held != "operate":
        keyed.put("/services/dns/override", json={"action": "withdraw", "reason": "x"}, headers=headers)
        keyed.put("/guard/lift", json={"reason": "x"}, headers=headers)
    assert (backend.ordered, backend.reloads, backend.previewed) == ([], [], [])


def test_without_keys_reading_is_open_and_changing_is_not(client, backend, problem, make_event):
    backend.trail = [make_event(7)]  # the number that `requests` asks for
    for role, method, path, body in requests(client.application):
        response = client.open(path, method=method, json=body)
        if role in {"none", "read"}:
            assert response.status_code == 200, path
        elif role != "hmac":
            assert "admin.key" in problem(response, 401)["detail"]
    assert (backend.ordered, backend.reloads) == ([], [])


def test_the_ephemeral_key_may_do_everything_in_its_own_name(client, admin, backend):
    body = {"action": "withdraw", "reason": "test"}
    assert client.put("/services/dns/override", json=body, headers=admin).status_code == 200
    assert client.post("/reload", headers=admin).status_code == 200
    assert backend.ordered[0].what.actor == "admin (ephemeral key)"
    assert backend.reloads == ["admin (ephemeral key)"]


def test_without_keys_reading_is_open_on_this_machine_only(client, admin, problem):
    for address, status in (("127.0.0.8", 200), ("::1", 200), ("::ffff:127.0.0.1", 200), ("192.0.2.7", 401)):
        response = client.get("/services", environ_base={"REMOTE_ADDR": address})
        assert response.status_code == status, address
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    assert client.get("/services", environ_base=elsewhere, headers=admin).status_code == 200
    assert client.get("/healthz", environ_base=elsewhere).status_code == 200


def test_without_any_key_nothing_can_be_changed_and_the_remedy_is_said(build, problem):
    client = build(ephemeral=None)
    assert client.get("/services").status_code == 200
    for headers in ({}, {"X-API-Key": "guess"}):
        assert "[[api.key]]" in problem(client.post("/reload", headers=headers), 401)["detail"]


def test_a_key_left_over_from_before_shuts_no_open_door(client):
    assert client.get("/services", headers={"X-API-Key": "of the start before"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "key-that-reads"},
        {"x-api-key": " key-that-reads "},
        {"Authorization": "Bearer key-that-reads"},
        {"Authorization": "bearer   key-that-reads"},
        {"Authorization": "Bearer key-that-reads", "X-API-Key": "key-that-reads"},
        {"Authorization": "Basic dXNlcjpwYXNz", "X-API-Key": "key-that-reads"},
    ],
)
def test_a_key_travels_in_either_header(keyed, headers):
    assert keyed.get("/services", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": ""},
        {"X-API-Key": "key-that-read"},
        {"X-API-Key": "KEY-THAT-READS"},
        {"X-API-Key": "key-that-reads,key-that-reads"},
        {"X-API-Key": sha256(b"key-that-reads").hexdigest()},
        {"X-API-Key": "schlüssel"},
        {"Authorization": "key-that-reads"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic key-that-reads"},
        {"Authorization": "Bearer key-that-reads", "X-API-Key": "key-that-operates"},
        {"Cookie": "X-API-Key=key-that-reads"},
    ],
    ids=str,
)
def test_anything_else_is_no_key(keyed, problem, headers):
    response = keyed.get("/services", headers=headers)
    detail = problem(response, 401)["detail"]
    assert "Bearer" in response.headers["WWW-Authenticate"]
    assert "key-that" not in detail


def test_a_key_in_the_query_is_no_key(keyed, problem):
    problem(keyed.get("/services?key=key-that-reads"), 401)
    problem(keyed.get("/services?api_key=key-that-reads&X-API-Key=key-that-reads"), 401)


@pytest.mark.parametrize(
    ("headers", "challenge"), [({}, "Bearer"), ({"X-API-Key": "wrong"}, 'Bearer error="invalid_token"')]
)
def test_a_refusal_tells_a_wrong_key_from_none(keyed, headers, challenge):
    assert keyed.get("/services", headers=headers).headers["WWW-Authenticate"] == challenge


def test_the_remedy_tells_which_roles_would_do(keyed, key, problem):
    body = {"action": "drain", "reason": "x"}
    detail = problem(keyed.put("/services/dns/override", json=body, headers=key("read")), 403)["detail"]
    assert "operate or admin" in detail
    assert "admin" in problem(keyed.post("/reload", headers=key("operate")), 403)["detail"]


def test_no_key_reaches_a_log_or_an_answer(keyed, key, caplog):
    caplog.set_level("DEBUG")
    answers = [
        keyed.post("/reload", headers=key("read")),
        keyed.post("/reload", headers={"X-API-Key": "key-that-guesses"}),
        keyed.get("/services", headers={"Authorization": "Bearer key-that-guesses", "X-API-Key": "key-that-reads"}),
        keyed.get("/nothing", headers=key("admin")),
    ]
    assert [answer.status_code for answer in answers] == [403, 401, 401, 404]
    assert "a-read" in caplog.text
    for text in (caplog.text, *(answer.get_data(as_text=True) for answer in answers)):
        assert "key-that" not in text


def test_the_host_is_looked_at_before_the_key(keyed, key, problem):
    detail = problem(keyed.get("/services", headers={**key("admin"), "Host": "evil.example"}), 403)["detail"]
    assert "Host" in detail


def test_a_head_request_needs_the_role_too(keyed, key):
    assert keyed.head("/services").status_code == 401
    assert keyed.head("/services", headers=key("read")).status_code == 200


def test_the_webhook_asks_for_its_signature_and_no_key(keyed, key, signed, problem):
    body = b'{"device": "edge1", "reason": "link_flap", "evidence": {}}'
    assert keyed.post("/webhook/failure", data=body, headers=signed(body)).status_code == 202
    assert (
        "X-Hub-Signature-256" in problem(keyed.post("/webhook/failure", data=body, headers=key("admin")), 401)["detail"]
    )


# --- the pure part ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "opens"), [("read", {"read"}), ("operate", {"read", "operate"}), ("admin", {"read", "operate", "admin"})]
)
def test_each_role_may_do_what_those_before_it_may(held, opens):
    assert {role for role in ROLES if key_of("x", held).may(role)} == opens


def test_every_key_is_compared_whichever_matches(monkeypatch):
    compared = []
    right = auth.hmac.compare_digest

    def compare(known, digest):
        compared.append(known)
        return right(known, digest)

    monkeypatch.setattr(auth.hmac, "compare_digest", compare)
    known = [key_of("one", name="1"), key_of("two", name="2"), key_of("three", name="3")]
    for presented, name in ((b"one", "1"), (b"two", "2"), (b"three", "3"), (b"four", None)):
        compared.clear()
        found = find_key(known, presented)
        assert (found and found.name) == name
        assert compared == [key.sha256.reveal() for key in known]


def test_a_new_key_opens_and_is_known_by_its_hash_only():
    text, known = new_key()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", text)
    assert find_key([known], text.encode()) is known
    assert (known.name, known.role) == ("admin (ephemeral key)", "admin")
    assert text not in repr(known)
    assert known.sha256.reveal() not in repr(known)
    assert new_key()[0] != text


@pytest.mark.parametrize("digest", ["", "0" * 63, "A" * 64, "ü" * 64])
def test_a_hash_that_could_never_match_is_refused_with_its_place(digest):
    with pytest.raises(ConfigError, match=r"\[\[api\.key\]\] sha256: that of noc is no SHA-256") as caught:
        WebSettings("127.0.0.1", 8080, keys=(replace(key_of("x"), sha256=Secret(digest)),))
    assert not digest or digest not in str(caught.value)


@pytest.mark.parametrize("address", [None, "", "unix:", "10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1"])
def test_what_is_not_loopback(address):
    assert not is_loopback(address)


def test_changes_under_way_leave_room_for_others(build, admin, backend, problem, monkeypatch):
    client = build(threads=16)
    held, entered = threading.Event(), threading.Semaphore(0)
    order = backend.order

    def slow(what, timeout):
        entered.release()
        assert held.wait(20)
        return order(what, timeout)

    monkeypatch.setattr(backend, "order", slow)
    answers = []

    def change():
        body = {"action": "freeze", "reason": "x"}
        answers.append(client.application.test_client().put("/services/dns/override", json=body, headers=admin))

    threads = [threading.Thread(target=change) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert entered.acquire(timeout=20)
    third = client.put("/services/dns/override", json={"action": "freeze", "reason": "x"}, headers=admin)
    assert "other changes" in problem(third, 503)["detail"]
    assert third.headers["Retry-After"] == "1"
    assert client.get("/services").status_code == 200
    held.set()
    for thread in threads:
        thread.join(20)
    assert [answer.status_code for answer in answers] == [200, 200]


# --- networks, proxies, renewal -----------------------------------------------------------------------------------

OFFICE = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


def at(address, **headers):
    return {"environ_base": {"REMOTE_ADDR": address}, "headers": headers}


def test_only_the_networks_that_are_configured_may_ask_at_all(build, problem, signed):
    client = build(keys=keys(), ephemeral=None, networks=OFFICE)
    for path in ("/healthz", "/metrics", "/services", "/nothing"):
        for stranger in ("198.51.100.1", "127.0.0.1", "::1"):
            assert "[api] networks" in problem(client.get(path, **at(stranger)), 403)["detail"]
    body = b'{"device": "edge1", "reason": "link_flap", "evidence": {}}'
    problem(client.post("/webhook/failure", data=body, **at("198.51.100.1", **signed(body))), 403)
    for address in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7"):
        assert client.get("/healthz", **at(address)).status_code == 200
        assert client.get("/services", **at(address, **{"X-API-Key": "key-that-reads"})).status_code == 200


def test_a_key_may_be_for_some_networks_only(build, problem):
    own = [replace(key, networks=OFFICE if key.role == "admin" else ()) for key in keys()]
    client = build(keys=tuple(own), ephemeral=None)
    admin, reader = {"X-API-Key": "key-that-administers"}, {"X-API-Key": "key-that-reads"}
    assert client.post("/reload", **at("192.0.2.7", **admin)).status_code == 200
    assert "a-admin may not be used from 127.0.0.1" in problem(client.post("/reload", headers=admin), 403)["detail"]
    assert client.get("/services", headers=reader).status_code == 200


def test_who_asks_is_whom_a_trusted_proxy_says(build, problem, backend):
    client = build(trusted_proxies=(ip_network("127.0.0.0/8"),))

    def ask(forwarded, peer="127.0.0.1"):
        headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
        return client.get("/services", **at(peer, **headers))

    assert ask(None).status_code == 200  # the proxy itself, on loopback and without keys
    assert ask("198.51.100.1").status_code == 401
    assert ask("127.0.0.1, 198.51.100.1").status_code == 401  # what a client says of itself
    assert ask("198.51.100.1, 127.0.0.3").status_code == 401  # through two proxies
    problem(ask("unknown"), 400)
    problem(ask(""), 400)


def test_nobody_else_is_believed(build, client, key):
    beyond = build(keys=keys(), ephemeral=None, networks=OFFICE)
    forged = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Host": "localhost", "Forwarded": "for=192.0.2.7"}
    assert beyond.get("/services", **at("198.51.100.1", **forged, **key("read"))).status_code == 403
    assert client.get("/services", **at("198.51.100.1", **{"X-Forwarded-For": "127.0.0.1"})).status_code == 401
    seen = {}
    client.application.before_request_funcs[None].insert(0, lambda: seen.update(request.environ) or None)
    client.get("/services", headers=forged)
    assert not [name for name in seen if "FORWARDED" in name]


def test_a_key_that_is_taken_out_opens_nothing_from_the_next_request_on(build, key, problem, backend, monkeypatch):
    client = build(keys=keys(), ephemeral=None)
    held, entered = threading.Event(), threading.Event()
    reload = backend.reload

    def slow(actor, timeout):
        entered.set()
        assert held.wait(20)
        return reload(actor, timeout)

    monkeypatch.setattr(backend, "reload", slow)
    under_way = []
    thread = threading.Thread(
        target=lambda: under_way.append(client.application.test_client().post("/reload", headers=key("admin")))
    )
    thread.start()
    assert entered.wait(20)
    old = client.application.extensions[gate.STANDING].settings
    gate.renew(client.application, replace(old, keys=(keys()[0], key_of("another"))))
    problem(client.post("/reload", headers=key("admin")), 401)
    assert client.get("/services", headers=key("read")).status_code == 200
    held.set()
    thread.join(20)
    assert [answer.status_code for answer in under_way] == [200]  # what was under way with it ends
    assert client.post("/reload", headers={"X-API-Key": "another"}).status_code == 200
    assert backend.reloads == ["a-admin", "noc"]


def test_several_keys_of_one_name_act_alike(build, backend):
    both = (key_of("old key", name="noc"), key_of("new key", name="noc"))
    client = build(keys=both, ephemeral=None)
    assert {client.post("/reload", headers={"X-API-Key": text}).status_code for text in ("old key", "new key")} == {200}
    assert backend.reloads == ["noc", "noc"]


def test_a_renewal_changes_senders_and_rates_too(build, signed, admin):
    client = build()
    body = b'{"device": "edge1", "reason": "link_flap", "evidence": {}}'
    old = client.application.extensions[gate.STANDING].settings
    gate.renew(client.application, replace(old, webhook_secrets=(Secret("third secret"),)))
    assert client.post("/webhook/failure", data=body, headers=signed(body)).status_code == 401
    assert client.post("/webhook/failure", data=body, headers=signed(body, "third secret")).status_code == 202
    gate.renew(client.application, replace(old, rates=Rates(requests=0.01, burst=1)))
    assert [client.get("/services").status_code for _ in range(2)] == [200, 429]
    gate.renew(client.application, replace(old, webhook_secrets=(), rates=Rates(requests=0.01, burst=1)))
    assert client.get("/services").status_code == 429  # the same rates: what was used up stays so
