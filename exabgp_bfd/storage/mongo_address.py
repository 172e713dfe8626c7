"""Where a MongoDB is, as its users write it (a URI), and what of that may be shown. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote, unquote_plus

from exabgp_bfd.core.model import Secret, StoreError

DATABASE: Final = "exabgp_bfd"
"""Used where the URI names none."""

USUAL_MS: Final = 5_000
LONGEST_MS: Final = 30_000
"""The longest deadline of one operation that a URI may ask for."""

_SHOWN: Final = frozenset(
    {
        *("replicaset", "authsource", "authmechanism", "tls", "ssl", "tlsinsecure", "tlsallowinvalidcertificates"),
        *("tlsallowinvalidhostnames", "tlscafile", "directconnection", "loadbalanced", "readpreference", "timeoutms"),
        *("maxpoolsize", "compressors", "w", "journal", "retrywrites"),
    }
)
"""Options of a URI that hold no secret; any other's value is not shown."""

_PARTS: Final = re.compile(r"(?P<scheme>mongodb(?:\+srv)?)://(?P<rest>.*)", re.DOTALL)
_LEAST_SECRET: Final = 3
"""Characters; a shorter part of a secret would blot out half of any text."""


class Address:
    """A MongoDB's URI; only `reveal` gives it whole, and `scrub` takes what is secret in it out of any text."""

    __slots__ = ("_secrets", "_shown", "_uri", "deadline_ms")

    def __init__(self, uri: Secret) -> None:
        """Raises StoreError, without the URI, when it does not begin as one."""
        text = uri.reveal()
        found = _PARTS.fullmatch(text)
        if found is None:
            raise StoreError("[storage] mongodb: must begin with mongodb:// or mongodb+srv://")
        self._uri = uri
        # The last "@": where a password was written with a bare one, all of it stands before that.
        credentials, at, rest = found["rest"].rpartition("@")
        place, question, query = rest.partition("?")
        options = [option.partition("=") for option in query.split("&") if option]
        self._shown = f"{found['scheme']}://{'***@' if at else ''}{place}{question}" + "&".join(
            f"{name}={value if name.lower() in _SHOWN else '***'}" for name, _, value in options
        )
        self._secrets = _spellings(
            [*_passwords(credentials), *(value for name, _, value in options if name.lower() not in _SHOWN)]
        )
        self.deadline_ms = _deadline({name.lower(): value for name, _, value in options}.get("timeoutms"))

    def reveal(self) -> str:
        """The URI itself; the caller keeps it out of logs, errors and reprs."""
        return self._uri.reveal()

    def __repr__(self) -> str:
        return self._shown

    __str__ = __repr__

    def scrub(self, text: object, longest: int = 300) -> str:
        """A text of one line, at most `longest` characters, with stars for every secret of the URI."""
        line = " ".join(str(text).split())
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line if len(line) <= longest else f"{line[:longest]}..."


def _passwords(credentials: str) -> list[str]:
    """What in front of the host may be a password, also where it holds what should have been escaped."""
    _, colon, password = credentials.partition(":")
    if not colon:
        return []
    # A driver that takes a part of the password for a host or a database quotes what lies before or behind a mark.
    marks = [found.start() for found in re.finditer(r"[/@:?&%]", password)]
    ends = [part for mark in marks for part in (password[:mark], password[mark + 1 :])]
    return [password, *ends, *re.split(r"[/@:?&%]", password)]


def _spellings(secrets: list[str]) -> tuple[str, ...]:
    found = {form for secret in secrets for form in (secret, unquote(secret), unquote_plus(secret))}
    # The longest first: a part of one that is replaced would leave the rest of it.
    return tuple(sorted((each for each in found if len(each) >= _LEAST_SECRET), key=lambda each: (-len(each), each)))


def _deadline(said: str | None) -> int:
    """Milliseconds; 0 means "never" to the driver, which is not to be had."""
    if said is None or not said.isascii() or not said.isdecimal() or int(said) == 0:
        return USUAL_MS
    return min(int(said), LONGEST_MS)
