"""Notifications of every profile, checked against the facts of the vendors' MIBs."""

import random
from ipaddress import ip_address

import pytest
from pyasn1.codec.ber import decoder, encoder
from pyasn1.error import PyAsn1Error
from pyasn1.type import univ
from pysnmp.proto import api, rfc1902

from exabgp_bfd.core.model import State
from exabgp_bfd.sources.snmp.mibs import PROFILES
from exabgp_bfd.sources.snmp.notifications import _KNOWN, _SETS, MAX_RANGE, Hint, notified, translated
from exabgp_bfd.sources.snmp.trap_message import MAX_VARBINDS, MalformedError, enveloped, noticed, response

UP, DOWN = State.UP, State.DOWN
V1, V2C = api.PROTOCOL_MODULES[api.SNMP_VERSION_1], api.PROTOCOL_MODULES[api.SNMP_VERSION_2C]

# name: what the MIB has before .0.1 and .0.2, and the column (bfdSessDiag) whose instances are the range. Taken from
# the MIBs' texts, not from mibs.py: RFC 7331; CISCO-IETF-, FOUNDRY-, EXTREME-IETF-, FS-, QTECH-, RAISECOM-, AX-,
# ZTE-AN-BFD-STD-MIB, BFD-EXPERIMENT-MIB. Aricent's and Supermicro's numbers are those of their draft, unseen.
RANGED = {
    "bfd-std": ("1.3.6.1.2.1.222", "1.3.6.1.2.1.222.1.2.1.13"),
    "cisco": ("1.3.6.1.4.1.9.10.137", "1.3.6.1.4.1.9.10.137.1.2.1.8"),
    "juniper": ("1.3.6.1.4.1.2636.5.3.1", "1.3.6.1.4.1.2636.5.3.1.1.2.1.8"),
    "foundry": ("1.3.6.1.4.1.1991.3.3.1", "1.3.6.1.4.1.1991.3.3.1.1.2.1.8"),
    "extreme": ("1.3.6.1.4.1.1916.1.43.2", "1.3.6.1.4.1.1916.1.43.2.1.2.1.12"),
    "fs": ("1.3.6.1.4.1.52642.1.1.10.2.48", "1.3.6.1.4.1.52642.1.1.10.2.48.1.2.1.12"),
    "qtech": ("1.3.6.1.4.1.27514.1.1.10.2.48", "1.3.6.1.4.1.27514.1.1.10.2.48.1.2.1.12"),
    "raisecom": ("1.3.6.1.4.1.8886.1.35", "1.3.6.1.4.1.8886.1.35.1.2.1.12"),
    "alaxala": ("1.3.6.1.4.1.21839.2.4.1.201", "1.3.6.1.4.1.21839.2.4.1.201.1.2.1.12"),
    "zte-an": ("1.3.6.1.4.1.3902.1015.16", "1.3.6.1.4.1.3902.1015.16.1.2.1.13"),
    "aricent": ("1.3.6.1.4.1.29601.2.54", "1.3.6.1.4.1.29601.2.54.2.1.1.12.0"),
    "supermicro": ("1.3.6.1.4.1.10876.101.2.54", "1.3.6.1.4.1.10876.101.2.54.2.1.1.12.0"),
}

MUTE = {"omniswitch", "omniswitch6", "eltex"}
"""Profiles whose MIBs have no notification of a session's state: alaBfd has none at all, Eltex's was not found."""

HUAWEI = "1.3.6.1.4.1.2011.5.25.38"
ROW = f"{HUAWEI}.2.3.1"
COMWARE = {
    "h3c": "1.3.6.1.4.1.25506.2.72",
    "hpn-icf": "1.3.6.1.4.1.11.2.14.11.15.2.72",
    "h3c-old": "1.3.6.1.4.1.2011.10.2.72",
    "3com": "1.3.6.1.4.1.43.45.1.10.2.72",
}
NOKIA = "1.3.6.1.4.1.6527.3.1.3.3.0"
NOKIA_INDEX = "1.1.1.3.1.4.192.0.2.1.1.4.192.0.2.2"


def test_every_profile_has_its_notifications_or_is_known_to_have_none():
    told = {layout.profile for layout, _ in _SETS}
    assert told == (set(PROFILES) - MUTE) | {"pan-traps"}


def test_no_notification_is_two():
    """An OID in two sets, or an SNMPv1 spelling that is another's OID, would be read as the one that came last."""
    assert len(_KNOWN) == 2 * sum(len(set_) for _, set_ in _SETS)


@pytest.mark.parametrize("name", RANGED)
@pytest.mark.parametrize(("number", "said"), [(1, UP), (2, DOWN)])
def test_a_range(name, number, said):
    base, diagnostic = RANGED[name]
    prefix = "0." if diagnostic.endswith(".0") else ""
    # The values contradict the state, as some vendors' do: they are not read.
    hint = notified(f"{base}.0.{number}", [(f"{diagnostic}.7", 4), (f"{diagnostic}.12", 1)])
    assert hint == Hint(name, said, f"{prefix}7", f"{prefix}12")
    assert [index for index in range(5, 15) if hint.covers(f"{prefix}{index}")] == list(range(7, 13))
    assert not hint.somewhere


@pytest.mark.parametrize("name", RANGED)
def test_one_session(name):
    base, diagnostic = RANGED[name]
    hint = notified(f"{base}.0.2", [(f"{diagnostic}.7", 2), (f"{diagnostic}.7", 2)])
    assert (hint.low, hint.high) == (hint.high, hint.low)
    assert hint.covers(hint.low)
    assert not hint.covers(hint.low + "0")
    assert not hint.covers(hint.low + ".1")


def test_the_ends_of_a_range_in_any_order():
    base, diagnostic = RANGED["bfd-std"]
    hint = notified(f"{base}.0.2", [(f"{diagnostic}.12", 2), (f"{diagnostic}.7", 2)])
    assert [index for index in range(5, 15) if hint.covers(str(index))] == list(range(7, 13))


@pytest.mark.parametrize(
    ("low", "high"), [("1", "4294967295"), ("1", str(1 + MAX_RANGE)), ("0.7", "1.8"), ("7", "0.8"), ("7.1", "8")]
)
def test_a_range_that_nobody_has(low, high):
    base, diagnostic = RANGED["bfd-std"]
    hint = notified(f"{base}.0.2", [(f"{diagnostic}.{low}", 2), (f"{diagnostic}.{high}", 2)])
    assert hint == Hint("bfd-std", DOWN, details={"range": f"{low}-{high}"})
    assert hint.somewhere
    assert not hint.covers("7")


def test_the_widest_range():
    base, diagnostic = RANGED["bfd-std"]
    hint = notified(f"{base}.0.2", [(f"{diagnostic}.1", 2), (f"{diagnostic}.{MAX_RANGE}", 2)])
    assert hint.covers(str(MAX_RANGE))


@pytest.mark.parametrize("varbinds", [[], [("1.3.6.1.2.1.1.5.0", b"edge1")], [("1.3.6.1.2.1.222.1.2.1.13", 2)]])
def test_no_instance_is_the_whole_device(varbinds):
    hint = notified("1.3.6.1.2.1.222.0.2", varbinds)
    assert hint == Hint("bfd-std", DOWN)
    assert hint.somewhere


def test_one_instance_is_both_ends():
    hint = notified("1.3.6.1.2.1.222.0.1", [("1.3.6.1.2.1.222.1.2.1.13.7", 4)])
    assert (hint.low, hint.high) == ("7", "7")


def test_exos_gives_the_higher_end_in_another_column():
    base, diagnostic = RANGED["extreme"]
    hint = notified(f"{base}.0.2", [(f"{diagnostic}.7", 2), (f"{base}.1.2.1.13.9", 2)])
    assert (hint.low, hint.high) == ("7", "9")


def test_junos_names_the_interface():
    base, diagnostic = RANGED["juniper"]
    name = ("1.3.6.1.4.1.2636.3.45.1.2.1.0", b"xe-1/2/0.0")
    hint = notified(f"{base}.0.2", [(f"{diagnostic}.4524", 2), (f"{diagnostic}.4524", 2), name])
    assert hint == Hint("juniper", DOWN, "4524", "4524", interface="xe-1/2/0.0")


def test_fs_names_the_interface():
    base, diagnostic = RANGED["fs"]
    more = [(f"{base}.1.2.1.17.7", 3), (f"{base}.1.2.1.37.7", b"TenGigabitEthernet 0/3"), (f"{base}.1.2.1.38.7", b"x")]
    hint = notified(f"{base}.0.1", [(f"{diagnostic}.7", 0), (f"{diagnostic}.9", 0), *more])
    assert hint == Hint("fs", UP, "7", "9", interface="TenGigabitEthernet 0/3", if_index=3)


@pytest.mark.parametrize(("number", "said"), [(1, UP), (2, DOWN)])
def test_slx_names_one_session(number, said):
    row = "1.3.6.1.2.1.222.1.2.1"
    varbinds = [
        *((f"{row}.13.7", 3), (f"{row}.18.7", 201), (f"{row}.19.7", 1), (f"{row}.20.7", bytes([192, 0, 2, 1]))),
        *((f"{row}.21.7", 1), (f"{row}.22.7", bytes([192, 0, 2, 2])), ("1.3.6.1.2.1.31.1.1.1.1.201", b"Ethernet 0/1")),
        ("1.3.6.1.4.1.1916.1.55.1.1.0", b"default-vrf"),
    ]
    assert notified(f"1.3.6.1.4.1.1916.1.55.0.{number}", varbinds) == Hint(
        "bfd-std",
        said,
        "7",
        "7",
        peer=ip_address("192.0.2.2"),
        local=ip_address("192.0.2.1"),
        interface="Ethernet 0/1",
        if_index=201,
        details={"diagnostic_number": 3},
    )


@pytest.mark.parametrize(("number", "said"), [(1, UP), (2, DOWN)])
def test_zte_gives_the_index_as_a_value(number, said):
    column = "1.3.6.1.4.1.3902.3.322.1.2.1.1"
    assert notified(f"1.3.6.1.4.1.3902.3.322.0.{number}", [(f"{column}.1", 7), (f"{column}.1", 9)]) == Hint(
        "zte", said, "7", "9"
    )
    assert notified(f"1.3.6.1.4.1.3902.3.322.0.{number}", [(f"{column}.1", b"7")]).somewhere


@pytest.mark.parametrize(("number", "said"), [("3.1", DOWN), ("3.2", UP)])
def test_huawei(number, said):
    # As a switch logs it (hwBfdSessDown, CE series): peer by IPv4, IPv6 unspecified, no configuration name.
    varbinds = [
        *((f"{ROW}.4.16385", b"-"), (f"{ROW}.5.16385", "10.1.0.1"), (f"{ROW}.6.16385", 3)),
        *((f"{ROW}.7.16385", b"GE1/0/1"), (f"{ROW}.18.16385", 1), (f"{ROW}.20.16385", 0)),
        *((f"{ROW}.21.16385", b"_public_"), (f"{ROW}.27.16385", "0.0.0.0"), (f"{ROW}.36.16385", bytes(16))),
    ]
    assert notified(f"{HUAWEI}.{number}", varbinds) == Hint(
        "huawei",
        said,
        "16385",
        "16385",
        peer=ip_address("10.1.0.1"),
        interface="GE1/0/1",
        if_index=3,
        details={"diagnostic_number": 1, "vrf": "_public_"},
    )


@pytest.mark.parametrize(
    ("number", "said"), [("3.13", DOWN), ("3.14", UP), ("3.1", DOWN), ("6.2.0.3", UP), ("6.2.0.4", DOWN)]
)
def test_huawei_ipv6(number, said):
    peer = ip_address("2001:db8::1")
    hint = notified(f"{HUAWEI}.{number}", [(f"{ROW}.5.9", "0.0.0.0"), (f"{ROW}.36.9", peer.packed)])
    assert (hint.said, hint.low, hint.high, hint.peer) == (said, "9", "9", peer)


@pytest.mark.parametrize(("number", "said"), [("3.8", DOWN), ("3.9", UP)])
def test_huawei_vrp8(number, said):
    varbinds = [
        *((f"{ROW}.4.9", b"to-core"), (f"{ROW}.8.9", 16387), (f"{ROW}.18.9", 9), (f"{ROW}.7.9", b"100GE1/0/1")),
        *((f"{ROW}.62.9", b"x"), (f"{ROW}.56.9", ip_address("2001:db8::2").packed), (f"{ROW}.66.9", b"neighbor down")),
    ]
    assert notified(f"{HUAWEI}.{number}", varbinds) == Hint(
        "huawei",
        said,
        "9",
        "9",
        peer=ip_address("2001:db8::2"),
        discriminator=16387,
        interface="100GE1/0/1",
        details={"name": "to-core", "diagnostic_number": 9},
    )


@pytest.mark.parametrize("number", range(1, 9))
def test_huaweis_third_set(number):
    varbinds = [(f"{ROW}.8.5", 16390), (f"{ROW}.19.5", "10.0.0.1"), (f"{ROW}.1.5", 5), (f"{ROW}.5.5", "10.0.0.2")]
    assert notified(f"{HUAWEI}.6.2.0.{number}", varbinds) == Hint(
        "huawei",
        UP if number in {1, 3, 5, 7} else DOWN,
        "5",
        "5",
        peer=ip_address("10.0.0.2"),
        local=ip_address("10.0.0.1"),
        discriminator=16390,
    )


def test_only_the_standards_family_has_ranges():
    hint = notified(f"{HUAWEI}.3.1", [(f"{ROW}.5.9", "10.0.0.1"), (f"{ROW}.7.12", b"GE1/0/1")])
    assert (hint.low, hint.high) == ("9", "9")


@pytest.mark.parametrize("number", ["3.3", "3.7", "3.11", "3.12", "3.20", "6.2.0.9", "6.2.0.0"])
def test_huaweis_others_are_no_states(number):
    assert notified(f"{HUAWEI}.{number}", [(f"{ROW}.4.9", b"to-core")]) is None


@pytest.mark.parametrize("name", COMWARE)
@pytest.mark.parametrize(("number", "said"), [(1, None), (3, UP), (4, DOWN)])
@pytest.mark.parametrize("index", ["35769", "12.35769"])
def test_comware_in_both_forms_of_the_index(name, number, said, index):
    base = COMWARE[name]
    row = [(f"{base}.1.3.1.{column}.{index}", value) for column, value in ((2, 12), (1, 35769), (12, 3))]
    texts = [(f"{base}.3.1.0", b"to-core"), (f"{base}.3.2.0", b"red"), (f"{base}.3.3.0", b"192.0.2.1")]
    texts.append((f"{base}.3.4.0", b"2001:db8::1:2:33"))  # 16 characters, and no address in octets
    assert notified(f"{base}.0.{number}", row + texts) == Hint(
        name,
        said,
        index,
        index,
        peer=ip_address("2001:db8::1:2:33"),
        local=ip_address("192.0.2.1"),
        details={"name": "to-core", "vrf": "red"},
    )


def test_comwares_failed_authentication_is_no_state():
    assert notified(f"{COMWARE['h3c']}.0.2", []) is None


@pytest.mark.parametrize(
    ("number", "said", "table", "column", "name"),
    [
        (61, DOWN, 92, 16, "nokia"),
        (62, UP, 92, 16, "nokia"),
        (63, None, 92, 16, "nokia"),
        (17, DOWN, 34, 14, "nokia-old"),
        (28, UP, 34, 14, "nokia-old"),
        (33, None, 34, 14, "nokia-old"),
    ],
)
def test_nokia(number, said, table, column, name):
    place = f"1.3.6.1.4.1.6527.3.1.2.3.{table}.1.{column}.{NOKIA_INDEX}"
    hint = notified(f"{NOKIA}.{number}", [(place, 524293)])
    assert hint == Hint(name, said, NOKIA_INDEX, NOKIA_INDEX, discriminator=524293)
    assert hint.covers(NOKIA_INDEX)


@pytest.mark.parametrize(("number", "said"), [(69, DOWN), (70, UP), (71, None)])
def test_nokias_next_generation_has_a_table_that_no_profile_has(number, said):
    hint = notified(f"{NOKIA}.{number}", [("1.3.6.1.4.1.6527.3.1.2.3.116.1.5.1.2.3", 5)])
    assert hint == Hint("nokia", said)
    assert hint.somewhere


@pytest.mark.parametrize(
    ("oid", "objects", "name"),
    [
        ("1.3.6.1.4.1.9.9.1002.0.1", "1.3.6.1.4.1.9.9.1002.2.3", "cisco-sdwan"),
        ("1.3.6.1.4.1.41916.100.2.4", "1.3.6.1.4.1.41916.100.1.4", "viptela"),
    ],
)
@pytest.mark.parametrize("peer", [b"203.0.113.7", bytes([203, 0, 113, 7]), "203.0.113.7"])
def test_sdwan(oid, objects, name, peer):
    head, _, number = objects.rpartition(".")
    varbinds = [(f"{objects}.0", bytes([192, 0, 2, 7])), (f"{head}.{int(number) + 1}.0", peer)]
    assert notified(oid, varbinds) == Hint(name, peer=ip_address("203.0.113.7"), local=ip_address("192.0.2.7"))


@pytest.mark.parametrize("number", range(3500, 3505))
def test_palo_alto_is_the_whole_device(number):
    hint = notified(f"1.3.6.1.4.1.25461.2.1.3.2.0.{number}", [("1.3.6.1.4.1.25461.2.1.3.1.303.0", b"text")])
    assert hint == Hint("pan-traps")
    assert hint.somewhere


@pytest.mark.parametrize(
    "oid", ["1.3.6.1.6.3.1.1.5.3", "1.3.6.1.2.1.222.0.3", "1.3.6.1.2.1.222.0", "1.3.6.1.2.1.2220.0.1", "", "1"]
)
def test_other_notifications(oid):
    assert notified(oid, [("1.3.6.1.2.1.222.1.2.1.13.7", 2)]) is None


@pytest.mark.parametrize("mischief", [-1, 2**64, b"", b"\xff" * 300, "", "1.2", "0.0.0.0"])
def test_values_that_mean_nothing(mischief):
    """Whatever a value is, only what it means is missing: addresses, names and numbers that are none."""
    columns = (4, 5, 6, 7, 8, 18, 19, 21, 36, 37, 56)
    hint = notified(f"{HUAWEI}.3.1", [(f"{ROW}.{column}.9", mischief) for column in columns])
    assert (hint.low, hint.high, hint.peer, hint.local) == ("9", "9", None, None)
    assert hint.interface is None or len(hint.interface) <= 64
    assert hint.if_index is None or hint.if_index > 0


# --- SNMPv1 (RFC 3584 section 3.1) ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("generic", "oid"), [(0, "1.3.6.1.6.3.1.1.5.1"), (3, "1.3.6.1.6.3.1.1.5.4")])
def test_a_generic_trap(generic, oid):
    assert translated("1.3.6.1.4.1.9", generic, 5) == oid


@pytest.mark.parametrize("enterprise", ["1.3.6.1.2.1.222", "1.3.6.1.2.1.222.0"])
def test_an_enterprise_with_and_without_its_zero(enterprise):
    hint = notified(translated(enterprise, 6, 2), [("1.3.6.1.2.1.222.1.2.1.13.7", 1)])
    assert (hint.said, hint.low) == (DOWN, "7")


def test_an_enterprise_that_was_written_for_snmpv1():
    """Huawei's have no zero before their number, and get one on the way (RFC 3584 section 3.1)."""
    assert notified(translated(f"{HUAWEI}.3", 6, 1), [(f"{ROW}.5.9", "10.0.0.1")]).said is DOWN


# --- octets: ours and pysnmp's ----------------------------------------------------------------------------------------

VALUES = [
    (rfc1902.Integer32(-(2**31)), -(2**31)),
    (rfc1902.Integer32(2**31 - 1), 2**31 - 1),
    (rfc1902.Integer32(0), 0),
    (rfc1902.Unsigned32(2**32 - 1), 2**32 - 1),
    (rfc1902.Counter32(2**31), 2**31),
    (rfc1902.Counter64(2**64 - 1), 2**64 - 1),
    (rfc1902.TimeTicks(128), 128),
    (rfc1902.OctetString(b""), b""),
    (rfc1902.OctetString(bytes(range(256))), bytes(range(256))),
    (rfc1902.IpAddress("192.0.2.255"), "192.0.2.255"),
    (rfc1902.ObjectIdentifier("1.3.6.1.4.1.4294967295.128.127.0"), "1.3.6.1.4.1.4294967295.128.127.0"),
    (rfc1902.ObjectIdentifier("0.0"), "0.0"),
    (rfc1902.ObjectIdentifier("2.999.3"), "2.999.3"),
    (rfc1902.Opaque(b"\x9f\x78"), b"\x9f\x78"),
    (rfc1902.Null(""), b""),
]


def message(api_, pdu, community=b"public") -> bytes:
    whole = api_.Message()
    api_.apiMessage.set_defaults(whole)
    api_.apiMessage.set_community(whole, community)
    api_.apiMessage.set_pdu(whole, pdu)
    return encoder.encode(whole)


def second(varbinds, *, inform=False, number=77, up_time=42, trap="1.3.6.1.2.1.222.0.2") -> bytes:
    pdu = V2C.InformRequestPDU() if inform else V2C.TrapPDU()
    V2C.apiPDU.set_defaults(pdu)
    V2C.apiPDU.set_request_id(pdu, number)
    head = [("1.3.6.1.2.1.1.3.0", rfc1902.TimeTicks(up_time)), ("1.3.6.1.6.3.1.1.4.1.0", univ.ObjectIdentifier(trap))]
    V2C.apiPDU.set_varbinds(pdu, [(univ.ObjectIdentifier(oid), value) for oid, value in [*head, *varbinds]])
    return message(V2C, pdu)


def first(enterprise, specific, varbinds, generic=6) -> bytes:
    pdu = V1.TrapPDU()
    V1.apiTrapPDU.set_defaults(pdu)
    V1.apiTrapPDU.set_enterprise(pdu, enterprise)
    V1.apiTrapPDU.set_generic_trap(pdu, generic)
    V1.apiTrapPDU.set_specific_trap(pdu, specific)
    V1.apiTrapPDU.set_timestamp(pdu, 42)
    V1.apiTrapPDU.set_agent_address(pdu, "198.51.100.1")
    V1.apiTrapPDU.set_varbinds(pdu, [(univ.ObjectIdentifier(oid), value) for oid, value in varbinds])
    return message(V1, pdu)


def read(datagram: bytes):
    envelope = enveloped(datagram)
    return noticed(datagram[envelope.pdu], envelope.version)


@pytest.mark.parametrize("inform", [False, True])
def test_every_value_as_pysnmp_writes_it(inform):
    varbinds = [(f"1.3.6.1.4.1.1.{place}", value) for place, (value, _) in enumerate(VALUES)]
    datagram = second(varbinds, inform=inform)
    assert enveloped(datagram).version == 1
    assert enveloped(datagram).community == b"public"
    notice = read(datagram)
    assert (notice.trap_oid, notice.inform, notice.number) == ("1.3.6.1.2.1.222.0.2", inform, 77)
    assert notice.up_time == 42
    assert notice.varbinds == tuple((f"1.3.6.1.4.1.1.{place}", plain) for place, (_, plain) in enumerate(VALUES))


@pytest.mark.parametrize("generic", range(7))
def test_version_1_as_pysnmp_writes_it(generic):
    varbinds = [(f"1.3.6.1.4.1.1.{place}", V1.Integer(place)) for place in range(3)]
    notice = read(first("1.3.6.1.2.1.222", 2, varbinds, generic))
    assert notice.trap_oid == ("1.3.6.1.2.1.222.0.2" if generic == 6 else f"1.3.6.1.6.3.1.1.5.{generic + 1}")
    assert notice.varbinds == tuple((f"1.3.6.1.4.1.1.{place}", place) for place in range(3))
    assert not notice.inform


def test_the_answer_to_an_inform_as_pysnmp_reads_it():
    datagram = second([("1.3.6.1.2.1.222.1.2.1.13.7", rfc1902.Integer32(2))], inform=True)
    envelope = enveloped(datagram)
    reply, rest = decoder.decode(
        datagram[: envelope.pdu.start] + response(datagram[envelope.pdu]), asn1Spec=V2C.Message()
    )
    pdu = V2C.apiMessage.get_pdu(reply)
    assert rest == b""
    assert pdu.isSameTypeWith(V2C.GetResponsePDU(), matchConstraints=False)
    assert int(V2C.apiPDU.get_request_id(pdu)) == 77
    assert int(V2C.apiPDU.get_error_status(pdu)) == 0
    assert len(V2C.apiPDU.get_varbinds(pdu)) == 3


def test_a_notification_without_its_oid_is_none():
    pdu = V2C.TrapPDU()
    V2C.apiPDU.set_defaults(pdu)
    V2C.apiPDU.set_varbinds(pdu, [(univ.ObjectIdentifier("1.3.6.1.2.1.1.3.0"), rfc1902.TimeTicks(1))])
    with pytest.raises(MalformedError):
        read(message(V2C, pdu))


@pytest.mark.parametrize("kind", ["GetRequestPDU", "GetResponsePDU", "SetRequestPDU", "GetBulkRequestPDU"])
def test_other_pdus_are_no_notifications(kind):
    pdu = getattr(V2C, kind)()
    (V2C.apiBulkPDU if kind == "GetBulkRequestPDU" else V2C.apiPDU).set_defaults(pdu)
    with pytest.raises(MalformedError):
        read(message(V2C, pdu))


def test_version_1s_trap_in_a_message_of_version_2c():
    datagram = bytearray(first("1.3.6.1.2.1.222", 2, []))
    datagram[4] = 1
    assert enveloped(bytes(datagram)).version == 1
    with pytest.raises(MalformedError):
        read(bytes(datagram))


def test_an_unsigned_number_without_its_leading_zero():
    datagram = second([("1.3.6.1.4.1.1.1", rfc1902.OctetString(b"\xff\xff\xff\xfe"))])
    assert read(datagram[:-6] + b"\x42" + datagram[-5:]).varbinds == (("1.3.6.1.4.1.1.1", 2**32 - 2),)
    assert read(datagram[:-6] + b"\x02" + datagram[-5:]).varbinds == (("1.3.6.1.4.1.1.1", -2),)


def test_too_many_values():
    some = [("1.3.6.1.4.1.1.1", rfc1902.Integer32(1))] * (MAX_VARBINDS - 2)
    assert len(read(second(some)).varbinds) == MAX_VARBINDS - 2
    with pytest.raises(MalformedError):
        read(second([*some, some[0]]))


@pytest.mark.parametrize("arcs", [b"\x80\x01", b"\x2b\x80\x01", b"\x2b\x86", b"", b"\x2b" + b"\xff" * 5 + b"\x01"])
def test_oids_that_are_none(arcs):
    datagram = second([("1.3.6.1.4.1.1.1", univ.OctetString(arcs))])
    assert datagram.endswith(bytes([4, len(arcs)]) + arcs)
    as_oid = datagram[: -len(arcs) - 2] + bytes([6, len(arcs)]) + arcs
    with pytest.raises(MalformedError):
        read(as_oid)


def test_octets_at_random():
    """Nothing but MalformedError comes out of whatever is sent, and what is read of mutants, pysnmp reads as well."""
    chance = random.Random(7331)
    row = "1.3.6.1.2.1.222.1.2.1.13"
    seeds = [
        second([(f"{row}.7", rfc1902.Integer32(2)), (f"{row}.9", rfc1902.Integer32(2))]),
        second([(f"{ROW}.36.9", rfc1902.OctetString(bytes(16)))], inform=True, trap=f"{HUAWEI}.3.1"),
        first("1.3.6.1.2.1.222", 2, [(f"{row}.7", V1.Integer(2))]),
    ]
    read_well = refused = compared = 0
    for round_ in range(6000):
        datagram = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 3)):
            match chance.randrange(3):
                case 0:
                    datagram[chance.randrange(len(datagram))] = chance.randrange(256)
                case 1:
                    del datagram[chance.randrange(len(datagram)) :]
                case _:
                    datagram[chance.randrange(len(datagram)) : 0] = chance.randbytes(chance.randint(1, 4))
            if not datagram:
                datagram = bytearray(b"\x30")
        try:
            notice = read(bytes(datagram))
        except MalformedError:
            refused += 1
            continue
        notified(notice.trap_oid, notice.varbinds)
        read_well += 1
        if round_ % 20 == 0 and notice.number and not any(value == b"" for _, value in notice.varbinds):
            try:
                whole, _ = decoder.decode(bytes(datagram), asn1Spec=V2C.Message())
            except PyAsn1Error:
                continue
            theirs = [str(oid) for oid, _ in V2C.apiPDU.get_varbinds(V2C.apiMessage.get_pdu(whole))]
            ours = [oid for oid, _ in notice.varbinds]
            assert [oid for oid in theirs if oid in ours] == ours
            compared += 1
    assert read_well > 300
    assert refused > 1000
    assert compared > 5
