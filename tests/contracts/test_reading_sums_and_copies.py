"""The contract of ReadingHistory: figures over readings, and copies from history to history."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import pytest

from server.services.firestore.copy import copy_readings, count_readings
from server.services.history.columns import Columns
from server.services.history.summaries import EMPTY, add, summarise
from server.services.ports.readings import NewRow, Reading, Span
from tests.support.clock import HOUR_MS
from tests.support.forms import amount
from tests.support.histories import START_MS, contents, reading, rows_of, scan_all, write_all
from tests.support.history_stores import Mixed, Store, Stores, mixture


@pytest.mark.parametrize("seed", range(amount(3, 50)))
async def test_figures_are_those_of_all_readings_one_by_one(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    rows = mixture(90, seed)
    await store.add(rows)
    # Two readings more, which are sealed into a block that is there.
    more = rows_of([reading(START_MS + 90_001, 7), reading(START_MS + 5 * HOUR_MS, 8)], "more")
    await write_all(store.history, more)
    # Of readings of the same time, the last one holds.
    readings = sorted((row.reading for row in (*rows, *more)), key=lambda one: one.timestamp_ms)
    for turn in range(6):
        if turn == 3:
            await store.settle()
        start, end = sorted(chance.randrange(-HOUR_MS, 9 * HOUR_MS) for _ in range(2))
        span = Span(START_MS + start, START_MS + end)
        for device_id in (None, "lab"):
            some = [one for one in readings if device_id in (None, one.device_id)]
            await compare(store, device_id, span, some)


async def compare(
    store: Store, device_id: str | None, span: Span, readings: Sequence[Reading]
) -> None:
    """The store's figures with those of these readings, which are the device's."""
    assert span.start_ms is not None
    assert span.end_ms is not None
    found = await store.history.figures("default", device_id, span)
    inside = [one for one in readings if span.start_ms <= one.timestamp_ms <= span.end_ms]
    good = [one.temp_tenths for one in inside if one.sensor_ok and one.temp_tenths is not None]
    assert (found.count, found.good) == (len(inside), len(good))
    assert (found.minimum, found.maximum) == (min(good, default=None), max(good, default=None))
    assert found.mean == (pytest.approx(sum(good) / len(good)) if good else None)
    if not store.knows_held:
        return
    total = EMPTY
    for name in {one.device_id for one in readings}:
        samples = Columns.of([one for one in readings if one.device_id == name]).samples()
        total = add(total, summarise(samples, span.start_ms, span.end_ms + 1))
    assert found.held is not None
    held = msgspec.structs.asdict(found.held) | {"mean": 0}
    del held["devices"]
    assert held == {"mean": 0} | {name: getattr(total, name) for name in held if name != "mean"}
    mean = total.weighted / total.covered_ms if total.covered_ms else None
    assert found.held.mean == (None if mean is None else pytest.approx(mean))


def copied_rows() -> list[NewRow]:
    """More than a page of readings, and more equal ones than a commit of a copy has."""
    equal = [reading(START_MS + 1000, 7, device_id="gateway") for _ in range(130)]
    return [*mixture(300), *rows_of(equal, "equal"), *mixture_of_others()]


def mixture_of_others() -> list[NewRow]:
    """Readings of another tenant."""
    others = [
        msgspec.structs.replace(row.reading, tenant_id="elsewhere") for row in mixture(170, 2)
    ]
    return rows_of(others, "other")


async def test_a_copy_has_each_reading_once_and_a_second_one_writes_nothing(
    stores: Stores,
) -> None:
    rows, source, target = copied_rows(), await stores.open(), await stores.open()
    await source.add(rows)
    for written in (len(rows), 0):
        *_, last = [one async for one in copy_readings(source.history, target.history)]
        assert (last.seen, last.written) == (len(rows), written)
        await target.settle()
    assert contents(await scan_all(target.history)) == contents(rows)
    counted = await count_readings(source.history, target.history)
    assert (counted.source, counted.found) == (len(rows), len(rows))


async def test_a_copy_that_was_interrupted_is_completed(stores: Stores) -> None:
    rows, source, target = copied_rows(), await stores.open(), await stores.open()
    await source.add(rows)
    going = copy_readings(source.history, target.history)
    progress = await anext(going)
    await going.aclose()
    await target.settle()
    assert await target.history.count() == progress.written < len(rows)
    counted = await count_readings(source.history, target.history)
    assert (counted.source, counted.found) == (len(rows), progress.written)
    # Equal readings may be documents and rows, which a scan does not read together.
    place = None if isinstance(source, Mixed) else progress.position
    *_, last = [one async for one in copy_readings(source.history, target.history, place)]
    assert (last.seen, last.written) == (len(rows), len(rows) - progress.written)
    assert contents(await scan_all(target.history)) == contents(rows)


@pytest.mark.parametrize("limit", [1, 7, 128, 500])
async def test_a_scan_has_each_reading_once_at_any_page_size(store: Store, limit: int) -> None:
    rows = copied_rows()[:: 5 if limit == 1 else 1]
    await store.add(rows)
    assert contents(await scan_all(store.history, limit)) == contents(rows)
    if limit > 130:
        ids = [row.id for row in await scan_all(store.history, limit)]
        assert len(set(ids)) == len(ids)


async def test_of_equal_rows_those_are_missing_that_are_not_stored(store: Store) -> None:
    rows = rows_of([reading(START_MS, 7)] * 5)
    await store.add(rows[:3])
    other = [msgspec.structs.replace(row, id=f"other-{row.id}") for row in rows]
    assert len(await store.history.missing(rows)) == 2
    assert len(await store.history.missing(other)) == 2
    assert await store.history.missing(other[:3]) == []
