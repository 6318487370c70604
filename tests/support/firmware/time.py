"""A Pico's clock instead of that of MicroPython's Unix build, whose ticks wrap at 2^62, not 2^30.

The ticks start at the first call, so that a test knows the first value exactly.
"""

import settings
import utime
from utime import sleep_ms

__all__ = ("sleep_ms", "ticks_diff", "ticks_ms")
PERIOD = 1 << 30
_began = []


def ticks_ms():
    now = utime.ticks_ms()
    if not _began:
        _began.append(now)
    return (settings.TICKS + utime.ticks_diff(now, _began[0])) % PERIOD


def ticks_diff(end, start):
    half = PERIOD // 2
    return (end - start + half) % PERIOD - half
