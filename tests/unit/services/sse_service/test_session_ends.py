"""A stream says two minutes ahead when its session ends, and follows a session that is extended."""

from __future__ import annotations

import pytest

from server.common.session_end import SessionEnd
from tests.support.stream import Frame
from tests.unit.services.sse_service.conftest import Reader, Rig


def end(rig: Rig, seconds: float, extendable: bool = True) -> SessionEnd:
    return SessionEnd(rig.clock.now_ms() + round(seconds * 1000), extendable)


def told(reader: Reader) -> list[Frame]:
    return [frame for frame in reader.frames if frame.event == "session"]


async def later(rig: Rig, seconds: float, *readers: Reader) -> None:
    """Advance the clock, let the hub look at each stream, and let these read what it sends."""
    rig.clock.advance(seconds)
    for reader in readers:
        reader.subscription.tick(rig.clock.monotonic(), 3600, 3600)
    await rig.flushed()


@pytest.mark.parametrize("leap_ms", [0, -86_400_000, 86_400_000])
@pytest.mark.parametrize("extendable", [True, False])
async def test_a_stream_says_once_two_minutes_ahead_when_its_session_ends(
    rig: Rig, leap_ms: int, extendable: bool
) -> None:
    reader = await rig.reader(owner="one", end=end(rig, 600, extendable))
    await later(rig, 479.999, reader)
    assert told(reader) == []
    rig.clock.step_ms += leap_ms
    await later(rig, 0.001, reader)
    for _ in range(3):
        await later(rig, 10, reader)
    (frame,) = told(reader)
    now = rig.clock.now_ms() - 30_000
    assert frame.json == {"ends_at": now + 120_000, "extendable": extendable, "ts": now}
    await later(rig, 90, reader)
    await reader.ended()
    assert rig.figure("bas_streams_closed_total", reason="session") == 1


async def test_a_session_that_ends_sooner_is_told_at_the_beginning_of_the_stream(rig: Rig) -> None:
    reader = await rig.reader(owner="one", end=end(rig, 60))
    await later(rig, 0, reader)
    assert [frame.event for frame in reader.frames][-1] == "session"


async def test_an_extended_session_keeps_its_streams_which_say_the_new_end_once(rig: Rig) -> None:
    reader = await rig.reader(owner="one", end=end(rig, 600))
    other = await rig.reader(owner="two", end=end(rig, 600))
    await later(rig, 500, reader, other)
    rig.hub.move_ends({"one": end(rig, 1800), "two": end(rig, 100), "gone": end(rig, 1)})
    for _ in range(3):
        await later(rig, 1, reader, other)
    ends = [frame.json["ends_at"] - rig.clock.now_ms() for frame in told(reader)]
    assert ends == [97_000, 1_797_000]
    assert len(told(other)) == 1
    await later(rig, 97, reader, other)
    await other.ended()
    assert rig.hub.owners() == {"one"}
    await later(rig, 1579.999, reader)
    assert len(told(reader)) == 2
    await later(rig, 0.001, reader)
    assert len(told(reader)) == 3


async def test_ends_that_differ_by_less_than_a_second_are_told_once(rig: Rig) -> None:
    first = end(rig, 100)
    reader = await rig.reader(owner="one", end=first)
    for more_ms in (-300, 0, 300):
        await later(rig, 1, reader)
        rig.hub.move_ends({"one": first._replace(expire_at=first.expire_at + more_ms)})
    assert len(told(reader)) == 1


async def test_a_client_that_reads_without_names_is_not_told(rig: Rig) -> None:
    """It takes each event for a reading; a heartbeat is the only other one that it gets."""
    reader = await rig.reader(owner="one", end=end(rig, 60), names=False)
    await rig.flushed()
    before = len(reader.frames)
    await later(rig, 30, reader)
    assert len(reader.frames) == before


async def test_the_event_comes_between_events_and_moves_no_cursor(rig: Rig) -> None:
    reader = await rig.reader(owner="one", end=end(rig, 100))
    await rig.publish(2)
    await rig.flushed()
    await later(rig, 1, reader)
    await rig.publish(1)
    await rig.flushed()
    assert await reader.numbers(3) == [1, 2, 3]
    (frame,) = told(reader)
    assert frame.id == reader.live[1].id


async def test_a_stream_without_a_session_is_told_of_no_end(rig: Rig) -> None:
    reader = await rig.reader()
    await rig.flushed()
    await later(rig, 100_000, reader)
    assert told(reader) == []
    assert rig.hub.subscriber_count() == 1
