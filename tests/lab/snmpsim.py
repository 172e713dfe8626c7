"""snmpsim, an SNMP agent written by others, serving recordings: one community (and v3 context) for each.

It lives in a virtual environment of its own, because it must not share pysnmp's version with us: the one whose
responder EXABGP_BFD_SNMPSIM names, or one that is built once for each user under the folder for temporary files.

Learned of 1.2.2: it needs pysmi without saying so; as root it wants to become somebody else, whom the interpreter's own
files are often closed to ("no dbm clone found"), unless SNMPSIM_ALLOW_ROOT=true; its recordings must be in OID order.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import socket
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from lab import Program, free_port, wait_for
from lab.agent import GET, NULL, SYS_UP_TIME, Answer, arcs, written

VERSION = "1.2.2"
REMEDY = (
    f"pip install snmpsim=={VERSION} pysmi in a virtual environment of its own, and set EXABGP_BFD_SNMPSIM to its "
    "bin/snmpsim-command-responder"
)
_RESPONDER = "snmpsim-command-responder"
_INSTALLING = 180.0  # seconds


def responder() -> Path | None:
    """The program; None where there is none and none can be installed."""
    named = os.environ.get("EXABGP_BFD_SNMPSIM")
    if named is not None:
        return Path(named) if os.access(named, os.X_OK) else None
    home = Path(tempfile.gettempdir()) / f"exabgp-bfd-snmpsim-{VERSION}-{getpass.getuser()}"
    home.mkdir(mode=0o700, exist_ok=True)
    if home.stat().st_uid != os.getuid():  # anybody may make a folder there
        return None
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers want it at once
        return _installed(home)


def _installed(home: Path) -> Path | None:
    place = home / f"python{sys.version_info.major}.{sys.version_info.minor}"
    program, done = place / "bin" / _RESPONDER, place / "installed"
    if not done.exists():
        try:
            venv.create(place, with_pip=True, clear=True)
            subprocess.run(
                [place / "bin" / "pip", "install", "-q", f"snmpsim=={VERSION}", "pysmi"],
                check=True,
                capture_output=True,
                timeout=_INSTALLING,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        done.touch()
    return program


class Snmpsim:
    """One snmpsim with any number of recordings (snmprec, by name), on loopback; v3 user `simulator`, SHA-1.

    No privacy: its pysnmp would need `cryptography`.
    """

    USER, AUTH_KEY = "simulator", "auctoritas"

    def __init__(self, program: Path, folder: Path, recordings: Mapping[str, str]) -> None:
        self.port = free_port(socket.SOCK_DGRAM)
        data, cache, variations = folder / "data", folder / "cache", folder / "variations"
        for made in (data, cache, variations):
            made.mkdir(parents=True)
        question = Answer(1, next(iter(recordings)).encode(), 1, ((arcs(SYS_UP_TIME), NULL),), kind=GET)
        self._question = written(question)
        for name, text in recordings.items():
            (data / f"{name}.snmprec").write_text(_ordered(text))
        self._program = Program(
            [
                str(program),
                f"--data-dir={data}",
                f"--cache-dir={cache}",
                f"--variation-modules-dir={variations}",
                f"--agent-udpv4-endpoint=127.0.0.1:{self.port}",
                f"--v3-user={self.USER}",
                f"--v3-auth-key={self.AUTH_KEY}",
                "--v3-auth-proto=SHA",
                "--logging-method=stderr",
            ],
            folder / "log",
            {"SNMPSIM_ALLOW_ROOT": "true"},
        )

    def __enter__(self) -> Self:
        self._program.start()
        try:
            wait_for(self._listens, f"snmpsim does not listen:\n{self._program.output()[-2000:]}")
        except BaseException:
            self._program.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._program.stop()

    def _listens(self) -> bool:
        assert self._program.running, f"snmpsim ended:\n{self._program.output()[-2000:]}"
        # It says that it listens some time before it does.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.settimeout(0.3)
            wire.connect(("127.0.0.1", self.port))
            try:
                wire.send(self._question)
                return bool(wire.recv(65_535))
            except OSError:
                return False


def _ordered(text: str) -> str:
    """A recording in OID order, each OID once: its responder looks for what comes next by halving the file."""
    lines = {tuple(int(arc) for arc in line.split("|")[0].split(".")): line for line in text.splitlines() if line}
    return "".join(f"{lines[oid]}\n" for oid in sorted(lines))
