"""Requests as HTTP/1.1 has them and no others: what two programs could read in two ways is refused with 400.

waitress is lenient where RFC 9112 lets a server choose, and in a few places where it does not. With a proxy in front,
each leniency is a way to have one request taken for another (request smuggling), or to write a path so that a rule of
the proxy does not see it.
"""

from __future__ import annotations

import re
from typing import Any, Final

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import BadRequest

_LONGEST_LINE: Final = 256
_MOST_TRAILERS: Final = 16
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t -~]*)?")
_TRAILER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*")
# A slash that is no separator here and one elsewhere, and what no name of ours has.
_HIDDEN: Final = re.compile(r"%(?:2f|5c|[01][0-9a-f]|7f)", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")


class Chunks:
    """A body in chunks (RFC 9112 section 7.1): every line ends with CR LF, extensions and trailers are passed over."""

    def __init__(self, into: Any) -> None:  # noqa: ANN401 - waitress' buffer
        self.error: BadRequest | None = None
        self.completed = False
        self._into = into
        self._line = b""
        self._left = 0
        """Bytes of a chunk that are to come."""
        self._next = self._size

    def __len__(self) -> int:
        return len(self._into)

    def received(self, data: bytes) -> int:
        """Takes what belongs to the body; how many bytes that was."""
        place = 0
        while place < len(data) and not self.completed and self.error is None:
            if self._left:
                taken = data[place : place + self._left]
                self._into.append(taken)
                self._left -= len(taken)
                place += len(taken)
                continue
            end = data.find(b"\n", place) + 1 or len(data)
            self._line += data[place:end]
            place = end
            if len(self._line) > _LONGEST_LINE:
                self._refuse("a line of a body in chunks is too long")
            elif self._line.endswith(b"\n"):
                line, self._line = self._line, b""
                if line.endswith(b"\r\n"):
                    self._next(line[:-2])
                else:
                    self._refuse("a line of a body in chunks ends without a carriage return")
        return place

    def getfile(self) -> Any:  # noqa: ANN401 - as waitress' receivers
        """The body, to be read."""
        return self._into.getfile()

    def getbuf(self) -> Any:  # noqa: ANN401 - as waitress' receivers
        """The body's buffer."""
        return self._into

    def _size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            self._refuse("a chunk does not begin with its size")
            return
        self._left = int(match[1], 16)
        self._trailers = _MOST_TRAILERS
        self._next = self._end if self._left else self._trailer

    def _end(self, line: bytes) -> None:
        if line:
            self._refuse("a chunk is longer than its size")
        self._next = self._size

    def _trailer(self, line: bytes) -> None:
        self._trailers -= 1
        if not line:
            self.completed = True
        elif self._trailers < 0 or not _TRAILER.fullmatch(line):
            self._refuse("what follows the last chunk is no trailer")

    def _refuse(self, why: str) -> None:
        self.error = BadRequest(why)
        self.completed = True


class Parser(HTTPRequestParser):
    """waitress' parser, which refuses what it would otherwise put up with."""

    request_uri: str
    path: str
    proxy_scheme: str
    proxy_netloc: str

    def received(self, data: bytes) -> int:
        """Takes what belongs to this request; how many bytes that was."""
        taken: int = super().received(data)
        if self.error is not None or self.body_rcv is None:
            # Nothing follows that would have to be asked for, and waitress would wait for it.
            self.expect_continue = False
        return taken

    def parse_header(self, header_plus: bytes) -> None:
        """Understands everything before the body; raises ParsingError."""
        lines = header_plus.split(b"\r\n")
        if any(line.startswith((b" ", b"\t")) for line in lines[1:]):
            raise ParsingError("a header goes on in another line (RFC 9112 section 5.2)")
        super().parse_header(header_plus)
        self._refuse_version()
        headers = [
            (name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines[1:])
        ]
        names = [name for name, _ in headers]
        self._refuse_framing(names, [value.lower() for name, value in headers if name == b"transfer-encoding"])
        self._refuse_target(names.count(b"host"))
        if self.chunked:
            self.body_rcv: Any = Chunks(self.body_rcv.getbuf())

    def _refuse_version(self) -> None:
        # waitress looks at the framing of 1.1 only, and takes 1.2 and no version at all as well.
        if self.version not in {"1.0", "1.1"}:
            raise ParsingError("HTTP/1.1 and HTTP/1.0 are spoken here")

    def _refuse_framing(self, names: list[bytes], codings: list[bytes]) -> None:
        """More than one word on how long the body is (RFC 9112 sections 6.1 and 6.3)."""
        if names.count(b"content-length") + len(codings) > 1:
            raise ParsingError("how long the body is must be said once, by Content-Length or Transfer-Encoding")
        if codings and (self.version != "1.1" or codings != [b"chunked"]):
            raise ParsingError("Transfer-Encoding must be chunked, once, and goes with HTTP/1.1")

    def _refuse_target(self, hosts: int) -> None:
        """What is asked for, and of whom (RFC 9112 section 3.2)."""
        if hosts > 1 or (not hosts and self.version == "1.1"):
            raise ParsingError("HTTP/1.1 needs one Host")
        target: str = self.request_uri
        path = target.partition("?")[0]
        if self.proxy_scheme or self.proxy_netloc:
            host = self.headers.get("HOST", "")
            if self.proxy_scheme not in {"http", "https"} or self.proxy_netloc.lower() != host.lower():
                raise ParsingError("the target and Host name two")
            self.path = self.path or "/"
            path = path.partition("//")[2]
            path = path[path.find("/") :] if "/" in path else "/"
        method: Any = self.command  # text, whatever the stub says
        if not path.startswith("/") and (method, target) != ("OPTIONS", "*"):
            raise ParsingError("the target must begin with a slash")
        if path.startswith("//"):  # which werkzeug takes for one slash
            raise ParsingError("the path begins with two slashes")
        if _HIDDEN.search(path) or _CONTROL.search(target):
            raise ParsingError("the path has an escaped slash or a control character")
