"""The API's description is what the application is: every route, parameter, role, answer and error, no other."""

import ast
import inspect
import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Literal

import pytest
from api.box import Box
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, WithJsonSchema

from exabgp_bfd.web import api, bodies, gate, openapi
from exabgp_bfd.web.api import docs
from exabgp_bfd.web.backend import WebSettings
from exabgp_bfd.web.server import create_app

PUBLIC = {"none", "hmac"}


@pytest.fixture(scope="module")
def document():
    app = create_app(Box(), WebSettings("127.0.0.1", 0))
    response = app.test_client().get("/openapi.json", environ_base={"REMOTE_ADDR": "127.0.0.1"})
    assert response.status_code == 200
    assert response.content_type == "application/json"
    return response.get_json()


def each(document):
    return [
        (path, method.upper(), operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def address(path):
    return path.replace("{name}", "dns").replace("{ticket}", "a-ticket").replace("{number}", "7")


def test_every_route_is_in_it_and_nothing_else(app, document):
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method): gate.access_of(app, rule.endpoint)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {(path, method): operation["x-role"] for path, method, operation in each(document)}
    assert described == routes


def test_every_route_has_its_entry_and_every_entry_its_route(document):
    """Without one only its role, its path and the errors of all would be told."""
    assert {f"{method} {path}" for path, method, _ in each(document)} == set(openapi.CONTRACT)


def test_every_operation_says_what_it_is_and_has_a_name_of_its_own(document):
    names = [operation["operationId"] for _, _, operation in each(document)]
    assert len(set(names)) == len(names)
    for path, method, operation in each(document):
        assert operation["summary"], (method, path)
        assert any(status.startswith(("2", "3")) for status in operation["responses"]), (method, path)
        assert all(answer["description"] for answer in operation["responses"].values())


def test_the_role_is_in_the_security_and_401_and_403_among_the_answers(document):
    for path, method, operation in each(document):
        role = operation["x-role"]
        if role in PUBLIC:
            assert not any("key" in one or "bearer" in one for one in operation["security"])
        else:
            assert operation["security"] == [{"key": [role]}, {"bearer": [role]}], (method, path)
        assert ("401" in operation["responses"]) == (role != "none")
        assert {"403", "429", "503"} <= set(operation["responses"])


def test_every_error_is_a_problem_document(document):
    for path, method, operation in each(document):
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert set(answer["content"]) == {"application/problem+json"}, (method, path, status)


@pytest.mark.parametrize("method_and_path", sorted(openapi.CONTRACT))
def test_the_parameters_are_those_that_the_view_takes(client, admin, document, method_and_path, backend):
    """The refusal of one that there is not names those that there are: by the view itself, not by CONTRACT."""
    method, path = method_and_path.split(" ")
    described = {
        one["name"]
        for one in document["paths"][path][method.lower()]["parameters"]
        if one["in"] == "query" and path != "/webhook/failure"
    }
    response = client.open(f"{address(path)}?no_such_parameter=1", method=method, headers=admin, json={})
    listed = re.search(r"there is no such parameter; there are ([a-z_, ]+)", response.get_data(as_text=True))
    assert described == (set(listed[1].split(", ")) if listed else set())
    assert (response.status_code == 422) >= bool(listed)


@pytest.mark.parametrize(
    "method_and_path", sorted(name for name, told in openapi.CONTRACT.items() if told.body and "webhook" not in name)
)
def test_the_body_is_the_one_that_the_view_takes(client, admin, problem, document, method_and_path):
    method, path = method_and_path.split(" ")
    refused = problem(client.open(address(path), method=method, headers=admin, json={"no_such_key": 1}), 422)
    listed = {name for one in refused["errors"] for name in re.findall(r"there are ([a-z_, ]+)", one["detail"])}
    body = document["paths"][path][method.lower()]["requestBody"]
    named = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    properties = document["components"]["schemas"][named]["properties"]
    assert {", ".join(properties)} == listed
    empty = client.open(address(path), method=method, headers=admin)
    assert (empty.status_code == 400) == body["required"], empty.data


@pytest.mark.parametrize("method_and_path", sorted(openapi.CONTRACT))
def test_whatever_takes_no_body_is_described_without_one(app, method_and_path):
    """Which views read a body, from their own source."""
    method, path = method_and_path.split(" ")
    endpoint = next(e for p, m, e in openapi.operations(app) if (m, p) == (method, path))
    source = inspect.getsource(app.view_functions[endpoint])
    reads = bool(re.search(r"bodies\.|[( ]clearing\(|_received\(|get_data|get_json", source))
    assert reads == (openapi.CONTRACT[method_and_path].body is not None)


def test_every_body_has_examples_and_the_view_takes_each(client, admin, signed, document, backend):
    tried = 0
    for path, method, operation in each(document):
        if "requestBody" not in operation:
            continue
        for name, example in operation["requestBody"]["content"]["application/json"]["examples"].items():
            body = json.dumps(example["value"]).encode()
            if method == "DELETE":
                client.put(address(path), json={"action": "freeze", "reason": "x"}, headers=admin)
                client.put(address(path), json={"reason": "x"}, headers=admin)
            response = client.open(address(path), method=method, data=body, headers={**admin, **signed(body)})
            assert response.status_code in {200, 201, 202}, (method, path, name, response.data)
            tried += 1
    bodied = sum("requestBody" in operation for _, _, operation in each(document))
    assert tried >= bodied > 0


def statuses(module):
    """The statuses of the errors that a module of views raises itself."""
    tree = ast.parse(inspect.getsource(module))
    return {
        HTTPStatus[node.attr].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Problem"
        for node in call.args[:1]
        if isinstance(node, ast.Attribute)
    }


def test_every_error_that_the_views_raise_is_in_it(app, document):
    for blueprint in app.blueprints:
        module = getattr(api, blueprint)
        described = {
            int(status)
            for _, _, operation in each(document)
            if operation["tags"] == [blueprint]
            for status in operation["responses"]
        }
        assert statuses(module) <= described, blueprint


def test_nothing_in_it_is_left_open(document):
    """Where a value is checked by a function alone, pydantic knows no schema: then `WithJsonSchema` says it."""
    text = json.dumps(document)
    assert "core_schema" not in text
    assert "PlainValidator" not in text
    for path, method, operation in each(document):
        for one in operation["parameters"]:
            assert one["schema"].keys() & {"type", "anyOf", "enum", "$ref"}, (method, path, one)
    for name, schema in document["components"]["schemas"].items():
        for key, one in schema.get("properties", {}).items():
            assert one.keys() & {"type", "anyOf", "enum", "const", "$ref"}, (name, key)


def test_whatever_may_be_said_is_described(document):
    """Each parameter and each key of a body, in words: /docs shows them."""
    for path, method, operation in each(document):
        for one in operation["parameters"]:
            assert one.get("description") or one["schema"].get("description"), (method, path, one["name"])
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(content.get("schema", {}))):
            for key, one in document["components"]["schemas"][name]["properties"].items():
                assert one.get("description"), (name, key)


def test_a_parameter_may_be_one_of_several_things_and_never_null():
    class Asking(BaseModel):
        several: Annotated[int, Field(ge=1)] | Literal["all"] | None = None
        one: Annotated[str | None, WithJsonSchema({"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]})] = None

    schemas = openapi._Schemas()
    schemas.want(Asking)
    schemas.make()
    several, one = (found["schema"] for found in schemas.parameters(Asking))
    assert several == {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "const": "all"}]}
    assert one == {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}


def test_every_reference_leads_somewhere(document):
    known = set(document["components"]["schemas"])
    wanted = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert wanted <= known
    assert wanted == known  # and nothing is there for nothing
    schemes = {name for _, _, operation in each(document) for one in operation["security"] for name in one}
    assert schemes == set(document["components"]["securitySchemes"])


@pytest.mark.parametrize("model", [bodies.Overriding, bodies.Walking, bodies.Reloading])
def test_what_the_schema_of_a_duration_or_oid_allows_is_taken(model):
    schema = TypeAdapter(model).json_schema()
    patterns = {name: one for name, one in schema["properties"].items() if "pattern" in json.dumps(one)}
    assert patterns
    for text in ("99999999", "99999999 s", "999999m", "9999h", "999d"):
        assert re.search(json.dumps(bodies._LASTING_SCHEMA["pattern"])[1:-1].replace("\\\\", "\\"), text)
        assert bodies.seconds(text if text != "99999999" else int(text)) <= bodies.LONGEST


def test_the_description_is_not_sent_again_and_never_kept_by_others(client):
    for path in ("/openapi.json", "/docs"):
        first = client.get(path)
        assert first.headers["Cache-Control"] == "private, no-cache"
        again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


def test_the_description_needs_the_role_read(keyed, key):
    for path in ("/", "/docs", "/openapi.json"):
        assert keyed.get(path).status_code == 401
        assert keyed.get(path, headers=key("read")).status_code == 200


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (None, 200),
        ("*/*", 200),
        ("application/json", 200),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 303),
        ("text/html", 303),
    ],
)
def test_a_browser_is_led_to_the_page_and_a_program_gets_the_list(client, accept, status):
    response = client.get("/", headers={"Accept": accept} if accept else {})
    assert response.status_code == status
    assert response.headers.get("Location") == ("/docs" if status == 303 else None)
    assert response.headers["Vary"] == "Accept"


class Page(HTMLParser):
    """What a page is made of, and whether it is whole."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.attributes, self.ids, self.text, self.links = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in {"href", "src", "action"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_needs_nothing_from_elsewhere_and_no_script(client):
    response = client.get("/docs")
    page = Page(response.get_data(as_text=True))
    assert not {"script", "iframe", "img", "link", "form", "object", "embed"} & set(page.tags)
    assert not [name for name in page.attributes if name.startswith("on") or name == "style"]
    assert all(link.startswith(("#", "/")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    style = re.search("<style>(.*)</style>", response.get_data(as_text=True), re.DOTALL)[1]
    assert f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_is_made_for_narrow_screens(client):
    """No width in it is fixed, long words break, and the examples wrap."""
    text = client.get("/docs").get_data(as_text=True)
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert "overflow-wrap:anywhere" in docs.STYLE
    assert "white-space:pre-wrap" in docs.STYLE
    assert not re.search(r"(?<!max-)(?<!min-)width:\s*[0-9.]+(px|rem|em)", docs.STYLE)
    assert "<table" not in text


def test_the_page_tells_everything(client, document):
    text = " ".join(Page(client.get("/docs").get_data(as_text=True)).text)
    for path, method, operation in each(document):
        assert path in text
        assert method in text
        for one in operation["parameters"]:
            assert one["name"] in text
        for answer in operation["responses"].values():
            assert answer["description"].replace("`", "") in text.replace("  ", " ") or "`" in answer["description"]
    for name in document["components"]["schemas"]:
        assert name in text


def test_the_page_escapes_whatever_it_is_given():
    evil = '<script>alert("x")</script>'
    operation = {
        "operationId": "x",
        "summary": f"`{evil}` {evil}",
        "x-role": evil,
        "parameters": [{"name": evil, "in": "query", "description": evil, "schema": {"enum": [evil]}}],
        "requestBody": {
            "required": True,
            "content": {evil: {"schema": {"type": evil}, "examples": {evil: {"value": evil}}}},
        },
        "responses": {"200": {"description": evil, "headers": {evil: {}}, "content": {evil: {"schema": {}}}}},
    }
    described = {
        "info": {"title": evil, "version": evil, "summary": evil, "description": evil},
        "paths": {evil: {"get": operation}},
        "components": {"schemas": {evil: {"description": evil, "properties": {evil: {"const": evil}}}}},
    }
    assert "script" not in Page(docs.page(described)).tags


def test_a_route_without_an_entry_is_described_by_itself(app):
    @app.get("/bare/<int:number>")
    @gate.needs("admin")
    def bare(number):
        """Nothing more is known of it."""

    operation = openapi.describe(app, "1")["paths"]["/bare/{number}"]["get"]
    assert operation["security"] == [{"key": ["admin"]}, {"bearer": ["admin"]}]
    assert operation["parameters"][0]["schema"] == {"type": "integer", "minimum": 0}
    assert {"401", "403", "404"} <= set(operation["responses"])


def test_the_models_of_examples_are_checked_by_more_than_their_schema():
    """The examples are tried on the views above; this holds that a wrong one would have been seen."""
    with pytest.raises(ValidationError):
        bodies.Overriding.model_validate({"action": "drain", "reason": "x", "ttl": "2 hours"})


def test_the_guide_lists_every_path_with_its_role(document):
    guide = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    section = guide.partition("## All paths")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([A-Z]+) ([^ `]+)` \| (\w+) \| \S", section, re.MULTILINE)
    described = [
        (method, path, operation["x-role"].replace("hmac", "signed")) for path, method, operation in each(document)
    ]
    assert sorted(listed) == sorted(described)


def test_there_is_one_module_a_tag(app):
    folder = Path(inspect.getfile(api)).parent
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(app.blueprints)
