"""Hubs on one real Redis that is disconnected, stopped, emptied and rolled back: a browser that
reconnects gets every event once and in order, or is reset."""

from __future__ import annotations

import asyncio

import pytest

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.ports.event_log import LogUnavailable
from server.services.site.factory import redis_client, redis_site, shared_redis
from server.services.sse_service.stream_request import StreamRequest
from tests.support.site import HERE, during, open_site
from tests.support.stream import eventually
from tools.daemon import free_port
from tools.redis_server import RedisServer


async def test_events_of_each_process_reach_all_streams_in_the_same_order(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 3) as site:
        for member in site.members:
            await site.open_browsers(4, member)
        await site.publish_everywhere(200)
        await site.all_complete()
        assert len({tuple(browser.events) for browser in site.browsers}) == 1
        assert all(browser.resumes == ["fresh"] for browser in site.browsers)


async def test_a_browser_resumes_at_another_process_without_missing_an_event(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 2) as site:
        (browser,) = await site.open_browsers(1, site.members[0])
        await site.publish_everywhere(5)
        await site.all_complete()
        for number in range(20):
            await browser.close()
            await site.publish_everywhere(number)
            browser.home = site.members[number % 2]
            browser.open()
            await eventually(lambda: browser.begun, "it is back")
            await site.all_complete()
        assert browser.resumes == ["fresh"] + ["recovered"] * 20


async def test_killing_the_redis_subscriptions_again_and_again_loses_no_event(
    redis: RedisServer,
) -> None:
    async def kill() -> None:
        for _ in range(8):
            redis.command("CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.sleep(0.08)

    async with open_site(redis.url, 2) as site:
        for member in site.members:
            await site.open_browsers(3, member)
        await during(site.publish_everywhere(400), kill)
        await site.all_complete()
        assert all(browser.resumes == ["fresh"] for browser in site.browsers)
        assert all(member.figure("bas_events_filled_total") > 0 for member in site.members)


async def test_a_missed_announcement_of_the_last_event_is_noticed(
    redis: RedisServer,
) -> None:
    """No later event shows the gap; the hub finds it when it compares the tips."""
    async with open_site(redis.url, 1) as site:
        (member,) = site.members
        await site.open_browsers(2, member)
        await member.publish(3)
        await site.all_complete()
        # The event is appended, but its announcement goes to another channel's name.
        followed = member.log._followed.pop("bas:{here}:live")
        await member.publish(1)
        member.log._followed["bas:{here}:live"] = followed
        await site.all_complete()
        assert all(browser.resumes == ["fresh"] for browser in site.browsers)


@pytest.mark.parametrize("hopping", [False, True], ids=["staying", "hopping"])
async def test_a_redis_that_hangs_for_five_seconds_loses_no_event(
    redis: RedisServer, hopping: bool
) -> None:
    async def hang() -> None:
        await asyncio.sleep(0.2)
        redis.pause()
        await asyncio.sleep(5)
        redis.resume()

    async with open_site(redis.url, 2) as site:
        for member in site.members:
            await site.open_browsers(3, None if hopping else member)
        await during(site.publish_everywhere(600, pause_s=0.01), hang)
        await site.all_complete()
        assert all("reset" not in browser.resumes for browser in site.browsers)
        assert all(member.figure("bas_events_deferred_total") > 0 for member in site.members)
        assert all(member.figure("bas_events_waiting") == 0 for member in site.members)


async def test_a_process_sends_its_events_to_its_own_streams_at_once_while_redis_hangs(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 2) as site:
        a, b = site.members
        (at_a,) = await site.open_browsers(1, a)
        (at_b,) = await site.open_browsers(1, b)
        await a.publish(2)
        await site.all_complete()
        redis.pause()
        try:
            await a.publish(30)
            await eventually(at_a.complete, "the process's own stream has them")
            assert not at_b.complete()
            assert a.figure("bas_events_waiting") == 30
            with pytest.raises(LogUnavailable):
                await a.sse.ping()
        finally:
            redis.resume()
        await site.all_complete()
        assert at_a.resumes == at_b.resumes == ["fresh"]
        await a.sse.ping()


async def test_a_browser_disconnected_during_an_outage_resumes_without_duplicates(
    redis: RedisServer,
) -> None:
    """The browser got events before the history had them. It gets none twice, whether it reconnects
    before or after the history has them, and at either process."""
    async with open_site(redis.url, 2) as site:
        a, b = site.members
        browsers = await site.open_browsers(4, a)
        await a.publish(2)
        await site.all_complete()
        redis.pause()
        try:
            await a.publish(10)
            await eventually(lambda: all(x.complete() for x in browsers), "all have them")
            for browser in browsers[:2]:
                await browser.close()
            await a.publish(5)
            browsers[0].open()
            await eventually(browsers[0].complete, "it is back on the same process")
        finally:
            redis.resume()
        await eventually(lambda: a.figure("bas_events_waiting") == 0, "redis has them")
        browsers[1].home = b
        browsers[1].open()
        await site.publish_everywhere(5)
        await site.all_complete()
        assert [browser.resumes for browser in browsers] == [
            ["fresh", "recovered"],
            ["fresh", "recovered"],
            ["fresh"],
            ["fresh"],
        ]


async def test_a_redis_that_restarts_empty_resets_every_browser(
    redis: RedisServer,
) -> None:
    async def replace() -> None:
        await asyncio.sleep(0.3)
        redis.kill()
        await asyncio.sleep(0.5)
        redis.start()

    async with open_site(redis.url, 2) as site:
        for member in site.members:
            await site.open_browsers(3, member)
        await during(site.publish_everywhere(300, pause_s=0.01), replace)
        await site.publish_everywhere(3)
        await site.all_reset()


async def test_flushall_resets_every_browser(redis: RedisServer) -> None:
    async def flush() -> None:
        await asyncio.sleep(0.2)
        redis.command("FLUSHALL")

    async with open_site(redis.url, 2) as site:
        for member in site.members:
            await site.open_browsers(3, member)
        await during(site.publish_everywhere(200, pause_s=0.005), flush)
        await site.all_reset()


async def test_flushall_is_noticed_even_if_no_event_follows(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 1) as site:
        (browser,) = await site.open_browsers(1, site.members[0])
        await site.publish_everywhere(3)
        await site.all_complete()
        redis.command("FLUSHALL")
        await eventually(lambda: browser.resumes[-1] == "reset", "the browser was reset")
        await site.all_complete()


async def test_a_rollback_of_the_history_is_noticed_although_the_positions_exist_again(
    redis: RedisServer,
) -> None:
    """As in a fail-over to a replica without the newest events: their positions are used again."""
    async with open_site(redis.url, 2) as site:
        for member in site.members:
            await site.open_browsers(2, member)
        await site.publish_everywhere(20)
        await site.all_complete()
        redis.command("SAVE")
        await site.publish_everywhere(20)
        await site.all_complete()
        ids = {browser.last_id for browser in site.browsers}
        assert len(ids) == 1
        redis.kill()
        redis.start()
        # At least as many events as were lost: the old positions exist again with other events.
        await site.publish_everywhere(30)
        await site.all_reset()
        (old,) = ids
        stream = await site.members[0].sse.subscribe(StreamRequest(HERE, last_event_id=old))
        assert stream.resumed == "reset"
        stream.close()


async def test_events_that_overflow_the_outbox_are_dropped_and_counted_and_reset_browsers(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 2, max_events=50) as site:
        a, b = site.members
        await site.open_browsers(2, a)
        await site.open_browsers(2, b)
        await site.publish_everywhere(3)
        await site.all_complete()
        redis.pause()
        try:
            await a.publish(120)
            assert a.figure("bas_events_lost_total") == 100
            assert a.figure("bas_events_waiting") == 20
        finally:
            redis.resume()
        await site.all_reset()


async def test_the_size_of_the_outbox_is_limited_over_all_tenants(redis: RedisServer) -> None:
    async with open_site(redis.url, 1) as site:
        (member,) = site.members
        member.log._sender._outbox._total_bytes = 20_000
        redis.pause()
        try:
            for tenant in range(100):
                await member.publish(1, f"tenant-{tenant}")
            for tenant in range(100):
                await member.publish(1, f"tenant-{tenant}")
            assert member.log._sender._outbox._size <= 20_000 + 100 * 400
            assert member.figure("bas_events_lost_total") > 0
        finally:
            redis.resume()
        await eventually(lambda: member.figure("bas_events_waiting") == 0, "all are out")


async def test_a_process_recovers_soon_after_a_long_outage_of_redis(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outage opens the circuit breaker; shorter intervals make that quick enough for a test."""
    monkeypatch.setattr("server.services.site.factory.SOCKET_S", 0.1)
    monkeypatch.setattr("server.services.site.redis_listener.PROBE_S", 0.2)
    monkeypatch.setattr("server.services.sse_service.redis_backend.COMPARE_S", 0.2)
    async with open_site(redis.url, 2) as site:
        for member in site.members:
            await site.open_browsers(2, member)
        redis.pause()
        try:
            await site.publish_everywhere(20)
            for member in site.members:
                await eventually(
                    lambda m=member: m.figure("bas_log_breaker_open") == 1, "it is given up"
                )
        finally:
            redis.resume()
        await site.all_complete()
        for member in site.members:
            await eventually(lambda m=member: not m.log._sender.away, "nothing waits")
            assert member.figure("bas_log_breaker_open") == 0
            await member.sse.ping()
        assert all(browser.resumes == ["fresh"] for browser in site.browsers)


async def test_a_stream_opened_during_an_outage_gets_events_and_is_reset_afterwards(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 2) as site:
        a, b = site.members
        redis.pause()
        try:
            (browser,) = await site.open_browsers(1, a)
            await a.publish(5)
            await eventually(browser.complete, "it gets this process's events")
        finally:
            redis.resume()
        await eventually(lambda: len(browser.resumes) == 2, "it joined the shared history")
        await b.publish(3)
        await site.all_complete()
        assert browser.resumes == ["fresh", "reset"]


async def test_the_stream_count_covers_all_processes_and_drops_those_of_a_dead_process(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.services.sse_service.redis.stream_counts.LEASE_S", 1.0)
    monkeypatch.setattr("server.services.sse_service.redis.stream_counts.RENEW_S", 0.3)

    async with open_site(redis.url, 3) as site:
        a, b, c = site.members

        async def counts() -> list[int]:
            return [await member.sse.subscriber_count(HERE, "site") for member in site.members]

        async def count_is(number: int) -> bool:
            total = await a.sse.subscriber_count(scope="site")
            return await counts() == [number] * 3 and total == number

        await site.open_browsers(2, a)
        await site.open_browsers(3, b)
        (last,) = await site.open_browsers(1, c)
        await eventually(lambda: count_is(6), "all are counted")
        assert await a.sse.subscriber_count("elsewhere", "site") == 0
        await last.close()
        await eventually(lambda: count_is(5), "one has gone")
        # Like a killed process, it no longer renews its count.
        for task in list(b.log._tasks._running):
            task.cancel()
        await eventually(
            lambda: _is(a.sse.subscriber_count(HERE, "site"), 2), "its lease has run out"
        )


async def _is(answer, number: int) -> bool:
    return await answer == number


async def test_an_error_names_an_unreachable_redis_without_its_password() -> None:
    url = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    with pytest.raises(LogUnavailable) as refused:
        async with redis_site(redis_client(url), url, SystemClock(), Metrics()):
            pass
    assert url.rpartition("@")[2] in str(refused.value)
    assert "hunter2" not in str(refused.value)


async def test_a_short_gap_in_the_subscription_counts_as_others_that_cannot_be_reached(
    redis: RedisServer,
) -> None:
    """Otherwise a process would not know that it missed which relays the others switched off."""
    async with shared_redis(redis.url, SystemClock(), Metrics()) as site:
        assert site is not None
        assert site.shared.notices.reach_others
        redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(
            lambda: site.listener.up and not site.shared.notices.reach_others,
            "it is subscribed again, and knows of the gap",
        )
        await eventually(lambda: site.shared.notices.reach_others, "the gap is over")


async def test_notices_reach_every_other_process_and_are_dropped_while_redis_is_away(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 3) as site:
        received: dict[str, list[str]] = {}
        for member in site.members:
            received[member.name] = names = []
            member.redis.shared.notices.listen("settings", names.append)
        await eventually(lambda: all(m.redis.listener.up for m in site.members), "all listen")
        site.members[0].redis.shared.notices.publish("settings", "a tenant with spaces")
        site.members[0].redis.shared.notices.publish("nothing", "nobody listens to")
        site.members[1].redis.shared.notices.publish("settings", "other")
        await eventually(lambda: len(received["c"]) == 2, "both were heard")
        assert received["a"] == ["other"]
        assert received["b"] == ["a tenant with spaces"]
        redis.kill()
        for number in range(5000):
            site.members[0].redis.shared.notices.publish("settings", str(number))
        assert site.members[0].redis.shared.notices._waiting.qsize() <= 1000


async def test_events_that_were_logged_but_not_announced_are_not_skipped_during_an_outage(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 2) as site:
        member, other = site.members
        (browser,) = await site.open_browsers(1, member)
        await site.open_browsers(1, other)
        await member.publish(3)
        await site.all_complete()
        subscriber = member.redis.listener
        on_message, subscriber._on_message = subscriber._on_message, lambda *_: None
        await member.publish(2)
        redis.pause()
        try:
            await member.publish(2)
            subscriber._on_message = on_message
            await eventually(browser.complete, "they are streamed in their order")
        finally:
            redis.resume()
        await member.publish(2)
        await site.all_complete()
        assert all(browser.resumes == ["fresh"] for browser in site.browsers)


@pytest.mark.parametrize("before", [0, 5], ids=["first events", "later events"])
async def test_a_browser_that_was_away_during_a_rollback_is_reset_too(
    redis: RedisServer, before: int
) -> None:
    """The rollback lost no event that this browser has seen, only events that it has not."""
    async with open_site(redis.url, 2) as site:
        a, b = site.members
        (browser,) = await site.open_browsers(1, a)
        await a.publish(3)
        await b.publish(before)
        await site.all_complete()
        await browser.close()
        (watcher,) = await site.open_browsers(1, a)
        redis.command("SAVE")
        await b.publish(4)
        await site.all_complete_but(browser)
        redis.kill()
        redis.start()
        await eventually(lambda: watcher.resumes[-1] == "reset", "its browser was reset")
        browser.open()
        await site.all_complete()
        assert browser.resumes == ["fresh", "reset"]


async def test_a_gap_in_the_history_resets_a_browser_once_instead_of_closing_its_streams(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 2) as site:
        a, b = site.members
        (browser,) = await site.open_browsers(1, a)
        await a.publish(3)
        await site.all_complete()
        await browser.close()
        await a.publish(1000)
        redis.command("XDEL", "bas:{here}:events", "900-0")
        # This process has none of these events in its cache.
        browser.home = b
        browser.open()
        await site.all_reset()
        assert browser.resumes == ["fresh", "recovered", "reset"]


async def test_150_browsers_that_reconnect_at_once_do_not_open_the_circuit_breaker(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 1) as site:
        (member,) = site.members
        browsers = await site.open_browsers(150, member)
        await member.publish(2)
        await site.all_complete()
        for browser in browsers:
            await browser.close()
        for _ in range(20):
            await asyncio.gather(*(member.publish() for _ in range(100)))
        for browser in browsers:
            browser.open()
        counts = asyncio.gather(*(member.sse.subscriber_count(HERE, "site") for _ in range(500)))
        await site.all_complete()
        await counts
        assert all(browser.resumes == ["fresh", "recovered"] for browser in browsers)
        assert member.figure("bas_log_breaker_open") == 0
        assert not member.log._sender.away


async def test_a_tenant_whose_history_cannot_be_written_does_not_delay_other_tenants(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 1) as site:
        (member,) = site.members
        for number in range(10):
            redis.command("SET", f"bas:{{bad-{number}}}:head", "not a hash")
        for number in range(10):
            await member.publish(1, f"bad-{number}")
        site.stored.clear()
        (browser,) = await site.open_browsers(1, member)
        await member.publish(5)
        await site.all_complete()
        assert browser.resumes == ["fresh"]
        assert member.figure("bas_events_lost_total") == 10
        assert not member.log._sender.away


async def test_a_redis_user_without_access_to_channels_is_refused_at_the_start(
    redis: RedisServer,
) -> None:
    redis.command("ACL", "SETUSER", "deaf", "on", ">pw", "~*", "resetchannels", "+@all")
    url = redis.url.replace("redis://", "redis://deaf:pw@")
    with pytest.raises(LogUnavailable, match=r"(?i)permission|channel"):
        async with redis_site(redis_client(url), url, SystemClock(), Metrics()):
            pass


@pytest.mark.parametrize("more", ["?nonsense=1", "?socket_timeout=x"])
async def test_unknown_options_in_the_redis_url_are_refused_at_the_start(
    redis: RedisServer, more: str
) -> None:
    with pytest.raises(LogUnavailable, match="REDIS_URL is wrong"):
        async with shared_redis(redis.url + more, SystemClock(), Metrics()):
            pass


async def test_a_forged_event_id_at_the_tip_is_answered_with_a_reset(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 1) as site:
        (member,) = site.members
        (browser,) = await site.open_browsers(1, member)
        await member.publish(3)
        await site.all_complete()
        (made_up,) = (f"{browser.last_id}-{'z' * 14}",)
        stream = await member.sse.subscribe(StreamRequest(HERE, last_event_id=made_up))
        assert stream.resumed == "reset"
        stream.close()


async def test_a_read_after_an_append_is_not_answered_by_an_earlier_read(
    redis: RedisServer,
) -> None:
    """A published event can be read even if the same read was already sent before it."""
    async with open_site(redis.url, 1) as site:
        (member,) = site.members
        await member.publish(1)
        tip = await member.log.tip(HERE)
        for number in range(2, 60):
            early = asyncio.create_task(member.log.read_after(HERE, tip, 500))
            await member.publish(1)
            page = await member.log.read_after(HERE, tip, 500)
            assert page is not None
            assert [entry.position for entry in page] == list(range(2, number + 1))
            await early
