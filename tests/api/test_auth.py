"""The signature of a webhook and the Host header: what is let in, and every way of not being let in."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exabgp_bfd.core.model import ConfigError, Secret
from exabgp_bfd.web.auth import SignatureError, host_is_ours, sign, verify
from exabgp_bfd.web.backend import WebSettings

# The example that GitHub publishes ("Validating webhook deliveries").
SECRET = Secret("It's a Secret to Everybody")
BODY = b"Hello, World!"
SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_the_published_example_verifies():
    verify([SECRET], BODY, SIGNATURE)
    assert sign(SECRET, BODY) == SIGNATURE


def test_any_of_several_secrets_will_do():
    verify([Secret("another"), SECRET], BODY, SIGNATURE)
    verify([SECRET, Secret("another")], BODY, SIGNATURE)


def test_a_secret_is_utf_8():
    secret = "schlüssel"
    digest = hmac.new(secret.encode("utf-8"), BODY, hashlib.sha256).hexdigest()
    verify([Secret(secret)], BODY, f"sha256={digest}")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        pytest.param(None, "is missing", id="none"),
        pytest.param("", "is missing", id="empty"),
        pytest.param(SIGNATURE.removeprefix("sha256="), "does not begin", id="no scheme"),
        pytest.param(SIGNATURE.replace("sha256", "sha1"), "does not begin", id="other scheme"),
        pytest.param(SIGNATURE.replace("sha256", "SHA256"), "does not begin", id="scheme in capitals"),
        pytest.param(f" {SIGNATURE}", "does not begin", id="space before"),
        pytest.param("sha256=", "64 hexadecimal", id="no digits"),
        pytest.param(SIGNATURE[:-1], "64 hexadecimal", id="a digit short"),
        pytest.param(SIGNATURE + "0", "64 hexadecimal", id="a digit long"),
        pytest.param(f"{SIGNATURE}, {SIGNATURE}", "64 hexadecimal", id="sent twice"),
        pytest.param(SIGNATURE + "\n", "64 hexadecimal", id="line end"),
        pytest.param(SIGNATURE[:-1] + "g", "lower-case hexadecimal", id="no hexadecimal digit"),
        pytest.param(SIGNATURE[:-2] + " 7", "lower-case hexadecimal", id="space within"),
        pytest.param(SIGNATURE[:-1] + "é", "lower-case hexadecimal", id="not ASCII"),
        pytest.param(SIGNATURE[:-1] + "\N{ARABIC-INDIC DIGIT SEVEN}", "lower-case hexadecimal", id="foreign digit"),
        pytest.param("sha256=" + SIGNATURE[7:].upper(), "lower-case hexadecimal", id="capitals"),
        pytest.param("sha256=" + "0" * 64, "does not fit", id="wrong"),
    ],
)
def test_each_bad_signature_says_what_is_wrong(header, says):
    with pytest.raises(SignatureError, match=says) as caught:
        verify([SECRET], BODY, header)
    assert SIGNATURE[7:] not in str(caught.value)


def test_a_wrong_secret_or_none_is_refused():
    with pytest.raises(SignatureError, match="does not fit"):
        verify([Secret("it's a secret to everybody")], BODY, SIGNATURE)
    with pytest.raises(SignatureError, match="does not fit"):
        verify([], BODY, SIGNATURE)


def _flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.binary(min_size=1, max_size=200), st.data())
def test_any_changed_bit_of_the_body_is_refused(body, data):
    signature = sign(SECRET, body)
    verify([SECRET], body, signature)
    changed = _flip(body, data.draw(st.integers(0, len(body) * 8 - 1)))
    with pytest.raises(SignatureError):
        verify([SECRET], changed, signature)


@given(st.binary(max_size=200), st.data())
def test_any_changed_bit_of_the_signature_is_refused(body, data):
    signature = sign(SECRET, body)
    flipped = _flip(signature.encode(), data.draw(st.integers(0, len(signature) * 8 - 1)))
    with pytest.raises(SignatureError):
        verify([SECRET], body, flipped.decode("latin-1"))


def test_an_empty_secret_is_a_wrong_setting_and_shows_no_other():
    with pytest.raises(ConfigError, match=r"\[webhook\] secrets") as caught:
        WebSettings("127.0.0.1", 8080, webhook_secrets=(Secret("hidden"), Secret("")))
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "127.0.0.1",
        "127.0.0.1:8080",
        "localhost",
        "LOCALHOST:8080",
        "localhost.",
        "[::1]",
        "[::1]:8080",
        "192.0.2.1:80",
        "bfd.example.net:8080",
        "BFD.example.net",
    ],
)
def test_hosts_of_our_clients(host):
    assert host_is_ours(host, "bfd.example.net")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "evil.example.localhost",
        "127.0.0.1.evil.example",
        "127.0.0.1, evil.example",
        "user@127.0.0.1",
        "127.0.0.1:8080:8080",
        "127.0.0.1:port",
        "[evil.example]",
        "[::1",
        "::1",
        "bfd.example.net.evil.example",
        "",
    ],
)
def test_hosts_of_nobody_we_know(host):
    assert not host_is_ours(host, "bfd.example.net")
