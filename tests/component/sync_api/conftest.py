"""The sync faces of a running container, called from a thread as by legacy code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Threaded = Callable[..., Awaitable[Any]]


@pytest.fixture
def in_thread() -> Threaded:
    """Calls a function in another thread, within 10 s."""

    async def call(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        async with asyncio.timeout(60):
            return await asyncio.to_thread(work, *args, **kwargs)

    return call
