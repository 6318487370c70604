"""Databases that are made once per process and then copied.

Making the tables and four accounts takes half of the time that a container takes to start.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from bas_server import open_base
from server.common.clock import Clock
from server.config.config import ServerConfig
from server.container import Base
from tests.support.clock import ManualClock

Make = Callable[[Base], Awaitable[None]]

_made: dict[Make, bytes] = {}


async def lay(config: ServerConfig, clock: Clock, make: Make) -> None:
    """Where there is no database yet, put one there to which `make` was applied before.

    That took place when a new ManualClock starts. A run with another time, or on Firestore, gets
    no database.
    """
    is_new = clock.now_ms() == ManualClock().now_ms() and not config.database.exists()
    on_firestore = config.use_firestore_auth or config.use_firestore_audit
    if on_firestore or not is_new:
        return
    if make not in _made:
        _made[make] = await _database(make)
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(config.database, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(_made[make])


async def _database(make: Make) -> bytes:
    """The file of a new server to which this was applied."""
    with tempfile.TemporaryDirectory() as folder:
        config = ServerConfig(data_dir=Path(folder))
        async with open_base(config, ManualClock()) as base:
            await make(base)
        return config.database.read_bytes()
