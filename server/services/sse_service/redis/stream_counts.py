"""StreamCounts: shares each process's number of open streams through Redis, as leases."""

from __future__ import annotations

import asyncio
import logging

from server.services.ports.event_log import LogUnavailable
from server.services.site.redis_keys import SITE_STREAMS_KEY, streams_key
from server.services.site.redis_script import RunScript
from server.services.sse_service.redis.scripts import COUNT, LEASE

log = logging.getLogger(__name__)

# The streams of a killed process are counted for at most LEASE_S seconds.
LEASE_S, RENEW_S = 15.0, 5.0
# Changes within this many seconds are written together.
WRITE_DELAY_S = 0.02


class StreamCounts:
    """`Census` over all processes: Redis has a hash for each tenant, with a field a process."""

    def __init__(self, run_script: RunScript, ask: RunScript, run: str) -> None:
        """`ask` runs a script for one of many clients."""
        self._run_script = run_script
        self._ask = ask
        self._run = run
        self._counts: dict[str, int] = {}
        self._unwritten: set[str] = set()
        self._change = asyncio.Event()

    def changed(self, tenant_id: str, count: int) -> None:
        self._counts[tenant_id] = count
        self._unwritten.add(tenant_id)
        self._change.set()

    async def elsewhere(self, tenant_id: str | None) -> int:
        key = SITE_STREAMS_KEY if tenant_id is None else streams_key(tenant_id)
        return int(await self._ask(COUNT, [key], [self._run]))

    async def keep(self) -> None:
        """Write changes at once and every count every RENEW_S; runs until cancelled."""
        while True:
            try:
                async with asyncio.timeout(RENEW_S):
                    await self._change.wait()
                await asyncio.sleep(WRITE_DELAY_S)
            except TimeoutError:
                self._unwritten |= self._counts.keys()
            self._change.clear()
            try:
                await self._write_changes()
            except LogUnavailable as error:
                log.debug("the number of streams could not be written to Redis: %s", error)

    async def leave(self) -> None:
        """Write that this process serves no streams any more. Raises LogUnavailable."""
        for tenant_id in self._counts:
            self.changed(tenant_id, 0)
        await self._write_changes()

    async def _write_changes(self) -> None:
        if not self._unwritten:
            return
        for tenant_id in list(self._unwritten):
            count = self._counts.get(tenant_id, 0)
            await self._lease(streams_key(tenant_id), count)
            self._unwritten.discard(tenant_id)
            if not count and not self._counts.get(tenant_id):
                self._counts.pop(tenant_id, None)
        await self._lease(SITE_STREAMS_KEY, sum(self._counts.values()))

    async def _lease(self, key: str, count: int) -> None:
        await self._run_script(LEASE, [key], [self._run, count, round(LEASE_S * 1000)])
