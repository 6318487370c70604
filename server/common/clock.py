"""Clock: the interface for the time; no other file reads the machine's clocks."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Protocol

# The kernel makes a new id at each boot:
# https://docs.kernel.org/admin-guide/sysctl/kernel.html#random
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The digits of a boot's id that each zone's record stores: 48 bits.
BOOT_DIGITS = 12
# How much the clocks of two machines may differ: what one of them dates may be this far ahead.
CLOCKS_APART_MS = 5 * 60_000


class Clock(Protocol):
    """The source of all times."""

    @property
    def boot(self) -> str:
        """The id of the time line of `uptime_ms`; processes that share the line share the id."""

    def uptime_ms(self) -> float:
        """Milliseconds on the time line `boot`, which never steps: for minimum times.

        They have fractions, since a minimum between two rounded times may be a millisecond short.
        While the machine sleeps they may stand still: then a wait takes longer, never shorter.
        """

    def now_ms(self) -> int:
        """Unix time in milliseconds; it may step when the machine's clock is set."""

    def steady_ms(self) -> int:
        """Unix time in milliseconds that never steps after the start of this process."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point, which never go back: for time-outs and latencies."""


class SystemClock:
    """The machine's clocks.

    The time line begins with the boot on a system that has boot ids (Linux); elsewhere each
    process has a different time line.
    """

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()
        self.boot = _boot_id() or secrets.token_hex(BOOT_DIGITS // 2)

    def uptime_ms(self) -> float:
        return time.monotonic() * 1000

    def now_ms(self) -> int:
        return int(time.time() * 1000)

    def steady_ms(self) -> int:
        return int((self._offset_s + time.monotonic()) * 1000)

    def monotonic(self) -> float:
        return time.monotonic()


def booted_ms(clock: Clock) -> int:
    """When uptime was 0, in Unix milliseconds of the clock as it is set now.

    Stored in a document beside `Clock.boot`, it says by which setting of the clock the document's
    times are: `leap_ms` then corrects them.
    """
    return clock.now_ms() - int(clock.uptime_ms())


def leap_ms(clock: Clock, boot: str, booted: int) -> int:
    """How far the clock was set forward since a document with these two fields was written.

    A time of the document plus this is the same time by the clock as it is set now. It is 0 for a
    document of another time line, and for one that lacks the fields: nothing but the clock is known
    of it.
    """
    return booted_ms(clock) - booted if boot == clock.boot else 0


def _boot_id() -> str | None:
    try:
        return BOOT_ID.read_text(encoding="ascii").replace("-", "")[:BOOT_DIGITS]
    except OSError:
        return None
