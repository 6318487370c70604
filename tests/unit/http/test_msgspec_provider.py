"""The provider over msgspec: references, lists, what a caller may send and what always comes."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType
from quart import Quart
from quart_schema import (
    QuartSchema,
    document_request,
    document_response,
    validate_querystring,
)

from server.http.openapi.msgspec_provider import MsgspecProvider


class Inner(Struct):
    """An inner
    type."""

    size: int


class Outer(Struct):
    inner: Inner
    rows: list[Inner]
    note: str = ""
    extra: int | UnsetType = UNSET


class Sparse(Struct, omit_defaults=True):
    size: int
    note: str = ""


class Sent(Struct):
    name: Annotated[str, Meta(extra_json_schema={"x-required": True})] = ""
    size: int = 3
    inner: Inner | None = None


class Asked(Struct):
    limit: Annotated[int, Meta(ge=1, le=9)] = 5
    device: list[str] | str = ""
    start: int | None = None


def document():
    app = Quart(__name__)
    schema = QuartSchema(app, openapi_provider_class=MsgspecProvider)

    @app.post("/outer")
    @document_response(Outer)
    @document_response(Sparse, 201)
    @document_request(Sent)
    async def outer() -> str:
        return ""

    @app.get("/rows")
    @document_response(list[Inner])
    @validate_querystring(Asked)
    async def rows() -> str:
        return ""

    return schema.openapi_provider.schema()


def test_every_type_in_a_type_has_a_schema():
    assert set(document()["components"]["schemas"]) == {"Inner", "Outer", "Sparse", "Sent"}


def test_a_list_is_an_array():
    answer = document()["paths"]["/rows"]["get"]["responses"][200]
    assert answer["content"]["application/json"]["schema"] == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Inner"},
    }


def test_a_field_with_a_default_always_comes_unless_the_type_omits_defaults():
    schemas = document()["components"]["schemas"]
    assert schemas["Outer"]["required"] == ["inner", "rows", "note"]
    assert schemas["Sparse"]["required"] == ["size"]
    assert "default" not in str(schemas)


def test_a_body_needs_its_required_fields_alone():
    found = document()
    body = found["paths"]["/outer"]["post"]["requestBody"]
    assert body["required"] is True
    assert found["components"]["schemas"]["Sent"]["required"] == ["name"]
    assert "x-required" not in str(found)


def test_a_query_shows_its_default_and_range_and_no_null():
    parameters = document()["paths"]["/rows"]["get"]["parameters"]
    assert {one["name"]: one["schema"] for one in parameters} == {
        "limit": {"type": "integer", "minimum": 1, "maximum": 9, "default": 5},
        "device": {"type": "array", "items": {"type": "string"}},
        "start": {"type": "integer"},
    }
    assert not any(one["required"] for one in parameters)


def test_a_description_of_several_lines_has_no_indent():
    assert document()["components"]["schemas"]["Inner"]["description"] == "An inner\ntype."
