"""What is said to ExaBGP 4, 5 and 6: the exact words, to whom, and what never leaves."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exabgp_bfd import config
from exabgp_bfd.core.model import Announce, Peer, Route, SpeakerError, Watchdog, Withdraw
from exabgp_bfd.speaker import dialect
from exabgp_bfd.speaker.dialect import Dialect, Speech

V4 = ip_network("192.0.2.53/32")
V6 = ip_network("2001:db8::53/128")

# Each of them ended, stopped or silenced ExaBGP 5.0.15, or its session with a peer, when it was tried.
FATAL = [
    "json",
    "debug",
    "crash",
    "shutdown",
    "restart",
    "reset",
    "operational",
    "disable-ack",
    "silence-ack",
]


def announce(route: Route | Watchdog, speech: Speech = dialect.UNKNOWN) -> str:
    return dialect.line(Announce(1, "dns", route), speech).decode("ascii")


def withdraw(route: Route | Watchdog, speech: Speech = dialect.UNKNOWN) -> str:
    return dialect.line(Withdraw(1, "dns", route), speech).decode("ascii")


# --- announce -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "line"),
    [
        (Route(V4), "announce route 192.0.2.53/32 next-hop self\n"),
        (Route(V6), "announce route 2001:db8::53/128 next-hop self\n"),
        (
            Route(V4, next_hop=ip_address("198.51.100.1")),
            "announce route 192.0.2.53/32 next-hop 198.51.100.1\n",
        ),
        (
            Route(V6, next_hop=ip_address("2001:db8::1")),
            "announce route 2001:db8::53/128 next-hop 2001:db8::1\n",
        ),
        (Route(ip_network("0.0.0.0/0")), "announce route 0.0.0.0/0 next-hop self\n"),
        (Route(ip_network("::/0")), "announce route ::/0 next-hop self\n"),
    ],
)
def test_a_prefix_and_its_next_hop(route, line):
    assert announce(route) == line


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"med": 50}, " med 50"),
        ({"med": 0}, " med 0"),
        ({"local_preference": 200}, " local-preference 200"),
        ({"local_preference": 0}, " local-preference 0"),
        ({"as_path": (65001,)}, " as-path [ 65001 ]"),
        ({"as_path": (65001, 65001, 4200000000)}, " as-path [ 65001 65001 4200000000 ]"),
        ({"communities": ("65000:1",)}, " community [ 65000:1 ]"),
        ({"communities": ("65000:1", "no-export")}, " community [ 65000:1 no-export ]"),
        ({"communities": ("0xFFFF0001", "4259840000")}, " community [ 0xFFFF0001 4259840000 ]"),
        ({"large_communities": ("4294967295:1:2", "1:2:3")}, " large-community [ 4294967295:1:2 1:2:3 ]"),
        (
            {"extended_communities": ("target:65000:1", "origin:192.0.2.1:5", "0x0002fde800000001")},
            " extended-community [ target:65000:1 origin:192.0.2.1:5 0x0002fde800000001 ]",
        ),
    ],
)
def test_each_attribute(attributes, words):
    assert announce(Route(V4, **attributes)) == f"announce route 192.0.2.53/32 next-hop self{words}\n"


@pytest.mark.parametrize("name", ["no-export", "no-advertise", "no-export-subconfed", "no-peer", "nopeer", "blackhole"])
def test_communities_that_exabgp_knows_go_by_name(name):
    assert announce(Route(V4, communities=(name,))).endswith(f" community [ {name} ]\n")


def test_graceful_shutdown_goes_by_its_number_because_the_name_ends_exabgp():
    line = announce(Route(V4, communities=("graceful-shutdown", "65000:1")))
    assert line.endswith(" community [ 65535:0 65000:1 ]\n")
    assert "shutdown" not in line


def test_all_attributes_together_in_one_order():
    route = Route(
        V4,
        next_hop=ip_address("198.51.100.1"),
        neighbors=(ip_address("192.0.2.1"),),
        med=1,
        local_preference=2,
        communities=("65000:1",),
        large_communities=("1:2:3",),
        extended_communities=("target:1:2",),
        as_path=(65001, 65001),
    )
    assert announce(route) == (
        "neighbor 192.0.2.1 announce route 192.0.2.53/32 next-hop 198.51.100.1 as-path [ 65001 65001 ] med 1"
        " local-preference 2 community [ 65000:1 ] large-community [ 1:2:3 ] extended-community [ target:1:2 ]\n"
    )


# --- neighbours and withdraws -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("neighbors", "selector"),
    [
        ((), ""),
        (("192.0.2.1",), "neighbor 192.0.2.1 "),
        (("2001:db8::1",), "neighbor 2001:db8::1 "),
        (("192.0.2.1", "192.0.2.2"), "neighbor 192.0.2.1, neighbor 192.0.2.2 "),
        (("192.0.2.1", "2001:db8::1", "192.0.2.3"), "neighbor 192.0.2.1, neighbor 2001:db8::1, neighbor 192.0.2.3 "),
    ],
)
def test_both_commands_name_the_same_neighbours(neighbors, selector):
    route = Route(V4, ip_address("192.0.2.9"), tuple(ip_address(neighbor) for neighbor in neighbors))
    assert announce(route) == f"{selector}announce route 192.0.2.53/32 next-hop 192.0.2.9\n"
    assert withdraw(route) == f"{selector}withdraw route 192.0.2.53/32\n"


@pytest.mark.parametrize("prefix", [V4, V6])
@pytest.mark.parametrize("next_hop", ["self", IPv4Address("198.51.100.1"), IPv6Address("2001:db8::1")])
def test_a_withdraw_carries_nothing_but_the_prefix(prefix, next_hop):
    route = Route(
        prefix,
        next_hop=next_hop,
        med=5,
        local_preference=6,
        communities=("65000:1",),
        large_communities=("1:2:3",),
        extended_communities=("target:1:2",),
        as_path=(65001,),
    )
    assert withdraw(route) == f"withdraw route {prefix}\n"


def test_a_withdraw_leaves_even_where_the_announce_is_refused():
    route = Route(V4, communities=("no such thing",))
    with pytest.raises(SpeakerError):
        announce(route)
    assert withdraw(route) == "withdraw route 192.0.2.53/32\n"


# --- watchdogs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dns", "DNS", "d", "-", "_", "web_1-x", "announced", "versions", "0", "x" * 64])
def test_a_watchdog_has_a_name_and_no_neighbour(name):
    """With a selector before it ExaBGP would take another word for the name, and answer `done` all the same."""
    assert announce(Watchdog(name)) == f"announce watchdog {name}\n"
    assert withdraw(Watchdog(name)) == f"withdraw watchdog {name}\n"


@pytest.mark.parametrize(
    "name",
    [
        *FATAL,
        *(f"my-{word}" for word in FATAL),
        *(f"{word}_2" for word in FATAL),
        # Each of these ExaBGP would obey as a command, where it stands at a line's end...
        "version",
        "help",
        "reload",
        "teardown",
        "enable-ack",
        "flush",
        "clear",
        "RELOAD",
        # ... and these its configuration takes for no name.
        "announce",
        "withdraw",
        "Announce",
        "",
        " ",
        "a b",
        "dns ",
        " dns",
        "dns\n",
        "dns\nshutdown",
        "dns;",
        "dns{",
        "dns.example",
        "dns/1",
        "dns,dns",
        "[dns]",
        "*",
        "#",
        "٣",
        "é",
        "\ud800",
        "x" * 65,
    ],
)
def test_a_watchdog_whose_name_is_no_name_never_leaves(name):
    for said in (announce, withdraw):
        with pytest.raises(SpeakerError):
            said(Watchdog(name))


# --- the dialects -------------------------------------------------------------------------------------------------

HOP4, HOP6 = ip_address("192.0.2.200"), ip_address("2001:db8::200")
FOUR, FOUR2 = ip_address("192.0.2.1"), ip_address("192.0.2.2")
SIX, SIX2 = ip_address("2001:db8::1"), ip_address("2001:db8::2")
BOTH = frozenset({"ipv4 unicast", "ipv6 unicast"})
OLD = [None, Dialect.V4, Dialect.V5]


def peer(address, *families: str) -> Peer:
    return Peer(address, families=frozenset(families) or BOTH)


def speech(which: Dialect | None, *peers: Peer) -> Speech:
    return Speech(which, peers)


def test_nothing_is_known_unless_it_is_given():
    assert dialect.UNKNOWN == Speech() == Speech(None, None)
    assert announce(Route(V4)) == announce(Route(V4), Speech())


@pytest.mark.parametrize("which", OLD)
def test_4_and_5_have_no_selector_for_all(which):
    assert announce(Route(V4, HOP4), Speech(which)) == "announce route 192.0.2.53/32 next-hop 192.0.2.200\n"
    assert withdraw(Route(V4, HOP4), Speech(which)) == "withdraw route 192.0.2.53/32\n"
    assert announce(Route(V4), speech(which, peer(FOUR), peer(FOUR2))) == (
        "announce route 192.0.2.53/32 next-hop self\n"
    )


@pytest.mark.parametrize("peers", [None, (), (peer(FOUR),), (peer(FOUR), peer(SIX))])
def test_6_names_all_with_a_star(peers):
    six = Speech(Dialect.V6, peers)
    assert announce(Route(V4, HOP4), six) == "peer * announce route 192.0.2.53/32 next-hop 192.0.2.200\n"
    assert withdraw(Route(V4, HOP4), six) == "peer * withdraw route 192.0.2.53/32\n"


def test_6_takes_one_name_as_it_is_and_several_in_brackets_set_apart():
    """`[A,B]` is one word to its dispatcher, and no selector."""
    six = speech(Dialect.V6, peer(FOUR), peer(SIX), peer(FOUR2))
    one, two = Route(V4, HOP4, (FOUR,)), Route(V6, HOP6, (FOUR, SIX))
    assert announce(one, six) == "peer 192.0.2.1 announce route 192.0.2.53/32 next-hop 192.0.2.200\n"
    assert withdraw(one, six) == "peer 192.0.2.1 withdraw route 192.0.2.53/32\n"
    assert announce(two, six) == (
        "peer [ 192.0.2.1 , 2001:db8::1 ] announce route 2001:db8::53/128 next-hop 2001:db8::200\n"
    )
    assert withdraw(two, six) == "peer [ 192.0.2.1 , 2001:db8::1 ] withdraw route 2001:db8::53/128\n"


def test_watchdogs_go_to_all_in_each_dialect():
    for which in OLD:
        assert announce(Watchdog("dns"), Speech(which, ())) == "announce watchdog dns\n"
        assert withdraw(Watchdog("dns"), Speech(which, ())) == "withdraw watchdog dns\n"
    assert announce(Watchdog("dns"), Speech(Dialect.V6)) == "peer * announce watchdog dns\n"
    assert withdraw(Watchdog("dns"), Speech(Dialect.V6)) == "peer * withdraw watchdog dns\n"


@pytest.mark.parametrize("which", [*OLD, Dialect.V6])
def test_attributes_are_the_same_in_each_dialect(which):
    route = Route(V4, HOP4, (), 5, 6, ("65000:1", "graceful-shutdown"), ("1:2:3",), ("target:1:2",), (65001,))
    assert announce(route, Speech(which)).endswith(
        "announce route 192.0.2.53/32 next-hop 192.0.2.200 as-path [ 65001 ] med 5 local-preference 6"
        " community [ 65000:1 65535:0 ] large-community [ 1:2:3 ] extended-community [ target:1:2 ]\n"
    )


# --- to whom --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [*OLD, Dialect.V6])
def test_a_route_for_all_goes_to_those_that_can_carry_it(which):
    known = speech(which, peer(FOUR), peer(FOUR2, "ipv4 unicast"), peer(SIX))
    to_some = announce(Route(V6, HOP6), known)
    to_four = announce(Route(V4), known)
    to_six = announce(Route(V6), known)
    if which is Dialect.V6:
        assert to_some.startswith("peer [ 192.0.2.1 , 2001:db8::1 ] announce")
        assert to_four.startswith("peer [ 192.0.2.1 , 192.0.2.2 ] announce")
        assert to_six.startswith("peer 2001:db8::1 announce")
        assert announce(Route(V4, HOP4), known).startswith("peer * announce")
    else:
        assert to_some.startswith("neighbor 192.0.2.1, neighbor 2001:db8::1 announce")
        assert to_four.startswith("neighbor 192.0.2.1, neighbor 192.0.2.2 announce")
        assert to_six.startswith("neighbor 2001:db8::1 announce")
        assert announce(Route(V4, HOP4), known).startswith("announce")


@pytest.mark.parametrize("which", [*OLD, Dialect.V6])
def test_chosen_neighbours_that_cannot_carry_it_are_left_out(which):
    known = speech(which, peer(FOUR), peer(FOUR2, "ipv4 unicast"), peer(SIX))
    route = Route(V6, HOP6, (FOUR, FOUR2))
    word = "peer" if which is Dialect.V6 else "neighbor"
    assert announce(route, known) == f"{word} 192.0.2.1 announce route 2001:db8::53/128 next-hop 2001:db8::200\n"
    # What was announced before the neighbour lost the family goes all the same.
    assert set(withdraw(route, known).split()) >= {"withdraw", "192.0.2.1", "192.0.2.2"} or which is not Dialect.V6


@pytest.mark.parametrize("which", [*OLD, Dialect.V6])
@pytest.mark.parametrize(
    ("route", "remedy"),
    [
        (Route(V6), "give next_hop an IPv6 address"),
        (Route(V6, HOP6), "family ipv6 unicast is not configured"),
        (Route(V6, HOP6, (FOUR,)), "family ipv6 unicast is not configured"),
        (Route(V6, "self", (FOUR, FOUR2)), "192.0.2.1, 192.0.2.2: its BGP session runs over IPv4"),
    ],
)
def test_a_route_that_nobody_can_carry_is_refused_with_the_remedy(which, route, remedy):
    known = speech(which, peer(FOUR, "ipv4 unicast"), peer(FOUR2, "ipv4 unicast"))
    with pytest.raises(SpeakerError, match=remedy):
        announce(route, known)
    assert withdraw(route, known).endswith("withdraw route 2001:db8::53/128\n")


def test_an_ipv4_next_hop_self_is_nothing_for_an_ipv6_session():
    """5.0.15 would announce it with the router id for its next hop."""
    with pytest.raises(SpeakerError, match="give next_hop an IPv4 address"):
        announce(Route(V4), speech(Dialect.V5, peer(SIX)))


@pytest.mark.parametrize("known", [Speech(), Speech(Dialect.V5), speech(Dialect.V4, peer(FOUR)), Speech(Dialect.V6)])
@pytest.mark.parametrize("route", [Route(V6, HOP4), Route(V4, HOP6), Route(V4, HOP6, (SIX,))])
def test_a_next_hop_of_the_other_family_never_leaves(known, route):
    """4.2.21 and 5.0.15 answer `done`, and then the BGP session dies in a loop."""
    with pytest.raises(SpeakerError, match="can go to no neighbour"):
        announce(route, known)


def test_many_neighbours_that_cannot_are_told_in_few_words():
    known = speech(Dialect.V5, *(peer(ip_address(f"192.0.2.{last}")) for last in range(1, 10)))
    with pytest.raises(SpeakerError) as refused:
        announce(Route(V6), known)
    assert str(refused.value) == (
        "no neighbour can carry 2001:db8::53/128: 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5 and 4 more: "
        "its BGP session runs over IPv4, so next_hop = self is no next hop of an IPv6 route: "
        "give next_hop an IPv6 address"
    )


@pytest.mark.parametrize("which", OLD)
def test_the_address_of_a_chosen_neighbour_tells_enough_before_any_is_known(which):
    assert announce(Route(V6, "self", (SIX,)), Speech(which)).startswith("neighbor 2001:db8::1 announce")
    assert announce(Route(V6, "self", (FOUR, SIX)), Speech(which)).startswith("neighbor 2001:db8::1 announce")
    with pytest.raises(SpeakerError, match="give next_hop an IPv6 address"):
        announce(Route(V6, "self", (FOUR,)), Speech(which))


@pytest.mark.parametrize("which", OLD)
def test_4_and_5_may_have_neighbours_that_they_do_not_tell_of(which):
    """Those of a range; and for a name that they do not know they answer `error`."""
    route = Route(V4, "self", (FOUR, FOUR2))
    assert announce(route, speech(which, peer(FOUR))).startswith("neighbor 192.0.2.1, neighbor 192.0.2.2 announce")
    assert announce(route, speech(which, peer(SIX))).startswith("neighbor 192.0.2.1, neighbor 192.0.2.2 announce")
    with pytest.raises(SpeakerError, match="give next_hop an IPv6 address"):
        announce(Route(V6, "self", (FOUR2,)), speech(which, peer(FOUR)))


def test_6_is_never_told_a_name_that_it_may_not_know():
    """A selector that matches nobody is for everybody there."""
    named = Route(V4, HOP4, (FOUR, FOUR2))
    assert announce(named, speech(Dialect.V6, peer(FOUR))).startswith("peer 192.0.2.1 announce")
    assert withdraw(named, speech(Dialect.V6, peer(FOUR))).startswith("peer 192.0.2.1 withdraw")
    with pytest.raises(SpeakerError, match="has no such neighbour"):
        announce(named, speech(Dialect.V6, peer(SIX)))
    with pytest.raises(SpeakerError, match="has none of the neighbours"):
        withdraw(named, speech(Dialect.V6, peer(SIX)))
    # Before it has told any, a withdraw of what was announced to them must leave: they were there then.
    assert withdraw(named, Speech(Dialect.V6)) == "peer [ 192.0.2.1 , 192.0.2.2 ] withdraw route 192.0.2.53/32\n"


def test_a_neighbour_is_named_as_exabgps_configuration_spells_it():
    """`neighbor 2001:db8::7` is an error to ExaBGP where its configuration says 2001:DB8:0::7."""
    odd = ip_address("2001:db8::7")
    known = Speech(Dialect.V5, (peer(odd), peer(SIX)), ((odd, "2001:DB8:0::7"),))
    route = Route(V6, HOP6, (odd, SIX))
    assert announce(route, known).startswith("neighbor 2001:DB8:0::7, neighbor 2001:db8::1 announce")
    assert withdraw(route, known).startswith("neighbor 2001:DB8:0::7, neighbor 2001:db8::1 withdraw")
    assert dialect.question("rib", known, odd) == b"show adj-rib out 2001:DB8:0::7 extensive\n"
    twice = Speech(Dialect.V6, (peer(odd),), ((odd, "2001:DB8:0::7"), (odd, "2001:db8::7")))
    assert withdraw(Route(V6, HOP6, (odd,)), twice).startswith("peer [ 2001:DB8:0::7 , 2001:db8::7 ] withdraw")


# --- what must wait -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [*OLD, Dialect.V6])
@pytest.mark.parametrize("prefix", [V4, V6])
@pytest.mark.parametrize("peers", [None, ()])
def test_next_hop_self_for_all_waits_for_the_neighbours(which, prefix, peers):
    route = Route(prefix)
    assert "next_hop = self" in Speech(which, peers).waits(Announce(1, "dns", route))
    assert announce(route, Speech(which, peers)), "a preview has the line all the same"
    assert not Speech(which, (peer(FOUR), peer(SIX))).waits(Announce(1, "dns", route))


@pytest.mark.parametrize("which", [*OLD, Dialect.V6])
def test_what_could_do_harm_waits_also_for_an_exabgp_that_does_not_name_its_neighbours(which):
    silent = Speech(which, silent=True)
    assert not silent.waits(Announce(1, "dns", Route(V4)))
    assert bool(silent.waits(Announce(1, "dns", Route(V6)))) is (which is not Dialect.V5)


@pytest.mark.parametrize("which", [None, *Dialect])
def test_what_waits_for_nothing(which):
    unknown = Speech(which)
    assert not unknown.waits(Announce(1, "dns", Route(V4, HOP4)))
    assert not unknown.waits(Announce(1, "dns", Watchdog("dns")))
    assert not unknown.waits(Withdraw(1, "dns", Watchdog("dns")))
    for neighbors in [(), (FOUR,)]:
        assert not unknown.waits(Withdraw(1, "dns", Route(V4, "self", neighbors)))
        assert not unknown.waits(Withdraw(1, "dns", Route(V6, "self", neighbors)))


def test_chosen_neighbours_wait_on_6_only():
    command = Announce(1, "dns", Route(V4, HOP4, (FOUR,)))
    for which in OLD:
        assert not Speech(which).waits(command)
    assert "does not know" in Speech(Dialect.V6).waits(command)
    assert not Speech(Dialect.V6, (peer(SIX),)).waits(command), "then it is refused"


# --- questions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "old", "new"),
    [
        ("version", "version", "version"),
        ("system version", "system version", "system version"),
        ("peers", "show neighbor configuration", "peer show"),
        ("peer list", "peer list", "peer list"),
        ("rib", "show adj-rib out extensive", "rib show out"),
    ],
)
def test_questions(ask, old, new):
    for which in OLD:
        assert dialect.question(ask, Speech(which)) == f"{old}\n".encode()
    assert dialect.question(ask, Speech(Dialect.V6)) == f"{new}\n".encode()
    assert dialect.question(ask) == f"{old}\n".encode()


def test_the_routes_of_one_neighbour():
    assert dialect.question("rib", Speech(Dialect.V4), FOUR) == b"show adj-rib out 192.0.2.1 extensive\n"
    assert dialect.question("rib", Speech(Dialect.V5), SIX) == b"show adj-rib out 2001:db8::1 extensive\n"
    assert dialect.question("rib", Speech(Dialect.V6), FOUR) == b"rib show out 192.0.2.1\n"
    with pytest.raises(SpeakerError):
        dialect.question("rib", Speech(), ip_address("fe80::1%eth0"))


# --- what never leaves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["communities", "large_communities", "extended_communities"])
@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "reload",
        "teardown",
        "x-shutdown",
        "crash",
        "65000:1[json]",
        "65000:1,json,1:1",
        "1:1 ] med 5 community [ 2:2",
        "1:1\nwithdraw route 0.0.0.0/0",
        "1:1\n",
        "1:1\r",
        "1:1;",
        "{1:1}",
        "'1:1'",
        "1:1#",
        "٣:٣",  # digits to str.isdigit, and none to BGP
        "accept-own-or-whatever",
        "no-export no-peer",
        "-1:1",
    ],
)
def test_a_community_is_nothing_but_a_community(field, value):
    with pytest.raises(SpeakerError):
        announce(Route(V4, **{field: (value,)}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("communities", "1:2:3"),
        ("communities", "target:1:2"),
        ("large_communities", "1:2"),
        ("large_communities", "no-export"),
        ("extended_communities", "1:2"),
        ("extended_communities", "0x00"),
        ("extended_communities", "0x0002fde80000000100"),
        ("extended_communities", "target:65000:"),
    ],
)
def test_each_kind_of_community_has_its_form(field, value):
    with pytest.raises(SpeakerError, match="community"):
        announce(Route(V4, **{field: (value,)}))


def test_an_address_with_a_zone_is_refused():
    with pytest.raises(SpeakerError):
        announce(Route(V6, next_hop=ip_address("fe80::1%eth0")))
    with pytest.raises(SpeakerError):
        withdraw(Route(V6, neighbors=(ip_address("fe80::1%eth0"),)))


CONTROL = [chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]]
FOREIGN = ["é", "Ａ", "\u2028", "\u2029", "\u200b", "\u00a0", "\ud800", "😀", "٣", "İ", "\u212a"]  # noqa: RUF001
PUNCTUATION = ['"', "'", "`", ";", "{", "}", "(", ")", "#", "\\", "%", "$", "&", "|", "<", ">", "?", "!", "=", "+", "~"]


@pytest.mark.parametrize("character", [*CONTROL, *FOREIGN, *PUNCTUATION], ids=ascii)
@pytest.mark.parametrize("place", ["{}version", "ver{}sion", "version{}", "show {} neighbor"])
def test_guarded_refuses_every_other_character(character, place):
    with pytest.raises(SpeakerError, match="character"):
        dialect.guarded(place.format(character))


@pytest.mark.parametrize("word", FATAL)
@pytest.mark.parametrize(
    "place",
    [
        "{}",
        "{} x",
        "neighbor 192.0.2.1 {}",
        "announce route 192.0.2.1/32 community [ {} ]",
        # ExaBGP sets commas and brackets apart before it looks for words...
        "announce route 192.0.2.1/32 community [ 1:1,{} ]",
        "announce route 192.0.2.1/32 community [{}]",
        "announce route 192.0.2.1/32 community [ 1:1]{}[ ]",
        # ... and takes a word's end for a command.
        "announce route 192.0.2.1/32 community [ graceful-{} ]",
    ],
)
def test_guarded_refuses_words_that_harm_exabgp(word, place):
    with pytest.raises(SpeakerError, match=word):
        dialect.guarded(place.format(word))


@pytest.mark.parametrize("text", ["", " ", " version", "version ", "show  neighbor", "\n"])
def test_guarded_refuses_lines_that_are_not_words_between_single_spaces(text):
    with pytest.raises(SpeakerError):
        dialect.guarded(text)


def test_guarded_refuses_what_is_too_long_and_takes_what_is_not():
    longest = "announce " + "1" * 7 + " 1" * 32760
    assert len(longest) == 65536
    assert dialect.guarded(longest) == longest.encode() + b"\n"
    with pytest.raises(SpeakerError, match="too long"):
        dialect.guarded(longest + "1")


def test_an_announce_that_is_too_long_is_refused():
    with pytest.raises(SpeakerError):
        announce(Route(V4, as_path=(4200000000,) * 10_000))


@pytest.mark.parametrize(
    "text",
    [
        "version",
        "system version",
        "show neighbor configuration",
        "show adj-rib out 192.0.2.1 extensive",
        "rib show out",
        "peer list",
        "peer [ 192.0.2.1 , 2001:DB8::1 ] withdraw route 192.0.2.0/24",
        "neighbor 192.0.2.1, neighbor ::ffff:192.0.2.2 withdraw route 192.0.2.0/24",
        "announce watchdog web_1-x",
        "peer * withdraw watchdog web_1-x",
    ],
)
def test_guarded_lets_what_we_say_through_unchanged(text):
    assert dialect.guarded(text) == text.encode("ascii") + b"\n"


@pytest.mark.parametrize(
    "text",
    [
        # Commands that are not ours to give.
        "reload",
        "neighbor 192.0.2.1 teardown 2",
        "flush adj-rib out",
        "clear adj-rib out",
        "rib flush out",
        "rib clear out",
        "enable-ack",
        "session ack enable",
        "session sync enable",
        "daemon status",
        "system help",
        "peer delete 192.0.2.1",
        "group end",
        "announce flow route",
        "announce eor ipv4 unicast",
        "announce route-refresh ipv4 unicast",
        "announce vpls",
        "# announce",
        # Words that are none.
        "announce route 192.0.2.1/32 next-hop self x",
        "announce route 192.0.2.1/32 next-hop self sync",
        "announce route 192.0.2.1/32 next-hop 192.0.2.1/32/1",
        "announce route 192.0.2.1/32 med -1",
        "announce route 192.0.2.1/32 med 12345678901",
        "announce route dead/32 next-hop self",
        "Announce route 192.0.2.1/32",
        # A name is free only where a watchdog's stands, at the end.
        "announce watchdog a b",
        "watchdog watchdog a 192.0.2.1",
        "watchdog reload",
        "announce watchdog reload",
        "announce watchdog flush",
        "announce watchdog Teardown",
        "announce watchdog , dns",
    ],
)
def test_guarded_knows_no_other_words(text):
    with pytest.raises(SpeakerError):
        dialect.guarded(text)


# --- whatever it is, one line or nothing --------------------------------------------------------------------------

HOSTILE = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="0123456789:.,x[] \n\r\t\x00{};'\"-adjnostuwh", max_size=40),
    st.from_regex(r"[0-9]{1,12}:[0-9]{1,12}(:[0-9]{1,12})?", fullmatch=True),
    st.sampled_from([*FATAL, "no-export", "graceful-shutdown", "target:1:2", "0x0002fde800000001", "1:1 ] med 2", "#"]),
    st.builds("{}{}{}".format, st.text(max_size=5), st.sampled_from(FATAL), st.text(max_size=5)),
)
ADDRESSES = st.ip_addresses()
PREFIXES = st.builds(
    lambda address, length: ip_network((address, min(length, address.max_prefixlen)), strict=False),
    ADDRESSES,
    st.integers(0, 128),
)
ROUTES = st.builds(
    Route,
    prefix=PREFIXES,
    next_hop=st.just("self") | ADDRESSES,
    neighbors=st.lists(ADDRESSES, max_size=4).map(tuple),
    med=st.none() | st.integers(),
    local_preference=st.none() | st.integers(),
    communities=st.lists(HOSTILE, max_size=3).map(tuple),
    large_communities=st.lists(HOSTILE, max_size=3).map(tuple),
    extended_communities=st.lists(HOSTILE, max_size=3).map(tuple),
    as_path=st.lists(st.integers(), max_size=4).map(tuple),
)


def tokens(line: bytes) -> list[str]:
    """A line as ExaBGP splits it: brackets and commas set apart."""
    text = line.decode("ascii")
    for mark in "[],":
        text = text.replace(mark, f" {mark} ")
    return text.split()


@given(ROUTES)
def test_an_announce_is_one_ascii_line_or_is_refused(route):
    try:
        line = dialect.line(Announce(1, "dns", route))
    except SpeakerError:
        return
    assert line.isascii()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert all(0x20 <= octet < 0x7F for octet in line[:-1])
    words = tokens(line)
    assert words.count("announce") == words.count("route") == words.count("next-hop") == 1
    # Nothing in a community adds, ends or doubles an attribute.
    assert words.count("med") == (route.med is not None)
    lists = [route.as_path, route.communities, route.large_communities, route.extended_communities]
    assert words.count("[") == words.count("]") == sum(1 for values in lists if values)
    assert not any(word in line.decode() for word in FATAL)


@given(ROUTES)
def test_a_withdraw_of_any_route_always_leaves(route):
    line = dialect.line(Withdraw(1, "dns", route))
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert line.endswith(f"withdraw route {route.prefix}\n".encode())


FAMILIES = st.sets(st.sampled_from(["ipv4 unicast", "ipv6 unicast", "ipv4 flow"])).map(frozenset)
FEW = st.sampled_from([FOUR, FOUR2, SIX, SIX2])
PEERS = st.none() | st.lists(st.builds(Peer, FEW | ADDRESSES, families=FAMILIES), max_size=4).map(tuple)
SPELLINGS = st.lists(st.tuples(FEW, HOSTILE | st.just("2001:DB8:0::1")), max_size=2).map(tuple)
SPEECHES = st.builds(Speech, st.none() | st.sampled_from(Dialect), PEERS, st.just(()) | SPELLINGS)
# Words that end, stop, silence or change ExaBGP, or what it tells us.
NEVER = [*FATAL, "reload", "flush", "clear", "teardown", "enable-ack", "ack", "sync", "async", "daemon", "session"]
GRAMMAR = {
    *("announce", "withdraw", "route", "watchdog", "next-hop", "self", "as-path", "med", "local-preference"),
    *("community", "large-community", "extended-community", "neighbor", "peer", "*", ",", "[", "]", "65535:0"),
    *("no-export", "no-advertise", "no-export-subconfed", "no-peer", "nopeer", "blackhole"),
}


def is_value(word: str) -> bool:
    """Whether a word is an address, a prefix, a number, or a community."""
    for read in (ip_address, ip_network):
        try:
            read(word)
        except ValueError:
            continue
        return True
    numbers = word.removeprefix("target:").removeprefix("origin:").replace(".", ":").split(":")
    return all(number.isdecimal() and number.isascii() for number in numbers) or (
        word.startswith("0x") and all(digit in "0123456789abcdefABCDEF" for digit in word[2:])
    )


def holds_only_our_words(line: bytes) -> bool:
    words = tokens(line)
    if words[-2] == "watchdog":
        name = words.pop()
        assert name.lower() not in NEVER[:-5]
    return all(word in GRAMMAR or is_value(word) for word in words)


@given(ROUTES | st.builds(Watchdog, HOSTILE), SPEECHES, st.booleans())
def test_whatever_is_known_it_is_one_line_of_our_words_or_is_refused(target, known, announcing):
    command = Announce(1, "dns", target) if announcing else Withdraw(1, "dns", target)
    assert isinstance(known.waits(command), str)
    try:
        line = dialect.line(command, known)
    except SpeakerError as error:
        refused = str(error)
    else:
        refused = ""
    assert refused.isprintable()
    if refused:
        return
    assert line.isascii()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert all(0x20 <= octet < 0x7F for octet in line[:-1])
    words = tokens(line)
    assert holds_only_our_words(line)
    assert words.count("announce") == announcing or isinstance(target, Watchdog)
    assert not any(word in line.decode().lower() for word in FATAL)
    selector = words[: words.index("announce" if announcing else "withdraw")]
    if known.dialect is Dialect.V6:
        assert selector[0] == "peer"
    else:
        assert not selector or selector[0] == "neighbor"
        assert "*" not in selector


@given(ROUTES, SPEECHES)
def test_nobody_is_sent_what_costs_it_its_session(route, known):
    try:
        line = dialect.line(Announce(1, "dns", route), known)
    except SpeakerError:
        return
    assume(not known.spelled)
    words = tokens(line)
    named = [ip_address(word) for word in words[: words.index("announce")] if "." in word or ":" in word]
    to = named or [one.address for one in known.peers or ()]
    if route.next_hop == "self":
        assert all(address.version == route.prefix.version for address in to)
    else:
        assert route.next_hop.version == route.prefix.version
    lacking = {one.address for one in known.peers or () if one.families}
    lacking -= {one.address for one in known.peers or () if f"ipv{route.prefix.version} unicast" in one.families}
    lacking -= {one.address for one in known.peers or () if not one.families}
    assert lacking.isdisjoint(to)
    if known.dialect is Dialect.V6 and named and known.peers is not None:
        assert set(named) <= {one.address for one in known.peers}


READERS = {
    "communities": config._read_community,
    "large_communities": config._read_large_community,
    "extended_communities": config._read_extended_community,
}


@given(st.sampled_from(sorted(READERS)), HOSTILE, st.sampled_from([None, *Dialect]))
def test_what_the_configuration_takes_can_be_said(field, text, which):
    try:
        value = READERS[field](text)
    except ValueError:
        return
    line = dialect.line(Announce(1, "dns", Route(V4, HOP4, **{field: (value,)})), Speech(which))
    assert holds_only_our_words(line)


@given(st.text("abcdefghijklmnopqrstuvwxyzABCDEFG0123456789_-", min_size=1, max_size=70) | HOSTILE)
def test_a_watchdog_that_the_configuration_takes_can_be_said(text):
    try:
        name = config._read_watchdog(text)
    except ValueError:
        return
    assume(name.lower() not in ("flush", "clear"))
    assert dialect.line(Announce(1, "dns", Watchdog(name))) == f"announce watchdog {name}\n".encode()


@given(HOSTILE)
def test_a_watchdog_is_three_words_or_is_refused(name):
    try:
        line = dialect.line(Announce(1, "dns", Watchdog(name)))
    except SpeakerError:
        return
    assert line == f"announce watchdog {name}\n".encode("ascii")
    assert tokens(line) == ["announce", "watchdog", name]
    assert not any(word in name for word in FATAL)


@given(st.text())
def test_guarded_gives_the_text_itself_or_refuses(text):
    try:
        line = dialect.guarded(text)
    except SpeakerError:
        return
    assert line == text.encode("ascii") + b"\n"
    assert b"\n" not in line[:-1]
