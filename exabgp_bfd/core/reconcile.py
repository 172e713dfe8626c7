"""What ExaBGP holds beside what is believed of it: routes that it lacks, has otherwise, or has without our word."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from exabgp_bfd.core.model import Address, Held, Peer, Prefix, Route

# RFC 1997, 7999, 8326, 3765: ExaBGP writes a name for some, whichever way it was said.
_COMMUNITIES = {
    "graceful-shutdown": "65535:0",
    "blackhole": "65535:666",
    "no-export": "65535:65281",
    "no-advertise": "65535:65282",
    "no-export-subconfed": "65535:65283",
    "no-peer": "65535:65284",
    "nopeer": "65535:65284",
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A route of ours as it is believed to stand for one neighbour."""

    route: Route
    """As it was said, or as it is configured where it is withdrawn."""
    announced: bool


@dataclass(slots=True)
class Findings:
    """How ExaBGP's adj-rib-out for one neighbour differs from what is believed."""

    neighbor: Address
    agreed: list[Prefix] = field(default_factory=list)
    missing: list[Prefix] = field(default_factory=list)
    differing: list[Prefix] = field(default_factory=list)
    extra: dict[Prefix, Route] = field(default_factory=dict)
    """Held though they are withdrawn, and as what."""
    foreign: int = 0
    """Held, and none of ours."""

    @property
    def clean(self) -> bool:
        """Whether nothing differs."""
        return not (self.missing or self.differing or self.extra)


def compare(
    peer: Peer, held: Iterable[Held], claims: Mapping[Prefix, Claim], ours: Container[Prefix], *, complete: bool
) -> Findings:
    """Holds what ExaBGP has for a neighbour against what is believed; only routes of `claims` are judged.

    `ours` are all our prefixes: what is none of them is somebody else's, and only counted.
    """
    found = Findings(peer.address)
    there = {each.route.prefix: each.route for each in held if each.neighbor == peer.address}
    for prefix, claim in claims.items():
        route = there.pop(prefix, None)
        if not claim.announced:
            if route is not None:
                found.extra[prefix] = route
            elif complete:
                found.agreed.append(prefix)
        elif route is None:
            if complete:
                found.missing.append(prefix)
        elif alike(claim.route, route, peer):
            found.agreed.append(prefix)
        else:
            found.differing.append(prefix)
    found.foreign = sum(prefix not in ours for prefix in there)
    return found


def alike(said: Route, held: Route, peer: Peer) -> bool:
    """Whether ExaBGP holds a route as it was said.

    Extended communities are not compared: ExaBGP writes them in other forms than it reads.
    """
    return (
        _same_hop(said, held, peer)
        and (said.med, said.local_preference, said.as_path) == (held.med, held.local_preference, held.as_path)
        and _plain(said.communities) == _plain(held.communities)
        and set(said.large_communities) == set(held.large_communities)
    )


def _same_hop(said: Route, held: Route, peer: Peer) -> bool:
    if said.next_hop == held.next_hop:
        return True
    # ExaBGP 5 shows the address that `self` stands for; where we do not know our own, it may be any.
    own = peer.local
    return "self" in (said.next_hop, held.next_hop) and (own is None or own in (said.next_hop, held.next_hop))


def _plain(communities: Iterable[str]) -> set[str]:
    found = set()
    for community in communities:
        text = _COMMUNITIES.get(community, community)
        if ":" not in text:
            try:
                number = int(text, 0)
            except ValueError:
                found.add(text)
                continue
            text = f"{number >> 16}:{number & 0xFFFF}"
        found.add(text)
    return found
