"""One endpoint's courier: reads on in the journal, and delivers what matches, in order, from a thread of its own.

What is delivered is known by a position in the journal, which is kept: after a kill the courier goes on where it was,
and at most the last alert comes twice, under the same webhook-id.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from exabgp_bfd.core.model import Note, StoreError
from exabgp_bfd.core.notices import (
    LONGEST_BODY,
    OWN,
    Alert,
    Endpoint,
    EndpointState,
    EndpointView,
    Kept,
    Letter,
    Meaning,
    asked_pause,
    headers,
    meaning,
    pause,
    wants,
    wants_type,
)

if TYPE_CHECKING:
    from exabgp_bfd.notify.line import Line, Sent

logger = logging.getLogger(__name__)

AT_ONCE: Final = 500
"""Events read at once."""
LATE: Final = 60.0
"""Seconds without success after which an event tells that alerts are late."""
TOLD_EVERY: Final = 60.0
"""Seconds between two events that tell of alerts that were given up."""
_IDLE: Final = 5.0
"""Seconds after which a courier looks without being called."""
_SOON, _LATER = 0.05, 1.0
"""Seconds: an event that was decided is on the disk a moment later, unless the disk refuses."""
_PATIENCE: Final = 30.0
_FAULT: Final = 5.0
_CHANCE: Final = random.SystemRandom()


class Trail(Protocol):
    """The journal, as couriers see it. Any thread; each raises StoreError where it cannot be read."""

    def alerts(self, after: int, limit: int, *, polls: bool) -> Sequence[Alert]:
        """The events behind a number, oldest first; with `polls` also those that only tell of a poll."""

    def alert(self, number: int) -> Alert | None:
        """One event, None where it is not kept any more."""

    def again(self, endpoint: str, after: int) -> Sequence[Letter]:
        """The next dead letter behind a number that shall be sent again, if there is one."""

    def keep(self, kept: Kept) -> None:
        """Keeps how far a courier has come; does not wait for the disk."""


@dataclass(frozen=True, slots=True)
class Doors:
    """Whom a courier knows."""

    trail: Trail
    tell: Callable[[Note], object]
    """Hands something to the engine."""
    agent: str
    """The User-Agent."""


@dataclass(slots=True)
class Counts:
    """What a courier has done since we started."""

    sent: int = 0
    failed: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An alert that waits: its event's number and time."""

    number: int
    ts: int
    own: bool
    """Whether it tells of alerts: whatever befalls it is no event, or one would lead to the next."""

    @property
    def age(self) -> float:
        """Seconds."""
        return (_now() - self.ts) / 1e6


class Courier:
    """Delivers one endpoint's alerts, once started; `set` gives it other settings while it runs."""

    def __init__(self, endpoint: Endpoint, doors: Doors, position: int, gone: str | None) -> None:
        self._endpoint = endpoint
        self._doors = doors
        self._position = self._looked = self._told_position = position
        self._gone = gone == endpoint.fingerprint
        self._queue: deque[_Waiting] = deque()
        self._newest = position
        """The last event that we were called for."""
        self._called_at = 0.0
        self._soon = _SOON
        self._line: Line | None = None
        self._tries = 0
        self._failures = 0
        self._failing_since: float | None = None
        self._late_since: float | None = None
        """When it was told that alerts are late, until it is told that they are not."""
        self._not_before = 0.0
        self._again = True
        self._again_after = 0
        """The dead letter that was sent again last, of those that were asked for."""
        self._dead_untold: list[Letter] = []
        self._dead_told_at = float("-inf")
        self._last_success: int | None = None
        self._last_failure: int | None = None
        self._last_error: str | None = None
        self._next_try: int | None = None
        self.counts = Counts()
        self._changed: Endpoint | None = None
        self._enabled = False
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"notify {endpoint.name}"[:15], daemon=True)

    # --- any thread ---------------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> Endpoint:
        """Its settings, as they were given last."""
        return self._changed or self._endpoint

    @property
    def disabled(self) -> bool:
        """Whether the endpoint said to be gone."""
        return self._gone

    def start(self) -> None:
        """Begins to deliver."""
        self._thread.start()

    def wants_type(self, event_type: str) -> bool:
        """Whether it is worth a call for events of a type."""
        return wants_type(self.endpoint, event_type)

    def call(self, newest: int) -> None:
        """There are events up to a number, or will be in a moment."""
        self._newest = max(self._newest, newest)
        self._wake.set()

    def call_again(self) -> None:
        """There is a dead letter to be sent again."""
        self._again, self._again_after = True, 0
        self._wake.set()

    def set(self, endpoint: Endpoint) -> None:
        """Gives it other settings of the same name, from the next alert on."""
        with self._lock:
            self._changed = endpoint
        self._hurry()

    def enable(self) -> None:
        """Lets it deliver again after the endpoint said to be gone, and try at once."""
        self._enabled = True
        self._hurry()

    def _hurry(self) -> None:
        line = self._line
        if line is not None:
            line.cut()
        self._wake.set()

    def stop(self) -> None:
        """Ends it; what is under way is cut off."""
        self._stopping.set()
        self._hurry()

    def join(self, timeout: float) -> bool:
        """Waits for its end."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def view(self) -> EndpointView:
        """How it stands."""
        endpoint = self.endpoint
        try:
            oldest: _Waiting | None = self._queue[0]
        except IndexError:
            oldest = None
        failing = self._failing_since is not None
        state = EndpointState.FAILING if failing else EndpointState.OK
        return EndpointView(
            name=endpoint.name,
            address=endpoint.address,
            format=endpoint.format,
            state=EndpointState.DISABLED if self._gone else state,
            waiting=len(self._queue),
            lag=0.0 if oldest is None else max(0.0, oldest.age),
            position=self._position,
            sent=self.counts.sent,
            failed=self.counts.failed,
            dead=self.counts.dead,
            tries=self._tries,
            last_success=self._last_success,
            last_failure=self._last_failure,
            last_error=self._last_error,
            next_try=self._next_try if failing and not self._gone else None,
        )

    # --- its thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        wait = 0.0
        while not self._stopping.is_set():
            if wait > 0:
                self._wake.wait(wait)
            self._wake.clear()
            try:
                wait = self._turn()
            except StoreError as error:
                if not self._stopping.is_set():
                    logger.warning("alerts for %s wait: %s", self._endpoint.name, error)
                wait = _LATER
            except Exception:
                # The thread's outermost frame: without it nobody would be told any more.
                logger.exception("alerts for %s: a fault of ours, trying again", self._endpoint.name)
                self._stopping.wait(_FAULT)
                wait = _LATER
        self._hang_up()

    def _turn(self) -> float:
        """Looks, delivers one alert where one is due; seconds until there may be something to do again."""
        self._take_settings()
        if self._line is None:
            # Imported on this thread: an HTTP client takes longer to import than a withdraw may wait.
            from exabgp_bfd.notify.line import Line  # noqa: PLC0415

            self._line = Line(self._endpoint, self._doors.agent)
        if self._gone:
            return _IDLE
        more = self._look()
        self._tell_dead()
        self._send_dead()
        now = time.monotonic()
        if self._queue:
            if now >= self._not_before:
                self._deliver()
            return max(0.0, self._not_before - time.monotonic()) if self._queue and not self._again else 0.0
        return 0.0 if more or self._again else self._until_next(now)

    def _until_next(self, now: float) -> float:
        if self._looked >= self._newest:
            self._called_at, self._soon = 0.0, _SOON
            return _IDLE
        # Not on the disk yet.
        self._called_at = self._called_at or now
        if now - self._called_at > _PATIENCE:
            self._newest = self._looked  # it never will be
        self._soon = min(_LATER, self._soon * 1.5)
        return self._soon

    def _take_settings(self) -> None:
        with self._lock:
            changed, self._changed = self._changed, None
        if changed is not None:
            self._hang_up()
            if self._gone and changed.fingerprint != self._endpoint.fingerprint:
                self._enabled = True
            self._endpoint = changed
            self._judge_anew()
        if changed is not None or self._enabled:
            self._not_before, self._tries = 0.0, 0
            self._hang_up()  # a line that was cut stays so
        if self._enabled:
            self._enabled = False
            if self._gone:
                self._gone = False
                self._failures = 0
                self._keep(Kept(self._endpoint.name, self._position))

    def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _judge_anew(self) -> None:
        """Looks again at all behind the position: what waits was chosen by other settings."""
        self._queue.clear()
        self._looked = self._position

    # --- reading ------------------------------------------------------------------------------------------------

    def _look(self) -> bool:
        """Reads on, as far as there is room; True where there is more."""
        endpoint, polls = self._endpoint, wants_type(self._endpoint, "snmp_poll")
        while not self._stopping.is_set():
            # With as many waiting, a page more is read all the same: who waits longest has to give way.
            found = self._doors.trail.alerts(self._looked, AT_ONCE, polls=polls)
            for alert in found:
                self._looked = max(self._looked, alert.id)
                if wants(endpoint, alert):
                    self._queue.append(_Waiting(alert.id, alert.ts, alert.event_type.startswith(OWN)))
            if len(self._queue) > endpoint.max_queue:
                self._make_room()
            if len(found) < AT_ONCE:
                self._move_on()
                return False
            if self._queue and time.monotonic() >= self._not_before:
                return True  # first what is due
        return True

    def _make_room(self) -> None:
        """Gives up those that have waited longest, so that what is news is told."""
        buried = []
        while len(self._queue) > self._endpoint.max_queue:
            number = self._position = self._queue.popleft().number
            alert = self._doors.trail.alert(number)
            if alert is not None:
                buried.append(self._letter(alert, self._tries, f"more than {self._endpoint.max_queue} waited"))
            self._tries = 0
        self._bury(buried)

    def _move_on(self) -> None:
        """Remembers, now and then, how far nothing was of interest."""
        if not self._queue and self._looked > self._position:
            self._position = self._looked
            if self._position - self._told_position >= AT_ONCE:
                self._keep(Kept(self._endpoint.name, self._position))

    def _keep(self, kept: Kept) -> None:
        self._told_position = kept.position
        self._doors.trail.keep(kept)

    # --- delivering ---------------------------------------------------------------------------------------------

    def _deliver(self) -> None:
        waiting = self._queue[0]
        alert = self._doors.trail.alert(waiting.number)
        if alert is None:  # retention, or a journal that was begun anew
            self._done(waiting.number)
            return
        if waiting.age > self._endpoint.max_age:
            self._done(waiting.number, [self._letter(alert, self._tries, self._last_words("too old"))])
            return
        self._tries += 1
        sent = self._send(alert.name, body_of(alert))
        if self._interrupted(sent):
            return
        match meaning(sent.status):
            case Meaning.TAKEN:
                self._succeeded()
                self._done(waiting.number)
            case Meaning.GONE:
                self._failed(sent)
                self._disable(sent)
            case Meaning.REFUSED if self._tries >= self._endpoint.tries:
                self._failed(sent)
                self._done(waiting.number, [self._letter(alert, self._tries, sent.error)])
                self._failures, self._not_before = 0, 0.0  # it may have been that one only
            case _:
                self._failed(sent)
        self._tell_lateness()

    def _interrupted(self, sent: Sent) -> bool:
        """Whether a try came to nothing because we cut it off ourselves."""
        return sent.status is None and (self._stopping.is_set() or self._changed is not None or self._enabled)

    def _last_words(self, reason: str) -> str:
        return f"{reason}: {self._last_error}" if self._failures and self._last_error else reason

    def _send(self, name: str, body: bytes) -> Sent:
        assert self._line is not None  # noqa: S101 - for the type checker; a turn begins with one
        return self._line.send(body, headers(self._endpoint, name, int(time.time()), body))

    def _done(self, number: int, buried: Sequence[Letter] = ()) -> None:
        """An alert is delivered or given up."""
        self._queue.popleft()
        self._tries = 0
        self._position = number if self._queue else max(number, self._looked)
        if buried:
            self._bury(buried)
        else:
            self._keep(Kept(self._endpoint.name, self._position))

    def _succeeded(self) -> None:
        self.counts.sent += 1
        self._last_success = _now()
        self._failing_since = None
        self._failures, self._not_before, self._next_try = 0, 0.0, None

    def _failed(self, sent: Sent) -> None:
        self.counts.failed += 1
        self._failures += 1
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        self._last_failure, self._last_error = _now(), sent.error
        # Chance keeps those apart that fail together.
        seconds = pause(self._failures, asked_pause(sent.retry_after, time.time()), _CHANCE.random())
        self._not_before = now + seconds
        self._next_try = _now() + round(seconds * 1e6)
        log = logger.warning if self._failures == 1 else logger.debug
        log("alerts do not reach %s: %s", self._endpoint.name, sent.error)

    def _tell_lateness(self) -> None:
        """Says that alerts come late, once, and once more when they do not any longer."""
        oldest, now = self._queue[0] if self._queue else None, time.monotonic()
        late = oldest is not None and oldest.age >= LATE
        if late and oldest is not None and not oldest.own and self._late_since is None:
            self._late_since = now
            logger.error("alerts for %s are late: %d wait", self._endpoint.name, len(self._queue))
            error = self._last_error if self._failing_since is not None else None
            self._tell("notify_late", error=error, waiting=len(self._queue), seconds=round(oldest.age, 3))
        elif not late and self._late_since is not None and self._failing_since is None and not self._gone:
            seconds, self._late_since = round(now - self._late_since, 3), None
            logger.warning("alerts reach %s in time again, after %.0f s", self._endpoint.name, seconds)
            self._tell("notify_recovered", seconds=seconds, waiting=len(self._queue))

    def _disable(self, sent: Sent) -> None:
        """The endpoint said that it is gone, for good: it is left alone until somebody changes or enables it."""
        self._gone = True
        if self._late_since is None:
            self._late_since = time.monotonic()
        self._keep(Kept(self._endpoint.name, self._position, gone=self._endpoint.fingerprint))
        logger.error("alerts for %s are off: it answers %s, gone for good", self._endpoint.name, sent.status)
        self._tell("notify_disabled", error=sent.error, waiting=len(self._queue))

    def _send_dead(self) -> None:
        """Sends one of the dead letters that shall be sent again; what is news has its turn before the next."""
        if not self._again:
            return
        self._again = False
        asked = self._doors.trail.again(self._endpoint.name, self._again_after)
        if asked and not self._stopping.is_set():
            self._again = True
            self._again_after = asked[0].number  # whatever comes of it reaches the disk in a moment only
            self._send_again(asked[0])

    def _send_again(self, letter: Letter) -> None:
        """Sends a dead letter once more, whatever else waits; where it fails it stays what it is."""
        sent = self._send(letter.name, letter.body.encode())
        if self._interrupted(sent):
            self._again, self._again_after = True, letter.number - 1
            return
        if meaning(sent.status) is Meaning.TAKEN:
            self._succeeded()
            self._keep(Kept(self._endpoint.name, self._position, delivered=(letter.number,)))
            return
        self.counts.failed += 1
        self._last_failure, self._last_error = _now(), sent.error
        tried = Letter(letter.endpoint, letter.event, letter.name, letter.body, letter.tries + 1, sent.error, _now())
        self._keep(Kept(self._endpoint.name, self._position, buried=(tried,)))

    # --- giving up ----------------------------------------------------------------------------------------------

    def _letter(self, alert: Alert, tries: int, reason: str) -> Letter:
        body = body_of(alert).decode()
        return Letter(self._endpoint.name, alert.id, alert.name, body, tries, reason, _now())

    def _bury(self, letters: Sequence[Letter]) -> None:
        self._keep(Kept(self._endpoint.name, self._position, buried=tuple(letters)))
        self.counts.dead += len(letters)
        self._dead_untold += [each for each in letters if not json.loads(each.body)["event_type"].startswith(OWN)]
        self._tell_dead()

    def _tell_dead(self) -> None:
        """Says, once a minute at most, which alerts were given up."""
        untold, now = self._dead_untold, time.monotonic()
        if not untold or now < self._dead_told_at + TOLD_EVERY:
            return
        self._dead_told_at = now
        first, last = untold[0], untold[-1]
        self._dead_untold = []
        logger.error("%d alerts for %s are given up: %s", len(untold), self._endpoint.name, last.reason)
        self._tell("notify_dead", count=len(untold), first=first.event, last=last.event, reason=last.reason)

    def _tell(self, event_type: str, **details: object) -> None:
        self._doors.tell(Note(event_type, {"endpoint": self._endpoint.name, **details}))


def body_of(alert: Alert) -> bytes:
    """What is sent: the event as GET /events gives it, without its details where those would be too long."""
    body = json.dumps(alert.document).encode()
    if len(body) <= LONGEST_BODY:
        return body
    told: Mapping[str, Any] = {**alert.document, "details": {"left_out": f"{len(body)} octets; GET /events has them"}}
    return json.dumps(told).encode()


def _now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000
