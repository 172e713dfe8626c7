"""The plan in words: what each service is announced by, and the exact lines that ExaBGP would get."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from exabgp_bfd.core.model import (
    Announce,
    Change,
    Command,
    Route,
    Service,
    Span,
    SpeakerError,
    Target,
    Watchdog,
    Window,
    Withdraw,
)
from exabgp_bfd.core.routes import altered
from exabgp_bfd.speaker import dialect
from exabgp_bfd.speaker.dialect import Speech

DRAINING = "draining"


def service_lines(service: Service, speech: Speech = Speech()) -> Iterator[str]:  # noqa: B008 (frozen)
    """A service's rules, and the lines that are said for it to an ExaBGP of which so much is known."""
    yield f"service {service.name}: {_rule(service)}"
    for line in _more(service):
        yield f"  {line}"
    for target in service.routes:
        yield from _target_lines(service, target, speech)


def _rule(service: Service) -> str:
    followed = ", ".join(str(selector) for selector in service.selectors)
    return (
        f"{service.require} of [{followed}] up; down after {service.fall} bad"
        f"{' and a confirming look' if service.confirm else ''}, up after {service.rise} good and"
        f" {service.hold_up:g} s; admin_down={service.on_admin_down} missing={service.on_missing}"
        f" unknown={service.on_unknown}"
    )


def _more(service: Service) -> Iterator[str]:
    for rung in service.steps:
        yield f"with {rung.up} up: {_change(rung.change)}"
    if service.steps or service.on_down is not None:
        yield f"with fewer: {_change(service.on_down)}"
    if service.damping is not None:
        damping = service.damping
        yield (
            f"damping: {damping.penalty:g} a flap, suppressed from {damping.cutoff:g}, used again below"
            f" {damping.reuse:g}, half-life {damping.half_life:g} s, ceiling {damping.ceiling:g}"
        )
    only_watchdogs = all(isinstance(target, Watchdog) for target in service.routes)
    how = "as it is (a watchdog carries no GRACEFUL_SHUTDOWN)" if only_watchdogs else "with GRACEFUL_SHUTDOWN"
    yield f"drain: {service.drain_time:g} s {how}, then withdrawn"
    if service.disable_file is not None:
        yield f"{service.on_disable} while {service.disable_file} exists"


def _change(change: Change | None) -> str:
    if change is None:
        return "withdrawn"
    given = [
        f"{name} {_value(getattr(change, name))}" for name in change.__slots__ if getattr(change, name) is not None
    ]
    return f"announced with {', '.join(given)}"


def _value(value: object) -> str:
    return f"[{' '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def utterances(service: Service, target: Target) -> Iterator[tuple[str, Command]]:
    """Every command that could ever be sent for a target, and when: steps, drains of each step, the withdraw."""
    levels: list[tuple[str, Change | None]] = [("announce", None)]
    levels += [(f"with {rung.up} up", rung.change) for rung in service.steps if rung.change is not None]
    if service.on_down is not None:
        levels.append(("on_down", service.on_down))
    for when, change in levels:
        yield when, Announce(0, service.name, altered(target, change))
    if isinstance(target, Route) and service.drain_time > 0:
        for when, change in levels:
            drained = altered(target, change, graceful_shutdown=True)
            yield f"{DRAINING} {when}" if change is not None else DRAINING, Announce(0, service.name, drained)
    yield "withdraw", Withdraw(0, service.name, target)


def _target_lines(service: Service, target: Target, speech: Speech) -> Iterator[str]:
    if isinstance(target, Watchdog):
        yield "  note: write `withdraw` beside `watchdog` in ExaBGP's file, or its routes are announced until we start"
    for when, command in utterances(service, target):
        # The drain of each step as well would double what there is to read, and tell nothing new.
        if not when.startswith(f"{DRAINING} "):
            yield f"  {when}: {_line(command, speech)}"


def _line(command: Command, speech: Speech) -> str:
    try:
        return dialect.line(command, speech).decode().rstrip()
    except SpeakerError as error:
        return f"never sent: {error}"


def window_line(window: Window) -> str:
    """A maintenance window."""
    if isinstance(window.when, Span):
        when = f"from {_moment(window.when.start)} to {_moment(window.when.end)}"
    else:
        days = ",".join(["mon", "tue", "wed", "thu", "fri", "sat", "sun"][day] for day in sorted(window.when.days))
        at = f"{window.when.hour:02}:{window.when.minute:02}"
        when = f"each {days} at {at} {window.when.zone} for {window.when.duration:g} s"
    about = [*window.devices, *map(str, window.sessions), *window.services]
    action = window.action if window.services else window.reading
    return f"window {window.name}: {action} of [{', '.join(about)}] {when}"


def _moment(seconds: float | None) -> str:
    return "ever" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
