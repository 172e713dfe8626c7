"""Recordings served by snmpsim, which nobody of us wrote: what real devices said, and every device of ours."""

import asyncio
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from conftest import RECORDINGS as REAL
from conftest import missing
from lab.listening import PATIENCE, misunderstood, polling, target
from lab.recordings import Recording, all_recordings
from lab.snmpsim import REMEDY, Snmpsim, responder

from exabgp_bfd.core.credentials import User
from exabgp_bfd.core.model import Diagnostic, Observation, Secret, State
from exabgp_bfd.sources.snmp.client import connect
from exabgp_bfd.sources.snmp.target import Target

OURS = {recording.name.replace(" ", "-"): recording for recording in all_recordings()}
H3C, JUNOS_UP, JUNOS_DOWN = "h3c-comware-7.1.075", "junos-bfd-up", "junos-bfd-down"


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snmpsim]:
    program = responder()
    if program is None:
        missing("snmpsim", REMEDY)
        raise AssertionError("unreachable")
    texts = {name: recording.snmprec for name, recording in OURS.items()}
    if REAL.is_dir():
        texts |= {path.stem: path.read_text() for path in sorted(REAL.glob("*.snmprec"))}
    with Snmpsim(program, tmp_path_factory.mktemp("snmpsim"), texts) as running:
        yield running


@pytest.fixture(params=["pysnmp", "gufo"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "gufo":
        pytest.importorskip("gufo.snmp")
    return request.param


def device(simulator: Snmpsim, name: str, engine: str, **changes: object) -> Target:
    settings = {"community": Secret(name), "interval": 2.0, "timeout": 10.0, **changes}
    return target(simulator.port, engine, name, **settings)


def read(simulator: Snmpsim, engine: str, *names: str, **changes: object) -> dict[str, tuple[Observation, ...]]:
    """What a poller makes of some devices: its first whole poll of each, and the table it found."""

    async def scenario() -> dict[str, tuple[Observation, ...]]:
        devices = [device(simulator, name, engine, **changes) for name in names]
        async with polling(*devices) as (_, heard):
            return {name: (await heard.whole(device=name)).observations for name in names}

    return asyncio.run(scenario())


def test_every_device_of_ours_is_understood(simulator, engine):
    found = read(simulator, engine, *OURS)
    assert {name: misunderstood(OURS[name], seen) for name, seen in found.items()} == {name: [] for name in OURS}


# What is asked of each real device, since it is what the others get wrong: see shared/recordings/README.md.


@pytest.fixture
def real() -> Path:
    if not REAL.is_dir():  # they are no part of the project: nobody is asked to have them
        pytest.skip(f"no recordings of real devices in {REAL}")
    return REAL


def test_comware_that_came_up_never(real, simulator, engine):
    """Its index is not its discriminator, it has no counters yet, diagnostics count from 1 and states from 0."""
    (seen,) = read(simulator, engine, H3C)[H3C]
    assert seen.state is State.DOWN
    assert seen.diagnostic is Diagnostic.NONE
    assert seen.session.name == "10.6.0.254"
    assert (seen.session.peer, seen.session.local) == (ip_address("10.6.0.254"), ip_address("10.6.0.253"))
    assert seen.session.discriminator == 35770
    assert seen.details["index"] == "35769"
    assert (seen.ups, seen.downs, seen.last_up) == (None, None, None)
    text = (real / f"{H3C}.snmprec").read_text()
    names = {line.split("|")[0]: line.split("|") for line in text.splitlines()}
    tag, value = names["1.3.6.1.2.1.31.1.1.1.1.8965"][1:] if "1.3.6.1.2.1.31.1.1.1.1.8965" in names else ("", "")
    wanted = (bytes.fromhex(value).decode() if tag == "4x" else value) or None
    if wanted is None:
        tag, value = names["1.3.6.1.2.1.2.2.1.2.8965"][1:]
        wanted = bytes.fromhex(value).decode() if tag == "4x" else value
    assert seen.session.interface == wanted


@pytest.mark.parametrize(("name", "state"), [(JUNOS_UP, State.UP), (JUNOS_DOWN, State.DOWN)])
def test_junos(real, simulator, engine, name, state):
    """Its interface's name is in JUNIPER-BFD-MIB; it has neither a diagnostic nor counters nor even sysUpTime here."""
    (seen,) = read(simulator, engine, name)[name]
    assert seen.state is state
    assert seen.session.peer == ip_address("127.0.0.1")
    assert seen.session.interface == "xe-1/2/0.0"
    assert seen.session.discriminator == 4524
    assert seen.session.name == "127.0.0.1"
    assert seen.diagnostic is None
    assert (seen.session.local, seen.ups, seen.downs) == (None, None, None)


def test_version_1_and_version_3_with_contexts(simulator):
    user = User("simulator", "sha1", Secret(Snmpsim.AUTH_KEY))
    recording: Recording = OURS["nokia"]
    (one,) = read(simulator, "pysnmp", "nokia", version="1").values()
    assert misunderstood(recording, one) == []
    (three,) = read(simulator, "auto", "nokia", version="3", user=user, context="nokia").values()
    assert {(seen.session.peer, seen.state) for seen in three} == {(seen.session.peer, seen.state) for seen in one}


def test_an_unknown_community_is_silence_and_an_unknown_context_an_error(simulator):
    user = User("simulator", "sha1", Secret(Snmpsim.AUTH_KEY))

    async def scenario() -> list[str]:
        said = []
        for changes in ({"community": Secret("nobody")}, {"version": "3", "user": user, "context": "nobody"}):
            client = connect(device(simulator, "nokia", "auto", timeout=0.5, retries=0, **changes))
            try:
                async with asyncio.timeout(PATIENCE):
                    await client.get(["1.3.6.1.2.1.1.3.0"])
            except Exception as trouble:  # noqa: BLE001 - whatever comes is compared
                said.append(str(trouble))
            finally:
                await client.close()
        return said

    first, second = asyncio.run(scenario())
    assert first.startswith("no answer from")
    assert "nobody" in second
    assert "context" in second
