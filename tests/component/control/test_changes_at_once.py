"""Simultaneous changes of setpoints: the one announced last is in force."""

from __future__ import annotations

import asyncio
import json

import pytest

from server.services.sse_service.stream_request import StreamRequest
from tests.support.http import Caller, logged_in, reading


@pytest.mark.parametrize("first", ["zone", "tenant"])
async def test_the_last_setpoint_announced_is_the_one_in_force(container, first):
    operator = await logged_in(container, "operator")
    await Caller(container.app).post("/api/sensor_data", reading(device_id="lab"))
    stream = await container.sse.subscribe(StreamRequest("default"))
    changes = []
    for number in range(10):
        zone = {"setpoint_tenths": 300 + number, "device_id": "lab"}
        tenant = {"setpoint_tenths": 200 + number}
        changes += [zone, tenant] if first == "zone" else [tenant, zone]
    answers = await asyncio.gather(
        *(operator.post("/api/set_setpoint", change) for change in changes)
    )
    assert {answer.status for answer in answers} == {200}
    in_force = (await operator.get("/api/config?device_id=lab")).json()["setpoint_tenths"]
    announced = []
    async with asyncio.timeout(60):
        async for piece in stream:
            announced += [
                json.loads(line.removeprefix("data: "))["setpoint_tenths"]
                for line in piece.decode().splitlines()
                if line.startswith("data: ") and "updated_by" in line
            ]
            if len(announced) == len(changes):
                break
    stream.close()
    assert announced[-1] == in_force


async def test_a_relay_that_a_repeated_seq_switches_is_announced(container, clock):
    device = Caller(container.app)
    stream = await container.sse.subscribe(StreamRequest("default"))
    await device.post("/api/sensor_data", reading(300))
    clock.advance(9)
    await device.post("/api/sensor_data", reading(200, seq=7))
    clock.advance(1)
    answer = (await device.post("/api/sensor_data", reading(200, seq=7))).json()
    assert answer["cool_active"] is False
    cooling = []
    async with asyncio.timeout(60):
        async for piece in stream:
            lines = [line for line in piece.decode().splitlines() if "temp_tenths" in line]
            cooling += [json.loads(line.removeprefix("data: "))["cool_active"] for line in lines]
            if len(cooling) == 3:
                break
    stream.close()
    assert cooling == [True, True, False]
