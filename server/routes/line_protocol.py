"""Route for readings as InfluxDB's clients write them: /api/v2/write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct
from quart import Blueprint
from quart_schema import validate_querystring

from server.common.errors import BasError, Invalid, Unavailable
from server.control.rules.line_protocol import DEVICE_TAG, read_lines_of
from server.routes.device_posts import DevicePosts
from server.routes.requests import read_device_body
from server.routes.sender import NO_KEY, Sender
from server.routes.sensor_batch import ROWS_MAX

WRITE = "/api/v2/write"
FieldName = Annotated[str, Meta(min_length=1, max_length=128)]


class WriteQuery(Struct):
    """`field` is the temperature in °C, `tag` names the device, `precision` is of timestamps."""

    field: FieldName = "temperature"
    tag: FieldName = DEVICE_TAG
    precision: Literal["ns", "us", "ms", "s"] = "ns"


def add_write(bp: Blueprint, posts: DevicePosts, sender: Callable[[], Awaitable[Sender]]) -> None:
    """Add the route; it is public and has the rules of a batch, but answers no commands.

    It is not in the API's document: InfluxDB's describes it, and its body is no JSON.
    """

    @bp.post(WRITE)
    @validate_querystring(WriteQuery)
    async def write(query_args: WriteQuery) -> tuple[str, int]:
        wanted = query_args.field, query_args.tag, query_args.precision, ROWS_MAX
        rows = await read_device_body(
            lambda raw: read_lines_of(raw, *wanted), "text/plain", before=posts.turn
        )
        count, answer = await posts.many(await sender(), rows, NO_KEY)
        _raise_first(count, answer.errors)
        return "", 204


def _raise_first(count: int, errors: Mapping[int, BasError]) -> None:
    """Raise what kept a row from being stored: first what another attempt may mend."""
    for error in errors.values():
        if isinstance(error, Unavailable):
            raise error
    if not errors:
        return
    first = errors[min(errors)]
    if len(errors) == count:
        raise first
    why = f"{len(errors)} of {count}; the first: {first.error} ({first.message or first.code})"
    raise Invalid("Some readings were refused", "PARTIAL_WRITE", why)
