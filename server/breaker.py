"""Breaker: stops asking a service that does not answer, and asks again after a while."""

from __future__ import annotations

from collections import deque

from server.clock import Clock

FAILURES, WITHIN_S, OPEN_S = 5, 30.0, 15.0


class Breaker:
    """Closed: calls go out. Open, after FAILURES within WITHIN_S: none does for `open_s` seconds,
    then one; if that succeeds it closes."""

    def __init__(self, clock: Clock, open_s: float = OPEN_S) -> None:
        self._clock = clock
        self._open_s = open_s
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._open_until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls are held back, or only one is tried."""
        return self._open_until is not None

    def allows(self) -> bool:
        """Whether a call may go out now; half-open, the first who asks may, for `open_s`."""
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
        """A call was answered."""
        self._open_until = None
        self._failures.clear()

    def failed(self) -> bool:
        """A call was not answered; True if that opened the breaker."""
        now = self._clock.monotonic()
        self._failures.append(now)
        full = len(self._failures) == FAILURES and now - self._failures[0] <= WITHIN_S
        if self._open_until is not None or not full:
            return False
        self._open_until = now + self._open_s
        return True

    def try_now(self) -> None:
        """There is a sign of life: the next call may go out."""
        if self._open_until is not None:
            self._open_until = self._clock.monotonic()
