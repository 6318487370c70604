"""MemoryLog: keeps the events of a single-process server in its memory, until it ends."""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import Sequence

from server.services.ports.event_log import (
    PROBE_TENANT,
    Cursor,
    Entry,
    Event,
    Follower,
    LogUnavailable,
)
from server.services.sse_service.event import make_entry


class _History:
    """One tenant's entries. The epoch is random, so that no other history accepts its cursors."""

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(6)
        self.entries: deque[Entry] = deque()
        self.tip = 0
        self.size = 0
        # Not a dict: after many deletions, finding its oldest key is slow.
        self.keys: OrderedDict[str, None] = OrderedDict()


class MemoryLog:
    """`EventLog` in this process's memory, bounded for each tenant by events and by bytes."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._histories: dict[str, _History] = {}
        self._followers: dict[str, Follower] = {}

    def _history(self, tenant_id: str) -> _History:
        history = self._histories.get(tenant_id)
        if history is None:
            history = self._histories[tenant_id] = _History()
        return history

    async def append_many(self, tenant_id: str, events: Sequence[Event]) -> None:
        history = self._history(tenant_id)
        for event in events:
            self._append(tenant_id, history, event)

    async def append(self, tenant_id: str, event: Event) -> Cursor | None:
        return self._append(tenant_id, self._history(tenant_id), event)

    def _append(self, tenant_id: str, history: _History, event: Event) -> Cursor | None:
        if event.key:
            if event.key in history.keys:
                return None
            history.keys[event.key] = None
            if len(history.keys) > self._max_events:
                history.keys.popitem(last=False)
        cursor = Cursor(history.epoch, history.tip + 1)
        entry = make_entry(event, cursor)
        history.tip = cursor.position
        history.entries.append(entry)
        history.size += entry.size
        while len(history.entries) > self._max_events or history.size > self._max_bytes:
            history.size -= history.entries.popleft().size
        follower = self._followers.get(tenant_id)
        if follower is not None:
            follower.add(entry)
        return cursor

    async def tip(self, tenant_id: str) -> Cursor:
        history = self._history(tenant_id)
        return Cursor(history.epoch, history.tip)

    async def read_after(self, tenant_id: str, cursor: Cursor, limit: int) -> list[Entry] | None:
        history = self._history(tenant_id)
        if cursor.epoch != history.epoch or cursor.position > history.tip or cursor.mark:
            return None
        newer = history.tip - cursor.position
        if newer > len(history.entries):
            return None
        skip = len(history.entries) - newer
        # By index: a deque is fast near its end, where clients resume.
        return [history.entries[i] for i in range(skip, skip + min(limit, newer))]

    async def follow(self, tenant_id: str, follower: Follower) -> None:
        self._followers[tenant_id] = follower
        follower.begin(await self.tip(tenant_id))

    def unfollow(self, tenant_id: str) -> None:
        self._followers.pop(tenant_id, None)

    async def ping(self) -> None:
        received = _Received()
        try:
            await self.follow(PROBE_TENANT, received)
            await self.append(PROBE_TENANT, Event("probe", "{}"))
        finally:
            self.unfollow(PROBE_TENANT)
            self._histories.pop(PROBE_TENANT, None)
        if not received.entries:
            raise LogUnavailable(message="an event that was appended did not come back")


class _Received:
    """A `Follower` that counts."""

    entries = 0

    def begin(self, cursor: Cursor) -> None:
        return

    def add(self, entry: Entry) -> None:
        self.entries += 1

    def lose(self) -> None:
        return
