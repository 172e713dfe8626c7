"""The reports that were taken: remembered within bounds, over restarts, and in one transaction with their events."""

import threading
from dataclasses import replace

import pytest

from exabgp_bfd.core.mark import Mark, ReplayedError, StaleError, UnderWayError
from exabgp_bfd.core.model import Event
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.seen import Seen

NOW = 1_795_000_000


def mark(name: str = "a", time: int = NOW, body: str = "body", **more) -> Mark:
    return Mark("svix", name, body, time, **more)


def take(seen: Seen, report: Mark, event: int, now: float = NOW) -> dict[str, str]:
    assert seen.claim(report, now) is None
    return seen.settle(report, [event])


def test_what_was_taken_is_known_again():
    seen = Seen({}.get)
    take(seen, mark(), 5)
    assert seen.claim(mark(), NOW) == (5,)
    assert seen.claim(mark(time=NOW + 4000), NOW + 4000) == (5,)  # sent anew, signed anew
    assert seen.claim(replace(mark(), sender="another"), NOW) is None


def test_what_is_refused_says_why():
    seen = Seen({}.get)
    take(seen, mark(order=("edge1/*",)), 5)
    with pytest.raises(ReplayedError, match="event 5, with another body"):
        seen.claim(mark(body="other"), NOW)
    with pytest.raises(ReplayedError, match="is over"):
        seen.claim(mark(fresh=False), NOW + 400)
    with pytest.raises(ReplayedError, match="edge1 that was signed later"):
        seen.claim(mark("b", NOW - 1, order=("edge1/*",)), NOW)
    with pytest.raises(StaleError, match="more than 300 s apart"):
        seen.claim(mark("c", fresh=False), NOW + 400)
    assert seen.claim(mark("d", NOW - 1, order=("edge2/*",)), NOW) is None


def test_each_session_has_an_order_of_its_own():
    seen = Seen({}.get)
    take(seen, mark("b", NOW + 1, order=("edge1/b",)), 5)
    take(seen, mark("a", NOW, order=("edge1/a",)), 6)
    with pytest.raises(ReplayedError, match="about edge1/b that"):
        seen.claim(mark("c", NOW, order=("edge1/b",)), NOW)
    with pytest.raises(ReplayedError, match="about edge1 that"):
        seen.claim(mark("d", NOW, order=("edge1/*",)), NOW)
    take(seen, mark("e", NOW + 2, order=("edge1/*",)), 7)
    with pytest.raises(ReplayedError, match="about edge1/a that"):
        seen.claim(mark("f", NOW + 1, order=("edge1/a",)), NOW)
    assert seen.claim(mark("g", NOW, order=("edge11/a",)), NOW) is None


def test_of_a_group_each_has_its_order():
    kept: dict[str, str] = {}
    seen = Seen(kept.get)
    kept |= take(seen, mark("new", NOW, order=("edge2/a",)), 5)
    for each in (seen, Seen(kept.get)):
        with pytest.raises(ReplayedError, match="about edge2/a that"):
            each.claim(mark("old", NOW - 1, order=("edge1/a", "edge2/a")), NOW)
    kept |= take(seen, mark("group", NOW + 1, order=("edge1/a", "edge2/a")), 6)
    for each in (seen, Seen(kept.get)):
        with pytest.raises(ReplayedError, match="about edge2/a that"):
            each.claim(mark("old", NOW, order=("edge2/a",)), NOW)


def test_what_another_secret_of_his_signed_is_his_as_well():
    seen = Seen({}.get)
    take(seen, mark(time=NOW + 1, order=("edge1/a",)), 5)
    newer = replace(mark(), sender="newer secret", also=("svix",))
    assert seen.claim(newer, NOW) == (5,)
    with pytest.raises(ReplayedError, match="signed later"):
        seen.claim(replace(newer, id="b", order=("edge1/a",)), NOW)


def test_what_has_an_order_is_forgotten_with_its_time():
    seen = Seen({}.get, slots=20_000)
    for number in range(9_000):
        now = NOW + number
        take(seen, mark(str(number), now, order=(f"edge1/{number}",)), number, now)
    assert len(seen._newest) < 5_000
    with pytest.raises(ReplayedError, match="signed later"):
        seen.claim(mark("old", NOW + 8_700, order=("edge1/8701",)), NOW + 9_000)


def test_an_older_version_s_order_of_devices_holds():
    seen = Seen({"webhook.00000": f'["svix", "a", "body", {NOW}, "edge1", [7]]'}.get)
    ours = replace(mark("b", NOW - 1, order=("edge1/a",)), sender="digest", also=("svix",))
    with pytest.raises(ReplayedError, match="about edge1/a that"):
        seen.claim(ours, NOW)
    assert seen.claim(replace(ours, id="a"), NOW) == (7,)


def test_one_without_a_time_counts_from_when_it_came_first():
    seen = Seen({}.get)
    take(seen, mark(timed=False), 5)
    assert seen.claim(mark(time=NOW + 299, timed=False), NOW + 299) == (5,)
    with pytest.raises(ReplayedError, match="is over"):
        seen.claim(mark(time=NOW + 301, timed=False), NOW + 301)


def test_of_many_threads_one_takes_it():
    seen, claimed, refused = Seen({}.get), [], []
    begin = threading.Barrier(8)

    def claim():
        begin.wait(20)
        try:
            claimed.append(seen.claim(mark(), NOW))
        except UnderWayError:
            refused.append(1)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (claimed, len(refused)) == ([None], 7)
    seen.release(mark())
    assert seen.claim(mark(), NOW) is None


def test_what_was_not_kept_may_be_taken_anew():
    seen = Seen({}.get, slots=1)
    take(seen, mark(), 5)
    seen.forget(mark())
    take(seen, mark(), 6)
    assert seen.claim(mark(), NOW) == (6,)


def test_its_memory_is_bounded_and_forgets_nothing_that_could_be_sent_again():
    kept: dict[str, str] = {}
    seen = Seen(kept.get, slots=3)
    for number in range(3):
        kept |= take(seen, mark(str(number), NOW + number), number)
    with pytest.raises(UnderWayError, match="too many reports"):
        seen.claim(mark("3"), NOW + 300)
    for number in range(3, 9):  # the time of those before is over
        now = NOW + 400 * number
        kept |= take(seen, mark(str(number), now), number, now)
    assert len(kept) == 3
    again = Seen(kept.get, slots=3)
    assert [again.claim(mark(str(number), NOW), NOW) for number in (6, 7, 8)] == [(6,), (7,), (8,)]
    with pytest.raises(StaleError):
        again.claim(mark("0", fresh=False), NOW + 4000)


def test_claims_under_way_have_their_place():
    seen = Seen({}.get, slots=2)
    assert [seen.claim(mark(name), NOW) for name in "ab"] == [None, None]
    with pytest.raises(UnderWayError):
        seen.claim(mark("c"), NOW)
    for name in "ab":
        seen.settle(mark(name), [1])


def test_what_cannot_be_read_is_forgotten_and_told(caplog):
    kept = {"webhook.00000": "[1", "webhook.00001": '["a"]', "webhook.00002": '["svix", "a", "body", 5, null, [7]]'}
    seen = Seen(kept.get)
    assert seen.claim(mark(time=5), 5) == (7,)
    assert caplog.text.count("is forgotten") == 2


def test_it_outlives_a_restart_in_the_journal(tmp_path):
    path = tmp_path / "journal.db"
    journal = Journal(path, "fra1")
    journal.open()
    journal.start()
    seen = Seen(journal.meta)
    assert seen.claim(mark(order=("edge1/*",)), NOW) is None
    journal.together([Event(7, "link_flap")], NOW * 10**6, seen.settle(mark(order=("edge1/*",)), [7]))
    journal.flushed().result(20)
    assert journal.stop(20)
    again = Journal(path, "fra1")
    again.open()
    seen = Seen(again.meta)
    assert seen.claim(mark(), NOW) == (7,)
    with pytest.raises(ReplayedError, match="signed later"):
        seen.claim(mark("b", NOW - 1, order=("edge1/*",)), NOW)
    again.stop(20)


def test_it_and_its_event_are_kept_together_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "journal.db"
    journal = Journal(path, "fra1")
    journal.open()
    journal.start()
    refuse = threading.Event()
    insert = Journal._insert

    def failing(self, connection, kind, *rest):
        done = insert(self, connection, kind, *rest)
        if kind == "input" and refuse.is_set():  # behind the event, before the values
            raise OSError("the power went")
        return done

    monkeypatch.setattr(Journal, "_insert", failing)
    refuse.set()
    journal.together([Event(7, "link_flap")], NOW * 10**6, Seen(journal.meta).settle(mark(), [7]))
    assert not journal.stop(0.5)
    monkeypatch.undo()
    again = Journal(path, "fra1")
    assert again.open().last_event == 0
    assert Seen(again.meta).claim(mark(), NOW) is None
    again.stop(20)
