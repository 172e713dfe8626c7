"""The worker's end of the dead-man lease: routes that may not outlive our attention are withdrawn by our keeper.

The withdraws of what is announced of the services that asked for it lie, ready to be written, on the keeper's board
(`keeper.Board`), and are renewed while the main loop runs. Where that did not run for so long, stopped, stuck or dead,
the keeper kills what is left of us and writes them; the next start is told, and the routes come back when their service
has earned them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable

from exabgp_bfd.core.model import Believed, Command, Remember, SpeakerError, Target, Withdraw
from exabgp_bfd.keeper import Board

logger = logging.getLogger(__name__)

RENEWALS = 8
"""How often a lease is renewed within its time."""
LONGEST_WAIT = 0.25
"""Seconds between two renewals, at most."""

Line = Callable[[Command], bytes]


class Lease:
    """Keeps the board as ExaBGP is believed to hold our routes. On the loop's thread."""

    def __init__(self, board: Board, line: Line) -> None:
        """`line` makes a command's line, or raises SpeakerError."""
        self._board = board
        self._line = line
        self._seconds: float | None = None
        self._services: frozenset[str] = frozenset()
        self._held: dict[tuple[str, str], Target] = {}
        """All that is believed announced, by service and key, whether it asked for a lease or not."""
        self._entries: dict[tuple[str, str], bytes] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._putting = False
        self._complaint = ""

    def start(self, loop: asyncio.AbstractEventLoop, believed: Iterable[Believed]) -> None:
        """Begins to renew; what our predecessor announced counts as announced."""
        self._loop = loop
        self._held.update({(each.service, each.route.key): each.route for each in believed})
        self._renew()

    def stop(self) -> None:
        """Ends the renewing, and clears the board: an orderly end decides itself what becomes of the routes."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
        self._board.clear()

    def set_rules(self, seconds: float | None, services: Collection[str]) -> None:
        """How long the routes of which services may be left alone; None: for ever."""
        self._seconds, self._services = seconds, frozenset(services)
        self._write_anew()

    def forget_lines(self) -> None:
        """ExaBGP is spoken to in another way from now on."""
        self._write_anew()

    def note(self, told: Remember) -> None:
        """What is believed of a route has changed; it is on the board before anything else happens on the loop."""
        key = told.service, told.key
        if told.route is None:
            self._held.pop(key, None)
        else:
            self._held[key] = told.route
        if told.service not in self._services or self._seconds is None:
            return
        self._enter(key)
        if not self._putting and self._loop is not None:
            self._putting = True
            self._loop.call_soon(self._put)

    def _write_anew(self) -> None:
        self._entries.clear()
        if self._seconds is not None:
            for key in self._held:
                if key[0] in self._services:
                    self._enter(key)
        self._put()

    def _enter(self, key: tuple[str, str]) -> None:
        target = self._held.get(key)
        if target is None:
            self._entries.pop(key, None)
            return
        try:
            line = self._line(Withdraw(0, key[0], target))
        except SpeakerError as error:  # what cannot be withdrawn was not announced either
            logger.warning("the lease does not cover %s of %s: %s", key[1], key[0], error)
            self._entries.pop(key, None)
        else:
            self._entries[key] = f"{key[0]}\t{key[1]}\t".encode() + line

    def _put(self) -> None:
        self._putting = False
        if self._seconds is None or not self._entries:
            self._board.clear()
            return
        try:
            self._board.put(self._seconds, b"".join(self._entries.values()))
        except ValueError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                logger.error("the lease covers %d routes no longer: %s", len(self._entries), error)
            self._board.clear()
        else:
            self._board.renew()

    def _renew(self) -> None:
        if self._loop is None:
            return
        self._board.renew()
        wait = LONGEST_WAIT if self._seconds is None else min(LONGEST_WAIT, self._seconds / RENEWALS)
        self._timer = self._loop.call_later(wait, self._renew)
