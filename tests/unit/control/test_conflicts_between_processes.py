"""Another process keeps writing first: a request tries again for a second, and then gives up."""

from __future__ import annotations

import asyncio

import pytest

from server.services.firestore.base import VersionConflict
from tests.support.http import Caller, logged_in, reading, served, stored

REQUESTS = [
    ("/api/sensor_data", reading(300, device_id="lab")),
    ("/api/set_setpoint", {"setpoint_tenths": 250, "device_id": "lab"}),
    ("/api/set_setpoint", {"setpoint_tenths": 250}),
]


class Rival:
    """Lets every write of a zone or of settings come second, `times` times; each loss takes time
    on the server's clock."""

    def __init__(self, monkeypatch, container, clock, times, seconds):
        self.losses = 0
        client = container.base.client
        write = client.write

        async def lose(writes):
            if self.losses < times and writes[0].collection in {"zones", "tenant_settings"}:
                self.losses += 1
                clock.advance(seconds)
                raise VersionConflict(writes[0].collection, writes[0].id)
            return await write(writes)

        monkeypatch.setattr(client, "write", lose)


@pytest.fixture
async def operator(container):
    caller = await logged_in(container, "operator")
    await caller.post("/api/sensor_data", reading(device_id="lab"))
    return caller


@pytest.mark.parametrize(("path", "body"), REQUESTS)
async def test_a_write_that_comes_second_fifty_times_gets_through(
    container, operator, clock, monkeypatch, path, body
):
    rival = Rival(monkeypatch, container, clock, times=50, seconds=0.01)
    assert (await operator.post(path, body)).status == 200
    assert rival.losses == 50


@pytest.mark.parametrize(("path", "body"), REQUESTS)
async def test_a_write_that_comes_second_for_a_second_is_given_up(
    container, operator, clock, monkeypatch, path, body
):
    rival = Rival(monkeypatch, container, clock, times=1000, seconds=0.3)
    answer = await operator.post(path, body)
    assert (answer.status, answer.json()["code"]) == (503, "ZONE_BUSY")
    assert rival.losses == 4


async def test_tries_end_though_the_clock_stands_still(container, operator, clock, monkeypatch):
    Rival(monkeypatch, container, clock, times=1000, seconds=0)
    assert (await operator.post(*REQUESTS[0])).status == 503


BATCH = [reading(300, device_id=f"d{number}") for number in range(3)]


@pytest.mark.parametrize("times", [1, 2, 30])
async def test_a_batch_that_comes_second_gets_through(
    container, operator, clock, monkeypatch, times
):
    rival = Rival(monkeypatch, container, clock, times, seconds=0.01)
    answer = await operator.post("/api/sensor_data/batch", BATCH)
    assert (answer.status, answer.json()["accepted"]) == (200, 3)
    assert rival.losses == times


async def test_a_batch_whose_zones_others_keep_writing_is_given_up(
    container, operator, clock, monkeypatch
):
    Rival(monkeypatch, container, clock, times=1000, seconds=0.3)
    answer = await operator.post("/api/sensor_data/batch", BATCH)
    assert (answer.status, answer.json()["code"]) == (503, "ZONE_BUSY")


async def test_batches_of_two_processes_lose_nothing_and_decide_on_each_others_state(config, clock):
    async with served(config, clock) as one, served(config, clock) as other:
        rows = [reading(300, device_id=f"d{number % 7}") for number in range(70)]
        answers = await asyncio.gather(
            *(
                Caller(each.app).post("/api/sensor_data/batch", rows)
                for _ in range(5)
                for each in (one, other)
            )
        )
        assert {(a.status, a.json()["accepted"]) for a in answers} == {(200, 70)}
        assert len(await stored(one)) == 700
        for cold in (one, other):
            answer = await Caller(cold.app).post(
                "/api/sensor_data/batch", [reading(200, device_id="d0")]
            )
            # Started by one of the batches just now: nobody may stop it yet.
            assert answer.json()["commands"][0]["cool_active"] is True
