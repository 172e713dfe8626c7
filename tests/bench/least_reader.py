"""The least that a process of ExaBGP can do: it reads, and counts the routes it was told of.

As a program, which ExaBGP starts: `least_reader.py FILE` writes there, after every hundred routes, when that was
(nanoseconds since the epoch) and how many there were.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

_ANNOUNCED = b'"announce": {'
_OFTEN = 100


def main(file: str) -> None:
    count = told = 0
    rest = b""
    with Path(file).open("wb", buffering=0) as out:
        while data := os.read(0, 1 << 16):
            data = rest + data
            end = data.rfind(b"\n") + 1
            count += data.count(_ANNOUNCED, 0, end)
            rest = data[end:]
            if count // _OFTEN != told // _OFTEN:
                told = count
                out.seek(0)
                out.write(b"%d %d\n" % (time.time_ns(), count))


if __name__ == "__main__":
    main(sys.argv[1])
