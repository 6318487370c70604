"""Bodies, queries and answers about readings. Temperatures are tenths of °C, times Unix ms."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from server.control.messages import TelemetryRow
from server.routes.models import (
    NEEDED,
    DeviceId,
    DeviceQuery,
    Limit,
    LongLimit,
    Milliseconds,
)
from server.services.history.measured import TEMP_MAX, TEMP_MIN
from server.services.ports.readings import ChangedSetpoint


class SensorData(Struct):
    """One reading of a zone.

    Without a valid `temp_tenths` (tenths of °C) and a true `sensor_ok` it is a fault: both relays
    go off. All other fields are optional; an invalid one counts as missing.

    `timestamp` is a date (Unix ms) or milliseconds since power-on, `age_ms` the time from measuring
    to sending. `seq` numbers a device's posts, so that a repeated one is stored once. `cool_active`
    and `heat_active` are the device's relays as they are, `relay_since_ms` the time since the
    cooler's relay switched.
    """

    temp_tenths: Annotated[float, Meta(ge=TEMP_MIN, le=TEMP_MAX)] | None
    sensor_ok: bool
    timestamp: float | None = None
    device_id: DeviceId | None = None
    seq: Milliseconds | None = None
    age_ms: Annotated[float, Meta(ge=0)] | None = None
    cool_active: bool | None = None
    heat_active: bool | None = None
    relay_since_ms: Annotated[float, Meta(ge=0)] | None = None


class BatchRow(SensorData):
    """One reading of a batch; `key` is for a row what the header Idempotency-Key is for a post."""

    key: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


class DeviceCommand(Struct, frozen=True, omit_defaults=True, gc=False):
    """The command for one device after its newest reading; the last two fields as in `Command`."""

    device_id: str
    cool_active: bool
    heat_active: bool
    setpoint_tenths: int
    deadband_tenths: int
    stored: bool = True
    key: str = ""


class RowError(Struct, omit_defaults=True):
    """Why a row was not accepted.

    `index` counts from 0, in the array or among the lines that are not blank; the other fields are
    as in every error answer.
    """

    index: int
    error: str
    code: str | None = None
    message: str | None = None


class BatchAnswer(Struct, omit_defaults=True):
    """The result of a batch: `accepted` rows are stored, now or before; `errors` has the others.

    `key` is present, and "ignored", if the Idempotency-Key is invalid.
    """

    accepted: int
    commands: list[DeviceCommand]
    errors: list[RowError]
    key: str = ""


class TelemetryQuery(DeviceQuery):
    """How many readings, and of which device."""

    limit: Limit = 100


class WindowQuery(DeviceQuery):
    """Readings with start <= timestamp <= end; the default of `end` is now."""

    start: Milliseconds = 0
    end: Milliseconds | None = None
    limit: LongLimit = 1000


class PageQuery(DeviceQuery):
    """A page of readings; `start_after` is the `last_doc_id` of the page before.

    With `start` or `end`, only readings with start <= timestamp <= end.
    """

    limit: LongLimit = 100
    start_after: Annotated[str, Meta(max_length=1024)] = ""
    start: Milliseconds | None = None
    end: Milliseconds | None = None


class StatisticsQuery(DeviceQuery):
    """How many hours back from `end`, which is now by default; or from `start` on."""

    hours: Annotated[int, Meta(ge=1, le=24 * 366)] = 24
    start: Milliseconds | None = None
    end: Milliseconds | None = None


class SeriesQuery(Struct):
    """At most how many points over start <= timestamp < end; `device_id` may be repeated.

    The default of `end` is now, that of `start` a day before `end`.
    """

    device_id: Annotated[
        list[str] | str,
        Meta(
            extra_json_schema={
                **NEEDED,
                "items": {"type": "string", "minLength": 1, "maxLength": 128},
                "minItems": 1,
                "maxItems": 20,
            }
        ),
    ] = ""
    start: Milliseconds | None = None
    end: Milliseconds | None = None
    points: Annotated[int, Meta(ge=1, le=2000)] = 300


class SetpointsQuery(DeviceQuery):
    """Of which device, from `start` to `end`, which is now by default; `start` a day before."""

    device_id: Annotated[
        str, Meta(max_length=128, extra_json_schema={**NEEDED, "minLength": 1})
    ] = ""
    start: Milliseconds | None = None
    end: Milliseconds | None = None


class SetpointHistory(Struct):
    """The values in force at the start of a span, and each change in it, oldest first."""

    device_id: str
    changes: list[ChangedSetpoint]


class ExportQuery(DeviceQuery):
    """The readings of a device with start <= timestamp <= end; without times, all."""

    device_id: Annotated[
        str, Meta(max_length=128, extra_json_schema={**NEEDED, "minLength": 1})
    ] = ""
    start: Milliseconds | None = None
    end: Milliseconds | None = None


class TelemetryPage(Struct):
    """Readings, newest first; `last_doc_id` continues after them and is null at the end."""

    data: list[TelemetryRow]
    last_doc_id: str | None
    has_more: bool
