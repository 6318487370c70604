"""Defines the stored documents: one frozen type for each collection. Times are Unix milliseconds.

The fields have the names that the existing server used in Firestore, so its documents stay
readable. A field that those lack has a default.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, TypeVar

import msgspec

from server.common.errors import InvalidField
from server.services.ports.values import Finite, Integer, Name

Role = Literal["read-only", "operator", "admin"]
TokenKind = Literal["api", "link", "display"]
ROLES: tuple[Role, ...] = ("read-only", "operator", "admin")

T = TypeVar("T")

Metadata = dict[str, str | int | float | bool | None]

DAY_MS = 86_400_000
# A zone's record keeps so many starts of its cooler, and each for an hour.
STARTS_KEPT, STARTS_KEPT_S = 12, 3600
# 9999-12-31T23:59:59.999Z: the last time that can be written as a date.
LATEST_MS = 253_402_300_799_999
_FIELD = re.compile(r"^(.*?)(?: - at `\$\.(\w+).*)?$", re.DOTALL)


class ZoneRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A zone's last reading, its relays, and the setpoint and deadband set for it, if any.

    `timestamp_ms`, `temp_tenths` and `sensor_ok` belong to the newest present reading, which came
    at `received_ms`. `newest_ms` is the newest date of any reading, 0 if it is the same.
    `interval_ms` is the time between the last two posts; `period_ms` is the shorter one of the last
    two intervals, 0 while it is under a minute. The fields from `clock` on describe the device's
    clock (see `control/present.py`); those from `trust_state` on say whether the zone is trusted,
    since when and why.

    `gaps` are the times between the last posts, the newest last, in tenths of a second. `counter`
    is the device's counter since its start. While the zone is not trusted, `trusted_tenths` is the
    last trusted reading; `trusted_ms` is the time of that reading, or of the first one that was not
    trusted; `doubted` are the last untrusted readings since. A jump came from the address
    `jumped_from` at `jumped_ms`; after it, a trusted reading came from the address `back_from`.
    `disobeyed_ms` is the time since which the device reports relays that differ from the command.
    Without `relays_known` the state of the relays is unknown. All these times are steady
    (`Clock.steady_ms`).

    A revision says when a value was set: a tenant's value of a later revision wins. `updated_by` is
    the user that set the zone last. `cool_changed_ms` is on the time line `run` (see `Clock.boot`);
    `cool_changed_wall_ms` is the same time for processes on another time line. `cool_starts` are
    the cooler's last starts in steady seconds, the newest last. A zone for which no value was set
    is deleted at `expire_at`; `spoken_ms` is for how long it has spoken in all, 0 from an hour on.
    """

    tenant_id: Name
    device_id: Name
    # Stored in every document, because queries order zones by it.
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
    cool_starts: list[Integer] = []
    expire_at: Integer | None = None
    spoken_ms: Integer = 0
    setpoint_tenths: Integer | None = None
    setpoint_rev: Integer = 0
    deadband_tenths: Integer | None = None
    deadband_rev: Integer = 0
    updated_by: str = ""


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's setpoint and deadband, for every zone that was not set separately since.

    `revision` counts the changes; `updated_by` is the user that made the last one.
    """

    tenant_id: Name
    revision: int = 0
    setpoint_tenths: int | None = None
    setpoint_rev: int = 0
    deadband_tenths: int | None = None
    deadband_rev: int = 0
    updated_by: str = ""


class ZoneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What operators say of a zone. `version` counts the changes; `updated_by` made the last one.

    `high_tenths` and `low_tenths` are its own thresholds for alarms, in tenths of °C; None for the
    site's. `limits_at` is when they were changed last (Unix ms), 0 for never. A document may have
    further fields; a change of these keeps them.
    """

    tenant_id: Name
    device_id: Name
    version: Integer = 0
    name: str = ""
    location: str = ""
    high_tenths: Integer | None = None
    low_tenths: Integer | None = None
    limits_at: Integer = 0
    updated_at: Integer = 0
    updated_by: str = ""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """An account. `username` is its identity on the whole site; `tenant_id` may be empty.

    `password_history` are the hashes of its former passwords, the latest first. A `disabled`
    account cannot log in and has no sessions. `last_login` is None before the first log-in.
    """

    user_id: str = ""
    username: str
    password_hash: str
    role: Role
    tenant_id: str
    created_at: int
    updated_at: int
    last_login: int | None = None
    password_history: list[str] = []
    disabled: bool = False


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant that was created or is being deleted; the others are known by their data."""

    tenant_id: Name
    created_at: int = 0
    deleting: bool = False


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A log-in. The digests replace the secret id and the user agent, which are not stored.

    `role` is the account's role at log-in; permissions are read from the account. `last_access` is
    when a person's request extended the session last, 0 if none has. `user_agent_digest` is empty
    if the user agent is not known; `agent_changed` says that another one is audited. Times are by
    the clock as it was set when uptime on the time line `boot` was 0 at `booted_ms`: `leap_ms` of
    `common/clock.py`. Documents of earlier versions lack the fields that have a default.
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
    boot: str = ""
    booted_ms: int = 0
    last_access: int = 0
    agent_changed: bool = False


class ApiToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A token of a program or of a wall screen; `digest` replaces its secret, which is not stored.

    A program sends an `api` token as a bearer token. A `link` is a screen's link that was not
    opened yet; then it is a `display`, whose secret is in a cookie. Without `zones` it may see all
    zones of its tenant. `expires_at` is 0 if it is valid until it is revoked, `last_used` 0 if it
    was never used; it may be a minute old. A revoked one is deleted at `expire_at`.
    """

    digest: Name
    name: Name
    tenant_id: Name
    role: Role
    kind: TokenKind = "api"
    zones: list[str] = []
    created_at: Integer = 0
    created_by: str = ""
    expires_at: Integer = 0
    last_used: Integer = 0
    revoked_at: Integer = 0
    expire_at: Integer | None = None


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A registered device. `key_digest` is empty while the device has no key.

    During a rotation `old_key_digest` is the key that the new one replaces. A device whose keys
    were revoked (`key_revoked`) needs a new one: it may not post without a key.

    `last_seen` is set by `update_last_seen` only, 0 for never; the device's posts change its zone.
    """

    tenant_id: Name
    device_id: Name
    metadata: dict[str, Any] = {}
    created_at: int = 0
    last_seen: int = 0
    status: str = "active"
    key_digest: str = ""
    old_key_digest: str = ""
    key_revoked: bool = False

    @property
    def needs_key(self) -> bool:
        """Whether the device may not post without a key."""
        return self.key_revoked or bool(self.key_digest)


class DeviceKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that is valid now, by its digest.

    `used_ms` is when a post came with it last, to about a minute; 0 for never. A key that is being
    replaced is valid before `until_ms` (0: without end); the new one `replaces` it by its digest
    until it is used itself.
    """

    tenant_id: Name
    device_id: Name
    digest: str = ""
    used_ms: Integer = 0
    until_ms: Integer = 0
    replaces: str = ""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One action of a user, or a refused one; `utc_timestamp` is `timestamp_ms` as text.

    `link` is the entry's number in the chain of its tenant, 0 while it is not linked, and `chain`
    its link: see `audit_chain.py`. Entries of earlier versions lack both.
    """

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
    link: int = 0
    chain: dict[str, Any] | None = None


@lru_cache(maxsize=256)
def utc_text(time_ms: int) -> str:
    """A time from 1970 to 9999 as ISO 8601 in UTC, such as 2025-12-17T05:20:05.123Z."""
    seconds, rest_ms = divmod(min(max(time_ms, 0), LATEST_MS), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest_ms:03}Z"


def fields_of(model: msgspec.Struct) -> dict[str, Any]:
    """A model as document fields. Raises InvalidField if a field does not have its type."""
    fields: dict[str, Any] = msgspec.to_builtins(model)
    checked(fields, type(model))
    return fields


def checked(fields: dict[str, Any], model: type[T]) -> T:
    """The model with these fields. Raises InvalidField."""
    try:
        return msgspec.convert(fields, model)
    except msgspec.ValidationError as error:
        found = _FIELD.match(str(error))
        why, field = (found[1], found[2]) if found else (str(error), None)
        raise InvalidField(field or "fields", why) from None
