"""schemathesis asks for everything that the description allows, and for much that it does not, with each role.

Each question is asked by everybody, who may least first: to think of questions costs more than to answer them.
EXABGP_BFD_FUZZ=N asks N times as much.
"""

import io
import json
import os
from collections import Counter
from dataclasses import replace

import pytest
import schemathesis
from api.box import KEYS, NOON, Box, event, keys
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from exabgp_bfd.core.jobs import JobEndedError, JobKind, JobStatus, JobView
from exabgp_bfd.core.model import Action, Clear, Lift, Override, Secret
from exabgp_bfd.core.notices import EndpointState, EndpointView, Letter
from exabgp_bfd.web import bodies
from exabgp_bfd.web.auth import sign
from exabgp_bfd.web.backend import SiteStands, Stand, WebSettings
from exabgp_bfd.web.limits import Rates
from exabgp_bfd.web.server import create_app

EXAMPLES = max(1, round(4 * float(os.environ.get("EXABGP_BFD_FUZZ", "1"))))
"""Questions of each kind about an operation."""
PARTS = 4
"""In which all operations are asked for, so that several processes share them."""
SECRET = "a secret of thirty-two characters"
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
RANK = {"nobody": 0, "stranger": 0, "read": 1, "operate": 2, "admin": 3}
"""All who ask, and how much each may."""
NEEDED = {"none": 0, "read": 1, "operate": 2, "admin": 3}
CHANGING = {"operate": 2, "admin": 3}
DONE = {200, 201, 202, 303}


OVERRIDE = Override("dns", Action.FREEZE, "a-operate", "x", since=1.0, expires=None)
LIFT = Lift("a-operate", "x", since=1.0, expires=None)
PAGER = EndpointView(
    *("pager", "https://192.0.2.1", "both", EndpointState.DISABLED, 1, 0.5, 40, 1, 1, 1, 1, NOON, NOON, "x", NOON)
)


class Fuzzed(Box):
    """The box with something of everything in it."""

    def __init__(self):
        super().__init__(trail=[event(number, details={"text": "=1"}) for number in range(1, 30)])
        self.cancelled = []
        self.bgp = list(range(1, 9))
        self.told = [PAGER]
        self.dead = [Letter("pager", n, f"e{n}", json.dumps(event(n)), 8, "x", NOON, n) for n in (1, 2)]
        stand = Stand("dns", True, "health", NOON, ("192.0.2.53/32",))
        self.elsewhere = (False, [SiteStands("fra1", 0.0, True, (stand,)), SiteStands("ams1", 9.0, False, (stand,))])
        self.show("dns", OVERRIDE)
        self.show(None, LIFT)

    def order(self, what, timeout):
        number = super().order(what, timeout)
        if isinstance(what, Clear):  # so that there is always something to take back
            self.show(what.service, LIFT if what.service is None else OVERRIDE)
        return number

    def snmp_status(self, ticket):
        view = JobView(7, "a-ticket", JobKind.WALK, "edge1", "a-operate", JobStatus.COMPLETE, 1_000_000)
        return replace(view, ticket=ticket, data=b'{"snmp_data": []}') if ticket == "a-ticket" else None

    def snmp_jobs(self, limit, before):
        views = [
            JobView(number, f"t{number}", JobKind.POLL, "edge1", "a", JobStatus.QUEUED, 1_000_000)
            for number in range(9, 0, -1)
            if before is None or number < before
        ]
        return tuple(views[:limit])

    def snmp_cancel(self, ticket, actor):
        if ticket == "ended":
            raise JobEndedError("it has ended")
        view = self.snmp_status(ticket)
        self.cancelled.append(actor)
        return view and replace(view, status=JobStatus.RUNNING)

    def changes(self):
        """How much somebody has changed, or asked of a router or ExaBGP."""
        orders = (self.ordered, self.ordered_of_all, self.reloads, self.previewed, self.by_hand, self.asked, self.ended)
        others = (self.jobs, self.cancelled, self.devices_changed, self.resent, self.discarded, self.enabled)
        return sum(map(len, (*orders, *others)))


class Signing:
    """Signs what the test wants signed: only here are the bytes known that schemathesis sends."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        if environ.pop("HTTP_X_SIGN", None) is not None:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            environ["HTTP_X_HUB_SIGNATURE_256"] = sign(Secret(SECRET), body)
        return self.app(environ, start_response)


@pytest.fixture(scope="module")
def program():
    return Fuzzed()


@pytest.fixture
def backend(program):
    """As it is in the beginning, whatever others have asked of it."""
    program.__init__()
    return program


@pytest.fixture(scope="module")
def app(program):
    limits = Rates(requests=0, failures=0)
    return create_app(
        program, WebSettings("127.0.0.1", 0, webhook_secrets=(Secret(SECRET),), keys=keys(), rates=limits)
    )


@pytest.fixture(scope="module")
def operations(app):
    schema = schemathesis.openapi.from_wsgi("/openapi.json", Signing(app), headers={"X-API-Key": KEYS["read"]})
    return [found.ok() for found in schema.get_all_operations()]


NAMES = {
    "/devices/{name}": ["edge1", "edge7", "edge8"],
    "/notify/endpoints/{name}/enable": ["pager"],
    "name": ["dns", "ntp"],
    "number": [1, 2],
    "ticket": ["a-ticket", "ended"],
}
"""Of what there is, by path or else by variable."""


def known(case, choose):
    """What is asked for exists: a name that nobody has leads no further than to 404."""
    for name in case.path_parameters or {}:
        case.path_parameters[name] = choose(st.sampled_from(NAMES.get(case.path, NAMES.get(name, ["x"]))))
    if not isinstance(case.body, dict):
        return
    if case.path.startswith("/devices"):
        for key in set(case.body) - {"interval", "timeout", "retries"}:
            case.body.pop(key)
        case.body.update(host="192.0.2.8", community="x")
        if case.method == "POST":
            case.body["name"] = f"new{choose(st.integers(0, 999))}"
    elif case.path.startswith("/snmp"):
        if choose(st.booleans()):  # whom a device is asked as is not to be said
            for key in set(case.body) - {"oid", "oids", "what", "max_rows", "timeout", "retries"}:
                case.body.pop(key)
        case.body["device"] = "edge1"
    elif "device" in case.body:
        case.body["device"] = "edge1"
    if "command" in case.body:
        case.body["command"] = choose(st.sampled_from(bodies.COMMANDS))
    if {"ttl", "expires"} <= set(case.body) and choose(st.booleans()):
        case.body.pop(choose(st.sampled_from(["ttl", "expires"])))


class Asking:
    """Everybody asking for one operation after another, and what came of all of them."""

    def __init__(self, backend, mode, *, of_what_there_is=False):
        self.backend, self.mode, self.of_what_there_is = backend, mode, of_what_there_is
        self.tried, self.answered, self.changed = Counter(), Counter(), Counter()

    def everything(self, operation):
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=EXAMPLES <= 4,  # the suite is a gate: it asks the same each time
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=self.mode), data=st.data())
        def ask(case, data):
            self.all(case, operation.definition.raw["x-role"], data.draw)

        try:
            ask()
        except Unsatisfiable:
            # Where nothing can be said, nothing can be said wrong.
            assert self.mode is GenerationMode.NEGATIVE
            assert not list(operation.iter_parameters())
            assert not operation.body
        except BaseException as error:
            error.add_note(operation.label)
            raise

    def all(self, case, role, choose):
        asked = CHECKS
        if self.of_what_there_is or choose(st.booleans()):
            known(case, choose)
        elif self.mode is GenerationMode.NEGATIVE:  # left as it is, and that is wrong in some way
            asked = [*CHECKS, checks.negative_data_rejection]
        for name in ("X-API-Key", "Authorization"):  # schemathesis makes some up where it likes to
            case.headers.pop(name, None)
        signed = {"X-Sign": "yes"} if role == "hmac" and choose(st.booleans()) else {}
        for holder in RANK:
            try:
                self.one(case, role, holder, signed, asked)
            except BaseException as error:
                error.add_note(f"as {holder}")
                raise

    def one(self, case, role, holder, signed, asked):
        key = {} if holder == "nobody" else {"X-API-Key": KEYS.get(holder, "of somebody else")}
        before = self.backend.changes()
        response = case.call(headers={**key, **signed})
        changed = self.backend.changes() - before
        case.validate_response(response, checks=asked)
        self.tried[holder] += 1
        self.answered[holder] += response.status_code in DONE
        self.changed[holder] += changed
        if RANK[holder] < CHANGING.get(role, 4):
            assert not changed, case
        if role in NEEDED and RANK[holder] < NEEDED[role]:
            routed = str(case.path_parameters.get("number", 0)).isdecimal()  # else it is no path of ours
            assert response.status_code in ({401, 403} if routed else {401, 403, 404}), case


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_operation_as_everybody(operations, backend, part, mode):
    asking, mine = Asking(backend, mode), operations[part::PARTS]
    for operation in mine:
        asking.everything(operation)
    assert set(asking.tried) == set(RANK)
    assert len(set(asking.tried.values())) == 1
    assert asking.tried["nobody"] > len(mine)
    if mode is GenerationMode.POSITIVE:  # and not everything was refused
        for holder, rank in RANK.items():
            open_to = [one for one in mine if NEEDED.get(one.definition.raw["x-role"], 4) <= rank]
            assert asking.answered[holder] >= len(open_to), holder


def test_what_is_allowed_happens(operations, backend):
    """Or else nothing would be changed by anybody, and the test above would hold nothing."""
    idle = []
    for operation in operations:
        asking = Asking(backend, GenerationMode.POSITIVE, of_what_there_is=True)
        role = operation.definition.raw["x-role"]
        if role in CHANGING and operation.method.upper() != "GET":
            asking.everything(operation)
            idle += [operation.label] * (not asking.changed[role])
    assert idle == []
