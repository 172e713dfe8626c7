"""Routes as lines of ExaBGP's API: the exact words, and what never leaves."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exabgp_bfd.core.model import Announce, Route, SpeakerError, Watchdog, Withdraw
from exabgp_bfd.speaker import dialect

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


def announce(route: Route) -> str:
    return dialect.line(Announce(1, "dns", route)).decode("ascii")


def withdraw(route: Route) -> str:
    return dialect.line(Withdraw(1, "dns", route)).decode("ascii")


# --- announce -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "line"),
    [
        (Route(V4), "neighbor * announce route 192.0.2.53/32 next-hop self\n"),
        (Route(V6), "neighbor * announce route 2001:db8::53/128 next-hop self\n"),
        (
            Route(V4, next_hop=ip_address("198.51.100.1")),
            "neighbor * announce route 192.0.2.53/32 next-hop 198.51.100.1\n",
        ),
        (
            Route(V6, next_hop=ip_address("2001:db8::1")),
            "neighbor * announce route 2001:db8::53/128 next-hop 2001:db8::1\n",
        ),
        (Route(ip_network("0.0.0.0/0")), "neighbor * announce route 0.0.0.0/0 next-hop self\n"),
        (Route(ip_network("::/0")), "neighbor * announce route ::/0 next-hop self\n"),
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
    assert announce(Route(V4, **attributes)) == f"neighbor * announce route 192.0.2.53/32 next-hop self{words}\n"


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
        ((), "neighbor *"),
        (("192.0.2.1",), "neighbor 192.0.2.1"),
        (("2001:db8::1",), "neighbor 2001:db8::1"),
        (("192.0.2.1", "192.0.2.2"), "neighbor 192.0.2.1, neighbor 192.0.2.2"),
        (("192.0.2.1", "2001:db8::1", "192.0.2.3"), "neighbor 192.0.2.1, neighbor 2001:db8::1, neighbor 192.0.2.3"),
    ],
)
def test_both_commands_name_the_same_neighbours(neighbors, selector):
    route = Route(V4, neighbors=tuple(ip_address(neighbor) for neighbor in neighbors))
    assert announce(route) == f"{selector} announce route 192.0.2.53/32 next-hop self\n"
    assert withdraw(route) == f"{selector} withdraw route 192.0.2.53/32\n"


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
    assert withdraw(route) == f"neighbor * withdraw route {prefix}\n"


def test_a_withdraw_leaves_even_where_the_announce_is_refused():
    route = Route(V4, communities=("no such thing",))
    with pytest.raises(SpeakerError):
        announce(route)
    assert withdraw(route) == "neighbor * withdraw route 192.0.2.53/32\n"


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
        "1:1\nneighbor * withdraw route 0.0.0.0/0",
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
        "neighbor * {}",
        "neighbor * announce route 192.0.2.1/32 community [ {} ]",
        # ExaBGP sets commas and brackets apart before it looks for words...
        "neighbor * announce route 192.0.2.1/32 community [ 1:1,{} ]",
        "neighbor * announce route 192.0.2.1/32 community [{}]",
        "neighbor * announce route 192.0.2.1/32 community [ 1:1]{}[ ]",
        # ... and takes a word's end for a command.
        "neighbor * announce route 192.0.2.1/32 community [ graceful-{} ]",
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
    longest = "a" * 65536
    assert dialect.guarded(longest) == longest.encode() + b"\n"
    with pytest.raises(SpeakerError):
        dialect.guarded(longest + "a")


def test_an_announce_that_is_too_long_is_refused():
    with pytest.raises(SpeakerError):
        announce(Route(V4, as_path=(4200000000,) * 10_000))


@pytest.mark.parametrize(
    "text",
    [
        "version",
        "show neighbor summary",
        "show adj-rib out extensive",
        "neighbor 192.0.2.1 teardown 2",
        "neighbor * announce attributes next-hop self nlri 192.0.2.1/32 192.0.2.2/32",
        "neighbor 192.0.2.1, neighbor 192.0.2.2 withdraw route 192.0.2.0/24",
        "announce watchdog web_1-x",
    ],
)
def test_guarded_lets_ordinary_commands_through_unchanged(text):
    assert dialect.guarded(text) == text.encode("ascii") + b"\n"


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
    assert line.endswith(f" withdraw route {route.prefix}\n".encode())


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
