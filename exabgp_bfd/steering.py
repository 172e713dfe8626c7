"""The commands that change the running program over its HTTP API: its devices, what is said by hand, its end."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from exabgp_bfd.asking import (
    Document,
    Door,
    as_json_flag,
    dry_run_flag,
    is_refused,
    print_answer,
    quiet_end,
    rehearsed_lines,
    running,
    say_json,
    screen,
    show,
    target_text,
    understood,
    until,
    wide_flag,
)
from exabgp_bfd.core.model import ConfigError

_SECRETS: Final = {"community", "auth_key", "priv_key"}
_TEXTS: Final = _SECRETS | {
    *("name", "host", "version", "engine", "profile", "oid", "values", "user", "auth_protocol", "priv_protocol"),
    "context",
}
"""Keys whose values are text, whatever they look like: version 3 is "3"."""
_LONGEST_SECRET: Final = 65536


# --- devices ------------------------------------------------------------------------------------------------------


@click.group("devices")
def devices_command() -> None:
    """Lists, adds, changes and removes devices of the running program; kept over its restarts."""


def _table_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that say what a device's table has."""
    command = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help='Any key of its table, as TOML: interval=0.5, contexts=["red"]; secrets as --community. May be repeated.',
    )(command)
    command = click.option(
        "--community", metavar="TEXT", help="Its SNMP community; better env:NAME or file:PATH, which are read here."
    )(command)
    command = click.option("--profile", metavar="NAME", help="Its BFD table; default: it is found.")(command)
    return click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="Default: 161.")(command)


_force_flag = click.option("--force", is_flag=True, help="Also where it withdraws routes that are announced now.")


@devices_command.command("list")
@wide_flag
@as_json_flag
@running()
@quiet_end
def list_devices(*, wide: bool, as_json: bool, door: Door) -> None:
    """Lists the devices, and how each is."""
    from exabgp_bfd import overview  # noqa: PLC0415

    there = door.reach()
    devices = there.devices()
    if as_json:
        say_json({"devices": devices})
        return
    with understood():
        told = list(overview.devices(devices, overview.clock(there.health()), screen(wide=wide)))
    show(told or ["there is no device"])


@devices_command.command("show")
@click.argument("name")
@as_json_flag
@running()
@quiet_end
def show_device(name: str, *, as_json: bool, door: Door) -> None:
    """Tells how a device is, and how it is asked; no secret."""
    from exabgp_bfd import overview  # noqa: PLC0415

    there = door.reach()
    device = there.device(name)
    if as_json:
        say_json(device)
        return
    with understood():
        told = list(overview.device(device, overview.clock(there.health()), screen(wide=True)))
    show(told)


@devices_command.command("add")
@click.argument("name")
@click.argument("host")
@_table_flags
@_force_flag
@dry_run_flag
@as_json_flag
@running()
@quiet_end
def add_device(
    name: str,
    host: str,
    *,
    force: bool,
    dry_run: bool,
    as_json: bool,
    door: Door,
    **flags: Any,  # noqa: ANN401 - of the table
) -> None:
    """Adds a device, which is polled at once.

    \b
    exabgp-bfd devices add edge3 192.0.2.3 --community env:SNMP_COMMUNITY
    exabgp-bfd devices add edge4 192.0.2.4 --set version=3 --set user=bfd --set auth_key=file:/etc/bfd/edge4.key
    """
    written = {"name": name, "host": host, **_table(**flags)}
    answer = door.reach().add_device(written, dry_run=dry_run, force=force)
    print_answer(answer, lambda found: _changed(found, f"device {name} is added", dry_run=dry_run), as_json=as_json)


@devices_command.command("change")
@click.argument("name")
@click.option("--host", metavar="ADDRESS", help="Its address for SNMP.")
@_table_flags
@_force_flag
@dry_run_flag
@as_json_flag
@running()
@quiet_end
def change_device(
    name: str,
    *,
    host: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    door: Door,
    **flags: Any,  # noqa: ANN401 - of the table
) -> None:
    """Changes a device that was added here; what is not given stays as it is, its secrets too."""
    changes = _table(**flags) | ({} if host is None else {"host": host})
    if not changes:
        raise click.UsageError("say what is to change: --host, --port, --community, --profile or --set")
    there = door.reach()
    device = there.device(name)
    written = device.get("written")
    if not isinstance(written, dict):
        raise ConfigError(f"device {name}", "is one of the configuration: change it there, and `exabgp-bfd reload`")
    answer = there.put_device(name, {**written, **changes}, dry_run=dry_run, force=force)
    print_answer(answer, lambda found: _changed(found, f"device {name} is changed", dry_run=dry_run), as_json=as_json)


@devices_command.command("remove")
@click.argument("name")
@_force_flag
@dry_run_flag
@as_json_flag
@running()
@quiet_end
def remove_device(name: str, *, force: bool, dry_run: bool, as_json: bool, door: Door) -> None:
    """Removes a device that was added here."""
    answer = door.reach().remove_device(name, dry_run=dry_run, force=force)
    print_answer(answer, lambda found: _changed(found, f"device {name} is removed", dry_run=dry_run), as_json=as_json)


def _table(settings: tuple[str, ...], community: str | None, port: int | None, profile: str | None) -> dict[str, Any]:
    """The keys of a device's table that the flags say; raises ConfigError and click.UsageError."""
    table: dict[str, Any] = {}
    for setting in settings:
        key, mark, text = setting.partition("=")
        if not mark or not key.isidentifier():
            raise click.UsageError("--set needs KEY=VALUE, as interval=0.5")  # not shown: it may be a secret
        if key in table:
            raise click.UsageError(f"--set {key} is given twice")
        table[key] = _secret(text, f"--set {key}") if key in _SECRETS else text if key in _TEXTS else _value(key, text)
    given = {
        "port": port,
        "profile": profile,
        "community": None if community is None else _secret(community, "--community"),
    }
    return table | {key: value for key, value in given.items() if value is not None}


def _value(key: str, text: str) -> object:
    """A value of TOML."""
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
    except (tomllib.TOMLDecodeError, ValueError):
        raise click.UsageError(f'--set {key}: not a value of TOML; text stands in quotes: {key}="..."') from None
    if not isinstance(value, str | int | float | list | dict):
        raise click.UsageError(f"--set {key}: a time is no value of a device")
    return value


def _secret(text: str, place: str) -> str:
    """The secret that a value, `env:NAME` or `file:PATH` stands for: the program takes it as it is."""
    if text.startswith("env:"):
        found = os.environ.get(text.removeprefix("env:"), "")
        if not found:
            raise ConfigError(place, "the variable that it names is not set, or empty")
        return found
    if text.startswith("file:"):
        try:
            with Path(text.removeprefix("file:")).open("rb") as stream:
                found = stream.read(_LONGEST_SECRET).decode()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise ConfigError(place, f"the secret's file cannot be read: {why}") from None
        text = found.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ConfigError(place, "is empty: give a value, env:NAME or file:PATH")
    return text


def _changed(answer: Document, told: str, *, dry_run: bool) -> Iterator[str]:
    """What became of a device, or would."""
    if dry_run:
        yield from rehearsed_lines(answer)
        return
    event = answer["event"]
    yield "nothing changed: it was so already" if event is None else f"{told} (event {event})"
    for command in answer["commands"]:
        verb = "announced" if command["action"] == "announce" else "withdrawn"
        yield f"{verb} {target_text(command)} (service {command['service']})"


# --- by hand ------------------------------------------------------------------------------------------------------


@click.command("command")
@click.argument("words", nargs=-1, metavar="[COMMAND]")
@click.option("--reason", metavar="TEXT", help="Why, for those who ask later.")
@click.option("--ttl", metavar="TIME", help="Of an announce, for how long: 2h, 90m, 1d or seconds.")
@dry_run_flag
@as_json_flag
@running()
@quiet_end
def command_command(
    words: tuple[str, ...], *, reason: str | None, ttl: str | None, dry_run: bool, as_json: bool, door: Door
) -> int:
    """Says one command to ExaBGP by hand, and tells what came of it; without COMMAND what was announced so.

    \b
    exabgp-bfd command announce route 192.0.2.9/32 next-hop self --reason "ticket 4711" --ttl 2h
    exabgp-bfd command withdraw route 192.0.2.9/32
    """
    there = door.reach()
    if not words:
        if reason is not None or ttl is not None or dry_run:
            raise click.UsageError("Missing argument 'COMMAND'.")
        print_answer(there.by_hand(), _hand_lines, as_json=as_json)
        return 0
    answer = there.command(" ".join(words), reason, ttl, dry_run=dry_run)
    print_answer(answer, _rehearsed_command if dry_run else _commanded, as_json=as_json)
    return 1 if answer.get("answer") == "error" else is_refused(answer)


def _hand_lines(answer: Document) -> Iterator[str]:
    """What stands by hand."""
    if not answer["commands"]:
        yield "nothing was announced by hand"
    for one in answer["commands"]:
        action = "announced" if one["announced"] else "withdrawn"
        target = target_text({"action": "announce" if one["announced"] else "withdraw", **one})
        reason = f": {one['reason']}" if one["reason"] else ""
        yield f"{action} {target} by {one['actor']} {until(one)}{reason}"
        yield from (f"  not seen to go to {neighbor}: {why}" for neighbor, why in one["missing"].items())


def _commanded(answer: Document) -> Iterator[str]:
    """What came of a command."""
    words = {"done": "ExaBGP did it", "error": "ExaBGP refused it", "none": "ExaBGP has not answered"}
    for line in answer["lines"]:
        yield f"said: {line}"
    yield f"{words.get(answer['answer'], answer['answer'])} (event {answer['event']})"
    yield from (f"  {text}" for text in answer["text"])
    for neighbor in answer.get("confirmed", []):
        yield f"  seen to go to {neighbor}"
    for neighbor, why in answer.get("missing", {}).items():
        yield f"  not seen to go to {neighbor}: {why}"


def _rehearsed_command(answer: Document) -> Iterator[str]:
    yield from rehearsed_lines(answer)
    for dialect, lines in answer["lines"].items():
        yield from (f"to ExaBGP {dialect}: {line}" for line in lines)


# --- alerts -------------------------------------------------------------------------------------------------------


@click.group("notify")
def notify_command() -> None:
    """Tells who is told of events, and sends again what could not be delivered."""


@notify_command.command("list")
@wide_flag
@as_json_flag
@running()
@quiet_end
def list_endpoints(*, wide: bool, as_json: bool, door: Door) -> None:
    """Lists who is told of events, and how each stands."""
    from exabgp_bfd import overview  # noqa: PLC0415

    there = door.reach()
    answer = there.endpoints()
    if as_json:
        say_json(answer)
        return
    with understood():
        told = list(overview.endpoints(answer["endpoints"], overview.clock(there.health()), screen(wide=wide)))
    show(told or ["nobody is told: there is no [[notify]]"])


@notify_command.command("dead")
@click.option("--endpoint", metavar="NAME", help="Only those for it.")
@wide_flag
@as_json_flag
@running()
@quiet_end
def list_dead(endpoint: str | None, *, wide: bool, as_json: bool, door: Door) -> None:
    """Lists the alerts that could not be delivered, newest first."""
    from exabgp_bfd import overview  # noqa: PLC0415

    there = door.reach()
    letters = there.dead_letters(endpoint)
    if as_json:
        say_json({"dead": letters})
        return
    with understood():
        told = list(overview.letters(letters, overview.clock(there.health()), screen(wide=wide)))
    show(told or ["everything was delivered"])


@notify_command.command("resend")
@click.argument("numbers", nargs=-1, required=True, type=click.IntRange(1), metavar="NUMBER...")
@dry_run_flag
@as_json_flag
@running()
@quiet_end
def resend(numbers: tuple[int, ...], *, dry_run: bool, as_json: bool, door: Door) -> None:
    """Sends alerts once more that could not be delivered, by their numbers."""
    there = door.reach()
    _each(numbers, lambda number: there.resend(number, dry_run=dry_run), "is sent again", as_json=as_json)


@notify_command.command("discard")
@click.argument("numbers", nargs=-1, required=True, type=click.IntRange(1), metavar="NUMBER...")
@dry_run_flag
@as_json_flag
@running()
@quiet_end
def discard(numbers: tuple[int, ...], *, dry_run: bool, as_json: bool, door: Door) -> None:
    """Throws alerts away that could not be delivered, by their numbers."""
    there = door.reach()
    _each(numbers, lambda number: there.discard(number, dry_run=dry_run), "is thrown away", as_json=as_json)


@notify_command.command("enable")
@click.argument("endpoint")
@dry_run_flag
@as_json_flag
@running()
@quiet_end
def enable(endpoint: str, *, dry_run: bool, as_json: bool, door: Door) -> None:
    """Lets an endpoint be told again that had said to be gone."""
    answer = door.reach().enable(endpoint, dry_run=dry_run)
    print_answer(answer, lambda found: [_done(found, f"{endpoint} is told again")], as_json=as_json)


def _each(numbers: tuple[int, ...], act: Callable[[int], dict[str, Any]], what: str, *, as_json: bool) -> None:
    """Does it with one letter after the other; the first that cannot be ends it."""
    for number in dict.fromkeys(numbers):
        answer = act(number)
        told = f"letter {number} {what}"
        print_answer(answer, lambda found, told=told: [_done(found, told)], as_json=as_json)  # type: ignore[misc]


def _done(answer: Document, told: str) -> str:
    return f"would be done: {told}" if answer.get("dry_run") else f"{told} (event {answer['event']})"


# --- the end ------------------------------------------------------------------------------------------------------


@click.command("shutdown")
@click.option("--reason", metavar="TEXT", help="Why, for those who ask later.")
@dry_run_flag
@as_json_flag
@running()
@quiet_end
def shutdown_command(*, reason: str | None, dry_run: bool, as_json: bool, door: Door) -> None:
    """Ends the running program in order; routes stay or go as [speaker] on_exit says."""
    answer = door.reach().shutdown(reason, dry_run=dry_run)
    print_answer(answer, _rehearsed_end if dry_run else _ended, as_json=as_json)


def _ended(answer: Document) -> Iterator[str]:
    yield f"it stops (event {answer['event']}); on_exit: {answer['on_exit']}"
    yield from (f"  stays announced: {target}" for target in answer["stays"])
    yield str(answer["then"])


def _rehearsed_end(answer: Document) -> Iterator[str]:
    yield from rehearsed_lines(answer)
    yield from (f"would stay announced: {target}" for target in answer["stays"])
    yield str(answer["then"])
