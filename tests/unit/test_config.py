"""The configuration: what is accepted and what it becomes, and for every bad file the place and the words."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_address, ip_network
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from exabgp.reactor.api.command import Command

from exabgp_bfd import config
from exabgp_bfd.config import (
    PROFILES,
    VARIABLES,
    Listen,
    Overrides,
    ProxySettings,
    Settings,
    SettingsError,
    TrapSettings,
    describe,
    load,
)
from exabgp_bfd.core.credentials import Context, User
from exabgp_bfd.core.model import (
    Action,
    Change,
    ConfigError,
    Damping,
    Device,
    Guard,
    Reading,
    Route,
    Rung,
    Secret,
    Selector,
    Service,
    Span,
    Watchdog,
    Weekly,
    Window,
)
from exabgp_bfd.core.notices import USUAL_EVENTS, Endpoint
from exabgp_bfd.sources.snmp import mibs
from exabgp_bfd.speaker import dialect

CONF = Path(__file__).resolve().parents[2] / "conf"
NO_FLAGS = Overrides()

EDGE = '[[device]]\nname = "edge1"\nhost = "192.0.2.1"\n'
KEY = f"[[api.key]]\nname = 'a'\nrole = 'read'\nsha256 = '{'0' * 64}'\n"
DNS = '[[service]]\nname = "dns"\nprefixes = ["192.0.2.53/32"]\nsessions = ["edge1/*"]\n'


WHSEC = "whsec_bm9ib2R5LW1heS1zZWUtdGhpcy1zZWNyZXQtZXZlcg=="
NOC = f'[[notify]]\nname = "noc"\nurl = "https://alerts.example.net/T0P"\nsecrets = ["{WHSEC}"]\n'
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIUGpLCy80LuxgZ2Rh9nDa2TmWkxtIwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjExNDE0MzZaGA8yMTI2MTAyODE0MTQz
NlowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABM9M
ElLUefx9WeP2H6aTgTJwsewCJcG2W0B3wTaPBUSTUcr3mXSDBOz0nfReYfhS9JxT
J1lMQvKjvPFKUFiPeKGjUzBRMB0GA1UdDgQWBBQrOUpx+ZSyLsZCjGY4TD4wMNnR
TTAfBgNVHSMEGDAWgBQrOUpx+ZSyLsZCjGY4TD4wMNnRTTAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCIH1PkeHXTYNWtjGGKDLGjUNMYZlgmmJlla+O
+THzX+5+AiAp3CBv4xlXSu47pfF1273VGuHYVT0pdRjJONbV7XeI8g==
-----END CERTIFICATE-----
"""
"""Of nobody, for a hundred years."""


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes, name: str = "bfd.toml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def read(write):
    def read(text: str, overrides: Overrides = NO_FLAGS, **environ: str) -> Settings:
        return load(write(text), overrides, environ)

    return read


def fault_of(path: Path | None, overrides: Overrides = NO_FLAGS, **environ: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(path, overrides, environ)
    return caught.value


# --- what is accepted -------------------------------------------------------------------------------------------


OID = 'profile = "oid"\noid = "1.3.6.1.2.1.222.1.2.1.10"\nvalues = '


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("", "stale_after = 7\ninterval = 2\ntimeout = 0.5\nretries = 3\n", True),
        ("", 'community = "rotated"\nversion = "1"\nengine = "pysnmp"\n', True),
        ("", "port = 1161\n", False),
        ("", 'profile = "bfd-std"\n', False),
        (f'{OID}"oper"\n', f'{OID}"state"\n', False),
        (f'{OID}"oper"\n', f'{OID}"oper"\n'.replace("2.1.10", "2.1.11"), False),
    ],
)
def test_a_device_is_another_box_where_it_is_asked_elsewhere_or_otherwise(read, one, other, same):
    def identity(keys: str) -> str:
        (device,) = read(f"{EDGE}{keys}{DNS}").plan.devices
        return device.identity

    assert identity(one)
    assert (identity(one) == identity(other)) is same


def test_a_device_at_another_address_is_another_box(read):
    before, after = (read(text + DNS).plan.devices[0] for text in (EDGE, EDGE.replace("192.0.2.1", "192.0.2.2")))
    assert before.identity != after.identity


def test_the_smallest_file_gets_every_default(read, tmp_path):
    settings = read(EDGE + DNS)

    assert settings.file == tmp_path / "bfd.toml"
    assert settings.plan.devices == (Device("edge1", 10.0, settings.plan.devices[0].identity),)
    assert settings.plan.services == (Service("dns", (Route(ip_network("192.0.2.53/32")),), (Selector("edge1", "*"),)),)
    assert settings.plan.record_polls is False
    assert settings.plan.windows == ()
    assert settings.plan.guard == Guard(max_withdrawn=None, max_share=None, within=60.0)
    assert settings.plan.forget_after == 86400.0
    (edge,) = settings.targets
    assert (edge.host, edge.port, edge.version, edge.community.reveal()) == ("192.0.2.1", 161, "2c", "public")
    assert (edge.interval, edge.timeout, edge.retries, edge.stale_after) == (1.0, 1.0, 1, 10.0)
    assert edge.fast_interval == 0.5
    assert (edge.engine, edge.profile, edge.oid, edge.values) == ("auto", "auto", None, None)
    assert settings.site
    assert settings.api == Listen("127.0.0.1", 8080)
    assert settings.traps is None
    assert settings.api_keys == ()
    assert settings.webhook.secrets == ()
    assert settings.webhook.effect == "probe"
    assert settings.storage.path == Path("/var/lib/exabgp-bfd/journal.db")
    assert settings.storage.mongodb is None
    assert (settings.storage.keep_events, settings.storage.keep_messages) == (90 * 86400, 7 * 86400)
    assert settings.storage.max_events == 1_000_000
    assert settings.storage.keep_inputs == 7 * 86400
    assert (settings.speaker.dialect, settings.speaker.ack_timeout) == ("auto", 5.0)
    assert (settings.speaker.on_exit, settings.speaker.adopt_within) == ("keep", 3600.0)
    assert (settings.log.level, settings.log.file, settings.log.max_bytes, settings.log.backups) == (
        "info",
        None,
        10_485_760,
        5,
    )


def test_every_key_of_the_file_arrives(read, tmp_path):
    settings = read(
        """
        [site]
        name = "fra1"
        [speaker]
        dialect = 5
        ack_timeout = 2
        on_exit = "withdraw"
        adopt_within = "30m"
        [storage]
        path = "data/journal.db"
        mongodb = "mongodb://user:word@db1/bfd"
        keep_events = "12h"
        keep_messages = 45
        max_events = 10
        keep_inputs = "36h"
        [snmp]
        version = 1
        community = "c1"
        interval = 2.5
        timeout = 0.5
        retries = 0
        stale_after = 7.5
        fast_interval = 0.25
        forget_after = "2h"
        engine = "pysnmp"
        record_polls = true
        user = "bfd"
        auth_protocol = "sha256"
        auth_key = "auth key 1"
        priv_protocol = "aes128"
        priv_key = "priv key 1"
        contexts = ["", "red"]
        context_communities = { red = "red one" }
        max_varbinds = 20
        [traps]
        listen = ["0.0.0.0:1162", "[::]:1162"]
        communities = ["t1", "t2"]
        trust = true
        receive_buffer = 65536
        [[traps.user]]
        name = "notifier"
        auth_protocol = "md5"
        auth_key = "auth key 2"
        [snmp_proxy]
        allow = ["198.51.100.0/24"]
        concurrency = 2
        queue = 5
        keep = "5m"
        timeout = 30
        [[device]]
        name = "edge1"
        host = "2001:db8::1"
        port = 1161
        profile = "oid"
        oid = ".1.3.6.1.2.1.222.1.2.1.10"
        values = "oper"
        [[device]]
        name = "edge2"
        host = "edge2.example.net"
        version = "2c"
        community = "c2"
        interval = 0.5
        timeout = 0.25
        retries = 3
        stale_after = 3
        fast_interval = 0.05
        engine = "auto"
        profile = "bfd-std"
        contexts = []
        [[device]]
        name = "edge3"
        host = "192.0.2.3"
        version = "3"
        auth_key = "auth key 3"
        trap_from = ["198.51.100.3", "2001:DB8::3"]
        [[device]]
        name = "edge4"
        host = "192.0.2.4"
        version = "3"
        trust = false
        [[service]]
        name = "dns"
        prefixes = ["192.0.2.53/32", "2001:db8::53/128"]
        watchdog = "dns_1-a"
        next_hop = ["2001:db8::10", "192.0.2.10"]
        neighbors = ["192.0.2.254", "2001:db8:0::fe"]
        med = 100
        local_preference = 200
        communities = ["65000:1", "NO_EXPORT", "graceful-shutdown"]
        large_communities = ["4200000000:1:2"]
        extended_communities = ["target:65000:4200000000", "origin:192.0.2.1:1", "0x0002FDE800000001"]
        as_path = [65000, 4200000000]
        sessions = ["edge1/2001:DB8::9", "edge1/xe-0/0/1", "edge2/*"]
        require = 2
        rise = 5
        fall = 2
        hold_up = 0
        confirm = false
        confirm_timeout = 0.25
        on_down = { med = 900, communities = ["NO_EXPORT"] }
        damping = { penalty = 500, cutoff = 2000, reuse = 750.5, half_life = "15m", ceiling = 6000 }
        drain_time = "5m"
        disable_file = "run/dns.off"
        on_disable = "drain"
        on_admin_down = "down"
        on_missing = "hold"
        on_unknown = "up"
        [[service.step]]
        up = 1
        med = 500
        [[window]]
        name = "upgrade"
        start = 2026-12-01T02:00:00+01:00
        end = 2026-12-01T04:00:00Z
        devices = ["edge2"]
        sessions = ["edge1/2001:DB8::9"]
        action = "down"
        reason = "new software"
        [[window]]
        name = "work"
        weekly = "sat,sun 02:30"
        duration = "2h"
        zone = "Europe/Berlin"
        services = ["dns"]
        action = "drain"
        [guard]
        max_withdrawn = 3
        within = "5m"
        [webhook]
        secrets = ["one", "two"]
        effect = "observe"
        [api]
        listen = "[::1]:9090"
        [[api.key]]
        name = "noc"
        role = "operate"
        sha256 = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"
        [log]
        level = "DEBUG"
        file = "../bfd.log"
        max_bytes = 4096
        backups = 1
        """
    )
    first, second, third, fourth = settings.targets
    assert (first.user, second.user) == (None, None)
    assert third.user == User("bfd", "sha256", Secret("auth key 3"), "aes128", Secret("priv key 1"))
    assert fourth.user == User("bfd", "sha256", Secret("auth key 1"), "aes128", Secret("priv key 1"))
    assert first.contexts == (Context("", None), Context("red", Secret("red one")))
    assert (second.contexts, second.max_varbinds) == ((), 20)
    assert third.trap_from == (ip_address("198.51.100.3"), ip_address("2001:db8::3"))
    assert [target.trust for target in settings.targets] == [False, False, True, False]
    assert (first.host, first.port, first.version, first.community) == ("2001:db8::1", 1161, "1", Secret("c1"))
    assert (first.interval, first.timeout, first.retries, first.stale_after) == (2.5, 0.5, 0, 7.5)
    assert (first.engine, first.profile, first.oid, first.values) == (
        "pysnmp",
        "oid",
        "1.3.6.1.2.1.222.1.2.1.10",
        "oper",
    )
    assert (second.version, second.community, second.interval, second.timeout) == ("2c", Secret("c2"), 0.5, 0.25)
    assert (second.retries, second.stale_after, second.engine, second.profile) == (3, 3.0, "auto", "bfd-std")
    assert [(each.name, each.stale_after) for each in settings.plan.devices][:2] == [("edge1", 7.5), ("edge2", 3.0)]
    assert settings.plan.record_polls is True
    assert settings.plan.forget_after == 7200.0
    assert (first.fast_interval, second.fast_interval) == (0.25, 0.05)

    (service,) = settings.plan.services
    ipv4 = Route(
        prefix=ip_network("192.0.2.53/32"),
        next_hop=ip_address("192.0.2.10"),
        neighbors=(ip_address("192.0.2.254"), ip_address("2001:db8::fe")),
        med=100,
        local_preference=200,
        communities=("65000:1", "no-export", "65535:0"),
        large_communities=("4200000000:1:2",),
        extended_communities=("target:65000:4200000000", "origin:192.0.2.1:1", "0x0002fde800000001"),
        as_path=(65000, 4200000000),
    )
    ipv6 = dataclasses.replace(ipv4, prefix=ip_network("2001:db8::53/128"), next_hop=ip_address("2001:db8::10"))
    assert service.routes == (ipv4, ipv6, Watchdog("dns_1-a"))
    assert service.steps == (Rung(1, Change(med=500)),)
    assert service.on_down == Change(med=900, communities=("no-export",))
    assert service.damping == Damping(penalty=500.0, cutoff=2000.0, reuse=750.5, half_life=900.0, ceiling=6000.0)
    assert (service.drain_time, service.on_disable) == (300.0, Action.DRAIN)
    assert service.disable_file == str(tmp_path / "run" / "dns.off")
    assert [str(selector) for selector in service.selectors] == ["edge1/2001:db8::9", "edge1/xe-0/0/1", "edge2/*"]
    assert (service.require, service.rise, service.fall, service.hold_up) == (2, 5, 2, 0.0)
    assert (service.confirm, service.confirm_timeout) == (False, 0.25)
    assert (service.on_admin_down, service.on_missing, service.on_unknown) == (Reading.DOWN, Reading.HOLD, Reading.UP)

    upgrade, work = settings.plan.windows
    assert upgrade == Window(
        name="upgrade",
        when=Span(
            datetime(2026, 12, 1, 1, tzinfo=UTC).timestamp(),
            datetime(2026, 12, 1, 4, tzinfo=UTC).timestamp(),
        ),
        devices=("edge2",),
        sessions=(Selector("edge1", "2001:db8::9"),),
        reading=Reading.DOWN,
        reason="new software",
    )
    assert work == Window(
        name="work",
        when=Weekly(frozenset({5, 6}), 2, 30, 7200.0, ZoneInfo("Europe/Berlin")),
        services=("dns",),
        action=Action.DRAIN,
    )
    assert settings.plan.guard == Guard(max_withdrawn=3, within=300.0)

    assert settings.site == "fra1"
    assert (settings.speaker.dialect, settings.speaker.ack_timeout) == ("5", 2.0)
    assert (settings.speaker.on_exit, settings.speaker.adopt_within) == ("withdraw", 1800.0)
    assert settings.storage.path == tmp_path / "data" / "journal.db"
    assert settings.storage.mongodb == Secret("mongodb://user:word@db1/bfd")
    assert (settings.storage.keep_events, settings.storage.keep_messages) == (43200.0, 45.0)
    assert (settings.storage.max_events, settings.storage.keep_inputs) == (10, 129600.0)
    assert settings.traps == TrapSettings(
        (Listen("0.0.0.0", 1162), Listen("::", 1162)),
        (Secret("t1"), Secret("t2")),
        (User("notifier", "md5", Secret("auth key 2")),),
        65536,
        trust=True,
    )
    assert settings.proxy == ProxySettings((ip_network("198.51.100.0/24"),), 2, 5, 300.0, 30.0)
    assert settings.webhook.secrets == (Secret("one"), Secret("two"))
    assert settings.webhook.effect == "observe"
    assert settings.api == Listen("::1", 9090)
    assert str(settings.api) == "[::1]:9090"
    (key,) = settings.api_keys
    assert (key.name, key.role) == ("noc", "operate")
    assert key.sha256.reveal().startswith("e3b0c44298")
    assert settings.log.level == "debug"
    assert settings.log.file == tmp_path / ".." / "bfd.log"
    assert (settings.log.max_bytes, settings.log.backups) == (4096, 1)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [('"any"', 1), ('"all"', "all"), ("1", 1)],
)
def test_require(read, written, read_as):
    assert read(EDGE + DNS + f"require = {written}\n").plan.services[0].require == read_as


def test_more_may_be_required_than_listed_when_a_star_may_match_many(read):
    assert read(EDGE + DNS + "require = 7\n").plan.services[0].require == 7


@pytest.mark.parametrize(
    ("written", "seconds"),
    [('"90d"', 7776000), ('"12h"', 43200), ('"30m"', 1800), ('"45s"', 45), ('"60"', 60), ("60", 60), ("1.5", 1.5)],
)
def test_durations(read, written, seconds):
    assert read(EDGE + f"[storage]\nkeep_events = {written}\n").storage.keep_events == seconds


@pytest.mark.parametrize("next_hop", ['"192.0.2.10"', '["192.0.2.10"]'])
def test_one_next_hop_for_one_family(read, next_hop):
    (service,) = read(EDGE + DNS + f"next_hop = {next_hop}\n").plan.services
    assert service.routes[0].next_hop == ip_address("192.0.2.10")


def test_all_neighbours(read):
    assert read(EDGE + DNS + 'neighbors = "all"\n').plan.services[0].routes[0].neighbors == ()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.1.2.3:80", "[::1]:8080", "localhost:8080"])
def test_loopback_listens(read, listen):
    assert str(read(EDGE + f'[api]\nlisten = "{listen}"\n').api) == listen


def test_no_api(read):
    assert read(EDGE + '[api]\nlisten = "off"\n').api is None


@pytest.mark.parametrize(
    ("interval", "stale_after"),
    [(0.5, 10.0), (1, 10.0), (4, 12.0), (60, 180.0)],
)
def test_stale_after_follows_the_interval_where_it_is_not_said(read, interval, stale_after):
    settings = read(f"[snmp]\ninterval = {interval}\n" + EDGE)
    assert settings.targets[0].stale_after == stale_after
    assert settings.plan.devices[0].stale_after == stale_after


def test_a_byte_order_mark_is_no_error(write):
    assert load(write(b"\xef\xbb\xbf" + EDGE.encode()), NO_FLAGS, {}).targets[0].name == "edge1"


def test_the_example_of_the_design_is_accepted(read):
    read(
        """
        [[device]]
        name = "edge1"
        host = "192.0.2.1"
        port = 161
        profile = "auto"
        [[device]]
        name = "edge2"
        host = "192.0.2.2"
        [[service]]
        name = "dns"
        prefixes = ["192.0.2.53/32", "2001:db8::53/128"]
        next_hop = "self"
        sessions = ["edge1/198.51.100.1", "edge2/*"]
        require = "any"
        rise = 3
        fall = 1
        hold_up = 10.0
        on_down = "withdraw"
        """
    )


@pytest.mark.parametrize("name", ["dns", "a", "A-b_9", "a" * 64, "my-reload", "versions", "helper"])
def test_a_watchdog_alone(read, name):
    text = f'[[service]]\nname = "dns"\nwatchdog = "{name}"\nsessions = ["edge1/*"]\non_down = "withdraw"\n'
    (service,) = read(EDGE + text).plan.services
    assert service == Service("dns", (Watchdog(name),), (Selector("edge1", "*"),))


def test_a_watchdog_beside_prefixes_has_a_ladder(read):
    text = DNS + "watchdog = 'w'\nmed = 5\nneighbors = ['192.0.2.9']\non_down = {med = 9}\n"
    (service,) = read(EDGE + text).plan.services
    route = Route(ip_network("192.0.2.53/32"), neighbors=(ip_address("192.0.2.9"),), med=5)
    assert service.routes == (route, Watchdog("w"))
    assert service.on_down == Change(med=9)


def test_on_down_withdraw(read):
    assert read(EDGE + DNS + "on_down = 'withdraw'").plan.services[0].on_down is None


@pytest.mark.parametrize(
    ("written", "change"),
    [
        ("med = 0", Change(med=0)),
        ("local_preference = 10", Change(local_preference=10)),
        ("communities = ['graceful-shutdown', '1:2']", Change(communities=("65535:0", "1:2"))),
        ("communities = []", Change(communities=())),
        ("large_communities = ['1:2:3']", Change(large_communities=("1:2:3",))),
        ("extended_communities = ['target:1:2']", Change(extended_communities=("target:1:2",))),
        ("as_path = [65000, 65000]", Change(as_path=(65000, 65000))),
        ("as_path = [], med = 1", Change(as_path=(), med=1)),
    ],
)
def test_what_changes_below(read, written, change):
    below = DNS + "require = 2\n"
    assert read(EDGE + below + f"on_down = {{ {written} }}").plan.services[0].on_down == change
    step = f"[[service.step]]\nup = 1\n{written.replace(', med', chr(10) + 'med')}\n"
    assert read(EDGE + below + step).plan.services[0].steps == (Rung(1, change),)


def ladder(require: str, *steps: str, sessions: str = '["edge1/*"]', more: str = "") -> str:
    """A service with these steps, each `3 withdraw` or `3 500`, which is its MED."""
    text = EDGE + DNS.replace('["edge1/*"]', sessions) + f"require = {require}\n{more}\n"
    for step in steps:
        up, what = step.split()
        text += f"[[service.step]]\nup = {up}\n" + ("withdraw = true\n" if what == "withdraw" else f"med = {what}\n")
    return text


THREE = '["edge1/1", "edge1/2", "edge1/3"]'
LADDERS = {
    "none": (ladder("3"), ()),
    "whole": (ladder("3", "2 200", "1 withdraw"), ((2, 200), (1, None))),
    "unsorted": (ladder("4", "1 withdraw", "3 30", "2 20"), ((3, 30), (2, 20), (1, None))),
    "upper half": (ladder("5", "4 40", "3 30"), ((4, 40), (3, 30))),
    "withdraws twice": (ladder("4", "3 9", "2 withdraw", "1 withdraw"), ((3, 9), (2, None), (1, None))),
    "worse below": (ladder("2", "1 9", more="on_down = {med = 99}"), ((1, 9),)),
    "all fixed": (ladder('"all"', "2 20", "1 10", sessions=THREE), ((2, 20), (1, 10))),
    "all with a star": (ladder('"all"', "7 70", "6 60"), ((7, 70), (6, 60))),
    "fixed but fewer required": (ladder("2", "1 10", sessions=THREE), ((1, 10),)),
    "very many": (ladder("1000000000000", "999999999999 1"), ((999999999999, 1),)),
}


@pytest.mark.parametrize(("text", "steps"), LADDERS.values(), ids=LADDERS.keys())
def test_ladders(read, text, steps):
    rungs = tuple(Rung(up, None if med is None else Change(med=med)) for up, med in steps)
    assert read(text).plan.services[0].steps == rungs


@pytest.mark.parametrize(
    ("written", "damping"),
    [
        ("false", None),
        ("true", Damping()),
        ("{}", Damping()),
        ("{ half_life = 90 }", Damping(half_life=90.0)),
        ("{ half_life = '15m', penalty = 1.5 }", Damping(half_life=900.0, penalty=1.5)),
        ("{ cutoff = 12000, penalty = 12000 }", Damping(cutoff=12000.0, penalty=12000.0)),
    ],
)
def test_damping(read, written, damping):
    assert read(EDGE + DNS + f"damping = {written}").plan.services[0].damping == damping


@pytest.mark.parametrize(("written", "seconds"), [("0", 0), ("'90s'", 90), ("'24h'", 86400), ("86400", 86400)])
def test_drain_time(read, written, seconds):
    assert read(EDGE + DNS + f"drain_time = {written}").plan.services[0].drain_time == seconds


@pytest.mark.parametrize(("action", "order"), [("withdraw", Action.WITHDRAW), ("drain", Action.DRAIN)])
def test_an_absolute_disable_file(read, action, order):
    (service,) = read(EDGE + DNS + f"disable_file = '/run/dns.off'\non_disable = '{action}'").plan.services
    assert (service.disable_file, service.on_disable) == ("/run/dns.off", order)


@pytest.mark.parametrize(
    ("keys", "fast"),
    [
        (("", ""), 0.5),
        (("interval = 0.05", ""), 0.05),
        (("interval = 0.08", ""), 0.05),
        (("", "interval = 6"), 3.0),
        (("fast_interval = 0.25", ""), 0.25),
        (("fast_interval = 1", ""), 1.0),
        (("fast_interval = 0.25", "fast_interval = 0.75"), 0.75),
    ],
)
def test_fast_interval(read, keys, fast):
    assert read(f"[snmp]\n{keys[0]}\n{EDGE}{keys[1]}").targets[0].fast_interval == fast


@pytest.mark.parametrize(
    ("written", "guard"),
    [
        ("", Guard()),
        ("within = 5", Guard(within=5.0)),
        ("max_withdrawn = 1", Guard(max_withdrawn=1)),
        ("max_withdrawn = '30%'", Guard(max_share=0.3)),
        ("max_withdrawn = '12.5 %'\nwithin = '10m'", Guard(max_share=0.125, within=600.0)),
        ("max_withdrawn = 0.3", Guard(max_share=0.3)),
    ],
)
def test_guard(read, written, guard):
    assert read(EDGE + f"[guard]\n{written}").plan.guard == guard


@pytest.mark.parametrize(("written", "seconds"), [("1", 1), ("0.5", 0.5), ("'2d'", 172800)])
def test_forget_after(read, written, seconds):
    assert read(f"[snmp]\nforget_after = {written}\n" + EDGE).plan.forget_after == seconds


def window(*lines: str) -> str:
    return EDGE + DNS + '[[window]]\nname = "w"\n' + "\n".join(lines) + "\n"


START = "start = 2026-12-01T02:00:00Z"
ON_EDGE = "devices = ['edge1']"
ON_DNS = "services = ['dns']"


def at(*moment: int, hours: int = 0) -> float:
    return datetime(*moment, tzinfo=timezone(timedelta(hours=hours))).timestamp()


SPANS = {
    "both": (("start = 2026-12-01T02:00:00Z", "end = 2026-12-01T02:00:01Z"), Span(at(2026, 12, 1, 2), 1796090401.0)),
    "open end": (("start = 2026-12-01T02:00:00-05:00",), Span(at(2026, 12, 1, 7), None)),
    "open start": (("end = 2026-12-01 02:00:00Z",), Span(None, at(2026, 12, 1, 2))),
    "over": (("end = 1999-01-01T00:00:00Z",), Span(None, at(1999, 1, 1))),
    "local is UTC": (("start = 2026-07-01T02:00:00",), Span(at(2026, 7, 1, 2), None)),
    "local in summer": (("zone = 'Europe/Berlin'", "start = 2026-07-01T02:00:00"), Span(at(2026, 7, 1), None)),
    "local in winter": (("zone = 'Europe/Berlin'", "start = 2026-12-01T02:00:00"), Span(at(2026, 12, 1, 1), None)),
    "an offset beats the zone": (
        ("zone = 'Europe/Berlin'", "end = 2026-07-01T02:00:00Z"),
        Span(None, at(2026, 7, 1, 2)),
    ),
    "mixed": (
        ("zone = 'Asia/Tokyo'", "start = 2026-12-01T10:00:00", "end = 2026-12-01T01:30:00Z"),
        Span(at(2026, 12, 1, 1), at(2026, 12, 1, 1, 30)),
    ),
}


@pytest.mark.parametrize(("lines", "span"), SPANS.values(), ids=SPANS.keys())
def test_spans(read, lines, span):
    assert read(window(ON_EDGE, *lines)).plan.windows[0].when == span


WORKDAYS = frozenset(range(5))


@pytest.mark.parametrize(
    ("weekly", "days", "hour", "minute"),
    [
        ("sat,sun 02:00", {5, 6}, 2, 0),
        ("Sat, Sun  23:59", {5, 6}, 23, 59),
        ("mon,tue,wed,thu,fri 00:00", WORKDAYS, 0, 0),
        ("daily 12:30", set(range(7)), 12, 30),
    ],
)
def test_weekly(read, weekly, days, hour, minute):
    (rule,) = read(window(ON_DNS, f"weekly = '{weekly}'", "duration = '7d'")).plan.windows
    assert rule.when == Weekly(frozenset(days), hour, minute, 604800.0, ZoneInfo("UTC"))


@pytest.mark.parametrize(
    ("lines", "reading", "action"),
    [
        ((ON_EDGE,), Reading.HOLD, Action.FREEZE),
        ((ON_EDGE, "action = 'hold'"), Reading.HOLD, Action.FREEZE),
        (("sessions = ['edge1/xe-0']", "action = 'down'"), Reading.DOWN, Action.FREEZE),
        ((ON_DNS,), Reading.HOLD, Action.FREEZE),
        *(((ON_DNS, f"action = '{action}'"), Reading.HOLD, action) for action in Action),
    ],
)
def test_what_a_window_does(read, lines, reading, action):
    (rule,) = read(window(START, *lines)).plan.windows
    assert (rule.reading, rule.action) == (reading, action)


def test_a_window_for_what_the_flags_made(read):
    overrides = Overrides(device_name="edge2", device_host="192.0.2.2", prefixes=("192.0.2.54/32",))
    first, second = read(
        window(START, "devices = ['edge2']") + f"[[window]]\nname = 'v'\n{START}\nservices = ['edge2']", overrides
    ).plan.windows
    assert (first.devices, second.services) == (("edge2",), ("edge2",))


def test_utc_needs_no_time_zones_on_the_system(read, monkeypatch):
    def nothing(name: str) -> ZoneInfo:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(config.zoneinfo, "ZoneInfo", nothing)
    monkeypatch.setattr(config.zoneinfo, "available_timezones", set)
    assert read(window(ON_EDGE, "start = 2026-12-01T02:00:00")).plan.windows[0].when == Span(at(2026, 12, 1, 2), None)
    with pytest.raises(SettingsError, match="this system has no time zones, install tzdata"):
        read(window(ON_EDGE, START, "zone = 'Europe/Berlin'"))


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "[::]:8080", "192.0.2.9:80"])
def test_with_a_key_the_api_listens_beyond_loopback(read, listen):
    assert str(read(EDGE + f"[api]\nlisten = '{listen}'\n" + KEY).api) == listen
    assert str(read(EDGE + KEY, Overrides(listen=listen)).api) == listen


# --- what is refused --------------------------------------------------------------------------------------------

BAD = {
    # shape
    "unknown-key-near": ("[snmp]\ncomunity = 'x'", "snmp.comunity", "unknown key, did you mean `community`?"),
    "unknown-key-far": ("[site]\nzzz = 1", "site.zzz", "unknown key; known here: name"),
    "unknown-table": (EDGE.replace("device", "devices"), "devices", "unknown key, did you mean `device`?"),
    "unknown-key-in-list": (EDGE + "adress = 'x'", "device[0].adress", "unknown key; known here: version, community"),
    "unknown-api-key-key": ("[[api.key]]\nnme = 'x'", "api.key[0].name", "is missing, for example name = "),
    "unknown-prefix": (EDGE + DNS.replace("prefixes", "prefix"), "service[0].prefix", "did you mean `prefixes`?"),
    "unknown-steps": (EDGE + DNS + "steps = []", "service[0].steps", "unknown key, did you mean `step`?"),
    "unknown-step-key": (ladder("2", "1 5") + "metric = 1", "service[0].step[0].metric", "known here: med, local_pref"),
    "unknown-on-down": (DNS + "on_down = {mde = 1}", "service[0].on_down.mde", "did you mean `med`?"),
    "unknown-damping": (DNS + "damping = {halflife = 1}", "service[0].damping.halflife", "did you mean `half_life`?"),
    "unknown-window": (window("device = ['edge1']"), "window[0].device", "did you mean `devices`?"),
    "unknown-guard": ("[guard]\nmax = 1", "guard.max", "unknown key"),
    "window-is-table": ("[window]\nname = 'a'", "window", "is a list of tables: write [[window]] over each"),
    "step-is-table": (DNS + "[service.step]\nup = 1", "service[0].step", "write [[service.step]] over each"),
    "guard-is-number": ("guard = 3", "guard", "must be a table: [guard]"),
    "missing-prefixes": (
        EDGE + "[[service]]\nname = 'dns'\nsessions = ['edge1/*']",
        "service[0].prefixes",
        'is missing, for example prefixes = ["192.0.2.53/32"]; or give watchdog = "NAME"',
    ),
    "missing-up": (DNS + "[[service.step]]\nmed = 1", "service[0].step[0].up", "is missing, for example up = 1"),
    "missing-window-name": ("[[window]]\nend = 2026-01-01T00:00:00Z", "window[0].name", "is missing"),
    "table-is-text": ("snmp = 'x'", "snmp", "must be a table: [snmp]"),
    "list-is-table": ("[device]\nname = 'a'", "device", "is a list of tables: write [[device]] over each"),
    "api-list-is-table": ("[api.key]\nname = 'a'", "api.key", "is a list of tables: write [[api.key]] over each"),
    "list-of-text": ("device = ['a']", "device[0]", "must be a table"),
    "not-a-list": (EDGE + DNS.replace('["edge1/*"]', "'edge1/*'"), "service[0].sessions", "a list: ['edge1/*']"),
    "missing-name": ("[[device]]\nhost = 'a'", "device[0].name", 'is missing, for example name = "edge1"'),
    "missing-host": ("[[device]]\nname = 'a'", "device[0].host", 'is missing, for example host = "192.0.2.1"'),
    "missing-traps-listen": ("[traps]", "traps.listen", "is missing, for example listen = "),
    "no-prefixes": (DNS.replace('["192.0.2.53/32"]', "[]"), "service[0].prefixes", "must not be empty, for example"),
    "no-sessions": (DNS.replace('["edge1/*"]', "[]"), "service[0].sessions", "must not be empty, for example"),
    # types and ranges
    "text-for-seconds": ("[snmp]\ninterval = 'ten'", "snmp.interval", "must be a number of seconds, not 'ten'"),
    "boolean-for-seconds": ("[snmp]\ninterval = true", "snmp.interval", "must be a number of seconds, not true"),
    "table-for-seconds": ("[snmp]\ninterval = {}", "snmp.interval", "must be a number of seconds, not a table"),
    "date-for-seconds": ("[snmp]\ninterval = 2026-01-01", "snmp.interval", "seconds, not a date or time"),
    "nan": ("[snmp]\ninterval = nan", "snmp.interval", "must be a finite number of seconds, not nan"),
    "infinite": (DNS + "hold_up = inf", "service[0].hold_up", "must be a finite number of seconds, not inf"),
    "interval-zero": ("[snmp]\ninterval = 0", "snmp.interval", "must be at least 0.05, not 0"),
    "interval-long": ("[snmp]\ninterval = 86400", "snmp.interval", "must be at most 3600"),
    "fast-low": ("[snmp]\nfast_interval = 0.01", "snmp.fast_interval", "must be at least 0.05, not 0.01"),
    "fast-text": (EDGE + "fast_interval = 'x'", "device[0].fast_interval", "must be a number of seconds, not 'x'"),
    "fast-over-interval": (
        "[snmp]\nfast_interval = 2\n" + EDGE,
        "snmp.fast_interval",
        "fast_interval = 2 s is slower than the 1 s between two polls: leave it out, or give at most 1",
    ),
    "fast-device": (
        EDGE + "fast_interval = 1.5",
        "device[0].fast_interval",
        "is slower than the 1 s between two polls",
    ),
    "fast-mixed": (
        "[snmp]\nfast_interval = 0.5\n" + EDGE + "interval = 0.25",
        "device[0].interval",
        "fast_interval = 0.5 s is slower than the 0.25 s between two polls",
    ),
    "forget-zero": ("[snmp]\nforget_after = 0", "snmp.forget_after", "must be more than 0, not 0"),
    "forget-device": (EDGE + "forget_after = 5", "device[0].forget_after", "unknown key"),
    "keep-inputs": ("[storage]\nkeep_inputs = 0", "storage.keep_inputs", "must be at least one second"),
    "stale-zero": ("[snmp]\nstale_after = 0", "snmp.stale_after", "must be more than 0"),
    "retries-half": ("[snmp]\nretries = 1.5", "snmp.retries", "must be a whole number, not 1.5"),
    "retries-text": ("[snmp]\nretries = 'x'", "snmp.retries", "must be a whole number, not 'x'"),
    "retries-negative": ("[snmp]\nretries = -1", "snmp.retries", "must be at least 0, not -1"),
    "record-polls": ("[snmp]\nrecord_polls = 'yes'", "snmp.record_polls", "must be true or false, not 'yes'"),
    "engine": ("[snmp]\nengine = 'pysnm'", "snmp.engine", "not 'pysnm', did you mean `pysnmp`?"),
    "version": ("[snmp]\nversion = 'v2c'", "snmp.version", 'must be "2c", "3" or "1", not \'v2c\''),
    "version-3": ("[snmp]\nversion = 3\n" + EDGE, "device[0].user", "is missing: version 3 needs one"),
    "v3-key-of-v2": (EDGE + "auth_key = 'long enough'", "device[0].auth_key", 'belongs to version = "3", not to "2c"'),
    "v3-no-protocol": (
        "[snmp]\nversion = 3\nuser = 'bfd'\nauth_key = 'long enough'\n" + EDGE,
        "snmp.auth_key",
        'has no protocol: add auth_protocol = "sha256"',
    ),
    "v3-no-key": (
        EDGE + "version = 3\nuser = 'bfd'\nauth_protocol = 'sha1'",
        "device[0].auth_protocol",
        'has no key: add auth_key = "env:SNMP_AUTH_KEY"',
    ),
    "v3-priv-alone": (
        EDGE + "version = 3\nuser = 'bfd'\npriv_protocol = 'aes128'\npriv_key = 'long enough'",
        "device[0].priv_protocol",
        "needs authentication too",
    ),
    "v3-short-key": (
        EDGE + "version = 3\nuser = 'bfd'\nauth_protocol = 'sha1'\nauth_key = 'seven77'",
        "device[0].auth_key",
        "is too short: a pass phrase has at least 8 octets",
    ),
    "v3-key-variable": (
        EDGE + "version = 3\nuser = 'bfd'\nauth_protocol = 'sha1'\nauth_key = 'env:NOT_THERE'",
        "device[0].auth_key",
        "the variable NOT_THERE is not set",
    ),
    "v3-protocol": (EDGE + "auth_protocol = 'sha'", "device[0].auth_protocol", "must be 'md5', 'sha1'"),
    "v3-user": (EDGE + "version = 3\nuser = ''", "device[0].user", "must not be empty"),
    "context-v2": (
        EDGE + "contexts = ['', 'red']",
        "device[0].contexts",
        "version 2c knows the context red by a community only",
    ),
    "context-twice": (EDGE + "contexts = ['', '']", "device[0].contexts", "names a context twice"),
    "context-key": (
        EDGE + "contexts = ['red']\ncontext_communities = { red = 'env:NOT_THERE' }",
        "device[0].context_communities.red",
        "the variable NOT_THERE is not set",
    ),
    "trust-v2": (EDGE + "trust = true", "device[0].trust", "only SNMPv3 notifications with auth_protocol"),
    "trap-from": (EDGE + "trap_from = ['edge1']", "device[0].trap_from[0]", "must be an IPv4 or IPv6 address"),
    "max-varbinds": (EDGE + "max_varbinds = 0", "device[0].max_varbinds", "must be at least 1"),
    "traps-nowhere": ("[traps]\nlisten = []", "traps.listen", "must not be empty"),
    "traps-user-key": (
        "[traps]\nlisten = '127.0.0.1:1162'\n[[traps.user]]\nname = 'u'\nauth_protocol = 'sha1'\nauth_key = 'short'",
        "traps.user[0].auth_key",
        "is too short",
    ),
    "traps-user-one": (
        "[traps]\nlisten = '127.0.0.1:1162'\n[traps.user]\nname = 'u'",
        "traps.user",
        "is a list of tables: write [[traps.user]] over each",
    ),
    "proxy-allow": ("[snmp_proxy]\nallow = ['192.0.2.1/24']", "snmp_proxy.allow[0]", "has host bits set"),
    "proxy-concurrency": ("[snmp_proxy]\nconcurrency = 0", "snmp_proxy.concurrency", "must be at least 1"),
    "port-zero": (EDGE + "port = 0", "device[0].port", "must be at least 1, not 0"),
    "port-high": (EDGE + "port = 65536", "device[0].port", "must be at most 65535"),
    "profile": (EDGE + "profile = 'bfd-st'", "device[0].profile", "did you mean `bfd-std`?"),
    "reconcile": ("[speaker]\nreconcile = 9", "speaker.reconcile", "must be 0 (never) or from 10 seconds to a day"),
    "dialect": ("[speaker]\ndialect = 7", "speaker.dialect", "must be 'auto', '4', '5' or '6', not '7'"),
    "on-exit": ("[speaker]\non_exit = 'leave'", "speaker.on_exit", "must be 'keep' or 'withdraw'"),
    "ack-timeout": ("[speaker]\nack_timeout = 0", "speaker.ack_timeout", "must be at least 0.1"),
    "adopt-within": ("[speaker]\nadopt_within = -1", "speaker.adopt_within", "must be from 0 to 36500 days, not -1"),
    "duration-word": ("[storage]\nkeep_events = 'ever'", "storage.keep_events", 'must be a time such as "90d"'),
    "duration-unit": ("[storage]\nkeep_events = '9w'", "storage.keep_events", "not '9w'"),
    "duration-boolean": ("[storage]\nkeep_events = true", "storage.keep_events", "not true"),
    "duration-nan": ("[storage]\nkeep_events = nan", "storage.keep_events", "must be from 0 to 36500 days"),
    "duration-zero": ("[storage]\nkeep_events = 0", "storage.keep_events", "must be at least one second"),
    "max-events": ("[storage]\nmax_events = 0", "storage.max_events", "must be at least 1, not 0"),
    "path-empty": ("[storage]\npath = ''", "storage.path", "must not be empty"),
    "path-nul": ('[storage]\npath = "a\\u0000"', "storage.path", "must not hold control characters: 'a\\x00'"),
    "path-home": ("[log]\nfile = '~/bfd.log'", "log.file", "'~/bfd.log' is taken as it stands"),
    "mongodb": (EDGE + "[storage]\nmongodb = 'db1'", "storage.mongodb", "must begin with mongodb:// or mongodb+srv://"),
    "log-level": ("[log]\nlevel = 'loud'", "log.level", "must be 'debug', 'info', 'warning' or 'error'"),
    "log-bytes": ("[log]\nmax_bytes = 1", "log.max_bytes", "must be at least 4096"),
    "log-backups": ("[log]\nbackups = 0", "log.backups", "must be at least 1"),
    "rise": (DNS + "rise = 0", "service[0].rise", "must be at least 1, not 0"),
    "fall": (DNS + "fall = 0", "service[0].fall", "must be at least 1, not 0"),
    "hold-up": (DNS + "hold_up = -1", "service[0].hold_up", "must be at least 0, not -1"),
    "confirm": (DNS + "confirm = 1", "service[0].confirm", "must be true or false, not 1"),
    "on-missing": (DNS + "on_missing = 'dwn'", "service[0].on_missing", "did you mean `down`?"),
    "on-down": (
        DNS + "on_down = 'med'",
        "service[0].on_down",
        "must be \"withdraw\" or a table of what changes, { med = 500 }, not 'med'",
    ),
    "on-down-list": (DNS + "on_down = [1]", "service[0].on_down", "not a list"),
    "on-down-empty": (
        EDGE + DNS + "on_down = {}",
        "service[0].on_down",
        "says nothing that changes: give one of med, local_preference, communities, large_communities, "
        'extended_communities, as_path, or "withdraw"',
    ),
    "on-down-value": (DNS + "on_down = {med = -1}", "service[0].on_down.med", "must be at least 0, not -1"),
    "on-down-community": (DNS + "on_down = {communities = ['x']}", "service[0].on_down.communities[0]", "a community"),
    "on-down-twice": (
        EDGE + DNS + "on_down = {communities = ['1:1', '1:1']}",
        "service[0].on_down.communities[1]",
        "1:1 is listed twice",
    ),
    "drain-time": (DNS + "drain_time = '25h'", "service[0].drain_time", 'must be at most a day, "24h", not 90000 s'),
    "drain-time-negative": (DNS + "drain_time = -1", "service[0].drain_time", "must be from 0"),
    "drain-time-nan": (DNS + "drain_time = nan", "service[0].drain_time", "must be from 0"),
    "on-disable": (DNS + "on_disable = 'freeze'", "service[0].on_disable", "must be 'withdraw' or 'drain'"),
    "disable-file": (DNS + "disable_file = '~/off'", "service[0].disable_file", "write the home directory's own path"),
    "disable-file-empty": (DNS + "disable_file = ''", "service[0].disable_file", "must not be empty"),
    # ladders
    "step-up-zero": (
        ladder("2", "0 5"),
        "service[0].step[0].up",
        "must be a whole number of sessions from 1 (on_down is for fewer), not 0",
    ),
    "step-up-true": (ladder("2", "true 5"), "service[0].step[0].up", "from 1 (on_down is for fewer), not true"),
    "step-up-half": (ladder("2", "1.0 5"), "service[0].step[0].up", "not 1.0"),
    "step-enough": (
        ladder("3", "2 5", "3 4"),
        "service[0].step[1].up",
        "with 3 up nothing is amiss, since 3 are enough for `require`: give at most 2",
    ),
    "step-any": (
        ladder('"any"', "1 5"),
        "service[0].step[0].up",
        "since 1 are enough for `require`: require more sessions, or leave the step out",
    ),
    "step-all": (ladder('"all"', "3 5", sessions=THREE), "service[0].step[0].up", "since 3 are enough for `require`"),
    "step-all-more": (ladder('"all"', "9 5", sessions=THREE), "service[0].step[0].up", "give at most 2"),
    "step-twice": (
        ladder("3", "2 5", "1 6", "2 7"),
        "service[0].step[2].up",
        "a step with up = 2 was already given: leave one out",
    ),
    "gap-top": (
        ladder("3", "1 5"),
        "service[0].step",
        "is a ladder with gaps: it says nothing of 2 sessions up: add [[service.step]] with up = 2",
    ),
    "gap-middle": (ladder("6", "5 1", "2 5"), "service[0].step", "it says nothing of 4, 3 sessions up: add"),
    "gap-huge": (
        ladder("1000000000000", "1 5"),
        "service[0].step",
        "999999999999, 999999999998, 999999999997, 999999999996, 999999999995 and 999999999993 more sessions up",
    ),
    "gap-all": (ladder('"all"', "1 5", sessions=THREE), "service[0].step", "it says nothing of 2 sessions up"),
    "gap-all-star": (ladder('"all"', "5 5", "3 6"), "service[0].step", "it says nothing of 4 sessions up"),
    "step-empty": (
        EDGE + DNS + "require = 2\n[[service.step]]\nup = 1",
        "service[0].step[0]",
        "says nothing that changes: give one of med, local_preference, communities, large_communities, "
        "extended_communities, as_path, or withdraw = true",
    ),
    "step-withdraw-false": (
        ladder("2", "1 5") + "withdraw = false",
        "service[0].step[0].withdraw",
        "must be true, not false: leave it out where the step announces",
    ),
    "step-withdraw-and-med": (
        ladder("2", "1 5") + "withdraw = true\nas_path = [1]",
        "service[0].step[0].withdraw",
        "what is withdrawn has no med or as_path: leave out the one or the other",
    ),
    "step-comes-back": (
        ladder("4", "1 5", "3 withdraw", "2 withdraw"),
        "service[0].step[0]",
        "contradicts the step with up = 3, which withdraws: with fewer sessions it cannot be better",
    ),
    "on-down-comes-back": (
        ladder("3", "2 5", "1 withdraw", more="on_down = {med = 9}"),
        "service[0].on_down",
        "contradicts the step with up = 1, which withdraws: with fewer sessions it cannot be better: withdraw here too",
    ),
    "step-community-twice": (
        EDGE + DNS + "require = 2\n[[service.step]]\nup = 1\nlarge_communities = ['1:1:1', '1:1:1']",
        "service[0].step[0].large_communities[1]",
        "1:1:1 is listed twice",
    ),
    # damping
    "damping-word": (
        DNS + "damping = 'on'",
        "service[0].damping",
        "must be true, false or a table such as { half_life = \"15m\" }, not 'on'",
    ),
    "damping-zero": (DNS + "damping = {penalty = 0}", "service[0].damping.penalty", "a number more than 0 and at most"),
    "damping-text": (DNS + "damping = {cutoff = '1'}", "service[0].damping.cutoff", "must be a number more than 0"),
    "damping-true": (DNS + "damping = {reuse = true}", "service[0].damping.reuse", "not true"),
    "damping-nan": (DNS + "damping = {reuse = nan}", "service[0].damping.reuse", "not nan"),
    "damping-infinite": (DNS + "damping = {ceiling = inf}", "service[0].damping.ceiling", "not inf"),
    "damping-life": (DNS + "damping = {half_life = 0}", "service[0].damping.half_life", "must be more than 0, not 0"),
    "damping-reuse": (
        EDGE + DNS + "damping = {reuse = 3000}",
        "service[0].damping.reuse",
        "reuse = 3000 must be less than cutoff = 3000: change one of them",
    ),
    "damping-cutoff-low": (
        EDGE + DNS + "damping = {cutoff = 1000}",
        "service[0].damping.cutoff",
        "reuse = 1500 must be less than cutoff = 1000",
    ),
    "damping-cutoff": (
        EDGE + DNS + "damping = {cutoff = 12001}",
        "service[0].damping.cutoff",
        "cutoff = 12001 must be at most ceiling = 12000",
    ),
    "damping-ceiling": (
        EDGE + DNS + "damping = {ceiling = 2000}",
        "service[0].damping.ceiling",
        "cutoff = 3000 must be at most ceiling = 2000",
    ),
    "damping-penalty": (
        EDGE + DNS + "damping = {penalty = 12001}",
        "service[0].damping.penalty",
        "penalty = 12001 must be at most ceiling = 12000",
    ),
    # watchdogs
    "watchdog-blank": (DNS + "watchdog = 'a b'", "service[0].watchdog", "must be 1 to 64 letters, digits, - and _"),
    "watchdog-long": (DNS + f"watchdog = '{'a' * 65}'", "service[0].watchdog", "must be 1 to 64 letters"),
    "watchdog-empty": (DNS + "watchdog = ''", "service[0].watchdog", "must not be empty"),
    "watchdog-newline": (DNS + 'watchdog = "a\\nb"', "service[0].watchdog", "must not hold control characters"),
    "watchdog-letter": (DNS + "watchdog = 'dé'", "service[0].watchdog", "must be 1 to 64 letters"),
    "watchdog-two-services": (
        EDGE + (DNS + "watchdog = 'w'\n") + DNS.replace('"dns"', '"ntp"').replace(".53", ".54") + "watchdog = 'w'\n",
        "service[1].watchdog",
        "w already belongs to the service dns: a watchdog belongs to one service",
    ),
    **{
        f"watchdog-alone-{line.split()[0]}": (
            EDGE + f"[[service]]\nname = 'dns'\nsessions = ['edge1/*']\nrequire = 2\nwatchdog = 'w'\n{line}",
            f"service[0].{'step' if 'step' in line else line.split()[0]}",
            "the routes of watchdog w stand in ExaBGP's configuration, and only come and go: write it there and leave "
            "it out here, or give prefixes",
        )
        for line in (
            "next_hop = '192.0.2.1'",
            "neighbors = ['192.0.2.1']",
            "med = 0",
            "local_preference = 1",
            "communities = ['1:1']",
            "large_communities = ['1:1:1']",
            "extended_communities = ['target:1:1']",
            "as_path = [1]",
            "on_down = { med = 1 }",
            "[[service.step]]\nup = 1\nwithdraw = true",
        )
    },
    # windows
    "window-twice": (
        window(START, ON_EDGE) + f"[[window]]\nname = 'w'\n{START}\n{ON_EDGE}",
        "window[1].name",
        "the window w was already given at window[0]: rename one",
    ),
    "window-never": (
        window(ON_EDGE),
        "window[0]",
        'never comes: give start = 2026-12-01T02:00:00Z, end, or both, or weekly = "sat,sun 02:00"',
    ),
    "window-of-nothing": (
        window(START),
        "window[0]",
        'says nothing of what it is: give devices = ["edge1"], sessions = ["edge1/*"] or services = ["dns"]',
    ),
    "window-of-both": (window(START, ON_DNS, ON_EDGE), "window[0].services", "make two windows of it"),
    "window-of-both-sessions": (window(START, ON_DNS, "sessions = ['edge1/*']"), "window[0].services", "two windows"),
    "window-devices-empty": (
        window(START, "devices = []"),
        "window[0].devices",
        'must not be empty, for example devices = ["edge1"]',
    ),
    "window-services-empty": (window(START, "services = []"), "window[0].services", 'for example services = ["dns"]'),
    "window-device": (
        window(START, "devices = ['edge1', 'edge2']"),
        "window[0].devices[1]",
        "there is no device edge2, did you mean `edge1`?",
    ),
    "window-session": (
        window(START, "sessions = ['core/*']"),
        "window[0].sessions[0]",
        "there is no device core; known: edge1",
    ),
    "window-service": (
        window(START, "services = ['dnss']"),
        "window[0].services[0]",
        "there is no service dnss, did you mean `dns`?",
    ),
    "window-service-is-device": (window(START, "services = ['edge1']"), "window[0].services[0]", "no service edge1"),
    "window-device-twice": (window(START, "devices = ['edge1', 'edge1']"), "window[0].devices[1]", "is listed twice"),
    "window-session-bare": (window(START, "sessions = ['edge1']"), "window[0].sessions[0]", 'must be "device/what"'),
    "window-order": (
        window(ON_EDGE, START, "end = 2026-12-01T01:00:00Z"),
        "window[0].end",
        "2026-12-01T01:00:00+00:00 is not after start, 2026-12-01T02:00:00+00:00: exchange them, or leave one out",
    ),
    "window-equal": (window(ON_EDGE, START, START.replace("start", "end")), "window[0].end", "is not after start"),
    "window-order-zone": (
        window(ON_EDGE, START, "zone = 'Asia/Tokyo'", "end = 2026-12-01T10:00:00"),
        "window[0].end",
        "2026-12-01T10:00:00 (Asia/Tokyo) is not after start, 2026-12-01T02:00:00+00:00",
    ),
    "window-text": (
        window(ON_EDGE, "start = '2026-12-01T02:00:00Z'"),
        "window[0].start",
        "must be a date and time without quotes: 2026-12-01T02:00:00Z, or without the Z in the time of `zone`",
    ),
    "window-date": (window(ON_EDGE, "start = 2026-12-01"), "window[0].start", "must be a date and a time: 2026-12-01T"),
    "window-time": (window(ON_EDGE, "end = 02:00:00"), "window[0].end", "must be a date and a time"),
    "window-early": (window(ON_EDGE, "start = 0001-01-01T00:00:00Z"), "window[0].start", "in the years 1971 to 9998"),
    "window-late": (window(ON_EDGE, "end = 9999-12-31T23:59:59Z"), "window[0].end", "years 1971 to 9998, not 9999"),
    "window-weekly-start": (
        window(ON_EDGE, START, "weekly = 'sat 02:00'", "duration = 60"),
        "window[0].start",
        "a window has start and end, or weekly and duration: leave out the one or the other",
    ),
    "window-weekly-end": (
        window(ON_EDGE, START.replace("start", "end"), "weekly = 'sat 02:00'", "duration = 60"),
        "window[0].end",
        "leave out the one or the other",
    ),
    "window-no-duration": (
        window(ON_EDGE, "weekly = 'sat 02:00'"),
        "window[0].duration",
        'is missing beside weekly, for example duration = "2h"',
    ),
    "window-duration-alone": (
        window(ON_EDGE, START, "duration = '2h'"),
        "window[0].duration",
        'belongs to weekly = "sat,sun 02:00": give weekly, or start and end',
    ),
    "window-duration-zero": (window("duration = 0"), "window[0].duration", "must be more than 0, not 0"),
    "window-duration-long": (window("duration = '8d'"), "window[0].duration", 'at most a week, "7d", not 691200 s'),
    **{
        f"window-weekly-{name}": (window(f"weekly = {written}"), "window[0].weekly", words)
        for name, written, words in (
            ("days-only", "'sat'", 'must be days and a time such as "sat,sun 02:00" or "daily 02:00", not \'sat\''),
            ("hour", "'sat 24:00'", "must be days and a time"),
            ("minute", "'sat 02:60'", "must be days and a time"),
            ("short", "'sat 2:00'", "must be days and a time"),
            ("range", "'mon-fri 02:00'", "must be days and a time"),
            ("long-name", "'saturday 02:00'", "'saturday' is no day: use mon, tue, wed, thu, fri, sat, sun, or daily"),
            ("long-hint", "'sunday 02:00'", "did you mean `sun`?"),
            ("word", "'never 02:00'", "'never' is no day"),
            (
                "daily-and",
                "'daily,sat 02:00'",
                "'daily' is no day: use mon, tue, wed, thu, fri, sat, sun, or daily alone",
            ),
            ("twice", "'sat,sun,sat 02:00'", "names a day twice"),
            ("number", "5", "must be text in quotes, not 5"),
        )
    },
    "window-zone": (
        window(ON_EDGE, START, "zone = 'Europe/Berlim'"),
        "window[0].zone",
        "'Europe/Berlim' is no time zone of the IANA database, did you mean `Europe/Berlin`?",
    ),
    "window-zone-far": (window("zone = 'zzzzzzzzzz'"), "window[0].zone", 'for example "Europe/Berlin" or "UTC"'),
    "window-zone-folder": (window("zone = 'America'"), "window[0].zone", "is no time zone of the IANA database"),
    "window-zone-path": (window("zone = '../etc/passwd'"), "window[0].zone", "is no time zone of the IANA database"),
    "window-zone-number": (window("zone = 1"), "window[0].zone", "must be text in quotes, not 1"),
    "window-action-word": (window("action = 'freez'"), "window[0].action", "did you mean `freeze`?"),
    "window-action-device": (
        window(ON_EDGE, START, "action = 'freeze'"),
        "window[0].action",
        '"freeze" is of services: a window of devices and sessions has "hold" or "down"',
    ),
    "window-action-service": (
        window(ON_DNS, START, "action = 'down'"),
        "window[0].action",
        '"down" is of devices and sessions: a window of services has "freeze", "drain", "withdraw" or "announce"',
    ),
    "window-reason": (window("reason = 5"), "window[0].reason", "must be text in quotes, not 5"),
    "window-reason-line": (window('reason = "a\\nb"'), "window[0].reason", "must not hold control characters"),
    "window-reason-long": (window(f"reason = '{'a' * 1001}'"), "window[0].reason", "must have at most 1000 characters"),
    # the guard
    **{
        f"guard-{number}": (
            f"[guard]\nmax_withdrawn = {written}",
            "guard.max_withdrawn",
            "must be a whole number of services from 1, or a share of them between none and all such as "
            f'"30%" or 0.3, not {shown}; leave it out for no limit',
        )
        for number, (written, shown) in enumerate(
            (
                ("0", "0"),
                ("-1", "-1"),
                ("1.0", "1.0"),
                ("0.0", "0.0"),
                ("nan", "nan"),
                ("true", "true"),
                ("'0%'", "'0%'"),
                ("'100%'", "'100%'"),
                ("'30'", "'30'"),
                ("'half'", "'half'"),
                ("[1]", "a list"),
            )
        )
    },
    "guard-within": ("[guard]\nwithin = 0", "guard.within", "must be more than 0, not 0"),
    "guard-within-word": ("[guard]\nwithin = 'x'", "guard.within", 'must be a time such as "90d"'),
    "effect": ("[webhook]\neffect = 'prob'", "webhook.effect", "did you mean `probe`?"),
    "role": ("[[api.key]]\nname = 'a'\nrole = 'root'\nsha256 = ''", "api.key[0].role", "must be 'read'"),
    "sha256": ("[[api.key]]\nname = 'a'\nrole = 'read'\nsha256 = '12'", "api.key[0].sha256", "64 hexadecimal digits"),
    # names
    "name-blank": (EDGE.replace("edge1", "edge 1"), "device[0].name", "no slash and no blank: 'edge 1', perhaps"),
    "name-slash": (EDGE.replace("edge1", "a/b"), "device[0].name", "no slash and no blank: 'a/b', perhaps 'a-b'"),
    "name-control": (DNS.replace('"dns"', '"d\\ns"'), "service[0].name", "must not hold control characters: 'd\\ns'"),
    "name-empty": (EDGE.replace("edge1", ""), "device[0].name", "must not be empty"),
    "name-long": (EDGE.replace("edge1", "a" * 101), "device[0].name", "has at most 100 characters"),
    "name-number": ("[site]\nname = 5", "site.name", "must be text in quotes, not 5"),
    "device-twice": (EDGE * 2, "device[1].name", "the device edge1 was already given at device[0]: rename one"),
    "service-twice": (EDGE + DNS + DNS.replace(".53", ".54"), "service[1].name", "already given at service[0]"),
    "key-twice": (
        EDGE + f"[[api.key]]\nname = 'a'\nrole = 'read'\nsha256 = '{'0' * 64}'\n" * 2,
        "api.key[1].sha256",
        "is the hash of an earlier key",
    ),
    "key-roles": (
        EDGE
        + f"[[api.key]]\nname = 'a'\nrole = 'read'\nsha256 = '{'0' * 64}'\n"
        + f"[[api.key]]\nname = 'a'\nrole = 'admin'\nsha256 = '{'1' * 64}'\n",
        "api.key[1].role",
        "keys of one name are of one role",
    ),
    "key-networks": (
        EDGE + f"[[api.key]]\nname = 'a'\nrole = 'read'\nsha256 = '{'0' * 64}'\nnetworks = ['192.0.2.1']",
        "api.key[0].networks[0]",
        "192.0.2.1/32?",
    ),
    "tls-alone": (EDGE + "[api]\ntls_key = 'key.pem'", "api.tls_key", "needs tls_certificate too"),
    "tls-gone": (
        EDGE + "[api]\ntls_key = 'key.pem'\ntls_certificate = '/nowhere/cert.pem'",
        "api.tls_certificate",
        "/nowhere/cert.pem cannot be read",
    ),
    "rate-text": (EDGE + "[api.rates]\nrequests = '5'", "api.rates.requests", "a number from 0 (no limit)"),
    "rate-less": (EDGE + "[api.rates]\nfailures = -1", "api.rates.failures", "a number from 0 (no limit)"),
    "notify-secretless": (
        EDGE + "[[notify]]\nname = 'a'\nurl = 'https://h/'\nsecrets = []",
        "notify[0].secrets",
        "must not be empty",
    ),
    "notify-nothing": (EDGE + NOC + "events = []", "notify[0].events", "must not be empty"),
    "notify-many": (EDGE + "".join(NOC.replace("noc", f"n{n}") for n in range(33)), "notify", "at most 32"),
    "notify-twice": (EDGE + 2 * NOC, "notify[1].name", "the endpoint noc was already given"),
    "notify-mail": (EDGE + NOC.replace("https:", "mailto:"), "notify[0].url", "must begin with https:// or http://"),
    "notify-nowhere": (EDGE + NOC.replace("alerts.example.net", ""), "notify[0].url", "has no host"),
    "notify-no-port": (EDGE + NOC.replace("net/", "net:0/"), "notify[0].url", "has no host, or no port"),
    "notify-fragment": (EDGE + NOC.replace("T0P", "T0P#x"), "notify[0].url", "must not have a fragment"),
    "notify-plain": (
        EDGE + NOC.replace(WHSEC, "plain") + "format = 'standard'",
        "notify[0].format",
        "needs a secret that begins with whsec_",
    ),
    "notify-no-whsec": (EDGE + NOC.replace(WHSEC, "whsec_x"), "notify[0].secrets[0]", "no secret of Standard Webhooks"),
    "notify-service": (EDGE + DNS + NOC + "services = ['dnss']", "notify[0].services", "there is no service 'dnss'"),
    "notify-ca": (EDGE + NOC + "ca = 'bfd.toml'", "notify[0].ca", "holds no certificate in PEM"),
    "notify-ca-nowhere": (EDGE + NOC + "ca = 'nowhere'", "notify[0].ca", "cannot be read"),
    "notify-patience": (EDGE + NOC + "timeout = '2m'", "notify[0].timeout", "must be from 0.1 to 60 seconds"),
    "notify-unknown": (EDGE + NOC + "event = ['x']", "notify[0].event", "did you mean `events`"),
    "sender-secretless": (
        EDGE + "[[webhook.sender]]\nname = 'a'\nsecrets = []",
        "webhook.sender[0].secrets",
        "must not be empty, for example",
    ),
    "sender-twice": (
        EDGE + "".join(f"[[webhook.sender]]\nname = 'a'\nsecrets = ['{secret}']\n" for secret in "xy"),
        "webhook.sender[1].name",
        "the sender a was already given",
    ),
    "sender-shares": (
        EDGE + "[webhook]\nsecrets = ['hush']\n[[webhook.sender]]\nname = 'a'\nsecrets = ['hush']",
        "webhook.sender[0].secrets",
        "has the secret of another sender",
    ),
    "secret-standard": (
        EDGE + "[webhook]\nsecrets = ['whsec_hush']",
        "webhook.secrets[0]",
        "no secret of Standard Webhooks",
    ),
    # hosts and addresses
    "host-port": (EDGE.replace("192.0.2.1", "192.0.2.1:161"), "device[0].host", "beside it: port = 161"),
    "host-octets": (EDGE.replace("192.0.2.1", "192.0.2.256"), "device[0].host", "must be a host name or an address"),
    "host-blank": (EDGE.replace("192.0.2.1", "a b"), "device[0].host", "must be a host name or an address, not 'a b'"),
    "neighbor-name": (DNS + "neighbors = ['r1']", "service[0].neighbors[0]", "must be an IPv4 or IPv6 address"),
    "neighbor-zone": (DNS + "neighbors = ['fe80::1%eth0']", "service[0].neighbors[0]", "without a zone: fe80::1"),
    "neighbor-word": (DNS + "neighbors = 'every'", "service[0].neighbors", "must be a list: ['every']"),
    "neighbor-twice": (
        EDGE + DNS + "neighbors = ['2001:db8::1', '2001:db8:0::1']",
        "service[0].neighbors[1]",
        "2001:db8::1 is listed twice",
    ),
    "listen-no-port": ("[api]\nlisten = '127.0.0.1'", "api.listen", '("off" serves no API)'),
    "listen-port-only": ("[api]\nlisten = '8080'", "api.listen", "must be an address and a port"),
    "listen-bare-v6": ("[api]\nlisten = '::1:8080'", "api.listen", 'or "[::1]:8080", not'),
    "listen-port-high": ("[api]\nlisten = '127.0.0.1:65536'", "api.listen", "a number from 0 to 65535, not '65536'"),
    "listen-name": ("[api]\nlisten = 'web1:8080'", "api.listen", "must be an address and a port"),
    "listen-open": (
        EDGE + "[api]\nlisten = '0.0.0.0:8080'",
        "api.listen",
        "listen there, or add [[api.key]] with name",
    ),
    "listen-open-v6": (EDGE + "[api]\nlisten = '[::]:8080'", "api.listen", ":: is not loopback: without [[api.key]]"),
    # SNMP
    "oid-alone": (EDGE + "oid = '1.3.6.1'", "device[0].oid", 'belongs to profile = "oid", not to "auto"'),
    "values-alone": (EDGE + "profile = 'bfd-std'\nvalues = 'oper'", "device[0].values", 'not to "bfd-std"'),
    "oid-missing": (EDGE + "profile = 'oid'\nvalues = 'oper'", "device[0].oid", 'is missing: profile "oid" needs oid'),
    "values-missing": (
        EDGE + "profile = 'oid'\noid = '1.3.6.1'",
        "device[0].values",
        'needs values = "oper" or "state"',
    ),
    "oid-words": (EDGE + "oid = 'bfdSessState'", "device[0].oid", "must be a numeric OID"),
    "oid-high": (EDGE + "oid = '1.3.4294967296'", "device[0].oid", "must be a numeric OID"),
    "gufo-v3": (
        EDGE + "engine = 'gufo'\nversion = 3\nuser = 'bfd'",
        "device[0].engine",
        '"gufo" checks no digests of version 3',
    ),
    "gufo-v1": (EDGE + "engine = 'gufo'\nversion = 1", "device[0].engine", '"gufo" does not read version 1'),
    "stale-under-interval": (
        "[snmp]\ninterval = 20\nstale_after = 10\n" + EDGE,
        "snmp.stale_after",
        "stale_after = 10 s is not more than the 20 s between two polls, so that every session would be unknown "
        "between them: leave it out, or give 60",
    ),
    "stale-equal": (EDGE + "interval = 3\nstale_after = 3", "device[0].stale_after", "leave it out, or give 10"),
    "stale-mixed": (
        "[snmp]\nstale_after = 5\n" + EDGE + "interval = 6",
        "device[0].interval",
        "is not more than the 6",
    ),
    # prefixes
    "host-bits": (
        DNS.replace("192.0.2.53/32", "198.51.100.1/24"),
        "service[0].prefixes[0]",
        "198.51.100.1/24 has host bits set: 198.51.100.0/24 or /32?",
    ),
    "host-bits-v6": (
        DNS.replace("192.0.2.53/32", "2001:db8::1/64"),
        "service[0].prefixes[0]",
        "2001:db8::1/64 has host bits set: 2001:db8::/64 or /128?",
    ),
    "no-length": (DNS.replace("/32", ""), "service[0].prefixes[0]", "192.0.2.53 has no length: 192.0.2.53/32?"),
    "long-length": (DNS.replace("/32", "/33"), "service[0].prefixes[0]", "must be a number from 0 to 32"),
    "netmask": (DNS.replace("/32", "/255.255.255.255"), "service[0].prefixes[0]", "must be a number from 0 to 32"),
    "prefix-word": (DNS.replace("192.0.2.53/32", "dns"), "service[0].prefixes[0]", "must be a prefix such as"),
    "prefix-command": (
        DNS.replace("192.0.2.53/32", "192.0.2.53/32 next-hop self"),
        "service[0].prefixes[0]",
        "must be a number from 0 to 32",
    ),
    "prefix-zone": (DNS.replace("192.0.2.53/32", "fe80::%e/64"), "service[0].prefixes[0]", "without a zone"),
    "prefix-second": (DNS.replace('32"]', '32", 5]'), "service[0].prefixes[1]", "must be text in quotes, not 5"),
    "prefix-two-services": (
        EDGE + DNS + DNS.replace('"dns"', '"ntp"'),
        "service[1].prefixes[0]",
        "192.0.2.53/32 already belongs to the service dns: a prefix belongs to one service",
    ),
    "prefix-twice": (
        EDGE + DNS.replace('32"]', '32", "192.0.2.53/32"]'),
        "service[0].prefixes[1]",
        "192.0.2.53/32 is listed twice",
    ),
    # next hops
    "next-hop-word": (DNS + "next_hop = 'me'", "service[0].next_hop", "must be an IPv4 or IPv6 address, not 'me'"),
    "next-hop-empty": (DNS + "next_hop = []", "service[0].next_hop", 'must be "self", an address, or a list'),
    "next-hop-multicast": (DNS + "next_hop = '224.0.0.1'", "service[0].next_hop", "224.0.0.1 cannot be a next hop"),
    "next-hop-unspecified": (DNS + "next_hop = '::'", "service[0].next_hop", ":: cannot be a next hop"),
    "next-hop-two": (DNS + "next_hop = ['1.1.1.1', '1.1.1.2']", "service[0].next_hop", "two addresses of one family"),
    "next-hop-family": (
        EDGE + DNS + "next_hop = '2001:db8::1'",
        "service[0].next_hop",
        "2001:db8::1 cannot be the next hop of 192.0.2.53/32, which is IPv4",
    ),
    "next-hop-idle": (
        EDGE + DNS + "next_hop = ['192.0.2.1', '2001:db8::1']",
        "service[0].next_hop",
        "2001:db8::1 is IPv6, but no prefix of the service is: leave it out",
    ),
    "next-hop-half": (
        EDGE + DNS.replace('32"]', '32", "2001:db8::53/128"]') + "next_hop = '192.0.2.1'",
        "service[0].next_hop",
        "192.0.2.1 cannot be the next hop of 2001:db8::53/128, which is IPv6: give one address of each family",
    ),
    # attributes
    "med": (DNS + "med = -1", "service[0].med", "must be at least 0, not -1"),
    "med-high": (DNS + "med = 4294967296", "service[0].med", "must be at most 4294967295"),
    "local-preference": (DNS + "local_preference = '1'", "service[0].local_preference", "must be a whole number"),
    "as-zero": (DNS + "as_path = [65000, 0]", "service[0].as_path[1]", "must be at least 1, not 0"),
    "as-text": (DNS + "as_path = '65000'", "service[0].as_path", "must be a list"),
    "community-high": (DNS + "communities = ['65536:1']", "service[0].communities[0]", "use large_communities"),
    "community-name": (DNS + "communities = ['no-exprt']", "service[0].communities[0]", "did you mean `no-export`?"),
    "community-injection": (
        DNS + "communities = ['1:1 json']",
        "service[0].communities[0]",
        "must be a community such",
    ),
    "community-newline": (
        DNS + 'communities = ["1:1\\n"]',
        "service[0].communities[0]",
        "control characters: '1:1\\n'",
    ),
    "community-digits": (
        DNS + "communities = ['\u0663:\u0661']",
        "service[0].communities[0]",
        "must be a community such as",
    ),
    "community-twice": (
        EDGE + DNS + "communities = ['1:1', '01:1']",
        "service[0].communities[1]",
        "1:1 is listed twice",
    ),
    "large-two": (DNS + "large_communities = ['1:2']", "service[0].large_communities[0]", "three numbers of 32 bits"),
    "large-high": (DNS + "large_communities = ['1:2:4294967296']", "service[0].large_communities[0]", "of 32 bits"),
    "extended-kind": (
        DNS + "extended_communities = ['rt:1:1']",
        "service[0].extended_communities[0]",
        '"target:65000:1"',
    ),
    "extended-hex": (DNS + "extended_communities = ['0x12']", "service[0].extended_communities[0]", "16 hexadecimal"),
    "extended-wide": (
        DNS + "extended_communities = ['target:65536:65536']",
        "service[0].extended_communities[0]",
        "must be at most 65535 after an address or a 32-bit AS number",
    ),
    "extended-address": (
        DNS + "extended_communities = ['target:192.0.2.999:1']",
        "service[0].extended_communities[0]",
        "not 'target:192.0.2.999:1'",
    ),
    # sessions
    "selector-bare": (DNS.replace("edge1/*", "edge1"), "service[0].sessions[0]", 'must be "device/what"'),
    "selector-empty": (DNS.replace("edge1/*", "edge1/"), "service[0].sessions[0]", 'must be "device/what"'),
    "selector-device": (
        EDGE + DNS.replace("edge1/*", "edge2/*"),
        "service[0].sessions[0]",
        "service dns follows edge2/*, but there is no device edge2, did you mean `edge1`?",
    ),
    "selector-device-far": (EDGE + DNS.replace("edge1/*", "core/*"), "service[0].sessions[0]", "; known: edge1"),
    "selector-device-many": (
        "".join(EDGE.replace("edge1", f"r{number}") for number in range(12)) + DNS,
        "service[0].sessions[0]",
        "; known: r0, r1, r2, r3, r4, r5, r6, r7, r8, r9 and 2 more",
    ),
    "selector-twice": (
        EDGE + DNS.replace('["edge1/*"]', '["edge1/2001:DB8::1", "edge1/2001:db8::1"]'),
        "service[0].sessions[1]",
        "edge1/2001:db8::1 is listed twice",
    ),
    "require-zero": (DNS + "require = 0", "service[0].require", 'must be "any", "all" or a whole number'),
    "require-true": (DNS + "require = true", "service[0].require", "not true"),
    "require-word": (DNS + "require = 'most'", "service[0].require", "not 'most'"),
    "require-many": (
        EDGE + DNS.replace("edge1/*", "edge1/1.1.1.1") + "require = 2",
        "service[0].require",
        "2 sessions are required, but only 1 are listed",
    ),
    # secrets
    "variable-missing": (
        "[snmp]\ncommunity = 'env:NOWHERE'\n" + EDGE,
        "snmp.community",
        "the variable NOWHERE is not set: export it where ExaBGP is started, or use file:PATH",
    ),
    "variable-empty": ("[snmp]\ncommunity = 'env:EMPTY'\n" + EDGE, "snmp.community", "the variable EMPTY is empty"),
    "variable-unnamed": (EDGE + "community = 'env:'", "device[0].community", "name of an environment variable"),
    "file-missing": (
        EDGE + "[webhook]\nsecrets = ['a', 'file:none']",
        "webhook.secrets[1]",
        "No such file or directory",
    ),
    "file-directory": (EDGE + "[webhook]\nsecrets = ['file:.']", "webhook.secrets[0]", "Is a directory"),
    "secret-number": ("[snmp]\ncommunity = 12345", "snmp.community", "must be text in quotes: a value, env:NAME or"),
    "secret-empty": ("[webhook]\nsecrets = ['']", "webhook.secrets[0]", "must not be empty"),
    "secret-not-list": ("[webhook]\nsecrets = 'abc'", "webhook.secrets", "must be a list"),
    # nothing to do
    "empty": ("", "", 'has no device: add [[device]] with name = "edge1"'),
    "no-device": ("[site]\nname = 'a'", "", "has no device"),
}


@pytest.mark.parametrize(("text", "where", "words"), BAD.values(), ids=BAD.keys())
def test_bad_files(write, text, where, words):
    path = write(text)
    fault = fault_of(path, EMPTY="")

    place = f"{path}: {where}" if where else str(path)
    assert isinstance(fault, ConfigError)
    matching = [error for error in fault.errors if error.place == place and words in error.text]
    assert matching, "\n".join(map(str, fault.errors))
    assert str(fault) == str(fault.errors[0])
    assert all(len(str(error).splitlines()) == 1 for error in fault.errors)


BROKEN = {
    "syntax": (b"[site]\nname = = 1", "line 2, column 8", "is not TOML: Invalid value"),
    "end": (b"name = 'abc", "end of document", "is not TOML"),
    "twice": (b"[site]\n[site]", "line 2, column 6", "is not TOML"),
    "latin-1": (b"[site]\nname = '\xe9'", "", "is not UTF-8 at byte 15: save it as UTF-8"),
    "deep": (b"a = " + b"[" * 100_000, "", "is nested too deeply"),
    "digits": (b"a = " + b"9" * 5000, "", "is not TOML"),
}


@pytest.mark.parametrize(("text", "where", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_toml(write, text, where, words):
    path = write(text)
    fault = fault_of(path)
    assert fault.place == (f"{path}: {where}" if where else str(path))
    assert words in fault.text


def test_files_that_cannot_be_read(tmp_path):
    assert "no such file" in fault_of(tmp_path / "none.toml").text
    assert "cannot be read (Is a directory)" in fault_of(tmp_path).text


def test_every_fault_is_carried_and_the_first_is_raised(write):
    fault = fault_of(write("[snmp]\ncomunity = 'x'\ninterval = 'y'\n" + EDGE + "prt = 1\n"))
    assert [error.place.partition(": ")[2] for error in fault.errors] == [
        "snmp.interval",
        "snmp.comunity",
        "device[0].prt",
    ]
    assert (fault.place, fault.text) == (fault.errors[0].place, fault.errors[0].text)


def test_a_fault_shared_by_many_devices_is_said_once(write):
    text = "[snmp]\ninterval = 9\nstale_after = 5\n" + EDGE + EDGE.replace("edge1", "edge2")
    assert len(fault_of(write(text)).errors) == 1


SECRET = "hunter2-hunter2"
LEAKS = {
    "misspelled": f"[snmp]\ncomunity = '{SECRET}'",
    "as-list": f"[snmp]\ncommunity = ['{SECRET}']",
    "as-table": f"[snmp]\ncommunity = {{a = '{SECRET}'}}",
    "not-a-list": f"[webhook]\nsecrets = '{SECRET}'",
    "nested-list": f"[webhook]\nsecrets = [['{SECRET}']]",
    "table-is-text": f"webhook = '{SECRET}'",
    "mongodb": EDGE + f"[storage]\nmongodb = '{SECRET}'",
    "hash": f"[[api.key]]\nname = 'a'\nrole = 'read'\nsha256 = '{SECRET}'",
    "variable": EDGE + "[storage]\nmongodb = 'env:THE_SECRET'",
    "half-quoted": f"[snmp]\ncommunity = '{SECRET}",
    "unquoted": f"[snmp]\ncommunity = {SECRET}",
    "beside": f"[snmp]\ncommunity = '{SECRET}'\ninterval = 'x'",
}


@pytest.mark.parametrize("text", LEAKS.values(), ids=LEAKS.keys())
def test_no_error_shows_a_secret(write, text):
    fault = fault_of(write(text), THE_SECRET=SECRET)
    for error in (fault, *fault.errors):
        assert SECRET not in f"{error} {error!r} {error.place} {error.text}"
    # A traceback prints the chain of causes.
    assert fault.__context__ is None
    assert fault.__cause__ is None


@pytest.mark.parametrize("word", sorted(config.WATCHDOG_FATAL))
@pytest.mark.parametrize("name", ["{}", "my-{}-dns", "{}s"])
def test_no_watchdog_holds_a_word_that_harms_exabgp(write, word, name):
    fault = fault_of(write(EDGE + DNS + f"watchdog = '{name.format(word)}'"))
    assert f"holds {word}, which ExaBGP takes for a command of its own: use another name" in fault.text


def test_the_words_that_harm_are_those_of_the_dialect():
    assert config.WATCHDOG_FATAL == dialect._FATAL


@pytest.mark.parametrize(
    "name", ["announce", "withdraw", "version", "teardown", "reload", "help", "enable-ack", "Announce"]
)
def test_no_watchdog_is_called_like_a_command(write, name):
    fault = fault_of(write(EDGE + DNS + f"watchdog = '{name}'"))
    assert fault.place.endswith("service[0].watchdog")
    assert f"'{name}' is a command of ExaBGP: use another name" in fault.text


def test_every_command_of_exabgp_that_ends_a_line_is_no_watchdog():
    # ExaBGP walks its commands from the last letter of the alphabet on, and takes the first that a line ends with.
    words = {name for name in Command.functions if " " not in name and name != "#"}
    assert "version" in words
    allowed = {
        word
        for word in words
        if word not in config._WATCHDOG_COMMANDS and not any(harm in word for harm in config.WATCHDOG_FATAL)
    }
    assert allowed == set()


# --- secrets ----------------------------------------------------------------------------------------------------


def test_secrets_from_variables_and_files(read, tmp_path):
    (tmp_path / "one").write_bytes(b"first\n")
    (tmp_path / "two").write_bytes(b" second \r\n")
    (tmp_path / "three").write_bytes(b"third\n\n")
    settings = read(
        f"""
        [snmp]
        community = "env:WORD"
        [webhook]
        secrets = ["file:one", "file:{tmp_path}/two", "file:three", "plain"]
        [storage]
        mongodb = "env:URI"
        """
        + EDGE,
        WORD="env:OTHER",
        URI="mongodb+srv://db.example.net",
    )
    assert [secret.reveal() for secret in settings.webhook.secrets] == ["first", " second ", "third\n", "plain"]
    # What a variable holds is the secret itself, whatever it looks like.
    assert settings.targets[0].community.reveal() == "env:OTHER"
    assert settings.storage.mongodb == Secret("mongodb+srv://db.example.net")


@pytest.mark.parametrize(("content", "words"), [(b"\n", "is empty"), (b"\xff\xfe", "is not text in UTF-8")])
def test_bad_secret_files(write, content, words):
    write(content, "word")
    assert words in fault_of(write(EDGE + "community = 'file:word'")).text


def test_describe_has_everything_but_the_secrets(read):
    settings = read(
        EDGE
        + DNS
        + f"""
        on_missing = "hold"
        watchdog = "w"
        require = 2
        damping = true
        disable_file = "/run/off"
        [[service.step]]
        up = 1
        communities = ["1:1"]
        [[window]]
        name = "once"
        start = 2026-12-01T02:00:00Z
        sessions = ["edge1/*"]
        [[window]]
        name = "often"
        weekly = "sun,sat 02:00"
        duration = 60
        zone = "Europe/Berlin"
        services = ["dns"]
        action = "withdraw"
        [guard]
        max_withdrawn = "30%"
        [snmp]
        community = "{SECRET}"
        [webhook]
        secrets = ["{SECRET}"]
        [storage]
        mongodb = "mongodb://{SECRET}@db"
        [[api.key]]
        name = "noc"
        role = "read"
        sha256 = "{"a1" * 32}"
        """
    )
    text = json.dumps(describe(settings))
    assert SECRET not in text
    assert "a1a1" not in text
    assert SECRET not in repr(settings)
    described = describe(settings)
    assert described["devices"][0]["community"] == "***"
    assert described["webhook"]["secrets"] == ["***"]
    assert described["services"][0]["selectors"] == ["edge1/*"]
    assert described["services"][0]["routes"][0]["prefix"] == "192.0.2.53/32"
    assert described["services"][0]["on_missing"] == "hold"
    assert described["services"][0]["confirm"] is True
    assert described["services"][0]["routes"][1] == {"name": "w"}
    (step,) = described["services"][0]["steps"]
    assert (step["up"], step["change"]["communities"], step["change"]["med"]) == (1, ["1:1"], None)
    assert described["services"][0]["on_down"] is None
    assert described["services"][0]["damping"]["half_life"] == 60.0
    assert described["services"][0]["disable_file"] == "/run/off"
    assert described["services"][0]["on_disable"] == "withdraw"
    once, often = described["windows"]
    assert once["when"] == {"start": 1796090400.0, "end": None}
    assert (once["sessions"], once["reading"]) == (["edge1/*"], "hold")
    assert often["when"] == {"days": [5, 6], "hour": 2, "minute": 0, "duration": 60.0, "zone": "Europe/Berlin"}
    assert (often["services"], often["action"]) == (["dns"], "withdraw")
    assert described["guard"] == {"max_withdrawn": None, "max_share": 0.3, "within": 60.0}
    assert described["forget_after"] == 86400.0
    assert described["devices"][0]["fast_interval"] == 0.5
    assert described["storage"]["keep_inputs"] == 604800.0
    assert described["api"] == "127.0.0.1:8080"
    assert described["traps"] == "off"


# --- flags and variables ----------------------------------------------------------------------------------------

EVERY_FLAG = Overrides(
    device_name="edge1",
    device_host="192.0.2.1:1161",
    snmp_community="word",
    bfd_oper_status_oid="1.3.6.1.2.1.222.1.2.1.10",
    webhook_secret="signing",
    poll_interval=5.0,
    listen="[::1]:9090",
    db="/data/journal.db",
    log_file="/data/bfd.log",
    log_level="debug",
    lease=10.0,
    prefixes=("192.0.2.53/32", "2001:db8::53/128"),
)
EVERY_VARIABLE = {
    "DEVICE_NAME": "edge1",
    "DEVICE_HOST": "192.0.2.1:1161",
    "SNMP_COMMUNITY": "word",
    "BFD_OPER_STATUS_OID": "1.3.6.1.2.1.222.1.2.1.10",
    "WEBHOOK_HMAC_SECRET": "signing",
    "POLL_INTERVAL": "5",
    "EXABGP_BFD_LISTEN": "[::1]:9090",
    "EXABGP_BFD_DB": "/data/journal.db",
    "EXABGP_BFD_LOG_FILE": "/data/bfd.log",
    "EXABGP_BFD_LOG_LEVEL": "DEBUG",
    "EXABGP_BFD_LEASE": "10",
    "EXABGP_BFD_PREFIX": "192.0.2.53/32, 2001:db8::53/128",
}


@pytest.mark.parametrize(
    ("overrides", "environ"),
    [(EVERY_FLAG, {}), (NO_FLAGS, EVERY_VARIABLE), (EVERY_FLAG, dict.fromkeys(EVERY_VARIABLE, "never/read this"))],
    ids=["flags", "variables", "flags beat variables"],
)
def test_one_device_without_a_file(overrides, environ):
    settings = load(None, overrides, environ)

    (edge,) = settings.targets
    assert (edge.name, edge.host, edge.port, edge.community) == ("edge1", "192.0.2.1", 1161, Secret("word"))
    assert (edge.profile, edge.oid, edge.values) == ("oid", "1.3.6.1.2.1.222.1.2.1.10", "oper")
    assert (edge.interval, edge.stale_after, edge.fast_interval) == (5.0, 15.0, 2.5)
    identity = "192.0.2.1:1161 oid 1.3.6.1.2.1.222.1.2.1.10 oper"
    assert settings.plan.devices == (Device("edge1", 15.0, identity),)
    routes = tuple(Route(ip_network(prefix)) for prefix in ("192.0.2.53/32", "2001:db8::53/128"))
    assert settings.plan.services == (Service("edge1", routes, (Selector("edge1", "*"),)),)
    assert settings.webhook.secrets == (Secret("signing"),)
    assert settings.api == Listen("::1", 9090)
    assert settings.storage.path == Path("/data/journal.db")
    assert (settings.log.file, settings.log.level) == (Path("/data/bfd.log"), "debug")
    assert (settings.speaker.lease, settings.speaker.leased) == (10.0, ("edge1",))
    assert settings.file is None


def test_every_variable_has_a_flag_that_it_stands_in_for():
    assert {*VARIABLES.values()} == {*EVERY_VARIABLE, "EXABGP_BFD_CONFIG"}
    assert VARIABLES["--device-host"] == "DEVICE_HOST"
    assert VARIABLES["--prefix"] == "EXABGP_BFD_PREFIX"


def test_a_device_alone_is_only_observed():
    settings = load(None, Overrides(device_name="edge1", device_host="edge1.example.net"), {})
    assert settings.plan.services == ()
    assert (settings.targets[0].port, settings.targets[0].profile) == (161, "auto")
    assert settings.webhook.secrets == ()


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 161),
        ("r1:1161", "r1", 1161),
        ("2001:db8::1", "2001:db8::1", 161),
        ("[2001:db8::1]", "2001:db8::1", 161),
        ("[2001:db8::1]:1161", "2001:db8::1", 1161),
    ],
)
def test_device_hosts_name_the_device_when_nothing_else_does(written, host, port):
    (edge,) = load(None, NO_FLAGS, {"DEVICE_HOST": written}).targets
    assert (edge.name, edge.host, edge.port) == (host, host, port)


def test_secrets_of_flags_may_be_references(tmp_path):
    (tmp_path / "word").write_text("from a file\n")
    overrides = Overrides(device_host="r1", snmp_community=f"file:{tmp_path / 'word'}", webhook_secret="env:SIGNING")
    settings = load(None, overrides, {"SIGNING": "from a variable"})
    assert settings.targets[0].community.reveal() == "from a file"
    assert settings.webhook.secrets[0].reveal() == "from a variable"


def test_empty_variables_are_not_given(read):
    settings = read(EDGE + DNS, **dict.fromkeys(EVERY_VARIABLE, ""))
    assert settings.plan == read(EDGE + DNS).plan
    assert settings.targets == read(EDGE + DNS).targets


def test_the_file_may_be_named_by_a_variable(write):
    path = write(EDGE)
    assert load(None, NO_FLAGS, {"EXABGP_BFD_CONFIG": str(path)}).file == path
    assert load(path, NO_FLAGS, {"EXABGP_BFD_CONFIG": "/none"}).file == path


FULL = (
    """
    [snmp]
    community = "env:UNSET"
    interval = 2
    [webhook]
    secrets = ["env:UNSET"]
    effect = "record"
    [storage]
    path = "a.db"
    [log]
    level = "error"
    file = "a.log"
    [api]
    listen = "off"
    """
    + EDGE
    + "port = 99\n"
    + DNS
)


def test_flags_beat_the_file(write, tmp_path, monkeypatch):
    overrides = Overrides(
        snmp_community="word",
        webhook_secret="signing",
        poll_interval=4.0,
        listen="127.0.0.1:1",
        db="b.db",
        log_file="b.log",
        log_level="info",
    )
    path = write(FULL)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    settings = load(path, overrides, {})

    (edge,) = settings.targets
    assert (edge.community, edge.interval, edge.stale_after) == (Secret("word"), 4.0, 12.0)
    assert (settings.webhook.secrets, settings.webhook.effect) == ((Secret("signing"),), "record")
    assert settings.api == Listen("127.0.0.1", 1)
    # A path on the command line is relative to where it was typed, one in the file to the file.
    assert settings.storage.path == elsewhere / "b.db"
    assert (settings.log.file, settings.log.level) == (elsewhere / "b.log", "info")


def test_what_a_device_of_the_file_says_itself_stays(read):
    text = EDGE + 'interval = 0.5\ncommunity = "own"\n'
    (edge,) = read(text, Overrides(snmp_community="word", poll_interval="5")).targets
    assert (edge.interval, edge.community) == (0.5, Secret("own"))


def test_a_device_of_flags_is_added_to_those_of_the_file(read):
    overrides = Overrides(device_name="edge2", device_host="192.0.2.2", prefixes=("192.0.2.54/32",))
    settings = read("[snmp]\ncommunity = 'word'\n" + EDGE + DNS, overrides)
    assert [(target.name, target.host, target.community) for target in settings.targets] == [
        ("edge1", "192.0.2.1", Secret("word")),
        ("edge2", "192.0.2.2", Secret("word")),
    ]
    assert [service.name for service in settings.plan.services] == ["dns", "edge2"]


@pytest.mark.parametrize(("host", "port"), [("192.0.2.9", 99), ("192.0.2.9:98", 98)])
def test_a_device_of_the_file_gets_another_host(read, host, port):
    overrides = Overrides(device_name="edge1", device_host=host)
    (edge,) = read(EDGE + "port = 99\ntimeout = 3\n", overrides).targets
    assert (edge.host, edge.port, edge.timeout) == ("192.0.2.9", port, 3.0)


def test_a_service_for_a_device_of_the_file(read):
    settings = read(EDGE, Overrides(device_name="edge1", prefixes=("192.0.2.54/32",)))
    assert settings.plan.services == (
        Service("edge1", (Route(ip_network("192.0.2.54/32")),), (Selector("edge1", "*"),)),
    )


def test_the_file_may_leave_the_devices_to_the_flags(read):
    assert read("[site]\nname = 'a'", Overrides(device_host="r1")).targets[0].name == "r1"


BAD_FLAGS = {
    "nothing": (Overrides(), {}, "", "--device-name NAME --device-host HOST (variables DEVICE_NAME and DEVICE_HOST)"),
    "no-device": (Overrides(prefixes=("1.1.1.1/32",)), {}, "", "nothing to do yet: give --config FILE"),
    "no-host": (Overrides(device_name="a"), {}, "--device-name", "the device a has no address: give --device-host"),
    "no-host-variable": (Overrides(), {"DEVICE_NAME": "a"}, "DEVICE_NAME", "has no address"),
    "name": (Overrides(device_name="a b", device_host="a"), {}, "--device-name", "no slash and no blank"),
    "host": (Overrides(device_host="a b"), {}, "--device-host", "must be a host name or an address"),
    "host-port": (Overrides(), {"DEVICE_HOST": "a:b"}, "DEVICE_HOST", "the port must be a number from 1 to 65535"),
    "oid": (Overrides(device_host="a", bfd_oper_status_oid="x"), {}, "--bfd-oper-status-oid", "a numeric OID"),
    "interval": (
        Overrides(device_host="a"),
        {"POLL_INTERVAL": "ten"},
        "POLL_INTERVAL",
        "must be a number of seconds, not 'ten'",
    ),
    "interval-low": (Overrides(device_host="a", poll_interval=0.0), {}, "--poll-interval", "must be at least 0.05"),
    "interval-nan": (Overrides(device_host="a", poll_interval="nan"), {}, "--poll-interval", "a finite number"),
    "listen": (Overrides(device_host="a", listen="8080"), {}, "--listen", "must be an address and a port"),
    "listen-open": (
        Overrides(device_host="a"),
        {"EXABGP_BFD_LISTEN": "0.0.0.0:8080"},
        "EXABGP_BFD_LISTEN",
        "0.0.0.0 is not loopback: without [[api.key]]",
    ),
    "level": (Overrides(device_host="a", log_level="loud"), {}, "--log-level", "must be 'debug'"),
    "db": (Overrides(device_host="a", db=""), {}, "--db", "must not be empty"),
    "prefix": (Overrides(device_host="a", prefixes=("1.1.1.1/24",)), {}, "--prefix", "has host bits set"),
    "prefix-twice": (
        Overrides(device_host="a", prefixes=("1.1.1.1/32", "1.1.1.1/32")),
        {},
        "--prefix",
        "1.1.1.1/32 is listed twice",
    ),
    "secret": (Overrides(device_host="a", webhook_secret=""), {}, "--webhook-secret", "must not be empty"),
    "community": (Overrides(device_host="a", snmp_community="env:NO"), {}, "--snmp-community", "NO is not set"),
}


@pytest.mark.parametrize(("overrides", "environ", "place", "words"), BAD_FLAGS.values(), ids=BAD_FLAGS.keys())
def test_bad_flags_and_variables(overrides, environ, place, words):
    fault = fault_of(None, overrides, **environ)
    assert fault.place == place
    assert words in fault.text
    assert len(fault.errors) == 1, fault.errors


BAD_TOGETHER = {
    "oid": (
        Overrides(bfd_oper_status_oid="1.3.6.1"),
        "--bfd-oper-status-oid",
        "belongs to a device: give --device-name",
    ),
    "prefix": (Overrides(prefixes=("1.1.1.1/32",)), "--prefix", "belongs to a device: give --device-name"),
    "taken-name": (
        Overrides(device_name="dns", device_host="r1", prefixes=("192.0.2.54/32",)),
        "--prefix",
        "the service dns is already at service[0]",
    ),
    "taken-prefix": (
        Overrides(device_name="edge1", prefixes=("192.0.2.53/32",)),
        "--prefix",
        "192.0.2.53/32 already belongs to the service dns",
    ),
}


@pytest.mark.parametrize(("overrides", "place", "words"), BAD_TOGETHER.values(), ids=BAD_TOGETHER.keys())
def test_flags_that_contradict_the_file(write, overrides, place, words):
    fault = fault_of(write(EDGE + DNS), overrides)
    assert fault.place == place
    assert words in fault.text


def test_an_interval_of_the_environment_must_suit_the_file(write):
    path = write("[snmp]\nstale_after = 10\n" + EDGE)
    fault = fault_of(path, POLL_INTERVAL="30")
    assert fault.place == f"{path}: snmp.stale_after"
    assert "not more than the 30 s between two polls" in fault.text


def test_overrides_keep_their_secrets():
    assert SECRET not in repr(Overrides(snmp_community=SECRET, webhook_secret=SECRET))


# --- the other sites --------------------------------------------------------------------------------------------

SHARED = "[storage]\nmongodb = 'mongodb://db1/bfd'\n"


def test_how_sites_talk_and_which_service_stays_as_the_last(read):
    settings = read(EDGE + DNS)
    assert (settings.sites.heartbeat, settings.sites.fresh) == (5.0, 20.0)
    assert settings.plan.services[0].keep_last is False
    settings = read("[site]\nheartbeat = 2.0\nfresh = 4.0\n" + SHARED + EDGE + DNS + "keep_last = true\n")
    assert (settings.sites.heartbeat, settings.sites.fresh) == (2.0, 4.0)
    assert settings.plan.services[0].keep_last is True
    assert describe(settings)["sites"] == {"heartbeat": 2.0, "fresh": 4.0}


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (EDGE + DNS + "keep_last = true", "service[0].keep_last", "set [storage] mongodb ="),
        (EDGE + DNS + "keep_last = 1", "service[0].keep_last", "must be true or false"),
        ("[site]\nheartbeat = 11.0\n" + EDGE + DNS, "site.fresh", "at least twice the heartbeat (11 s)"),
        ("[site]\nheartbeat = 0.1\n" + EDGE + DNS, "site.heartbeat", "must be at least 0.5"),
        ("[site]\nfresh = 7200.0\n" + EDGE + DNS, "site.fresh", "must be at most 3600"),
    ],
)
def test_what_is_wrong_with_it_is_said_with_the_remedy(write, text, place, said):
    fault = fault_of(write(text))
    assert fault.place.endswith(place)
    assert said in fault.text


# --- what we ship -----------------------------------------------------------------------------------------------


def test_the_reference_loads_without_a_variable_and_shows_the_defaults(read):
    reference = load(CONF / "exabgp-bfd.toml", NO_FLAGS, {})
    plain = read(EDGE + DNS)
    for part in ("speaker", "storage", "sites", "webhook", "notify", "api", "api_keys", "traps", "log", "site"):
        assert getattr(reference, part) == getattr(plain, part), part
    for part in ("record_polls", "windows", "guard", "forget_after"):
        assert getattr(reference.plan, part) == getattr(plain.plan, part), part
    first, default = reference.targets[0], plain.targets[0]
    assert first == default
    shown, plain_service = reference.plan.services[0], plain.plan.services[0]
    for field in dataclasses.fields(Service):
        if field.name not in {"routes", "selectors"}:
            assert getattr(shown, field.name) == getattr(plain_service, field.name), field.name
    # All but the next hop, which has to be an address for the IPv6 prefix beside it.
    like_plain = {"prefix": plain_service.routes[0].prefix, "next_hop": "self"}
    assert dataclasses.replace(shown.routes[0], **like_plain) == plain_service.routes[0]


def test_the_reference_names_every_key_and_every_commented_key_is_one(write, tmp_path):
    """Uncommenting every example gives a file whose keys are all known, and that has all of them."""
    lines = (CONF / "exabgp-bfd.toml").read_text().splitlines()
    text = "\n".join(line.removeprefix("# ") if line.startswith("# [") or _is_setting(line) else line for line in lines)
    text = text.replace('profile = "auto"\n', 'profile = "oid"\n', 1)
    for name in ("cert.pem", "key.pem"):
        text = text.replace(f"/etc/exabgp-bfd/{name}", name)
        (tmp_path / name).write_text("PEM")
    text = text.replace("/etc/exabgp-bfd/ca.pem", "ca.pem")
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    path = write(text)
    secrets = {
        "SNMP_COMMUNITY": "a",
        "WEBHOOK_HMAC_SECRET": "b",
        "ALERTMANAGER_SECRET": "c",
        "NOTIFY_SECRET": "whsec_" + "bm9ib2R5LW1heS1zZWUtdGhpcy1zZWNyZXQtZXZlcg==",
        "SNMP_AUTH_KEY": "an auth key",
        "SNMP_PRIV_KEY": "a key too",
    }
    settings = load(path, NO_FLAGS, secrets)
    assert settings.traps is not None
    assert settings.traps.listen == (Listen("127.0.0.1", 1162),)
    assert [user.name for user in settings.traps.users] == ["notifier"]
    assert settings.api_keys[0].name == "noc"
    told, usual = settings.notify[0], Endpoint("", Secret(""), ())
    for name in ("format", "events", "timeout", "tries", "max_age", "max_queue"):  # as the reference says
        assert getattr(told, name) == getattr(usual, name), name

    assert [type(rule.when) for rule in settings.plan.windows] == [Span, Weekly]
    assert [len(service.steps) for service in settings.plan.services] == [0, 1, 2]
    assert settings.plan.services[1].damping == Damping()

    raw = tomllib.loads(text)
    for keys, table in config._TABLES.items():
        inherited = set(config._SnmpKeys.model_fields) if keys == ("device",) else set()
        assert set(table.model_fields) - inherited <= _keys_at(raw, *keys), keys


def _keys_at(raw: object, *keys: str) -> set[str]:
    """The keys of a table, or of all tables of a list, which need not be in every one."""
    if isinstance(raw, list):
        return {name for item in raw for name in _keys_at(item, *keys)}
    if not isinstance(raw, dict):
        return set()  # on_down = "withdraw", where a table may stand too
    return _keys_at(raw.get(keys[0]), *keys[1:]) if keys else set(raw)


def _is_setting(line: str) -> bool:
    name, equals, _ = line.removeprefix("# ").partition(" = ")
    return line.startswith("# ") and bool(equals) and name.isidentifier() and name != "profile"


def test_profiles_are_those_that_the_mibs_know():
    assert {*PROFILES} == {"auto", "oid", *mibs.PROFILES}


@pytest.mark.live
def test_exabgp_accepts_our_conf_ini():
    # The program of the process stanza is looked for in PATH: ours is beside this interpreter.
    folder = Path(sys.executable).parent
    environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    command = [folder / "exabgp", "validate", "-n", "-r", CONF / "conf.ini"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "192.0.2.254" in done.stdout + done.stderr


# --- the doors of the API -------------------------------------------------------------------------------------------


def test_endpoints_of_alerts(read, tmp_path):
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    more = 'services = ["d*"]\nevents = ["bfd_*"]\ntimeout = "3s"\nmax_age = "1h"\nca = "ca.pem"\n'
    plain = '[[notify]]\nname = "chat"\nurl = "env:CHAT"\nsecrets = ["hush"]\n'
    settings = read(EDGE + DNS + NOC + more + plain, CHAT="http://user:word@[2001:db8::1]:8080/x?y=z")
    noc, chat = settings.notify
    assert (noc.name, noc.address, noc.format) == ("noc", "https://alerts.example.net", "both")
    assert (noc.timeout, noc.max_age, noc.tries) == (3.0, 3600.0, 8)
    assert (noc.services, noc.devices, noc.events, noc.ca) == (("d*",), (), ("bfd_*",), CERTIFICATE)
    assert (chat.address, chat.format, chat.url.reveal()[-4:]) == ("http://[2001:db8::1]:8080", "github", "?y=z")
    assert chat.events == USUAL_EVENTS
    shown = f"{settings!r} {describe(settings)}"
    for secret in ("T0P", "word", WHSEC, "hush", "?y=z"):
        assert secret not in shown


@pytest.mark.parametrize("url", ["https://user:word@h:99999/T0P", "http://[::1/T0P", "ftp://word@h/T0P", "T0P"])
def test_no_fault_tells_of_a_url(write, url):
    text = EDGE + NOC.replace("https://alerts.example.net/T0P", url)
    fault = fault_of(write(text))
    assert fault.place.endswith("notify[0].url")
    assert not {"T0P", "word", "99999"} & {*re.findall(r"\w+", str(fault))}


def test_senders_networks_rates_and_a_certificate(write, tmp_path):
    (tmp_path / "cert.pem").write_text("a certificate")
    (tmp_path / "key.pem").write_text("its private key")
    text = f"""{EDGE}
[webhook]
secrets = ["hidden-1"]
effect = "record"
[[webhook.sender]]
name = "am"
secrets = ["hidden-2", "env:AM"]
format = "alertmanager"
auth = "bearer"
[[webhook.sender]]
name = "watcher"
secrets = ["whsec_aGlkZGVuLWhpZGRlbi1oaWRkZW4taGlkZGVuLTQ="]
effect = "observe"
[api]
tls_certificate = "cert.pem"
tls_key = "key.pem"
networks = ["127.0.0.0/8", "2001:db8::/32"]
trusted_proxies = ["127.0.0.1/32"]
[api.rates]
requests = 0
failures = 2.5
[[api.key]]
name = "noc"
role = "admin"
sha256 = "{"5" * 64}"
networks = ["192.0.2.0/24"]
"""
    settings = load(write(text), NO_FLAGS, {"AM": "hidden-3"})
    am, watcher = settings.webhook.senders
    assert (am.name, am.effect, am.format, am.auth, am.repeats) == ("am", "probe", "alertmanager", "bearer", True)
    assert [secret.reveal() for secret in am.secrets] == ["hidden-2", "hidden-3"]
    assert (watcher.effect, watcher.format, watcher.auth, watcher.repeats) == ("observe", None, "signature", False)
    assert settings.api_tls is not None
    assert settings.api_tls.certificate == tmp_path / "cert.pem"
    assert settings.api_networks == (ip_network("127.0.0.0/8"), ip_network("2001:db8::/32"))
    assert settings.api_proxies == (ip_network("127.0.0.1/32"),)
    assert (settings.api_rates.requests, settings.api_rates.burst, settings.api_rates.failures) == (0, 200, 2.5)
    assert settings.api_keys[0].networks == (ip_network("192.0.2.0/24"),)
    for shown in (repr(settings), str(describe(settings))):
        assert not any(secret in shown for secret in ("hidden-", "aGlkZGVu", "5" * 64, "private key"))
    (tmp_path / "cert.pem").write_text("another certificate")
    assert load(write(text), NO_FLAGS, {"AM": "hidden-3"}).api_tls != settings.api_tls
