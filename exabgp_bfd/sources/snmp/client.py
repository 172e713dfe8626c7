"""One device's SNMP agent, asked: GET, GETNEXT and the walk of a column, by one of two engines.

All troubles are `SourceError`, one sentence for the operator, without any secret.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Protocol

from exabgp_bfd.core.model import ConfigError
from exabgp_bfd.sources.snmp.gufo_client import GufoClient
from exabgp_bfd.sources.snmp.mibs import Value
from exabgp_bfd.sources.snmp.pysnmp_client import PysnmpClient
from exabgp_bfd.sources.snmp.target import Target
from exabgp_bfd.sources.snmp.usm import SHARED, Keys, Security


class Client(Protocol):
    """One device's agent. Safe to use from several tasks of one loop at once."""

    engine: str
    """pysnmp or gufo."""

    @property
    def room(self) -> int:
        """How many values this agent takes in one PDU, as far as it is known (`Room`)."""
        ...

    @property
    def security(self) -> Security | None:
        """Version 3: engine id and clock of the agent as it last proved them; None where it has not."""
        ...

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """The values of instances; one that the agent does not have is absent. SourceError for every trouble."""
        ...

    async def next(self, oids: Sequence[str]) -> dict[str, tuple[str, Value] | None]:
        """For each OID the instance that follows it, as the agent says; None at the end of its view. SourceError."""
        ...

    async def walk(
        self, column: str, progress: Callable[[int], None] | None = None, limit: int | None = None
    ) -> list[tuple[str, Value]]:
        """The instances under a column in the agent's order; SourceError for every trouble, never half a column.

        `progress` is told the number of rows so far, after each PDU. With a `limit` the walk ends at so many rows;
        without one, more than `column.MAX_ROWS` are an error.
        """
        ...

    async def close(self) -> None:
        """Gives up what is under way and frees the socket."""
        ...


def connect(target: Target, keys: Keys = SHARED) -> Client:
    """A client for a device, without asking it anything yet; ConfigError when its settings cannot be met.

    `keys` remembers what is worked out of version 3's pass phrases; a client for a single job brings its own.
    """
    place = f"device {target.name}"
    if target.version not in {"1", "2c", "3"}:
        raise ConfigError(place, f"SNMP version {target.version!r} is unknown: use 1, 2c or 3")
    if target.engine not in {"auto", "pysnmp", "gufo"}:
        raise ConfigError(place, f"engine {target.engine!r} is unknown: use auto, pysnmp or gufo")
    if target.engine == "pysnmp" or (target.engine == "auto" and (target.version != "2c" or not _gufo_found())):
        return PysnmpClient(target, keys)
    if target.version == "1":
        raise ConfigError(place, 'engine "gufo" reads version 2c: use engine "auto" or "pysnmp" for version 1')
    if target.version == "3":
        raise ConfigError(
            place, 'engine "gufo" does not check the digests of version 3: use engine "auto" or "pysnmp" for it'
        )
    if not _gufo_found():
        raise ConfigError(place, 'engine "gufo" is not installed: pip install "exabgp-bfd[fast]"')
    return GufoClient(target)


@lru_cache(maxsize=1)
def _gufo_found() -> bool:
    try:
        return find_spec("gufo.snmp") is not None
    except ModuleNotFoundError:
        return False
