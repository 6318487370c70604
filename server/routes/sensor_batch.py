"""Route for many readings in one post: /api/sensor_data/batch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from quart import Blueprint, request
from quart_schema import document_request, validate_response

from server.common.errors import BasError, Unavailable
from server.control.batch_service import BatchResult
from server.control.rules.posted_body import Posted, no_data, read_lines, read_rows
from server.routes.device_posts import DevicePosts
from server.routes.reading_models import BatchAnswer, BatchRow, DeviceCommand, RowError
from server.routes.refusals import BATCH
from server.routes.requests import fails_with, read_device_body, repeat_key
from server.routes.sender import RepeatKey, Sender

ROWS_MAX = 1000
NDJSON = "application/x-ndjson"


def add_batch(bp: Blueprint, posts: DevicePosts, sender: Callable[[], Awaitable[Sender]]) -> None:
    """Add the route; it is public and has the rules of the route for one reading."""

    @bp.post(BATCH)
    @validate_response(BatchAnswer)
    @fails_with(400, 401, 403, 413, 415, 429, 503)
    @document_request(list[BatchRow])
    async def sensor_data_batch() -> BatchAnswer:
        """Store up to 1,000 readings of any devices.

        The body is a JSON array or, with Content-Type application/x-ndjson, one object per line.
        Each device's newest reading decides.
        """
        rows = await read_device_body(_rows, "application/json", NDJSON, before=posts.turn)
        repeat = repeat_key()
        count, answer = await posts.many(await sender(), rows, repeat)
        return _answer(count, answer, repeat)


def _rows(raw: bytes) -> list[Posted | BasError]:
    lines = request.mimetype == NDJSON
    rows = read_lines(raw, ROWS_MAX) if lines else read_rows(raw, ROWS_MAX)
    if not rows:
        raise no_data()
    return rows


def _answer(count: int, answer: BatchResult, repeat: RepeatKey) -> BatchAnswer:
    """The answer for the rows.

    Raises Unavailable, with the commands, if no row was accepted, a row was not stored for that
    reason, and the request has a key, so that the caller will send it again.
    """
    ignored = "ignored" if repeat.ignored else ""
    body = BatchAnswer(
        count - len(answer.errors), _commands(answer), _errors(answer.errors), ignored
    )
    if repeat.key is not None and not body.accepted:
        for error in answer.errors.values():
            if isinstance(error, Unavailable):
                raise error.with_more(body)
    return body


def _commands(answer: BatchResult) -> list[DeviceCommand]:
    return [
        DeviceCommand(
            device_id,
            command.cool_active,
            command.heat_active,
            command.setpoint_tenths,
            command.deadband_tenths,
            command.stored,
            command.key,
        )
        for device_id, command in answer.commands.items()
    ]


def _errors(errors: Mapping[int, BasError]) -> list[RowError]:
    return [
        RowError(index, error.error, error.code, error.message)
        for index, error in sorted(errors.items())
    ]
