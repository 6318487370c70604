"""Says how often and when a write is retried after another process wrote first."""

from __future__ import annotations

import random
from collections.abc import Iterator

from server.common.clock import Clock

# A try fails only when another process's write succeeds. With three processes of eight posters
# that do nothing but post to one zone, 5 tries were too few for 22 posts in 100, and 30 tries
# without a pause were too few for 2 posts in 100.
TRIES_MAX = 200
TRIES_S = 1.0
PAUSE_MAX_S = 0.001
# A person who logs in waits longer than a device. With two processes that open 50 sessions of one
# user on Firestore, 10 tries without a pause were too few for 2 log-ins in 50.
ACCOUNT_TRIES_S = 5.0
ACCOUNT_PAUSE_MAX_S = 0.05


def tries(
    clock: Clock, within_s: float = TRIES_S, pause_max_s: float = PAUSE_MAX_S
) -> Iterator[float]:
    """Yield, for each try within `within_s` seconds, the seconds to wait if it fails.

    They are random, so that two processes do not stay in step.
    """
    deadline = clock.monotonic() + within_s
    for _ in range(TRIES_MAX):
        yield random.uniform(0, pause_max_s)  # noqa: S311 - no secret
        if clock.monotonic() >= deadline:
            return


def account_tries(clock: Clock) -> Iterator[float]:
    """Yield the pauses between tries to change an account or a count of its failures."""
    return tries(clock, ACCOUNT_TRIES_S, ACCOUNT_PAUSE_MAX_S)
