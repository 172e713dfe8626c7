"""What a notification costs does not grow with the number of sessions that a device has, or that it names."""

from ipaddress import ip_address

import pytest

from exabgp_bfd.core.model import Secret, Session, State
from exabgp_bfd.sources.snmp import mibs
from exabgp_bfd.sources.snmp.device import MAX_HINTED, Counters, Device
from exabgp_bfd.sources.snmp.lanes import Lanes
from exabgp_bfd.sources.snmp.notifications import Hint
from exabgp_bfd.sources.snmp.rows import Row
from exabgp_bfd.sources.snmp.target import Target
from exabgp_bfd.sources.snmp.view import Known

SESSIONS = 2000


class Counting(dict):
    """What is known, and how often somebody went through all of it."""

    walked = 0

    def values(self):
        self.walked += 1
        return super().values()


@pytest.fixture
def device() -> Device:
    target = Target("edge1", "127.0.0.1", Secret("public"), engine="pysnmp")
    made = Device(target, lambda _: None, Counters(), 30.0, Lanes())
    (view,) = made.views
    view.profile = mibs.BFD_STD
    made._known = Counting()
    for number in range(1, SESSIONS + 1):
        session = Session("edge1", f"s{number}", peer=ip_address(f"10.0.{number >> 8}.{number & 255}"))
        one = Known(view, Row(str(number), session, None, {"state": f"{mibs.BFD_STD.entry}.11.{number}"}))
        made._known[one.id] = one
    return made


@pytest.mark.parametrize(
    ("hint", "sessions"),
    [
        (Hint("bfd-std", State.DOWN, "7", "7"), ("edge1/s7",)),
        (Hint("bfd-std", State.DOWN, "8", "7"), ("edge1/s7", "edge1/s8")),
        (Hint("bfd-std", State.DOWN, "1999", "2010"), ("edge1/s1999", "edge1/s2000")),
        (Hint("bfd-std", State.DOWN, "1", str(MAX_HINTED + 1)), ()),
        (Hint("other", State.DOWN, "7", "7", peer=ip_address("10.0.0.9")), ("edge1/s9",)),
        (Hint("other", State.DOWN, "7", "7", peer=ip_address("10.9.9.9")), ()),
    ],
)
def test_who_is_meant_is_known_without_going_through_all_sessions(device, hint, sessions):
    device.sessions_at(Hint("bfd-std", State.DOWN, "1", "1"))  # the first one may
    before = device._known.walked
    assert device.sessions_at(hint) == sessions
    assert device._known.walked == before


def test_a_flood_of_wide_hints_asks_for_the_whole_device(device):
    wide = Hint("bfd-std", State.DOWN, "1", str(MAX_HINTED))
    meant = [len(device.sessions_at(wide)) for _ in range(100)]
    assert meant[:4] == [MAX_HINTED] * 4
    assert meant.count(0) > 50
    assert device.sessions_at(Hint("bfd-std", State.DOWN, "7", "7")) == ("edge1/s7",)
