"""Wires the alarms of one process by hand, over the stores and the stream."""

from __future__ import annotations

from dataclasses import dataclass

from server.alarms.alarm import AlarmListener
from server.alarms.alarm_actions import AlarmActions
from server.alarms.alarm_rounds import AlarmRounds
from server.alarms.alarm_service import AlarmService
from server.alarms.alarm_watch import AlarmWatch
from server.alarms.alarm_writer import AlarmWriter
from server.alarms.alarms_store import AlarmsStore
from server.alarms.board import AlarmBoard
from server.alarms.notices_factory import NoticeParts, notice_parts
from server.alarms.rules import AlarmRules
from server.alarms.server_checks import ServerChecks
from server.alarms.site_alarms import SiteAlarms
from server.alarms.zone_limits import ZoneLimits
from server.common.background_task import BackgroundTask
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.services.firestore.models import DAY_MS
from server.services.firestore.service_factory import Stores
from server.services.history.measured import TEMP_MAX, TEMP_MIN
from server.services.site.ports import Notices
from server.services.sse_service.service import SSEService


@dataclass(frozen=True)
class Alarms:
    """The parts that others use; a server process runs the `tasks`."""

    watch: AlarmWatch
    actions: AlarmActions
    reports: SiteAlarms
    service: AlarmService
    notices: NoticeParts
    tasks: tuple[BackgroundTask | NoticeParts, ...]


def alarm_rules(config: ServerConfig) -> AlarmRules:
    """The rules of all zones, from the settings."""
    low, high = config.alarm_tenths
    return AlarmRules(
        frozenset(config.alarms.split(",")) - {""},
        high if high < TEMP_MAX else None,
        low if low > TEMP_MIN else None,
        config.alarm_delay_s * 1000,
    )


def create_alarms(
    config: ServerConfig,
    stores: Stores,
    sse: SSEService,
    notices: Notices,
    clock: Clock,
    metrics: Metrics,
    listener: AlarmListener | None = None,
) -> Alarms:
    """The alarms of one process; `clock` is the one that all processes of the site share.

    They go to `listener`, by default to what sends notices.
    """
    rules, keep_ms = alarm_rules(config), config.audit_days * DAY_MS
    board, store = AlarmBoard(), AlarmsStore(stores.client)
    limits = ZoneLimits(stores.zone_settings, rules, clock)
    watch = AlarmWatch(board, limits, clock, metrics)
    sending = notice_parts(config, stores, notices, clock, metrics)
    to = listener or sending.listener
    writer = AlarmWriter(stores.client, board, sse, clock, metrics, to)
    site = SiteAlarms(writer, stores.watch, keep_ms)
    sending.reports.to = site
    rounds = AlarmRounds(stores.zones, store, limits, board, watch, writer, keep_ms)
    service = AlarmService(rules, rounds, board, watch, site, stores.watch, clock, metrics)
    actions = AlarmActions(store, board, writer, site, stores.watch, stores.audit)
    checks = ServerChecks(config, site, clock)
    return Alarms(watch, actions, site, service, sending, (service, checks, sending))
