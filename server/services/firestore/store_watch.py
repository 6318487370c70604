"""StoreWatch: whether readings can be stored; while they cannot, one task tries once a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from copy import copy
from types import TracebackType

from server.clock import Clock
from server.metrics import Metrics
from server.services.firestore.base import StoreBusy, StoreUnavailable

log = logging.getLogger(__name__)

TRY_S = 1.0
# What a post waits for the store at most, all its reads and its write together: the firmware in
# the field gives up after 5 s. Who waits too long is looked for every LOOK_S.
WAIT_S, LOOK_S = 2.5, 0.25
# What the log says at once when the store is lost, it says again so long after.
SAY_AGAIN_S = 60.0


class StoreWatch:
    """What this process knows of its store. Calls belong to one event loop.

    `write` stores something and returns once that is safe; it raises StoreUnavailable.
    """

    def __init__(
        self, write: Callable[[], Awaitable[None]], clock: Clock, metrics: Metrics
    ) -> None:
        self._write = write
        self._clock = clock
        self._metrics = metrics
        self._listeners: list[Callable[[], Awaitable[None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._try_now = asyncio.Event()
        self._waits: dict[Waiting, None] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._lost_at = 0.0
        self.error: StoreUnavailable | None = None
        """Why the store is away; None while it is not."""

    @property
    def away(self) -> bool:
        """Whether no reading can be stored."""
        return self.error is not None

    def away_s(self) -> float:
        """For how long it has been away, in seconds."""
        return self._clock.monotonic() - self._lost_at if self.away else 0.0

    def check_there(self) -> None:
        """Raise StoreUnavailable while the store is away."""
        if self.error is not None:
            raise copy(self.error)

    def on_back(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Await `listener` each time the store is back, once readings are stored again."""
        self._listeners.append(listener)

    def waiting(self, wait_s: float | None = None, *, loses: bool = True) -> Waiting:
        """A context that ends in StoreUnavailable as soon as the store is lost: for a post that
        waits for it. It `loses` the store after `wait_s`, or else ends in StoreBusy then."""
        return Waiting(self, wait_s, loses)

    def lose(self, error: StoreUnavailable) -> None:
        """A write failed or was not confirmed: nothing is stored until one is."""
        if self.error is not None:
            return
        self.error, self._lost_at = error, self._clock.monotonic()
        self._metrics.store_away.set(1)
        log.error(
            "readings are not stored: %s. Zones are steered from memory, nothing is switched on;"
            " a write is tried every second",
            _why(error),
        )
        for wait in self._waits:
            wait.end()
        self._try_now.clear()
        task = asyncio.create_task(self._try_until_back(), name="store-watch")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def check(self) -> None:
        """Find out whether the store takes a write, and lose it if not."""
        try:
            await self._write()
        except StoreUnavailable as error:
            self.lose(error)

    def try_now(self) -> None:
        """There is a sign of life: if the store is away, do not wait for the next try."""
        self._try_now.set()

    async def stop(self) -> None:
        """Try no more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def begin(self, wait: Waiting) -> None:
        """Somebody begins to wait."""
        self._waits[wait] = None
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def left(self, wait: Waiting) -> None:
        """And waits no more."""
        del self._waits[wait]

    def _look(self) -> None:
        """Find who has waited too long; as long as anyone waits, again and again."""
        loop = asyncio.get_running_loop()
        self._looking = loop.call_later(LOOK_S, self._look) if self._waits else None
        now = loop.time()
        for wait in [wait for wait in self._waits if wait.until <= now]:
            if wait.loses:
                self.lose(StoreUnavailable(message=f"no answer within {WAIT_S:g} s"))
                return
            wait.end()

    async def _try_until_back(self) -> None:
        said = self._clock.monotonic()
        while (error := await self._tried()) is not None:
            if self._clock.monotonic() - said >= SAY_AGAIN_S:
                said = self._clock.monotonic()
                log.error("readings are still not stored: %s", error)
        log.warning("readings are stored again, after %.0f s", self.away_s())
        self.error = None
        self._metrics.store_away.set(0)
        for listener in self._listeners:
            try:
                await listener()
            except Exception:
                log.exception("the store is back, and a part of the server could not go on")

    async def _tried(self) -> str | None:
        """Try to write, in a second or when there is a sign of life; what came in the way."""
        try:
            async with asyncio.timeout(TRY_S):
                await self._try_now.wait()
        except TimeoutError:
            pass
        self._try_now.clear()
        try:
            await self._write()
        except StoreUnavailable as error:
            return _why(error)
        except Exception as error:  # whatever it is, it must not be the last try
            log.exception("whether the store takes a write is not known")
            return repr(error)
        return None


def _why(error: StoreUnavailable) -> str:
    return error.message or error.error


class Waiting:
    """One post that waits for the store: as a context, for one task."""

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
        """Let the task that waits go on, unless it is the one that calls."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._ended = True
            self._task.cancel()

    def __enter__(self) -> None:
        self._watch.check_there()
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
        # As asyncio.timeout has it: who else cancelled the task is to be obeyed.
        if self._task.uncancel() <= self._cancels and kind is asyncio.CancelledError:
            self._watch.check_there()
            raise StoreBusy(message="no answer in time") from error
