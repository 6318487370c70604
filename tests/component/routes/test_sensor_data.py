"""POST /api/sensor_data: valid posts, their answers, and refused posts."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc

import pytest

from tests.support.http import Caller, logged_in, reading, stored


@pytest.fixture
def device(container):
    return Caller(container.app)


async def test_a_reading_gets_the_command_as_its_answer(device):
    answer = await device.post("/api/sensor_data", reading(235))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        "cool_active": False,
        "heat_active": True,
        "setpoint_tenths": 230,
        "deadband_tenths": 10,
    }


async def test_a_hot_reading_gets_a_command_to_cool(device):
    command = (await device.post("/api/sensor_data", reading(241))).json()
    assert command["cool_active"] is True


async def test_a_reading_is_stored_once_with_the_decision(device, container, clock):
    await device.post("/api/sensor_data", reading(250, device_id="lab"))
    (kept,) = await stored(container)
    assert (kept.device_id, kept.temp_tenths, kept.sensor_ok) == ("lab", 250, True)
    assert (kept.cool_active, kept.heat_active, kept.state) == (True, True, "COOLING_WITH_LEDS")
    assert (kept.setpoint_tenths, kept.deadband_tenths) == (230, 10)
    assert kept.timestamp_ms == kept.received_ms == clock.now_ms()


async def test_a_reading_without_device_id_belongs_to_device_unknown(device, container):
    await device.post("/api/sensor_data", reading())
    assert [kept.device_id for kept in await stored(container)] == ["unknown"]


async def test_a_null_device_id_or_timestamp_counts_as_missing(device, container, clock):
    await device.post("/api/sensor_data", reading(device_id=None, timestamp=None, seq=None))
    (kept,) = await stored(container)
    assert (kept.device_id, kept.timestamp_ms) == ("unknown", clock.now_ms())


async def test_a_body_with_a_device_id_and_no_value_is_a_fault_of_that_device(
    device, container, clock
):
    answer = await device.post("/api/sensor_data", {"device_id": "lab"})
    assert answer.status == 200
    assert (answer.json()["cool_active"], answer.json()["heat_active"]) == (False, False)
    (kept,) = await stored(container)
    assert (kept.temp_tenths, kept.sensor_ok, kept.state) == (None, False, "FAULT")
    assert (kept.device_id, kept.timestamp_ms) == ("lab", clock.now_ms())


async def test_unknown_keys_are_accepted(device, container):
    body = reading(device_id="lab") | {"firmware": "1.2", "nested": {"a": [1, None]}}
    assert (await device.post("/api/sensor_data", body)).status == 200
    assert len(await stored(container)) == 1


@pytest.mark.parametrize("body", ["", "{}", " {} ", "{ }", "{\n}", " \n"])
async def test_an_empty_object_and_an_empty_body_are_refused_as_no_data(device, container, body):
    answer = await device.post_text("/api/sensor_data", body)
    assert answer.status == 400
    assert answer.json()["error"] == "No data received"
    assert await stored(container) == []


async def test_a_request_without_body_and_content_type_is_refused_as_no_data(device, container):
    answer = await device.open("POST", "/api/sensor_data")
    assert (answer.status, answer.json()["error"]) == (400, "No data received")
    assert await stored(container) == []


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "nonsense",
        '{"temp_tenths": 235,}',
        "{'temp_tenths': 235}",
        '{"temp_tenths": 235} {}',
        '{"temp_tenths": nothing}',
        '{"temp_tenths": NaN',
        '"NaN"',
        "NaN",
        "\ufeff",
        "\ufeff[]",
        "null",
        "[]",
        '[{"temp_tenths": 235}]',
        '"text"',
        "235",
        "true",
        "[" * 100_000,
        '{"a":' * 30_000 + "1" + "}" * 30_000,
        '{"temp_tenths": 235, "extra": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
async def test_a_body_that_is_no_json_object_is_refused_and_not_stored(device, container, body):
    answer = await device.post_text("/api/sensor_data", body)
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_JSON")
    assert answer.json()["error"]
    assert await stored(container) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"device_id": "\xff\xfe"}', "INVALID_FIELD"),
        (b"\xff\xfe{\x00}\x00", "INVALID_JSON"),
        (b"{\xff: 1}", "INVALID_JSON"),
    ],
)
async def test_invalid_utf8_is_refused_and_not_stored(device, container, body, code):
    answer = await device.post_text("/api/sensor_data", body)
    assert (answer.status, answer.json()["code"]) == (400, code)
    assert await stored(container) == []


@pytest.mark.parametrize("device_id", [7, "", "x" * 129, "a\x00b", "a\nb", "ab\n", "\ud800", {}])
async def test_an_invalid_device_id_is_refused_with_its_name_and_not_stored(
    device, container, device_id
):
    answer = await device.post("/api/sensor_data", reading(device_id=device_id))
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
    assert "device_id" in answer.json()["message"]
    assert await stored(container) == []
    assert (await device.get("/api/status")).json()["device_id"] is None


@pytest.mark.parametrize("temp", [-550, 1250])
async def test_the_ends_of_the_temperature_range_are_accepted(device, container, temp):
    assert (await device.post("/api/sensor_data", reading(temp))).status == 200
    assert [kept.temp_tenths for kept in await stored(container)] == [temp]


@pytest.mark.parametrize("device_id", ["x" * 128, "ü/ß %_ \u2028😀", "..", "__x__", " ", "a_b"])
async def test_any_printable_device_id_is_returned_as_it_was_sent(device, container, device_id):
    assert (await device.post("/api/sensor_data", reading(device_id=device_id))).status == 200
    assert [kept.device_id for kept in await stored(container)] == [device_id]
    assert (await device.get("/api/status")).json()["device_id"] == device_id


async def test_the_last_of_two_equal_keys_counts(device, container):
    await device.post_text("/api/sensor_data", '{"temp_tenths": 1, "temp_tenths": 235}')
    assert [kept.temp_tenths for kept in await stored(container)] == [235]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "ä", ""],
)
async def test_a_body_with_another_content_type_than_json_gets_415(device, container, content_type):
    answer = await device.open(
        "POST",
        "/api/sensor_data",
        data=json.dumps(reading()),
        headers={"Content-Type": content_type},
    )
    assert (answer.status, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert await stored(container) == []


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON"])
async def test_the_json_content_type_may_have_any_case_and_a_charset(device, content_type):
    headers = {"Content-Type": content_type}
    answer = await device.post_text("/api/sensor_data", json.dumps(reading()), headers=headers)
    assert answer.status == 200


async def test_a_body_of_256_kib_is_accepted_and_one_byte_more_gets_413(device, container):
    body = json.dumps(reading())
    fits = body + " " * (256 * 1024 - len(body))
    assert (await device.post_text("/api/sensor_data", fits)).status == 200
    answer = await device.post_text("/api/sensor_data", fits + " ")
    assert (answer.status, answer.json()["code"]) == (413, "TOO_LARGE")
    assert len(await stored(container)) == 1


async def test_a_hundred_devices_that_post_at_the_same_time_are_all_stored(device, container):
    names = [f"room-{number}" for number in range(100)]
    answers = await asyncio.gather(
        *(device.post("/api/sensor_data", reading(device_id=name)) for name in names)
    )
    assert [answer.status for answer in answers] == [200] * 100
    assert sorted(one.device_id for one in await stored(container)) == sorted(names)


async def test_of_many_simultaneous_unknown_devices_only_as_many_as_allowed_are_stored(
    device, container, monkeypatch
):
    monkeypatch.setattr("server.control.zone_cache.ZONES_MAX", 30)
    answers = await asyncio.gather(
        *(device.post("/api/sensor_data", reading(device_id=f"made-up-{n}")) for n in range(100))
    )
    assert sorted(answer.status for answer in answers) == [200] * 30 + [403] * 70
    assert len(await stored(container)) == 30


async def test_a_refused_body_is_not_kept_in_memory(container):
    device = Caller(container.app)
    blank = b"{" + b" " * 200_000 + b"}"
    await device.post_text("/api/sensor_data", blank)
    tracemalloc.start()
    try:
        for path in ("/api/sensor_data", "/auth/login"):
            for _ in range(20):
                assert (await device.post_text(path, blank)).status == 400
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()


async def test_a_reading_with_an_ended_session_is_refused_and_not_stored_for_another_tenant(
    container,
):
    caller = await logged_in(container, "stranger")
    await caller.post("/auth/logout")
    answer = await caller.post("/api/sensor_data", reading(250))
    assert (answer.status, answer.json()["code"]) == (401, "SESSION_INVALID")
    assert await stored(container) == []
