"""`zone`, `settings` and `deleted` go to pages that use event names, and not to others."""

from __future__ import annotations

import asyncio

import pytest

from server.services.ports.event_log import Cursor, Event
from server.services.sse_service.event import make_entry
from server.services.sse_service.tail import as_chunk, join
from tests.unit.services.sse_service.conftest import HERE, Rig, frames_of

END_OF_ANSWER = b"0\r\n\r\n"


async def published(rig: Rig) -> None:
    """Publishes a `zone` event between two others, each released by itself."""
    await rig.trickle(1)
    await rig.sse.publish(HERE, "zone", {"device_id": "lab"}, "lab")
    await rig.flushed()
    await rig.trickle(1)


@pytest.mark.parametrize("name", ["zone", "settings", "deleted"])
def test_without_names_such_an_event_becomes_a_comment_and_not_an_empty_chunk(name: str) -> None:
    entry = make_entry(Event(name, '{"device_id":"lab"}'), Cursor("abcdefgh", 1))
    piece, taken = join([entry], names=False)
    assert taken == 1
    assert [(frame.event, frame.data) for frame in frames_of(piece)] == [(None, None)]
    assert frames_of(piece)[0].comment == ""
    assert as_chunk(piece) != END_OF_ANSWER
    assert join([entry], names=True) == (entry.frame, 1)


def test_an_event_whose_name_only_starts_with_zone_is_not_removed() -> None:
    other = make_entry(Event("zones", "{}"), Cursor("abcdefgh", 1))
    assert join([other], names=False) == (other.frame[other.name_length :], 1)


@pytest.mark.parametrize("devices", [(), ("lab",)])
async def test_a_page_without_names_gets_all_events_but_zone_events(
    rig: Rig, devices: tuple[str, ...]
) -> None:
    reader = await rig.reader(names=False, devices=devices)
    await rig.publish(1, "lab")
    await rig.sse.publish(HERE, "zone", {"device_id": "lab"}, "lab")
    await rig.publish(1, "lab")
    await reader.until(lambda: [n for n in _numbers(reader.frames) if n] == [1, 2])
    assert not [frame for frame in reader.frames if b"lab" in (frame.data or "").encode()]
    assert all(reader.pieces)


async def test_a_page_with_names_gets_zone_events_in_their_order(rig: Rig) -> None:
    reader = await rig.reader()
    await published(rig)
    await reader.until(lambda: len(reader.live) == 2)
    events = [frame.event for frame in reader.frames if frame.event in {"zone", "telemetry"}]
    assert events == ["telemetry", "zone", "telemetry"]


async def test_no_piece_that_is_sent_to_a_page_without_names_is_empty(rig: Rig) -> None:
    reader = await rig.reader(names=False)
    await published(rig)
    await reader.until(lambda: _numbers(reader.frames) == [1, 2])
    assert all(reader.pieces)
    assert not reader.task.done()


async def test_a_page_without_names_that_reconnects_misses_nothing(rig: Rig) -> None:
    tip = await rig.log.tip(HERE)
    await published(rig)
    reader = await rig.reader(str(Cursor(tip.epoch, 0)), names=False)
    async with asyncio.timeout(60):
        await reader.until(lambda: _numbers(reader.frames) == [1, 2])
    assert all(reader.pieces)


def _numbers(frames: list) -> list[int]:
    """The numbers in frames without a name."""
    return [frame.json["n"] for frame in frames if frame.data is not None and '"n"' in frame.data]
