"""The running program, as the command line asks it: over its HTTP API, with a deadline on everything.

Never by a proxy and never after a redirect: a key must not go anywhere but to the address that was given.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, quote, urlsplit

from exabgp_bfd.core.model import BfdError, ConfigError, Secret

DEFAULT_LISTEN: Final = "127.0.0.1:8080"
DEFAULT_JOURNAL: Final = "/var/lib/exabgp-bfd/journal.db"
KEY_FILE: Final = "admin.key"
"""Beside the journal: the admin key of a start without `[[api.key]]`."""
ANSWERED_WITHIN: Final = 30.0
"""Seconds for one question, from the connection's first octet to the answer's last."""

_LONGEST_ANSWER: Final = 64 * 1024 * 1024
_LONGEST_SECRET: Final = 65536
_GIVE_KEY: Final = "give --key or EXABGP_BFD_KEY (a value, env:NAME or file:PATH)"


class RefusedError(ConfigError):
    """What was asked cannot be, as it was put; `errors` has every fault."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__(errors[0].place, errors[0].text)
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the program is reached, and by which key; `hint` says why there is none."""

    url: str
    key: Secret | None = None
    hint: str = ""


def find(url: str | None, key: str | None, config: Path | None, environ: Mapping[str, str]) -> Whereabouts:
    """Where to ask: what was said, else what the configuration says, else the default address without a key.

    Reads nothing of the file but where the API listens and the journal is: no secret of it need be at hand here.
    Raises ConfigError.
    """
    if config is None:
        hint = f"{_GIVE_KEY}, or --config FILE, beside whose journal the admin key is"
        address = url or f"http://{DEFAULT_LISTEN}"
        return Whereabouts(address, _secret(key, environ)) if key else Whereabouts(address, hint=hint)
    if url and (key or not _is_here(_parsed(url).hostname)):
        # The admin key of a file is for the program on this machine, never for another address.
        return Whereabouts(url, _secret(key, environ)) if key else Whereabouts(url, hint=_GIVE_KEY)
    table = _read(config)
    address = url or _address(config, table, environ)
    if key:
        return Whereabouts(address, _secret(key, environ))
    if _table(config, table, "api").get("key"):
        return Whereabouts(address, hint="give one of the keys under [[api.key]], by --key or EXABGP_BFD_KEY")
    if not _is_here(_parsed(address).hostname):
        return Whereabouts(address, hint=_GIVE_KEY)
    return _with_admin_key(address, _journal(config, table, environ).with_name(KEY_FILE))


class Remote:
    """The running program. Each method raises BfdError with the remedy, and `RefusedError` for what cannot be."""

    def __init__(self, there: Whereabouts, *, timeout: float = ANSWERED_WITHIN) -> None:
        """`timeout` is in seconds, for each question. Raises ConfigError for an address that is none."""
        self._there = there
        self._timeout = timeout
        self._address = _parsed(there.url)
        self._url = there.url.rstrip("/")

    def why(self, service: str) -> dict[str, Any]:
        """Why a service is, or is not, announced."""
        return self._ask("GET", f"/services/{_step(service)}/why")

    def override(self, service: str, action: str, reason: str, ttl: str | None) -> dict[str, Any]:
        """Overrides a service's health; `ttl` as `2h`, or None: until it is cleared."""
        body = {"action": action, "reason": reason, "ttl": ttl}
        return self._ask("PUT", f"/services/{_step(service)}/override", body)

    def clear(self, service: str, reason: str | None) -> dict[str, Any]:
        """Takes a service's override back."""
        return self._ask("DELETE", f"/services/{_step(service)}/override{_query(reason)}")

    def lift(self, reason: str, ttl: str | None) -> dict[str, Any]:
        """Lifts the guard's limit; `ttl` as `2h`, or None: until it is cleared."""
        return self._ask("PUT", "/guard/lift", {"reason": reason, "ttl": ttl})

    def unlift(self, reason: str | None) -> dict[str, Any]:
        """Lets the guard's limit hold again."""
        return self._ask("DELETE", f"/guard/lift{_query(reason)}")

    def preview(self, file: Path | None) -> dict[str, Any]:
        """What a file, read by the running program, would change; None: its own file as it is now."""
        body: dict[str, Any] = {"dry_run": True}
        if file is not None:
            body["file"] = str(file)
        return self._ask("POST", "/reload", body)

    def reload(self) -> dict[str, Any]:
        """Lets the running program read its file again."""
        return self._ask("POST", "/reload", {})

    # --- one question -------------------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            status, text = self._exchange(method, path, None if body is None else json.dumps(body).encode())
        except ConnectionRefusedError:
            raise BfdError(
                f"nothing listens at {self._url}: is exabgp-bfd running (ExaBGP starts it), and is that where "
                "its [api] listens? --config FILE or --url says where"
            ) from None
        except TimeoutError:
            raise BfdError(
                f"{self._url} did not answer within {self._timeout:g} s: its log says whether it is in trouble; "
                "what was asked may have happened nevertheless"
            ) from None
        except socket.gaierror as error:
            raise BfdError(f"{self._url}: this host has no address: {error.strerror}; give another --url") from None
        except http.client.HTTPException as error:
            raise BfdError(f"{self._url} answers no HTTP ({type(error).__name__}): {_another()}") from None
        except OSError as error:
            raise BfdError(f"{self._url} cannot be reached: {error.strerror or error}; see --url") from None
        return self._answer(status, text)

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        secure = self._address.scheme == "https"
        made = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        port = self._address.port or (443 if secure else 80)
        connection = made(self._address.hostname or "", port, timeout=self._timeout)
        late = threading.Event()

        def give_up() -> None:
            late.set()
            with contextlib.suppress(OSError):  # it ended by itself, at the same moment
                sock.shutdown(socket.SHUT_RDWR)

        # The connection's own timeout is for each octet: who trickles would hold us for ever.
        watch = threading.Timer(self._timeout, give_up)
        watch.daemon = True
        try:
            connection.connect()
            sock: socket.socket = connection.sock
            watch.start()
            connection.request(method, self._address.path.rstrip("/") + path, body, self._headers(body))
            response = connection.getresponse()
            text = response.read(_LONGEST_ANSWER)
        except (OSError, http.client.HTTPException):
            if late.is_set():
                raise TimeoutError from None
            raise
        finally:
            watch.cancel()
            connection.close()
        if late.is_set():
            raise TimeoutError
        return response.status, text

    def _headers(self, body: bytes | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._there.key is not None:
            headers["Authorization"] = f"Bearer {self._there.key.reveal()}"
        return headers

    def _answer(self, status: int, text: bytes) -> dict[str, Any]:
        if self._there.key is not None:  # whatever answers, a key that it sends back is not shown
            text = text.replace(self._there.key.reveal().encode(), b"***")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise BfdError(f"{self._url} answers {status} and no JSON object: {_another()}")
        if status == HTTPStatus.OK:
            return document
        detail = str(document.get("detail") or f"{status} {document.get('title', '')}".strip())
        if status == HTTPStatus.UNAUTHORIZED:
            which = "the key was not taken" if self._there.key is not None else "no key was given"
            remedy = f"; {self._there.hint}" if self._there.hint else ""
            raise BfdError(f"{self._url}: {which}: {detail}{remedy}")
        unknown = status == HTTPStatus.NOT_FOUND and document.get("errors")  # it names what there is
        if status == HTTPStatus.UNPROCESSABLE_ENTITY or unknown:
            raise RefusedError(_faults(document, detail))
        raise BfdError(f"{self._url}: {detail}")


def _another() -> str:
    return "another program, or a proxy, answers there; see --url"


def _faults(document: Mapping[str, Any], detail: str) -> list[ConfigError]:
    """What a 422 says is wrong, each with its place: of a file, of the body, or of the query."""
    faults = []
    errors = document.get("errors")
    for error in errors if isinstance(errors, list) else []:
        if isinstance(error, dict):
            place = error.get("place") or str(error.get("pointer") or "").removeprefix("#/") or error.get("parameter")
            faults.append(ConfigError(str(place or ""), str(error.get("detail", ""))))
    return faults or [ConfigError("", detail)]


def _step(name: str) -> str:
    # No name has a slash, and one in a path is never part of a step: written so, it is an unknown name like another.
    return quote(name.replace("/", "%2F"), safe="")


def _query(reason: str | None) -> str:
    return "" if reason is None else f"?reason={quote(reason, safe='')}"


# --- where it is ------------------------------------------------------------------------------------------------


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("--url", "must be such as http://127.0.0.1:8080") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError("--url", "holds no user and no password: a key goes by --key")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or port == 0:
        raise ConfigError("--url", "must be such as http://127.0.0.1:8080")  # not shown: who knows what is in it
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ConfigError("--url", "must be ASCII without blanks; a name beyond that in its xn-- form")
    return parts


def _is_here(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def _read(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_bytes().decode())
    except OSError as error:
        raise ConfigError(str(config), f"cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(str(config), f"is not TOML: {error}") from None


def _table(config: Path, table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = table.get(name, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{config}: {name}", f"must be a table: [{name}]")
    return found


def _address(config: Path, table: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Where the API listens by the file, or by the variable that beats it, as an address one may connect to."""
    listen = environ.get("EXABGP_BFD_LISTEN", "").strip() or _table(config, table, "api").get("listen", DEFAULT_LISTEN)
    place = f"{config}: api.listen"
    if listen == "off":
        raise ConfigError(place, "the API is off, and nothing else answers questions: let it listen, or give --url")
    host, _, port = str(listen).rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(place, f'must be an address and a port, "{DEFAULT_LISTEN}", not {str(listen)[:60]!r}')
    if int(port) == 0:
        raise ConfigError(place, "the system chose the port: the log says which; give it by --url")
    # Whoever listens everywhere is reached on loopback.
    everywhere = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared, not bound
    return f"http://{everywhere.get(host, host)}:{port}"


def _journal(config: Path, table: Mapping[str, Any], environ: Mapping[str, str]) -> Path:
    given = environ.get("EXABGP_BFD_DB", "").strip()
    if given:
        return Path(given).absolute()
    path = _table(config, table, "storage").get("path", DEFAULT_JOURNAL)
    if not isinstance(path, str):
        raise ConfigError(f"{config}: storage.path", "must be text in quotes")
    return config.absolute().parent / path


def _with_admin_key(address: str, path: Path) -> Whereabouts:
    try:
        return Whereabouts(address, _secret_of_file(path, str(path)))
    except ConfigError as error:
        # No fault yet: what only reads may need no key at all.
        return Whereabouts(address, hint=f"{error}; or {_GIVE_KEY}")


def _secret(written: str, environ: Mapping[str, str]) -> Secret:
    """The key that a value, `env:NAME` or `file:PATH` stands for."""
    if written.startswith("env:"):
        name = written.removeprefix("env:")
        if not environ.get(name):
            # Not named: it may be the key itself, where a shell has put that in the name's place.
            raise ConfigError("--key", "the variable that it names is not set, or empty")
        return _usable(environ[name], "--key")
    if written.startswith("file:"):
        return _secret_of_file(Path(written.removeprefix("file:")), "--key")
    return _usable(written, "--key")


def _secret_of_file(path: Path, place: str) -> Secret:
    try:
        with path.open("rb") as stream:
            text = stream.read(_LONGEST_SECRET).decode()
    except UnicodeDecodeError:
        raise ConfigError(place, "the key's file is not text") from None  # not named, as above
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a path"
        remedy = "read it as the user that ExaBGP runs us as, or as root"
        raise ConfigError(place, f"the key's file cannot be read ({why}): {remedy}") from None
    return _usable(text.removesuffix("\n").removesuffix("\r"), place)


def _usable(text: str, place: str) -> Secret:
    # RefusedError here, for http.client would show it in its own error.
    if not text or not (text.isascii() and text.isprintable()) or " " in text:
        raise ConfigError(place, "a key is printable ASCII without blanks, and not empty")
    return Secret(text)
