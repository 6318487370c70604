"""The time under which a reading is stored: that of the device, or that of its receipt."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, logged_in, reading, stored

YEAR_2020_MS = 1_577_836_800_000
FIVE_MINUTES_MS = 300_000


async def post(container, timestamp):
    answer = await Caller(container.app).post("/api/sensor_data", reading(timestamp=timestamp))
    assert answer.status == 200
    return (await stored(container))[0]


@pytest.mark.parametrize("ticks", [0, 1, 86_400_000, 2**30 - 1, YEAR_2020_MS - 1])
async def test_a_timestamp_that_is_no_date_is_stored_as_ticks_under_the_time_of_receipt(
    container, clock, ticks
):
    kept = await post(container, ticks)
    assert kept.timestamp_ms == clock.now_ms()
    assert kept.device_ticks_ms == ticks


async def test_the_first_millisecond_of_2020_is_a_date(container):
    kept = await post(container, YEAR_2020_MS)
    assert (kept.device_time_ms, kept.device_ticks_ms) == (YEAR_2020_MS, None)


async def test_a_late_date_is_kept_if_the_device_s_clock_was_right_before(container, clock):
    await post(container, clock.now_ms())
    sent = clock.now_ms() + 1
    clock.advance(3600)
    await post(container, sent)
    kept = (await stored(container))[0]
    assert (kept.timestamp_ms, kept.device_ticks_ms) == (sent, None)
    assert kept.received_ms == clock.now_ms()


async def test_a_late_date_in_the_first_post_of_a_zone_may_come_from_a_wrong_clock(
    container, clock
):
    """Section 6, a wrong clock: the reading is dated at receipt until the clock is known."""
    sent = clock.now_ms() - 3_600_000
    kept = await post(container, sent)
    assert (kept.timestamp_ms, kept.device_time_ms) == (clock.now_ms(), sent)
    assert (kept.clock, kept.device_ticks_ms) == ("unknown", None)


async def test_a_date_five_minutes_ahead_is_kept(container, clock):
    sent = clock.now_ms() + FIVE_MINUTES_MS
    kept = await post(container, sent)
    assert (kept.timestamp_ms, kept.device_ticks_ms) == (sent, None)


async def test_a_date_further_ahead_is_replaced_by_the_time_of_receipt(container, clock):
    sent = clock.now_ms() + FIVE_MINUTES_MS + 1
    kept = await post(container, sent)
    assert (kept.timestamp_ms, kept.device_ticks_ms) == (clock.now_ms(), sent)


async def test_telemetry_contains_ticks_only_for_readings_without_a_date(container, clock):
    await post(container, 123_456)
    clock.advance(1)
    await post(container, clock.now_ms())
    rows = (await (await logged_in(container, "reader")).get("/api/telemetry")).json()
    assert [row.get("device_ticks_ms", "none") for row in rows] == ["none", 123_456]


async def test_status_has_the_time_of_the_reading(container, clock):
    await post(container, 5)
    status = (await Caller(container.app).get("/api/status")).json()
    assert status["timestamp"] == clock.now_ms()
