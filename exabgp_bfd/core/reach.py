"""Which of ExaBGP's neighbours a route can go to, and why it cannot go to the others (pure).

What ExaBGP does with a route that a neighbour cannot carry depends on its version, and none of it is wanted. A next hop
of the other family: `done` on 4.2.21 and 5.0.15, and then the BGP session is lost over and over. `next-hop self` of an
IPv6 route over IPv4: the same on 4.2.21, `error` on 5.0.15. Of an IPv4 route over IPv6: the router id becomes the next
hop. A family that is not configured: `done`, and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterable

from exabgp_bfd.core.model import Address, Peer, Route

NO_SUCH_NEIGHBOR = "ExaBGP has no such neighbour: add it to ExaBGP's configuration, or leave it out of neighbors"


def family(route: Route) -> str:
    """The route's address family (RFC 4760), as ExaBGP writes it: `ipv4 unicast`."""
    return f"ipv{route.prefix.version} unicast"


def mismatch(route: Route) -> str:
    """Why no neighbour at all can carry the route: its next hop is an address of the other family. Empty: no reason."""
    if route.next_hop == "self" or route.next_hop.version == route.prefix.version:
        return ""
    return (
        f"the next hop {route.next_hop} is IPv{route.next_hop.version}, and the route IPv{route.prefix.version}: "
        f"give next_hop an IPv{route.prefix.version} address"
    )


def foreign_self(route: Route, neighbor: Address) -> str:
    """Why `next-hop self` cannot be said to a neighbour; empty: it can, or the route has a next hop of its own.

    Both ends of a BGP session have the same family, so that the neighbour's address tells what `self` stands for.
    """
    if route.next_hop != "self" or neighbor.version == route.prefix.version:
        return ""
    return (
        f"its BGP session runs over IPv{neighbor.version}, so next_hop = self is no next hop of an "
        f"IPv{route.prefix.version} route: give next_hop an IPv{route.prefix.version} address"
    )


def unfit(route: Route, peer: Peer) -> str:
    """Why a neighbour of ExaBGP cannot carry the route; empty: it can. A peer without families told carries any."""
    wrong = mismatch(route) or foreign_self(route, peer.address)
    if not wrong and peer.families and family(route) not in peer.families:
        return f"its family {family(route)} is not configured: add it to the neighbour's family section of ExaBGP"
    return wrong


def reasons(route: Route, peers: Iterable[Peer]) -> dict[Address, str]:
    """Why the neighbours that a route is meant for would not get it; who is not in there, gets it.

    `peers` are ExaBGP's neighbours, all of them: what the route names beside them, ExaBGP does not have.
    """
    known = {peer.address: peer for peer in peers}
    found = {
        address: unfit(route, known[address]) if address in known else NO_SUCH_NEIGHBOR
        for address in route.neighbors or known
    }
    return {address: reason for address, reason in found.items() if reason}
