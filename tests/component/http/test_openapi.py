"""/openapi.json: it is complete, and true of the routes and their guards."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from quart_schema.validation import (
    QUART_SCHEMA_REQUEST_ATTRIBUTE,
    QUART_SCHEMA_RESPONSE_ATTRIBUTE,
)

from server.http.openapi.document import ANSWERS, GUARDED, every_operation, keys_of, security
from server.http.openapi.operations import VARIABLE
from server.http.openapi.tables import TABLES
from tests.support.http import Caller
from tools.api_pages import PAGE, page
from tools.process import REPOSITORY

OPERATIONS = {key: operation for key, _, operation in every_operation()}
# Files for browsers, the document itself, and the route of another system's API.
FOR_BROWSERS = {
    "POST /api/v2/write",
    "GET /static/<path:filename>",
    "GET /openapi.json",
    "GET /docs",
    "GET /display",
    "GET /zone",
    "GET /alarms",
    "GET /admin/<section>",
    "GET /favicon.ico",
    "GET /robots.txt",
    "GET /auth/display",
    "POST /auth/display",
}


@pytest.fixture
async def document(container):
    return (await Caller(container.app).get("/openapi.json")).json()


def operations_of(document):
    return {
        f"{method.upper()} {path}": described
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    }


def every_node(node):
    """All objects in a document."""
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node:
        if isinstance(inner, dict | list):
            yield from every_node(inner)


async def test_every_reference_resolves(document):
    refs = {node["$ref"] for node in every_node(document) if isinstance(node.get("$ref"), str)}
    names = {ref.removeprefix("#/components/schemas/") for ref in refs}
    assert len(names) > 30
    assert names - set(document["components"]["schemas"]) == set()


async def test_every_route_is_in_a_table_and_every_row_is_a_route(container):
    """A new route needs an `Operation` in server/http/openapi/tables.py."""
    routes = {key for rule in container.app.url_map.iter_rules() for key in keys_of(rule)}
    assert routes - FOR_BROWSERS == set(OPERATIONS)


async def test_every_operation_has_a_name_a_summary_a_tag_and_its_errors(document):
    found = operations_of(document)
    names = [one["operationId"] for one in found.values()]
    assert len(set(names)) == len(names) == len(OPERATIONS)
    tags = {tag["name"] for tag in document["tags"]}
    for key, one in found.items():
        assert re.fullmatch(r"[A-Z][^\n]{8,79}[^.\n]", one["summary"]), key
        assert set(one["tags"]) <= tags, key
        assert one["tags"], key
        assert all(answer["description"] for answer in one["responses"].values()), key
        assert all(parameter["description"] for parameter in one["parameters"]), key


async def test_the_security_of_an_operation_is_that_of_its_guard(container, document):
    """A route without a guard says in its `Operation` who may call it."""
    views, described = container.app.view_functions, operations_of(document)
    for rule in container.app.url_map.iter_rules():
        for key in set(keys_of(rule)) - FOR_BROWSERS:
            role = getattr(views[rule.endpoint], "required_role", None)
            access = OPERATIONS[key].access
            assert bool(role) != bool(access), f"{key} needs a guard or an `access`"
            shown = described[VARIABLE.sub(r"{\1}", key)]["security"]
            assert shown == security(role or access), key
            if role is not None:
                ways = ["sessionCookie", "sessionHeader"] + ["bearer"] * (role != "admin")
                assert shown == [{way: [role]} for way in ways], key
    schemes = set(document["components"]["securitySchemes"])
    used = {name for one in described.values() for way in one["security"] for name in way}
    assert used == schemes
    assert set(GUARDED) == {"read-only", "operator", "admin"}


async def test_a_body_is_required_and_its_optional_fields_have_no_default(document):
    schemas, found = document["components"]["schemas"], operations_of(document)
    bodies = {key: one["requestBody"] for key, one in found.items() if "requestBody" in one}
    optional = {key for key, body in bodies.items() if body["required"] is False}
    assert optional == {
        "POST /auth/logout",
        "POST /api/set_setpoint",
        "POST /api/alarms/{alarm_id}/acknowledge",
    }
    assert len(bodies) >= 10
    for body in bodies.values():
        schema = body["content"]["application/json"]["schema"]
        name = (schema.get("items") or schema)["$ref"].rpartition("/")[2]
        assert not any("default" in one for one in schemas[name]["properties"].values()), name


@pytest.mark.parametrize(
    ("key", "name", "expected"),
    [
        ("GET /api/telemetry", "limit", {"minimum": 1, "maximum": 1000, "default": 100}),
        ("GET /api/telemetry/series", "device_id", {"minItems": 1, "maxItems": 20}),
    ],
)
async def test_a_query_says_its_ranges(document, key, name, expected):
    parameters = operations_of(document)[key]["parameters"]
    (schema,) = (one["schema"] for one in parameters if one["name"] == name)
    assert expected.items() <= schema.items()


async def test_a_body_says_its_ranges_and_required_fields(document):
    schemas = document["components"]["schemas"]
    setpoint = schemas["SetSetpoint"]["properties"]["setpoint_tenths"]["anyOf"]
    assert {"type": "integer", "minimum": 100, "maximum": 400} in setpoint
    assert schemas["Login"]["required"] == ["username", "password"]
    assert schemas["NewUser"]["properties"]["password"]["minLength"] == 12


async def test_a_device_in_a_path_is_described_as_in_a_body(document):
    (in_path,) = operations_of(document)["GET /api/zones/{device_id}"]["parameters"]
    in_body = document["components"]["schemas"]["RegisterDevice"]["properties"]["device_id"]
    assert in_path["schema"] == in_body


async def test_the_stream_names_its_events_and_their_data(document):
    stream = operations_of(document)["GET /api/sse/telemetry"]["responses"]["200"]
    events = stream["content"]["text/event-stream"]["x-events"]
    assert {"hello", "snapshot", "telemetry", "setpoint", "heartbeat", "bye"} <= set(events)


async def test_every_example_is_what_the_route_takes_and_answers(container, document):
    views, described = container.app.view_functions, operations_of(document)
    for rule in container.app.url_map.iter_rules():
        for key in set(keys_of(rule)) - FOR_BROWSERS:
            view, one = views[rule.endpoint], described[VARIABLE.sub(r"{\1}", key)]
            (answer,) = one["responses"]["200"]["content"].values()
            if 200 in (models := getattr(view, QUART_SCHEMA_RESPONSE_ATTRIBUTE, {})):
                msgspec.convert(answer["example"], models[200][0])
            else:
                assert isinstance(answer["example"], str), key
            if body := getattr(view, QUART_SCHEMA_REQUEST_ATTRIBUTE, None):
                msgspec.convert(
                    one["requestBody"]["content"]["application/json"]["example"], body[0]
                )


def test_the_page_of_the_routes_is_as_the_tables_say():
    """`.venv/bin/python -m tools.api_pages` records the answers and writes the page."""
    answers = json.loads(ANSWERS.read_text(encoding="utf-8"))
    assert set(answers) == {operation.name for operation in OPERATIONS.values()}
    assert (REPOSITORY / PAGE).read_text(encoding="utf-8") == page(answers)
    assert all(about for about, _ in TABLES.values())
