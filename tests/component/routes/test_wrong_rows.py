"""An invalid field in a row of a batch is treated as in a single post, and is no row's error."""

from __future__ import annotations

import json

import pytest

from tests.support.http import Caller, reading, stored

pytestmark = pytest.mark.sqlite_only("they differ in what is read alone: see test_wrong_fields.py")
PATH = "/api/sensor_data/batch"


@pytest.fixture
def gateway(container):
    return Caller(container.app)


# The temperature, state and reason that each becomes.
WRONG = {
    '{"temp_tenths": "235", "sensor_ok": true}': (None, "FAULT", "no_value"),
    '{"temp_tenths": true, "sensor_ok": true}': (None, "FAULT", "no_value"),
    '{"temp_tenths": 1251, "sensor_ok": true}': (None, "FAULT", "out_of_range"),
    '{"temp_tenths": 1e999, "sensor_ok": true}': (None, "FAULT", "out_of_range"),
    '{"temp_tenths": NaN, "sensor_ok": true}': (None, "FAULT", "no_value"),
    '{"temp_tenths": 235, "sensor_ok": "yes"}': (235, "FAULT", ""),
    '{"temp_tenths": 235}': (235, "FAULT", ""),
    '{"temp_tenths": 234.5, "sensor_ok": 1}': (235, "IDLE_WITH_LEDS", ""),
    '{"temp_tenths": 235, "sensor_ok": true, "timestamp": -1}': (235, "IDLE_WITH_LEDS", ""),
    '{"temp_tenths": 235, "sensor_ok": true, "timestamp": "x"}': (235, "IDLE_WITH_LEDS", ""),
    '{"temp_tenths": 235, "sensor_ok": true, "seq": 1.5}': (235, "IDLE_WITH_LEDS", ""),
    '{"temp_tenths": 235, "sensor_ok": true, "age_ms": -5}': (235, "IDLE_WITH_LEDS", ""),
    '{"temp_tenths": 235, "sensor_ok": true, "key": ""}': (235, "IDLE_WITH_LEDS", ""),
    '{"temp_tenths": 235, "sensor_ok": true, "key": 7}': (235, "IDLE_WITH_LEDS", ""),
    '{"temp_tenths": 235, "sensor_ok": true, "key": "' + "x" * 256 + '"}': (
        235,
        "IDLE_WITH_LEDS",
        "",
    ),
}


@pytest.mark.parametrize(("row", "read"), WRONG.items())
@pytest.mark.parametrize("ndjson", [False, True])
async def test_an_invalid_field_in_a_row_is_treated_as_in_a_single_post(
    gateway, container, row, read, ndjson
):
    good = json.dumps(reading(235, device_id="lab"))
    kind = {"Content-Type": "application/x-ndjson"} if ndjson else {}
    body = f"{good}\n{row}\n" if ndjson else f"[{good}, {row}]"
    answer = await gateway.post_text(PATH, body, headers=kind)
    assert (answer.status, answer.json()["accepted"], answer.json()["errors"]) == (200, 2, [])
    (one,) = [one for one in await stored(container) if one.device_id == "unknown"]
    assert (one.temp_tenths, one.state, one.fault_reason) == read


async def test_the_command_says_that_an_invalid_key_of_a_device_s_row_was_ignored(gateway):
    rows = [reading(key=7, device_id="a"), reading(key="k", device_id="b")]
    commands = (await gateway.post(PATH, rows)).json()["commands"]
    assert {one["device_id"]: one.get("key") for one in commands} == {"a": "ignored", "b": None}
