"""Calls Firestore with time-outs, retries and a circuit breaker, and translates its errors."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors

from server.common.breaker import Breaker
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.common.seldom import Seldom
from server.services.firestore.google.batch import WriteRefused
from server.services.ports.documents import MissingIndex, StoreUnavailable
from server.services.ports.failures import unavailable

FIRST_PAUSE_S, PAUSE_MAX_S = 0.02, 0.4
ATTEMPT_S = 1.1
BREAKER_OPEN_S = 3.0
# An attempt needs at least these seconds for an answer; with less time left, no retry is made.
ATTEMPT_MIN_S = 0.05

# After these errors it is unknown whether the attempt was applied.
_UNSURE = (
    google_errors.ServiceUnavailable,
    google_errors.DeadlineExceeded,
    google_errors.InternalServerError,
    google_errors.Unknown,
    google_errors.Cancelled,
)
# After these errors the attempt was not applied, because of a concurrent write or too many
# requests; a retry may succeed.
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
    """Runs calls to one Firestore database, whose name in messages is `target`.

    While `breaker` is open, no call is sent for BREAKER_OPEN_S; then one call is tried.
    """

    def __init__(
        self,
        target: str,
        clock: Clock,
        metrics: Metrics,
        *,
        max_waiting: int,
        copy_s: float | None = None,
    ) -> None:
        """With `copy_s` each call is one attempt of this time: a copy has its own retries."""
        self.breaker = Breaker(clock, BREAKER_OPEN_S)
        self._target = target
        self._clock = clock
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._attempt_s, self._retries = copy_s or ATTEMPT_S, copy_s is None
        self._refusals = Seldom(clock.monotonic)
        self._why = ""  # the newest reason why a call was lost
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
        attempt_s: float | None = None,
    ) -> T:
        """Call `send` with a time-out in seconds, retry until `deadline`, and return its result.

        Raises StoreUnavailable without an answer in time, MissingIndex, ValueError for a malformed
        request, and WriteRefused for a write whose precondition does not hold.
        """
        if self._closed:
            raise unavailable(self._metrics, "closed", "The store is closed")
        if self._running >= self._max_waiting:
            raise unavailable(self._metrics, "queue_full", f"Too many {what}s are waiting")
        if not self.breaker.allows():
            raise unavailable(
                self._metrics,
                "breaker_open",
                f"{self._target} circuit breaker open: it did not answer lately ({self._why})",
            )
        self._running += 1
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                return await self._tried(what, send, deadline, attempt_s or self._attempt_s)
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
                if left_s < ATTEMPT_MIN_S or not self._retries:
                    raise self._lost(f"{what}_error", error.message) from error
            except google_errors.GoogleAPICallError as error:
                raise self._translated(what, error, unsure=unsure) from error
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # This call was not cancelled, but its connection was closed.
                raise unavailable(self._metrics, "closed", "The store is closed") from None
            except auth_errors.GoogleAuthError as error:
                raise self._lost("credentials", f"has no valid credentials: {error}") from error
            else:
                self._answered()
                return answer
            await asyncio.sleep(random.uniform(pause_s / 2, pause_s))  # noqa: S311 - no secret
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def _translated(
        self, what: What, error: google_errors.GoogleAPICallError, *, unsure: bool
    ) -> Exception:
        """Convert Firestore's definite error to one of this server.

        An error of the set-up lasts, and its line would come with every call: it opens the breaker
        like a database that does not answer.
        """
        if remedy := self._remedy(what, error):
            return self._lost(f"{what}_refused", f"{error.message} ({remedy})")
        self._answered()
        if isinstance(error, google_errors.InvalidArgument):
            return ValueError(f"Firestore refused it: {error.message}")
        if what == "write" and isinstance(error, _PRECONDITION):
            return WriteRefused(error.message, unsure=unsure)
        if isinstance(error, google_errors.FailedPrecondition) and "index" in error.message:
            return MissingIndex(error.message)
        if self._refusals.may_log(type(error).__name__):
            logger.error("%s: %s", self._target, error)
        return unavailable(self._metrics, f"{what}_refused", f"{self._target}: {error.message}")

    def _remedy(self, what: What, error: google_errors.GoogleAPICallError) -> str | None:
        """What an operator does about an error of the set-up; None if it is another error."""
        if isinstance(error, _PRECONDITION) and (what == "write" or "index" in error.message):
            return None
        return next((text for kind, text in _SETUP.items() if isinstance(error, kind)), None)

    def _answered(self) -> None:
        if self.breaker.is_open:
            logger.warning("%s answers again, the circuit breaker is closed", self._target)
        self.breaker.succeeded()

    def _lost(self, kind: str, why: str) -> StoreUnavailable:
        self._why = why
        if self.breaker.failed():
            logger.error(
                "%s: %s. The circuit breaker is open: one call is tried every %g s",
                self._target,
                why,
                BREAKER_OPEN_S,
            )
        return unavailable(self._metrics, kind, f"{self._target}: {why}")
