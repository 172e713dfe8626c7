"""SNMPv3's messages: RFC 3414's own examples, pysnmp's reading of the same octets, forgers, and noise."""

import hmac
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyasn1.codec.ber import decoder, encoder
from pyasn1.type import univ
from pysnmp.proto import api
from pysnmp.proto.mpmod.rfc3412 import SNMPv3Message
from pysnmp.proto.secmod.rfc3414.service import SnmpUSMSecurityModel, UsmSecurityParameters

from exabgp_bfd.core.credentials import AUTH_PROTOCOLS, PRIV_PROTOCOLS, User
from exabgp_bfd.core.model import Secret, SourceError
from exabgp_bfd.sources.snmp import usm
from exabgp_bfd.sources.snmp.usm import Authority, Clocks, Fault, Keys, Level, Security, UsmError

V2C = api.PROTOCOL_MODULES[api.SNMP_VERSION_2C]
ENGINE = Security(bytes.fromhex("80004fb8046f6e65"), 7, 5000, 100.0)
AUTH, PRIV = "authentic words", "private words"


def user(auth: str | None = "sha256", priv: str | None = "aes128", name: str = "joe") -> User:
    return User(name, auth, Secret(AUTH) if auth else None, priv, Secret(PRIV) if priv else None)


def pdu(kind=V2C.GetRequestPDU, number: int = 4711) -> bytes:
    made = kind()
    V2C.apiPDU.set_defaults(made)
    V2C.apiPDU.set_request_id(made, number)
    V2C.apiPDU.set_varbinds(made, [("1.3.6.1.2.1.1.5.0", V2C.OctetString("x" * 200))])
    return encoder.encode(made)


def users(*known: User) -> dict[str, User]:
    return {one.name: one for one in known}


def kind_of(datagram: bytes, known: dict[str, User], now: float = 0.0, **rest) -> Fault:
    with pytest.raises(UsmError) as caught:
        usm.unseal(datagram, known, now, **rest)
    assert isinstance(caught.value, SourceError)
    for secret in (AUTH, PRIV):
        assert secret not in repr(caught.value) + str(caught.value)
    return caught.value.kind


PAIRS = [
    (auth, priv)
    for auth in (None, *AUTH_PROTOCOLS)
    for priv in (None, *PRIV_PROTOCOLS)
    if auth is not None or priv is None
]


@pytest.mark.parametrize(
    ("digest", "master", "localized"),
    [
        ("md5", "9faf3283884e92834ebc9847d8edd963", "526f5eed9fcce26f8964c2930787d82b"),
        ("sha1", "9fb5cc0381497b3793528939ff788d5d79145211", "6695febc9288e36282235fc7151f128497b38f3f"),
    ],
)
def test_keys_are_those_of_the_rfcs_examples(digest, master, localized):
    """RFC 3414 A.3: pass phrase "maplesyrup", engine id 00..02."""
    keys = Keys()
    engine = bytes(11) + b"\x02"
    words = Secret("maplesyrup")
    assert keys.master(digest, words).hex() == master
    with_key = User("x", digest, words, "des", words)
    assert keys.priv(with_key, engine).asOctets().hex() == localized[:32]
    expected = hmac.new(bytes.fromhex(localized), b"a message", digest).digest()[:12]
    assert keys.signed(with_key, engine, b"a message") == expected


@pytest.mark.parametrize(("auth", "priv"), PAIRS)
def test_pysnmp_reads_what_we_seal(auth, priv):
    """Its message, its digest and its cipher on our octets; and what it makes, is ours to open."""
    one = user(auth, priv)
    sealed = usm.seal(pdu(), one, ENGINE, number=99, context="red")
    message, rest = decoder.decode(sealed, asn1Spec=SNMPv3Message())
    assert not rest
    assert int(message["msgGlobalData"]["msgID"]) == 99
    parameters, _ = decoder.decode(bytes(message["msgSecurityParameters"]), asn1Spec=UsmSecurityParameters())
    assert bytes(parameters[0]) == ENGINE.engine_id
    assert [int(parameters[1]), int(parameters[2]), bytes(parameters[3])] == [7, 5000, b"joe"]
    flags = bytes(message["msgGlobalData"]["msgFlags"])[0]
    assert flags == (0 if auth is None else 1 if priv is None else 3) | 4  # reportable: a GET
    if auth is not None:
        digest = SnmpUSMSecurityModel.AUTH_SERVICES[usm._AUTH[auth].service]
        engine = univ.OctetString(ENGINE.engine_id)
        key = digest.localize_key(digest.hash_passphrase(AUTH), engine)
        digest.authenticate_incoming_message(key, parameters[4], sealed)
    scoped = message["msgData"].getComponent()
    if priv is not None:
        cipher = usm._PRIV[priv]
        service = usm._AUTH[auth].service
        key = cipher.localize_key(service, cipher.hash_passphrase(service, PRIV), engine)
        plain = cipher.decrypt_data(key, (7, 5000, parameters[5]), scoped)
        scoped, _ = decoder.decode(plain, asn1Spec=message["msgData"].componentType[0].asn1Object)
    assert bytes(scoped["contextEngineId"]) == ENGINE.engine_id
    assert bytes(scoped["contextName"]) == b"red"
    assert encoder.encode(scoped["data"].getComponent()) == pdu()

    opened = usm.unseal(sealed, users(one), 0.0)
    assert (opened.engine_id, opened.boots, opened.time, opened.user) == (ENGINE.engine_id, 7, 5000, "joe")
    assert (opened.context, opened.level, opened.number) == ("red", usm.level_of(one), 99)
    assert opened.octets == pdu()
    assert encoder.encode(opened.pdu) == pdu()


@pytest.mark.parametrize(("auth", "priv"), [("md5", None), ("sha512", None), ("sha1", "des"), ("sha256", "aes128")])
def test_no_octet_can_be_changed(auth, priv):
    one = user(auth, priv)
    sealed = usm.seal(pdu(), one, ENGINE, number=99)
    for place in range(len(sealed)):
        for bit in (1, 0x80):
            changed = sealed[:place] + bytes([sealed[place] ^ bit]) + sealed[place + 1 :]
            assert isinstance(kind_of(changed, users(one)), Fault)


def test_every_protocol_that_may_be_configured_has_its_cipher():
    assert tuple(usm._AUTH) == AUTH_PROTOCOLS
    assert tuple(usm._PRIV) == PRIV_PROTOCOLS


def test_the_digest_is_looked_for_where_it_is():
    """The same octets earlier in the message, as in an engine id, are not the digest."""
    one = user("md5", None)
    engine = replace(ENGINE, engine_id=bytes(12))
    sealed = usm.seal(pdu(), one, engine, number=99)
    assert usm.unseal(sealed, users(one), 0.0).octets == pdu()


def test_less_protection_than_the_user_has_is_refused():
    """Somebody in the middle takes the encryption off, or the digest too."""
    strong = user()
    for level in (Level.NO_AUTH, Level.AUTH):
        assert kind_of(usm.seal(pdu(), strong, ENGINE, number=1, level=level), users(strong)) is Fault.TOO_WEAK
    lesser = user(priv=None)
    assert kind_of(usm.seal(pdu(), strong, ENGINE, number=1), users(lesser)) is Fault.UNSUPPORTED_LEVEL
    assert kind_of(usm.seal(pdu(), lesser, ENGINE, number=1), users(user(None, None))) is Fault.UNSUPPORTED_LEVEL


def test_other_keys_and_other_users():
    one = user()
    sealed = usm.seal(pdu(), one, ENGINE, number=1)
    assert kind_of(sealed, {}) is Fault.UNKNOWN_USER
    assert kind_of(sealed, users(replace(one, auth_key=Secret("other words")))) is Fault.WRONG_DIGEST
    assert kind_of(sealed, users(replace(one, auth_protocol="sha1"))) is Fault.WRONG_DIGEST
    assert kind_of(sealed, users(replace(one, priv_key=Secret("other words")))) is Fault.UNDECRYPTABLE
    assert kind_of(sealed, users(replace(one, priv_protocol="des"))) is Fault.UNDECRYPTABLE
    assert kind_of(usm.seal(pdu(), one, replace(ENGINE, engine_id=b""), number=1), users(one)) is Fault.UNKNOWN_ENGINE


def test_one_name_with_two_keys_at_two_engines():
    keys = Keys()
    first, second = user(), replace(user(), auth_key=Secret("other words"), priv_key=Secret("and others"))
    other = replace(ENGINE, engine_id=b"\x80\0\0\0\x05another")
    for one, engine in ((first, ENGINE), (second, other)) * 2:
        sealed = usm.seal(pdu(), one, engine, number=1, keys=keys)
        assert usm.unseal(sealed, users(one), 0.0, keys=keys).octets == pdu()
        assert kind_of(sealed, users(second if one is first else first), keys=keys) is Fault.WRONG_DIGEST


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("boots", "late", "believed"),
    [(0, 0, True), (0, 150, True), (0, 151, False), (1, 5990, True), (-1, 0, False), (0, -5990, True)],
)
def test_a_senders_clock(boots, late, believed):
    """RFC 3414 3.2.7 b: what is older than 150 s is a recording; what is ahead moves our notion of its time."""
    clocks = Clocks()
    clocks.learn(ENGINE)
    now = ENGINE.received_at + 1000
    told = Security(ENGINE.engine_id, ENGINE.boots + boots, ENGINE.time + 1000 - late, now)
    sealed = usm.seal(pdu(V2C.SNMPv2TrapPDU), user(), told, number=1)
    if believed:
        assert usm.unseal(sealed, users(user()), now, clocks=clocks).boots == told.boots
    else:
        assert kind_of(sealed, users(user()), now, clocks=clocks) is Fault.NOT_IN_TIME
    assert usm.unseal(sealed, users(user()), now).time == told.time  # whose time nobody judges


def test_what_is_ahead_is_remembered_and_a_forgery_is_not():
    clocks = Clocks()
    early = usm.seal(pdu(), user(), ENGINE, number=1)
    later = usm.seal(pdu(), user(), replace(ENGINE, time=ENGINE.time + 500), number=2)
    forged = later[:-1] + bytes([later[-1] ^ 1])
    assert kind_of(forged, users(user()), 0.0, clocks=clocks) is Fault.WRONG_DIGEST
    assert len(clocks) == 0
    usm.unseal(early, users(user()), 0.0, clocks=clocks)
    usm.unseal(later, users(user()), 0.0, clocks=clocks)
    assert clocks.get(ENGINE.engine_id).time == ENGINE.time + 500
    assert kind_of(early, users(user()), 0.0, clocks=clocks) is Fault.NOT_IN_TIME


def test_an_engine_that_has_counted_to_the_end_is_not_believed():
    sealed = usm.seal(pdu(), user(), replace(ENGINE, boots=usm.MAX_BOOTS), number=1)
    assert kind_of(sealed, users(user()), 0.0, clocks=Clocks()) is Fault.NOT_IN_TIME


def test_clocks_are_bounded():
    clocks = Clocks(limit=10)
    for number in range(100):
        clocks.check(replace(ENGINE, engine_id=b"\x80\0\0\0\x05" + bytes([number])))
    assert len(clocks) == 10
    assert clocks.get(b"\x80\0\0\0\x05" + bytes([99])) is not None


# --- as the engine that informs are sent to ---------------------------------------------------------------------------


def authority() -> Authority:
    return Authority(usm.engine_id_of("host one"), 12, started=1000.0)


@pytest.mark.parametrize("one", [user(), user(priv=None), user(None, None)], ids=["authPriv", "authNoPriv", "noAuth"])
def test_an_inform_after_discovery_and_after_its_time_is_set(one):
    """What a sender does: asks who we are, is told the time, informs, and is answered."""
    ours, now = authority(), 1300.0
    inform = pdu(V2C.InformRequestPDU)
    asking = usm.seal(pdu(number=17), User(""), Security(b"", 0, 0, 0.0), number=5)
    with pytest.raises(UsmError) as caught:
        usm.unseal(asking, users(one), now, authority=ours)
    assert caught.value.kind is Fault.UNKNOWN_ENGINE
    told = usm.header_of(ours.report(caught.value, users(one), now))
    assert (told.number, told.request_id, told.engine_id, told.level) == (5, 17, ours.engine_id, Level.NO_AUTH)
    assert (told.boots, told.time, told.reportable) == (12, 300, False)

    if one.auth_protocol is not None:
        early = usm.seal(inform, one, Security(told.engine_id, 0, 0, now), number=6)
        with pytest.raises(UsmError) as caught:
            usm.unseal(early, users(one), now, authority=ours)
        assert caught.value.kind is Fault.NOT_IN_TIME
        report = ours.report(caught.value, users(one), now)
        header = usm.header_of(report)
        assert header.level is Level.AUTH
        usm.proved(report, header, one)
        content = usm.opened(report, header, one)
        assert content.kind == 0xA8
        ((oid, count),) = V2C.apiPDU.get_varbinds(content.pdu)
        assert (str(oid), int(count)) == ("1.3.6.1.6.3.15.1.1.2.0", 1)

    sent = usm.seal(inform, one, Security(told.engine_id, 12, 300, now), number=7, context="red")
    opened = usm.unseal(sent, users(one), now, authority=ours)
    assert opened.octets == inform
    reply = usm.answer(opened, pdu(V2C.ResponsePDU), users(one), ours, now)
    answered = usm.unseal(reply, users(one), now)
    assert (answered.number, answered.context, answered.level) == (7, "red", usm.level_of(one))
    assert not answered.reportable


@pytest.mark.parametrize(("boots", "time", "kept"), [(0, 150, True), (0, -150, True), (0, 151, False), (0, -151, False),
                                                    (1, 0, False), (-1, 0, False)])  # fmt: skip
def test_our_own_time_window(boots, time, kept):
    """RFC 3414 3.2.7 a: an inform recorded before our restart is none of today."""
    assert authority().in_time(12 + boots, 300 + time, 1300.0) is kept


def test_reports_are_for_those_who_want_them():
    ours = authority()
    trap = usm.seal(pdu(V2C.SNMPv2TrapPDU), user(name="nobody"), ENGINE, number=1)
    with pytest.raises(UsmError) as caught:
        usm.unseal(trap, users(user()), 0.0, authority=ours)
    assert caught.value.kind is Fault.UNKNOWN_USER  # and not the engine: a trap's sender is its own authority
    assert ours.report(caught.value, users(user()), 0.0) is None
    assert ours.report(UsmError(Fault.MALFORMED, "noise"), {}, 0.0) is None
    clock = ours.security(1300.0)
    for one, fault, counter in (
        (user(name="nobody"), Fault.UNKNOWN_USER, 3),
        (replace(user(), auth_key=Secret("other words")), Fault.WRONG_DIGEST, 5),
        (replace(user(), priv_key=Secret("other words")), Fault.UNDECRYPTABLE, 6),
        (user(priv=None), Fault.TOO_WEAK, 1),
    ):
        sent = usm.seal(pdu(V2C.InformRequestPDU), one, clock, number=1)
        with pytest.raises(UsmError) as caught:
            usm.unseal(sent, users(user()), 1300.0, authority=ours)
        assert caught.value.kind is fault
        report = ours.report(caught.value, users(user()), 1300.0)
        header = usm.header_of(report)
        assert header.level is Level.NO_AUTH
        ((oid, _),) = V2C.apiPDU.get_varbinds(usm.opened(report, header, User("")).pdu)
        assert str(oid) == f"1.3.6.1.6.3.15.1.1.{counter}.0"
        assert len(report) <= len(sent) + 60  # nothing to make a flood of


def test_our_engine_id():
    """RFC 3411: the highest bit, an enterprise, format 4 (text) or 5 (octets), 5 to 32 octets; one for a host."""
    short, long = usm.engine_id_of("exabgp-bfd host1"), usm.engine_id_of("exabgp-bfd " + "x" * 100)
    assert short[0] & 0x80
    assert (short[4], short[5:]) == (4, b"exabgp-bfd host1")
    assert (long[4], len(long)) == (5, 21)
    assert long != usm.engine_id_of("exabgp-bfd " + "x" * 101)
    assert short == usm.engine_id_of("exabgp-bfd host1")


# --- noise ------------------------------------------------------------------------------------------------------------


def open_all(datagram: bytes, one: User) -> None:
    """All that a receiver does; whatever comes, nothing but UsmError."""
    try:
        usm.header_of(datagram)
        opened = usm.unseal(datagram, users(one), 0.0, clocks=Clocks(), authority=authority())
        assert opened.octets
        assert opened.pdu is not None
    except UsmError as error:
        authority().report(error, users(one), 0.0)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_noise(noise):
    open_all(noise, user(None, None))
    open_all(b"\x30\x82" + len(noise).to_bytes(2, "big") + noise, user(None, None))


@given(
    st.randoms(use_true_random=False),
    st.sampled_from([(None, None), ("md5", None), ("sha1", "des"), ("sha256", "aes128")]),
)
@settings(max_examples=300, deadline=None)
def test_messages_with_holes_and_lies(chance: random.Random, pair):
    """Without a digest every lie gets as far as the PDU's own decoder."""
    one = user(*pair)
    sealed = bytearray(usm.seal(pdu(V2C.SNMPv2TrapPDU), one, ENGINE, number=chance.randrange(2**31)))
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(sealed))
        match chance.randrange(4):
            case 0:
                sealed[place] = chance.randrange(256)
            case 1:
                del sealed[place:]
            case 2:
                sealed[place:place] = chance.randbytes(chance.randrange(1, 9))
            case _:
                del sealed[place]
        if not sealed:
            return
    open_all(bytes(sealed), one)


@given(st.binary(max_size=80), st.binary(max_size=12))
@settings(max_examples=200, deadline=None)
def test_noise_that_is_signed(noise, salt):
    """The peer has the right key and sends nonsense: lengths that are no cipher's, salts that are none."""
    for one in (user("md5", "des"), user("sha256", "aes128"), user("sha1", "3des"), user(None, None)):
        sealed = usm.seal(noise or b"\xa0", one, ENGINE, number=1)
        open_all(sealed, one)
        header = usm.header_of(sealed)
        if header.level is Level.PRIV:
            kind = None
            try:
                usm.opened(sealed, replace(header, salt=salt), one)
            except UsmError as error:
                kind = error.kind
            assert kind in {None, Fault.UNDECRYPTABLE}


# --- settings and memory ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (user(), None),
        (User("plain"), None),
        (User(""), "1 to 32 octets"),
        (User("x" * 33), "1 to 32 octets"),
        (User("joe", "sha3", Secret(AUTH)), "use md5, sha1"),
        (User("joe", "sha1"), "both auth_protocol and auth_key"),
        (User("joe", None, Secret(AUTH)), "both auth_protocol and auth_key"),
        (User("joe", "sha1", Secret(AUTH), "aes"), "use des, 3des"),
        (User("joe", "sha1", Secret(AUTH), "aes128"), "both priv_protocol and priv_key"),
        (User("joe", None, None, "aes128", Secret(PRIV)), "privacy without authentication"),
        (User("joe", "sha1", Secret("short")), "shorter than 8"),
        (User("joe", "sha1", Secret(AUTH), "aes128", Secret("short")), "shorter than 8"),
    ],
)
def test_settings_that_cannot_be_met_are_told(one, said):
    told = usm.unfit(one)
    assert (told is None) == (said is None)
    assert said is None or said in told
    assert told is None or not any(secret in told for secret in (AUTH, PRIV, "short'"))


def test_keys_are_bounded_and_can_be_forgotten():
    keys = Keys(users=4, engines=8)
    for number in range(50):
        one = replace(user("md5", "des"), auth_key=Secret(f"authentic words {number}"))
        usm.seal(pdu(), one, replace(ENGINE, engine_id=bytes([0x80, number])), number=1, keys=keys)
    caches = (keys.master, keys.auth, keys.priv)
    assert [cache.cache_info().currsize for cache in caches] == [4, 8, 8]
    keys.forget()
    assert [cache.cache_info().currsize for cache in caches] == [0, 0, 0]


def test_no_secret_is_shown():
    sealed = usm.seal(pdu(), user(), ENGINE, number=1)
    opened = usm.unseal(sealed, users(user()), 0.0)
    for shown in (repr(user()), repr(opened), repr(authority()), repr(usm.header_of(sealed))):
        assert AUTH not in shown
        assert PRIV not in shown
