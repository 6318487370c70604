"""Time as a port: the one place where the machine's clocks are read."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where times come from."""

    def now_ms(self) -> int:
        """Unix time in milliseconds; may step when the machine's clock is set."""

    def steady_ms(self) -> int:
        """Unix time in milliseconds that never steps after the start: for minimum times."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point, never going back: for time-outs and latencies."""


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def now_ms(self) -> int:
        return int(time.time() * 1000)

    def steady_ms(self) -> int:
        return int((self._offset_s + time.monotonic()) * 1000)

    def monotonic(self) -> float:
        return time.monotonic()
