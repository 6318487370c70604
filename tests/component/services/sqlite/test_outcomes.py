"""`awaited`: how long a caller waits for a job, also in a process that stood still."""

from __future__ import annotations

import asyncio
import time

import pytest

from server.services.sqlite.outcomes import awaited

TIMEOUT_S = 0.2


async def waiting_task(future: asyncio.Future[str]) -> asyncio.Task[str]:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(awaited(loop, future, TIMEOUT_S))
    await asyncio.sleep(0)
    return task


async def stand_still() -> None:
    """Stop the loop for far longer than a caller waits, and let the timers that are due run."""
    asyncio.get_running_loop().call_soon(time.sleep, 2 * TIMEOUT_S)
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_job_of_a_process_that_stood_still_has_its_time_again() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = await waiting_task(future)
    await stand_still()
    assert not task.done()
    future.set_result("stored")
    assert await task == "stored"


async def test_a_job_that_stays_away_times_out_although_the_process_stood_still() -> None:
    task = await waiting_task(asyncio.get_running_loop().create_future())
    await stand_still()
    with pytest.raises(TimeoutError):
        await task
    with pytest.raises(TimeoutError):
        await awaited(
            asyncio.get_running_loop(), asyncio.get_running_loop().create_future(), TIMEOUT_S
        )
