"""All couriers: one for each endpoint, begun, changed and ended as the configuration says."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from exabgp_bfd.core.model import Event, Note
from exabgp_bfd.core.notices import Endpoint, EndpointView, Kept, NoEndpointError
from exabgp_bfd.notify.courier import Counts, Courier, Doors, Trail

logger = logging.getLogger(__name__)

Known = Callable[[str], tuple[int, str | None] | None]
"""Where an endpoint's courier was, and the fingerprint of one that said to be gone; None: it is new."""


class Notifier:
    """Who is told of events. `renew` and `called` are for the loop's thread, and wait for nothing."""

    def __init__(self, trail: Trail, known: Known, tell: Callable[[Note], object], agent: str) -> None:
        self._doors = Doors(trail, tell, agent)
        self._known = known
        self._couriers: dict[str, Courier] = {}
        self._ending: list[Courier] = []
        self._interest: dict[str, tuple[Courier, ...]] = {}
        """By type of event: whom to call."""
        self._ended = Counts()
        self._lock = threading.Lock()

    def renew(self, endpoints: Sequence[Endpoint], newest: int) -> None:
        """Lets these endpoints hold; one that is new is told of events behind `newest`."""
        wanted = {endpoint.name: endpoint for endpoint in endpoints}
        couriers = dict(self._couriers)
        for name in couriers.keys() - wanted.keys():
            courier = couriers.pop(name)
            courier.stop()
            self._add(courier)
            self._ending = [each for each in self._ending if not each.join(0.0)] + [courier]
        for name, endpoint in wanted.items():
            if name not in couriers:
                known = self._known(name)
                if known is None:  # whatever happens from here on it is told of, even if we are killed at once
                    self._doors.trail.keep(Kept(name, newest))
                couriers[name] = Courier(endpoint, self._doors, *(known or (newest, None)))
                couriers[name].start()
            elif couriers[name].endpoint != endpoint:
                couriers[name].set(endpoint)
        self._couriers, self._interest = couriers, {}

    def _add(self, courier: Courier) -> None:
        """What one that ends has done stays counted."""
        with self._lock:
            self._ended.sent += courier.counts.sent
            self._ended.failed += courier.counts.failed
            self._ended.dead += courier.counts.dead

    def called(self, events: Iterable[Event]) -> None:
        """Wakes whoever is told of one of these events, which need not be on the disk yet."""
        for event in events:
            interested = self._interest.get(event.event_type)
            if interested is None:
                found = (each for each in self._couriers.values() if each.wants_type(event.event_type))
                interested = tuple(found)
                if len(self._interest) < 1000:
                    self._interest[event.event_type] = interested
            for courier in interested:
                courier.call(event.id)

    def views(self) -> tuple[EndpointView, ...]:
        """How each endpoint stands. Any thread."""
        return tuple(courier.view() for courier in tuple(self._couriers.values()))

    def needs(self, name: str) -> Courier:
        """The courier of an endpoint; raises NoEndpointError. Any thread."""
        courier = self._couriers.get(name)
        if courier is None:
            raise NoEndpointError("endpoint", f"there is no [[notify]] of the name {name}; GET /notify lists them")
        return courier

    def may_send(self, name: str) -> None:
        """Raises NoEndpointError unless something can be sent to an endpoint now. Any thread."""
        if self.needs(name).disabled:
            raise NoEndpointError(
                "endpoint", f"{name} is disabled, as it said to be gone: enable it first, or give it another url"
            )

    def totals(self) -> Mapping[str, float]:
        """What became of all tries, by outcome. Any thread."""
        counts = [self._ended, *(courier.counts for courier in tuple(self._couriers.values()))]
        return {
            "sent": sum(each.sent for each in counts),
            "failed": sum(each.failed for each in counts),
            "dead": sum(each.dead for each in counts),
        }

    def stop(self, timeout: float) -> bool:
        """Ends all of them within `timeout` seconds; False where one is still about something. Not on the loop."""
        couriers = [*self._couriers.values(), *self._ending]
        self._couriers = {}
        for courier in couriers:
            courier.stop()
        deadline = time.monotonic() + timeout
        ended = [courier.join(max(0.0, deadline - time.monotonic())) for courier in couriers]
        return all(ended)
