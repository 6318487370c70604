"""Redis refuses the events of one tenant for long: all others go on as if nothing were."""

from __future__ import annotations

import asyncio

from tests.support.site import HERE, open_site
from tests.support.stream import eventually
from tools.redis_server import RedisServer

BAD = "bad"
EVERYTHING = ("on", ">pw", "resetkeys", "resetchannels", "&*", "+@all")


def allow(redis: RedisServer, *keys: str) -> None:
    """Let the site's user reach these keys only."""
    assert redis.command("ACL", "SETUSER", "bas", *EVERYTHING, *keys) == "+OK"


async def test_a_tenant_without_a_right_to_its_keys_holds_up_no_other(redis: RedisServer) -> None:
    """A user that is limited to some tenants' keys, or keys that moved to another cluster node."""
    allow(redis, "~bas:*")
    async with open_site(redis.url.replace("redis://", "redis://bas:pw@"), 2) as site:
        a, b = site.members
        browsers = await site.open_browsers(2, b)
        await a.publish(3)
        await site.all_complete()
        allow(redis, f"~bas:{{{HERE}}}*", "~bas:streams", "~bas:copy:*", "~bas:{the*")
        bad = [a.sse.publish(BAD, "telemetry", {"n": n}) for n in range(20)]
        await asyncio.gather(*bad)
        for _ in range(30):
            await a.publish(2)
            await a.sse.publish(BAD, "telemetry", {"n": 0})
        await site.all_complete()
        assert all(browser.resumes == ["fresh"] for browser in browsers)
        assert a.figure("bas_log_breaker_open") == 0
        assert not a.log._sender.away
        await a.sse.ping()
        assert a.figure("bas_events_waiting") == 50
        assert a.figure("bas_events_lost_total") == 0
        allow(redis, "~bas:*")
        await eventually(lambda: a.figure("bas_events_waiting") == 0, "they are sent", 60)
        assert (await a.log.tip(BAD)).position == 50


async def test_one_history_that_cannot_be_read_does_not_stop_the_comparison_of_others(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 1) as site:
        (member,) = site.members
        redis.command("SET", f"bas:{{{BAD}}}:head", "not a hash")
        heads = await member.redis.calls.heads([BAD, HERE])
        assert heads[0] is None
        assert heads[1] is not None


async def test_a_right_that_is_taken_away_while_it_serves_loses_no_event(
    redis: RedisServer,
) -> None:
    """A script that may not publish stores its events first: nothing may be dropped for that."""
    allow(redis, "~bas:*")
    async with open_site(redis.url.replace("redis://", "redis://bas:pw@"), 2) as site:
        for member in site.members:
            await site.open_browsers(2, member)
        await site.publish_everywhere(5)
        await site.all_complete()
        redis.command("ACL", "SETUSER", "bas", "-publish")
        await site.publish_everywhere(20)
        redis.command("ACL", "SETUSER", "bas", "+publish")
        await site.publish_everywhere(5)
        await site.all_complete()
        assert all(member.figure("bas_events_lost_total") == 0 for member in site.members)
        assert all(browser.resumes == ["fresh"] for browser in site.browsers)


async def test_a_library_error_after_a_thaw_is_an_outage_like_others(redis: RedisServer) -> None:
    """After a freeze redis-py can use a connection that it has closed itself: AttributeError."""
    async with open_site(redis.url, 1) as site:
        (member,) = site.members
        await site.open_browsers(1, member)
        await member.publish(2)
        await site.all_complete()
        pool = member.redis._client.connection_pool
        thawed = list(pool._available_connections)
        assert thawed
        for connection in thawed:
            send = connection.send_packed_command

            async def fail(*words, connection=connection, send=send, **options):
                connection.send_packed_command = send
                await connection.disconnect(nowait=True)
                connection._writer.writelines(words)

            connection.send_packed_command = fail
        await member.publish(5)
        await site.all_complete()
        assert member.figure("bas_log_failures_total", kind="AttributeError") > 0
        assert all(browser.resumes == ["fresh"] for browser in site.browsers)
