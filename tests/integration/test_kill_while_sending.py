"""kill -9 at any moment of storing and sending: each stored notice arrives, with one id."""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import replace
from pathlib import Path

from bas_server import open_base
from server.alarms.notices_factory import notice_parts
from server.alarms.outbox import OutboxStore
from server.alarms.outbox_worker import CLAIM_MS
from server.alarms.targets_store import NoticeTargetsStore
from server.common.clock import SystemClock
from server.services.site.ports import NoNotices
from tests.support.forms import amount
from tests.support.notices import HERE, webhook
from tests.support.receivers import web_receiver
from tools.process import REPOSITORY, clean_environment

ROUNDS = amount(3, 30)


class LaterClock(SystemClock):
    """The claims of processes that were killed have ended."""

    def now_ms(self) -> int:
        return super().now_ms() + CLAIM_MS


async def killed(folder: Path, first: int, chance: random.Random) -> list[int]:
    """Run a process that stores and sends, and kill it; returns what it stored."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.notice_process", str(folder), str(first)),
        cwd=REPOSITORY,
        env=clean_environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    begun = await process.stdout.readline()
    await asyncio.sleep(chance.random() * 0.5)  # any moment must do
    process.kill()
    rest = await process.stdout.read()
    await process.wait()
    lines = (begun + rest[: rest.rfind(b"\n") + 1]).split()
    return [int(line) for line in lines]


async def test_no_notice_is_lost_when_the_process_is_killed(config):
    config, chance = replace(config, notice_private_addresses=HERE), random.Random(5)
    stored: list[int] = []
    async with web_receiver() as receiver:
        async with open_base(config) as base:
            entry = base.stores.audit.entry("X", tenant_id="default", username="x", address="x")
            await NoticeTargetsStore(base.client).create_target(webhook(receiver.url), entry)
        for _ in range(ROUNDS):
            first = stored[-1] + 10 if stored else 1
            stored += await killed(config.data_dir, first, chance)
        async with open_base(config, LaterClock()) as base:
            parts = notice_parts(config, base.stores, NoNotices(), base.clock, base.metrics)
            parts.start()
            async with asyncio.timeout(120):
                while await OutboxStore(base.client).due(10**14, 1):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await parts.stop()
    ids: dict[str, set[str]] = {}
    for posted in receiver.posted:
        for one in posted.json()["notices"]:
            ids.setdefault(one["device_id"], set()).add(one["id"])
    assert {f"z{number}" for number in stored} <= set(ids)
    assert {len(found) for found in ids.values()} == {1}
