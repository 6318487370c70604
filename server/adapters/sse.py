"""SSE for threads: publish, and read a stream as an iterator of bytes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

import msgspec

from server.adapters.face import Face, checked_name
from server.adapters.sync import CALL_S, BridgeClosed, SyncBridge
from server.metrics import Metrics
from server.services.sse_service.service import SSEService
from server.services.sse_service.subscription import Subscription

log = logging.getLogger(__name__)

# An EventSource gives an event without a name to `onmessage`, as one with this name.
UNNAMED = "message"


class SyncSSE(Face):
    """The SSE service of the existing server. Every tenant has a stream of its own."""

    name = "sse"

    def __init__(
        self, bridge: SyncBridge, metrics: Metrics, sse: SSEService, heartbeat_s: float
    ) -> None:
        super().__init__(bridge, metrics)
        self._sse = sse
        self._heartbeat_s = heartbeat_s

    def publish(
        self,
        data: Any,
        event: str | None = None,
        *,
        tenant_id: str = "default",
        device_id: str | None = None,
    ) -> int:
        """Send an event to the tenant's streams, here and at every other process of the site.

        How many streams of the tenant this process serves; 0 too if the event was lost. A str is
        sent as it is, anything else as JSON. Raises ValueError or TypeError for what cannot be
        sent.
        """
        checked_name(tenant_id, "tenant_id")
        payload = msgspec.Raw(data.encode()) if isinstance(data, str) else data
        publish = self._sse.publish
        return self._ask("publish", 0, publish, tenant_id, event or UNNAMED, payload, device_id)

    def subscribe(
        self, client_id: str, *, tenant_id: str = "default", devices: Iterable[str] = ()
    ) -> SyncStream:
        """Open a stream; iterate it for the bytes to send, and close it.

        It counts from now on, begins with `hello`, and is silent for no longer than a heartbeat.
        Who takes nothing for 20 s is let go. `client_id` is only logged. Raises Unavailable if no
        stream can be opened.
        """
        checked_name(tenant_id, "tenant_id")
        wanted = frozenset(devices)
        log.debug("client %s of tenant %s subscribes", client_id, tenant_id)

        async def open_stream() -> Subscription:
            return await self._sse.subscribe(tenant_id, devices=wanted)

        stream = self._bridge.call(open_stream)
        return SyncStream(self._bridge, stream, self._heartbeat_s + CALL_S)

    def subscriber_count(self, tenant_id: str | None = None) -> int:
        """How many streams this process serves, to one tenant or to all."""
        return self._ask("subscriber_count", 0, self._sse.subscriber_count, tenant_id)


class SyncStream(Iterator[bytes]):
    """One open stream. It ends by itself when the server drains."""

    def __init__(self, bridge: SyncBridge, stream: Subscription, wait_s: float) -> None:
        self._bridge = bridge
        self._stream = stream
        self._wait_s = wait_s
        self._over = False

    def __next__(self) -> bytes:
        if self._over:
            raise StopIteration
        try:
            piece = self._bridge.call(self._next_piece, timeout=self._wait_s)
        except BaseException:
            self.close()
            raise
        if piece is None:
            self.close()
            raise StopIteration
        return piece

    def close(self) -> None:
        """Unsubscribe. It may be called again, and from any thread."""
        if not self._over:
            self._over = True
            try:
                self._bridge.post(self._stream.close)
            except BridgeClosed:
                log.debug("a stream was closed after its hub")

    def __enter__(self) -> SyncStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    async def _next_piece(self) -> bytes | None:
        return await anext(self._stream, None)
