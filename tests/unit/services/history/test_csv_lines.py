"""Lines of a CSV file say the same as the readings, in a form that programs read alike."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.services.history.columns import COOL, HEAT, SENSOR_OK, Columns
from server.services.history.csv_lines import HEADER, CsvLines, degrees
from server.services.ports.readings import Reading

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_9998_MS = 253_370_764_800_000


def reading(time_ms: int, temp: int | None = 200, **more) -> Reading:
    fields = {
        "tenant_id": "default",
        "device_id": "lab",
        "timestamp_ms": time_ms,
        "temp_tenths": temp,
        "setpoint_tenths": 230,
        "deadband_tenths": 10,
        "cool_active": False,
        "heat_active": True,
        "state": "IDLE",
        "sensor_ok": True,
    }
    return Reading(**(fields | more))


def rows_of(lines: CsvLines, *readings: Reading) -> list[dict[str, str]]:
    text = (HEADER + lines(Columns.of(readings))).decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
readings = st.builds(
    reading,
    st.integers(0, YEAR_9998_MS),
    st.none() | st.integers(-550, 1250),
    setpoint_tenths=st.integers(-99, 2000),
    deadband_tenths=st.integers(0, 50),
    cool_active=st.booleans(),
    heat_active=st.booleans(),
    sensor_ok=st.booleans(),
    state=texts,
)


@given(texts, st.lists(readings, max_size=5))
@settings(max_examples=60)
def test_a_line_says_what_its_reading_says(device_id, some):
    for row, one in zip(rows_of(CsvLines(device_id, UTC), *some), some, strict=True):
        time = EPOCH + timedelta(milliseconds=one.timestamp_ms)
        assert datetime.fromisoformat(row["time_utc"]) == time
        assert datetime.fromisoformat(row["time_local"]).replace(tzinfo=UTC) == time
        temp = "" if one.temp_tenths is None else f"{one.temp_tenths / 10:.1f}"
        assert row["temp_c"] == temp
        assert float(row["setpoint_c"]) == one.setpoint_tenths / 10
        assert float(row["deadband_c"]) == one.deadband_tenths / 10
        flags = one.cool_active, one.heat_active, one.sensor_ok
        assert (row["cool"], row["heat"], row["sensor_ok"]) == tuple(str(int(x)) for x in flags)
        for cell, text in ((row["device_id"], device_id), (row["state"], one.state)):
            assert cell.removeprefix("'") == text.removeprefix("'")
            assert not cell.lstrip().startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize(
    ("tenths", "text"), [(0, "0.0"), (-1, "-0.1"), (-10, "-1.0"), (235, "23.5"), (1250, "125.0")]
)
def test_a_temperature_always_has_one_decimal(tenths, text):
    assert degrees(tenths) == text


def test_local_times_follow_the_zone_through_a_change_of_its_clock():
    lines = CsvLines("lab", ZoneInfo("Australia/Lord_Howe"))
    # The clock is set forward by half an hour at 15:30Z.
    times = [1_791_041_400_000 + minutes * 60_000 for minutes in (-1, 0)]
    rows = rows_of(lines, *map(reading, times))
    assert [row["time_local"] for row in rows] == [
        "2026-10-04 01:59:00.000",
        "2026-10-04 02:30:00.000",
    ]


def test_without_a_zone_local_times_are_those_of_the_system():
    (row,) = rows_of(CsvLines("lab", None), reading(1_764_460_800_123))
    expected = datetime.fromtimestamp(1_764_460_800.123)
    assert row["time_local"] == expected.isoformat(" ", "milliseconds")


@pytest.mark.parametrize("time_ms", [-(2**63), -1, 253_402_300_799_999, 2**63 - 1])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_a_time_that_no_calendar_has_still_makes_a_line(time_ms, zone):
    assert len(rows_of(CsvLines("lab", ZoneInfo(zone)), reading(time_ms))) == 1


def test_many_different_readings_do_not_fill_the_memory():
    lines = CsvLines("lab", UTC)
    for first in range(0, 50_000, 5_000):
        many = range(first, first + 5_000)
        lines(Columns.of(reading(n * 60_000, setpoint_tenths=n) for n in many))
    assert len(lines._minutes) <= 20_000
    assert len(lines._ends) <= 20_000


def test_the_flags_are_those_of_columns():
    columns = Columns.of([reading(0)])
    assert columns.flags[0] & (COOL | HEAT | SENSOR_OK) == HEAT + SENSOR_OK
