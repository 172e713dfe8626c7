"""ExaBGP's answers read by their shape: each form that 4, 5 and 6 have, and whatever else may come."""

import json
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exabgp_bfd.core.model import Held, Peer, Route
from exabgp_bfd.speaker import answers
from exabgp_bfd.speaker.dialect import Dialect

A, B, C = ip_address("192.0.2.1"), ip_address("192.0.2.2"), ip_address("2001:db8::7")
P4, P6 = ip_network("203.0.113.53/32"), ip_network("2001:db8::53/128")
BOTH = frozenset({"ipv4 unicast", "ipv6 unicast"})


# --- version --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["exabgp 4.2.21"], (Dialect.V4, "4.2.21")),
        (["exabgp 5.0.15"], (Dialect.V5, "5.0.15")),
        (["exabgp 5.0.0-20251121+uncontrolled"], (Dialect.V5, "5.0.0-20251121+uncontrolled")),
        # 6 in words: it takes us for a process of version 4, and is to be spoken to as one would.
        (["exabgp 6.0.0-20251121"], (Dialect.V5, "6.0.0-20251121")),
        (['{"version": "6.0.0", "application": "exabgp"}'], (Dialect.V6, "6.0.0")),
        (["", "  exabgp 5.0.15  "], (Dialect.V5, "5.0.15")),
        (["somebody else's", "exabgp 5.0.15"], (Dialect.V5, "5.0.15")),
        (['{"version": 6, "application": "exabgp"}'], (Dialect.V6, "6")),
        (['{"version": "6\\n0", "application": "exabgp"}'], (Dialect.V6, "")),
        ([], None),
        (["exabgp"], None),
        (["exabgp 5.0.15 and more"], None),
        (["exabgp " + "5" * 65], None),
        (['{"version": "6.0.0"}'], None),
        (['["exabgp 5.0.15"]'], None),
        (["error: unknown command"], None),
    ],
)
def test_the_version(lines, told):
    assert answers.version(lines) == told


# --- neighbours in words --------------------------------------------------------------------------------------------


def configuration(name="192.0.2.1", api="", **settings: str) -> list[str]:
    """A neighbour as `show neighbor configuration` writes it."""
    given = {"local": "192.0.2.9", "out": "true", "restart": "disable", "families": "ipv4 unicast; ipv6 unicast;"}
    given |= settings
    families = "\n".join(f"    {family.strip()};" for family in given["families"].split(";") if family.strip())
    return f"""neighbor {name} {{
  description "";
  router-id 192.0.2.9;
  local-address {given["local"]};
  local-as 65001;
  peer-as 65002;

  passive false;

  adj-rib-in false;
  adj-rib-out {given["out"]};
  md5-password "adj-rib-out false; {{";
  capability {{
    asn4 enable;
    graceful-restart {given["restart"]};
  }}
  family {{
{families}
  }}
  nexthop {{
    ipv4 unicast ipv6;
  }}
  add-path {{
    ipv4 flow;
  }}
{api}}}""".split("\n")


def section(processes: str, *sent: str, received: tuple[str, ...] = ("parsed", "update")) -> str:
    """An `api` section."""
    inside = [f"    processes [ {processes} ];", "    neighbor-changes;"]
    inside += ["    receive {", *(f"      {word};" for word in received), "    }"]
    if sent:
        inside += ["    send {", *(f"      {word};" for word in sent), "    }"]
    return "\n".join(["  api {", *inside, "  }", ""])


def only(lines: list[str], process: str | None = None) -> Peer:
    found = answers.peers(lines, process)
    assert found.unread == 0
    assert len(found.peers) == 1
    return found.peers[0]


def test_a_neighbour_with_all_that_matters():
    lines = configuration(api=section("bfd", "parsed", "open", "update"), restart="60", out="false")
    assert only(lines) == Peer(A, ip_address("192.0.2.9"), BOTH, graceful_restart=True, resends=False, tells=True)


def test_a_neighbour_with_nothing_of_it():
    assert only(configuration()) == Peer(A, ip_address("192.0.2.9"), BOTH)


@pytest.mark.parametrize(
    ("settings", "peer"),
    [
        ({"local": "auto"}, Peer(A, None, BOTH)),
        ({"local": "None"}, Peer(A, None, BOTH)),
        ({"families": "ipv6 unicast; ipv6 flow; l2vpn vpls"}, {"ipv6 unicast", "ipv6 flow", "l2vpn vpls"}),
        ({"families": ""}, set()),
        ({"restart": "0"}, Peer(A, ip_address("192.0.2.9"), BOTH)),
        ({"restart": "enable"}, Peer(A, ip_address("192.0.2.9"), BOTH, graceful_restart=True)),
    ],
)
def test_settings(settings, peer):
    found = only(configuration(**settings))
    assert (found.families if isinstance(peer, set) else found) == peer


@pytest.mark.parametrize(
    ("sent", "tells"),
    [
        (("parsed", "update"), True),
        (("consolidate", "update"), True),
        (("packets", "update"), False),
        (("parsed", "open"), False),
        (("update",), False),
        ((), False),
    ],
)
def test_who_shows_its_updates(sent, tells):
    assert only(configuration(api=section("bfd", *sent))).tells is tells


def test_of_several_processes_each_must_be_shown_unless_we_are_named():
    shown, hidden = section("bfd", "parsed", "update"), section("other", "packets", "update")
    both = configuration(api=shown + hidden)
    assert not only(both).tells
    assert only(both, "bfd").tells
    assert not only(both, "other").tells
    assert only(configuration(api=section("bfd other", "parsed", "update")), "bfd").tells
    # Two sections of ours add up.
    assert only(configuration(api=section("bfd", "parsed") + section("bfd", "update")), "bfd").tells
    assert not only(configuration(api=section("bfd", "parsed") + section("bfd", "update"))).tells


def test_neighbours_that_list_others_only_are_none_of_ours():
    lines = [
        *configuration("192.0.2.1", section("bfd", "parsed", "update")),
        *configuration("192.0.2.2", section("other", "parsed", "update")),
        *configuration("2001:db8::7"),
    ]
    assert [peer.address for peer in answers.peers(lines).peers] == [A, B, C]
    # Who lists nobody may do so by a pattern (`processes-match`), which is not shown.
    assert [peer.address for peer in answers.peers(lines, "bfd").peers] == [A, C]
    assert answers.peers(lines).processes == {"bfd", "other"}


def test_addresses_that_are_spelled_otherwise():
    lines = [*configuration("2001:DB8:0::7"), *configuration("192.0.2.1")]
    found = answers.peers(lines)
    assert [peer.address for peer in found.peers] == [C, A]
    assert found.spelled == ((C, "2001:DB8:0::7"),)
    # Two sessions of one neighbour, from two of our addresses.
    found = answers.peers([*configuration("2001:db8::7"), *configuration("2001:DB8::7")])
    assert found.spelled == ((C, "2001:db8::7"), (C, "2001:DB8::7"))


def test_two_sessions_with_one_address_are_one_neighbour():
    one = configuration(api=section("bfd", "parsed", "update"), families="ipv4 unicast")
    other = configuration(local="192.0.2.8", families="ipv6 unicast", restart="60", out="false")
    assert only([*one, *other]) == Peer(A, None, BOTH, graceful_restart=True, resends=False, tells=False)
    assert only([*one, *one]) == only(one)
    assert only([*one, *configuration(families="")]).families == frozenset()


def test_ranges_are_no_neighbours():
    found = answers.peers([*configuration("192.0.2.0/24"), *configuration("192.0.2.1")])
    assert [peer.address for peer in found.peers] == [A]
    assert found.ranges == (ip_network("192.0.2.0/24"),)
    assert found.unread == 0


def test_a_description_cannot_end_a_section_or_begin_one():
    lines = configuration()
    for text in ("neighbor 192.0.2.66 {", "}", "family {", "adj-rib-out false;", "x {"):
        lines[1] = f'  description "{text}";'
        assert only(lines) == Peer(A, ip_address("192.0.2.9"), BOTH)
    # A single quote inside of the quotes does not end them: this is how ExaBGP 4.2.21 shows what it was given.
    lines[1] = '  description "a quoted family { ipv4 unicast; }";'
    assert only(lines).families == BOTH


def test_lines_that_were_lost_do_no_harm_to_the_next():
    torn = configuration("192.0.2.1")[:14]
    found = answers.peers([*torn, *configuration("192.0.2.2")])
    assert [peer.address for peer in found.peers] == [A, B]
    assert found.peers[1].families == BOTH


@pytest.mark.parametrize("name", ["", "nobody", "192.0.2.300", "fe80::1%eth0", "192.0.2.1/33"])
def test_a_name_that_is_no_address_is_counted(name):
    found = answers.peers([*configuration(name), *configuration("192.0.2.1")])
    assert [peer.address for peer in found.peers] == [A]
    assert found.unread == 1


def test_lines_that_belong_to_no_neighbour_are_counted():
    found = answers.peers(["usage: peer <ip> show", "", *configuration(), "please specify summary"])
    assert [peer.address for peer in found.peers] == [A]
    assert found.unread == 2


def test_no_password_is_kept():
    found = answers.peers(configuration())
    assert "md5" not in repr(found)
    assert "adj-rib-out false; {" not in repr(found)


# --- neighbours in JSON ---------------------------------------------------------------------------------------------


def running(name="192.0.2.1", **local) -> dict:
    """A neighbour of `peer show` (6) that runs; keys as its `as_dict` has them."""
    given = {
        "capabilities": {"asn4": True, "graceful-restart": False},
        "families": {"ipv4 unicast": True, "ipv6 unicast": True},
        "add-path": {"ipv4 unicast": False},
        "address": "192.0.2.9",
        "as": 65001,
        "id": "192.0.2.9",
        "hold": 180,
    }
    return {
        "state": "down",
        "duration": 5,
        "fsm": "IDLE",
        "local": given | local,
        "peer": {"capabilities": {"asn4": None}, "families": {}, "add-path": {}, "address": name, "as": 65002},
        "messages": {"sent": {"open": 0}, "received": {}},
        "capabilities": [],
        "families": [],
        "add-path": {"ipv4 unicast": "disabled"},
    }


@pytest.mark.parametrize(
    ("entry", "peer"),
    [
        (running(), Peer(A, ip_address("192.0.2.9"), BOTH)),
        (
            running(families={"ipv4 unicast": True, "ipv6 unicast": False}),
            Peer(A, ip_address("192.0.2.9"), frozenset({"ipv4 unicast"})),
        ),
        (
            running(capabilities={"graceful-restart": True}),
            Peer(A, ip_address("192.0.2.9"), BOTH, graceful_restart=True),
        ),
        (running(address=None), Peer(A, None, BOTH)),
        (
            {"peer-address": "192.0.2.1", "local-address": "192.0.2.9", "peer-as": 65002, "local-as": 65001},
            Peer(A, ip_address("192.0.2.9")),
        ),
        ({"peer-address": "192.0.2.1", "local-address": None, "peer-as": 65002, "local-as": 65001}, Peer(A)),
        ({"peer-address": "192.0.2.1", "peer-as": 65002, "state": "IDLE"}, Peer(A)),
        ({"peer-address": "192.0.2.1", "peer-as": 65002, "state": None}, Peer(A)),
    ],
)
def test_each_form_of_a_neighbour_in_json(entry, peer):
    found = answers.peers([json.dumps([entry])])
    assert found.peers == (peer,)
    assert found.unread == 0


def test_several_neighbours_in_json_and_what_cannot_be_read():
    entries = [running("192.0.2.1"), {}, 5, {"peer": "192.0.2.9"}, running("nobody"), {"peer-address": "2001:DB8::7"}]
    found = answers.peers(["# Error processing neighbor x: y", json.dumps(entries)])
    assert [peer.address for peer in found.peers] == [A, C]
    assert found.spelled == ((C, "2001:DB8::7"),)
    assert found.unread == 5
    assert answers.peers(["[ not json"]) == answers.Neighbors(unread=1)


# --- routes ---------------------------------------------------------------------------------------------------------

NAME = "neighbor 192.0.2.1 local-ip 192.0.2.9 local-as 65001 peer-as 65002 router-id 192.0.2.9 family-allowed in-open"


def one(line: str) -> Route:
    told = answers.rib([line])
    assert (told.unread, told.other, len(told.held)) == (0, 0, 1)
    assert told.held[0].neighbor == A
    return told.held[0].route


@pytest.mark.parametrize(
    ("words", "route"),
    [
        ("", Route(P4)),
        (" next-hop self", Route(P4)),
        (" next-hop 192.0.2.3", Route(P4, ip_address("192.0.2.3"))),
        (" next-hop self med 0", Route(P4, med=0)),
        (" next-hop self med 20 local-preference 5", Route(P4, med=20, local_preference=5)),
        (" next-hop self community 65000:1", Route(P4, communities=("65000:1",))),
        (" next-hop self community [ 65000:1 no-export ]", Route(P4, communities=("65000:1", "no-export"))),
        (" next-hop self large-community 1:2:3", Route(P4, large_communities=("1:2:3",))),
        (" next-hop self large-community [ 1:2:3 4:5:6 ]", Route(P4, large_communities=("1:2:3", "4:5:6"))),
        (" next-hop self extended-community target:1:2", Route(P4, extended_communities=("target:1:2",))),
        (" next-hop self as-path [ 65001 65001 ]", Route(P4, as_path=(65001, 65001))),
        (" next-hop self as-path ( 65001 65001 )", Route(P4, as_path=(65001, 65001))),
        (" next-hop self as-path ( 65001 ) med 3", Route(P4, med=3, as_path=(65001,))),
        # What we never say, and others may have.
        (" next-hop self origin igp atomic-aggregate med 3", Route(P4, med=3)),
        (" next-hop self aggregator ( 65001:192.0.2.1 ) cluster-list [ 1.1.1.1 2.2.2.2 ] med 3", Route(P4, med=3)),
        (" path-information 0.0.0.1 next-hop 192.0.2.3", Route(P4, ip_address("192.0.2.3"))),
        (" next-hop self community [ 65000:1", Route(P4, communities=("65000:1",))),
    ],
)
def test_a_route_in_words(words, route):
    assert one(f"{NAME} ipv4 unicast 203.0.113.53/32{words}") == route


@pytest.mark.parametrize(
    "name",
    [
        NAME,
        NAME.replace("in-open", "ipv4-unicast/ipv6-unicast"),
        "neighbor 192.0.2.1",  # 4, without `extensive`
        "192.0.2.1",  # 5
        NAME.replace("local-ip 192.0.2.9", "local-ip auto"),
    ],
)
def test_whose_route_it_is(name):
    assert one(f"{name} ipv4 unicast 203.0.113.53/32 next-hop self") == Route(P4)


def test_routes_of_both_families_and_others():
    told = answers.rib(
        [
            f"{NAME} ipv6 unicast 2001:db8::53/128 next-hop 2001:db8::9",
            f"{NAME} ipv4 flow flow destination-ipv4 10.0.0.0/24",
            f"{NAME} l2vpn vpls vpls rd 1:1 endpoint 10 base 203 offset 20 size 8",
            "",
            f"{NAME} ipv4 mpls-vpn 203.0.113.53/32 label [ 5 ] rd 1:1 next-hop 192.0.2.3",
        ]
    )
    assert told == answers.Routes((Held(A, Route(P6, ip_address("2001:db8::9"))),), other=3)


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "neighbor",
        "neighbor nobody ipv4 unicast 203.0.113.53/32",
        f"{NAME} ipv4 unicast",
        f"{NAME} ipv4 unicast 203.0.113.53/24 next-hop self",
        f"{NAME} ipv4 unicast 203.0.113.53/32 next-hop nowhere",
        f"{NAME} ipv4 unicast 203.0.113.53/32 next-hop",
        f"{NAME} ipv4 unicast 203.0.113.53/32 next-hop [ ]",
        f"{NAME} ipv4 unicast 203.0.113.53/32 next-hop self med many",
        f"{NAME} ipv4 unicast 203.0.113.53/32 next-hop self as-path ( 65001 [ 65002 ] )",
        "{ not json",
        "{}",
        '{"nobody": {"routes": []}}',
        '{"192.0.2.1": {"routes": null}}',
        '{"192.0.2.1": {"routes": [{"family": "ipv4 unicast", "prefix": "203.0.113.53/24"}]}}',
        '{"192.0.2.1": {"routes": [{"family": "ipv4 unicast"}]}}',
    ],
)
def test_a_line_that_cannot_be_read_is_counted(line):
    told = answers.rib([line])
    assert told.held == ()
    assert told.unread == 1


def test_a_family_that_is_cut_off_is_none_of_ours():
    assert answers.rib([f"{NAME} ipv4"]).other == 1
    assert answers.rib([NAME]).other == 1


def test_routes_in_json_have_no_attributes():
    lines = [
        '{"192.0.2.1": {"routes": [{"family": "ipv4 unicast", "prefix": "203.0.113.53/32"}]}}',
        '{"192.0.2.1": {"routes": [{"family": "ipv4 flow", "nlri": "flow destination-ipv4 10.0.0.0/24"}]}}',
        '{"192.0.2.2": {"routes": [{"prefix": "203.0.113.53/32", "family": "ipv4 unicast"},'
        ' {"prefix": "2001:db8::53/128", "family": "ipv6 unicast"}]}}',
    ]
    told = answers.rib(lines)
    assert told.held == (Held(A, Route(P4)), Held(B, Route(P4)), Held(B, Route(P6)))
    assert (told.other, told.unread, told.attributes) == (1, 0, False)
    assert answers.rib([]).attributes
    assert answers.rib([f"{NAME} ipv4 unicast 203.0.113.53/32"]).attributes


# --- whatever it is, nothing raises ---------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *(
            "neighbor",
            "{",
            "}",
            "};",
            "[",
            "]",
            "(",
            ")",
            ";",
            "api {",
            "send {",
            "family {",
            "capability {",
            "parsed;",
        ),
        *(
            "update;",
            "ipv4 unicast;",
            "processes [ bfd ];",
            "local-address",
            "192.0.2.1",
            "2001:DB8::7",
            "192.0.2.0/24",
        ),
        *(
            "ipv4",
            "unicast",
            "203.0.113.53/32",
            "next-hop",
            "self",
            "med",
            "5",
            "as-path",
            "community",
            "local-ip",
            '"',
        ),
        *(
            "exabgp",
            "5.0.15",
            '{"192.0.2.1":',
            '{"routes":',
            "[{",
            '"peer-address":',
            "graceful-restart",
            "adj-rib-out",
        ),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("192.0.2.1"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["peer", "local", "address", "families", "peer-address", "routes", "family", "192.0.2.1"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
LINES = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.lists(WORDS, max_size=8).map(" ".join),
        VALUES.map(json.dumps),
        st.sampled_from(configuration(api=section("bfd", "parsed", "update"))),
        st.integers(900, 1100).map(lambda depth: "[" * depth),
    ),
    max_size=12,
)


@given(LINES)
def test_no_answer_raises(lines):
    told = answers.version(lines)
    assert told is None or isinstance(told[0], Dialect)
    for process in (None, "bfd"):
        found = answers.peers(lines, process)
        assert len({peer.address for peer in found.peers}) == len(found.peers)
        assert {address for address, _ in found.spelled} <= {peer.address for peer in found.peers}
        assert all(ip_address(text) == address for address, text in found.spelled)
    routes = answers.rib(lines)
    assert len(routes.held) + routes.other + routes.unread >= sum(bool(line.strip()) for line in lines)
