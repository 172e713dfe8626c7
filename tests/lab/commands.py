"""The command line in this process, and a program in a box that serves its API for it."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from api.box import Box

from exabgp_bfd import cli
from exabgp_bfd.config import VARIABLES
from exabgp_bfd.web.auth import new_key
from exabgp_bfd.web.backend import WebSettings
from exabgp_bfd.web.server import WebServer, create_app

Ended = tuple[int, list[str], list[str]]
"""Exit status, and the lines of stdout and stderr."""

SERVICE = """
[[device]]
name = "edge1"
host = "192.0.2.1"
[[service]]
name = "dns"
prefixes = ["203.0.113.53/32", "2001:db8::53/128"]
next_hop = ["192.0.2.10", "2001:db8::10"]
neighbors = ["192.0.2.254"]
med = 50
communities = ["65000:53", "graceful-shutdown"]
as_path = [65000, 65000]
sessions = ["edge1/198.51.100.1"]
"""


def runner(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Ended]:
    """Runs a command in this process."""

    def run(*words: object, stdin: bytes = b"", **variables: str) -> Ended:
        with monkeypatch.context() as patch:
            for name in (*VARIABLES.values(), "EXABGP_BFD_URL", "EXABGP_BFD_KEY"):
                patch.delenv(name, raising=False)
            for name, value in variables.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["exabgp-bfd", *map(str, words)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            with pytest.raises(SystemExit) as ended:
                cli.main()
        out, err = capsysbinary.readouterr()
        return ended.value.code, out.decode().splitlines(), err.decode().splitlines()

    return run


@dataclass
class Running:
    """A program that serves its API on a free port, and the files that an operator on its machine has."""

    box: Box
    port: int
    key: str
    config: Path
    """A configuration that says where it listens, with the admin key beside the journal."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key_file(self) -> Path:
        return self.config.with_name("admin.key")


@contextlib.contextmanager
def served(folder: Path, **settings: object) -> Iterator[Running]:
    """Serves a program in a box; the settings are those of the web that are other than usual."""
    box = Box()
    text, ephemeral = new_key()
    web = replace(WebSettings("127.0.0.1", 0, ephemeral=ephemeral, threads=4), **settings)
    server = WebServer(create_app(box, web), web)
    server.start()
    configuration = folder / "running.toml"
    # What the command line needs of it, with a secret that only the program itself has at hand.
    configuration.write_text(
        f'[api]\nlisten = "127.0.0.1:{server.port}"\n[storage]\npath = "journal.db"\n'
        f'[snmp]\ncommunity = "env:ONLY_EXABGP_HAS_IT"\n{SERVICE}'
    )
    running = Running(box, server.port, text, configuration)
    running.key_file.write_text(f"{text}\n")
    try:
        yield running
    finally:
        assert server.stop()
