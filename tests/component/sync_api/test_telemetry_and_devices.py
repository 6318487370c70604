"""The sync faces of telemetry and devices: names, arguments and results as in the old server."""

from __future__ import annotations

import pytest

from server.sync_api.bridge import WrongThread
from tests.support.http import logged_in, lose_store, reading, stored
from tests.support.measured import CASES

NOTHING = {
    "total_records": 0,
    "avg_temperature": 0,
    "min_temperature": 0,
    "max_temperature": 0,
    "sensor_failures": 0,
    "uptime_percentage": 0,
}


async def test_a_reading_is_stored_with_the_defaults_of_the_existing_server(
    container, clock, in_thread
):
    telemetry = container.services.telemetry
    assert await in_thread(telemetry.add_telemetry, "default", "attic", {}) is True
    now = clock.now_ms()
    rows = await in_thread(telemetry.query_recent, "default", "attic")
    assert [{**row, "utc_timestamp": ""} for row in rows] == [
        {
            "tenant_id": "default",
            "device_id": "attic",
            "timestamp_ms": now,
            "utc_timestamp": "",
            "temp_tenths": 0,
            "setpoint_tenths": 230,
            "deadband_tenths": 10,
            "cool_active": False,
            "heat_active": False,
            "state": "IDLE",
            "sensor_ok": False,
        }
    ]


async def test_a_measured_value_is_parsed_like_that_of_a_device(container, clock, in_thread):
    telemetry = container.services.telemetry
    now = clock.now_ms()
    for number, case in enumerate(CASES):
        data = {"timestamp": now - number, "temp_tenths": case.temp, "sensor_ok": case.sensor_ok}
        assert await in_thread(telemetry.add_telemetry, "default", "attic", data)
    expected = [case.read[:2] for case in CASES]
    page = await in_thread(telemetry.query_recent_paginated, "default", "attic", len(CASES))
    for rows in (
        await in_thread(telemetry.query_recent, "default", "attic"),
        await in_thread(telemetry.query_window, "default", "attic", now - len(CASES), now),
        page["data"],
    ):
        assert [(row["temp_tenths"], row["sensor_ok"]) for row in rows] == expected
    kept = await stored(container)
    assert [(one.temp_tenths, one.sensor_ok, one.fault_reason) for one in kept] == [
        case.read for case in CASES
    ]


async def test_a_good_sensor_without_a_temperature_is_a_fault_and_not_0_degrees(
    container, in_thread
):
    telemetry = container.services.telemetry
    data = {"sensor_ok": True, "state": "COOLING", "cool_active": True}
    assert await in_thread(telemetry.add_telemetry, "default", "attic", data) is True
    (row,) = await in_thread(telemetry.query_recent, "default", "attic")
    assert (row["temp_tenths"], row["sensor_ok"]) == (None, False)
    assert (row["state"], row["cool_active"]) == ("COOLING", True), "nothing is decided"
    (kept,) = await stored(container)
    assert kept.fault_reason == "no_value"


async def test_the_time_of_a_reading_is_also_returned_as_utc_text(container, in_thread):
    telemetry = container.services.telemetry
    data = {"timestamp": 1_700_000_000_007, "temp_tenths": 215, "sensor_ok": True}
    assert await in_thread(telemetry.add_telemetry, "default", "attic", data)
    (row,) = await in_thread(telemetry.query_recent, "default", "attic")
    assert row["utc_timestamp"] == "2023-11-14T22:13:20.007Z"
    assert (row["timestamp_ms"], row["temp_tenths"], row["sensor_ok"]) == (
        1_700_000_000_007,
        215,
        True,
    )


async def test_async_routes_and_sync_faces_see_each_other_s_readings(container, in_thread):
    caller = await logged_in(container, "admin")
    assert (await caller.post("/api/sensor_data", reading(251, device_id="lab"))).status == 200
    telemetry = container.services.telemetry
    (row,) = await in_thread(telemetry.query_recent, "default", "lab")
    assert (row["temp_tenths"], row["state"]) == (251, "COOLING_WITH_LEDS")
    assert await in_thread(telemetry.add_telemetry, "default", "lab", {"temp_tenths": 1})
    listed = (await caller.get("/api/telemetry?device_id=lab")).json()
    assert {one["temp_tenths"] for one in listed} == {251, 1}


async def test_windows_pages_and_statistics_have_their_formats(container, clock, in_thread):
    telemetry = container.services.telemetry
    now = clock.now_ms()
    for number in range(5):
        data = {"timestamp": now - number, "temp_tenths": 200 + number, "sensor_ok": number != 4}
        assert await in_thread(telemetry.add_telemetry, "default", "attic", data)
    window = await in_thread(telemetry.query_window, "default", "attic", now - 3, now - 1)
    assert [row["temp_tenths"] for row in window] == [201, 202, 203]
    first = await in_thread(telemetry.query_recent_paginated, "default", "attic", 3)
    assert ([row["temp_tenths"] for row in first["data"]], first["has_more"]) == (
        [200, 201, 202],
        True,
    )
    rest = await in_thread(
        telemetry.query_recent_paginated, "default", "attic", 3, first["last_doc_id"]
    )
    assert [row["temp_tenths"] for row in rest["data"]] == [203, 204]
    assert (rest["has_more"], rest["last_doc_id"]) == (False, None)
    assert await in_thread(telemetry.get_device_statistics, "default", "attic") == {
        "total_records": 5,
        "avg_temperature": 202,
        "min_temperature": 200,
        "max_temperature": 203,
        "sensor_failures": 1,
        "uptime_percentage": 80.0,
    }
    figures = await in_thread(telemetry.get_device_statistics, "default", "nobody")
    assert figures == NOTHING


async def test_a_device_counts_once_whether_it_posted_was_registered_or_only_has_readings(
    container, in_thread
):
    services = container.services
    caller = await logged_in(container, "admin")
    await caller.post("/api/sensor_data", reading(device_id="posts"))
    for _ in range(2):
        await in_thread(services.telemetry.add_telemetry, "default", "written", {})
    await in_thread(services.devices.register_device, "default", "posts")
    await in_thread(services.devices.register_device, "default", "silent")
    assert await in_thread(services.telemetry.get_device_count, "default") == 3
    assert await in_thread(services.telemetry.get_device_count, "elsewhere") == 0


async def test_a_tenant_does_not_see_another_one_s_readings(container, in_thread):
    telemetry = container.services.telemetry
    await in_thread(telemetry.add_telemetry, "elsewhere", "attic", {})
    assert await in_thread(telemetry.query_recent, "default", "attic") == []


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"timestamp": -1}, ValueError),
        ({"timestamp": 10**18}, ValueError),
        ({"timestamp": float("nan")}, ValueError),
        ({"timestamp": float("inf")}, ValueError),
        ({"timestamp": "now"}, TypeError),
        ({"setpoint_tenths": 230.5}, TypeError),
        ({"setpoint_tenths": None}, TypeError),
        ({"deadband_tenths": 2**63}, ValueError),
        ({"cool_active": 1}, TypeError),
        ({"heat_active": None}, TypeError),
        ({"state": None}, TypeError),
        ("reading", TypeError),
    ],
)
async def test_an_invalid_reading_is_an_error_and_nothing_is_stored(
    container, in_thread, data, error
):
    with pytest.raises(error):
        await in_thread(container.services.telemetry.add_telemetry, "default", "attic", data)
    assert await stored(container) == []


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb"])
async def test_an_invalid_device_id_is_an_error(container, in_thread, name):
    with pytest.raises(ValueError, match="device_id"):
        await in_thread(container.services.telemetry.add_telemetry, "default", name, {})
    with pytest.raises(ValueError, match="device_id"):
        await in_thread(container.services.devices.register_device, "default", name)


async def test_without_the_store_results_are_empty_and_the_failures_counted(container, in_thread):
    telemetry, devices = container.services.telemetry, container.services.devices
    await lose_store(container)
    assert await in_thread(telemetry.add_telemetry, "default", "attic", {}) is False
    assert await in_thread(telemetry.query_recent, "default", "attic") == []
    assert await in_thread(telemetry.query_window, "default", "attic", 0, 1) == []
    page = await in_thread(telemetry.query_recent_paginated, "default", "attic")
    assert page == {"data": [], "last_doc_id": None, "has_more": False}
    assert await in_thread(telemetry.get_device_statistics, "default", "attic") == NOTHING
    assert await in_thread(telemetry.get_device_count, "default") == 0
    assert await in_thread(devices.list_devices, "default") == []
    exposition = container.base.metrics.exposition().decode()
    assert 'bas_sync_failures_total{face="telemetry",method="add_telemetry"} 1.0' in exposition
    assert 'bas_sync_failures_total{face="devices",method="list_devices"} 1.0' in exposition


async def test_a_face_called_on_the_loop_s_thread_raises_wrong_thread(container):
    with pytest.raises(WrongThread):
        container.services.telemetry.query_recent("default", "attic")


async def test_a_device_has_the_keys_of_the_existing_server(container, clock, in_thread):
    devices = container.services.devices
    metadata = {"room": "lab", "floor": 2}
    assert await in_thread(devices.register_device, "default", "lab", metadata) is True
    assert await in_thread(devices.get_device, "default", "lab") == {
        "tenant_id": "default",
        "device_id": "lab",
        "metadata": metadata,
        "last_seen": None,
        "status": "active",
        "created_at": clock.now_ms(),
    }
    assert await in_thread(devices.get_device, "default", "nobody") is None
    assert await in_thread(devices.get_device, "elsewhere", "lab") is None
    with pytest.raises(TypeError, match="metadata"):
        await in_thread(devices.register_device, "default", "lab", {"a": {"nested": 1}})


async def test_last_seen_is_updated_by_a_call_and_by_a_post_of_the_device(
    container, clock, in_thread
):
    devices = container.services.devices
    for name in ("lab", "attic"):
        await in_thread(devices.register_device, "default", name)
    clock.advance(5)
    assert await in_thread(devices.update_last_seen, "default", "attic") is True
    noted = clock.now_ms()
    clock.advance(5)
    caller = await logged_in(container, "operator")
    assert (await caller.post("/api/sensor_data", reading(device_id="lab"))).status == 200
    listed = await in_thread(devices.list_devices, "default")
    assert {one["device_id"]: one["last_seen"] for one in listed} == {
        "attic": noted,
        "lab": clock.now_ms(),
    }
    assert await in_thread(devices.update_last_seen, "default", "nobody") is False
    await in_thread(devices.register_device, "default", "attic", {"room": 1})
    assert (await in_thread(devices.get_device, "default", "attic"))["last_seen"] == noted


async def test_a_device_is_found_and_given_a_status_by_the_existing_server_s_names(
    container, in_thread
):
    devices = container.services.devices
    assert await in_thread(devices.check_exists, "default", "attic") is False
    assert await in_thread(devices.set_status, "default", "attic", "in repair") is False
    assert await in_thread(devices.register_device, "default", "attic") is True
    assert await in_thread(devices.check_exists, "default", "attic") is True
    assert await in_thread(devices.check_exists, "plant", "attic") is False
    assert await in_thread(devices.set_status, "default", "attic", "in repair") is True
    (device,) = await in_thread(devices.list_for_tenant, "default")
    assert (device["device_id"], device["status"]) == ("attic", "in repair")


async def test_the_time_given_beside_the_data_wins_over_the_one_in_them(container, in_thread):
    services = container.services
    telemetry = services.get_telemetry_service()
    data = {"timestamp": 1_700_000_000_000, "temp_tenths": 215, "sensor_ok": True}
    given = {"timestamp_ms": 1_700_000_060_000}
    assert await in_thread(telemetry.add_telemetry, "default", "attic", data, **given) is True
    (row,) = await in_thread(telemetry.query_recent, "default", "attic")
    assert row["timestamp_ms"] == 1_700_000_060_000
    with pytest.raises(ValueError, match="timestamp"):
        await in_thread(telemetry.add_telemetry, "default", "attic", data, timestamp_ms=-1)


async def test_the_health_check_is_made_by_storing(container, in_thread):
    services = container.services
    assert services.is_telemetry_enabled() is True
    assert await in_thread(services.health_check) == {"status": "healthy"}
    await lose_store(container)
    assert await in_thread(services.health_check) == {"status": "unhealthy"}
