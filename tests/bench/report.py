"""What a measure found: figures by situation, as a table to read and as a document to compare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: the figure's key, its heading and its format."""

    key: str
    heading: str
    form: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    measure: str
    about: str
    bar: str
    settings: Mapping[str, Any]
    columns: Sequence[Column]
    situations: Mapping[str, Figures]
    notes: Sequence[str] = field(default_factory=tuple)


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest rank: a value that was measured, never one between two."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def milliseconds(nanoseconds: Sequence[int]) -> Figures:
    """p50, p99, the largest and how many."""
    return {
        "samples": len(nanoseconds),
        "p50_ms": round(percentile(nanoseconds, 50) / 1e6, 4),
        "p90_ms": round(percentile(nanoseconds, 90) / 1e6, 4),
        "p99_ms": round(percentile(nanoseconds, 99) / 1e6, 4),
        "max_ms": round(max(nanoseconds) / 1e6, 4),
    }


def table(result: Result) -> str:
    """The result for people."""
    rows = [["", *(column.heading for column in result.columns)]]
    for name, figures in result.situations.items():
        cells = (figures.get(column.key) for column in result.columns)
        rows.append(
            [name, *("-" if cell is None else f"{cell:{column.form}}" for cell, column in _with(cells, result))]
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [f"{result.measure}: {result.about}", f"bar: {result.bar}"]
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([first.strip().ljust(widths[0]), *others]).rstrip())
    return "\n".join([*lines, *result.notes, ""])


def _with(cells, result):
    return zip(cells, result.columns, strict=True)


def document(result: Result) -> dict[str, Any]:
    """The result for programs."""
    return {
        "measure": result.measure,
        "about": result.about,
        "bar": result.bar,
        "settings": dict(result.settings),
        "situations": {name: dict(figures) for name, figures in result.situations.items()},
        "notes": list(result.notes),
    }
