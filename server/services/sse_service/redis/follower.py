"""Followed: passes one tenant's shared history to this process, in order and without repeats."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Literal

from server.services.ports.event_log import Cursor, Follower
from server.services.sse_service.event import make_entry
from server.services.sse_service.redis.outbox import Item, new_epoch
from server.services.sse_service.redis.records import Record, id_entry, mark_of, origin, renamed
from server.services.sse_service.redis.scripts import START_MARK

FollowResult = Literal["all", "gap", "other history"]


class Followed:
    """One tenant's follower in this process and the position that it has reached.

    The follower gets every record once, in the order of the history. While the log cannot be
    reached, it gets this process's own events ahead of the history. When the history delivers such
    an event later, the follower gets only its new id.
    """

    def __init__(self, tenant_id: str, follower: Follower, run: str) -> None:
        self.tenant_id = tenant_id
        self._follower = follower
        self._run = run
        self.subscribed = asyncio.Event()
        self.ready = False
        self.alone = False
        # A record was missed or could not be taken: the log must be read.
        self.missed = False
        self.filling = False
        # The tip at the last comparison: records up to it that are still missing were lost.
        self.known_tip = 0
        self.epoch, self.position, self.mark = "", 0, ""
        self._own_received = self._own_ahead = 0
        # Own events that are appended but were not received from the history yet.
        self._own_unreceived: deque[Item] = deque()

    def begin(self, cursor: Cursor, own: int) -> None:
        """Start at this cursor; the history holds this process's events up to number `own`."""
        self.epoch, self.position, self.mark = cursor.epoch, cursor.position, cursor.mark
        self._note_received(own)
        self.ready = True
        self._follower.begin(cursor)

    def begin_alone(self) -> None:
        """Start a history of this process alone, until the shared one can be joined."""
        self.alone = True
        self.begin(Cursor(new_epoch(), 0, START_MARK), 0)

    def lose(self) -> None:
        """End the follower, because the history broke off."""
        if self.ready:
            self.ready = False
            self._follower.lose()

    @property
    def cursor(self) -> Cursor:
        """The cursor that the follower has reached, with the events ahead of the history."""
        pending = self._own_ahead > self._own_received
        ahead = mark_of(self._run, self._own_ahead) if pending else ""
        return Cursor(self.epoch, self.position, self.mark, ahead)

    @property
    def log_cursor(self) -> Cursor:
        """The cursor in the history itself, without the events ahead of it."""
        return Cursor(self.epoch, self.position, self.mark)

    def receive(self, epoch: str, records: list[Record]) -> FollowResult:
        """Take published records. `gap`: a record before them is missing."""
        if not self.ready or self.alone or self.filling:
            self.missed = True
            return "all"
        if epoch != self.epoch:
            return "other history"
        for record in records:
            position = record.entry.position
            if position < self.position:
                continue
            if position == self.position:
                if record.mark != self.mark:
                    return "gap"
                continue
            if position != self.position + 1 or record.before != self.mark:
                return "gap"
            self.take(record)
        return "all"

    def agrees(self, cursor: Cursor, epoch: bytes | None, tip: int, mark: bytes | None) -> bool:
        """Whether the log's head fits `cursor`, this process's cursor before the head was read.

        Records that were appended since the last comparison may still be on their way.
        """
        behind, self.known_tip = self.position < self.known_tip, tip
        if epoch is None or mark is None or epoch.decode() != cursor.epoch or tip < cursor.position:
            return False
        return not behind and (tip > cursor.position or mark.decode() == cursor.mark)

    def take(self, record: Record) -> None:
        """Pass the next record of the history to the follower."""
        self.position, self.mark = record.entry.position, record.mark
        run, seq = origin(record.mark)
        if run == self._run:
            self._note_received(seq)
            if seq <= self._own_ahead:
                self._follower.add(id_entry(self.cursor))
                return
        cursor = self.cursor
        self._follower.add(renamed(record.entry, cursor) if cursor.ahead else record.entry)

    def appended(self, items: Iterable[Item]) -> None:
        """Note that these own events are appended; the history delivers them later.

        A follower that started alone does not receive the history, so it gets them now.
        """
        for item in items:
            if self.alone:
                self.take_ahead(item)
            elif item.seq > self._own_received:
                self._own_unreceived.append(item)

    def take_ahead(self, item: Item) -> None:
        """Pass an own event to the follower before the history has it.

        Own events that are appended but were not received go first, so that their order stays.
        """
        if not self.ready:
            return
        for one in (*self._own_unreceived, item):
            if one.seq > max(self._own_received, self._own_ahead):
                self._own_ahead = one.seq
                self._follower.add(make_entry(one.event, self.cursor))
        self._own_unreceived.clear()

    def _note_received(self, seq: int) -> None:
        self._own_received = max(self._own_received, seq)
        while self._own_unreceived and self._own_unreceived[0].seq <= seq:
            self._own_unreceived.popleft()
