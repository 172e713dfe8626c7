"""The copy in a real MongoDB through every fault: afterwards each record is there exactly once, and nothing waited."""

import contextlib
import json
import logging
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pymongo
import pytest
from lab import PATIENCE, wait_for
from lab.copying import Copying, now, update
from lab.mongod import Cable, Mongod, ReplicaSet, certificates, needed, small_disk
from pymongo.collection import Collection

from exabgp_bfd.core.model import StoreError
from exabgp_bfd.storage import archive
from exabgp_bfd.storage import journal as journal_module
from exabgp_bfd.storage.queries import EventsQuery, MessageQuery

pytestmark = pytest.mark.live

QUICK = "timeoutMS=1000"
"""The usual deadline makes no fault harder, only the test longer."""
CHANCE = random.Random(6)
PASSWORD = "pa/ss@w0rd:nobody?may%see"
ESCAPED = "pa%2Fss%40w0rd%3Anobody%3Fmay%25see"
TIMES = int(os.environ.get("EXABGP_BFD_KILLS", "4"))
"""How often we are killed while shipping; a hundred for the table of docs/storage.md, which `-s` prints."""
AGAIN = int(os.environ.get("EXABGP_BFD_KILLS", "1"))
"""How often each fault of MongoDB happens."""


@pytest.fixture
def launch(tmp_path) -> Iterator[Callable[..., Mongod]]:
    needed()
    servers: list[Mongod] = []

    def make(*flags: str, start: bool = True, **more) -> Mongod:
        server = Mongod(tmp_path, *flags, name=f"mongod{len(servers)}", **more)
        servers.append(server)
        return server.launch() if start else server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def copy(tmp_path) -> Iterator[Callable[..., Copying]]:
    with contextlib.ExitStack() as stack:

        def make(uri: str, **settings) -> Copying:
            made = Copying(tmp_path, uri, **settings)
            stack.callback(made.close)
            return made

        yield make


def under_load(site: Copying, what: Callable[[], None]) -> None:
    """Does something at any moment in the middle of records that keep coming."""
    moment = CHANCE.randrange(2, 16)
    for step in range(20):
        site.record(50)
        if step == moment:
            time.sleep(CHANCE.uniform(0.0, 0.05))
            what()
        time.sleep(0.02)
    site.flush()  # The journal never waits for MongoDB.


@contextlib.contextmanager
def counted(fault: str, site: Copying, connect: Callable[[], pymongo.MongoClient], rounds: int) -> Iterator[None]:
    """What the block does to MongoDB leaves each record there once; for the long form a line of the table."""
    began = time.monotonic()
    yield
    with connect() as client:
        site.whole(client)
        found = site.account(client)
    if "EXABGP_BFD_KILLS" in os.environ:
        told = {kind: len(site.heard(kind)) for kind in ("store_down", "store_up")}
        seconds = round(time.monotonic() - began)
        again = site.shipper.counters().duplicates
        line = {"fault": fault, "rounds": rounds, "seconds": seconds, **found, "sent_again": again, **told}
        print(f"\n{json.dumps(line)}")


def told_down(site: Copying) -> Callable[[], bool]:
    """Whether it was told once more than now that MongoDB is down."""
    before = len(site.heard("store_down"))
    return lambda: len(site.heard("store_down")) > before


def told_up(site: Copying) -> None:
    wait_for(lambda: len(site.heard("store_up")) == len(site.heard("store_down")), "it is told that MongoDB is up")


def calls_of(thread: threading.Thread) -> set[str]:
    """The functions that a thread is in."""
    return {frame.name for frame in traceback.extract_stack(sys._current_frames()[thread.ident])}


# --- MongoDB is not there ---


def test_started_while_mongodb_is_down(launch, copy) -> None:
    server = launch(start=False)
    site = copy(f"{server.uri}?{QUICK}")
    site.record(30)
    site.flush()
    wait_for(lambda: site.heard("store_down"), "it is told that MongoDB is down")
    assert site.heard("store_down")[0]["store"] == "mongodb"
    counters = site.shipper.counters()
    assert (counters.up, counters.errors > 0) == (False, True)
    wait_for(lambda: site.shipper.counters().behind_rows == 60, "it is known how much waits")
    found = site.stores.ask(lambda store: store.events(EventsQuery(limit=100)))
    assert (found.store, len(found.value)) == ("journal", 30)
    server.launch()
    site.shipped()
    with server.client() as client:
        site.whole(client)
    assert len(site.heard("store_down")) == len(site.heard("store_up")) == 1
    assert site.shipper.counters().behind_rows == 0
    assert site.stores.ask(lambda store: store.events(EventsQuery(limit=100))).store == "mongodb"


def test_killed_under_load_and_back(launch, copy) -> None:
    server = launch()
    site = copy(f"{server.uri}?{QUICK}")
    with counted("killed", site, server.client, AGAIN):
        for _ in range(AGAIN):
            is_told = told_down(site)
            under_load(site, server.kill)
            wait_for(is_told, "it is told that MongoDB is down")
            server.launch()
            site.shipped()
            told_up(site)


def test_stopped_processes_answer_nothing_and_harm_nothing(launch, copy) -> None:
    server = launch()
    site = copy(f"{server.uri}?{QUICK}")
    site.record(10)
    site.shipped()
    with counted("stopped", site, server.client, AGAIN):
        for _ in range(AGAIN):
            is_told = told_down(site)
            with contextlib.ExitStack() as stopped:
                under_load(site, lambda stopped=stopped: stopped.enter_context(server.stalled()))
                wait_for(is_told, "it is told that MongoDB does not answer")
                assert site.stores.ask(lambda store: store.events(EventsQuery(limit=1))).store == "journal"
            site.shipped()
            told_up(site)


def test_it_stops_while_an_answer_is_waited_for(launch, copy) -> None:
    server = launch()
    site = copy(f"{server.uri}?timeoutMS=20000")
    site.record(10)
    site.shipped()
    with server.stalled():
        site.record(10)
        site.flush()
        wait_for(lambda: "insert_many" in calls_of(site.shipper._thread), "it waits for an answer", pause=0.01)
        # Its thread may be left to itself; what it had not shipped, the next start ships.
        site.shipper.stop(0.5)
        assert site.journal.stop(5.0)
    site.shipper.stop(PATIENCE)
    again = copy(f"{server.uri}?{QUICK}")
    again.shipped()
    with server.client() as client:
        again.whole(client)


def test_it_stops_where_mongodb_is_gone(launch, copy) -> None:
    server = launch()
    site = copy(f"{server.uri}?{QUICK}")
    site.record(10)
    site.shipped()
    server.kill()
    wait_for(lambda: site.heard("store_down"), "it is told that MongoDB is down")
    # The driver's own goodbye would look for a server for 30 s.
    assert site.shipper.stop(10.0)


def test_read_only_until_it_becomes_primary(launch, copy) -> None:
    server = launch("--replSet", "rs0")
    # Nobody has made it a replica set yet: it answers, and takes nothing.
    site = copy(f"{server.uri}?directConnection=true&{QUICK}")
    site.record(20)
    wait_for(lambda: site.heard("store_down"), "it is told that nothing is taken")
    with server.client(directConnection=True) as client:
        one = {"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{server.port}"}]}
        client.admin.command("replSetInitiate", one)
        site.shipped()
        site.whole(client)
        # And back to where it takes nothing, for some seconds.
        with counted("read-only", site, partial(server.client, directConnection=True), AGAIN):
            for _ in range(AGAIN):
                under_load(site, lambda: client.admin.command({"replSetStepDown": 2, "force": True}))
                site.shipped()


def test_a_full_disk_and_room_again(launch, copy, tmp_path) -> None:
    needed()
    with contextlib.ExitStack() as stack:
        try:
            grow = stack.enter_context(small_disk(tmp_path / "small", "330m"))
        except OSError as error:
            pytest.skip(f"no tmpfs may be mounted here: {error}")
        server = Mongod(tmp_path, name="small", data=tmp_path / "small")
        stack.callback(server.stop)
        server.launch()
        site = copy(f"{server.uri}?{QUICK}")
        site.record(20)
        site.shipped()
        with counted("full", site, server.client, AGAIN):
            for _ in range(AGAIN):
                fill_up(site, tmp_path / "small")
                grow("2g")
                (tmp_path / "small" / "ballast").unlink()
                if not server.running:
                    server.launch()
                try:
                    site.shipped()
                except AssertionError:
                    server.kill()
                    server.launch()
                    site.shipped()
                told_up(site)


def fill_up(site: Copying, folder: Path) -> None:
    """All room but a little is taken by another, and then records come until it is told that nothing is taken."""
    is_told = told_down(site)
    left = CHANCE.randrange(1 << 20, 6 << 20)
    with (folder / "ballast").open("wb") as ballast:
        wait_for(lambda: taken(ballast.fileno(), left), "all room is taken")
    padding = {"event_type": "big", "details": {"padding": os.urandom(20_000).hex()}}
    for _ in range(40):
        site.record(20, **padding)
        if is_told():
            break
        time.sleep(0.2)
    site.flush()
    wait_for(is_told, "it is told that nothing is taken")


def taken(descriptor: int, left: int) -> bool:
    """Whether this file took all room but so many bytes; false where mongod took some of it meanwhile."""
    there = os.fstatvfs(descriptor)
    with contextlib.suppress(OSError):
        os.posix_fallocate(descriptor, 0, max(1, there.f_bavail * there.f_frsize - left))
        return True
    return False


# --- a replica set, and the way to it ---


def test_the_primary_of_three_is_killed_under_load(launch, copy, tmp_path) -> None:
    needed()
    three = ReplicaSet(tmp_path)
    try:
        three.launch()
        site = copy(f"{three.uri}&timeoutMS=2000")
        site.record(10)
        site.shipped()
        # Once more, as what the new one has is what most have: the old one comes back and goes along.
        with counted("primary", site, three.client, AGAIN + 1):
            for _ in range(AGAIN + 1):
                before = three.primary()
                under_load(site, before.kill)
                site.shipped()
                assert three.primary() is not before
                before.launch()
        assert site.mongo.events(EventsQuery(limit=500)) == site.reader.events(EventsQuery(limit=500))
        assert site.mongo.messages(MessageQuery(limit=500)) == site.reader.messages(MessageQuery(limit=500))
    finally:
        three.stop()


@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_the_way_to_mongodb_fails(launch, copy, fault) -> None:
    server = launch()
    cable = Cable(server.port)
    try:
        site = copy(f"mongodb://127.0.0.1:{cable.port}/exabgp_bfd?{QUICK}")
        site.record(10)
        site.shipped()
        under_load(site, cable.cut if fault == "cut" else cable.stall)
        wait_for(lambda: site.heard("store_down"), "it is told that MongoDB is out of reach")
        if fault == "stall":
            # The connections that stalled are found to be dead, and others take their place.
            cable.cut()
        cable.mend()
        site.shipped()
        with server.client() as client:
            site.whole(client)
    finally:
        cable.close()


# --- we are killed ---

_VICTIM = """
import sys, time
from pathlib import Path
from lab.copying import Copying

site = Copying(Path(sys.argv[1]), sys.argv[2])
print(site.last, flush=True)
while True:
    site.record(40)
    time.sleep(0.05)
"""


def more_than(collection: Collection, count: int) -> Callable[[], bool]:
    return lambda: collection.estimated_document_count() > count


def test_killed_while_shipping_everything_is_there_once(launch, copy, tmp_path) -> None:
    server = launch()
    tests = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(tests)])}
    for _ in range(TIMES):
        victim = subprocess.Popen(
            [sys.executable, "-c", _VICTIM, str(tmp_path), server.uri], stdout=subprocess.PIPE, env=environment
        )
        try:
            assert victim.stdout is not None
            assert victim.stdout.readline()
            with server.client() as client:
                messages = client.exabgp_bfd.messages
                wait_for(more_than(messages, messages.estimated_document_count()), "it ships", pause=0.01)
            time.sleep(CHANCE.uniform(0, 0.5))
        finally:
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            victim.stdout.close()
    site = copy(server.uri)
    assert site.last > 0
    with counted("we are killed", site, server.client, TIMES):
        site.shipped((3 + TIMES / 4) * PATIENCE)


# --- records that are refused, stores that are not what they were ---


def test_what_mongodb_refuses_is_set_aside_and_nothing_waits_for_it(launch, copy, caplog) -> None:
    server = launch()
    site = copy(server.uri)
    site.record(3)
    site.shipped()
    with server.client() as client:
        # An administrator's own rule.
        client.exabgp_bfd.command("collMod", "events", validator={"event_type": {"$ne": "poison"}})
        site.record(5, event_type="poison")
        site.record(5)
        site.journal.messages([update(padding="x" * (16 << 20))], now())
        site.record(5)
        site.shipped()
        assert site.shipper.counters().set_aside == 6
        assert client.exabgp_bfd.events.count_documents({}) == 13
        assert client.exabgp_bfd.messages.count_documents({}) == 18
    assert not site.heard("store_down")
    said = [record.getMessage() for record in caplog.records if "stays in the journal only" in record.getMessage()]
    assert len(said) == 1


def test_a_mongodb_that_lost_records_gets_them_again(launch, copy) -> None:
    server = launch()
    site = copy(f"{server.uri}?{QUICK}")
    site.record(40)
    site.shipped()
    with server.client() as client:
        # As if an older copy had been put back while it was down.
        client.exabgp_bfd.events.delete_many({"number": {"$gt": 15}})
        client.exabgp_bfd.messages.drop()
        server.kill()
        site.record(5)
        wait_for(lambda: site.heard("store_down"), "it is told that MongoDB is down")
        server.launch()
        site.shipped()
        site.whole(client)
        assert "newest" in client.exabgp_bfd.messages.index_information()


def test_a_journal_begun_anew_never_collides(launch, copy) -> None:
    server = launch()
    site = copy(server.uri)
    site.record(20)
    site.shipped()
    site.path.unlink()
    for _ in range(10):
        site.record(5)
        time.sleep(0.05)
    site.shipped()
    wait_for(lambda: "rescued" in (site.journal._known.meta), "the journal is rescued")
    site.shipped()
    with server.client() as client:
        found = client.exabgp_bfd.events.distinct("journal")
        assert len(found) == 2
        numbers = sorted(each["number"] for each in client.exabgp_bfd.events.find())
        assert numbers == list(range(1, 71))


def test_what_is_rescued_from_a_journal_keeps_its_name(launch, copy) -> None:
    server = launch()
    site = copy(f"{server.uri}?{QUICK}")
    site.record(20)
    site.shipped()
    server.kill()
    wait_for(lambda: site.heard("store_down"), "it is told that MongoDB is down")
    site.record(30)
    site.flush()
    site.path.unlink()
    site.record(10)
    site.flush()
    wait_for(lambda: site.journal._known.meta.get("rescued"), "what was in it is rescued")
    server.launch()
    with server.client() as client:

        def numbers() -> list[int]:
            return sorted(each["number"] for each in client.exabgp_bfd.events.find())

        wait_for(lambda: numbers()[60:] or len(numbers()) == 60, "all is shipped")
        site.shipped()
        assert numbers() == list(range(1, 61))
        names = {each["number"]: each["journal"] for each in client.exabgp_bfd.events.find()}
        assert len({names[number] for number in range(1, 51)}) == 1
        assert names[60] != names[50]
        assert site.mongo.events(EventsQuery(limit=100)) == site.reader.events(EventsQuery(limit=100))


def test_another_name_for_the_site_sends_nothing_again(launch, copy) -> None:
    server = launch()
    site = copy(server.uri)
    site.record(10)
    site.shipped()
    site.close()
    renamed = copy(server.uri, site="ams1", name="fra1")
    renamed.record(5)
    renamed.shipped()
    with server.client() as client:
        found = [(each["site"], each["number"]) for each in client.exabgp_bfd.events.find(sort=[("number", 1)])]
    assert found == [("fra1", number) for number in range(1, 11)] + [("ams1", number) for number in range(11, 16)]


def test_two_processes_under_one_name_are_told(launch, copy) -> None:
    server = launch()
    one = copy(server.uri, name="one")
    one.record()
    one.shipped()
    with server.client() as client:
        wait_for(lambda: client.exabgp_bfd.sites.find_one({"heard": {"$type": "date"}}), "it says that it is there")
    other = copy(server.uri, name="other")
    other.record()
    other.shipped()
    wait_for(lambda: other.heard("site_conflict"), "the second is told")
    assert other.heard("site_conflict")[0]["process"] == os.getpid()
    wait_for(lambda: one.heard("site_conflict"), "and the first")


# --- retention ---


def test_retention_by_age_follows_the_settings(launch, copy) -> None:
    server = launch()
    with server.client() as client:
        for days in (90, 30, None):
            site = copy(server.uri, keep_events=None if days is None else days * 86400.0)
            site.record()
            site.shipped()
            site.close()
            age = client.exabgp_bfd.events.index_information()["age"]["expireAfterSeconds"]
            assert age == (2**31 - 1 if days is None else days * 86400)


def test_retention_by_count_keeps_each_sites_newest(launch, copy) -> None:
    server = launch()
    other = copy(server.uri, site="ams1")
    other.record(30)
    other.shipped()
    site = copy(server.uri, max_events=10)
    site.record(25)
    site.shipped()
    with server.client() as client:
        site.shipper._limit_at = 0.0
        site.record()
        site.shipped()
        wait_for(lambda: client.exabgp_bfd.events.count_documents({"site": "fra1"}) <= 11, "the oldest are removed")
        kept = sorted(each["number"] for each in client.exabgp_bfd.events.find({"site": "fra1"}))
        assert kept == list(range(26 - len(kept) + 1, 27))
        assert client.exabgp_bfd.events.count_documents({"site": "ams1"}) == 30


def test_the_journal_keeps_by_count_what_is_not_shipped(launch, copy) -> None:
    server = launch(start=False)
    site = copy(f"{server.uri}?{QUICK}", journal_events=20)
    site.record(60)
    site.flush()
    site.journal._prune_at = 0.0
    wait_for(lambda: site.heard("store_down"), "it is told that MongoDB is down")
    time.sleep(0.5)
    assert len(site.reader.events(EventsQuery(limit=100))) == 60
    server.launch()
    site.shipped()
    with server.client() as client:
        site.whole(client)
    site.record()
    wait_for(lambda: len(site.reader.events(EventsQuery(limit=100))) <= 21, "then the oldest go")


# --- secrets, users and TLS ---


def secrets_in(text: str) -> list[str]:
    parts = (PASSWORD, ESCAPED, "w0rd", "nobody", "may%see", "t0ken")
    return [part for part in parts if part in text]


@pytest.fixture
def secured(launch, tmp_path) -> tuple[Mongod, str]:
    """A mongod with TLS and users, and the options that reach it."""
    server_key, authority = certificates(tmp_path)
    server = launch(
        "--auth", "--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(server_key), "--tlsCAFile", str(authority),
        *("--tlsAllowConnectionsWithoutCertificates",),
        start=False,
    )  # fmt: skip
    options = f"tls=true&tlsCAFile={authority}"
    server.more = {"tls": True, "tlsCAFile": str(authority)}
    return server.launch(), options


def add_user(server: Mongod, name: str, *roles: object) -> None:
    with server.client() as client:  # The first user may be made from this host without one.
        client.admin.command("createUser", name, pwd=PASSWORD, roles=list(roles))


def test_with_tls_and_a_user_and_nothing_of_it_is_told(secured, copy, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    server, options = secured
    add_user(server, "root", "root")
    uri = f"mongodb://noc:{ESCAPED}@127.0.0.1:{server.port}/exabgp_bfd?authSource=admin&{options}&{QUICK}"
    site = copy(uri)
    site.record(10)
    # There is no such user yet: a wrong password looks the same.
    wait_for(lambda: site.heard("store_down"), "it is told that it may not")
    assert "AuthenticationFailed" in site.shipper.counters().last_error or "Authentication" in str(site.told)
    root = server.client(username="root", password=PASSWORD, authSource="admin")
    with root:
        make = {"pwd": PASSWORD, "roles": [{"role": "read", "db": "exabgp_bfd"}]}
        root.admin.command("createUser", "noc", **make)
        # It may read, not write.
        wait_for(lambda: "not authorized" in (site.shipper.counters().last_error or ""), "it is told why")
        root.admin.command("grantRolesToUser", "noc", roles=[{"role": "readWrite", "db": "exabgp_bfd"}])
        site.shipped()
        site.whole(root)
    told = f"{site.told} {site.shipper.address!r} {site.shipper.address} {site.shipper.counters()} {vars(site.shipper)}"
    assert not secrets_in(caplog.text + told)
    assert "***@127.0.0.1" in repr(site.shipper.address)
    assert caplog.text


def test_a_user_without_the_right_to_make_indexes_only_lacks_them(launch, copy, caplog) -> None:
    server = launch("--auth")
    add_user(server, "root", "root")
    with server.client(username="root", password=PASSWORD, authSource="admin") as root:
        name = {"db": "exabgp_bfd", "collection": ""}
        may = [{"resource": name, "actions": ["insert", "find"]}]
        root.exabgp_bfd.command("createRole", "writer", privileges=may, roles=[])
        root.exabgp_bfd.command("createUser", "noc", pwd=PASSWORD, roles=["writer"])
        site = copy(f"mongodb://noc:{ESCAPED}@127.0.0.1:{server.port}/exabgp_bfd")
        site.record(10)
        site.shipped()
        site.whole(root)
    said = [record.getMessage() for record in caplog.records if "lacks something of ours" in record.getMessage()]
    assert len(said) == 1
    assert not site.heard("store_down")


@pytest.mark.parametrize(
    "place",
    [
        f"mongodb://noc:{PASSWORD}@127.0.0.1:1/exabgp_bfd",
        f"mongodb://noc:{ESCAPED}@127.0.0.1:port/exabgp_bfd",
        f"mongodb://noc:{ESCAPED}@127.0.0.1:1/exabgp_bfd?{QUICK}",
        f"mongodb://noc:{ESCAPED}@127.0.0.1:1/?authMechanism=NONE&{QUICK}",
        f"mongodb://noc:{ESCAPED}@127.0.0.1:1/?authMechanismProperties=AWS_SESSION_TOKEN:t0ken&{QUICK}",
        f"mongodb://127.0.0.1:1/?tls=true&tlsCertificateKeyFile=/nowhere&tlsCertificateKeyFilePassword=t0ken&{QUICK}",
        f"mongodb+srv://noc:{ESCAPED}@cluster.invalid/exabgp_bfd?{QUICK}",
    ],
)
def test_a_bad_address_is_told_without_its_secrets(copy, caplog, place) -> None:
    caplog.set_level(logging.DEBUG)
    site = copy(place)
    site.record()
    wait_for(lambda: site.heard("store_down"), "it is told")
    with pytest.raises(StoreError) as refused:
        site.mongo.events(EventsQuery())
    assert not secrets_in(
        f"{caplog.text} {site.told} {site.shipper.counters()} {refused.value!r} {site.shipper.address}"
    )
    assert caplog.text


# --- records that come late, and journals that are elsewhere, too ---


def numbers(client: pymongo.MongoClient, **asked) -> list[int]:
    return sorted(each["number"] for each in client.exabgp_bfd.events.find(asked, {"number": 1}))


def test_a_rescue_under_way_when_mongodb_first_comes_leaves_no_hole(launch, copy, monkeypatch) -> None:
    server = launch()
    site = copy(server.uri, running=False)
    site.record(50)
    site.flush()
    monkeypatch.setattr(journal_module, "_BREATH", 3600.0)
    site.journal._rescue_at = time.monotonic() + 3600.0
    site.path.unlink()
    site.record(10)
    site.ship()
    with server.client() as client:
        assert numbers(client) == list(range(51, 61))
        monkeypatch.setattr(journal_module, "_BREATH", 0.001)
        site.journal._rescue_at = site.journal._alive_at = 0.0
        site.record()
        wait_for(lambda: site.journal._known.meta.get("rescued"), "what was in it is rescued")
        site.ship()
        site.whole(client)


def test_what_is_imported_is_shipped_and_what_another_journal_has_shipped_is_not_twice(launch, copy, tmp_path) -> None:
    server = launch()
    with server.client() as client:
        old = copy(server.uri, name="old", running=False)
        old.record(20)
        old.ship()
        old.record(30)
        old.flush()
        lines: list[bytes] = []
        archive.export(old.path, archive.Wanted(archive.Kind.EVENTS), lines.append)
        site = copy(server.uri, running=False)
        site.last = 1000
        site.record(10)
        site.ship()
        site.close()
        assert archive.take(lines, site.path, lambda *_: None).added["event"] == 50
        again = copy(server.uri, running=False)
        again.record(5)
        again.ship()
        assert numbers(client) == [*range(1, 51), *range(1001, 1016)]
        assert len(client.exabgp_bfd.events.distinct("journal", {"number": {"$lte": 20}})) == 1
        again.record()
        again.ship()
        again.flush()
        assert not again.journal.meta("shipped_event_late")


def test_emptied_while_it_is_up_it_is_filled_again_and_has_its_indexes(launch, copy) -> None:
    server = launch()
    site = copy(server.uri)
    site.record(40)
    site.shipped()
    with server.client() as client:
        client.exabgp_bfd.events.drop()
        site.record(5)
        site.shipped()
        site.shipper._beat_at = 0.0
        site.record()
        wait_for(lambda: numbers(client) == list(range(1, 47)), "all is there again")
        assert {"number", "newest", "age"} <= set(client.exabgp_bfd.events.index_information())
    assert not site.heard("store_down")


def test_what_retention_removes_by_count_is_not_sent_again(launch, copy) -> None:
    server = launch()
    site = copy(server.uri, running=False, max_events=10)
    with server.client() as client:
        for _ in range(3):
            site.record(30)
            site.shipper._beat_at = site.shipper._limit_at = 0.0
            site.ship()
        assert numbers(client) == list(range(81, 91))
        assert not site.shipper._late["event"]


def cloned(site: Copying, folder: Path) -> Path:
    """The journal as it is, under our hands, where another finds it."""
    folder.mkdir()
    target = folder / site.path.name
    with contextlib.closing(sqlite3.connect(site.path)) as source, contextlib.closing(sqlite3.connect(target)) as to:
        source.backup(to)
    return folder


def test_a_clone_of_the_journal_is_told(launch, copy, tmp_path) -> None:
    server = launch()
    one = copy(server.uri)
    one.record(10)
    one.shipped()
    other = Copying(cloned(one, tmp_path / "other"), server.uri)
    try:

        def both() -> bool:
            one.shipper._beat_at = other.shipper._beat_at = 0.0
            return bool(one.heard("site_conflict") and other.heard("site_conflict"))

        wait_for(both, "both are told")
    finally:
        other.close()


def test_a_journal_on_another_machine_does_not_hide_its_records_behind_the_first_ones(
    launch, copy, tmp_path, monkeypatch
) -> None:
    machine = tmp_path / "machine-id"
    monkeypatch.setattr(journal_module, "_MACHINE", machine)
    machine.write_text("1" * 32 + "\n")
    server = launch()
    one = copy(server.uri)
    one.record(10)
    one.shipped()
    machine.write_text("2" * 32 + "\n")
    other = Copying(cloned(one, tmp_path / "other"), server.uri)
    try:
        one.record(20, device="first")
        other.record(20, device="second")
        one.shipped()
        other.shipped()
        with server.client() as client:
            assert len(numbers(client)) == 50
            assert len(numbers(client, device="first")) == len(numbers(client, device="second")) == 20
        assert one.shipper.counters().duplicates == other.shipper.counters().duplicates == 0
        assert other.shipper.counters().shipped["event"] == 20
    finally:
        other.close()


def test_restarted_at_once_under_another_host_name_nobody_is_told(launch, copy, monkeypatch) -> None:
    server = launch()
    one = copy(server.uri)
    one.record()
    one.shipped()
    with server.client() as client:
        wait_for(lambda: client.exabgp_bfd.sites.find_one({"heard": {"$type": "date"}}), "it says that it is there")
        one.close()
        monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
        again = copy(server.uri)
        wait_for(lambda: client.exabgp_bfd.sites.find_one({"host": "elsewhere"}), "it says so")
        again.shipper._beat_at = 0.0
        again.record()
        again.shipped()
    assert not again.heard("site_conflict")
