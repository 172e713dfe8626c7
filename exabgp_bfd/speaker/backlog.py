"""Commands that are not written yet (pure): withdraws first, each target's words in order, only the last worth saying.

A withdraw waits only while ExaBGP does not read; an announce also while too many are unanswered, which can be long, or
while too little is known of ExaBGP's neighbours to say it. So what is decided meanwhile about the same target overtakes
it, neighbour by neighbour: an announce that left after the withdraw of its prefix, because the one named two neighbours
and the other all of them, would keep a dead path alive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from exabgp_bfd.core.model import Address, Command, Route, Target, Withdraw
from exabgp_bfd.speaker.dialect import Speech

LONGEST = 100_000
"""Withdraws that may wait, and announces, and held ones: more targets than any plan has."""

Key = tuple[str, tuple[Address, ...]]
"""What a command is about: the target's key, and the neighbours that it goes to."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A command that waits, with its line."""

    command: Command
    line: bytes
    speech: Speech
    """What was known of ExaBGP when the line was made."""
    until: float = 0.0
    """When a held one is given up, monotonic."""


class Backlog:
    """Queues of withdraws, of announces, and of announces that are held; one word for each target and neighbours."""

    def __init__(self) -> None:
        self.withdraws: dict[Key, Waiting] = {}
        self.announces: dict[Key, Waiting] = {}
        self.held: dict[Key, Waiting] = {}
        """Announces that are not to be written yet: more is to be known of ExaBGP, or another word to be done."""
        self.targets: dict[str, list[Key]] = {}
        """Which announces wait for a target, held or not."""

    def __len__(self) -> int:
        return len(self.withdraws) + len(self.announces) + len(self.held)

    def put(self, waiting: Waiting) -> bool:
        """Has a command wait at the end of its queue; False where that is full."""
        withdraws = isinstance(waiting.command, Withdraw)
        return self._put(self.withdraws if withdraws else self.announces, waiting)

    def hold(self, waiting: Waiting) -> bool:
        """Has an announce wait until it is released; False where there are too many."""
        return self._put(self.held, waiting)

    def holds(self, target: Target) -> bool:
        """Whether an announce of this target is held, before which none that comes later may be written."""
        return bool(self.held) and any(key in self.held for key in self.targets.get(target.key, ()))

    def release(self, may_leave: Callable[[Command], bool]) -> None:
        """Lets go of what is held for no reason any longer, in its order."""
        for waiting in list(self.held.values()):
            if may_leave(waiting.command) and self.put(waiting):
                self._drop(self.held, _key(waiting.command.route), listed=True)

    def give_up(self, now: float) -> list[Waiting]:
        """Takes out what was held for too long."""
        late = [waiting for waiting in self.held.values() if waiting.until <= now]
        for waiting in late:
            self._drop(self.held, _key(waiting.command.route))
        return late

    def overtake(self, command: Command) -> list[Command]:
        """Takes out what must not be said once this command is, and gives it: the oldest first.

        A withdraw takes out each announce of its target to any of its neighbours (who of the others is still to get
        it, is said again); an announce those that go to no other neighbour than it does, and the same withdraw.
        """
        key = _key(command.route)
        withdrawing = isinstance(command, Withdraw)
        overtaken = []
        for other in list(self.targets.get(key[0], ())):
            if _meet(key, other) if withdrawing else _covers(key, other):
                queue = self.announces if other in self.announces else self.held
                overtaken.append(queue[other].command)
                self._drop(queue, other)
        if key in self.withdraws:
            overtaken.append(self.withdraws.pop(key).command)
        return overtaken

    def first(self, *, announces: bool) -> Waiting | None:
        """What is to be written next; announces only where they may."""
        queue = self.withdraws or (self.announces if announces else {})
        return next(iter(queue.values()), None)

    def written(self, command: Command) -> None:
        """Takes out the command that `first` gave."""
        self._drop(self.withdraws if isinstance(command, Withdraw) else self.announces, _key(command.route))

    def _put(self, queue: dict[Key, Waiting], waiting: Waiting) -> bool:
        key = _key(waiting.command.route)
        if key not in queue and len(queue) >= LONGEST:
            return False
        self._drop(queue, key)
        queue[key] = waiting
        if queue is not self.withdraws:
            keys = self.targets.setdefault(key[0], [])
            if key not in keys:
                keys.append(key)
        return True

    def _drop(self, queue: dict[Key, Waiting], key: Key, *, listed: bool = False) -> None:
        """Takes a command out of its queue, if it is there; `listed` where its key waits in another."""
        if queue.pop(key, None) is None or queue is self.withdraws or listed:
            return
        keys = self.targets[key[0]]
        keys.remove(key)
        if not keys:
            del self.targets[key[0]]


def _key(target: Target) -> Key:
    return target.key, target.neighbors if isinstance(target, Route) else ()


def _covers(one: Key, other: Key) -> bool:
    """Whether the one goes to every neighbour that the other goes to; none named: to all of them."""
    return not one[1] or (bool(other[1]) and set(other[1]) <= set(one[1]))


def _meet(one: Key, other: Key) -> bool:
    """Whether any neighbour gets both."""
    return not one[1] or not other[1] or not set(one[1]).isdisjoint(other[1])
