"""An invalid field makes a reading a fault, or counts as missing (contract, section 6)."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, reading, stored

COOLING = {
    "cool_active": True,
    "heat_active": True,
    "setpoint_tenths": 230,
    "deadband_tenths": 10,
}
OFF = COOLING | {"cool_active": False, "heat_active": False}


@pytest.fixture
def device(container):
    return Caller(container.app)


@pytest.mark.parametrize(
    ("temp", "reason"),
    [
        ("235", "no_value"),
        (True, "no_value"),
        (None, "no_value"),
        ([235], "no_value"),
        (-551, "out_of_range"),
        (1251, "out_of_range"),
        (10**30, "out_of_range"),
        (1e300, "out_of_range"),
    ],
)
async def test_a_good_sensor_with_an_invalid_temperature_is_a_fault_with_its_reason(
    device, container, clock, temp, reason
):
    await device.post("/api/sensor_data", reading(300))
    clock.advance(1)
    answer = await device.post("/api/sensor_data", reading(temp))
    assert (answer.status, answer.json()) == (200, OFF)
    newest, _ = await stored(container)
    assert (newest.temp_tenths, newest.sensor_ok, newest.state) == (None, False, "FAULT")
    assert newest.fault_reason == reason
    status = (await device.get("/api/status")).json()
    assert (status["state"], status["fault_reason"]) == ("FAULT", reason)
    assert (status["trust"]["state"], status["trust"]["reason"]) == ("fault", reason)


@pytest.mark.parametrize(("temp", "kept_as"), [(23.5, 24), (215.0, 215), (243.7, 244), (-0.5, -1)])
async def test_a_temperature_with_a_fraction_is_rounded(device, container, temp, kept_as):
    assert (await device.post("/api/sensor_data", reading(temp))).json()["heat_active"] is True
    assert [kept.temp_tenths for kept in await stored(container)] == [kept_as]


@pytest.mark.parametrize(
    ("value", "ok"),
    [
        (True, True),
        (1, True),
        (False, False),
        (0, False),
        ("true", False),
        (None, False),
        (2, False),
    ],
)
async def test_only_true_and_1_mean_a_good_sensor(device, container, value, ok):
    answer = await device.post("/api/sensor_data", reading(300, value))
    assert (answer.status, answer.json()["cool_active"]) == (200, ok)
    (kept,) = await stored(container)
    assert (kept.temp_tenths, kept.sensor_ok, kept.fault_reason) == (300, ok, "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timestamp", "1790000000000"),
        ("timestamp", True),
        ("timestamp", 2**53),
        ("timestamp", 1e300),
        ("timestamp", []),
        ("age_ms", "1"),
        ("age_ms", -1),
        ("age_ms", True),
        ("seq", "1"),
        ("seq", -1),
        ("seq", 1.5),
        ("seq", True),
        ("seq", 2**53),
    ],
)
async def test_an_invalid_optional_field_counts_as_missing(device, container, clock, field, value):
    answer = await device.post("/api/sensor_data", reading(300) | {field: value})
    assert (answer.status, answer.json()) == (200, COOLING)
    (kept,) = await stored(container)
    assert (kept.temp_tenths, kept.timestamp_ms) == (300, clock.now_ms())
    assert (kept.device_ticks_ms, kept.source_digest) == (None, None)
