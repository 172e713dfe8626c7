"""Couriers with a real journal, and receivers that do what receivers do: each alert arrives, and none holds another."""

import socket
import ssl
import subprocess
import time

import pytest
from lab import free_port, stays, wait_for
from lab.receiver import Receiver, answer, reset

from exabgp_bfd.core import notices
from exabgp_bfd.core.model import Event, Note, Secret
from exabgp_bfd.core.notices import Endpoint, EndpointState, NoEndpointError
from exabgp_bfd.mailroom import JournalTrail
from exabgp_bfd.notify import courier
from exabgp_bfd.notify.notifier import Notifier
from exabgp_bfd.storage import letters
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.reader import Reader
from exabgp_bfd.web.auth import Sender, prove

WHSEC = Secret("whsec_bm9ib2R5LW1heS1zZWUtdGhpcy1zZWNyZXQtZXZlcg==")
US = Sender("us", (WHSEC,))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pauses of milliseconds."""
    monkeypatch.setattr(notices, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(notices, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(courier, "_IDLE", 0.2)


class Office:
    """A journal and its couriers."""

    def __init__(self, path, last=0):
        self.path = path
        self.journal = Journal(path, "fra1")
        self.last = self.journal.open().last_event
        self.journal.start()
        self.notes: list[Note] = []
        self.reader = Reader(path, site="fra1")
        self.notifier = Notifier(
            JournalTrail(self.reader, self.journal), self.journal.alerts_kept, self.notes.append, "exabgp-bfd/test"
        )

    def tell(self, *endpoints):
        self.notifier.renew(endpoints, self.last)

    def happens(self, *kinds, ts=None, **more):
        for kind in kinds:
            self.last += 1
            event = Event(self.last, kind, **more)
            self.journal.record(event, time.time_ns() // 1000 if ts is None else ts)
            self.notifier.called([event])
        return self.last

    def view(self, name="pager"):
        return next(view for view in self.notifier.views() if view.name == name)

    def noted(self, event_type):
        return [dict(note.details) for note in self.notes if note.event_type == event_type]

    def letters(self):
        self.journal.flushed(messages=False).result(30)
        return self.reader.letters(1000)

    def stop(self):
        ended = self.notifier.stop(30)
        self.reader.close()
        self.journal.stop(10)
        assert ended


@pytest.fixture
def office(tmp_path):
    opened = []

    def make():
        opened.append(Office(tmp_path / "journal.db"))
        return opened[-1]

    yield make
    for each in opened:
        each.stop()


@pytest.fixture
def receive():
    started = []

    def make(*args, **more):
        started.append(Receiver(*args, **more).start())
        return started[-1]

    yield make
    for each in started:
        each.stop()


def endpoint(receiver, name="pager", path="/hook", **more):
    return Endpoint(name, Secret(f"{receiver.url}{path}"), (WHSEC,), address=receiver.url, **more)


def events(receiver):
    return [told.event["id"] for told in receiver.told]


def test_what_matches_is_told_in_order_signed_and_as_the_api_gives_it(office, receive):
    room, receiver = office(), receive()
    room.tell(endpoint(receiver, devices=("edge*",), path="/hook?a=b%20c"))
    room.happens("bfd_failure", device="core1")
    room.happens("bfd_failure", "snmp_poll", "bfd_recovery", device="edge1", details={"grüße": 1})
    wait_for(lambda: events(receiver) == [2, 4], "told")
    first = receiver.told[0]
    assert prove([US], first.headers.items(), first.body).id == f"id:{first.name}"
    assert "x-hub-signature-256" in first.headers
    assert first.headers["content-type"] == "application/json"
    assert first.headers["user-agent"] == "exabgp-bfd/test"
    assert first.path == "/hook?a=b%20c"
    assert first.event == room.reader.event(2).document()
    assert receiver.connections == 1  # kept open between two
    wait_for(lambda: room.view().sent == 2, "counted")
    assert (room.view().state, room.view().waiting) == (EndpointState.OK, 0)


@pytest.mark.parametrize(
    "trouble",
    [answer(500), answer(503), answer(429, Retry_After="0"), reset, "stall", "drip"],
    ids=["500", "503", "429", "reset", "stall", "drip"],
)
def test_whatever_a_receiver_does_it_is_told_in_the_end(office, receive, trouble):
    """One that stalls or drips is given up at the deadline, and told again; in order, and under the same id."""
    room, receiver = office(), receive()
    act = getattr(receiver, trouble) if isinstance(trouble, str) else trouble

    def behave(handler):
        (act if len(receiver.told) <= 2 else answer(200))(handler)

    receiver.behave = behave
    room.tell(endpoint(receiver, timeout=0.3))
    room.happens("bfd_failure", "bfd_recovery")
    wait_for(lambda: events(receiver)[2:] == [1, 2], f"told; {events(receiver)}")
    assert events(receiver)[:2] == [1, 1]
    assert len({told.name for told in receiver.told[:3]}) == 1
    wait_for(lambda: room.view().sent == 2, "taken")
    assert (room.view().failed, room.view().state) == (2, EndpointState.OK)
    assert room.letters() == []


def test_a_huge_answer_is_not_read_to_its_end(office, receive):
    room, receiver = office(), receive()
    receiver.behave = receiver.huge
    room.tell(endpoint(receiver))
    room.happens("bfd_failure", "bfd_recovery")
    wait_for(lambda: room.view().sent == 2, "told")
    assert receiver.connections == 2


def test_a_redirect_is_not_followed_and_the_alert_is_kept(office, receive):
    room, receiver, trap = office(), receive(), receive()
    away = answer(307, Location=f"{trap.url}/metadata")

    def behave(handler):
        (away if len(receiver.told) <= 2 else answer(200))(handler)

    receiver.behave = behave
    room.tell(endpoint(receiver, tries=2))
    room.happens("bfd_failure", "bfd_recovery")
    wait_for(lambda: room.view().sent == 1, "the second is told")
    assert events(receiver) == [1, 1, 2]
    assert trap.told == []
    (letter,) = room.letters()
    assert (letter.event, letter.tries) == (1, 2)
    assert "307" in letter.reason
    assert "metadata" not in letter.reason
    assert room.noted("notify_dead") == [
        {"endpoint": "pager", "count": 1, "first": 1, "last": 1, "reason": letter.reason}
    ]


def test_one_that_does_not_answer_holds_no_other(office, receive):
    room, slow, quick_one = office(), receive(), receive()
    slow.behave = slow.stall
    room.tell(endpoint(slow, "slow", timeout=30.0), endpoint(quick_one, "quick"))
    room.happens(*["bfd_failure"] * 20)
    wait_for(lambda: len(quick_one.told) == 20, "the other is told")
    wait_for(lambda: slow.told, "it was asked as well")
    assert len(slow.told) == 1
    assert (room.view("slow").waiting, room.view("slow").sent) == (20, 0)


def test_one_that_is_not_there_is_told_once_it_is(office, receive):
    room, port = office(), free_port()
    room.tell(Endpoint("pager", Secret(f"http://127.0.0.1:{port}/"), (WHSEC,), tries=1))
    room.happens("bfd_failure")
    wait_for(lambda: room.view().failed >= 3, "tried")
    assert "refused" in room.view().last_error
    receiver = receive(port=port)
    wait_for(lambda: events(receiver) == [1], "told")
    assert room.letters() == []  # not to be there is no refusal


def test_gone_is_gone_until_somebody_says_otherwise(office, receive, tmp_path):
    room, receiver = office(), receive(behave=answer(410))
    room.tell(endpoint(receiver))
    room.happens("bfd_failure")
    wait_for(lambda: room.view().state is EndpointState.DISABLED, "disabled")
    assert [each["error"] for each in room.noted("notify_disabled")] == ["status 410"]
    with pytest.raises(NoEndpointError, match="disabled"):
        room.notifier.may_send("pager")
    receiver.behave = answer(204)
    room.happens("bfd_recovery")
    room.stop()
    again = office()
    again.tell(endpoint(receiver))
    stays(lambda: len(receiver.told) == 1, "a start does not make it come back", 0.5)
    again.notifier.needs("pager").enable()
    wait_for(lambda: events(receiver)[1:] == [1, 2], "what waited is told")
    wait_for(lambda: again.view().state is EndpointState.OK, "enabled")
    receiver.behave = answer(410)
    again.happens("bfd_failure")
    wait_for(lambda: again.view().state is EndpointState.DISABLED, "disabled again")
    receiver.behave = answer(204)
    again.tell(endpoint(receiver, path="/another"))
    wait_for(lambda: events(receiver)[-1] == 3 and receiver.told[-1].path == "/another", "another url is another one")


def test_where_it_was_is_known_after_a_restart(office, receive):
    room, receiver = office(), receive()
    room.happens("bfd_failure")  # before there was anybody to be told
    room.tell(endpoint(receiver))
    room.happens("bfd_recovery")
    wait_for(lambda: events(receiver) == [2], "told")
    room.notifier.stop(30)
    room.happens("bfd_failure", "bfd_recovery")
    room.stop()
    again = office()
    again.tell(endpoint(receiver))
    wait_for(lambda: events(receiver) == [2, 3, 4], f"told what was missed; {events(receiver)}")
    stays(lambda: len(receiver.told) == 3, "and nothing twice", 0.3)


def test_what_is_too_old_is_kept_and_not_sent(office, receive):
    room, receiver = office(), receive()
    room.tell(endpoint(receiver, max_age=60.0))
    room.happens("bfd_failure", ts=time.time_ns() // 1000 - 61_000_000)
    room.happens("bfd_recovery")
    wait_for(lambda: events(receiver) == [2], "the young one is told")
    (letter,) = room.letters()
    assert (letter.event, letter.tries, letter.reason) == (1, 0, "too old")


def test_where_too_many_wait_the_oldest_give_way(office, receive, monkeypatch):
    monkeypatch.setattr(letters, "KEEP", 5)
    room, receiver = office(), receive(behave=answer(503))
    room.tell(endpoint(receiver, max_queue=10))
    room.happens("bfd_failure")
    wait_for(lambda: receiver.told, "tried")
    room.happens(*["bfd_failure"] * 29)
    wait_for(lambda: room.view().dead == 20, f"given up; {room.view()}")
    assert [letter.event for letter in room.letters()] == [20, 19, 18, 17, 16]  # the newest of them are kept
    receiver.behave = answer(204)
    wait_for(lambda: room.view().sent == 10, "told")
    assert sorted(set(events(receiver)[-10:])) == list(range(21, 31))
    assert room.noted("notify_dead")[0]["reason"] == "more than 10 waited"


def test_a_dead_letter_is_sent_again_even_after_a_restart(office, receive):
    room, receiver = office(), receive(behave=answer(400))
    room.tell(endpoint(receiver, tries=1))
    room.happens("bfd_failure")
    (letter,) = wait_for(room.letters, "given up")
    room.journal.send_again(letter.number)
    room.journal.flushed(messages=False).result(30)
    room.notifier.needs("pager").call_again()
    wait_for(lambda: [each.tries for each in room.letters()] == [2], "refused once more, and kept")
    assert not room.letters()[0].again
    receiver.behave = answer(200)
    room.notifier.stop(30)
    room.journal.send_again(letter.number)
    room.stop()
    again = office()
    again.tell(endpoint(receiver))
    wait_for(lambda: not again.letters(), "delivered")
    assert len({told.name for told in receiver.told}) == 1
    assert {told.body.decode() for told in receiver.told} == {letter.body}


def test_many_dead_letters_are_tried_once_each_and_hold_no_news(office, receive):
    room, receiver = office(), receive(behave=answer(400))
    room.tell(endpoint(receiver, tries=1))
    room.happens(*["bfd_failure"] * 8)
    wait_for(lambda: len(room.letters()) == 8, "given up")
    before = len(receiver.told)
    for letter in room.letters():
        room.journal.send_again(letter.number)
    room.journal.flushed(messages=False).result(30)
    room.notifier.needs("pager").call_again()
    wait_for(lambda: {letter.tries for letter in room.letters()} == {2}, "each was tried once more")
    assert events(receiver)[before:] == list(range(1, 9))
    receiver.behave = answer(200)
    room.happens("bfd_recovery")
    wait_for(lambda: events(receiver)[before + 8 :] == [9], "and no more; what is new is told")


def test_alerts_that_are_late_are_told_of_once_and_once_more_when_they_are_not(office, receive, monkeypatch):
    monkeypatch.setattr(courier, "LATE", 0.3)
    room, receiver = office(), receive(behave=answer(503))
    room.tell(endpoint(receiver))
    room.happens("bfd_failure")
    (late,) = wait_for(lambda: room.noted("notify_late"), "late")
    assert (late["endpoint"], late["error"], late["waiting"]) == ("pager", "status 503", 1)
    failed = room.view().failed
    wait_for(lambda: room.view().failed > failed + 3, "still")
    receiver.behave = answer(204)
    wait_for(lambda: room.noted("notify_recovered"), "recovered")
    assert len(room.noted("notify_late")) == 1


def test_what_befalls_alerts_about_alerts_is_told_to_nobody(office, receive, monkeypatch):
    """Else two that cannot be reached would tell each other of it for ever."""
    monkeypatch.setattr(courier, "LATE", 0.0)
    room, receiver = office(), receive(behave=answer(400))
    room.tell(endpoint(receiver, tries=2))
    room.happens("notify_dead", details={"endpoint": "chat"})
    room.happens("notify_dead", details={"endpoint": "pager"})
    assert [letter.event for letter in wait_for(room.letters, "given up")] == [1]
    stays(lambda: not room.notes, "no event came of it", 0.3)


def test_settings_change_while_it_is_told(office, receive):
    room, receiver, other = office(), receive(), receive()
    receiver.behave = receiver.stall
    room.tell(endpoint(receiver, timeout=60.0))
    room.happens("bfd_failure")
    wait_for(lambda: receiver.told, "under way")
    room.tell(endpoint(other, events=("bfd_*", "started")))
    wait_for(lambda: events(other) == [1], "told at the new place at once")
    room.happens("started")
    wait_for(lambda: events(other) == [1, 2], "by the new filter")
    room.tell()
    assert room.notifier.views() == ()
    room.happens("bfd_failure")
    room.tell(endpoint(other))
    wait_for(lambda: events(other) == [1, 2, 3], "one that comes back goes on where it was")
    assert room.notifier.totals()["sent"] == 3


def test_a_storm_arrives_whole_and_in_order(office, receive):
    room, receiver = office(), receive()
    room.tell(endpoint(receiver))
    room.happens(*["snmp_poll", "bfd_failure"] * 600)
    wait_for(lambda: len(receiver.told) == 600, "told")
    assert events(receiver) == list(range(2, 1201, 2))


def test_a_journal_in_which_nothing_matches_is_not_read_again_from_the_start(office, receive):
    room, receiver = office(), receive()
    room.tell(endpoint(receiver))
    room.happens(*["started"] * 1200)
    room.happens("bfd_failure")
    wait_for(lambda: events(receiver) == [1201], "told")
    wait_for(lambda: room.journal.alerts_kept("pager") == (1201, None), "kept")


# --- secrets, proxies, certificates ---------------------------------------------------------------------------------


def test_nothing_of_the_url_is_shown_and_its_userinfo_is_a_login(office, receive, caplog):
    room, receiver = office(), receive(behave=reset)
    url = receiver.url.replace("http://", "http://me:w%C3%B6rd@") + "/T0P/PATHSECRET?token=QUERYSECRET"
    room.tell(Endpoint("pager", Secret(url), (WHSEC,), address=receiver.url))
    room.happens("bfd_failure")
    wait_for(lambda: room.view().failed >= 2, "tried")
    assert receiver.told[0].headers["authorization"] == "Basic bWU6d8O2cmQ="
    shown = caplog.text + repr(room.notifier.views()) + repr(room.notes) + repr(room.notifier.needs("pager").endpoint)
    for secret in ("PATHSECRET", "QUERYSECRET", "rd@", WHSEC.reveal()):
        assert secret not in shown


def test_proxies_of_the_environment_are_not_asked(office, receive, monkeypatch):
    room, receiver, proxy = office(), receive(), receive()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    room.tell(endpoint(receiver))
    room.happens("bfd_failure")
    wait_for(lambda: events(receiver) == [1], "told")
    assert proxy.told == []


def test_ipv6_is_spoken(office, receive):
    room, receiver = office(), receive(host="::1")
    room.tell(endpoint(receiver))
    room.happens("bfd_failure")
    wait_for(lambda: events(receiver) == [1], f"told; {room.view()}")
    assert receiver.told[0].headers["host"] == f"[::1]:{receiver.port}"


def test_a_server_is_believed_by_its_certificate_alone(office, receive, tmp_path, need):
    need("openssl", "openssl")
    for name, subject in (("good", "IP:127.0.0.1"), ("other", "DNS:other.example.net")):
        made = [*("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")]
        made += ["-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={subject}"]
        made += ["-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.pem")]
        subprocess.run(made, check=True, capture_output=True, timeout=60)

    def served(name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        return receive(tls=context)

    room, good, other = office(), served("good"), served("other")
    ca = (tmp_path / "good.pem").read_text()
    strange = endpoint(other, "another name", ca=(tmp_path / "other.pem").read_text())
    unknown = endpoint(good, "unknown")
    room.tell(endpoint(good, ca=ca), strange, unknown)
    room.happens("bfd_failure")
    wait_for(lambda: events(good) == [1], f"told; {room.view()}")
    for name in ("another name", "unknown"):
        wait_for(lambda name=name: room.view(name).failed, "refused")
        assert "certificate is not believed" in room.view(name).last_error
    assert other.told == []


def test_a_handshake_that_never_ends_is_cut_off(office):
    """TLS begins with somebody who takes the connection, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        room = office()
        url = Secret(f"https://127.0.0.1:{silent.getsockname()[1]}/")
        room.tell(Endpoint("pager", url, (WHSEC,), timeout=0.3))
        room.happens("bfd_failure")
        wait_for(lambda: room.view().failed >= 1, "given up")
        assert room.view().last_error == "no answer within 0.3 s"
