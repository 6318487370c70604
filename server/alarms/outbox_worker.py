"""OutboxWorker: sends the notices that wait, each at least once, and gives up after a day."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Sequence

from server.alarms.alarm import AlarmReports
from server.alarms.notice_models import NoticeTarget
from server.alarms.outbox import OutboxEntry, OutboxStore
from server.alarms.target_health import TargetHealth, TargetKey
from server.alarms.targets.message import NoticeItem, message_id, message_of
from server.alarms.targets.sending import NoticeSender
from server.alarms.targets.sockets import NotSent
from server.alarms.targets_store import NoSuchNoticeTarget, NoticeTargetsStore
from server.alarms.zones_now import ZonesNow
from server.common.background_task import BackgroundTask
from server.common.clock import Clock
from server.common.errors import Unavailable
from server.common.metrics import Metrics
from server.common.supervised_tasks import SupervisedTasks
from server.common.tracebacks import log_failure
from server.services.firestore.models import DAY_MS, LATEST_MS

log = logging.getLogger(__name__)

# Notices that one look takes, and messages that are under way at a time: in all, of one tenant, and
# of those to its targets that fail. A target that hangs takes ten seconds of a place.
LOOK_MAX = 2000
SENDING_MAX, OF_TENANT_MAX, FAILING_MAX = 32, 8, 4
# What cannot be sent now steps back for so long where it hides what is due later.
STEP_BACK_MS = 10_000
# A process that claims notices and dies leaves them to the others after this long; it is longer
# than one attempt.
CLAIM_MS = 30_000
# Between two looks, if nothing is known to become due.
IDLE_S, AWAY_S = 30.0, 5.0
# After a day, and not before so many attempts: the server, too, may have been off, or its clock
# may have leapt.
GIVE_UP_MS, ATTEMPTS_MIN = DAY_MS, 20
# No notice is postponed for longer: if one is, the clock was set back since.
POSTPONED_MAX_MS = 10 * 60_000


class OutboxWorker(BackgroundTask):
    """One for each process. Which of them sends a notice, a conditional write decides.

    A claim moves the time at which the notice is due. So a process that dies between two steps
    leaves a notice that will be due again, with the same id.
    """

    def __init__(
        self,
        outbox: OutboxStore,
        targets: NoticeTargetsStore,
        zones: ZonesNow,
        sender: NoticeSender,
        health: TargetHealth,
        reports: AlarmReports,
        clock: Clock,
        metrics: Metrics,
        timezone: str,
    ) -> None:
        super().__init__("outbox")
        self._outbox = outbox
        self._targets = targets
        self._zones = zones
        self._sender = sender
        self._health = health
        self._reports = reports
        self._clock = clock
        self._metrics = metrics
        self._timezone = timezone
        self._awake = asyncio.Event()
        self._busy: set[TargetKey] = set()
        self._tasks = SupervisedTasks("the outbox")
        self._waiting = True
        # Targets whose notices were given up; and tenants of which the alarm about that is over.
        self._given_up: set[TargetKey] = set()
        self._cleared: set[str] = set()

    def wake(self) -> None:
        """Look at once: a notice was stored."""
        self._awake.set()

    async def stop(self) -> None:
        """End; what is under way is cancelled and will be sent again."""
        self._stop.set()
        self.wake()
        await super().stop()
        await self._tasks.close()

    async def _run(self) -> None:
        while not self._stop.is_set():
            self._awake.clear()
            try:
                pause_s = await self._look()
            except Unavailable:
                pause_s = AWAY_S
            except Exception as error:  # noqa: BLE001 - one wrong document must not end the worker
                log_failure(log, error, "the outbox could not be read, the next look retries")
                pause_s = AWAY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._awake.wait()

    async def _look(self) -> float:
        """Begin with what is due; return the seconds until the next look."""
        now = self._clock.now_ms()
        found = await self._outbox.due(now, LOOK_MAX)
        pause_s = IDLE_S
        if found or self._waiting:
            pause_s = await self._measure(now)
        groups: dict[TargetKey, list[OutboxEntry]] = defaultdict(list)
        for one in found:
            groups[one.notice.tenant_id, one.notice.target_id].append(one)
        is_full = len(found) >= LOOK_MAX
        if is_full:
            pause_s = 0.1
        for key, entries in groups.items():
            wait_s = self._health.wait_s(key)
            if key in self._busy or not self._has_room(key):
                # The end of that message wakes this task.
                if is_full:
                    await self._outbox.postpone(entries, now + STEP_BACK_MS)
            elif wait_s > 0:
                pause_s = min(pause_s, wait_s)
                if is_full:
                    await self._outbox.postpone(entries, now + int(wait_s * 1000))
            elif (rest_s := self._health.pause_s(key)) > 0:
                await self._outbox.postpone(entries, now + int(rest_s * 1000))
                pause_s = min(pause_s, rest_s)
            else:
                self._busy.add(key)
                self._tasks.begin(self._send_all(key, entries))
        return pause_s

    def _has_room(self, key: TargetKey) -> bool:
        """Whether another message to this target may be under way: no tenant may take all."""
        own = [one for one in self._busy if one[0] == key[0]]
        if len(self._busy) >= SENDING_MAX or len(own) >= OF_TENANT_MAX:
            return False
        fails = self._health.fails
        return not fails(key) or sum(map(fails, own)) < FAILING_MAX

    async def _measure(self, now: int) -> float:
        """Set the gauges; return the seconds until the next notice is due."""
        state = await self._outbox.state(now)
        self._waiting = state.waiting > 0
        self._metrics.notices_waiting.set(state.waiting)
        oldest_ms = now if state.oldest_ms is None else state.oldest_ms
        self._metrics.notices_oldest_s.set(max(0, now - oldest_ms) / 1000)
        if state.next_ms is None:
            return IDLE_S
        if state.next_ms - now > POSTPONED_MAX_MS:
            late = await self._outbox.due(LATEST_MS, LOOK_MAX)
            await self._outbox.postpone(late, now)
            return 0.1
        return min(IDLE_S, (state.next_ms - now) / 1000 + 0.01)

    async def _send_all(self, key: TargetKey, entries: Sequence[OutboxEntry]) -> None:
        """Send all notices of one target that are due, in as few messages as possible."""
        try:
            target, _ = await self._targets.get_target(*key)
            if target.enabled:
                await self._send_groups(target, entries)
            else:
                await self._outbox.remove(entries)
        except NoSuchNoticeTarget:
            await self._outbox.remove(entries)
            self._health.forget(key)
        except Unavailable as error:
            log.warning("the outbox could not be written, a later attempt retries: %s", error)
            await asyncio.sleep(1)  # no faster than a store that is away can be asked
        except Exception as error:  # noqa: BLE001 - the other targets must get theirs
            log_failure(log, error, "notices to the target %s were not sent", key[1])
            await asyncio.sleep(AWAY_S)
        finally:
            self._busy.discard(key)
            self.wake()

    async def _send_groups(self, target: NoticeTarget, entries: Sequence[OutboxEntry]) -> None:
        groups: dict[str, list[OutboxEntry]] = defaultdict(list)
        for one in entries:
            groups[one.notice.message].append(one)
        key = target.tenant_id, target.target_id
        # First those that the receiver may have already.
        for message in sorted(groups, reverse=True):
            if self._health.wait_s(key) > 0 or not await self._send_group(target, groups[message]):
                return

    async def _send_group(self, target: NoticeTarget, entries: Sequence[OutboxEntry]) -> bool:
        """Send one message; return False if the target does not take it."""
        name = entries[0].notice.message or message_id([one.id for one in entries])
        taken = await self._outbox.claim(entries, self._clock.now_ms() + CLAIM_MS, name)
        if not taken:
            return True  # another process sends them
        if len(taken) < len(entries):
            # It sends the others: a receiver must not take these for a repeat of those.
            name = message_id([one.id for one in taken])
        devices = (one.notice.alarm.device_id for one in taken)
        zones = await self._zones.read(target.tenant_id, devices)
        items = [
            NoticeItem(one.id, one.notice.alarm, zones.get(one.notice.alarm.device_id))
            for one in taken
        ]
        message = message_of(items, self._clock.now_ms(), self._timezone, name)
        self._health.sending((target.tenant_id, target.target_id))
        try:
            await self._sender.send(target, message, taken[0].notice.left)
        except NotSent as error:
            await self._failed(target, taken, name, error)
            return False
        await self._outbox.remove(taken)
        self._metrics.notices_sent.labels(kind=target.kind).inc(len(taken))
        await self.arrived(target)
        return True

    async def arrived(self, target: NoticeTarget) -> None:
        """Note that a message arrived, also a test: what waits for the target is sent now.

        Raises StoreUnavailable.
        """
        key = target.tenant_id, target.target_id
        self._given_up.discard(key)
        if (
            not await self._others_failed(target.tenant_id)
            and target.tenant_id not in self._cleared
        ):
            self._cleared.add(target.tenant_id)
            self._reports.report(target.tenant_id, "notice_failed", is_on=False)
        if self._health.worked(target):
            now = self._clock.now_ms()
            waiting = await self._outbox.of_target(*key, LOOK_MAX)
            late = [one for one in waiting if one.notice.due_ms > now + CLAIM_MS]
            await self._outbox.postpone(late, now)
            self.wake()

    async def _others_failed(self, tenant_id: str) -> bool:
        """Whether notices to another target of the tenant were given up that is still wanted."""
        failed = {target_id for tenant, target_id in self._given_up if tenant == tenant_id}
        if failed:
            found = await self._targets.targets_of(tenant_id)
            gone = failed - {one.target_id for one in found if one.enabled}
            self._given_up -= {(tenant_id, target_id) for target_id in gone}
            failed -= gone
        return bool(failed)

    async def _failed(
        self, target: NoticeTarget, taken: Sequence[OutboxEntry], message: str, error: NotSent
    ) -> None:
        self._metrics.notices_failed.labels(kind=target.kind).inc()
        now = self._clock.now_ms()
        attempts = max(one.notice.attempts for one in taken)
        pause_s = self._health.failed(target, attempts, str(error))
        old = [one for one in taken if _is_over(one, now)]
        if old:
            await self._give_up(target, old, str(error))
        rest = [one for one in taken if not _is_over(one, now)]
        due_ms = now + int(pause_s * 1000)
        # Recipients that have it must not get it again, whatever failed since.
        left = error.left or taken[0].notice.left
        kept = message if error.unsure or left else ""
        await self._outbox.note_failure(rest, due_ms, str(error), kept, left)

    async def _give_up(self, target: NoticeTarget, old: Sequence[OutboxEntry], why: str) -> None:
        await self._outbox.remove(old)
        self._metrics.notices_given_up.labels(kind=target.kind).inc(len(old))
        log.error(
            "%d notices to the target %r of %r are given up after a day (%s): repair the target,"
            " or delete it",
            len(old),
            target.name,
            target.tenant_id,
            why,
        )
        if any(one.notice.alarm.kind != "notice_failed" for one in old):
            self._given_up.add((target.tenant_id, target.target_id))
            self._cleared.discard(target.tenant_id)
            self._reports.report(target.tenant_id, "notice_failed", is_on=True, reason=target.name)


def _is_over(entry: OutboxEntry, now_ms: int) -> bool:
    notice = entry.notice
    return now_ms - notice.made_ms >= GIVE_UP_MS and notice.attempts >= ATTEMPTS_MIN
