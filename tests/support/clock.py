"""A clock that a test sets: the only fake, because time has no second real implementation."""

from __future__ import annotations

HOUR_MS = 3_600_000


class ManualClock:
    """A clock that stands still until `advance`; all its times move together.

    `step_ms` moves the wall clock alone. Two clocks with the same `boot` stand for two processes
    of one machine that booted an hour before `now_ms`. Only a `compared` one is measured against
    the time of a real Redis or Firestore; to the others, they count as right.
    """

    def __init__(
        self, now_ms: int = 1_790_000_000_000, boot: str = "first boot", *, compared: bool = False
    ) -> None:
        self.ms = now_ms
        self.compared = compared
        self.step_ms = 0
        self.boot = boot
        self._booted_ms = now_ms - HOUR_MS

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)

    def uptime_ms(self) -> int:
        return self.ms - self._booted_ms

    def now_ms(self) -> int:
        return self.ms + self.step_ms

    def steady_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000
