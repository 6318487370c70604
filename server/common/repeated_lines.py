"""RepeatedLines: leaves out log lines that come again and again from one line of code.

Where a failure lasts, the code that meets it logs its begin and its end, if it knows them. This
limit is for all other code, and for libraries: an outage never fills the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

LINES_A_MINUTE, MINUTE_S = 10, 60.0


@dataclass
class _Kind:
    began: float
    logged: int = 0
    left_out: int = 0
    last: logging.LogRecord | None = None


class RepeatedLines:
    """Lets LINES_A_MINUTE warnings and errors from each line of code pass.

    Lines of a lower level always pass: they tell of what people do, not of failures. Not safe for
    several threads at once.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._kinds: dict[tuple[str, int], _Kind] = {}
        self.has_left_out = False

    def may_log(self, record: logging.LogRecord) -> bool:
        """Whether to write this record."""
        if record.levelno < logging.WARNING:
            return True
        key = record.pathname, record.lineno
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(self._monotonic())
        elif not kind.left_out and self._monotonic() - kind.began >= MINUTE_S:
            kind.began, kind.logged = self._monotonic(), 0
        if kind.logged < LINES_A_MINUTE:
            kind.logged += 1
            return True
        kind.left_out += 1
        kind.last = record
        self.has_left_out = True
        return False

    def summaries(self, *, everything: bool = False) -> list[logging.LogRecord]:
        """The newest of the lines of each minute that is over, with the number of all of them."""
        now = self._monotonic()
        found = []
        for kind in self._kinds.values():
            last = kind.last
            if last is not None and (everything or now - kind.began >= MINUTE_S):
                words = "%s (and %d more such lines that are left out, in %.0f s)"
                about = last.getMessage(), kind.left_out - 1, now - kind.began
                found.append(
                    logging.LogRecord(
                        last.name, last.levelno, last.pathname, last.lineno, words, about, None
                    )
                )
                kind.began, kind.logged, kind.left_out, kind.last = now, 1, 0, None
        self.has_left_out = any(kind.left_out for kind in self._kinds.values())
        return found
