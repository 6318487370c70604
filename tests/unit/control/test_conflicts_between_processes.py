"""Another process keeps writing first: a request tries again for a second, and then gives up.

A device is answered all the same, with what memory says (contract, section 6: a limit is reached).
"""

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
# Of the zone that the fixture `operator` leaves.
COMMAND = {
    "cool_active": False,
    "heat_active": True,
    "setpoint_tenths": 230,
    "deadband_tenths": 10,
}


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


@pytest.mark.parametrize(("path", "body"), REQUESTS[1:])
async def test_a_setpoint_that_comes_second_for_a_second_is_given_up(
    container, operator, clock, monkeypatch, path, body
):
    rival = Rival(monkeypatch, container, clock, times=1000, seconds=0.3)
    answer = await operator.post(path, body)
    assert (answer.status, answer.json()["code"]) == (503, "ZONE_BUSY")
    assert rival.losses == 4


async def test_a_reading_that_comes_second_for_a_second_is_not_stored_and_switches_nothing_on(
    container, operator, clock, monkeypatch
):
    rival = Rival(monkeypatch, container, clock, times=1000, seconds=0.3)
    answer = await operator.post(*REQUESTS[0])
    assert (answer.status, answer.json()) == (200, COMMAND | {"stored": False})
    assert rival.losses == 4
    assert [one.temp_tenths for one in await stored(container)] == [235]
    assert not container.base.stores.watch.away


async def test_a_fault_that_comes_second_for_a_second_is_not_stored_and_cuts(
    container, operator, clock, monkeypatch
):
    await operator.post(*REQUESTS[0])
    Rival(monkeypatch, container, clock, times=1000, seconds=0.3)
    answer = await operator.post("/api/sensor_data", reading(300, False, device_id="lab"))
    off = {"cool_active": False, "heat_active": False, "stored": False}
    assert (answer.status, answer.json()) == (200, COMMAND | off)


async def test_a_reading_with_a_key_that_comes_second_for_a_second_is_503_with_its_command(
    container, operator, clock, monkeypatch
):
    Rival(monkeypatch, container, clock, times=1000, seconds=0.3)
    answer = await operator.post(*REQUESTS[0], headers={"Idempotency-Key": "k-1"})
    assert (answer.status, answer.json()["code"]) == (503, "ZONE_BUSY")
    assert answer.json().items() >= (COMMAND | {"stored": False}).items()


async def test_tries_end_though_the_clock_stands_still(container, operator, clock, monkeypatch):
    Rival(monkeypatch, container, clock, times=1000, seconds=0)
    answer = await operator.post(*REQUESTS[0])
    assert (answer.status, answer.json()["stored"]) == (200, False)


BATCH = [reading(300, device_id=f"d{number}") for number in range(3)]


@pytest.mark.parametrize("times", [1, 2, 30])
async def test_a_batch_that_comes_second_gets_through(
    container, operator, clock, monkeypatch, times
):
    rival = Rival(monkeypatch, container, clock, times, seconds=0.01)
    answer = await operator.post("/api/sensor_data/batch", BATCH)
    assert (answer.status, answer.json()["accepted"]) == (200, 3)
    assert rival.losses == times


async def test_a_batch_whose_zones_others_keep_writing_is_answered_and_not_stored(
    container, operator, clock, monkeypatch
):
    Rival(monkeypatch, container, clock, times=1000, seconds=0.3)
    answer = await operator.post("/api/sensor_data/batch", BATCH)
    assert (answer.status, answer.json()["accepted"]) == (200, 0)
    assert [one["code"] for one in answer.json()["errors"]] == ["ZONE_BUSY"] * 3
    told = [(one["cool_active"], one["stored"]) for one in answer.json()["commands"]]
    assert told == [(False, False)] * 3


async def test_a_batch_with_a_key_whose_zones_others_keep_writing_is_503_with_its_commands(
    container, operator, clock, monkeypatch
):
    Rival(monkeypatch, container, clock, times=1000, seconds=0.3)
    headers = {"Idempotency-Key": "b-1"}
    answer = await operator.post("/api/sensor_data/batch", BATCH, headers=headers)
    assert (answer.status, answer.json()["code"]) == (503, "ZONE_BUSY")
    assert [one["stored"] for one in answer.json()["commands"]] == [False] * 3


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
