"""The memory of a server that has nothing to do."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from scripts.bench.host import AS_INSTALLED, resident_kb
from scripts.bench.table import WHAT
from tools import wire
from tools.process import ServerProcess

# For this long a server takes no more memory than before: it rests.
RESTS_S, BOUND_S = 3.0, 120.0


async def resting_mb(pid: int) -> float:
    """The resident memory, once it has not grown for RESTS_S."""
    most, since, ends = 0, time.monotonic(), time.monotonic() + BOUND_S
    while time.monotonic() - since < RESTS_S:
        assert time.monotonic() < ends, "the memory still grows"
        now = resident_kb(pid)
        if now > most:
            most, since = now, time.monotonic()
        await asyncio.sleep(0.1)
    return most / 1024


async def test_a_server_holds_less_than_50_mb_at_rest_and_after_a_log_in(tmp_path: Path) -> None:
    # The first start may compile modules, and makes the admin.
    installed = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": AS_INSTALLED}
    with ServerProcess(tmp_path, **installed) as first:
        password = first.password
        first.terminate()
    assert password is not None
    with ServerProcess(tmp_path, **installed) as server:
        await wire.Connection(server.port).request("GET", "/api/health", close=True)
        idle_mb = await resting_mb(server.pid)
        await wire.log_in(server.port, password)
        used_mb = await resting_mb(server.pid)
    assert idle_mb < (WHAT["idle memory"].below or 0)
    assert used_mb < (WHAT["memory after one log-in"].below or 0)
