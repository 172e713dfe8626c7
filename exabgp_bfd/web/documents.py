"""The core's views as JSON documents; monotonic seconds become RFC 3339 in UTC, to the millisecond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

from exabgp_bfd.core.model import (
    Announce,
    ByHand,
    ByHandView,
    Change,
    Command,
    DeviceView,
    Explanation,
    GuardView,
    Lift,
    Outcome,
    Override,
    Preview,
    RouteView,
    Service,
    ServiceView,
    SessionView,
    Snapshot,
    State,
    Target,
    Watchdog,
)
from exabgp_bfd.core.written import DeviceShown
from exabgp_bfd.web.backend import SiteStands, Stand

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST = (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
"""RFC 3339 has the years 1 to 9999, in microseconds since the epoch."""


ANSWERS = {Outcome.DONE: "done", Outcome.ERROR: "error", Outcome.TIMEOUT: "none", Outcome.OVERTAKEN: "none"}
"""ExaBGP's answers, and what stands where there was none in time."""


def rfc3339(microseconds: int) -> str:
    """A moment given in microseconds since the epoch; one that RFC 3339 cannot say is the first or last that it can."""
    microseconds = min(max(microseconds, _FIRST), _LAST)
    # Integer arithmetic: a float of today's microseconds since the epoch has no digits to spare.
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def wall(seconds: float | None) -> str | None:
    """A moment given in seconds since the epoch, None for one that never comes."""
    return None if seconds is None else rfc3339(_micro(seconds))


def _micro(seconds: float) -> int:
    """Microseconds, of any number that may be stored."""
    if isfinite(micro := seconds * 1e6):
        return round(micro)
    return _FIRST if micro < 0 else _LAST


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
        return rfc3339(self.wall + _micro(seconds - self.monotonic))


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
        "vrf": identity.vrf,
        "multihop": identity.multihop,
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


def device(shown: DeviceShown, view: DeviceView | None, up: int, calendar: Calendar) -> dict[str, Any]:
    """A device: how it is asked, by the keys of its table, and what is seen of it; `view` is None until it is."""
    return {
        **shown.settings,
        "origin": shown.origin,
        "written": None if shown.written is None else dict(shown.written),
        "reachable": view.reachable if view else None,
        "reason": (view.reason or None) if view else None,
        "heard": calendar.at(view.heard) if view else None,
        "sessions": view.sessions if view else 0,
        "sessions_up": up,
        "status": shown.status,
        "profile_found": shown.profile,
        "engine_used": shown.engine,
        "uptime": shown.uptime,
        "services": list(shown.services),
    }


def service(view: ServiceView, calendar: Calendar) -> dict[str, Any]:
    """A service: what it is, since when, why, what beats its health, and each of its routes."""
    return {
        "service": view.service.name,
        "state": "announced" if view.announced else "withdrawn",
        "since": calendar.at(view.since),
        "why": view.why,
        "layer": view.layer,
        "health": view.health,
        "adopted": view.adopted,
        "override": None if view.override is None else override(view.override),
        "windows": list(view.windows),
        "disabled": view.disabled,
        "up": view.up,
        "undecided": view.undecided,
        "needed": view.needed,
        "sessions": [
            {"session": leg.session, "state": leg.state.value, "counts_as": leg.counts_as, "why": leg.why}
            for leg in view.legs
        ],
        "routes": [_route(route) for route in view.routes],
        "rule": _rule(view.service),
    }


def everywhere(name: str, stands: Sequence[tuple[SiteStands, Stand]]) -> dict[str, Any]:
    """A service at every site; only fresh ones count for who announces it."""
    return {
        "service": name,
        "announced_by": [site.site for site, stand in stands if stand.announced and site.fresh],
        "sites": [
            {
                "site": site.site,
                "fresh": site.fresh,
                "state": "announced" if stand.announced else "withdrawn",
                "since": None if stand.since is None else rfc3339(stand.since),
                "layer": stand.layer,
                "routes": list(stand.targets),
            }
            for site, stand in stands
        ],
    }


def override(order: Override) -> dict[str, Any]:
    """What an operator ordered of a service, who, why and until when (null: until it is cleared)."""
    return {"action": order.action.value, **_order(order)}


def lift(order: Lift) -> dict[str, Any]:
    """Who lifted the guard's limit, why and until when (null: until it is cleared)."""
    return _order(order)


def _order(order: Override | Lift | ByHand) -> dict[str, Any]:
    return {
        "actor": order.actor,
        "reason": order.reason,
        "since": wall(order.since),
        "expires": wall(order.expires),
    }


def guard(view: GuardView) -> dict[str, Any]:
    """What the guard holds back, and why."""
    return {
        "held": list(view.held),
        "withdrawn": list(view.withdrawn),
        "limit": view.limit,
        "lift": None if view.lift is None else lift(view.lift),
        "blind": view.blind,
        "clock_doubted": view.clock_doubted,
    }


def explanation(why: Explanation) -> dict[str, Any]:
    """Why a service is, or is not, announced, in sentences."""
    return {
        "service": why.service,
        "announced": why.announced,
        "answer": why.answer,
        "because": list(why.because),
        "sessions": list(why.sessions),
        "routes": list(why.routes),
        "event": why.event,
    }


def preview(change: Preview) -> dict[str, Any]:
    """What another plan would change at once."""
    return {
        "commands": [command(each) for each in change.commands],
        "added": list(change.added),
        "removed": list(change.removed),
        "changed": list(change.changed),
        "devices_added": list(change.devices_added),
        "devices_removed": list(change.devices_removed),
    }


def command(planned: Command) -> dict[str, Any]:
    """A command that ExaBGP would get."""
    action = "announce" if isinstance(planned, Announce) else "withdraw"
    return {"action": action, "service": planned.service, **_target(planned.route)}


def by_hand(view: ByHandView) -> dict[str, Any]:
    """What an operator announced or withdrew himself, and what became of it."""
    order = view.order
    return {
        **_route(view.route),
        "key": order.target.key,
        **_order(order),
        "answer": None if view.outcome is None else ANSWERS[view.outcome],
        "text": view.text,
        "missing": dict(view.missing),
    }


def _route(view: RouteView) -> dict[str, Any]:
    return {
        **_target(view.route),
        "announced": view.announced,
        "accepted": view.accepted,
        "confirmed": list(view.confirmed),
        "unseen": dict(view.unseen),
        "event": view.event,
    }


def _target(target: Target) -> dict[str, Any]:
    """What is announced: a prefix with its attributes, or the name of a watchdog."""
    if isinstance(target, Watchdog):
        return {"watchdog": target.name}
    return {
        "prefix": str(target.prefix),
        "next_hop": str(target.next_hop),
        "neighbors": [str(neighbor) for neighbor in target.neighbors],
        "med": target.med,
        "local_preference": target.local_preference,
        "communities": list(target.communities),
        "large_communities": list(target.large_communities),
        "extended_communities": list(target.extended_communities),
        "as_path": list(target.as_path),
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
        "steps": [
            {"up": rung.up, **({"withdraw": True} if rung.change is None else _change(rung.change))}
            for rung in rule.steps
        ],
        "on_down": "withdraw" if rule.on_down is None else _change(rule.on_down),
        "damping": None if rule.damping is None else asdict(rule.damping),
        "drain_time": rule.drain_time,
        "disable_file": rule.disable_file,
        "on_disable": rule.on_disable.value,
        "keep_last": rule.keep_last,
    }


def _change(change: Change) -> dict[str, Any]:
    """The attributes that are other than the service's own."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(change).items()
        if value is not None
    }


def exabgp(snapshot: Snapshot) -> dict[str, Any]:
    """What ExaBGP has said of itself and its neighbours; `neighbors` is null until it has."""
    peers = None
    if snapshot.peers is not None:
        peers = {
            str(peer.address): {
                "state": snapshot.neighbors.get(str(peer.address)),
                "families": sorted(peer.families),
                "shows_updates": peer.tells,
                "keeps_routes": peer.resends,
                "graceful_restart": peer.graceful_restart,
            }
            for peer in snapshot.peers
        }
    return {"version": snapshot.exabgp or None, "neighbors": peers}


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
            "unseen": sum(bool(route.unseen) for view in snapshot.services for route in view.routes),
        },
    }
