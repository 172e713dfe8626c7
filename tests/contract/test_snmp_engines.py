"""Both engines behind `Client`, and both versions, held to the same answers by a real agent and by agents that lie."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from ipaddress import ip_address

import pytest
from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto import api

from exabgp_bfd.core.model import ConfigError, Secret, SourceError, State
from exabgp_bfd.simulator import Router
from exabgp_bfd.sources.snmp import client as client_module
from exabgp_bfd.sources.snmp import column
from exabgp_bfd.sources.snmp.client import Client, connect
from exabgp_bfd.sources.snmp.gufo_client import GufoClient
from exabgp_bfd.sources.snmp.pysnmp_client import PysnmpClient
from exabgp_bfd.sources.snmp.target import Target

V2C = api.PROTOCOL_MODULES[api.SNMP_VERSION_2C]
NAME = "1.3.6.1.2.1.1.5.0"
UP_TIME = "1.3.6.1.2.1.1.3.0"
STATE = "1.3.6.1.2.1.222.1.2.1.11"
PEER = "1.3.6.1.2.1.222.1.2.1.22"
COMMUNITY = "not to be shown"


def need_gufo() -> None:
    if os.environ.get("EXABGP_BFD_REQUIRE_ALL") == "1":
        import_module("gufo.snmp")
    pytest.importorskip("gufo.snmp", reason="gufo_snmp is missing: pip install exabgp-bfd[fast]")


@pytest.fixture(params=["pysnmp 2c", "gufo 2c", "pysnmp 1"])
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    engine, version = request.param.split()
    if engine == "gufo":
        need_gufo()
    return engine, version


@pytest.fixture(params=["pysnmp", "gufo"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "gufo":
        need_gufo()
    return request.param


def target(port: int, engine: str, version: str = "2c", **changes) -> Target:
    settings = {"host": "127.0.0.1", "community": Secret(COMMUNITY), "timeout": 2.0, **changes}
    return Target("edge1", port=port, engine=engine, version=version, **settings)


@asynccontextmanager
async def asking(wanted: Target) -> AsyncIterator[Client]:
    client = connect(wanted)
    try:
        yield client
    finally:
        await client.close()


async def reason(client: Client, oid: str = NAME) -> str:
    with pytest.raises(SourceError) as caught:
        await client.get([oid])
    text = str(caught.value)
    assert COMMUNITY not in text
    assert "\n" not in text
    return text


class Liar(asyncio.DatagramProtocol):
    """An agent that answers each datagram with what a function makes of it."""

    def __init__(self, answer: Callable[[bytes], list[bytes]]) -> None:
        self.answer = answer
        self.asked = 0

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr) -> None:
        self.asked += 1
        for reply in self.answer(data):
            self.transport.sendto(reply, addr)


@asynccontextmanager
async def lying(answer: Callable[[bytes], list[bytes]]) -> AsyncIterator[tuple[int, Liar]]:
    loop = asyncio.get_running_loop()
    transport, liar = await loop.create_datagram_endpoint(lambda: Liar(answer), local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1], liar
    finally:
        transport.close()
        await asyncio.sleep(0)


def response(request: bytes, make: Callable[[list], list], status: int = 0, index: int = 0) -> bytes:
    """A well-formed response whose values `make` chooses from the OIDs asked for."""
    message, _ = decoder.decode(request, asn1Spec=V2C.Message())
    asked = [oid for oid, _ in V2C.apiPDU.get_varbinds(V2C.apiMessage.get_pdu(message))]
    answer = V2C.apiMessage.get_response(message)
    pdu = V2C.apiMessage.get_pdu(answer)
    V2C.apiPDU.set_error_status(pdu, status)
    V2C.apiPDU.set_varbinds(pdu, make(asked))
    V2C.apiPDU.set_error_index(pdu, index)
    return encoder.encode(answer)


def test_values_of_every_kind_and_missing_rows(kind):
    async def scenario():
        async with Router(COMMUNITY) as router:
            router.add("192.0.2.1", State.DOWN, local="192.0.2.2")
            router.table.put((1, 3, 6, 1, 4, 1, 1, 1, 0), V2C.IpAddress("198.51.100.7"))
            router.table.put((1, 3, 6, 1, 4, 1, 1, 2, 0), V2C.ObjectIdentifier((1, 3, 6, 1, 4)))
            router.table.put((1, 3, 6, 1, 4, 1, 1, 3, 0), V2C.Integer32(-5))
            router.table.put((1, 3, 6, 1, 4, 1, 1, 4, 0), V2C.Counter32(2**32 - 1))
            async with asking(target(router.port, *kind)) as client:
                up_time = (await client.get([UP_TIME]))[UP_TIME]
                return up_time, await client.get(
                    [
                        f"{STATE}.1",
                        f"{STATE}.77",
                        f"{PEER}.1",
                        "1.3.6.1.4.1.1.1.0",
                        "1.3.6.1.4.1.1.2.0",
                        "1.3.6.1.4.1.1.3.0",
                        "1.3.6.1.4.1.1.4.0",
                        "1.3.6.1.4.1.9.9.9.0",
                    ]
                )

    up_time, values = asyncio.run(scenario())
    assert isinstance(up_time, int)
    assert up_time >= 8_640_000
    assert values == {
        f"{STATE}.1": 2,
        f"{PEER}.1": ip_address("192.0.2.1").packed,
        "1.3.6.1.4.1.1.1.0": "198.51.100.7",
        "1.3.6.1.4.1.1.2.0": "1.3.6.1.4",
        "1.3.6.1.4.1.1.3.0": -5,
        "1.3.6.1.4.1.1.4.0": 2**32 - 1,
    }


def test_nothing_asked_is_nothing_sent(kind):
    async def scenario():
        async with Router(COMMUNITY) as router, asking(target(router.port, *kind)) as client:
            return await client.get([]), router.requests

    assert asyncio.run(scenario()) == ({}, 0)


@pytest.mark.parametrize("count", [0, 1, 39, 40, 41, 130])
def test_walk_gives_a_column_in_order_and_stops_at_its_end(kind, count):
    async def scenario():
        async with Router(COMMUNITY) as router:
            for number in range(count):
                router.add(f"10.0.{number // 250}.{number % 250 + 1}", index=number * 7 + 1)
            async with asking(target(router.port, *kind)) as client:
                return await client.walk(STATE), await client.walk(PEER)

    states, peers = asyncio.run(scenario())
    indexes = [number * 7 + 1 for number in range(count)]
    assert states == [(f"{STATE}.{index}", 4) for index in indexes]
    assert [oid for oid, _ in peers] == [f"{PEER}.{index}" for index in indexes]


def test_walk_stops_at_the_end_of_everything(kind):
    async def scenario():
        async with Router(COMMUNITY) as router:
            router.table.put((2, 5, 1, 1), V2C.Integer32(1))
            router.table.put((2, 5, 1, 2), V2C.Integer32(2))
            async with asking(target(router.port, *kind)) as client:
                return await client.walk("2.5.1"), await client.walk("2.9")

    assert asyncio.run(scenario()) == ([("2.5.1.1", 1), ("2.5.1.2", 2)], [])


def test_many_requests_at_once_get_each_its_own_answer(kind):
    async def scenario():
        async with Router(COMMUNITY) as router:
            for number in range(1, 41):
                router.add(f"10.0.0.{number}", State.UP if number % 2 else State.DOWN)
            async with asking(target(router.port, *kind)) as client:
                oids = [f"{STATE}.{number}" for number in range(1, 41)]
                return await asyncio.gather(*(client.get([oid]) for oid in oids))

    answers = asyncio.run(scenario())
    assert answers == [{f"{STATE}.{number}": 4 if number % 2 else 2} for number in range(1, 41)]


def test_wrong_community_is_told_without_it(kind):
    async def scenario():
        async with (
            Router("another") as router,
            asking(target(router.port, *kind, timeout=0.2, retries=1)) as client,
        ):
            return router.port, await reason(client), router.requests

    port, text, requests = asyncio.run(scenario())
    assert text == f"no answer from 127.0.0.1:{port} in 2 tries of 0.2 s: is the community right, is the agent running?"
    assert requests == 2


def test_closed_port_is_told_at_once(kind):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

    async def scenario():
        async with asyncio.timeout(30), asking(target(port, *kind, timeout=60.0)) as client:
            return await reason(client)

    assert asyncio.run(scenario()) == f"127.0.0.1:{port} refused: nothing listens on that UDP port"


def test_agent_that_comes_back_is_heard_by_the_same_client(kind):
    async def scenario():
        router = Router(COMMUNITY)
        await router.start()
        async with asking(target(router.port, *kind, timeout=0.3, retries=0)) as client:
            first = await client.get([NAME])
            await router.stop()
            silent = await reason(client)
            await router.start()
            router.silent = True
            mute = await reason(client)
            router.silent = False
            second = await client.get([NAME])
        await router.stop()
        return first == second, silent, mute

    same, silent, mute = asyncio.run(scenario())
    assert same
    assert "refused" in silent
    assert "in 1 try of" in mute


def test_name_that_does_not_resolve(kind):
    async def scenario():
        async with asking(target(161, *kind, host="no-such-host.invalid")) as client:
            return await reason(client)

    assert "the name no-such-host.invalid" in asyncio.run(scenario())


def test_name_and_ipv6_hosts(kind):
    async def scenario():
        found = []
        for host, bound in (("localhost", "127.0.0.1"), ("::1", "::1")):
            async with (
                Router(COMMUNITY, host=bound) as router,
                asking(target(router.port, *kind, host=host)) as client,
            ):
                found.append(await client.get([NAME]))
        return found

    try:
        socket.getaddrinfo("::1", 1, flags=socket.AI_NUMERICHOST)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
            six.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    assert asyncio.run(scenario()) == [{NAME: b"simulator"}] * 2


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0",
        b"hello",
        b"\x30\x82\xff\xff",
        b"\x30\x80" + b"\x00" * 40,
        b"\x30" * 300,
        bytes(range(256)) * 4,
    ],
    ids=["nul", "text", "long length", "indefinite", "nested", "every octet"],
)
def test_garbage_is_told_in_one_line(engine, garbage):
    async def scenario():
        async with lying(lambda _: [garbage]) as (port, _), asking(target(port, engine, timeout=0.2)) as client:
            return await reason(client)

    assert f"{len(garbage)} octets that are no SNMP response" in asyncio.run(scenario())


def test_a_reply_that_makes_gufo_panic_is_no_more_than_garbage(engine, caplog):
    """A varbind without even an OID: gufo_snmp 0.13 looks at its first octet, and its panic is no Exception."""

    def broken(request: bytes) -> list[bytes]:
        message, _ = decoder.decode(request, asn1Spec=V2C.Message())
        number = int(V2C.apiPDU.get_request_id(V2C.apiMessage.get_pdu(message)))
        pdu = b"\x02\x04" + number.to_bytes(4, "big") + b"\x02\x01\x00" * 2 + b"\x30\x02\x30\x00"
        community = COMMUNITY.encode()
        body = b"\x02\x01\x01\x04" + bytes([len(community)]) + community + b"\xa2" + bytes([len(pdu)]) + pdu
        return [b"\x30" + bytes([len(body)]) + body]

    async def scenario():
        async with lying(broken) as (port, _), asking(target(port, engine, timeout=0.2, retries=0)) as client:
            return [await reason(client) for _ in range(2)]

    with caplog.at_level(logging.DEBUG):
        for text in asyncio.run(scenario()):
            assert "no SNMP response" in text
    assert ("gufo_snmp cannot bear" in caplog.text) == (engine == "gufo")
    assert COMMUNITY not in caplog.text


def test_garbage_before_the_answer_does_no_harm(engine):
    def noisy(request: bytes) -> list[bytes]:
        return [b"noise", response(request, lambda asked: [(oid, V2C.Integer32(7)) for oid in asked])]

    async def scenario():
        async with lying(noisy) as (port, _), asking(target(port, engine, timeout=2.0)) as client:
            return await client.get([NAME])

    assert asyncio.run(scenario()) == {NAME: 7}


def test_reply_from_another_address_is_refused(engine):
    """An agent's answer must come from where the question went; a spoofer on another address is not heard."""
    received = []

    def elsewhere(request: bytes) -> list[bytes]:
        received.append(response(request, lambda asked: [(oid, V2C.Integer32(7)) for oid in asked]))
        return []

    async def scenario():
        async with lying(elsewhere) as (port, liar):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as spoofer:
                spoofer.bind(("127.0.0.2", port))
                original = liar.datagram_received

                def answer_from_elsewhere(data, addr):
                    original(data, addr)
                    spoofer.sendto(received[-1], addr)

                liar.datagram_received = answer_from_elsewhere
                async with asking(target(port, engine, timeout=0.2, retries=0)) as client:
                    return await reason(client)

    text = asyncio.run(scenario())
    assert received
    assert text.startswith("no answer from 127.0.0.1")


def test_answer_with_another_number_is_not_taken(engine):
    def stale(request: bytes) -> list[bytes]:
        message, _ = decoder.decode(request, asn1Spec=V2C.Message())
        pdu = V2C.apiMessage.get_pdu(message)
        V2C.apiPDU.set_request_id(pdu, int(V2C.apiPDU.get_request_id(pdu)) ^ 1)
        return [response(encoder.encode(message), lambda asked: [(oid, V2C.Integer32(7)) for oid in asked])]

    async def scenario():
        async with lying(stale) as (port, _), asking(target(port, engine, timeout=0.2, retries=0)) as client:
            return await reason(client)

    assert "no answer" in asyncio.run(scenario())


def test_an_error_is_an_error_and_not_missing_rows(engine):
    """genErr comes back with empty values: taking those for missing rows would withdraw routes."""

    def gen_err(request: bytes) -> list[bytes]:
        return [response(request, lambda asked: [(oid, V2C.null) for oid in asked], status=5, index=1)]

    async def scenario():
        async with lying(gen_err) as (port, _), asking(target(port, engine, retries=0)) as client:
            told = await reason(client, f"{STATE}.1")
            with pytest.raises(SourceError) as caught:
                await client.walk(STATE)
            return told, str(caught.value)

    told, walked = asyncio.run(scenario())
    assert told.endswith(f"answered genErr for {STATE}.1")
    assert walked.endswith(f"answered genErr for {STATE}")


@pytest.mark.parametrize("values", ["nothing", "null", "other"])
def test_an_answer_that_leaves_a_row_out_does_not_make_it_missing(engine, values):
    made = {
        "nothing": lambda _: [],
        "null": lambda asked: [(oid, V2C.null) for oid in asked],
        "other": lambda asked: [((*oid, 1), V2C.Integer32(1)) for oid in asked],
    }[values]

    async def scenario():
        async with (
            lying(lambda request: [response(request, made)]) as (port, _),
            asking(target(port, engine, timeout=0.3, retries=0)) as client,
        ):
            return await reason(client)

    assert "without a value" in asyncio.run(scenario())


def test_too_big_halves_the_pdu_and_remembers(engine):
    async def scenario():
        async with Router(COMMUNITY, max_varbinds=6) as router:
            for number in range(1, 31):
                router.add(f"10.0.0.{number}")
            async with asking(target(router.port, engine)) as client:
                oids = [f"{STATE}.{number}" for number in range(1, 31)]
                first = await client.get(oids)
                router.requests = 0
                second = await client.get(oids)
                return first, second, router.requests

    first, second, requests = asyncio.run(scenario())
    assert first == second == {f"{STATE}.{number}": 4 for number in range(1, 31)}
    assert requests == 10  # 30, 15 and 7 values were too many: 3 at a time from then on


def test_too_big_for_a_single_value_is_an_error(engine):
    async def scenario():
        async with Router(COMMUNITY, max_varbinds=0) as router, asking(target(router.port, engine)) as client:
            return await reason(client)

    assert "tooBig for a single value" in asyncio.run(scenario())


@pytest.mark.parametrize("ways", ["backwards", "standing still", "in circles"])
def test_a_walk_that_does_not_go_forward_ends_in_an_error(engine, ways):
    steps = {
        "backwards": [(*(1, 3, 6, 1, 2, 1, 222, 1, 2, 1, 11), 5), (1, 3, 6, 1, 2, 1, 222, 1, 2, 1, 11, 4)],
        "standing still": [(1, 3, 6, 1, 2, 1, 222, 1, 2, 1, 11, 5)] * 2,
        "in circles": [(1, 3, 6, 1, 2, 1, 222, 1, 2, 1, 11, 5), (1, 3, 6, 1, 2, 1, 1, 5, 0)],
    }[ways]

    def circling(request: bytes) -> list[bytes]:
        return [response(request, lambda _: [(oid, V2C.Integer32(4)) for oid in steps])]

    async def scenario():
        async with lying(circling) as (port, _), asking(target(port, engine)) as client:
            with pytest.raises(SourceError) as caught:
                await client.walk(STATE)
            return str(caught.value)

    async def within():
        async with asyncio.timeout(30):
            return await scenario()

    assert "went backwards in a walk" in asyncio.run(within())


def test_a_walk_without_end_is_cut_off(engine, monkeypatch):
    monkeypatch.setattr(column, "MAX_ROWS", 100)

    def endless(request: bytes) -> list[bytes]:
        def following(asked):
            oid = tuple(asked[0])
            start = oid[11] if len(oid) > 11 else 0
            return [((*oid[:11], start + step), V2C.Integer32(4)) for step in range(1, 41)]

        return [response(request, following)]

    async def scenario():
        async with lying(endless) as (port, _), asking(target(port, engine)) as client:
            with pytest.raises(SourceError) as caught:
                await client.walk(STATE)
            return str(caught.value)

    assert "more than 100 rows" in asyncio.run(scenario())


def test_a_walk_cut_short_by_silence_is_no_short_column(engine):
    async def scenario():
        async with Router(COMMUNITY) as router:
            for number in range(1, 101):
                router.add(f"10.0.0.{number}")
            answer = router.table.read_next_variables
            calls = 0

            def mute(*asked, **rest):
                nonlocal calls
                calls += 1
                router.silent = calls >= 40
                return answer(*asked, **rest)

            router.table.read_next_variables = mute
            async with asking(target(router.port, engine, timeout=0.2, retries=0)) as client:
                with pytest.raises(SourceError) as caught:
                    await client.walk(STATE)
                return str(caught.value)

    assert "no answer" in asyncio.run(scenario())


def test_closing_ends_what_is_under_way(kind):
    async def scenario():
        async with Router(COMMUNITY) as router:
            router.silent = True
            client = connect(target(router.port, *kind, timeout=30.0))
            task = asyncio.create_task(client.get([NAME]))
            while not router.requests:  # noqa: ASYNC110 - the router counts, and signals nobody
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()
            await client.close()
            return task.cancelled()

    assert asyncio.run(scenario())


def test_the_engine_is_chosen_by_what_is_asked_and_installed(monkeypatch):
    need_gufo()

    async def chosen(**changes) -> str:
        async with asking(Target("edge1", "127.0.0.1", Secret("x"), **changes)) as client:
            assert isinstance(client, GufoClient if client.engine == "gufo" else PysnmpClient)
            return client.engine

    assert asyncio.run(chosen()) == "gufo"
    assert asyncio.run(chosen(engine="pysnmp")) == "pysnmp"
    assert asyncio.run(chosen(version="1")) == "pysnmp"
    monkeypatch.setattr(client_module, "_gufo_found", lambda: False)
    assert asyncio.run(chosen()) == "pysnmp"
    with pytest.raises(ConfigError, match="not installed"):
        connect(Target("edge1", "127.0.0.1", Secret("x"), engine="gufo"))


@pytest.mark.parametrize("wrong", [{"version": "3"}, {"engine": "net-snmp"}, {"engine": "gufo", "version": "1"}])
def test_settings_that_cannot_be_met_are_told(wrong):
    with pytest.raises(ConfigError, match="device edge1"):
        connect(Target("edge1", "127.0.0.1", Secret("x"), **wrong))


def test_no_secret_in_a_targets_repr():
    assert COMMUNITY not in repr(target(161, "auto"))
