"""Outcomes: what the store's threads found, told to the futures of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

Outcome = tuple[asyncio.Future[Any], object]
"""Who waits, and what for: a result, or an error to be raised."""


def tell(loop: asyncio.AbstractEventLoop, outcomes: Sequence[Outcome]) -> None:
    """Settle them in the loop's own thread; from any other one."""
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_settle, outcomes)


def _settle(outcomes: Sequence[Outcome]) -> None:
    for future, outcome in outcomes:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
