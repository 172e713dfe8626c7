"""The live inventory: what asks every device, devices beside those of the file, and how they are kept."""

import json
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_network

import pytest
from lab import wait_for
from lab.house import ADMIN_DOWN, DOWN, MISSING, UP, WALL, House, commands, events, kinds, said, service

from exabgp_bfd import config, roster
from exabgp_bfd.config import Overrides, SettingsError, load, with_devices
from exabgp_bfd.core.model import Believed, Device, Event, Reading, Reload, Restored, Route, Secret, Withdraw
from exabgp_bfd.core.written import ConflictError, Deed, DeviceChange, KeepDevice
from exabgp_bfd.storage import database
from exabgp_bfd.storage.journal import Journal

TWO = (Device("edge1", stale_after=1000.0), Device("edge2", stale_after=1000.0))
ROUTE = Route(prefix=ip_network("192.0.2.53/32"))

# --- what asks every device -----------------------------------------------------------------------------------------


def anywhere(*selectors, devices=TWO, restored=None, **rules):
    """A house whose service asks every device."""
    return House(service("dns", *(selectors or ("*/a",)), **rules), devices=devices, restored=restored)


def test_a_session_of_whatever_device_counts():
    house = anywhere()
    house.poll("edge1", b=UP)
    assert not house.announced()
    assert said(house.poll("edge2", a=UP)) == ["+v4"]
    assert said(house.poll("edge2", a=DOWN)) == ["-v4"]


def test_a_device_that_has_no_such_session_is_missed_by_nobody():
    house = anywhere(require="all")
    house.poll("edge1", a=UP)
    house.poll("edge2", b=UP)
    assert (house.service().needed, house.announced()) == (2, False)  # once may be an accident
    assert said(house.poll("edge2", b=UP)) == ["+v4"]
    assert [leg.session for leg in house.service().legs] == ["edge1/a"]


def test_nor_where_what_is_missing_holds_what_was_decided():
    house = anywhere(require="all", on_missing=Reading.HOLD)
    house.poll("edge1", a=UP)
    house.poll("edge2", b=UP)
    assert said(house.poll("edge2", b=UP)) == ["+v4"]


def test_a_session_that_comes_later_is_followed_and_one_that_was_there_is_missed():
    house = anywhere(require="all")
    for _ in range(3):
        house.poll("edge1", a=UP)
        house.poll("edge2", b=UP)
    assert commands(house.poll("edge2", a=UP, b=UP)) == []
    assert house.service().up == 2
    house.poll("edge2", a=MISSING, b=UP)
    house.look("edge2", a=MISSING)
    assert not house.announced()


def test_a_route_from_before_stays_until_every_device_was_looked_at():
    held = Restored(wall=WALL, believed=(Believed("dns", ROUTE, 1),), rib_kept=True)
    house = anywhere(restored=held)
    for _ in range(3):
        assert commands(house.poll("edge1", b=UP)) == []
    assert commands(house.poll("edge2", b=UP)) == []
    assert said(house.poll("edge2", b=UP)) == ["-v4"]


def test_a_device_that_is_named_and_meant_counts_once():
    house = anywhere("*/a", "edge1/a", require="all")
    house.poll("edge1", a=UP)
    assert {leg.session for leg in house.service().legs} == {"edge1/a", "edge2/a"}
    for _ in range(3):
        house.poll("edge1", b=UP, a=UP)
        house.poll("edge2", b=UP)
    assert [leg.session for leg in house.service().legs] == ["edge1/a"]
    assert house.announced()


def test_who_is_named_is_still_missed():
    house = anywhere("*/b", "*/a", "edge2/a", require="all")
    for _ in range(3):
        house.poll("edge1", b=UP)
        house.poll("edge2", b=UP)
    assert [(leg.session, leg.counts_as) for leg in house.service().legs if leg.counts_as != "up"] == [
        ("edge2/a", "down")
    ]
    assert not house.announced()


@pytest.mark.parametrize("require", [1, "all"])
def test_the_same_plan_changes_nothing_of_it(require):
    house = anywhere(require=require)
    for _ in range(3):
        house.poll("edge1", a=UP)
        house.poll("edge2", b=UP)
    before = house.service()
    effects = house.reload(*house.plan.services)
    assert (commands(effects), kinds(effects)) == ([], ["reloaded"])
    assert house.service() == before


def with_one(house, *devices, kind="device_added", name="edge3"):
    """The plan with other devices, by the door of the inventory."""
    plan = house.next_plan(*house.plan.services, devices=devices)
    return house.take(Reload(plan, "noc", {"written": {"name": name}}, (), kind, name))


@pytest.mark.parametrize("require", [1, "all"])
def test_a_device_that_is_added_takes_nothing_down(require):
    house = anywhere(require=require)
    for _ in range(3):
        house.poll("edge1", a=UP)
        house.poll("edge2", a=UP)
    effects = with_one(house, *TWO, Device("edge3", stale_after=2.0))
    (event,) = events(effects)
    assert (event.event_type, event.device, event.actor, event.source) == ("device_added", "edge3", "noc", "api")
    assert event.details == {"written": {"name": "edge3"}}
    assert commands(effects) == []
    for _ in range(5):
        assert commands(house.poll("edge1", a=UP) + house.poll("edge2", a=UP)) == []  # it never answers
    assert commands(house.poll("edge3", a=ADMIN_DOWN)) == []
    house.poll("edge3", a=UP)
    fell = house.poll("edge3", a=DOWN)
    assert said(fell) == (["-v4"] if require == "all" else [])


def test_a_device_that_is_removed_is_no_down():
    house = anywhere()
    house.poll("edge1", a=UP)
    house.poll("edge2", a=UP)
    effects = with_one(house, TWO[0], kind="device_removed", name="edge2")
    assert (commands(effects), kinds(effects)) == ([], ["device_removed"])
    assert [view.session.device for view in house.engine.snapshot(house.now).sessions] == ["edge1"]


def test_what_is_left_may_not_suffice():
    house = anywhere()
    house.poll("edge1", a=UP)
    house.poll("edge2", a=DOWN)
    preview = house.engine.preview(house.next_plan(*house.plan.services, devices=TWO[1:]), house.now)
    assert [type(command) for command in preview.commands] == [Withdraw]
    with pytest.raises(ConflictError, match="force=true") as refused:
        roster.refuse_withdraws("edge1", preview, roster.NOTHING)
    assert refused.value.faults == (("service dns", "would withdraw 192.0.2.53/32"),)
    roster.refuse_withdraws("edge1", preview, preview)  # it is withdrawn in any case


# --- what a device that asks for every session has not, never says, or lost -------------------------------------------

SILENT = Device("edge3", stale_after=20.0)


def flaps(house):
    """A session of another device goes and comes; what is said meanwhile."""
    effects = house.poll("edge1", a=DOWN)
    for _ in range(60):
        effects += house.poll("edge1", a=UP) + house.poll("edge2", a=UP)
    return said(effects)


@pytest.mark.parametrize("on_unknown", [Reading.HOLD, Reading.DOWN])
def test_a_device_that_never_answers_does_not_keep_the_others_down(on_unknown):
    house = anywhere(require="all", on_unknown=on_unknown)
    for _ in range(2):
        house.poll("edge1", a=UP)
        house.poll("edge2", a=UP)
    with_one(house, *TWO, SILENT)
    quiet = [each for _ in range(30) for each in house.poll("edge1", a=UP) + house.poll("edge2", a=UP)]
    assert (commands(quiet), kinds(quiet)) == ([], ["device_unreachable"])
    assert flaps(house) == ["-v4", "+v4"]
    assert commands(house.reload(*house.plan.services, devices=(*TWO, SILENT))) == []
    assert flaps(house) == ["-v4", "+v4"]
    assert commands(house.poll("edge3", a=UP)) == []
    assert said(house.poll("edge3", a=DOWN)) == ["-v4"], "it answers, and counts"


def test_nor_where_the_flap_was_before_anybody_could_know_that():
    house = anywhere(require="all")
    house.poll("edge1", a=UP)
    house.poll("edge2", a=UP)
    with_one(house, *TWO, SILENT)
    assert flaps(house) == ["-v4", "+v4"]


def test_nor_where_one_reload_follows_the_other():
    house = anywhere(require="all")
    for name in ("edge1", "edge2"):
        house.poll(name, a=UP)
    three = (*TWO, SILENT)
    effects = house.reload(*house.plan.services, devices=three)
    for _ in range(6):
        effects += house.wait(5.0) + house.reload(*house.plan.services)
    assert kinds(effects).count("device_unreachable") == 1
    assert {leg.session for leg in house.service().legs} == {"edge1/a", "edge2/a"}


def test_it_is_waited_for_while_no_other_device_has_such_a_session():
    quick = tuple(replace(each, stale_after=20.0) for each in TWO)
    held = Restored(wall=WALL, believed=(Believed("dns", ROUTE, 1),), rib_kept=True)
    house = anywhere(require="all", devices=quick, restored=held)
    for _ in range(60):
        assert commands(house.poll("edge1", b=UP, after=5.0)) == []
    assert [leg.session for leg in house.service().legs] == ["edge2/a"]
    assert said(house.poll("edge2", a=UP)) == ["+v4"]  # once more: ExaBGP may have lost it while we were away
    assert said(house.poll("edge2", a=DOWN)) == ["-v4"]


def test_who_waits_for_it_asks_once_at_a_time():
    house = anywhere(require="all", devices=(Device("edge1", stale_after=20.0), SILENT))
    for _ in range(5):
        house.wait(1.0)
        house.reload(*house.plan.services)
    for _ in range(50):
        house.poll("edge1", b=UP, after=5.0)
    assert [leg.session for leg in house.service().legs] == ["edge3/a"]
    # Each moment more would ask again and again, and each reload would add one.
    assert sum(of == "edge3" for *_, of in house.engine._timers._heap) == 1


@pytest.mark.parametrize("reading", [Reading.HOLD, Reading.UP])
def test_what_holds_on_to_what_is_missing_does_so_over_our_start(reading):
    held = Restored(wall=WALL, believed=(Believed("dns", ROUTE, 1),), rib_kept=True)
    house = anywhere(restored=held, on_missing=reading)
    for _ in range(5):
        assert commands(house.poll("edge1", b=UP) + house.poll("edge2", b=UP)) == []
    assert said(house.poll("edge1", a=UP)) == ["+v4"]  # once more: ExaBGP may have lost it while we were away
    assert {leg.session for leg in house.service().legs} == {"edge1/a", "edge2/a"}
    for _ in range(2):
        house.poll("edge2", b=UP)
    assert [leg.session for leg in house.service().legs] == ["edge1/a"], "now that another carries it"
    assert said(house.poll("edge1", a=DOWN)) == ["-v4"]


def test_and_over_a_device_that_moved():
    one = Device("edge1", identity="192.0.2.1")
    house = anywhere(devices=(one,), on_missing=Reading.HOLD)
    house.poll("edge1", a=UP)
    for _ in range(3):
        assert commands(house.poll("edge1", b=UP)) == []
    assert commands(house.reload(*house.plan.services, devices=(replace(one, identity="192.0.2.99"),))) == []
    for _ in range(4):
        assert commands(house.poll("edge1", b=UP)) == []


def test_what_holds_does_not_keep_a_service_down_that_was_down_before_our_start():
    house = anywhere(require="all", on_missing=Reading.HOLD, restored=Restored(wall=WALL, rib_kept=True))
    effects = []
    for _ in range(3):
        effects += house.poll("edge1", a=UP) + house.poll("edge2", b=UP)
    assert said(effects) == ["+v4"]


def test_what_was_lost_is_missed_for_good():
    house = House(service("dns", "*/a", require="all"), devices=TWO, forget_after=60.0)
    for _ in range(2):
        house.poll("edge1", a=UP)
        house.poll("edge2", a=UP, b=UP)
    effects = []
    for number in range(100):
        effects += house.poll("edge1", a=UP) + house.poll("edge2", b=UP)
        if number == 70:  # also by another plan
            effects += house.reload(*house.plan.services)
    assert "session_forgotten" in kinds(effects)
    assert said(effects) == ["-v4"]
    assert said(house.poll("edge2", a=UP, b=UP)) == ["+v4"]


def test_what_was_never_there_by_its_name_is_not_lost_where_all_are_asked():
    house = anywhere("edge1/a", "edge2/a", require="all")
    for _ in range(3):
        house.poll("edge1", a=UP)
        house.poll("edge2", b=UP)
    assert not house.announced()
    house.reload(service("dns", "*/a", require="all"))
    for _ in range(2):
        house.poll("edge2", b=UP)
    assert house.announced()


# --- devices beside those of the file -------------------------------------------------------------------------------

HEAD = '[storage]\npath = "journal.db"\n'
EDGE1 = '[[device]]\nname = "edge1"\nhost = "192.0.2.1"\n'
EDGE9 = {"name": "edge9", "host": "192.0.2.9", "community": "of its own"}


@pytest.fixture
def read(tmp_path):
    """The settings of a file beside what was added."""

    def reading(text, *added, environ=None):
        file = tmp_path / "exabgp-bfd.toml"
        file.write_text(HEAD + text)

        def stored(path):
            assert path == tmp_path / "journal.db"
            return {each["name"]: each for each in added}

        return load(file, Overrides(), environ or {}, stored)

    return reading


def refused(call):
    with pytest.raises(SettingsError) as caught:
        call()
    return [(each.place, each.text) for each in caught.value.errors]


def test_what_was_added_stands_behind_the_file_s(read):
    settings = read(EDGE1, EDGE9)
    assert [(each.name, each.origin) for each in settings.targets] == [("edge1", "file"), ("edge9", "api")]
    assert [each.name for each in settings.plan.devices] == ["edge1", "edge9"]
    assert settings.targets[1].community == Secret("of its own")
    assert "of its own" not in json.dumps(config.describe(settings))
    assert "of its own" not in repr(settings)


def test_what_it_leaves_out_the_file_says(read):
    text = f'[snmp]\ninterval = 3.0\ncommunity = "env:C"\n{EDGE1}'
    settings = read(text, {"name": "edge9", "host": "192.0.2.9"}, environ={"C": "of all"})
    assert (settings.targets[1].interval, settings.targets[1].community) == (3.0, Secret("of all"))
    one = settings.defaults.device("edge8", {"name": "edge8", "host": "192.0.2.8", "interval": 2})
    assert (one.interval, one.community, one.origin) == (2.0, Secret("of all"), "api")


def test_a_service_may_name_it(read):
    text = f'{EDGE1}[[service]]\nname = "dns"\nprefixes = ["192.0.2.53/32"]\nsessions = ["edge9/*"]\n'
    assert roster.followers(read(text, EDGE9).plan, ["edge1", "edge9"]) == {"edge1": (), "edge9": ("dns",)}
    assert refused(lambda: read(text))[0][1].startswith("service dns follows edge9/*, but there is no device edge9")


def test_devices_that_were_added_suffice(read):
    assert [each.name for each in read("", EDGE9).targets] == ["edge9"]
    assert "has no device" in refused(lambda: read(""))[0][1]


def test_the_file_goes_before_what_was_added(read):
    settings = read(EDGE1, {"name": "edge1", "host": "192.0.2.99"}, EDGE9)
    assert (settings.superseded, [each.host for each in settings.targets]) == (("edge1",), ["192.0.2.1", "192.0.2.9"])


@pytest.mark.parametrize(
    "broken", [{}, {"host": 7}, {"host": "a", "colour": "red"}, {"host": "a", "community": "file:/etc/passwd"}]
)
def test_one_that_cannot_be_read_keeps_nobody_from_starting(read, broken):
    settings = read(EDGE1, {"name": "edge9", **broken})
    assert [each.name for each in settings.targets] == ["edge1"]
    assert [each.place.startswith("device edge9.") for each in settings.unreadable] == [True]


def test_a_default_that_does_not_go_with_one_is_the_file_s_fault(read):
    text = f"[snmp]\nstale_after = 2.0\n{EDGE1}"
    ((place, words),) = refused(lambda: read(text, {**EDGE9, "interval": 60}))
    assert place == "device edge9.interval"
    assert "stale_after = 2 s" in words


def test_nobody_is_called_as_all_of_them(read):
    assert "every device" in refused(lambda: read('[[device]]\nname = "*"\nhost = "192.0.2.1"\n'))[0][1]


def test_every_device_may_be_asked_in_sessions(read):
    text = '[[service]]\nname = "dns"\nprefixes = ["192.0.2.53/32"]\nsessions = ["*/192.0.2.7"]\nrequire = 2\n'
    settings = read(EDGE1 + text)
    assert str(settings.plan.services[0].selectors[0]) == "*/192.0.2.7"
    assert roster.followers(settings.plan, ["edge1"]) == {"edge1": ("dns",)}


def test_nothing_but_the_devices_is_another(read):
    settings = read(EDGE1, EDGE9)
    fewer = with_devices(settings, settings.targets[:1])
    assert fewer == replace(
        settings, targets=settings.targets[:1], plan=replace(settings.plan, devices=settings.plan.devices[:1])
    )


def test_what_is_told_of_one_holds_no_secret(read):
    written = {**EDGE9, "context_communities": {"red": "of red"}, "contexts": ["red"], "auth_key": None}
    change = DeviceChange(Deed.ADD, None, "noc", written)
    intended = roster.intend(read(EDGE1), {}, change)
    assert intended.details["written"] == {
        "name": "edge9",
        "host": "192.0.2.9",
        "community": "***",
        "contexts": ["red"],
        "context_communities": {"red": "***"},
    }
    assert json.loads(intended.keep.text.reveal())["context_communities"] == {"red": "of red"}
    for shown in (repr(change), repr(intended.keep), repr(intended.details)):
        assert "of its own" not in shown
        assert "of red" not in shown


# --- how they are kept ----------------------------------------------------------------------------------------------

KEPT = KeepDevice("edge9", Secret(json.dumps(EDGE9)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


def begun(path):
    journal = Journal(path, "fra1")
    journal.open()
    found = journal.devices()
    journal.start()
    return journal, found


def keep(journal, number, *devices):
    journal.together([Event(number, "device_added", "edge9"), *devices], 1_763_640_000_000_000)
    journal.flushed().result(20)


def test_one_is_kept_with_its_event_and_found_by_the_next(path):
    journal, found = begun(path)
    assert (found, database.stored_devices(path)) == ({}, {})
    keep(journal, 1, KEPT)
    assert roster.parse(database.stored_devices(path)) == {"edge9": EDGE9}  # while it is in use
    journal.stop(20)
    journal, found = begun(path)
    assert roster.parse(found) == {"edge9": EDGE9}
    keep(journal, 2, KeepDevice("edge9", Secret('{"name": "edge9"}')), KeepDevice("edge8", Secret("{}")))
    keep(journal, 3, KeepDevice("edge8", None))
    journal.stop(20)
    assert database.stored_devices(path) == {"edge9": '{"name": "edge9"}'}


def test_a_journal_that_has_secrets_is_nobody_else_s(path):
    journal, _ = begun(path)
    keep(journal, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    keep(journal, 2, KEPT)
    for each in (path, path.with_name("journal.db-wal"), path.with_name("journal.db-shm")):
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
    journal.stop(20)


def test_they_are_carried_over_into_a_new_journal(path):
    journal, _ = begun(path)
    keep(journal, 1, KEPT)
    path.rename(path.with_name("elsewhere.db"))

    def begun_anew():
        journal.record(Event(2, "x"), 1_763_640_000_000_001)
        journal.flushed().result(20)
        return path.exists() and database.stored_devices(path)

    wait_for(begun_anew, "what was known goes on in a new file")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    journal.stop(20)
    assert roster.parse(database.stored_devices(path)) == {"edge9": EDGE9}


def test_they_are_carried_over_from_a_damaged_one(path):
    journal, _ = begun(path)
    journal.together([Event(n, "x", details={"text": "y" * 200}) for n in range(1, 2000)], 1_763_640_000_000_000)
    keep(journal, 2000, KEPT)
    journal.stop(20)
    with closing(sqlite3.connect(path)) as connection:
        size = connection.execute("PRAGMA page_count").fetchone()[0]
    with path.open("r+b") as file:
        file.seek(size // 2 * 4096)
        file.write(bytes(4096))
    journal, found = begun(path)
    assert journal.set_aside is not None
    assert roster.parse(found) == {"edge9": EDGE9}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    journal.stop(20)


def test_what_is_no_journal_has_none(tmp_path):
    (tmp_path / "x").write_text("no database at all")
    assert database.stored_devices(tmp_path / "x") == database.stored_devices(tmp_path / "y") == {}
    assert not (tmp_path / "y").exists()
    assert roster.parse({"a": "no json", "b": "[]", "c": '{"name": "c"}'}) == {"a": {}, "b": {}, "c": {"name": "c"}}
