"""Converts the existing server's rows to documents, or says why it cannot, as pure functions."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from server.auth.passwords import legacy_hash
from server.auth.principal import DEFAULT_TENANT
from server.control.rules.reading import EARLIEST_DATE_MS, LATEST_AHEAD_MS
from server.control.rules.relay_rule import (
    DEADBAND_MAX,
    DEADBAND_MIN,
    SETPOINT_MAX,
    SETPOINT_MIN,
    Relays,
)
from server.legacy.account_names import AccountNames
from server.legacy.details import TEXT_MAX, readable_details
from server.legacy.password_hashes import former_hashes, unusable
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.base import document_id
from server.services.firestore.models import DAY_MS, ROLES, User, fields_of
from server.services.firestore.telemetry_store import new_row
from server.services.firestore.users_store import COLLECTION as USERS
from server.services.firestore.users_store import USERNAME
from server.services.history.measured import TEMP_MAX, TEMP_MIN, Measured, measured
from server.services.ports.documents import Create, plain
from server.services.ports.readings import NewRow, Reading

LegacyRow: TypeAlias = Mapping[str, int | float | str | bytes | None]

UNDATED = "without a date (a device's milliseconds since power-on, or no time at all)"
NO_NAME = "not a valid user name: rename it on the existing server, or make it with create-user"
EXPIRED = "over the time that they are kept for"
DETAILS_LEFT = "without their details, which are no JSON or too long"
IMPOSSIBLE = f"temp_tenths is no number from {TEMP_MIN} to {TEMP_MAX}"
NO_VALUE = f"as faults: sensor_ok is 1, but {IMPOSSIBLE}"
NO_WORD = "as faults: sensor_ok is neither 0 nor 1"
TEMPERATURE_LEFT = f"without their temperatures: {IMPOSSIBLE}"
BETWEEN = "with an estimated time: they have no date, and lie between rows that do"
ROUNDED = "with their temperatures rounded: temp_tenths has a fraction"
# The existing server stored no device ids.
DEVICE = "unknown"
STATES = {Relays(c, h, f).state for c, h, f in itertools.product((False, True), repeat=3)}
# Unix ms, of a reading without a date that lies between dated ones; no column of the file.
ESTIMATED = "estimated_ms"
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")


class Converted(msgspec.Struct, frozen=True):
    """A row as a document or a reading.

    `notes` say what was changed, `name` is for the report. The store may delete the row at
    `expire_at` (Unix ms).
    """

    item: Create | NewRow
    name: str
    notes: tuple[str, ...] = ()
    expire_at: float = math.inf


class RefusedRow(msgspec.Struct, frozen=True):
    """Why a row cannot be converted, in words that fit all such rows; `example` is this row."""

    why: str
    example: str


class Conversion:
    """Converts rows as of one moment, `now_ms`, for stores that keep readings `telemetry_days`."""

    def __init__(
        self, audit: AuditStore, now_ms: int, telemetry_days: int, names: AccountNames
    ) -> None:
        self._audit = audit
        self._names = names
        self._now_ms = now_ms
        self._telemetry_days = telemetry_days

    def convert(self, table: str, row: LegacyRow) -> Converted | RefusedRow:
        """Convert one row of users, telemetry or audit_log."""
        try:
            return {"users": self._user, "telemetry": self._reading, "audit_log": self._entry}[
                table
            ](row)
        except _Refusal as refusal:
            return RefusedRow(refusal.why, f"{_name(row)}: {refusal.value}")

    def _reading(self, row: LegacyRow) -> Converted:
        estimated_ms = row.get(ESTIMATED)
        timestamp_ms = self._date(row["timestamp"] if estimated_ms is None else estimated_ms)
        state = row["state"]
        if not isinstance(state, str) or state not in STATES:
            raise _Refusal("state is unknown", state)
        read = measured(row["temp_tenths"], row["sensor_ok"])
        # A fault keeps the relays and the state of its row: they show what was commanded then.
        reading = Reading(
            tenant_id=DEFAULT_TENANT,
            device_id=DEVICE,
            timestamp_ms=timestamp_ms,
            received_ms=timestamp_ms,
            device_ticks_ms=None if estimated_ms is None else _ticks(row["timestamp"]),
            temp_tenths=read.temp_tenths,
            setpoint_tenths=_integer(row, "setpoint_tenths", SETPOINT_MIN, SETPOINT_MAX),
            deadband_tenths=_integer(row, "deadband_tenths", DEADBAND_MIN, DEADBAND_MAX),
            cool_active=_flag(row, "cool_active"),
            heat_active=_flag(row, "heat_active"),
            state=state,
            sensor_ok=read.sensor_ok,
            fault_reason=read.fault_reason,
        )
        expire_at = timestamp_ms + self._telemetry_days * DAY_MS
        self._check_kept(expire_at, timestamp_ms)
        item = new_row(_row_id("telemetry", row), reading)
        return Converted(item, _name(row), _changed(row, read), expire_at)

    def _entry(self, row: LegacyRow) -> Converted:
        timestamp_ms = self._date(_milliseconds(row["timestamp"]))
        action = row["action"]
        if not isinstance(action, str) or not action:
            raise _Refusal("action is not a text", action)
        success = _flag(row, "success")
        try:
            details, notes = readable_details(row["details"]), []
        except ValueError:
            details, notes = {}, [DETAILS_LEFT]
        create = self._audit.entry(
            _text(action),
            tenant_id=DEFAULT_TENANT,
            username=self._names.shown(_text(row["username"]), success),
            address=_text(row["ip_address"]),
            success=success,
            details=details,
            at_ms=timestamp_ms,
        )
        create = msgspec.structs.replace(create, id=_row_id("audit_log", row))
        expire_at = plain(create.fields)["expire_at"]
        self._check_kept(expire_at, timestamp_ms)
        return Converted(create, _name(row), tuple(notes), expire_at)

    def _user(self, row: LegacyRow) -> Converted:
        name, digest, salt, role = (
            row[column] for column in ("username", "password_hash", "salt", "role")
        )
        if not isinstance(name, str) or not USERNAME.fullmatch(name):
            raise _Refusal(NO_NAME, name)
        if why := unusable(digest, salt):
            raise _Refusal(why, name)
        known = next((one for one in ROLES if one == role), None)
        notes = [] if known else ["of a role that is not known here: read-only now"]
        if row["mfa_enabled"]:
            notes.append("had a second factor, which is not asked for here")
        former, left_out = former_hashes(row["password_history"])
        user = User(
            user_id=name,
            username=name,
            password_hash=legacy_hash(str(salt), str(digest)),
            role=known or "read-only",
            tenant_id=DEFAULT_TENANT,
            created_at=self._past(row["created_at"]) or self._now_ms,
            updated_at=self._now_ms,
            last_login=self._past(row["last_login"]),
            password_history=former,
        )
        create = Create(USERS, document_id(name), fields_of(user))
        return Converted(create, name, (*notes, *left_out))

    def _date(self, value: object) -> int:
        """Return a time in Unix milliseconds that is a date by the rule for devices' readings."""
        if isinstance(value, int | float) and math.isfinite(value):
            if is_date(value, self._now_ms):
                return int(value)
            raise _Refusal(UNDATED, value)
        if value is None:
            raise _Refusal(UNDATED, value)
        raise _Refusal("timestamp is not a time", value)

    def _past(self, seconds: object) -> int | None:
        """Return Unix seconds as milliseconds, if that is a time in the past."""
        if isinstance(seconds, int | float) and 0 < seconds * 1000 <= self._now_ms:
            return int(seconds * 1000)
        return None

    def _check_kept(self, expire_at: int, timestamp_ms: int) -> None:
        if expire_at <= self._now_ms:
            raise _Refusal(EXPIRED, timestamp_ms)


def is_date(value: float, now_ms: int) -> bool:
    """Whether these Unix ms are a date by the rule for devices' readings, as of `now_ms`."""
    return EARLIEST_DATE_MS <= value <= now_ms + LATEST_AHEAD_MS


def lasting(row: LegacyRow) -> tuple[int, int, Relays] | None:
    """A reading's setpoint, deadband and relays; None if one of them is not valid."""
    try:
        return (
            _integer(row, "setpoint_tenths", SETPOINT_MIN, SETPOINT_MAX),
            _integer(row, "deadband_tenths", DEADBAND_MIN, DEADBAND_MAX),
            Relays(_flag(row, "cool_active"), _flag(row, "heat_active"), row["state"] == "FAULT"),
        )
    except _Refusal:
        return None


class _Refusal(Exception):
    def __init__(self, why: str, value: object) -> None:
        super().__init__(why)
        self.why = why
        self.value = shown(value)


def shown(value: object) -> str:
    """Return a value as one short line that a terminal can print."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _name(row: LegacyRow) -> str:
    return f"row {row['rowid']!r}"


def _row_id(table: str, row: LegacyRow) -> str:
    """Return the document's id: the same at every import of the row, and no other row has it."""
    stored = {name: value for name, value in row.items() if name != ESTIMATED}
    return hashlib.sha256(msgspec.json.encode((table, stored))).hexdigest()[:32]


def _changed(row: LegacyRow, read: Measured) -> tuple[str, ...]:
    """Say which of a row's measured values the conversion changed."""
    temp, ok = row["temp_tenths"], row["sensor_ok"]
    estimated = (BETWEEN,) if ESTIMATED in row else ()
    if read.fault_reason:
        return (*estimated, NO_VALUE)
    notes = [*estimated]
    notes += [NO_WORD] if type(ok) is not int or ok not in (0, 1) else []
    if read.temp_tenths != temp:
        notes.append(TEMPERATURE_LEFT if read.temp_tenths is None else ROUNDED)
    return tuple(notes)


def _ticks(value: object) -> int | None:
    """The time since power-on (ms) in place of a date, if it is one."""
    if isinstance(value, int | float) and 0 <= value < EARLIEST_DATE_MS:
        return int(value)
    return None


def _integer(row: LegacyRow, name: str, low: int, high: int) -> int:
    value = row[name]
    if not isinstance(value, int) or not low <= value <= high:
        raise _Refusal(f"{name} is not a whole number from {low} to {high}", value)
    return value


def _flag(row: LegacyRow, name: str) -> bool:
    value = row[name]
    if value not in (0, 1):
        raise _Refusal(f"{name} is neither 0 nor 1", value)
    return bool(value)


def _text(value: object) -> str:
    """Return a text cut to TEXT_MAX; empty for a value that is no text."""
    return value[:TEXT_MAX] if isinstance(value, str) else ""


def _milliseconds(value: object) -> object:
    """Convert an entry's time, ISO 8601 (UTC by default) or Unix seconds, to milliseconds.

    SQLite turned a number in a column for text into text. A value that is no time is returned as
    it is.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, int | float):
        return value * 1000
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return int(aware.timestamp() * 1000)
        except (ValueError, OverflowError):
            return value
    return value
