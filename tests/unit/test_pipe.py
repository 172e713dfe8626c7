"""The two pipes between ExaBGP and us, with real pipes, a real loop and the real thread; the test plays ExaBGP."""

import asyncio
import contextlib
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from ipaddress import ip_address, ip_network

import pytest
from lab.pipes import (
    DONE,
    ERROR,
    PATIENCE,
    PEER,
    PEERS,
    SHUTDOWN,
    SPEECH,
    UP,
    ExaBGP,
    announce,
    closing,
    run,
    said,
    update,
    withdraw,
)

from exabgp_bfd.core.model import (
    Advertised,
    Announce,
    Answer,
    Neighbor,
    Outcome,
    SpeakerError,
    Watchdog,
    Withdraw,
)
from exabgp_bfd.speaker import backlog, pipe, settling
from exabgp_bfd.speaker.dialect import Dialect, Speech
from exabgp_bfd.speaker.ledger import Reply
from exabgp_bfd.speaker.pipe import Pipe
from exabgp_bfd.storage.journal import Journal


@pytest.fixture
def no_window(monkeypatch):
    """Announces that only a full pipe holds back."""
    monkeypatch.setattr(pipe, "WINDOW", 1 << 30)


# --- answers --------------------------------------------------------------------------------------------------------


def test_answers_are_matched_in_order_across_events():
    async def play(exabgp):
        for command in (1, 2, 3):
            exabgp.pipe.send(announce(command))
        assert await exabgp.reads_lines(3) == [said(announce(command)) for command in (1, 2, 3)]
        assert exabgp.pipe.waiting == 3
        exabgp.says(UP, DONE, update("send"), ERROR, update("receive"), UP, DONE)
        assert await exabgp.told(6) == [
            Neighbor(PEER, "up"),
            Answer(1, Outcome.DONE),
            Advertised(PEER, ip_network("203.0.113.1/32"), announced=True),
            Answer(2, Outcome.ERROR),
            Neighbor(PEER, "up"),
            Answer(3, Outcome.DONE),
        ]
        assert exabgp.pipe.waiting == 0
        assert exabgp.pipe.counters.unmatched == 0
        assert exabgp.pipe.counters.written == 3
        assert await exabgp.pipe.drained(PATIENCE)

    run(play)


def test_an_error_comes_with_the_text_before_it_and_only_with_that():
    async def play(exabgp):
        for command in (1, 2, 3):
            exabgp.pipe.send(announce(command))
        exabgp.says(b"one line\n", b"error: no\n", b"error: such route\n", UP, ERROR, DONE, b'{ "body": 1 }\n', ERROR)
        answers = [one for one in await exabgp.told(4) if isinstance(one, Answer)]
        assert answers == [
            Answer(1, Outcome.ERROR, "error: no error: such route"),
            Answer(2, Outcome.DONE),
            Answer(3, Outcome.ERROR),
        ]

    run(play)


def test_a_long_answer_keeps_its_end():
    async def play(exabgp):
        exabgp.pipe.send(announce(1))
        exabgp.says(b"error: " + b"x" * 10_000 + b"\n", b"error: the reason\n", ERROR)
        (answer,) = await exabgp.told(1)
        assert len(answer.text) <= 500
        assert answer.text.endswith("the reason")

    run(play)


def test_answers_nobody_waits_for_are_counted():
    async def play(exabgp):
        exabgp.says(DONE, ERROR, UP)
        assert await exabgp.told(1) == [Neighbor(PEER, "up")]
        assert exabgp.pipe.counters.unmatched == 2

    run(play)


def test_a_broken_event_is_no_answer():
    async def play(exabgp):
        exabgp.pipe.send(announce(1))
        # The first is one of those that are known, and is set right; the second is cut short.
        exabgp.says(b'{ "exabgp": "4.0.1", "type": "refresh", "afi": ""ipv6"" }\n')
        exabgp.says(b'{ "exabgp": "4.0.1", "type": "refresh", "afi": "ipv4"\n', UP)
        assert await exabgp.told(1) == [Neighbor(PEER, "up")]
        assert exabgp.pipe.counters.repaired == 1
        assert exabgp.pipe.counters.events == 2
        assert exabgp.pipe.counters.quarantined == 1
        assert "ipv4" in exabgp.pipe.last_quarantined
        assert exabgp.pipe.waiting == 1
        exabgp.says(DONE)
        assert (await exabgp.told(2))[1] == Answer(1, Outcome.DONE)

    run(play)


def test_without_an_answer_a_command_times_out():
    async def play(exabgp):
        exabgp.pipe.send(announce(7))
        (answer,) = await exabgp.told(1)
        assert (answer.command, answer.outcome) == (7, Outcome.TIMEOUT)
        assert "0.05 s" in answer.text
        assert exabgp.pipe.waiting == 0
        assert exabgp.pipe.counters.expired == 1

    run(play, ack_timeout=0.05)


def test_a_late_answer_is_not_the_next_commands_while_another_is_under_way():
    async def play(exabgp):
        exabgp.pipe.ack_timeout = 0.05
        exabgp.pipe.send(announce(1))
        exabgp.pipe.ack_timeout = PATIENCE
        exabgp.pipe.send(announce(2))
        assert (await exabgp.told(1))[0].outcome is Outcome.TIMEOUT
        exabgp.says(ERROR, DONE)
        await exabgp.told(2)
        assert exabgp.delivered[1:] == [Answer(2, Outcome.DONE)]
        assert exabgp.pipe.counters.unmatched == 0

    run(play)


def test_a_late_answer_is_not_that_of_a_command_sent_after_all_others_timed_out():
    """ExaBGP stalls for longer than the deadline (a reload, another process that does not read), then answers all."""

    async def play(exabgp):
        exabgp.pipe.ack_timeout = 0.05
        exabgp.pipe.send(announce(1))
        exabgp.pipe.send(announce(2))
        await exabgp.told(2)
        exabgp.pipe.ack_timeout = PATIENCE
        exabgp.pipe.send(withdraw(3))
        exabgp.says(ERROR, ERROR, DONE)
        await exabgp.told(3)
        assert exabgp.delivered[2:] == [Answer(3, Outcome.DONE)]
        assert exabgp.pipe.counters.unmatched == 0

    run(play)


def test_an_answer_that_never_comes_is_given_up_in_the_end(monkeypatch):
    monkeypatch.setattr(pipe, "LATE_ANSWER", 0.0)

    async def play(exabgp):
        exabgp.pipe.ack_timeout = 0.05
        exabgp.pipe.send(announce(1))
        await exabgp.told(1)
        exabgp.pipe.ack_timeout = PATIENCE
        exabgp.pipe.send(announce(2))
        exabgp.says(DONE)
        assert (await exabgp.told(2))[1] == Answer(2, Outcome.DONE)

    run(play)


def test_commands_without_any_answer_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(pipe, "LATE_ANSWER", 0.0)

    async def play(exabgp):
        for command in range(50):
            exabgp.pipe.send(announce(command))
            await exabgp.told(command + 1)
        assert [answer.outcome for answer in exabgp.delivered] == [Outcome.TIMEOUT] * 50
        assert len(exabgp.pipe._ledger) <= 1

    run(play, ack_timeout=0.002)


def test_where_exabgp_was_told_not_to_answer_no_answer_is_missed():
    async def play(exabgp):
        for command in range(10):
            exabgp.pipe.send(announce(command))
        assert len(await exabgp.reads_lines(10)) == 10
        assert exabgp.pipe.waiting == 0
        assert await exabgp.pipe.drained(PATIENCE)
        exabgp.says(UP)
        assert await exabgp.told(1) == [Neighbor(PEER, "up")]
        await asyncio.sleep(0.05)
        assert exabgp.delivered == [Neighbor(PEER, "up")]

    run(play, answers=False, ack_timeout=0.01)


def test_drained_is_false_where_an_answer_is_missing():
    async def play(exabgp):
        exabgp.pipe.send(announce(1))
        assert await exabgp.pipe.drained(0.05) is False
        assert exabgp.pipe.waiting == 1
        exabgp.says(DONE)
        assert await exabgp.pipe.drained(PATIENCE) is True

    run(play)


def test_drained_is_false_where_an_answer_did_not_come_in_time():
    async def play(exabgp):
        exabgp.pipe.send(announce(1))
        assert await exabgp.pipe.drained(PATIENCE) is False
        assert exabgp.delivered[0].outcome is Outcome.TIMEOUT

    run(play, ack_timeout=0.05)


def test_a_receiver_that_fails_keeps_nothing_back():
    """What one line made fail must not keep the next ones waiting until ExaBGP says something again."""

    async def play(exabgp):
        def deliver(seen):
            if seen == Answer(1, Outcome.DONE):
                raise ValueError("the first one fails")
            exabgp.delivered.append(seen)

        exabgp.pipe._deliver = deliver
        asyncio.get_running_loop().set_exception_handler(lambda _, context: exabgp.ended.append(str(context)))
        exabgp.pipe.send(announce(1))
        exabgp.pipe.send(announce(2))
        exabgp.says(DONE, DONE)
        assert await exabgp.told(1) == [Answer(2, Outcome.DONE)]
        assert "the first one fails" in exabgp.ended[0]

    run(play)


# --- a pipe that nobody reads ---------------------------------------------------------------------------------------


def test_a_full_pipe_does_not_hold_up_and_nothing_is_lost(no_window):
    async def play(exabgp):
        waits = exabgp.fill()
        # The loop is here again, though nobody read: what follows waits in our queue.
        for number in range(waits + 1, waits + 200):
            exabgp.pipe.send(announce(number))
        for number in range(waits + 200, waits + 300):
            exabgp.pipe.send(withdraw(number))
        assert exabgp.pipe.counters.written == waits
        lines = await exabgp.reads_lines(waits + 300)
        assert lines[:waits] == [said(announce(number)) for number in range(waits)]
        withdraws = [said(withdraw(number)) for number in range(waits + 200, waits + 300)]
        announces = [said(announce(number)) for number in range(waits, waits + 200)]
        assert lines[waits:] == withdraws + announces
        assert exabgp.pipe.waiting == exabgp.pipe.counters.written == waits + 300
        exabgp.says(DONE * (waits + 300))
        answers = await exabgp.told(waits + 300)
        # In the order in which they were written, not that in which they were sent.
        written = [*range(waits), *range(waits + 200, waits + 300), *range(waits, waits + 200)]
        assert [answer.command for answer in answers] == written
        # And what comes now goes straight out again.
        exabgp.pipe.send(withdraw(5))
        assert exabgp.reads() == [said(withdraw(5))]

    run(play)


def test_a_newer_command_for_a_prefix_overtakes_the_older(no_window):
    async def play(exabgp):
        waits = exabgp.fill()
        first = 1_000_000
        exabgp.pipe.send(announce(first, 70_000))
        exabgp.pipe.send(withdraw(first + 1, 70_000))  # overtakes the announce
        exabgp.pipe.send(withdraw(first + 2, 70_001))
        exabgp.pipe.send(announce(first + 3, 70_001))  # overtakes the withdraw
        exabgp.pipe.send(announce(first + 4, 70_002, med=1))
        exabgp.pipe.send(announce(first + 5, 70_002, med=2))  # overtakes the other attributes
        overtaken = await exabgp.told(3)
        assert [(answer.command, answer.outcome) for answer in overtaken] == [
            (first, Outcome.OVERTAKEN),
            (first + 2, Outcome.OVERTAKEN),
            (first + 4, Outcome.OVERTAKEN),
        ]
        assert all("went before it" in answer.text for answer in overtaken)
        lines = await exabgp.reads_lines(waits + 4)
        assert lines[waits:] == [
            said(withdraw(0, 70_000)),
            said(announce(waits)),
            said(announce(0, 70_001)),
            said(announce(0, 70_002, med=2)),
        ]
        # Those that were overtaken were never written, so no answer is theirs.
        exabgp.says(DONE * waits, DONE, DONE, ERROR, DONE)
        await exabgp.told(3 + waits + 4)
        assert exabgp.delivered[-4:] == [
            Answer(first + 1, Outcome.DONE),
            Answer(waits, Outcome.DONE),
            Answer(first + 3, Outcome.ERROR),
            Answer(first + 5, Outcome.DONE),
        ]
        assert exabgp.pipe.counters.unmatched == 0

    run(play)


def test_a_command_for_other_neighbours_overtakes_nothing(no_window):
    """The withdraw from those who lose the route must not give way to the announce for those who keep it."""

    async def play(exabgp):
        waits = exabgp.fill()
        exabgp.pipe.send(withdraw(1_000_000, 70_000))
        exabgp.pipe.send(announce(1_000_001, 70_000, neighbors=(PEER,)))
        lines = await exabgp.reads_lines(waits + 3)
        assert lines[waits:] == [
            said(withdraw(0, 70_000)),
            said(announce(waits)),
            said(announce(0, 70_000, neighbors=(PEER,))),
        ]

    run(play)


def test_a_newer_command_for_a_watchdog_overtakes_the_older_and_no_other(no_window):
    async def play(exabgp):
        waits = exabgp.fill()
        dns, web = Watchdog("dns"), Watchdog("web")
        first = 1_000_000
        exabgp.pipe.send(Announce(first, "dns", dns))
        exabgp.pipe.send(Announce(first + 1, "web", web))
        exabgp.pipe.send(Withdraw(first + 2, "dns", dns))  # overtakes the announce
        (overtaken,) = await exabgp.told(1)
        assert (overtaken.command, overtaken.outcome) == (first, Outcome.OVERTAKEN)
        lines = await exabgp.reads_lines(waits + 3)
        assert lines[waits:] == [
            b"withdraw watchdog dns\n",
            said(announce(waits)),
            b"announce watchdog web\n",
        ]

    run(play)


def test_written_waits_for_what_was_not_taken_yet_and_not_for_answers(no_window):
    async def play(exabgp):
        exabgp.fill()
        assert not await exabgp.pipe.written(0.05)
        while not await exabgp.pipe.written(0.05):
            exabgp.reads()
        assert exabgp.pipe.waiting

    run(play)


def test_thousands_without_an_answer_are_given_up_in_turns(monkeypatch):
    monkeypatch.setattr(pipe, "EXPIRED_SLICE", 10)
    turns = []

    async def play(exabgp):
        loop = asyncio.get_running_loop()

        def turn() -> None:
            turns.append(len(exabgp.delivered))
            if len(exabgp.delivered) < 100:
                loop.call_soon(turn)

        for number in range(100):
            exabgp.pipe.send(announce(number))
        turn()
        await exabgp.told(100)
        # A turn of the loop may have a slice of its own and one that a timer brings.
        assert all(later - before <= 20 for before, later in itertools.pairwise(turns))

    run(play, ack_timeout=0.05)


def test_lines_stay_whole_where_only_a_part_was_written():
    async def play(exabgp):
        # Above PIPE_BUF a write may be cut anywhere, also with other commands behind it.
        long = [announce(number, communities=("65000:1",) * 2_200) for number in range(12)]
        for command in long:
            exabgp.pipe.send(command)
        exabgp.pipe.send(withdraw(100))
        assert exabgp.pipe._rest, "no line was cut: the test proves nothing"
        whole, parts = b"", 0

        def read_a_little() -> bool:
            nonlocal whole, parts
            with contextlib.suppress(BlockingIOError):
                whole += os.read(exabgp.their_in, 3_333)
                parts += 1
            return whole.count(b"\n") == 13

        await exabgp.until(read_a_little, "13 lines")
        lines = whole.splitlines(keepends=True)
        assert parts > 13
        assert sorted(lines) == sorted([*(said(command) for command in long), said(withdraw(100))])
        written = [line for line in lines if b"announce" in line]
        assert written == [said(command) for command in long]
        # The withdraw waited for the begun line alone.
        assert lines.index(said(withdraw(100))) <= 65_536 // len(lines[0]) + 1
        assert exabgp.pipe.counters.written == 13

    run(play)


def test_a_command_that_is_refused_changes_nothing():
    async def play(exabgp):
        with pytest.raises(SpeakerError):
            exabgp.pipe.send(announce(1, communities=("65000:1[json]",)))
        assert exabgp.reads() == []
        assert exabgp.pipe.waiting == exabgp.pipe.counters.written == 0
        assert exabgp.pipe.open

    run(play)


# --- announces wait in a window -------------------------------------------------------------------------------------


def test_so_many_announces_are_unanswered_and_a_withdraw_passes_the_rest():
    async def play(exabgp):
        for number in range(300):
            exabgp.pipe.send(announce(number))
        assert len(exabgp.reads()) == pipe.WINDOW == 128
        assert exabgp.pipe.waiting == 300
        exabgp.pipe.send(withdraw(1_000))
        # No turn of the loop was needed.
        assert exabgp.reads() == [said(withdraw(1_000))]
        exabgp.says(DONE * 28)
        assert await exabgp.reads_lines(28) == [said(announce(number)) for number in range(128, 156)]
        await exabgp.told(28)
        exabgp.says(DONE * 101)
        assert await exabgp.reads_lines(100) == [said(announce(number)) for number in range(156, 256)]
        assert (await exabgp.told(129))[128] == Answer(1_000, Outcome.DONE)
        while exabgp.pipe.waiting:
            exabgp.says(DONE)
            await asyncio.sleep(0)
        await exabgp.told(301)
        assert [answer.command for answer in exabgp.delivered] == [*range(128), 1_000, *range(128, 300)]
        assert {answer.outcome for answer in exabgp.delivered} == {Outcome.DONE}
        assert exabgp.pipe.counters.answered == exabgp.pipe.counters.written == 301

    run(play)


def test_a_withdraw_takes_out_the_announce_that_waits():
    async def play(exabgp):
        for number in range(130):
            exabgp.pipe.send(announce(number))
        exabgp.pipe.send(announce(130, 1_000, neighbors=(PEER,)))
        exabgp.pipe.send(withdraw(131, 128))  # the same target
        exabgp.pipe.send(withdraw(132, 1_000))  # all neighbours, among them that one
        exabgp.reads()
        assert [(answer.command, answer.outcome) for answer in await exabgp.told(2)] == [
            (128, Outcome.OVERTAKEN),
            (130, Outcome.OVERTAKEN),
        ]
        assert exabgp.pipe.counters.overtaken == 2
        exabgp.says(DONE * 130)
        assert await exabgp.reads_lines(1) == [said(announce(129))]
        await exabgp.told(132)
        assert exabgp.pipe.waiting == 1

    run(play)


def test_a_newer_word_overtakes_the_announce_that_waits():
    async def play(exabgp):
        for number in range(130):
            exabgp.pipe.send(announce(number))
        exabgp.pipe.send(announce(130, 128, med=5))
        assert (await exabgp.told(1))[0].command == 128
        exabgp.says(DONE * 128)
        lines = await exabgp.reads_lines(130)
        assert lines[128:] == [said(announce(129)), said(announce(0, 128, med=5))]

    run(play)


def test_those_without_an_answer_count_for_a_stalled_exabgp_has_them_yet(monkeypatch):
    monkeypatch.setattr(pipe, "WINDOW", 3)

    async def play(exabgp):
        for number in range(5):
            exabgp.pipe.send(announce(number))
        assert [answer.command for answer in await exabgp.told(3)] == [0, 1, 2]
        exabgp.pipe.ack_timeout = PATIENCE
        assert len(exabgp.reads()) == 3
        assert exabgp.pipe.waiting == 2
        # It goes on: the answers are those of the first three, and make room.
        exabgp.says(DONE * 2)
        assert await exabgp.reads_lines(2) == [said(announce(3)), said(announce(4))]
        exabgp.says(DONE, ERROR, DONE)
        assert (await exabgp.told(5))[3:] == [Answer(3, Outcome.ERROR), Answer(4, Outcome.DONE)]

    run(play, ack_timeout=0.05)


def test_answers_that_never_come_do_not_hold_the_rest_back_for_ever(monkeypatch):
    monkeypatch.setattr(pipe, "WINDOW", 3)
    monkeypatch.setattr(pipe, "LATE_ANSWER", 0.1)

    async def play(exabgp):
        for number in range(5):
            exabgp.pipe.send(announce(number))
        await exabgp.told(3)
        exabgp.pipe.ack_timeout = PATIENCE
        # Nothing else happens here: the clock alone writes them.
        assert len(await exabgp.reads_lines(5)) == 5
        exabgp.says(DONE * 2)
        assert (await exabgp.told(5))[3:] == [Answer(3, Outcome.DONE), Answer(4, Outcome.DONE)]

    run(play, ack_timeout=0.05)


def test_a_full_queue_says_so_and_counts(monkeypatch, no_window):
    monkeypatch.setattr(backlog, "LONGEST", 2)

    async def play(exabgp):
        waits = exabgp.fill()
        exabgp.pipe.send(announce(1_000_000))
        exabgp.pipe.send(announce(1_000_001))
        exabgp.pipe.send(announce(1_000_002, waits, med=7))  # a newer word for what waits
        for number in range(1_000_003, 1_000_006):
            exabgp.pipe.send(withdraw(number))
        answers = await exabgp.told(3)
        assert [(answer.command, answer.outcome) for answer in answers] == [
            (1_000_001, Outcome.TIMEOUT),
            (waits, Outcome.OVERTAKEN),
            (1_000_005, Outcome.TIMEOUT),
        ]
        assert ["queue full" in answer.text for answer in answers] == [True, False, True]
        assert exabgp.pipe.counters.overflowed == 2
        assert (await exabgp.reads_lines(waits + 4))[waits:] == [
            said(withdraw(1_000_003)),
            said(withdraw(1_000_004)),
            said(announce(1_000_000)),
            said(announce(0, waits, med=7)),
        ]

    run(play)


def test_what_waited_is_held_against_what_is_known_when_it_is_written(monkeypatch):
    monkeypatch.setattr(pipe, "WINDOW", 1)

    async def play(exabgp):
        lines = {1: b"one\n", 2: b"two\n", 3: b"three\n"}
        monkeypatch.setattr(pipe.dialect, "line", lambda command, speech: lines[command.command])
        for number in lines:
            exabgp.pipe.send(announce(number))

        def newer(command, speech) -> bytes:
            assert speech is exabgp.pipe.speech
            if command.command == 2:
                raise SpeakerError("nobody can carry it now")
            return b"drei\n"

        monkeypatch.setattr(pipe.dialect, "line", newer)
        exabgp.pipe.speech = Speech(Dialect.V4, PEERS)
        exabgp.says(DONE)
        assert await exabgp.told(2) == [
            Answer(1, Outcome.DONE),
            Answer(2, Outcome.ERROR, "nobody can carry it now"),
        ]
        assert exabgp.reads() == [b"one\n", b"drei\n"]

    run(play)


# --- announces that are held ------------------------------------------------------------------------------------------


def test_an_announce_that_may_not_be_said_yet_is_held_until_it_may():
    async def play(exabgp):
        exabgp.pipe.speech = Speech()
        exabgp.pipe.send(announce(1))
        exabgp.pipe.send(announce(2, next_hop=ip_address("192.0.2.1")))  # may go to anybody
        exabgp.pipe.send(withdraw(3))
        exabgp.pipe.send(announce(4, 1, neighbors=(PEER,)))  # after the one for all of them
        assert exabgp.reads() == [said(announce(2, next_hop=ip_address("192.0.2.1"))), said(withdraw(3))]
        exabgp.pipe.speech = SPEECH
        assert exabgp.reads() == [said(announce(1)), said(announce(4, 1, neighbors=(PEER,)))]
        exabgp.says(DONE * 4)
        assert [answer.command for answer in await exabgp.told(4)] == [2, 3, 1, 4]

    run(play)


def test_a_withdraw_takes_out_what_is_held():
    async def play(exabgp):
        exabgp.pipe.speech = Speech()
        exabgp.pipe.send(announce(1))
        exabgp.pipe.send(withdraw(2, 1))
        assert [(answer.command, answer.outcome) for answer in await exabgp.told(1)] == [(1, Outcome.OVERTAKEN)]
        exabgp.pipe.speech = SPEECH
        assert exabgp.reads() == [said(withdraw(0, 1))]

    run(play)


def test_what_is_held_too_long_is_refused_with_the_reason():
    async def play(exabgp):
        exabgp.pipe.speech = Speech()
        exabgp.pipe.send(announce(1))
        (answer,) = await exabgp.told(1)
        assert (answer.command, answer.outcome) == (1, Outcome.ERROR)
        assert "no neighbours yet" in answer.text
        assert exabgp.pipe.waiting == 0

    run(play, ack_timeout=0.05)


# --- secrets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", [b'md5-password "hidden";', b'{ "md5-password": "hidden" }', b"MD5-PASSWORD hidden", b"password hidden"]
)
def test_a_password_that_exabgp_shows_is_kept_nowhere(line):
    async def play(exabgp):
        exabgp.says(line + b"\n")
        await exabgp.until(lambda: exabgp.pipe.last_quarantined, "the line")
        assert "hidden" not in exabgp.pipe.last_quarantined
        exabgp.pipe.send(withdraw(1))
        exabgp.says(line + b"\n", ERROR)
        (answer,) = await exabgp.told(1)
        assert answer.text == ""
        replies = ask(exabgp)
        exabgp.says(line + b"\n", DONE)
        reply = await replied(exabgp, replies)
        assert reply.lines == (line.decode(),)
        assert "hidden" not in repr(reply)
        assert exabgp.stored == []

    run(play)


# --- questions ------------------------------------------------------------------------------------------------------

QUESTION = b"show neighbor configuration\n"


def ask(exabgp, line: bytes = QUESTION, timeout: float = PATIENCE, **how) -> list[Reply]:
    """Asks; the list gets the reply."""
    replies: list[Reply] = []
    exabgp.pipe.ask(line, replies.append, timeout, **how)
    return replies


async def replied(exabgp, replies: list[Reply]) -> Reply:
    await exabgp.until(lambda: replies, "the reply")
    (reply,) = replies
    return reply


def test_a_question_gets_its_lines_across_events_and_commands():
    async def play(exabgp):
        exabgp.pipe.send(withdraw(1))
        exabgp.says(DONE)
        await exabgp.told(1)
        replies = ask(exabgp)
        exabgp.pipe.send(withdraw(2))
        assert await exabgp.reads_lines(3) == [said(withdraw(1)), QUESTION, said(withdraw(2))]
        exabgp.says(b"neighbor 127.0.0.2 {\n", UP, b'\tlocal-as 1; # "done"\n', update("send"), b"}\n", DONE, ERROR)
        reply = await replied(exabgp, replies)
        assert reply == Reply(Outcome.DONE, ("neighbor 127.0.0.2 {", 'local-as 1; # "done"', "}"), True, 1)
        assert (await exabgp.told(4))[1:] == [
            Neighbor(PEER, "up"),
            Advertised(PEER, ip_network("203.0.113.1/32"), announced=True),
            Answer(2, Outcome.ERROR),
        ]
        assert exabgp.pipe.counters.body == 3
        assert exabgp.pipe.counters.unmatched == 0

    run(play)


def test_a_question_that_is_refused_and_one_with_nothing_to_tell():
    async def play(exabgp):
        refused, empty = ask(exabgp), ask(exabgp)
        exabgp.says(ERROR)
        assert await replied(exabgp, refused) == Reply(Outcome.ERROR, (), True, 0)
        exabgp.says(DONE)
        assert await replied(exabgp, empty) == Reply(Outcome.DONE, (), True, 0)

    run(play)


def test_a_question_waits_for_all_commands_and_one_is_asked_at_a_time():
    async def play(exabgp):
        for number in range(1, 201):
            exabgp.pipe.send(announce(number))
        first, second = ask(exabgp, b"first\n"), ask(exabgp, b"second\n")
        exabgp.says(DONE * 127)
        lines = await exabgp.reads_lines(200)
        await exabgp.told(127)
        exabgp.pipe.send(withdraw(1_000))
        exabgp.says(DONE * 73)
        await exabgp.told(200)
        assert [*lines, *exabgp.reads()][200:] == [said(withdraw(1_000))]
        exabgp.says(DONE)
        assert await exabgp.reads_lines(1) == [b"first\n"]
        exabgp.says(b"a line\n", DONE)
        # A command that came meanwhile is answered before the next is asked.
        exabgp.pipe.send(announce(1_001))
        assert (await replied(exabgp, first)).after == 1_000
        assert exabgp.reads() == [said(announce(1_001))]
        assert not second
        exabgp.says(DONE)
        assert await exabgp.reads_lines(1) == [b"second\n"]
        exabgp.says(DONE)
        assert (await replied(exabgp, second)).after == 1_001

    run(play)


def test_a_withdraw_does_not_wait_for_questions_that_wait():
    async def play(exabgp):
        for _ in range(pipe.QUESTIONS + 1):  # one of them is under way
            ask(exabgp)
        exabgp.pipe.send(withdraw(1))
        assert exabgp.reads() == [QUESTION, said(withdraw(1))]

    run(play)


def test_questions_are_bounded():
    async def play(exabgp):
        replies = [ask(exabgp) for _ in range(pipe.QUESTIONS + 3)]
        await exabgp.until(lambda: replies[-1], "the refusal")
        assert replies[-1] == replies[-2] == [Reply(Outcome.TIMEOUT, (), False, 0)]
        assert not any(replies[:-2])
        assert exabgp.pipe.counters.overflowed == 2

    run(play)


def test_a_question_that_never_has_its_turn_is_given_up(monkeypatch):
    monkeypatch.setattr(pipe, "QUESTION_PATIENCE", 0.1)

    async def play(exabgp):
        exabgp.pipe.send(announce(1))
        replies = ask(exabgp)
        assert await replied(exabgp, replies) == Reply(Outcome.TIMEOUT, (), False, 0)
        exabgp.says(DONE)
        await exabgp.told(1)
        assert exabgp.reads() == [said(announce(1))]

    run(play)


def test_a_late_answer_to_a_question_is_not_the_next_ones():
    async def play(exabgp):
        first = ask(exabgp, b"first\n", 0.05)
        second = ask(exabgp, b"second\n")
        assert await replied(exabgp, first) == Reply(Outcome.TIMEOUT, (), False, 0)
        # Not asked while lines may come that are the first one's; commands are not held up.
        exabgp.pipe.send(withdraw(1))
        assert exabgp.reads() == [b"first\n", said(withdraw(1))]
        exabgp.says(b"of the first\n", DONE, DONE)
        assert await exabgp.told(1) == [Answer(1, Outcome.DONE)]
        assert await exabgp.reads_lines(1) == [b"second\n"]
        exabgp.says(b"of the second\n", DONE)
        assert await replied(exabgp, second) == Reply(Outcome.DONE, ("of the second",), True, 1)

    run(play)


def test_a_body_that_stops_without_its_end_is_given_up_and_nothing_shifts():
    async def play(exabgp):
        exabgp.pipe.send(withdraw(1))
        exabgp.says(DONE)
        await exabgp.told(1)
        first = ask(exabgp, timeout=0.7)
        exabgp.says(b"a line\n")
        assert await replied(exabgp, first) == Reply(Outcome.TIMEOUT, ("a line",), False, 1)
        assert exabgp.pipe.answers
        exabgp.pipe.send(withdraw(2))
        exabgp.says(DONE, ERROR)
        assert (await exabgp.told(2))[1] == Answer(2, Outcome.ERROR)

    run(play)


def test_lost_answers_are_found_out_by_a_question():
    """ExaBGP forgot what it had to do: without this each later answer would go to an older command."""

    async def play(exabgp):
        lost = []
        exabgp.pipe.answers_lost = lambda: lost.append(1)
        for number in range(3):
            exabgp.pipe.send(announce(number))
        await exabgp.told(3)
        assert lost
        exabgp.pipe.ack_timeout = PATIENCE
        replies = ask(exabgp)
        exabgp.pipe.send(announce(3))
        exabgp.says(b"neighbor 127.0.0.2 {\n", b"}\n", DONE, DONE)
        assert (await replied(exabgp, replies)).complete
        assert (await exabgp.told(4))[3] == Answer(3, Outcome.DONE)
        assert exabgp.pipe.counters.unmatched == 0

    run(play, ack_timeout=0.05)


def test_what_is_answered_at_once_does_not_show_that():
    """ExaBGP stalled with commands in its hands, and answers `version` before them."""

    async def play(exabgp):
        exabgp.pipe.send(announce(1))
        await exabgp.told(1)
        exabgp.pipe.ack_timeout = PATIENCE
        replies = ask(exabgp, b"version\n", in_turn=False)
        exabgp.pipe.send(withdraw(2))
        exabgp.says(b"exabgp 5.0.15\n", DONE, DONE, ERROR)
        assert await replied(exabgp, replies) == Reply(Outcome.DONE, ("exabgp 5.0.15",), True, 1)
        assert (await exabgp.told(2))[1] == Answer(2, Outcome.ERROR)

    run(play, ack_timeout=0.05)


def test_why_a_command_was_refused_is_no_part_of_a_question():
    """ExaBGP 6 says it in a line of its own, and late."""

    async def play(exabgp):
        exabgp.pipe.send(announce(1))
        await exabgp.told(1)
        replies = ask(exabgp)
        exabgp.says(b"error: no such route\n", ERROR, b"a line\n", DONE)
        assert await replied(exabgp, replies) == Reply(Outcome.DONE, ("a line",), True, 1)

    run(play, ack_timeout=0.05)


@pytest.mark.parametrize("lost", ["missed", "overlong"])
def test_a_body_of_which_lines_were_dropped_is_not_complete(monkeypatch, lost):
    monkeypatch.setattr(pipe, "CONTROL_LINES", 10)
    monkeypatch.setattr(pipe, "LONGEST_LINE", 1_000)

    async def play(exabgp):
        replies = ask(exabgp)
        lines = [b"line\n"] * 30 if lost == "missed" else [b"line\n", b"x" * 1_500]
        exabgp.says(*lines)
        deadline = time.monotonic() + PATIENCE
        while not getattr(exabgp.pipe.counters, lost) and time.monotonic() < deadline:
            time.sleep(0.005)  # noqa: ASYNC251 - the loop must not take what is to be dropped
        exabgp.says(b"\n", DONE)
        reply = await replied(exabgp, replies)
        assert reply.outcome is Outcome.DONE
        assert reply.lines == ("line",) * (10 if lost == "missed" else 1)
        assert not reply.complete

    run(play)


def test_the_end_answers_questions_too():
    async def play(exabgp):
        under_way, waits = ask(exabgp), ask(exabgp)
        os.close(exabgp.their_out)
        assert await replied(exabgp, under_way) == Reply(Outcome.TIMEOUT, (), False, 0)
        assert await replied(exabgp, waits) == Reply(Outcome.TIMEOUT, (), False, 0)
        assert await replied(exabgp, ask(exabgp)) == Reply(Outcome.TIMEOUT, (), False, 0)
        assert exabgp.pipe.counters.overflowed == 0

    run(play)


# --- an ExaBGP that does not answer ---------------------------------------------------------------------------------


@pytest.fixture
def brief_silence(monkeypatch):
    monkeypatch.setattr(pipe, "SILENCE", 0.1)


def test_where_answers_are_off_silence_ends_an_answer(brief_silence):
    async def play(exabgp):
        first, second = ask(exabgp, b"first\n"), ask(exabgp, b"second\n", timeout=0.1)
        assert await exabgp.reads_lines(1) == [b"first\n"]
        exabgp.says(b"one\n", UP, b"two\n")
        assert await replied(exabgp, first) == Reply(Outcome.DONE, ("one", "two"), False, 0)
        assert await exabgp.reads_lines(1) == [b"second\n"]
        assert await replied(exabgp, second) == Reply(Outcome.TIMEOUT, (), False, 0)
        exabgp.pipe.send(announce(1))
        assert exabgp.pipe.waiting == 0
        assert exabgp.reads() == [said(announce(1))]

    run(play, answers=False)


def find_out(exabgp) -> list[bool]:
    """What the pipe tells of answers."""
    told: list[bool] = []
    exabgp.pipe.answers_changed = told.append
    return told


def test_that_answers_are_off_is_found_out_and_said_once(brief_silence, caplog):
    async def play(exabgp):
        told = find_out(exabgp)
        first = ask(exabgp, timeout=0.7)
        for number in range(300):
            exabgp.pipe.send(announce(number))
        exabgp.says(b"exabgp 5.0.15\n")
        assert await replied(exabgp, first) == Reply(Outcome.DONE, ("exabgp 5.0.15",), False, 0)
        assert told == [False]
        assert not exabgp.pipe.answers
        # No command waits for an answer now, nor another for its place.
        assert len(await exabgp.reads_lines(301)) == 301
        for number in range(300, 600):
            exabgp.pipe.send(announce(number))
        assert len(await exabgp.reads_lines(300)) == 300
        assert exabgp.pipe.waiting == 0
        again = ask(exabgp)
        exabgp.says(b"a line\n")
        assert (await replied(exabgp, again)).lines == ("a line",)
        assert exabgp.delivered == []
        assert told == [False]

    run(play, ack_timeout=PATIENCE)
    assert caplog.text.count("does not answer commands") == 1


def test_a_question_without_a_body_says_nothing_of_answers():
    async def play(exabgp):
        assert (await replied(exabgp, ask(exabgp, timeout=0.05))).outcome is Outcome.TIMEOUT
        assert exabgp.pipe.answers

    run(play)


def test_a_single_end_that_is_lost_says_nothing_but_a_second_does(brief_silence, monkeypatch):
    monkeypatch.setattr(pipe, "LATE_ANSWER", 0.05)

    async def play(exabgp):
        exabgp.pipe.send(withdraw(1))
        exabgp.says(DONE)
        await exabgp.told(1)
        for answers in (True, False):
            replies = ask(exabgp, timeout=0.7)
            await exabgp.until(exabgp.reads, "the question")
            exabgp.says(b"a line\n")
            assert (await replied(exabgp, replies)).lines == ("a line",)
            assert exabgp.pipe.answers is answers

    run(play)


def test_answers_that_come_after_all_are_those_of_their_commands(brief_silence):
    """ExaBGP only stalled in the middle of an answer, for longer than anybody waits."""

    async def play(exabgp):
        told = find_out(exabgp)
        replies = ask(exabgp, timeout=0.7)
        exabgp.says(b"a line\n")
        await replied(exabgp, replies)
        exabgp.pipe.send(announce(1))
        exabgp.pipe.send(announce(2))
        exabgp.says(DONE)
        await exabgp.until(lambda: exabgp.pipe.answers, "the answers")
        exabgp.pipe.send(announce(3))
        exabgp.says(ERROR, ERROR, DONE)
        assert await exabgp.told(1) == [Answer(3, Outcome.DONE)]
        assert told == [False, True]
        assert exabgp.pipe.counters.unmatched == 0

    run(play)


# --- the end --------------------------------------------------------------------------------------------------------


def test_a_closed_stdout_ends_once():
    async def play(exabgp):
        os.close(exabgp.their_in)
        for command in (1, 2):
            with pytest.raises(SpeakerError, match="closed"):
                exabgp.pipe.send(announce(command))
        assert len(exabgp.ended) == 1
        assert not exabgp.pipe.open
        # What ExaBGP still says is read all the same: it would freeze on a pipe that fills up.
        await asyncio.to_thread(exabgp.says, *[update("receive")] * 1_000)
        await exabgp.until(lambda: exabgp.pipe.counters.read == 1_000, "draining")
        os.close(exabgp.their_out)
        await asyncio.to_thread(exabgp.pipe._thread.join, PATIENCE)
        await asyncio.sleep(0)
        assert len(exabgp.ended) == 1

    run(play)


def test_a_stdout_closed_while_commands_wait_ends_once(no_window):
    async def play(exabgp):
        waits = exabgp.fill()
        os.close(exabgp.their_in)
        await exabgp.until(lambda: exabgp.ended, "the end")
        with pytest.raises(SpeakerError):
            exabgp.pipe.send(withdraw(waits + 1))
        assert len(exabgp.ended) == 1
        assert await exabgp.pipe.drained(PATIENCE) is False

    run(play)


def test_a_closed_stdin_ends_once_and_after_what_came_before():
    async def play(exabgp):
        exabgp.pipe.send(announce(1))
        exabgp.says(DONE, UP)
        os.close(exabgp.their_out)
        await exabgp.until(lambda: exabgp.ended, "the end")
        assert exabgp.delivered == [Answer(1, Outcome.DONE), Neighbor(PEER, "up")]
        with pytest.raises(SpeakerError):
            exabgp.pipe.send(announce(2))
        os.close(exabgp.their_in)
        assert len(exabgp.ended) == 1
        assert not exabgp.pipe.open

    run(play)


def test_a_shutdown_message_ends_once():
    async def play(exabgp):
        exabgp.says(SHUTDOWN, SHUTDOWN)
        os.close(exabgp.their_out)
        await exabgp.until(lambda: exabgp.ended, "the end")
        await asyncio.to_thread(exabgp.pipe._thread.join, PATIENCE)
        await asyncio.sleep(0)
        with pytest.raises(SpeakerError):
            exabgp.pipe.send(withdraw(1))
        assert exabgp.ended == ["ExaBGP is shutting down"]
        assert exabgp.reads() == []
        assert SHUTDOWN.rstrip() in exabgp.stored

    run(play)


def test_an_empty_stdin_that_is_no_pipe_is_not_exabgps_end(tmp_path):
    """At a terminal, under a service manager: nobody is there to go away."""

    async def main():
        empty = os.open("/dev/null", os.O_RDONLY)
        out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
        ended: list[str] = []
        one = Pipe(empty, out, deliver=ended.append, store=lambda *_: 0, ended=ended.append, answers=False)
        one.speech = SPEECH
        try:
            one.start(asyncio.get_running_loop())
            await asyncio.to_thread(one._thread.join, PATIENCE)
            await asyncio.sleep(0)
            one.send(withdraw(1))
            assert one.open
            assert ended == []
        finally:
            one.close()
        assert (tmp_path / "out").read_bytes() == said(withdraw(1))

    asyncio.run(main())


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone, as they are


def test_close_leaves_no_descriptor_and_no_thread():
    async def once() -> None:
        exabgp = ExaBGP()
        with closing(exabgp):
            exabgp.pipe.start(asyncio.get_running_loop())
            exabgp.pipe.send(announce(1))
            exabgp.says(DONE)
            await exabgp.told(1)
            thread = exabgp.pipe._thread
            exabgp.pipe.close()
            assert not thread.is_alive()
            assert not any(one is thread for one in threading.enumerate())

    async def main() -> None:
        before = descriptors()
        for _ in range(20):
            await once()
        assert descriptors() == before

    asyncio.run(main())


def test_close_while_commands_wait_leaves_nothing_either(no_window):
    async def main() -> None:
        before = descriptors()
        with closing(ExaBGP()) as exabgp:
            exabgp.pipe.start(asyncio.get_running_loop())
            exabgp.fill()
        assert descriptors() == before
        assert not exabgp.pipe._thread.is_alive()
        assert not exabgp.ended
        with pytest.raises(SpeakerError):
            exabgp.pipe.send(announce(1))

    asyncio.run(main())


def test_a_second_close_closes_nobody_elses_descriptors():
    async def main() -> None:
        with closing(ExaBGP()) as exabgp:
            exabgp.pipe.start(asyncio.get_running_loop())
            exabgp.pipe.close()
            others = [os.pipe() for _ in range(4)]  # they get the numbers that are free now
            exabgp.pipe.close()
            for ends in others:
                for descriptor in ends:
                    os.fstat(descriptor)
                    os.close(descriptor)

    asyncio.run(main())


def test_close_without_start_and_after_the_loop():
    before = descriptors()
    with closing(ExaBGP()):
        pass
    exabgp = ExaBGP()

    async def main() -> None:
        exabgp.pipe.start(asyncio.get_running_loop())

    with closing(exabgp):
        asyncio.run(main())
        exabgp.says(UP)  # the loop is closed: nobody takes it, nobody is hurt
    assert descriptors() == before


# --- reading --------------------------------------------------------------------------------------------------------


def sleeps(wrote: threading.Event) -> None:
    deadline = time.monotonic() + PATIENCE
    while not wrote.is_set() and time.monotonic() < deadline:
        time.sleep(0.01)


def spins(wrote: threading.Event) -> None:
    deadline = time.monotonic() + PATIENCE
    while not wrote.is_set() and time.monotonic() < deadline:
        pass


def is_debugged(wrote: threading.Event) -> None:
    """As a debugger's prompt does: it waits for somebody to type."""
    prompt, keyboard = os.pipe()
    typist = threading.Thread(target=lambda: (wrote.wait(PATIENCE), os.write(keyboard, b"c\n")), daemon=True)
    typist.start()
    os.read(prompt, 10)
    typist.join()
    os.close(prompt)
    os.close(keyboard)


@pytest.mark.parametrize("hold", [sleeps, spins, is_debugged])
def test_stdin_is_drained_whatever_holds_the_loop(hold):
    batch = b"".join(update("receive", f"10.0.0.{number}/32") for number in range(250))
    batches = 10_000_000 // len(batch) + 1
    wrote = threading.Event()

    async def play(exabgp):
        def write() -> None:
            view = memoryview(batch * batches)
            while view:
                view = view[os.write(exabgp.their_out, view) :]
            wrote.set()

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        # This holds the loop's thread: no callback can run until the other side has written everything.
        hold(wrote)
        assert wrote.is_set(), "ExaBGP would be frozen"
        writer.join(PATIENCE)
        await exabgp.until(lambda: exabgp.pipe.counters.read == batches * 250, "all lines")
        assert exabgp.pipe.counters.stored == len(exabgp.stored) == batches * 250
        assert exabgp.stored[-1] == update("receive", "10.0.0.249/32").rstrip()

    run(play)


@pytest.mark.parametrize("disk", ["stalled", "never there"])
def test_stdin_is_drained_while_the_journal_cannot_write(tmp_path, disk):
    journal = Journal(tmp_path / "journal.db", "fra1", max_messages=1_000)
    other = None
    if disk == "stalled":
        journal.open()
        other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        journal.start()

    async def play(exabgp):
        exabgp.pipe._store = journal.messages
        lines = b"".join(update("receive", f"10.0.0.{number}/32") for number in range(250))
        for _ in range(20):
            await asyncio.to_thread(exabgp.says, lines)
        exabgp.pipe.send(withdraw(1))
        exabgp.says(UP, DONE)
        assert await exabgp.told(2) == [Neighbor(PEER, "up"), Answer(1, Outcome.DONE)]
        counters = exabgp.pipe.counters
        assert counters.read == 5_002
        assert counters.stored + counters.refused == 5_001
        assert counters.stored >= 1_000
        assert counters.dropped == counters.refused > 0

    try:
        run(play)
    finally:
        if other is not None:
            other.close()
        journal.stop(PATIENCE)


def test_received_updates_go_to_the_store_alone():
    async def play(exabgp):
        handled = []
        take = exabgp.pipe._take
        exabgp.pipe._take = lambda line: (handled.append(line), take(line))
        received = [update("receive", f"10.0.0.{number}/32") for number in range(100)]
        exabgp.says(*received, update("send"), UP, DONE)
        await exabgp.told(2)
        await exabgp.until(lambda: exabgp.pipe.counters.unmatched == 1, "the answer")
        assert [line + b"\n" for line in handled] == [update("send"), UP, DONE]
        # Every event is kept, no answer is.
        assert [line + b"\n" for line in exabgp.stored] == [*received, update("send"), UP]
        assert exabgp.pipe.counters.read == 103
        assert exabgp.pipe.counters.stored == 102

    run(play)


def test_what_the_store_does_not_take_is_counted():
    async def play(exabgp):
        exabgp.take = lambda _: 0
        exabgp.says(update("receive"), UP)
        await exabgp.told(1)
        assert exabgp.pipe.counters.stored == 0
        assert exabgp.pipe.counters.dropped == 2

    run(play)


def test_a_store_that_fails_does_not_stop_the_reading(caplog):
    """A reader that dies would freeze ExaBGP, and with it its BGP sessions."""

    async def play(exabgp):
        def broken(_):
            raise OSError("disk full")

        exabgp.take = broken
        exabgp.pipe.send(announce(1))
        exabgp.says(UP, DONE)
        assert await exabgp.told(2) == [Neighbor(PEER, "up"), Answer(1, Outcome.DONE)]
        assert exabgp.pipe.counters.dropped == 1
        exabgp.take = len
        exabgp.says(UP)
        await exabgp.told(3)
        assert exabgp.pipe.counters.stored == 1

    run(play)
    assert "disk full" in caplog.text


def test_beyond_the_bound_events_are_dropped_and_answers_never(monkeypatch):
    monkeypatch.setattr(pipe, "CONTROL_LINES", 10)

    async def play(exabgp):
        for command in range(50):
            exabgp.pipe.send(announce(command))
        # The loop does not run while this waits, so that nothing is taken from the queue.
        exabgp.says(UP * 30, (b"a body\n" + DONE) * 50, UP)
        deadline = time.monotonic() + PATIENCE
        while exabgp.pipe.counters.read < 131 and time.monotonic() < deadline:
            time.sleep(0.005)  # noqa: ASYNC251 - to block the loop is the point
        await exabgp.told(60)
        await asyncio.sleep(0.01)
        answers = [one for one in exabgp.delivered if isinstance(one, Answer)]
        assert answers == [Answer(command, Outcome.DONE) for command in range(50)]
        assert len(exabgp.delivered) - len(answers) == 10
        assert exabgp.pipe.counters.dropped == 21 + 50
        # They are stored all the same.
        assert exabgp.pipe.counters.stored == 31

    run(play)


def test_even_answers_are_bounded(monkeypatch):
    monkeypatch.setattr(pipe, "CONTROL_LINES", 10)
    monkeypatch.setattr(pipe, "ANSWER_LINES", 20)

    async def play(exabgp):
        exabgp.says(DONE * 50)
        deadline = time.monotonic() + PATIENCE
        while exabgp.pipe.counters.read < 50 and time.monotonic() < deadline:
            time.sleep(0.005)  # noqa: ASYNC251 - to block the loop is the point
        await exabgp.until(lambda: exabgp.pipe.counters.unmatched == 20, "those that fitted")
        assert exabgp.pipe.counters.missed == 30

    run(play)


def test_a_flood_of_events_lets_the_loop_do_other_work(monkeypatch):
    monkeypatch.setattr(pipe, "CONTROL_SLICE", 10)

    async def play(exabgp):
        turns = []
        deliver = exabgp.delivered.append

        def other_work() -> None:
            turns.append(len(exabgp.delivered))
            if len(exabgp.delivered) < 200:
                asyncio.get_running_loop().call_soon(other_work)

        exabgp.pipe._deliver = deliver
        exabgp.says(UP * 200)
        deadline = time.monotonic() + PATIENCE
        while exabgp.pipe.counters.read < 200 and time.monotonic() < deadline:
            time.sleep(0.005)  # noqa: ASYNC251 - so that all of them wait at once
        other_work()
        await exabgp.told(200)
        assert max(after - before for before, after in itertools.pairwise(turns)) <= 20

    run(play)


def test_lines_that_come_in_pieces():
    async def play(exabgp):
        for octet in UP + DONE + b"\n\n" + UP[:-1]:
            exabgp.says(bytes([octet]))
            if octet == ord("}"):
                await asyncio.sleep(0)
        await exabgp.told(1)
        await exabgp.until(lambda: exabgp.pipe.counters.unmatched == 1, "the answer")
        assert len(exabgp.delivered) == 1
        exabgp.says(b"\n")
        assert await exabgp.told(2) == [Neighbor(PEER, "up")] * 2
        assert exabgp.pipe.counters.read == 3  # empty lines are nothing

    run(play)


def test_a_line_without_end_is_dropped_and_the_next_is_read(monkeypatch):
    monkeypatch.setattr(pipe, "LONGEST_LINE", 1_000)

    async def play(exabgp):
        exabgp.pipe.send(announce(1))
        exabgp.says(UP, b"done" + b"x" * 1_500)
        await exabgp.until(lambda: exabgp.pipe.counters.dropped == 1, "the drop")
        # It goes on for longer than the bound, and ends in what would be an answer: none of it counts.
        for _ in range(3):
            exabgp.says(b"y" * 1_500)
            await asyncio.sleep(0.02)
        exabgp.says(b"done\n", ERROR, UP)
        assert await exabgp.told(3) == [Neighbor(PEER, "up"), Answer(1, Outcome.ERROR), Neighbor(PEER, "up")]
        assert exabgp.pipe.counters.dropped == 1
        assert exabgp.pipe.counters.read == 3

    run(play)


def test_bytes_that_nobody_can_read():
    async def play(exabgp):
        exabgp.pipe.send(announce(1))
        exabgp.says(b"\xff\xfe\x00\n", b'{ "answer": "\\ud800" }\n', b"{" * 50_000 + b"\n", DONE, UP)
        answer, neighbor = await exabgp.told(2)
        assert (answer.command, answer.outcome) == (1, Outcome.DONE)
        answer.text.encode("utf-8")
        assert neighbor == Neighbor(PEER, "up")

    run(play)


# --- standard input and output of a process -------------------------------------------------------------------------

CHILD = """
import os, subprocess, sys
from exabgp_bfd.speaker.pipe import driven_by_pipes, take_over_stdio

print(driven_by_pipes(), file=sys.stderr)
stdin, stdout = take_over_stdio()
print("a stray print")
sys.stdout.flush()
os.write(1, b"a stray write\\n")
subprocess.run([sys.executable, "-c", "print('a stray child')"], check=True)
print("read", repr(sys.stdin.read()), file=sys.stderr)
print("inherited", os.get_inheritable(stdin), os.get_inheritable(stdout), file=sys.stderr)
os.write(stdout, b"command\\n")
print("told", os.read(stdin, 100), file=sys.stderr)
"""


def child(program: str, **streams) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], stderr=subprocess.PIPE, timeout=60, check=False, **streams
    )


def test_a_process_keeps_its_pipes_to_itself():
    finished = child(CHILD, input=b"done\n", stdout=subprocess.PIPE)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == b"command\n"
    told = finished.stderr.decode().splitlines()
    assert told == [
        "True",
        "a stray print",
        "a stray write",
        "a stray child",
        "read ''",
        "inherited False False",
        "told b'done\\n'",
    ]


DRIVEN = "import sys; from exabgp_bfd.speaker.pipe import driven_by_pipes; sys.exit(10 + driven_by_pipes())"


def test_driven_by_pipes_only_where_both_are_pipes(tmp_path):
    with (tmp_path / "in").open("w+b") as file:
        assert child(DRIVEN, stdin=subprocess.PIPE, stdout=subprocess.PIPE).returncode == 11
        assert child(DRIVEN, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).returncode == 10
        assert child(DRIVEN, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL).returncode == 10
        assert child(DRIVEN, stdin=file, stdout=subprocess.PIPE).returncode == 10
        ours, theirs = os.openpty()
        try:
            assert child(DRIVEN, stdin=theirs, stdout=theirs).returncode == 10
        finally:
            os.close(ours)
            os.close(theirs)


def test_a_stdout_that_is_no_pipe_keeps_its_mode():
    """On a terminal O_NONBLOCK would reach every other program that writes there."""

    async def main() -> None:
        ours, theirs = os.openpty()
        stdin, their_out = os.pipe()
        one = Pipe(stdin, theirs, deliver=print, store=lambda *_: 0, ended=print)
        try:
            one.start(asyncio.get_running_loop())
            assert os.get_blocking(theirs)
        finally:
            one.close()
            os.close(ours)
            os.close(their_out)

    asyncio.run(main())


def test_the_lines_used_here_are_what_exabgp_writes():
    """Guards the tests above: each must be a whole JSON object on a line of its own."""
    for line in (UP, SHUTDOWN, update("send"), update("receive")):
        assert json.loads(line)["exabgp"] == "5.0.0"
        assert line.index(b"\n") == len(line) - 1


def test_an_announce_waits_until_the_last_word_on_its_target_has_left_exabgp(monkeypatch):
    """ExaBGP sends what it finds together in an order of its own: an announce then may be lost behind its withdraw."""
    monkeypatch.setattr(settling, "SETTLES", 0.2)
    monkeypatch.setattr(pipe, "SETTLES", 0.2)
    first, second, other = withdraw(1, 7), announce(2, 7), announce(3, 8)

    async def play(exabgp):
        for command in (first, second, other):
            exabgp.pipe.send(command)
        await asyncio.sleep(0.3)
        assert exabgp.reads() == [said(first), said(other)]
        exabgp.says(DONE, DONE)
        await exabgp.until(lambda: exabgp.pipe.waiting == 1, "its answers")
        assert exabgp.reads() == []
        lines = []
        await exabgp.until(lambda: lines.extend(exabgp.reads()) or lines, "the announce")
        assert lines == [said(second)]

    run(play)


def test_an_announce_that_waits_for_another_word_is_given_up_in_time_and_overtaken_by_a_withdraw(monkeypatch):
    async def play(exabgp):
        exabgp.pipe.send(withdraw(1, 7))
        exabgp.pipe.send(announce(2, 7))
        exabgp.pipe.send(withdraw(3, 7))
        assert exabgp.reads() == [said(withdraw(1, 7)), said(withdraw(3, 7))]
        assert (await exabgp.told(1))[0].command == 2
        monkeypatch.setattr(pipe, "SETTLES", 0.0)
        exabgp.pipe.ack_timeout = 0.05
        exabgp.pipe.send(announce(4, 7))
        await exabgp.until(lambda: any(each.command == 4 for each in exabgp.delivered), "its end")
        assert [each.outcome for each in exabgp.delivered if each.command == 4] == [Outcome.ERROR]

    run(play)
