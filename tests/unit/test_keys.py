"""`exabgp-bfd key`: what it prints lets somebody in, and is shown nowhere else."""

import re
import tomllib
from hashlib import sha256

import pytest
from click.testing import CliRunner

from exabgp_bfd import app, cli
from exabgp_bfd.config import Overrides, load
from exabgp_bfd.core.model import ConfigError, Secret
from exabgp_bfd.keys import key_command
from exabgp_bfd.web.auth import Key, Sender, find_key, prove

DEVICE = '[[device]]\nname = "edge1"\nhost = "192.0.2.1"\n'


def run(*arguments, **more):
    return CliRunner().invoke(key_command, arguments, **more)


def made(*arguments):
    """The key, and the lines for the configuration."""
    result = run("new", *arguments)
    assert result.exit_code == 0
    shown = re.fullmatch(r"The key of .* shown this once: (\S+)\n", result.stderr)
    assert shown[1] not in result.stdout
    return shown[1], result.stdout


def test_the_lines_let_the_key_in_and_hold_its_hash_only(tmp_path):
    key, lines = made("--name", "noc", "--role", "operate")
    (told,) = tomllib.loads(lines)["api"]["key"]
    assert told == {"name": "noc", "role": "operate", "sha256": sha256(key.encode()).hexdigest()}
    file = tmp_path / "bfd.toml"
    file.write_text(f"{DEVICE}{lines}")
    (known,) = load(file, Overrides(), {}).api_keys
    assert find_key([Key(known.name, known.role, known.sha256)], key.encode()) is not None


def test_a_name_may_have_several_keys(tmp_path):
    file = tmp_path / "bfd.toml"
    file.write_text(DEVICE + "".join(made("--name", "noc")[1] for _ in range(3)))
    keys = load(file, Overrides(), {}).api_keys
    assert {(key.name, key.role) for key in keys} == {("noc", "read")}
    assert len(keys) == 3


def test_each_key_is_another_and_long():
    keys = {made()[0] for _ in range(20)}
    assert len(keys) == 20
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", key) for key in keys)


@pytest.mark.parametrize("name", ["", " ", "two words", "a/b", "a\nb", "a\x1bb", "x" * 101])
def test_a_name_that_the_configuration_would_refuse_is_refused_here(name):
    result = run("new", "--name", name)
    assert isinstance(result.exception, ConfigError)
    assert result.exception.place == "--name"
    assert result.output == ""


def test_a_name_is_written_as_toml():
    assert tomllib.loads(made("--name", 'ü"\\')[1])["api"]["key"][0]["name"] == 'ü"\\'


def test_a_role_that_there_is_not_is_bad_usage():
    assert run("new", "--role", "root").exit_code == 2


def test_the_command_is_there():
    result = CliRunner().invoke(cli.commands, ["key", "--help"])
    assert result.exit_code == 0
    assert "new" in result.output
    assert "secret" in result.output


def headers_of(output):
    return [tuple(line.split(": ", 1)) for line in output.strip().splitlines()]


def test_a_secret_signs_what_the_webhook_believes(monkeypatch):
    monkeypatch.delenv("WEBHOOK_HMAC_SECRET", raising=False)
    secret = run("secret").output.strip()
    assert secret.startswith("whsec_")
    arguments = ["sign", "--standard", "--secret", secret]
    signed = CliRunner().invoke(cli.commands, [*arguments, "-"], input=b"{}")
    assert secret not in signed.output
    proofs = [prove([Sender("me", (Secret(secret),))], headers_of(signed.output), b"{}")]
    named = CliRunner().invoke(cli.commands, [*arguments, "--id", "msg_7", "-"], input=b"{}")
    proofs.append(prove([Sender("me", (Secret(secret),))], headers_of(named.output), b"{}"))
    assert proofs[1].id == "id:msg_7"
    assert proofs[0].id != proofs[1].id
    assert all(proof.time for proof in proofs)


def test_a_secret_of_the_wrong_kind_is_told_with_the_remedy():
    with pytest.raises(ConfigError, match="say --standard") as caught:
        app.signature_header(Secret("whsec_aHVzaA=="), b"{}")
    assert "aHVzaA" not in str(caught.value)
    with pytest.raises(ConfigError, match="key secret") as caught:
        app.standard_headers(Secret("hush"), b"{}", None)
    assert "hush" not in str(caught.value)
    with pytest.raises(ConfigError, match="full stop") as caught:
        app.standard_headers(Secret(run("secret").output.strip()), b"{}", "a.b")
    assert caught.value.place == "--id"
    assert CliRunner().invoke(cli.commands, ["sign", "--secret", "x", "--id", "a", "-"], input=b"").exit_code == 2
