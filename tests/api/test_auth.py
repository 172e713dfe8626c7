"""The signature of a webhook and the Host header: what is let in, and every way of not being let in."""

import hashlib
import hmac
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exabgp_bfd.core.model import ConfigError, Secret
from exabgp_bfd.web import auth
from exabgp_bfd.web.auth import (
    SIGNATURE_HEADER,
    Proof,
    Sender,
    SignatureError,
    client_behind,
    host_is_ours,
    is_within,
    prove,
    random_secret,
    sign,
    sign_standard,
    standard_octets,
    verify,
)
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


# --- Standard Webhooks --------------------------------------------------------------------------------------------

# The example of its reference libraries ("sign function works").
WHSEC = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
STANDARD_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
STANDARD_TIME = 1614265330
STANDARD_BODY = b'{"test": 2432232314}'
STANDARD = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def standard(signature=STANDARD, name=STANDARD_ID, time=str(STANDARD_TIME)):
    headers = {"webhook-id": name, "webhook-timestamp": time, "webhook-signature": signature}
    return [(header, value) for header, value in headers.items() if value is not None]


def test_the_published_example_of_standard_webhooks_verifies():
    assert sign_standard(WHSEC, STANDARD_ID, STANDARD_TIME, STANDARD_BODY) == STANDARD
    sender = Sender("svix", (WHSEC,))
    assert prove([sender], standard(), STANDARD_BODY) == Proof(sender, f"id:{STANDARD_ID}", STANDARD_TIME)


def test_one_right_signature_among_several_will_do():
    wrong = "Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
    several = f"v1,{wrong} v2,{wrong} {STANDARD} v1,{wrong}"  # as in the reference libraries' tests
    assert prove([Sender("svix", (WHSEC,))], standard(several), STANDARD_BODY).sender.name == "svix"


def test_each_secret_of_a_rotation_and_each_sender_is_told_apart():
    old, new = Secret(random_secret()), Secret(random_secret())
    senders = [Sender("a", (Secret("hush"),)), Sender("b", (old, new)), Sender("c", (WHSEC,))]
    for secret, name in ((old, "b"), (new, "b"), (WHSEC, "c")):
        signature = sign_standard(secret, "x", 5, b"{}")
        assert prove(senders, standard(signature, "x", "5"), b"{}").sender.name == name


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        pytest.param(standard(signature=None), "webhook-signature is missing", id="no signature"),
        pytest.param(standard(name=None), "webhook-id is missing", id="no id"),
        pytest.param(standard(time=None), "webhook-timestamp is missing", id="no time"),
        pytest.param(standard(name="msg.x"), "none of them a full stop", id="full stop"),
        pytest.param(standard(name="a b"), "printable characters", id="blank"),
        pytest.param(standard(name="a,b"), "printable characters", id="sent twice"),
        pytest.param(standard(name="x" * 256), "1 to 255", id="long id"),
        pytest.param(standard(name="é"), "printable characters of ASCII", id="not ASCII"),
        pytest.param(standard(time="hello"), "seconds since the epoch", id="no number"),
        pytest.param(standard(time="-5"), "seconds since the epoch", id="before the epoch"),
        pytest.param(standard(time="1614265330.0"), "seconds since the epoch", id="a fraction"),
        pytest.param(standard(time="\N{ARABIC-INDIC DIGIT SEVEN}"), "seconds since the epoch", id="foreign digit"),
        pytest.param(standard(time="9" * 13), "seconds since the epoch", id="long time"),
        pytest.param(standard(STANDARD[3:]), "no signature that begins", id="no scheme"),
        pytest.param(standard(STANDARD.replace("v1,", "v1a,")), "no signature that begins", id="other scheme"),
        pytest.param(standard(" ".join([STANDARD] * 17)), "more than 16", id="many"),
        pytest.param(standard(STANDARD[:-2] + "F="), "does not fit", id="another spelling of the same octets"),
        pytest.param(standard(STANDARD[:-1]), "does not fit", id="no padding"),
        pytest.param(standard(STANDARD + "="), "does not fit", id="more padding"),
        pytest.param(standard("v1,é"), "does not fit", id="signature not ASCII"),
        pytest.param(standard("v1," + "A" * 43 + "="), "does not fit", id="wrong"),
        pytest.param(standard(time=str(STANDARD_TIME + 1)), "does not fit", id="another time"),
        pytest.param(standard(time=f"0{STANDARD_TIME}"), "does not fit", id="another spelling of the time"),
        pytest.param(standard(name=STANDARD_ID + "x"), "does not fit", id="another id"),
    ],
)
def test_each_bad_standard_signature_says_what_is_wrong(headers, says):
    with pytest.raises(SignatureError, match=says) as caught:
        prove([Sender("svix", (WHSEC,))], headers, STANDARD_BODY)
    assert STANDARD[3:] not in str(caught.value)


def test_a_secret_signs_in_one_scheme_only():
    plain = Secret("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    with pytest.raises(SignatureError):  # the reference takes it for base64; here whsec_ says so, or it is text
        prove([Sender("", (plain,))], standard(), STANDARD_BODY)
    with pytest.raises(SignatureError):
        verify([WHSEC], BODY, sign(WHSEC, BODY))
    with pytest.raises(ValueError, match="whsec_"):
        sign_standard(plain, "x", 1, b"")


@pytest.mark.parametrize("text", ["whsec_", "whsec_AAAA", "whsec_é", "whsec_" + "A" * 33, "whsec_" + "A" * 100])
def test_what_is_no_secret_of_standard_webhooks(text):
    with pytest.raises(ValueError, match="24 to 64 octets") as caught:
        standard_octets(Secret(text))
    assert text == "whsec_" or text.removeprefix("whsec_") not in str(caught.value)
    with pytest.raises(ConfigError, match="24 to 64 octets"):
        WebSettings("127.0.0.1", 8080, webhook_senders=(Sender("a", (Secret(text),)),))


def test_a_random_secret_is_one_of_standard_webhooks():
    secrets = {random_secret() for _ in range(20)}
    assert {len(standard_octets(Secret(secret))) for secret in secrets} == {32}
    assert len(secrets) == 20


def test_a_presented_standard_signature_stands_above_one_of_github():
    """Whoever sends both is known by that which cannot be replayed."""
    both = [*standard(), (SIGNATURE_HEADER, sign(SECRET, STANDARD_BODY))]
    senders = [Sender("github", (SECRET,)), Sender("svix", (WHSEC,))]
    assert prove(senders, both, STANDARD_BODY).sender.name == "svix"
    with pytest.raises(SignatureError):
        prove(senders, [*standard(time="5"), both[-1]], STANDARD_BODY)


# --- Grafana and bearers ------------------------------------------------------------------------------------------


def grafana(body, time=None, secret="hush", name="X-Grafana-Alerting-Signature"):
    signed = body if time is None else f"{time}:".encode() + body
    digits = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    headers = [(name, digits)]
    return headers if time is None else [*headers, ("X-Grafana-Alerting-Timestamp", time)]


def test_grafanas_signature_is_over_the_body_and_its_time():
    sender = Sender("grafana", (Secret("hush"),))
    assert prove([sender], grafana(b"{}", "17"), b"{}").time == 17
    assert prove([sender], grafana(b"{}"), b"{}").time is None
    assert prove([sender], grafana(b"{}", "17", name="X-Grafana-Alert-Signature"), b"{}").time == 17
    for wrong in (grafana(b"{}", "17")[:1], [*grafana(b"{}"), ("X-Grafana-Alerting-Timestamp", "17")]):
        with pytest.raises(SignatureError, match="does not fit"):
            prove([sender], wrong, b"{}")
    with pytest.raises(SignatureError, match="as digits"):
        prove([sender], grafana(b"{}", "1e3"), b"{}")


def test_a_bearer_is_a_sender_that_says_so():
    bearer, signer = Sender("am", (Secret("hush"),), auth="bearer"), Sender("git", (Secret("quiet"),))
    headers = [("authorization", "bearer  hush")]
    assert prove([signer, bearer], headers, b"") == Proof(bearer)
    for refused in ("Bearer quiet", "Bearer hus", "Bearer hüsh"):
        with pytest.raises(SignatureError, match="no secret of a sender"):
            prove([signer, bearer], [("Authorization", refused)], b"")
    with pytest.raises(SignatureError, match="is missing"):
        prove([signer, bearer], [("Authorization", "Basic aHVzaA==")], b"")
    with pytest.raises(SignatureError, match="does not fit"):  # a secret that travels signs nothing
        prove([bearer], [(SIGNATURE_HEADER, sign(Secret("hush"), b"x"))], b"x")


def test_every_secret_is_compared_whichever_fits(monkeypatch):
    compared = []
    right = auth.hmac.compare_digest
    monkeypatch.setattr(auth.hmac, "compare_digest", lambda *sides: compared.append(sides) or right(*sides))
    senders = [Sender("a", (Secret("1"), Secret("2"))), Sender("b", (Secret("3"), WHSEC, Secret(random_secret())))]
    for secret in ("1", "2", "3"):
        compared.clear()
        proof = prove(senders, [(SIGNATURE_HEADER, sign(Secret(secret), b"x"))], b"x")
        assert proof.sender.name in {"a", "b"}
        assert len(compared) == 3
    compared.clear()
    prove(senders, standard(f"v1,x {STANDARD}"), STANDARD_BODY)
    assert len(compared) == 4  # two secrets, two signatures


def test_no_repr_tells_a_secret():
    proof = prove([Sender("svix", (WHSEC, Secret("hush")))], standard(), STANDARD_BODY)
    settings = WebSettings("127.0.0.1", 8080, webhook_senders=(proof.sender,), webhook_secrets=(Secret("quiet"),))
    for text in (repr(proof), repr(settings), str(settings.senders)):
        assert not any(secret in text for secret in ("MfKQ", "hush", "quiet"))


# --- addresses ----------------------------------------------------------------------------------------------------

NETWORKS = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


@pytest.mark.parametrize(
    ("address", "within"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("2001:db8::1", True),
        ("192.0.3.7", False),
        ("127.0.0.1", False),
        ("", False),
        (None, False),
        ("192.0.2.7 ", False),
        ("2001:db9::1", False),
    ],
)
def test_which_addresses_lie_within_networks(address, within):
    assert is_within(address, NETWORKS) is within


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", "203.0.113.9", "203.0.113.9"),
        ("192.0.2.1", "127.0.0.1, 203.0.113.9", "203.0.113.9"),  # what the client invented stands to the left
        ("192.0.2.1", "garbage, 203.0.113.9", "203.0.113.9"),
        ("192.0.2.1", "203.0.113.9, 192.0.2.2", "203.0.113.9"),  # through two of our proxies
        ("192.0.2.1", "192.0.2.3,192.0.2.2", "192.0.2.3"),  # from a proxy itself
        ("192.0.2.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.1", "127.0.0.1", "203.0.113.1"),  # no proxy of ours
    ],
)
def test_who_asks_through_proxies(peer, forwarded, client):
    assert client_behind(peer, forwarded, NETWORKS) == client


@pytest.mark.parametrize("forwarded", ["", "unknown", "203.0.113.9:80", "203.0.113.9,", "localhost, 192.0.2.2"])
def test_a_proxy_that_does_not_say_who_asks_is_not_guessed_at(forwarded):
    with pytest.raises(ValueError, match="no IP address"):
        client_behind("192.0.2.1", forwarded, NETWORKS)
