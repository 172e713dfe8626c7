"""Builds every part from the settings, moves each input through the engine, carries out its effects, stops in order.

One Down, straight through: the poller hands a decoded answer to `handle`, the engine answers with effects, and the
withdraws among them are written before anything is logged, counted, stored or shown.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import getpass
import json
import logging
import os
import resource
import secrets as chance
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from exabgp_bfd import __version__, keeper, logs, roster
from exabgp_bfd.config import LOST, Glimpse, Listen, LogSettings, Settings, Stored, describe
from exabgp_bfd.core.engine import Engine
from exabgp_bfd.core.mark import Mark, Taken
from exabgp_bfd.core.model import (
    BY_HAND,
    Announce,
    Answer,
    Ask,
    BfdError,
    ByHand,
    Clear,
    Clock,
    Command,
    ConfigError,
    Disabled,
    Effect,
    Event,
    EventQuery,
    Explanation,
    Forget,
    Input,
    Look,
    Note,
    Notification,
    Order,
    Outcome,
    Override,
    Pace,
    Peers,
    Plan,
    Poll,
    Preview,
    Record,
    Reload,
    Remember,
    RememberOrder,
    Restored,
    Secret,
    Silence,
    Sites,
    Snapshot,
    Source,
    SpeakerError,
    Stall,
    Start,
    Stop,
    StoreError,
    Tick,
    Webhook,
    Withdraw,
)
from exabgp_bfd.core.signing import (
    ID_HEADER,
    SIGNATURE_HEADER,
    STANDARD_HEADER,
    TIME_HEADER,
    is_standard,
    sign,
    sign_standard,
)
from exabgp_bfd.core.spoken import Question
from exabgp_bfd.core.told import Commanded, Ending, Heard, Rehearsed
from exabgp_bfd.core.written import DeviceChange, DeviceChanged, DeviceShown, KeepDevice, Written
from exabgp_bfd.desk import WebDesk
from exabgp_bfd.early import EarlyLines
from exabgp_bfd.host import HostWatch
from exabgp_bfd.lease import Lease
from exabgp_bfd.lines import lines_of, rehearsed
from exabgp_bfd.mailroom import Doors as MailDoors
from exabgp_bfd.mailroom import Mailroom
from exabgp_bfd.metrics import Metrics, PollOutcome, Tallies
from exabgp_bfd.outline import service_lines, window_line
from exabgp_bfd.roster import Intended
from exabgp_bfd.routers import Routers, check
from exabgp_bfd.sites import Doors, OtherSites, SiteNow, Talk
from exabgp_bfd.speaker import dialect, messages
from exabgp_bfd.speaker.dialect import Dialect
from exabgp_bfd.speaker.inquiry import Inquiry
from exabgp_bfd.speaker.ledger import Reply
from exabgp_bfd.speaker.pipe import Pipe, driven_by_pipes, public, take_over_stdio
from exabgp_bfd.starts import BUCKET, Count, StartFile
from exabgp_bfd.storage.database import JournalInUseError, readable_devices, stored_devices
from exabgp_bfd.storage.inputs import InputLog
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.mongo import Shipper
from exabgp_bfd.storage.mongo_address import Address
from exabgp_bfd.storage.mongo_client import close, connect
from exabgp_bfd.storage.mongo_reader import MongoReader
from exabgp_bfd.storage.queries import PAGE
from exabgp_bfd.storage.reader import Reader
from exabgp_bfd.storage.seen import Seen
from exabgp_bfd.waiting import WaitingRoom
from exabgp_bfd.web.auth import Key, Sender, new_key

if TYPE_CHECKING:
    from exabgp_bfd.web.backend import WebSettings
    from exabgp_bfd.web.server import Pages, WebServer

logger = logging.getLogger(__name__)

LAPSED_SHOWN = 100
"""How many of the routes that a lease took are named in the event."""
MANY_FILES = 65_536
"""Descriptors that suffice for any number of devices that one process can poll."""
RETRY_SECONDS = 2.0
"""How often a start that failed is tried again."""
HOUSEKEEPING_SECONDS = 1.0
SETTLED_TURNS = 3
"""After how many turns of housekeeping we count as built."""
FLUSH_TURNS = 30
"""How many turns of housekeeping polls that said nothing new may wait before the input log hands them over."""
SNAPSHOT_SECONDS = 0.05
"""How old a snapshot may be that is given to the web, so that hammering it costs the loop next to nothing."""
SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter while another, the loop's most of all, waits for it."""
STOP_SECONDS = 0.6
"""How long an end waits for ExaBGP to take what was written, and meanwhile for the web's last answers."""
SITES_STOP_SECONDS = 0.6
"""How long an end tells the other sites of itself, meanwhile."""
SHIPPER_STOP_SECONDS = 0.2
"""How long it waits for MongoDB's answer: what was not acknowledged is sent again at the next start."""
MAIL_STOP_SECONDS = 0.2
"""How long an end waits for alerts that are under way: they come again after the next start."""
JOURNAL_STOP_SECONDS = 0.8
"""How long it then waits for the journal; ExaBGP kills us 2 s after its SIGTERM."""

ANSWERED_FIRST = 0.2
"""How long an end that was asked for over HTTP waits for the answer to leave."""
LINES_SHOWN = 1000
"""How many lines of ExaBGP's answer an operator is shown."""
RESTART_SECONDS = 0.3
"""How long the web lives on after a reload that changes it."""
RELOADED_WITHIN = 30.0
"""How long a reload by a signal may take, with those that it waits for."""
DECIDES_FOR = 9.0
"""How many times as long as a change of a device held up the loop no other one does: some 0.3 s with 1,000 devices and
1,000 services."""
ANOTHER_CHANGE = 1.0
"""How long a change of a device waits for another that is under way."""
DECIDES_AT_MOST = 5.0
"""Seconds of that."""
LOOK_AT_START = 2.0
"""How long a start waits for the word on all disable files."""
COMPLAINT_SECONDS = 60.0
"""How often a fault of one kind is told again."""
FAULT_PAUSE = 1.0
"""How soon the engine is asked again by the clock after a fault: what fell due may well fail again."""
_OF_THE_WEB = ("api", "api_keys", "webhook", "api_tls", "api_networks", "api_proxies", "api_rates")
_OF_THE_LISTENER = ("api", "api_tls", "api_keys")
"""For these the API is served anew: who had a key before and has none now keeps no connection either."""
_OF_THE_START = ("site", "storage", "sites")
"""What only another start can change."""
_COUNTED_LAYERS = frozenset({"health", "start"})
"""Withdraws that these decided count against the guard's limit."""
_SAID_AGAIN = "said again"
"""How the rule of a command begins that only repeats one that ExaBGP did not take."""

_QUIET = frozenset({"snmp_poll", "route_confirmed", "route_overtaken"})
_ALARMS = frozenset(
    {
        *("bfd_failure", "bfd_damped", "device_unreachable", "route_refused", "store_down", "guard_held"),
        *("message_quarantined", "order_refused", "reload_refused", "lease_expired"),
        *("neighbor_down", "neighbor_graceful_restart", "exabgp_warning", "route_unconfirmed", "reconciled"),
        *("last_site_held", "site_conflict", "store_damaged", "store_replaced", "store_missing", "store_gap"),
        *("device_superseded", "device_left_out", "notify_dead", "notify_late", "notify_disabled"),
    }
)
_PARENT = "exabgp"
_WORLD = Poll | Silence | Notification | Tick | Webhook | Sites | Stall | Clock | Disabled | Order | Clear | Reload
"""What may change what is announced."""

T = TypeVar("T")

Load = Callable[[Path | None, Stored], Settings]
"""Reads the settings, from another file than usual where one is given, beside the devices that were added over HTTP;
raises ConfigError."""
GlimpseAt = Callable[[], Glimpse]
"""What can be told of settings that `Load` refuses."""


@dataclass(frozen=True, slots=True)
class _Checked:
    """Settings that could hold from now on."""

    settings: Settings
    there: Mapping[str, bool]
    """For each service with a disable file whether that is there."""

    @property
    def disabled(self) -> tuple[str, ...]:
        """The services whose disable file is there."""
        return tuple(service for service, there in self.there.items() if there)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a start that succeeded has made."""

    settings: Settings
    routers: Routers
    journal: Journal
    restored: Restored
    engine: Engine
    made: float
    """When the engine was made, by the monotonic clock: `restored.wall` is what the wall clock read."""


class App:
    """The API process. All but the threads of stdin, journal, log and web happens on its loop."""

    def __init__(  # noqa: PLR0915 - one attribute each
        self, load: Load, stdin: int, stdout: int, *, patient: bool, glimpse: GlimpseAt = Glimpse
    ) -> None:
        """`patient` waits for the remedy of a bad start: under ExaBGP each exit brings its respawn limit closer."""
        self._load = load
        self._glimpse = glimpse
        self._room = WaitingRoom()
        self._kept = keeper.circumstances()
        self._starts: Count | None = None
        """How often ExaBGP has started us; None until it was counted."""
        self._held_for = 0.0
        self._lease: Lease | None = None
        self._mail: Mailroom | None = None
        self._others: OtherSites | None = None
        """None: no MongoDB, so nobody tells of other sites."""
        self._patient = patient
        self._stopping = asyncio.Event()
        self._stop_reason = ""
        self._stopped_by_operator = False
        self._journal: Journal | None = None
        self._early = EarlyLines()
        self._shipper: Shipper | None = None
        """None: no MongoDB, so nothing is copied there."""
        self._engine: Engine | None = None
        self._routers: Routers | None = None
        self._inquiry: Inquiry | None = None
        self._metrics: Metrics | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._log: logs.Logs | None = None
        self._log_settings: LogSettings | None = None
        self._said_last_word = False
        self.faults: list[str] = []
        """Parts of ours that ended by a fault, and `engine` once that has failed to take an input."""
        self._complaints: dict[str, float] = {}
        """By kind of fault: when it was told last."""
        self._not_before = 0.0
        """When the clock may move the engine again, after a fault."""
        self._quarantined = 0
        self._store_was_healthy = True
        self._untold: list[Note] = []
        """What journals told that were mended before there was anybody to tell."""
        self._snapshot: Snapshot | None = None
        self._inputs: InputLog | None = None
        self._watch = HostWatch(self.handle)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._retargeting = asyncio.Lock()
        self._reloading = threading.Lock()
        """Held from reading a file until it holds, so that of two the newer one holds in the end. Not on the loop."""
        self._decides_until = 0.0
        """Until when the loop, which a change of a device held up, is left to decisions."""
        self._ending_now = threading.Event()
        self._hung_up_again = False
        self._serving_anew = asyncio.Lock()
        self._web_is_outdated = False
        self._ephemeral: Key | None = None
        self._web_app: Pages | None = None
        self._seen: Seen | None = None
        self._inventory: Mapping[str, Written] = {}
        """The devices that were added over HTTP, as they were written; another mapping after each change."""
        self._keeping: KeepDevice | None = None
        """What is kept of a device with the event of the input that is moved."""
        self._marking: tuple[Mark, list[int]] | None = None
        """The report that is moved through the engine, and the events of it that were before."""
        self.pipe = Pipe(
            stdin,
            stdout,
            deliver=self.handle,
            store=self._early.take,
            ended=self._end,
            answers=keeper.answers_are_on(os.environ),
        )

    # --- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Lives until told to stop, and gives the exit status.

        Raises BfdError for a bad start where nobody waits for the remedy.
        """
        self.loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self._signalled, number)
        # Both from the first moment, for a bad start may wait long, and each kills a process that does not know it.
        self.loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        self.loop.add_signal_handler(signal.SIGUSR1, self._poll_everything)
        # The reader before all else: ExaBGP may write at once, and must never find a full pipe.
        self.pipe.start(self.loop)
        if self._patient:  # else whoever started us prints why it failed
            self._open_log(LogSettings())
        try:
            parts = await self._patiently()
            await self._room.close()
            if parts is not None:
                await self._live(parts)
        finally:
            await self._room.close()
            self.pipe.close()
            if self._log is not None:
                self._log.stop()
        return 0

    async def _patiently(self) -> _Parts | None:
        """Tries until it works or we are told to stop (None); says what is wrong once, and again when it changes."""
        said = ""
        while not self._stopping.is_set():
            fault: Exception | None = None
            try:
                await self._hold_up()
                if self._stopping.is_set():
                    break
                return self._prepare()
            except BfdError as error:
                if not self._patient:
                    raise
                more = len(getattr(error, "errors", (error,))) - 1
                told = wrong = f"{error}{f', and {more} more: `exabgp-bfd check` tells all of it' if more else ''}"
                # Whoever has the journal may want the address as well: it is left to them in turns.
                shown = not (isinstance(error, JournalInUseError) and self._room.open)
            except Exception as error:  # a fault of ours must not bring ExaBGP's respawn limit closer either
                if not self._patient:
                    raise
                wrong, fault = f"{type(error).__name__}: {error}", error
                # What some library says of itself may be anything, and is for the log alone.
                told, shown = f"a fault of ours, {type(error).__name__}: the log tells more", True
            if wrong != said:
                said = wrong
                logger.error("cannot start yet: %s (trying again every %g s)", said, RETRY_SECONDS, exc_info=fault)
            self._room.say(f"exabgp-bfd cannot start yet: {told}", RETRY_SECONDS)
            await self._room.be_at(self._waits_at() if shown else None)
            await self._stops_within(RETRY_SECONDS)
        return None

    async def _hold_up(self) -> None:
        """Counts this start, and waits where one more in a short time could be ExaBGP's end. Once."""
        if self._starts is not None or not self._patient or (self._kept is not None and self._kept.crashes):
            return  # our keeper's other workers are no starts of ExaBGP's
        journal = self._glimpse().journal
        if journal is None:
            return
        wall = time.time()
        self._starts = StartFile(journal).note(wall, _parent())
        if self._starts.free_at is None:
            return
        self._held_for = max(0.0, self._starts.free_at - wall)
        often = f"started {self._starts.number} times in {self._starts.within:.0f} s"
        logger.error("%s: holding for %.0f s, for ExaBGP would end itself at the sixth", often, self._held_for)
        self._room.say(f"exabgp-bfd was {often}, and waits: ExaBGP would end itself at the sixth", self._held_for)
        await self._room.be_at(self._waits_at())
        await self._stops_within(min(self._held_for, BUCKET))

    def _waits_at(self) -> Listen | None:
        """Where may be told that we wait: where the API will be, and nowhere else."""
        seen = self._glimpse()
        if seen.told:
            return seen.api
        if seen.journal is None:
            return None
        return _listen_of(StartFile(seen.journal).read().listens.get(seen.config))

    def _prepare(self) -> _Parts:
        """One attempt, from reading the settings on, for any of them may be the remedy; what failed leaves no trace."""
        settings, read = self._load_at_start()
        self._open_log(settings.log)
        routers = Routers(settings, self._from_device)
        journal = Journal(
            settings.storage.path,
            settings.site,
            keep_events=settings.storage.keep_events,
            keep_messages=settings.storage.keep_messages,
            max_events=settings.storage.max_events,
            keep_inputs=settings.storage.keep_inputs,
            mend=_mend,
        )
        try:
            restored = self._without_lapsed(_with_exabgp(journal.open(), journal, settings.speaker.adopt_within))
            self._inventory = roster.parse(journal.devices())
            if self._inventory != read:  # it had to be mended, or was not to be read before
                settings = self._load(None, lambda path: _with_lost(self._inventory, path))
                routers = Routers(settings, self._from_device)
            present = self._watch.present(_disable_files(settings), LOOK_AT_START)
            disabled = tuple(service for service, there in present.items() if there)
            withdrawn = _withdrawn_lately(settings.plan, settings.storage.path)
            now = _monotonic()
            restored = replace(restored, wall=time.time(), disabled=disabled, withdrawn=withdrawn)
            return _Parts(settings, routers, journal, restored, Engine(settings.plan, restored, now), now)
        except Exception:
            journal.stop(0.0)
            raise

    def _load_at_start(self) -> tuple[Settings, Mapping[str, Written]]:
        """The settings beside the devices that the journal has; it is mended where they would be refused without."""
        read: dict[str, Written] = {}
        unreadable: list[Path] = []

        def stored(path: Path) -> Mapping[str, Written]:
            texts = readable_devices(path)
            if texts is None:
                unreadable.append(path)
            read.update(roster.parse(texts or {}))
            return _with_lost(read, path)

        try:
            return self._load(None, stored), read
        except ConfigError:
            if not unreadable:
                raise
        # What the file names may be what the journal cannot tell just now, and nobody else would ever mend that.
        journal = Journal(unreadable[0], "")
        try:
            journal.open()
            self._untold += journal.notes()
        finally:
            journal.stop(0.0)
        return self._load(None, stored), read

    def _note_added(self) -> None:
        """Remembers beside the journal which devices were added, for the day on which that has them no more."""
        StartFile(self.settings.storage.path).note_added({*self._inventory, *self.settings.lost})

    def _open_log(self, settings: LogSettings) -> None:
        """Begins the log, or begins it anew where its settings are others; where that fails, the old one goes on."""
        if self._log is not None and settings == self._log_settings:
            return
        self._log = logs.setup(
            settings.level, settings.file, settings.max_bytes, settings.backups, instead_of=self._log
        )
        self._log_settings = settings

    async def _live(self, parts: _Parts) -> None:
        settings, journal = parts.settings, parts.journal
        self.settings = settings
        self._journal = journal
        self._seen = Seen(journal.meta)
        self._started = time.time_ns() // 1000
        self.pipe.ack_timeout = settings.speaker.ack_timeout
        journal.start()
        self._early.hand_over(journal)
        self._engine = parts.engine
        self.routers = self._routers = parts.routers
        self._inputs = InputLog(journal)
        self._shipper = self._copier(settings, journal)
        self._metrics = Metrics(__version__, self.snapshot, _clock, self._tallies(journal))
        self._ephemeral = _ephemeral_key(settings)
        doors = MailDoors(self.handle, self.call, self._on_disk)
        self._mail = Mailroom(settings.storage.path, settings.site, journal, doors, parts.restored.last_event)
        self._mail.renew(settings.notify)
        self._set_watch(settings)
        self._watch.found(parts.restored.disabled)
        self._lease = self._held(parts.restored)
        self._begin(parts, Start(_introduction(settings, describe(settings), self.lifecycle())))
        self._give_way(settings, None)
        self._watch.start(self.loop, parts.restored.wall, parts.made)
        self._take_lease(settings)
        if self._shipper is not None:
            self._shipper.start()
        self._join_sites(settings, journal)
        if settings.api is not None and settings.file is not None:
            StartFile(settings.storage.path).note_listen(str(settings.file.absolute()), str(settings.api))
        self._note_added()
        self._begin_inquiry(settings)
        self._spawn("poller", parts.routers.run())
        self._spawn("web", self._serve(settings))
        self._spawn("housekeeping", self._keep_house())
        self._spawn("disable files", self._watch.watch_files())
        await self._stopping.wait()
        await self._stop(journal)

    def _begin(self, parts: _Parts, start: Start) -> None:
        """The first input, which tells the input log what the engine was made from."""
        now, wall = _monotonic(), time.time_ns() // 1000
        if self._inputs is not None:
            self._inputs.began(start, parts.restored, parts.made, round(parts.restored.wall * 1e6))
        self._move(start, now, wall)

    def _begin_inquiry(self, settings: Settings) -> None:
        """Asks ExaBGP what it is and has, from here on."""
        before = self._tasks.pop("inquiry", None)
        if before is not None:
            before.cancel()
        speaks = Dialect(settings.speaker.dialect) if settings.speaker.dialect != "auto" else None
        inquiry = self._inquiry = Inquiry(self.pipe, self.handle, speaks=speaks, timeout=settings.speaker.ack_timeout)
        self._spawn("inquiry", inquiry.run())

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[name] = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)

    def _errand(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
        task.add_done_callback(self._errand_ended)

    def _errand_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            logger.critical("a reload ended by a fault", exc_info=task.exception())

    def _set_watch(self, settings: Settings) -> None:
        patience = min((device.stale_after for device in settings.plan.devices), default=10.0)
        self._watch.set_rules(patience, _disable_files(settings))

    async def _stop(self, journal: Journal) -> None:
        """The last word to ExaBGP, then sources, web and journal: at once, for ExaBGP gives us two seconds for all."""
        withdraw = self._stopped_by_operator and self.settings.speaker.on_exit == "withdraw"
        self.handle(Stop(self._stop_reason, withdraw=withdraw))
        # Nothing that is learned from here on may announce again what was just withdrawn.
        self._said_last_word = True
        self._watch.stop()
        if self._inputs is not None:
            self._inputs.flush()
        # What we announce goes with ExaBGP, and stays where only we end.
        gone = not self._stopped_by_operator
        leave = self._others.stop(SITES_STOP_SECONDS, gone=gone) if self._others is not None else asyncio.sleep(0)
        leaving = asyncio.create_task(leave)
        post = asyncio.to_thread(self._mail.stop, MAIL_STOP_SECONDS) if self._mail is not None else asyncio.sleep(0)
        posting = asyncio.create_task(post)
        tasks = [*self._tasks.values(), *self._errands]
        for task in tasks:
            if not task.cancelling():  # a web that is ending would be kept from it by a second word
                task.cancel()
        ended = asyncio.gather(*tasks, return_exceptions=True)
        if not await self.pipe.written(STOP_SECONDS):
            logger.error("ExaBGP did not take every command within %g s", STOP_SECONDS)
        elif withdraw and not await self.pipe.drained(STOP_SECONDS):
            logger.warning("ExaBGP did not answer every withdraw within %g s", STOP_SECONDS)
        if self._timer is not None:
            self._timer.cancel()
        await posting
        # Before the journal, in which it notes how far it has come; its thread is a daemon's and may be left waiting.
        if self._shipper is not None:
            await asyncio.to_thread(self._shipper.stop, SHIPPER_STOP_SECONDS)
        # A request that the web still answers may be waiting for the journal, so that one does not wait for the web.
        if not await asyncio.to_thread(journal.stop, JOURNAL_STOP_SECONDS):
            logger.error("the journal could not take everything before the end")
        await ended
        await leaving
        if self._lease is not None:
            self._lease.stop()
        if self._routers is not None:
            await self._routers.close()
        logger.info("stopped: %s", self._stop_reason)

    async def _stops_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _signalled(self, number: int) -> None:
        # ExaBGP's own end says so by a message first; a signal alone is an operator's, or a restart of helpers.
        if not self._stopping.is_set():
            self._stopped_by_operator = True
        self._end(signal.Signals(number).name)

    def _hung_up(self) -> None:
        if self._engine is None:
            return  # a start that waits reads its settings again by itself
        if not self._hung_up_again:  # else one that has not begun to read will read what is there now
            self._hung_up_again = True
            self._errand(self._reload_on_signal())

    def _end(self, reason: str) -> None:
        if not self._stopping.is_set():
            self._stop_reason = reason
            self._stopping.set()
            self._ending_now.set()

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        """A part of ours died of a fault: the rest lives on, and the log says which."""
        if not task.cancelled() and task.exception() is not None:
            self.faults.append(task.get_name())
            logger.critical("%s ended by a fault", task.get_name(), exc_info=task.exception())

    def _poll_everything(self) -> None:
        if self._routers is not None:
            self._routers.look_at_all()

    # --- inputs and effects -------------------------------------------------------------------------------------

    def handle(self, event: Input) -> int | None:
        """Moves one input through the engine, on the loop's thread; the id of the first event it led to, if any."""
        events = self._events_of(event)
        return events[0].id if events else None

    def _events_of(self, event: Input) -> list[Event]:
        """Moves one input through the engine; the events it led to."""
        if self._engine is None or self._journal is None:
            return []
        if self._said_last_word and isinstance(event, _WORLD):
            return []
        now, wall = _monotonic(), time.time_ns() // 1000
        stall = self._watch.overslept(now)
        if stall is not None and not isinstance(event, Stall):
            self._move(stall, now, wall)
        return self._move(event, now, wall)

    def _move(self, event: Input, now: float, wall: int) -> list[Event]:
        if self._engine is None:
            return []
        try:
            effects = self._engine.handle(event, now)
        except Exception as error:  # noqa: BLE001 - a fault of ours with one input must not end what brought it
            self._not_before = now + FAULT_PAUSE
            self._engine_failed(event, error)
            return []
        else:
            return self._follow(event, effects, now, wall)
        finally:
            self._arm()

    def _engine_failed(self, event: Input, error: Exception) -> None:
        """Notes that the engine did not take an input; the log tells of each kind once a minute."""
        if "engine" not in self.faults:
            self.faults.append("engine")
        kind = f"{type(error).__name__} at {type(event).__name__}"
        now = time.monotonic()
        if now >= self._complaints.get(kind, float("-inf")) + COMPLAINT_SECONDS:
            self._complaints[kind] = now
            logger.critical("the engine did not take a %s, by a fault", type(event).__name__, exc_info=error)

    def _follow(self, event: Input, effects: Sequence[Effect], now: float, wall: int) -> list[Event]:
        if self._journal is None:
            return []
        written, kept, said = self._carry_out(effects, now)
        if self._inputs is not None and not isinstance(event, Start):
            self._inputs.note(event, now, wall)
            if written:
                self._inputs.flush()  # what led to a decision is on disk before it
        self._note_for_lease(event, kept)
        if kept:
            # One transaction: a decision and what is remembered of it are both on disk, or neither.
            self._journal.together([*kept, *self._kept_of(event)], wall, self._marked(event, kept))
        events = [each for each in kept if isinstance(each, Event)]
        self._tell(event, written, events, said - now)
        if self._others is not None and (written or kept or isinstance(event, Answer)):
            self._others.touched()
        if self._mail is not None:
            self._mail.called(events)
        return events

    def _kept_of(self, event: Input) -> list[KeepDevice]:
        """What is kept of a device beside the event that tells of it."""
        return [self._keeping] if self._keeping is not None and isinstance(event, Reload | Note) else []

    def _marked(self, event: Input, kept: Sequence[Event | Remember | RememberOrder]) -> dict[str, str]:
        """What is kept beside a report's event, so that it is not taken again."""
        if self._marking is None or self._seen is None or not isinstance(event, Webhook):
            return {}
        mark, before = self._marking
        number = next((each.id for each in kept if isinstance(each, Event)), None)
        return {} if number is None else self._seen.settle(mark, [*before, number])

    def _carry_out(
        self, effects: Sequence[Effect], now: float
    ) -> tuple[list[Command], list[Event | Remember | RememberOrder], float]:
        """Does what is to be done at once; the commands, what is to be kept, and when the last line was written."""
        written: list[Command] = []
        kept: list[Event | Remember | RememberOrder] = []
        said = now
        for effect in effects:
            match effect:
                case Withdraw() | Announce():
                    self._say(effect)
                    written.append(effect)
                    said = time.monotonic()
                case Look() | Pace() | Forget():
                    if self._routers is not None:
                        self._routers.tell(effect)
                case Ask():
                    if self._inquiry is not None:
                        self._inquiry.ask(effect)
                case Record():
                    kept.append(effect.event)
                case Remember() | RememberOrder():
                    kept.append(effect)
        return written, kept, said

    def _say(self, command: Command) -> None:
        try:
            self.pipe.send(command)
        except SpeakerError as error:
            # Not taken, and not forgotten: the engine says it again.
            self.loop.call_soon(self.handle, Answer(command.command, Outcome.ERROR, str(error)))
            logger.error("%s of %s not written: %s", type(command).__name__, command.route.key, error)

    def _tell(self, event: Input, written: Sequence[Command], events: Sequence[Event], seconds: float) -> None:
        """Metrics and log, after everything was written and handed to the journal."""
        if self._metrics is not None:
            for command in written:
                self._metrics.count_command("withdraw" if isinstance(command, Withdraw) else "announce")
            if written and isinstance(event, Poll | Notification):
                self._metrics.observe_reaction(seconds)
            if isinstance(event, Answer):
                self._metrics.count_answer(event.outcome)
        for recorded in events:
            _log(recorded)

    def _arm(self) -> None:
        """One timer for the engine's next deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._engine.next_deadline() if self._engine is not None else None
        if deadline is not None and not self._stopping.is_set():
            self._timer = self.loop.call_at(max(deadline, self._not_before), self.handle, Tick())

    def _from_device(self, event: Poll | Silence | Notification) -> None:
        self.handle(event)
        if self._metrics is not None and not isinstance(event, Notification):
            self._metrics.count_poll(event.device, PollOutcome.OK if isinstance(event, Poll) else PollOutcome.TIMEOUT)

    # --- MongoDB and the other sites ----------------------------------------------------------------------------------

    def _copier(self, settings: Settings, journal: Journal) -> Shipper | None:
        """Who copies the journal to MongoDB, not yet at work."""
        storage = settings.storage
        if storage.mongodb is None:
            return None

        def told(kind: str, details: Mapping[str, Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it everyone who could be told
                self.loop.call_soon_threadsafe(self.handle, Note(kind, details))

        return Shipper(
            journal,
            storage.path,
            settings.site,
            storage.mongodb,
            told=told,
            keep_events=storage.keep_events,
            keep_messages=storage.keep_messages,
            max_events=storage.max_events,
            version=__version__,
        )

    def _join_sites(self, settings: Settings, journal: Journal) -> None:
        """From here on we and the other sites that share our MongoDB hear of each other."""
        mongodb = settings.storage.mongodb
        if mongodb is None:
            return
        doors = Doors(self.handle, self._ordered, self._take_snapshot, lambda: self.settings.plan)
        talk = Talk(settings.site, mongodb, settings.sites.heartbeat, settings.sites.fresh)
        self._others = OtherSites(talk, journal, doors)
        self._others.start(self.loop)

    def order_all(self, what: Order | Clear, timeout: float) -> int | None:
        """Orders something of all sites; its event's id here, on disk, None where it changes nothing here.

        Raises ConfigError, StoreError (MongoDB or the journal did not take it), TimeoutError. Not on the loop's thread.
        """
        others, deadline = self._others, time.monotonic() + timeout
        if others is None:
            raise ConfigError(
                "scope", "other sites are reached by [storage] mongodb, which is not set; leave scope out"
            )

        def objection() -> ConfigError | None:
            return self._engine.objection(what, _monotonic()) if self._engine is not None else None

        # A Clear without anything to clear here may mean something elsewhere.
        objects = self.call(objection, timeout) if isinstance(what, Order) else None
        if objects is not None:
            raise objects
        seen = others.post(what, max(0.1, deadline - time.monotonic()))
        number = self.call(lambda: others.take_own(seen), max(0.1, deadline - time.monotonic()))
        return None if number is None else self._on_disk(number, deadline)

    def everywhere(self, timeout: float) -> tuple[bool, list[SiteNow]] | None:
        """Whether we are cut off from the other sites, and what each does; None without MongoDB. Any thread."""
        others = self._others
        return None if others is None else self.call(others.everywhere, timeout)

    # --- the lease ----------------------------------------------------------------------------------------------

    def _held(self, restored: Restored) -> Lease | None:
        """What is believed announced, to which each word of the engine's is added, from the first; None: no keeper."""
        if self._kept is None:
            return None
        lease = Lease(self._kept.board, lambda command: dialect.line(command, self.pipe.speech))
        lease.start(self.loop, () if restored.expired else restored.believed)
        return lease

    def _take_lease(self, settings: Settings) -> None:
        """From here on our keeper withdraws what asked for it, should we stop living."""
        lapse = self._kept.lapse if self._kept is not None else None
        if lapse is not None:
            self._tell_of_lapse(lapse)
        if self._kept is None:
            if settings.speaker.lease is not None:
                logger.warning("the lease watches only what ExaBGP has started, on Linux: nothing is watched")
            return
        self._renew_rules(settings)

    def _note_for_lease(self, event: Input, kept: Sequence[object]) -> None:
        if self._lease is None:
            return
        for told in kept:
            if isinstance(told, Remember):
                self._lease.note(told)
        if isinstance(event, Peers):
            self._lease.forget_lines()  # ExaBGP may be spoken to in another way now

    def _renew_rules(self, settings: Settings) -> None:
        if self._lease is not None:
            self._lease.set_rules(settings.speaker.lease, settings.speaker.leased)
        if settings.speaker.leased and settings.speaker.lease is None:
            logger.warning("services have `lease = true`, but there is no [speaker] lease: they are not watched")

    def _without_lapsed(self, restored: Restored) -> Restored:
        """Without the routes that our keeper has withdrawn: nothing is announced of them any more."""
        if self._kept is None or self._kept.lapse is None:
            return restored
        gone = set(self._kept.lapse.targets)
        believed = tuple(each for each in restored.believed if (each.service, each.route.key) not in gone)
        return replace(restored, believed=believed)

    def _tell_of_lapse(self, lapse: keeper.Lapse) -> None:
        """Records our keeper's withdraws, with what is believed of the routes now; it is told once that is kept."""
        details = {
            "seconds": round(lapse.seconds, 3),
            "services": sorted({service for service, _ in lapse.targets}),
            "routes": [key for _, key in lapse.targets[:LAPSED_SHOWN]],
            "withdrawn": lapse.lines,
        }
        number = self.handle(Note("lease_expired", details))
        journal, kept = self._journal, self._kept
        if number is None or journal is None or kept is None:
            return
        forgotten = [Remember(service, key, None, number) for service, key in lapse.targets]
        journal.together(forgotten, time.time_ns() // 1000)

        def on_disk(future: concurrent.futures.Future[Any]) -> None:
            if not future.cancelled() and future.exception() is None:
                kept.board.take(lapse.number)

        journal.flushed(messages=False).add_done_callback(on_disk)

    def lifecycle(self) -> dict[str, Any]:
        """How often we were started, held up and replaced, for whoever wonders. Any thread."""
        kept, starts = self._kept, self._starts
        return {
            "starts": starts.number if starts is not None else 1,
            "held": round(self._held_for, 3),
            "crashes": kept.crashes if kept is not None else 0,
            "crashes_lately": kept.recent if kept is not None else 0,
            "last_crash": kept.last_end or None if kept is not None else None,
            "keeper": kept.keeper if kept is not None else None,
            "lease": self.settings.speaker.lease if kept is not None else None,
        }

    # --- housekeeping -------------------------------------------------------------------------------------------

    async def _keep_house(self) -> None:
        """Once a second: how late the loop wakes, what was quarantined, whether the journal still takes records."""
        turns = 0
        while True:
            due = time.monotonic() + HOUSEKEEPING_SECONDS
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            turns += 1
            if turns == SETTLED_TURNS:
                # What lives as long as we do is there by now; left out of full collections, in which nothing moves
                # (20 to 50 ms were measured with 1,000 sessions), it no longer makes a withdraw wait.
                gc.collect()
                gc.freeze()
                continue
            if self._metrics is not None:
                self._metrics.observe_loop_lag(max(0.0, time.monotonic() - due))
            self._report_quarantine()
            self._report_store()
            self.routers.count()
            if self._inputs is not None and turns % FLUSH_TURNS == 0:
                self._inputs.flush()

    def _report_quarantine(self) -> None:
        count = self._quarantine_total()
        if count > self._quarantined:
            # One event a second at most, whatever a broken ExaBGP sends; the journal keeps broken events whole.
            details = {"count": count - self._quarantined, "total": count, "last": self.pipe.last_quarantined}
            self._quarantined = count
            self.handle(Note("message_quarantined", details))

    def _quarantine_total(self) -> int:
        journal = self._journal
        return max(self.pipe.counters.quarantined, journal.counters().quarantined if journal is not None else 0)

    def _report_store(self) -> None:
        journal = self._journal
        if journal is None:
            return
        untold, self._untold = self._untold, []
        for note in (*untold, *journal.notes()):
            self.handle(note)
        if journal.healthy is self._store_was_healthy:
            return
        self._store_was_healthy = journal.healthy
        if journal.healthy:
            self.handle(Note("store_up", {"store": "journal", "path": str(self.settings.storage.path)}))
        else:
            counters = journal.counters()
            details = {"store": "journal", "error": counters.last_error, "queued": counters.queued_events}
            self.handle(Note("store_down", details))

    def _tallies(self, journal: Journal) -> Tallies:
        counters = self.pipe.counters
        return Tallies(
            messages_read=lambda: counters.stored + counters.dropped,
            messages_dropped=lambda: counters.dropped,
            messages_quarantined=self._quarantine_total,
            store_queue=lambda: journal.counters().queued_events + journal.counters().queued_messages,
            store_dropped=lambda: journal.counters().dropped_messages + journal.counters().overflowed_events,
            store_errors=lambda: journal.counters().write_errors,
            bgp_routes=lambda: journal.route_counters().routes,
            bgp_routes_refused=lambda: journal.route_counters().refused_routes,
            mongodb=None if self._shipper is None else self._shipper.counters,
            crashes=lambda: self.lifecycle()["crashes"],
            starts=lambda: self.lifecycle()["starts"],
            held=lambda: self._held_for,
            polling=self.routers.polling,
            notifications=self.routers.notifications,
            jobs=self.routers.jobs_ended,
            jobs_now=self.routers.jobs_now,
            notify=lambda: ((), {}) if self._mail is None else (self._mail.views(), self._mail.totals()),
            followers=lambda: 0 if self._web_app is None else self._web_app.streams.taken,
            followers_dropped=lambda: 0 if self._web_app is None else self._web_app.streams.dropped,
        )

    # --- the web ------------------------------------------------------------------------------------------------

    async def _serve(self, settings: Settings) -> None:
        """Serves the API until cancelled; a port in use is waited out, for routes do not depend on it."""
        if settings.api is None:
            return
        server: WebServer | None = None
        building: asyncio.Future[WebServer] | None = None
        reader = Reader(settings.storage.path, site=settings.site)
        try:
            said = ""
            while server is None:
                building = asyncio.ensure_future(asyncio.to_thread(self._build_web, settings, reader))
                try:
                    server = await asyncio.shield(building)
                except BfdError as error:
                    if str(error) != said:
                        said = str(error)
                        logger.error("the API is not served yet: %s (trying again)", said)
                    await asyncio.sleep(RETRY_SECONDS)
            await asyncio.Event().wait()
        finally:
            if server is None and building is not None:
                # Its thread cannot be cancelled, and what it started nobody else would stop.
                with contextlib.suppress(BfdError):
                    server = await building
            if server is not None and not await asyncio.to_thread(server.stop, STOP_SECONDS):
                logger.error("the web server did not stop in time")
            reader.close()

    def _build_web(self, settings: Settings, reader: Reader) -> WebServer:
        # Imported here and now: Flask takes longer to import than the first poll to come back.
        from exabgp_bfd.web.server import WebServer, create_app  # noqa: PLC0415

        shipper = self._shipper
        mongodb = None if shipper is None else MongoReader(shipper, reader, self.settings.site)
        app = create_app(WebDesk(self, reader, mongodb), self._web_settings(settings))
        server = WebServer(app, self._web_settings(settings))
        server.start()
        self._web_app = app
        self._renew_web()  # for what was reloaded meanwhile
        return server

    def _renew_web(self) -> None:
        """Lets the keys, senders and rates of our settings hold from the next request on."""
        if self._web_app is not None and self.settings.api is not None:
            from exabgp_bfd.web import gate  # noqa: PLC0415 - imported already, and not before

            gate.renew(self._web_app, self._web_settings(self.settings))

    def _web_settings(self, settings: Settings) -> WebSettings:
        from exabgp_bfd.web.backend import WebSettings  # noqa: PLC0415
        from exabgp_bfd.web.limits import Rates  # noqa: PLC0415
        from exabgp_bfd.web.tls import TlsFiles  # noqa: PLC0415

        assert settings.api is not None  # noqa: S101 - for the type checker; the caller looked
        tls, rates = settings.api_tls, settings.api_rates
        return WebSettings(
            settings.api.host,
            settings.api.port,
            webhook_secrets=settings.webhook.secrets,
            webhook_effect=settings.webhook.effect,
            webhook_repeats=settings.webhook.repeats,
            webhook_senders=tuple(
                Sender(each.name, each.secrets, each.effect, each.format, each.auth, each.repeats)
                for each in settings.webhook.senders
            ),
            keys=tuple(Key(key.name, key.role, key.sha256, key.networks) for key in settings.api_keys),
            ephemeral=self._ephemeral if not settings.api_keys else None,
            networks=settings.api_networks,
            trusted_proxies=settings.api_proxies,
            rates=Rates(rates.requests, rates.burst, rates.failures),
            tls=None if tls is None else TlsFiles(tls.certificate, tls.key),
        )

    def call(self, what: Callable[[], T], timeout: float) -> T:
        """Runs something on the loop's thread for another thread; TimeoutError where the loop does not get to it."""
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def act() -> None:
            if done.set_running_or_notify_cancel():
                try:
                    done.set_result(what())
                except Exception as error:  # noqa: BLE001 - it belongs to the thread that asked
                    done.set_exception(error)

        try:
            self.loop.call_soon_threadsafe(act)
        except RuntimeError as error:
            raise TimeoutError("we are stopping") from error
        try:
            return done.result(timeout)
        except concurrent.futures.TimeoutError:
            done.cancel()
            raise TimeoutError(f"the main loop did not answer within {timeout:g} s") from None

    def snapshot(self) -> Snapshot:
        """The newest snapshot, at most a moment old; the last one where the loop is too busy. Any thread."""
        newest = self._snapshot
        if newest is not None and time.monotonic() - newest.at < SNAPSHOT_SECONDS:
            return newest
        try:
            return self.call(self._take_snapshot, 2.0)
        except TimeoutError:
            if newest is None:
                raise
            return newest

    def _take_snapshot(self) -> Snapshot:
        if self._engine is None:
            raise TimeoutError("not started yet")
        self._snapshot = self._engine.snapshot(time.monotonic())
        return self._snapshot

    @property
    def mail(self) -> Mailroom:
        """Who is told of events; raises TimeoutError before there is one. Any thread."""
        if self._mail is None:
            raise TimeoutError("not started yet")
        return self._mail

    def started(self) -> int:
        """When we began, in microseconds since the epoch."""
        return self._started

    def render_metrics(self) -> bytes:
        """All metrics in Prometheus' text format. Any thread."""
        return self._metrics.render() if self._metrics is not None else b""

    def count_webhook(self, outcome: str) -> None:
        """Counts a webhook by how it was answered. Any thread."""
        if self._metrics is not None:
            self._metrics.count_webhook(outcome)

    def accept(self, webhooks: Sequence[Webhook], mark: Mark | None, timeout: float) -> Taken:
        """Hands what one report says to the engine and waits until it is on disk; the events. Not on the loop's thread.

        Raises ReplayedError, StaleError and UnderWayError for a mark that is known.
        """
        deadline = time.monotonic() + timeout
        seen = self._seen
        if seen is None:
            raise StoreError("we are starting, stopping or in trouble: the log tells")
        known = seen.claim(mark, time.time()) if mark is not None else None
        if known is not None:
            self._on_disk(known[0], deadline)  # the first of the two who sent it may wait still
            return Taken(known, again=True)
        try:
            events = self.call(lambda: self._report(webhooks, mark), timeout)
            self._on_disk(events[0], deadline)
        except TimeoutError:
            if mark is not None:
                seen.release(mark)  # once settled it is known, and sent again it is waited for
            raise
        except BaseException:
            if mark is not None:
                seen.forget(mark)
            raise
        return Taken(tuple(events))

    def _report(self, webhooks: Sequence[Webhook], mark: Mark | None) -> list[int]:
        """Moves what one report says through the engine; the last of it with the mark, in one transaction."""
        events: list[int] = []
        for webhook in webhooks:
            last = mark is not None and len(events) + 1 == len(webhooks)
            self._marking = (mark, events) if mark is not None and last else None
            try:
                number = self.handle(webhook)
            finally:
                self._marking = None
            if number is None:
                raise StoreError("we are starting, stopping or in trouble: the log tells")
            events.append(number)
        return events

    def _on_disk(self, number: int | None, deadline: float) -> int:
        """Waits until an event is on disk, until a monotonic time; the event's id."""
        journal = self._journal
        if journal is None or number is None:
            raise StoreError("we are starting, stopping or in trouble: the log tells")
        try:
            journal.flushed(messages=False).result(max(0.0, deadline - time.monotonic()))
        except concurrent.futures.TimeoutError:
            raise TimeoutError("the journal did not take it in time") from None
        return number

    def order(self, what: Order | Clear, timeout: float) -> int:
        """Hands an operator's word to the engine; its event's id, on disk. Raises ConfigError. Not on the loop."""
        deadline = time.monotonic() + timeout
        return self._on_disk(self.call(lambda: self._ordered(what), timeout), deadline)

    def _ordered(self, what: Order | Clear) -> int | None:
        """Hands an operator's word to the engine; its event's id. Raises ConfigError."""
        objection = self._engine.objection(what, _monotonic()) if self._engine is not None else None
        if objection is not None:
            raise objection
        events = self._events_of(what)
        self._snapshot = None  # who asked looks next at what came of it
        return _own_event(what, events)

    # --- what an operator says himself --------------------------------------------------------------------------

    def rehearse(self, what: Order | Clear, timeout: float) -> Rehearsed:
        """What an order would have ExaBGP told, and whether it would be taken. Any thread but the loop's."""

        def act() -> Rehearsed:
            if self._engine is None:
                raise TimeoutError("not started yet")
            now, speech = _monotonic(), self.pipe.speech
            objection = self._engine.objection(what, now)
            if objection is not None and not (isinstance(what, Order) and isinstance(what.what, ByHand)):
                return Rehearsed(dialect=speech.dialect, refused=str(objection))
            commands = self._engine.rehearse(what, now)
            return rehearsed(commands, speech, None if objection is None else str(objection))

        return self.call(act, timeout)

    def command(self, what: ByHand, timeout: float) -> Commanded:
        """Has a command said that an operator gave himself; its event, on disk, and the lines. Not on the loop.

        Raises ConfigError (OwnedError where a service has the target), SpeakerError where ExaBGP is gone, StoreError,
        TimeoutError.
        """
        deadline = time.monotonic() + timeout
        number, lines = self.call(lambda: self._command(what), timeout)
        return Commanded(self._on_disk(number, deadline), lines)

    def _command(self, what: ByHand) -> tuple[int | None, tuple[str, ...]]:
        order = Order(what)
        if self._engine is None or not self.pipe.open:
            raise SpeakerError("ExaBGP's pipe is closed: nothing can be said")
        objection = self._engine.objection(order, _monotonic())
        if objection is not None:
            raise objection
        try:
            lines = lines_of(self._engine.rehearse(order, _monotonic()), self.pipe.speech)
        except SpeakerError as error:
            raise ConfigError("command", str(error)) from error
        return self._ordered(order), lines

    def ask_exabgp(self, question: Question, actor: str, reason: str, timeout: float) -> Heard:
        """Asks ExaBGP something for an operator; what it answered, within `timeout` seconds. Not on the loop.

        Raises SpeakerError where it is gone or cannot be asked that, StoreError, TimeoutError.
        """
        deadline = time.monotonic() + timeout
        reply: concurrent.futures.Future[Reply] = concurrent.futures.Future()

        def begin() -> tuple[int | None, str]:
            line = self._question(question)
            details = {"action": "ask", "command": line.decode("ascii").rstrip("\n"), "reason": reason}
            return self.handle(Note("command", details, Source.API, actor)), details["command"]

        def ask() -> None:
            # ExaBGP answers `version` the moment it reads it.
            in_turn = question is not Question.VERSION
            patience = min(self.pipe.ack_timeout, timeout)
            self.pipe.ask(self._question(question), _once(reply), patience, in_turn=in_turn)

        number, line = self.call(begin, timeout)
        event = self._on_disk(number, deadline)
        self.call(ask, max(0.1, deadline - time.monotonic()))
        try:
            said = reply.result(max(0.0, deadline - time.monotonic()))
        except concurrent.futures.TimeoutError:
            return Heard(event, line, Outcome.TIMEOUT, (), complete=False)
        shown = tuple(public(text) for text in said.lines[:LINES_SHOWN])
        return Heard(event, line, said.outcome, shown, complete=said.complete and len(said.lines) <= LINES_SHOWN)

    def _question(self, question: Question) -> bytes:
        if not self.pipe.open:
            raise SpeakerError("ExaBGP's pipe is closed: nothing can be asked")
        speech = self.pipe.speech
        if question is Question.NEIGHBORS:
            return dialect.question("summary", speech)
        return dialect.question("system version" if speech.dialect is Dialect.V6 else "version", speech)

    def end(self, actor: str, reason: str, timeout: float) -> Ending:
        """Has us end in order, a moment from now; the event is on disk. Not on the loop's thread.

        Raises StoreError, TimeoutError (also where we are ending already).
        """
        deadline = time.monotonic() + timeout

        def act() -> tuple[int | None, Ending]:
            if self._stopping.is_set():
                raise TimeoutError("we are stopping already")
            ending = self._ending()
            details = {"reason": reason, "on_exit": ending.on_exit}
            return self.handle(Note("shutdown", details, Source.API, actor)), ending

        number, ending = self.call(act, timeout)
        event = self._on_disk(number, deadline)
        why = f"POST /shutdown by {actor} (event {event})" + (f": {reason}" if reason else "")
        # Whoever asked gets the answer first.
        self.call(lambda: self.loop.call_later(ANSWERED_FIRST, self._shut_down, why), max(0.1, timeout))
        return replace(ending, event=event)

    def _shut_down(self, reason: str) -> None:
        if not self._stopping.is_set():
            self._stopped_by_operator = True
        self._end(reason)

    def rehearse_end(self, timeout: float) -> tuple[Ending, Rehearsed]:
        """How we would end if an operator said so now. Any thread but the loop's."""

        def act() -> tuple[Ending, Rehearsed]:
            if self._engine is None:
                raise TimeoutError("not started yet")
            ending = self._ending()
            commands = self._engine.rehearse_end() if ending.on_exit == "withdraw" else ()
            return ending, rehearsed(commands, self.pipe.speech)

        return self.call(act, timeout)

    def _ending(self) -> Ending:
        on_exit = self.settings.speaker.on_exit
        stays = self._engine.rehearse_end() if self._engine is not None and on_exit == "keep" else ()
        return Ending(None, on_exit, tuple(each.route for each in stays), again=self._patient)

    def explain(self, service: str) -> Explanation | None:
        """Why a service is, or is not, announced. Any thread but the loop's."""

        def act() -> Explanation | None:
            return self._engine.explain(service, _monotonic()) if self._engine is not None else None

        return self.call(act, 2.0)

    # --- another configuration ----------------------------------------------------------------------------------

    def preview(self, file: Path | None, timeout: float) -> tuple[Path | None, Preview]:
        """What a file would change, and which was read. Raises ConfigError. Any thread but the loop's."""
        deadline = time.monotonic() + timeout
        checked = self._load_checked(file)

        def act() -> Preview:
            if self._engine is None:
                raise TimeoutError("not started yet")
            if self._others is not None:
                self._others.expect(checked.settings.plan)
            return self._engine.preview(checked.settings.plan, _monotonic(), checked.disabled)

        return checked.settings.file, self.call(act, max(0.0, deadline - time.monotonic()))

    def reload(self, actor: str | None, timeout: float) -> int:
        """Reads our own file again, from when on it holds; the event's id. Raises ConfigError. Not on the loop."""
        deadline = time.monotonic() + timeout
        return self._on_disk(self._reload(actor, deadline), deadline)

    async def _reload_on_signal(self) -> None:
        try:
            await asyncio.to_thread(self._reload, None, time.monotonic() + RELOADED_WITHIN)
        except (BfdError, TimeoutError) as error:
            self._hung_up_again = False
            if self._stopping.is_set():
                return
            errors = [str(each) for each in getattr(error, "errors", (error,))]
            logger.error("SIGHUP: the configuration is refused, and nothing changes: %s", "; ".join(errors))
            self.handle(Note("reload_refused", {"errors": errors}))

    def _reload(self, actor: str | None, deadline: float) -> int | None:
        """Reads our own file and lets it hold, one reload after the other. Raises ConfigError, TimeoutError."""
        if not self._reloading.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimeoutError("another reload is under way")
        with self._in_turn(deadline):
            if actor is None:
                self._hung_up_again = False  # a signal from here on may mean what we have read already
            checked = self._load_checked(None)
            log = checked.settings.log
            if log != self._log_settings and log.file is not None:
                # Here, for this disk may hang as well as any other; the loop opens what can be opened.
                logs.open_file(log.file, log.max_bytes, log.backups).close()
            number = self.call(lambda: self._take_settings(checked, actor), max(0.0, deadline - time.monotonic()))
            self._note_added()
            return number

    @contextlib.contextmanager
    def _in_turn(self, deadline: float) -> Iterator[None]:
        """Begins once the loop has had its time for decisions since the last change, and gives `_reloading` back.

        Raises TimeoutError where that is later than the deadline. Not on the loop's thread.
        """
        try:
            if self._ending_now.wait(max(0.0, min(self._decides_until, deadline) - time.monotonic())):
                raise TimeoutError("we are stopping")
            if self._decides_until > deadline:
                raise TimeoutError("the change before was too long for another one so soon")
            yield
        finally:
            self._reloading.release()

    def _load_checked(self, file: Path | None) -> _Checked:
        """The settings of a file that could hold from now on; raises ConfigError. Not on the loop's thread."""
        settings = self._load(file, lambda _: self._inventory)
        _try_certificate(settings)
        for device in settings.targets:
            check(device)
        for service in settings.plan.services:
            for _ in service_lines(service):
                """Each command it could ever lead to is one that may be sent, or this raises."""
        return _Checked(settings, self._watch.present(_disable_files(settings)))

    def _take_settings(self, checked: _Checked, actor: str | None, one: Intended | None = None) -> int | None:
        """Lets settings hold, all of them at once but for what only a start can change; raises ConfigError before.

        `one` device is all that is another, where somebody added, changed or removed it.
        """
        if self._stopping.is_set():
            raise TimeoutError("we are stopping")
        before = self.settings
        self._open_log(checked.settings.log)
        if self._others is not None:
            self._others.expect(checked.settings.plan)  # the engine must know of others before it decides by that plan
        needs_restart = [name for name in _OF_THE_START if getattr(checked.settings, name) != getattr(before, name)]
        settings = self.settings = replace(
            checked.settings, site=before.site, storage=before.storage, sites=before.sites
        )
        details = {
            "file": str(settings.file) if settings.file is not None else None,
            "needs_restart": needs_restart,
            **_keys_changed(before, settings),
        }
        self._set_watch(settings)
        if one is None:
            number = self.handle(Reload(settings.plan, actor, details, checked.disabled))
            self._give_way(settings, actor)
        else:
            number = self._take_device(one, actor, checked.disabled)
            if number is None:  # the engine did not take it, by a fault: nothing else may
                self.settings = before
                self._set_watch(before)
                return None
        if self._others is not None:
            self._others.reloaded()
        # To the engine they are no news, but to the input log, in which a reload has no plan and no files.
        self._watch.seen(checked.there)
        self.pipe.ack_timeout = settings.speaker.ack_timeout
        if settings.speaker.dialect != before.speaker.dialect or self._inquiry is None:
            self._begin_inquiry(settings)
        else:
            self._inquiry.timeout = settings.speaker.ack_timeout
        self._renew_rules(settings)
        if self._mail is not None:
            self._mail.renew(settings.notify)
        gone = {target.name for target in before.targets} - {target.name for target in settings.targets}
        self._errand(self._retarget(settings, gone))
        if any(getattr(settings, name) != getattr(before, name) for name in _OF_THE_WEB):
            self._renew_web()
        if any(getattr(settings, name) != getattr(before, name) for name in _OF_THE_LISTENER):
            self._web_is_outdated = True
            self._errand(self._serve_anew())
        return number

    def _take_device(self, one: Intended, actor: str | None, disabled: tuple[str, ...]) -> int | None:
        """Tells the engine of a plan in which one device is another; the event's id, which that device is kept with."""
        change = Reload(one.settings.plan, actor, one.details, disabled, one.event_type, one.name)
        self._keeping = one.keep
        try:
            events = self._events_of(change)
        finally:
            self._keeping = None
        number = next((each.id for each in events if each.event_type == one.event_type), None)
        if number is not None:
            others = {name: written for name, written in self._inventory.items() if name != one.name}
            self._inventory = others if one.written is None else {**others, one.name: one.written}
            self._snapshot = None
        return number

    def _give_way(self, settings: Settings, actor: str | None) -> None:
        """Devices that were added over HTTP and that the file has by now are its own; what nobody can read is told."""
        for name in settings.superseded:
            reason = "the configuration has a device of this name: what was added over HTTP is forgotten"
            details = {"reason": reason, "written": roster.masked(self._inventory.get(name, {}))}
            self._keeping = KeepDevice(name, None)
            try:
                self.handle(Note("device_superseded", details, actor=actor, device=name))
            finally:
                self._keeping = None
        gone = frozenset(settings.superseded)
        self._inventory = {name: written for name, written in self._inventory.items() if name not in gone}
        for fault in settings.unreadable:
            self.handle(Note("device_left_out", {"place": fault.place, "reason": fault.text}))

    def change_device(self, change: DeviceChange, timeout: float) -> DeviceChanged:
        """Adds, changes or removes a device of the live inventory; its event is on disk. Not on the loop's thread.

        Raises ConfigError, ConflictError, NoSuchDeviceError, StoreError, TimeoutError.
        """
        deadline = time.monotonic() + timeout
        # Few may wait over HTTP at once, and an override is worth more than a second device in the queue.
        soon = time.monotonic() + ANOTHER_CHANGE
        if not self._reloading.acquire(timeout=max(0.0, min(soon, deadline) - time.monotonic())):
            raise TimeoutError("another change, or a reload, is under way")
        with self._in_turn(deadline):
            before = self.settings
            intended = roster.intend(before, self._inventory, change)
            if intended is None:
                assert change.name is not None  # noqa: S101 - only a PUT can say what is so already
                return DeviceChanged(change.name, None, created=False, preview=roster.NOTHING)
            if intended.target is not None:
                check(intended.target)
            checked = _Checked(intended.settings, self._watch.present(_disable_files(before)))
            left = max(0.0, deadline - time.monotonic())
            preview, number = self.call(lambda: self._changed_paced(checked, intended, change), left)
            if not change.dry_run:
                self._note_added()
        if not change.dry_run:
            self._on_disk(number, deadline)
        return DeviceChanged(intended.name, number, intended.created, preview)

    def _changed_paced(self, checked: _Checked, intended: Intended, change: DeviceChange) -> tuple[Preview, int | None]:
        """Does it, and lets the next change wait until the loop has had nine times as long for everything else."""
        began = time.monotonic()
        try:
            return self._changed(checked, intended, change)
        finally:
            ended = time.monotonic()
            self._decides_until = ended + min(DECIDES_FOR * (ended - began), DECIDES_AT_MOST)

    def _changed(self, checked: _Checked, intended: Intended, change: DeviceChange) -> tuple[Preview, int | None]:
        """What a change of a device does at once, and its event's id where it is done; raises ConflictError."""
        engine, now = self._engine, _monotonic()
        if engine is None or self._stopping.is_set():
            raise TimeoutError("we are stopping")
        if intended.created and not change.dry_run:
            # Of a newcomer nothing is known, and that changes nothing: the loop is spared the look ahead.
            return roster.NOTHING, self._take_settings(checked, change.actor, intended)
        preview = engine.preview(checked.settings.plan, now, checked.disabled)
        if change.dry_run:
            return preview, None
        if not change.force and roster.withdraws(preview):
            usual = engine.preview(self.settings.plan, now, checked.disabled)
            roster.refuse_withdraws(intended.name, preview, usual)
        return preview, self._take_settings(checked, change.actor, intended)

    def shown_devices(self, names: Sequence[str]) -> list[DeviceShown]:
        """The devices of these names that there are, in this order; may raise TimeoutError. Not on the loop."""
        found = roster.shown(self.settings, names, self._inventory)
        lives = self.call(lambda: [self.routers.live(each.name) for each in found], 2.0)
        return [
            each
            if live is None
            else replace(each, status=live.status, profile=live.profile, engine=live.engine, uptime=live.uptime)
            for each, live in zip(found, lives, strict=True)
        ]

    async def _retarget(self, settings: Settings, gone: Iterable[str]) -> None:
        async with self._retargeting:
            if self._routers is not None:
                await self._routers.renew(settings)
            if self._metrics is not None:
                for name in gone:
                    self._metrics.forget_device(name)

    async def _serve_anew(self) -> None:
        """Serves the API by the settings that hold now, after whoever serves it has ended."""
        async with self._serving_anew:
            if not self._web_is_outdated:
                return  # whoever went before us has served what we would
            await asyncio.sleep(RESTART_SECONDS)  # who asked for the reload gets the answer first
            web = self._tasks["web"]
            web.cancel()
            await asyncio.wait([web])
            self._web_is_outdated = False
            if self._ephemeral is None or self.settings.api_keys:
                self._ephemeral = _ephemeral_key(self.settings)
            self._spawn("web", self._serve(self.settings))

    def journal_healthy(self) -> bool:
        """Whether the journal takes records. Any thread."""
        return self._journal is not None and self._journal.healthy


def under_exabgp() -> bool:
    """Whether we were started as an API process: by pipes on both sides, not at a terminal or by a script."""
    return driven_by_pipes()


def run_process(load: Load, glimpse: GlimpseAt = Glimpse) -> int:
    """The API process from start to end; the exit status. Raises BfdError for a bad start at a terminal."""
    # ExaBGP leaves us umask 0137, under which a directory we make cannot be entered, not even by us.
    os.umask(0o027)
    _allow_many_files()
    # A web thread that computes keeps the interpreter for 5 ms each time the loop wants it: a withdraw waited for
    # several of them (tests/bench reaction, under load: p50 17 to 20 ms, with a tenth 7 ms, for some 4 % more CPU).
    sys.setswitchinterval(SWITCH_SECONDS)
    patient = under_exabgp()
    stdin, stdout = take_over_stdio()

    async def live() -> int:
        return await App(load, stdin, stdout, patient=patient, glimpse=glimpse).run()

    return asyncio.run(live())


def _allow_many_files() -> None:
    """Takes as many descriptors as we may: each device has a socket or two, and the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, MANY_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def hold() -> int:
    """Stays, reading and doing nothing, until ExaBGP ends or restarts us; the exit status."""

    def never(_: Path | None, __: Stored) -> Settings:
        raise ConfigError("", "the command line of `run` is wrong; correct it in ExaBGP's configuration and reload")

    return run_process(never)


def added_devices(journal: Path) -> Mapping[str, Written]:
    """The devices that were added over HTTP and kept in a journal, which may be in use; none where we may not read it.

    The `Stored` of commands that read a configuration.
    """
    return roster.parse(stored_devices(journal))


def _with_lost(added: Mapping[str, Written], journal: Path) -> dict[str, Written]:
    """The devices that a journal has, beside those that it had once, as a start is to know them."""
    return dict.fromkeys(StartFile(journal).added(), LOST) | dict(added)


def plan_lines(settings: Settings) -> Iterator[str]:
    """The plan in words, with the exact line ExaBGP would get for each route."""
    yield f"site {settings.site}; API on {settings.api or 'nothing'}; journal {settings.storage.path}"
    _try_certificate(settings)
    for device in settings.targets:
        check(device)  # as `run` will: an engine that is not installed here is a ConfigError
        line = f"device {device.name}: {device.host} port {device.port}, every {device.interval:g} s, {device.profile}"
        yield line if device.origin == "file" else f"{line} (added over HTTP)"
    for fault in settings.unreadable:
        yield f"left out, though it was added over HTTP: {fault}"
    if settings.storage.mongodb is not None:
        yield f"copy of the journal: {_understood(settings.storage.mongodb)}"
    for window in settings.plan.windows:
        yield window_line(window)
    if settings.plan.guard.max_withdrawn is not None or settings.plan.guard.max_share is not None:
        guard = settings.plan.guard
        limit = guard.max_withdrawn if guard.max_withdrawn is not None else f"{guard.max_share:.0%} of the"
        yield f"guard: at most {limit} services are withdrawn for their health within {guard.within:g} s"
    for endpoint in settings.notify:
        yield f"notify {endpoint.name}: {endpoint.address}, {endpoint.format}, of {', '.join(endpoint.events)}"
    speaker = settings.speaker
    if speaker.leased:
        after = (
            f"once we stall for {speaker.lease:g} s" if speaker.lease is not None else "never: [speaker] has no lease"
        )
        yield f"lease: the routes of {', '.join(speaker.leased)} are withdrawn {after}"
    for service in settings.plan.services:
        yield from service_lines(service)


def _understood(uri: Secret) -> str:
    """What may be shown of MongoDB's URI, which the driver understands; raises ConfigError."""
    address = Address(uri)
    if not uri.reveal().startswith("mongodb+srv:"):  # the driver would ask DNS, which may know nothing here
        try:
            close(connect(address))
        except StoreError as error:
            raise ConfigError("storage.mongodb", str(error).removeprefix("[storage] mongodb: ")) from None
    return str(address)


def signature_header(secret: Secret, body: bytes) -> str:
    """The header that signs a webhook's body as GitHub does; raises ConfigError for a secret of the other scheme."""
    if is_standard(secret):
        raise ConfigError("--secret", "begins with whsec_: it signs Standard Webhooks, so say --standard")
    return f"{SIGNATURE_HEADER}: {sign(secret, body)}"


def standard_headers(secret: Secret, body: bytes, name: str | None) -> tuple[str, ...]:
    """The headers that sign a webhook's body, now, by Standard Webhooks; raises ConfigError."""
    if not is_standard(secret):
        raise ConfigError("--secret", "must begin with whsec_ for --standard: `exabgp-bfd key secret` makes one")
    name, now = name or f"msg_{chance.token_hex(16)}", int(time.time())
    try:
        signature = sign_standard(secret, name, now, body)
    except ValueError as error:
        raise ConfigError("--id" if is_standard(secret) and "id is" in str(error) else "--secret", str(error)) from None
    return (f"{ID_HEADER}: {name}", f"{TIME_HEADER}: {now}", f"{STANDARD_HEADER}: {signature}")


def _keys_changed(before: Settings, after: Settings) -> dict[str, list[str]]:
    """Whose keys of the API a reload lets in and revokes, for its event; nothing where none."""
    known, now = ({key.sha256 for key in settings.api_keys} for settings in (before, after))
    changed = {
        "keys_added": [key.name for key in after.api_keys if key.sha256 not in known],
        "keys_revoked": [key.name for key in before.api_keys if key.sha256 not in now],
    }
    return {what: names for what, names in changed.items() if names}


def _try_certificate(settings: Settings) -> None:
    """Raises ConfigError for a certificate that nobody could be served with."""
    if settings.api is not None and settings.api_tls is not None:
        from exabgp_bfd.web.tls import TlsFiles, context  # noqa: PLC0415 - few have one

        context(TlsFiles(settings.api_tls.certificate, settings.api_tls.key))


def _monotonic() -> float:
    """The engine's time, to the microsecond, as the input log keeps it."""
    return round(time.monotonic(), 6)


def _own_event(what: Order | Clear, events: Sequence[Event]) -> int | None:
    """The id of the event that recorded an order, among those of its breath; raises ConfigError if it was refused."""
    service: str | None
    if isinstance(what, Order) and isinstance(what.what, ByHand):
        kind, actor, service = "command", what.what.actor, BY_HAND
    elif isinstance(what, Order):
        kind, actor = "override_set", what.what.actor
        service = what.what.service if isinstance(what.what, Override) else None
    else:
        kind, actor, service = "override_cleared", what.actor, what.service
    for event in events:
        if event.service == service and event.actor == actor and event.source == Source.API:
            if event.event_type == kind:
                return event.id
            if event.event_type == "order_refused":
                raise ConfigError("", str(event.details["reason"]))
    return None


def _once(reply: concurrent.futures.Future[Reply]) -> Callable[[Reply], object]:
    """Gives a reply to whoever waits for it."""
    return lambda said: None if reply.done() else reply.set_result(said)


def _withdrawn_lately(plan: Plan, path: Path) -> tuple[tuple[str, float], ...]:
    """The services that were withdrawn for their health so lately that the guard's limit counts them, and when."""
    if plan.guard.max_withdrawn is None and plan.guard.max_share is None:
        return ()
    since = max(0, round((time.time() - plan.guard.within) * 1e6))
    newest: dict[str, float] = {}
    before: int | None = None
    reader = Reader(path)
    try:
        while True:
            query = EventQuery(PAGE, event_type="route_withdraw", since=since, before=before)
            found = reader.events(query)
            for stored in found:
                event = stored.event
                again = str(event.details.get("rule", "")).startswith(_SAID_AGAIN)
                if event.service is not None and event.details.get("layer") in _COUNTED_LAYERS and not again:
                    newest.setdefault(event.service, stored.ts / 1e6)
            if len(found) < PAGE:
                break
            before = found[-1].id
    except StoreError as error:
        logger.warning("what was withdrawn before we started does not count against the guard's limit: %s", error)
    finally:
        reader.close()
    return tuple(newest.items())


def _disable_files(settings: Settings) -> dict[str, str]:
    files = {service.name: service.disable_file for service in settings.plan.services}
    return {name: file for name, file in files.items() if file is not None}


def _ephemeral_key(settings: Settings) -> Key | None:
    """The admin key of this run, written beside the journal for those who may read it; None where keys are given."""
    file = settings.storage.path.with_name("admin.key")
    if settings.api is None or settings.api_keys:
        with contextlib.suppress(OSError):
            file.unlink()  # that of an earlier run opens nothing any more
        return None
    text, key = new_key()
    try:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
        # Made anew and never followed: it must not be readable for a moment, nor land where a link leads.
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(number, "w") as stream:
            stream.write(f"{text}\n")
    except OSError as error:
        logger.error("the admin key cannot be written to %s (%s): nothing can be changed over HTTP", file, error)
        return None
    logger.info("the admin key of this run is in %s", file)
    return key


def _clock() -> tuple[float, int]:
    return time.monotonic(), time.time_ns() // 1000


def _log(event: Event) -> None:
    level = logging.DEBUG if event.event_type in _QUIET else logging.INFO
    if event.event_type in _ALARMS:
        level = logging.WARNING
    if logger.isEnabledFor(level):
        about = event.session or event.service or event.device or ""
        cause = f" cause={event.cause}" if event.cause is not None else ""
        # The configuration that `started` carries may be as long as the rest of the log.
        shown = {name: value for name, value in event.details.items() if name != "configuration"}
        details = json.dumps(shown, ensure_ascii=False, default=str)
        logger.log(level, "%s %s id=%d%s %s", event.event_type, about, event.id, cause, details)


def _introduction(settings: Settings, description: Mapping[str, Any], lifecycle: Mapping[str, Any]) -> dict[str, Any]:
    """What the `started` event tells."""
    return {
        "version": __version__,
        "pid": os.getpid(),
        "user": _user(),
        "local_address": _local_address(settings),
        "listen": str(settings.api) if settings.api is not None else None,
        "devices": [device.name for device in settings.targets],
        "services": [service.name for service in settings.plan.services],
        "lifecycle": dict(lifecycle),
        "configuration": dict(description),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in many containers
        return str(os.getuid())


def _local_address(settings: Settings) -> str:
    """The address from which the first device is asked; this host's name where that cannot be told without waiting."""
    for device in settings.targets:
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                with socket.socket(family, socket.SOCK_DGRAM) as probe:
                    # A datagram socket's connect sends nothing: it only chooses the route. Numbers only: no DNS here.
                    address = socket.getaddrinfo(device.host, device.port, family, 0, 0, socket.AI_NUMERICHOST)[0][4]
                    probe.connect(address)
                    return str(probe.getsockname()[0])
            except OSError:
                continue
    return socket.gethostname()


def _listen_of(text: str | None) -> Listen | None:
    """An address as it was remembered."""
    host, _, port = (text or "").rpartition(":")
    return Listen(host.strip("[]"), int(port)) if host and port.isascii() and port.isdigit() else None


def _with_exabgp(restored: Restored, journal: Journal, adopt_within: float) -> Restored:
    """Tells whether the ExaBGP that started us is the one that started our predecessor, and notes it for the next."""
    parent = _parent()
    before, alive = journal.meta(_PARENT), journal.meta("alive")
    journal.put_meta(_PARENT, parent)
    journal.speaker(parent)
    kept = before == parent
    age = time.time() - int(alive) / 1e6 if alive is not None else float("inf")
    return replace(restored, rib_kept=kept, expired=not kept and age > adopt_within)


def _mend(line: bytes) -> Mapping[str, Any] | None:
    """What a line of ExaBGP says that is one of the broken ones that it is known to write."""
    told = messages.parse(line)
    return told.document if isinstance(told, messages.Message) else None


def _parent() -> str:
    """The process that started us, told apart from any other that ever had its number."""
    kept = keeper.circumstances()
    number = kept.exabgp if kept is not None else os.getppid()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        # After the program's name in parentheses, which may hold anything, the 20th field is the start time.
        start = Path(f"/proc/{number}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):  # no Linux /proc: the number alone must do
        return str(number)
    return f"{boot}:{number}:{start}"
