"""SSEService: all that routes and the zone service see of the live stream."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal

import msgspec

from server.clock import Clock
from server.errors import Unavailable
from server.metrics import Metrics
from server.services.sse_service.backend import Census, EventLog, LogUnavailable
from server.services.sse_service.channel import Wire
from server.services.sse_service.event import Event
from server.services.sse_service.hub import Hub
from server.services.sse_service.subscription import Subscription

log = logging.getLogger(__name__)

Snapshot = Callable[[], Awaitable[object]]


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
        """Append an event to the tenant's history, unless that was done already with this `key`;
        how many streams of this process it goes to.

        `data` is anything msgspec turns into JSON. Raises InvalidEvent for what no client could
        read. While the log is out of reach the event goes to this process's streams at once and
        waits for the others; should it be lost to them, that is counted and logged.
        """
        event = Event(
            name=name, data=msgspec.json.encode(data).decode(), device_id=device_id, key=key
        )
        began = self._clock.monotonic()
        try:
            await self._log.append(tenant_id, event)
        except LogUnavailable as error:
            self._metrics.publish_failures.inc()
            log.error("event %s of tenant %s was not published: %s", name, tenant_id, error)
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
            log.error(
                "%d events of tenant %s were not published: %s", len(events), tenant_id, error
            )
            return
        self._metrics.events_published.inc(len(events))
        self._metrics.publish_seconds.observe(self._clock.monotonic() - began)

    async def subscribe(
        self,
        tenant_id: str,
        *,
        last_event_id: str | None = None,
        devices: Iterable[str] = (),
        names: bool = True,
        owner: str | None = None,
        expire_at: int | None = None,
        kill: Callable[[], None] | None = None,
        wire: Wire | None = None,
        snapshot: Snapshot | None = None,
    ) -> Subscription:
        """Open a stream (see `Hub.subscribe`): hello, then `snapshot`'s zones if given, then live.

        The place in the history is taken before the snapshot is read, so nothing falls between.
        """

        async def hello(stream: Subscription) -> bytes:
            greeting = {
                "resume": stream.resumed,
                "ts": self._clock.now_ms(),
                "heartbeat_s": self._heartbeat_s,
            }
            return stream.opening() + stream.control("hello", greeting)

        async def state(stream: Subscription) -> bytes:
            try:
                zones = await snapshot() if snapshot is not None else []
            except Unavailable as error:
                log.warning("a stream of tenant %s got no snapshot: %s", tenant_id, error)
                stream.end("store")
                return b""
            return stream.control("snapshot", {"zones": zones})

        return await self.hub.subscribe(
            tenant_id,
            last_event_id=last_event_id,
            devices=devices,
            names=names,
            owner=owner,
            expire_at=expire_at,
            kill=kill,
            wire=wire,
            preamble=[hello] if snapshot is None else [hello, state],
        )

    def check_room(self) -> None:
        """Raise TooManyStreams or Draining if no stream could be opened now."""
        self.hub.check_room()

    async def subscriber_count(
        self, tenant_id: str | None = None, scope: Literal["process", "site"] = "process"
    ) -> int:
        """How many streams are served now, of one tenant or of all: by this process, or by all
        processes of the site. Raises LogUnavailable if the others' cannot be asked for."""
        count = self.hub.subscriber_count(tenant_id)
        if scope == "site" and self._census is not None:
            count += await self._census.elsewhere(tenant_id)
        return count

    async def ping(self) -> None:
        """Return when events can be published; else LogUnavailable."""
        await self._log.ping()
