"""Every kind of line that we can make, on the parser of ExaBGP itself: its answers, and what it took them for.

No neighbour ever comes up: what is asked is what ExaBGP accepts, not what it advertises.
"""

from __future__ import annotations

import json
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from lab import Program, free_port, wait_for
from lab.exabgp import environment

from exabgp_bfd.core.model import Announce, Command, Route, SpeakerError, Withdraw
from exabgp_bfd.speaker import dialect

pytestmark = pytest.mark.live

EXABGP = Path(sys.executable).parent / "exabgp"
PATIENCE = 60.0

# The API process: says each line of a file, waits for its answer, and writes down what came; argv: commands, answers.
PROCESS = """#!{python}
import json, os, select, sys, time

def answer():
    global rest
    body, deadline = [], time.monotonic() + 10
    while time.monotonic() < deadline:
        while b"\\n" in rest:
            line, rest = rest.split(b"\\n", 1)
            if line in (b"done", b"error"):
                return line.decode(), body
            if not line.startswith(b"{{"):
                body.append(line.decode())
        if select.select([0], [], [], 0.1)[0]:
            data = os.read(0, 65536)
            if not data:
                return "gone", body
            rest += data
    return "silence", body

rest = b""
with open(sys.argv[1], "rb") as commands, open(sys.argv[2], "w") as answers:
    for command in commands:
        while command:
            command = command[os.write(1, command):]
        outcome, body = answer()
        print(json.dumps([outcome, body]), file=answers, flush=True)
        if outcome == "gone":
            break
    print(json.dumps(["end", []]), file=answers, flush=True)
while os.read(0, 65536):
    pass
"""

# Neighbours on ports where nobody listens; the second one is of IPv6.
CONFIGURATION = """
process commands {{
  run {process} {commands} {answers};
  encoder json;
}}
template {{
  neighbor everyone {{
    router-id 192.0.2.1;
    local-as 65001;
    peer-as 65002;
    connect {port};
    family {{ ipv4 unicast; ipv6 unicast; }}
    api {{ processes [ commands ]; }}
  }}
}}
neighbor 127.0.0.1 {{ inherit everyone; local-address 127.0.0.1; }}
neighbor ::1 {{ inherit everyone; local-address ::1; }}
"""

V4, V6 = ip_network("198.51.100.53/32"), ip_network("2001:db8::53/128")
HOP4, HOP6 = ip_address("192.0.2.9"), ip_address("2001:db8::9")
PEER4, PEER6, NOBODY = ip_address("127.0.0.1"), ip_address("::1"), ip_address("127.0.0.9")


def plain(**attributes: object) -> Route:
    return Route(V4, HOP4, **attributes)  # type: ignore[arg-type]


def announce(route: Route) -> Command:
    return Announce(1, "dns", route)


def withdraw(route: Route) -> Command:
    return Withdraw(1, "dns", route)


ACCEPTED = {
    "IPv4": announce(plain()),
    "IPv4, next hop self": announce(Route(V4, neighbors=(PEER4,))),
    "IPv6": announce(Route(V6, HOP6)),
    "IPv6, next hop self, to an IPv6 neighbour": announce(Route(V6, neighbors=(PEER6,))),
    "default routes": announce(Route(ip_network("0.0.0.0/0"), HOP4)),
    "default routes, IPv6": announce(Route(ip_network("::/0"), HOP6)),
    "a network": announce(Route(ip_network("203.0.113.0/24"), HOP4)),
    "one neighbour": announce(plain(neighbors=(PEER4,))),
    "one IPv6 neighbour": announce(Route(V6, HOP6, neighbors=(PEER6,))),
    "two neighbours": announce(plain(neighbors=(PEER4, PEER6))),
    "one of two neighbours is unknown": announce(plain(neighbors=(NOBODY, PEER4))),
    "MED 0": announce(plain(med=0)),
    "the largest MED": announce(plain(med=4294967295)),
    "local preference 0": announce(plain(local_preference=0)),
    "the largest local preference": announce(plain(local_preference=4294967295)),
    "AS path": announce(plain(as_path=(65001, 65001, 4294967295))),
    "a long AS path": announce(plain(as_path=(65001,) * 300)),
    "communities": announce(plain(communities=("0:0", "65535:65535", "0xFFFF0001", "4259840000"))),
    "named communities": announce(plain(communities=("no-export", "no-advertise", "no-export-subconfed", "no-peer"))),
    "more named communities": announce(plain(communities=("nopeer", "blackhole"))),
    "graceful shutdown": announce(plain(communities=("graceful-shutdown",))),
    "large communities": announce(plain(large_communities=("0:0:0", "4294967295:4294967295:4294967295"))),
    "extended communities": announce(
        plain(
            extended_communities=(
                "target:65000:1",
                "origin:65000:4294967295",
                "target:192.0.2.1:65535",
                "origin:4200000000:1",
                "0x0002fde800000001",
            )
        )
    ),
    "everything": announce(
        plain(
            neighbors=(PEER4, PEER6),
            med=1,
            local_preference=2,
            communities=("65000:1",),
            large_communities=("1:2:3",),
            extended_communities=("target:1:2",),
            as_path=(65001,),
        )
    ),
    "longer than a page of the pipe": announce(plain(communities=tuple(f"65000:{value}" for value in range(1000)))),
    "withdraw IPv4": withdraw(plain()),
    "withdraw IPv6": withdraw(Route(V6, HOP6)),
    "withdraw, next hop self": withdraw(Route(V4)),
    "withdraw IPv6, next hop self, from all": withdraw(Route(V6)),
    "withdraw IPv6, next hop self, from an IPv4 neighbour": withdraw(Route(V6, neighbors=(PEER4,))),
    "withdraw from one": withdraw(Route(V4, neighbors=(PEER4,))),
    "withdraw from two": withdraw(Route(V4, neighbors=(PEER4, PEER6))),
    "withdraw what was never announced": withdraw(Route(ip_network("203.0.113.99/32"))),
    "withdraw a default route": withdraw(Route(ip_network("0.0.0.0/0"))),
}

REFUSED = {
    "IPv6, next hop self, to an IPv4 neighbour": announce(Route(V6, neighbors=(PEER4,))),
    "IPv6, next hop self, to all": announce(Route(V6)),
    "an unknown neighbour": announce(plain(neighbors=(NOBODY,))),
    "withdraw from an unknown neighbour": withdraw(Route(V4, neighbors=(NOBODY,))),
    "too large a MED": announce(plain(med=4294967296)),
    "a negative MED": announce(plain(med=-1)),
    "too large a local preference": announce(plain(local_preference=1 << 64)),
    "too large an AS number": announce(plain(as_path=(4294967296,))),
    "a negative AS number": announce(plain(as_path=(-1,))),
    "too large a community": announce(plain(communities=("65536:1",))),
    "too large a large community": announce(plain(large_communities=("4294967296:1:1",))),
    "an extended community of no address": announce(plain(extended_communities=("target:1.2.3:4",))),
    "an extended community of no number": announce(plain(extended_communities=("target:...:4",))),
}

# In this order: what is left of them in ExaBGP's table is told after all.
KEPT = Route(
    ip_network("198.51.100.99/32"),
    HOP4,
    med=1,
    local_preference=2,
    communities=("65000:1", "graceful-shutdown"),
    large_communities=("1:2:3",),
    extended_communities=("target:1:2",),
    as_path=(65001, 65001),
)
GONE4 = Route(ip_network("198.51.100.98/32"))
GONE6 = Route(ip_network("2001:db8::98/128"), HOP6)
LAST = [
    announce(KEPT),
    announce(GONE4),
    announce(GONE6),
    # By the prefix alone, from all neighbours, of either family.
    withdraw(GONE4),
    withdraw(GONE6),
]
SHOW, VERSION = b"show adj-rib out extensive\n", b"version\n"

FATAL = ["json", "debug", "crash", "shutdown", "restart", "reset", "operational", "disable-ack", "silence-ack"]
CHARACTERS = [chr(code) for code in range(256) if not chr(code).isalnum() and chr(code) not in " :./,*[]-"]
HOSTILE = [
    *FATAL,
    *(f"x-{word}" for word in FATAL),
    *(f"1:1[{word}]" for word in FATAL),
    *(f"1:1,{word}" for word in FATAL),
    *(f"1:1{character}" for character in [*CHARACTERS, "é", "\u2028", "\ud800"]),
    *(f"{character}1:1" for character in CHARACTERS),
    "1:1\nshutdown",
    "reload",
    "teardown",
    "version",
    "clear adj-rib",
    "flush adj-rib out",
    "1:1 ] next-hop 192.0.2.66 community [ 1:1",
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Each line with ExaBGP's answer and the text before it."""
    folder = tmp_path_factory.mktemp("commands")
    said, heard, process = folder / "said", folder / "heard", folder / "process.py"
    lines = list(dict.fromkeys(dialect.line(command) for command in [*ACCEPTED.values(), *REFUSED.values(), *LAST]))
    lines += [SHOW, VERSION]
    said.write_bytes(b"".join(lines))
    process.write_text(PROCESS.format(python=sys.executable))
    process.chmod(0o755)
    conf = folder / "exabgp.conf"
    conf.write_text(CONFIGURATION.format(process=process, commands=said, answers=heard, port=free_port()))
    env = environment(exabgp_tcp_port=str(free_port()), exabgp_tcp_bind="")
    exabgp = Program([str(EXABGP), "server", str(conf)], folder / "exabgp.log", env)
    exabgp.start()
    try:
        wait_for(
            lambda: (heard.exists() and '"end"' in heard.read_text()) or not exabgp.running, "the answers", PATIENCE
        )
        assert exabgp.running, exabgp.output()
        told = [json.loads(line) for line in heard.read_text().splitlines()]
        assert told.pop() == ["end", []]
        return dict(zip(lines, told, strict=True))
    finally:
        exabgp.stop()


@pytest.mark.parametrize("kind", ACCEPTED)
def test_accepted(answers, kind):
    assert answers[dialect.line(ACCEPTED[kind])] == ["done", []]


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(answers, kind):
    assert answers[dialect.line(REFUSED[kind])] == ["error", []]


def test_what_was_announced_is_in_the_table_as_we_meant_it(answers):
    outcome, table = answers[SHOW]
    assert outcome == "done"
    kept = [line for line in table if "198.51.100.99/32" in line]
    assert len(kept) == 2, "once for each neighbour"
    for line in kept:
        assert "next-hop 192.0.2.9" in line
        for attribute in ("med 1", "local-preference 2", "65000:1 65535:0", "1:2:3", "target:1:2", "65001 65001"):
            assert attribute in line


def test_what_was_withdrawn_is_in_no_table(answers):
    _, table = answers[SHOW]
    assert not [line for line in table if str(GONE4.prefix) in line or str(GONE6.prefix) in line]


def test_exabgp_lives_through_all_of_them_and_answers_nothing_twice(answers):
    outcome, body = answers[VERSION]
    assert outcome == "done"
    assert any("exabgp" in line for line in body)


@pytest.mark.parametrize("field", ["communities", "large_communities", "extended_communities"])
def test_what_harms_exabgp_never_leaves(field):
    for hostile in HOSTILE:
        with pytest.raises(SpeakerError):
            assert dialect.line(announce(plain(**{field: (hostile,)}))) == "refused"


@pytest.mark.parametrize("place", ["{}", "show {}", "neighbor * announce route 192.0.2.1/32 next-hop self {} x"])
def test_no_line_with_it_passes_the_guard(place):
    for hostile in [*FATAL, *CHARACTERS]:
        with pytest.raises(SpeakerError):
            assert dialect.guarded(place.format(hostile)) == "refused"
