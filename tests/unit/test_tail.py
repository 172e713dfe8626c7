"""What a copy has not yet, read from the journal: of one file, and never of two at once."""

import time
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import pytest

from exabgp_bfd.core.model import Event, StoreError
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.tail import EVENT, MESSAGE, Before, Beyond, Place, Tail, late_text, parse_late, with_late

T0 = 1_763_640_000_123_456
SECONDS = 20.0


@pytest.fixture
def journal(tmp_path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.db", "fra1")
    made.open()
    made.start()
    yield made
    made.stop(5.0)


@pytest.fixture
def tail(journal, tmp_path) -> Iterator[Tail]:
    made = Tail(tmp_path / "journal.db")
    yield made
    made.close()


def put(journal: Journal, *numbers: int) -> None:
    for number in numbers:
        journal.record(Event(number, "bfd_failure"), T0 + number)
    journal.flushed().result(SECONDS)


def test_rows_come_oldest_first_from_behind_a_number(journal, tail) -> None:
    put(journal, 1, 2, 3, 4)
    tail.identity()
    assert [row[0] for row in tail.rows(EVENT, 1, 2)] == [2, 3]
    assert [row[0] for row in tail.rows(EVENT, 1, 10, 3)] == [2, 3]
    assert tail.rows(EVENT, 4, 10) == tail.rows(MESSAGE, 0, 10) == []
    assert tail.beyond(EVENT, 1) == Beyond(3, T0 + 2)
    assert tail.beyond(EVENT, 4) == Beyond()


def test_numbers_that_were_left_out_are_not_counted(journal, tail) -> None:
    put(journal, 1, 2, 1 << 20, (1 << 20) + 1)
    tail.identity()
    assert tail.beyond(EVENT, 1) == Beyond(3, T0 + 2)


def test_another_file_is_not_read_under_the_name_of_the_first(journal, tail, tmp_path) -> None:
    put(journal, 1, 2)
    first = tail.identity()
    assert tail.before(EVENT) == Before(0, whole=False)
    Path(tmp_path / "journal.db").unlink()
    put(journal, 3)
    with pytest.raises(StoreError):
        tail.rows(EVENT, 0, 10)
    with pytest.raises(StoreError):  # Until somebody asks whose it is.
        tail.rows(EVENT, 0, 10)
    assert tail.identity() != first
    assert tail.before(EVENT).last == 2
    assert 3 in [row[0] for row in tail.rows(EVENT, 0, 10)]
    deadline = time.monotonic() + SECONDS
    while not tail.before(EVENT).whole:
        assert time.monotonic() < deadline, "what was in the first is never all there"
        time.sleep(0.05)
    assert [row[0] for row in tail.rows(EVENT, 0, 10)] == [1, 2, 3]


def test_what_is_not_there_is_an_error_of_the_store(tmp_path) -> None:
    with pytest.raises(StoreError, match=r"journal\.db"):
        Tail(tmp_path / "journal.db").identity()


def test_late_places_are_kept_in_their_order_and_each_once() -> None:
    first, second = Place("aa", "fra1:x", 3, 7, 10), Place("bb", "fra1", 10, 0, 20)
    late = with_late((first,), second)
    assert parse_late(late_text(late)) == (first, second)
    assert parse_late(str(first)) == (first,)  # as earlier versions wrote it
    assert parse_late("") == parse_late(None) == ()
    assert with_late(late, Place("bb", "fra1", 12, 0, 20)) == (first, second)
    assert with_late(late, Place("aa", "fra1", 1, 0, 10)) == (second, Place("aa", "fra1", 1, 0, 10))
    many = (Place("aa", "fra1", number, 0, number + 1) for number in range(500))
    assert len(reduce(with_late, many, late)) == 100
