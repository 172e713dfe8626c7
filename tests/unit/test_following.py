"""The stream of events: taken apart however it comes, and followed over a server that stops and starts."""

import contextlib
import json
import threading
import time
from itertools import chain, pairwise

import pytest
from api.box import KEYS, Box, event, keys
from api.test_tls import certify
from hypothesis import given
from hypothesis import strategies as st

from exabgp_bfd import following, remote
from exabgp_bfd.core.model import BfdError, Secret
from exabgp_bfd.following import Block, Blocks, Happened, Note, follow
from exabgp_bfd.web import stream
from exabgp_bfd.web.backend import WebSettings
from exabgp_bfd.web.limits import Rates
from exabgp_bfd.web.server import WebServer, create_app

PATIENCE = 20


def test_the_blocks_of_our_own_stream():
    told = stream.greeting(7) + stream.message(event(8)) + stream.beat(9) + stream.gap(9, 3, "it was begun anew")
    blocks = list(Blocks().feed(told))
    assert blocks == [
        Block(id=7),
        Block(json.dumps(event(8)), id=8),
        Block(id=9),
        Block(json.dumps({"after": 9, "resumed_after": 3, "why": "it was begun anew"}), "gap", 3),
    ]


def test_several_lines_of_data_are_one_text_and_strange_ids_are_none():
    assert list(Blocks().feed(b"data: a\r\ndata:b\r\nid: x\r\n\r\n\n\nid: 99999999999999999999\n\n")) == [
        Block("a\nb"),
        Block(),
    ]


@given(st.lists(st.integers(0, 200), max_size=12))
def test_it_does_not_matter_how_it_is_cut(cuts):
    told = stream.greeting(7) + stream.message(event(8, device="Zürich")) + stream.beat(9)
    places = [0, *sorted(cut for cut in cuts if cut < len(told)), len(told)]
    blocks = Blocks()
    found = [block for a, b in pairwise(places) for block in blocks.feed(told[a:b])]
    assert found == list(Blocks().feed(told))


@pytest.mark.parametrize("endless", [b"x" * 65536, b"data: xxxxxxx\n" * 4096], ids=["a line", "a block"])
def test_a_block_that_never_ends_is_given_up(endless):
    blocks = Blocks()
    with pytest.raises(BfdError, match="never ends"):
        list(chain.from_iterable(map(blocks.feed, [endless] * 200)))


# --- following ----------------------------------------------------------------------------------------------------


class House:
    """A program in a box, whose server may stop and start at the same address."""

    def __init__(self) -> None:
        self.box = Box()
        self.port = 0
        self.settings = {"threads": 2, "rates": Rates(requests=0, failures=0)}
        self._server = None

    def start(self):
        web = WebSettings("127.0.0.1", self.port, **self.settings)
        self._server = WebServer(create_app(self.box, web), web)
        self._server.start()
        self.port = self._server.port

    def stop(self):
        server, self._server = self._server, None
        if server is not None:
            assert server.stop(PATIENCE)

    def reach(self, key=None):
        tls = self.settings.get("tls")
        url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"
        there = remote.Whereabouts(
            url, None if key is None else Secret(key), certificate=None if tls is None else tls.certificate
        )
        return remote.Remote(there, timeout=PATIENCE)


@pytest.fixture
def house():
    house = House()
    house.start()
    yield house
    house.stop()


class Follower:
    """Follows on a thread of its own."""

    def __init__(self, house, wanted=None, after=None, key=None, **more):
        self.found = []
        self.error = None
        self._over = threading.Event()
        self._arguments = (lambda: house.reach(key), wanted or {}, after)
        self._more = more
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            with contextlib.closing(follow(*self._arguments, sleep=lambda _: time.sleep(0.05), **self._more)) as found:
                for what in found:
                    self.found.append(what)
                    if self._over.is_set():
                        return
        except BfdError as error:
            self.error = error

    @property
    def events(self):
        return [what.event["id"] for what in tuple(self.found) if isinstance(what, Happened)]

    @property
    def notes(self):
        return [what.text for what in tuple(self.found) if isinstance(what, Note) and what.text]

    def until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, (self.found, self.error)
            time.sleep(0.01)

    def end(self):
        self._over.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.fixture
def begin(house):
    begun = []

    def start(*words, **more):
        begun.append(Follower(house, *words, **more))
        return begun[-1]

    yield start
    house.stop()  # which makes each say something
    for follower in begun:
        follower.end()


def test_events_come_as_they_happen_from_behind_a_place(house, begin):
    house.box.trail = [event(number) for number in (1, 2, 3)]
    follower = begin(after=1)
    follower.until(lambda: follower.events == [2, 3])
    house.box.trail = [*house.box.trail, event(4)]
    follower.until(lambda: follower.events == [2, 3, 4])
    assert follower.notes == []


def test_the_program_is_started_anew_and_nothing_is_missed_or_told_twice(house, begin):
    house.box.trail = [event(1)]
    follower = begin(after=0)
    follower.until(lambda: follower.events == [1])
    house.stop()
    follower.until(lambda: follower.notes)
    house.box.trail = [event(number) for number in (1, 2, 3)]  # it happened while nobody could ask
    house.start()
    follower.until(lambda: follower.events == [1, 2, 3])
    house.box.trail = [*house.box.trail, event(4)]
    follower.until(lambda: follower.events == [1, 2, 3, 4])
    lost, back = follower.notes
    assert f"http://127.0.0.1:{house.port}" in lost
    assert lost.endswith("asking again until it answers, to go on behind event 1")
    assert back == "it answers again"


def test_under_tls_too(house, begin, tmp_path):
    house.stop()
    house.settings["tls"] = certify(tmp_path)
    house.start()
    house.box.trail = [event(1)]
    follower = begin(after=0)
    follower.until(lambda: follower.events == [1])
    house.stop()
    house.box.trail = [event(1), event(2)]
    house.start()
    follower.until(lambda: follower.events == [1, 2])


def test_a_journal_that_was_begun_anew_is_told(house, begin):
    house.box.trail = [event(7)]
    follower = begin(after=9)
    follower.until(lambda: follower.notes)
    assert follower.notes == ["events may be missing behind event 9: the journal was begun anew"]
    house.box.trail = [event(7), event(8)]
    follower.until(lambda: follower.events == [8])


def test_the_filters_are_those_of_the_stream(house, begin):
    house.box.trail = [event(1), event(2, device="edge2"), event(3)]
    follower = begin({"device": "edge2"}, 0)
    follower.until(lambda: follower.events == [2])


def test_what_cannot_be_begun_is_an_error_at_once(house, begin):
    house.stop()
    follower = begin()
    follower.until(lambda: follower.error)
    assert isinstance(follower.error, remote.AbsentError)


def test_who_answered_just_before_is_waited_for(house, begin):
    house.box.trail = [event(1), event(2)]
    house.stop()
    follower = begin(after=1, answered=True)
    follower.until(lambda: follower.notes)
    assert follower.error is None
    house.start()
    follower.until(lambda: follower.events == [2])


def test_a_key_that_is_revoked_meanwhile_ends_it(house, begin):
    house.stop()
    house.settings["keys"] = keys()
    house.start()
    house.box.trail = [event(1)]
    follower = begin(after=0, key=KEYS["read"])
    follower.until(lambda: follower.events == [1])
    house.stop()
    house.settings["keys"] = tuple(one for one in keys() if one.role != "read")
    house.start()
    follower.until(lambda: follower.error)
    assert isinstance(follower.error, remote.DeniedError)
    assert KEYS["read"] not in str(follower.error)


def test_what_is_asked_wrongly_is_refused(begin):
    follower = begin({"since": "yesterday"})
    follower.until(lambda: follower.error)
    assert isinstance(follower.error, remote.RefusedError)


def test_no_more_places_is_told_at_first(house, begin, monkeypatch):
    monkeypatch.setattr(stream, "MOST", 0)
    follower = begin()
    follower.until(lambda: follower.error)
    assert isinstance(follower.error, remote.NotNowError)
    assert follower.error.status == 503
    assert follower.error.retry_after == 10.0


def test_the_pauses_grow_and_are_bounded(house):
    """Between two tries a pause, growing from the second on."""
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        house.stop()
        if len(pauses) == 5:
            raise InterruptedError

    def fall_silent():
        for what in follow(house.reach, {}, 0, sleep=sleep):
            if isinstance(what, Happened):
                house.stop()

    house.box.trail = [event(1)]
    with pytest.raises(InterruptedError):
        fall_silent()
    assert pauses == [1.0, 2.0, 4.0, following.LATEST, following.LATEST]
