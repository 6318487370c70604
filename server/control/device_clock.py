"""What a device's dates are worth: late ones, wrong clocks and queues. Pure; times are Unix ms.

How late a post is counts against what is usual for its device, the zone's `clock_offset_ms`:
receipt less date of its freshest posts. Where that was believed as a wrong clock (SHIFTED) it is
added to all of the device's dates. Else (IN_TIME) dates stay as they are, and it follows a clock
that drifts, which would else shut its zone out a month after it was set.

Where the contract leaves a choice, this was chosen:

- A queue begins where an outage was: a post may not be later than nothing was heard, else a clock
  was set, ours or the device's. Of a device whose clock is wrong it also begins within a batch's
  rows of the zone's newest date. A queue that keeps its lag is never believed as a clock, but for
  clocks that were never set (they begin anew at each start), and for one that was ahead and has
  the right date now: the zone is suspect, `late`, as it is with any lag that is not believed.
- The first old row of a device whose clock is known is a row out of its turn, and is kept under
  its date. The next one that keeps its lag is dated at receipt.
- A clock that is ahead is looked at like one that is behind, and its readings are the present
  meanwhile. A believed clock that is set by less than 5 minutes is believed again.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from server.control.reading import AS_DATED, Timing
from server.services.firestore.models import DAY_MS, ZoneRecord

# In a queue a row may stand behind one that is so much newer.
DISORDER_MS = 60_000
# How far a queue's first batch reaches: 1,000 rows, the most there may be, 2 s apart.
QUEUE_BEGINS_MS = 2_000_000
# A clock is believed after so many posts in a row that keep their lag, over so long.
POSTS, POSTS_MS = 3, 4_000
# What a lag may change by from post to post: this, and a tenth of the time between them, at most
# as much as the present may be late.
KEEPS_MS, KEEPS_MAX_MS = 1_000, 60_000
# A clock that drifts by no more than a thousandth is followed (a crystal's: a ten-thousandth), in
# steps of at most a quarter of an hour's drift.
DRIFTS, DRIFTS_MS = 1_000, 900_000
# Lags that a clock has, and hardly a queue: small ones, time zones (whole quarters of an hour, to
# within the time that a clock may be wrong beside), and clocks that were never set.
SMALL_MS, QUARTER_MS, QUARTER_WITHIN_MS, NEVER_SET_MS = 5 * 60_000, 900_000, 30_000, 30 * DAY_MS

# What is known of a device's clock. It is right, or by how much it is wrong is believed; either,
# and its readings are late since an outage; a lag is looked at; a lag that keeps is not believed.
# "" is a device without dates.
IN_TIME, SHIFTED, BACKLOG, QUEUED = "ok", "shifted", "backlog", "queued"
UNKNOWN, LATE = "unknown", "late"
QUEUES = (BACKLOG, QUEUED)


class DeviceClock(msgspec.Struct, frozen=True, gc=False):
    """What is known of a device's clock, as the fields of `ZoneRecord` from `clock` on.

    `posts` have kept their lag since the one that was dated `date_ms` and came at `received_ms`.
    With none, that is when `offset_ms` was looked at last.
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

    @property
    def keeps_late(self) -> bool:
        """Whether it keeps a lag that is not believed to be its clock's."""
        clock = self.clock
        if clock is None:
            return False
        return clock.state == LATE or (clock.state in QUEUES and clock.posts >= POSTS)


PRESENT = Verdict(AS_DATED)
_RIGHT = Verdict(AS_DATED, DeviceClock())


class DatedPost(NamedTuple):
    """The date of a post's newest row, and what was known before. `shift_ms` is added to its
    device's dates; `newest_ms` is the newest date of the zone; `limit_ms` is how late the present
    may be."""

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
        """What it is."""
        if self.later_ms > self.limit_ms:
            return self._late()
        since_ms = self.now_ms - self.zone.clock_received_ms
        if self.shift_ms and self.later_ms < -min(_keeps_ms(since_ms), self.limit_ms):
            return self._ahead()
        if self.dated >= self.newest_ms:
            return self._in_time()
        return _RIGHT if self._is_right_again() else self._looked_at(self._old, self._old)

    @property
    def lag_ms(self) -> int:
        """How late it is by its own date."""
        return self.now_ms - self.date

    @property
    def later_ms(self) -> int:
        """How much later it is than usual."""
        return self.now_ms - self.date - self.offset_ms

    @property
    def dated(self) -> int:
        """When it was measured, by what is known."""
        return self.date + self.shift_ms

    @property
    def _clock_is_known(self) -> bool:
        return self.state not in (UNKNOWN, LATE)

    @property
    def _old(self) -> Timing:
        return Timing(self.shift_ms, present=False)

    @property
    def _unknown(self) -> Timing:
        """Dated at receipt."""
        return Timing(self.lag_ms, unknown=True, present=False)

    def _in_time(self) -> Verdict:
        zone, lag_ms, offset_ms = self.zone, self.lag_ms, self.offset_ms
        is_ahead = lag_ms < -KEEPS_MS and not self.shift_ms
        if is_ahead or (self.shift_ms and self.later_ms > KEEPS_MS and self._was_set()):
            timing = Timing(self.shift_ms)
            return self._looked_at(timing, timing)
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
        """Later than the present may be."""
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
        return self._looked_at(first, self._unknown)

    def _ahead(self) -> Verdict:
        """Less late than a believed offset: it was none, or the clock was set."""
        if self.lag_ms <= self.limit_ms and self.date >= self.newest_ms:
            return _RIGHT
        if self.later_ms > -SMALL_MS:
            return self._looked_at(self._unknown, self._unknown)
        anew = self._replace(state=UNKNOWN, offset_ms=0)
        return anew._looked_at(self._unknown, self._unknown)

    def _looked_at(self, first: Timing, again: Timing) -> Verdict:
        """By `first`, or by `again` if it kept the lag of the post before; or else believed."""
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
        """The present, by a clock that is wrong by so much."""
        if abs(offset_ms) <= KEEPS_MS:
            return _RIGHT
        clock = DeviceClock(SHIFTED, offset_ms, 0, 0, self.now_ms)
        return Verdict(Timing(offset_ms), clock)

    def _is_right_again(self) -> bool:
        """Whether a clock that was wrong is right now, to the second: an old row of a clock that is
        ahead may have any other date."""
        return bool(self.shift_ms) and abs(self.lag_ms) <= KEEPS_MS and self.date >= self.newest_ms

    def _is_queue(self) -> bool:
        """Whether it goes on where an outage began."""
        if not self._clock_is_known or self.dated < self.newest_ms - DISORDER_MS:
            return False
        if self.state in QUEUES:
            return True
        if self.shift_ms and self.dated > self.newest_ms + QUEUE_BEGINS_MS:
            return False
        return not self._is_later_than_silent()

    def _was_set(self) -> bool:
        """Whether a clock was set, the device's or ours, now or at a post whose lag this one kept.
        A queue's posts may keep theirs as well."""
        if self.state in QUEUES:
            return False
        return self._is_later_than_silent() or self._kept().posts > 1

    def _is_later_than_silent(self) -> bool:
        """Whether it is later than the newest present one was by more than nothing was heard; not
        where nobody can tell, since another process began with another time."""
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
        """Whether dates advance faster than their receipt: a queue that is drained."""
        since_ms = self.now_ms - self.zone.clock_received_ms
        return self.zone.clock_posts > 0 <= since_ms and self._gained_ms > _keeps_ms(since_ms)

    @property
    def _gained_ms(self) -> int:
        zone = self.zone
        return self.date - zone.clock_date_ms - (self.now_ms - zone.clock_received_ms)


class _Kept(NamedTuple):
    """How many posts have kept their lag, since which date and receipt."""

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
