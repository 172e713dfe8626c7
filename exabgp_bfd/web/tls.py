"""TLS on waitress' connections, by Python's ssl module: its sockets in waitress' loop, and the certificate.

waitress has no TLS (its issue 287). What it asks of a socket is little: to send, to receive, to be polled and closed.
The handshake takes place in the loop as what arrives, never waits, and is dropped with the requests that dawdle.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from exabgp_bfd.core.model import ConfigError
from exabgp_bfd.web.channel import Channel

logger = logging.getLogger(__name__)

_CERTIFICATE = "[api] tls_certificate"
_KEY = "[api] tls_key"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate with its chain, and its key, in PEM."""

    certificate: Path
    key: Path


def context(files: TlsFiles) -> ssl.SSLContext:
    """What connections are served with, TLS 1.2 and 1.3; raises ConfigError."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.sslsocket_class = _Accepted
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    made.set_alpn_protocols(["http/1.1"])
    try:
        # A pass phrase is never asked for: nobody sits at a terminal, and stdin belongs to ExaBGP.
        made.load_cert_chain(files.certificate, files.key, password=_no_pass_phrase)
    except _LockedKeyError:
        raise ConfigError(
            "tls_key", f"{files.key} is locked by a pass phrase: write it without one, mode 0600"
        ) from None
    except ssl.SSLError as error:
        what = (error.reason or "").lower().replace("_", " ")
        if "mismatch" in what:
            raise ConfigError(_KEY, f"{files.key} is not the key of {files.certificate}") from None
        raise ConfigError(
            _CERTIFICATE,
            f"{files.certificate} with {files.key} is no certificate and key in PEM ({what or 'unreadable'})",
        ) from None
    except OSError as error:
        raise ConfigError(_CERTIFICATE, f"cannot be read: {error.strerror}") from None
    return made


class _LockedKeyError(Exception):
    pass


def _no_pass_phrase() -> str:
    raise _LockedKeyError


class _Accepted(ssl.SSLSocket):
    """A connection that was accepted, and may be gone already: the handshake tells.

    Where the peer's address cannot be had, Python would look for what was sent before a handshake, and leave the
    descriptor to the garbage collector when that fails.
    """

    def getpeername(self) -> Any:  # noqa: ANN401 - as a socket's
        """As a socket's, and nothing where there is none any more."""
        try:
            return super().getpeername()
        except OSError:
            return ()


class TlsSocket:
    """A connection under TLS, as waitress' loop and its workers use a socket: at once, each call on its own.

    OpenSSL's connections may not be used by two threads at a time; a worker sends while the loop receives.
    """

    def __init__(self, connection: ssl.SSLSocket, shared: _Shared | None = None) -> None:
        self._connection = connection
        self._shared = shared or _Shared()
        self._open = True

    def fileno(self) -> int:
        """What is polled."""
        return self._connection.fileno() if self._open else -1

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - as a socket's
        """Never waits, whatever is asked for: who would wait polls."""

    def settimeout(self, seconds: float | None) -> None:
        """As `setblocking`."""

    def setsockopt(self, *which: Any) -> None:  # noqa: ANN401 - as a socket's
        """As a socket's."""
        self._connection.setsockopt(*which)

    def getsockopt(self, *which: int) -> Any:  # noqa: ANN401 - as a socket's
        """As a socket's."""
        return self._connection.getsockopt(*which)

    def getpeername(self) -> Any:  # noqa: ANN401 - as a socket's
        """As a socket's."""
        return self._connection.getpeername()

    def handshake(self) -> int:
        """Goes on with the handshake; 0 once it is through, else what to poll for: SSL_ERROR_WANT_READ or _WRITE.

        Raises OSError when it failed.
        """
        with self._shared.lock:
            try:
                self._connection.do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                return int(error.errno or 0)
        return 0

    def send(self, data: bytes) -> int:
        """Sends what goes without waiting; raises BlockingIOError where nothing does."""
        with self._shared.lock:
            try:
                return self._connection.send(data)
            except ssl.SSLError as error:
                _raise_as_sockets_do(error)

    def recv(self, size: int) -> bytes:
        """What has arrived, empty at the end; raises BlockingIOError where nothing has."""
        with self._shared.lock:
            try:
                return self._connection.recv(size)
            except ssl.SSLError as error:
                _raise_as_sockets_do(error)

    def pending(self) -> int:
        """Bytes that were received and deciphered, and that no poll tells of."""
        with self._shared.lock:
            return self._connection.pending()

    def dup(self) -> TlsSocket:
        """The same connection, open until both are closed."""
        with self._shared.lock:
            self._shared.users += 1
        return TlsSocket(self._connection, self._shared)

    def shutdown(self, how: int) -> None:
        """As a socket's, with what TLS says at the end."""
        with self._shared.lock:
            self._say_goodbye()
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._connection, how)

    def close(self) -> None:
        """Ends the connection, unless another uses it still."""
        if not self._open:
            return
        self._open = False
        with self._shared.lock:
            self._shared.users -= 1
            if not self._shared.users:
                self._say_goodbye()
                self._connection.close()

    def _say_goodbye(self) -> None:
        # Without it a client cannot tell the end from a connection that was cut (RFC 8446 section 6.1).
        with contextlib.suppress(OSError, ValueError):
            self._connection.unwrap()


def _raise_as_sockets_do(error: ssl.SSLError) -> NoReturn:
    if isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError):
        raise BlockingIOError(errno.EWOULDBLOCK, "nothing goes without waiting") from None
    raise ConnectionResetError(errno.ECONNRESET, error.reason or "TLS failed") from None


class _Shared:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users = 1


class TlsChannel(Channel):
    """One connection under TLS."""

    wants: int = ssl.SSL_ERROR_WANT_READ
    """What the handshake waits for; 0: it is through."""

    def __init__(self, server: Any, sock: TlsSocket, addr: Any, adj: Any, map: Any = None) -> None:  # noqa: A002, ANN401
        super().__init__(server, sock, addr, adj, map=map)
        self.begun = time.monotonic()

    def readable(self) -> bool:
        """Whether the loop is to tell when something arrives."""
        if self.wants:
            return self.wants == ssl.SSL_ERROR_WANT_READ and not self.will_close
        return bool(super().readable())

    def writable(self) -> bool:
        """Whether the loop is to tell when something may leave."""
        if self.wants:
            return self.wants == ssl.SSL_ERROR_WANT_WRITE or self.will_close
        return bool(super().writable())

    def handle_read(self) -> None:
        """Goes on with the handshake, or takes all that has arrived."""
        if self.wants and not self._greeted():
            return
        connection: Any = self.socket
        while connection is not None:
            try:
                data = connection.recv(self.adj.recv_bytes)
            except BlockingIOError:
                return
            except OSError:
                self.handle_close()
                return
            if not data:
                self.handle_close()
                return
            self.last_activity = time.time()
            self.received(data)
            if not connection.pending():
                return

    def handle_write(self) -> None:
        """Goes on with the handshake, or sends."""
        if self.will_close or not self.wants or self._greeted():
            super().handle_write()

    def _greeted(self) -> bool:
        connection: Any = self.socket
        try:
            self.wants = connection.handshake()
        except OSError as error:  # plain HTTP, another version, a certificate that is not believed
            logger.debug("no TLS with %s: %s", self.addr, getattr(error, "reason", None) or error)
            self.handle_close()
            return False
        if not self.wants:
            self.begun = None
        return not self.wants


def channels(tls: ssl.SSLContext) -> Callable[..., TlsChannel | None]:
    """What makes a channel of each connection that waitress accepts."""
    return functools.partial(_channel, tls)


def _channel(
    tls: ssl.SSLContext,
    server: Any,  # noqa: ANN401
    sock: socket.socket,
    addr: Any,  # noqa: ANN401
    adj: Any,  # noqa: ANN401
    map: Any = None,  # noqa: A002, ANN401
) -> TlsChannel | None:
    try:
        sock.settimeout(0)
        wrapped = tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
    except (OSError, ValueError) as error:
        # It is gone already. What was raised from here would close the listening socket.
        logger.debug("no TLS with %s: %s", addr, error)
        sock.close()
        return None
    return TlsChannel(server, TlsSocket(wrapped), addr, adj, map=map)
