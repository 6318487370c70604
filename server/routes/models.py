"""Bodies, queries and answers of the HTTP routes. Temperatures are tenths of °C, times Unix ms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from server.control.views import TelemetryRow
from server.services.firestore.measured import SAFE_INTEGER, TEMP_MAX, TEMP_MIN

DeviceId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)",
        description="1 to 128 printable characters",
    ),
]
Limit = Annotated[int, Meta(ge=1, le=1000)]
LongLimit = Annotated[int, Meta(ge=1, le=10_000)]
Milliseconds = Annotated[int, Meta(ge=0, le=SAFE_INTEGER)]
MetadataKey = Annotated[str, Meta(min_length=1, max_length=64)]
MetadataText = Annotated[str, Meta(max_length=1024)]
MetadataNumber = Annotated[int, Meta(ge=-SAFE_INTEGER, le=SAFE_INTEGER)]


class SensorData(Struct):
    """A reading. Without a good `temp_tenths` (tenths of °C) and a true `sensor_ok` it is a fault:
    both relays go off. All else may be left out, and is read as if it were where it is wrong.

    `timestamp` is a date (Unix ms) or milliseconds since power-on, `age_ms` the time from measuring
    to sending. `seq` numbers a device's posts, so that a repeated one is stored once. `cool_active`
    and `heat_active` are what the device's relays are, `relay_since_ms` the time since the cooler's
    switched.
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
    """One reading of a batch; `key` is to it what the header Idempotency-Key is to a post."""

    key: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


class DeviceCommand(Struct, frozen=True, omit_defaults=True, gc=False):
    """What one device is told to do, after its newest reading of the batch; the last two as in
    `Command`."""

    device_id: str
    cool_active: bool
    heat_active: bool
    setpoint_tenths: int
    deadband_tenths: int
    stored: bool = True
    key: str = ""


class RowError(Struct, omit_defaults=True):
    """Why a row was not accepted. `index` is its place in the array, or among the lines that are
    not blank, from 0; the rest is as in every error answer."""

    index: int
    error: str
    code: str | None = None
    message: str | None = None


class BatchAnswer(Struct, omit_defaults=True):
    """`accepted` rows are stored, now or, if they are repeated, before; `errors` has the others.
    `key` is there, and "ignored", where the Idempotency-Key is none."""

    accepted: int
    commands: list[DeviceCommand]
    errors: list[RowError]
    key: str = ""


class SetSetpoint(Struct):
    """What is left out, or null, stays; a body with keys names at least one of the two values.
    Without `device_id` every zone of the tenant is set."""

    setpoint_tenths: int | UnsetType | None = UNSET
    deadband_tenths: int | UnsetType | None = UNSET
    device_id: DeviceId | None = None


class Login(Struct):
    """A user's name and password."""

    username: Annotated[str, Meta(max_length=256)] = ""
    password: Annotated[str, Meta(max_length=4096)] = ""


class Logout(Struct):
    """The session to end, if it is not in the cookie or the header."""

    session_id: Annotated[str, Meta(max_length=4096)] | None = None


class RegisterDevice(Struct):
    """A device and what is to be remembered of it."""

    device_id: DeviceId
    metadata: Annotated[
        dict[MetadataKey, MetadataText | MetadataNumber | float | bool | None],
        Meta(max_length=32),
    ] = msgspec.field(default_factory=dict)


class DeviceQuery(Struct):
    """Which device; the empty text means none in particular, as leaving it out does."""

    device_id: Annotated[str, Meta(max_length=128)] = ""


class TelemetryQuery(DeviceQuery):
    """How many readings, of which device."""

    limit: Limit = 100


class WindowQuery(DeviceQuery):
    """Readings with start <= timestamp <= end; `end` is now unless given."""

    start: Milliseconds = 0
    end: Milliseconds | None = None
    limit: LongLimit = 1000


class PageQuery(DeviceQuery):
    """A page of readings; `start_after` is the `last_doc_id` of the page before."""

    limit: LongLimit = 100
    start_after: Annotated[str, Meta(max_length=1024)] = ""


class StatisticsQuery(DeviceQuery):
    """How many hours back from now."""

    hours: Annotated[int, Meta(ge=1, le=24 * 366)] = 24


class AuditQuery(Struct):
    """How many entries."""

    limit: Limit = 100


class StreamQuery(Struct):
    """Which devices, from where, and in which form."""

    device_id: list[str] | str = ""
    last_event_id: list[str] | str = ""
    snapshot: bool = True
    names: bool = True


class LiveStreams(Struct):
    """Open streams by tenant, the caller's own alone. `scope` is `site` if every process's are
    counted, `process` if only this one's are known."""

    scope: Literal["site", "process"]
    subscribers: dict[str, int]


class FirestoreHealth(Struct):
    """Whether the stores answer: `healthy`, or the code of the error."""

    status: str


class Health(Struct):
    """`timestamp` is Unix seconds; `services` says which are switched on."""

    status: str
    timestamp: int
    services: dict[str, bool]
    sse: LiveStreams
    firestore: FirestoreHealth | UnsetType = UNSET


class Ready(Struct):
    """`status` is ready, degraded (readings are stored and answered, streams lack the events of
    other processes), draining or unavailable; `checks` says what answers."""

    status: Literal["ready", "degraded", "draining", "unavailable"]
    checks: dict[str, str]


class Alive(Struct):
    """The process runs."""

    status: Literal["alive"] = "alive"


class Config(Struct):
    """What a zone is controlled by."""

    setpoint_tenths: int
    deadband_tenths: int
    min_on_time_ms: int
    min_off_time_ms: int


class SetpointSet(Struct):
    """The values in force now."""

    success: bool
    setpoint_tenths: int
    deadband_tenths: int
    updated_by: str


class TelemetryPage(Struct):
    """Readings, newest first; `last_doc_id` continues after them and is null at the end."""

    data: list[TelemetryRow]
    last_doc_id: str | None
    has_more: bool


class LoginUser(Struct):
    """Who logged in."""

    username: str
    role: str


class LoginAnswer(Struct):
    """The session is in the cookie; it lasts `expires_in` seconds."""

    status: Literal["success"]
    expires_in: int
    user: LoginUser


class LogoutAnswer(Struct):
    """Logged out, or never in."""

    status: Literal["success"] = "success"
    message: str = "Logged out successfully"


class SessionUser(Struct):
    """Whose session it is, and since when."""

    username: str
    role: str
    login_time: int


class SessionStatus(Struct):
    """A live session and how many seconds it has left."""

    status: Literal["valid"]
    user: SessionUser
    expires_in: int


class DeviceView(Struct):
    """A registered device; `has_key` if it must present one."""

    device_id: str
    tenant_id: str
    metadata: dict[str, Any]
    created_at: int
    has_key: bool


class DeviceRegistered(Struct):
    """The device as it is registered now."""

    success: bool
    device: DeviceView


class AuditView(Struct):
    """One thing somebody did, or was refused."""

    timestamp: int
    action: str
    username: str
    address: str
    success: bool
    details: dict[str, Any]


class ErrorBody(Struct, omit_defaults=True):
    """Every error answer: a text, a name for programs, and often a hint."""

    error: str
    code: str | None = None
    message: str | None = None
