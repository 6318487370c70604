"""Calm: limits what an HTTP/2 client may ask for beside its requests, such as resets and pings.

Each of them costs this server more than its sender. A request that is reset at once costs most:
https://nvd.nist.gov/vuln/detail/CVE-2023-44487
"""

from __future__ import annotations

# A browser that closes many tabs resets their streams, and each answer that a client takes leads to
# two updates of its windows. A client that does nothing useful has this many, and so many a second.
DISTURBANCES = 200.0
A_SECOND = 20.0
# Each part of an answer allows for the updates that its client sends.
PER_ANSWER = 2.0
PER_BYTE = 1 / 1024


class Calm:
    """A bucket of allowed disturbances of one connection, which refills with time and answers."""

    __slots__ = ("_left", "_refilled_s")

    def __init__(self) -> None:
        self._left = DISTURBANCES
        self._refilled_s: float | None = None

    def disturb(self) -> None:
        """Count one disturbance."""
        self._left -= 1

    def answered(self, size: int) -> None:
        """Count a part of an answer of `size` bytes."""
        self._left = min(DISTURBANCES, self._left + PER_ANSWER + size * PER_BYTE)

    def holds(self, now_s: float) -> bool:
        """Whether the client may go on; `now_s` are monotonic seconds."""
        if self._refilled_s is not None:
            more = (now_s - self._refilled_s) * A_SECOND
            self._left = min(DISTURBANCES, self._left + more)
        self._refilled_s = now_s
        return self._left >= 0
