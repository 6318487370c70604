"""Seldom: what strangers can provoke at will must neither fill the log nor hide in it."""

from __future__ import annotations

import time
from collections.abc import Callable

# Who looks at the log sees a lasting fault within a minute, and a day of it is 1,440 lines.
PAUSE_S = 60.0
# Names are the strangers' choice: so many may be said in one pause, and are remembered for it.
NAMES_MAX = 20


class Seldom:
    """Whether a name may be said now: each once in `PAUSE_S`, and not too many of them."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._said: dict[str, float] = {}

    def may_say(self, name: str) -> bool:
        """True counts as said."""
        now = self._monotonic()
        self._said = {one: at for one, at in self._said.items() if now - at < PAUSE_S}
        if name in self._said or len(self._said) >= NAMES_MAX:
            return False
        self._said[name] = now
        return True
