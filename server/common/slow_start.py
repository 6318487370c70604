"""Says what a start waits for, while it waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

log = logging.getLogger(__name__)

# Seconds until the first line, and between two.
SLOW_S, AGAIN_S = 5.0, 10.0


@asynccontextmanager
async def said_if_slow(what: str) -> AsyncIterator[None]:
    """Log that `what` is still going on, if the block takes longer than SLOW_S."""
    saying = asyncio.create_task(_say(what), name="slow start")
    try:
        yield
    finally:
        saying.cancel()
        await asyncio.wait({saying})


async def _say(what: str) -> None:
    began_s, pause_s = asyncio.get_running_loop().time(), SLOW_S
    while True:
        await asyncio.sleep(pause_s)
        pause_s = AGAIN_S
        took_s = asyncio.get_running_loop().time() - began_s
        log.warning("%s for %.0f s now; the start waits for it", what, took_s)
