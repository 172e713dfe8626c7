"""What the engine makes of a device's own notifications: a hint that is looked at, and a Down thereby confirmed."""

import pytest
from lab.house import (
    DOWN,
    MISSING,
    UP,
    V4,
    House,
    commands,
    events,
    id_,
    kinds,
    looks,
    said,
    service,
)

from exabgp_bfd.core.model import Device, Notification, Reading, Session, Silence, State
from exabgp_bfd.core.policy import keys


def confirming(**rules):
    return service("dns", "edge1/*", confirm=True, **rules)


def told(*names: str, what: State = DOWN, sure: bool = False, device: str = "edge1", **details) -> Notification:
    return Notification(device, what, tuple(id_(name, device) for name in names), sure, details)


def test_each_session_that_is_named_is_looked_at_and_the_event_explains_it():
    house = House(confirming())
    house.poll(a=UP, b=UP)
    effects = house.take(told("a", oid="1.3.6.1.2.1.222.0.2"), 1.0)
    assert commands(effects) == []
    assert looks(effects) == [("edge1", id_("a"))]
    (event,) = events(effects)
    assert (event.event_type, event.session, event.source) == ("snmp_trap", id_("a"), "snmp_trap")
    assert event.details == {"said": "down", "oid": "1.3.6.1.2.1.222.0.2"}
    (learned, failed) = events(house.look(a=DOWN), "snmp_poll", "bfd_failure")
    assert learned.cause == event.id
    assert failed.cause == learned.id


def test_what_a_device_said_and_a_look_saw_needs_no_other_look():
    house = House(confirming())
    house.poll(a=UP)
    house.take(told("a"), 1.0)
    effects = house.look(a=DOWN)
    assert said(effects) == ["-v4"]
    assert looks(effects) == []
    assert house.chain(commands(effects)[0].command) == ["route_withdraw", "bfd_failure", "snmp_poll", "snmp_trap"]


def test_what_was_said_of_another_session_confirms_nothing():
    house = House(confirming())
    house.poll(a=UP, b=UP)
    house.take(told("b"), 1.0)
    effects = house.look(a=DOWN)
    assert commands(effects) == []
    assert looks(effects) == [("edge1", id_("a"))]


def test_an_up_confirms_nothing():
    house = House(confirming())
    house.poll(a=UP)
    house.take(told("a", what=UP), 1.0)
    assert commands(house.look(a=DOWN)) == []


def test_the_look_is_believed_and_not_the_notification():
    house = House(confirming())
    house.poll(a=UP)
    house.take(told("a"), 1.0)
    assert commands(house.look(a=UP)) == []
    assert house.announced()
    # It was looked at: the next Down is the first again.
    assert commands(house.look(a=DOWN)) == []


def test_a_device_that_then_says_nothing_has_not_failed():
    house = House(confirming(), devices=(Device("edge1", stale_after=10.0),))
    house.poll(a=UP)
    house.take(told("a"), 1.0)
    assert commands(house.take(Silence("edge1", "timeout"), 1.0)) == []
    assert commands(house.wait(60.0)) == []
    assert house.announced()


def test_an_old_notification_confirms_nothing():
    house = House(confirming(), devices=(Device("edge1", stale_after=10.0),))
    house.poll(a=UP)
    house.take(told("a"), 1.0)
    house.poll(a=UP, after=5.0)
    house.poll(a=UP, after=5.0)
    assert commands(house.look(a=DOWN, after=0.5)) == []


def test_a_look_at_all_forgets_what_was_said():
    house = House(confirming())
    house.poll(a=UP, b=UP)
    house.take(told("gone"), 1.0)
    house.take(told("a", "b"))
    house.poll(a=UP, b=UP, source="snmp_look", after=0.1)
    assert commands(house.look(a=DOWN)) == []


def test_a_row_that_vanished_needs_its_second_look_all_the_same():
    house = House(confirming())
    house.poll(a=UP, b=UP)
    house.take(told("a"), 1.0)
    assert commands(house.look(a=MISSING)) == []


def test_fall_counts_samples_whoever_confirms_them():
    house = House(confirming(fall=3))
    house.poll(a=UP)
    house.take(told("a"), 1.0)
    assert commands(house.look(a=DOWN)) == []
    assert commands(house.poll(a=DOWN)) == []
    assert said(house.poll(a=DOWN)) == ["-v4"]


def test_a_device_that_is_trusted_is_believed_at_once_and_looked_at_after():
    house = House(confirming())
    house.poll(a=UP)
    effects = house.take(told("a", sure=True), 1.0)
    assert said(effects) == ["-v4"]
    assert looks(effects) == [("edge1", id_("a"))]
    assert house.chain(commands(effects)[0].command) == ["route_withdraw", "bfd_failure", "snmp_poll", "snmp_trap"]
    # And if it was not so, it has to earn it back as after any Down.
    assert commands(house.look(a=UP)) == []
    assert said(house.poll(a=UP)) == ["+v4"]


def test_a_trusted_up_is_only_looked_at():
    house = House(confirming())
    house.poll(a=DOWN)
    effects = house.take(told("a", what=UP, sure=True), 1.0)
    assert commands(effects) == []
    assert looks(effects) == [("edge1", id_("a"))]


@pytest.mark.parametrize("sure", [False, True])
def test_sessions_that_are_not_known_are_looked_for(sure):
    house = House(confirming())
    house.poll(a=UP)
    effects = house.take(told("z", sure=sure), 1.0)
    assert commands(effects) == []
    assert looks(effects) == [("edge1", None)]
    assert kinds(effects) == ["snmp_trap"]


def test_a_device_that_is_not_known_says_nothing():
    house = House(confirming())
    house.poll(a=UP)
    assert house.take(told("a", device="edge9"), 1.0) == []


def test_of_many_sessions_one_event_tells():
    house = House(confirming())
    names = {f"s{number}": UP for number in range(300)}
    house.poll(**names)
    effects = house.take(told(*names), 1.0)
    assert len(looks(effects)) == 300
    (event,) = events(effects)
    assert event.session is None
    assert event.details["count"] == 300
    assert len(event.details["sessions"]) < 300


def test_a_notification_is_no_sign_that_the_device_answers():
    house = House(confirming(on_unknown=Reading.DOWN), devices=(Device("edge1", stale_after=10.0), "edge2"))
    house.poll(a=UP)
    house.poll("edge2", b=UP)
    house.take(told("a", what=UP), 5.0)
    house.poll("edge2", b=UP, after=3.0)
    assert house.counts_as("a") == "up"
    house.poll("edge2", b=UP, after=4.0)
    assert house.counts_as("a") == "down"


def test_a_session_is_meant_by_its_peer_and_what_sets_it_apart():
    session = Session("edge1", "x", peer=None)
    assert "red" not in keys(session)
    one = Session("edge1", "192.0.2.1", V4[0], local=V4[0] + 1, interface="xe-0/0/0", vrf="red")
    named = {"*", "192.0.2.53%red", "192.0.2.53%xe-0/0/0", "192.0.2.53%192.0.2.54", V4[0], "xe-0/0/0"}
    assert named <= keys(one)
    assert "192.0.2.53%blue" not in keys(one)
