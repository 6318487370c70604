"""The time that the processes of a site share: that of a real Redis, or of a real Firestore."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.services.ports.event_log import LogUnavailable
from server.services.site.factory import shared_redis
from tests.support.clock import ManualClock
from tests.support.firestore import on_firestore
from tests.support.http import served
from tools.firestore_emulator import SWITCHES, FirestoreEmulator
from tools.redis_server import RedisServer


@pytest.fixture(params=["redis", "firestore", "both"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> ServerConfig:
    """Settings of a site whose time is that of Redis or of Firestore."""
    settings = ServerConfig(data_dir=tmp_path / "data")
    if request.param != "firestore":
        redis: RedisServer = request.getfixturevalue("redis")
        settings = ServerConfig(data_dir=tmp_path / "data", redis_url=redis.url)
    if request.param != "redis":
        emulator: FirestoreEmulator = request.getfixturevalue("firestore")
        settings = on_firestore(settings, emulator.host, *SWITCHES)
    return settings


@pytest.mark.parametrize("apart_s", [5, 300, -300])
async def test_a_process_whose_clock_is_wrong_has_the_time_of_the_others(
    shared: ServerConfig, apart_s: int
) -> None:
    right = SystemClock()
    before_ms = right.now_ms()
    wrong = ManualClock(before_ms + apart_s * 1000, compared=True)
    async with served(shared, wrong) as container:
        site_ms = container.base.site_clock.now_ms()
        assert before_ms - 1 <= site_ms <= right.now_ms() + 1
        skew_s = container.base.metrics.registry.get_sample_value("bas_clock_skew_seconds")
        assert skew_s == (wrong.now_ms() - site_ms) / 1000


async def test_a_process_that_runs_alone_has_the_machine_s_time(tmp_path: Path) -> None:
    clock = ManualClock()
    async with served(ServerConfig(data_dir=tmp_path), clock) as container:
        assert container.base.site_clock is clock


async def test_the_time_goes_on_while_redis_is_gone(redis: RedisServer) -> None:
    clock = ManualClock(compared=True)
    async with shared_redis(redis.url, clock, Metrics()) as site:
        assert site is not None
        assert site.shared.clock is not None
        before = site.shared.clock.now_ms()
        redis.kill()
        assert not await site.shared.clock.measure()
        clock.advance(60)
        assert site.shared.clock.now_ms() == before + 60_000


async def test_a_user_of_redis_that_may_not_ask_for_the_time_is_told_which_right_it_lacks(
    redis: RedisServer,
) -> None:
    redis.command("ACL", "SETUSER", "default", "-time")
    async with shared_redis(redis.url, ManualClock(), Metrics()) as site:
        assert site is not None
        with pytest.raises(LogUnavailable, match=r"\+time"):
            await site.calls.time_ms()
