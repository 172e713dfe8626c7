"""What is known of ExaBGP's neighbours: which it has, which are up, what each can carry, and what it should be sent."""

from __future__ import annotations

from collections.abc import Iterator

from exabgp_bfd.core.model import Address, Negotiated, Peer, Peers, Prefix, Route
from exabgp_bfd.core.reach import NO_SUCH_NEIGHBOR, family, mismatch, unfit

UP, DOWN = "up", "down"

IS_DOWN = "its BGP session is down: it gets the route when that comes up"
NOT_NEGOTIATED = "its BGP session does not carry {family}: the other side did not offer it"
NOT_SEEN = "no UPDATE for it was seen"


class Neighborhood:
    """ExaBGP's neighbours, as far as they are known: nothing until it has answered."""

    def __init__(self) -> None:
        self.peers: dict[Address, Peer] | None = None
        """None: ExaBGP has not said which it has."""
        self.version = ""
        self.answers = True
        self.ranges: tuple[Prefix, ...] = ()
        self.states: dict[str, str] = {}
        self.restarting: set[Address] = set()
        """Those of which it was told that graceful restart is negotiated."""
        self._families: dict[Address, frozenset[str]] = {}

    def learn(self, told: Peers) -> tuple[list[Address], list[Address]]:
        """Takes ExaBGP's word for its neighbours; those that came, and those that went."""
        before = self.peers or {}
        self.peers = {peer.address: peer for peer in told.peers}
        self.version = told.version or self.version
        self.answers, self.ranges = told.answers, told.ranges
        gone = [address for address in before if address not in self.peers]
        for address in gone:
            self.states.pop(str(address), None)
            self._families.pop(address, None)
            self.restarting.discard(address)
        return [address for address in self.peers if address not in before], gone

    def became(self, neighbor: Address, state: str) -> bool:
        """Notes a BGP session's state; whether it is news."""
        was = self.states.get(str(neighbor))
        self.states[str(neighbor)] = state
        if state == DOWN:
            self._families.pop(neighbor, None)
        return was != state

    def agreed(self, told: Negotiated) -> None:
        """Notes what a BGP session carries."""
        self._families[told.neighbor] = told.families

    def is_known(self, neighbor: Address) -> bool:
        """Whether ExaBGP has such a neighbour, as far as it has said."""
        return self.peers is None or neighbor in self.peers

    def targets(self, route: Route) -> Iterator[Address]:
        """The neighbours that a route is meant for, as far as they are known."""
        yield from route.neighbors or self.peers or ()

    def why_not(self, route: Route, neighbor: Address) -> str:
        """Why ExaBGP will not send a route to a neighbour, as long as nothing is configured anew; empty: it will."""
        if self.peers is None:
            return mismatch(route)
        peer = self.peers.get(neighbor)
        if peer is None and any(neighbor in each for each in self.ranges):
            return mismatch(route)
        return unfit(route, peer) if peer is not None else NO_SUCH_NEIGHBOR

    def hopeless(self, route: Route) -> bool:
        """Whether no neighbour will get a route before something is configured anew."""
        if not route.neighbors and self.ranges:
            return False
        return bool(self.peers) and all(self.why_not(route, neighbor) for neighbor in self.targets(route))

    def waits(self, route: Route, neighbor: Address) -> str:
        """Why a route has not gone to a neighbour that it will go to; empty: nothing is known that keeps it."""
        if self.states.get(str(neighbor), UP) != UP:
            return IS_DOWN
        negotiated = self._families.get(neighbor)
        if negotiated is not None and family(route) not in negotiated:
            return NOT_NEGOTIATED.format(family=family(route))
        return ""

    def tells(self, neighbor: Address) -> bool:
        """Whether an UPDATE to a neighbour would be shown to us."""
        peer = (self.peers or {}).get(neighbor)
        return peer is not None and peer.tells

    def missing(self, route: Route, seen: set[Address]) -> dict[Address, str]:
        """The neighbours that a route was not seen to go to, and why; only those of which that can be told."""
        found: dict[Address, str] = {}
        for neighbor in self.targets(route):
            if neighbor in seen:
                continue
            reason = self.why_not(route, neighbor) or self.waits(route, neighbor)
            if not reason and self.tells(neighbor):
                reason = NOT_SEEN
            if reason:
                found[neighbor] = reason
        return found
