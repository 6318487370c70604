"""After clocks, queues and servers are disturbed in any order, no zone is shut out, and no old
reading starts a cooler."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clock import ManualClock
from tests.support.forms import amount
from tests.support.senders import COLD, HOT, Device, Measured, PureServer, Watched

pytestmark = pytest.mark.sqlite_only("it needs no store")

HOUR_S = 3600
YEAR_2021_MS = 1_609_459_200_000  # the date of a clock that was never set
# Posts until the newest reading is the present again: three with one lag, over 4 s (contract).
POSTS = 4

clocks = st.sampled_from([0, -40, 40, 240, -HOUR_S, -5 * HOUR_S, -5.75 * HOUR_S, "2021"])


class Site:
    """A device that posts every 2 s, or every `every_s`, to a server that is watched."""

    def __init__(self, every_s: float = 2) -> None:
        self.clock = ManualClock()
        self.server = PureServer(self.clock)
        self.watched = Watched(self.server, limit_s=61.2)
        self.device = Device(self.server, every_s)
        self.ahead: float | str = 0

    async def again(self) -> None:
        """The disturbance is over: after a few posts the zone shows the current readings."""
        assert await self.watched.until_present(self.device, POSTS) <= POSTS
        await self.watched.live(self.device, POSTS)
        assert self.watched.is_present()
        assert self.server.zone.trust_state == "ok"

    async def set_clock(self, ahead: float | str) -> None:
        self.ahead = ahead
        if ahead == "2021":
            self.device.starts_again_at(YEAR_2021_MS)
        else:
            self.device.becomes(ahead_s=ahead)

    async def reboot(self, off_s: float) -> None:
        """A clock that was never set restarts at the date at which it started before."""
        self.clock.advance(off_s)
        await self.set_clock(self.ahead)
        self.device.forget()

    async def outage(self, seconds: float, speed: float, rows: int) -> None:
        """The device measures HOT in the outage, and then sends these readings, oldest first."""
        before = len(self.server.readings)
        self.device.measures(HOT)
        self.clock.advance(seconds)
        began_ms = self.device.next_ms
        self.device.measures(COLD)
        pace_s = rows * self.device.every_ms / 1000 / speed
        usual_s = pace_s + 60 if pace_s > 60 else 60  # its period, if it keeps this pace
        # A clock that is late by less than a minute need not be moved.
        wrong_s = 42 if self.ahead == -40 else 2
        posts = await self.watched.drain(self.device, speed, rows, most=200)
        self.device.forget()
        came = self.server.readings[before:]
        assert len(came) >= posts
        for index, one in enumerate(came):
            true_ms = began_ms + index * self.device.every_ms
            assert abs(one.timestamp_ms - true_ms) <= wrong_s * 1000
            assert one.clock == ""
            if one.received_ms - true_ms > 1000 * usual_s + 200:
                assert not one.present

    async def slow_outage(self, seconds: float, speed: float, posts: int) -> None:
        """The queue never empties, until the device drops it. (A queue of a device whose clock is
        ahead, or was never set, looks like another clock: see `device_clock.py`.)"""
        if self.ahead == "2021" or self.ahead > 0:
            return
        self.device.measures(HOT)
        self.clock.advance(seconds)
        self.device.measures(COLD)
        await self.watched.drain(self.device, speed, 1, most=posts)
        self.device.forget()

    async def server_clock(self, step_s: int, posts: int) -> None:
        """The server's clock is wrong for a while, then it is set."""
        self.clock.step_ms = step_s * 1000
        await self.watched.live(self.device, posts)
        self.clock.step_ms = 0

    async def backfill(self, rows: int, newest_first: bool) -> None:
        """The device alternates a current reading with an old row of an outage long ago."""
        start_ms = self.clock.ms
        self.clock.advance(2000)
        for index in range(rows):
            await self.watched.live(self.device, 1)
            old = rows - index if newest_first else index
            await self.watched.send(self.device.row(start_ms + old * self.device.every_ms))

    async def swapped(self, pairs: int) -> None:
        """Of each two rows the device sends the second one first."""
        for _ in range(pairs):
            first = self.device.row()
            self.clock.advance(self.device.every_ms / 1000)
            await self.watched.send(self.device.row())
            await self.watched.send(first)
            self.clock.advance(self.device.every_ms / 1000)

    async def retried(self, times: int, every_s: float) -> None:
        """The answers are lost, so the device sends the same row again and again."""
        row: Measured = self.device.row()
        for _ in range(times):
            self.clock.advance(every_s)
            await self.watched.send(row)


disturbances = st.one_of(
    st.tuples(st.just("set_clock"), clocks),
    st.tuples(st.just("reboot"), st.integers(1, 100_000)),
    st.tuples(
        st.just("outage"),
        st.integers(1, 8000),
        st.sampled_from([1.5, 3, 10, 1000]),
        st.sampled_from([1, 100, 600]),
    ),
    st.tuples(
        st.just("slow_outage"),
        st.integers(1, 10_000) | st.sampled_from([900, 3600, 4 * 3600]),
        st.sampled_from([1, 1.05]),
        st.integers(1, 100),
    ),
    st.tuples(
        st.just("server_clock"),
        st.sampled_from([-100 * 86_400, -3600, -100, -40, 40, 100, 3600, 100 * 86_400]),
        st.integers(1, 20),
    ),
    st.tuples(st.just("backfill"), st.integers(1, 20), st.booleans()),
    st.tuples(st.just("swapped"), st.integers(1, 20)),
    st.tuples(st.just("retried"), st.integers(1, 10), st.floats(0.1, 20)),
)


@settings(max_examples=amount(30, 3000), deadline=None)
@given(st.lists(disturbances, max_size=5))
async def test_after_any_disturbances_the_present_is_back_and_no_old_reading_starts_a_cooler(
    events,
):
    site = Site()
    await site.again()
    for name, *arguments in events:
        await getattr(site, name)(*arguments)
        await site.again()
