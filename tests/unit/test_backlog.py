"""What waits to be written, and what overtakes it; pure."""

from ipaddress import ip_address, ip_network

import pytest

from exabgp_bfd.core.model import Announce, Peer, Route, Watchdog, Withdraw
from exabgp_bfd.speaker import backlog
from exabgp_bfd.speaker.backlog import Backlog, Waiting
from exabgp_bfd.speaker.dialect import Dialect, Speech

A, B, C = (ip_address(f"192.0.2.{number}") for number in (1, 2, 3))
SPEECH = Speech()


def route(*neighbors, prefix: str = "198.51.100.1/32") -> Route:
    return Route(ip_network(prefix), neighbors=neighbors)


def announce(command: int, *neighbors, **where) -> Announce:
    return Announce(command, "dns", route(*neighbors, **where))


def withdraw(command: int, *neighbors, **where) -> Withdraw:
    return Withdraw(command, "dns", route(*neighbors, **where))


def wait(command, until: float = 0.0) -> Waiting:
    return Waiting(command, b"%d" % command.command, SPEECH, until)


def filled(*commands) -> Backlog:
    waiting = Backlog()
    for command in commands:
        assert waiting.put(wait(command))
    return waiting


def order(waiting: Backlog, *, announces: bool = True) -> list[int]:
    written = []
    while (first := waiting.first(announces=announces)) is not None:
        assert first.line == b"%d" % first.command.command
        waiting.written(first.command)
        written.append(first.command.command)
    return written


def test_withdraws_leave_first_each_queue_in_order():
    other = {"prefix": "198.51.100.2/32"}
    waiting = filled(announce(1), announce(2, **other), withdraw(3, B), withdraw(4, C))
    assert len(waiting) == 4
    assert order(waiting) == [3, 4, 1, 2]
    assert not waiting


def test_announces_wait_where_they_may_not_be_written():
    waiting = filled(announce(1), withdraw(2, B))
    assert order(waiting, announces=False) == [2]
    assert len(waiting) == 1


@pytest.mark.parametrize(
    ("waits", "comes", "overtaken"),
    [
        ((), (), True),
        ((A, B), (), True),  # the withdraw goes to all of them
        ((), (B,), True),  # the announce goes to B too, after the withdraw
        ((A, B), (B, C), True),
        ((A, B), (B,), True),
        ((A,), (B,), False),
        ((A, B), (C,), False),
    ],
)
def test_a_withdraw_takes_out_each_announce_that_would_undo_it(waits, comes, overtaken):
    waiting = filled(announce(1, *waits))
    assert waiting.overtake(withdraw(2, *comes)) == ([announce(1, *waits)] if overtaken else [])
    assert order(waiting) == ([] if overtaken else [1])


@pytest.mark.parametrize(
    ("waits", "comes", "overtaken"),
    [
        ((), (), True),
        ((A, B), (), True),
        ((A,), (B, A), True),
        ((), (A,), False),  # the others still have to get the older one
        ((A, B), (B,), False),
        ((A,), (B,), False),
    ],
)
def test_an_announce_takes_out_those_that_it_replaces_for_everybody(waits, comes, overtaken):
    waiting = filled(announce(1, *waits))
    assert waiting.overtake(announce(2, *comes)) == ([announce(1, *waits)] if overtaken else [])
    assert waiting.put(wait(announce(2, *comes)))
    assert order(waiting) == ([2] if overtaken else [1, 2])


def test_an_announce_takes_out_the_same_withdraw_alone():
    waiting = filled(withdraw(1, A), withdraw(2, A, B))
    assert waiting.overtake(announce(3, A)) == [withdraw(1, A)]
    assert waiting.overtake(announce(4)) == []
    assert order(waiting) == [2]


def test_a_withdraw_takes_out_several_and_only_of_its_target():
    waiting = filled(announce(1, A), announce(2, B), announce(3, prefix="198.51.100.2/32"))
    waiting.put(wait(Announce(4, "dns", Watchdog("dns"))))
    assert waiting.overtake(withdraw(5)) == [announce(1, A), announce(2, B)]
    assert waiting.overtake(Withdraw(6, "dns", Watchdog("dns"))) == [Announce(4, "dns", Watchdog("dns"))]
    assert order(waiting) == [3]
    assert waiting.overtake(withdraw(7)) == []


def test_a_newer_word_goes_to_the_end():
    """In the older one's place it would come before words for other neighbours that it must follow."""
    waiting = filled(announce(1, A, B), announce(2, B, C), announce(3, A, B))
    assert order(waiting) == [2, 3]


def test_a_full_queue_takes_newer_words_for_what_it_holds(monkeypatch):
    monkeypatch.setattr(backlog, "LONGEST", 2)
    waiting = filled(announce(1, A), announce(2, B), withdraw(3, C))
    assert not waiting.put(wait(announce(4, C)))
    assert waiting.put(wait(announce(5, A)))
    assert waiting.put(wait(withdraw(6, A)))
    assert not waiting.put(wait(withdraw(7, B)))
    assert order(waiting) == [3, 6, 2, 5]
    assert waiting.put(wait(announce(8, C)))


# --- held -----------------------------------------------------------------------------------------------------------

KNOWN = Speech(Dialect.V5, (Peer(A),))
LEFT = {"prefix": "198.51.100.2/32"}


def held(*commands) -> Backlog:
    waiting = Backlog()
    for command in commands:
        assert waiting.hold(wait(command, until=5.0))
    return waiting


def test_what_is_held_is_not_written_until_it_is_released():
    waiting = held(announce(1), announce(2, **LEFT))
    assert waiting.holds(route())
    assert waiting.holds(route(A)), "a later one for some of them comes after"
    assert not waiting.holds(route(prefix="198.51.100.3/32"))
    assert order(waiting) == []
    waiting.release(lambda command: not SPEECH.waits(command))
    assert order(waiting) == []
    waiting.release(lambda command: not KNOWN.waits(command))
    assert len(waiting) == 2
    assert not waiting.holds(route())
    assert order(waiting) == [1, 2]
    assert not waiting


def test_what_is_held_is_overtaken_too():
    waiting = held(announce(1), announce(2, **LEFT))
    assert waiting.overtake(withdraw(3, B)) == [announce(1)]
    assert waiting.overtake(announce(4, **LEFT)) == [announce(2, **LEFT)]
    assert not waiting
    assert waiting.hold(wait(announce(5)))
    waiting.release(lambda command: not KNOWN.waits(command))
    assert waiting.overtake(withdraw(6)) == [announce(5)]
    assert not waiting


def test_what_is_held_too_long_is_given_up():
    waiting = held(announce(1))
    assert waiting.hold(wait(announce(2, **LEFT), until=6.0))
    assert waiting.give_up(4.9) == []
    assert [one.command for one in waiting.give_up(5.0)] == [announce(1)]
    waiting.release(lambda command: not KNOWN.waits(command))
    assert order(waiting) == [2]


def test_what_is_held_is_bounded(monkeypatch):
    monkeypatch.setattr(backlog, "LONGEST", 1)
    waiting = held(announce(1))
    assert not waiting.hold(wait(announce(2, **LEFT)))
    assert waiting.hold(wait(announce(3)))
    assert waiting.put(wait(announce(4, **LEFT)))
    # No room there: it stays held.
    waiting.release(lambda command: not KNOWN.waits(command))
    assert waiting.holds(route())
    assert order(waiting) == [4]
    waiting.release(lambda command: not KNOWN.waits(command))
    assert order(waiting) == [3]
