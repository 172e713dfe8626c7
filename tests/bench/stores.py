"""Each question that may be asked of the stores, at the size of months; and the journal's file while retention runs.

A question is asked again and again, each time about something else: what it took, and how the store found the rows
(EXPLAIN QUERY PLAN, `explain`). Then the journal's writer goes on with these millions behind it, first as it is and
then with a third of them to be removed: how long an event waits to be on the disk, and a reader for its answer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import astuple, dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pymongo
from pymongo.monitoring import CommandListener

from exabgp_bfd.core.model import Event, StoreError
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.mongo_reader import MongoReader
from exabgp_bfd.storage.queries import Cursor, EventsQuery, EventStore, MessageQuery
from exabgp_bfd.storage.reader import Reader
from exabgp_bfd.storage.route_queries import HistoryQuery, RateQuery, RoutePlace, RouteQuery
from exabgp_bfd.storage.tail import EVENT, MESSAGE
from exabgp_bfd.storage.updates import Match, key_of
from tests.bench import filled
from tests.bench.filled import BUSY, DEVICES, QUIET, RARE, SERVICES, SESSIONS, SITE, Sizes
from tests.bench.reaction import work_folder
from tests.bench.report import Column, Figures, Result, percentile
from tests.lab.copying import Copying
from tests.lab.mongod import Mongod

ABOUT = "each question to both stores at ten million events and a million messages; retention beside writing"
BAR = "p95 < 20 ms for the newest 50 by device, session or type, either store; nothing above 100 ms"
_MOST = 100.0
"""Milliseconds of a question at the most."""
_PATIENCE = 120.0
_LONG = 5.0
"""Seconds for one question in all, after which it is not asked again."""
_STATEMENTS = 20
_HOUR = 3_600_000_000

COLUMNS = (
    Column("asked", "asked"),
    Column("rows", "rows"),
    Column("p50_ms", "p50 ms", ".2f"),
    Column("p95_ms", "p95 ms", ".2f"),
    Column("p99_ms", "p99 ms", ".2f"),
    Column("max_ms", "max ms", ".2f"),
    Column("how", "how it is found"),
)


def arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--events", type=int, default=10_000_000, help="in the journal (%(default)s)")
    group.add_argument("--messages", type=int, default=1_000_000, help="in the journal (%(default)s)")
    group.add_argument("--copied", type=float, default=1.0, help="share of them in MongoDB too (%(default)s)")
    group.add_argument("--asks", type=int, default=200, help="times that each question is asked (%(default)s)")
    group.add_argument("--growing", type=float, default=60.0, help="seconds of writing with retention (%(default)s)")
    group.add_argument("--no-mongodb", action="store_true", help="the journal alone")
    group.add_argument("--at", type=Path, metavar="FOLDER", help="keep both stores there, and take them from there")


def measure(options: argparse.Namespace) -> Result:
    sizes = Sizes(options.events, options.messages)
    asks, growing, share = options.asks, options.growing, options.copied
    if options.quick:
        sizes, asks, growing, share = Sizes(10_000, 3_000), 3, 0.5, 1.0
    situations: dict[str, Figures] = {}
    told: list[str] = []
    with contextlib.ExitStack() as stack:
        folder = work_folder(options.at, stack)
        path = folder / "journal.db"
        told += _filled(path, sizes)
        situations |= _journal(path, sizes, asks)
        if not options.no_mongodb:
            copied = Sizes(int(sizes.events * share), int(sizes.messages * share), sizes.days)
            found, said = _mongodb(folder, path, sizes, copied, asks)
            situations |= found
            told += said
        if growing:
            situations |= _writing(path, sizes, growing)
            told += _plateau(folder / "growing.db", growing)
    told += _missed(situations)
    settings = {"events": sizes.events, "messages": sizes.messages, "asks": asks, "copied": share, "growing": growing}
    return Result("stores", ABOUT, BAR, settings, COLUMNS, situations, told)


def _filled(path: Path, sizes: Sizes) -> Iterator[str]:
    """Fills the journal unless it is; what it took and takes."""
    notes = path.with_name("filled.json")
    if not notes.exists():
        messages, events = filled.fill_messages(path, sizes), filled.fill_events(path, sizes)
        notes.write_text(json.dumps({"messages": astuple(messages), "events": astuple(events)}))
    for name, (seconds, count, octets) in json.loads(notes.read_text()).items():
        yield f"journal: {count} {name} in {seconds:.0f} s, {octets / 1e6:.0f} MB, {octets / count:.0f} octets each"


# --- the questions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """Asked of a store, with chance to choose what it is about; how many rows the answer has."""

    name: str
    ask: Callable[[Any, random.Random], int]


def questions(sizes: Sizes) -> Iterator[Question]:
    """All that DESIGN section 4 lets one ask of events and messages: both stores answer them."""

    def events(name: str, **more: Callable[[random.Random], Any] | object) -> Question:
        def ask(store: EventStore, chance: random.Random) -> int:
            return len(store.events(EventsQuery(**_chosen(more, chance))))

        return Question(f"events {name}", ask)

    def messages(name: str, **more: Callable[[random.Random], Any] | object) -> Question:
        def ask(store: EventStore, chance: random.Random) -> int:
            return len(store.messages(MessageQuery(**_chosen(more, chance))))

        return Question(f"messages {name}", ask)

    def counts(name: str, query: Callable[[random.Random], EventsQuery | MessageQuery]) -> Question:
        return Question(f"counts {name}", lambda store, chance: len(store.counts(query(chance))))

    device = lambda chance: f"edge{chance.randrange(DEVICES)}"  # noqa: E731
    session = lambda chance: _session(chance.randrange(SESSIONS))  # noqa: E731
    service = lambda chance: f"service{chance.randrange(SERVICES)}"  # noqa: E731
    moment = lambda chance: sizes.time_of(chance.randrange(sizes.events), sizes.events)  # noqa: E731
    peer = lambda chance: filled.peer(chance.randrange(filled.NEIGHBORS))  # noqa: E731
    prefix = lambda chance: ip_network(filled.prefix(chance.randrange(min(filled.PREFIXES, sizes.messages))))  # noqa: E731

    def hour(query: type[EventsQuery | MessageQuery], **more: Any) -> Callable[[random.Random], Any]:
        def made(chance: random.Random) -> Any:
            since = moment(chance)
            return query(since=since, until=since + _HOUR, **_chosen(more, chance))

        return made

    def within(name: str, kind: str, **more: Any) -> Question:
        query = hour(EventsQuery if kind == "events" else MessageQuery, **more)
        return Question(f"{kind} {name}", lambda store, chance: len(getattr(store, kind)(query(chance))))

    def place(count: int) -> Callable[[random.Random], Cursor]:
        def made(chance: random.Random) -> Cursor:
            number = chance.randrange(1, count)
            return Cursor(sizes.time_of(number, count), number, SITE)

        return made

    deep = place(sizes.events)
    yield events("newest")
    yield events("newest 1000", limit=1000)
    yield events("by device", device=device)
    yield events("by device, busy", device=BUSY)
    yield events("by device, quiet", device=QUIET)
    yield events("by device, unknown", device="nobody")
    yield events("by session", session=session)
    yield events("by service", service=service)
    yield events("by type", event_type="bfd_failure")
    yield events("by type, polls", event_type="snmp_poll")
    yield events("by type, rare", event_type=RARE)
    yield events("by device and type", device=device, event_type="bfd_failure")
    yield events("by device and polls", device=device, event_type="snmp_poll")
    yield events("by device and rare type", device=BUSY, event_type="switch_failure")
    yield events("by device and type, none", device=BUSY, event_type="override_set")
    yield events("by session and type", session=session, event_type="bfd_failure")
    yield events("by session and polls", session=session, event_type="snmp_poll")
    yield events("by service and type", service=service, event_type="route_withdraw")
    yield events("by service and rare type", service=service, event_type="override_set")
    yield events("by service and type, none", service=service, event_type="bfd_failure")
    yield events("by service and device, none", service=service, device=BUSY)
    yield events("by session and other device", session=session, device=QUIET)
    yield events("by site", site=SITE)
    yield within("within an hour", "events")
    yield within("within an hour, device", "events", device=device)
    yield within("within an hour, type", "events", event_type="bfd_failure")
    yield within("within an hour, device and type", "events", device=BUSY, event_type="bfd_failure")
    yield events("until long ago", until=lambda _: sizes.time_of(sizes.events // 100, sizes.events))
    yield events(
        "until long ago, device", until=lambda _: sizes.time_of(sizes.events // 100, sizes.events), device=device
    )
    yield events("deep page", cursor=deep)
    yield events("deep page, device", cursor=deep, device=device)
    yield events("deep page, session", cursor=deep, session=session)
    yield events("deep page, type", cursor=deep, event_type="bfd_failure")
    yield events("deep page, rare type", cursor=deep, event_type=RARE)
    yield events("deep page, device and type", cursor=deep, device=BUSY, event_type="bfd_failure")
    yield Question("event by id", lambda store, chance: store.event(chance.randrange(1, sizes.events)) is not None)
    yield Question("chain of causes", lambda store, _: len(store.chain(sizes.events)))
    yield counts("of events", lambda _: EventsQuery())
    yield counts(
        "of events, a day", lambda chance: EventsQuery(since=(since := moment(chance)), until=since + filled.DAY)
    )
    yield counts("of events, a type", lambda _: EventsQuery(event_type="bfd_failure"))
    yield counts("of events, a device", lambda chance: EventsQuery(device=device(chance)))
    yield counts("of messages", lambda _: MessageQuery())

    deep = place(sizes.messages)
    yield messages("newest")
    yield messages("by type", type="update")
    yield messages("by type, rare", type="state")
    yield messages("by neighbor", neighbor=peer)
    yield messages("by neighbor and type", neighbor=peer, type="update")
    yield messages("by neighbor and rare type", neighbor=peer, type="state")
    yield messages("by direction", direction="receive")
    yield messages("by direction, none", direction="send")
    yield messages("by neighbor and direction, none", neighbor=peer, direction="send")
    yield within("within an hour", "messages")
    yield within("within an hour, neighbor", "messages", neighbor=peer)
    yield messages("of a prefix", prefix=prefix)
    yield messages("of a prefix and neighbor", prefix=prefix, neighbor=peer)
    yield messages(
        "of longer prefixes", prefix=lambda chance: prefix(chance).supernet(new_prefix=20), match=Match.LONGER
    )
    yield messages("of longer prefixes of a /8", prefix=ip_network("20.0.0.0/8"), match=Match.LONGER)
    yield messages("of covering prefixes", prefix=lambda chance: _host(prefix(chance)), match=Match.COVERING)
    yield messages("of a prefix that is not there", prefix=ip_network("203.0.113.0/24"))
    yield messages("deep page", cursor=deep)
    yield messages("deep page, neighbor", cursor=deep, neighbor=peer)
    yield messages("deep page, longer prefixes", cursor=deep, prefix=ip_network("20.0.0.0/8"), match=Match.LONGER)


def route_questions(sizes: Sizes) -> Iterator[Question]:
    """What may be asked of routes: the journal answers."""

    def routes(name: str, **more: object) -> Question:
        return Question(f"routes {name}", lambda store, chance: len(store.routes(RouteQuery(**_chosen(more, chance)))))

    def history(name: str, **more: object) -> Question:
        return Question(
            f"history {name}", lambda store, chance: len(store.history(HistoryQuery(**_chosen(more, chance))))
        )

    peer = lambda chance: filled.peer(chance.randrange(filled.NEIGHBORS))  # noqa: E731
    prefix = lambda chance: ip_network(filled.prefix(chance.randrange(min(filled.PREFIXES, sizes.messages))))  # noqa: E731
    family = "ipv4 unicast"
    yield routes("first page")
    yield routes("first 1000", limit=1000)
    yield routes("of a neighbor", neighbor=peer)
    yield routes("exact", prefix=prefix)
    yield routes("longer", prefix=lambda chance: prefix(chance).supernet(new_prefix=20), match=Match.LONGER)
    yield routes("covering", prefix=lambda chance: _host(prefix(chance)), match=Match.COVERING)
    yield routes("stale", stale=True)
    yield routes("not stale", stale=False)
    yield routes(
        "deep page", after=lambda chance: RoutePlace(peer(chance), "receive", family, key_of(prefix(chance)), "")
    )
    yield history("newest")
    yield history("exact", prefix=prefix)
    yield history("longer", prefix=lambda chance: prefix(chance).supernet(new_prefix=20), match=Match.LONGER)
    yield history("longer of a /8", prefix=ip_network("20.0.0.0/8"), match=Match.LONGER)
    yield history("longer of a /14", prefix=ip_network("20.0.0.0/14"), match=Match.LONGER)
    yield history("covering", prefix=lambda chance: _host(prefix(chance)), match=Match.COVERING)
    yield history("exact, of a neighbor", prefix=prefix, neighbor=peer)
    yield history("of a neighbor", neighbor=peer)
    yield history(
        "exact, of a day", prefix=prefix, since=lambda _: filled.BEGIN, until=lambda _: filled.BEGIN + filled.DAY
    )
    yield Question("rates newest", lambda store, _: len(store.rates(RateQuery())))
    yield Question("rates of a neighbor", lambda store, chance: len(store.rates(RateQuery(neighbor=peer(chance)))))
    yield Question("neighbors", lambda store, _: len(store.neighbors()))


def _chosen(more: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    return {name: value(chance) if callable(value) else value for name, value in more.items()}


def _session(place: int) -> str:
    return f"edge{place % DEVICES}/198.51.{place >> 8}.{place & 255}"


def _host(network: Any) -> Any:
    return ip_network(f"{network.network_address + 7}/32")


def _asked(store: object, question: Question, times: int, plan: Callable[[], str]) -> Figures:
    """Asks again and again, for a while; the first time, when nothing is in memory yet, is one of them."""
    chance = random.Random(question.name)
    took: list[int] = []
    rows = 0
    until = time.monotonic() + _LONG
    try:
        while len(took) < times and (not took or time.monotonic() < until):
            began = time.perf_counter_ns()
            rows = int(question.ask(store, chance))
            took.append(time.perf_counter_ns() - began)
    except StoreError as error:
        return {"asked": len(took), "rows": 0, "how": f"NO ANSWER: {error}", "max_ms": _PATIENCE * 1000}
    ms = {f"p{each}_ms": round(percentile(took, each) / 1e6, 3) for each in (50, 95, 99)}
    return {"asked": len(took), "rows": rows, **ms, "max_ms": round(max(took) / 1e6, 3), "how": plan()}


# --- the journal ------------------------------------------------------------------------------------------------


class _ToldReader(Reader):
    """A reader that remembers what it asked of SQLite."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, seconds=_PATIENCE, site=SITE)
        self.said: dict[str, Any] = {}

    def _answer(self, sql: str, values: Any, make: Callable[[tuple[Any, ...]], Any]) -> list[Any]:
        if len(self.said) < _STATEMENTS:
            self.said[sql] = values
        return super()._answer(sql, values, make)


def _journal(path: Path, sizes: Sizes, times: int) -> dict[str, Figures]:
    """All questions to the journal."""
    reader = _ToldReader(path)
    with closing(reader), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:

        def plan() -> str:
            said, reader.said = reader.said, {}
            return ", ".join(dict.fromkeys(way for sql in said for way in filled.ways(connection, sql, said[sql])))

        asked = (*questions(sizes), *route_questions(sizes))
        return {f"journal: {each.name}": _asked(reader, each, times, plan) for each in asked}


# --- MongoDB ----------------------------------------------------------------------------------------------------


class _Told(CommandListener):
    """Remembers the last question to events or messages."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}

    def started(self, event: Any) -> None:
        if event.command_name in {"find", "aggregate"} and event.command.get(event.command_name) in {
            "events",
            "messages",
        }:
            kept = ("find", "aggregate", "filter", "sort", "limit", "projection", "pipeline", "cursor")
            self.last = {key: event.command[key] for key in kept if key in event.command}

    def succeeded(self, event: object) -> None:
        pass

    def failed(self, event: object) -> None:
        pass


def _mongodb(folder: Path, path: Path, sizes: Sizes, copied: Sizes, times: int) -> tuple[dict[str, Figures], list[str]]:
    """All questions to MongoDB, which has the first of the journal's records, as many as are copied."""
    # The questions are about what is there: the same times for the same numbers.
    days = sizes.days * copied.events / sizes.events
    told: list[str] = []
    data = folder / "mongod"
    ready = data.with_suffix(".json")
    server = Mongod(folder, name="mongod").launch()
    try:
        # Without the deadlines of a test's own client: what takes long is to be seen.
        with pymongo.MongoClient(server.uri) as client:
            documents = client.exabgp_bfd
            took = {}
            if not ready.exists():
                took["messages"] = filled.fill_collection(documents.messages, path, MESSAGE, copied.messages)
                took["events"] = filled.fill_collection(documents.events, path, EVENT, copied.events)
            listener = _Told()
            pymongo.monitoring.register(listener)
            with contextlib.ExitStack() as stack:
                began = time.monotonic()
                # Its own journal is empty: what it makes are the indexes, and its client is asked.
                site = Copying(folder, f"{server.uri}?timeoutMS=1800000", site=SITE, name="empty")
                stack.callback(site.close)
                site.record(1)
                _until(lambda: site.shipper.documents is not None and site.is_shipped(), "the indexes are made", 3600)
                if not ready.exists():
                    ready.write_text(json.dumps({**took, "indexes": time.monotonic() - began}))
                seconds = json.loads(ready.read_text())
                for name in ("messages", "events"):
                    sized = documents.command("collStats", name)
                    told.append(
                        f"mongodb: {sized['count']} {name} in {seconds[name]:.0f} s,"
                        f" {sized['storageSize'] / 1e6:.0f} MB and {sized['totalIndexSize'] / 1e6:.0f} MB of indexes,"
                        f" {(sized['storageSize'] + sized['totalIndexSize']) / sized['count']:.0f} octets each"
                    )
                told.append(f"mongodb: all indexes in {seconds['indexes']:.0f} s")
                store = MongoReader(site.shipper, site.reader, SITE, seconds=_PATIENCE)

                def plan() -> str:
                    return _explained(documents, listener.last)

                asked = questions(Sizes(copied.events, copied.messages, days))
                found = {f"mongodb: {each.name}": _asked(store, each, times, plan) for each in asked}
            return found, told
    finally:
        server.stop()


def _until(what: Callable[[], bool], why: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, why
        time.sleep(0.2)


def _explained(documents: Any, command: dict[str, Any]) -> str:
    """The index and what was looked at for how many answers."""
    if not command:
        return ""
    told = documents.command({"explain": command, "verbosity": "executionStats"}, maxTimeMS=int(_PATIENCE * 1000))
    stages = told.get("stages")
    said = stages[0]["$cursor"] if stages and "$cursor" in stages[0] else told
    stats = said.get("executionStats", {})
    names = sorted(set(_indexes(said["queryPlanner"]["winningPlan"])))
    return (
        f"{', '.join(names) or 'COLLSCAN'}: {stats.get('totalKeysExamined')} keys,"
        f" {stats.get('totalDocsExamined')} documents"
    )


def _indexes(plan: Any) -> Iterator[str]:
    if isinstance(plan, dict):
        if "indexName" in plan:
            yield plan["indexName"]
        if plan.get("stage") in {"SORT", "COLLSCAN"}:
            yield plan["stage"]
        for each in plan.values():
            yield from _indexes(each)
    elif isinstance(plan, list):
        for each in plan:
            yield from _indexes(each)


# --- retention --------------------------------------------------------------------------------------------------


class _Asking:
    """A reader on a thread of its own, that asks without pause; how long it waited."""

    def __init__(self, path: Path) -> None:
        self.took: list[int] = []
        self._reader = Reader(path, seconds=_PATIENCE, site=SITE)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        chance = random.Random(1)
        while not self._ending.wait(0.005):
            began = time.perf_counter_ns()
            self._reader.events(EventsQuery(device=f"edge{chance.randrange(DEVICES)}"))
            self._reader.messages(MessageQuery(neighbor=filled.peer(chance.randrange(filled.NEIGHBORS))))
            self.took.append(time.perf_counter_ns() - began)

    def stop(self) -> list[int]:
        self._ending.set()
        self._thread.join(_PATIENCE)
        self._reader.close()
        return self.took


def _writing(path: Path, sizes: Sizes, seconds: float) -> dict[str, Figures]:
    """The writer beside these millions: without retention, and with a third of them to be removed."""
    now = time.time_ns() // 1000
    # By age, too: all messages of the first third.
    old = (now - sizes.time_of(sizes.messages // 3, sizes.messages)) / 1e6
    kept = {"max_events": sizes.events * 2 // 3, "keep_messages": old}
    found = {}
    for name, settings in (("as it is", {}), ("while a third is removed", kept)):
        writes, reads, removed = _written(path, settings, seconds)
        for what, took in (("an event to the disk", writes), ("two questions", reads)):
            ms = {f"p{each}_ms": round(percentile(took, each) / 1e6, 3) for each in (50, 95, 99)}
            how = f"{removed / seconds:.0f} rows removed a second"
            found[f"journal, {name}: {what}"] = {"asked": len(took), **ms, "max_ms": max(took) / 1e6, "how": how}
    return found


def _written(path: Path, settings: dict[str, Any], seconds: float) -> tuple[list[int], list[int], int]:
    """Nanoseconds of events to the disk and of questions, while messages come, and how many rows were removed."""
    journal = Journal(path, SITE, **settings)
    number = journal.open().last_event
    journal.start()
    asking = _Asking(path)
    writes: list[int] = []
    lines = 0
    until = time.monotonic() + seconds
    sizes = Sizes(1 << 40, 1 << 40)
    try:
        while time.monotonic() < until:
            number += 1
            now = time.time_ns() // 1000
            journal.messages([filled.line(lines + each + 2, sizes) for each in range(10)], now)
            lines += 10
            began = time.perf_counter_ns()
            journal.record(Event(number, "bfd_failure", f"edge{number % DEVICES}", details={"n": number}), now)
            journal.flushed(messages=False).result(_PATIENCE)
            writes.append(time.perf_counter_ns() - began)
            time.sleep(0.002)
        removed = sum(journal._pruned.values())
    finally:
        reads = asking.stop()
        journal.stop(_PATIENCE)
    return writes, reads, removed


def _plateau(path: Path, seconds: float) -> Iterator[str]:
    """The size of a file that keeps so much, and is written on and on."""
    kept = max(1.0, seconds / 5)
    journal = Journal(path, SITE, keep_messages=kept, max_events=2_000)
    number = journal.open().last_event
    journal.start()
    tenths: list[float] = []
    lines = 0
    began = time.monotonic()
    sizes = Sizes(1 << 40, 1 << 40)
    try:
        while (so_far := time.monotonic() - began) < seconds:
            number += 1
            now = time.time_ns() // 1000
            journal.record(Event(number, "bfd_failure", f"edge{number % DEVICES}", details={"n": number}), now)
            journal.messages([filled.line(lines + each + 2, sizes) for each in range(10)], now)
            lines += 10
            journal.flushed().result(_PATIENCE)
            # Retention by age looks around twice a minute; a bench has not all day.
            journal._prune_at = min(journal._prune_at, time.monotonic() + kept / 10)
            if so_far >= seconds / 10 * (len(tenths) + 1):
                tenths.append(path.stat().st_size / 1e6)
    finally:
        journal.stop(_PATIENCE)
    shown = " ".join(f"{size:.1f}" for size in tenths)
    yield (
        f"growth: {number} events and {lines} messages in {seconds:g} s, of which 2000 and those of {kept:g} s are"
        f" kept; MB after each tenth: {shown}"
    )


def _missed(situations: dict[str, Figures]) -> Iterator[str]:
    """What took too long."""
    for name, figures in situations.items():
        if ":" in name and figures.get("p95_ms", _PATIENCE * 1000) > _MOST and not name.startswith("journal, "):
            yield f"above {_MOST:g} ms: {name}: {figures.get('p95_ms')} ms: {figures['how']}"
