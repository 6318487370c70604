"""Services: all sync faces of one process, which share a bridge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from server.auth.factory import Auth
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.services.firestore.service_factory import Stores
from server.services.sse_service.service import SSEService
from server.sync_api.audit import SyncAudit
from server.sync_api.bridge import SyncBridge
from server.sync_api.devices import SyncDevices
from server.sync_api.health import SyncHealth
from server.sync_api.sessions import SyncSessions
from server.sync_api.sse import SyncSSE
from server.sync_api.telemetry import SyncTelemetry
from server.sync_api.threads import Threads
from server.sync_api.users import SyncUsers

END_S = 0.5


@dataclass(frozen=True)
class Services:
    """The services for code in other threads; code on the loop awaits the async services."""

    bridge: SyncBridge
    view_threads: Threads
    wsgi_threads: Threads
    sse: SyncSSE
    telemetry: SyncTelemetry
    users: SyncUsers
    sessions: SyncSessions
    audit: SyncAudit
    devices: SyncDevices
    health: SyncHealth

    def get_telemetry_service(self) -> SyncTelemetry:
        """The telemetry store, as from the existing server's factory."""
        return self.telemetry

    def is_telemetry_enabled(self) -> bool:
        """True: readings are always stored."""
        return True

    def health_check(self) -> dict[str, Any]:
        """Whether the store keeps what is written: see `SyncHealth.check`."""
        return self.health.check()


@asynccontextmanager
async def sync_services(
    config: ServerConfig,
    stores: Stores,
    auth: Auth,
    sse: SSEService,
    clock: Clock,
    metrics: Metrics,
) -> AsyncIterator[Services]:
    """Open the sync faces of these stores and this hub, and the threads of their callers.

    At the end every call is refused or ended, and the threads end within END_S, except those whose
    code does not return.
    """
    bridge = SyncBridge()
    pools = [Threads(name, config.sync_threads, metrics) for name in ("view", "wsgi")]
    common = (bridge, metrics, stores)
    try:
        yield Services(
            bridge=bridge,
            view_threads=pools[0],
            wsgi_threads=pools[1],
            sse=SyncSSE(
                bridge, metrics, sse, config.sse_heartbeat_s, bool(config.shared_redis_url)
            ),
            telemetry=SyncTelemetry(*common, clock),
            users=SyncUsers(*common, auth, clock),
            sessions=SyncSessions(*common, auth),
            audit=SyncAudit(*common),
            devices=SyncDevices(*common),
            health=SyncHealth(*common),
        )
    finally:
        for pool in pools:
            pool.stop()
        await bridge.close()
        await asyncio.gather(*(pool.join(END_S) for pool in pools))
