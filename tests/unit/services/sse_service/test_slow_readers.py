"""Clients that read slowly or not at all are cut off, and no other client waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from server.services.ports.event_log import Cursor
from server.services.sse_service.subscription import Subscription
from tests.support.stream import eventually
from tests.unit.services.sse_service.conftest import (
    HEARTBEAT_S,
    HERE,
    STALL_S,
    Reader,
    Rig,
    frames_of,
    next_piece,
    numbers,
)
from tests.unit.services.sse_service.logs import RefusingLog

MakeRig = Callable[..., Awaitable[Rig]]


class Kills:
    """Counts the calls that cut a connection."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


async def stuck(rig: Rig, kill: Kills, **options: Any) -> Subscription:
    """A stream whose client reads the first piece and nothing more."""
    stream = await rig.subscribe(HERE, kill=kill, **options)
    await next_piece(stream)
    return stream


async def ends(stream: Subscription) -> bool:
    """Whether the stream has ended for its writer; closes it."""
    over = [piece async for piece in stream] == []
    stream.close()
    return over


def tick(rig: Rig, stream: Subscription) -> None:
    stream.tick(rig.clock.monotonic(), HEARTBEAT_S, STALL_S)


@pytest.mark.parametrize("queue_max", [1, 100, 300])
async def test_a_client_is_cut_off_when_one_more_event_waits_than_allowed(
    make_rig: MakeRig, queue_max: int
) -> None:
    rig, kill = await make_rig(queue_max=queue_max), Kills()
    stream = await stuck(rig, kill)
    await rig.trickle(queue_max)
    assert kill.count == 0
    await rig.trickle(1)
    assert kill.count == 1
    assert await ends(stream)
    assert rig.figure("bas_streams_closed_total", reason="slow") == 1
    assert rig.figure("bas_events_dropped_total") == queue_max + 1


async def test_a_client_that_reads_on_at_the_limit_misses_nothing(rig: Rig) -> None:
    kill = Kills()
    stream = await stuck(rig, kill)
    await rig.trickle(100)
    assert numbers(frames_of(await next_piece(stream))) == list(range(1, 101))
    # The count restarts with each piece that is read.
    await rig.trickle(100)
    assert numbers(frames_of(await next_piece(stream))) == list(range(101, 201))
    assert kill.count == 0
    stream.close()


async def test_events_of_a_replay_do_not_count_as_waiting(rig: Rig) -> None:
    await rig.publish(5000)
    tip, kill = await rig.log.tip(HERE), Kills()
    start = str(Cursor(tip.epoch, 1))
    stream = await rig.subscribe(HERE, last_event_id=start, kill=kill)
    found: list[int] = []
    await next_piece(stream)
    while not found or found[-1] < rig.published:
        await rig.trickle(30)
        found += numbers(frames_of(await next_piece(stream)))
    assert found == list(range(2, rig.published + 1))
    assert kill.count == 0
    stream.close()


async def test_only_events_of_its_devices_count_as_waiting_for_a_filtered_client(rig: Rig) -> None:
    kill = Kills()
    stream = await stuck(rig, kill, devices=["a"])
    for _ in range(100):
        await rig.publish(1, "a")
        await rig.publish(1, "b")
    await rig.flushed()
    await rig.publish(500, "b")
    await rig.flushed()
    assert kill.count == 0
    await rig.publish(101, "a")
    await rig.flushed()
    assert kill.count == 1
    assert await ends(stream)


async def test_a_slow_client_that_was_cut_off_resumes_with_every_event_once(rig: Rig) -> None:
    kill = Kills()
    stream = await stuck(rig, kill)
    await rig.publish(3)
    frames = frames_of(await next_piece(stream))
    await rig.trickle(101)
    assert kill.count == 1
    assert await ends(stream)
    again = await rig.reader(frames[-1].id)
    await rig.publish(4)
    assert numbers(frames) + await again.numbers(105) == list(range(1, 109))
    assert (await again.named("hello")).json["resume"] == "recovered"


async def test_a_fast_client_is_never_cut_off_by_a_burst(rig: Rig) -> None:
    options = [{}, {"devices": ["a"]}, {"names": False}]
    plain, filtered, unnamed = [await rig.reader(**each) for each in options]
    for reader in rig.readers:
        await reader.until(lambda r=reader: len(r.frames) >= 3)
    for _ in range(3):
        await rig.publish(1000, "a")
        await plain.numbers(rig.published)
        await filtered.numbers(rig.published)
        await unnamed.until(lambda: len(unnamed.frames) == 3 + rig.published)
    everything = list(range(1, 3001))
    assert numbers(plain.frames) == numbers(filtered.frames) == everything
    assert [frame.json["n"] for frame in unnamed.frames[3:]] == everything


async def test_a_client_whose_offset_is_still_looked_up_is_not_cut_off_by_a_burst(
    make_rig: MakeRig,
) -> None:
    log, kill = RefusingLog(), Kills()
    rig = await make_rig(log)
    await rig.publish(1)
    last_event_id = str(await log.tip(HERE))
    log.answering.clear()
    opening = asyncio.create_task(rig.reader(last_event_id, kill=kill))
    await eventually(lambda: rig.hub.subscriber_count(HERE), "the stream is known")
    await rig.publish(1000)
    log.answering.set()
    reader = await opening
    assert await reader.numbers(1000) == list(range(2, 1002))
    assert kill.count == 0


async def test_stuck_clients_do_not_delay_the_others(rig: Rig) -> None:
    kills = [Kills() for _ in range(20)]
    streams = [await stuck(rig, kill) for kill in kills]
    fast = [await rig.reader() for _ in range(5)]
    for number in range(1, 501):
        await rig.publish()
        for reader in fast:
            assert (await reader.numbers(number))[-1] == number
    for reader in fast:
        assert numbers(reader.frames) == list(range(1, 501))
    assert [kill.count > 0 for kill in kills] == [True] * 20
    assert [await ends(stream) for stream in streams] == [True] * 20


async def test_a_write_that_stalls_for_20_seconds_is_cut_off(rig: Rig) -> None:
    kill = Kills()
    stream = await stuck(rig, kill)
    rig.clock.advance(20)
    tick(rig, stream)
    assert kill.count == 0
    rig.clock.advance(0.001)
    tick(rig, stream)
    assert kill.count == 1
    assert await ends(stream)
    assert rig.figure("bas_streams_closed_total", reason="stalled") == 1


async def test_a_client_that_never_reads_its_first_piece_is_cut_off(rig: Rig) -> None:
    kill = Kills()
    stream = await rig.subscribe(HERE, kill=kill)
    rig.clock.advance(20.001)
    tick(rig, stream)
    assert kill.count == 1
    assert await ends(stream)


async def test_a_client_that_waits_for_events_does_not_count_as_stalled(rig: Rig) -> None:
    kill = Kills()
    reader = await rig.reader(kill=kill)
    await reader.named("hello")
    await rig.flushed()
    rig.clock.advance(1000)
    tick(rig, reader.subscription)
    await rig.publish(1)
    assert await reader.numbers(1) == [1]
    assert kill.count == 0


async def test_a_heartbeat_is_sent_after_20_seconds_without_an_event_and_not_before(
    rig: Rig,
) -> None:
    reader = await rig.reader()
    await reader.named("hello")
    rig.clock.advance(19.999)
    tick(rig, reader.subscription)
    await rig.publish(1)
    await reader.numbers(1)
    # The event restarted the 20 seconds.
    rig.clock.advance(19.999)
    tick(rig, reader.subscription)
    await rig.flushed()
    assert [frame.event for frame in reader.frames[2:]] == ["hello", "telemetry"]
    rig.clock.advance(0.001)
    tick(rig, reader.subscription)
    heartbeat = await reader.named("heartbeat")
    assert heartbeat.json == {"ts": rig.clock.now_ms()}
    assert heartbeat.id == reader.live[-1].id


async def test_heartbeats_are_repeated_every_20_seconds(rig: Rig) -> None:
    reader = await rig.reader()
    for count in range(1, 6):
        await rig.flushed()
        rig.clock.advance(20)
        tick(rig, reader.subscription)
        await reader.until(lambda n=count: _heartbeats(reader) == n)


async def test_events_of_other_devices_do_not_delay_the_heartbeat_of_a_filtered_client(
    rig: Rig,
) -> None:
    reader = await rig.reader(devices=["a"])
    await reader.named("hello")
    for _ in range(4):
        rig.clock.advance(5)
        await rig.trickle(1, "b")
    tick(rig, reader.subscription)
    assert (await reader.named("heartbeat")).id == str(await rig.log.tip(HERE))


async def test_the_hub_sends_heartbeats_and_cuts_stalled_clients_by_itself(
    make_rig: MakeRig,
) -> None:
    rig, kill = await make_rig(heartbeat_s=0.02), Kills()
    stream = await stuck(rig, kill)
    reader = await rig.reader()
    await reader.named("hello")
    rig.clock.advance(20.001)
    await reader.named("heartbeat")
    await reader.until(lambda: kill.count > 0)
    assert await ends(stream)


def _heartbeats(reader: Reader) -> int:
    return sum(frame.event == "heartbeat" for frame in reader.frames)
