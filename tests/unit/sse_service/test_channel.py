"""What streams share: one encoding, one piece of bytes, one tail with bounds."""

from __future__ import annotations

from typing import Any

import pytest

from server.services.sse_service.backend import Cursor, Entry, make_entry
from server.services.sse_service.channel import (
    CHUNK_MAX_BYTES,
    FLUSH_EVENTS_A_SECOND,
    FLUSH_S_PER_SUBSCRIBER,
    TAIL_MAX_BYTES,
    Channel,
    join,
)
from server.services.sse_service.event import Event
from tests.support.clock import ManualClock
from tests.unit.sse_service.conftest import HERE, Rig, frames_of, next_piece

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


async def test_a_single_event_goes_out_as_the_bytes_the_log_holds(rig: Rig) -> None:
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


async def test_events_that_come_fast_share_a_write(rig: Rig) -> None:
    """A write costs a connection far more than an event does."""
    readers = [await rig.reader() for _ in range(200)]
    for reader in readers:
        await reader.named("hello")
    for _ in range(20):
        await rig.publish(10)
    for reader in readers:
        await reader.numbers(200)
        assert len(reader.pieces) <= 4


async def test_a_rare_event_is_not_held_back(rig: Rig) -> None:
    reader = await rig.reader()
    await reader.named("hello")
    await rig.flushed()
    rig.clock.advance(1)
    await rig.publish(1)
    for _ in range(3):
        await rig.flushed()
    assert len(reader.live) == 1


@pytest.mark.parametrize("names", [True, False])
def test_a_piece_is_bounded_and_the_rest_follows(names: bool) -> None:
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


def test_an_event_greater_than_a_piece_goes_alone() -> None:
    great = make_entry(Event("telemetry", "\n" * 100_000), Cursor(EPOCH, 2))
    assert len(great.frame) > CHUNK_MAX_BYTES
    entries = [entry(1), great, entry(3)]
    assert join(entries, True) == (entries[0].frame, 1)
    assert join(entries[1:], True) == (great.frame, 1)
    assert join([], True) == (b"", 0)


@pytest.mark.parametrize("devices", [[], ["a"]], ids=["plain", "filtered"])
async def test_a_reader_behind_gets_bounded_pieces(rig: Rig, devices: list[str]) -> None:
    stream = await rig.sse.subscribe(HERE, devices=devices)
    await next_piece(stream)
    for _ in range(8):
        await rig.sse.publish(HERE, "telemetry", {"text": "x" * 100_000}, "a")
    await rig.flushed()
    pieces = [await next_piece(stream) for _ in range(4)]
    assert [len(frames_of(piece)) for piece in pieces] == [2, 2, 2, 2]
    stream.close()


@pytest.mark.parametrize("readers", ["none", "idle", "stuck"])
async def test_the_tail_keeps_its_bounds_whoever_reads(rig: Rig, readers: str) -> None:
    if readers == "idle":
        await rig.reader()
    if readers == "stuck":
        await next_piece(await rig.sse.subscribe(HERE))
    else:
        (await rig.sse.subscribe(HERE)).close()
    channel = rig.hub._channels[HERE]
    for _ in range(60):
        await rig.publish(50)
        await rig.flushed()
        assert len(channel.tail) <= 256
        assert channel.base + len(channel.tail) == channel.head == rig.published
    for _ in range(40):
        await rig.sse.publish(HERE, "telemetry", {"text": "x" * 90_000, "n": 0})
        await rig.flushed()
        assert sum(item.size for item in channel.tail) <= TAIL_MAX_BYTES
        assert channel.base + len(channel.tail) == channel.head


def channel_with(lost: list[Channel], *positions: int) -> Channel:
    """A channel that began after position 7 and heard of these."""
    channel = Channel(HERE, 100, 0.1, ManualClock(), lost.append)
    channel.begin(Cursor(EPOCH, 7))
    for position in positions:
        channel.add(entry(position))
    return channel


def test_every_place_of_the_tail_is_found_by_its_id() -> None:
    channel = channel_with([], 8, 9)
    places = [str(Cursor(EPOCH, position)) for position in (7, 8, 9)]
    assert [channel.id_at(index) for index in range(3)] == places
    assert [channel.find(place) for place in places] == [0, 1, 2]
    assert channel.find(str(Cursor(EPOCH, 6))) is None
    assert channel.find(str(Cursor("anotherone", 8))) is None


def test_what_came_while_nobody_listened_is_still_there_for_who_comes_back() -> None:
    channel = channel_with([], *range(8, 600))
    assert len(channel.tail) == 256
    assert channel.id_at(channel.base) == str(Cursor(EPOCH, 343))
    assert channel.id_at(channel.head) == str(Cursor(EPOCH, 599))
    assert channel.released == channel.head


def test_a_history_that_breaks_off_is_reported_once_begun() -> None:
    lost: list[Channel] = []
    channel = channel_with(lost, 8)
    assert channel.ready
    channel.lose()
    assert lost == [channel]
    assert not channel.ready


async def test_many_readers_at_different_places_each_get_their_own(rig: Rig) -> None:
    await rig.reader()
    await rig.publish(250)
    await rig.flushed()
    tip = await rig.log.tip(HERE)
    late = [await rig.reader(str(Cursor(tip.epoch, n))) for n in range(0, 250, 10)]
    await rig.publish(5)
    for start, reader in zip(range(0, 250, 10), late, strict=True):
        assert await reader.numbers(255 - start) == list(range(start + 1, 256))


async def paced(rig: Rig, readers: int, a_second: int, seconds: int = 2) -> float:
    """Seconds from flush to flush, once events came so fast for so long."""
    for _ in range(readers):
        await rig.reader()
    for _ in range(10 * seconds):
        await rig.publish(a_second // 10)
        rig.clock.advance(0.1)
        await rig.flushed()
    return rig.hub._channels[HERE].pause_s()


async def test_up_to_a_rate_the_pause_is_so_long_for_each_reader(rig: Rig) -> None:
    pause_s = await paced(rig, 50, FLUSH_EVENTS_A_SECOND)
    assert pause_s == pytest.approx(50 * FLUSH_S_PER_SUBSCRIBER, rel=0.2)


async def test_beyond_it_the_pause_grows_as_the_rate_does_and_shrinks_again(rig: Rig) -> None:
    pause_s = await paced(rig, 50, 4 * FLUSH_EVENTS_A_SECOND)
    assert pause_s == pytest.approx(4 * 50 * FLUSH_S_PER_SUBSCRIBER, rel=0.2)
    pause_s = await paced(rig, 0, FLUSH_EVENTS_A_SECOND)
    assert pause_s == pytest.approx(50 * FLUSH_S_PER_SUBSCRIBER, rel=0.2)


async def test_no_event_waits_longer_than_the_setting_says(make_rig: Any) -> None:
    rig = await make_rig(flush_max_s=0.001)
    assert await paced(rig, 50, 4 * FLUSH_EVENTS_A_SECOND) == 0.001


async def test_a_few_that_come_together_are_no_rate(rig: Rig) -> None:
    usual_s = await paced(rig, 50, FLUSH_EVENTS_A_SECOND // 10)
    for _ in range(2):
        await rig.publish(20)
        rig.clock.advance(0.001)
        await rig.flushed()
    assert rig.hub._channels[HERE].pause_s() == usual_s
