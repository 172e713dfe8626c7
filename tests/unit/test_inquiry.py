"""Questions to ExaBGP, over real pipes and the real `Pipe`; the test answers as ExaBGP 4.2, 5 and 6 do."""

import asyncio
import contextlib
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from lab.pipes import DONE, ERROR, PATIENCE, UP, announce, run, said, withdraw

from exabgp_bfd.core.model import Answer, Ask, Held, Outcome, Peer, Peers, Rib, Route
from exabgp_bfd.speaker import inquiry, pipe
from exabgp_bfd.speaker.dialect import Dialect, Speech
from exabgp_bfd.speaker.inquiry import Inquiry

ONE, TWO, TEN = (ip_address(f"192.0.2.{number}") for number in (1, 2, 10))
LOCAL = ip_address("127.0.0.1")
PEER = Peer(ONE, LOCAL, frozenset({"ipv4 unicast"}), tells=True)
VERSION, PEERS, RIB = b"version\n", b"show neighbor configuration\n", b"show adj-rib out "


def neighbor(address, families: str = "ipv4 unicast;") -> bytes:
    return f"""neighbor {address} {{
\tdescription "";
\tlocal-address 127.0.0.1;
\tmd5-password "hidden";
\tadj-rib-out true;
\tfamily {{
\t\t{families}
\t}}
\tapi {{
\t\tprocesses [ bfd ];
\t\tsend {{
\t\t\tparsed;
\t\t\tupdate;
\t\t}}
\t}}
}}
""".encode()


def route(address, number: int) -> bytes:
    head = f"neighbor {address} local-ip 127.0.0.1 local-as 65001 peer-as 65002 router-id 192.0.2.9"
    return f"{head} family-allowed in-open ipv4 unicast 10.0.{number >> 8}.{number & 255}/32 next-hop self\n".encode()


def held(address, number: int) -> Held:
    return Held(address, Route(ip_network(f"10.0.{number >> 8}.{number & 255}/32")))


class Script:
    """What ExaBGP answers; the last entry for a question stays."""

    def __init__(self, *neighbors) -> None:
        self.asked: list[bytes] = []
        self.answers: dict[bytes, list[bytes]] = {
            VERSION: [b"exabgp 5.0.15\n" + DONE],
            PEERS: [b"".join(neighbor(address) for address in neighbors or (ONE,)) + DONE],
        }

    async def play(self, exabgp) -> None:
        while True:
            for line in exabgp.reads():
                self.asked.append(line)
                answers = self.answers.get(line, [DONE])
                exabgp.says(answers.pop(0) if len(answers) > 1 else answers[0])
            await asyncio.sleep(0.001)

    def count(self, line: bytes) -> int:
        return self.asked.count(line)


def rib(address) -> bytes:
    return b"show adj-rib out %s extensive\n" % str(address).encode()


def converse(play, script: Script | None = None, *, answers: bool = True, ack_timeout: float = PATIENCE, **settings):
    """Runs `play(exabgp, questions, script)` while the script answers and the inquiry runs."""

    async def main(exabgp) -> None:
        exabgp.pipe.speech = Speech()
        told = script or Script()
        questions = Inquiry(exabgp.pipe, exabgp.delivered.append, **{"timeout": PATIENCE, **settings})
        tasks = [asyncio.create_task(told.play(exabgp)), asyncio.create_task(questions.run())]
        try:
            await play(exabgp, questions, told)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    return run(main, answers=answers, ack_timeout=ack_timeout)


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """No pause is what these tests are about."""
    monkeypatch.setattr(inquiry, "PAUSE", 0.001)
    monkeypatch.setattr(inquiry, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(inquiry, "LONGEST_RETRY", 0.05)
    monkeypatch.setattr(pipe, "SILENCE", 0.1)


# --- what ExaBGP is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "dialect"), [("4.2.21", Dialect.V4), ("5.0.15", Dialect.V5), ("4.2.25-1", Dialect.V4)]
)
def test_the_version_and_the_neighbours_are_asked_for_first(word, dialect):
    script = Script(ONE, TWO)
    script.answers[VERSION] = [f"exabgp {word}\n".encode() + DONE]

    async def play(exabgp, questions, script):
        both = (PEER, replace(PEER, address=TWO))
        assert await exabgp.told(1) == [Peers(both, word, dialect.value, answers=True)]
        assert exabgp.pipe.speech == Speech(dialect, both)
        assert script.asked == [VERSION, PEERS]
        # What could not be said before can be said now.
        exabgp.pipe.send(announce(1))
        assert await exabgp.told(2)
        assert exabgp.delivered[1] == Answer(1, Outcome.DONE)

    converse(play, script)


def test_exabgp_6_is_asked_in_its_own_words():
    script = Script()
    script.answers = {
        VERSION: [b"error: unknown command\n" + ERROR],
        b"system version\n": [b'{"version": "6.0.0", "application": "exabgp"}\n' + DONE],
        b"peer show\n": [b'[{"peer-address": "192.0.2.1", "local-address": "127.0.0.1"}]\n' + DONE],
    }

    async def play(exabgp, questions, script):
        (peers,) = await exabgp.told(1)
        assert (peers.version, peers.dialect) == ("6.0.0", "6")
        assert [peer.address for peer in peers.peers] == [ONE]
        assert exabgp.pipe.speech.dialect is Dialect.V6
        assert script.asked == [VERSION, b"system version\n", b"peer show\n"]

    converse(play, script)


def test_a_dialect_that_is_set_holds_from_the_start_and_whatever_the_version():
    script = Script()
    script.answers[VERSION] = [ERROR]
    script.answers[b"system version\n"] = [ERROR]

    async def play(exabgp, questions, script):
        assert exabgp.pipe.speech == Speech(Dialect.V4)
        assert await exabgp.told(1) == [Peers((PEER,), "", "4", answers=True)]

    converse(play, script, speaks=Dialect.V4)


def test_only_neighbours_of_our_own_process_count():
    script = Script()
    script.answers[PEERS] = [neighbor(ONE) + neighbor(TWO).replace(b"[ bfd ]", b"[ other ]") + DONE]

    async def play(exabgp, questions, script):
        (peers,) = await exabgp.told(1)
        assert peers.peers == (PEER,)

    converse(play, script, process="bfd")


def test_neighbours_that_are_ranges_are_told_too():
    script = Script()
    script.answers[PEERS] = [neighbor(ONE) + neighbor("198.51.100.0/24") + DONE]

    async def play(exabgp, questions, script):
        ranges = (ip_network("198.51.100.0/24"),)
        assert await exabgp.told(1) == [Peers((PEER,), "5.0.15", "5", answers=True, ranges=ranges)]

    converse(play, script)


def test_a_question_that_fails_is_asked_again(caplog):
    script = Script()
    script.answers[VERSION] = [ERROR, b"what?\n" + DONE, b"exabgp 5.0.15\n" + DONE]
    script.answers[b"system version\n"] = [ERROR]
    script.answers[PEERS] = [ERROR, DONE, b"nothing that could be read\n" + DONE, neighbor(ONE) + DONE]

    async def play(exabgp, questions, script):
        assert await exabgp.told(1) == [Peers((PEER,), "5.0.15", "5", answers=True)]
        assert script.count(VERSION) == 3
        assert script.count(PEERS) == 4
        assert questions.counters.failed == 5

    converse(play, script)
    assert caplog.text.count("no usable answer") == 1
    assert "hidden" not in caplog.text


def test_what_is_harmless_waits_no_longer_for_an_exabgp_that_does_not_name_its_neighbours():
    script = Script()
    script.answers[PEERS] = [ERROR]

    async def play(exabgp, questions, script):
        exabgp.pipe.send(announce(1))
        await exabgp.until(lambda: any(line.startswith(b"announce") for line in script.asked), "the announce")
        assert exabgp.pipe.speech.silent
        script.answers[PEERS] = [neighbor(ONE) + DONE]
        await exabgp.until(lambda: not exabgp.pipe.speech.silent, "its neighbours")

    converse(play, script)


def test_a_fault_of_ours_ends_nothing(monkeypatch, caplog):
    async def play(exabgp, questions, script):
        faults = iter([ValueError("a fault")])

        def deliver(seen) -> None:
            for fault in faults:
                raise fault
            exabgp.delivered.append(seen)

        questions._deliver = deliver
        assert await exabgp.told(1)

    converse(play)
    assert "a fault" in caplog.text


def test_the_neighbours_are_asked_for_again_when_somebody_wants_it():
    script = Script()
    script.answers[PEERS] = [neighbor(ONE) + DONE, neighbor(ONE) + DONE, neighbor(TWO) + DONE]

    async def play(exabgp, questions, script):
        await exabgp.told(1)
        questions.ask(Ask("peers"))
        await exabgp.told(2)
        assert exabgp.delivered[0] == exabgp.delivered[1]
        questions.ask(Ask("peers"))
        await exabgp.told(3)
        assert exabgp.pipe.speech.peers == exabgp.delivered[2].peers == (replace(PEER, address=TWO),)
        assert script.count(VERSION) == 1

    converse(play, script)


def test_the_end_ends_it():
    async def main(exabgp) -> None:
        questions = Inquiry(exabgp.pipe, exabgp.delivered.append, timeout=PATIENCE)
        task = asyncio.create_task(questions.run())
        await exabgp.reads_lines(1)
        exabgp.says(b'{ "exabgp": "5.0.0", "type": "notification", "notification": "shutdown" }\n')
        await asyncio.wait_for(task, PATIENCE)
        assert exabgp.delivered == []

    run(main)


# --- answers --------------------------------------------------------------------------------------------------------


def test_where_answers_are_off_everything_is_learned_all_the_same():
    script = Script()
    script.answers = {VERSION: [b"exabgp 5.0.15\n"], PEERS: [neighbor(ONE)], rib(ONE): [route(ONE, 1)]}

    async def play(exabgp, questions, script):
        assert await exabgp.told(1) == [Peers((PEER,), "5.0.15", "5", answers=False)]
        questions.ask(Ask("rib"))
        assert (await exabgp.told(2))[1] == Rib((held(ONE, 1),), ONE, 0, complete=False)
        await asyncio.sleep(0.1)
        assert script.count(rib(ONE)) == 1, "asking again would tell no more"

    converse(play, script, answers=False)


def test_that_answers_are_off_is_found_out_at_the_start():
    script = Script()
    script.answers = {VERSION: [b"exabgp 5.0.15\n"], PEERS: [neighbor(ONE)], said(withdraw(1)): [b"\n"]}

    async def play(exabgp, questions, script):
        (peers,) = await exabgp.told(1)
        assert peers == Peers((PEER,), "5.0.15", "5", answers=False)
        assert not exabgp.pipe.answers
        exabgp.pipe.send(withdraw(1))
        assert exabgp.pipe.waiting == 0

    converse(play, script, timeout=0.7)


def test_that_it_answers_after_all_is_told():
    async def play(exabgp, questions, script):
        (peers,) = await exabgp.told(1)
        exabgp.pipe.answers_changed(False)
        exabgp.pipe.answers_changed(True)
        assert exabgp.delivered == [peers, replace(peers, answers=False), peers]

    converse(play)


def test_lost_answers_are_looked_into_and_told_to_nobody(monkeypatch):
    monkeypatch.setattr(inquiry, "LOST_PAUSE", 0.2)
    script = Script()
    script.answers[said(withdraw(1))] = [b"\n"]  # it swallows this one

    async def play(exabgp, questions, script):
        await exabgp.told(1)
        exabgp.pipe.send(withdraw(1))
        assert (await exabgp.told(2))[1].outcome is Outcome.TIMEOUT
        exabgp.pipe.ack_timeout = PATIENCE
        await exabgp.until(lambda: script.count(PEERS) == 2, "the question")
        await exabgp.until(lambda: exabgp.pipe._ledger.question is None, "the answer")
        exabgp.pipe.send(withdraw(2))
        assert (await exabgp.told(3))[2] == Answer(2, Outcome.DONE)
        # Nothing is missing now: it would only cost.
        exabgp.pipe.answers_lost()
        await exabgp.until(lambda: not questions._wants, "its turn")
        assert script.count(PEERS) == 2
        # And this is told, as it was asked for.
        questions.ask(Ask("peers"))
        assert isinstance((await exabgp.told(4))[3], Peers)

    converse(play, script, ack_timeout=0.1)


# --- routes ---------------------------------------------------------------------------------------------------------


def test_routes_are_asked_for_one_neighbour_after_the_other():
    script = Script(ONE, TWO)
    script.answers[rib(ONE)] = [route(ONE, 1) + UP + route(ONE, 2) + DONE]

    async def play(exabgp, questions, script):
        await exabgp.told(1)
        exabgp.pipe.send(withdraw(7))
        await exabgp.told(2)
        questions.ask(Ask("rib"))
        await exabgp.told(5)
        ribs = [one for one in exabgp.delivered if isinstance(one, Rib)]
        assert ribs == [
            Rib((held(ONE, 1), held(ONE, 2)), ONE, 7, complete=True),
            Rib((), TWO, 7, complete=True),
        ]
        assert script.asked[-2:] == [rib(ONE), rib(TWO)]

    converse(play, script)


def test_routes_asked_for_before_the_neighbours_are_known_are_asked_for_then():
    script = Script(ONE, TWO)
    script.answers[VERSION] = [DONE, b"exabgp 5.0.15\n" + DONE]

    async def play(exabgp, questions, script):
        questions.ask(Ask("rib", cause=3))
        questions.ask(Ask("rib"))
        await exabgp.told(3)
        assert [one.neighbor for one in exabgp.delivered[1:]] == [ONE, TWO]
        assert script.asked.index(PEERS) < script.asked.index(rib(ONE))

    converse(play, script)


def test_a_neighbour_whose_address_begins_alike_is_left_out():
    script = Script(ONE, TEN)
    script.answers[rib(ONE)] = [route(TEN, 1) + route(ONE, 2) + DONE]

    async def play(exabgp, questions, script):
        await exabgp.told(1)
        questions.ask(Ask("rib", ONE))
        assert (await exabgp.told(2))[1] == Rib((held(ONE, 2),), ONE, 0, complete=True)

    converse(play, script)


def test_several_asks_are_one_question_and_one_that_comes_meanwhile_is_another():
    async def play(exabgp, questions, script):
        await exabgp.told(1)
        for _ in range(5):
            questions.ask(Ask("rib", ONE))
        await exabgp.told(2)
        assert script.count(rib(ONE)) == 1
        script.answers[rib(ONE)] = [b""]
        questions.ask(Ask("rib", ONE))
        await exabgp.until(lambda: script.count(rib(ONE)) == 2, "the question")
        questions.ask(Ask("rib", ONE))
        script.answers[rib(ONE)] = [DONE]
        exabgp.says(DONE)
        await exabgp.told(4)
        assert script.count(rib(ONE)) == 3

    converse(play)


def test_what_could_not_be_read_may_be_held():
    script = Script()
    script.answers[rib(ONE)] = [route(ONE, 1) + b"neighbor nonsense\n" + DONE]

    async def play(exabgp, questions, script):
        await exabgp.told(1)
        questions.ask(Ask("rib", ONE))
        assert (await exabgp.told(2))[1] == Rib((held(ONE, 1),), ONE, 0, complete=False)
        await asyncio.sleep(0.1)
        assert script.count(rib(ONE)) == 1, "it would be as unreadable again"

    converse(play, script)


def test_routes_that_are_not_told_are_given_up_after_some_tries():
    script = Script()
    script.answers[rib(ONE)] = [ERROR]

    async def play(exabgp, questions, script):
        await exabgp.told(1)
        questions.ask(Ask("rib", ONE))
        await exabgp.until(lambda: script.count(rib(ONE)) == inquiry.RIB_TRIES, "the tries")
        await asyncio.sleep(0.2)
        assert script.count(rib(ONE)) == inquiry.RIB_TRIES
        assert len(exabgp.delivered) == 1
        # And other questions go on.
        questions.ask(Ask("peers"))
        await exabgp.told(2)

    converse(play, script)


def test_a_big_table_is_asked_for_only_with_a_cause_and_rarely(monkeypatch, caplog):
    script = Script(ONE, TWO)
    script.answers[rib(ONE)] = [b"".join(route(ONE, number) for number in range(11)) + DONE]

    async def play(exabgp, questions, script):
        await exabgp.told(1)
        questions.ask(Ask("rib"))
        await exabgp.told(3)
        assert len(exabgp.delivered[1].held) == 11
        questions.ask(Ask("rib"))
        questions.ask(Ask("rib"))
        await exabgp.told(4)
        assert script.asked.count(rib(ONE)) == 1
        assert script.asked.count(rib(TWO)) == 2
        assert questions.counters.refused == 2
        # With a cause it is asked for, but not before a pause is over.
        questions.ask(Ask("rib", ONE, cause=5))
        await asyncio.sleep(0.05)
        assert script.asked.count(rib(ONE)) == 1
        monkeypatch.setattr(inquiry, "BIG_PAUSE", 0.01)
        questions._wants[ONE].due = 0.0
        questions._changed.set()
        await exabgp.until(lambda: script.count(rib(ONE)) == 2, "the question")
        questions.ask(Ask("rib", ONE, cause=6))
        await exabgp.until(lambda: script.count(rib(ONE)) == 3, "the question")

    converse(play, script, limit=10)
    assert caplog.text.count("asking for them holds it up") == 1


def test_the_routes_of_exabgp_6_are_not_compared(caplog):
    script = Script()
    script.answers = {
        VERSION: [b"error: unknown command\n" + ERROR],
        b"system version\n": [b'{"version": "6.0.0", "application": "exabgp"}\n' + DONE],
        b"peer show\n": [b'[{"peer-address": "192.0.2.1"}]\n' + DONE],
        b"rib show out 192.0.2.1\n": [
            b'{"192.0.2.1": {"routes": [{"family": "ipv4 unicast", "prefix": "10.0.0.1/32"}]}}\n' + DONE
        ],
    }

    async def play(exabgp, questions, script):
        await exabgp.told(1)
        questions.ask(Ask("rib"))
        questions.ask(Ask("peers"))
        await exabgp.told(2)
        await exabgp.until(lambda: script.count(b"rib show out 192.0.2.1\n") == 1, "the question")
        await exabgp.until(lambda: not questions._wants, "the rest")
        assert not any(isinstance(one, Rib) for one in exabgp.delivered)

    converse(play, script)
    assert "only the prefixes" in caplog.text


def test_a_withdraw_never_waits_for_more_than_one_question():
    script = Script(*(ip_address(f"192.0.2.{number}") for number in range(1, 9)))

    async def play(exabgp, questions, script):
        await exabgp.told(1)
        questions.ask(Ask("rib"))
        await exabgp.until(lambda: script.asked[-1].startswith(RIB), "a question")
        exabgp.pipe.send(withdraw(1))
        before = len(script.asked)
        await exabgp.until(lambda: said(withdraw(1)) in script.asked, "the withdraw")
        assert script.asked.index(said(withdraw(1))) <= before + 1
        await exabgp.told(10)

    converse(play, script)
