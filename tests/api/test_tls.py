"""TLS: real connections to a real server, and certificates that are none."""

import contextlib
import datetime as dt
import http.client
import os
import socket
import ssl
import threading
import time
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from api.box import event
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from flask import Flask, request

from exabgp_bfd.config import Overrides, load
from exabgp_bfd.core.model import ConfigError
from exabgp_bfd.web import server
from exabgp_bfd.web.server import WebServer, create_app
from exabgp_bfd.web.tls import TlsFiles, context


def certify(folder: Path, name: str = "own", password: bytes | None = None) -> TlsFiles:
    """A certificate of its own for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    files = TlsFiles(folder / f"{name}.pem", folder / f"{name}.key")
    files.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, lock)
    )
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return certify(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def serve(settings, files):
    """Serves an application under TLS; gives the server."""
    with contextlib.ExitStack() as ended:

        def begin(app, **changes):
            web = WebServer(app, replace(settings, port=0, tls=files, **changes))
            web.start()
            ended.callback(web.stop, 5.0)
            return web

        yield begin


@pytest.fixture
def app():
    """Tells what it was asked, and echoes."""
    told = Flask("told", static_folder=None)

    @told.get("/scheme")
    def scheme():
        return request.scheme

    @told.post("/echo")
    def echo():
        return request.get_data()

    @told.get("/large")
    def large():
        return LARGE

    return told


LARGE = os.urandom(3_000_000)


def trusting(files, **changes):
    made = ssl.create_default_context(cafile=str(files.certificate))
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def connected(web, files, **changes):
    return http.client.HTTPSConnection("127.0.0.1", web.port, timeout=20, context=trusting(files, **changes))


def asked(connection, method="GET", path="/scheme", body=None):
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_are_answered_under_tls(serve, app, files, version):
    with contextlib.closing(connected(serve(app), files, minimum_version=version, maximum_version=version)) as client:
        for _ in range(3):  # on one connection
            assert asked(client) == (200, b"https")
        assert client.sock.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


def test_bodies_arrive_whole_whatever_their_size(serve, app, files):
    with contextlib.closing(connected(serve(app), files)) as client:
        for size in (0, 1, 8191, 8192, 8193, 16384, 16385, 65536, 200_000):  # a record has 16,384 octets
            body = LARGE[:size]
            assert asked(client, "POST", "/echo", body) == (200, body)


def test_a_large_answer_arrives_whole_at_a_slow_reader(serve, app, files):
    with contextlib.closing(connected(serve(app), files)) as client:
        client.request("GET", "/large")
        answer = client.getresponse()
        parts = []
        while part := answer.read(100_000):
            parts.append(part)
            time.sleep(0.005)
    assert b"".join(parts) == LARGE


def test_requests_sent_one_behind_the_other_are_all_answered(serve, app, files):
    web = serve(app)
    one = b"GET /scheme HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with (
        socket.create_connection(("127.0.0.1", web.port), 20) as raw,
        trusting(files).wrap_socket(raw, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(one * 20 + last)
        received = b""
        while part := client.recv(65536):  # and the end is said, or this raises
            received += part
    assert received.count(b"HTTP/1.1 200") == 21
    assert received.count(b"https") == 21


def test_many_at_once(serve, app, files):
    web, answers = serve(app), []

    def ask():
        with contextlib.closing(connected(web, files)) as client:
            answers.append([asked(client, "POST", "/echo", LARGE[:50_000])[1] == LARGE[:50_000] for _ in range(5)])

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [[True] * 5] * 12


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01" + b"\0" * 600, b"\xff" * 4000, b""],
)
def test_what_is_no_tls_ends_and_hurts_nobody(serve, app, files, sent):
    web = serve(app)
    # It may have hung up at any of these.
    with socket.create_connection(("127.0.0.1", web.port), 20) as raw, contextlib.suppress(OSError):
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        assert b"200" not in raw.recv(65536)
    # Some that are gone before the handshake begins.
    for _ in range(20):
        raw = socket.create_connection(("127.0.0.1", web.port), 20)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        raw.close()
    with contextlib.closing(connected(web, files)) as client:
        assert asked(client) == (200, b"https")


def test_who_says_nothing_is_let_go(serve, app, files, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_WITHIN", 0.2)
    web = serve(app)
    with contextlib.ExitStack() as ended:
        silent = [ended.enter_context(socket.create_connection(("127.0.0.1", web.port), 20)) for _ in range(20)]
        for raw in silent:
            assert raw.recv(1) == b""


def test_an_older_tls_is_refused(serve, app, files):
    web = serve(app)
    assert context(files).minimum_version is ssl.TLSVersion.TLSv1_2
    hello = bytes.fromhex("160301002f0100002b0301") + b"\1" * 32 + bytes.fromhex("000004002f00350100")  # TLS 1.0
    with socket.create_connection(("127.0.0.1", web.port), 20) as raw:
        answer = b""
        with contextlib.suppress(OSError):  # it may have hung up at any of these
            raw.sendall(hello)
            raw.shutdown(socket.SHUT_WR)
            answer = raw.recv(65536)
    assert answer[:1] in {b"", b"\x15"}  # an alert, or nothing: never a handshake


def test_a_stream_goes_on_under_tls(serve, backend, settings, files):
    backend.trail.append(event(7))
    web = serve(create_app(backend, settings))
    with contextlib.closing(connected(web, files)) as client:
        client.request("GET", "/stream?after=6")
        answer = client.getresponse()
        assert answer.status == 200
        received = b""
        while b"id: 7\ndata:" not in received:
            received += answer.read1(65536)
        backend.trail.append(event(8))
        while b"id: 8\ndata:" not in received:
            received += answer.read1(65536)


def test_nothing_is_left_open_behind_a_stop(serve, app, files):
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a directory that changes while it is read
    web = serve(app)
    clients = [connected(web, files) for _ in range(5)]
    for client in clients:
        assert asked(client) == (200, b"https")
    assert web.stop(5.0)
    for client in clients:
        client.close()
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208


# --- certificates -------------------------------------------------------------------------------------------------


def test_a_key_of_another_certificate_is_told(tmp_path):
    one, other = certify(tmp_path, "one"), certify(tmp_path, "other")
    with pytest.raises(ConfigError, match="is not the key of") as caught:
        context(replace(one, key=other.key))
    assert caught.value.place == "[api] tls_key"


def test_a_locked_key_is_never_asked_for(tmp_path):
    locked = certify(tmp_path, "locked", b"pass phrase")
    with pytest.raises(ConfigError, match="locked by a pass phrase"):
        context(locked)


@pytest.mark.parametrize("text", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_told_and_not_shown(tmp_path, text):
    files = certify(tmp_path)
    files.certificate.write_text(text)
    with pytest.raises(ConfigError, match="no certificate and key in PEM") as caught:
        context(files)
    assert caught.value.place == "[api] tls_certificate"
    assert files.key.read_text().splitlines()[1] not in str(caught.value)


def test_a_renewed_certificate_is_another_setting_and_is_served(tmp_path, app, settings):
    first = certify(tmp_path)
    file = tmp_path / "bfd.toml"
    api = '[api]\ntls_certificate = "own.pem"\ntls_key = "own.key"\n'
    file.write_text(f'[[device]]\nname = "edge1"\nhost = "192.0.2.1"\n{api}')

    def served():
        read = load(file, Overrides(), {}).api_tls
        assert read is not None
        web = WebServer(app, replace(settings, port=0, tls=TlsFiles(read.certificate, read.key)))
        web.start()
        try:
            with contextlib.closing(connected(web, first)) as client:
                return read, asked(client)
        finally:
            assert web.stop(5.0)

    before, answer = served()
    assert answer == (200, b"https")
    assert load(file, Overrides(), {}).api_tls == before
    old = trusting(first)
    certify(tmp_path)  # over the same files
    after, answer = served()
    assert answer == (200, b"https")
    assert after != before
    assert (after.certificate, after.key) == (before.certificate, before.key)
    assert old.get_ca_certs() != trusting(first).get_ca_certs()
