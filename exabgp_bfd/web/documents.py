"""The core's views as JSON documents; monotonic seconds become RFC 3339 in UTC, to the millisecond."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from exabgp_bfd.core.model import DeviceView, Route, RouteView, Service, ServiceView, SessionView, Snapshot, State

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(microseconds: int) -> str:
    """A moment given in microseconds since the epoch."""
    # Integer arithmetic: a float of today's microseconds since the epoch has no digits to spare.
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Calendar:
    """Turns the engine's monotonic seconds into times of day, from one moment known in both."""

    monotonic: float
    wall: int
    """Microseconds since the epoch."""

    def at(self, seconds: float | None) -> str | None:
        """RFC 3339, or None for a moment that never was."""
        if seconds is None:
            return None
        return rfc3339(self.wall + round((seconds - self.monotonic) * 1e6))


def _text(value: object | None) -> str | None:
    return None if value is None else str(value)


def session(view: SessionView, device: DeviceView | None, calendar: Calendar) -> dict[str, Any]:
    """A session: who it is, its state, since when, and why the router says it left Up."""
    identity = view.session
    diagnostic = view.diagnostic
    return {
        "session": identity.id,
        "device": identity.device,
        "name": identity.name,
        "peer": _text(identity.peer),
        "local": _text(identity.local),
        "interface": identity.interface,
        "discriminator": identity.discriminator,
        "state": view.state.value,
        "since": calendar.at(view.since),
        "heard": calendar.at(view.heard),
        "device_heard": calendar.at(device.heard) if device else None,
        "device_reachable": device.reachable if device else None,
        "device_reason": (device.reason or None) if device else None,
        "diagnostic": None if diagnostic is None else {"code": diagnostic.value, "name": diagnostic.name.lower()},
        "changes": view.changes,
        "event": view.event,
        "services": list(view.services),
    }


def service(view: ServiceView, calendar: Calendar) -> dict[str, Any]:
    """A service: what it is, since when, why, and each of its routes."""
    return {
        "service": view.service.name,
        "state": "announced" if view.announced else "withdrawn",
        "since": calendar.at(view.since),
        "why": view.why,
        "adopted": view.adopted,
        "up": view.up,
        "undecided": view.undecided,
        "needed": view.needed,
        "sessions": [
            {"session": leg.session, "state": leg.state.value, "counts_as": leg.counts_as} for leg in view.legs
        ],
        "routes": [_route(route) for route in view.routes],
        "rule": _rule(view.service),
    }


def _route(view: RouteView) -> dict[str, Any]:
    return {
        **_attributes(view.route),
        "announced": view.announced,
        "accepted": view.accepted,
        "confirmed": list(view.confirmed),
        "event": view.event,
    }


def _attributes(route: Route) -> dict[str, Any]:
    return {
        "prefix": str(route.prefix),
        "next_hop": str(route.next_hop),
        "neighbors": [str(neighbor) for neighbor in route.neighbors],
        "med": route.med,
        "local_preference": route.local_preference,
        "communities": list(route.communities),
        "large_communities": list(route.large_communities),
        "extended_communities": list(route.extended_communities),
        "as_path": list(route.as_path),
    }


def _rule(rule: Service) -> dict[str, Any]:
    return {
        "selectors": [str(selector) for selector in rule.selectors],
        "require": rule.require,
        "rise": rule.rise,
        "fall": rule.fall,
        "hold_up": rule.hold_up,
        "confirm": rule.confirm,
        "confirm_timeout": rule.confirm_timeout,
        "on_admin_down": rule.on_admin_down.value,
        "on_missing": rule.on_missing.value,
        "on_unknown": rule.on_unknown.value,
    }


def counts(snapshot: Snapshot) -> dict[str, Any]:
    """How many devices, sessions and services there are, and how many are well."""
    return {
        "devices": {
            "total": len(snapshot.devices),
            "reachable": sum(device.reachable is True for device in snapshot.devices),
            "troubled": {device.name: device.reason for device in snapshot.devices if device.reason},
        },
        "sessions": {
            "total": len(snapshot.sessions),
            "up": sum(view.state is State.UP for view in snapshot.sessions),
        },
        "services": {
            "total": len(snapshot.services),
            "announced": sum(view.announced for view in snapshot.services),
        },
        "routes": {
            "total": sum(len(view.routes) for view in snapshot.services),
            "refused": sum(route.accepted is False for view in snapshot.services for route in view.routes),
        },
    }
