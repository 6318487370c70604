"""Makes a server process keep little memory that it does not use."""

from __future__ import annotations

import contextlib
import ctypes

# Parameters of glibc's mallopt(3).
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
# Blocks from this size go back to the system when they are freed. The hash of a password takes
# 19 MB; without this, each thread that made one kept as much.
MMAP_FROM_BYTES = 4 * 1024 * 1024
# The threads share one area to allocate from; each with its own took 0.1 MB more.
ARENAS = 1


def keep_little() -> None:
    """Tell malloc to keep little; call it before any thread starts. Without glibc: no effect."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_ARENA_MAX, ARENAS)
        libc.mallopt(M_MMAP_THRESHOLD, MMAP_FROM_BYTES)
