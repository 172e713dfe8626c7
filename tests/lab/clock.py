"""A loop whose time is made up: where it would wait for a time, that time is now. For what takes hours, in no time.

Nothing real may be waited for in it: agents are made up too.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Skip(selectors.DefaultSelector):
    loop: "Clock"

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "the loop waits for something that never comes"
        self.loop.now += timeout
        return super().select(0)


class Clock(asyncio.SelectorEventLoop):
    """The loop; `now` is its time."""

    def __init__(self) -> None:
        self.now = 0.0
        skip = _Skip()
        skip.loop = self
        super().__init__(skip)

    def time(self) -> float:
        return self.now


def in_no_time(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in made up time."""
    loop = Clock()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
