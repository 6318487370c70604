"""The copy of documents that the target cannot store unchanged, and of readings of a slow store."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.common.metrics import Metrics
from server.services.firestore import copy as copying
from server.services.firestore.copy import _storable, copy
from server.services.ports.documents import Document, Page, Query
from server.services.ports.readings import ScanPage
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.reading_history import SqliteHistory
from tests.support.clock import ManualClock
from tests.support.histories import START_MS, contents, reading, rows_of, scan_all, write_all

integers = st.integers(-(2**63), 2**63 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
storable = st.recursive(
    st.none() | st.booleans() | integers | finite | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=9,
)


class Source:
    """A store with one page of readings with any values."""

    def __init__(self, *readings: dict[str, Any]) -> None:
        self._documents = [
            Document(f"reading-{number}", "1", fields) for number, fields in enumerate(readings)
        ]

    async def query(self, query: Query, limit: int, cursor: str | None = None) -> Page:
        return Page(self._documents, None)


@pytest.fixture
async def target(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteClient]:
    async with SqliteClient(tmp_path / "bas.db", [], clock, Metrics()) as client:
        yield client


async def test_nan_and_infinity_are_copied_as_null(
    target: SqliteClient,
) -> None:
    source = Source(
        {"temp_tenths": math.nan, "sensor_ok": True},
        {"temp_tenths": -math.inf, "sensor_ok": None, "more": [{"deep": math.inf}]},
        {"temp_tenths": 215.0, "sensor_ok": 1},
    )
    for written in (3, 0):
        (progress,) = [one async for one in copy(source, target, "telemetry")]  # type: ignore[arg-type]
        assert (progress.seen, progress.written) == (3, written)
    found = (await target.query(Query("telemetry"), 10)).documents
    assert [repr(sorted(one.fields.items())) for one in found] == [
        "[('sensor_ok', True), ('temp_tenths', None)]",
        "[('more', [{'deep': None}]), ('sensor_ok', None), ('temp_tenths', None)]",
        "[('sensor_ok', 1), ('temp_tenths', 215.0)]",
    ]


def distinct(value: Any) -> Any:
    """A form that is equal only for equal values, in any order; 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return {name: distinct(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [distinct(inner) for inner in value]
    return repr(value)


@given(st.dictionaries(st.text(), storable))
def test_every_other_value_is_copied_unchanged(fields: dict[str, Any]) -> None:
    assert distinct(_storable(fields)) == distinct(fields)


async def test_a_slow_source_is_read_in_larger_pages_and_no_reading_is_lost_or_doubled(
    tmp_path: Path, clock: ManualClock, target: SqliteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "SLOW_PAGE_S", -1.0)
    asked: list[int] = []

    class Slow(SqliteHistory):
        async def scan(self, limit: int, cursor: str | None = None) -> ScanPage:
            asked.append(limit)
            return await super().scan(limit, cursor)

    # Equal readings stand on both sides of the ends of pages.
    rows = rows_of(reading(START_MS + number // 3 * 1000) for number in range(4000))
    async with SqliteClient(tmp_path / "source.db", [], clock, Metrics()) as client:
        source, history = Slow(client), SqliteHistory(target)
        await write_all(source, rows)
        progress = [one async for one in copying.copy_readings(source, history)]
        assert contents(await scan_all(history)) == contents(rows)
    assert asked == [500, 1000, 2000, 4000]
    seen = [0, *(one.seen for one in progress)]
    assert seen[-1] == len(rows)
    assert max(after - before for before, after in pairwise(seen)) <= 500
    # A copy that is killed goes on at the end of what was read at once.
    assert [number for number, one in enumerate(progress) if one.position is not None] == [0, 2, 6]
