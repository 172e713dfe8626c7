"""One device's SNMP agent, asked with gufo_snmp (Rust) in version 2c.

gufo_snmp looks at no error status: a reply of genErr or tooBig looks to its caller like rows that are missing, and a
walk cut short by one like the end of the table. A row that is wrongly missing would withdraw a route, so whatever gufo
does not give is asked once more through `PysnmpClient`, which tells the one from the other and does all walks: there
its own codec is as quick.

Version 3 is not asked with it: gufo_snmp 0.13 believes an answer whose digest is wrong, or that has none at all
(tests/contract/test_snmp_engines.py shows it), and whoever can write a datagram could withdraw our routes.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

from exabgp_bfd.core.model import BfdError, SourceError
from exabgp_bfd.sources.snmp.mibs import Value
from exabgp_bfd.sources.snmp.pysnmp_client import PysnmpClient
from exabgp_bfd.sources.snmp.target import Target, numeric, resolved, silence
from exabgp_bfd.sources.snmp.usm import Security

logger = logging.getLogger(__name__)

_Foreign = Any
"""An object of a library that carries no type information."""

_PLAIN = frozenset({int, bytes, str})
"""What we take from gufo: it has floats and truth values too, for types that SNMP has not."""

_UNSAID: Any = None


class GufoClient:
    """A device asked with gufo_snmp, one request at a time, and with `PysnmpClient` where gufo cannot tell."""

    engine = "gufo"

    def __init__(self, target: Target) -> None:
        self._target = target
        self._library: _Foreign = importlib.import_module("gufo.snmp")
        self._sessions: _Foreign = importlib.import_module("gufo.snmp.aio")
        self._careful = PysnmpClient(target)
        self._fits = self._careful.fits
        self._session: _Foreign = None
        self._turn = asyncio.Lock()
        self._usable = True
        self._closed = False

    @property
    def room(self) -> int:
        """How many values this agent takes in one PDU, as far as it is known."""
        return self._fits.size

    @property
    def security(self) -> Security | None:
        """Nothing: that is version 3's."""
        return None

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """As `Client.get`."""
        found: dict[str, Value] = {}
        rest = list(oids)
        while rest:
            size = self._fits.size
            told, asked = await self._fast(rest[:size])
            if told is None:
                break
            part, rest = rest[:asked], rest[asked:]
            found.update({oid: value for oid in part if type(value := told.get(oid, _UNSAID)) in _PLAIN})
        if len(found) < len(oids):
            unsaid = [oid for oid in oids if oid not in found]
            if unsaid:
                found.update(await self._careful.get(unsaid))
        return found

    async def next(self, oids: Sequence[str]) -> dict[str, tuple[str, Value] | None]:
        """As `Client.next`; gufo_snmp has only one OID in a GETNEXT, so the careful engine asks."""
        return await self._careful.next(oids)

    async def walk(
        self, column: str, progress: Callable[[int], None] | None = None, limit: int | None = None
    ) -> list[tuple[str, Value]]:
        """As `Client.walk`; gufo_snmp passes over rows that are NULL in silence, so the careful engine walks."""
        return await self._careful.walk(column, progress, limit)

    async def close(self) -> None:
        """As `Client.close`."""
        self._closed = True
        self._session = None
        await self._careful.close()

    async def _fast(self, wanted: list[str]) -> tuple[dict[str, Any] | None, int]:
        """One request through gufo, and how many values it asked for in the end; None when the careful engine must."""
        async with self._turn:
            tries = self._fits.tries(self._target.retries + 1)
            for number in range(tries if self._usable else 0):
                asked = self._fits.part(len(wanted), tries=tries, last=number == tries - 1)
                try:
                    told = await self._once(wanted if asked == len(wanted) else wanted[:asked])
                except TimeoutError as error:
                    if "refused" in str(error.__cause__):
                        return None, 0
                else:
                    if told is not None:
                        self._fits.answered(asked, len(wanted))
                    return told, asked
                if self._closed:
                    raise SourceError(f"the poller of {self._target.at} was stopped")
            if not self._usable:
                return None, 0
            self._fits.lost(tries)
            if not numeric(self._target.host):
                self._session = None  # its name may stand for another address by now
        raise silence(self._target)

    async def _once(self, wanted: list[str]) -> dict[str, Any] | None:
        """One try; TimeoutError, and None for what gufo cannot tell."""
        try:
            session = self._session or await self._connected()
            values: dict[str, Any] = await session.get_many(wanted)
        except (TimeoutError, BfdError):
            raise
        except Exception as error:  # noqa: BLE001 - it raises RuntimeErrors too, for values that it cannot read
            logger.debug("%s: gufo_snmp could not tell: %s", self._target.at, error)
        except BaseException as error:
            # Its Rust code panics on some broken replies, which is no Exception to Python (measured, 0.13).
            if type(error).__module__ != "pyo3_runtime":
                raise
            logger.warning("%s sends replies that gufo_snmp cannot bear: pysnmp from here on", self._target.at)
            self._session, self._usable = None, False
        else:
            return values
        return None

    async def _connected(self) -> _Foreign:
        _, address = await resolved(self._target)
        self._session = self._sessions.SnmpSession(
            addr=str(address[0]),
            port=self._target.port,
            community=self._target.community.reveal(),
            version=self._library.SnmpVersion.v2c,
            timeout=self._target.timeout,
        )
        return self._session
