"""The conversion of the existing server's rows, of each kind and with unusual values."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from server.auth.passwords import legacy_hash
from server.common.metrics import Metrics
from server.control.rules.reading import EARLIEST_DATE_MS
from server.legacy.account_names import AccountNames
from server.legacy.convert_rows import (
    DETAILS_LEFT,
    EXPIRED,
    NO_VALUE,
    NO_WORD,
    ROUNDED,
    TEMPERATURE_LEFT,
    UNDATED,
    Conversion,
    Converted,
    RefusedRow,
)
from server.legacy.database import COLUMNS
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.models import DAY_MS, AuditEntry, User, fields_of, utc_text
from server.services.history.measured import Measured
from server.services.ports.documents import Create, plain
from server.services.ports.readings import NewRow, Reading
from server.services.ports.values import check, check_id
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
NAMES = AccountNames({"anna"}, lambda name: f"digest of {len(name)}")


@pytest.fixture
def conversion() -> Conversion:
    audit = AuditStore(None, ManualClock(), 180, Metrics())  # type: ignore[arg-type]
    return Conversion(audit, NOW, 90, NAMES)


def row(table: str, cells: dict[str, Any], rowid: int = 7) -> dict[str, Any]:
    """A row as the import reads it."""
    return {"rowid": rowid} | {name: cells.get(name) for name in COLUMNS[table]}


def converted(conversion: Conversion, table: str, cells: dict[str, Any]) -> Converted:
    found = conversion.convert(table, row(table, cells))
    assert isinstance(found, Converted), found
    return found


def reading_of(conversion: Conversion, cells: dict[str, Any]) -> Reading:
    item = converted(conversion, "telemetry", cells).item
    assert isinstance(item, NewRow)
    return item.reading


def refused(conversion: Conversion, table: str, cells: dict[str, Any]) -> RefusedRow:
    found = conversion.convert(table, row(table, cells))
    assert isinstance(found, RefusedRow), found
    return found


def test_a_reading_keeps_its_values_and_its_time(conversion: Conversion) -> None:
    there = legacy.reading(NOW - 1000.25, state="COOLING", cool_active=1, heat_active=0)
    item = converted(conversion, "telemetry", there).item
    assert isinstance(item, NewRow)
    assert item.reading == Reading(
        tenant_id="default",
        device_id="unknown",
        timestamp_ms=NOW - 1001,
        received_ms=NOW - 1001,
        temp_tenths=235,
        setpoint_tenths=230,
        deadband_tenths=10,
        cool_active=True,
        heat_active=False,
        state="COOLING",
        sensor_ok=True,
    )


@pytest.mark.parametrize(
    "state", ["IDLE", "COOLING", "IDLE_WITH_LEDS", "COOLING_WITH_LEDS", "FAULT"]
)
def test_a_state_is_copied_unchanged_whatever_the_relays_are(
    conversion: Conversion, state: str
) -> None:
    there = legacy.reading(NOW, state=state, cool_active=1, heat_active=1)
    assert reading_of(conversion, there).state == state


@pytest.mark.parametrize("timestamp", [None, 0, 123_456.0, 2**30, EARLIEST_DATE_MS - 1, SOON + 1])
def test_a_reading_without_a_date_is_refused_as_undated(
    conversion: Conversion, timestamp: Any
) -> None:
    assert refused(conversion, "telemetry", legacy.reading(timestamp)).why == UNDATED


@pytest.mark.parametrize(("age_ms", "kept"), [(90 * DAY_MS, False), (90 * DAY_MS - 1, True)])
def test_a_reading_beyond_its_retention_is_not_copied(
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
def test_an_invalid_value_is_reported_with_its_row(
    conversion: Conversion, name: str, value: Any
) -> None:
    found = refused(conversion, "telemetry", legacy.reading(float(NOW)) | {name: value})
    assert found.why.startswith(f"{name} is ")
    assert found.example == f"row 7: {value!r}"


@pytest.mark.parametrize("case", [*CELLS, Case(b"1", 1, NO_READING)], ids=str)
def test_a_measured_value_is_parsed_like_that_of_a_device(
    conversion: Conversion, case: Case
) -> None:
    there = legacy.reading(float(NOW), temp_tenths=case.temp, sensor_ok=case.sensor_ok)
    reading = reading_of(conversion, there)
    assert (reading.temp_tenths, reading.sensor_ok, reading.fault_reason) == case.read


@pytest.mark.parametrize("temp", [None, 9999, 215])
@pytest.mark.parametrize(
    ("cool", "heat", "state"), [(0, 0, "FAULT"), (1, 1, "COOLING_WITH_LEDS"), (0, 1, "FAULT")]
)
def test_a_fault_keeps_the_relays_and_the_state_that_were_commanded(
    conversion: Conversion, temp: Any, cool: int, heat: int, state: str
) -> None:
    there = legacy.fault(NOW, temp_tenths=temp, cool_active=cool, heat_active=heat, state=state)
    for sensor_ok in (0, 1, None):
        row = there | {"sensor_ok": sensor_ok}
        reading = reading_of(conversion, row)
        assert (reading.cool_active, reading.heat_active) == (bool(cool), bool(heat))
        assert reading.state == state


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
def test_each_change_of_a_reading_s_values_is_reported_in_a_note(
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
    assert (found.item.collection, found.item.id, found.notes) == ("users", "bob%5Fx", ())
    assert msgspec.convert(found.item.fields, User) == User(
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
def test_an_unknown_role_becomes_the_lowest_one_and_is_reported(
    conversion: Conversion, role: Any
) -> None:
    found = converted(conversion, "users", legacy.user("anna", role))
    assert found.item.fields["role"] == "read-only"
    assert len(found.notes) == 1
    assert "role" in found.notes[0]


def test_the_loss_of_a_second_factor_is_reported(conversion: Conversion) -> None:
    found = converted(conversion, "users", legacy.user("anna", mfa_enabled=1))
    assert len(found.notes) == 1
    assert "second factor" in found.notes[0]


def test_former_passwords_are_kept_the_latest_first(conversion: Conversion) -> None:
    """ASVS 5.0 v5.0.0-11.4.2: as the hashes that they were, with their salts."""
    pairs = [{"password_hash": f"{n}" * 64, "salt": f"{n}" * 32} for n in range(3)]
    found = converted(conversion, "users", legacy.user("anna", password_history=json.dumps(pairs)))
    kept = found.item.fields["password_history"]
    assert kept == [f"pbkdf2_sha256$100000${str(n) * 32}${str(n) * 64}" for n in (2, 1, 0)]
    assert found.notes == ()


@pytest.mark.parametrize("history", [None, "", "[]"])
def test_an_account_without_former_passwords_needs_no_note(
    conversion: Conversion, history: Any
) -> None:
    found = converted(conversion, "users", legacy.user("anna", password_history=history))
    assert (found.item.fields["password_history"], found.notes) == ([], ())


@pytest.mark.parametrize(
    "history",
    [
        "[",
        "{}",
        "7",
        "[" * 100_000,
        json.dumps(["0" * 64]),
        json.dumps([{"password_hash": "0" * 64}]),
        json.dumps([{"password_hash": 7, "salt": []}, None]),
    ],
)
def test_a_former_password_that_cannot_be_checked_is_left_out_and_reported(
    conversion: Conversion, history: str
) -> None:
    found = converted(conversion, "users", legacy.user("anna", password_history=history))
    assert found.item.fields["password_history"] == []
    assert len(found.notes) == 1
    assert "without former passwords" in found.notes[0]


@pytest.mark.parametrize("when", [None, 0, -1, "noon", b"", math.inf, 1e300, NOW / 1000 + 1])
def test_an_invalid_creation_time_becomes_now_and_an_invalid_log_in_time_is_dropped(
    conversion: Conversion, when: Any
) -> None:
    there = legacy.user("anna", created_at=when, last_login=when)
    fields = converted(conversion, "users", there).item.fields
    assert (fields["created_at"], fields["last_login"]) == (NOW, None)


@pytest.mark.parametrize("name", ["a b", "", "_x", "x" * 65, "anna\n", "a\0", None, 7, b"anna"])
def test_a_name_that_no_account_can_have_is_reported(conversion: Conversion, name: Any) -> None:
    found = refused(conversion, "users", legacy.user(name))
    assert "name" in found.why
    assert found.example.startswith("row 7: ")
    assert found.example.isprintable()


@pytest.mark.parametrize("column", ["password_hash", "salt"])
@pytest.mark.parametrize(
    "value",
    [None, "", "ab", "g" * 64, "a" * 63, "a" * 130, "ä" * 64, b"a" * 64, 0, "a" * 64 + "\n"],
)
def test_an_invalid_hash_or_salt_is_reported_with_the_account_s_name(
    conversion: Conversion, column: str, value: Any
) -> None:
    found = refused(conversion, "users", legacy.user("anna", **{column: value}))
    assert column.removeprefix("password_") in found.why
    assert found.example == "row 7: 'anna'"


def test_an_audit_entry_keeps_all_details_except_session_ids(
    conversion: Conversion,
) -> None:
    details = {"attempt": 1, "a": [{"Session_ID": "sess_1"}], "session_id": "sess_2"}
    there = legacy.entry(NOW - 1500, details=json.dumps(details), success=0)
    found = converted(conversion, "audit_log", there)
    assert found.notes == ()
    assert "sess" not in repr(found)
    assert msgspec.convert(found.item.fields, AuditEntry) == AuditEntry(
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


def test_long_names_in_an_audit_entry_are_shortened(conversion: Conversion) -> None:
    long = dict.fromkeys(("action", "username", "ip_address"), "x" * 8000)
    fields = converted(conversion, "audit_log", legacy.entry(NOW, **long)).item.fields
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
def test_every_form_of_an_audit_entry_s_time_is_parsed(
    conversion: Conversion, timestamp: Any, expected: int
) -> None:
    there = legacy.entry("") | {"timestamp": timestamp}
    found = converted(conversion, "audit_log", there)
    assert found.item.fields["timestamp_ms"] == expected


@pytest.mark.parametrize("timestamp", ["", "soon", "0001-01-01T00:00:00+14:00", b"1", math.inf])
def test_an_audit_entry_with_an_invalid_time_is_refused(
    conversion: Conversion, timestamp: Any
) -> None:
    there = legacy.entry("") | {"timestamp": timestamp}
    assert refused(conversion, "audit_log", there).why in {"timestamp is not a time", UNDATED}


@pytest.mark.parametrize(("days", "kept"), [(180, False), (179, True)])
def test_an_audit_entry_beyond_its_retention_is_not_copied(
    conversion: Conversion, days: int, kept: bool
) -> None:
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
def test_details_that_a_store_would_refuse_are_stored_as_text(
    conversion: Conversion, text: Any, expected: Any
) -> None:
    found = converted(conversion, "audit_log", legacy.entry(NOW, details=text))
    assert (found.item.fields["details"], found.notes) == (expected, ())


@pytest.mark.parametrize(
    "text",
    [
        *('{"session_id": "sess_1', "not JSON: sess_1", b"{}", 7, "[" * 8000, "9" * 5000),
        *('{"a":' * 9 + "1" + "}" * 9, json.dumps({"k" * 300: 1})),
    ],
)
def test_details_that_cannot_be_parsed_are_left_out_with_a_note(
    conversion: Conversion, text: Any
) -> None:
    found = converted(conversion, "audit_log", legacy.entry(NOW, details=text))
    assert (found.item.fields["details"], found.notes) == ({}, (DETAILS_LEFT,))


def rows() -> Iterator[tuple[str, dict[str, Any]]]:
    """Valid rows with each column replaced by each value, and then with two columns at random."""
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


def test_every_row_becomes_a_document_that_a_store_accepts_or_a_refused_row(
    conversion: Conversion,
) -> None:
    kinds = set()
    for table, cells in rows():
        found = conversion.convert(table, row(table, cells))
        kinds.add((table, type(found)))
        if isinstance(found, RefusedRow):
            assert len(found.why + found.example) < 300
            assert found.example.isprintable()
            continue
        check_id(found.item.id)
        item = found.item
        fields = fields_of(item.reading) if isinstance(item, NewRow) else item.fields
        check(fields)
        encoded = msgspec.json.encode(fields)
        assert len(encoded) < 20_000
        assert b"sess_secret" not in encoded
        model = {"telemetry": Reading, "users": User, "audit_log": AuditEntry}[table]
        msgspec.convert(fields, model)
    assert len(kinds) == 6


def test_each_row_has_a_document_id_that_is_the_same_in_every_run() -> None:
    cells = legacy.reading(float(NOW))
    ids = set()
    for clock, days in ((NOW, 90), (NOW + 5, 30)):
        audit = AuditStore(None, ManualClock(), days, Metrics())  # type: ignore[arg-type]
        again = Conversion(audit, clock, days, NAMES)
        ids.add(converted(again, "telemetry", cells).item.id)
    assert len(ids) == 1
    others = [(8, cells), (7, cells | {"temp_tenths": 236}), (7, cells | {"timestamp": NOW - 1.0})]
    for rowid, other in others:
        found = again.convert("telemetry", row("telemetry", other, rowid))
        assert isinstance(found, Converted)
        ids.add(found.item.id)
    assert len(ids) == 1 + len(others)


def test_the_name_of_a_refused_log_in_that_is_no_account_is_hidden(conversion: Conversion) -> None:
    """OWASP ASVS 5.0, V16.2.5: credentials are not logged; people type them as names."""

    def name(**changed: object) -> str:
        found = converted(conversion, "audit_log", legacy.entry(NOW, **changed))
        assert isinstance(found.item, Create)
        return str(plain(found.item.fields)["username"])

    assert name(username="my password", success=0) == "digest of 11"
    assert name(username="anna", success=0) == "anna"
    assert name(username="deleted since", success=1) == "deleted since"
    assert name(username=None, success=0) == ""
