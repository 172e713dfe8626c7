"""Which targets ExaBGP may still be busy with: the last word for each, until a moment after its answer."""

import math
from ipaddress import ip_address, ip_network

from exabgp_bfd.core.model import Announce, Route, Watchdog, Withdraw
from exabgp_bfd.speaker.settling import SETTLES, Settling

X, Y = Route(ip_network("192.0.2.1/32")), Route(ip_network("192.0.2.2/32"))
A, B = ip_address("203.0.113.1"), ip_address("203.0.113.2")


def to(*neighbors) -> Route:
    return Route(X.prefix, neighbors=neighbors)


def test_nothing_said_is_settled():
    assert Settling().until(X, 5.0) == 5.0


def test_what_was_not_answered_is_not_settled():
    settling = Settling()
    settling.wrote(Announce(1, "dns", X), 1.0)
    assert settling.until(X, 100.0) == math.inf
    assert settling.until(Y, 100.0) == 100.0


def test_what_was_answered_settles_a_moment_later():
    settling = Settling()
    settling.wrote(Announce(1, "dns", X), 1.0)
    settling.done(1, 3.0)
    assert settling.until(X, 3.5) == 3.0 + SETTLES
    assert settling.until(X, 3.0 + SETTLES) == 3.0 + SETTLES
    assert len(settling) == 0


def test_the_last_word_counts():
    settling = Settling()
    settling.wrote(Announce(1, "dns", X), 1.0)
    settling.wrote(Withdraw(2, "dns", X), 1.1)
    settling.done(1, 3.0)
    assert settling.until(X, 10.0) == math.inf
    settling.done(2, 10.0)
    assert settling.until(X, 20.0) == 20.0


def test_other_neighbours_are_another_matter():
    settling = Settling()
    settling.wrote(Withdraw(1, "dns", to(A)), 1.0)
    assert settling.until(to(B), 2.0) == 2.0
    assert settling.until(to(A, B), 2.0) == math.inf
    assert settling.until(X, 2.0) == math.inf, "all of them"
    settling.wrote(Announce(2, "dns", X), 3.0)
    assert settling.until(to(B), 4.0) == math.inf


def test_where_no_answer_comes_a_time_is_given():
    settling = Settling()
    settling.wrote(Announce(1, "dns", Watchdog("dns")), 1.0, 3.0)
    settling.done(1, 1.5)
    assert settling.until(Watchdog("dns"), 2.0) == 3.0
    assert settling.until(Watchdog("dns"), 3.0) == 3.0
    assert len(settling) == 0


def test_nothing_is_kept_of_what_settled():
    settling = Settling()
    for number in range(1000):
        settling.wrote(Announce(number, "dns", Route(ip_network(f"10.{number // 256}.{number % 256}.0/24"))), 1.0)
        settling.done(number, 1.0)
    settling.wrote(Announce(5000, "dns", X), 10.0)
    assert len(settling) == 1
