"""Rehearsal on real journals: the same plan does again what was done, another plan does what it would have done."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from exabgp_bfd.core.engine import Engine
from exabgp_bfd.core.model import (
    Action,
    Announce,
    Answer,
    Clear,
    Device,
    Disabled,
    Event,
    Lift,
    Observation,
    Order,
    Outcome,
    Override,
    Plan,
    Poll,
    Record,
    Reload,
    Remember,
    RememberOrder,
    Route,
    Selector,
    Service,
    Session,
    Silence,
    Stall,
    Start,
    State,
    Stop,
    Tick,
    Withdraw,
)
from exabgp_bfd.replay import Mark, Pair, Report, RouteChange, Total, _match, document, lines, replay
from exabgp_bfd.storage.inputs import InputLog
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.reader import Reader

SECONDS = 20.0
KEPT = Event | Remember | RememberOrder
T0 = 1_763_640_000_000_000
DNS = ip_network("192.0.2.53/32")
NTP = ip_network("192.0.2.123/32")
ONE, TWO = Session("edge1", "a"), Session("edge2", "a")


def service(name: str = "dns", prefix=DNS, devices=("edge1", "edge2"), **more) -> Service:
    rules = {"rise": 1, "hold_up": 2.0, "confirm": False} | more
    return Service(name, (Route(prefix),), tuple(Selector(device, "a") for device in devices), **rules)


def plan(*services: Service, **more) -> Plan:
    return Plan((Device("edge1", 10.0), Device("edge2", 10.0)), services, **more)


ANY = plan(service())


class Live:
    """A process in small: an engine, its journal and its input log, on a clock of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wall = T0
        self.now = 1000.0
        self.journal: Journal | None = None
        self.answer = Outcome.DONE
        self.reader = Reader(path)

    def start(self, what: Plan, *, rib_kept: bool = True, expired: bool = False, boot: bool = False) -> None:
        self.journal = Journal(self.path, "fra1", batch_seconds=0.001)
        restored = replace(self.journal.open(), rib_kept=rib_kept, expired=expired, wall=self.wall / 1_000_000)
        self.journal.start()
        self.log = InputLog(self.journal)
        if boot:
            self.now = 7.0
        self.engine = Engine(what, restored, self.now)
        start = Start({"version": "1"})
        self.log.began(start, restored, self.now, self.wall)
        self.carry(start)

    def give(self, event) -> None:
        self.log.note(event, self.now, self.wall)
        self.carry(event)

    def carry(self, event) -> None:
        effects = self.engine.handle(event, self.now)
        if any(isinstance(each, Announce | Withdraw) for each in effects):
            self.log.flush()  # An unchanged poll decided: the end of hold-up.
        kept = [each.event if isinstance(each, Record) else each for each in effects]
        self.journal.together([each for each in kept if isinstance(each, KEPT)], self.wall)
        for effect in effects:
            if isinstance(effect, Announce | Withdraw):
                self.carry(Answer(effect.command, self.answer))

    def wait(self, seconds: float) -> None:
        until = round(self.now + seconds, 6)
        while self.journal and (due := self.engine.next_deadline()) is not None and due < until:
            self._go(max(due, self.now))
            self.carry(Tick())
        self._go(until)

    def _go(self, now: float) -> None:
        self.wall += round((now - self.now) * 1_000_000)
        self.now = now

    def poll(self, one: State = State.UP, two: State = State.UP, *, times: int = 1) -> None:
        """Both devices answer, once a second."""
        for _ in range(times):
            for session, state in ((ONE, one), (TWO, two)):
                self.give(Poll(session.device, (Observation(session, state),), complete=True))
                self.wait(0.25)
            self.wait(0.5)

    def end(self, *, cleanly: bool = True) -> None:
        if cleanly:
            self.give(Stop("SIGTERM"))
            self.log.flush()
        assert self.journal.stop(SECONDS)
        self.journal = None

    def close(self) -> None:
        self.reader.close()
        if self.journal is not None:
            self.journal.stop(0.5)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    made = Live(tmp_path / "journal.db")
    yield made
    made.close()


def told(report: Report) -> list[tuple[str | None, str | None, str]]:
    """Each pair as direction made, direction that would have been, service."""
    return [
        (
            pair.made.direction if pair.made else None,
            pair.would.direction if pair.would else None,
            (pair.made or pair.would).service,
        )
        for pair in report.pairs
    ]


def test_the_same_plan_does_the_same_again(live: Live) -> None:
    live.start(ANY)
    live.poll(times=5)
    live.poll(State.DOWN, times=3)
    live.poll(State.DOWN, State.DOWN, times=3)
    live.poll(times=6)
    live.end()
    report = replay(ANY, live.reader, None, None)
    assert told(report) == [("+", "+", "dns"), ("-", "-", "dns"), ("+", "+", "dns")]
    assert all(pair.same and pair.made.wall == pair.would.wall for pair in report.pairs)
    assert all(pair.made.rule == pair.would.rule != "" for pair in report.pairs)
    (total,) = report.totals
    assert (total.service, total.made, total.would) == ("dns", 3, 3)
    assert total.made_seconds == total.would_seconds > 0
    assert report.marks == ()
    assert report.inputs == 2 * 17 + 2
    assert (report.since, report.until) == (T0, T0 + 17_000_000)


def test_another_plan_is_told_beside_what_was_done(live: Live) -> None:
    live.start(ANY)
    live.poll(times=5)
    live.poll(State.DOWN, times=4)
    live.poll(times=5)
    live.end()
    strict = plan(service(require="all"), service("ntp", NTP, ("edge2",)))
    report = replay(strict, live.reader, None, None)
    assert told(report) == [
        ("+", "+", "dns"),
        (None, "+", "ntp"),
        (None, "-", "dns"),
        (None, "+", "dns"),
    ]
    dns, ntp = report.totals
    assert (dns.made, dns.would, ntp.made, ntp.would) == (1, 3, 0, 1)
    down = report.pairs[2].would
    up = report.pairs[3].would
    assert down.target == str(DNS)
    assert down.wall == T0 + 5_000_000
    assert dns.made_seconds - dns.would_seconds == pytest.approx((up.wall - down.wall) / 1_000_000, abs=0.6)
    assert (ntp.made_seconds, ntp.would_seconds > 10) == (0.0, True)


def test_what_the_engine_does_by_its_own_clock_comes_at_its_time(live: Live) -> None:
    unheard = plan(service(on_unknown="down"))
    live.start(unheard)
    live.poll(times=5)
    for _ in range(12):
        live.give(Silence("edge1", "no answer"))
        live.wait(2.0)
        live.give(Poll("edge2", (Observation(TWO, State.DOWN),), complete=True))
    live.end()
    report = replay(unheard, live.reader, None, None)
    assert [pair.same for pair in report.pairs] == [True, True]
    assert [pair.made.wall for pair in report.pairs] == [pair.would.wall for pair in report.pairs]
    withdrawn = report.pairs[-1].would.wall - T0
    assert withdrawn % 2_000_000 != 1_000_000  # between two inputs, not with one
    longer = replace(unheard, devices=(Device("edge1", 15.0), Device("edge2", 15.0)))
    report = replay(longer, live.reader, None, None)
    assert told(report)[1:] == [("-", None, "dns"), (None, "-", "dns")]
    assert report.pairs[2].wall - report.pairs[1].wall == 5_000_000


def test_a_restart_is_gone_through_with_what_the_rehearsal_itself_announced(live: Live) -> None:
    live.start(ANY)
    live.poll(times=5)
    live.poll(State.DOWN, times=2)
    live.end()
    live.wait(30.0)
    live.start(ANY, boot=True)
    live.poll(State.DOWN, times=2)
    live.end(cleanly=False)
    live.wait(5.0)
    live.start(ANY, rib_kept=False)
    live.poll(times=5)
    live.end()
    report = replay(ANY, live.reader, None, None)
    assert all(pair.same for pair in report.pairs)
    assert [pair.made.wall for pair in report.pairs] == [pair.would.wall for pair in report.pairs]
    strict = replay(plan(service(require="all")), live.reader, None, None)
    # Under that plan nothing is announced when the processes stop, so nothing is adopted.
    assert (None, "-", "dns") in told(strict)
    again = [pair for pair in strict.pairs if pair.would and pair.would.direction == "+"]
    assert len(again) == 2
    (total,) = strict.totals
    assert total.would_seconds < total.made_seconds


def test_an_expired_start_takes_up_nothing_on_either_side(live: Live) -> None:
    live.start(ANY)
    live.poll(times=5)
    live.end()
    live.wait(100.0)
    live.start(ANY, expired=True, rib_kept=False)
    live.poll(State.DOWN, State.DOWN, times=10)
    live.end()
    report = replay(ANY, live.reader, None, None)
    assert [pair.made.direction for pair in report.pairs if pair.made] == ["+"]
    (total,) = report.totals
    assert total.made_seconds == total.would_seconds
    assert total.made_seconds < 105.0


def test_only_what_is_later_than_since_is_told_but_what_was_before_is_known(live: Live) -> None:
    live.start(ANY)
    live.poll(times=5)
    live.poll(State.DOWN, State.DOWN, times=5)
    middle = live.wall
    live.poll(times=5)
    late = live.wall
    live.poll(State.DOWN, State.DOWN, times=5)
    live.end()
    report = replay(ANY, live.reader, middle, None)
    assert told(report) == [("+", "+", "dns"), ("-", "-", "dns")]
    assert report.since == middle
    report = replay(ANY, live.reader, middle, late)
    assert told(report) == [("+", "+", "dns")]
    assert report.until <= late
    (total,) = report.totals
    assert total.made_seconds == pytest.approx(total.would_seconds)
    assert replay(ANY, live.reader, None, T0 - 1) == Report(None, T0 - 1, 0, (), (), ())
    # A start later than the first is where it begins.
    live.start(ANY)
    again = live.wall
    live.poll(State.DOWN, State.DOWN, times=2)
    live.end()
    assert replay(ANY, live.reader, again, None).inputs == 1 + 4 + 1


def test_a_log_that_begins_in_the_middle_takes_up_what_the_journal_says_was_announced(live: Live) -> None:
    both = plan(service(), service("ntp", NTP, ("edge2",)))
    live.start(both)
    live.poll(times=5)
    live.poll(State.UP, State.DOWN, times=2)
    live.journal.flushed().result(SECONDS)
    live.log = InputLog(live.journal)  # what was noted until now is not in the log of this test
    cut = live.wall
    live.poll(State.UP, State.DOWN, times=5)
    live.poll(State.DOWN, State.DOWN, times=5)
    live.poll(times=5)
    live.end()
    _forget_before(live.path, cut)
    report = replay(both, live.reader, None, None)
    assert report.marks[0] == Mark(cut, "the log begins in the middle of a run: what was announced then is adopted")
    assert told(report)[0] == ("-", "-", "dns")
    assert all(pair.same for pair in report.pairs)
    dns, ntp = report.totals
    assert dns.made_seconds == pytest.approx(dns.would_seconds, abs=2.0)
    assert ntp.made_seconds == pytest.approx(ntp.would_seconds, abs=2.0)
    assert dns.made_seconds > 5.0


def _forget_before(path: Path, wall: int) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DELETE FROM input WHERE ts < ?", (wall,))


def test_orders_are_given_again_and_outlive_restarts(live: Live) -> None:
    house = plan(service(disable_file="/run/dns.off"))
    live.start(house)
    live.poll(times=5)
    wall = live.wall / 1_000_000
    live.give(Order(Override("dns", Action.WITHDRAW, "noc", "work", wall, wall + 60.0)))
    live.poll(times=5)
    live.end()
    live.start(house)
    live.poll(times=70)
    live.give(Order(Override("dns", Action.WITHDRAW, "noc", "again", live.wall / 1_000_000)))
    live.poll(times=3)
    live.give(Clear("dns", "noc", "done"))
    live.give(Order(Lift("noc", "x", live.wall / 1_000_000)))
    live.give(Clear(None, "noc"))
    live.give(Disabled("dns", present=True))
    live.poll(times=5)
    live.end()
    report = replay(house, live.reader, None, None)
    assert [pair.made.direction for pair in report.pairs] == ["+", "-", "-", "+", "-", "+", "-"]
    assert all(pair.same and pair.made.wall == pair.would.wall for pair in report.pairs)
    other = replay(plan(service("ntp", NTP)), live.reader, None, None)
    assert [mark.text[:8] for mark in other.marks] == ["left out"] * 4
    assert [pair.would.direction for pair in other.pairs if pair.would] == ["+", "+"]


def test_a_reload_is_told_and_not_done(live: Live) -> None:
    live.start(ANY)
    live.poll(times=5)
    live.give(Reload(plan(service(require="all")), "SIGHUP", {}))
    wall = live.wall
    live.poll(State.DOWN, times=3)
    live.end()
    report = replay(ANY, live.reader, None, None)
    assert told(report) == [("+", "+", "dns"), ("-", None, "dns")]
    assert report.marks == (Mark(wall, "the configuration was reloaded then (by SIGHUP); here one plan holds"),)


def test_a_stall_of_our_own_loop_makes_nobody_unknown(live: Live) -> None:
    unheard = plan(service(on_unknown="down"))
    live.start(unheard)
    live.poll(times=5)
    live._go(live.now + 60.0)  # nothing ran, no timer either
    live.give(Stall(60.0))
    live.poll(times=5)
    live.end()
    report = replay(unheard, live.reader, None, None)
    assert told(report) == [("+", "+", "dns")]


def test_what_is_said_again_is_no_change(live: Live) -> None:
    live.start(ANY)
    live.poll(times=4)
    live.answer = Outcome.TIMEOUT
    live.poll(State.DOWN, State.DOWN)
    live.wait(3.0)
    live.answer = Outcome.DONE
    live.wait(10.0)
    live.end()
    assert len(list(live.reader.route_events(None, None))) > 3
    report = replay(ANY, live.reader, None, None)
    assert told(report) == [("+", "+", "dns"), ("-", "-", "dns")]


def change(seconds: float, direction: str = "+", **more) -> RouteChange:
    made = {"attributes": {}, "rule": "r", "service": "dns"} | more
    return RouteChange(T0 + round(seconds * 1_000_000), direction, str(DNS), **made)


@pytest.mark.parametrize(
    ("made", "would", "wanted"),
    [
        ([], [], []),
        ([1], [], [(1, None)]),
        ([], [1], [(None, 1)]),
        ([1], [3], [(1, 3)]),
        ([3], [1], [(3, 1)]),
        ([1], [3.000001], [(1, None), (None, 3.000001)]),
        ([1, 4], [3], [(1, 3), (4, None)]),
        ([4, 1], [6, 2], [(1, 2), (4, 6)]),
        ([1, 10, 20], [10.5], [(1, None), (10, 10.5), (20, None)]),
    ],
)
def test_changes_are_matched_within_the_tolerance(made, would, wanted) -> None:
    found = _match([change(at) for at in made], [change(at) for at in would], 2_000_000)
    seconds = [
        tuple(None if side is None else (side.wall - T0) / 1_000_000 for side in (pair.made, pair.would))
        for pair in found
    ]
    assert seconds == wanted


def test_a_pair_is_the_same_only_with_the_same_attributes() -> None:
    told_more = {"next_hop": "self", "med": 5}
    assert Pair(change(1, attributes={"next_hop": "self"}), change(1, attributes=told_more)).same
    assert not Pair(change(1, attributes={"med": 4}), change(1, attributes=told_more)).same
    assert not Pair(None, change(1)).same


REPORT = Report(
    T0,
    T0 + 60_000_000,
    120,
    (
        Pair(change(1, attributes={"next_hop": "self"}), change(1.5, attributes={"next_hop": "self", "med": 200})),
        Pair(change(2, "-", rule="0 of 2"), None),
        Pair(None, change(3, "-", rule="1 of 2, all needed")),
        Pair(change(4, attributes={"med": 1}), change(4, attributes={"med": 2, "communities": ["a:b", "c"]}, rule="s")),
    ),
    (Total("dns", 3, 3, 10.5, 7.25),),
    (Mark(T0, "something"),),
)


def test_a_report_is_a_readable_table() -> None:
    assert list(lines(REPORT)) == [
        "120 inputs, from 2025-11-20T12:00:00.000000Z to 2025-11-20T12:01:00.000000Z",
        "note: 2025-11-20T12:00:00.000000Z something",
        "",
        "time                         made  would      target         service  with                             rule",
        "2025-11-20T12:00:01.000000Z  +     + +0.500s  192.0.2.53/32  dns      next-hop self med 200            r",
        "2025-11-20T12:00:02.000000Z  -                192.0.2.53/32  dns                                       0 of 2",
        "2025-11-20T12:00:03.000000Z        -          192.0.2.53/32  dns"
        "                                       1 of 2, all needed",
        "2025-11-20T12:00:04.000000Z  +     + +0.000s  192.0.2.53/32  dns      med 1 | med 2 communities a:b c  r | s",
        "",
        "service  changes made  would be  seconds announced  would be",
        "dns      3             3         10.500             7.250",
    ]
    assert list(lines(Report(None, T0, 0, (), (), ()))) == ["no input is kept of that time"]
    assert "no route change was made, and none would have been" in list(lines(replace(REPORT, pairs=())))


def test_a_report_is_json_too() -> None:
    found = json.loads(json.dumps(document(REPORT)))
    assert found["since"] == "2025-11-20T12:00:00.000000Z"
    assert found["inputs"] == 120
    assert found["notes"] == [{"ts": "2025-11-20T12:00:00.000000Z", "text": "something"}]
    assert found["changes"][1] == {
        "made": {
            "ts": "2025-11-20T12:00:02.000000Z",
            "direction": "-",
            "target": "192.0.2.53/32",
            "service": "dns",
            "attributes": {},
            "rule": "0 of 2",
        },
        "would": None,
        "same": False,
    }
    assert [each["same"] for each in found["changes"]] == [True, False, False, False]
    assert found["services"] == [{"service": "dns", "made": 3, "would": 3, "made_seconds": 10.5, "would_seconds": 7.25}]


@pytest.mark.parametrize("seed", range(5))
def test_a_random_life_is_lived_again_to_the_microsecond(live: Live, seed: int) -> None:
    random = Random(seed)
    house = plan(
        service(steps=()), service("ntp", NTP, ("edge2",), require=1, on_unknown="down", fall=2, confirm=True, rise=3)
    )
    states = [State.UP] * 6 + [State.DOWN, State.DOWN, State.ADMIN_DOWN, State.MISSING]
    live.start(house)
    for _ in range(200):
        live.poll(random.choice(states), random.choice(states), times=random.choice([1, 2, 8]))
        if random.random() < 0.05:
            live.wait(random.choice([5.0, 20.0]))
        if random.random() < 0.05:
            live.end(cleanly=random.random() < 0.5)
            live.wait(random.choice([0.5, 50.0]))
            live.start(house, rib_kept=random.random() < 0.5, boot=random.random() < 0.3)
    live.end()
    report = replay(house, live.reader, None, None)
    assert len(report.pairs) > 10
    assert [pair for pair in report.pairs if not pair.same or pair.made.wall != pair.would.wall] == []
    assert all(pair.made.rule == pair.would.rule for pair in report.pairs)
    assert all(one.wall <= two.wall for one, two in pairwise(report.pairs))
    assert all(total.made_seconds == pytest.approx(total.would_seconds, abs=0.001) for total in report.totals)
