"""What `check` tells of a plan: its commands on ExaBGP's parser, its routes and ExaBGP's neighbours."""

import sys
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from exabgp_bfd import cli, proof, stanza
from exabgp_bfd.config import VARIABLES
from exabgp_bfd.core.model import Change, ConfigError, Plan, Route, Rung, Selector, Service, Watchdog
from exabgp_bfd.speaker import parser
from exabgp_bfd.stanza import Wanted

V4, V6 = ip_network("198.51.100.53/32"), ip_network("2001:db8::53/128")
HOP4, HOP6 = ip_address("192.0.2.9"), ip_address("2001:db8::9")
N4, N6, OTHER = ip_address("192.0.2.254"), ip_address("2001:db8::fe"), ip_address("192.0.2.253")
FAMILY4 = "ipv4 unicast"
FILE = Path("/etc/exabgp-bfd/exabgp-bfd.toml")
# ExaBGP wants the program to be there, whatever it is called here.
RUN = "/bin/true {program} run --config {file};"

CONF = """
process bfd {{ run {run} encoder json; }}
neighbor 192.0.2.254 {{
  router-id 192.0.2.1; local-address 192.0.2.1; local-as 65001; peer-as 65002;
  family {{ ipv4 unicast; {more_families} }}
  api {{
    processes [ bfd ]; neighbor-changes; negotiated;
    send {{ parsed; update; }} receive {{ parsed; update; }}
  }}
  {more}
}}
neighbor 2001:db8::fe {{
  router-id 192.0.2.1; local-address 2001:db8::1; local-as 65001; peer-as 65002;
  family {{ ipv6 unicast; }}
  api {{
    processes [ bfd ]; neighbor-changes; negotiated;
    send {{ parsed; update; }} receive {{ parsed; update; }}
  }}
}}
"""


def service(*targets, name="dns", **rules):
    return Service(name, targets, (Selector("edge1", "*"),), **rules)


def plan(*targets, **rules):
    return Plan(services=(service(*targets, **rules),))


@pytest.fixture
def conf(tmp_path):
    """Writes a configuration of ExaBGP, with replacements."""

    def write(*changes, run=RUN, more="", more_families=""):
        text = CONF.format(run=run.format(program="exabgp-bfd", file=FILE), more=more, more_families=more_families)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "exabgp.conf"
        path.write_text(text)
        return path

    return write


def faults(found):
    return [str(fault) for fault in found.faults]


# --- commands -----------------------------------------------------------------------------------------------------


def test_every_command_that_could_be_sent_is_tried(monkeypatch):
    tried = []
    ask = parser.try_commands
    monkeypatch.setattr(proof.parser, "try_commands", lambda lines, where: tried.extend(lines) or ask(lines, where))
    steps = (Rung(2, Change(med=5)), Rung(1, None))
    found = proof.prove(
        plan(Route(V4, HOP4), Watchdog("ntp"), require=3, steps=steps, on_down=Change(communities=("65000:666",))), FILE
    )
    assert [line.decode().rstrip() for line in tried] == [
        "announce route 198.51.100.53/32 next-hop 192.0.2.9",
        "announce route 198.51.100.53/32 next-hop 192.0.2.9 med 5",
        "announce route 198.51.100.53/32 next-hop 192.0.2.9 community [ 65000:666 ]",
        "announce route 198.51.100.53/32 next-hop 192.0.2.9 community [ 65535:0 ]",
        "announce route 198.51.100.53/32 next-hop 192.0.2.9 med 5 community [ 65535:0 ]",
        "announce route 198.51.100.53/32 next-hop 192.0.2.9 community [ 65000:666 65535:0 ]",
        "withdraw route 198.51.100.53/32",
        # Whatever the service's step, a watchdog is said on or off.
        *["announce watchdog ntp"] * 3,
        "withdraw watchdog ntp",
    ]
    assert found.lines[0] == f"9 commands tried on the parser of ExaBGP {version()}: all accepted"
    assert found.faults == []


def version():
    return parser.try_commands([], []).version


@pytest.mark.parametrize("form", ["auto", "4", "5", "6"])
def test_in_any_form(form):
    found = proof.prove(plan(Route(V4, HOP4, (N4, OTHER)), Route(V6, HOP6)), FILE, form=form)
    assert found.lines[0].endswith("all accepted")
    assert any("form of ExaBGP 5" in line for line in found.lines) is (form == "6")


def test_a_command_that_exabgp_refuses_is_a_fault_of_the_file():
    found = proof.prove(plan(Route(V4, HOP4), on_down=Change(med=1 << 32)), FILE)
    assert found.lines[0].endswith("2 refused")
    assert len(found.faults) == 2
    assert all(str(fault.place) == f"{FILE}: service dns" for fault in found.faults)
    first, second = faults(found)
    assert "ExaBGP refuses `announce route 198.51.100.53/32 next-hop 192.0.2.9 med 4294967296` (on_down)" in first
    assert "(draining on_down)" in second


def test_no_service_is_no_fault():
    found = proof.prove(Plan(), FILE)
    assert found.lines[0].startswith("0 commands tried")
    assert (found.warnings, found.faults) == ([], [])


# --- without ExaBGP's configuration ---------------------------------------------------------------------------------


def test_without_exabgps_configuration_it_is_said_in_words():
    found = proof.prove(plan(Route(V4, HOP4), Route(V6), Watchdog("ntp")), FILE)
    words = found.lines[1:]
    assert "--exabgp-conf" in words[0]
    assert words[1].strip().startswith(f"{V4}: a neighbour without `ipv4 unicast`")
    assert words[2].strip().startswith(f"{V6}: a neighbour without `ipv6 unicast`")
    assert words[3].strip().startswith(f'{V6}: over an IPv4 session next_hop = "self" cannot carry it')
    assert words[3].endswith("give next_hop an IPv6 address")
    assert words[4].strip().startswith("watchdog ntp: ")
    assert len(words) == 5


def test_a_named_neighbour_of_the_other_family():
    some = proof.prove(plan(Route(V6, neighbors=(N4, N6))), FILE)
    assert some.faults == []
    assert any(line.startswith(f"  dns {V6}: to {N6}; not to {N4}: its BGP session runs over") for line in some.lines)
    none = proof.prove(plan(Route(V6, neighbors=(N4, OTHER))), FILE)
    (fault,) = faults(none)
    assert f"service dns: {V6} reaches no neighbour: {N4}: its BGP session runs over IPv4" in fault
    assert "give next_hop an IPv6 address" in fault


# --- with it --------------------------------------------------------------------------------------------------------


def test_which_neighbours_get_which_route(conf):
    routes = (Route(V4), Route(V6), Route(ip_network("203.0.113.1/32"), neighbors=(N4, OTHER)))
    found = proof.prove(plan(*routes), FILE, conf=conf())
    assert found.lines[1:] == [
        f"{conf()}: process bfd commands 2 of the neighbours",
        f"  neighbour {N4}: ipv4 unicast",
        f"  neighbour {N6}: ipv6 unicast",
        f"  dns {V4}: to {N4}; not to {N6}: {proof.reasons(Route(V4), [proof.Peer(N6)])[N6]}",
        f"  dns {V6}: to {N6}; not to {N4}: {proof.reasons(Route(V6), [proof.Peer(N4)])[N4]}",
        f"  dns 203.0.113.1/32: to {N4}; not to {OTHER}: {proof.NO_SUCH_NEIGHBOR}",
    ]
    assert found.faults == []
    # A session for each family is as it should be; a neighbour that is not there is not.
    assert found.warnings == [f"service dns: neighbour {OTHER} of 203.0.113.1/32: {proof.NO_SUCH_NEIGHBOR}"]


def test_a_route_that_reaches_nobody_is_a_fault(conf):
    routes = (Route(V6, HOP6, (N4,)), Route(V4, neighbors=(OTHER,)), Route(ip_network("203.0.113.1/32")))
    found = proof.prove(plan(*routes), FILE, conf=conf())
    first, second = faults(found)
    assert f"{V6} reaches no neighbour: {N4}: its family ipv6 unicast is not configured" in first
    assert f"{V4} reaches no neighbour: {OTHER}: ExaBGP has no such neighbour" in second


def test_a_configuration_that_fits_raises_no_warning(tmp_path):
    """What `exabgp-conf` prints, `check` finds nothing wrong with."""
    wanted = plan(Route(V4, neighbors=(N4,)), Route(V6, HOP6, (N4, N6)))
    program = tmp_path / "exabgp-bfd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    sessions = stanza.sessions(wanted, locals_=(HOP4, HOP6), local_as=65001, peer_as=(65002,))
    path = tmp_path / "exabgp.conf"
    path.write_text("\n".join(stanza.lines(Wanted((str(program), "run", "--config", str(FILE)), wanted, sessions))))
    found = proof.prove(wanted, FILE, conf=path)
    assert (found.warnings, found.faults) == ([], [])
    assert f"  dns {V6}: to {N4}, {N6}" in found.lines


@pytest.mark.parametrize(
    ("changes", "more", "warning"),
    [
        ([("encoder json", "encoder text")], "", "process bfd: encoder text"),
        ([("encoder json;", "encoder json; respawn false;")], "", "process bfd: respawn false"),
        ([(f"--config {FILE}", "--config /etc/other.toml")], "", f"does not run with --config {FILE}"),
        ([], "capability { graceful-restart 120; }", "neighbor 192.0.2.254: graceful-restart is on"),
        ([], "adj-rib-out false;", "neighbor 192.0.2.254: adj-rib-out false"),
        ([("send { parsed; update; }", "send { update; }")], "", "`send` without `parsed`"),
        ([("receive { parsed; update; }", "receive { update; }")], "", "`receive` without `parsed`"),
        ([("send { parsed; update; }", "")], "", "api section lacks send { parsed; update; } without"),
        ([("neighbor-changes; negotiated;", "")], "", "api section lacks neighbor-changes; negotiated; without"),
        ([("processes [ bfd ]", "processes-match [ b.. ]")], "", "it commands, but is told nothing"),
        ([("processes [ bfd ];", "")], "", "it gets nothing from us"),
        (
            [("process bfd", f"process two {{ run /bin/true exabgp-bfd run -c {FILE}; encoder json; }}\nprocess bfd")],
            "",
            "two, bfd run `exabgp-bfd`: looked at is bfd",
        ),
        ([("2001:db8::fe {", "192.0.2.0/28 { passive;"), ("2001:db8::1", "192.0.2.1")], "", "192.0.2.0/28 is a range"),
    ],
)
def test_what_an_operator_should_know_of_exabgps_configuration(conf, changes, more, warning):
    told = proof.prove(Plan(), FILE, conf=conf(*changes, more=more)).warnings
    assert len(told) == (2 if "`send` without" in warning else 1), told
    assert any(warning in text for text in told), told


def test_a_configuration_without_us(conf):
    found = proof.prove(plan(Route(V4)), FILE, conf=conf(run="/bin/true;"))
    (warning,) = found.warnings
    assert "no process runs `exabgp-bfd run`" in warning
    assert found.faults == []


def test_our_module_in_a_run_line_is_us_too(conf):
    found = proof.prove(plan(Route(V4)), FILE, conf=conf(run=f"/bin/true -m exabgp_bfd run --config={FILE};"))
    assert found.warnings == []


def test_neighbours_that_our_process_may_not_command(conf):
    found = proof.prove(plan(Route(V4, neighbors=(N4,))), FILE, conf=conf(("processes [ bfd ];", "")))
    (fault,) = faults(found)
    assert f"reaches no neighbour: {N4}: our process is not among the processes of its api section" in fault


def test_an_address_that_is_spelled_otherwise_is_the_same_neighbour(conf):
    path = conf(("neighbor 2001:db8::fe", "neighbor 2001:0DB8:0::00fe"))
    found = proof.prove(plan(Route(V6, neighbors=(N6,))), FILE, conf=path)
    assert (found.warnings, found.faults) == ([], [])
    assert f"  dns {V6}: to {N6}" in found.lines


def test_an_end_of_ours_that_exabgp_finds_out_by_itself(conf):
    """It takes no `next-hop self` for a session that was not up yet; that is no fault of the route."""
    path = conf(("local-address 192.0.2.1;", "local-address auto;"))
    found = proof.prove(plan(Route(V4), Route(ip_network("203.0.113.1/32"), HOP4)), FILE, conf=path)
    assert found.faults == []
    (warning,) = found.warnings
    assert f"neighbor {N4}: local-address auto: `next-hop self` is refused" in warning
    assert f"  dns 203.0.113.1/32: to {N4}; not to {N6}: {_lacks(FAMILY4)}" in found.lines


def test_the_last_word_has_exabgp(conf, monkeypatch):
    ask = parser.try_commands

    def stubborn(*words, **more):
        trial = ask(*words, **more)
        return replace(trial, verdicts=tuple(replace(each, taken=frozenset()) for each in trial.verdicts))

    monkeypatch.setattr(proof.parser, "try_commands", stubborn)
    (fault,) = faults(proof.prove(plan(Route(V4, HOP4, (N4,))), FILE, conf=conf()))
    assert f"{V4} reaches no neighbour: {N4}: ExaBGP's own parser does not hand it over" in fault


def _lacks(family):
    return f"its family {family} is not configured: add it to the neighbour's family section of ExaBGP"


@pytest.mark.parametrize(
    ("routes", "warning", "told"),
    [
        ("", "no route in {conf} carries `watchdog ntp`", "to nobody"),
        ("static { route 203.0.113.9/32 next-hop self watchdog ntp withdraw; }", "", f"to {N4} (1 routes)"),
        (
            "static { route 203.0.113.9/32 next-hop self watchdog ntp; }",
            "routes of watchdog ntp lack the word `withdraw`",
            f"to {N4} (1 routes)",
        ),
        ("static { route 203.0.113.9/32 next-hop self watchdog other withdraw; }", "no route in", "to nobody"),
    ],
)
def test_watchdogs_and_the_routes_that_carry_them(conf, routes, warning, told):
    path = conf(more=routes)
    found = proof.prove(plan(Watchdog("ntp")), FILE, conf=path)
    assert f"  dns watchdog ntp: {told}" in found.lines
    assert len(found.warnings) == (1 if warning else 0)
    assert all(warning.format(conf=path) in text for text in found.warnings)
    assert found.faults == []


def test_a_configuration_that_exabgp_refuses(conf):
    with pytest.raises(ConfigError, match=r"ExaBGP 5\..* refuses it: .*missing peer-as"):
        proof.prove(plan(Route(V4)), FILE, conf=conf(("peer-as 65002;", "")))


# --- the commands -----------------------------------------------------------------------------------------------------

TOML = """
[[device]]
name = "edge1"
host = "192.0.2.1"
[[service]]
name = "dns"
prefixes = ["198.51.100.53/32", "2001:db8::53/128"]
neighbors = ["192.0.2.254", "2001:db8::fe"]
sessions = ["edge1/198.51.100.1"]
"""
SESSION = (
    *("--local-address", "192.0.2.10", "--local-address", "2001:db8::10"),
    *("--local-as", "65001", "--peer-as", "65002"),
)


@pytest.fixture
def exabgp_bfd(monkeypatch, capsys):
    """Runs a command in this process: exit status, stdout, and the lines of stderr."""
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["exabgp-bfd", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err.splitlines()

    return run


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "exabgp-bfd.toml"
    path.write_text(TOML)
    return path


def test_the_printed_text_goes_through_check(exabgp_bfd, toml, tmp_path):
    status, text, err = exabgp_bfd("exabgp-conf", "--config", toml, *SESSION)
    assert (status, err) == (0, [])
    (run,) = [line.strip() for line in text.splitlines() if line.strip().startswith("run ")]
    assert run == f"run {' '.join(stanza.program())} run --config {toml};"
    conf_ = tmp_path / "exabgp.conf"
    conf_.write_text(text)
    status, out, err = exabgp_bfd("check", toml, "--exabgp-conf", conf_)
    assert (status, err) == (0, [])
    assert "warning" not in out
    assert f"  dns {V4}: to {N4}; not to {N6}: its BGP session runs over IPv6" in out


def test_the_version_is_that_of_the_configuration_unless_it_is_given(exabgp_bfd, toml):
    toml.write_text(f'[speaker]\ndialect = "4"\n{TOML}')
    assert exabgp_bfd("exabgp-conf", "--config", toml)[1].startswith("# For ExaBGP 4,")
    assert exabgp_bfd("exabgp-conf", "--config", toml, "--exabgp-version", "5")[1].startswith("# For ExaBGP 5,")
    assert exabgp_bfd("exabgp-conf")[1].startswith("# For ExaBGP 5,")


def test_what_is_left_to_fill_in_is_counted_on_stderr(exabgp_bfd, toml):
    status, text, err = exabgp_bfd("exabgp-conf", "--config", toml, "--local-as", 65001)
    assert status == 0
    # For each of two neighbours router-id, local-address and peer-as.
    assert err == ["exabgp-bfd exabgp-conf: 6 of the lines say FILL IN"]
    assert text.count("FILL IN") == 6


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["--neighbor", "router1"], "--neighbor: 'router1' does not appear to be an IPv4 or IPv6 address"),
        (["--router-id", "2001:db8::1"], "--router-id: '2001:db8::1' is no IPv4 address"),
        (["--local-as", "0"], "--local-as"),
        (["--port", "65536"], "--port"),
        (["--exabgp-version", "3"], "--exabgp-version"),
        (["--peer-as", "1", "--peer-as", "2"], "--peer-as: give one for all"),
        (["--config", "/no/such.toml"], "/no/such.toml: "),
    ],
)
def test_bad_usage_of_exabgp_conf(exabgp_bfd, words, wrong):
    status, out, err = exabgp_bfd("exabgp-conf", *words)
    assert (status, out, len(err)) == (2, "", 1), err
    assert wrong in err[0]


def test_check_prints_the_plan_and_then_what_exabgp_refuses(exabgp_bfd, toml):
    toml.write_text(TOML.replace('"192.0.2.254", ', ""))
    status, out, err = exabgp_bfd("check", toml)
    assert status == 2
    assert "service dns: " in out
    assert len(err) == 1
    assert err[0].startswith(f"exabgp-bfd: {toml}: service dns: {V4} reaches no neighbour: {N6}: ")


def test_check_of_a_configuration_that_exabgp_refuses(exabgp_bfd, toml, conf):
    path = conf(("local-as 65001;", ""))
    status, _, err = exabgp_bfd("check", toml, "--exabgp-conf", path)
    assert (status, len(err)) == (2, 1)
    assert err[0].startswith(f"exabgp-bfd: {path}: ExaBGP 5.")
    missing = path.with_name("missing.conf")
    status, _, err = exabgp_bfd("check", toml, "--exabgp-conf", missing)
    assert (status, err) == (2, [f"exabgp-bfd: {missing}: ExaBGP {version()} refuses it: No such file or directory"])


def test_check_without_exabgps_library_has_failed(exabgp_bfd, toml, monkeypatch, tmp_path):
    (tmp_path / "exabgp").mkdir()
    (tmp_path / "exabgp" / "__init__.py").write_text("raise ModuleNotFoundError('no exabgp here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    status, out, err = exabgp_bfd("check", toml)
    assert status == 1
    assert "announce route 198.51.100.53/32" in out
    assert len(err) == 1
    assert "ExaBGP's parser cannot be loaded" in err[0]


def test_check_with_a_parser_that_hangs_has_failed(exabgp_bfd, toml, monkeypatch, tmp_path):
    script = tmp_path / "child.py"
    script.write_text("import time\ntime.sleep(600)")
    monkeypatch.setattr(parser, "_CHILD", script)
    monkeypatch.setattr(proof.parser, "try_commands", lambda *words: parser._ask({}, 0.5))
    status, _, err = exabgp_bfd("check", toml)
    assert (status, err) == (1, ["exabgp-bfd: ExaBGP's parser did not come to an end within 0.5 s"])
