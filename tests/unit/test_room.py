"""How many values an agent is asked for at once: what it says, and what its silence suggests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exabgp_bfd.sources.snmp.room import Room


def request(room: Room, wanted: int, fits: int, tries: int) -> int | None:
    """One request to an agent that is silent above `fits` values: what was answered, or None."""
    tries = room.tries(tries)
    for number in range(tries):
        asked = room.part(wanted, tries=tries, last=number == tries - 1)
        if asked <= fits:
            room.answered(asked, wanted)
            return asked
    room.lost(tries)
    return None


def narrowed(fits: int = 10, tries: int = 2) -> Room:
    """The room of an agent that is silent above `fits` values."""
    room = Room(40)
    while room.size == 40:
        request(room, 40, fits, tries)
    return room


def test_the_last_try_asks_for_less_and_is_believed_when_less_is_answered_again():
    room = Room(40)
    assert request(room, 40, fits=10, tries=2) == 10
    assert room.size == 40
    assert [room.part(40, tries=2, last=last) for last in (False, True)] == [10, 40]
    assert request(room, 40, fits=10, tries=2) == 10
    assert room.size == 10


def test_an_only_try_is_smaller_after_one_that_was_lost():
    room = Room(40)
    assert [request(room, 40, fits=10, tries=1) for _ in range(3)] == [None, 10, 10]
    assert room.size == 10


@pytest.mark.parametrize("tries", [2, 4])
def test_packets_lost_in_turns_say_nothing_of_sizes(tries):
    room = Room(40)
    for _ in range(100):
        for number in range(tries):
            asked = room.part(40, tries=tries, last=number == tries - 1)
            if number == tries - 1:  # all but the last are lost
                room.answered(asked, 40)
        assert room.size == 40


def test_a_suspicion_ends_with_silence():
    room = Room(40)
    request(room, 40, fits=10, tries=2)
    assert request(room, 40, fits=0, tries=2) is None
    assert room.part(40, tries=2, last=False) == 40


def test_small_requests_neither_confirm_nor_end_a_suspicion():
    room = Room(40)
    request(room, 40, fits=10, tries=2)
    request(room, 3, fits=10, tries=2)
    request(room, 40, fits=10, tries=2)
    assert room.size == 10


def test_each_loss_goes_further_down_and_silence_at_all_sizes_means_nothing():
    room = Room(40)
    asked = [room.part(40, tries=2, last=True)]
    for _ in range(3):
        assert request(room, 40, fits=0, tries=2) is None
        asked.append(room.part(40, tries=2, last=True))
    assert asked == [10, 2, 1, 10]
    assert room.size == 40
    assert request(room, 40, fits=40, tries=2) == 40


def test_it_grows_back_slowly_and_slower_each_time_that_was_wrong():
    room = narrowed()
    waits = []
    for _ in range(4):
        count = 0
        while room.size == 10:
            assert request(room, 10, fits=10, tries=2) == 10
            count += 1
        assert room.size == 20
        assert request(room, 20, fits=10, tries=2) == 10  # which is proven, and not a quarter of what was lost
        waits.append(count)
    assert waits[0] < waits[1] < waits[2] < waits[3]


def test_growth_never_costs_the_only_try():
    room = Room(40)
    for _ in range(2):
        request(room, 40, fits=10, tries=1)
    for _ in range(200):
        assert request(room, room.size, fits=10, tries=1) is not None


def test_what_the_agent_says_itself_is_final():
    room = Room(40)
    room.too_big(40)
    for _ in range(5000):
        request(room, room.size, fits=40, tries=2)
    assert room.size == 20
    for _ in range(9):
        room.too_big(room.size)
    assert room.size == 1


def test_a_small_request_says_nothing_of_large_ones():
    room = narrowed()
    for _ in range(100):
        request(room, 3, fits=10, tries=2)
    assert room.size == 10


@given(st.integers(1, 60), st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60), st.integers(1, 4))))
def test_never_more_than_the_ceiling_and_never_nothing(ceiling, happenings):
    room = Room(ceiling)
    for wanted, fits, tries in happenings:
        answered = request(room, min(wanted, room.size), fits, tries)
        assert answered is None or answered <= fits
        assert 1 <= room.size <= ceiling
