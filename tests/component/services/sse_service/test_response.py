"""The stream's response in the app: the framework's time limit does not end it."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

from bas_server import open_container
from server.config.config import ServerConfig
from tests.support.clock import ManualClock
from tests.support.stream import FrameSplitter
from tests.unit.services.sse_service.conftest import WAIT_S, numbers

LIMIT_S = 0.1


async def test_a_stream_continues_beyond_the_framework_s_time_limit_for_responses(
    config: ServerConfig, clock: ManualClock, tmp_path: Path
) -> None:
    splitter, found = FrameSplitter(), []
    loop = asyncio.get_running_loop()
    async with open_container(dataclasses.replace(config, auth_enabled=False), clock) as container:
        container.app.config["RESPONSE_TIMEOUT"] = LIMIT_S
        client = container.app.test_client()
        async with asyncio.timeout(WAIT_S), client.request("/api/sse/telemetry") as connection:
            await connection.send_complete()
            while not any(frame.event == "snapshot" for frame in found):
                found += splitter.feed(await connection.receive())
            began, published = loop.time(), 0
            while loop.time() - began < 3 * LIMIT_S:
                published += 1
                await container.sse.publish("default", "telemetry", {"n": published})
                while len(numbers(found)) < published:
                    found += splitter.feed(await connection.receive())
            await connection.disconnect()
        assert numbers(found) == list(range(1, published + 1))
