"""Columns hold readings field by field and give them back."""

from __future__ import annotations

from server.services.history.columns import Columns
from server.services.ports.readings import Reading

PLAIN = Reading(
    tenant_id="site",
    device_id="roof",
    timestamp_ms=1_000,
    received_ms=1_200,
    temp_tenths=231,
    setpoint_tenths=230,
    deadband_tenths=10,
    cool_active=False,
    heat_active=True,
    state="HEATING",
    sensor_ok=True,
)
RARE = Reading(
    tenant_id="site",
    device_id="roof",
    timestamp_ms=2_000,
    received_ms=2_000,
    temp_tenths=None,
    setpoint_tenths=-50,
    deadband_tenths=5,
    cool_active=True,
    heat_active=False,
    state="FAULT",
    sensor_ok=False,
    device_ticks_ms=77,
    device_time_ms=9_000,
    clock="unknown",
    present=False,
    fault_reason="no_value",
)


def test_readings_come_out_of_columns_as_they_went_in():
    assert Columns.of([PLAIN, RARE]).readings("site", "roof") == [PLAIN, RARE]
