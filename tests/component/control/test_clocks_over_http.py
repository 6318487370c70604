"""Clocks of devices and of the server, wrong and set, through the whole server and a real store.

In each scenario `Watched` asserts after every post that no reading that is truly older than the
limit started the cooler or is shown, and that no older reading is shown after a newer one. All
scenarios, at other speeds as well, are in `test_device_clocks.py` for the rule alone.
"""

from __future__ import annotations

import pytest

from tests.support.clock import ManualClock
from tests.support.http import Caller, served, stored
from tests.support.senders import COLD, HOT, Device, HttpServer, Measured, Watched

MIN_S, HOUR_S, DAY_S = 60, 3600, 86_400
WEST_S = -5 * HOUR_S  # a device that sends dates in the local time of UTC-5
YEAR_2021_MS = 1_609_459_200_000  # the date of a Pico whose clock was never set


class Site:
    """A zone and its device, over HTTP."""

    def __init__(self, container, clock) -> None:
        self.container, self.clock = container, clock
        self.server = HttpServer(Caller(container.app), clock)

    def device(self, ahead_s=0, every_s=2, limit_s=60.2) -> Device:
        self.watched = Watched(self.server, limit_s)
        return Device(self.server, every_s, ahead_s)

    async def starts_the_cooler(self, device: Device) -> None:
        """The next reading is the present at once, and can start the cooler."""
        device.measures(HOT)
        self.clock.advance(10)
        await self.watched.live(device, 1)
        assert self.watched.is_present()
        assert self.watched.last.cool
        assert self.watched.last.trust == ("ok", None)

    async def is_over(self, device: Device, posts: int) -> None:
        """The disturbance is over: the present is back within this number of posts."""
        assert await self.watched.until_present(device, 4) <= posts
        await self.starts_the_cooler(device)

    async def kept(self) -> list:
        """All stored readings, in the order of receipt."""
        return sorted(await stored(self.container), key=lambda one: one.received_ms)


@pytest.fixture
def site(container, clock):
    return Site(container, clock)


@pytest.mark.parametrize("every_s", [2, MIN_S, 10 * MIN_S])
async def test_readings_of_a_right_clock_are_the_present_and_stored_under_their_dates(
    site, every_s
):
    device = site.device(every_s=every_s)
    assert await site.watched.live(device, 10) == 10
    for one in await site.kept():
        assert one.timestamp_ms == one.received_ms - 1
        assert (one.device_time_ms, one.clock, one.present) == (None, "", True)
    await site.starts_the_cooler(device)


@pytest.mark.parametrize(
    ("was_s", "ahead_s", "posts"),
    [
        (0, -40, 3),
        (0, 40, 1),
        (0, 10 * MIN_S, 1),
        (0, -HOUR_S, 3),
        (0, HOUR_S, 1),
        (4 * MIN_S, 0, 1),
        (WEST_S, WEST_S - HOUR_S, 3),
        (WEST_S, WEST_S + HOUR_S, 3),
        (WEST_S, 0, 1),
    ],
)
async def test_after_a_clock_is_set_the_present_is_back_within_this_number_of_posts(
    site, was_s, ahead_s, posts
):
    device = site.device(was_s)
    await site.watched.live(device, 5)
    device.becomes(ahead_s=ahead_s)
    await site.is_over(device, posts)


async def test_a_clock_ten_minutes_late_makes_its_zone_suspect_until_it_is_set(site):
    device = site.device()
    await site.watched.live(device, 3)
    device.becomes(ahead_s=-10 * MIN_S, temp=HOT)
    assert await site.watched.live(device, 6) == 0
    assert site.watched.last.trust == ("suspect", "late")
    assert (await site.kept())[-1].clock == "unknown"
    device.becomes(ahead_s=0, temp=COLD)
    await site.is_over(device, 1)


@pytest.mark.parametrize("ahead_s", [WEST_S, "2021"])
async def test_readings_of_a_wrong_clock_are_marked_unknown_until_its_offset_is_known(
    site, ahead_s
):
    device = site.device(0 if ahead_s == "2021" else ahead_s)
    if ahead_s == "2021":
        device.starts_again_at(YEAR_2021_MS)
    device.measures(HOT)
    for posts in (1, 2):
        await site.watched.live(device, 1)
        assert not site.watched.is_present(), posts
        assert not site.watched.last.cool
    await site.watched.live(device, 1)
    assert site.watched.last.cool
    *unknown, third = await site.kept()
    assert [(one.clock, one.present) for one in unknown] == [("unknown", False)] * 2
    assert (third.clock, third.present) == ("", True)
    for one in (*unknown, third):
        assert one.timestamp_ms == one.received_ms
        assert one.device_time_ms is not None
        assert one.device_time_ms < one.received_ms - 4 * HOUR_S * 1000


async def test_a_device_whose_clock_restarts_in_2021_is_the_present_within_three_posts(site):
    device = site.device()
    for off_s in (5, 600, 20):
        device.starts_again_at(YEAR_2021_MS + 60_000)
        assert await site.watched.until_present(device, 4) <= 3
        await site.watched.live(device, 5)
        site.clock.advance(off_s)
    device.starts_again_at(YEAR_2021_MS)
    await site.is_over(device, 3)


async def test_readings_of_a_clock_that_counts_from_1970_have_no_dates_and_are_the_present(site):
    device = site.device(None)
    assert await site.watched.live(device, 5) == 5
    for one in await site.kept():
        assert one.timestamp_ms == one.received_ms
        assert one.device_ticks_ms == (one.received_ms - 1) % 2**30
    await site.starts_the_cooler(device)


async def test_a_clock_four_minutes_ahead_is_corrected_until_it_is_set(site):
    device = site.device(4 * MIN_S)
    assert await site.watched.live(device, 5) == 5
    device.becomes()
    assert await site.watched.live(device, 2) == 2
    ahead = [one.timestamp_ms - one.received_ms for one in await site.kept()]
    assert ahead == [239_999, 239_999, 0, 0, 0, -1, -1]
    await site.starts_the_cooler(device)


@pytest.mark.parametrize(
    ("days", "ahead_s", "posts"),
    [(100, 0, 1), (-100, 0, 1), (100, WEST_S, 3), (-100, WEST_S, 3)],
)
@pytest.mark.parametrize("known", [True, False])
async def test_a_server_that_started_with_a_wrong_date_is_corrected(
    config, clock, known, days, ahead_s, posts
):
    device = None
    if known:
        async with served(config, clock) as container:
            site = Site(container, clock)
            device = site.device(ahead_s)
            await site.watched.live(device, 5)
    later = ManualClock(clock.ms, boot="another boot")
    later.step_ms = days * DAY_S * 1000
    async with served(config, later) as container:
        site = Site(container, later)
        device = site.device(ahead_s)
        site.watched.last = await site.server.post("lab", [device.row().body])
        site.watched.last = await site.server.post("lab", [device.row().body])
        later.advance(10)
        later.step_ms = 0
        await site.is_over(device, posts)


@pytest.mark.parametrize("apart_s", [-10, 10])
async def test_of_two_devices_with_one_id_the_one_with_the_right_time_is_the_present(site, apart_s):
    device = site.device()
    other = Device(site.server, 2, apart_s)
    for _ in range(10):
        assert await site.watched.live(device, 1) == 1
        await site.watched.send(other.row())
    await site.is_over(other, 3)
    await site.is_over(device, 1)


async def test_two_processes_and_a_restart_share_what_is_known_of_a_clock(config, clock):
    async with served(config, clock) as one, served(config, clock) as two:
        sites = Site(one, clock), Site(two, clock)
        device = sites[0].device(WEST_S)
        sites[1].watched = sites[0].watched
        for posts, site in enumerate((*sites, *sites, *sites)):
            site.watched.server = site.server
            await site.watched.live(device, 1)
            assert site.watched.is_present() is (posts >= 2)
    async with served(config, clock) as container:
        site = Site(container, clock)
        site.watched = sites[0].watched
        site.watched.server = site.server
        await site.starts_the_cooler(device)


async def test_the_age_of_the_shown_reading_counts_from_its_receipt(site):
    device = site.device()
    site.clock.advance(2)
    row = device.row()
    site.clock.advance(30)
    await site.watched.send(row)
    received_ms = site.clock.now_ms()
    site.clock.advance(5)
    await site.watched.send(Measured(row.true_ms - 1, device.row(row.true_ms - 1).body))
    status = (await site.server.caller.get("/api/status")).json()
    assert (status["timestamp"], status["received"]) == (row.true_ms, received_ms)
    assert status["age_ms"] == 5001
