"""Circuit breaker: stops calls to a service that does not answer, and retries after a while."""

from __future__ import annotations

from collections import deque

from server.common.clock import Clock

FAILURES, WITHIN_S, OPEN_S = 5, 30.0, 15.0


class Breaker:
    """Lets calls to a service go out (closed) or holds them back (open).

    It opens after FAILURES failures within WITHIN_S. No call goes out for `open_s` seconds; then
    one does (half-open), and the breaker closes if that call succeeds.
    """

    def __init__(self, clock: Clock, open_s: float = OPEN_S) -> None:
        self._clock = clock
        self._open_s = open_s
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._open_until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open or half-open: no call goes out, or only one as a trial."""
        return self._open_until is not None

    def allows(self) -> bool:
        """Whether a call may go out now; half-open, one call in `open_s` seconds may."""
        if self._open_until is None:
            return True
        now = self._clock.monotonic()
        if now < self._open_until:
            return False
        self._open_until = now + self._open_s
        return True

    def wait_s(self) -> float:
        """Seconds until a call may go out."""
        if self._open_until is None:
            return 0.0
        return max(0.0, self._open_until - self._clock.monotonic())

    def succeeded(self) -> None:
        """Record that a call was answered; this closes the breaker."""
        self._open_until = None
        self._failures.clear()

    def failed(self) -> bool:
        """Record that a call was not answered; return True if that opened the breaker."""
        now = self._clock.monotonic()
        self._failures.append(now)
        full = len(self._failures) == FAILURES and now - self._failures[0] <= WITHIN_S
        if self._open_until is not None or not full:
            return False
        self._open_until = now + self._open_s
        return True

    def retry_now(self) -> None:
        """Let the next call go out at once: the service showed a sign of life."""
        if self._open_until is not None:
            self._open_until = self._clock.monotonic()
