"""Targets as lines of ExaBGP's API (pure): what we may say to it, and nothing else.

A line is made from typed values only, and is then held against a whitelist of characters and words: several inputs end
ExaBGP 5's process (5.0.15: the bare word `json` in any command that shows nothing raises KeyError in its reactor), and
one line feed would be a second command. ExaBGP also looks for the names of its commands anywhere in a line, not only
where a command stands: the community `graceful-shutdown` shuts it down.
"""

from __future__ import annotations

import re

from exabgp_bfd.core.model import Announce, Command, Route, SpeakerError, Watchdog

# Letters, digits and the punctuation of addresses, communities, lists, selectors and names; no control character, no
# quote.
_LINE = re.compile(r"[0-9A-Za-z_:./,*\[\]-]+(?: [0-9A-Za-z_:./,*\[\]-]+)*")
_FATAL = frozenset(
    {"json", "debug", "crash", "shutdown", "restart", "reset", "operational", "disable-ack", "silence-ack"}
)
_LONGEST = 65536
_NAME = re.compile(r"[0-9A-Za-z_-]{1,64}")
# Commands of one word, which ExaBGP obeys at a line's end, and two words that its configuration takes for no name.
_NO_NAMES = frozenset({"version", "help", "reload", "teardown", "enable-ack", "announce", "withdraw"})
# Each form as ExaBGP reads it, and no free word, which might be the name of a command.
_COMMUNITY = re.compile(r"[0-9]{1,5}:[0-9]{1,5}|0x[0-9A-Fa-f]{1,8}|[0-9]{1,10}")
_LARGE = re.compile(r"[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}")
_EXTENDED = re.compile(r"(?:target|origin):[0-9.]{1,15}:[0-9]{1,10}|0x[0-9A-Fa-f]{16}")
# The names that ExaBGP knows, and one that goes by its number (RFC 8326): of that it knows only the end, as a command.
_NAMES = {name: name for name in ("no-export", "no-advertise", "no-export-subconfed", "no-peer", "nopeer", "blackhole")}
_NAMES["graceful-shutdown"] = "65535:0"


def line(command: Command) -> bytes:
    """The line for a command, with its line feed; SpeakerError if it is one that must never be sent."""
    route, announced = command.route, isinstance(command, Announce)
    if isinstance(route, Watchdog):
        # Without a selector, always: ExaBGP 4 and 5 take the line's third word for the name whatever stands before it,
        # ask every neighbour that has such routes, and answer `done` for a name that nobody carries as well.
        text = f"{'announce' if announced else 'withdraw'} watchdog {_name(route)}"
    elif announced:
        text = f"{_selector(route)} announce route {route.prefix} next-hop {route.next_hop}{_attributes(route)}"
    else:
        # By the prefix alone, which is all that ExaBGP needs: it refuses a withdraw whose `next-hop self` would be of
        # another family than the BGP session, and the route would stay.
        text = f"{_selector(route)} withdraw route {route.prefix}"
    return guarded(text)


def guarded(text: str) -> bytes:
    """The line as bytes if it is one line of known characters without a word that harms ExaBGP, else SpeakerError."""
    if len(text) > _LONGEST or not _LINE.fullmatch(text):
        raise SpeakerError("a command for ExaBGP holds a character that is never sent, or is too long")
    # Within a word too: ExaBGP sets brackets and commas apart before it looks, and finds a command at a word's end.
    fatal = min((word for word in _FATAL if word in text), default=None)
    if fatal is not None:
        raise SpeakerError(f"a command for ExaBGP holds the word {fatal}, which harms it")
    return text.encode("ascii") + b"\n"


def _name(watchdog: Watchdog) -> str:
    if not _NAME.fullmatch(watchdog.name) or watchdog.name.lower() in _NO_NAMES:
        raise SpeakerError(f"a watchdog has a name that is never sent: {watchdog.name[:80]!r}")
    return watchdog.name


def _selector(route: Route) -> str:
    if not route.neighbors:
        return "neighbor *"
    return ", ".join(f"neighbor {neighbor}" for neighbor in route.neighbors)


def _attributes(route: Route) -> str:
    parts = []
    if route.as_path:
        parts.append(f"as-path {_list(route.as_path)}")
    if route.med is not None:
        parts.append(f"med {route.med}")
    if route.local_preference is not None:
        parts.append(f"local-preference {route.local_preference}")
    if route.communities:
        communities = tuple(_NAMES.get(community) or _formed(_COMMUNITY, community) for community in route.communities)
        parts.append(f"community {_list(communities)}")
    if route.large_communities:
        large = tuple(_formed(_LARGE, community) for community in route.large_communities)
        parts.append(f"large-community {_list(large)}")
    if route.extended_communities:
        extended = tuple(_formed(_EXTENDED, community) for community in route.extended_communities)
        parts.append(f"extended-community {_list(extended)}")
    return "".join(f" {part}" for part in parts)


def _formed(form: re.Pattern[str], community: str) -> str:
    if not form.fullmatch(community):
        raise SpeakerError(f"a route has a community that ExaBGP does not know: {community[:40]!r}")
    return community


def _list(values: tuple[object, ...]) -> str:
    return f"[ {' '.join(str(value) for value in values)} ]"
