"""Commands and configurations on ExaBGP's own parser, and what becomes of a child that fails."""

from ipaddress import ip_address, ip_network
from itertools import product
from pathlib import Path

import pytest

from exabgp_bfd.core.model import Announce, ConfigError, Peer, Route, Watchdog, Withdraw
from exabgp_bfd.core.reach import reasons
from exabgp_bfd.speaker import dialect, parser
from exabgp_bfd.speaker.dialect import Dialect, Speech
from exabgp_bfd.speaker.parser import ParserError, Watched

V4, V6 = ip_network("198.51.100.53/32"), ip_network("2001:db8::53/128")
HOP4, HOP6 = ip_address("192.0.2.9"), ip_address("2001:db8::9")
N4, N6 = ip_address("192.0.2.254"), ip_address("2001:db8::fe")
FAMILY4, FAMILY6 = "ipv4 unicast", "ipv6 unicast"
BOTH = frozenset({FAMILY4, FAMILY6})
PEERS = (Peer(N4, families=BOTH), Peer(N6, families=BOTH))

CONF = """
process other { run /bin/true; encoder text; }
process bfd { run /bin/true run --config "/etc/a b.toml"; encoder json; respawn false; }
neighbor 192.0.2.254 {
  router-id 192.0.2.1; local-address 192.0.2.1; local-as 65001; peer-as 65002;
  family { ipv4 unicast; }
  api { processes [ bfd other ]; neighbor-changes; send { parsed; update; } }
  static {
    route 203.0.113.1/32 next-hop self watchdog dns withdraw;
    route 203.0.113.2/32 next-hop self watchdog dns;
    route 203.0.113.3/32 next-hop self;
  }
}
neighbor 2001:DB8:0::FE {
  router-id 192.0.2.1; local-address auto; local-as 65001; peer-as 65002; adj-rib-out false;
  family { ipv6 unicast; ipv4 unicast; }
  capability { graceful-restart 120; }
  api { processes-match [ b.. ]; }
}
neighbor 198.51.100.0/24 { passive; router-id 192.0.2.1; local-address 192.0.2.1; local-as 1; peer-as 2; }
"""


@pytest.fixture
def conf(tmp_path):
    path = tmp_path / "exabgp.conf"
    path.write_text(CONF)
    return path


def said(*targets, peers=PEERS, dialect_=Dialect.V5):
    """Lines that the pipe would get."""
    speech = Speech(dialect_, peers)
    return [dialect.line(command, speech) for target in targets for command in _commands(target)]


def _commands(target):
    return Announce(1, "dns", target), Withdraw(2, "dns", target)


# --- commands -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [Dialect.V4, Dialect.V5])
def test_what_we_say_is_accepted(form):
    everything = Route(
        V4,
        HOP4,
        (N4, N6),
        med=1,
        local_preference=2,
        communities=("65000:1", "graceful-shutdown", "no-export"),
        large_communities=("1:2:3",),
        extended_communities=("target:1:2",),
        as_path=(65001, 4294967295),
    )
    lines = said(everything, Route(V6, HOP6), Route(V4), Watchdog("dns"), dialect_=form)
    trial = parser.try_commands(lines, PEERS)
    assert [verdict.why for verdict in trial.verdicts] == [""] * 8
    assert all(verdict.accepted for verdict in trial.verdicts)
    assert trial.version.startswith("5.")
    assert trial.verdicts[0].taken == {N4, N6}
    assert trial.verdicts[-1].taken == set()


REFUSED = [
    ("announce route 198.51.100.53/24 next-hop 192.0.2.9", "error", "invalid network 198.51.100.53 for netmask 24"),
    ("announce route 198.51.100.53/32", "error", "missing next-hop"),
    ("announce route 198.51.100.53/32 next-hop 192.0.2.9 med 4294967296", "error", "0 <= number"),
    ("announce route 198.51.100.53/32 next-hop 192.0.2.9 colour 1", "error", 'unknown command "colour"'),
    ("neighbor 192.0.2.7 announce route 198.51.100.53/32 next-hop 192.0.2.9", "error", "no neighbor matching"),
    ("neighbor 192.0.2.7 withdraw route 198.51.100.53/32", "error", "no neighbor matching"),
    ("nonsense", "error", ""),
    # This ends the daemon: nobody there catches it.
    ("announce route 198.51.100.53/32 next-hop 192.0.2.9 json", "crash", "KeyError"),
]


def test_what_exabgp_does_not_accept_is_told_with_its_reason():
    good = b"announce route 198.51.100.53/32 next-hop 192.0.2.9\n"
    lines = [each for line, _, _ in REFUSED for each in (f"{line}\n".encode(), good)]
    verdicts = parser.try_commands(lines, PEERS).verdicts
    for (line, answer, why), refused in zip(REFUSED, verdicts[::2], strict=True):
        assert (refused.answer, refused.accepted, refused.taken) == (answer, False, set()), line
        assert why in refused.why, line
    # One bad line says nothing of the next.
    assert all(after.taken == {N4, N6} for after in verdicts[1::2])


def test_the_reasons_that_we_give_are_those_of_exabgp():
    peers = [
        Peer(ip_address(f"192.0.2.{100 + number}" if version == 4 else f"2001:db8::{100 + number}"), families=families)
        for version in (4, 6)
        for number, families in enumerate([frozenset({FAMILY4}), frozenset({FAMILY6}), BOTH])
    ]
    routes = [Route(V4), Route(V6), Route(V4, HOP4), Route(V6, HOP6)]
    pairs = [(route, peer) for route, peer in product(routes, peers)]
    # As it would be said to somebody who asks nobody: to each of them alone.
    lines = [
        f"neighbor {peer.address} announce route {route.prefix} next-hop {route.next_hop}\n".encode()
        for route, peer in pairs
    ]
    for (route, peer), verdict in zip(pairs, parser.try_commands(lines, peers).verdicts, strict=True):
        ours = reasons(route, [peer])
        if route == Route(V4) and peer.address.version == 6 and FAMILY4 in peer.families:
            # ExaBGP 5 makes do with the router id, which is no address that anybody need be able to reach.
            assert (set(ours), verdict.taken) == ({peer.address}, {peer.address})
        else:
            assert (verdict.taken == {peer.address}) is (not ours), (route, peer, verdict, ours)
            assert set(verdict.refused) == set(ours)


def test_no_command_is_no_trial():
    assert parser.try_commands([], PEERS).verdicts == ()


def test_many_commands_are_one_child(monkeypatch):
    started = []
    run = parser.subprocess.run
    monkeypatch.setattr(parser.subprocess, "run", lambda *words, **more: started.append(1) or run(*words, **more))
    prefixes = ip_network("198.51.100.0/24").subnets(new_prefix=32)
    trial = parser.try_commands(said(*(Route(prefix, HOP4) for prefix in prefixes)), PEERS)
    assert (len(trial.verdicts), len(started)) == (512, 1)
    assert all(verdict.accepted for verdict in trial.verdicts)


def test_commands_on_a_configuration(conf):
    lines = [
        b"announce route 203.0.113.9/32 next-hop 192.0.2.9\n",
        b"neighbor 2001:db8::fe announce route 203.0.113.9/32 next-hop 192.0.2.9\n",
        b"neighbor 2001:DB8:0::FE announce route 203.0.113.9/32 next-hop 192.0.2.9\n",
        b"announce route 2001:db8::9/128 next-hop 2001:db8::1\n",
    ]
    everybody, respelled, as_written, other = parser.try_commands(lines, conf, process="bfd").verdicts
    assert everybody.taken == {N4, N6}
    # ExaBGP compares text: this is what Speech.spelled is for.
    assert respelled.answer == "error"
    assert as_written.taken == {N6}
    assert (other.taken, set(other.refused)) == ({N6}, {N4})
    (nobodys,) = parser.try_commands(lines[:1], conf, process="nobody").verdicts
    assert (nobodys.answer, nobodys.taken) == ("error", set())


# --- a configuration ----------------------------------------------------------------------------------------------


def test_a_configuration_is_read_as_exabgp_reads_it(conf):
    found = parser.read(conf)
    assert found.version.startswith("5.")
    assert [process.name for process in found.processes] == ["other", "bfd"]
    other, bfd = found.processes
    assert (other.encoder, other.respawn) == ("text", True)
    assert (bfd.encoder, bfd.respawn) == ("json", False)
    assert bfd.run == ("/bin/true", "run", "--config", "/etc/a b.toml")
    first, second = found.neighbors
    assert first.peer == Peer(N4, ip_address("192.0.2.1"), frozenset({FAMILY4}))
    assert (first.processes, first.matched) == ({"bfd", "other"}, set())
    assert first.told["neighbor-changes"] == {"bfd", "other"}
    assert first.told["send-update"] == {"bfd", "other"}
    assert first.told["receive-update"] == first.told["negotiated"] == set()
    assert first.watchdogs == {"dns": Watched(on=1, off=1)}
    assert second.peer == Peer(N6, None, BOTH, graceful_restart=True, resends=False)
    assert [first.takes(name) for name in ("bfd", "bf", "nobody")] == [True, False, False]
    assert [second.takes(name) for name in ("bfd", "bf", "nobody")] == [True, False, False]
    assert (second.spelled, second.processes, second.matched) == ("2001:DB8:0::FE", set(), {"b.."})
    assert second.watchdogs == {}
    assert found.ranges == ("198.51.100.0/24",)


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("peer-as 65002;", "", "incomplete neighbor, missing peer-as"),
        ("/bin/true", "/no/such/program", 'can not locate the program "/no/such/program"'),
        ("encoder json;", "", "unset process sections: encoder"),
        ("processes [ bfd other ]", "processes [ nobody ]", "nobody"),
        ("adj-rib-out false;", "adj-rib-out false; }", "refuses it"),
    ],
)
def test_a_configuration_that_exabgp_refuses(conf, old, new, wrong):
    conf.write_text(CONF.replace(old, new, 1))
    with pytest.raises(ConfigError) as refused:
        parser.read(conf)
    assert refused.value.place == str(conf)
    assert refused.value.text.startswith("ExaBGP 5.")
    assert wrong in refused.value.text
    assert "\n" not in str(refused.value)


def test_a_password_is_not_told(conf):
    conf.write_text(f"md5-password one-secret;{CONF}")
    with pytest.raises(ConfigError) as refused:
        parser.try_commands([], conf)
    assert "md5-password ***" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("what", ["missing", "a folder", "not UTF-8", "empty"])
def test_no_configuration_to_read(conf, what):
    if what == "not UTF-8":
        conf.write_bytes(b"\xff")
    if what == "empty":
        conf.write_bytes(b"")
    path = {"missing": conf.with_name("missing.conf"), "a folder": conf.parent}.get(what, conf)
    with pytest.raises(ConfigError) as refused:
        parser.read(path)
    assert refused.value.place == str(path)


# --- the child ----------------------------------------------------------------------------------------------------


@pytest.fixture
def child(monkeypatch, tmp_path):
    """Another program instead of the child."""

    def is_(source: str) -> None:
        script = tmp_path / "child.py"
        script.write_text(source)
        monkeypatch.setattr(parser, "_CHILD", script)

    return is_


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("raise ValueError('what is this?')", "ended with status 1: ValueError: what is this?"),
        ("raise SystemExit(3)", "ended with status 3"),
        ("print('{}')", "ended with status 0"),
        ("import os; os.kill(os.getpid(), 9)", "ended with status -9"),
        ("import os, sys; os.write(int(sys.argv[1]), b'{\"ver')", "ended with status 0"),
    ],
)
def test_a_child_that_fails_is_one_line(child, source, wrong):
    child(source)
    with pytest.raises(ParserError) as failed:
        parser.try_commands([], PEERS)
    assert wrong in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_child_that_hangs_is_ended(child, tmp_path):
    child(f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    with pytest.raises(ParserError, match="did not come to an end within 2 s"):
        parser.read(Path("/etc/exabgp/exabgp.conf"), timeout=2)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


def test_a_library_that_is_not_there(monkeypatch, tmp_path):
    package = tmp_path / "exabgp"
    package.mkdir()
    (package / "__init__.py").write_text("raise ModuleNotFoundError('no exabgp here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ParserError, match=r"cannot be loaded \(no exabgp here\): pip install"):
        parser.try_commands([], PEERS)


def test_what_steers_exabgp_from_outside_does_not_steer_the_child(monkeypatch, conf, capfd):
    for name, value in {
        "exabgp_debug_configuration": "true",
        "exabgp_log_all": "true",
        "exabgp_log_level": "nonsense",
        "exabgp_cli_pipe": "/tmp/pipe",
        "exabgp.debug.pdb": "true",
        "EXABGP_ENVFILE": str(conf),
    }.items():
        monkeypatch.setenv(name, value)
    assert [process.name for process in parser.read(conf).processes] == ["other", "bfd"]
    conf.write_text(CONF.replace("peer-as 65002;", "", 1))
    with pytest.raises(ConfigError, match="missing peer-as"):
        parser.read(conf)
    assert capfd.readouterr() == ("", "")
