"""POST /api/set_setpoint: the answer and the ranges; a refused request changes nothing."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, logged_in, reading

PATH = "/api/set_setpoint"


@pytest.fixture
async def operator(container):
    return await logged_in(container, "operator")


async def values(caller, device_id=""):
    config = (await caller.get(f"/api/config?device_id={device_id}")).json()
    return config["setpoint_tenths"], config["deadband_tenths"]


async def test_the_answer_has_the_values_in_force_and_the_user_that_set_them(operator):
    answer = await operator.post(PATH, {"setpoint_tenths": 215, "deadband_tenths": 8})
    assert answer.status == 200
    assert answer.json() == {
        "success": True,
        "setpoint_tenths": 215,
        "deadband_tenths": 8,
        "updated_by": "operator",
    }
    assert await values(operator) == (215, 8)


@pytest.mark.parametrize(
    ("body", "after"),
    [({"setpoint_tenths": 215}, (215, 10)), ({"deadband_tenths": 8}, (230, 8))],
)
async def test_a_missing_value_stays_unchanged(operator, body, after):
    assert (await operator.post(PATH, body)).status == 200
    assert await values(operator) == after


@pytest.mark.parametrize(
    "body",
    [
        {"setpoint_tenths": 100},
        {"setpoint_tenths": 400},
        {"deadband_tenths": 0},
        {"deadband_tenths": 50},
    ],
)
async def test_the_ends_of_both_ranges_are_accepted(operator, body):
    answer = await operator.post(PATH, body)
    assert answer.status == 200
    assert answer.json().items() >= body.items()


@pytest.mark.parametrize("setpoint", [99, 401, -1, 10**18])
async def test_a_setpoint_out_of_range_is_refused(operator, setpoint):
    answer = await operator.post(PATH, {"setpoint_tenths": setpoint})
    assert (answer.status, answer.json()["error"]) == (400, "Invalid setpoint")
    assert await values(operator) == (230, 10)


@pytest.mark.parametrize("deadband", [-1, 51, 10**18])
async def test_a_deadband_out_of_range_is_refused(operator, deadband):
    answer = await operator.post(PATH, {"deadband_tenths": deadband})
    assert (answer.status, answer.json()["error"]) == (400, "Invalid deadband")
    assert await values(operator) == (230, 10)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"setpoint_tenths": 215, "deadband_tenths": 51}, "Invalid deadband"),
        ({"setpoint_tenths": 401, "deadband_tenths": 8}, "Invalid setpoint"),
    ],
)
async def test_one_invalid_value_prevents_the_change_of_both(operator, body, error):
    answer = await operator.post(PATH, body)
    assert (answer.status, answer.json()["error"]) == (400, error)
    assert await values(operator) == (230, 10)


@pytest.mark.parametrize(
    "body",
    [
        *("{}", "{ }", "", '{"setpoint_tenths": null}', '{"deadband_tenths": null}'),
        '{"setpoint_tenths": null, "deadband_tenths": null}',
        '{"setpoint_tenths": null, "extra": 1}',
    ],
)
async def test_an_empty_change_gets_200_and_changes_nothing(operator, body):
    answer = await operator.post_text(PATH, body)
    assert answer.status == 200
    assert answer.json() == {
        "success": True,
        "setpoint_tenths": 230,
        "deadband_tenths": 10,
        "updated_by": "operator",
    }


@pytest.mark.parametrize(
    "body",
    [
        {"setpoint": 215},
        {"extra": 1},
        {"Setpoint_tenths": 215, "deadband": 8},
        {"device_id": "x"},
        {"device_id": None},
    ],
)
async def test_a_body_without_any_known_value_is_refused_with_the_valid_names(operator, body):
    answer = await operator.post(PATH, body)
    assert (answer.status, answer.json()["code"]) == (400, "NOTHING_TO_SET")
    assert "setpoint_tenths" in answer.json()["message"]
    assert "deadband_tenths" in answer.json()["message"]
    assert await values(operator) == (230, 10)


async def test_null_leaves_a_value_unchanged_while_the_other_is_set(operator):
    answer = await operator.post(PATH, {"setpoint_tenths": None, "deadband_tenths": 8})
    assert answer.status == 200
    assert await values(operator) == (230, 8)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("setpoint_tenths", "215"),
        ("setpoint_tenths", 21.5),
        ("setpoint_tenths", True),
        ("deadband_tenths", "8"),
        ("deadband_tenths", False),
        ("deadband_tenths", []),
        ("device_id", ""),
        ("device_id", 1),
    ],
)
async def test_a_wrong_type_is_refused_with_the_name_of_its_field(operator, field, value):
    body = {"setpoint_tenths": 215, "deadband_tenths": 8} | {field: value}
    answer = await operator.post(PATH, body)
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
    assert field in answer.json()["message"]
    assert await values(operator) == (230, 10)


async def test_malformed_json_gets_400_and_another_content_type_gets_415(operator):
    answer = await operator.post_text(PATH, "{")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_JSON")
    answer = await operator.open(
        "POST", PATH, data='{"setpoint_tenths": 215}', headers={"Content-Type": "text/plain"}
    )
    assert (answer.status, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert await values(operator) == (230, 10)


async def test_an_unknown_zone_gets_404_and_is_not_created(operator):
    answer = await operator.post(PATH, {"setpoint_tenths": 215, "device_id": "nowhere"})
    assert (answer.status, answer.json()["code"]) == (404, "DEVICE_NOT_FOUND")
    assert (await operator.get("/api/status?device_id=nowhere")).status == 404


async def test_a_zone_of_another_tenant_cannot_be_set(container, operator):
    await Caller(container.app).post("/api/sensor_data", reading(device_id="ours"))
    stranger = await logged_in(container, "stranger")
    answer = await stranger.post(PATH, {"setpoint_tenths": 215, "device_id": "ours"})
    assert answer.status == 404
    await stranger.post(PATH, {"setpoint_tenths": 300})
    assert await values(operator, "ours") == (230, 10)


async def test_a_registered_zone_can_be_set_before_its_first_reading(container, operator):
    await operator.post("/api/devices/register", {"device_id": "new", "metadata": {}})
    answer = await operator.post(PATH, {"setpoint_tenths": 215, "device_id": "new"})
    assert answer.status == 200
    command = await Caller(container.app).post("/api/sensor_data", reading(device_id="new"))
    assert command.json()["setpoint_tenths"] == 215


async def test_the_next_reading_gets_a_command_with_the_new_values(container, operator):
    device = Caller(container.app)
    await device.post("/api/sensor_data", reading(215))
    await operator.post(PATH, {"setpoint_tenths": 200, "deadband_tenths": 5})
    command = (await device.post("/api/sensor_data", reading(215))).json()
    assert command == {
        "cool_active": True,
        "heat_active": True,
        "setpoint_tenths": 200,
        "deadband_tenths": 5,
    }
