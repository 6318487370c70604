"""A batch in parts: which shares go into one write, and the results so far."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeVar

from server.common.errors import BasError
from server.control.messages import Command
from server.control.rules.decision import Plan, PostedRow, Share
from server.services.ports.documents import BATCH_MAX, EmptyFields

# A write holds one zone besides its readings.
SHARE_ROWS_MAX = BATCH_MAX - 1

T = TypeVar("T")

Newcomers: TypeAlias = Callable[[str, str], BasError | None]
"""Why a post may not make this tenant's zone of this device; None: it may."""


def all_may(_tenant_id: str, _device_id: str) -> None:
    """Newcomers without a limit."""


class Batch:
    """The results of a batch so far.

    `deadline` is when no further write may start (monotonic); `wait_s` limits the wait for the
    store, None if it is not limited; `newcomers` limits the zones that it makes. `demand` is what
    each write demands.
    """

    def __init__(
        self,
        deadline: float,
        wait_s: float | None = None,
        newcomers: Newcomers = all_may,
        demand: EmptyFields | None = None,
    ) -> None:
        self.newcomers = newcomers
        self.deadline = deadline
        self.wait_s = wait_s
        self.demand = demand
        self.commands: dict[str, Command] = {}
        self.errors: dict[int, BasError] = {}
        self.failed: dict[str, BasError] = {}
        self.announcements: list[asyncio.Task[None]] = []

    def take(self, plan: Plan) -> None:
        """Add a stored plan to the results."""
        if plan.errors:
            self.errors |= plan.errors
        if plan.zone is not None and plan.command is not None:
            self.commands[plan.zone.device_id] = plan.command

    def refuse(self, share: Share, error: BasError) -> None:
        """Refuse these rows; the device's later rows are refused too."""
        self.failed[share.device_id] = error
        self.errors |= {row.index: error for row in share.rows}


def rounds(devices: Mapping[str, Sequence[PostedRow]], came_ms: int) -> Iterator[list[Share]]:
    """Yield each device's first rows, then its next, and so on.

    A device's rows of one round fit into one write.
    """
    longest = max(map(len, devices.values()), default=0)
    for start in range(0, longest, SHARE_ROWS_MAX):
        end = start + SHARE_ROWS_MAX
        yield [
            Share(device_id, rows[start:end], rows[-1].new, end >= len(rows), came_ms)
            for device_id, rows in devices.items()
            if start < len(rows)
        ]


def bundles(shares: Iterable[Share]) -> Iterator[list[Share]]:
    """Group shares so that each group fits into one write with its zones."""
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
    """Call `do` with each item, at most `at_once` at a time."""
    left = iter(items)

    async def some() -> None:
        for item in left:
            await do(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(some())
