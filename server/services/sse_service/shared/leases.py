"""Leases: how many streams every process serves, told to all by figures that run out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from server.services.sse_service.backend import LogUnavailable
from server.services.sse_service.shared.scripts import (
    COUNT,
    LEASE,
    SITE_STREAMS_KEY,
    Script,
    streams_key,
)

log = logging.getLogger(__name__)

# The figure of a process that was killed counts for at most so long.
LEASE_S, RENEW_S = 15.0, 5.0
# Streams that open or close together are told together.
GATHER_S = 0.02

RunScript = Callable[[Script, Sequence[str], Sequence[Any]], Awaitable[Any]]


class Leases:
    """`Census` over all processes: in Redis a hash a tenant, in it a field a process."""

    def __init__(self, run_script: RunScript, ask: RunScript, run: str) -> None:
        """`ask` runs a script for one of many clients."""
        self._run_script = run_script
        self._ask = ask
        self._run = run
        self._counts: dict[str, int] = {}
        self._untold: set[str] = set()
        self._news = asyncio.Event()

    def changed(self, tenant_id: str, count: int) -> None:
        self._counts[tenant_id] = count
        self._untold.add(tenant_id)
        self._news.set()

    async def elsewhere(self, tenant_id: str | None) -> int:
        key = SITE_STREAMS_KEY if tenant_id is None else streams_key(tenant_id)
        return int(await self._ask(COUNT, [key], [self._run]))

    async def keep(self) -> None:
        """Tell changes at once and everything every RENEW_S; runs until cancelled."""
        while True:
            try:
                async with asyncio.timeout(RENEW_S):
                    await self._news.wait()
                await asyncio.sleep(GATHER_S)
            except TimeoutError:
                self._untold |= self._counts.keys()
            self._news.clear()
            try:
                await self._tell()
            except LogUnavailable as error:
                log.debug("the number of streams could not be told: %s", error)

    async def leave(self) -> None:
        """This process serves nobody any more. Raises LogUnavailable."""
        for tenant_id in self._counts:
            self.changed(tenant_id, 0)
        await self._tell()

    async def _tell(self) -> None:
        if not self._untold:
            return
        for tenant_id in list(self._untold):
            count = self._counts.get(tenant_id, 0)
            await self._lease(streams_key(tenant_id), count)
            self._untold.discard(tenant_id)
            if not count and not self._counts.get(tenant_id):
                self._counts.pop(tenant_id, None)
        await self._lease(SITE_STREAMS_KEY, sum(self._counts.values()))

    async def _lease(self, key: str, count: int) -> None:
        await self._run_script(LEASE, [key], [self._run, count, round(LEASE_S * 1000)])
