"""Between ExaBGP and our process: notes when each command was said, and passes it on.

As a program, which ExaBGP starts: `tap.py LOG COMMAND...`. The command reads ExaBGP's pipe itself; only what it says
goes through here. LOG gets the command's process id, and then a line a command: when it was read (perf_counter_ns),
what is done, and the prefix.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

_COMMAND = re.compile(rb"\b(announce|withdraw) route (\S+)")


def main(log: str, command: list[str]) -> int:
    # Before ExaBGP may end us: it ends what it has started, and that is to end what we have.
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    with Path(log).open("wb", buffering=0) as told:
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        told.write(b"%d\n" % process.pid)
        assert process.stdout is not None
        rest = b""
        while data := os.read(process.stdout.fileno(), 1 << 16):
            at = time.perf_counter_ns()
            written = 0
            while written < len(data):
                written += os.write(1, data[written:])
            *lines, rest = (rest + data).split(b"\n")
            found = filter(None, map(_COMMAND.search, lines))
            told.write(b"".join(b"%d %s %s\n" % (at, each[1], each[2]) for each in found))
        return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
