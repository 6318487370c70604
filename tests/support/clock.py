"""A clock that a test sets: the one fake here, since time has no second implementation."""

from __future__ import annotations

HOUR_MS = 3_600_000


class ManualClock:
    """Stands still until `advance`; all its times move together.

    A step of the wall clock alone is added to `step_ms`. Two clocks of one `boot` are two
    processes of one machine, which was started an hour before `now_ms`.
    """

    def __init__(self, now_ms: int = 1_790_000_000_000, boot: str = "first boot") -> None:
        self.ms = now_ms
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
