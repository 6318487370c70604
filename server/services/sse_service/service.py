"""SSEService: publishes events and opens streams, for the routes and the zone service."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import msgspec

from server.common.clock import Clock
from server.common.errors import Unavailable
from server.common.metrics import Metrics
from server.services.ports.event_log import Census, Event, EventLog, LogUnavailable
from server.services.sse_service.hub import Hub
from server.services.sse_service.stream_request import StreamRequest
from server.services.sse_service.subscription import Subscription

log = logging.getLogger(__name__)


class SSEService:
    """Publish events of a tenant, and subscribe to them."""

    def __init__(
        self,
        hub: Hub,
        event_log: EventLog,
        clock: Clock,
        metrics: Metrics,
        heartbeat_s: int,
        census: Census | None = None,
    ) -> None:
        self.hub = hub
        self._log = event_log
        self._clock = clock
        self._metrics = metrics
        self._heartbeat_s = heartbeat_s
        self._census = census
        self._encoder = msgspec.json.Encoder()

    async def publish(
        self,
        tenant_id: str,
        name: str,
        data: object,
        device_id: str | None = None,
        key: str = "",
    ) -> int:
        """Append an event to the tenant's history; return this process's streams of the tenant.

        An event with the `key` of an earlier one is ignored. `data` is anything that msgspec turns
        into JSON. Raises InvalidEvent for an event that no client could read. While the log cannot
        be reached, this process's streams get the event at once and the other processes later; an
        event that is lost is counted and logged.
        """
        event = Event(
            name=name, data=msgspec.json.encode(data).decode(), device_id=device_id, key=key
        )
        began = self._clock.monotonic()
        try:
            await self._log.append(tenant_id, event)
        except LogUnavailable as error:
            self._metrics.publish_failures.inc()
            log.error("event %s of tenant %s is lost: %s", name, tenant_id, error)
            return 0
        self._metrics.events_published.inc()
        self._metrics.publish_seconds.observe(self._clock.monotonic() - began)
        return self.hub.subscriber_count(tenant_id)

    async def publish_many(
        self, tenant_id: str, name: str, many: Sequence[tuple[object, str | None, str]]
    ) -> None:
        """`publish` each of (data, device_id, key), in this order."""
        encode = self._encoder.encode
        events = [
            Event(name=name, data=encode(data).decode(), device_id=device_id, key=key)
            for data, device_id, key in many
        ]
        began = self._clock.monotonic()
        try:
            await self._log.append_many(tenant_id, events)
        except LogUnavailable as error:
            self._metrics.publish_failures.inc(len(events))
            log.error("%d events of tenant %s are lost: %s", len(events), tenant_id, error)
            return
        self._metrics.events_published.inc(len(events))
        self._metrics.publish_seconds.observe(self._clock.monotonic() - began)

    async def subscribe(self, request: StreamRequest) -> Subscription:
        """Open a stream (see `Hub.subscribe`): `hello`, then a requested `snapshot`, then events.

        The offset in the history is fixed before the snapshot is read, so no event is lost between.
        """
        tenant_id, snapshot = request.tenant_id, request.snapshot

        async def hello(stream: Subscription) -> bytes:
            greeting = {
                "resume": stream.resumed,
                "ts": self._clock.now_ms(),
                "heartbeat_s": self._heartbeat_s,
            }
            return stream.opening() + stream.control("hello", greeting)

        async def state(stream: Subscription) -> bytes:
            try:
                data = await snapshot() if snapshot is not None else {}
            except Unavailable as error:
                log.warning(
                    "a stream of tenant %s ends because the snapshot could not be read: %s",
                    tenant_id,
                    error,
                )
                stream.end("store")
                return b""
            return stream.control("snapshot", data)

        preamble = [hello] if snapshot is None else [hello, state]
        return await self.hub.subscribe(request, preamble)

    def check_room(self, request: StreamRequest) -> None:
        """Raise TooManyStreams, TooManyOfOne or Draining if it cannot be opened now."""
        self.hub.check_room(request)

    async def subscriber_count(
        self, tenant_id: str | None = None, scope: Literal["process", "site"] = "process"
    ) -> int:
        """Number of open streams in this process or the whole site, of one tenant or of all.

        Raises LogUnavailable if the streams of other processes cannot be read.
        """
        count = self.hub.subscriber_count(tenant_id)
        if scope == "site" and self._census is not None:
            count += await self._census.elsewhere(tenant_id)
        return count

    async def ping(self) -> None:
        """Check that events can be published. Raises LogUnavailable."""
        await self._log.ping()
