"""AlarmWriter: stores steps of alarms with their notices, then announces them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from server.alarms.alarm import Alarm, AlarmChange, AlarmListener, AlarmStep, NoListener
from server.alarms.alarm_view import alarm_event
from server.alarms.alarms_store import (
    AlarmSlot,
    AlarmsStore,
    StoredAlarm,
    begin_writes,
    change_writes,
    drop_writes,
    remark_writes,
)
from server.alarms.board import AlarmBoard, AlarmKey
from server.alarms.rules import AlarmMoment, Sign, family_of, shelf_is_over
from server.alarms.steps import begun, of_zone, slot_id
from server.common.clock import Clock, booted_ms
from server.common.errors import Conflict
from server.common.metrics import Metrics
from server.common.seldom import Seldom
from server.services.firestore.models import ZoneRecord
from server.services.firestore.routing import ALARMS
from server.services.ports.documents import (
    BATCH_MAX,
    Create,
    DocumentClient,
    StoreUnavailable,
    Write,
    plain,
)
from server.services.sse_service.service import SSEService

log = logging.getLogger(__name__)

# More than this is noise: nobody can look at it, and each alarm costs a document.
OPEN_MAX = 10_000
# Alarms that begin in one write, with room for the writes of their notices.
BEGUN_AT_ONCE = 50
ATTEMPTS = 5
_MAKE = {"dropped": drop_writes, "commented": remark_writes}


class Beginning(NamedTuple):
    """A condition that becomes an alarm, pending for `delay_ms`; `zones` if it is of many zones."""

    key: AlarmKey
    sign: Sign
    zone: ZoneRecord | None = None
    setpoint_tenths: int | None = None
    delay_ms: int = 0
    zones: int = 0


class _Step(NamedTuple):
    """A change with its own writes; the first one's version becomes the alarm's."""

    change: AlarmChange
    writes: list[Write]


class AlarmWriter:
    """Every step of an alarm is one write over the version that was read, with its notices."""

    def __init__(
        self,
        client: DocumentClient,
        board: AlarmBoard,
        sse: SSEService,
        clock: Clock,
        metrics: Metrics,
        listener: AlarmListener | None = None,
    ) -> None:
        self._client = client
        self._store = AlarmsStore(client)
        self._board = board
        self._sse = sse
        self._clock = clock
        self._metrics = metrics
        self._seldom = Seldom(clock.monotonic)
        self.listener: AlarmListener = listener or NoListener()

    def moment(self) -> AlarmMoment:
        """The moment now."""
        clock = self._clock
        uptime_ms, steady_ms = int(clock.uptime_ms()), clock.steady_ms()
        return AlarmMoment(clock.now_ms(), uptime_ms, steady_ms, clock.boot, booted_ms(clock))

    async def begin(self, wanted: Sequence[Beginning]) -> None:
        """Begin alarms; one that another process has begun is taken over as it is stored.

        Raises StoreUnavailable; the same call begins those that were not reached.
        """
        for start in range(0, len(wanted), BEGUN_AT_ONCE):
            more: Counter[str] = Counter()
            part = wanted[start : start + BEGUN_AT_ONCE]
            some = [one for one in part if self._has_room(one, more)]
            try:
                await self._begin(some)
            except Conflict:
                for one in some:
                    await self._begin_alone(one)

    async def change(
        self, stored: StoredAlarm, change: AlarmChange, beside: Sequence[Write] = ()
    ) -> None:
        """Store a step of an open alarm, or a comment, over this version, together with `beside`.

        Raises VersionConflict if another process was first, and StoreUnavailable.
        """
        make = _MAKE.get(change.step, change_writes)
        await self._write([_Step(change, [*make(change.alarm, stored.version), *beside])])

    async def announce(self, changes: Sequence[AlarmChange]) -> None:
        """Count these changes, and publish each as an event."""
        of_tenants: dict[str, list[tuple[object, str | None, str]]] = {}
        for change in changes:
            alarm = change.alarm
            self._metrics.alarm_changes.labels(kind=alarm.kind, step=change.step).inc()
            self._log(change)
            events = of_tenants.setdefault(alarm.tenant_id, [])
            events.append((alarm_event(change), alarm.device_id or None, ""))
        for tenant_id, events in of_tenants.items():
            await self._sse.publish_many(tenant_id, "alarm", events)

    async def keep(self, alarm: Alarm) -> None:
        """Store an alarm that is over and was in memory; several processes may have the same."""
        try:
            await self._client.write([Create(ALARMS, alarm.id, plain(alarm))])
        except (Conflict, StoreUnavailable) as error:
            log.info("an alarm about the store is not kept as history: %s", error)

    def _log(self, change: AlarmChange) -> None:
        """Log a new alarm; the zone watch and the store watch log theirs."""
        alarm = change.alarm
        if change.step != "raised" or change.at_once or family_of(alarm.kind):
            return
        if self._seldom.may_log(f"{alarm.tenant_id} {alarm.kind}"):
            log.warning(
                "alarm %s of %s of tenant %r: `bas_server.py alarms` lists all",
                alarm.kind,
                f"zone {alarm.device_id!r}" if alarm.device_id else "the site",
                alarm.tenant_id,
            )

    def _has_room(self, one: Beginning, more: Counter[str]) -> bool:
        """Whether this alarm may begin beside the open ones and `more`, by tenant.

        Alarms of the site are few and may always: they often name the common cause.
        """
        tenant_id, device_id, _ = one.key
        if not device_id or self._board.counts[tenant_id] + more[tenant_id] < OPEN_MAX:
            more[tenant_id] += 1
            return True
        self._metrics.alarms_dropped.inc()
        self._board.forget(one.key)
        if self._seldom.may_log(tenant_id):
            log.error(
                "tenant %r has %d open alarms, and gets no more: look for a common cause",
                tenant_id,
                OPEN_MAX,
            )
        return False

    async def _begin_alone(self, one: Beginning) -> None:
        for _ in range(ATTEMPTS):
            try:
                await self._begin([one])
            except Conflict:
                continue
            return
        log.warning("an alarm of zone %r did not begin: too many write it at once", one.key[1])

    async def _begin(self, wanted: Sequence[Beginning]) -> None:
        slots = await self._store.slots({slot_id(*one.key): None for one in wanted})
        moment = self.moment()
        steps: list[_Step] = []
        for one in wanted:
            slot = slots[slot_id(*one.key)]
            if slot.last is not None and slot.last.alarm.is_open:
                self._board.know(slot.last, moment.uptime_ms)
            else:
                steps.append(_new(one, slot, moment))
        await self._write(steps)

    async def _write(self, steps: Sequence[_Step]) -> None:
        """Write the steps, each one whole; those of small ones together."""
        group: list[tuple[_Step, list[Write]]] = []
        size = 0
        for step in steps:
            writes = [*step.writes, *await self.listener.documents_for(step.change)]
            if group and size + len(writes) > BATCH_MAX:
                await self._commit(group)
                group, size = [], 0
            group.append((step, writes))
            size += len(writes)
        if group:
            await self._commit(group)

    async def _commit(self, group: Sequence[tuple[_Step, list[Write]]]) -> None:
        versions = iter(
            await self._client.write([write for _, writes in group for write in writes])
        )
        uptime_ms = int(self._clock.uptime_ms())
        for step, writes in group:
            alarm = step.change.alarm
            version, *_ = [next(versions) for _ in writes]
            if step.change.step == "dropped":
                self._board.forget((alarm.tenant_id, alarm.device_id, alarm.kind))
            elif alarm.is_open or step.change.step == "cleared":
                is_new = step.change.step in ("pending", "raised")
                self._board.know(StoredAlarm(alarm, version), uptime_ms, is_new=is_new)
            self.listener.stored(step.change)
        await self.announce([step.change for step, _ in group])


def _new(one: Beginning, slot: AlarmSlot, moment: AlarmMoment) -> _Step:
    """A new alarm of this slot; a shelf of the last one that has not ended holds for it too."""
    alarm = begun(one.key, slot.number + 1, one.sign, moment, one.delay_ms)
    if one.zone is not None:
        alarm = of_zone(alarm, one.zone, one.setpoint_tenths)
    if one.zones:
        alarm = msgspec.structs.replace(alarm, zones=one.zones)
    last = slot.last.alarm if slot.last is not None else None
    if last is not None and last.is_shelved and not shelf_is_over(last, moment):
        alarm = msgspec.structs.replace(
            alarm,
            shelved_by=last.shelved_by,
            shelved_until_ms=last.shelved_until_ms,
            shelf_boot=last.shelf_boot,
            shelf_booted_ms=last.shelf_booted_ms,
        )
    step: AlarmStep = "pending" if one.delay_ms else "raised"
    return _Step(AlarmChange(step, alarm), begin_writes(alarm, slot))
