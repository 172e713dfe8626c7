"""Devices as somebody wrote them over HTTP, beside those of the configuration: what is kept, asked and answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

from exabgp_bfd.core.model import BfdError, Preview, Secret

MOST_DEVICES: Final = 10_000
"""How many devices may be added."""
KEPT_SECRET: Final = "***"  # noqa: S105 - what stands where one is
"""What is shown in the place of a secret, and what says, sent back, that it stays as it is."""

Written = Mapping[str, Any]
"""The keys of a `[[device]]` table as they were sent, `name` among them; its secrets are in it as they are."""


@dataclass(frozen=True, slots=True)
class KeepDevice:
    """Keep what was written of a device; None: keep nothing of it any more."""

    name: str
    text: Secret | None
    """JSON."""


class Deed(StrEnum):
    """What is to become of a device."""

    ADD = "add"
    PUT = "put"
    """Added, or in the place of the one of its name."""
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """What somebody wants of the inventory."""

    deed: Deed
    name: str | None
    """None: what is written says it."""
    actor: str
    written: Written = field(default_factory=dict, repr=False)
    dry_run: bool = False
    """Only tell what it would change."""
    force: bool = False
    """Also where it withdraws routes."""


@dataclass(frozen=True, slots=True)
class DeviceChanged:
    """What became of it."""

    name: str
    event: int | None
    """On disk; None where nothing changed, or was only tried."""
    created: bool
    preview: Preview
    """What it changed, or would, at once."""


@dataclass(frozen=True, slots=True)
class DeviceShown:
    """A device of the inventory, without any secret."""

    name: str
    origin: Literal["file", "api"]
    settings: Mapping[str, Any]
    """The keys of its table as they hold, with what it takes over from [snmp]."""
    written: Mapping[str, Any] | None
    """As it was sent, None for one of the file."""
    services: tuple[str, ...]
    """Whose `sessions` mean it, or any device."""
    status: str | None = None
    """What polling says of it, in a line; None where it is not polled (yet)."""
    profile: str | None = None
    """The BFD table that was found."""
    engine: str | None = None
    """The SNMP engine by which it is asked."""
    uptime: float | None = None
    """Seconds since its agent began, as it last said; None where it was not asked for that."""


class ConflictError(BfdError):
    """What is wanted of a device does not go with what else there is; `faults` are places and texts."""

    def __init__(self, text: str, faults: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(text)
        self.faults = faults


class NoSuchDeviceError(BfdError):
    """There is no device of that name."""
