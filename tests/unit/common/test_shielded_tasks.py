"""ShieldedTasks: an error of a task that no caller awaits is logged."""

from __future__ import annotations

import asyncio
import logging

import pytest

from server.common.shielded_tasks import ShieldedTasks


async def fail() -> None:
    raise RuntimeError("broken")


async def test_an_error_that_no_caller_awaits_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tasks = ShieldedTasks()
    await asyncio.wait({tasks.begin(fail())})
    await asyncio.sleep(0)  # the callbacks of a task run after it
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "RuntimeError: broken" in caplog.text
    assert record.name == "server.common.shielded_tasks"


async def test_an_error_that_a_caller_awaits_is_raised_there_and_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = ShieldedTasks()
    with pytest.raises(RuntimeError, match="broken"):
        await tasks.finish(fail())
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []
