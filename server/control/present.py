"""Which of a zone's readings is the present: late dates, wrong clocks and queues. Pure.

Only the present may switch something on. Times are Unix ms; receipt is when a post came here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

import msgspec

from server.control.reading import NewReading, Timing
from server.services.firestore.models import DAY_MS, ZoneRecord

# A device that posts more rarely has its own period, and this much more; but no longer than that.
PERIOD_MORE_MS, PERIOD_MAX_MS = 60_000, 15 * 60_000
# A reading whose device says that it is older is never the present.
AGE_MAX_MS = 60_000
# A fault of a batch cuts if it is at most so much older than the newest row.
FAULT_MS = 60_000
# In a queue a row may stand behind one that is so much newer.
DISORDER_MS = 60_000
# A clock is believed after so many posts in a row that keep their lag, over so long.
POSTS, POSTS_MS = 3, 4_000
# What a lag may change by from post to post: this, and a tenth of the time between them.
KEEPS_MS = 1_000
# Lags that a clock has, and hardly a queue: small ones, time zones (whole quarters of an hour, to
# within the time that a clock may be wrong beside), and clocks that were never set.
SMALL_MS, QUARTER_MS, QUARTER_WITHIN_MS, NEVER_SET_MS = 5 * 60_000, 900_000, 30_000, 30 * DAY_MS
TICKS = 2**30  # MicroPython's `time.ticks_ms` on a Pico counts to this, and begins again

# What is known of a device's clock: it was right, its readings were late since an outage, a lag is
# looked at, a lag is believed, or a constant lag is not believed. "" is a device without dates.
IN_TIME, BACKLOG, UNKNOWN, SHIFTED, LATE = "ok", "backlog", "unknown", "shifted", "late"


class DeviceClock(msgspec.Struct, frozen=True, gc=False):
    """What is known of a device's clock, as the fields of `ZoneRecord` from `clock` on.

    `offset_ms` is what is added to its dates. `posts` have kept their lag since the one that was
    dated `date_ms` and came at `received_ms`.
    """

    state: str = IN_TIME
    offset_ms: int | None = None
    posts: int = 0
    date_ms: int = 0
    received_ms: int = 0


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """Whether a post's newest row is the present, how its dates are read, and what is known of the
    device's clock then; None: what was known before."""

    timing: Timing
    clock: DeviceClock | None = None


PRESENT = Verdict(Timing())
NOT_PRESENT = Verdict(Timing(present=False))
_RIGHT = Verdict(Timing(), DeviceClock())


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


def judge(zone: ZoneRecord, newest: NewReading, now_ms: int, present_ms: int) -> Verdict:
    """Of a post that came now, whose newest row this is, to the zone as it was."""
    date = newest.date_ms(now_ms)
    if date is None:
        return PRESENT
    lag_ms = now_ms - date
    limit_ms = _limit_ms(zone, present_ms)
    # A date ahead of its receipt says nothing: a clock was wrong then, the device's or this one.
    newest_ms = zone.newest_ms if zone.newest_ms <= now_ms else 0
    if newest.age_ms is not None:
        now = lag_ms <= min(AGE_MAX_MS, limit_ms) and date >= newest_ms
        return PRESENT if now else NOT_PRESENT
    if zone.clock_offset_ms is not None:
        kept = _shifted(zone, zone.clock_offset_ms, lag_ms, newest_ms, now_ms, limit_ms)
        if kept is not None:
            return kept
    if lag_ms <= limit_ms:
        if date >= newest_ms:
            return PRESENT if zone.clock == IN_TIME and not zone.clock_posts else _RIGHT
        return _looked_at(zone, date, lag_ms, now_ms, NOT_PRESENT.timing, zone.clock or IN_TIME)
    if (zone.clock == IN_TIME and date >= newest_ms) or (
        zone.clock == BACKLOG and date >= newest_ms - DISORDER_MS
    ):
        # It goes on where the outage began.
        return Verdict(NOT_PRESENT.timing, DeviceClock(BACKLOG))
    if _gains(zone, date, now_ms):
        return Verdict(NOT_PRESENT.timing, DeviceClock(BACKLOG, None, 1, date, now_ms))
    unknown = Timing(lag_ms, unknown=True, present=False)
    return _looked_at(zone, date, lag_ms, now_ms, unknown, UNKNOWN)


def cuts(new: NewReading, newest: NewReading, now_ms: int) -> bool:
    """Whether a fault cuts, of a post whose newest row is `newest`."""
    if new.sensor_ok:
        return False
    date = new.date_ms(now_ms)
    if new is newest or date is None:
        return True
    return date >= (newest.date_ms(now_ms) or now_ms) - FAULT_MS


def _limit_ms(zone: ZoneRecord, present_ms: int) -> int:
    """How late the present may be."""
    if zone.period_ms <= present_ms:
        return present_ms
    return max(present_ms, min(zone.period_ms + PERIOD_MORE_MS, PERIOD_MAX_MS))


def _shifted(
    zone: ZoneRecord, offset_ms: int, lag_ms: int, newest_ms: int, now_ms: int, limit_ms: int
) -> Verdict | None:
    """Of a device whose lag was believed; None if its clock is another one now."""
    left_ms = lag_ms - offset_ms
    keeps_ms = min(_keeps_ms(now_ms - zone.clock_received_ms), limit_ms)
    if abs(left_ms) <= keeps_ms:
        clock = DeviceClock(SHIFTED, lag_ms, 0, 0, now_ms)
        return Verdict(Timing(lag_ms), clock)
    date = now_ms - left_ms
    clock = DeviceClock(SHIFTED, offset_ms, 0, 0, zone.clock_received_ms)
    if 0 < left_ms <= limit_ms:
        return Verdict(Timing(offset_ms, present=date >= newest_ms), clock)
    if left_ms > limit_ms and date > newest_ms:
        return Verdict(Timing(offset_ms, present=False), clock)  # a queue
    return None


def _looked_at(
    zone: ZoneRecord, date: int, lag_ms: int, now_ms: int, timing: Timing, state: str
) -> Verdict:
    """Of a device whose lag is not believed yet: by `timing`, unless it is believed now."""
    since_ms = now_ms - zone.clock_received_ms
    changed_ms = date - zone.clock_date_ms - since_ms
    if not zone.clock_posts or since_ms < 0 or abs(changed_ms) > _keeps_ms(since_ms):
        # One row out of its turn does not make a clock wrong.
        known = zone.clock if zone.clock in (IN_TIME, BACKLOG) else state
        return Verdict(timing, DeviceClock(known, None, 1, date, now_ms))
    posts = min(zone.clock_posts + 1, POSTS)
    if posts >= POSTS and since_ms >= POSTS_MS:
        if _is_a_clock_s(lag_ms):
            return Verdict(Timing(lag_ms), DeviceClock(SHIFTED, lag_ms, 0, 0, now_ms))
        state = LATE
    return Verdict(
        timing, DeviceClock(state, None, posts, zone.clock_date_ms, zone.clock_received_ms)
    )


def _gains(zone: ZoneRecord, date: int, now_ms: int) -> bool:
    """Whether dates advance faster than their receipt: a queue that is drained."""
    if not zone.clock_posts:
        return False
    since_ms = now_ms - zone.clock_received_ms
    return since_ms >= 0 and date - zone.clock_date_ms - since_ms > _keeps_ms(since_ms)


def _keeps_ms(since_ms: int) -> int:
    return min(KEEPS_MS + max(0, since_ms) // 10, PERIOD_MORE_MS)


def _is_a_clock_s(lag_ms: int) -> bool:
    if lag_ms < SMALL_MS or lag_ms > NEVER_SET_MS:
        return True
    rest_ms = lag_ms % QUARTER_MS
    return min(rest_ms, QUARTER_MS - rest_ms) <= QUARTER_WITHIN_MS
