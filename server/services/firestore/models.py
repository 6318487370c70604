"""What the stores keep: one frozen type a collection. Times are Unix milliseconds."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Role = Literal["read-only", "operator", "admin"]
ROLES: tuple[Role, ...] = ("read-only", "operator", "admin")

Metadata = dict[str, str | int | float | bool | None]

DAY_MS = 86_400_000


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stored reading and the command it was answered with; temperatures in tenths of °C.

    `timestamp_ms` is the device's time if it sent a date, else `received_ms`; `device_ticks_ms` is
    what a device without a date sent. `source_digest` tells whether a repeated key came with the
    same reading.
    """

    tenant_id: str
    device_id: str
    timestamp_ms: int
    received_ms: int
    temp_tenths: int
    setpoint_tenths: int
    deadband_tenths: int
    cool_active: bool
    heat_active: bool
    state: str
    sensor_ok: bool
    expire_at: int
    device_ticks_ms: int | None = None
    source_digest: str | None = None


class ZoneRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A zone's last reading, its relays and its own setpoint and deadband, if it has them.

    A revision says when a value was set: the tenant's value of a later revision wins. `updated_by`
    is who set the zone last. `cool_changed_ms` is on the time line `run` (see `Clock.boot`), and
    `cool_changed_wall_ms` is the same moment for those on another. A zone without values of its own
    is forgotten at `expire_at`.
    """

    tenant_id: str
    device_id: str
    last_seen_ms: int = 0
    timestamp_ms: int = 0
    temp_tenths: int = 0
    sensor_ok: bool = False
    cool: bool = False
    heat: bool = False
    fault: bool = False
    cool_changed_ms: float | None = None
    cool_changed_wall_ms: int = 0
    run: str = ""
    expire_at: int | None = None
    setpoint_tenths: int | None = None
    setpoint_rev: int = 0
    deadband_tenths: int | None = None
    deadband_rev: int = 0
    updated_by: str = ""


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's setpoint and deadband for every zone that was not set by itself since.

    `revision` counts the changes; `updated_by` is who made the last one.
    """

    tenant_id: str
    revision: int = 0
    setpoint_tenths: int | None = None
    setpoint_rev: int = 0
    deadband_tenths: int | None = None
    deadband_rev: int = 0
    updated_by: str = ""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """An account. `username` is its identity on the whole site; `tenant_id` may be empty."""

    username: str
    password_hash: str
    role: Role
    tenant_id: str
    created_at: int
    updated_at: int
    last_login: int | None = None


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A log-in. `digest` stands for the secret id, which is not kept; so does `user_agent`'s."""

    digest: str
    username: str
    tenant_id: str
    user_agent_digest: str
    address: str
    created_at: int
    expire_at: int


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A registered device. `key_digest` is empty while the device has no key; `last_seen_ms` is
    when a caller noted it, 0 for never: its own posts are noted in its zone."""

    tenant_id: str
    device_id: str
    metadata: Metadata
    created_at: int
    key_digest: str = ""
    last_seen_ms: int = 0


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing somebody did, or was refused."""

    tenant_id: str
    timestamp_ms: int
    action: str
    username: str
    address: str
    success: bool
    details: dict[str, Any]
    expire_at: int


def fields_of(model: msgspec.Struct) -> dict[str, Any]:
    """A model as document fields."""
    fields: dict[str, Any] = msgspec.to_builtins(model)
    return fields
