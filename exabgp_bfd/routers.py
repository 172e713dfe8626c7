"""The routers' side, built from the settings: who is polled, whose notifications are heard, what the proxy may ask."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from exabgp_bfd.config import DeviceSettings, ProxySettings, Settings, TrapSettings
from exabgp_bfd.core.model import ConfigError, Forget, Look, Notification, Pace, Poll, Silence
from exabgp_bfd.sources.snmp import traps
from exabgp_bfd.sources.snmp.client import connect
from exabgp_bfd.sources.snmp.jobs import Jobs, JobSettings
from exabgp_bfd.sources.snmp.notifications import Hint
from exabgp_bfd.sources.snmp.poller import Poller
from exabgp_bfd.sources.snmp.target import Target
from exabgp_bfd.sources.snmp.traps import Sender, Traps

logger = logging.getLogger(__name__)

TRAPS_AGAIN = 5.0
"""Seconds after which a port for notifications that could not be had is tried again."""

Deliver = Callable[[Poll | Silence | Notification], None]


@dataclass(frozen=True, slots=True)
class Live:
    """What polling knows of a device."""

    status: str
    """In a line: what it answers, or why it does not."""
    profile: str | None
    engine: str | None
    uptime: float | None
    """Seconds since its agent began."""


class Routers:
    """Everything that speaks SNMP, on the loop's thread but for the proxy's jobs, which have one of their own."""

    def __init__(self, settings: Settings, deliver: Deliver) -> None:
        """Raises ConfigError for a device whose settings cannot be met; asks and hears nothing before `run`."""
        self._settings = settings
        self._deliver = deliver
        targets = [target_of(device) for device in settings.targets]
        self.poller = Poller(targets, deliver)
        self.jobs = Jobs(_job_settings(settings.proxy), targets)
        self.traps: Traps | None = None
        self._heard: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._changing = asyncio.Lock()

    async def run(self) -> None:
        """Polls and hears until it is cancelled."""
        hearing = asyncio.create_task(self._hear(), name="notifications")
        try:
            await self.poller.run()
        finally:
            hearing.cancel()
            await asyncio.wait([hearing])

    async def renew(self, settings: Settings) -> None:
        """From now on these settings hold; who is asked and heard as before goes on undisturbed."""
        async with self._changing:
            before, self._settings = self._settings, settings
            targets = [target_of(device) for device in settings.targets]
            self.jobs.set_devices(targets)
            self.jobs.set_settings(_job_settings(settings.proxy))
            await self.poller.set_targets(targets)
            if self.traps is not None:
                self.traps.set_senders(map(_sender, settings.targets))
            if settings.traps != before.traps:
                self._changed.set()

    async def close(self) -> None:
        """Ends everything under way."""
        await asyncio.gather(self.poller.close(), asyncio.to_thread(self.jobs.close))

    def tell(self, effect: Look | Pace | Forget) -> None:
        """Carries out what the engine wants of the poller."""
        match effect:
            case Look():
                self.poller.look(effect.device, effect.session)
            case Pace():
                self.poller.pace(effect.device, effect.quick)
            case Forget():
                self.poller.forget(effect.device, effect.session)

    def live(self, device: str) -> Live | None:
        """What polling knows of a device; None where it is not polled (yet)."""
        status = self.poller.status_of(device)
        if status is None:
            return None
        profile = self.poller.profile_of(device)
        return Live(
            status,
            None if profile is None else profile.name,
            self.poller.engine_of(device),
            self.poller.uptime_of(device),
        )

    def look_at_all(self) -> None:
        """Asks every device at once."""
        for device in self._settings.targets:
            self.poller.look(device.name, None)

    # --- numbers, for any thread ------------------------------------------------------------------------------------

    def polling(self) -> dict[str, float]:
        """What the poller did: its counters by name, all of which only grow."""
        return {name: float(number) for name, number in asdict(self.poller.counters).items()}

    def notifications(self) -> dict[str, float]:
        """What became of the datagrams that arrived as notifications."""
        return self._heard

    def count(self) -> None:
        """Takes stock of what only the loop's thread may ask for; called now and then."""
        if self.traps is not None:
            self._heard = {count.value: float(number) for count, number in self.traps.counters.items()}

    def jobs_ended(self) -> dict[str, float]:
        """What became of the proxy's jobs; all of it only grows."""
        counters = self.jobs.counters
        names = ("submitted", "refused", "turned_away", "complete", "failed", "cancelled", "dropped")
        return {name: float(getattr(counters, name)) for name in names}

    def jobs_now(self) -> dict[str, float]:
        """How many of the proxy's jobs wait and run."""
        counters = self.jobs.counters
        return {"queued": float(counters.queued), "running": float(counters.running)}

    # --- notifications ----------------------------------------------------------------------------------------------

    async def _hear(self) -> None:
        """Hears notifications as the settings say, from one change of them to the next."""
        while True:
            self._changed.clear()
            wanted = self._settings.traps
            if wanted is None:
                await self._changed.wait()
                continue
            await self._hear_by(wanted)

    async def _hear_by(self, wanted: TrapSettings) -> None:
        """A port in use is waited out: what notifications would tell, polls tell a little later."""
        receiver = Traps(_trap_settings(wanted), self._notified, self.poller.security)
        receiver.set_senders(map(_sender, self._settings.targets))
        said = ""
        try:
            while True:
                try:
                    await receiver.start()
                except ConfigError as error:
                    if str(error) != said:
                        said = str(error)
                        logger.error("no notification is heard yet: %s (trying again every %g s)", said, TRAPS_AGAIN)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(TRAPS_AGAIN):
                            await self._changed.wait()
                    if self._changed.is_set():
                        return
                    continue
                self.traps = receiver
                await self._changed.wait()
                return
        finally:
            self.traps = None
            await receiver.close()

    def _notified(self, device: str, hint: Hint, sure: bool) -> None:  # noqa: FBT001 - as the receiver says it
        sessions = self.poller.sessions_at(device, hint)
        if sessions is not None:
            # Others may lie inside a range, or share the name that is given: only who is named alone is sure.
            self._deliver(Notification(device, hint.said, sessions, sure and len(sessions) == 1, _told(hint)))


def target_of(device: DeviceSettings) -> Target:
    """A device as it is asked."""
    return Target(
        device.name,
        device.host,
        device.community,
        port=device.port,
        version=device.version,
        user=device.user,
        contexts=device.contexts,
        timeout=device.timeout,
        retries=device.retries,
        engine=device.engine,
        profile=device.profile,
        oid=device.oid,
        values=device.values,
        interval=device.interval,
        fast_interval=device.fast_interval,
        max_varbinds=device.max_varbinds,
    )


def check(device: DeviceSettings) -> None:
    """Raises ConfigError for a device that could not be asked: an engine that is not installed, say."""
    connect(target_of(device))


def _sender(device: DeviceSettings) -> Sender:
    """A device as a sender of notifications."""
    communities = [device.community, *(context.community for context in device.contexts if context.community)]
    return Sender(
        device.name,
        (device.host, *map(str, device.trap_from)),
        # One that is asked in version 3 has none: the default "public" must not open a door beside it.
        () if device.version == "3" else tuple(communities),
        device.user,
        device.trust,
    )


def _trap_settings(wanted: TrapSettings) -> traps.TrapSettings:
    return traps.TrapSettings(
        tuple((listen.host, listen.port) for listen in wanted.listen),
        wanted.communities,
        wanted.users,
        wanted.trust,
        wanted.receive_buffer,
    )


def _job_settings(proxy: ProxySettings) -> JobSettings:
    return JobSettings(proxy.allow, proxy.concurrency, proxy.keep, proxy.queue, proxy.timeout)


def _told(hint: Hint) -> dict[str, Any]:
    """What a notification said, for its event; only what it did say."""
    said: dict[str, Any] = {
        "profile": hint.profile,
        "index": hint.low if hint.low == hint.high else None,
        "indexes": [hint.low, hint.high] if hint.low != hint.high else None,
        "peer": None if hint.peer is None else str(hint.peer),
        "local": None if hint.local is None else str(hint.local),
        "discriminator": hint.discriminator,
        "interface": hint.interface,
        "if_index": hint.if_index,
        **hint.details,
    }
    return {key: value for key, value in said.items() if value is not None}
