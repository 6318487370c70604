"""What a device's dates are worth: late posts, wrong clocks and queues. Pure; times are Unix ms.

A post's lag is its receipt less its date. How late a post is counts against the usual lag of its
device, the zone's `clock_offset_ms`, which comes from its freshest posts. If that lag is believed
to be a wrong clock (SHIFTED), it is added to all of the device's dates. Otherwise (IN_TIME) dates
stay as they are, and the offset follows a clock that drifts: without that, a device would be too
late a month after its clock was set.

The contract leaves some choices open. These were made:

- A queue begins where an outage was. Its posts may not be later than the zone was silent: if they
  are, a clock was set, the server's or the device's. With a wrong clock, a queue also begins within
  one batch's rows of the zone's newest date. The steady lag of a queue is never believed to be a
  clock, with two exceptions: clocks that were never set (they restart at each power-on), and a
  clock that was ahead and has the right date now. Otherwise the zone is suspect, with the reason
  `late`, as with any lag that is not believed.
- If the clock is known, the first old row counts as a row out of order and keeps its date. The next
  row with the same lag is dated at receipt.
- A clock that is ahead is examined like one that is behind; until then its readings are present. A
  believed clock that is set by less than 5 minutes is believed again.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from server.control.rules.reading import AS_DATED, Timing
from server.services.firestore.models import DAY_MS, ZoneRecord

# In a queue a row may follow one that is newer by up to this.
DISORDER_MS = 60_000
# How far a queue's first batch reaches: at most 1,000 rows, 2 s apart.
QUEUE_BEGINS_MS = 2_000_000
# A clock is believed after POSTS posts in a row with the same lag, over at least POSTS_MS.
POSTS, POSTS_MS = 3, 4_000
# A lag counts as the same if it changes between two posts by at most KEEPS_MS plus a tenth of the
# time between them, and by no more than a present reading may be late.
KEEPS_MS, KEEPS_MAX_MS = 1_000, 60_000
# The offset follows a clock that drifts by at most a thousandth (a crystal drifts by a
# ten-thousandth), in steps of at most the drift of a quarter of an hour.
DRIFTS, DRIFTS_MS = 1_000, 900_000
# Lags that point to a clock and hardly to a queue: small ones, time zones (whole quarters of an
# hour, give or take QUARTER_WITHIN_MS for a clock that is also wrong), and clocks that were never
# set.
SMALL_MS, QUARTER_MS, QUARTER_WITHIN_MS, NEVER_SET_MS = 5 * 60_000, 900_000, 30_000, 30 * DAY_MS

# What is known of a device's clock. "ok": it is right. "shifted": its error is known. "backlog" and
# "queued": the same two, but its readings are late since an outage. "unknown": a lag is being
# examined. "late": a steady lag is not believed. "": the device sends no dates.
IN_TIME, SHIFTED, BACKLOG, QUEUED = "ok", "shifted", "backlog", "queued"
UNKNOWN, LATE = "unknown", "late"
QUEUES = (BACKLOG, QUEUED)


class DeviceClock(msgspec.Struct, frozen=True, gc=False):
    """What is known of a device's clock: the fields of `ZoneRecord` from `clock` on.

    `posts` posts have had the same lag since the one that was dated `date_ms` and came at
    `received_ms`. If `posts` is 0, `received_ms` is when `offset_ms` was examined last.
    """

    state: str = IN_TIME
    offset_ms: int | None = None
    posts: int = 0
    date_ms: int = 0
    received_ms: int = 0


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """Whether a post's newest row is present, how its dates are read, and the clock's new state.

    `clock` is None if the state of the clock does not change.
    """

    timing: Timing
    clock: DeviceClock | None = None

    @property
    def keeps_late(self) -> bool:
        """Whether posts keep a lag that is not believed to be a wrong clock."""
        clock = self.clock
        if clock is None:
            return False
        return clock.state == LATE or (clock.state in QUEUES and clock.posts >= POSTS)


PRESENT = Verdict(AS_DATED)
_RIGHT = Verdict(AS_DATED, DeviceClock())


class DatedPost(NamedTuple):
    """The date of a post's newest row, and what was known before.

    `shift_ms` is added to the device's dates; `newest_ms` is the newest date of the zone;
    `limit_ms` is how late a present reading may be.
    """

    zone: ZoneRecord
    state: str
    offset_ms: int
    shift_ms: int
    date: int
    newest_ms: int
    now_ms: int
    steady_ms: int
    limit_ms: int

    def judged(self) -> Verdict:
        """The verdict on this post."""
        if self.later_ms > self.limit_ms:
            return self._late()
        since_ms = self.now_ms - self.zone.clock_received_ms
        if self.shift_ms and self.later_ms < -min(_keeps_ms(since_ms), self.limit_ms):
            return self._ahead()
        if self.dated >= self.newest_ms:
            return self._in_time()
        return _RIGHT if self._is_right_again() else self._by_lag(self._old, self._old)

    @property
    def lag_ms(self) -> int:
        """How late the post is by its own date."""
        return self.now_ms - self.date

    @property
    def later_ms(self) -> int:
        """How much later the post is than usual."""
        return self.now_ms - self.date - self.offset_ms

    @property
    def dated(self) -> int:
        """When the row was measured, as far as is known."""
        return self.date + self.shift_ms

    @property
    def _clock_is_known(self) -> bool:
        return self.state not in (UNKNOWN, LATE)

    @property
    def _old(self) -> Timing:
        return Timing(self.shift_ms, present=False)

    @property
    def _unknown(self) -> Timing:
        """The row is dated at receipt."""
        return Timing(self.lag_ms, unknown=True, present=False)

    def _in_time(self) -> Verdict:
        zone, lag_ms, offset_ms = self.zone, self.lag_ms, self.offset_ms
        is_ahead = lag_ms < -KEEPS_MS and not self.shift_ms
        if is_ahead or (self.shift_ms and self.later_ms > KEEPS_MS and self._was_set()):
            timing = Timing(self.shift_ms)
            return self._by_lag(timing, timing)
        if self.later_ms > KEEPS_MS:
            since_ms = self.now_ms - (zone.clock_received_ms or self.now_ms)
            drift_ms = min(max(since_ms, 0), DRIFTS_MS) // DRIFTS
            offset_ms += min(self.later_ms - KEEPS_MS, drift_ms)
        elif self.later_ms < 0:
            offset_ms = lag_ms if self.shift_ms else max(lag_ms, 0)
        elif zone.clock == IN_TIME and not zone.clock_posts and lag_ms <= self.limit_ms:
            return PRESENT
        if self.shift_ms or lag_ms > self.limit_ms:
            return self._believed(offset_ms)
        return Verdict(Timing(), DeviceClock(IN_TIME, offset_ms or None, 0, 0, self.now_ms))

    def _late(self) -> Verdict:
        """Judge a post that is later than a present reading may be."""
        if self._is_queue():
            kept = self._kept()
            if kept.posts >= POSTS and (
                self.lag_ms <= self.limit_ms or self.offset_ms > NEVER_SET_MS
            ):
                return self._believed(self.lag_ms)
            state = QUEUED if self.shift_ms else BACKLOG
            return Verdict(self._old, DeviceClock(state, self.zone.clock_offset_ms, *kept))
        if self._is_right_again():
            return _RIGHT
        known = self._clock_is_known and self.lag_ms <= NEVER_SET_MS
        first = self._old if known or self._gains() else self._unknown
        return self._by_lag(first, self._unknown)

    def _ahead(self) -> Verdict:
        """Judge a post that is less late than the believed offset.

        Either the offset was wrong or the clock was set.
        """
        if self.lag_ms <= self.limit_ms and self.date >= self.newest_ms:
            return _RIGHT
        if self.later_ms > -SMALL_MS:
            return self._by_lag(self._unknown, self._unknown)
        unknown = self._replace(state=UNKNOWN, offset_ms=0)
        return unknown._by_lag(self._unknown, self._unknown)

    def _by_lag(self, first: Timing, again: Timing) -> Verdict:
        """Read the dates by `first`, or by `again` after a post with the same lag.

        After POSTS such posts the lag is believed, or the clock is LATE.
        """
        kept = self._kept()
        if kept.posts >= POSTS:
            offset_ms = min(self.lag_ms, kept.received_ms - kept.date_ms)
            if _is_a_clock_s(offset_ms) or abs(self.later_ms) < SMALL_MS:
                return self._believed(offset_ms)
            return Verdict(again, DeviceClock(LATE, None, *kept))
        timing = first if kept.posts == 1 else again
        if not self._clock_is_known:
            return Verdict(timing, DeviceClock(UNKNOWN, None, *kept))
        return Verdict(timing, DeviceClock(self.state, self.zone.clock_offset_ms, *kept))

    def _believed(self, offset_ms: int) -> Verdict:
        """The row is present, by a clock that is wrong by `offset_ms`."""
        if abs(offset_ms) <= KEEPS_MS:
            return _RIGHT
        clock = DeviceClock(SHIFTED, offset_ms, 0, 0, self.now_ms)
        return Verdict(Timing(offset_ms), clock)

    def _is_right_again(self) -> bool:
        """Whether a clock that was wrong is right now, to the second.

        An old row of a clock that is ahead may have any other date.
        """
        return bool(self.shift_ms) and abs(self.lag_ms) <= KEEPS_MS and self.date >= self.newest_ms

    def _is_queue(self) -> bool:
        """Whether the post continues from where an outage began."""
        if not self._clock_is_known or self.dated < self.newest_ms - DISORDER_MS:
            return False
        if self.state in QUEUES:
            return True
        if self.shift_ms and self.dated > self.newest_ms + QUEUE_BEGINS_MS:
            return False
        return not self._is_later_than_silent()

    def _was_set(self) -> bool:
        """Whether the device's or the server's clock was set, now or at a post with the same lag.

        Posts of a queue may also keep their lag.
        """
        if self.state in QUEUES:
            return False
        return self._is_later_than_silent() or self._kept().posts > 1

    def _is_later_than_silent(self) -> bool:
        """Whether the added delay since the newest present reading exceeds the silence since then.

        False if that is not known because another process's steady time differs.
        """
        zone = self.zone
        silent_ms = self.steady_ms - zone.last_seen_ms
        if silent_ms < 0:
            return False
        was_ms = (zone.received_ms or zone.last_seen_ms) - zone.timestamp_ms
        return self.now_ms - self.dated - was_ms > silent_ms + _keeps_ms(silent_ms)

    def _kept(self) -> _Kept:
        zone, since_ms = self.zone, self.now_ms - self.zone.clock_received_ms
        if not zone.clock_posts or since_ms < 0 or abs(self._gained_ms) > _keeps_ms(since_ms):
            return _Kept(1, self.date, self.now_ms)
        most = POSTS if since_ms >= POSTS_MS else POSTS - 1
        return _Kept(min(zone.clock_posts + 1, most), zone.clock_date_ms, zone.clock_received_ms)

    def _gains(self) -> bool:
        """Whether dates advance faster than receipts: a queue is being drained."""
        since_ms = self.now_ms - self.zone.clock_received_ms
        return self.zone.clock_posts > 0 <= since_ms and self._gained_ms > _keeps_ms(since_ms)

    @property
    def _gained_ms(self) -> int:
        zone = self.zone
        return self.date - zone.clock_date_ms - (self.now_ms - zone.clock_received_ms)


class _Kept(NamedTuple):
    """How many posts have kept their lag, and the date and receipt of the first of them."""

    posts: int
    date_ms: int
    received_ms: int


def _keeps_ms(since_ms: int) -> int:
    return min(KEEPS_MS + max(0, since_ms) // 10, KEEPS_MAX_MS)


def _is_a_clock_s(lag_ms: int) -> bool:
    if lag_ms < SMALL_MS or lag_ms > NEVER_SET_MS:
        return True
    rest_ms = lag_ms % QUARTER_MS
    return min(rest_ms, QUARTER_MS - rest_ms) <= QUARTER_WITHIN_MS
