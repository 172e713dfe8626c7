"""The doors of the real process: webhooks once and never again, keys revoked, a certificate renewed."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import urllib.request
from hashlib import sha256
from pathlib import Path

from lab import free_port, wait_for
from lab.process import ANNOUNCE, PROGRAM, WEBHOOK_SECRET, Process, clean_environment, toml

WHSEC = "whsec_" + "bm9ib2R5LW1heS1zZWUtdGhpcy1zZWNyZXQtZXZlcg=="
REPORT = b'{"device": "edge1", "reason": "link_failure", "evidence": {"port": "xe-0/0/1"}}'
PATH = "/webhook/failure"
SENDER = f'[[webhook.sender]]\nname = "svix"\nsecrets = ["{WHSEC}"]\neffect = "observe"\n'


def standard(body: bytes, *more: str) -> dict[str, str]:
    """The headers as `exabgp-bfd sign --standard` prints them."""
    ended = subprocess.run(
        [PROGRAM, "sign", "--standard", *more, "-"],
        input=body,
        capture_output=True,
        env=clean_environment(WEBHOOK_HMAC_SECRET=WHSEC),
        timeout=60,
        check=True,
    )
    return dict(line.split(": ", 1) for line in ended.stdout.decode().splitlines())


def test_a_webhook_is_taken_once_over_a_kill_and_a_restart(launch, router):
    settings = toml(router.port, SENDER, interval=600.0)
    process = launch(toml=settings).ready()
    headers = standard(REPORT)
    status, body = process.request(PATH, REPORT, headers)
    assert status == 202
    number = json.loads(body)["id"]
    assert process.request(PATH, REPORT, headers) == (202, body)
    process.signal(signal.SIGKILL)
    process.wait()
    again = launch(toml=settings).ready()
    assert again.request(PATH, REPORT, headers) == (202, body)
    other = REPORT.replace(b"link", b"another")
    assert again.request(PATH, other, standard(other, "--id", headers["webhook-id"]))[0] == 409
    assert again.request(PATH, other, headers)[0] == 401
    assert again.request(PATH, REPORT, {**headers, "webhook-timestamp": "1795000000"})[0] == 401
    (event,) = again.events(event_type="link_failure")
    assert (event["id"], event["actor"]) == (number, "svix")
    assert not again.events(event_type="another_failure")
    assert again.metric('exabgp_bfd_webhooks_total{outcome="repeated"}') == 1
    assert again.metric('exabgp_bfd_webhooks_total{outcome="replayed"}') == 1
    assert WHSEC not in again.log() + process.log()


def test_what_is_observed_is_the_sessions_state(launch, router):
    """The map from a report to a session: `evidence` names the session and its state."""
    process = launch(toml=toml(router.port, SENDER, interval=600.0))
    wait_for(lambda: process.lines == [ANNOUNCE], "announced")
    for peer in ("198.51.100.99", "198.51.100.1"):  # the first is nobody's: it makes us look, and nothing is seen
        evidence = {"state": "down", "peer": peer}
        body = json.dumps({"device": "edge1", "reason": "noticed", "evidence": evidence}).encode()
        assert process.request(PATH, body, standard(body))[0] == 202
    failure = wait_for(lambda: process.events(event_type="bfd_failure"), "a failure")[-1]
    second = process.events(event_type="noticed")[0]
    assert (failure["session"], failure["source"]) == ("edge1/198.51.100.1", "webhook")
    assert (failure["actor"], failure["cause"]) == ("svix", second["id"])


def keys(*texts: str) -> str:
    return "".join(
        f'[[api.key]]\nname = "noc"\nrole = "admin"\nsha256 = "{sha256(text.encode()).hexdigest()}"\n' for text in texts
    )


def test_a_key_is_revoked_by_a_reload(launch, router):
    process = launch(toml=toml(router.port, keys("old-key", "new-key")))

    def ask(key: str) -> int:
        return process.request("/services", headers={"X-API-Key": key})[0]

    wait_for(lambda: ask("old-key") == 200, f"served; {process.log()}")
    assert ask("new-key") == 200
    process.write_toml(toml(router.port, keys("new-key")))
    # With the key that this very reload revokes: it is answered, and opens nothing from then on.
    assert process.request("/reload", b"", {"X-API-Key": "old-key"})[0] == 200
    wait_for(lambda: (ask("old-key"), ask("new-key")) == (401, 200), "the old one is refused, the new one is not")
    assert "old-key" not in process.log()
    (_, body) = process.request("/events?event_type=reloaded", headers={"X-API-Key": "new-key"})
    (event,) = json.loads(body)["events"]
    assert event["actor"] == "noc"
    assert event["details"]["keys_revoked"] == ["noc"]
    assert "keys_added" not in event["details"]


def certify(folder: Path, name: str) -> None:
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ),
            *("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", folder / "key.pem", "-out", folder / "cert.pem"),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_a_renewed_certificate_is_served_after_a_reload(launch, router, tmp_path, need):
    need("openssl", package="openssl")
    certify(tmp_path, "first")
    # What comes first stands under [api].
    process: Process = launch(toml=f"tls_certificate = 'cert.pem'\ntls_key = 'key.pem'\n{toml(router.port)}")

    def served() -> str | None:
        """The name in the certificate that is served, where an answer comes with it."""
        trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{process.api_port}/healthz", timeout=15, context=trust):
                pem = ssl.get_server_certificate(("127.0.0.1", process.api_port))
        except OSError:
            return None
        return pem if pem == (tmp_path / "cert.pem").read_text() else None

    first = wait_for(served, f"served; {process.log()}")
    certify(tmp_path, "second")
    process.signal(signal.SIGHUP)
    second = wait_for(served, f"renewed; {process.log()}")
    assert first != second
    (tmp_path / "cert.pem").write_text("no certificate")
    process.signal(signal.SIGHUP)
    wait_for(lambda: "is no certificate" in process.log(), "refused")
    (tmp_path / "cert.pem").write_text(second)
    assert served() == second


# --- senders as they are ------------------------------------------------------------------------------------------


def test_curl_sends_what_sign_signs(launch, router, tmp_path, need):
    curl = need("curl", "curl")
    process = launch(toml=toml(router.port, SENDER)).ready()
    (tmp_path / "body.json").write_bytes(REPORT)
    body = str(tmp_path / "body.json")
    for options, secret in ((["--standard"], WHSEC), ([], WEBHOOK_SECRET)):
        signed = subprocess.run(
            [PROGRAM, "sign", *options, body],
            env=clean_environment(WEBHOOK_HMAC_SECRET=secret),
            capture_output=True,
            timeout=60,
            check=True,
        )
        sent = subprocess.run(
            [curl, "-s", "-H", "@-", "--data-binary", f"@{body}", f"http://127.0.0.1:{process.api_port}{PATH}"],
            input=signed.stdout,
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert json.loads(sent.stdout)["status"] == "accepted"
    assert {event["actor"] for event in process.events(event_type="link_failure")} == {"svix", "127.0.0.1"}


ALERTMANAGER = """
route: {{receiver: bfd, group_by: [alertname], group_wait: 100ms, group_interval: 200ms, repeat_interval: 1h}}
receivers:
  - name: bfd
    webhook_configs:
      - url: http://127.0.0.1:{port}/webhook/failure
        http_config: {{authorization: {{type: Bearer, credentials: {secret}}}}}
"""


def test_alertmanager_itself_is_understood(launch, router, tmp_path, need):
    program = need("prometheus-alertmanager", "prometheus-alertmanager")
    secret = "alertmanager-secret-nobody-may-see"
    sender = f'[[webhook.sender]]\nname = "am"\nsecrets = ["{secret}"]\nformat = "alertmanager"\nauth = "bearer"\n'
    process = launch(toml=toml(router.port, sender, interval=600.0)).ready()
    (tmp_path / "am.yml").write_text(ALERTMANAGER.format(port=process.api_port, secret=secret))
    port = free_port()
    running = subprocess.Popen(
        [
            *(program, f"--config.file={tmp_path / 'am.yml'}", f"--storage.path={tmp_path / 'am'}"),
            *(f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        alerts = [
            {"labels": {"alertname": "BfdDown", "device": "edge1", "peer": "198.51.100.1"}},
            {"labels": {"alertname": "BfdDown", "device": "edge9", "peer": "198.51.100.1"}},
        ]
        told = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/v2/alerts", json.dumps(alerts).encode(), {"Content-Type": "application/json"}
        )

        def tell() -> bool:
            try:
                with urllib.request.urlopen(told, timeout=15) as answer:
                    return bool(answer.status == 200)
            except OSError:  # it starts still
                return False

        wait_for(tell, "Alertmanager takes alerts")
        event = wait_for(lambda: process.events(event_type="BfdDown"), f"reported; {process.log()}")[-1]
    finally:
        running.terminate()
        running.wait(30)
    assert (event["device"], event["actor"]) == ("edge1", "am")
    assert event["details"]["status"] == "firing"
    assert event["details"]["labels"]["peer"] == "198.51.100.1"
    assert secret not in process.log()
