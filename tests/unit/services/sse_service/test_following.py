"""The hub follows a tenant while it has subscribers, and starts again after its history breaks
off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from server.services.ports.event_log import Cursor, Follower
from server.services.sse_service.hub import IDLE_S
from server.services.sse_service.memory_log import MemoryLog
from tests.support.stream import eventually
from tests.unit.services.sse_service.conftest import HERE, Rig

MakeRig = Callable[..., Awaitable[Rig]]


class WatchedLog(MemoryLog):
    """Shows its followers, and lets a test break a history off."""

    def __init__(self) -> None:
        super().__init__(20_000, 10**9)
        self.following: dict[str, Follower] = {}
        self.follows = 0
        self.slow = asyncio.Event()
        self.slow.set()

    async def follow(self, tenant_id: str, follower: Follower) -> None:
        self.follows += 1
        await self.slow.wait()
        self.following[tenant_id] = follower
        await super().follow(tenant_id, follower)

    def unfollow(self, tenant_id: str) -> None:
        self.following.pop(tenant_id, None)
        super().unfollow(tenant_id)

    def break_off(self, tenant_id: str) -> None:
        """Starts a new history for the tenant, as a shared log does that was emptied."""
        follower = self.following[tenant_id]
        self.unfollow(tenant_id)
        del self._histories[tenant_id]
        follower.lose()


async def test_a_tenant_without_subscribers_is_no_longer_followed_after_a_while(
    make_rig: MakeRig,
) -> None:
    log = WatchedLog()
    rig = await make_rig(log, heartbeat_s=0.04)
    left, stays = await rig.subscribe(HERE), await rig.subscribe("elsewhere")
    left.close()
    rig.clock.advance(IDLE_S - 1)
    await eventually(lambda: set(log.following) == {HERE, "elsewhere"}, "both are followed")
    # At this check the one is idle and the other is not.
    rig.clock.advance(2)
    await eventually(lambda: set(log.following) == {"elsewhere"}, "one is not followed any more")
    stays.close()
    reader = await rig.reader()
    await rig.publish(2)
    assert await reader.numbers(2) == [1, 2]


async def test_streams_that_open_at_the_same_time_share_one_follow(make_rig: MakeRig) -> None:
    log = WatchedLog()
    rig = await make_rig(log)
    log.slow.clear()
    opening = [asyncio.create_task(rig.subscribe(HERE)) for _ in range(20)]
    await eventually(lambda: log.follows == 1, "the first one asks")
    opening[0].cancel()
    log.slow.set()
    streams = await asyncio.gather(*opening, return_exceptions=True)
    opened: list[Any] = [stream for stream in streams if not isinstance(stream, BaseException)]
    assert len(opened) == 19
    assert log.follows == 2
    for stream in opened:
        stream.close()


async def test_streams_end_when_their_history_breaks_off_and_reconnect_with_a_reset(
    make_rig: MakeRig,
) -> None:
    log = WatchedLog()
    rig = await make_rig(log)
    here, elsewhere = await rig.reader(), await rig.subscribe("elsewhere")
    await rig.publish(3)
    await here.numbers(3)
    last_id = here.frames[-1].id
    log.break_off(HERE)
    await here.ended()
    assert rig.figure("bas_streams_closed_total", reason="gap") == 1
    assert rig.hub.subscriber_count() == 1
    again = await rig.reader(last_id)
    assert (await again.named("hello")).json["resume"] == "reset"
    await rig.publish(1)
    assert await again.numbers(1) == [4]
    elsewhere.close()


async def test_a_cursor_in_the_tail_is_found_without_a_read_of_the_log(make_rig: MakeRig) -> None:
    log = WatchedLog()
    rig = await make_rig(log)
    reader = await rig.reader()
    await rig.publish(9)
    await reader.numbers(9)
    ids = [frame.id for frame in reader.live]
    asked: list[Cursor] = []

    async def refuse(tenant_id: str, cursor: Cursor, limit: int) -> None:
        asked.append(cursor)

    log.read_after = refuse  # type: ignore[assignment]
    for number, event_id in enumerate(ids, 1):
        late = await rig.reader(event_id)
        assert (await late.named("hello")).json["resume"] == "recovered"
        assert await late.numbers(9 - number) == list(range(number + 1, 10))
    assert asked == []
