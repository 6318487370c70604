"""SiteClock: one time for all processes of a site, whatever the clocks of its machines say."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from server.common.clock import Clock
from server.common.errors import Unavailable
from server.common.metrics import Metrics
from server.common.supervised_tasks import SupervisedTasks

log = logging.getLogger(__name__)

# Calls of one measurement. Their median is used: one call that waited long does not count.
CALLS = 5
# Seconds between two measurements, drawn at random: processes do not ask all at once. Quartz drifts
# by less than 100 µs a second, so a time that is this old is right to 6 ms.
EVERY_S = (30.0, 60.0)
# Seconds between two attempts until the first one succeeds.
RETRY_S = 1.0
# A start waits at most these seconds for the first measurement, then goes on by its own clock.
FIRST_S = 1.0
# A machine whose clock differs by more than this is named in the log, and from DEGRADED_MS on
# /readyz says so too.
WARN_MS, DEGRADED_MS = 500.0, 2000.0
# A measurement that differs by less than this from the one before changes nothing: it would show
# the network's moods, and a time that moves to and fro would put events out of order.
JITTER_MS = 10.0


class ClockSkewed(Unavailable):
    """This machine's clock is wrong, or that of the service is."""

    error = "The clocks of the site differ"
    code = "CLOCK_SKEWED"


class SiteClock:
    """A `Clock` whose `now_ms` is the time of the service that all processes share.

    Each process measures how far that time is from its own monotonic clock, and follows the latter
    between two measurements, and while the service does not answer. So a leap of the machine's
    clock changes nothing. `steady_ms` is the same time: it steps only if the service's clock is
    set, and then in all processes. Until the first measurement the machine's clock is used. `boot`,
    `uptime_ms` and `monotonic` are the machine's.
    """

    def __init__(
        self, clock: Clock, time_ms: Callable[[], Awaitable[float]], metrics: Metrics, source: str
    ) -> None:
        """`time_ms` asks the service for its Unix time in ms; it raises Unavailable.

        `source` names the service in log lines.
        """
        self._clock = clock
        self._time_ms = time_ms
        self._metrics = metrics
        self._source = source
        # How far the service's Unix time is ahead of the monotonic clock.
        self._ahead_ms: float | None = None
        self._warned = False
        self.boot = clock.boot

    def now_ms(self) -> int:
        if self._ahead_ms is None:
            return self._clock.now_ms()
        return round(self._monotonic_ms() + self._ahead_ms)

    def uptime_ms(self) -> float:
        return self._clock.uptime_ms()

    def steady_ms(self) -> int:
        return self._clock.steady_ms() if self._ahead_ms is None else self.now_ms()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    @property
    def skew_ms(self) -> int:
        """How far this machine's clock is ahead of the site's time; 0 until it is measured."""
        return self._clock.now_ms() - self.now_ms()

    async def check(self) -> None:
        """Raise ClockSkewed if this machine's clock differs by DEGRADED_MS or more."""
        if abs(self.skew_ms) >= DEGRADED_MS:
            raise ClockSkewed(message=f"{self.skew_ms / 1000:+.1f} s from {self._source}")

    async def measure_first(self) -> None:
        """Measure unless that was done: for work that compares times with other machines."""
        if self._ahead_ms is None:
            await self.measure()

    async def measure(self) -> bool:
        """Measure once; return False, and go on as before, if the service does not answer."""
        found = []
        try:
            for _ in range(CALLS):
                asked = self._monotonic_ms()
                time_ms = await self._time_ms()
                # The service read its clock at some moment of the call: take its middle.
                found.append(time_ms - (asked + self._monotonic_ms()) / 2)
        except Unavailable as error:
            log.debug("%s did not tell its time, the next call retries: %s", self._source, error)
            return False
        ahead_ms = sorted(found)[CALLS // 2]
        if self._ahead_ms is None or abs(ahead_ms - self._ahead_ms) >= JITTER_MS:
            self._ahead_ms = ahead_ms
        self._metrics.clock_skew_s.set(self.skew_ms / 1000)
        self._warn()
        return True

    async def follow(self) -> None:
        """Measure again and again; runs until cancelled."""
        while True:
            measured = self._ahead_ms is not None
            await asyncio.sleep(random.uniform(*EVERY_S) if measured else RETRY_S)  # noqa: S311
            await self.measure()

    def _warn(self) -> None:
        """Log once that this machine's clock is wrong, and once that it is right again."""
        wrong = abs(self.skew_ms) >= WARN_MS
        if wrong and not self._warned:
            log.warning(
                "this machine's clock is %.1f s %s the time of %s: let NTP set the one that is "
                "wrong. Readings, relays, sessions and locks count by the time of %s",
                abs(self.skew_ms) / 1000,
                "ahead of" if self.skew_ms > 0 else "behind",
                self._source,
                self._source,
            )
        elif self._warned and not wrong:
            log.warning("this machine's clock agrees with the time of %s again", self._source)
        self._warned = wrong

    def _monotonic_ms(self) -> float:
        return self._clock.monotonic() * 1000


@asynccontextmanager
async def site_clock(
    clock: Clock, time_ms: Callable[[], Awaitable[float]], metrics: Metrics, source: str
) -> AsyncIterator[SiteClock]:
    """A SiteClock that measures within the block; its arguments are those of SiteClock."""
    following = SiteClock(clock, time_ms, metrics, source)
    with suppress(TimeoutError):
        async with asyncio.timeout(FIRST_S):
            await following.measure()
    tasks = SupervisedTasks("the site's clock")
    tasks.keep(following.follow)
    try:
        yield following
    finally:
        await tasks.close()
