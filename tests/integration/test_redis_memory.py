"""How much memory the log takes in Redis: keys of repeatable events, and tenants long gone."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.asyncio import Redis

from server.services.ports.event_log import KEY_S, PROBE_TENANT, Event
from server.services.site.tenant_events import tenant_events
from server.services.sse_service.redis.history import HISTORY_S
from tests.support.site import HERE, open_site
from tools.redis_server import RedisServer

# Redis' answer to TTL for a key that does not exist.
GONE = -2


def number(redis: RedisServer, *command: str) -> int:
    """The answer of Redis to a command that answers with a whole number."""
    return int(redis.command(*command)[1:])


async def test_at_most_twice_as_many_keys_are_remembered_as_a_history_has_events(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 0) as site:
        member = await site.join(max_events=200)
        for start in range(0, 5000, 100):
            events = [Event("telemetry", "{}", key=f"k{n}") for n in range(start, start + 100)]
            await member.log.append_many(HERE, events)
        # A hash is full at 200 and takes the rest of the call that fills it.
        kept = [number(redis, "HLEN", f"bas:{{{HERE}}}:head:keys:{n}") for n in (0, 1)]
        assert 200 <= sum(kept) <= 500
        tip = (await member.log.tip(HERE)).position
        newest = [Event("telemetry", "{}", key=f"k{n}") for n in range(4800, 5000)]
        await member.log.append_many(HERE, newest)
        assert (await member.log.tip(HERE)).position == tip
        ends = [number(redis, "TTL", f"bas:{{{HERE}}}:head:keys:{n}") for n in (0, 1)]
        assert all(end == GONE or 0 < end <= 2 * KEY_S for end in ends)
        assert number(redis, "DBSIZE") < 20


async def test_a_key_is_known_to_all_processes_and_after_the_hashes_took_turns(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 0) as site:
        one, other = await site.join(max_events=200), await site.join(max_events=200)
        await one.log.append(HERE, Event("telemetry", "{}", key="again"))
        for n in range(200):
            await one.log.append(HERE, Event("telemetry", "{}", key=f"k{n}"))
        tip = await other.log.tip(HERE)
        assert await other.log.append(HERE, Event("telemetry", "{}", key="again")) is None
        assert await other.log.tip(HERE) == tip


@pytest.mark.parametrize("how", ["a reading", "a stream"])
async def test_the_history_of_a_tenant_expires_after_a_month_without_events(
    redis: RedisServer, how: str
) -> None:
    async with open_site(redis.url, 1) as site:
        (member,) = site.members
        if how == "a stream":
            await site.open_browsers(1, member)
        else:
            await member.publish(1)
            assert HISTORY_S - 60 < number(redis, "TTL", f"bas:{{{HERE}}}:events") <= HISTORY_S
        assert HISTORY_S - 60 < number(redis, "TTL", f"bas:{{{HERE}}}:head") <= HISTORY_S


async def test_nothing_of_a_tenant_stays_for_ever(redis: RedisServer) -> None:
    async with open_site(redis.url, 1) as site:
        (member,) = site.members
        for n in range(20):
            await member.log.append(f"tenant-{n}", Event("telemetry", "{}", key="k"))
        await member.log.ping()
        async with Redis.from_url(redis.url) as client:
            keys = await client.keys("*")
            lasting = [key for key in keys if await client.ttl(key) == -1]
        assert len(keys) > 60
        assert lasting == []


async def test_what_a_deleted_tenant_leaves_in_redis_are_counters_that_expire(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 1) as site, tenant_events(redis.url) as events:
        (member,) = site.members
        await member.log.append(HERE, Event("telemetry", "{}", key="k"))
        assert events is not None
        await events.delete_history(HERE)
        async with Redis.from_url(redis.url) as client:
            left = await client.keys(f"bas:{{{HERE}}}*")
        assert left == [f"bas:{{{HERE}}}:producer:{member.redis.run}".encode()]


async def test_a_history_that_expired_is_no_error_for_its_tenant(redis: RedisServer) -> None:
    async with open_site(redis.url, 1) as site:
        (member,) = site.members
        (browser,) = await site.open_browsers(1, member)
        await member.publish(3)
        await site.all_complete()
        redis.command("DEL", f"bas:{{{HERE}}}:head", f"bas:{{{HERE}}}:events")
        await member.publish(3)
        await site.all_complete()
        assert browser.resumes[-1] in {"reset", "fresh"}


async def test_the_history_of_the_probes_stays_small_and_expires_soon(redis: RedisServer) -> None:
    async with open_site(redis.url, 2) as site:
        began = time.monotonic()
        for _ in range(150):
            await asyncio.gather(*(member.log.ping() for member in site.members))
        assert time.monotonic() - began < 60
        events = f"bas:{{{PROBE_TENANT.replace(' ', '%20').replace(chr(39), '%27')}}}:events"
        assert 0 < number(redis, "XLEN", events) <= 120
        assert 0 < number(redis, "TTL", events) <= 600
