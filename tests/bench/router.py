"""The simulated router in a process of its own, told on its stdin which sessions are down.

As a program: `python -m tests.bench.router SESSIONS` prints its port, then takes lines `down 1 7 9` or `up 1 7 9` and
answers each with `ok` once the table says so. It ends with its stdin.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from exabgp_bfd.core.model import State
from exabgp_bfd.simulator import Router

COMMUNITY = "bench"


def peer(number: int) -> str:
    """The far end of session `number`, which is its index in the MIB too."""
    return str(ip_address("10.0.0.0") + number)


class RouterProcess:
    """The program below, started and spoken to."""

    def __init__(self, sessions: int, root: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.router", str(sessions)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=root,
        )
        first = self._line()
        self.port = int(first)

    def set(self, state: str, numbers: Iterable[int]) -> None:
        """Sets sessions `up` or `down`, and returns when they are."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{state} {' '.join(str(number) for number in numbers)}\n")
        answer = self._line()
        assert answer == "ok", f"the simulated router answered {answer!r}"

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._process.stdout.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, f"the simulated router ended with status {self._process.wait(5)}"
        return line


async def serve(sessions: int) -> None:
    async with Router(COMMUNITY) as router:
        for number in range(1, sessions + 1):
            router.add(peer(number), State.UP, index=number)
        print(router.port, flush=True)
        commands: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin, lambda: commands.put_nowait(sys.stdin.readline()))
        while command := await commands.get():
            word, *numbers = command.split()
            for number in numbers:
                router.set_state(peer(int(number)), State(word))
            print("ok", flush=True)
        loop.remove_reader(sys.stdin)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
