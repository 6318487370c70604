"""Random numbers for ids and versions, read from the system many at a time.

One call into the system takes about as long as all other work of a write on the event loop.
"""

from __future__ import annotations

import os
import struct
from itertools import chain

_AT_ONCE = struct.Struct("=512Q")


def _drawn() -> tuple[int, ...]:
    return _AT_ONCE.unpack(os.urandom(_AT_ONCE.size))


# Threads may share it: two that need more numbers at the same time may drop some, but never get
# the same number. Forked processes would get the same ones: no process forks after a draw.
draw = chain.from_iterable(iter(_drawn, ())).__next__
"""Return the next random number of 64 bits; no number is returned to two callers."""


def hex_digits(count: int) -> str:
    """Return `count` random hexadecimal digits."""
    digits = f"{draw():016x}"
    while len(digits) < count:
        digits += f"{draw():016x}"
    return digits[:count]
