"""LinesOfState: log lines of a state that may change to and fro, a few of them a minute."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from server.common.clock import Clock

LINES_A_MINUTE, MINUTE_S = 4, 60.0


class LinesOfState:
    """Writes up to LINES_A_MINUTE lines at once.

    Of the lines that follow in the same minute only the newest is written, when the minute is over;
    it says how many others there were. Call it only from one event loop.
    """

    def __init__(self, log: logging.Logger, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._written: deque[float] = deque(maxlen=LINES_A_MINUTE)
        self._waiting: tuple[int, str] | None = None
        self._left_out = 0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, level: int, line: str) -> None:
        """Write a line that describes the state from now on."""
        now = self._clock.monotonic()
        free_s = self._written[0] + MINUTE_S - now if len(self._written) == LINES_A_MINUTE else 0.0
        if free_s <= 0 and self._waiting is None:
            self._written.append(now)
            self._log.log(level, "%s", line)
            return
        if self._waiting is not None:
            self._left_out += 1
        self._waiting = level, line
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(free_s, 0), self._write_waiting)

    def close(self) -> None:
        """Write the line that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._write_waiting()

    def _write_waiting(self) -> None:
        self._timer = None
        if self._waiting is not None:
            level, line = self._waiting
            self._written.append(self._clock.monotonic())
            also = f" (this changed {self._left_out} times more before)" if self._left_out else ""
            self._waiting, self._left_out = None, 0
            self._log.log(level, "%s%s", line, also)
