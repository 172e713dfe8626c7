"""What answers on the API's address while a start waits: that it does, and for what.

A few lines instead of the web: it must work when all else does not. `/healthz` is 200, for the process lives, and
killing it would remedy nothing; everything else is 503 with the reason, as a problem document (RFC 9457). Whoever does
not ask from this very host gets no reason: it may name files, and what is wrong with them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from contextlib import suppress
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

from exabgp_bfd.config import Listen

logger = logging.getLogger(__name__)

REQUEST_WITHIN = 5.0
"""Seconds a client has for its request, and then for taking the answer."""
CLIENTS = 32
LARGEST_HEAD = 16384

_HEADERS = (
    ("Connection", "close"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)
_ELSEWHERE = "exabgp-bfd has not started yet: its log, or a request from its own host, tells why"


class WaitingRoom:
    """Tells whoever asks over HTTP why there is no API yet. On the loop's thread."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._listen: Listen | None = None
        self._detail = "exabgp-bfd is starting"
        self._retry_after = 2
        self._clients: set[asyncio.Task[Any]] = set()

    @property
    def open(self) -> bool:
        """Whether it answers."""
        return self._server is not None

    def say(self, detail: str, retry_after: float) -> None:
        """What is told from now on, and after how many seconds it is worth asking again."""
        self._detail, self._retry_after = detail, max(1, round(retry_after))

    async def be_at(self, listen: Listen | None) -> None:
        """Answers at an address, and at no other, from now on; not at all where that is taken, or None."""
        if listen is not None and listen == self._listen and self._server is not None:
            return
        await self.close()
        if listen is None or listen.port == 0:
            return
        try:
            self._server = await asyncio.start_server(
                self._serve, sock=await asyncio.to_thread(_listener, listen), limit=LARGEST_HEAD
            )
        except (OSError, UnicodeError) as error:
            logger.debug("that we wait is not told on %s: %s", listen, error)
            return
        self._listen = listen
        logger.debug("%s tells why we wait", listen)

    async def close(self) -> None:
        """Leaves the address to whoever wants it next."""
        server, self._server, self._listen = self._server, None, None
        if server is None:
            return
        server.close()
        for client in list(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        if len(self._clients) >= CLIENTS:
            writer.transport.abort()
            return
        self._clients.add(task)
        try:
            async with asyncio.timeout(2 * REQUEST_WITHIN):
                async with asyncio.timeout(REQUEST_WITHIN):
                    head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head, _is_local(writer.get_extra_info("peername"))))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # whoever does not ask gets no answer
        except asyncio.CancelledError:
            # Only `close` cancels it. Not raised on: asyncio before 3.12 would log that as a fault, with a traceback.
            writer.transport.abort()
        finally:
            self._clients.discard(task)
            writer.close()

    def _answer(self, head: bytes, local: bool) -> bytes:  # noqa: FBT001 - private, and named where it is called
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        detail = self._detail if local else _ELSEWHERE
        if path == "/healthz":
            return _message(HTTPStatus.OK, {"status": "waiting", "detail": detail}, "application/json", method)
        status = HTTPStatus.SERVICE_UNAVAILABLE
        problem = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status.value,
            "detail": detail,
            "instance": quote(path[:200]),
        }
        return _message(status, problem, "application/problem+json", method, ("Retry-After", str(self._retry_after)))


def _message(
    status: HTTPStatus, document: dict[str, Any], media_type: str, method: str, *more: tuple[str, str]
) -> bytes:
    body = json.dumps(document).encode()
    headers = (("Content-Type", media_type), ("Content-Length", str(len(body))), *_HEADERS, *more)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\n{lines}\r\n".encode("ascii")
    return head if method == "HEAD" else head + body


def _listener(listen: Listen) -> socket.socket:
    """A socket at just the address that the API will have. Raises OSError. Asks for a name, which may take long."""
    found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return socket.create_server(address[:2], family=family, backlog=16)


def _is_local(peer: Any) -> bool:  # noqa: ANN401 - whatever the transport knows
    with suppress(ValueError, TypeError, IndexError):
        address = ip_address(peer[0].partition("%")[0])
        return bool((getattr(address, "ipv4_mapped", None) or address).is_loopback)
    return False
