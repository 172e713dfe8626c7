"""Alerts going out, as far as it is arithmetic: who is told of what, how it is signed, when it is sent again."""

import json
from dataclasses import replace

import pytest
from api.box import event

from exabgp_bfd.core.model import Secret
from exabgp_bfd.core.notices import (
    LONGEST_OBEYED,
    LONGEST_PAUSE,
    Alert,
    Endpoint,
    Meaning,
    asked_pause,
    headers,
    meaning,
    pause,
    wants,
)
from exabgp_bfd.core.signing import WEBHOOK_ID
from exabgp_bfd.notify.courier import body_of
from exabgp_bfd.web.auth import Sender, SignatureError, prove

# The example of Standard Webhooks' reference libraries ("sign function works"), and GitHub's.
WHSEC = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
OTHER = Secret("whsec_" + "bm9ib2R5LW1heS1zZWUtdGhpcy1zZWNyZXQtZXZlcg==")
PLAIN = Secret("It's a Secret to Everybody")
STANDARD = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
GITHUB = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def endpoint(*secrets, **more):
    return Endpoint("pager", Secret("https://h/"), secrets or (WHSEC,), **more)


def alert(event_type="bfd_failure", number=12, site="fra1", **more):
    return Alert(number, 1795176000123456, site, event_type, event(number, event_type=event_type, site=site, **more))


def test_the_published_example_of_standard_webhooks_is_what_is_sent():
    signed = headers(endpoint(format="standard"), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": STANDARD,
    }


def test_the_published_example_of_github_is_what_is_sent():
    assert headers(endpoint(PLAIN, format="github"), "x", 5, b"Hello, World!") == {"X-Hub-Signature-256": GITHUB}


def test_both_kinds_are_sent_together_and_the_first_secret_signs_as_github_does():
    signed = headers(endpoint(WHSEC, OTHER), "x", 5, b"{}")
    assert set(signed) == {"webhook-id", "webhook-timestamp", "webhook-signature", "X-Hub-Signature-256"}
    for secret in (WHSEC, OTHER):  # a receiver that knows one of them, during a rotation
        assert prove([Sender("us", (secret,))], signed.items(), b"{}").id == "id:x"
    only = {"X-Hub-Signature-256": signed["X-Hub-Signature-256"]}
    with pytest.raises(SignatureError):  # to ours such a secret is of the other scheme
        prove([Sender("us", (WHSEC,))], only.items(), b"{}")


def test_a_plain_secret_beside_one_of_standard_webhooks_signs_as_github_does():
    signed = headers(endpoint(PLAIN, WHSEC), "x", 5, b"Hello, World!")
    assert signed["X-Hub-Signature-256"] == GITHUB
    assert signed["webhook-signature"].count("v1,") == 1


# --- who is told ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_type", "told"),
    [
        *((name, True) for name in ("bfd_failure", "bfd_recovery", "route_announce", "route_withdraw", "guard_held")),
        *((name, True) for name in ("store_down", "last_site_held", "notify_dead")),
        *((name, False) for name in ("snmp_poll", "route_confirmed", "started", "xbfd_failure", "bfd_failures")),
    ],
)
def test_what_is_told_where_nothing_is_said(event_type, told):
    assert wants(endpoint(), alert(event_type)) is told


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"events": ("bfd_*",)}, True),
        ({"events": ("route_*", "bfd_?ailure")}, True),
        ({"events": ("BFD_*",)}, False),
        ({"events": ()}, False),
        ({"events": (".*",)}, False),  # a star is one of the shell, not of a regular expression
        ({"devices": ("edge*",)}, True),
        ({"devices": ("core*",)}, False),
        ({"sessions": ("edge1/*",)}, True),
        ({"sessions": ("*/198.51.100.2",)}, False),
        ({"services": ("*",)}, False),  # the event is about none
        ({"devices": ("edge1",), "sessions": ("nothing",)}, False),
    ],
)
def test_an_endpoint_has_filters(more, told):
    assert wants(endpoint(**more), alert(session="edge1/198.51.100.1")) is told


def test_none_is_told_of_itself():
    about = alert("notify_dead", details={"endpoint": "pager", "count": 1})
    assert not wants(endpoint(events=("*",)), about)
    assert wants(replace(endpoint(events=("*",)), name="chat"), about)


def test_a_pattern_of_many_stars_is_no_riddle():
    assert wants(endpoint(events=("*" * 200 + "x" + "*" * 50,)), alert("bfd_failurex"))
    assert not wants(endpoint(events=("*" * 200 + "y",)), alert("bfd_failure"))


# --- ids and bodies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["fra1", "fra1.example.net", "köln 2", "x" * 100, "ü" * 100, "-_%"])
def test_an_id_is_the_same_each_time_and_can_be_signed(site):
    name = alert(site=site).name
    assert name == alert(site=site).name
    assert WEBHOOK_ID.fullmatch(name)
    assert name != alert(site=site, number=13).name
    assert name != alert(site=f"{site}x").name


def test_sites_whose_names_look_alike_have_other_ids():
    assert alert(site="a.b").name != alert(site="a_2e_b").name


def test_the_body_is_the_event_as_the_api_gives_it():
    assert body_of(alert()) == json.dumps(event(12)).encode()


def test_details_that_are_too_long_are_left_out():
    body = body_of(alert(details={"x": "y" * 70000}))
    assert len(body) < 1000
    assert b"left_out" in body
    assert b'"id": 12' in body


# --- when it is sent again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "means"),
    [
        *((status, Meaning.TAKEN) for status in (200, 201, 202, 204, 299)),
        *((status, Meaning.LATER) for status in (None, 408, 425, 429, 502, 503, 504)),
        *((status, Meaning.REFUSED) for status in (100, 301, 302, 307, 308, 400, 401, 403, 404, 413, 500, 501)),
        (410, Meaning.GONE),
    ],
)
def test_what_an_answer_means(status, means):
    assert meaning(status) is means


def test_the_pause_doubles_up_to_a_minute_and_is_spread():
    assert [pause(n, None, 1.0) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pause(10**6, None, 1.0) == LONGEST_PAUSE
    assert pause(3, None, 0.0) == 2.0
    assert pause(3, None, 0.5) == 3.0


def test_retry_after_is_obeyed_and_bounded():
    assert pause(1, 30.0, 0.0) == 30.0
    assert pause(7, 3.0, 1.0) == 60.0
    assert pause(1, 10.0**9, 0.5) == LONGEST_OBEYED


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Fri, 20 Nov 2026 12:01:00 GMT", 60.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        *((text, None) for text in (None, "", "-1", "1.5", "soon", "9" * 30, "Fri, 32 Nov 2026 12:01:00 GMT")),
        *((text, None) for text in ("Fri, 20 Nop 2026 12:01:00 GMT", "Fri, 20 Nov 0000 12:01:00 GMT", "\u0663")),
    ],
)
def test_retry_after_is_read(header, seconds):
    assert asked_pause(header, 1795176000.0) == seconds


def test_nothing_shows_a_secret():
    shown = repr(Endpoint("pager", Secret("https://user:word@h/hook/T0PS3CRET"), (WHSEC,)))
    assert "T0PS3CRET" not in shown
    assert "word" not in shown
    assert WHSEC.reveal() not in shown


def test_the_fingerprint_tells_another_url_and_neither_shows():
    first = endpoint()
    assert first.fingerprint == replace(first, timeout=3.0).fingerprint
    assert first.fingerprint != replace(first, url=Secret("https://h/other")).fingerprint
