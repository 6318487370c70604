"""RedisCache on a real Redis: short-lived values that make things quick, and never late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.clock import SystemClock
from server.errors import Unavailable
from server.metrics import Metrics
from server.neighbours import SharedCache
from server.services.sse_service.event import Event
from server.services.sse_service.factory import shared_log
from server.services.sse_service.redis_backend import RedisLog
from tests.support.redis import RedisServer
from tests.support.stream import eventually

LONG_MS = 60_000
NOTHING = (b"", 0)
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
async def logs(redis: RedisServer) -> AsyncIterator[list[RedisLog]]:
    """Of two processes."""
    bounds = {"max_events": 100, "max_bytes": 100_000}
    one = shared_log(redis.url, SystemClock(), Metrics(), **bounds)
    other = shared_log(redis.url, SystemClock(), Metrics(), **bounds)
    async with one as first, other as second:
        assert first is not None
        assert second is not None
        yield [first, second]


@pytest.fixture
async def caches(logs: list[RedisLog]) -> list[SharedCache]:
    """Each was asked before, as whoever keeps something has."""
    found = [log.neighbours.cache for log in logs]
    caches = [cache for cache in found if cache is not None]
    for cache in caches:
        await cache.read(["a"])
    return caches


async def value(cache: SharedCache, key: str) -> bytes:
    ((found, _),) = await cache.read([key])
    return found


async def test_what_one_keeps_the_other_reads_with_its_rest_of_life(caches):
    one, other = caches
    one.keep("a", b"1", LONG_MS)

    async def is_there() -> bool:
        return await value(other, "a") == b"1"

    await eventually(is_there, "the value is there")
    found = await other.read(["none", "a", "none"])
    assert [pair[0] for pair in found] == [b"", b"1", b""]
    assert 0 < found[1][1] <= LONG_MS


async def test_a_value_that_is_there_is_not_replaced(caches):
    one, other = caches
    one.keep("a", b"first", LONG_MS)
    one.keep("a", b"second", LONG_MS)
    assert await value(one, "a") == b"first"
    other.keep("a", b"third", LONG_MS)
    assert await value(other, "a") == b"first"


async def test_a_value_ends_with_its_life(caches):
    one, other = caches
    one.keep("a", b"1", 50)

    async def is_gone() -> bool:
        return await value(other, "a") == b""

    assert await value(one, "a") == b"1"
    await eventually(is_gone, "the value is gone")


async def test_the_time_that_redis_hung_counts_to_a_values_life(caches, redis):
    one, _ = caches
    redis.pause()
    one.keep("a", b"old", 300)
    kept_at = time.monotonic()

    async def is_too_old() -> bool:
        return time.monotonic() - kept_at > 0.5

    await eventually(is_too_old, "the value's life is over")
    redis.resume()

    async def is_back() -> bool:
        assert redis.command("GET", "bas:copy:a") == "$-1"
        one.keep("b", b"new", LONG_MS)
        return await value(one, "b") == b"new"

    await eventually(is_back, "the cache is back", 20)


async def test_what_was_read_before_a_change_is_not_kept_after_it(caches):
    one, other = caches
    one.keep("a", b"old", LONG_MS)
    await one.forget(["a"])
    assert await value(other, "a") == b""
    other.keep("a", b"old", LONG_MS)  # read from the store before the change
    assert await value(other, "a") == b""
    assert await value(one, "a") == b""


async def test_a_crowd_takes_one_batch_after_the_other(caches, logs):
    (cache, _) = caches
    cache.keep("a", b"1", LONG_MS)
    assert await value(cache, "a") == b"1"
    before = len(await logs[0]._client.client_list())
    answers = await asyncio.gather(*(value(cache, "a") for _ in range(300)))
    assert answers == [b"1"] * 300
    assert len(await logs[0]._client.client_list()) == before


async def test_a_place_moves_with_every_event_and_with_no_other(caches, logs):
    place = logs[1].neighbours.place
    before = await place("here")
    assert await place("here") == before
    await logs[0].append("there", Event("telemetry", "{}", "roof"))
    assert await place("here") == before
    await logs[0].append("here", Event("telemetry", "{}", "roof"))
    assert await place("here") != before


async def test_what_was_forgotten_while_redis_hung_is_read_by_nobody_who_asks_again(caches, redis):
    one, other = caches
    one.keep("a", b"old", LONG_MS)
    assert await value(one, "a") == b"old"
    redis.pause()
    await one.forget(["a"])
    await one.forget(["b"])  # without waiting, since Redis did not answer in time
    redis.resume()
    other.keep("b", b"old", LONG_MS)

    async def is_back() -> bool:
        one.keep("c", b"new", LONG_MS)
        return await value(one, "c") == b"new"

    await eventually(is_back, "the cache is back", 20)
    assert await value(one, "a") == b""
    assert await value(one, "b") == b""


async def test_a_full_redis_still_forgets(redis, caches):
    one, other = caches
    one.keep("a", b"old", LONG_MS)
    assert await value(one, "a") == b"old"
    assert redis.command("CONFIG", "SET", "maxmemory", "1") == "+OK"
    await one.forget(["a"])
    assert await value(other, "a") == b""


@pytest.mark.parametrize("way", ["pause", "kill"])
async def test_a_redis_that_does_not_answer_holds_nobody_up(caches, logs, redis, way):
    cache = caches[0]
    cache.keep("a", b"1", LONG_MS)
    assert await value(cache, "a") == b"1"
    getattr(redis, way)()
    try:
        began = time.monotonic()
        for _ in range(20):
            assert await cache.read(["a"]) == [NOTHING]
            await cache.forget(["a"])
            with pytest.raises(Unavailable):
                await logs[0].neighbours.place("here")
        assert time.monotonic() - began < 1
    finally:
        {"pause": redis.resume, "kill": redis.start}[way]()

    async def is_back() -> bool:
        cache.keep("b", b"2", LONG_MS)
        return await value(cache, "b") == b"2"

    await eventually(is_back, "the cache is back", 20)


async def test_a_full_redis_still_answers_reads(redis, caches):
    cache = caches[0]
    cache.keep("a", b"1", LONG_MS)
    assert await value(cache, "a") == b"1"
    assert redis.command("CONFIG", "SET", "maxmemory", "1") == "+OK"
    cache.keep("b", b"2", LONG_MS)
    found = await cache.read(["a", "b"])
    assert found[0][0] == b"1"
    assert found[1] == NOTHING


async def test_something_else_under_a_key_is_no_value(redis, caches):
    assert redis.command("RPUSH", "bas:copy:a", "x") == ":1"
    assert await value(caches[0], "a") == b""


async def test_the_user_that_operations_names_may_do_what_the_cache_does(redis):
    (line,) = (one for one in OPERATIONS.read_text().splitlines() if one.startswith("user bas on"))
    rights = [word for word in line.split()[3:] if not word.startswith(">")]
    assert redis.command("ACL", "SETUSER", "bas", "on", ">pw", *rights) == "+OK"
    url = redis.url.replace("redis://", "redis://bas:pw@")
    async with shared_log(
        url, SystemClock(), Metrics(), max_events=100, max_bytes=100_000
    ) as opened:
        assert opened is not None
        cache = opened.neighbours.cache
        assert cache is not None
        await cache.read(["a"])
        cache.keep("a", b"1", LONG_MS)
        ((found, milliseconds),) = await cache.read(["a"])
        assert found == b"1"
        assert milliseconds > 0
        await cache.forget(["a"])
        assert await value(cache, "a") == b""
