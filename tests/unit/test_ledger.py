"""Whose an answer is, and who waited too long; pure, with a clock of the test's own."""

import math

import pytest

from exabgp_bfd.core.model import Outcome
from exabgp_bfd.speaker import ledger
from exabgp_bfd.speaker.ledger import Entry, Ledger, Question, Reply

LATE = 60.0


def command(number: int, written: float = 0.0, timeout: float = 5.0, *, announces: bool = True) -> Entry:
    return Entry(number, announces=announces, written=written, timeout=timeout)


def question(written: float = 0.0, timeout: float = 5.0, *, in_turn: bool = True) -> Entry:
    asked = Question(b"?\n", lambda _: None, timeout, in_turn, written)
    return Entry(0, announces=False, written=written, timeout=timeout, question=asked)


def filled(*entries: Entry) -> Ledger:
    book = Ledger()
    for entry in entries:
        book.add(entry)
    return book


def numbers(entries: list[Entry]) -> list[int]:
    return [entry.command for entry in entries]


def test_answers_belong_to_the_oldest():
    one, two = command(1), command(2, announces=False)
    book = filled(one, two)
    assert (book.live, book.announces, len(book)) == (2, 1, 2)
    assert book.answered(1.0) is one
    assert (book.live, book.announces) == (1, 0)
    assert book.answered(1.0) is two
    assert book.answered(1.0) is None
    assert (book.live, len(book)) == (0, 0)


def test_a_deadline_counts_from_the_writing():
    book = filled(command(1, written=0.0), command(2, written=3.0))
    assert book.due(LATE) == 5.0
    assert book.expire(4.9) == []
    assert numbers(book.expire(5.0)) == [1]
    assert book.expire(5.0) == []
    assert numbers(book.expire(8.0)) == [2]


def test_a_deadline_counts_from_the_last_answer_for_those_behind():
    """10,000 commands take ExaBGP seconds: none of them is late while it goes on."""
    book = filled(*(command(number) for number in range(100)))
    for number in range(99):
        now = 4.0 * (number + 1)
        assert book.expire(now) == []
        assert book.answered(now) is not None
        assert book.due(LATE) == now + 5.0
    assert numbers(book.expire(99 * 4.0 + 5.0)) == [99]


def test_a_stalled_exabgp_lets_all_of_them_expire_at_once():
    book = filled(*(command(number) for number in range(100)))
    book.answered(3.0)
    assert book.expire(7.9) == []
    assert numbers(book.expire(8.0)) == list(range(1, 100))
    assert book.live == 0
    assert book.announces == 99, "ExaBGP has them yet"


def test_what_was_given_up_keeps_its_place_until_it_is_forgotten():
    first, second = command(1), command(2, written=10.0)
    book = filled(first)
    book.expire(5.0)
    book.add(second)
    book.forget(4.9)
    assert book.is_next(first)
    assert book.due(LATE) == 15.0
    book.forget(5.0)
    assert book.is_next(second)
    assert book.live == book.announces == 1


def test_only_the_oldest_is_forgotten_so_that_the_order_stays():
    living, other = command(1, timeout=100.0), command(2, timeout=1.0)
    book = filled(living, other)
    assert numbers(book.expire(1.0)) == [2]
    book.forget(1000.0)
    assert len(book) == 2
    # And nobody looks again at once, for nothing would come of it.
    assert book.due(LATE) == 100.0
    assert book.answered(50.0) is living
    assert book.due(LATE) == 1.0 + LATE


def test_an_empty_book_is_never_due():
    assert Ledger().due(LATE) == math.inf


def test_a_body_shows_which_answers_will_never_come():
    lost, alive, asked = command(1), command(2, written=6.0), question(7.0)
    book = filled(lost)
    book.expire(5.0)
    book.add(alive)
    book.add(asked)
    after = command(3, written=7.5)
    book.add(after)
    assert book.body_came(8.0) == [alive], "the first is told already"
    assert book.body_came(8.0) == []
    assert book.live == 1
    assert book.answered(8.0) is asked
    assert book.question is None
    assert book.answered(8.0) is after


def test_what_is_answered_at_once_says_nothing_of_those_before():
    late, asked = command(1), question(6.0, in_turn=False)
    book = filled(late)
    book.expire(5.0)
    book.add(asked)
    assert book.body_came(7.0) == []
    assert book.answered(7.0) is asked
    assert book.answered(7.0) is late


def test_without_a_body_the_order_holds():
    late, asked = command(1), question(6.0)
    book = filled(late)
    book.expire(5.0)
    book.add(asked)
    assert book.answered(7.0) is late
    assert book.answered(7.0) is asked


def test_each_line_gives_a_question_more_time_but_not_for_ever():
    asked = question(0.0)
    book = filled(asked)
    for now in range(4, 120, 4):
        assert book.expire(float(now)) == []
        book.body_came(float(now))
    assert book.expire(119.9) == []
    assert book.expire(ledger.LONGEST_QUESTION) == [asked]
    assert book.question is asked, "its lines are still no other's"
    book.discard(asked)
    assert book.question is None
    book.discard(asked)
    assert len(book) == 0


def test_the_forgotten_are_bounded(monkeypatch):
    monkeypatch.setattr(ledger, "FORGOTTEN", 10)
    book = Ledger()
    for number in range(100):
        entry = command(number)
        entry.given_up = 0.0
        book.add(entry)
    assert len(book) == book.announces == 10
    assert book.answered(1.0).command == 90


def test_giving_all_up():
    book = filled(command(1), question(), command(2))
    book.give_up_all(1.0)
    assert book.live == 0
    assert book.expire(100.0) == []
    assert len(book) == 3


def reply(lines: list[str], *, ended: bool = True) -> Reply:
    asked = Question(b"?\n", lambda _: None, 1.0, True, 0.0, after=7)
    for line in lines:
        asked.keep(line)
    return asked.reply(Outcome.DONE, ended=ended)


@pytest.mark.parametrize(("name", "bound"), [("LONGEST_BODY", 3), ("LARGEST_BODY", 9)])
def test_a_body_that_is_too_long_is_not_complete(monkeypatch, name, bound):
    monkeypatch.setattr(ledger, name, bound)
    assert reply(["one", "two", "six"]) == Reply(Outcome.DONE, ("one", "two", "six"), complete=True, after=7)
    assert reply(["one", "two", "six", "x"]) == Reply(Outcome.DONE, ("one", "two", "six"), complete=False, after=7)
    assert not reply(["one"], ended=False).complete
