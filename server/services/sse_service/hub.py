"""Hub: opens, counts, checks and ends every event stream of one process."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Mapping

from server.common.clock import Clock
from server.common.errors import Unavailable
from server.common.metrics import Metrics
from server.common.session_end import SessionEnd
from server.services.ports.event_log import EventLog, LogUnavailable
from server.services.sse_service.channel import Channel
from server.services.sse_service.delivery import Delivery
from server.services.sse_service.stream_limits import OpenStreams, StreamLimits
from server.services.sse_service.stream_request import StreamRequest
from server.services.sse_service.subscription import Preamble, Subscription

log = logging.getLogger(__name__)

STALL_S = 20.0
FLUSH_MAX_S = 0.1
# Seconds that a channel without subscribers is kept: browsers reconnect within seconds.
IDLE_S = 60.0
# Reconnect delays are spread over this span: after a restart, clients do not return all at once.
RETRY_MIN_MS, RETRY_SPAN_MS = 1000, 4000
# A server that shuts down answers for another 1.55 s on connections that are already open. A
# browser that reconnects on one of them gets 503, and after a 503 an EventSource never retries.
BYE_MIN_MS = 2000
# Coprime with the span: 4,000 clients in a row get 4,000 different delays.
RETRY_STEP = 2477


class Draining(Unavailable):
    """The process shuts down; another one, or this one after its restart, takes the client."""

    error = "Server is shutting down"
    code = "DRAINING"


class Hub:
    """Every open stream of this process, over one event log.

    A subscriber is an offset in its tenant's shared tail and has no queue.
    """

    def __init__(
        self,
        event_log: EventLog,
        clock: Clock,
        metrics: Metrics,
        *,
        queue_max: int,
        heartbeat_s: float,
        limits: StreamLimits,
        flush_max_s: float = FLUSH_MAX_S,
        stall_s: float = STALL_S,
        on_count: Callable[[str, int], None] | None = None,
    ) -> None:
        self._log = event_log
        self._clock = clock
        self._metrics = metrics
        self._queue_max = queue_max
        self._flush_max_s = flush_max_s
        self._heartbeat_s = heartbeat_s
        self._stall_s = stall_s
        self._on_count = on_count
        self.streams = OpenStreams(limits, metrics)
        self._channels: dict[str, Channel] = {}
        self._open: set[Subscription] = set()
        self._counts: Counter[str] = Counter()
        self._retries = itertools.count()
        self._ticker: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False

    async def start(self) -> None:
        """Start the checks of open streams: heartbeats, expiry and stalled writes."""
        self._ticker = asyncio.create_task(self._tick_for_ever(), name="hub-ticker")

    async def stop(self) -> None:
        """Stop the checks of open streams; call `drain` first."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
            self._ticker = None

    async def subscribe(self, request: StreamRequest, preamble: Preamble = ()) -> Subscription:
        """Open a stream that first sends the pieces that `preamble` makes; the caller closes it.

        Raises TooManyStreams, TooManyOfOne, Draining, LogUnavailable.
        """
        tenant_id = request.tenant_id
        self.check_room(request)
        channel = await self._channel(tenant_id)
        self.check_room(request)
        subscription = Subscription(
            channel.delivery,
            request,
            preamble=preamble,
            retry_ms=RETRY_MIN_MS + next(self._retries) * RETRY_STEP % RETRY_SPAN_MS,
            on_close=self._forget,
        )
        subscription.counted = self.streams.enter(request)
        channel.delivery.enter(subscription)
        self._open.add(subscription)
        self._counts[tenant_id] += 1
        self._report_count(tenant_id)
        self._empty.clear()
        self._metrics.streams_opened.inc()
        self._metrics.streams_open.set(len(self._open))
        try:
            await subscription.resume(request.last_event_id)
        except BaseException:
            subscription.close("failed")
            raise
        return subscription

    def check_room(self, request: StreamRequest) -> None:
        """Raise TooManyStreams, TooManyOfOne or Draining if this stream cannot be opened now."""
        if self.draining:
            raise Draining
        self.streams.check(request)

    def subscriber_count(self, tenant_id: str | None = None) -> int:
        """Number of open streams, of one tenant or of all."""
        if tenant_id is None:
            return len(self._open)
        return self._counts[tenant_id]

    def owners(self) -> set[str]:
        """The sessions that open streams depend on."""
        return {item.owner for item in self._open if item.owner is not None}

    def end_owned(self, owners: set[str], reason: str) -> None:
        """End the streams of these sessions now."""
        for subscription in [item for item in self._open if item.owner in owners]:
            subscription.end(reason)

    def move_ends(self, ends: Mapping[str, SessionEnd]) -> None:
        """Let the streams of these sessions end when their sessions do now."""
        for subscription in self._open:
            end = ends.get(subscription.owner or "")
            if end is not None:
                subscription.move_end(end)

    async def drain(self, timeout_s: float) -> None:
        """Send `bye` to every client, each with a different reconnect delay, and wait.

        After `timeout_s` seconds the streams that have not taken their `bye` are cut off. No new
        stream opens.
        """
        self.draining = True
        going = list(self._open)
        for channel in self._channels.values():
            channel.flush()
        span = max(RETRY_SPAN_MS, 2 * len(going))
        for index, subscription in enumerate(going):
            subscription.say_bye(BYE_MIN_MS + span * index // max(1, len(going)))
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            log.warning(
                "%d streams did not take their bye event in time and are closed", len(self._open)
            )
            for subscription in list(self._open):
                subscription.end("drain")

    async def _channel(self, tenant_id: str) -> Channel:
        channel = self._channels.get(tenant_id)
        if channel is None:
            delivery = Delivery(tenant_id, self._log, self._clock, self._metrics, self._queue_max)
            channel = Channel(delivery, self._flush_max_s, self._clock, self._lost)
            self._channels[tenant_id] = channel
        if not channel.ready:
            async with channel.opening:
                if not channel.ready and self._channels.get(tenant_id) is channel:
                    await self._log.follow(tenant_id, channel)
        if not channel.ready:
            raise LogUnavailable(message="the event history changed; try again")
        return channel

    def _lost(self, channel: Channel) -> None:
        """End the streams of a channel that the log has given up; their clients reconnect."""
        if self._channels.get(channel.tenant_id) is channel:
            del self._channels[channel.tenant_id]
        for subscriber in list(channel.delivery.subscribers):
            subscriber.end("gap")

    def _close_idle_channels(self, now: float) -> None:
        for tenant_id, channel in list(self._channels.items()):
            if channel.delivery.subscribers or channel.opening.locked():
                channel.idle_since = now
            elif now - channel.idle_since > IDLE_S:
                del self._channels[tenant_id]
                self._log.unfollow(tenant_id)

    def _report_count(self, tenant_id: str) -> None:
        if self._on_count is not None:
            self._on_count(tenant_id, self._counts[tenant_id])

    def _forget(self, subscription: Subscription, reason: str) -> None:
        self._open.discard(subscription)
        self.streams.leave(subscription.counted)
        tenant_id = subscription.tenant_id
        self._counts[tenant_id] -= 1
        self._report_count(tenant_id)
        if not self._counts[tenant_id]:
            del self._counts[tenant_id]
        self._metrics.streams_open.set(len(self._open))
        self._metrics.streams_closed.labels(reason=reason).inc()
        if not self._open:
            self._empty.set()

    async def _tick_for_ever(self) -> None:
        pause_s = min(1.0, self._heartbeat_s / 4, self._stall_s / 4)
        while True:
            await asyncio.sleep(pause_s)
            now = self._clock.monotonic()
            self._close_idle_channels(now)
            for subscription in list(self._open):
                try:
                    subscription.tick(now, self._heartbeat_s, self._stall_s)
                except Exception:  # an error in one stream must not end the checks of all
                    log.exception("the check of a stream failed")
