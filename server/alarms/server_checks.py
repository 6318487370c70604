"""ServerChecks: looks at the disk and the clock of the machine, and reports what is wrong."""

from __future__ import annotations

import asyncio

from server.alarms.rules import HOUR_MS
from server.alarms.site_alarms import SITE_TENANT, SiteAlarms
from server.common.background_task import BackgroundTask
from server.common.clock import CLOCKS_APART_MS, Clock, booted_ms
from server.common.disk_room import DiskRoom
from server.common.errors import Unavailable
from server.config.config import ServerConfig

CHECK_S, DISK_WAIT_S = 30.0, 5.0
# The alarm comes before /readyz fails, which needs BAS_DISK_MIN_FREE_MB.
EARLIER = 5


class ServerChecks(BackgroundTask):
    """Two alarms: the disk has little room left, and the clock leapt in the last hour."""

    def __init__(self, config: ServerConfig, site: SiteAlarms, clock: Clock) -> None:
        super().__init__("server checks")
        self._disk = DiskRoom(config.data_dir, EARLIER * config.disk_min_free_mb)
        self._site = site
        self._clock = clock
        self._booted_ms = booted_ms(clock)
        self._leapt_at_ms: float | None = None
        self._was_on: dict[str, bool] = {}

    async def check(self) -> None:
        """Report what is wrong, and what is right again."""
        try:
            async with asyncio.timeout(DISK_WAIT_S):
                await self._disk.check()
        except (TimeoutError, Unavailable):
            self._report("disk_nearly_full", is_on=True)
        else:
            self._report("disk_nearly_full", is_on=False)
        self._report("clock_wrong", is_on=self._has_leapt())

    def _report(self, kind: str, *, is_on: bool) -> None:
        """Report a condition while it is there, and once that it is not.

        Another machine may have the condition: it must not be denied again and again.
        """
        if is_on or self._was_on.get(kind, True):
            self._site.report(SITE_TENANT, kind, is_on=is_on)
        self._was_on[kind] = is_on

    def _has_leapt(self) -> bool:
        """Whether the clock was set by more than CLOCKS_APART_MS within the last hour of uptime."""
        booted, uptime_ms = booted_ms(self._clock), self._clock.uptime_ms()
        if abs(booted - self._booted_ms) > CLOCKS_APART_MS:
            self._booted_ms, self._leapt_at_ms = booted, uptime_ms
        return self._leapt_at_ms is not None and uptime_ms - self._leapt_at_ms < HOUR_MS

    async def _run(self) -> None:
        while not self._stop.is_set():
            await self.check()
            await self._pause(CHECK_S)
