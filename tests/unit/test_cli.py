"""The command line: exit statuses, one line for what is wrong, and what `check` and `sign` print."""

import hashlib
import hmac
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exabgp_bfd import __version__, cli
from exabgp_bfd.config import VARIABLES
from exabgp_bfd.core.model import Secret
from exabgp_bfd.web.auth import verify

REFERENCE = Path(__file__).resolve().parents[2] / "conf" / "exabgp-bfd.toml"
SERVICE = """
[[device]]
name = "edge1"
host = "192.0.2.1"
[[service]]
name = "dns"
prefixes = ["203.0.113.53/32", "2001:db8::53/128"]
next_hop = ["192.0.2.10", "2001:db8::10"]
neighbors = ["192.0.2.254"]
med = 50
communities = ["65000:53", "graceful-shutdown"]
as_path = [65000, 65000]
sessions = ["edge1/198.51.100.1"]
"""
BODY = b'{"device": "edge1"}\n'


@pytest.fixture
def exabgp_bfd(monkeypatch, capsysbinary):
    """Runs a command in this process: exit status, and the lines of stdout and stderr."""

    def run(*words, stdin: bytes = b"", **variables: str) -> tuple[int, list[str], list[str]]:
        with monkeypatch.context() as patch:
            for name in VARIABLES.values():
                patch.delenv(name, raising=False)
            for name, value in variables.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["exabgp-bfd", *map(str, words)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            with pytest.raises(SystemExit) as ended:
                cli.main()
        out, err = capsysbinary.readouterr()
        return ended.value.code, out.decode().splitlines(), err.decode().splitlines()

    return run


def exabgp_bfd_apart(*words, **variables: str) -> tuple[int, list[str], list[str]]:
    """The same in a process of its own, for what takes over stdin and stdout."""
    environment = {name: value for name, value in os.environ.items() if name not in set(VARIABLES.values())}
    ended = subprocess.run(
        [sys.executable, "-m", "exabgp_bfd", *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**environment, **variables},
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout.decode().splitlines(), ended.stderr.decode().splitlines()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "exabgp-bfd.toml"
    path.write_text(SERVICE)
    return path


def test_version(exabgp_bfd):
    assert exabgp_bfd("--version") == (0, [f"exabgp-bfd, version {__version__}"], [])


def test_help_names_every_variable(exabgp_bfd):
    status, out, _ = exabgp_bfd("run", "--help")
    assert status == 0
    for flag, variable in VARIABLES.items():
        assert any(flag in line for line in out)
        assert any(variable in line for line in out)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["--nope"], "No such option '--nope'."),
        (["check"], "Missing argument 'FILE'."),
        (["check", "a", "b"], "unexpected extra argument (b)"),
        (["sign", "--secret", "x", "/no/such/body"], "No such file or directory"),
        (["sign"], "Missing option '--secret'"),
        (["run", "--nope"], "No such option '--nope'"),
        (["run", "one"], "unexpected extra argument (one)"),
        (["run"], "nothing to do yet"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_bad_usage_is_one_line_and_status_2(exabgp_bfd, words, wrong):
    status, out, err = (exabgp_bfd_apart if words[0] == "run" else exabgp_bfd)(*words)
    assert (status, out) == (2, [])
    assert len(err) == 1, err
    assert err[0].startswith("exabgp-bfd")
    assert wrong in err[0]


def test_without_a_command_the_help_is_shown(exabgp_bfd):
    status, _, err = exabgp_bfd()
    assert status == 2
    assert err[0].startswith("Usage: ")


# --- check --------------------------------------------------------------------------------------------------------


def test_check_prints_the_plan_with_the_exact_commands(exabgp_bfd, file):
    status, out, err = exabgp_bfd("check", file)
    assert (status, err) == (0, [])
    attributes = "as-path [ 65000 65000 ] med 50 community [ 65000:53 65535:0 ]"
    assert [line.strip() for line in out if line.startswith("  ")] == [
        f"announce: neighbor 192.0.2.254 announce route 203.0.113.53/32 next-hop 192.0.2.10 {attributes}",
        "withdraw: neighbor 192.0.2.254 withdraw route 203.0.113.53/32",
        f"announce: neighbor 192.0.2.254 announce route 2001:db8::53/128 next-hop 2001:db8::10 {attributes}",
        "withdraw: neighbor 192.0.2.254 withdraw route 2001:db8::53/128",
    ]
    assert any(line.startswith("device edge1: 192.0.2.1 port 161") for line in out)
    assert any(line.startswith("service dns: 1 of [edge1/198.51.100.1] up") for line in out)


def test_check_takes_the_reference(exabgp_bfd):
    status, out, err = exabgp_bfd("check", REFERENCE)
    assert (status, err) == (0, [])
    assert "  announce: neighbor * announce route 192.0.2.53/32 next-hop 192.0.2.10" in out


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("[[device]]", "[[device", "is not TOML"),
        ("med =", "medd =", "service[0].medd: unknown key, did you mean `med`?"),
        ("edge1/", "edge7/", "there is no device edge7"),
        ("203.0.113.53/32", "203.0.113.53/24", "has host bits set"),
        ("192.0.2.254", "192.0.2.256", "service[0].neighbors[0]: must be an IPv4 or IPv6 address"),
    ],
)
def test_check_tells_what_is_wrong_with_a_file(exabgp_bfd, file, old, new, wrong):
    file.write_text(SERVICE.replace(old, new, 1))
    status, out, err = exabgp_bfd("check", file)
    assert (status, out, len(err)) == (2, [], 1), err
    assert err[0].startswith(f"exabgp-bfd: {file}: ")
    assert wrong in err[0]


def test_check_tells_everything_that_is_wrong_a_line_each(exabgp_bfd, file):
    file.write_text(SERVICE.replace("med = 50", "med = -1").replace('name = "edge1"', 'name = "edge 1"'))
    status, out, err = exabgp_bfd("check", file)
    assert (status, out) == (2, [])
    assert len(err) == 2
    assert "service[0].med" in "".join(err)
    assert "device[0].name" in "".join(err)


@pytest.mark.parametrize("what", ["missing", "a folder", "not UTF-8"])
def test_check_tells_that_there_is_no_file_to_read(exabgp_bfd, file, what):
    if what == "not UTF-8":
        file.write_bytes(b"\xff")
    path = {"missing": file.with_name("missing.toml"), "a folder": file.parent, "not UTF-8": file}[what]
    status, out, err = exabgp_bfd("check", path)
    assert (status, out, len(err)) == (2, [], 1), err
    assert err[0].startswith(f"exabgp-bfd: {path}: ")


def test_check_refuses_an_snmp_engine_that_run_could_not_load(file, tmp_path):
    (tmp_path / "gufo").mkdir()
    (tmp_path / "gufo" / "__init__.py").touch()  # an empty package in front of the real one
    file.write_text(SERVICE.replace('name = "edge1"', 'name = "edge1"\nengine = "gufo"'))
    status, out, err = exabgp_bfd_apart("check", file, PYTHONPATH=str(tmp_path))
    assert status == 2
    assert err == ['exabgp-bfd: device edge1: engine "gufo" is not installed: pip install "exabgp-bfd[fast]"']
    assert not any("announce" in line for line in out)


def test_check_shows_no_secret(exabgp_bfd, file):
    file.write_text(f'[webhook]\nsecrets = ["one-secret"]\n[snmp]\ncommunity = "other-secret"\n{SERVICE}')
    status, out, err = exabgp_bfd("check", file)
    assert status == 0
    assert "-secret" not in "".join([*out, *err])


# --- sign ---------------------------------------------------------------------------------------------------------


def expected(secret: str, body: bytes = BODY) -> list[str]:
    return [f"X-Hub-Signature-256: sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"]


def test_sign_signs_a_file_and_stdin(exabgp_bfd, tmp_path):
    body = tmp_path / "body.json"
    body.write_bytes(BODY)
    assert exabgp_bfd("sign", "--secret", "key", body) == (0, expected("key"), [])
    assert exabgp_bfd("sign", "--secret", "key", "-", stdin=BODY) == (0, expected("key"), [])
    assert exabgp_bfd("sign", "--secret", "key", stdin=BODY) == (0, expected("key"), [])
    assert exabgp_bfd("sign", stdin=BODY, WEBHOOK_HMAC_SECRET="key") == (0, expected("key"), [])


def test_what_sign_prints_is_what_the_api_takes(exabgp_bfd):
    body = bytes(range(256))  # the raw octets, whatever they are
    _, out, _ = exabgp_bfd("sign", "--secret", "clé", stdin=body)
    name, _, value = out[0].partition(": ")
    assert name == "X-Hub-Signature-256"
    verify([Secret("clé")], body, value)


def test_sign_takes_the_secret_from_where_run_takes_it(exabgp_bfd, tmp_path):
    """`--webhook-secret env:NAME` and WEBHOOK_HMAC_SECRET=file:PATH name a secret there, so they must here."""
    secret = tmp_path / "secret"
    secret.write_text("key\n")
    assert exabgp_bfd("sign", "--secret", "env:HOOK", stdin=BODY, HOOK="key") == (0, expected("key"), [])
    assert exabgp_bfd("sign", stdin=BODY, WEBHOOK_HMAC_SECRET=f"file:{secret}") == (0, expected("key"), [])
    # Nothing else that would set up `run` matters here.
    other = {"EXABGP_BFD_CONFIG": "/no/such/file", "POLL_INTERVAL": "often", "DEVICE_HOST": "::::"}
    assert exabgp_bfd("sign", "--secret", "key", stdin=BODY, **other) == (0, expected("key"), [])


@pytest.mark.parametrize("secret", ["", "env:NOT_SET_ANYWHERE", "file:/no/such/file"])
def test_sign_refuses_a_secret_that_no_api_takes(exabgp_bfd, secret):
    status, out, err = exabgp_bfd("sign", "--secret", secret, stdin=BODY)
    assert (status, out, len(err)) == (2, [], 1), err
    assert "secret" in err[0]
