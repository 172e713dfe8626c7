"""The SNMP proxy's jobs, against real agents on loopback: what is read, bounds, cancelling, keeping, and an end."""

import gc
import json
import logging
import os
import socket
import threading
from dataclasses import replace
from importlib import import_module
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.stage import V2C, Stage, sockets_to, wait_until
from pysnmp.entity import config

from exabgp_bfd.core.credentials import Context, User
from exabgp_bfd.core.jobs import (
    Credentials,
    JobEndedError,
    JobKind,
    JobPart,
    JobRefusedError,
    JobRequest,
    JobsFullError,
    JobStatus,
    no_data,
)
from exabgp_bfd.core.model import ConfigError, Secret, SourceError, State
from exabgp_bfd.sources.snmp import jobs as room
from exabgp_bfd.sources.snmp import permitted as lookups
from exabgp_bfd.sources.snmp.jobs import Jobs, JobSettings
from exabgp_bfd.sources.snmp.permitted import permitted
from exabgp_bfd.sources.snmp.readings import valued
from exabgp_bfd.sources.snmp.target import Target
from exabgp_bfd.sources.snmp.usm import SHARED

COMMUNITY = "c0mmunity-never-to-be-shown"
HERE = ip_network("127.0.0.0/8")
NAME = "1.3.6.1.2.1.1.5.0"
TREE = "1.3.6.1.4.1.99999.1"
IF = (1, 3, 6, 1, 2, 1, 2, 2, 1)
IFX = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1)
NEW_ARP = (1, 3, 6, 1, 2, 1, 4, 35, 1)
OLD_ARP = (1, 3, 6, 1, 2, 1, 4, 22, 1)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.close()


@pytest.fixture
def router(stage):
    return stage.router(COMMUNITY)


@pytest.fixture
def make():
    """Jobs with settings; each is closed at the end."""
    made = []

    def build(targets=(), *, clock=None, resolve=None, **settings):
        settings.setdefault("allow", (HERE,))
        more = {"clock": clock} if clock else {}
        jobs = Jobs(JobSettings(**settings), targets, resolve=resolve, **more)
        made.append(jobs)
        return jobs

    yield build
    for jobs in made:
        assert jobs.close(10)
    wait_until(lambda: not [one for one in threading.enumerate() if one.name == "snmp-jobs"])


def device(port, name="edge1", **more):
    return Target(name, "127.0.0.1", Secret(COMMUNITY), port=port, timeout=2.0, **more)


def asked(kind, port=None, **more):
    credentials = Credentials(community=Secret(COMMUNITY))
    if port is not None:
        more = {"host": f"127.0.0.1:{port}", "credentials": credentials, "timeout": 2.0, **more}
    return JobRequest(JobKind(kind), **more)


def walk(port, **more):
    return asked("walk", port, oids=(TREE,), **more)


def ended(jobs, view):
    def look():
        seen = jobs.status(view.ticket)
        return seen if seen is not None and seen.status.ended else None

    return wait_until(look)


def data(view):
    return json.loads(view.data)


def rows_of(router, count, value="x"):
    for number in range(1, count + 1):
        router.table.put((*map(int, TREE.split(".")), number), V2C.OctetString(value))


# --- what is read -------------------------------------------------------------------------------------------------


def test_get_gives_every_instance_in_order_and_says_which_are_missing(make, router):
    router.table.put((1, 3, 6, 1, 4, 1, 9, 1, 0), V2C.Counter64(2**64 - 1))
    router.table.put((1, 3, 6, 1, 4, 1, 9, 2, 0), V2C.OctetString(b"\x00\x1c\x73\xff"))
    router.table.put((1, 3, 6, 1, 4, 1, 9, 3, 0), V2C.IpAddress("192.0.2.7"))
    router.table.put((1, 3, 6, 1, 4, 1, 9, 4, 0), V2C.OctetString("Zürich\r\n".encode()))
    oids = (NAME, *(f"1.3.6.1.4.1.9.{number}.0" for number in (4, 3, 2, 1, 9)))
    view = ended(jobs := make(), jobs.submit(asked("get", router.port, oids=oids), "noc"))
    assert view.status is JobStatus.COMPLETE, view.error
    assert data(view) == {
        "snmp_data": [
            {"oid": NAME, "type": "text", "value": "simulator"},
            {"oid": oids[1], "type": "text", "value": "Zürich\r\n"},
            {"oid": oids[2], "type": "dotted", "value": "192.0.2.7"},
            {"oid": oids[3], "type": "hex", "value": "0x001c73ff"},
            {"oid": oids[4], "type": "integer", "value": 18446744073709551615},
            {"oid": oids[5], "type": "missing", "value": None},
        ],
        "interfaces": [],
        "arp_table": [],
        "bfd_sessions": [],
    }
    assert b"18446744073709551615" in view.data  # in digits, not as a float
    assert (view.actor, view.kind, view.target) == ("noc", "get", f"127.0.0.1:{router.port}")
    assert view.progress_detail == {"values": 6}
    assert view.progress_percent == 100
    assert set(view.timing) == {"get", "total"}
    assert view.created <= view.started <= view.finished


def test_a_configured_device_is_asked_with_its_own_credentials_whatever_is_allowed(make, router):
    jobs = make([device(router.port)], allow=())
    view = ended(jobs, jobs.submit(asked("get", device="edge1", oids=(NAME,)), "noc"))
    assert data(view)["snmp_data"][0]["value"] == "simulator"
    assert view.target == "edge1"
    jobs.set_devices([device(router.port, "edge2")])
    with pytest.raises(ConfigError, match="there is no device 'edge1'"):
        jobs.submit(asked("get", device="edge1", oids=(NAME,)), "noc")
    assert ended(jobs, jobs.submit(asked("get", device="edge2", oids=(NAME,)), "noc")).status == "complete"


@pytest.mark.parametrize(("most", "truncated"), [(49, True), (50, False), (51, False)])
def test_a_walk_gives_so_many_rows_and_says_whether_there_are_more(make, router, most, truncated):
    rows_of(router, 50)
    view = ended(jobs := make(), jobs.submit(walk(router.port, max_rows=most), "noc"))
    assert view.status is JobStatus.COMPLETE, view.error
    found = data(view)["snmp_data"]
    assert [row["oid"] for row in found] == [f"{TREE}.{number}" for number in range(1, min(most, 50) + 1)]
    assert view.truncated is truncated


def test_what_a_walk_finds_beyond_the_room_for_a_result_is_left_out(make, router):
    rows_of(router, 300, "y" * 100)
    view = ended(jobs := make(max_result=10_000), jobs.submit(walk(router.port), "noc"))
    assert view.status is JobStatus.COMPLETE, view.error
    assert view.truncated
    assert 50 < len(data(view)["snmp_data"]) < 100
    assert len(view.data) < 10_200


def test_authentication_keys_are_withheld(make, router):
    keys = "1.3.6.1.2.1.222.1.2.1.35", "1.3.6.1.4.1.1916.1.43.2.1.2.1.34"  # RFC 7331, and a draft of it
    jobs = make()
    for key in keys:
        router.table.put((*map(int, key.split(".")), 1), V2C.OctetString("bfd-key-of-a-router"))
        for request in (
            asked("get", router.port, oids=(f"{key}.1",)),
            asked("walk", router.port, oids=(key.rsplit(".", 3)[0],)),
        ):
            view = ended(jobs, jobs.submit(request, "noc"))
            assert {"oid": f"{key}.1", "type": "withheld", "value": None} in data(view)["snmp_data"]
            assert b"bfd-key" not in view.data
        assert valued(f"{key}0.1", 5)["value"] == 5  # another column, whose number only begins the same


def test_a_poll_reads_all_four_parts(make, router):
    table = router.table
    router.add("192.0.2.1", State.UP, interface="xe-0/0/0", local="192.0.2.2", discriminator=17)
    router.add("2001:db8::1", State.DOWN, interface="xe-0/0/1")
    for index, (speed, high) in enumerate([(1_000_000_000, 1000), (2**32 - 1, 100_000)], 1):
        table.put((*IF, 3, index), V2C.Integer32(6))
        table.put((*IF, 5, index), V2C.Gauge32(speed))
        table.put((*IF, 6, index), V2C.OctetString(bytes([0, 0x1C, 0x73, 0xAA, 0xBB, index])))
        table.put((*IF, 7, index), V2C.Integer32(1))
        table.put((*IF, 8, index), V2C.Integer32(index))
        table.put((*IF, 10, index), V2C.Counter32(77))
        table.put((*IFX, 15, index), V2C.Gauge32(high))
    table.put((*IFX, 6, 2), V2C.Counter64(2**53 + 1))
    table.put((*IFX, 18, 1), V2C.OctetString("to the core"))
    table.put((*NEW_ARP, 4, 2, 1, 4, 198, 51, 100, 7), V2C.OctetString(b"\x02\x00\x00\x00\x00\x07"))
    table.put((*NEW_ARP, 6, 2, 1, 4, 198, 51, 100, 7), V2C.Integer32(3))
    table.put((*NEW_ARP, 7, 2, 1, 4, 198, 51, 100, 7), V2C.Integer32(1))
    six = ip_address("2001:db8::7").packed
    table.put((*NEW_ARP, 4, 1, 2, 16, *six), V2C.OctetString(b"\x02\x00\x00\x00\x00\x08"))
    table.put((*OLD_ARP, 2, 2, 203, 0, 113, 1), V2C.OctetString(b"\x02\x00\x00\x00\x00\x09"))
    jobs = make([device(router.port)])
    view = ended(jobs, jobs.submit(asked("poll", device="edge1"), "noc"))
    assert (view.status, view.error) == ("complete", None)
    found = data(view)
    assert set(view.timing) == {"system_info", "interfaces", "arp", "bfd", "total"}
    assert view.progress_detail["system_oids"] == 3
    assert view.progress_detail["interfaces_walked"] == 2
    assert view.progress_detail["arp_walked"] == 2
    assert view.progress_detail["bfd_walked"] == 2

    system = found["snmp_data"]
    assert system["sysDescr"] == "simulated router of exabgp-bfd"
    assert system["sysName"] == "simulator"
    assert isinstance(system["sysUpTime"], int)

    first, second = found["interfaces"]
    assert (first["index"], first["name"], first["alias"]) == (1, "xe-0/0/0", "to the core")
    assert first["description"] == "interface xe-0/0/0"
    assert (first["speed"], second["speed"]) == (1_000_000_000, 100_000_000_000)
    assert first["mac"] == "00:1C:73:AA:BB:01"
    assert (first["admin_status"], first["oper_status"], second["oper_status"]) == ("up", "up", "down")
    assert (first["in_octets"], first["counter_bits"]) == (77, 32)
    assert (second["in_octets"], second["counter_bits"]) == (2**53 + 1, 64)
    assert first["mtu"] is None

    arp = {row["ip"]: row for row in found["arp_table"]}
    assert set(arp) == {"198.51.100.7", "2001:db8::7"}
    assert arp["198.51.100.7"] == {
        "ip": "198.51.100.7",
        "mac": "02:00:00:00:00:07",
        "interface_index": 2,
        "interface": "xe-0/0/1",
        "type": "dynamic",
        "state": "reachable",
    }
    assert arp["2001:db8::7"]["type"] is None

    bfd = {row["peer"]: row for row in found["bfd_sessions"]}
    assert set(bfd) == {"192.0.2.1", "2001:db8::1"}
    up = bfd["192.0.2.1"]
    assert (up["state"], up["local"], up["interface"]) == ("up", "192.0.2.2", "xe-0/0/0")
    assert (up["discriminator"], up["profile"], up["vrf"]) == (17, "bfd-std", None)
    assert (up["remote_discriminator"], up["multiplier"], up["up_count"]) == (18, 3, 1)
    assert (up["min_tx"], up["min_rx"], up["negotiated_tx"]) == (300_000, 300_000, 300_000)
    assert up["down_count"] is None
    assert bfd["2001:db8::1"]["state"] == "down"
    assert bfd["2001:db8::1"]["diagnostic"] == "control_detection_time_expired"
    assert [(table["profile"], table["sessions"]) for table in found["bfd_tables"]] == [("bfd-std", 2)]


def test_the_older_arp_table_is_read_where_the_newer_one_is_empty(make, router):
    router.table.put((*OLD_ARP, 2, 7, 203, 0, 113, 1), V2C.OctetString(b"\x02\x00\x00\x00\x00\x09"))
    router.table.put((*OLD_ARP, 4, 7, 203, 0, 113, 1), V2C.Integer32(4))
    view = ended(jobs := make(), jobs.submit(asked("poll", router.port, parts=(JobPart.ARP,)), "noc"))
    assert data(view)["arp_table"] == [
        {
            "ip": "203.0.113.1",
            "mac": "02:00:00:00:00:09",
            "interface_index": 7,
            "interface": None,
            "type": "static",
            "state": None,
        }
    ]
    assert set(view.timing) == {"arp", "total"}


def test_a_part_that_cannot_be_read_does_not_hide_the_others(make, router, monkeypatch):
    async def broken(client, heard):
        raise SourceError("192.0.2.1 answered genErr for 1.3.6.1")

    monkeypatch.setattr(room.readings, "interfaces", broken)
    router.add("192.0.2.1")
    view = ended(jobs := make(), jobs.submit(asked("poll", router.port), "noc"))
    assert view.status is JobStatus.FAILED
    assert view.error == "interfaces: 192.0.2.1 answered genErr for 1.3.6.1"
    assert data(view)["snmp_data"]["sysName"] == "simulator"
    assert len(data(view)["bfd_sessions"]) == 1


def test_a_silent_device_is_asked_for_nothing_more_after_its_first_silence(make, router):
    router.silent = True
    jobs = make()
    request = asked("poll", router.port, timeout=0.2, retries=1)
    view = ended(jobs, jobs.submit(request, "noc"))
    assert view.status is JobStatus.FAILED
    assert view.error.startswith("system: no answer from 127.0.0.1:")
    assert COMMUNITY not in view.error
    assert set(view.timing) == {"system_info", "total"}
    assert data(view) == no_data(JobKind.POLL)
    assert jobs.counters.failed == 1


def test_version_1_is_spoken_too(make, router):
    credentials = Credentials("1", Secret(COMMUNITY))
    request = asked("get", router.port, credentials=credentials, oids=(NAME, "1.3.6.1.4.1.9.9.0"))
    view = ended(jobs := make(), jobs.submit(request, "noc"))
    assert [row["type"] for row in data(view)["snmp_data"]] == ["text", "missing"]


def test_each_context_of_a_device_is_read(make, stage):
    default = stage.router(COMMUNITY)
    default.add("192.0.2.1")
    jobs = make([device(default.port, contexts=(Context(""), Context("red", Secret("red-community-hidden"))))])
    view = ended(jobs, jobs.submit(asked("poll", device="edge1", timeout=0.3, parts=(JobPart.BFD,)), "noc"))
    found = data(view)
    assert [(one["context"], one["profile"]) for one in found["bfd_tables"]] == [("", "bfd-std"), ("red", None)]
    assert "no answer" in found["bfd_tables"][1]["notes"][0]  # another community, so that it is silent
    assert b"red-community" not in view.data
    assert [row["peer"] for row in found["bfd_sessions"]] == ["192.0.2.1"]


# --- whom -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "where"),
    [
        ("192.0.2.9", ("192.0.2.9", 161)),
        ("192.0.2.9:1161", ("192.0.2.9", 1161)),
        ("::ffff:192.0.2.9", ("192.0.2.9", 161)),
        ("[::ffff:c000:209]:99", ("192.0.2.9", 99)),
        ("2001:db8::9", ("2001:db8::9", 161)),
        ("[2001:DB8:0::9]:1161", ("2001:db8::9", 1161)),
        ("[2001:db8::9]", ("2001:db8::9", 161)),
    ],
)
def test_an_allowed_host_in_each_spelling(host, where):
    allow = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
    assert permitted(host, allow) == (ip_address(where[0]), where[1])


ODD = [
    *("2130706433", "0x7f.1", "0x7f000001", "127.1", "0177.0.0.1", "127.0.0.1.", "127.0.0.01", "1.2.3.4.5", "0"),
    *("0x7F.0.0.0x1", "fe80::1%eth0", "[fe80::1%25eth0]:161", "127.0.0.1%lo", "::1%lo", "127.0.0.1:0", "127.0.0.1:"),
    *("127.0.0.1:65536", "", ":161", "[]:161", "[127.0.0.1]:161", "[::1", "::1]", "[::1]161", "[::1]:", "1::2::3"),
    *("a b", "a/b", "a@b", "http://127.0.0.1", "127.0.0.1\n", "127.0.0.1\0", "\uff11\uff12\uff17.0.0.1", "a\r\n"),
    *("-a.example", "a..b", "x" * 254, "0.0.0.0", "::", "[::]:161", "255.255.255.255", "224.0.0.1", "ff02::1"),
    *("::ffff:0.0.0.0", "0.0.0.0:161"),
]  # fmt: skip


@pytest.mark.parametrize("host", ODD, ids=repr)
def test_what_is_no_plain_host_is_refused_even_where_everything_is_allowed(host):
    def nobody(name):
        raise AssertionError(f"{name} was looked up")

    with pytest.raises(ConfigError) as caught:
        permitted(host, (ip_network("0.0.0.0/0"), ip_network("::/0")), nobody)
    assert caught.value.place == "host"


HOSTS = st.one_of(
    st.text(max_size=40),
    st.from_regex(r"[0-9xa-f.]{1,16}(:[0-9]{1,5})?", fullmatch=True),
    st.from_regex(r"\[?[0-9a-f:.%]{1,30}\]?(:[0-9]{1,5})?", fullmatch=True),
    st.ip_addresses().map(str),
)


@given(HOSTS)
def test_whatever_is_written_only_an_allowed_address_is_asked(host):
    allow = (ip_network("192.0.2.0/24"), ip_network("c000::/3"))
    resolved = []

    def resolve(name):
        resolved.append(name)
        return [ip_address("127.0.0.1"), ip_address("::1")]

    try:
        address, port = permitted(host, allow, resolve)
    except (ConfigError, JobRefusedError):
        pass
    else:
        assert any(address in network for network in allow)
        assert 1 <= port <= 65535
    for name in resolved:  # only what nothing could take for an address
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo(name, None, flags=socket.AI_NUMERICHOST)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::ffff:127.0.0.1", "[::ffff:7f00:1]:161", "::1", "198.51.100.1", "192.0.3.0", "2001:db9::"]
)
def test_a_host_outside_the_allowed_networks_is_refused_with_the_remedy(host):
    with pytest.raises(JobRefusedError, match=r"\[snmp_proxy\] allow"):
        permitted(host, (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))


def test_without_allowed_networks_no_name_is_looked_up():
    with pytest.raises(JobRefusedError, match="no configured device"):
        permitted("edge9.example", (), lambda name: pytest.fail("looked up"))


def test_a_name_is_looked_up_once_and_the_address_found_is_the_one_that_is_asked(make, router):
    answers = [[ip_address("127.0.0.1")], [ip_address("192.0.2.66")]]

    def rebinding(name):
        assert name == "edge9.example"
        return answers.pop(0)

    jobs = make(resolve=rebinding)
    request = asked("get", router.port, host=f"edge9.example:{router.port}", oids=(NAME,))
    view = ended(jobs, jobs.submit(request, "noc"))
    assert view.status is JobStatus.COMPLETE
    assert view.target == f"127.0.0.1:{router.port}"
    assert len(answers) == 1
    with pytest.raises(JobRefusedError, match=r"edge9.example \(192.0.2.66\) is in no network"):
        jobs.submit(request, "noc")
    assert jobs.counters.refused == 1


def test_of_several_addresses_an_allowed_one_is_asked():
    found = [ip_address(one) for one in ("198.51.100.1", "::ffff:192.0.2.5", "192.0.2.6")]
    assert permitted("edge9", (ip_network("192.0.2.0/24"),), lambda name: found)[0] == ip_address("192.0.2.5")


def test_localhost_is_looked_up_for_real():
    assert permitted("localhost", (HERE, ip_network("::1")))[0].is_loopback


def test_a_name_nobody_knows_and_a_resolver_that_hangs(monkeypatch):
    def unknown(*_, **__):
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(lookups.socket, "getaddrinfo", unknown)
    monkeypatch.setattr(lookups, "numeric", lambda host: False)
    with pytest.raises(SourceError, match="cannot be resolved: Name or service"):
        permitted("edge9", (HERE,))
    held, begun = threading.Event(), []

    def hang(*_, **__):
        begun.append(1)
        held.wait(20)
        return []

    monkeypatch.setattr(lookups.socket, "getaddrinfo", hang)
    monkeypatch.setattr(lookups, "NAMED_WITHIN", 0.02)
    try:
        texts = []
        for _ in range(6):
            with pytest.raises(SourceError) as caught:
                permitted("edge9", (HERE,))
            texts.append(str(caught.value))
        assert ["was not resolved" in text for text in texts] == [True] * 4 + [False] * 2
        assert len(begun) == 4  # no more threads than that may hang
    finally:
        held.set()
    wait_until(lambda: not [one for one in threading.enumerate() if one.name == "snmp-lookup"])


# --- many -----------------------------------------------------------------------------------------------------------


def test_two_hundred_tickets(make, router):
    jobs = make([device(router.port)], queue=200)
    views = [jobs.submit(asked("get", device="edge1", oids=(NAME,)), f"key-{n % 3}") for n in range(200)]
    assert len({view.ticket for view in views}) == 200
    seen = [ended(jobs, view) for view in views]
    assert {view.status for view in seen} == {JobStatus.COMPLETE}
    assert [view.number for view in seen] == list(range(1, 201))
    assert jobs.counters.complete == 200
    wait_until(lambda: not sockets_to(router.port))
    listed = jobs.jobs(50)
    assert [view.number for view in listed] == list(range(200, 150, -1))
    assert [view.number for view in jobs.jobs(1000, 3)] == [2, 1]
    assert {view.data for view in listed} == {b""}
    assert {view.actor for view in listed} == {"key-0", "key-1", "key-2"}


def test_so_many_run_at_once_and_so_many_wait(make, stage):
    agent = stage.endless(0.2)
    jobs = make(concurrency=2, queue=3)
    views = [jobs.submit(walk(agent.port), "noc") for _ in range(2)]
    wait_until(lambda: jobs.counters.running == 2)
    views += [jobs.submit(walk(agent.port), "noc") for _ in range(3)]
    counters = jobs.counters
    assert (counters.running, counters.queued) == (2, 3)
    with pytest.raises(JobsFullError, match="3 SNMP jobs wait"):
        jobs.submit(walk(agent.port), "noc")
    assert jobs.counters.turned_away == 1
    assert jobs.status(views[4].ticket).status is JobStatus.QUEUED
    jobs.cancel(views[0].ticket, "noc")
    wait_until(lambda: jobs.status(views[2].ticket).status is JobStatus.RUNNING)
    assert jobs.counters.running == 2
    jobs.submit(walk(agent.port), "noc")


# --- cancelling and ending --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["pysnmp", "gufo"])
def test_a_walk_is_cancelled_in_its_middle_and_its_socket_is_gone(make, stage, engine):
    if engine == "gufo":
        if os.environ.get("EXABGP_BFD_REQUIRE_ALL") == "1":
            import_module("gufo.snmp")
        pytest.importorskip("gufo.snmp", reason="gufo_snmp is missing: pip install exabgp-bfd[fast]")
    agent = stage.endless()
    jobs = make([device(agent.port, engine=engine)])
    view = jobs.submit(asked("walk", device="edge1", oids=(TREE,), max_rows=100_000), "noc")
    running = wait_until(lambda: (seen := jobs.status(view.ticket)).progress_detail.get("rows", 0) > 40 and seen)
    assert running.status is JobStatus.RUNNING
    assert running.progress == f"{running.progress_detail['rows']} rows"
    assert running.progress_percent is None
    assert running.elapsed > 0
    assert running.data == b""
    assert sockets_to(agent.port) >= 1
    cancelled = jobs.cancel(view.ticket, "noc")
    assert cancelled.status is JobStatus.CANCELLED
    assert sockets_to(agent.port) == 0
    assert jobs.counters.cancelled == 1
    assert jobs.cancel(view.ticket, "noc").status is JobStatus.CANCELLED  # said twice is said once
    stage.run(pause(0.1))
    heard = agent.asked
    stage.run(pause(0.2))
    assert agent.asked == heard


async def pause(seconds):
    await room.asyncio.sleep(seconds)


def test_a_job_that_waits_is_cancelled_before_it_begins(make, stage):
    agent = stage.endless()
    jobs = make(concurrency=1)
    first = jobs.submit(walk(agent.port), "noc")
    second = jobs.submit(walk(agent.port), "noc")
    assert jobs.cancel(second.ticket, "noc").status is JobStatus.CANCELLED
    view = jobs.status(second.ticket)
    assert (view.started, view.elapsed, view.timing) == (None, 0.0, {})
    assert view.finished is not None
    jobs.cancel(first.ticket, "noc")
    assert jobs.counters.queued == 0


def test_a_job_that_is_cancelled_in_the_moment_of_its_beginning_ends_too(make, router, monkeypatch):
    jobs = make(concurrency=1)
    begin = jobs._pump

    def begin_and_cancel():
        begin()
        for job in tuple(jobs._running):
            job.task.cancel()

    monkeypatch.setattr(jobs, "_pump", begin_and_cancel)
    view = ended(jobs, jobs.submit(asked("get", router.port, oids=(NAME,)), "noc"))
    assert view.status is JobStatus.CANCELLED
    assert jobs.counters.running == 0


@pytest.mark.parametrize("how", ["cancelled", "late", "stopped"])
def test_a_cancellation_that_a_library_loses_is_said_again(make, monkeypatch, how):
    class Deaf:
        """Loses two cancellations, as up to Python 3.11 a `wait_for` may lose one."""

        lost, closed = 0, False

        async def walk(self, column, progress=None, limit=None):
            progress(1)
            while self.lost < 2:
                try:
                    await room.asyncio.sleep(60)
                except room.asyncio.CancelledError:
                    self.lost += 1
            await room.asyncio.sleep(60)

        async def close(self):
            self.closed = True

    deaf = Deaf()
    monkeypatch.setattr(room, "connect", lambda target, keys: deaf)
    jobs = make(timeout=0.1 if how == "late" else 60.0)
    view = jobs.submit(walk(9), "noc")
    wait_until(lambda: jobs.status(view.ticket).progress_detail)
    if how == "stopped":
        assert jobs.close(10)
    seen = jobs.cancel(view.ticket, "noc") if how == "cancelled" else ended(jobs, view)
    assert (deaf.lost, deaf.closed) == (2, True)
    assert (seen.status, seen.error) == {
        "cancelled": (JobStatus.CANCELLED, None),
        "late": (JobStatus.FAILED, "not done within 0.1 s"),
        "stopped": (JobStatus.CANCELLED, "the program stops"),
    }[how]


def test_what_has_ended_cannot_be_cancelled(make, router):
    jobs = make()
    view = ended(jobs, jobs.submit(asked("get", router.port, oids=(NAME,)), "noc"))
    with pytest.raises(JobEndedError, match="complete already"):
        jobs.cancel(view.ticket, "noc")
    assert jobs.cancel("0" * 36, "noc") is None
    assert jobs.status("0" * 36) is None
    assert jobs.status(view.ticket).status is JobStatus.COMPLETE


def test_a_job_has_a_deadline(make, stage):
    agent = stage.endless()
    view = ended(jobs := make(timeout=0.3), jobs.submit(walk(agent.port, max_rows=100_000), "noc"))
    assert (view.status, view.error) == (JobStatus.FAILED, "not done within 0.3 s")
    assert sockets_to(agent.port) == 0


def test_the_end_leaves_nothing(stage):
    agent = stage.endless()
    jobs = Jobs(JobSettings(allow=(HERE,), concurrency=2))
    views = [jobs.submit(walk(agent.port), "noc") for _ in range(4)]
    wait_until(lambda: agent.asked > 2)
    assert jobs.close(10)
    assert sockets_to(agent.port) == 0
    assert not [one for one in threading.enumerate() if one.name == "snmp-jobs"]
    seen = [jobs.status(view.ticket) for view in views]
    assert {(view.status, view.error) for view in seen} == {(JobStatus.CANCELLED, "the program stops")}
    with pytest.raises(JobsFullError, match="the program stops"):
        jobs.submit(walk(agent.port), "noc")
    assert jobs.close()


def test_without_jobs_there_is_no_thread(make):
    jobs = make()
    assert jobs.status("x") is None
    assert not [one for one in threading.enumerate() if one.name == "snmp-jobs"]
    assert jobs.close()


# --- keeping --------------------------------------------------------------------------------------------------------


def test_results_are_kept_so_long(make, router):
    clock = Clock()
    jobs = make([device(router.port)], clock=clock, keep=3600.0)
    view = ended(jobs, jobs.submit(asked("get", device="edge1", oids=(NAME,)), "noc"))
    clock.now += 3599
    assert jobs.status(view.ticket) is not None
    assert jobs.counters.kept_bytes > 0
    clock.now += 1
    assert jobs.status(view.ticket) is None
    assert jobs.jobs(10) == ()
    assert jobs.counters.kept_bytes == 0
    assert jobs.counters.dropped == 0  # that was their time


def test_results_are_forgotten_although_nobody_asks(make, router):
    jobs = make([device(router.port)], keep=0.2)
    jobs.submit(asked("get", device="edge1", oids=(NAME,)), "noc")
    wait_until(lambda: jobs.counters.complete)
    wait_until(lambda: jobs.counters.kept_bytes == 0)


def test_the_oldest_results_make_room(make, router):
    rows_of(router, 100, "z" * 100)
    jobs = make(max_bytes=50_000)
    views = []
    for _ in range(6):
        views.append(jobs.submit(walk(router.port), "noc"))
        wait_until(lambda: jobs.counters.complete == len(views))
    counters = jobs.counters
    assert counters.dropped >= 2
    assert counters.kept_bytes <= 50_000
    kept = [jobs.status(view.ticket) is not None for view in views]
    assert kept == sorted(kept)  # the first are gone, the last are there
    assert kept.count(False) == counters.dropped
    assert kept[-1]


@pytest.mark.parametrize("name", ["concurrency", "queue", "keep", "timeout", "max_bytes"])
def test_settings_that_allow_nothing_are_refused(name):
    with pytest.raises(ConfigError, match=name):
        JobSettings(**{name: 0})


# --- secrets --------------------------------------------------------------------------------------------------------


def kept_secrets(text):
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, Secret) and str.encode(one.reveal()) == text.encode()]


def test_credentials_are_gone_when_the_job_has_ended_and_are_told_nowhere(make, stage, router, caplog):
    caplog.set_level(logging.DEBUG)
    agent = stage.endless()
    jobs = make(concurrency=2)
    texts = []

    def submit(kind, port, **more):
        texts.append(f"s3cret-{len(texts)}-of-this-test")
        credentials = Credentials(community=Secret(texts[-1]))
        request = asked(kind, port, credentials=credentials, **{"timeout": 0.2, "retries": 0, **more})
        assert texts[-1] not in repr(request)
        return jobs.submit(request, "noc")

    failed = ended(jobs, submit("get", router.port, oids=(NAME,)))  # another community: silence
    cancelled = submit("walk", agent.port, oids=(TREE,), timeout=20.0, max_rows=100_000)
    wait_until(lambda: agent.asked > 2)
    assert kept_secrets(texts[-1])  # it is looked for rightly
    assert not any(text in repr(job) for text in texts for job in jobs._jobs.values())
    cancelled = jobs.cancel(cancelled.ticket, "noc")
    texts.append("s3cret-refused")
    elsewhere = asked("get", 1, host="192.0.2.1", credentials=Credentials(community=Secret(texts[-1])))
    with pytest.raises(JobRefusedError) as refused:
        jobs.submit(elsewhere, "noc")
    assert (failed.status, cancelled.status) == ("failed", "cancelled")
    shown = [repr(jobs.jobs(9)), repr(failed), repr(cancelled), str(refused.value), repr(refused.value), caplog.text]
    del refused, elsewhere
    caplog.clear()
    for text in texts:
        assert not any(text in one for one in shown)
        wait_until(lambda text=text: not kept_secrets(text))


def test_version_3_is_spoken_and_its_keys_are_gone_afterwards(make, stage, router, caplog):
    caplog.set_level(logging.DEBUG)
    hidden = "auth-pass-phrase", "priv-pass-phrase"
    router.add("192.0.2.1")

    async def know_the_user():
        config.add_v3_user(
            *(router._engine, "noc", config.USM_AUTH_HMAC192_SHA256, hidden[0], config.USM_PRIV_CFB128_AES, hidden[1])
        )
        config.add_vacm_user(router._engine, 3, "noc", "authPriv", (1, 3, 6))

    stage.run(know_the_user())
    before = [cache.cache_info().currsize for cache in (SHARED.master, SHARED.auth, SHARED.priv)]
    jobs = make()
    user = User("noc", "sha256", Secret(hidden[0]), "aes128", Secret(hidden[1]))
    credentials = Credentials("3", None, user)
    request = asked("poll", router.port, credentials=credentials)
    view = ended(jobs, jobs.submit(request, "noc"))
    assert (view.status, view.error) == (JobStatus.COMPLETE, None)
    assert data(view)["snmp_data"]["sysName"] == "simulator"
    assert [row["peer"] for row in data(view)["bfd_sessions"]] == ["192.0.2.1"]
    wrong = replace(credentials, user=replace(user, auth_key=Secret("another-pass-phrase")))
    failed = ended(jobs, jobs.submit(asked("get", router.port, credentials=wrong, oids=(NAME,)), "noc"))
    assert failed.status is JobStatus.FAILED
    assert "another-pass" not in failed.error + caplog.text
    assert not any(text in caplog.text + repr(request) + repr(jobs.jobs(9)) for text in hidden)
    assert [cache.cache_info().currsize for cache in (SHARED.master, SHARED.auth, SHARED.priv)] == before
    del request, credentials, user, wrong
    for text in hidden:
        wait_until(lambda text=text: not kept_secrets(text))


def test_what_nobody_foresaw_is_told_without_its_text(make, router, monkeypatch, caplog):
    async def broken(client, oids):
        raise ValueError(f"no idea what {COMMUNITY} is")

    monkeypatch.setattr(room.readings, "instances", broken)
    view = ended(jobs := make(), jobs.submit(asked("get", router.port, oids=(NAME,)), "noc"))
    assert view.status is JobStatus.FAILED
    assert "ValueError" in view.error
    assert "in broken" in caplog.text  # where it went wrong
    assert COMMUNITY not in caplog.text + view.error
