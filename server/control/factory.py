"""Wires the zone services of one process by hand, over the stores and the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.common.shielded_tasks import ShieldedTasks
from server.config.config import ServerConfig
from server.control.batch_service import BatchService
from server.control.limits.over_limit import PostLimit
from server.control.messages import StoredObserver, ZoneObserver, unmirrored, unobserved
from server.control.outage.relay_notices import RelayNotices
from server.control.outage.without_store import WithoutStore
from server.control.rules.belief import Trusting
from server.control.rules.decision import Rules
from server.control.rules.silence import Listening
from server.control.setpoint_service import SETTINGS_CHANGED, SetpointService
from server.control.trust_log import TrustLog
from server.control.zone_cache import ZoneCache
from server.control.zone_service import ZoneService
from server.control.zone_watch import ZoneWatch
from server.control.zone_writer import ZoneWriter
from server.control.zones.import_service import ZoneImport
from server.control.zones.removal import ZoneRemoval
from server.control.zones.settings_service import ZoneSettingsService
from server.services.firestore.service_factory import Stores
from server.services.site.ports import Notices
from server.services.sse_service.service import SSEService

FINISH_S = 0.5


@dataclass(frozen=True)
class Control:
    """The services that decide about zones; they share one cache."""

    zones: ZoneService
    batches: BatchService
    setpoints: SetpointService
    settings: ZoneSettingsService
    removal: ZoneRemoval
    zone_files: ZoneImport
    relays: RelayNotices
    watch: ZoneWatch
    work: ShieldedTasks
    post_limit: PostLimit


def rules_of(config: ServerConfig) -> Rules:
    """The rules for all zones, from the settings."""
    trusting = Trusting(*config.plausible_tenths, config.safe_after_s * 1000)
    return Rules(config.present_s * 1000, config.store_grace_s, trusting)


@asynccontextmanager
async def control(
    stores: Stores,
    sse: SSEService,
    notices: Notices,
    clock: Clock,
    metrics: Metrics,
    rules: Rules,
    observe: ZoneObserver = unobserved,
    on_stored: StoredObserver = unmirrored,
) -> AsyncIterator[Control]:
    """Yield the zone services; at the end, finish the work that they began."""
    work = ShieldedTasks()
    cache = ZoneCache(stores.zones, stores.devices, clock)
    listening = Listening(clock.steady_ms(), rules.trusting.safe_after_ms)
    trust_log = TrustLog(clock)
    zones = ZoneService(stores.zones, cache, stores.watch, clock, listening)
    relays = RelayNotices(cache, stores.watch, notices, clock)
    without_store = WithoutStore(stores, cache, relays, sse, clock, metrics, rules, trust_log)
    writer = ZoneWriter(stores, cache, relays, sse, clock, metrics, rules, trust_log, observe)
    writer.on_stored = on_stored
    watch = ZoneWatch(stores, cache, sse, clock, metrics, listening, trust_log, observe)
    batches = BatchService(writer, cache, work, stores.watch, without_store, clock)
    setpoints = SetpointService(
        client=stores.client,
        zones=stores.zones,
        audit=stores.audit,
        cache=cache,
        zone_service=zones,
        work=work,
        sse=sse,
        notices=notices,
        clock=clock,
    )
    removal = ZoneRemoval(stores, cache, sse, work, clock)
    settings = ZoneSettingsService(stores, cache, sse, work, clock)
    files = ZoneImport(stores.zone_directory, cache, settings, setpoints, clock)
    notices.listen(SETTINGS_CHANGED, cache.forget_settings)
    try:
        limit = PostLimit(cache, clock, metrics, rules)
        yield Control(
            zones, batches, setpoints, settings, removal, files, relays, watch, work, limit
        )
    finally:
        await work.close(FINISH_S)
        await without_store.close()
        await relays.close()
