"""The SNMP proxy over HTTP: tickets of real jobs, every refusal, and no credential in any answer or log."""

import json
import logging
import re
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any
from unittest import mock

import pytest
from api.box import Box
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab.stage import Stage, sockets_to, wait_until

from exabgp_bfd.core.credentials import User
from exabgp_bfd.core.jobs import Credentials, JobKind, JobPart, JobRequest, JobStatus, JobView
from exabgp_bfd.core.model import Secret
from exabgp_bfd.sources.snmp.jobs import Jobs, JobSettings
from exabgp_bfd.sources.snmp.target import Target

COMMUNITY = "c0mmunity-never-to-be-shown"
NAME = "1.3.6.1.2.1.1.5.0"
TREE = "1.3.6.1.4.1.99999.1"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HOST = {"host": "127.0.0.1", "community": COMMUNITY}
V3 = {"host": "127.0.0.1", "version": "3", "user": "noc"}


@dataclass
class WithJobs(Box):
    """The box with the real jobs in it."""

    at_work: Any = None
    asked: list[JobRequest] = field(default_factory=list)

    def snmp_submit(self, request: JobRequest, actor: str) -> JobView:
        self.asked.append(request)
        return self.at_work.submit(request, actor)

    def snmp_status(self, ticket):
        return self.at_work.status(ticket)

    def snmp_jobs(self, limit, before):
        return self.at_work.jobs(limit, before)

    def snmp_cancel(self, ticket, actor):
        return self.at_work.cancel(ticket, actor)


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.close()


@pytest.fixture
def backend():
    edge1 = Target("edge1", "127.0.0.1", Secret(COMMUNITY), port=9)
    jobs = Jobs(JobSettings(allow=(ip_network("127.0.0.0/8"),), concurrency=2, queue=3), [edge1])
    yield WithJobs(at_work=jobs)
    assert jobs.close(10)


@pytest.fixture
def router(stage, backend):
    """What answers as edge1."""
    router = stage.router(COMMUNITY)
    backend.at_work.set_devices([Target("edge1", "127.0.0.1", Secret(COMMUNITY), port=router.port, timeout=2.0)])
    return router


@pytest.fixture
def operator(keyed, key):
    """Asks with a key of the role operate."""

    def ask(method, path, body=None, role="operate", **more):
        return keyed.open(path, method=method, json=body, headers=key(role), **more)

    return ask


def ended(operator, ticket):
    def look():
        document = operator("GET", f"/status/{ticket}").get_json()
        return document if document["status"] not in {"queued", "running"} else None

    return wait_until(look)


def test_a_ticket_from_its_submission_to_its_result(operator, router):
    answer = operator("POST", "/snmp/get", {"device": "edge1", "oids": [f".{NAME}", "1.3.6.1.4.1.1.1.0"]})
    assert answer.status_code == 202
    document = answer.get_json()
    assert UUID.fullmatch(document["ticket"])
    assert answer.headers["Location"] == f"/status/{document['ticket']}"
    assert (document["status"], document["target"], document["actor"]) == ("queued", "edge1", "a-operate")
    whole = ended(operator, document["ticket"])
    assert set(whole) == {
        *("ticket", "status", "progress", "progress_detail", "elapsed_seconds", "timing", "data"),
        *(
            "progress_percent",
            "number",
            "kind",
            "target",
            "actor",
            "error",
            "truncated",
            "created",
            "started",
            "finished",
        ),
    }
    assert whole["status"] == "complete"
    assert whole["data"] == {
        "snmp_data": [
            {"oid": NAME, "type": "text", "value": "simulator"},
            {"oid": "1.3.6.1.4.1.1.1.0", "type": "missing", "value": None},
        ],
        "interfaces": [],
        "arp_table": [],
        "bfd_sessions": [],
    }
    assert (whole["progress"], whole["progress_percent"], whole["error"]) == ("complete", 100.0, None)
    assert set(whole["timing"]) == {"get", "total"}
    assert whole["elapsed_seconds"] == whole["timing"]["total"]
    assert whole["finished"].endswith("Z")
    assert operator("GET", f"/status/{document['ticket']}").content_type == "application/json"


def test_a_walk_and_a_poll_of_a_host(operator, router):
    router.add("192.0.2.1")
    host = {"host": f"127.0.0.1:{router.port}", "community": COMMUNITY, "timeout": 2, "retries": 0}
    walk = operator("POST", "/snmp/walk", {**host, "oid": "1.3.6.1.2.1.1", "max_rows": 2}).get_json()
    poll = operator("POST", "/snmp/poll", {**host, "version": "2c", "what": ["bfd", "system"]}).get_json()
    whole = ended(operator, walk["ticket"])
    assert (whole["status"], whole["truncated"]) == ("complete", True)
    assert [row["oid"] for row in whole["data"]["snmp_data"]] == ["1.3.6.1.2.1.1.1.0", "1.3.6.1.2.1.1.3.0"]
    whole = ended(operator, poll["ticket"])
    assert whole["data"]["snmp_data"]["sysName"] == "simulator"
    assert whole["data"]["bfd_sessions"][0]["peer"] == "192.0.2.1"
    assert set(whole["timing"]) == {"system_info", "bfd", "total"}
    listed = operator("GET", "/jobs").get_json()["jobs"]
    assert [(job["kind"], job["target"]) for job in listed] == [
        ("poll", f"127.0.0.1:{router.port}"),
        ("walk", f"127.0.0.1:{router.port}"),
    ]
    assert all("data" not in job for job in listed)


def test_what_reaches_the_jobs(operator, backend, monkeypatch):
    keys = {
        "auth_protocol": "sha256",
        "auth_key": "auth-key-hidden",
        "priv_protocol": "aes128",
        "priv_key": "priv-key-hidden",
    }
    view = backend.at_work.submit(JobRequest(JobKind.GET, "edge1", oids=(NAME,)), "x")
    monkeypatch.setattr(backend.at_work, "submit", lambda request, actor: view)
    for path, body in (
        ("get", {**V3, **keys, "context": "red", "timeout": 0.5, "retries": 3, "oids": [NAME, NAME]}),
        ("walk", {"device": "edge1", "oid": TREE}),
        ("poll", {**HOST, "what": ["bfd", "arp", "bfd"]}),
        ("poll", {"device": "edge1", "timeout": 5}),
    ):
        assert operator("POST", f"/snmp/{path}", body).status_code == 202
    get, walk, poll, whole = backend.asked
    assert get == JobRequest(
        JobKind.GET,
        host="127.0.0.1",
        credentials=Credentials(
            "3", None, User("noc", "sha256", Secret("auth-key-hidden"), "aes128", Secret("priv-key-hidden")), "red"
        ),
        timeout=0.5,
        retries=3,
        oids=(NAME,),
    )
    assert walk == JobRequest(JobKind.WALK, device="edge1", oids=(TREE,), max_rows=10_000)
    assert poll.credentials == Credentials("2c", Secret(COMMUNITY))
    assert poll.parts == (JobPart.ARP, JobPart.BFD)
    assert (whole.parts, whole.timeout, whole.retries) == (tuple(JobPart), 5.0, None)


# --- refusals -------------------------------------------------------------------------------------------------------

GET, WALK = {"oids": [NAME]}, {"oid": TREE}
WRONG = [
    ("get", {}, "is missing"),
    ("get", {**GET}, "give a device"),
    ("get", {**GET, **HOST, "device": "edge1"}, "one of them"),
    ("get", {**GET, "device": "edge9"}, "there is no device 'edge9'"),
    ("get", {**GET, "device": "edge1", "community": COMMUNITY}, "its own credentials"),
    ("get", {**GET, "device": "edge1", "version": "2c"}, "its own credentials"),
    ("get", {**GET, "device": ""}, "/device"),
    ("get", {**GET, "device": 7}, "/device"),
    ("get", {**GET, "device": "edge1", "comunity": COMMUNITY}, "there is no such key"),
    ("get", {**GET, "host": "127.0.0.1"}, "community is missing"),
    ("get", {**GET, **HOST, "community": ""}, "/community"),
    ("get", {**GET, **HOST, "community": COMMUNITY * 10}, "/community"),
    ("get", {**GET, **HOST, "community": [COMMUNITY]}, "/community"),
    ("get", {**GET, **HOST, "community": "\ud800" + COMMUNITY}, "/community"),
    ("get", {**GET, **HOST, "version": "2"}, '"1", "2c" or "3"'),
    ("get", {**GET, **HOST, "version": 1}, '"1", "2c" or "3"'),
    ("get", {**GET, **HOST, "version": []}, '"1", "2c" or "3"'),
    ("get", {**GET, **HOST, "version": "3"}, "has user"),
    ("get", {**GET, **HOST, "user": "noc"}, 'go with version "3"'),
    ("get", {**GET, "host": "127.0.0.1", "version": "3"}, "user is missing"),
    ("get", {**GET, **V3, "auth_protocol": "sha256"}, "auth_protocol and auth_key"),
    ("get", {**GET, **V3, "auth_key": COMMUNITY}, "auth_protocol and auth_key"),
    ("get", {**GET, **V3, "auth_protocol": "sha256", "auth_key": "s3cret!"}, "too short"),
    ("get", {**GET, **V3, "auth_protocol": "SHA", "auth_key": COMMUNITY}, "must be one of md5"),
    ("get", {**GET, **V3, "priv_protocol": "aes128", "priv_key": COMMUNITY}, "needs auth_protocol"),
    ("get", {**GET, **V3, "priv_protocol": "rot13"}, "must be one of des"),
    ("get", {**HOST, "oids": []}, "1 to 128"),
    ("get", {**HOST, "oids": [f"1.3.{n}" for n in range(129)]}, "1 to 128"),
    ("get", {**HOST, "oids": NAME}, "1 to 128"),
    *(
        ("get", {**HOST, "oids": [oid]}, "must be an OID")
        for oid in ("", "1", "sysName", "1..3", "3.1", "1.40", 5, None)
    ),
    *(
        ("walk", {**HOST, "oid": oid}, "must be an OID")
        for oid in ("1.3.4294967296", "1.3." + "1." * 127 + "1", "1.3.\u0661")
    ),
    ("walk", {**HOST, **WALK, "max_rows": 0}, "1 to 100000"),
    ("walk", {**HOST, **WALK, "max_rows": 100_001}, "1 to 100000"),
    ("walk", {**HOST, **WALK, "max_rows": True}, "1 to 100000"),
    ("walk", {**HOST, **WALK, "max_rows": 1.5}, "1 to 100000"),
    ("poll", {**HOST, "what": []}, "system, interfaces, arp, bfd"),
    ("poll", {**HOST, "what": ["routes"]}, "system, interfaces, arp, bfd"),
    ("poll", {**HOST, "what": "bfd"}, "system, interfaces, arp, bfd"),
    ("poll", {**HOST, "what": [["bfd"]]}, "system, interfaces, arp, bfd"),
    ("poll", {**HOST, "oids": [NAME]}, "there is no such key"),
    ("poll", {**HOST, "timeout": 0}, "0.1 to 30"),
    ("poll", {**HOST, "timeout": 31}, "0.1 to 30"),
    ("poll", {**HOST, "timeout": "1"}, "0.1 to 30"),
    ("poll", {**HOST, "timeout": True}, "0.1 to 30"),
    ("poll", {**HOST, "retries": -1}, "0 to 10"),
    ("poll", {**HOST, "retries": 11}, "0 to 10"),
    ("poll", {**HOST, "host": "0x7f.1"}, "no address"),
    ("poll", {**HOST, "host": "2130706433"}, "no address"),
    ("poll", {**HOST, "host": "fe80::1%eth0"}, "zone"),
    ("poll", {**HOST, "host": "127.0.0.1:99999"}, "no host"),
    ("poll", {**HOST, "host": "127.0.0.1\n"}, "/host"),
    ("poll", {**HOST, "host": 2130706433}, "/host"),
]


@pytest.mark.parametrize(("path", "body", "said"), WRONG, ids=[f"{path} {n}" for n, (path, _, _) in enumerate(WRONG)])
def test_a_wrong_body_is_refused_with_what_would_be_right(operator, backend, problem, caplog, path, body, said):
    caplog.set_level(logging.DEBUG)
    answer = operator("POST", f"/snmp/{path}", body)
    document = problem(answer, 422)
    assert said in document["detail"] + json.dumps(document["errors"])
    assert document["errors"]
    assert backend.at_work.counters.submitted == 0
    for secret in (COMMUNITY, "s3cret"):
        assert secret not in answer.get_data(as_text=True) + caplog.text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
LIKELY = {
    "device": "edge1",
    "host": "127.0.0.1:9",
    "version": "3",
    "community": "abcdefgh",
    "user": "noc",
    "auth_protocol": "md5",
    "auth_key": "abcdefgh",
    "priv_protocol": "des",
    "priv_key": "abcdefgh",
    "context": "red",
    "timeout": 1,
    "retries": 1,
    "oids": [NAME],
    "oid": TREE,
    "max_rows": 1,
    "what": ["bfd"],
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(["get", "walk", "poll"]),
    st.sets(st.sampled_from(sorted(LIKELY))),
    st.dictionaries(st.sampled_from(sorted(LIKELY)) | st.text(max_size=5), VALUES, max_size=3),
)
def test_whatever_the_body_is_it_is_taken_or_explained(keyed, key, backend, path, likely, odd):
    view = JobView(1, "t", JobKind.GET, "edge1", "noc", JobStatus.QUEUED, 0)
    body = {name: LIKELY[name] for name in likely} | odd
    with mock.patch.object(backend.at_work, "submit", return_value=view):
        answer = keyed.post(f"/snmp/{path}", json=body, headers=key("operate"))
    assert answer.status_code in {202, 400, 422}, answer.get_data(as_text=True)
    if answer.status_code == 202:
        assert ("device" in body) != ("host" in body) or None in body.values()


@pytest.mark.parametrize(
    "host", ["192.0.2.1", "::1", "[::ffff:192.0.2.1]:161", "::ffff:198.51.100.1", "10.0.0.1:1161", "169.254.169.254"]
)
def test_a_host_that_is_not_allowed_is_forbidden_with_the_remedy(operator, backend, problem, host):
    answer = operator("POST", "/snmp/get", {**HOST, **GET, "host": host})
    document = problem(answer, 403)
    assert "[snmp_proxy] allow" in document["detail"]
    assert '{"device": NAME}' in document["detail"]
    assert COMMUNITY not in answer.get_data(as_text=True)
    assert (backend.at_work.counters.refused, backend.at_work.counters.submitted) == (1, 0)


def test_an_ipv4_address_in_ipv6_clothes_is_the_ipv4_address(operator, router):
    body = {**HOST, **GET, "host": f"[::ffff:127.0.0.1]:{router.port}"}
    answer = operator("POST", "/snmp/get", body)
    assert answer.status_code == 202
    assert answer.get_json()["target"] == f"127.0.0.1:{router.port}"


@pytest.mark.parametrize("path", ["get", "walk", "poll"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"device": "edge1", "device": "edge1"}', b"\xff"])
def test_what_is_no_object_is_refused(keyed, key, problem, path, body):
    answer = keyed.post(f"/snmp/{path}", data=body, headers=key("operate"))
    problem(answer, 422 if body in {b"[]", b"null"} else 400)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", f"/snmp/{what}") for what in ("get", "walk", "poll")),
        *(("GET", "/status/x"), ("GET", "/jobs"), ("DELETE", "/jobs/x")),
    ],
)
def test_tickets_are_for_operators(operator, keyed, backend, problem, method, path):
    assert "operate" in problem(operator(method, path, role="read"), 403)["detail"]
    problem(keyed.open(path, method=method), 401)
    assert backend.asked == []
    assert operator(method, path, role="admin").status_code not in {401, 403}


@pytest.mark.parametrize("ticket", ["x", "0" * 36, "../jobs", "a" * 5000, "%00", "ü"])
def test_a_ticket_that_there_is_not(operator, problem, ticket):
    for method, path in (("GET", f"/status/{ticket}"), ("DELETE", f"/jobs/{ticket}")):
        assert len(problem(operator(method, path), 404)["detail"]) < 300


# --- queue and cancelling ---------------------------------------------------------------------------------------------


def test_a_walk_is_cancelled_and_its_ticket_says_so(operator, stage, problem):
    agent = stage.endless()
    body = {**HOST, **WALK, "host": f"127.0.0.1:{agent.port}", "max_rows": 100_000}
    ticket = operator("POST", "/snmp/walk", body).get_json()["ticket"]

    def running():
        document = operator("GET", f"/status/{ticket}").get_json()
        return document if document["progress_detail"].get("rows", 0) > 40 else None

    document = wait_until(running)
    assert (document["status"], document["progress_percent"]) == ("running", None)
    assert document["progress"] == f"{document['progress_detail']['rows']} rows"
    assert document["data"]["snmp_data"] == []
    assert document["elapsed_seconds"] > 0
    answer = operator("DELETE", f"/jobs/{ticket}")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "cancelled")
    assert sockets_to(agent.port) == 0
    assert operator("GET", f"/status/{ticket}").get_json()["status"] == "cancelled"
    assert operator("DELETE", f"/jobs/{ticket}").status_code == 200


def test_what_has_ended_is_not_cancelled(operator, router, problem):
    ticket = operator("POST", "/snmp/get", {"device": "edge1", **GET}).get_json()["ticket"]
    ended(operator, ticket)
    assert "complete already" in problem(operator("DELETE", f"/jobs/{ticket}"), 409)["detail"]
    assert operator("GET", f"/status/{ticket}").get_json()["status"] == "complete"


def test_beyond_the_queue_it_is_said_when_to_come_again(operator, stage, backend, problem):
    agent = stage.endless(0.5)
    body = {**HOST, **WALK, "host": f"127.0.0.1:{agent.port}"}
    for _ in range(2):
        assert operator("POST", "/snmp/walk", body).status_code == 202
    wait_until(lambda: backend.at_work.counters.running == 2)
    for _ in range(3):
        assert operator("POST", "/snmp/walk", body).status_code == 202
    answer = operator("POST", "/snmp/walk", body)
    assert "GET /jobs" in problem(answer, 503)["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    first, second = operator("GET", "/jobs?limit=3"), operator("GET", "/jobs?limit=3&cursor=3")
    assert [job["status"] for job in first.get_json()["jobs"]] == ["queued"] * 3
    assert first.get_json()["next_cursor"] == "3"
    assert "cursor=3" in first.headers["Link"]
    assert [job["status"] for job in second.get_json()["jobs"]] == ["running"] * 2
    assert second.get_json()["next_cursor"] is None


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "cursor=0", "cursor=x", "since=1", "limit=1&limit=2"])
def test_a_query_that_is_not_understood(operator, problem, query):
    assert problem(operator("GET", f"/jobs?{query}"), 422)["errors"]


# --- secrets --------------------------------------------------------------------------------------------------------


def test_no_credential_is_in_any_answer_or_log(operator, stage, router, backend, caplog):
    caplog.set_level(logging.DEBUG)
    backend.at_work.set_settings(JobSettings(allow=(ip_network("127.0.0.0/8"),)))  # with room for all of them
    hidden = [COMMUNITY, "other-c0mmunity", "hidden-auth-key", "hidden-priv-key"]
    agent = stage.endless()
    here, there = f"127.0.0.1:{router.port}", f"127.0.0.1:{agent.port}"
    v3 = {**V3, "auth_protocol": "sha256", "auth_key": "hidden-auth-key", "timeout": 0.2, "retries": 0}
    v3 |= {"host": here, "priv_protocol": "aes128", "priv_key": "hidden-priv-key"}
    answers = [
        operator("POST", "/snmp/get", {**GET, "host": here, "community": COMMUNITY}),
        operator(
            "POST", "/snmp/get", {**GET, "host": here, "community": "other-c0mmunity", "timeout": 0.2, "retries": 0}
        ),
        operator("POST", "/snmp/poll", v3),
        operator("POST", "/snmp/walk", {**WALK, "host": there, "community": COMMUNITY, "max_rows": 100_000}),
        operator("POST", "/snmp/get", {**GET, "host": "192.0.2.1", "community": COMMUNITY}),
    ]
    assert [answer.status_code for answer in answers] == [202] * 4 + [403]
    first, second, third, fourth = [answer.get_json()["ticket"] for answer in answers[:4]]
    wait_until(lambda: agent.asked)
    answers += [operator("GET", f"/status/{ticket}") for ticket in (first, second, third, fourth)]
    answers += [operator("GET", "/jobs"), operator("DELETE", f"/jobs/{fourth}")]
    seen = [ended(operator, ticket)["status"] for ticket in (first, second, third, fourth)]
    assert seen == ["complete", "failed", "failed", "cancelled"]
    answers += [operator("GET", f"/status/{ticket}") for ticket in (first, second, third, fourth)]
    texts = [answer.get_data(as_text=True) for answer in answers]
    texts += [caplog.text, repr(backend.asked), repr(backend.at_work.jobs(9)), str(backend.at_work.counters)]
    for secret in hidden:
        assert not any(secret in text for text in texts), secret
    assert "a-operate" in caplog.text  # that somebody asked is logged
