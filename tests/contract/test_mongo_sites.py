"""What sites tell each other through a real MongoDB: alone, where it is asked every second, and as a replica set."""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lab import stays, wait_for
from lab.mongod import Mongod, needed
from lab.sites import member_of_one

from exabgp_bfd.core.model import Action, Override, Secret, StoreError
from exabgp_bfd.storage.mongo_sites import Look, MongoSites, OrderSeen, SiteSeen, Standing

pytestmark = pytest.mark.live

DNS = Standing("dns", announced=True, layer="health", since=1_763_640_000_123_000, targets=("192.0.2.53/32",))
GONE = Standing("dns", announced=False, layer="health", since=None, targets=())
WITHDRAW = Override("dns", Action.WITHDRAW, "ann", "works", 1_800_000_000.000001, 1_800_003_600.5)
SELDOM = 60.0
"""A heartbeat that no test waits for: what is heard before it, was told by MongoDB itself."""


def ordered(override: Override | None = WITHDRAW, token: str = "t1", service: str = "dns") -> OrderSeen:
    return OrderSeen(service, token, override, "ann", "works", "ams")


class Ear:
    """A site, and what it heard."""

    def __init__(self, name: str, uri: str, heartbeat: float) -> None:
        self.looks: list[Look] = []
        self.talk = MongoSites(name, Secret(uri), self.looks.append, heartbeat=heartbeat)

    def sites(self) -> dict[str, SiteSeen]:
        return {site.name: site for site in self.looks[-1].sites} if self.looks else {}

    def stands(self, name: str) -> tuple[Standing, ...] | None:
        site = self.sites().get(name)
        return None if site is None else site.stands

    def orders(self) -> dict[str, OrderSeen]:
        return {order.service: order for order in self.looks[-1].orders} if self.looks else {}

    @property
    def streams(self) -> bool:
        return self.talk._streaming


@pytest.fixture(scope="module", params=["standalone", "replica set"])
def mongod(request, tmp_path_factory) -> Iterator[Mongod]:
    needed()
    folder = tmp_path_factory.mktemp("mongod")
    server = Mongod(folder).launch() if request.param == "standalone" else member_of_one(folder)
    yield server
    server.stop()


@pytest.fixture
def clean(mongod) -> Mongod:
    with mongod.client() as client:
        client.drop_database("exabgp_bfd")
    return mongod


@pytest.fixture
def site() -> Iterator[Callable[..., Ear]]:
    with contextlib.ExitStack() as stack:

        def make(name: str, server: Mongod, *, heartbeat: float = 0.5, start: bool = True) -> Ear:
            ear = Ear(name, f"{server.uri}?timeoutMS=2000", heartbeat)
            if start:
                ear.talk.start()
            stack.callback(ear.talk.stop, 5.0)
            return ear

        yield make


def test_a_site_hears_what_another_tells_and_that_it_changed(clean, site):
    ams, fra = site("ams", clean), site("fra", clean)
    ams.talk.tell((DNS,))
    wait_for(lambda: fra.stands("ams") == (DNS,), "fra hears of it")
    assert fra.stands("fra") is None  # it has said nothing yet
    first = fra.sites()["ams"]
    assert -1 < first.age < 60
    wait_for(lambda: fra.sites()["ams"].beat > first.beat, "ams beats though it has nothing new")
    ams.talk.tell((GONE,))
    wait_for(lambda: fra.stands("ams") == (GONE,), "and of the change")
    assert fra.talk.up


def test_a_change_and_an_order_are_heard_between_the_heartbeats(clean, site):
    ams, fra = site("ams", clean, heartbeat=SELDOM), site("fra", clean, heartbeat=SELDOM)
    ams.talk.tell((DNS,))
    fra.talk.tell(())
    wait_for(lambda: fra.stands("ams") == (DNS,), "fra hears of it")
    with clean.client() as client:
        single = "setName" not in client.admin.command("hello")
    if not single:
        wait_for(lambda: fra.streams, "MongoDB tells of changes")
    ams.talk.tell((GONE,))
    wait_for(lambda: fra.stands("ams") == (GONE,), "the change")
    kept = ams.talk.order(ordered(), 5.0)
    wait_for(lambda: fra.orders() == {"dns": kept}, "the order")
    assert fra.streams is not single


def test_what_is_no_news_does_not_wake_a_site(clean, site):
    fra = site("fra", clean, heartbeat=SELDOM)
    fra.talk.tell(())
    with clean.client() as client:
        if "setName" not in client.admin.command("hello"):
            wait_for(lambda: len(fra.looks) > 2, "a standalone is asked again and again")
            return
    wait_for(lambda: fra.streams, "MongoDB tells of changes")
    ams = site("ams", clean, heartbeat=0.2)
    ams.talk.tell((DNS,))
    wait_for(lambda: fra.stands("ams") == (DNS,), "fra hears of it")
    looks = len(fra.looks)
    beat = fra.sites()["ams"].beat
    wait_for(lambda: ams.sites()["ams"].beat > beat + 5, "ams beats on")
    assert len(fra.looks) - looks <= 1


def test_orders_are_numbered_and_the_last_word_stays_also_where_it_takes_back(clean, site):
    ams, fra = site("ams", clean), site("fra", clean)
    kept = [ams.talk.order(ordered(), 5.0), fra.talk.order(ordered(None, "t2"), 5.0)]
    assert [each.number for each in kept] == [1, 2]
    other = ams.talk.order(ordered(token="t3", service="ntp"), 5.0)
    wait_for(lambda: ams.orders().keys() == {"dns", "ntp"}, "both heard")
    assert ams.orders()["dns"] == kept[1]
    # To the microsecond, as it was ordered; only the service is its own.
    assert ams.orders()["ntp"].override == Override("ntp", *[getattr(WITHDRAW, n) for n in WITHDRAW.__slots__[1:]])
    assert other.number == 1


def test_fields_of_others_in_a_sites_document_are_left_alone(clean, site):
    with clean.client() as client:
        documents = client["exabgp_bfd"]["sites"]
        documents.insert_one({"_id": "ams", "journal": "abc", "services": [], "heard": None})
        ams = site("ams", clean)
        ams.talk.tell((DNS,))
        wait_for(lambda: ams.stands("ams") == (DNS,), "it says so")
        found = documents.find_one({"_id": "ams"})
        assert (found["journal"], found["services"]) == ("abc", [])
        # And a document without a word of ours is no site that was heard of.
        documents.insert_one({"_id": "old", "heard": None})
        ams.talk.look()
        looks = len(ams.looks)
        wait_for(lambda: len(ams.looks) > looks + 1, "looked again")
        assert ams.sites().keys() == {"ams"}


def test_a_database_emptied_under_our_hands_hears_all_of_it_again(clean, site):
    ams, fra = site("ams", clean), site("fra", clean)
    ams.talk.tell((DNS,))
    wait_for(lambda: fra.stands("ams") == (DNS,), "heard")
    with clean.client() as client:
        client.drop_database("exabgp_bfd")
        wait_for(lambda: client["exabgp_bfd"]["sites"].find_one({"_id": "ams", "stands": {"$ne": []}}), "said again")
    wait_for(lambda: fra.stands("ams") == (DNS,), "heard again")


def test_a_site_whose_word_came_back_from_an_older_copy_says_all_of_it_again(clean, site):
    ams, fra = site("ams", clean), site("fra", clean)
    ams.talk.tell((DNS,))
    wait_for(lambda: fra.stands("ams") == (DNS,), "heard")
    with clean.client() as client:
        documents = client["exabgp_bfd"]["sites"]
        older = documents.find_one({"_id": "ams"})
        ams.talk.tell((GONE,))
        wait_for(lambda: fra.stands("ams") == (GONE,), "it went")
        documents.replace_one({"_id": "ams"}, older)
        wait_for(lambda: documents.find_one({"_id": "ams"})["word"] != older["word"], "said again")
    wait_for(lambda: fra.stands("ams") == (GONE,), "and heard: it is still gone")


def test_a_heartbeat_says_no_more_than_that_it_is_there(clean, site):
    ams = site("ams", clean, heartbeat=0.2)
    ams.talk.tell((DNS,))
    wait_for(lambda: ams.stands("ams") == (DNS,), "it says so")
    with clean.client() as client:
        documents = client["exabgp_bfd"]["sites"]
        before = documents.find_one({"_id": "ams"})
        wait_for(lambda: documents.find_one({"_id": "ams"})["beat"] > before["beat"] + 3, "it beats")
        assert documents.find_one({"_id": "ams"})["word"] == before["word"]


def test_a_site_tells_how_often_it_speaks_and_what_is_no_number_tells_nothing(clean, site):
    with clean.client() as client:
        told = {"word": "w", "beat": 1, "told": datetime.now(UTC), "stands": []}
        for name, heartbeat in (
            ("inf", float("inf")),
            ("nan", float("nan")),
            ("none", None),
            ("text", "x"),
            ("int", 7),
        ):
            client["exabgp_bfd"]["sites"].insert_one({"_id": name, "heartbeat": heartbeat, **told})
    ams = site("ams", clean, heartbeat=0.5)
    ams.talk.tell((DNS,))
    wait_for(lambda: ams.stands("ams") == (DNS,), "it says so")
    heard = {name: each.heartbeat for name, each in ams.sites().items()}
    assert heard == {"ams": 0.5, "inf": 0.0, "nan": 0.0, "none": 0.0, "text": 0.0, "int": 7.0}


def test_what_was_taken_back_long_ago_is_removed_by_whoever_orders_next(clean, site):
    ams = site("ams", clean)
    ams.talk.tell((DNS,))
    with clean.client() as client:
        orders = client["exabgp_bfd"]["orders"]
        for name in ("old", "new", "holds"):
            ams.talk.order(ordered(WITHDRAW if name == "holds" else None, service=name), 5.0)
        long_ago = datetime.now(UTC) - timedelta(days=31)
        orders.update_many({"_id": {"$in": ["old", "holds"]}}, {"$set": {"ordered": long_ago}})
        ams.talk.order(ordered(), 5.0)
        wait_for(lambda: not orders.find_one({"_id": "old"}), "removed")
        assert {each["_id"] for each in orders.find()} == {"new", "holds", "dns"}


@pytest.mark.parametrize(
    "broken",
    [{"stands": "x"}, {"stands": [{}]}, {"stands": [1, None]}, {"beat": "x"}, {"word": 5}, {"told": "now"}],
    ids=str,
)
def test_what_is_not_understood_is_that_site_s_own_harm(clean, site, broken, caplog):
    with clean.client() as client:
        database = client["exabgp_bfd"]
        database["sites"].insert_one({"_id": "bad", "word": "w", "beat": 1, "told": datetime.now(UTC), **broken})
        database["orders"].insert_many([{"_id": "x"}, {"_id": "y", "token": 1, "action": "explode", "number": 1}])
    ams = site("ams", clean)
    ams.talk.tell((DNS,))
    kept = ams.talk.order(ordered(), 5.0)
    wait_for(lambda: ams.stands("ams") == (DNS,) and ams.orders() == {"dns": kept}, f"heard; {caplog.text}")
    assert not ams.stands("bad")


def test_the_end_says_what_was_not_said_yet(clean, site):
    ams, fra = site("ams", clean, heartbeat=SELDOM), site("fra", clean)
    ams.talk.tell((DNS,))
    wait_for(lambda: fra.stands("ams") == (DNS,), "heard")
    ams.talk.tell(())
    assert ams.talk.stop(5.0)
    wait_for(lambda: fra.stands("ams") == (), "fra need not wait to find out")


def test_a_mongodb_that_is_not_there_stalls_or_goes_only_makes_silence(tmp_path, site, caplog):
    needed()
    caplog.set_level(logging.DEBUG, "exabgp_bfd")
    server = Mongod(tmp_path)
    ams = site("ams", server)
    ams.talk.tell((DNS,))
    with pytest.raises(StoreError):
        ams.talk.order(ordered(), 1.0)
    assert not ams.looks
    server.launch()
    try:
        wait_for(lambda: ams.stands("ams") == (DNS,), "it came")
        with server.stalled():
            wait_for(lambda: ams.talk.up is False, "it stalls")
            looks = len(ams.looks)
            done = threading.Event()

            def tell() -> None:
                for _ in range(1000):
                    ams.talk.tell((GONE,))
                    ams.talk.look()
                done.set()

            threading.Thread(target=tell, daemon=True).start()
            assert done.wait(10), "telling waits for nobody"
            with pytest.raises(StoreError):
                ams.talk.order(ordered(), 1.0)
            stays(lambda: len(ams.looks) == looks, "nothing is heard", 0.5)
        wait_for(lambda: ams.stands("ams") == (GONE,), "it goes on")

        def word() -> str:
            with server.client() as client:
                return str(client["exabgp_bfd"]["sites"].find_one({"_id": "ams"})["word"])

        before = word()
        server.kill()
        wait_for(lambda: ams.talk.up is False, "it is gone")
        server.launch()
        wait_for(lambda: ams.talk.up and ams.stands("ams") == (GONE,), "it is back")
        assert word() != before  # what it has kept of it, nobody knows
        server.signal(signal.SIGSTOP)
        began = time.monotonic()
        ended = ams.talk.stop(0.2)
        assert ended or time.monotonic() - began < 30
    finally:
        server.stop()


def test_no_password_is_told_whatever_happens(tmp_path: Path, caplog):
    caplog.set_level(logging.DEBUG, "exabgp_bfd")
    secret = "n0body-may-see"
    looks: list[Look] = []
    for uri in (f"mongodb://ann:{secret}@127.0.0.1:9/db?timeoutMS=300", f"mongodb://ann:{secret}/x@127.0.0.1:9/db?a=b"):
        talk = MongoSites("ams", Secret(uri), looks.append, heartbeat=1.0)
        talk.start()
        with pytest.raises(StoreError) as refused:
            talk.order(ordered(), 0.5)
        assert secret not in str(refused.value)
        wait_for(lambda talk=talk: talk.up is False, "it failed")
        assert talk.stop(5.0)
    assert caplog.records
    assert secret not in caplog.text
    assert not looks
