"""The receiver of notifications on a real socket: who is believed, what it says, and what a flood may cost."""

import asyncio
import logging
import os
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pyasn1.codec.ber import decoder, encoder
from pyasn1.type import univ
from pysnmp.proto import api, rfc1902

from exabgp_bfd.core.credentials import User
from exabgp_bfd.core.model import ConfigError, Secret, State
from exabgp_bfd.sources.snmp import traps as module
from exabgp_bfd.sources.snmp.notifications import Hint
from exabgp_bfd.sources.snmp.trap_message import enveloped, response
from exabgp_bfd.sources.snmp.traps import BURST, RATE, SLICE_DATAGRAMS, Count, Sender, Traps, TrapSettings
from exabgp_bfd.sources.snmp.usm import Level, Security, header_of, seal, unseal

V1, V2C = api.PROTOCOL_MODULES[api.SNMP_VERSION_1], api.PROTOCOL_MODULES[api.SNMP_VERSION_2C]
HOST, HERE = "127.0.0.2", "127.0.0.1"
OWN, SHARED, WRONG = Secret("edge1-secret"), Secret("shared-secret"), Secret("a-wrong-one")
DIAGNOSTIC = "1.3.6.1.2.1.222.1.2.1.13"
BFD_DOWN = "1.3.6.1.2.1.222.0.2"
LINK_DOWN = "1.3.6.1.6.3.1.1.5.3"
DOWN = Hint("bfd-std", State.DOWN, "7", "7")

NO_AUTH = User("plain")
AUTH = User("auth", "sha256", Secret("a long pass phrase"))
PRIV = User("priv", "sha256", Secret("a long pass phrase"), "aes128", Secret("another pass phrase"))
ENGINE = b"\x80\x00\x1f\x88\x04edge1"


def message(api_, pdu, community: Secret) -> bytes:
    whole = api_.Message()
    api_.apiMessage.set_defaults(whole)
    api_.apiMessage.set_community(whole, community.reveal())
    api_.apiMessage.set_pdu(whole, pdu)
    return encoder.encode(whole)


def second(index=7, *, community=OWN, inform=False, number=1, up_time=42, trap=BFD_DOWN) -> bytes:
    """A notification of version 2c as pysnmp writes it."""
    pdu = V2C.InformRequestPDU() if inform else V2C.TrapPDU()
    V2C.apiPDU.set_defaults(pdu)
    V2C.apiPDU.set_request_id(pdu, number)
    values = [
        ("1.3.6.1.2.1.1.3.0", rfc1902.TimeTicks(up_time)),
        ("1.3.6.1.6.3.1.1.4.1.0", univ.ObjectIdentifier(trap)),
        (f"{DIAGNOSTIC}.{index}", rfc1902.Integer32(1)),
        (f"{DIAGNOSTIC}.{index}", rfc1902.Integer32(1)),
    ]
    V2C.apiPDU.set_varbinds(pdu, [(univ.ObjectIdentifier(oid), value) for oid, value in values])
    return message(V2C, pdu, community)


def first(index=7, *, community=OWN) -> bytes:
    """The same of version 1."""
    pdu = V1.TrapPDU()
    V1.apiTrapPDU.set_defaults(pdu)
    V1.apiTrapPDU.set_enterprise(pdu, "1.3.6.1.2.1.222")
    V1.apiTrapPDU.set_generic_trap(pdu, 6)
    V1.apiTrapPDU.set_specific_trap(pdu, 2)
    V1.apiTrapPDU.set_varbinds(pdu, [(univ.ObjectIdentifier(f"{DIAGNOSTIC}.{index}"), V1.Integer(1))] * 2)
    return message(V1, pdu, community)


def third(user: User, *, boots=3, time=1000, engine=ENGINE, number=1, context="", inform=False, level=None, **pdu):
    """The same of version 3, as an engine sends it that is authoritative for its traps."""
    whole = second(inform=inform, **pdu)
    inside = whole[enveloped(whole).pdu]
    return seal(
        inside,
        user,
        Security(engine, boots, time, 0.0),
        number=number,
        context=context,
        level=level,
    )


EDGE1 = Sender("edge1", (HOST,), (OWN,))


class Hearing:
    """A receiver, what it has delivered, and a device's socket to send from."""

    def __init__(self, traps: Traps, heard: list[tuple[str, Hint, bool]]) -> None:
        self.traps = traps
        self.heard = heard
        self.wires: dict[str, socket.socket] = {}

    def wire(self, host: str = HOST) -> socket.socket:
        if host not in self.wires:
            self.wires[host] = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
            self.wires[host].bind((host, 0))
            self.wires[host].setblocking(False)
        return self.wires[host]

    def send(self, *datagrams: bytes, host: str = HOST) -> None:
        for datagram in datagrams:
            self.wire(host).sendto(datagram, self.traps.bound[0])

    async def until(self, wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not wanted():  # noqa: ASYNC110 - what is waited for is a counter, and tells nobody
                await asyncio.sleep(0.01)

    async def received(self, number: int) -> dict[str, int]:
        """What became of that many datagrams, without what did not happen."""
        await self.until(lambda: self.traps.counters[Count.RECEIVED] >= number)
        told = {count.value: times for count, times in self.traps.counters.items() if times}
        assert told.pop("received") == number
        assert sum(told.values()) - told.get("unanswered", 0) - told.get("kernel_dropped", 0) == number
        return told

    async def answer(self, host: str = HOST) -> bytes:
        async with asyncio.timeout(60):
            return (await asyncio.get_running_loop().sock_recvfrom(self.wire(host), 65_535))[0]


@asynccontextmanager
async def hearing(*senders: Sender, security=lambda _: None, listen=HERE, **settings) -> AsyncIterator[Hearing]:
    heard: list[tuple[str, Hint, bool]] = []
    traps = Traps(TrapSettings(((listen, 0),), **settings), lambda *what: heard.append(what), security)
    traps.set_senders(senders or (EDGE1,))
    await traps.start()
    hearing_ = Hearing(traps, heard)
    try:
        yield hearing_
    finally:
        await traps.close()
        for wire in hearing_.wires.values():
            wire.close()


def run(scenario) -> None:
    asyncio.run(scenario())


# --- versions 1 and 2c ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("datagram", [first(), second()], ids=["1", "2c"])
def test_a_trap(datagram):
    async def scenario():
        async with hearing() as box:
            box.send(datagram)
            assert await box.received(1) == {"accepted": 1}
            assert box.heard == [("edge1", DOWN, False)]

    run(scenario)


def test_an_inform_is_answered_and_told_once():
    async def scenario():
        async with hearing() as box:
            inform = second(inform=True, number=4711)
            for _ in range(2):  # the first answer was lost
                box.send(inform)
                reply, _ = decoder.decode(await box.answer(), asn1Spec=V2C.Message())
                pdu = V2C.apiMessage.get_pdu(reply)
                assert int(V2C.apiPDU.get_request_id(pdu)) == 4711
                assert pdu.isSameTypeWith(V2C.GetResponsePDU(), matchConstraints=False)
            assert await box.received(2) == {"accepted": 1, "duplicate": 1}
            box.send(second(inform=True, number=4711, up_time=43))  # another, of an agent that always counts the same
            assert await box.received(3) == {"accepted": 2, "duplicate": 1}
            assert box.heard == [("edge1", DOWN, False)] * 2

    run(scenario)


@pytest.mark.parametrize(("listen", "here", "there"), [("0.0.0.0", "127.0.0.33", HOST), ("::", "::1", "::1")])
@pytest.mark.parametrize("version", ["2c", "3"])
def test_an_inform_is_answered_from_the_address_it_was_sent_to(listen, here, there, version):
    """An agent's socket is often connected: the kernel takes an answer from no other address."""

    async def scenario():
        async with hearing(Sender("edge1", (there,), (OWN,), AUTH), listen=listen) as box:
            box.wire(there).connect((here, box.traps.bound[0][1]))
            question = second(inform=True) if version == "2c" else third(User(""), engine=b"", boots=0, inform=True)
            box.wire(there).send(question)
            assert await box.answer(there)
            assert await box.received(1) == ({"accepted": 1} if version == "2c" else {"discovery": 1})

    run(scenario)


@pytest.mark.parametrize("inform", [False, True])
def test_a_wrong_community(inform, caplog):
    async def scenario():
        async with hearing() as box:
            box.send(
                *[second(community=WRONG, inform=inform)] * 3, second(community=Secret("")), first(community=WRONG)
            )
            assert await box.received(5) == {"bad_community": 5}
            await asyncio.sleep(0.05)
            with pytest.raises(BlockingIOError):  # no answer
                box.wire().recv(1)
            assert box.heard == []

    with caplog.at_level(logging.WARNING):
        run(scenario)
    assert [record.getMessage().partition(":")[0] for record in caplog.records if "taken" in record.message] == [
        "notifications of device edge1 are not taken"
    ]
    assert not any(secret.reveal() in caplog.text for secret in (OWN, WRONG))


def test_communities_of_the_receiver_and_of_contexts():
    async def scenario():
        red = Secret("edge1-red")
        async with hearing(Sender("edge1", (HOST,), (OWN, red)), communities=(SHARED,)) as box:
            box.send(second(community=SHARED), second(community=red), second(community=WRONG))
            assert await box.received(3) == {"accepted": 2, "bad_community": 1}

    run(scenario)


def test_an_empty_community_is_nobodys():
    async def scenario():
        nothing = Secret("")
        async with hearing(Sender("edge1", (HOST,), (nothing,)), communities=(nothing,)) as box:
            box.send(second(community=nothing))
            assert await box.received(1) == {"bad_community": 1}

    run(scenario)


def test_a_stranger_is_not_even_read(caplog):
    async def scenario():
        async with hearing() as box:
            box.send(second(), b"garbage", b"", second(inform=True), host=HERE)
            assert await box.received(4) == {"unknown_sender": 4}
            for number in range(3, 60):
                box.send(b"x", host=f"127.0.0.{number}")
            assert await box.received(61) == {"unknown_sender": 61}
            assert box.heard == []

    with caplog.at_level(logging.WARNING):
        run(scenario)
    told = [record for record in caplog.records if "trap_from" in record.message]
    assert len(told) == module._STRANGERS  # addresses may be made up: a few are told, each once
    assert HERE in told[0].getMessage()


def test_another_notification():
    async def scenario():
        async with hearing() as box:
            box.send(second(trap=LINK_DOWN), second(trap=LINK_DOWN, inform=True))
            assert await box.received(2) == {"not_bfd": 2}
            await box.answer()
            assert box.heard == []

    run(scenario)


# --- who is who -------------------------------------------------------------------------------------------------------


def test_two_devices_behind_one_address():
    async def scenario():
        async with hearing(EDGE1, Sender("edge2", (HOST,), (SHARED,)), Sender("edge3", (HOST,), (OWN,))) as box:
            box.send(second())
            await box.received(1)
            assert [device for device, _, _ in box.heard] == ["edge1", "edge3"]
            box.send(second(community=SHARED))
            await box.received(2)
            assert [device for device, _, _ in box.heard[2:]] == ["edge2"]

    run(scenario)


def test_a_device_with_several_addresses_and_a_new_list_of_devices():
    async def scenario():
        async with hearing(Sender("edge1", (HOST, "127.0.0.3"), (OWN,))) as box:
            box.send(second(), host="127.0.0.3")
            assert await box.received(1) == {"accepted": 1}
            box.traps.set_senders([Sender("edge9", ("127.0.0.9",), (OWN,))])
            box.send(second(), host="127.0.0.3")
            box.send(second(), host="127.0.0.9")
            assert await box.received(3) == {"accepted": 2, "unknown_sender": 1}
            assert [device for device, _, _ in box.heard] == ["edge1", "edge9"]

    run(scenario)


def test_names_become_addresses_in_the_background(monkeypatch):
    table = {"edge1.example": "127.0.0.2", "edge2.example": "127.0.0.4"}

    async def looked_up(name):
        await asyncio.sleep(0.01)
        address = table.get(name)
        return () if address is None else (address,)

    monkeypatch.setattr(module, "_addresses", looked_up)
    monkeypatch.setattr(module, "RESOLVE_EVERY", 0.02)

    async def scenario():
        names = ("edge1.example", "nowhere.example")
        async with hearing(Sender("edge1", names, (OWN,)), Sender("edge2", ("edge2.example",), (OWN,))) as box:
            await box.until(lambda: "127.0.0.4" in box.traps._senders)
            box.send(second())
            assert await box.received(1) == {"accepted": 1}
            table["edge1.example"] = "127.0.0.5"  # it moved
            table.pop("edge2.example")  # the name service is down
            await box.until(lambda: "127.0.0.5" in box.traps._senders)
            box.send(second(), host="127.0.0.5")
            box.send(second(), host="127.0.0.4")
            box.send(second(), host="127.0.0.2")
            assert await box.received(4) == {"accepted": 3, "unknown_sender": 1}

    run(scenario)


def test_this_hosts_own_name():
    async def scenario():
        async with hearing(Sender("edge1", ("localhost",), (OWN,))) as box:
            await box.until(lambda: HERE in box.traps._senders)
            box.send(second(), host=HERE)
            assert await box.received(1) == {"accepted": 1}
        assert await module._addresses("nowhere.invalid") == ()
        assert await module._addresses("x" * 300) == ()

    run(scenario)


def test_ipv6():
    async def scenario():
        async with hearing(Sender("edge1", ("0:0::1",), (OWN,)), listen="::1") as box:
            box.send(second(), host="::1")
            assert await box.received(1) == {"accepted": 1}

    run(scenario)


def test_ipv4_and_ipv6_on_one_port():
    async def scenario():
        async with hearing(listen="0.0.0.0") as box:
            port = box.traps.bound[0][1]
            both = Traps(TrapSettings((("::", port),)), lambda *_: None)
            await both.start()
            await both.close()

    run(scenario)


def test_a_link_local_address_comes_with_a_zone():
    """Which none of this host's interfaces needs to have: as recvfrom gives it."""

    async def scenario():
        async with hearing(Sender("edge1", ("fe80::7",), (OWN,))) as box:
            assert box.traps._taken(second(), module._Back(box.wire(), ("fe80::7%eth9", 161, 0, 9))) is Count.ACCEPTED

    run(scenario)


# --- octets -----------------------------------------------------------------------------------------------------------


def test_garbage_is_counted_and_nothing_else():
    chance = random.Random(3416)
    seeds = [first(), second(), second(inform=True), third(PRIV), third(AUTH, inform=True), third(NO_AUTH)]

    def mutant() -> bytes:
        datagram = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 4)):
            match chance.randrange(3):
                case 0:
                    datagram[chance.randrange(len(datagram))] = chance.randrange(256)
                case 1:
                    del datagram[chance.randrange(1, len(datagram)) :]
                case _:
                    place = chance.randrange(len(datagram))
                    datagram[place:place] = chance.randbytes(3)
            if len(datagram) < 2:
                break
        return bytes(datagram)

    async def scenario():
        failures = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        sender = Sender("edge1", (HOST,), (OWN,), PRIV)
        async with hearing(sender, users=(AUTH, NO_AUTH)) as box:
            for sent in range(0, 3000, 30):
                box.send(*(mutant() for _ in range(30)))
                await box.until(lambda sent=sent: box.traps.counters[Count.RECEIVED] == sent + 30)
            told = await box.received(3000)
            box.send(b"", b"\x30", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x00" * 65_000)
            assert (await box.received(3005))["malformed"] == told["malformed"] + 5
            box.send(second())
            await box.received(3006)
            assert box.heard[-1] == ("edge1", DOWN, False)
        assert failures == []
        assert told["malformed"] > 500
        assert told["wrong_digest"] > 10

    run(scenario)


# --- version 3 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [NO_AUTH, AUTH, PRIV], ids=["noAuth", "auth", "authPriv"])
@pytest.mark.parametrize("whose", ["device", "receiver"])
def test_a_trap_of_version_3(user, whose):
    async def scenario():
        sender = Sender("edge1", (HOST,), (OWN,), user if whose == "device" else None)
        async with hearing(sender, users=(user,) if whose == "receiver" else ()) as box:
            box.send(third(user))
            assert await box.received(1) == {"accepted": 1}
            box.send(third(user, number=2, context="red"))
            await box.received(2)
            red = Hint("bfd-std", State.DOWN, "7", "7", details={"context": "red"})
            assert box.heard == [("edge1", DOWN, False), ("edge1", red, False)]

    run(scenario)


@pytest.mark.parametrize(
    ("datagram", "count"),
    [
        (third(User("nobody", "sha256", Secret("a long pass phrase"))), "bad_user"),
        (third(User("auth", "sha256", Secret("a wrong pass phrase"))), "wrong_digest"),
        (third(User("auth", "md5", Secret("a long pass phrase"))), "wrong_digest"),
        (third(AUTH, level=Level.NO_AUTH), "bad_level"),
        (third(PRIV, level=Level.AUTH), "bad_level"),
        (
            third(User("priv", "sha256", Secret("a long pass phrase"), "aes128", Secret("a wrong phrase"))),
            "undecryptable",
        ),
        (third(AUTH, engine=b""), "malformed"),
        (third(AUTH)[:-1], "malformed"),
    ],
    ids=["unknown user", "wrong key", "wrong protocol", "no auth", "no privacy", "wrong privacy", "no engine", "cut"],
)
def test_a_trap_of_version_3_that_is_not_believed(datagram, count):
    async def scenario():
        async with hearing(Sender("edge1", (HOST,), (OWN,), AUTH), users=(PRIV,)) as box:
            box.send(datagram)
            assert await box.received(1) == {count: 1}
            assert box.heard == []

    run(scenario)


def test_two_devices_behind_one_address_with_the_same_users_name():
    async def scenario():
        other = User("auth", "sha256", Secret("the other pass phrase"))
        async with hearing(Sender("edge1", (HOST,), (), AUTH), Sender("edge2", (HOST,), (), other)) as box:
            box.send(third(other), third(AUTH))
            assert await box.received(2) == {"accepted": 2}
            assert [device for device, _, _ in box.heard] == ["edge2", "edge1"]

    run(scenario)


@pytest.mark.parametrize("order", [1, -1])
def test_what_is_wrong_is_what_the_device_says_that_knows_the_user(order):
    async def scenario():
        behind = [Sender("edge1", (HOST,), (), AUTH), Sender("edge2", (HOST,), (), PRIV)][::order]
        async with hearing(*behind) as box:
            box.send(third(User("auth", "sha256", Secret("a wrong pass phrase"))))
            assert await box.received(1) == {"wrong_digest": 1}

    run(scenario)


@pytest.mark.parametrize("user", [AUTH, PRIV], ids=["auth", "authPriv"])
def test_an_inform_of_version_3(user):
    """As a manager does it: ask who we are, then what time it is, then send; and the answer is authenticated."""

    async def scenario():
        async with hearing(Sender("edge1", (HOST,), (), user)) as box:
            now = asyncio.get_running_loop().time()
            box.send(third(User(""), engine=b"", boots=0, time=0, inform=True))
            ours = header_of(await box.answer())
            assert ours.engine_id
            box.send(third(user, engine=ours.engine_id, boots=0, time=0, inform=True))
            told = unseal(await box.answer(), {user.name: User(user.name, user.auth_protocol, user.auth_key)}, now)
            assert told.kind == 0xA8
            assert told.level is Level.AUTH
            assert await box.received(2) == {"discovery": 2}
            assert box.heard == []
            inform = third(user, engine=ours.engine_id, boots=told.boots, time=told.time, inform=True, number=9)
            for _ in range(2):
                box.send(inform)
                answer = unseal(await box.answer(), {user.name: user}, now)
                assert (answer.kind, answer.number, answer.user) == (0xA2, 9, user.name)
                whole = second(inform=True)
                assert answer.octets == response(whole[enveloped(whole).pdu])
            assert await box.received(4) == {"discovery": 2, "accepted": 1, "duplicate": 1}
            old = third(user, engine=ours.engine_id, boots=told.boots - 1, time=told.time, inform=True)
            box.send(old)
            assert await box.received(5) == {"discovery": 2, "accepted": 1, "duplicate": 1, "not_in_time": 1}
            assert box.heard == [("edge1", DOWN, False)]

    run(scenario)


def test_a_replayed_trap():
    async def scenario():
        async with hearing(Sender("edge1", (HOST,), (), AUTH)) as box:
            box.send(*[third(AUTH)] * 3)
            assert await box.received(3) == {"accepted": 1, "replayed": 2}
            box.send(third(AUTH, time=849), third(AUTH, boots=2, time=2000))  # 151 s, and a restart, ago
            assert await box.received(5) == {"accepted": 1, "replayed": 2, "not_in_time": 2}
            box.send(third(AUTH, time=851))  # late, but within the window
            assert (await box.received(6))["accepted"] == 2
            assert [sure for _, _, sure in box.heard] == [False, False]

    run(scenario)


def test_a_recording_from_before_we_were_started():
    """Our own polls know the engine's clock, so that the first notification heard is judged as well."""

    async def scenario():
        now = asyncio.get_running_loop().time()
        known = Security(ENGINE, 3, 5000, now)
        async with hearing(Sender("edge1", (HOST,), (), AUTH, trust=True), security=lambda _: known) as box:
            box.send(third(AUTH, time=1000), third(AUTH, boots=2, time=5000))
            assert await box.received(2) == {"not_in_time": 2}

    run(scenario)


@pytest.mark.parametrize(
    ("what", "sure"),
    [
        ({}, True),
        ({"time": 1149}, True),
        ({"time": 851}, True),
        ({"time": 1200}, False),
        ({"boots": 4, "time": 5}, False),
        ({"engine": b"\x80\x00\x1f\x88\x04other"}, False),
        ({"trap": "1.3.6.1.4.1.25506.2.72.0.1"}, False),
        ({"index": "4294967295.1"}, True),
    ],
    ids=["now", "a little ahead", "a little late", "too far ahead", "restarted", "another engine", "no state", "index"],
)
def test_what_is_sure(what, sure):
    async def scenario():
        known = Security(ENGINE, 3, 1000, asyncio.get_running_loop().time())
        async with hearing(Sender("edge1", (HOST,), (), AUTH, trust=True), security=lambda _: known) as box:
            box.send(third(AUTH, **what))
            assert await box.received(1) == {"accepted": 1}
            assert [told for _, _, told in box.heard] == [sure]

    run(scenario)


@pytest.mark.parametrize(
    ("sender", "settings", "user", "sure"),
    [
        (Sender("edge1", (HOST,), (), AUTH, trust=True), {}, AUTH, True),
        (Sender("edge1", (HOST,), (), PRIV, trust=True), {}, PRIV, True),
        (Sender("edge1", (HOST,), (), AUTH, trust=False), {}, AUTH, False),
        (Sender("edge1", (HOST,), (), NO_AUTH, trust=True), {}, NO_AUTH, False),
        (Sender("edge1", (HOST,), (), None, trust=False), {"users": (AUTH,), "trust": True}, AUTH, True),
        (Sender("edge1", (HOST,), (), PRIV, trust=True), {"users": (AUTH,)}, AUTH, True),
        (Sender("edge1", (HOST,), (), PRIV, trust=False), {"users": (AUTH,), "trust": True}, PRIV, False),
        (Sender("edge1", (HOST,), (), PRIV, trust=False), {"users": (PRIV,), "trust": True}, PRIV, False),
    ],
)
def test_whose_word_is_sure(sender, settings, user, sure):
    async def scenario():
        known = Security(ENGINE, 3, 1000, asyncio.get_running_loop().time())
        async with hearing(sender, security=lambda _: known, **settings) as box:
            box.send(third(user))
            assert await box.received(1) == {"accepted": 1}
            assert box.heard == [("edge1", DOWN, sure)]

    run(scenario)


def test_nothing_is_sure_that_our_polls_do_not_know():
    async def scenario():
        async with hearing(Sender("edge1", (HOST,), (OWN,), AUTH, trust=True)) as box:
            box.send(third(AUTH), second())
            await box.received(2)
            assert [sure for _, _, sure in box.heard] == [False, False]

    run(scenario)


def test_only_what_is_not_older_than_the_last_is_sure():
    async def scenario():
        known = Security(ENGINE, 3, 1000, asyncio.get_running_loop().time())
        async with hearing(Sender("edge1", (HOST,), (), AUTH, trust=True), security=lambda _: known) as box:
            same_second = [third(AUTH, number=number, index=number) for number in range(1, 4)]
            box.send(*same_second, third(AUTH, time=999), third(AUTH, time=1001), third(AUTH, time=1000, number=9))
            assert await box.received(6) == {"accepted": 6}
            assert [sure for _, _, sure in box.heard] == [True, True, True, False, True, False]

    run(scenario)


# --- floods -----------------------------------------------------------------------------------------------------------


def test_a_burst_of_500_passes_whole():
    async def scenario():
        async with hearing() as box:
            expected = [("edge1", Hint("bfd-std", State.DOWN, str(index), str(index)), False) for index in range(500)]
            for start in range(0, 500, 100):  # so that the default receive buffer, 256 of them, holds them too
                box.send(*(second(index) for index in range(start, start + 100)))
                await box.received(start + 100)
            assert box.heard == expected

    run(scenario)


def test_more_than_sessions_can_fall_is_a_look_at_the_whole_device(monkeypatch):
    monkeypatch.setattr(module, "BURST", 100)
    monkeypatch.setattr(module, "RATE", 0.0)
    monkeypatch.setattr(module, "WHOLE_EVERY", 0.5)

    async def scenario():
        async with hearing(Sender("edge1", (HOST,), (OWN,)), Sender("edge2", ("127.0.0.4",), (OWN,))) as box:

            def whole() -> list[Hint]:
                return [hint for _, hint, _ in box.heard if hint.somewhere]

            def spilled() -> int:
                return sum(hint.details["too_many"] for hint in whole())

            for sent in range(0, 300, 100):
                box.send(*[second()] * 100)
                await box.until(lambda sent=sent: box.traps.counters[Count.RECEIVED] == sent + 100)
            assert await box.received(300) == {"accepted": 100, "rate_limited": 200}
            assert [hint.details["too_many"] for hint in whole()[:1]] == [1]  # at once
            await box.until(lambda: spilled() == 200)  # and again for what came after it
            assert len(whole()) < 20
            assert all(hint.said is None for hint in whole())
            box.send(second(), host="127.0.0.4")  # another device is not held to account
            assert (await box.received(301))["accepted"] == 101
            assert box.heard[-1] == ("edge2", DOWN, False)
            looks = len(whole())
            await box.until(lambda: box.traps._devices["edge1"].whole is None)
            assert len(whole()) == looks  # no more when no more came

            box.send(second(), second())
            await box.received(303)
            box.traps.set_senders([EDGE1])  # a reload forgets neither the limit nor the look that is due
            box.send(second())
            assert (await box.received(304))["rate_limited"] == 203
            await box.until(lambda: spilled() == 203)

    run(scenario)


def test_the_limit_is_refilled(monkeypatch):
    monkeypatch.setattr(module, "RATE", 1000.0)

    async def scenario():
        async with hearing() as box:
            box.send(second())
            await box.received(1)
            box.traps._devices["edge1"].tokens = 0.0
            await asyncio.sleep(0.05)
            box.send(second())
            assert await box.received(2) == {"accepted": 2}

    run(scenario)


FLOOD = """
import socket, sys, time
port, seconds, datagram = int(sys.argv[1]), float(sys.argv[2]), bytes.fromhex(sys.argv[3])
wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
wire.bind((sys.argv[4], 0))
until, sent = time.monotonic() + seconds, 0
while time.monotonic() < until:
    for _ in range(64):
        wire.sendto(datagram, ("127.0.0.1", port))
    sent += 64
print(sent)
"""


def resident() -> int:
    """Octets of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("datagram", "host", "count"),
    [
        (second(community=WRONG), HOST, Count.BAD_COMMUNITY),
        (second(), HOST, Count.RATE_LIMITED),
        (second(), "127.0.0.77", Count.UNKNOWN_SENDER),
        (third(User("auth", "sha256", Secret("a wrong pass phrase"))), HOST, Count.WRONG_DIGEST),
        (third(AUTH), HOST, Count.REPLAYED),
    ],
    ids=["wrong community", "right community", "stranger", "wrong digest", "replay"],
)
def test_a_forged_flood_starves_nobody(datagram, host, count):
    """A process that sends as fast as it can, while we go on with what we have to do."""

    async def scenario():
        turns = 0

        async def work():
            nonlocal turns
            while True:
                await asyncio.sleep(0.001)
                turns += 1

        sender = Sender("edge1", (HOST,), (OWN,), AUTH)
        async with hearing(sender, Sender("edge2", ("127.0.0.4",), (OWN,))) as box:
            worker = asyncio.create_task(work())
            before = resident()
            arguments = (str(box.traps.bound[0][1]), "1", datagram.hex(), host)
            flood = await asyncio.create_subprocess_exec(
                sys.executable, "-S", "-c", FLOOD, *arguments, stdout=subprocess.PIPE
            )
            sent = int((await flood.communicate())[0])
            await box.until(
                lambda: box.traps.counters[Count.RECEIVED] + box.traps.counters[Count.KERNEL_DROPPED] >= sent
            )
            worker.cancel()
            counted = box.traps.counters
            assert counted[count] > SLICE_DATAGRAMS
            assert turns > 50
            # What it may bring about: as many hints as a device may send, and a look a second.
            assert len(box.heard) <= BURST + RATE * 60
            assert resident() - before < 64 * 2**20
            assert len(box.traps._digests) <= 1
            box.send(second(), host="127.0.0.4")  # and who has something to say is heard
            await box.until(lambda: box.heard[-1:] == [("edge2", DOWN, False)])

    run(scenario)


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED", 50)
    monkeypatch.setattr(module, "BURST", 10_000)

    async def scenario():
        async with hearing(Sender("edge1", (HOST,), (OWN,), AUTH)) as box:
            for number in range(100):
                box.send(second(inform=True, number=number), third(AUTH, number=number))
                await box.received(2 * number + 2)
            assert (await box.received(200))["accepted"] == 200
            assert len(box.traps._informs) == len(box.traps._digests) == 50
            box.send(second(inform=True, number=99), third(AUTH, number=99))
            assert await box.received(202) == {"accepted": 200, "duplicate": 1, "replayed": 1}

    run(scenario)


# --- the socket -------------------------------------------------------------------------------------------------------


def test_the_kernels_drops_are_counted(caplog):
    async def scenario():
        async with hearing(receive_buffer=8192) as box:
            assert 0 < box.traps.granted < 200_000
            box.send(*[second()] * 1500)  # nobody reads meanwhile
            await box.until(
                lambda: box.traps.counters[Count.RECEIVED] + box.traps.counters[Count.KERNEL_DROPPED] == 1500
            )
            assert box.traps.counters[Count.KERNEL_DROPPED] > 1000
            assert box.traps.counters[Count.ACCEPTED] == box.traps.counters[Count.RECEIVED]
        assert box.traps.counters[Count.KERNEL_DROPPED] > 1000  # also when it is closed

    with caplog.at_level(logging.WARNING):
        run(scenario)
    assert "its receive buffer was full" in caplog.text


def test_a_receive_buffer_that_is_not_granted_is_told_with_its_remedy(monkeypatch, caplog):
    monkeypatch.setattr(module, "_SO_RCVBUFFORCE", 9999)  # as without CAP_NET_ADMIN
    most = int(Path("/proc/sys/net/core/rmem_max").read_text())

    async def scenario():
        async with hearing(receive_buffer=2 * most) as box:
            assert box.traps.granted == most
        async with hearing(receive_buffer=most) as box:
            assert box.traps.granted == most

    with caplog.at_level(logging.INFO):
        run(scenario)
    told = [record for record in caplog.records if "receive buffer" in record.message]
    assert [record.levelno for record in told] == [logging.WARNING, logging.INFO]
    assert f"sysctl -w net.core.rmem_max={2 * most}" in told[0].message


def test_a_port_in_use():
    async def scenario():
        async with hearing() as box:
            other = Traps(TrapSettings((("127.0.0.1", 0), box.traps.bound[0])), lambda *_: None)
            with pytest.raises(ConfigError, match=r"traps\.listen: 127\.0\.0\.1:\d+ cannot .* in use; .*snmptrapd"):
                await other.start()
            assert other.bound == ()  # nothing is left of the first

    run(scenario)


@pytest.mark.parametrize("listen", [("edge1.example", 162), ("127.0.0.1", 70_000), ("192.0.2.1", 0), ("", 0)])
def test_an_address_that_cannot_be_had(listen):
    async def scenario():
        traps = Traps(TrapSettings((listen,)), lambda *_: None)
        with pytest.raises(ConfigError, match=r"traps\.listen: "):
            await traps.start()
        assert traps.bound == ()

    run(scenario)


def test_a_port_that_is_not_for_everybody():
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 162:
        pytest.skip("this host lets everybody have port 162")

    async def scenario():
        traps = Traps(TrapSettings((("127.0.0.1", 162),)), lambda *_: None)
        with pytest.raises(ConfigError, match="CAP_NET_BIND_SERVICE"):
            await traps.start()

    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)  # which takes the capability with it
    try:
        run(scenario)
    finally:
        os.seteuid(user)


def test_a_user_that_cannot_be():
    async def scenario():
        traps = Traps(TrapSettings((), users=(User("auth", "sha256", Secret("short")),)), lambda *_: None)
        with pytest.raises(ConfigError, match=r"traps\.users: "):
            await traps.start()

    run(scenario)


def test_closed_and_started_again():
    async def scenario():
        async with hearing() as box:
            box.send(second())
            await box.received(1)
            place = box.traps.bound
            await box.traps.close()
            assert box.traps.bound == ()
            assert box.traps.granted == 0
            box.wire().sendto(second(), place[0])
            await asyncio.sleep(0.05)
            await box.traps.start()
            box.send(second(8))
            await box.received(2)
            assert [hint.low for _, hint, _ in box.heard] == ["7", "8"]

    run(scenario)


def test_several_addresses_at_once():
    async def scenario():
        heard = []
        traps = Traps(TrapSettings((("127.0.0.1", 0), ("::1", 0))), lambda *what: heard.append(what))
        traps.set_senders([EDGE1, Sender("edge6", ("::1",), (OWN,))])
        await traps.start()
        try:
            for host, place in zip((HOST, "::1"), traps.bound, strict=True):
                with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as wire:
                    wire.bind((host, 0))
                    wire.sendto(second(), place)
            async with asyncio.timeout(60):
                while len(heard) < 2:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)
            assert {device for device, _, _ in heard} == {"edge1", "edge6"}
        finally:
            await traps.close()

    run(scenario)


def test_secrets_are_nowhere_to_be_read():
    sender = Sender("edge1", (HOST,), (OWN,), PRIV)
    shown = f"{sender!r} {TrapSettings((), (OWN,), (PRIV,))!r} {sender} "
    assert OWN.reveal() not in shown
    assert "pass phrase" not in shown
