"""`exabgp-bfd discover HOST`: what a device is, its BFD sessions, and the lines of configuration to paste.

Only what a command line needs is here; the work is done in `sources/snmp/survey.py`, which is imported when it begins,
so that the API process, which shares the command line's module, starts without it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
from click.core import ParameterSource

from exabgp_bfd.config import VARIABLES, Overrides, load
from exabgp_bfd.core.credentials import AUTH_PROTOCOLS, PRIV_PROTOCOLS
from exabgp_bfd.core.model import BfdError, ConfigError, Secret

if TYPE_CHECKING:
    from exabgp_bfd.core.credentials import Context, User
    from exabgp_bfd.sources.snmp.target import Target

PROGRAM = "exabgp-bfd"
INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended, as shells have it."""

_QUIET = 2.0  # seconds that a survey may take without a word, where no line can be rewritten
_REPEAT = 5.0  # seconds between two lines from then on
_REDRAW = 0.1  # seconds between two states of the line that is rewritten


@dataclass(frozen=True, slots=True)
class Options:
    """The command line as it was given; secrets may be `env:NAME` or `file:PATH`."""

    host: str
    community: str | None = field(default=None, repr=False)
    version: str | None = None
    user: str | None = None
    auth_protocol: str | None = None
    auth_key: str | None = field(default=None, repr=False)
    priv_protocol: str | None = None
    priv_key: str | None = field(default=None, repr=False)
    contexts: tuple[str, ...] = field(default=(), repr=False)
    """`NAME`, or `NAME=COMMUNITY` for versions 1 and 2c."""
    timeout: float = 2.0
    retries: int = 2
    engine: str = "auto"
    profile: str = "auto"
    as_json: bool = False


def discover(options: Options) -> int:
    """Surveys a device and prints what was found; 0: it has sessions, 1: it has none or did not answer.

    Raises click.UsageError and ConfigError for options that make no sense.
    """
    from exabgp_bfd.sources.snmp import findings, survey  # noqa: PLC0415

    target, written = _target(options)
    progress = Progress(sys.stderr)
    try:
        found = asyncio.run(survey.survey(target, progress, measure=survey.MEASURE))
    except KeyboardInterrupt:
        progress.clear()
        click.echo(f"{PROGRAM}: discover: interrupted", err=True)
        return INTERRUPTED
    except ConfigError:
        progress.clear()
        raise
    except BfdError as error:
        progress.clear()
        remedies = findings.remedies(target, str(error))
        if options.as_json:
            click.echo(json.dumps({"at": target.at, "error": str(error), "remedies": remedies}, indent=2))
        click.echo(f"{PROGRAM}: {error}", err=True)
        for remedy in remedies:
            click.echo(f"  {remedy}", err=True)
        return 1
    progress.clear()
    if options.as_json:
        click.echo(json.dumps(findings.document(found, written), indent=2))
    else:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        for line in findings.lines(found, written, colour=colour):
            click.echo(line, color=True)
    return 0 if found.sessions else 1


class Progress:
    """Says on stderr how far a survey has come: one line rewritten on a terminal, else a line now and then."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._rewrites = out.isatty()
        self._shown = False
        self._next = clock() + (0.0 if self._rewrites else _QUIET)

    def __call__(self, phase: str, rows: int) -> None:
        """Takes what is under way, and how many rows it has brought; says so when it is time."""
        now = self._clock()
        if now < self._next:
            return
        told = f"{phase}, {rows} so far" if rows else phase
        self._next = now + (_REDRAW if self._rewrites else _REPEAT)
        self._out.write(f"\r{told}\x1b[K" if self._rewrites else f"{PROGRAM}: discover: {told}\n")
        self._out.flush()
        self._shown = True

    def clear(self) -> None:
        """Takes the line away that is rewritten."""
        if self._rewrites and self._shown:
            self._out.write("\r\x1b[K")
            self._out.flush()
            self._shown = False


# --- options --------------------------------------------------------------------------------------------------------


def _target(options: Options) -> tuple[Target, Mapping[str, str]]:
    """Whom to ask, and how a configuration may name each secret: `env:` and `file:` as given, never a value."""
    from exabgp_bfd.sources.snmp.mibs import profile_for  # noqa: PLC0415
    from exabgp_bfd.sources.snmp.target import Target  # noqa: PLC0415

    try:
        profile_for(options.profile)
    except ConfigError as error:
        raise ConfigError("--profile", error.text) from None
    version = options.version or ("3" if options.user is not None else "2c")
    try:
        settings = load(None, Overrides(device_name="any", device_host=options.host), {}).targets[0]
    except ConfigError as error:
        raise ConfigError("HOST", error.text) from None
    written: dict[str, str] = {}
    community = Secret("public")
    user = None
    if version == "3":
        user = _user(options, written)
    else:
        if options.user is not None:
            raise click.UsageError(f"--user is for --snmp-version 3, not {version}")
        community = _secret("--community", options.community or "public", written, "community")
    target = Target(
        name=settings.host,
        host=settings.host,
        port=settings.port,
        version=version,
        community=community,
        user=user,
        contexts=tuple(_context(text, version, written) for text in options.contexts),
        timeout=options.timeout,
        retries=options.retries,
        engine=options.engine,
        profile=options.profile,
    )
    return target, written


def _user(options: Options, written: dict[str, str]) -> User:
    from exabgp_bfd.core.credentials import User  # noqa: PLC0415

    if options.user is None:
        raise click.UsageError("--snmp-version 3 needs --user NAME")
    keys: dict[str, Secret | None] = {}
    for name, protocol, key in (
        ("auth", options.auth_protocol, options.auth_key),
        ("priv", options.priv_protocol, options.priv_key),
    ):
        variable = f"SNMP_{name.upper()}_KEY"
        if protocol is not None and key is None:
            raise click.UsageError(f"--{name}-protocol needs --{name}-key, or the variable {variable}")
        if protocol is None and key is not None:
            raise click.UsageError(f"--{name}-key needs --{name}-protocol")
        keys[name] = None if key is None else _secret(f"--{name}-key", key, written, f"{name}_key")
    if keys["priv"] is not None and keys["auth"] is None:
        raise click.UsageError("--priv-protocol needs --auth-protocol: SNMPv3 encrypts nothing that is not signed")
    return User(options.user, options.auth_protocol, keys["auth"], options.priv_protocol, keys["priv"])


def _context(text: str, version: str, written: dict[str, str]) -> Context:
    from exabgp_bfd.core.credentials import Context  # noqa: PLC0415

    name, mapped, community = text.partition("=")
    if version == "3":
        if mapped:
            raise click.UsageError("--context is a name alone in version 3, without =COMMUNITY")
        return Context(name)
    if not mapped:
        if not name:
            return Context(name)
        raise click.UsageError(
            f"--context {name}: version {version} has no contexts; a device maps a community of its own to each: "
            f"--context {name}=COMMUNITY (also env:NAME or file:PATH)"
        )
    return Context(name, _secret("--context", community, written, f"community {name}"))


def _secret(flag: str, text: str, written: dict[str, str], key: str) -> Secret:
    """The secret that a value, env:NAME or file:PATH stands for, as `run` takes it; the two latter go to `written`."""
    some_device = Overrides(device_name="any", device_host="127.0.0.1", snmp_community=text)
    # Without what else `load` would take from there; env:NAME may name any variable, even that of the community.
    ours = set(VARIABLES.values()) - {VARIABLES["--snmp-community"]}
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    try:
        secret = load(None, some_device, environ).targets[0].community
    except ConfigError as error:
        raise ConfigError(flag, error.text) from None
    if text.startswith("env:"):
        written[key] = text
    elif text.startswith("file:"):
        written[key] = f"file:{Path(text.removeprefix('file:')).absolute()}"
    return secret


# --- the command ----------------------------------------------------------------------------------------------------


@click.command("discover")
@click.argument("host", metavar="HOST[:PORT]")
@click.option(
    "--community",
    envvar="SNMP_COMMUNITY",
    metavar="TEXT",
    help="For versions 1 and 2c; also env:NAME or file:PATH; default: public. [SNMP_COMMUNITY]",
)
@click.option(
    "--snmp-version",
    "version",
    type=click.Choice(["1", "2c", "3"]),
    help="Default: 2c, or 3 with --user.",
)
@click.option("--user", metavar="NAME", help="The user of version 3.")
@click.option("--auth-protocol", type=click.Choice(AUTH_PROTOCOLS, case_sensitive=False), help="How it signs.")
@click.option(
    "--auth-key",
    envvar="SNMP_AUTH_KEY",
    metavar="TEXT",
    help="Its pass phrase for that; also env:NAME or file:PATH. [SNMP_AUTH_KEY]",
)
@click.option("--priv-protocol", type=click.Choice(PRIV_PROTOCOLS, case_sensitive=False), help="How it encrypts.")
@click.option(
    "--priv-key",
    envvar="SNMP_PRIV_KEY",
    metavar="TEXT",
    help="Its pass phrase for that; also env:NAME or file:PATH. [SNMP_PRIV_KEY]",
)
@click.option(
    "--context",
    "contexts",
    multiple=True,
    metavar="NAME[=COMMUNITY]",
    help='Look into this context, usually a VRF, instead of the default one, which is ""; in versions 1 and 2c by the '
    "community mapped to it (also env:NAME or file:PATH); may be repeated.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.05, 60),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for each answer.",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 10),
    default=2,
    show_default=True,
    metavar="N",
    help="How often to ask again.",
)
@click.option("--engine", type=click.Choice(["auto", "pysnmp", "gufo"]), default="auto", help="The SNMP library.")
@click.option(
    "--profile", default="auto", metavar="NAME", help="Read this MIB's table instead of the one that is found."
)
@click.option("--json", "as_json", is_flag=True, help="As a JSON document.")
def discover_command(*, as_json: bool, **given: str | float | tuple[str, ...] | None) -> int:
    """Asks HOST over SNMP what it is and which BFD sessions it has, and prints the configuration to paste.

    Nothing is written anywhere, and no secret is printed. Exit status: 0 it has sessions, 1 it has none or did not
    answer (with what to try), 2 bad usage.

    \b
    SNMP_COMMUNITY=... exabgp-bfd discover 192.0.2.1
    SNMP_AUTH_KEY=... exabgp-bfd discover edge1 --user bfd --auth-protocol sha256 --context "" --context red
    """
    context = click.get_current_context()
    for name in ("auth", "priv"):
        # A variable is not of this command alone: without the protocol it goes with, it was not meant.
        unasked = context.get_parameter_source(f"{name}_key") is ParameterSource.ENVIRONMENT
        if unasked and given[f"{name}_protocol"] is None:
            given[f"{name}_key"] = None
    return discover(Options(as_json=as_json, **given))  # type: ignore[arg-type]
