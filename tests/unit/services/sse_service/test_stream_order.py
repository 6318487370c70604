"""The order of a stream: opening, snapshot, live events; and what its filters remove."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from server.common.errors import Unavailable
from server.services.ports.event_log import InvalidEvent
from server.services.sse_service.event import COMMENT
from tests.support.clock import ManualClock
from tests.unit.services.sse_service.conftest import (
    HERE,
    WAIT_S,
    Rig,
    frames_of,
    next_piece,
    numbers,
)
from tests.unit.services.sse_service.logs import LateLog


async def test_a_stream_starts_with_a_comment_a_retry_and_hello(rig: Rig) -> None:
    reader = await rig.reader()
    hello = await reader.named("hello")
    assert reader.pieces[0].startswith(COMMENT)
    assert [reader.frames[0].comment, reader.frames[2]] == ["stream", hello]
    assert 1000 <= (reader.frames[1].retry or 0) < 5000
    assert hello.json == {"resume": "fresh", "ts": rig.clock.now_ms(), "heartbeat_s": 20}


async def test_the_start_of_a_stream_is_one_piece_that_does_not_wait_for_the_snapshot(
    rig: Rig,
) -> None:
    never = asyncio.Event()
    stream = await rig.subscribe(HERE, snapshot=never.wait)
    frames = frames_of(await next_piece(stream))
    assert [frame.event for frame in frames] == [None, None, "hello"]
    stream.close()


async def test_the_snapshot_follows_hello_and_live_events_follow_the_snapshot(rig: Rig) -> None:
    async def zones() -> dict[str, object]:
        return {"zones": [{"device_id": "a"}]}

    reader = await rig.reader(snapshot=zones)
    await reader.named("snapshot")
    await rig.publish(2)
    assert await reader.numbers(2) == [1, 2]
    assert [frame.event for frame in reader.frames[2:]] == [
        "hello",
        "snapshot",
        "telemetry",
        "telemetry",
    ]
    assert reader.frames[3].json == {"zones": [{"device_id": "a"}]}


async def test_each_client_gets_a_different_reconnect_delay(rig: Rig) -> None:
    readers = [await rig.reader() for _ in range(4000)]
    delays = {frame.retry for r in readers for frame in frames_of(await first(r)) if frame.retry}
    assert len(delays) == 4000


async def first(reader) -> bytes:
    await reader.named("hello")
    return reader.pieces[0]


async def test_a_stream_whose_snapshot_cannot_be_read_ends_and_is_counted(rig: Rig) -> None:
    async def zones() -> dict[str, object]:
        raise Unavailable

    reader = await rig.reader(snapshot=zones)
    frames = await reader.ended()
    assert [frame.event for frame in frames] == [None, None, "hello"]
    assert rig.figure("bas_streams_closed_total", reason="store") == 1


async def test_without_names_no_frame_has_an_event_line(rig: Rig) -> None:
    async def zones() -> dict[str, object]:
        return {"zones": []}

    reader = await rig.reader(names=False, snapshot=zones)
    named = await rig.reader(snapshot=zones)
    await rig.publish(3)
    await rig.flushed()
    rig.clock.advance(20)
    for each in (reader, named):
        each.subscription.tick(rig.clock.monotonic(), 20, 20)
    await named.named("heartbeat")
    await reader.until(lambda: len(reader.frames) == len(named.frames))
    expected = [(f.data, f.id) for f in named.frames if f.data is not None]
    assert [(f.data, f.id) for f in reader.frames if f.data is not None] == expected
    assert len(expected) == 6  # hello, snapshot, three events, heartbeat
    await rig.hub.drain(WAIT_S)
    unnamed = await reader.ended()
    assert {frame.event for frame in unnamed} == {None}
    assert unnamed[-1].json["retry_ms"] == unnamed[-1].retry  # the bye


async def test_every_frame_with_data_has_an_id_that_a_client_can_send_back(rig: Rig) -> None:
    async def zones() -> dict[str, object]:
        return {"zones": []}

    reader = await rig.reader(snapshot=zones)
    await rig.publish(2)
    await reader.numbers(2)
    await rig.hub.drain(WAIT_S)
    for frame in await reader.ended():
        if frame.data is not None:
            assert frame.id is not None
            assert re.fullmatch(r"[A-Za-z0-9._~-]{1,128}", frame.id)


async def test_hello_and_snapshot_have_the_id_at_which_the_stream_joined(rig: Rig) -> None:
    async def zones() -> dict[str, object]:
        await rig.publish(5)
        return {"zones": []}

    await rig.publish(3)
    reader = await rig.reader(snapshot=zones)
    hello, snapshot = await reader.named("hello"), await reader.named("snapshot")
    assert hello.id == snapshot.id == str(await rig.log.tip(HERE)).replace("-8", "-3")
    assert await reader.numbers(5) == [4, 5, 6, 7, 8]


async def test_publish_returns_how_many_streams_of_this_process_get_the_event(rig: Rig) -> None:
    assert await rig.sse.publish(HERE, "telemetry", {}) == 0
    await rig.reader()
    await rig.reader()
    assert await rig.sse.publish(HERE, "telemetry", {}) == 2
    assert await rig.sse.publish("elsewhere", "telemetry", {}) == 0
    assert rig.figure("bas_events_published_total") == 3


async def test_publish_refuses_an_event_that_no_client_could_read(rig: Rig) -> None:
    with pytest.raises(InvalidEvent):
        await rig.sse.publish(HERE, "open", {})
    with pytest.raises(InvalidEvent):
        await rig.sse.publish(HERE, "telemetry", "x" * 300_000)
    assert (await rig.log.tip(HERE)).position == 0


async def test_a_tenant_gets_only_its_own_events(rig: Rig) -> None:
    here = await rig.reader()
    there = await rig.subscribe("elsewhere")
    await next_piece(there)
    await rig.publish(3)
    await rig.sse.publish("elsewhere", "telemetry", {"n": 99})
    assert await here.numbers(3) == [1, 2, 3]
    assert numbers(frames_of(await next_piece(there))) == [99]
    there.close()


async def test_a_filter_passes_events_of_its_devices_and_events_without_a_device(rig: Rig) -> None:
    both = await rig.reader(devices=["a", "b"])
    only_a = await rig.reader(devices=["a"])
    everything = await rig.reader()
    for device_id in ["a", "b", "c", None, "a", "c", ""]:
        await rig.publish(1, device_id)
    await everything.numbers(7)
    assert await both.numbers(4) == [1, 2, 4, 5]
    assert await only_a.numbers(3) == [1, 4, 5]


async def test_a_filtered_client_resumes_from_its_heartbeat_without_repetition(rig: Rig) -> None:
    reader = await rig.reader(devices=["a"])
    await rig.publish(1, "a")
    await rig.publish(600, "b")
    await reader.numbers(1)
    await rig.flushed()
    rig.clock.advance(20)
    reader.subscription.tick(rig.clock.monotonic(), 20, 20)
    heartbeat = await reader.named("heartbeat")
    assert heartbeat.json == {"ts": rig.clock.now_ms()}
    assert heartbeat.id == str(await rig.log.tip(HERE))
    reader.task.cancel()
    await rig.publish(2, "b")
    await rig.publish(1, "a")
    again = await rig.reader(heartbeat.id, devices=["a"])
    assert await again.numbers(1) == [604]
    assert (await again.named("hello")).json["resume"] == "recovered"


# Examples are not shrunk: a failure shows as a timeout, and must not take minutes.
@settings(deadline=None, max_examples=300, phases=[Phase.reuse, Phase.generate])
@given(
    turns=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    before=st.integers(0, 3),
    actions=st.lists(st.sampled_from(["publish", "subscribe", "turn"]), max_size=25),
)
async def test_no_event_is_missed_or_repeated_between_the_snapshot_and_the_live_events(
    turns: list[int], before: int, actions: list[str]
) -> None:
    """A publisher stores, then announces, and streams join at any point in between. Each event that
    is not in a stream's snapshot is delivered once and in order, on a log that answers late."""
    log = LateLog(turns)
    rig = Rig(log, ManualClock())
    await rig.hub.start()
    stored = 0

    async def store_and_publish() -> None:
        nonlocal stored
        stored += 1
        await rig.sse.publish(HERE, "telemetry", {"n": stored})

    async def zones() -> dict[str, int]:
        seen = stored
        await asyncio.sleep(0)
        return {"zones": seen}

    async def publisher() -> None:
        while True:
            await wanted.get()
            await store_and_publish()
            wanted.task_done()

    try:
        for _ in range(before):
            await store_and_publish()
        wanted: asyncio.Queue[None] = asyncio.Queue()
        publishing = asyncio.create_task(publisher())
        joining = []
        for action in actions:
            if action == "publish":
                wanted.put_nowait(None)
            elif action == "subscribe":
                joining.append(asyncio.create_task(rig.reader(snapshot=zones)))
            else:
                await asyncio.sleep(0)
        readers = await asyncio.gather(*joining)
        async with asyncio.timeout(WAIT_S):
            await wanted.join()
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        await store_and_publish()
        for reader in readers:
            await reader.until(lambda r=reader: stored in numbers(r.frames), 1)
            seen = numbers(reader.frames)
            assert seen == list(range(seen[0], stored + 1))
            assert seen[0] <= (await reader.named("snapshot")).json["zones"] + 1
    finally:
        await rig.stop()
        await log.close()
