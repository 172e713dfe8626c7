"""What a report from outside is known by, so that the same one sent again is told from a new one."""

from __future__ import annotations

from dataclasses import dataclass

from exabgp_bfd.core.model import BfdError


@dataclass(frozen=True, slots=True)
class Mark:
    """A signed report's name: two reports of one sender with the same `id` are one report, sent twice."""

    sender: str
    """Which secret signed it, as a digest: a sender may be renamed, and a secret be given to another."""
    id: str
    body: str
    """The digest of the body: the same id over another body is no repetition, but a fault or a forgery."""
    time: int
    """When it was signed, in seconds since the epoch; where its signature tells no time, when it arrived."""
    fresh: bool = True
    """Whether that time is near enough to ours for the report to be taken."""
    timed: bool = True
    """Whether the signature tells the time."""
    order: tuple[str, ...] = ()
    """Set where order matters, as DEVICE/SESSION, `*` for all of a device's: of what is about one of these, nothing is
    taken that was signed before what was taken last."""
    also: tuple[str, ...] = ()
    """What else the sender is known by: his other secrets, of which one replaces another, and his name, by which an
    older version of ours remembers his reports."""

    @property
    def senders(self) -> tuple[str, ...]:
        """All that its sender is known by, by what signed it first."""
        return (self.sender, *self.also)


@dataclass(frozen=True, slots=True)
class Taken:
    """The events that reports became, all of them on disk."""

    events: tuple[int, ...]
    again: bool = False
    """Whether they were there already: the same report was sent before."""


class ReplayedError(BfdError):
    """A report that was taken before is sent again: too late, over another body, or behind a later one."""


class StaleError(BfdError):
    """A report that was signed too long ago, or too far ahead, and that was never taken."""


class UnderWayError(BfdError):
    """The same report is being taken just now, or too many are remembered to take another; ask again later."""
