"""RefusalCounts: one audit entry for the first of equal refusals, and one a minute for the rest.

A client that repeats a refused request thousands of times a second must fill neither the disk nor
the log's page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from server.common.background_task import BackgroundTask
from server.common.clock import Clock

MINUTE_S = 60.0
# Kinds of refusals that a process counts one by one; each takes about 1 KB of memory.
KINDS_MAX = 1000
# Kinds of one user: a user chooses the paths that are refused.
OF_USER_MAX = 20
# Addresses that an entry names.
ADDRESSES_MAX = 10
# Entries in one write.
AT_ONCE = 100

RefusalEntry = tuple[str, dict[str, Any]]
"""An action, and the other arguments of `AuditStore.entry`."""


class RefusalKind(NamedTuple):
    """What refusals have in common that count as equal. Empty texts stand for any."""

    action: str
    tenant_id: str
    username: str
    code: str = ""
    method: str = ""
    path: str = ""


class _Count:
    """The refusals of a kind since the last entry, and their addresses."""

    def __init__(self) -> None:
        self.count = 0
        self.since_ms = self.until_ms = 0
        self.addresses: list[str] = []

    def add(self, address: str, now_ms: int) -> None:
        self.since_ms = self.since_ms if self.count else now_ms
        self.count += 1
        self.until_ms = now_ms
        if len(self.addresses) < ADDRESSES_MAX and address not in self.addresses:
            self.addresses.append(address)

    def add_earlier(self, earlier: _Count) -> None:
        """Add the refusals of an earlier count that was not written."""
        new = [one for one in self.addresses if one not in earlier.addresses]
        self.addresses = [*earlier.addresses, *new][:ADDRESSES_MAX]
        self.until_ms = self.until_ms if self.count else earlier.until_ms
        self.since_ms = earlier.since_ms
        self.count += earlier.count

    def figures(self) -> dict[str, Any]:
        """The details of an entry about these refusals."""
        return {
            "count": self.count,
            "since_ms": self.since_ms,
            "until_ms": self.until_ms,
            "addresses": self.addresses,
        }


class RefusalCounts(BackgroundTask):
    """Counts refusals in this process, and writes the counts once a minute and at the end.

    `keep` stores entries and returns whether it could; counts that it could not store are kept for
    the next minute. `lose` gets the number of entries that are lost at the end.
    """

    def __init__(
        self,
        keep: Callable[[Sequence[RefusalEntry]], Awaitable[bool]],
        lose: Callable[[int, object], None],
        clock: Clock,
    ) -> None:
        super().__init__("refusal-counts")
        self._keep = keep
        self._lose = lose
        self._clock = clock
        self._counts: dict[RefusalKind, _Count] = {}
        self._kinds_of: Counter[tuple[str, str]] = Counter()

    async def refused(self, kind: RefusalKind, address: str) -> None:
        """Write an entry if this is the first of its kind for a minute; else count it."""
        count = self._counts.get(kind)
        if count is None:
            user = kind.tenant_id, kind.username
            if self._kinds_of[user] < OF_USER_MAX and self._kinds_of.total() < KINDS_MAX:
                self._kinds_of[user] += 1
                count = self._counts[kind] = _Count()
                if await self._keep([_entry(kind, address, {})]):
                    return
            else:
                count = self._counts.setdefault(self._wider(kind), _Count())
        count.add(address, self._clock.now_ms())

    def _wider(self, kind: RefusalKind) -> RefusalKind:
        """The kind under which a refusal counts that has none of its own."""
        wider = RefusalKind(*kind[:3])
        full = wider not in self._counts and len(self._counts) >= 2 * KINDS_MAX
        return RefusalKind(kind.action, kind.tenant_id, "") if full else wider

    async def flush(self) -> int:
        """Write an entry for each kind that was counted; return how many could not be stored.

        A kind that was not refused since the last flush is forgotten.
        """
        due = [(kind, count) for kind, count in self._counts.items() if count.count]
        self._counts = {kind: _Count() for kind, _ in due}
        self._kinds_of = Counter(kind[1:3] for kind, _ in due if kind.code)
        for start in range(0, len(due), AT_ONCE):
            some = due[start : start + AT_ONCE]
            entries = [_entry(kind, count.addresses[0], count.figures()) for kind, count in some]
            if not await self._keep(entries):
                for kind, count in due[start:]:
                    self._counts.setdefault(kind, _Count()).add_earlier(count)
                return len(due) - start
        return 0

    async def stop(self) -> None:
        """End the task, and write what was counted."""
        await super().stop()
        if lost := await self.flush():
            self._lose(lost, "the server stops")

    async def _run(self) -> None:
        while not self._stop.is_set():
            await self._pause(MINUTE_S)
            if not self._stop.is_set():
                await self.flush()


def _entry(kind: RefusalKind, address: str, figures: dict[str, Any]) -> RefusalEntry:
    named = {name: getattr(kind, name) for name in ("code", "method", "path")}
    return kind.action, {
        "tenant_id": kind.tenant_id,
        "username": kind.username,
        "address": address,
        "success": False,
        "details": {name: value for name, value in named.items() if value} | figures,
    }
