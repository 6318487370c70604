"""AlarmsStore: stores alarms so that a zone and kind has at most one that is open.

A new alarm is written together with its slot, over the version of the slot that was read. Of
several processes that begin the same alarm, one succeeds; the others get a conflict and read it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

import msgspec

from server.alarms.alarm import Alarm
from server.services.firestore.base import in_parts
from server.services.firestore.models import DAY_MS
from server.services.firestore.routing import ALARM_SLOTS, ALARMS
from server.services.ports.documents import (
    Create,
    Delete,
    Document,
    DocumentClient,
    Filter,
    Put,
    Query,
    Write,
)
from server.services.ports.values import Integer, Name

# Firestore deletes what has expired within days: a number must not come again before.
SLOT_LONGER_MS = 30 * DAY_MS
# Read in one go, about 3 ms; then other work has its turn.
READ_AT_ONCE = 250


class StoredAlarm(NamedTuple):
    """An alarm and the version of its document."""

    alarm: Alarm
    version: str


class SlotRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The number of the last alarm of a zone and kind, which expires a month after that alarm.

    `dropped` is that alarm if it was shelved and never became active: it has no document, and its
    shelf holds for the next one.
    """

    tenant_id: Name
    number: Integer
    expire_at: Integer | None = None
    dropped: Alarm | None = None


class AlarmSlot(NamedTuple):
    """The last alarm of a zone and kind as it was read, if there was one.

    `number` is 0 and `version` None if there was none; `last` is None if it is not kept any more.
    """

    number: int = 0
    version: str | None = None
    last: StoredAlarm | None = None


class AlarmsStore:
    """Alarms on a `DocumentClient`."""

    def __init__(self, client: DocumentClient) -> None:
        self._client = client

    async def get(self, alarm_id: str) -> StoredAlarm | None:
        """The alarm, or None."""
        document = await self._client.get(ALARMS, alarm_id)
        return _stored(document) if document else None

    async def slots(self, slot_ids: Iterable[str]) -> dict[str, AlarmSlot]:
        """Each of these slots with its last alarm."""
        found: dict[str, AlarmSlot] = {}
        for some in in_parts(list(slot_ids)):
            slots = await self._client.get_many(ALARM_SLOTS, some)
            ids = [f"{name}-{one.fields['number']}" for name, one in slots.items()]
            last = await self._client.get_many(ALARMS, ids) if ids else {}
            for name in some:
                document = slots.get(name)
                if document is None:
                    found[name] = AlarmSlot()
                    continue
                slot, version = msgspec.convert(document.fields, SlotRecord), document.version
                alarm = last.get(f"{name}-{slot.number}")
                known = _stored(alarm) if alarm else None
                if known is None and slot.dropped is not None:
                    known = StoredAlarm(slot.dropped, "")
                found[name] = AlarmSlot(slot.number, version, known)
        return found

    async def all_open(self) -> AsyncIterator[list[StoredAlarm]]:
        """The open alarms of all tenants, some at a time."""
        cursor: str | None = None
        while True:
            query = Query(ALARMS, (Filter("is_open", "==", True),))
            page = await self._client.query(query, READ_AT_ONCE, cursor)
            yield [_stored(one) for one in page.documents]
            cursor = page.next_cursor
            if cursor is None:
                return

    async def page_of_alarms(
        self,
        tenant_id: str,
        limit: int,
        *,
        state: str | None = None,
        device_id: str | None = None,
        since_ms: int | None = None,
        cursor: str | None = None,
    ) -> tuple[list[Alarm], str | None]:
        """A page of the tenant's alarms, the last changed first, and the cursor after it.

        `state` is a state or "open"; `device_id` "" stands for the site. Only alarms that changed
        at `since_ms` or later. Raises Invalid for a malformed cursor.
        """
        filters = [Filter("tenant_id", "==", tenant_id)]
        if state == "open":
            filters.append(Filter("is_open", "==", True))
        elif state is not None:
            filters.append(Filter("state", "==", state))
        if device_id is not None:
            filters.append(Filter("device_id", "==", device_id))
        if since_ms is not None:
            filters.append(Filter("changed_ms", ">=", since_ms))
        query = Query(ALARMS, tuple(filters), order_by="changed_ms", direction="desc")
        page = await self._client.query(query, limit, cursor)
        return [_stored(one).alarm for one in page.documents], page.next_cursor

    async def count_open(self, tenant_id: str) -> int:
        """The number of the tenant's open alarms."""
        filters = Filter("tenant_id", "==", tenant_id), Filter("is_open", "==", True)
        return (await self._client.aggregate(Query(ALARMS, filters))).count


def begin_writes(alarm: Alarm, slot: AlarmSlot) -> list[Write]:
    """The writes of a new alarm; the first one's version is the alarm's."""
    fields = SlotRecord(alarm.tenant_id, alarm.number)
    first: Write = Create(ALARMS, alarm.id, alarm)
    if slot.version is None:
        return [first, Create(ALARM_SLOTS, alarm.slot, fields)]
    return [first, Put(ALARM_SLOTS, alarm.slot, fields, if_version=slot.version)]


def change_writes(alarm: Alarm, version: str) -> list[Write]:
    """The writes of a changed alarm; the first one's version is the alarm's.

    The slot of an alarm that is over is kept for SLOT_LONGER_MS more than the alarm.
    """
    first: Write = Put(ALARMS, alarm.id, alarm, if_version=version)
    if alarm.expire_at is None:
        return [first]
    fields = SlotRecord(alarm.tenant_id, alarm.number, alarm.expire_at + SLOT_LONGER_MS)
    return [first, Put(ALARM_SLOTS, alarm.slot, fields)]


def remark_writes(alarm: Alarm, version: str) -> list[Write]:
    """The write of an alarm with a new comment: the slot may be that of a later alarm by now."""
    return [Put(ALARMS, alarm.id, alarm, if_version=version)]


def drop_writes(alarm: Alarm, version: str) -> list[Write]:
    """The writes that delete an alarm which never became active; its shelf stays in its slot."""
    first: Write = Delete(ALARMS, alarm.id, if_version=version)
    if not alarm.is_shelved or alarm.expire_at is None:
        return [first]
    expire_at = alarm.expire_at + SLOT_LONGER_MS
    kept = msgspec.structs.replace(alarm, comments=[])
    return [
        first,
        Put(ALARM_SLOTS, alarm.slot, SlotRecord(alarm.tenant_id, alarm.number, expire_at, kept)),
    ]


def _stored(document: Document) -> StoredAlarm:
    return StoredAlarm(msgspec.convert(document.fields, Alarm), document.version)
