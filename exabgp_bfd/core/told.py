"""What comes of an operator's own word: what ExaBGP would be told, was told, and answered (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from exabgp_bfd.core.model import Command, Outcome, Target


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What would be done, and is not."""

    commands: tuple[Command, ...] = ()
    """In their order, each numbered 0."""
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What ExaBGP would be told, by its dialect; without those that cannot say it."""
    dialect: str | None = None
    """How ExaBGP is spoken to; None: it has not said yet what it is."""
    refused: str | None = None
    """Why it would be refused."""


@dataclass(frozen=True, slots=True)
class Commanded:
    """What was said by hand, and is on disk."""

    event: int
    lines: tuple[str, ...]
    """What ExaBGP is told."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What ExaBGP answered to a question."""

    event: int
    line: str
    """What it was asked."""
    outcome: Outcome
    lines: tuple[str, ...]
    complete: bool
    """Whether that is all of it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How we end, or would."""

    event: int | None
    """None: it was only rehearsed."""
    on_exit: str
    """`keep` or `withdraw`."""
    stays: tuple[Target, ...]
    """What stays announced."""
    again: bool
    """Whether somebody started us who starts us again."""
