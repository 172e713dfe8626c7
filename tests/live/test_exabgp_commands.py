"""Every kind of line that we can make, on the parser of ExaBGP itself: its answers, and what it took them for.

In the first part no neighbour ever comes up: what is asked is what ExaBGP accepts, not what it advertises. In the
second BIRD tells what watchdogs and other attributes come to.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from lab import Program, free_port, stays, wait_for
from lab.bird import Bird
from lab.exabgp import V5, Release, environment

from exabgp_bfd.core.model import Announce, Command, Route, SpeakerError, Target, Watchdog, Withdraw
from exabgp_bfd.speaker import dialect

pytestmark = pytest.mark.live

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


def announce(route: Target) -> Command:
    return Announce(1, "dns", route)


def withdraw(route: Target) -> Command:
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
    "a watchdog that no route carries": announce(Watchdog("nobody_s-name")),
    "withdraw a watchdog that no route carries": withdraw(Watchdog("nobody_s-name")),
    "a watchdog with a long name": announce(Watchdog("x" * 64)),
}

REFUSED = {
    "an unknown neighbour": announce(plain(neighbors=(NOBODY,))),
    "withdraw from an unknown neighbour": withdraw(Route(V4, neighbors=(NOBODY,))),
    "an extended community of no address": announce(plain(extended_communities=("target:1.2.3:4",))),
    "an extended community of no number": announce(plain(extended_communities=("target:...:4",))),
}

# ExaBGP 4.2.21 takes the first two, and may lose its BGP session; the others it never answers. No configuration of ours
# has such numbers, and the first one waits for ExaBGP to tell of its neighbours.
REFUSED_BY_5 = {
    "IPv6, next hop self, to all": announce(Route(V6)),
    "too large an AS number": announce(plain(as_path=(4294967296,))),
    "too large a MED": announce(plain(med=4294967296)),
    "too large a community": announce(plain(communities=("65536:1",))),
    "too large a large community": announce(plain(large_communities=("4294967296:1:1",))),
}

NEVER_SENT = {
    "IPv6, next hop self, to an IPv4 neighbour": announce(Route(V6, neighbors=(PEER4,))),
    "a negative MED": announce(plain(med=-1)),
    "a local preference of 64 bits": announce(plain(local_preference=1 << 64)),
    "a negative AS number": announce(plain(as_path=(-1,))),
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
def asked(tmp_path_factory):
    """Asks an ExaBGP once: each line with its answer and the text before it."""
    known: dict[str, dict[bytes, list]] = {}

    def ask(release: Release) -> dict[bytes, list]:
        if release.name not in known:
            known[release.name] = _ask(tmp_path_factory.mktemp("commands"), release)
        return known[release.name]

    return ask


@pytest.fixture
def answers(asked, release):
    return asked(release)


def _ask(folder: Path, release: Release) -> dict[bytes, list]:
    said, heard, process = folder / "said", folder / "heard", folder / "process.py"
    commands = [*ACCEPTED.values(), *REFUSED.values(), *(REFUSED_BY_5.values() if release == V5 else ()), *LAST]
    lines = list(dict.fromkeys(dialect.line(command) for command in commands))
    lines += [SHOW, VERSION]
    said.write_bytes(b"".join(lines))
    process.write_text(PROCESS.format(python=sys.executable))
    process.chmod(0o755)
    conf = folder / "exabgp.conf"
    conf.write_text(CONFIGURATION.format(process=process, commands=said, answers=heard, port=free_port()))
    env = environment(exabgp_tcp_port=str(free_port()), exabgp_tcp_bind="")
    exabgp = Program([*release.command, str(conf)], folder / "exabgp.log", env)
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


@pytest.mark.parametrize("kind", REFUSED_BY_5)
def test_refused_by_5(asked, kind):
    assert asked(V5)[dialect.line(REFUSED_BY_5[kind])] == ["error", []]


@pytest.mark.parametrize("kind", NEVER_SENT)
def test_never_sent(kind):
    with pytest.raises(SpeakerError):
        assert dialect.line(NEVER_SENT[kind]) == "refused"


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


@pytest.mark.parametrize("place", ["{}", "show {}", "announce route 192.0.2.1/32 next-hop self {} x"])
def test_no_line_with_it_passes_the_guard(place):
    for hostile in [*FATAL, *(character for character in CHARACTERS if character != "_")]:
        with pytest.raises(SpeakerError):
            assert dialect.guarded(place.format(hostile)) == "refused"


def test_no_watchdog_that_harms_exabgp_ever_leaves():
    for hostile in [*HOSTILE, *FATAL, "reload", "teardown", "version", "help", "enable-ack", "dns nobody", "announce"]:
        with pytest.raises(SpeakerError):
            assert dialect.line(announce(Watchdog(hostile))) == "refused"
        with pytest.raises(SpeakerError):
            assert dialect.line(withdraw(Watchdog(hostile))) == "refused"


# --- what a neighbour sees of it --------------------------------------------------------------------------------------

# The API process: says what it is given, and writes down what ExaBGP says; argv: a FIFO, a file.
RELAY = """#!{python}
import os, select, sys
said, heard = os.open(sys.argv[1], os.O_RDWR), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
while True:
    ready = select.select([0, said], [], [])[0]
    if said in ready:
        os.write(1, os.read(said, 4096))
    if 0 in ready:
        data = os.read(0, 65536)
        if not data:
            break
        os.write(heard, data)
"""

# Within one AS, where a local preference counts.
SPEAKING = """
process relay {{
  run {relay} {said} {heard};
  encoder json;
}}
neighbor 127.0.0.1 {{
  router-id 192.0.2.1;
  local-address 127.0.0.1;
  local-as 65001;
  peer-as 65001;
  connect {port};
  hold-time 30;
  family {{ ipv4 unicast; ipv6 unicast; }}
  api {{ processes [ relay ]; }}
  static {{
    route 198.51.100.1/32 next-hop 192.0.2.9 watchdog dns;
    route 198.51.100.2/32 next-hop 192.0.2.9 watchdog dns withdraw;
    route 2001:db8::2/128 next-hop 2001:db8::9 watchdog dns withdraw;
    route 198.51.100.3/32 next-hop 192.0.2.9 watchdog web_1-x withdraw;
    route 198.51.100.4/32 next-hop 192.0.2.9;
    {more}
  }}
}}
"""
ALWAYS = "198.51.100.4/32"
DNS_UP, DNS_DOWN, WEB = "198.51.100.1/32", {"198.51.100.2/32", "2001:db8::2/128"}, "198.51.100.3/32"


class Speaking:
    """ExaBGP with BIRD as its neighbour, said to line by line."""

    def __init__(self, folder: Path, bird: Bird, release: Release) -> None:
        self.bird = bird
        self._fifo, self._heard, relay = folder / "said", folder / "heard", folder / "relay.py"
        self._conf = folder / "exabgp.conf"
        self._relay = relay
        relay.write_text(RELAY.format(python=sys.executable))
        relay.chmod(0o755)
        os.mkfifo(self._fifo)
        self._heard.touch()
        self.configure()
        env = environment(exabgp_tcp_port=str(free_port()), exabgp_tcp_bind="")
        self.exabgp = Program([*release.command, str(self._conf)], folder / "exabgp.log", env)
        self._said = os.open(self._fifo, os.O_RDWR)

    def configure(self, more: str = "") -> None:
        """Writes ExaBGP's configuration."""
        self._conf.write_text(
            SPEAKING.format(relay=self._relay, said=self._fifo, heard=self._heard, port=self.bird.port, more=more)
        )

    def say(self, line: bytes) -> str:
        """Says a line; gives the answer."""
        before = len(self._heard.read_bytes())
        os.write(self._said, line)
        answer = wait_for(
            lambda: re.search(rb"^(done|error)$", self._heard.read_bytes()[before:], re.MULTILINE),
            f"answer to {line!r}",
        )
        return answer[1].decode()

    def do(self, command: Command) -> None:
        assert self.say(dialect.line(command)) == "done"

    def has(self, *routes: str) -> None:
        """Waits until these are all the routes that BIRD has."""
        wait_for(lambda: self.bird.routes() == {*routes}, f"{sorted(routes)}", PATIENCE)

    def attributes(self, prefix: str) -> dict[str, str]:
        told = dict(re.findall(r"BGP\.(\S+): (.*?)\s*$", self.bird.route(prefix), re.MULTILINE))
        if "community" in told:  # 4 keeps them as they were said, 5 sorts them
            told["community"] = " ".join(sorted(told["community"].split(" ")))
        return told

    def stop(self) -> None:
        self.exabgp.stop()
        os.close(self._said)


@pytest.fixture
def speaking(need, release, tmp_path):
    bird = Bird(need("bird", "bird2"), need("birdc", "bird2"), tmp_path, asn=65001)
    bird.start()
    try:
        speaking = Speaking(tmp_path, bird, release)
        try:
            speaking.exabgp.start()
            wait_for(bird.established, "a BGP session", PATIENCE)
            yield speaking
        finally:
            speaking.stop()
    finally:
        bird.stop()


def test_routes_with_a_watchdog_come_and_go_by_our_lines(speaking):
    # What ExaBGP announces by itself at its start: all but what has `withdraw` after its watchdog.
    speaking.has(ALWAYS, DNS_UP)
    speaking.do(announce(Watchdog("dns")))
    speaking.has(ALWAYS, DNS_UP, *DNS_DOWN)
    speaking.do(announce(Watchdog("dns")))
    speaking.do(announce(Watchdog("web_1-x")))
    speaking.has(ALWAYS, DNS_UP, *DNS_DOWN, WEB)
    speaking.do(withdraw(Watchdog("dns")))
    speaking.has(ALWAYS, WEB)
    speaking.do(withdraw(Watchdog("dns")))
    # Nobody carries these names: answered the same, and without effect.
    speaking.do(withdraw(Watchdog("nobody")))
    speaking.do(announce(Watchdog("nobody")))
    speaking.do(announce(Watchdog("DNS")))
    # It is not for some neighbours: with a selector it is for a watchdog that is called `withdraw`, or the like.
    assert speaking.say(b"neighbor 127.0.0.1 withdraw watchdog web_1-x\n") == "done"
    stays(lambda: speaking.bird.routes() == {ALWAYS, WEB}, "nothing of it did anything", 1.0)
    speaking.do(withdraw(Watchdog("web_1-x")))
    speaking.has(ALWAYS)


def test_a_watchdog_stays_as_it_was_said_when_the_bgp_session_comes_back(speaking):
    speaking.do(withdraw(Watchdog("dns")))
    speaking.do(announce(Watchdog("web_1-x")))
    speaking.has(ALWAYS, WEB)
    speaking.bird.ask("disable", "exabgp")
    speaking.has()
    speaking.bird.ask("enable", "exabgp")
    speaking.has(ALWAYS, WEB)
    stays(lambda: speaking.bird.routes() == {ALWAYS, WEB}, "no other route comes with it", 1.0)


def test_a_reload_of_exabgp_announces_what_its_configuration_does_not_hold_back(speaking, release):
    """Why routes with a watchdog must have `withdraw` after it in ExaBGP's configuration, and 4.2 is no place for them.

    4.2.21 announces with a reload what is held back as well, and then `withdraw watchdog` does not take it back.
    """
    held_back = set() if release == V5 else DNS_DOWN
    speaking.has(ALWAYS, DNS_UP)
    speaking.do(withdraw(Watchdog("dns")))
    speaking.do(announce(Watchdog("web_1-x")))
    speaking.has(ALWAYS, WEB)
    new = "198.51.100.5/32"
    speaking.configure(f"route {new} next-hop 192.0.2.9;")
    speaking.exabgp.signal(signal.SIGUSR1)
    speaking.has(ALWAYS, WEB, new, DNS_UP, *held_back)
    # And then 5 still knows what is on and what is off; to 4 it must be said twice.
    speaking.do(withdraw(Watchdog("dns")))
    speaking.has(ALWAYS, WEB, new, *held_back)
    speaking.do(announce(Watchdog("dns")))
    speaking.do(withdraw(Watchdog("dns")))
    speaking.do(withdraw(Watchdog("web_1-x")))
    speaking.do(announce(Watchdog("web_1-x")))
    speaking.do(withdraw(Watchdog("web_1-x")))
    speaking.has(ALWAYS, new)


X, Z = "198.51.100.53/32", "198.51.100.60/32"


def _breath(speaking: Speaking, *commands: str) -> tuple[bool, str | None]:
    """What BIRD has of X after commands that ExaBGP found all at once: whether it is there, and its MED."""
    speaking.say("".join(f"{command}\n" for command in commands).encode())
    # A route that is said after them is sent after them.
    speaking.say(b"announce route 198.51.100.61/32 next-hop 192.0.2.9 med 61\n")
    wait_for(lambda: "198.51.100.61/32" in speaking.bird.routes(), "what was said after all of it", PATIENCE)
    found = X in speaking.bird.routes(), speaking.attributes(X).get("med")
    for prefix in (X, Z, "198.51.100.61/32"):
        speaking.say(f"withdraw route {prefix}\n".encode())
    speaking.has(ALWAYS, DNS_UP)
    return found


def test_what_exabgp_does_in_one_breath_it_sends_in_another_order(speaking, release):
    """Grouped by attributes, in the order in which these came first: the last word on a route may be sent first.

    So a second command for a route is no use before the UPDATE of the first one was sent, and must be said again.
    """
    x, z = f"route {X} next-hop 192.0.2.9", f"route {Z} next-hop 192.0.2.9"
    speaking.has(ALWAYS, DNS_UP)
    speaking.say(f"announce {x}\n".encode())
    speaking.has(ALWAYS, DNS_UP, X)
    assert _breath(speaking, f"announce {z}", f"withdraw route {X}", f"announce {x}") == (False, None), "it was last"
    assert _breath(speaking, f"announce {z}", f"announce {x} med 5", f"announce {x}") == (True, "5"), "MED 5 was before"
    # 4 takes an announce that was not sent yet out of the queue when it is withdrawn, 5 does not.
    zombie = (True, None) if release == V5 else (False, None)
    assert _breath(speaking, f"withdraw route {Z}", f"announce {x}", f"withdraw route {X}") == zombie


STEPS: list[tuple[dict[str, object], dict[str, str]]] = [
    ({}, {}),
    ({"med": 200}, {"med": "200"}),
    ({"med": 0, "communities": ("65000:1", "65000:2")}, {"med": "0", "community": "(65000,1) (65000,2)"}),
    ({"communities": ("graceful-shutdown",)}, {"community": "(65535,0)"}),
    (
        {"communities": ("graceful-shutdown", "65000:1"), "local_preference": 0},
        {"community": "(65000,1) (65535,0)", "local_pref": "0"},
    ),
    ({"as_path": (65010, 65010, 65011)}, {"as_path": "65010 65010 65011"}),
    ({"local_preference": 50}, {"local_pref": "50"}),
    (
        {"large_communities": ("65000:1:2",), "extended_communities": ("target:65000:1",)},
        {"large_community": "(65000, 1, 2)", "ext_community": "(rt, 65000, 1)"},
    ),
    ({}, {}),
]


def test_other_attributes_replace_the_old_ones_and_the_route_never_leaves(speaking):
    bird, prefix = speaking.bird, str(V4)
    speaking.has(ALWAYS, DNS_UP)
    speaking.do(announce(plain()))
    usual = wait_for(lambda: speaking.attributes(prefix), "the route", PATIENCE)
    assert not usual.keys() & {"med", "community", "large_community", "ext_community"}
    assert usual["local_pref"] == "100"
    bird.ask("debug", "exabgp", "{ routes }")  # from here on BIRD logs each route that goes

    def went() -> bool:
        return re.search(rf"removed .*{re.escape(prefix)}", bird.output()) is not None

    seen: list[bool] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.append(prefix in bird.ask("show", "route", "for", prefix))

    looking = threading.Thread(target=look, name="birdc")
    looking.start()
    try:
        for attributes, expected in STEPS * 2:
            speaking.do(announce(plain(**attributes)))
            wait_for(
                lambda expected=expected: speaking.attributes(prefix) == {**usual, **expected}, f"{expected}", PATIENCE
            )
    finally:
        over.set()
        looking.join()
    assert len(seen) > len(STEPS)
    assert all(seen)
    assert not went()
    speaking.do(withdraw(plain()))
    speaking.has(ALWAYS, DNS_UP)
    wait_for(went, "a route that goes is logged", PATIENCE)
