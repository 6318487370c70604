"""Followed: how far this process has heard one tenant's history, and what it handed on before."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Literal

from server.services.sse_service.backend import Cursor, Follower, make_entry
from server.services.sse_service.shared.outbox import Item, new_epoch
from server.services.sse_service.shared.records import Record, mark_of, origin, place, renamed
from server.services.sse_service.shared.scripts import START_MARK

Heard = Literal["all", "gap", "other history"]


class Followed:
    """One tenant's follower in this process.

    It is told of every record once, in the order of the history. While the log is out of reach it
    is told of this process's own events ahead of the history; when they come from there, only
    their places are passed on.
    """

    def __init__(self, tenant_id: str, follower: Follower, run: str) -> None:
        self.tenant_id = tenant_id
        self._follower = follower
        self._run = run
        self.subscribed = asyncio.Event()
        self.ready = False
        self.alone = False
        # Something came that could not be taken: the log must be read.
        self.missed = False
        self.filling = False
        # The tip when it was last compared: what is still behind it by then was lost on the way.
        self.known_tip = 0
        self.epoch, self.position, self.mark = "", 0, ""
        self._own_heard = self._own_ahead = 0
        # Own events that the history has and that were not heard from it yet.
        self._unheard: deque[Item] = deque()

    def begin(self, cursor: Cursor, own: int) -> None:
        """Start here, where the history holds this process's events up to number `own`."""
        self.epoch, self.position, self.mark = cursor.epoch, cursor.position, cursor.mark
        self._hear_own(own)
        self.ready = True
        self._follower.begin(cursor)

    def begin_alone(self) -> None:
        """Start a history of this process alone, until the shared one can be joined."""
        self.alone = True
        self.begin(Cursor(new_epoch(), 0, START_MARK), 0)

    def lose(self) -> None:
        """Tell the follower that the history broke off."""
        if self.ready:
            self.ready = False
            self._follower.lose()

    @property
    def cursor(self) -> Cursor:
        """The place the follower has reached."""
        pending = self._own_ahead > self._own_heard
        ahead = mark_of(self._run, self._own_ahead) if pending else ""
        return Cursor(self.epoch, self.position, self.mark, ahead)

    @property
    def place(self) -> Cursor:
        """The place in the history itself."""
        return Cursor(self.epoch, self.position, self.mark)

    def hear(self, epoch: str, records: list[Record]) -> Heard:
        """Take records that were published. `gap`: one before them is missing."""
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

    def agrees(self, place: Cursor, epoch: bytes | None, tip: int, mark: bytes | None) -> bool:
        """Whether the log's head fits what was heard when this process stood at `place`. What was
        appended since the last comparison may still be on its way."""
        behind, self.known_tip = self.position < self.known_tip, tip
        if epoch is None or mark is None or epoch.decode() != place.epoch or tip < place.position:
            return False
        return not behind and (tip > place.position or mark.decode() == place.mark)

    def take(self, record: Record) -> None:
        """Tell the follower of the next record of the history."""
        self.position, self.mark = record.entry.position, record.mark
        run, seq = origin(record.mark)
        if run == self._run:
            self._hear_own(seq)
            if seq <= self._own_ahead:
                self._follower.add(place(self.cursor))
                return
        cursor = self.cursor
        self._follower.add(renamed(record.entry, cursor) if cursor.ahead else record.entry)

    def appended(self, items: Iterable[Item]) -> None:
        """The history has these own events now; hearing them from it may take a while. Who is
        alone does not hear it at all."""
        for item in items:
            if self.alone:
                self.take_ahead(item)
            elif item.seq > self._own_heard:
                self._unheard.append(item)

    def take_ahead(self, item: Item) -> None:
        """Tell the follower of an own event that the history does not have yet, and before it of
        those that it has and that were not heard: own events stay in their order."""
        if not self.ready:
            return
        for one in (*self._unheard, item):
            if one.seq > max(self._own_heard, self._own_ahead):
                self._own_ahead = one.seq
                self._follower.add(make_entry(one.event, self.cursor))
        self._unheard.clear()

    def _hear_own(self, seq: int) -> None:
        self._own_heard = max(self._own_heard, seq)
        while self._unheard and self._unheard[0].seq <= seq:
            self._unheard.popleft()
