"""What Prometheus' own program says of /metrics: of a real process in which everything is configured and happened."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from hashlib import sha256
from pathlib import Path

import pytest
from lab import free_port, wait_for
from lab.process import ANNOUNCE, COMMUNITY, WEBHOOK_SECRET, WITHDRAW, Process, toml

from exabgp_bfd.core.model import Secret, State
from exabgp_bfd.web.auth import sign

pytestmark = pytest.mark.live

KEY = "a-key-that-administers"
ALL = """
[traps]
listen = "127.0.0.1:{traps}"
[snmp_proxy]
allow = ["127.0.0.0/8"]
[guard]
max_withdrawn = 5
[[device]]
name = "edge2"
host = "127.0.0.1"
port = {nobody}
[[service]]
name = "ntp"
prefixes = ["203.0.113.123/32", "2001:db8::7b/128"]
next_hop = "self"
sessions = ["edge2/*"]
[[webhook.sender]]
name = "svix"
secrets = ["whsec_bm9ib2R5LW1heS1zZWUtdGhpcy1zZWNyZXQtZXZlcg=="]
[[notify]]
name = "pager"
url = "https://127.0.0.1:{nobody}/alert"
secrets = ["n0tify-secret-nobody-may-see"]
[[api.key]]
name = "noc"
role = "admin"
sha256 = "{hash}"
"""


@pytest.fixture
def complaints(need):
    """What `promtool check metrics` says of a text: nothing, where it is as it should be."""
    program = need("promtool", "prometheus")

    def check(text: bytes) -> str:
        ended = subprocess.run([program, "check", "metrics"], input=text, capture_output=True, timeout=60, check=False)
        said = (ended.stdout + ended.stderr).decode()
        assert (ended.returncode == 0) == (said == ""), ended
        return said

    return check


def certify(folder: Path, openssl: str) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=bfd")
    subprocess.run(
        [openssl, "req", "-x509", *key, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True,
        capture_output=True,
        timeout=60,
    )


class Api:
    """The process's API, under TLS and with its key."""

    def __init__(self, process: Process, folder: Path) -> None:
        self._url = f"https://127.0.0.1:{process.api_port}"
        self._trust = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        self._trust.check_hostname = False

    def open(self, path: str, body: bytes | None = None, **headers: str):
        headers = {"X-API-Key": KEY, "Content-Type": "application/json", **headers}
        request = urllib.request.Request(f"{self._url}{path}", body, headers)
        return urllib.request.urlopen(request, timeout=15, context=self._trust)

    def __call__(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Status and body; 0 where it does not answer."""
        try:
            with self.open(path, body, **headers) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, b""

    def metrics(self) -> bytes:
        return self("/metrics")[1]


def samples(text: bytes, name: str) -> dict[str, float]:
    """The series of a name, by their labels as they are written."""
    found = re.findall(rf"^exabgp_bfd_{name}(?:\{{(.*)\}})? (\S+)$", text.decode(), re.MULTILINE)
    return {labels: float(value) for labels, value in found}


def test_promtool_has_nothing_to_complain_of(launch, router, tmp_path, need, complaints):
    certify(tmp_path, need("openssl", "openssl"))
    more = ALL.format(traps=free_port(), nobody=free_port(), hash=sha256(KEY.encode()).hexdigest())
    process = launch(toml=f"tls_certificate = 'cert.pem'\ntls_key = 'key.pem'\n{toml(router.port, more)}")
    api = Api(process, tmp_path)
    wait_for(lambda: process.lines == [ANNOUNCE], f"announced; {process.log()}")
    wait_for(lambda: api("/readyz")[0] == 200, f"ready; {process.log()}")
    # Something of everything happens.
    with api.open("/stream") as following:
        report = b'{"device": "edge1", "reason": "noticed", "evidence": {}}'
        signed = {"X-Hub-Signature-256": sign(Secret(WEBHOOK_SECRET), report)}
        assert api("/webhook/failure", report, **signed)[0] == 202
        assert api("/webhook/failure", report)[0] == 401
        asked = {"host": "127.0.0.1", "community": COMMUNITY, "oids": ["1.3.6.1.2.1.1.3.0"]}
        assert api("/snmp/get", json.dumps(asked).encode())[0] == 202
        router.set(State.DOWN)
        wait_for(lambda: process.lines == [ANNOUNCE, WITHDRAW], f"withdrawn; {process.log()}")
        wait_for(lambda: sum(samples(api.metrics(), "snmp_jobs_total").values()), "the job ended")
        assert following.readline()
        text = api.metrics()
    assert complaints(text) == ""
    series = [line.rpartition(" ")[0] for line in text.decode().splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))  # Prometheus would refuse all of it
    assert samples(text, "stream_followers") == {"": 1.0}
    assert samples(text, "reaction_seconds_count")[""] >= 1
    assert samples(text, "polls_total")['device="edge2",outcome="timeout"'] >= 1
    assert samples(text, "webhooks_total")['outcome="accepted"'] == 1
    assert samples(text, "webhooks_total")['outcome="unsigned"'] == 1
    assert samples(text, "session_up") == {'device="edge1",session="edge1/198.51.100.1"': 0.0}
    assert "notifications on" in process.log()
    wait_for(lambda: samples(api.metrics(), "stream_followers") == {"": 0.0}, "its place is free again")


@pytest.mark.parametrize(
    "line",
    [
        "x_milliseconds 1",
        "# TYPE x counter\nx 1",
        '# HELP x y\nx 1\n"',
        "# HELP x_total y\n# TYPE x_total gauge\nx_total 1",
    ],
)
def test_promtool_would_complain(complaints, line):
    assert complaints(f"{line}\n".encode()) != ""
