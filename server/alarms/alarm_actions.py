"""AlarmActions: lists alarms, and lets users acknowledge, shelve and comment them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from server.alarms import steps
from server.alarms.alarm import Alarm, AlarmChange, AlarmStep
from server.alarms.alarm_writer import ATTEMPTS, AlarmWriter
from server.alarms.alarms_store import AlarmsStore, StoredAlarm
from server.alarms.board import AlarmBoard
from server.alarms.site_alarms import SITE_TENANT, SiteAlarms
from server.alarms.steps import ALARM_ID
from server.common.errors import Conflict, NotFound
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.store_watch import StoreWatch
from server.services.ports.documents import StoreUnavailable

# Open alarms that the snapshot of a stream has.
SHOWN_MAX = 1000


class NoSuchAlarm(NotFound):
    """The tenant has no alarm with this id."""

    error = "No such alarm"
    code = "NO_SUCH_ALARM"


class AlarmUser(NamedTuple):
    """A user who acts on an alarm, and what of the tenant the user may see."""

    tenant_id: str
    name: str
    address: str
    check_zone: Callable[[str | None], None]


class AlarmActions:
    """What users see of alarms and do with them."""

    def __init__(
        self,
        store: AlarmsStore,
        board: AlarmBoard,
        writer: AlarmWriter,
        site: SiteAlarms,
        store_watch: StoreWatch,
        audit: AuditStore,
    ) -> None:
        self._store = store
        self._board = board
        self._writer = writer
        self._site = site
        self._store_watch = store_watch
        self._audit = audit

    async def page(
        self,
        tenant_id: str,
        limit: int,
        *,
        state: str | None = None,
        device_id: str | None = None,
        since_ms: int | None = None,
        cursor: str | None = None,
    ) -> tuple[list[Alarm], str | None]:
        """A page of the tenant's alarms, as `AlarmsStore.page_of_alarms` returns it.

        The first page begins with the alarms in memory. Raises Invalid, StoreUnavailable.
        """
        found, after = await self._store.page_of_alarms(
            tenant_id, limit, state=state, device_id=device_id, since_ms=since_ms, cursor=cursor
        )
        if cursor is None and state in (None, "open", "active", "acknowledged"):
            found = [
                *(
                    one
                    for one in self._in_memory(tenant_id)
                    if device_id in (None, "") and state in (None, "open", one.state)
                ),
                *found,
            ]
        return found, after

    async def open_alarms(self, tenant_id: str) -> tuple[list[Alarm], int]:
        """At most SHOWN_MAX open alarms, the last changed first, and how many there are.

        While the store does not answer they are those that this process knows.
        """
        own = self._in_memory(tenant_id)
        try:
            self._store_watch.raise_if_away()
            found, after = await self._store.page_of_alarms(tenant_id, SHOWN_MAX, state="open")
            count = len(found) if after is None else await self._store.count_open(tenant_id)
        except StoreUnavailable:
            found = [one.alarm for key, one in self._board.known() if key[0] == tenant_id]
            found.sort(key=lambda alarm: alarm.changed_ms, reverse=True)
            count = len(found)
        return [*own, *found][:SHOWN_MAX], len(own) + count

    async def acknowledge(self, user: AlarmUser, alarm_id: str) -> Alarm:
        """Note that the user has seen an active alarm; it is no error if somebody has already.

        Raises NoSuchAlarm, AlarmOver, AlarmPending, StoreUnavailable.
        """
        return await self._act(
            user,
            alarm_id,
            "acknowledged",
            lambda alarm: steps.acknowledged(alarm, user.name, self._writer.moment()),
        )

    async def shelve(self, user: AlarmUser, alarm_id: str, for_ms: int) -> Alarm:
        """Send no notices of an open alarm for this time; 0 ends that.

        Raises NoSuchAlarm, AlarmOver, StoreUnavailable.
        """

        def step(alarm: Alarm) -> Alarm:
            moment = self._writer.moment()
            until_ms = moment.now_ms + for_ms if for_ms else 0
            return steps.shelved(alarm, user.name, until_ms, moment)

        return await self._act(user, alarm_id, "shelved" if for_ms else "unshelved", step)

    async def comment(self, user: AlarmUser, alarm_id: str, text: str) -> Alarm:
        """Add a remark to an alarm, also to one that is over.

        Raises NoSuchAlarm, TooManyComments, StoreUnavailable.
        """
        return await self._act(
            user,
            alarm_id,
            "commented",
            lambda alarm: steps.commented(alarm, user.name, text, self._writer.moment()),
        )

    async def _act(
        self, user: AlarmUser, alarm_id: str, step: AlarmStep, act: Callable[[Alarm], Alarm]
    ) -> Alarm:
        for alarm in self._in_memory(user.tenant_id):
            if alarm.id == alarm_id:
                after = act(alarm)
                self._site.replace(AlarmChange(step, after, at_once=True))
                return after
        for _ in range(ATTEMPTS):
            stored = await self._found(user, alarm_id)
            after = act(stored.alarm)
            if after is stored.alarm:
                return after
            entry = self._audit.entry(
                f"ALARM_{step.upper()}",
                tenant_id=user.tenant_id,
                username=user.name,
                address=user.address,
                details=_details(after, step),
            )
            try:
                await self._writer.change(stored, AlarmChange(step, after), [entry])
            except Conflict:
                continue  # another process or user was first: act on what it wrote
            return after
        raise StoreUnavailable(message="the alarm is written by too many at once")

    async def _found(self, user: AlarmUser, alarm_id: str) -> StoredAlarm:
        stored = await self._store.get(alarm_id) if ALARM_ID.fullmatch(alarm_id) else None
        if stored is None or stored.alarm.tenant_id != user.tenant_id:
            raise NoSuchAlarm
        user.check_zone(stored.alarm.device_id or None)
        return stored

    def _in_memory(self, tenant_id: str) -> list[Alarm]:
        return self._site.in_memory() if tenant_id == SITE_TENANT else []


def _details(alarm: Alarm, step: AlarmStep) -> dict[str, object]:
    details: dict[str, object] = {
        "alarm_id": alarm.id,
        "device_id": alarm.device_id,
        "kind": alarm.kind,
    }
    if step == "shelved":
        details["until"] = alarm.shelved_until_ms
    if step == "commented":
        details["text"] = alarm.comments[-1].text
    return details
