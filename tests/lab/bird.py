"""BIRD 2 as a BGP peer: its table is the judge of what was announced. It can also be the source of a feed."""

from __future__ import annotations

import re
import socket
import subprocess
from ipaddress import ip_address
from pathlib import Path

from . import PATIENCE, Program, free_port, wait_for
from .exabgp import Neighbor
from .judge import Ledger, Sampler

CONFIGURATION = """
log stderr all;
router id {router_id};
protocol device {{ }}
protocol bgp exabgp {{
  local {address} port {port} as {asn};
  neighbor 127.0.0.1 as 65001;
  passive on;
  multihop;
  # Its own patience after a fault is not what is judged.
  connect delay time 1;
  error wait time 1, 1;
  error forget time 1;
  ipv4 {{ import {imports}; export {exports}; }};
  ipv6 {{ import {imports}; export none; }};
}}
"""
# Each with a MED of its own, so that each comes in an UPDATE of its own.
FEED = """
protocol static feed {{
  disabled;
  ipv4;
{routes}
}}
"""
FEED_BEGINS = int(ip_address("10.128.0.0"))

_ROUTE = re.compile(r"^(?:1007-| )?(\S+/\d+)\s", re.MULTILINE)


class Bird(Program):
    """A BIRD on an address of its own; with `feed` it says so many routes when told to, and takes none."""

    def __init__(
        self,
        bird: str,
        birdc: str,
        folder: Path,
        *,
        name: str = "bird",
        address: str = "127.0.0.1",
        asn: int = 65002,
        feed: int = 0,
    ) -> None:
        self.name = name
        self.neighbor = Neighbor(address, free_port(host=address), asn)
        self.port = self.neighbor.port
        self.count = feed
        self._birdc = birdc
        self._control = folder / f"{name}.ctl"
        file = folder / f"{name}.conf"
        text = CONFIGURATION.format(
            router_id=f"192.0.2.{int(ip_address(address)) % 256 + 1}",
            address=address,
            port=self.port,
            asn=asn,
            imports="none" if feed else "all",
            exports='where proto = "feed"' if feed else "none",
        )
        if feed:
            routes = (f"  route {ip_address(FEED_BEGINS + n)}/32 blackhole {{ bgp_med = {n}; }};" for n in range(feed))
            text += FEED.format(routes="\n".join(routes))
        file.write_text(text)
        self._sampler: Sampler | None = None
        self._console: _Console | None = None
        super().__init__([bird, "-f", "-c", str(file), "-s", str(self._control)], folder / f"{name}.log")

    def start(self) -> None:
        super().start()
        # The socket is there a moment before BIRD listens on it.
        self._console = wait_for(self._connected, f"BIRD's control socket; {self.output()}")

    def _connected(self) -> _Console | None:
        try:
            return _Console(self._control)
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    def stop(self) -> None:
        try:
            if self._sampler is not None:
                self._sampler.stop()
        finally:
            if self._console is not None:
                self._console.close()
            super().stop()

    def ask(self, *words: str) -> str:
        done = subprocess.run(
            [self._birdc, "-s", str(self._control), *words], capture_output=True, text=True, timeout=10, check=False
        )
        return done.stdout

    def routes(self) -> set[str]:
        """The prefixes that BIRD holds."""
        return set(_ROUTE.findall(self.ask("show", "route")))

    def route(self, prefix: str) -> str:
        """All that BIRD knows of a prefix."""
        return self.ask("show", "route", "all", "for", prefix)

    def established(self) -> bool:
        return "Established" in self.ask("show", "protocols", "exabgp")

    def disable(self) -> None:
        """Ends the BGP session, until `enable`."""
        self.ask("disable", "exabgp")

    def enable(self) -> None:
        self.ask("enable", "exabgp")

    def feed(self, on: bool) -> None:
        """Says all routes of the feed, or takes them back."""
        self.ask("enable" if on else "disable", "feed")

    def watch(self) -> Ledger:
        """Looks at the table all the time from now on."""
        assert self._console is not None
        self._sampler = Sampler(self._console.routes, self.name)
        self._sampler.start()
        return self._sampler.ledger

    @property
    def blind(self) -> float:
        """For how many seconds at the most `watch` did not look."""
        return self._sampler.slowest if self._sampler is not None else 0.0


class _Console:
    """BIRD's control socket, kept open: a look costs no process. A reply's last line has a blank after its number."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._reply()

    def close(self) -> None:
        self._socket.close()

    def routes(self) -> set[str]:
        self._socket.sendall(b"show route\n")
        return set(_ROUTE.findall(self._reply()))

    def _reply(self) -> str:
        data = b""
        while not re.search(rb"(?:^|\n)\d{4} [^\n]*\n\Z", data[-500:]):
            more = self._socket.recv(1 << 16)
            if not more:
                raise ConnectionError("BIRD closed its control socket")
            data += more
        return data.decode()
