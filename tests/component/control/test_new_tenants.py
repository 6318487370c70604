"""Many new tenants at once: a store counts the zones of few of them at a time."""

from __future__ import annotations

import asyncio

from server.control.rules.reading import NewReading
from tests.support.http import stored

TENANTS = 300


async def test_the_first_posts_of_many_tenants_at_once_are_all_stored(container):
    new = NewReading(temp_tenths=240, sensor_ok=True)
    commands = await asyncio.gather(
        *(
            # A machine under load may take longer than the usual wait.
            container.control.batches.accept_one(f"tenant-{number}", "lab", new, wait_s=60)
            for number in range(TENANTS)
        )
    )
    assert [command.stored for command in commands] == [True] * TENANTS
    assert len(await stored(container, f"tenant-{TENANTS - 1}")) == 1
