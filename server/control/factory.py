"""The zone services of one process, wired by hand over the stores and the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from server.clock import Clock
from server.config.config import ServerConfig
from server.control.batch_service import BatchService
from server.control.belief import Trusting
from server.control.decision import Rules
from server.control.relay_notices import RelayNotices
from server.control.setpoints import SETTINGS_CHANGED, SetpointService
from server.control.silence import Listening
from server.control.trust_log import TrustLog
from server.control.without_store import WithoutStore
from server.control.zone_cache import ZoneCache
from server.control.zone_service import ZoneService
from server.control.zone_watch import ZoneWatch
from server.control.zone_writer import ZoneWriter
from server.metrics import Metrics
from server.notices import Notices
from server.services.firestore.service_factory import Stores
from server.services.sse_service.service import SSEService
from server.work import Work

FINISH_S = 0.5


@dataclass(frozen=True)
class Control:
    """What decides about zones; all share one view of them."""

    zones: ZoneService
    batches: BatchService
    setpoints: SetpointService
    relays: RelayNotices
    watch: ZoneWatch


def rules_of(config: ServerConfig) -> Rules:
    """The rules that hold for all zones, as they are set."""
    trusting = Trusting(*config.plausible_tenths, config.safe_after_s * 1000)
    return Rules(config.telemetry_days, config.present_s * 1000, config.store_grace_s, trusting)


@asynccontextmanager
async def control(
    stores: Stores,
    sse: SSEService,
    notices: Notices,
    clock: Clock,
    metrics: Metrics,
    rules: Rules,
) -> AsyncIterator[Control]:
    """The zone services; at the end, what they began is finished."""
    work = Work()
    cache = ZoneCache(stores.zones, stores.devices, clock)
    listening = Listening(clock.steady_ms(), rules.trusting.safe_after_ms)
    trust_log = TrustLog(clock)
    zones = ZoneService(stores.zones, cache, stores.watch, clock, listening)
    relays = RelayNotices(cache, stores.watch, notices, clock)
    without_store = WithoutStore(stores, cache, relays, sse, clock, metrics, rules, trust_log)
    writer = ZoneWriter(stores, cache, relays, sse, clock, metrics, rules, trust_log)
    watch = ZoneWatch(stores, cache, sse, clock, metrics, listening, trust_log)
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
    notices.listen(SETTINGS_CHANGED, cache.forget_settings)
    try:
        yield Control(zones, batches, setpoints, relays, watch)
    finally:
        await work.close(FINISH_S)
        await without_store.close()
        await relays.close()
