"""Attacks on the API's own sockets and routes: requests that two programs read in two ways, floods, and every string of
every route. What is attacked is the description, so that a new route is attacked as soon as there is one.
"""

import ast
import contextlib
import gzip
import hmac
import http.client
import json
import re
import socket
import threading
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from api.box import KEYS, Box, keys
from hypothesis import given
from hypothesis import strategies as st
from waitress.adjustments import Adjustments
from waitress.buffers import OverflowableBuffer

from exabgp_bfd.core.model import Secret
from exabgp_bfd.logs import LineFormatter
from exabgp_bfd.web import auth, strict
from exabgp_bfd.web import server as room
from exabgp_bfd.web.auth import Sender, SignatureError, prove, sign, sign_standard
from exabgp_bfd.web.backend import WebSettings
from exabgp_bfd.web.limits import Rates
from exabgp_bfd.web.openapi import describe
from exabgp_bfd.web.server import create_app

PATIENCE = 20
SECRET = "a secret of thirty-two characters"
ADMIN = KEYS["admin"]
METHODS = ("get", "put", "post", "delete", "patch")


class Recorded(Box):
    """The box, which notes what it was asked."""

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        if callable(value) and not name.startswith("_"):
            self.__dict__.setdefault("called", []).append(name)
        return value


def application(backend):
    limits = Rates(requests=0, failures=0)
    return create_app(
        backend, WebSettings("127.0.0.1", 0, webhook_secrets=(Secret(SECRET),), keys=keys(), rates=limits)
    )


DOCUMENT = describe(application(Box()), "1")
OPERATIONS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if method in METHODS
]
NAMES = {
    "/services/{name}": "dns",
    "/devices/{name}": "edge1",
    "/status/{ticket}": "a-ticket",
    "/jobs/{ticket}": "a-ticket",
}


def filled(path, value=None):
    """A path with a value in it; without one with that of something that there is, or a number."""
    for beginning, name in NAMES.items():
        if path.startswith(beginning):
            path = path.replace(beginning, beginning.partition("{")[0] + (value or name))
    return re.sub(r"\{\w+\}", value or "5", path)


def label(operation):
    return f"{operation[0].upper()} {operation[1]}"


EVERY = pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=map(label, OPERATIONS))
CHANGING = [one for one in OPERATIONS if one[0] != "get"]
EVERY_CHANGE = pytest.mark.parametrize(("method", "path", "operation"), CHANGING, ids=map(label, CHANGING))


@pytest.fixture(scope="module")
def backend():
    return Recorded()


@pytest.fixture(scope="module")
def app(backend):
    return application(backend)


@pytest.fixture(scope="module")
def server(app):
    server = room.WebServer(app, WebSettings("127.0.0.1", 0, threads=8))
    server.start()
    yield server
    assert server.stop()


@pytest.fixture(scope="module")
def harmless(app, backend):
    """What of the backend is used for what only reads."""
    client = app.test_client(use_cookies=False)
    backend.called = []
    for method, path, _ in OPERATIONS:
        if method == "get" and path != "/stream":
            client.get(filled(path), headers={"X-API-Key": ADMIN})
    # A webhook looks for its device, and how it ended is counted; an order is looked for among those that hold.
    return {*backend.called, "devices", "count_webhook", "clock", "snapshot", "follow", "events_of"}


@pytest.fixture
def untouched(backend, harmless):
    """Nothing may be changed, nor asked of a router, while the test goes on."""
    backend.called = []
    yield
    assert set(backend.called) - harmless == set()


def spoken(server, *pieces, wait=0.0):
    """What is answered to raw octets, until the end of the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        for piece in pieces:
            client.sendall(piece)
            time.sleep(wait)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while block := client.recv(65536):
                received += block
    return received


def answers(raw):
    """The answers in what was received, each as (status, headers, body); by their lengths, as a client reads them."""
    found = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        assert re.fullmatch(r"HTTP/1\.[01] \d{3} [A-Za-z -]+", first), first
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        status = int(first.split()[1])
        length = int(headers.get("content-length", "0")) if status >= 200 else 0
        found.append((status, headers, raw[:length]))
        raw = raw[length:]
    return found


# --- requests that two programs read in two ways ------------------------------------------------------------------

HOST = b"Host: localhost\r\n"
KEY = b"X-API-Key: " + ADMIN.encode() + b"\r\n"
LIFT = b'{"reason": "smuggled"}'
SMUGGLED = b"PUT /guard/lift HTTP/1.1\r\n" + HOST + KEY + b"Content-Length: %d\r\n\r\n%s" % (len(LIFT), LIFT)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
POST = b"POST /webhook/failure HTTP/1.1\r\n" + HOST

TWICE = {
    "TE and CL": POST + CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\n",
    "CL and TE": POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "two CLs": POST + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED),
    "the same CL twice": POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "CLs in one line": POST + b"Content-Length: 0, 0\r\n\r\n",
    "negative CL": POST + b"Content-Length: -1\r\n\r\n",
    "CL with a sign": POST + b"Content-Length: +0\r\n\r\n",
    "CL in hexadecimal": POST + b"Content-Length: 0x0\r\n\r\n",
    "CL with an underscore": POST + b"Content-Length: 0_0\r\n\r\n",
    "empty CL": POST + b"Content-Length:\r\n\r\n",
    "CL of other digits": POST + b"Content-Length: \xd9\xa0\r\n\r\n",
    "TE twice": POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "TE chunked, chunked": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "TE identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "TE gzip": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "TE of nothing": POST + b"Transfer-Encoding: ,\r\n\r\n",
    "TE empty": POST + b"Transfer-Encoding:\r\n\r\n",
    "TE with a tab within": POST + b"Transfer-Encoding: chu\tnked\r\n\r\n0\r\n\r\n",
    "TE with a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "TE folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "TE quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "TE in HTTP/1.0": b"POST /webhook/failure HTTP/1.0\r\nConnection: keep-alive\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "TE in HTTP/1.2": b"POST /webhook/failure HTTP/1.2\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n",
    "TE in HTTP/0.9": b"POST /webhook/failure\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n",
    "HTTP/2.0": b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "a folded header": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-Other: a\r\n\tb\r\n\r\n",
    "bare line feeds": b"GET /healthz HTTP/1.1\nHost: localhost\n\n\r\n\r\n",
    "a bare line feed in a header": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-Other: a\nX-API-Key: b\r\n\r\n",
    "a bare carriage return": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-Other: a\rb\r\n\r\n",
    "a zero in a header": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-Other: a\0b\r\n\r\n",
    "a header without a name": b"GET /healthz HTTP/1.1\r\n" + HOST + b": a\r\n\r\n",
    "a header without a colon": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-Other\r\n\r\n",
    "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "two Hosts, one foreign": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "the target names another host": b"GET http://evil.example/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "the target names a user": b"GET http://evil.example@localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "the target is of another scheme": b"GET ftp://localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "the target names nobody": b"GET http:///healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "the target has no slash": b"GET healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT localhost:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "an asterisk": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space in the target": b"GET /heal thz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tab in the target": b"GET /healthz\tHTTP/1.1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "two slashes": b"GET //healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "two slashes behind a host": b"GET http://localhost//healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "an escaped slash": b"GET /%2fhealthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "an escaped slash first": b"GET %2Fhealthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "an escaped slash within": b"GET /services/dns%2Fwhy HTTP/1.1\r\n" + HOST + b"\r\n",
    "an escaped backslash": b"GET /x%5chealthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "an escaped zero": b"GET /healthz%00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "an escaped line feed": b"GET /services/dns%0aannounce HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method in lower case": b"get /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method in mixed case": b"Put /guard/lift HTTP/1.1\r\n" + HOST + b"\r\n",
    "no chunk size": POST + CHUNKED + b"\r\n\r\n\r\n",
    "a chunk size with a sign": POST + CHUNKED + b"\r\n+0\r\n\r\n",
    "a chunk size in 0x": POST + CHUNKED + b"\r\n0x0\r\n\r\n",
    "a chunk size with a space before": POST + CHUNKED + b"\r\n 0\r\n\r\n",
    "a chunk size with a line feed": POST + CHUNKED + b"\r\n5\n\r\nhello\r\n0\r\n\r\n",
    "a chunk size beyond everything": POST + CHUNKED + b"\r\n" + b"f" * 17 + b"\r\n",
    "a chunk extension with a line feed": POST + CHUNKED + b"\r\n0;a\nb\r\n\r\n",
    "a chunk extension of many octets": POST + CHUNKED + b"\r\n0;" + b"a" * 5000 + b"\r\n\r\n",
    "chunks with line feeds alone": POST + CHUNKED + b"\r\n0\n\n",
    "a chunk longer than its size": POST + CHUNKED + b"\r\n1\r\nabc\r\n0\r\n\r\n",
    "a chunk that ends otherwise": POST + CHUNKED + b"\r\n1\r\naXY0\r\n\r\n",
    "a trailer that is none": POST + CHUNKED + b"\r\n0\r\n" + SMUGGLED.partition(b"\r\n")[0] + b"\r\n\r\n",
    "many trailers": POST + CHUNKED + b"\r\n0\r\n" + b"a: b\r\n" * 100 + b"\r\n",
}


@pytest.mark.parametrize("request_bytes", TWICE.values(), ids=TWICE)
@pytest.mark.usefixtures("untouched")
def test_what_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read(server, request_bytes):
    (answer,) = answers(spoken(server, request_bytes + SMUGGLED * 3))
    status, headers, body = answer
    assert status in {400, 501}, body
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert json.loads(body)["status"] == status


def test_the_request_that_is_smuggled_above_is_one(server, backend):
    """Or else the test above would hold nothing."""
    backend.called = []
    closing = SMUGGLED.replace(b"Content-Length", b"Connection: close\r\nContent-Length")
    assert [status for status, _, _ in answers(spoken(server, closing))] == [200]
    assert "order" in backend.called


END = b"Connection: close\r\n\r\n"
ONCE = {
    "HTTP/1.0": (b"GET /healthz HTTP/1.0\r\n\r\n", [200]),
    "with our name in the target": (b"GET http://localhost/healthz HTTP/1.1\r\n" + HOST + END, [200]),
    "with nothing behind our name": (b"GET http://localhost HTTP/1.1\r\n" + HOST + KEY + END, [200]),
    "an escape that hides nothing": (b"GET /%68ealthz HTTP/1.1\r\n" + HOST + END, [200]),
    "OPTIONS of everything": (b"OPTIONS * HTTP/1.1\r\n" + HOST + END, [404]),
    "blank lines before": (b"\r\n\r\nGET /healthz HTTP/1.1\r\n" + HOST + END, [200]),
    "a chunk with an extension": (POST + CHUNKED + b"Connection: close\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n", [401]),
    "a trailer": (POST + CHUNKED + b"Connection: close\r\n\r\n2\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n", [401]),
    "one behind the other": (
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n") * 20 + b"GET /nothing HTTP/1.1\r\n" + HOST + END,
        [200] * 20 + [404],
    ),
    "one with a body between others": (
        POST + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n\r\n" + b"GET /readyz HTTP/1.1\r\n" + HOST + END,
        [401, 200],
    ),
    "TRACE": (b"TRACE /healthz HTTP/1.1\r\n" + HOST + END, [405]),
    "an expectation without a body": (b"GET /healthz HTTP/1.1\r\nExpect: 100-continue\r\n" + HOST + END, [200]),
    "an expectation of something else": (b"GET /healthz HTTP/1.1\r\nExpect: the-unexpected\r\n" + HOST + END, [200]),
    "an expectation with far too large a body": (
        POST + b"Expect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n",
        [413],
    ),
    "an expectation with a body": (
        POST + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        [100, 401],
    ),
}


@pytest.mark.parametrize(("request_bytes", "statuses"), ONCE.values(), ids=ONCE)
@pytest.mark.usefixtures("untouched")
def test_what_can_be_read_in_one_way_is_answered_each_in_its_turn(server, request_bytes, statuses):
    assert [status for status, _, _ in answers(spoken(server, request_bytes))] == statuses


def test_trace_does_not_echo_what_was_sent(server):
    raw = spoken(server, b"TRACE /healthz HTTP/1.1\r\nX-API-Key: a-secret-key\r\n" + HOST + END)
    assert b"a-secret-key" not in raw


PARTS = st.lists(st.binary(max_size=40).filter(bool), max_size=6)


@given(PARTS, st.binary(max_size=20), st.data())
def test_chunks_are_read_alike_however_they_arrive(parts, behind, data):
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    sent = body + behind
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    chunks, taken = strict.Chunks(OverflowableBuffer(1000)), 0
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        piece = sent[start:end]
        while piece and not chunks.completed:
            used = chunks.received(piece)
            taken += used
            piece = piece[used:]
    assert chunks.error is None
    assert chunks.completed
    assert taken == len(body)
    assert chunks.getfile().read() == b"".join(parts)
    assert len(chunks) == len(b"".join(parts))


LINES = st.sampled_from(
    [
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: \x0bchunked",
        b"transfer-encoding:chunked",
        b"Content-Length: 3",
        b"Content-Length: 0",
        b"content-length: 3",
        b"Transfer-Encoding\x0b: chunked",
        b"X: y",
        b" chunked",
    ]
)


@given(st.sampled_from([b"1.0", b"1.1", b"1.9"]), st.lists(LINES, max_size=4))
def test_of_how_long_a_body_is_there_is_one_word_or_none(version, lines):
    parser = strict.Parser(Adjustments())
    parser.received(b"\r\n".join([b"POST / HTTP/" + version, b"Host: localhost", *lines, b"", b""]))
    said = [line for line in lines if line.lower().startswith((b"transfer-encoding", b"content-length"))]
    if len(said) > 1 or version == b"1.9" or (version == b"1.0" and b"chunked" in b"".join(said)):
        assert parser.error is not None


# --- floods -------------------------------------------------------------------------------------------------------

HALVES = (
    b"",
    b"GET /healthz HTT",
    b"GET /healthz HTTP/1.1\r\nHost: local",
    POST + b"Content-Length: 60000\r\n\r\n{",
    POST + CHUNKED + b"\r\nffff\r\n{",
    b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\nGET /he",  # an answer, and then half a request
)


def asked(server, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_more_clients_that_dawdle_than_connections_shut_nobody_out(app):
    """Half-open and slow, more of them than there may be connections: health and an override still answer."""
    server = room.WebServer(app, WebSettings("127.0.0.1", 0, threads=8))
    server.start()
    try:
        with contextlib.ExitStack() as stack:
            for number in range(240):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))
                with contextlib.suppress(ConnectionError):
                    client.sendall(HALVES[number % len(HALVES)])
                if number % 60 == 59:
                    assert asked(server, "GET", "/health")[0] == 200
                    body = json.dumps({"action": "freeze", "reason": "under attack"})
                    assert asked(server, "PUT", "/services/dns/override", body, {"X-API-Key": ADMIN})[0] == 200
        assert server.crowded_out >= 240 - 200
    finally:
        assert server.stop()


def test_who_waits_for_an_answer_is_never_crowded_out(settings, backend):
    box = Box()
    app = create_app(box, settings)
    server = room.WebServer(app, WebSettings("127.0.0.1", 0, threads=8))
    box.held = threading.Event()
    body = b'{"device": "edge1", "reason": "link_flap", "evidence": {}}'
    got = []
    server.start()
    try:
        headers = {"X-Hub-Signature-256": sign(Secret("new secret"), body)}
        waiting = threading.Thread(target=lambda: got.append(asked(server, "POST", "/webhook/failure", body, headers)))
        waiting.start()
        assert box.entered.acquire(timeout=PATIENCE)
        with contextlib.ExitStack() as stack:
            for _ in range(230):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))
            assert asked(server, "GET", "/healthz")[0] == 200
            box.held.set()
            waiting.join(PATIENCE)
        assert [status for status, _ in got] == [202]
        assert server.crowded_out
    finally:
        box.held.set()
        assert server.stop()


# --- paths, methods, hosts, headers of every route ----------------------------------------------------------------

TRICKS = (
    *("/{}", "//{}", "/%2f{}", "/.{}", "/%2e{}", "/x/..{}", "/x/%2e%2e{}", "/x%2f..{}", "{}/", "{}//", "{}/.", "{}%2f"),
    *("{};x=1", "{}%3b", "{}%00", "{}%20", "{}%09", "{}.json", "{}%0d%0aX-Injected:%201", "/;{}", "/%5c{}", "{}%23"),
    *("/%252f{}", "/HTTP://localhost{}", "/-{}", "{}%c0%af", "{}/%ff"),
)


def example(operation):
    """A body that would do something."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return next((one["value"] for one in content.get("examples", {}).values()), None)


def headers_for(operation, body):
    if operation["x-role"] == "hmac":
        return {"X-Hub-Signature-256": sign(Secret(SECRET), body or b"")}
    return {"X-API-Key": ADMIN}


def sent(operation, value=None):
    value = example(operation) if value is None else value
    body = None if value is None else json.dumps(value).encode()
    return body, headers_for(operation, body)


@EVERY_CHANGE
def test_a_route_has_one_spelling(request, server, method, path, operation):
    named = path.endswith("}")  # what is behind a name belongs to it: another name would be looked for
    if not named:
        request.getfixturevalue("untouched")
    body, headers = sent(operation)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    request.addfinalizer(connection.close)
    for trick in (*TRICKS, "{upper}", "/" + "a" * 6000 + "/..{}"):
        if named and trick.startswith("{"):
            continue
        target = trick.format(filled(path), upper=filled(path).upper())
        connection.putrequest(method.upper(), target)
        for name, value in {**headers, "Content-Length": str(len(body or b""))}.items():
            connection.putheader(name, value)
        connection.endheaders(body or b"")
        response = connection.getresponse()
        assert response.status in {400, 404, 405}, target
        assert response.headers["X-Injected"] is None
        text = response.read()
        assert json.loads(text)["instance"].isprintable()


@EVERY_CHANGE
@pytest.mark.usefixtures("untouched")
def test_no_header_and_no_parameter_makes_another_method_of_one(app, method, path, operation):
    client = app.test_client(use_cookies=False)
    body, headers = sent(operation)
    real = method.upper()
    other = dict.fromkeys(("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"), real)
    for used in ("HEAD", "OPTIONS", "TRACE", "PATCH", "GET", "FOO"):
        if used.lower() in DOCUMENT["paths"][path] or (used == "HEAD" and "get" in DOCUMENT["paths"][path]):
            continue
        query = {"_method": real}
        response = client.open(filled(path), method=used, data=body, headers={**headers, **other}, query_string=query)
        assert response.status_code == (200 if used == "OPTIONS" else 405), used


HOSTS = (
    *(
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "evil.example:8080",
    ),
    *(
        "localhost:99999999",
        "localhost:80:80",
        "localhost/",
        "localhost#",
        "localhost?",
        "[::1",
        "[evil.example]",
        " ",
        "",
    ),
    *("127.0.0.1, evil.example", "0x7f000001.nip.io", "localhost\\@evil", "localhost\u0131", "127.1"),
)


@EVERY
@pytest.mark.usefixtures("untouched")
def test_a_rebound_name_opens_no_route(app, method, path, operation):
    client = app.test_client(use_cookies=False)
    body, headers = sent(operation)
    for host in HOSTS:
        for more in ({}, {"X-Forwarded-Host": "localhost", "Forwarded": "host=localhost"}):
            response = client.open(
                filled(path), method=method.upper(), data=body, headers={**headers, **more, "Host": host}
            )
            assert response.status_code in {400, 403}, host


def foreign(response):
    """What would let another site's page read an answer, or a cache keep it."""
    headers = response.headers
    allowed = [name for name, _ in headers if name.lower().startswith(("access-control", "timing-allow", "set-cookie"))]
    kept = {part.strip() for part in headers["Cache-Control"].split(",")}
    if not (kept == {"no-store"} or kept == {"private", "no-cache"}):
        allowed.append(f"Cache-Control: {headers['Cache-Control']}")
    if headers["X-Content-Type-Options"] != "nosniff":
        allowed.append("sniffing")
    if "default-src 'none'" not in headers["Content-Security-Policy"]:
        allowed.append(headers["Content-Security-Policy"])
    return allowed + [name for name in ("Server", "X-Powered-By", "Via") if name in headers]


@EVERY
def test_no_other_site_may_read_and_no_cache_may_keep_an_answer(app, method, path, operation):
    client = app.test_client(use_cookies=False)
    asks = {"Origin": "https://evil.example", "Access-Control-Request-Method": method.upper()}
    asks |= {"Access-Control-Request-Headers": "x-api-key", "Access-Control-Request-Private-Network": "true"}
    seen = set()
    for used in (method.upper(), "OPTIONS", "TRACE"):
        for shown in ({}, {"X-API-Key": ADMIN}, {"X-API-Key": "wrong"}):
            for accept in ("*/*", "text/html", "text/csv"):
                response = client.open(filled(path), method=used, headers={**asks, **shown, "Accept": accept})
                assert foreign(response) == []
                seen.add(response.status_code)
                response.close()
    assert len(seen) > 1


@EVERY
def test_no_answer_tells_the_key_that_was_shown(app, method, path, operation):
    client = app.test_client(use_cookies=False)
    for shown in ("a-key-that-nobody-has", ADMIN):
        for headers in ({"X-API-Key": shown}, {"Authorization": f"Bearer {shown}"}, {"X-Hub-Signature-256": shown}):
            response = client.open(filled(path), method=method.upper(), headers=headers)
            if path != "/stream" or response.status_code != 200:
                assert shown not in response.get_data(as_text=True) + str(response.headers)
            response.close()


# --- bodies -------------------------------------------------------------------------------------------------------

DEEP = 20_000
ODD = {
    "nothing": b"",
    "blank": b" \r\n\t",
    "a list nested deeply": b"[" * DEEP + b"]" * DEEP,
    "objects nested deeply": b'{"a":' * 8_000 + b"1" + b"}" * 8_000,
    "never closed": b"[" * DEEP,
    "a number of very many digits": b'{"reason": "x", "ttl": ' + b"9" * 60_000 + b"}",
    "a fraction of very many digits": b'{"reason": "x", "ttl": 0.' + b"9" * 60_000 + b"e999999999}",
    "an exponent without end": b'{"reason": "x", "ttl": 1e' + b"9" * 1_000 + b"}",
    "NaN": b'{"reason": "x", "ttl": NaN}',
    "Infinity": b'{"reason": "x", "ttl": -Infinity}',
    "a key twice": b'{"reason": "x", "reason": "y", "ttl": 5}',
    "a key twice, escaped": b'{"reason": "x", "\\u0072eason": "y"}',
    "a prototype": b'{"__proto__": {"role": "admin"}, "constructor": 1, "reason": "x"}',
    "a lone surrogate": b'{"reason": "\\ud800", "device": "\\udfff"}',
    "text of very many characters": json.dumps({"reason": "\U0001f600" * 15_000}, ensure_ascii=False).encode(),
    "an overlong slash": b'{"reason": "\xc0\xaf"}',
    "a byte order mark": b'\xef\xbb\xbf{"reason": "x"}',
    "UTF-16": '{"reason": "x"}'.encode("utf-16"),
    "UTF-32": '{"reason": "x"}'.encode("utf-32-le"),
    "compressed": gzip.compress(b'{"reason": "x", "action": "withdraw"}'),
    "two documents": b'{"reason": "x"}{"reason": "y"}',
    "a comment": b'{"reason": "x" /* y */}',
    "text": b'"reason"',
    "null": b"null",
    "a form": b"reason=x&action=withdraw",
    "many keys": json.dumps({f"k{number}": number for number in range(5_000)}).encode(),
    "a zero": b'{"reason": "x"}\0',
    "too large": b'{"reason": "' + b"x" * 70_000 + b'"}',
}
TYPES = {"compressed": {"Content-Encoding": "gzip"}, "a form": {"Content-Type": "application/x-www-form-urlencoded"}}


WITH_BODY = [one for one in CHANGING if "requestBody" in one[2]]


@pytest.mark.parametrize(("method", "path", "operation"), WITH_BODY, ids=map(label, WITH_BODY))
@pytest.mark.usefixtures("untouched")
def test_no_body_that_is_none_does_anything(app, method, path, operation, caplog):
    client = app.test_client(use_cookies=False)
    may_be_nothing = not operation["requestBody"].get("required")
    for name, body in ODD.items():
        if name == "nothing" and may_be_nothing:
            continue
        headers = {**headers_for(operation, body), **TYPES.get(name, {})}
        response = client.open(filled(path), method=method.upper(), data=body, headers=headers)
        assert response.status_code in {400, 413, 415, 422}, (name, response.data[:300])
        assert len(response.data) < 20_000, name
    assert "Traceback" not in caplog.text
    assert "failed" not in caplog.text


# --- every string of every route ----------------------------------------------------------------------------------

MARK = "announce route 203.0.113.66/32 next-hop self"
BREAKS = ("\r\n", "\n", "\r", "\0", "\x0b", "\x0c", "\x1b[2J", "\x85", "\u2028", "\u2029", "\u202e", "\ud800")
PAYLOADS = tuple(f"x{one}{MARK}{one}X-Injected: 1{one}{one}" for one in BREAKS)


def strings(schema):
    """The places of all strings in a schema, as paths of keys."""
    schema = resolved(schema)
    for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from strings(each)
    kinds = schema.get("type", ())
    if "string" in ([kinds] if isinstance(kinds, str) else kinds):
        yield ()
    for name, each in schema.get("properties", {}).items():
        yield from ((name, *place) for place in strings(each))
    if isinstance(schema.get("items"), dict):
        yield from ((0, *place) for place in strings(schema["items"]))


def resolved(schema):
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def planted(value, place, text):
    """A value with a text at a place."""
    if not place:
        return text
    step, *rest = place
    if step == 0:
        return [planted(None, rest, text)]
    return {**(value if isinstance(value, dict) else {}), step: planted((value or {}).get(step), rest, text)}


def bodies(operation):
    """Bodies of an operation with something in one of their strings, and then in a key."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return
    start = example(operation) or {}
    places = dict.fromkeys(strings(content["schema"]))
    for text in PAYLOADS:
        for place in places:
            yield planted(start, place, text)
        yield {**start, text: text}


def parameters(operation):
    for one in operation["parameters"]:
        if one["in"] in {"query", "header"}:
            yield one["in"], one["name"]


@EVERY
def test_no_string_breaks_a_line(app, method, path, operation, caplog):
    """Not in a header, not in the log; and where it would be kept it is refused."""
    caplog.set_level("DEBUG")
    client = app.test_client(use_cookies=False)
    asked = []

    def ask(target, body, headers, query, *, harmless=False):
        response = client.open(target, method=method.upper(), data=body, headers=headers, query_string=query)
        if response.status_code == 200 and path == "/stream":
            response.close()
            return
        assert response.status_code < 500, response.data
        assert method == "get" or harmless or response.status_code >= 400, (target, body, response.data)
        assert all(value.isprintable() and "Injected" not in name for name, value in response.headers)
        asked.append(response.status_code)

    for value in bodies(operation):
        body = json.dumps(value).encode()
        ask(filled(path), body, headers_for(operation, body), None)
    body, headers = sent(operation)
    for text in PAYLOADS:
        writable = text.encode("utf-8", "surrogatepass")
        quoted = "".join(f"%{octet:02x}" for octet in writable)
        # What is no UTF-8 is taken as U+FFFD: a text of one line like any other.
        harmless = writable.decode("utf-8", "replace").isprintable()
        if "{" in path:
            ask(filled(path, quoted), body, headers, None)
        if method == "get":
            for place, name in parameters(operation):
                if place == "query":
                    ask(filled(path), None, headers, f"{name}={quoted}")
            ask(filled(path), None, headers, f"{quoted}={quoted}")
        else:
            for place, name in parameters(operation):
                if place == "query":
                    ask(filled(path), body, headers, f"{name}={quoted}", harmless=harmless)
    formatter = LineFormatter()
    for record in caplog.records:
        line = formatter.format(record)
        assert line.isprintable(), line
    assert not {500, 502} & set(asked)


# --- comparisons --------------------------------------------------------------------------------------------------

HUSHED = re.compile(r"reveal|digest|_mac\b|sign\b|sign_standard|key_hash|sha256|presented|token|secret|signature")


def compared(tree):
    """Comparisons in which something secret, or what was shown for it, stands on a side."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn):
            sides = [node.left, *node.comparators]
            texts = [ast.unparse(side) for side in sides]
            # Whether a text is there at all, how long it is, how it begins: what everybody may know.
            if any(isinstance(side, ast.Constant) and side.value in (None, "") for side in sides):
                continue
            if any(HUSHED.search(text) and not text.startswith("len(") for text in texts):
                yield " <> ".join(texts)


KNOWN = {"auth.py": {"sender.auth <> 'signature'"}}
"""Comparisons that tell nothing, by the file they stand in."""


@pytest.mark.parametrize("name", ["auth.py", "gate.py", "api/webhook.py", "../core/signing.py"])
def test_no_secret_is_compared_by_an_operator(name):
    """`==` ends at the first octet that differs: by its time one could be guessed after the other."""
    file = Path(auth.__file__).parent / name
    assert set(compared(ast.parse(file.read_text()))) == KNOWN.get(name, set())


@pytest.mark.parametrize("text", ["sha256(x) == digest", "secret in known", "key.sha256.reveal() != y"])
def test_the_search_above_finds_one(text):
    assert list(compared(ast.parse(text)))


class Unequal(str):
    """Text that nobody may compare but hmac."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other):
        raise AssertionError("compared")

    def __ne__(self, other):
        raise AssertionError("compared")


class Hidden(Secret):
    """A secret whose text nobody may compare but hmac."""

    __slots__ = ()

    def reveal(self):
        return Unequal(super().reveal())


@given(st.binary(max_size=3000))
def test_whatever_is_shown_for_a_key_both_sides_are_as_long(shown):
    lengths = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hmac, "compare_digest", lambda one, other: lengths.append((len(one), len(other))))
        held = [replace(key, sha256=Hidden(sha256(b"x").hexdigest())) for key in keys()]
        assert auth.find_key(held, shown) is None
    assert lengths == [(64, 64)] * 3


BODY = b'{"device": "edge1"}'
WHSEC = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
SENDERS = (
    Sender("hub", (Hidden("a hub secret that is long enough"),)),
    Sender("standard", (Hidden(WHSEC),)),
    Sender("alertmanager", (Hidden("a bearer that is long enough, too"),), auth="bearer"),
)
FORMS = {
    "hub": lambda text: [("X-Hub-Signature-256", text)],
    "hub digits": lambda text: [("X-Hub-Signature-256", "sha256=" + sha256(text.encode()).hexdigest())],
    "standard": lambda text: [
        ("webhook-id", "a"),
        ("webhook-timestamp", "1795000000"),
        ("webhook-signature", f"v1,{text}"),
    ],
    "bearer": lambda text: [("Authorization", f"Bearer {text}")],
}


@given(st.sampled_from(sorted(FORMS)), st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=300))
def test_whatever_is_shown_for_a_signature_both_sides_are_as_long(form, text):
    lengths = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hmac, "compare_digest", lambda one, other: lengths.append((len(one), len(other))))
        with pytest.raises(SignatureError):
            prove(SENDERS, FORMS[form](text), BODY)
    assert all(one == other for one, other in lengths)


def test_each_form_of_a_signature_reaches_the_comparison():
    """Or else the test above would hold nothing."""
    right = {
        "hub": sign(Secret("a hub secret that is long enough"), BODY),
        "standard": sign_standard(Secret(WHSEC), "a", 1795000000, BODY).removeprefix("v1,"),
        "bearer": "a bearer that is long enough, too",
    }
    for form, text in right.items():
        lengths = []
        with pytest.MonkeyPatch.context() as patch:

            def compare(one, other, lengths=lengths):
                lengths.append((len(one), len(other)))
                return True

            patch.setattr(hmac, "compare_digest", compare)
            prove(SENDERS, FORMS[form](text), BODY)
        assert lengths
        assert all(one == other for one, other in lengths)


def test_no_setting_and_no_description_tells_a_secret(settings, app, server):
    told = repr(settings) + repr(WebSettings("127.0.0.1", 0, webhook_senders=SENDERS, keys=keys())) + repr(app.config)
    told += repr(app.extensions) + repr(server.__dict__) + json.dumps(DOCUMENT)
    client = app.test_client(use_cookies=False)
    for path in ("/metrics", "/health", "/docs", "/openapi.json", "/"):
        told += client.get(path, headers={"X-API-Key": KEYS["read"]}).get_data(as_text=True)
    hashes = [key.sha256.reveal() for key in keys()]
    for secret in (SECRET, "old secret", "new secret", WHSEC, *KEYS.values(), *hashes):
        assert secret not in told
