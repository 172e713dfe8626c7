"""Asks ExaBGP what it is, which neighbours it has and which routes it holds; on the loop's thread, and no harm done.

A question costs: ExaBGP does nothing else for us while it writes a long answer (0.35 ms a line, measured), and a
withdraw written behind it waits. So there is one at a time with a pause after it, one neighbour's routes at a time, and
tables that were seen to be big are asked for no more without a reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from exabgp_bfd.core.model import Address, Ask, Outcome, Peers, Rib, SpeakerError
from exabgp_bfd.speaker import answers, dialect
from exabgp_bfd.speaker.dialect import Dialect, Speech
from exabgp_bfd.speaker.ledger import Reply
from exabgp_bfd.speaker.pipe import Pipe

logger = logging.getLogger(__name__)

PAUSE = 0.05
"""Seconds between two questions, in which commands have their turn."""
FIRST_RETRY = 1.0
LONGEST_RETRY = 60.0
"""Seconds until a question that failed is asked again; doubled from the first up to the longest."""
RIB_TRIES = 6
"""How often routes are asked for until that is given up; who the neighbours are is asked for ever."""
BIG_PAUSE = 60.0
"""Seconds between two questions for a big table, whatever the reason."""
LOST_PAUSE = 10.0
"""Seconds between two questions that only show which answers were lost."""

Deliver = Callable[[Peers | Rib], object]
_PEERS = "peers"


@dataclass(slots=True)
class Counters:
    """What the metrics tell of questions."""

    asked: int = 0
    failed: int = 0
    """Questions without a usable answer."""
    refused: int = 0
    """Asks for a big table that were not carried out."""


@dataclass(slots=True)
class _Want:
    """Something to ask for."""

    due: float
    """The loop's time."""
    tries: int = 0
    cause: int | None = None
    tell: bool = True
    """Whether the answer is delivered also when it tells nothing new."""


class Inquiry:
    """Keeps the pipe's `speech` right, and turns `Ask` into `Peers` and `Rib`."""

    def __init__(
        self,
        pipe: Pipe,
        deliver: Deliver,
        *,
        speaks: Dialect | None = None,
        process: str | None = None,
        timeout: float = 5.0,
        limit: int = 1000,
    ) -> None:
        """`speaks` is the dialect where it is set and not found out, `process` our name in ExaBGP's configuration.

        `timeout` of one question is in seconds; more than `limit` lines make a table big.
        """
        self.counters = Counters()
        self.timeout = timeout
        self.limit = limit
        self._pipe = pipe
        self._deliver = deliver
        self._set = speaks
        self._dialect = speaks
        self._process = process
        self._version = ""
        self._told: Peers | None = None
        self._wants: dict[str | Address, _Want] = {}
        self._all: Ask | None = None
        """Asked for all neighbours' routes before they were known."""
        self._sizes: dict[Address, int] = {}
        self._asked_big: dict[Address, float] = {}
        self._refused: set[Address] = set()
        self._failing: set[str | Address] = set()
        self._untold = False
        """Whether it was said that ExaBGP does not tell enough of its routes."""
        self._changed = asyncio.Event()
        self._looked = float("-inf")
        if speaks is not None:
            pipe.speech = Speech(speaks)
        pipe.answers_lost = self._answers_lost
        pipe.answers_changed = self._answers_changed

    # --- what to ask --------------------------------------------------------------------------------------------

    def ask(self, what: Ask) -> None:
        """Carries out an `Ask` of the engine, in its turn; on the loop's thread."""
        if what.what == "peers":
            self._want(_PEERS, what.cause)
        elif what.neighbor is not None:
            self._want_rib(what.neighbor, what.cause)
        elif self._told is None:
            self._all = what if self._all is None or what.cause is not None else self._all
        else:
            for peer in self._told.peers:
                self._want_rib(peer.address, what.cause)

    def _want(self, key: str | Address, cause: int | None, *, tell: bool = True, due: float = 0.0) -> None:
        due = max(due, self._now())
        want = self._wants.setdefault(key, _Want(due, 0, cause, tell))
        if not want.tries:
            want.due = min(want.due, due)
        want.cause = want.cause if want.cause is not None else cause
        want.tell = want.tell or tell
        self._changed.set()

    def _want_rib(self, neighbor: Address, cause: int | None) -> None:
        if self._sizes.get(neighbor, 0) > self.limit:
            if cause is None:
                self._refuse(neighbor)
            else:
                self._want(neighbor, cause, due=self._asked_big.get(neighbor, float("-inf")) + BIG_PAUSE)
        else:
            self._want(neighbor, cause)

    def _refuse(self, neighbor: Address) -> None:
        self.counters.refused += 1
        if neighbor not in self._refused:
            self._refused.add(neighbor)
            logger.warning(
                "ExaBGP holds %d routes for %s: asking for them holds it up, and is no longer done without a reason",
                self._sizes[neighbor],
                neighbor,
            )

    def _answers_lost(self) -> None:
        """The body of an answer shows which answers will never come, so that later ones find their commands."""
        if self._told is not None:
            self._want(_PEERS, None, tell=False, due=self._looked + LOST_PAUSE)

    def _answers_changed(self, there: bool) -> None:  # noqa: FBT001 - what the pipe tells
        if self._told is not None:
            self._tell(replace(self._told, answers=there))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    # --- asking -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Asks what ExaBGP is and which neighbours it has, then whatever is asked for; until cancelled, or it is gone.

        No failure ends it.
        """
        self._want(_PEERS, None)
        while self._pipe.open:
            key, wait = self._next()
            if key is None or wait > 0:
                self._changed.clear()
                await self._slept(wait)
                continue
            want = self._wants.pop(key)
            try:
                fine = await self._carry_out(key, want)
            except Exception:  # a fault of ours: routes go on without an answer, and so must the other questions
                logger.exception("a question to ExaBGP about %s failed", key)
                fine = False
            if not fine and self._pipe.open:
                self._again(key, want)
            await asyncio.sleep(PAUSE)

    async def _slept(self, seconds: float) -> None:
        """Sleeps until something else is wanted, `seconds` at most."""
        try:
            async with asyncio.timeout(min(seconds, LONGEST_RETRY)):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _next(self) -> tuple[str | Address | None, float]:
        """What is due first, and in how many seconds; the neighbours before their routes."""
        if not self._wants:
            return None, LONGEST_RETRY
        if self._told is None and _PEERS in self._wants:
            return _PEERS, self._wants[_PEERS].due - self._now()
        key = min(self._wants, key=lambda one: self._wants[one].due)
        return key, self._wants[key].due - self._now()

    def _again(self, key: str | Address, want: _Want) -> None:
        self.counters.failed += 1
        want.tries += 1
        if key not in self._failing:
            self._failing.add(key)
            what = "its neighbours" if key == _PEERS else f"its routes for {key}"
            logger.warning("ExaBGP gave no usable answer about %s; it is asked again", what)
        if key != _PEERS and want.tries >= RIB_TRIES:
            return
        if key == _PEERS and self._told is None and not self._pipe.speech.silent:
            # An announce must not wait for ever for what ExaBGP does not say.
            self._pipe.speech = replace(self._pipe.speech, silent=True)
        want.due = self._now() + min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(want.tries - 1, 10))
        newer = self._wants.get(key)
        if newer is not None:
            want.cause = want.cause if want.cause is not None else newer.cause
            want.tell = want.tell or newer.tell
        self._wants[key] = want

    async def _carry_out(self, key: str | Address, want: _Want) -> bool:
        fine = await (self._ask_peers(want) if isinstance(key, str) else self._ask_rib(key))
        if fine:
            self._failing.discard(key)
        return fine

    async def _reply(self, line: bytes, *, in_turn: bool = True) -> Reply:
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.counters.asked += 1
        self._pipe.ask(line, lambda one: None if reply.done() else reply.set_result(one), self.timeout, in_turn=in_turn)
        # Bounded there: one reply comes, whatever happens, unless the pipe is closed under a loop that ends.
        return await reply

    def _ended(self, reply: Reply) -> bool:
        """Whether an answer may be taken for the whole: where ExaBGP marks no end, silence after it must do."""
        return reply.outcome is Outcome.DONE and (reply.complete or (bool(reply.lines) and not self._pipe.answers))

    # --- what ExaBGP is, and its neighbours ---------------------------------------------------------------------

    async def _ask_peers(self, want: _Want) -> bool:
        if not want.tell and not self._pipe.late:
            return True  # those that were missing have come
        if not self._version and not await self._ask_version() and self._set is None:
            return False
        self._looked = self._now()
        reply = await self._reply(dialect.question("peers", self._pipe.speech))
        if not self._ended(reply):
            return False
        read = answers.peers(reply.lines, self._process)
        if not read.peers and not read.ranges:
            return False
        if read.unread:
            logger.warning("%d lines of ExaBGP's answer about its neighbours could not be read", read.unread)
        peers = Peers(read.peers, self._version, self._dialect or "", self._pipe.answers, read.ranges)
        self._sizes = {peer.address: self._sizes.get(peer.address, 0) for peer in read.peers}
        speech = Speech(self._dialect, read.peers, read.spelled)
        if speech != self._pipe.speech:
            self._pipe.speech = speech
        if want.tell or peers != self._told:
            self._tell(peers)
        if self._all is not None:
            waited, self._all = self._all, None
            self.ask(waited)
        return True

    def _tell(self, peers: Peers) -> None:
        self._told = peers
        self._deliver(peers)

    async def _ask_version(self) -> bool:
        both: tuple[dialect.Question, ...] = ("version", "system version")
        for what in both:
            reply = await self._reply(dialect.question(what, self._pipe.speech), in_turn=False)
            found = answers.version(reply.lines)
            if found is not None:
                speaks, self._version = found
                if self._set is None and speaks is not self._dialect:
                    self._dialect = speaks
                    self._pipe.speech = Speech(speaks, silent=self._pipe.speech.silent)
                logger.info("ExaBGP is %s, spoken to as %s", self._version, self._dialect)
                return True
            if reply.outcome is not Outcome.ERROR:
                return False
        return False

    # --- routes -------------------------------------------------------------------------------------------------

    async def _ask_rib(self, neighbor: Address) -> bool:
        try:
            line = dialect.question("rib", self._pipe.speech, neighbor)
        except SpeakerError as error:
            logger.warning("ExaBGP is not asked for its routes for %s: %s", neighbor, error)
            return True
        if self._sizes.get(neighbor, 0) > self.limit:
            self._asked_big[neighbor] = self._now()
        reply = await self._reply(line)
        if reply.outcome is not Outcome.DONE and not reply.lines and self._pipe.answers:
            return False
        read = answers.rib(reply.lines)
        self._sizes[neighbor] = max(len(reply.lines), len(read.held))
        if self._sizes[neighbor] > self.limit:
            self._asked_big[neighbor] = self._now()
        if not read.attributes:
            # Each would look as if it were held otherwise than it was said.
            if not self._untold:
                logger.warning("ExaBGP tells only the prefixes of its routes: they are not compared with what was said")
            self._untold = True
            return True
        # ExaBGP finds a neighbour by how its name begins: 192.0.2.1 is also 192.0.2.10.
        held = tuple(one for one in read.held if one.neighbor == neighbor)
        whole = reply.outcome is Outcome.DONE and reply.complete
        self._deliver(Rib(held, neighbor, reply.after, whole and not read.unread))
        return whole or not self._pipe.answers
