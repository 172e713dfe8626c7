"""What the shipper decides without MongoDB: what is the store's trouble, what a record's, and what is left to ship."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from exabgp_bfd.core.model import Event, Secret
from exabgp_bfd.storage import journal as journal_module
from exabgp_bfd.storage.journal import Journal
from exabgp_bfd.storage.mongo import BATCH, Shipper, _Refused
from exabgp_bfd.storage.tail import parse_late

T0 = 1_763_640_000_123_456
SECONDS = 20.0
UNKNOWN = 424_242


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[SimpleNamespace]:
    monkeypatch.setattr(journal_module, "_PRUNE", 3600.0)
    path: Path = tmp_path / "journal.db"
    journal = Journal(path, "fra1", batch_seconds=0.001)
    journal.open()
    journal.start()
    shipper = Shipper(journal, path, "fra1", Secret("mongodb://127.0.0.1:1/"))
    yield SimpleNamespace(path=path, journal=journal, shipper=shipper)
    shipper._tail.close()
    journal.stop(5.0)


def put(site: SimpleNamespace, first: int, last: int) -> None:
    for number in range(first, last + 1):
        site.journal.record(Event(number, "bfd_failure"), T0 + number)
    site.journal.flushed().result(SECONDS)
    site.shipper._look(site.shipper._tail.identity())


def judge(site: SimpleNamespace, code: int, refused: int, of: int) -> int:
    errors = [{"index": index, "code": code, "errmsg": "it does not please"} for index in range(refused)]
    made = [{"number": number} for number in range(1, of + 1)]
    return site.shipper._judge("event", made, {"writeErrors": errors, "writeConcernErrors": []})


@pytest.mark.parametrize("code", [6, 7, 63, 89, 133, 150, 202, 9001])
@pytest.mark.parametrize("refused", [1, 4])
def test_a_shard_that_cannot_be_written_is_no_fault_of_a_record(site, code, refused) -> None:
    for _ in range(10):
        with pytest.raises(_Refused, match=str(code)):
            judge(site, code, refused, 4)
    assert site.shipper.counters().set_aside == 0


def test_what_befalls_a_whole_batch_for_an_unknown_reason_is_tried_with_less_until_one_is_refused_alone(site) -> None:
    size = BATCH
    for _ in range(50):
        if size == 1:
            break
        with pytest.raises(_Refused, match=str(UNKNOWN)):
            judge(site, UNKNOWN, size, size)
        size = site.shipper._most["event"]
    assert size == 1
    assert site.shipper._most["message"] == BATCH
    for _ in range(2):
        with pytest.raises(_Refused):
            judge(site, UNKNOWN, 1, 1)
    assert site.shipper.counters().set_aside == 0
    assert judge(site, UNKNOWN, 1, 1) == 0
    assert site.shipper.counters().set_aside == 1


def test_one_that_is_refused_for_an_unknown_reason_while_others_pass_is_set_aside(site) -> None:
    for _ in range(2):
        with pytest.raises(_Refused):
            judge(site, UNKNOWN, 1, 3)
    assert judge(site, UNKNOWN, 1, 3) == 2
    assert site.shipper.counters().set_aside == 1


def test_a_second_damage_before_the_first_is_made_up_for_forgets_nothing(site) -> None:
    put(site, 1, 20)
    first = site.journal.meta("journal")
    site.path.unlink()
    put(site, 21, 30)
    second = site.journal.meta("journal")
    site.path.unlink()
    put(site, 31, 35)
    assert site.shipper.position("event")[0] == 30
    assert site.shipper._spared("event") == 0
    site.shipper._note(0.0, last=True)
    late = parse_late(site.journal.meta("shipped_event_late"))
    assert [(each.journal, each.number, each.bound) for each in late] == [(first[:8], 0, 20), (second[:8], 20, 30)]
    again = Shipper(site.journal, site.path, "fra1", Secret("mongodb://127.0.0.1:1/"))
    assert again._late["event"] == late
    assert again._spared("event") == 0


def test_the_journal_spares_what_is_late(site) -> None:
    put(site, 1, 20)
    site.path.unlink()
    put(site, 21, 30)
    assert site.shipper.position("event")[0] == 20
    try:
        site.shipper.start()
        assert site.journal.spare["event"]() == 0
    finally:
        site.shipper.stop(SECONDS)
