"""What one input leads to, in the order in which it must be carried out, and the numbers of events and commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from exabgp_bfd.core.model import (
    Address,
    Announce,
    Ask,
    Effect,
    Event,
    Forget,
    Look,
    Pace,
    Record,
    Remember,
    RememberOrder,
    Source,
    Withdraw,
)


class Outbox:
    """Collects effects; withdraws leave first, then announces, looks, questions, and what is to be kept."""

    def __init__(self, last_event: int) -> None:
        self._last_event = last_event
        self._withdraws: list[Effect] = []
        self._announces: list[Announce] = []
        self._looks: dict[tuple[str, str | None], Look] = {}
        self._asks: dict[tuple[str, Address | None], Ask] = {}
        self._paces: dict[str, Pace] = {}
        self._forgotten: list[Effect] = []
        self._kept: list[Effect] = []

    def take(self) -> list[Effect]:
        """Everything since the last time, in order."""
        effects = [
            *self._withdraws,
            *self._announces,
            *self._looks.values(),
            *self._asks.values(),
            *self._paces.values(),
            *self._forgotten,
            *self._kept,
        ]
        self._withdraws.clear()
        self._announces.clear()
        self._looks.clear()
        self._asks.clear()
        self._paces.clear()
        self._forgotten.clear()
        self._kept.clear()
        return effects

    def command(self, command: Withdraw | Announce) -> list[int]:
        """Something for ExaBGP; withdraws leave first, so that one which follows an announce takes it out.

        The numbers of the announces that were overtaken so, whose events now say it.
        """
        if isinstance(command, Announce):
            self._announces.append(command)
            return []
        self._withdraws.append(command)
        overtaken = [each.command for each in self._announces if each.route.key == command.route.key]
        if overtaken:
            self._announces = [each for each in self._announces if each.command not in overtaken]
            self._kept = [_overtaken(each) if _number(each) in overtaken else each for each in self._kept]
        return overtaken

    def look(self, device: str, session: str | None, cause: int | None) -> None:
        """Asks for a look, once for each session or device."""
        self._looks.setdefault((device, session), Look(device, session, cause))

    def ask(self, what: Literal["peers", "rib"], neighbor: Address | None = None, cause: int | None = None) -> None:
        """Asks ExaBGP, once for each thing and neighbour."""
        self._asks.setdefault((what, neighbor), Ask(what, neighbor, cause))

    def pace(self, device: str, *, quick: bool) -> None:
        """The last word on a device's pace."""
        self._paces[device] = Pace(device, quick)

    def forget(self, device: str, session: str) -> None:
        """A session is no more."""
        self._forgotten.append(Forget(device, session))

    def remember(self, what: Remember | RememberOrder) -> None:
        """Something for our next start."""
        self._kept.append(what)

    def event(
        self,
        event_type: str,
        *,
        details: Mapping[str, Any],
        source: Source,
        device: str | None = None,
        session: str | None = None,
        service: str | None = None,
        actor: str | None = None,
        cause: int | None = None,
    ) -> int:
        """Records an event; its number."""
        self._last_event += 1
        event = Event(self._last_event, event_type, device, session, service, source.value, actor, cause, details)
        self._kept.append(Record(event))
        return self._last_event


def _number(effect: Effect) -> int | None:
    return effect.event.id if isinstance(effect, Record) else None


def _overtaken(effect: Effect) -> Effect:
    """An event of a command that was never sent, which says so."""
    if not isinstance(effect, Record):
        return effect
    return Record(replace(effect.event, details={**effect.event.details, "overtaken": True}))
