"""An OpenAPI document from msgspec types in which every `$ref` has its schema.

Quart-Schema's own provider puts only the first of the schemas that msgspec makes for a type into
the document (pgjones/quart-schema#117), and describes a list as one of its items. This provider is
passed to `QuartSchema(openapi_provider_class=…)` and knows nothing of this server.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import inspect as types
from quart_schema.openapi import OpenAPIProvider

REF = "#/components/schemas/{name}"

Schema = dict[str, Any]
Schemas = dict[str, Schema]

# A field with this in its `extra_json_schema` is described as required although it has a default:
# the view answers with an error of its own if it is missing.
REQUIRED = "x-required"


class MsgspecProvider(OpenAPIProvider):
    """Describes msgspec types: of requests what a caller may send, of answers what always comes."""

    def build_querystring_parameters(self, model: Any) -> tuple[list[Schema], Schemas]:
        """A parameter for each field; a default shows, unless it means the same as leaving out."""
        (_,), components = schemas([model])
        described = for_query(components.pop(model.__name__))
        required = described.get("required", ())
        parameters = [
            {"name": name, "in": "query", "required": name in required, "schema": one}
            for name, one in described["properties"].items()
        ]
        return parameters, components

    def build_request_body(self, model: Any, source: object) -> tuple[Schema, Schemas]:
        """A JSON body; `source` is not looked at."""
        (schema,), components = schemas([model])
        for name, component in components.items():
            components[name] = for_request(component)
        return {"required": True, "content": {"application/json": {"schema": schema}}}, components

    def build_response_object(self, model: Any, headers_model: Any) -> tuple[Schema, Schemas]:
        """A JSON answer; `headers_model` is not looked at."""
        (schema,), components = schemas([model])
        sparse = {one.__name__ for one in structs([model]) if one.__struct_config__.omit_defaults}
        for name, component in components.items():
            components[name] = for_answer(component, is_sparse=name in sparse)
        about = inspect.getdoc(model) if inspect.isclass(model) else ""
        answer = {"description": about or "", "content": {"application/json": {"schema": schema}}}
        return answer, components


def schemas(models: Iterable[Any]) -> tuple[list[Schema], Schemas]:
    """The schemas of the models, and those of every type in them by name."""
    found, components = msgspec.json.schema_components(models, ref_template=REF)
    for component in components.values():
        if "description" in component:
            component["description"] = inspect.cleandoc(component["description"])
    return list(found), dict(components)


def for_request(schema: Schema) -> Schema:
    """A body's schema: without defaults, which generators take for values that must be sent."""
    changed = _with_required(schema)
    for one in changed.get("properties", {}).values():
        one.pop("default", None)
    return changed


def for_query(schema: Schema) -> Schema:
    """The schema of a query's values: texts, of which the empty one is the same as none."""
    changed = _with_required(schema)
    changed["properties"] = {name: _in_query(one) for name, one in changed["properties"].items()}
    return changed


def _with_required(schema: Schema) -> Schema:
    properties = {name: dict(one) for name, one in schema.get("properties", {}).items()}
    required = {name for name, one in properties.items() if one.pop(REQUIRED, False)}
    required.update(schema.get("required", ()))
    return _with(schema, properties, required) if properties else dict(schema)


def for_answer(schema: Schema, *, is_sparse: bool) -> Schema:
    """An answer's schema: a field with a default always comes, unless the type omits defaults."""
    properties = {name: dict(one) for name, one in schema.get("properties", {}).items()}
    if not properties:
        return schema
    with_default = {name for name, one in properties.items() if "default" in one}
    for name in with_default:
        del properties[name]["default"]
    required = {*schema.get("required", ()), *(() if is_sparse else with_default)}
    return _with(schema, properties, required)


def structs(models: Iterable[Any]) -> set[type[msgspec.Struct]]:
    """Every msgspec struct in the models, at any depth."""
    found: set[type[msgspec.Struct]] = set()
    for one in types.multi_type_info(list(models)):
        _collect(one, found)
    return found


def _collect(of: types.Type, found: set[type[msgspec.Struct]]) -> None:
    if isinstance(of, types.StructType):
        if of.cls in found:
            return
        found.add(of.cls)
    for inner in _inner(of):
        _collect(inner, found)


def _inner(of: types.Type) -> Iterator[types.Type]:
    if isinstance(of, types.StructType):
        yield from (field.type for field in of.fields)
    elif isinstance(of, types.UnionType):
        yield from of.types
    elif isinstance(of, types.ListType):
        yield of.item_type
    elif isinstance(of, types.DictType):
        yield from (of.key_type, of.value_type)
    elif isinstance(of, types.Metadata):
        yield of.type


def _in_query(schema: Schema) -> Schema:
    """A query's value: a text cannot be null, and an empty one is the same as none."""
    if "anyOf" in schema:
        kinds = [one for one in schema["anyOf"] if one.get("type") != "null"]
        arrays = [one for one in kinds if one.get("type") == "array"]
        (one,) = arrays or kinds
        schema = {**one, **{key: value for key, value in schema.items() if key != "anyOf"}}
    if schema.get("default", "") in ("", None):
        schema = {key: value for key, value in schema.items() if key != "default"}
    return schema


def _with(schema: Schema, properties: Schemas, required: set[str]) -> Schema:
    changed = {**schema, "properties": properties}
    changed.pop("required", None)
    if required:
        changed["required"] = [name for name in properties if name in required]
    return changed


def phrase(status: int) -> str:
    """What a status means in HTTP."""
    return HTTPStatus(status).phrase
