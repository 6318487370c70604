"""The end of streams: they are counted exactly, get a bye, or are refused."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from server.common.session_end import SessionEnd
from server.services.sse_service.hub import Draining
from server.services.sse_service.stream_limits import StreamLimits, TooManyStreams
from server.services.sse_service.stream_request import StreamRequest
from server.services.sse_service.subscription import Subscription
from tests.support.stream import eventually
from tests.unit.services.sse_service.conftest import (
    HERE,
    WAIT_S,
    Rig,
    frames_of,
    handed,
    next_piece,
    numbers,
)
from tests.unit.services.sse_service.logs import LateLog, RefusingLog

MakeRig = Callable[..., Awaitable[Rig]]


def counts(rig: Rig) -> list[float]:
    """The number of open streams, from each source of that number."""
    return [
        rig.hub.subscriber_count(),
        rig.hub.subscriber_count(HERE),
        rig.figure("bas_streams_open"),
    ]


async def test_the_count_of_streams_is_right_after_every_kind_of_end(rig: Rig) -> None:
    async def subscribe(kill: Callable[[], None]) -> Subscription:
        return await rig.subscribe(HERE, kill=kill, owner="someone")

    served = handed(subscribe)
    never = asyncio.Event()
    hung_up = asyncio.Event()

    async def broken(message: dict[str, Any]) -> None:
        if message.get("body"):
            raise ConnectionResetError

    async def blocked(message: dict[str, Any]) -> None:
        if message.get("body"):
            await never.wait()

    async def taken(message: dict[str, Any]) -> None:
        return

    async def disconnect() -> dict[str, Any]:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    assert counts(rig) == [0, 0, 0]
    endless = [asyncio.create_task(served({}, never.wait, taken)) for _ in range(3)]
    going = asyncio.create_task(served({}, disconnect, taken))
    never_taken = asyncio.create_task(served({}, never.wait, blocked))
    with pytest.raises(ConnectionResetError):
        await served({}, never.wait, broken)
    await eventually(lambda: counts(rig) == [5, 5, 5], "five are open")
    hung_up.set()
    async with asyncio.timeout(WAIT_S):
        await going
    assert counts(rig) == [4, 4, 4]
    for task in (endless[0], never_taken):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert counts(rig) == [2, 2, 2]
    rig.hub.end_owned({"someone"}, "session")
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*endless[1:])
    gc.collect()
    assert counts(rig) == [0, 0, 0]
    closed = {
        reason: rig.figure("bas_streams_closed_total", reason=reason)
        for reason in ("client", "session")
    }
    assert closed == {"client": 4, "session": 2}
    assert rig.figure("bas_streams_opened_total") == sum(closed.values())


async def test_a_stream_that_is_cancelled_before_its_first_byte_is_not_counted(
    make_rig: MakeRig,
) -> None:
    log = RefusingLog()
    rig = await make_rig(log)
    await rig.publish(1)
    last_event_id = str(await log.tip(HERE))
    await rig.publish(1)
    log.answering.clear()
    opening = asyncio.create_task(rig.subscribe(HERE, last_event_id=last_event_id))
    await eventually(rig.hub.subscriber_count, "the stream is known")
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    assert counts(rig) == [0, 0, 0]


async def test_streams_are_counted_for_each_tenant(rig: Rig) -> None:
    streams = [await rig.subscribe(tenant) for tenant in (HERE, HERE, "elsewhere")]
    assert [rig.hub.subscriber_count(tenant) for tenant in (HERE, "elsewhere", "no")] == [2, 1, 0]
    assert rig.hub.subscriber_count() == 3
    for stream in streams:
        stream.close()
    assert rig.hub.subscriber_count() == 0


async def test_a_stream_beyond_the_limit_is_refused_until_another_has_ended(
    make_rig: MakeRig,
) -> None:
    rig = await make_rig(limits=StreamLimits(3))
    streams = [await rig.subscribe(tenant) for tenant in ("a", "b", "c")]
    with pytest.raises(TooManyStreams):
        rig.sse.check_room(StreamRequest("a"))
    with pytest.raises(TooManyStreams):
        await rig.subscribe("a")
    assert rig.hub.subscriber_count() == 3
    streams[1].close()
    rig.sse.check_room(StreamRequest("a"))
    streams.append(await rig.subscribe("a"))
    for stream in streams:
        stream.close()


async def test_end_owned_ends_only_the_streams_of_the_given_owners(rig: Rig) -> None:
    one, two, unowned = [await rig.reader(owner=owner) for owner in ("one", "two", None)]
    same = await rig.reader(owner="one")
    assert rig.hub.owners() == {"one", "two"}
    await rig.flushed()
    rig.hub.end_owned({"one", "unknown"}, "session")
    await asyncio.gather(one.ended(), same.ended())
    await rig.publish(1)
    assert await two.numbers(1) == await unowned.numbers(1) == [1]
    assert rig.hub.owners() == {"two"}
    assert rig.figure("bas_streams_closed_total", reason="session") == 2


@pytest.mark.parametrize("leap_ms", [0, -86_400_000, 86_400_000])
async def test_a_stream_ends_when_its_session_expires_without_a_call_to_the_store(
    rig: Rig, leap_ms: int
) -> None:
    expiring = await rig.reader(owner="one", end=SessionEnd(rig.clock.now_ms() + 60_000, False))
    lasting = await rig.reader(owner="two")
    await rig.flushed()
    rig.clock.step_ms += leap_ms
    for seconds, streams in ((59.999, 2), (0.001, 1)):
        rig.clock.advance(seconds)
        for reader in (expiring, lasting):
            reader.subscription.tick(rig.clock.monotonic(), 3600, 3600)
        await rig.flushed()
        assert rig.hub.subscriber_count() == streams
    await expiring.ended()
    assert rig.figure("bas_streams_closed_total", reason="session") == 1


async def test_end_owned_cuts_a_write_that_is_blocked(rig: Rig) -> None:
    killed = asyncio.Event()
    stream = await rig.subscribe(HERE, owner="one", kill=killed.set)
    await next_piece(stream)
    rig.hub.end_owned({"one"}, "session")
    assert killed.is_set()
    stream.close()


async def test_a_drain_sends_every_client_all_published_events_and_then_bye(rig: Rig) -> None:
    readers = [await rig.reader() for _ in range(1000)]
    filtered = await rig.reader(devices=["a"])
    await rig.publish(1, "a")
    for reader in readers:
        await reader.numbers(1)
    # These wait for the next release, since so many streams had one just now.
    await rig.publish(199, "a")
    await rig.hub.drain(WAIT_S)
    assert counts(rig) == [0, 0, 0]
    retries = set()
    for reader in [*readers, filtered]:
        frames = await reader.ended()
        assert numbers(frames) == list(range(1, 201))
        assert frames[-1].event == "bye"
        # A page cannot see the frame's own `retry`, so the data contain it too.
        assert frames[-1].json == {"ts": rig.clock.now_ms(), "retry_ms": frames[-1].retry}
        assert frames[-1].id == str(await rig.log.tip(HERE))
        retries.add(frames[-1].retry)
    assert len(retries) == 1001
    assert None not in retries
    assert rig.figure("bas_streams_closed_total", reason="drain") == 1001


async def test_a_drain_sends_a_reconnecting_client_its_whole_replay_and_then_bye(rig: Rig) -> None:
    """A history in memory ends with its server: an event that is not sent now is lost."""
    await rig.publish(1)
    start = str(await rig.log.tip(HERE))
    await rig.publish(3000)
    stream = await rig.subscribe(HERE, last_event_id=start)
    frames = frames_of(await next_piece(stream))
    draining = asyncio.create_task(rig.hub.drain(WAIT_S))
    await asyncio.sleep(0)
    assert rig.hub.draining
    frames += frames_of(*[piece async for piece in stream])
    stream.close()
    await draining
    assert frames[-1].event == "bye"
    assert numbers(frames) == list(range(2, 3002))


async def test_a_drain_after_a_large_burst_sends_all_of_it_and_then_bye(rig: Rig) -> None:
    reader = await rig.reader()
    await reader.named("hello")
    await rig.flushed()
    await rig.publish(2000)
    await rig.hub.drain(WAIT_S)
    frames = await reader.ended()
    assert frames[-1].event == "bye"
    assert numbers(frames) == list(range(1, 2001))


async def test_a_drain_cuts_only_clients_that_do_not_read_the_bye(rig: Rig) -> None:
    killed = asyncio.Event()
    blocked = await rig.subscribe(HERE, kill=killed.set)
    await next_piece(blocked)
    reader = await rig.reader()
    await reader.named("hello")
    async with asyncio.timeout(WAIT_S):
        await rig.hub.drain(0.05)
    assert killed.is_set()
    assert (await reader.ended())[-1].event == "bye"
    blocked.close()
    assert rig.figure("bas_streams_closed_total", reason="drain") == 2


async def test_a_drain_without_streams_ends_at_once(rig: Rig) -> None:
    async with asyncio.timeout(20):
        await rig.hub.drain(60)


async def test_no_stream_opens_after_a_drain_has_begun(rig: Rig) -> None:
    await rig.hub.drain(0.01)
    with pytest.raises(Draining):
        rig.sse.check_room(StreamRequest("a"))
    with pytest.raises(Draining):
        await rig.subscribe(HERE)
    assert rig.hub.draining
    assert counts(rig) == [0, 0, 0]


async def test_a_stream_that_was_opening_when_the_drain_began_is_refused(
    make_rig: MakeRig,
) -> None:
    log = LateLog([5])
    rig = await make_rig(log)
    opening = asyncio.create_task(rig.subscribe(HERE))
    await asyncio.sleep(0)
    await rig.hub.drain(0.01)
    with pytest.raises(Draining):
        await opening
    assert counts(rig) == [0, 0, 0]
    await log.close()


async def test_streams_that_open_at_the_same_time_do_not_exceed_the_limit(
    make_rig: MakeRig,
) -> None:
    log = LateLog([5])
    rig = await make_rig(log, limits=StreamLimits(3))
    opened = await asyncio.gather(*(rig.subscribe(HERE) for _ in range(8)), return_exceptions=True)
    assert [isinstance(each, TooManyStreams) for each in opened].count(True) == 5
    assert rig.hub.subscriber_count() == 3
    await log.close()


async def test_the_cancellation_of_a_waiting_client_does_not_affect_the_others(rig: Rig) -> None:
    gone, left = await rig.reader(), await rig.reader()
    await rig.flushed()
    await rig.publish(1)
    gone.task.cancel()
    await asyncio.gather(gone.task, return_exceptions=True)
    await rig.publish(1)
    assert await left.numbers(2) == [1, 2]
    assert counts(rig) == [1, 1, 1]
