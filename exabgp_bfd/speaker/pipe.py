"""Owns the two pipes between ExaBGP and us: commands leave in order, answers are matched, reading waits for nothing.

ExaBGP 4 and 5 write to us with a blocking write: a process that does not read freezes the daemon, and its BGP sessions
die. So one thread does nothing but read; it hands lines on to bounded queues and drops, counted, what does not fit.
Everything else here belongs to the loop's thread.

A withdraw is written the moment it is decided. Announces are written so many at a time, and the rest waits here where
it can be overtaken: ExaBGP does one command after another, so that a withdraw behind 10,000 announces leaves 5 to 14
seconds late (measured). A question holds it up too, for as long as its answer takes, so there is one at a time, when
nothing else is to be said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import re
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from exabgp_bfd.core.model import (
    Advertised,
    Announce,
    Answer,
    Command,
    Negotiated,
    Neighbor,
    Outcome,
    SpeakerError,
    Withdraw,
)
from exabgp_bfd.speaker import dialect, messages
from exabgp_bfd.speaker.backlog import Backlog, Waiting
from exabgp_bfd.speaker.dialect import Speech
from exabgp_bfd.speaker.ledger import Entry, Ledger, Question, Reply
from exabgp_bfd.speaker.settling import SETTLES, Settling

logger = logging.getLogger(__name__)

READ_SIZE = 1 << 18
LONGEST_LINE = 1 << 24
CONTROL_LINES = 100_000
"""Answers and events that the loop has not taken yet; beyond, all but answers are dropped and counted."""
ANSWER_LINES = 1_000_000
"""What may wait when even answers are dropped: far more than there can be commands."""
CONTROL_SLICE = 500
"""Lines that the loop takes in one turn: a flood of events must not hold up a withdraw."""
LATE_ANSWER = 60.0
"""Seconds after it was given up during which a command's answer may still come; ExaBGP stalls, and then answers all."""
WINDOW = 128
"""Announces that may be unanswered; those behind wait here, where a withdraw passes them."""
QUESTIONS = 16
"""Questions that may wait."""
QUESTION_PATIENCE = 120.0
"""Seconds that a question may wait for its turn."""
LOOK_PAUSE = 0.05
"""Seconds between two looks, at least, at an announce that may leave."""
SILENCE = 1.0
"""Seconds without a further line after which an answer is over, where ExaBGP does not say that it is."""

EXPIRED_SLICE = 100
_SECRET = re.compile("passw|secret|md5", re.IGNORECASE)

Deliver = Callable[[Answer | Advertised | Negotiated | Neighbor], object]
Store = Callable[[Sequence[bytes], int], int]


def take_over_stdio() -> tuple[int, int]:
    """Moves ExaBGP's two pipes to private descriptors and returns them (in, out).

    Afterwards descriptor 1 is stderr and 0 is empty, so that a stray print of any library can never become a command.
    """
    stdin, stdout = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return stdin, stdout


def driven_by_pipes() -> bool:
    """Whether stdin and stdout are both pipes, as an API process of ExaBGP has them; not so at a terminal."""
    return all(stat.S_ISFIFO(os.fstat(descriptor).st_mode) for descriptor in (0, 1))


@dataclass(slots=True)
class Counters:
    """What the metrics tell of the pipe. Each line read is in `updates`, `control` or `missed`; each of `control`, once
    the loop has taken it, in `answered`, `unmatched`, `body`, `events` or `quarantined`.
    """

    read: int = 0
    """Lines, without empty ones and those that were too long."""
    stored: int = 0
    """Events that the store took."""
    refused: int = 0
    """Events that the store had no room for."""
    overlong: int = 0
    """Lines that were longer than any of ExaBGP's, and were skipped."""
    updates: int = 0
    """Received UPDATEs, which only the store gets."""
    control: int = 0
    """Lines that went to the loop."""
    missed: int = 0
    """Lines that the loop had no room for."""
    events: int = 0
    repaired: int = 0
    """Events among them that were no JSON as they came."""
    quarantined: int = 0
    answered: int = 0
    """Answers that belong to something that was written."""
    unmatched: int = 0
    """Answers to nothing of ours."""
    body: int = 0
    """Lines of answers."""
    written: int = 0
    """Commands."""
    expired: int = 0
    """Commands that were not answered in time."""
    overtaken: int = 0
    """Commands that were never written, because another word for the same target came."""
    overflowed: int = 0
    """Commands and questions for which the queue had no room."""
    asked: int = 0
    """Questions that were written."""

    @property
    def dropped(self) -> int:
        """Lines that somebody who wanted them did not get."""
        return self.refused + self.missed + self.overlong


class Pipe:
    """ExaBGP as seen from its process: `send` a command, `ask` a question, be told of answers and of what it says."""

    def __init__(
        self,
        stdin: int,
        stdout: int,
        *,
        deliver: Deliver,
        store: Store,
        ended: Callable[[str], None],
        ack_timeout: float = 5.0,
        answers: bool = True,
    ) -> None:
        """`answers` is False where ExaBGP was told to send none (exabgp_api_ack); `ended` gets the reason, once.

        `store` is called on the reader's thread and must not wait.
        """
        self.counters = Counters()
        self.last_quarantined = ""
        self.ack_timeout = ack_timeout
        """Seconds; takes effect with the next command."""
        self.answers_changed: Callable[[bool], object] = _nobody
        """Called when it shows that ExaBGP does not answer commands, or that it does after all."""
        self.answers_lost: Callable[[], object] = _nobody
        """Called when commands were not answered in time: a question shows which answers will never come."""
        self._stdin = stdin
        self._stdout = stdout
        self._deliver = deliver
        self._store = store
        self._ended = ended
        self._answers = answers
        self._answers_are_set = not answers
        self._answers_heard = 0
        self._without_end = 0
        """Questions in a row of which the body came, and no end, nor any other answer."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop_read, self._stop_write = os.pipe()
        self._control: deque[bytes] = deque()
        self._given_up: deque[Entry] = deque()
        """Commands without an answer, of which the engine is yet to be told."""
        self._scheduled = threading.Event()
        self._speech = Speech()
        self._handshakes = messages.Handshakes()
        self._ledger = Ledger()
        self._backlog = Backlog()
        self._settling = Settling()
        self._questions: deque[Question] = deque()
        self._detail = ""
        self._last_command = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = math.inf
        self._rest = b""
        self._full = False
        """Whether ExaBGP has not read yet what was written: the loop tells when there is room again."""
        self._over = self._closed = False
        self._piped = stat.S_ISFIFO(os.fstat(stdin).st_mode) or stat.S_ISSOCK(os.fstat(stdin).st_mode)

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts reading; must come before anything that may take time."""
        self._loop = loop
        if stat.S_ISFIFO(os.fstat(self._stdout).st_mode):
            # A pipe of our own only: on a terminal the setting would reach stderr and every other program on it.
            os.set_blocking(self._stdout, False)
        self._thread = threading.Thread(target=self._read, name="stdin", daemon=True)
        self._thread.start()

    @property
    def open(self) -> bool:
        """Whether ExaBGP is still there to be written to."""
        return self._loop is not None and not self._over

    @property
    def speech(self) -> Speech:
        """What is known of ExaBGP, by which commands are written; whoever learns it sets it."""
        return self._speech

    @speech.setter
    def speech(self, speech: Speech) -> None:
        self._speech = speech
        self._release()

    @property
    def answers(self) -> bool:
        """Whether ExaBGP answers commands, as far as is known."""
        return self._answers

    @property
    def waiting(self) -> int:
        """Commands not written yet, or written and not answered yet."""
        return self._unwritten + self._ledger.live

    @property
    def late(self) -> int:
        """Commands that were not answered in time, and may be answered yet."""
        return self._ledger.late

    @property
    def _unwritten(self) -> int:
        return len(self._backlog) + bool(self._rest)

    async def written(self, timeout: float) -> bool:  # noqa: ASYNC109 - a bound on the wait, kept here
        """Waits until every command left us, `timeout` seconds at most; False if ExaBGP did not take them all."""
        deadline = time.monotonic() + timeout
        while self._unwritten and self.open and time.monotonic() < deadline:  # noqa: ASYNC110 - bounded, only at the end
            await asyncio.sleep(0.01)
        return not self._unwritten

    async def drained(self, timeout: float) -> bool:  # noqa: ASYNC109 - a bound on the wait, kept here
        """Waits until every command was written and answered, `timeout` seconds at most; False if it was not."""
        deadline, expired = time.monotonic() + timeout, self.counters.expired
        while self.waiting and self.open and time.monotonic() < deadline:  # noqa: ASYNC110 - bounded, and only at the end
            await asyncio.sleep(0.01)
        return not self.waiting and self.counters.expired == expired

    def close(self) -> None:
        """Stops reading and forgets what was not written; the descriptors are closed. A second call does nothing."""
        if self._closed:
            return
        self._over = self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_writer(self._stdout)
        self._drop_questions()
        os.write(self._stop_write, b"x")
        if self._thread is not None:
            self._thread.join(1.0)
        for descriptor in (self._stop_read, self._stop_write, self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    # --- out: commands ------------------------------------------------------------------------------------------

    def send(self, command: Command) -> None:
        """Writes a command: a withdraw now, an announce in its turn; what ExaBGP cannot take waits, withdraws first.

        Raises SpeakerError for a command that must not be sent, and where ExaBGP is gone.
        """
        line = dialect.line(command, self._speech)
        if self._over:
            raise SpeakerError("ExaBGP's pipe is closed")
        self._last_command = command.command
        backlog = self._backlog
        if backlog.targets or backlog.withdraws:
            self._overtaken(backlog.overtake(command))
        if isinstance(command, Withdraw):
            if self._rest or backlog.withdraws:
                self._queue(command, line)
            else:
                self._write(command, line)
        elif self._is_held(command):
            self._hold(command, line)
        elif self._rest or backlog.withdraws or backlog.announces or not self._has_room():
            self._queue(command, line)
        else:
            self._write(command, line)

    def _has_room(self) -> bool:
        """Whether one more announce may be unanswered; those given up count, for a stalled ExaBGP has them yet."""
        return not self._answers or self._ledger.announces < WINDOW

    def _overtaken(self, commands: Iterable[Command]) -> None:
        # Only the last word for a target is worth sending.
        for command in commands:
            self.counters.overtaken += 1
            self._later(Answer(command.command, Outcome.OVERTAKEN, "another word on the same target went before it"))

    def _queue(self, command: Command, line: bytes) -> None:
        self._is_put(command, there=self._backlog.put(Waiting(command, line, self._speech)))

    def _is_held(self, command: Announce) -> bool:
        """Whether an announce must wait: for what is to be known, or for the last word on its target to be done."""
        if self._speech.waits(command) or self._backlog.holds(command.route):
            return True
        now = time.monotonic()
        return len(self._settling) > 0 and self._settling.until(command.route, now) > now

    def _hold(self, command: Command, line: bytes) -> None:
        now = time.monotonic()
        until = now + self.ack_timeout + SETTLES
        self._is_put(command, there=self._backlog.hold(Waiting(command, line, self._speech, until)))
        self._arm(min(until, max(now, self._settling.until(command.route, now))))

    def _release(self) -> None:
        """Lets go of held announces whose reason has gone."""
        now = time.monotonic()
        self._backlog.release(
            lambda command: not self._speech.waits(command) and self._settling.until(command.route, now) <= now
        )
        self._advance()

    def _is_put(self, command: Command, *, there: bool) -> None:
        if not there:
            self.counters.overflowed += 1
            text = "queue full: too many commands wait for ExaBGP to take them"
            self._later(Answer(command.command, Outcome.TIMEOUT, text))

    def _write(self, command: Command, line: bytes) -> None:
        try:
            sent = os.write(self._stdout, line)
        except BlockingIOError:
            self._queue(command, line)
            self._wait_for_room()
            return
        except OSError as error:
            self._end(f"ExaBGP's pipe is closed: {error.strerror}")
            raise SpeakerError("ExaBGP's pipe is closed") from error
        self._wrote(command)
        if sent < len(line):
            self._rest = line[sent:]
            self._wait_for_room()

    def _wrote(self, command: Command) -> None:
        self.counters.written += 1
        now = time.monotonic()
        self._settling.wrote(command, now, math.inf if self._answers else now + 2 * SETTLES)
        if self._answers_are_set:
            return
        # Where it showed that there are no answers, they are not waited for; should one come, it must find its command.
        given_up = None if self._answers else now
        entry = Entry(command.command, isinstance(command, Announce), now, self.ack_timeout, None, given_up)
        self._ledger.add(entry, now - LATE_ANSWER)
        if now + self.ack_timeout < self._timer_due:
            self._arm(now + self.ack_timeout)

    def _wait_for_room(self) -> None:
        if self._loop is not None and not self._full:
            self._full = True
            self._loop.add_writer(self._stdout, self._write_more)

    def _advance(self) -> None:
        """Writes what may be written since something was answered or given up."""
        if not self._full and not self._over and (self._backlog or self._questions):
            self._write_more()

    def _write_more(self) -> None:
        """Writes what waited: the rest of a begun line, withdraws, announces as far as they may, then a question."""
        try:
            if self._rest:
                self._rest = self._rest[os.write(self._stdout, self._rest) :]
            while not self._rest and (self._write_next() or self._write_question()):
                pass
        except BlockingIOError:
            self._wait_for_room()
            return
        except OSError as error:
            self._end(f"ExaBGP's pipe is closed: {error.strerror}")
            return
        if self._rest:
            self._wait_for_room()
        elif self._full and self._loop is not None:
            self._full = False
            self._loop.remove_writer(self._stdout)

    def _write_next(self) -> bool:
        waiting = self._backlog.first(announces=self._has_room())
        if waiting is None:
            return False
        command, line = waiting.command, waiting.line
        if waiting.speech is not self._speech:
            try:
                line = dialect.line(command, self._speech)
            except SpeakerError as error:
                # What was right when it came to wait, and no longer is: another neighbour, another ExaBGP.
                self._backlog.written(command)
                self._later(Answer(command.command, Outcome.ERROR, str(error)))
                return True
        sent = os.write(self._stdout, line)
        self._backlog.written(command)
        self._rest = line[sent:]
        self._wrote(command)
        return True

    def _end(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        if self._loop is not None:
            self._loop.remove_writer(self._stdout)
        self._drop_questions()
        self._ended(reason)

    # --- out: questions -----------------------------------------------------------------------------------------

    def ask(
        self,
        line: bytes,
        told: Callable[[Reply], object],
        timeout: float,
        *,
        in_turn: bool = True,
    ) -> None:
        """Asks ExaBGP once nothing else waits for an answer, one question at a time; `told` gets one reply, later.

        `timeout` is in seconds, from when it was written or from the last line that came. `in_turn` is False for what
        ExaBGP answers the moment it reads it, before commands that it took earlier (`version`).
        """
        now = time.monotonic()
        question = Question(line, told, timeout, in_turn, now)
        if not self.open or len(self._questions) >= QUESTIONS:
            self.counters.overflowed += self.open
            self._reply(question, question.reply(Outcome.TIMEOUT, ended=False))
            return
        self._questions.append(question)
        self._arm(now + QUESTION_PATIENCE)
        self._advance()

    def _write_question(self) -> bool:
        """Only when every command was answered, and the last question too: a body must belong to one question only.

        What is held does not count: it may wait for what this question is about.
        """
        if not self._questions or self._backlog.withdraws or self._backlog.announces or self._ledger.live:
            return False
        if self._ledger.question is not None:
            if self._answers:
                return False
            if self._ledger.question.given_up is None:
                return False
        question = self._questions[0]
        sent = os.write(self._stdout, question.line)
        self._questions.popleft()
        self._rest = question.line[sent:]
        now = time.monotonic()
        question.after = self._last_command
        question.missed = self._missed()
        question.answers = self._answers_heard
        self._ledger.add(Entry(0, announces=False, written=now, timeout=question.timeout, question=question))
        self.counters.asked += 1
        self._arm(now + question.timeout)
        return False

    def _missed(self) -> int:
        return self.counters.missed + self.counters.overlong

    def _reply(self, question: Question, reply: Reply) -> None:
        """Always in a turn of its own: whoever asked must not be called from where it asks."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon(question.told, reply)

    def _drop_questions(self) -> None:
        asked = self._ledger.question
        if asked is not None and asked.question is not None and asked.given_up is None:
            asked.given_up = time.monotonic()
            self._reply(asked.question, asked.question.reply(Outcome.TIMEOUT, ended=False))
        while self._questions:
            question = self._questions.popleft()
            self._reply(question, question.reply(Outcome.TIMEOUT, ended=False))

    # --- answers ------------------------------------------------------------------------------------------------

    def _answer(self, outcome: Outcome) -> None:
        text, self._detail = self._detail, ""
        self._answers_heard += 1
        self._without_end = 0
        sure = self._answers or self._answers_are_set
        if not sure:
            self._find_answers(there=True)
        entry = self._ledger.answered(time.monotonic())
        if entry is None:
            self.counters.unmatched += 1
            return
        self.counters.answered += 1
        self._done(entry)
        try:
            if entry.given_up is not None:
                return
            question = entry.question
            if question is None:
                self._deliver(Answer(entry.command, outcome, text))
            else:
                self._reply(question, question.reply(outcome, ended=sure and self._missed() == question.missed))
        finally:
            self._advance()

    def _body(self, line: bytes, text: str) -> None:
        asked = self._ledger.question
        # ExaBGP 6 says why it refuses a command in a line before the `error`; that is no part of a later answer.
        reason = text.startswith("error")
        if asked is not None and (self._ledger.is_next(asked) or not reason):
            self.counters.body += 1
            for lost in self._ledger.body_came(time.monotonic()):
                self._lose(lost, "no answer, though a later question was answered")
            if asked.question is not None and asked.given_up is None:
                asked.question.keep(text)
                if not self._answers:
                    asked.timeout = SILENCE
                    self._arm(time.monotonic() + SILENCE)
        elif len(self._ledger) or not self._answers:
            self.counters.body += 1
            if reason:
                # Nothing else: lines of an answer that nobody waits for any longer may hold passwords.
                self._detail = f"{self._detail} {text}".strip()[-500:]
        else:
            self._set_aside(line, "neither an event nor part of an answer, for nothing was asked")

    def _done(self, entry: Entry) -> None:
        """A command was answered or given up: what is held for it may leave soon."""
        now = time.monotonic()
        self._settling.done(entry.command, now)
        if self._backlog.held:
            self._arm(now + SETTLES)

    def _lose(self, entry: Entry, text: str) -> None:
        self._done(entry)
        self.counters.expired += 1
        self._later(Answer(entry.command, Outcome.TIMEOUT, text))

    def _arm(self, due: float) -> None:
        """Has the deadlines looked at then, or before. One timer, which is not moved when an answer comes."""
        if self._timer_due <= due or self._loop is None or self._closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._loop.call_later(max(0.0, due - time.monotonic()), self._look)

    def _look(self) -> None:
        """Gives up what waited too long, and forgets what was given up long ago."""
        self._timer, self._timer_due = None, math.inf
        now = time.monotonic()
        self._ledger.forget(now - LATE_ANSWER)
        expired = self._ledger.expire(now)
        commands = [entry for entry in expired if entry.question is None]
        for entry in commands:
            self._done(entry)
        for entry in expired:
            if entry.question is not None:
                self._give_up_question(entry, entry.question, now)
        for waiting in self._backlog.give_up(now):
            text = self._speech.waits(waiting.command) or "ExaBGP has not done yet what was said before of the same"
            self._later(Answer(waiting.command.command, Outcome.ERROR, text))
        while self._questions and self._questions[0].asked + QUESTION_PATIENCE <= now:
            question = self._questions.popleft()
            self._reply(question, question.reply(Outcome.TIMEOUT, ended=False))
        held = min((self._next_of(waiting, now) for waiting in self._backlog.held.values()), default=math.inf)
        waits = self._questions[0].asked + QUESTION_PATIENCE if self._questions else math.inf
        self._arm(min(self._ledger.due(LATE_ANSWER), held, waits))
        self.counters.expired += len(commands)
        under_way = bool(self._given_up)
        self._given_up.extend(commands)
        if commands:
            self.answers_lost()
        if not under_way:
            self._give_up()
        self._release()

    def _next_of(self, waiting: Waiting, now: float) -> float:
        """When to look again at a held announce."""
        if self._speech.waits(waiting.command):
            return waiting.until
        return min(waiting.until, max(now + LOOK_PAUSE, self._settling.until(waiting.command.route, now)))

    def _give_up(self) -> None:
        """Tells of commands without an answer, so many in a turn of the loop: there may be thousands of them."""
        for _ in range(min(len(self._given_up), EXPIRED_SLICE)):
            entry = self._given_up.popleft()
            self._deliver(Answer(entry.command, Outcome.TIMEOUT, f"no answer in {entry.timeout:g} s"))
        if self._given_up and self._loop is not None:
            self._loop.call_soon(self._give_up)

    def _give_up_question(self, entry: Entry, question: Question, now: float) -> None:
        if self._answers and entry.body and question.answers == self._answers_heard:
            self._without_end += 1
            # Once is enough where no answer ever came. A single end may also be lost.
            if not self._answers_heard or self._without_end > 1:
                self._find_answers(there=False)
                self._ledger.give_up_all(now)
        if self._answers_are_set:
            self._ledger.discard(entry)
        # Without answers silence is an end too, though it may be a pause.
        outcome = Outcome.DONE if entry.body and not self._answers else Outcome.TIMEOUT
        self._reply(question, question.reply(outcome, ended=False))

    def _find_answers(self, *, there: bool) -> None:
        self._answers = there
        if there:
            logger.warning("ExaBGP answers commands after all")
        else:
            logger.warning("ExaBGP does not answer commands (exabgp_api_ack): none is waited for any longer")
        self.answers_changed(there)

    def _later(self, answer: Answer) -> None:
        if self._loop is not None:
            self._loop.call_soon(self._deliver, answer)

    # --- in: on the loop's thread -------------------------------------------------------------------------------

    def _take_control(self) -> None:
        self._scheduled.clear()
        try:
            for _ in range(min(len(self._control), CONTROL_SLICE)):
                self._take(self._control.popleft())
        finally:
            # The loop has other work in between; and what one line made fail must not keep the next ones waiting.
            self._wake()

    def _take(self, line: bytes) -> None:
        parsed = messages.parse(line)
        match parsed:
            case messages.Ended():
                self._answer(parsed.outcome)
            case messages.Body():
                self._body(line, parsed.text)
            case messages.Shutdown():
                self.counters.events += 1
                self._end("ExaBGP is shutting down")
            case messages.Quarantined():
                self._set_aside(line, parsed.reason)
            case messages.Message():
                self.counters.events += 1
                self.counters.repaired += bool(parsed.repaired)
                for seen in messages.advertised(parsed):
                    self._deliver(seen)
                for told in (
                    messages.neighbor_state(parsed),
                    messages.negotiated(parsed),
                    self._handshakes.take(parsed),
                ):
                    if told is not None:
                        self._deliver(told)

    def _set_aside(self, line: bytes, reason: str) -> None:
        self.counters.quarantined += 1
        self.last_quarantined = f"{reason}: {public(repr(line[:200]))}"

    # --- in: on the reader's thread -----------------------------------------------------------------------------

    def _read(self) -> None:
        """Reads until the end; waits for nothing but stdin, and never raises."""
        waiter = select.poll()
        waiter.register(self._stdin, select.POLLIN)
        waiter.register(self._stop_read, select.POLLIN)
        begun: list[bytes] = []
        size, skipping = 0, False
        # To the end, also when no more may be written: ExaBGP would block on whatever it still has to tell us.
        while True:
            ready = {descriptor for descriptor, _ in waiter.poll()}
            if self._stop_read in ready:
                return
            try:
                data = os.read(self._stdin, READ_SIZE)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                # At a terminal or under a service manager stdin may well be empty; only a pipe's end tells something.
                if self._piped:
                    self._call(self._end, "stdin was closed: ExaBGP is gone")
                return
            *lines, rest = data.split(b"\n")
            if lines:
                lines[0] = b"".join((*begun, lines[0]))
                if skipping:
                    skipping = False
                    del lines[0]
                begun, size = [], 0
            if not skipping and rest:
                begun.append(rest)
                size += len(rest)
            if size > LONGEST_LINE:
                self.counters.overlong += 1
                begun, size, skipping = [], 0, True
            self._sort([line for line in lines if line])

    def _sort(self, lines: list[bytes]) -> None:
        received = time.time_ns() // 1000
        events = [line for line in lines if messages.is_event(line)]
        if events:
            taken = self._stored(events, received)
            self.counters.stored += taken
            self.counters.refused += len(events) - taken
        for line in lines:
            if messages.only_stored(line):
                self.counters.updates += 1
            elif (waiting := len(self._control)) >= CONTROL_LINES and (
                waiting >= ANSWER_LINES or not messages.ends_answer(line)
            ):
                self.counters.missed += 1
            else:
                self.counters.control += 1
                self._control.append(line)
        # Last, so that whoever sees it finds the others to fit.
        self.counters.read += len(lines)
        self._wake()

    def _stored(self, events: list[bytes], received: int) -> int:
        try:
            return self._store(events, received)
        except Exception:  # whatever the store has: this thread must go on reading, or ExaBGP freezes
            logger.exception("the store refused %d messages of ExaBGP", len(events))
            return 0

    def _wake(self) -> None:
        """Has the loop take what waits; from either thread."""
        if self._control and not self._scheduled.is_set():
            self._scheduled.set()
            self._call(self._take_control)

    def _call(self, callback: Callable[..., None], *arguments: str) -> None:
        if self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are ending anyway
            self._loop.call_soon_threadsafe(callback, *arguments)


def public(text: str) -> str:
    """A line of an answer as it may be kept and logged: ExaBGP shows the passwords of its neighbours."""
    return "(a line that may hold a secret)" if _SECRET.search(text) else text


def _nobody(*_: object) -> None:
    """Nobody wants to know."""
