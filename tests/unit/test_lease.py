"""The dead-man lease: what lies on the board, what is renewed when, and what a keeper makes of it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from dataclasses import replace
from ipaddress import ip_network

import pytest
from lab import wait_for

from exabgp_bfd.app import App
from exabgp_bfd.config import Overrides, load
from exabgp_bfd.core.engine import Engine
from exabgp_bfd.core.model import (
    BY_HAND,
    Action,
    Believed,
    ByHand,
    Command,
    Override,
    Remember,
    Route,
    SpeakerError,
    Watchdog,
)
from exabgp_bfd.keeper import Board, Circumstances, Keeper, answers_are_on, circumstances
from exabgp_bfd.lease import Lease

DNS = Route(ip_network("192.0.2.53/32"))
DNS6 = Route(ip_network("2001:db8::53/128"))
NTP = Route(ip_network("192.0.2.123/32"))


def line(command: Command) -> bytes:
    return f"withdraw {command.route.key}\n".encode()


def entry(service: str, route: Route | Watchdog) -> bytes:
    return f"{service}\t{route.key}\twithdraw {route.key}\n".encode()


def believed(service: str, route: Route) -> Believed:
    return Believed(service, route, 1)


def remember(service: str, route: Route | Watchdog, *, announced: bool = True) -> Remember:
    return Remember(service, route.key, route if announced else None, 1)


LEASED = """
[storage]
path = "journal.db"
[api]
listen = "off"
[speaker]
lease = 5.0
[[device]]
name = "edge1"
host = "127.0.0.1"
[[service]]
name = "dns"
prefixes = ["192.0.2.53/32"]
sessions = ["edge1/198.51.100.1"]
lease = true
"""

# --- the board --------------------------------------------------------------------------------------------------------


def test_the_board_holds_what_was_put_last():
    board = Board(4096)
    assert (board.term, board.lines()) == (None, b"")
    board.put(2.5, b"first\n")
    assert (board.term, board.lines()) == (2.5, b"first\n")
    board.put(5.0, b"second, and longer\n")
    assert (board.term, board.lines()) == (5.0, b"second, and longer\n")
    board.put(5.0, b"")
    assert (board.term, board.lines()) == (None, b""), "nothing to do is no term"
    board.put(5.0, b"third\n")
    board.clear()
    assert (board.term, board.lines()) == (None, b"")


def test_what_is_too_much_for_the_board_leaves_what_was_there():
    board = Board(256)
    board.put(1.0, b"x" * 80)
    with pytest.raises(ValueError, match="81 bytes"):
        board.put(1.0, b"y" * 81)
    assert board.lines() == b"x" * 80


def test_a_writer_that_dies_while_it_writes_leaves_the_slot_that_counts_whole():
    board = Board(4096)
    board.put(1.0, b"whole\n")
    # The other slot, half written.
    begin = board._SLOTS_AT + board._room
    board._memory[begin : begin + 40] = b"\xff" * 40
    assert (board.term, board.lines()) == (1.0, b"whole\n")
    # And what is damaged all the same is not written to ExaBGP.
    board._memory[board._SLOTS_AT + board._SLOT.size] ^= 1
    assert board.lines() == b""


def test_the_board_is_shared_with_a_child():
    board = Board(4096)
    child = os.fork()
    if child == 0:
        board.put(3.0, b"from a child\n")
        board.renew()
        board.take(7)
        os._exit(0)
    os.waitpid(child, 0)
    assert (board.term, board.lines(), board.renewals, board.taken) == (3.0, b"from a child\n", 1, 7)


# --- the worker's end -------------------------------------------------------------------------------------------------


@pytest.fixture
def board():
    return Board(4096)


def test_only_services_that_asked_for_it_are_on_the_board(board):
    async def act() -> None:
        lease = Lease(board, line)
        lease.start(asyncio.get_running_loop(), [believed("dns", DNS), believed("ntp", NTP)])
        assert board.term is None, "without a time there is no lease"
        lease.set_rules(10.0, ["dns"])
        assert (board.term, board.lines()) == (10.0, entry("dns", DNS))
        lease.note(remember("dns", DNS6))
        lease.note(remember("ntp", NTP))
        await asyncio.sleep(0)
        assert board.lines() == entry("dns", DNS) + entry("dns", DNS6)
        lease.note(remember("dns", DNS, announced=False))
        await asyncio.sleep(0)
        assert board.lines() == entry("dns", DNS6)
        lease.set_rules(10.0, ["dns", "ntp"])
        assert sorted(board.lines().splitlines(keepends=True)) == [entry("dns", DNS6), entry("ntp", NTP)]
        lease.set_rules(None, ["dns", "ntp"])
        assert board.term is None
        lease.set_rules(4.0, ["ntp"])
        assert (board.term, board.lines()) == (4.0, entry("ntp", NTP))
        lease.stop()
        assert board.term is None, "an orderly end leaves nothing to be done"

    asyncio.run(act())


def test_many_changes_of_one_breath_are_put_once(board, monkeypatch):
    puts = []
    put = board.put
    monkeypatch.setattr(board, "put", lambda *what: (puts.append(what), put(*what)))

    async def act() -> None:
        lease = Lease(board, line)
        lease.start(asyncio.get_running_loop(), [])
        lease.set_rules(10.0, ["dns"])
        for route in (DNS, DNS6, NTP):
            lease.note(remember("dns", route))
        await asyncio.sleep(0)
        assert len(puts) == 1
        assert len(board.lines().splitlines()) == 3
        lease.stop()

    asyncio.run(act())


def test_what_cannot_be_said_is_left_out_and_lines_are_made_anew_when_asked(board, caplog):
    words = {"verb": "withdraw"}

    def now(command: Command) -> bytes:
        if command.route == NTP:
            raise SpeakerError("no neighbour can carry it")
        return f"{words['verb']} {command.route.key}\n".encode()

    async def act() -> None:
        lease = Lease(board, now)
        lease.start(asyncio.get_running_loop(), [believed("dns", DNS), believed("dns", NTP)])
        lease.set_rules(10.0, ["dns"])
        assert board.lines() == entry("dns", DNS)
        words["verb"] = "peer * withdraw"
        lease.forget_lines()
        assert board.lines() == b"dns\t192.0.2.53/32\tpeer * withdraw 192.0.2.53/32\n"
        lease.stop()

    asyncio.run(act())
    assert "does not cover 192.0.2.123/32 of dns: no neighbour can carry it" in caplog.text


def test_a_lease_that_is_too_large_says_so_and_promises_nothing(caplog):
    board = Board(160)

    async def act() -> None:
        lease = Lease(board, line)
        lease.start(asyncio.get_running_loop(), [believed("dns", DNS)])
        lease.set_rules(10.0, ["dns"])
        lease.forget_lines()
        assert board.term is None
        lease.stop()

    asyncio.run(act())
    assert caplog.text.count("no longer") == 1


@pytest.mark.parametrize("by", ["an order of before", "a command by hand of before"])
def test_what_the_first_breath_announces_is_on_the_board(tmp_path, by):
    """Before anything was polled: what an order holds, and what a service takes over from an operator's command."""
    (tmp_path / "x.toml").write_text(LEASED)
    board = Board(1 << 16)
    reads, into = os.pipe()
    out, writes = os.pipe()

    async def act() -> None:
        app = App(lambda _, stored: load(tmp_path / "x.toml", Overrides(), {}, stored), reads, writes, patient=True)
        app.loop = asyncio.get_running_loop()
        app.pipe.start(app.loop)
        parts = app._prepare()
        app._kept = Circumstances(board, 1, 1)
        if by == "an order of before":
            override = Override("dns", Action.ANNOUNCE, "noc", "x", time.time())
            restored = replace(parts.restored, overrides=(override,))
        else:
            order = ByHand(DNS, True, "noc", "x", time.time())
            held = (believed(BY_HAND, DNS),)
            restored = replace(parts.restored, by_hand=(order,), believed=held, rib_kept=True, expired=False)
        engine = Engine(parts.settings.plan, restored, parts.made)
        life = asyncio.create_task(app._live(replace(parts, restored=restored, engine=engine)))
        await asyncio.sleep(0)
        assert board.lines().startswith(b"dns\t192.0.2.53/32\twithdraw route 192.0.2.53/32")
        app._end("the test is over")
        await life
        app.pipe.close()
        app._log.stop()

    asyncio.run(act())
    for descriptor in (into, out):
        os.close(descriptor)


def test_it_is_renewed_while_the_loop_runs_and_not_while_it_is_stuck(board):
    seen: list[int] = []

    async def act() -> None:
        lease = Lease(board, line)
        lease.start(asyncio.get_running_loop(), [believed("dns", DNS)])
        lease.set_rules(0.4, ["dns"])
        began = board.renewals
        await asyncio.sleep(0.5)
        assert board.renewals > began
        # A callback that does not come back, with the interpreter let go and with it held.
        stuck = board.renewals
        time.sleep(0.3)  # noqa: ASYNC251 - which is what this is about
        sum(range(3_000_000))
        assert board.renewals == stuck
        lease.stop()
        seen.append(board.renewals)
        await asyncio.sleep(0.3)
        assert [board.renewals] == seen

    asyncio.run(act())


# --- the keeper's end -------------------------------------------------------------------------------------------------


class Stage:
    """A keeper with a worker of the test's own, between two pipes; runs in a child, since it takes signals."""

    def __init__(self, work, *, answers=True):
        self._in, self.into = os.pipe()
        self.out, self._out = os.pipe()
        self.said = b""
        self.answer = lambda line: b"available API commands\n\ndone\n" if line == b"help" else b"done\n"
        self.keeper = os.fork()
        if self.keeper == 0:
            status = 99
            try:
                # As the real one, it must not hold the other ends: it would never see an end of file.
                os.close(self.into)
                os.close(self.out)
                os.set_blocking(self._out, False)
                Keeper(self._in, self._out, answers=answers).run()
                work(self._in, self._out)
                status = 0
            except SystemExit as end:
                status = int(end.code)
            finally:
                os._exit(status)
        os.close(self._in)
        os.close(self._out)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        rest = b""
        while data := os.read(self.out, 65536):
            self.said += data
            *lines, rest = (rest + data).split(b"\n")
            for said in lines:
                try:
                    os.write(self.into, self.answer(said))
                except OSError:
                    return

    @property
    def lines(self):
        return self.said.decode().splitlines()


def here():
    found = circumstances()
    assert found is not None
    return found


def dies_once(tmp_path):
    """The first worker dies, and the second says that it goes on."""
    first = tmp_path / "first"

    def work(stdin: int, stdout: int) -> None:
        if not first.exists():
            first.touch()
            os._exit(1)
        os.write(stdout, b"on\n")

    return work


def play(stage: Stage) -> int:
    """Waits for the keeper's end."""
    _, status = os.waitpid(stage.keeper, 0)
    stage._thread.join(30)
    os.close(stage.out)
    return os.waitstatus_to_exitcode(status)


TAKEOVER = ["# exabgp-bfd: another process takes over"]


def test_a_worker_that_ends_in_order_ends_its_keeper(tmp_path):
    stage = Stage(lambda *_: None)
    assert play(stage) == 0
    assert stage.lines == []
    os.close(stage.into)


def test_a_worker_that_dies_is_followed_by_another_that_knows_how(tmp_path):
    def work(stdin: int, stdout: int) -> None:
        found = here()
        os.write(
            stdout, f"worker {found.crashes} {found.recent} {found.last_end.partition(' ended by ')[2]}\n".encode()
        )
        if found.crashes == 0:
            os._exit(3)
        if found.crashes == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    stage = Stage(work)
    assert play(stage) == 0
    between = [*TAKEOVER, "help"]
    assert stage.lines == ["worker 0 0 ", *between, "worker 1 1 status 3", *between, "worker 2 2 SIGKILL"]
    os.close(stage.into)


def test_a_successor_takes_no_answer_of_its_predecessor(tmp_path):
    """ExaBGP answers the dead one's commands late: all of that is read before another begins."""
    first = tmp_path / "first"

    def work(stdin: int, stdout: int) -> None:
        if not first.exists():
            first.touch()
            os.write(stdout, b"announce route 192.0.2.1/32 next-hop self\n" * 50)
            os._exit(1)
        os.write(stdout, b"mine\n")
        told = os.read(stdin, 65536)
        os.write(stdout, b"told " + told.replace(b"\n", b"|") + b"\n")

    stage = Stage(work)

    def answer(said: bytes) -> bytes:
        time.sleep(0.01)
        if said == b"mine":
            return b"to mine\n"
        return b'{ "exabgp": 1 }\navailable API commands\n\ndone\n' if said == b"help" else b"done\n"

    stage.answer = answer
    assert play(stage) == 0
    assert stage.lines[-1] == "told to mine|"
    os.close(stage.into)


def test_a_half_written_line_is_ended_and_never_continued(tmp_path):
    first = tmp_path / "first"

    def work(stdin: int, stdout: int) -> None:
        if not first.exists():
            first.touch()
            os.write(stdout, b"announce route 192.0.2.1/32 next-hop self community [ 1:")
            os._exit(1)
        os.write(stdout, b"next\n")

    stage = Stage(work)
    assert play(stage) == 0
    assert stage.lines == [
        "announce route 192.0.2.1/32 next-hop self community [ 1:# exabgp-bfd: another process takes over",
        *("help", "next"),
    ]
    os.close(stage.into)


@pytest.mark.parametrize("stop", [signal.SIGSTOP, None], ids=["stopped", "stuck"])
def test_a_worker_that_renews_no_more_is_killed_and_its_routes_are_withdrawn(stop):
    def work(stdin: int, stdout: int) -> None:
        found = here()
        if found.lapse is not None:
            named = ",".join(f"{service} {key}" for service, key in found.lapse.targets)
            os.write(stdout, f"lapse {found.lapse.number} {found.lapse.lines} {named}\n".encode())
            found.board.take(found.lapse.number)
            os._exit(4)
        if found.crashes == 2:
            os.write(stdout, f"known {found.board.term}\n".encode())
            return
        found.board.put(0.5, entry("dns", DNS) + entry("ntp", NTP))
        found.board.renew()
        os.write(stdout, b"announced\n")
        if stop is not None:
            os.kill(os.getpid(), stop)
        time.sleep(60)

    stage = Stage(work)
    assert play(stage) == 0
    assert stage.lines == [
        *("announced", *TAKEOVER, "withdraw 192.0.2.53/32", "withdraw 192.0.2.123/32", "help"),
        *("lapse 1 2 dns 192.0.2.53/32,ntp 192.0.2.123/32", *TAKEOVER, "help", "known None"),
    ]
    os.close(stage.into)


def test_a_worker_that_renews_is_left_alone_and_a_death_alone_withdraws_nothing(tmp_path):
    first = tmp_path / "first"

    def work(stdin: int, stdout: int) -> None:
        found = here()
        found.board.put(1.5, entry("dns", DNS))
        for _ in range(30):
            found.board.renew()
            time.sleep(0.1)
        if not first.exists():
            first.touch()
            os._exit(1)

    stage = Stage(work)
    assert play(stage) == 0
    assert stage.lines == [*TAKEOVER, "help"]
    os.close(stage.into)


def test_between_two_workers_stdin_is_read_and_its_end_is_ours():
    def work(stdin: int, stdout: int) -> None:
        os._exit(1)

    stage = Stage(work)
    wait_for(lambda: stage.lines.count("help") >= 4, "the first pause")
    # Far more than a pipe holds, while nobody works.
    os.write(stage.into, b'{ "exabgp": "5.0.0" }\n' * 20_000)
    os.close(stage.into)
    assert play(stage) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_worker_and_its_end_is_the_keepers(number, tmp_path):
    up = tmp_path / "up"

    def work(stdin: int, stdout: int) -> None:
        def end(*_: object) -> None:
            os.write(stdout, b"ended\n")
            os._exit(7)

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        up.touch()
        time.sleep(60)

    stage = Stage(work)
    wait_for(up.exists, "the worker")
    os.kill(stage.keeper, number)
    assert play(stage) == 7
    assert stage.lines == ["ended"]
    os.close(stage.into)


def test_signals_that_mean_something_to_the_main_loop_kill_no_worker_that_has_none_yet(tmp_path):
    up, on = tmp_path / "up", tmp_path / "on"

    def work(stdin: int, stdout: int) -> None:
        up.touch()
        wait_for(on.exists, "go on")

    stage = Stage(work)
    wait_for(up.exists, "the worker")
    for number in (signal.SIGHUP, signal.SIGUSR1):
        os.kill(stage.keeper, number)
    time.sleep(0.2)
    on.touch()
    assert play(stage) == 0
    assert stage.lines == []
    os.close(stage.into)


def test_a_worker_that_does_not_end_is_ended(tmp_path):
    up = tmp_path / "up"

    def work(stdin: int, stdout: int) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        up.touch()
        time.sleep(60)

    stage = Stage(work)
    wait_for(up.exists, "the worker")
    os.kill(stage.keeper, signal.SIGTERM)
    assert play(stage) == 128 + signal.SIGKILL
    os.close(stage.into)


def test_a_worker_does_not_outlive_its_keeper(tmp_path):
    pid = tmp_path / "pid"

    def work(stdin: int, stdout: int) -> None:
        pid.with_suffix(".new").write_text(str(os.getpid()))
        pid.with_suffix(".new").rename(pid)
        time.sleep(60)

    stage = Stage(work)
    wait_for(pid.exists, "the worker")
    os.kill(stage.keeper, signal.SIGKILL)
    # Its pipe ends with it: that is what ExaBGP notices.
    assert play(stage) == -signal.SIGKILL
    os.close(stage.into)


@pytest.mark.parametrize("how", [signal.SIGSTOP, None], ids=["stopped", "stuck"])
def test_a_worker_that_reads_no_more_is_replaced_before_exabgp_freezes_for_long(how, tmp_path):
    up = tmp_path / "up"

    def work(stdin: int, stdout: int) -> None:
        if here().crashes:
            return
        up.touch()
        if how is not None:
            os.kill(os.getpid(), how)
        while True:
            pass

    stage = Stage(work)
    wait_for(up.exists, "the worker")
    # As ExaBGP writes: until the pipe is full it does not notice, then it waits.
    os.write(stage.into, b'{ "exabgp": "5.0.0" }\n' * 20_000)
    assert play(stage) == 0
    assert stage.lines == [*TAKEOVER, "help"]
    os.close(stage.into)


def test_a_worker_that_has_nothing_to_read_is_left_alone(tmp_path):
    up = tmp_path / "up"

    def work(stdin: int, stdout: int) -> None:
        up.touch()
        time.sleep(4.5)

    stage = Stage(work)
    wait_for(up.exists, "the worker")
    os.write(stage.into, b"done\n" * 10)
    assert play(stage) == 0
    assert stage.lines == []
    os.close(stage.into)


def test_an_exabgp_that_says_nothing_of_help_is_believed_after_a_silence(tmp_path):
    stage = Stage(dies_once(tmp_path))
    stage.answer = lambda _: b"error\n"
    assert play(stage) == 0
    assert stage.lines == [*TAKEOVER, "help", "on"]
    os.close(stage.into)


def test_an_exabgp_that_answers_nothing_is_not_asked(tmp_path):
    stage = Stage(dies_once(tmp_path), answers=False)
    stage.answer = lambda _: b""
    assert play(stage) == 0
    assert stage.lines == [*TAKEOVER, "on"]
    os.close(stage.into)


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({}, True),
        ({"exabgp_api_ack": "false"}, False),
        ({"exabgp.api.ack": "OFF"}, False),
        ({"exabgp_api_ack": "true", "exabgp.api.ack": "false"}, True),
        ({"exabgp_api_ack": "1"}, True),
    ],
)
def test_whether_exabgp_answers(environ, on):
    assert answers_are_on(environ) is on


def test_pauses_grow_and_end_somewhere():
    reads, writes = os.pipe()
    keeper = Keeper(reads, writes, answers=True)
    assert [keeper._pause(recent) for recent in range(10)] == [0, 0, 0, 0, 1, 2, 4, 8, 10, 10]
    for descriptor in (reads, writes, keeper._wake, keeper._waker):
        os.close(descriptor)


def test_a_machine_that_slept_is_no_stuck_worker():
    reads, writes = os.pipe()
    keeper = Keeper(reads, writes, answers=True)
    keeper._board.put(1.0, entry("dns", DNS))
    keeper._board.renew()
    now = time.monotonic()
    assert not keeper._lease_is_over(now)
    keeper._overslept(30.0)
    assert not keeper._lease_is_over(now + 30.5), "we slept as well, and saw nothing"
    assert keeper._lease_is_over(now + 31.5)
    for descriptor in (reads, writes, keeper._wake, keeper._waker):
        os.close(descriptor)
