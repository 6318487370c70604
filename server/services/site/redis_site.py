"""RedisSite: connects one process to a site whose processes share a Redis."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from redis.asyncio import Redis

from server.common.breaker import Breaker
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.common.supervised_tasks import SupervisedTasks
from server.services.site.ports import SharedSite
from server.services.site.redis_cache import RedisCache
from server.services.site.redis_calls import RedisCalls, RedisWire
from server.services.site.redis_keys import RUN_LENGTH, SITE_CHANNEL
from server.services.site.redis_listener import RedisListener
from server.services.site.redis_notices import RedisNotices
from server.services.site.site_clock import SiteClock

# A starting process waits at most these seconds for its subscription.
SUBSCRIBE_S = 3.0


def _ignore(*_: object) -> None:
    return


@dataclass(frozen=True)
class ChannelReader:
    """The channels that another part of the process reads, and its callbacks on the event loop.

    The callbacks are those of `RedisListener`, and `on_back`, which is called when Redis answers
    again after the breaker was open.
    """

    channels: Callable[[], Iterable[str]] = tuple
    on_subscribed: Callable[[str], None] = _ignore
    on_message: Callable[[str, bytes], None] = _ignore
    on_alive: Callable[[], None] = _ignore
    on_back: Callable[[], None] = _ignore


class RedisSite:
    """Calls to Redis, one subscribed connection, and the notices and the cache on top of them.

    `run` is the name of this process among the others. Stores and services use `shared`. One
    `ChannelReader` may join.
    """

    def __init__(self, client: Redis, clock: Clock, metrics: Metrics) -> None:
        self._client = client
        self._reader = ChannelReader()
        self.run = secrets.token_hex(RUN_LENGTH // 2)
        self.breaker = Breaker(clock)
        self.calls = RedisCalls(client, self.breaker, metrics, self._on_back)
        self.listener = RedisListener(
            partial(RedisWire.connect, client),
            self._channels,
            self._on_subscribed,
            self._on_message,
            self._on_alive,
        )
        self._notices = RedisNotices(
            partial(self.calls.publish, SITE_CHANNEL), self._reaches_others, self.run
        )
        self._was_subscribed = False
        self._cache = RedisCache(self.calls.execute, clock.monotonic)
        self._site_clock = SiteClock(clock, self.calls.time_ms, metrics, "Redis")
        self.shared = SharedSite(
            self._notices, self._cache, self._cache.history_tip, self._site_clock
        )
        self._tasks = SupervisedTasks("what the processes share")
        self._started = False
        self.opened_without_redis = False
        """Whether Redis did not answer when this site was opened."""

    async def open(self) -> None:
        """Connect and start the background tasks.

        Raises LogUnavailable if Redis does not answer or does not allow SUBSCRIBE; call `close`
        then.
        """
        await self.calls.ping()
        await self._site_clock.measure()
        self._start()
        await self.listener.wait_until_up(SUBSCRIBE_S)

    def open_without_redis(self) -> None:
        """Start as in an outage: the background tasks connect once Redis answers."""
        self.opened_without_redis = True
        self._start()

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        for work in (
            self.listener.run,
            self.listener.probe,
            self._notices.send,
            self._cache.work,
            self._site_clock.follow,
        ):
            self._tasks.keep(work)

    async def close(self) -> None:
        """Stop, and close the client."""
        self.listener.close()
        await self._tasks.close()
        await self.calls.close()
        await self._client.aclose()

    def join(self, reader: ChannelReader) -> None:
        """Give messages of other channels to `reader`; it replaces the reader before it."""
        self._reader = reader

    def leave(self) -> None:
        """Remove the reader: only the site's own channel is read."""
        self._reader = ChannelReader()

    def _reaches_others(self) -> bool:
        return self.listener.up and not self.breaker.is_open

    def _channels(self) -> list[str]:
        return [SITE_CHANNEL, *self._reader.channels()]

    def _on_subscribed(self, channel: str) -> None:
        if channel == SITE_CHANNEL:
            if self._was_subscribed:
                self._notices.miss()
            self._was_subscribed = True
        self._reader.on_subscribed(channel)

    def _on_message(self, channel: str, message: bytes) -> None:
        if channel == SITE_CHANNEL:
            self._notices.receive(message)
        else:
            self._reader.on_message(channel, message)

    def _on_alive(self) -> None:
        self.breaker.retry_now()
        self._reader.on_alive()

    def _on_back(self) -> None:
        self._reader.on_back()
