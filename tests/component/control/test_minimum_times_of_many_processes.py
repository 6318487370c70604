"""Minimum times hold when each post of a device may go to any process of any boot."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack

import pytest

from tests.support.clock import HOUR_MS
from tests.support.http import Caller, reading, served

MIN_MS = 10_000
POSTS = 250


class Cooler:
    """A cooler that records its switches on a clock that is never set."""

    def __init__(self):
        self.on = False
        self.switched_ms = None
        self.shortest_ms = MIN_MS
        self.switches = 0

    def obey(self, on, fault, at_ms):
        if on == self.on:
            return
        if self.switched_ms is not None and not fault:
            self.shortest_ms = min(self.shortest_ms, at_ms - self.switched_ms)
        self.on, self.switched_ms = on, at_ms
        self.switches += 1


@pytest.mark.parametrize("seed", range(4))
async def test_minimum_times_hold_whichever_process_gets_each_post(config, clock, seed):
    chance = random.Random(seed)
    cooler, temp_tenths = Cooler(), 240
    async with AsyncExitStack() as stack:
        apps = [(await stack.enter_async_context(served(config, clock))).app for _ in range(3)]
        for _ in range(POSTS):
            clock.advance(chance.choice([0.001, 0.5, 2, 2, 2, 5, 9.999]))
            clock.step_ms = chance.choice([clock.step_ms, -HOUR_MS, 0, HOUR_MS])
            temp_tenths = max(180, min(300, temp_tenths + chance.randint(-40, 40)))
            ok = chance.random() > 0.05
            body = reading(temp_tenths, ok, device_id="lab")
            answer = await Caller(chance.choice(apps)).post("/api/sensor_data", body)
            assert answer.status == 200
            cooler.obey(answer.json()["cool_active"], not ok, clock.ms)
            assert cooler.shortest_ms >= MIN_MS
    assert cooler.switches > 20
