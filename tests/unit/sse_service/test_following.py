"""The hub follows a tenant while someone listens, and begins anew when its history breaks off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from server.services.sse_service.backend import Cursor, Follower
from server.services.sse_service.hub import IDLE_S
from server.services.sse_service.memory_backend import MemoryLog
from tests.support.stream import eventually
from tests.unit.sse_service.conftest import HERE, Rig

MakeRig = Callable[..., Awaitable[Rig]]


class WatchedLog(MemoryLog):
    """Tells who follows, and lets a test break histories off."""

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
        """Begin the tenant's history anew, as a shared log does that was emptied."""
        follower = self.following[tenant_id]
        self.unfollow(tenant_id)
        del self._histories[tenant_id]
        follower.lose()


async def test_a_tenant_that_nobody_listens_to_is_followed_no_more_after_a_while(
    make_rig: MakeRig,
) -> None:
    log = WatchedLog()
    rig = await make_rig(log, heartbeat_s=0.04)
    left, stays = await rig.sse.subscribe(HERE), await rig.sse.subscribe("elsewhere")
    left.close()
    rig.clock.advance(IDLE_S - 1)
    await eventually(lambda: set(log.following) == {HERE, "elsewhere"}, "both are followed")
    # A look at which the one is idle and the other not.
    rig.clock.advance(2)
    await eventually(lambda: set(log.following) == {"elsewhere"}, "one is not followed any more")
    stays.close()
    reader = await rig.reader()
    await rig.publish(2)
    assert await reader.numbers(2) == [1, 2]


async def test_streams_that_open_at_once_follow_once(make_rig: MakeRig) -> None:
    log = WatchedLog()
    rig = await make_rig(log)
    log.slow.clear()
    opening = [asyncio.create_task(rig.sse.subscribe(HERE)) for _ in range(20)]
    await eventually(lambda: log.follows == 1, "the first one asks")
    opening[0].cancel()
    log.slow.set()
    streams = await asyncio.gather(*opening, return_exceptions=True)
    opened: list[Any] = [stream for stream in streams if not isinstance(stream, BaseException)]
    assert len(opened) == 19
    assert log.follows == 2
    for stream in opened:
        stream.close()


async def test_streams_of_a_history_that_breaks_off_end_and_come_back_to_reset(
    make_rig: MakeRig,
) -> None:
    log = WatchedLog()
    rig = await make_rig(log)
    here, elsewhere = await rig.reader(), await rig.sse.subscribe("elsewhere")
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


async def test_a_place_in_the_tail_is_found_without_asking_the_log(make_rig: MakeRig) -> None:
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
