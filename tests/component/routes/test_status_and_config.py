"""GET /api/status and /api/config: the public data of a zone."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, logged_in, reading

NO_READING = {
    "device_id": None,
    "temp_tenths": 0,
    "received": 0,
    "age_ms": None,
    "fault_reason": None,
    "trust": {"state": "never", "since": 0, "reason": None},
    "relays_known": True,
    "held_by": None,
    "held_until": None,
    "setpoint_tenths": 230,
    "deadband_tenths": 10,
    "state": "IDLE",
    "cool_active": False,
    "heat_active": False,
    "sensor_ok": False,
    "timestamp": 0,
}
DEFAULTS = {
    "setpoint_tenths": 230,
    "deadband_tenths": 10,
    "min_on_time_ms": 10_000,
    "min_off_time_ms": 10_000,
}


@pytest.fixture
def anyone(container):
    return Caller(container.app)


async def test_status_before_any_reading_is_idle_and_all_false(anyone):
    answer = await anyone.get("/api/status")
    assert (answer.status, answer.json()) == (200, NO_READING)


async def test_config_before_any_setting_has_the_defaults(anyone):
    answer = await anyone.get("/api/config")
    assert (answer.status, answer.json()) == (200, DEFAULTS)


async def test_status_has_the_last_reading_and_the_decision(anyone, clock):
    await anyone.post("/api/sensor_data", reading(250, device_id="lab"))
    clock.advance(3)
    assert (await anyone.get("/api/status")).json() == {
        "device_id": "lab",
        "temp_tenths": 250,
        "setpoint_tenths": 230,
        "deadband_tenths": 10,
        "state": "COOLING_WITH_LEDS",
        "cool_active": True,
        "heat_active": True,
        "sensor_ok": True,
        "timestamp": clock.now_ms() - 3000,
        "received": clock.now_ms() - 3000,
        "age_ms": 3000,
        "fault_reason": None,
        "trust": {"state": "ok", "since": clock.now_ms() - 3000, "reason": None},
        "relays_known": True,
        "held_by": None,
        "held_until": None,
    }


async def test_status_and_snapshot_say_what_holds_the_cooler_and_until_when(anyone, clock):
    await anyone.post("/api/sensor_data", reading(250, device_id="lab"))
    began_ms = clock.now_ms()
    clock.advance(4)
    await anyone.post("/api/sensor_data", reading(230, device_id="lab"))
    found = (await anyone.get("/api/status")).json()
    assert (found["held_by"], found["held_until"]) == ("minimum_on_time", began_ms + 10_000)
    clock.advance(2)
    await anyone.post("/api/sensor_data", reading(None, sensor_ok=False, device_id="lab"))
    found = (await anyone.get("/api/status")).json()
    assert (found["held_by"], found["held_until"]) == ("fault", None)
    await anyone.post("/api/sensor_data", reading(250, device_id="lab"))
    found = (await anyone.get("/api/status")).json()
    assert (found["held_by"], found["held_until"]) == ("minimum_off_time", clock.now_ms() + 10_000)


async def test_status_without_device_id_shows_the_zone_that_posted_last(anyone, clock):
    for device_id in ("one", "two", "one"):
        clock.advance(1)
        await anyone.post("/api/sensor_data", reading(device_id=device_id))
    assert (await anyone.get("/api/status")).json()["device_id"] == "one"
    clock.advance(1)
    await anyone.post("/api/sensor_data", reading(device_id="two"))
    assert (await anyone.get("/api/status")).json()["device_id"] == "two"


async def test_the_zone_that_posted_last_is_determined_by_receipt_and_not_by_a_device_s_clock(
    anyone, clock
):
    ahead = clock.now_ms() + 200_000
    await anyone.post("/api/sensor_data", reading(device_id="fast", timestamp=ahead))
    clock.advance(1)
    await anyone.post("/api/sensor_data", reading(device_id="slow", timestamp=clock.now_ms()))
    assert (await anyone.get("/api/status")).json()["device_id"] == "slow"


async def test_config_without_device_id_shows_the_zone_that_posted_last(anyone, container, clock):
    for device_id in ("one", "two"):
        await anyone.post("/api/sensor_data", reading(device_id=device_id))
        clock.advance(1)
    operator = await logged_in(container, "operator")
    await operator.post("/api/set_setpoint", {"setpoint_tenths": 210, "device_id": "one"})
    assert (await anyone.get("/api/config")).json() == DEFAULTS
    await anyone.post("/api/sensor_data", reading(device_id="one"))
    assert (await anyone.get("/api/config")).json() == DEFAULTS | {"setpoint_tenths": 210}


async def test_status_and_config_with_device_id_show_that_zone(anyone, container, clock):
    for device_id, temp in (("one", 250), ("two", 200)):
        await anyone.post("/api/sensor_data", reading(temp, device_id=device_id))
        clock.advance(1)
    operator = await logged_in(container, "operator")
    await operator.post("/api/set_setpoint", {"deadband_tenths": 5, "device_id": "one"})
    assert (await anyone.get("/api/status?device_id=one")).json()["temp_tenths"] == 250
    assert (await anyone.get("/api/config?device_id=one")).json()["deadband_tenths"] == 5
    assert (await anyone.get("/api/config?device_id=two")).json()["deadband_tenths"] == 10


@pytest.mark.parametrize("path", ["/api/status", "/api/config"])
async def test_an_unknown_device_gets_404(anyone, path):
    answer = await anyone.get(f"{path}?device_id=nowhere")
    assert (answer.status, answer.json()["code"]) == (404, "DEVICE_NOT_FOUND")
    assert answer.json()["error"] == "Unknown device"


@pytest.mark.parametrize("path", ["/api/status", "/api/config"])
async def test_a_registered_device_without_a_reading_is_known(anyone, container, path):
    operator = await logged_in(container, "operator")
    await operator.post("/api/devices/register", {"device_id": "new", "metadata": {}})
    answer = await anyone.get(f"{path}?device_id=new")
    assert answer.status == 200
    assert answer.json()["setpoint_tenths"] == 230


@pytest.mark.parametrize("path", ["/api/status", "/api/config"])
async def test_an_empty_device_id_counts_as_missing(anyone, path):
    assert (await anyone.get(f"{path}?device_id=")).status == 200


@pytest.mark.parametrize("path", ["/api/status", "/api/config"])
async def test_a_device_id_of_too_many_characters_is_refused(anyone, path):
    answer = await anyone.get(f"{path}?device_id={'x' * 129}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
    assert "device_id" in answer.json()["message"]


@pytest.mark.parametrize("path", ["/api/status", "/api/config"])
async def test_a_session_sees_its_own_tenant_and_not_the_default_one(anyone, container, path):
    await anyone.post("/api/sensor_data", reading(device_id="ours"))
    stranger = await logged_in(container, "stranger")
    assert (await stranger.get(f"{path}?device_id=ours")).status == 404
    assert (await stranger.get("/api/status")).json() == NO_READING


@pytest.mark.parametrize("path", ["/api/status", "/api/config"])
async def test_a_request_with_an_invalid_session_is_treated_as_one_without(anyone, path):
    headers = {"X-Session-ID": "no-such-session"}
    assert (await anyone.get(path, headers=headers)).status == 200
