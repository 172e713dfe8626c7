"""Whatever an operator writes: what leaves is one line of known words, made anew, or nothing at all."""

import re
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exabgp_bfd.core import spoken
from exabgp_bfd.core.model import Announce, Peer, Route, SpeakerError, Watchdog, Withdraw
from exabgp_bfd.core.spoken import Question, SpokenError
from exabgp_bfd.speaker import dialect
from exabgp_bfd.speaker.dialect import Dialect, Speech

# What a line may be made of, told apart from how the line is made.
WORDS = {
    *("announce", "withdraw", "route", "watchdog", "next-hop", "self", "as-path", "med", "local-preference", "*", ","),
    *("community", "large-community", "extended-community", "neighbor", "peer", "[", "]"),
    *("no-export", "no-advertise", "no-export-subconfed", "no-peer", "blackhole"),
}
VALUE = re.compile(r"[0-9a-f.:]+(/[0-9]{1,3})?,?|[0-9]+|[0-9:]+|(target|origin):[0-9.]+:[0-9]+|0x[0-9a-f]{16}")
PIECES = [
    *sorted(WORDS),
    *("version", "show", "summary", "adj-rib", "out", "extensive", "configuration", "json", "crash", "shutdown"),
    *("restart", "reload", "reset", "debug", "teardown", "clear", "flush", "group", "disable-ack", "enable-ack", "eor"),
    *("#", ";", "\n", "\r", "\0", "\t", "\u2028", "\u00a0", "\uff11", "\ud800", "'", '"', "\\", "{", "}", "(", ")"),
    *("192.0.2.1", "192.0.2.0/24", "203.0.113.7/32", "2001:db8::1", "2001:db8::/32", "::", "0.0.0.0/0", "1.2.3.4/33"),
    *("65000:1", "65000:1:2", "target:65000:1", "0x0002fde800000001", "65536:1", "4294967296", "0", "1", "01", "-1"),
    *("graceful-shutdown", "path-information", "attributes", "nlri", "flow", "ntp", "x" * 65, "operational"),
]
STARTS = [
    "announce route 203.0.113.7/32 next-hop self ",
    "neighbor 192.0.2.1 announce route 203.0.113.7/32 next-hop 192.0.2.9 ",
    "peer [ 192.0.2.1 , 192.0.2.2 ] withdraw route ",
    "announce watchdog ",
    "show ",
    "",
]
PEERS = (Peer(ip_address("192.0.2.1")), Peer(ip_address("2001:db8::1")))
SPEECHES = [Speech(each, peers) for each in (None, *Dialect) for peers in (None, PEERS)]


@st.composite
def soups(draw):
    """Nearly commands, of words that somewhere belong into one."""
    pieces = draw(st.lists(st.sampled_from(PIECES), max_size=14))
    blank = st.sampled_from([" ", " ", " ", "  ", "", "\n"])
    return draw(st.sampled_from(STARTS)) + "".join(piece + draw(blank) for piece in pieces)


def lines(text):
    """What would leave for a text, in every dialect; nothing where it is refused."""
    try:
        said = spoken.read(text)
    except SpokenError as error:
        check_refusal(text, error)
        return
    if isinstance(said, Question):
        assert text.split() == said.value.split()
        return
    command = (Announce if said.announce else Withdraw)(1, "by hand", said.target)
    for speech in SPEECHES:
        try:
            yield said, dialect.line(command, speech)
        except SpeakerError as error:
            check_told(error)


def check_refusal(text, error):
    assert 1 <= error.column <= len(text) + 1
    check_told(error)


def check_told(error):
    assert str(error).isprintable()


def check(text):
    for said, line in lines(text):
        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")
        assert b"\r" not in line
        words = line.decode("ascii")[:-1].split(" ")
        if isinstance(said.target, Watchdog):
            assert words.pop() == said.target.name
        assert [word for word in words if word not in WORDS and not VALUE.fullmatch(word)] == []
        verbs = [word for word in words if word in ("announce", "withdraw")]
        assert verbs == ["announce" if said.announce else "withdraw"]


@given(st.one_of(soups(), st.text(max_size=200)))
@example("announce route 203.0.113.7/32 next-hop self\nshutdown")
@example("announce route 203.0.113.7/32 next-hop self\r\nshutdown\r\n")
@example("announce watchdog json")
@example("announce watchdog x\0")
@example("withdraw route 203.0.113.7/32 json")
@example("neighbor * shutdown")
@example("show neighbor summary json")
@example("version\nshutdown")
@example("\u202eannounce route 203.0.113.7/32 next-hop self")
@example("announce route 203.0.113.\u0667/32 next-hop self")
@example(" " * 5000)
def test_what_leaves_is_one_line_of_known_words(text):
    check(text)


numbers = st.integers(0, 2**32 - 1)
shorts = st.integers(0, 65535)
addresses = st.one_of(
    st.ip_addresses(v=4).filter(lambda one: not (one.is_multicast or one.is_unspecified)),
    st.ip_addresses(v=6).filter(lambda one: not (one.is_multicast or one.is_unspecified)),
)


@st.composite
def routes(draw):
    address = draw(addresses)
    prefix = ip_network((address, draw(st.integers(0, address.max_prefixlen))), strict=False)
    hop = draw(st.one_of(st.just("self"), addresses.filter(lambda one: one.version == address.version)))
    return Route(
        prefix,
        hop,
        neighbors=tuple(draw(st.lists(addresses, max_size=3, unique=True))),
        med=draw(st.none() | numbers),
        local_preference=draw(st.none() | numbers),
        communities=tuple(draw(st.lists(st.builds("{}:{}".format, shorts, shorts), max_size=3, unique=True))),
        large_communities=tuple(
            draw(st.lists(st.builds("{}:{}:{}".format, numbers, numbers, numbers), max_size=3, unique=True))
        ),
        extended_communities=tuple(
            draw(st.lists(st.builds("target:{}:{}".format, shorts, numbers), max_size=3, unique=True))
        ),
        as_path=tuple(draw(st.lists(st.integers(1, 2**32 - 1), max_size=5))),
    )


@given(routes())
def test_a_route_as_we_would_write_it_is_read_as_the_same(route):
    """In the dialects of 4 and 5, and that of 6; that no neighbour can carry it is for others to say."""
    plain = replace(route, neighbors=tuple(each for each in route.neighbors if each.version == route.prefix.version))
    for speech in (Speech(), Speech(Dialect.V6)):
        line = dialect.line(Announce(1, "by hand", plain), speech).decode().rstrip("\n")
        assert spoken.read(line) == spoken.Said(announce=True, target=plain)
        gone = dialect.line(Withdraw(1, "by hand", plain), speech).decode().rstrip("\n")
        expected = Route(plain.prefix, neighbors=plain.neighbors)
        assert spoken.read(gone) == spoken.Said(announce=False, target=expected)


@pytest.mark.parametrize(
    ("text", "column", "why"),
    [
        ("", 1, "is no command that is sent"),
        ("shutdown", 1, "POST /shutdown"),
        ("reload", 1, "POST /reload"),
        ("restart", 1, "restart ExaBGP"),
        ("teardown 192.0.2.1", 1, "end a BGP session"),
        ("neighbor 192.0.2.1 teardown 2", 20, "end a BGP session"),
        ("clear adj-rib out", 1, "routes of services"),
        ("flush adj-rib out", 1, "every route again"),
        ("crash", 1, "end ExaBGP"),
        ("reset", 1, "yet to do"),
        ("disable-ack", 1, "answers"),
        ("group start", 1, "one command at a time"),
        ("# shutdown", 1, "the character '#'"),
        ("announce route 203.0.113.7/32 next-hop self; shutdown", 44, "the character ';'"),
        ("announce route 203.0.113.7/32 next-hop self\n", 44, "the character '\\n'"),
        ("announce route 203.0.113.7/32 next-hop self\tmed 1", 44, "the character '\\t'"),
        ("announce route 203.0.113.7/32", 30, "next-hop is missing"),
        ("announce route 203.0.113.7 next-hop self", 16, "203.0.113.7/32?"),
        ("announce route 203.0.113.7/24 next-hop self", 16, "203.0.113.0/24"),
        ("announce route 203.0.113.7/32 next-hop 2001:db8::1", 31, "IPv6"),
        ("announce route 203.0.113.7/32 next-hop 224.0.0.1", 40, "cannot be a next hop"),
        ("announce route 203.0.113.7/32 next-hop self med 4294967296", 49, "0 to 4294967295"),
        ("announce route 203.0.113.7/32 next-hop self med 1 med 2", 51, "twice"),
        ("announce route 203.0.113.7/32 next-hop self origin igp", 45, "no attribute that is sent"),
        ("announce route 203.0.113.7/32 next-hop self path-information 1.2.3.4", 45, "services have none"),
        ("announce route 203.0.113.7/32 next-hop self community [ 1:1 1:1 ]", 61, "twice"),
        ("announce route 203.0.113.7/32 next-hop self community [ ]", 58, "empty"),
        ("announce route 203.0.113.7/32 next-hop self community [ 1:1", 60, "is no community"),
        ("announce route 203.0.113.7/32 next-hop self extended-community target:192.0.2.1:65536", 64, "last number"),
        ("announce flow route", 10, "a route, or a watchdog"),
        ("announce watchdog a.b", 19, "letters, digits"),
        ("neighbor 192.0.2.1 announce watchdog ntp", 29, "all neighbours"),
        ("neighbor 192.0.2.1 local-as 65000 announce route ::/0 next-hop self", 20, "by their addresses"),
        ("neighbor edge1 announce route ::/0 next-hop self", 10, "is no address"),
        ("show adj-rib out", 6, "nothing else while it answers"),
        ("show neighbor configuration", 15, "passwords"),
        ("version version", 9, "too much"),
        ("x" * 4097, 4097, "at most 4096"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_refusal_says_where_and_why(text, column, why):
    with pytest.raises(SpokenError) as refused:
        spoken.read(text)
    assert (refused.value.column, why in refused.value.text) == (column, True), str(refused.value)


@pytest.mark.parametrize("text", ["version", "show neighbor summary", " version ", "show  neighbor summary"])
def test_a_question_is_one_of_two(text):
    assert isinstance(spoken.read(text), Question)


def test_all_that_is_said_to_be_allowed_is():
    for form in spoken.ALLOWED:
        bare = re.sub(r"^\[neighbor.*?\]\] ", "", form)
        text = re.sub(r" \[[a-z].*$", "", bare).replace("self|ADDRESS", "self")
        spoken.read(text.replace("PREFIX", "203.0.113.7/32").replace("NAME", "ntp"))
