"""A device's queue is never the present, however fast it is sent, and ends when it is empty.

These tests call the rule alone; `test_queues_over_http.py` asks the whole server. In each scenario
`Watched` asserts that no reading that is truly older than the limit counts as the present, and
that no older reading is shown after a newer one.
"""

from __future__ import annotations

import pytest

from tests.support.clock import ManualClock
from tests.support.senders import COLD, HOT, Device, PureServer, Watched

pytestmark = pytest.mark.sqlite_only("it needs no store")

MIN_S, HOUR_S, DAY_S = 60, 3600, 86_400
WEST_S = -5 * HOUR_S  # a device that sends dates in the local time of UTC-5
NEVER_SET_S = -6 * 365 * DAY_S
LATE = ("suspect", "late")


class Scene:
    """A device that has been posting for a while, with its clock `ahead_s` ahead. It measures HOT
    during an outage, and COLD after it."""

    def __init__(self, ahead_s: float = 0, every_s: float = 2, limit_s: float = 60.2) -> None:
        self.clock = ManualClock()
        self.server = PureServer(self.clock)
        self.device = Device(self.server, every_s, ahead_s)
        self.watched = Watched(self.server, limit_s)

    async def begun(self) -> Scene:
        await self.watched.live(self.device, 20)
        assert self.watched.is_present()
        return self

    def outage(self, seconds: float) -> None:
        self.device.measures(HOT)
        self.clock.advance(seconds)
        self.device.measures(COLD)

    async def drain(self, speed: float, rows: int = 1, most: int | None = 400) -> list:
        """The stored readings of the queue, in the order in which they were measured."""
        before = len(self.server.readings)
        await self.watched.drain(self.device, speed, rows, most)
        return self.server.readings[before:]

    async def is_over(self) -> None:
        """The next reading is the present with its first post, and can start the cooler."""
        self.device.measures(HOT)
        self.clock.advance(10)
        assert await self.watched.live(self.device, 1) == 1
        assert self.watched.last.cool
        assert self.watched.last.trust == ("ok", None)


@pytest.mark.parametrize("ahead_s", [0, WEST_S, 40, 4 * MIN_S])
@pytest.mark.parametrize("rows", [1, 100])
@pytest.mark.parametrize("speed", [1, 1.05, 1.5, 10])
@pytest.mark.parametrize("outage_s", [MIN_S, 5 * MIN_S, HOUR_S, 40 * DAY_S])
async def test_a_queue_is_stored_under_its_dates_and_starts_no_cooler(
    outage_s, speed, rows, ahead_s
):
    if ahead_s > 0 and speed < 1.5:
        pytest.skip("a clock that was ahead and is right now looks the same")
    scene = await Scene(ahead_s).begun()
    scene.outage(outage_s)
    began_ms = scene.device.next_ms
    pace_s = rows * 2 / speed
    usual_s = pace_s + 60 if pace_s > 60 else 60  # its period, if it keeps this pace
    came = await scene.drain(speed, rows, most=400 if rows == 1 else 20)
    assert came
    for index, one in enumerate(came):
        true_ms = began_ms + index * 2000
        assert abs(one.timestamp_ms - true_ms) <= 2000
        assert one.clock == ""
        assert one.device_time_ms == (true_ms + ahead_s * 1000 if ahead_s else None)
        if (one.received_ms - true_ms) / 1000 > usual_s + 1:
            assert not one.present
    scene.device.forget()  # the readings that it has not sent are lost
    await scene.is_over()


@pytest.mark.parametrize("ahead_s", [0, WEST_S])
@pytest.mark.parametrize("speed", [1, 1.05])
async def test_a_queue_that_hardly_gets_shorter_makes_its_zone_suspect(speed, ahead_s):
    scene = await Scene(ahead_s).begun()
    scene.outage(HOUR_S)
    await scene.drain(speed, most=4)
    assert scene.watched.last.trust == LATE
    await scene.drain(10, most=50)
    assert scene.watched.last.trust == LATE  # until a reading is the present again
    scene.device.forget()
    await scene.is_over()


async def test_a_queue_that_is_sent_fast_does_not_make_its_zone_suspect():
    scene = await Scene().begun()
    scene.outage(HOUR_S)
    await scene.drain(10)
    assert scene.watched.last.trust == ("ok", None)


@pytest.mark.parametrize("ahead_s", [0, WEST_S])
async def test_a_queue_that_grows_is_the_present_until_it_is_a_minute_late(ahead_s):
    scene = await Scene(ahead_s, limit_s=61).begun()
    present = 0
    for _ in range(600):
        scene.clock.advance(2.4)
        await scene.watched.send(*scene.device.take())
        present += scene.watched.is_present()
    assert 140 <= present <= 160  # each post is 0.4 s later than the last


@pytest.mark.parametrize("outage_s", [130, 5 * MIN_S, 10 * MIN_S, 14 * MIN_S, HOUR_S])
async def test_several_outages_do_not_make_a_device_count_as_a_rare_sender(outage_s):
    scene = await Scene().begun()
    for _ in range(2):
        scene.outage(outage_s)
        scene.device.forget()
        await scene.watched.live(scene.device, 1)
    scene.outage(outage_s)
    await scene.drain(10)
    scene.device.forget()
    await scene.is_over()


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("ahead_s", [0, WEST_S])
async def test_old_rows_between_live_posts_are_stored_under_their_dates(ahead_s, newest_first):
    scene = await Scene(ahead_s).begun()
    began_ms = scene.clock.ms
    scene.outage(2000)
    for index in range(50):
        assert await scene.watched.live(scene.device, 1) == 1
        row = 50 - index if newest_first else index
        await scene.watched.send(scene.device.row(began_ms + row * 2000))
        old = scene.server.readings[-1]
        assert (old.timestamp_ms - began_ms - row * 2000) // 100 == 0
        assert (old.clock, old.present, old.device_time_ms is None) == ("", False, ahead_s == 0)
    assert not scene.server.zone.cool
    await scene.is_over()


@pytest.mark.parametrize("ahead_s", [0, WEST_S, 40])
async def test_a_row_that_is_sent_again_and_again_is_the_present_for_a_minute(ahead_s):
    scene = await Scene(ahead_s).begun()
    row = scene.device.row()
    present = 0
    for _ in range(50):
        scene.clock.advance(1.999)
        await scene.watched.send(row)
        present += scene.watched.is_present()
    assert present == 30
    scene.device.forget()
    await scene.is_over()


@pytest.mark.parametrize("ahead_s", [0, WEST_S, 40, 4 * MIN_S])
async def test_of_rows_that_arrive_out_of_order_the_newer_one_is_shown(ahead_s):
    scene = await Scene(ahead_s).begun()
    for _ in range(20):
        older = scene.device.row()
        scene.clock.advance(2)
        await scene.watched.send(scene.device.row())
        await scene.watched.send(older)
        assert not scene.watched.is_present()
        scene.clock.advance(2)
    await scene.is_over()


async def test_a_process_that_started_before_the_machine_s_clock_was_set_recognises_a_queue():
    scene = await Scene().begun()
    scene.outage(4 * MIN_S)
    scene.clock.steady_ms = lambda: scene.clock.ms - HOUR_S * 1000
    await scene.drain(1, most=20)
    scene.device.forget()
    await scene.is_over()


async def test_the_rows_of_a_queue_may_arrive_a_minute_out_of_order():
    scene = await Scene().begun()
    scene.outage(HOUR_S)
    rows = scene.device.take(60)
    for early, late in zip(rows[30:], rows[:30], strict=True):
        for row in (early, late):
            scene.clock.advance(0.2)
            await scene.watched.send(row)
    assert {one.clock for one in scene.server.readings} == {""}
    assert scene.server.zone.clock == "backlog"


@pytest.mark.parametrize("speed", [1, 10])
async def test_a_gateway_that_was_away_sends_its_batches_one_after_another_and_is_the_present_again(
    speed,
):
    scene = Scene(limit_s=6 * MIN_S)
    for _ in range(4):
        scene.clock.advance(5 * MIN_S - 0.001)
        await scene.watched.send(*scene.device.take(150))
        assert scene.watched.is_present()
    scene.outage(HOUR_S)
    await scene.drain(speed, 150, most=8)
    scene.device.forget()
    for _ in range(2):
        scene.clock.advance(5 * MIN_S - 0.001)
        await scene.watched.send(*scene.device.take(150))
        assert scene.watched.is_present()


async def test_a_battery_device_that_sends_each_reading_with_its_next_post_becomes_the_present():
    """Each reading is ten minutes old when it arrives. After three of them that is a period."""
    scene = Scene(every_s=10 * MIN_S, limit_s=11 * MIN_S)
    present = []
    for _ in range(8):
        row = scene.device.row()
        scene.clock.advance(10 * MIN_S - 0.001)
        await scene.watched.send(row)
        present.append(scene.watched.is_present())
    assert present == [False] * 3 + [True] * 5
    scene.clock.advance(30 * MIN_S)  # an outage: a reading 20 minutes old is not the present
    await scene.watched.send(scene.device.row(scene.clock.ms - 20 * MIN_S * 1000))
    assert not scene.watched.is_present()


async def test_a_row_measured_before_an_outage_is_late_even_after_the_server_s_clock_is_set():
    """A server that is 100 s behind takes the device's clock for ahead, until it is set."""
    scene = Scene()
    scene.clock.step_ms = -100_000
    await scene.watched.live(scene.device, 10)
    assert scene.server.zone.clock_offset_ms == -99_999
    scene.clock.step_ms = 0
    assert await scene.watched.live(scene.device, 1) == 1
    scene.outage(5 * MIN_S)
    await scene.drain(1, most=20)
    scene.device.forget()
    await scene.is_over()


async def test_an_unset_clock_that_keeps_another_lag_counts_as_restarted():
    """A queue that never gets shorter looks the same. Believing the clock shuts no zone out."""
    scene = Scene(NEVER_SET_S)
    await scene.watched.live(scene.device, 10)
    scene.clock.advance(HOUR_S)
    scene.device.becomes(ahead_s=NEVER_SET_S - HOUR_S)
    assert await scene.watched.until_present(scene.device, 3) == 3


async def test_a_zone_whose_right_clock_became_late_in_an_outage_is_suspect_until_it_is_set():
    """The clock stood still in an outage, or a queue never gets shorter: both look the same."""
    scene = await Scene().begun()
    scene.clock.advance(HOUR_S)
    scene.device.becomes(ahead_s=-HOUR_S)
    scene.device.forget()
    assert await scene.watched.live(scene.device, 50) == 0
    assert scene.watched.last.trust == LATE
    scene.device.becomes(ahead_s=0)
    await scene.is_over()
