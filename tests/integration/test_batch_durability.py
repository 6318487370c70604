"""After kill -9 during batches every accepted row is stored once."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.integration.test_durability import OPEN, stored
from tests.support.stream import caller
from tools.process import ServerProcess

GATEWAYS, DEVICES, ROWS, BATCHES_MIN = 3, 5, 400, 6


@dataclass
class Gateway:
    """Posts batches of readings, each with a unique timestamp, until the connection breaks."""

    name: str
    first_ms: int
    answered: list[int] = field(default_factory=list)
    attempted: int = -1

    def device(self, row: int) -> str:
        return f"{self.name}-{row % DEVICES}"

    def timestamp(self, number: int, row: int) -> int:
        return self.first_ms + number * ROWS + row

    def batch(self, number: int) -> list[dict[str, Any]]:
        return [
            {
                "device_id": self.device(row),
                "temp_tenths": 235,
                "sensor_ok": True,
                "timestamp": self.timestamp(number, row),
            }
            for row in range(ROWS)
        ]

    def timestamps(self, device: str, numbers: list[int]) -> list[int]:
        """The timestamps of a device's readings in these batches."""
        return [
            self.timestamp(number, row)
            for number in numbers
            for row in range(ROWS)
            if self.device(row) == device
        ]

    async def post(self, client: httpx.AsyncClient, number: int) -> None:
        """Post a batch with its key. Raises httpx.TransportError without a server."""
        self.attempted = max(self.attempted, number)
        headers = {"Idempotency-Key": f"{self.name}/{number}"}
        body = self.batch(number)
        answer = await client.post("/api/sensor_data/batch", json=body, headers=headers)
        while answer.status_code == 503:  # on a busy machine; a gateway repeats it then
            assert answer.json()["code"] == "STORE_UNAVAILABLE"
            answer = await client.post("/api/sensor_data/batch", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["accepted"] == ROWS, answer.text
        self.answered.append(number)

    async def post_until_cut(self, url: str) -> None:
        async with caller(url) as client:
            for number in itertools.count():
                try:
                    await self.post(client, number)
                except httpx.TransportError:
                    return


async def test_a_killed_server_keeps_accepted_rows_and_a_repeat_adds_only_missing_ones(
    tmp_path: Path,
) -> None:
    # Recent dates, since the server does not trust a new device with old dates at once.
    first_ms = time.time_ns() // 1_000_000 - 30_000
    gateways = [Gateway(f"g{number}", first_ms) for number in range(GATEWAYS)]
    with ServerProcess(tmp_path, **OPEN) as server:
        load = asyncio.gather(*(gateway.post_until_cut(server.url) for gateway in gateways))
        async with asyncio.timeout(120):
            while min(len(gateway.answered) for gateway in gateways) < BATCHES_MIN:
                assert not load.done()
                await asyncio.sleep(0.001)
            server.kill()
            await load
    with ServerProcess(tmp_path, **OPEN) as server:
        async with caller(server.url) as client:
            for gateway in gateways:
                accepted, tried = gateway.answered, list(range(gateway.attempted + 1))
                for device in (gateway.device(number) for number in range(DEVICES)):
                    there = [row["timestamp"] for row in await stored(client, device)]
                    assert len(there) == len(set(there))
                    assert set(gateway.timestamps(device, accepted)) <= set(there)
                    assert set(there) <= set(gateway.timestamps(device, tried))
                for number in tried:
                    await gateway.post(client, number)
                for device in (gateway.device(number) for number in range(DEVICES)):
                    there = [row["timestamp"] for row in await stored(client, device)]
                    assert sorted(there) == gateway.timestamps(device, tried)
