"""The receiver of SNMP notifications: traps and informs of versions 1, 2c and 3, on UDP.

Anybody may send to that port, so what a datagram may cost grows with what it has proved. A source address that is no
device's is counted and dropped unread; a wrong community, an unknown user or a wrong digest after a few microseconds;
and what a device sends faster than sessions can fall becomes one hint a second to look at the whole device. The socket
is drained in small slices on the event loop, so that a flood delays polling and the pipe, but never keeps them waiting.

A notification is a hint where to look, and the answer of the device is the truth. Only one that version 3 has
authenticated, from the very engine that our own polls have authenticated, now and not yesterday, may be `sure`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from exabgp_bfd.core.credentials import User
from exabgp_bfd.core.model import ConfigError, Secret
from exabgp_bfd.sources.snmp.notifications import Hint, notified
from exabgp_bfd.sources.snmp.target import RESOLVE_TIMEOUT, numeric
from exabgp_bfd.sources.snmp.trap_message import Envelope, MalformedError, Notice, enveloped, noticed, response
from exabgp_bfd.sources.snmp.usm import (
    TIME_WINDOW,
    Authority,
    Clocks,
    Fault,
    Level,
    Security,
    Unsealed,
    UsmError,
    answer,
    engine_id_of,
    header_of,
    unfit,
    unseal,
)

logger = logging.getLogger(__name__)

RECEIVE_BUFFER: Final = 4 * 2**20
"""Octets asked of the kernel: the usual default holds 256 notifications, and one port may carry 500 sessions."""
SLICE: Final = 0.005
"""Seconds of draining before the event loop goes on."""
SLICE_DATAGRAMS: Final = 64
BURST: Final = 2000
"""Notifications of one device that are taken one by one, however fast they come."""
RATE: Final = 200.0
"""How many a second it may send in the long run."""
WHOLE_EVERY: Final = 1.0
"""Seconds between two hints to look at a whole device whose notifications are too many."""
RESOLVE_EVERY: Final = 60.0
"""Seconds after which the addresses of devices that are given by name are asked for again."""

_RESOLVERS = 8
_REMEMBERED = 4096
"""Informs and digests that are known again when they come twice."""
_MAX_DATAGRAM = 65_535
_IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)  # linux/in.h
_ANCILLARY = socket.CMSG_SPACE(20)
_SO_RCVBUFFORCE = getattr(socket, "SO_RCVBUFFORCE", 33)  # asm-generic/socket.h
_BOOTS_SINCE = 1_577_836_800
"""2020-01-01 in seconds since the epoch; a count of starts that needs no file and lasts until 2088."""


class Count(StrEnum):
    """What became of a datagram: each is RECEIVED, and one of the others, apart from the last two."""

    RECEIVED = "received"
    ACCEPTED = "accepted"
    NOT_BFD = "not_bfd"
    """A believed notification of something else."""
    DUPLICATE = "duplicate"
    """An inform that came again because our answer was late or lost; answered again."""
    RATE_LIMITED = "rate_limited"
    DISCOVERY = "discovery"
    """A sender of version 3 informs that asked for our engine id or our time; told."""
    UNKNOWN_SENDER = "unknown_sender"
    BAD_COMMUNITY = "bad_community"
    BAD_USER = "bad_user"
    BAD_LEVEL = "bad_level"
    """Less protection than the user has, or more than we have keys for."""
    WRONG_DIGEST = "wrong_digest"
    UNDECRYPTABLE = "undecryptable"
    NOT_IN_TIME = "not_in_time"
    REPLAYED = "replayed"
    """A version 3 trap that was here before."""
    MALFORMED = "malformed"
    KERNEL_DROPPED = "kernel_dropped"
    """Datagrams that found the receive buffer full; counted by the kernel, not received."""
    UNANSWERED = "unanswered"
    """Answers to informs that the network would not take."""


_FAULTS: Mapping[Fault, Count] = {
    Fault.UNKNOWN_USER: Count.BAD_USER,
    Fault.UNSUPPORTED_LEVEL: Count.BAD_LEVEL,
    Fault.TOO_WEAK: Count.BAD_LEVEL,
    Fault.WRONG_DIGEST: Count.WRONG_DIGEST,
    Fault.UNDECRYPTABLE: Count.UNDECRYPTABLE,
    Fault.NOT_IN_TIME: Count.NOT_IN_TIME,
    Fault.UNKNOWN_ENGINE: Count.DISCOVERY,
}


@dataclass(frozen=True, slots=True)
class TrapSettings:
    """Where notifications are received, and what of those who send them is believed beside the devices' own."""

    listen: tuple[tuple[str, int], ...]
    """Addresses, IPv4 or IPv6, and ports; 0 for any that is free."""
    communities: tuple[Secret, ...] = ()
    users: tuple[User, ...] = ()
    trust: bool = False
    """Whether what these users authenticate may be `sure`."""
    receive_buffer: int = RECEIVE_BUFFER
    """Octets."""
    engine_id: bytes | None = None
    """Ours, for informs of version 3; None: made of the host's name and the first address."""


@dataclass(frozen=True, slots=True)
class Sender:
    """A device as a sender of notifications."""

    device: str
    addresses: tuple[str, ...]
    """Its host and where else it sends from, as addresses or as names."""
    communities: tuple[Secret, ...] = ()
    """Its own, and those of its contexts."""
    user: User | None = None
    trust: bool = False
    """Whether what its user authenticates may be `sure`."""


Deliver = Callable[[str, Hint, bool], None]
"""Takes a device, what a notification of it says, and whether that is sure; called on the event loop."""

_Address = tuple[Any, ...]


@dataclass(slots=True)
class _Device:
    """A sender, and what is remembered of it from one notification to the next."""

    sender: Sender
    communities: tuple[bytes, ...]
    users: Mapping[str, User]
    trusted: frozenset[str]
    """The names of the users whose word may be sure."""
    tokens: float = BURST
    filled_at: float = 0.0
    latest: tuple[int, int] = (-1, -1)
    """Boots and time of its engine in the last notification that was sure."""
    clock: Security | None = None
    """What our polls knew of its engine when that was last looked at."""
    spilled: int = 0
    """Notifications since its last hint to look at the whole of it."""
    whole: asyncio.TimerHandle | None = None

    def take(self, now: float) -> bool:
        """Whether it may send one more."""
        self.tokens = min(float(BURST), self.tokens + (now - self.filled_at) * RATE)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class _Ear:
    """One socket that is listened to."""

    socket: socket.socket
    everywhere: bool
    """Whether at all of this host's addresses, so that an answer needs to be told from which."""
    at: str
    granted: int
    inode: int
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class _Back:
    """The way back to the sender of a datagram."""

    socket: socket.socket
    address: _Address
    here: tuple[tuple[int, int, bytes], ...] = ()
    """The address of ours that it was sent to, as sendmsg wants it; senders take an answer from no other."""

    def send(self, datagram: bytes) -> None:
        """Sends, or raises OSError."""
        self.socket.sendmsg([datagram], self.here, 0, self.address)


@dataclass(frozen=True, slots=True)
class _Believed:
    """A message of a device, or of each of several behind one address."""

    devices: list[_Device]
    version: int
    pdu: bytes
    head: bytes = b""
    """What stands before the PDU, in versions 1 and 2c."""
    unsealed: Unsealed | None = None
    """In version 3."""
    digest: bytes = b""


class Traps:
    """Receives notifications and calls `deliver` on the event loop with what each says of BFD sessions."""

    def __init__(
        self,
        settings: TrapSettings,
        deliver: Deliver,
        security: Callable[[str], Security | None] = lambda _: None,
    ) -> None:
        """`security` says as which engine our own polls have last authenticated a device (`Poller.security`)."""
        self._settings = settings
        self._deliver = deliver
        self._security = security
        self._counts: dict[Count, int] = dict.fromkeys(Count, 0)
        self._communities = _octets(settings.communities)
        self._users = {user.name: user for user in settings.users}
        self._devices: dict[str, _Device] = {}
        self._senders: dict[str, tuple[_Device, ...]] = {}
        self._resolved: dict[str, tuple[str, ...]] = {}
        self._ears: list[_Ear] = []
        self._resolver: asyncio.Task[None] | None = None
        self._clocks = Clocks()
        self._informs: OrderedDict[object, None] = OrderedDict()
        self._digests: OrderedDict[bytes, None] = OrderedDict()
        self._told: set[tuple[str, Count]] = set()
        self._strangers: set[str] = set()
        self._authority: Authority | None = None

    # --- what is going on -------------------------------------------------------------------------------------------

    @property
    def counters(self) -> Mapping[Count, int]:
        """How many datagrams came to what end; asks the kernel for its drops."""
        if self._ears:
            self._count_drops()
        return self._counts

    @property
    def bound(self) -> tuple[tuple[str, int], ...]:
        """The addresses that are listened on."""
        return tuple(ear.socket.getsockname()[:2] for ear in self._ears)

    @property
    def granted(self) -> int:
        """Octets of receive buffer that the kernel gave, the least of all sockets; 0 when there is none."""
        return min((ear.granted for ear in self._ears), default=0)

    # --- its life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listens; ConfigError, and nothing is listened to, when an address cannot be had. Again after `close`."""
        for user in self._settings.users:
            wrong = unfit(user)
            if wrong is not None:
                raise ConfigError("traps.users", wrong)
        loop = asyncio.get_running_loop()
        first = "{}:{}".format(*self._settings.listen[0]) if self._settings.listen else ""
        engine_id = self._settings.engine_id or engine_id_of(f"exabgp-bfd {socket.gethostname()} {first}")
        boots = max(1, int(time.time()) - _BOOTS_SINCE)
        self._authority = Authority(engine_id, boots, loop.time())
        try:
            for host, port in self._settings.listen:
                self._ears.append(_listening(host, port, self._settings.receive_buffer))
        except ConfigError:
            await self.close()
            raise
        for ear in self._ears:
            loop.add_reader(ear.socket, self._readable, ear)
            _report(ear, self._settings.receive_buffer)
        self._resolve_names()

    def set_senders(self, senders: Iterable[Sender]) -> None:
        """Whom to believe from now on; what is remembered of devices that stay is kept."""
        before, self._devices = self._devices, {}
        for sender in senders:
            device = _Device(
                sender,
                _octets(sender.communities) + self._communities,
                self._users if sender.user is None else {**self._users, sender.user.name: sender.user},
                self._trusted(sender),
            )
            known = before.get(sender.device)
            if known is not None:
                device.tokens, device.filled_at, device.latest = known.tokens, known.filled_at, known.latest
                device.spilled = known.spilled
                if known.whole is not None:
                    device.whole = asyncio.get_running_loop().call_later(WHOLE_EVERY, self._whole, device)
            self._devices[sender.device] = device
        for known in before.values():
            if known.whole is not None:
                known.whole.cancel()
        self._told.clear()
        self._strangers.clear()
        self._index()
        self._resolve_names()

    async def close(self) -> None:
        """Stops listening."""
        if self._ears:
            self._count_drops()
        for ear in self._ears:
            asyncio.get_running_loop().remove_reader(ear.socket)
            ear.socket.close()
        self._ears.clear()
        for device in self._devices.values():
            if device.whole is not None:
                device.whole.cancel()
                device.whole = None
        resolver, self._resolver = self._resolver, None
        if resolver is not None:
            resolver.cancel()
            await asyncio.wait((resolver,))

    def _trusted(self, sender: Sender) -> frozenset[str]:
        trusted = frozenset(self._users) if self._settings.trust or sender.trust else frozenset()
        if sender.user is None:
            return trusted
        return trusted | {sender.user.name} if sender.trust else trusted - {sender.user.name}

    # --- who may send -----------------------------------------------------------------------------------------------

    def _index(self) -> None:
        """Which devices stand behind which address; two may, in two views of one box."""
        found: dict[str, list[_Device]] = {}
        for device in self._devices.values():
            for name in device.sender.addresses:
                for address in (_plain(name),) if numeric(name) else self._resolved.get(name, ()):
                    behind = found.setdefault(address, [])
                    if device not in behind:
                        behind.append(device)
        self._senders = {address: tuple(devices) for address, devices in found.items()}

    def _resolve_names(self) -> None:
        """Has names become addresses in the background, now and from time to time."""
        if self._resolver is not None:
            self._resolver.cancel()
            self._resolver = None
        names = {name for device in self._devices.values() for name in device.sender.addresses if not numeric(name)}
        self._resolved = {name: addresses for name, addresses in self._resolved.items() if name in names}
        if names and self._ears:
            self._resolver = asyncio.get_running_loop().create_task(self._resolve(sorted(names)), name="traps resolver")

    async def _resolve(self, names: Sequence[str]) -> None:
        while True:
            for place in range(0, len(names), _RESOLVERS):
                some = names[place : place + _RESOLVERS]
                for name, addresses in zip(some, await asyncio.gather(*map(_addresses, some)), strict=True):
                    if addresses:  # who cannot be resolved just now is believed where he was
                        self._resolved[name] = addresses
                self._index()
            await asyncio.sleep(RESOLVE_EVERY)

    # --- datagrams --------------------------------------------------------------------------------------------------

    def _readable(self, ear: _Ear) -> None:
        """Takes some of what waits in a socket; the loop comes back for the rest."""
        now = asyncio.get_running_loop().time
        until = now() + SLICE
        for _ in range(SLICE_DATAGRAMS):
            try:
                datagram, back = _received(ear)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                logger.debug("notifications on %s: %s", ear.at, error.strerror or error)
                return
            self._counts[Count.RECEIVED] += 1
            outcome = self._taken(datagram, back)
            self._counts[outcome] += 1
            if now() >= until:
                return

    def _taken(self, datagram: bytes, back: _Back) -> Count:
        """What becomes of a datagram."""
        sender = str(back.address[0])
        behind = self._senders.get(sender.partition("%")[0])
        if behind is None:
            self._tell_of_stranger(sender)
            return Count.UNKNOWN_SENDER
        try:
            envelope = enveloped(datagram)
            if envelope.version == 3:
                believed = self._proved(datagram, back, behind)
            else:
                believed = _admitted(datagram, envelope, behind)
            outcome = believed if isinstance(believed, Count) else self._heard(back, believed)
        except MalformedError:
            outcome = Count.MALFORMED
        if outcome in _TOLD:
            self._tell(behind[0].sender.device, outcome)
        return outcome

    def _proved(self, datagram: bytes, back: _Back, behind: tuple[_Device, ...]) -> _Believed | Count:
        """Whose a message of version 3 is; tried with the users of each device behind the address."""
        now = asyncio.get_running_loop().time()
        try:
            digest = _digest(datagram)
        except UsmError:
            return Count.MALFORMED
        if digest in self._digests:  # only what was proved is in there, so nothing needs to be proved again
            return Count.REPLAYED
        devices: list[_Device] = []
        unsealed: Unsealed | None = None
        failure: tuple[UsmError, _Device] | None = None
        for device in behind:
            self._learn(device)
            try:
                unsealed = unseal(datagram, device.users, now, clocks=self._clocks, authority=self._authority)
                devices.append(device)
            except UsmError as error:
                # What the device says that knows the user tells more than that the other one does not.
                if failure is None or error.kind is not Fault.UNKNOWN_USER:
                    failure = error, device
        if unsealed is not None:
            return _Believed(devices, 3, unsealed.octets, unsealed=unsealed, digest=digest)
        return Count.MALFORMED if failure is None else self._refused(back, *failure)

    def _heard(self, back: _Back, believed: _Believed) -> Count:
        """Delivers what is believed, if it is of BFD sessions and not too much."""
        able = self._able(believed.devices)
        if not able:
            return Count.RATE_LIMITED
        notice = noticed(believed.pdu, believed.version)
        unsealed = believed.unsealed
        if notice.inform:
            self._answer(back, self._acknowledged(believed))
            if self._again(notice, back.address):
                return Count.DUPLICATE
        elif unsealed is not None and unsealed.level is not Level.NO_AUTH:
            _known(self._digests, believed.digest)
        hint = notified(notice.trap_oid, notice.varbinds)
        if hint is None:
            return Count.NOT_BFD
        if unsealed is not None and unsealed.context:
            hint = replace(hint, details={**hint.details, "context": unsealed.context})
        for device in able:
            sure = unsealed is not None and self._sure(device, unsealed, hint)
            self._deliver(device.sender.device, hint, sure)
        return Count.ACCEPTED

    def _refused(self, back: _Back, error: UsmError, device: _Device) -> Count:
        """Counts a version 3 message that is not believed, and says why if its sender wants to know."""
        authority = self._authority
        report = None
        if authority is not None:
            report = authority.report(error, device.users, asyncio.get_running_loop().time())
        if report is not None:
            self._answer(back, report)
        header = error.header
        if error.kind is Fault.NOT_IN_TIME and report is not None and header is not None and header.boots == 0:
            return Count.DISCOVERY  # how a sender of informs sets his clock by ours
        if error.kind is Fault.UNKNOWN_ENGINE and report is None:
            return Count.MALFORMED
        return _FAULTS.get(error.kind, Count.MALFORMED)

    def _learn(self, device: _Device) -> None:
        """Takes over the clock of a device's engine from our polls: by it recordings of yesterday are known as such."""
        clock = self._security(device.sender.device)
        if clock is not None and clock != device.clock:
            device.clock = clock
            self._clocks.learn(clock)

    def _sure(self, device: _Device, unsealed: Unsealed, hint: Hint) -> bool:
        """Whether a notification may be acted upon before the device was asked."""
        now = asyncio.get_running_loop().time()
        clock = device.clock
        if clock is None or unsealed.level is Level.NO_AUTH or unsealed.user not in device.trusted:
            return False
        if hint.said is None or hint.somewhere or unsealed.engine_id != clock.engine_id:
            return False
        said = (unsealed.boots, unsealed.time)
        if unsealed.boots != clock.boots or abs(unsealed.time - clock.at(now).time) > TIME_WINDOW:
            return False
        if said < device.latest:
            return False
        device.latest = said
        return True

    # --- answers to informs -----------------------------------------------------------------------------------------

    def _acknowledged(self, believed: _Believed) -> bytes:
        """The datagram that answers an inform, as protected as the inform was."""
        reply = response(believed.pdu)
        if believed.unsealed is None or self._authority is None:
            return believed.head + reply
        users = believed.devices[0].users
        return answer(believed.unsealed, reply, users, self._authority, asyncio.get_running_loop().time())

    def _answer(self, back: _Back, datagram: bytes) -> None:
        try:
            back.send(datagram)
        except OSError:
            self._counts[Count.UNANSWERED] += 1  # its sender tries again

    def _again(self, notice: Notice, address: _Address) -> bool:
        """Whether an inform was here before: the same request, at the same sysUpTime, from the same port."""
        return _known(self._informs, (address, notice.number, notice.up_time, notice.trap_oid, notice.varbinds))

    # --- floods -----------------------------------------------------------------------------------------------------

    def _able(self, devices: Sequence[_Device]) -> list[_Device]:
        """Those that have not sent too much; the others are looked at as a whole, once a second."""
        now = asyncio.get_running_loop().time()
        able = []
        for device in devices:
            if device.take(now):
                able.append(device)
                continue
            device.spilled += 1
            if device.whole is None:
                self._whole(device)
        return able

    def _whole(self, device: _Device) -> None:
        """Hints at a whole device, and does so again when more came meanwhile, so that the last is never lost."""
        device.whole = None
        if not device.spilled:
            return
        spilled, device.spilled = device.spilled, 0
        device.whole = asyncio.get_running_loop().call_later(WHOLE_EVERY, self._whole, device)
        self._deliver(device.sender.device, Hint("", details={"too_many": spilled}), False)  # noqa: FBT003

    # --- the kernel's counter, and what an operator should know -----------------------------------------------------

    def _count_drops(self) -> None:
        drops = _kernel_drops({ear.inode for ear in self._ears})
        for ear in self._ears:
            new = drops.get(ear.inode, ear.dropped) - ear.dropped
            if new > 0:
                ear.dropped += new
                self._counts[Count.KERNEL_DROPPED] += new
                logger.warning("notifications on %s: the kernel dropped %d, its receive buffer was full", ear.at, new)

    def _tell(self, device: str, what: Count) -> None:
        """Says once what is wrong with the notifications of a device."""
        if (device, what) not in self._told:
            self._told.add((device, what))
            logger.warning("notifications of device %s are not taken: %s", device, _TOLD[what])

    def _tell_of_stranger(self, address: str) -> None:
        """Says once who else sends, of a few only: addresses may be made up."""
        if len(self._strangers) < _STRANGERS and address not in self._strangers:
            self._strangers.add(address)
            logger.warning("notifications from %s are not taken: that is no device's host or trap_from", address)


_STRANGERS = 16
_TOLD: Mapping[Count, str] = {
    Count.BAD_COMMUNITY: "their community is neither the device's nor one of traps.communities",
    Count.BAD_USER: "their SNMPv3 user is neither the device's nor one of traps.users",
    Count.BAD_LEVEL: "they are not protected as their SNMPv3 user is set up",
    Count.WRONG_DIGEST: "their digest is wrong: is the SNMPv3 user's auth_key right?",
    Count.UNDECRYPTABLE: "they cannot be decrypted: is the SNMPv3 user's priv_key right?",
}


def _admitted(datagram: bytes, envelope: Envelope, behind: tuple[_Device, ...]) -> _Believed | Count:
    """Whose a message of version 1 or 2c is, by its community."""
    devices = [device for device in behind if _among(envelope.community, device.communities)]
    if not devices:
        return Count.BAD_COMMUNITY
    return _Believed(devices, envelope.version, datagram[envelope.pdu], head=datagram[: envelope.pdu.start])


def _octets(communities: Iterable[Secret]) -> tuple[bytes, ...]:
    """Communities as they are sent; an empty one is no secret that anybody shares with us."""
    return tuple(community.reveal().encode() for community in communities if community.reveal())


def _among(community: bytes, communities: Iterable[bytes]) -> bool:
    """Whether a community is one of these, in a time that does not tell how much of it was right."""
    found = False
    for known in communities:
        found |= hmac.compare_digest(community, known)
    return found


def _known(remembered: OrderedDict[Any, None], what: object) -> bool:
    """Whether this was here before, among the last ones; it will be from now on."""
    if what in remembered:
        remembered.move_to_end(what)
        return True
    remembered[what] = None
    while len(remembered) > _REMEMBERED:
        remembered.popitem(last=False)
    return False


def _digest(datagram: bytes) -> bytes:
    """The digest of a version 3 message with its salt: no two messages of a key have the same."""
    header = header_of(datagram)
    return datagram[slice(*header.digest)] + header.salt


def _plain(address: str) -> str:
    """An address as recvfrom writes it, without its zone."""
    found = socket.getaddrinfo(address, None, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
    return str(found[0][4][0]).partition("%")[0]


async def _addresses(name: str) -> tuple[str, ...]:
    """The addresses that a name has now; none if it cannot be resolved."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            found = await loop.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except (TimeoutError, OSError, UnicodeError) as error:
        logger.debug("notifications: the name %s cannot be resolved: %s", name, error)
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


# --- sockets ----------------------------------------------------------------------------------------------------------


def _listening(host: str, port: int, receive_buffer: int) -> _Ear:
    """A socket that receives at an address; ConfigError with the remedy."""
    if not numeric(host):
        raise ConfigError("traps.listen", f"{host!r} is no address: use one of this host's, 0.0.0.0 or ::")
    if not 0 <= port <= 65_535:  # getaddrinfo takes any, modulo 65,536
        raise ConfigError("traps.listen", f"{port} is no port: use 162, or another up to 65535")
    at = _at(host, port)
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE
        )[0]
        wire = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        raise ConfigError("traps.listen", f"{at} cannot be listened on: {error.strerror or error}") from error
    try:
        wire.setblocking(False)  # noqa: FBT003 - a method of the library
        if family == socket.AF_INET6:
            wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        granted = _grant(wire, receive_buffer)
        wire.bind(address)
        everywhere = address[0] in {"0.0.0.0", "::"}  # noqa: S104 - it is only compared  # nosec B104
        if everywhere and family == socket.AF_INET6:
            wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif everywhere:
            wire.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        return _Ear(wire, everywhere, _at(host, wire.getsockname()[1]), granted, os.fstat(wire.fileno()).st_ino)
    except PermissionError as error:
        wire.close()
        raise ConfigError(
            "traps.listen",
            f"{at} may not be listened on: give the service CAP_NET_BIND_SERVICE (AmbientCapabilities= of systemd), "
            f"or use a port from 1024 on and have the devices send there",
        ) from error
    except OSError as error:
        wire.close()
        raise ConfigError(
            "traps.listen",
            f"{at} cannot be listened on: {error.strerror or error}; does another receiver (snmptrapd) have that port, "
            f"or is the address not this host's?",
        ) from error


def _received(ear: _Ear) -> tuple[bytes, _Back]:
    """A datagram that waits in a socket, and where an answer to it goes; OSError."""
    if not ear.everywhere:
        datagram, address = ear.socket.recvfrom(_MAX_DATAGRAM)
        return datagram, _Back(ear.socket, address)
    datagram, told, _, address = ear.socket.recvmsg(_MAX_DATAGRAM, _ANCILLARY)
    here = []
    for level, kind, octets in told:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):  # in_pktinfo: interface, our address, the packet's
            here.append((level, kind, bytes(4) + octets[4:8] + bytes(4)))
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):  # in6_pktinfo: our address, interface
            here.append((level, kind, octets[:16] + bytes(4)))
    return datagram, _Back(ear.socket, address, tuple(here))


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _grant(wire: socket.socket, wanted: int) -> int:
    """Asks for a receive buffer, beyond the host's limit if we may, and says how much of it the kernel gave."""
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            wire.setsockopt(socket.SOL_SOCKET, option, wanted)
        except (OSError, OverflowError):
            continue
        break
    # The kernel doubles what it is asked for, to have room for its own records (socket(7)).
    return wire.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def _report(ear: _Ear, wanted: int) -> None:
    if ear.granted >= wanted:
        logger.info("notifications on %s, with %d octets of receive buffer", ear.at, ear.granted)
        return
    logger.warning(
        "notifications on %s, with %d octets of receive buffer instead of %d: many at once may be lost; "
        "sysctl -w net.core.rmem_max=%d, or give the service CAP_NET_ADMIN",
        ear.at,
        ear.granted,
        wanted,
        wanted,
    )


def _kernel_drops(inodes: set[int]) -> Mapping[int, int]:
    """The datagrams that the kernel dropped, by the sockets' inodes (proc(5)); nothing where that cannot be read."""
    found: dict[int, int] = {}
    for table in ("udp", "udp6"):
        try:
            lines = Path("/proc/net", table).read_text("ascii").splitlines()
        except (OSError, UnicodeError):
            continue
        for line in lines[1:]:
            cells = line.split()
            if len(cells) > 12 and cells[9].isdigit() and int(cells[9]) in inodes and cells[-1].isdigit():
                found[int(cells[9])] = int(cells[-1])
    return found
