"""Random numbers for ids and versions, drawn from the system many at a time.

Each call into the system costs about as much as all else that a write takes on the event loop.
"""

from __future__ import annotations

import os
import struct
from itertools import chain

_AT_ONCE = struct.Struct("=512Q")


def _drawn() -> tuple[int, ...]:
    return _AT_ONCE.unpack(os.urandom(_AT_ONCE.size))


# Threads may share it: two that need more numbers at the same time may drop some, and never get
# the same. Processes may not: none is forked from one that has drawn.
draw = chain.from_iterable(iter(_drawn, ())).__next__
"""A random number of 64 bits that was not given out before."""


def hex_digits(count: int) -> str:
    """So many random hexadecimal digits."""
    digits = f"{draw():016x}"
    while len(digits) < count:
        digits += f"{draw():016x}"
    return digits[:count]
