"""The alarms' task ends as soon as its server stops."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from server.alarms import alarm_service
from tests.support.clock import ManualClock
from tests.support.unreliable import Site

pytestmark = pytest.mark.sqlite_only("its own store")

ENDS_S, LONGER_S = 30.0, 3600.0


async def test_a_stop_during_a_round_is_not_followed_by_a_pause(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm_service, "PAUSE_S", LONGER_S)
    async with AsyncExitStack() as resources:
        process = await Site(tmp_path / "bas.db", clock, resources).start()
        service = process.alarms.service
        service.start()
        await asyncio.sleep(0)  # the first round has begun and waits for the store
        async with asyncio.timeout(ENDS_S):
            await service.stop()
