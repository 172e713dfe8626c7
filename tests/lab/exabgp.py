"""ExaBGP 5 from pip, or 4 from Debian's package, with `exabgp-bfd run` as its process."""

from __future__ import annotations

import contextlib
import getpass
import http.client
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import Program, free_port

CONFIGURATION = """
process bfd {{
  run {run};
  encoder json;
}}
{neighbors}
"""
NEIGHBOR = """
neighbor {neighbor.address} {{
  router-id 192.0.2.1;
  local-address 127.0.0.1;
  local-as 65001;
  peer-as {neighbor.asn};
  connect {neighbor.port};
  hold-time {neighbor.hold_time};
  family {{ ipv4 unicast; ipv6 unicast; }}
  api {{
    processes [ {process} ];
    neighbor-changes;
    receive {{ parsed; update; notification; }}
    send {{ parsed; update; }}
  }}
  {neighbor.more}
}}
"""

BIN = Path(sys.executable).parent


class Release(NamedTuple):
    """An ExaBGP, and how it is started: the configuration's file follows."""

    name: str
    command: tuple[str, ...]
    word: str
    """What it is told to say its version."""

    def version(self) -> str:
        """Its version in full."""
        told = subprocess.run([self.command[0], self.word], capture_output=True, text=True, check=False)
        found = re.search(r"^ExaBGP : *(\S+)", told.stdout, re.MULTILINE)
        return found[1] if found else self.name


V5 = Release("5", (str(BIN / "exabgp"), "server"), "version")
# By its path: the virtual environment's own is before it in PATH.
V4 = Release("4", ("/usr/sbin/exabgp",), "--version")


class Neighbor(NamedTuple):
    """A BGP peer as ExaBGP's configuration has it."""

    address: str
    port: int
    asn: int
    hold_time: int = 30
    more: str = ""
    """Sections of its own."""

    def text(self, process: str = "bfd") -> str:
        return NEIGHBOR.format(neighbor=self, process=process)


def environment(**more: str) -> dict[str, str]:
    """ExaBGP's settings for a run on loopback, by whoever runs the tests."""
    return {
        "exabgp_daemon_user": getpass.getuser(),
        "exabgp_api_cli": "false",
        "exabgp_log_level": "WARNING",
        "exabgp_tcp_attempts": "0",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


class ExaBGP(Program):
    """One ExaBGP with our process, whose configuration is `toml` (or flags in `run`)."""

    def __init__(
        self,
        folder: Path,
        neighbors: Sequence[Neighbor],
        toml: str | None = None,
        flags: str = "",
        *,
        release: Release = V5,
        **env: str,
    ) -> None:
        self.api_port = free_port()
        self.journal = folder / "journal.db"
        self.release = release
        self._run = f"{BIN / 'exabgp-bfd'} run {flags}".strip()
        if toml is not None:
            self.toml = folder / "exabgp-bfd.toml"
            head = f'[storage]\npath = "{self.journal}"\n[api]\nlisten = "127.0.0.1:{self.api_port}"\n'
            self.toml.write_text(head + toml)
            self._run = f"{BIN / 'exabgp-bfd'} run --config {self.toml} {flags}".strip()
        self.conf = folder / "exabgp.conf"
        self.configure(neighbors)
        super().__init__([*release.command, str(self.conf)], folder / "exabgp.log", environment(**env))

    def configure(self, neighbors: Sequence[Neighbor]) -> None:
        """Writes ExaBGP's configuration, which it reads at its start and with SIGUSR1."""
        text = "".join(neighbor.text() for neighbor in neighbors)
        self.conf.write_text(CONFIGURATION.format(run=self._run, neighbors=text))

    def get(self, path: str) -> Any:
        """The JSON under a path of our API, None where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}{path}", timeout=5) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
            return None
        except (OSError, ValueError, http.client.HTTPException):  # it may end while it answers
            return None

    def events(self, **filters: str) -> list[dict[str, Any]]:
        """Events newest first."""
        query = "&".join(f"{key}={value}" for key, value in filters.items())
        answer = self.get(f"/events?limit=200&{query}")
        return answer["events"] if answer else []

    def child(self) -> int | None:
        """The process id of our process, ExaBGP's child."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                line = (entry / "cmdline").read_bytes()
            except (OSError, IndexError):
                continue
            if parent == self.pid and b"exabgp-bfd" in line:
                return int(entry.name)
        return None


def kill(pid: int, number: int) -> None:
    os.kill(pid, number)


def alive(pid: int) -> bool:
    """Whether there is such a process, be it one that nobody has waited for."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
