"""How the program is, in tables and as a monitor's verdict: from the documents that the API really gives."""

import re
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network

import pytest
from api.box import DNS, DOWN, KEYS, NTP, SNAPSHOT, UP, Box

from exabgp_bfd.core.model import Action, DeviceView, Lift, Override, Route, RouteView, State
from exabgp_bfd.overview import Level, Stand, age, lines, narrow, unknown, verdict
from exabgp_bfd.tables import Screen, columns_of
from exabgp_bfd.web.backend import WebSettings
from exabgp_bfd.web.server import create_app

WELL = replace(
    SNAPSHOT,
    devices=tuple(replace(one, reachable=True, reason="", heard=99.0) for one in SNAPSHOT.devices),
    sessions=(UP, replace(DOWN, state=State.UP, diagnostic=None)),
    services=(
        replace(NTP, adopted=False, layer="health", health="full", why="1 of 1 sessions is up", disabled=False),
        replace(DNS, announced=True, health="full", why="2 of 2 sessions are up", routes=()),
    ),
    neighbors={"192.0.2.254": "up", "192.0.2.253": "up"},
)
ORDER = Override("dns", Action.DRAIN, "noc", "new kernel", since=0.0, expires=None)


def stand(view=WELL, **more) -> Stand:
    """What the API answers of a view."""
    box = Box(view=view, **more)
    client = create_app(box, WebSettings("127.0.0.1", 8080)).test_client()
    health, guard, services, sessions = (
        client.get(path).get_json() for path in ("/health", "/guard", "/services", "/sessions")
    )
    return Stand(health, guard, services["services"], sessions["sessions"])


def with_dns(**changes):
    return replace(WELL, services=(WELL.services[0], replace(WELL.services[1], **changes)))


def with_guard(**changes):
    return replace(WELL, guard=replace(WELL.guard, **changes))


def a_route(accepted=True, unseen=()):
    return RouteView(Route(ip_network("192.0.2.53/32")), True, accepted, (), 12, unseen)


# --- the verdict --------------------------------------------------------------------------------------------------


def test_all_is_well():
    found = verdict(stand())
    assert (found.level, found.findings) == (Level.OK, ())
    assert found.line() == (
        "EXABGP-BFD OK - fra1: 2 of 2 services announced, 2 of 2 sessions up | "
        "services_announced=2;;;0;2 services_overridden=0;;;0;2 sessions_up=2;;;0;2 sessions_down=0;;;0;2 "
        "sessions_unknown=0;;;0;2 devices_reachable=2;;;0;2 routes_refused=0;;;0;2 routes_unseen=0;;;0;2 "
        "guard_held=0;;;0"
    )


@pytest.mark.parametrize(
    ("view", "level", "says"),
    [
        (
            with_dns(announced=False, health="down", why="withdrawn: no session"),
            2,
            "service dns is withdrawn: no session",
        ),
        (with_dns(announced=False, layer="guard"), 2, "service dns is withdrawn"),
        (with_dns(routes=(a_route(accepted=False),)), 2, "ExaBGP refuses its routes"),
        (replace(WELL, neighbors={"192.0.2.254": "down"}), 2, "every BGP neighbour"),
        (
            with_dns(announced=False, layer="override", override=ORDER),
            1,
            "service dns: drain by noc until it is cleared",
        ),
        (
            with_dns(announced=False, layer="window", why="window upgrade"),
            1,
            "service dns is withdrawn: window upgrade",
        ),
        (with_dns(announced=False, layer="disable_file", disabled=True), 1, "withdrawn: its disable file is there"),
        (with_dns(override=ORDER), 1, "service dns: drain by noc until it is cleared: new kernel"),
        (with_dns(health="step 1", why="MED 200"), 1, "its health is step 1: MED 200"),
        (with_dns(layer="last_site", health="down"), 1, "announced, but its health is down"),
        (with_dns(routes=(a_route(), a_route(accepted=False))), 1, "ExaBGP refuses 1 of its 2 routes"),
        (with_dns(routes=(a_route(unseen=(("192.0.2.254", "no UPDATE"),)),)), 1, "1 of its 1 routes were not seen"),
        (replace(WELL, neighbors={"192.0.2.254": "down", "192.0.2.253": "up"}), 1, "neighbour 192.0.2.254 is down"),
        (with_guard(held=("dns",)), 1, "the guard holds dns"),
        (with_guard(blind=True), 1, "the guard believes nothing"),
        (with_guard(clock_doubted=True), 1, "the clock jumped"),
        (with_guard(lift=Lift("noc", "all go", 0.0, None)), 1, "the guard's limit is lifted by noc"),
        (
            replace(WELL, devices=(DeviceView("edge2", heard=None, reachable=False, reason="timed out", sessions=1),)),
            1,
            "device edge2: timed out",
        ),
        *(
            (replace(WELL, sessions=(UP, replace(DOWN, state=state))), 1, f"session edge1/198.51.100.1 is {state}")
            for state in (State.DOWN, State.FAILING, State.INIT, State.MISSING, State.UNKNOWN)
        ),
        # The path did not fail (RFC 5882), or nobody depends on it.
        (replace(WELL, sessions=(UP, replace(DOWN, state=State.ADMIN_DOWN))), 0, "2 of 2 services announced"),
        (replace(WELL, sessions=(UP, replace(DOWN, services=()))), 0, "2 of 2 services announced"),
        (replace(WELL, windows=("upgrade",)), 0, "2 of 2 services announced"),
    ],
)
def test_what_is_critical_and_what_is_a_warning(view, level, says):
    found = verdict(stand(view))
    assert found.level == level, found
    assert says in found.told


def test_the_journal_and_what_is_not_ready_are_warnings():
    assert verdict(stand(healthy=False)).findings == ("the journal takes no records",)
    assert verdict(stand(missing=["edge1 was not asked yet"])).findings == ("not ready: edge1 was not asked yet",)


def test_a_service_that_is_not_known_yet_is_no_outage_just_after_the_start():
    view = with_dns(announced=False, undecided=1, why="nothing is known yet")
    assert verdict(stand(view, missing=["edge1"])).level is Level.WARNING
    assert verdict(stand(view)).level is Level.CRITICAL
    known = with_dns(announced=False, undecided=0)
    assert verdict(stand(known, missing=["edge1"])).level is Level.CRITICAL


def test_the_worst_comes_first_and_many_findings_are_counted():
    services = tuple(
        replace(DNS, service=replace(DNS.service, name=f"s{number:02}"), why="no session") for number in range(20)
    )
    found = verdict(stand(replace(WELL, services=services, guard=replace(WELL.guard, held=("s01",)))))
    assert found.level is Level.CRITICAL
    assert found.findings[0] == "service s00 is withdrawn: no session"
    assert re.search(r"; and \d+ more$", found.told)
    assert len(found.line()) < 3000


def test_many_sessions_are_told_in_one():
    sessions = tuple(replace(DOWN, session=replace(DOWN.session, name=f"198.51.100.{n}")) for n in range(9))
    (only,) = verdict(stand(replace(WELL, sessions=sessions))).findings
    assert only.startswith("9 sessions are not up: edge1/198.51.100.0 is down, ")


def test_nothing_in_the_text_ends_the_line_or_begins_the_numbers():
    text = 'a | b=1\nCRITICAL\x1b[2J "x"'
    line = verdict(stand(with_dns(override=replace(ORDER, reason=text)))).line()
    assert line.isprintable()
    assert line.count("|") == 1
    assert "a / b=1\\nCRITICAL\\x1b[2J" in line
    assert unknown("x|\n").line() == "EXABGP-BFD UNKNOWN - x/\\n"


NUMBER = re.compile(r"[a-z_]+=[0-9.]+;;;0(;[0-9.]+)?")


def test_the_numbers_are_as_monitors_read_them():
    found = verdict(stand(SNAPSHOT))
    numbers = found.line().partition(" | ")[2].split(" ")
    assert all(NUMBER.fullmatch(one) for one in numbers), numbers
    assert found.document()["numbers"]["sessions_down"] == 1
    assert found.document()["exit_status"] == 2


# --- tables -------------------------------------------------------------------------------------------------------


def test_narrowed_to_a_service_or_a_device():
    whole = stand(SNAPSHOT)
    ntp = narrow(whole, ["ntp"], [])
    assert [one["service"] for one in ntp.services] == ["ntp"]
    assert [one["session"] for one in ntp.sessions] == ["edge2/2001:db8::1"]
    edge1 = narrow(whole, [], ["edge1"])
    assert [one["service"] for one in edge1.services] == ["dns"]
    assert [one["session"] for one in edge1.sessions] == ["edge1/198.51.100.1"]
    assert [one["session"] for one in narrow(whole, ["dns"], ["edge2"]).sessions] == ["edge2/2001:db8::1"]
    assert narrow(whole, [], []) is whole
    # What concerns neither is not told of either.
    assert "edge2" in " ".join(lines(ntp, Screen()))
    assert "edge2" not in " ".join(lines(edge1, Screen()))
    assert "edge2" not in verdict(edge1).told


@pytest.mark.parametrize("width", [1, 20, 40, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(width):
    evil = replace(
        WELL,
        devices=(DeviceView("edge1\x1b[2J", heard=None, reachable=False, reason="\x1b]0;x\x07" * 9, sessions=1),),
        services=(replace(DNS, why="東京\u202e" * 30, override=replace(ORDER, reason="\n" * 9)),),
        sessions=(replace(DOWN, session=replace(DOWN.session, interface="ge-0/0/1\x9b31m")),),
    )
    told = list(lines(stand(evil), Screen(width)))
    assert all(columns_of(line) <= width for line in told)
    assert all(line.isprintable() for line in told)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "0s"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (61, "1m 1s"),
        (3599, "59m 59s"),
        (3600, "1h"),
        (7300, "2h 1m"),
        (86400, "1d"),
        (90000, "1d 1h"),
        (10_000_000, "115d 17h"),
    ],
)
def test_an_age_in_two_units(seconds, told):
    assert age(timedelta(seconds=seconds)) == told


def test_what_is_known_for_programs_is_all_of_it():
    document = stand(SNAPSHOT).document()
    assert document["site"] == "fra1"
    assert {one["service"] for one in document["services"]} == {"dns", "ntp"}
    assert set(document) == {"site", "health", "guard", "services", "sessions"}
    assert not any(key in str(document) for key in KEYS.values())
