"""What the stores keep: one frozen type a collection. Times are Unix milliseconds.

Fields are named as in the documents that the existing server wrote to Firestore, which stay
readable: what those lack has a default.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from server.errors import InvalidField
from server.services.firestore.values import INTEGER_MAX, INTEGER_MIN

Role = Literal["read-only", "operator", "admin"]
ROLES: tuple[Role, ...] = ("read-only", "operator", "admin")

T = TypeVar("T")

Metadata = dict[str, str | int | float | bool | None]

# Whoever has no tenant or device has no documents either.
Name = Annotated[str, msgspec.Meta(min_length=1)]

DAY_MS = 86_400_000
# 9999-12-31T23:59:59.999Z: the last moment that a date can be written of.
LATEST_MS = 253_402_300_799_999
_FIELD = re.compile(r"^(.*?)(?: - at `\$\.(\w+).*)?$", re.DOTALL)


Integer = Annotated[int, msgspec.Meta(ge=INTEGER_MIN, le=INTEGER_MAX)]
# Neither NaN nor infinite; nor, where it is written as an integer, too large for one.
Finite = Annotated[float, msgspec.Meta(ge=-(2.0**63), lt=2.0**63)]


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One stored reading and the command it was answered with; temperatures in tenths of °C.

    `timestamp_ms` is the device's time if it sent a date, else `received_ms`, and `utc_timestamp`
    the same as a text; `device_ticks_ms` is what a device without a date sent, `device_time_ms` a
    date that was not believed as it came. `clock` is "unknown" where it is not known when it was
    measured, and `present` false where it was not the present. A fault's `temp_tenths` may be None,
    and its `fault_reason` is empty where the sensor itself said so. `source_digest` tells whether a
    repeated key came with the same reading.
    """

    tenant_id: Name
    device_id: Name
    timestamp_ms: Integer
    temp_tenths: Integer | None
    setpoint_tenths: Integer
    deadband_tenths: Integer
    cool_active: bool
    heat_active: bool
    state: str
    sensor_ok: bool
    utc_timestamp: str = ""
    received_ms: Integer = 0
    expire_at: Integer = 0
    device_ticks_ms: Integer | None = None
    device_time_ms: Integer | None = None
    clock: str = ""
    present: bool = True
    fault_reason: str = ""
    source_digest: str | None = None


class ZoneRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A zone's last reading, its relays and its own setpoint and deadband, if it has them.

    `timestamp_ms`, `temp_tenths` and `sensor_ok` are of its newest present reading, which came at
    `received_ms`; `newest_ms` is the newest date of any, 0 if that is the same. `interval_ms` is
    between its last two posts, and `period_ms` the shorter one of the last two intervals: 0 while
    it is under a minute.
    The fields from `clock` on are what is known of its device's clock (see `control/present.py`),
    those from `trust_state` on whether it is trusted, since when and why.

    `gaps` are the times between its last posts, the newest last, in tenths of a second. `counter`
    is what its device counts from its start. While it is not trusted, `trusted_tenths` is the last
    reading that was, and `trusted_ms` when that came, or the first one that was not; `doubted` are
    the last of those since. A jump came `jumped_from` this address at `jumped_ms`, and after it a
    trusted reading `back_from` another. `disobeyed_ms` is since when the device says that its
    relays are not as they were told to be. Without `relays_known` nobody can know what they are.
    The times of these are steady (`Clock.steady_ms`).

    A revision says when a value was set: the tenant's value of a later revision wins. `updated_by`
    is who set the zone last. `cool_changed_ms` is on the time line `run` (see `Clock.boot`), and
    `cool_changed_wall_ms` is the same moment for those on another. A zone without values of its own
    is forgotten at `expire_at`.
    """

    tenant_id: Name
    device_id: Name
    # In every document, since zones are ordered by it.
    last_seen_ms: Integer = msgspec.field(default_factory=int)
    timestamp_ms: Integer = 0
    temp_tenths: Integer | None = 0
    sensor_ok: bool = False
    fault_reason: str = ""
    received_ms: Integer = 0
    newest_ms: Integer = 0
    interval_ms: Integer = 0
    period_ms: Integer = 0
    clock: str = ""
    clock_offset_ms: Integer | None = None
    clock_posts: Integer = 0
    clock_date_ms: Integer = 0
    clock_received_ms: Integer = 0
    trust_state: str = "never"
    trust_since_ms: Integer = 0
    trust_reason: str = ""
    gaps: list[Integer] = []
    counter: Integer | None = None
    trusted_tenths: Integer | None = None
    trusted_ms: Integer = 0
    doubted: list[Integer] = []
    jumped_from: str = ""
    jumped_ms: Integer = 0
    back_from: str = ""
    disobeyed_ms: Integer = 0
    relays_known: bool = True
    cool: bool = False
    heat: bool = False
    fault: bool = False
    cool_changed_ms: Finite | None = None
    cool_changed_wall_ms: Integer = 0
    run: str = ""
    expire_at: Integer | None = None
    setpoint_tenths: Integer | None = None
    setpoint_rev: Integer = 0
    deadband_tenths: Integer | None = None
    deadband_rev: Integer = 0
    updated_by: str = ""


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's setpoint and deadband for every zone that was not set by itself since.

    `revision` counts the changes; `updated_by` is who made the last one.
    """

    tenant_id: Name
    revision: int = 0
    setpoint_tenths: int | None = None
    setpoint_rev: int = 0
    deadband_tenths: int | None = None
    deadband_rev: int = 0
    updated_by: str = ""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """An account. `username` is its identity on the whole site; `tenant_id` may be empty."""

    user_id: str = ""
    username: str
    password_hash: str
    role: Role
    tenant_id: str
    created_at: int
    updated_at: int
    last_login: int | None = None


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A log-in. `digest` stands for the secret id, which is not kept; so does `user_agent`'s.

    `role` is the account's at log-in: what somebody may do now is read from the account.
    What has a default is not in documents of earlier versions.
    """

    digest: str
    user_id: str = ""
    username: str
    role: str = ""
    tenant_id: str
    user_agent_digest: str
    address: str = msgspec.field(name="ip_address", default="")
    created_at: int
    expires_at: int = 0
    expire_at: int


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A registered device. `key_digest` is empty while the device has no key; `last_seen` is when
    a caller noted it, 0 for never: its own posts are noted in its zone."""

    tenant_id: Name
    device_id: Name
    metadata: dict[str, Any] = {}
    created_at: int = 0
    last_seen: int = 0
    status: str = "active"
    key_digest: str = ""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing somebody did, or was refused; `utc_timestamp` is `timestamp_ms` as a text."""

    tenant_id: str
    timestamp_ms: int
    utc_timestamp: str = ""
    action: str = msgspec.field(name="event_type")
    user_id: str | None = None
    username: str | None = None
    address: str | None = msgspec.field(name="ip_address", default=None)
    success: bool = True
    details: dict[str, Any] = {}
    expire_at: int = 0


@lru_cache(maxsize=256)
def utc_text(time_ms: int) -> str:
    """A time from 1970 to 9999 as ISO 8601 in UTC, such as 2025-12-17T05:20:05.123Z."""
    seconds, rest_ms = divmod(min(max(time_ms, 0), LATEST_MS), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest_ms:03}Z"


def fields_of(model: msgspec.Struct) -> dict[str, Any]:
    """A model as document fields. Raises InvalidField if one is not of its type."""
    fields: dict[str, Any] = msgspec.to_builtins(model)
    checked(fields, type(model))
    return fields


def typed_fields(model: msgspec.Struct) -> dict[str, Any]:
    """A model as document fields, whose values surely are of their types."""
    fields: dict[str, Any] = msgspec.to_builtins(model)
    return fields


def checked(fields: dict[str, Any], model: type[T]) -> T:
    """The model with these fields. Raises InvalidField."""
    try:
        return msgspec.convert(fields, model)
    except msgspec.ValidationError as error:
        found = _FIELD.match(str(error))
        why, field = (found[1], found[2]) if found else (str(error), None)
        raise InvalidField(field or "fields", why) from None
