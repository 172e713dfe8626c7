"""The tables of all MIBs agree with facts read from the MIBs themselves, and decode what an index says.

`bfd_mib_profiles.json` was made from 12 MIBs by somebody else; `bfd_mib_more.json` was written down from the other
MIBs' texts, apart from the profiles.
"""

import json
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exabgp_bfd.core.model import ConfigError, Diagnostic, State
from exabgp_bfd.sources.snmp import mibs
from exabgp_bfd.sources.snmp.mibs import BFD_STD, PROFILES, one_oid, profile_for

DATA = Path(__file__).parents[1] / "data"
FACTS = json.loads((DATA / "bfd_mib_profiles.json").read_text())
MORE = json.loads((DATA / "bfd_mib_more.json").read_text())
FACTS_OF = {
    "bfd-std": "BFD-STD-MIB (RFC 7331)",
    "cisco": "CISCO-IETF-BFD-MIB",
    "juniper": "JUNIPER BFD-STD-MIB (draft, experimental)",
    "foundry": "FOUNDRY-BFD-STD-MIB",
    "extreme": "EXTREME-IETF-BFD-MIB (EXOS)",
    "fs": "FS-BFD-MIB",
    "zte": "ZTE-BFD-MIB",
    "huawei": "HUAWEI-BFD-MIB",
    "h3c": "HH3C-BFD-STD-MIB",
    "nokia": "TIMETRA-VRTR-MIB (SR OS)",
    "nokia-old": "TIMETRA-VRTR-MIB (SR OS)",
    "omniswitch6": "ALCATEL-IND1-BFD-MIB (OmniSwitch AOS)",
    "cisco-sdwan": "CISCO-SDWAN-BFD-MIB",
}
CELLS = {
    "local_discr": "discriminator",
    "remote_discr": "remote_discriminator",
    "diag": "diagnostic",
    "if_index": "interface",
    "if_name": "interface_name",
    "src_type": "local_type",
    "src": "local",
    "src6": "local6",
    "dst_type": "peer_type",
    "dst": "peer",
    "dst6": "peer6",
    "dst_inet": "peer_inet",
    "vpn": "vrf",
    "detect_mult": "multiplier",
    "neg_interval": "negotiated_tx",
    "neg_tx": "negotiated_tx",
    "tx_interval": "negotiated_tx",
    "neg_rx": "negotiated_rx",
    "rx_interval": "negotiated_rx",
    "neg_echo": "negotiated_echo",
    "neg_mult": "negotiated_multiplier",
    "up_time": "last_up",
    "last_lost_diag": "last_diagnostic",
    "start_text": "last_up_text",
    "uptime_text": "last_up_text",
}
"""How the facts name what the profiles name otherwise."""
PARTS = {
    "sess": "session",
    "vrtr": "vrf_id",
    "vrf": "vrf_id",
    "vrtr_if": "router_interface",
    "proto": "protocol",
    "src_port": "local_port",
    "dst_port": "peer_port",
}
"""The same for the parts of an index."""
BEYOND = {
    # Its column 22 is how the session was made; whether it is a multihop one shows what it is bound to (26).
    "huawei": {"type": "1.3.6.1.4.1.2011.5.25.38.2.3.1.26"},
    # vRtrName and vRtrIfName, in other tables of the MIB.
    "nokia": {"vrf": "1.3.6.1.4.1.6527.3.1.2.3.1.1.4", "interface_name": "1.3.6.1.4.1.6527.3.1.2.3.4.1.4"},
    "nokia-old": {"vrf": "1.3.6.1.4.1.6527.3.1.2.3.1.1.4", "interface_name": "1.3.6.1.4.1.6527.3.1.2.3.4.1.4"},
}
"""Columns of the MIBs that the facts do not list."""
STATES = {
    "adminDown": State.ADMIN_DOWN,
    "down": State.DOWN,
    "init": State.INIT,
    "up": State.UP,
    "failing": State.FAILING,
    "invalid": State.DOWN,
    "inactive": State.DOWN,
}

profiles = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)


def facts_of(name):
    """The facts of a profile in one form, whichever file has them."""
    facts = MORE.get(name) or FACTS[FACTS_OF[name]]
    if name == "nokia-old":
        facts = {**facts, "entry": facts["old_entry"], "index": facts["old_index"], "col": facts["old_col"]}
    return facts


def columns_in(name):
    """Where the facts say that cells are."""
    facts = facts_of(name)
    found = {}
    for entry, columns in (
        ("entry", "col"),
        ("perf_entry", "perf"),
        ("stat_entry", "stat"),
        ("if_entry", "if_col"),
        ("config_entry", "config"),
    ):
        for said, number in facts.get(columns, {}).items():
            found[CELLS.get(said, said)] = f"{facts[entry]}.{number}"
    for said, cell in (("cur_tx", "negotiated_tx"), ("cur_detect", "detect_time"), ("if_name", "interface_name")):
        if said in facts:
            found[cell] = facts[said]
    return found | BEYOND.get(name, {})


def diagnostics_in(name):
    facts = facts_of(name)
    if name == "huawei":
        return {**{number: number for number in range(9)}, 9: 3}
    if "diag" in facts:
        return {int(said): number for said, number in facts["diag"].items()}
    if "diag_off" in facts:
        return {number + facts["diag_off"]: number for number in range(9)}
    return {}


def cells_of(profile):
    return {cell for table in profile.tables for cell in table.columns}


# --- the tables -------------------------------------------------------------------------------------------------------


def test_there_are_facts_for_every_profile():
    assert {*FACTS_OF, *MORE} == {*PROFILES}
    assert {*FACTS_OF.values()} == {*FACTS}


@profiles
def test_every_column_is_where_the_mib_has_it(profile):
    facts = columns_in(profile.name)
    assert {cell: profile.column(cell) for cell in cells_of(profile)} == {
        cell: facts.get(cell) for cell in cells_of(profile)
    }


@profiles
def test_no_cell_that_a_session_is_known_or_sampled_by_is_left_out(profile):
    """A table has what its MIB has of it, in its columns or in its index."""
    there = cells_of(profile) | {part for form in profile.index for part in form}
    facts = columns_in(profile.name)
    assert {cell for cell in (*mibs.IDENTITY, *mibs.SAMPLED) if cell in facts} <= there


@profiles
def test_entry_and_base(profile):
    facts = facts_of(profile.name)
    assert profile.entry == facts["entry"]
    # Nokia's MIB has much else, which tells nothing of BFD.
    assert profile.base == (profile.entry.rpartition(".")[0] if profile.name.startswith("nokia") else facts["base"])
    assert profile.entry.startswith(f"{profile.base}.")


@profiles
def test_states_are_those_of_the_mib(profile):
    assert profile.states == {int(said): STATES[name] for said, name in facts_of(profile.name)["state"].items()}


@profiles
def test_diagnostics_are_numbered_as_in_the_mib(profile):
    if profile.column("diagnostic") is None and profile.column("last_diagnostic") is None:
        assert not diagnostics_in(profile.name)
        return
    told = diagnostics_in(profile.name)
    assert {number: int(profile.diagnostics[number]) for number in told} == told
    # 9 of the RFC's own registry is younger than the drafts, and does no harm there.
    assert {*profile.diagnostics} - {*told} <= ({9} if profile.diagnostics is mibs.DIAGNOSTIC_RFC5880 else set())


@profiles
def test_intervals_have_the_unit_of_the_mib(profile):
    # SD-WAN's facts have no unit: the family of its states has milliseconds (research 1.1).
    assert profile.interval == facts_of(profile.name).get("us", 1000)


@profiles
def test_the_index_is_made_of_what_the_mib_says(profile):
    facts = facts_of(profile.name)
    forms = [facts["index"], facts.get("index_2006")]
    assert [list(form) for form in profile.index] == [
        [PARTS.get(part) or CELLS.get(part, part) for part in form] for form in forms if form
    ]


@profiles
def test_no_profile_reads_the_authentication_key(profile):
    """The key's column is known, to be withheld, wherever the MIB has one, and no cell is there."""
    facts = facts_of(profile.name)
    number = facts["col"].get("auth_key") or {"bfd-std": 35, "extreme": 34, "fs": 34}.get(profile.name)
    assert profile.withheld == (f"{profile.entry}.{number}" if number else None)
    assert profile.withheld not in {profile.column(cell) for cell in cells_of(profile)}


@profiles
def test_every_cell_is_one_that_somebody_reads(profile):
    known = {*mibs.IDENTITY, *mibs.SAMPLED, *mibs.DESCRIBED}
    assert cells_of(profile) <= known
    assert (profile.column("type") is not None) is bool(profile.multihop)


@profiles
def test_every_table_can_be_found_and_read(profile):
    assert PROFILES[profile.name] is profile is profile_for(profile.name)
    assert profile.name == profile.name.lower()
    assert profile.column("state") == f"{profile.entry}.{profile.tables[0].columns['state']}"
    assert profile.states
    assert profile.title


def test_no_two_profiles_have_one_state_column():
    """For detection knows a table by it alone."""
    assert len({profile.column("state") for profile in PROFILES.values()}) == len(PROFILES)


def test_numbers_mean_other_states_in_other_families():
    assert [PROFILES[name].states[1] for name in ("bfd-std", "huawei")] == [State.ADMIN_DOWN, State.DOWN]
    assert [PROFILES[name].states[3] for name in ("cisco", "h3c", "nokia")] == [State.INIT, State.UP, State.UP]
    assert 0 not in PROFILES["bfd-std"].states
    assert 4 not in PROFILES["huawei"].states


def test_vendors_that_number_diagnostics_in_their_own_way():
    signaled = Diagnostic.NEIGHBOR_SIGNALED_SESSION_DOWN
    assert PROFILES["huawei"].diagnostics[9] is signaled
    assert PROFILES["zte-an"].diagnostics[99] is Diagnostic.NONE
    assert PROFILES["zte"].diagnostics[4] is PROFILES["cisco"].diagnostics[3] is signaled
    assert PROFILES["eltex"].diagnostics[16] is Diagnostic.MISCONNECTIVITY_DEFECT
    assert 255 not in PROFILES["eltex"].diagnostics


def test_the_order_of_preference():
    """VRFs first, then both addresses, then none; tunnels last."""
    order = list(PROFILES)
    wanted = ["nokia", "huawei", "bfd-std", "extreme", "h3c", "cisco", "juniper", "cisco-sdwan"]
    assert sorted(wanted, key=order.index) == wanted
    assert order[-2:] == ["cisco-sdwan", "viptela"]


def test_intervals_are_told_in_microseconds():
    assert PROFILES["huawei"].microseconds("negotiated_tx", 50) == 50_000
    assert BFD_STD.microseconds("min_rx", 300_000) == 300_000
    assert BFD_STD.microseconds("multiplier", 3) is None
    assert BFD_STD.microseconds("min_rx", b"3") is None


# --- indexes ----------------------------------------------------------------------------------------------------------

V4, V6 = ip_address("192.0.2.1").packed, ip_address("2001:db8::1").packed
IN_V6 = ".".join(str(octet) for octet in V6)


@pytest.mark.parametrize(
    ("name", "index", "cells"),
    [
        ("bfd-std", "7", {"session": 7}),
        ("aricent", "2.7", {"vrf_id": 2, "session": 7}),
        ("h3c", "7", {"session": 7}),
        ("h3c", "12.7", {"interface": 12, "session": 7}),
        ("h3c", "1.2.3", {}),
        ("omniswitch", "7", {"discriminator": 7}),
        (
            "nokia",
            f"1.0.1.3.1.4.192.0.2.9.2.16.{IN_V6}",
            {
                "link_type": 1,
                "rx_info": 0,
                "vrf_id": 1,
                "router_interface": 3,
                "local_type": 1,
                "local": ip_address("192.0.2.9").packed,
                "peer_type": 2,
                "peer": V6,
            },
        ),
        (
            "nokia-old",
            "1.3.1.4.192.0.2.9.1.4.192.0.2.1",
            {
                "vrf_id": 1,
                "router_interface": 3,
                "local_type": 1,
                "local": ip_address("192.0.2.9").packed,
                "peer_type": 1,
                "peer": V4,
            },
        ),
        (
            "eltex",
            "5.1.4.192.0.2.1.0.0.77",
            {
                "interface": 5,
                "peer_type": 1,
                "peer": V4,
                "local_type": 0,
                "local": b"",
                "remote_discriminator": 77,
            },
        ),
        (
            "viptela",
            "4.192.0.2.9.4.192.0.2.1.2.12346.12366",
            {
                "local": ip_address("192.0.2.9").packed,
                "peer": V4,
                "protocol": 2,
                "local_port": 12346,
                "peer_port": 12366,
            },
        ),
        ("viptela", "4.192.0.2.9.4.192.0.2.1.2.12346", {}),
        ("viptela", "4.192.0.2.9.4.192.0.2.256.2.12346.12366", {}),
        ("nokia", "1.0.1.3.1.4.192.0.2.9.2.17.1", {}),
        ("nokia", "1.0.1.3.1.4000000000.192.0.2.9.2.17.1", {}),
        ("bfd-std", "7.1", {}),
        ("bfd-std", "", {}),
        ("bfd-std", "x", {}),
    ],
)
def test_what_an_index_says(name, index, cells):
    assert PROFILES[name].index_cells(index) == cells


@given(st.sampled_from([*PROFILES.values()]), st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 20), max_size=40))
def test_an_index_may_be_anything(profile, numbers):
    cells = profile.index_cells(".".join(str(number) for number in numbers))
    assert set(cells) in [set(), *({*form} for form in profile.index)]


def test_cells_in_a_table_with_another_index():
    """H3C's timers are those of the interface, Nokia's names those of its virtual router."""
    timers = "1.3.6.1.4.1.25506.2.72.1.2.1.2"
    h3c = PROFILES["h3c"]
    assert h3c.instance("min_tx", "12.7") == f"{timers}.12"
    assert h3c.instance("min_tx", "7") is None
    assert h3c.instance("min_tx", "7", {"interface": 9}) == f"{timers}.9"
    assert h3c.instance("min_tx", "7", {"interface": b"9"}) is None
    nokia = PROFILES["nokia"]
    index = "1.0.5.3.1.4.192.0.2.9.1.4.192.0.2.1"
    assert nokia.instance("state", index) == f"1.3.6.1.4.1.6527.3.1.2.3.92.1.8.{index}"
    assert nokia.instance("vrf", index) == "1.3.6.1.4.1.6527.3.1.2.3.1.1.4.5"
    assert nokia.instance("interface_name", index) == "1.3.6.1.4.1.6527.3.1.2.3.4.1.4.5.3"
    eltex = PROFILES["eltex"]
    where = "5.1.4.192.0.2.1.1.4.192.0.2.9"
    assert eltex.instance("multiplier", f"{where}.77") == f"1.3.6.1.4.1.35265.1.23.6.3.1.9.{where}"


# --- settings ---------------------------------------------------------------------------------------------------------


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


def test_auto_is_the_standard_until_the_device_was_asked():
    assert profile_for("auto") is profile_for("bfd-std") is BFD_STD


def test_the_one_oid_mode():
    profile = one_oid(".1.3.6.1.4.1.5.2")
    assert profile.column("state") == profile.instance("state", "") == "1.3.6.1.4.1.5.2"
    assert profile.instance("state", "9") == "1.3.6.1.4.1.5.2.9"
    assert profile.instance("diagnostic", "9") is None
    assert profile.states[1] is State.UP
    assert one_oid("1.3.6.1.4.1.5.2", "state").states[1] is State.ADMIN_DOWN
