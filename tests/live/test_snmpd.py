"""The SNMP room against net-snmp's own agent: another implementation of everything below our tables."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyasn1.codec.ber import encoder
from pysnmp.proto import api

from exabgp_bfd.core.credentials import User
from exabgp_bfd.core.model import Diagnostic, Poll, Secret, Silence, Source, SourceError, State
from exabgp_bfd.sources.snmp import usm
from exabgp_bfd.sources.snmp.client import connect
from exabgp_bfd.sources.snmp.poller import Poller
from exabgp_bfd.sources.snmp.target import Target
from exabgp_bfd.sources.snmp.usm import Authority, UsmError

pytestmark = pytest.mark.live

V2C = api.PROTOCOL_MODULES[api.SNMP_VERSION_2C]
NAME = "1.3.6.1.2.1.1.5.0"
AUTH, PRIV = "authentic words", "private words"
AUTH_WORDS = {
    "md5": "MD5",
    "sha1": "SHA",
    "sha224": "SHA-224",
    "sha256": "SHA-256",
    "sha384": "SHA-384",
    "sha512": "SHA-512",
}
PRIV_WORDS = {
    "des": "DES",
    "aes128": "AES",
    "aes192": "AES192",
    "aes256": "AES256",
    "aes192-cisco": "AES192C",
    "aes256-cisco": "AES256C",
}
STATE = "1.3.6.1.2.1.222.1.2.1.11"
UP_TIME = "1.3.6.1.2.1.1.3.0"
PEER = "edge1/192.0.2.1"


@pytest.fixture(params=["pysnmp 2c", "gufo 2c", "pysnmp 1"])
def kind(request) -> dict[str, str]:
    engine, version = request.param.split()
    if engine == "gufo":
        pytest.importorskip("gufo.snmp")
    return {"engine": engine, "version": version}


def target(snmpd, kind, **changes) -> Target:
    settings = {"community": Secret(snmpd.community), "interval": 0.1, "timeout": 2.0, **kind, **changes}
    return Target("edge1", snmpd.host, port=snmpd.port, **settings)


def test_get_and_walk(snmpd, kind):
    for index in range(10, 60):
        snmpd.add(index, f"10.0.0.{index}", State.DOWN)

    async def scenario():
        client = connect(target(snmpd, kind))
        try:
            up_time = await client.get([UP_TIME, f"{STATE}.1", f"{STATE}.99"])
            return up_time, await client.walk(STATE), await client.walk("1.3.6.1.2.1.222.1.9")
        finally:
            await client.close()

    values, walked, nothing = asyncio.run(scenario())
    assert isinstance(values.pop(UP_TIME), int)
    assert values == {f"{STATE}.1": 4}
    assert walked == [(f"{STATE}.{index}", 4 if index < 10 else 2) for index in (1, 2, *range(10, 60))]
    assert nothing == []


def test_wrong_community(snmpd, kind):
    async def scenario():
        client = connect(target(snmpd, kind, community=Secret("a wrong one"), timeout=0.3))
        try:
            await client.get([UP_TIME])
        finally:
            await client.close()

    with pytest.raises(SourceError, match=r"no answer from .* in 2 tries") as caught:
        asyncio.run(scenario())
    assert "a wrong one" not in str(caught.value)


class Heard:
    def __init__(self) -> None:
        self.messages: list[Poll | Silence] = []
        self.more = asyncio.Event()

    def __call__(self, message: Poll | Silence) -> None:
        self.messages.append(message)
        self.more.set()

    async def until(self, wanted) -> Poll | Silence:
        """The first message from now on of which `wanted` is true."""
        seen = len(self.messages)
        async with asyncio.timeout(60):
            while True:
                for message in self.messages[seen:]:
                    if wanted(message):
                        return message
                seen = len(self.messages)
                self.more.clear()
                await self.more.wait()

    async def state(self, session: str, state: State):
        def wanted(message):
            return isinstance(message, Poll) and any(
                seen.session.id == session and seen.state is state for seen in message.observations
            )

        message = await self.until(wanted)
        return next(seen for seen in message.observations if seen.session.id == session)


def test_a_failure_and_a_recovery(snmpd, kind):
    async def scenario():
        heard = Heard()
        poller = Poller([target(snmpd, kind, timeout=0.5)], heard)
        task = asyncio.create_task(poller.run())
        try:
            first = await heard.until(lambda _: True)
            assert first.complete
            assert {seen.session.id: seen.state for seen in first.observations} == {
                PEER: State.UP,
                "edge1/2001:db8::1": State.UP,
            }
            one = first.observations[0]
            assert (one.session.interface, one.session.discriminator) == ("lo", 1001)
            assert one.details == {"index": "1", "up_count": 1}

            snmpd.set_state(1, State.DOWN, diagnostic=3)
            down = await heard.state(PEER, State.DOWN)
            assert down.diagnostic is Diagnostic.NEIGHBOR_SIGNALED_SESSION_DOWN
            snmpd.set_state(1, State.UP)
            assert (await heard.state(PEER, State.UP)).details["up_count"] == 2

            poller.look("edge1", PEER)
            await heard.until(lambda message: isinstance(message, Poll) and message.source is Source.SNMP_LOOK)

            snmpd.remove(1)
            await heard.state(PEER, State.MISSING)

            snmpd.stop()
            silence = await heard.until(lambda message: isinstance(message, Silence))
            assert f"{snmpd.host}:{snmpd.port}" in silence.reason
            snmpd.add(1, "192.0.2.1", State.INIT)
            snmpd.start()
            await heard.state(PEER, State.INIT)
        finally:
            await poller.close()
            await task

    asyncio.run(scenario())


def test_one_oid(snmpd, kind):
    oid = "1.3.6.1.2.1.222.1.2.1.10"

    async def scenario():
        heard = Heard()
        poller = Poller([target(snmpd, kind, profile="oid", oid=oid, values="oper")], heard)
        task = asyncio.create_task(poller.run())
        try:
            await heard.state("edge1/1", State.UP)
            snmpd.set_state(1, State.ADMIN_DOWN)
            await heard.state("edge1/1", State.ADMIN_DOWN)
        finally:
            await poller.close()
            await task

    asyncio.run(scenario())


# --- version 3 --------------------------------------------------------------------------------------------------------


def user(auth: str | None = "sha256", priv: str | None = "aes128", name: str | None = None) -> User:
    """A user as `secure` has him: named by his protocols."""
    return User(
        name or f"u{auth or ''}{priv or ''}".replace("-", ""),
        auth,
        Secret(AUTH) if auth else None,
        priv,
        Secret(PRIV) if priv else None,
    )


USERS = [user(None, None, "nobody"), *(user(auth, priv) for auth in AUTH_WORDS for priv in (None, *PRIV_WORDS))]


@pytest.fixture
def secure(snmpd) -> Iterator:
    """The same snmpd, also on ::1, with a user for each pair of protocols and a context "red" that is a proxy."""
    snmpd.stop()
    conf = Path(snmpd._folder) / "snmpd.conf"
    kept = [line for line in conf.read_text().splitlines() if not line.startswith("exactEngineID")]
    lines = [*kept, f"agentaddress udp6:[::1]:{snmpd.port}"]
    for one in USERS:
        words = [one.name]
        if one.auth_protocol:
            words += [AUTH_WORDS[one.auth_protocol], f'"{AUTH}"']
        if one.priv_protocol:
            words += [PRIV_WORDS[one.priv_protocol], f'"{PRIV}"']
        lines.append(f"createUser {' '.join(words)}")
        lines.append(f"rouser {one.name} {['noauth', 'auth', '', 'priv'][usm.level_of(one)]}")
    lines.append(f"proxy -Cn red -v 2c -c {snmpd.community} 127.0.0.1:{snmpd.port} .1.3.6.1.2.1.1.5")
    conf.write_text("\n".join(lines) + "\n")
    snmpd.start()
    return snmpd


def protected(agent, one: User = USERS[-1], **changes) -> Target:
    settings = {"timeout": 2.0, "version": "3", "user": one, **changes}
    return Target("edge1", settings.pop("host", agent.host), Secret("unused"), port=agent.port, **settings)


async def asked(wanted: Target, oid: str = NAME):
    client = connect(wanted)
    try:
        return await client.get([oid]), client.security
    finally:
        await client.close()


def test_every_pair_of_protocols_over_ipv4_and_ipv6(secure):
    async def scenario():
        found = {}
        for one in USERS:
            values, security = await asked(protected(secure, one))
            found[one.name] = values
            assert (security is None) == (one.auth_protocol is None)
        return found, (await asked(protected(secure, host="::1")))[0]

    found, six = asyncio.run(scenario())
    name = {NAME: socket.gethostname().encode()}
    assert found == {one.name: name for one in USERS}
    assert len(found) == 43
    assert six == name


def test_a_walk_and_rows_that_are_missing(secure):
    async def scenario():
        client = connect(protected(secure))
        try:
            values = await client.get([UP_TIME, f"{STATE}.1", f"{STATE}.99"])
            following = await client.next([STATE, f"{STATE}.2", "2.9"])
            return values, following, await client.walk(STATE), await client.walk("1.3.6.1.2.1.222.1.9")
        finally:
            await client.close()

    values, following, walked, nothing = asyncio.run(scenario())
    assert isinstance(values.pop(UP_TIME), int)
    assert values == {f"{STATE}.1": 4}
    assert following[STATE] == (f"{STATE}.1", 4)
    assert following[f"{STATE}.2"][0].startswith("1.3.6.1.2.1.222.1.2.1.13.")
    assert following["2.9"] is None
    assert walked == [(f"{STATE}.1", 4), (f"{STATE}.2", 4)]
    assert nothing == []


def test_a_context_is_another_view(secure):
    async def scenario():
        client = connect(protected(secure, context="red"))
        try:
            return await client.get([UP_TIME, NAME])
        finally:
            await client.close()

    assert asyncio.run(scenario()) == {NAME: socket.gethostname().encode()}  # which is all that is in there


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (user(name="eve"), "does not know SNMPv3 user 'eve'"),
        (User("usha256aes128", "sha256", Secret("not the words"), "aes128", Secret(PRIV)), "auth_protocol (sha256)"),
        (User("usha256aes128", "sha256", Secret(AUTH), "aes128", Secret("not the words")), "priv_protocol (aes128)"),
        (User("usha256aes128", "sha256", Secret(AUTH)), "authorizationError"),
        (User("usha256", "sha256", Secret(AUTH), "aes128", Secret(PRIV)), "not for authPriv"),
    ],
    ids=["user", "auth key", "priv key", "too little", "too much"],
)
def test_what_is_wrong_is_told(secure, one, said):
    with pytest.raises(SourceError, match=f"{secure.host}:{secure.port} ") as caught:
        asyncio.run(asked(protected(secure, one, timeout=0.3)))
    text = str(caught.value)
    assert said in text
    assert not any(secret in text for secret in (AUTH, PRIV, "not the words"))


def test_a_restarted_agent_and_a_swapped_one(secure):
    """Both within the first request that reaches them, though no try may be repeated."""
    conf = Path(secure._folder) / "snmpd.conf"
    plain = conf.read_text()
    kept = f"includeFile {secure._folder}/persistent/snmpd.conf\n"  # -C of `Snmpd.start` passes over it

    async def scenario():
        client = connect(protected(secure, retries=0))
        heard = []
        try:
            for change in (None, plain + kept, plain):
                if change is not None:
                    secure.stop()
                    conf.write_text(change)
                    secure.start()
                assert await client.get([NAME])
                heard.append(client.security)
            return heard
        finally:
            await client.close()

    first, restarted, swapped = asyncio.run(scenario())
    assert (restarted.engine_id, restarted.boots) == (first.engine_id, first.boots + 1)
    assert swapped.engine_id != first.engine_id


class Receiver(asyncio.DatagramProtocol):
    """What answers informs, with nothing but `usm`."""

    def __init__(self) -> None:
        self.users = {one.name: one for one in USERS}
        self.heard: list[usm.Unsealed] = []
        self.faults: list[str] = []

    def connection_made(self, transport) -> None:
        self.transport = transport
        loop = asyncio.get_running_loop()
        self.authority = Authority(usm.engine_id_of("a receiver of tests"), 3, loop.time() - 1000)

    def datagram_received(self, data, addr) -> None:
        now = asyncio.get_running_loop().time()
        try:
            opened = usm.unseal(data, self.users, now, authority=self.authority)
        except UsmError as error:
            self.faults.append(error.kind)
            if report := self.authority.report(error, self.users, now):
                self.transport.sendto(report, addr)
            return
        self.heard.append(opened)
        if opened.reportable:
            reply = V2C.ResponsePDU()
            V2C.apiPDU.set_defaults(reply)
            V2C.apiPDU.set_request_id(reply, V2C.apiPDU.get_request_id(opened.pdu))
            V2C.apiPDU.set_varbinds(reply, V2C.apiPDU.get_varbinds(opened.pdu))
            answer = usm.answer(opened, encoder.encode(reply), self.users, self.authority, now)
            self.transport.sendto(answer, addr)


async def notify(tmp_path, program: str, *words: str) -> tuple[int, str, Receiver]:
    loop = asyncio.get_running_loop()
    transport, receiver = await loop.create_datagram_endpoint(Receiver, local_addr=("127.0.0.1", 0))
    try:
        port = transport.get_extra_info("sockname")[1]
        sent = await asyncio.to_thread(
            subprocess.run,
            [program, "-v", "3", *words, "-r", "1", "-t", "3", f"127.0.0.1:{port}", "", "1.3.6.1.2.1.222.0.2"],
            env={**os.environ, "SNMP_PERSISTENT_DIR": str(tmp_path), "MIBS": "", "SNMPCONFPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return sent.returncode, sent.stderr, receiver
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("auth", "priv"), [(None, None), ("md5", "des"), ("sha1", None), ("sha256", "aes128"), ("sha512", "aes256")]
)
def test_informs_of_net_snmp_are_answered(need, tmp_path, auth, priv):
    """It asks for our engine id, sets its clock by our report, and is content with our answer."""
    one = user(auth, priv) if auth else USERS[0]
    words = ["-u", one.name, "-l", usm.level_of(one).title]
    words += ["-a", AUTH_WORDS[auth], "-A", AUTH] if auth else []
    words += ["-x", PRIV_WORDS[priv], "-X", PRIV] if priv else []
    code, trouble, receiver = asyncio.run(notify(tmp_path, need("snmpinform", "snmp"), *words))
    assert code == 0, trouble
    assert receiver.faults[0] == "unknown_engine"
    (opened,) = receiver.heard
    assert (opened.kind, opened.user, opened.level) == (0xA6, one.name, usm.level_of(one))
    assert [str(value) for _, value in V2C.apiPDU.get_varbinds(opened.pdu)][1] == "1.3.6.1.2.1.222.0.2"


def test_a_trap_of_net_snmp_is_opened_by_its_senders_engine(need, tmp_path):
    words = ["-e", "0x80001f8880aabbccddee", "-u", "usha256aes128", "-l", "authPriv"]
    words += ["-a", "SHA-256", "-A", AUTH, "-x", "AES", "-X", PRIV]

    async def scenario():
        code, trouble, receiver = await notify(tmp_path, need("snmptrap", "snmp"), *words)
        return code, trouble, receiver

    code, trouble, receiver = asyncio.run(scenario())
    assert code == 0, trouble
    (opened,) = receiver.heard
    assert (opened.kind, opened.engine_id.hex()) == (0xA7, "80001f8880aabbccddee")
    assert receiver.faults == []
