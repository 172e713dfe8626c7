"""What one observation costs the core: with an index, beside a plain rescan of every service."""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

from exabgp_bfd.core.engine import Engine
from exabgp_bfd.core.model import (
    Announce,
    Device,
    Observation,
    Plan,
    Poll,
    Restored,
    Route,
    Selector,
    Service,
    Session,
    Start,
    State,
    Withdraw,
)
from tests.bench.report import Column, Result, percentile

ABOUT = "one observation decided, in microseconds of the core alone"
BAR = "well under 100 us for one observation with 10,000 sessions and 10,000 services"
SESSIONS_A_DEVICE = 10


def arguments(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "--decided-sessions", type=int, default=10_000, help="sessions, and as many services (%(default)s)"
    )


def measure(options: argparse.Namespace) -> Result:
    count = options.decided_sessions
    sessions = [_session(number) for number in range(count)]
    situations: dict[str, dict[str, Any]] = {}
    engine, now = _house(sessions, count)
    samples = max(10, options.samples)
    chosen = [sessions[number * 7919 % count] for number in range(samples)]

    def one(state: State, expected: type | None) -> Callable[[Session], None]:
        def decide(session: Session) -> None:
            nonlocal now
            now += 0.001
            effects = engine.handle(Poll(session.device, (Observation(session, state),)), now)
            assert (expected is None) or isinstance(effects[0], expected), effects

        return decide

    situations["nothing new"] = _timed(one(State.UP, None), chosen)
    unique = list(dict.fromkeys(chosen))
    situations["down, withdrawn"] = _timed(one(State.DOWN, Withdraw), unique)
    situations["up, announced"] = _timed(one(State.UP, Announce), unique)
    devices = [sessions[start : start + SESSIONS_A_DEVICE] for start in range(0, count, SESSIONS_A_DEVICE)]

    def whole(device: list[Session]) -> None:
        nonlocal now
        now += 0.001
        engine.handle(Poll(device[0].device, tuple(Observation(each, State.UP) for each in device)), now)

    rounds = _timed(whole, (devices * samples)[:samples])
    situations["nothing new, of ten in a poll"] = {
        **rounds,
        **{key: round(rounds[key] / SESSIONS_A_DEVICE, 2) for key in ("p50_us", "p99_us", "mean_us")},
    }
    rescan = _Rescan(sessions)
    situations["plain rescan"] = _timed(lambda session: rescan.take(session, State.DOWN), chosen[: min(200, samples)])
    ratio = situations["plain rescan"]["p50_us"] / situations["down, withdrawn"]["p50_us"]
    return Result(
        "deciding",
        ABOUT,
        BAR,
        {"sessions": count, "services": count, "samples": samples},
        (
            Column("samples", "samples", "d"),
            Column("p50_us", "p50 us", ".1f"),
            Column("p99_us", "p99 us", ".1f"),
            Column("mean_us", "mean us", ".1f"),
        ),
        situations,
        (f"a rescan costs {ratio:.0f} times as much as a decision by index, commands and events included",),
    )


def _session(number: int) -> Session:
    peer = ip_address("10.0.0.0") + number
    return Session(f"edge{number // SESSIONS_A_DEVICE}", str(peer), peer=peer)


def _house(sessions: list[Session], count: int) -> tuple[Engine, float]:
    devices = tuple(Device(name) for name in dict.fromkeys(session.device for session in sessions))
    services = tuple(
        Service(
            f"service{number}",
            (Route(ip_network(f"172.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}/32")),),
            (Selector(session.device, session.name),),
            rise=1,
            hold_up=0.0,
            confirm=False,
        )
        for number, session in enumerate(sessions[:count])
    )
    engine = Engine(Plan(devices, services), Restored(), 0.0)
    engine.handle(Start(), 0.0)
    now = 0.0
    for session in sessions:
        now += 0.0001
        engine.handle(Poll(session.device, (Observation(session, State.UP),)), now)
    return engine, now


def _timed(what: Callable[[Any], None], of: list[Any]) -> dict[str, Any]:
    gc.collect()
    gc.disable()  # as in the program, whose long-lived objects are frozen
    taken = []
    try:
        for each in of:
            begun = time.perf_counter_ns()
            what(each)
            taken.append(time.perf_counter_ns() - begun)
    finally:
        gc.enable()
    return {
        "samples": len(taken),
        "p50_us": round(percentile(taken, 50) / 1e3, 2),
        "p99_us": round(percentile(taken, 99) / 1e3, 2),
        "mean_us": round(sum(taken) / len(taken) / 1e3, 2),
    }


class _Rescan:
    """As a small script has it: whatever is heard, every service is looked at again."""

    def __init__(self, sessions: list[Session]) -> None:
        self.states = {session.id: State.UP for session in sessions}
        self.services = [(f"service{number}", (session.id,)) for number, session in enumerate(sessions)]
        self.announced = {name: True for name, _ in self.services}

    def take(self, session: Session, state: State) -> None:
        self.states[session.id] = state
        for name, followed in self.services:
            deserves = any(self.states[each] is State.UP for each in followed)
            if deserves is not self.announced[name]:
                self.announced[name] = deserves
