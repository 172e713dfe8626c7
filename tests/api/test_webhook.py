"""`POST /webhook/failure`: accepted only signed, valid and on disk, and every refusal says why."""

import hashlib
import hmac
import json
import threading
import time as clock
from http import HTTPStatus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exabgp_bfd.core.model import Secret, Webhook
from exabgp_bfd.storage.seen import Seen
from exabgp_bfd.web.auth import SIGNATURE_HEADER, Sender, random_secret, sign, sign_standard
from exabgp_bfd.web.limits import Rates

PATH = "/webhook/failure"
REPORT = {"device": "edge1", "reason": "link_flap", "evidence": {"interface": "ge-0/0/1", "count": 3}}


@pytest.fixture
def post(client, signed):
    """Sends a body, signed."""

    def send(body, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.post(PATH, data=data, headers={**signed(data), **headers})

    return send


def pointers(document):
    return [error["pointer"] for error in document["errors"]]


def test_a_signed_report_is_accepted_with_its_events_id(post, backend, counted):
    response = post(REPORT)
    assert response.status_code == 202
    assert response.get_json() == {"id": 41, "status": "accepted"}
    assert backend.webhooks == [
        Webhook("edge1", "link_flap", {"interface": "ge-0/0/1", "count": 3}, effect="probe", actor="127.0.0.1")
    ]
    assert counted == ["accepted"]


def test_each_secret_of_a_rotation_is_accepted(client, signed):
    body = json.dumps(REPORT).encode()
    for secret in ("old secret", "new secret"):
        assert client.post(PATH, data=body, headers=signed(body, secret)).status_code == 202


def test_the_signature_is_over_the_raw_bytes(post):
    assert post(b'{ "evidence" : {},\n"reason":"x" , "device":"edge1" }\r\n').status_code == 202


def test_the_content_type_does_not_matter(post, backend):
    assert post(REPORT, **{"Content-Type": "application/x-www-form-urlencoded"}).status_code == 202
    assert len(backend.webhooks) == 1


@pytest.mark.parametrize("effect", ["record", "probe", "observe"])
def test_its_effect_is_the_configured_one(build, signed, backend, effect):
    body = json.dumps(REPORT).encode()
    build(webhook_effect=effect).post(PATH, data=body, headers=signed(body))
    assert [webhook.effect for webhook in backend.webhooks] == [effect]


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (None, "is missing"),
        ("757107ea", "does not begin"),
        ("sha256=abc", "64 hexadecimal"),
        ("sha256=" + "x" * 64, "lower-case hexadecimal"),
        ("sha256=" + "0" * 64, "does not fit"),
    ],
)
def test_a_bad_signature_is_401_and_says_which_kind(client, problem, backend, counted, header, says):
    headers = {} if header is None else {"X-Hub-Signature-256": header}
    document = problem(client.post(PATH, data=json.dumps(REPORT), headers=headers), 401)
    assert says in document["detail"]
    assert backend.webhooks == []
    assert counted == ["unsigned"]


def test_nothing_of_an_unsigned_body_is_looked_at(client, problem):
    problem(client.post(PATH, data=b"not json"), 401)


def test_without_secrets_it_says_how_to_set_one(build, problem, backend):
    document = problem(build(webhook_secrets=()).post(PATH, json=REPORT), 503)
    assert "[webhook] secrets" in document["detail"]
    assert "WEBHOOK_HMAC_SECRET" in document["detail"]
    assert backend.webhooks == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"device=edge1",
        b"{",
        b'{"device": "edge1"',
        b'{"device": NaN}',
        b'{"device": Infinity}',
        b"\xff\xfe{}",
        '{"device": "edge1"}'.encode("utf-16"),
        b'{"device": "edge1", "device": "edge2", "reason": "x", "evidence": {}}',
        b"[" * 30000,
        b'{"evidence": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_json_is_400(post, problem, counted, body):
    problem(post(body), 400)
    assert counted == ["invalid"]


@pytest.mark.parametrize("body", [b"[]", b"null", b'"edge1"', b"1", b"true"])
def test_what_is_no_object_is_422(post, problem, body):
    assert pointers(problem(post(body), 422)) == ["#"]


def test_every_missing_key_is_listed(post, problem):
    assert pointers(problem(post({}), 422)) == ["#/device", "#/reason", "#/evidence"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"device": 1}, "#/device"),
        ({"device": ""}, "#/device"),
        ({"device": "edge9"}, "#/device"),
        ({"device": "EDGE1"}, "#/device"),
        ({"reason": None}, "#/reason"),
        ({"evidence": None}, "#/evidence"),
        ({"evidence": ["a"]}, "#/evidence"),
        ({"evidence": "text"}, "#/evidence"),
        ({"extra/key": 1}, "#/extra~1key"),
        ({"evidence": {"n": 2**63}}, "#/evidence/n"),
        ({"evidence": {"a/b~c": [0, -(2**63) - 1]}}, "#/evidence/a~1b~0c/1"),
        ({"evidence": {"text": "\ud800"}}, "#/evidence/text"),
        ({"evidence": {"a\0b": 1}}, "#/evidence"),
        ({"evidence": {"\udfff": 1}}, "#/evidence"),
    ],
    ids=str,
)
def test_a_wrong_value_is_422_with_its_pointer(post, problem, backend, counted, change, pointer):
    document = problem(post({**REPORT, **change}), 422)
    assert pointers(document) == [pointer]
    assert backend.webhooks == []
    assert counted == ["invalid"]


def test_a_number_that_overflows_is_refused(post, problem):
    body = b'{"device": "edge1", "reason": "x", "evidence": {"n": 1e400}}'
    assert pointers(problem(post(body), 422)) == ["#/evidence/n"]


def test_evidence_nested_too_deeply_is_refused(post, problem):
    body = b'{"device": "edge1", "reason": "x", "evidence": ' + b'{"a":' * 40 + b"1" + b"}" * 41
    document = problem(post(body), 422)
    assert "nested" in document["errors"][0]["detail"]


def test_evidence_that_every_store_can_keep_passes_unchanged(post, backend):
    evidence = {"n": [2**63 - 1, -(2**63), 0.5, True, None], "": {"ü": "\N{GRINNING FACE}", "nul": "a\0b"}}
    assert post({**REPORT, "evidence": evidence}).status_code == 202
    assert backend.webhooks[0].evidence == evidence


def test_several_faults_are_listed_together(post, problem):
    document = problem(post({**REPORT, "device": "edge9", "reason": "started"}), 422)
    assert sorted(pointers(document)) == ["#/device", "#/reason"]


@pytest.mark.parametrize(
    "reason",
    [
        "link_flap",
        "x",
        "Link-Down:ge.0",
        "A" * 64,
        "bfd_failure",
        "bfd_recovery",
        "BFD_Failure",
        "bfd_down_alert",
        "device_lost",
        "start",
    ],
)
def test_reasons_that_become_event_types_as_given(post, backend, reason):
    assert post({**REPORT, "reason": reason}).status_code == 202
    assert backend.webhooks[0].reason == reason


@pytest.mark.parametrize(
    "reason",
    [
        "",
        "a" * 65,
        "two words",
        "line\n",
        "ünicode",
        "\N{KELVIN SIGN}",
        "\N{LATIN SMALL LETTER LONG S}",
        "a/b",
        "route_announce",
        "route_withdraw",
        "Route_Withdraw",
        "override_set",
        "device_added",
        "store_down",
        "started",
        "STARTED",
        "stopped",
        "guard_held",
        "message_quarantined",
        "snmp_poll",
    ],
)
def test_reasons_that_are_refused(post, problem, backend, reason):
    assert pointers(problem(post({**REPORT, "reason": reason}), 422)) == ["#/reason"]
    assert backend.webhooks == []


def test_a_body_of_the_limit_is_taken_and_a_byte_more_is_413(post, problem, backend, counted):
    frame = len(json.dumps({**REPORT, "evidence": {"pad": ""}}))
    assert post({**REPORT, "evidence": {"pad": "x" * (65536 - frame)}}).status_code == 202
    document = problem(post({**REPORT, "evidence": {"pad": "x" * (65537 - frame)}}), 413)
    assert "65536" in document["detail"]
    assert len(backend.webhooks) == 1
    assert counted == ["accepted", "invalid"]


def test_a_journal_that_refuses_is_503_and_says_when_to_come_back(post, problem, backend, store_error, counted):
    backend.trouble = store_error
    response = post(REPORT)
    document = problem(response, 503)
    assert "the disk is full" in document["detail"]
    assert int(response.headers["Retry-After"]) > 0
    assert counted == ["unavailable"]


def test_a_journal_that_does_not_answer_in_time_is_503(post, problem, backend, counted):
    backend.trouble = TimeoutError()
    response = post(REPORT)
    assert "twice" in problem(response, 503)["detail"]
    assert int(response.headers["Retry-After"]) > 0
    assert counted == ["unavailable"]


def test_what_nobody_foresaw_is_500_and_counted(post, problem, backend, counted):
    backend.trouble = ZeroDivisionError("internals")
    assert "internals" not in problem(post(REPORT), 500)["detail"]
    assert counted == ["unavailable"]


def test_reports_that_wait_for_the_disk_leave_threads_for_others(app, post, signed, problem, backend):
    backend.held = threading.Event()
    body = json.dumps(REPORT).encode()
    codes = []

    def send():
        codes.append(app.test_client().post(PATH, data=body, headers=signed(body)).status_code)

    senders = [threading.Thread(target=send) for _ in range(8)]  # half of the workers
    try:
        for sender in senders:
            sender.start()
        for _ in senders:
            assert backend.entered.acquire(timeout=20)
        response = post(REPORT)
        assert "wait for the disk" in problem(response, 503)["detail"]
        assert "Retry-After" in response.headers
    finally:
        backend.held.set()
        for sender in senders:
            sender.join(20)
    assert codes == [202] * 8
    assert post(REPORT).status_code == 202


def test_get_is_405(client, problem):
    response = client.get(PATH)
    problem(response, HTTPStatus.METHOD_NOT_ALLOWED)
    assert "POST" in response.headers["Allow"]


def test_the_secret_is_in_no_log_and_no_answer(client, signed, caplog, backend, store_error):
    caplog.set_level("DEBUG")
    backend.trouble = store_error
    body = json.dumps(REPORT).encode()
    answers = [
        client.post(PATH, data=body, headers=headers).get_data(as_text=True)
        for headers in ({}, {"X-Hub-Signature-256": "sha256=" + "0" * 64}, signed(body))
    ]
    for secret in ("old secret", "new secret", signed(body)["X-Hub-Signature-256"].removeprefix("sha256=")):
        assert secret not in caplog.text
        assert secret not in "".join(answers)


# --- Standard Webhooks: each once ---------------------------------------------------------------------------------

WHSEC = random_secret()


def standard(body: bytes, name: str = "msg_1", time: int | None = None, secret: str = WHSEC) -> dict[str, str]:
    """The headers of a sender of Standard Webhooks."""
    at = int(clock.time()) if time is None else time
    return {
        "webhook-id": name,
        "webhook-timestamp": str(at),
        "webhook-signature": sign_standard(Secret(secret), name, at, body),
    }


@pytest.fixture
def senders(build):
    """A client of an application that knows a sender of Standard Webhooks for each effect, and one of GitHub's."""
    return build(
        webhook_secrets=(),
        webhook_senders=(
            Sender("looker", (Secret(WHSEC),)),
            Sender("watcher", (Secret(WATCHER),), effect="observe"),
            Sender("git", (Secret("git secret"),), effect="record", repeats=True),
            Sender("once", (Secret("once secret"),), effect="observe"),
        ),
    )


WATCHER = random_secret()
RAW = json.dumps(REPORT).encode()


def deliver(client, body=RAW, **how):
    return client.post(PATH, data=body, headers=standard(body, **how))


def test_a_sender_acts_in_his_own_name_and_with_his_own_effect(senders, signed, backend):
    deliver(senders)
    deliver(senders, secret=WATCHER)
    senders.post(PATH, data=RAW, headers=signed(RAW, "git secret"))
    assert [(webhook.actor, webhook.effect) for webhook in backend.webhooks] == [
        ("looker", "probe"),
        ("watcher", "observe"),
        ("git", "record"),
    ]


def test_a_report_sent_again_is_answered_as_before_and_recorded_once(senders, backend, counted):
    headers = standard(RAW)
    answers = [senders.post(PATH, data=RAW, headers=headers) for _ in range(3)]
    # A sender who saw no answer signs anew, for a later time.
    answers.append(deliver(senders, time=int(clock.time()) + 60))
    assert [answer.status_code for answer in answers] == [202] * 4
    assert {answer.get_json()["id"] for answer in answers} == {41}
    assert len(backend.webhooks) == 1
    assert counted == ["accepted", "repeated", "repeated", "repeated"]


def test_the_ids_of_two_senders_are_not_mixed_up(senders, backend):
    assert deliver(senders).get_json()["id"] == 41
    assert deliver(senders, secret=WATCHER).get_json()["id"] == 42


def test_an_id_over_another_body_is_409(senders, problem, backend, counted):
    deliver(senders)
    other = json.dumps({**REPORT, "reason": "another"}).encode()
    detail = problem(deliver(senders, other), 409)["detail"]
    assert "event 41" in detail
    assert "another body" in detail
    assert len(backend.webhooks) == 1
    assert counted[-1] == "replayed"


@pytest.mark.parametrize("seconds", [-3600, -301, 302, 3600])
def test_what_was_signed_at_another_time_is_401(senders, problem, backend, seconds):
    detail = problem(deliver(senders, time=int(clock.time()) + seconds), 401)["detail"]
    assert "300 s" in detail
    assert backend.webhooks == []


@pytest.mark.parametrize("seconds", [-290, 290])
def test_clocks_may_differ_a_little(senders, seconds):
    assert deliver(senders, time=int(clock.time()) + seconds).status_code == 202


def test_what_was_taken_is_refused_once_its_time_is_over(senders, problem, backend, monkeypatch):
    headers = standard(RAW)
    assert senders.post(PATH, data=RAW, headers=headers).status_code == 202
    later = clock.time() + 400
    monkeypatch.setattr(clock, "time", lambda: later)
    assert "is over" in problem(senders.post(PATH, data=RAW, headers=headers), 409)["detail"]
    assert len(backend.webhooks) == 1


def test_it_is_refused_after_a_restart_too(senders, problem, backend, monkeypatch):
    headers = standard(RAW)
    assert senders.post(PATH, data=RAW, headers=headers).get_json()["id"] == 41
    backend.seen = Seen(backend.kept.get)
    assert senders.post(PATH, data=RAW, headers=headers).get_json()["id"] == 41
    other = json.dumps({**REPORT, "reason": "another"}).encode()
    problem(deliver(senders, other), 409)
    later = clock.time() + 400
    monkeypatch.setattr(clock, "time", lambda: later)
    problem(senders.post(PATH, data=RAW, headers=headers), 409)
    assert len(backend.webhooks) == 1


def test_what_could_not_be_kept_may_be_sent_again(senders, problem, backend, store_error):
    for trouble in (store_error, TimeoutError()):
        backend.trouble = trouble
        problem(deliver(senders), 503)
    backend.trouble = None
    assert deliver(senders).status_code == 202


def test_the_same_report_twice_at_once_is_taken_once(senders, problem, backend):
    backend.held = threading.Event()
    headers, codes = standard(RAW), []
    first = threading.Thread(
        target=lambda: codes.append(senders.application.test_client().post(PATH, data=RAW, headers=headers).status_code)
    )
    first.start()
    assert backend.entered.acquire(timeout=20)
    second = senders.post(PATH, data=RAW, headers=headers)
    assert "just now" in problem(second, 503)["detail"]
    assert second.headers["Retry-After"] == "1"
    backend.held.set()
    first.join(20)
    assert codes == [202]
    assert senders.post(PATH, data=RAW, headers=headers).get_json()["id"] == 41
    assert len(backend.webhooks) == 1


def test_of_what_is_observed_nothing_older_is_taken_behind_something_newer(senders, problem, backend):
    now = int(clock.time())
    about_other = json.dumps({**REPORT, "device": "edge2"}).encode()
    assert deliver(senders, name="b", time=now, secret=WATCHER).status_code == 202
    assert "signed later" in problem(deliver(senders, name="a", time=now - 10, secret=WATCHER), 409)["detail"]
    assert deliver(senders, name="c", time=now, secret=WATCHER).status_code == 202  # of the same second
    assert deliver(senders, about_other, name="d", time=now - 10, secret=WATCHER).status_code == 202
    backend.seen = Seen(backend.kept.get)
    problem(deliver(senders, name="a", time=now - 10, secret=WATCHER), 409)
    # What only makes us look may come in any order.
    assert [deliver(senders, name=name, time=now - age).status_code for name, age in (("b", 0), ("a", 9))] == [202] * 2


def observed(**evidence):
    return json.dumps({**REPORT, "evidence": evidence}).encode()


def test_a_session_is_not_held_up_by_another_of_its_device(senders, problem):
    now = int(clock.time())
    ours, other = observed(state="down", peer="2001:db8::1"), observed(state="down", peer="2001:db8::2")
    spelled = observed(state="up", session="edge1/2001:DB8:0::1")
    assert deliver(senders, other, name="b", time=now, secret=WATCHER).status_code == 202
    assert deliver(senders, ours, name="a", time=now - 1, secret=WATCHER).status_code == 202
    told = problem(deliver(senders, spelled, name="c", time=now - 2, secret=WATCHER), 409)["detail"]
    assert "edge1/2001:db8::1 that was signed later" in told
    problem(deliver(senders, observed(state="up"), name="d", time=now - 1, secret=WATCHER), 409)
    for evidence in ({"session": ["x"]}, {"peer": "x" * 999}):
        problem(deliver(senders, observed(**evidence), name="e", time=now - 1, secret=WATCHER), 409)


@pytest.mark.parametrize("standards", [True, False])
def test_a_secret_that_another_sender_has_now_opens_no_replay(build, backend, standards):
    secret = WHSEC if standards else "x y"
    sent = standard(RAW) if standards else {SIGNATURE_HEADER: sign(Secret(secret), RAW)}
    for more in (
        {"webhook_secrets": (Secret(secret),), "webhook_effect": "observe"},
        {"webhook_senders": (Sender("gw", (Secret(secret),), "observe"),)},
        {"webhook_senders": (Sender("renamed", (Secret("another"), Secret(secret)), "observe"),)},
    ):
        client = build(**{"webhook_secrets": (), "webhook_senders": (), **more})
        assert client.post(PATH, data=RAW, headers=sent).get_json()["id"] == 41
    assert len(backend.webhooks) == 1
    assert not any(
        secret in text or hashlib.sha256(secret.encode()).hexdigest() in text for text in backend.kept.values()
    )


def test_a_sender_s_secret_may_change_while_he_repeats_himself(build, backend):
    newer = random_secret()
    client = build(webhook_secrets=(), webhook_senders=(Sender("gw", (Secret(newer), Secret(WHSEC)), "observe"),))
    now = int(clock.time())
    assert deliver(client, time=now).get_json()["id"] == 41
    assert deliver(client, time=now + 1, secret=newer).get_json()["id"] == 41
    assert deliver(client, name="b", time=now - 1, secret=newer).status_code == 409


def test_without_id_and_time_a_body_is_new_each_time_unless_it_is_observed(
    senders, signed, problem, backend, monkeypatch
):
    def post(secret):
        return senders.post(PATH, data=RAW, headers=signed(RAW, secret))

    assert [post("git secret").get_json()["id"] for _ in range(2)] == [41, 42]
    assert [post("once secret").get_json()["id"] for _ in range(2)] == [43, 43]
    later = clock.time() + 400
    monkeypatch.setattr(clock, "time", lambda: later)
    assert post("git secret").get_json()["id"] == 44
    assert "is over" in problem(post("once secret"), 409)["detail"]


TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


def forged(draw, _seen, body, headers):
    return body, {**headers, "webhook-id": draw(TEXT), "webhook-signature": "v1," + draw(TEXT)}


def truncated(draw, _seen, body, headers):
    return body[: draw(st.integers(0, len(body) - 1))], headers


def longer(draw, _seen, body, headers):
    return body + draw(st.binary(min_size=1, max_size=20)), headers


def changed(draw, _seen, body, headers):
    bit = draw(st.integers(0, 8 * len(body) - 1))
    octets = bytearray(body)
    octets[bit // 8] ^= 1 << bit % 8
    return bytes(octets), headers


def misheaded(draw, _seen, body, headers):
    name = draw(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]))
    value = draw(st.one_of(TEXT, st.just("")))
    return body, {**headers, name: value if value != headers[name] else value + "x"}


def swapped(draw, seen, body, headers):
    other = draw(st.sampled_from([one for one in seen if one[0] != body]))
    name = draw(st.sampled_from(["webhook-id", "webhook-timestamp", "body"]))
    return (other[0], headers) if name == "body" else (body, {**headers, name: other[1][name]})


def of_another_scheme(draw, _seen, body, _headers):
    return body, {"X-Hub-Signature-256": "sha256=" + draw(st.from_regex(r"\A[0-9a-f]{64}\Z"))}


ATTACKS = (forged, truncated, longer, changed, misheaded, swapped, of_another_scheme)


def test_a_thousand_forged_truncated_replayed_and_reordered_reports_are_refused(senders, backend, monkeypatch):
    """What an attacker can make of the reports that he saw, without a secret: nothing of it is taken."""
    now = int(clock.time())
    bodies = [json.dumps({**REPORT, "evidence": {"state": "down", "n": n}}).encode() for n in range(10)]
    seen = [(body, standard(body, f"msg_{n}", now - 20, WATCHER)) for n, body in enumerate(bodies)]
    held_back = [(body, standard(body, f"late_{n}", now - 100 + n, WATCHER)) for n, body in enumerate(bodies)]
    for body, headers in seen:
        assert senders.post(PATH, data=body, headers=headers).status_code == 202
    taken = list(backend.webhooks)
    assert len(taken) == 10
    tried = []

    @settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def attack(data):
        kind = data.draw(st.sampled_from(ATTACKS))
        body, headers = kind(data.draw, seen, *data.draw(st.sampled_from(seen + held_back)))
        if (body, headers) in seen:  # two reports of one second: their times swapped are the same
            return
        status = senders.post(PATH, data=body, headers=headers).status_code
        assert status in {401, 409}, (kind, body, headers)
        tried.append(kind)

    attack()
    assert backend.webhooks == taken
    assert len(tried) > 800
    assert set(tried) == set(ATTACKS)
    # Reordered: held back by somebody on the way, and let go behind later ones.
    assert {senders.post(PATH, data=body, headers=headers).status_code for body, headers in held_back} == {409}
    # Replayed: answered as before while their time lasts, refused once it is over, and never taken.
    assert {senders.post(PATH, data=body, headers=headers).status_code for body, headers in seen} == {202}
    backend.seen = Seen(backend.kept.get)
    monkeypatch.setattr(clock, "time", lambda: now + 1000)
    replayed = [senders.post(PATH, data=body, headers=headers).status_code for body, headers in seen * 3 + held_back]
    assert set(replayed) == {401, 409}
    assert backend.webhooks == taken


def test_no_secret_of_a_sender_reaches_a_log_or_an_answer(senders, signed, caplog):
    caplog.set_level("DEBUG")
    answers = [deliver(senders), deliver(senders, b"{}"), deliver(senders, time=5)]
    answers += [senders.post(PATH, data=b"{}", headers=headers) for headers in ({}, signed(RAW, "git secret"))]
    for text in (caplog.text, *(answer.get_data(as_text=True) for answer in answers)):
        for secret in (WHSEC, WATCHER, "git secret", "once secret"):
            assert secret.removeprefix("whsec_") not in text


# --- Alertmanager and Grafana -------------------------------------------------------------------------------------


def alertmanager(*alerts):
    """A group as Alertmanager 0.28 sends it (webhook version 4)."""
    return {
        "receiver": "exabgp-bfd",
        "status": "firing",
        "alerts": list(alerts),
        "groupLabels": {"alertname": "BfdDown"},
        "commonLabels": {"alertname": "BfdDown", "severity": "page"},
        "commonAnnotations": {},
        "externalURL": "http://alerts.example.net:9093",
        "version": "4",
        "groupKey": '{}:{alertname="BfdDown"}',
        "truncatedAlerts": 0,
        "notificationReason": "first_notification",
    }


def alert(status="firing", annotations=None, **labels):
    return {
        "status": status,
        "labels": {"alertname": "BfdDown", "job": "routers", "severity": "page", **labels},
        "annotations": {"summary": "a session is down", **(annotations or {})},
        "startsAt": "2026-11-20T12:00:00.123Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example.net:9090/graph?g0.expr=bfd_up+%3D%3D+0&g0.tab=1",
        "fingerprint": "c6eadffa33fcdf37",
    }


def grafana(*alerts):
    """A group as Grafana 12 sends it."""
    more = {
        "silenceURL": "https://g/alerting/silence/new",
        "dashboardURL": "",
        "panelURL": "",
        "values": {"B": 0, "C": 1},
    }
    return {
        "receiver": "exabgp-bfd",
        "status": "firing",
        "alerts": [{**one, **more, "valueString": "[ var='B' labels={} value=0 ]"} for one in alerts],
        "groupLabels": {"alertname": "BfdDown"},
        "commonLabels": {"alertname": "BfdDown"},
        "commonAnnotations": {},
        "externalURL": "https://grafana.example.net/",
        "version": "1",
        "groupKey": '{}/{team="network"}:{alertname="BfdDown"}',
        "truncatedAlerts": 0,
        "orgId": 1,
        "title": "[FIRING:1] BfdDown",
        "state": "alerting",
        "message": "**Firing**\n\nValue: B=0, C=1",
    }


@pytest.fixture
def alerting(build):
    """Posts to an application that knows Alertmanager by its bearer, and Grafana by its signature."""

    def make(effect="probe"):
        client = build(
            webhook_secrets=(Secret("plain"),),
            webhook_senders=(
                Sender("prometheus", (Secret("am secret"),), effect, "alertmanager", "bearer"),
                Sender("grafana", (Secret("gf secret"),), effect, "grafana"),
            ),
        )

        def post(body, query="", **headers):
            return client.post(PATH + query, data=json.dumps(body), headers=headers)

        return post

    return make


AM = {"Authorization": "Bearer am secret"}


def grafana_signed(body, at=None):
    at = str(int(clock.time()) if at is None else at)
    digits = hmac.new(b"gf secret", f"{at}:{json.dumps(body)}".encode(), "sha256").hexdigest()
    return {"X-Grafana-Alerting-Signature": digits, "X-Grafana-Alerting-Timestamp": at}


def test_alertmanagers_alerts_become_reports(alerting, backend):
    body = alertmanager(
        alert(device="edge1", peer="198.51.100.1"),
        alert("resolved", instance="edge2:9116"),
        alert(instance="192.0.2.99:9116"),
    )
    response = alerting()(body, **AM)
    assert response.status_code == 202
    answer = response.get_json()
    assert (answer["id"], answer["ids"]) == (41, [41, 42])
    assert [fault["pointer"] for fault in answer["ignored"]] == ["#/alerts/2/labels"]
    assert [(webhook.device, webhook.reason, webhook.actor) for webhook in backend.webhooks] == [
        ("edge1", "BfdDown", "prometheus"),
        ("edge2", "BfdDown", "prometheus"),
    ]
    assert backend.webhooks[1].evidence == {**body["alerts"][1]}


def test_a_group_that_was_held_back_brings_no_older_alert_of_its_second_device(alerting, backend, problem):
    post, now = alerting("observe"), int(clock.time())
    up = grafana(alert("resolved", {"resolved_state": "up"}, device="edge2", peer="198.51.100.1"))
    held = grafana(alert(device="edge1", peer="198.51.100.1"), alert(device="edge2", peer="198.51.100.1"))
    assert post(up, **grafana_signed(up, now)).status_code == 202
    assert "edge2/198.51.100.1" in problem(post(held, **grafana_signed(held, now - 10)), 409)["detail"]
    assert post(held, **grafana_signed(held, now + 1)).status_code == 202
    assert [webhook.device for webhook in backend.webhooks] == ["edge2", "edge1", "edge2"]


def test_grafanas_alerts_become_reports_once(alerting, backend, problem):
    body = grafana(alert(device="edge1", peer="198.51.100.1"))
    post, headers = alerting(), grafana_signed(body)
    answers = [post(body, **headers) for _ in range(2)]
    assert [answer.get_json() for answer in answers] == [{"id": 41, "status": "accepted"}] * 2
    assert len(backend.webhooks) == 1
    assert backend.webhooks[0].evidence["values"] == {"B": 0, "C": 1}
    assert "silenceURL" not in backend.webhooks[0].evidence
    problem(post(body, **grafana_signed(body, int(clock.time()) - 400)), 401)


@pytest.mark.parametrize(
    ("given", "state"),
    [
        (alert(device="edge1", peer="198.51.100.1"), {"state": "down", "peer": "198.51.100.1"}),
        (alert(device="edge1", session="198.51.100.1%red"), {"state": "down", "session": "198.51.100.1%red"}),
        (alert(device="edge1", peer="p", state="admin_down"), {"state": "admin_down", "peer": "p"}),
        (alert("resolved", {"resolved_state": "up"}, device="edge1", peer="p"), {"state": "up", "peer": "p"}),
        # It resolves as well when its series vanishes; and without a session it would be all of the device's.
        (alert("resolved", device="edge1", peer="p"), {}),
        (alert(device="edge1"), {}),
        (alert(device="edge1", peer="p", state="burning"), {}),
        (alert("firing", {"grafana_state_reason": "NoData"}, device="edge1", peer="p"), {}),
    ],
)
def test_what_an_alert_tells_of_a_session(alerting, backend, given, state):
    assert alerting("observe")(alertmanager(given), **AM).status_code == 202
    told = {name: value for name, value in backend.webhooks[0].evidence.items() if name not in given}
    assert told == state


@pytest.mark.parametrize(
    ("name", "reason"),
    [("BfdDown", "BfdDown"), ("BFD is down!", "BFD_is_down_"), ("started", "alert_started"), ("x" * 99, "x" * 58)],
)
def test_an_alerts_name_becomes_the_event_type(alerting, backend, name, reason):
    alerting()(alertmanager(alert(device="edge1", alertname=name)), **AM)
    assert [webhook.reason for webhook in backend.webhooks] == [reason]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (REPORT, "#/alerts"),
        (alertmanager(), "#/alerts"),
        (alertmanager(*[{"status": "firing", "labels": {"device": "edge1"}}] * 257), "#/alerts"),
        (alertmanager("down"), "#/alerts/0"),
        (alertmanager(alert("burning", device="edge1")), "#/alerts/0/status"),
        (alertmanager({**alert(), "labels": ["edge1"]}), "#/alerts/0/labels"),
        (alertmanager({**alert(), "labels": {"device": 1}}), "#/alerts/0/labels"),
        (alertmanager({**alert(device="edge1"), "annotations": {"a": {}}}), "#/alerts/0/annotations"),
        (alertmanager(alert(device="edge9", instance="localhost:9090")), "#/alerts/0/labels"),
        (alertmanager(alert(device="edge1") | {"values": {"A": 2**63}}), "#/alerts/0/values/A"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_group_of_alerts_is_422(alerting, problem, backend, body, pointer):
    assert pointer in pointers(problem(alerting()(body, **AM), 422))
    assert backend.webhooks == []


def test_the_format_may_be_asked_for(build, alerting, signed, problem, backend):
    raw = json.dumps(alertmanager(alert(device="edge1"))).encode()
    client = build()
    assert client.post(f"{PATH}?format=alertmanager", data=raw, headers=signed(raw)).status_code == 202
    assert [webhook.actor for webhook in backend.webhooks] == ["127.0.0.1"]
    assert client.post(f"{PATH}?format=report", data=RAW, headers=signed(RAW)).status_code == 202
    for query in ("?format=nagios", "?format=report&format=grafana", "?format="):
        problem(client.post(PATH + query, data=raw, headers=signed(raw)), 400)
    # What its settings say, no query changes.
    problem(alerting()(alertmanager(alert(device="edge1")), "?format=grafana", **AM), 400)
    assert alerting()(alertmanager(alert(device="edge1")), "?format=alertmanager", **AM).status_code == 202


def test_too_many_wrong_signatures_are_looked_at_no_more(build, signed, problem):
    client = build(rates=Rates(failures=3))
    wrong = {"X-Hub-Signature-256": "sha256=" + "0" * 64}
    assert [client.post(PATH, data=RAW, headers=wrong).status_code for _ in range(4)] == [401, 401, 401, 429]
    response = client.post(PATH, data=RAW, headers=signed(RAW))
    problem(response, 429)
    assert 1 <= int(response.headers["Retry-After"]) <= 20
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    assert client.post(PATH, data=RAW, headers=signed(RAW), environ_base=elsewhere).status_code == 202
