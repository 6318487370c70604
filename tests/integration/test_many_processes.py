"""Server processes on one Redis that is disconnected, stopped and emptied under load. Every
browser shows every acknowledged reading once and in order, or is reset with a new snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.browser import Site, open_site
from tests.support.stream import StreamClient, caller, eventually, figures, post_reading
from tools.process import START_S, ServerProcess
from tools.redis_server import RedisServer

HANGS_S = 5.0
# A device gives up after 5 s.
ANSWERED_S = 4.5
OUTAGE = "Redis does not answer|events were not appended"
OTHERS_OK = {"store": "ok", "database": "ok", "disk": "ok", "clock": "ok"}
READY = 200, "ready", OTHERS_OK | {"log": "ok"}
DEGRADED = 200, "degraded", OTHERS_OK | {"log": "LOG_UNAVAILABLE"}

Pair = tuple[ServerProcess, ServerProcess]


@pytest.fixture
def pair(tmp_path: Path, redis: RedisServer) -> Pair:
    """Two servers, not started yet, with the same folder and the same Redis."""
    settings = {"REDIS_URL": redis.url, "BAS_AUTH_MODE": "disabled", "BAS_SSE_HEARTBEAT_S": "1"}
    return ServerProcess(tmp_path, **settings), ServerProcess(tmp_path, **settings)


@asynccontextmanager
async def hanging(redis: RedisServer) -> AsyncIterator[None]:
    """Redis hangs for HANGS_S with its connections open; the block must be shorter."""
    over = asyncio.create_task(asyncio.sleep(HANGS_S))
    redis.pause()
    try:
        yield
        assert not over.done(), "the check of a running process took longer"
        await over
    finally:
        redis.resume()


def take_away(redis: RedisServer, how: str) -> None:
    """Kill Redis, or let it hang, until the test ends."""
    if how == "gone":
        redis.kill()
    else:
        redis.pause()


async def readiness(server: ServerProcess) -> tuple[int, object, object]:
    """The HTTP status, the status and the checks of /readyz."""
    async with caller(server.url) as client:
        answer = await client.get("/readyz")
    return answer.status_code, answer.json()["status"], answer.json()["checks"]


async def is_ready(server: ServerProcess) -> bool:
    return await readiness(server) == READY


async def is_degraded(server: ServerProcess) -> bool:
    return await readiness(server) == DEGRADED


async def counted(server: ServerProcess, name: str) -> float:
    """A figure of /metrics, summed over its labels."""
    async with caller(server.url) as client:
        found = await figures(client)
    return sum(value for key, value in found.items() if key.partition("{")[0] == name)


async def all_are(
    check: Callable[[ServerProcess], Awaitable[bool]], servers: Pair, what: str
) -> None:
    """Wait until the check is true for each server."""
    for server in servers:
        await eventually(lambda server=server: check(server), what)


async def own_readings_are_streamed(site: Site) -> None:
    """Check that every stream gets the readings that its process acknowledges from now on."""
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
    """The seconds of the slowest post; AssertionError if a post had no answer."""
    assert not any(device.repeated for device in site.devices)
    return max(device.slowest_s for device in site.devices)


async def test_readings_posted_at_one_server_are_streamed_and_replayed_at_another(
    pair: Pair,
) -> None:
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


async def test_killing_the_redis_subscriptions_again_and_again_loses_no_event(
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


async def test_a_hanging_redis_delays_answers_only_briefly_and_loses_no_event(
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


async def test_a_redis_that_restarts_empty_resets_every_browser(
    pair: Pair, redis: RedisServer
) -> None:
    async with open_site(*pair, expected=OUTAGE) as site:
        async with site.load():
            redis.kill()
            await own_readings_are_streamed(site)
            await asyncio.to_thread(redis.start)
            await site.more()
        await site.all_reset()
        assert slowest_s(site) < ANSWERED_S
        await all_are(is_ready, pair, "all is well again")


async def test_flushall_resets_every_browser(pair: Pair, redis: RedisServer) -> None:
    async with open_site(*pair) as site:
        async with site.load():
            redis.command("FLUSHALL")
            await site.more()
        await site.all_reset()
        assert slowest_s(site) < ANSWERED_S


@pytest.mark.parametrize("away", ["gone", "hanging"])
async def test_a_server_that_lost_its_redis_still_serves_and_stops_in_time(
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
    assert all("events were not appended" in server.output for server in pair)


@pytest.mark.parametrize("away", ["gone", "hanging"])
async def test_a_server_that_starts_without_redis_steers_and_joins_the_others_when_it_is_back(
    pair: Pair, redis: RedisServer, away: str
) -> None:
    a, b = pair
    take_away(redis, away)
    with a, b:
        await all_are(is_degraded, pair, "it says that the log is away")
        async with caller(a.url) as device, caller(b.url) as other:
            body = {"device_id": "zone", "temp_tenths": 200, "sensor_ok": True}
            answer = await device.post("/api/sensor_data", json=body)
            assert (answer.status_code, answer.json()["heat_active"]) == (200, True)
            await post_reading(other, "zone", 201)
            await asyncio.to_thread(redis.resume if away == "hanging" else redis.start)
            await all_are(is_ready, pair, "all is well")
            async with await StreamClient.open(b.port) as stream:
                await stream.opening()
                await post_reading(device, "zone", 202)
                (event,) = await stream.live(1)
                assert event.json["temp_tenths"] == 202
        for server in pair:
            assert server.terminate() == 0
            (line,) = [line for line in server.lines if "The server steers without it" in line]
            assert "Start it, correct REDIS_URL" in line
            assert "Traceback" not in server.output


def test_a_redis_that_refuses_the_password_stops_the_start_and_the_remedy_is_named(
    tmp_path: Path, redis: RedisServer
) -> None:
    assert redis.command("ACL", "SETUSER", "default", "resetpass", ">right") == "+OK"
    address = redis.url.removeprefix("redis://")
    server = ServerProcess(tmp_path, REDIS_URL=f"redis://:hunter2@{address}")
    server.launch().wait(START_S)
    assert server.wait() == 1
    (line,) = [line for line in server.lines if line.startswith("bas_server.py: ")]
    assert line.startswith(f"bas_server.py: Redis does not answer: redis://{address}: ")
    assert "correct REDIS_URL" in line
    assert "hunter2" not in server.output
    assert "Traceback" not in server.output
    assert not server.port
