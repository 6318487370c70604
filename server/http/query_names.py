"""Names in a query that the route does not know: shown in a header, or refused by new routes."""

from __future__ import annotations

import difflib
from functools import cache
from urllib.parse import quote

from msgspec import Struct
from msgspec.inspect import NoneType, StrType, UnionType, type_info
from quart import Quart, Response, request
from quart_schema.validation import QUART_SCHEMA_QUERYSTRING_ATTRIBUTE

from server.common.errors import Invalid, InvalidField
from server.http.openapi.document import every_operation

HEADER = "X-Unknown-Query"
SHOWN_MAX, NAME_MAX = 10, 64
# Callers of these may send what they like, as they always could. A route that is not here refuses
# an unknown name, since its caller would wait for an effect that does not come.
LENIENT = frozenset(
    (
        "/auth/login",
        "/auth/logout",
        "/auth/password",
        "/auth/status",
        "/api/health",
        "/api/sensor_data",
        "/api/sensor_data/batch",
        "/api/status",
        "/api/config",
        "/api/set_setpoint",
        "/api/telemetry",
        "/api/telemetry/window",
        "/api/telemetry/paginated",
        "/api/telemetry/statistics",
        "/api/telemetry/series",
        "/api/telemetry/export.csv",
        "/api/sse/telemetry",
        "/api/devices",
        "/api/devices/register",
        "/api/users",
        "/api/users/<username>",
        "/api/users/<username>/password",
        "/api/users/<username>/unlock",
        "/api/users/<username>/sessions",
        "/api/audit",
        "/api/audit/recent",
        "/api/metrics/zones",
    )
)


def add_query_names(app: Quart) -> None:
    """Check the names of every query of the server's own routes below /api and /auth.

    What a view of a moved Flask application reads is not known.
    """

    async def refuse() -> None:
        rule = request.url_rule
        if rule is None or rule.rule in LENIENT or not rule.rule.startswith(("/api/", "/auth/")):
            return
        for name in unknown(app):
            near = difflib.get_close_matches(name[:NAME_MAX], known(app), 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known(app))}"
            raise Invalid("Unknown name in the query", "UNKNOWN_QUERY", f"{_shown(name)}: {hint}")

    async def show(response: Response) -> Response:
        rule = request.url_rule
        if rule is not None and rule.rule.startswith(("/api/", "/auth/")):
            names = unknown(app)
            if names:
                response.headers[HEADER] = ", ".join(map(_shown, names[:SHOWN_MAX]))
        return response

    app.before_request(refuse)
    app.after_request(show)
    _add_query_nulls(app)


def known(app: Quart) -> list[str]:
    """The names that the request's route reads."""
    view = app.view_functions[request.endpoint or ""]
    model = getattr(view, QUART_SCHEMA_QUERYSTRING_ATTRIBUTE, None)
    return list(model.__struct_fields__) if model else []


def _add_query_nulls(app: Quart) -> None:
    """Refuse the text `null` where a query has a number; msgspec would take it for none."""

    async def refuse() -> None:
        if b"null" not in request.query_string.lower():
            return
        view = app.view_functions.get(request.endpoint or "")
        model = getattr(view, QUART_SCHEMA_QUERYSTRING_ATTRIBUTE, None)
        for name in optional_numbers(model) if model else ():
            if any(value.lower() == "null" for value in request.args.getlist(name)):
                raise InvalidField(name, "null is no number: leave the name out")

    app.before_request(refuse)


@cache
def optional_numbers(model: type[Struct]) -> tuple[str, ...]:
    """The fields of a query that are a number or nothing."""
    kinds = {
        field.name: field.type.types if isinstance(field.type, UnionType) else (field.type,)
        for field in type_info(model).fields  # type: ignore[attr-defined]
    }
    return tuple(
        name
        for name, types in kinds.items()
        if any(isinstance(one, NoneType) for one in types)
        and not any(isinstance(one, StrType) for one in types)
    )


def unknown(app: Quart) -> list[str]:
    """The names in the request's query that its route does not read."""
    names = {name: name.removesuffix("[]") for name in request.args}
    found = [name for name, plain in names.items() if plain not in known(app)]
    return found if found and request.url_rule and request.url_rule.rule in _own() else []


@cache
def _own() -> frozenset[str]:
    """The paths of the server's own routes, read for the first unknown name: few send one."""
    return frozenset(key.partition(" ")[2] for key, _, _ in every_operation())


def _shown(name: str) -> str:
    """A name that a stranger chose, as it may stand in a header."""
    return quote(name[:NAME_MAX], errors="replace")
