"""Those who follow the events: a few connections, all written by one thread, each from its place in the journal.

waitress has a thread for each answer under way, and eight followers would hold half of them for ever. So a worker
writes the head of the answer only; then the connection is taken out of waitress (`channel.Taker`) and belongs to the
thread here, which waits for all of them at once. Not a server of its own: one port, one gate, one set of limits.

A follower's backlog is the journal, never memory: the next events are read when those before have left. So nothing is
lost or sent twice however slow somebody reads, and whoever does not take `FILL` bytes within `STUCK` seconds is let go.
"""

from __future__ import annotations

import contextlib
import json
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from exabgp_bfd.core.model import EventQuery, StoreError
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.channel import Connection

logger = logging.getLogger(__name__)

MOST: Final = 8
"""Followers at once."""
BEAT: Final = 15.0
"""Seconds of silence after which a comment says that the connection lives."""
STUCK: Final = 30.0
"""Seconds that a follower has to take what was read for it."""
LIFETIME: Final = 900.0
"""Seconds after which a follower has to come again: what is open for ever is forgotten by everybody."""
FILL: Final = 65536
"""Bytes read for one follower at once, beside its last event."""
AT_ONCE: Final = 100
"""Events read for one follower at once."""
LOOK: Final = 0.2
"""Seconds between two looks for what is new; the pipe never waits for it."""
PAUSE: Final = 0.01
"""Seconds between two portions of a backlog: the decisions have the interpreter meanwhile."""
AGAIN: Final = 1.0
"""Seconds until a journal that could not be read is tried again."""
RETRY: Final = 3000
"""Milliseconds after which a browser comes back by itself."""

_SEND_BUFFER = 65536
_PIECE = 16384
"""Bytes sent at once, as much as a TLS record has."""
_UNREACHABLE = 60_000
"""Milliseconds after which the kernel gives up a follower that acknowledges nothing."""
_MOST_HEARD = 8192
"""Bytes a follower may send after its request; it has nothing more to say."""


@dataclass(eq=False)
class Seat:
    """One of the places there are: kept from the moment a request is granted until its connection ends."""

    streams: Streams
    query: EventQuery
    place: int
    """The id of the last event that the follower has."""
    out: bytearray
    """What is to be sent; begins with the greeting."""
    holds: Callable[[], bool]
    """Whether it may be told still; a reload may take its key away."""
    connection: Connection | None = None
    born: float = 0.0
    filled: float = 0.0
    """Since when `out` has something."""
    quiet: float = 0.0
    """Since when nothing left."""
    heard: int = 0
    behind: bool = field(default=True)
    """Whether the last look found more than was taken."""

    def take(self, connection: Connection) -> None:
        """Takes the connection over, from the thread that owned it."""
        self.streams.adopt(self, connection)

    def refuse(self) -> None:
        """The answer's head never left: the place is free again."""
        self.streams.free()


class Streams:
    """The followers, and the thread that writes to them; it starts with the first one."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._taken = 0
        self._arrived: list[Seat] = []
        self._seats: list[Seat] = []
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._wake: socket.socket | None = None
        self._newest = 0
        self._next_look = 0.0
        self._next_portion = 0.0
        self._failing = False
        self.dropped = 0
        """Followers that were let go because they did not read."""

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return self._taken

    def reserve(self, query: EventQuery, place: int, first: bytes, holds: Callable[[], bool]) -> Seat | None:
        """A place for who follows `query` from behind the event `place`, while it `holds`; None where all are taken.

        `first` is what it is told before anything else.
        """
        with self._lock:
            if self._stopping or self._taken >= MOST:
                return None
            self._taken += 1
        return Seat(self, replace(query, limit=AT_ONCE), place, bytearray(first), holds)

    def free(self) -> None:
        """One place is free again."""
        with self._lock:
            self._taken -= 1

    def adopt(self, seat: Seat, connection: Connection) -> None:
        """Writes to that connection from now on, and closes it at the end. Any thread."""
        with self._lock:
            if not self._stopping:
                seat.connection = connection
                self._arrived.append(seat)
                if self._thread is None:
                    self._begin()
                self._rouse()
                return
        connection.close()
        self.free()

    def stop(self, timeout: float) -> bool:
        """Ends every connection and the thread; True when it ended within `timeout` seconds."""
        with self._lock:
            self._stopping = True
            thread = self._thread
            self._rouse()
        if thread is None:
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def _begin(self) -> None:
        self._wake, listener = socket.socketpair()
        self._wake.settimeout(0)
        listener.settimeout(0)
        self._thread = threading.Thread(target=self._run, args=(listener,), name="web-stream", daemon=True)
        self._thread.start()

    def _rouse(self) -> None:
        if self._wake is not None:
            with contextlib.suppress(OSError):  # full: it will wake in any case
                self._wake.send(b"!")

    # --- the thread -----------------------------------------------------------------------------------------------

    def _run(self, listener: socket.socket) -> None:
        with selectors.DefaultSelector() as selector, listener:
            selector.register(listener, selectors.EVENT_READ, None)
            while not self._stopping:
                try:
                    self._turn(selector, listener)
                except Exception:
                    # The thread's outermost frame. Followers come back by themselves, from where they were.
                    logger.exception("a round of the event streams failed")
                    self._clear(selector, b"")
                    time.sleep(AGAIN)
            with self._lock:
                if self._wake is not None:
                    self._wake.close()
                    self._wake = None
            self._clear(selector, b": the program stops\n\n")

    def _clear(self, selector: selectors.BaseSelector, last: bytes) -> None:
        with self._lock:
            left, self._arrived = [*self._seats, *self._arrived], []
        for seat in left:
            self._leave(selector, seat, last)

    def _turn(self, selector: selectors.BaseSelector, listener: socket.socket) -> None:
        for key, mask in selector.select(self._patience()):
            if key.data is None:
                with contextlib.suppress(OSError):
                    listener.recv(4096)
            elif mask & selectors.EVENT_READ:
                self._hear(selector, key.data)
        with self._lock:
            arrived, self._arrived = self._arrived, []
        for seat in arrived:
            self._welcome(selector, seat)
        self._look(time.monotonic())
        for seat in tuple(self._seats):
            self._serve(selector, seat, time.monotonic())

    def _patience(self) -> float | None:
        """Seconds until there is something to do by itself."""
        if not self._seats:
            return None
        moment = self._next_look
        if not self._failing and any(seat.behind and not seat.out for seat in self._seats):
            moment = min(moment, self._next_portion)
        return max(0.0, moment - time.monotonic())

    def _welcome(self, selector: selectors.BaseSelector, seat: Seat) -> None:
        connection = seat.connection
        assert connection is not None  # noqa: S101 - adopt has set it
        seat.born = seat.filled = seat.quiet = time.monotonic()
        # waitress has set it not to block. Gone already: the first turn finds out.
        with contextlib.suppress(OSError, AttributeError):
            tune = connection.setsockopt  # type: ignore[attr-defined]  # one with TLS may have none
            tune(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            tune(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREACHABLE)
        selector.register(connection, selectors.EVENT_READ, seat)
        self._seats.append(seat)

    def _hear(self, selector: selectors.BaseSelector, seat: Seat) -> None:
        """What a follower sends means nothing; its end means that it left."""
        assert seat.connection is not None  # noqa: S101 - it is registered
        try:
            heard = len(seat.connection.recv(4096))
        except BlockingIOError:
            return
        except OSError:
            heard = 0
        seat.heard += heard
        if heard == 0 or seat.heard > _MOST_HEARD:
            self._leave(selector, seat)

    def _look(self, now: float) -> None:
        """Reads what is new, for each follower that has taken what was before."""
        hungry = [seat for seat in self._seats if not seat.out]
        if now >= self._next_look:
            self._next_look = now + LOOK
        elif self._failing or now < self._next_portion or not any(seat.behind for seat in hungry):
            return
        try:
            self._newest = newest(self._backend)
            for seat in hungry:
                if self._newest < seat.place:  # the journal was begun anew, and its numbers with it
                    self._reset(seat)
                elif self._newest > seat.place or seat.behind:
                    self._fill(seat)
        except StoreError as error:
            if not self._failing:
                logger.warning("the event streams wait: %s", error)
            self._failing = True
            self._next_look = now + AGAIN
        else:
            self._failing = False
        # However many have a backlog: no more than half of the time goes into it.
        ended = time.monotonic()
        self._next_portion = ended + max(PAUSE, ended - now)

    def _reset(self, seat: Seat) -> None:
        seat.out += gap(seat.place, self._newest, "the journal was begun anew")
        seat.place = self._newest

    def _fill(self, seat: Seat) -> None:
        found = self._backend.follow(seat.query, seat.place)
        for event in found:
            seat.out += message(event)
            seat.place = event["id"]
            if len(seat.out) >= FILL:
                seat.behind = True
                break
        else:
            seat.behind = len(found) >= AT_ONCE
            if not seat.behind:
                # Whatever is there up to `newest` was looked through: it was read before.
                seat.place = max(seat.place, self._newest)

    def _serve(self, selector: selectors.BaseSelector, seat: Seat, now: float) -> None:
        connection = seat.connection
        if connection is None:
            return
        if not seat.holds():
            self._leave(selector, seat)
            return
        if not seat.out:
            if now - seat.born > LIFETIME:
                self._leave(selector, seat)
                return
            if now - seat.quiet >= BEAT:
                seat.out += beat(seat.place)
            seat.filled = now
        try:
            while seat.out:
                sent = connection.send(bytes(memoryview(seat.out)[:_PIECE]))
                del seat.out[:sent]
                seat.quiet = now
        except BlockingIOError:
            pass
        except OSError:
            self._leave(selector, seat)
            return
        if seat.out and now - seat.filled > STUCK:
            self.dropped += 1
            logger.info("a follower of the events did not read for %g seconds, and is let go", STUCK)
            self._leave(selector, seat)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if seat.out else 0)
        if selector.get_key(connection).events != wanted:
            selector.modify(connection, wanted, seat)

    def _leave(self, selector: selectors.BaseSelector, seat: Seat, last: bytes = b"") -> None:
        connection, seat.connection = seat.connection, None
        if connection is None:
            return
        with contextlib.suppress(KeyError, ValueError):  # one that had just arrived
            selector.unregister(connection)
        with contextlib.suppress(OSError):
            if last and not seat.out:  # never into the middle of an event
                connection.send(last)
        connection.close()
        if seat in self._seats:
            self._seats.remove(seat)
        self.free()


def newest(backend: Backend) -> int:
    """The id of the newest event, 0 where there is none; raises StoreError."""
    found = backend.events(EventQuery(limit=1))
    return int(found[0]["id"]) if found else 0


def message(event: dict[str, Any]) -> bytes:
    """An event as the event stream format has it (HTML, section 9.2)."""
    return f"id: {event['id']}\ndata: {json.dumps(event)}\n\n".encode()


def beat(place: int) -> bytes:
    """A comment, and how far was looked: who comes back need not look there again."""
    return f":\nid: {place}\n\n".encode()


def greeting(place: int) -> bytes:
    """The first bytes, at once: proxies hold a head back until something follows it."""
    return f"retry: {RETRY}\nid: {place}\n\n".encode()


def gap(after: int, place: int, why: str) -> bytes:
    """Tells that something may be missing behind the event `after`, and that it goes on behind `place`."""
    data = json.dumps({"after": after, "resumed_after": place, "why": why})
    return f"event: gap\nid: {place}\ndata: {data}\n\n".encode()
