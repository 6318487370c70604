"""Sealing: no step loses or doubles a reading, and what a block keeps is what was written."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.common.metrics import Metrics
from server.services.ports.documents import AlreadyExists
from server.services.ports.readings import NewRow, Packed, Span
from server.services.sqlite import sealing
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.history_keeper import HistoryKeeper
from server.services.sqlite.reading_history import SqliteHistory
from server.services.sqlite.reading_tables import SLOT_MS, SPAN_MS, WEEK_MS
from server.services.sqlite.span_retention import SpanRetention
from tests.support.clock import HOUR_MS, ManualClock
from tests.support.histories import START_MS, contents, reading, rows_of, scan_all, write_all
from tests.support.history_stores import DECLARED, NOW_MS
from tests.support.stream import eventually

# The start of a block, and of an hour.
SPAN = START_MS // SPAN_MS + 1
FIRST_MS = SPAN * SPAN_MS
MINUTE_MS = 60_000


@dataclass
class Opened:
    """One process's parts on the file."""

    client: SqliteClient
    history: SqliteHistory
    keeper: HistoryKeeper

    async def pack(self) -> None:
        async for _ in self.keeper.pack(0):
            pass


@asynccontextmanager
async def opened(path: Path, now_ms: int = NOW_MS) -> AsyncIterator[Opened]:
    clock = ManualClock(now_ms)
    async with SqliteClient(path, DECLARED, clock, Metrics()) as client:
        yield Opened(client, SqliteHistory(client), HistoryKeeper(client, path, clock, 60))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Opened]:
    async with opened(path) as parts:
        yield parts


async def test_a_sealed_reading_is_in_a_block_and_nowhere_else(store: Opened) -> None:
    rows = rows_of(reading(FIRST_MS + number * MINUTE_MS, number) for number in range(300))
    await write_all(store.history, rows)
    assert await store.keeper.unpacked() == 300
    await store.pack()
    assert await store.keeper.unpacked() == 0
    blocks = await store.client.readers.run(
        lambda connection: connection.execute(
            "SELECT span, count, last FROM reading_blocks ORDER BY span"
        ).fetchall()
    )
    ends = [FIRST_MS + number * MINUTE_MS for number in (119, 239, 299)]
    assert blocks == [(SPAN, 120, ends[0]), (SPAN + 1, 120, ends[1]), (SPAN + 2, 60, ends[2])]
    assert contents(await scan_all(store.history)) == contents(rows)


async def test_readings_of_the_present_are_not_sealed(path: Path) -> None:
    now = FIRST_MS + SPAN_MS + 5 * MINUTE_MS
    async with opened(path, now) as store:
        await write_all(store.history, rows_of([reading(FIRST_MS, 1), reading(now, 2)]))
        async for _ in store.keeper.pack(10 * MINUTE_MS):
            pass
        assert await store.keeper.unpacked() == 2
        async for _ in store.keeper.pack(5 * MINUTE_MS):
            pass
        assert await store.keeper.unpacked() == 1
        await store.pack()
        assert await store.keeper.unpacked() == 0
        # What comes now for that time is late.
        await write_all(store.history, rows_of([reading(now, 3)], "late"))
        await store.pack()
        assert await store.keeper.unpacked() == 0
        assert await store.history.count() == 3


async def test_a_late_reading_joins_the_block_of_its_time(store: Opened) -> None:
    rows = rows_of(reading(FIRST_MS + number * HOUR_MS, number) for number in range(8))
    await write_all(store.history, rows[::2])
    await store.pack()
    await write_all(store.history, rows[1::2])
    assert await store.keeper.unpacked() == 4
    await store.pack()
    assert await store.keeper.unpacked() == 0
    found = (await store.history.page("default", "lab", 100)).readings
    assert [one.temp_tenths for one in found] == list(range(7, -1, -1))


async def test_a_late_reading_before_all_blocks_gets_a_block(store: Opened) -> None:
    await write_all(store.history, rows_of([reading(FIRST_MS)]))
    await store.pack()
    await write_all(store.history, rows_of([reading(FIRST_MS - WEEK_MS, 7)], "late"))
    await store.pack()
    assert await store.keeper.unpacked() == 0
    assert await store.history.count() == 2


async def test_a_reading_that_comes_while_a_block_is_made_again_is_kept(store: Opened) -> None:
    late = rows_of([reading(FIRST_MS + 1, 2), reading(FIRST_MS + 2, 3)], "late")
    await write_all(store.history, rows_of([reading(FIRST_MS, 1)]))
    await store.pack()
    await write_all(store.history, late[:1])
    series, span = await store.client.reports.run(sealing.next_late) or (0, 0)
    block = await store.client.reports.run(
        lambda connection: sealing.block_with_late(connection, series, span)
    )
    await write_all(store.history, late[1:])
    write = store.client.writer.run(lambda connection: sealing.write_late(connection, block))
    assert await write is False
    await store.pack()
    found = (await store.history.page("default", "lab", 100)).readings
    assert [one.temp_tenths for one in found] == [3, 2, 1]


async def test_a_block_that_comes_after_another_process_sealed_its_span_changes_nothing(
    store: Opened,
) -> None:
    await write_all(store.history, rows_of([reading(FIRST_MS, 1)]))
    run = store.client.writer.run
    await run(lambda connection: sealing.close_until(connection, NOW_MS // SLOT_MS))
    block = await store.client.reports.run(lambda connection: sealing.block_of(connection, 1, SPAN))
    await store.pack()
    await write_all(store.history, rows_of([reading(FIRST_MS + 1, 2)], "late"))
    await store.pack()
    await run(lambda connection: sealing.write_block(connection, block))
    found = (await store.history.page("default", "lab", 100)).readings
    assert [one.temp_tenths for one in found] == [2, 1]


async def test_a_clock_that_is_far_ahead_does_not_make_all_later_readings_late(path: Path) -> None:
    async with opened(path, NOW_MS + 1000 * WEEK_MS) as store:
        await write_all(store.history, rows_of([reading(FIRST_MS)]))
        await store.pack()
        await write_all(store.history, rows_of([reading(FIRST_MS + SPAN_MS)], "next"))
        late = await store.client.readers.run(
            lambda connection: connection.execute("SELECT count(*) FROM late_readings").fetchone()
        )
        assert late == (0,)


async def _rest_of(steps: AsyncIterator[Packed]) -> list[Packed]:
    return [step async for step in steps]


async def test_two_processes_pack_one_file_one_after_the_other(path: Path) -> None:
    rows = rows_of(reading(FIRST_MS + number * MINUTE_MS, number) for number in range(900))
    async with opened(path) as one, opened(path) as other:
        await write_all(one.history, rows)
        steps = one.keeper.pack(0)
        await anext(steps)
        # What waits shows what the one does.
        shown = other.keeper.pack(0)
        assert await anext(shown) == Packed("packed by another process", 0)
        waiting = asyncio.create_task(_rest_of(shown))
        async for _ in steps:
            assert not waiting.done()
        by_others = [one.readings for one in await waiting if one.what != "packed"]
        assert 0 < sum(by_others) <= 900
        assert await other.keeper.unpacked() == 0
        assert contents(await scan_all(other.history)) == contents(rows)


async def test_a_process_packs_in_the_background_once_no_other_one_does(path: Path) -> None:
    async with opened(path) as one, opened(path) as other:
        await write_all(
            one.history, rows_of(reading(FIRST_MS + number * MINUTE_MS) for number in range(300))
        )
        steps = one.keeper.pack(0)
        await anext(steps)
        other.keeper.start()
        await steps.aclose()

        async def packed() -> bool:
            return await other.keeper.unpacked() == 0

        try:
            if not await packed():
                await other.keeper.stop()  # it looked while the first one packed
                again = HistoryKeeper(other.client, path, ManualClock(NOW_MS), older_min=60)
                again.start()
                await eventually(packed, "all readings are packed")
                await again.stop()
        finally:
            await other.keeper.stop()


async def test_a_silence_counts_the_same_before_and_after_sealing(store: Opened) -> None:
    """A device reports every ten minutes and falls silent ten minutes before a block ends."""
    times = [FIRST_MS + number * 10 * MINUTE_MS for number in range(12)]
    own = [reading(at_ms, 200, cool_active=True) for at_ms in times]
    # Another device reports until later, so that the next block is sealed too.
    others = [reading(at_ms + SPAN_MS, 300, device_id="roof") for at_ms in times]
    await write_all(store.history, rows_of([*own, *others]))
    spans = [Span(FIRST_MS + first, FIRST_MS + 2 * SPAN_MS) for first in (0, SPAN_MS)]
    before = [await store.history.figures("default", "lab", span) for span in spans]
    # The last reading holds for three times ten minutes: 20 minutes of them in the next block.
    held = [(one.held.known_ms, one.held.cool_ms) for one in before if one.held]
    # The first one, of which nobody knows how often the device reports, holds for one minute.
    assert held == [(SPAN_MS + 11 * MINUTE_MS,) * 2, (20 * MINUTE_MS,) * 2]
    await store.pack()
    assert [await store.history.figures("default", "lab", span) for span in spans] == before


async def test_the_sums_of_deleted_readings_are_deleted_with_them(store: Opened) -> None:
    """The last reading holds into a block that the device does not have."""
    times = [FIRST_MS + number * 10 * MINUTE_MS for number in range(12)]
    later = reading(FIRST_MS + 3 * SPAN_MS, device_id="roof")
    await write_all(store.history, rows_of([*(reading(at_ms) for at_ms in times), later]))
    await store.pack()
    retention = SpanRetention(store.client)
    while (span := await retention.oldest(NOW_MS)) is not None:
        while await retention.delete_some(span):
            pass
    left = await store.client.readers.run(
        lambda connection: connection.execute("SELECT series, hour FROM reading_hours").fetchall()
    )
    assert [hour * HOUR_MS for _, hour in left if hour * HOUR_MS < later.timestamp_ms] == []
    assert await store.history.count() == 0


@pytest.mark.parametrize("minute", [0, 55, 61, 110, 119, 121, 179])
async def test_a_late_reading_counts_at_once_and_the_same_after_sealing(
    store: Opened, minute: int
) -> None:
    """It also changes for how long the readings before and after it hold."""
    chance = random.Random(minute)
    minutes = sorted(chance.sample([*range(minute), *range(minute + 1, 360)], 20))
    readings = [
        reading(FIRST_MS + one * MINUTE_MS, one, heat_active=one % 2 > 0) for one in minutes
    ]
    await write_all(store.history, rows_of(readings))
    await store.pack()
    late = reading(FIRST_MS + minute * MINUTE_MS, 999, cool_active=True)
    await write_all(store.history, rows_of([late], "late"))
    whole = Span(FIRST_MS, FIRST_MS + 6 * HOUR_MS - 1)
    hours = [
        Span(at_ms, at_ms + HOUR_MS - 1) for at_ms in range(FIRST_MS, whole.end_ms or 0, HOUR_MS)
    ]
    before = [await store.history.figures("default", "lab", span) for span in (whole, *hours)]
    assert before[0].maximum == 999
    assert before[0].count == 21
    await store.pack()
    after = [await store.history.figures("default", "lab", span) for span in (whole, *hours)]
    assert after == before
    held = [one.held for one in after if one.held]
    assert held[0].known_ms == sum(one.known_ms for one in held[1:])


@pytest.mark.parametrize("remember_ms", [HOUR_MS, 30 * HOUR_MS, WEEK_MS])
async def test_a_key_is_known_after_sealing_until_its_time_is_over(
    store: Opened, remember_ms: int
) -> None:
    kept = reading(FIRST_MS, source_digest="d", received_ms=FIRST_MS + 7)
    row = NewRow("ab" * 16, kept, remember_ms)
    await store.history.write([], [row])
    await store.pack()
    until_ms = FIRST_MS + 7 + remember_ms

    retention = SpanRetention(store.client)
    assert await retention.forget_keys(until_ms - 1) == 0
    assert await store.history.known("default", [row.id]) == {row.id: kept}
    with pytest.raises(AlreadyExists):
        await store.history.write([], [row])
    assert await retention.forget_keys(until_ms + WEEK_MS) == 1
    assert await store.history.known("default", [row.id]) == {}
    await store.history.write([], [row])
    assert await store.history.count() == 2


async def test_a_lock_that_cannot_be_opened_is_one_warning_and_no_traceback(
    store: Opened, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.with_name(f"{path.name}.sealing").mkdir()

    def warned() -> bool:
        return any("could not be packed" in one.getMessage() for one in caplog.records)

    store.keeper.start()
    await eventually(warned, "it is in the log")
    await store.keeper.stop()
    assert not [one for one in caplog.records if one.exc_info]
