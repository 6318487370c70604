"""Channel: all streams of a tenant share one encoding, one piece of bytes and one bounded tail."""

from __future__ import annotations

from typing import Any

import pytest

from server.common.metrics import Metrics
from server.services.ports.event_log import Cursor, Entry, Event
from server.services.sse_service.channel import (
    FLUSH_EVENTS_A_SECOND,
    FLUSH_S_PER_SUBSCRIBER,
    Channel,
)
from server.services.sse_service.delivery import Delivery
from server.services.sse_service.event import make_entry
from server.services.sse_service.memory_log import MemoryLog
from server.services.sse_service.tail import CHUNK_MAX_BYTES, TAIL_MAX_BYTES, join
from tests.support.clock import ManualClock
from tests.unit.services.sse_service.conftest import HERE, Rig, frames_of, next_piece

EPOCH = "abcdefgh"


def entry(position: int, size: int = 10) -> Entry:
    return make_entry(Event("telemetry", "x" * size), Cursor(EPOCH, position))


async def test_all_streams_are_handed_the_same_bytes_object(rig: Rig) -> None:
    readers = [await rig.reader() for _ in range(50)]
    unnamed = [await rig.reader(names=False) for _ in range(5)]
    for reader in rig.readers:
        await reader.until(lambda r=reader: len(r.pieces) == 1)
    await rig.publish(30)
    for reader in rig.readers:
        await reader.until(lambda r=reader: len(r.pieces) == 2)
    assert len({id(reader.pieces[1]) for reader in readers}) == 1
    assert len({id(reader.pieces[1]) for reader in unnamed}) == 1
    assert len(frames_of(readers[0].pieces[1])) == 30


async def test_a_single_event_is_sent_as_the_bytes_object_of_the_log(rig: Rig) -> None:
    readers = [await rig.reader() for _ in range(10)]
    for reader in readers:
        await reader.named("hello")
    start = await rig.log.tip(HERE)
    await rig.publish(1)
    page = await rig.log.read_after(HERE, start, 1)
    assert page is not None
    for reader in readers:
        await reader.numbers(1)
        assert reader.pieces[-1] is page[0].frame


async def test_events_in_quick_succession_share_a_write(rig: Rig) -> None:
    """For a connection a write costs far more than an event."""
    readers = [await rig.reader() for _ in range(200)]
    for reader in readers:
        await reader.named("hello")
    for _ in range(20):
        await rig.publish(10)
    for reader in readers:
        await reader.numbers(200)
        assert len(reader.pieces) <= 4


async def test_a_rare_event_is_sent_at_once(rig: Rig) -> None:
    reader = await rig.reader()
    await reader.named("hello")
    await rig.flushed()
    rig.clock.advance(1)
    await rig.publish(1)
    for _ in range(3):
        await rig.flushed()
    assert len(reader.live) == 1


@pytest.mark.parametrize("names", [True, False])
def test_a_piece_is_bounded_and_the_next_ones_have_the_rest(names: bool) -> None:
    entries = [entry(n, size=1000) for n in range(1, 1001)]
    position, pieces = 0, []
    while position < 1000:
        piece, taken = join(entries[position:], names)
        assert 0 < len(piece) <= CHUNK_MAX_BYTES
        assert taken > 0
        pieces.append(piece)
        position += taken
    wanted = [e.frame if names else e.frame[e.name_length :] for e in entries]
    assert b"".join(pieces) == b"".join(wanted)
    assert len(pieces) == 4


def test_an_event_larger_than_a_piece_is_sent_alone() -> None:
    great = make_entry(Event("telemetry", "\n" * 100_000), Cursor(EPOCH, 2))
    assert len(great.frame) > CHUNK_MAX_BYTES
    entries = [entry(1), great, entry(3)]
    assert join(entries, True) == (entries[0].frame, 1)
    assert join(entries[1:], True) == (great.frame, 1)
    assert join([], True) == (b"", 0)


@pytest.mark.parametrize("devices", [[], ["a"]], ids=["plain", "filtered"])
async def test_a_subscriber_that_is_behind_gets_bounded_pieces(
    rig: Rig, devices: list[str]
) -> None:
    stream = await rig.subscribe(HERE, devices=devices)
    await next_piece(stream)
    for _ in range(8):
        await rig.sse.publish(HERE, "telemetry", {"text": "x" * 100_000}, "a")
    await rig.flushed()
    pieces = [await next_piece(stream) for _ in range(4)]
    assert [len(frames_of(piece)) for piece in pieces] == [2, 2, 2, 2]
    stream.close()


@pytest.mark.parametrize("readers", ["none", "idle", "stuck"])
async def test_the_tail_stays_bounded_whatever_its_subscribers_do(rig: Rig, readers: str) -> None:
    if readers == "idle":
        await rig.reader()
    if readers == "stuck":
        await next_piece(await rig.subscribe(HERE))
    else:
        (await rig.subscribe(HERE)).close()
    tail = rig.hub._channels[HERE].tail
    for _ in range(60):
        await rig.publish(50)
        await rig.flushed()
        assert len(tail.entries) <= 256
        assert tail.base + len(tail.entries) == tail.head == rig.published
    for _ in range(40):
        await rig.sse.publish(HERE, "telemetry", {"text": "x" * 90_000, "n": 0})
        await rig.flushed()
        assert sum(item.size for item in tail.entries) <= TAIL_MAX_BYTES
        assert tail.base + len(tail.entries) == tail.head


def channel_with(lost: list[Channel], *positions: int) -> Channel:
    """A channel that began after position 7 and got the events at these positions."""
    clock = ManualClock()
    delivery = Delivery(HERE, MemoryLog(1000, 10**6), clock, Metrics(), 100)
    channel = Channel(delivery, 0.1, clock, lost.append)
    channel.begin(Cursor(EPOCH, 7))
    for position in positions:
        channel.add(entry(position))
    return channel


def test_every_position_of_the_tail_is_found_by_its_id() -> None:
    tail = channel_with([], 8, 9).tail
    event_ids = [str(Cursor(EPOCH, position)) for position in (7, 8, 9)]
    assert [tail.id_at(index) for index in range(3)] == event_ids
    assert [tail.find(event_id) for event_id in event_ids] == [0, 1, 2]
    assert tail.find(str(Cursor(EPOCH, 6))) is None
    assert tail.find(str(Cursor("anotherone", 8))) is None


def test_the_tail_keeps_the_newest_events_while_there_is_no_subscriber() -> None:
    tail = channel_with([], *range(8, 600)).tail
    assert len(tail.entries) == 256
    assert tail.id_at(tail.base) == str(Cursor(EPOCH, 343))
    assert tail.id_at(tail.head) == str(Cursor(EPOCH, 599))
    assert tail.released == tail.head


def test_a_history_that_breaks_off_is_reported_after_the_channel_began() -> None:
    lost: list[Channel] = []
    channel = channel_with(lost, 8)
    assert channel.ready
    channel.lose()
    assert lost == [channel]
    assert not channel.ready


async def test_each_reconnecting_client_gets_the_events_after_its_own_offset(rig: Rig) -> None:
    await rig.reader()
    await rig.publish(250)
    await rig.flushed()
    tip = await rig.log.tip(HERE)
    late = [await rig.reader(str(Cursor(tip.epoch, n))) for n in range(0, 250, 10)]
    await rig.publish(5)
    for start, reader in zip(range(0, 250, 10), late, strict=True):
        assert await reader.numbers(255 - start) == list(range(start + 1, 256))


async def paced(rig: Rig, readers: int, a_second: int, seconds: int = 2) -> float:
    """Seconds between two flushes, after `seconds` at a rate of `a_second` events."""
    for _ in range(readers):
        await rig.reader()
    for _ in range(10 * seconds):
        await rig.publish(a_second // 10)
        rig.clock.advance(0.1)
        await rig.flushed()
    return rig.hub._channels[HERE].pause_s()


async def test_up_to_a_certain_rate_the_pause_is_proportional_to_the_subscribers(rig: Rig) -> None:
    pause_s = await paced(rig, 50, FLUSH_EVENTS_A_SECOND)
    assert pause_s == pytest.approx(50 * FLUSH_S_PER_SUBSCRIBER, rel=0.2)


async def test_beyond_that_rate_the_pause_is_proportional_to_the_rate(rig: Rig) -> None:
    pause_s = await paced(rig, 50, 4 * FLUSH_EVENTS_A_SECOND)
    assert pause_s == pytest.approx(4 * 50 * FLUSH_S_PER_SUBSCRIBER, rel=0.2)
    pause_s = await paced(rig, 0, FLUSH_EVENTS_A_SECOND)
    assert pause_s == pytest.approx(50 * FLUSH_S_PER_SUBSCRIBER, rel=0.2)


async def test_no_event_is_held_longer_than_the_setting_says(make_rig: Any) -> None:
    rig = await make_rig(flush_max_s=0.001)
    assert await paced(rig, 50, 4 * FLUSH_EVENTS_A_SECOND) == 0.001


async def test_a_short_burst_does_not_change_the_pause(rig: Rig) -> None:
    usual_s = await paced(rig, 50, FLUSH_EVENTS_A_SECOND // 10)
    for _ in range(2):
        await rig.publish(20)
        rig.clock.advance(0.001)
        await rig.flushed()
    assert rig.hub._channels[HERE].pause_s() == usual_s
