"""Dates, ages and ticks of posts and of rows of batches, through the server and a real store."""

from __future__ import annotations

import pytest

from tests.support.clock import HOUR_MS
from tests.support.http import Caller, reading, stored

PATH, BATCH = "/api/sensor_data", "/api/sensor_data/batch"
HOT, COLD = 300, 200
WEST_MS = 5 * HOUR_MS  # how late dates in the local time of UTC-5 are
YEAR_2021_MS = 1_609_459_200_000
TICKS = 2**30


class Zone:
    """The zone `lab`, whose device posts over HTTP."""

    def __init__(self, container, clock) -> None:
        self.container, self.clock = container, clock
        self.caller = Caller(container.app)

    async def post(self, temp: int | None = HOT, ok: bool = True, **more) -> bool:
        """Whether the cooler is on after this reading."""
        answer = await self.caller.post(PATH, reading(temp, ok, device_id="lab", **more))
        assert answer.status == 200
        return answer.json()["cool_active"]

    async def batch(self, *rows) -> bool:
        """Whether the cooler is on after these readings."""
        answer = await self.caller.post(BATCH, [row | {"device_id": "lab"} for row in rows])
        assert answer.json()["errors"] == []
        return answer.json()["commands"][0]["cool_active"]

    async def status(self) -> dict:
        return (await self.caller.get("/api/status?device_id=lab")).json()

    async def kept(self) -> list:
        """All stored readings, oldest date first."""
        return (await stored(self.container))[::-1]

    async def in_local_time(self) -> None:
        """Posts until the server knows that the device's dates are in the local time of UTC-5."""
        for _ in range(3):
            self.clock.advance(2)
            await self.post(COLD, timestamp=self.clock.now_ms() - WEST_MS)


@pytest.fixture
def zone(container, clock):
    return Zone(container, clock)


async def test_a_batch_whose_rows_are_all_an_hour_old_starts_no_cooler(zone, clock):
    then = clock.now_ms() - HOUR_MS
    assert not await zone.batch(*[reading(HOT, timestamp=then + at * 2000) for at in range(5)])


async def test_a_single_post_dated_2021_starts_no_cooler(zone):
    assert not await zone.post(timestamp=YEAR_2021_MS)


async def test_a_batch_with_its_newest_row_first_is_decided_by_that_row(zone, clock):
    now = clock.now_ms()
    rows = [reading(COLD, timestamp=now)]
    rows += [reading(HOT, timestamp=now - at * 2000) for at in range(1, 5)]
    assert not await zone.batch(*rows)
    assert (await zone.status())["temp_tenths"] == COLD


async def test_status_does_not_show_an_hour_old_reading_after_a_current_one(zone, clock):
    await zone.post(COLD, timestamp=clock.now_ms())
    clock.advance(2)
    assert not await zone.post(HOT, timestamp=clock.now_ms() - HOUR_MS)
    status = await zone.status()
    assert (status["temp_tenths"], status["age_ms"]) == (COLD, 2000)
    old, _ = await zone.kept()
    assert (old.timestamp_ms, old.present) == (clock.now_ms() - HOUR_MS, False)


async def test_a_device_whose_clock_has_local_time_is_not_late_for_ever(zone, clock):
    await zone.in_local_time()
    for _ in range(20):
        clock.advance(2)
        assert await zone.post(HOT, timestamp=clock.now_ms() - WEST_MS)
        status = await zone.status()
        assert (status["timestamp"], status["age_ms"]) == (clock.now_ms(), 0)


async def test_a_fault_as_the_newest_row_of_a_batch_cuts_the_cooler(zone, clock):
    assert await zone.post(HOT)
    now = clock.now_ms()
    rows = [reading(HOT, timestamp=now - 2000), reading(-1270, timestamp=now)]
    assert not await zone.batch(*rows)
    status = await zone.status()
    assert (status["state"], status["fault_reason"]) == ("FAULT", "out_of_range")


@pytest.mark.parametrize("timestamp", [YEAR_2021_MS, "an hour ago", None])
async def test_a_single_fault_cuts_whatever_its_date(zone, clock, timestamp):
    assert await zone.post(HOT)
    if timestamp == "an hour ago":
        timestamp = clock.now_ms() - HOUR_MS
    assert not await zone.post(None, ok=False, timestamp=timestamp)
    assert (await zone.status())["state"] == "FAULT"


@pytest.mark.parametrize("late_ms", [0, WEST_MS])
@pytest.mark.parametrize(("older_ms", "cut"), [(60_000, True), (60_001, False)])
async def test_a_fault_of_a_batch_cuts_if_it_is_at_most_a_minute_older_than_the_newest_row(
    zone, clock, older_ms, cut, late_ms
):
    if late_ms:
        await zone.in_local_time()
    clock.advance(600)
    assert await zone.post(HOT, timestamp=clock.now_ms() - late_ms)
    clock.advance(600)
    date = clock.now_ms() - late_ms
    fault = reading(None, False, timestamp=date - older_ms)
    assert await zone.batch(fault, reading(HOT, timestamp=date)) is not cut


async def test_late_readings_do_not_change_a_fault(zone, clock):
    await zone.post(HOT, timestamp=clock.now_ms())
    clock.advance(2)
    await zone.post(-1270, timestamp=clock.now_ms())
    clock.advance(2)
    for age_ms in (HOUR_MS, 4000):
        await zone.post(COLD, timestamp=clock.now_ms() - age_ms)
        status = await zone.status()
        assert (status["state"], status["fault_reason"]) == ("FAULT", "out_of_range")
        assert status["trust"]["state"] == "fault"


async def test_the_reason_of_a_late_batch_s_fault_is_that_of_the_row_that_cut(zone, clock):
    await zone.post(HOT, timestamp=clock.now_ms())
    clock.advance(600)
    then = clock.now_ms() - 300_000
    await zone.batch(reading(-1270, timestamp=then), reading(COLD, timestamp=then + 2000))
    assert (await zone.status())["fault_reason"] == "out_of_range"


@pytest.mark.parametrize(
    ("age_ms", "starts"),
    [(0, True), (59_999, True), (60_000, True), (60_001, False), (2**53 - 1, False)],
)
@pytest.mark.parametrize("batch", [True, False])
async def test_the_age_of_a_reading_determines_its_date(zone, clock, age_ms, starts, batch):
    row = reading(HOT, age_ms=age_ms)
    assert await (zone.batch(row) if batch else zone.post(HOT, age_ms=age_ms)) is starts
    (kept,) = await zone.kept()
    assert kept.timestamp_ms == max(clock.now_ms() - age_ms, 1_577_836_800_000)
    assert (kept.present, kept.clock) == (starts, "")


@pytest.mark.parametrize("age_ms", [-1, "5", True, [5], {"ms": 5}, 1e300, 2**53])
async def test_an_invalid_age_is_treated_as_missing(zone, clock, age_ms):
    assert await zone.post(HOT, age_ms=age_ms)
    (kept,) = await zone.kept()
    assert kept.timestamp_ms == clock.now_ms()


async def test_rows_with_ages_are_sorted_by_them(zone):
    rows = [reading(COLD, age_ms=1000), reading(HOT, age_ms=61_000), reading(HOT, age_ms=5000)]
    assert not await zone.batch(*rows)
    assert [(one.temp_tenths, one.present) for one in await zone.kept()] == [
        (HOT, False),
        (HOT, True),
        (COLD, True),
    ]


async def test_rows_whose_ticks_wrap_are_sorted_by_them(zone):
    rows = [reading(COLD, timestamp=1000)]
    rows += [reading(HOT, timestamp=TICKS - at) for at in (1000, 3000, 5000)]
    assert not await zone.batch(*rows)
    assert (await zone.status())["temp_tenths"] == COLD


async def test_rows_with_and_without_dates_keep_the_order_of_the_batch(zone, clock):
    now = clock.now_ms()
    rows = [reading(HOT, timestamp=now), reading(HOT, timestamp=5000), reading(COLD)]
    assert not await zone.batch(*rows)
    clock.advance(10)
    assert await zone.batch(reading(COLD, timestamp=now + 9000), reading(HOT, timestamp=7000))


async def test_dates_beside_rows_without_dates_are_corrected_by_the_known_offset(zone, clock):
    await zone.in_local_time()
    clock.advance(10)
    now = clock.now_ms()
    await zone.batch(reading(COLD, timestamp=now - 4000 - WEST_MS), reading(COLD))
    *_, dated, undated = await zone.kept()
    assert (dated.timestamp_ms, dated.device_time_ms) == (now - 4000, now - 4000 - WEST_MS)
    assert (undated.timestamp_ms, undated.device_time_ms) == (now, None)


async def test_a_date_beside_an_age_is_stored_as_the_time_of_the_device_s_clock(zone, clock):
    await zone.post(COLD, timestamp=YEAR_2021_MS, age_ms=1000)
    (kept,) = await zone.kept()
    assert kept.timestamp_ms == clock.now_ms() - 1000
    assert (kept.device_time_ms, kept.device_ticks_ms) == (YEAR_2021_MS, None)


@pytest.mark.parametrize("rows", [499, 500, 1000])
@pytest.mark.parametrize("late_ms", [HOUR_MS + 7 * 60_000, WEST_MS])
async def test_all_rows_of_a_batch_of_several_writes_get_the_same_correction_and_the_last_decides(
    zone, clock, monkeypatch, rows, late_ms
):
    """The server's clock advances between the writes."""
    write = zone.container.base.client.write

    async def slowly(*args, **more):
        if len(args) > 1 or len(args[0]) > 1:  # not a write of the server's upkeep
            clock.advance(0.1)
        return await write(*args, **more)

    monkeypatch.setattr(zone.container.base.client, "write", slowly)
    for posts in (1, 2, 3):
        clock.advance(600)
        came_ms = clock.now_ms()
        temps = [HOT] * (rows - 1) + [COLD]
        dates = [came_ms - late_ms - at * 1000 for at in reversed(range(rows))]
        sent = [reading(temp, timestamp=at) for temp, at in zip(temps, dates, strict=True)]
        assert not await zone.batch(*sent)
        kept = [one for one in await zone.kept() if one.received_ms >= came_ms]
        assert len(kept) == len(dates)
        pairs = zip((one.timestamp_ms for one in kept), dates, strict=True)
        assert [found - at for found, at in pairs if found != at + late_ms][:3] == []
        wrong = [one for one, at in zip(kept, dates, strict=True) if one.device_time_ms != at]
        assert wrong[:3] == []
        believed = posts == 3 and late_ms == WEST_MS
        assert {one.clock for one in kept} == {"" if believed else "unknown"}
        assert {one.present for one in kept[-60:]} == {believed}


async def test_a_batch_of_several_writes_has_a_period_like_any_other(zone, clock):
    for _ in range(4):
        clock.advance(600)
        now = clock.now_ms()
        await zone.batch(*[reading(COLD, timestamp=now - at * 1000) for at in range(600)])
    zones = zone.container.base.stores.zones
    assert (await zones.get("default", "lab")).zone.period_ms == 600_000
