"""The real server on a free port: HTTP over sockets, limits, clients that dawdle, and an end that leaves nothing."""

import contextlib
import gc
import http.client
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from exabgp_bfd.core.model import ConfigError
from exabgp_bfd.web import server as room
from exabgp_bfd.web.backend import WebSettings

PATIENCE = 20
"""Seconds that a test waits for what must happen."""


def make(app, host, port, threads=8):
    return room.WebServer(app, WebSettings(host, port, threads=threads))


@pytest.fixture
def server(app):
    server = make(app, "127.0.0.1", 0, threads=4)
    server.start()
    yield server
    assert server.stop()


@pytest.fixture
def connect(server):
    """Connections to the server, closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_one():
            return stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))

        yield open_one


def ask(server, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def read_all(client):
    received = b""
    while block := client.recv(65536):
        received += block
    head, _, body = received.partition(b"\r\n\r\n")
    return head.decode(), body


def web_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("web", "waitress"))]


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_round_trip_over_http(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/health", timeout=PATIENCE) as response:
        assert json.load(response)["site"] == "fra1"
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Server"] is None
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://localhost:{server.port}/nothing", timeout=PATIENCE)
    with caught.value as error:
        assert error.code == 404
        assert json.load(error)["instance"] == "/nothing"


def test_one_connection_carries_several_requests(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        for path, status in (("/healthz", 200), ("/nothing", 404), ("/metrics", 200)):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            assert response.status == status
    finally:
        connection.close()


def test_a_signed_webhook_over_http(server, signed, backend):
    body = json.dumps({"device": "edge1", "reason": "link_flap", "evidence": {}}).encode()
    response, text = ask(server, "POST", "/webhook/failure", body, signed(body))
    assert (response.status, json.loads(text)) == (202, {"id": 41, "status": "accepted"})
    assert backend.webhooks[0].actor == "127.0.0.1"


def test_a_chunked_webhook_is_verified_over_the_same_bytes(server, signed):
    body = json.dumps({"device": "edge1", "reason": "link_flap", "evidence": {}}).encode()
    response, _ = ask(server, "POST", "/webhook/failure", iter([body[:10], body[10:]]), signed(body))
    assert response.status == 202


@pytest.mark.usefixtures("server")
def test_threads_are_daemons_under_our_name():
    names = web_threads()
    assert sorted(names) == ["web", "web-0", "web-1", "web-2", "web-3"]
    assert all(thread.daemon for thread in threading.enumerate() if thread.name in names)


@pytest.mark.parametrize("size", [65537, 200_000])
def test_a_body_too_large_gets_an_answer(server, size):
    response, text = ask(server, "POST", "/webhook/failure", b"x" * size)
    assert response.status == 413
    assert response.headers["Content-Type"] == "application/problem+json"
    assert json.loads(text)["status"] == 413


@pytest.mark.parametrize("length", [4 * 65536 + 1, 10**12])
def test_a_body_far_too_large_is_not_even_read(connect, length):
    client = connect()
    client.sendall(b"POST /webhook/failure HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % length)
    head, body = read_all(client)
    assert " 413 " in head.splitlines()[0]
    assert json.loads(body)["instance"] == "/webhook/failure"


def test_a_header_too_large_is_431(connect):
    client = connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 16384 + b"\r\n\r\n")
    head, body = read_all(client)
    assert " 431 " in head.splitlines()[0]
    assert json.loads(body)["status"] == 431


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\nb\r\n\r\n",
    ],
)
def test_what_is_no_http_is_a_problem_document_too(connect, request_bytes):
    client = connect()
    client.sendall(request_bytes)
    head, body = read_all(client)
    assert " 400 " in head.splitlines()[0]
    assert "Content-Type: application/problem+json" in head
    assert "X-Content-Type-Options: nosniff" in head
    assert "Server:" not in head
    assert json.loads(body)["status"] == 400


def test_twenty_clients_that_dawdle_hold_nobody_up(server, connect):
    for number in range(20):
        start = b"GET /healthz HTTP/1.1\r\nHost: loc" if number % 2 else b"POST /webhook/failure HTTP/1.1\r\n"
        connect().sendall(start)
    for _ in range(20):
        client = connect()
        client.sendall(b"POST /webhook/failure HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    response, _ = ask(server, "GET", "/healthz")
    assert response.status == 200


def test_a_request_that_trickles_in_is_ended(server, connect, monkeypatch):
    monkeypatch.setattr(room, "REQUEST_WITHIN", 0.2)
    client = connect()
    client.settimeout(0.05)
    deadline = time.monotonic() + PATIENCE
    ended = False
    while not ended and time.monotonic() < deadline:
        try:
            client.sendall(b"x")
            ended = client.recv(1) == b""
        except TimeoutError:
            pass  # not yet
        except OSError:
            ended = True
    assert ended
    assert ask(server, "GET", "/healthz")[0].status == 200


def test_a_client_that_leaves_before_its_answer_harms_nobody(server, signed, backend, connect, caplog):
    backend.held = threading.Event()
    body = json.dumps({"device": "edge1", "reason": "link_flap", "evidence": {}}).encode()
    client = connect()
    client.sendall(
        b"POST /webhook/failure HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nX-Hub-Signature-256: %s\r\n\r\n%s"
        % (len(body), signed(body)["X-Hub-Signature-256"].encode(), body)
    )
    assert backend.entered.acquire(timeout=PATIENCE)
    client.close()
    backend.held.set()
    wait_until(lambda: backend.webhooks)
    assert ask(server, "GET", "/healthz")[0].status == 200
    assert "Traceback" not in caplog.text


def test_a_port_in_use_names_the_setting_the_address_and_a_remedy(app, server):
    second = make(app, "127.0.0.1", server.port)
    with pytest.raises(ConfigError, match=rf"\[api\] listen: 127\.0\.0\.1:{server.port} is in use .* another port"):
        second.start()
    assert second.stop()
    assert ask(server, "GET", "/healthz")[0].status == 200


@pytest.mark.parametrize(
    ("host", "says"), [("192.0.2.1", "no interface here"), ("no such host", "no address"), ("x" * 300, "no address")]
)
def test_an_address_that_is_not_ours_names_the_setting(app, host, says):
    with pytest.raises(ConfigError, match=rf"(?s)\[api\] listen.*{says}"):
        make(app, host, 0).start()


def test_ipv6_loopback(app):
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this kernel has no IPv6")
    server = make(app, "::1", 0, threads=1)
    try:
        server.start()
    except ConfigError as error:
        pytest.skip(f"no ::1 here: {error}")
    try:
        with urllib.request.urlopen(f"http://[::1]:{server.port}/healthz", timeout=PATIENCE) as response:
            assert response.status == 200
    finally:
        assert server.stop()


def test_an_answer_under_way_still_leaves_while_stopping(app, backend, signed):
    backend.held = threading.Event()
    server = make(app, "127.0.0.1", 0, threads=2)
    server.start()
    body = json.dumps({"device": "edge1", "reason": "link_flap", "evidence": {}}).encode()
    answers = []
    sender = threading.Thread(
        target=lambda: answers.append(ask(server, "POST", "/webhook/failure", body, signed(body))[0].status)
    )
    ended = []
    stopper = threading.Thread(target=lambda: ended.append(server.stop(PATIENCE)))
    sender.start()
    assert backend.entered.acquire(timeout=PATIENCE)
    stopper.start()
    wait_until(lambda: refuses(server.port))
    backend.held.set()
    sender.join(PATIENCE)
    stopper.join(PATIENCE)
    assert (answers, ended) == ([202], [True])
    assert web_threads() == []


def test_a_long_answer_half_sent_still_leaves_while_stopping(app, backend, monkeypatch):
    text = b"x" * 8_000_000  # more than both sockets' buffers hold
    monkeypatch.setattr(backend, "metrics", lambda: text)
    server = make(app, "127.0.0.1", 0, threads=2)
    server.start()
    ended = []
    stopper = threading.Thread(target=lambda: ended.append(server.stop(PATIENCE)))
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        start = client.recv(1)
        stopper.start()
        wait_until(lambda: refuses(server.port))
        head, body = read_all(client)
    stopper.join(PATIENCE)
    assert (start + head.encode()).startswith(b"HTTP/1.1 200 ")
    assert len(body) == len(text)
    assert ended == [True]


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except OSError:
        return True
    return False


def test_a_request_that_never_ends_does_not_hold_up_the_stop(app, backend, signed):
    backend.held = threading.Event()
    server = make(app, "127.0.0.1", 0, threads=2)
    server.start()
    body = json.dumps({"device": "edge1", "reason": "link_flap", "evidence": {}}).encode()

    def send():
        with contextlib.suppress(http.client.HTTPException, OSError):
            ask(server, "POST", "/webhook/failure", body, signed(body))

    sender = threading.Thread(target=send)
    sender.start()
    assert backend.entered.acquire(timeout=PATIENCE)
    assert not server.stop(0.2)
    sender.join(PATIENCE)  # its connection was closed
    assert not sender.is_alive()
    backend.held.set()
    wait_until(lambda: web_threads() == [])
    server._server.trigger.close()  # left open on purpose while a worker could still write to it


def test_stop_leaves_no_thread_no_descriptor_and_no_warning(app, recwarn):
    def descriptors():
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    gc.collect()
    before = descriptors()
    for _ in range(5):
        server = make(app, "127.0.0.1", 0, threads=3)
        server.start()
        idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        idle.request("GET", "/healthz")
        idle.getresponse().read()
        half = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        half.sendall(b"GET /healthz HT")
        assert server.stop()
        assert refuses(server.port)
        assert server.stop()
        idle.close()
        half.close()
    gc.collect()
    assert web_threads() == []
    assert descriptors() == before
    assert [str(warning.message) for warning in recwarn] == []


def test_the_port_can_be_had_again_at_once(app):
    first = make(app, "127.0.0.1", 0, threads=1)
    first.start()
    assert ask(first, "GET", "/healthz")[0].status == 200
    assert first.stop()
    second = make(app, "127.0.0.1", first.port, threads=1)
    second.start()
    assert ask(second, "GET", "/healthz")[0].status == 200
    assert second.stop()


def test_stop_before_start_is_nothing(app):
    assert make(app, "127.0.0.1", 0).stop()


def test_it_starts_once(server):
    with pytest.raises(RuntimeError):
        server.start()


def test_a_stop_that_finds_the_loop_already_closing_is_no_fault(app, monkeypatch):
    """The loop may turn between the word and the wake-up, and close what would have woken it."""
    server = make(app, "127.0.0.1", 0, threads=4)
    server.start()
    pull = server._server.pull_trigger

    def too_late():
        server._thread.join(10)
        pull()

    monkeypatch.setattr(server._server, "pull_trigger", too_late)
    assert server.stop(PATIENCE)
