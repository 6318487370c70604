"""RetentionTask: deletes expired documents and readings, in small steps that delay nothing."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import msgspec

from server.common.background_task import BackgroundTask
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.ports.documents import (
    AlreadyExists,
    Create,
    Document,
    DocumentClient,
    Put,
    Retention,
    StoreUnavailable,
    VersionConflict,
)
from server.services.sqlite.retention_guard import (
    DAY_MS,
    Instant,
    Permission,
    RetentionGuard,
    instant,
)
from server.services.sqlite.span_retention import SpanRetention

# Where the guard is stored: one document, for all processes.
COLLECTION, GUARD = "retention", "guard"
# A guard without news is stored this often: a power cut loses no more of what it earned.
STORE_EVERY_MS = 5 * 60_000

logger = logging.getLogger(__name__)


class RetentionTask(BackgroundTask):
    """Every `every_s` seconds, deletes all expired documents, `batch` at a time.

    It also deletes readings older than `keep_days`, in whole spans. A guard decides whether it may,
    because a wrong clock makes everything look expired. `newest_ms` returns the time of the newest
    reading. A failure of the store is logged; the next round retries.
    """

    def __init__(
        self,
        retention: Retention,
        spans: SpanRetention,
        keep_days: int,
        documents: DocumentClient,
        newest_ms: Callable[[], Awaitable[int | None]],
        clock: Clock,
        metrics: Metrics,
        *,
        batch: int = 200,
        pause_s: float = 0.05,
        every_s: float = 60.0,
    ) -> None:
        super().__init__("retention")
        self._retention = retention
        self._spans = spans
        self._keep_ms = keep_days * DAY_MS
        self._documents = documents
        self._newest_ms = newest_ms
        self._clock = clock
        self._metrics = metrics
        self._batch = batch
        self._pause_s = pause_s
        self._every_s = every_s
        # Whether the rule for a start was applied.
        self._started = False

    async def _run(self) -> None:
        while not self._stop.is_set():
            try:
                await self._round()
            except StoreUnavailable as error:
                logger.warning(
                    "expired documents could not be deleted, the next round retries: %s", error
                )
            await self._pause(self._every_s)

    async def _round(self) -> None:
        while not self._stop.is_set():
            now, permission = await self._judge()
            self._metrics.retention_paused.set(not permission.allowed)
            if not permission.allowed:
                return
            # By the clock that was judged, which may leap at any moment.
            deleted = await self._retention.delete_expired(now.wall_ms, self._batch)
            self._metrics.documents_expired.inc(deleted)
            if deleted < self._batch:
                await self._delete_readings(now)
                return
            await self._pause(self._pause_s)

    async def _delete_readings(self, now: Instant) -> None:
        """Delete the expired spans that the guard allows, and keys that may be forgotten."""
        while await self._spans.forget_keys(now.wall_ms):
            await self._pause(self._pause_s)
        while not self._stop.is_set():
            span = await self._spans.oldest(now.wall_ms - self._keep_ms)
            if span is None or not await self._spend():
                return
            while not self._stop.is_set() and await self._spans.delete_some(span):
                await self._pause(self._pause_s)

    async def _spend(self) -> bool:
        """Take one span from what the guard allows; return False if it allows none.

        It is taken before the span is deleted: an interruption costs one span of the allowance.
        """
        while True:
            document = await self._documents.get(COLLECTION, GUARD)
            guard = _guard_of(document)
            if guard is None:
                return False
            guard = guard.at(instant(self._clock))
            if not guard.spans:
                return False
            try:
                await self._documents.write([_write(guard.spending(1), document)])
            except VersionConflict:
                continue  # another process has looked at the clock, or deleted a span
            return True

    async def _judge(self) -> tuple[Instant, Permission]:
        """The present moment, and what the guard says about it; the guard is stored if it must."""
        newest_ms = None if self._started else await self._newest_ms()
        while True:
            document = await self._documents.get(COLLECTION, GUARD)
            now = instant(self._clock)
            known = _guard_of(document)
            before = known or RetentionGuard.new(now)
            guard = before.at(now) if self._started else before.started(now, newest_ms)
            if known is None or _must_store(guard, known):
                try:
                    await self._documents.write([_write(guard, document)])
                except (AlreadyExists, VersionConflict):
                    continue  # another process has looked at the clock, and deleted perhaps
                _log(guard, before)
            self._started = True
            return now, guard.permission


def _guard_of(document: Document | None) -> RetentionGuard | None:
    if document is None:
        return None
    try:
        return msgspec.convert(document.fields, RetentionGuard)
    except msgspec.ValidationError as error:
        logger.warning("retention begins again, since its record cannot be read: %s", error)
        return None


def _write(guard: RetentionGuard, document: Document | None) -> Create | Put:
    # A document holds lists, no tuples.
    fields = msgspec.json.decode(msgspec.json.encode(guard))
    if document is None:
        return Create(COLLECTION, GUARD, fields)
    return Put(COLLECTION, GUARD, fields, if_version=document.version)


def _must_store(guard: RetentionGuard, known: RetentionGuard) -> bool:
    return (
        guard.boot != known.boot
        or guard.booted_ms != known.booted_ms
        or guard.paused_ms > known.paused_ms
        or bool(guard.paused_ms) != bool(known.paused_ms)
        or guard.uptime_ms - known.uptime_ms >= STORE_EVERY_MS
    )


def _log(guard: RetentionGuard, before: RetentionGuard) -> None:
    """Log that a pause begins or ends; of several processes, one does."""
    if guard.paused_ms and (not before.paused_ms or guard.why != before.why):
        logger.warning(
            "%s: nothing is deleted for an hour. If the clock is wrong, correct it within this"
            " hour (`timedatectl` shows it). After it, the server deletes the sessions, audit"
            " entries and readings that are expired by the clock",
            guard.why,
        )
    elif before.paused_ms and not guard.paused_ms:
        logger.info("the hour without deletions is over: expired documents are deleted again")
