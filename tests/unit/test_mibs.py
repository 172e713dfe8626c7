"""Rows of BFD tables become sessions and observations, with names that are unique and that last."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exabgp_bfd.core.model import ConfigError, Diagnostic, SourceError, State
from exabgp_bfd.sources.snmp import mibs
from exabgp_bfd.sources.snmp.mibs import BFD_STD, one_oid, profile_for
from exabgp_bfd.sources.snmp.rows import Row, address, identify, observe, text

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


# --- where things are -------------------------------------------------------------------------------------------------


def test_columns_of_rfc_7331():
    assert {name: BFD_STD.column(name) for name in (*mibs.SAMPLED, *mibs.IDENTITY)} == {
        "state": f"{ENTRY}.11",
        "diagnostic": f"{ENTRY}.13",
        "discriminator": f"{ENTRY}.4",
        "interface": f"{ENTRY}.18",
        "local_type": f"{ENTRY}.19",
        "local": f"{ENTRY}.20",
        "peer_type": f"{ENTRY}.21",
        "peer": f"{ENTRY}.22",
        "up_count": "1.3.6.1.2.1.222.1.3.1.12",
    }


def test_no_profile_reads_the_authentication_key():
    for profile in mibs.PROFILES.values():
        assert f"{ENTRY}.35" not in {profile.column(name) for name in (*mibs.SAMPLED, *mibs.IDENTITY)}


@pytest.mark.parametrize(
    ("profile", "oid", "values", "said"),
    [
        ("cisko", None, None, "profile 'cisko' is unknown"),
        ("oid", None, None, "needs an oid"),
        ("oid", "1.3.x", None, "is not an OID"),
        ("oid", "1", None, "is not an OID"),
        ("oid", "1.3.4294967296", None, "is not an OID"),
        ("oid", "1.3.\u0662", None, "is not an OID"),
        ("oid", "1.3.6", "opre", "use one of oper, state"),
    ],
)
def test_wrong_settings_are_told(profile, oid, values, said):
    with pytest.raises(ConfigError, match=said):
        profile_for(profile, oid, values)


def test_auto_is_the_standard_for_now():
    assert profile_for("auto") is profile_for("bfd-std") is BFD_STD


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
