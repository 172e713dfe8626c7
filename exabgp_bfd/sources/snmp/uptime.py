"""What sysUpTime tells of a device: it went on, it came round after 497 days, or the device began anew. Pure."""

from __future__ import annotations

_ROUND = 2**32
"""TimeTicks (RFC 2578 section 7.1.8), in hundredths of a second, begin again here."""
_CROSSED = 100  # hundredths of a second by which two answers may seem to go backwards, for they crossed on the network
_SLACK = 3000  # hundredths by which an agent that keeps it in a cache, or answers late, may be off
_DRIFT = 0.02  # of the time between: how wrong a device's clock may be


class UpTime:
    """A device's sysUpTime from answer to answer."""

    __slots__ = ("asked", "ticks")

    def __init__(self) -> None:
        self.ticks: int | None = None
        self.asked = 0.0
        """When the newest of them was asked for, in seconds."""

    def restarted(self, ticks: int, asked: float) -> bool:
        """Takes an answer and the second it was asked for; whether the device began anew since the one before.

        It did when sysUpTime fell, unless 2**32 is just where it should have come round; and it did when less has
        passed for it than for us, for who was away long may be up again for longer than it had been before.
        """
        before, since = self.ticks, asked - self.asked
        if before is None:
            self.ticks, self.asked = ticks, asked
            return False
        if since < 0:
            return False  # an older answer, which came later
        self.ticks, self.asked = ticks, asked
        if ticks >= before and since < _SLACK / 200:
            return False  # the usual case: too little time has passed for anything but going on
        expected = before + since * 100
        slack = _SLACK + since * 100 * _DRIFT
        if ticks < before - _CROSSED:
            return abs(expected - _ROUND - ticks) > slack
        return ticks < expected - slack
