"""One device's SNMP agent, asked with pysnmp's and pyasn1's codecs over a connected UDP socket of its own.

That is deliberately less than pysnmp's engine: the engine takes a reply from any address, keeps every target for ever,
is blind for 300 s to a device that was swapped, does not see that a port is closed, and times its requests by the wall
clock in steps of 0.1 s. A connected socket gets only its agent's datagrams; request numbers are random; deadlines are
the event loop's.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from exabgp_bfd.core.credentials import User
from exabgp_bfd.core.model import ConfigError, SourceError
from exabgp_bfd.sources.snmp import usm
from exabgp_bfd.sources.snmp.column import FIRST, Column
from exabgp_bfd.sources.snmp.envelope import GET, GET_BULK, GET_NEXT, Answer, Plain, Protected, Report
from exabgp_bfd.sources.snmp.mibs import Value
from exabgp_bfd.sources.snmp.octets import Absent, request
from exabgp_bfd.sources.snmp.room import Room
from exabgp_bfd.sources.snmp.target import Target, numeric, resolved, silence
from exabgp_bfd.sources.snmp.usm import Fault, Keys, Level, Security, UsmError

logger = logging.getLogger(__name__)

_TOO_BIG, _NO_SUCH_NAME, _AUTHORIZATION = 1, 2, 16
_STATUS = {
    1: "tooBig",
    2: "noSuchName",
    3: "badValue",
    4: "readOnly",
    5: "genErr",
    6: "noAccess",
    16: "authorizationError",
}

_RESYNCHRONISATIONS: Final = 2
"""Times that one request is sent anew because a report says that engine or time are others; a forger gets no more."""

_GRACE: Final = 0.25
"""Seconds for which the answer may still come after a report that nothing proves: a forger may be the faster one."""


class CellError(SourceError):
    """An agent answers an error for a single object, which may be all that it cannot tell."""

    def __init__(self, oid: str, text: str) -> None:
        super().__init__(text)
        self.oid = oid


@dataclass(slots=True)
class _Waiting:
    """Who waits for the datagram of a number."""

    future: asyncio.Future[Answer | Report | None]
    discovering: bool = False
    report: Report | None = None
    """Unproved: taken when nothing better comes."""


@dataclass(slots=True)
class _Attempts:
    """One request on its way through its tries."""

    kind: int
    oids: list[str]
    count: int
    """Values wanted: the OIDs, or GETBULK's repetitions."""
    tries: int
    asked: int = 0
    """Values in the last PDU."""
    number: int = 0
    made: int = 0
    """Tries that were not answered."""
    resynchronised: int = 0
    met: bool = False
    """Whether the agent has answered at least a discovery."""
    trouble: OSError | None = None
    numbers: list[int] = field(default_factory=list)


class PysnmpClient:
    """A device asked with pysnmp's codec; any number of requests may be under way at once."""

    engine = "pysnmp"

    def __init__(self, target: Target, keys: Keys = usm.SHARED) -> None:
        self._target = target
        self._old = target.version == "1"
        self._protected = Protected(target, _user(target), keys) if target.version == "3" else None
        self._envelope: Plain | Protected = self._protected or Plain(target)
        self._waiting: dict[int, _Waiting] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._opening = asyncio.Lock()
        self._meeting = asyncio.Lock()
        self._unreadable = 0
        self.fits = Room(target.max_varbinds)
        """Shared with the fast engine, for which this one is the careful half."""

    @property
    def room(self) -> int:
        """How many values this agent takes in one PDU, as far as it is known."""
        return self.fits.size

    @property
    def security(self) -> Security | None:
        """Version 3: engine id and clock of the agent, as it last proved them."""
        return None if self._protected is None else self._protected.security

    async def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """As `Client.get`."""
        found: dict[str, Value] = {}
        rest = list(oids)
        while rest:
            size = self.fits.size
            answer, part = await self._ask(GET, rest[:size])
            rest = rest[len(part) :]
            if answer.status == _TOO_BIG:
                rest = self._halved(part) + rest
            elif answer.status == _NO_SUCH_NAME and self._old:
                # v1 refuses the whole PDU for one missing row, and names it by its position.
                self._named(part, answer.index)
                rest = part[: answer.index - 1] + part[answer.index :] + rest
            else:
                self._fail_on(answer, part)
                found.update(self._present(answer, part))
        return found

    async def next(self, oids: Sequence[str]) -> dict[str, tuple[str, Value] | None]:
        """As `Client.next`."""
        found: dict[str, tuple[str, Value] | None] = {}
        rest = list(oids)
        while rest:
            size = self.fits.size
            answer, part = await self._ask(GET_NEXT, rest[:size])
            rest = rest[len(part) :]
            if answer.status == _TOO_BIG:
                rest = self._halved(part) + rest
            elif answer.status == _NO_SUCH_NAME and self._old:
                found[self._named(part, answer.index)] = None
                rest = part[: answer.index - 1] + part[answer.index :] + rest
            else:
                self._fail_on(answer, part)
                if len(answer.values) != len(part):
                    raise SourceError(f"{self._target.at} answered {len(part)} values with {len(answer.values)}")
                found.update(zip(part, map(self._following, answer.values), strict=True))
        return found

    async def walk(
        self, column: str, progress: Callable[[int], None] | None = None, limit: int | None = None
    ) -> list[tuple[str, Value]]:
        """As `Client.walk`."""
        rows = Column(self._target.at, column, limit)
        more = not rows.full
        while more:
            more = (
                await self._step(rows, self.fits.size if rows.found else min(FIRST, self.fits.size)) and not rows.full
            )
            if progress is not None:
                progress(len(rows.found))
        return rows.found

    async def _step(self, rows: Column, count: int) -> bool:
        """One PDU of a walk; whether there may be more rows."""
        answer, _ = await self._ask(GET_NEXT if self._old else GET_BULK, [rows.last], count)
        if answer.status == _TOO_BIG and count > 1:
            self.fits.too_big(count)
            return True
        if answer.status == _NO_SUCH_NAME and self._old:
            return False
        self._fail_on(answer, [rows.last])
        if not answer.values:
            raise SourceError(f"{self._target.at} answered a walk of {rows.column} with nothing at all")
        for place, (oid, value) in enumerate(answer.values):
            if isinstance(value, Absent):
                if value is Absent.END:
                    return False
                raise SourceError(f"{self._target.at} answered {value.name} in a walk, at {oid}")
            if not rows.take(oid, value):
                if not rows.full:
                    rows.end([later for later, _ in answer.values[place + 1 :]])
                return False
        return True

    async def synchronise(self) -> Security:
        """Version 3: the agent's engine id and clock, asked for if need be; SourceError as any request's."""
        assert self._protected is not None  # noqa: S101 - only version 3 has an engine to know
        if self._protected.engine is None or (
            self._protected.security is None and usm.level_of(self._protected.user) is not Level.NO_AUTH
        ):
            await self._ask(GET, [])
        assert self._protected.engine is not None  # noqa: S101 - an answer says which engine it is of
        return self._protected.engine

    def forget(self) -> None:
        """Version 3: the engine is looked for again before the next request."""
        if self._protected is not None:
            self._protected.engine = None

    async def close(self) -> None:
        """As `Client.close`."""
        for waiting in self._waiting.values():
            if not waiting.future.done():
                waiting.future.set_exception(SourceError(f"the poller of {self._target.at} was stopped"))
        self._drop()
        await asyncio.sleep(0)  # the loop closes the socket in its next turn

    # --- one request ------------------------------------------------------------------------------------------------

    async def _ask(self, kind: int, oids: list[str], count: int | None = None) -> tuple[Answer, list[str]]:
        """Sends a request until it is answered or its tries are spent; the answer, and which OIDs were asked for.

        The last try may have asked for fewer than were wanted (`Room`).
        """
        tries = self.fits.tries(self._target.retries + 1)
        attempts = _Attempts(kind, oids, len(oids) if count is None else count, tries)
        self._unreadable = 0
        if self._protected is not None:
            self._protected.disbelieved = 0
        try:
            while attempts.made < tries:
                try:
                    told = await self._try(attempts)
                except OSError as error:
                    attempts.trouble, told = error, None
                if told is None:
                    attempts.made += 1
                elif isinstance(told, Answer):
                    self.fits.answered(attempts.asked, attempts.count)
                    return told, attempts.oids if kind == GET_BULK else attempts.oids[: attempts.asked]
                else:
                    self._reported(told, attempts)
        finally:
            for number in attempts.numbers:
                abandoned = self._waiting.pop(number, None)
                if abandoned is not None and abandoned.future.done() and not abandoned.future.cancelled():
                    abandoned.future.exception()  # cancelled while a refusal came in: nobody else will ask for it
        self.fits.lost(tries)
        self.forget()  # another box may stand there by now
        if not numeric(self._target.host):
            self._drop()  # its name may stand for another address by now
        raise self._no_answer(attempts)

    async def _try(self, attempts: _Attempts) -> Answer | Report | None:
        """Sends a request once and waits for what comes: None is nothing. OSError if the network refused it."""
        if self._protected is not None and self._protected.engine is None:
            if not await self._discovered():
                return None
            attempts.met = True
        last = attempts.made == attempts.tries - 1
        asked = self.fits.part(attempts.count, tries=attempts.tries, last=last)
        if asked != attempts.asked or self._protected is not None or not attempts.number:
            # The same octets again carry the same number, so that a late answer to them is taken. In version 3 each try
            # has its own time and so its own number, and all of them are waited for.
            attempts.number = self._number()
            attempts.numbers.append(attempts.number)
        if asked != attempts.asked:
            for number in attempts.numbers[:-1]:  # late, it would be more, or less, than is asked for now
                self._waiting.pop(number, None)
            attempts.numbers = attempts.numbers[-1:]
        attempts.asked = asked
        bulk = attempts.kind == GET_BULK
        oids = attempts.oids if bulk else attempts.oids[:asked]
        pdu = request(attempts.kind, attempts.number, 0, asked if bulk else 0, oids)
        payload = self._envelope.wrap(attempts.number, pdu, asyncio.get_running_loop().time())
        return await self._exchange(payload, attempts.numbers)

    async def _exchange(
        self, payload: bytes, numbers: list[int], *, discovering: bool = False
    ) -> Answer | Report | None:
        """Sends a datagram and waits for what comes under its numbers; None is nothing. OSError if it was refused."""
        transport = self._transport
        if transport is None or transport.is_closing():
            transport = await self._socket()
        loop = asyncio.get_running_loop()
        waiting = _Waiting(loop.create_future(), discovering)
        for number in numbers:
            self._waiting[number] = waiting
        deadline = loop.call_later(self._target.timeout, _settle, waiting)
        try:
            transport.sendto(payload)
            return await waiting.future
        finally:
            deadline.cancel()

    async def _discovered(self) -> bool:
        """Version 3: asks which engine this is, unless another request is about to know; False when nothing came."""
        assert self._protected is not None  # noqa: S101 - the caller has looked
        async with self._meeting:
            if self._protected.engine is not None:
                return True
            number = self._number()
            try:
                told = await self._exchange(self._protected.discovery(number), [number], discovering=True)
            finally:
                self._waiting.pop(number, None)
            if not isinstance(told, Report) or not told.engine.engine_id:
                return False
            self._protected.engine = told.engine
            return True

    def _reported(self, report: Report, attempts: _Attempts) -> None:
        """What a report means for a request: to be sent anew, or SourceError."""
        assert self._protected is not None  # noqa: S101 - there are no reports but in version 3
        attempts.met = True
        engine, shown = self._protected.engine, report.engine.engine_id
        # Some engines that are not the one addressed say that they do not know the user (measured: pysnmp's).
        swapped = engine is not None and not report.proved and shown not in {b"", engine.engine_id}
        again = swapped or report.fault in {Fault.NOT_IN_TIME, Fault.UNKNOWN_ENGINE}
        if again and attempts.resynchronised < _RESYNCHRONISATIONS:
            attempts.resynchronised += 1
            if not report.proved:
                self._protected.engine = None  # the report shows an engine, but one that is asked is a better witness
            return
        self.forget()
        raise SourceError(_refusal(self._target, self._protected.user, report.fault))

    def _no_answer(self, attempts: _Attempts) -> SourceError:
        at, trouble, user = self._target.at, attempts.trouble, self._target.user
        text: str | None = None
        if isinstance(trouble, ConnectionRefusedError):
            text = f"{at} refused: nothing listens on that UDP port"
        elif trouble is not None:
            text = f"{at} cannot be reached: {trouble.strerror or trouble}"
        elif self._protected is not None and self._protected.disbelieved:
            text = (
                f"{self._protected.disbelieved} answers of {at} were not authentic: are auth_protocol and auth_key of "
                f"user {self._protected.user.name!r} those of the device, or does somebody forge its answers?"
            )
        elif self._unreadable:
            text = (
                f"{at} answered with {self._unreadable} octets that are no SNMP response "
                f"of version {self._target.version}: is that port an SNMP agent?"
            )
        elif self._protected is not None:
            tries = f"{self._target.retries + 1} tries" if self._target.retries else "1 try"
            text = f"no answer from {at} in {tries} of {self._target.timeout:g} s: "
            if not attempts.met:
                text += "does it speak SNMP version 3, is the agent running?"
            else:
                text += f"it told its engine id, but does not answer user {self._protected.user.name!r}"
                if user is not None and user.priv_protocol is not None:
                    text += f": are priv_protocol ({user.priv_protocol}) and priv_key those of the device?"
                if self._target.context:
                    text += f" (does it have context {self._target.context!r}?)"
        return silence(self._target) if text is None else SourceError(text)

    def _number(self) -> int:
        while True:
            number = secrets.randbits(31)
            if number and number not in self._waiting:
                return number

    # --- the socket ---------------------------------------------------------------------------------------------

    async def _socket(self) -> asyncio.DatagramTransport:
        async with self._opening:
            if self._transport is None or self._transport.is_closing():
                family, address = await resolved(self._target)
                wire = socket.socket(family, socket.SOCK_DGRAM)
                try:
                    wire.settimeout(0)
                    wire.connect(address)
                    loop = asyncio.get_running_loop()
                    self._transport, _ = await loop.create_datagram_endpoint(lambda: _Ear(self), sock=wire)
                except OSError as error:
                    wire.close()
                    raise SourceError(f"{self._target.at} cannot be reached: {error.strerror or error}") from error
            return self._transport

    def _drop(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def received(self, datagram: bytes) -> None:
        """Takes a datagram of the agent: an answer goes to who waits for it, anything else is only remembered."""
        loop = asyncio.get_running_loop()
        try:
            number, told = self._envelope.unwrap(datagram, loop.time(), self._waiting)
        except UsmError as error:
            if error.header is not None and error.header.number in self._waiting and self._protected is not None:
                self._protected.disbelieved += 1
            elif error.kind is Fault.MALFORMED:
                self._unreadable = len(datagram) or 1
            logger.debug("%s: an answer is not believed: %s", self._target.at, error)
            return
        except (ValueError, IndexError) as error:
            self._unreadable = len(datagram) or 1
            logger.debug("%s: %d octets are no SNMP response: %s", self._target.at, len(datagram), type(error).__name__)
            return
        waiting = self._waiting.get(number)
        if waiting is None or waiting.future.done():
            return
        if isinstance(told, Report) and not told.proved and not waiting.discovering:
            if waiting.report is None:
                waiting.report = told
                loop.call_later(min(_GRACE, self._target.timeout), _settle, waiting)
            return
        waiting.future.set_result(told)

    def failed(self, error: OSError) -> None:
        """The network refused a datagram (ICMP port or host unreachable): nobody needs to wait for its deadline."""
        for waiting in self._waiting.values():
            if not waiting.future.done():
                waiting.future.set_exception(error)

    # --- what an answer means -----------------------------------------------------------------------------------

    def _halved(self, part: list[str]) -> list[str]:
        if len(part) == 1:
            raise SourceError(f"{self._target.at} answered tooBig for a single value, {part[0]}")
        self.fits.too_big(len(part))
        return part

    def _named(self, part: list[str], index: int) -> str:
        if not 1 <= index <= len(part):
            raise SourceError(f"{self._target.at} answered noSuchName for value {index} of {len(part)}")
        return part[index - 1]

    def _fail_on(self, answer: Answer, oids: Sequence[str]) -> None:
        if answer.status:
            name = _STATUS.get(answer.status, f"error {answer.status}")
            oid = oids[answer.index - 1] if 1 <= answer.index <= len(oids) else next(iter(oids), "nothing")
            user = self._target.user
            hint = ""
            if answer.status == _AUTHORIZATION and user is not None and self._protected is not None:
                level = usm.level_of(user).title
                hint = f": may user {user.name!r} read it with {level}, in context {self._target.context!r}?"
            raise CellError(oid, f"{self._target.at} answered {name} for {oid}{hint}")

    def _present(self, answer: Answer, asked: Sequence[str]) -> dict[str, Value]:
        told = dict(answer.values)
        found: dict[str, Value] = {}
        for oid in asked:
            value = told.get(oid, Absent.UNSAID)
            if not isinstance(value, Absent):
                found[oid] = value
            elif value is not Absent.ROW:  # not saying anything of a row does not mean that it is gone
                raise SourceError(f"{self._target.at} answered a request for {oid} without a value for it")
        return found

    def _following(self, told: tuple[str, Value | Absent]) -> tuple[str, Value] | None:
        oid, value = told
        if isinstance(value, Absent):
            if value is Absent.NULL:
                raise SourceError(f"{self._target.at} answered a request for what follows with {oid}, without a value")
            return None
        return oid, value


class _Ear(asyncio.DatagramProtocol):
    """Hands what arrives on a client's socket to it."""

    def __init__(self, client: PysnmpClient) -> None:
        self._client = client

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:  # noqa: ARG002 - connected socket
        self._client.received(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._client.failed(exc)


def _settle(waiting: _Waiting) -> None:
    """Ends a wait: with the unproved report that came, or with nothing."""
    if not waiting.future.done():
        waiting.future.set_result(waiting.report)


def _user(target: Target) -> User:
    if target.user is None:
        raise ConfigError(f"device {target.name}", "SNMP version 3 needs a user")
    wrong = usm.unfit(target.user)
    if wrong is not None:
        raise ConfigError(f"device {target.name}", wrong)
    return target.user


def _refusal(target: Target, user: User, fault: Fault) -> str:
    """What an operator is told of a report."""
    at, who = target.at, f"user {user.name!r}"
    return {
        Fault.UNKNOWN_USER: f"{at} does not know SNMPv3 {who}: create it on the device, or correct `user`",
        Fault.WRONG_DIGEST: (
            f"{at} does not take the authentication of {who}: "
            f"are auth_protocol ({user.auth_protocol or 'none'}) and auth_key those of the device?"
        ),
        Fault.UNDECRYPTABLE: (
            f"{at} cannot decrypt what {who} asks: "
            f"are priv_protocol ({user.priv_protocol or 'none'}) and priv_key those of the device?"
        ),
        Fault.UNSUPPORTED_LEVEL: (
            f"{at} has {who}, but not for {usm.level_of(user).title}: "
            "are auth_protocol and priv_protocol those of the device?"
        ),
        Fault.UNKNOWN_CONTEXT: f"{at} has no context {target.context!r} (for {who}): correct `contexts`",
        Fault.NOT_IN_TIME: f"{at} calls what {who} asks too late, again and again: do two devices share its address?",
        Fault.UNKNOWN_ENGINE: f"{at} gives another engine id each time it is asked: do two devices share its address?",
    }.get(fault, f"{at} refused what {who} asks: {fault.value}")
