"""An SNMP agent that costs little: any number of devices on one socket, v2c and v3, so that it is no bottleneck.

Every address of 127/8 is a device of its own, with the same BFD-STD-MIB table behind each. Answers to a GET are made
once and kept, with the place of sysUpTime in them. A user's digest is not verified: that is the asker's business here.

As a program: `python -m tests.bench.snmp_agent SESSIONS [CPU]` prints its port, then takes lines and answers each:
`up 1 7 9` and `down 1 7 9` with `ok`, `mark` (a new window) with `ok`, `tell INTERVAL` with JSON. It ends with stdin.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests.bench import snmp_usm
from tests.bench.snmp_octets import (
    DOWN,
    GET,
    GET_BULK,
    GET_NEXT,
    REPORT,
    RESPONSE,
    UP,
    element,
    integer,
    number_of,
    oid_arcs,
    oid_octets,
    opened,
)

COMMUNITY = "bench"
CLIENT_CPU, AGENT_CPU = 0, 1
PER_PDU = 40
BOOTS = 1
"""snmpEngineBoots of every device."""

_IP_PKTINFO = 8
_Arcs = tuple[int, ...]
_SYSTEM: _Arcs = (1, 3, 6, 1, 2, 1, 1)
_UP_TIME = oid_octets((*_SYSTEM, 3, 0))
_ENTRY: _Arcs = (1, 3, 6, 1, 2, 1, 222, 1, 2, 1)
_PERF: _Arcs = (1, 3, 6, 1, 2, 1, 222, 1, 3, 1)
_IF_NAME: _Arcs = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1, 1)
_USM_STATS: _Arcs = (1, 3, 6, 1, 6, 3, 15, 1, 1)
_NOT_IN_TIME, _UNKNOWN_ENGINE = 2, 4
_COUNTER, _GAUGE, _TICKS = 0x41, 0x42, 0x43
_NO_SUCH_INSTANCE, _END = b"\x81\x00", b"\x82\x00"
_INTERFACES = 8
_WINDOW = 150  # seconds, RFC 3414 section 3.2
_LATE = 0.1


def peer(number: int) -> str:
    """The far end of session `number`, which is its index too."""
    return str(ip_address("10.0.0.0") + number)


def address(device: int) -> str:
    """Where device `number` is asked."""
    return str(ip_address("127.1.0.0") + device)


def engine_id(local: bytes) -> bytes:
    """The snmpEngineID of the device behind an IPv4 address (RFC 3411, SnmpEngineID's format 1)."""
    return b"\x80\x00\x1f\x88\x01" + local


class Table:
    """The instances, as octets, in their order."""

    def __init__(self, sessions: int) -> None:
        self._began = time.monotonic() - 86_400.0
        self._ups = dict.fromkeys(range(1, sessions + 1), 1)
        values: dict[_Arcs, bytes] = {
            (*_SYSTEM, 1, 0): element(0x04, b"an agent of the bench"),
            (*_SYSTEM, 2, 0): oid_octets((1, 3, 6, 1, 4, 1, 8072, 3, 2, 10)),
            (*_SYSTEM, 3, 0): b"",
            (*_SYSTEM, 5, 0): element(0x04, b"bench"),
        }
        for interface in range(1, _INTERFACES + 1):
            values[*_IF_NAME, interface] = element(0x04, b"eth%d" % interface)
        for number in range(1, sessions + 1):
            for column, value in _row(number).items():
                values[*_ENTRY, column, number] = value
            values[*_PERF, 9, number] = integer(1000 + number, _TICKS)
            values[*_PERF, 12, number] = integer(1, _COUNTER)
        self._order = sorted(values)
        self._names = [oid_octets(arcs) for arcs in self._order]
        self._values = {name: values[arcs] for name, arcs in zip(self._names, self._order, strict=True)}
        self._made: dict[bytes, tuple[tuple[bytes, ...], int]] = {}

    def set(self, number: int, state: int) -> None:
        """Has a session be in a state."""
        self._values[oid_octets((*_ENTRY, 11, number))] = integer(state)
        self._values[oid_octets((*_ENTRY, 13, number))] = integer(0 if state == UP else 1)
        if state == UP:
            self._ups[number] += 1
            self._values[oid_octets((*_PERF, 12, number))] = integer(self._ups[number], _COUNTER)
        self._made.clear()

    def up_time(self) -> bytes:
        return integer(int((time.monotonic() - self._began) * 100) % 2**32, _TICKS)

    def answered(self, kind: int, numbers: tuple[int, int], asked: bytes) -> tuple[bytes, int]:
        """The varbinds that answer these, and how many; `numbers` are GETBULK's non-repeaters and repetitions."""
        key = bytes([kind, numbers[1] & 0xFF]) + asked
        made = self._made.get(key)
        if made is None:
            if len(self._made) > 200_000:
                self._made.clear()
            names = _names(asked)
            if kind == GET:
                pairs = [(name, self._values.get(name, _NO_SUCH_INSTANCE)) for name in names]
            elif kind == GET_NEXT:
                pairs = [self._next(name) for name in names]
            else:
                pairs = self._bulk(names, *numbers)
            made = self._made[key] = (_pieces(pairs), len(pairs))
        pieces, count = made
        if len(pieces) == 1:
            return pieces[0], count
        ticks = self.up_time()
        varbind = element(0x30, _UP_TIME + ticks)
        return varbind.join(pieces), count

    def _next(self, name: bytes) -> tuple[bytes, bytes]:
        start, length = opened(name, 0)
        place = bisect_right(self._order, oid_arcs(name[start : start + length]))
        if place == len(self._order):
            return name, _END
        following = self._names[place]
        return following, self._values[following]

    def _bulk(self, names: list[bytes], once: int, times: int) -> list[tuple[bytes, bytes]]:
        pairs = [self._next(name) for name in names[:once]]
        rest = names[once:]
        for _ in range(times):
            row = [self._next(name) for name in rest]
            pairs += row
            rest = [name for name, _ in row]
            if all(value == _END for _, value in row):
                break
        return pairs


def _row(number: int) -> Mapping[int, bytes]:
    """The columns of RFC 7331 that anybody asks for."""
    return {
        2: integer(1, _GAUGE),
        3: integer(1),  # singleHop
        4: integer(1000 + number, _GAUGE),
        5: integer(2000 + number, _GAUGE),
        9: integer(1),
        10: integer(1),
        11: integer(UP),
        13: integer(0),
        18: integer(1 + number % _INTERFACES),
        19: integer(1),
        20: element(0x04, ip_address("10.255.0.1").packed),
        21: integer(1),
        22: element(0x04, ip_address(peer(number)).packed),
        25: integer(300_000, _GAUGE),
        26: integer(300_000, _GAUGE),
        28: integer(3, _GAUGE),
        29: integer(300_000, _GAUGE),
        31: integer(3, _GAUGE),
    }


def _names(varbinds: bytes) -> list[bytes]:
    names, place = [], 0
    while place < len(varbinds):
        start, length = opened(varbinds, place)
        inner, size = opened(varbinds, start)
        names.append(varbinds[start : inner + size])
        place = start + length
    return names


def _pieces(pairs: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, ...]:
    """The varbinds one after the other, cut where sysUpTime belongs."""
    pieces: list[list[bytes]] = [[]]
    for name, value in pairs:
        if name == _UP_TIME:
            pieces.append([])
        else:
            pieces[-1].append(element(0x30, name + value))
    return tuple(b"".join(piece) for piece in pieces)


class Agent:
    """The socket and what was asked on it."""

    def __init__(self, sessions: int) -> None:
        self.table = Table(sessions)
        self._wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._wire.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self._wire.bind(("0.0.0.0", 0))  # for every address of 127/8 at once
        self._wire.settimeout(0)
        self.port = int(self._wire.getsockname()[1])
        self._began = time.monotonic()
        self.mark()

    def fileno(self) -> int:
        return self._wire.fileno()

    def mark(self) -> None:
        """Begins a new window."""
        self._marked = time.monotonic()
        self._cpu = time.process_time()
        self._requests = self._varbinds = self._unreadable = 0
        self._rounds: dict[bytes, list[float]] = defaultdict(list)

    def told(self, interval: float) -> dict[str, Any]:
        """What happened in this window; lateness against rounds every `interval` seconds."""
        seconds = time.monotonic() - self._marked
        return {
            "seconds": seconds,
            "requests": self._requests,
            "values": self._varbinds,
            "unreadable": self._unreadable,
            "engine_time": self._time(),
            "load": (time.process_time() - self._cpu) / seconds,
            **lateness(self._rounds.values(), interval),
        }

    def _time(self) -> int:
        """snmpEngineTime."""
        return int(time.monotonic() - self._began) + 1

    def drain(self) -> None:
        """Answers what has come."""
        while True:
            try:
                datagram, extra, _, sender = self._wire.recvmsg(65_535, 64)
            except BlockingIOError:
                return
            local = extra[0][2][8:12]
            if local[0] != 127:
                continue
            self._requests += 1
            try:
                answer = self._answer(datagram, local)
            except (IndexError, ValueError, struct.error):
                answer = None
            if answer is None:
                self._unreadable += 1
                continue
            source = (socket.IPPROTO_IP, _IP_PKTINFO, bytes(4) + local + bytes(4))
            with contextlib.suppress(OSError):
                self._wire.sendmsg([answer], [source], 0, sender)

    def _answer(self, datagram: bytes, local: bytes) -> bytes | None:
        place, _ = opened(datagram, 0)
        version = datagram[place + 2]
        if version == 3:
            return self._secured(datagram, local)
        if version != 1:
            return None
        start, length = opened(datagram, place + 3)
        end = start + length
        return element(0x30, datagram[place:end] + self._pdu(datagram, end, local))

    def _secured(self, datagram: bytes, local: bytes) -> bytes | None:
        message = snmp_usm.read(datagram)
        clock = (engine_id(local), BOOTS, self._time())
        context = element(0x04, clock[0]) + element(0x04, b"")
        if message.engine_id != clock[0]:
            return snmp_usm.plain(message.number, clock, element(0x30, context + _report(_UNKNOWN_ENGINE)))
        if not message.flags & 1:
            return None
        if message.boots != clock[1] or abs(message.time - clock[2]) > _WINDOW:
            scoped = element(0x30, context + _report(_NOT_IN_TIME))
            return snmp_usm.sealed(message.number, clock, scoped, private=False)
        scoped = snmp_usm.opened_scoped(datagram, message)
        begin, _ = opened(scoped, 0)
        place = begin
        for _ in range(2):  # contextEngineID, contextName
            start, length = opened(scoped, place)
            place = start + length
        answer = element(0x30, scoped[begin:place] + self._pdu(scoped, place, local))
        return snmp_usm.sealed(message.number, clock, answer, private=bool(message.flags & 2))

    def _pdu(self, octets: bytes, place: int, local: bytes) -> bytes:
        kind = octets[place]
        if kind not in {GET, GET_NEXT, GET_BULK}:
            raise ValueError(kind)
        at, _ = opened(octets, place)
        start, length = opened(octets, at)
        number = octets[at : start + length]
        first, size = opened(octets, start + length)
        once = number_of(octets[first : first + size])
        second, size = opened(octets, first + size)
        times = number_of(octets[second : second + size])
        begin, length = opened(octets, second + size)
        asked = octets[begin : begin + length]
        if kind == GET and asked.startswith(_UP_TIME, 2):
            self._rounds[local].append(time.monotonic())
        varbinds, count = self.table.answered(kind, (once, times) if kind == GET_BULK else (0, 0), asked)
        self._varbinds += count
        return element(RESPONSE, number + b"\x02\x01\x00\x02\x01\x00" + element(0x30, varbinds))


def _report(which: int) -> bytes:
    varbind = element(0x30, oid_octets((*_USM_STATS, which, 0)) + integer(1, _COUNTER))
    return element(REPORT, integer(0) * 3 + element(0x30, varbind))


def lateness(rounds: Iterable[Sequence[float]], interval: float) -> dict[str, Any]:
    """How late rounds began: of each device, against the earliest grid of one round every `interval` it ever kept.

    Requests of one device nearer to each other than half an interval are one round.
    """
    worst = 0.0
    count = late = missed = 0
    for times in rounds:
        begun: list[float] = []
        for at in times:
            if not begun or at - begun[-1] > interval / 2:
                begun.append(at)
        if not begun:
            continue
        turns = [round((at - begun[0]) / interval) for at in begun]
        grid = min(at - turn * interval for at, turn in zip(begun, turns, strict=True))
        behind = [at - turn * interval - grid for at, turn in zip(begun, turns, strict=True)]
        worst = max(worst, *behind)
        late += sum(each > _LATE for each in behind)
        count += len(begun)
        missed += turns[-1] + 1 - len(begun)
    return {"rounds": count, "late": late, "missed": missed, "worst_late_ms": round(worst * 1e3, 1)}


def pin(cpu: int) -> None:
    """Stays on one core, if there are several."""
    cores = os.sched_getaffinity(0)
    if len(cores) > 1 and cpu in cores:
        os.sched_setaffinity(0, {cpu})


class AgentProcess:
    """The program below, started and spoken to."""

    def __init__(self, sessions: int, root: Path, cpu: int = AGENT_CPU) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.snmp_agent", str(sessions), str(cpu)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=root,
        )
        self.port = int(self._line())

    def set(self, state: str, numbers: Iterable[int]) -> None:
        """Has sessions be `up` or `down`, and returns when they are."""
        answer = self._ask(f"{state} {' '.join(map(str, numbers))}")
        assert answer == "ok", f"the agent answered {answer!r}"

    def mark(self) -> None:
        """Begins a new window."""
        self._ask("mark")

    def tell(self, interval: float = 1.0) -> dict[str, Any]:
        """What happened in the window."""
        told: dict[str, Any] = json.loads(self._ask(f"tell {interval}"))
        return told

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

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, f"the agent ended with status {self._process.wait(5)}"
        return line


def main(sessions: int, cpu: int) -> None:
    pin(cpu)
    agent = Agent(sessions)
    print(agent.port, flush=True)
    poll = select.poll()
    poll.register(agent, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN | select.POLLHUP)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if agent.fileno() in ready:
            agent.drain()
        if sys.stdin.fileno() in ready:
            command = sys.stdin.readline().split()
            if not command:
                return
            print(_done(agent, *command), flush=True)


def _done(agent: Agent, word: str, *arguments: str) -> str:
    if word == "tell":
        return json.dumps(agent.told(float(arguments[0])))
    if word == "mark":
        agent.mark()
    else:
        for number in arguments:
            agent.table.set(int(number), {"up": UP, "down": DOWN}[word])
    return "ok"


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else AGENT_CPU)
