"""BIRD 2 as the BGP peer: its table is the judge of what was announced."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from lab import Program, free_port, wait_for

CONFIGURATION = """
log stderr all;
router id 192.0.2.2;
protocol device {{ }}
protocol bgp exabgp {{
  local 127.0.0.1 port {port} as 65002;
  neighbor 127.0.0.1 as 65001;
  passive on;
  multihop;
  ipv4 {{ import all; export none; }};
  ipv6 {{ import all; export none; }};
}}
"""


class Bird(Program):
    def __init__(self, bird: str, birdc: str, folder: Path) -> None:
        self.port = free_port()
        self._birdc = birdc
        self._control = folder / "bird.ctl"
        file = folder / "bird.conf"
        file.write_text(CONFIGURATION.format(port=self.port))
        super().__init__([bird, "-f", "-c", str(file), "-s", str(self._control)], folder / "bird.log")

    def start(self) -> None:
        super().start()
        wait_for(self._control.exists, "BIRD's control socket")

    def ask(self, *words: str) -> str:
        done = subprocess.run(
            [self._birdc, "-s", str(self._control), *words], capture_output=True, text=True, timeout=10, check=False
        )
        return done.stdout

    def routes(self) -> set[str]:
        """The prefixes that BIRD holds."""
        return set(re.findall(r"^(\S+/\d+)\s", self.ask("show", "route"), re.MULTILINE))

    def route(self, prefix: str) -> str:
        """All that BIRD knows of a prefix."""
        return self.ask("show", "route", "all", "for", prefix)

    def established(self) -> bool:
        return "Established" in self.ask("show", "protocols", "exabgp")
