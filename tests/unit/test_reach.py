"""Which neighbours a route can go to, and what is said of the others."""

from ipaddress import ip_address, ip_network

import pytest

from exabgp_bfd.core import reach
from exabgp_bfd.core.model import Peer, Route

V4 = ip_network("192.0.2.53/32")
V6 = ip_network("2001:db8::53/128")
FOUR, FOUR2, SIX = ip_address("192.0.2.1"), ip_address("192.0.2.2"), ip_address("2001:db8::1")
BOTH = frozenset({"ipv4 unicast", "ipv6 unicast"})
ONLY4, ONLY6 = frozenset({"ipv4 unicast"}), frozenset({"ipv6 unicast", "ipv6 flow"})

SELF4 = (
    "its BGP session runs over IPv4, so next_hop = self is no next hop of an IPv6 route: give next_hop an IPv6 address"
)
SELF6 = (
    "its BGP session runs over IPv6, so next_hop = self is no next hop of an IPv4 route: give next_hop an IPv4 address"
)
LACKS4 = "its family ipv4 unicast is not configured: add it to the neighbour's family section of ExaBGP"
LACKS6 = "its family ipv6 unicast is not configured: add it to the neighbour's family section of ExaBGP"
HOP4 = "the next hop 192.0.2.9 is IPv4, and the route IPv6: give next_hop an IPv6 address"
HOP6 = "the next hop 2001:db8::9 is IPv6, and the route IPv4: give next_hop an IPv4 address"


def peer(address, families=BOTH, **more) -> Peer:
    return Peer(address, families=families, **more)


def hop(route: Route) -> Route:
    """The route with a next hop of its own."""
    return Route(route.prefix, ip_address("192.0.2.9" if route.prefix.version == 4 else "2001:db8::9"))


@pytest.mark.parametrize(
    ("route", "to", "reason"),
    [
        (Route(V4), peer(FOUR), ""),
        (Route(V6), peer(SIX), ""),
        (Route(V6), peer(FOUR), SELF4),
        (Route(V4), peer(SIX), SELF6),
        (hop(Route(V6)), peer(FOUR), ""),
        (hop(Route(V4)), peer(SIX), ""),
        (hop(Route(V4)), peer(FOUR, ONLY6), LACKS4),
        (hop(Route(V6)), peer(FOUR, ONLY4), LACKS6),
        (hop(Route(V6)), peer(FOUR, ONLY6), ""),
        # What must be put right first, is told first.
        (Route(V6), peer(FOUR, ONLY4), SELF4),
        # No families told: any.
        (Route(V4), peer(FOUR, frozenset()), ""),
        (Route(V6), peer(FOUR, frozenset()), SELF4),
        (Route(V6, ip_address("192.0.2.9")), peer(FOUR), HOP4),
        (Route(V4, ip_address("2001:db8::9")), peer(SIX), HOP6),
        # Our own end says the same as the other's, and may be unknown.
        (Route(V6), peer(FOUR, local=ip_address("192.0.2.7")), SELF4),
        (Route(V6), peer(SIX, local=ip_address("2001:db8::7")), ""),
    ],
)
def test_one_neighbour(route, to, reason):
    assert reach.unfit(route, to) == reason
    assert reach.reasons(route, [to]) == ({to.address: reason} if reason else {})


def test_a_route_for_all_is_held_against_each():
    peers = [peer(FOUR), peer(FOUR2, ONLY4), peer(SIX)]
    assert reach.reasons(Route(V4), peers) == {SIX: SELF6}
    assert reach.reasons(Route(V6), iter(peers)) == {FOUR: SELF4, FOUR2: SELF4}
    assert reach.reasons(hop(Route(V6)), peers) == {FOUR2: LACKS6}
    assert reach.reasons(hop(Route(V4)), peers) == {}
    assert reach.reasons(Route(V4), []) == {}


def test_a_route_for_some_is_held_against_those_only():
    peers = [peer(FOUR), peer(FOUR2, ONLY4), peer(SIX)]
    assert reach.reasons(Route(V4, "self", (FOUR,)), peers) == {}
    assert reach.reasons(Route(V6, "self", (FOUR, SIX)), peers) == {FOUR: SELF4}
    gone = ip_address("192.0.2.99")
    assert reach.reasons(Route(V4, "self", (FOUR, gone)), peers) == {gone: reach.NO_SUCH_NEIGHBOR}
    assert list(reach.reasons(Route(V6, "self", (gone, FOUR)), peers)) == [gone, FOUR]


def test_a_next_hop_of_the_other_family_is_wrong_for_everybody():
    assert reach.mismatch(Route(V6, ip_address("192.0.2.9"))) == HOP4
    assert reach.mismatch(Route(V4, ip_address("2001:db8::9"))) == HOP6
    for right in (Route(V4), Route(V6), hop(Route(V4)), hop(Route(V6))):
        assert reach.mismatch(right) == ""


def test_the_family_as_exabgp_writes_it():
    assert (reach.family(Route(V4)), reach.family(Route(V6))) == ("ipv4 unicast", "ipv6 unicast")
