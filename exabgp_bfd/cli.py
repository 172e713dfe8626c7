"""The command line. Exit status: 0 fine, 1 failed, 2 bad usage or configuration."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

import click

from exabgp_bfd import __version__
from exabgp_bfd.archiving import export_command, import_command
from exabgp_bfd.asking import (
    Door,
    as_json_flag,
    complain,
    dry_run_flag,
    events_command,
    moment,
    override_command,
    print_answer,
    running,
    say,
    say_json,
    status_command,
    target_text,
    why_command,
)
from exabgp_bfd.config import CONFIG_VARIABLE, VARIABLES, Overrides, SettingsError, glimpse, load
from exabgp_bfd.core.model import Address, BfdError, ConfigError, Secret
from exabgp_bfd.discover import discover_command
from exabgp_bfd.keys import key_command
from exabgp_bfd.steering import command_command, devices_command, notify_command, shutdown_command

PROGRAM = "exabgp-bfd"
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def main() -> NoReturn:
    """The console script."""
    try:
        status = commands.main(prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.Abort:
        status = 1
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = error.exit_code
    except click.ClickException as error:
        wrong = " ".join(error.format_message().split())
        status = _refuse_to_run(wrong) if sys.argv[1:2] == ["run"] else _refuse(wrong, error)
    except ConfigError as error:
        _complain(error)
        status = 2
    except BfdError as error:
        _complain(error)
        status = 1
    sys.exit(status or 0)


def _complain(error: BfdError) -> None:
    """One line for each thing that is wrong."""
    for each in getattr(error, "errors", (error,)):
        complain(str(each))


def _refuse(wrong: str, error: click.ClickException) -> int:
    """Bad usage in one line; the exit status."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else PROGRAM
    click.echo(f"{path}: {wrong} (`{path} --help` tells more)", err=True)
    return error.exit_code


def _refuse_to_run(reason: str) -> int:
    """A `run` line that makes no sense: under ExaBGP each exit would bring its respawn limit closer, so we stay."""
    from exabgp_bfd import app  # noqa: PLC0415

    click.echo(f"{PROGRAM}: run: {reason}", err=True)
    return app.hold() if app.under_exabgp() else 2


def _one_device(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of the setup without a file, and of what may override one."""
    flags = [
        ("--device-name", "NAME", "The device's name."),
        ("--device-host", "HOST[:PORT]", "Its address for SNMP."),
        ("--snmp-community", "TEXT", "Its SNMP community; also env:NAME or file:PATH."),
        ("--bfd-oper-status-oid", "OID", "Read this one object, or column, instead of finding the profile."),
        ("--webhook-secret", "TEXT", "The secret that signs webhooks; also env:NAME or file:PATH."),
        ("--poll-interval", "SECONDS", "How often each device is asked."),
        ("--listen", "ADDRESS:PORT", "Where the API listens; `off` for no API."),
        ("--db", "FILE", "The journal."),
        ("--log-file", "FILE", "A rotating log file beside stderr."),
        ("--log-level", "LEVEL", "debug, info, warning or error."),
    ]
    command = click.option(
        "--prefix",
        "prefixes",
        multiple=True,
        metavar="PREFIX",
        help=f"A route that follows the device; may be repeated. [{VARIABLES['--prefix']}, comma separated]",
    )(command)
    for flag, metavar, text in reversed(flags):
        command = click.option(flag, metavar=metavar, help=f"{text} [{VARIABLES[flag]}]")(command)
    return click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"The TOML configuration. [{VARIABLES['--config']}]",
    )(command)


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name=PROGRAM)
def commands() -> None:
    """Withdraws anycast routes through ExaBGP when the BFD sessions of your routers go down, read over SNMP."""


commands.add_command(discover_command)
commands.add_command(key_command)
for _of_the_running in (
    *(status_command, events_command, why_command, override_command),
    *(devices_command, notify_command, command_command, shutdown_command),
):
    commands.add_command(_of_the_running)
commands.add_command(export_command)
commands.add_command(import_command)


@commands.command()
@_one_device
@click.option(
    "--lease",
    metavar="SECONDS",
    help="Withdraw the routes of services with `lease = true` once the main loop has not run for so long. "
    f"[{VARIABLES['--lease']}]",
)
def run(config: Path | None, prefixes: tuple[str, ...], **flags: str | None) -> int:
    """The API process that ExaBGP starts: `process bfd { run exabgp-bfd run --config FILE; encoder json; }`.

    Flags beat the variables in brackets, which beat the file. Without a file the flags make a working setup of one
    device. stdout carries commands for ExaBGP and nothing else; the log goes to stderr.
    """
    from exabgp_bfd import app  # noqa: PLC0415

    overrides = Overrides(prefixes=prefixes or None, **flags)
    return app.run_process(
        lambda file, stored: load(file or config, overrides, os.environ, stored),
        lambda: glimpse(config, overrides, os.environ),
    )


@commands.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--exabgp-conf",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="ExaBGP's own configuration: also which of its neighbours would get each route, and which not and why.",
)
@click.option("--against-running", is_flag=True, help="Also what would change at once if the running program took it.")
@running(config=False)
def check(file: Path, *, exabgp_conf: Path | None, against_running: bool, door: Door) -> None:
    """Validates FILE and prints the plan, with the exact commands ExaBGP would get.

    Each of them is tried on ExaBGP's own parser; one that it refuses, or a route that no neighbour could get, makes the
    exit status 2. With --against-running the running program, which must be able to read FILE, says what it would
    announce and withdraw, in order. It is asked where FILE says that the API listens, unless --url says otherwise.
    """
    from exabgp_bfd import app, proof  # noqa: PLC0415

    settings = load(file, Overrides(), os.environ, app.added_devices)
    say(app.plan_lines(settings))
    found = proof.prove(settings.plan, file, form=settings.speaker.dialect, conf=exabgp_conf)
    say(["", *found.lines, *(f"warning: {warning}" for warning in found.warnings)])
    if against_running:
        preview = replace(door, config=file).reach().preview(file.absolute())
        say(["", "against the running program:", *_preview_lines(preview)])
    if found.faults:
        raise SettingsError(found.faults)


_ASN = click.IntRange(1, 4294967295)


@commands.command()
@click.option(
    "--config",
    "-c",
    envvar=CONFIG_VARIABLE,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Our configuration: its services name neighbours and families. [{CONFIG_VARIABLE}]",
)
@click.option(
    "--exabgp-version", type=click.Choice(["4", "5", "6"]), help="Default: `dialect` of the configuration, or 5."
)
@click.option(
    "--neighbor", "neighbors", multiple=True, metavar="ADDRESS", help="A router that takes the routes; may be repeated."
)
@click.option(
    "--local-address",
    "locals_",
    multiple=True,
    metavar="ADDRESS",
    help="This host's end of the BGP sessions; one IPv4 and one IPv6 address at the most.",
)
@click.option("--local-as", type=_ASN, metavar="N", help="Our AS number.")
@click.option("--peer-as", type=_ASN, multiple=True, metavar="N", help="The neighbour's; once, or for each neighbour.")
@click.option("--router-id", metavar="ADDRESS", help="An IPv4 address; default: the IPv4 --local-address.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="The neighbour's TCP port; default: 179.")
def exabgp_conf(
    config: Path | None,
    *,
    exabgp_version: Literal["4", "5", "6"] | None,
    neighbors: tuple[str, ...],
    locals_: tuple[str, ...],
    local_as: int | None,
    peer_as: tuple[int, ...],
    router_id: str | None,
    port: int | None,
) -> None:
    """Prints the `process` and `neighbor` sections for ExaBGP's configuration.

    What is not given is marked FILL IN.

    \b
    exabgp-bfd exabgp-conf --config /etc/exabgp-bfd/exabgp-bfd.toml --neighbor 192.0.2.254 \\
        --local-address 192.0.2.10 --local-as 65001 --peer-as 65000 > /etc/exabgp/exabgp.conf
    """
    from exabgp_bfd import app, stanza  # noqa: PLC0415

    settings = None if config is None else load(config, Overrides(), os.environ, app.added_devices)
    plan = None if settings is None else settings.plan
    try:
        identifier = None if router_id is None else IPv4Address(router_id)
    except ValueError:
        raise click.UsageError(f"--router-id: {router_id!r} is no IPv4 address") from None
    sessions = stanza.sessions(
        plan,
        neighbors=_addresses("--neighbor", neighbors),
        locals_=_addresses("--local-address", locals_),
        local_as=local_as,
        peer_as=peer_as,
        router_id=identifier,
        port=port,
    )
    form = settings.speaker.dialect if settings is not None else "auto"
    version = exabgp_version or ("5" if form == "auto" else form)
    file = stanza.USUAL_FILE if config is None else config.absolute()
    run_line = (*stanza.program(), "run", "--config", str(file))
    text = list(stanza.lines(stanza.Wanted(run_line, plan, sessions, version)))
    say(text)
    if count := stanza.gaps(text):
        click.echo(f"{PROGRAM} exabgp-conf: {count} of the lines say {stanza.FILL_IN}", err=True)


def _addresses(flag: str, texts: tuple[str, ...]) -> tuple[Address, ...]:
    try:
        return tuple(ip_address(text) for text in texts)
    except ValueError as error:
        raise click.UsageError(f"{flag}: {error}") from None


def _webhook_secret(text: str) -> Secret:
    """The secret that a value, env:NAME or file:PATH stands for, as `run` takes it: signer and verifier must agree."""
    some_device = Overrides(device_name="any", device_host="127.0.0.1", webhook_secret=text)
    # Without what else `run` would take from there; env:NAME may name any variable, even that of the secret.
    ours = set(VARIABLES.values()) - {VARIABLES["--webhook-secret"]}
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    try:
        (secret,) = load(None, some_device, environ).webhook.secrets
    except ConfigError as error:
        raise ConfigError("--secret", error.text) from None
    return secret


@commands.command()
@click.option(
    "--secret",
    envvar="WEBHOOK_HMAC_SECRET",
    required=True,
    metavar="TEXT",
    help="The secret; also env:NAME or file:PATH. [WEBHOOK_HMAC_SECRET]",
)
@click.option("--standard", is_flag=True, help="Sign by Standard Webhooks: with an id and the time, for one use.")
@click.option("--id", "name", metavar="TEXT", help="The id for --standard; a new one unless given.")
@click.argument("body", type=click.File("rb"), default="-")
def sign(secret: str, body: BinaryIO, name: str | None, *, standard: bool) -> None:
    """Prints the header that signs BODY (a file, or - for stdin) as `POST /webhook/failure` asks for it.

    \b
    curl -H "$(exabgp-bfd sign --secret ... body.json)" --data-binary @body.json http://127.0.0.1:8080/webhook/failure
    exabgp-bfd sign --standard --secret whsec_... body.json |
      curl -H @- --data-binary @body.json http://127.0.0.1:8080/webhook/failure
    """
    from exabgp_bfd import app  # noqa: PLC0415

    if name is not None and not standard:
        raise click.UsageError("--id goes with --standard")
    known = _webhook_secret(secret)
    if standard:
        for header in app.standard_headers(known, body.read(), name):
            click.echo(header)
    else:
        click.echo(app.signature_header(known, body.read()))


@commands.command()
@dry_run_flag
@as_json_flag
@running()
def reload(*, dry_run: bool, as_json: bool, door: Door) -> None:
    """Lets the running program read its configuration again, at once; a file with an error changes nothing."""
    there = door.reach()
    if dry_run:
        print_answer(there.preview(None), _preview_lines, as_json=as_json)
    else:
        print_answer(there.reload(), lambda answer: [f"reloaded (event {answer.get('event')})"], as_json=as_json)


@commands.command()
@click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    required=True,
    metavar="NEW",
    help="The configuration to rehearse.",
)
@click.option("--db", type=click.Path(path_type=Path), metavar="FILE", help="The journal; default: that of NEW.")
@click.option("--since", metavar="T", help="From when on: RFC 3339, or how long ago (2h, 7d).")
@click.option("--until", metavar="T", help="Until when.")
@as_json_flag
def replay(config: Path, *, db: Path | None, since: str | None, until: str | None, as_json: bool) -> None:
    """Tells what another configuration would have announced and withdrawn, beside what was.

    What was observed is read from the journal; nothing is asked, and nothing is changed.
    """
    begin, end = moment("--since", since), moment("--until", until)
    if begin is not None and end is not None and begin > end:
        raise click.UsageError("--since is after --until")
    if begin is not None and begin > time.time_ns() // 1000:
        raise click.UsageError("--since is in the future: nothing was observed there yet")
    from exabgp_bfd import app  # noqa: PLC0415
    from exabgp_bfd import replay as rehearsal  # noqa: PLC0415

    settings = load(config, Overrides(), os.environ, lambda journal: app.added_devices(db or journal))
    report = rehearsal.run(settings.plan, db or settings.storage.path, begin, end)
    if as_json:
        say_json(rehearsal.document(report))
    else:
        say(rehearsal.lines(report))


@commands.command()
@click.option("--once", is_flag=True, help="One failure and one recovery, then exit 0 if the BGP peer saw both.")
@click.option("--listen", metavar="ADDRESS:PORT", help="Where the demo's API listens; default: a free port.")
def demo(*, once: bool, listen: str | None) -> int:
    """The main job for real, on loopback: a simulated router, ExaBGP with our process, and a BGP peer as the judge."""
    from exabgp_bfd import demo as show  # noqa: PLC0415

    return show.run(once=once, listen=listen)


# --- what is printed ----------------------------------------------------------------------------------------------


def _preview_lines(preview: Mapping[str, Any]) -> Iterator[str]:
    """What would be announced and withdrawn, in order, and what else would be other."""
    for command in preview["commands"]:
        yield f"would {command['action']} {target_text(command)} (service {command['service']})"
    others = {
        "new services": preview["added"],
        "services that go": preview["removed"],
        "changed services": preview["changed"],
        "new devices": preview["devices_added"],
        "devices that go": preview["devices_removed"],
    }
    if not preview["commands"]:
        yield "no route would change at once" if any(others.values()) else "nothing would change"
    for title, names in others.items():
        if names:
            yield f"{title}: {', '.join(names)}"
