"""Which of a zone's readings is the present. Pure; times are Unix ms.

Only the present may switch something on. Receipt is when a post came here. The zone's record alone
carries what is known (`device_clock.py`), so that every process goes on where another left off.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

from server.control.device_clock import (
    IN_TIME,
    KEEPS_MS,
    PRESENT,
    QUEUED,
    SHIFTED,
    UNKNOWN,
    DatedPost,
    Verdict,
)
from server.control.reading import NewReading, Timing
from server.services.firestore.models import ZoneRecord

# A device that posts more rarely has its own period, and this much more; but no longer than that.
PERIOD_MORE_MS, PERIOD_MAX_MS = 60_000, 15 * 60_000
# A reading whose device says that it is older is never the present.
AGE_MAX_MS = 60_000
# A fault of a batch cuts if it is at most so much older than the newest row.
FAULT_MS = 60_000
TICKS = 2**30  # MicroPython's `time.ticks_ms` on a Pico counts to this, and begins again


class Placed(Protocol):
    """A row of a post."""

    @property
    def new(self) -> NewReading: ...


Row = TypeVar("Row", bound=Placed)


def oldest_first(rows: Sequence[Row], now_ms: int) -> Sequence[Row]:
    """The rows of one device as they were measured: by date; without dates by ticks, if all have
    some, else as they stand."""
    if len(rows) < 2:
        return rows
    dates = [row.new.date_ms(now_ms) for row in rows]
    known = [date for date in dates if date is not None]
    if len(known) == len(rows):
        keys = known
    elif not known and all(row.new.timestamp is not None for row in rows):
        first = rows[0].new.timestamp or 0
        half = TICKS // 2
        keys = [((row.new.timestamp or 0) - first + half) % TICKS - half for row in rows]
    else:
        return rows
    if all(before <= after for before, after in pairwise(keys)):
        return rows
    return [rows[place] for place in sorted(range(len(rows)), key=keys.__getitem__)]


def judge(
    zone: ZoneRecord, newest: NewReading, now_ms: int, steady_ms: int, present_ms: int
) -> Verdict:
    """Of a post that came now, whose newest row this is, to the zone as it was."""
    date = newest.date_ms(now_ms)
    offset_ms = zone.clock_offset_ms
    if date is None and offset_ms is None:
        return PRESENT
    if date is not None and offset_ms is None and zone.clock == IN_TIME and not zone.clock_posts:
        # As nearly all are that have a date: of a right clock, newer than all before, just now.
        just_now = 0 <= now_ms - date <= KEEPS_MS
        if just_now and newest.age_ms is None and date >= newest_ms(zone, now_ms):
            return PRESENT
    shift_ms = offset_ms or 0 if zone.clock in (SHIFTED, QUEUED) else 0
    if date is None:
        return Verdict(Timing(shift_ms))
    last_ms = newest_ms(zone, now_ms)
    limit_ms = _limit_ms(min(zone.period_ms, date + shift_ms - last_ms), present_ms)
    if newest.age_ms is not None:
        present = now_ms - date <= min(AGE_MAX_MS, limit_ms) and date >= last_ms
        return Verdict(Timing(shift_ms, present=present))
    state = _state(zone, limit_ms)
    post = DatedPost(
        zone, state, offset_ms or 0, shift_ms, date, last_ms, now_ms, steady_ms, limit_ms
    )
    return post.judged()


def newest_ms(zone: ZoneRecord, now_ms: int) -> int:
    """The newest date of the zone. One that is ahead of now says nothing: a clock was wrong then,
    the device's or this one."""
    newest = zone.newest_ms or zone.timestamp_ms
    return newest if newest <= now_ms else 0


def beside(
    new: NewReading, timing: Timing, zone: ZoneRecord, now_ms: int, present_ms: int
) -> Timing:
    """How a row is read whose post's newest is read by `timing`: it may be too old for the
    present."""
    date = new.date_ms(now_ms)
    if date is None or not timing.present:
        return timing
    limit_ms = _limit_ms(zone.period_ms, present_ms)
    if new.age_ms is None:
        date += timing.shift_ms
    else:
        limit_ms = min(AGE_MAX_MS, limit_ms)
    return timing if now_ms - date <= limit_ms else timing._replace(present=False)


def cuts(new: NewReading, newest: NewReading, now_ms: int, shift_ms: int) -> bool:
    """Whether a fault cuts, of a post whose newest row is `newest`, and whose dates are moved."""
    date = new.date_ms(now_ms)
    if new is newest or date is None:
        return True
    last = newest.date_ms(now_ms)
    if last is None:
        last = now_ms
    elif newest.age_ms is None:
        last += shift_ms
    return date + (shift_ms if new.age_ms is None else 0) >= last - FAULT_MS


def _limit_ms(period_ms: int, present_ms: int) -> int:
    """How late the present may be, of a zone that has this period between posts and their dates.

    After outages with a post between them the posts have one, but a queue's dates have not.
    """
    if period_ms <= present_ms:
        return present_ms
    return max(present_ms, min(period_ms + PERIOD_MORE_MS, PERIOD_MAX_MS))


def _state(zone: ZoneRecord, limit_ms: int) -> str:
    """What was known. Of an earlier version's record: whether its last reading came in time."""
    if zone.clock or zone.received_ms or not zone.timestamp_ms:
        return zone.clock or UNKNOWN
    return IN_TIME if zone.last_seen_ms - zone.timestamp_ms <= limit_ms else UNKNOWN
