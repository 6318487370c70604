"""The certificate of a process that speaks TLS: read at the start, and watched until the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.http.tls import ServerTls

log = logging.getLogger(__name__)

# The metric follows a renewed certificate within this time.
CHECK_S = 5.0
WARN_EVERY_S = 86_400.0


def own_tls(config: ServerConfig, *, expired_too: bool = False) -> ServerTls | None:
    """The TLS of a process with these settings; None without TLS.

    Raises TlsError that names the remedy; `expired_too` lets an expired certificate pass.
    """
    return ServerTls(config, SystemClock(), expired_too=expired_too) if config.tls_on else None


@contextlib.asynccontextmanager
async def watched(tls: ServerTls | None, metrics: Metrics) -> AsyncIterator[None]:
    """Show within the block when the certificate expires, and warn when that is near."""
    if tls is None:
        yield
        return
    task = asyncio.create_task(_watch_for_ever(tls, metrics), name="certificate")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _watch_for_ever(tls: ServerTls, metrics: Metrics) -> None:
    loop = asyncio.get_running_loop()
    warned: tuple[float, float] | None = None
    while True:
        metrics.tls_expires_s.set(tls.expires_s)
        if warned is None or warned[0] != tls.expires_s or loop.time() - warned[1] >= WARN_EVERY_S:
            warning = tls.warning()
            if warning is not None:
                warned = tls.expires_s, loop.time()
                log.warning("%s", warning)
        await asyncio.sleep(CHECK_S)
