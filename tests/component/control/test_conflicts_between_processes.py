"""Another process keeps writing first: a request retries for a second, and then gives up.

A device still gets a command, from memory (contract, section 6: a limit is reached).
"""

from __future__ import annotations

import asyncio

import pytest

from server.services.ports.documents import VersionConflict
from tests.support.http import Caller, logged_in, reading, served, stored

REQUESTS = [
    ("/api/sensor_data", reading(300, device_id="lab")),
    ("/api/set_setpoint", {"setpoint_tenths": 250, "device_id": "lab"}),
    ("/api/set_setpoint", {"setpoint_tenths": 250}),
]
# The command for the zone that the fixture `operator` creates.
COMMAND = {
    "cool_active": False,
    "heat_active": True,
    "setpoint_tenths": 230,
    "deadband_tenths": 10,
}


class Rival:
    """Makes the first `times` writes of a zone or of settings fail with a conflict; each takes
    `seconds` on the server's clock."""

    def __init__(self, monkeypatch, container, clock, times, seconds):
        self.losses = 0
        client = container.base.client
        write = client.write

        async def lose(writes, *readings):
            if self.losses < times and writes[0].collection in {"zones", "tenant_settings"}:
                self.losses += 1
                clock.advance(seconds)
                raise VersionConflict(writes[0].collection, writes[0].id)
            return await write(writes, *readings)

        monkeypatch.setattr(client, "write", lose)


@pytest.fixture
async def operator(container):
    caller = await logged_in(container, "operator")
    await caller.post("/api/sensor_data", reading(device_id="lab"))
    return caller


@pytest.mark.parametrize(("path", "body"), REQUESTS)
async def test_a_write_with_fifty_conflicts_succeeds(
    container, operator, clock, monkeypatch, path, body
):
    rival = Rival(monkeypatch, container, clock, times=50, seconds=0.01)
    assert (await operator.post(path, body)).status == 200
    assert rival.losses == 50


@pytest.mark.parametrize(("path", "body"), REQUESTS[1:])
async def test_a_setpoint_is_given_up_after_a_second_of_conflicts(
    container, operator, clock, monkeypatch, path, body
):
    rival = Rival(monkeypatch, container, clock, times=1000, seconds=0.3)
    answer = await operator.post(path, body)
    assert (answer.status, answer.json()["code"]) == (503, "ZONE_BUSY")
    assert rival.losses == 4


async def test_a_reading_with_conflicts_for_a_second_is_not_stored_and_switches_nothing_on(
    container, operator, clock, monkeypatch
):
    rival = Rival(monkeypatch, container, clock, times=1000, seconds=0.3)
    answer = await operator.post(*REQUESTS[0])
    assert (answer.status, answer.json()) == (200, COMMAND | {"stored": False})
    assert rival.losses == 4
    assert [one.temp_tenths for one in await stored(container)] == [235]
    assert not container.base.stores.watch.away


async def test_a_fault_with_conflicts_for_a_second_is_not_stored_and_cuts_the_relays(
    container, operator, clock, monkeypatch
):
    await operator.post(*REQUESTS[0])
    Rival(monkeypatch, container, clock, times=1000, seconds=0.3)
    answer = await operator.post("/api/sensor_data", reading(300, False, device_id="lab"))
    off = {"cool_active": False, "heat_active": False, "stored": False}
    assert (answer.status, answer.json()) == (200, COMMAND | off)


async def test_a_reading_with_a_key_and_conflicts_for_a_second_gets_503_with_its_command(
    container, operator, clock, monkeypatch
):
    Rival(monkeypatch, container, clock, times=1000, seconds=0.3)
    answer = await operator.post(*REQUESTS[0], headers={"Idempotency-Key": "k-1"})
    assert (answer.status, answer.json()["code"]) == (503, "ZONE_BUSY")
    assert answer.json().items() >= (COMMAND | {"stored": False}).items()


@pytest.mark.parametrize(("path", "body"), REQUESTS[1:])
async def test_a_setpoint_that_a_slow_store_did_not_take_is_not_said_to_have_rivals(
    container, operator, clock, monkeypatch, path, body
):
    rival = Rival(monkeypatch, container, clock, times=1000, seconds=1.2)
    answer = await operator.post(path, body)
    assert (answer.status, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")
    assert "the store answers slowly" in answer.json()["message"]
    assert rival.losses == 1


async def test_a_reading_that_a_slow_store_did_not_take_is_not_said_to_have_rivals(
    container, operator, clock, monkeypatch
):
    Rival(monkeypatch, container, clock, times=1000, seconds=1.2)
    answer = await operator.post(*REQUESTS[0], headers={"Idempotency-Key": "k-1"})
    assert (answer.status, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")
    assert not container.base.stores.watch.away


async def test_a_batch_that_takes_too_long_is_not_said_to_have_rivals(
    container, operator, clock, monkeypatch
):
    Rival(monkeypatch, container, clock, times=1000, seconds=4)
    answer = await operator.post("/api/sensor_data/batch", BATCH)
    assert [one["code"] for one in answer.json()["errors"]] == ["STORE_UNAVAILABLE"] * 3
    assert not container.base.stores.watch.away


async def test_retries_end_even_if_the_clock_stands_still(container, operator, clock, monkeypatch):
    Rival(monkeypatch, container, clock, times=1000, seconds=0)
    answer = await operator.post(*REQUESTS[0])
    assert (answer.status, answer.json()["stored"]) == (200, False)


BATCH = [reading(300, device_id=f"d{number}") for number in range(3)]


@pytest.mark.parametrize("times", [1, 2, 30])
async def test_a_batch_with_some_conflicts_succeeds(container, operator, clock, monkeypatch, times):
    rival = Rival(monkeypatch, container, clock, times, seconds=0.01)
    answer = await operator.post("/api/sensor_data/batch", BATCH)
    assert (answer.status, answer.json()["accepted"]) == (200, 3)
    assert rival.losses == times


async def test_a_batch_with_conflicts_for_a_second_gets_commands_and_is_not_stored(
    container, operator, clock, monkeypatch
):
    Rival(monkeypatch, container, clock, times=1000, seconds=0.05)
    answer = await operator.post("/api/sensor_data/batch", BATCH)
    assert (answer.status, answer.json()["accepted"]) == (200, 0)
    assert [one["code"] for one in answer.json()["errors"]] == ["ZONE_BUSY"] * 3
    commands = [(one["cool_active"], one["stored"]) for one in answer.json()["commands"]]
    assert commands == [(False, False)] * 3


async def test_a_batch_with_a_key_and_conflicts_for_a_second_gets_503_with_its_commands(
    container, operator, clock, monkeypatch
):
    Rival(monkeypatch, container, clock, times=1000, seconds=0.05)
    headers = {"Idempotency-Key": "b-1"}
    answer = await operator.post("/api/sensor_data/batch", BATCH, headers=headers)
    assert (answer.status, answer.json()["code"]) == (503, "ZONE_BUSY")
    assert [one["stored"] for one in answer.json()["commands"]] == [False] * 3


async def test_batches_of_two_processes_lose_no_reading_and_share_the_zones_states(config, clock):
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
            # One of the batches started the cooler just now: it may not stop yet.
            assert answer.json()["commands"][0]["cool_active"] is True
