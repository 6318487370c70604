"""Outcomes: passes results from the store's threads to futures of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, TypeVar

Outcome = tuple[asyncio.Future[Any], object]
"""A future, and its result or the error to raise."""

T = TypeVar("T")


def settle(loop: asyncio.AbstractEventLoop, outcomes: Sequence[Outcome]) -> None:
    """Settle the futures in the loop's thread; call this from another thread."""
    with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits any more
        loop.call_soon_threadsafe(_settle, outcomes)


def _settle(outcomes: Sequence[Outcome]) -> None:
    for future, outcome in outcomes:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


async def awaited(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], timeout_s: float
) -> T:
    """Wait for a job's outcome; after `timeout_s`, raise TimeoutError, and the job is skipped.

    If the timer is called far too late, the whole process stood still, which says nothing about the
    store: the job has its time again, once. `asyncio.timeout` costs five times as much a reading.
    """
    due = loop.time() + timeout_s
    timer = loop.call_at(due, _end, loop, future, due, timeout_s)
    try:
        return await future
    finally:
        timer.cancel()


def _end(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], due: float, timeout_s: float
) -> None:
    if loop.time() - due > timeout_s / 2:
        loop.call_later(timeout_s, _fail, future)
    else:
        _fail(future)


def _fail(future: asyncio.Future[T]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
