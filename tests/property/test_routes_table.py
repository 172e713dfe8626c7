"""The received-routes table and the history of prefixes against dictionaries, whatever neighbours say and befalls us.

The journal's writer runs whenever the machine lets it, so that one transaction holds anything from one message to many;
some transactions fail and are written again.
"""

import json
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from exabgp_bfd.core.model import Prefix
from exabgp_bfd.storage import journal as journal_module
from exabgp_bfd.storage import routes as routes_module
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.queries import MessageQuery
from exabgp_bfd.storage.reader import Reader
from exabgp_bfd.storage.route_queries import HistoryQuery, RouteQuery
from exabgp_bfd.storage.updates import Kind, Match

T0 = 1_763_640_000_000_000
SECOND = 1_000_000
KEEP = 7 * 86_400.0

PREFIXES = {
    "ipv4 unicast": [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.0.0.0/9",
        "10.1.0.0/16",
        "10.1.2.0/24",
        "10.1.2.3/32",
        "192.0.2.0/24",
    ],
    "ipv6 unicast": ["::/0", "2001:db8::/32", "2001:db8::/48", "2001:db8::1/128"],
    "ipv4 mpls-vpn": ["10.0.0.0/8", "10.1.2.0/24"],
    "ipv4 flow": ["flow a", "flow b"],
}
NEIGHBORS = ["192.0.2.1", "2001:db8::2"]

# Few places, so that one is often met again.
neighbors = st.sampled_from([*NEIGHBORS[:1] * 4, *NEIGHBORS])
families = st.sampled_from([*["ipv4 unicast"] * 9, *PREFIXES])
picked = st.sampled_from([1, 1, 1, 2, 2, 0, 3, 4, 5, 6])
directions = st.sampled_from([*["receive"] * 7, "send"])
hops = st.sampled_from(["192.0.2.1", "2001:db8::9"])
meds = st.integers(0, 2)
paths = st.sampled_from([*[""] * 6, "0.0.0.1", "0.0.0.2"])
shapes = st.sampled_from(["4.0.1", "5.0.0", "6.0.0"])


@dataclass
class Row:
    attributes: dict[str, Any]
    hop: str | None
    since: int
    ts: int
    stale: bool = False


@dataclass
class Table:
    """A table as one would write it down: what is stale is marked one by one."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    incomplete: bool = False
    renewed: bool = False
    pending: bool = False
    reset: int | None = None
    up: int | None = None
    end: int | None = None


@dataclass
class Said:
    ts: int
    kind: Kind
    neighbor: str
    direction: str
    family: str
    entry: tuple[str, str]
    hop: str | None
    attributes: dict[str, Any]
    message: int


def nlri(family: str, text: str, path: str) -> dict[str, Any]:
    if family == "ipv4 flow":
        return {"destination-ipv4": [text], "string": "whatever"}
    more = {"path-information": path} if path else {}
    return {"nlri": text, **more, **({"rd": "65000:1", "label": [[1]]} if family == "ipv4 mpls-vpn" else {})}


def prefix_of(family: str, text: str) -> Prefix | None:
    return None if family == "ipv4 flow" else ip_network(text)


def meant(prefix: Prefix, match: Match, other: Prefix | None) -> bool:
    if other is None or other.version != prefix.version:
        return False
    if match is Match.EXACT:
        return other == prefix
    return other.subnet_of(prefix) if match is Match.LONGER else prefix.subnet_of(other)


class Machine(RuleBasedStateMachine):
    """One journal, and what it should know."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.clock = T0
        self.tables: dict[tuple[str, str, str], Table] = {}
        self.itself: dict[str, Table] = {}
        self.said: list[Said] = []
        self.number = 0
        self.failures = 0
        self.dropped = False
        self.speaker = "first"
        self.now = journal_module._now
        journal_module._now = lambda: str(self.clock)
        routes_module._SWEPT_A_STEP, self.step = 3, routes_module._SWEPT_A_STEP
        self.journal = self.opened()
        self.reader = Reader(self.folder / "journal.db")

    def teardown(self) -> None:
        try:
            self.the_tables_are_as_they_should()
        finally:
            self.end_all()

    def end_all(self) -> None:
        journal_module._now = self.now
        routes_module._SWEPT_A_STEP = self.step
        self.reader.close()
        self.close()
        shutil.rmtree(self.folder)

    def opened(self) -> Journal:
        journal = Journal(self.folder / "journal.db", "", keep_messages=KEEP)
        journal.open()
        journal.speaker(self.speaker)
        journal._ages_count = lambda: True  # this machine's clock leaps
        apply = journal._routes.apply

        def failing(connection, said):
            apply(connection, said)
            if self.failures:
                self.failures -= 1
                error = sqlite3.OperationalError("the disk is full, says the test")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL  # the connection is kept then
                raise error

        journal._routes.apply = failing
        return journal

    def close(self) -> None:
        self.journal.stop(0)
        self.journal._disconnect()

    # --- what is said ---

    def tick(self) -> int:
        self.clock += 1_000
        return self.clock

    def say(self, kind: str, neighbor: str, shape: str = "5.0.0", **more: Any) -> int:
        ts = self.tick()
        if shape == "6.0.0" and more.get("direction") in ("receive", "send"):
            more["direction"] = {"receive": "in", "send": "out"}[more["direction"]]
        document = {
            "exabgp": shape,
            "time": ts / SECOND,
            "host": "vm",
            "pid": 2,
            "ppid": 1,
            "counter": 1,
            "type": kind,
            "neighbor": {"address": {"local": "127.0.0.1", "peer": neighbor}, "asn": {"local": 1, "peer": 2}, **more},
        }
        text = json.dumps(document)
        if shape == "5.0.0":  # As it spells its lines, which is what the quick way of reading them knows.
            text = text.replace('"host": ', '"host" : ').replace('"pid": ', '"pid" : ').replace('"ppid": ', '"ppid" : ')
            text = text.replace('"peer": 2}, "dir', '"peer": 2} , "dir')
            text = text.replace("{", "{ ").replace("}", " }").replace("[", "[ ").replace("]", " ]")
        self.journal.messages([text.encode()], ts)
        self.number += 1
        return ts

    def table(self, neighbor: str, direction: str, family: str) -> Table:
        found = self.tables.get((neighbor, direction, family))
        if found is None:
            itself = self.itself.get(neighbor)
            found = Table()
            if itself is not None and itself.up is not None:
                found.reset, found.up, found.incomplete = itself.reset, itself.up, itself.incomplete
            self.tables[neighbor, direction, family] = found
        return found

    @rule(
        neighbor=neighbors,
        direction=directions,
        family=families,
        picks=st.lists(picked, min_size=1, max_size=3),
        path=paths,
        hop=hops,
        med=meds,
        shape=shapes,
    )
    def announces(self, neighbor, direction, family, picks, path, hop, med, shape) -> None:
        self.dropping()
        path = "" if family == "ipv4 flow" else path
        texts = [PREFIXES[family][pick % len(PREFIXES[family])] for pick in picks]
        attributes = {"origin": "igp", "med": med}
        update = {"attribute": attributes, "announce": {family: {hop: [nlri(family, text, path) for text in texts]}}}
        ts = self.say("update", neighbor, shape, direction=direction, message={"update": update})
        table = self.table(neighbor, direction, family)
        self.heard(table, ts)
        for text in texts:
            before = table.rows.get((text, path))
            since = before.since if before is not None and not before.stale else ts
            table.rows[text, path] = Row(attributes, hop, since, ts)
            self.said.append(
                Said(ts, Kind.ANNOUNCE, neighbor, direction, family, (text, path), hop, attributes, self.number)
            )

    @rule(
        neighbor=neighbors,
        direction=directions,
        family=families,
        picks=st.lists(picked, min_size=1, max_size=3),
        path=paths,
        shape=shapes,
    )
    def withdraws(self, neighbor, direction, family, picks, path, shape) -> None:
        self.dropping()
        path = "" if family == "ipv4 flow" else path
        texts = [PREFIXES[family][pick % len(PREFIXES[family])] for pick in picks]
        update = {"withdraw": {family: [nlri(family, text, path) for text in texts]}}
        ts = self.say("update", neighbor, shape, direction=direction, message={"update": update})
        table = self.table(neighbor, direction, family)
        self.heard(table, ts)
        for text in texts:
            table.rows.pop((text, path), None)
            self.said.append(Said(ts, Kind.WITHDRAW, neighbor, direction, family, (text, path), None, {}, self.number))

    def heard(self, table: Table, ts: int) -> None:
        if table.up is None:
            table.up, table.incomplete = ts, True

    @rule(neighbor=neighbors, state=st.sampled_from(["up", "up", "down", "connected"]), shape=shapes)
    def changes_state(self, neighbor, state, shape) -> None:
        self.dropping()
        ts = self.say("state", neighbor, shape, state=state)
        if state == "connected":
            return
        itself = self.itself.setdefault(neighbor, Table())
        for table in [itself, *(table for (its, _, _), table in self.tables.items() if its == neighbor)]:
            self.reset(table, ts, up=state == "up")
        itself.incomplete = itself.renewed = False

    def reset(self, table: Table, ts: int, *, up: bool) -> None:
        table.reset, table.up, table.end = ts, ts if up else None, None
        table.renewed = table.pending = True
        for row in table.rows.values():
            row.stale = True

    @rule(neighbor=neighbors, direction=directions, family=families, shape=st.sampled_from(["5.0.0", "6.0.0"]))
    def ends(self, neighbor, direction, family, shape) -> None:
        self.dropping()
        afi, safi = family.split(" ", 1)
        eor = {"eor": {"afi": afi, "safi": safi}}
        message = eor if shape == "5.0.0" else {"update": {"announce": {family: {"null": [eor]}}}}
        ts = self.say("update", neighbor, shape, direction=direction, message=message)
        self.end(self.table(neighbor, direction, family), ts)

    def end(self, table: Table, ts: int) -> None:
        table.end = ts
        self.sweep(table)
        self.whole(table)

    def sweep(self, table: Table) -> None:
        table.pending = False
        table.rows = {where: row for where, row in table.rows.items() if not row.stale}

    def whole(self, table: Table) -> None:
        if table.renewed:
            table.incomplete = table.renewed = False

    @rule(neighbor=neighbors, family=families, subtype=st.sampled_from(["query", "begin", "end"]))
    def refreshes(self, neighbor, family, subtype) -> None:
        self.dropping()
        afi, safi = family.split(" ", 1)
        refresh = {"afi": afi, "safi": safi, "subtype": subtype}
        ts = self.say("refresh", neighbor, direction="receive", **{"route-refresh": refresh})
        if subtype == "query":
            return
        table = self.table(neighbor, "receive", family)
        if subtype == "begin":
            self.reset(table, ts, up=True)
        else:
            self.end(table, ts)

    # --- what befalls us ---

    @rule()
    def messages_are_dropped(self) -> None:
        with self.journal._gate:
            self.journal._drop(1, self.tick())
        self.dropped = True

    def dropping(self) -> None:
        """The gap is noted before the next line that is taken, or where none is waiting."""
        if self.dropped:
            self.dropped = False
            self.number += 1
            for table in [*self.tables.values(), *self.itself.values()]:
                table.incomplete, table.renewed = True, False

    @rule(times=st.integers(1, 2))
    def the_disk_refuses(self, times) -> None:
        self.failures = times

    def turn(self) -> None:
        """Lets the writer write all that waits."""
        journal = self.journal
        self.dropping()
        for _ in range(1000):
            journal._line_lane.retry_at = journal._routes_at = 0.0
            journal._turn()
            if not journal._waiting() and not self.failures and not journal._routes.wants(self.clock):
                break
            if not journal._waiting():
                self.failures = 0
        else:
            raise AssertionError("the writer comes to no end")
        self.expire()

    def expire(self) -> None:
        for table in [*self.tables.values(), *self.itself.values()]:
            due = table.up + routes_module.RENEW if table.up is not None else (table.reset or 0) + routes_module.GONE
            if table.pending and self.clock >= due:
                self.sweep(table)
                if table.up is not None:
                    self.whole(table)

    @rule(seconds=st.sampled_from([10, 10, 10, 359, 400, 86_300, 90_000]))
    def time_passes(self, seconds) -> None:
        self.turn()
        self.clock += seconds * SECOND
        self.turn()

    @rule(other=st.booleans())
    def we_restart(self, other) -> None:
        self.turn()
        self.close()
        self.speaker = self.speaker + "'" if other else self.speaker
        self.journal = self.opened()
        ts = self.tick()
        self.journal._begin_routes(self.journal._connected())
        for table in [*self.tables.values(), *self.itself.values()]:
            if other:
                self.reset(table, ts, up=False)
            else:
                table.incomplete, table.renewed = True, False

    @precondition(lambda self: self.said)
    @rule()
    def messages_grow_old(self) -> None:
        self.turn()
        self.clock += int(KEEP * SECOND) - 5_000
        self.forget()
        with self.journal._routes_in(self.journal._connected(), durable=False):
            self.journal._routes.free(self.journal._connected())

    def forget(self) -> None:
        """What is too old goes, and we know what that is."""
        self.turn()
        for _ in range(1000):
            if not self.journal._prune():
                break
        oldest = self.clock - int(KEEP * SECOND)
        self.said = [said for said in self.said if said.ts >= oldest]

    # --- what is answered ---

    @rule()
    def the_writer_runs(self) -> None:
        self.turn()

    @rule()
    def the_tables_are_as_they_should(self) -> None:
        self.turn()
        found = {}
        for route in self.reader.routes(RouteQuery(limit=10_000, direction=None)):
            document = route.document()
            text = document["prefix"] or json.loads(document["nlri"])["destination-ipv4"][0]
            where = (route.neighbor, route.direction, route.family, text, document["path_id"] or "")
            assert where not in found
            found[where] = Row(route.attributes, route.next_hop, route.since, route.ts, route.stale)
        assert found == {
            (*which, *where): row for which, table in self.tables.items() for where, row in table.rows.items()
        }
        shown = {
            (neighbor.neighbor, table.direction, table.family): (
                table.incomplete is not None,
                table.end_of_rib,
                table.routes,
            )
            for neighbor in self.reader.neighbors()
            for table in neighbor.tables
        }
        assert shown == {which: (table.incomplete, table.end, len(table.rows)) for which, table in self.tables.items()}

    @rule(family=families, pick=picked, match=st.sampled_from(Match), size=st.integers(1, 3), data=st.data())
    def a_prefix_is_asked_for(self, family, pick, match, size, data) -> None:
        self.forget()
        prefix = prefix_of(family, PREFIXES[family][pick % len(PREFIXES[family])]) or ip_network("10.1.0.0/16")
        neighbor = data.draw(st.none() | neighbors)
        routes = []
        query = RouteQuery(limit=size, prefix=prefix, match=match, neighbor=neighbor)
        while page := self.reader.routes(query):
            routes += page
            query = replace(query, after=page[-1].place)
        assert [route.place for route in routes] == sorted(route.place for route in routes)
        assert sorted(
            (route.neighbor, route.family, route.document()["prefix"], route.ts) for route in routes
        ) == sorted(
            (its, family, text, row.ts)
            for (its, direction, family), table in self.tables.items()
            for (text, _), row in table.rows.items()
            if direction == "receive" and its == (neighbor or its) and meant(prefix, match, prefix_of(family, text))
        )
        changes = []
        asked = HistoryQuery(limit=size, prefix=prefix, match=match, neighbor=neighbor)
        while page := self.reader.history(asked):
            changes += page
            asked = replace(asked, before=page[-1].id)
        expected = [
            said
            for said in reversed(self.said)
            if said.neighbor == (neighbor or said.neighbor)
            and meant(prefix, match, prefix_of(said.family, said.entry[0]))
        ]
        assert [(one.ts, one.kind, one.family, one.next_hop, one.attributes, one.direction) for one in changes] == [
            (one.ts, one.kind, one.family, one.hop, one.attributes, one.direction) for one in expected
        ]
        asked = MessageQuery(limit=10_000, prefix=prefix, match=match, neighbor=neighbor)
        assert [message.ts for message in self.reader.messages(asked)] == list(
            dict.fromkeys(one.ts for one in expected)
        )


TestRoutes = Machine.TestCase
