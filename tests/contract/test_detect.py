"""Which BFD table a device has, found out over UDP from agents of every kind, by both engines and in version 1."""

import asyncio
import os
from collections.abc import Callable
from importlib import import_module

import pytest
from lab.agent import GEN_ERR, Agent, Answer, Drops, Fault, Oid, Request, TooBig, arcs, integer, octets, value
from lab.recordings import all_recordings

from exabgp_bfd.core.model import Secret, SourceError
from exabgp_bfd.sources.snmp.client import connect
from exabgp_bfd.sources.snmp.detect import Detected, detect, one_line
from exabgp_bfd.sources.snmp.mibs import BFD_STD, PROFILES, Profile, one_oid
from exabgp_bfd.sources.snmp.target import Target

COMMUNITY = "not to be shown"
RECORDINGS = all_recordings()


@pytest.fixture(params=["pysnmp 2c", "gufo 2c", "pysnmp 1"])
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    engine, version = request.param.split()
    if engine == "gufo":
        if os.environ.get("EXABGP_BFD_REQUIRE_ALL") == "1":
            import_module("gufo.snmp")
        pytest.importorskip("gufo.snmp", reason="gufo_snmp is missing: pip install exabgp-bfd[fast]")
    return engine, version


Cells = dict[str, bytes]


def system() -> Cells:
    return {
        "1.3.6.1.2.1.1.1.0": octets(b"a box of these tests"),
        "1.3.6.1.2.1.1.2.0": value("6", "1.3.6.1.4.1.32473.1"),
        "1.3.6.1.2.1.1.3.0": value("67", "0"),
        "1.3.6.1.2.1.1.5.0": octets(b"edge1"),
    }


def row(profile: Profile, index: str = "7", state: int | None = None) -> Cells:
    """One row of a profile's table: as far as detection looks, its state."""
    return {f"{profile.column('state')}.{index}": integer(next(iter(profile.states)) if state is None else state)}


def detected(
    cells: Cells,
    kind: tuple[str, str] = ("pysnmp", "2c"),
    before: Profile | None = None,
    faults: tuple[Fault, ...] = (),
    **changes,
) -> Detected:
    """What detection makes of an agent with these cells beside the system group."""
    engine, version = kind

    async def scenario() -> Detected:
        async with Agent({**system(), **cells}, community=COMMUNITY) as agent:
            agent.suffers(*faults)
            settings = {"community": Secret(COMMUNITY), "timeout": 2.0, **changes}
            target = Target("edge1", "127.0.0.1", port=agent.port, engine=engine, version=version, **settings)
            client = connect(target)
            try:
                async with asyncio.timeout(60):
                    return await detect(client, before)
            finally:
                await client.close()

    return asyncio.run(scenario())


def number(profile: Profile) -> int:
    """The state column's."""
    return arcs(profile.column("state"))[-1]


TABLES = list(PROFILES.values())
NAMES = [profile.name for profile in TABLES]


def test_each_table_is_at_a_place_of_its_own():
    columns = [profile.column("state") for profile in TABLES]
    assert len(set(columns)) == len(columns)
    assert not [
        (one, other) for one in columns for other in columns if one != other and f"{other}.".startswith(f"{one}.")
    ]


@pytest.mark.parametrize("profile", TABLES, ids=NAMES)
def test_a_table_is_found_by_its_rows(profile, kind):
    found = detected(row(profile), kind)
    assert (found.profile, found.others, found.empty, found.oddities) == (profile, (), (), ())


@pytest.mark.parametrize("profile", TABLES, ids=NAMES)
def test_a_neighbouring_column_or_table_is_not_it(profile):
    """The first instance after the state column, outside of it, must not be taken for its row."""
    state = number(profile)
    # 11 must not be found in 110 either.
    found = detected({f"{profile.entry}.{other}.7": integer(4) for other in (state - 1, state + 1, state * 10)})
    assert found.profile is None
    assert profile in found.empty


@pytest.mark.parametrize("profile", TABLES, ids=NAMES)
def test_every_state_of_a_table_speaks_for_it(profile):
    for state in profile.states:
        assert detected(row(profile, state=state)).profile == profile


@pytest.mark.parametrize("profile", TABLES, ids=NAMES)
@pytest.mark.parametrize("index", ["1", "4294967295", "35769.12", "1.4.192.0.2.1.4.198.51.100.1"])
def test_any_form_of_index(profile, index):
    assert detected(row(profile, index)).profile == profile


def test_what_the_device_is(kind):
    cells = {
        "1.3.6.1.2.1.1.2.0": value("6", "1.3.6.1.4.1.9.1.2494"),
        "1.3.6.1.2.1.1.1.0": octets(b"Cisco IOS\r\n Version 17\x00 \xff"),
        "1.3.6.1.2.1.1.5.0": octets(b"edge1.example.net"),
    }
    found = detected({**cells, **row(BFD_STD)}, kind)
    assert found.object_id == "1.3.6.1.4.1.9.1.2494"
    assert found.description == "Cisco IOS Version 17 \N{REPLACEMENT CHARACTER}"
    assert found.name == "edge1.example.net"
    assert found.up_time is not None
    assert found.up_time >= 8_640_000  # where the agent begins


def test_a_device_without_a_system_group(kind):
    async def scenario() -> Detected:
        async with Agent(row(BFD_STD), community=COMMUNITY) as agent:
            engine, version = kind
            target = Target(
                *("edge1", "127.0.0.1", Secret(COMMUNITY), agent.port), engine=engine, version=version, timeout=2.0
            )
            client = connect(target)
            try:
                return await detect(client)
            finally:
                await client.close()

    found = asyncio.run(scenario())
    assert (found.object_id, found.description, found.up_time, found.name) == (None, None, None, None)
    assert found.profile == BFD_STD


def test_no_table_at_all(kind):
    found = detected({}, kind)
    assert (found.profile, found.others, found.empty) == (None, (), ())
    assert found.description == "a box of these tests"


@pytest.mark.parametrize("profile", TABLES, ids=NAMES)
def test_a_table_without_rows_is_told(profile):
    found = detected({f"{profile.entry}.1.7": integer(1)})
    assert found.profile is None
    assert profile in found.empty


def test_a_mib_of_which_only_scalars_are_there(kind):
    found = detected({"1.3.6.1.2.1.222.1.1.1.0": integer(2)}, kind)
    assert (found.profile, found.empty) == (None, (BFD_STD,))


@pytest.mark.parametrize(("cells", "most"), [(row(BFD_STD), 1), ({}, 2)], ids=["with a table", "without one"])
def test_it_takes_a_datagram_or_two(cells, most):
    """All columns of all tables in one PDU, and the MIBs' roots in another where none has a row."""

    async def scenario() -> int:
        async with Agent({**system(), **cells}, community=COMMUNITY) as agent:
            client = connect(Target("edge1", "127.0.0.1", Secret(COMMUNITY), agent.port, engine="pysnmp", timeout=2.0))
            try:
                await detect(client)
            finally:
                await client.close()
            return len(agent.requests)

    assert asyncio.run(scenario()) == most


FIRST, SECOND, THIRD = TABLES[:3]


def test_the_preferred_of_several_tables(kind):
    found = detected({**row(THIRD), **row(FIRST), **row(SECOND)}, kind)
    assert (found.profile, found.others) == (FIRST, (SECOND, THIRD))


def test_the_table_from_before_is_kept_while_it_has_rows(kind):
    both = {**row(FIRST), **row(SECOND)}
    found = detected(both, kind, before=SECOND)
    assert (found.profile, found.others) == (SECOND, (FIRST,))
    assert detected(both, kind, before=THIRD).profile == FIRST
    assert detected(row(FIRST), kind, before=SECOND).profile == FIRST


def test_the_table_from_before_is_kept_even_if_its_first_row_is_odd():
    found = detected({**row(FIRST), **row(SECOND, state=99)}, before=SECOND)
    assert (found.profile, found.others) == (SECOND, (FIRST,))


def test_a_column_that_an_operator_named_is_kept_too():
    mine = one_oid("1.3.6.1.4.1.32473.1.2", "state")
    found = detected({"1.3.6.1.4.1.32473.1.2.1": integer(4), **row(BFD_STD)}, before=mine)
    assert (found.profile, found.others) == (mine, (BFD_STD,))
    assert detected(row(BFD_STD), before=mine).profile == BFD_STD


def test_a_number_that_is_no_state_lets_another_table_win(kind):
    found = detected({**row(FIRST, state=99), **row(SECOND)}, kind)
    assert (found.profile, found.others) == (SECOND, (FIRST,))
    assert found.oddities == (f"{FIRST.column('state')}.7 is 99, which is no state of {FIRST.title}",)


def test_a_number_that_is_no_state_is_a_table_where_there_is_no_other(kind):
    found = detected(row(FIRST, state=99), kind)
    assert found.profile == FIRST
    assert "is 99" in found.oddities[0]


@pytest.mark.parametrize("said", [octets(b"up"), value("6", "1.3.6"), value("64", "192.0.2.1")])
def test_what_is_no_number_is_no_table(said, kind):
    found = detected({f"{FIRST.column('state')}.7": said, **row(SECOND)}, kind)
    assert (found.profile, found.others) == (SECOND, ())
    assert "is no number" in found.oddities[0]


# --- layouts that look alike ----------------------------------------------------------------------------------------


# Where each agent's BFD MIB is, and the column and coding of its states, from the MIBs' own texts (shared/research).
LAYOUTS = [
    ("RFC 7331", "1.3.6.1.2.1.222.1.2.1", 11, 4),
    ("Cisco", "1.3.6.1.4.1.9.10.137.1.2.1", 6, 4),
    ("Juniper", "1.3.6.1.4.1.2636.5.3.1.1.2.1", 6, 4),
    ("Foundry", "1.3.6.1.4.1.1991.3.3.1.1.2.1", 6, 4),
    ("EXOS, draft 14", "1.3.6.1.4.1.1916.1.43.2.1.2.1", 10, 4),
    ("FS, draft 14", "1.3.6.1.4.1.52642.1.1.10.2.48.1.2.1", 10, 4),
    ("Huawei", "1.3.6.1.4.1.2011.5.25.38.2.3.1", 17, 3),
    ("H3C", "1.3.6.1.4.1.25506.2.72.1.3.1", 12, 3),
    ("H3C at HP", "1.3.6.1.4.1.11.2.14.11.15.2.72.1.3.1", 12, 3),
    ("H3C, old", "1.3.6.1.4.1.2011.10.2.72.1.3.1", 12, 3),
    ("H3C at 3Com", "1.3.6.1.4.1.43.45.1.10.2.72.1.3.1", 12, 3),
    ("Nokia", "1.3.6.1.4.1.6527.3.1.2.3.92.1", 8, 3),
    ("ZTE", "1.3.6.1.4.1.3902.3.322.1.2.1", 7, 4),
    ("OmniSwitch 7", "1.3.6.1.4.1.6486.801.1.2.1.45.1.1.3.1", 7, 4),
    ("Aricent", "1.3.6.1.4.1.29601.2.54.2.1.1", 10, 4),
    ("SD-WAN", "1.3.6.1.4.1.9.9.1002.1.1.1.1", 10, 3),
]


@pytest.mark.parametrize(("entry", "column", "up"), [layout[1:] for layout in LAYOUTS], ids=[x[0] for x in LAYOUTS])
def test_a_whole_table_of_one_kind_is_never_taken_for_another(entry, column, up):
    """Every column of the row holds a number that is a state in some table; only the right one may be read."""

    found = detected({f"{entry}.{other}.7": integer(up if other == column else 1) for other in range(1, 40)})
    assert found.profile is not None
    assert (found.profile.entry, number(found.profile), found.others) == (entry, column, ())
    assert found.profile.states[up] == "up"


@pytest.mark.parametrize("index", ["35769", "12.35769"], ids=["index", "ifIndex.index"])
@pytest.mark.parametrize("entry", [entry for name, entry, *_ in LAYOUTS if name.startswith("H3C")])
def test_both_index_forms_of_h3c_at_each_of_its_places(entry, index):
    found = detected({f"{entry}.12.{index}": integer(3)})
    assert found.profile is not None
    assert (found.profile.entry, found.others) == (entry, ())


@pytest.mark.parametrize("recording", RECORDINGS, ids=[recording.name for recording in RECORDINGS])
def test_whole_devices(recording):
    found = detected(recording.table)
    assert found.profile is not None
    assert (found.profile.entry, found.profile.column("state")) == (recording.entry, recording.state)
    assert (found.others, found.oddities) == ((), ())


# --- agents that do not play by the rules ---------------------------------------------------------------------------


class Follows(Fault):
    """After one OID (or after each) another instance than the next."""

    def __init__(self, instead: Callable[[Oid], tuple[Oid, bytes] | None]) -> None:
        super().__init__()
        self.instead = instead

    def following(self, agent: Agent, oid: Oid, row: int) -> tuple[Oid, bytes] | None:
        return self.instead(oid)


class Chokes(Fault):
    """genErr for every request that names one OID."""

    def __init__(self, at: Oid) -> None:
        super().__init__()
        self.at = at

    def says(self, agent: Agent, request: Request, answer: Answer) -> Answer:
        if self.at in request.oids:
            return answer.failing(request, GEN_ERR, request.oids.index(self.at) + 1)
        return answer


def test_an_agent_that_goes_backwards_is_not_believed(kind):
    column = arcs(FIRST.column("state"))
    back = (*column[:-1], column[-1] - 1, 7)
    turns = Follows(lambda oid: (back, integer(3)) if oid == column else None)
    found = detected(row(SECOND), kind, faults=(turns,))
    assert (found.profile, found.others) == (SECOND, ())
    assert any("goes backwards" in oddity for oddity in found.oddities)
    assert 0 < turns.seen < 100


def test_an_agent_that_answers_the_question_itself_is_not_believed(kind):
    """GETNEXT that gives what was asked for: a loop for whoever walks on from there."""
    stands = Follows(lambda oid: (oid, integer(4)))
    found = detected({}, kind, faults=(stands,))
    assert (found.profile, found.empty) == (None, ())
    assert any("goes backwards" in oddity for oddity in found.oddities)
    assert 0 < stands.seen < 100


def test_one_object_that_the_agent_chokes_on_does_not_hide_the_others(kind):
    found = detected(row(SECOND), kind, faults=(Chokes(arcs(FIRST.column("state"))),))
    assert found.profile == SECOND
    assert any("genErr" in oddity for oddity in found.oddities)


def test_an_agent_that_refuses_many_values_at_once(kind):
    assert detected(row(BFD_STD), kind, faults=(TooBig(varbinds=3),)).profile == BFD_STD


def test_a_silent_agent_is_an_error(kind):
    with pytest.raises(SourceError, match="no answer from") as caught:
        detected({}, kind, faults=(Drops(),), timeout=0.1, retries=0)
    assert COMMUNITY not in str(caught.value)


class Scripted:
    """An agent as detection sees it, without a network: GETNEXT in packs fails, and one by one as told."""

    def __init__(self, alone: Callable[[str], tuple[str, int] | None]) -> None:
        self.alone = alone
        self.asked: list[str] = []

    async def get(self, oids):
        return {}

    async def next(self, oids):
        if len(oids) > 1:
            raise SourceError("too much")
        self.asked += oids
        return {oids[0]: self.alone(oids[0])}


def test_an_agent_that_takes_one_object_at_a_time():
    column = BFD_STD.column("state")
    agent = Scripted(lambda oid: (f"{column}.1", 4) if oid == column else None)
    found = asyncio.run(detect(agent))
    assert found.profile == BFD_STD
    assert len(agent.asked) == len(set(agent.asked))


def test_an_oid_that_is_none_is_not_believed():
    column = BFD_STD.column("state")
    agent = Scripted(lambda oid: (f"{column}.99999999999999", 4) if oid == column else None)
    found = asyncio.run(detect(agent))
    assert found.profile is None


def test_oddities_are_bounded():
    found = asyncio.run(detect(Scripted(lambda oid: ("1.3", 4))))
    assert 0 < len(found.oddities) <= 20


@pytest.mark.parametrize(
    ("raw", "shown"),
    [(b"a\r\nb", "a b"), (b"  ", None), (None, None), (7, None), (b"x" * 300, "x" * 200), (b"\x1b[31mred", "[31mred")],
)
def test_one_line(raw, shown):
    assert one_line(raw) == shown
