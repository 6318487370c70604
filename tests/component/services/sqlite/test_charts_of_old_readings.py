"""Charts and exports have the readings that an earlier version stored as documents."""

from __future__ import annotations

import pytest

from bas_server import INDEXES
from server.common.metrics import Metrics
from server.services.ports.documents import Create
from server.services.ports.indexes import load_indexes
from server.services.ports.readings import ALWAYS, NewRow, Reading, Span
from server.services.sqlite import reading_history
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.history_keeper import HistoryKeeper
from server.services.sqlite.reading_history import SqliteHistory
from tests.support.clock import ManualClock

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_764_460_800_000


def fields(time_ms, temp):
    return {
        "tenant_id": "default",
        "device_id": "lab",
        "timestamp_ms": time_ms,
        "temp_tenths": temp,
        "setpoint_tenths": 230,
        "deadband_tenths": 10,
        "cool_active": False,
        "heat_active": True,
        "state": "IDLE_WITH_LEDS",
        "sensor_ok": True,
        "received_ms": time_ms,
    }


@pytest.fixture
async def store(tmp_path):
    """A history with three documents and a row, and its keeper."""
    clock, path = ManualClock(START + DAY), tmp_path / "bas.db"
    async with SqliteClient(path, load_indexes(INDEXES), clock, Metrics()) as client:
        old = (START, 100), (START + MINUTE, 300), (START + 5 * HOUR, 200)
        await client.write(
            [Create("telemetry", f"{time_ms}", fields(time_ms, temp)) for time_ms, temp in old]
        )
        history = SqliteHistory(client)
        await history.write([], [NewRow("new", Reading(**fields(START + 6 * HOUR, 250)))])
        yield history, HistoryKeeper(client, path, clock, 60)


async def pack(keeper):
    async for _ in keeper.pack(0):
        pass


async def points(history, start, step, count):
    found = await history.points("default", "lab", start, step, count)
    return [(one.count, one.min, one.mean, one.max) for one in found]


async def test_a_chart_in_minutes_has_old_readings(store):
    history, keeper = store
    expected = [(1, 100, 100.0, 100), (1, 300, 300.0, 300), (0, None, None, None)]
    assert await points(history, START, MINUTE, 3) == expected
    await pack(keeper)
    assert await points(history, START, MINUTE, 3) == expected


async def test_a_chart_in_hours_has_old_readings(store):
    history, keeper = store
    before = await points(history, START, 3 * HOUR, 3)
    # How long an old reading holds is not known until it is converted.
    assert before == [(2, 100, 200.0, 300), (1, 200, 200.0, 200), (1, 250, 250.0, 250)]
    await pack(keeper)
    after = await points(history, START, 3 * HOUR, 3)
    assert after == [(2, 100, 250.0, 300), *before[1:]]


async def test_an_export_has_old_readings(store):
    history, keeper = store

    async def exported(span):
        times = []
        while True:
            found = await history.export(
                "default", "lab", span, lambda columns: times.extend(columns.times) or b""
            )
            if found.next_ms is None:
                return times
            span = Span(found.next_ms, span.end_ms)

    for _ in range(2):
        every = [START, START + MINUTE, START + 5 * HOUR, START + 6 * HOUR]
        assert await exported(ALWAYS) == every
        assert await exported(Span(START + 1, START + 5 * HOUR)) == every[1:3]
        await pack(keeper)


async def test_figures_of_many_devices_have_old_readings_once(store, monkeypatch):
    history, _ = store
    await history.write(
        [],
        [
            NewRow(name, Reading(**(fields(START + HOUR, 150) | {"device_id": name})))
            for name in ("a", "b", "c")
        ],
    )
    for at_once in (50, 1):
        monkeypatch.setattr(reading_history, "DEVICES_AT_ONCE", at_once)
        figures = await history.figures("default", None, Span(START, START + DAY))
        assert (figures.count, figures.good, figures.minimum, figures.maximum) == (7, 7, 100, 300)
