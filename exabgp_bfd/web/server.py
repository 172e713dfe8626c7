"""The Flask application, and the HTTP server: waitress driven by a loop of our own, so that it can be stopped.

waitress has no way to be stopped from outside (its issues 372 and 468); so its event loop is turned here, one round at
a time, on one thread that alone opens and closes sockets. Requests are parsed on that thread, which is why clients
that dawdle hold no worker.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Flask, request
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from exabgp_bfd.core.model import ConfigError
from exabgp_bfd.web import gate, problems, tls
from exabgp_bfd.web.api import (
    bgp,
    command,
    devices,
    docs,
    events,
    guard,
    health,
    index,
    notify,
    overrides,
    plan,
    services,
    sessions,
    shutdown,
    snmp,
    stream,
    trail,
    webhook,
)
from exabgp_bfd.web.auth import host_is_ours
from exabgp_bfd.web.backend import Backend, WebSettings
from exabgp_bfd.web.channel import Channel, Workers, is_busy
from exabgp_bfd.web.stream import Streams

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from flask.typing import ResponseReturnValue

logger = logging.getLogger(__name__)

REQUEST_WITHIN = 30.0
"""Seconds a client has to send one whole request, and may stay silent between two."""

TURN_WITHIN = 10.0
"""Seconds that a page waits for its turn."""

_CONNECTIONS = 200
_SPARE = 8
"""Connections below that bound at which the one goes that has kept us waiting for longest."""
_OVERSIZE = 4
"""How many times too large a body may be and still be read, so that its sender gets an answer and not a reset."""

_PLACE = "[api] listen"


class Pages(Flask):
    """Renders one page at a time: pages share the interpreter with the decisions, and four at once would be in the way
    of a withdraw without any of them being ready sooner. What waits for a disk, and what must answer whatever else is
    asked for, does not take a turn.
    """

    def __init__(self, threads: int, streams: Streams) -> None:
        super().__init__("exabgp_bfd.web", static_folder=None, template_folder=None)
        self.streams = streams
        self._turn = threading.Lock()
        # Whoever waits holds a worker: these and the webhooks' half leave one for what must be answered meanwhile.
        changes = max(1, threads // 8)
        self._changes = threading.BoundedSemaphore(changes)
        self._room = threading.BoundedSemaphore(max(1, threads // 2 - changes - 1))

    def dispatch_request(self) -> ResponseReturnValue:
        """As Flask's, in turn."""
        if request.path in {"/healthz", "/readyz", "/webhook/failure"}:  # the webhook counts those that wait itself
            return super().dispatch_request()
        if request.method not in {"GET", "HEAD", "OPTIONS"}:
            return self._change()
        if not self._room.acquire(blocking=False):
            raise _busy()
        try:
            if not self._turn.acquire(timeout=TURN_WITHIN):
                raise _busy()
            try:
                return super().dispatch_request()
            finally:
                self._turn.release()
        finally:
            self._room.release()

    def _change(self) -> ResponseReturnValue:
        """What waits for the main loop and the disk: few at once, and never behind pages."""
        if not self._changes.acquire(blocking=False):
            raise problems.Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "other changes are under way; ask again in a moment", retry_after=1
            )
        try:
            return super().dispatch_request()
        finally:
            self._changes.release()


def _busy() -> problems.Problem:
    detail = "too many pages are asked for at once; ask for fewer, or again later"
    return problems.Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=1)


def create_app(backend: Backend, settings: WebSettings) -> Pages:
    """The application: the blueprints, the error documents, the check of the Host header, and the gate behind it."""
    streams = Streams(backend)
    app = Pages(settings.threads, streams)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    # Errors end in our own document under test as in service, never in a debugger or a traceback page.
    app.config["PROPAGATE_EXCEPTIONS"] = False
    # `/services//dns` is not `/services/dns`: no redirects, so that every path has one spelling.
    app.url_map.merge_slashes = False
    problems.install(app)

    @app.before_request
    def refuse_foreign_host() -> None:
        host = request.headers.get("Host")
        if not host_is_ours(host, settings.host):
            raise problems.Problem(
                HTTPStatus.FORBIDDEN,
                f"the Host header must be an address, localhost or {settings.host}; a proxy in front has to set it",
            )

    app.register_blueprint(index.blueprint(backend))
    app.register_blueprint(docs.blueprint(backend))
    app.register_blueprint(health.blueprint(backend))
    app.register_blueprint(events.blueprint(backend))
    app.register_blueprint(trail.blueprint(backend))
    app.register_blueprint(stream.blueprint(backend, streams))
    app.register_blueprint(bgp.blueprint(backend))
    app.register_blueprint(sessions.blueprint(backend))
    app.register_blueprint(devices.blueprint(backend))
    app.register_blueprint(services.blueprint(backend))
    app.register_blueprint(overrides.blueprint(backend))
    app.register_blueprint(guard.blueprint(backend))
    app.register_blueprint(plan.blueprint(backend))
    app.register_blueprint(command.blueprint(backend))
    app.register_blueprint(shutdown.blueprint(backend))
    app.register_blueprint(snmp.blueprint(backend))
    app.register_blueprint(notify.blueprint(backend))
    app.register_blueprint(webhook.blueprint(backend, settings))
    gate.install(app, settings)
    return app


class WebServer:
    """Serves a WSGI application in one thread and a fixed number of workers, all daemons."""

    def __init__(self, app: WSGIApplication, settings: WebSettings) -> None:
        self._app = app
        self._streams = app.streams if isinstance(app, Pages) else None
        self._host = settings.host
        self._port = settings.port
        self._threads = settings.threads
        self._tls = settings.tls
        self._limits = Adjustments(
            ident=None,
            # Whom to believe is said in [api] trusted_proxies: `gate` takes out what anybody else says.
            clear_untrusted_proxy_headers=False,
            url_scheme="http" if settings.tls is None else "https",
            # waitress refuses at its limit, the application beyond its own.
            max_request_body_size=_OVERSIZE * settings.max_body + 1,
            max_request_header_size=settings.max_header,
            connection_limit=_CONNECTIONS,
            channel_timeout=int(REQUEST_WITHIN),
            cleanup_interval=5,
            # A client that goes away is no error of ours.
            log_socket_errors=False,
            sockets=[],
        )
        self._quit = threading.Event()
        self._deadline = 0.0
        self._map: dict[int, Any] = {}
        self._server: Any = None
        self._workers: Workers | None = None
        self._thread: threading.Thread | None = None
        self._clean = True
        self.crowded_out = 0
        """Connections that were let go to make room for others."""

    @property
    def port(self) -> int:
        """The port listened on: the real one once started, also where 0 was asked for."""
        return self._port

    def start(self) -> None:
        """Listens and serves; raises ConfigError naming `[api] listen` when that address cannot be had."""
        if self._thread is not None:
            raise RuntimeError("a WebServer starts once")
        secured = None if self._tls is None else tls.channels(tls.context(self._tls))
        listener = _listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        # It warns of every request that finds all workers busy: a line a request, when there is least time for it.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._workers = Workers()
        self._workers.set_thread_count(self._threads)
        self._server = TcpWSGIServer(
            self._app,
            map=self._map,
            _sock=listener,
            dispatcher=self._workers,
            adj=self._limits,
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
            bind_socket=False,
        )
        self._server.channel_class = secured or Channel
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()
        scheme = "" if self._tls is None else " with TLS"
        logger.info("the API listens on %s port %d%s", self._host, self._port, scheme)

    def stop(self, timeout: float = 1.5) -> bool:
        """Stops accepting, lets answers under way leave, and ends; True when nothing is left behind.

        Returns after `timeout` seconds and a little, whatever the requests under way do. Not to be called from the
        main loop's thread while requests wait for that loop: they could not end before the deadline.
        """
        thread = self._thread
        if thread is None:
            return True
        if not self._quit.is_set():
            self._deadline = time.monotonic() + timeout
            self._quit.set()
            with contextlib.suppress(OSError):  # it may have turned just now, and closed what would wake it
                self._server.pull_trigger()  # wakes the poll at once
        ended = self._streams is None or self._streams.stop(timeout)
        thread.join(max(0.0, self._deadline - time.monotonic()) + 1.0)
        return self._clean and ended and not thread.is_alive()

    def _run(self) -> None:
        while not self._quit.is_set():
            self._turn(1.0)
            self._drop_dawdlers()
            self._make_room()
        # Only the listening socket: the trigger must still wake this loop for the workers' answers.
        wasyncore.dispatcher.close(self._server)
        while time.monotonic() < self._deadline and any(map(is_busy, self._channels())):
            self._turn(0.05)
        self._close()

    def _turn(self, timeout: float) -> None:
        try:
            wasyncore.loop(timeout=timeout, use_poll=True, map=self._map, count=1)
        except Exception:
            # The thread's outermost frame: one connection's trouble must not take the API away from all others.
            logger.exception("a round of the web server failed")
            self._quit.wait(0.1)

    def _channels(self) -> list[Channel]:
        return list(self._server.active_channels.values())

    def _drop_dawdlers(self) -> None:
        """Ends requests that trickle in: waitress itself only counts the silence since the last byte."""
        now = time.monotonic()
        for channel in self._channels():
            if channel.begun is not None and now - channel.begun > REQUEST_WITHIN:
                channel.will_close = True

    def _make_room(self) -> None:
        """Lets go whoever has said nothing whole for longest, before nobody new would be heard.

        Else as many clients as there are connections, each of which begins a request and does not end it, would shut
        out everybody for as long as a request may take. Who does not take an answer follows; who waits for one never.
        """
        channels = self._channels()
        if len(channels) <= _CONNECTIONS - _SPARE:
            return
        waiting = [channel for channel in channels if not channel.requests]
        if waiting:
            longest = min(waiting, key=lambda channel: (bool(channel.total_outbufs_len), channel.idle))
            longest.handle_close()
            self.crowded_out += 1

    def _close(self) -> None:
        workers = self._workers
        assert workers is not None  # noqa: S101 - set by start, before this thread
        remaining = max(0.0, self._deadline - time.monotonic())
        workers.end(remaining)
        for channel in self._channels():
            channel.handle_close()
        self._clean = not workers.threads
        if self._clean:
            self._server.trigger.close()
        else:
            # A worker that is still busy writes a byte to the trigger when it ends; were it closed now, that byte
            # could land in whatever file got its number next.
            logger.warning("%d web requests did not end in time", len(workers.threads))


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, on the first address of `host`, IPv4 before IPv6."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise ConfigError(_PLACE, f"{host!r} is no address of this machine: {error}; use 127.0.0.1:8080") from error
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    try:
        return socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        raise ConfigError(_PLACE, _refusal(error, host, port)) from error


def _refusal(error: OSError, host: str, port: int) -> str:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"{where} is in use by another program (`ss -ltnp sport = :{port}` shows which); "
                "stop that or choose another port"
            )
        case errno.EACCES:
            return f"{where} may not be opened by this user; choose a port above 1023"
        case errno.EADDRNOTAVAIL:
            return f"{where}: no interface here has that address; use 127.0.0.1:{port}"
        case _:
            return f"{where} cannot be listened on: {error.strerror or error}"
