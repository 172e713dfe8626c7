"""The whole thing on loopback: a simulated router, ExaBGP with our process, and a second ExaBGP as the BGP peer.

The judge of every step is the peer: a route has left when the peer received the withdraw, by the peer's own clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import shlex
import signal
import socket
import sys
import tempfile
import termios
import threading
import time
import tty
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar, TextIO

from exabgp_bfd.core.model import BfdError, Diagnostic, State
from exabgp_bfd.simulator import Router
from exabgp_bfd.speaker import messages

PEER = "198.51.100.1"
"""The far end of the simulated BFD session."""
PREFIXES = ("203.0.113.53/32", "2001:db8:53::53/128")
INTERVAL = 0.2
PATIENCE = 60.0
"""Seconds after which a step that the peer did not see has failed."""
COMMUNITY = "demo"

CONFIGURATION = """
[site]
name = "demo"
[storage]
path = "{folder}/journal.db"
[api]
listen = "{listen}"
[[device]]
name = "edge1"
host = "127.0.0.1"
port = {snmp}
community = "{community}"
interval = {interval}
timeout = 0.5
stale_after = 3.0
[[service]]
name = "anycast"
prefixes = {prefixes}
next_hop = ["192.0.2.10", "2001:db8::10"]
sessions = ["edge1/{peer}"]
rise = 3
hold_up = 1.0
"""

SPEAKER = """
process {name} {{
  run {run};
  encoder json;
}}
neighbor 127.0.0.1 {{
  router-id {router};
  local-address 127.0.0.1;
  local-as {own};
  peer-as {other};
  {connection};
  family {{ ipv4 unicast; ipv6 unicast; }}
  api {{
    processes [ {name} ];
    neighbor-changes;
    receive {{ parsed; update; notification; }}
    send {{ parsed; update; }}
  }}
}}
"""


def run(*, once: bool, listen: str | None) -> int:
    """Shows it; 0 when the peer saw what it should have seen, else 1."""
    demo = Demo(once=once, listen=listen or f"127.0.0.1:{_free_port()}")
    try:
        return asyncio.run(demo.show())
    except KeyboardInterrupt:
        return 1 if once else 0
    except asyncio.CancelledError:  # a signal, or the key q: what was started has been ended on the way out
        return 0 if demo.quit else 1


@dataclass(frozen=True, slots=True)
class Seen:
    """What the peer received: a prefix, whether it came or left, and when by the peer's clock (epoch seconds)."""

    prefix: str
    announced: bool
    at: float


@dataclass(slots=True)
class Peer:
    """The judge: what the second ExaBGP received, as it told its own process."""

    held: set[str] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[Seen] = field(default_factory=list)
    established: bool = False

    def take(self, line: bytes) -> None:
        """One line of the peer's ExaBGP."""
        message = messages.parse(line)
        if not isinstance(message, messages.Message):
            return
        state = messages.neighbor_state(message)
        if state is not None and state.state in {"up", "down"}:
            self.established = state.state == "up"
            if not self.established:
                self.held.clear()
        for entry in messages.advertised(message, "receive"):
            prefix = str(entry.prefix)
            (self.held.add if entry.announced else self.held.discard)(prefix)
            self.seen.append(Seen(prefix, entry.announced, float(message.document.get("time", time.time()))))
        self.changed.set()


class Demo:
    """One showing: builds, tells, measures, and leaves nothing behind."""

    def __init__(self, *, once: bool, listen: str) -> None:
        self._once = once
        self._listen = listen
        self._began = time.time()
        self._task: asyncio.Task[Any] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._peer = Peer()
        self._router = Router(community=COMMUNITY)
        self._tell = Timeline(sys.stdout, self._began)
        self._failed = False
        self.quit = False
        """Whether somebody asked for the end, in the interactive showing."""

    async def show(self) -> int:
        """The showing, from nothing to nothing, however it ends."""
        self._task = asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._end)
        async with contextlib.AsyncExitStack() as stack:
            _refuse_used(self._listen)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exabgp-bfd-demo-")))
            await self._router.start()
            stack.push_async_callback(self._router.stop)
            self._router.add(PEER, interface="xe-0/0/1")
            self._tell("router", f"edge1 (simulated) answers SNMP on 127.0.0.1:{self._router.port}", mark=" ")
            self._tell("router", f"its BFD session to {PEER} is up", mark="+")
            await stack.enter_async_context(self._speakers(folder))
            if not await self._until(lambda: self._peer.held == set(PREFIXES), "the peer to receive the routes"):
                self._explain(folder)
                return 1
            self._tell("peer", f"received {_listed(PREFIXES)}", mark="+", at=self._peer.seen[-1].at)
            status = await (self._play_once() if self._once else self._play(stack))
            if status:
                self._explain(folder)
            return status

    # --- the play -----------------------------------------------------------------------------------------------

    async def _play_once(self) -> int:
        down = await self._fail()
        up = await self._mend() if down is not None else None
        if down is None or up is None:
            self._tell("demo", "FAILED: the peer did not see what it should have seen", mark="!")
            return 1
        self._tell.blank()
        self._tell.plain(f"failure  -> route gone at the peer: {down * 1000:7.0f} ms (polling every {INTERVAL:g} s)")
        self._tell.plain(f"recovery -> route back at the peer: {up * 1000:7.0f} ms (3 good polls, then 1 s of hold-up)")
        return 0

    async def _play(self, stack: contextlib.AsyncExitStack) -> int:
        keys: asyncio.Queue[str] = asyncio.Queue(16)
        press = partial(self._pressed, keys)
        loop = asyncio.get_running_loop()
        control = stack.enter_context(_control_server(loop, press))
        stack.enter_context(_keyboard(loop, press))
        self._tell.blank()
        self._tell.plain(f"the API:   http://{self._listen}/services/anycast   /sessions   /events   /metrics")
        self._tell.plain(f"break it:  key f, or  curl -X POST http://127.0.0.1:{control}/fail")
        self._tell.plain(f"mend it:   key m, or  curl -X POST http://127.0.0.1:{control}/mend")
        self._tell.plain(
            f"silence:   key s, or  curl -X POST http://127.0.0.1:{control}/silence   (the agent, not BFD)"
        )
        self._tell.plain(f"the end:   key q, or  curl -X POST http://127.0.0.1:{control}/quit")
        self._tell.plain(
            f"polled every {INTERVAL:g} s; back after 3 good polls and 1 s of hold-up; (+N ms) is since the change"
        )
        self._tell.blank()
        while True:
            match await keys.get():
                case "f":
                    await self._fail()
                case "m":
                    await self._mend()
                case "s":
                    self._silence()

    def _pressed(self, keys: asyncio.Queue[str], key: str) -> None:
        if key == "q":  # at once, whatever is being waited for
            self.quit = True
            self._end()
        with contextlib.suppress(asyncio.QueueFull):
            keys.put_nowait(key)

    def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _fail(self) -> float | None:
        """Breaks the session; the seconds until the last route was gone at the peer."""
        if self._failed:
            self._tell("router", f"the session to {PEER} is down already", mark=" ")
            return None
        return await self._change(State.DOWN, Diagnostic.CONTROL_DETECTION_TIME_EXPIRED, announced=False)

    async def _mend(self) -> float | None:
        """Mends the session; the seconds until the last route was back at the peer."""
        if not self._failed:
            self._tell("router", f"the session to {PEER} is up already", mark=" ")
            return None
        return await self._change(State.UP, Diagnostic.NONE, announced=True)

    async def _change(self, state: State, diagnostic: Diagnostic, *, announced: bool) -> float | None:
        if self._router.silent:
            self._tell("router", "the SNMP agent is silent: nobody would see it; press s first", mark="?")
            return None
        reason = f": {diagnostic.name.lower().replace('_', ' ')}" if diagnostic else ""
        self._failed = not announced
        first = len(self._peer.seen)
        began = time.time()
        self._router.set_state(PEER, state, diagnostic)
        self._tell(
            "router", f"BFD session to {PEER} is {state.upper()}{reason}", mark="+" if announced else "x", at=began
        )
        wanted = set(PREFIXES) if announced else set()
        what = "the peer to receive the routes again" if announced else "the routes to leave the peer"
        if not await self._until(lambda: self._peer.held == wanted, what):
            return None
        await self._tell_events(began)
        seen = self._peer.seen[first:]
        at = max((each.at for each in seen), default=time.time())
        verb = "received" if announced else "lost"
        self._tell("peer", f"{verb} {_listed(PREFIXES)}", mark="+" if announced else "-", at=at, since=began)
        return at - began

    def _silence(self) -> None:
        self._router.silent = not self._router.silent
        if self._watching is not None:
            self._watching.cancel()
        if not self._router.silent:
            self._tell("router", "the SNMP agent answers again", mark=" ")
            return
        self._tell("router", "the SNMP agent is silent now, whatever BFD does (s again ends that)", mark="?")
        self._watching = asyncio.create_task(self._watch_unknown())

    async def _watch_unknown(self) -> None:
        """Tells when our process knows nothing of the session any more, and what the peer holds then."""
        while True:
            sessions = await asyncio.to_thread(_fetch, self._listen, "/sessions")
            if any(session["state"] == "unknown" for session in sessions):
                break
            await asyncio.sleep(0.1)
        self._tell("exabgp-bfd", "knows nothing of the session now: unknown is not down, so nothing changes", mark="?")
        self._tell("peer", f"holds {_listed(tuple(sorted(self._peer.held))) or 'no route, as before'}", mark="?")

    async def _tell_events(self, since: float) -> None:
        """What our process recorded of this change, by its own clock."""
        query = f"/events?limit=50&since={since:.6f}"
        events: list[dict[str, Any]] = []
        for _ in range(20):  # the peer may be faster than the journal, whose batches are up to 50 ms old
            events = await asyncio.to_thread(_fetch, self._listen, query)
            if sum(event["event_type"] in {"route_withdraw", "route_announce"} for event in events) == len(PREFIXES):
                break
            await asyncio.sleep(0.05)
        for event in reversed(events):
            at = _epoch(event["ts"])
            if event["event_type"] in {"bfd_failure", "bfd_recovery"}:
                self._tell(
                    "exabgp-bfd", f"saw {event['session']} {event['details']['state']} (SNMP)", at=at, since=since
                )
            elif event["event_type"] in {"route_withdraw", "route_announce"}:
                verb = event["event_type"].removeprefix("route_")
                self._tell("exabgp-bfd", f"{verb} {event['details']['prefix']}", mark=">", at=at, since=since)

    async def _until(self, done: Callable[[], bool], what: str) -> bool:
        deadline = time.monotonic() + PATIENCE
        while not done():
            self._peer.changed.clear()
            try:
                await asyncio.wait_for(self._peer.changed.wait(), max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                self._tell("demo", f"waited {PATIENCE:g} s in vain for {what}", mark="!")
                return False
        return True

    def _explain(self, folder: Path) -> None:
        """The end of each log, where something went wrong."""
        for log in sorted(folder.glob("*.log")):
            self._tell.plain(f"--- {log.name}")
            for line in log.read_text("utf-8", "replace").splitlines()[-25:]:
                self._tell.plain(f"    {line}")

    # --- the two speakers ---------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _speakers(self, folder: Path) -> AsyncIterator[None]:
        port = _free_port()
        fifo = folder / "judge"
        os.mkfifo(fifo, 0o600)
        # Not `exec`: the shell keeps its stdout open, whose end ExaBGP would take for the end of its process.
        judge = _script(folder / "judge.sh", f"cat > {shlex.quote(str(fifo))}")
        toml = folder / "exabgp-bfd.toml"
        toml.write_text(
            CONFIGURATION.format(
                folder=folder,
                listen=self._listen,
                snmp=self._router.port,
                community=COMMUNITY,
                interval=INTERVAL,
                prefixes=json.dumps(PREFIXES),
                peer=PEER,
            )
        )
        ours = f"exec {shlex.quote(sys.executable)} -m exabgp_bfd run --config {shlex.quote(str(toml))}"
        process = _script(folder / "exabgp-bfd.sh", ours)
        peer_conf = SPEAKER.format(
            name="judge", run=judge, router="192.0.2.2", own=65002, other=65001, connection="passive"
        )
        own_conf = SPEAKER.format(
            name="bfd", run=process, router="192.0.2.1", own=65001, other=65002, connection=f"connect {port}"
        )
        async with (
            self._read_judge(fifo),
            _exabgp(folder, "peer", peer_conf, exabgp_tcp_bind="127.0.0.1", exabgp_tcp_port=str(port)),
            _exabgp(folder, "speaker", own_conf),
        ):
            self._tell("exabgp", "AS 65001 with our process, and AS 65002 as its peer, are started", mark=" ")
            yield

    @contextlib.asynccontextmanager
    async def _read_judge(self, fifo: Path) -> AsyncIterator[None]:
        # For writing too, though we never write: so it opens at once, and does not end when ExaBGP restarts its end.
        descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        loop = asyncio.get_running_loop()
        rest = b""

        def read() -> None:
            nonlocal rest
            with contextlib.suppress(BlockingIOError):
                *lines, rest = (rest + os.read(descriptor, 65536)).split(b"\n")
                for line in lines:
                    self._peer.take(line)

        loop.add_reader(descriptor, read)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)


class Timeline:
    """Lines that say when, who and what; colours on a terminal only."""

    COLOURS: ClassVar[dict[str, str]] = {"x": "31", "-": "31", "!": "31", "+": "32", ">": "36", "?": "33"}

    def __init__(self, out: TextIO, began: float) -> None:
        self._out = out
        self._began = began
        self._colour = out.isatty() and "NO_COLOR" not in os.environ

    def __call__(
        self, who: str, what: str, mark: str = " ", at: float | None = None, since: float | None = None
    ) -> None:
        """One line; `at` is when it happened (now), `since` what it is measured from."""
        at = time.time() if at is None else at
        took = f"  (+{(at - since) * 1000:.0f} ms)" if since is not None else ""
        text = f"{mark} {who:<10} {what}{took}"
        if self._colour and mark in self.COLOURS:
            text = f"\x1b[{self.COLOURS[mark]}m{text}\x1b[0m"
        self.plain(f"{at - self._began:8.3f} s  {text}")

    def plain(self, text: str) -> None:
        """A line as it is."""
        self._out.write(f"{text}\n")
        self._out.flush()

    def blank(self) -> None:
        """An empty line."""
        self.plain("")


@contextlib.asynccontextmanager
async def _exabgp(folder: Path, name: str, configuration: str, **settings: str) -> AsyncIterator[None]:
    """One ExaBGP; ended by SIGTERM, and by SIGKILL where that is not enough."""
    conf = folder / f"{name}.conf"
    conf.write_text(configuration)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("exabgp_", "exabgp."))},
        "exabgp_daemon_user": _user(),
        "exabgp_api_cli": "false",
        "exabgp_log_level": "WARNING",
        "exabgp_tcp_attempts": "0",
        **settings,
    }
    with (folder / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "exabgp",
            "server",
            str(conf),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 5)
            except TimeoutError:
                process.kill()
                await process.wait()


def _refuse_used(listen: str) -> None:
    """BfdError for an address on which the API could not listen, before anything is started for it."""
    host, _, port = listen.rpartition(":")
    try:
        with socket.create_server(
            (host.strip("[]"), int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        ):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise BfdError(f"--listen {listen}: {error}; give a free ADDRESS:PORT of loopback, or leave it out") from error
    if not ip_address(host.strip("[]")).is_loopback:
        raise BfdError(f"--listen {listen}: the demo stays on loopback; give 127.0.0.1:PORT")


def _script(path: Path, text: str) -> Path:
    """A program of one line: ExaBGP splits its `run` at blanks, and a path of ours may hold some."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise BfdError(f"this user ({os.getuid()}) has no name, and ExaBGP needs one") from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listed(prefixes: tuple[str, ...]) -> str:
    return " and ".join(prefixes)


def _fetch(listen: str, path: str) -> list[dict[str, Any]]:
    """The list that a path of our API answers with, empty while it does not answer."""
    name = path.strip("/").partition("?")[0]
    try:
        with urllib.request.urlopen(f"http://{listen}{path}", timeout=5) as answer:  # our own address  # nosec B310
            found: list[dict[str, Any]] = json.load(answer)[name]
            return found
    except (OSError, ValueError, KeyError):
        return []


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@contextlib.contextmanager
def _keyboard(loop: asyncio.AbstractEventLoop, press: Callable[[str], None]) -> Iterator[None]:
    """Single keys from a terminal, which is left as it was; nothing where there is none."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, lambda: press(os.read(descriptor, 1).decode("ascii", "replace")))
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _control_server(loop: asyncio.AbstractEventLoop, press: Callable[[str], None]) -> Iterator[int]:
    """A tiny server by which curl presses the keys; gives its port."""

    class Control(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            key = {"/fail": "f", "/mend": "m", "/silence": "s", "/quit": "q"}.get(self.path)
            self.send_response(404 if key is None else 202)
            self.send_header("Content-Length", "0")
            self.end_headers()
            if key is not None:
                loop.call_soon_threadsafe(press, key)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has
            """Says nothing: the timeline does."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Control)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="control", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join(2)
