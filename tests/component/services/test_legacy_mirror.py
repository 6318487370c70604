"""The mirror in the existing application's file is never in the way of a post."""

from __future__ import annotations

import asyncio
import sqlite3

from server.services.sqlite import legacy_mirror
from tests.support import legacy
from tests.support.http import Caller, reading, served


def mirrored(path):
    connection = sqlite3.connect(path)
    try:
        return [temp for (temp,) in connection.execute("SELECT temp_tenths FROM telemetry")]
    finally:
        connection.close()


async def test_a_missing_file_is_logged_once_counted_and_not_made(
    config, clock, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(legacy_mirror, "PAUSE_S", 0.01)
    path = tmp_path / "old" / "bas_telemetry.db"
    path.parent.mkdir()
    async with served(config, clock, legacy_mirror=str(path)) as container:
        lost = container.base.metrics.legacy_mirror_lost._value
        async with asyncio.timeout(60):
            for count in (1, 2):
                answer = await Caller(container.app).post("/api/sensor_data", reading(215))
                assert (answer.status, "stored" in answer.json()) == (200, False)
                while lost.get() < count:  # noqa: ASYNC110 - a thread counts
                    await asyncio.sleep(0.01)
        assert not path.exists()
        assert caplog.text.count("BAS_LEGACY_MIRROR") == 1
        legacy.empty(path)
        await Caller(container.app).post("/api/sensor_data", reading(216))
    assert mirrored(path) == [216]  # what waits is written at the end


async def test_what_finds_too_many_readings_waiting_is_counted(
    config, clock, tmp_path, monkeypatch
):
    monkeypatch.setattr(legacy_mirror, "WAITING_MAX", 2)
    path = legacy.empty(tmp_path / "bas_telemetry.db")
    async with served(config, clock, legacy_mirror=str(path)) as container:
        rows = [reading(210 + number) for number in range(5)]
        assert (await Caller(container.app).post("/api/sensor_data/batch", rows)).status == 200
        assert container.base.metrics.legacy_mirror_lost._value.get() == 3
    assert mirrored(path) == [210, 211]
