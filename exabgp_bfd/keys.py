"""The command `key`: keys of the API and secrets of webhooks that never were before, and the lines that let them in."""

from __future__ import annotations

import json
import re

import click

from exabgp_bfd.core.model import ConfigError

ROLES = ("read", "operate", "admin")
_LONGEST_NAME = 100


@click.group("key")
def key_command() -> None:
    """Makes keys of the API, and secrets of webhooks."""


@key_command.command("new")
@click.option("--name", default="noc", show_default=True, metavar="TEXT", help="Who acts with it, as events tell.")
@click.option("--role", type=click.Choice(ROLES), default="read", show_default=True, help="What it opens.")
def new_key(name: str, role: str) -> None:
    """Prints a new key, once, and the lines for the configuration, which know it by its hash only.

    The key (on stderr) goes to whoever is to use it; the lines (on stdout) go into the configuration, and hold after a
    reload: POST /reload, or SIGHUP.
    Several keys may share a name while one replaces the other: take the old one's lines out to revoke it.
    """
    from exabgp_bfd.web.auth import key_hash, random_key  # noqa: PLC0415 - the API process starts without us

    if not re.fullmatch(rf"[^\s/]{{1,{_LONGEST_NAME}}}", name) or not name.isprintable():
        raise ConfigError("--name", f"must be 1 to {_LONGEST_NAME} characters, without blanks and slashes")
    key = random_key()
    # Apart from the lines, which may be sent straight into the configuration: there the key does not belong.
    click.echo(f"The key of {name}, shown this once: {key}", err=True)
    click.echo("[[api.key]]")
    click.echo(f"name = {json.dumps(name)}")
    click.echo(f'role = "{role}"')
    click.echo(f'sha256 = "{key_hash(key)}"')


@key_command.command("secret")
def new_secret() -> None:
    """Prints a new secret of Standard Webhooks, for `[[webhook.sender]] secrets` and for whoever signs with it."""
    from exabgp_bfd.web.auth import random_secret  # noqa: PLC0415 - the API process starts without us

    click.echo(random_secret())
