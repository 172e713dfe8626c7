"""What ExaBGP writes before there is a journal."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from exabgp_bfd.early import EarlyLines


class Journal:
    """As much of the journal as lines need."""

    def __init__(self) -> None:
        self.kept: list[tuple[list[bytes], int]] = []
        self.gaps: list[tuple[int, int, int]] = []
        self.put = lambda: None

    def messages(self, lines: Sequence[bytes], received: int) -> int:
        self.put()
        self.kept.append((list(lines), received))
        return len(lines)

    def missed(self, count: int, first: int, last: int) -> None:
        self.gaps.append((count, first, last))


@pytest.fixture
def journal() -> Journal:
    return Journal()


def test_lines_wait_for_the_journal_in_order_and_then_pass_through(journal):
    early = EarlyLines()
    assert early.take([b"1", b"2"], 10) == 2
    assert early.take([b"3"], 11) == 1
    early.hand_over(journal)
    assert early.take([b"4"], 12) == 1
    assert journal.kept == [([b"1", b"2"], 10), ([b"3"], 11), ([b"4"], 12)]
    assert journal.gaps == []


@pytest.mark.parametrize("bound", [{"most_lines": 3}, {"most_octets": 6}])
def test_what_there_is_no_room_for_is_a_gap_after_all_that_was_kept(journal, bound):
    early = EarlyLines(**bound)
    assert early.take([b"11", b"22"], 10) == 2
    assert early.take([b"33", b"44"], 11) == 0
    assert early.take([b"5"], 12) == 0, "what follows a gap is missing as well, or its order would be a lie"
    early.hand_over(journal)
    assert early.take([b"6"], 13) == 1
    assert journal.kept == [([b"11", b"22"], 10), ([b"6"], 13)]
    assert journal.gaps == [(3, 11, 12)]


def test_lines_that_come_during_the_hand_over_follow_what_came_before(journal):
    early = EarlyLines()
    early.take([b"1"], 10)

    def another() -> None:
        journal.put = lambda: None
        reader = threading.Thread(target=early.take, args=([b"2"], 11))
        reader.start()
        reader.join(10)
        assert not reader.is_alive(), "the reader waits for the hand-over"

    journal.put = another
    early.hand_over(journal)
    early.take([b"3"], 12)
    assert journal.kept == [([b"1"], 10), ([b"2"], 11), ([b"3"], 12)]
