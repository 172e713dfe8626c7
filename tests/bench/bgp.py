"""A full feed: BIRD -> ExaBGP -> our process -> journal, table of received routes and MongoDB, on one machine.

BIRD says so many routes, each in an UPDATE of its own, as fast as ExaBGP takes them. ExaBGP 5 is the real one. Who
reads from it is one of three: a process that only reads, ours with its journal, and ours with MongoDB beside it while
BFD sessions go down and come up. A relay stamps the responses of the simulated router, a tap what our process says; in
its way from ExaBGP to our process there is nothing. Whether ExaBGP waits is asked of the kernel, every millisecond.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import shutil
import sqlite3
import statistics
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from tests.bench.blocked import Watch
from tests.bench.machine import load_average, own_usage, usage
from tests.bench.reaction import SERVICE, metric, page, prefix_of, reaction_of, spread, work_folder
from tests.bench.relay import Relay
from tests.bench.report import Column, Figures, Result, milliseconds
from tests.bench.router import COMMUNITY, RouterProcess, peer
from tests.bench.speaker import Said
from tests.lab import Program, free_port, wait_for
from tests.lab.bird import Bird
from tests.lab.exabgp import BIN, CONFIGURATION, V5, Neighbor, environment
from tests.lab.mongod import Mongod

ABOUT = "a full feed from BIRD through ExaBGP into journal, received routes and MongoDB"
BAR = (
    "nothing lost; ExaBGP's own rate kept (a process that only reads = 1.0; ours >= 0.98); our CPU <= 0.15 of ExaBGP's"
    " with the journal, <= 0.3 with everything; RSS < 100 MB; shipped within 1 s of read; p99 of a reaction < 20 ms"
)
READER, JOURNAL, EVERYTHING = "only reads", "journal", "everything"
SITUATIONS = (READER, JOURNAL, EVERYTHING)

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds to wait for what must come; never what is measured."""
_SLOWEST = 300
"""Lines a second at the least: a feed that takes longer is given up."""
_PEER = "127.0.0.4"
_INTERVAL = 0.5
"""Seconds between two polls."""
_LOOK = 0.2
_IDLE = 5.0
"""Seconds in which our process only polls: what it does in any case is not what the feed costs."""

TOML = """
[site]
name = "bench"
[storage]
path = "{journal}"
{mongodb}
[api]
listen = "127.0.0.1:{api}"
[log]
level = "info"
[[device]]
name = "r1"
host = "127.0.0.1"
port = {snmp}
community = "{community}"
profile = "bfd-std"
interval = {interval}
timeout = 5.0
stale_after = 60.0
"""
COLUMNS = (
    Column("lines_a_second", "lines/s", ".0f"),
    Column("rate_of_reader", "of reader", ".3f"),
    Column("exabgp_us_a_line", "ExaBGP us/line", ".1f"),
    Column("exabgp_of_reader", "of reader", ".3f"),
    Column("our_cpu_of_exabgp", "our CPU/ExaBGP", ".3f"),
    Column("feed_cpu_of_exabgp", "less idle", ".3f"),
    Column("stored", "stored"),
    Column("in_table", "in table"),
    Column("dropped", "dropped", ".0f"),
    Column("blocked_longest_ms", "ExaBGP waits ms", ".1f"),
    Column("shipped", "shipped"),
    Column("behind_seconds", "behind s", ".2f"),
    Column("samples", "reactions"),
    Column("p50_ms", "p50 ms", ".2f"),
    Column("p99_ms", "p99 ms", ".2f"),
    Column("rss_mb", "RSS MB", ".1f"),
    Column("rss_growth_mb", "grown MB", "+.1f"),
)


def arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--routes", type=int, default=100_000, help="of the feed, an UPDATE each (%(default)s)")
    group.add_argument("--flapping", type=int, default=200, help="BFD sessions, and as many services (%(default)s)")
    group.add_argument("--feeds", type=int, default=2, help="times that each is fed, by turns (%(default)s)")
    group.add_argument("--only", action="append", choices=SITUATIONS, help="only this one (default: all)")
    group.add_argument("--keep-bgp", type=Path, metavar="FOLDER", help="keep configurations, logs and journals there")


def measure(options: argparse.Namespace) -> Result:
    routes, feeds = (2000, 1) if options.quick else (options.routes, options.feeds)
    chosen = options.only or SITUATIONS
    found: dict[str, list[Figures]] = {name: [] for name in chosen}
    with contextlib.ExitStack() as stack:
        folder = work_folder(options.keep_bgp, stack)
        for turn, name in itertools.product(range(feeds), chosen):
            ground = folder / f"{name.replace(' ', '_')}{turn}"
            ground.mkdir()
            found[name].append(_fed(name, ground, routes, options.flapping))
    situations = {name: together(runs) for name, runs in found.items()}
    compare(situations)
    settings = {"routes": routes, "flapping": options.flapping, "feeds": feeds, "interval": _INTERVAL}
    return Result("bgp", ABOUT, BAR, settings, COLUMNS, situations, tuple(notes(situations)))


# --- the chain --------------------------------------------------------------------------------------------------


class _Exabgp(Program):
    """ExaBGP 5 with one process and one neighbour."""

    def __init__(self, folder: Path, run: list[str], neighbor: Neighbor) -> None:
        conf = folder / "exabgp.conf"
        conf.write_text(CONFIGURATION.format(run=" ".join(run), neighbors=neighbor.text()))
        super().__init__([*V5.command, str(conf)], folder / "exabgp.log", environment())


def _fed(name: str, folder: Path, routes: int, flapping: int) -> Figures:
    """One feed, in one situation."""
    with contextlib.ExitStack() as stack:
        bird = Bird(_program("bird"), _program("birdc"), folder, address=_PEER, asn=65004, feed=routes)
        bird.start()
        stack.callback(bird.stop)
        if name == READER:
            return _read(folder, bird, routes)
        mongod = None
        if name == EVERYTHING:
            mongod = Mongod(folder).launch()
            stack.callback(mongod.stop)
        return _ours(folder, bird, routes, flapping if mongod is not None else 1, mongod)


def _program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    assert path is not None, f"{name} is missing: apt install bird2"
    return path


def _read(folder: Path, bird: Bird, routes: int) -> Figures:
    """A process that only reads."""
    file = folder / "read"
    exabgp = _Exabgp(
        folder, [sys.executable, str(Path(__file__).with_name("least_reader.py")), str(file)], bird.neighbor
    )
    exabgp.start()
    try:
        wait_for(bird.established, "BIRD and ExaBGP are connected", PATIENCE)
        wait_for(file.exists, "the reader reads", PATIENCE)
        with _feeding(bird, exabgp.pid) as figures:
            wait_for(lambda: _counted(file)[1] >= routes, "all was read", PATIENCE + routes / _SLOWEST, _LOOK)
        return _rated(figures, routes, _counted(file)[0])
    finally:
        exabgp.stop()


def _counted(file: Path) -> tuple[int, int]:
    """When the reader last told (nanoseconds since the epoch), and how many routes it had been told of."""
    at, _, count = file.read_text("ascii").strip().partition(" ")
    return (int(at), int(count)) if count else (0, 0)


def _ours(folder: Path, bird: Bird, routes: int, flapping: int, mongod: Mongod | None) -> Figures:
    """Our process, and with MongoDB sessions that flap."""
    with contextlib.ExitStack() as stack:
        router = RouterProcess(flapping, ROOT)
        stack.callback(router.stop)
        relay = Relay(router.port)
        stack.callback(relay.stop)
        api, journal, log = free_port(), folder / "journal.db", folder / "said"
        toml = folder / "exabgp-bfd.toml"
        toml.write_text(_toml(api, journal, relay.port, flapping, mongod))
        tap = [sys.executable, str(Path(__file__).with_name("tap.py")), str(log)]
        exabgp = _Exabgp(folder, [*tap, str(BIN / "exabgp-bfd"), "run", "--config", str(toml)], bird.neighbor)
        exabgp.start()
        stack.callback(exabgp.stop)
        wait_for(lambda: page(api, "/readyz"), f"the API is ready; {exabgp.output()[-2000:]}", PATIENCE)
        said = _Log(log)
        said.expect("announce", map(prefix_of, range(1, flapping + 1)), PATIENCE + flapping / 20)
        wait_for(bird.established, "BIRD and ExaBGP are connected", PATIENCE)
        wait_for(lambda: metric(api, "store_queue_records") == 0, "the journal has the start", PATIENCE)
        flaps = _Flaps(router, relay, said, flapping) if mongod is not None else None
        idle = usage(said.process)
        time.sleep(_IDLE)
        before = usage(said.process)
        idle_rate = (before.cpu - idle.cpu) / (before.at - idle.at)
        mongod_before = own_usage(mongod.pid).cpu if mongod is not None else 0.0
        with _feeding(bird, exabgp.pid) as figures:
            if flaps is not None:
                flaps.start()
            try:
                _until_stored(api, journal, routes, figures, mongod is not None)
            finally:
                reactions = flaps.stop() if flaps is not None else []
        begun = figures.pop("begun")
        if mongod is not None:
            _until_shipped(api, journal, mongod, begun, figures)
            figures["mongod_cpu_seconds"] = round(own_usage(mongod.pid).cpu - mongod_before, 2)
        wait_for(lambda: metric(api, "store_queue_records") == 0, "the journal has everything", PATIENCE)
        after = usage(said.process)
        figures["begun"] = begun
        figures["cpu_seconds"] = round(after.cpu - before.cpu, 2)
        figures["our_cpu_of_exabgp"] = figures["cpu_seconds"] / figures["exabgp_cpu_seconds"]
        figures["idle_cpu_percent"] = round(100 * idle_rate, 2)
        of_feed = figures["cpu_seconds"] - idle_rate * (after.at - before.at)
        figures["feed_cpu_of_exabgp"] = of_feed / figures["exabgp_cpu_seconds"]
        figures["our_us_a_line"] = of_feed / routes * 1e6
        figures["rss_mb"] = round(after.peak_rss, 1)
        figures["rss_growth_mb"] = round(after.rss - before.rss, 1)
        figures["dropped"] = (metric(api, "messages_dropped_total") or 0) + (metric(api, "store_dropped_total") or 0)
        figures["quarantined"] = metric(api, "messages_quarantined_total")
        figures["reactions_ns"] = reactions
        with closing(_opened(journal)) as connection:
            (last,) = connection.execute("SELECT max(ts) FROM message WHERE direction = 'receive'").fetchone()
            table = "SELECT routes FROM rib WHERE direction = 'receive' AND family = 'ipv4 unicast'"
            (figures["in_table"],) = connection.execute(table).fetchone()
        figures["journal_mb"] = round(journal.stat().st_size / 1e6, 1)
        return _rated(figures, routes, last * 1000)


def _toml(api: int, journal: Path, snmp: int, sessions: int, mongod: Mongod | None) -> str:
    named = "" if mongod is None else f'mongodb = "{mongod.uri}"'
    values = {"journal": journal, "mongodb": named, "api": api, "snmp": snmp, "interval": _INTERVAL}
    services = (SERVICE.format(number=n, prefix=prefix_of(n), peer=peer(n)) for n in range(1, sessions + 1))
    return TOML.format(community=COMMUNITY, **values) + "".join(services)


@contextlib.contextmanager
def _feeding(bird: Bird, exabgp: int) -> Iterator[Figures]:
    """BIRD says its routes; what ExaBGP itself does until the block ends, which is when all has come through."""
    figures: Figures = {"load_average": load_average()}
    watch = Watch(exabgp, ROOT)
    try:
        before = own_usage(exabgp)
        figures["begun"] = time.time_ns()
        bird.feed(True)
        yield figures
        after = own_usage(exabgp)
    finally:
        seen = watch.stop()
    figures["exabgp_cpu_seconds"] = round(after.cpu - before.cpu, 2)
    figures["exabgp_seconds"] = round(after.at - before.at, 2)
    figures |= seen


def _rated(figures: Figures, routes: int, last: int) -> Figures:
    """With the rates; `last` is when the last line was read."""
    seconds = (last - figures.pop("begun")) / 1e9
    figures["lines_a_second"] = routes / seconds
    figures["exabgp_us_a_line"] = figures["exabgp_cpu_seconds"] / routes * 1e6
    return figures


def _opened(journal: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5)


def _until_stored(api: int, journal: Path, routes: int, figures: Figures, copied: bool) -> None:
    """Waits for all of the feed to be in the journal; how far the copy was behind meanwhile."""
    figures["behind_seconds"] = 0.0 if copied else None
    figures["queued_most"] = 0.0
    deadline = time.monotonic() + PATIENCE + routes / _SLOWEST
    asked = 0.0
    with closing(_opened(journal)) as connection:
        while True:
            # By the sums that it keeps: counting the rows would be a load of its own.
            (count,) = connection.execute("SELECT sum(announced) FROM rate WHERE direction = 'receive'").fetchone()
            if (count or 0) >= routes:
                break
            assert time.monotonic() < deadline, f"{count} of {routes} routes are stored"
            if time.monotonic() - asked > 1.0:
                asked = time.monotonic()
                figures["queued_most"] = max(figures["queued_most"], metric(api, "store_queue_records") or 0.0)
                if copied:
                    figures["behind_seconds"] = max(
                        figures["behind_seconds"], metric(api, "mongodb_behind_seconds") or 0.0
                    )
            time.sleep(_LOOK)
        figures["stored"] = count
    figures["stored_a_second"] = round(routes / (time.time_ns() - figures["begun"]) * 1e9)


def _until_shipped(api: int, journal: Path, mongod: Mongod, begun: int, figures: Figures) -> None:
    """Waits for MongoDB to have each UPDATE that the journal has."""
    with closing(_opened(journal)) as connection:
        chosen = "SELECT count(*), max(id) FROM message WHERE type = 'update' AND direction = 'receive'"
        count, last = connection.execute(chosen).fetchone()
    with mongod.client() as client:
        messages = client.exabgp_bfd.messages
        newest = {"sort": [("at", -1), ("number", -1), ("site", -1)]}

        def there() -> bool:
            found = messages.find_one({}, {"number": 1}, **newest)
            return found is not None and found["number"] >= last

        wait_for(there, "MongoDB has everything", PATIENCE + count / _SLOWEST, _LOOK)
        figures["shipped_a_second"] = round(count / (time.time_ns() - begun) * 1e9)
        figures["shipped"] = messages.count_documents({"type": "update", "direction": "receive"})
    figures["updates"] = count
    figures["duplicates"] = metric(api, "mongodb_duplicates_total")


# --- sessions that flap -----------------------------------------------------------------------------------------


class _Log:
    """What the tap has noted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0
        self.process = int(wait_for(lambda: path.exists() and path.read_text().partition("\n")[0], "a tap", PATIENCE))
        """Our process's id."""
        self._said: list[Said] = []

    def forget(self) -> None:
        """Begins a new list of commands."""
        self._take()
        self._said = []

    def expect(self, action: str, prefixes: Iterable[str], timeout: float) -> dict[str, Said]:
        """Waits until each prefix was announced or withdrawn since `forget`; the first command for each."""
        wanted = set(prefixes)

        def said() -> dict[str, Said] | None:
            self._take()
            found: dict[str, Said] = {}
            for each in self._said:
                if each.action == action and each.prefix in wanted:
                    found.setdefault(each.prefix, each)
            return found if len(found) == len(wanted) else None

        found = wait_for(said, f"{len(wanted)} prefixes are said to {action}", timeout, 0.02)
        assert found is not None
        return found

    def _take(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._place)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._place += whole
        for line in data[:whole].decode("ascii").splitlines():
            at, _, rest = line.partition(" ")
            action, _, prefix = rest.partition(" ")
            if prefix:
                self._said.append(Said(int(at), action, prefix))


class _Flaps:
    """Sessions go down and come up, batch after batch, on a thread of their own; how long each withdraw took."""

    def __init__(self, router: RouterProcess, relay: Relay, said: _Log, sessions: int) -> None:
        self._router, self._relay, self._said = router, relay, said
        self._batches = list(spread(sessions))
        self._ending = threading.Event()
        self._took: list[int] = []
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="flaps", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> list[int]:
        """Nanoseconds from the response that told of a Down to the withdraw's line."""
        self._ending.set()
        self._thread.join(3 * PATIENCE)
        if self._failed is not None:
            raise self._failed
        return self._took

    def _run(self) -> None:
        try:
            for batch in itertools.cycle(self._batches):
                if self._ending.is_set():
                    return
                self._flap({prefix_of(number): number for number in batch})
        except (AssertionError, OSError, ValueError) as error:
            self._failed = error

    def _flap(self, prefixes: dict[str, int]) -> None:
        self._relay.forget()
        self._said.forget()
        self._router.set("down", prefixes.values())
        said = self._said.expect("withdraw", prefixes, PATIENCE)
        passed = self._relay.passed()
        self._took += [reaction_of(passed, said[prefix], number).took for prefix, number in prefixes.items()]
        self._said.forget()
        self._router.set("up", prefixes.values())
        self._said.expect("announce", prefixes, PATIENCE)


# --- what comes out ---------------------------------------------------------------------------------------------

_MOST = ("blocked_longest_ms", "not_looked_ms", "rss_mb", "rss_growth_mb", "behind_seconds", "queued_most")
_ALL = ("stored", "in_table", "shipped", "updates", "dropped", "quarantined", "duplicates", "looks", "found_blocked")


def together(runs: list[Figures]) -> Figures:
    """One situation's runs: of waits and sizes the worst, of counts the sum, of all else the median."""
    found: Figures = {}
    reactions = [each for run in runs for each in run.pop("reactions_ns", [])]
    for key in dict.fromkeys(key for run in runs for key in run):
        values = [run[key] for run in runs if run.get(key) is not None]
        how = max if key in _MOST else sum if key in _ALL else statistics.median
        found[key] = how(values) if values else None
    return found | (milliseconds(reactions) if reactions else {}) | {"runs": runs}


def compare(situations: dict[str, Figures]) -> None:
    """Adds how each one's rate and ExaBGP's own time are to those of the reader."""
    reader = situations.get(READER)
    for figures in situations.values() if reader else ():
        figures["rate_of_reader"] = figures["lines_a_second"] / reader["lines_a_second"]
        figures["exabgp_of_reader"] = figures["exabgp_us_a_line"] / reader["exabgp_us_a_line"]


def notes(situations: dict[str, Figures]) -> Iterator[str]:
    """The bars, and what is in no column."""
    limits = {JOURNAL: ("our_cpu_of_exabgp", 0.15), EVERYTHING: ("our_cpu_of_exabgp", 0.3)}
    for name, figures in situations.items():
        if name == READER:
            continue
        key, limit = limits[name]
        bars = [(key, figures[key], limit), ("rss_mb", figures["rss_mb"], 100.0)]
        bars += [
            (each, figures[each], top) for each, top in (("behind_seconds", 1.0), ("p99_ms", 20.0)) if each in figures
        ]
        for each, value, top in bars:
            if value is not None:
                yield f"{name}: {each} {value:.3f}, bar {top:g}: {'met' if value <= top else 'missed'}"
        if "rate_of_reader" in figures:
            rate = figures["rate_of_reader"]
            yield f"{name}: rate {rate:.3f} of the reader's, bar 0.98: {'met' if rate >= 0.98 else 'missed'}"
        yield (
            f"{name}: ExaBGP found waiting in {figures['found_blocked']} of {figures['looks']} looks, the longest time"
            f" {figures['blocked_longest_ms']} ms (not looked for up to {figures['not_looked_ms']} ms);"
            f" our CPU {figures['idle_cpu_percent']:g} % of a core before the feed;"
            f" {figures['queued_most']:g} records waited at the most; {figures['quarantined']:g} quarantined"
        )
        if figures.get("updates"):
            yield (
                f"{name}: {figures['updates']} UPDATEs in the journal, {figures['shipped']} in MongoDB,"
                f" {figures['duplicates']:g} sent twice; stored {figures['stored_a_second']:g} and shipped"
                f" {figures['shipped_a_second']:g} a second; mongod's own CPU {figures['mongod_cpu_seconds']} s beside"
                f" ExaBGP's {figures['exabgp_cpu_seconds']} s and our {figures['cpu_seconds']} s"
            )
    yield f"load average before each: {[run['load_average'] for f in situations.values() for run in f['runs']]}"
