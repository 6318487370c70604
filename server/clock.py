"""Time as a port: the one place where the machine's clocks are read."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Protocol

# https://docs.kernel.org/admin-guide/sysctl/kernel.html#random: drawn anew at each boot.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Digits that name a boot, 48 bits: each zone's record has them.
BOOT_DIGITS = 12


class Clock(Protocol):
    """Where times come from."""

    @property
    def boot(self) -> str:
        """The time line that `uptime_ms` counts on: the same for all processes that share it."""

    def uptime_ms(self) -> float:
        """Milliseconds on the time line `boot`, never stepping: for minimum times.

        With fractions, since a minimum between two rounded times may be a millisecond short. While
        the machine sleeps it may stand still: then a wait takes longer, never shorter.
        """

    def now_ms(self) -> int:
        """Unix time in milliseconds; may step when the machine's clock is set."""

    def steady_ms(self) -> int:
        """Unix time in milliseconds that never steps after the start of this process."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point, never going back: for time-outs and latencies."""


class SystemClock:
    """The machine's clocks. Its time line is the boot's, on a system that names its boots (Linux);
    elsewhere each process has one of its own."""

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


def _boot_id() -> str | None:
    try:
        return BOOT_ID.read_text(encoding="ascii").replace("-", "")[:BOOT_DIGITS]
    except OSError:
        return None
