"""Meter: prints the progress of a long command."""

from __future__ import annotations

import sys

from server.common.clock import Clock
from server.processes.run import say

SAY_EVERY_S = 5.0


class Meter:
    """Prints the progress of a long command: on a terminal in one line, else every few seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._terminal = sys.stdout.isatty()
        self._said_at = clock.monotonic()

    def show(self, what: str, done: int, total: int | None) -> None:
        """Print that `done` of `total` are done; None if their number is not known."""
        text = f"{what}: {done}" + ("" if total is None else f" of {max(done, total)}")
        if self._terminal:
            sys.stdout.write(f"{text}\r")
            sys.stdout.flush()
        elif self._clock.monotonic() - self._said_at >= SAY_EVERY_S:
            self._said_at = self._clock.monotonic()
            say(text)

    def clear(self) -> None:
        """Clear the terminal's line, so that a shorter one may follow."""
        if self._terminal:
            sys.stdout.write("\x1b[K")
