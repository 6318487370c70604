"""How many posts it takes until a zone's readings count as the present again, after the clock of
its device or of the server was set. These tests call the rule alone; `test_clocks_over_http.py`
asks the whole server. In each scenario `Watched` asserts that no reading that is truly older than
the limit counts as the present, and that no older reading is shown after a newer one.
"""

from __future__ import annotations

import random

import pytest

from tests.support.clock import ManualClock
from tests.support.forms import amount
from tests.support.senders import COLD, HOT, Device, PureServer, Watched

pytestmark = pytest.mark.sqlite_only("it needs no store")

MIN_S, HOUR_S, DAY_S = 60, 3600, 86_400
WEST_S = -5 * HOUR_S  # a device that sends dates in the local time of UTC-5
YEAR_2021_MS = 1_609_459_200_000  # the date of a Pico whose clock was never set


class Scene:
    """A device that has been posting for a while, with its clock `ahead_s` ahead."""

    def __init__(self, ahead_s: float = 0, every_s: float = 2, limit_s: float = 60.2) -> None:
        self.clock = ManualClock()
        self.server = PureServer(self.clock)
        self.device = Device(self.server, every_s, ahead_s)
        self.watched = Watched(self.server, limit_s)

    async def begun(self) -> Scene:
        await self.watched.live(self.device, 20)
        assert self.watched.is_present()
        return self

    async def posts(self, most: int = 4) -> int:
        """How many posts it takes until the readings are the present again, and stay so."""
        posts = await self.watched.until_present(self.device, most)
        assert await self.watched.live(self.device, 20) == 20
        assert self.server.zone.trust_state == "ok"
        return posts

    async def never(self) -> None:
        """The readings stay late, and the zone says why."""
        assert await self.watched.live(self.device, 50) == 0
        assert self.watched.last.trust == ("suspect", "late")


@pytest.mark.parametrize("every_s", [2, MIN_S, 10 * MIN_S])
async def test_every_post_of_a_device_with_the_right_time_is_the_present(every_s):
    scene = Scene(every_s=every_s)
    assert await scene.watched.live(scene.device, 50) == 50
    assert not any(one.device_time_ms or one.clock for one in scene.server.readings)


@pytest.mark.parametrize(
    ("was_s", "ahead_s", "posts"),
    [
        (0, -40, 3),
        (0, 40, 1),
        (0, 4 * MIN_S, 1),
        (0, 10 * MIN_S, 1),  # further ahead than 5 minutes: no date
        (0, HOUR_S, 1),
        (0, -HOUR_S, 3),
        (0, WEST_S, 3),
        (40, 0, 1),
        (4 * MIN_S, 0, 1),
        (4 * MIN_S, -40, 3),
        (-40, 0, 1),
        (WEST_S, WEST_S - 40, 3),
        (WEST_S, WEST_S + 40, 3),
        (WEST_S, WEST_S - 100, 3),
        (WEST_S, WEST_S - HOUR_S, 3),  # summer time ends
        (WEST_S, WEST_S + HOUR_S, 3),  # and begins
        (WEST_S, 0, 1),
        (-5.75 * HOUR_S, 0, 1),
        (-10 * MIN_S, 0, 1),
        (-10 * MIN_S, WEST_S, 3),
    ],
)
@pytest.mark.parametrize("every_s", [2, MIN_S])
async def test_after_a_clock_is_set_the_present_is_back_within_this_number_of_posts(
    was_s, ahead_s, posts, every_s
):
    scene = Scene(was_s, every_s)
    await scene.watched.live(scene.device, 20)
    scene.device.becomes(ahead_s=ahead_s)
    assert await scene.posts() <= posts


@pytest.mark.parametrize("was_s", [0, WEST_S])
async def test_readings_that_lag_without_a_plausible_cause_stay_late_until_the_clock_is_set(was_s):
    scene = await Scene(was_s).begun()
    scene.device.becomes(ahead_s=was_s - 10 * MIN_S)
    await scene.never()
    scene.device.becomes(ahead_s=0)
    assert await scene.posts() == 1


@pytest.mark.parametrize("every_s", [2, MIN_S, 10 * MIN_S])
@pytest.mark.parametrize("ahead_s", [-4 * MIN_S, WEST_S, -40 * DAY_S])
async def test_a_new_device_with_a_wrong_clock_is_the_present_from_its_third_post_on(
    every_s, ahead_s
):
    scene = Scene(ahead_s, every_s)
    assert await scene.posts() == 3
    first, second, third = scene.server.readings[:3]
    assert [one.clock for one in (first, second, third)] == ["unknown", "unknown", ""]
    for one in (first, second, third):
        assert one.timestamp_ms == one.received_ms
        assert one.device_time_ms == one.received_ms - 1 + ahead_s * 1000


async def test_three_posts_within_four_seconds_do_not_prove_a_clock_s_offset():
    scene = Scene(WEST_S, every_s=0.5)
    assert await scene.posts(most=9) == 9


@pytest.mark.parametrize("off_s", [1, 30, 600, 7000, 10 * DAY_S])
@pytest.mark.parametrize("up_s", [4, 10, 200])
async def test_a_device_whose_clock_restarts_in_2021_is_the_present_within_three_posts(up_s, off_s):
    scene = Scene()
    for boot_s in (5, 60, 2):
        scene.device.starts_again_at(YEAR_2021_MS + boot_s * 1000)
        assert await scene.watched.until_present(scene.device, 4) <= 3
        await scene.watched.live(scene.device, up_s // 2)
        scene.clock.advance(off_s)
        scene.device.forget()


async def test_a_clock_that_changes_from_2021_to_local_time_is_not_taken_for_a_queue():
    scene = await Scene().begun()
    scene.device.starts_again_at(YEAR_2021_MS)
    await scene.watched.live(scene.device, 1)
    scene.device.becomes(ahead_s=WEST_S)
    assert await scene.posts() == 3


async def test_a_clock_that_loses_two_seconds_a_day_never_shuts_its_zone_out():
    # A crystal may be wrong by 25 millionths: after a month the clock is a minute late.
    scene = Scene(every_s=MIN_S)
    for minute in range(amount(30, 60) * 24 * 60):
        scene.device.becomes(ahead_s=-minute * 60 * 25e-6)
        assert await scene.watched.live(scene.device, 1) == 1
    assert scene.server.zone.clock == "shifted"


@pytest.mark.parametrize("ahead_s", [0, WEST_S])
async def test_posts_that_take_up_to_three_seconds_are_the_present(ahead_s):
    scene, draw = Scene(ahead_s), random.Random(1)
    present = 0
    for _ in range(300):
        scene.clock.advance(2)
        row = scene.device.row()
        scene.clock.advance(3 * draw.random())
        await scene.watched.send(row)
        present += scene.watched.is_present()
    assert present >= 290  # all but the first ones, which reveal its clock's offset


@pytest.mark.parametrize(
    ("step_s", "ahead_s", "posts"),
    [
        (100 * DAY_S, 0, 1),
        (-100 * DAY_S, 0, 1),
        (-100, 0, 1),
        (100, 0, 1),
        (3600, 0, 1),
        (100 * DAY_S, WEST_S, 3),
        (-100 * DAY_S, WEST_S, 3),
        (-100, WEST_S, 3),
        (-600, WEST_S, 3),
        (HOUR_S, WEST_S, 3),
        (-HOUR_S, WEST_S, 3),
    ],
)
@pytest.mark.parametrize("known", [True, False])
async def test_after_the_server_s_clock_is_corrected_the_present_is_back_within_these_posts(
    step_s, ahead_s, posts, known
):
    scene = Scene(ahead_s)
    if known:
        await scene.begun()
    scene.clock.step_ms = step_s * 1000
    await scene.watched.live(scene.device, 30)
    scene.clock.step_ms = 0
    assert await scene.posts() <= posts


@pytest.mark.parametrize("apart_s", [-10, 10])
async def test_of_two_devices_with_one_id_the_one_with_the_right_time_is_the_present(apart_s):
    scene = await Scene().begun()
    other = Device(scene.server, 2, apart_s)
    for _ in range(50):
        assert await scene.watched.live(scene.device, 1) == 1
        await scene.watched.send(other.row())
    await scene.watched.live(other, 4)
    assert scene.watched.is_present()  # the other one is gone
    assert await scene.posts() == 1


async def test_of_rows_out_of_order_from_a_clock_with_a_known_offset_only_the_newer_is_shown():
    scene = await Scene(WEST_S, every_s=0.5).begun()
    scene.device.measures(COLD)
    for _ in range(50):
        older = scene.device.row()
        scene.clock.advance(0.5)
        await scene.watched.send(scene.device.row())
        await scene.watched.send(older)
        assert not scene.watched.is_present()
    assert await scene.posts() == 1


async def test_a_zone_is_trusted_again_when_its_device_sends_the_age_of_its_readings():
    scene = Scene(-10 * MIN_S)
    await scene.never()
    scene.clock.advance(2)
    seen = await scene.watched.send(scene.device.row(age_ms=0, temp_tenths=HOT))
    assert (seen.trust, seen.cool) == (("ok", None), True)
