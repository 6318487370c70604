"""A batch in parts: what may be written together, and what came of it so far."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from server.control.decision import Plan, Row, Share
from server.control.views import Command
from server.errors import BasError
from server.services.firestore.base import BATCH_MAX

# A write holds a zone beside its readings.
SHARE_ROWS_MAX = BATCH_MAX - 1

T = TypeVar("T")


class Batch:
    """What came of a batch so far; whether it may still be begun, and how long it waits for the
    store, as far as that is bounded."""

    def __init__(self, deadline: float, wait_s: float | None = None) -> None:
        self.deadline = deadline
        self.wait_s = wait_s
        self.commands: dict[str, Command] = {}
        self.errors: dict[int, BasError] = {}
        self.failed: dict[str, BasError] = {}
        self.announcements: list[asyncio.Task[None]] = []

    def take(self, plan: Plan) -> None:
        """This is stored."""
        if plan.errors:
            self.errors |= plan.errors
        if plan.zone is not None and plan.command is not None:
            self.commands[plan.zone.device_id] = plan.command

    def refuse(self, share: Share, error: BasError) -> None:
        """None of these rows is stored, nor any later one of the device."""
        self.failed[share.device_id] = error
        self.errors |= {row.place: error for row in share.rows}


def rounds(devices: Mapping[str, Sequence[Row]], came_ms: int) -> Iterator[list[Share]]:
    """Each device's first rows, then each one's next, as many at a time as one write may hold."""
    longest = max(map(len, devices.values()), default=0)
    for start in range(0, longest, SHARE_ROWS_MAX):
        end = start + SHARE_ROWS_MAX
        yield [
            Share(device_id, rows[start:end], rows[-1].new, end >= len(rows), came_ms)
            for device_id, rows in devices.items()
            if start < len(rows)
        ]


def bundles(shares: Iterable[Share]) -> Iterator[list[Share]]:
    """Shares that fit into one write, with their zones."""
    bundle: list[Share] = []
    size = 0
    for share in shares:
        size += len(share.rows) + 1
        if size > BATCH_MAX:
            yield bundle
            bundle, size = [], len(share.rows) + 1
        bundle.append(share)
    if bundle:
        yield bundle


async def each(items: Iterable[T], at_once: int, do: Callable[[T], Awaitable[None]]) -> None:
    """Do it with each, so many at a time."""
    left = iter(items)

    async def some() -> None:
        for item in left:
            await do(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(some())
