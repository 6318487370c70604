"""StoreWatch: knows whether readings can be stored; while not, it retries a write every second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context
from copy import copy
from types import TracebackType

from server.common.clock import Clock
from server.common.lines_of_state import LinesOfState
from server.common.metrics import Metrics
from server.services.ports.documents import StoreBusy, StoreUnavailable

log = logging.getLogger(__name__)

RETRY_S = 1.0
# A post waits at most WAIT_S for the store, for all its reads and its write together, because the
# firmware in the field gives up after 5 s. Waiting posts are checked every CHECK_INTERVAL_S.
WAIT_S, CHECK_INTERVAL_S = 2.5, 0.25
# Seconds between two log lines while the store is lost; the first is logged at once.
LOG_AGAIN_S = 3600.0


class StoreWatch:
    """The state of this process's store. Call it only from one event loop.

    `write` makes a test write and returns when it is stored; it raises StoreUnavailable.
    """

    def __init__(
        self, write: Callable[[], Awaitable[object]], clock: Clock, metrics: Metrics
    ) -> None:
        self._write = write
        self._clock = clock
        self._metrics = metrics
        self._on_lost: list[Callable[[], None]] = []
        self._listeners: list[Callable[[], Awaitable[None]]] = []
        self._retry_task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.Future[None] | None = None
        self._waits: dict[Waiting, None] = {}
        self._check_timer: asyncio.TimerHandle | None = None
        self._lost_at = 0.0
        self._lines = LinesOfState(log, clock)
        self.error: StoreUnavailable | None = None
        """Why the store cannot be reached; None while it can."""

    @property
    def away(self) -> bool:
        """Whether readings cannot be stored now."""
        return self.error is not None

    def away_s(self) -> float:
        """Seconds since the store was lost; 0 while it answers."""
        return self._clock.monotonic() - self._lost_at if self.away else 0.0

    def raise_if_away(self) -> None:
        """Raise StoreUnavailable while the store is lost."""
        if self.error is not None:
            raise copy(self.error)

    def on_lost(self, listener: Callable[[], None]) -> None:
        """Call `listener` each time the store is lost."""
        self._on_lost.append(listener)

    def on_back(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Await `listener` each time readings can be stored again."""
        self._listeners.append(listener)

    def waiting(self, wait_s: float | None = None, *, loses: bool = True) -> Waiting:
        """A context for a post that waits: it raises StoreUnavailable when the store is lost.

        After `wait_s` it marks the store as lost if it `loses`; otherwise it raises StoreBusy.
        """
        return Waiting(self, wait_s, loses)

    def lose(self, error: StoreUnavailable) -> None:
        """Mark the store as lost, because a write failed or timed out, and start the retries."""
        if self.error is not None:
            return
        self.error, self._lost_at = error, self._clock.monotonic()
        self._metrics.store_away.set(1)
        self._lines.write(
            logging.ERROR,
            f"readings are not stored: {_why(error)}. The server decides from memory and switches"
            " nothing on; it retries a write every second",
        )
        for wait in self._waits:
            wait.end()
        for listener in self._on_lost:
            listener()
        # Its log lines are not those of the request that met the loss.
        self._retry_task = asyncio.create_task(
            self._retry_until_back(), name="store-watch", context=Context()
        )
        # The task before may still call its listeners, so it is kept until it ends.
        self._tasks.add(self._retry_task)
        self._retry_task.add_done_callback(self._tasks.discard)

    async def check(self) -> None:
        """Make a test write; if it fails, mark the store as lost."""
        try:
            await self._write()
        except StoreUnavailable as error:
            self.lose(error)

    def retry_now(self) -> None:
        """Retry now if the store is lost, because it shows a sign of life."""
        if self._pause is not None:
            self._pause.cancel()

    async def stop(self) -> None:
        """Stop the retries."""
        self._lines.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def begin(self, wait: Waiting) -> None:
        """Register a post that waits."""
        self._waits[wait] = None
        if self._check_timer is None:
            self._check_timer = asyncio.get_running_loop().call_later(
                CHECK_INTERVAL_S, self._end_late_waits
            )

    def left(self, wait: Waiting) -> None:
        """Remove a post that no longer waits."""
        del self._waits[wait]

    def _end_late_waits(self) -> None:
        """End posts that have waited too long; repeat this while any post waits."""
        loop = asyncio.get_running_loop()
        self._check_timer = (
            loop.call_later(CHECK_INTERVAL_S, self._end_late_waits) if self._waits else None
        )
        now = loop.time()
        for wait in [wait for wait in self._waits if wait.until <= now]:
            if wait.loses:
                self.lose(StoreUnavailable(message=f"no answer within {WAIT_S:g} s"))
                return
            wait.end()

    async def _retry_until_back(self) -> None:
        logged_at = self._clock.monotonic()
        while (error := await self._retry_write()) is not None:
            if self._clock.monotonic() - logged_at >= LOG_AGAIN_S:
                logged_at = self._clock.monotonic()
                self._lines.write(logging.ERROR, f"readings are still not stored: {error}")
        again = f"readings are stored again, after {self.away_s():.0f} s"
        self._lines.write(logging.WARNING, again)
        self.error = None
        self._metrics.store_away.set(0)
        for listener in self._listeners:
            try:
                await listener()
            except Exception:
                log.exception("the store is back, but a part of the server could not resume")

    async def _retry_write(self) -> str | None:
        """Make a test write after RETRY_S or a sign of life; return its error, or None."""
        self._pause = asyncio.ensure_future(asyncio.sleep(RETRY_S))
        try:
            await asyncio.wait({self._pause})
        finally:
            self._pause.cancel()
            self._pause = None
        try:
            await self._write()
        except StoreUnavailable as error:
            return _why(error)
        except Exception as error:  # no error may end the retries
            log.exception("the test write to the store failed in an unexpected way; it is retried")
            return repr(error)
        return None


def _why(error: StoreUnavailable) -> str:
    return error.message or error.error


class Waiting:
    """One post that waits for the store: a context manager for one task."""

    __slots__ = ("_cancels", "_ended", "_task", "_watch", "loses", "until")

    def __init__(self, watch: StoreWatch, wait_s: float | None, loses: bool) -> None:
        self._watch = watch
        self._ended = False
        self._task = asyncio.current_task()
        self.loses = loses
        self.until = float("inf")
        if wait_s is not None:
            self.until = asyncio.get_running_loop().time() + wait_s

    def end(self) -> None:
        """Interrupt the task that waits, unless it is the caller."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._ended = True
            self._task.cancel()

    def __enter__(self) -> None:
        self._watch.raise_if_away()
        self._cancels = self._task.cancelling() if self._task is not None else 0
        self._watch.begin(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._watch.left(self)
        if not self._ended or self._task is None:
            return
        # As in asyncio.timeout: a cancellation by another caller must still take effect.
        if self._task.uncancel() <= self._cancels and kind is asyncio.CancelledError:
            self._watch.raise_if_away()
            raise StoreBusy(message="no answer in time") from error
