"""`exabgp-bfd discover` against net-snmp's own agent, as a program of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exabgp_bfd.config import Overrides, load
from exabgp_bfd.core.model import Secret, State

pytestmark = pytest.mark.live

AUTH_KEY, PRIV_KEY = "an authentication phrase", "an encryption phrase"


def discover(snmpd, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs the command against the agent; its secrets come by variables and are never printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SNMP_", "EXABGP_BFD_"))}
    done = subprocess.run(
        [sys.executable, "-m", "exabgp_bfd", "discover", f"{snmpd.host}:{snmpd.port}", *arguments],
        env={**clean, "SNMP_COMMUNITY": snmpd.community, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    for secret in (snmpd.community, AUTH_KEY, PRIV_KEY):
        assert secret not in done.stdout + done.stderr
    return done


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What it said on stderr but how far it is, which it tells where the machine is busy."""
    return [line for line in done.stderr.splitlines() if not line.startswith("exabgp-bfd: discover: reading ")]


@pytest.fixture(params=["pysnmp 2c", "gufo 2c", "pysnmp 1"])
def kind(request) -> list[str]:
    engine, version = request.param.split()
    if engine == "gufo":
        pytest.importorskip("gufo.snmp")
    return ["--engine", engine, "--snmp-version", version]


def test_what_snmpd_has(snmpd, kind, tmp_path: Path):
    snmpd.add(10, "198.51.100.7", State.DOWN)
    done = discover(snmpd, *kind)
    assert (done.returncode, complaints(done)) == (0, [])
    lines = done.stdout.splitlines()
    assert "3 BFD sessions in BFD-STD-MIB (profile bfd-std), 2 of them up" in lines
    rows = {line.split()[0]: line.split() for line in lines if line.startswith(("192.0.2.1 ", "2001:", "198.51"))}
    assert [rows[peer][1] for peer in ("192.0.2.1", "2001:db8::1", "198.51.100.7")] == ["up", "up", "down"]
    assert "lo" in rows["192.0.2.1"]
    assert f"asked with SNMP version {kind[3]} by {kind[1]}" in lines[0]

    file = tmp_path / "exabgp-bfd.toml"
    file.write_text(done.stdout[done.stdout.index("\n[[device]]\n") :])
    settings = load(file, Overrides(), {"SNMP_COMMUNITY": snmpd.community})
    (device,) = settings.targets
    assert (device.host, device.port, device.community) == (snmpd.host, snmpd.port, Secret(snmpd.community))
    followed = {str(selector) for selector in settings.plan.services[0].selectors}
    assert followed == {f"{device.name}/192.0.2.1", f"{device.name}/2001:db8::1"}


def test_a_host_without_a_table(snmpd):
    snmpd.remove(1)
    snmpd.remove(2)
    done = discover(snmpd)
    assert done.returncode == 1
    assert "no BFD table with a session in it" in done.stdout
    assert "net-snmp on a host" in done.stdout  # its sysObjectID says so


def test_a_wrong_community(snmpd):
    done = discover(snmpd, "--timeout", "0.2", "--retries", "0", SNMP_COMMUNITY="not the community")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no answer from" in done.stderr
    assert "is the community right?" in done.stderr
    assert "not the community" not in done.stderr


def test_version_3(snmpd, tmp_path: Path):
    snmpd.stop()
    with (tmp_path / "snmpd" / "snmpd.conf").open("a") as conf:
        conf.write(f'createUser bfd SHA "{AUTH_KEY}" AES "{PRIV_KEY}"\nrouser bfd priv\n')
    snmpd.start()
    flags = ["--user", "bfd", "--auth-protocol", "sha1", "--priv-protocol", "aes128", "--json"]
    keys = {"SNMP_AUTH_KEY": AUTH_KEY, "SNMP_PRIV_KEY": PRIV_KEY}
    done = discover(snmpd, *flags, **keys)
    assert (done.returncode, complaints(done)) == (0, [])
    document = json.loads(done.stdout)
    assert document["version"] == "3"
    assert [session["peer"] for session in document["contexts"][0]["sessions"]] == ["192.0.2.1", "2001:db8::1"]

    wrong = discover(snmpd, *flags, "--timeout", "1", **{**keys, "SNMP_AUTH_KEY": "another phrase"})
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["remedies"]
    assert "--user" in wrong.stderr
