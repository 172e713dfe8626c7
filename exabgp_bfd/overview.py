"""How the running program and its services are, from the documents of its API: as tables, and as a monitor's verdict.

Pure: documents in, lines out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Final

from exabgp_bfd.tables import Cell, Column, Screen, cut, safe, table

Document = Mapping[str, Any]

LABEL: Final = "EXABGP-BFD"
"""What a monitor's line begins with."""

_ORDERED: Final = {"override", "disable_file", "window"}
"""The layers by which somebody said so."""
_SHOWN: Final = 8
"""Findings that are told on a monitor's line; the others are counted."""
_LONGEST_LINE: Final = 1500
"""Characters of it before the numbers: monitors cut what is longer, and the numbers with it."""
_UNWELL: Final = {"down", "failing", "init", "missing", "unknown"}

SERVICES: Final = (
    Column("SERVICE", elastic=True),
    Column("STATE"),
    Column("SINCE", right=True),
    Column("UP/NEED", right=True),
    Column("DECIDED BY"),
    Column("WHY", elastic=True),
)
SESSIONS: Final = (
    Column("SESSION", elastic=True),
    Column("STATE"),
    Column("SINCE", right=True),
    Column("INTERFACE", elastic=True),
    Column("CHANGES", right=True),
    Column("SERVICES", elastic=True),
    Column("REMARK", elastic=True),
)
DEVICES: Final = (
    Column("DEVICE", elastic=True),
    Column("HOST", elastic=True),
    Column("STATE"),
    Column("HEARD", right=True),
    Column("UP/SESSIONS", right=True),
    Column("FROM"),
    Column("SERVICES", elastic=True),
    Column("REMARK", elastic=True),
)
ENDPOINTS: Final = (
    Column("ENDPOINT", elastic=True),
    Column("ADDRESS", elastic=True),
    Column("STATE"),
    Column("WAITING", right=True),
    Column("SENT", right=True),
    Column("DEAD", right=True),
    Column("LAST TOLD", right=True),
    Column("LAST ERROR", elastic=True),
)
LETTERS: Final = (
    Column("NUMBER", right=True),
    Column("ENDPOINT", elastic=True),
    Column("SINCE", right=True),
    Column("TYPE"),
    Column("EVENT", right=True),
    Column("SENT"),
    Column("REASON", elastic=True),
)
ROUTES: Final = (
    Column("ROUTE", elastic=True),
    Column("SERVICE", elastic=True),
    Column("STATE"),
    Column("NEXT HOP"),
    Column("ATTRIBUTES", elastic=True),
    Column("SEEN BY", elastic=True),
    Column("REMARK", elastic=True),
)


@dataclass(frozen=True, slots=True)
class Stand:
    """How the program is, as it answered; restricted to `services` and `devices` where some are named."""

    health: Document
    guard: Document
    services: Sequence[Document]
    sessions: Sequence[Document]
    devices: frozenset[str] | None = None
    """Of which anything is told; None: of all."""

    def document(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "site": self.health.get("site"),
            "health": self.health,
            "guard": self.guard,
            "services": list(self.services),
            "sessions": list(self.sessions),
        }


def narrow(stand: Stand, services: Collection[str], devices: Collection[str]) -> Stand:
    """What concerns these services, and these devices; empty: whatever.

    Of a device these are its sessions and the services that depend on one of them; of a service its sessions.
    """
    if not services and not devices:
        return stand
    depending = {name for one in stand.sessions if one["device"] in devices for name in one["services"]}
    chosen = [
        one
        for one in stand.services
        if (not services or one["service"] in services) and (not devices or one["service"] in depending)
    ]
    sessions = [
        one
        for one in stand.sessions
        if (not devices or one["device"] in devices) and (not services or set(services) & set(one["services"]))
    ]
    concerned = frozenset(devices) | {one["device"] for one in sessions}
    return Stand(stand.health, stand.guard, chosen, sessions, concerned)


# --- tables -------------------------------------------------------------------------------------------------------


def lines(stand: Stand, screen: Screen) -> Iterator[str]:
    """The program in a few lines, then its services, sessions and routes."""
    now = clock(stand.health)
    yield from _head(stand, screen)
    for columns, rows in (
        (SERVICES, [_service_row(one, now) for one in stand.services]),
        (SESSIONS, [_session_row(one, now) for one in stand.sessions]),
        (ROUTES, [_route_row(one["service"], route) for one in stand.services for route in one["routes"]]),
    ):
        if rows:
            yield ""
            yield from table(columns, rows, screen)


def clock(health: Document) -> datetime:
    """What time it is for the program itself: ages are told by its clock, whatever ours says."""
    return moment(health["started"]) + timedelta(seconds=float(health["uptime"]))


def devices(found: Sequence[Document], now: datetime, screen: Screen) -> Iterator[str]:
    """Devices as a table."""
    yield from table(DEVICES, [_device_row(one, now) for one in found], screen)


def device(one: Document, now: datetime, screen: Screen) -> Iterator[str]:
    """A device: how it is, then the keys of its table as they hold."""
    yield screen.line(f"{one['name']}: {_device_state(one)}", "good" if one["reachable"] else "warning")
    told = {
        "status": one["status"],
        "heard": None if one["heard"] is None else f"{since(one['heard'], now)} ago",
        "sessions": f"{one['sessions_up']} of {one['sessions']} up",
        "services": ", ".join(one["services"]),
        "agent runs for": None if one["uptime"] is None else age(timedelta(seconds=one["uptime"])),
        "from": "the configuration" if one["origin"] == "file" else "the API",
    }
    apart = {*("name", "written", "origin", "reachable", "reason", "heard", "sessions", "sessions_up"), *told}
    keys = {key: value for key, value in one.items() if key not in apart and value not in (None, [], {}, "")}
    for key, value in {**{key: text for key, text in told.items() if text}, **keys}.items():
        yield screen.line(f"  {key}: {value if isinstance(value, str) else json.dumps(value)}")


def endpoints(found: Sequence[Document], now: datetime, screen: Screen) -> Iterator[str]:
    """Who is told of events, as a table."""
    rows = [
        [
            one["endpoint"],
            one["address"],
            Cell(one["state"], "good" if one["state"] == "ok" else "warning"),
            str(one["waiting"]),
            str(one["sent"]),
            Cell(str(one["dead"]), "bad" if one["dead"] else ""),
            since(one["last_success"], now),
            Cell(one["last_error"] or "", "warning"),
        ]
        for one in found
    ]
    yield from table(ENDPOINTS, rows, screen)


def letters(found: Sequence[Document], now: datetime, screen: Screen) -> Iterator[str]:
    """What could not be delivered, as a table."""
    rows: list[list[Cell | str]] = [
        [
            str(one["number"]),
            one["endpoint"],
            since(one["ts"], now),
            str(one["event"].get("event_type", "")),
            f"#{one['event']['id']}" if "id" in one["event"] else "",
            "again" if one["resending"] else "",
            Cell(one["reason"], "warning"),
        ]
        for one in found
    ]
    yield from table(LETTERS, rows, screen)


def _device_state(one: Document) -> str:
    if one["reachable"] is None:
        return "not asked yet"
    return "reachable" if one["reachable"] else f"unreachable: {one['reason']}"


def _device_row(one: Document, now: datetime) -> list[Cell | str]:
    reachable = one["reachable"]
    state = Cell("reachable", "good") if reachable else Cell("not asked" if reachable is None else "unreachable", "bad")
    return [
        one["name"],
        str(one["host"]) if one["port"] == 161 else f"{one['host']} port {one['port']}",
        state,
        since(one["heard"], now),
        f"{one['sessions_up']}/{one['sessions']}",
        one["origin"],
        ", ".join(one["services"]),
        (one["status"] if reachable else one["reason"]) or "",
    ]


def _head(stand: Stand, screen: Screen) -> Iterator[str]:
    health = stand.health
    style = {"ok": "good", "starting": "warning"}.get(health["status"], "bad")
    speaker = health["exabgp"]["version"] or "ExaBGP has not said its version"
    yield screen.line(
        f"{health['site']}: {health['status']}; exabgp-bfd {health['version']} for "
        f"{age(timedelta(seconds=health['uptime']))}; {speaker}",
        style,
    )
    counted = [
        f"{health['services']['announced']} of {health['services']['total']} services announced",
        f"{health['sessions']['up']} of {health['sessions']['total']} sessions up",
        f"{health['devices']['reachable']} of {health['devices']['total']} devices reachable",
    ]
    yield screen.line(", ".join(counted))
    for remark in _remarks(stand):
        yield screen.line(f"! {remark}", "warning")


def _remarks(stand: Stand) -> Iterator[str]:
    """What of the program itself is not as it should be."""
    health, guard = stand.health, stand.guard
    for missing in health["missing"]:
        yield f"not ready: {missing}"
    if health["journal"] != "ok":
        yield "the journal takes no records"
    for name, reason in health["devices"]["troubled"].items():
        if stand.devices is None or name in stand.devices:
            yield f"device {name}: {reason}"
    for neighbor, state in health["neighbors"].items():
        if state == "down":
            yield f"BGP neighbour {neighbor} is down"
    if guard["blind"]:
        yield "the guard believes nothing: every device is silent"
    if guard["clock_doubted"]:
        yield "the clock jumped: orders that end by the clock are in doubt"
    if guard["held"]:
        yield f"the guard holds {', '.join(guard['held'])}"
    if guard["lift"] is not None:
        yield f"the guard's limit is lifted {_by(guard['lift'])}"


def _service_row(service: Document, now: datetime) -> list[Cell | str]:
    state = service["state"]
    ordered = service["override"]
    why = str(service["why"]).removeprefix(f"{state}: ")
    if ordered is not None:
        why = f"{ordered['action']} {_by(ordered)}; {why}"
    well = state == "announced" and service["health"] in {"full", "undecided"}
    return [
        service["service"],
        Cell(state, "good" if well else "warning" if state == "announced" or _is_ordered(service) else "bad"),
        since(service["since"], now),
        f"{service['up']}/{service['needed']}",
        Cell(service["layer"], "" if service["layer"] == "health" else "warning"),
        why,
    ]


def _session_row(session: Document, now: datetime) -> list[Cell | str]:
    state = session["state"]
    remark = []
    if session["diagnostic"] is not None and session["diagnostic"]["code"]:
        remark.append(str(session["diagnostic"]["name"]).replace("_", " "))
    if session["device_reason"]:
        remark.append(f"device: {session['device_reason']}")
    return [
        session["session"],
        Cell(state, "good" if state == "up" else "bad" if state in {"down", "failing"} else "warning"),
        since(session["since"], now),
        session["interface"] or "",
        str(session["changes"]),
        ", ".join(session["services"]),
        "; ".join(remark),
    ]


def _route_row(service: str, route: Document) -> list[Cell | str]:
    accepted, announced = route["accepted"], route["announced"]
    word = "announced" if announced else "withdrawn"
    remark = ["ExaBGP refused it, or did not answer"] if accepted is False else []
    remark += [f"{neighbor}: {why}" for neighbor, why in route["unseen"].items()]
    return [
        f"watchdog {route['watchdog']}" if "watchdog" in route else str(route["prefix"]),
        service,
        Cell(word, "bad" if accepted is False else "good" if announced else "warning"),
        str(route.get("next_hop", "")),
        " ".join(attributes(route)),
        ", ".join(route["confirmed"]),
        Cell("; ".join(remark), "warning"),
    ]


def attributes(route: Document) -> Iterator[str]:
    """What is announced beside prefix and next hop."""
    keys = ("med", "local_preference", "communities", "large_communities", "extended_communities", "as_path")
    for key in keys:
        value = route.get(key)
        if value not in (None, []):
            yield f"{key}={','.join(map(str, value)) if isinstance(value, list) else value}"


def moment(text: str) -> datetime:
    """A moment of a document; raises ValueError."""
    return datetime.fromisoformat(text)


def since(text: str | None, now: datetime) -> str:
    """How long ago a moment was."""
    return "" if text is None else age(now - moment(text))


def age(duration: timedelta) -> str:
    """A duration in its two largest units; below a minute in seconds."""
    seconds = max(0, int(duration.total_seconds()))
    if seconds < 60:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if hours < 1:
        return f"{minutes}m {seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if days < 1:
        return f"{hours}h {minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{days}d {hours % 24}h" if hours % 24 else f"{days}d"


def _by(order: Document) -> str:
    end = "until it is cleared" if order["expires"] is None else f"until {order['expires']}"
    return f"by {order['actor']} {end}: {order['reason']}"


def _is_ordered(service: Document) -> bool:
    return bool(service["layer"] in _ORDERED)


# --- a monitor's verdict ------------------------------------------------------------------------------------------


class Level(IntEnum):
    """What a monitor is told: its exit status."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """How bad it is, why, and in numbers: `(label, value, most)`."""

    level: Level
    told: str
    findings: tuple[str, ...] = ()
    numbers: tuple[tuple[str, float, float | None], ...] = field(default=())

    def line(self) -> str:
        """The line that a monitor reads: the verdict, and behind the bar its numbers."""
        text = _one_line(f"{LABEL} {self.level.name} - {self.told}")
        data = " ".join(
            f"{label}={value:g};;;0" + ("" if most is None else f";{most:g}") for label, value, most in self.numbers
        )
        return f"{text} | {data}" if data else text

    def document(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "status": self.level.name,
            "exit_status": int(self.level),
            "text": self.told,
            "findings": list(self.findings),
            "numbers": {label: value for label, value, _ in self.numbers},
        }


def _one_line(text: str) -> str:
    # A bar would begin the numbers.
    return cut(safe(text).replace("|", "/"), _LONGEST_LINE)


def unknown(text: str, level: Level = Level.UNKNOWN) -> Verdict:
    """The verdict where nothing could be asked."""
    return Verdict(level, text)


def verdict(stand: Stand) -> Verdict:
    """How bad it is."""
    critical = list(_critical(stand))
    warning = list(_warnings(stand))
    level = Level.CRITICAL if critical else Level.WARNING if warning else Level.OK
    findings = (*critical, *warning)
    told = "; ".join(findings[:_SHOWN]) + (f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else "")
    announced = sum(one["state"] == "announced" for one in stand.services)
    up = sum(one["state"] == "up" for one in stand.sessions)
    if not findings:
        told = f"{stand.health['site']}: {announced} of {len(stand.services)} services announced, "
        told += f"{up} of {len(stand.sessions)} sessions up"
    return Verdict(level, told, findings, tuple(_numbers(stand, announced, up)))


def _critical(stand: Stand) -> Iterator[str]:
    health = stand.health
    for service in stand.services:
        if service["state"] == "withdrawn":
            if not _is_ordered(service) and not _is_undecided_yet(service, health):
                yield f"service {service['service']} is withdrawn: {_why(service)}"
        elif service["routes"] and all(route["accepted"] is False for route in service["routes"]):
            yield f"service {service['service']} is announced, but ExaBGP refuses its routes or does not answer"
    states = list(health["neighbors"].values())
    if states and all(state == "down" for state in states):
        yield "every BGP neighbour of ExaBGP is down"


def _warnings(stand: Stand) -> Iterator[str]:
    yield from _remarks(stand)
    for service in stand.services:
        yield from _warnings_of(service, stand.health)
    yield from _summed(
        (f"{one['session']} is {one['state']}" for one in stand.sessions if one["services"] and _is_unwell(one)),
        "session",
    )


def _warnings_of(service: Document, health: Document) -> Iterator[str]:
    name = service["service"]
    ordered = service["override"]
    if ordered is not None:
        yield f"service {name}: {ordered['action']} {_by(ordered)}"
    elif service["disabled"]:
        yield f"service {name} is {service['state']}: its disable file is there"
    elif service["state"] == "withdrawn" and _is_ordered(service):
        yield f"service {name} is withdrawn: {_why(service)}"
    if service["state"] == "withdrawn":
        if _is_undecided_yet(service, health):
            yield f"service {name} is not announced yet: {_why(service)}"
        return
    if service["layer"] in {"guard", "last_site"} or service["health"] not in {"full", "undecided"}:
        yield f"service {name} is announced, but its health is {service['health']}: {_why(service)}"
    refused = sum(route["accepted"] is False for route in service["routes"])
    if 0 < refused < len(service["routes"]):
        yield f"service {name}: ExaBGP refuses {refused} of its {len(service['routes'])} routes, or does not answer"
    unseen = sum(bool(route["unseen"]) for route in service["routes"])
    if unseen:
        yield f"service {name}: {unseen} of its {len(service['routes'])} routes were not seen to leave ExaBGP"


def _summed(texts: Iterable[str], what: str) -> Iterator[str]:
    """The texts themselves, or where they are many, how many."""
    found = list(texts)
    if len(found) <= 4:
        yield from (f"{what} {text}" for text in found)
    else:
        yield f"{len(found)} {what}s are not up: {', '.join(found[:3])}, ..."


def _is_unwell(session: Document) -> bool:
    # AdminDown is no failure of the path (RFC 5882 section 3.2).
    return bool(session["state"] in _UNWELL)


def _is_undecided_yet(service: Document, health: Document) -> bool:
    """Whether we have just been started, and do not know enough of it."""
    return bool(health["status"] == "starting" and service["undecided"] > 0)


def _why(service: Document) -> str:
    return str(service["why"]).removeprefix(f"{service['state']}: ")


def _numbers(stand: Stand, announced: int, up: int) -> Iterator[tuple[str, float, float | None]]:
    health = stand.health
    states = [one["state"] for one in stand.sessions]
    routes = [route for service in stand.services for route in service["routes"]]
    yield "services_announced", announced, len(stand.services)
    yield "services_overridden", sum(one["override"] is not None for one in stand.services), len(stand.services)
    yield "sessions_up", up, len(states)
    yield "sessions_down", sum(state in {"down", "failing"} for state in states), len(states)
    yield "sessions_unknown", sum(state in {"unknown", "missing"} for state in states), len(states)
    if stand.devices is None:
        yield "devices_reachable", health["devices"]["reachable"], health["devices"]["total"]
    yield "routes_refused", sum(route["accepted"] is False for route in routes), len(routes)
    yield "routes_unseen", sum(bool(route["unseen"]) for route in routes), len(routes)
    yield "guard_held", len(stand.guard["held"]), None
