"""AlarmService: the task that keeps the alarms of this process's zones right."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter

from server.alarms.alarm import ACTIVE, FAMILIES
from server.alarms.alarm_rounds import AlarmRounds
from server.alarms.alarm_watch import AlarmWatch
from server.alarms.board import AlarmBoard, HeldCondition, KnownAlarm
from server.alarms.rules import AlarmRules, Sign, family_of
from server.alarms.site_alarms import SiteAlarms
from server.common.background_task import BackgroundTask
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.common.seldom import Seldom
from server.services.firestore.store_watch import StoreWatch
from server.services.ports.documents import StoreUnavailable

log = logging.getLogger(__name__)

# Pauses between two rounds, while conditions wait to become alarms and otherwise.
HURRY_S, PAUSE_S = 0.1, 1.0
# How often other processes' alarms are read, and zones are compared whatever was noted.
KNOW_S, COMPARE_S, MANY_S = 10.0, 60.0, 5.0
# At most this share of the time is spent on the two reads of everything.
TIME_SHARE = 1 / 20


class AlarmService(BackgroundTask):
    """One task per process. All that it decides on is in the store, so any process may go on."""

    def __init__(
        self,
        rules: AlarmRules,
        rounds: AlarmRounds,
        board: AlarmBoard,
        watch: AlarmWatch,
        site: SiteAlarms,
        store_watch: StoreWatch,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        super().__init__("alarms")
        self._families = [one for one in FAMILIES if one in map(family_of, rules.kinds)]
        self._rounds = rounds
        self._board = board
        self._watch = watch
        self._site = site
        self._store_watch = store_watch
        self._clock = clock
        self._metrics = metrics
        self._seldom = Seldom(clock.monotonic)
        self._counted: set[tuple[str, str]] = set()
        # When each is due, by the process's monotonic clock.
        self._know_at = self._compare_at = self._many_at = self._go_on_at = 0.0

    async def stop(self) -> None:
        self._watch.wake.set()
        self._stop.set()
        await super().stop()

    async def round(self) -> None:
        """Bring the alarms up to date once. Raises StoreUnavailable."""
        await self._site.settle()
        if self._store_watch.away:
            self._know_at = self._compare_at = 0.0
            return
        await self._read_all()
        await self._watch.compare_noted(self._site.moment())
        self._take_reports()
        await self._rounds.know_again()
        await self._rounds.end_alarms()
        await self._rounds.delay_again()
        if self._board.held:
            await self._rounds.begin_alarms()
        now = self._clock.monotonic()
        if now >= self._go_on_at:
            self._go_on_at = now + PAUSE_S
            await self._rounds.go_on()
            self._watch.forget_past(self._site.moment())
            self._count()
        if now >= self._many_at:
            self._many_at = now + MANY_S
            await self._rounds.end_many()

    async def _run(self) -> None:
        while not self._stop.is_set():
            try:
                await self.round()
            except StoreUnavailable as error:
                if self._seldom.may_log("store"):
                    log.warning("alarms could not be stored, the next second retries: %s", error)
                await self._pause(PAUSE_S)
            except Exception:
                if self._seldom.may_log("failed"):
                    log.exception("a round of the alarms failed, the next second retries")
                await self._pause(PAUSE_S)
            if not self._stop.is_set():  # the round may have taken the wake-up of `stop`
                await self._wait(HURRY_S if self._board.held else PAUSE_S)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._watch.wake.wait()

    async def _read_all(self) -> None:
        began = self._clock.monotonic()
        if began >= self._know_at:
            await self._rounds.know_all()
            took_s = self._clock.monotonic() - began
            self._know_at = began + max(KNOW_S, took_s / TIME_SHARE)
        began = self._clock.monotonic()
        if began >= self._compare_at or self._watch.is_full:
            await self._rounds.compare_all(self._families)
            took_s = self._clock.monotonic() - began
            self._compare_at = began + max(COMPARE_S, took_s / TIME_SHARE)

    def _take_reports(self) -> None:
        """Hold or end what other parts have reported."""
        uptime_ms = self._site.moment().uptime_ms
        for (tenant_id, kind), (is_on, reason) in self._site.take_reports().items():
            key = tenant_id, "", kind
            entry = self._board.get(key)
            if is_on and entry is None:
                self._board.hold(
                    key, HeldCondition(uptime_ms, Sign(on=True, off=False, reason=reason))
                )
            elif not is_on and isinstance(entry, KnownAlarm):
                self._watch.ending[key] = None
            elif not is_on:
                self._board.forget(key)

    def _count(self) -> None:
        counts: Counter[tuple[str, str]] = Counter()
        for (_, _, kind), entry in self._board.known():
            if entry.alarm.state in ACTIVE:
                counts[kind, entry.alarm.severity] += 1
        for alarm in self._site.in_memory():
            counts[alarm.kind, alarm.severity] += 1
        for kind, severity in counts.keys() | self._counted:
            self._metrics.alarms.labels(kind, severity).set(counts[kind, severity])
        self._counted = set(counts)
