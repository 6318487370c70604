"""SupervisedTasks: tasks that run until their part of the server is closed."""

from __future__ import annotations

import asyncio

import pytest

from server.common import supervised_tasks
from server.common.supervised_tasks import SupervisedTasks


async def test_a_task_that_fails_is_logged_and_started_again(monkeypatch, caplog):
    monkeypatch.setattr(supervised_tasks, "PAUSE_S", 0)
    tasks, runs, done = SupervisedTasks("the test"), [], asyncio.Event()

    async def work() -> None:
        runs.append(len(runs))
        if len(runs) < 3:
            raise ValueError("one bad message")
        done.set()

    tasks.keep(work)
    async with asyncio.timeout(60):
        await done.wait()
    await tasks.close()
    assert runs == [0, 1, 2]
    assert caplog.messages == ["a task of the test failed and is started again"]


async def test_close_ends_a_task_that_swallows_the_first_cancellation(monkeypatch):
    monkeypatch.setattr(supervised_tasks, "CLOSE_S", 0.05)
    tasks, swallowed, ended = SupervisedTasks("the test"), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            swallowed.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    tasks.begin(work())
    await asyncio.sleep(0)
    await tasks.close()
    assert swallowed.is_set()
    assert ended.is_set()


async def test_close_without_tasks_is_no_error():
    await SupervisedTasks("the test").close()


@pytest.mark.parametrize("count", [1, 3])
async def test_close_ends_all_running_tasks(count):
    tasks, ended = SupervisedTasks("the test"), []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    for _ in range(count):
        tasks.keep(work)
    await asyncio.sleep(0)
    await tasks.close()
    assert len(ended) == count
