"""RedisCache on a real Redis: values expire in time, and an outage delays no caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.common.clock import SystemClock
from server.common.errors import Unavailable
from server.common.metrics import Metrics
from server.services.ports.event_log import Event
from server.services.site.factory import shared_redis
from server.services.site.ports import SharedCache
from server.services.site.redis_site import RedisSite
from server.services.sse_service.factory import redis_log
from tests.support.stream import eventually
from tools.redis_server import RedisServer

LONG_MS = 60_000
NOTHING = (b"", 0)
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
async def sites(redis: RedisServer) -> AsyncIterator[list[RedisSite]]:
    """The Redis connections of two processes."""
    one = shared_redis(redis.url, SystemClock(), Metrics())
    other = shared_redis(redis.url, SystemClock(), Metrics())
    async with one as first, other as second:
        assert first is not None
        assert second is not None
        yield [first, second]


@pytest.fixture
async def caches(sites: list[RedisSite]) -> list[SharedCache]:
    """The caches of both processes; each has read once, since a cache only stores after a read."""
    found = [site.shared.cache for site in sites]
    caches = [cache for cache in found if cache is not None]
    for cache in caches:
        await cache.read(["a"])
    return caches


async def value(cache: SharedCache, key: str) -> bytes:
    ((found, _),) = await cache.read([key])
    return found


async def test_a_value_is_read_by_the_other_process_with_its_remaining_lifetime(caches):
    one, other = caches
    one.keep("a", b"1", LONG_MS)

    async def is_there() -> bool:
        return await value(other, "a") == b"1"

    await eventually(is_there, "the value is there")
    found = await other.read(["none", "a", "none"])
    assert [pair[0] for pair in found] == [b"", b"1", b""]
    assert 0 < found[1][1] <= LONG_MS


async def test_an_existing_value_is_not_replaced(caches):
    one, other = caches
    one.keep("a", b"first", LONG_MS)
    one.keep("a", b"second", LONG_MS)
    assert await value(one, "a") == b"first"
    other.keep("a", b"third", LONG_MS)
    assert await value(other, "a") == b"first"


async def test_a_value_expires_after_its_lifetime(caches):
    one, other = caches
    one.keep("a", b"1", 50)

    async def is_gone() -> bool:
        return await value(other, "a") == b""

    assert await value(one, "a") == b"1"
    await eventually(is_gone, "the value is gone")


async def test_the_lifetime_of_a_value_includes_the_time_during_which_redis_hung(caches, redis):
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

    await eventually(is_back, "the cache is back")


async def test_a_value_read_before_a_change_cannot_be_cached_after_it(caches):
    one, other = caches
    one.keep("a", b"old", LONG_MS)
    await one.forget(["a"])
    assert await value(other, "a") == b""
    other.keep("a", b"old", LONG_MS)  # read from the store before the change
    assert await value(other, "a") == b""
    assert await value(one, "a") == b""


async def test_300_concurrent_reads_use_one_connection(caches, sites):
    (cache, _) = caches
    cache.keep("a", b"1", LONG_MS)
    assert await value(cache, "a") == b"1"
    before = len(await sites[0]._client.client_list())
    answers = await asyncio.gather(*(value(cache, "a") for _ in range(300)))
    assert answers == [b"1"] * 300
    assert len(await sites[0]._client.client_list()) == before


async def test_the_tip_of_a_tenant_changes_with_each_of_its_events_and_no_others(
    caches, sites, tmp_path
):
    read_tip = sites[1].shared.history_tip
    bounds = {"max_events": 100, "max_bytes": 100_000}
    async with redis_log(sites[0], SystemClock(), Metrics(), tmp_path, **bounds) as log:
        before = await read_tip("here")
        assert await read_tip("here") == before
        await log.append("there", Event("telemetry", "{}", "roof"))
        assert await read_tip("here") == before
        await log.append("here", Event("telemetry", "{}", "roof"))
        assert await read_tip("here") != before


async def test_a_value_dropped_while_redis_hung_is_never_read_again(caches, redis):
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

    await eventually(is_back, "the cache is back")
    assert await value(one, "a") == b""
    assert await value(one, "b") == b""


async def test_a_full_redis_still_drops_values(redis, caches):
    one, other = caches
    one.keep("a", b"old", LONG_MS)
    assert await value(one, "a") == b"old"
    assert redis.command("CONFIG", "SET", "maxmemory", "1") == "+OK"
    await one.forget(["a"])
    assert await value(other, "a") == b""


@pytest.mark.parametrize("way", ["pause", "kill"])
async def test_a_redis_that_does_not_answer_delays_no_caller(caches, sites, redis, way):
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
                await sites[0].shared.history_tip("here")
        assert time.monotonic() - began < 4  # each would wait for a quarter of a second
    finally:
        {"pause": redis.resume, "kill": redis.start}[way]()

    async def is_back() -> bool:
        cache.keep("b", b"2", LONG_MS)
        return await value(cache, "b") == b"2"

    await eventually(is_back, "the cache is back")


async def test_a_full_redis_still_answers_reads(redis, caches):
    cache = caches[0]
    cache.keep("a", b"1", LONG_MS)
    assert await value(cache, "a") == b"1"
    assert redis.command("CONFIG", "SET", "maxmemory", "1") == "+OK"
    cache.keep("b", b"2", LONG_MS)
    found = await cache.read(["a", "b"])
    assert found[0][0] == b"1"
    assert found[1] == NOTHING


async def test_a_key_of_another_redis_type_is_read_as_missing(redis, caches):
    assert redis.command("RPUSH", "bas:copy:a", "x") == ":1"
    assert await value(caches[0], "a") == b""


async def test_the_redis_user_of_the_operations_guide_may_use_the_cache(redis):
    (line,) = (one for one in OPERATIONS.read_text().splitlines() if one.startswith("user bas on"))
    rights = [word for word in line.split()[3:] if not word.startswith(">")]
    assert redis.command("ACL", "SETUSER", "bas", "on", ">pw", *rights) == "+OK"
    url = redis.url.replace("redis://", "redis://bas:pw@")
    async with shared_redis(url, SystemClock(), Metrics()) as opened:
        assert opened is not None
        cache = opened.shared.cache
        assert cache is not None
        await cache.read(["a"])
        cache.keep("a", b"1", LONG_MS)
        ((found, milliseconds),) = await cache.read(["a"])
        assert found == b"1"
        assert milliseconds > 0
        await cache.forget(["a"])
        assert await value(cache, "a") == b""
