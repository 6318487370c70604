"""LogProbe: proves that an event which this process appends comes back on its subscription."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import count

from server.services.ports.event_log import (
    KEY_S,
    PROBE_TENANT,
    Event,
    LogForbidden,
    LogRefused,
    LogUnavailable,
)
from server.services.site.redis_keys import channel_name, events_key, head_key, producer_key
from server.services.site.redis_script import RunScript
from server.services.sse_service.redis.outbox import new_epoch
from server.services.sse_service.redis.records import mark_of, parse_records, parts_of
from server.services.sse_service.redis.scripts import APPEND

log = logging.getLogger(__name__)

CHANNEL = channel_name(PROBE_TENANT)
# An event comes back within milliseconds; the first one also waits for the subscription.
RECEIVE_S = 2.0
# The probes of all processes share a history of about this size, which expires soon.
KEEP_EVENTS, KEEP_BYTES, KEEP_S = 10, 10_000, 600

# The rights that the script needs. Redis before 7.2 does not say which one it misses.
RIGHTS = "+del +expire +get +hget +hmget +hset +publish +set +time +xadd"


class NotReceived(LogUnavailable):
    """Redis took an event, and this process did not receive it."""


class LogProbe:
    """Appends events to a separate history, by the script that appends all events.

    `run` runs a script; `subscribe` subscribes this process to a channel, whose messages go to
    `receive`; `producer` is the name of this process.
    """

    def __init__(
        self, run: RunScript, subscribe: Callable[[str], Awaitable[None]], producer: str
    ) -> None:
        self._run = run
        self._subscribe = subscribe
        self._producer = producer
        self._numbers = count(1)
        self._turn = asyncio.Lock()
        # The proofs that wait, by the mark of their event.
        self._waiting: dict[str, asyncio.Event] = {}
        self._subscribed = asyncio.Event()

    async def prove(self) -> None:
        """Append an event and hear it. Raises LogUnavailable."""
        received = asyncio.Event()
        try:
            async with asyncio.timeout(RECEIVE_S):
                if not self._subscribed.is_set():
                    await self._subscribe(CHANNEL)
                    await self._subscribed.wait()
            await self.append(received)
            async with asyncio.timeout(RECEIVE_S):
                await received.wait()
        except TimeoutError:
            raise NotReceived(
                message=f"an event that was appended did not come back within {RECEIVE_S:g} s"
            ) from None
        finally:
            self._waiting = {
                mark: one for mark, one in self._waiting.items() if one is not received
            }

    async def append(self, received: asyncio.Event | None = None) -> None:
        """Append an event, as a check of Redis alone; `received` is set when it comes back.

        Raises LogUnavailable.
        """
        # One at a time: a script ignores a number below one that it has seen.
        async with self._turn:
            number = next(self._numbers)
            if received is not None:
                self._waiting[mark_of(self._producer, number)] = received
            # With a key, as the event of a reading that may be posted again.
            event = Event("probe", "{}", key=mark_of(self._producer, number))
            await self._run(
                APPEND,
                [
                    head_key(PROBE_TENANT),
                    events_key(PROBE_TENANT),
                    producer_key(PROBE_TENANT, self._producer),
                ],
                [
                    CHANNEL,
                    new_epoch(),
                    "0",
                    KEEP_EVENTS,
                    KEEP_BYTES,
                    self._producer,
                    number,
                    0,
                    KEEP_S,
                    KEY_S,
                    KEEP_S,
                    *parts_of(event),
                ],
            )

    def subscribed(self) -> None:
        """Note that messages of the channel are received from now on."""
        self._subscribed.set()

    def receive(self, message: bytes) -> None:
        """Take a message of the channel; ValueError if this server did not write it."""
        for record in parse_records(message.partition(b"\n")[2]):
            received = self._waiting.get(record.mark)
            if received is not None:
                received.set()


async def check_log(prove: Callable[[], Awaitable[None]]) -> None:
    """Prove the log at a start. Raises LogUnavailable, with the remedy, if it can never work.

    A Redis that is full, or that takes no writes at the moment, delays no start: events wait.
    """
    try:
        await prove()
    except NotReceived as error:
        raise LogUnavailable(
            "Redis does not send events back",
            message=f"{error.message}: do all connections of REDIS_URL lead to one server, and may "
            "its user publish and subscribe (`&bas:* +publish +subscribe`)?",
        ) from error
    except (LogForbidden, LogRefused) as error:
        raise LogUnavailable(
            "Redis refuses events",
            message=f"{error.message}. Its user needs all rights that docs/operations.md names "
            f"under Redis; events need {RIGHTS}",
        ) from error
    except LogUnavailable as error:
        log.warning(
            "Redis takes no events now: %s. They wait, and streams get the events of this process "
            "only",
            error.message,
        )
