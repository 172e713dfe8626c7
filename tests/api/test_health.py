"""How we are, and what every answer has in common: headers, problem documents, the list of paths."""

from dataclasses import replace

import pytest


def test_health_in_numbers(client):
    response = client.get("/health")
    assert response.status_code == 200
    assert response.get_json() == {
        "status": "degraded",  # edge2 does not answer
        "version": "1.2.3",
        "site": "fra1",
        "started": "2026-11-20T11:58:30.000Z",
        "uptime": 90.0,
        "devices": {"total": 2, "reachable": 1, "troubled": {"edge2": "timed out"}},
        "sessions": {"total": 2, "up": 1},
        "services": {"total": 2, "announced": 1},
        "routes": {"total": 3, "refused": 0, "unseen": 1},
        "neighbors": {"192.0.2.254": "up"},
        "exabgp": {
            "version": "exabgp 5.0.15",
            "neighbors": {
                "192.0.2.254": {
                    "state": "up",
                    "families": ["ipv4 unicast"],
                    "shows_updates": True,
                    "keeps_routes": True,
                    "graceful_restart": False,
                }
            },
        },
        "guard": {"held": [], "blind": False, "clock_doubted": False},
        "windows": ["upgrade"],
        "lifecycle": {"starts": 1, "held": 0.0, "crashes": 0},
        "journal": "ok",
        "missing": [],
    }


def test_health_says_ok_only_when_all_is_well(client, backend):
    well = tuple(replace(device, reachable=True) for device in backend.view.devices)
    backend.view = replace(backend.view, devices=well)
    assert client.get("/health").get_json()["status"] == "ok"
    backend.healthy = False
    body = client.get("/health").get_json()
    assert (body["status"], body["journal"]) == ("degraded", "failing")
    backend.missing = ["edge2 was not asked yet"]
    body = client.get("/health").get_json()
    assert (body["status"], body["missing"]) == ("starting", ["edge2 was not asked yet"])


@pytest.mark.parametrize("doubt", [{"held": ("dns",)}, {"blind": True}])
def test_health_shows_what_the_guard_holds(client, backend, doubt):
    well = tuple(replace(device, reachable=True) for device in backend.view.devices)
    backend.view = replace(backend.view, devices=well, guard=replace(backend.view.guard, clock_doubted=True, **doubt))
    body = client.get("/health").get_json()
    assert body["status"] == "degraded"
    assert body["guard"] == {"held": [], "blind": False, "clock_doubted": True} | {
        name: list(value) if isinstance(value, tuple) else value for name, value in doubt.items()
    }


def test_healthz_is_the_main_loops_answer(client, backend, problem):
    assert client.get("/healthz").get_json() == {"status": "ok"}
    backend.answers = False
    assert "main loop" in problem(client.get("/healthz"), 503)["detail"]


def test_readyz_says_everything_that_is_missing(client, backend, problem):
    assert client.get("/readyz").get_json() == {"status": "ready"}
    backend.missing = ["device edge2 was not asked yet", "the pipe to ExaBGP is closed"]
    document = problem(client.get("/readyz"), 503)
    assert [error["detail"] for error in document["errors"]] == backend.missing
    for text in backend.missing:
        assert text in document["detail"]


def test_metrics_are_prometheus_text(client, backend):
    response = client.get("/metrics")
    assert response.data == backend.metrics()
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"


def test_the_root_lists_every_path(client):
    body = client.get("/").get_json()
    assert (body["name"], body["version"], body["site"]) == ("exabgp-bfd", "1.2.3", "fra1")
    listed = {(*entry["methods"], entry["path"]): entry["role"] for entry in body["paths"]}
    assert listed == {
        ("GET", "/"): "read",
        ("GET", "/bgp/history"): "read",
        ("GET", "/bgp/messages"): "read",
        ("GET", "/bgp/neighbors"): "read",
        ("GET", "/bgp/rates"): "read",
        ("GET", "/bgp/routes"): "read",
        ("GET", "/command"): "read",
        ("POST", "/command"): "admin",
        ("GET", "/devices"): "read",
        ("POST", "/devices"): "admin",
        ("GET", "/devices/{name}"): "read",
        ("PUT", "/devices/{name}"): "admin",
        ("DELETE", "/devices/{name}"): "admin",
        ("GET", "/events"): "read",
        ("GET", "/events/counts"): "read",
        ("GET", "/events/{number}"): "read",
        ("GET", "/guard"): "read",
        ("GET", "/notify"): "read",
        ("GET", "/notify/dead"): "read",
        ("DELETE", "/notify/dead/{number}"): "operate",
        ("POST", "/notify/dead/{number}/resend"): "operate",
        ("POST", "/notify/endpoints/{name}/enable"): "operate",
        ("PUT", "/guard/lift"): "operate",
        ("DELETE", "/guard/lift"): "operate",
        ("POST", "/snmp/get"): "operate",
        ("POST", "/snmp/walk"): "operate",
        ("POST", "/snmp/poll"): "operate",
        ("GET", "/status/{ticket}"): "operate",
        ("GET", "/jobs"): "operate",
        ("DELETE", "/jobs/{ticket}"): "operate",
        ("GET", "/docs"): "read",
        ("GET", "/openapi.json"): "read",
        ("GET", "/stream"): "read",
        ("GET", "/health"): "none",
        ("GET", "/healthz"): "none",
        ("GET", "/metrics"): "none",
        ("GET", "/readyz"): "none",
        ("POST", "/reload"): "admin",
        ("POST", "/shutdown"): "admin",
        ("GET", "/services"): "read",
        ("GET", "/services/{name}"): "read",
        ("PUT", "/services/{name}/override"): "operate",
        ("DELETE", "/services/{name}/override"): "operate",
        ("GET", "/services/{name}/why"): "read",
        ("GET", "/sessions"): "read",
        ("POST", "/webhook/failure"): "hmac",
    }
    assert all(entry["what"] for entry in body["paths"])


@pytest.mark.parametrize(
    "path", ["/nothing", "/events/", "/services//dns", "/services/", "/static/x", "/sessions/edge1"]
)
def test_an_unknown_path_is_404(client, problem, path):
    problem(client.get(f"http://localhost{path}"), 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_wrong_method_is_405_and_says_the_right_ones(client, problem, method):
    response = client.open("/events", method=method)
    assert method in problem(response, 405)["detail"]
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_what_nobody_foresaw_is_500_without_internals_and_in_the_log(client, backend, problem, caplog):
    backend.trouble = ZeroDivisionError("password=hunter2")
    response = client.get("/events")
    problem(response, 500)
    assert b"hunter2" not in response.data
    assert b"ZeroDivision" not in response.data
    assert "ZeroDivisionError" in caplog.text


def test_a_main_loop_too_busy_for_a_snapshot_is_503(client, backend, problem, monkeypatch):
    def late():
        raise TimeoutError("not started yet")

    monkeypatch.setattr(backend, "snapshot", late)
    for path in ("/health", "/sessions", "/services/dns"):
        response = client.get(path)
        problem(response, 503)
        assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/health"), ("GET", "/metrics"), ("GET", "/nothing"), ("PUT", "/events"), ("POST", "/webhook/failure")],
)
def test_every_answer_has_the_security_headers(client, method, path):
    headers = client.open(path, method=method).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "Server" not in headers
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("path", ["/health", "/nothing", "/webhook/failure"])
def test_a_rebound_name_is_refused_before_anything_else(client, problem, path):
    document = problem(client.get(path, headers={"Host": "evil.example:8080"}), 403)
    assert "Host" in document["detail"]


def test_the_configured_name_is_served(build):
    client = build(host="bfd.example.net")
    assert client.get("/healthz", headers={"Host": "bfd.example.net:8080"}).status_code == 200


def test_an_instance_is_a_uri(client, problem):
    assert problem(client.get("/no%20thing%0a<b>"), 404)["instance"] == "/no%20thing%0A%3Cb%3E"


def test_head_has_no_body(client):
    response = client.head("/health")
    assert response.status_code == 200
    assert response.data == b""
