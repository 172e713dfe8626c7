"""`/devices`: what is there, what is added, changed and removed, and that no secret ever comes back."""

from dataclasses import replace
from urllib.parse import quote

import pytest
from api.box import DNS, FILE, WRITTEN

from exabgp_bfd.core.model import Announce, DeviceView, Preview, Route, StoreError, Withdraw
from exabgp_bfd.core.written import MOST_DEVICES

BODY = {"name": "edge9", "host": "192.0.2.9", "community": "c-of-edge9"}
V3 = {
    "host": "192.0.2.9",
    "version": "3",
    "user": "bfd",
    "auth_protocol": "sha256",
    "auth_key": "a pass phrase",
    "priv_protocol": "aes128",
    "priv_key": "one more phrase",
    "contexts": ["red"],
}
SECRETS = ("c-of-its-own", "c-of-edge9", "an auth key", "a pass phrase", "one more phrase", "c-of-red")


@pytest.fixture
def ask(client, admin):
    """Asks as an admin; no answer may hold a secret."""

    def asking(method, path, body=None, **headers):
        response = client.open(path, method=method, json=body, headers={**admin, **headers})
        assert not any(secret in response.get_data(as_text=True) for secret in SECRETS)
        return response

    return asking


def pointers(answer):
    return [each.get("pointer", each.get("place")) for each in answer["errors"]]


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_list_of_all_of_them_in_pages(client):
    first = client.get("/devices?limit=2")
    body = first.get_json()
    assert [(each["name"], each["origin"]) for each in body["devices"]] == [("edge1", "file"), ("edge2", "file")]
    assert (body["next_cursor"], "cursor=edge2" in first.headers["Link"]) == ("edge2", True)
    rest = client.get("/devices?limit=2&cursor=edge2").get_json()
    assert ([each["name"] for each in rest["devices"]], rest["next_cursor"]) == (["edge7"], None)
    assert [each["name"] for each in client.get("/devices?origin=api").get_json()["devices"]] == ["edge7"]


def test_what_has_not_changed_is_not_sent_again(client, backend):
    for path in ("/devices", "/devices/edge1"):
        tag = client.get(path).headers["ETag"]
        assert client.get(path, headers={"If-None-Match": tag}).status_code == 304
    backend.view = replace(backend.view, devices=(DeviceView("edge1", 99.0, False, "no answer", 0),))
    for path in ("/devices", "/devices/edge1"):
        assert (
            client.get(path, headers={"If-None-Match": client.get("/devices/edge2").headers["ETag"]}).status_code == 200
        )


def test_one_of_the_file_with_what_is_seen_of_it(client, backend):
    backend.view = replace(backend.view, devices=(DeviceView("edge1", 90.0, True, "", 3),))
    body = client.get("/devices/edge1").get_json()
    assert (body["name"], body["host"], body["port"], body["origin"], body["written"]) == (
        *("edge1", "192.0.2.1", 161, "file", None),
    )
    assert (body["reachable"], body["heard"], body["sessions"], body["sessions_up"]) == (
        *(True, "2026-11-20T11:59:50.000Z", 3, 0),
    )
    assert (body["community"], body["auth_key"], body["services"]) == ("***", None, ["dns"])
    edge2 = client.get("/devices/edge2").get_json()
    assert (edge2["version"], edge2["user"], edge2["auth_key"], edge2["community"]) == ("3", "bfd", "***", None)
    assert (edge2["reachable"], edge2["sessions_up"], edge2["services"]) == (None, 1, ["dns"])


def test_one_that_was_added_shows_what_was_written_of_it(client):
    body = client.get("/devices/edge7").get_json()
    assert body["written"] == {**WRITTEN, "community": "***"}
    assert (body["interval"], body["origin"]) == (5.0, "api")


def test_one_that_there_is_not(client, problem):
    answer = problem(client.get("/devices/edge8"), 404)
    assert "there are edge1, edge2" in answer["detail"]
    assert answer["errors"][0]["place"] == "edge8"


# --- adding ---------------------------------------------------------------------------------------------------------


def test_one_is_added_in_the_name_of_the_key(ask, backend):
    response = ask("POST", "/devices", BODY)
    assert (response.status_code, response.headers["Location"]) == (201, "/devices/edge9")
    body = response.get_json()
    assert (body["event"], body["commands"], body["device"]["written"]) == (81, [], {**BODY, "community": "***"})
    assert ask("GET", response.headers["Location"]).get_json()["host"] == "192.0.2.9"
    ((kind, name, actor, details),) = backend.devices_changed
    assert (kind, name, actor) == ("device_added", "edge9", "admin (ephemeral key)")
    assert details == {"host": "192.0.2.9", "port": 161, "written": {**BODY, "community": "***"}}
    assert backend.holding.targets[-1].community.reveal() == "c-of-edge9"


def test_everything_that_the_file_may_say_of_one(ask, backend):
    everything = {
        "name": "a-device,perhaps",
        "port": 1161,
        "profile": "oid",
        "values": "state",
        "oid": "1.3.6.1.2.1.222.1.2.1.11",
        "interval": 2,
        "fast_interval": 0.5,
        "timeout": 0.5,
        "retries": 2,
        "stale_after": 30,
        "engine": "pysnmp",
        "max_varbinds": 10,
        "trap_from": ["198.51.100.1"],
        "trust": True,
    }
    response = ask("POST", "/devices", {**V3, **everything})
    assert response.status_code == 201, response.data
    shown = response.get_json()["device"]
    asked = {**V3, **everything, "auth_key": "***", "priv_key": "***"}
    assert {key: shown[key] for key in asked} == asked
    assert backend.holding.targets[-1].user.priv_key.reveal() == "one more phrase"


def test_a_name_that_an_address_must_spell(ask):
    response = ask("POST", "/devices", {**BODY, "name": "edge?9#é"})
    assert response.headers["Location"] == f"/devices/{quote('edge?9#é')}"
    assert ask("GET", response.headers["Location"]).get_json()["name"] == "edge?9#é"


@pytest.mark.parametrize(
    ("more", "place", "words"),
    [
        ({"host": None}, "#/host", 'is missing, for example host = "192.0.2.1"'),
        ({"name": None}, "#/name", "is missing"),
        ({"name": 7}, "#/name", "must be text in quotes"),
        ({"name": "a/b"}, "#/name", "no slash"),
        ({"name": "*"}, "#/name", "every device"),
        ({"name": ".."}, "#/name", "another name"),
        ({"host": "a b"}, "#/host", "must be a host name or an address"),
        ({"host": "192.0.2.9:161"}, "#/host", "write the port beside it"),
        ({"host": "a\r\nwithdraw route 0.0.0.0/0"}, "#/host", "control characters"),
        ({"port": 0}, "#/port", "must be at least 1"),
        ({"port": "161"}, "#/port", "must be a whole number"),
        ({"interval": 1e9}, "#/interval", "must be at most 3600"),
        ({"interval": "1"}, "#/interval", "must be a number"),
        ({"interval": 20, "stale_after": 5}, "#/stale_after", "leave it out, or give 60"),
        ({"profile": "cysco"}, "#/profile", "cisco"),
        ({"profile": "oid", "values": "oper"}, "#/oid", "is missing"),
        ({"version": "4"}, "#/version", '"2c"'),
        ({"version": "3"}, "#/user", "version 3 needs one"),
        ({"user": "bfd"}, "#/user", 'belongs to version = "3"'),
        ({"trap_from": ["192.0.2.1", "x"]}, "#/trap_from/1", "address"),
        ({"contexts": ["red"]}, "#/contexts", "context_communities"),
        ({"contexts": "red"}, "#/contexts", "must be a list"),
        (
            {"contexts": ["red"], "context_communities": {"red": "file:/etc/passwd"}},
            "#/context_communities/red",
            "file:",
        ),
        ({"trust": True}, "#/trust", "SNMPv3"),
        ({"community": "env:SNMP_COMMUNITY"}, "#/community", "send the secret itself"),
        ({"community": "file:/etc/shadow"}, "#/community", "send the secret itself"),
        ({"community": "c\nd"}, "#/community", "printable"),
        ({"community": "c" * 256}, "#/community", "at most 255"),
        ({"community": ["c-of-edge9"]}, "#/community", "must be text"),
        ({"community": "***"}, "#/community", "none of its own"),
        ({"timeout": 61}, "#/timeout", "must be at most 60"),
        ({"origin": "file"}, "#/origin", "there is no such key"),
    ],
)
def test_what_is_no_device_is_refused_with_its_place_and_the_remedy(ask, problem, backend, more, place, words):
    answer = problem(ask("POST", "/devices", {**BODY, **more}), 422)
    assert pointers(answer) == [place]
    assert words in answer["errors"][0]["detail"]
    assert backend.devices_changed == []


def test_every_fault_is_told_at_once(ask, problem):
    answer = problem(ask("POST", "/devices", {"name": "a b", "host": "", "port": -1}), 422)
    assert pointers(answer) == ["#/name", "#/host", "#/port"]


def test_a_secret_with_half_a_surrogate_pair_is_none(client, admin, problem):
    body = b'{"name": "edge9", "host": "192.0.2.9", "community": "c\\ud800"}'
    answer = problem(client.post("/devices", data=body, headers=admin), 422)
    assert pointers(answer) == ["#/community"]


@pytest.mark.parametrize("name", ["edge1", "edge7"])
def test_a_name_that_is_taken(ask, problem, name):
    assert name in problem(ask("POST", "/devices", {**BODY, "name": name}), 409)["detail"]


def test_there_is_a_bound(ask, problem, backend):
    (*_, last) = backend.holding.targets
    backend.holding = replace(
        backend.holding, targets=tuple(replace(last, name=f"r{number}") for number in range(MOST_DEVICES))
    )
    assert "no more fit" in problem(ask("POST", "/devices", BODY), 409)["detail"]
    assert "no more fit" in problem(ask("PUT", "/devices/edge9", BODY), 409)["detail"]
    assert ask("PUT", "/devices/r7", {"host": "192.0.2.1"}).status_code == 200


# --- changing -------------------------------------------------------------------------------------------------------


def test_stars_are_the_secret_that_is_kept(ask, backend):
    written = ask("GET", "/devices/edge7").get_json()["written"]
    response = ask("PUT", "/devices/edge7", {**written, "interval": 9})
    assert (response.status_code, response.get_json()["event"]) == (200, 81)
    assert backend.written["edge7"] == {**WRITTEN, "interval": 9}
    assert backend.holding.targets[-1].community.reveal() == "c-of-its-own"
    ((kind, _, _, details),) = backend.devices_changed
    assert (kind, details["changed"]) == ("device_changed", ["interval"])


def test_stars_in_a_table_of_views_too(ask, backend):
    views = {"contexts": ["red"], "context_communities": {"red": "c-of-red"}}
    assert ask("PUT", "/devices/edge7", {"host": "192.0.2.7", **views}).status_code == 200
    again = {**ask("GET", "/devices/edge7").get_json()["written"], "interval": 2}
    assert again["context_communities"] == {"red": "***"}
    assert ask("PUT", "/devices/edge7", again).status_code == 200
    assert backend.written["edge7"]["context_communities"] == {"red": "c-of-red"}


def test_the_same_again_changes_nothing(ask, backend):
    body = {**WRITTEN, "port": None}
    response = ask("PUT", "/devices/edge7", body)
    assert (response.status_code, response.get_json()["event"]) == (200, None)
    assert response.get_json()["device"]["name"] == "edge7"
    assert backend.devices_changed == []


def test_one_that_was_not_there_is_added(ask, backend):
    response = ask("PUT", "/devices/edge9", {"host": "192.0.2.9"})
    assert (response.status_code, response.headers["Location"]) == (201, "/devices/edge9")
    assert backend.devices_changed[0][:2] == ("device_added", "edge9")


def test_nobody_is_renamed(ask, problem):
    answer = problem(ask("PUT", "/devices/edge7", {**WRITTEN, "name": "edge9"}), 422)
    assert pointers(answer) == ["#/name"]


@pytest.mark.parametrize(("method", "body"), [("PUT", {"host": "192.0.2.9"}), ("DELETE", None)])
def test_those_of_the_file_are_changed_in_the_file(ask, problem, backend, method, body):
    detail = problem(ask(method, "/devices/edge1", body), 409)["detail"]
    assert "/etc/exabgp-bfd/exabgp-bfd.toml" in detail
    assert "POST /reload" in detail
    assert backend.devices_changed == []


# --- removing -------------------------------------------------------------------------------------------------------


def test_one_is_removed(ask, backend, problem):
    response = ask("DELETE", "/devices/edge7")
    assert (response.status_code, response.get_json()) == (200, {"event": 81, "device": None, "commands": []})
    assert backend.devices_changed[0][:2] == ("device_removed", "edge7")
    assert problem(ask("DELETE", "/devices/edge7"), 404)
    assert problem(ask("GET", "/devices/edge7"), 404)


def test_one_that_a_service_names_stays(ask, problem, backend, tmp_path):
    from exabgp_bfd import config  # noqa: PLC0415

    file = tmp_path / "x.toml"
    window = '[[window]]\nname = "w"\nweekly = "Sun 02:00"\nduration = "1h"\ndevices = ["edge7"]\n'
    file.write_text(FILE.replace("*/*", "edge7/*") + window)
    backend.holding = config.load(file, config.Overrides(), {}, lambda _: {"edge7": WRITTEN})
    answer = problem(ask("DELETE", "/devices/edge7?force=true"), 409)
    assert answer["errors"] == [
        {"place": "service dns", "detail": "follows edge7/*"},
        {"place": "window w", "detail": "is of edge7"},
    ]
    assert backend.devices_changed == []


def test_the_last_one_stays(ask, problem, backend):
    backend.holding = replace(
        backend.holding,
        targets=backend.holding.targets[-1:],
        plan=replace(backend.holding.plan, services=()),
    )
    assert "only device" in problem(ask("DELETE", "/devices/edge7"), 409)["detail"]


ROUTE = DNS.service.routes[0]
assert isinstance(ROUTE, Route)


def test_a_route_goes_only_where_somebody_insists(ask, problem, backend):
    backend.consequence = Preview((Withdraw(0, "dns", ROUTE),), (), (), (), (), ())
    for method, path, body in (("DELETE", "/devices/edge7", None), ("PUT", "/devices/edge7", {"host": "192.0.2.1"})):
        answer = problem(ask(method, path, body), 409)
        assert answer["errors"] == [{"place": "service dns", "detail": "would withdraw 192.0.2.53/32"}]
        assert "force=true" in answer["detail"]
    assert backend.devices_changed == []
    response = ask("DELETE", "/devices/edge7?force=true")
    assert [(each["action"], each["service"]) for each in response.get_json()["commands"]] == [("withdraw", "dns")]
    assert backend.devices_changed[0][:2] == ("device_removed", "edge7")


def test_other_attributes_are_no_withdraw(ask, backend):
    backend.consequence = Preview((Withdraw(0, "dns", ROUTE), Announce(0, "dns", ROUTE)), (), (), (), (), ())
    assert ask("DELETE", "/devices/edge7").status_code == 200


# --- only trying, and who may ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/devices", BODY),
        ("PUT", "/devices/edge7", {"host": "192.0.2.9"}),
        ("PUT", "/devices/edge9", {"host": "192.0.2.9"}),
        ("DELETE", "/devices/edge7", None),
    ],
)
def test_a_dry_run_tells_and_changes_nothing(ask, backend, method, path, body):
    response = ask(method, f"{path}?dry_run=true", body)
    assert response.status_code == 200
    answer = response.get_json()
    assert (answer["event"], answer["dry_run"]) == (None, True)
    assert [each["action"] for each in answer["commands"]] == ["withdraw", "announce", "announce"]
    assert backend.devices_changed == []
    assert backend.written == {"edge7": WRITTEN}


def test_a_dry_run_refuses_what_would_be_refused(ask, problem):
    problem(ask("POST", "/devices?dry_run=true", {**BODY, "port": 0}), 422)
    problem(ask("POST", "/devices?dry_run=true", {**BODY, "name": "edge1"}), 409)
    problem(ask("POST", "/devices?dry_run=perhaps", BODY), 422)


def test_a_journal_that_refuses_is_told(ask, problem, backend):
    backend.refusal = StoreError("the disk is full")
    assert "Retry-After" in ask("POST", "/devices", BODY).headers
    backend.refusal = TimeoutError("the main loop did not answer")
    assert "look before again" in problem(ask("DELETE", "/devices/edge7"), 503)["detail"]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/devices"), ("PUT", "/devices/edge7"), ("DELETE", "/devices/edge7")]
)
def test_only_an_admin_changes_anything(keyed, key, backend, problem, method, path):
    body = {"name": "edge7", "host": "192.0.2.9"}
    for role in ("read", "operate"):
        problem(keyed.open(path, method=method, json=body, headers=key(role)), 403)
    problem(keyed.open(path, method=method, json=body), 401)
    assert backend.devices_changed == []
    assert keyed.get("/devices", headers=key("read")).status_code == 200
