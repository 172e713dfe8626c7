"""Attacks on the real process: whatever is sent to its API, its stdout carries the commands that are expected."""

import contextlib
import http.client
import itertools
import json
import random
import re
import socket
import time
from hashlib import sha256

import pytest
from lab import PATIENCE, wait_for
from lab.process import ANNOUNCE, WEBHOOK_SECRET, WITHDRAW, toml

from exabgp_bfd.core.model import Secret, State
from exabgp_bfd.web.auth import sign, sign_standard

pytestmark = pytest.mark.live

WHSEC = "whsec_" + "bm9ib2R5LW1heS1zZWUtdGhpcy1zZWNyZXQtZXZlcg=="
KEY = "admin-key-nobody-may-see"
SENDER = f'[[webhook.sender]]\nname = "svix"\nsecrets = ["{WHSEC}"]\neffect = "observe"\n'
KEYS = f'[[api.key]]\nname = "noc"\nrole = "admin"\nsha256 = "{sha256(KEY.encode()).hexdigest()}"\n'
UNLIMITED = "[api.rates]\nrequests = 0\nfailures = 0\n"
PATH = "/webhook/failure"
MARK = "announce route 203.0.113.66/32 next-hop self"
BREAKS = ("\r\n", "\n", "\r", "\0", "\x0b", "\x1b", "\x85", "\u2028", "\ud800")
PAYLOADS = tuple(f"x{one}{MARK}{one}X-Injected: 1{one}{one}" for one in BREAKS)
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) [a-z_.0-9]+ .*")


@pytest.fixture
def process(launch, router):
    process = launch(toml=toml(router.port, SENDER + KEYS + UNLIMITED, interval=0.1))
    wait_for(lambda: process.lines == [ANNOUNCE], f"announced; {process.log()}")
    wait_for(lambda: process.request("/readyz")[0] == 200, "ready")
    yield process
    # Every line of the log is one of ours, and nothing that was sent has begun one; the keys stand in none.
    for line in process.log().splitlines():
        assert LINE.fullmatch(line), line
        assert line.isprintable()
    assert KEY not in process.log()
    assert WHSEC.removeprefix("whsec_") not in process.log()
    assert "203.0.113.66" not in "".join(process.everything)


class Client:
    """One connection after the other, each kept while it holds."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def __call__(self, method, target, body=None, headers=()):
        """Whatever is given as it is, without any of http.client's own checks of it."""
        for again in (True, False):
            try:
                self.connection.putrequest(method, "/", skip_accept_encoding=True)
                self.connection._buffer[0] = f"{method} {target} HTTP/1.1".encode("latin-1", "replace")
                for name, value in (*dict(headers).items(), ("Content-Length", str(len(body or b"")))):
                    self.connection.putheader(name, value)
                self.connection.endheaders(body)
                response = self.connection.getresponse()
                return response, response.read()
            except (http.client.HTTPException, ConnectionError):
                # It ends a connection behind what is no HTTP.
                self.connection.close()
                if not again:
                    raise
        raise AssertionError("unreachable")


@pytest.fixture
def client(process):
    client = Client(process.api_port)
    yield client
    client.connection.close()


# --- webhooks -----------------------------------------------------------------------------------------------------


def report(number, state="down"):
    evidence = {"state": state, "peer": "198.51.100.1", "n": number}
    return json.dumps({"device": "edge1", "reason": "noticed", "evidence": evidence}).encode()


def standard(body, name, at):
    return {
        "webhook-id": name,
        "webhook-timestamp": str(at),
        "webhook-signature": sign_standard(Secret(WHSEC), name, at, body),
    }


def attacks(chance, seen, now):
    """What somebody makes of reports that he saw, without end."""
    hub = {"X-Hub-Signature-256": sign(Secret(WEBHOOK_SECRET), seen[0][0])}
    kinds = (
        lambda body, headers: (body, {}),
        lambda body, headers: (body[: chance.randrange(len(body))], headers),
        lambda body, headers: (body + b" ", headers),
        lambda body, headers: (flipped(chance, body), headers),
        lambda body, headers: (body, {**headers, "webhook-id": f"msg_{chance.random()}"}),
        lambda body, headers: (body, {**headers, "webhook-timestamp": str(now + chance.randrange(1, 200))}),
        lambda body, headers: (body, {**headers, "webhook-signature": "v1," + "A" * 43 + "="}),
        lambda body, headers: (body, {**headers, "webhook-signature": headers["webhook-signature"][:-9]}),
        lambda body, headers: (body, {**headers, "webhook-signature": headers["webhook-signature"].lower()}),
        lambda body, headers: (body, {"X-Hub-Signature-256": "sha256=" + chance.randbytes(32).hex()}),
        lambda body, headers: (body + b"\n", hub),
        lambda body, headers: (report(chance.random()), headers),
        lambda body, headers: (body, {"Authorization": f"Bearer {WHSEC}"}),
        lambda body, headers: (body, {"X-API-Key": KEY}),
        lambda body, headers: (body, standard(body, "old", now - 400)),
        lambda body, headers: (body, standard(body, "to-come", now + 400)),
    )
    for kind in itertools.cycle(kinds):
        yield kind(*chance.choice(seen))


def flipped(chance, body):
    octets = bytearray(body)
    octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
    return bytes(octets)


def test_a_thousand_forged_webhooks_move_nothing(process, client, router):
    chance, now = random.Random(7), int(time.time())
    seen = [(report(n, "up"), standard(report(n, "up"), f"seen_{n}", now - 5)) for n in range(5)]
    late = [(report(n), standard(report(n), f"late_{n}", now - 100 + n)) for n in range(5)]
    for body, headers in seen:
        response, text = client("POST", PATH, body, headers)
        assert response.status == 202, text
    before = len(process.events(event_type="noticed"))
    refused = []
    for body, headers in itertools.islice(attacks(chance, seen, now), 960):
        response, text = client("POST", PATH, body, headers)
        refused.append(response.status)
        assert response.status in {401, 409}, (body, headers, text)
    for body, headers in late * 4:  # held back on their way, and let go behind later ones
        assert client("POST", PATH, body, headers)[0].status == 409
    for body, headers in seen * 4:  # replayed: answered as before, and taken no second time
        assert client("POST", PATH, body, headers)[0].status == 202
    assert {401, 409} >= set(refused)
    assert len(process.events(event_type="noticed")) == before
    assert not process.events(event_type="bfd_failure")
    assert process.lines == [ANNOUNCE]
    router.set(State.DOWN)  # and it still does what it is there for
    wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "withdrawn")


# --- every string -------------------------------------------------------------------------------------------------


class Described:
    """The description that the process gives of itself."""

    def __init__(self, document):
        self.document = document

    def operations(self):
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                yield method.upper(), path, operation

    def strings(self, schema):
        """The places of all strings in a schema, as paths of keys."""
        while "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
            yield from self.strings(each)
        kinds = schema.get("type", ())
        if "string" in ([kinds] if isinstance(kinds, str) else kinds):
            yield ()
        for name, each in schema.get("properties", {}).items():
            yield from ((name, *place) for place in self.strings(each))
        if isinstance(schema.get("items"), dict):
            yield from ((0, *place) for place in self.strings(schema["items"]))

    def examples(self, operation):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        return (one["value"] for one in content.get("examples", {}).values())

    def bodies(self, operation):
        """Bodies of an operation, each with something in one of its strings."""
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            yield None
            return
        start = next(self.examples(operation), {})
        for place in dict.fromkeys(self.strings(content["schema"])):
            for text in PAYLOADS:
                yield planted(start, place, text)
        for text in PAYLOADS:
            yield {**start, text: text}


def planted(value, place, text):
    if not place:
        return text
    step, *rest = place
    if step == 0:
        return [planted(None, rest, text)]
    return {**(value if isinstance(value, dict) else {}), step: planted((value or {}).get(step), rest, text)}


def quoted(text):
    return "".join(f"%{octet:02x}" for octet in text.encode("utf-8", "surrogatepass"))


def test_no_string_of_any_route_reaches_stdout(process, client):
    """Through names in paths, parameters, headers, bodies and keys of bodies, with the key that may do everything."""
    described = Described(json.loads(client("GET", "/openapi.json", headers={"X-API-Key": KEY})[1]))
    tried = 0

    def ask(method, target, value=None, more=()):
        nonlocal tried
        body = None if value is None else json.dumps(value).encode()
        headers = {"X-API-Key": KEY, "X-Hub-Signature-256": sign(Secret(WEBHOOK_SECRET), body or b""), **dict(more)}
        response, text = client(method, target, body, headers)
        tried += 1
        assert response.status not in {200, 202} or method == "GET", (method, target, value, text)
        assert response.status != 500, text
        assert response.headers["X-Injected"] is None
        assert all(value.isprintable() for value in response.headers.values())

    for method, path, operation in described.operations():
        target = re.sub(r"\{\w+\}", "5", path.replace("services/{name}", "services/dns").replace("{name}", "edge1"))
        for body in described.bodies(operation):
            if body is not None:
                ask(method, target, body)
        for text in PAYLOADS if "{" in path else ():
            ask(method, re.sub(r"\{\w+\}", quoted(text), path))
        example = next(described.examples(operation), None)
        for one in operation["parameters"] if path != "/stream" else ():
            if one["in"] == "query":
                ask(method, f"{target}?{one['name']}={quoted(PAYLOADS[tried % len(PAYLOADS)])}", example)
        for name in ("User-Agent", "Referer", "X-Request-Id", "X-Forwarded-For", "Last-Event-ID", "Accept"):
            if method == "GET" and path != "/stream":
                ask(method, target, more={name: "x\x1b[2J\x85" + MARK})
    assert tried > 500
    assert process.lines == [ANNOUNCE]
    assert process.request("/healthz")[0] == 200


# --- floods -------------------------------------------------------------------------------------------------------


def test_a_flood_of_clients_that_dawdle_holds_up_neither_an_order_nor_a_withdraw(process, router):
    address = ("127.0.0.1", process.api_port)
    half = (
        b"",
        b"GET /health HTTP/1.1\r\nHost: local",
        b"POST /webhook/failure HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n{",
        b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %s\r\n\r\n" % KEY.encode() * 2,
    )
    with contextlib.ExitStack() as stack:
        for number in range(250):
            dawdler = socket.socket()
            dawdler.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # of the last kind: it asks, and never reads
            dawdler.settimeout(PATIENCE)
            dawdler.connect(address)
            stack.enter_context(dawdler)
            with contextlib.suppress(ConnectionError):
                dawdler.sendall(half[number % len(half)])
        wait_for(lambda: process.request("/health")[0] == 200, "health answers")  # 503 while those pages are made
        asked = Client(process.api_port)
        body = json.dumps({"action": "withdraw", "reason": "under attack"}).encode()
        response, text = asked("PUT", "/services/dns/override", body, {"X-API-Key": KEY})
        assert response.status == 200, text
        wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], "withdrawn by the order")
        assert asked("DELETE", "/services/dns/override", None, {"X-API-Key": KEY})[0].status == 200
        wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW, ANNOUNCE], "announced again")
        router.set(State.DOWN)
        wait_for(lambda: process.lines[3:] == [WITHDRAW], "withdrawn")
        assert asked("GET", "/readyz")[0].status == 200
        asked.connection.close()
