"""Hubs on one real Redis that is cut off, stopped, emptied and rolled back under them: whoever
comes back has every event once and in order, or was told that it begins anew."""

from __future__ import annotations

import asyncio

import pytest

from server.clock import SystemClock
from server.metrics import Metrics
from server.services.sse_service.backend import LogUnavailable
from server.services.sse_service.factory import redis_client, redis_log, shared_log
from tests.support.daemon import free_port
from tests.support.redis import RedisServer
from tests.support.site import HERE, during, open_site
from tests.support.stream import eventually


async def test_what_one_process_publishes_reaches_the_streams_of_all_in_one_order(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 3) as site:
        for member in site.members:
            await site.open_browsers(4, member)
        await site.publish_everywhere(200)
        await site.all_complete()
        assert len({tuple(browser.events) for browser in site.browsers}) == 1
        assert all(browser.resumes == ["fresh"] for browser in site.browsers)


async def test_a_browser_goes_on_at_another_process_where_it_left_off(redis: RedisServer) -> None:
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


async def test_subscriptions_that_are_killed_in_a_burst_lose_nothing(redis: RedisServer) -> None:
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


async def test_the_last_event_that_was_published_while_nobody_heard_is_found(
    redis: RedisServer,
) -> None:
    """Nothing follows it that would show the gap: the comparison of tips does."""
    async with open_site(redis.url, 1) as site:
        (member,) = site.members
        await site.open_browsers(2, member)
        await member.publish(3)
        await site.all_complete()
        # The event is appended, but its announcement goes to another channel's name.
        followed = member.log._followed.pop("bas:{here}:live")
        await member.publish(1)
        member.log._followed["bas:{here}:live"] = followed
        await site.all_complete(timeout_s=10)
        assert all(browser.resumes == ["fresh"] for browser in site.browsers)


@pytest.mark.parametrize("hopping", [False, True], ids=["staying", "hopping"])
async def test_a_redis_that_hangs_for_five_seconds_loses_nothing(
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


async def test_own_streams_get_events_at_once_while_redis_hangs(redis: RedisServer) -> None:
    async with open_site(redis.url, 2) as site:
        a, b = site.members
        (at_a,) = await site.open_browsers(1, a)
        (at_b,) = await site.open_browsers(1, b)
        await a.publish(2)
        await site.all_complete()
        redis.pause()
        try:
            await a.publish(30)
            await eventually(at_a.complete, "the process's own stream has them", 5)
            assert not at_b.complete()
            assert a.figure("bas_events_waiting") == 30
            with pytest.raises(LogUnavailable):
                await a.sse.ping()
        finally:
            redis.resume()
        await site.all_complete()
        assert at_a.resumes == at_b.resumes == ["fresh"]
        await a.sse.ping()


async def test_a_browser_cut_off_in_an_outage_finds_its_place_again(redis: RedisServer) -> None:
    """It got events ahead of the history; whether it comes back before or after the history has
    them, and to whichever process, none comes twice."""
    async with open_site(redis.url, 2) as site:
        a, b = site.members
        browsers = await site.open_browsers(4, a)
        await a.publish(2)
        await site.all_complete()
        redis.pause()
        try:
            await a.publish(10)
            await eventually(lambda: all(x.complete() for x in browsers), "all have them", 5)
            for browser in browsers[:2]:
                await browser.close()
            await a.publish(5)
            browsers[0].open()
            await eventually(browsers[0].complete, "it is back on the same process", 5)
        finally:
            redis.resume()
        await eventually(lambda: a.figure("bas_events_waiting") == 0, "redis has them", 20)
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


async def test_a_redis_that_comes_back_empty_makes_every_browser_begin_anew(
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


async def test_flushall_makes_every_browser_begin_anew(redis: RedisServer) -> None:
    async def flush() -> None:
        await asyncio.sleep(0.2)
        redis.command("FLUSHALL")

    async with open_site(redis.url, 2) as site:
        for member in site.members:
            await site.open_browsers(3, member)
        await during(site.publish_everywhere(200, pause_s=0.005), flush)
        await site.all_reset()


async def test_flushall_is_noticed_though_nothing_is_published_any_more(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 1) as site:
        (browser,) = await site.open_browsers(1, site.members[0])
        await site.publish_everywhere(3)
        await site.all_complete()
        redis.command("FLUSHALL")
        await eventually(lambda: browser.resumes[-1] == "reset", "it was told", 15)
        await site.all_complete()


async def test_a_history_that_was_rolled_back_is_noticed_by_its_content(
    redis: RedisServer,
) -> None:
    """A fail-over to a copy that lacks the newest events: their positions come again."""
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
        # As many as were lost, so that the old places exist again, with other events.
        await site.publish_everywhere(30)
        await site.all_reset()
        (old,) = ids
        stream = await site.members[0].sse.subscribe(HERE, last_event_id=old)
        assert stream.resumed == "reset"
        stream.close()


async def test_what_outgrows_the_waiting_room_is_dropped_told_and_counted(
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


async def test_the_waiting_room_is_bounded_over_all_tenants(redis: RedisServer) -> None:
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
        await eventually(lambda: member.figure("bas_events_waiting") == 0, "all are out", 20)


async def test_soon_after_a_long_outage_everything_is_as_before(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long enough that nothing is asked of Redis any more; the pace is quickened for the test."""
    monkeypatch.setattr("server.services.sse_service.factory.SOCKET_S", 0.1)
    for module in ("redis_backend", "shared.subscriber"):
        monkeypatch.setattr(f"server.services.sse_service.{module}.PROBE_S", 0.2)
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
        await site.all_complete(timeout_s=5)
        for member in site.members:
            await eventually(lambda m=member: not m.log._sender.away, "nothing waits", 5)
            assert member.figure("bas_log_breaker_open") == 0
            await member.sse.ping()
        assert all(browser.resumes == ["fresh"] for browser in site.browsers)


async def test_a_stream_that_opens_during_an_outage_is_served_and_begins_anew_afterwards(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 2) as site:
        a, b = site.members
        redis.pause()
        try:
            (browser,) = await site.open_browsers(1, a)
            await a.publish(5)
            await eventually(browser.complete, "it gets this process's events", 5)
        finally:
            redis.resume()
        await eventually(lambda: len(browser.resumes) == 2, "it joined the shared history", 20)
        await b.publish(3)
        await site.all_complete()
        assert browser.resumes == ["fresh", "reset"]


async def test_streams_of_all_processes_are_counted_and_a_dead_ones_are_forgotten(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.services.sse_service.shared.leases.LEASE_S", 1.0)
    monkeypatch.setattr("server.services.sse_service.shared.leases.RENEW_S", 0.3)

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
        # As if it had been killed: it tells nothing any more.
        for task in list(b.log._tasks):
            task.cancel()
        await eventually(
            lambda: _is(a.sse.subscriber_count(HERE, "site"), 2), "its lease has run out"
        )


async def _is(answer, number: int) -> bool:
    return await answer == number


async def test_a_redis_that_is_not_there_is_named_without_its_password() -> None:
    url = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    with pytest.raises(LogUnavailable) as refused:
        async with redis_log(
            redis_client(url), url, SystemClock(), Metrics(), max_events=10, max_bytes=1000
        ):
            pass
    assert url.rpartition("@")[2] in str(refused.value)
    assert "hunter2" not in str(refused.value)


async def test_notices_reach_every_other_process_and_are_dropped_while_redis_is_away(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 3) as site:
        heard: dict[str, list[str]] = {}
        for member in site.members:
            heard[member.name] = names = []
            member.log.neighbours.notices.listen("settings", names.append)
        await eventually(lambda: all(m.log._subscriber.up for m in site.members), "all listen")
        site.members[0].log.neighbours.notices.tell("settings", "a tenant with spaces")
        site.members[0].log.neighbours.notices.tell("nothing", "nobody listens to")
        site.members[1].log.neighbours.notices.tell("settings", "other")
        await eventually(lambda: len(heard["c"]) == 2, "both were heard")
        assert heard["a"] == ["other"]
        assert heard["b"] == ["a tenant with spaces"]
        redis.kill()
        for number in range(5000):
            site.members[0].log.neighbours.notices.tell("settings", str(number))
        assert site.members[0].log.neighbours.notices._waiting.qsize() <= 1000


async def test_own_events_that_the_log_has_and_nobody_heard_are_not_skipped_in_an_outage(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 2) as site:
        member, other = site.members
        (browser,) = await site.open_browsers(1, member)
        await site.open_browsers(1, other)
        await member.publish(3)
        await site.all_complete()
        subscriber = member.log._subscriber
        hear, subscriber._on_message = subscriber._on_message, lambda *_: None
        await member.publish(2)
        redis.pause()
        try:
            await member.publish(2)
            subscriber._on_message = hear
            await eventually(browser.complete, "they are streamed in their order", 5)
        finally:
            redis.resume()
        await member.publish(2)
        await site.all_complete()
        assert all(browser.resumes == ["fresh"] for browser in site.browsers)


@pytest.mark.parametrize("before", [0, 5], ids=["first events", "later events"])
async def test_who_was_away_during_a_roll_back_is_told_too(redis: RedisServer, before: int) -> None:
    """Nothing that it has seen was lost, only what it had not seen yet."""
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
        await eventually(lambda: watcher.resumes[-1] == "reset", "who had seen them was told", 15)
        browser.open()
        await site.all_complete()
        assert browser.resumes == ["fresh", "reset"]


async def test_a_history_with_a_hole_begins_anew_instead_of_ending_streams_for_ever(
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
        # A process that has none of it in memory.
        browser.home = b
        browser.open()
        await site.all_reset(timeout_s=10)
        assert browser.resumes == ["fresh", "recovered", "reset"]


async def test_a_crowd_that_comes_back_at_once_does_not_make_redis_look_dead(
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


async def test_one_tenant_whose_history_cannot_be_written_holds_up_no_other(
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
        await site.all_complete(timeout_s=5)
        assert browser.resumes == ["fresh"]
        assert member.figure("bas_events_lost_total") == 10
        assert not member.log._sender.away


async def test_a_user_of_redis_who_may_not_listen_is_refused_at_the_start(
    redis: RedisServer,
) -> None:
    redis.command("ACL", "SETUSER", "deaf", "on", ">pw", "~*", "resetchannels", "+@all")
    url = redis.url.replace("redis://", "redis://deaf:pw@")
    with pytest.raises(LogUnavailable, match=r"(?i)permission|channel"):
        async with redis_log(
            redis_client(url), url, SystemClock(), Metrics(), max_events=10, max_bytes=1000
        ):
            pass


@pytest.mark.parametrize("more", ["?nonsense=1", "?socket_timeout=x"])
async def test_options_that_do_not_exist_are_refused_at_the_start(
    redis: RedisServer, more: str
) -> None:
    with pytest.raises(LogUnavailable, match="REDIS_URL is wrong"):
        async with shared_log(
            redis.url + more, SystemClock(), Metrics(), max_events=10, max_bytes=1000
        ):
            pass


async def test_a_crafted_place_costs_redis_nothing_once_it_is_at_the_tip(
    redis: RedisServer,
) -> None:
    async with open_site(redis.url, 1) as site:
        (member,) = site.members
        (browser,) = await site.open_browsers(1, member)
        await member.publish(3)
        await site.all_complete()
        (made_up,) = (f"{browser.last_id}-{'z' * 14}",)
        stream = await member.sse.subscribe(HERE, last_event_id=made_up)
        assert stream.resumed == "reset"
        stream.close()


async def test_a_question_that_was_sent_already_answers_nobody_who_asks_later(
    redis: RedisServer,
) -> None:
    """What somebody heard of can be read, though the same was asked just before it came."""
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
