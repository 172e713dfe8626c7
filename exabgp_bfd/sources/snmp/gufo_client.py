"""One device's SNMP agent, asked with gufo_snmp (Rust, some twenty times less work than pysnmp's codec).

gufo_snmp looks at no error status: a reply of genErr or tooBig looks to its caller like rows that are missing, and a
walk cut short by one like the end of the table. A row that is wrongly missing would withdraw a route, so whatever gufo
does not give, and the end of every walk, is asked once more through `PysnmpClient`, which tells the one from the other.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from exabgp_bfd.sources.snmp.column import Column
from exabgp_bfd.sources.snmp.mibs import Value
from exabgp_bfd.sources.snmp.pysnmp_client import PysnmpClient
from exabgp_bfd.sources.snmp.target import Target, numeric, resolved, silence

logger = logging.getLogger(__name__)

T = TypeVar("T")
_Foreign = Any
"""An object of a library that carries no type information."""


class GufoClient:
    """A device asked with gufo_snmp, one request at a time, and with `PysnmpClient` where gufo cannot tell."""

    engine = "gufo"

    def __init__(self, target: Target) -> None:
        self._target = target
        self._library: _Foreign = importlib.import_module("gufo.snmp")
        self._sessions: _Foreign = importlib.import_module("gufo.snmp.aio")
        self._careful = PysnmpClient(target)
        self._session: _Foreign = None
        self._turn = asyncio.Lock()
        self._usable = True

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """As `Client.get`."""
        found: dict[str, Value] = {}
        rest = list(oids)
        while rest:
            part, rest = rest[: self._careful.room], rest[self._careful.room :]
            told = await self._fast(partial(_get_many, part))
            for oid in part:
                value = told.get(oid) if told else None
                if isinstance(value, int | bytes | str):
                    found[oid] = value
        unsaid = [oid for oid in oids if oid not in found]
        if unsaid:
            found.update(await self._careful.get(unsaid))
        return found

    async def walk(self, column: str) -> list[tuple[str, Value]]:
        """As `Client.walk`."""
        rows = Column(self._target.at, column)
        steps: _Foreign = None

        async def step(session: _Foreign) -> tuple[str, object] | None:
            nonlocal steps
            if steps is None:
                steps = session.getbulk(column, self._careful.room)
            told: tuple[str, object] | None = await anext(steps, None)
            return told

        while (told := await self._fast(step)) is not None:
            oid, value = told
            if not isinstance(value, int | bytes | str) or not rows.take(oid, value):
                break
        await self._careful.finish(rows, first=1)
        return rows.found

    async def close(self) -> None:
        """As `Client.close`."""
        self._session = None
        await self._careful.close()

    async def _fast(self, ask: Callable[[_Foreign], Awaitable[T]]) -> T | None:
        """One request through gufo; None when the careful engine has to find out what is wrong."""
        async with self._turn:
            if not self._usable:
                return None
            for _ in range(self._target.retries + 1):
                try:
                    return await ask(await self._connected())
                except TimeoutError as error:
                    if "refused" in str(error.__cause__):
                        return None
                except (self._library.SnmpError, OSError, ValueError, NotImplementedError) as error:
                    logger.debug("%s: gufo_snmp could not tell: %s", self._target.at, error)
                    return None
                except BaseException as error:
                    # Its Rust code panics on some broken replies, which is no Exception to Python (measured, 0.13).
                    if type(error).__module__ != "pyo3_runtime":
                        raise
                    logger.warning("%s sends replies that gufo_snmp cannot bear: pysnmp from here on", self._target.at)
                    self._session, self._usable = None, False
                    return None
            if not numeric(self._target.host):
                self._session = None  # its name may stand for another address by now
        raise silence(self._target)

    async def _connected(self) -> _Foreign:
        if self._session is None:
            _, address = await resolved(self._target)
            self._session = self._sessions.SnmpSession(
                addr=str(address[0]),
                port=self._target.port,
                community=self._target.community.reveal(),
                version=self._library.SnmpVersion.v2c,
                timeout=self._target.timeout,
            )
        return self._session


async def _get_many(oids: list[str], session: _Foreign) -> dict[str, object]:
    values: dict[str, object] = await session.get_many(oids)
    return values
