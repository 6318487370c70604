"""SiteAlarms: alarms of the server itself. One about the store is in memory and sent directly."""

from __future__ import annotations

import logging

from server.alarms import steps
from server.alarms.alarm import SITE_KINDS, Alarm, AlarmChange, AlarmReports
from server.alarms.alarm_writer import AlarmWriter
from server.alarms.rules import AlarmMoment, Sign
from server.services.firestore.store_watch import StoreWatch

log = logging.getLogger(__name__)

# The tenant of the alarms of the server itself.
SITE_TENANT = "default"
STORE_AWAY = "store_away"
REPORTS_MAX = 1000


class SiteAlarms(AlarmReports):
    """What other parts have reported, and the alarm that says that nothing can be stored.

    That alarm can be stored nowhere. Each process has its own; when the store is back it is over,
    and one process's is kept as history.
    """

    def __init__(self, writer: AlarmWriter, store_watch: StoreWatch, keep_ms: int) -> None:
        self._writer = writer
        self._store_watch = store_watch
        self._keep_ms = keep_ms
        self._reports: dict[tuple[str, str], tuple[bool, str]] = {}
        self._away: Alarm | None = None
        self._changes: list[AlarmChange] = []
        store_watch.on_lost(self._lost)
        if store_watch.away:
            self._lost()

    def moment(self) -> AlarmMoment:
        """The moment now."""
        return self._writer.moment()

    def report(self, tenant_id: str, kind: str, *, is_on: bool, reason: str = "") -> None:
        if kind not in SITE_KINDS:
            log.error("there is no alarm of the kind %r: its report is ignored", kind)
        elif len(self._reports) < REPORTS_MAX or (tenant_id, kind) in self._reports:
            self._reports[tenant_id, kind] = is_on, reason

    def take_reports(self) -> dict[tuple[str, str], tuple[bool, str]]:
        """The newest report of each tenant and kind since the last call."""
        reports, self._reports = self._reports, {}
        return reports

    def in_memory(self) -> list[Alarm]:
        """The alarms that no store has."""
        return [self._away] if self._away is not None else []

    async def settle(self) -> None:
        """End the alarm about the store when this is back, and announce its changes."""
        if self._away is not None and not self._store_watch.away:
            over, self._away = steps.cleared(self._away, self.moment(), self._keep_ms), None
            self._add(AlarmChange("cleared", over, at_once=True))
            await self._writer.keep(over)
        changes, self._changes = self._changes, []
        if changes:
            await self._writer.announce(changes)

    def replace(self, change: AlarmChange) -> None:
        """A user's step of an alarm in memory."""
        self._away = change.alarm
        self._changes.append(change)

    def _lost(self) -> None:
        if self._away is None:
            error = self._store_watch.error
            reason = (error.code if error is not None else "").lower()
            key, moment = (SITE_TENANT, "", STORE_AWAY), self.moment()
            sign = Sign(on=True, off=False, reason=reason)
            self._away = steps.begun(key, moment.now_ms // 1000, sign, moment)
            self._add(AlarmChange("raised", self._away, at_once=True))

    def _add(self, change: AlarmChange) -> None:
        self._changes.append(change)
        self._writer.listener.send_at_once(change)
