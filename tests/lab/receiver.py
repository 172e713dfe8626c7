"""Somebody who is told: an HTTP server on loopback that takes alerts, or does to us what receivers do."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Told:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def name(self) -> str:
        return self.headers.get("webhook-id", "")


def answer(status: int, **headers: str) -> Behaviour:
    """A short answer; `Retry_After="3"` is a header."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        body = b"" if status == 204 else b"ok"
        if body:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return act


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Hangs up without a word."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


@dataclass
class Receiver:
    """Listens from `start` on; each request is kept in `told`, and answered as `behave` says at that time."""

    behave: Behaviour = field(default_factory=lambda: answer(204))
    tls: ssl.SSLContext | None = None
    port: int = 0
    host: str = "127.0.0.1"
    told: list[Told] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    """What stalls goes on once this is set; the end sets it."""
    connections: int = 0

    def start(self) -> Receiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                receiver.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                receiver.told.append(Told(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                receiver.behave(self)

            def do_GET(self) -> None:
                receiver.told.append(Told(self.path, {}, b""))
                answer(200)(self)

            def handle(self) -> None:
                with contextlib.suppress(OSError, ValueError):  # whoever asked has hung up
                    super().handle()

            def finish(self) -> None:
                with contextlib.suppress(OSError, ValueError):
                    super().finish()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
                """Says nothing."""

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in receiver.host else socket.AF_INET
            daemon_threads = True
            request_queue_size = 50

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that hangs up is no fault of the test."""

        self._server = Server((self.host, self.port), Handler)
        self.port = self._server.server_address[1]
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="receiver", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}"

    # --- what receivers do ---

    def stall(self, handler: BaseHTTPRequestHandler) -> None:
        """Takes it and says nothing."""
        self.gate.wait(60)
        handler.close_connection = True

    def drip(self, handler: BaseHTTPRequestHandler) -> None:
        """Sends a header that never ends, an octet now and then: no wait of the other side is ever too long."""
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        while not self.gate.wait(0.05):
            handler.wfile.write(b"a")
        handler.close_connection = True

    def huge(self, handler: BaseHTTPRequestHandler) -> None:
        """Answers well, and does not stop to."""
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        while not self.gate.is_set():
            handler.wfile.write(b"x" * 65536)
        handler.close_connection = True
