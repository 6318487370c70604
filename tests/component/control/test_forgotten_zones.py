"""Zones without an operator's setting and without a post for a month are deleted; others stay."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, logged_in, reading

pytestmark = pytest.mark.sqlite_only("Firestore itself deletes what expires, in its own time")
MONTH_S = 30 * 86_400


async def forget(container, clock):
    return await container.base.client.delete_expired(clock.now_ms(), 1000)


async def test_a_made_up_device_is_deleted_after_a_month(container, clock):
    device = Caller(container.app)
    # One that spoke for less than an hour in all is deleted after a day.
    for _ in range(7):
        clock.advance(600)
        await device.post("/api/sensor_data", reading(device_id="made-up"))
    clock.advance(MONTH_S)
    await forget(container, clock)
    assert (await device.get("/api/status?device_id=made-up")).status == 200
    clock.advance(0.001)
    await forget(container, clock)
    assert (await device.get("/api/status?device_id=made-up")).status == 404


async def test_a_deleted_zone_that_posts_again_gets_a_command(container, clock):
    device = Caller(container.app)
    await device.post("/api/sensor_data", reading(device_id="late"))
    clock.advance(MONTH_S + 1)
    await forget(container, clock)
    assert (await device.post("/api/sensor_data", reading(device_id="late"))).status == 200


async def test_a_zone_with_an_operator_s_setpoint_is_never_deleted(container, clock):
    device, operator = Caller(container.app), await logged_in(container, "operator")
    await device.post("/api/sensor_data", reading(device_id="attic"))
    await operator.post("/api/set_setpoint", {"setpoint_tenths": 180, "device_id": "attic"})
    clock.advance(12 * MONTH_S)
    await forget(container, clock)
    config = (await device.get("/api/config?device_id=attic")).json()
    assert config["setpoint_tenths"] == 180
