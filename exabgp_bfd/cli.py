"""The command line. Exit status: 0 fine, 1 failed, 2 bad usage or configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import click

from exabgp_bfd import __version__
from exabgp_bfd.config import VARIABLES, Overrides, load
from exabgp_bfd.core.model import BfdError, ConfigError, Secret

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
        click.echo(f"{PROGRAM}: {each}", err=True)


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


@commands.command()
@_one_device
def run(config: Path | None, prefixes: tuple[str, ...], **flags: str | None) -> int:
    """The API process that ExaBGP starts: `process bfd { run exabgp-bfd run --config FILE; encoder json; }`.

    Flags beat the variables in brackets, which beat the file. Without a file the flags make a working setup of one
    device. stdout carries commands for ExaBGP and nothing else; the log goes to stderr.
    """
    from exabgp_bfd import app  # noqa: PLC0415

    overrides = Overrides(prefixes=prefixes or None, **flags)
    return app.run_process(lambda: load(config, overrides, os.environ))


@commands.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Validates FILE and prints the plan, with the exact commands ExaBGP would get."""
    from exabgp_bfd import app  # noqa: PLC0415

    settings = load(file, Overrides(), os.environ)
    for line in app.plan_lines(settings):
        click.echo(line)


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
@click.argument("body", type=click.File("rb"), default="-")
def sign(secret: str, body: BinaryIO) -> None:
    """Prints the header that signs BODY (a file, or - for stdin) as `POST /webhook/failure` asks for it.

    \b
    curl -H "$(exabgp-bfd sign --secret ... body.json)" --data-binary @body.json http://127.0.0.1:8080/webhook/failure
    """
    from exabgp_bfd import app  # noqa: PLC0415

    click.echo(app.signature_header(_webhook_secret(secret), body.read()))


@commands.command()
@click.option("--once", is_flag=True, help="One failure and one recovery, then exit 0 if the BGP peer saw both.")
@click.option("--listen", metavar="ADDRESS:PORT", help="Where the demo's API listens; default: a free port.")
def demo(*, once: bool, listen: str | None) -> int:
    """The main job for real, on loopback: a simulated router, ExaBGP with our process, and a BGP peer as the judge."""
    from exabgp_bfd import demo as show  # noqa: PLC0415

    return show.run(once=once, listen=listen)
