"""Anything at all from the network: every decoder of ours gives what is true, or its one kind of error, and soon.

The judge of what a message says is pysnmp's codec, with which none of our readers of messages is made: what both can
read they must read alike. What is authenticated is believed only as it was sent, to the octet.

`HYPOTHESIS_PROFILE=nightly` reads some hundred thousand datagrams and tables.
"""

import asyncio
import contextlib
import random
import time
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.agent import Agent, Answer, Babbles, Reply, Request, counter64, dotted, integer, octets, tlv, written
from lab.listening import target
from lab.recordings import all_recordings, bfd_std
from pyasn1.codec.ber import decoder
from pyasn1.type import univ
from pysnmp.proto.api import v2c

from exabgp_bfd.core.credentials import User
from exabgp_bfd.core.model import Observation, Secret, SourceError, State
from exabgp_bfd.sources.snmp import notifications, readings, trap_message, usm
from exabgp_bfd.sources.snmp.client import connect
from exabgp_bfd.sources.snmp.envelope import Plain, Protected, Report
from exabgp_bfd.sources.snmp.mibs import PROFILES, SYS_UP_TIME
from exabgp_bfd.sources.snmp.notifications import Hint, notified
from exabgp_bfd.sources.snmp.octets import Absent, request
from exabgp_bfd.sources.snmp.rows import DISCOVERED, UpTimes, address, gathered, identify, observe, places, text
from exabgp_bfd.sources.snmp.target import Target
from exabgp_bfd.sources.snmp.usm import Keys, Security, UsmError

AT_ONCE = 20
"""Datagrams in one example."""
SOON = 5.0
"""Seconds in which anything must have been read, on a machine that has other work; mostly it takes microseconds."""

NUMBERS = st.one_of(
    st.integers(-5, 12),
    st.sampled_from([-(2**31), 2**31 - 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1, -(2**63), 255, 256]),
    st.integers(-(2**64), 2**65),
)
OCTETS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"", bytes(4), bytes(16), bytes(20), b"\xff" * 8, b"ge-0/0/0", b"\xc3\x28", b"a\nb\x1b[31m", b"-"]
    ),
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=16, max_size=16),
)
DOTTED = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=6).map(dotted),
)
VALUES = st.one_of(NUMBERS, OCTETS, DOTTED)
NAMES = st.text(max_size=8).map(lambda name: text(name.encode("utf-8", "replace"))).filter(bool)
"""Of interfaces, as they are when they have been read."""
INDEXES = [told.index for recording in all_recordings() for told in recording.sessions]
INDEX = st.one_of(
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=24).map(dotted),
    st.lists(st.sampled_from([0, 1, 2, 4, 16, 255, 256, 2**32 - 1]), min_size=1, max_size=40).map(dotted),
    st.sampled_from(INDEXES),
    st.sampled_from(INDEXES).flatmap(
        lambda index: st.tuples(st.integers(0, len(index.split("."))), st.integers(0, 300)).map(
            lambda at: ".".join([*index.split(".")[: at[0]], str(at[1]), *index.split(".")[at[0] + 1 :]])
        )
    ),
)
TABLES = st.dictionaries(INDEX, st.dictionaries(st.sampled_from(DISCOVERED), VALUES, max_size=12), max_size=6)


# --- rows ---------------------------------------------------------------------------------------------------------


@given(
    st.sampled_from([*PROFILES.values()]),
    TABLES,
    TABLES,
    st.dictionaries(st.integers(0, 12), NAMES, max_size=4),
    st.sampled_from(["", "red"]),
)
def test_any_table_becomes_sessions_with_names_of_their_own_that_last(profile, first, second, interfaces, context):
    before = identify("edge", profile, first, interfaces, context=context)
    assert sorted(row.index for row in before) == sorted(first)
    assert len({row.session.name for row in before}) == len(before)
    again = identify("edge", profile, first, interfaces, before, context)
    assert {row.index: row.session.name for row in again} == {row.index: row.session.name for row in before}
    after = identify("edge", profile, second, interfaces, before, context)
    assert sorted(row.index for row in after) == sorted(second)
    assert len({row.session.name for row in after}) == len(after)
    for row in (*before, *after):
        assert row.session.name.isprintable()
        assert row.session.name
        assert row.cells["state"] == profile.instance("state", row.index)


@given(
    st.sampled_from([*PROFILES.values()]),
    TABLES.filter(bool),
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from([*DISCOVERED, "state", "up_time"]), VALUES), NUMBERS), max_size=6
    ),
)
def test_whatever_a_row_says_is_a_state_of_its_table_or_none(profile, table, samples):
    rows = identify("edge", profile, table, {})
    up_times = UpTimes()
    for sample, ticks in samples:
        for row in rows:
            said = {row.cells[name]: value for name, value in sample.items() if name in row.cells}
            said |= {row.cells["state"]: sample.get("state", 1), SYS_UP_TIME: ticks}
            raw = said[row.cells["state"]]
            try:
                seen = observe(profile, row, said, up_times)
            except SourceError as trouble:
                shown = str(trouble)
                assert raw not in profile.states or not isinstance(raw, int)
                assert shown.isprintable()
                assert len(shown) < 1000
            else:
                assert isinstance(seen, Observation)
                assert isinstance(raw, int)
                assert seen.state is profile.states[raw]
                assert seen.state not in {State.MISSING, State.UNKNOWN}


@given(st.sampled_from([*PROFILES.values()]), INDEX, st.dictionaries(st.sampled_from(DISCOVERED), VALUES))
def test_any_index_is_read_or_left(profile, index, known):
    cells = profile.index_cells(index)
    assert all(isinstance(value, int | bytes) for value in cells.values())
    for name in DISCOVERED:
        place = profile.instance(name, index, known)
        assert place is None or all(part.isdigit() and int(part) < 2**32 for part in place.split(".")), place
    asked = places(profile, [index])
    table = gathered(profile, [index], asked, dict.fromkeys(asked, 1))
    assert {name: value for name, value in table[index].items() if name in cells} == dict(cells)


@given(st.one_of(st.none(), NUMBERS, OCTETS, DOTTED), st.one_of(st.none(), VALUES))
def test_any_address_is_one_or_none(kind, raw):
    found = address(kind, raw)
    assert found is None or (isinstance(found, IPv4Address | IPv6Address) and not found.is_unspecified)
    if isinstance(raw, bytes) and found is not None:
        assert len(raw) in {4, 8, 16, 20}
        assert found.packed == raw[: len(found.packed)]
    shown = text(raw)
    assert shown is None or (shown.isprintable() and shown.strip())


@given(INDEX, VALUES)
def test_what_jobs_show_is_made_of_anything(index, value):
    for read in (readings._physical, readings._media):
        place = read(index)
        assert place is None or isinstance(place[0], int)
    shown = readings.valued("1.3.6.1.2.1.1.1.0", value)
    assert shown["type"] in {"integer", "text", "hex", "dotted"}
    readings.mac(value)


# --- datagrams ----------------------------------------------------------------------------------------------------

DEVICE = bfd_std()
CELLS = [(oid, said) for oid, said in sorted(DEVICE.table.items())]
NUMBER = 1_234_567


def response(source: random.Random) -> bytes:
    """An answer as an agent gives it."""
    said = [*source.sample(CELLS, source.randint(0, 12))]
    said += [
        (
            "1.3.6.1.4.1.9.1",
            source.choice([counter64(2**64 - 1), integer(-1), octets(bytes(200)), b"\x81\0", b"\x05\0"]),
        )
    ]
    varbinds = tuple((tuple(map(int, oid.split("."))), value) for oid, value in said)
    status = source.choice([0, 0, 0, 1, 5, 99])
    return written(Answer(1, b"public", NUMBER, varbinds, status, source.choice([0, 0, 1, 40])))


def mutated(source: random.Random, datagram: bytes) -> bytes:
    """The same with octets changed, cut, doubled, put in, or lengths that lie."""
    made = bytearray(datagram)
    for _ in range(source.choice([1, 1, 1, 2, 3, 8])):
        at = source.randrange(len(made) + 1)
        match source.randrange(8):
            case 0 if made:
                made[at % len(made)] ^= 1 << source.randrange(8)
            case 1 if made:
                made[at % len(made)] = source.choice([0, 1, 2, 4, 5, 6, 0x30, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xA2, 0xFF])
            case 2:
                del made[at : at + source.choice([1, 1, 2, 9, 1000])]
            case 3:
                made[at:at] = bytes(source.randrange(256) for _ in range(source.choice([1, 2, 5])))
            case 4:
                made[at:at] = made[at : at + source.randrange(30)]
            case 5:
                made[at:at] = source.choice(
                    [b"\x30\x80", b"\x24\x80", b"\x30\x84\xff\xff\xff\xff", b"\x02\x81\x00", b"\0\0"]
                )
            case 6:
                made += bytes(source.choice([1, 2, 40]))
            case _ if made:
                made[source.randrange(min(len(made), 24))] = source.randrange(256)
    return bytes(made)


def judged(datagram: bytes) -> tuple[int, int, list[tuple[str, object]]] | None:
    """What pysnmp's codec makes of a response of version 2c; None where it is none to it."""
    try:
        message, rest = decoder.decode(datagram, asn1Spec=v2c.Message())
        pdu = v2c.apiMessage.get_pdu(message)
        if rest or int(v2c.apiMessage.get_version(message)) != 1:
            return None
        if not pdu.isSameTypeWith(v2c.GetResponsePDU(), matchConstraints=False):
            return None
        values = [(str(oid), _bare(value)) for oid, value in v2c.apiPDU.get_varbinds(pdu)]
        return int(v2c.apiPDU.get_request_id(pdu)), int(v2c.apiPDU.get_error_status(pdu)), values
    except Exception:  # noqa: BLE001 - whatever it makes of it, it is no response
        return None


def _bare(value: object) -> object:
    if isinstance(value, v2c.NoSuchObject | v2c.NoSuchInstance):
        return Absent.ROW
    if isinstance(value, v2c.EndOfMibView):
        return Absent.END
    if isinstance(value, univ.Null):
        return Absent.NULL
    if isinstance(value, univ.Integer):
        return int(value)
    if isinstance(value, univ.ObjectIdentifier):
        return str(value)
    contents = value.asOctets()  # type: ignore[attr-defined]
    return ".".join(map(str, contents)) if isinstance(value, v2c.IpAddress) else contents


PLAIN = Plain(Target("edge", "127.0.0.1", Secret("public")))


@given(st.integers(0, 2**64))
def test_a_response_is_read_as_pysnmp_reads_it_or_not_at_all(seed):
    source = random.Random(seed)
    for turn in range(AT_ONCE):
        datagram = response(source) if turn == 0 else mutated(source, response(source))
        began = time.monotonic()
        try:
            number, answer = PLAIN.unwrap(datagram, 0.0)
        except (ValueError, IndexError):
            assert turn, "a response that is right was not read"
            continue
        finally:
            assert time.monotonic() - began < SOON
        said = judged(datagram)
        if said is not None:
            assert (number, answer.status, answer.values) == said, datagram.hex()
        else:
            assert turn, "pysnmp does not read what an agent says"


@given(st.binary(max_size=300))
def test_octets_without_a_meaning_are_only_garbage(datagram):
    for read in (lambda: PLAIN.unwrap(datagram, 0.0), lambda: trap_message.enveloped(datagram)):
        with pytest.raises((ValueError, IndexError)):
            read()
    with pytest.raises(trap_message.MalformedError):
        trap_message.noticed(datagram, 1)
    with pytest.raises(UsmError):
        usm.unseal(datagram, {}, 0.0)


DEEP = {
    "sequences": b"\x30\x82\xff\x00" * 8_000,
    "strings in strings": b"\x24\x80" * 15_000,
    "an OID without an end": b"\x06\x82\x7f\x00" + b"\x80" * 0x7F00,
    "an OID of the greatest arc": b"\x06\x82\x7f\x00" + b"\xff" * 0x7EFF + b"\x7f",
    "a long INTEGER": b"\x02\x82\x7f\x00" + b"\x7f" * 0x7F00,
    "strings beside strings": tlv(0x24, octets(b"a") * 10_000),
    "opaques": tlv(0x44, b"\x9f\x78\x04" * 9_000),
}


@pytest.mark.parametrize("kind", DEEP)
def test_datagrams_made_to_take_long_do_not(kind):
    """In a value's place, in an OID's, and on their own; as an answer, and as a notification."""
    deep = DEEP[kind]
    for varbind in (((1, 3), deep), ((1, 3), octets(deep))):
        datagram = written(Answer(1, b"public", NUMBER, (varbind,) * 2))
        strange = datagram.replace(b"\x06\x01\x2b", deep, 1)
        for sent in (datagram, strange, deep):
            began = time.monotonic()
            for read in (lambda sent=sent: PLAIN.unwrap(sent, 0.0), lambda sent=sent: trap_message.noticed(sent, 1)):
                with contextlib.suppress(ValueError, IndexError):
                    read()
            with pytest.raises(UsmError):
                usm.unseal(sent, {}, 0.0)
            assert time.monotonic() - began < SOON


# --- version 3 ----------------------------------------------------------------------------------------------------

ENGINE = Security(b"\x80\x00\x1f\x88\x04agent", 3, 1_000, 0.0)
USERS = {
    "noc": User("noc", "sha256", Secret("a long pass phrase"), "aes128", Secret("another pass phrase")),
    "old": User("old", "md5", Secret("a long pass phrase"), "des", Secret("another pass phrase")),
    "auth": User("auth", "sha1", Secret("a long pass phrase")),
    "open": User("open"),
}
KEYS = Keys()
PDU = request(0xA2, NUMBER, 0, 0, ["1.3.6.1.2.1.1.3.0", "1.3.6.1.2.1.1.5.0"])


@given(st.integers(0, 2**64), st.sampled_from([*USERS]))
def test_what_is_authenticated_is_believed_as_it_was_sent_only(seed, name):
    source, user = random.Random(seed), USERS[name]
    client = Protected(Target("edge", "127.0.0.1", Secret(""), version="3", user=user), user, KEYS)
    for turn in range(AT_ONCE):
        client.engine = ENGINE
        sealed = usm.seal(PDU, user, ENGINE, number=NUMBER, context="red", keys=KEYS)
        datagram = sealed if turn == 0 else mutated(source, sealed)
        try:
            opened = usm.unseal(datagram, USERS, 0.0, keys=KEYS)
        except UsmError:
            assert turn, "a message that is right was not opened"
            opened = None
        if opened is not None and opened.level is not usm.Level.NO_AUTH:
            assert datagram == sealed
            assert opened.octets == PDU
        try:
            number, told = client.unwrap(datagram, 0.0)
        except (UsmError, ValueError, IndexError):
            assert turn, "an answer that is right was not believed"
            continue
        if isinstance(told, Report):
            assert not told.proved or datagram == sealed
        elif name != "open":
            assert datagram == sealed
            assert number == NUMBER


@settings(max_examples=20)  # each has keys of its own, which take long to make
@given(st.integers(0, 2**64), st.sampled_from(["noc", "old"]))
def test_a_wrong_key_opens_nothing(seed, name):
    source, right = random.Random(seed), USERS[name]
    sealed = usm.seal(PDU, right, ENGINE, number=NUMBER, keys=KEYS)
    wrong = User(
        name, right.auth_protocol, right.auth_key, right.priv_protocol, Secret(f"pass phrase {source.random()}")
    )
    with pytest.raises(UsmError):
        usm.unseal(sealed, {name: User(name, right.auth_protocol, Secret("wrong pass phrase"))}, 0.0, keys=KEYS)
    try:
        opened = usm.unseal(sealed, {name: wrong}, 0.0, keys=Keys())
    except UsmError:
        return
    assert opened.octets != PDU


# --- notifications ------------------------------------------------------------------------------------------------

OIDS = st.one_of(
    st.sampled_from([oid for oid, _ in CELLS]),
    st.tuples(st.sampled_from([*PROFILES.values()]), st.sampled_from([*DISCOVERED, "state"]), INDEX).map(
        lambda made: made[0].instance(made[1], made[2]) or "1.3.6.1.4.1.1.1.0"
    ),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20).map(lambda rest: dotted((1, 3, 6, *rest))),
)


@given(
    st.one_of(st.sampled_from([*notifications._KNOWN]), OIDS),
    st.lists(st.tuples(OIDS, VALUES), max_size=10),
    st.lists(INDEX, max_size=5),
)
def test_whatever_comes_with_a_notification_is_a_hint_or_nothing(trap, varbinds, indexes):
    hint = notified(trap, varbinds)
    if trap not in notifications._KNOWN:
        assert hint is None
        return
    assert isinstance(hint, Hint)
    assert hint.said in {None, State.UP, State.DOWN}
    assert (hint.low is None) == (hint.high is None)
    for index in indexes:
        assert hint.covers(index) in {True, False}
    if hint.low is not None:
        assert hint.covers(hint.low)
        assert hint.covers(hint.high)


def trap(source: random.Random) -> bytes:
    said = [
        ("1.3.6.1.2.1.1.3.0", b"\x43\x02\x10\x00"),
        ("1.3.6.1.6.3.1.1.4.1.0", tlv(6, b"\x2b\x06\x01\x02\x01\x81\x5e\x00\x02")),
    ]
    said += source.sample(CELLS, source.randint(0, 6))
    varbinds = tuple((tuple(map(int, oid.split("."))), value) for oid, value in said)
    return written(Answer(1, b"public", NUMBER, varbinds, kind=source.choice([0xA6, 0xA7])))


@given(st.integers(0, 2**64))
def test_a_notification_is_read_as_pysnmp_reads_it_or_not_at_all(seed):
    source = random.Random(seed)
    for turn in range(AT_ONCE):
        datagram = trap(source) if turn == 0 else mutated(source, trap(source))
        try:
            envelope = trap_message.enveloped(datagram)
            notice = trap_message.noticed(datagram[envelope.pdu], envelope.version)
        except trap_message.MalformedError:
            assert turn, "a notification that is right was not read"
            continue
        notified(notice.trap_oid, notice.varbinds)
        try:
            message, _ = decoder.decode(datagram, asn1Spec=v2c.Message())
            pdu = v2c.apiMessage.get_pdu(message)
            said = [(str(oid), _bare(value)) for oid, value in v2c.apiPDU.get_varbinds(pdu)]
        except Exception:  # noqa: BLE001 - it is none to pysnmp
            continue
        if envelope.version != 1 or int(v2c.apiMessage.get_version(message)) != 1:
            continue
        told = dict(said)
        assert all(
            told.get(oid) == value or isinstance(told.get(oid), Absent) for oid, value in dict(notice.varbinds).items()
        )
        assert notice.trap_oid in told.values()


# --- both engines, over a socket ----------------------------------------------------------------------------------


class _Mutates(Babbles):
    """Sends what was to be said with octets changed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._source = random.Random(seed)

    def sends(self, agent: Agent, request: Request, replies: list[Reply]) -> list[Reply]:
        return [Reply(mutated(self._source, reply.datagram)) for reply in replies]


@pytest.mark.parametrize("engine", ["pysnmp", "gufo"])
def test_a_client_survives_whatever_an_agent_sends(engine):
    if engine == "gufo":
        pytest.importorskip("gufo.snmp")
    cells = [f"{DEVICE.state}.{told.index}" for told in DEVICE.sessions]

    async def one(seed: int) -> int:
        async with Agent(DEVICE.table) as agent:
            client = connect(target(agent.port, engine, timeout=0.05, retries=0))
            answered = 0
            try:
                agent.suffers(_Mutates(seed))
                asks = (lambda: client.get(cells), lambda: client.walk(DEVICE.state), lambda: client.next(cells[:2]))
                for ask in asks * 4:
                    try:
                        async with asyncio.timeout(SOON):
                            await ask()
                        answered += 1
                    except SourceError as trouble:
                        shown = str(trouble)
                        assert shown.isprintable()
                agent.behaves()
                truth = {cell: DEVICE.states[told.state] for cell, told in zip(cells, DEVICE.sessions, strict=True)}
                async with asyncio.timeout(30):
                    while (told := await right(client.get(cells))) is None:
                        pass
                assert told == truth
            finally:
                await client.close()
            return answered

    async def right(work):
        """None when the answer did not come in its 50 ms: others use the processor too."""
        try:
            return await work
        except SourceError:
            return None

    async def scenario() -> list[int]:
        return await asyncio.gather(*(one(seed) for seed in range(12)))

    asyncio.run(scenario())
