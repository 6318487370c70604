"""How often, and when, a write is tried again that another process came before."""

from __future__ import annotations

import random
from collections.abc import Iterator

from server.clock import Clock

# Each try is another process's success. With three processes of eight posters that do nothing but
# post to one zone, 5 tries were too few for 22 posts in 100, and 30 without a pause for 2.
TRIES_MAX = 200
TRIES_S = 1.0
PAUSE_MAX_S = 0.001


def tries(clock: Clock) -> Iterator[float]:
    """One item a try, for TRIES_S: the seconds to wait if it fails, drawn at random so that two
    processes do not stay in step."""
    deadline = clock.monotonic() + TRIES_S
    for _ in range(TRIES_MAX):
        yield random.uniform(0, PAUSE_MAX_S)  # noqa: S311 - no secret
        if clock.monotonic() >= deadline:
            return
