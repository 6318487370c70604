"""The command compact: packs readings beside a running server, and shrinks the file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from bas_server import open_base
from server.config.config import ServerConfig
from tests.support.commands import refused, results, run
from tests.support.histories import START_MS, contents, reading, rows_of, scan_all, write_all
from tools.process import ServerProcess

HOURS_4 = 4 * 3_600_000
COUNT = 7_200


async def filled(config: ServerConfig) -> None:
    """Four hours of a device's readings, two seconds apart."""
    async with open_base(config) as base:
        readings = (reading(START_MS + 2000 * number, 200 + number % 7) for number in range(COUNT))
        await write_all(base.stores.telemetry.history, rows_of(readings))


async def test_all_readings_are_packed_and_the_file_shrinks(tmp_path: Path) -> None:
    config = ServerConfig(data_dir=tmp_path)
    await filled(config)
    async with open_base(config) as base:
        before = contents(await scan_all(base.stores.telemetry.history))
    size = config.database.stat().st_size
    done = run(config, "compact", "--older-than", "0", "--vacuum")
    assert results(done) == [
        f"packed {COUNT} readings; 0 are not packed",
        "the room of unused pages is given back to the disk",
    ]
    assert config.database.stat().st_size < size / 2
    async with open_base(config) as base:
        assert contents(await scan_all(base.stores.telemetry.history)) == before


def test_a_running_server_shows_the_same_before_and_after(tmp_path: Path) -> None:
    config = ServerConfig(data_dir=tmp_path)
    asyncio.run(filled(config))
    window = f"/api/telemetry/window?start={START_MS}&end={START_MS + HOURS_4}&limit=10000"
    post = {"device_id": "lab", "temp_tenths": 210, "sensor_ok": True}
    with (
        ServerProcess(tmp_path, BAS_AUTH_ENABLED="0", BAS_TELEMETRY_DAYS="36500") as server,
        httpx.Client(base_url=server.url) as client,
    ):
        before = client.get(window).json()
        assert len(before) == COUNT
        assert run(config, "compact").returncode == 0
        assert client.get(window).json() == before
        assert client.post("/api/sensor_data", json=post).status_code == 200
        assert client.get("/api/telemetry?limit=1").json()[0]["temp_tenths"] == 210


@pytest.mark.parametrize("age", ["1", "1 h", "h", "-1h", "1w", ""])
def test_an_age_without_a_unit_is_refused(tmp_path: Path, age: str) -> None:
    done = run(ServerConfig(data_dir=tmp_path), "compact", f"--older-than={age}")
    assert done.returncode == 2
    assert "such as 90m" in done.stderr


def test_a_missing_database_is_not_created(tmp_path: Path) -> None:
    refused(run(ServerConfig(data_dir=tmp_path), "compact"), "nothing to pack", str(tmp_path))
    assert not list(tmp_path.iterdir())
