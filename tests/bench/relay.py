"""Between a router and who asks it: passes every datagram on, and notes when each response left for the asker."""

from __future__ import annotations

import select
import socket
import threading
import time
from dataclasses import dataclass

from tests.bench.snmp_octets import GET, kind_and_number

_Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Passed:
    """A response to a GET, and when it was sent on (perf_counter_ns, the whole machine's monotonic clock)."""

    at: int
    datagram: bytes


class Relay:
    """A UDP relay on a thread of its own; each asker gets a socket of its own towards the router."""

    def __init__(self, router_port: int) -> None:
        self._router = ("127.0.0.1", router_port)
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self._front.settimeout(0)
        self.port = int(self._front.getsockname()[1])
        self._backs: dict[_Address, socket.socket] = {}
        self._passed: list[Passed] = []
        # Answers to a walk are no samples: they name the same instances, and nobody takes a state from them.
        self._gets: dict[tuple[_Address, bytes], None] = {}
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.send(b"x")
        self._thread.join(5)
        for each in (self._front, self._stop, self._stopped, *self._backs.values()):
            each.close()

    def forget(self) -> None:
        """Begins a new list of responses."""
        self._passed = []

    def passed(self) -> list[Passed]:
        """The responses since `forget`, in the order in which they were sent on."""
        return list(self._passed)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._front, select.POLLIN)
        poll.register(self._stopped, select.POLLIN)
        askers: dict[int, tuple[_Address, socket.socket]] = {}
        front = self._front.fileno()
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._stopped.fileno():
                    return
                if descriptor != front:
                    self._pass_on(*askers[descriptor])
                    continue
                datagram, asker = self._front.recvfrom(65536)
                back = self._backs.get(asker)
                if back is None:
                    back = self._backs[asker] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    back.connect(self._router)
                    back.settimeout(0)
                    askers[back.fileno()] = (asker, back)
                    poll.register(back, select.POLLIN)
                kind, number = kind_and_number(datagram)
                if kind == GET:
                    self._gets[asker, number] = None
                    if len(self._gets) > 10_000:  # what was never answered
                        self._gets.pop(next(iter(self._gets)))
                back.send(datagram)

    def _pass_on(self, asker: _Address, back: socket.socket) -> None:
        try:
            datagram = back.recv(65536)
        except OSError:  # the router has gone: its silence is passed on
            return
        _, number = kind_and_number(datagram)
        sample = self._gets.pop((asker, number), 0) is None
        passed = self._passed if sample else []
        passed.append(Passed(time.perf_counter_ns(), datagram))  # before it is sent: the line may come at once
        self._front.sendto(datagram, asker)
