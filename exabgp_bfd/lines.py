"""What commands would look like on ExaBGP's pipe, for who wants to know before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from exabgp_bfd.core.model import Command, SpeakerError
from exabgp_bfd.core.told import Rehearsed
from exabgp_bfd.speaker import dialect
from exabgp_bfd.speaker.dialect import Dialect, Speech


def lines_of(commands: Sequence[Command], speech: Speech) -> tuple[str, ...]:
    """The line of each command; raises SpeakerError for one that must not be sent."""
    return tuple(dialect.line(command, speech).decode("ascii").rstrip("\n") for command in commands)


def rehearsed(commands: tuple[Command, ...], speech: Speech, refused: str | None = None) -> Rehearsed:
    """What commands come to in each dialect, and in that which is spoken now; `refused` goes before what that says."""
    lines: dict[str, tuple[str, ...]] = {}
    spoken = speech.dialect or Dialect.V5  # until ExaBGP has said what it is, it is spoken to so
    for each in Dialect:
        try:
            lines[each.value] = lines_of(commands, replace(speech, dialect=each))
        except SpeakerError as error:
            if each is spoken and refused is None:
                refused = str(error)
    return Rehearsed(commands, lines, speech.dialect, refused)
