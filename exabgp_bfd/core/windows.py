"""Maintenance windows: when each is open, from the wall clock's seconds since the epoch (pure, zones included)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from exabgp_bfd.core.model import Span, Weekly, Window

_WEEK = 7


def open_until(window: Window, wall: float) -> float | None:
    """When an open window closes (infinity: never), None while it is closed."""
    when = window.when
    if isinstance(when, Span):
        begun = when.start is None or when.start <= wall
        ends = float("inf") if when.end is None else when.end
        return ends if begun and wall < ends else None
    ends = max((start + when.duration for start in _starts(when, wall) if start <= wall), default=wall)
    return ends if wall < ends else None


def open_since(window: Window, wall: float) -> float | None:
    """When an open window opened (minus infinity: it always was), None while it is closed."""
    if open_until(window, wall) is None:
        return None
    when = window.when
    if isinstance(when, Span):
        return float("-inf") if when.start is None else when.start
    # The earliest of those that reach from one into the next without a gap.
    since = wall
    for start in sorted((start for start in _starts(when, wall) if start <= wall), reverse=True):
        if start + when.duration < since:
            break
        since = start
    return since


def next_edge(window: Window, wall: float) -> float | None:
    """When it opens or closes next, None: never again."""
    ends = open_until(window, wall)
    if ends is not None:
        return ends if ends < float("inf") else None
    when = window.when
    if isinstance(when, Span):
        return when.start if when.start is not None and when.start > wall else None
    return min((start for start in _starts(when, wall) if start > wall), default=None)


def _starts(when: Weekly, wall: float) -> list[float]:
    """Every start within two weeks around a moment; an hour that a clock change skips or repeats is taken once."""
    today = datetime.fromtimestamp(wall, UTC).astimezone(when.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    starts = []
    for offset in range(-_WEEK - 1, _WEEK + 2):
        day = today.date() + timedelta(days=offset)
        if day.weekday() in when.days:
            moment = datetime(day.year, day.month, day.day, when.hour, when.minute, tzinfo=when.zone)
            starts.append(moment.timestamp())
    return starts
