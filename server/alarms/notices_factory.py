"""Wires the sending of notices of one process."""

from __future__ import annotations

from dataclasses import dataclass

from server.alarms.alarm import AlarmReports
from server.alarms.notices import AlarmNotices
from server.alarms.outbox import OutboxStore
from server.alarms.outbox_worker import OutboxWorker
from server.alarms.target_health import TargetHealth
from server.alarms.target_service import TargetService
from server.alarms.targets.sending import NoticeSender
from server.alarms.targets_store import NoticeTargetsStore
from server.alarms.zones_now import ZonesNow
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.services.firestore.service_factory import Stores
from server.services.site.ports import Notices


class NoReports(AlarmReports):
    """Reports nothing."""

    def report(self, tenant_id: str, kind: str, *, is_on: bool, reason: str = "") -> None:
        pass


class LaterReports(AlarmReports):
    """Passes reports on to `to`, which is known only after this was made."""

    def __init__(self) -> None:
        self.to: AlarmReports = NoReports()

    def report(self, tenant_id: str, kind: str, *, is_on: bool, reason: str = "") -> None:
        self.to.report(tenant_id, kind, is_on=is_on, reason=reason)


@dataclass(frozen=True)
class NoticeParts:
    """The parts that others need: `listener` for alarms, `targets` for admins.

    Alarms are made with the listener; `reports` gets them as its `to` afterwards.
    """

    listener: AlarmNotices
    targets: TargetService
    worker: OutboxWorker
    reports: LaterReports

    def start(self) -> None:
        """Begin to send."""
        self.listener.start()
        self.worker.start()

    async def stop(self) -> None:
        """End; what is under way is sent again later, but for notices about the store itself."""
        await self.listener.stop()
        await self.worker.stop()


def notice_parts(
    config: ServerConfig, stores: Stores, notices: Notices, clock: Clock, metrics: Metrics
) -> NoticeParts:
    """Make the parts; nothing is sent until they are started.

    `clock` is the one that all processes of the site share.
    """
    store, outbox = NoticeTargetsStore(stores.client), OutboxStore(stores.client)
    sender = NoticeSender(
        config.notice_private_addresses, clear_passwords=config.notice_clear_passwords
    )
    health, reports, zone = TargetHealth(clock), LaterReports(), config.timezone
    zones = ZonesNow(stores.client, stores.zones)
    worker = OutboxWorker(outbox, store, zones, sender, health, reports, clock, metrics, zone)
    listener = AlarmNotices(store, sender, health, notices, clock, metrics, zone, worker.wake)
    targets = TargetService(
        store, stores.audit, listener, sender, health, clock, zone, worker.arrived
    )
    return NoticeParts(listener, targets, worker, reports)
