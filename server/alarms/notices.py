"""AlarmNotices: which targets get a notice of an alarm, and notices that no store takes."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from server.alarms.alarm import AlarmChange, AlarmListener
from server.alarms.notice_models import NoticeTarget, WaitingNotice
from server.alarms.outbox import OutboxStore
from server.alarms.target_health import TargetHealth, back_off_s
from server.alarms.targets.message import NoticeItem, message_of
from server.alarms.targets.sending import NoticeSender
from server.alarms.targets.sockets import NotSent
from server.alarms.targets.wanted import local_time, wants
from server.alarms.targets_store import TARGETS_MAX, NoticeTargetsStore
from server.common.clock import Clock
from server.common.errors import Unavailable
from server.common.metrics import Metrics
from server.common.supervised_tasks import SupervisedTasks
from server.services.ports.documents import Write
from server.services.site.ports import Notices

log = logging.getLogger(__name__)

TARGETS_CHANGED = "notice_targets"
# Another process's change of a target is known after this long, also if its notice was lost.
KNOWN_S = 10.0
TENANTS_MAX = 1000
# Notices about the store itself are in memory: so many at a time, for so many attempts.
AT_ONCE_MAX, AT_ONCE_ATTEMPTS = 200, 15
# The tenant of the alarms about the server: its targets must be known before the store is away.
SITE_TENANT, REFRESH_S = "default", 60.0


class _Known(NamedTuple):
    until: float
    targets: list[NoticeTarget]


class AlarmNotices(AlarmListener):
    """One for each process; `wake` begins a look into the outbox."""

    def __init__(
        self,
        targets: NoticeTargetsStore,
        sender: NoticeSender,
        health: TargetHealth,
        notices: Notices,
        clock: Clock,
        metrics: Metrics,
        timezone: str,
        wake: Callable[[], None],
    ) -> None:
        self._store = targets
        self._sender = sender
        self._health = health
        self._notices = notices
        self._clock = clock
        self._metrics = metrics
        self._timezone = timezone
        self._wake = wake
        self._known: dict[str, _Known] = {}
        self._tasks = SupervisedTasks("notices")
        self._at_once = 0
        notices.listen(TARGETS_CHANGED, self._forget)

    def start(self) -> None:
        """Keep the site's own targets in memory from now on."""
        self._tasks.keep(self._refresh_for_ever)

    async def stop(self) -> None:
        """End, and drop the notices in memory."""
        await self._tasks.close()

    def changed(self, tenant_id: str) -> None:
        """Note that a target of this tenant was changed here; all processes learn of it."""
        self._forget(tenant_id)
        self._notices.publish(TARGETS_CHANGED, tenant_id)

    async def documents_for(self, change: AlarmChange) -> Sequence[Write]:
        if not change.is_notice:
            return ()
        now = self._clock.now_ms()
        # No message shows comments.
        alarm = msgspec.structs.replace(change.alarm, comments=[])
        return [
            OutboxStore.storing(
                notice_id(change, target),
                WaitingNotice(
                    tenant_id=target.tenant_id,
                    target_id=target.target_id,
                    made_ms=now,
                    due_ms=now,
                    alarm=alarm,
                ),
            )
            for target in self._wanting(await self._targets(alarm.tenant_id), change, now)
        ]

    def stored(self, change: AlarmChange) -> None:
        if change.is_notice:
            self._wake()

    def send_at_once(self, change: AlarmChange) -> None:
        if not change.is_notice:
            return
        known = self._known.get(change.alarm.tenant_id)
        if known is None:
            log.error(
                "the notice of %s was not sent, since the store did not answer when its targets"
                " were asked for: look at the store",
                change.alarm.kind,
            )
            return
        for target in self._wanting(known.targets, change, self._clock.now_ms()):
            if self._at_once >= AT_ONCE_MAX:
                log.error("too many notices wait in memory: one of %s is lost", change.alarm.kind)
                return
            self._at_once += 1
            self._tasks.begin(self._send_at_once(change, target))

    async def _send_at_once(self, change: AlarmChange, target: NoticeTarget) -> None:
        item = NoticeItem(notice_id(change, target), change.alarm, None)
        message = message_of([item], self._clock.now_ms(), self._timezone)
        left: Sequence[str] = ()
        try:
            for attempt in range(1, AT_ONCE_ATTEMPTS + 1):
                try:
                    await self._sender.send(target, message, left)
                except NotSent as error:
                    left = error.left or left
                    self._metrics.notices_failed.labels(kind=target.kind).inc()
                    self._health.failed(target, attempt, str(error))
                    await asyncio.sleep(back_off_s(attempt))
                else:
                    self._metrics.notices_sent.labels(kind=target.kind).inc()
                    self._health.worked(target)
                    return
            self._metrics.notices_given_up.labels(kind=target.kind).inc()
        finally:
            self._at_once -= 1

    def _wanting(
        self, targets: Sequence[NoticeTarget], change: AlarmChange, now_ms: int
    ) -> list[NoticeTarget]:
        if not targets:
            return []
        at = local_time(now_ms, self._timezone)
        return [one for one in targets if wants(one, change.alarm.severity, at)][:TARGETS_MAX]

    async def _targets(self, tenant_id: str) -> list[NoticeTarget]:
        known = self._known.get(tenant_id)
        if known is not None and self._clock.monotonic() < known.until:
            return known.targets
        return await self._read(tenant_id)

    async def _read(self, tenant_id: str) -> list[NoticeTarget]:
        targets = await self._store.targets_of(tenant_id)
        while len(self._known) >= TENANTS_MAX and tenant_id not in self._known:
            del self._known[next(iter(self._known))]
        self._known[tenant_id] = _Known(self._clock.monotonic() + KNOWN_S, targets)
        return targets

    def _forget(self, tenant_id: str) -> None:
        known = self._known.get(tenant_id)
        if known is not None:
            # Still good for what cannot wait for the store.
            self._known[tenant_id] = known._replace(until=0.0)

    async def _refresh_for_ever(self) -> None:
        while True:
            try:
                await self._sender.prepare(await self._read(SITE_TENANT))
            except Unavailable as error:
                log.debug("the notice targets could not be read: %s", error)
            except (OSError, ImportError) as error:
                log.warning(
                    "what sending notices takes could not be loaded (%s): look at the disk with the"
                    " Python packages; it is attempted again",
                    error,
                )
            await asyncio.sleep(REFRESH_S)


def notice_id(change: AlarmChange, target: NoticeTarget) -> str:
    """The id of the notice of this change to this target: the same in each process and attempt."""
    alarm = change.alarm
    about = (alarm.tenant_id, alarm.id, change.step, str(alarm.changed_ms), target.target_id)
    return hashlib.sha256("\n".join(about).encode("utf-8", "replace")).hexdigest()[:32]
