"""Calls to Firestore: each with a time-out, few retries, a breaker; its errors become ours here."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors

from server.breaker import Breaker
from server.clock import Clock
from server.metrics import Metrics
from server.services.firestore.base import MissingIndex, StoreBusy, StoreUnavailable
from server.services.firestore.batches import Refused

FIRST_PAUSE_S, PAUSE_MAX_S = 0.02, 0.4
ATTEMPT_S = 1.1
BREAKER_OPEN_S = 3.0
# Less than this is not enough for an answer.
ATTEMPT_MIN_S = 0.05

# Whether an attempt that ended so was applied cannot be known.
_UNSURE = (
    google_errors.ServiceUnavailable,
    google_errors.DeadlineExceeded,
    google_errors.InternalServerError,
    google_errors.Unknown,
    google_errors.Cancelled,
)
# These were not applied, and may be the next time: somebody else was writing, or too many were.
_LATER = (google_errors.Aborted, google_errors.TooManyRequests)
_PRECONDITION = (
    google_errors.AlreadyExists,
    google_errors.NotFound,
    google_errors.FailedPrecondition,
)
_SETUP = {
    google_errors.PermissionDenied: "give its account the role roles/datastore.user",
    google_errors.Unauthenticated: "renew its credentials",
    google_errors.NotFound: "create the database, or name another GOOGLE_CLOUD_PROJECT",
    google_errors.FailedPrecondition: "the database must be in Firestore's native mode",
}

T = TypeVar("T")
What = Literal["read", "write"]
logger = logging.getLogger(__name__)


class Calls:
    """Runs calls to one Firestore database, which `target` names in messages.

    `breaker`: open, nothing is asked for BREAKER_OPEN_S, then one call is tried.
    """

    def __init__(self, target: str, clock: Clock, metrics: Metrics, *, max_waiting: int) -> None:
        self.breaker = Breaker(clock, BREAKER_OPEN_S)
        self._target = target
        self._clock = clock
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._running = 0
        self._closed = False

    def close(self) -> None:
        """Refuse every call from now on."""
        self._closed = True

    async def run(
        self,
        what: What,
        send: Callable[[float], Awaitable[T]],
        deadline: float,
        attempt_s: float = ATTEMPT_S,
    ) -> T:
        """What `send` returns; it is given a time-out in seconds and tried until `deadline`.

        StoreUnavailable when there is no answer in time; MissingIndex; ValueError for what
        Firestore finds malformed; Refused for a write whose precondition does not hold.
        """
        if self._closed:
            raise self._unavailable("closed", "The store is closed")
        if self._running >= self._max_waiting:
            raise self._unavailable("queue_full", f"Too many {what}s are waiting")
        if not self.breaker.allows():
            raise self._unavailable("breaker_open", f"{self._target} did not answer lately")
        self._running += 1
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                return await self._tried(what, send, deadline, attempt_s)
        except TimeoutError:
            raise self._lost(f"{what}_timeout", "did not answer in time") from None
        finally:
            self._running -= 1

    async def _tried(
        self,
        what: What,
        send: Callable[[float], Awaitable[T]],
        deadline: float,
        attempt_s: float,
    ) -> T:
        pause_s, unsure = FIRST_PAUSE_S, False
        while True:
            left_s = max(deadline - self._clock.monotonic(), ATTEMPT_MIN_S)
            try:
                answer = await send(min(attempt_s, left_s))
            except (*_UNSURE, *_LATER) as error:
                unsure |= isinstance(error, _UNSURE)
                left_s = deadline - self._clock.monotonic() - pause_s
                if left_s < ATTEMPT_MIN_S:
                    raise self._lost(f"{what}_error", error.message) from error
            except google_errors.GoogleAPICallError as error:
                self.breaker.succeeded()
                raise self._translated(what, error, unsure=unsure) from error
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Not this call was cancelled but its connection was closed under it.
                raise self._unavailable("closed", "The store is closed") from None
            except auth_errors.GoogleAuthError as error:
                raise self._lost("credentials", f"has no valid credentials: {error}") from error
            else:
                self.breaker.succeeded()
                return answer
            await asyncio.sleep(random.uniform(pause_s / 2, pause_s))  # noqa: S311 - no secret
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def _translated(
        self, what: What, error: google_errors.GoogleAPICallError, *, unsure: bool
    ) -> Exception:
        """A definite answer that is an error, as one of ours."""
        if isinstance(error, google_errors.InvalidArgument):
            return ValueError(f"Firestore refused it: {error.message}")
        if what == "write" and isinstance(error, _PRECONDITION):
            return Refused(error.message, unsure=unsure)
        if isinstance(error, google_errors.FailedPrecondition) and "index" in error.message:
            return MissingIndex(error.message)
        remedy = next((text for kind, text in _SETUP.items() if isinstance(error, kind)), None)
        logger.error("%s: %s", self._target, error)
        return self._unavailable(
            f"{what}_refused",
            f"{self._target}: {error.message}" + (f" ({remedy})" if remedy else ""),
        )

    def _lost(self, kind: str, why: str) -> StoreUnavailable:
        if self.breaker.failed():
            logger.error("%s is not asked for %g s: it %s", self._target, BREAKER_OPEN_S, why)
        return self._unavailable(kind, f"{self._target}: {why}")

    def _unavailable(self, kind: str, message: str) -> StoreUnavailable:
        self._metrics.store_failures.labels(kind=kind).inc()
        error = StoreBusy if kind == "queue_full" else StoreUnavailable
        return error(message=message)
