"""A reconnecting client gets every event that it missed, once and in order, or a reset."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import pytest

from server.services.ports.event_log import Cursor
from server.services.sse_service.memory_log import MemoryLog
from tests.unit.services.sse_service.conftest import HERE, Rig, frames_of, next_piece, numbers

MakeRig = Callable[..., Awaitable[Rig]]


async def cursor(rig: Rig, position: int) -> str:
    """The id of the event at this position."""
    return str(Cursor((await rig.log.tip(HERE)).epoch, position))


async def missed(rig: Rig, position: int, until: int) -> list[int]:
    """The events that a client reconnecting after `position` is sent, up to the event `until`."""
    stream = await rig.subscribe(HERE, last_event_id=await cursor(rig, position))
    assert stream.resumed == "recovered"
    found: list[int] = []
    await next_piece(stream)
    while position < until and (not found or found[-1] != until):
        piece = await next_piece(stream)
        found += [int(number) for number in re.findall(rb'{"n":(\d+)}', piece)]
    stream.close()
    return found


@pytest.mark.parametrize("watched", [True, False], ids=["tail_kept", "nobody_watched"])
async def test_every_missed_event_is_replayed_once_and_in_order_from_any_offset(
    rig: Rig, watched: bool
) -> None:
    """The shared tail holds 256 events; most of these offsets are far behind it."""
    if watched:
        await rig.reader()
    await rig.publish(700)
    await rig.flushed()
    for position in [*range(0, 700, 9), 443, 444, 445, 698, 699, 700]:
        assert await missed(rig, position, 700) == list(range(position + 1, 701))


async def test_thousands_of_missed_events_are_replayed_once_and_in_order(rig: Rig) -> None:
    await rig.publish(12_345)
    assert await missed(rig, 0, 12_345) == list(range(1, 12_346))


async def test_events_published_during_a_replay_follow_it(rig: Rig) -> None:
    await rig.publish(2000)
    stream = await rig.subscribe(HERE, last_event_id=await cursor(rig, 3))
    found: list[int] = []
    for _ in range(200):
        found += numbers(frames_of(await next_piece(stream)))
        if rig.published < 2300:
            await rig.trickle(7)
        elif found and found[-1] == rig.published:
            break
    assert found == list(range(4, rig.published + 1))
    stream.close()


async def test_a_client_that_reconnects_again_and_again_gets_every_event_once(rig: Rig) -> None:
    found: list[int] = []
    last_id = await cursor(rig, 0)
    for round_ in range(40):
        await rig.publish(round_ * 3 % 17)
        stream = await rig.subscribe(HERE, last_event_id=last_id)
        frames = frames_of(await next_piece(stream))
        await rig.publish(1)
        frames += frames_of(await next_piece(stream))
        await rig.publish(2)
        stream.close()
        found += numbers(frames)
        last_id = frames[-1].id or last_id
    assert found == list(range(1, len(found) + 1))
    # Events published around the end of the last stream are still on their way.
    assert 2 <= rig.published - len(found) <= 3


async def test_hello_says_recovered_and_has_the_id_that_the_client_sent(rig: Rig) -> None:
    await rig.publish(9)
    reader = await rig.reader(await cursor(rig, 4))
    hello = await reader.named("hello")
    assert hello.json["resume"] == "recovered"
    assert hello.id == await cursor(rig, 4)
    assert await reader.numbers(5) == [5, 6, 7, 8, 9]


async def test_a_client_that_has_the_newest_event_recovers_with_nothing_missed(rig: Rig) -> None:
    await rig.publish(5)
    reader = await rig.reader(await cursor(rig, 5))
    assert (await reader.named("hello")).json["resume"] == "recovered"
    await rig.publish(1)
    assert await reader.numbers(1) == [6]


@pytest.mark.parametrize(
    "last_event_id", ["nonsense", "12345678-", "abcdefgh-7", "a" * 5000, "\x00", "1-1-1", "٣"]
)
async def test_an_unknown_id_is_answered_with_reset(rig: Rig, last_event_id: str) -> None:
    await rig.publish(3)
    reader = await rig.reader(last_event_id)
    assert (await reader.named("hello")).json["resume"] == "reset"
    await rig.publish(1)
    assert await reader.numbers(1) == [4]


async def test_a_future_id_and_another_tenant_s_id_are_answered_with_reset(rig: Rig) -> None:
    await rig.publish(3)
    await rig.sse.publish("elsewhere", "telemetry", {"n": 0})
    theirs = str(await rig.log.tip("elsewhere"))
    for last_event_id in (theirs, await cursor(rig, 4)):
        reader = await rig.reader(last_event_id)
        assert (await reader.named("hello")).json["resume"] == "reset"


@pytest.mark.parametrize("last_event_id", ["", None])
async def test_a_client_without_an_id_starts_fresh_and_gets_no_history(
    rig: Rig, last_event_id: str | None
) -> None:
    await rig.publish(3)
    reader = await rig.reader(last_event_id)
    assert (await reader.named("hello")).json["resume"] == "fresh"
    await rig.publish(1)
    assert await reader.numbers(1) == [4]


async def test_a_client_that_is_reset_gets_a_new_snapshot(rig: Rig) -> None:
    async def zones() -> dict[str, object]:
        return {"zones": [rig.published]}

    await rig.publish(3)
    reader = await rig.reader("nonsense", snapshot=zones)
    assert (await reader.named("snapshot")).json == {"zones": [3]}


async def test_an_offset_before_the_start_of_the_history_is_answered_with_reset(
    make_rig: MakeRig,
) -> None:
    rig = await make_rig(MemoryLog(50, 10**9))
    await rig.publish(120)
    for position, resume in [(0, "reset"), (69, "reset"), (70, "recovered"), (119, "recovered")]:
        reader = await rig.reader(await cursor(rig, position))
        assert (await reader.named("hello")).json["resume"] == resume
    assert await missed(rig, 70, 120) == list(range(71, 121))


async def test_a_replay_whose_events_leave_the_history_ends_and_the_client_is_reset(
    make_rig: MakeRig,
) -> None:
    rig = await make_rig(MemoryLog(600, 10**9), queue_max=10_000)
    await rig.publish(600)
    stream = await rig.subscribe(HERE, last_event_id=await cursor(rig, 0))
    first = frames_of(await next_piece(stream), await next_piece(stream))
    assert numbers(first)[0] == 1
    await rig.publish(5000)
    await rig.flushed()
    rest = [piece async for piece in stream]
    stream.close()
    assert rest == []
    assert rig.figure("bas_streams_closed_total", reason="gap") == 1
    again = await rig.reader(first[-1].id)
    assert (await again.named("hello")).json["resume"] == "reset"


async def test_a_filtered_client_resumes_with_events_of_its_devices_only(rig: Rig) -> None:
    for number in range(1500):
        await rig.publish(1, "a" if number % 100 == 0 else "b")
    reader = await rig.reader(await cursor(rig, 1), devices=["a"])
    assert await reader.numbers(14) == list(range(101, 1500, 100))
    await rig.publish(1, "a")
    assert (await reader.numbers(15))[-1] == 1501


async def test_metrics_count_the_kinds_of_resume_and_the_replayed_events(rig: Rig) -> None:
    watcher = await rig.reader()
    await rig.publish(1000)
    await watcher.numbers(1000)
    for last_event_id in (await cursor(rig, 100), await cursor(rig, 990), "nonsense", None):
        reader = await rig.reader(last_event_id)
        await reader.named("hello")
    await rig.publish(5)
    for reader, count in zip(rig.readers, [1005, 905, 15, 5, 5], strict=True):
        await reader.numbers(count)
    kinds = {k: rig.figure("bas_stream_resumes_total", kind=k) for k in ("recovered", "reset")}
    assert kinds == {"recovered": 2, "reset": 1}
    assert rig.figure("bas_stream_resumes_total", kind="fresh") == 2
    assert rig.figure("bas_events_replayed_total") == 900 + 10


async def test_events_that_a_filter_removes_are_not_counted_as_replayed(rig: Rig) -> None:
    await rig.publish(90, "b")
    await rig.publish(10, "a")
    reader = await rig.reader(await cursor(rig, 0), devices=["a"])
    await reader.numbers(10)
    assert rig.figure("bas_events_replayed_total") == 10


async def test_no_event_counts_as_replayed_to_a_fresh_client(rig: Rig) -> None:
    await rig.reader()
    # These are published, but not yet released to the streams when the second client joins.
    await rig.publish(5)
    reader = await rig.reader()
    await reader.numbers(5)
    assert rig.figure("bas_events_replayed_total") == 0
