"""`exabgp-bfd run` between two pipes: the test plays ExaBGP, and a simulated router answers in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from exabgp_bfd.app import App
from exabgp_bfd.config import VARIABLES, Settings
from exabgp_bfd.core.model import State
from exabgp_bfd.simulator import Router

from . import PATIENCE, free_port, wait_for

T = TypeVar("T")

PROGRAM = Path(sys.executable).parent / "exabgp-bfd"
COMMUNITY = "c0mmunity-nobody-may-see"
WEBHOOK_SECRET = "webh00k-secret-nobody-may-see"
SECRETS = (COMMUNITY, WEBHOOK_SECRET)
PEER = "198.51.100.1"
PREFIX = "203.0.113.53/32"
NEXT_HOP = "192.0.2.10"
ANNOUNCE = f"announce route {PREFIX} next-hop {NEXT_HOP}"
WITHDRAW = f"withdraw route {PREFIX}"
SHUTDOWN = b'{ "exabgp": "5.0.0", "time": 1.0, "type": "notification", "notification": "shutdown" }\n'

_ADDRESS = r"[0-9a-f:.]+"
_ATTRIBUTE = r"(?:med|local-preference) \d+|(?:as-path|(?:large-|extended-)?community) \[ [0-9a-zA-Z:. -]+ \]"
COMMAND = re.compile(
    rf"(?:neighbor {_ADDRESS}(?:, neighbor {_ADDRESS})* )?"
    rf"(?:announce route {_ADDRESS}/\d+ next-hop (?:self|{_ADDRESS})(?: (?:{_ATTRIBUTE}))*"
    rf"|withdraw route {_ADDRESS}/\d+)"
    rf"|(?:announce|withdraw) watchdog [0-9A-Za-z_-]+"
)
QUESTION = re.compile(
    rf"version|system version|show neighbor configuration|show adj-rib out(?: {_ADDRESS})? extensive"
    # What our keeper says between two workers.
    r"|# exabgp-bfd: another process takes over|help"
)
"""These and commands are all that may ever stand on stdout."""

_FOSTER = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
"""A parent between the test and the process: to the process another ExaBGP."""

SERVICE = f"""
[[service]]
name = "dns"
prefixes = ["{PREFIX}"]
next_hop = "{NEXT_HOP}"
sessions = ["edge1/{PEER}"]
rise = 1
hold_up = 0.0
"""
"""A service that rises with one sample."""

Answers = Callable[[str], bytes]


def toml(port: int, more: str = "", *, interval: float = 0.1, service: str = SERVICE) -> str:
    return f"""
[snmp]
community = "{COMMUNITY}"
interval = {interval}
timeout = 0.3
retries = 0
stale_after = {max(1.0, 3 * interval)}
[webhook]
secrets = ["{WEBHOOK_SECRET}"]
[[device]]
name = "edge1"
host = "127.0.0.1"
port = {port}
{service}
{more}
"""


def done(line: str) -> bytes:
    """How ExaBGP 5 without neighbours answers a question, and a command that it took."""
    match line:
        case "version":
            return b"exabgp 5.0.15\ndone\n"
        case "help":
            return b"\navailable API commands are listed here:\n\nhelp\n\ndone\n"
    return b"done\n"


def to_commands(answers: Answers) -> Answers:
    """Questions are answered as usual, and commands by something else."""
    return lambda line: done(line) if QUESTION.fullmatch(line) else answers(line)


def silence(_: str) -> bytes:
    """How ExaBGP answers when it is busy elsewhere."""
    return b""


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without what would set up the process."""
    ours = set(VARIABLES.values())
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.lower().startswith(("exabgp_", "exabgp."))
    }
    return {**kept, **more}


class RouterThread:
    """The simulated router with one BFD session, on a loop and a thread of its own."""

    def __init__(self, community: str = COMMUNITY, port: int = 0) -> None:
        self.router = Router(community, port=port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="simulated router", daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def start(self) -> RouterThread:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.router.start(), self._loop).result(PATIENCE)
        self.do(lambda: self.router.add(PEER))
        return self

    def stop(self) -> None:
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self.router.stop(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def do(self, what: Callable[[], T]) -> T:
        """Does something with the router on the thread that owns it."""

        async def act() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(PATIENCE)

    @property
    def port(self) -> int:
        return self.router.port

    @property
    def requests(self) -> int:
        return self.router.requests

    def set(self, state: State) -> None:
        self.do(lambda: self.router.set_state(PEER, state))

    def silent(self, silent: bool) -> None:
        self.do(lambda: setattr(self.router, "silent", silent))


class _Reader:
    """Reads commands from a pipe as ExaBGP does, and answers each."""

    def __init__(self, out: int, into: int) -> None:
        self.answers: Answers = done
        self.lines: list[str] = []
        """The commands, without withdraws that are only said again: a hasty one always is, a second later."""
        self._last: dict[str, str] = {}
        self.everything: list[str] = []
        """With the questions."""
        self._into = into
        self._out = out
        self._writing = threading.Lock()
        self._hung_up = False
        self._thread = threading.Thread(target=self._run, name="played ExaBGP", daemon=True)
        self._thread.start()

    def _is_said_again(self, text: str) -> bool:
        about = re.search(r"(?:announce|withdraw) route (\S+)", text)
        if about is None:
            return False
        before = self._last.get(about[1])
        self._last[about[1]] = text
        return before == text and "withdraw" in text

    def _run(self) -> None:
        rest = b""
        while data := os.read(self._out, 65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                text = line.decode("ascii", "backslashreplace")
                self.everything.append(text)
                if not QUESTION.fullmatch(text) and not self._is_said_again(text):
                    self.lines.append(text)
                self.write(self.answers(text))
        if rest:
            self.lines.append(f"{rest!r} without a line feed")

    def write(self, data: bytes) -> None:
        """Writes as ExaBGP 5 does: blocking. A process that is gone, or that we have hung up on, takes nothing."""
        with self._writing, contextlib.suppress(BrokenPipeError):
            while data and not self._hung_up:
                data = data[os.write(self._into, data) :]

    def hang_up(self, close: Callable[[], None]) -> None:
        """Closes the end that is written to, while nobody writes."""
        free = self._writing.acquire(timeout=5)  # in vain where a process that does not read blocks a write
        try:
            self._hung_up = True
            close()
        finally:
            if free:
                self._writing.release()

    def join(self) -> None:
        self._thread.join(PATIENCE)


class Process:
    """One `exabgp-bfd run`; `toml` is the rest of a file whose journal and API are set here, None is flags alone."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        toml: str | None = None,
        env: Mapping[str, str] | None = None,
        name: str = "process",
        foster: bool = False,
    ) -> None:
        """`foster` puts another parent between, as if another ExaBGP had started it."""
        self.journal = folder / "journal.db"
        self.log_file = folder / "exabgp-bfd.log"
        self.toml = folder / "exabgp-bfd.toml"
        self.api_port = free_port()
        self.stderr = folder / f"{name}.stderr"
        self.answers: Answers = done
        self._env = clean_environment(**(env or {}))
        self._command = [str(PROGRAM), "run", *flags]
        if toml is not None:
            self.write_toml(toml)
            self._command[2:2] = ["--config", str(self.toml)]
        if foster:
            self._command[:0] = [sys.executable, "-c", _FOSTER]
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: _Reader | None = None
        self._shown = ""

    def write_toml(self, text: str, *, head: bool = True) -> None:
        """Writes the file anew, with the journal and the API at its head unless `text` says all."""
        start = f'[storage]\npath = "{self.journal}"\n[api]\nlisten = "127.0.0.1:{self.api_port}"\n' if head else ""
        self.toml.write_text(start + text)

    def start(self) -> Process:
        with self.stderr.open("ab") as log:
            self._process = process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=self._env
            )
        assert process.stdin is not None
        assert process.stdout is not None
        self._reader = _Reader(process.stdout.fileno(), process.stdin.fileno())
        self._reader.answers = self._answer
        return self

    def _answer(self, line: str) -> bytes:
        return self.answers(line)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def lines(self) -> list[str]:
        """The commands that it wrote to stdout."""
        assert self._reader is not None
        return self._reader.lines

    @property
    def everything(self) -> list[str]:
        """All that it wrote to stdout."""
        assert self._reader is not None
        return self._reader.everything

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def write(self, data: bytes) -> None:
        """Writes to its stdin, blocking until all of it is taken."""
        assert self._reader is not None
        self._reader.write(data)

    def write_within(self, data: bytes, seconds: float = PATIENCE) -> bool:
        """Whether all of it was taken within `seconds`."""
        writer = threading.Thread(target=self.write, args=(data,), name="played ExaBGP's writes", daemon=True)
        writer.start()
        writer.join(seconds)
        return not writer.is_alive()

    def close_stdin(self) -> None:
        assert self.process.stdin is not None
        assert self._reader is not None
        self._reader.hang_up(self.process.stdin.close)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """The exit status, once all that it wrote was read."""
        status = self.process.wait(timeout)
        assert self._reader is not None
        self._reader.join()
        return status

    def end_as_exabgp_does(self) -> int:
        """SIGTERM; the exit status, 0 only where the worker ended by itself before the keeper's patience did.

        ExaBGP 4 waits for ever, 5 kills after two seconds, which no test can hold us to on a machine that is busy.
        """
        self.signal(signal.SIGTERM)
        return self.wait()

    def log(self) -> str:
        """What it wrote to stderr."""
        return self.stderr.read_text("utf-8", "replace") if self.stderr.exists() else ""

    # --- its API ---

    def request(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of an answer of the API; status 0 where it does not answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.api_port}{path}", body, dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except (OSError, http.client.HTTPException):  # it may end while it answers
            return 0, b""

    def get(self, path: str) -> Any:
        """The JSON under a path, None where it does not answer with success."""
        status, body = self.request(path)
        return json.loads(body) if status == 200 else None

    def events(self, **filters: str) -> list[dict[str, Any]]:
        """Events newest first."""
        query = "".join(f"&{key}={value}" for key, value in filters.items())
        answer = self.get(f"/events?limit=200{query}")
        return answer["events"] if answer else []

    def decisions(self, event_type: str) -> list[dict[str, Any]]:
        """Events of a type newest first, without hasty withdraws that were said again a second later."""
        return [event for event in self.events(event_type=event_type) if event["details"].get("layer") != "repair"]

    def metric(self, name: str) -> float | None:
        """The value of a series, as /metrics writes its name."""
        _, text = self.request("/metrics")
        found = re.search(rf"^{re.escape(name)} (\S+)$", text.decode(), re.MULTILINE)
        return float(found[1]) if found else None

    def ready(self) -> Process:
        """Waits until it has begun and every device was asked."""
        wait_for(lambda: self.request("/readyz")[0] == 200, f"ready; {self.log()}")
        return self

    # --- the end ---

    def look(self) -> None:
        """Keeps what the API shows to whoever asks, for the search for secrets."""
        paths = ("/events?limit=1000", "/metrics", "/health", "/sessions", "/services", "/readyz")
        self._shown += "".join(self.request(path)[1].decode("utf-8", "replace") for path in paths)

    def stop(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            self.close_stdin()
        try:
            self.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait(5)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def faults(self) -> Iterator[str]:
        """What no process may ever do, whatever was done to it."""
        for line in self.lines:
            if not COMMAND.fullmatch(line):
                yield f"stdout carries {line!r}"
        files = [self.stderr, *self.log_file.parent.glob(f"{self.log_file.name}*")]
        told = "".join(file.read_text("utf-8", "replace") for file in files if file.exists())
        for secret in SECRETS:
            if secret in told:
                yield f"the log tells the secret {secret}"
            if secret in self._shown:
                yield f"the API tells the secret {secret}"
        if "Traceback" in told or "CRITICAL" in told:
            yield f"the log tells of a fault: {told}"


class Inside:
    """The same process inside of the test, on its main thread, to look at what only the inside shows."""

    def __init__(self, load: Callable[[], Settings]) -> None:
        self.answers: Answers = done
        self._in, self._into = os.pipe()
        self._out, self.stdout = os.pipe()
        self._reader = _Reader(self._out, self._into)
        self._reader.answers = self._answer
        self.app: App | None = None
        self._load = load

    @property
    def lines(self) -> list[str]:
        return self._reader.lines

    def write(self, data: bytes) -> None:
        self._reader.write(data)

    def _answer(self, line: str) -> bytes:
        return self.answers(line)

    def play(self, what: Callable[[App], None]) -> int:
        """Runs the process while `what` happens on another thread, then ends it by an end of file; its status."""
        faults: list[BaseException] = []

        def act() -> None:
            try:
                assert self.app is not None
                what(self.app)
            except BaseException as fault:  # noqa: BLE001 - told to the test's own thread
                faults.append(fault)
            finally:
                self._reader.hang_up(lambda: os.close(self._into))

        async def live() -> int:
            self.app = App(lambda *_: self._load(), self._in, self.stdout, patient=True)
            actor = threading.Thread(target=act, name="test")
            actor.start()
            try:
                return await self.app.run()
            finally:
                await asyncio.to_thread(actor.join)

        status = asyncio.run(live())
        self._reader.join()
        os.close(self._out)
        if faults:
            raise faults[0]
        return status
