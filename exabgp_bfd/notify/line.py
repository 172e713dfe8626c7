"""The line to one endpoint: a POST that ends by its deadline, whatever the other side does.

urllib3's own timeouts are for each wait: whoever sends an octet now and then would hold us for hours. So the socket is
remembered, and cut off when the time is over. Redirects are not followed: the URL is what the configuration says and
nothing else. Proxies in the environment are not looked at, and no cookie is kept.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Final
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from exabgp_bfd.core.notices import Endpoint

_MOST_READ: Final = 16384
"""Octets of an answer that are read, only so that the connection can be used again."""
_READ_WITHIN: Final = 1.0
"""Seconds for them: what the answer means is known by then."""
_LEAST: Final = 0.05
_LONGEST_ERROR: Final = 200


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of a try."""

    status: int | None
    """None: no answer."""
    error: str = ""
    """What went wrong; nothing of the URL but its host, nothing that the other side wrote."""
    retry_after: str | None = None


class Line:
    """One connection at most, kept open between two alerts. For one thread, but for `cut`, which any may call."""

    def __init__(self, endpoint: Endpoint, agent: str) -> None:
        """Raises nothing for a host that is not there; ssl.SSLError for certificates that are none."""
        parts = urlsplit(endpoint.url.reveal())
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout = endpoint.timeout
        self._headers = {"User-Agent": agent, "Content-Type": "application/json", "Accept": "*/*"}
        if parts.username is not None or parts.password is not None:
            user, password = unquote(parts.username or ""), unquote(parts.password or "")
            self._headers["Authorization"] = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
        self._lock = threading.Lock()
        self._held: socket.socket | None = None
        self._deadline = 0.0
        self._cut = False
        self._pool = self._make_pool(parts.scheme, endpoint.ca)

    def _make_pool(self, scheme: str, ca: str | None) -> urllib3.HTTPConnectionPool:
        pool: urllib3.HTTPConnectionPool
        kind: type[HTTPConnection]
        if scheme == "https":
            # Made here and not by urllib3, which would write the keys of every connection where SSLKEYLOGFILE says.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if ca is None:
                context.load_default_certs()
            else:
                context.load_verify_locations(cadata=ca)
            pool = urllib3.HTTPSConnectionPool(self._host, self._port, maxsize=1, ssl_context=context)
            kind = HTTPSConnection
        else:
            pool = urllib3.HTTPConnectionPool(self._host, self._port, maxsize=1)
            kind = HTTPConnection
        connect = self._connect

        class Held(kind):  # type: ignore[misc, valid-type]
            """A connection whose socket we know from the first moment."""

            def _new_conn(self) -> socket.socket:
                return connect()

        pool.ConnectionCls = Held
        return pool

    def send(self, body: bytes, signed: Mapping[str, str]) -> Sent:
        """Posts a body; returns soon after the endpoint's timeout at the latest, and never raises for the network."""
        self._deadline = time.monotonic() + self._timeout
        with self._lock:
            self._cut = False
        try:
            return self._ask(body, signed)
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            return Sent(None, self._explained(error))

    def _ask(self, body: bytes, signed: Mapping[str, str]) -> Sent:
        with self._until(self._timeout):
            response = self._pool.urlopen(
                "POST",
                self._target,
                body=body,
                headers={**self._headers, **signed},
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=self._timeout, read=self._timeout),
            )
        if self._cut:  # to the library the end of what came is the end of the headers
            response.close()
            raise TimeoutError
        sent = Sent(response.status, _refusal(response.status), response.headers.get("Retry-After"))
        self._drain(response)
        return sent

    def _drain(self, response: urllib3.BaseHTTPResponse) -> None:
        """Reads a short answer to its end, so that the line can be used again; hangs up on any other."""
        try:
            with self._until(_READ_WITHIN):
                whole = len(response.read(_MOST_READ + 1)) <= _MOST_READ
        except (HTTPError, HTTPException, OSError, ValueError):
            whole = False
        if not whole:
            response.close()
        response.release_conn()

    @contextlib.contextmanager
    def _until(self, seconds: float) -> Iterator[None]:
        """Cuts the connection off when so many seconds have passed inside."""
        timer = threading.Timer(seconds, self.cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _connect(self) -> socket.socket:
        """A connection within what is left of the time, to the first of the host's addresses that takes it."""
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        fault: OSError = OSError("the name has no address")
        for number, (family, kind, protocol, _, address) in enumerate(found):
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection = socket.socket(family, kind, protocol)
            try:
                # Each gets its share, so that one that swallows everything does not take it all.
                connection.settimeout(max(_LEAST, left / (len(found) - number)))
                connection.connect(address)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.settimeout(max(_LEAST, self._deadline - time.monotonic()))
                self._hold(connection)
            except OSError as error:
                connection.close()
                fault = error
            else:
                return connection
        raise fault

    def _hold(self, connection: socket.socket) -> None:
        """Remembers a connection by a descriptor of our own, which TLS leaves alone; OSError where it is too late."""
        with self._lock:
            if self._cut:
                raise TimeoutError
            held, self._held = self._held, connection.dup()
        if held is not None:
            held.close()

    def cut(self) -> None:
        """Ends what is under way. Any thread."""
        with self._lock:
            self._cut = True
            if self._held is not None:
                with contextlib.suppress(OSError):
                    self._held.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hangs up."""
        self._pool.close()
        with self._lock:
            held, self._held = self._held, None
        if held is not None:
            held.close()

    def _explained(self, error: Exception) -> str:
        """What went wrong, in our words: those of the library may have the URL in them."""
        causes = list(_causes(error))
        late = self._cut or time.monotonic() >= self._deadline
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return _plain(f"the certificate is not believed: {cause.verify_message}")
        if late or any(isinstance(cause, TimeoutError) for cause in causes):
            return f"no answer within {self._timeout:g} s"
        for cause in causes:
            if isinstance(cause, socket.gaierror):
                return _plain(f"the host's name is not resolved: {cause.strerror}")
            if isinstance(cause, ssl.SSLError):
                return _plain(f"TLS failed: {cause.reason or 'the other side speaks something else'}")
            if isinstance(cause, OSError) and cause.strerror:
                return _plain(f"no connection: {cause.strerror}")
        return "the connection broke, or what came was no HTTP"


def _refusal(status: int) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"status {status}: it leads elsewhere, where we do not go"
    return f"status {status}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it came of, as far as it tells."""
    seen: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting:
        one = waiting.pop(0)
        if one in seen:
            continue
        seen.append(one)
        yield one
        waiting += [each for each in (one.__cause__, one.__context__, *one.args) if isinstance(each, BaseException)]


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:_LONGEST_ERROR]
