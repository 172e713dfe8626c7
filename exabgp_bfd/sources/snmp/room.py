"""How many values an agent takes in one PDU: what it said itself (tooBig), and what its silence suggests.

Behind a path that drops fragments an agent answers ten values but never forty, and never says why. So the last try of a
request asks for less than the ones before it; what is answered then is suspected to be the room. The next request asks
for that first and for all of it last: the answer to the first makes it the room, until enough answers in a row allow
more; an answer to the last tells that packets are lost, of whatever size. A request that is silent at any size says
nothing of sizes: the device is dead, not narrow.
"""

from __future__ import annotations

_PATIENCE = 8
"""PDUs answered in a row before more is tried."""
_MOST_PATIENCE = 1024
_SETTLED = 32
"""PDUs answered in a row that make a growth a success; one lost before doubles the patience before the next."""
_STEPS = 3
"""A quarter, a sixteenth, a sixty-fourth: one of them for each request that was lost."""


class Room:
    """The room of one agent; never more than its ceiling, never less than one value."""

    def __init__(self, ceiling: int) -> None:
        self.size = max(1, ceiling)
        """Values that fit, as far as is known."""
        self._ceiling = self.size
        self._proven = 0
        """What was answered before the last growth."""
        self._suspected = 0
        """What was answered when more was not, once."""
        self._step = 1
        self._doubtful = False
        self._row = 0
        self._patience = _PATIENCE

    def tries(self, configured: int) -> int:
        """How many tries a request has: to ask for more than is proven must not cost the only one."""
        return 2 if configured == 1 and self._proven and self._row < _SETTLED else configured

    def part(self, wanted: int, *, tries: int, last: bool) -> int:
        """How many of `wanted` values a try asks for; `last` of its `tries`."""
        if 0 < self._suspected < wanted:
            return wanted if last and tries > 1 else self._suspected
        if wanted <= 1 or not (last if tries > 1 else self._doubtful):
            return wanted
        if 0 < self._proven < wanted and self._step == 1:
            return self._proven
        return max(1, wanted >> 2 * self._step)

    def answered(self, asked: int, wanted: int) -> None:
        """A PDU of `asked` values was answered; `wanted` is more if a larger one had been lost before it."""
        self._step, self._doubtful = 1, False
        suspected = self._suspected
        if wanted > suspected:
            self._suspected = 0
        if asked < wanted:
            if asked not in (suspected, self._proven):
                self._suspected = asked
                return
            relapse = self._proven and self._row < _SETTLED
            self._patience = min(self._patience * 2, _MOST_PATIENCE) if relapse else _PATIENCE
            self.size, self._proven, self._row = asked, 0, 0
        elif asked >= self.size:
            self._row += 1
            if self.size < self._ceiling and self._row >= self._patience:
                self._proven = self.size
                self.size, self._row = min(self._ceiling, self.size * 2), 0

    def lost(self, tries: int) -> None:
        """Nothing was answered to any of the tries of a request."""
        self._suspected = 0
        if tries > 1 or self._doubtful:
            self._step = self._step % _STEPS + 1
        self._doubtful = not self._doubtful

    def too_big(self, asked: int) -> None:
        """The agent says that so many values do not fit: it will not change its mind."""
        self.size = self._ceiling = max(1, min(self.size, asked) // 2)
        self._proven = self._row = self._suspected = 0
