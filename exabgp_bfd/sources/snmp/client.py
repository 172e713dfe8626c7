"""One device's SNMP agent, asked: GET and the walk of a column, by one of two engines.

All troubles are `SourceError`, one sentence for the operator, without the community.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Protocol

from exabgp_bfd.core.model import ConfigError
from exabgp_bfd.sources.snmp.gufo_client import GufoClient
from exabgp_bfd.sources.snmp.mibs import Value
from exabgp_bfd.sources.snmp.pysnmp_client import PysnmpClient
from exabgp_bfd.sources.snmp.target import Target


class Client(Protocol):
    """One device's agent. Safe to use from several tasks of one loop at once."""

    engine: str

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """The values of instances; one that the agent does not have is absent. SourceError for every trouble."""
        ...

    async def walk(self, column: str) -> list[tuple[str, Value]]:
        """The instances under a column in the agent's order; SourceError for every trouble, never half a column."""
        ...

    async def close(self) -> None:
        """Gives up what is under way and frees the socket."""
        ...


def connect(target: Target) -> Client:
    """A client for a device, without asking it anything yet; ConfigError when its settings cannot be met."""
    if target.version not in {"1", "2c"}:
        raise ConfigError(f"device {target.name}", f"SNMP version {target.version!r} is unknown: use 1 or 2c")
    if target.engine not in {"auto", "pysnmp", "gufo"}:
        raise ConfigError(f"device {target.name}", f"engine {target.engine!r} is unknown: use auto, pysnmp or gufo")
    if target.engine == "pysnmp" or (target.engine == "auto" and (target.version == "1" or not _gufo_found())):
        return PysnmpClient(target)
    if target.version == "1":
        raise ConfigError(f"device {target.name}", 'engine "gufo" reads version 2c: use engine "pysnmp" for version 1')
    if not _gufo_found():
        raise ConfigError(f"device {target.name}", 'engine "gufo" is not installed: pip install "exabgp-bfd[fast]"')
    return GufoClient(target)


@lru_cache(maxsize=1)
def _gufo_found() -> bool:
    try:
        return find_spec("gufo.snmp") is not None
    except ModuleNotFoundError:
        return False
