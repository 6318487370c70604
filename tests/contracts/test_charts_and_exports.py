"""Charts, exports and the use of relays: the same from rows, blocks, sums of hours, documents."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from bas_server import INDEXES
from server.common.errors import Invalid
from server.common.metrics import Metrics
from server.services.firestore import document_history, init_client
from server.services.firestore.document_history import DocumentHistory
from server.services.history import setpoint_search
from server.services.history.columns import Columns, Samples
from server.services.history.series import point_of
from server.services.history.summaries import summarise
from server.services.ports.documents import BATCH_MAX
from server.services.ports.indexes import load_indexes
from server.services.ports.readings import (
    ALWAYS,
    ChangedSetpoint,
    NewRow,
    Point,
    Reading,
    ReadingColumns,
    ReadingHistory,
    RelayUse,
    Span,
)
from server.services.sqlite import reading_history
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.history_keeper import HistoryKeeper
from server.services.sqlite.reading_history import SqliteHistory
from tests.support.clock import ManualClock
from tools.firestore_emulator import FirestoreEmulator, fresh_project

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
START = 1_764_460_800_000
TENANT, LAB = "default", "lab"


def reading(time_ms: int, temp: int | None = 200, **more: object) -> Reading:
    fields = {
        "tenant_id": TENANT,
        "device_id": LAB,
        "timestamp_ms": time_ms,
        "temp_tenths": temp,
        "setpoint_tenths": 230,
        "deadband_tenths": 10,
        "cool_active": False,
        "heat_active": True,
        "state": "IDLE_WITH_LEDS",
        "sensor_ok": temp is not None,
        "received_ms": time_ms,
    }
    return msgspec.convert(fields | more, Reading)


def some_readings(seed: int = 1) -> list[Reading]:
    """About 13 hours of a device: often, seldom, with faults and silences."""
    chance = random.Random(seed)
    found, time_ms, cool, temp = [], START + 5 * MINUTE, False, 225
    while time_ms < START + 13 * HOUR:
        gap = chance.choice([20 * SECOND] * 6 + [10 * MINUTE])
        for _ in range(chance.randint(1, 60)):
            temp += chance.choice([-1, 0, 0, 1])
            cool ^= chance.random() < 0.05
            ok = chance.random() > 0.03
            found.append(reading(time_ms, temp if ok else None, cool_active=cool))
            time_ms += gap + chance.randint(-500, 500)
        time_ms += chance.choice([0, 0, 0, 70 * SECOND, 40 * MINUTE, 3 * HOUR])
    return found


class Store:
    """A history that the test fills; `pack` packs what can be packed."""

    def __init__(self, history: ReadingHistory, keeper: HistoryKeeper | None = None) -> None:
        self.history = history
        self._keeper = keeper

    async def write(self, readings: list[Reading]) -> None:
        rows = [NewRow(f"{one.timestamp_ms}-{n}", one) for n, one in enumerate(readings)]
        for first in range(0, len(rows), BATCH_MAX):
            await self.history.write([], rows[first : first + BATCH_MAX])

    async def pack(self) -> None:
        if self._keeper is not None:
            async for _ in self._keeper.pack(0):
                pass


@pytest.fixture(params=["sqlite", "firestore"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    clock, indexes = ManualClock(START + 500 * DAY), load_indexes(INDEXES)
    async with AsyncExitStack() as resources:
        if request.param == "sqlite":
            path = tmp_path / "bas.db"
            client = SqliteClient(path, indexes, clock, Metrics())
            await resources.enter_async_context(client)
            keeper = HistoryKeeper(client, path, clock, 60)
            yield Store(SqliteHistory(client), keeper)
        else:
            emulator: FirestoreEmulator = request.getfixturevalue("firestore")
            documents = init_client(emulator.host, indexes, clock, Metrics(), fresh_project())
            resources.push_async_callback(documents.close)
            yield Store(DocumentHistory(documents, 90))


def samples_of(readings: list[Reading]) -> Samples:
    return Columns.of(sorted(readings, key=lambda one: one.timestamp_ms)).samples()


def expected(readings: list[Reading], start_ms: int, step_ms: int, count: int) -> list[Point]:
    """The points as all readings give them."""
    samples = samples_of(readings)
    starts = range(start_ms, start_ms + count * step_ms, step_ms)
    return [point_of(t, step_ms, summarise(samples, t, t + step_ms)) for t in starts]


async def exported(
    history: ReadingHistory, span: Span = ALWAYS, device_id: str = LAB
) -> list[tuple[int, int | None, str]]:
    """The time, temperature and state of each exported reading."""
    rows: list[tuple[int, int | None, str]] = []

    def encode(columns: ReadingColumns) -> bytes:
        rows.extend(zip(columns.times, columns.temps, columns.states(), strict=True))
        return b"x" * len(columns.times)

    while True:
        before = len(rows)
        found = await history.export(TENANT, device_id, span, encode)
        assert len(found.body) == len(rows) - before
        if found.next_ms is None:
            return rows
        span = Span(found.next_ms, span.end_ms)


# Where a chart starts, its steps and their number.
CHARTS = (
    (START + 17, 977 * SECOND, 50),
    (START, HOUR, 14),
    (START - 7 * HOUR, 3 * HOUR, 10),
    (START + 8 * HOUR, HOUR, 30 * 24),
)


async def check(history: ReadingHistory, readings: list[Reading]) -> None:
    """Charts and exports are those of all these readings."""
    for asked in CHARTS:
        assert await history.points(TENANT, LAB, *asked) == expected(readings, *asked)
    times = [(one.timestamp_ms, one.temp_tenths, one.state) for one in readings]
    assert await exported(history) == times
    span = Span(times[40][0], times[-40][0])
    assert await exported(history, span) == times[40:-39]


@pytest.mark.parametrize("packed", ["all", "first half", "but late ones"])
async def test_charts_and_exports_are_those_of_all_readings(store: Store, packed: str) -> None:
    readings = some_readings()
    half = len(readings) // 2
    later = {"all": [], "first half": readings[half:], "but late ones": readings[half::7]}[packed]
    await store.write([one for one in readings if one not in later])
    if not later:
        await check(store.history, readings)
    await store.pack()
    await store.write(later)
    await check(store.history, readings)
    if later:
        await store.pack()
        await check(store.history, readings)


async def test_the_last_reading_before_a_silence_holds_into_the_next_bucket(store: Store) -> None:
    gap = 10 * MINUTE
    readings = [reading(START + 2 * HOUR - 5000 - n * gap) for n in range(5, -1, -1)]
    await store.write([*readings, reading(START + 12 * HOUR)])
    for _ in range(2):
        points = await store.history.points(TENANT, LAB, START, HOUR, 5)
        assert points == expected(readings, START, HOUR, 5)
        assert points[2].heat == round((3 * gap - 5000) / HOUR, 4)
        await store.pack()


async def test_a_chart_and_an_export_have_only_the_readings_of_their_device(store: Store) -> None:
    await store.write(
        [
            reading(START, 1),
            reading(START + 1, 2, device_id="other"),
            reading(START + 2, 3, tenant_id="elsewhere"),
        ]
    )
    for _ in range(2):
        (point,) = await store.history.points(TENANT, LAB, START, HOUR, 1)
        assert (point.count, point.min, point.max) == (1, 1, 1)
        assert await exported(store.history) == [(START, 1, "IDLE_WITH_LEDS")]
        await store.pack()


async def test_of_an_unknown_device_all_points_are_gaps_and_no_reading_is_exported(
    store: Store,
) -> None:
    await store.write([reading(START)])
    for step_ms in (MINUTE, HOUR):
        for point in await store.history.points(TENANT, "nowhere", START, step_ms, 3):
            gap = Point(point.t, 0, None, None, None, None, None, 0, 0)
            assert point == gap
    assert await exported(store.history, device_id="nowhere") == []


async def test_an_export_has_readings_that_lie_years_apart(store: Store) -> None:
    times = [0, START, START + 400 * DAY, START + 400 * DAY + 1]
    await store.write([reading(time_ms) for time_ms in times])
    assert [row[0] for row in await exported(store.history)] == times
    assert [row[0] for row in await exported(store.history, Span(1, START + DAY))] == [START]
    assert await exported(store.history, Span(START + 1, START + DAY)) == []


@pytest.mark.parametrize("packed", [False, True])
async def test_the_use_of_relays_is_that_of_all_readings_until_now(
    store: Store, packed: bool
) -> None:
    readings = some_readings()
    other = [reading(START + n * SECOND, device_id="other", heat_active=False) for n in range(3)]
    await store.write(readings + other)
    if packed:
        await store.pack()
        late = reading(START + 7 * HOUR + 1, cool_active=True)
        readings.append(late)
        await store.write([late])
    if isinstance(store.history, DocumentHistory):
        assert await store.history.relay_use(TENANT, START + DAY) is None
        return
    for until in (START + DAY, START + 11 * HOUR + 7, START + 9 * HOUR, START):
        found = await store.history.relay_use(TENANT, until)
        every = summarise(samples_of(readings), 0, until)
        use = RelayUse(every.cool_ms, every.heat_ms, every.cool_starts, every.heat_starts)
        assert found == {LAB: use, "other": RelayUse()}


async def test_firestore_refuses_a_chart_that_would_read_too_many_documents(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_history, "POINTS_FROM_MAX", 2)
    await store.write([reading(START + n) for n in range(3)])
    if isinstance(store.history, SqliteHistory):
        assert (await store.history.points(TENANT, LAB, START, MINUTE, 1))[0].count == 3
        return
    with pytest.raises(Invalid) as refused:
        await store.history.points(TENANT, LAB, START, MINUTE, 1)
    assert refused.value.code == "TOO_MANY_READINGS"
    assert "shorter span" in (refused.value.message or "")
    assert (await store.history.points(TENANT, LAB, START + 5 * HOUR, MINUTE, 1))[0].count == 0


async def test_uptime_counts_devices_that_fell_silent_within_thirty_days(store: Store) -> None:
    await store.write(
        [
            reading(START, device_id="gone"),
            reading(START + 20 * DAY, device_id="silent"),
            reading(START + 31 * DAY + HOUR, device_id="here"),
        ]
    )
    span = Span(START + 31 * DAY, START + 31 * DAY + 2 * HOUR)
    for _ in range(2):
        figures = await store.history.figures(TENANT, None, span)
        if isinstance(store.history, DocumentHistory):
            assert figures.held is None
            return
        assert figures.held is not None
        assert (figures.held.devices, figures.held.covered_ms) == (2, MINUTE)
        (alone,) = [await store.history.figures(TENANT, "gone", span)]
        assert alone.held is not None
        assert (alone.held.devices, alone.held.covered_ms) == (1, 0)
        await store.pack()


async def test_figures_by_time_end_now_and_the_others_with_the_span(store: Store) -> None:
    await store.write([reading(START, 100), reading(START + MINUTE, 300, cool_active=True)])
    span = Span(START, START + HOUR)
    figures = await store.history.figures(TENANT, LAB, span, START + 30 * SECOND)
    assert (figures.count, figures.maximum) == (2, 300)
    if figures.held is not None:
        assert (figures.held.mean, figures.held.covered_ms) == (100, 30 * SECOND)
        assert figures.held.cool_starts == 0


async def test_figures_are_the_same_however_many_devices_are_read_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = some_readings()[:200]
    names = ["a", "b", "c", "d", "e"]
    await store.write(
        [
            msgspec.structs.replace(one, device_id=names[n % 5], cool_active=n % 3 == 0)
            for n, one in enumerate(readings)
        ]
    )
    span, now = Span(START, START + DAY), readings[150].timestamp_ms
    asked = (TENANT, None, span, now)
    figures = await store.history.figures(*asked)
    use = await store.history.relay_use(TENANT, now)
    assert figures.count == 200
    for at_once in (1, 2, 5):
        monkeypatch.setattr(reading_history, "DEVICES_AT_ONCE", at_once)
        found = await store.history.figures(*asked)
        assert found.held == figures.held
        assert found == figures
        assert await store.history.relay_use(TENANT, now) == use


def changes_in(readings: list[Reading], start_ms: int, end_ms: int) -> list[ChangedSetpoint]:
    """The setpoint at the start and each change until the end, as all readings give them."""
    found: list[ChangedSetpoint] = []
    for one in sorted(readings, key=lambda one: one.timestamp_ms):
        t = max(start_ms, one.timestamp_ms)
        change = ChangedSetpoint(t, one.setpoint_tenths, one.deadband_tenths)
        if t > end_ms or (found and msgspec.structs.replace(found[-1], t=t) == change):
            continue
        found = [*(before for before in found if before.t < t), change]
    return found


@pytest.mark.parametrize("packed", ["all", "first half", "but late ones"])
async def test_setpoints_of_the_past_are_those_of_all_readings(
    store: Store, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setpoint_search, "FIRST_LOOKS", 60)
    chance = random.Random(3)
    bounds = [START + 5 * MINUTE]
    while bounds[-1] < START + 13 * HOUR:
        bounds.append(bounds[-1] + chance.randint(20, 150) * MINUTE)
    readings = []
    for one in some_readings():
        n = bisect_right(bounds, one.timestamp_ms)
        values = {"setpoint_tenths": 200 + n // 2, "deadband_tenths": 10 + (n + 1) // 2}
        readings.append(msgspec.structs.replace(one, **values))
    # Those that come late say what the others of their hour do not.
    late = readings[400:460] if packed == "but late ones" else []
    half = readings[len(readings) // 2 :] if packed == "first half" else []
    await store.write([one for one in readings if one not in late and one not in half])
    await store.pack()
    await store.write(late + half)

    for start_ms, end_ms in (
        (START - 2 * HOUR, START + 14 * HOUR),
        (START + HOUR + 17, START + 11 * HOUR + 5),
        (START + 5 * HOUR, START + 5 * HOUR + 40 * MINUTE),
        (START + 100 * DAY, START + 101 * DAY),
        (START - DAY, START - HOUR),
    ):
        found = await store.history.setpoints(TENANT, LAB, start_ms, end_ms)
        assert found == changes_in(readings, start_ms, end_ms)
    assert await store.history.setpoints(TENANT, "nowhere", START, START + DAY) == []


async def test_a_setpoint_that_changes_with_each_reading_has_a_bounded_number_of_changes(
    store: Store,
) -> None:
    if isinstance(store.history, DocumentHistory):
        return  # the search has a bound of its own
    await store.write(
        [reading(START + n * 9 * SECOND, setpoint_tenths=200 + n % 50) for n in range(5000)]
    )
    await store.pack()
    found = await store.history.setpoints(TENANT, LAB, START, START + 12 * HOUR)
    assert 240 <= len(found) <= 2000
    assert [one.t for one in found] == sorted({one.t for one in found})
    assert found[-1].t > START + 4000 * 9 * SECOND


async def test_of_two_setpoints_at_one_time_that_of_the_newest_reading_is_in_force(
    store: Store,
) -> None:
    at = START + HOUR
    await store.write([reading(START, setpoint_tenths=200)])
    await store.write([reading(at, setpoint_tenths=210), reading(at, setpoint_tenths=220)])
    await store.write([reading(at + MINUTE, setpoint_tenths=200)])
    for _ in range(2):
        (newest,) = (await store.history.page(TENANT, LAB, 1, Span(None, at))).readings
        in_force = ChangedSetpoint(at, newest.setpoint_tenths, 10)
        after = ChangedSetpoint(at + MINUTE, 200, 10)
        for start_ms, before in ((at, []), (START, [ChangedSetpoint(START, 200, 10)])):
            found = await store.history.setpoints(TENANT, LAB, start_ms, at + HOUR)
            assert found == [*before, in_force, after]
        await store.pack()
