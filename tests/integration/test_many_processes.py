"""Real server processes on one real Redis that is cut off, stopped and emptied under load: every
browser shows every acknowledged reading once and in order, or was told that it begins anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.browser import Site, open_site
from tests.support.process import START_S, ServerProcess
from tests.support.redis import RedisServer
from tests.support.stream import StreamClient, caller, eventually, figures, post_reading

HANGS_S = 5.0
# A device gives up after 5 s.
ANSWERED_S = 3.0
OUTAGE = "Redis does not answer|events were never appended"
READY = 200, {"status": "ready", "checks": {"store": "ok", "log": "ok"}}
DEGRADED = 200, {"status": "degraded", "checks": {"store": "ok", "log": "LOG_UNAVAILABLE"}}

Pair = tuple[ServerProcess, ServerProcess]


@pytest.fixture
def pair(tmp_path: Path, redis: RedisServer) -> Pair:
    """Two servers on one folder and one Redis, not started yet."""
    settings = {"REDIS_URL": redis.url, "BAS_AUTH_MODE": "disabled", "BAS_SSE_HEARTBEAT_S": "1"}
    return ServerProcess(tmp_path, **settings), ServerProcess(tmp_path, **settings)


@asynccontextmanager
async def hanging(redis: RedisServer) -> AsyncIterator[None]:
    """Redis is stopped for HANGS_S, with all connections open."""
    over = asyncio.create_task(asyncio.sleep(HANGS_S))
    redis.pause()
    try:
        yield
        assert not over.done(), "what was to be seen meanwhile took longer"
        await over
    finally:
        redis.resume()


def take_away(redis: RedisServer, how: str) -> None:
    """For the rest of the test."""
    if how == "gone":
        redis.kill()
    else:
        redis.pause()


async def readiness(server: ServerProcess) -> tuple[int, object]:
    """What /readyz says."""
    async with caller(server.url) as client:
        answer = await client.get("/readyz")
    return answer.status_code, answer.json()


async def is_ready(server: ServerProcess) -> bool:
    return await readiness(server) == READY


async def is_degraded(server: ServerProcess) -> bool:
    return await readiness(server) == DEGRADED


async def counted(server: ServerProcess, name: str) -> float:
    """A figure of /metrics, over all its labels."""
    async with caller(server.url) as client:
        found = await figures(client)
    return sum(value for key, value in found.items() if key.partition("{")[0] == name)


async def all_are(
    check: Callable[[ServerProcess], Awaitable[bool]], servers: Pair, what: str
) -> None:
    """Wait until this is so of each server."""
    for server in servers:
        await eventually(lambda server=server: check(server), what)


async def own_readings_are_streamed(site: Site) -> None:
    """Every stream gets what its own process acknowledges from now on."""
    before = site.acknowledged()

    def check() -> bool:
        return all(
            browser.newest(device) > before[device.name]
            for server in site.servers
            for browser in site.at(server)
            for device in site.posting_to(server)
        )

    await site.more()
    await eventually(check, "streams get what their process acknowledged")


def slowest_s(site: Site) -> float:
    """How long the slowest post took; AssertionError if one was not answered."""
    assert not any(device.repeated for device in site.devices)
    return max(device.slowest_s for device in site.devices)


async def test_what_is_posted_to_one_server_is_streamed_and_resumed_at_another(pair: Pair) -> None:
    a, b = pair
    async with open_site(a, b, devices=0, browsers=0), caller(a.url) as device:
        async with await StreamClient.open(a.port) as at_a, await StreamClient.open(b.port) as at_b:
            await at_a.opening()
            await at_b.opening()
            for temp_tenths in range(200, 210):
                await post_reading(device, "zone", temp_tenths)
            events = await at_b.live(10)
            assert [event.json["temp_tenths"] for event in events] == list(range(200, 210))
            assert await at_a.live(10) == events
        async with await StreamClient.open(b.port, last_event_id=at_a.last_id) as again:
            assert (await again.opening())["hello"].json["resume"] == "recovered"
            await post_reading(device, "zone", 210)
            assert [event.json["temp_tenths"] for event in await again.live(1)] == [210]
        async with await StreamClient.open(b.port, last_event_id=events[3].id) as again:
            assert (await again.opening())["hello"].json["resume"] == "recovered"
            assert (await again.live(7))[:6] == events[4:]


async def test_subscriptions_that_are_killed_in_a_burst_lose_nothing(
    pair: Pair, redis: RedisServer
) -> None:
    async with open_site(*pair) as site:
        async with site.load():
            for _ in range(8):
                redis.command("CLIENT", "KILL", "TYPE", "pubsub")
                await site.more(5)
        await site.all_complete()
        assert slowest_s(site) < ANSWERED_S
        assert all(browser.resumes == ["fresh"] for browser in site.browsers)
        for server in pair:
            assert await counted(server, "bas_events_filled_total") > 0


async def test_a_redis_that_hangs_holds_no_answer_up_for_long_and_loses_nothing(
    pair: Pair, redis: RedisServer
) -> None:
    async with open_site(*pair, expected=OUTAGE) as site:
        async with site.load():
            async with hanging(redis):
                await all_are(is_degraded, pair, "it says that the log is away")
                await own_readings_are_streamed(site)
                for server in pair:
                    assert await readiness(server) == DEGRADED
                    assert await counted(server, "bas_events_waiting") > 0
                    assert await counted(server, "bas_log_failures_total") > 0
            await site.more()
        await site.all_complete()
        assert slowest_s(site) < ANSWERED_S
        assert all(browser.resumes == ["fresh"] for browser in site.browsers)
        for server in pair:
            assert await readiness(server) == READY
            assert await counted(server, "bas_events_waiting") == 0
            assert await counted(server, "bas_events_lost_total") == 0


async def test_a_redis_that_comes_back_empty_makes_every_browser_begin_anew(
    pair: Pair, redis: RedisServer
) -> None:
    async with open_site(*pair, expected=OUTAGE) as site:
        async with site.load():
            redis.kill()
            await own_readings_are_streamed(site)
            await asyncio.to_thread(redis.start)
            await site.more()
        await site.all_told()
        assert slowest_s(site) < ANSWERED_S
        await all_are(is_ready, pair, "all is well again")


async def test_flushall_makes_every_browser_begin_anew(pair: Pair, redis: RedisServer) -> None:
    async with open_site(*pair) as site:
        async with site.load():
            redis.command("FLUSHALL")
            await site.more()
        await site.all_told()
        assert slowest_s(site) < ANSWERED_S


@pytest.mark.parametrize("away", ["gone", "hanging"])
async def test_without_its_redis_a_server_serves_on_and_stops_in_time(
    pair: Pair, redis: RedisServer, away: str
) -> None:
    async with open_site(*pair, expected=OUTAGE) as site:
        async with site.load():
            take_away(redis, away)
            await all_are(is_degraded, pair, "it says that the log is away")
            for server in pair:
                async with await StreamClient.open(server.port) as late:
                    assert (await late.opening())["hello"].json["resume"] == "fresh"
                    await late.live(5)
            await own_readings_are_streamed(site)
        assert slowest_s(site) < ANSWERED_S
    assert all("events were never appended" in server.output for server in pair)


@pytest.mark.parametrize("away", ["gone", "hanging"])
def test_a_server_that_starts_without_its_redis_says_what_to_do_and_ends(
    tmp_path: Path, redis: RedisServer, away: str
) -> None:
    take_away(redis, away)
    address = redis.url.removeprefix("redis://")
    server = ServerProcess(tmp_path, REDIS_URL=f"redis://:hunter2@{address}")
    server.launch().wait(START_S)
    assert server.wait() == 1
    (line,) = [line for line in server.lines if "REDIS_URL" in line]
    assert line.startswith(f"bas_server.py: Redis does not answer: redis://{address}: ")
    assert "Start it" in line
    assert "hunter2" not in server.output
    assert "Traceback" not in server.output
    assert not server.port
