"""Rows of BFD tables become sessions and observations, with names that are unique and that last."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exabgp_bfd.core.model import Diagnostic, SourceError, State
from exabgp_bfd.sources.snmp.mibs import BFD_STD, PROFILES, SYS_UP_TIME, one_oid
from exabgp_bfd.sources.snmp.rows import (
    DISCOVERED,
    Measure,
    Row,
    UpTimes,
    address,
    gathered,
    identify,
    observe,
    places,
    text,
)

ENTRY = "1.3.6.1.2.1.222.1.2.1"
ETHERNET = {1: "ge-0/0/0", 2: "ge-0/0/1"}


def cells(peer=None, *, interface=None, local=None, discriminator=None):
    row = {"diagnostic": 0, "up_count": 1}
    for name, said in (("peer", peer), ("local", local)):
        if said is not None:
            packed = ip_address(said).packed
            row |= {f"{name}_type": 1 if len(packed) == 4 else 2, name: packed}
    if interface is not None:
        row["interface"] = interface
    if discriminator is not None:
        row["discriminator"] = discriminator
    return row


def named(table, before=(), interfaces=ETHERNET):
    return {row.index: row.session.name for row in identify("edge1", BFD_STD, table, interfaces, before)}


# --- states -----------------------------------------------------------------------------------------------------------


def row(profile=BFD_STD, index="7"):
    return identify("edge1", profile, {index: cells("192.0.2.1")}, {})[0]


@pytest.mark.parametrize(
    ("number", "state"),
    [(1, State.ADMIN_DOWN), (2, State.DOWN), (3, State.INIT), (4, State.UP), (5, State.FAILING)],
)
def test_bfd_sess_state(number, state):
    assert observe(BFD_STD, row(), {f"{ENTRY}.11.7": number}).state is state


@pytest.mark.parametrize(("number", "state"), [(1, State.UP), (2, State.DOWN), (3, State.ADMIN_DOWN)])
@pytest.mark.parametrize("values", ["oper", None])
def test_bfd_sess_oper_status(number, state, values):
    profile = one_oid(".1.3.6.1.4.1.5.2", values)
    (only,) = identify("edge1", profile, {"9": {}}, {})
    assert only.cells == {"state": "1.3.6.1.4.1.5.2.9"}
    assert observe(profile, only, {"1.3.6.1.4.1.5.2.9": number}).state is state


@pytest.mark.parametrize("raw", [0, 6, -1, 2**31, b"", b"4", b"up", "1.3.6"])
def test_a_number_that_is_no_state_is_never_taken_for_one(raw):
    with pytest.raises(SourceError, match=r"edge1/192\.0\.2\.1: .* none of the states 1, 2, 3, 4, 5"):
        observe(BFD_STD, row(), {f"{ENTRY}.11.7": raw})


def test_diagnostic_and_up_count_are_told():
    seen = observe(
        BFD_STD, row(), {f"{ENTRY}.11.7": 2, f"{ENTRY}.13.7": 3, "1.3.6.1.2.1.222.1.3.1.12.7": 41, "1.3.6.9": 1}
    )
    assert seen.diagnostic is Diagnostic.NEIGHBOR_SIGNALED_SESSION_DOWN
    assert seen.details == {"index": "7", "up_count": 41}
    assert (seen.ups, seen.downs, seen.last_up) == (41, None, None)


@pytest.mark.parametrize("raw", [{}, {"1.3.6.1.2.1.222.1.3.1.12.7": b"41"}])
def test_no_up_count_is_none_and_not_zero(raw):
    assert observe(BFD_STD, row(), {f"{ENTRY}.11.7": 4, **raw}).ups is None


def test_how_long_a_session_is_up_is_not_when_it_came_up():
    """Agents of the MIB's draft fill bfdSessUpTime with a duration, which would look like a flap at each poll."""
    assert "1.3.6.1.2.1.222.1.3.1.9.7" not in row().cells.values()
    values = {f"{ENTRY}.11.7": 4, "1.3.6.1.2.1.222.1.3.1.9.7": 4711}
    assert observe(BFD_STD, row(), values).last_up is None


def test_an_unknown_diagnostic_is_kept_as_its_number():
    seen = observe(BFD_STD, row(), {f"{ENTRY}.11.7": 2, f"{ENTRY}.13.7": 99})
    assert seen.diagnostic is None
    assert seen.details == {"index": "7", "diagnostic_number": 99}


def test_cells_that_a_row_lacks_are_not_asked_for_again():
    (sparse,) = identify("edge1", BFD_STD, {"7": {"discriminator": 5}}, {})
    assert sparse.cells == {"state": f"{ENTRY}.11.7"}
    assert observe(BFD_STD, sparse, {f"{ENTRY}.11.7": 4}).details == {"index": "7"}


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "raw", "found"),
    [
        (1, b"\xc0\x00\x02\x01", IPv4Address("192.0.2.1")),
        (2, IPv6Address("2001:db8::1").packed, IPv6Address("2001:db8::1")),
        (3, b"\xc0\x00\x02\x01\0\0\0\x05", IPv4Address("192.0.2.1")),
        (4, IPv6Address("fe80::1").packed + b"\0\0\0\x05", IPv6Address("fe80::1%5")),
        (4, IPv6Address("fe80::1").packed + b"\0\0\0\0", IPv6Address("fe80::1")),
        (None, b"\xc0\x00\x02\x01", IPv4Address("192.0.2.1")),
        (0, IPv6Address("2001:db8::1").packed, IPv6Address("2001:db8::1")),
        (None, "192.0.2.1", IPv4Address("192.0.2.1")),
        (1, "1.3.6.1.4", None),
        (0, b"", None),
        (1, b"", None),
        (1, IPv6Address("2001:db8::1").packed, None),
        (2, b"\xc0\x00\x02\x01", None),
        (16, b"router.example", None),
        (1, b"\0\0\0\0", None),
        (2, bytes(16), None),
        (1, 3221225985, None),
        (None, None, None),
        (b"\1", b"\xc0\x00\x02\x01", None),
    ],
)
def test_inet_address(kind, raw, found):
    assert address(kind, raw) == found


@given(st.one_of(st.none(), st.integers(), st.binary(max_size=24)), st.one_of(st.none(), st.integers(), st.binary()))
def test_inet_address_takes_anything(kind, raw):
    found = address(kind, raw)
    assert found is None or isinstance(found, IPv4Address | IPv6Address)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"ge-0/0/0", "ge-0/0/0"),
        (b" Gi1 \r\n", "Gi1"),
        (b"a\nb\x1b[31mc\0", "ab[31mc"),
        (b"", None),
        (b"\n", None),
        (4, None),
        (None, None),
        (b"x" * 500, "x" * 64),
        ("K\u00f6ln".encode(), "K\u00f6ln"),
        (b"\xff", "\ufffd"),
    ],
)
def test_text_is_one_printable_line(raw, shown):
    assert text(raw) == shown


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_session_and_what_is_known_of_it():
    (only,) = identify(
        "edge1", BFD_STD, {"7": cells("2001:db8::1", local="2001:db8::2", interface=2, discriminator=77)}, ETHERNET
    )
    session = only.session
    assert session.id == "edge1/2001:db8::1"
    assert (session.peer, session.local) == (IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2"))
    assert (session.interface, session.discriminator, only.index, only.if_index) == ("ge-0/0/1", 77, "7", 2)


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ({"1": cells("192.0.2.1"), "2": cells("192.0.2.2")}, ["192.0.2.1", "192.0.2.2"]),
        (
            {"1": cells("192.0.2.1", interface=1), "2": cells("192.0.2.1", interface=2)},
            ["192.0.2.1%ge-0/0/0", "192.0.2.1%ge-0/0/1"],
        ),
        (
            {"1": cells("192.0.2.1", local="192.0.2.8"), "2": cells("192.0.2.1", local="192.0.2.9")},
            ["192.0.2.1%192.0.2.8", "192.0.2.1%192.0.2.9"],
        ),
        (
            {
                "1": cells("192.0.2.1", interface=1, discriminator=5),
                "2": cells("192.0.2.1", interface=1, discriminator=6),
            },
            ["192.0.2.1@5", "192.0.2.1@6"],
        ),
        ({"1": cells("192.0.2.1"), "2": cells("192.0.2.1")}, ["192.0.2.1#1", "192.0.2.1#2"]),
        ({"1": cells(interface=1), "2": cells(interface=2)}, ["ge-0/0/0", "ge-0/0/1"]),
        (
            {"1": cells(interface=1, discriminator=5), "2": cells(interface=1, discriminator=6)},
            ["ge-0/0/0@5", "ge-0/0/0@6"],
        ),
        ({"1": cells(discriminator=5), "2": cells(interface=9)}, ["5", "2"]),
        ({"5": cells(), "1": cells(discriminator=5)}, ["#5", "1"]),
        ({"1": cells(interface=0), "2": cells(interface=-1)}, ["1", "2"]),
    ],
    ids=[
        "peers",
        "interfaces",
        "locals",
        "discriminators",
        "indexes",
        "no peer",
        "one link",
        "little",
        "clash",
        "none",
    ],
)
def test_names(table, names):
    assert list(named(table).values()) == names


def test_a_second_session_with_its_peer_does_not_rename_the_first():
    before = identify("edge1", BFD_STD, {"1": cells("192.0.2.1", interface=1)}, ETHERNET)
    table = {"1": cells("192.0.2.1", interface=1), "2": cells("192.0.2.1", interface=2)}
    assert named(table, before) == {"1": "192.0.2.1", "2": "192.0.2.1%ge-0/0/1"}


def test_a_recreated_session_keeps_its_name_under_a_new_index():
    first = {"1": cells("192.0.2.1", interface=1), "2": cells("192.0.2.1", interface=2)}
    before = identify("edge1", BFD_STD, first, ETHERNET)
    table = {"2": cells("192.0.2.1", interface=2), "31": cells("192.0.2.1", interface=1, discriminator=31)}
    assert named(table, before) == {"2": "192.0.2.1%ge-0/0/1", "31": "192.0.2.1%ge-0/0/0"}


def test_an_index_given_to_another_peer_is_another_session():
    before = identify("edge1", BFD_STD, {"1": cells("192.0.2.1", interface=1)}, ETHERNET)
    assert named({"1": cells("192.0.2.9", interface=1)}, before) == {"1": "192.0.2.9"}


def test_an_interface_that_is_renamed_is_told_by_its_new_name():
    table = {"1": cells("192.0.2.1", interface=1)}
    before = identify("edge1", BFD_STD, table, ETHERNET)
    (after,) = identify("edge1", BFD_STD, table, {1: "uplink"}, before)
    assert (after.session.name, after.session.interface) == ("192.0.2.1", "uplink")


rows = st.fixed_dictionaries(
    {},
    optional={
        "peer_type": st.sampled_from([0, 1, 2]),
        "peer": st.sampled_from([b"", b"\xc0\0\2\1", b"\xc0\0\2\2", IPv6Address("fe80::1").packed]),
        "local": st.sampled_from([b"\xc0\0\2\3", b"\xc0\0\2\4"]),
        "interface": st.sampled_from([0, 1, 2, 3]),
        "discriminator": st.sampled_from([1, 2, 3]),
    },
)
tables = st.dictionaries(st.sampled_from("123456"), rows, max_size=6)


@given(st.lists(tables, min_size=1, max_size=4))
def test_names_are_unique_and_stay_whatever_comes(history):
    before: tuple[Row, ...] = ()
    for table in history:
        after = identify("edge1", BFD_STD, table, ETHERNET, before)
        names = {row.index: row.session.name for row in after}
        assert list(names) == list(table)
        assert len(set(names.values())) == len(names)
        assert named(table, after) == names
        before = after


# --- the one-OID mode -------------------------------------------------------------------------------------------------


def test_an_instance_is_named_by_its_oid_and_a_columns_rows_by_their_index():
    profile = one_oid("1.3.6.1.2.1.222.1.2.1.10.5")
    (instance,) = identify("edge1", profile, {"": {}}, {})
    assert instance.session.id == "edge1/1.3.6.1.2.1.222.1.2.1.10.5"
    assert instance.cells == {"state": "1.3.6.1.2.1.222.1.2.1.10.5"}
    assert observe(profile, instance, {"1.3.6.1.2.1.222.1.2.1.10.5": 1}).details == {}
    column = identify("edge1", one_oid("1.3.6.1.2.1.222.1.2.1.10"), {"5": {}, "1.4.192.0.2.1": {}}, {})
    assert [row.session.name for row in column] == ["5", "1.4.192.0.2.1"]
    assert column[1].cells == {"state": "1.3.6.1.2.1.222.1.2.1.10.1.4.192.0.2.1"}


# --- what to ask for --------------------------------------------------------------------------------------------------


def test_a_place_that_rows_share_is_asked_for_once():
    nokia = PROFILES["nokia"]
    tail = "3.1.4.192.0.2.9.1.4.192.0.2.1"
    red, base = f"1.0.5.{tail}", f"1.0.1.{tail}"
    asked = places(nokia, [red, base], ("vrf", "interface_name", "diagnostic"))
    assert asked == {
        "1.3.6.1.4.1.6527.3.1.2.3.1.1.4.5": [(red, "vrf")],
        "1.3.6.1.4.1.6527.3.1.2.3.4.1.4.5.3": [(red, "interface_name")],
        "1.3.6.1.4.1.6527.3.1.2.3.1.1.4.1": [(base, "vrf")],
        "1.3.6.1.4.1.6527.3.1.2.3.4.1.4.1.3": [(base, "interface_name")],
    }
    other = "1.0.5.3.1.4.192.0.2.9.1.4.192.0.2.2"
    both = places(nokia, [red, other], ("vrf",))
    assert both == {"1.3.6.1.4.1.6527.3.1.2.3.1.1.4.5": [(red, "vrf"), (other, "vrf")]}
    table = gathered(nokia, [red, other], both, {"1.3.6.1.4.1.6527.3.1.2.3.1.1.4.5": b"red", "1.3.9": 1})
    assert [cells["vrf"] for cells in table.values()] == [b"red", b"red"]
    assert table[other]["peer"] == b"\xc0\0\2\2"


def test_one_address_type_is_that_of_both_addresses():
    zte = PROFILES["zte"]
    asked = places(zte, ["7"])
    assert asked["1.3.6.1.4.1.3902.3.322.1.2.1.14.7"] == [("7", "peer_type"), ("7", "local_type")]
    assert not any(cell == "state" for who in asked.values() for _, cell in who)
    assert {cell for who in asked.values() for _, cell in who} <= {*DISCOVERED}


# --- sessions of all kinds of tables ----------------------------------------------------------------------------------


def only(profile, index, cells=None, interfaces=ETHERNET, **more):
    (row,) = identify("edge1", PROFILES[profile], {index: cells or {}}, interfaces, **more)
    return row


def packed(said):
    return ip_address(said).packed


def test_a_session_of_which_only_the_index_tells():
    row = only("nokia", "1.0.5.3.1.4.192.0.2.9.1.4.192.0.2.1", {"vrf": b"red", "interface_name": b"to-core"})
    session = row.session
    assert (session.id, session.peer, session.local) == (
        "edge1/192.0.2.1",
        IPv4Address("192.0.2.1"),
        IPv4Address("192.0.2.9"),
    )
    assert (session.interface, session.vrf, session.multihop, row.if_index) == ("to-core", "red", None, None)


@pytest.mark.parametrize(
    ("profile", "index", "cells", "vrf"),
    [
        ("nokia", "1.0.1.3.1.4.192.0.2.9.1.4.192.0.2.1", {"vrf": b"Base"}, None),
        ("nokia", "1.0.1.3.1.4.192.0.2.9.1.4.192.0.2.1", {}, None),
        ("nokia", "1.0.5.3.1.4.192.0.2.9.1.4.192.0.2.1", {}, "5"),
        ("aricent", "0.7", {"peer": packed("192.0.2.1")}, None),
        ("aricent", "3.7", {"peer": packed("192.0.2.1")}, "3"),
        ("huawei", "7", {"vrf": b"_public_"}, None),
        ("huawei", "7", {"vrf": b"blue"}, "blue"),
        ("huawei", "7", {"vrf": b""}, None),
        ("bfd-std", "7", {}, None),
    ],
)
def test_the_vrf(profile, index, cells, vrf):
    assert only(profile, index, cells).session.vrf == vrf


def test_the_context_is_the_vrf_where_the_table_has_none():
    assert only("cisco", "7", {"peer": packed("192.0.2.1")}, context="red").session.vrf == "red"
    assert only("huawei", "7", {"vrf": b"blue"}, context="red").session.vrf == "blue"
    assert only("cisco", "7", context="red").context == "red"


@pytest.mark.parametrize(
    ("profile", "kind", "multihop"),
    [
        ("bfd-std", 1, False),
        ("bfd-std", 2, True),
        ("bfd-std", 4, True),
        ("bfd-std", 5, None),
        ("cisco", 2, True),
        ("huawei", 1, False),
        ("huawei", 2, True),
        ("huawei", 4, False),
        ("huawei", 9, None),
        ("juniper", 1, None),
        ("bfd-std", b"1", None),
    ],
)
def test_multihop(profile, kind, multihop):
    assert only(profile, "7", {"type": kind}).session.multihop is multihop


@pytest.mark.parametrize(
    ("cells", "peer", "local"),
    [
        ({"peer": "192.0.2.1", "local": "192.0.2.9"}, "192.0.2.1", "192.0.2.9"),
        ({"peer": "192.0.2.1", "peer_type": 1, "peer_inet": packed("192.0.2.1")}, "192.0.2.1", None),
        (
            {"peer": "0.0.0.0", "peer6": packed("2001:db8::1"), "local6": packed("2001:db8::9")},
            "2001:db8::1",
            "2001:db8::9",
        ),
        ({"peer": "0.0.0.0", "peer_type": 2, "peer_inet": packed("2001:db8::1")}, "2001:db8::1", None),
        ({"peer": "192.0.2.1", "peer_type": 2, "peer6": packed("2001:db8::1")}, "2001:db8::1", None),
        ({"peer": "0.0.0.0", "peer6": bytes(16)}, None, None),
    ],
)
def test_addresses_in_columns_of_their_own(cells, peer, local):
    """Huawei has one for IPv4, one for IPv6, and younger releases one for both."""
    session = only("huawei", "7", cells).session
    assert (session.peer, session.local) == (peer and ip_address(peer), local and ip_address(local))


def test_an_older_index_of_h3c_tells_the_interface_and_its_second_column_is_no_interface():
    cells = {"interface": 7, "peer_type": 1, "peer": packed("192.0.2.1")}
    row = only("h3c", "2.7", cells)
    assert (row.if_index, row.session.interface) == (2, "ge-0/0/1")
    row = only("h3c", "7", {**cells, "interface": 1})
    assert (row.if_index, row.session.interface) == (1, "ge-0/0/0")


def test_an_interface_named_by_another_table():
    row = only("juniper", "4524", {"interface_name": b"xe-1/2/0.0", "peer": packed("192.0.2.1")})
    assert (row.if_index, row.session.interface) == (None, "xe-1/2/0.0")


def test_a_link_local_peer_is_told_by_its_interface_and_not_by_a_zone():
    zoned = {"peer_type": 4, "peer": packed("fe80::1") + b"\0\0\0\x02"}
    assert only("bfd-std", "7", {**zoned, "interface": 2}).session.peer == IPv6Address("fe80::1")
    assert only("bfd-std", "7", zoned).session.peer == IPv6Address("fe80::1%2")
    assert only("bfd-std", "7", {**zoned, "interface": 9}).session.name == "fe80::1%2"


# --- names of all kinds -----------------------------------------------------------------------------------------------


def row_of(peer="192.0.2.1", **more):
    return {"peer_type": 0, "peer": packed(peer), "diagnostic": 0, "up_count": 1, **more}


@pytest.mark.parametrize(
    ("profile", "table", "names"),
    [
        (
            "bfd-std",
            {"1": row_of(interface=1), "2": row_of("2001:db8::1", interface=1)},
            ["192.0.2.1", "2001:db8::1"],
        ),
        (
            "bfd-std",
            {"1": row_of("fe80::1", interface=1), "2": row_of("fe80::1", interface=2)},
            ["fe80::1%ge-0/0/0", "fe80::1%ge-0/0/1"],
        ),
        (
            "bfd-std",
            {"1": row_of(interface=1, type=1), "2": row_of(interface=0, type=2, local=packed("192.0.2.9"))},
            ["192.0.2.1%ge-0/0/0", "192.0.2.1%192.0.2.9"],
        ),
        (
            "bfd-std",
            {"1": row_of(type=1, local=packed("192.0.2.9")), "2": row_of(type=2, local=packed("192.0.2.9"))},
            ["192.0.2.1#1", "192.0.2.1%multihop"],
        ),
        ("huawei", {"1": row_of(vrf=b"red"), "2": row_of(vrf=b"blue")}, ["192.0.2.1%red", "192.0.2.1%blue"]),
        (
            "huawei",
            {
                "1": row_of(vrf=b"red", local=packed("192.0.2.8")),
                "2": row_of(vrf=b"red", local=packed("192.0.2.9")),
                "3": row_of(vrf=b"blue", local=packed("192.0.2.8")),
                "4": row_of(vrf=b"blue", local=packed("192.0.2.9")),
            },
            [f"192.0.2.1%{vrf}%192.0.2.{local}" for vrf in ("red", "blue") for local in (8, 9)],
        ),
        (
            "viptela",
            {"4.192.0.2.9.4.192.0.2.1.2.1.2": {}, "4.192.0.2.9.4.192.0.2.1.2.1.3": {}},
            ["192.0.2.1%2:1:2", "192.0.2.1%2:1:3"],
        ),
    ],
    ids=["families", "link-local", "multihop", "multihop on one address", "vrfs", "vrfs and addresses", "tunnels"],
)
def test_what_tells_sessions_with_one_peer_apart(profile, table, names):
    found = identify("edge1", PROFILES[profile], table, ETHERNET)
    assert [row.session.name for row in found] == names


def test_contexts_of_one_device_share_its_names():
    table = {"7": row_of(interface=1)}
    default = identify("edge1", BFD_STD, table, ETHERNET)
    red = identify("edge1", BFD_STD, {"7": row_of(interface=3), "8": row_of("192.0.2.2")}, ETHERNET, default, "red")
    assert [row.session.name for row in default] == ["192.0.2.1"]
    assert [row.session.name for row in red] == ["192.0.2.1%red", "192.0.2.2"]
    assert [row.session.vrf for row in red] == ["red", "red"]
    # The next walks, in either order: each finds its own again.
    assert identify("edge1", BFD_STD, table, ETHERNET, (*red, *default)) == default
    again = {"9": row_of(interface=3), "8": row_of("192.0.2.2")}
    after = identify("edge1", BFD_STD, again, ETHERNET, (*default, *red), "red")
    assert [row.session.name for row in after] == ["192.0.2.1%red", "192.0.2.2"]


def test_contexts_without_anything_that_tells_their_rows_apart():
    default = identify("edge1", BFD_STD, {"7": {}}, {})
    red = identify("edge1", BFD_STD, {"7": {}}, {}, default, "red")
    assert (default[0].session.name, red[0].session.name) == ("7", "7%red")
    oid = one_oid("1.3.6.1.4.1.5.2")
    assert identify("edge1", oid, {"9": {}}, {}, (), "red")[0].session.name == "9%red"


def test_a_reboot_numbers_indexes_and_interfaces_anew():
    first = {"1": row_of(interface=1), "2": row_of(interface=2)}
    before = identify("edge1", BFD_STD, first, ETHERNET)
    # What was ge-0/0/0 with ifIndex 1 is so with 2 now, and the other way round.
    after = identify(
        "edge1", BFD_STD, {"1": row_of(interface=1), "2": row_of(interface=2)}, {2: "ge-0/0/0", 1: "ge-0/0/1"}, before
    )
    by_name = {row.session.name: row.session.interface for row in after}
    assert by_name == {"192.0.2.1%ge-0/0/0": "ge-0/0/0", "192.0.2.1%ge-0/0/1": "ge-0/0/1"}


def test_a_session_that_learns_its_address_while_it_comes_up_keeps_its_name():
    first = {"1": row_of(type=2), "2": row_of(type=1, interface=1)}
    before = identify("edge1", BFD_STD, first, ETHERNET)
    assert [row.session.name for row in before] == ["192.0.2.1%multihop", "192.0.2.1%ge-0/0/0"]
    (after,) = identify("edge1", BFD_STD, {"9": row_of(type=2, local=packed("192.0.2.9"))}, ETHERNET, before)
    assert after.session.name == "192.0.2.1%multihop"
    assert after.session.local == IPv4Address("192.0.2.9")


def test_a_session_keeps_its_name_when_its_interface_is_renamed():
    table = {"1": row_of(interface=1), "2": row_of(interface=2)}
    before = identify("edge1", BFD_STD, table, ETHERNET)
    after = identify("edge1", BFD_STD, table, {1: "uplink", 2: "ge-0/0/1"}, before)
    assert [row.session.name for row in after] == ["192.0.2.1%ge-0/0/0", "192.0.2.1%ge-0/0/1"]
    assert after[0].session.interface == "uplink"


def test_a_name_that_tells_an_index_stays_with_it():
    before = identify("edge1", BFD_STD, {"1": row_of(), "2": row_of()}, {})
    after = identify("edge1", BFD_STD, {"1": row_of(), "5": row_of()}, {}, before)
    assert [row.session.name for row in after] == ["192.0.2.1#1", "192.0.2.1#5"]
    nothing = identify("edge1", BFD_STD, {"7": {}}, {})
    assert identify("edge1", BFD_STD, {"9": {}}, {}, nothing)[0].session.name == "9"
    assert identify("edge1", BFD_STD, {"7": {}}, {}, nothing) == nothing


def test_a_name_does_not_pass_to_a_session_that_only_looks_like_it():
    before = identify(
        "edge1",
        PROFILES["huawei"],
        {"1": row_of(vrf=b"red"), "2": row_of(vrf=b"blue")},
        {},
    )
    # The session in red is gone; one in green has come, under its index.
    after = identify("edge1", PROFILES["huawei"], {"1": row_of(vrf=b"green"), "2": row_of(vrf=b"blue")}, {}, before)
    assert [row.session.name for row in after] == ["192.0.2.1%green", "192.0.2.1%blue"]


def test_two_that_could_be_meant_inherit_by_their_discriminator_or_not_at_all():
    first = {"1": row_of(discriminator=5), "2": row_of(discriminator=6)}
    before = identify("edge1", BFD_STD, first, {})
    same = identify("edge1", BFD_STD, {"8": row_of(discriminator=6), "9": row_of(discriminator=5)}, {}, before)
    assert [row.session.name for row in same] == ["192.0.2.1@6", "192.0.2.1@5"]
    new = identify("edge1", BFD_STD, {"8": row_of(discriminator=7), "9": row_of(discriminator=8)}, {}, before)
    assert [row.session.name for row in new] == ["192.0.2.1@7", "192.0.2.1@8"]


def test_a_row_that_says_the_same_is_the_same_object():
    """So that a walk of a thousand rows costs next to nothing."""
    table = {"1": row_of(interface=1), "2": row_of("192.0.2.2", interface=2)}
    before = identify("edge1", BFD_STD, table, ETHERNET)
    after = identify("edge1", BFD_STD, {"2": dict(table["2"]), "1": dict(table["1"])}, dict(ETHERNET), before)
    assert after[0] is before[1]
    assert after[1] is before[0]
    assert identify("edge1", BFD_STD, table, {1: "uplink", 2: "ge-0/0/1"}, before)[0] is not before[0]
    assert (
        identify("edge1", PROFILES["extreme"], table, ETHERNET, before)[0].cells["state"].startswith("1.3.6.1.4.1.1916")
    )


anything = st.fixed_dictionaries(
    {},
    optional={
        "peer_type": st.sampled_from([0, 1, 2]),
        "peer": st.sampled_from([b"", b"\xc0\0\2\1", b"\xc0\0\2\2", packed("fe80::1")]),
        "local": st.sampled_from([b"\xc0\0\2\3", b"\xc0\0\2\4"]),
        "interface": st.sampled_from([0, 1, 2, 3]),
        "discriminator": st.sampled_from([1, 2, 3]),
        "vrf": st.sampled_from([b"red", b"blue", b"", b"192.0.2.3"]),
        "interface_name": st.sampled_from([b"ge-0/0/0", b"192.0.2.1", b"red"]),
        "type": st.sampled_from([1, 2, 3, 9]),
        "up_count": st.sampled_from([0, 1]),
        "last_up": st.just(1),
    },
)


@given(
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from("123456"), anything, max_size=6), st.sampled_from(["", "red"])),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([PROFILES["huawei"], PROFILES["h3c"], BFD_STD]),
)
def test_names_are_unique_in_a_device_and_stay_whatever_comes(walks, profile):
    now: dict[str, tuple[Row, ...]] = {"": (), "red": ()}
    for table, context in walks:
        before = (*now[""], *now["red"])
        now[context] = identify("edge1", profile, table, ETHERNET, before, context)
        assert [row.index for row in now[context]] == list(table)
        names = [row.session.name for rows in now.values() for row in rows]
        assert len(set(names)) == len(names)
        assert identify("edge1", profile, table, ETHERNET, (*now[""], *now["red"]), context) == now[context]


# --- flaps between samples --------------------------------------------------------------------------------------------


def test_what_is_sampled_of_a_row():
    """The time it is up only where nothing counts its ups or downs."""

    def sampled(profile, **cells):
        return set(only(profile, "7", cells).cells)

    assert sampled("bfd-std", diagnostic=0, up_count=3, last_up=5) == {"state", "diagnostic", "up_count"}
    assert sampled("bfd-std", diagnostic=0, up_count=0, last_up=5) == {"state", "diagnostic", "up_count", "last_up"}
    assert sampled("h3c", diagnostic=1, down_count=0, last_up=5) == {"state", "diagnostic", "down_count"}
    assert sampled("zte", diagnostic=1, last_up=5) == {"state", "diagnostic", "last_up"}
    assert sampled("cisco") == {"state"}
    assert only("zte", "7", {"last_up": 5}).timed
    assert not only("bfd-std", "7", {"up_count": 3, "last_up": 5}).timed


def test_counters_are_told():
    profile = PROFILES["nokia"]
    row = only("nokia", "1.0.1.3.1.4.192.0.2.9.1.4.192.0.2.1", {"up_count": 4, "down_count": 3})
    values = dict(zip(row.cells.values(), [3, 4, 3], strict=True))
    seen = observe(profile, row, values)
    assert (seen.state, seen.ups, seen.downs, seen.last_up) == (State.UP, 4, 3, None)
    assert seen.details == {"index": row.index, "up_count": 4, "down_count": 3}
    assert observe(profile, row, {**values, row.cells["down_count"]: b""}).downs is None


def test_last_up_is_told_when_it_is_sure():
    profile = PROFILES["zte"]
    row = only("zte", "7", {"last_up": 5})
    up_times = UpTimes()

    def seen(second, value, state=4, **more):
        values = {row.cells["state"]: state, row.cells["last_up"]: value, SYS_UP_TIME: second * 100, **more}
        return observe(profile, row, values, up_times).last_up

    assert seen(1000, 50_000) is None  # not known yet what it is
    first = [seen(second, 50_000) for second in range(1001, 1140)][-1]
    assert first is not None
    assert up_times.measure is Measure.STAMP
    assert seen(1141, 50_000) == first
    assert seen(1142, 114_150) not in {None, first}  # it came up again at 1141.5 s
    assert seen(1143, 114_150, state=2) is None
    assert observe(profile, row, {row.cells["state"]: 4, row.cells["last_up"]: 5}, up_times).last_up is None
    assert observe(profile, row, {row.cells["state"]: 4, row.cells["last_up"]: b"5", SYS_UP_TIME: 1}).last_up is None


CACHE = 3000
JITTER = 200
ROUND = 2**32
LATEST = 60_000
"""Ticks after which a flap is told at the latest: an agent's cache may hide it for a while."""


class Agent:
    """An agent's view of its sessions: of either kind, that keeps what it tells for a while and rounds it."""

    def __init__(self, measure, began, cache, step, ups, noise=0):
        self.measure, self.cache, self.step, self.noise = measure, cache, step, noise
        self.began = began
        """When sysUpTime was 0, in ticks of the world's clock."""
        self.ups = [[up] for up in ups]
        """When each session came up, all times."""
        self.kept = {}

    def up_time(self, now):
        return (now - self.began) % ROUND

    def value(self, session, now):
        """The value told, and the coming up that it is of."""
        kept = self.kept.get(session)
        if kept is None or now - kept[0] >= self.cache:
            up = self.ups[session][-1]
            ticks = now - up if self.measure is Measure.DURATION else up - self.began
            ticks += now * 7919 % (2 * self.noise + 1) - self.noise
            kept = self.kept[session] = (now, max(1, ticks // self.step * self.step) % ROUND, up)
        return kept[1], kept[2]

    def restart(self, now):
        """The agent alone begins anew: the sessions stay up, and TimeStamps of before are 0 (RFC 2579)."""
        self.began = now
        self.kept.clear()


def ticks_of(seconds):
    return st.integers(int(seconds[0] * 100), int(seconds[1] * 100))


steps = st.one_of(
    st.tuples(st.just("wait"), ticks_of((0.1, 40)), st.just(0)),
    st.tuples(st.just("rest"), ticks_of((90, 400)), st.just(0)),
    st.tuples(st.just("flap"), ticks_of((0.1, 30)), st.integers(0, 2)),
    st.tuples(st.just("down"), ticks_of((0.1, 30)), st.integers(0, 2)),
    st.tuples(st.just("restart"), ticks_of((0.1, 5)), st.just(0)),
)


class Watcher:
    """Polls an agent, and judges each number told by what the agent's value was really of."""

    def __init__(self, agent, world):
        self.agent, self.world = agent, world
        self.up_times = UpTimes()
        self.told = {}
        """The number told last of each session."""
        self.unseen = [[] for _ in agent.ups]
        """When each session came up without having been seen down, and that was not told yet."""
        self.sure = {}
        """Of which coming up the sample before this one was, and its value, where a number was told."""

    def poll(self):
        ticks = self.agent.up_time(self.world)
        for session in range(len(self.agent.ups)):
            value, up = self.agent.value(session, self.world)
            number = self.up_times.read(str(session), value, ticks)
            before = self.sure.pop(session, None)
            if number is None:
                continue
            last = self.told.setdefault(session, number)
            if number != last:
                late = [came for came in self.unseen[session] if self.world - came < LATEST]
                assert late, "a flap was told that was none"
                self.unseen[session] = late[1:]
                self.told[session] = number
            elif before is not None:
                assert not self.plain(before, (up, value)), "a flap was missed"
            self.sure[session] = (up, value)

    def plain(self, before, after):
        """Whether two values of one session show that it came up between them."""
        off = JITTER + self.agent.step + 2 * self.agent.noise
        if self.agent.measure is Measure.STAMP:
            return off < (after[1] - before[1]) % ROUND < ROUND - off
        # Where TimeTicks come round, a new duration is as an old one that went on.
        return after[0] != before[0] and before[1] - after[1] > off and before[1] < ROUND - 2 * CACHE

    def do(self, what, ticks, session):
        if what == "rest":  # long enough to learn what the agent means
            for _ in range(ticks // 500):
                self.world += 500
                self.poll()
            return
        self.world += ticks
        if what == "restart":
            if not 200 < self.agent.up_time(self.world - ticks) < ROUND - 10_000:
                # Without a fall, or where TimeTicks come round, only another clock can tell (`uptime.UpTime`).
                self.up_times.restarted()
            self.agent.restart(self.world)
            self.sure.clear()
            self.world += 100
        elif what == "flap":
            self.agent.ups[session].append(self.world - min(ticks - 1, 5))
            self.unseen[session].append(self.world)
        elif what == "down":
            # What was seen is no secret, whatever number is told of it.
            self.up_times.away(str(session))
            self.told.pop(session, None)
            self.sure.pop(session, None)
            self.unseen[session].clear()
            self.agent.ups[session].append(self.world)
        self.poll()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([*Measure]),
    st.sampled_from([1_000, 500_000, 30_000_000, ROUND - 30_000, ROUND - 5_000, 2 * ROUND - 40_000]),
    st.sampled_from([0, 0, 500, 1500, CACHE]),
    st.sampled_from([1, 10, 100]),
    st.sampled_from([0, 0, 40]),
    st.lists(st.sampled_from([0.0, 0.001, 0.3, 0.9, 0.999]), min_size=1, max_size=3),
    st.sampled_from([[], [("rest", 16_000, 0)], [("rest", 16_000, 0)]]),
    st.lists(steps, max_size=40),
)
def test_no_flap_is_told_that_was_none_and_none_missed_that_is_sure(
    measure, age, cache, step, noise, shares, prelude, story
):
    """Whatever an agent means, keeps and rounds, over 2**32 and a restart of its own."""
    world = 10 * ROUND
    agent = Agent(measure, world - age, cache, step, [world - age + int(age * share) for share in shares], noise)
    watcher = Watcher(agent, world)
    watcher.poll()
    for what, ticks, session in [*prelude, *story]:
        watcher.do(what, ticks, session % len(shares))


@pytest.mark.parametrize("measure", [*Measure])
@pytest.mark.parametrize("cache", [0, CACHE])
@pytest.mark.parametrize("noise", [0, 90])
@pytest.mark.parametrize("age", [500_000, ROUND - 20_000])
def test_what_an_agent_means_shows_in_two_minutes_and_stays_known(measure, cache, noise, age):
    """Also while TimeTicks come round; but for sessions that came up just when the agent began, which look alike."""
    world = 10 * ROUND
    agent = Agent(measure, world - age, cache, 1, [world - 300_000], noise)
    watcher = Watcher(agent, world)
    for _ in range(200):
        watcher.do("wait", 100, 0)
    assert watcher.up_times.measure is measure
    first = watcher.told[0]
    for _ in range(200):
        watcher.do("wait", 200, 0)
        assert watcher.up_times.measure is measure
        assert watcher.told[0] == first
    watcher.do("flap", 10, 0)
    for _ in range(40):
        watcher.do("wait", 100, 0)
    assert watcher.told[0] != first
    assert watcher.up_times.measure is measure


def known(measure=Measure.STAMP):
    """An agent of which it is known what it means, and the number that it tells of `a`."""
    up_times = UpTimes()
    for second in range(200):
        value = 50_000 if measure is Measure.STAMP else 900_000 + second * 100
        number = up_times.read("a", value, 100_000 + second * 100)
    assert up_times.measure is measure
    return up_times, number


def test_answers_that_cross_are_no_restart():
    up_times, number = known()
    assert up_times.read("a", 50_000, 119_750) is None
    assert up_times.read("a", 50_000, 120_000) == number
    assert up_times.measure is Measure.STAMP


@pytest.mark.parametrize("measure", [*Measure])
def test_after_a_restart_nothing_is_known(measure):
    up_times, _ = known(measure)
    assert up_times.read("a", 500, 1_000) is None
    assert up_times.measure is None


def test_a_fall_far_from_2_to_the_32_is_a_restart_and_so_is_one_after_a_long_silence():
    up_times = UpTimes()
    for second in range(200):
        up_times.read("a", 50_000, ROUND - 30_000 + second * 100)
    assert up_times.measure is Measure.STAMP
    up_times.read("a", 50_000, 30_000)
    assert up_times.measure is None


@pytest.mark.parametrize("drift", [8, -8])
def test_nx_os_tells_durations_that_are_longer_than_its_agent_runs(drift):
    """Two walks of a Nexus 146.8 days apart (research 1.3): the values grew with sysUpTime, and by 11 s more."""
    up_times = UpTimes()
    start, up = 4_000_000, 900_000_000
    for second in range(200):
        before = up_times.read("a", up + second * 100, start + second * 100)
    assert up_times.measure is Measure.DURATION
    assert before is not None
    for day in range(1, 490):
        grown = 20_000 + day * 8_640_000
        assert up_times.read("a", (up + grown + day * drift) % ROUND, (start + grown) % ROUND) == before


def test_a_time_stamp_that_is_told_late_by_a_cache_is_no_flap():
    up_times, number = known()
    up_times.away("a")
    numbers = {up_times.read("a", 50_000, 120_000 + second * 100) for second in range(20)}
    numbers |= {up_times.read("a", 119_950, 122_000 + second * 100) for second in range(100)}
    assert numbers == {None, number}


def test_a_coming_up_that_was_seen_changes_nothing():
    up_times, number = known()
    up_times.away("a")
    numbers = {up_times.read("a", 120_050, 120_100 + second * 100) for second in range(100)}
    assert numbers == {None, number}


@pytest.mark.parametrize("values", [[0], [50], [50, 150]])
def test_a_duration_that_begins_anew_is_a_flap(values):
    up_times, number = known(Measure.DURATION)
    numbers = [up_times.read("a", value, 120_000 + place * 100) for place, value in enumerate(values)]
    assert None not in numbers
    assert number not in numbers
    assert len({*numbers}) == 1


def test_a_duration_that_grew_too_little_is_a_flap():
    """Whose session had been up for less time than it is up again."""
    up_times, _ = known(Measure.DURATION)
    first = up_times.read("a", 10, 120_000)
    assert up_times.read("a", 1_000, 126_000) not in {None, first}


def test_a_duration_that_fell_is_a_flap_however_short_it_was():
    up_times, _ = known(Measure.DURATION)
    first = up_times.read("a", 10, 120_000)
    assert up_times.read("a", 2_510, 122_500) == first
    assert up_times.read("a", 50, 122_600) not in {None, first}


def test_what_flapped_while_it_was_learnt_is_not_told_afterwards():
    """A cache may show only now what came before: so nothing is told until it must have shown."""
    up_times = UpTimes()
    numbers = [up_times.read("a", 50_000, 100_000 + second * 100) for second in range(120)]
    assert up_times.measure is Measure.STAMP
    assert {*numbers} == {None}
    assert up_times.read("a", 50_000, 112_500) == 50_000


def test_a_duration_that_fell_to_what_it_cannot_be_is_not_believed():
    up_times, _ = known(Measure.DURATION)
    assert up_times.read("a", 500_000, 120_000) is None
    assert up_times.measure is None


def test_a_flapping_session_does_not_look_like_a_duration():
    up_times = UpTimes()
    for second in range(300):
        assert up_times.read("a", 100_000 + second * 100 - 50, 100_000 + second * 100) is None
    assert up_times.measure is not Measure.DURATION


def test_garbage_does_not_look_like_a_duration():
    up_times = UpTimes()
    for second in range(80):
        up_times.read("a", 50_000, 100_000 + second * 100)
    up_times.read("a", 1_000, 108_000)
    assert up_times.measure is None


def test_a_flap_back_to_the_very_number_told_is_told():
    up_times, number = known()
    up_times.restarted()
    for second in range(200):
        assert up_times.read("a", 119_000, 120_000 + second * 100) in {None, number}
    assert number == 50_000
    for ticks in (ROUND - 3_000, 2_000, 49_000):  # 497 days later
        assert up_times.read("a", 119_000, ticks) == number
    again = [up_times.read("a", 50_000, ticks) for ticks in (50_100, 50_200)]
    assert None not in again
    assert number not in again


def test_a_value_that_fits_neither_is_not_believed():
    up_times = UpTimes()
    for second in range(200):
        up_times.read("a", 50_000, 100_000 + second * 100)
    assert up_times.measure is Measure.STAMP
    assert up_times.read("a", 1_234, 120_100) is None  # no time since the last sample: no flap, but nothing known
    assert up_times.measure is None


def test_an_agent_that_is_another_one_is_learnt_anew():
    up_times = UpTimes()
    for second in range(200):
        up_times.read("a", 50_000, 100_000 + second * 100)
    told = up_times.read("a", 50_000, 120_100)
    up_times.restarted()
    assert up_times.read("a", 77, 120_200) is None
    for second in range(200):
        last = up_times.read("a", 77, 120_300 + second * 100)
    assert last == told  # nothing was seen of a flap


def test_zero_is_no_time_stamp():
    up_times = UpTimes()
    assert {up_times.read("a", 0, 100_000 + second * 100) for second in range(300)} == {None}
    assert up_times.measure is None


def test_sessions_that_are_gone_are_forgotten():
    up_times = UpTimes()
    for session in ("a", "b"):
        for second in range(200):
            up_times.read(session, 50_000, 100_000 + second * 100)
    up_times.keep(["b"])
    assert up_times.read("a", 50_000, 120_100) is None
    assert up_times.read("b", 50_000, 120_100) is not None
