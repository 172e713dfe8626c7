"""The floor: the least that a Python process can do, a blocking receive, a look at the octets and a write.

What it takes is the kernel, two wake-ups and this bench, and no part of any program that is measured.

`python -m tests.bench.least_script PORT COMMUNITY INDEX PREFIX INTERVAL`
"""

from __future__ import annotations

import os
import socket
import sys
import time

from tests.bench.snmp_octets import DOWN, get_request, state_octets


def main(port: int, community: str, index: int, prefix: str, interval: float) -> None:
    request, down = get_request(community, 1, index), state_octets(index, DOWN)
    lines = {True: f"withdraw route {prefix}\n".encode(), False: f"announce route {prefix}\n".encode()}
    last = None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.connect(("127.0.0.1", port))
        wire.settimeout(5)
        while True:
            wire.send(request)
            is_down = down in wire.recv(65536)
            if is_down is not last:
                os.write(1, lines[is_down])
            last = is_down
            time.sleep(interval)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], float(sys.argv[5]))
