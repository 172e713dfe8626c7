"""What ExaBGP writes before there is a journal: its first words tell which neighbours are up and what they announce.

Its pipe is read from the first moment on, and a start may wait for long: for the remedy of a bad configuration, or
because there were too many starts.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from exabgp_bfd.storage.journal import Journal

MOST_LINES: Final = 50_000
MOST_OCTETS: Final = 16 << 20
"""Half of what the journal itself lets wait."""


class EarlyLines:
    """Keeps lines until there is a journal, hands them over in order, and from then on is out of the way."""

    def __init__(self, *, most_lines: int = MOST_LINES, most_octets: int = MOST_OCTETS) -> None:
        self._most_lines = most_lines
        self._most_octets = most_octets
        self._gate = threading.Lock()  # guards what follows, and is held for moments only
        self._journal: Journal | None = None
        self._batches: list[tuple[Sequence[bytes], int]] = []
        self._lines = self._octets = 0
        self._missed = 0
        self._missed_from = self._missed_until = 0

    def take(self, lines: Sequence[bytes], received: int) -> int:
        """Keeps lines that came at `received` (microseconds); how many were taken. For the reader's thread."""
        with self._gate:
            journal = self._journal
            if journal is None:
                return self._keep(lines, received)
        return journal.messages(lines, received)

    def _keep(self, lines: Sequence[bytes], received: int) -> int:
        octets = sum(map(len, lines))
        # Once something is missing, so is all that follows: one gap, and before it everything.
        if self._missed or self._lines + len(lines) > self._most_lines or self._octets + octets > self._most_octets:
            if not self._missed:
                self._missed_from = received
            self._missed += len(lines)
            self._missed_until = received
            return 0
        self._batches.append((lines, received))
        self._lines += len(lines)
        self._octets += octets
        return len(lines)

    def hand_over(self, journal: Journal) -> None:
        """Gives a journal that is open what was kept, and from now on everything."""
        while True:
            with self._gate:
                batches, self._batches = self._batches, []
                if not batches:
                    if self._missed:
                        journal.missed(self._missed, self._missed_from, self._missed_until)
                    self._missed = self._lines = self._octets = 0
                    self._journal = journal
                    return
            # Outside the gate: whoever reads the pipe must not wait for so many.
            for lines, received in batches:
                journal.messages(lines, received)
