"""`GET /sessions` and `GET /services`: the snapshot, told with times of day."""

from dataclasses import replace

import pytest

from exabgp_bfd.core.model import Action, Change, Damping, Override, Rung, Session, State

NOON = 1795176000 * 1_000_000
"""2026-11-20T12:00:00Z, where the backend's clock stands."""


def ids(response):
    return [session["session"] for session in response.get_json()["sessions"]]


def test_a_session_tells_its_state_since_when_and_why(client):
    sessions = client.get("/sessions").get_json()["sessions"]
    assert sessions[0] == {
        "session": "edge1/198.51.100.1",
        "device": "edge1",
        "name": "198.51.100.1",
        "peer": "198.51.100.1",
        "local": None,
        "interface": "ge-0/0/1",
        "discriminator": 7,
        "vrf": "red",
        "multihop": None,
        "state": "down",
        "since": "2026-11-20T11:59:50.500Z",
        "heard": "2026-11-20T11:59:50.500Z",
        "device_heard": "2026-11-20T11:59:59.000Z",
        "device_reachable": True,
        "device_reason": None,
        "diagnostic": {"code": 1, "name": "control_detection_time_expired"},
        "changes": 3,
        "event": 11,
        "services": ["dns"],
    }
    assert sessions[1]["session"] == "edge2/2001:db8::1"
    assert sessions[1]["diagnostic"] is None
    assert sessions[1]["device_heard"] is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["edge1/198.51.100.1", "edge2/2001:db8::1"]),
        ("?device=edge2", ["edge2/2001:db8::1"]),
        ("?state=down", ["edge1/198.51.100.1"]),
        ("?state=up&device=edge1", []),
        ("?device=nobody", []),
        ("?limit=1", ["edge1/198.51.100.1"]),
    ],
)
def test_sessions_are_filtered(client, query, expected):
    assert ids(client.get(f"/sessions{query}")) == expected


@pytest.mark.parametrize("query", ["state=UP", "state=gone", "limit=0", "status=up"])
def test_a_wrong_filter_is_named(client, problem, query):
    document = problem(client.get(f"/sessions?{query}"), 422)
    assert document["errors"][0]["parameter"] == query.split("=")[0]


def test_the_states_there_are_stand_in_the_refusal(client, problem):
    document = problem(client.get("/sessions?state=gone"), 422)
    for state in State:
        assert state.value in document["errors"][0]["detail"]


def test_pages_of_sessions_lead_through_all(client, backend):
    first = backend.view.sessions[0]
    many = tuple(replace(first, session=Session("edge1", f"10.0.0.{number}")) for number in range(25))
    backend.view = replace(backend.view, sessions=many)
    seen = []
    address = "/sessions?limit=7&state=up"
    while address:
        response = client.get(address)
        seen += ids(response)
        link = response.headers.get("Link")
        address = link and link.removeprefix("<").removesuffix('>; rel="next"')
    assert seen == sorted(view.session.id for view in many)


def test_a_service_tells_what_is_announced_since_when_and_why(client):
    response = client.get("/services/dns")
    assert response.status_code == 200
    assert response.get_json() == {
        "service": "dns",
        "state": "withdrawn",
        "since": "2026-11-20T11:59:50.500Z",
        "why": "1 of 2 sessions is up, 2 are needed",
        "layer": "health",
        "health": "down",
        "adopted": False,
        "override": None,
        "windows": [],
        "disabled": False,
        "up": 1,
        "undecided": 0,
        "needed": 2,
        "sessions": [
            {
                "session": "edge1/198.51.100.1",
                "state": "down",
                "counts_as": "down",
                "why": "1 bad sample, confirmed",
            },
            {"session": "edge2/2001:db8::1", "state": "up", "counts_as": "up", "why": "3 good samples and 10 s"},
        ],
        "routes": [
            {
                "prefix": "192.0.2.53/32",
                "next_hop": "self",
                "neighbors": ["192.0.2.254"],
                "med": 50,
                "local_preference": None,
                "communities": [],
                "large_communities": [],
                "extended_communities": [],
                "as_path": [],
                "announced": False,
                "accepted": True,
                "confirmed": ["192.0.2.254"],
                "unseen": {"192.0.2.253": "no UPDATE for it was seen"},
                "event": 12,
            }
        ],
        "rule": {
            "selectors": ["edge1/198.51.100.1", "edge2/*"],
            "require": "all",
            "rise": 3,
            "fall": 1,
            "hold_up": 10.0,
            "confirm": True,
            "confirm_timeout": 0.5,
            "on_admin_down": "hold",
            "on_missing": "down",
            "on_unknown": "hold",
            "steps": [],
            "on_down": "withdraw",
            "damping": None,
            "drain_time": 60.0,
            "disable_file": None,
            "on_disable": "withdraw",
            "keep_last": False,
        },
    }


def test_a_service_tells_its_ladder_its_damping_and_what_beats_its_health(client, backend):
    dns = next(view for view in backend.view.services if view.service.name == "dns")
    rule = replace(
        dns.service,
        steps=(Rung(2, Change(med=200, communities=("65000:2",), as_path=())), Rung(1, None)),
        on_down=Change(local_preference=0),
        damping=Damping(half_life=900.0),
        drain_time=5.0,
        disable_file="/run/dns.off",
        on_disable=Action.DRAIN,
    )
    noon = NOON / 1e6
    override = Override("dns", Action.FREEZE, "noc", "new kernel", since=noon - 0.25, expires=noon + 7200)
    worse = replace(dns.routes[0], route=replace(dns.routes[0].route, med=200))
    backend.view = replace(
        backend.view,
        services=(replace(dns, service=rule, override=override, layer="override", health="step 1", routes=(worse,)),),
    )
    body = client.get("/services/dns").get_json()
    assert body["override"] == {
        "action": "freeze",
        "actor": "noc",
        "reason": "new kernel",
        "since": "2026-11-20T11:59:59.750Z",
        "expires": "2026-11-20T14:00:00.000Z",
    }
    assert (body["layer"], body["health"]) == ("override", "step 1")
    assert body["routes"][0]["med"] == 200  # as announced, not as configured
    told = body["rule"]
    assert told["steps"] == [
        {"up": 2, "med": 200, "communities": ["65000:2"], "as_path": []},
        {"up": 1, "withdraw": True},
    ]
    assert told["on_down"] == {"local_preference": 0}
    assert told["damping"] == {"penalty": 1000, "cutoff": 3000, "reuse": 1500, "half_life": 900, "ceiling": 12000}
    assert (told["drain_time"], told["disable_file"], told["on_disable"]) == (5.0, "/run/dns.off", "drain")


def test_a_watchdog_stands_among_the_routes(client):
    body = client.get("/services/ntp").get_json()
    assert body["routes"][1] == {
        "watchdog": "ntp",
        "announced": True,
        "accepted": True,
        "confirmed": [],
        "unseen": {},
        "event": 9,
    }
    assert (body["windows"], body["disabled"], body["layer"]) == (["upgrade"], True, "start")


def test_services_are_listed_by_name_as_each_is_alone(client):
    body = client.get("/services").get_json()
    assert [service["service"] for service in body["services"]] == ["dns", "ntp"]
    assert body["services"][1] == client.get("/services/ntp").get_json()
    assert body["services"][1]["state"] == "announced"
    assert body["services"][1]["since"] is None
    assert body["services"][1]["adopted"] is True
    assert body["next_cursor"] is None


def test_pages_of_services(client):
    first = client.get("/services?limit=1")
    assert first.get_json()["next_cursor"] == "dns"
    second = client.get("/services?limit=1&cursor=dns").get_json()
    assert [service["service"] for service in second["services"]] == ["ntp"]


def test_an_unknown_service_is_404(client, problem):
    assert "smtp" in problem(client.get("/services/smtp"), 404)["detail"]
