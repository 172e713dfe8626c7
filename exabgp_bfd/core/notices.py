"""Signed alerts going out: who gets which events, how each is signed, and what an answer means. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, Literal

from exabgp_bfd.core.model import ConfigError, Secret
from exabgp_bfd.core.signing import (
    ID_HEADER,
    SIGNATURE_HEADER,
    STANDARD_HEADER,
    TIME_HEADER,
    is_standard,
    mac,
    sign,
    sign_standard,
)

Format = Literal["standard", "github", "both"]

OWN: Final = "notify_"
"""What the types of events about alerts begin with."""

USUAL_EVENTS: Final = (
    *("bfd_failure", "bfd_recovery", "bfd_damped", "device_unreachable", "device_reachable"),
    *("route_announce", "route_withdraw", "route_refused"),
    *("guard_*", "last_site_*", "lease_expired", "store_*", "notify_*"),
)

LONGEST_BODY: Final = 65536
"""Octets: what receivers take, ours among them; the details of an event that is longer are left out."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds between two tries: a receiver that comes back is found within a minute."""
LONGEST_OBEYED: Final = 3600.0
"""Seconds; how long a Retry-After is obeyed at most."""

_LONGEST_SITE: Final = 180
_SIMPLE: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# The one form of three that anybody sends (RFC 9110 section 5.6.7).
_DATE: Final = re.compile(r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Somebody who is told of events; times are seconds."""

    name: str
    url: Secret
    """http or https. Its path and its userinfo are what others know only from us."""
    secrets: tuple[Secret, ...]
    """The first signs; all of them where a header takes several signatures."""
    format: Format = "both"
    events: tuple[str, ...] = USUAL_EVENTS
    """Patterns of event types: * and ?."""
    services: tuple[str, ...] = ()
    """Patterns; empty: whatever it is about. So with those below."""
    devices: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    timeout: float = 10.0
    """For one try, from the name's resolution to the end of the answer."""
    tries: int = 8
    """How often an alert is sent that the receiver refuses."""
    max_age: float = 86400.0
    """How old an event may be that is still sent."""
    max_queue: int = 10_000
    """How many alerts may wait."""
    address: str = ""
    """What may be shown of the URL: its scheme, host and port."""
    ca: str | None = None
    """The certificates in PEM that are believed to have signed the server's; None: those that the system believes."""

    @property
    def fingerprint(self) -> str:
        """Changes where the URL or the first secret does; tells neither."""
        return mac(self.secrets[0].reveal().encode(), self.url.reveal().encode()).hex()[:32]


@dataclass(frozen=True, slots=True)
class Alert:
    """An event as it is sent."""

    id: int
    ts: int
    """Microseconds since the epoch."""
    site: str
    event_type: str
    document: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The webhook-id, the same whenever it is sent; with the time, as another journal may give the number again."""
        plain = "".join(char if char in _SIMPLE else f"_{ord(char):x}_" for char in self.site)
        site = plain if len(plain) <= _LONGEST_SITE else sha256(self.site.encode("utf-8", "replace")).hexdigest()
        return f"event_{site}_{self.id}_{self.ts}"


@dataclass(frozen=True, slots=True)
class Letter:
    """An alert that could not be delivered, as it is kept."""

    endpoint: str
    event: int
    name: str
    """Its webhook-id."""
    body: str
    tries: int
    reason: str
    ts: int
    """When it was given up, in microseconds since the epoch."""
    number: int = 0
    """Its own, once it is kept."""
    again: bool = False
    """Whether somebody asked for it to be sent again."""


class EndpointState(StrEnum):
    """How an endpoint is."""

    OK = "ok"
    FAILING = "failing"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class EndpointView:
    """How an endpoint stands; moments in microseconds since the epoch."""

    name: str
    address: str
    """Scheme, host and port: the rest of the URL may be a secret."""
    format: Format
    state: EndpointState
    waiting: int
    lag: float
    """Seconds for which the oldest alert has waited."""
    position: int
    """The last event that is done with."""
    sent: int
    failed: int
    """Tries without success."""
    dead: int
    tries: int
    """Of the alert that is at its turn."""
    last_success: int | None
    last_failure: int | None
    last_error: str | None
    next_try: int | None


class NoEndpointError(ConfigError):
    """There is no endpoint of that name (any more), or it is disabled."""


class Meaning(StrEnum):
    """What an answer, or its absence, means for an alert."""

    TAKEN = "taken"
    LATER = "later"
    """The receiver is not to be had: the alert waits, and those behind it."""
    REFUSED = "refused"
    """It does not want this one; said often enough, it is believed."""
    GONE = "gone"


def meaning(status: int | None) -> Meaning:
    """What an answer's status means; None: there was no answer."""
    if status is None or status in {408, 425, 429, 502, 503, 504}:
        return Meaning.LATER
    if 200 <= status < 300:
        return Meaning.TAKEN
    return Meaning.GONE if status == 410 else Meaning.REFUSED


def pause(failures: int, asked: float | None, chance: float) -> float:
    """Seconds until the next try, after so many in a row that failed; `chance` from 0 to 1 spreads those of many.

    `asked` is what the receiver asked for by Retry-After: it is never sooner, however far apart they are spread.
    """
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(max(0, failures - 1), 32))
    usual = longest * (0.5 + chance / 2)
    return usual if asked is None else max(usual, min(asked, LONGEST_OBEYED))


def asked_pause(header: str | None, now: float) -> float | None:
    """Retry-After in seconds from `now` (seconds since the epoch), None where it says nothing that can be read."""
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    if (match := _DATE.fullmatch(text)) is None or match[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(match[group]) for group in (1, 3, 4, 5, 6))
    try:
        moment = datetime(year, _MONTHS.index(match[2]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - now)


def wants(endpoint: Endpoint, alert: Alert) -> bool:
    """Whether an endpoint is told of an event. None is told of itself: each such event could lead to the next."""
    told = alert.document
    if alert.event_type.startswith(OWN) and told["details"].get("endpoint") == endpoint.name:
        return False
    return wants_type(endpoint, alert.event_type) and all(
        not patterns or _fits(patterns, told[key])
        for key, patterns in (
            ("service", endpoint.services),
            ("device", endpoint.devices),
            ("session", endpoint.sessions),
        )
    )


def wants_type(endpoint: Endpoint, event_type: str) -> bool:
    """Whether an endpoint is told of events of a type."""
    return _fits(endpoint.events, event_type)


def _fits(patterns: Sequence[str], value: str | None) -> bool:
    return value is not None and any(_compiled(pattern).fullmatch(value) for pattern in patterns)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    # Stars that follow each other mean what one does, and would make a search that goes on and on.
    parts = (
        re.escape(part) if part not in {"*", "?"} else {"*": ".*?", "?": "."}[part]
        for part in re.split(r"([*?])", re.sub(r"\*+", "*", pattern))
    )
    return re.compile("".join(parts), re.DOTALL)


def headers(endpoint: Endpoint, name: str, now: int, body: bytes) -> dict[str, str]:
    """The headers that sign a body, sent at `now` (seconds since the epoch)."""
    signed: dict[str, str] = {}
    if endpoint.format != "github":
        signatures = (sign_standard(each, name, now, body) for each in endpoint.secrets if is_standard(each))
        signed |= {ID_HEADER: name, TIME_HEADER: str(now), STANDARD_HEADER: " ".join(signatures)}
    if endpoint.format != "standard":
        signed[SIGNATURE_HEADER] = sign(endpoint.secrets[0], body)
    return signed


@dataclass(frozen=True, slots=True)
class Kept:
    """What an endpoint's courier has come to, all of it in one step."""

    endpoint: str
    position: int
    """The last event that is done with."""
    gone: str | None = None
    """The fingerprint of the endpoint that said to be gone."""
    buried: tuple[Letter, ...] = ()
    delivered: tuple[int, ...] = ()
    """Letters that were delivered after all, by their numbers."""
