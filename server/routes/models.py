"""Bodies, queries and answers of the HTTP routes. Temperatures are tenths of °C, times Unix ms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from server.control.rules.relay_rule import (
    DEADBAND_MAX,
    DEADBAND_MIN,
    SETPOINT_MAX,
    SETPOINT_MIN,
)
from server.services.history.measured import SAFE_INTEGER

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
_Safe = Meta(ge=-SAFE_INTEGER, le=SAFE_INTEGER)
MetadataNumber = Annotated[int, _Safe] | Annotated[float, _Safe]

# What the API's document says of a field, and its view checks: an error there has its own words.
NEEDED = {"x-required": True}
Setpoint = Annotated[
    int, Meta(extra_json_schema={"minimum": SETPOINT_MIN, "maximum": SETPOINT_MAX})
]
Deadband = Annotated[
    int, Meta(extra_json_schema={"minimum": DEADBAND_MIN, "maximum": DEADBAND_MAX})
]


class SetSetpoint(Struct):
    """The values to set; a missing or null value stays.

    A body with keys must name at least one of the two values. Without `device_id` every zone of the
    tenant is set.
    """

    setpoint_tenths: Setpoint | UnsetType | None = UNSET
    deadband_tenths: Deadband | UnsetType | None = UNSET
    device_id: DeviceId | None = None


class Login(Struct):
    """A user's name and password."""

    username: Annotated[str, Meta(max_length=256, extra_json_schema={**NEEDED, "minLength": 1})] = (
        ""
    )
    password: Annotated[
        str, Meta(max_length=4096, extra_json_schema={**NEEDED, "minLength": 1})
    ] = ""


class Logout(Struct):
    """The session to end, if it is not in the cookie or the header."""

    session_id: Annotated[str, Meta(max_length=4096)] | None = None


class RegisterDevice(Struct):
    """A device and its metadata."""

    device_id: DeviceId
    metadata: Annotated[
        dict[MetadataKey, MetadataText | MetadataNumber | bool | None],
        Meta(max_length=32),
    ] = msgspec.field(default_factory=dict)


class NamedDevice(Struct):
    """A registered device."""

    device_id: DeviceId


class RotateKey(NamedDevice):
    """A device that gets a new key.

    With `overlap` its old key stays valid until the new one is used, at most for a day; without it,
    the old key ends at once, and a device that is not registered yet is.
    """

    overlap: bool = True


class DeviceQuery(Struct):
    """Which device; an empty text is the same as none."""

    device_id: Annotated[str, Meta(max_length=128)] = ""


class AuditQuery(Struct):
    """How many entries."""

    limit: Limit = 100


class AuditPageQuery(Struct):
    """Which entries; an empty text is the same as none.

    Those of a user (as `username` shows it) and of an action, with start <= timestamp <= end;
    `start_after` is the `last_doc_id` of the page before.
    """

    user: Annotated[str, Meta(max_length=256)] = ""
    action: Annotated[str, Meta(max_length=256)] = ""
    start: Milliseconds | None = None
    end: Milliseconds | None = None
    limit: Limit = 100
    start_after: Annotated[str, Meta(max_length=1024)] = ""


class StreamQuery(Struct):
    """Which devices, from which event, and in which form."""

    device_id: Annotated[list[str] | str, Meta(extra_json_schema={"maxItems": 1000})] = ""
    last_event_id: list[str] | str = ""
    lastEventId: list[str] | str = ""
    snapshot: bool = True
    names: bool = True


class LiveStreams(Struct):
    """Open streams by tenant, only the caller's own.

    `scope` is `site` if the streams of all processes are counted, `process` if only this process's
    are.
    """

    scope: Literal["site", "process"]
    subscribers: dict[str, int]


class FirestoreHealth(Struct):
    """Whether the stores answer: `healthy`, or an error code."""

    status: str


class Health(Struct):
    """The server's health; `timestamp` in Unix seconds, `services` says which are switched on."""

    status: str
    timestamp: int
    services: dict[str, bool]
    sse: LiveStreams
    firestore: FirestoreHealth | UnsetType = UNSET


class Ready(Struct):
    """Whether the server is ready; `checks` has the answer of each check: `ok` or a code.

    `status` is ready, degraded (readings are stored and answered, but something else does not
    work), draining or unavailable. `reasons` says of each check that failed what is wrong.
    """

    status: Literal["ready", "degraded", "draining", "unavailable"]
    checks: dict[str, str]
    reasons: dict[str, str] = {}


class Alive(Struct):
    """The process runs."""

    status: Literal["alive"] = "alive"


class Config(Struct):
    """The values by which a zone is controlled."""

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


class LoginUser(Struct):
    """The user who logged in."""

    username: str
    role: str


class LoginAnswer(Struct):
    """The session is in the cookie; it lasts `expires_in` seconds."""

    status: Literal["success"]
    expires_in: int
    user: LoginUser


class LogoutAnswer(Struct):
    """The session is ended, or there was none."""

    status: Literal["success"] = "success"
    message: str = "Logged out successfully"


class SessionUser(Struct):
    """The session's user, and since when it exists: in seconds, and in milliseconds."""

    username: str
    role: str
    login_time: int
    login_time_ms: int


class SessionStatus(Struct):
    """A live session, token or display (`kind`) and the seconds until it ends.

    `expires_in` is 400 days at most, also for a token that is valid until it is revoked.
    """

    status: Literal["valid"]
    user: SessionUser
    expires_in: int
    kind: Literal["session", "token", "display"] = "session"


class DeviceView(Struct):
    """A registered device; `has_key` is true if it must present one."""

    device_id: str
    tenant_id: str
    metadata: dict[str, Any]
    created_at: int
    has_key: bool


class ListedDevice(DeviceView):
    """A device that is registered or posts, and how long and often its relays were on.

    `created_at` is 0 if it is not registered; `last_seen` is when it posted last (Unix ms), null
    for never; `status` is a note. How long and often its relays were on is by its stored readings:
    these four are null if the readings are in Firestore, or cannot be read now. `key_used_at` is
    when a post came last with its key, to about a minute, null for never. During a rotation the old
    key is valid until `old_key_until`. A device whose key was revoked needs a new one.
    """

    cool_hours: float | None = None
    heat_hours: float | None = None
    cool_starts: int | None = None
    heat_starts: int | None = None
    key_used_at: int | None = None
    old_key_until: int | None = None
    key_revoked: bool = False
    registered: bool = True
    status: str = "active"
    last_seen: int | None = None


class DeviceKeyMade(Struct):
    """A new key, which is shown only now.

    The old one is valid until the new one is used, at most until `old_key_until`; null: no old key
    is valid.
    """

    success: bool
    device_id: str
    key: str
    old_key_until: int | None


class DeviceChanged(Struct):
    """The device's keys are revoked, or it is deleted."""

    success: bool
    device_id: str


class DeviceRegistered(Struct):
    """The device as it is registered now."""

    success: bool
    device: DeviceView


class AuditView(Struct):
    """An action of a user, or one that was refused.

    The last four are what the existing server calls `timestamp`, `action`, `username`, `address`.
    """

    timestamp: int
    action: str
    username: str
    address: str
    success: bool
    details: dict[str, Any]
    timestamp_ms: int
    event_type: str
    user_id: str
    ip_address: str


class AuditPage(Struct):
    """A page of entries, newest first; `last_doc_id` begins the next one."""

    data: list[AuditView]
    last_doc_id: str | None
    has_more: bool


class ErrorBody(Struct, omit_defaults=True):
    """Every error answer: a text, a code for programs, and often a hint."""

    error: str
    code: str | None = None
    message: str | None = None
