"""`POST /reload`: what would change, what did, and a bad file told with every place."""

from dataclasses import replace
from pathlib import Path

import pytest

from exabgp_bfd.core.model import ConfigError, Preview, StoreError


class FileError(ConfigError):
    """As the configuration's own: the first fault, with all of them."""

    def __init__(self, *errors):
        super().__init__(errors[0].place, errors[0].text)
        self.errors = errors


ATTRIBUTES = {
    "next_hop": "self",
    "neighbors": [],
    "med": None,
    "local_preference": None,
    "communities": [],
    "large_communities": [],
    "extended_communities": [],
    "as_path": [],
}


@pytest.fixture
def post(client, admin):
    return lambda body=None: client.post("/reload", json=body, headers=admin)


@pytest.mark.parametrize("body", [None, {}, {"dry_run": False}, {"dry_run": False, "file": None}])
def test_the_file_is_read_again_in_the_name_of_the_key(post, backend, body):
    response = post(body)
    assert (response.status_code, response.get_json()) == (200, {"event": 91})
    assert backend.reloads == ["admin (ephemeral key)"]
    assert backend.previewed == []


def test_a_dry_run_tells_what_would_be_said_in_order_and_changes_nothing(post, backend):
    response = post({"dry_run": True, "file": "/tmp/new.toml"})
    assert response.status_code == 200
    assert response.get_json() == {
        "file": "/tmp/new.toml",
        "dry_run": True,
        "commands": [
            {"action": "withdraw", "service": "dns", "prefix": "192.0.2.53/32", **ATTRIBUTES},
            {
                "action": "announce",
                "service": "dns",
                "prefix": "192.0.2.54/32",
                **ATTRIBUTES,
                "med": 50,
                "communities": ["65000:53", "no-export"],
            },
            {"action": "announce", "service": "ntp", "watchdog": "ntp"},
        ],
        "added": ["ntp"],
        "removed": [],
        "changed": ["dns"],
        "devices_added": ["edge3"],
        "devices_removed": [],
    }
    assert (backend.previewed, backend.reloads) == ([Path("/tmp/new.toml")], [])


def test_a_dry_run_without_a_file_tells_which_was_read(post, backend, monkeypatch):
    assert post({"dry_run": True}).get_json()["file"] == "/etc/exabgp-bfd/exabgp-bfd.toml"
    assert backend.previewed == [None]
    empty = Preview((), (), (), (), (), ())
    monkeypatch.setattr(backend, "preview", lambda file, timeout: (None, replace(empty)))  # started by flags alone
    body = post({"dry_run": True}).get_json()
    assert body == {
        "file": None,
        "dry_run": True,
        **{name: [] for name in ("commands", "added", "removed", "changed", "devices_added", "devices_removed")},
    }


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"file": "/tmp/new.toml"}, "#"),
        ({"dry_run": False, "file": "/tmp/new.toml"}, "#"),
        ({"dry_run": True, "file": "new.toml"}, "#/file"),
        ({"dry_run": True, "file": ""}, "#/file"),
        ({"dry_run": True, "file": "/tmp/\0"}, "#/file"),
        ({"dry_run": True, "file": 5}, "#/file"),
        ({"dry_run": "true"}, "#/dry_run"),
        ({"dry_run": 1}, "#/dry_run"),
        ({"dry": True}, "#/dry"),
    ],
)
def test_a_wrong_body_is_422_with_its_place_and_does_nothing(post, problem, backend, body, place):
    document = problem(post(body), 422)
    assert [error["pointer"] for error in document["errors"]] == [place]
    assert (backend.previewed, backend.reloads) == ([], [])


@pytest.mark.parametrize("body", [None, {"dry_run": True}])
def test_a_bad_file_is_told_with_every_place(post, problem, backend, body):
    backend.refusal = FileError(
        ConfigError("/etc/x.toml: service[0].require", "must be a number"),
        ConfigError("/etc/x.toml: device[1].host", "is missing"),
    )
    document = problem(post(body), 422)
    assert document["errors"] == [
        {"place": "/etc/x.toml: service[0].require", "detail": "must be a number"},
        {"place": "/etc/x.toml: device[1].host", "detail": "is missing"},
    ]
    assert document["detail"] == "/etc/x.toml: service[0].require: must be a number, and 1 more"


@pytest.mark.parametrize("body", [None, {"dry_run": True}])
def test_one_fault_is_told_alone(post, problem, backend, body):
    backend.refusal = ConfigError("", "started by flags alone: there is no file to read again")
    document = problem(post(body), 422)
    assert document["errors"] == [{"place": "", "detail": "started by flags alone: there is no file to read again"}]
    assert document["detail"] == "started by flags alone: there is no file to read again"


@pytest.mark.parametrize("trouble", [TimeoutError("busy"), StoreError("the disk is full")])
@pytest.mark.parametrize("body", [None, {"dry_run": True}])
def test_a_program_in_trouble_is_503(post, problem, backend, trouble, body):
    backend.refusal = trouble
    response = post(body)
    detail = problem(response, 503)["detail"]
    assert int(response.headers["Retry-After"]) > 0
    if isinstance(trouble, TimeoutError) and body is None:
        assert "may still happen" in detail
