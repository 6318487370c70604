"""Hours are summed up before they are packed, and days from hours; no figure changes by that."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.common.metrics import Metrics
from server.services.history.columns import Columns
from server.services.history.summaries import EMPTY, add, summarise
from server.services.ports.readings import Figures, Reading, Span
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.history_keeper import HistoryKeeper
from server.services.sqlite.hour_sums import mark
from server.services.sqlite.reading_history import SqliteHistory
from server.services.sqlite.reading_sums import figures_of
from server.services.sqlite.reading_tables import HOUR_SLOTS, SLOT_MS
from server.services.sqlite.span_retention import SpanRetention
from tests.support.clock import HOUR_MS, ManualClock
from tests.support.histories import START_MS, reading, rows_of, write_all
from tests.support.history_stores import DECLARED

MINUTE_MS, DAY_MS = 60_000, 24 * HOUR_MS
# The start of a day, and so of an hour and of a block.
FIRST_MS = (START_MS // DAY_MS + 1) * DAY_MS
DEVICES = ("lab", "hall", "office")
# Seconds between two readings of a device: most are usual, some are silences.
GAPS_S = (10, 30, 60, 600, 1500, 5400)


@dataclass
class Opened:
    """One process's parts on the file, and its clock."""

    client: SqliteClient
    history: SqliteHistory
    keeper: HistoryKeeper
    clock: ManualClock

    async def pack(self, older_ms: int = HOUR_MS) -> None:
        async for _ in self.keeper.pack(older_ms):
            pass

    async def marks(self) -> dict[str, int]:
        """The hour of each mark."""
        names = "sealed", "frozen", "summed", "days"
        return await self.client.readers.run(
            lambda connection: {name: mark(connection, name) // HOUR_SLOTS for name in names}
        )

    async def rows(self, sql: str) -> list[tuple[int, ...]]:
        return await self.client.readers.run(lambda connection: connection.execute(sql).fetchall())

    async def check(self, readings: Sequence[Reading], spans: Sequence[Span]) -> None:
        """Compare the figures of each device and of all with sums over all readings."""
        ordered = sorted(readings, key=lambda one: one.timestamp_ms)
        samples = {
            name: Columns.of(one for one in ordered if one.device_id == name).samples()
            for name in DEVICES
        }
        for span in spans:
            assert span.start_ms is not None
            assert span.end_ms is not None
            total = EMPTY
            for name in DEVICES:
                one = summarise(samples[name], span.start_ms, span.end_ms + 1)
                total = add(total, one)
                found = await self.history.figures("default", name, span)
                assert plain(found) == plain(figures_of(one)), (name, span)
            found = await self.history.figures("default", None, span)
            assert plain(found) == plain(figures_of(total)), span
            points = await self.history.points("default", "lab", FIRST_MS, HOUR_MS, 72)
            hours = [
                summarise(samples["lab"], at_ms, at_ms + HOUR_MS)
                for at_ms in range(FIRST_MS, FIRST_MS + 72 * HOUR_MS, HOUR_MS)
            ]
            assert [(one.count, one.min, one.max) for one in points] == [
                (one.count, one.minimum, one.maximum) for one in hours
            ]


def plain(found: Figures) -> tuple[object, ...]:
    """Figures as they can be compared, without the number of devices."""
    held = found.held
    assert held is not None
    means = [None if one is None else round(one, 9) for one in (found.mean, held.mean)]
    sums = held.covered_ms, held.known_ms, held.cool_ms, held.heat_ms
    starts = held.cool_starts, held.heat_starts
    return found.count, found.good, found.minimum, found.maximum, *means, *sums, *starts


@asynccontextmanager
async def opened(path: Path, now_ms: int = FIRST_MS) -> AsyncIterator[Opened]:
    clock = ManualClock(now_ms)
    async with SqliteClient(path, DECLARED, clock, Metrics()) as client:
        keeper = HistoryKeeper(client, path, clock, 60)
        yield Opened(client, SqliteHistory(client), keeper, clock)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def days_of(device: str, draw: random.Random, days: int) -> list[Reading]:
    """Readings of a device, with silences, faults, and a relay that is switched."""
    readings, at_ms = [], FIRST_MS + draw.randrange(HOUR_MS)
    while at_ms < FIRST_MS + days * DAY_MS:
        gap_ms = 1000 * draw.choice(GAPS_S)
        for _ in range(draw.randrange(1, 20)):
            temp = draw.choice((None, *range(200, 260)))
            on = draw.random() < 0.5
            readings.append(reading(at_ms, temp, device_id=device, cool_active=on))
            at_ms += gap_ms
    return readings


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("older_ms", [HOUR_MS, 3 * HOUR_MS])
async def test_figures_are_those_of_all_readings_while_hours_and_days_are_summed_up(
    path: Path, seed: int, older_ms: int
) -> None:
    """One reading in ten comes up to six hours late, the others in order."""
    draw = random.Random(seed)
    readings = [one for device in DEVICES for one in days_of(device, draw, 2)]
    arrivals = []
    for one in readings:
        late_ms = draw.randrange(6 * HOUR_MS) if draw.random() < 0.1 else 0
        arrivals.append((one.timestamp_ms + late_ms, one))
    arrivals.sort(key=lambda arrival: arrival[0])
    stored: list[Reading] = []
    most = dict.fromkeys(("frozen", "summed", "days"), 0)
    async with opened(path) as store:
        for now_ms in range(FIRST_MS, FIRST_MS + 56 * HOUR_MS, 37 * MINUTE_MS):
            new = [one for at_ms, one in arrivals if now_ms - 37 * MINUTE_MS <= at_ms < now_ms]
            await write_all(store.history, rows_of(new, f"at-{now_ms}"))
            stored += new
            if draw.random() < 0.7:
                await store.pack(older_ms)
            store.clock.advance(37 * MINUTE_MS / 1000)
            if draw.random() < 0.3:
                start_ms = FIRST_MS + draw.randrange(-HOUR_MS, now_ms - FIRST_MS + 1)
                end_ms = start_ms + draw.randrange(1, 40 * HOUR_MS)
                spans = [Span(start_ms, end_ms), Span(FIRST_MS, now_ms), Span(now_ms - 1, now_ms)]
                await store.check(stored, spans)
            marks = await store.marks()
            # Sums reach further than blocks.
            most["frozen"] += marks["frozen"] > marks["sealed"]
            most["summed"] += marks["summed"] > marks["sealed"]
            most["days"] = max(most["days"], marks["days"])
    assert most["frozen"] > 10
    assert most["summed"] > 10
    assert most["days"] >= FIRST_MS // HOUR_MS + 24


async def test_an_hour_is_summed_up_a_quarter_of_an_hour_after_its_end(path: Path) -> None:
    hour = FIRST_MS // HOUR_MS
    async with opened(path, FIRST_MS + HOUR_MS + 14 * MINUTE_MS) as store:
        times = range(FIRST_MS, FIRST_MS + HOUR_MS + 14 * MINUTE_MS, MINUTE_MS)
        await write_all(store.history, rows_of(reading(at_ms) for at_ms in times))
        await store.pack()
        assert (await store.marks())["summed"] < hour
        store.clock.advance(60)
        await store.pack()
        assert (await store.marks())["summed"] == hour + 1
        found = await store.rows("SELECT hour, count FROM reading_hours WHERE count > 0")
        assert found == [(hour, 60)]
        assert await store.keeper.unpacked() == 74


async def test_a_reading_of_an_hour_that_is_summed_up_counts_at_once(path: Path) -> None:
    now_ms = FIRST_MS + HOUR_MS + 20 * MINUTE_MS
    async with opened(path, now_ms) as store:
        times = range(FIRST_MS, now_ms, MINUTE_MS)
        await write_all(store.history, rows_of(reading(at_ms) for at_ms in times))
        await store.pack()
        whole, hour = Span(FIRST_MS, now_ms), Span(FIRST_MS, FIRST_MS + HOUR_MS - 1)
        late = reading(FIRST_MS + 59 * MINUTE_MS + 1, 999)
        await write_all(store.history, rows_of([late], "late"))
        counts = [(await store.history.figures("default", "lab", one)) for one in (whole, hour)]
        assert [(one.count, one.maximum) for one in counts] == [(81, 999), (61, 999)]
        assert await store.rows("SELECT count(*) FROM late_readings") == [(1,)]


async def test_packing_an_hour_leaves_the_sums_of_the_next_one(path: Path) -> None:
    """The next hour is summed up with its own readings when the block before it is made."""
    end_ms = FIRST_MS + 3 * HOUR_MS
    async with opened(path, end_ms + 20 * MINUTE_MS) as store:
        own = [reading(at_ms) for at_ms in range(FIRST_MS, end_ms, MINUTE_MS)]
        await write_all(store.history, rows_of(own))
        await store.pack(older_ms=2 * HOUR_MS)
        marks = await store.marks()
        assert marks["summed"] * HOUR_MS == end_ms
        assert marks["sealed"] * HOUR_MS < FIRST_MS
        store.clock.advance(HOUR_MS / 1000)
        await store.pack(older_ms=2 * HOUR_MS)
        assert (await store.marks())["sealed"] * HOUR_MS == FIRST_MS + 2 * HOUR_MS
        await store.check(own, [Span(FIRST_MS, end_ms - 1)])


async def test_a_clock_that_is_far_ahead_does_not_freeze_the_present(path: Path) -> None:
    async with opened(path, FIRST_MS + 1000 * DAY_MS) as store:
        # They are not sealed, and their hour is over by that clock.
        await write_all(store.history, rows_of([reading(FIRST_MS)]))
        await store.pack(older_ms=2000 * DAY_MS)
        await write_all(store.history, rows_of([reading(FIRST_MS + HOUR_MS)], "next"))
        assert await store.rows("SELECT count(*) FROM late_readings") == [(0,)]
        assert (await store.marks())["summed"] * HOUR_MS == FIRST_MS + HOUR_MS


@pytest.mark.parametrize("steps", range(1, 9))
async def test_summing_up_that_is_ended_at_any_step_goes_on(path: Path, steps: int) -> None:
    draw = random.Random(steps)
    readings = [one for device in DEVICES for one in days_of(device, draw, 2)]
    now_ms = FIRST_MS + 2 * DAY_MS
    spans = [Span(FIRST_MS, now_ms), Span(FIRST_MS + HOUR_MS // 2, now_ms - 7 * MINUTE_MS)]
    async with opened(path, now_ms) as store:
        await write_all(store.history, rows_of(readings))
        # Nothing is sealed, so that all is summed up from rows.
        work = store.keeper.pack(100 * DAY_MS)
        for _ in range(9 * steps):
            await anext(work, None)
        await work.aclose()
        await store.check(readings, spans)
    async with opened(path, now_ms) as store:
        await store.pack(100 * DAY_MS)
        await store.check(readings, spans)
        assert (await store.marks())["days"] * HOUR_MS == FIRST_MS + DAY_MS
        assert await store.rows("SELECT count(*) FROM changed_days") == [(0,)]


async def test_a_file_without_these_sums_gets_them(path: Path) -> None:
    draw = random.Random(1)
    readings = [one for device in DEVICES for one in days_of(device, draw, 2)]
    spans = [Span(FIRST_MS, FIRST_MS + 2 * DAY_MS)]
    now_ms = FIRST_MS + 2 * DAY_MS + 30 * MINUTE_MS
    async with opened(path, now_ms) as store:
        await write_all(store.history, rows_of(readings))
        await store.pack()
    connection = sqlite3.connect(path)
    connection.executescript(
        """DROP TRIGGER "reading_hours.INSERT"; DROP TRIGGER "reading_hours.DELETE";
        DROP TABLE reading_days; DROP TABLE changed_days; PRAGMA user_version = 1;
        DELETE FROM reading_marks WHERE name NOT IN ('closing', 'sealed')"""
    )
    connection.close()
    async with opened(path, now_ms) as store:
        await store.check(readings, spans)
        work = store.keeper.pack(HOUR_MS)
        await anext(work)
        await work.aclose()
        await store.check(readings, spans)
        await store.pack()
        await store.check(readings, spans)
        assert (await store.marks())["days"] * HOUR_MS == FIRST_MS + 2 * DAY_MS
        assert len(await store.rows("SELECT * FROM reading_days")) == 2 * len(DEVICES)
        assert await store.rows("PRAGMA user_version") == [(2,)]


async def test_a_day_is_summed_up_again_when_an_hour_of_it_changes(path: Path) -> None:
    draw = random.Random(2)
    readings = [one for device in DEVICES for one in days_of(device, draw, 2)]
    span = Span(FIRST_MS, FIRST_MS + 2 * DAY_MS)
    async with opened(path, FIRST_MS + 3 * DAY_MS) as store:
        await write_all(store.history, rows_of(readings))
        await store.pack(0)
        late = reading(FIRST_MS + 5 * HOUR_MS + 1, 999, device_id="hall")
        await write_all(store.history, rows_of([late], "late"))
        await store.check([*readings, late], [span])
        work = store.keeper.pack(0)
        await anext(work)  # its block is made again
        await work.aclose()
        day = FIRST_MS // DAY_MS
        of_hall = "series = (SELECT id FROM reading_series WHERE device_id = 'hall')"
        assert await store.rows(f"SELECT day FROM changed_days WHERE {of_hall}") == [(day,)]
        await store.check([*readings, late], [span])
        await store.pack(0)
        assert await store.rows("SELECT day FROM changed_days") == []
        where = f"{of_hall} AND day = {day}"
        assert await store.rows(f"SELECT maximum FROM reading_days WHERE {where}") == [(999,)]
        await store.check([*readings, late], [span])


async def test_the_sums_of_deleted_days_are_deleted_with_them(path: Path) -> None:
    draw = random.Random(3)
    readings = [one for device in DEVICES for one in days_of(device, draw, 3)]
    async with opened(path, FIRST_MS + 4 * DAY_MS) as store:
        await write_all(store.history, rows_of(readings))
        await store.pack(0)
        retention = SpanRetention(store.client)
        until_ms = FIRST_MS + DAY_MS + 6 * HOUR_MS
        while (span := await retention.oldest(until_ms)) is not None:
            while await retention.delete_some(span):
                pass
        left = [one for one in readings if one.timestamp_ms >= until_ms]
        # The last reading that was deleted held into the first hour.
        spans = [Span(until_ms + HOUR_MS, FIRST_MS + 3 * DAY_MS)]
        counts = await store.history.figures("default", None, Span(0, FIRST_MS + 4 * DAY_MS))
        assert counts.count == len(left)
        await store.check(left, spans)
        await store.pack(0)
        counts = await store.history.figures("default", None, Span(0, FIRST_MS + 4 * DAY_MS))
        assert counts.count == len(left)
        await store.check(left, spans)
        first = await store.rows("SELECT min(day) FROM reading_days")
        assert first == [(FIRST_MS // DAY_MS + 1,)]


async def test_two_readings_shortly_before_an_hour_say_what_holds_at_its_start(path: Path) -> None:
    """Rows long before an hour that is not summed up are read for slow devices only."""
    end_ms = FIRST_MS + 2 * HOUR_MS
    often = [reading(at_ms) for at_ms in range(FIRST_MS, end_ms - 3000, 10_000)]
    # It reports every 25 minutes, last 10 minutes before the hour, and that holds half an hour.
    slow = [
        reading(end_ms - minutes * MINUTE_MS, 100, device_id="hall") for minutes in (60, 35, 10)
    ]
    new = [reading(end_ms + 12 * MINUTE_MS, 300, device_id="office")]
    async with opened(path, end_ms + 16 * MINUTE_MS) as store:
        await write_all(store.history, rows_of([*often, *slow, *new]))
        await store.pack()
        assert (await store.marks())["summed"] * HOUR_MS == end_ms
        span = Span(end_ms, end_ms + 40 * MINUTE_MS)
        await store.check([*often, *slow, *new], [span, Span(FIRST_MS, end_ms + HOUR_MS)])
        found = await store.history.figures("default", "hall", span)
        assert found.held is not None
        assert found.held.known_ms == 20 * MINUTE_MS


def test_the_marks_of_hours_lie_on_slots() -> None:
    assert HOUR_SLOTS * SLOT_MS == HOUR_MS
