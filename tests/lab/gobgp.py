"""GoBGP as a BGP peer, a second judge: it tells of each change of its table by itself."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from . import Program, free_port, wait_for
from .exabgp import Neighbor
from .judge import Ledger

CONFIGURATION = """
[global.config]
  as = {asn}
  router-id = "192.0.2.129"
  port = {port}
  local-address-list = ["{address}"]
[[neighbors]]
  [neighbors.config]
    neighbor-address = "127.0.0.1"
    peer-as = 65001
  [neighbors.timers.config]
    hold-time = 30
  [neighbors.transport.config]
    passive-mode = true
    local-address = "{address}"
  [neighbors.ebgp-multihop.config]
    enabled = true
    multihop-ttl = 255
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-unicast"
"""
ESTABLISHED = 6


class GoBgp(Program):
    def __init__(
        self,
        gobgpd: str,
        gobgp: str,
        folder: Path,
        *,
        name: str = "gobgp",
        address: str = "127.0.0.2",
        asn: int = 65003,
    ) -> None:
        self.name = name
        self.neighbor = Neighbor(address, free_port(host=address), asn)
        self._gobgp = gobgp
        # A Unix socket's path may have a hundred characters, and a test's folder be longer than that: a port.
        self._control = free_port()
        self._monitor: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        file = folder / f"{name}.toml"
        file.write_text(CONFIGURATION.format(asn=asn, port=self.neighbor.port, address=address))
        command = [gobgpd, "-f", str(file), "--api-hosts", f"127.0.0.1:{self._control}", "--pprof-disable"]
        super().__init__(command, folder / f"{name}.log")

    def start(self) -> None:
        super().start()
        wait_for(lambda: self.ask("neighbor"), "GoBGP answers")

    def stop(self) -> None:
        if self._monitor is not None:
            self._monitor.terminate()
            self._monitor.wait(10)
            assert self._reader is not None
            self._reader.join(10)
            assert self._monitor.stdout is not None
            self._monitor.stdout.close()
            self._monitor = None
        super().stop()

    def ask(self, *words: str) -> Any:
        """What `gobgp` says as JSON, None where it says nothing of use."""
        done = subprocess.run(self._command(*words), capture_output=True, text=True, timeout=10, check=False)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return None

    def _command(self, *words: str) -> list[str]:
        return [self._gobgp, "-p", str(self._control), "-j", *words]

    def routes(self) -> set[str]:
        """The prefixes that GoBGP holds."""
        return {prefix for family in ("ipv4", "ipv6") for prefix in self.ask("global", "rib", "-a", family) or ()}

    def route(self, prefix: str) -> str:
        """All that GoBGP knows of a prefix."""
        return json.dumps(self.ask("global", "rib", "-a", "ipv6" if ":" in prefix else "ipv4", prefix))

    def established(self) -> bool:
        neighbors = self.ask("neighbor") or ()
        return any(neighbor["state"].get("session_state") == ESTABLISHED for neighbor in neighbors)

    def disable(self) -> None:
        """Ends the BGP session, until `enable`."""
        self.ask("neighbor", "127.0.0.1", "disable")

    def enable(self) -> None:
        self.ask("neighbor", "127.0.0.1", "enable")

    def reset(self) -> None:
        """Ends the BGP session, which may come back."""
        self.ask("neighbor", "127.0.0.1", "reset")

    def watch(self) -> Ledger:
        """Writes down each change of the table from now on, as GoBGP tells it."""
        ledger = Ledger()
        self._monitor = subprocess.Popen(self._command("monitor", "global", "rib", "--current"), stdout=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, args=(self._monitor, ledger), name="GoBGP's monitor")
        self._reader.start()
        # Only with its first word is it sure to listen: the table as it is, be it empty.
        wait_for(lambda: ledger.looks, "GoBGP's monitor")
        return ledger

    @staticmethod
    def _read(monitor: subprocess.Popen[bytes], ledger: Ledger) -> None:
        assert monitor.stdout is not None
        for line in monitor.stdout:
            now = time.monotonic()
            for path in json.loads(line):
                ledger.put(path["nlri"]["prefix"], not path.get("withdrawal"), now)
            ledger.looks += 1

    @property
    def blind(self) -> float:
        """For how many seconds `watch` did not look: it is told everything."""
        return 0.0
