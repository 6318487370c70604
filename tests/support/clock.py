"""A clock that a test sets: the one fake here, since time has no second implementation."""

from __future__ import annotations


class ManualClock:
    """Stands still until `advance`; all its times move together."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self.ms = now_ms

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)

    def now_ms(self) -> int:
        return self.ms

    def steady_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000
