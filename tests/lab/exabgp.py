"""ExaBGP 5 from pip with `exabgp-bfd run` as its process."""

from __future__ import annotations

import getpass
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from lab import Program, free_port

CONFIGURATION = """
process bfd {{
  run {run};
  encoder json;
}}
neighbor 127.0.0.1 {{
  router-id 192.0.2.1;
  local-address 127.0.0.1;
  local-as 65001;
  peer-as 65002;
  connect {port};
  hold-time 30;
  family {{ ipv4 unicast; ipv6 unicast; }}
  api {{
    processes [ bfd ];
    neighbor-changes;
    receive {{ parsed; update; notification; }}
    send {{ parsed; update; }}
  }}
}}
"""

BIN = Path(sys.executable).parent


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

    def __init__(self, folder: Path, bgp_port: int, toml: str | None = None, flags: str = "", **env: str) -> None:
        self.api_port = free_port()
        self.journal = folder / "journal.db"
        run = f"{BIN / 'exabgp-bfd'} run {flags}"
        if toml is not None:
            self.toml = folder / "exabgp-bfd.toml"
            head = f'[storage]\npath = "{self.journal}"\n[api]\nlisten = "127.0.0.1:{self.api_port}"\n'
            self.toml.write_text(head + toml)
            run = f"{BIN / 'exabgp-bfd'} run --config {self.toml} {flags}"
        self.conf = folder / "exabgp.conf"
        self.conf.write_text(CONFIGURATION.format(run=run.strip(), port=bgp_port))
        super().__init__([str(BIN / "exabgp"), "server", str(self.conf)], folder / "exabgp.log", environment(**env))

    def get(self, path: str) -> Any:
        """The JSON under a path of our API, None where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}{path}", timeout=5) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
            return None
        except (OSError, ValueError):
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
