"""Deciding: what the services that decide on readings are made of; they share one view of zones."""

from __future__ import annotations

from server.clock import Clock
from server.control.turns import Turns
from server.control.zone_cache import ZoneCache
from server.metrics import Metrics
from server.services.firestore.service_factory import Stores
from server.services.sse_service.service import SSEService
from server.work import Work


class Deciding:
    """Stored state is decided on, and written only over what was read."""

    def __init__(
        self,
        stores: Stores,
        cache: ZoneCache,
        work: Work,
        sse: SSEService,
        clock: Clock,
        metrics: Metrics,
        telemetry_days: int,
    ) -> None:
        self._client = stores.client
        self._zones = stores.zones
        self._telemetry = stores.telemetry
        self._devices = stores.devices
        self._cache = cache
        self._work = work
        self._sse = sse
        self._clock = clock
        self._metrics = metrics
        self._keep_days = telemetry_days
        self._planning, self._telling = Turns(), Turns()
