"""Relays after a batch: the newest reading decides, any fault cuts, old readings start nothing."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.control.rules.relay_rule import Relays, decide, decide_post
from tests.support.http import Caller, reading, served, stored

PATH = "/api/sensor_data/batch"
HOT, COLD = 300, 200
VALUES = {"setpoint_tenths": 230, "deadband_tenths": 10}
batches = st.lists(st.tuples(st.sampled_from([HOT, COLD, 240, 241]), st.booleans()), min_size=1)
relays = st.builds(
    Relays,
    cool=st.booleans(),
    heat=st.booleans(),
    fault=st.booleans(),
    cool_changed_ms=st.none() | st.integers(0, 40_000),
)


def decided(was, readings, now_ms):
    """The relays after one post with several readings without dates, oldest first."""
    temp, ok = readings[-1]
    fault = not all(good for _, good in readings)
    return decide_post(was, fault=fault, newest=temp if ok else None, now_ms=now_ms, **VALUES)


@given(relays, batches, st.integers(0, 40_000))
def test_a_batch_is_decided_as_a_fault_if_it_has_one_and_then_by_its_newest_reading(
    was, readings, now_ms
):
    expected = was
    if any(not ok for _, ok in readings):
        expected = decide(expected, temp_tenths=0, sensor_ok=False, now_ms=now_ms, **VALUES)
    temp, ok = readings[-1]
    expected = decide(expected, temp_tenths=temp, sensor_ok=ok, now_ms=now_ms, **VALUES)
    assert decided(was, readings, now_ms) == expected


@given(relays, batches, st.integers(0, 40_000))
def test_a_batch_with_a_good_newest_reading_keeps_the_minimum_times_except_after_a_fault(
    was, readings, now_ms
):
    after = decided(was, readings, now_ms)
    served_ms = None if was.cool_changed_ms is None else now_ms - was.cool_changed_ms
    if was.cool and not after.cool and all(ok for _, ok in readings):
        assert served_ms is None or served_ms >= 10_000
    if after.cool and not was.cool:
        assert readings[-1] in {(HOT, True), (241, True)}
        assert served_ms is None or served_ms >= 10_000


@given(relays, st.booleans(), st.integers(0, 40_000))
def test_only_a_fault_among_late_readings_switches_a_relay(was, fault, now_ms):
    after = decide_post(was, fault=fault, newest=None, now_ms=now_ms, **VALUES)
    if fault:
        assert (after.cool, after.heat, after.fault) == (False, False, True)
    else:
        assert after == was


@given(relays, st.integers(-550, 1250), st.integers(0, 40_000))
def test_a_decision_that_may_not_start_anything_switches_no_relay_on(was, temp, now_ms):
    after = decide_post(was, fault=False, newest=temp, now_ms=now_ms, may_start=False, **VALUES)
    assert not (after.cool and not was.cool)
    assert not (after.heat and not was.heat)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.tuples(batches, st.sampled_from([0.0, 2.0, 10.0])), max_size=6))
async def test_every_batch_over_http_is_decided_and_stored_by_that_rule(config, clock, steps):
    """Compares a zone with a model: its command, and the state stored with each row."""
    async with served(config, clock) as container:
        gateway, model = Caller(container.app), Relays()
        device = f"lab-{clock.now_ms()}"
        for readings, pause_s in steps:
            clock.advance(pause_s + 0.001)
            rows = [reading(temp, ok, device_id=device) for temp, ok in readings]
            (command,) = (await gateway.post(PATH, rows)).json()["commands"]
            before = model
            model = decided(model, readings, clock.uptime_ms())
            assert (command["cool_active"], command["heat_active"]) == (model.cool, model.heat)
            now_ms = clock.now_ms()
            kept = [
                one
                for one in await stored(container)
                if (one.device_id, one.received_ms) == (device, now_ms)
            ]
            states = sorted(one.state for one in kept)
            assert states == sorted([before.state] * (len(rows) - 1) + [model.state])
        clock.advance(60)


@pytest.fixture
def gateway(container):
    return Caller(container.app)


async def post(gateway, *readings):
    rows = [reading(temp, ok) for temp, ok in readings]
    (command,) = (await gateway.post(PATH, rows)).json()["commands"]
    return command["cool_active"], command["heat_active"]


async def test_an_old_hot_reading_starts_no_cooler(gateway):
    assert await post(gateway, (HOT, True), (COLD, True)) == (False, True)
    assert await post(gateway, (HOT, True)) == (True, True)


async def test_an_old_cold_reading_stops_no_cooler(gateway, clock):
    await post(gateway, (HOT, True))
    clock.advance(10)
    assert await post(gateway, (COLD, True), (HOT, True)) == (True, True)


async def test_a_fault_in_the_newest_reading_cuts_at_once(gateway):
    await post(gateway, (HOT, True))
    assert await post(gateway, (HOT, True), (HOT, False)) == (False, False)
    assert (await gateway.get("/api/status")).json()["state"] == "FAULT"


async def test_an_earlier_fault_cuts_the_cooler_for_its_minimum_off_time(gateway, clock):
    await post(gateway, (HOT, True))
    assert await post(gateway, (HOT, False), (HOT, True)) == (False, True)
    clock.advance(9.999)
    assert await post(gateway, (HOT, True)) == (False, True)
    clock.advance(0.001)
    assert await post(gateway, (HOT, True)) == (True, True)


async def test_minimum_times_hold_across_batches_and_single_posts(gateway, clock):
    await gateway.post("/api/sensor_data", reading(HOT))
    clock.advance(9.999)
    assert await post(gateway, (COLD, True), (COLD, True)) == (True, True)
    clock.advance(0.001)
    assert await post(gateway, (COLD, True)) == (False, True)


async def test_a_fault_far_back_in_a_thousand_readings_still_cuts(gateway):
    await post(gateway, (HOT, True))
    readings = [(HOT, number != 3) for number in range(1000)]
    assert await post(gateway, *readings) == (False, True)


async def test_many_hot_readings_before_a_cold_one_start_no_cooler_in_between(gateway, container):
    assert await post(gateway, *[(HOT, True)] * 999, (COLD, True)) == (False, True)
    assert not any(one.cool_active for one in await stored(container))
