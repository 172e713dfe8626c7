"""The commands that ask the running program over its HTTP API, and how their answers are printed.

What they need beside the words of the core is imported when they run: the API process, which shares the command line's
module, starts without it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import select
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from exabgp_bfd.config import CONFIG_VARIABLE
from exabgp_bfd.core.model import BfdError

if TYPE_CHECKING:
    from exabgp_bfd.overview import Stand, Verdict
    from exabgp_bfd.remote import Remote
    from exabgp_bfd.tables import Screen

PROGRAM: Final = "exabgp-bfd"
ACTIONS: Final = ("announce", "withdraw", "drain", "freeze")
INTERRUPTED: Final = 130
"""The exit status of a command that Ctrl-C ended, as shells have it."""
UNREAD: Final = 141
"""That of one whose output nobody reads any more, as of a program that SIGPIPE ends."""
CHECKED_WITHIN: Final = 5.0
"""Seconds for each question of `status --check`: monitors give up early themselves."""

_AGO: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_EVENTS: Final = 100_000
_FIRST_EVENTS: Final = 10
"""Events that are told before following begins."""
_AT_ONCE: Final = 20
"""Lines that are written at once."""
_STRANGE: Final = (KeyError, TypeError, AttributeError, ValueError)
"""What an answer raises that is not as this version knows it."""

Document = Mapping[str, Any]


# --- flags --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Door:
    """Where the running program is asked, as the flags say."""

    url: str | None
    key: str | None = field(repr=False)
    config: Path | None

    def reach(self, timeout: float | None = None) -> Remote:
        """The running program; `timeout` in seconds, for each question. Raises ConfigError."""
        from exabgp_bfd import remote  # noqa: PLC0415

        there = remote.find(self.url, self.key, self.config, os.environ)
        return remote.Remote(there, timeout=remote.ANSWERED_WITHIN if timeout is None else timeout)


def running(*, config: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The flags that say where the running program is: the command gets them as `door`."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(*words: Any, **flags: Any) -> Any:  # noqa: ANN401 - whatever the command takes and gives
            door = Door(flags.pop("url"), flags.pop("key"), flags.pop("config", None))
            return command(*words, door=door, **flags)

        run = click.option(
            "--key", envvar="EXABGP_BFD_KEY", metavar="TEXT", help="A key; also env:NAME or file:PATH. [EXABGP_BFD_KEY]"
        )(run)
        run = click.option(
            "--url", envvar="EXABGP_BFD_URL", metavar="URL", help="Where the running program's API is. [EXABGP_BFD_URL]"
        )(run)
        if not config:
            return run
        return click.option(
            "--config",
            "-c",
            envvar=CONFIG_VARIABLE,
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=f"Its configuration, which says where the API listens and the admin key is. [{CONFIG_VARIABLE}]",
        )(run)

    return add


as_json_flag = click.option("--json", "as_json", is_flag=True, help="As a JSON document.")
wide_flag = click.option("--wide", is_flag=True, help="Cut nothing, however narrow the terminal is.")
dry_run_flag = click.option("--dry-run", is_flag=True, help="Only tell what would change at once.")


def moment(flag: str, text: str | None) -> int | None:
    """Microseconds since the epoch, from RFC 3339 or how long ago (2h, 7d); raises click.UsageError."""
    if text is None:
        return None
    if match := _AGO.fullmatch(text):
        return max(0, time.time_ns() // 1000 - round(float(match[1]) * _UNITS[match[2]] * 1e6))
    try:
        return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    except (ValueError, TypeError, OverflowError):  # TypeError: without an offset it is no moment
        remedy = "give RFC 3339 (2026-11-20T12:00:00Z), or how long ago (2h, 7d)"
        raise click.UsageError(f"{flag}: {text!r} is no moment: {remedy}") from None


def _span(since: str | None, end_text: str | None) -> dict[str, str]:
    """The same as parameters of a query."""
    begin, end = moment("--since", since), moment("--until", end_text)
    if begin is not None and end is not None and begin > end:
        raise click.UsageError("--since is after --until")
    given = {"since": begin, "until": end}
    return {
        name: f"{micro // 1_000_000}.{micro % 1_000_000:06d}"
        for name, micro in given.items()
        if micro is not None and micro >= 0
    }


# --- printing -----------------------------------------------------------------------------------------------------


def quiet_end(command: Callable[..., Any]) -> Callable[..., Any]:
    """Lets a command end without a word when nobody reads its output any more (`| head`), or on Ctrl-C."""

    @functools.wraps(command)
    def run(*words: Any, **flags: Any) -> Any:  # noqa: ANN401 - whatever the command takes and gives
        try:
            return command(*words, **flags)
        except BrokenPipeError:
            # Or the interpreter would try to flush it once more at its end, and complain.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return UNREAD
        except KeyboardInterrupt:
            return INTERRUPTED

    return run


def screen(*, wide: bool = False) -> Screen:
    """What stdout is like."""
    from exabgp_bfd.tables import Screen  # noqa: PLC0415

    terminal = sys.stdout.isatty()
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size().columns if terminal and not wide else None
    return Screen(width, colour, sys.stdout.encoding or "ascii")


def print_answer(document: Document, lines: Callable[[Document], Iterable[str]], *, as_json: bool) -> None:
    """The program's answer, as it came or in lines."""
    if as_json:
        say_json(document)
        return
    with understood():
        told = list(lines(document))
    say(told)


@contextlib.contextmanager
def understood() -> Iterator[None]:
    """Where an answer is taken apart."""
    try:
        yield
    except _STRANGE as error:
        raise BfdError("the running program answers as this version does not understand: --json shows it") from error


def say_json(document: Document | list[Any], *, indent: int | None = 2) -> None:
    """A JSON document, in ASCII without any control character."""
    click.echo(json.dumps(document, indent=indent).replace("\x7f", "\\u007f"))


def say(lines: Iterable[str]) -> None:
    """Lines of plain text, whole: what others wrote into events and reasons must not steer a terminal."""
    from exabgp_bfd.tables import safe  # noqa: PLC0415

    here = screen(wide=True)
    for line in lines:
        click.echo(here.writable(safe(line)))


def show(lines: Iterable[str]) -> None:
    """Lines that were made for the screen."""
    told = list(lines)
    # In pieces: with PYTHONUNBUFFERED a long write that is cut short, for its reader has left, raises nothing.
    for start in range(0, len(told), _AT_ONCE):
        click.echo("\n".join(told[start : start + _AT_ONCE]), color=True)


def complain(text: str) -> None:
    """A line on stderr."""
    from exabgp_bfd.tables import Screen, safe  # noqa: PLC0415

    click.echo(Screen(encoding=sys.stderr.encoding or "ascii").writable(safe(f"{PROGRAM}: {text}")), err=True)


# --- status -------------------------------------------------------------------------------------------------------


class _MonitorCommand(click.Command):
    """A command that a monitor may call: with --check even bad usage is told as a monitor reads it."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> click.Context:  # noqa: ANN401
        """Reads the flags."""
        monitor = "--check" in args
        try:
            return super().make_context(info_name, args, *more, **extra)
        except click.UsageError as error:
            if not monitor:
                raise
            from exabgp_bfd import overview  # noqa: PLC0415

            click.echo(overview.unknown(error.format_message()).line())
            raise click.exceptions.Exit(overview.Level.UNKNOWN) from error


@click.command("status", cls=_MonitorCommand)
@click.option("--service", "services", multiple=True, metavar="NAME", help="Only what concerns it; may be repeated.")
@click.option("--device", "devices", multiple=True, metavar="NAME", help="Only what concerns it; may be repeated.")
@click.option("--check", is_flag=True, help="One line and an exit status for a monitor: 0 OK, 1 WARNING, 2 CRITICAL.")
@click.option("--watch", is_flag=True, help="Again and again, on a terminal, until Ctrl-C.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 300),
    metavar="SECONDS",
    help=f"For each question; default: 30, with --check {CHECKED_WITHIN:g}.",
)
@wide_flag
@as_json_flag
@running()
@quiet_end
def status_command(
    services: tuple[str, ...],
    devices: tuple[str, ...],
    timeout: float | None,
    *,
    check: bool,
    watch: bool,
    wide: bool,
    as_json: bool,
    door: Door,
) -> int:
    """Tells how the running program, its services, sessions and routes are.

    With --check as a monitoring plugin does: OK; WARNING (something is degraded, unknown, overridden or held by the
    guard); CRITICAL (a service is withdrawn by its health, or the program does not answer); 3 UNKNOWN.

    \b
    exabgp-bfd status --service dns
    exabgp-bfd status --check --url http://192.0.2.10:8080 --key file:/etc/nagios/exabgp-bfd.key
    """

    def ask() -> Stand:
        seconds = CHECKED_WITHIN if timeout is None and check else timeout
        return _stand(door.reach(seconds), services, devices)

    if watch and (check or as_json or not sys.stdout.isatty()):
        raise click.UsageError("--watch is for a terminal, and goes with neither --check nor --json")
    if check:
        return _check(ask, as_json=as_json)
    from exabgp_bfd import overview  # noqa: PLC0415

    if watch:
        _watch(ask, wide=wide)
    stand = ask()
    if as_json:
        say_json(stand.document())
        return 0
    with understood():
        told = list(overview.lines(stand, screen(wide=wide)))
    show(told)
    return 0


def _stand(there: Remote, services: tuple[str, ...], devices: tuple[str, ...]) -> Stand:
    """How it is, as it says; raises BfdError."""
    from exabgp_bfd import overview  # noqa: PLC0415

    health, guard = there.health(), there.guard()
    found = [there.service(name) for name in dict.fromkeys(services)] if services else there.services()
    if devices:
        sessions = [one for name in dict.fromkeys(devices) for one in _sessions_of(there, name)]
    else:
        sessions = there.sessions()
    with understood():
        return overview.narrow(overview.Stand(health, guard, found, sessions), services, devices)


def _sessions_of(there: Remote, device: str) -> list[dict[str, Any]]:
    sessions = there.sessions(device)
    if not sessions:
        there.device(device)  # a name that is none is told as such
    return sessions


def _watch(ask: Callable[[], Stand], *, wide: bool) -> None:
    from exabgp_bfd import overview  # noqa: PLC0415
    from exabgp_bfd.core.model import ConfigError  # noqa: PLC0415

    while True:
        here = screen(wide=wide)
        try:
            with understood():
                told = list(overview.lines(ask(), here))
        except ConfigError:
            raise
        except BfdError as error:
            told = [here.line(str(error), "bad")]
        room = shutil.get_terminal_size().lines - 1
        click.echo("\x1b[H\x1b[2J" + "\n".join(told[:room]), color=True)
        time.sleep(2.0)


def _check(ask: Callable[[], Stand], *, as_json: bool) -> int:
    """The verdict for a monitor; whatever goes wrong is one."""
    verdict = _judged(ask)
    if as_json:
        say_json(verdict.document())
    else:
        click.echo(screen(wide=True).writable(verdict.line()))
    return int(verdict.level)


def _judged(ask: Callable[[], Stand]) -> Verdict:
    from exabgp_bfd import overview, remote  # noqa: PLC0415

    try:
        with understood():
            return overview.verdict(ask())
    except remote.AbsentError as error:
        # Nobody would withdraw a dead path now.
        return overview.unknown(str(error), overview.Level.CRITICAL)
    except remote.NotNowError as error:
        absent = error.status == 503
        return overview.unknown(str(error), overview.Level.CRITICAL if absent else overview.Level.UNKNOWN)
    except BfdError as error:
        return overview.unknown(str(error))


# --- events -------------------------------------------------------------------------------------------------------


@click.command("events")
@click.option("--device", metavar="NAME", help="Of this device only.")
@click.option("--session", metavar="ID", help="Of this session only: edge1/198.51.100.1.")
@click.option("--service", metavar="NAME", help="Of this service only.")
@click.option("--type", "event_type", metavar="TYPE", help="Of this type only: bfd_failure, route_withdraw, ...")
@click.option("--since", metavar="T", help="From when on: RFC 3339, or how long ago (2h, 7d).")
@click.option("--until", metavar="T", help="Until when.")
@click.option("--site", metavar="NAME", help="Of another site, or `*`: of all; needs [storage] mongodb.")
@click.option(
    "--limit",
    type=click.IntRange(1, _MOST_EVENTS),
    metavar="N",
    help=f"The newest N; default: 50, before following {_FIRST_EVENTS}, or with --since all since then.",
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, through restarts of the program.")
@wide_flag
@click.option("--json", "as_json", is_flag=True, help="As a line of JSON each (NDJSON).")
@running()
@quiet_end
def events_command(
    limit: int | None,
    *,
    follow: bool,
    wide: bool,
    as_json: bool,
    door: Door,
    **filters: str | None,
) -> int:
    """Prints events, the newest last.

    \b
    exabgp-bfd events --service dns --since 2h
    exabgp-bfd events --type bfd_failure --follow --json
    """
    since, end, site = filters.pop("since"), filters.pop("until"), filters.get("site")
    if follow and (end is not None or site is not None):
        raise click.UsageError("--follow goes with neither --until nor --site")
    wanted = {name: text for name, text in filters.items() if text is not None} | _span(since, end)
    there = door.reach()
    told = _Told(screen(wide=wide), as_json=as_json, with_site=site is not None)
    with understood():
        place = there.newest_event() if follow else None
    if not (follow and since is not None and limit is None):
        usual = _FIRST_EVENTS if follow else 50
        last = told.pages(there.events(wanted, limit or usual))
        place = max(place or 0, last) if follow else None
    elif follow:
        place = None  # the stream begins with what --since says
    if follow:
        _follow(door.reach, wanted, place, told)
    return 0


class _Told:
    """Events as they are printed."""

    def __init__(self, here: Screen, *, as_json: bool, with_site: bool) -> None:
        self._screen = here
        self._as_json = as_json
        self._with_site = with_site

    def pages(self, pages: Iterator[list[dict[str, Any]]]) -> int:
        """Prints pages of events that come newest first, the oldest first; the newest one's id, 0 without one."""
        lines: deque[str] = deque()
        newest = 0
        for page in pages:
            with understood():
                lines.extendleft(self.text(event) for event in page)
                newest = max([newest, *(int(event["id"]) for event in page)])
        show(lines)
        return newest

    def text(self, event: Document) -> str:
        """One event in one line."""
        if self._as_json:
            return json.dumps(event).replace("\x7f", "\\u007f")
        site = event["site"] if self._with_site else ""
        about, by = event["session"] or event["service"] or event["device"] or "", _by(event)
        parts = [
            event["ts"],
            *([site] if site else []),
            f"#{event['id']:<6}",
            f"{event['event_type']:<16}",
            f"{about:<20}",
            by,
            _details(event),
        ]
        return self._screen.line(" ".join(str(part) for part in parts if part).rstrip(), _mood(event["event_type"]))


def _follow(again: Callable[[], Remote], wanted: Mapping[str, str], place: int | None, told: _Told) -> None:
    """Prints events as they come, until nobody reads them."""
    from exabgp_bfd import following  # noqa: PLC0415

    for what in following.follow(again, wanted, place, answered=True):
        if isinstance(what, following.Happened):
            with understood():
                line = told.text(what.event)
            show([line])
        elif what.text:
            complain(f"events: {what.text}")
        elif _is_unread():
            raise BrokenPipeError


def _is_unread() -> bool:
    """Whether whoever read our output has left; otherwise only the next line that is written would tell."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(flags & select.POLLERR for _, flags in poll.poll(0))
    except (OSError, ValueError):  # no file, as in a test
        return False


def _mood(event_type: str) -> str:
    match event_type:
        case "bfd_failure" | "route_withdraw" | "device_unreachable" | "decision_failed":
            return "bad"
        case "bfd_recovery" | "route_announce" | "device_reachable":
            return "good"
        case "guard_held" | "route_refused" | "route_unconfirmed" | "store_down" | "order_refused" | "reload_refused":
            return "warning"
    return ""


def _by(event: Document) -> str:
    who = event["actor"] or event["source"]
    return f"by {who}" if who else ""


def _details(event: Document) -> str:
    details = event["details"]
    return ", ".join(f"{name}={_short(value)}" for name, value in details.items()) if isinstance(details, dict) else ""


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


# --- why ----------------------------------------------------------------------------------------------------------


@click.command("why")
@click.argument("service", required=False)
@click.option("--event", "number", type=click.IntRange(1), metavar="ID", help="Of an event: what led to it.")
@as_json_flag
@running()
@quiet_end
def why_command(service: str | None, *, number: int | None, as_json: bool, door: Door) -> None:
    """Tells why SERVICE is, or is not, announced now, and what led to it.

    \b
    exabgp-bfd why dns
    exabgp-bfd why --event 4711
    """
    if (service is None) == (number is None):
        raise click.UsageError("Missing argument 'SERVICE'." if service is None else "say SERVICE or --event, not both")
    if number is not None:
        print_answer(door.reach().event(number), _chain_lines, as_json=as_json)
    else:
        print_answer(door.reach().why(service or ""), _why_lines, as_json=as_json)


def _chain_lines(answer: Document) -> Iterator[str]:
    """What led to an event, oldest first, and the event itself."""
    if answer["chain_incomplete"]:
        yield f"({answer['chain_incomplete']})"
    yield from (_event_line(event) for event in answer["chain"])
    yield _event_line(answer["event"])


def _why_lines(answer: Document) -> Iterator[str]:
    """The answer first, then what led to it."""
    yield str(answer["answer"])
    for title in ("because", "sessions", "routes"):
        if answer[title]:
            yield f"{title}:"
            yield from (f"  {text}" for text in answer[title])
    if answer["chain"] or answer["chain_incomplete"]:
        yield "how it came to this:"
    if answer["chain_incomplete"]:
        yield f"  ({answer['chain_incomplete']})"
    for event in answer["chain"]:
        yield f"  {_event_line(event)}"


def _event_line(event: Document) -> str:
    about = event["session"] or event["service"] or event["device"] or ""
    parts = (event["ts"], f"#{event['id']}", event["event_type"], about, _by(event), _details(event))
    return " ".join(str(part) for part in parts if part)


# --- override -----------------------------------------------------------------------------------------------------


@click.command("override")
@click.argument("words", nargs=-1, metavar="[SERVICE] ACTION")
@click.option("--guard", is_flag=True, help="The limit on services withdrawn at once: `lift` it, or `clear` that.")
@click.option("--reason", metavar="TEXT", help="Why, for those who ask later.")
@click.option("--ttl", metavar="TIME", help="For how long: 2h, 90m, 1d or seconds; without it until it is cleared.")
@click.option("--all-sites", is_flag=True, help="At every site; needs [storage] mongodb.")
@dry_run_flag
@as_json_flag
@running()
@quiet_end
def override_command(
    words: tuple[str, ...],
    *,
    guard: bool,
    reason: str | None,
    ttl: str | None,
    all_sites: bool,
    dry_run: bool,
    as_json: bool,
    door: Door,
) -> int:
    """Overrides the health of SERVICE: announce, withdraw, drain or freeze it, or clear what was ordered before.

    \b
    exabgp-bfd override dns drain --reason "new kernel" --ttl 2h
    exabgp-bfd override dns clear
    exabgp-bfd override dns withdraw --reason "attack, ticket 4711" --all-sites --dry-run
    exabgp-bfd override --guard lift --reason "they are all meant to go" --ttl 15m
    exabgp-bfd override --guard clear
    """
    service, action = _ordered(words, guard=guard)
    if action == "clear" and ttl is not None:
        raise click.UsageError("--ttl goes with what is ordered, not with `clear`")
    if action != "clear" and not reason:
        raise click.UsageError("Missing option '--reason': say why, for those who ask later")
    if guard and all_sites:
        raise click.UsageError("--all-sites goes with a service: each site's guard is lifted there")
    there = door.reach()
    if service is None:
        document = (
            there.unlift(reason, dry_run=dry_run)
            if action == "clear"
            else there.lift(reason or "", ttl, dry_run=dry_run)
        )
        lines = _lift_lines
    else:
        scope = "all" if all_sites else None
        document = (
            there.clear(service, reason, scope, dry_run=dry_run)
            if action == "clear"
            else there.override(service, action, reason or "", ttl, scope, dry_run=dry_run)
        )
        lines = functools.partial(_override_lines, service)
    print_answer(document, rehearsed_lines if dry_run else lines, as_json=as_json)
    return is_refused(document)


def is_refused(answer: Document) -> int:
    """The exit status of a rehearsal: 1 where the order would be refused."""
    return 1 if answer.get("refused") else 0


def _ordered(words: tuple[str, ...], *, guard: bool) -> tuple[str | None, str]:
    """The service (None: the guard) and the action that the words stand for."""
    actions = ("lift", "clear") if guard else (*ACTIONS, "clear")
    usage = f"say {'--guard' if guard else 'SERVICE'} and one of {', '.join(actions)}"
    if len(words) != (1 if guard else 2):
        raise click.UsageError(usage)
    if words[-1] not in actions:
        raise click.UsageError(f"there is no {words[-1]!r}: {usage}")
    return None if guard else words[0], words[-1]


def _override_lines(service: str, answer: Document) -> Iterator[str]:
    ordered = answer["override"]
    where = " at every site" if answer.get("scope") == "all" else ""
    told = f"event {answer['event']}" if answer["event"] is not None else "there was none here"
    if ordered is None:
        yield f"{service}: the override is cleared{where} ({told})"
    else:
        yield f"{service}: {ordered['action']}{where} {until(ordered)} ({told})"
    state = answer["service"]
    if state is not None:
        yield f"{service} is {state['state']}: {state['why'].removeprefix(state['state'] + ': ')}"


def _lift_lines(answer: Document) -> Iterator[str]:
    lift = answer["lift"]
    if lift is None:
        yield f"the guard's limit holds again (event {answer['event']})"
    else:
        yield f"the guard's limit is lifted {until(lift)} (event {answer['event']})"
    if answer["guard"] is not None and answer["guard"]["held"]:
        yield f"held: {', '.join(answer['guard']['held'])}"


def until(order: Document) -> str:
    """How long an order holds."""
    return f"until {order['expires']}" if order["expires"] is not None else "until it is cleared"


def rehearsed_lines(answer: Document) -> Iterator[str]:
    """What an order would do at once."""
    if answer.get("dry_run") is not True:
        raise BfdError("the running program did not rehearse it, but did it: it is older than this command")
    if answer.get("refused"):
        yield f"would be refused: {answer['refused']}"
    for command in answer["commands"]:
        yield f"would {command['action']} {target_text(command)} (service {command['service']})"
    if not answer["commands"] and not answer.get("refused"):
        yield "no route would change at once"


def target_text(command: Document) -> str:
    """What a command is about, with what it says of it."""
    if "watchdog" in command:
        return f"watchdog {command['watchdog']}"
    if command["action"] == "withdraw":
        return str(command["prefix"])
    from exabgp_bfd.overview import attributes  # noqa: PLC0415

    return " ".join([str(command["prefix"]), f"next_hop={command['next_hop']}", *attributes(command)])
