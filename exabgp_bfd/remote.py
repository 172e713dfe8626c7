"""The running program, as the command line asks it: over its HTTP API, with a deadline on everything.

Never by a proxy and never after a redirect: a key must not go anywhere but to the address that was given.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
import tomllib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from email.message import Message
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from exabgp_bfd import __version__
from exabgp_bfd.core.model import BfdError, ConfigError, Secret

DEFAULT_LISTEN: Final = "127.0.0.1:8080"
DEFAULT_JOURNAL: Final = "/var/lib/exabgp-bfd/journal.db"
KEY_FILE: Final = "admin.key"
"""Beside the journal: the admin key of a start without `[[api.key]]`."""
ANSWERED_WITHIN: Final = 30.0
"""Seconds for one question, from the connection's first octet to the answer's last."""

SILENT: Final = 60.0
"""Seconds after which a stream that brings nothing, not even its heartbeat every 15 s, is given up."""

_DONE: Final = {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED}
_LONGEST_PAGE: Final = 1000
_LONGEST_WAIT: Final = 60.0
_BELIEVED: Final = (
    "--config FILE tells which one is; one that was renewed is shown after a reload only (SIGHUP does without us); by "
    "another name than the certificate's, give --url https://NAME:PORT"
)
_LONGEST_ANSWER: Final = 64 * 1024 * 1024
_LONGEST_SECRET: Final = 65536
_GIVE_KEY: Final = "give --key or EXABGP_BFD_KEY (a value, env:NAME or file:PATH)"


class RefusedError(ConfigError):
    """What was asked cannot be, as it was put; `errors` has every fault."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__(errors[0].place, errors[0].text)
        self.errors = tuple(errors)


class AbsentError(BfdError):
    """Nothing of ours answers there, or not in time."""


class DeniedError(BfdError):
    """The key does not open this, or nobody may ask from here."""


class NotNowError(BfdError):
    """It answers, but not now: 503, 429; it is worth asking again after `retry_after` seconds."""

    def __init__(self, text: str, status: int, retry_after: float) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the program is reached, and by which key; `hint` says why there is none."""

    url: str
    key: Secret | None = None
    hint: str = ""
    certificate: Path | None = None
    """The one that the program is configured with: it is believed, with whatever it signed; beside the system's."""


def find(url: str | None, key: str | None, config: Path | None, environ: Mapping[str, str]) -> Whereabouts:
    """Where to ask: what was said, else what the configuration says, else the default address without a key.

    Reads nothing of the file but where the API listens and by which certificate, and where the journal is: no secret of
    it need be at hand here. Raises ConfigError.
    """
    there = _found(url, key, config, environ)
    if config is None or _parsed(there.url).scheme != "https":
        return there
    try:
        return replace(there, certificate=_certificate(config, _read(config)))
    except ConfigError:
        if url is None:
            raise
        return there  # an address and perhaps a key were given: the file need not be there for us to read


def _found(url: str | None, key: str | None, config: Path | None, environ: Mapping[str, str]) -> Whereabouts:
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
        self._context = _trust(self._address.hostname, there.certificate) if self._address.scheme == "https" else None

    def why(self, service: str) -> dict[str, Any]:
        """Why a service is, or is not, announced."""
        return self._ask("GET", f"/services/{_step(service)}/why")

    def override(
        self,
        service: str,
        action: str,
        reason: str,
        ttl: str | None,
        scope: str | None = None,
        *,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Overrides a service's health; `ttl` as `2h`, or None: until it is cleared; the scope `all`: at every site."""
        body = {"action": action, "reason": reason, "ttl": ttl, **({} if scope is None else {"scope": scope})}
        return self._ask("PUT", f"/services/{_step(service)}/override", _tried(body, dry_run=dry_run))

    def clear(
        self, service: str, reason: str | None, scope: str | None = None, *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Takes a service's override back."""
        query = _query(reason=reason, scope=scope, dry_run=dry_run)
        return self._ask("DELETE", f"/services/{_step(service)}/override{query}")

    def lift(self, reason: str, ttl: str | None, *, dry_run: bool = False) -> dict[str, Any]:
        """Lifts the guard's limit; `ttl` as `2h`, or None: until it is cleared."""
        return self._ask("PUT", "/guard/lift", _tried({"reason": reason, "ttl": ttl}, dry_run=dry_run))

    def unlift(self, reason: str | None, *, dry_run: bool = False) -> dict[str, Any]:
        """Lets the guard's limit hold again."""
        return self._ask("DELETE", f"/guard/lift{_query(reason=reason, dry_run=dry_run)}")

    def preview(self, file: Path | None) -> dict[str, Any]:
        """What a file, read by the running program, would change; None: its own file as it is now."""
        body: dict[str, Any] = {"dry_run": True}
        if file is not None:
            body["file"] = str(file)
        return self._ask("POST", "/reload", body)

    def reload(self) -> dict[str, Any]:
        """Lets the running program read its file again."""
        return self._ask("POST", "/reload", {})

    # --- lists ---------------------------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """How the program is."""
        return self._ask("GET", "/health")

    def guard(self) -> dict[str, Any]:
        """What the guard holds back."""
        return self._ask("GET", "/guard")

    def service(self, name: str) -> dict[str, Any]:
        """One service."""
        return self._ask("GET", f"/services/{_step(name)}")

    def services(self) -> list[dict[str, Any]]:
        """All services, by name."""
        return [one for page in self._pages("/services", "services", {}) for one in page]

    def sessions(self, device: str | None = None) -> list[dict[str, Any]]:
        """All sessions, or those of a device, by id."""
        wanted = {} if device is None else {"device": device}
        return [one for page in self._pages("/sessions", "sessions", wanted) for one in page]

    def event(self, number: int) -> dict[str, Any]:
        """One event, and what led to it."""
        return self._ask("GET", f"/events/{number}")

    def by_hand(self) -> dict[str, Any]:
        """What operators announced by hand."""
        return self._ask("GET", "/command")

    def command(self, text: str, reason: str | None, ttl: str | None, *, dry_run: bool = False) -> dict[str, Any]:
        """Says one command to ExaBGP; `ttl` as `2h`, or None: until it is withdrawn."""
        said = {"command": text, "reason": reason, "ttl": ttl}
        body = {name: value for name, value in said.items() if value is not None}
        return self._ask("POST", "/command", _tried(body, dry_run=dry_run))

    def shutdown(self, reason: str | None, *, dry_run: bool = False) -> dict[str, Any]:
        """Ends the program in order."""
        return self._ask("POST", "/shutdown", _tried({} if reason is None else {"reason": reason}, dry_run=dry_run))

    def endpoints(self) -> dict[str, Any]:
        """Who is told of events."""
        return self._ask("GET", "/notify")

    def dead_letters(self, endpoint: str | None) -> list[dict[str, Any]]:
        """What could not be delivered, newest first."""
        wanted = {} if endpoint is None else {"endpoint": endpoint}
        return [one for page in self._pages("/notify/dead", "dead", wanted) for one in page]

    def resend(self, number: int, *, dry_run: bool = False) -> dict[str, Any]:
        """Sends once more what could not be delivered."""
        return self._ask("POST", f"/notify/dead/{number}/resend{_query(dry_run=dry_run)}")

    def discard(self, number: int, *, dry_run: bool = False) -> dict[str, Any]:
        """Throws away what could not be delivered."""
        return self._ask("DELETE", f"/notify/dead/{number}{_query(dry_run=dry_run)}")

    def enable(self, endpoint: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Lets an endpoint be told again."""
        return self._ask("POST", f"/notify/endpoints/{_step(endpoint)}/enable{_query(dry_run=dry_run)}")

    def newest_event(self) -> int:
        """The newest event's id, 0 where there is none."""
        for page in self._pages("/events", "events", {}, 1):
            return max((int(event["id"]) for event in page), default=0)
        return 0

    def devices(self) -> list[dict[str, Any]]:
        """All devices, by name."""
        return [one for page in self._pages("/devices", "devices", {}) for one in page]

    def device(self, name: str) -> dict[str, Any]:
        """One device."""
        return self._ask("GET", f"/devices/{_step(name)}")

    def add_device(self, written: Mapping[str, Any], *, dry_run: bool = False, force: bool = False) -> dict[str, Any]:
        """Adds a device; the keys are those of a `[[device]]` table."""
        return self._ask("POST", f"/devices{_query(dry_run=dry_run, force=force)}", written)

    def put_device(
        self, name: str, written: Mapping[str, Any], *, dry_run: bool = False, force: bool = False
    ) -> dict[str, Any]:
        """Puts a device in the place of the one of that name."""
        return self._ask("PUT", f"/devices/{_step(name)}{_query(dry_run=dry_run, force=force)}", written)

    def remove_device(self, name: str, *, dry_run: bool = False, force: bool = False) -> dict[str, Any]:
        """Takes a device out; `force`: also where that withdraws routes."""
        return self._ask("DELETE", f"/devices/{_step(name)}{_query(dry_run=dry_run, force=force)}")

    def events(self, wanted: Mapping[str, str], most: int) -> Iterator[list[dict[str, Any]]]:
        """Events newest first, in pages, `most` of them at the most."""
        for page in self._pages("/events", "events", wanted, most):
            yield page[:most]
            most -= len(page)
            if most <= 0:
                return

    def _pages(
        self, path: str, name: str, wanted: Mapping[str, str], most: int = _LONGEST_PAGE
    ) -> Iterator[list[dict[str, Any]]]:
        query = {**wanted, "limit": str(min(most, _LONGEST_PAGE))}
        while True:
            answer = self._ask("GET", f"{path}?{urlencode(query)}")
            page = answer.get(name)
            if not isinstance(page, list) or not all(isinstance(one, dict) for one in page):
                raise BfdError(f"{self._url}{path} answers otherwise than this version ({__version__}) understands")
            yield page
            cursor = answer.get("next_cursor")
            if not page or cursor is None or cursor == query.get("cursor"):
                return
            query["cursor"] = str(cursor)

    # --- the stream ----------------------------------------------------------------------------------------------

    def stream(self, wanted: Mapping[str, str], after: int | None) -> Generator[bytes]:
        """What `GET /stream` sends, as it comes, from behind the event `after`; ends where the connection ends.

        Raises AbsentError where it breaks off. To be closed.
        """
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        connection = self._connection()
        try:
            with self._translated():
                response = self._stream_of(connection, f"/stream?{urlencode(wanted)}", headers)
            with contextlib.closing(response):
                while chunk := self._portion(response):
                    yield chunk
        finally:
            connection.close()

    def _stream_of(
        self, connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        sock = self._opened(connection)
        with self._watched(lambda: sock):
            response = self._begun(connection, "GET", path, None, headers)
            if response.status != HTTPStatus.OK:
                self._answer(response.status, response.read(_LONGEST_ANSWER), response.headers)
        if response.status != HTTPStatus.OK or response.headers.get_content_type() != "text/event-stream":
            raise BfdError(f"{self._url}/stream sends no events: {_another()}")
        sock.settimeout(SILENT)
        return response

    def _portion(self, response: http.client.HTTPResponse) -> bytes:
        """What has come, b"" at the end; waits for something to come."""
        with self._translated():
            try:
                return response.read1(65536)
            except TimeoutError:
                raise AbsentError(f"{self._url} sent nothing for {SILENT:g} s") from None

    # --- one question -------------------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        with self._translated():
            status, text, headers = self._exchange(method, path, None if body is None else json.dumps(body).encode())
        return self._answer(status, text, headers)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turns what goes wrong on the way into one line with its remedy."""
        try:
            yield
        except ConnectionRefusedError:
            raise AbsentError(
                f"nothing listens at {self._url}: is exabgp-bfd running (ExaBGP starts it), and is that where "
                "its [api] listens? --config FILE or --url says where"
            ) from None
        except TimeoutError:
            raise AbsentError(
                f"{self._url} did not answer within {self._timeout:g} s: its log says whether it is in trouble; "
                "what was asked may have happened nevertheless"
            ) from None
        except socket.gaierror as error:
            raise BfdError(f"{self._url}: this host has no address: {error.strerror}; give another --url") from None
        except ssl.SSLCertVerificationError as error:
            raise BfdError(
                f"{self._url}: its certificate is not believed ({error.verify_message}): {_BELIEVED}"
            ) from None
        except ssl.SSLError as error:
            raise BfdError(f"{self._url} speaks no TLS ({error.reason}): try http://, or see --url") from None
        except http.client.RemoteDisconnected:
            raise AbsentError(
                f"{self._url} answers no HTTP: it hung up without a word, as who is just stopping; or {_another()}"
            ) from None
        except http.client.IncompleteRead:
            raise AbsentError(
                f"{self._url} broke off in the middle of its answer, as who is just stopping; what was asked may have "
                "happened nevertheless"
            ) from None
        except http.client.HTTPException as error:
            raise BfdError(f"{self._url} answers no HTTP ({type(error).__name__}): {_another()}") from None
        except ConnectionError as error:
            raise AbsentError(
                f"{self._url} broke the connection off ({error.strerror or type(error).__name__}): it may just be "
                "stopping or starting; what was asked may have happened nevertheless"
            ) from None
        except OSError as error:
            raise AbsentError(f"{self._url} cannot be reached: {error.strerror or error}; see --url") from None

    def _connection(self) -> http.client.HTTPConnection:
        """A connection that is not open yet."""
        host, port = self._address.hostname or "", self._address.port
        if self._context is None:
            return http.client.HTTPConnection(host, port or 80, timeout=self._timeout)
        return http.client.HTTPSConnection(host, port or 443, timeout=self._timeout, context=self._context)

    def _begun(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        more: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        """Asks, and gives the answer's head."""
        headers = {**self._headers(body), **(more or {})}
        connection.request(method, self._address.path.rstrip("/") + path, body, headers)
        return connection.getresponse()

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes, Message]:
        connection = self._connection()
        try:
            sock = self._opened(connection)
            with self._watched(lambda: sock):
                response = self._begun(connection, method, path, body)
                text = response.read(_LONGEST_ANSWER)
        finally:
            connection.close()
        return response.status, text, response.headers

    def _opened(self, connection: http.client.HTTPConnection) -> socket.socket:
        """Opens a connection; shaking hands has its time too."""
        with self._watched(lambda: connection.sock):
            connection.connect()
        sock: socket.socket = connection.sock
        return sock

    @contextlib.contextmanager
    def _watched(self, found: Callable[[], socket.socket | None]) -> Iterator[None]:
        """Ends what is under way on a socket, which is found then, when its time is over: TimeoutError."""
        late = threading.Event()

        def give_up() -> None:
            late.set()
            sock = found()
            if sock is not None:
                with contextlib.suppress(OSError):  # it ended by itself, at the same moment
                    sock.shutdown(socket.SHUT_RDWR)

        # The connection's own timeout is for each octet: who trickles would hold us for ever.
        watch = threading.Timer(self._timeout, give_up)
        watch.daemon = True
        watch.start()
        try:
            yield
        except (OSError, http.client.HTTPException):
            if late.is_set():
                raise TimeoutError from None
            raise
        finally:
            watch.cancel()
        if late.is_set():
            raise TimeoutError

    def _headers(self, body: bytes | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._there.key is not None:
            headers["Authorization"] = f"Bearer {self._there.key.reveal()}"
        return headers

    def _answer(self, status: int, text: bytes, headers: Message) -> dict[str, Any]:
        if self._there.key is not None:  # whatever answers, a key that it sends back is not shown
            text = text.replace(self._there.key.reveal().encode(), b"***")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise BfdError(f"{self._url} answers {status} and no JSON object: {_another()}")
        if status in _DONE:
            return document
        detail = str(document.get("detail") or f"{status} {document.get('title', '')}".strip())
        if status == HTTPStatus.UNAUTHORIZED:
            which = "the key was not taken" if self._there.key is not None else "no key was given"
            remedy = f"; {self._there.hint}" if self._there.hint else ""
            raise DeniedError(f"{self._url}: {which}: {detail}{remedy}")
        if status == HTTPStatus.FORBIDDEN:
            raise DeniedError(f"{self._url}: {detail}")
        if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
            raise NotNowError(f"{self._url}: {detail}", status, _seconds(headers.get("Retry-After")))
        unknown = status == HTTPStatus.NOT_FOUND and document.get("errors")  # it names what there is
        if status == HTTPStatus.UNPROCESSABLE_ENTITY or unknown:
            raise RefusedError(_faults(document, detail))
        if status == HTTPStatus.METHOD_NOT_ALLOWED or (status == HTTPStatus.NOT_FOUND and _no_path(document)):
            raise BfdError(
                f"{self._url}: {detail}; is it another version of exabgp-bfd (this is {__version__}), or another "
                "program? --url says where to ask"
            )
        raise BfdError(f"{self._url}: {detail}")


def _another() -> str:
    return "another program, or a proxy, answers there; see --url"


def _no_path(document: Mapping[str, Any]) -> bool:
    """Whether a 404 is for the path, and not for what was named in it."""
    return "detail" not in document or "nothing at this path" in str(document["detail"])


def _seconds(text: str | None) -> float:
    """What Retry-After says, within reason; 1 where it says nothing."""
    return min(float(text), _LONGEST_WAIT) if text is not None and re.fullmatch(r"[0-9]{1,9}", text) else 1.0


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


def _query(**wanted: str | bool | None) -> str:
    """A query string, without what is None or False."""
    said = {name: "true" if value is True else value for name, value in wanted.items() if value not in (None, False)}
    return f"?{urlencode(said, quote_via=quote)}" if said else ""


def _tried(body: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    # In the body, which an older program refuses; what it does not know in a query it may not even look at.
    return {**body, "dry_run": True} if dry_run else body


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


def _at_loopback(host: str | None) -> bool:
    """Whether a host is written as an address of this machine."""
    return host != "localhost" and _is_here(host)


def _trust(host: str | None, certificate: Path | None) -> ssl.SSLContext:
    """Which certificates are believed: those that the system believes, and the configured one.

    Who connects to loopback by address is told another name than that by which all others know the program: it is not
    compared then, but the configured certificate, or one that it signed, has to be shown. Raises ConfigError.
    """
    alone = certificate is not None and _at_loopback(host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if alone else ssl.create_default_context()
    if alone:
        context.check_hostname = False
    if certificate is not None:
        # It stands at the end of the chain by itself, also where an authority has signed it.
        context.verify_flags = (context.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN) & ~ssl.VERIFY_X509_STRICT
        try:
            context.load_verify_locations(cafile=str(certificate))
        except OSError as error:  # ssl.SSLError too
            why = "it is no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigError("api.tls_certificate", f"{certificate} cannot be read: {why}") from None
    return context


def _certificate(config: Path, table: Mapping[str, Any]) -> Path | None:
    found = _table(config, table, "api").get("tls_certificate")
    if found is None:
        return None
    if not isinstance(found, str) or not found:
        raise ConfigError(f"{config}: api.tls_certificate", "must be the path of a file, in quotes")
    return config.absolute().parent / found


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
    everywhere = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared, not bound  # nosec B104
    scheme = "http" if _certificate(config, table) is None else "https"
    return f"{scheme}://{everywhere.get(host, host)}:{port}"


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
