"""SyncHealth: lets threads ask whether the store works."""

from __future__ import annotations

from typing import Any

from server.common.metrics import Metrics
from server.services.firestore.service_factory import Stores
from server.sync_api.bridge import SyncBridge
from server.sync_api.face import Face


class SyncHealth(Face):
    """The health check of the existing server's factory."""

    name = "health"

    def __init__(self, bridge: SyncBridge, metrics: Metrics, stores: Stores) -> None:
        super().__init__(bridge, metrics)
        self._stores = stores

    def check(self) -> dict[str, Any]:
        """Store a test document and read it back.

        Returns `{"status": "healthy"}`, or `unhealthy` if that failed; the log has the reason.
        """

        async def prove() -> str:
            await self._stores.prove()
            return "healthy"

        return {"status": self._ask("check", "unhealthy", prove)}
