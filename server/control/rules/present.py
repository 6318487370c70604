"""Which of a zone's readings is the present one. Pure; times are Unix ms.

Only a present reading may switch a relay on. Receipt is when the server got the post. All state is
in the zone's record (`device_clock.py`), so that every process continues where another stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

from server.control.rules.device_clock import (
    IN_TIME,
    KEEPS_MS,
    PRESENT,
    QUEUED,
    SHIFTED,
    UNKNOWN,
    DatedPost,
    Verdict,
)
from server.control.rules.reading import NewReading, Timing
from server.services.firestore.models import ZoneRecord

# A device that posts rarely may be late by its own period and PERIOD_MORE_MS more, but by no more
# than PERIOD_MAX_MS.
PERIOD_MORE_MS, PERIOD_MAX_MS = 60_000, 15 * 60_000
# A reading with a larger `age_ms` is never the present one.
AGE_MAX_MS = 60_000
# A fault in a batch cuts if it is at most this much older than the newest row.
FAULT_MS = 60_000
TICKS = 2**30  # `time.ticks_ms` of MicroPython on a Pico wraps at this count


class Row(Protocol):
    """A row of a post."""

    @property
    def new(self) -> NewReading: ...


RowT = TypeVar("RowT", bound=Row)


def oldest_first(rows: Sequence[RowT], now_ms: int) -> Sequence[RowT]:
    """One device's rows in the order in which they were measured.

    They are ordered by date if all have one; by ticks if none has a date and all have ticks; else
    they stay in the order of the body.
    """
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
    return [rows[index] for index in sorted(range(len(rows)), key=keys.__getitem__)]


def judge(
    zone: ZoneRecord, newest: NewReading, now_ms: int, steady_ms: int, present_ms: int
) -> Verdict:
    """Judge a post that came now, with this newest row, on the basis of the zone as it was."""
    date = newest.date_ms(now_ms)
    offset_ms = zone.clock_offset_ms
    if date is None and offset_ms is None:
        return PRESENT
    if date is not None and offset_ms is None and zone.clock == IN_TIME and not zone.clock_posts:
        # The usual case: a right clock, a date newer than all before, measured just now.
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
    """The newest date of the zone; 0 if it is in the future.

    A date in the future means that a clock was wrong, the device's or the server's.
    """
    newest = zone.newest_ms or zone.timestamp_ms
    return newest if newest <= now_ms else 0


def beside(
    new: NewReading, timing: Timing, zone: ZoneRecord, now_ms: int, present_ms: int
) -> Timing:
    """The timing of a row other than the post's newest: it may be too old to be present."""
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
    """Whether this fault switches the zone off; `newest` is the newest row of its post.

    `shift_ms` is added to the dates, but not to those that come from an age.
    """
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
    """How late a present reading may be, in a zone with this period between posts and dates.

    After two outages with one post between them the posts are far apart, but the dates of a queue
    are not.
    """
    if period_ms <= present_ms:
        return present_ms
    return max(present_ms, min(period_ms + PERIOD_MORE_MS, PERIOD_MAX_MS))


def _state(zone: ZoneRecord, limit_ms: int) -> str:
    """What was known of the clock.

    An earlier version's record says only whether its last reading was in time.
    """
    if zone.clock or zone.received_ms or not zone.timestamp_ms:
        return zone.clock or UNKNOWN
    return IN_TIME if zone.last_seen_ms - zone.timestamp_ms <= limit_ms else UNKNOWN
