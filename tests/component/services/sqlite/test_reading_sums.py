"""Statistics come from sums of hours, blocks and new rows, and equal those of all readings."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.services.history.columns import Columns
from server.services.history.summaries import EMPTY, add, summarise
from server.services.ports.readings import Figures, Reading, Span
from server.services.sqlite.factory import sqlite_store
from server.services.sqlite.reading_sums import figures_of
from tests.support.clock import HOUR_MS
from tests.support.histories import START_MS, reading, rows_of, write_all

DEVICES = ("lab", "hall", "office")
# Seconds between two readings of a device: most are usual, some are silences.
GAPS_S = (2, 10, 60, 600, 1500, 5400)


def days_of(device: str, draw: random.Random) -> list[Reading]:
    """Readings of a device in a day, with silences, faults, and a relay that is switched."""
    readings, at_ms = [], START_MS + draw.randrange(HOUR_MS)
    while at_ms < START_MS + 24 * HOUR_MS:
        gap_ms = 1000 * draw.choice(GAPS_S)
        for _ in range(draw.randrange(1, 20)):
            temp = draw.choice((None, *range(200, 260)))
            on = draw.random() < 0.5
            readings.append(reading(at_ms, temp, device_id=device, cool_active=on))
            at_ms += gap_ms
    return readings


def plain(found: Figures) -> Figures:
    """Figures without the number of devices."""
    held = found.held and msgspec.structs.replace(found.held, devices=1)
    return msgspec.structs.replace(found, held=held)


@pytest.mark.parametrize("seed", range(3))
async def test_statistics_of_any_span_are_those_of_all_readings(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    days = {device: days_of(device, draw) for device in DEVICES}
    rows = sorted((one for day in days.values() for one in day), key=lambda one: one.timestamp_ms)
    newer = [one for one in rows if one.timestamp_ms >= START_MS + 17 * HOUR_MS]
    config = ServerConfig(data_dir=tmp_path)
    async with sqlite_store(config, [], SystemClock(), Metrics()) as store:
        await write_all(store.history, rows_of(rows[: len(rows) - len(newer)]))
        async for _ in store.keeper.pack(0):
            pass
        await write_all(store.history, rows_of(newer, "newer"))
        for _ in range(40):
            start_ms = START_MS + draw.randrange(24 * HOUR_MS)
            if draw.random() < 0.3:
                start_ms -= start_ms % HOUR_MS
            end_ms = start_ms + draw.randrange(12 * HOUR_MS)
            total = EMPTY
            for device, day in days.items():
                one = summarise(Columns.of(day).samples(), start_ms, end_ms + 1)
                total = add(total, one)
                found = await store.history.figures("default", device, Span(start_ms, end_ms))
                assert plain(found) == figures_of(one)
            found = await store.history.figures("default", None, Span(start_ms, end_ms))
            assert plain(found) == figures_of(total)
