"""Services: every sync face of one process, over its bridge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from server.adapters.audit import SyncAudit
from server.adapters.devices import SyncDevices
from server.adapters.sessions import SyncSessions
from server.adapters.sse import SyncSSE
from server.adapters.sync import SyncBridge
from server.adapters.telemetry import SyncTelemetry
from server.adapters.threads import Threads
from server.adapters.users import SyncUsers
from server.auth.factory import Auth
from server.clock import Clock
from server.config.config import ServerConfig
from server.metrics import Metrics
from server.services.firestore.service_factory import Stores
from server.services.sse_service.service import SSEService

END_S = 0.5


@dataclass(frozen=True)
class Services:
    """What code in other threads works with; on the loop the async services are awaited."""

    bridge: SyncBridge
    view_threads: Threads
    wsgi_threads: Threads
    sse: SyncSSE
    telemetry: SyncTelemetry
    users: SyncUsers
    sessions: SyncSessions
    audit: SyncAudit
    devices: SyncDevices


@asynccontextmanager
async def sync_services(
    config: ServerConfig,
    stores: Stores,
    auth: Auth,
    sse: SSEService,
    clock: Clock,
    metrics: Metrics,
) -> AsyncIterator[Services]:
    """The sync faces of these very stores and this hub, and threads for those who call them.

    At the end every call is refused or ended, and the threads are gone after END_S at the latest,
    but for those in code that does not come back.
    """
    bridge = SyncBridge()
    pools = [Threads(name, config.sync_threads, metrics) for name in ("view", "wsgi")]
    common = (bridge, metrics, stores)
    try:
        yield Services(
            bridge=bridge,
            view_threads=pools[0],
            wsgi_threads=pools[1],
            sse=SyncSSE(bridge, metrics, sse, config.sse_heartbeat_s),
            telemetry=SyncTelemetry(*common, clock, config.telemetry_days),
            users=SyncUsers(*common, auth, clock),
            sessions=SyncSessions(*common, auth),
            audit=SyncAudit(*common),
            devices=SyncDevices(*common),
        )
    finally:
        for pool in pools:
            pool.stop()
        await bridge.close()
        await asyncio.gather(*(pool.join(END_S) for pool in pools))
