"""The API's description (OpenAPI 3.1), made of what the application is: its routes, the roles that `@needs` marks, the
models of bodies and queries, the schemas of `answers`; and of CONTRACT, which says what belongs to which route.

A route without an entry is described all the same, as far as it describes itself; tests let none be without.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from flask import Flask
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from exabgp_bfd.web import answers, bodies, problems, queries, stream
from exabgp_bfd.web.api.notify import DeadFilter
from exabgp_bfd.web.api.snmp import JobFilter
from exabgp_bfd.web.api.webhook import Report
from exabgp_bfd.web.gate import KEY_HEADER, Access, access_of
from exabgp_bfd.web.queries import CSV, JSON, NDJSON

VERSION: Final = "3.1.0"

Schema = dict[str, Any]
Operation = tuple[str, str, str]
"""Path, method and endpoint."""

_VARIABLE = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")
_TEXT: Final = {"type": "string"}
_OF_PATHS: Final = {
    "name": "Its name, as the configuration has it.",
    "number": "Of an event its id; of an alert that could not be delivered its number.",
    "ticket": "The job's ticket.",
}
_REFERENCE = "#/components/schemas/{model}"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no error: what it is, and its schema by media type (None: text)."""

    what: str
    media: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """What a route does not say of itself."""

    answers: Mapping[int, Answer]
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    bodiless: bool = False
    """Whether the body may be left out."""
    forms: Mapping[str, Any] = field(default_factory=dict)
    """Other bodies than `body`, by what they are: schemas."""
    errors: Mapping[int, str] = field(default_factory=dict)
    """Beyond those that every route of its kind has."""
    examples: Mapping[str, Any] = field(default_factory=dict)
    """Of the body, by what they do."""
    parameters: tuple[Schema, ...] = ()
    """Beyond the query: headers."""


def _json(what: str, schema: object, *headers: str) -> Answer:
    return Answer(what, {JSON: schema}, {name: _HEADERS[name] for name in headers})


_HEADERS: Final = {
    "Link": "The next page's address (RFC 8288), where there is one.",
    "ETag": "For If-None-Match.",
    "Location": "Where it goes on.",
    "Retry-After": "Seconds after which it is worth asking again.",
    "WWW-Authenticate": "How a key is shown.",
}
_IF_NONE_MATCH: Final[Schema] = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag of the answer that is there already.",
    "schema": _TEXT,
}
_UNCHANGED: Final = Answer("What the client has already.", {}, {"ETag": _HEADERS["ETag"]})
_FOR_JOB: Final = {
    "a configured device": {"device": "edge1"},
    "a host": {"host": "192.0.2.1", "version": "2c", "community": "public"},
}
_REASON: Final = {"nobody says": {}, "somebody says": {"reason": "upgrade done"}}


def _asking(more: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {**whom, **more} for name, whom in _FOR_JOB.items()}


_SUBMITTED: Final = {202: _json("The job's ticket.", answers.Job, "Location")}
_JOB_ERRORS: Final = {
    403: "The configuration does not allow this host, or the key does not open this.",
    503: "Too many jobs wait.",
}

CONTRACT: Final[Mapping[str, Told]] = {
    "GET /": Told(
        {
            200: _json("The paths there are.", answers.Index),
            303: Answer("To whom HTML is dearer: where people read.", {}, {"Location": _HEADERS["Location"]}),
        }
    ),
    "GET /docs": Told(
        {
            200: Answer("This description, for people.", {"text/html": None}, {"ETag": _HEADERS["ETag"]}),
            304: _UNCHANGED,
        },
        parameters=(_IF_NONE_MATCH,),
    ),
    "GET /openapi.json": Told(
        {200: _json("This description.", dict[str, Any], "ETag"), 304: _UNCHANGED}, parameters=(_IF_NONE_MATCH,)
    ),
    "GET /health": Told({200: _json("How the program is.", answers.Health)}),
    "GET /healthz": Told(
        {200: _json("The main loop answers.", answers.Well)}, errors={503: "It does not, or a part has ended."}
    ),
    "GET /readyz": Told(
        {200: _json("Every device was asked, and the pipe is open.", answers.Well)}, errors={503: "What is missing."}
    ),
    "GET /metrics": Told({200: Answer("Metrics, for Prometheus.", {"text/plain": None})}),
    "GET /events": Told(
        {
            200: Answer(
                "A page of events.",
                {JSON: answers.Events, NDJSON: None, CSV: None},
                {"Link": _HEADERS["Link"], "ETag": _HEADERS["ETag"]},
            ),
            304: _UNCHANGED,
        },
        query=queries.EventFilter,
        errors={406: "Accept names no form that there is."},
        parameters=(_IF_NONE_MATCH,),
    ),
    "GET /events/{number}": Told({200: _json("The event.", answers.EventWithChain)}),
    "GET /events/counts": Told({200: _json("The counts.", answers.EventCounts)}, query=queries.CountFilter),
    "GET /stream": Told(
        {
            200: Answer(
                "Events from now on, or behind the one that is named: `id: 12`, `data: {the event}`. Every "
                f"{stream.BEAT:g} s of silence a comment. `event: gap` tells that something may be missing, and why. "
                f"It ends after {stream.LIFETIME / 60:g} minutes: come back with Last-Event-ID. At most {stream.MOST} "
                "follow at once.",
                {"text/event-stream": answers.Block},
            )
        },
        query=queries.StreamFilter,
        errors={503: "All places are taken, or the journal cannot be read."},
        parameters=(
            {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "The id of the last event that is known.",
                "schema": {"type": "string", "pattern": "^[ \\t]*([0-9]{1,19})?[ \\t]*$"},
            },
        ),
    ),
    "GET /bgp/messages": Told(
        {200: _json("A page of messages.", answers.BgpMessages, "Link")}, query=queries.MessageFilter
    ),
    "GET /bgp/routes": Told({200: _json("A page of routes.", answers.BgpRoutes, "Link")}, query=queries.RouteFilter),
    "GET /bgp/history": Told(
        {200: _json("A page of changes.", answers.BgpChanges, "Link")}, query=queries.ChangeFilter
    ),
    "GET /bgp/rates": Told({200: _json("A page of rates.", answers.BgpRates, "Link")}, query=queries.RateFilter),
    "GET /bgp/neighbors": Told({200: _json("The neighbours.", answers.BgpNeighbors)}),
    "GET /sessions": Told({200: _json("A page of sessions.", answers.Sessions, "Link")}, query=queries.SessionFilter),
    "GET /devices": Told(
        {200: _json("A page of devices.", answers.Devices, "Link", "ETag"), 304: _UNCHANGED},
        query=queries.DeviceFilter,
        parameters=(_IF_NONE_MATCH,),
    ),
    "POST /devices": Told(
        {
            200: _json("What it would change.", answers.DeviceChanged),
            201: _json("It is polled, and on disk.", answers.DeviceChanged, "Location"),
        },
        query=queries.DeviceDeed,
        body=bodies.DeviceAdding,
        errors={409: "There is a device of that name, there is no room for more, or a route would go with it."},
        examples={
            "with a community": {"name": "edge9", "host": "192.0.2.9", "community": "a community"},
            "version 3": {
                "name": "edge10",
                "host": "edge10.example.net",
                "version": "3",
                "user": "bfd",
                "auth_protocol": "sha256",
                "auth_key": "a pass phrase",
            },
        },
    ),
    "GET /devices/{name}": Told(
        {200: _json("The device.", answers.Device, "ETag"), 304: _UNCHANGED}, parameters=(_IF_NONE_MATCH,)
    ),
    "PUT /devices/{name}": Told(
        {
            200: _json("It is so from now on, or was already; or what it would change.", answers.DeviceChanged),
            201: _json("It is new, polled, and on disk.", answers.DeviceChanged, "Location"),
        },
        query=queries.DeviceDeed,
        body=bodies.DevicePutting,
        errors={409: "It is of the configuration file, there is no room for more, or a route would go with it."},
        examples={"asked less often": {"host": "192.0.2.9", "community": "a community", "interval": 5}},
    ),
    "DELETE /devices/{name}": Told(
        {200: _json("It is no more; or what that would change.", answers.DeviceChanged)},
        query=queries.DeviceDeed,
        errors={409: "It is of the configuration file, or named by it, or a route would go with it."},
    ),
    "GET /services": Told(
        {200: _json("A page of services.", answers.Services | answers.ServicesEverywhere, "Link")},
        query=queries.ServiceFilter,
    ),
    "GET /services/{name}": Told({200: _json("The service.", answers.Service)}),
    "GET /services/{name}/why": Told({200: _json("The reasons.", answers.Why)}),
    "PUT /services/{name}/override": Told(
        {200: _json("It holds, and is on disk; or what it would do.", answers.Overridden | answers.Rehearsed)},
        query=queries.Rehearsing,
        body=bodies.Overriding,
        examples={
            "drain for two hours": {"action": "drain", "reason": "router upgrade, ticket 4711", "ttl": "2h"},
            "until it is cleared": {"action": "withdraw", "reason": "server is sick"},
            "at every site": {"action": "drain", "reason": "new kernel", "ttl": "30m", "scope": "all"},
        },
    ),
    "DELETE /services/{name}/override": Told(
        {200: _json("Its health decides again; or what that would do.", answers.Overridden | answers.Rehearsed)},
        query=queries.ClearFilter,
        body=bodies.ClearingOverride,
        bodiless=True,
        errors={404: "There is no such service, or it has no override."},
        examples={**_REASON, "at every site": {"scope": "all", "reason": "upgrade done"}},
    ),
    "GET /guard": Told({200: _json("What is held back.", answers.Guard)}),
    "PUT /guard/lift": Told(
        {200: _json("The limit is lifted; or what that would do.", answers.Lifted | answers.Rehearsed)},
        query=queries.Rehearsing,
        body=bodies.Lifting,
        examples={"for ten minutes": {"reason": "two sites move at once", "ttl": "10m"}},
    ),
    "DELETE /guard/lift": Told(
        {200: _json("The limit holds again; or what that would do.", answers.Lifted | answers.Rehearsed)},
        query=queries.ReasonFilter,
        body=bodies.Clearing,
        bodiless=True,
        errors={404: "It is not lifted."},
        examples=_REASON,
    ),
    "POST /reload": Told(
        {200: _json("It holds, or what it would change.", answers.Reloaded)},
        query=queries.Rehearsing,
        body=bodies.Reloading,
        bodiless=True,
        examples={
            "read our file again": {},
            "only tell what another one would change": {"dry_run": True, "file": "/etc/exabgp-bfd/next.toml"},
        },
    ),
    "GET /command": Told(
        {200: _json("A page of what stands by hand.", answers.HandRoutes, "Link")}, query=queries.HandFilter
    ),
    "POST /command": Told(
        {200: _json("What came of it; or what it would do.", answers.Commanded | answers.Rehearsed)},
        query=queries.Rehearsing,
        body=bodies.Commanding,
        errors={
            409: "A service has this prefix or watchdog: override the service.",
            503: "ExaBGP is gone, another command waits for its answer, or the journal does not answer.",
        },
        examples={
            "announce for two hours": {"command": bodies.COMMANDS[0], "reason": "ticket 4711", "ttl": "2h"},
            "withdraw": {"command": bodies.COMMANDS[1]},
            "ask": {"command": "show neighbor summary"},
            "only tell what would be written": {"command": bodies.COMMANDS[0], "dry_run": True},
        },
    ),
    "POST /shutdown": Told(
        {
            200: _json("How it would end (dry_run).", answers.StopRehearsed),
            202: _json("It is ending.", answers.Stopping),
        },
        query=queries.Rehearsing,
        body=bodies.Stopping,
        bodiless=True,
        examples={"end": {}, "say why": {"reason": "new version"}, "only tell": {"dry_run": True}},
    ),
    "POST /snmp/get": Told(
        _SUBMITTED, body=bodies.Getting, errors=_JOB_ERRORS, examples=_asking({"oids": ["1.3.6.1.2.1.1.5.0"]})
    ),
    "POST /snmp/walk": Told(
        _SUBMITTED, body=bodies.Walking, errors=_JOB_ERRORS, examples=_asking({"oid": "1.3.6.1.2.1.2.2"})
    ),
    "POST /snmp/poll": Told(_SUBMITTED, body=bodies.Polling, errors=_JOB_ERRORS, examples=_asking({"what": ["bfd"]})),
    "GET /status/{ticket}": Told({200: _json("The job and its data.", answers.JobWithData)}),
    "GET /jobs": Told({200: _json("A page of jobs.", answers.Jobs, "Link")}, query=JobFilter),
    "DELETE /jobs/{ticket}": Told(
        {
            200: _json("It is cancelled.", answers.JobWithData),
            202: _json("It is being cancelled.", answers.JobWithData),
        },
        errors={409: "It has ended already."},
    ),
    "GET /notify": Told({200: _json("Who is told of events.", answers.Endpoints)}),
    "POST /notify/endpoints/{name}/enable": Told(
        {200: _json("It is told again, or (dry run) could be.", answers.EndpointEnabled)},
        query=queries.Rehearsing,
        errors={409: "It is not disabled."},
    ),
    "GET /notify/dead": Told({200: _json("A page of alerts.", answers.DeadLetters, "Link")}, query=DeadFilter),
    "POST /notify/dead/{number}/resend": Told(
        {
            200: _json("It could be sent again: a dry run.", answers.LetterOrdered),
            202: _json("It is being sent again.", answers.LetterOrdered),
        },
        query=queries.Rehearsing,
        errors={409: "There is no such endpoint any more, or it is disabled."},
    ),
    "DELETE /notify/dead/{number}": Told(
        {200: _json("It is thrown away, or (dry run) would be.", answers.LetterOrdered)}, query=queries.Rehearsing
    ),
    "POST /webhook/failure": Told(
        {202: _json("It is on disk.", answers.Accepted)},
        body=Report,
        forms={"a webhook of Alertmanager's or Grafana's": {"type": "object", "required": ["alerts"]}},
        errors={
            401: "The signature is missing, malformed or wrong.",
            409: "It was sent before, or is older than what was taken.",
            503: "No secret is configured, or it did not reach the disk in time: send it again.",
        },
        examples={"a device has trouble": {"device": "edge1", "reason": "link_flap", "evidence": {"port": "ge-0/0/1"}}},
        parameters=(
            {
                "name": "format",
                "in": "query",
                "description": "What the body is, where the sender's settings do not say.",
                "schema": {"type": "string", "enum": ["report", "alertmanager", "grafana"]},
            },
        ),
    ),
}
"""By method and path."""

_ALWAYS: Final = {
    403: "The Host header is not ours, this address is not allowed, or the key's role is too low.",
    429: "More was asked than is allowed: ask again after Retry-After.",
    503: "Too busy, or the journal does not answer: ask again after Retry-After.",
}
_ABOUT: Final = (
    "Keys travel as `X-API-Key: KEY` or `Authorization: Bearer KEY`. Each role may do what those before it may: "
    "read, operate, admin. Where no key is configured, reading is open on loopback. Every change is an event with "
    "the name of the key.\n\n"
    "An error is a problem document (RFC 9457) that says what would be right. Times are RFC 3339, UTC. A body has "
    "at most 64 KiB, a header 16 KiB; a request has to arrive within 30 s. Lists come in pages: `next_cursor` and "
    "the Link header lead on. Parameters that there are not are refused, not passed over. HEAD is possible "
    "wherever GET is; no other site's page may ask from a browser (no CORS). What is malformed or too large may "
    "be refused with 400, 413 or 431 before anything is looked at."
)
_SCHEMES: Final[Schema] = {
    "key": {"type": "apiKey", "in": "header", "name": KEY_HEADER},
    "bearer": {"type": "http", "scheme": "bearer"},
    "hub": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Hub-Signature-256",
        "description": "sha256=<hex of HMAC-SHA256 over the raw body>, as GitHub signs",
    },
    "standard": {
        "type": "apiKey",
        "in": "header",
        "name": "webhook-signature",
        "description": "Standard Webhooks, with webhook-id and webhook-timestamp",
    },
}


def operations(app: Flask) -> Iterator[Operation]:
    """Every path, method and endpoint of an application, in order; HEAD and OPTIONS go without saying."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: (rule.rule, rule.endpoint)):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield _VARIABLE.sub(r"{\g<name>}", rule.rule), method, rule.endpoint


def describe(app: Flask, version: str) -> Schema:
    """The description of an application."""
    schemas = _Schemas()
    found = list(operations(app))
    told = {(path, method): CONTRACT.get(f"{method} {path}", Told({})) for path, method, _ in found}
    for each in told.values():
        schemas.want(each.query, each.body, *(one for answer in each.answers.values() for one in answer.media.values()))
    schemas.want(answers.Problem)
    schemas.make()
    paths: dict[str, Schema] = {}
    for path, method, endpoint in found:
        paths.setdefault(path, {})[method.lower()] = _operation(app, path, endpoint, told[path, method], schemas)
    # Those of queries have become parameters.
    for query in {each.query for each in told.values() if each.query is not None}:
        schemas.shared.pop(query.__name__, None)
    return {
        "openapi": VERSION,
        "info": {
            "title": "exabgp-bfd",
            "summary": "Routes that follow BFD sessions",
            "version": version,
            "description": _ABOUT,
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(endpoint.partition(".")[0] for _, _, endpoint in found)],
        "paths": paths,
        "components": {"securitySchemes": _SCHEMES, "schemas": schemas.shared},
    }


def _operation(app: Flask, path: str, endpoint: str, told: Told, schemas: _Schemas) -> Schema:
    access = access_of(app, endpoint)
    text = inspect.cleandoc(app.view_functions[endpoint].__doc__ or "")
    blueprint, _, name = endpoint.partition(".")
    operation: Schema = {
        "operationId": f"{blueprint}_{name}" if name else blueprint,
        "summary": text.partition("\n")[0],
        "tags": [blueprint],
        "x-role": access,
        "parameters": [*_variables(app, endpoint), *schemas.parameters(told.query), *told.parameters],
        "security": _security(access),
        "responses": {
            str(status): answer
            for status, answer in sorted(
                {
                    **_errors(path, access, told),
                    **{status: schemas.answer(one) for status, one in told.answers.items()},
                }.items()
            )
        },
    }
    if told.body is not None:
        operation["requestBody"] = {
            "required": not told.bodiless,
            "content": {
                JSON: {
                    "schema": schemas.body(told),
                    "examples": {name: {"value": value} for name, value in told.examples.items()},
                }
            },
        }
    return operation


def _security(access: Access) -> list[Schema]:
    match access:
        case "none":
            return []
        case "hmac":
            return [{"hub": []}, {"standard": []}]
        case role:
            return [{"key": [role]}, {"bearer": [role]}]


def _variables(app: Flask, endpoint: str) -> Iterator[Schema]:
    kinds: dict[str, Schema] = {
        "int": {"type": "integer", "minimum": 0},
        "path": {"type": "string", "minLength": 1},
    }
    rule = next(rule for rule in app.url_map.iter_rules() if rule.endpoint == endpoint)
    for found in _VARIABLE.finditer(rule.rule):
        schema = kinds.get(found["converter"] or "", {"type": "string", "minLength": 1, "pattern": "^[^/]+$"})
        about = _OF_PATHS.get(found["name"], "")
        yield {"name": found["name"], "in": "path", "required": True, "schema": schema, "description": about}


def _errors(path: str, access: Access, told: Told) -> dict[int, Schema]:
    found = dict(_ALWAYS)
    if access != "none":
        found[401] = "There is no key, or it is not known here."
    if "{" in path:
        found[404] = "There is nothing of that name."
    if told.query is not None or told.body is not None:
        found[422] = "A parameter or a part of the body is not valid: `errors` names each."
    if told.body is not None:
        found[400] = "The body is no JSON."
        found[413] = "The body is too large."
    return {status: _problem(status, what) for status, what in {**found, **told.errors}.items()}


def _problem(status: int, what: str) -> Schema:
    problem: Schema = {
        "description": what,
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}},
    }
    named = {
        HTTPStatus.UNAUTHORIZED: "WWW-Authenticate",
        HTTPStatus.TOO_MANY_REQUESTS: "Retry-After",
        HTTPStatus.SERVICE_UNAVAILABLE: "Retry-After",
    }.get(HTTPStatus(status))
    if named is not None:
        problem["headers"] = {named: {"description": _HEADERS[named], "schema": _TEXT}}
    return problem


class _Honest(GenerateJsonSchema):
    """Says nothing of what a function alone knows, where it does not say it with WithJsonSchema: any value."""

    def handle_invalid_for_json_schema(
        self,
        schema: core_schema.CoreSchema,  # noqa: ARG002 - pydantic's own signature
        error_info: str,
    ) -> JsonSchemaValue:
        """Any value; tests look for what is left like this."""
        return {"description": f"({error_info})"}


class _Schemas:
    """The schemas of all models that are wanted, made together so that each is there once."""

    def __init__(self) -> None:
        self._wanted: dict[int, Any] = {}
        self._made: dict[int, JsonSchemaValue] = {}
        self.shared: Schema = {}

    def want(self, *models: Any) -> None:  # noqa: ANN401 - whatever pydantic has a schema of
        """Notes models; None is none."""
        self._wanted |= {id(model): model for model in models if model is not None}

    def make(self) -> None:
        """Makes the schemas of all that was wanted."""
        inputs = [(key, "validation", TypeAdapter(model)) for key, model in self._wanted.items()]
        made, shared = TypeAdapter.json_schemas(
            inputs,  # type: ignore[arg-type]  # the mode is one of two literals
            ref_template=_REFERENCE,
            schema_generator=_Honest,
        )
        self._made = {key: schema for (key, _), schema in made.items()}
        self.shared = _plain(shared.get("$defs", {}))

    def _of(self, model: object) -> Schema:
        schema: Schema = _plain(self._made[id(model)])
        return schema

    def answer(self, answer: Answer) -> Schema:
        """An answer that is no error."""
        response: Schema = {"description": answer.what}
        if answer.media:
            response["content"] = {
                media: {"schema": _TEXT if schema is None else self._of(schema)}
                for media, schema in answer.media.items()
            }
        if answer.headers:
            response["headers"] = {
                name: {"description": what, "schema": _TEXT} for name, what in answer.headers.items()
            }
        return response

    def body(self, told: Told) -> Schema:
        """A body, in each form that it may have."""
        own = self._of(told.body)
        if not told.forms:
            return own
        others = [{"title": title, **schema} for title, schema in told.forms.items()]
        return {"anyOf": [own, *others]}

    def parameters(self, query: type[BaseModel] | None) -> Iterator[Schema]:
        """The parameters of a query, each as its field is."""
        if query is None:
            return
        model = self._resolved(self._of(query))
        for name, schema in model["properties"].items():
            # In a query there is no null: leaving it out says that.
            choices = schema.get("anyOf", [])
            left = [choice for choice in choices if choice.get("type") != "null"]
            itself = schema if left == choices else left[0] if len(left) == 1 else {"anyOf": left}
            about = {key: schema[key] for key in ("default", "description") if schema.get(key) is not None}
            one = {key: value for key, value in itself.items() if key != "default"} | about
            description = one.pop("description", "")
            parameter: Schema = {
                "name": name,
                "in": "query",
                "required": name in model.get("required", ()),
                "schema": {key: value for key, value in one.items() if key != "title"},
            }
            yield parameter | ({"description": description} if description else {})

    def _resolved(self, schema: Schema) -> Schema:
        reference = schema.get("$ref")
        return schema if reference is None else self.shared[reference.rpartition("/")[2]]


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Without the titles that pydantic makes of names."""
    if isinstance(value, dict):
        named = "properties" in value
        return (
            {
                key: {name: _untitled(_plain(one)) for name, one in item.items()}
                if key == "properties"
                else _plain(item)
                for key, item in value.items()
            }
            if named
            else {key: _plain(item) for key, item in value.items()}
        )
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _untitled(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != "title"}
