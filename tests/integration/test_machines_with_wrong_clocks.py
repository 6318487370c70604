"""Machines on one store whose clocks differ: what one of them dated, the others read rightly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from bas_server import Container
from server.common.clock import SystemClock
from server.config.config import ServerConfig
from tests.support.clock import ManualClock
from tests.support.firestore import on_firestore
from tests.support.http import Caller, reading, served, stored
from tools.firestore_emulator import SWITCHES, FirestoreEmulator
from tools.redis_server import RedisServer

# Both measurements at the start are right to some milliseconds, and the second is made later: on a
# busy machine by seconds.
SLACK_S = 4.0
MINIMUM_S = 10.0
Machines: TypeAlias = list[tuple[Container, ManualClock]]


@pytest.fixture(params=["redis", "firestore"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> ServerConfig:
    """One SQLite file and a Redis, or all stores on Firestore without one."""
    settings = ServerConfig(data_dir=tmp_path / "data")
    if request.param == "redis":
        redis: RedisServer = request.getfixturevalue("redis")
        return ServerConfig(data_dir=tmp_path / "data", redis_url=redis.url)
    emulator: FirestoreEmulator = request.getfixturevalue("firestore")
    return on_firestore(settings, emulator.host, *SWITCHES)


@asynccontextmanager
async def two(config: ServerConfig, apart_s: float) -> AsyncIterator[Machines]:
    """Two machines on one store; the second one's clock is so many seconds ahead."""
    now_ms = SystemClock().now_ms()
    wrong_ms = now_ms + round(apart_s * 1000)
    ahead = ManualClock(wrong_ms, boot="another machine", compared=True)
    async with AsyncExitStack() as stack:
        yield [
            (await stack.enter_async_context(served(config, clock)), clock)
            for clock in (ManualClock(now_ms, compared=True), ahead)
        ]


@pytest.fixture(params=[5, 300, -300])
async def machines(request: pytest.FixtureRequest, config: ServerConfig) -> AsyncIterator[Machines]:
    """Two machines on one store, of which the second has a wrong clock."""
    async with two(config, request.param) as both:
        yield both


def advance(machines: Machines, seconds: float) -> None:
    for _, clock in machines:
        clock.advance(seconds)


async def cools(container: Container, temp_tenths: int) -> bool:
    body = reading(temp_tenths, device_id="lab")
    answer = await Caller(container.app).post("/api/sensor_data", body)
    assert answer.status == 200
    cooling: bool = answer.json()["cool_active"]
    return cooling


async def test_a_minimum_time_that_began_at_one_machine_is_kept_by_the_other(
    machines: Machines,
) -> None:
    (here, _), (there, _) = machines
    assert await cools(here, 300)
    advance(machines, MINIMUM_S - SLACK_S)
    assert await cools(there, 200)
    advance(machines, 2 * SLACK_S)
    assert not await cools(there, 200)
    advance(machines, MINIMUM_S - SLACK_S)
    assert not await cools(here, 300)
    advance(machines, 2 * SLACK_S)
    assert await cools(here, 300)


@pytest.mark.parametrize("apart_s", [-300, 900])
async def test_a_reading_that_is_repeated_at_another_machine_is_stored_once(
    firestore: FirestoreEmulator, tmp_path: Path, apart_s: int
) -> None:
    body = reading(240, device_id="lab", seq=7)
    settings = on_firestore(ServerConfig(data_dir=tmp_path), firestore.host, *SWITCHES)
    async with two(settings, apart_s) as machines:
        for container, _ in machines:
            assert (await Caller(container.app).post("/api/sensor_data", body)).status == 200
        assert len(await stored(machines[0][0])) == 1


async def test_a_zone_that_posts_to_one_machine_is_not_silent_to_the_other(
    machines: Machines,
) -> None:
    (here, _), (there, _) = machines
    for _ in range(4):
        await cools(here, 240)
        await there.control.watch.check()
        advance(machines, 2)
    advance(machines, 4)
    await there.control.watch.check()
    status = (await Caller(there.app).get("/api/status?device_id=lab")).json()
    assert status["trust"]["state"] == "ok"
    assert 0 <= status["age_ms"] - 6000 < SLACK_S * 1000
    advance(machines, 5)
    await there.control.watch.check()
    status = (await Caller(there.app).get("/api/status?device_id=lab")).json()
    assert status["trust"]["state"] == "silent"


async def test_a_session_of_one_machine_lives_as_long_at_the_other(machines: Machines) -> None:
    (here, _), (there, _) = machines
    caller = Caller(here.app)
    await caller.log_in("operator")
    elsewhere = Caller(there.app, headers=dict(caller.headers))
    advance(machines, 1750)
    left_s = (await elsewhere.get("/auth/status?passive=1")).json()["expires_in"]
    assert left_s > 0


@pytest.mark.parametrize(("apart_s", "state"), [(1, "ready"), (3, "degraded"), (-3, "degraded")])
async def test_a_server_is_degraded_from_two_seconds_of_difference_on(
    config: ServerConfig, apart_s: int, state: str
) -> None:
    clock = ManualClock(SystemClock().now_ms() + apart_s * 1000, compared=True)
    async with served(config, clock) as container:
        answer = await Caller(container.app).get("/readyz")
        assert (answer.status, answer.json()["status"]) == (200, state)
        right = state == "ready"
        assert answer.json()["checks"]["clock"] == ("ok" if right else "CLOCK_SKEWED")
        health = (await Caller(container.app).get("/api/health")).json()
        assert health["status"] == "healthy"
        assert health.get("firestore", {"status": "healthy"}) == {"status": "healthy"}
