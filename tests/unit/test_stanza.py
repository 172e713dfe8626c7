"""What `exabgp-conf` prints, judged by ExaBGP's own parser, and what `check` finds in a configuration of ExaBGP."""

import sys
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest

from exabgp_bfd import stanza
from exabgp_bfd.core.model import ConfigError, Plan, Route, Selector, Service, Watchdog
from exabgp_bfd.speaker import parser
from exabgp_bfd.stanza import Session, Wanted

V4, V6 = ip_network("198.51.100.53/32"), ip_network("2001:db8::53/128")
N4, N6, OTHER = ip_address("192.0.2.254"), ip_address("2001:db8::fe"), ip_address("192.0.2.253")
LOCAL4, LOCAL6 = ip_address("192.0.2.10"), ip_address("2001:db8::10")
FAMILY4, FAMILY6 = "ipv4 unicast", "ipv6 unicast"
RUN = ("/bin/true", "run", "--config", "/etc/exabgp-bfd/exabgp-bfd.toml")
WHOLE = {"locals_": (LOCAL4, LOCAL6), "local_as": 65001, "peer_as": (65002,)}


def plan(*targets):
    return Plan(services=(Service("dns", targets, (Selector("edge1", "*"),)),))


def text(plan_=None, *, run=RUN, version="5", **given):
    return list(stanza.lines(Wanted(run, plan_, stanza.sessions(plan_, **given), version)))


@pytest.fixture
def read(tmp_path):
    """ExaBGP's own reading of a text."""

    def parse(lines):
        file = tmp_path / "exabgp.conf"
        file.write_text("\n".join(lines) + "\n")
        return parser.read(file)

    return parse


@pytest.mark.parametrize("version", ["4", "5", "6"])
def test_exabgp_reads_what_is_printed(read, version):
    lines = text(plan(Route(V4), Route(V6)), version=version, neighbors=(N4, N6), **WHOLE)
    assert stanza.gaps(lines) == 0
    conf = read(lines)
    (process,) = conf.processes
    assert (process.run, process.encoder, process.respawn) == (RUN, "json", True)
    first, second = conf.neighbors
    assert (first.peer.address, first.peer.local) == (N4, LOCAL4)
    assert (second.peer.address, second.peer.local) == (N6, LOCAL6)
    for neighbor in (first, second):
        assert neighbor.processes == {"bfd"}
        assert neighbor.peer.families == {FAMILY4, FAMILY6}
        assert (neighbor.peer.graceful_restart, neighbor.peer.resends) == (False, True)
        assert {what for what, who in neighbor.told.items() if "bfd" in who} == {
            *("neighbor-changes", "negotiated", "send-parsed", "send-update"),
            *("receive-parsed", "receive-update", "receive-notification"),
        }


def test_neighbours_are_those_that_are_given_and_those_that_services_name(read):
    wanted = plan(Route(V4, neighbors=(N4,)), Route(V6, neighbors=(N6, N4)))
    conf = read(text(wanted, neighbors=(OTHER,), **WHOLE))
    families = {neighbor.peer.address: neighbor.peer.families for neighbor in conf.neighbors}
    # OTHER is in no route's list: what it should carry cannot be known.
    both = {FAMILY4, FAMILY6}
    assert families == {OTHER: both, N4: both, N6: {FAMILY6}}
    assert list(families) == [OTHER, N4, N6]


@pytest.mark.parametrize(
    ("targets", "families"),
    [
        ((Route(V4),), {FAMILY4}),
        ((Route(V6),), {FAMILY6}),
        ((Route(V4), Route(V6)), {FAMILY4, FAMILY6}),
        ((Route(V4, neighbors=(N4,)), Route(V6, neighbors=(OTHER,))), {FAMILY4}),
        # A watchdog's routes stand in ExaBGP's file.
        ((Watchdog("dns"),), {FAMILY4, FAMILY6}),
        ((Route(V4), Watchdog("dns")), {FAMILY4, FAMILY6}),
    ],
)
def test_families_are_those_of_the_prefixes(read, targets, families):
    conf = read(text(plan(*targets), neighbors=(N4,), **WHOLE))
    assert {each.peer.address: each.peer.families for each in conf.neighbors}[N4] == families


def test_each_neighbour_has_its_own_as_number(tmp_path):
    lines = text(None, neighbors=(N4, OTHER), locals_=(LOCAL4,), local_as=65001, peer_as=(65002, 65003), port=1179)
    assert [line.strip() for line in lines if "-as " in line or "connect" in line] == [
        *("local-as 65001;", "peer-as 65002;", "connect 1179;"),
        *("local-as 65001;", "peer-as 65003;", "connect 1179;"),
    ]


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"locals_": (), "router_id": IPv4Address("192.0.2.10")}, "local-address"),
        ({"local_as": None}, "local-as"),
        ({"peer_as": ()}, "peer-as"),
        ({"locals_": (LOCAL6,), "neighbors": (N6,)}, "router-id"),
    ],
)
def test_what_is_not_given_must_be_filled_in_before_exabgp_takes_it(read, given, missing):
    lines = text(plan(Route(V4)), **{"neighbors": (N4,), **WHOLE, **given})
    (gap,) = [line for line in lines if stanza.FILL_IN in line]
    assert gap.strip().startswith(f"# {missing} ")
    if missing == "local-address":
        # ExaBGP 5 finds its own end by itself where it is not told.
        assert read(lines).neighbors[0].peer.local is None
    else:
        with pytest.raises(ConfigError, match=missing):
            read(lines)


def test_without_a_neighbour_there_is_a_process_and_an_example(read):
    lines = text(None)
    assert stanza.gaps(lines) == 6
    conf = read(lines)
    assert [process.name for process in conf.processes] == ["bfd"]
    assert conf.neighbors == ()


def test_what_a_neighbour_cannot_carry_is_said_beside_it(read):
    lines = text(plan(Route(V4), Route(V6)), neighbors=(N4, N6), **WHOLE)
    about = [line.strip() for line in lines if line.strip().startswith("# Not to this neighbour")]
    assert about == [f"# Not to this neighbour: {V6}:", f"# Not to this neighbour: {V4}:"]


def test_watchdogs_are_mentioned_with_the_word_that_keeps_them_back(read):
    lines = text(plan(Watchdog("ntp")), neighbors=(N4,), **WHOLE)
    (example,) = [line.strip() for line in lines if "watchdog ntp withdraw" in line]
    place = next(number for number, line in enumerate(lines) if line.strip() == example)
    lines[place] = example.removeprefix("# ").replace("PREFIX", str(V4)).replace("ADDRESS", "self")
    (neighbor,) = read(lines).neighbors
    assert (neighbor.watchdogs["ntp"].on, neighbor.watchdogs["ntp"].off) == (0, 1)


def test_a_path_of_many_characters_arrives_whole(read):
    words = ("/etc/a b.toml", "/etc/a;b{c}#d[e],f.toml", "/e\\x", "~")
    (process,) = read(text(run=("/bin/true", *words))).processes
    assert process.run == ("/bin/true", *words)


@pytest.mark.parametrize("word", ["/etc/it's.toml", '/etc/"x".toml', "/etc/a\nb", "/etc/käse.toml", ""])
def test_a_path_that_exabgp_cannot_be_told(word):
    with pytest.raises(ConfigError, match="give a path of other characters"):
        text(run=("/bin/true", word))


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        ({"locals_": (LOCAL4, OTHER)}, "--local-address"),
        ({"neighbors": (N4, N6), "peer_as": (1, 2, 3)}, "--peer-as"),
        ({"neighbors": (N4,), "peer_as": (1, 2)}, "--peer-as"),
    ],
)
def test_what_does_not_fit_together(given, flag):
    with pytest.raises(ConfigError) as refused:
        stanza.sessions(None, **given)
    assert refused.value.place == flag


def test_a_session_of_nobody_where_nobody_is_named():
    assert stanza.sessions(None) == (Session(),)


def test_our_program_by_its_absolute_path(monkeypatch, tmp_path):
    found = stanza.program()
    assert Path(found[0]).is_absolute()
    assert Path(found[0]).exists()
    ours = tmp_path / "exabgp-bfd"
    ours.touch()
    monkeypatch.setattr(sys, "argv", [str(ours)])
    assert stanza.program() == (str(ours),)
    # Where there is no script at all, the module.
    monkeypatch.setattr(sys, "argv", ["/x/__main__.py"])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python3"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert stanza.program() == (str(tmp_path / "bin" / "python3"), "-m", "exabgp_bfd")
