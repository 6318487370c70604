"""Many readings in one post: /api/sensor_data/batch."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from quart import Blueprint, request
from quart_schema import document_request, validate_response

from server.auth.device_keys import DeviceKeys
from server.auth.guard import Guard
from server.control.batches import Answer, BatchService
from server.control.readings import NewReading, near_each_other
from server.control.zone_batch import Row
from server.errors import BasError, Invalid, Unavailable, UnsupportedMedia
from server.routes.models import BatchAnswer, BatchRow, DeviceCommand, RowError
from server.routes.requests import decode, device_key, fails_with, idempotency_key, read_body

ROWS_MAX = 1000
NDJSON = "application/x-ndjson"

_EMPTY = re.compile(rb"\{\s*\}")
_rows = msgspec.json.Decoder(list[BatchRow])


def add_batch(bp: Blueprint, batches: BatchService, keys: DeviceKeys, guard: Guard) -> None:
    """Add the route, public as the one for a single reading and by the same rules."""

    @bp.post("/api/sensor_data/batch")
    @validate_response(BatchAnswer)
    @fails_with(400, 401, 403, 413, 415, 503)
    @document_request(list[BatchRow])
    async def sensor_data_batch() -> BatchAnswer:
        """Store up to 1,000 readings of any devices; a device's own are in the order of time.

        A JSON array, or with Content-Type application/x-ndjson one object a line.
        """
        rows = await _body(batches)
        batch_key = idempotency_key()
        near = near_each_other(batch_key)
        key = device_key()
        caller = None if key else await guard.principal_if_any(required=True)
        named = {row.device_id for row in rows if isinstance(row, BatchRow)}
        tenant_id, devices = await keys.identify_many(key, named, caller)
        if key:
            guard.check_tenant(tenant_id)
        errors: dict[int, BasError] = {}
        readings: dict[str, list[Row]] = {}
        for index, row in enumerate(rows):
            device = row if isinstance(row, BasError) else devices[row.device_id]
            if isinstance(device, BasError):
                errors[index] = device
            elif isinstance(row, BatchRow):
                reading = _reading(row, batch_key, index, near)
                readings.setdefault(device, []).append(Row(index, reading))
        answer = await batches.accept(tenant_id, readings)
        return _answer(len(rows), answer, errors | answer.errors)


async def _body(batches: BatchService) -> list[BatchRow | BasError]:
    """Each row, or what is wrong with it. Raises Invalid for what is no batch, UnsupportedMedia."""
    raw = await read_body()
    await batches.turn()
    if request.mimetype == NDJSON:
        rows = _lines(raw)
    elif request.is_json:
        rows = _array(raw)
    else:
        raise UnsupportedMedia(message=f"send Content-Type: application/json or {NDJSON}")
    if not rows:
        raise Invalid("No data received", "NO_DATA")
    return rows


def _array(raw: bytes) -> list[BatchRow | BasError]:
    if not _EMPTY.search(raw):
        try:
            rows = _rows.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # which rows are at fault is found out below
        else:
            _check_count(len(rows))
            return list(rows)
    if not raw.strip():
        return []
    pieces = decode(raw, list[msgspec.Raw])
    _check_count(len(pieces))
    return [_row(bytes(piece)) for piece in pieces]


def _lines(raw: bytes) -> list[BatchRow | BasError]:
    lines = [line for line in raw.split(b"\n") if line.strip()]
    _check_count(len(lines))
    return [_row(line) for line in lines]


def _check_count(count: int) -> None:
    if count > ROWS_MAX:
        raise Invalid("Too many readings", "TOO_MANY_READINGS", f"at most {ROWS_MAX} in a batch")


def _row(raw: bytes) -> BatchRow | BasError:
    if _EMPTY.fullmatch(raw.strip()):
        return Invalid("No data received", "NO_DATA")
    try:
        return decode(raw, BatchRow)
    except BasError as error:
        return error


def _reading(row: BatchRow, batch_key: str | None, index: int, near: str) -> NewReading:
    key = row.key
    if key is not None:
        near = ""  # the same key may come by itself
    elif batch_key is not None:
        key = f"{batch_key}\n{index}"  # no header has a line break: it is nobody else's key
    return NewReading(
        temp_tenths=row.temp_tenths,
        sensor_ok=row.sensor_ok,
        timestamp=row.timestamp,
        seq=row.seq,
        key=key,
        near=near,
    )


def _answer(count: int, answer: Answer, errors: Mapping[int, BasError]) -> BatchAnswer:
    """What is said of the rows. Raises Unavailable if it kept every one from being accepted that
    might have been."""
    if len(errors) == count:
        for error in errors.values():
            if isinstance(error, Unavailable):
                raise error
    commands = [
        DeviceCommand(
            device_id,
            command.cool_active,
            command.heat_active,
            command.setpoint_tenths,
            command.deadband_tenths,
        )
        for device_id, command in answer.commands.items()
    ]
    told = [
        RowError(index, error.error, error.code, error.message)
        for index, error in sorted(errors.items())
    ]
    return BatchAnswer(count - len(errors), commands, told)
