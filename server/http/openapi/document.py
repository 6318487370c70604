"""The server's OpenAPI document: the routes as the code has them, with the words of the tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
from quart import Quart, Response, has_request_context, request
from quart_schema import hide
from werkzeug.routing.rules import Rule

from server.http.openapi.msgspec_provider import (
    MsgspecProvider,
    Schema,
    for_answer,
    phrase,
    schemas,
)
from server.http.openapi.operations import (
    DEVICE,
    EVENTS,
    JSON,
    METRICS,
    PARAMETERS,
    PUBLIC,
    TOKEN_OR_SESSION,
    VARIABLE,
    Operation,
)
from server.routes.models import DeviceId

ANSWERS = Path(__file__).with_name("answers.json")
GUARDED = ("read-only", "operator", "admin")
HIDDEN = {"OPTIONS", "HEAD"}
ANY_PART: Schema = {"type": "string", "minLength": 1}
# What the part of a path with this name may be, where the view refuses another with 400.
PATH_PARTS: dict[str, Schema] = {"device_id": msgspec.json.schema(DeviceId)}
# A trusted proxy names the prefix; there is hardly ever more than one.
PREFIXES_MAX = 4
RETRIED = {423, 429, 503}

SCHEMES: dict[str, Schema] = {
    "sessionCookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "bas_session_id",
        "description": "The session that POST /auth/login gives",
    },
    "sessionHeader": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Session-ID",
        "description": "The cookie's value, for programs",
    },
    "deviceKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Device-Key",
        "description": "A device's key, which `register-device` prints",
    },
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API token; a device's key; for figures the BAS_METRICS_TOKEN",
    },
}


class ApiDocument(MsgspecProvider):
    """Describes every route that has an `Operation`."""

    def generate_rules(self) -> Iterable[Rule]:
        """The routes in the order of the tables."""
        known = {key: rule for rule in self._app.url_map.iter_rules() for key in keys_of(rule)}
        wanted = [known[key] for key, _, _ in every_operation() if key in known]
        return {id(rule): rule for rule in wanted}.values()

    def schema(self) -> Schema:
        """The whole document, OpenAPI 3.1."""
        # Imported when it is asked for: the texts take memory, and few ask.
        from server.http.openapi.tables import TABLES

        document = super().schema()
        paths = document["paths"]
        for key, tag, operation in every_operation():
            method, _, path = key.partition(" ")
            described = paths.get(VARIABLE.sub(r"{\1}", path), {}).get(method.lower())
            if described is not None:
                self._complete(described, key, tag, operation)
        components = document["components"]
        components["schemas"] |= _events()
        components["schemas"] = dict(sorted(components["schemas"].items()))
        components["securitySchemes"] = SCHEMES
        document["paths"] = dict(paths)
        if has_request_context() and request.root_path:
            document["servers"] = [{"url": request.root_path}]
        document["tags"] = [
            {"name": tag, "description": about} for tag, (about, _) in TABLES.items()
        ]
        return document

    def role_of(self, key: str) -> str:
        """The role that the guard of a route demands; "" if none guards it."""
        for rule in self._app.url_map.iter_rules():
            if key in keys_of(rule):
                return str(getattr(self._app.view_functions[rule.endpoint], "required_role", ""))
        return ""

    def _complete(self, described: Schema, key: str, tag: str, operation: Operation) -> None:
        described["operationId"] = operation.name
        described["summary"] = operation.summary
        described.pop("description", None)
        if operation.text:
            described["description"] = operation.text
        described["tags"] = [tag]
        described["security"] = security(operation.access or self.role_of(key))
        for parameter in described["parameters"]:
            parameter["description"] = PARAMETERS.get(parameter["name"], "")
            if parameter["in"] == "path":
                parameter["schema"] = PATH_PARTS.get(parameter["name"], ANY_PART)
                parameter["example"] = operation.path.get(parameter["name"], "")
            elif values := parse_qs(operation.query).get(parameter["name"]):
                parameter["example"] = _typed(values, parameter["schema"])
        if "requestBody" in described:
            _complete_body(described["requestBody"], operation)
        _complete_answers(described["responses"], operation)


def add_document(app: Quart) -> None:
    """Add /openapi.json. The document is made once for each path prefix: that takes a while."""
    made: dict[str, tuple[bytes, str]] = {}

    @hide
    async def openapi() -> Response:
        prefix = request.root_path
        if prefix not in made:
            if len(made) >= PREFIXES_MAX:
                made.clear()
            body = msgspec.json.encode(app.extensions["QUART_SCHEMA"].openapi_provider.schema())
            made[prefix] = body, hashlib.sha256(body).hexdigest()[:16]
        body, tag = made[prefix]
        response = Response(body, mimetype="application/json")
        # Weak, since it is the same one for the packed body.
        response.set_etag(tag, weak=True)
        await response.make_conditional(request)
        return response

    app.add_url_rule("/openapi.json", "openapi", openapi)


def keys_of(rule: Rule) -> Iterator[str]:
    """The keys of a route in the tables: "GET /api/users/<username>"."""
    for method in sorted((rule.methods or set()) - HIDDEN):
        yield f"{method} {rule.rule}"


def every_operation() -> Iterator[tuple[str, str, Operation]]:
    """Key, tag and operation, in the order of the docs."""
    from server.http.openapi.tables import TABLES

    for tag, (_, operations) in TABLES.items():
        for key, operation in operations.items():
            yield key, tag, operation


@cache
def answers() -> dict[str, Any]:
    """The recorded answer of each operation's example by the operation's name."""
    found: dict[str, Any] = json.loads(ANSWERS.read_text(encoding="utf-8"))
    return found


def security(access: str) -> list[dict[str, list[str]]]:
    """What a caller must send: one of these. An empty object stands for nothing."""
    roles = [access] if access in GUARDED else []
    session = [{"sessionCookie": roles}, {"sessionHeader": roles}]
    if roles and access != "admin":
        session.append({"bearer": roles})
    ways: dict[str, list[dict[str, list[str]]]] = {
        PUBLIC: [],
        DEVICE: [{}, {"deviceKey": []}, {"bearer": []}, *session],
        METRICS: [{}, {"bearer": []}],
        TOKEN_OR_SESSION: [{"bearer": []}, *session],
    }
    return ways.get(access, session)


def _typed(values: list[str], schema: Schema) -> Any:
    """The values of a query's parameter as its schema types them."""
    if schema.get("type") == "array":
        return values
    return int(values[0]) if schema.get("type") == "integer" else values[0]


def _complete_body(body: Schema, operation: Operation) -> None:
    content = body["content"]
    body["required"] = not operation.body_optional
    content[JSON]["schema"] |= operation.body_rule
    content[JSON]["example"] = operation.body
    for kind in operation.body_types:
        content[kind] = {"schema": {"type": "string"}}


def _complete_answers(responses: dict[Any, Schema], operation: Operation) -> None:
    good = responses.setdefault(200, {"description": operation.summary, "content": {}})
    if operation.content != JSON:
        good["content"] = {operation.content: {"schema": {"type": "string"}}}
    good["description"] = good["description"] or operation.summary
    (media,) = good["content"].values()
    example = answers().get(operation.name)
    if example is not None:
        media["example"] = example
    if operation.content == EVENTS:
        media["x-events"] = {name: _ref(of.__name__) for name, of in _event_types().items()}
    if operation.headers:
        good["headers"] = {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in operation.headers.items()
        }
    for status, answer in list(responses.items()):
        if status >= 400 and "ErrorBody" in str(answer["content"]):
            answer["description"] = phrase(status)
        if status in RETRIED:
            answer["headers"] = {
                "Retry-After": {
                    "description": "After how many seconds a retry may succeed",
                    "schema": {"type": "integer", "minimum": 0},
                }
            }
    ordered = {str(status): responses[status] for status in sorted(responses)}
    responses.clear()
    responses.update(ordered)


def _event_types() -> dict[str, Any]:
    from server.http.openapi.stream_events import EVENTS

    return EVENTS


def _events() -> dict[str, Schema]:
    """The schemas of the stream's events."""
    types = _event_types()
    _, components = schemas(types.values())
    sparse = {one.__name__ for one in types.values() if one.__struct_config__.omit_defaults}
    return {name: for_answer(one, is_sparse=name in sparse) for name, one in components.items()}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
