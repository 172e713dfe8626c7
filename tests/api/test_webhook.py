"""`POST /webhook/failure`: accepted only signed, valid and on disk, and every refusal says why."""

import json
import threading
from http import HTTPStatus

import pytest

from exabgp_bfd.core.model import Webhook

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
