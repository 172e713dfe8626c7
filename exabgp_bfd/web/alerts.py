"""What Alertmanager and Grafana send when alerts fire and resolve, in the words of our own reports (docs/api.md).

Both send a group: `{"alerts": [{"status", "labels", "annotations", ...}, ...]}`. Each alert that names a device of ours
becomes one report; what names none is left out and told in the answer. An alert that resolved is no proof that a
session is up: it resolves as well when its series vanishes. So it only makes us look, unless the alert itself says.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from exabgp_bfd.web.problems import pointed

Alerts = Literal["alertmanager", "grafana"]

MOST: Final = 256
"""How many alerts one body may have."""

_NAMING: Final = ("device", "instance", "host", "hostname")
"""Labels that may name the device, in this order."""

_TOLD: Final = {
    "alertmanager": ("status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"),
    "grafana": (
        *("status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"),
        *("values", "valueString"),
    ),
}
"""What of an alert is kept as evidence; the rest are links and the group's own words."""

_UNSUITABLE = re.compile(r"[^A-Za-z0-9_.:-]")
_PORT = re.compile(r":[0-9]{1,5}$")
_STATES: Final = frozenset({"up", "down", "init", "admin_down"})


@dataclass(frozen=True, slots=True)
class Told:
    """What an alert says in the words of a report."""

    device: str
    reason: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """A body's reports, and what of it was none: JSON pointers with the reason."""

    told: tuple[Told, ...]
    ignored: tuple[dict[str, str], ...] = ()


def read(
    kind: Alerts, body: Mapping[str, Any], devices: Collection[str], reserved: Collection[str]
) -> Reading | list[dict[str, str]]:
    """A body's reports; or, as a list, the faults for which it is none. `reserved` are event types of our own."""
    alerts = body.get("alerts")
    if not isinstance(alerts, list):
        return [pointed("/alerts", f"is missing, or no list: this is no webhook of {kind}")]
    if len(alerts) > MOST:
        return [pointed("/alerts", f"are more than {MOST}: group them by device, or set max_alerts")]
    told, ignored, faults = [], [], []
    for number, alert in enumerate(alerts):
        place = f"/alerts/{number}"
        fault = _misshapen(alert)
        if fault is not None:
            faults.append(pointed(place + fault[0], fault[1]))
            continue
        device = _device(alert["labels"], devices)
        if device is None:
            ignored.append(pointed(f"{place}/labels", f"none of {', '.join(_NAMING)} names a device that there is"))
            continue
        told.append(Told(device, _reason(alert["labels"], reserved), _evidence(kind, alert)))
    if faults:
        return faults
    if not told:
        return ignored or [pointed("/alerts", "is empty: there is nothing to tell")]
    return Reading(tuple(told), tuple(ignored))


def _misshapen(alert: Any) -> tuple[str, str] | None:  # noqa: ANN401 - what JSON can hold
    if not isinstance(alert, dict):
        return "", "must be an object"
    if alert.get("status") not in {"firing", "resolved"}:
        return "/status", "must be firing or resolved"
    for part in ("labels", "annotations"):
        table = alert.get(part, {} if part == "annotations" else None)
        if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
            return f"/{part}", "must be an object of texts"
    return None


def _device(labels: Mapping[str, str], devices: Collection[str]) -> str | None:
    for label in _NAMING:
        name = labels.get(label)
        for candidate in () if name is None else (name, _PORT.sub("", name).strip("[]")):
            if candidate in devices:
                return candidate
    return None


def _reason(labels: Mapping[str, str], reserved: Collection[str]) -> str:
    """The alert's name as an event type."""
    reason = _UNSUITABLE.sub("_", labels.get("reason") or labels.get("alertname") or "alert")[:58]
    return f"alert_{reason}" if reason.lower() in reserved else reason


def _evidence(kind: Alerts, alert: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept; and for a sender whose effect is `observe` the state of one session, where the alert tells it."""
    evidence = {part: alert[part] for part in _TOLD[kind] if part in alert}
    labels, annotations = alert["labels"], alert.get("annotations", {})
    where = next(((name, labels[name]) for name in ("session", "peer") if labels.get(name)), None)
    # NoData, Error, MissingSeries, Paused, Updated: about the rule, and not about what it watches.
    if where is None or "grafana_state_reason" in annotations:
        return evidence
    word = "state" if alert["status"] == "firing" else "resolved_state"
    state = annotations.get(word, labels.get(word, "down" if word == "state" else None))
    if state in _STATES:
        evidence |= {"state": state, where[0]: where[1]}
    return evidence
