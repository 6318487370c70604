"""SyncSSE: lets threads publish events, and read a stream as an iterator of bytes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

import msgspec

from server.common.metrics import Metrics
from server.services.sse_service.service import SSEService
from server.services.sse_service.stream_request import StreamRequest
from server.services.sse_service.subscription import Subscription
from server.sync_api.bridge import CALL_S, BridgeClosed, SyncBridge
from server.sync_api.face import Face, checked_name

log = logging.getLogger(__name__)

# An EventSource passes an event without a name to `onmessage`, as if it had this name.
UNNAMED = "message"


class SyncSSE(Face):
    """The SSE service of the existing server; every tenant has a separate stream."""

    name = "sse"

    def __init__(
        self,
        bridge: SyncBridge,
        metrics: Metrics,
        sse: SSEService,
        heartbeat_s: float,
        shared: bool,
    ) -> None:
        super().__init__(bridge, metrics)
        self._shared, self._warned = shared, False
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
        """Send an event to the tenant's streams, in this and every other process of the site.

        Returns how many streams of the tenant this process serves; 0 too if the event was lost. A
        str is sent as it is, anything else as JSON. Raises ValueError or TypeError for data that
        cannot be sent.
        """
        checked_name(tenant_id, "tenant_id")
        payload = msgspec.Raw(data.encode()) if isinstance(data, str) else data
        publish = self._sse.publish
        return self._ask("publish", 0, publish, tenant_id, event or UNNAMED, payload, device_id)

    def subscribe(
        self, client_id: str, *, tenant_id: str = "default", devices: Iterable[str] = ()
    ) -> SyncStream:
        """Open a stream; the caller iterates it for the bytes to send, and closes it.

        It counts as open from now on. It begins with `hello`, and sends something at least at each
        heartbeat. It ends if its caller takes nothing for 20 s. `client_id` is only logged. Raises
        Unavailable if no stream can be opened.
        """
        checked_name(tenant_id, "tenant_id")
        wanted = frozenset(devices)
        log.debug("client %s of tenant %s opens a stream", client_id, tenant_id)

        async def open_stream() -> Subscription:
            return await self._sse.subscribe(StreamRequest(tenant_id, devices=wanted))

        stream = self._bridge.call(open_stream)
        return SyncStream(self._bridge, stream, self._heartbeat_s + CALL_S)

    def attach_redis(self, redis_client: object = None) -> bool:
        """Return whether the processes of the site share events; the argument does not count.

        The settings decide it: with REDIS_URL all processes are connected without this call.
        """
        if not self._warned:
            self._warned = True
            log.warning("sse.attach_redis is not needed and does nothing: set REDIS_URL instead")
        return self._shared

    def subscriber_count(self, tenant_id: str | None = None) -> int:
        """How many streams this process serves, for one tenant or for all."""
        return self._ask("subscriber_count", 0, self._sse.subscriber_count, tenant_id)


class SyncStream(Iterator[bytes]):
    """One open stream; it also ends when the server drains."""

    def __init__(self, bridge: SyncBridge, stream: Subscription, wait_s: float) -> None:
        self._bridge = bridge
        self._stream = stream
        self._wait_s = wait_s
        self._ended = False

    def __next__(self) -> bytes:
        if self._ended:
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
        if not self._ended:
            self._ended = True
            try:
                self._bridge.post(self._stream.close)
            except BridgeClosed:
                log.debug("a stream was closed after the server's streams had ended")

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
