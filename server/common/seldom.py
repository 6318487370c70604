"""Seldom, Ration, Spell: limit the log lines that strangers or a lasting failure can cause.

Such lines must not fill the log, and the log must still show what the strangers did.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable

from server.common.addresses import address_group

# The log shows a lasting fault once a minute; a day of it is 1,440 lines.
PAUSE_S = 60.0
# Strangers choose the names, so this is the most that is logged and remembered in one pause.
NAMES_MAX = 20
# A failure that did not come for this time is over.
QUIET_S = 10.0


class Seldom:
    """Decides whether to log a name now: each once in `PAUSE_S`, and NAMES_MAX in all."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._logged_at: dict[str, float] = {}

    def may_log(self, name: str) -> bool:
        """Whether to log the name now; if so, it counts as logged."""
        now = self._monotonic()
        self._logged_at = {one: at for one, at in self._logged_at.items() if now - at < PAUSE_S}
        if name in self._logged_at or len(self._logged_at) >= NAMES_MAX:
            return False
        self._logged_at[name] = now
        return True


class Spell:
    """A failure that comes again and again: one line when it begins, and one when it is over.

    It is over at the first success after `QUIET_S` without a failure, so that failures between
    successes are one spell.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._count = 0
        self._began = self._last = 0.0

    def goes_on(self) -> bool:
        """Count a failure; return whether it is the first one of its spell."""
        self._last = self._monotonic()
        if not self._count:
            self._began = self._last
        self._count += 1
        return self._count == 1

    def over(self) -> tuple[int, float] | None:
        """Note a success; at the end of a spell return its failures and their seconds."""
        if not self._count or self._monotonic() - self._last < QUIET_S:
            return None
        count, self._count = self._count, 0
        return count, self._last - self._began


class Ration:
    """Decides whether to log a name that a stranger chose now.

    Each name is logged once in `PAUSE_S`, and `most` names in `window_s`; one address gets half of
    these, so that it cannot use up the limit. Names that are not logged are not remembered, so
    made-up names cost no memory.
    """

    def __init__(self, most: int, window_s: float, monotonic: Callable[[], float]) -> None:
        self._most = most
        self._window_s = window_s
        self._monotonic = monotonic
        self._logged_at: dict[Hashable, float] = {}
        self._taken: Counter[str] = Counter()
        self._ends = 0.0
        self._left_out = 0

    def may_log(self, name: Hashable, address: str) -> bool:
        """Whether to log the name now; if so, it counts as logged."""
        now = self._monotonic()
        logged_at = self._logged_at.get(name)
        if logged_at is not None and now - logged_at < PAUSE_S:
            return False
        if now >= self._ends:
            self._ends = now + self._window_s
            self._taken.clear()
            self._logged_at = {one: at for one, at in self._logged_at.items() if now - at < PAUSE_S}
        if self._taken.total() < self._most:
            group = address_group(address)
            if self._taken[group] < self._most // 2:
                self._taken[group] += 1
                self._logged_at[name] = now
                return True
        self._left_out += 1
        return False

    def rest(self) -> int:
        """How many names were left out since the last call; 0 until their window is over."""
        if not self._left_out or self._monotonic() < self._ends:
            return 0
        rest, self._left_out = self._left_out, 0
        return rest
