"""Anything at all on our stdin: nothing escapes, every line is accounted for, and commands get their own answers.

Real pipes, the real reading thread, a real loop. The garbage knows the shapes of what ExaBGP writes: its lines with
values replaced, with octets changed, cut, doubled and spliced, and with what no parser likes. Each example runs in a
process like ours: what is sent meanwhile must be answered by its own answer, and by nothing else.

`HYPOTHESIS_PROFILE=nightly` plays a million lines in one life.
"""

import asyncio
import json
import os
import random
import time
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.pipes import DONE, ERROR, HEAD, NEIGHBOR, PATIENCE, UP, ExaBGP, closing, update, withdraw

from exabgp_bfd.core.model import Answer, Outcome
from exabgp_bfd.speaker import pipe
from exabgp_bfd.speaker.ledger import Reply

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
LONGEST = 20_000
"""Octets of a line here, so that there are many longer ones."""

ANSWERS = {Outcome.DONE: DONE, Outcome.ERROR: ERROR}


def event(kind: str, rest: str) -> bytes:
    return f'{{ {HEAD}, "type": "{kind}", "neighbor": {{ {NEIGHBOR} , {rest} }} }}'.encode()


WITHDRAWN = (
    '"direction": "send", "message": { "update": { "withdraw": { "ipv4 unicast": [ { "nlri": "203.0.113.1/32" } ] } } }'
)
CAPABILITIES = '"1": { "name": "multiprotocol", "families": [ "ipv4/unicast" ] }, "64": { "name": "graceful restart" }'
OPEN = f'"open": {{ "version": 4, "asn": 65002, "hold_time": 180, "capabilities": {{ {CAPABILITIES} }} }}'
EVENTS = (
    UP.rstrip(),
    update("send").rstrip(),
    update("receive").rstrip(),
    event("state", '"state": "down", "reason": "notification received (6,3)"'),
    event("state", '"state": "down", "reason": "shutdown \x17text"'),
    event("update", WITHDRAWN),
    event("update", '"direction": "receive", "message": { "eor": { "afi" : "ipv4", "safi" : "unicast" } }'),
    event(
        "update", '"direction": "send", "message": { "update": { "announce": { "ipv4 unicast": [ "10.0.0.1/32" ] } } }'
    ),
    event("update", '"announce": { "ipv4 unicast": { "null": [ "eor": { "afi" : "ipv4" } ] } }'),
    event(
        "refresh", '"direction": "send", "route-refresh": { "afi": ""ipv4"", "safi": ""unicast"", "subtype": "query" }'
    ),
    event("open", f'"direction": "send", {OPEN}'),
    event("open", f'"direction": "receive", {OPEN}'),
    event(
        "negotiated", '"negotiated": { "hold_time": 180, "asn4": true, "families": ["ipv4 unicast"], "nexthop": [] }'
    ),
    event("notification", '"direction": "receive", "notification": { "code": 6, "subcode": 3, "message": "\\u0017x" }'),
    event("fsm", '"state": "ESTABLISHED"'),
    event("keepalive", '"direction": "receive"'),
)
BODIES = (
    b"exabgp 5.0.15",
    b"neighbor 127.0.0.2 {",
    b'\tmd5-password "hidden";',
    b"error: could not parse",
    b'{ "answer": "perhaps", "message": "command completed" }',
    b'[{"peer-address": "192.0.2.1"}]',
    b"neighbor 127.0.0.2 local-ip 127.0.0.1 local-as 1 peer-as 2 ipv4 unicast 10.0.0.1/32 next-hop self",
    b"done and dusted",
    b"errors",
    b"don",
)
ODD = (
    None, True, -1, 0, 1e308, float("nan"), float("-inf"), 10**400, "", "\x00", "\ud800", "\u2028", "shutdown", "up",
    "done", [], {}, [[]], [None], {"": {}}, ["10.0.0.1/33"], {"nlri": []}, "x" * 3_000, "::1", "fe80::1%x",
)  # fmt: skip
OCTETS = (
    b"\x00",
    b"\x17",
    b"\x7f",
    b"\r",
    b"\t",
    b"\x0b",
    b"\x1b[2J",
    b"\xff\xfe",
    b"\xc3",
    b"\xed\xa0\x80",
    b'"',
    b"{",
)
OCTETS += (
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\\u",
    b"\\ud800",
    b"\\u0000",
    b'"exabgp"',
    b'"type": "update"',
    b"done",
)


def replaced(dice: random.Random, line: bytes) -> bytes:
    """An event with one of its values, or keys, replaced."""
    try:
        document = json.loads(line)
    except ValueError:
        return line
    node = document
    while True:
        places = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not places:
            break
        place = dice.choice(places)
        below = node[place]
        if isinstance(below, dict | list) and below and dice.random() < 0.8:
            node = below
            continue
        if isinstance(node, dict) and dice.random() < 0.3:
            value = node.pop(place)
            if dice.random() < 0.5:
                node[dice.choice(("", "exabgp", "type", "address", "answer", "neighbor"))] = value
        else:
            node[place] = dice.choice(ODD)
        break
    return json.dumps(document, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")


def broken(dice: random.Random, line: bytes) -> bytes:
    """A line with some of its octets changed."""
    for _ in range(dice.choice((1, 1, 2, 5))):
        start = dice.randrange(len(line) + 1)
        end = min(len(line), start + dice.choice((0, 1, 5, 50)))
        match dice.randrange(5):
            case 0:
                line = line[:start] + line[end:]
            case 1:
                line = line[:start] + dice.choice(OCTETS) + line[end:]
            case 2:
                line = line[:end] + line[start:]
            case 3:
                line = line[:start] + dice.choice(EVENTS)[start:]
            case _:
                line = line[:start]
    return line


def nested(dice: random.Random) -> bytes:
    depth = dice.choice((10, 500, 2_000, 5_000))
    opening, closing = dice.choice(((b"[", b"]"), (b'{"exabgp":', b"}"), (b'{"a":', b"}")))
    return dice.choice((b"", b'{ "exabgp": "5.0.0", "type": ')) + opening * depth + closing * dice.choice((0, depth))


def garbage(dice: random.Random) -> bytes:
    """One line, without its line feed, that is no answer and does not say that ExaBGP ends."""
    match dice.randrange(20):
        case 0:
            line = nested(dice)
        case 1:
            line = dice.randbytes(dice.choice((1, 10, 100, 1_000)))
        case 2:
            line = dice.choice(BODIES) * dice.choice((1, 1, 10, 5_000))
        case 3 | 4:
            line = dice.choice(BODIES)
        case 5:
            line = dice.choice(
                (b" ", b"\r", b"{", b"}", b'"', b"{}", b"[]", b"null", b"0", b"\xef\xbb\xbf{}", b"done\x00")
            )
        case 6 | 7 | 8 | 9:
            line = dice.choice(EVENTS)
        case 10 | 11 | 12 | 13 | 14:
            line = replaced(dice, dice.choice(EVENTS))
        case _:
            line = broken(dice, dice.choice(EVENTS + BODIES))
    line = line.replace(b"\n", b" ")
    return b"#" + line if is_answer(line) or b'"shutdown"' in line else line


def is_answer(line: bytes) -> bool:
    """Said here in other words than the program's."""
    text = line.strip(b" \t\r\x0b\x0c")
    if text in (b"done", b"error"):
        return True
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "exabgp" not in document and document.get("answer") in ("done", "error")


class Life:
    """One pipe that hears garbage while it sends commands and asks questions."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.faults: list[str] = []
        self.commands: list[Answer] = []
        self.fed = 0
        self.strays = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.faults.append(str(context)))
        self._context = closing(ExaBGP())
        self.exabgp = self._context.__enter__()
        self.exabgp.pipe.start(loop)
        return self

    async def __aexit__(self, *reason) -> None:
        self._context.__exit__(*reason)

    async def feed(self, lines: list[bytes]) -> None:
        """Writes lines in pieces that end anywhere, while the reader reads."""
        self.fed += sum(1 for line in lines if line)
        data = b"".join(line + b"\n" for line in lines)
        size = self.dice.choice((7, 100, 4_096, 1 << 20))
        if size * 200 < len(data):
            size = len(data) // 200 + 1
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        await asyncio.to_thread(self._write, pieces)

    def _write(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            while piece:
                piece = piece[os.write(self.exabgp.their_out, piece) :]  # noqa: PLW2901 - what is left of it

    async def command(self, lines: list[bytes], count: int) -> None:
        """Sends commands; their answers come somewhere among the lines."""
        first = len(self.commands)
        expected = [
            Answer(number, self.dice.choice((Outcome.DONE, Outcome.ERROR))) for number in range(first, first + count)
        ]
        for answer in expected:
            self.exabgp.pipe.send(withdraw(answer.command))
        self.exabgp.reads()
        places = sorted(self.dice.randrange(len(lines) + 1) for _ in expected)
        for place, answer in reversed(list(zip(places, expected, strict=True))):
            lines.insert(place, ANSWERS[answer.outcome].rstrip() + self.dice.choice((b"", b" ", b"\r")))
        self.commands += expected
        await self.feed(lines)
        await self.settled()
        assert self.exabgp.pipe.waiting == 0

    async def question(self, lines: list[bytes]) -> None:
        """Asks something; all that is no event among the lines is its answer's body, and it has one end."""
        replies: list[Reply] = []
        body = self.exabgp.pipe.counters.body
        self.exabgp.pipe.ask(b"show neighbor configuration\n", replies.append, PATIENCE)
        await self.feed([*lines, b"done"])
        await self.exabgp.until(lambda: replies, "the reply")
        await self.settled()
        (reply,) = replies
        assert reply.outcome is Outcome.DONE
        assert len(reply.lines) == self.exabgp.pipe.counters.body - body
        told = {line.strip().decode("utf-8", "replace") for line in lines}
        assert told.issuperset(reply.lines)

    async def stray(self, count: int) -> None:
        """Answers to nothing."""
        self.strays += count
        await self.feed([b"done"] * count)
        await self.settled()

    async def settled(self) -> None:
        """Waits until all that was written was read and taken."""
        counters = self.exabgp.pipe.counters

        def taken() -> bool:
            done = counters.answered + counters.unmatched + counters.body + counters.events + counters.quarantined
            return counters.read + counters.overlong == self.fed and done == counters.control

        await self.exabgp.until(taken, f"all of {self.fed} lines")

    async def check(self) -> None:
        """Everything adds up, and both sides still hear each other."""
        counters = self.exabgp.pipe.counters
        assert counters.read == counters.updates + counters.control + counters.missed
        assert counters.missed == counters.refused == 0
        assert counters.stored == len(self.exabgp.stored)
        assert counters.unmatched == self.strays
        answers = [one for one in self.exabgp.delivered if isinstance(one, Answer)]
        # Whatever came before an answer, it is this command's, and no line of another answer is kept with it.
        assert [(one.command, one.outcome) for one in answers] == [(one.command, one.outcome) for one in self.commands]
        assert all(len(one.text) <= 500 and "hidden" not in one.text for one in answers)
        assert self.exabgp.pipe._thread.is_alive()
        assert self.exabgp.pipe.open
        assert self.exabgp.ended == []
        self.exabgp.delivered.clear()
        self.commands = self.commands[-1:]
        self.exabgp.pipe.send(withdraw(1 << 20))
        await self.feed([UP.rstrip(), b"done"])
        answer = Answer(1 << 20, Outcome.DONE)
        await self.exabgp.until(lambda: answer in self.exabgp.delivered, "the last command's answer")
        assert self.faults == []


@pytest.fixture(autouse=True, scope="module")
def shorter_lines():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipe, "LONGEST_LINE", LONGEST)
        yield


PHASES = st.lists(st.tuples(st.sampled_from(["commands", "question", "stray"]), st.integers(0, 40)), max_size=6)


@settings(max_examples=2_000 if NIGHTLY else 150)
@given(dice=st.randoms(use_true_random=False), phases=PHASES)
def test_whatever_comes_nothing_escapes_and_commands_get_their_own_answers(dice, phases):
    async def live() -> None:
        async with Life(dice) as life:
            for what, count in phases:
                lines = [garbage(dice) for _ in range(count)]
                match what:
                    case "commands":
                        await life.command(lines, dice.randrange(8))
                    case "question":
                        await life.question(lines)
                    case _:
                        await life.stray(count)
            await life.check()

    asyncio.run(live())


@settings(max_examples=1_000 if NIGHTLY else 60)
@given(data=st.lists(st.binary(max_size=300), max_size=20))
def test_any_octets_at_all(data):
    """No shape, no plan: what came as a line is counted as one, and nothing else happens."""

    async def live() -> None:
        async with Life(random.Random(0)) as life:
            lines = [line for line in b"".join(data).split(b"\n") if line and not is_answer(line)]
            await life.feed(lines)
            await life.settled()
            await life.check()

    asyncio.run(live())


def test_a_flood_of_garbage(capsys):
    """A million lines in one life, nightly; some thousands otherwise."""
    total = 1_000_000 if NIGHTLY else 20_000
    seed = random.randrange(1 << 30) if NIGHTLY else 1
    started = time.monotonic()

    async def live() -> int:
        dice = random.Random(seed)
        async with Life(dice) as life:
            while life.fed < total:
                lines = [garbage(dice) for _ in range(500)]
                match dice.randrange(10):
                    case 0:
                        await life.question(lines)
                    case 1:
                        await life.feed(lines)
                        await life.settled()
                        await life.stray(dice.randrange(20))
                    case _:
                        await life.command(lines, dice.randrange(40))
                life.exabgp.stored.clear()
                life.exabgp.pipe.counters.stored = 0
            counters, commands = life.exabgp.pipe.counters, len(life.commands)
            await life.check()
            with capsys.disabled():
                if NIGHTLY:
                    print(f"\nseed {seed}: {commands} commands, {time.monotonic() - started:.0f} s, {counters}")
            return life.fed

    assert asyncio.run(live()) >= total
