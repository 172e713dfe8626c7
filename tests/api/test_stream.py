"""`GET /stream` over real sockets: nothing lost, nothing twice, and no reader, however slow, in the way of anybody."""

import contextlib
import json
import socket
import threading
import time
from dataclasses import replace
from ipaddress import ip_network

import pytest
from api.box import KEYS, Box, event, keys

from exabgp_bfd.core.model import Event, EventQuery, Source, StoreError
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.reader import Reader
from exabgp_bfd.web import gate, stream
from exabgp_bfd.web import server as room
from exabgp_bfd.web.backend import WebSettings
from exabgp_bfd.web.channel import Channel

PATIENCE = 20
"""Seconds that a test waits for what must happen."""


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Client:
    """Reads a stream as a browser does: blocks, the last id, and when it ended."""

    def __init__(self, port, path="/stream", headers=(), version="1.1"):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        lines = [f"GET {path} HTTP/{version}", "Host: localhost", *(f"{name}: {value}" for name, value in headers)]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self.received = b""
        self.last = None

    def head(self):
        text = self._until(b"\r\n\r\n").decode()
        first, *lines = text.splitlines()
        return int(first.split()[1]), {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines}

    def _until(self, mark):
        while mark not in self.received:
            got = self.socket.recv(65536)
            if not got:
                raise EOFError
            self.received += got
        part, _, self.received = self.received.partition(mark)
        return part

    def block(self):
        """The next block: its fields; comments under the empty name."""
        fields = {}
        for line in self._until(b"\n\n").decode().split("\n"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        self.last = fields.get("id", self.last)
        return fields

    def events(self, count):
        found = []
        while len(found) < count:
            block = self.block()
            if "data" in block:
                found.append(json.loads(block["data"]))
        return found

    def begun(self):
        """Reads the head and the greeting; gives itself."""
        assert self.head()[0] == 200
        assert self.block()["retry"] == "3000"
        return self

    def ended(self):
        """Reads to the end, in whatever way it comes; the text."""
        with contextlib.suppress(ConnectionResetError):
            while got := self.socket.recv(65536):
                self.received += got
        return self.received.decode()

    def close(self):
        self.socket.close()


@pytest.fixture
def server(app):
    server = room.WebServer(app, WebSettings("127.0.0.1", 0, threads=4))
    server.start()
    yield server
    assert server.stop(PATIENCE)


@pytest.fixture
def follow(server):
    with contextlib.ExitStack() as stack:

        def begin(path="/stream", headers=(), **more):
            client = Client(server.port, path, headers, **more)
            stack.callback(client.close)
            return client

        yield begin


@pytest.fixture
def streams(app):
    return app.streams


def test_an_event_arrives_as_get_events_would_tell_it(follow, backend):
    backend.trail = [event(1)]
    client = follow()
    status, headers = client.head()
    assert status == 200
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-store"
    assert headers["connection"] == "close"
    assert headers["x-accel-buffering"] == "no"
    assert "transfer-encoding" not in headers
    assert client.block() == {"retry": "3000", "id": "1"}  # at once, and from now on
    backend.trail.append(event(2, details={"text": "two\nlines \N{SNOWMAN}"}))
    assert client.block() == {"id": "2", "data": json.dumps(backend.trail[1])}


def test_http_1_0_is_served_too(follow, backend):
    client = follow(version="1.0").begun()
    backend.trail.append(event(1))
    assert client.events(1) == [event(1)]


@pytest.mark.parametrize("how", ["header", "query", "both"])
def test_who_comes_back_misses_nothing_and_has_nothing_twice(follow, backend, how):
    backend.trail = [event(number) for number in range(1, 8)]
    path = {"header": "/stream", "query": "/stream?after=3", "both": "/stream?after=1"}[how]
    headers = [] if how == "query" else [("Last-Event-ID", "3")]
    client = follow(path, headers).begun()
    backend.trail.append(event(8))
    assert [one["id"] for one in client.events(5)] == [4, 5, 6, 7, 8]


def test_a_greeting_is_enough_to_come_back_from(follow, backend):
    backend.trail = [event(5)]
    first = follow().begun()
    first.close()
    backend.trail.append(event(6))
    assert first.last == "5"
    again = follow(headers=[("Last-Event-ID", first.last)]).begun()
    assert again.events(1) == [event(6)]


def test_connections_that_break_again_and_again_while_events_are_written_leave_no_hole(follow, backend, streams):
    total, seen, last = 600, [], "0"
    backend.trail = [event(1)]

    def write():
        for number in range(2, total + 1):
            backend.trail.append(event(number))
            if number % 20 == 0:
                time.sleep(0.005)

    writer = threading.Thread(target=write)
    writer.start()
    while len(seen) < total:
        client = follow(headers=[("Last-Event-ID", last)])
        try:
            client.begun()
            seen += [one["id"] for one in client.events(min(37, total - len(seen)))]
        finally:
            last = client.last or last
            client.close()
        wait_until(lambda: streams.taken == 0)
    writer.join(PATIENCE)
    assert seen == list(range(1, total + 1))


def test_only_what_was_asked_for(follow, backend):
    backend.trail = [event(1)]
    client = follow("/stream?device=edge2").begun()
    backend.trail += [event(2), event(3, device="edge2"), event(4), event(5, device="edge2")]
    assert [one["id"] for one in client.events(2)] == [3, 5]


def test_since_begins_in_the_past(app, backend, server, follow, monkeypatch):
    asked = []
    monkeypatch.setattr(backend, "follow", lambda query, after: asked.append((query, after)) or [])
    backend.trail = [event(9)]
    follow("/stream?since=1795176000&session=a&service=b&event_type=c").begun()
    wait_until(lambda: asked)
    assert asked[0] == (
        EventQuery(limit=stream.AT_ONCE, session="a", service="b", event_type="c", since=1795176000_000_000),
        0,
    )


def test_an_event_that_is_not_kept_any_more_is_told_as_a_gap(follow, backend):
    backend.trail = [event(50), event(51)]
    client = follow(headers=[("Last-Event-ID", "7")]).begun()
    block = client.block()
    assert block["event"] == "gap"
    assert json.loads(block["data"])["after"] == 7
    assert [one["id"] for one in client.events(2)] == [50, 51]


def test_a_journal_begun_anew_is_told_as_a_gap(follow, backend):
    backend.trail = [event(2)]
    client = follow(headers=[("Last-Event-ID", "700")]).begun()
    block = client.block()
    assert (block["event"], block["id"]) == ("gap", "2")
    backend.trail.append(event(3))
    assert client.events(1) == [event(3)]
    backend.trail = [event(1)]  # and while somebody follows
    block = client.block()
    assert (block["event"], block["id"]) == ("gap", "1")
    backend.trail.append(event(2))
    assert client.events(1) == [event(2)]


@pytest.mark.parametrize("text", ["x", "-1", "1 2", str(2**63), "\xb2", "1" * 5000])
def test_a_last_event_that_is_none_is_refused(client, problem, text):
    document = problem(client.get("/stream", headers={"Last-Event-ID": text}), 422)
    assert document["errors"][0]["parameter"] == "Last-Event-ID"


@pytest.mark.parametrize("query", ["limit=1", "cursor=1", "until=5", "device=", "since=x", "after=-1", "after=x"])
def test_a_wrong_parameter_is_named(client, problem, query):
    document = problem(client.get(f"/stream?{query}"), 422)
    assert document["errors"][0]["parameter"] == query.partition("=")[0]


def test_the_head_alone_takes_no_place(server, follow, streams):
    client = follow()
    client.close()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as head:
        head.sendall(b"HEAD /stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        while got := head.recv(65536):
            received += got
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"\r\n\r\n")
    wait_until(lambda: streams.taken == 0)


def test_a_silent_stream_beats(follow, backend, monkeypatch):
    monkeypatch.setattr(stream, "BEAT", 0.05)
    backend.trail = [event(4)]
    client = follow("/stream?device=edge2").begun()
    assert client.block() == {"": "", "id": "4"}
    backend.trail.append(event(5))  # of another device: it was looked at, and need not be again
    while client.last != "5":
        assert set(client.block()) == {"", "id"}


def test_eight_follow_and_the_ninth_is_told_when_to_ask_again(follow, backend, server, streams):
    followers = [follow().begun() for _ in range(stream.MOST)]
    ninth = follow()
    status, headers = ninth.head()
    assert status == 503
    assert int(headers["retry-after"]) > 0
    # More of them than there are workers, and everybody else is served.
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as other:
        other.sendall(b"GET /services HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert other.recv(15) == b"HTTP/1.1 200 OK"
    backend.trail.append(event(1))
    assert [client.events(1) for client in followers] == [[event(1)]] * stream.MOST
    followers[3].close()
    wait_until(lambda: streams.taken == stream.MOST - 1)
    follow().begun()


def test_a_hundred_that_come_and_go_leave_no_place_taken(follow, streams, server):
    for number in range(100):
        client = Client(server.port)
        if number % 3 == 0:
            client.begun()
        if number % 3 == 1:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        client.close()
    wait_until(lambda: streams.taken == 0)
    follow().begun()


def test_one_that_does_not_read_is_let_go_and_holds_nobody_up(follow, backend, streams, monkeypatch):
    monkeypatch.setattr(stream, "STUCK", 0.3)
    backend.trail = [event(number, details={"text": "x" * 10_000}) for number in range(1, 1201)]
    lazy = follow(headers=[("Last-Event-ID", "0")])
    lazy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wait_until(lambda: streams.taken == 1)
    eager = follow().begun()
    held = []

    def watch():
        held.append(max((len(seat.out) for seat in tuple(streams._seats)), default=0))
        return streams.dropped == 1

    wait_until(watch)
    assert max(held) < stream.FILL + 20_000  # never more than one portion, of 12 MB that wait
    wait_until(lambda: streams.taken == 1)
    backend.trail.append(event(1201))
    assert eager.events(1) == [event(1201)]
    lazy.ended()


def test_one_that_reads_slowly_gets_everything_in_order(follow, backend):
    backend.trail = [event(number, details={"text": "x" * 5_000}) for number in range(1, 401)]
    client = follow(headers=[("Last-Event-ID", "0")]).begun()
    seen = []
    for _ in range(8):
        seen += [one["id"] for one in client.events(50)]
        time.sleep(0.02)
    assert seen == list(range(1, 401))


def test_who_talks_instead_of_listening_is_let_go(follow, streams):
    client = follow().begun()
    with contextlib.suppress(OSError):
        for _ in range(100):
            client.socket.sendall(b"x" * 1000)
    wait_until(lambda: streams.taken == 0)


def test_a_stream_ends_after_its_lifetime_so_that_its_key_is_asked_for_again(follow, streams, monkeypatch):
    monkeypatch.setattr(stream, "LIFETIME", 0.1)
    client = follow().begun()
    assert client.ended() == ""
    wait_until(lambda: streams.taken == 0)


def test_a_journal_that_cannot_be_read_is_waited_for(follow, backend, monkeypatch):
    monkeypatch.setattr(stream, "AGAIN", 0.05)
    client = follow().begun()
    backend.trouble = StoreError("the disk is full")
    backend.trail.append(event(1))
    time.sleep(0.3)
    backend.trouble = None
    assert client.events(1) == [event(1)]


def test_a_journal_that_cannot_be_read_at_the_beginning_is_503(client, backend, problem, store_error, app):
    backend.trouble = store_error
    assert "the disk is full" in problem(client.get("/stream"), 503)["detail"]
    assert app.streams.taken == 0


def test_a_fault_ends_the_streams_and_not_the_thread(follow, backend, streams, monkeypatch, caplog):
    monkeypatch.setattr(stream, "AGAIN", 0.05)
    client = follow().begun()
    backend.trail.append({"no": "id"})
    client.ended()
    wait_until(lambda: streams.taken == 0)
    assert "a round of the event streams failed" in caplog.text
    backend.trail = [event(1)]
    again = follow(headers=[("Last-Event-ID", "0")]).begun()
    assert again.events(1) == [event(1)]


def test_the_end_of_the_program_ends_the_streams(app, backend):
    server = room.WebServer(app, WebSettings("127.0.0.1", 0, threads=2))
    server.start()
    clients = [Client(server.port).begun() for _ in range(3)]
    assert server.stop(PATIENCE)
    assert [client.ended() for client in clients] == [": the program stops\n\n"] * 3
    for client in clients:
        client.close()
    assert app.streams.taken == 0
    assert not any(thread.name.startswith("web") for thread in threading.enumerate())


def test_a_follower_that_does_not_read_does_not_hold_up_the_end(app, backend):
    backend.trail = [event(number, details={"text": "x" * 10_000}) for number in range(1, 2001)]
    server = room.WebServer(app, WebSettings("127.0.0.1", 0, threads=2))
    server.start()
    client = Client(server.port, headers=[("Last-Event-ID", "0")])
    wait_until(lambda: app.streams._seats)
    assert server.stop(PATIENCE)
    client.close()
    assert app.streams.taken == 0


def test_no_place_after_the_end(app):
    assert app.streams.stop(1.0)
    assert app.streams.reserve(EventQuery(), 0, b"", lambda: True) is None


def test_a_connection_that_arrives_after_the_end_is_closed(app):
    seat = app.streams.reserve(EventQuery(), 0, b"", lambda: True)
    assert app.streams.stop(1.0)
    ours, theirs = socket.socketpair()
    seat.take(ours)
    theirs.settimeout(PATIENCE)
    assert theirs.recv(1) == b""
    theirs.close()
    assert app.streams.taken == 0


def test_a_client_that_leaves_before_the_head_gives_its_place_back(app, backend, monkeypatch):
    """The head is written, but never flushed: the connection is closed under it."""
    gone = threading.Event()
    monkeypatch.setattr(Channel, "_flush_some", lambda self, do_close=True: gone.is_set() and self.handle_close())
    server = room.WebServer(app, WebSettings("127.0.0.1", 0, threads=2))
    server.start()
    client = Client(server.port)
    wait_until(lambda: app.streams.taken == 1)
    client.close()
    gone.set()
    assert server.stop(PATIENCE)
    assert app.streams.taken == 0


def test_reading_is_asked_for_a_key_where_there_are_keys(backend, settings):
    app = room.create_app(backend, WebSettings("127.0.0.1", 0, keys=keys()))
    server = room.WebServer(app, WebSettings("127.0.0.1", 0, threads=2))
    server.start()
    try:
        stranger = Client(server.port)
        assert stranger.head()[0] == 401
        reader = Client(server.port, headers=[("X-API-Key", KEYS["read"])]).begun()
        stranger.close()
        reader.close()
    finally:
        assert server.stop(PATIENCE)


@pytest.mark.parametrize("change", ["revoked", "networks", "nothing"])
def test_a_reload_that_takes_keys_away_ends_the_streams(backend, change):
    settings = WebSettings("127.0.0.1", 0, keys=keys(), threads=2)
    app = room.create_app(backend, settings)
    server = room.WebServer(app, settings)
    server.start()
    try:
        client = Client(server.port, headers=[("X-API-Key", KEYS["read"])]).begun()
        if change == "revoked":
            gate.renew(app, replace(settings, keys=keys()[1:]))
        elif change == "networks":
            gate.renew(app, replace(settings, networks=(ip_network("192.0.2.0/24"),)))
        else:
            gate.renew(app, replace(settings, keys=keys()))
        backend.trail.append(event(1))
        if change == "nothing":
            assert client.events(1) == [event(1)]
        else:
            client.ended()
            wait_until(lambda: app.streams.taken == 0)
            again = Client(server.port, headers=[("X-API-Key", KEYS["read"])])
            assert again.head()[0] in {401, 403}
            again.close()
        client.close()
    finally:
        assert server.stop(PATIENCE)


def test_another_server_tells_what_there_is_by_now_and_ends(client, backend):
    backend.trail = [event(1), event(2)]
    response = client.get("/stream?after=1")
    assert response.content_type == "text/event-stream"
    assert response.data == stream.greeting(1) + stream.message(event(2))


class Kept(Box):
    """The box, with a real journal behind it."""

    reader: Reader

    def events(self, query):
        return [stored.document() for stored in self.reader.events(query)]

    def follow(self, query, after):
        return [stored.document() for stored in self.reader.following(query, after)]

    def event(self, number):
        stored = self.reader.event(number)
        return stored and stored.document()


def test_a_journal_that_is_written_meanwhile_is_followed_without_a_hole(tmp_path):
    journal = Journal(tmp_path / "journal.db", site="fra1")
    journal.open()
    journal.start()
    backend = Kept()
    backend.reader = Reader(tmp_path / "journal.db")
    server = room.WebServer(room.create_app(backend, settings := WebSettings("127.0.0.1", 0, threads=2)), settings)
    server.start()
    total = 2000
    try:
        client = Client(server.port).begun()
        filtered = Client(server.port, "/stream?device=edge7&event_type=bfd_failure").begun()

        def write():
            for number in range(1, total + 1):
                kind = "bfd_failure" if number % 2 else "snmp_poll"
                journal.record(Event(number, kind, device=f"edge{number % 10}", source=Source.SNMP_POLL), number)
                if number % 100 == 0:
                    time.sleep(0.01)

        writer = threading.Thread(target=write)
        writer.start()
        assert [one["id"] for one in client.events(total)] == list(range(1, total + 1))
        expected = [number for number in range(1, total + 1) if number % 10 == 7]
        assert [one["id"] for one in filtered.events(len(expected))] == expected
        writer.join(PATIENCE)
        client.close()
        filtered.close()
    finally:
        assert server.stop(PATIENCE)
        assert journal.stop(PATIENCE)
        backend.reader.close()


FILTERS = [
    {},
    {"device": "edge1"},
    {"session": "edge1/a"},
    {"service": "dns"},
    {"event_type": "bfd_failure"},
    {"event_type": "snmp_poll"},
    {"device": "edge2", "event_type": "bfd_failure"},
    {"session": "edge2/a", "event_type": "bfd_failure"},
    {"since": 40},
    {"device": "edge1", "since": 20, "until": 60},
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("journal") / "journal.db"
    journal = Journal(path, site="fra1")
    journal.open()
    journal.start()
    for number in range(1, 101):
        device = f"edge{number % 3}"
        journal.record(
            Event(
                number,
                "bfd_failure" if number % 4 == 0 else "snmp_poll",
                device=device,
                session=f"{device}/a",
                service="dns" if number % 5 == 0 else None,
                source=Source.SNMP_POLL,
            ),
            number,
        )
    assert journal.stop(PATIENCE)
    reader = Reader(path)
    yield reader
    reader.close()


@pytest.mark.parametrize("fields", FILTERS, ids=str)
def test_following_is_the_trail_read_forwards(written, fields):
    backwards = [stored.id for stored in written.events(EventQuery(limit=1000, **fields))]
    assert backwards
    for size in (1, 7, 1000):
        seen, after = [], 0
        while found := written.following(EventQuery(limit=size, **fields), after):
            assert len(found) <= size
            seen += [stored.id for stored in found]
            after = seen[-1]
        assert seen == backwards[::-1]


def test_pages_that_nobody_reads_hold_no_worker(server, follow, backend):
    """A page of events in pieces, of megabytes, asked for by more clients than there are workers, which all sleep."""
    backend.trail = [event(number, details={"text": "x" * 4_000}) for number in range(1, 1001)]
    sleepers = [follow("/events?limit=1000", [("Accept", "text/csv")]) for _ in range(6)]
    for sleeper in sleepers[:3]:
        assert sleeper.socket.recv(1) == b"H"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as other:
            other.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert other.recv(15) == b"HTTP/1.1 200 OK"
    sleepers[1].close()  # in the middle of its answer
    text = sleepers[2].ended()
    assert text.endswith("0\r\n\r\n")  # whole, as the last chunk says
    assert text.count('""text""') == 1000
