"""What a poller says, kept for a test; and what it should have said of a recording."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from exabgp_bfd.core.model import Observation, Poll, Secret, Silence, State
from exabgp_bfd.sources.snmp.poller import Poller
from exabgp_bfd.sources.snmp.target import Target
from lab.recordings import Recording, Told

PATIENCE = 90.0
COMMUNITY = "public"

Message = Poll | Silence


class Heard:
    """Everything that was delivered, and a way to wait for more of it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._more = asyncio.Event()

    def __call__(self, message: Message) -> None:
        self.messages.append(message)
        self._more.set()

    @property
    def now(self) -> int:
        return len(self.messages)

    async def until(self, wanted: Callable[[Message], object], start: int = 0, patience: float = PATIENCE) -> int:
        """Waits for a message of which `wanted` is true, from `start` on, and gives its place."""
        async with asyncio.timeout(patience):
            while True:
                for place in range(start, len(self.messages)):
                    if wanted(self.messages[place]):
                        return place
                start = len(self.messages)
                self._more.clear()
                await self._more.wait()

    async def rounds(self, more: int) -> list[Message]:
        """So many more messages."""
        start = self.now
        await self.until(lambda _: self.now >= start + more, start)
        return self.messages[start:]

    async def state(self, session: str, state: State, start: int = 0) -> Observation:
        """The next observation of a session, by its id, in a state."""
        return await self.observed(lambda seen: seen.session.id == session and seen.state is state, start)

    async def whole(self, start: int = 0, device: str | None = None) -> Poll:
        """The next poll that tells all there is."""
        place = await self.until(lambda said: complete(said) and device in {None, said.device}, start)
        found = self.messages[place]
        assert isinstance(found, Poll)
        return found

    async def observed(self, wanted: Callable[[Observation], object], start: int = 0) -> Observation:
        """The next observation of which `wanted` is true."""
        place = await self.until(lambda said: any(wanted(seen) for seen in observations(said)), start)
        return next(seen for seen in observations(self.messages[place]) if wanted(seen))


def observations(message: Message) -> tuple[Observation, ...]:
    return message.observations if isinstance(message, Poll) else ()


def states(message: Message) -> dict[str, State]:
    return {seen.session.name: seen.state for seen in observations(message)}


def complete(message: Message) -> bool:
    return isinstance(message, Poll) and message.complete


def target(port: int, engine: str, name: str = "edge", **changes: object) -> Target:
    settings = {"interval": 0.1, "timeout": 2.0, "community": Secret(COMMUNITY), **changes}
    return Target(name, "127.0.0.1", port=port, engine=engine, **settings)  # type: ignore[arg-type]


@asynccontextmanager
async def polling(*targets: Target, **settings: object) -> AsyncIterator[tuple[Poller, Heard]]:
    heard = Heard()
    poller = Poller(targets, heard, **settings)  # type: ignore[arg-type]
    task = asyncio.create_task(poller.run())
    try:
        yield poller, heard
    finally:
        await poller.close()
        async with asyncio.timeout(PATIENCE):
            await task


def found(told: Told, seen: tuple[Observation, ...]) -> Observation | None:
    """What was observed of a session of a recording."""
    return next((one for one in seen if one.details is not None and one.details.get("index") == told.index), None)


def misunderstood(recording: Recording, seen: tuple[Observation, ...]) -> list[str]:
    """What is wrong with what was understood of a recording, a sentence each."""
    wrong = [f"{len(seen)} sessions instead of {len(recording.sessions)}"] * (len(seen) != len(recording.sessions))
    names = [one.session.name for one in seen]
    wrong += [f"{name} is two sessions' name" for name in set(names) if names.count(name) > 1]
    for told in recording.sessions:
        one = found(told, seen)
        if one is None:
            wrong.append(f"nothing is known of {told.index}")
            continue
        pairs = {
            "peer": (one.session.peer, told.peer),
            "local": (one.session.local, told.local),
            "interface": (one.session.interface, told.interface),
            "discriminator": (one.session.discriminator, told.discriminator),
            "vrf": (one.session.vrf, told.vrf),
            "multihop": (one.session.multihop, told.multihop),
            "state": (one.state, told.state),
            "diagnostic": (one.diagnostic, told.diagnostic),
            "ups": (one.ups, told.ups),
            "downs": (one.downs, told.downs),
        }
        wrong += [
            f"{told.index}: {what} {is_} instead of {is_to}" for what, (is_, is_to) in pairs.items() if is_ != is_to
        ]
        alone = sum(other.peer == told.peer for other in recording.sessions) == 1
        if alone and one.session.name.partition("%")[0] != str(told.peer):
            wrong.append(f"{told.index} is named {one.session.name}")
        if not alone and not one.session.name.startswith((f"{told.peer}%", f"{told.peer}@")):
            wrong.append(f"{told.index} of two with {told.peer} is named {one.session.name}")
    return wrong
