"""OpenStreams: counts open streams by tenant, account and address, and refuses too many of one."""

from __future__ import annotations

import logging
from collections import Counter
from typing import NamedTuple

from server.common.errors import RateLimited, Unavailable
from server.common.metrics import Metrics
from server.common.seldom import Seldom
from server.services.sse_service.stream_request import StreamRequest

# A page retries after seconds; a program should wait for as long as a page that is left open.
RETRY_AFTER_S = 30

log = logging.getLogger(__name__)


class StreamLimits(NamedTuple):
    """How many streams one process has open at most: in all, and of one tenant, account, address.

    The address counts as its internet connection, an IPv6 address by its first 64 bits.
    """

    process: int = 10_000
    tenant: int = 5000
    account: int = 200
    address: int = 500


class TooManyStreams(Unavailable):
    """The process has as many open streams as its limit allows."""

    error = "Too many open streams"
    code = "TOO_MANY_STREAMS"


class TooManyOfOne(RateLimited):
    """One tenant, account or address has as many open streams as its limit allows."""

    error = "Too many open streams"
    code = "TOO_MANY_STREAMS"

    def __init__(self, whose: str, limit: int) -> None:
        super().__init__(RETRY_AFTER_S)
        self.message = f"this {whose} has {limit} open; close one, or try again later"


class OpenStreams:
    """Counts the open streams of one process.

    An account or an address that is empty is not limited: nobody logged in, or many people share
    the address of a proxy.
    """

    def __init__(self, limits: StreamLimits, metrics: Metrics) -> None:
        self.limits = limits
        self._refused = metrics.streams_refused
        self._counts: Counter[tuple[str, str]] = Counter()
        self._total = 0
        self._warnings = Seldom()

    def check(self, request: StreamRequest) -> None:
        """Raise TooManyStreams or TooManyOfOne if one more stream is too many."""
        if self._total >= self.limits.process:
            self._refuse("process", "", self.limits.process)
            raise TooManyStreams(message=f"{self.limits.process} are open; try again later")
        for key in _keys(request):
            limit: int = getattr(self.limits, key[0])
            if self._counts[key] >= limit:
                self._refuse(*key, limit)
                raise TooManyOfOne(key[0], limit)

    def enter(self, request: StreamRequest) -> tuple[tuple[str, str], ...]:
        """Count a stream that is opened; return what `leave` needs."""
        keys = _keys(request)
        self._total += 1
        self._counts.update(keys)
        return keys

    def leave(self, keys: tuple[tuple[str, str], ...]) -> None:
        """Count a stream that is closed."""
        self._total -= 1
        for key in keys:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def _refuse(self, what: str, name: str, limit: int) -> None:
        self._refused.labels(limit=what).inc()
        if self._warnings.may_log(f"{what} {name}"):
            log.warning(
                "streams are refused, because %d are open for %s: BAS_SSE_%s is the limit",
                limit,
                f"{what} {name}" if name else "this process",
                "MAX_STREAMS" if what == "process" else f"STREAMS_PER_{what.upper()}",
            )


def _keys(request: StreamRequest) -> tuple[tuple[str, str], ...]:
    named = (
        ("tenant", request.tenant_id),
        ("account", request.account),
        ("address", request.address),
    )
    return tuple(one for one in named if one[1])
