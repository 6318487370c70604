"""What becomes of the existing server's rows, kind by kind and with values nobody expects."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from server.auth.passwords import legacy_hash
from server.control.reading import EARLIEST_DATE_MS
from server.legacy.conversion import (
    DETAILS_LEFT,
    EXPIRED,
    NO_VALUE,
    NO_WORD,
    ROUNDED,
    TEMPERATURE_LEFT,
    UNDATED,
    Conversion,
    Converted,
    Refused,
)
from server.metrics import Metrics
from server.services.embedded.legacy_database import COLUMNS
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.measured import Measured
from server.services.firestore.models import DAY_MS, AuditEntry, Reading, User, utc_text
from server.services.firestore.values import check, check_id
from tests.support import legacy
from tests.support.clock import ManualClock
from tests.support.measured import CELLS, Case

NOW = ManualClock().now_ms()
SOON = NOW + 5 * 60_000
TEXTS = ["", "x", "235", "1e3", "null", "ä\0\u2028", "\N{REPLACEMENT CHARACTER}", "x" * 9000]
NUMBERS = [
    *(0, 1, -1, 2, 235, 2**31, 2**53, 2**63 - 1, -(2**63), NOW, NOW // 1000),
    *(0.5, -0.0, 1.0, 1e300, -1e300, math.inf, -math.inf, float(NOW), NOW / 1000),
]
DETAILS = [
    *("{", "[]", "[" * 8000, '{"a":' * 9 + "1" + "}" * 9, "NaN", '"\\ud800"', "9" * 5000),
    *('{"":1}', '{"__a__":{"~[":[[1]]}}', '{"a":1e999}', '{"a":NaN}', '{"\\udc00":2}'),
]
NO_READING = Measured(None, False, "no_value")
VALUES = [None, b"", b"\xff\0", *TEXTS, *NUMBERS]


@pytest.fixture
def conversion() -> Conversion:
    return Conversion(AuditStore(None, ManualClock(), 180, Metrics()), NOW, 90)  # type: ignore[arg-type]


def row(table: str, cells: dict[str, Any], rowid: int = 7) -> dict[str, Any]:
    """A row as the reader gives it."""
    return {"rowid": rowid} | {name: cells.get(name) for name in COLUMNS[table]}


def converted(conversion: Conversion, table: str, cells: dict[str, Any]) -> Converted:
    found = conversion.convert(table, row(table, cells))
    assert isinstance(found, Converted), found
    return found


def refused(conversion: Conversion, table: str, cells: dict[str, Any]) -> Refused:
    found = conversion.convert(table, row(table, cells))
    assert isinstance(found, Refused), found
    return found


def test_a_reading_keeps_its_values_and_its_time(conversion: Conversion) -> None:
    there = legacy.reading(NOW - 1000.25, state="COOLING", cool_active=1, heat_active=0)
    create = converted(conversion, "telemetry", there).create
    assert create.collection == "telemetry"
    assert msgspec.convert(create.fields, Reading) == Reading(
        tenant_id="default",
        device_id="unknown",
        timestamp_ms=NOW - 1001,
        utc_timestamp=utc_text(NOW - 1001),
        received_ms=NOW - 1001,
        temp_tenths=235,
        setpoint_tenths=230,
        deadband_tenths=10,
        cool_active=True,
        heat_active=False,
        state="COOLING",
        sensor_ok=True,
        expire_at=NOW - 1001 + 90 * DAY_MS,
    )


@pytest.mark.parametrize(
    "state", ["IDLE", "COOLING", "IDLE_WITH_LEDS", "COOLING_WITH_LEDS", "FAULT"]
)
def test_a_state_stays_as_it_was_told_whatever_the_relays_say(
    conversion: Conversion, state: str
) -> None:
    there = legacy.reading(NOW, state=state, cool_active=1, heat_active=1)
    assert converted(conversion, "telemetry", there).create.fields["state"] == state


@pytest.mark.parametrize("timestamp", [None, 0, 123_456.0, 2**30, EARLIEST_DATE_MS - 1, SOON + 1])
def test_a_reading_without_a_date_is_told_as_such(conversion: Conversion, timestamp: Any) -> None:
    assert refused(conversion, "telemetry", legacy.reading(timestamp)).why == UNDATED


@pytest.mark.parametrize(("age_ms", "kept"), [(90 * DAY_MS, False), (90 * DAY_MS - 1, True)])
def test_a_reading_that_would_be_deleted_at_once_is_not_copied(
    conversion: Conversion, age_ms: int, kept: bool
) -> None:
    found = conversion.convert("telemetry", row("telemetry", legacy.reading(float(NOW - age_ms))))
    assert isinstance(found, Converted) is kept
    assert kept or found.why == EXPIRED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("setpoint_tenths", value) for value in (99, 401, None)),
        *(("deadband_tenths", value) for value in (-1, 51, None)),
        *(("cool_active", value) for value in (2, None, "yes")),
        *(("heat_active", -1), ("timestamp", "noon"), ("timestamp", b"1")),
        *(("state", value) for value in (None, "BROKEN", 1, b"IDLE")),
    ],
)
def test_a_value_that_is_not_stored_here_is_named_with_its_row(
    conversion: Conversion, name: str, value: Any
) -> None:
    found = refused(conversion, "telemetry", legacy.reading(float(NOW)) | {name: value})
    assert found.why.startswith(f"{name} is ")
    assert found.example == f"row 7: {value!r}"


@pytest.mark.parametrize("case", [*CELLS, Case(b"1", 1, NO_READING)], ids=str)
def test_what_was_measured_is_read_as_it_is_of_a_device(conversion: Conversion, case: Case) -> None:
    there = legacy.reading(float(NOW), temp_tenths=case.temp, sensor_ok=case.sensor_ok)
    fields = converted(conversion, "telemetry", there).create.fields
    reading = msgspec.convert(fields, Reading)
    assert (reading.temp_tenths, reading.sensor_ok, reading.fault_reason) == case.read
    assert "temp_tenths" in fields


@pytest.mark.parametrize("temp", [None, 9999, 215])
@pytest.mark.parametrize(
    ("cool", "heat", "state"), [(0, 0, "FAULT"), (1, 1, "COOLING_WITH_LEDS"), (0, 1, "FAULT")]
)
def test_a_fault_tells_what_was_commanded_then(
    conversion: Conversion, temp: Any, cool: int, heat: int, state: str
) -> None:
    there = legacy.fault(NOW, temp_tenths=temp, cool_active=cool, heat_active=heat, state=state)
    for sensor_ok in (0, 1, None):
        row = there | {"sensor_ok": sensor_ok}
        fields = converted(conversion, "telemetry", row).create.fields
        assert [fields[name] for name in ("cool_active", "heat_active", "state")] == [
            bool(cool),
            bool(heat),
            state,
        ]


@pytest.mark.parametrize(
    ("temp", "sensor_ok", "notes"),
    [
        *((235, 1, ()), (235, 0, ()), (None, 0, ()), (235.0, 1, ())),
        *((temp, 1, (NO_VALUE,)) for temp in (None, 1251, "warm", -600.5, b"1")),
        *((temp, 0, (TEMPERATURE_LEFT,)) for temp in (1251, "warm", -600.5, b"1")),
        *((235.4, ok, (ROUNDED,)) for ok in (0, 1)),
        *((235, ok, (NO_WORD,)) for ok in (None, 2, "yes", 1.0, b"1")),
        (235.4, None, (NO_WORD, ROUNDED)),
        (9999, None, (NO_WORD, TEMPERATURE_LEFT)),
        (None, None, (NO_WORD,)),
    ],
)
def test_what_of_a_reading_is_not_as_it_was_is_told(
    conversion: Conversion, temp: Any, sensor_ok: Any, notes: tuple[str, ...]
) -> None:
    there = legacy.reading(float(NOW), temp_tenths=temp, sensor_ok=sensor_ok)
    assert converted(conversion, "telemetry", there).notes == notes


@pytest.mark.parametrize("timestamp", [None, 123_456.0, 2**30])
def test_a_fault_without_a_date_is_not_copied(conversion: Conversion, timestamp: Any) -> None:
    assert refused(conversion, "telemetry", legacy.fault(timestamp)).why == UNDATED


def test_a_user_keeps_name_role_and_password(conversion: Conversion) -> None:
    there = legacy.user("bob_x", "admin", last_login=1_700_000_100.5)
    found = converted(conversion, "users", there)
    assert (found.create.collection, found.create.id, found.notes) == ("users", "bob%5Fx", ())
    assert msgspec.convert(found.create.fields, User) == User(
        user_id="bob_x",
        username="bob_x",
        password_hash=legacy_hash(there["salt"], there["password_hash"]),
        role="admin",
        tenant_id="default",
        created_at=1_700_000_000_250,
        updated_at=NOW,
        last_login=1_700_000_100_500,
    )


@pytest.mark.parametrize("role", [None, "viewer", "Admin", "admin ", "", 7, b"admin"])
def test_an_unknown_role_is_the_lowest_and_is_told(conversion: Conversion, role: Any) -> None:
    found = converted(conversion, "users", legacy.user("anna", role))
    assert found.create.fields["role"] == "read-only"
    assert len(found.notes) == 1
    assert "role" in found.notes[0]


def test_a_second_factor_that_is_lost_is_told(conversion: Conversion) -> None:
    found = converted(conversion, "users", legacy.user("anna", mfa_enabled=1))
    assert len(found.notes) == 1
    assert "second factor" in found.notes[0]


@pytest.mark.parametrize("when", [None, 0, -1, "noon", b"", math.inf, 1e300, NOW / 1000 + 1])
def test_a_time_that_never_was_is_now_or_never(conversion: Conversion, when: Any) -> None:
    there = legacy.user("anna", created_at=when, last_login=when)
    fields = converted(conversion, "users", there).create.fields
    assert (fields["created_at"], fields["last_login"]) == (NOW, None)


@pytest.mark.parametrize("name", ["a b", "", "_x", "x" * 65, "anna\n", "a\0", None, 7, b"anna"])
def test_a_name_that_no_account_can_have_is_told(conversion: Conversion, name: Any) -> None:
    found = refused(conversion, "users", legacy.user(name))
    assert "name" in found.why
    assert found.example.startswith("row 7: ")
    assert found.example.isprintable()


@pytest.mark.parametrize("column", ["password_hash", "salt"])
@pytest.mark.parametrize(
    "value",
    [None, "", "ab", "g" * 64, "a" * 63, "a" * 130, "ä" * 64, b"a" * 64, 0, "a" * 64 + "\n"],
)
def test_what_is_no_hash_or_no_salt_is_told_with_the_accounts_name(
    conversion: Conversion, column: str, value: Any
) -> None:
    found = refused(conversion, "users", legacy.user("anna", **{column: value}))
    assert column.removeprefix("password_") in found.why
    assert found.example == "row 7: 'anna'"


def test_an_audit_entry_keeps_what_happened_and_not_the_sessions_id(
    conversion: Conversion,
) -> None:
    details = {"attempt": 1, "a": [{"Session_ID": "sess_1"}], "session_id": "sess_2"}
    there = legacy.entry(NOW - 1500, details=json.dumps(details), success=0)
    found = converted(conversion, "audit_log", there)
    assert found.notes == ()
    assert "sess" not in repr(found)
    assert msgspec.convert(found.create.fields, AuditEntry) == AuditEntry(
        tenant_id="default",
        timestamp_ms=NOW - 1500,
        utc_timestamp=utc_text(NOW - 1500),
        action="AUTH_LOGIN_SUCCESS",
        user_id="anna",
        username="anna",
        address="10.0.0.7",
        success=False,
        details={"attempt": 1, "a": [{}]},
        expire_at=NOW - 1500 + 180 * DAY_MS,
    )


def test_names_in_an_entry_are_never_long(conversion: Conversion) -> None:
    long = dict.fromkeys(("action", "username", "ip_address"), "x" * 8000)
    fields = converted(conversion, "audit_log", legacy.entry(NOW, **long)).create.fields
    assert [fields[name] for name in ("event_type", "username", "ip_address")] == ["x" * 256] * 3


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2026-09-01T10:00:00.250Z", 1_788_256_800_250),
        ("2026-09-01T10:00:00.250", 1_788_256_800_250),
        ("2026-09-01T12:00:00+02:00", 1_788_256_800_000),
        ("1788256800.25", 1_788_256_800_250),
        (1_788_256_800.25, 1_788_256_800_250),
        (1_788_256_800, 1_788_256_800_000),
    ],
)
def test_every_form_of_an_entrys_time_is_read(
    conversion: Conversion, timestamp: Any, expected: int
) -> None:
    there = legacy.entry("") | {"timestamp": timestamp}
    found = converted(conversion, "audit_log", there)
    assert found.create.fields["timestamp_ms"] == expected


@pytest.mark.parametrize("timestamp", ["", "soon", "0001-01-01T00:00:00+14:00", b"1", math.inf])
def test_an_entrys_time_that_is_none_is_told(conversion: Conversion, timestamp: Any) -> None:
    there = legacy.entry("") | {"timestamp": timestamp}
    assert refused(conversion, "audit_log", there).why in {"timestamp is not a time", UNDATED}


@pytest.mark.parametrize(("days", "kept"), [(180, False), (179, True)])
def test_an_old_entry_is_not_copied(conversion: Conversion, days: int, kept: bool) -> None:
    found = conversion.convert("audit_log", row("audit_log", legacy.entry(NOW - days * DAY_MS)))
    assert isinstance(found, Converted) is kept
    assert kept or found.why == EXPIRED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((None, {}), ("", {}), ("null", {}), ("7", {"value": 7}), ("[1]", {"value": [1]})),
        (
            '{"t": NaN, "u": 1e999, "n": 18446744073709551616}',
            {"t": "NaN", "u": "inf", "n": str(2**64)},
        ),
        ('{"a\\ud800": "\\udfff"}', {"a?": "?"}),
    ],
)
def test_details_that_a_store_would_not_take_are_text(
    conversion: Conversion, text: Any, expected: Any
) -> None:
    found = converted(conversion, "audit_log", legacy.entry(NOW, details=text))
    assert (found.create.fields["details"], found.notes) == (expected, ())


@pytest.mark.parametrize(
    "text",
    [
        *('{"session_id": "sess_1', "not JSON: sess_1", b"{}", 7, "[" * 8000, "9" * 5000),
        *('{"a":' * 9 + "1" + "}" * 9, json.dumps({"k" * 300: 1})),
    ],
)
def test_details_that_cannot_be_read_are_left_out_with_a_note(
    conversion: Conversion, text: Any
) -> None:
    found = converted(conversion, "audit_log", legacy.entry(NOW, details=text))
    assert (found.create.fields["details"], found.notes) == ({}, (DETAILS_LEFT,))


def rows() -> Iterator[tuple[str, dict[str, Any]]]:
    """Good rows with each column replaced by each value, and then with several at random."""
    good = {
        "telemetry": legacy.reading(float(NOW)),
        "users": legacy.user("anna"),
        "audit_log": legacy.entry(NOW),
    }
    chance = random.Random(7)
    for table, cells in good.items():
        for name in COLUMNS[table]:
            for value in (*VALUES, *(DETAILS if name == "details" else ())):
                yield table, cells | {name: value}
        for _ in range(2000):
            names = chance.sample(COLUMNS[table], 2)
            yield table, cells | {name: chance.choice([*VALUES, *DETAILS]) for name in names}


def test_no_row_whatsoever_is_an_error_or_a_document_that_no_store_would_take(
    conversion: Conversion,
) -> None:
    kinds = set()
    for table, cells in rows():
        found = conversion.convert(table, row(table, cells))
        kinds.add((table, type(found)))
        if isinstance(found, Refused):
            assert len(found.why + found.example) < 300
            assert found.example.isprintable()
            continue
        check_id(found.create.id)
        check(found.create.fields)
        encoded = msgspec.json.encode(found.create.fields)
        assert len(encoded) < 20_000
        assert b"sess_secret" not in encoded
        model = {"telemetry": Reading, "users": User, "audit_log": AuditEntry}[table]
        msgspec.convert(found.create.fields, model)
    assert len(kinds) == 6


def test_a_row_is_the_same_document_in_every_run_and_another_row_is_another() -> None:
    cells = legacy.reading(float(NOW))
    ids = set()
    for clock, days in ((NOW, 90), (NOW + 5, 30)):
        audit = AuditStore(None, ManualClock(), days, Metrics())  # type: ignore[arg-type]
        again = Conversion(audit, clock, days)
        ids.add(converted(again, "telemetry", cells).create.id)
    assert len(ids) == 1
    others = [(8, cells), (7, cells | {"temp_tenths": 236}), (7, cells | {"timestamp": NOW - 1.0})]
    for rowid, other in others:
        found = again.convert("telemetry", row("telemetry", other, rowid))
        assert isinstance(found, Converted)
        ids.add(found.create.id)
    assert len(ids) == 1 + len(others)
