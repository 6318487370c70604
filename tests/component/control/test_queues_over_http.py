"""Queues of devices, through the whole server and a real store; see `test_queues.py`."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, stored
from tests.support.senders import COLD, HOT, Device, HttpServer, Watched

MIN_S, HOUR_S, DAY_S = 60, 3600, 86_400
WEST_S = -5 * HOUR_S  # a device that sends dates in the local time of UTC-5


class Site:
    """A zone and its device over HTTP; it measures HOT during an outage, and COLD after it."""

    def __init__(self, container, clock) -> None:
        self.container, self.clock = container, clock
        self.server = HttpServer(Caller(container.app), clock)
        self.watched = Watched(self.server, 60.2)

    def device(self, ahead_s=0, every_s=2) -> Device:
        return Device(self.server, every_s, ahead_s)

    def outage(self, device: Device, seconds: float) -> None:
        device.measures(HOT)
        self.clock.advance(seconds)
        device.measures(COLD)

    async def is_over(self, device: Device) -> None:
        """The next reading is the present with its first post, and can start the cooler."""
        device.forget()
        device.measures(HOT)
        self.clock.advance(10)
        assert await self.watched.live(device, 1) == 1
        assert self.watched.last.cool
        assert self.watched.last.trust == ("ok", None)

    async def late(self) -> list:
        """The stored readings that were not the present, in the order of their measurement."""
        late = [one for one in await stored(self.container) if not one.present]
        return sorted(late, key=lambda one: one.timestamp_ms)


@pytest.fixture
def site(container, clock):
    return Site(container, clock)


@pytest.mark.parametrize("ahead_s", [0, WEST_S])
@pytest.mark.parametrize(
    ("speed", "rows", "most"), [(1, 1, 8), (1.05, 1, 8), (1.5, 1, 8), (10, 1, 8), (10, 100, 4)]
)
@pytest.mark.parametrize("outage_s", [2 * MIN_S, 5 * MIN_S, HOUR_S, 40 * DAY_S])
async def test_a_queue_is_stored_under_its_dates_and_starts_no_cooler(
    site, outage_s, speed, rows, most, ahead_s
):
    device = site.device(ahead_s)
    await site.watched.live(device, 5)
    seen = [one.timestamp_ms for one in await site.late()]
    site.outage(device, outage_s)
    began_ms = device.next_ms
    await site.watched.drain(device, speed, rows, most)
    late = (await site.late())[len(seen) :]
    assert late
    for index, one in enumerate(late):
        true_ms = began_ms + index * 2000
        assert abs(one.timestamp_ms - true_ms) <= 2000
        assert one.device_time_ms == (true_ms + ahead_s * 1000 if ahead_s else None)
        assert (one.clock, one.cool_active) == ("", False)
    await site.is_over(device)


@pytest.mark.parametrize("rows", [1, 100])
async def test_a_queue_ends_with_the_first_current_reading(site, rows):
    device = site.device()
    await site.watched.live(device, 5)
    site.outage(device, 5 * MIN_S)
    await site.watched.drain(device, 10, rows, most=200 // rows)
    assert site.watched.last.temp_tenths == COLD
    assert site.watched.last.trust == ("ok", None)
    await site.is_over(device)


async def test_a_queue_that_never_gets_shorter_makes_its_zone_suspect(site):
    device = site.device()
    await site.watched.live(device, 5)
    site.outage(device, 2 * MIN_S)
    await site.watched.drain(device, 1, 1, most=8)
    assert site.watched.last.trust == ("suspect", "late")
    await site.is_over(device)


@pytest.mark.parametrize("newest_first", [True, False])
async def test_old_rows_between_live_posts_are_stored_under_their_dates(site, newest_first):
    device = site.device()
    await site.watched.live(device, 5)
    began_ms = site.clock.ms
    site.outage(device, 2000)
    for index in range(10):
        assert await site.watched.live(device, 1) == 1
        row = 9 - index if newest_first else index
        await site.watched.send(device.row(began_ms + (row + 1) * 2000))
    late = await site.late()
    assert [one.timestamp_ms for one in late] == [began_ms + row * 2000 for row in range(1, 11)]
    assert {(one.clock, one.device_time_ms, one.cool_active) for one in late} == {("", None, False)}
    await site.is_over(device)


async def test_a_repeated_row_switches_relays_until_it_is_a_minute_old(site):
    device = site.device()
    await site.watched.live(device, 3)
    row = device.row()
    for seconds in (1, 28, 30):
        site.clock.advance(seconds)
        await site.watched.send(row)
        assert site.watched.is_present()
    site.clock.advance(2)
    await site.watched.send(row)
    assert not site.watched.is_present()
    await site.is_over(device)


async def test_of_rows_that_arrive_out_of_order_the_newer_one_is_shown(site):
    device = site.device()
    await site.watched.live(device, 3)
    device.measures(HOT)
    site.clock.advance(2)
    for _ in range(5):
        older = device.row()
        device.measures(COLD)
        site.clock.advance(2)
        await site.watched.send(device.row())
        await site.watched.send(older)
        assert not site.watched.last.cool
        device.measures(HOT)
        site.clock.advance(2)
    await site.is_over(device)


async def test_a_gateway_s_batches_of_five_minutes_are_the_present_and_those_of_an_outage_are_not(
    site,
):
    site.watched.limit_s = 6 * MIN_S
    device = site.device()
    for _ in range(4):
        site.clock.advance(5 * MIN_S - 0.001)
        await site.watched.send(*device.take(150))
        assert site.watched.is_present()
    late = await site.late()  # from the first three batches, before the period was known
    assert late[-1].received_ms < site.clock.ms
    site.outage(device, 30 * MIN_S)
    for _ in range(4):  # later batches are less than a period and a minute old
        await site.watched.send(*device.take(150))
        assert not site.watched.is_present()
        assert not site.watched.last.cool
        site.clock.advance(1)
    device.forget()
    site.clock.advance(5 * MIN_S)
    device.measures(HOT)
    await site.watched.send(*device.take(150))
    site.clock.advance(5 * MIN_S)
    await site.watched.send(*device.take(150))
    assert site.watched.is_present()
    assert site.watched.last.cool


async def test_a_battery_device_s_batches_are_the_present_and_those_of_an_outage_are_not(site):
    site.watched.limit_s = 11 * MIN_S
    device = site.device(every_s=MIN_S)
    for _ in range(5):
        site.clock.advance(10 * MIN_S - 0.001)
        await site.watched.send(*device.take(10))
        assert site.watched.is_present()
    site.outage(device, 30 * MIN_S)
    await site.watched.send(*device.take(10))
    assert not site.watched.is_present()
    assert not site.watched.last.cool
