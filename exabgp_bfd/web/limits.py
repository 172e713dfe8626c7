"""How often one may ask: so many requests a second for each key or address, and few wrong keys and signatures.

Pure but for the clock and a lock. Memory is bounded: whoever comes when all places are taken by others who asked just
now shares one place with all who come then. Nobody is pushed out, for else an attacker with many addresses could have
himself forgotten.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from typing import Final

from exabgp_bfd.web.auth import address_of

PLACES: Final = 4_096
"""How many keys and addresses are told apart at once."""

_IPV6_SITE: Final = 64
"""The prefix length that one host has for itself, and may ask from any address of."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How often one may ask; 0: as often as one likes."""

    requests: float = 100.0
    """A second, for each key, or address where no key is shown."""
    burst: int = 200
    """How many at once, after a pause."""
    failures: float = 10.0
    """Wrong keys and signatures a minute, for each address; as many at once."""


class Allowance:
    """So many a second for each, and so many at once after a pause (the generic cell rate algorithm, ITU-T I.371)."""

    def __init__(
        self, rate: float, burst: float, places: int = PLACES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`rate` is how many a second, 0: no limit; `burst` at least 1."""
        self._step = 1.0 / rate if rate > 0 else 0.0
        self._slack = (max(1.0, burst) - 1.0) * self._step
        self._places = places
        self._clock = clock
        self._lock = threading.Lock()
        self._due: dict[Hashable, float] = {}
        """When each will have paid for what was taken: in the past, it has all of its burst again."""
        self._shared = 0.0
        self._swept = 0.0

    def take(self, who: Hashable) -> float:
        """Takes one; 0, or the seconds to wait where none is left, and then none is taken."""
        if not self._step:
            return 0.0
        with self._lock:
            now = self._clock()
            own = self._has_place(who, now)
            due = max(now, self._due.get(who, now) if own else self._shared)
            wait = due - self._slack - now
            if wait > 0:
                return wait
            if own:
                self._due[who] = due + self._step
            else:
                self._shared = due + self._step
            return 0.0

    def look(self, who: Hashable) -> float:
        """What `take` would answer, and takes none."""
        if not self._step:
            return 0.0
        with self._lock:
            now = self._clock()
            due = self._due.get(who, self._shared if len(self._due) >= self._places else now)
            return max(0.0, max(now, due) - self._slack - now)

    def __len__(self) -> int:
        return len(self._due)

    def _has_place(self, who: Hashable, now: float) -> bool:
        if who in self._due or len(self._due) < self._places:
            return True
        if now - self._swept >= max(self._step, 1.0):  # looking through all of them for each stranger would be work
            self._swept = now
            self._due = {name: due for name, due in self._due.items() if due > now}
        return len(self._due) < self._places


class Limits:
    """The allowances of one API, by the rates that hold now."""

    def __init__(self, rates: Rates, clock: Callable[[], float] = time.monotonic) -> None:
        self.rates = rates
        self._requests = Allowance(rates.requests, rates.burst, clock=clock)
        # Of their own, so that no program that asks too much has this one restarted by whoever watches its health.
        self._watching = Allowance(rates.requests, rates.burst, clock=clock)
        self._failures = Allowance(rates.failures / 60.0, rates.failures, clock=clock)

    def request(self, key: str | None, address: str | None) -> int:
        """Counts a request of a key, or where there is none of an address; 0, or the seconds to wait."""
        return _seconds(self._requests.take(("key", key) if key is not None else place_of(address)))

    def watch(self, address: str | None) -> int:
        """Counts a question after our health; 0, or the seconds to wait."""
        return _seconds(self._watching.take(place_of(address)))

    def failed(self, address: str | None) -> int:
        """Counts a wrong key or signature; 0, or the seconds to wait before another."""
        return _seconds(self._failures.take(place_of(address)))

    def barred(self, address: str | None) -> int:
        """The seconds for which no key or signature from an address is looked at; 0: it is."""
        return _seconds(self._failures.look(place_of(address)))


def place_of(address: str | None) -> str:
    """What an address counts as: itself, or for IPv6 the network that one host has."""
    parsed = address_of(address)
    if isinstance(parsed, IPv6Address) and not parsed.is_loopback:
        return str(ip_network((int(parsed), _IPV6_SITE), strict=False))
    return str(parsed)


def _seconds(wait: float) -> int:
    """Whole seconds, as Retry-After has them (RFC 9110 section 10.2.3)."""
    return math.ceil(wait)
