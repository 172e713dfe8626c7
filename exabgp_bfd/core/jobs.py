"""What the SNMP proxy is asked, and how a ticket of it stands. Frozen, and free of I/O.

Errors
------
BfdError
  JobRefusedError        the configuration does not allow this target
  JobsFullError          too many jobs wait
  JobEndedError          a job cannot be cancelled any more
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from exabgp_bfd.core.credentials import User
from exabgp_bfd.core.model import BfdError, Secret

MOST_OIDS: Final = 128
"""Instances that one job may ask for by name."""
MOST_ROWS: Final = 100_000
"""Rows that one walk may ask for."""
USUAL_ROWS: Final = 10_000


class JobRefusedError(BfdError):
    """The configuration does not allow this target; the text says what would."""


class JobsFullError(BfdError):
    """Too many jobs wait; later there is room again."""


class JobEndedError(BfdError):
    """The job ended before it could be cancelled."""


class JobKind(StrEnum):
    """What a job does."""

    GET = "get"
    WALK = "walk"
    POLL = "poll"


class JobPart(StrEnum):
    """What a poll reads, in this order."""

    SYSTEM = "system"
    INTERFACES = "interfaces"
    ARP = "arp"
    BFD = "bfd"


class JobStatus(StrEnum):
    """How a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self not in {JobStatus.QUEUED, JobStatus.RUNNING}


@dataclass(frozen=True, slots=True)
class Credentials:
    """As whom a host is asked that is no configured device; forgotten when its job has ended."""

    version: str = "2c"
    """1, 2c or 3."""
    community: Secret | None = None
    """For versions 1 and 2c; the rest is for version 3."""
    user: User | None = None
    context: str = ""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One order to the SNMP proxy: of a configured `device`, or of a `host` with `credentials`."""

    kind: JobKind
    device: str | None = None
    host: str | None = None
    """As somebody wrote it: an address or a name, and perhaps a port."""
    credentials: Credentials | None = None
    timeout: float | None = None
    """Seconds for each try; None: the device's own, or 1 s."""
    retries: int | None = None
    """Tries after the first; None: the device's own, or 1."""
    oids: tuple[str, ...] = ()
    """Instances to get; one subtree to walk."""
    max_rows: int = USUAL_ROWS
    """Of a walk."""
    parts: tuple[JobPart, ...] = tuple(JobPart)
    """Of a poll."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job at one moment. Moments are microseconds since the epoch, durations seconds."""

    number: int
    """Counts up from 1 in the order of submission."""
    ticket: str
    kind: JobKind
    target: str
    """The device's name, or the host's address and port."""
    actor: str
    """Who asked."""
    status: JobStatus
    created: int
    started: int | None = None
    finished: int | None = None
    elapsed: float = 0.0
    """Since it began; 0 while it waits."""
    progress: str = ""
    progress_detail: Mapping[str, int] = field(default_factory=dict)
    progress_percent: float | None = 0.0
    """None: nobody can know how much there is."""
    timing: Mapping[str, float] = field(default_factory=dict)
    """By part, and `total`."""
    error: str | None = None
    truncated: bool = False
    """Whether the device has more than was asked for, or than is kept."""
    data: bytes = b""
    """A JSON object, rendered once so that asking for it costs nothing; empty in lists of jobs."""


def no_data(kind: JobKind) -> dict[str, dict[str, object] | list[object]]:
    """The data of a job that has read nothing: of a poll `snmp_data` is an object, of the others a list of rows."""
    return {
        "snmp_data": {} if kind is JobKind.POLL else [],
        "interfaces": [],
        "arp_table": [],
        "bfd_sessions": [],
    }
