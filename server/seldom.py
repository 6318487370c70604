"""Seldom, Ration: what strangers can provoke at will must neither fill the log nor hide in it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable

from server.addresses import address_group

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


class Ration:
    """Whether a name that somebody somewhere chose may be said now: each once in `PAUSE_S`, `most`
    in `window_s`, and a half of these for one address, so that no one takes every place.

    Only what was said is remembered, so made-up names cost no memory.
    """

    def __init__(self, most: int, window_s: float, monotonic: Callable[[], float]) -> None:
        self._most = most
        self._window_s = window_s
        self._monotonic = monotonic
        self._said: dict[Hashable, float] = {}
        self._taken: Counter[str] = Counter()
        self._ends = 0.0
        self._unsaid = 0

    def may_say(self, name: Hashable, address: str) -> bool:
        """True counts as said."""
        now = self._monotonic()
        said = self._said.get(name)
        if said is not None and now - said < PAUSE_S:
            return False
        if now >= self._ends:
            self._ends = now + self._window_s
            self._taken.clear()
            self._said = {one: at for one, at in self._said.items() if now - at < PAUSE_S}
        if self._taken.total() < self._most:
            group = address_group(address)
            if self._taken[group] < self._most // 2:
                self._taken[group] += 1
                self._said[name] = now
                return True
        self._unsaid += 1
        return False

    def rest(self) -> int:
        """How many names were left out since the last call, once their window is over; else 0."""
        if not self._unsaid or self._monotonic() < self._ends:
            return 0
        rest, self._unsaid = self._unsaid, 0
        return rest
