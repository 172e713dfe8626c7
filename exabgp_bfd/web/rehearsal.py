"""`dry_run=true`: what a change would do, told without doing it."""

from __future__ import annotations

from typing import Any, Final

from exabgp_bfd.core.model import Clear, Order
from exabgp_bfd.core.told import Rehearsed
from exabgp_bfd.web import documents
from exabgp_bfd.web.backend import Backend
from exabgp_bfd.web.queries import Rehearsing, parse

REHEARSED_WITHIN: Final = 5.0
"""Seconds that it may take."""


def asked() -> bool:
    """Whether a change is only rehearsed, as the query says; a body may say so too."""
    return parse(Rehearsing).dry_run


def of(backend: Backend, what: Order | Clear, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - of the answer
    """What an order would do."""
    return {**document(backend.rehearse(what, REHEARSED_WITHIN)), **more}


def document(told: Rehearsed) -> dict[str, Any]:
    """What would be done, as JSON."""
    return {
        "dry_run": True,
        "commands": [documents.command(command) for command in told.commands],
        "lines": {dialect: list(lines) for dialect, lines in told.lines.items()},
        "dialect": told.dialect,
        "refused": told.refused,
    }
