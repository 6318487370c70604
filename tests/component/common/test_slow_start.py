"""A start that takes long says what it waits for."""

from __future__ import annotations

import asyncio
import logging

from server.common import slow_start
from server.common.slow_start import said_if_slow
from tests.support.stream import eventually


async def test_a_slow_start_says_again_and_again_what_it_waits_for(monkeypatch, caplog):
    monkeypatch.setattr(slow_start, "SLOW_S", 0.01)
    monkeypatch.setattr(slow_start, "AGAIN_S", 0.01)
    caplog.set_level(logging.WARNING)
    async with said_if_slow("the database is being opened"):
        await eventually(lambda: len(caplog.messages) >= 2, "two lines")
    assert caplog.messages[0].startswith("the database is being opened for 0 s now")
    said = len(caplog.messages)
    await asyncio.sleep(0)
    assert len(caplog.messages) == said


async def test_a_quick_start_says_nothing(caplog):
    async with said_if_slow("the database is being opened"):
        pass
    assert caplog.messages == []
    assert len(asyncio.all_tasks()) == 1
